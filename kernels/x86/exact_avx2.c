/*
 * exact_avx2.c - the sixteen double partial sums of ref/exact.c as four vectors: multiply, then
 * add, never fused, the same tree.
 */
#include "kernels/x86/simd_avx2.h"

#if VKERN_X86

enum operation { L2SQ, DOT, SUMSQ };

VKERN_INLINE __m256d step(enum operation operation, __m128 a, __m128 b, __m256d sum)
{
    const __m256d y = _mm256_cvtps_pd(b), x = operation == SUMSQ ? y : _mm256_cvtps_pd(a);
    const __m256d d = _mm256_sub_pd(x, y);
    return _mm256_add_pd(sum, operation == L2SQ ? _mm256_mul_pd(d, d) : _mm256_mul_pd(x, y));
}

/* Eight elements into two of the four vectors. */
VKERN_INLINE void step8(enum operation operation, __m256 a, __m256 b, __m256d sum[2])
{
    sum[0] = step(operation, _mm256_castps256_ps128(a), _mm256_castps256_ps128(b), sum[0]);
    sum[1] = step(operation, _mm256_extractf128_ps(a, 1), _mm256_extractf128_ps(b, 1), sum[1]);
}

VKERN_INLINE double tree(const __m256d sum[4])
{
    const __m256d by_8_low = _mm256_add_pd(sum[0], sum[2]);
    const __m256d by_8_high = _mm256_add_pd(sum[1], sum[3]);
    const __m256d by_4 = _mm256_add_pd(by_8_low, by_8_high);
    const __m128d by_2 = _mm_add_pd(_mm256_castpd256_pd128(by_4), _mm256_extractf128_pd(by_4, 1));

    return _mm_cvtsd_f64(_mm_add_sd(by_2, _mm_unpackhi_pd(by_2, by_2)));
}

VKERN_INLINE double exact(enum operation operation, enum vkern_type type, const void *a,
                          const void *b, size_t dim)
{
    __m256d sum[4] = {_mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd(),
                      _mm256_setzero_pd()};
    __m256 x = _mm256_setzero_ps();
    size_t i = 0;

    for (; i + 16 <= dim; i += 16) {
        if (operation != SUMSQ) x = load8(VKERN_F32, a, i);
        step8(operation, x, load8(type, b, i), sum);
        if (operation != SUMSQ) x = load8(VKERN_F32, a, i + 8);
        step8(operation, x, load8(type, b, i + 8), sum + 2);
    }
    if (i < dim) {
        if (operation != SUMSQ) x = load_up_to_8(VKERN_F32, a, i, dim);
        step8(operation, x, load_up_to_8(type, b, i, dim), sum);
    }
    if (i + 8 < dim) {
        if (operation != SUMSQ) x = load8_part(VKERN_F32, a, i + 8, dim - i - 8);
        step8(operation, x, load8_part(type, b, i + 8, dim - i - 8), sum + 2);
    }
    return tree(sum);
}

#define DEFINE(name, type)                                                                         \
    static double exact_l2sq_##name##_avx2(const void *a, const void *b, size_t dim)               \
    {                                                                                              \
        return exact(L2SQ, type, a, b, dim);                                                       \
    }                                                                                              \
    static double exact_dot_##name##_avx2(const void *a, const void *b, size_t dim)                \
    {                                                                                              \
        return exact(DOT, type, a, b, dim);                                                        \
    }                                                                                              \
    static double sumsq_##name##_avx2(const void *row, size_t dim)                                 \
    {                                                                                              \
        return exact(SUMSQ, type, NULL, row, dim);                                                 \
    }
#define FOR_FLOAT_TYPES(DO) DO(f32, VKERN_F32) DO(f16, VKERN_F16) DO(bf16, VKERN_BF16)
FOR_FLOAT_TYPES(DEFINE)

void vkern_init_exact_avx2(vkern_table *table)
{
#define FILL(name, type)                                                                           \
    table->exact_l2sq[type] = exact_l2sq_##name##_avx2;                                            \
    table->exact_dot[type] = exact_dot_##name##_avx2;                                              \
    table->sumsq[type] = sumsq_##name##_avx2;
    FOR_FLOAT_TYPES(FILL)
}
#else
typedef int vkern_exact_avx2_is_not_built;
#endif
