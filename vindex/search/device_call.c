/*
 * device_call.c - a call answered by an accelerator.
 *
 *     queries --tiles--> each chunk: score, reduce to `wide` candidates --> one stream a query
 *             (topk/stream.h) --> those within the error band scored again from the bytes given --> hits
 *
 * What the device gives is not believed but checked, and is exact only where that is proven: device_merge.c.
 *
 * RECALL below 1 is that of bins: two of the k best in one bin lose one, P = sum of squared shares / bins,
 * rows taken as spread at random; planned for half the loss that is allowed. Nobody has measured it: under
 * VINDEX_SEARCH_STRICT a target below 1 is answered as 1 is.
 *
 * Whatever fails is answered by the CPU: the reason is logged once and stands in the plan.
 */
#include <math.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/status.h"
#include "search/device_call.h"
#include "vindex_topk.h"

#define K_MOST 4096 /* candidates of a chunk */

/* ---- a call -------------------------------------------------------------------------------- */

static bool is_tail(const struct device_call *dc, size_t chunk)
{
    return dc->resident->has_tail && chunk + 1 == dc->resident->n_chunks;
}

static bool device_error(struct device_call *dc, const struct vkern_pjrt_error *error)
{
    if (error->code == VKERN_PJRT_STOPPED && atomic_load(&dc->call->stop.status) != VINDEX_OK)
        return false; /* the caller's wish */
    dc->refusal->is_failure = true;
    if (error->code == VKERN_PJRT_STOPPED)
        return vindex__refuse(dc->refusal, "no result within %lld ms",
                              (long long)(dc->device->options.wait_ns / 1000000));
    return vindex__refuse(dc->refusal, "%s", error->text);
}

/* ---- plan ---------------------------------------------------------------------------------- */

/* What the device is not asked for. */
static bool is_eligible(const struct call *call, struct refusal *refusal)
{
    if (call->metric == VINDEX_HAMMING)
        return vindex__refuse(refusal, "bits are compared on the cpu");
    if (call->plan.k > K_MOST) return vindex__refuse(refusal, "k is above %d", K_MOST);
    if (call->plan.k >= (call->n_match + 1) / 2)
        return vindex__refuse(refusal, "half of all rows or more are wanted");
    if (call->masks && call->n_match < call->n_live / 32)
        return vindex__refuse(refusal, "the filter leaves few rows");
    return true;
}

/* Expected recall where a row meets another of the k best in its bin with probability p: the i-th best is
   lost to any of the i - 1 before it. */
static double recall_of_bins(double k, double p)
{
    return p <= 0 ? 1 : p >= 1 ? 1 / k : -expm1(k * log1p(-p)) / (k * p);
}

/* Queries of a launch are padded to one of these: a program is compiled for each. */
static const uint32_t tile_sizes[] = {1, 8, 64, 256};
enum { N_TILE_SIZES = sizeof tile_sizes / sizeof *tile_sizes };

static void plan_width(struct device_call *dc)
{
    size_t k = dc->call->plan.k;
    bool rounds = dc->resident->type == VKERN_PJRT_BF16 && dc->call->type < VINDEX_BFLOAT16;
    size_t slack = rounds ? k + 22 : dc->wants_proof ? 22 : 6;
    dc->wide = (uint32_t)((k + slack + 7) / 8 * 8);
}

/* Bins for a target, of each chunk; 0: so many that whole rows are as good. */
static uint32_t plan_bins(const struct device_call *dc, uint32_t capacity, double target)
{
    double k = (double)dc->call->plan.k;
    uint32_t bins = 128;
    while (bins < dc->wide)
        bins *= 2;
    while (bins < capacity / 2 && recall_of_bins(k, dc->resident->shares_squared / bins) < target)
        bins *= 2;
    return bins < capacity / 2 ? bins : 0;
}

/* ApproxTopK's own rule counts the rows of all chunks where they are alike (override); it is asked only if
   it then keeps as many bins as were planned. */
static void plan_approx(const struct device_call *dc, uint32_t bins, double target,
                        struct vkern_pjrt_spec *spec)
{
    int64_t total = (int64_t)spec->rows * (int64_t)dc->resident->n_chunks, size = 0;
    spec->recall = (float)target;
    spec->override_rows = -1;
    if (dc->resident->n_chunks > 1 &&
        vindex_topk_xla_size(spec->rows, 2, spec->k, spec->recall, 0, total, &size, NULL) ==
            VINDEX_OK &&
        size >= bins)
        spec->override_rows = total;
}

static bool choose(struct device_call *dc, uint32_t capacity, bool exact, uint32_t bins,
                   double target, struct vkern_pjrt_program **program, struct vkern_pjrt_spec *spec)
{
    struct vkern_pjrt_error error;
    *spec = (struct vkern_pjrt_spec){.type = dc->resident->type,
                                     .terms = dc->terms,
                                     .queries = dc->n_tile,
                                     .rows = capacity,
                                     .dim = dc->call->dim,
                                     .k = dc->wide < capacity ? dc->wide : capacity,
                                     .bins = bins ? bins : capacity,
                                     .recall = 1,
                                     .override_rows = -1};
    if (!exact) plan_approx(dc, bins, target, spec);
    if (!vkern_pjrt_program_choose(dc->device->client, spec, exact, program, &error))
        return device_error(dc, &error);
    return true;
}

/* Programs for the chunks and for the tail, which is small and always selected from exactly. */
static bool plan_programs(struct device_call *dc)
{
    struct resident *r = dc->resident;
    double recall = (double)dc->call->request->recall, target = 1 - (1 - recall) / 2;
    struct vkern_pjrt_spec spec;
    size_t n_sealed = r->n_chunks - r->has_tail;
    dc->program = dc->tail_program = NULL;
    dc->predicted = 1;
    dc->selects_exactly = true;
    dc->bins = 0;
    if (n_sealed) {
        uint32_t capacity = r->chunks[0].capacity;
        uint32_t bins = dc->wants_proof ? 0 : plan_bins(dc, capacity, target);
        if (!choose(dc, capacity, bins == 0, bins, target, &dc->program, &spec)) return false;
        dc->kind = spec.kind;
        dc->selects_exactly = spec.kind == VKERN_PJRT_SORT || spec.kind == VKERN_PJRT_TOPK;
        if (!dc->selects_exactly) {
            dc->bins = bins;
            dc->predicted = recall_of_bins((double)dc->call->plan.k, r->shares_squared / bins);
        }
    }
    if (r->has_tail) {
        uint32_t capacity = r->chunks[r->n_chunks - 1].capacity;
        if (!choose(dc, capacity, true, 0, 1, &dc->tail_program, &spec)) return false;
        if (!n_sealed) dc->kind = spec.kind;
    }
    return true;
}

/* Scratch of a launch grows with its queries: the largest tile that fits what the rows leave. */
static bool fits(const struct device_call *dc)
{
    uint64_t scratch = dc->program ? vkern_pjrt_program_scratch(dc->program) : 0;
    return !dc->device->budget_bytes ||
           dc->resident->most_bytes + scratch <= dc->device->budget_bytes;
}

static bool plan(struct device_call *dc)
{
    bool bf16 = dc->resident->type == VKERN_PJRT_BF16;
    bool parts = bf16 && dc->call->type == VINDEX_BFLOAT16 && dc->call->metric != VINDEX_COSINE;
    dc->terms = parts ? 3 : 1; /* f32 queries of rows that bf16 holds exactly */
    plan_width(dc);
    if (!vindex__device_bands_hold(dc))
        return vindex__refuse(dc->refusal, "the numbers are beyond what its arithmetic bounds");
    size_t size = 0;
    while (size + 1 < N_TILE_SIZES && tile_sizes[size] < dc->call->request->n_queries)
        size++;
    for (;; size--) {
        dc->n_tile = tile_sizes[size];
        if (!plan_programs(dc)) return false;
        if (size == 0 || fits(dc)) return true;
    }
}

/* ---- memory -------------------------------------------------------------------------------- */

static void lay_out_tile(struct device_call *dc, struct arena *arena, struct tile *tile)
{
    size_t n = dc->resident->n_chunks;
    tile->runs = vindex__arena_take(arena, n, sizeof(struct vkern_pjrt_run *));
    tile->values = vindex__arena_take(arena, n, sizeof(float *));
    tile->rows = vindex__arena_take(arena, n, sizeof(int32_t *));
    for (size_t i = 0; i < n; i++) {
        size_t count = (size_t)dc->n_tile * wide_of(dc, i);
        float *values = vindex__arena_take(arena, count, sizeof *values);
        int32_t *rows = vindex__arena_take(arena, count, sizeof *rows);
        if (!arena->base) continue;
        tile->runs[i] = NULL;
        tile->values[i] = values;
        tile->rows[i] = rows;
    }
}

static void lay_out_merger(struct device_call *dc, struct arena *arena, struct merger *merger)
{
    const struct call *call = dc->call;
    size_t limit = vindex__stream_limit(call->plan.k, SIZE_MAX / 64);
    size_t first = vindex__stream_entries(limit, dc->wide);
    size_t best = vindex__best_entries(call->plan.k, call->n_match);
    size_t scratch[2] = {vindex__stream_scratch(first), vindex__final_scratch(call->plan.k, best)};
    struct merger made = {.negated = vindex__arena_take(arena, dc->wide, sizeof(float))};
    made.stream.memory.ids = vindex__arena_take(arena, first, sizeof(int64_t));
    made.stream.memory.values = vindex__arena_take(arena, first, sizeof(float));
    made.stream.memory.scratch = vindex__arena_take(arena, scratch[scratch[1] > scratch[0]], 1);
    made.best.memory.ids = vindex__arena_take(arena, best, sizeof(int64_t));
    made.best.memory.values = vindex__arena_take(arena, best, sizeof(float));
    made.best.memory.scratch = made.stream.memory.scratch;
    made.stream.limit = limit;
    if (arena->base) *merger = made;
}

static bool lay_out(struct device_call *dc)
{
    struct region *region = &dc->call->search->device_memory;
    size_t n_numbers = (size_t)dc->n_tile * dc->call->dim;
    uint32_t n = n_mergers(dc->call);
    for (int pass = 0; pass < 2; pass++) {
        struct arena arena = {pass ? region->memory : NULL, 0, false};
        dc->mergers = vindex__arena_take(&arena, n, sizeof *dc->mergers);
        dc->dense = vindex__arena_take(&arena, n_numbers, sizeof *dc->dense);
        dc->halves = vindex__arena_take(&arena, n_numbers * dc->terms, sizeof *dc->halves);
        dc->masks =
            vindex__arena_take(&arena, dc->resident->n_chunks, sizeof(struct vkern_pjrt_buffer *));
        for (size_t i = 0; i < N_IN_FLIGHT; i++)
            lay_out_tile(dc, &arena, &dc->tiles[i]);
        for (uint32_t i = 0; i < n; i++)
            lay_out_merger(dc, &arena, dc->mergers ? dc->mergers + i : NULL);
        if (arena.overflow || (!pass && vindex__region_need(region, arena.used) != VINDEX_OK))
            return vindex__refuse(dc->refusal, "out of memory on the host");
    }
    memset(dc->masks, 0, dc->resident->n_chunks * sizeof(struct vkern_pjrt_buffer *));
    return true;
}

/* ---- launching ----------------------------------------------------------------------------- */

static float from_bf16(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Queries of a tile, padded with zeros, in the element type; terms of a query are tiles of their own. */
static void pack(const struct device_call *dc, const struct tile *tile)
{
    const struct call *call = dc->call;
    size_t dim = call->dim, n = (size_t)dc->n_tile * dim;
    enum vkern_type type = call->type <= VINDEX_BFLOAT16 ? VKERN_F32 : (enum vkern_type)call->type;

    memset(dc->dense, 0, n * sizeof *dc->dense);
    for (size_t q = 0; q < tile->n; q++)
        call->kern->to_f32[type]((const char *)call->request->queries +
                                     (tile->first + q) * call->query_bytes,
                                 dim, dc->dense + q * dim);
    if (dc->resident->type != VKERN_PJRT_BF16) return;
    for (uint32_t t = 0; t < dc->terms; t++) {
        uint16_t *halves = dc->halves + t * n;
        call->kern->from_f32[VKERN_BF16](dc->dense, n, halves);
        for (size_t i = 0; i < n; i++)
            dc->dense[i] -= from_bf16(halves[i]); /* exact */
    }
}

static bool upload_queries(struct device_call *dc, size_t device, struct vkern_pjrt_buffer **buffer)
{
    struct vkern_pjrt_error error;
    int64_t dims[3] = {dc->terms, dc->n_tile, dc->call->dim};
    bool one = dc->terms == 1, bf16 = dc->resident->type == VKERN_PJRT_BF16;
    const void *data = bf16 ? (const void *)dc->halves : dc->dense;
    return vkern_pjrt_buffer_new(dc->device->client, device, dc->resident->type,
                                 one ? dims + 1 : dims, one ? 2 : 3, data, buffer, &error) ||
           device_error(dc, &error);
}

static bool launch_on(struct device_call *dc, struct tile *tile, size_t device)
{
    struct vkern_pjrt_buffer *queries = NULL;
    struct vkern_pjrt_error error;
    bool done = true;
    for (size_t i = 0; done && i < dc->resident->n_chunks; i++) {
        struct chunk *chunk = &dc->resident->chunks[i];
        if (chunk->device != device || chunk->n_live == 0) continue;
        if (!queries) done = upload_queries(dc, device, &queries);
        if (!done) break;
        struct vkern_pjrt_buffer *arguments[3] = {
            queries, chunk->rows->buffer, dc->masks[i] ? dc->masks[i] : chunk->bias->buffer};
        done = vkern_pjrt_run_start(is_tail(dc, i) ? dc->tail_program : dc->program, device,
                                    arguments, 3, &tile->runs[i], &error) ||
               device_error(dc, &error);
    }
    vkern_pjrt_buffer_free(queries); /* the runs hold what they need */
    return done;
}

static bool launch(struct device_call *dc, struct tile *tile)
{
    pack(dc, tile);
    for (size_t d = 0; d < dc->device->n_devices; d++)
        if (!launch_on(dc, tile, d)) return false;
    return true;
}

static bool end_wait(void *context)
{
    struct device_call *dc = context;
    return vindex__pace_tick(&dc->pace, &dc->call->stop, 1e6) ||
           vindex__now_ns() > dc->waits_until_ns;
}

static bool fetch(struct device_call *dc, struct tile *tile)
{
    struct vkern_pjrt_wait wait = {end_wait, dc};
    struct vkern_pjrt_error error;
    dc->waits_until_ns = vindex__now_ns() + dc->device->options.wait_ns;
    for (size_t i = 0; i < dc->resident->n_chunks; i++) {
        size_t bytes = (size_t)dc->n_tile * wide_of(dc, i) * 4;
        struct vkern_pjrt_run *run = tile->runs[i];
        tile->runs[i] = NULL; /* freed by reading */
        if (!run) continue;
        if (!vkern_pjrt_run_read(run, &wait, (void *[]){tile->values[i], tile->rows[i]},
                                 (size_t[]){bytes, bytes}, 2, &error))
            return device_error(dc, &error);
    }
    return true;
}

/* Biases of the rows a filter leaves. */
static bool upload_masks(struct device_call *dc)
{
    struct vkern_pjrt_error error;
    bool done = true;
    for (size_t i = 0; done && dc->call->masks && i < dc->resident->n_chunks; i++) {
        const struct chunk *chunk = &dc->resident->chunks[i];
        int64_t dims[1] = {chunk->capacity};
        float *bias = vindex__calloc(chunk->capacity, sizeof *bias);
        if (!bias) return vindex__refuse(dc->refusal, "out of memory on the host");
        vindex__resident_mask(dc->resident, dc->call, i, bias);
        done = vkern_pjrt_buffer_new(dc->device->client, chunk->device, VKERN_PJRT_F32, dims, 1,
                                     bias, &dc->masks[i], &error) ||
               device_error(dc, &error);
        vindex__free(bias);
    }
    return done;
}

/* ---- the tiles of a call ------------------------------------------------------------------- */

static void abandon(struct device_call *dc)
{
    for (size_t t = 0; t < N_IN_FLIGHT; t++)
        for (size_t i = 0; i < dc->resident->n_chunks; i++) {
            vkern_pjrt_run_free(dc->tiles[t].runs[i]);
            dc->tiles[t].runs[i] = NULL;
        }
    for (size_t i = 0; i < dc->resident->n_chunks; i++)
        vkern_pjrt_buffer_free(dc->masks[i]);
}

/* Fetch and merge a tile; where a proof is wanted, no tile without one is worth the next. */
static bool finish(struct device_call *dc, struct tile *tile)
{
    if (!fetch(dc, tile) || !vindex__device_merge(dc, tile)) return false;
    return !dc->wants_proof || !vindex__device_is_unproven(dc) ||
           vindex__refuse(dc->refusal, "its error bound proves nothing here: ties, or a wide band");
}

static bool run_tiles(struct device_call *dc)
{
    size_t n_queries = dc->call->request->n_queries, number = 0;
    bool done = true;
    for (size_t first = 0; done && first < n_queries; first += dc->n_tile, number++) {
        struct tile *tile = &dc->tiles[number % N_IN_FLIGHT];
        if (number >= N_IN_FLIGHT) done = finish(dc, tile);
        tile->first = first;
        tile->n = n_queries - first < dc->n_tile ? n_queries - first : dc->n_tile;
        if (done) done = launch(dc, tile);
    }
    for (size_t i = number < N_IN_FLIGHT ? 0 : number - N_IN_FLIGHT; done && i < number; i++)
        done = finish(dc, &dc->tiles[i % N_IN_FLIGHT]);
    return done;
}

static bool run(struct device_call *dc)
{
    if (!lay_out(dc)) return false;
    bool done = upload_masks(dc) && run_tiles(dc);
    abandon(dc);
    return done;
}

/* A wider net once: ties at the k-th place are often few. */
static bool run_until_proven(struct device_call *dc)
{
    if (run(dc)) return true;
    bool is_end = dc->refusal->is_failure || atomic_load(&dc->call->stop.status) != VINDEX_OK;
    if (is_end || !dc->wants_proof || dc->wide >= K_MOST) return false;
    dc->wide = dc->wide * 8 < K_MOST ? dc->wide * 8 : K_MOST;
    return plan_programs(dc) && run(dc);
}

/* ---- the door ------------------------------------------------------------------------------ */

static void describe(struct device_call *dc)
{
    struct device_answer *answer = &dc->call->device;
    const struct resident *r = dc->resident;
    bool exact = dc->selects_exactly && !vindex__device_is_unproven(dc);
    const char *type = r->type == VKERN_PJRT_BF16 ? "bf16" : "f32";
    char bins[24] = "", devices[24] = "";
    if (dc->bins) snprintf(bins, sizeof bins, " %u", dc->bins);
    if (dc->device->n_devices > 1)
        snprintf(devices, sizeof devices, " x%zu", dc->device->n_devices);

    answer->state = exact ? VINDEX_STATE_EXACT : VINDEX_STATE_ASSUMED;
    answer->predicted = exact ? 1 : dc->predicted;
    answer->bound = exact ? 1 : 0;
    answer->n_scored = (uint64_t)dc->call->n_live * dc->call->request->n_queries;
    for (uint32_t i = 0; i < n_mergers(dc->call); i++)
        answer->n_reranked += dc->mergers[i].n_reranked;
    snprintf(answer->text, sizeof answer->text,
             "%s: device %s%s (%s), %zu x %u %s rows, %s%s, batch %zu", exact ? "exact" : "assumed",
             vkern_pjrt_device_kind(dc->device->client, 0), devices,
             vkern_pjrt_platform(dc->device->client), r->n_chunks,
             r->n_chunks ? r->chunks[0].capacity : 0, type, vkern_pjrt_kind_name(dc->kind), bins,
             dc->call->request->n_queries);
}

static void refused(struct device *device, const struct call *call, const struct refusal *refusal)
{
    pthread_mutex_lock(&device->mutex);
    if (refusal->is_failure && device->failed == VINDEX_OK) {
        vindex__device_fail(device, VINDEX_IO, refusal->text);
        vindex__resident_release(device->resident);
        device->resident = NULL;
    } else if (refusal->is_refused && device->refused_mark != call->snapshot->state.mark) {
        device->refused_mark = call->snapshot->state.mark;
        snprintf(device->failure, sizeof device->failure, "%s", refusal->text);
        vindex__log("device %s: %s; searches go on on the cpu", device->text, refusal->text);
    }
    pthread_mutex_unlock(&device->mutex);
}

static bool answer_call(struct call *call, struct refusal *refusal)
{
    struct device *device = call->request->device;
    struct device_call dc = {.call = call,
                             .device = device,
                             .refusal = refusal,
                             .wants_proof = call->request->recall >= 1 ||
                                            (call->request->flags & VINDEX_SEARCH_STRICT)};
    vindex__pace_init(&dc.pace, &call->stop);
    if (!is_eligible(call, refusal)) return false;
    if (!vindex__resident_acquire(device, call, &dc.pace, &dc.resident, refusal)) return false;
    bool done = plan(&dc) && run_until_proven(&dc);
    if (done) describe(&dc);
    vindex__resident_release(dc.resident);
    return done;
}

bool vindex__device_answer(struct call *call, vindex_status *status)
{
    struct device *device = call->request->device;
    struct refusal refusal = {.text = ""};
    *status = VINDEX_OK;
    if (!device || !call->snapshot) return false;
    if (answer_call(call, &refusal)) return true;

    *status = vindex__stop_status(&call->stop);
    if (*status != VINDEX_OK) { /* the call ends here: nothing was reached */
        vindex__hits_pad(call->hits, 0, call->request->n_queries * call->request->k);
        snprintf(call->device.text, sizeof call->device.text, "device: ended early");
        return true;
    }
    refused(device, call, &refusal);
    snprintf(call->device.refusal, sizeof call->device.refusal, "%s", refusal.text);
    if (!device->options.is_required) return false;
    *status = vindex__fail(VINDEX_IO, "device %s: %s", device->text, refusal.text);
    return true;
}
