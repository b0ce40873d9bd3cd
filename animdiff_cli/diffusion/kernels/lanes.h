// Vectors of float32 numbers as wide as a register, and how they are read and written in float32 and bf16.
#pragma once
#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace {

#ifdef __AVX512F__
constexpr int LANES = 16;
#else
constexpr int LANES = 8;
#endif
typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef uint16_t hvec __attribute__((vector_size(2 * LANES)));

inline float to_float(float x) { return x; }
inline float to_float(uint16_t x) {
    const uint32_t bits = uint32_t(x) << 16;
    float number;
    memcpy(&number, &bits, 4);
    return number;
}

inline vec load(const float *numbers) {
    vec x;
    memcpy(&x, numbers, sizeof(x));
    return x;
}
inline vec load(const uint16_t *numbers) {
    hvec x;
    memcpy(&x, numbers, sizeof(x));
    return (vec)(__builtin_convertvector(x, ivec) << 16);
}

inline void store(float *numbers, vec x) { memcpy(numbers, &x, sizeof(x)); }
inline void store(uint16_t *numbers, vec x) {  // bf16, to the nearest even
    const ivec bits = (ivec)x, rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    const hvec kept = __builtin_convertvector(x == x ? rounded : ivec{} + 0x7fc0, hvec);
    memcpy(numbers, &kept, sizeof(kept));
}

#ifdef __AVX512F__
inline vec nearest(vec x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
#else
inline vec nearest(vec x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
#endif

// exp(x) for x <= 87 as 2^n * e^r, |r| <= ln(2)/2, by a polynomial of degree 6; relative error below 3e-7
inline vec exponential(vec x) {
    const vec low = vec{} - 87.0f;
    x = x < low ? low : x;  // keeps NaN
    const vec t = x * 1.44269504088896f;
    const vec whole = nearest(t), r = (t - whole) * 0.693147180559945f;
    vec p = r * (1.0f / 720) + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return (vec)((ivec)p + (__builtin_convertvector(whole, ivec) << 23));
}

}  // namespace
