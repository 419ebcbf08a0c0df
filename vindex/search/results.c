/*
 * results.c - the k best exact scores of a query in the order of answers, (score, id): a final stream
 * (topk/stream.h), written out as hits. The set of the k best does not depend on the order they came in.
 */
#include "search/call.h"

#include <math.h>
#include <string.h>

size_t vindex__best_entries(const struct plan *plan, uint64_t n_match)
{
    return vindex__final_entries(plan->k, n_match < SIZE_MAX ? (size_t)n_match : SIZE_MAX);
}

void vindex__best_init(struct topk_stream *best, const struct call *call, struct topk_memory memory)
{
    const struct topk_order order = {VKERN_TOPK_F32, true, false};

    vindex__final_init(best, order, call->plan.k, vindex__best_entries(&call->plan, call->n_match),
                       memory);
}

bool vindex__best_worst(struct topk_stream *best, float *score)
{
    int64_t key;
    uint32_t bits;

    if (!vindex__final_threshold(best, &key)) return false;
    bits = (uint32_t)vkern_topk_bits(VKERN_TOPK_F32, true, key);
    memcpy(score, &bits, sizeof *score);
    return true;
}

void vindex__hits_write(struct topk_stream *best, size_t n_padded, vindex_hit *hits)
{
    const uint32_t *order = vindex__final_sort(best);
    const float *scores = best->memory.values;

    for (size_t i = 0; i < best->count; i++)
        hits[i] = (vindex_hit){best->memory.ids[order[i]], scores[order[i]], 0};
    vindex__hits_pad(hits, best->count, n_padded);
}

void vindex__hits_pad(vindex_hit *hits, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        hits[i] = (vindex_hit){VINDEX_ID_NONE, INFINITY, 0};
}
