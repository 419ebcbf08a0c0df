/*
 * select.c - vindex_topk: rows to workers, each row to its algorithm, candidates to the outputs.
 */
#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"
#include "base/status.h"
#include "base/threads.h"
#include "topk/plan.h"

/* ---- threads ----------------------------------------------------------------------------------- */

/* A vindex_topk_pool is the library's pool by a public name. */
struct pool *vindex__topk_pool_of(vindex_topk_pool *pool)
{
    return (struct pool *)(void *)pool;
}

vindex_status vindex_topk_pool_open(uint32_t n_threads, vindex_topk_pool **pool)
{
    struct pool *made = NULL;
    vindex_status st;

    if (!pool) return vindex__fail(VINDEX_INVALID, "pool is NULL");
    *pool = NULL;
    if (n_threads < 1)
        return vindex__fail(VINDEX_INVALID, "a pool of 0 threads: the caller is one");
    st = vindex__pool_open(n_threads, &made);
    *pool = (vindex_topk_pool *)(void *)made;
    return st;
}

void vindex_topk_pool_close(vindex_topk_pool *pool)
{
    if (pool) vindex__pool_close(vindex__topk_pool_of(pool));
}

/* ---- one span ---------------------------------------------------------------------------------- */

/* What a row was answered with, besides the candidates. */
struct answer {
    uint32_t stop_depth;
    bool is_proven;
};

/* These place NaN among the keys by themselves. */
static bool is_keyed(uint32_t algo)
{
    return algo == VINDEX_TOPK_DEPTH || algo == VINDEX_TOPK_BINNED || algo == VINDEX_TOPK_SORT;
}

static void select_span(struct topk_context *c, const struct topk_job *job, struct topk_span span,
                        size_t k, struct answer *answer)
{
    const vindex_topk_plan *p = &job->plan;
    const struct topk_depth_plan depth = {p->lanes, job->options.cutoff, p->n_depths, p->depths};
    const struct topk_bins bins = {(size_t)p->bins, p->per_bin,
                                   (job->options.flags & VINDEX_TOPK_CONTIGUOUS) != 0};

    *answer = (struct answer){0, true};
    c->found.n = 0;
    c->found.is_sorted = false;
    if (k == 0) return;
    if (c->nan_is_best && !is_keyed(p->algo) && c->table->any_nan[c->type](span.x, span.n)) {
        vindex__topk_by_keys(c, span, k);
        return;
    }
    switch (p->algo) {
    case VINDEX_TOPK_ARGMAX: vindex__topk_argmax(c, span); break;
    case VINDEX_TOPK_THRESHOLD: vindex__topk_threshold(c, span, k); break;
    case VINDEX_TOPK_QSELECT: vindex__topk_qselect(c, span, k); break;
    case VINDEX_TOPK_RADIX: vindex__topk_radix(c, span, k); break;
    case VINDEX_TOPK_DEPTH: vindex__topk_depth(c, span, k, &depth, &answer->stop_depth); break;
    case VINDEX_TOPK_BINNED: vindex__topk_binned(c, span, k, &bins, &answer->is_proven); break;
    case VINDEX_TOPK_SORT: vindex__topk_sort_all(c, span, k); break;
    default: vindex__topk_groupmax(c, span, k); break;
    }
}

/* ---- a call ------------------------------------------------------------------------------------ */

struct call {
    const struct topk_job *job;
    const unsigned char *scores;
    const int64_t *ids, *row_len;
    const vindex_topk_output *output;
    struct topk_context *contexts; /* of the workers */
    _Atomic bool has_nan;          /* under VINDEX_TOPK_NAN_ERROR */
};

static size_t value_bytes(const struct call *call)
{
    return vkern_topk_size((enum vkern_topk_type)call->job->options.type);
}

static struct topk_span row_at(const struct call *call, int64_t row)
{
    const vindex_topk_options *o = &call->job->options;
    const size_t n = (size_t)(call->row_len ? call->row_len[row] : o->len);

    return (struct topk_span){call->scores + (size_t)row * (size_t)o->in_stride * value_bytes(call),
                              n};
}

/* f32 from keys, nearer at hand than the row. false where one key has several values: 0's or a NaN's. */
static bool write_keyed(bool is_min, const int32_t *keys, size_t n, unsigned char *to)
{
    const uint32_t turn = is_min ? UINT32_MAX : 0, infinity = 0x7f800000;
    uint32_t is_ambiguous = 0;

    for (size_t i = 0; i < n; i++) {
        const uint32_t sign = (uint32_t)(keys[i] >> 31);
        const uint32_t magnitude = ((uint32_t)keys[i] ^ sign) - sign;
        const uint32_t bits = magnitude | ((sign ^ turn) & 0x80000000);
        is_ambiguous |= magnitude - 1 >= infinity;
        memcpy(to + 4 * i, &bits, 4);
    }
    return !is_ambiguous;
}

/* Elements at positions of a row, to slots [0, n) of its output. */
static void write_values(const struct call *call, int64_t row, const struct topk_context *c,
                         const int64_t *positions)
{
    const uint32_t *found = c->found.positions;
    const size_t n = c->found.n;
    const size_t size = value_bytes(call);
    const unsigned char *x = row_at(call, row).x;
    unsigned char *to = call->output->values;

#define VINDEX_COPY(bytes)                                                                         \
    for (size_t i = 0; i < n; i++)                                                                 \
    memcpy(to + i * (bytes), x + (positions ? (size_t)positions[found[i]] : found[i]) * (bytes),   \
           bytes)
    if (!to) return;
    to += (size_t)row * (size_t)call->job->options.out_stride * size;
    if (c->type == VKERN_TOPK_F32 && write_keyed(c->is_min, c->found.keys, n, to)) return;
    switch (size) {
    case 2: VINDEX_COPY(2); break;
    case 4: VINDEX_COPY(4); break;
    default: VINDEX_COPY(8); break;
    }
#undef VINDEX_COPY
}

static void write_ids(const struct call *call, int64_t row, const uint32_t *found, size_t n,
                      const int64_t *positions)
{
    const vindex_topk_options *o = &call->job->options;
    const int64_t *ids = call->ids ? call->ids + (size_t)row * (size_t)o->id_stride : NULL;
    int64_t *to = call->output->ids;

    if (!to) return;
    to += (size_t)row * (size_t)o->out_stride;
    for (size_t i = 0; i < n; i++) {
        const int64_t position = positions ? positions[found[i]] : (int64_t)found[i];
        to[i] = ids ? ids[position] : position;
    }
}

/* No element for slots [from, to) of a row. */
static void write_empty(const struct call *call, int64_t row, size_t from, size_t to)
{
    const vindex_topk_options *o = &call->job->options;
    const enum vkern_topk_type type = (enum vkern_topk_type)o->type;
    const size_t size = value_bytes(call), start = (size_t)row * (size_t)o->out_stride;
    const uint64_t worst =
        vkern_topk_bits(type, (o->flags & VINDEX_TOPK_MIN) != 0, vkern_topk_worst(type));

    for (size_t i = from; i < to; i++) {
        if (call->output->values)
            memcpy((unsigned char *)call->output->values + (start + i) * size, &worst, size);
        if (call->output->ids) call->output->ids[start + i] = -1;
    }
}

static void write_answer(const struct call *call, int64_t row, size_t count,
                         const struct answer *answer)
{
    const vindex_topk_output *out = call->output;

    if (out->counts) out->counts[row] = (int64_t)count;
    if (out->stop_depths) out->stop_depths[row] = answer->stop_depth;
    if (out->is_proven) out->is_proven[row] = answer->is_proven;
}

/* The candidates in c->found, ascending by position; positions[i] where they are not the row's. */
static void write_row(const struct call *call, int64_t row, struct topk_context *c,
                      const int64_t *positions, const struct answer *answer)
{
    const struct topk_job *job = call->job;

    vindex__topk_finish(c, &c->found, job->k,
                        !(job->options.flags & (VINDEX_TOPK_UNSORTED | VINDEX_TOPK_PARTIAL)));
    write_values(call, row, c, positions);
    write_ids(call, row, c->found.positions, c->found.n, positions);
    write_empty(call, row, c->found.n, (size_t)job->plan.out_len);
    write_answer(call, row, c->found.n, answer);
}

static void write_partial(const struct call *call, int64_t row, struct topk_context *c,
                          struct topk_span span)
{
    const vindex_topk_plan *p = &call->job->plan;
    const struct topk_bins bins = {(size_t)p->bins, p->per_bin,
                                   (call->job->options.flags & VINDEX_TOPK_CONTIGUOUS) != 0};
    struct answer answer = {0, span.n <= bins.bins * bins.per_bin};
    bool *is_empty = c->spare;
    size_t count = 0;

    if (span.n == 0 || call->job->k == 0)
        c->found.n = 0;
    else
        vindex__topk_bins_keep(c, span, &bins);
    for (size_t i = 0; i < c->found.n; i++) { /* an empty slot is not read as a position */
        is_empty[i] = c->found.positions[i] == UINT32_MAX;
        count += !is_empty[i];
        if (is_empty[i]) c->found.positions[i] = 0;
    }
    write_values(call, row, c, NULL);
    write_ids(call, row, c->found.positions, c->found.n, NULL);
    write_empty(call, row, c->found.n, (size_t)p->out_len);
    for (size_t i = 0; i < c->found.n; i++)
        if (is_empty[i]) write_empty(call, row, i, i + 1);
    write_answer(call, row, count, &answer);
}

static bool is_refused(struct call *call, const struct topk_context *c, struct topk_span span)
{
    if (call->job->options.nan != VINDEX_TOPK_NAN_ERROR) return false;
    if (!c->table->any_nan[c->type](span.x, span.n)) return false;
    call->has_nan = true;
    return true;
}

static void do_row(void *context, size_t row, uint32_t worker)
{
    struct call *call = context;
    struct topk_context *c = &call->contexts[worker];
    const struct topk_span span = row_at(call, (int64_t)row);
    const size_t k = call->job->k < span.n ? call->job->k : span.n;
    struct answer answer;

    if (is_refused(call, c, span)) return;
    if (call->job->plan.algo == VINDEX_TOPK_BINNED &&
        call->job->options.flags & VINDEX_TOPK_PARTIAL) {
        write_partial(call, (int64_t)row, c, span);
        return;
    }
    select_span(c, call->job, span, k, &answer);
    write_row(call, (int64_t)row, c, NULL, &answer);
}

/* ---- rows in spans ----------------------------------------------------------------------------- */

struct cut_row {
    struct call *call;
    struct topk_span row;
    unsigned char *keys; /* of each span's candidates, [n_spans][k] */
    int64_t *positions;  /* in the row, [n_spans][k] */
    size_t *counts;      /* [n_spans] */
};

static void do_span(void *context, size_t number, uint32_t worker)
{
    struct cut_row *cut = context;
    const struct topk_job *job = cut->call->job;
    struct topk_context *c = &cut->call->contexts[worker];
    const size_t from = number * job->span_len, key = vindex__topk_key_bytes(c);
    struct topk_span span = {NULL, 0};
    struct answer answer;

    if (from < cut->row.n) {
        span.x = vindex__topk_at(c, cut->row.x, from);
        span.n = cut->row.n - from < job->span_len ? cut->row.n - from : job->span_len;
    }
    cut->counts[number] = 0;
    if (is_refused(cut->call, c, span)) return;
    select_span(c, job, span, job->k < span.n ? job->k : span.n, &answer);
    vindex__topk_finish(c, &c->found, job->k, false);
    memcpy(cut->keys + number * job->k * key, c->found.keys, c->found.n * key);
    for (size_t i = 0; i < c->found.n; i++)
        cut->positions[number * job->k + i] = (int64_t)from + c->found.positions[i];
    cut->counts[number] = c->found.n;
}

/* Candidates of all spans in order of position, which are slots of cut->positions here. */
static void merge_spans(const struct cut_row *cut, struct topk_context *c)
{
    const struct topk_job *job = cut->call->job;
    const size_t key = vindex__topk_key_bytes(c);

    c->found.n = 0;
    for (size_t span = 0; span < job->n_spans; span++) {
        memcpy(vindex__topk_keys_from(c, c->found.keys, c->found.n),
               cut->keys + span * job->k * key, cut->counts[span] * key);
        for (size_t i = 0; i < cut->counts[span]; i++)
            c->found.positions[c->found.n++] = (uint32_t)(span * job->k + i);
    }
}

static void do_cut_rows(struct call *call, struct pool *pool, unsigned char *memory)
{
    const struct topk_job *job = call->job;
    const struct topk_job merge = {
        .options = job->options, .table = job->table, .capacity = job->n_spans * job->k + 512};
    const struct answer answer = {0, true};
    struct topk_context c;
    struct cut_row cut = {call, {NULL, 0}, NULL, NULL, NULL};

    memory += vindex__topk_context_open(&c, &merge, memory);
    cut.positions = (int64_t *)(void *)memory;
    cut.counts = (size_t *)(void *)(cut.positions + job->n_spans * job->k);
    cut.keys = (unsigned char *)(cut.counts + job->n_spans);
    for (int64_t row = 0; row < job->options.rows; row++) {
        cut.row = row_at(call, row);
        vindex__pool_run(pool, do_span, &cut, job->n_spans);
        merge_spans(&cut, &c);
        write_row(call, row, &c, cut.positions, &answer);
    }
}

/* ---- the public call --------------------------------------------------------------------------- */

static bool overlap(const void *a, size_t a_bytes, const void *b, size_t b_bytes)
{
    const uintptr_t from = (uintptr_t)a, other = (uintptr_t)b;

    if (!a || !b || !a_bytes || !b_bytes) return false;
    return from < other + b_bytes && other < from + a_bytes;
}

/* Bytes from the first to the last element of a matrix. */
static size_t extent(int64_t rows, int64_t stride, int64_t row, size_t size)
{
    return rows > 0 && row > 0 ? (size_t)((rows - 1) * stride + row) * size : 0;
}

static vindex_status check_overlap(const struct call *call, const void *workspace)
{
    const vindex_topk_options *o = &call->job->options;
    const vindex_topk_output *out = call->output;
    const size_t size = value_bytes(call), rows = (size_t)o->rows;
    const int64_t out_len = call->job->plan.out_len;
    const struct {
        const void *at;
        size_t bytes;
    } in[] = {{call->scores, extent(o->rows, o->in_stride, o->len, size)},
              {call->ids, extent(o->rows, o->id_stride, o->len, 8)},
              {call->row_len, rows * 8}},
      written[] = {{out->values, extent(o->rows, o->out_stride, out_len, size)},
                   {out->ids, extent(o->rows, o->out_stride, out_len, 8)},
                   {out->counts, rows * 8},
                   {out->stop_depths, rows * 4},
                   {out->is_proven, rows},
                   {workspace, (size_t)call->job->plan.workspace_bytes}};

    for (size_t w = 0; w < sizeof written / sizeof *written; w++) {
        for (size_t i = 0; i < sizeof in / sizeof *in; i++)
            if (overlap(written[w].at, written[w].bytes, in[i].at, in[i].bytes))
                return vindex__fail(VINDEX_INVALID, "an output or the workspace overlaps an input");
        for (size_t i = 0; i < w; i++)
            if (overlap(written[w].at, written[w].bytes, written[i].at, written[i].bytes))
                return vindex__fail(VINDEX_INVALID,
                                    "two outputs, or one and the workspace, overlap");
    }
    return VINDEX_OK;
}

static vindex_status check_call(const struct call *call, const void *workspace,
                                uint64_t workspace_bytes)
{
    const vindex_topk_options *o = &call->job->options;

    if (o->rows > 0 && o->len > 0 && !call->scores)
        return vindex__fail(VINDEX_INVALID, "scores are NULL");
    if (workspace_bytes < call->job->plan.workspace_bytes || !workspace)
        return vindex__fail(VINDEX_INVALID, "a workspace of %llu bytes, %llu are needed",
                            (unsigned long long)workspace_bytes,
                            (unsigned long long)call->job->plan.workspace_bytes);
    for (int64_t row = 0; call->row_len && row < o->rows; row++)
        if (call->row_len[row] < 0 || call->row_len[row] > o->len)
            return vindex__fail(VINDEX_INVALID, "row_len[%lld] is %lld, outside [0, %lld]",
                                (long long)row, (long long)call->row_len[row], (long long)o->len);
    return check_overlap(call, workspace);
}

vindex_status vindex__topk_run(const vkern_topk_table *table, const vindex_topk_options *options,
                               const void *scores, const int64_t *ids, const int64_t *row_len,
                               const vindex_topk_output *output, void *workspace,
                               uint64_t workspace_bytes)
{
    struct topk_job job;
    struct call call = {&job, scores, ids, row_len, output, NULL, false};
    unsigned char *memory;
    vindex_status st = vindex__topk_check_size("vindex_topk_output", output, sizeof *output);

    if (st == VINDEX_OK) st = vindex__topk_job_make(&job, table, options, false);
    if (st == VINDEX_OK) st = check_call(&call, workspace, workspace_bytes);
    if (st != VINDEX_OK) return st;

    memory = (unsigned char *)(((uintptr_t)workspace + 63) / 64 * 64);
    call.contexts = (struct topk_context *)(void *)memory;
    memory += ((size_t)job.n_workers * sizeof *call.contexts + 63) / 64 * 64;
    for (uint32_t i = 0; i < job.n_workers; i++)
        memory += vindex__topk_context_open(&call.contexts[i], &job, memory);
    if (job.n_spans > 1)
        do_cut_rows(&call, vindex__topk_pool_of(options->pool), memory);
    else
        vindex__pool_run(vindex__topk_pool_of(options->pool), do_row, &call, (size_t)options->rows);
    if (call.has_nan)
        return vindex__fail(VINDEX_INVALID, "a row has NaN, and nan is VINDEX_TOPK_NAN_ERROR");
    return VINDEX_OK;
}

vindex_status vindex_topk(const vindex_topk_options *options, const void *scores,
                          const int64_t *ids, const int64_t *row_len,
                          const vindex_topk_output *output, void *workspace,
                          uint64_t workspace_bytes)
{
    return vindex__topk_run(vkern_topk_get(), options, scores, ids, row_len, output, workspace,
                            workspace_bytes);
}
