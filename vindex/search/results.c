/*
 * results.c - the k best hits in the order of answers, (score, id): a heap while they are gathered,
 * in order at the end. The set of the k best does not depend on the order they are offered in.
 */
#include "search/call.h"

#include <assert.h>
#include <math.h>

static inline bool is_before(const vindex_hit *a, const vindex_hit *b)
{
    return a->score < b->score || (a->score == b->score && a->id < b->id);
}

/* Put `hit` into the heap of n at the hole `at`, whose children are heaps. */
static void sift_down(vindex_hit *hits, size_t n, size_t at, vindex_hit hit)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= n) break;
        if (child + 1 < n && is_before(&hits[child], &hits[child + 1])) child++;
        if (!is_before(&hit, &hits[child])) break;
        hits[at] = hits[child];
        at = child;
    }
    hits[at] = hit;
}

static void sift_up(vindex_hit *hits, size_t at, vindex_hit hit)
{
    while (at > 0) {
        size_t parent = (at - 1) / 2;
        if (!is_before(&hits[parent], &hit)) break;
        hits[at] = hits[parent];
        at = parent;
    }
    hits[at] = hit;
}

void vindex__best_offer(struct best *best, int64_t id, float score)
{
    vindex_hit hit = {id, score, 0};
    if (best->n < best->k)
        sift_up(best->hits, best->n++, hit);
    else if (is_before(&hit, &best->hits[0]))
        sift_down(best->hits, best->n, 0, hit);
}

void vindex__best_merge(struct best *into, const struct best *from)
{
    for (size_t i = 0; i < from->n; i++)
        vindex__best_offer(into, from->hits[i].id, from->hits[i].score);
}

void vindex__best_finish(struct best *best, size_t n_padded)
{
    vindex_hit *hits = best->hits;
    for (size_t n = best->n; n > 1; n--) {
        vindex_hit last = hits[n - 1];
        hits[n - 1] = hits[0];
        sift_down(hits, n - 1, 0, last);
    }
    for (size_t i = best->n; i < n_padded; i++)
        hits[i] = (vindex_hit){VINDEX_ID_NONE, INFINITY, 0};
}
