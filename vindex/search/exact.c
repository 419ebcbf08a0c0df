/*
 * exact.c - the reported score of a query and a row, the one arithmetic of design.md 5: the
 * kernels' exact sums in double (kernels.h says in which order), then rounded to f32 once.
 */
#include "search/call.h"

#include <float.h>
#include <math.h>

/* Queries of float rows are f32, all others have the type of the rows. */
static enum vkern_type query_type(uint32_t type)
{
    return type == VINDEX_FLOAT16 || type == VINDEX_BFLOAT16 ? VKERN_F32 : (enum vkern_type)type;
}

void vindex__measure_init(struct measure *measure, const vkern_table *kern, uint32_t type,
                          uint32_t metric, uint32_t dim)
{
    measure->type = type;
    measure->metric = metric;
    measure->dim = dim;
    measure->l2sq = kern->exact_l2sq[type];
    measure->dot = kern->exact_dot[type];
    measure->sumsq = kern->sumsq[type];
    measure->query_sumsq = kern->sumsq[query_type(type)];
}

void vindex__query_init(const struct measure *measure, const void *bytes, struct query *query)
{
    query->bytes = bytes;
    query->dense = NULL;
    query->sumsq = measure->query_sumsq(bytes, measure->dim);
    query->norm = sqrt(query->sumsq);
}

static double cosine_distance(const struct measure *measure, const struct query *query,
                              const void *row)
{
    double row_sumsq = measure->sumsq(row, measure->dim);
    if (query->sumsq == 0 || row_sumsq == 0) return 1;
    double cosine = measure->dot(query->bytes, row, measure->dim) / (query->norm * sqrt(row_sumsq));
    return cosine >= 1 ? 0 : cosine <= -1 ? 2 : 1 - cosine;
}

/* To f32, once. What is not a number can only come of rows that are not finite (vindex_brute does
   not read them beforehand): it is the worst. + 0: minus zero has the bits of zero. */
static float reported(double score)
{
    if (!(score < (double)FLT_MAX)) return FLT_MAX;
    if (score < -(double)FLT_MAX) return -FLT_MAX;
    return (float)score + 0.0F;
}

float vindex__measure_score(const struct measure *measure, const struct query *query,
                            const void *row)
{
    switch (measure->metric) {
    case VINDEX_L2: return reported(sqrt(measure->l2sq(query->bytes, row, measure->dim)));
    case VINDEX_COSINE: return reported(cosine_distance(measure, query, row));
    case VINDEX_IP: return reported(-measure->dot(query->bytes, row, measure->dim));
    default: return reported(measure->l2sq(query->bytes, row, measure->dim)); /* hamming */
    }
}

float vindex__exact_score(uint32_t type, uint32_t metric, uint32_t dim, const void *query,
                          const void *row)
{
    struct measure measure;
    struct query prepared;
    vindex__measure_init(&measure, vkern_get(), type, metric, dim);
    vindex__query_init(&measure, query, &prepared);
    return vindex__measure_score(&measure, &prepared, row);
}
