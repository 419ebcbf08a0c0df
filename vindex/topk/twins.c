/*
 * twins.c - jax.lax.approx_max_k and approx_min_k, cuVS's select_k: their arguments, our engine.
 *
 * A reduction along a dimension that is not the last reads columns: sixteen at a time are copied into
 * rows (a cache line of f32 from each line of the array), selected, and copied back.
 */
#include <string.h>

#include "base/mem.h"
#include "base/status.h"
#include "topk/axes.h"
#include "topk/plan.h"

_Static_assert(sizeof(vindex_approx_args) == 48, "no hidden padding; grows only at the end");

enum { COLUMNS = 16 };

/* ---- approx_max_k, approx_min_k ---------------------------------------------------------------- */

struct approx {
    struct axes axes;
    vindex_topk_options options;
    vindex_topk_plan plan;
    size_t out_dim;
    /* bytes of the parts of the workspace; the last three only where columns are copied */
    size_t select_bytes, rows_bytes, values_bytes, ids_bytes;
};

static vindex_status check_args(const vindex_approx_args *args, struct axes *axes)
{
    vindex_status st = vindex__topk_check_size("vindex_approx_args", args, sizeof *args);

    if (st == VINDEX_OK)
        st = vindex__axes_make(args->shape, args->rank, args->reduction_dimension, axes);
    if (st != VINDEX_OK) return st;
    if (args->type > VINDEX_TOPK_F64)
        return vindex__fail(VINDEX_INVALID, "type %u is not a float type", args->type);
    if (args->k < 1 || (uint64_t)args->k > axes->len)
        return vindex__fail(VINDEX_INVALID, "k is %lld, outside [1, %zu], the reduced dimension",
                            (long long)args->k, axes->len);
    return VINDEX_OK;
}

/* The partial result is XLA's: one entry for each of as many strided bins as its formula gives. */
static vindex_status plan_partial(const vindex_approx_args *args, struct approx *a)
{
    int64_t size;
    vindex_status st =
        vindex_topk_xla_size((int64_t)a->axes.len, args->rank, args->k, a->options.recall, 0,
                             args->reduction_input_size_override, &size, NULL);

    a->options.flags |= VINDEX_TOPK_PARTIAL;
    a->options.algo = VINDEX_TOPK_BINNED;
    a->options.bins = size, a->options.per_bin = 1;
    return st;
}

static vindex_status plan_approx(const vindex_approx_args *args, uint32_t flags, struct approx *a)
{
    const vindex_topk_options init = VINDEX_TOPK_OPTIONS_INIT;
    const vindex_topk_plan plan = VINDEX_TOPK_PLAN_INIT;
    size_t value;
    vindex_status st = check_args(args, &a->axes);

    if (st != VINDEX_OK) return st;
    a->options = init, a->plan = plan;
    a->options.flags = flags, a->options.type = args->type;
    a->options.recall = args->recall_target == 0 ? .95f : args->recall_target;
    a->options.len = (int64_t)a->axes.len, a->options.k = args->k;
    a->options.input_size_override = args->reduction_input_size_override;
    a->options.rows = a->axes.inner == 1 ? (int64_t)a->axes.outer : COLUMNS;
    if (!args->aggregate_to_topk && (st = plan_partial(args, a)) != VINDEX_OK) return st;
    if ((st = vindex_topk_make_plan(&a->options, &a->plan)) != VINDEX_OK) return st;

    value = vkern_topk_size((enum vkern_topk_type)args->type);
    a->out_dim = (size_t)a->plan.out_len;
    a->select_bytes = (size_t)(a->plan.workspace_bytes + 63) / 64 * 64;
    a->rows_bytes = a->values_bytes = a->ids_bytes = 0;
    if (a->axes.inner > 1) {
        a->rows_bytes = (COLUMNS * a->axes.len * value + 63) / 64 * 64;
        a->values_bytes = (COLUMNS * a->out_dim * value + 63) / 64 * 64;
        a->ids_bytes = COLUMNS * a->out_dim * 8;
    }
    return VINDEX_OK;
}

static uint64_t workspace_of(const struct approx *a)
{
    return 64 + (uint64_t)a->select_bytes + a->rows_bytes + a->values_bytes + a->ids_bytes;
}

vindex_status vindex_approx_plan(const vindex_approx_args *args, int64_t *out_dim,
                                 uint64_t *workspace_bytes)
{
    struct approx a;
    vindex_status st = plan_approx(args, 0, &a);

    if (st != VINDEX_OK) return st;
    if (out_dim) *out_dim = (int64_t)a.out_dim;
    if (workspace_bytes) *workspace_bytes = workspace_of(&a);
    return VINDEX_OK;
}

/* `n` columns of a [lines, inner] array to rows, or back. */
static void columns_to_rows(const unsigned char *from, size_t lines, size_t inner, size_t n,
                            size_t size, unsigned char *rows)
{
    for (size_t line = 0; line < lines; line++)
        for (size_t c = 0; c < n; c++)
            memcpy(rows + (c * lines + line) * size, from + (line * inner + c) * size, size);
}

static void rows_to_columns(const unsigned char *rows, size_t lines, size_t inner, size_t n,
                            size_t size, unsigned char *to)
{
    for (size_t line = 0; line < lines; line++)
        for (size_t c = 0; c < n; c++)
            memcpy(to + (line * inner + c) * size, rows + (c * lines + line) * size, size);
}

static vindex_status select_columns(struct approx *a, const unsigned char *operand,
                                    unsigned char *values, int64_t *positions,
                                    unsigned char *memory)
{
    const size_t size = vkern_topk_size((enum vkern_topk_type)a->options.type);
    const size_t inner = a->axes.inner, len = a->axes.len, k = a->out_dim;
    unsigned char *rows = memory + a->select_bytes, *best = rows + a->rows_bytes;
    int64_t *ids = (int64_t *)(void *)(best + a->values_bytes);
    vindex_topk_output out = VINDEX_TOPK_OUTPUT_INIT;

    out.values = best, out.ids = ids;
    for (size_t outer = 0; outer < a->axes.outer; outer++)
        for (size_t column = 0; column < inner; column += COLUMNS) {
            const size_t n = inner - column < COLUMNS ? inner - column : COLUMNS;
            vindex_status st;
            columns_to_rows(operand + (outer * len * inner + column) * size, len, inner, n, size,
                            rows);
            a->options.rows = (int64_t)n;
            st = vindex_topk(&a->options, rows, NULL, NULL, &out, memory, a->select_bytes);
            if (st != VINDEX_OK) return st;
            if (values)
                rows_to_columns(best, k, inner, n, size,
                                values + (outer * k * inner + column) * size);
            if (positions)
                rows_to_columns((const unsigned char *)ids, k, inner, n, 8,
                                (unsigned char *)(positions + outer * k * inner + column));
        }
    return VINDEX_OK;
}

static vindex_status approx_k(const vindex_approx_args *args, uint32_t flags, const void *operand,
                              void *values, int64_t *positions, void *workspace,
                              uint64_t workspace_bytes)
{
    struct approx a;
    vindex_topk_output out = VINDEX_TOPK_OUTPUT_INIT;
    vindex_status st = plan_approx(args, flags, &a);

    if (st != VINDEX_OK) return st;
    if (!workspace || workspace_bytes < workspace_of(&a))
        return vindex__fail(VINDEX_INVALID, "a workspace of %llu bytes, %llu are needed",
                            (unsigned long long)workspace_bytes,
                            (unsigned long long)workspace_of(&a));
    if (a.axes.inner == 0 || a.axes.outer == 0) return VINDEX_OK;
    if (!operand) return vindex__fail(VINDEX_INVALID, "the operand is NULL");
    workspace = (void *)(((uintptr_t)workspace + 63) / 64 * 64);
    if (a.axes.inner > 1) return select_columns(&a, operand, values, positions, workspace);
    out.values = values, out.ids = positions;
    return vindex_topk(&a.options, operand, NULL, NULL, &out, workspace, a.select_bytes);
}

vindex_status vindex_approx_max_k(const vindex_approx_args *args, const void *operand, void *values,
                                  int64_t *positions, void *workspace, uint64_t workspace_bytes)
{
    return approx_k(args, 0, operand, values, positions, workspace, workspace_bytes);
}

vindex_status vindex_approx_min_k(const vindex_approx_args *args, const void *operand, void *values,
                                  int64_t *positions, void *workspace, uint64_t workspace_bytes)
{
    return approx_k(args, VINDEX_TOPK_MIN, operand, values, positions, workspace, workspace_bytes);
}

/* ---- select_k ---------------------------------------------------------------------------------- */

static vindex_topk_options select_k_options(vindex_topk_type type, int64_t batch_size, int64_t len,
                                            int64_t k, int select_min, int sorted,
                                            vindex_topk_algo algo)
{
    vindex_topk_options o = VINDEX_TOPK_OPTIONS_INIT;

    o.flags = (select_min ? VINDEX_TOPK_MIN : 0) | (sorted ? 0 : VINDEX_TOPK_UNSORTED);
    o.type = type, o.algo = algo;
    o.nan = select_min ? VINDEX_TOPK_NAN_WORST : VINDEX_TOPK_NAN_BEST;
    o.rows = batch_size, o.len = len, o.k = k;
    return o;
}

vindex_status vindex_select_k(vindex_topk_type type, int64_t batch_size, int64_t len, int64_t k,
                              const void *in_val, const int64_t *in_idx, void *out_val,
                              int64_t *out_idx, int select_min, int sorted, vindex_topk_algo algo,
                              const int64_t *len_i, void *workspace, uint64_t workspace_bytes)
{
    const vindex_topk_options o =
        select_k_options(type, batch_size, len, k, select_min, sorted, algo);
    vindex_topk_output out = VINDEX_TOPK_OUTPUT_INIT;

    out.values = out_val, out.ids = out_idx;
    return vindex_topk(&o, in_val, in_idx, len_i, &out, workspace, workspace_bytes);
}

vindex_status vindex_select_k_workspace(vindex_topk_type type, int64_t batch_size, int64_t len,
                                        int64_t k, int select_min, int sorted,
                                        vindex_topk_algo algo, uint64_t *workspace_bytes)
{
    const vindex_topk_options o =
        select_k_options(type, batch_size, len, k, select_min, sorted, algo);
    vindex_topk_plan plan = VINDEX_TOPK_PLAN_INIT;
    vindex_status st = vindex_topk_make_plan(&o, &plan);

    if (!workspace_bytes) return vindex__fail(VINDEX_INVALID, "workspace_bytes is NULL");
    if (st == VINDEX_OK) *workspace_bytes = plan.workspace_bytes;
    return st;
}
