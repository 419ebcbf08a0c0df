/*
 * batch.c - many queries by tiles: 256 rows at a time are multiplied with some queries at a time,
 * and the scores go through the streams while they are in cache. The matrix of all scores never
 * exists.
 *
 * Rows become an f32 panel, packed once for all queries, with the metric folded in as a scale and a
 * bias a row:
 *
 *     l2       |x|^2 - 2 q.x     (|q|^2 left out: the same for all rows; the band's offset)
 *     ip       -q.x
 *     cosine   -q.x / |x|        (rows of zeros: 0)
 *
 * 8-bit codes lie as their tiles want them: plane c8 is multiplied where it is, rows of integers
 * are put in groups first (bias and scale as above, without the sign and the 2, which are the
 * query's).
 */
#include "search/call.h"

#include <string.h>

/* |x|^2 of a row, as exact as its f32 will be: integers are summed, so that whole numbers stay
   whole. */
static float row_bias(const struct call *call, const struct part *part, uint32_t slot)
{
    if (call->type == VINDEX_INT8 || call->type == VINDEX_UINT8)
        return (float)call->measure.sumsq(part_row(part, slot), call->dim);
    double norm = part_norm(part, slot);
    return (float)(norm * norm);
}

static void fold_metric(struct worker *worker, const struct part *part, uint32_t slot, uint32_t n)
{
    const struct call *call = worker->call;
    for (uint32_t i = 0; i < n; i++) {
        worker->bias[i] = 0;
        worker->scale[i] = -1;
        if (call->metric == VINDEX_L2) {
            worker->bias[i] = row_bias(call, part, slot + i);
            worker->scale[i] = -2;
        } else if (call->metric == VINDEX_COSINE) {
            float norm = part_norm(part, slot + i);
            worker->scale[i] = norm > 0 ? -1 / norm : 0;
        }
    }
}

/* Multiply the panel with all queries, a few at a time; false: the call is to end. */
static bool push_panel(struct worker *worker, const struct part *part, const uint64_t *mask,
                       uint32_t slot, uint32_t n)
{
    const struct call *call = worker->call;
    size_t dim = call->dim, lines = call->plan.lines;

    for (size_t first = 0; first < worker->n_collectors; first += lines) {
        size_t left = worker->n_collectors - first, nq = left < lines ? left : lines;
        struct collector *collectors = worker->collectors + first;
        if (vindex__pace_tick(&worker->pace, &worker->call->stop, 0.02 * (double)(nq * n * dim)))
            return false;
        call->search->tile->multiply(collectors->query.dense, nq, worker->panel, worker->bias, n,
                                     dim, worker->scores, VKERN_TILE_ROWS);
        for (size_t q = 0; q < nq; q++)
            if (collectors[q].engine == ENGINE_TILE)
                vindex__collector_push(worker, &collectors[q], worker->scores + q * VKERN_TILE_ROWS,
                                       n, part, mask, slot);
    }
    return true;
}

void vindex__batch_part(struct worker *worker, const struct part *part, const uint64_t *mask,
                        uint32_t slot, uint32_t end)
{
    const struct call *call = worker->call;
    uint32_t n;
    for (; (n = vindex__next_rows(part, mask, VKERN_TILE_ROWS, end, &slot)) > 0; slot += n) {
        fold_metric(worker, part, slot, n);
        call->search->tile->pack((enum vkern_type)call->type, part_row(part, slot),
                                 part->blocks[0].stride, n, call->dim, worker->scale,
                                 worker->panel);
        if (!push_panel(worker, part, mask, slot, n)) return;
    }
}

/* ---- tiles of 8-bit codes ------------------------------------------------------------------ */

/* The queries' codes as this thread's tiles want them, `lines` to a pack. */
static void pack_queries(struct worker *worker)
{
    size_t lines = worker->call->plan.lines;
    if (worker->is_packed) return;
    for (size_t first = 0; first < worker->n_collectors; first += lines) {
        size_t left = worker->n_collectors - first, nq = left < lines ? left : lines;
        for (size_t q = 0; q < nq; q++)
            worker->pack_queries[q] = worker->collectors[first + q].side.query;
        worker->tile8->pack(worker->pack_queries, nq, worker->call->dim,
                            worker->packed + first / lines * worker->pack_bytes);
    }
    worker->is_packed = true;
}

/* What line q of a multiply found for a query: mostly nothing. */
static inline void take_scores(struct worker *worker, struct collector *collector, size_t q,
                               const struct group_run *run)
{
    uint16_t *below = worker->below + q * VKERN_TILE_GROUPS;

    if (vindex__has_below(below)) {
        vindex__collector_take(worker, collector, worker->scores + q * VKERN_TILE_ROWS, below, run);
        return;
    }
    worker->n_scored += run->n;
    worker->n_tried += run->n;
}

/* Multiply the groups of rows slot .. slot + n - 1 with all queries; `before` rows of the first
   group come before them. false: the call is to end. */
static bool push_groups(struct worker *worker, const struct part *part, const uint64_t *mask,
                        const void *groups, uint32_t before, uint32_t slot, uint32_t n)
{
    const struct call *call = worker->call;
    const struct group_run run = {part, mask, slot, n, before};
    size_t dim = call->dim, lines = call->plan.lines, n_groups = vkern_groups(before + n);

    for (size_t first = 0; first < worker->n_collectors; first += lines) {
        size_t left = worker->n_collectors - first, nq = left < lines ? left : lines;
        struct collector *collectors = worker->collectors + first;
        if (vindex__pace_tick(&worker->pace, &worker->call->stop, 0.01 * (double)(nq * n * dim)))
            return false;
        for (size_t q = 0; q < nq; q++)
            worker->cuts[q] = collectors[q].stream.cut;
        worker->tile8->multiply(worker->packed + first / lines * worker->pack_bytes, nq, groups,
                                n_groups, dim, worker->scores, VKERN_TILE_ROWS, worker->cuts,
                                worker->below);
        for (size_t q = 0; q < nq; q++)
            if (collectors[q].engine == ENGINE_TILE8) take_scores(worker, &collectors[q], q, &run);
    }
    return true;
}

static void fold_metric8(struct worker *worker, const struct part *part, uint32_t slot, uint32_t n)
{
    const struct call *call = worker->call;
    for (uint32_t i = 0; i < n; i++) {
        float norm = call->metric == VINDEX_COSINE ? part_norm(part, slot + i) : 1;
        worker->bias[i] = call->metric == VINDEX_L2 ? row_bias(call, part, slot + i) : 0;
        worker->scale[i] = norm > 0 ? 1 / norm : 0;
    }
}

static void batch_integers(struct worker *worker, const struct part *part, const uint64_t *mask,
                           uint32_t slot, uint32_t end)
{
    const struct call *call = worker->call;
    uint32_t n;
    for (; (n = vindex__next_rows(part, mask, VKERN_TILE_ROWS, end, &slot)) > 0; slot += n) {
        fold_metric8(worker, part, slot, n);
        call->kern->codes->c8_pack((enum vkern_type)call->type, part_row(part, slot),
                                   part->blocks[0].stride, n, call->dim, worker->bias,
                                   worker->scale, worker->groups);
        if (!push_groups(worker, part, mask, worker->groups, 0, slot, n)) return;
    }
}

void vindex__batch8_part(struct worker *worker, const struct part *part, const uint64_t *mask,
                         uint32_t slot, uint32_t end)
{
    const void *groups;
    uint32_t n;

    pack_queries(worker);
    if (!vindex__part_has_c8(part)) {
        batch_integers(worker, part, mask, slot, end);
        return;
    }
    for (;
         (n = vindex__next_groups(part->codes->c8, mask, VKERN_TILE_ROWS, end, &slot, &groups)) > 0;
         slot += n)
        if (!push_groups(worker, part, mask, groups, slot % VKERN_GROUP, slot, n)) return;
}
