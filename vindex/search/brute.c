/*
 * brute.c - plain arrays seen as parts, so that one read path serves both: rows in runs of at most
 * 1,024, ids are row numbers, all live, norms computed where a first pass needs them. A snapshot's
 * parts go through the same functions.
 */
#include "search/call.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <string.h>

size_t vindex__call_find(const struct call *call, uint64_t position)
{
    assert(position < call->n_positions);
    if (call->snapshot)
        return (size_t)(vindex__snapshot_find(call->snapshot, position) - call->snapshot->parts);
    return (size_t)(position / call->rows_per_part);
}

static void make_part(const struct call *call, size_t index, struct part_view *view)
{
    uint64_t base = index * call->rows_per_part;
    uint64_t left = call->n_positions - base;
    uint32_t n = (uint32_t)(left < call->rows_per_part ? left : call->rows_per_part);

    view->block =
        (struct block){(const char *)call->rows + base * call->stride, call->stride, n, 0};
    view->made = (struct part){.blocks = &view->block,
                               .n_blocks = 1,
                               .n = n,
                               .n_live = n,
                               .ids_ascend = true,
                               .base = base,
                               .min_id = (int64_t)base,
                               .max_id = (int64_t)(base + n - 1)};
    view->part = &view->made;
}

void vindex__call_part(const struct call *call, size_t index, struct part_view *view)
{
    assert(index < call->n_parts);
    if (call->snapshot)
        view->part = &call->snapshot->parts[index];
    else
        make_part(call, index, view);
}

struct part_mask vindex__call_mask(const struct call *call, size_t index, const struct part *part)
{
    if (call->masks) return call->masks[index];
    return (struct part_mask){part->live, part->n_live};
}

const void *vindex__call_row(const struct call *call, uint64_t position, int64_t *id)
{
    if (call->snapshot) {
        const struct part *part = &call->snapshot->parts[vindex__call_find(call, position)];
        *id = part_id(part, (uint32_t)(position - part->base));
        return part_row(part, (uint32_t)(position - part->base));
    }
    *id = (int64_t)position;
    return (const char *)call->rows + position * call->stride;
}

/*
 * |x|^2 is the squared distance to a query of zeros: as fast as scoring one more query. Its
 * relative error is the kernel's (plan.c allows for it) as long as nothing near underflow or
 * overflow takes part; such rows, and rows of zeros, are summed in double.
 */
void vindex__part_measure_norms(struct worker *worker, struct part_view *view)
{
    const struct call *call = worker->call;
    struct part *part = &view->made;
    float *norms = worker->norms;
    float lo = INFINITY, hi = 0;

    call->kern->l2sq[call->type](call->zeros, view->block.rows, call->stride, part->n, call->dim,
                                 norms);
    for (uint32_t i = 0; i < part->n; i++) {
        double sumsq = norms[i];
        if (!(sumsq > 1e-20 && sumsq < 1e37))
            sumsq = call->measure.sumsq(part_row(part, i), call->dim);
        double norm = fmin(sqrt(sumsq), FLT_MAX);
        norms[i] = norm > 0 && norm < FLT_TRUE_MIN ? FLT_TRUE_MIN : (float)norm;
        if (norms[i] > 0 && norms[i] < lo) lo = norms[i];
        /* Not a number counts as too large for any band. */
        if (!(norms[i] <= hi)) hi = norms[i] == norms[i] ? norms[i] : FLT_MAX;
    }
    part->norms = norms;
    part->norm_lo = lo < INFINITY ? lo : 0;
    part->norm_hi = hi;
}

vindex_status vindex__search_brute(struct search *search, uint32_t type, uint32_t metric,
                                   uint32_t dim, const void *rows, size_t stride, size_t n,
                                   const struct search_request *request, vindex_hit *hits,
                                   vindex_report *report)
{
    struct call call;
    size_t row_bytes = vkern_row_bytes((enum vkern_type)type, dim);
    size_t per_part = (256 << 10) / (row_bytes ? row_bytes : 1);

    vindex__call_init(&call, search, type, metric, dim, request, hits);
    call.rows = rows;
    call.stride = stride;
    /* Whole words of a mask; up to a storage block's worth of bytes. */
    call.rows_per_part = per_part < 64 ? 64 : per_part > 1024 ? 1024 : per_part / 64 * 64;
    call.n_positions = call.n_live = n;
    call.n_parts = (size_t)((n + call.rows_per_part - 1) / call.rows_per_part);
    return vindex__call_answer(&call, report);
}
