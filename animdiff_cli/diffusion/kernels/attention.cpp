// Attention with few numbers per head. As many queries as a register has lanes share it: every step of scores, softmax
// and sums is the same for all of them, and scores never leave the first cache.
//
// Softmax as in torch: shifted by the largest score, sums and products in float32 for every dtype.
#include <vector>

#include "lanes.h"

namespace {

constexpr int GROUP = 8;     // numbers of a head that are summed at once, each in a register
constexpr int TOGETHER = 4;  // keys that are compared at once: what a query has is read once for all of them

inline int64_t round_up(int64_t keys) { return (keys + TOGETHER - 1) / TOGETHER * TOGETHER; }

// Attention of one head. `strides` between tokens of query, key, value and output are in numbers; `room` holds
// width + keys vectors and twice width * keys numbers, with keys rounded up to TOGETHER.
template <typename T, int FIXED>
void attend(const T *query, const T *key, const T *value, T *output, int64_t queries, int64_t keys, int any_width,
            const int64_t *strides, float scale, vec *room) {
    const int width = FIXED ? FIXED : any_width;
    const int64_t rounded = round_up(keys);
    vec *lanes = room, *scores = room + width;
    float *all_keys = (float *)(scores + rounded), *all_values = all_keys + width * rounded;
    for (int64_t j = 0; j < keys; j++)
        for (int d = 0; d < width; d++) {
            all_keys[j * width + d] = to_float(key[j * strides[1] + d]) * scale;
            all_values[j * width + d] = to_float(value[j * strides[2] + d]);
        }
    for (int64_t first = 0; first < queries; first += LANES) {
        const int count = queries - first < LANES ? queries - first : LANES;
        const T *rows = query + first * strides[0];
        for (int d = 0; d < width; d++)
            for (int i = 0; i < LANES; i++) ((float *)lanes)[d * LANES + i] = to_float(rows[(i < count ? i : 0) * strides[0] + d]);
        vec peak = vec{} - 3e38f;
        for (int64_t j = 0; j < keys; j += TOGETHER) {
            vec score[TOGETHER] = {};
            for (int d = 0; d < width; d++)
                for (int i = 0; i < TOGETHER; i++) score[i] += lanes[d] * all_keys[(j + i) * width + d];
            for (int i = 0; i < TOGETHER; i++) {
                scores[j + i] = score[i];
                if (j + i < keys) peak = peak > score[i] ? peak : score[i];
            }
        }
        vec total = vec{};
        for (int64_t j = 0; j < keys; j++) {
            scores[j] = exponential(scores[j] - peak);
            total += scores[j];
        }
        total = 1.0f / total;
        for (int start = 0; start < width; start += GROUP) {
            const int group = width - start < GROUP ? width - start : GROUP;
            vec mixed[GROUP] = {};
            if (group == GROUP)
                for (int64_t j = 0; j < keys; j++)
                    for (int d = 0; d < GROUP; d++) mixed[d] += scores[j] * all_values[j * width + start + d];
            else
                for (int64_t j = 0; j < keys; j++)
                    for (int d = 0; d < group; d++) mixed[d] += scores[j] * all_values[j * width + start + d];
            T numbers[GROUP][LANES];
            for (int d = 0; d < group; d++) store(numbers[d], mixed[d] * total);
            for (int i = 0; i < count; i++)
                for (int d = 0; d < group; d++) output[(first + i) * strides[3] + start + d] = numbers[d][i];
        }
    }
}

template <typename T, int FIXED>
void attend_heads(const T *query, const T *key, const T *value, T *output, const int64_t *shape, const int64_t *strides,
                  float scale, int threads) {
    const int64_t heads = shape[1], queries = shape[2], keys = shape[3], width = shape[4];
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> memory((width + round_up(keys) + 1) * LANES + 2 * width * round_up(keys));
        const auto place = (reinterpret_cast<uintptr_t>(memory.data()) + sizeof(vec) - 1) / sizeof(vec) * sizeof(vec);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < shape[0] * heads; i++) {
            const int64_t *s = strides;
            const int64_t b = i / heads, h = i % heads;
            const int64_t by_token[4] = {s[2], s[5], s[8], s[11]};
            attend<T, FIXED>(query + b * s[0] + h * s[1], key + b * s[3] + h * s[4], value + b * s[6] + h * s[7],
                             output + b * s[9] + h * s[10], queries, keys, width, by_token, scale, (vec *)place);
        }
    }
}

template <typename T>
void dispatch(const void *query, const void *key, const void *value, void *output, const int64_t *shape,
              const int64_t *strides, float scale, int threads) {
    auto run = attend_heads<T, 0>;
    if (shape[4] == 8) run = attend_heads<T, 8>;
    if (shape[4] == 16) run = attend_heads<T, 16>;
    run((const T *)query, (const T *)key, (const T *)value, (T *)output, shape, strides, scale, threads);
}

}  // namespace

// Tensors [B, heads, tokens, width] with any strides but 1 in the last dimension. `shape`: B, heads, queries, keys,
// width. `strides`: of query, key, value and output, three each.
extern "C" void attention(const void *query, const void *key, const void *value, void *output, const int64_t *shape,
                          const int64_t *strides, float scale, int bf16, int threads) {
    if (bf16) dispatch<uint16_t>(query, key, value, output, shape, strides, scale, threads);
    else dispatch<float>(query, key, value, output, shape, strides, scale, threads);
}
