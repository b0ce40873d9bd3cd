// Convolution with a kernel of 3 x 3 by Winograd's algorithm F(4 x 4, 3 x 3): a quarter of the multiplications.
//
// Lavin and Gray 2016, "Fast algorithms for convolutional neural networks". Tiles of 6 x 6 pixels become the values of
// polynomials at the points 0, 2/3, -2/3, 3/2, -3/2 and infinity in both directions, where a convolution is a product
// of channels; 4 x 4 pixels come back. With these points rounding errors are a quarter of those with 0, 1, -1, 2, -2
// (Barabasz et al. 2018, "Error analysis and improving the accuracy of Winograd convolution"). All arithmetic is in
// float32 for every dtype.
#include <vector>

#include "lanes.h"

namespace {

constexpr int COLUMNS = 2 * LANES, SIDE = 6, POINTS = SIDE * SIDE, OUT = 4;
constexpr float A = 2.0f / 3, B = 3.0f / 2, A2 = A * A, B2 = B * B;

struct Shape {
    int64_t images, height, width, in, out;
    int64_t down() const { return (height + OUT - 1) / OUT; }
    int64_t across() const { return (width + OUT - 1) / OUT; }
};

// Six numbers, `step` apart, to their values at the six points.
inline void to_points(const vec *d, int step, vec *t) {
    const vec even = d[4 * step] - B2 * d[2 * step], odd = A * (d[3 * step] - B2 * d[step]);
    const vec even2 = d[4 * step] - A2 * d[2 * step], odd2 = B * (d[3 * step] - A2 * d[step]);
    t[0] = d[0] - (A2 + B2) * d[2 * step] + d[4 * step];
    t[1] = even + odd;
    t[2] = even - odd;
    t[3] = even2 + odd2;
    t[4] = even2 - odd2;
    t[5] = d[step] - (A2 + B2) * d[3 * step] + d[5 * step];
}

// The values of products at the six points to four numbers.
inline void from_points(const vec *m, int step, vec *t) {
    const vec sum = m[step] + m[2 * step], difference = m[step] - m[2 * step];
    const vec sum2 = m[3 * step] + m[4 * step], difference2 = m[3 * step] - m[4 * step];
    t[0] = m[0] + sum + sum2;
    t[1] = A * difference + B * difference2;
    t[2] = A2 * sum + B2 * sum2;
    t[3] = A2 * A * difference + B2 * B * difference2 + m[5 * step];
}

// One tile to its 36 points, each `tiles` rows of channels from the next.
template <typename T>
void read_tile(const T *input, const Shape &s, int64_t tile, int tiles, float *points) {
    const int64_t y0 = tile / s.across() % s.down() * OUT - 1, x0 = tile % s.across() * OUT - 1;
    const T *image = input + tile / (s.down() * s.across()) * s.height * s.width * s.in;
    for (int64_t c = 0; c < s.in; c += LANES) {
        vec d[POINTS], t[POINTS], row[SIDE];
        for (int y = 0; y < SIDE; y++)
            for (int x = 0; x < SIDE; x++) {
                const bool inside = y0 + y >= 0 && y0 + y < s.height && x0 + x >= 0 && x0 + x < s.width;
                d[y * SIDE + x] = inside ? load(image + ((y0 + y) * s.width + x0 + x) * s.in + c) : vec{};
            }
        for (int x = 0; x < SIDE; x++) to_points(d + x, SIDE, t + x * SIDE);
        for (int y = 0; y < SIDE; y++) {
            to_points(t + y, SIDE, row);
            for (int x = 0; x < SIDE; x++) store(points + (y * SIDE + x) * tiles * s.in + c, row[x]);
        }
    }
}

// The products of one tile to its pixels, as far as they are inside the image.
template <typename T>
void write_tile(const float *products, const T *bias, const Shape &s, int64_t tile, int tiles, T *output) {
    const int64_t y0 = tile / s.across() % s.down() * OUT, x0 = tile % s.across() * OUT;
    T *image = output + tile / (s.down() * s.across()) * s.height * s.width * s.out;
    for (int64_t c = 0; c < s.out; c += LANES) {
        vec m[POINTS], t[SIDE * OUT], row[OUT];
        for (int p = 0; p < POINTS; p++) m[p] = load(products + p * tiles * s.out + c);
        for (int x = 0; x < SIDE; x++) from_points(m + x, SIDE, t + x * OUT);
        const vec constant = bias ? load(bias + c) : vec{};
        for (int y = 0; y < OUT && y0 + y < s.height; y++) {
            from_points(t + y, OUT, row);
            for (int x = 0; x < OUT && x0 + x < s.width; x++)
                store(image + ((y0 + y) * s.width + x0 + x) * s.out + c, row[x] + constant);
        }
    }
}

// ROWS rows of `a`, each `depth` long, times `b` [depth, COLUMNS]. All sums stay in registers.
template <int ROWS>
inline void product(const float *a, const float *b, float *out, int64_t depth, int64_t width) {
    vec sum[ROWS][2] = {};
    for (int64_t k = 0; k < depth; k++) {
        const vec left = load(b + k * COLUMNS), right = load(b + k * COLUMNS + LANES);
#pragma GCC unroll 12
        for (int r = 0; r < ROWS; r++) {
            sum[r][0] += a[r * depth + k] * left;
            sum[r][1] += a[r * depth + k] * right;
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; r++) {
        store(out + r * width, sum[r][0]);
        store(out + r * width + LANES, sum[r][1]);
    }
}

template <typename T, int TILES>
void convolve(const T *input, const float *weight, const T *bias, T *output, const Shape &s, int threads) {
    constexpr int ROWS = TILES * LANES / 16;  // AVX2 has half the registers
    const int64_t total = s.images * s.down() * s.across();
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> memory(POINTS * TILES * (s.in + s.out));
        float *points = memory.data(), *products = points + POINTS * TILES * s.in;
#pragma omp for schedule(static)
        for (int64_t first = 0; first < total; first += TILES) {
            const int count = total - first < TILES ? total - first : TILES;
            for (int i = 0; i < count; i++) read_tile(input, s, first + i, TILES, points + i * s.in);
            for (int p = 0; p < POINTS; p++)
                for (int64_t c = 0; c < s.out; c += COLUMNS)
                    for (int r = 0; r < count; r += ROWS)
                        product<ROWS>(points + (p * TILES + r) * s.in, weight + (p * s.out + c) * s.in,
                                      products + (p * TILES + r) * s.out + c, s.in, s.out);
            for (int i = 0; i < count; i++) write_tile(products + i * s.out, bias, s, first + i, TILES, output);
        }
    }
}

// The number of products that the busiest thread computes if `tiles` of them are computed at once.
int64_t rounds(const Shape &s, int64_t tiles, int64_t threads) {
    const int64_t blocks = (s.images * s.down() * s.across() + tiles - 1) / tiles;
    return (blocks + threads - 1) / threads * tiles;
}

template <typename T>
void dispatch(const void *input, const float *weight, const void *bias, void *output, const Shape &s, int threads) {
    auto run = rounds(s, 8, threads) < rounds(s, 12, threads) ? convolve<T, 8> : convolve<T, 12>;
    run((const T *)input, weight, (const T *)bias, (T *)output, s, threads);
}

}  // namespace

// Images [N, H, W, in] to [N, H, W, out], contiguous, zeros around them. `shape`: N, H, W, in, out; `in` is a multiple of
// LANES, `out` of COLUMNS. `weight`: values at the points, [36, out / COLUMNS, in, COLUMNS], float32. `bias` may be null.
extern "C" void convolution(const void *input, const float *weight, const void *bias, void *output, const int64_t *shape,
                            int bf16, int threads) {
    const Shape s = {shape[0], shape[1], shape[2], shape[3], shape[4]};
    if (bf16) dispatch<uint16_t>(input, weight, bias, output, s, threads);
    else dispatch<float>(input, weight, bias, output, s, threads);
}
