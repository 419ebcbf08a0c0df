/*
 * simd_avx2.h - loads of any element type as eight f32 and sums across lanes, for the *_avx2.c
 * files.
 */
#ifndef VKERN_X86_SIMD_AVX2_H
#define VKERN_X86_SIMD_AVX2_H

#include "kernels/x86/x86.h"

#if VKERN_X86

/* Elements i .. i + 7 of a row as f32. */
VKERN_INLINE __m256 load8(enum vkern_type type, const void *row, size_t i)
{
    const unsigned char *at = (const unsigned char *)row + vkern_row_bytes(type, i);

    switch (type) {
    case VKERN_F32: return _mm256_loadu_ps((const float *)at);
    case VKERN_F16: return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)at));
    case VKERN_BF16:
        return _mm256_castsi256_ps(
            _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)at)), 16));
    case VKERN_I8:
        return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)at)));
    case VKERN_U8:
        return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)at)));
    default: return _mm256_setzero_ps();
    }
}

VKERN_INLINE uint64_t word_at(const unsigned char *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

VKERN_INLINE uint64_t half_word_at(const unsigned char *at)
{
    uint32_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

/* n < 16 bytes, then zeros; reads nothing else. Loads that overlap, where the same bytes are or-ed
 * to themselves: a copy through memory would wait for its own stores. */
VKERN_INLINE __m128i load_under_16(const unsigned char *at, size_t n)
{
    uint64_t low = 0, high = 0;

    if (n > 8) high = word_at(at + n - 8) >> 8 * (16 - n);
    if (n >= 8)
        low = word_at(at);
    else if (n >= 4)
        low = half_word_at(at) | half_word_at(at + n - 4) << 8 * (n - 4);
    else if (n > 0)
        low = (uint64_t)at[0] | (uint64_t)at[n / 2] << 8 * (n / 2) |
              (uint64_t)at[n - 1] << 8 * (n - 1);
    return _mm_set_epi64x((long long)high, (long long)low);
}

/* All ones in the first n of eight lanes. */
VKERN_INLINE __m256i first_lanes(size_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* Elements i .. i + n - 1, n < 8, as f32, the other lanes 0; reads nothing else. */
VKERN_INLINE __m256 load8_part(enum vkern_type type, const void *row, size_t i, size_t n)
{
    const unsigned char *at = (const unsigned char *)row + vkern_row_bytes(type, i);
    __m128i bytes;

    if (type == VKERN_F32) return _mm256_maskload_ps((const float *)at, first_lanes(n));
    bytes = load_under_16(at, vkern_row_bytes(type, n));
    return load8(type, &bytes, 0);
}

/* Elements i .. i + 7 as far as the row has them, i < dim, 0 in the lanes beyond. */
VKERN_INLINE __m256 load_up_to_8(enum vkern_type type, const void *row, size_t i, size_t dim)
{
    return i + 8 <= dim ? load8(type, row, i) : load8_part(type, row, i, dim - i);
}

/* The sums of four vectors. */
VKERN_INLINE __m128 sums_of_4(__m256 a, __m256 b, __m256 c, __m256 d)
{
    const __m256 t = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    return _mm_add_ps(_mm256_castps256_ps128(t), _mm256_extractf128_ps(t, 1));
}

VKERN_INLINE __m128i int_sums_of_4(__m256i a, __m256i b, __m256i c, __m256i d)
{
    const __m256i t = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    return _mm_add_epi32(_mm256_castsi256_si128(t), _mm256_extracti128_si256(t, 1));
}

#endif
#endif
