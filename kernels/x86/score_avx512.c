/*
 * score_avx512.c - one query against n rows, f32, f16 and bf16: eight rows at once, each with one
 * vector of sixteen partial sums, so a chain has dim / 16 fused additions (the bound of
 * vkern_gamma) and the eight chains hide each other's latency.
 */
#include "kernels/x86/simd_avx512.h"

#if VKERN_X86

enum { ROWS = 8 };

VKERN_INLINE __m512 step(bool dot, __m512 q, __m512 x, __m512 sum)
{
    const __m512 d = _mm512_sub_ps(q, x);
    return dot ? _mm512_fmadd_ps(q, x, sum) : _mm512_fmadd_ps(d, d, sum);
}

VKERN_INLINE __m256 block(enum vkern_type type, bool dot, const void *query,
                          const unsigned char *rows, size_t stride, size_t dim)
{
    const size_t ahead = prefetch_distance(ROWS * stride);
    const bool ask = type != VKERN_F32 || dim < LONG_ROW;
    __m512 sum[ROWS];
    size_t i = 0;

    for (size_t r = 0; r < ROWS; r++)
        sum[r] = _mm512_setzero_ps();
    for (; i + 16 <= dim; i += 16) {
        const __m512 q = load16(VKERN_F32, query, i);
        if (ask)
            prefetch(rows, ahead + ROWS * vkern_row_bytes(type, i),
                     ROWS * vkern_row_bytes(type, 16));
        for (size_t r = 0; r < ROWS; r++)
            sum[r] = step(dot, q, load16(type, rows + r * stride, i), sum[r]);
    }
    if (i < dim) {
        const __mmask16 lanes = first_16(dim - i);
        const __m512 q = load16_part(VKERN_F32, query, i, lanes);
        if (ask)
            prefetch(rows, ahead + ROWS * vkern_row_bytes(type, i),
                     ROWS * vkern_row_bytes(type, dim - i));
        for (size_t r = 0; r < ROWS; r++)
            sum[r] = step(dot, q, load16_part(type, rows + r * stride, i, lanes), sum[r]);
    }
    return sums_of_8(sum);
}

VKERN_INLINE float one_row(enum vkern_type type, bool dot, const void *query,
                           const unsigned char *row, size_t dim)
{
    __m512 sum = _mm512_setzero_ps();
    size_t i = 0;

    for (; i + 16 <= dim; i += 16)
        sum = step(dot, load16(VKERN_F32, query, i), load16(type, row, i), sum);
    if (i < dim) {
        const __mmask16 lanes = first_16(dim - i);
        sum = step(dot, load16_part(VKERN_F32, query, i, lanes), load16_part(type, row, i, lanes),
                   sum);
    }
    return _mm512_reduce_add_ps(sum);
}

VKERN_INLINE void score(enum vkern_type type, bool dot, const void *query, const void *rows,
                        size_t stride, size_t n, size_t dim, float *scores)
{
    const __m256 sign = _mm256_set1_ps(dot ? -0.0f : 0.0f);
    const unsigned char *row = rows;

    for (; n >= ROWS; n -= ROWS, row += ROWS * stride, scores += ROWS)
        _mm256_storeu_ps(scores, _mm256_xor_ps(sign, block(type, dot, query, row, stride, dim)));
    for (; n > 0; n--, row += stride, scores++) {
        const float sum = one_row(type, dot, query, row, dim);
        *scores = dot ? -sum : sum;
    }
}

#define DEFINE(op, dot, name, type)                                                                \
    static void op##_##name##_avx512(const void *query, const void *rows, size_t stride, size_t n, \
                                     size_t dim, float *scores)                                    \
    {                                                                                              \
        score(type, dot, query, rows, stride, n, dim, scores);                                     \
    }
DEFINE(l2sq, false, f32, VKERN_F32)
DEFINE(l2sq, false, f16, VKERN_F16)
DEFINE(l2sq, false, bf16, VKERN_BF16)
DEFINE(ndot, true, f32, VKERN_F32)
DEFINE(ndot, true, f16, VKERN_F16)
DEFINE(ndot, true, bf16, VKERN_BF16)

void vkern_init_score_avx512(vkern_table *table)
{
    table->l2sq[VKERN_F32] = l2sq_f32_avx512;
    table->l2sq[VKERN_F16] = l2sq_f16_avx512;
    table->l2sq[VKERN_BF16] = l2sq_bf16_avx512;
    table->ndot[VKERN_F32] = ndot_f32_avx512;
    table->ndot[VKERN_F16] = ndot_f16_avx512;
    table->ndot[VKERN_BF16] = ndot_bf16_avx512;
}
#else
typedef int vkern_score_avx512_is_not_built;
#endif
