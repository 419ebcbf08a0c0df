/*
 * query.c - a call from end to end: filter, effort, plan, scan, finish, report. The other files
 * of this folder do the work; call.h lists them.
 */
#include "search/call.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "base/status.h"

void vindex__call_init(struct call *call, struct search *search, uint32_t type, uint32_t metric,
                       uint32_t dim, const struct search_request *request, vindex_hit *hits)
{
    bool floats = type <= VINDEX_BFLOAT16;
    assert(request->k >= 1);
    assert((type == VINDEX_BIT) == (metric == VINDEX_HAMMING));
    memset(call, 0, sizeof *call);
    call->search = search;
    call->kern = search->kern;
    call->request = request;
    call->hits = hits;
    call->type = type;
    call->metric = metric;
    call->dim = dim;
    call->row_bytes = vkern_row_bytes((enum vkern_type)type, dim);
    call->query_bytes = vkern_row_bytes(floats ? VKERN_F32 : (enum vkern_type)type, dim);
    call->model = (struct vkern_model){.dim = dim, .metric = metric};
    vindex__measure_init(&call->measure, call->kern, type, metric, dim);
    vindex__stop_init(&call->stop, request);
}

static void take_model(struct call *call, const struct model *model)
{
    struct vkern_model *to = &call->model;
    to->m = model->m;
    to->mean = model->mean;
    to->scale = model->scale;
    to->axes = model->axes;
    to->deviation = model->deviation;
    to->clip = model->clip;
    to->p = model->p;
    to->axes_norm = model->axes_norm;
    for (size_t i = 0; i < call->n_parts; i++) {
        const struct part *part = &call->snapshot->parts[i];
        if (vindex__part_has_c4(part)) call->n_c4 += part->n;
        if (vindex__part_has_c8(part)) call->n_c8 += part->n;
        if (vindex__part_has_p8(part)) call->n_p8 += part->n;
    }
}

void vindex__call_open(struct call *call, struct search *search, const struct snapshot *snapshot,
                       const struct search_request *request, vindex_hit *hits)
{
    const struct config *config = &snapshot->config;
    vindex__call_init(call, search, config->type, config->metric, config->dim, request, hits);
    call->snapshot = snapshot;
    call->n_parts = snapshot->n_parts;
    call->n_positions = snapshot->n_positions;
    call->n_live = snapshot->n_live;
    if (snapshot->model) take_model(call, snapshot->model);
}

vindex_status vindex__search_run(struct search *search, const struct snapshot *snapshot,
                                 const struct search_request *request, vindex_hit *hits,
                                 vindex_report *report)
{
    struct call call;
    vindex__call_open(&call, search, snapshot, request, hits);
    return vindex__call_answer(&call, report);
}

/* ---- memory -------------------------------------------------------------------------------- */

static struct topk_memory take_stream(struct arena *arena, size_t entries)
{
    struct topk_memory memory = {NULL, NULL, NULL};
    memory.ids = vindex__arena_take(arena, entries, sizeof *memory.ids);
    memory.values = vindex__arena_take(arena, entries, sizeof(float));
    return memory;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static bool uses(const struct plan *plan, enum engine engine)
{
    return plan->plain == engine || plan->coded == engine;
}

static size_t pack_bytes(const struct call *call, size_t lines, size_t dim)
{
    const struct vkern_tile8 *amx = call->kern->codes->amx, *other = call->kern->codes->tile8;
    return larger(other->pack_bytes(lines, dim), amx ? amx->pack_bytes(lines, dim) : 0);
}

static void lay_out_lead(struct worker *worker, struct arena *arena)
{
    const struct call *call = worker->call;
    const struct plan *plan = &call->plan;
    if (!plan->by_p8) return;
    size_t n_packs = (plan->group + plan->p8_lines - 1) / plan->p8_lines;
    worker->p8_pack_bytes = pack_bytes(call, plan->p8_lines, vkern_p8_dim(&call->model));
    worker->p8_packed = vindex__arena_take(arena, n_packs, worker->p8_pack_bytes);
    worker->p8_cuts = vindex__arena_take(arena, plan->group, sizeof *worker->p8_cuts);
    worker->pairs =
        vindex__arena_take(arena, plan->p8_lines, VKERN_TILE_ROWS * sizeof *worker->pairs);
}

static void lay_out_tiles(struct worker *worker, struct arena *arena)
{
    const struct call *call = worker->call;
    const struct plan *plan = &call->plan;
    bool has_f32 = uses(plan, ENGINE_TILE), has_codes = uses(plan, ENGINE_TILE8);
    size_t rows = has_f32 || has_codes ? VKERN_TILE_ROWS : 0;

    worker->scale = vindex__arena_take(arena, rows, sizeof(float));
    worker->bias = vindex__arena_take(arena, rows, sizeof(float));
    worker->panel = vindex__arena_take(arena, has_f32 ? vkern_panel_floats(call->dim) : 0, 4);
    if (has_codes || plan->by_p8)
        worker->pack_queries = vindex__arena_take(arena, larger(plan->lines, plan->p8_lines),
                                                  sizeof *worker->pack_queries);
    if (!has_codes) return;
    size_t n_packs = (plan->group + plan->lines - 1) / plan->lines;
    worker->pack_bytes = pack_bytes(call, plan->lines, call->dim);
    worker->packed = vindex__arena_take(arena, n_packs, worker->pack_bytes);
    worker->groups =
        vindex__arena_take(arena, VKERN_TILE_ROWS / VKERN_GROUP, vkern_c8_group_bytes(call->dim));
}

static struct lead *take_lead(const struct call *call, struct arena *arena)
{
    const struct plan *plan = &call->plan;
    struct lead unused, *taken = vindex__arena_take(arena, plan->by_p8, sizeof *taken);
    struct lead *lead = taken ? taken : &unused;
    size_t k = plan->by_p8 ? plan->k : 0, d = vkern_p8_dim(&call->model);

    lead->codes = vindex__arena_take(arena, plan->by_p8, vindex__codes_bytes(d));
    lead->known = vindex__arena_take(arena, k, sizeof *lead->known);
    lead->scouts = vindex__arena_take(arena, k, sizeof *lead->scouts);
    return taken;
}

static void lay_out_collector(struct worker *worker, struct arena *arena, size_t q, bool has_codes)
{
    const struct call *call = worker->call;
    const struct plan *plan = &call->plan;
    size_t rough = vindex__rough_entries(call);
    struct collector unused, *collector = arena->base ? &worker->collectors[q] : &unused;

    collector->stream.memory = take_stream(arena, vindex__first_entries(plan));
    collector->best.memory = take_stream(arena, vindex__best_entries(plan->k, call->n_match));
    collector->rough.memory = take_stream(arena, rough);
    collector->codes = vindex__arena_take(arena, has_codes, vindex__codes_bytes(call->dim));
    collector->lead = take_lead(call, arena);
    collector->weights = vindex__arena_take(arena, plan->k_prime ? call->model.m : 0, 1);
    collector->stream.memory.scratch = collector->best.memory.scratch =
        collector->rough.memory.scratch = worker->scratch;
}

static size_t scratch_bytes(const struct call *call)
{
    const struct plan *plan = &call->plan;
    size_t best = vindex__best_entries(plan->k, call->n_match);
    size_t need = larger(vindex__stream_scratch(vindex__first_entries(plan)),
                         vindex__final_scratch(plan->k, best));
    if (!vindex__rough_k(plan)) return need;
    return larger(need, vindex__final_scratch(vindex__rough_k(plan), vindex__rough_entries(call)));
}

/* Bits are looked at four groups at a time. */
static void lay_out_cuts(struct worker *worker, struct arena *arena)
{
    const struct plan *plan = &worker->call->plan;
    size_t lines = larger(uses(plan, ENGINE_TILE8) ? plan->lines : 0, plan->p8_lines);
    size_t n_rough = plan->k_prime ? vkern_groups(plan->rows_max + VKERN_GROUP) + 3 : 0;
    size_t n_below = larger(n_rough, lines * VKERN_TILE_GROUPS);

    worker->cuts = vindex__arena_take(arena, lines, sizeof *worker->cuts);
    worker->below = vindex__arena_take(arena, n_below, sizeof *worker->below);
    if (worker->below) memset(worker->below, 0, n_below * sizeof *worker->below);
}

static void lay_out_worker(struct call *call, struct arena *arena, uint32_t number)
{
    const struct plan *plan = &call->plan;
    struct worker blank = {.call = call}, *worker = call->workers ? call->workers + number : &blank;
    bool has_codes = uses(plan, ENGINE_C8) || uses(plan, ENGINE_TILE8);
    bool has_tiles = uses(plan, ENGINE_TILE) || uses(plan, ENGINE_TILE8);
    bool copies = call->type > VINDEX_BFLOAT16 && (has_codes || has_tiles || vindex__rough_k(plan));
    size_t dim = call->dim;
    size_t projected = vindex__rough_k(plan) ? dim + vkern_n_axes(&call->model) + 1 : 0;
    /* Scouts of one query have no use for lines. */
    size_t lines = larger(has_tiles ? plan->lines : 0, call->window.n > 1 ? plan->p8_lines : 0);
    size_t scores = larger(plan->rows_max + VKERN_GROUP, lines * VKERN_TILE_ROWS);

    *worker = blank;
    worker->collectors = vindex__arena_take(arena, plan->group, sizeof *worker->collectors);
    worker->dense = vindex__arena_take(arena, copies ? plan->group : 0, dim * sizeof(float));
    worker->scores = vindex__arena_take(arena, scores, sizeof(float));
    worker->norms =
        vindex__arena_take(arena, call->snapshot ? 0 : (size_t)call->rows_per_part, sizeof(float));
    worker->scratch = vindex__arena_take(arena, scratch_bytes(call), 1);
    lay_out_cuts(worker, arena);
    worker->projection = vindex__arena_take(arena, projected, sizeof(float));
    lay_out_tiles(worker, arena);
    lay_out_lead(worker, arena);
    for (size_t q = 0; q < plan->group; q++)
        lay_out_collector(worker, arena, q, has_codes);
}

static vindex_status lay_out(struct call *call)
{
    struct region *region = &call->search->work_memory;
    for (int pass = 0; pass < 2; pass++) {
        struct arena arena = {pass ? region->memory : NULL, 0, false};
        call->workers = vindex__arena_take(&arena, call->plan.n_workers, sizeof *call->workers);
        call->zeros = vindex__arena_take(&arena, call->snapshot ? 0 : call->query_bytes, 1);
        for (uint32_t i = 0; i < call->plan.n_workers; i++)
            lay_out_worker(call, &arena, i);
        if (arena.overflow) return vindex__nomem();
        if (pass == 0) {
            vindex_status st = vindex__region_need(region, arena.used);
            if (st != VINDEX_OK) return st;
        }
    }
    if (!call->snapshot) memset(call->zeros, 0, call->query_bytes);
    return VINDEX_OK;
}

/* ---- scanning ------------------------------------------------------------------------------ */

/* Take queries first .. first + n - 1 of the window in hand. */
static void begin_queries(struct worker *worker, size_t first, size_t n)
{
    struct call *call = worker->call;
    const struct plan *plan = &call->plan;
    const char *queries =
        (const char *)call->request->queries + (call->window.first + first) * call->query_bytes;

    worker->n_collectors = n;
    worker->variant = 0;
    worker->p8_is_made = false;
    for (size_t q = 0; q < n; q++) {
        struct collector *collector = &worker->collectors[q];
        const char *bytes = queries + q * call->query_bytes;
        vindex__query_init(&call->measure, bytes, &collector->query);
        collector->query.dense = (const float *)(const void *)bytes;
        if (worker->dense) {
            float *dense = worker->dense + q * call->dim;
            call->kern->to_f32[call->type](bytes, call->dim, dense);
            collector->query.dense = dense;
        }
        vindex__stream_init(&collector->stream, plan->k, plan->limit,
                            vindex__plan_margin(call, &collector->query), collector->stream.memory);
        vindex__best_init(&collector->best, plan->k, call->n_match, collector->best.memory);
        if (vindex__rough_k(plan))
            vindex__best_init(&collector->rough, vindex__rough_k(plan), call->n_match,
                              collector->rough.memory);
        /* Even of a worker that will not scout: it is told what others found. */
        if (plan->by_p8)
            collector->lead->n_known = collector->lead->n_scouts = collector->lead->next = 0;
        if (!plan->k_prime) continue;
        vkern_c4_query_make(call->kern, &call->model, collector->query.dense, worker->projection,
                            collector->weights, &collector->weight_scale);
    }
}

/* Of an entry, by estimate. */
#define SORT_NS 20.0
#define MERGE_NS 4.0

/* Of a call that is ending: as many queries as there is time for. */
static void write_hits(struct worker *worker, struct topk_stream *best, size_t q)
{
    struct call *call = worker->call;
    size_t k = call->window.k;
    if (vindex__may_finish(worker, &call->stop, SORT_NS * (double)best->count))
        vindex__hits_write(best, k, call->window.hits + q * k);
    else
        vindex__hits_pad(call->window.hits, q * k, (q + 1) * k);
}

static void grant_grace(struct call *call)
{
    for (uint32_t i = 0; i < call->plan.n_workers; i++)
        call->workers[i].grace_ns = GRACE_NS;
}

static bool is_ending(const struct call *call)
{
    return atomic_load_explicit(&call->stop.status, memory_order_relaxed) != VINDEX_OK;
}

/* Rows for all queries of a worker to begin with. */
static void scout(struct worker *worker)
{
    struct call *call = worker->call;
    if (!call->plan.by_p8) return;
    worker->is_scouting = true;
    vindex__scan_range(worker, 0, call->n_positions);
    worker->is_scouting = false;
    for (size_t q = 0; q < worker->n_collectors; q++)
        vindex__scout_end(worker, &worker->collectors[q], &worker->collectors[q].rough);
}

/* A task: some queries over all rows. */
static void answer_queries(void *context, size_t task, uint32_t number)
{
    struct call *call = context;
    struct worker *worker = &call->workers[number];
    size_t first = task * call->plan.group, left = call->window.n - first;
    size_t n = left < call->plan.group ? left : call->plan.group, k = call->window.k;

    if (is_ending(call)) {
        vindex__hits_pad(call->window.hits, first * k, (first + n) * k);
        return;
    }
    begin_queries(worker, first, n);
    scout(worker);
    vindex__scan_range(worker, 0, call->n_positions);
    for (size_t q = 0; q < n; q++) {
        struct collector *collector = &worker->collectors[q];
        if (call->plan.k_prime) vindex__rerank_rough(worker, collector, &collector->rough);
        vindex__rerank_stream(worker, collector);
        write_hits(worker, &collector->best, first + q);
    }
}

/* A task: some rows, for the queries in hand. */
static void scan_chunk(void *context, size_t task, uint32_t number)
{
    struct call *call = context;
    uint64_t first = task * call->plan.chunk, left = call->n_positions - first;
    uint64_t n = left < call->plan.chunk ? left : call->plan.chunk;
    vindex__scan_range(&call->workers[number], first, first + n);
}

/* The best of all workers' rough streams for one query, by the thread at it: in its scratch, as the first worker's is
   that worker's own. */
static struct topk_stream merge_rough(struct worker *worker, size_t q)
{
    struct call *call = worker->call;
    struct topk_stream rough = call->workers[0].collectors[q].rough;
    rough.memory.scratch = worker->scratch;
    for (uint32_t i = 1; i < call->plan.n_workers; i++) {
        const struct topk_stream *other = &call->workers[i].collectors[q].rough;
        if (vindex__may_finish(worker, &call->stop, MERGE_NS * (double)other->count))
            vindex__final_merge(&rough, other);
    }
    return rough;
}

/* A task: the best k' of all workers for one query, exactly. */
static void rerank_query(void *context, size_t q, uint32_t number)
{
    struct call *call = context;
    struct worker *worker = &call->workers[number];
    struct topk_stream rough = merge_rough(worker, q);
    vindex__rerank_rough(worker, &worker->collectors[q], &rough);
}

/* A task: what all workers' scouts found for one query, for all of them. */
static void scout_query(void *context, size_t q, uint32_t number)
{
    struct call *call = context;
    struct worker *worker = &call->workers[number];
    struct topk_stream rough = merge_rough(worker, q);
    struct collector *collector = &worker->collectors[q];
    vindex__scout_end(worker, collector, &rough);
    for (uint32_t i = 0; i < call->plan.n_workers; i++)
        if (i != number) vindex__scout_copy(&call->workers[i].collectors[q], collector);
}

static void scout_by_rows(struct call *call, struct pool *pool, size_t n_queries, size_t n_chunks)
{
    if (!call->plan.by_p8) return;
    for (uint32_t i = 0; i < call->plan.n_workers; i++)
        call->workers[i].is_scouting = true;
    vindex__pool_run(pool, scan_chunk, call, n_chunks);
    for (uint32_t i = 0; i < call->plan.n_workers; i++)
        call->workers[i].is_scouting = false;
    vindex__pool_run(pool, scout_query, call, n_queries);
}

/* A task: what one worker's streams hold, exactly. */
static void rerank_worker(void *context, size_t task, uint32_t number)
{
    struct call *call = context;
    struct worker *worker = &call->workers[task];
    (void)number;
    for (size_t q = 0; q < worker->n_collectors; q++)
        vindex__rerank_stream(worker, &worker->collectors[q]);
}

/* A task: bring together what the workers found for one query, in the scratch of the thread at it. */
static void merge_query(void *context, size_t q, uint32_t number)
{
    struct call *call = context;
    struct worker *worker = &call->workers[number];
    struct topk_stream best = call->workers[0].collectors[q].best;
    best.memory.scratch = worker->scratch;
    for (uint32_t i = 1; i < call->plan.n_workers; i++) {
        const struct topk_stream *other = &call->workers[i].collectors[q].best;
        if (vindex__may_finish(worker, &call->stop, MERGE_NS * (double)other->count))
            vindex__final_merge(&best, other);
    }
    write_hits(worker, &best, call->group_first + q);
}

static void scan_by_rows(struct call *call, struct pool *pool)
{
    const struct plan *plan = &call->plan;
    size_t n_chunks = (size_t)((call->n_positions + plan->chunk - 1) / plan->chunk);
    for (size_t first = 0; first < call->window.n; first += plan->group) {
        size_t left = call->window.n - first;
        size_t n = left < plan->group ? left : plan->group;
        if (is_ending(call)) {
            vindex__hits_pad(call->window.hits, first * call->window.k,
                             call->window.n * call->window.k);
            return;
        }
        for (uint32_t i = 0; i < plan->n_workers; i++)
            begin_queries(&call->workers[i], first, n);
        call->group_first = first;
        scout_by_rows(call, pool, n, n_chunks);
        vindex__pool_run(pool, scan_chunk, call, n_chunks);
        if (plan->k_prime) vindex__pool_run(pool, rerank_query, call, n);
        vindex__pool_run(pool, rerank_worker, call, plan->n_workers);
        grant_grace(call); /* what was scored is to be written, too */
        vindex__pool_run(pool, merge_query, call, n);
    }
}

static void scan(struct call *call)
{
    const struct plan *plan = &call->plan;
    struct pool *pool = plan->n_workers > 1 ? call->search->pool : NULL;

    grant_grace(call);
    for (uint32_t i = 0; i < plan->n_workers; i++)
        vindex__pace_init(&call->workers[i].pace, &call->stop);
    if (plan->splits_queries || plan->n_workers == 1)
        vindex__pool_run(pool, answer_queries, call,
                         (call->window.n + plan->group - 1) / plan->group);
    else
        scan_by_rows(call, pool);
}

/* ---- the call ------------------------------------------------------------------------------ */

vindex_status vindex__call_window(struct call *call, const struct window *window)
{
    call->window = *window;
    vindex__plan_make(call);
    vindex_status st = lay_out(call);
    if (st != VINDEX_OK) return st;
    scan(call);
    for (uint32_t i = 0; i < call->plan.n_workers; i++) {
        call->n_scored += call->workers[i].n_scored;
        call->n_reranked += call->workers[i].n_reranked;
    }
    return vindex__stop_status(&call->stop);
}

/* Queries to learn from before there is anything to plan by: as many are answered, and their
   number returned. */
static size_t answer_cold(struct call *call, vindex_status *st)
{
    size_t n = call->request->n_queries, done = 0;
    while (*st == VINDEX_OK && done < n) {
        vindex__effort_plan(call, n - done);
        size_t cold = call->effort.plan.n_cold;
        if (cold == 0) break;
        if (cold > n - done) cold = n - done;
        *st = vindex__audit_queries(call, done, cold, false);
        done += cold;
    }
    if (done == n) vindex__effort_exact(call, "audited");
    return done;
}

/* All others as planned; some of them are audited as well. */
static vindex_status answer_planned(struct call *call, size_t first)
{
    size_t n = call->request->n_queries - first, k = call->request->k;
    struct window window = {.first = first,
                            .n = n,
                            .k = k,
                            .k_prime = (size_t)call->effort.plan.k_prime,
                            .hits = call->hits + first * k};

    if (n == 1 && vindex__effort_draw(call)) {
        vindex__effort_exact(call, "audited");
        return vindex__audit_queries(call, first, 1, false);
    }
    vindex_status st = vindex__call_window(call, &window);
    struct plan plan = call->plan; /* that the report tells */
    for (size_t q = 0; n > 1 && q < n && st == VINDEX_OK; q++)
        if (vindex__effort_draw(call)) st = vindex__audit_queries(call, first + q, 1, true);
    call->plan = plan;
    return st;
}

static vindex_status answer(struct call *call)
{
    vindex_status st = VINDEX_OK;
    size_t done = answer_cold(call, &st);
    if (st == VINDEX_NOMEM || done == call->request->n_queries) return st;
    vindex_status planned = answer_planned(call, done);
    return st != VINDEX_OK ? st : planned;
}

static void fill_report(const struct call *call, int64_t started_ns, vindex_report *report)
{
    const struct effort_plan *effort = &call->effort.plan;
    report->state = effort->state;
    report->target = (double)call->request->recall;
    report->predicted = effort->predicted;
    report->bound = effort->bound;
    report->basis = effort->basis;
    report->n_audits = (uint32_t)effort->n_audits;
    report->measured = effort->measured;
    report->effort = call->plan.k_prime;
    report->n_queries = call->request->n_queries;
    report->n_rows = call->n_live;
    report->n_scored = call->n_scored;
    report->n_reranked = call->n_reranked;
    if (call->device.text[0]) {
        report->state = call->device.state;
        report->predicted = call->device.predicted;
        report->bound = call->device.bound;
        report->n_scored = call->device.n_scored;
        report->n_reranked = call->device.n_reranked;
    }
    report->elapsed_ns = (uint64_t)(vindex__now_ns() - started_ns);
    vindex__plan_text(call, report->plan, sizeof report->plan);
}

vindex_status vindex__call_answer(struct call *call, vindex_report *report)
{
    int64_t started_ns = vindex__now_ns();
    const struct search_request *request = call->request;
    struct pace pace;

    vindex__effort_exact(call, NULL);
    call->window = (struct window){.n = request->n_queries, .k = request->k};
    vindex_status st = vindex__search_pool(call->search, request->n_threads);
    if (st != VINDEX_OK) goto out;

    /* Asked once before anything, and before any helper works. */
    vindex__pace_init(&pace, &call->stop);
    vindex__pace_tick(&pace, &call->stop, 0);
    st = vindex__call_filter(call);
    if (st != VINDEX_OK) goto out;
    st = vindex__stop_status(&call->stop);
    if (st != VINDEX_OK || call->n_match == 0 || request->n_queries == 0) {
        vindex__plan_make(call);
        vindex__hits_pad(call->hits, 0, request->n_queries * request->k);
        goto out;
    }
    vindex__plan_make(call); /* a device asks k and limits of it */
    if (vindex__device_answer(call, &st)) goto out;
    st = answer(call);
out:
    fill_report(call, started_ns, report);
    return st;
}
