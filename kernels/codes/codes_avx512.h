/*
 * codes_avx512.h - the body of codes_avx512.c and codes_avx512vnni.c: a line of a group (4 bytes of
 * each of 16 rows) is one register, a row's sum one 32-bit lane. VKERN_VNNI selects the
 * instructions; the table is the includer's.
 *
 * Without VNNI a line of c8 is taken apart into its even and odd bytes, widened to 16 bits, for
 * vpmaddwd: vpmaddubsw would saturate (255 * 127 * 2 > 32767). Nibbles are small enough for it.
 */
#ifndef VKERN_CODES_AVX512_H
#define VKERN_CODES_AVX512_H

#include "kernels/codes/encode.h"
#include "kernels/codes/internal.h"
#include "kernels/x86/simd_avx512.h"

/* Bytes between a line at work and the one asked for: a scan runs at the pace of memory, and the
 * hardware's prefetcher stops at every page (bench_codes, c4: 0.87 of `sum` without, 0.96 with). */
enum { AHEAD = 4096 };

/* Into a register, once: compilers would fold the load into each use. */
VKERN_INLINE __m512i load_line(const unsigned char *line)
{
    __m512i x = _mm512_loadu_si512(line);

    __asm__("" : "+v"(x));
    return x;
}

VKERN_INLINE __m512i word_of(const int8_t *codes, size_t i)
{
    int32_t word;

    memcpy(&word, codes + 4 * i, 4);
    return _mm512_set1_epi32(word);
}

#if VKERN_VNNI
/* sum += four products in each lane, bytes unsigned and codes signed. Not the intrinsic: gcc 12
 * copies every sum to another register and back around it (bench_codes: 0.45 of the peak, 0.9
 * without). */
VKERN_INLINE __m512i dot(__m512i sum, __m512i bytes, __m512i codes)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(bytes), "v"(codes));
    return sum;
}
#endif

/* ---- one query, 4-bit codes
 * ---------------------------------------------------------------------- */

/* Sums of low nibbles, and of high nibbles: with VNNI 16 times their sums, for they are not moved.
 */
struct c4_sums {
    __m512i low, high;
};

VKERN_INLINE void c4_step(struct c4_sums *sums, __m512i line, __m512i low, __m512i high)
{
    const __m512i mask = _mm512_set1_epi8(15);
#if VKERN_VNNI
    sums->low = dot(sums->low, _mm512_and_si512(line, mask), low);
    sums->high = dot(sums->high, _mm512_andnot_si512(mask, line), high);
#else
    /* four products of at most 15 * 127 stay below 2^15 */
    const __m512i a = _mm512_maddubs_epi16(_mm512_and_si512(line, mask), low);
    const __m512i b =
        _mm512_maddubs_epi16(_mm512_and_si512(_mm512_srli_epi16(line, 4), mask), high);
    sums->low = _mm512_add_epi32(sums->low,
                                 _mm512_madd_epi16(_mm512_add_epi16(a, b), _mm512_set1_epi16(1)));
#endif
}

VKERN_INLINE __m512i c4_total(struct c4_sums sums)
{
    return _mm512_add_epi32(sums.low, _mm512_srai_epi32(sums.high, 4));
}

/* Where scores go, and whether they are wanted. */
struct c4_out {
    __m512 scale, cut;
    float *scores;
    uint16_t *below; /* may be NULL */
};

VKERN_INLINE void c4_store(struct c4_sums sums, const unsigned char *factors, struct c4_out *out)
{
    const __m512 sum = _mm512_cvtepi32_ps(c4_total(sums));
    const __m512 score = _mm512_fmadd_ps(sum, out->scale, _mm512_loadu_ps(factors));

    _mm512_storeu_ps(out->scores, score);
    out->scores += VKERN_GROUP;
    if (out->below) *out->below++ = _mm512_cmp_ps_mask(score, out->cut, _CMP_NGT_UQ);
}

/* `lines` is a constant: the loop over them is unrolled and the weights stay in registers. */
enum { FEW_LINES = 12 };

VKERN_INLINE void c4_few_lines(size_t lines, const int8_t *weights, const unsigned char *group,
                               size_t n_groups, struct c4_out out)
{
    const __m512i zero = _mm512_setzero_si512();
    __m512i words[2 * FEW_LINES];

#pragma GCC unroll 24
    for (size_t i = 0; i < 2 * lines; i++)
        words[i] = word_of(weights, i);
    for (; n_groups > 0; n_groups--, group += 64 * lines + 64) {
        struct c4_sums sums = {zero, zero};
        prefetch(group, AHEAD, 64 * lines + 64);
#pragma GCC unroll 12
        for (size_t i = 0; i < lines; i++)
            c4_step(&sums, load_line(group + 64 * i), words[2 * i], words[2 * i + 1]);
        c4_store(sums, group + 64 * lines, &out);
    }
}

/* Any number of lines: two pairs of chains, for the products of a group follow one another. */
VKERN_INLINE void c4_many_lines(size_t lines, const int8_t *weights, const unsigned char *group,
                                size_t n_groups, struct c4_out out)
{
    const __m512i zero = _mm512_setzero_si512();

    for (; n_groups > 0; n_groups--, group += 64 * lines + 64) {
        struct c4_sums even = {zero, zero}, odd = {zero, zero};
        size_t i = 0;
        prefetch(group, AHEAD, 64);
        for (; i + 2 <= lines; i += 2) {
            prefetch(group, 64 * i + AHEAD + 64, 128);
            c4_step(&even, load_line(group + 64 * i), word_of(weights, 2 * i),
                    word_of(weights, 2 * i + 1));
            c4_step(&odd, load_line(group + 64 * i + 64), word_of(weights, 2 * i + 2),
                    word_of(weights, 2 * i + 3));
        }
        if (i < lines)
            c4_step(&even, load_line(group + 64 * i), word_of(weights, 2 * i),
                    word_of(weights, 2 * i + 1));
        even.low = _mm512_add_epi32(even.low, odd.low);
        even.high = _mm512_add_epi32(even.high, odd.high);
        c4_store(even, group + 64 * lines, &out);
    }
}

static void c4_scan(const int8_t *weights, float weight_scale, const void *groups, size_t n_groups,
                    size_t m, float *scores, float cut, uint16_t *below)
{
    const struct c4_out out = {_mm512_set1_ps(-weight_scale), _mm512_set1_ps(cut), scores, below};

    switch (m / 8) {
#define VKERN_C4_CASE(lines)                                                                       \
    case lines: c4_few_lines(lines, weights, groups, n_groups, out); break
        VKERN_C4_CASE(1);
        VKERN_C4_CASE(2);
        VKERN_C4_CASE(3);
        VKERN_C4_CASE(4);
        VKERN_C4_CASE(5);
        VKERN_C4_CASE(6);
        VKERN_C4_CASE(7);
        VKERN_C4_CASE(8);
        VKERN_C4_CASE(9);
        VKERN_C4_CASE(10);
        VKERN_C4_CASE(11);
        VKERN_C4_CASE(12);
#undef VKERN_C4_CASE
    default: c4_many_lines(m / 8, weights, groups, n_groups, out); break;
    }
}

/* ---- 8-bit codes
 * --------------------------------------------------------------------------------- */

/* A line as the multiplying instruction likes it. */
struct c8_line {
#if VKERN_VNNI
    __m512i bytes;
#else
    __m512i even, odd; /* 16-bit */
#endif
};

VKERN_INLINE struct c8_line c8_take(__m512i line)
{
#if VKERN_VNNI
    return (struct c8_line){line};
#else
    return (struct c8_line){_mm512_and_si512(line, _mm512_set1_epi16(0xff)),
                            _mm512_srli_epi16(line, 8)};
#endif
}

/* A query's four codes for a line: 32-bit words, WORDS of them. */
#if VKERN_VNNI
enum { WORDS = 1 };
#else
enum { WORDS = 2 }; /* even elements as 16 bits, odd elements */
#endif

VKERN_INLINE void put_words(const int8_t *codes, int32_t *words)
{
#if VKERN_VNNI
    memcpy(words, codes, 4);
#else
    const int16_t wide[4] = {codes[0], codes[2], codes[1], codes[3]};
    memcpy(words, wide, 8);
#endif
}

#if !VKERN_VNNI
/* sum += the products of pairs of 16-bit elements. The statement of nothing keeps compilers from
 * putting additions off, which takes more registers than there are. */
VKERN_INLINE __m512i add_pairs(__m512i sum, __m512i codes, __m512i words)
{
    sum = _mm512_add_epi32(sum, _mm512_madd_epi16(codes, words));
    __asm__("" : "+v"(sum));
    return sum;
}
#endif

VKERN_INLINE __m512i c8_step(__m512i sum, struct c8_line line, const int32_t *words)
{
#if VKERN_VNNI
    return dot(sum, line.bytes, _mm512_set1_epi32(words[0]));
#else
    sum = add_pairs(sum, line.even, _mm512_set1_epi32(words[0]));
    return add_pairs(sum, line.odd, _mm512_set1_epi32(words[1]));
#endif
}

/* Scores from sums of t * code; `factors` are the three lines at the end of a group. */
VKERN_INLINE __m512 c8_scores(__m512i sum, const struct tile8_head *head, bool may_shift,
                              const unsigned char *factors)
{
    const __m512 bias = _mm512_loadu_ps(factors), scale = _mm512_loadu_ps(factors + 64);

    sum = _mm512_add_epi32(sum, _mm512_set1_epi32(head->constant));
    if (may_shift && head->shift != 0)
        sum = _mm512_add_epi32(
            sum, _mm512_mullo_epi32(load_line(factors + 128), _mm512_set1_epi32(head->shift)));
    return _mm512_fmadd_ps(_mm512_mul_ps(scale, _mm512_cvtepi32_ps(sum)),
                           _mm512_set1_ps(head->weight), bias);
}

/* Four chains hide the latency of the multiplying instruction. */
enum { CHAINS = 4 };

VKERN_INLINE __m512i c8_sum(const int32_t *words, const unsigned char *group, size_t lines)
{
    __m512i sum[CHAINS];
    size_t i = 0;

#pragma GCC unroll 4
    for (size_t c = 0; c < CHAINS; c++)
        sum[c] = _mm512_setzero_si512();
    for (; i + CHAINS <= lines; i += CHAINS) {
        prefetch(group, 64 * i + AHEAD, 64 * CHAINS);
#pragma GCC unroll 4
        for (size_t c = 0; c < CHAINS; c++)
            sum[c] =
                c8_step(sum[c], c8_take(load_line(group + 64 * (i + c))), words + WORDS * (i + c));
    }
    for (; i < lines; i++) {
        prefetch(group, 64 * i + AHEAD, 64);
        sum[0] = c8_step(sum[0], c8_take(load_line(group + 64 * i)), words + WORDS * i);
    }
    prefetch(group, 64 * lines + AHEAD, 192);
    return _mm512_add_epi32(_mm512_add_epi32(sum[0], sum[1]), _mm512_add_epi32(sum[2], sum[3]));
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
    for (; n_groups > 0; n_groups--, group += 64 * lines + 192, scores += VKERN_GROUP)
        _mm512_storeu_ps(scores,
                         c8_scores(c8_sum(words, group, lines), &head, true, group + 64 * lines));
}

/* ---- many queries
 * -------------------------------------------------------------------------------- */

/*
 * QUERIES x GROUPS sums in registers. A pack is the heads, then blocks of QUERIES queries (the last
 * one filled up with zeros), line by line: one pointer, no two queries in the same set of the
 * cache.
 */
enum { QUERIES = 8, GROUPS = 2 };

#include "kernels/codes/tile8_pack.h"

/* What a block of queries and a few groups meet in. */
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

/* What the compiler is to know of a block: shifts of queries may be other than 0, scores are wanted. */
struct block_kind {
    bool may_shift, wants_scores;
};

VKERN_INLINE void finish(size_t n_groups, size_t q, struct block_kind kind,
                         const struct tile8_block *b, __m512i first, __m512i second,
                         const unsigned char *near_factors, const unsigned char *far_factors)
{
    const __m512 near = c8_scores(first, &b->heads[q], kind.may_shift, near_factors);
    const __m512 far =
        n_groups > 1 ? c8_scores(second, &b->heads[q], kind.may_shift, far_factors) : near;

    if (kind.wants_scores) {
        float *out = b->out + q * b->out_stride;
        _mm512_store_ps(out, near);
        if (n_groups > 1) _mm512_store_ps(out + VKERN_GROUP, far);
    }
    if (!b->below) return;
    const __m512 cut = _mm512_set1_ps(b->cuts[q]);
    b->below[q * VKERN_TILE_GROUPS] = _mm512_cmp_ps_mask(near, cut, _CMP_NGT_UQ);
    if (n_groups > 1)
        b->below[q * VKERN_TILE_GROUPS + 1] = _mm512_cmp_ps_mask(far, cut, _CMP_NGT_UQ);
}

VKERN_INLINE void block(size_t n_groups, size_t n_queries, struct block_kind kind,
                        const struct tile8_block *b)
{
    const size_t lines = b->lines, group_bytes = 64 * lines + 192;
    const unsigned char *line = b->group, *next = b->group + (n_groups - 1) * group_bytes;
    const int32_t *words = b->words;
    __m512i first[QUERIES], second[QUERIES];

#pragma GCC unroll 8
    for (size_t q = 0; q < n_queries; q++)
        first[q] = second[q] = _mm512_setzero_si512();
    for (size_t i = 0; i < lines; i++, line += 64, next += 64, words += QUERIES * WORDS) {
        const struct c8_line x = c8_take(load_line(line)), y = c8_take(load_line(next));
#pragma GCC unroll 8
        for (size_t q = 0; q < n_queries; q++) {
            first[q] = c8_step(first[q], x, words + q * WORDS);
            if (n_groups > 1) second[q] = c8_step(second[q], y, words + q * WORDS);
        }
    }
#pragma GCC unroll 8
    for (size_t q = 0; q < n_queries; q++)
        finish(n_groups, q, kind, b, first[q], second[q], line, next);
}

VKERN_INLINE void block_of_queries(size_t n_groups, size_t n_queries, const struct tile8_block *b)
{
    const struct block_kind any = {true, true};
    switch (n_queries) {
    case 1: block(n_groups, 1, any, b); break;
    case 2: block(n_groups, 2, any, b); break;
    case 3: block(n_groups, 3, any, b); break;
    case 4: block(n_groups, 4, any, b); break;
    case 5: block(n_groups, 5, any, b); break;
    case 6: block(n_groups, 6, any, b); break;
    case 7: block(n_groups, 7, any, b); break;
    default: block(n_groups, 8, any, b); break;
    }
}

/* Most blocks there are. */
VKERN_INLINE void block_of_all(struct block_kind kind, const struct tile8_block *b)
{
    if (kind.may_shift)
        block(GROUPS, QUERIES, (struct block_kind){true, true}, b);
    else if (kind.wants_scores)
        block(GROUPS, QUERIES, (struct block_kind){false, true}, b);
    else
        block(GROUPS, QUERIES, (struct block_kind){false, false}, b);
}

static bool shifts(const struct tile8_head *heads, size_t nq)
{
    bool any = false;

    for (size_t q = 0; q < nq; q++)
        any |= heads[q].shift != 0;
    return any;
}

static void multiply(const void *packed, size_t nq, const void *groups, size_t n_groups, size_t dim,
                     float *out, size_t out_stride, const float *cuts, uint16_t *below)
{
    const size_t lines = c8_lines(dim), group_bytes = vkern_c8_group_bytes(dim);
    const int32_t *words = (const int32_t *)((const unsigned char *)packed + tile8_head_bytes(nq));
    const struct block_kind kind = {shifts(packed, nq), out_stride != 0};
    struct tile8_block b = {packed, words, groups, lines, out, out_stride, cuts, below};

    for (size_t g = 0; g < n_groups; g += GROUPS)
        for (size_t q = 0; q < nq; q += QUERIES) {
            const size_t n_queries = nq - q < QUERIES ? nq - q : QUERIES;
            b.heads = (const struct tile8_head *)packed + q;
            b.words = words + q * WORDS * lines;
            b.group = (const unsigned char *)groups + g * group_bytes;
            b.out = out + q * out_stride + g * VKERN_GROUP;
            if (below) b.cuts = cuts + q, b.below = below + q * VKERN_TILE_GROUPS + g;
            if (n_queries == QUERIES && n_groups - g >= GROUPS)
                block_of_all(kind, &b);
            else if (n_groups - g >= GROUPS)
                block_of_queries(GROUPS, n_queries, &b);
            else
                block_of_queries(1, n_queries, &b);
        }
}

/* ---- 8-bit rows as groups
 * ------------------------------------------------------------------------ */

/* Sixteen registers of sixteen 32-bit words, transposed. */
VKERN_INLINE void transpose_16(__m512i v[16])
{
    __m512i t[16];

#pragma GCC unroll 4
    for (size_t i = 0; i < 16; i += 4) { /* 4 x 4 words in each 128-bit lane */
        const __m512i a = _mm512_unpacklo_epi32(v[i], v[i + 1]);
        const __m512i b = _mm512_unpackhi_epi32(v[i], v[i + 1]);
        const __m512i c = _mm512_unpacklo_epi32(v[i + 2], v[i + 3]);
        const __m512i d = _mm512_unpackhi_epi32(v[i + 2], v[i + 3]);
        t[i] = _mm512_unpacklo_epi64(a, c);
        t[i + 1] = _mm512_unpackhi_epi64(a, c);
        t[i + 2] = _mm512_unpacklo_epi64(b, d);
        t[i + 3] = _mm512_unpackhi_epi64(b, d);
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) { /* 4 x 4 lanes */
        const __m512i a = _mm512_shuffle_i32x4(t[i], t[i + 4], 0x88);
        const __m512i b = _mm512_shuffle_i32x4(t[i], t[i + 4], 0xdd);
        const __m512i c = _mm512_shuffle_i32x4(t[i + 8], t[i + 12], 0x88);
        const __m512i d = _mm512_shuffle_i32x4(t[i + 8], t[i + 12], 0xdd);
        v[i] = _mm512_shuffle_i32x4(a, c, 0x88);
        v[i + 4] = _mm512_shuffle_i32x4(b, d, 0x88);
        v[i + 8] = _mm512_shuffle_i32x4(a, c, 0xdd);
        v[i + 12] = _mm512_shuffle_i32x4(b, d, 0xdd);
    }
}

/* The sum of a line's four bytes of each row, added. */
VKERN_INLINE __m512i add_bytes(__m512i sum, __m512i line)
{
    const __m512i ones = _mm512_set1_epi8(1);
#if VKERN_VNNI
    return dot(sum, line, ones);
#else
    return _mm512_add_epi32(
        sum, _mm512_madd_epi16(_mm512_maddubs_epi16(line, ones), _mm512_set1_epi16(1)));
#endif
}

/* 64 elements from `i` on, or as many as there are, of n rows; rows there are not stay zero. */
VKERN_INLINE void load_rows(__m512i v[16], const unsigned char *rows, size_t stride, size_t n,
                            __mmask64 lanes, __m512i flip)
{
    if (n == VKERN_GROUP && lanes == ~UINT64_C(0)) {
#pragma GCC unroll 16
        for (size_t r = 0; r < VKERN_GROUP; r++)
            v[r] = _mm512_xor_si512(load_line(rows + r * stride), flip);
        return;
    }
    for (size_t r = 0; r < VKERN_GROUP; r++)
        v[r] = r < n ? _mm512_maskz_add_epi8(
                           lanes, _mm512_maskz_loadu_epi8(lanes, rows + r * stride), flip)
                     : _mm512_setzero_si512();
}

/* Up to sixteen rows as one group. */
static void pack_group(const unsigned char *rows, size_t stride, size_t n, size_t dim, __m512i flip,
                       const float *bias, const float *scale, unsigned char *group)
{
    const size_t lines = c8_lines(dim);
    const __mmask16 live = first_16(n);
    __m512i sum = _mm512_setzero_si512(), v[16];

    for (size_t i = 0; i < lines; i += 16) {
        const size_t here = lines - i < 16 ? lines - i : 16;
        load_rows(v, rows + 4 * i, stride, n, first_64(dim - 4 * i), flip);
        transpose_16(v);
        if (here == 16) {
#pragma GCC unroll 16
            for (size_t k = 0; k < 16; k++) {
                _mm512_storeu_si512(group + 64 * (i + k), v[k]);
                sum = add_bytes(sum, v[k]);
            }
            continue;
        }
        for (size_t k = 0; k < here; k++) {
            _mm512_storeu_si512(group + 64 * (i + k), v[k]);
            sum = add_bytes(sum, v[k]);
        }
    }
    group += 64 * lines;
    _mm512_storeu_ps(group, _mm512_maskz_loadu_ps(live, bias));
    _mm512_storeu_ps(group + 64, _mm512_maskz_loadu_ps(live, scale));
    _mm512_storeu_si512(group + 128, sum);
}

static void c8_pack(enum vkern_type type, const void *rows, size_t stride, size_t n, size_t dim,
                    const float *bias, const float *scale, void *groups)
{
    const __m512i flip = _mm512_set1_epi8(type == VKERN_I8 ? -128 : 0); /* + 128 = xor 128 */

    for (size_t r = 0; r < n; r += VKERN_GROUP)
        pack_group((const unsigned char *)rows + r * stride, stride,
                   n - r < VKERN_GROUP ? n - r : VKERN_GROUP, dim, flip, bias + r, scale + r,
                   (unsigned char *)groups + r / VKERN_GROUP * vkern_c8_group_bytes(dim));
}

#endif
