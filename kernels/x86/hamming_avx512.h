/*
 * hamming_avx512.h - the body of hamming_avx512.c and hamming_avx512popcnt.c: bits, eight rows at
 * once, the tail of a row by mask. VKERN_VPOPCNT selects the instructions. Padding bits are 0.
 */
#ifndef VKERN_X86_HAMMING_AVX512_H
#define VKERN_X86_HAMMING_AVX512_H

#include "kernels/x86/simd_avx512.h"

enum { ROWS = 8 };

/* Ones of each byte or word, summed into eight 64-bit lanes. */
VKERN_INLINE __m512i ones(__m512i x)
{
#if VKERN_VPOPCNT
    return _mm512_popcnt_epi64(x);
#else /* the nibble table of hamming_avx2.c */
    const __m512i of_nibble =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    const __m512i nibble = _mm512_set1_epi8(15);
    const __m512i low = _mm512_shuffle_epi8(of_nibble, _mm512_and_si512(x, nibble));
    const __m512i high =
        _mm512_shuffle_epi8(of_nibble, _mm512_and_si512(_mm512_srli_epi16(x, 4), nibble));

    return _mm512_sad_epu8(_mm512_add_epi8(low, high), _mm512_setzero_si512());
#endif
}

VKERN_INLINE __m256i block(const unsigned char *query, const unsigned char *rows, size_t stride,
                           size_t size)
{
    const size_t ahead = prefetch_distance(ROWS * stride);
    __m512i sum[ROWS];
    size_t i = 0;

    for (size_t r = 0; r < ROWS; r++)
        sum[r] = _mm512_setzero_si512();
    for (; i + 64 <= size; i += 64) {
        const __m512i q = _mm512_loadu_si512(query + i);
        prefetch(rows, ahead + ROWS * i, ROWS * 64);
        for (size_t r = 0; r < ROWS; r++) {
            const __m512i x = _mm512_loadu_si512(rows + r * stride + i);
            sum[r] = _mm512_add_epi64(sum[r], ones(_mm512_xor_si512(q, x)));
        }
    }
    if (i < size) {
        const __mmask64 bytes = first_64(size - i);
        const __m512i q = _mm512_maskz_loadu_epi8(bytes, query + i);
        prefetch(rows, ahead + ROWS * i, ROWS * (size - i));
        for (size_t r = 0; r < ROWS; r++) {
            const __m512i x = _mm512_maskz_loadu_epi8(bytes, rows + r * stride + i);
            sum[r] = _mm512_add_epi64(sum[r], ones(_mm512_xor_si512(q, x)));
        }
    }
    return int_sums_of_8(sum);
}

VKERN_INLINE void hamming(const void *query, const void *rows, size_t stride, size_t n, size_t dim,
                          float *scores)
{
    const size_t size = vkern_row_bytes(VKERN_BIT, dim);
    const unsigned char *row = rows;

    for (; n >= ROWS; n -= ROWS, row += ROWS * stride, scores += ROWS)
        _mm256_storeu_ps(scores, _mm256_cvtepi32_ps(block(query, row, stride, size)));
    if (n > 0) vkern_hamming_avx2(query, row, stride, n, dim, scores);
}

#endif
