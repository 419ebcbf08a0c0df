/*
 * integer_avx2.c - i8 and u8 rows, exact: one query against n rows, and the integer part of the
 * exact slots.
 *
 * Differences: max - min as unsigned bytes, whatever the sign of the type. Products: the row as
 * unsigned bytes x' = x + 128 (i8; the top bit flipped) or x (u8), so sum q x = sum q x' - 128 sum
 * q. Both are widened to 16 bits and summed in pairs by vpmaddwd. A term is at most 255^2, so the
 * sum of CHUNK = 65,536 terms fits 32 bits unsigned, and signed for i8 products; sums modulo 2^32
 * are enough. Longer rows go chunk by chunk through 64-bit totals.
 */
#include "kernels/x86/simd_avx2.h"

#if VKERN_X86

enum { ROWS = 4, CHUNK = 65536 };
enum operation { L2SQ, DOT };

/* 32 elements, or fewer, of the query: as given for differences, widened for products. */
struct query32 {
    __m256i bytes, keep, low, high;
};

VKERN_INLINE struct query32 prepare(enum operation operation, enum vkern_type type, __m256i q,
                                    __m256i keep)
{
    const __m256i zero = _mm256_setzero_si256();
    struct query32 to;

    to.keep = keep;
    to.bytes = to.low = to.high = _mm256_and_si256(q, keep);
    if (operation == DOT) {
        const __m256i sign = type == VKERN_I8 ? _mm256_cmpgt_epi8(zero, to.bytes) : zero;
        to.low = _mm256_unpacklo_epi8(to.bytes, sign);
        to.high = _mm256_unpackhi_epi8(to.bytes, sign);
    }
    return to;
}

VKERN_INLINE __m256i step(enum operation operation, enum vkern_type type, const struct query32 *q,
                          __m256i x, __m256i sum)
{
    const __m256i zero = _mm256_setzero_si256();
    __m256i low, high;

    if (operation == L2SQ) {
        const __m256i d =
            type == VKERN_I8
                ? _mm256_sub_epi8(_mm256_max_epi8(q->bytes, x), _mm256_min_epi8(q->bytes, x))
                : _mm256_sub_epi8(_mm256_max_epu8(q->bytes, x), _mm256_min_epu8(q->bytes, x));
        low = _mm256_unpacklo_epi8(d, zero);
        high = _mm256_unpackhi_epi8(d, zero);
        low = _mm256_madd_epi16(low, low);
        high = _mm256_madd_epi16(high, high);
    } else {
        if (type == VKERN_I8) x = _mm256_xor_si256(x, _mm256_set1_epi8(-128));
        low = _mm256_madd_epi16(q->low, _mm256_unpacklo_epi8(x, zero));
        high = _mm256_madd_epi16(q->high, _mm256_unpackhi_epi8(x, zero));
    }
    return _mm256_add_epi32(sum, _mm256_add_epi32(low, high));
}

VKERN_INLINE __m256i load32(const unsigned char *at)
{
    return _mm256_loadu_si256((const __m256i *)at);
}

/* n < 32 bytes, then zeros; reads nothing else. */
VKERN_INLINE __m256i load32_part(const unsigned char *at, size_t n)
{
    if (n < 16) return _mm256_zextsi128_si256(load_under_16(at, n));
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)at)),
                                   load_under_16(at + 16, n - 16), 1);
}

/* Sums, modulo 2^32, of n_rows (1 or ROWS) rows of dim <= CHUNK elements. */
VKERN_INLINE __m128i block(enum operation operation, enum vkern_type type, size_t n_rows,
                           const unsigned char *query, const unsigned char *rows, size_t stride,
                           size_t dim)
{
    static const int64_t last[8] = {0, 0, 0, 0, -1, -1, -1, -1};
    const __m256i all = _mm256_set1_epi8(-1);
    const size_t ahead = prefetch_distance(ROWS * stride);
    __m256i sum[ROWS];
    struct query32 q;
    size_t i = 0;

    for (size_t r = 0; r < ROWS; r++)
        sum[r] = _mm256_setzero_si256();
    for (; i + 32 <= dim; i += 32) {
        q = prepare(operation, type, load32(query + i), all);
        prefetch(rows, ahead + ROWS * i, n_rows * 32);
        for (size_t r = 0; r < n_rows; r++)
            sum[r] = step(operation, type, &q, load32(rows + r * stride + i), sum[r]);
    }
    if (i < dim) prefetch(rows, ahead + ROWS * i, n_rows * (dim - i));
    if (i < dim && dim >= 32) { /* the last 32 elements, those already taken made 0 */
        q = prepare(operation, type, load32(query + dim - 32),
                    load32((const unsigned char *)last + dim - i));
        for (size_t r = 0; r < n_rows; r++)
            sum[r] = step(operation, type, &q,
                          _mm256_and_si256(load32(rows + r * stride + dim - 32), q.keep), sum[r]);
    } else if (i < dim) {
        q = prepare(operation, type, load32_part(query, dim), all);
        for (size_t r = 0; r < n_rows; r++)
            sum[r] = step(operation, type, &q, load32_part(rows + r * stride, dim), sum[r]);
    }
    return int_sums_of_4(sum[0], sum[1], sum[2], sum[3]);
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

VKERN_INLINE int64_t exact(enum operation operation, enum vkern_type type,
                           const unsigned char *query, const unsigned char *row, size_t dim)
{
    int64_t total = 0;

    for (size_t i = 0; i < dim; i += CHUNK) {
        const size_t n = dim - i < CHUNK ? dim - i : CHUNK;
        const uint32_t sum =
            (uint32_t)_mm_cvtsi128_si32(block(operation, type, 1, query + i, row + i, 0, n)) -
            (uint32_t)excess(operation, type, query + i, n);
        total += operation == DOT && type == VKERN_I8 ? (int64_t)(int32_t)sum : (int64_t)sum;
    }
    return total;
}

VKERN_INLINE float score_of(enum operation operation, enum vkern_type type, uint32_t sum)
{
    if (operation == L2SQ) return (float)sum;
    return type == VKERN_I8 ? -(float)(int32_t)sum : -(float)sum;
}

VKERN_INLINE void score(enum operation operation, enum vkern_type type, const unsigned char *query,
                        const unsigned char *row, size_t stride, size_t n, size_t dim,
                        float *scores)
{
    uint32_t sums[ROWS];

    if (dim <= CHUNK) {
        const __m128i extra = _mm_set1_epi32(excess(operation, type, query, dim));
        for (; n >= ROWS; n -= ROWS, row += ROWS * stride, scores += ROWS) {
            const __m128i sum = block(operation, type, ROWS, query, row, stride, dim);
            _mm_storeu_si128((__m128i *)sums, _mm_sub_epi32(sum, extra));
            for (size_t r = 0; r < ROWS; r++)
                scores[r] = score_of(operation, type, sums[r]);
        }
    }
    for (; n > 0; n--, row += stride, scores++) {
        const int64_t sum = exact(operation, type, query, row, dim);
        *scores = (float)(operation == DOT ? -sum : sum);
    }
}

#define DEFINE(name, type)                                                                         \
    void vkern_l2sq_##name##_avx2(const void *query, const void *rows, size_t stride, size_t n,    \
                                  size_t dim, float *scores)                                       \
    {                                                                                              \
        score(L2SQ, type, query, rows, stride, n, dim, scores);                                    \
    }                                                                                              \
    void vkern_ndot_##name##_avx2(const void *query, const void *rows, size_t stride, size_t n,    \
                                  size_t dim, float *scores)                                       \
    {                                                                                              \
        score(DOT, type, query, rows, stride, n, dim, scores);                                     \
    }                                                                                              \
    static double exact_l2sq_##name##_avx2(const void *a, const void *b, size_t dim)               \
    {                                                                                              \
        return (double)exact(L2SQ, type, a, b, dim);                                               \
    }                                                                                              \
    static double exact_dot_##name##_avx2(const void *a, const void *b, size_t dim)                \
    {                                                                                              \
        return (double)exact(DOT, type, a, b, dim);                                                \
    }                                                                                              \
    static double sumsq_##name##_avx2(const void *row, size_t dim)                                 \
    {                                                                                              \
        return (double)exact(DOT, type, row, row, dim);                                            \
    }
#define FOR_INTEGER_TYPES(DO) DO(i8, VKERN_I8) DO(u8, VKERN_U8)
FOR_INTEGER_TYPES(DEFINE)

void vkern_init_integer_avx2(vkern_table *table)
{
#define FILL(name, type)                                                                           \
    table->l2sq[type] = vkern_l2sq_##name##_avx2;                                                  \
    table->ndot[type] = vkern_ndot_##name##_avx2;                                                  \
    table->exact_l2sq[type] = exact_l2sq_##name##_avx2;                                            \
    table->exact_dot[type] = exact_dot_##name##_avx2;                                              \
    table->sumsq[type] = sumsq_##name##_avx2;
    FOR_INTEGER_TYPES(FILL)
}
#else
typedef int vkern_integer_avx2_is_not_built;
#endif
