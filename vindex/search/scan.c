/*
 * scan.c - a range of rows for the queries of one worker: part by part the way the plan names for
 * what the part has, by query kernels here (each query over rows that stay in cache), by codes in
 * codes.c, by tiles in batch.c, exactly in rerank.c. A query without a useful error band for a
 * way goes the next.
 */
#include "search/call.h"

#include "base/status.h"

uint32_t vindex__first_live(const uint64_t *mask, uint32_t slot, uint32_t end)
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
    *slot = vindex__first_live(mask, *slot, end);
    if (*slot >= end) return 0;
    uint32_t per_block = part->blocks[0].n;
    uint32_t n = per_block - *slot % per_block; /* left in the block */
    if (n > end - *slot) n = end - *slot;
    return n < rows_max ? n : rows_max;
}

/* After n scores: a full stream is scored exactly. */
static void drain(struct worker *worker, struct collector *collector, size_t n, bool is_full)
{
    worker->n_scored += n;
    worker->n_tried += n;
    if (!is_full) return;
    worker->n_overflowed += collector->stream.count;
    vindex__rerank_stream(worker, collector);
}

void vindex__collector_push(struct worker *worker, struct collector *collector, const float *scores,
                            size_t n, const struct part *part, const uint64_t *mask, uint32_t slot)
{
    bool is_full = vindex__stream_push(&collector->stream, worker->call->kern->survivors, scores, n,
                                       mask, slot, part->base + slot);
    drain(worker, collector, n, is_full);
}

void vindex__collector_found(struct worker *worker, struct collector *collector, size_t n,
                             size_t found)
{
    drain(worker, collector, n, vindex__stream_append(&collector->stream, found));
}

void vindex__collector_take(struct worker *worker, struct collector *collector, const float *scores,
                            uint16_t *below, const struct group_run *run)
{
    struct topk_stream *stream = &collector->stream;
    float *values = stream->memory.values;
    size_t found = vindex__take_below(below, scores, run, stream->memory.ids + stream->count,
                                      values + stream->count);
    vindex__collector_found(worker, collector, run->n, found);
}

/* ---- by query kernels ---------------------------------------------------------------------- */

vkern_score_fn *vindex__score_function(const struct call *call)
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
    vkern_score_fn *score = vindex__score_function(call);
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
            if (collector->engine != ENGINE_QUERY) continue;
            if (vindex__pace_tick(&worker->pace, &worker->call->stop, 0.1 * n * row_bytes)) return;
            score(collector->query.bytes, rows, stride, n, call->dim, worker->scores);
            if (call->metric == VINDEX_COSINE)
                call->kern->divide(worker->scores, (const char *)part->norms + 4 * (size_t)slot, n);
            vindex__collector_push(worker, collector, worker->scores, n, part, mask, slot);
        }
    }
}

/* ---- a part -------------------------------------------------------------------------------- */

size_t vindex__count_rows(const struct part *part, struct part_mask mask, uint32_t slot,
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

/* Whether a way of scanning lets through too much to be of use: then the next begins with a clean
   slate. */
static bool fails(struct worker *worker, bool *failed)
{
    if (!*failed && worker->n_overflowed > 1024 * worker->n_collectors + worker->n_tried / 64) {
        *failed = true;
        worker->n_overflowed = worker->n_tried = 0;
    }
    return *failed;
}

/* Whether the leading coordinates are looked at first. */
static bool is_led(const struct worker *worker, const struct part *part, size_t count, size_t n)
{
    const struct plan *plan = &worker->call->plan;
    return plan->by_p8 && vindex__part_has_p8(part) && !worker->p8_fails &&
           (double)count >= vindex__cost_sparse(ENGINE_P8) * (double)n;
}

/*
 * The bands of codes, and the l2 band of the tile engine, are absolute: where rows lie far from
 * the origin compared with their distances too many pass the latter, where rows are much alike
 * the former; the query kernels, whose band is relative, are better then.
 */
static enum engine choose_for_part(struct worker *worker, const struct part *part,
                                   struct part_mask mask, size_t count, size_t n)
{
    const struct plan *plan = &worker->call->plan;
    enum engine engine = plan->plain;

    if (plan->k_prime && vindex__is_rough(part, mask)) return ENGINE_C4;
    if (is_led(worker, part, count, n)) return ENGINE_P8;
    if (vindex__part_has_c8(part) && !worker->codes_fail) engine = plan->coded;
    if (plan->plain == ENGINE_EXACT || (double)count < vindex__cost_sparse(engine) * (double)n)
        return ENGINE_EXACT;
    if ((engine == ENGINE_C8 || engine == ENGINE_TILE8) && vindex__part_has_c8(part) &&
        fails(worker, &worker->codes_fail))
        engine = plan->plain;
    if (engine == ENGINE_TILE && worker->call->metric == VINDEX_L2 &&
        fails(worker, &worker->tile_fails))
        engine = ENGINE_QUERY;
    return engine;
}

/* Make norms of plain arrays where an engine, or the one in its stead, needs them. */
static void prepare_norms(struct worker *worker, enum engine engine, struct part_view *view)
{
    const struct call *call = worker->call;
    if (call->snapshot || call->metric == VINDEX_HAMMING) return;
    if (engine == ENGINE_QUERY && call->metric == VINDEX_L2) return;
    vindex__part_measure_norms(worker, view);
}

/* Tell a stream the error of the part's scores; false: `engine` has no useful band for the query. */
static bool announce(struct worker *worker, struct collector *collector, enum engine engine,
                     const struct vkern_c8_facts *facts, const struct part *part)
{
    struct topk_band band;
    bool is_useful =
        engine == ENGINE_C8 || engine == ENGINE_TILE8
            ? facts && vindex__plan_codes_band(worker->call, collector, facts, part, &band)
            : vindex__plan_band(worker->call, engine, &collector->query, part, &band);

    if (!is_useful) return false;
    if (!vindex__stream_announce(&collector->stream, &band)) {
        vindex__rerank_stream(worker, collector);
        vindex__stream_announce(&collector->stream, &band);
    }
    collector->engine = engine;
    return true;
}

/* Announce to all streams: by `engine`, or by the query kernels, or the rows are scored exactly
   here and now. Returns how many go by the query kernels. */
static size_t announce_all(struct worker *worker, enum engine engine, const struct part *part,
                           const uint64_t *mask, uint32_t slot, uint32_t end)
{
    struct vkern_c8_facts facts, *known = NULL;
    size_t n_by_query = 0;

    if ((engine == ENGINE_C8 || engine == ENGINE_TILE8) &&
        vindex__plan_facts(worker->call, part, &facts)) {
        known = &facts;
        vindex__codes_make(worker, known);
    }
    for (size_t q = 0; q < worker->n_collectors; q++) {
        struct collector *collector = &worker->collectors[q];
        collector->engine = ENGINE_EXACT;
        if (!announce(worker, collector, engine, known, part) &&
            !announce(worker, collector, ENGINE_QUERY, NULL, part))
            vindex__rerank_slots(worker, collector, part, mask, slot, end);
        n_by_query += collector->engine == ENGINE_QUERY;
    }
    return n_by_query;
}

static void scan_exactly(struct worker *worker, const struct part *part, const uint64_t *mask,
                         uint32_t slot, uint32_t end)
{
    for (size_t q = 0; q < worker->n_collectors; q++)
        vindex__rerank_slots(worker, &worker->collectors[q], part, mask, slot, end);
}

/* By the leading coordinates, as far as they go: there all queries stop. */
static uint32_t scan_led(struct worker *worker, const struct part *part, const uint64_t *mask,
                         uint32_t slot, uint32_t end)
{
    size_t n_by_query = announce_all(worker, ENGINE_QUERY, part, mask, slot, slot); /* nothing yet */
    if (n_by_query > 0) end = vindex__lead_part(worker, part, mask, slot, end);
    for (size_t q = 0; q < worker->n_collectors && n_by_query < worker->n_collectors; q++)
        if (worker->collectors[q].engine == ENGINE_EXACT)
            vindex__rerank_slots(worker, &worker->collectors[q], part, mask, slot, end);
    return end;
}

static bool any_goes_by(const struct worker *worker, enum engine engine)
{
    bool any = false;
    for (size_t q = 0; q < worker->n_collectors; q++)
        any |= worker->collectors[q].engine == engine;
    return any;
}

static void scan_by(struct worker *worker, enum engine engine, const struct part *part,
                    const uint64_t *mask, uint32_t slot, uint32_t end)
{
    size_t n_by_query = announce_all(worker, engine, part, mask, slot, end);
    if (n_by_query > 0) score_part(worker, part, mask, slot, end);
    /* Where norms are none nobody may, and queries have no codes. */
    if (engine == ENGINE_QUERY || !any_goes_by(worker, engine)) return;
    switch (engine) {
    case ENGINE_C8: vindex__codes_part(worker, part, mask, slot, end); break;
    case ENGINE_TILE8: vindex__batch8_part(worker, part, mask, slot, end); break;
    case ENGINE_TILE: vindex__batch_part(worker, part, mask, slot, end); break;
    default: break;
    }
}

/* Bits that are all set would only be read. */
static const uint64_t *words_of(const struct part *part, struct part_mask mask)
{
    return mask.n < part->n ? mask.words : NULL;
}

/* Slots [slot, end) in one way; returns where it stopped to be asked for another. */
static uint32_t scan_slots(struct worker *worker, struct part_view *view, struct part_mask mask,
                           size_t count, uint32_t slot, uint32_t end)
{
    const struct part *part = view->part;
    enum engine engine = choose_for_part(worker, part, mask, count, end - slot);
    const uint64_t *words = words_of(part, mask);
    switch (engine) {
    case ENGINE_EXACT: scan_exactly(worker, part, words, slot, end); break;
    case ENGINE_C4: vindex__rough_part(worker, part, words, slot, end); break;
    case ENGINE_P8: return scan_led(worker, part, words, slot, end);
    default:
        prepare_norms(worker, engine, view);
        scan_by(worker, engine, part, words, slot, end);
    }
    return end;
}

static void scan_part(struct worker *worker, size_t index, uint32_t slot, uint32_t end)
{
    struct call *call = worker->call;
    struct part_view view;
    vindex__call_part(call, index, &view);
    struct part_mask mask = vindex__call_mask(call, index, view.part);
    size_t count = vindex__count_rows(view.part, mask, slot, end);
    if (count == 0) return;

    vindex_status st = call->snapshot ? vindex__part_touch(call->snapshot, view.part) : VINDEX_OK;
    if (st != VINDEX_OK) {
        vindex__stop_set(&call->stop, st);
        return;
    }
    if (worker->is_scouting) {
        if (is_led(worker, view.part, count, end - slot))
            vindex__scout_part(worker, view.part, words_of(view.part, mask), slot, end);
        return;
    }
    uint32_t reached = scan_slots(worker, &view, mask, count, slot, end);
    if (reached == end) return;
    count = vindex__count_rows(view.part, mask, reached, end);
    scan_slots(worker, &view, mask, count, reached, end);
}

/* The best tiles of 8-bit codes that this thread may use. */
static void begin_tiles(struct worker *worker)
{
    const struct vkern_codes *codes = worker->call->kern->codes;
    bool has_amx = codes->amx && (!codes->amx->begin || codes->amx->begin());
    const struct vkern_tile8 *tile8 = has_amx ? codes->amx : codes->tile8;

    if (worker->tile8 != tile8) worker->is_packed = worker->p8_is_made = false;
    worker->tile8 = tile8;
}

void vindex__scan_range(struct worker *worker, uint64_t first, uint64_t end)
{
    const struct call *call = worker->call;
    if (call->plan.coded == ENGINE_TILE8 || call->plan.plain == ENGINE_TILE8 || call->plan.by_p8)
        begin_tiles(worker);
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
