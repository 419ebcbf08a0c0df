/*
 * convert_avx2.c - rows to f32 and back, eight elements at a time; the last ones, fewer than eight,
 * by the same code on a padded copy. i8 and u8 are made from f32 by the reference.
 */
#include "kernels/x86/simd_avx2.h"

#if VKERN_X86

VKERN_INLINE void to_f32(enum vkern_type type, const void *from, size_t n, float *to)
{
    unsigned char *out = (unsigned char *)to;
    float last[8];
    size_t i = 0;

    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps((float *)(out + 4 * i), load8(type, from, i));
    if (i == n) return;
    _mm256_storeu_ps(last, load8_part(type, from, i, n - i));
    memcpy(out + 4 * i, last, 4 * (n - i));
}

/* Nearest, ties to even; a NaN stays one, made quiet (as ref/element.h has it). */
VKERN_INLINE __m128i to_bf16(__m256 x)
{
    const __m256i bits = _mm256_castps_si256(x), upper = _mm256_srli_epi32(bits, 16);
    const __m256i odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_srli_epi32(
        _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd), 16);
    const __m256i nan = _mm256_or_si256(upper, _mm256_set1_epi32(0x40));
    const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    const __m256i words = _mm256_blendv_epi8(rounded, nan, is_nan);

    return _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}

VKERN_INLINE __m128i to_half(enum vkern_type type, __m256 x)
{
    return type == VKERN_F16 ? _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT) : to_bf16(x);
}

/* All ones in the 16-bit lanes whose exponent says infinity or NaN. */
VKERN_INLINE __m128i half_not_finite(enum vkern_type type, __m128i x)
{
    const __m128i exponent = _mm_set1_epi16(type == VKERN_F16 ? 0x7c00 : 0x7f80);
    return _mm_cmpeq_epi16(_mm_and_si128(x, exponent), exponent);
}

VKERN_INLINE __m256i float_not_finite(__m256 x)
{
    const __m256i exponent = _mm256_set1_epi32(0x7f800000);
    return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_castps_si256(x), exponent), exponent);
}

VKERN_INLINE bool from_f32_half(enum vkern_type type, const float *from, size_t n, void *to)
{
    unsigned char *out = to, last[16];
    __m128i bad = _mm_setzero_si128(), x;
    size_t i = 0;

    for (; i + 8 <= n; i += 8) {
        x = to_half(type, load8(VKERN_F32, from, i));
        bad = _mm_or_si128(bad, half_not_finite(type, x));
        _mm_storeu_si128((__m128i *)(out + 2 * i), x);
    }
    if (i < n) {
        x = to_half(type, load8_part(VKERN_F32, from, i, n - i));
        bad = _mm_or_si128(bad, half_not_finite(type, x));
        _mm_storeu_si128((__m128i *)last, x);
        memcpy(out + 2 * i, last, 2 * (n - i));
    }
    return _mm_testz_si128(bad, bad);
}

static bool finite_f32_avx2(const void *from, size_t n)
{
    __m256i bad = _mm256_setzero_si256();
    size_t i = 0;

    for (; i + 8 <= n; i += 8)
        bad = _mm256_or_si256(bad, float_not_finite(load8(VKERN_F32, from, i)));
    if (i < n) bad = _mm256_or_si256(bad, float_not_finite(load8_part(VKERN_F32, from, i, n - i)));
    return _mm256_testz_si256(bad, bad);
}

VKERN_INLINE bool finite_half(enum vkern_type type, const void *from, size_t n)
{
    const unsigned char *at = from;
    __m128i bad = _mm_setzero_si128();
    size_t i = 0;

    for (; i + 8 <= n; i += 8)
        bad = _mm_or_si128(bad,
                           half_not_finite(type, _mm_loadu_si128((const __m128i *)(at + 2 * i))));
    bad = _mm_or_si128(bad, half_not_finite(type, load_under_16(at + 2 * i, 2 * (n - i))));
    return _mm_testz_si128(bad, bad);
}

static bool from_f32_f32_avx2(const float *from, size_t n, void *to)
{
    if (n > 0) memmove(to, from, 4 * n);
    return finite_f32_avx2(to, n);
}

#define DEFINE_TO(name, type)                                                                      \
    static void to_f32_##name##_avx2(const void *from, size_t n, float *to)                        \
    {                                                                                              \
        to_f32(type, from, n, to);                                                                 \
    }
DEFINE_TO(f32, VKERN_F32)
DEFINE_TO(f16, VKERN_F16)
DEFINE_TO(bf16, VKERN_BF16)
DEFINE_TO(i8, VKERN_I8)
DEFINE_TO(u8, VKERN_U8)

#define DEFINE_HALF(name, type)                                                                    \
    static bool from_f32_##name##_avx2(const float *from, size_t n, void *to)                      \
    {                                                                                              \
        return from_f32_half(type, from, n, to);                                                   \
    }                                                                                              \
    static bool finite_##name##_avx2(const void *from, size_t n)                                   \
    {                                                                                              \
        return finite_half(type, from, n);                                                         \
    }
DEFINE_HALF(f16, VKERN_F16)
DEFINE_HALF(bf16, VKERN_BF16)

void vkern_init_convert_avx2(vkern_table *table)
{
    table->to_f32[VKERN_F32] = to_f32_f32_avx2;
    table->to_f32[VKERN_F16] = to_f32_f16_avx2;
    table->to_f32[VKERN_BF16] = to_f32_bf16_avx2;
    table->to_f32[VKERN_I8] = to_f32_i8_avx2;
    table->to_f32[VKERN_U8] = to_f32_u8_avx2;
    table->from_f32[VKERN_F32] = from_f32_f32_avx2;
    table->from_f32[VKERN_F16] = from_f32_f16_avx2;
    table->from_f32[VKERN_BF16] = from_f32_bf16_avx2;
    table->finite[VKERN_F32] = finite_f32_avx2;
    table->finite[VKERN_F16] = finite_f16_avx2;
    table->finite[VKERN_BF16] = finite_bf16_avx2;
}
#else
typedef int vkern_convert_avx2_is_not_built;
#endif
