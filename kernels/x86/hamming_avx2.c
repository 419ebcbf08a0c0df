/*
 * hamming_avx2.c - bits: ones counted by a table of nibbles in a register (Mula, Kurz, Lemire,
 * "Faster population counts using AVX2 instructions", 2018), the rest of a row by words. Padding
 * bits are 0.
 */
#include "kernels/x86/simd_avx2.h"

#if VKERN_X86

enum { ROWS = 4 };

/* Ones of each byte, summed into four 64-bit lanes. */
VKERN_INLINE __m256i ones(__m256i x)
{
    const __m256i of_nibble = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1,
                                               1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    const __m256i nibble = _mm256_set1_epi8(15);
    const __m256i low = _mm256_shuffle_epi8(of_nibble, _mm256_and_si256(x, nibble));
    const __m256i high =
        _mm256_shuffle_epi8(of_nibble, _mm256_and_si256(_mm256_srli_epi16(x, 4), nibble));

    return _mm256_sad_epu8(_mm256_add_epi8(low, high), _mm256_setzero_si256());
}

/* Differing bits of n < 32 bytes. */
VKERN_INLINE int32_t differing_part(const unsigned char *a, const unsigned char *b, size_t n)
{
    int count = 0;

    for (; n >= 8; n -= 8, a += 8, b += 8)
        count += __builtin_popcountll(word_at(a) ^ word_at(b));
    for (; n > 0; n--, a++, b++)
        count += __builtin_popcount((unsigned)(*a ^ *b));
    return count;
}

VKERN_INLINE __m256i load32(const unsigned char *at)
{
    return _mm256_loadu_si256((const __m256i *)at);
}

VKERN_INLINE __m128i block(size_t n_rows, const unsigned char *query, const unsigned char *rows,
                           size_t stride, size_t size)
{
    const size_t ahead = prefetch_distance(ROWS * stride);
    __m256i sum[ROWS];
    size_t i = 0;

    for (size_t r = 0; r < ROWS; r++)
        sum[r] = _mm256_setzero_si256();
    prefetch(rows, ahead, n_rows * size);
    for (; i + 32 <= size; i += 32)
        for (size_t r = 0; r < n_rows; r++)
            sum[r] = _mm256_add_epi64(
                sum[r], ones(_mm256_xor_si256(load32(query + i), load32(rows + r * stride + i))));
    if (i < size)
        for (size_t r = 0; r < n_rows; r++)
            sum[r] = _mm256_add_epi64(
                sum[r], _mm256_setr_epi64x(
                            differing_part(query + i, rows + r * stride + i, size - i), 0, 0, 0));
    return int_sums_of_4(sum[0], sum[1], sum[2], sum[3]);
}

void vkern_hamming_avx2(const void *query, const void *rows, size_t stride, size_t n, size_t dim,
                        float *scores)
{
    const size_t size = vkern_row_bytes(VKERN_BIT, dim);
    const unsigned char *row = rows;

    for (; n >= ROWS; n -= ROWS, row += ROWS * stride, scores += ROWS)
        _mm_storeu_ps(scores, _mm_cvtepi32_ps(block(ROWS, query, row, stride, size)));
    for (; n > 0; n--, row += stride, scores++)
        _mm_store_ss(scores, _mm_cvtepi32_ps(block(1, query, row, stride, size)));
}

static double exact_hamming_avx2(const void *a, const void *b, size_t dim)
{
    const size_t size = vkern_row_bytes(VKERN_BIT, dim);

    return _mm_cvtsi128_si32(block(1, a, b, 0, size));
}

void vkern_init_hamming_avx2(vkern_table *table)
{
    table->hamming = vkern_hamming_avx2;
    table->exact_l2sq[VKERN_BIT] = exact_hamming_avx2;
}
#else
typedef int vkern_hamming_avx2_is_not_built;
#endif
