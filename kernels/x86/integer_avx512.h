/*
 * integer_avx512.h - the body of integer_avx512.c and integer_avx512vnni.c: i8 and u8 rows against
 * one query, exact, eight rows at once. VKERN_VNNI selects the instructions, VKERN_INTEGER_ISA the
 * names.
 *
 * Differences as in integer_avx2.c. Products without VNNI: the same, too. With VNNI vpdpbusd takes
 * one unsigned and one signed operand: for i8 the row is x' = x + 128 and sum q x = sum q x' - 128
 * sum q; for u8 the query is q' = q - 128 and sum q x = sum q' x + 128 sum x, the row's sum made
 * alongside. Sums modulo 2^32 suffice up to CHUNK elements; longer rows, and products of the last rows
 * of a call when fewer than eight, keep the AVX2 kernels.
 */
#ifndef VKERN_X86_INTEGER_AVX512_H
#define VKERN_X86_INTEGER_AVX512_H

#include "kernels/x86/simd_avx512.h"

enum { ROWS = 8, CHUNK = 65536 };
enum operation { L2SQ, DOT };

/* 64 elements, or fewer, of the query: bytes for differences and VNNI, widened for vpmaddwd. */
struct query64 {
    __m512i bytes, low, high;
};

VKERN_INLINE struct query64 prepare(enum operation operation, enum vkern_type type, __m512i q)
{
    struct query64 to = {q, q, q};
#if VKERN_VNNI
    if (operation == DOT && type == VKERN_U8)
        to.bytes = _mm512_xor_si512(q, _mm512_set1_epi8(-128));
#else
    const __m512i zero = _mm512_setzero_si512();
    if (operation == DOT) {
        const __m512i sign = type == VKERN_I8 ? _mm512_movm_epi8(_mm512_movepi8_mask(q)) : zero;
        to.low = _mm512_unpacklo_epi8(q, sign);
        to.high = _mm512_unpackhi_epi8(q, sign);
    }
#endif
    return to;
}

/* sum += the products of pairs of 16-bit elements. */
VKERN_INLINE __m512i add_pairs(__m512i sum, __m512i a, __m512i b)
{
#if VKERN_VNNI
    return _mm512_dpwssd_epi32(sum, a, b);
#else
    return _mm512_add_epi32(sum, _mm512_madd_epi16(a, b));
#endif
}

/* Adds 64 elements of a row to its sum, and for u8 products under VNNI to its sum of elements. */
VKERN_INLINE void step(enum operation operation, enum vkern_type type, const struct query64 *q,
                       __m512i x, __m512i *sum, __m512i *elements)
{
    const __m512i zero = _mm512_setzero_si512(), top = _mm512_set1_epi8(-128);
    __m512i low, high;

    (void)elements;
    if (operation == L2SQ) {
        const __m512i d =
            type == VKERN_I8
                ? _mm512_sub_epi8(_mm512_max_epi8(q->bytes, x), _mm512_min_epi8(q->bytes, x))
                : _mm512_sub_epi8(_mm512_max_epu8(q->bytes, x), _mm512_min_epu8(q->bytes, x));
        low = _mm512_unpacklo_epi8(d, zero);
        high = _mm512_unpackhi_epi8(d, zero);
        *sum = add_pairs(add_pairs(*sum, low, low), high, high);
        return;
    }
    if (type == VKERN_I8) x = _mm512_xor_si512(x, top);
#if VKERN_VNNI
    *sum = _mm512_dpbusd_epi32(*sum, x, q->bytes);
    if (type == VKERN_U8) *elements = _mm512_dpbusd_epi32(*elements, x, _mm512_set1_epi8(1));
#else
    low = _mm512_unpacklo_epi8(x, zero);
    high = _mm512_unpackhi_epi8(x, zero);
    *sum = add_pairs(add_pairs(*sum, q->low, low), q->high, high);
#endif
}

/* The sums, modulo 2^32, of eight rows of dim <= CHUNK elements. */
VKERN_INLINE __m256i block(enum operation operation, enum vkern_type type,
                           const unsigned char *query, const unsigned char *rows, size_t stride,
                           size_t dim)
{
    const size_t ahead = prefetch_distance(ROWS * stride);
    __m512i sum[ROWS], elements[ROWS];
    struct query64 q;
    size_t i = 0;

    for (size_t r = 0; r < ROWS; r++)
        sum[r] = elements[r] = _mm512_setzero_si512();
    for (; i + 64 <= dim; i += 64) {
        q = prepare(operation, type, _mm512_loadu_si512(query + i));
        prefetch(rows, ahead + ROWS * i, ROWS * 64);
        for (size_t r = 0; r < ROWS; r++)
            step(operation, type, &q, _mm512_loadu_si512(rows + r * stride + i), &sum[r],
                 &elements[r]);
    }
    if (i < dim) {
        const __mmask64 lanes = first_64(dim - i);
        q = prepare(operation, type, _mm512_maskz_loadu_epi8(lanes, query + i));
        prefetch(rows, ahead + ROWS * i, ROWS * (dim - i));
        for (size_t r = 0; r < ROWS; r++)
            step(operation, type, &q, _mm512_maskz_loadu_epi8(lanes, rows + r * stride + i),
                 &sum[r], &elements[r]);
    }
#if VKERN_VNNI
    if (operation == DOT && type == VKERN_U8)
        for (size_t r = 0; r < ROWS; r++)
            sum[r] = _mm512_add_epi32(sum[r], _mm512_slli_epi32(elements[r], 7));
#endif
    return int_sums_of_8(sum);
}

/* Modulo 2^32. _mm512_reduce_add_epi32 is, in gcc, an addition of int, which may not overflow. */
VKERN_INLINE uint32_t sum_of_16(__m512i x)
{
    const __m256i eight =
        _mm256_add_epi32(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64(x, 1));
    const __m128i four =
        _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));

    return (uint32_t)_mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}

/* The squared distance of one row, dim <= CHUNK: two chains hide the latency. */
VKERN_INLINE uint32_t distance(enum vkern_type type, const unsigned char *query,
                               const unsigned char *row, size_t dim)
{
    __m512i sum[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()}, unused = sum[0];
    struct query64 q;
    size_t i = 0;

    for (; i + 128 <= dim; i += 128)
        for (size_t c = 0; c < 2; c++) {
            q = prepare(L2SQ, type, _mm512_loadu_si512(query + i + 64 * c));
            step(L2SQ, type, &q, _mm512_loadu_si512(row + i + 64 * c), &sum[c], &unused);
        }
    for (size_t c = 0; i < dim; i += 64, c ^= 1) {
        const __mmask64 lanes = first_64(dim - i);
        q = prepare(L2SQ, type, _mm512_maskz_loadu_epi8(lanes, query + i));
        step(L2SQ, type, &q, _mm512_maskz_loadu_epi8(lanes, row + i), &sum[c], &unused);
    }
    return sum_of_16(_mm512_add_epi32(sum[0], sum[1]));
}

/* What block() counts too much, for one query: 128 sum q for i8 products. */
VKERN_INLINE int32_t excess(enum operation operation, enum vkern_type type,
                            const unsigned char *query, size_t dim)
{
    int32_t sum = 0;

    if (operation != DOT || type != VKERN_I8) return 0;
    for (size_t i = 0; i < dim; i++)
        sum += (int8_t)query[i];
    return 128 * sum;
}

VKERN_INLINE void score(enum operation operation, enum vkern_type type, vkern_score_fn *rest,
                        const unsigned char *query, const unsigned char *row, size_t stride,
                        size_t n, size_t dim, float *scores)
{
    const __m256 sign = _mm256_set1_ps(operation == DOT ? -0.0f : 0.0f);
    const bool is_signed = operation == DOT && type == VKERN_I8;

    if (dim <= CHUNK) {
        const __m256i extra = _mm256_set1_epi32(excess(operation, type, query, dim));
        for (; n >= ROWS; n -= ROWS, row += ROWS * stride, scores += ROWS) {
            const __m256i sum =
                _mm256_sub_epi32(block(operation, type, query, row, stride, dim), extra);
            const __m256 value = is_signed ? _mm256_cvtepi32_ps(sum) : _mm256_cvtepu32_ps(sum);
            _mm256_storeu_ps(scores, _mm256_xor_ps(sign, value));
        }
    }
    if (operation == L2SQ && dim <= CHUNK)
        for (; n > 0; n--, row += stride)
            *scores++ = (float)distance(type, query, row, dim);
    if (n > 0) rest(query, row, stride, n, dim, scores);
}

#define VKERN_JOIN(op, name, isa) op##_##name##_##isa
#define VKERN_NAME(op, name, isa) VKERN_JOIN(op, name, isa)
#define VKERN_DEFINE(op, operation, name, type)                                                    \
    static void VKERN_NAME(op, name, VKERN_INTEGER_ISA)(                                           \
        const void *query, const void *rows, size_t stride, size_t n, size_t dim, float *scores)   \
    {                                                                                              \
        score(operation, type, vkern_##op##_##name##_avx2, query, rows, stride, n, dim, scores);   \
    }
VKERN_DEFINE(l2sq, L2SQ, i8, VKERN_I8)
VKERN_DEFINE(l2sq, L2SQ, u8, VKERN_U8)
VKERN_DEFINE(ndot, DOT, i8, VKERN_I8)
VKERN_DEFINE(ndot, DOT, u8, VKERN_U8)

static void fill(vkern_table *table)
{
    table->l2sq[VKERN_I8] = VKERN_NAME(l2sq, i8, VKERN_INTEGER_ISA);
    table->l2sq[VKERN_U8] = VKERN_NAME(l2sq, u8, VKERN_INTEGER_ISA);
    table->ndot[VKERN_I8] = VKERN_NAME(ndot, i8, VKERN_INTEGER_ISA);
    table->ndot[VKERN_U8] = VKERN_NAME(ndot, u8, VKERN_INTEGER_ISA);
}

#endif
