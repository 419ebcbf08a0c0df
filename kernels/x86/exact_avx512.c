/*
 * exact_avx512.c - the sixteen double partial sums of ref/exact.c as two vectors: multiply, then
 * add, never fused, the same tree. i8 and u8 keep the AVX2 kernels.
 */
#include "kernels/x86/simd_avx2.h"

#if VKERN_X86

enum operation { L2SQ, DOT, SUMSQ };

VKERN_INLINE __m512d step(enum operation operation, __m256 a, __m256 b, __m512d sum)
{
    const __m512d y = _mm512_cvtps_pd(b), x = operation == SUMSQ ? y : _mm512_cvtps_pd(a);
    const __m512d d = _mm512_sub_pd(x, y);
    return _mm512_add_pd(sum, operation == L2SQ ? _mm512_mul_pd(d, d) : _mm512_mul_pd(x, y));
}

VKERN_INLINE double tree(__m512d low, __m512d high)
{
    const __m512d by_8 = _mm512_add_pd(low, high);
    const __m256d by_4 =
        _mm256_add_pd(_mm512_castpd512_pd256(by_8), _mm512_extractf64x4_pd(by_8, 1));
    const __m128d by_2 = _mm_add_pd(_mm256_castpd256_pd128(by_4), _mm256_extractf128_pd(by_4, 1));

    return _mm_cvtsd_f64(_mm_add_sd(by_2, _mm_unpackhi_pd(by_2, by_2)));
}

VKERN_INLINE double exact(enum operation operation, enum vkern_type type, const void *a,
                          const void *b, size_t dim)
{
    __m512d low = _mm512_setzero_pd(), high = low;
    __m256 x = _mm256_setzero_ps();
    size_t i = 0;

    for (; i + 16 <= dim; i += 16) {
        if (operation != SUMSQ) x = load8(VKERN_F32, a, i);
        low = step(operation, x, load8(type, b, i), low);
        if (operation != SUMSQ) x = load8(VKERN_F32, a, i + 8);
        high = step(operation, x, load8(type, b, i + 8), high);
    }
    if (i < dim) {
        if (operation != SUMSQ) x = load_up_to_8(VKERN_F32, a, i, dim);
        low = step(operation, x, load_up_to_8(type, b, i, dim), low);
    }
    if (i + 8 < dim) {
        if (operation != SUMSQ) x = load8_part(VKERN_F32, a, i + 8, dim - i - 8);
        high = step(operation, x, load8_part(type, b, i + 8, dim - i - 8), high);
    }
    return tree(low, high);
}

#define DEFINE(name, type)                                                                         \
    static double exact_l2sq_##name##_avx512(const void *a, const void *b, size_t dim)             \
    {                                                                                              \
        return exact(L2SQ, type, a, b, dim);                                                       \
    }                                                                                              \
    static double exact_dot_##name##_avx512(const void *a, const void *b, size_t dim)              \
    {                                                                                              \
        return exact(DOT, type, a, b, dim);                                                        \
    }                                                                                              \
    static double sumsq_##name##_avx512(const void *row, size_t dim)                               \
    {                                                                                              \
        return exact(SUMSQ, type, NULL, row, dim);                                                 \
    }
#define FOR_FLOAT_TYPES(DO) DO(f32, VKERN_F32) DO(f16, VKERN_F16) DO(bf16, VKERN_BF16)
FOR_FLOAT_TYPES(DEFINE)

void vkern_init_exact_avx512(vkern_table *table)
{
#define FILL(name, type)                                                                           \
    table->exact_l2sq[type] = exact_l2sq_##name##_avx512;                                          \
    table->exact_dot[type] = exact_dot_##name##_avx512;                                            \
    table->sumsq[type] = sumsq_##name##_avx512;
    FOR_FLOAT_TYPES(FILL)
}
#else
typedef int vkern_exact_avx512_is_not_built;
#endif
