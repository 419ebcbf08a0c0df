/*
 * filter_avx512.c - survivors of a threshold, division by norms, the bandwidth floor.
 *
 * Among 64 scores there is mostly no survivor: four comparisons, one branch. Where there are some,
 * each vector of 16 scores is compressed in a register and stored whole (a compressing store to
 * memory is microcoded on some processors): the room behind positions and kept is for that.
 */
#include "kernels/x86/live.h"
#include "kernels/x86/simd_avx512.h"

#if VKERN_X86

/* Bit i: not (scores[i] > threshold), for 64 scores. That no bit is set is found out in mask registers: moving
   four masks out of them costs more than everything else. */
VKERN_INLINE uint64_t not_above(const float *scores, __m512 threshold)
{
    const __mmask16 a = _mm512_cmp_ps_mask(_mm512_loadu_ps(scores), threshold, _CMP_NGT_UQ);
    const __mmask16 b = _mm512_cmp_ps_mask(_mm512_loadu_ps(scores + 16), threshold, _CMP_NGT_UQ);
    const __mmask16 c = _mm512_cmp_ps_mask(_mm512_loadu_ps(scores + 32), threshold, _CMP_NGT_UQ);
    const __mmask16 d = _mm512_cmp_ps_mask(_mm512_loadu_ps(scores + 48), threshold, _CMP_NGT_UQ);

    if (_kortestz_mask16_u8(_kor_mask16(a, b), _kor_mask16(c, d))) return 0;
    return a | (uint64_t)b << 16 | (uint64_t)c << 32 | (uint64_t)d << 48;
}

static uint64_t not_above_part(const float *scores, size_t n, __m512 threshold)
{
    uint64_t bits = 0;

    for (size_t j = 0; j < n; j += 16) {
        const __mmask16 lanes = first_16(n - j < 16 ? n - j : 16);
        const __m512 x = _mm512_maskz_loadu_ps(lanes, scores + j);
        bits |= (uint64_t)_mm512_mask_cmp_ps_mask(lanes, x, threshold, _CMP_NGT_UQ) << j;
    }
    return bits;
}

/* Append those of up to 16 scores whose bit is set; reads only those. Returns how many. */
VKERN_INLINE size_t append_16(const float *scores, __mmask16 bits, uint64_t position,
                              uint64_t *positions, float *kept)
{
    const __m512i low = _mm512_add_epi64(_mm512_set1_epi64((long long)position),
                                         _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7));
    const __m512i high = _mm512_add_epi64(low, _mm512_set1_epi64(8));
    const size_t n_low = (size_t)__builtin_popcount(bits & 0xff);

    _mm512_storeu_ps(kept, _mm512_maskz_compress_ps(bits, _mm512_maskz_loadu_ps(bits, scores)));
    _mm512_storeu_si512(positions, _mm512_maskz_compress_epi64((__mmask8)bits, low));
    _mm512_storeu_si512(positions + n_low,
                        _mm512_maskz_compress_epi64((__mmask8)(bits >> 8), high));
    return (size_t)__builtin_popcount(bits);
}

static size_t survivors_avx512(const float *scores, size_t n, float threshold, const uint64_t *live,
                               size_t first_bit, uint64_t base, uint64_t *positions, float *kept)
{
    const __m512 limit = _mm512_set1_ps(threshold);
    size_t count = 0;

    for (size_t i = 0; i < n; i += 64) {
        const size_t left = n - i < 64 ? n - i : 64;
        uint64_t bits =
            left == 64 ? not_above(scores + i, limit) : not_above_part(scores + i, left, limit);
        if (bits == 0) continue;
        bits &= live_bits(live, first_bit + i, left);
        for (size_t j = i; bits != 0; j += 16, bits >>= 16)
            if ((bits & 0xffff) != 0)
                count += append_16(scores + j, (__mmask16)bits, base + j, positions + count,
                                   kept + count);
    }
    return count;
}

static void divide_avx512(float *scores, const void *norms, size_t n)
{
    const unsigned char *at = norms;

    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 lanes = first_16(n - i < 16 ? n - i : 16);
        const __m512 norm = _mm512_maskz_loadu_ps(lanes, at + 4 * i);
        const __mmask16 positive = _mm512_cmp_ps_mask(norm, _mm512_setzero_ps(), _CMP_GT_OQ);
        const __m512 score = _mm512_maskz_loadu_ps(lanes, scores + i);
        _mm512_mask_storeu_ps(scores + i, lanes, _mm512_maskz_div_ps(positive, score, norm));
    }
}

static uint64_t sum_avx512(const void *bytes, size_t n)
{
    const unsigned char *at = bytes;
    __m512i a = _mm512_setzero_si512(), b = a;
    uint64_t lanes[8], sum = 0;

    for (; n >= 128; n -= 128, at += 128) {
        prefetch(at, prefetch_distance(0), 128);
        a = _mm512_add_epi64(a, _mm512_loadu_si512(at));
        b = _mm512_add_epi64(b, _mm512_loadu_si512(at + 64));
    }
    if (n > 0) a = _mm512_add_epi64(a, _mm512_loadu_si512(at));
    _mm512_storeu_si512(lanes, _mm512_add_epi64(a, b));
    for (size_t i = 0; i < 8; i++)
        sum += lanes[i];
    return sum;
}

void vkern_init_filter_avx512(vkern_table *table)
{
    table->survivors = survivors_avx512;
    table->divide = divide_avx512;
    table->sum = sum_avx512;
}
#else
typedef int vkern_filter_avx512_is_not_built;
#endif
