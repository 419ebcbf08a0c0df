/*
 * gather.c - values at selected positions, and its transpose: the derivatives of a selection.
 */
#include <string.h>

#include "base/mem.h"
#include "base/status.h"
#include "kernels/topk/topk.h"
#include "topk/axes.h"

vindex_status vindex__axes_make(const int64_t *shape, uint32_t rank, int32_t axis,
                                struct axes *axes)
{
    size_t all = 8;

    *axes = (struct axes){1, 0, 1};
    if (rank < 1 || rank > INT32_MAX || !shape)
        return vindex__fail(VINDEX_INVALID, "an array of %u dimensions has none to select along",
                            rank);
    if (axis < -(int32_t)rank || axis >= (int32_t)rank)
        return vindex__fail(VINDEX_INVALID, "dimension %d is outside [-%u, %u)", axis, rank, rank);
    if (axis < 0) axis += (int32_t)rank;
    for (uint32_t i = 0; i < rank; i++) {
        if (shape[i] < 0 || !vindex__mul(all, (size_t)(shape[i] ? shape[i] : 1), &all) ||
            all > SIZE_MAX / 2)
            return vindex__fail(VINDEX_INVALID,
                                "shape[%u] is %lld: negative, or the array too large", i,
                                (long long)shape[i]);
        if ((int32_t)i < axis) axes->outer *= (size_t)shape[i];
        if ((int32_t)i > axis) axes->inner *= (size_t)shape[i];
    }
    axes->len = (size_t)shape[axis];
    return VINDEX_OK;
}

static vindex_status check(vindex_topk_type type, const void *source, const int64_t *positions,
                           int64_t out_dim, const void *out)
{
    if (!vindex_topk_type_name(type) || out_dim < 0 || (out_dim > 0 && (!source || !positions)) ||
        !out)
        return vindex__fail(VINDEX_INVALID, "type %d, out_dim %lld, or an array that is NULL",
                            (int)type, (long long)out_dim);
    return VINDEX_OK;
}

/* Element (row, i, column) of [outer, len, inner]. */
static size_t at(size_t row, size_t i, size_t column, size_t len, size_t inner)
{
    return (row * len + i) * inner + column;
}

vindex_status vindex_topk_gather(vindex_topk_type type, const int64_t *shape, uint32_t rank,
                                 int32_t axis, const void *source, const int64_t *positions,
                                 int64_t out_dim, void *out)
{
    struct axes a;
    const size_t k = (size_t)out_dim;
    size_t size;
    vindex_status st = vindex__axes_make(shape, rank, axis, &a);

    if (st == VINDEX_OK) st = check(type, source, positions, out_dim, out);
    if (st != VINDEX_OK) return st;
    size = vkern_topk_size((enum vkern_topk_type)type);
    for (size_t row = 0; row < a.outer; row++)
        for (size_t j = 0; j < k; j++)
            for (size_t column = 0; column < a.inner; column++) {
                const size_t to = at(row, j, column, k, a.inner);
                const int64_t from = positions[to];
                unsigned char *slot = (unsigned char *)out + to * size;
                if (from < -1 || from >= (int64_t)a.len)
                    return vindex__fail(VINDEX_INVALID, "position %lld is outside [0, %zu)",
                                        (long long)from, a.len);
                if (from < 0)
                    memset(slot, 0, size);
                else
                    memcpy(slot,
                           (const unsigned char *)source +
                               at(row, (size_t)from, column, a.len, a.inner) * size,
                           size);
            }
    return VINDEX_OK;
}

vindex_status vindex_topk_scatter(vindex_topk_type type, const int64_t *shape, uint32_t rank,
                                  int32_t axis, const void *source, const int64_t *positions,
                                  int64_t out_dim, void *out)
{
    struct axes a;
    const size_t k = (size_t)out_dim;
    size_t size;
    vindex_status st = vindex__axes_make(shape, rank, axis, &a);

    if (st == VINDEX_OK) st = check(type, source, positions, out_dim, out);
    if (st != VINDEX_OK) return st;
    size = vkern_topk_size((enum vkern_topk_type)type);
    memset(out, 0, a.outer * a.len * a.inner * size);
    for (size_t row = 0; row < a.outer; row++)
        for (size_t j = 0; j < k; j++)
            for (size_t column = 0; column < a.inner; column++) {
                const size_t from = at(row, j, column, k, a.inner);
                const int64_t to = positions[from];
                if (to < -1 || to >= (int64_t)a.len)
                    return vindex__fail(VINDEX_INVALID, "position %lld is outside [0, %zu)",
                                        (long long)to, a.len);
                if (to >= 0)
                    memcpy((unsigned char *)out +
                               at(row, (size_t)to, column, a.len, a.inner) * size,
                           (const unsigned char *)source + from * size, size);
            }
    return VINDEX_OK;
}
