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
 * Below a target of 1 some parts may be scanned by c4 instead: rough scores without a bound,
 * whose best k' are scored exactly. Nothing is proven then but that hits are true rows with exact
 * scores; what recall to expect is measured (calibrate.h).
 *
 * 8-BIT CODES. x is a row (of norm 1 under cosine), z what it is in the codes' own coordinates, c
 * what its code stands for, v the query there and t what its code stands for (kernels/codes.h).
 * The exact score is offset + bias - w v.z with w = 2, bias = |x - mean|^2 for l2, and w = 1,
 * bias = 0 for the others. The kernel has bias - w t.c in its place:
 *     |v.z - t.c| = |v.(z - c) + (v - t).c| <= |v| |z - c| + |v - t| |c|  (Cauchy and Schwarz)
 * where error >= |z - c| and size >= |c| are facts of the plane, |v| and |v - t| of the query.
 * t.c is a whole number times two factors: the integers are exact, what follows is one
 * conversion, two products and a sum, a rounding each, of terms within |bias| + w |t| |c|.
 * Together, with the roundings of bias, offset and factors themselves: vkern_c8_band, absolute
 * (kernels/codes/README.md counts them). Rows of whole numbers, and queries likewise, have no
 * error but these roundings. The band is the worst case of a sum whose terms mostly cancel; where
 * rows are so much alike that it lets too many through, the kernels over the rows take over
 * (scan.c).
 *
 * LEADING COORDINATES. A row whose p8 score is above vkern_p8_cut(worst) has an exact score above worst = upper + margin
 * (kernels/codes/README.md), with the doubt of the double arithmetic added: it is left out as by a stream's cut. `upper` comes from k
 * different rows: scouts' exact scores, and first-pass scores plus their band of rows that are no scouts (lead.c).
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

/* A little more, as f32. */
static float raised(double x)
{
    return (float)(x * (1 + 4 * U));
}

bool vindex__plan_facts(const struct call *call, const struct part *part,
                        struct vkern_c8_facts *facts)
{
    struct norms norms;
    if (vindex__part_has_c8(part)) {
        const struct part_codes *codes = part->codes;
        *facts = (struct vkern_c8_facts){codes->whole, codes->is_signed, codes->c8_error,
                                         codes->c8_size, codes->c8_bias};
        return true;
    }
    /* Rows of integers, put in groups by batch.c. */
    if (!read_norms(call, part, &norms)) return false;
    *facts = (struct vkern_c8_facts){.whole = true, .is_signed = call->type == VINDEX_INT8};
    if (call->metric == VINDEX_COSINE) {
        facts->error = raised(norms.error + 2 * U); /* of one over a norm */
        facts->size = raised(1 + norms.error + 2 * U);
        return true;
    }
    facts->size = raised(norms.hi);
    if (call->metric == VINDEX_L2) facts->bias_max = raised(norms.hi * norms.hi);
    return true;
}

/* Of the double arithmetic of the scores reported; that of l2 is in the margin. */
static double doubt(const struct call *call, double q, const struct norms *norms)
{
    if (call->metric == VINDEX_L2) return 0;
    return 0x1p-36 * q * (call->metric == VINDEX_COSINE ? 1 : norms->hi);
}

double vindex__plan_doubt(const struct call *call, const struct query *query,
                          const struct part *part)
{
    struct norms norms;
    if (!(query->norm < SAFE) || !read_norms(call, part, &norms)) return INFINITY;
    return doubt(call, query->norm, &norms);
}

bool vindex__plan_codes_band(const struct call *call, const struct collector *collector,
                             const struct vkern_c8_facts *facts, const struct part *part,
                             struct topk_band *band)
{
    double q = collector->query.norm;
    double error = vkern_c8_band(&call->model, facts, &collector->side);
    struct norms norms;

    if (!(q < SAFE) || !read_norms(call, part, &norms) || !(q * norms.hi < SAFE)) return false;
    error += doubt(call, q, &norms);
    *band = (struct topk_band){0, SLACK * error + (double)FLT_MIN, collector->side.offset};
    if (!(band->error_abs < SAFE) || !(fabs(band->offset) < SAFE)) return false;
    return call->metric != VINDEX_COSINE || band->error_abs <= q / 16;
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
#define MULTIPLY_MAX ((size_t)4 << 20) /* products of one multiply: about 0.1 ms, scores in L2 */

static bool is_tiled(enum engine engine)
{
    return engine == ENGINE_TILE || engine == ENGINE_TILE8;
}

/* The way that is forced, or the cheaper one, of two, where the second is possible. */
static enum engine choose(const struct call *call, size_t n_queries, enum engine engine,
                          enum engine other, bool is_possible)
{
    enum engine forced = call->search->forced;
    uint64_t n = call->n_positions;

    if (!is_possible || forced == engine) return engine;
    if (forced == other) return other;
    return vindex__cost_scan(call, other, n_queries, n) <
                   vindex__cost_scan(call, engine, n_queries, n)
               ? other
               : engine;
}

enum engine vindex__plan_plain(const struct call *call, size_t n_queries)
{
    bool may_pack = is_integer(call->type) && call->dim <= VKERN_C8_DIM_MAX;
    enum engine engine =
        choose(call, n_queries, ENGINE_QUERY, ENGINE_TILE, call->type != VINDEX_BIT);
    return choose(call, n_queries, engine, ENGINE_TILE8, may_pack);
}

enum engine vindex__plan_coded(const struct call *call, size_t n_queries)
{
    enum engine engine = vindex__plan_plain(call, n_queries);
    engine = choose(call, n_queries, engine, ENGINE_C8, call->n_c8 > 0);
    return choose(call, n_queries, engine, ENGINE_TILE8, call->n_c8 > 0);
}

/* The share of rows let through at which the leading coordinates cost as much as other exact ways. */
static double lead_most(const struct call *call, size_t n_queries)
{
    uint64_t n = call->n_p8;
    enum engine engine = call->n_c8 ? vindex__plan_coded(call, n_queries)
                                    : vindex__plan_plain(call, n_queries);
    double spared = vindex__cost_scan(call, engine, n_queries, n) -
                    vindex__cost_scan(call, ENGINE_P8, n_queries, n);
    return fmax(spared, 0) / ((double)n * (double)n_queries) /
           vindex__cost_let_through(call, n_queries);
}

bool vindex__plan_leads(const struct call *call, size_t n_queries, size_t k)
{
    enum engine forced = call->search->forced;
    if (call->n_p8 == 0 || forced == ENGINE_P8) return call->n_p8 > 0;
    if (forced != ENGINE_EXACT && forced != ENGINE_C4) return false;
    return lead_most(call, n_queries) > vindex__cost_expected(call, k);
}

/* Where they are expected to pay; lead.c sees whether they do. */
static void plan_lead(struct call *call)
{
    struct plan *plan = &call->plan;
    size_t n_queries = call->window.n;
    bool is_possible = plan->plain != ENGINE_EXACT && plan->k_prime == 0;
    plan->by_p8 = is_possible && vindex__plan_leads(call, n_queries, plan->k);
    if (!plan->by_p8) return;
    plan->p8_most = call->search->forced == ENGINE_P8 ? 1 : lead_most(call, n_queries);
}

size_t vindex__first_entries(const struct plan *plan)
{
    if (plan->plain == ENGINE_EXACT) return 0; /* nothing goes through a first pass */
    return vindex__stream_entries(plan->limit, plan->rows_max);
}

size_t vindex__rough_entries(const struct call *call)
{
    const struct plan *plan = &call->plan;
    size_t k = vindex__rough_k(plan);
    if (!k) return 0;
    return vindex__best_entries(k, call->n_match) + plan->rows_max; /* a push whole */
}

static size_t bytes_per_query(const struct call *call)
{
    const struct plan *plan = &call->plan;
    size_t entry = sizeof(int64_t) + sizeof(float);
    size_t entries = vindex__first_entries(plan) + vindex__best_entries(plan->k, call->n_match) +
                     vindex__rough_entries(call);
    return entries * entry + sizeof(struct collector) + 8 * (size_t)call->dim + call->model.m +
           (plan->by_p8 ? sizeof(struct lead) + 2 * call->model.p + 12 * plan->k : 0);
}

static void choose_engines(struct call *call)
{
    struct plan *plan = &call->plan;
    size_t n = call->window.n;

    plan->plain = vindex__plan_plain(call, n);
    plan->coded = vindex__plan_coded(call, n);
    plan->k_prime = call->window.k_prime;
    /* With half of all rows wanted, a first pass leaves too little out to pay. */
    if (plan->k >= (call->n_match + 1) / 2) {
        plan->plain = plan->coded = ENGINE_EXACT;
        plan->k_prime = 0;
    }
    plan_lead(call);
}

/* Queries of one multiply. Tiles of codes take 16 at a time. */
static size_t lines_of(size_t dim)
{
    size_t lines = MULTIPLY_MAX / (VKERN_TILE_ROWS * dim) / 16 * 16;
    return lines < 16 ? 16 : lines > PLAN_LINES_MAX ? PLAN_LINES_MAX : lines;
}

void vindex__plan_make(struct call *call)
{
    struct plan *plan = &call->plan;
    const struct window *window = &call->window;
    size_t dim = call->dim ? call->dim : 1;

    plan->k = window->k < call->n_match ? window->k : (size_t)call->n_match;
    choose_engines(call);
    plan->n_workers = call->request->n_threads > 1 ? vindex__pool_size(call->search->pool) : 1;
    /* Scores of one query stay in L1; a batch goes by panels. */
    bool is_tiling = is_tiled(plan->plain) || is_tiled(plan->coded) || plan->by_p8;
    plan->rows_max = window->n == 1 || !is_tiling ? 1024 : VKERN_TILE_ROWS;
    plan->limit = vindex__stream_limit(plan->k, (size_t)call->n_match);

    plan->lines = lines_of(dim);
    plan->p8_lines = plan->by_p8 ? lines_of(vkern_p8_dim(&call->model)) : 0;

    size_t fits = call->search->work_bytes / plan->n_workers / bytes_per_query(call);
    plan->group = fits < 1 ? 1 : fits > GROUP_MAX ? GROUP_MAX : fits;
    plan->splits_queries = window->n >= (size_t)plan->n_workers * 128;
    if (plan->splits_queries && plan->n_workers > 1) {
        /* Two tasks a worker even out; below 128 queries packing shows. */
        size_t share = window->n / plan->n_workers / 2;
        if (share < 128) share = 128;
        if (plan->group > share) plan->group = share;
    }
    if (plan->group > window->n) plan->group = window->n;

    /* Eight tasks a worker even out; whole panels. */
    uint64_t chunk = call->n_positions / ((uint64_t)plan->n_workers * 8) / 1024 * 1024;
    plan->chunk = plan->n_workers == 1 ? call->n_positions : chunk < 1024 ? 1024 : chunk;
}

/* ---- the plan in words ---------------------------------------------------------------------- */

static const char *const types[] = {"f32", "f16", "bf16", "i8", "u8", "bit"};
static const char *const metrics[] = {"l2", "cosine", "ip", "hamming"};

/* The exact way that most rows go. */
static enum engine main_engine(const struct call *call)
{
    return 2 * call->n_c8 > call->n_positions ? call->plan.coded : call->plan.plain;
}

static const char *tile8_name(const struct vkern_codes *codes)
{
    return codes->amx ? codes->amx->name : codes->tile8->name;
}

static void engine_text(const struct call *call, char *text, size_t size)
{
    const struct vkern_codes *codes = call->kern->codes;
    enum engine engine = main_engine(call);
    const char *what = "scan", *by = call->kern->level_name;

    if (call->plan.k == 0)
        by = "nothing";
    else if (call->plan.by_p8 && 2 * call->n_p8 > call->n_positions)
        what = "p8", by = call->window.n > 1 ? tile8_name(codes) : by;
    else if (engine == ENGINE_EXACT)
        by = "double";
    else if (engine == ENGINE_TILE)
        what = "tile", by = call->search->tile->name;
    else if (engine == ENGINE_TILE8)
        what = "tile8", by = tile8_name(codes);
    else if (engine == ENGINE_C8)
        what = "c8";
    snprintf(text, size, "%s %s", what, by);
}

void vindex__plan_text(const struct call *call, char *text, size_t size)
{
    static const char *const states[] = {"exact", "exact", "proven", "assumed"};
    const struct effort_plan *effort = &call->effort.plan;
    char how[48];

    if (call->device.text[0]) {
        snprintf(text, size, "%s", call->device.text);
        return;
    }
    if (call->device.refusal[0]) { /* the reason first: what follows may be cut */
        int n = snprintf(text, size, "cpu (device: %.72s), ", call->device.refusal);
        if (n > 0 && (size_t)n < size) text += n, size -= (size_t)n;
    }
    engine_text(call, how, sizeof how);
    if (call->plan.k_prime)
        snprintf(text, size,
                 "%s: c4 of %llu rows, %u axes, best %zu reranked, %s %s, rest %s, batch %zu, "
                 "threads %u",
                 states[effort->state], (unsigned long long)call->n_c4, (unsigned)call->model.m,
                 call->plan.k_prime, metrics[call->metric], types[call->type],
                 call->n_c4 < call->n_positions ? how : "none", call->request->n_queries,
                 (unsigned)call->plan.n_workers);
    else
        snprintf(text, size,
                 "exact: flat scan of %llu rows in %zu parts, %s %s, %s, batch %zu, threads %u%s%s",
                 (unsigned long long)call->n_match, call->n_parts, metrics[call->metric],
                 types[call->type], how, call->request->n_queries, (unsigned)call->plan.n_workers,
                 effort->reason ? ": " : "", effort->reason ? effort->reason : "");
}
