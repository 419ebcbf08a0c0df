/*
 * batch.c - many queries by the tile engine: a panel of 256 rows is packed once, with the metric
 * folded in as a scale and a bias a row, and multiplied with some queries at a time; their scores
 * go through the streams while they are in cache. The matrix of all scores never exists.
 *
 *     l2       |x|^2 - 2 q.x     (|q|^2 left out: the same for all rows; the band's offset)
 *     ip       -q.x
 *     cosine   -q.x / |x|        (rows of zeros: 0)
 */
#include "search/call.h"

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
            if (!collectors[q].is_exact)
                vindex__collector_push(worker, &collectors[q], worker->scores + q * VKERN_TILE_ROWS,
                                       n, part, mask, slot);
        worker->n_scored += nq * n;
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
