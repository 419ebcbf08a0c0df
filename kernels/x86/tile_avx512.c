/*
 * tile_avx512.c - the tile engine with AVX-512: 12 queries x 32 rows in 24 registers, two loads of
 * the panel and twelve broadcasts for 24 multiply-adds.
 */
#include "kernels/x86/simd_avx512.h"
#include "kernels/x86/tile.h"

#if VKERN_X86

/* The loops over queries are unrolled early (the pragmas), or gcc keeps the sums in memory. */
enum { QUERIES = 12 };

VKERN_INLINE void micro(size_t n_queries, const struct tile_step *step)
{
    const float *panel = step->panel;
    const size_t stride = step->query_stride, n_dims = step->n_dims;
    const float *triple[QUERIES / 3]; /* three rows from one pointer: base, base + s, base + 2 s */
    __m512 low[QUERIES], high[QUERIES];
    __m512 start[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    float *out = step->out;

    for (size_t j = 0; j < QUERIES / 3; j++)
        triple[j] = step->queries + 3 * j * stride;
#pragma GCC unroll 12
    for (size_t q = 0; q < n_queries; q++)
        low[q] = high[q] = _mm512_setzero_ps();
    for (size_t i = 0; i < n_dims; i++, panel += GROUP) {
        const __m512 x0 = _mm512_load_ps(panel), x1 = _mm512_load_ps(panel + 16);
#pragma GCC unroll 12
        for (size_t q = 0; q < n_queries; q++) {
            const __m512 element = _mm512_set1_ps(triple[q / 3][q % 3 * stride]);
            low[q] = _mm512_fmadd_ps(element, x0, low[q]);
            high[q] = _mm512_fmadd_ps(element, x1, high[q]);
        }
        for (size_t j = 0; j < QUERIES / 3; j++)
            triple[j]++;
    }
    if (step->bias != NULL) {
        const __mmask32 columns = (__mmask32)first_64(step->n_columns);
        start[0] = _mm512_maskz_loadu_ps((__mmask16)columns, step->bias);
        start[1] = _mm512_maskz_loadu_ps((__mmask16)(columns >> 16), step->bias + 16);
    }
#pragma GCC unroll 12
    for (size_t q = 0; q < n_queries; q++, out += step->out_stride) {
        if (step->bias == NULL) {
            start[0] = _mm512_load_ps(out);
            start[1] = _mm512_load_ps(out + 16);
        }
        _mm512_store_ps(out, _mm512_add_ps(start[0], low[q]));
        _mm512_store_ps(out + 16, _mm512_add_ps(start[1], high[q]));
    }
}

static void micro_any(size_t n_queries, const struct tile_step *step)
{
    switch (n_queries) {
    case 1: micro(1, step); break;
    case 2: micro(2, step); break;
    case 3: micro(3, step); break;
    case 4: micro(4, step); break;
    case 5: micro(5, step); break;
    case 6: micro(6, step); break;
    case 7: micro(7, step); break;
    case 8: micro(8, step); break;
    case 9: micro(9, step); break;
    case 10: micro(10, step); break;
    case 11: micro(11, step); break;
    default: micro(12, step); break;
    }
}

static void multiply_avx512(const float *queries, size_t nq, const float *panel, const float *bias,
                            size_t n, size_t dim, float *out, size_t out_stride)
{
    tile_multiply(micro_any, QUERIES, queries, nq, panel, bias, n, dim, out, out_stride);
}

static double gamma_avx512(size_t dim)
{
    return tile_gamma(dim);
}

static const struct vkern_tile tile_avx512 = {"avx512", vkern_pack_avx2, multiply_avx512,
                                              gamma_avx512};

void vkern_init_tile_avx512(vkern_table *table)
{
    table->tile = &tile_avx512;
}
#else
typedef int vkern_tile_avx512_is_not_built;
#endif
