/*
 * query.c - a call from end to end: filter, plan, scan, finish, report. The other files of this
 * folder do the work; call.h lists them.
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
    call->query_bytes = vkern_row_bytes(floats ? VKERN_F32 : (enum vkern_type)type, dim);
    vindex__measure_init(&call->measure, call->kern, type, metric, dim);
    vindex__stop_init(&call->stop, request);
}

vindex_status vindex__search_run(struct search *search, const struct snapshot *snapshot,
                                 const struct search_request *request, vindex_hit *hits,
                                 vindex_report *report)
{
    struct call call;
    const struct config *config = &snapshot->config;
    vindex__call_init(&call, search, config->type, config->metric, config->dim, request, hits);
    call.snapshot = snapshot;
    call.n_parts = snapshot->n_parts;
    call.n_positions = snapshot->n_positions;
    call.n_live = snapshot->n_live;
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

static void lay_out_worker(struct call *call, struct arena *arena, uint32_t number)
{
    const struct plan *plan = &call->plan;
    struct worker blank = {.call = call}, *worker = call->workers ? call->workers + number : &blank;
    bool has_tiles = plan->engine == ENGINE_TILE;
    bool copies = has_tiles && call->type > VINDEX_BFLOAT16; /* queries of integer rows, as f32 */
    size_t dim = call->dim, first = vindex__first_entries(plan);
    size_t best = vindex__best_entries(plan, call->n_match);
    size_t rows = call->snapshot ? 0 : (size_t)call->rows_per_part;
    size_t scratch[2] = {vindex__stream_scratch(first), vindex__final_scratch(plan->k, best)};

    *worker = blank;
    worker->collectors = vindex__arena_take(arena, plan->group, sizeof *worker->collectors);
    worker->dense = vindex__arena_take(arena, copies ? plan->group : 0, dim * sizeof(float));
    worker->scores =
        vindex__arena_take(arena, has_tiles ? plan->lines : 1, plan->rows_max * sizeof(float));
    worker->panel = vindex__arena_take(arena, has_tiles ? vkern_panel_floats(dim) : 0, 4);
    worker->scale = vindex__arena_take(arena, VKERN_TILE_ROWS, sizeof(float));
    worker->bias = vindex__arena_take(arena, VKERN_TILE_ROWS, sizeof(float));
    worker->norms = vindex__arena_take(arena, rows, sizeof(float));
    worker->scratch = vindex__arena_take(arena, scratch[scratch[1] > scratch[0]], 1);
    for (size_t q = 0; q < plan->group; q++) {
        struct topk_memory of_first = take_stream(arena, first), of_best = take_stream(arena, best);
        if (!arena->base) continue;
        of_first.scratch = of_best.scratch = worker->scratch;
        worker->collectors[q].stream.memory = of_first;
        worker->collectors[q].best.memory = of_best;
    }
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

/* Take queries first .. first + n - 1 in hand. */
static void begin_queries(struct worker *worker, size_t first, size_t n)
{
    struct call *call = worker->call;
    const struct plan *plan = &call->plan;
    worker->n_collectors = n;
    for (size_t q = 0; q < n; q++) {
        struct collector *collector = &worker->collectors[q];
        struct topk_stream *stream = &collector->stream;
        const char *bytes = (const char *)call->request->queries + (first + q) * call->query_bytes;
        vindex__query_init(&call->measure, bytes, &collector->query);
        collector->query.dense = (const float *)(const void *)bytes;
        if (worker->dense) {
            float *dense = worker->dense + q * call->dim;
            call->kern->to_f32[call->type](bytes, call->dim, dense);
            collector->query.dense = dense;
        }
        vindex__stream_init(stream, plan->k, plan->limit,
                            vindex__plan_margin(call, &collector->query), stream->memory);
        vindex__best_init(&collector->best, call, collector->best.memory);
    }
}

/* A task: some queries over all rows. */
static void answer_queries(void *context, size_t task, uint32_t number)
{
    struct call *call = context;
    struct worker *worker = &call->workers[number];
    size_t first = task * call->plan.group, left = call->request->n_queries - first;
    size_t n = left < call->plan.group ? left : call->plan.group;

    begin_queries(worker, first, n);
    vindex__scan_range(worker, 0, call->n_positions);
    for (size_t q = 0; q < n; q++) {
        vindex__rerank_stream(worker, &worker->collectors[q]);
        vindex__hits_write(&worker->collectors[q].best, call->request->k,
                           call->hits + (first + q) * call->request->k);
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

/* A task: bring together what the workers found for one query, in the scratch of the thread at it. */
static void merge_query(void *context, size_t q, uint32_t number)
{
    struct call *call = context;
    struct topk_stream *best = &call->workers[0].collectors[q].best;
    best->memory.scratch = call->workers[number].scratch;
    for (uint32_t i = 1; i < call->plan.n_workers; i++)
        vindex__final_merge(best, &call->workers[i].collectors[q].best);
    vindex__hits_write(best, call->request->k,
                       call->hits + (call->group_first + q) * call->request->k);
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

static void scan_by_rows(struct call *call, struct pool *pool)
{
    const struct plan *plan = &call->plan;
    size_t n_chunks = (size_t)((call->n_positions + plan->chunk - 1) / plan->chunk);
    for (size_t first = 0; first < call->request->n_queries; first += plan->group) {
        size_t left = call->request->n_queries - first;
        size_t n = left < plan->group ? left : plan->group;
        for (uint32_t i = 0; i < plan->n_workers; i++)
            begin_queries(&call->workers[i], first, n);
        call->group_first = first;
        vindex__pool_run(pool, scan_chunk, call, n_chunks);
        vindex__pool_run(pool, rerank_worker, call, plan->n_workers);
        vindex__pool_run(pool, merge_query, call, n);
    }
}

static void scan(struct call *call)
{
    const struct plan *plan = &call->plan;
    struct pool *pool = plan->n_workers > 1 ? call->search->pool : NULL;

    for (uint32_t i = 0; i < plan->n_workers; i++)
        vindex__pace_init(&call->workers[i].pace, &call->stop);
    if (plan->splits_queries || plan->n_workers == 1)
        vindex__pool_run(pool, answer_queries, call,
                         (call->request->n_queries + plan->group - 1) / plan->group);
    else
        scan_by_rows(call, pool);
}

/* ---- the call ------------------------------------------------------------------------------ */

static void pad_all(const struct call *call)
{
    vindex__hits_pad(call->hits, 0, call->request->n_queries * call->request->k);
}

static void fill_report(const struct call *call, int64_t started_ns, vindex_report *report)
{
    report->state = VINDEX_STATE_EXACT;
    report->target = (double)call->request->recall;
    report->predicted = report->bound = 1;
    report->n_queries = call->request->n_queries;
    report->n_rows = call->n_live;
    report->n_scored = report->n_reranked = 0;
    for (uint32_t i = 0; call->workers && i < call->plan.n_workers; i++) {
        report->n_scored += call->workers[i].n_scored;
        report->n_reranked += call->workers[i].n_reranked;
    }
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
    struct pace pace;
    vindex_status st = vindex__search_pool(call->search, call->request->n_threads);
    if (st != VINDEX_OK) goto out;

    /* Asked once before anything, and before any helper works. */
    vindex__pace_init(&pace, &call->stop);
    vindex__pace_tick(&pace, &call->stop, 0);
    st = vindex__call_filter(call);
    if (st != VINDEX_OK) goto out;
    st = vindex__stop_status(&call->stop);
    vindex__plan_make(call);
    if (st != VINDEX_OK || call->plan.k == 0 || call->request->n_queries == 0) {
        pad_all(call);
        goto out;
    }
    if (vindex__device_answer(call, &st)) goto out;
    st = lay_out(call);
    if (st != VINDEX_OK) goto out;
    scan(call);
    st = vindex__stop_status(&call->stop);
out:
    fill_report(call, started_ns, report);
    return st;
}
