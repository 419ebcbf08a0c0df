/*
 * radix.c - 16-bit scores: count the keys' upper digits, which gives the bucket of the k-th best; what
 * lies in it or above is collected.
 */
#include "topk/row.h"

enum { DIGIT_BITS = 12, N_BUCKETS = 1 << DIGIT_BITS, LOW_BITS = 16 - DIGIT_BITS };

/* Two tables take turns: a run of equal keys does not wait for its own last count. */
static void count(struct topk_context *c, struct topk_span span, uint32_t counts[2][N_BUCKETS])
{
    const int32_t *keys = c->chunk;

    for (size_t from = 0; from < span.n; from += VINDEX__TOPK_CHUNK) {
        const size_t n = span.n - from < VINDEX__TOPK_CHUNK ? span.n - from : VINDEX__TOPK_CHUNK;
        c->table->keys[c->type][c->is_min](vindex__topk_at(c, span.x, from), n, false, c->chunk);
        for (size_t i = 0; i < n; i++)
            counts[i & 1][(keys[i] - INT16_MIN) >> LOW_BITS]++;
    }
}

void vindex__topk_radix(struct topk_context *c, struct topk_span span, size_t k)
{
    uint32_t counts[2][N_BUCKETS] = {{0}};
    struct topk_filter filter;
    size_t above = 0, bucket = N_BUCKETS;
    int64_t least;

    count(c, span, counts);
    while (bucket > 0 && above < k) {
        bucket--;
        above += (size_t)counts[0][bucket] + counts[1][bucket];
    }
    least = (int64_t)(bucket << LOW_BITS) + INT16_MIN;
    if (least < vkern_topk_worst(c->type)) least = vkern_topk_worst(c->type);
    vindex__topk_filter_open(&filter, c, span, k, least);
    vindex__topk_filter_push(&filter, 0, span.n);
    if (!vindex__topk_filter_close(&filter)) vindex__topk_by_keys(c, span, k); /* the rest is NaN */
}
