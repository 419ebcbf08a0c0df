/*
 * score.c - one query against n rows: sums in double, rounded to f32 once. For i8 and u8 the double
 * sum is an exact integer (products below 2^16, sums below 2^53 for any dim below 2^37).
 */
#include "kernels/ref/element.h"

VKERN_INLINE void l2sq(enum vkern_type type, const void *query, const void *rows, size_t stride,
                       size_t n, size_t dim, float *scores)
{
    for (size_t r = 0; r < n; r++) {
        const unsigned char *row = (const unsigned char *)rows + r * stride;
        double sum = 0;
        for (size_t i = 0; i < dim; i++) {
            const double q = element(query_type(type), query, i), x = element(type, row, i);
            sum += (q - x) * (q - x);
        }
        scores[r] = (float)sum;
    }
}

VKERN_INLINE void ndot(enum vkern_type type, const void *query, const void *rows, size_t stride,
                       size_t n, size_t dim, float *scores)
{
    for (size_t r = 0; r < n; r++) {
        const unsigned char *row = (const unsigned char *)rows + r * stride;
        double sum = 0;
        for (size_t i = 0; i < dim; i++) {
            const double q = element(query_type(type), query, i), x = element(type, row, i);
            sum += q * x;
        }
        scores[r] = (float)-sum;
    }
}

static void hamming_ref(const void *query, const void *rows, size_t stride, size_t n, size_t dim,
                        float *scores)
{
    for (size_t r = 0; r < n; r++)
        scores[r] = (float)count_ones(query, (const unsigned char *)rows + r * stride,
                                      vkern_row_bytes(VKERN_BIT, dim));
}

#define DEFINE(name, type)                                                                         \
    static void l2sq_##name(const void *query, const void *rows, size_t stride, size_t n,          \
                            size_t dim, float *scores)                                             \
    {                                                                                              \
        l2sq(type, query, rows, stride, n, dim, scores);                                           \
    }                                                                                              \
    static void ndot_##name(const void *query, const void *rows, size_t stride, size_t n,          \
                            size_t dim, float *scores)                                             \
    {                                                                                              \
        ndot(type, query, rows, stride, n, dim, scores);                                           \
    }
VKERN_FOR_ELEMENT_TYPES(DEFINE)
#undef DEFINE

void vkern_init_ref_score(vkern_table *table)
{
#define FILL(name, type) table->l2sq[type] = l2sq_##name, table->ndot[type] = ndot_##name;
    VKERN_FOR_ELEMENT_TYPES(FILL)
#undef FILL
    table->hamming = hamming_ref;
}
