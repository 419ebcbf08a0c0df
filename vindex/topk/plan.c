/*
 * plan.c - checks a call's options, chooses the algorithm, adds up its memory. No row is looked at.
 */
#include "topk/plan.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/status.h"
#include "base/threads.h"
#include "topk/maths.h"

_Static_assert(sizeof(vindex_topk_options) == 152, "no hidden padding; grows only at the end");
_Static_assert(sizeof(vindex_topk_plan) == 128, "no hidden padding; grows only at the end");
_Static_assert(sizeof(vindex_topk_output) == 48, "no hidden padding; grows only at the end");

#define KNOWN_FLAGS                                                                                \
    (VINDEX_TOPK_MIN | VINDEX_TOPK_UNSORTED | VINDEX_TOPK_PARTIAL | VINDEX_TOPK_ANY_TIE |          \
     VINDEX_TOPK_CONTIGUOUS)

const char *vindex_topk_type_name(vindex_topk_type type)
{
    static const char *const names[] = {"f32", "f16", "bf16", "f64", "i32"};

    return (unsigned)type < sizeof names / sizeof *names ? names[type] : NULL;
}

const char *vindex_topk_algo_name(vindex_topk_algo algo)
{
    static const char *const names[] = {"auto",  "argmax", "groupmax", "threshold", "qselect",
                                        "radix", "depth",  "binned",   "sort"};

    return (unsigned)algo < sizeof names / sizeof *names ? names[algo] : NULL;
}

/* ---- checks ------------------------------------------------------------------------------------ */

vindex_status vindex__topk_check_size(const char *name, const void *given, size_t known)
{
    uint32_t size;

    if (!given) return vindex__fail(VINDEX_INVALID, "%s is NULL", name);
    memcpy(&size, given, sizeof size);
    if (size < known)
        return vindex__fail(VINDEX_INVALID,
                            "%s.struct_size is %u, less than %zu: start from its _INIT", name, size,
                            known);
    for (size_t i = known; i < size; i++)
        if (((const unsigned char *)given)[i])
            return vindex__fail(VINDEX_UNSUPPORTED, "%s has fields this library does not know",
                                name);
    return VINDEX_OK;
}

static vindex_status check_kinds(const vindex_topk_options *o)
{
    if (o->flags & ~KNOWN_FLAGS || o->reserved)
        return vindex__fail(VINDEX_UNSUPPORTED, "flags %#x, reserved %u: there are unknown bits",
                            o->flags, o->reserved);
    if (!vindex_topk_type_name((vindex_topk_type)o->type))
        return vindex__fail(VINDEX_INVALID, "type %u is unknown: see vindex_topk_type", o->type);
    if (!vindex_topk_algo_name((vindex_topk_algo)o->algo))
        return vindex__fail(VINDEX_INVALID, "algo %u is unknown: see vindex_topk_algo", o->algo);
    if (o->nan > VINDEX_TOPK_NAN_ERROR)
        return vindex__fail(VINDEX_INVALID, "nan %u is unknown: see vindex_topk_nan", o->nan);
    if (o->recall != 0 && !vindex__recall_is_valid(o->recall))
        return vindex__fail(VINDEX_INVALID, "recall %g is outside (0, 1]", (double)o->recall);
    return VINDEX_OK;
}

static vindex_status check_stride(const char *name, int64_t stride, int64_t row, int64_t rows,
                                  size_t size)
{
    size_t bytes;

    if (stride != 0 && stride < row)
        return vindex__fail(VINDEX_INVALID, "%s is %lld, less than a row's %lld", name,
                            (long long)stride, (long long)row);
    if (stride == 0) stride = row;
    if (!vindex__mul((size_t)rows, (size_t)stride, &bytes) || !vindex__mul(bytes, size, &bytes) ||
        bytes > SIZE_MAX / 2)
        return vindex__fail(VINDEX_INVALID, "%lld rows of %lld elements exceed the address space",
                            (long long)rows, (long long)stride);
    return VINDEX_OK;
}

static vindex_status check_shape(const vindex_topk_options *o)
{
    const int64_t n = o->input_size_override;
    vindex_status st;

    if (o->rows < 0 || o->len < 0 || o->k < 0 || o->bins < 0)
        return vindex__fail(
            VINDEX_INVALID, "rows %lld, len %lld, k %lld, bins %lld: one is negative",
            (long long)o->rows, (long long)o->len, (long long)o->k, (long long)o->bins);
    if (n < -1 || (n > 0 && n < o->len))
        return vindex__fail(VINDEX_INVALID, "the input size override %lld is below the row's %lld",
                            (long long)n, (long long)o->len);
    st = check_stride("in_stride", o->in_stride, o->len, o->rows, 8);
    if (st == VINDEX_OK) st = check_stride("id_stride", o->id_stride, o->len, o->rows, 8);
    if (st == VINDEX_OK) st = check_stride("out_stride", o->out_stride, 0, o->rows, 8);
    if (st == VINDEX_OK) st = check_stride("k", o->k, 0, o->rows, 32);
    return st;
}

static vindex_status check_algo(const vindex_topk_options *o)
{
    const bool is_16_bit = vkern_topk_size((enum vkern_topk_type)o->type) == 2;
    const bool is_long = (uint64_t)o->len > VINDEX__TOPK_SPAN_MAX;

    if (o->algo == VINDEX_TOPK_ARGMAX && o->k > 1)
        return vindex__fail(VINDEX_INVALID, "argmax gives 1, k is %lld", (long long)o->k);
    if (o->algo == VINDEX_TOPK_RADIX && !is_16_bit)
        return vindex__fail(VINDEX_INVALID, "radix is for f16 and bf16, the type is %s",
                            vindex_topk_type_name((vindex_topk_type)o->type));
    if ((o->algo == VINDEX_TOPK_DEPTH || o->algo == VINDEX_TOPK_BINNED) && is_long)
        return vindex__fail(VINDEX_UNSUPPORTED, "%s takes rows of up to 2^31, len is %lld",
                            vindex_topk_algo_name((vindex_topk_algo)o->algo), (long long)o->len);
    if (o->n_depths > VINDEX_TOPK_MAX_DEPTHS)
        return vindex__fail(VINDEX_INVALID, "%u depths, at most %d", o->n_depths,
                            VINDEX_TOPK_MAX_DEPTHS);
    for (uint32_t i = 0; i < o->n_depths; i++)
        if (o->depths[i] < 1 || (i > 0 && o->depths[i] <= o->depths[i - 1]))
            return vindex__fail(VINDEX_INVALID, "depths[%u] is %u: depths ascend from 1", i,
                                o->depths[i]);
    return VINDEX_OK;
}

static void fill_defaults(vindex_topk_options *o)
{
    if (o->recall == 0) o->recall = 1;
    if (o->in_stride == 0) o->in_stride = o->len;
    if (o->id_stride == 0) o->id_stride = o->len;
    if (o->input_size_override <= 0) o->input_size_override = o->len;
    if (o->lanes == 0) o->lanes = 128;
    if (o->cutoff == 0) o->cutoff = 8;
    if (o->rows_per_block == 0) o->rows_per_block = 32;
}

/* ---- the choice -------------------------------------------------------------------------------- */

static enum vkern_topk_type type_of(const struct topk_job *job)
{
    return (enum vkern_topk_type)job->options.type;
}

static double cost_of(const struct topk_job *job, vindex_topk_algo algo)
{
    return vindex__topk_cost(job->table, type_of(job), algo, job->len, job->k);
}

static void choose_exact(struct topk_job *job)
{
    static const vindex_topk_algo candidates[] = {VINDEX_TOPK_ARGMAX, VINDEX_TOPK_GROUPMAX,
                                                  VINDEX_TOPK_THRESHOLD, VINDEX_TOPK_QSELECT,
                                                  VINDEX_TOPK_RADIX};
    vindex_topk_plan *p = &job->plan;

    p->cost_ns = INFINITY;
    for (size_t i = 0; i < sizeof candidates / sizeof *candidates; i++) {
        const double cost = cost_of(job, candidates[i]);
        if (candidates[i] == VINDEX_TOPK_ARGMAX && job->options.k != 1) continue;
        if (candidates[i] == VINDEX_TOPK_RADIX && vkern_topk_size(type_of(job)) != 2) continue;
        if (cost < p->cost_ns) p->algo = (uint32_t)candidates[i], p->cost_ns = cost;
    }
}

/* A shard has its share of the whole row's bins, but always room for k. */
static int64_t share_of_bins(const struct topk_job *job, int64_t bins, int64_t per_bin)
{
    const vindex_topk_options *o = &job->options;
    const double share = (double)o->len / (double)o->input_size_override;
    int64_t mine = (int64_t)ceil((double)bins * share / 16) * 16;
    const int64_t least = ((int64_t)job->k - 1) / per_bin + 1;

    if (mine < least) mine = (least + 15) / 16 * 16;
    return mine;
}

static vindex_status plan_bins(struct topk_job *job)
{
    const vindex_topk_options *o = &job->options;
    vindex_topk_plan *p = &job->plan;
    int64_t bins = o->bins, per_bin = o->per_bin;
    vindex_status st = VINDEX_OK;

    if (job->k == 0) {
        p->bins = p->per_bin = 1;
    } else if (bins == 0 && per_bin == 0) {
        st = vindex_topk_plan_bins(o->input_size_override, (int64_t)job->k, o->recall, &bins,
                                   &per_bin);
        if (st == VINDEX_OK && bins == 0) bins = o->len, per_bin = 1; /* all is kept */
        if (st == VINDEX_OK) bins = share_of_bins(job, bins, per_bin);
    } else if (bins == 0 && o->recall == 1) {
        bins = o->len; /* nothing less keeps all */
    } else if (bins == 0) {
        st = vindex_topk_least_bins((int64_t)job->k, o->recall, per_bin, 16, &bins);
        if (st == VINDEX_OK) bins = share_of_bins(job, bins, per_bin);
    } else if (per_bin == 0) {
        for (per_bin = ((int64_t)job->k - 1) / bins + 1; per_bin < (int64_t)job->k; per_bin++)
            if (vindex_topk_recall_binomial((int64_t)job->k, bins, per_bin) >= o->recall) break;
    }
    if (st != VINDEX_OK || job->k == 0) return st;
    if (bins > o->len && o->bins == 0) bins = o->len;
    if (bins > INT32_MAX || per_bin > INT32_MAX || bins * per_bin < (int64_t)job->k)
        return vindex__fail(VINDEX_INVALID, "%lld bins of %lld keep too few or too many for k %lld",
                            (long long)bins, (long long)per_bin, (long long)job->k);
    p->bins = bins, p->per_bin = (uint32_t)per_bin;
    return VINDEX_OK;
}

static void describe_bins(struct topk_job *job)
{
    const vindex_topk_options *o = &job->options;
    vindex_topk_plan *p = &job->plan;
    const int64_t n = o->input_size_override, k = (int64_t)job->k;

    p->cost_ns = vindex__topk_cost_of_bins(job->table, type_of(job), job->len, job->k,
                                           (size_t)p->bins, p->per_bin);
    p->expected_recall = p->bound_recall = 1;
    if (k == 0 || !job->tells_recall) return;
    if (p->bins < o->len) p->log2_reduction = vindex__log2_floor((uint64_t)(o->len / p->bins));
    if (n == o->len) {
        p->expected_recall = vindex_topk_recall(n, k, p->bins, p->per_bin);
        p->bound_recall = vindex_topk_recall_bound(n, k, p->bins, p->per_bin);
    } else {
        const double whole = (double)p->bins * ((double)n / (double)o->len);
        const int64_t bins = whole < 4e18 ? (int64_t)whole : INT64_MAX;
        p->expected_recall = vindex_topk_recall_binomial(k, bins, p->per_bin);
        p->bound_recall = vindex_topk_recall_bound(n, k, bins, p->per_bin);
    }
    if (p->bins >= o->len) p->expected_recall = p->bound_recall = 1;
}

static vindex_status plan_depths(struct topk_job *job)
{
    const vindex_topk_options *o = &job->options;
    vindex_topk_plan *p = &job->plan;
    vindex_status st = VINDEX_OK;

    p->lanes = o->lanes;
    if ((size_t)p->lanes > job->len && job->len > 0) p->lanes = (uint32_t)job->len;
    p->n_depths = o->n_depths;
    memcpy(p->depths, o->depths, sizeof o->depths);
    if (o->n_depths == 0)
        st = vindex_topk_depth_schedule((int64_t)(job->k < INT32_MAX ? job->k : INT32_MAX),
                                        p->lanes, o->rows_per_block, p->depths, &p->n_depths);
    if (st == VINDEX_OK && (p->n_depths == 0 || p->depths[p->n_depths - 1] < job->k))
        p->depths[p->n_depths++] = (uint32_t)job->k; /* a lane never needs more */
    p->cost_ns = vindex__topk_cost_of_bins(job->table, type_of(job), job->len, job->k, p->lanes,
                                           p->depths[0]);
    return st;
}

static vindex_status choose(struct topk_job *job)
{
    const vindex_topk_options *o = &job->options;
    vindex_topk_plan *p = &job->plan;
    const bool may_bin = o->recall < 1 && job->k < job->len && job->len <= VINDEX__TOPK_SPAN_MAX;
    vindex_status st = VINDEX_OK;

    p->algo = o->algo;
    p->expected_recall = p->bound_recall = 1;
    p->out_len = o->k;
    if (o->algo == VINDEX_TOPK_AUTO) {
        choose_exact(job);
        if (may_bin && (o->bins > 0 || o->per_bin > 0 || job->k > 1)) {
            const vindex_topk_plan exact = *p;
            st = plan_bins(job);
            if (st != VINDEX_OK) return st;
            describe_bins(job);
            if (p->cost_ns < exact.cost_ns)
                p->algo = VINDEX_TOPK_BINNED;
            else
                *p = exact;
        }
    } else if (o->algo == VINDEX_TOPK_BINNED) {
        st = plan_bins(job);
        if (st == VINDEX_OK) describe_bins(job);
    } else if (o->algo == VINDEX_TOPK_DEPTH) {
        st = plan_depths(job);
    } else {
        p->cost_ns = cost_of(job, (vindex_topk_algo)o->algo);
    }
    if (st == VINDEX_OK && p->algo == VINDEX_TOPK_BINNED && o->flags & VINDEX_TOPK_PARTIAL &&
        p->bins * p->per_bin > o->k)
        p->out_len = p->bins * p->per_bin;
    return st;
}

/* ---- memory ------------------------------------------------------------------------------------ */

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

static size_t rounded_lanes(size_t lanes)
{
    return (lanes + 15) / 16 * 16;
}

/* Rooms for one span of up to span_len. */
static void size_context(struct topk_job *job)
{
    const vindex_topk_plan *p = &job->plan;
    const size_t n = job->span_len, k = min_size(job->k, n), bins = (size_t)p->bins;

    job->capacity = min_size(2 * k + 4096, n + 512);
    job->n_groups = 0;
    job->n_chunk = VINDEX__TOPK_CHUNK;
    switch (p->algo) {
    case VINDEX_TOPK_GROUPMAX: job->n_groups = vindex__topk_groupmax_room(n, k); break;
    case VINDEX_TOPK_THRESHOLD: job->n_groups = vindex__topk_threshold_room(n, k); break;
    case VINDEX_TOPK_QSELECT: job->n_groups = n; break;
    case VINDEX_TOPK_SORT: job->capacity = n + 512; break;
    case VINDEX_TOPK_DEPTH:
        job->n_groups = rounded_lanes(p->lanes) * min_size(k, n ? (n - 1) / p->lanes + 1 : 0);
        job->capacity = max_size(job->capacity, job->n_groups);
        job->n_chunk = max_size(job->n_chunk, p->lanes);
        break;
    case VINDEX_TOPK_BINNED:
        job->n_groups =
            max_size(rounded_lanes(bins) * p->per_bin, vindex__topk_threshold_room(n, k));
        job->capacity =
            max_size(max_size(job->capacity, job->n_groups), 2 * (size_t)p->per_bin + 1024);
        job->n_chunk = max_size(job->n_chunk, bins);
        break;
    default: break;
    }
}

static bool is_whole_row_algo(uint32_t algo)
{
    return algo == VINDEX_TOPK_DEPTH || algo == VINDEX_TOPK_BINNED;
}

/* Rows are handed to workers; a few long rows are cut so that all workers have something to do. */
static void cut_rows(struct topk_job *job)
{
    enum { SPAN_MIN = 32768 }; /* below, waking a thread takes longer than it saves */
    size_t spans = job->len / VINDEX__TOPK_SPAN_MAX + (job->len % VINDEX__TOPK_SPAN_MAX != 0);

    if ((uint64_t)job->options.rows < job->n_workers && !is_whole_row_algo(job->plan.algo))
        spans =
            max_size(spans, min_size(job->n_workers, job->len / max_size(SPAN_MIN, 4 * job->k)));
    job->n_spans = spans ? spans : 1;
    job->span_len = job->len / job->n_spans + (job->len % job->n_spans != 0);
}

size_t vindex__topk_context_open(struct topk_context *c, const struct topk_job *job, void *memory)
{
    const size_t slack = VINDEX__TOPK_SLACK;
    const bool is_wide = vkern_topk_is_wide(type_of(job));
    const size_t key = is_wide ? 8 : 4;
    const size_t sizes[] = {
        (job->capacity + slack) * key,   (job->capacity + slack) * 4,
        job->capacity * 32 + 32 * slack, (job->n_groups + slack) * key,
        (job->n_groups + slack) * 4,     2 * (job->n_groups + slack) * key,
        (job->n_chunk + slack) * key,
    };
    unsigned char *at[sizeof sizes / sizeof *sizes];
    size_t used = 0;

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        at[i] = memory ? (unsigned char *)memory + used : NULL;
        used += (sizes[i] + 63) / 64 * 64;
    }
    *c = (struct topk_context){
        .table = job->table,
        .type = type_of(job),
        .is_min = (job->options.flags & VINDEX_TOPK_MIN) != 0,
        .nan_is_best = job->options.nan == VINDEX_TOPK_NAN_BEST,
        .is_wide = is_wide,
        .found = {at[0], (uint32_t *)(void *)at[1], 0, job->capacity, false},
        .spare = at[2],
        .groups = at[3],
        .numbers = (uint32_t *)(void *)at[4],
        .below = at[5],
        .n_groups = job->n_groups,
        .chunk = at[6],
    };
    return used;
}

/* Contexts of all workers; where rows are cut, k candidates of each span, and a context to merge them. */
static void add_up_memory(struct topk_job *job)
{
    vindex_topk_plan *p = &job->plan;
    const uint64_t value = vkern_topk_size(type_of(job));
    struct topk_context unused;

    p->workspace_bytes =
        128 +
        job->n_workers * (sizeof unused + (uint64_t)vindex__topk_context_open(&unused, job, NULL));
    if (job->n_spans > 1) {
        const struct topk_job merge = {
            .options = job->options, .table = job->table, .capacity = job->n_spans * job->k + 512};
        p->workspace_bytes += vindex__topk_context_open(&unused, &merge, NULL) +
                              (uint64_t)job->n_spans * (job->k * 16 + 64) + 64;
    }
    p->fixed_bytes = p->workspace_bytes;
    p->row_bytes = (uint64_t)job->options.len * value + (uint64_t)p->out_len * (value + 8) + 8;
}

vindex_status vindex__topk_job_make(struct topk_job *job, const vkern_topk_table *table,
                                    const vindex_topk_options *options, bool tells_recall)
{
    vindex_status st = vindex__topk_check_size("vindex_topk_options", options, sizeof *options);

    memset(job, 0, sizeof *job);
    if (st != VINDEX_OK) return st;
    job->options = *options;
    job->table = table;
    job->tells_recall = tells_recall;
    if ((st = check_kinds(options)) != VINDEX_OK || (st = check_shape(options)) != VINDEX_OK ||
        (st = check_algo(options)) != VINDEX_OK)
        return st;
    fill_defaults(&job->options);
    job->len = (size_t)options->len;
    job->k = (size_t)(options->k < options->len ? options->k : options->len);
    job->n_workers = options->pool ? vindex__pool_size(vindex__topk_pool_of(options->pool)) : 1;
    if ((st = choose(job)) != VINDEX_OK) return st;
    if (options->out_stride != 0 && options->out_stride < job->plan.out_len)
        return vindex__fail(VINDEX_INVALID, "out_stride is %lld, a row of output has %lld",
                            (long long)options->out_stride, (long long)job->plan.out_len);
    if (options->out_stride == 0) job->options.out_stride = job->plan.out_len;
    if ((st = check_stride("out_stride", 0, job->plan.out_len, options->rows, 8)) != VINDEX_OK)
        return st;
    cut_rows(job);
    size_context(job);
    add_up_memory(job);
    job->plan.struct_size = sizeof job->plan;
    return VINDEX_OK;
}

/* ---- the public calls -------------------------------------------------------------------------- */

vindex_status vindex__topk_plan_at(const vkern_topk_table *table,
                                   const vindex_topk_options *options, vindex_topk_plan *plan)
{
    struct topk_job job;
    vindex_status st = vindex__topk_check_size("vindex_topk_plan", plan, sizeof *plan);

    if (st == VINDEX_OK) st = vindex__topk_job_make(&job, table, options, true);
    if (st != VINDEX_OK) return st;
    job.plan.struct_size = plan->struct_size;
    *plan = job.plan;
    return VINDEX_OK;
}

vindex_status vindex_topk_make_plan(const vindex_topk_options *options, vindex_topk_plan *plan)
{
    return vindex__topk_plan_at(vkern_topk_get(), options, plan);
}

vindex_status vindex_topk_rows_that_fit(const vindex_topk_options *options, int with_ids,
                                        uint64_t memory_bytes, int64_t *rows)
{
    vindex_topk_options one;
    vindex_topk_plan plan = VINDEX_TOPK_PLAN_INIT;
    double usable, row;
    vindex_status st = vindex__topk_check_size("vindex_topk_options", options, sizeof one);

    if (st != VINDEX_OK) return st;
    if (!rows) return vindex__fail(VINDEX_INVALID, "rows is NULL");
    one = *options;
    one.rows = 1;
    st = vindex_topk_make_plan(&one, &plan);
    if (st != VINDEX_OK) return st;
    row = (double)plan.row_bytes + (with_ids ? 8. * (double)one.len : 0);
    usable = (double)memory_bytes * (one.flags & VINDEX_TOPK_UNSORTED ? .90 : .85) -
             (double)plan.fixed_bytes;
    *rows = usable > 0 ? (int64_t)(usable / row) : 0;
    return VINDEX_OK;
}
