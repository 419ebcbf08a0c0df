/*
 * tile_avx2.c - the tile engine with AVX2: 6 queries x 16 rows in 12 registers, each group of 32
 * rows in two halves.
 */
#include "kernels/x86/simd_avx2.h"
#include "kernels/x86/tile.h"

#if VKERN_X86

/* The loops over queries are unrolled early (the pragmas), or gcc keeps the sums in memory. */
enum { QUERIES = 6, HALF = GROUP / 2 };

/* Eight bias values from `column` on, zeros beyond n_columns. */
VKERN_INLINE __m256 load_bias(const float *bias, size_t column, size_t n_columns)
{
    if (column >= n_columns) return _mm256_setzero_ps();
    if (column + 8 <= n_columns) return _mm256_loadu_ps(bias + column);
    return load8_part(VKERN_F32, bias, column, n_columns - column);
}

/* Columns first .. first + 15 of a group. */
VKERN_INLINE void half(size_t n_queries, const struct tile_step *step, size_t first)
{
    const float *panel = step->panel + first;
    const size_t stride = step->query_stride, n_dims = step->n_dims;
    const float *triple[QUERIES / 3]; /* three rows from one pointer: base, base + s, base + 2 s */
    __m256 low[QUERIES], high[QUERIES];
    __m256 start[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    float *out = step->out + first;

    for (size_t j = 0; j < QUERIES / 3; j++)
        triple[j] = step->queries + 3 * j * stride;
#pragma GCC unroll 6
    for (size_t q = 0; q < n_queries; q++)
        low[q] = high[q] = _mm256_setzero_ps();
    for (size_t i = 0; i < n_dims; i++, panel += GROUP) {
        const __m256 x0 = _mm256_load_ps(panel), x1 = _mm256_load_ps(panel + 8);
#pragma GCC unroll 6
        for (size_t q = 0; q < n_queries; q++) {
            const __m256 element = _mm256_broadcast_ss(triple[q / 3] + q % 3 * stride);
            low[q] = _mm256_fmadd_ps(element, x0, low[q]);
            high[q] = _mm256_fmadd_ps(element, x1, high[q]);
        }
        for (size_t j = 0; j < QUERIES / 3; j++)
            triple[j]++;
    }
    if (step->bias != NULL) {
        start[0] = load_bias(step->bias, first, step->n_columns);
        start[1] = load_bias(step->bias, first + 8, step->n_columns);
    }
#pragma GCC unroll 6
    for (size_t q = 0; q < n_queries; q++, out += step->out_stride) {
        if (step->bias == NULL) {
            start[0] = _mm256_load_ps(out);
            start[1] = _mm256_load_ps(out + 8);
        }
        _mm256_store_ps(out, _mm256_add_ps(start[0], low[q]));
        _mm256_store_ps(out + 8, _mm256_add_ps(start[1], high[q]));
    }
}

VKERN_INLINE void micro(size_t n_queries, const struct tile_step *step)
{
    half(n_queries, step, 0);
    half(n_queries, step, HALF);
}

static void micro_any(size_t n_queries, const struct tile_step *step)
{
    switch (n_queries) {
    case 1: micro(1, step); break;
    case 2: micro(2, step); break;
    case 3: micro(3, step); break;
    case 4: micro(4, step); break;
    case 5: micro(5, step); break;
    default: micro(6, step); break;
    }
}

static void multiply_avx2(const float *queries, size_t nq, const float *panel, const float *bias,
                          size_t n, size_t dim, float *out, size_t out_stride)
{
    tile_multiply(micro_any, QUERIES, queries, nq, panel, bias, n, dim, out, out_stride);
}

static double gamma_avx2(size_t dim)
{
    return tile_gamma(dim);
}

static const struct vkern_tile tile_avx2 = {"avx2", vkern_pack_avx2, multiply_avx2, gamma_avx2};

void vkern_init_tile_avx2(vkern_table *table)
{
    table->tile = &tile_avx2;
}
#else
typedef int vkern_tile_avx2_is_not_built;
#endif
