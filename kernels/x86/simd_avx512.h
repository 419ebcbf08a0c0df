/*
 * simd_avx512.h - loads of any float type as sixteen f32 and sums across lanes, for the *_avx512*.c
 * files.
 */
#ifndef VKERN_X86_SIMD_AVX512_H
#define VKERN_X86_SIMD_AVX512_H

#include "kernels/x86/x86.h"

#if VKERN_X86

VKERN_INLINE __m512 widen_bf16(__m256i x)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}

/* Elements i .. i + 15 of a row of floats as f32. */
VKERN_INLINE __m512 load16(enum vkern_type type, const void *row, size_t i)
{
    const unsigned char *at = (const unsigned char *)row + vkern_row_bytes(type, i);

    switch (type) {
    case VKERN_F32: return _mm512_loadu_ps(at);
    case VKERN_F16: return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)at));
    case VKERN_BF16: return widen_bf16(_mm256_loadu_si256((const __m256i *)at));
    default: return _mm512_setzero_ps();
    }
}

/* The same where `lanes` is set, 0 elsewhere; reads nothing else. */
VKERN_INLINE __m512 load16_part(enum vkern_type type, const void *row, size_t i, __mmask16 lanes)
{
    const unsigned char *at = (const unsigned char *)row + vkern_row_bytes(type, i);

    switch (type) {
    case VKERN_F32: return _mm512_maskz_loadu_ps(lanes, at);
    case VKERN_F16: return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lanes, at));
    case VKERN_BF16: return widen_bf16(_mm256_maskz_loadu_epi16(lanes, at));
    default: return _mm512_setzero_ps();
    }
}

VKERN_INLINE __mmask16 first_16(size_t n)
{
    return (__mmask16)((1u << n) - 1);
}

VKERN_INLINE __mmask64 first_64(size_t n)
{
    return n >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1;
}

/*
 * Eight vectors to their eight sums, two shuffles a vector. Each step adds the halves of two
 * vectors into one: after two steps a 128-bit lane belongs to one vector, after four an element
 * does.
 */
#define VKERN_FOLD_LANES(x, y)                                                                     \
    _mm512_add_ps(_mm512_shuffle_f32x4(x, y, 0x88), _mm512_shuffle_f32x4(x, y, 0xdd))

VKERN_INLINE __m256 sums_of_8(const __m512 v[8])
{
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 0, 0, 0, 0, 0, 0, 0);
    const __m512 v01 = VKERN_FOLD_LANES(v[0], v[1]), v23 = VKERN_FOLD_LANES(v[2], v[3]);
    const __m512 v45 = VKERN_FOLD_LANES(v[4], v[5]), v67 = VKERN_FOLD_LANES(v[6], v[7]);
    const __m512 a = VKERN_FOLD_LANES(v01, v23), b = VKERN_FOLD_LANES(v45, v67);
    __m512 t = _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xdd));

    t = _mm512_add_ps(t, _mm512_permute_ps(t, 0xb1));
    return _mm512_castps512_ps256(_mm512_permutexvar_ps(order, t));
}

#define VKERN_SHUFFLE_INT(shuffle, x, y, how)                                                      \
    _mm512_castps_si512(shuffle(_mm512_castsi512_ps(x), _mm512_castsi512_ps(y), how))
#define VKERN_FOLD_LANES_INT(x, y)                                                                 \
    _mm512_add_epi32(_mm512_shuffle_i32x4(x, y, 0x88), _mm512_shuffle_i32x4(x, y, 0xdd))

/* The same for 32-bit integers, modulo 2^32. */
VKERN_INLINE __m256i int_sums_of_8(const __m512i v[8])
{
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 0, 0, 0, 0, 0, 0, 0);
    const __m512i v01 = VKERN_FOLD_LANES_INT(v[0], v[1]), v23 = VKERN_FOLD_LANES_INT(v[2], v[3]);
    const __m512i v45 = VKERN_FOLD_LANES_INT(v[4], v[5]), v67 = VKERN_FOLD_LANES_INT(v[6], v[7]);
    const __m512i a = VKERN_FOLD_LANES_INT(v01, v23), b = VKERN_FOLD_LANES_INT(v45, v67);
    __m512i t = _mm512_add_epi32(VKERN_SHUFFLE_INT(_mm512_shuffle_ps, a, b, 0x88),
                                 VKERN_SHUFFLE_INT(_mm512_shuffle_ps, a, b, 0xdd));

    t = _mm512_add_epi32(t, _mm512_shuffle_epi32(t, _MM_PERM_CDAB));
    return _mm512_castsi512_si256(_mm512_permutexvar_epi32(order, t));
}

#endif
#endif
