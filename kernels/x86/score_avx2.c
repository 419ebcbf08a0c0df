/*
 * score_avx2.c - one query against n rows, f32, f16 and bf16: four rows at once, each with two
 * vectors of eight partial sums, so a chain has dim / 16 fused additions (the bound of
 * vkern_gamma).
 */
#include "kernels/x86/simd_avx2.h"

#if VKERN_X86

enum { ROWS = 4 };

VKERN_INLINE __m256 step(bool dot, __m256 q, __m256 x, __m256 sum)
{
    const __m256 d = _mm256_sub_ps(q, x);
    return dot ? _mm256_fmadd_ps(q, x, sum) : _mm256_fmadd_ps(d, d, sum);
}

/* The scores of n_rows (1 or ROWS) rows. */
VKERN_INLINE __m128 block(enum vkern_type type, bool dot, size_t n_rows, const void *query,
                          const unsigned char *rows, size_t stride, size_t dim)
{
    const size_t ahead = prefetch_distance(ROWS * stride);
    const bool ask = type != VKERN_F32 || dim < LONG_ROW;
    __m256 low[ROWS], high[ROWS];
    size_t i = 0;

    for (size_t r = 0; r < ROWS; r++)
        low[r] = high[r] = _mm256_setzero_ps();
    for (; i + 16 <= dim; i += 16) {
        const __m256 q0 = load8(VKERN_F32, query, i), q1 = load8(VKERN_F32, query, i + 8);
        if (ask)
            prefetch(rows, ahead + ROWS * vkern_row_bytes(type, i),
                     n_rows * vkern_row_bytes(type, 16));
        for (size_t r = 0; r < n_rows; r++) {
            low[r] = step(dot, q0, load8(type, rows + r * stride, i), low[r]);
            high[r] = step(dot, q1, load8(type, rows + r * stride, i + 8), high[r]);
        }
    }
    if (i < dim && ask)
        prefetch(rows, ahead + ROWS * vkern_row_bytes(type, i),
                 n_rows * vkern_row_bytes(type, dim - i));
    if (i + 8 <= dim) {
        const __m256 q = load8(VKERN_F32, query, i);
        for (size_t r = 0; r < n_rows; r++)
            low[r] = step(dot, q, load8(type, rows + r * stride, i), low[r]);
        i += 8;
    }
    if (i < dim && dim >= 8) { /* the last eight elements, those already taken made 0 */
        const __m256 taken = _mm256_castsi256_ps(first_lanes(8 - (dim - i)));
        const __m256 q = _mm256_andnot_ps(taken, load8(VKERN_F32, query, dim - 8));
        for (size_t r = 0; r < n_rows; r++)
            high[r] = step(dot, q, _mm256_andnot_ps(taken, load8(type, rows + r * stride, dim - 8)),
                           high[r]);
    } else if (i < dim) {
        const __m256 q = load8_part(VKERN_F32, query, 0, dim);
        for (size_t r = 0; r < n_rows; r++)
            high[r] = step(dot, q, load8_part(type, rows + r * stride, 0, dim), high[r]);
    }
    for (size_t r = 0; r < n_rows; r++)
        low[r] = _mm256_add_ps(low[r], high[r]);
    return sums_of_4(low[0], low[1], low[2], low[3]);
}

VKERN_INLINE void score(enum vkern_type type, bool dot, const void *query, const void *rows,
                        size_t stride, size_t n, size_t dim, float *scores)
{
    const __m128 sign = dot ? _mm_set1_ps(-0.0f) : _mm_setzero_ps();
    const unsigned char *row = rows;

    for (; n >= ROWS; n -= ROWS, row += ROWS * stride, scores += ROWS)
        _mm_storeu_ps(scores, _mm_xor_ps(sign, block(type, dot, ROWS, query, row, stride, dim)));
    for (; n > 0; n--, row += stride, scores++)
        _mm_store_ss(scores, _mm_xor_ps(sign, block(type, dot, 1, query, row, stride, dim)));
}

#define DEFINE(op, dot, name, type)                                                                \
    static void op##_##name##_avx2(const void *query, const void *rows, size_t stride, size_t n,   \
                                   size_t dim, float *scores)                                      \
    {                                                                                              \
        score(type, dot, query, rows, stride, n, dim, scores);                                     \
    }
DEFINE(l2sq, false, f32, VKERN_F32)
DEFINE(l2sq, false, f16, VKERN_F16)
DEFINE(l2sq, false, bf16, VKERN_BF16)
DEFINE(ndot, true, f32, VKERN_F32)
DEFINE(ndot, true, f16, VKERN_F16)
DEFINE(ndot, true, bf16, VKERN_BF16)

void vkern_init_score_avx2(vkern_table *table)
{
    table->l2sq[VKERN_F32] = l2sq_f32_avx2;
    table->l2sq[VKERN_F16] = l2sq_f16_avx2;
    table->l2sq[VKERN_BF16] = l2sq_bf16_avx2;
    table->ndot[VKERN_F32] = ndot_f32_avx2;
    table->ndot[VKERN_F16] = ndot_f16_avx2;
    table->ndot[VKERN_BF16] = ndot_bf16_avx2;
}
#else
typedef int vkern_score_avx2_is_not_built;
#endif
