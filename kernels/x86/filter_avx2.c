/*
 * filter_avx2.c - survivors of a threshold, division by norms, the bandwidth floor.
 *
 * Among 64 scores there is mostly no survivor: eight comparisons, or-ed, one branch. Where there
 * are some, they are taken one by one from a 64-bit mask.
 */
#include "kernels/x86/live.h"
#include "kernels/x86/simd_avx2.h"

#if VKERN_X86

/* Bit i: not (scores[i] > threshold), for 64 scores. */
VKERN_INLINE uint64_t not_above(const float *scores, __m256 threshold)
{
    __m256 hit[8], any = _mm256_setzero_ps();
    uint64_t bits = 0;

    for (size_t j = 0; j < 8; j++) {
        hit[j] = _mm256_cmp_ps(_mm256_loadu_ps(scores + 8 * j), threshold, _CMP_NGT_UQ);
        any = _mm256_or_ps(any, hit[j]);
    }
    if (_mm256_movemask_ps(any) == 0) return 0;
    for (size_t j = 0; j < 8; j++)
        bits |= (uint64_t)(unsigned)_mm256_movemask_ps(hit[j]) << (8 * j);
    return bits;
}

static uint64_t not_above_part(const float *scores, size_t n, float threshold)
{
    uint64_t bits = 0;

    for (size_t j = 0; j < n; j++)
        bits |= (uint64_t) !(scores[j] > threshold) << j;
    return bits;
}

static size_t survivors_avx2(const float *scores, size_t n, float threshold, const uint64_t *live,
                             size_t first_bit, uint64_t base, uint64_t *positions, float *kept)
{
    const __m256 limit = _mm256_set1_ps(threshold);
    size_t count = 0;

    for (size_t i = 0; i < n; i += 64) {
        const size_t left = n - i < 64 ? n - i : 64;
        uint64_t bits =
            left == 64 ? not_above(scores + i, limit) : not_above_part(scores + i, left, threshold);
        if (bits == 0) continue;
        for (bits &= live_bits(live, first_bit + i, left); bits != 0; bits &= bits - 1) {
            const size_t at = i + (size_t)__builtin_ctzll(bits);
            positions[count] = base + at;
            kept[count++] = scores[at];
        }
    }
    return count;
}

static void divide_avx2(float *scores, const void *norms, size_t n)
{
    const __m256 zero = _mm256_setzero_ps();
    const unsigned char *at = norms;
    size_t i = 0;

    for (; i + 8 <= n; i += 8) {
        const __m256 norm = _mm256_loadu_ps((const float *)(at + 4 * i));
        const __m256 quotient = _mm256_div_ps(_mm256_loadu_ps(scores + i), norm);
        _mm256_storeu_ps(scores + i,
                         _mm256_and_ps(quotient, _mm256_cmp_ps(norm, zero, _CMP_GT_OQ)));
    }
    for (; i < n; i++) {
        float norm;
        memcpy(&norm, at + 4 * i, 4);
        scores[i] = norm > 0 ? scores[i] / norm : 0;
    }
}

static uint64_t sum_avx2(const void *bytes, size_t n)
{
    const __m256i *at = bytes;
    __m256i a = _mm256_setzero_si256(), b = a;
    uint64_t lanes[4];

    for (; n > 0; n -= 64, at += 2) {
        prefetch(at, prefetch_distance(0), 64);
        a = _mm256_add_epi64(a, _mm256_loadu_si256(at));
        b = _mm256_add_epi64(b, _mm256_loadu_si256(at + 1));
    }
    _mm256_storeu_si256((__m256i *)lanes, _mm256_add_epi64(a, b));
    return lanes[0] + lanes[1] + lanes[2] + lanes[3];
}

void vkern_init_filter_avx2(vkern_table *table)
{
    table->survivors = survivors_avx2;
    table->divide = divide_avx2;
    table->sum = sum_avx2;
}
#else
typedef int vkern_filter_avx2_is_not_built;
#endif
