/*
 * plan.c - the decisions of a call, and why its answer is exact.
 *
 * THE PROOF. Let s(x) be the exact first-pass score of row x in real numbers: |q - x|^2, -q.x or
 * -q.x / |x| (0 where |x| = 0), and R(x) the f32 score reported; R grows with s. Rows are ordered
 * by (R, id). A row is left out only if its first-pass score p is above a stream's cut
 * (topk/stream.h), which implies s > upper + margin while k other rows have s <= upper. With
 *   - the band, |p - (s - offset)| <= error_rel |p| + error_abs, from the kernels' bounds
 *     (kernels.h), vindex__plan_band below; and
 *   - the margin: s(y) > s(x) + margin implies R(y) > R(x), vindex__plan_margin below;
 * a row left out has a larger R than k others: it is not among the k best, whatever its id. Every
 * row not left out is scored by the arithmetic of R itself (rerank.c) and put in the order of (R,
 * id). Where a band does not hold or is too wide to be of use, all rows of the part are scored so.
 *
 * Margins. R is a double computation rounded to f32 once. u = 2^-24; two numbers more than one f32
 * spacing apart, at most 2u relative, round to different f32. The double arithmetic errs by less
 * than (dim + 8) 2^-53 relative to the sum of the terms' magnitudes, below 2^-36 for any dim.
 *   l2       R = fl(sqrt(s)): s must differ by 4u relative for the root to differ by 2u; 8u taken.
 *   ip       R = fl(s): 2u relative, 4u taken; the double error, 2^-36 |q| |x|, is in the band.
 *   cosine   R = fl(1 + s / |q|), in [0, 2], spacing at most 2u there: 2u |q|, 4u |q| taken.
 *            Clamping to [0, 2] moves only what is within 2^-36 of the ends.
 *   hamming  R = s, exact: 0.
 * R in the subnormal range has an absolute spacing of 2^-149; the bands of float types contain at
 * least FLT_MIN, and scores of integer types are whole numbers or roots of them. Where R saturates
 * (+-FLT_MAX), upper is infinite and nothing is left out on its account; rows that tie there are
 * beyond what a first pass is used for.
 *
 * Overflow. An l2 kernel only adds what is not negative: its result is finite only if all
 * intermediate results were, and a result of infinity stands for s > FLT_MAX / (1 + gamma): above
 * any finite cut. The other kernels are used only while |q| |x| < 1e37.
 */
#include "search/call.h"

#include <float.h>
#include <math.h>
#include <stdio.h>

#define U 0x1p-24        /* the unit roundoff of f32 */
#define SLACK (1 + 1e-6) /* bounds below are evaluated in double and with first-order terms */
#define SAFE 1e37        /* products stay below FLT_MAX / 32 */
#define WHOLE 0x1p24     /* f32 adds whole numbers up to here exactly, in any order */

/* ---- bands --------------------------------------------------------------------------------- */

static bool is_integer(uint32_t type)
{
    return type == VINDEX_INT8 || type == VINDEX_UINT8;
}

/* What a part's norms say, with their own relative error. */
struct norms {
    double lo, hi, error;
};

static bool read_norms(const struct call *call, const struct part *part, struct norms *norms)
{
    /* Stored norms are rounded once; those of plain arrays come from an f32 kernel (brute.c). */
    norms->error = call->snapshot ? 1.01 * U : vkern_gamma(call->dim) + 4 * U;
    norms->lo = part->norm_lo;
    norms->hi = part->norm_hi * (1 + norms->error);
    return norms->hi < (double)FLT_MAX / 2; /* else saturated, or not a number */
}

static bool tile_band_l2(const struct call *call, const struct query *query,
                         const struct norms *norms, struct topk_band *band)
{
    double x2 = norms->hi * norms->hi, qx = query->norm * norms->hi;
    double gamma = call->search->tile->gamma(call->dim);

    if (!(x2 + 2 * qx + query->sumsq < SAFE)) return false;
    band->offset = query->sumsq; /* the tile computes |x|^2 - 2 q.x */
    /* Whole numbers, and the sum of the terms' magnitudes is at most this (Cauchy and Schwarz). */
    if (is_integer(call->type) && (x2 + 2 * qx + query->sumsq) * SLACK < WHOLE) return true;
    band->error_abs = SLACK * (gamma * (x2 + 2 * qx) + (2 * norms->error + 2 * U) * x2 +
                               2 * U * qx + call->dim * (double)FLT_MIN + 0x1p-50 * query->sumsq);
    return true;
}

static bool query_band_l2(const struct call *call, struct topk_band *band)
{
    double gamma = vkern_gamma(call->dim);
    if (is_integer(call->type)) {
        band->error_rel = 2 * U;
        return true;
    }
    /* |p - s| <= gamma s + eta with s <= (p + eta) / (1 - gamma) */
    band->error_rel = SLACK * gamma / (1 - gamma);
    band->error_abs = 2 * call->dim * (double)FLT_MIN;
    return true;
}

static bool band_ip(const struct call *call, enum engine engine, const struct query *query,
                    const struct norms *norms, struct topk_band *band)
{
    double qx = query->norm * norms->hi;
    if (is_integer(call->type) && qx * SLACK < WHOLE) return true; /* whole numbers throughout */
    if (is_integer(call->type) && engine == ENGINE_QUERY) {
        band->error_rel = 2 * U;
        return true;
    }
    if (!(qx < SAFE)) return false;
    double gamma =
        engine == ENGINE_TILE ? call->search->tile->gamma(call->dim) + U : vkern_gamma(call->dim);
    band->error_abs = SLACK * ((gamma + 0x1p-36) * qx + 2 * call->dim * (double)FLT_MIN);
    return true;
}

static bool band_cosine(const struct call *call, enum engine engine, const struct query *query,
                        const struct norms *norms, struct topk_band *band)
{
    double q = query->norm;
    double gamma = engine == ENGINE_TILE    ? call->search->tile->gamma(call->dim)
                   : is_integer(call->type) ? U
                                            : vkern_gamma(call->dim);
    double underflow = call->dim * (double)FLT_MIN;

    if (!(q < SAFE) || !(norms->hi < SAFE) || !(q * norms->hi < SAFE)) return false;
    if (norms->lo > 0) {
        /* One over a norm, and what the tile engine makes of it, must be normal numbers. */
        if (norms->lo < 1e-30F) return false;
        underflow += underflow / norms->lo;
    }
    /* The norm, one over it, its product with a row, the division: a rounding each. */
    band->error_abs = SLACK * ((gamma + norms->error + 4 * U + 0x1p-36) * q + 2 * underflow);
    return band->error_abs <= q / 16; /* scores lie in [-q, q]: wider leaves little out */
}

bool vindex__plan_band(const struct call *call, enum engine engine, const struct query *query,
                       const struct part *part, struct topk_band *band)
{
    struct norms norms;
    *band = (struct topk_band){0, 0, 0};

    if (call->metric == VINDEX_HAMMING) return true;
    if (call->metric == VINDEX_L2 && engine == ENGINE_QUERY) return query_band_l2(call, band);
    if (!read_norms(call, part, &norms)) return false;
    switch (call->metric) {
    case VINDEX_L2: return tile_band_l2(call, query, &norms, band);
    case VINDEX_IP: return band_ip(call, engine, query, &norms, band);
    default: return band_cosine(call, engine, query, &norms, band);
    }
}

struct topk_margin vindex__plan_margin(const struct call *call, const struct query *query)
{
    switch (call->metric) {
    case VINDEX_L2: return (struct topk_margin){8 * U, 0};
    case VINDEX_IP: return (struct topk_margin){4 * U, 0};
    case VINDEX_COSINE: return (struct topk_margin){0, 4 * U * query->norm};
    default: return (struct topk_margin){0, 0};
    }
}

/* R <= score holds for all s up to here: half an f32 spacing above, the double error, taken
   twofold. The margin comes on top of it in the stream. */
double vindex__plan_upper(const struct call *call, const struct query *query, float score)
{
    double worst = score;
    if (!(fabs(worst) < (double)FLT_MAX)) return INFINITY;
    switch (call->metric) {
    case VINDEX_L2: return worst * worst * (1 + 4 * U);
    case VINDEX_IP: return worst + 2 * U * fabs(worst) + (double)FLT_TRUE_MIN;
    case VINDEX_COSINE: return (worst - 1 + 2 * U) * query->norm;
    default: return worst;
    }
}

/* ---- the plan ------------------------------------------------------------------------------ */

#define GROUP_MAX 1024                 /* a panel is packed once for so many queries */
#define WORK_BYTES ((size_t)64 << 20)  /* of scratch, all workers, unless k itself needs more */
#define MULTIPLY_MAX ((size_t)4 << 20) /* products of one multiply: about 0.1 ms, scores in L2 */

/* Batches from which packing panels costs less than the tile engine saves, at AVX-512
   (bench_search): the query kernels of 16-bit and 8-bit types read less. */
static size_t tile_batch(uint32_t type)
{
    switch (type) {
    case VINDEX_FLOAT: return 6;
    case VINDEX_FLOAT16:
    case VINDEX_BFLOAT16: return 12;
    case VINDEX_INT8:
    case VINDEX_UINT8: return 32;
    default: return SIZE_MAX; /* bits have no panel */
    }
}

static enum engine choose_engine(const struct call *call)
{
    /* With half of all rows wanted, a first pass leaves too little out to pay. */
    if (call->plan.k >= (call->n_match + 1) / 2) return ENGINE_EXACT;
    return call->request->n_queries >= tile_batch(call->type) ? ENGINE_TILE : ENGINE_QUERY;
}

size_t vindex__first_entries(const struct plan *plan)
{
    if (plan->engine == ENGINE_EXACT) return 0; /* nothing goes through a first pass */
    return vindex__stream_entries(plan->limit, plan->rows_max);
}

static size_t bytes_per_query(const struct call *call)
{
    size_t entry = sizeof(int64_t) + sizeof(float);
    size_t entries =
        vindex__first_entries(&call->plan) + vindex__best_entries(&call->plan, call->n_match);
    return entries * entry + sizeof(struct collector) + 4 * (size_t)call->dim;
}

void vindex__plan_make(struct call *call)
{
    struct plan *plan = &call->plan;
    size_t n_queries = call->request->n_queries;
    size_t dim = call->dim ? call->dim : 1;

    plan->k = call->request->k < call->n_match ? call->request->k : (size_t)call->n_match;
    plan->engine = choose_engine(call);
    plan->n_workers = call->request->n_threads > 1 ? vindex__pool_size(call->search->pool) : 1;
    /* Scores of one query stay in L1; a batch goes by panels. */
    plan->rows_max = n_queries == 1 ? 1024 : VKERN_TILE_ROWS;
    plan->limit = vindex__stream_limit(plan->k, (size_t)call->n_match);
    /* Scoring a row exactly costs about as much as scanning so many, or pushing them through a
       tile. */
    plan->sparse = plan->engine == ENGINE_TILE ? 1.0 / 32 : 1.0 / 8;

    size_t lines = MULTIPLY_MAX / (VKERN_TILE_ROWS * dim) / 4 * 4;
    plan->lines = lines < 4 ? 4 : lines > 96 ? 96 : lines;

    size_t fits = WORK_BYTES / plan->n_workers / bytes_per_query(call);
    plan->group = fits < 1 ? 1 : fits > GROUP_MAX ? GROUP_MAX : fits;
    plan->splits_queries = n_queries >= (size_t)plan->n_workers * 128;
    if (plan->splits_queries && plan->n_workers > 1) {
        /* Two tasks a worker even out; below 128 queries packing shows. */
        size_t share = n_queries / plan->n_workers / 2;
        if (share < 128) share = 128;
        if (plan->group > share) plan->group = share;
    }
    if (plan->group > n_queries) plan->group = n_queries;

    /* Eight tasks a worker even out; whole panels. */
    uint64_t chunk = call->n_positions / ((uint64_t)plan->n_workers * 8) / 1024 * 1024;
    plan->chunk = plan->n_workers == 1 ? call->n_positions : chunk < 1024 ? 1024 : chunk;
}

static const char *engine_text(const struct call *call)
{
    if (call->plan.k == 0) return "nothing";
    switch (call->plan.engine) {
    case ENGINE_EXACT: return "double";
    case ENGINE_QUERY: return call->kern->level_name;
    default: return call->search->tile->name;
    }
}

void vindex__plan_text(const struct call *call, char *text, size_t size)
{
    static const char *const types[] = {"f32", "f16", "bf16", "i8", "u8", "bit"};
    static const char *const metrics[] = {"l2", "cosine", "ip", "hamming"};
    if (call->device.text[0]) {
        snprintf(text, size, "%s", call->device.text);
        return;
    }
    if (call->device.refusal[0]) { /* the reason first: what follows may be cut */
        int n = snprintf(text, size, "cpu (device: %.72s), ", call->device.refusal);
        if (n > 0 && (size_t)n < size) text += n, size -= (size_t)n;
    }
    snprintf(text, size,
             "exact: flat scan of %llu rows in %zu parts, %s %s, %s %s, batch %zu, threads %u",
             (unsigned long long)call->n_match, call->n_parts, metrics[call->metric],
             types[call->type], call->plan.engine == ENGINE_TILE ? "tile" : "scan",
             engine_text(call), call->request->n_queries, (unsigned)call->plan.n_workers);
}
