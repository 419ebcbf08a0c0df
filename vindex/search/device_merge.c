/*
 * device_merge.c - hits from the candidates of an accelerator.
 *
 * TRUST. A first-pass score from the device obeys the band of its arithmetic (band_of below), as the CPU's
 * do (plan.c); each candidate that is scored exactly is held against it. A score outside, a row that is
 * not there or not a number means that the device does not compute what it should: it has failed.
 *
 * PROOF. A chunk gives its `wide` best. If its program selects exactly, a row it did not give has a
 * first-pass score not below that of the worst it gave, the chunk's floor. If every floor lies above
 * the stream's cut when all candidates are scored, each row not given is worse than k others, in the
 * score reported as well: the answer is exact. If not (many ties, a wide band), the CPU answers.
 */
#include "search/device_call.h"

#include <math.h>

#define U 0x1p-24
#define SLACK (1 + 1e-6)
#define SAFE 1e37
#define WHOLE 0x1p24

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

bool vindex__device_bands_hold(const struct device_call *dc)
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

bool vindex__device_merge(struct device_call *dc, const struct tile *tile)
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

bool vindex__device_is_unproven(const struct device_call *dc)
{
    for (uint32_t i = 0; i < n_mergers(dc->call); i++)
        if (dc->mergers[i].is_unproven) return true;
    return false;
}
