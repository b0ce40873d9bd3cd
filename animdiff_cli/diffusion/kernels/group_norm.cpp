// Group norm of channels-last activations, with what is added before and SiLU after it.
//
// Three passes, as in group_norm.py: the moments of every channel of every image, the scale and shift that follow from
// those of a group in a clip, and their application. Statistics are float32, in a numerically stable form (Chan et al.
// 1983, "Algorithms for computing the sample variance").
#include <cmath>
#include <vector>

#include "lanes.h"

namespace {

constexpr int64_t ROWS = 64;  // of LANES channels: they stay in the first cache

struct Shape {
    int64_t images, rows, channels, groups, frames;
};

template <typename T>
inline vec load_some(const T *numbers, int64_t count) {
    if (count >= LANES) return load(numbers);
    T room[LANES] = {};
    memcpy(room, numbers, count * sizeof(T));
    return load(room);
}

template <typename T>
inline void store_some(T *numbers, vec x, int64_t count) {
    if (count >= LANES) return store(numbers, x);
    T room[LANES];
    store(room, x);
    memcpy(numbers, room, count * sizeof(T));
}

inline vec silu(vec x) {
    const vec negated = -x;
    return x / (1.0f + exponential(negated > 87.0f ? vec{} + 87.0f : negated));
}

// Four sums of rows, which do not wait for each other, of all rows: FULL rows of LANES channels or of fewer.
template <typename T, typename Add>
inline void each_row(const T *first, int64_t rows, int64_t step, int64_t count, Add add) {
    int64_t r = 0;
    if (count >= LANES)
        for (; r + 4 <= rows; r += 4) {
            add(0, load(first + r * step));
            add(1, load(first + (r + 1) * step));
            add(2, load(first + (r + 2) * step));
            add(3, load(first + (r + 3) * step));
        }
    for (; r < rows; r++) add(0, load_some(first + r * step, count));
}

// Mean, and sum of squared differences from it, of LANES channels of one image.
template <typename T>
void moments(const T *first, const Shape &s, int64_t count, float *means, float *squares) {
    vec mean = {}, square = {};
    for (int64_t start = 0; start < s.rows; start += ROWS) {
        const int64_t rows = s.rows - start < ROWS ? s.rows - start : ROWS;
        vec sum[4] = {}, own[4] = {};
        each_row(first + start * s.channels, rows, s.channels, count, [&](int i, vec x) { sum[i] += x; });
        const vec middle = (sum[0] + sum[1] + sum[2] + sum[3]) / float(rows);
        each_row(first + start * s.channels, rows, s.channels, count, [&](int i, vec x) { own[i] += (x - middle) * (x - middle); });
        const vec delta = middle - mean;
        const float share = float(rows) / (start + rows);
        mean += delta * share;
        square += own[0] + own[1] + own[2] + own[3] + delta * delta * (share * start);
    }
    store_some(means, mean, count);
    store_some(squares, square, count);
}

// The scale and shift of the channels of one group in one clip; they take the place of its moments.
template <typename T>
void unite(const T *weight, const T *bias, const T *added, const Shape &s, int64_t clip, int64_t group, float eps,
           float *means, float *squares) {
    const int64_t width = s.channels / s.groups, begin = group * width, end = begin + width;
    double mean = 0, square = 0;
    for (int64_t i = clip * s.frames; i < (clip + 1) * s.frames; i++)
        for (int64_t c = begin; c < end; c++) {
            if (added) means[i * s.channels + c] += to_float(added[i * s.channels + c]);
            mean += means[i * s.channels + c];
        }
    mean /= s.frames * width;
    for (int64_t i = clip * s.frames; i < (clip + 1) * s.frames; i++)
        for (int64_t c = begin; c < end; c++) {
            const double difference = means[i * s.channels + c] - mean;
            square += squares[i * s.channels + c] + s.rows * difference * difference;
        }
    const double deviation = 1 / std::sqrt(square / (s.frames * width * s.rows) + eps);
    for (int64_t i = clip * s.frames; i < (clip + 1) * s.frames; i++)
        for (int64_t c = begin; c < end; c++) {
            const double scale = to_float(weight[c]) * deviation;
            const double constant = added ? to_float(added[i * s.channels + c]) : 0;
            means[i * s.channels + c] = scale;
            squares[i * s.channels + c] = to_float(bias[c]) + (constant - mean) * scale;
        }
}

template <typename T>
void normalize(const void *input, const void *weight, const void *bias, const void *added, void *output, const Shape &s,
               float eps, bool activate, int threads) {
    const int64_t blocks = (s.channels + LANES - 1) / LANES, chunks = (s.rows + ROWS - 1) / ROWS;
    std::vector<float> memory(2 * s.images * s.channels);
    float *scales = memory.data(), *shifts = scales + s.images * s.channels;
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static)
        for (int64_t i = 0; i < s.images * blocks; i++) {
            const int64_t image = i / blocks, c = i % blocks * LANES, place = image * s.channels + c;
            moments((const T *)input + image * s.rows * s.channels + c, s, s.channels - c, scales + place, shifts + place);
        }
#pragma omp for schedule(static)
        for (int64_t i = 0; i < s.images / s.frames * s.groups; i++)
            unite((const T *)weight, (const T *)bias, (const T *)added, s, i / s.groups, i % s.groups, eps, scales, shifts);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < s.images * chunks; i++) {
            const int64_t image = i / chunks, first = i % chunks * ROWS;
            const int64_t last = first + ROWS < s.rows ? first + ROWS : s.rows;
            const float *scale = scales + image * s.channels, *shift = shifts + image * s.channels;
            for (int64_t row = image * s.rows + first; row < image * s.rows + last; row++)
                for (int64_t c = 0; c < s.channels; c += LANES) {
                    const int64_t count = s.channels - c, place = row * s.channels + c;
                    vec x = load_some((const T *)input + place, count);
                    x = x * load_some(scale + c, count) + load_some(shift + c, count);
                    store_some((T *)output + place, activate ? silu(x) : x, count);
                }
        }
    }
}

}  // namespace

// Rows [images, rows, channels], contiguous. `shape`: images, rows, channels, groups, images whose statistics are one.
// `added` [images, channels] may be null.
extern "C" void group_norm(const void *input, const void *weight, const void *bias, const void *added, void *output,
                           const int64_t *shape, float eps, int activate, int bf16, int threads) {
    const Shape s = {shape[0], shape[1], shape[2], shape[3], shape[4]};
    auto run = bf16 ? normalize<uint16_t> : normalize<float>;
    run(input, weight, bias, added, output, s, eps, activate, threads);
}
