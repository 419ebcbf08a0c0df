/*
 * codes_avx2.c - scores of codes with AVX2: a line of a group is two registers of eight rows.
 *
 * c4 takes vpmaddubsw: four products of at most 15 * 127 stay below 2^15. c8 would saturate there
 * (255 * 127 * 2), so its lines are taken apart into even and odd bytes, 16 bits wide, for
 * vpmaddwd.
 */
#include "kernels/codes/encode.h"
#include "kernels/codes/internal.h"
#include "kernels/x86/x86.h"

#if VKERN_X86

enum { AHEAD = 4096 }; /* as in codes_avx512.h */

VKERN_INLINE __m256i load_half(const unsigned char *half)
{
    return _mm256_loadu_si256((const __m256i *)half);
}

/* ---- one query, 4-bit codes
 * ---------------------------------------------------------------------- */

VKERN_INLINE __m256i c4_step(__m256i sum, __m256i half, __m256i low, __m256i high)
{
    const __m256i mask = _mm256_set1_epi8(15);
    const __m256i a = _mm256_maddubs_epi16(_mm256_and_si256(half, mask), low);
    const __m256i b =
        _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(half, 4), mask), high);

    return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_add_epi16(a, b), _mm256_set1_epi16(1)));
}

static void c4_scan(const int8_t *weights, float weight_scale, const void *groups, size_t n_groups,
                    size_t m, float *scores, float cut, uint16_t *below)
{
    const __m256 scale = _mm256_set1_ps(-weight_scale), limit = _mm256_set1_ps(cut);
    const unsigned char *group = groups;
    const size_t lines = m / 8;

    for (; n_groups > 0; n_groups--, group += 64 * lines + 64, scores += VKERN_GROUP) {
        __m256i sum[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
        for (size_t i = 0; i < lines; i++) {
            int32_t words[2];
            memcpy(words, weights + 8 * i, 8);
            const __m256i low = _mm256_set1_epi32(words[0]), high = _mm256_set1_epi32(words[1]);
            prefetch(group, 64 * i + AHEAD, 64);
            sum[0] = c4_step(sum[0], load_half(group + 64 * i), low, high);
            sum[1] = c4_step(sum[1], load_half(group + 64 * i + 32), low, high);
        }
        prefetch(group, 64 * lines + AHEAD, 64);
        int bits = 0;
        for (size_t h = 0; h < 2; h++) {
            const __m256 factor = _mm256_loadu_ps((const float *)(group + 64 * lines + 32 * h));
            const __m256 score = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[h]), scale, factor);
            _mm256_storeu_ps(scores + 8 * h, score);
            bits |= _mm256_movemask_ps(_mm256_cmp_ps(score, limit, _CMP_NGT_UQ)) << (8 * h);
        }
        if (below) *below++ = (uint16_t)bits;
    }
}

/* ---- 8-bit codes
 * --------------------------------------------------------------------------------- */

/* A query's four codes for a line, widened: even elements, odd elements. */
enum { WORDS = 2 };

VKERN_INLINE void put_words(const int8_t *codes, int32_t *words)
{
    const int16_t wide[4] = {codes[0], codes[2], codes[1], codes[3]};

    memcpy(words, wide, 8);
}

struct c8_half {
    __m256i even, odd;
};

VKERN_INLINE struct c8_half c8_take(const unsigned char *half)
{
    const __m256i bytes = load_half(half);

    return (struct c8_half){_mm256_and_si256(bytes, _mm256_set1_epi16(0xff)),
                            _mm256_srli_epi16(bytes, 8)};
}

/* sum += the products of pairs of 16-bit elements. The statement of nothing keeps compilers from
 * putting additions off, which takes more registers than there are. */
VKERN_INLINE __m256i add_pairs(__m256i sum, __m256i codes, __m256i words)
{
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(codes, words));
    __asm__("" : "+x"(sum));
    return sum;
}

VKERN_INLINE __m256i c8_step(__m256i sum, struct c8_half half, __m256i even, __m256i odd)
{
    return add_pairs(add_pairs(sum, half.even, even), half.odd, odd);
}

/* Scores of eight rows from sums of t * code; `factors`: their part of the group's first of three
 * lines. */
VKERN_INLINE __m256 c8_scores(__m256i sum, const struct tile8_head *head,
                              const unsigned char *factors)
{
    const __m256 bias = _mm256_loadu_ps((const float *)factors);
    const __m256 scale = _mm256_loadu_ps((const float *)(factors + 64));

    sum = _mm256_add_epi32(sum, _mm256_set1_epi32(head->constant));
    if (head->shift != 0)
        sum = _mm256_add_epi32(
            sum, _mm256_mullo_epi32(load_half(factors + 128), _mm256_set1_epi32(head->shift)));
    return _mm256_fmadd_ps(_mm256_mul_ps(scale, _mm256_cvtepi32_ps(sum)),
                           _mm256_set1_ps(head->weight), bias);
}

static void c8_scan(const struct vkern_c8_query *query, const void *groups, size_t n_groups,
                    size_t dim, float *scores)
{
    const struct tile8_head head = {query->weight, query->shift, query->constant};
    const unsigned char *group = groups;
    const size_t lines = c8_lines(dim);
    int32_t words[WORDS * (VKERN_C8_DIM_MAX / 4)];

    for (size_t i = 0; i < lines; i++)
        put_words(query->codes + 4 * i, words + WORDS * i);
    for (; n_groups > 0; n_groups--, group += 64 * lines + 192, scores += VKERN_GROUP) {
        __m256i sum[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
        for (size_t i = 0; i < lines; i++) {
            const __m256i even = _mm256_set1_epi32(words[WORDS * i]);
            const __m256i odd = _mm256_set1_epi32(words[WORDS * i + 1]);
            prefetch(group, 64 * i + AHEAD, 64);
            sum[0] = c8_step(sum[0], c8_take(group + 64 * i), even, odd);
            sum[1] = c8_step(sum[1], c8_take(group + 64 * i + 32), even, odd);
        }
        prefetch(group, 64 * lines + AHEAD, 192);
        for (size_t h = 0; h < 2; h++)
            _mm256_storeu_ps(scores + 8 * h, c8_scores(sum[h], &head, group + 64 * lines + 32 * h));
    }
}

/* ---- many queries
 * -------------------------------------------------------------------------------- */

/* Four queries x one group: eight sums, four halves of a line and two words in sixteen registers.
 * The pack is laid out as in codes_avx512.h. */
enum { QUERIES = 4 };

#include "kernels/codes/tile8_pack.h"

/* What a block of queries and a group meet in. */
struct tile8_block {
    const struct tile8_head *heads;
    const int32_t *words;
    const unsigned char *group;
    size_t lines;
    float *out;
    size_t out_stride;
    const float *cuts;
    uint16_t *below;
};

VKERN_INLINE void block(size_t n_queries, const struct tile8_block *b)
{
    const size_t lines = b->lines;
    const unsigned char *group = b->group;
    const int32_t *words = b->words;
    __m256i sum[2][QUERIES];

#pragma GCC unroll 4
    for (size_t q = 0; q < n_queries; q++)
        sum[0][q] = sum[1][q] = _mm256_setzero_si256();
    for (size_t i = 0; i < lines; i++, words += QUERIES * WORDS) {
        const struct c8_half first = c8_take(group + 64 * i), second = c8_take(group + 64 * i + 32);
#pragma GCC unroll 4
        for (size_t q = 0; q < n_queries; q++) {
            const __m256i even = _mm256_set1_epi32(words[WORDS * q]);
            const __m256i odd = _mm256_set1_epi32(words[WORDS * q + 1]);
            sum[0][q] = c8_step(sum[0][q], first, even, odd);
            sum[1][q] = c8_step(sum[1][q], second, even, odd);
        }
    }
#pragma GCC unroll 4
    for (size_t q = 0; q < n_queries; q++) {
        const __m256 first = c8_scores(sum[0][q], &b->heads[q], group + 64 * lines);
        const __m256 second = c8_scores(sum[1][q], &b->heads[q], group + 64 * lines + 32);
        _mm256_store_ps(b->out + q * b->out_stride, first);
        _mm256_store_ps(b->out + q * b->out_stride + 8, second);
        if (!b->below) continue;
        const __m256 cut = _mm256_set1_ps(b->cuts[q]);
        b->below[q * VKERN_TILE_GROUPS] =
            (uint16_t)(_mm256_movemask_ps(_mm256_cmp_ps(first, cut, _CMP_NGT_UQ)) |
                       _mm256_movemask_ps(_mm256_cmp_ps(second, cut, _CMP_NGT_UQ)) << 8);
    }
}

static void multiply(const void *packed, size_t nq, const void *groups, size_t n_groups, size_t dim,
                     float *out, size_t out_stride, const float *cuts, uint16_t *below)
{
    const size_t lines = c8_lines(dim);
    const int32_t *words = (const int32_t *)((const unsigned char *)packed + tile8_head_bytes(nq));
    struct tile8_block b = {packed, words, groups, lines, out, out_stride, cuts, below};

    for (size_t g = 0; g < n_groups; g++, b.group += 64 * lines + 192)
        for (size_t q = 0; q < nq; q += QUERIES) {
            b.heads = (const struct tile8_head *)packed + q;
            b.words = words + q * WORDS * lines;
            b.out = out + q * out_stride + g * VKERN_GROUP;
            if (below) b.cuts = cuts + q, b.below = below + q * VKERN_TILE_GROUPS + g;
            switch (nq - q) {
            case 1: block(1, &b); break;
            case 2: block(2, &b); break;
            case 3: block(3, &b); break;
            default: block(4, &b); break;
            }
        }
}

static const struct vkern_tile8 tile8 = {"avx2", pack_bytes, pack, multiply, NULL};

const struct vkern_codes vkern_codes_avx2 = {c4_scan, c8_scan, vkern_c8_pack_ref,
                                             &tile8,  NULL,    &vkern_encode_avx2};
#else
typedef int vkern_codes_avx2_is_not_built;
#endif
