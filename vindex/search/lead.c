/*
 * lead.c - a range of rows by their leading principal coordinates: 8-bit codes of these (plane p8) bound a row's
 * exact score from below, and where that bound is worse than what k rows reach the row is left out. What remains,
 * mostly well under a hundredth, is scored by the query kernels: a first pass like any other (plan.c, THE PROOF).
 *
 * How much remains hangs on how good a row has to be, so that is found out first. SCOUTS go over a quarter of the rows
 * and note the k best by their leading coordinates alone; the k-th of their exact scores is an upper bound to begin with.
 * (Of photo-sift-128, mnist-784 and 1,000,000 clustered rows at 48, 64 and 48 axes, k = 10, 0.35, 0.8 and 0.3 % remain; 0.6, 1.4
 * and 4.4 % without scouts, 0.27, 0.6 and 0.24 % if they went over all.)
 *
 * Where more remains than pays, the part is left to the other engines from there on.
 */
#include "search/call.h"

#include <float.h>
#include <math.h>

/* ---- queries --------------------------------------------------------------------------------- */

static void make_codes(struct worker *worker)
{
    const struct call *call = worker->call;
    for (size_t q = 0; q < worker->n_collectors; q++) {
        struct collector *collector = &worker->collectors[q];
        struct lead *lead = collector->lead;
        vkern_p8_query_make(call->kern, &call->model, collector->query.dense, worker->projection,
                            lead->codes, &lead->side);
    }
}

/* Packs as this thread's tiles want them. One query goes by itself. */
static void make_packs(struct worker *worker)
{
    const struct call *call = worker->call;
    size_t lines = call->plan.p8_lines, d = vkern_p8_dim(&call->model);
    for (size_t first = 0; first < worker->n_collectors && worker->n_collectors > 1;
         first += lines) {
        size_t left = worker->n_collectors - first, nq = left < lines ? left : lines;
        for (size_t q = 0; q < nq; q++)
            worker->pack_queries[q] = worker->collectors[first + q].lead->side.codes.query;
        worker->tile8->pack(worker->pack_queries, nq, d,
                            worker->p8_packed + first / lines * worker->p8_pack_bytes);
    }
}

static void begin_queries(struct worker *worker)
{
    if (worker->p8_is_made) return;
    make_codes(worker);
    make_packs(worker);
    worker->p8_is_made = true;
}

/* ---- groups ---------------------------------------------------------------------------------- */

static uint32_t rows_at_once(const struct worker *worker)
{
    return worker->n_collectors == 1 ? (uint32_t)worker->call->plan.rows_max : VKERN_TILE_ROWS;
}

/* The run's scores for the one query there is; false: the call is to end. */
static bool scan(struct worker *worker, const void *groups, const struct group_run *run)
{
    const struct call *call = worker->call;
    size_t n_groups = vkern_groups(run->before + run->n), d = vkern_p8_dim(&call->model);

    if (vindex__pace_tick(&worker->pace, &worker->call->stop,
                          0.1 * (double)(n_groups * vkern_c8_group_bytes(d))))
        return false;
    call->kern->codes->c8_scan(&worker->collectors->lead->side.codes.query, groups, n_groups, d,
                               worker->scores);
    return true;
}

/* Which rows of the run are below the cuts of the queries of pack number `pack`; with their scores where a stride
   is given. */
static bool multiply(struct worker *worker, size_t pack, size_t nq, const float *cuts,
                     const void *groups, const struct group_run *run, size_t out_stride)
{
    const struct call *call = worker->call;
    size_t n_groups = vkern_groups(run->before + run->n), d = vkern_p8_dim(&call->model);

    if (vindex__pace_tick(&worker->pace, &worker->call->stop, 0.01 * (double)(nq * run->n * d)))
        return false;
    worker->tile8->multiply(worker->p8_packed + pack * worker->p8_pack_bytes, nq, groups, n_groups,
                            d, worker->scores, out_stride, cuts, worker->below);
    return true;
}

enum { WORDS = VKERN_TILE_ROWS / 64 }; /* of a query's bits of a multiply */

/* Bits of the run's rows that count, as a multiply has them: from the first group's first row on. */
static void find_counting(const struct group_run *run, uint64_t counting[WORDS])
{
    uint32_t first = run->slot - run->before, end = run->before + run->n;
    for (uint32_t i = 0; i < WORDS; i++) {
        uint64_t word = ~UINT64_C(0);
        uint32_t at = 64 * i;
        if (at >= end || at + 64 <= run->before)
            word = 0;
        else if (run->mask)
            word = vindex__mask_bits(run->mask, first + at, run->slot + run->n);
        if (at < run->before && run->before < at + 64) word &= ~UINT64_C(0) << (run->before - at);
        if (end > at && end < at + 64) word &= ~UINT64_C(0) >> (at + 64 - end);
        counting[i] = word;
    }
}

/* What a multiply let through, as pairs of query << 8 | row. Mostly all bits of a word are clear, and nobody knows where
   one is set: a list of the words where one is takes no branch. */
static size_t find_pairs(const uint16_t *below, size_t nq, const uint64_t counting[WORDS],
                         uint32_t *pairs)
{
    uint16_t list[WORDS * PLAN_LINES_MAX];
    uint64_t words[WORDS * PLAN_LINES_MAX];
    size_t n_listed = 0, n = 0;

    for (size_t i = 0; i < WORDS * nq; i++) {
        uint64_t word;
        memcpy(&word, below + 4 * i, sizeof word);
        word &= counting[i % WORDS];
        list[n_listed] = (uint16_t)i;
        words[n_listed] = word;
        n_listed += word != 0;
    }
    for (size_t i = 0; i < n_listed; i++)
        for (uint64_t word = words[i]; word; word &= word - 1)
            pairs[n++] = 64 * (uint32_t)list[i] + (uint32_t)__builtin_ctzll(word);
    return n;
}

/* ---- scouts ---------------------------------------------------------------------------------- */

enum { SCOUTED = 4 }; /* one run of so many */

/* n entries more; returns the cut. Few are held beside the k best, so that the next have to be as good. */
static float note(struct topk_stream *rough, size_t n)
{
    vindex__final_append(rough, n);
    if (rough->count > rough->k + rough->k / 4 + 16) vindex__final_trim(rough);
    return vindex__rough_cut(rough);
}

static bool scout_one(struct worker *worker, const void *groups, const struct group_run *run)
{
    struct topk_stream *rough = &worker->collectors->rough;
    float *values = (float *)rough->memory.values + rough->count;
    if (!scan(worker, groups, run)) return false;
    size_t n = worker->call->kern->survivors(
        worker->scores + run->before, run->n, vindex__rough_cut(rough), run->mask, run->slot,
        run->part->base + run->slot, (uint64_t *)rough->memory.ids + rough->count, values);
    if (n > 0) note(rough, n);
    return true;
}

static bool scout_many(struct worker *worker, const void *groups, const struct group_run *run)
{
    size_t lines = worker->call->plan.p8_lines;
    uint64_t counting[WORDS], base = run->part->base + run->slot - run->before;

    find_counting(run, counting);
    for (size_t first = 0; first < worker->n_collectors; first += lines) {
        size_t left = worker->n_collectors - first, nq = left < lines ? left : lines;
        struct collector *collectors = worker->collectors + first;
        for (size_t q = 0; q < nq; q++)
            worker->cuts[q] = vindex__rough_cut(&collectors[q].rough);
        if (!multiply(worker, first / lines, nq, worker->cuts, groups, run, VKERN_TILE_ROWS))
            return false;
        size_t n = find_pairs(worker->below, nq, counting, worker->pairs);
        for (size_t i = 0; i < n; i++) {
            uint32_t pair = worker->pairs[i], q = pair / VKERN_TILE_ROWS;
            struct topk_stream *rough = &collectors[q].rough;
            if (worker->scores[pair] > worker->cuts[q]) continue;
            rough->memory.ids[rough->count] = (int64_t)(base + pair % VKERN_TILE_ROWS);
            ((float *)rough->memory.values)[rough->count] = worker->scores[pair];
            worker->cuts[q] = note(rough, 1);
        }
    }
    return true;
}

void vindex__scout_part(struct worker *worker, const struct part *part, const uint64_t *mask,
                        uint32_t slot, uint32_t end)
{
    const void *groups;
    uint32_t rows_max = rows_at_once(worker), n;

    begin_queries(worker);
    for (; (n = vindex__next_groups(part->codes->p8, mask, rows_max, end, &slot, &groups)) > 0;
         slot += n + (SCOUTED - 1) * rows_max) {
        const struct group_run run = {part, mask, slot, n, slot % VKERN_GROUP};
        if (!(worker->n_collectors == 1 ? scout_one : scout_many)(worker, groups, &run)) return;
        if (end - slot <= SCOUTED * rows_max) return;
    }
}

/* ---- what is known --------------------------------------------------------------------------- */

/* The largest first, in a heap of k. */
static void heap_replace(float *heap, size_t n, float value)
{
    size_t at = 0, child;
    for (; (child = 2 * at + 1) < n; at = child) {
        child += child + 1 < n && heap[child + 1] > heap[child];
        if (heap[child] <= value) break;
        heap[at] = heap[child];
    }
    heap[at] = value;
}

static void heap_add(float *heap, size_t n, float value)
{
    size_t at = n;
    for (; at > 0 && heap[(at - 1) / 2] < value; at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = value;
}

/* One more row has an exact score of at most this. Returns whether rows have to be better now. */
static bool learn(struct collector *collector, size_t k, double upper)
{
    struct lead *lead = collector->lead;
    float value = upper < (double)FLT_MAX ? nextafterf((float)upper, INFINITY) : INFINITY;
    if (lead->n_known < k)
        heap_add(lead->known, lead->n_known++, value);
    else if (value < lead->known[0])
        heap_replace(lead->known, k, value);
    else
        return false;
    if (lead->n_known < k) return false;
    vindex__stream_lower(&collector->stream, (double)lead->known[0]);
    return true;
}

/* By insertion, over ever smaller gaps (Shell; Ciura's, continued): qsort would allocate. */
static void sort_positions(int64_t *positions, size_t n)
{
    static const size_t gaps[] = {860407, 382403, 169957, 75536, 33572, 14921, 6631, 2947, 1310,
                                  701,    301,    132,    57,    23,    10,    4,    1};
    for (size_t g = 0; g < sizeof gaps / sizeof *gaps; g++)
        for (size_t i = gaps[g]; i < n; i++) {
            int64_t position = positions[i];
            size_t at = i;
            for (; at >= gaps[g] && positions[at - gaps[g]] > position; at -= gaps[g])
                positions[at] = positions[at - gaps[g]];
            positions[at] = position;
        }
}

void vindex__scout_end(struct worker *worker, struct collector *collector,
                       struct topk_stream *rough)
{
    const struct call *call = worker->call;
    struct lead *lead = collector->lead;
    struct topk_stream *best = &collector->best;

    vindex__rerank_rough(worker, collector, rough);
    /* Of a call that is ending these are the hits: nothing will be scanned, and not all may have been scored. */
    if (atomic_load_explicit(&call->stop.status, memory_order_relaxed) != VINDEX_OK) return;
    lead->n_scouts = rough->count;
    memcpy(lead->scouts, rough->memory.ids, rough->count * sizeof *lead->scouts);
    sort_positions(lead->scouts, lead->n_scouts);
    for (size_t i = 0; i < best->count; i++) {
        float score = ((const float *)best->memory.values)[i];
        (void)learn(collector, call->plan.k, vindex__plan_upper(call, &collector->query, score));
    }
    /* The scan comes by these rows again. */
    vindex__best_init(best, call->plan.k, call->n_match, best->memory);
}

void vindex__scout_copy(struct collector *collector, const struct collector *from)
{
    struct lead *lead = collector->lead, *other = from->lead;
    lead->n_known = other->n_known;
    lead->n_scouts = other->n_scouts;
    memcpy(lead->known, other->known, other->n_known * sizeof *lead->known);
    memcpy(lead->scouts, other->scouts, other->n_scouts * sizeof *lead->scouts);
    vindex__stream_lower(&collector->stream, from->stream.upper);
}

/* A row is to be scored exactly: it is known from here on. Rows come in the order of their positions. */
static bool learn_row(struct worker *worker, struct collector *collector, int64_t position,
                      float value)
{
    const struct topk_band *band = &collector->stream.band;
    struct lead *lead = collector->lead;
    double p = (double)value;
    while (lead->next < lead->n_scouts && lead->scouts[lead->next] < position)
        lead->next++;
    if (lead->next < lead->n_scouts && lead->scouts[lead->next] == position) return false;
    return learn(collector, worker->call->plan.k,
                 p + band->offset + band->error_rel * fabs(p) + band->error_abs);
}

/* ---- rows let through ------------------------------------------------------------------------ */

/* The part in hand, and where the rows of a run are. */
struct leading {
    const struct part *part;
    struct vkern_p8_facts facts;
    vkern_score_fn *score;
    const char *rows; /* those before `boundary` */
    size_t stride;
    uint32_t first, boundary;
};

/* Whose scores are not above this may be among the k best. */
static float cut_of(const struct call *call, const struct leading *leading,
                    const struct collector *collector)
{
    const struct topk_stream *stream = &collector->stream;
    if (collector->engine != ENGINE_QUERY) return -INFINITY; /* all rows are scored already */
    if (!(stream->upper < INFINITY)) return INFINITY;
    double worst = vindex__stream_worst(stream);
    worst += vindex__plan_doubt(call, &collector->query, leading->part);
    return vkern_p8_cut(&call->model, &leading->facts, &collector->lead->side, worst);
}

static struct leading begin_part(struct worker *worker, const struct part *part)
{
    const struct part_codes *codes = part->codes;
    struct leading leading = {.part = part,
                              .facts = {.codes = {.error = codes->p8_error,
                                                  .size = codes->p8_size,
                                                  .bias_max = codes->p8_bias},
                                        .drift = codes->p8_drift},
                              .score = vindex__score_function(worker->call)};
    for (size_t q = 0; q < worker->n_collectors; q++)
        worker->p8_cuts[q] = cut_of(worker->call, &leading, &worker->collectors[q]);
    return leading;
}

/* Rows of a run mostly lie in one block. */
static void begin_run(struct leading *leading, const struct group_run *run)
{
    const struct part *part = leading->part;
    uint32_t per_block = part->blocks[0].n;
    leading->first = run->slot - run->before;
    leading->boundary = (leading->first / per_block + 1) * per_block;
    leading->rows = part_row(part, leading->first);
    leading->stride = part->blocks[0].stride;
}

static inline const char *row_of(const struct leading *leading, uint32_t slot)
{
    return slot < leading->boundary ? leading->rows + (slot - leading->first) * leading->stride
                                    : part_row(leading->part, slot);
}

/* Score a row that was let through; its stream may let it in. */
static void score_row(struct worker *worker, const struct leading *leading, size_t q, uint32_t slot)
{
    const struct call *call = worker->call;
    struct collector *collector = &worker->collectors[q];
    struct topk_stream *stream = &collector->stream;
    int64_t position = (int64_t)(leading->part->base + slot);
    float value;

    /* Of a query whose rows are all scored exactly: no cut is below a score of minus infinity, or no number. */
    if (collector->engine != ENGINE_QUERY) return;
    leading->score(collector->query.bytes, row_of(leading, slot), leading->stride, 1, call->dim,
                   &value);
    if (call->metric == VINDEX_COSINE)
        call->kern->divide(&value, (const char *)leading->part->norms + 4 * (size_t)slot, 1);
    if (value > stream->cut) return;
    if (learn_row(worker, collector, position, value))
        worker->p8_cuts[q] = cut_of(call, leading, collector);
    stream->memory.ids[stream->count] = position;
    ((float *)stream->memory.values)[stream->count] = value;
    vindex__collector_found(worker, collector, 0, 1);
}

/* ---- one query ------------------------------------------------------------------------------- */

static bool lead_one(struct worker *worker, const struct leading *leading, const void *groups,
                     const struct group_run *run)
{
    /* The entries of the rough stream were used up. */
    struct topk_memory *found = &worker->collectors->rough.memory;

    if (!scan(worker, groups, run)) return false;
    size_t n = worker->call->kern->survivors(worker->scores + run->before, run->n,
                                             worker->p8_cuts[0], run->mask, run->slot, run->slot,
                                             (uint64_t *)found->ids, found->values);
    for (size_t i = 0; i < n; i++)
        vindex__fetch_row(worker->call, row_of(leading, (uint32_t)found->ids[i]));
    for (size_t i = 0; i < n; i++)
        score_row(worker, leading, 0, (uint32_t)found->ids[i]);
    worker->n_scored += run->n;
    worker->p8_passed += n;
    return true;
}

/* ---- many queries ---------------------------------------------------------------------------- */

/* All rows are asked for before the first is scored. */
static void score_pairs(struct worker *worker, const struct leading *leading, size_t first_query,
                        size_t n)
{
    const uint32_t *pairs = worker->pairs, first = leading->first;

    for (size_t i = 0; i < n; i++)
        vindex__fetch_row(worker->call, row_of(leading, first + pairs[i] % VKERN_TILE_ROWS));
    for (size_t i = 0; i < n; i++)
        score_row(worker, leading, first_query + pairs[i] / VKERN_TILE_ROWS,
                  first + pairs[i] % VKERN_TILE_ROWS);
}

static bool lead_many(struct worker *worker, const struct leading *leading, const void *groups,
                      const struct group_run *run)
{
    size_t lines = worker->call->plan.p8_lines;
    uint64_t counting[WORDS];

    find_counting(run, counting);
    for (size_t first = 0; first < worker->n_collectors; first += lines) {
        size_t left = worker->n_collectors - first, nq = left < lines ? left : lines;
        if (!multiply(worker, first / lines, nq, worker->p8_cuts + first, groups, run, 0))
            return false;
        size_t n = find_pairs(worker->below, nq, counting, worker->pairs);
        score_pairs(worker, leading, first, n);
        worker->n_scored += nq * run->n;
        worker->p8_passed += n;
    }
    return true;
}

/* ---- a part ---------------------------------------------------------------------------------- */

/* Whether the rows let through cost more than is spared, a bad quarter of all rows forgiven. */
static bool fails(struct worker *worker, uint64_t n)
{
    const struct call *call = worker->call;
    double asked = (double)call->n_positions * (double)worker->n_collectors;
    worker->p8_tried += n * worker->n_collectors;
    worker->p8_fails =
        (double)worker->p8_passed > call->plan.p8_most * ((double)worker->p8_tried + asked / 4);
    return worker->p8_fails;
}

uint32_t vindex__lead_part(struct worker *worker, const struct part *part, const uint64_t *mask,
                           uint32_t slot, uint32_t end)
{
    const void *groups;
    uint32_t rows_max = rows_at_once(worker), n;

    begin_queries(worker);
    struct leading leading = begin_part(worker, part);
    for (; (n = vindex__next_groups(part->codes->p8, mask, rows_max, end, &slot, &groups)) > 0;
         slot += n) {
        const struct group_run run = {part, mask, slot, n, slot % VKERN_GROUP};
        begin_run(&leading, &run);
        if (!(worker->n_collectors == 1 ? lead_one : lead_many)(worker, &leading, groups, &run))
            return end;
        if (fails(worker, n)) return slot + n;
    }
    return end;
}
