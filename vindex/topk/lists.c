/*
 * lists.c - the best entries of every lane of a row: element i is in lane i mod lanes, in line (tile)
 * i / lanes. Filled by sinking insertion over the row's keys.
 */
#include <assert.h>
#include <string.h>

#include "topk/row.h"

struct vkern_topk_lists vindex__topk_lists_open(struct topk_context *c, size_t lanes, size_t depth)
{
    const size_t stride = (lanes + 15) / 16 * 16;
    const struct vkern_topk_lists lists = {c->groups, c->numbers, lanes, stride, 0, 0};

    assert(stride * depth <= c->n_groups);
    memset(c->numbers, 0xff, stride * depth * sizeof *c->numbers);
    memset(c->groups, 0, stride * depth * vindex__topk_key_bytes(c));
    return lists;
}

void vindex__topk_lists_fill(const struct topk_context *c, struct topk_span span,
                             struct vkern_topk_lists *lists, size_t depth)
{
    const size_t lanes = lists->lanes;
    const size_t at_once = lanes < VINDEX__TOPK_CHUNK ? VINDEX__TOPK_CHUNK / lanes * lanes : lanes;

    lists->done = lists->depth;
    lists->depth = depth;
    for (size_t from = 0; from < span.n; from += at_once) {
        const size_t n = span.n - from < at_once ? span.n - from : at_once;
        const uint32_t tile = (uint32_t)(from / lanes);
        c->table->keys[c->type][c->is_min](vindex__topk_at(c, span.x, from), n, c->nan_is_best,
                                           c->chunk);
        c->table->sink[c->is_wide](lists, c->chunk, n / lanes, tile);
        if (n % lanes) { /* the row ends within a line */
            struct vkern_topk_lists part = *lists;
            part.lanes = n % lanes;
            c->table->sink[c->is_wide](&part,
                                       vindex__topk_keys_from(c, c->chunk, n / lanes * lanes), 1,
                                       tile + (uint32_t)(n / lanes));
        }
    }
}

/* Entries of the first `depth` lists whose key is at least `least`, into c->found. */
static void take(struct topk_context *c, const struct vkern_topk_lists *lists, size_t depth,
                 bool tiles_are_positions, int64_t least)
{
    const size_t lanes = tiles_are_positions ? 1 : lists->lanes;

    c->found.n = 0;
    for (size_t d = 0; d < depth; d++)
        for (size_t lane = 0; lane < lists->lanes; lane++) {
            const size_t at = d * lists->stride + lane;
            const int64_t key = vindex__topk_key_at(c, lists->keys, at);
            if (lists->tiles[at] == UINT32_MAX || key < least) continue;
            vindex__topk_store_key(c, c->found.keys, c->found.n, key);
            c->found.positions[c->found.n++] =
                (uint32_t)(lists->tiles[at] * lanes + (tiles_are_positions ? 0 : lane));
        }
}

void vindex__topk_lists_best(struct topk_context *c, const struct vkern_topk_lists *lists,
                             size_t depth, bool tiles_are_positions, size_t k)
{
    struct topk_found *found = &c->found;
    const int64_t none = c->is_wide ? INT64_MIN : INT32_MIN;

    take(c, lists, depth, tiles_are_positions, none);
    if (found->n >
        k) { /* sort only what reaches the k-th key: by position, so that trimming is stable */
        void *copy = c->spare;
        void *below = vindex__topk_keys_from(c, copy, found->n + VINDEX__TOPK_SLACK);
        size_t n_above;
        memcpy(copy, found->keys, found->n * vindex__topk_key_bytes(c));
        take(c, lists, depth, tiles_are_positions,
             vindex__topk_kth(c, copy, found->n, k, below, &n_above));
    }
    vindex__topk_sort_by_position(c, found);
    if (found->n > k) vindex__topk_trim(c, found, k);
}
