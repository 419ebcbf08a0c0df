/*
 * exact.c - the arithmetic of reported scores: 16 partial sums in double, added in one fixed tree.
 *
 * Every level must give these bits, so a multiplication and an addition are never fused here or
 * there (kernels/ is built with -ffp-contract=off). A level may add +0 to a partial sum for an
 * element that does not exist: partial sums are never -0, so that changes nothing. For i8 and u8
 * all sums are whole numbers below 2^53 and the order does not matter.
 */
#include "kernels/ref/element.h"

enum operation { L2SQ, DOT };

VKERN_INLINE double exact(enum operation operation, enum vkern_type a_type, const void *a,
                          enum vkern_type b_type, const void *b, size_t dim)
{
    double sum[16] = {0};

    for (size_t i = 0; i < dim; i++) {
        const double x = element(a_type, a, i), y = element(b_type, b, i);
        const double difference = x - y;
        const double term = operation == L2SQ ? difference * difference : x * y;
        sum[i % 16] += term;
    }
    for (size_t width = 8; width > 0; width /= 2)
        for (size_t j = 0; j < width; j++)
            sum[j] += sum[j + width];
    return sum[0];
}

static double exact_hamming(const void *a, const void *b, size_t dim)
{
    return (double)count_ones(a, b, vkern_row_bytes(VKERN_BIT, dim));
}

static double sumsq_bit(const void *row, size_t dim)
{
    return (double)count_ones(row, NULL, vkern_row_bytes(VKERN_BIT, dim));
}

#define DEFINE(name, type)                                                                         \
    static double exact_l2sq_##name(const void *a, const void *b, size_t dim)                      \
    {                                                                                              \
        return exact(L2SQ, query_type(type), a, type, b, dim);                                     \
    }                                                                                              \
    static double exact_dot_##name(const void *a, const void *b, size_t dim)                       \
    {                                                                                              \
        return exact(DOT, query_type(type), a, type, b, dim);                                      \
    }                                                                                              \
    static double sumsq_##name(const void *row, size_t dim)                                        \
    {                                                                                              \
        return exact(DOT, type, row, type, row, dim);                                              \
    }
VKERN_FOR_ELEMENT_TYPES(DEFINE)
#undef DEFINE

void vkern_init_ref_exact(vkern_table *table)
{
#define FILL(name, type)                                                                           \
    table->exact_l2sq[type] = exact_l2sq_##name, table->exact_dot[type] = exact_dot_##name,        \
    table->sumsq[type] = sumsq_##name;
    VKERN_FOR_ELEMENT_TYPES(FILL)
#undef FILL
    table->exact_l2sq[VKERN_BIT] = exact_hamming;
    table->sumsq[VKERN_BIT] = sumsq_bit;
}
