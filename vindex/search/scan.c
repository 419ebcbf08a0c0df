/*
 * scan.c - a range of rows for the queries of one worker: part by part the cheapest way that is
 * exact, by query kernels here (each query over rows that stay in cache), by tiles in batch.c,
 * exactly in rerank.c.
 */
#include "search/call.h"

#include "base/status.h"

/* The first slot >= slot that the mask leaves in, or end. */
static uint32_t first_live(const uint64_t *mask, uint32_t slot, uint32_t end)
{
    if (!mask) return slot;
    while (slot < end) {
        uint64_t word = mask[slot / 64] >> (slot % 64);
        if (word) {
            slot += (uint32_t)__builtin_ctzll(word);
            break;
        }
        slot += 64 - slot % 64;
    }
    return slot < end ? slot : end;
}

uint32_t vindex__next_rows(const struct part *part, const uint64_t *mask, uint32_t rows_max,
                           uint32_t end, uint32_t *slot)
{
    *slot = first_live(mask, *slot, end);
    if (*slot >= end) return 0;
    uint32_t per_block = part->blocks[0].n;
    uint32_t n = per_block - *slot % per_block; /* left in the block */
    if (n > end - *slot) n = end - *slot;
    return n < rows_max ? n : rows_max;
}

void vindex__collector_push(struct worker *worker, struct collector *collector, const float *scores,
                            size_t n, const struct part *part, const uint64_t *mask, uint32_t slot)
{
    bool is_full = vindex__stream_push(&collector->stream, worker->call->kern->survivors, scores, n,
                                       mask, slot, part->base + slot);
    if (!is_full) return;
    worker->n_overflowed += collector->stream.count;
    vindex__rerank_stream(worker, collector);
}

/* ---- by query kernels ---------------------------------------------------------------------- */

static vkern_score_fn *score_function(const struct call *call)
{
    switch (call->metric) {
    case VINDEX_L2: return call->kern->l2sq[call->type];
    case VINDEX_HAMMING: return call->kern->hamming;
    default: return call->kern->ndot[call->type];
    }
}

static void score_part(struct worker *worker, const struct part *part, const uint64_t *mask,
                       uint32_t slot, uint32_t end)
{
    const struct call *call = worker->call;
    vkern_score_fn *score = score_function(call);
    size_t row_bytes = call->query_bytes;
    /* With several queries the rows of a step are read again: they stay in L2. */
    size_t in_cache = ((size_t)256 << 10) / (row_bytes ? row_bytes : 1);
    uint32_t rows_max = (uint32_t)(in_cache < 16 ? 16 : in_cache);
    uint32_t n;

    if (rows_max > call->plan.rows_max) rows_max = (uint32_t)call->plan.rows_max;
    for (; (n = vindex__next_rows(part, mask, rows_max, end, &slot)) > 0; slot += n) {
        const void *rows = part_row(part, slot);
        size_t stride = part->blocks[0].stride;
        for (size_t q = 0; q < worker->n_collectors; q++) {
            struct collector *collector = &worker->collectors[q];
            if (collector->is_exact) continue;
            if (vindex__pace_tick(&worker->pace, &worker->call->stop, 0.1 * n * row_bytes)) return;
            score(collector->query.bytes, rows, stride, n, call->dim, worker->scores);
            if (call->metric == VINDEX_COSINE)
                call->kern->divide(worker->scores, (const char *)part->norms + 4 * (size_t)slot, n);
            vindex__collector_push(worker, collector, worker->scores, n, part, mask, slot);
            worker->n_scored += n;
        }
    }
}

/* ---- a part -------------------------------------------------------------------------------- */

static bool needs_norms(const struct call *call, enum engine engine)
{
    if (engine == ENGINE_EXACT || call->metric == VINDEX_HAMMING) return false;
    return engine == ENGINE_TILE || call->metric != VINDEX_L2;
}

/* Tell all streams the error of this part's scores. A query without a useful band has its rows
   scored exactly here and now. */
static void announce(struct worker *worker, enum engine engine, const struct part *part,
                     const uint64_t *mask, uint32_t slot, uint32_t end)
{
    for (size_t q = 0; q < worker->n_collectors; q++) {
        struct collector *collector = &worker->collectors[q];
        struct topk_band band;
        collector->is_exact =
            !vindex__plan_band(worker->call, engine, &collector->query, part, &band);
        if (collector->is_exact) {
            vindex__rerank_slots(worker, collector, part, mask, slot, end);
        } else if (!vindex__stream_announce(&collector->stream, &band)) {
            vindex__rerank_stream(worker, collector);
            vindex__stream_announce(&collector->stream, &band);
        }
    }
}

static size_t count_rows(const struct part *part, struct part_mask mask, uint32_t slot,
                         uint32_t end)
{
    size_t count = 0;
    if (!mask.words || mask.n == 0 || mask.n == part->n) return mask.n ? end - slot : 0;
    if (slot == 0 && end == part->n) return mask.n;
    for (; slot < end; slot += 64 - slot % 64) {
        uint64_t word = mask.words[slot / 64] >> (slot % 64);
        if (end - slot < 64) word &= (UINT64_C(1) << (end - slot)) - 1;
        count += (size_t)__builtin_popcountll(word);
    }
    return count;
}

/* The l2 band of the tile engine is absolute: where rows lie far from the origin compared with
   their distances, too many pass it, and the query kernels, whose band is relative, are better. */
static enum engine choose_for_part(struct worker *worker, size_t count, size_t n)
{
    const struct call *call = worker->call;
    if (call->plan.engine == ENGINE_EXACT || (double)count < call->plan.sparse * (double)n)
        return ENGINE_EXACT;
    if (call->plan.engine == ENGINE_TILE && call->metric == VINDEX_L2 && !worker->tile_fails)
        worker->tile_fails =
            worker->n_overflowed > 1024 * worker->n_collectors + worker->n_scored / 64;
    return worker->tile_fails ? ENGINE_QUERY : call->plan.engine;
}

static void scan_part(struct worker *worker, size_t index, uint32_t slot, uint32_t end)
{
    struct call *call = worker->call;
    struct part_view view;
    vindex__call_part(call, index, &view);
    struct part_mask mask = vindex__call_mask(call, index, view.part);
    size_t count = count_rows(view.part, mask, slot, end);
    if (count == 0) return;

    vindex_status st = call->snapshot ? vindex__part_touch(call->snapshot, view.part) : VINDEX_OK;
    if (st != VINDEX_OK) {
        vindex__stop_set(&call->stop, st);
        return;
    }
    enum engine engine = choose_for_part(worker, count, end - slot);
    if (engine == ENGINE_EXACT) {
        for (size_t q = 0; q < worker->n_collectors; q++)
            vindex__rerank_slots(worker, &worker->collectors[q], view.part, mask.words, slot, end);
        return;
    }
    if (!call->snapshot && needs_norms(call, engine)) vindex__part_measure_norms(worker, &view);
    announce(worker, engine, view.part, mask.words, slot, end);
    if (engine == ENGINE_TILE)
        vindex__batch_part(worker, view.part, mask.words, slot, end);
    else
        score_part(worker, view.part, mask.words, slot, end);
}

void vindex__scan_range(struct worker *worker, uint64_t first, uint64_t end)
{
    const struct call *call = worker->call;
    for (size_t i = first < end ? vindex__call_find(call, first) : call->n_parts;
         i < call->n_parts && !vindex__pace_tick(&worker->pace, &worker->call->stop, 0); i++) {
        struct part_view view;
        vindex__call_part(call, i, &view);
        uint64_t base = view.part->base, part_end = base + view.part->n;
        if (base >= end) return;
        uint64_t lo = first > base ? first : base, hi = end < part_end ? end : part_end;
        if (lo < hi) scan_part(worker, i, (uint32_t)(lo - base), (uint32_t)(hi - base));
    }
}
