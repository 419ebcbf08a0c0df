/*
 * device_call.c - a call answered by an accelerator.
 *
 *     queries --tiles--> each chunk: score, reduce to `wide` candidates --> one stream a query
 *             (topk/stream.h) --> those within the error band scored again from the bytes given --> hits
 *
 * TRUST. A first-pass score from the device obeys the band of its arithmetic (band_of below), as the CPU's
 * do (plan.c); each candidate that is scored exactly is held against it. A score outside, a row that is
 * not there or not a number means that the device does not compute what it should: it has failed.
 *
 * PROOF. A chunk gives its `wide` best. If its program selects exactly, a row it did not give has a
 * first-pass score not below that of the worst it gave, the chunk's floor. If every floor lies above
 * the stream's cut when all candidates are scored, each row not given is worse than k others, in the
 * score reported as well: the answer is exact. If not (many ties, a wide band), the CPU answers.
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
#include "search/resident.h"
#include "vindex_topk.h"

#define U 0x1p-24
#define SLACK (1 + 1e-6)
#define SAFE 1e37
#define WHOLE 0x1p24
#define K_MOST 4096 /* candidates of a chunk */

/* ---- a call -------------------------------------------------------------------------------- */

enum { N_IN_FLIGHT = 2 }; /* tiles: one is merged while the next one is computed */

struct tile {
    size_t first, n;              /* queries */
    struct vkern_pjrt_run **runs; /* [n_chunks] */
    float **values;               /* [n_chunks] -> [tile, wide] */
    int32_t **rows;
};

/* One thread of the merge. */
struct merger {
    struct topk_stream stream, best;
    float *negated; /* [wide] */
    uint64_t n_reranked;
    bool is_unproven; /* the floors do not lie above the cut */
    bool is_wrong;    /* the device gave what can not be */
};

struct device_call {
    struct call *call;
    struct device *device;
    struct resident *resident;
    struct refusal *refusal;
    struct pace pace;
    int64_t waits_until_ns;

    uint32_t terms, n_tile, wide; /* parts of a query, queries of a launch, candidates of a chunk */
    bool wants_proof, selects_exactly;
    double predicted;
    uint32_t bins;
    enum vkern_pjrt_kind kind;
    struct vkern_pjrt_program *program, *tail_program;
    struct vkern_pjrt_buffer **masks; /* [n_chunks] biases under a filter; NULL: the resident's */

    struct tile tiles[N_IN_FLIGHT];
    float *dense;     /* a tile of queries, */
    uint16_t *halves; /* and as bf16, terms of them */
    struct merger *mergers;
    const struct tile *merging;
};

static bool is_tail(const struct device_call *dc, size_t chunk)
{
    return dc->resident->has_tail && chunk + 1 == dc->resident->n_chunks;
}

static uint32_t wide_of(const struct device_call *dc, size_t chunk)
{
    uint32_t capacity = dc->resident->chunks[chunk].capacity;
    return dc->wide < capacity ? dc->wide : capacity;
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

/* ---- bands --------------------------------------------------------------------------------- */

/*
 * |p - (s - offset)| for p = -score of the device (l2: -2 score). Products are of f32 operands, or of bf16
 * ones, which are exact; their sum is f32 in any order, so a term passes at most dim + 1 roundings,
 * three terms of a query two more, the bias one. What bf16 loses: 2^-9 of a row, 2^-9 of a query that is
 * one term. What is flushed to zero is below FLT_MIN a product.
 */
static bool band_of(const struct device_call *dc, const struct query *query, struct topk_band *band)
{
    const struct call *call = dc->call;
    const struct resident *r = dc->resident;
    bool bf16 = r->type == VKERN_PJRT_BF16, integers = call->type >= VINDEX_INT8;
    bool rows_exact = !bf16 || (call->type >= VINDEX_BFLOAT16 && call->metric != VINDEX_COSINE);
    bool query_exact = !bf16 || integers || dc->terms > 1;
    double nu = ((double)call->dim + 8) * U, gamma = nu / (1 - nu);
    double hi = r->norm_hi * (1 + 2 * U), x2 = hi * hi, q = query->norm, qx = q * hi;
    double loss = (rows_exact ? 0 : 0x1.01p-9) + (query_exact ? 0 : 0x1.01p-9);
    double flushed = 4.0 * call->dim * 0x1p-126 * (1 + q + hi);

    *band = (struct topk_band){0, 0, 0};
    if (!(hi < SAFE) || !(q < SAFE) || !(x2 + 2 * qx + query->sumsq < SAFE)) return false;
    if (call->metric == VINDEX_COSINE) {
        if (r->norm_lo < 1e-30) return false;
        band->error_abs = SLACK * ((gamma + loss + 6 * U) * q + flushed);
        return true;
    }
    bool whole = integers && rows_exact && query_exact && (x2 + 2 * qx) * SLACK < WHOLE;
    if (call->metric == VINDEX_L2) {
        band->offset = query->sumsq;
        if (whole && query->sumsq < WHOLE) return true;
        band->error_abs = SLACK * ((gamma + loss + U) * 2 * qx + 3 * U * x2 +
                                   0x1p-50 * query->sumsq + 2 * flushed);
        return true;
    }
    if (!whole) band->error_abs = SLACK * ((gamma + loss + U + 0x1p-36) * qx + flushed);
    return true;
}

static bool bands_hold(const struct device_call *dc)
{
    const struct call *call = dc->call;
    for (size_t i = 0; i < call->request->n_queries; i++) {
        const char *bytes = (const char *)call->request->queries + i * call->query_bytes;
        struct topk_band band;
        struct query query;
        vindex__query_init(&call->measure, bytes, &query);
        if (!band_of(dc, &query, &band)) return false;
    }
    return true;
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
    if (!bands_hold(dc))
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

static uint32_t n_mergers(const struct call *call)
{
    return call->request->n_threads > 1 ? vindex__pool_size(call->search->pool) : 1;
}

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

/* ---- merging ------------------------------------------------------------------------------- */

/* Whether a first-pass score stands for the score reported: what two roundings of it can differ by is the
   margin. */
static bool agrees(const struct call *call, const struct query *query,
                   const struct topk_stream *stream, float value, float score)
{
    double reported = score, exact = reported;
    if (fabs(reported) > 1e37) return true; /* saturated */
    if (call->metric == VINDEX_L2) exact = reported * reported;
    if (call->metric == VINDEX_COSINE) exact = (reported - 1) * query->norm;
    double margin = stream->margin.rel * fabs(exact) + stream->margin.abs + 0x1p-148;
    return fabs((double)value + stream->band.offset - exact) <= stream->band.error_abs + 2 * margin;
}

/* Score the entries exactly, hold them against what the device said, and empty the stream. An entry's id
   is its chunk and its place among the chunk's candidates. */
static void rerank(struct device_call *dc, struct merger *merger, const struct query *query,
                   size_t q)
{
    struct topk_stream *stream = &merger->stream;
    const struct tile *tile = dc->merging;
    float worst;
    vindex__stream_compress(stream);
    for (size_t i = 0; i < stream->count && !merger->is_wrong; i++) {
        size_t chunk = (size_t)stream->memory.ids[i] / dc->wide;
        size_t at = (size_t)stream->memory.ids[i] % dc->wide;
        float value = ((const float *)stream->memory.values)[i];
        int64_t id = 0;
        const void *row = vindex__resident_row(dc->resident, dc->call, chunk,
                                               tile->rows[chunk][q * wide_of(dc, chunk) + at], &id);
        float score = row ? vindex__measure_score(&dc->call->measure, query, row) : 0;
        merger->is_wrong = !row || !agrees(dc->call, query, stream, value, score);
        if (!merger->is_wrong) vindex__final_push(&merger->best, &score, &id, 0, 1);
        merger->n_reranked++;
    }
    vindex__stream_clear(stream);
    if (vindex__best_worst(&merger->best, &worst))
        vindex__stream_lower(stream, vindex__plan_upper(dc->call, query, worst));
}

/* The candidates of a chunk, negated: the one place where they meet the top-k engine. *floor is the worst
   of them where the chunk may hold more. */
static void offer(struct device_call *dc, struct merger *merger, const struct query *query,
                  size_t chunk, size_t q, float *floor)
{
    uint32_t wide = wide_of(dc, chunk), n = 0;
    const float *values = dc->merging->values[chunk] + (size_t)q * wide;
    float factor = dc->call->metric == VINDEX_L2 ? -2 : -1;
    for (; n < wide && values[n] != -INFINITY; n++) {
        merger->negated[n] = factor * values[n];
        /* not a number, or out of order */
        if (!(values[n] < INFINITY) || (n && values[n] > values[n - 1])) merger->is_wrong = true;
    }
    *floor =
        n == wide && n < dc->resident->chunks[chunk].n_live ? merger->negated[n - 1] : INFINITY;
    if (merger->is_wrong) return;
    if (vindex__stream_push(&merger->stream, dc->call->kern->survivors, merger->negated, n, NULL, 0,
                            (uint64_t)chunk * dc->wide))
        rerank(dc, merger, query, q);
}

/* A task: the answer of one query. */
static void merge_query(void *context, size_t q, uint32_t number)
{
    struct device_call *dc = context;
    struct call *call = dc->call;
    struct merger *merger = &dc->mergers[number];
    size_t k = call->request->k, i = dc->merging->first + q;
    const char *bytes = (const char *)call->request->queries + i * call->query_bytes;
    float floor = INFINITY, floor_of_all = INFINITY;
    struct topk_band band;
    struct query query;

    vindex__query_init(&call->measure, bytes, &query);
    vindex__stream_init(&merger->stream, call->plan.k, merger->stream.limit,
                        vindex__plan_margin(call, &query), merger->stream.memory);
    vindex__best_init(&merger->best, call->plan.k, call->n_match, merger->best.memory);
    band_of(dc, &query, &band);
    vindex__stream_announce(&merger->stream, &band);
    for (size_t chunk = 0; chunk < dc->resident->n_chunks && !merger->is_wrong; chunk++) {
        if (dc->resident->chunks[chunk].n_live == 0) continue;
        offer(dc, merger, &query, chunk, q, &floor);
        if (floor < floor_of_all) floor_of_all = floor;
    }
    if (!merger->is_wrong) rerank(dc, merger, &query, q);
    if (!(floor_of_all > merger->stream.cut) && floor_of_all < INFINITY) merger->is_unproven = true;
    vindex__hits_write(&merger->best, k, call->hits + i * k);
}

static bool merge(struct device_call *dc, const struct tile *tile)
{
    struct pool *pool = n_mergers(dc->call) > 1 ? dc->call->search->pool : NULL;
    dc->merging = tile;
    vindex__pool_run(pool, merge_query, dc, tile->n);
    for (uint32_t i = 0; i < n_mergers(dc->call); i++)
        if (dc->mergers[i].is_wrong) {
            dc->refusal->is_failure = true;
            return vindex__refuse(dc->refusal, "its scores are not those of the rows it names");
        }
    return true;
}

static bool is_unproven(const struct device_call *dc)
{
    for (uint32_t i = 0; i < n_mergers(dc->call); i++)
        if (dc->mergers[i].is_unproven) return true;
    return false;
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
    if (!fetch(dc, tile) || !merge(dc, tile)) return false;
    return !dc->wants_proof || !is_unproven(dc) ||
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
    bool exact = dc->selects_exactly && !is_unproven(dc);
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
