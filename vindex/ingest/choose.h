/*
 * choose.h - what choose.c (how many axes plane c4 has) and choose_lead.c (plane p8) share: rows of the sample asked
 * as queries, and their nearest neighbours in it.
 */
#ifndef VINDEX_INGEST_CHOOSE_H
#define VINDEX_INGEST_CHOOSE_H

#include "ingest/train.h"

enum { CHOOSE_K = 10 };

struct neighbour {
    float score; /* |x|^2 / 2 - q.x, or -q.x under ip; x less the mean, q too but under ip; times factor^2 */
    size_t row;  /* SIZE_MAX: none */
};

struct asked {
    const struct sample *sample;
    const struct centred *centred;
    size_t n_queries;        /* query q is row q * (sample->n / n_queries) */
    struct neighbour *truth; /* [n_queries, CHOOSE_K]: ascending by score, the query's own row left out */
};

static inline size_t asked_row(const struct asked *asked, size_t q)
{
    return q * (asked->sample->n / asked->n_queries);
}

/** Query q, [dim]: less the mean but under ip, times factor, negated. */
void vindex__asked_query(const struct asked *asked, size_t q, float *negated);
/** How many of the n_axes axes that trained holds plane p8 should have; p 0: none. */
vindex_status vindex__choose_lead(const struct asked *asked, const struct trained *trained,
                                  uint32_t n_axes, const struct asking *asking,
                                  struct lead_choice *choice);

#endif
