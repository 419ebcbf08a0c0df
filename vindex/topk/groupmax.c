/*
 * groupmax.c - the exact default: maxima of small groups bound the k-th best from below.
 *
 *     tile = depth lines of 32 elements; a group = a column of a tile
 *
 *     1. every group's maximum (vertical: one instruction a vector of scores)
 *     2. t = the k-th largest maximum: k distinct elements are at least t, so the k-th best is too
 *     3. only groups that reach t are read again, for elements that reach t
 *     4. the k best of those, mostly little more than k
 *
 * As delegates in Dr. Top-k (Gaihre et al., arXiv 2109.08219). The order of the row does not matter;
 * ties beyond the buffer go through the filter's exact overflow path.
 */
#include <math.h>
#include <string.h>

#include "topk/row.h"

enum { STEP = 512 }; /* room the filter wants to find when the row's end is offered to it */

/*
 * A deep tile leaves fewer maxima to choose from, a flat one less to read again: n / depth maxima against
 * k tiles of `depth` lines balance near depth^2 = n / k, up to the cost of a maximum (measured).
 */
size_t vindex__topk_group_depth(size_t n, size_t k)
{
    size_t depth = 64;

    while (depth > 2 && depth * depth * k > n / 4)
        depth /= 2;
    return n / depth / VKERN_TOPK_LANES * VKERN_TOPK_LANES >= 2 * k ? depth : 0;
}

/* n / depth is below 4 sqrt(n k) where depth is free, n / 64 or 8 k at its ends; a row that is not grouped
 * has fewer than 4 k + 64 elements. */
size_t vindex__topk_groupmax_room(size_t n, size_t k)
{
    double room = 4 * sqrt((double)n * (double)k);

    if (room < (double)n / 64) room = (double)n / 64;
    if (room < 8 * (double)k + 64) room = 8 * (double)k + 64;
    return room < (double)n ? (size_t)room : n;
}

/* A bound that at least k of n maxima reach: their k-th, or that of groups of them, which is hardly less. */
static int64_t bound_of_groups(struct topk_context *c, size_t n, size_t k)
{
    const enum vkern_topk_type type = vindex__topk_key_type(c);
    const size_t depth = 8, n_tiles = n / (depth * VKERN_TOPK_LANES);
    size_t n_over = n_tiles * VKERN_TOPK_LANES, n_above;
    void *over = c->below;

    if (n_over >= 4 * k) {
        c->table->groups[type][0](c->groups, n_tiles, depth, over);
    } else {
        n_over = n;
        memcpy(over, c->groups, n * vindex__topk_key_bytes(c));
    }
    return vindex__topk_kth(c, over, n_over, k,
                            vindex__topk_keys_from(c, over, n_over + VINDEX__TOPK_SLACK), &n_above);
}

/* Groups that reach *bound, into c->numbers; where they are many more than k, *bound rises first. */
static size_t find_groups(struct topk_context *c, size_t n_groups, size_t k, int64_t *bound)
{
    vkern_topk_collect_fn *collect = c->table->collect[vindex__topk_key_type(c)][0];
    size_t n = collect(c->groups, n_groups, *bound, 0, c->below, c->numbers), n_above;

    if (n <= k + k / 4 + 8) return n;
    *bound = vindex__topk_kth(
        c, c->below, n, k, vindex__topk_keys_from(c, c->below, n + VINDEX__TOPK_SLACK), &n_above);
    return collect(c->groups, n_groups, *bound, 0, c->below, c->numbers);
}

/* Offer whole tiles of the n groups that reach the bound, each tile once. */
static void push_tiles(struct topk_filter *filter, size_t n, size_t tile)
{
    const uint32_t *numbers = filter->c->numbers;

    for (size_t i = 0; i < n;) {
        const uint32_t number = numbers[i] / VKERN_TOPK_LANES;
        vindex__topk_filter_push(filter, number * tile, tile);
        while (i < n && numbers[i] / VKERN_TOPK_LANES == number)
            i++;
    }
}

/* Elements of a group, a column of `depth` lines, one after the other. */
static void copy_column(size_t size, const unsigned char *x, size_t depth, unsigned char *to)
{
#define VINDEX_COPY_COLUMN(bytes)                                                                  \
    for (size_t line = 0; line < depth; line++)                                                    \
    memcpy(to + line * (bytes), x + line * VKERN_TOPK_LANES * (bytes), bytes)
    switch (size) {
    case 2: VINDEX_COPY_COLUMN(2); break;
    case 4: VINDEX_COPY_COLUMN(4); break;
    default: VINDEX_COPY_COLUMN(8); break;
    }
#undef VINDEX_COPY_COLUMN
}

/* Groups of a tile stand side by side: only there positions may be out of order, which is mostly a few. */
static void order_positions(struct topk_context *c)
{
    uint32_t *positions = c->found.positions;
    const size_t budget = 4 * c->found.n;
    size_t moves = 0;

    for (size_t i = 1; i < c->found.n && moves <= budget; i++) {
        const uint32_t position = positions[i];
        const int64_t key = vindex__topk_key_at(c, c->found.keys, i);
        size_t j = i;
        for (; j > 0 && positions[j - 1] > position; j--, moves++) {
            positions[j] = positions[j - 1];
            vindex__topk_store_key(c, c->found.keys, j,
                                   vindex__topk_key_at(c, c->found.keys, j - 1));
        }
        positions[j] = position;
        vindex__topk_store_key(c, c->found.keys, j, key);
    }
    if (moves > budget) vindex__topk_sort_by_position(c, &c->found);
}

/* What reaches the bound among the n groups that do, and nothing else is read again. */
static void take_groups(struct topk_filter *filter, size_t n, size_t depth)
{
    struct topk_context *c = filter->c;
    const size_t size = vkern_topk_size(c->type), tile = depth * VKERN_TOPK_LANES;
    unsigned char *columns = c->below;

    for (size_t i = 0; i < n; i++) {
        const uint32_t number = c->numbers[i] / VKERN_TOPK_LANES;
        const uint32_t column = c->numbers[i] % VKERN_TOPK_LANES;
        copy_column(size, vindex__topk_at(c, filter->span.x, number * tile + column), depth,
                    columns + i * depth * size);
    }
    c->found.n = c->table->collect[c->type][c->is_min](columns, n * depth, filter->least, 0,
                                                       c->found.keys, c->found.positions);
    for (size_t i = 0; i < c->found.n; i++) {
        const uint32_t at = c->found.positions[i], group = c->numbers[at / depth];
        c->found.positions[i] =
            (uint32_t)(group / VKERN_TOPK_LANES * tile + at % depth * VKERN_TOPK_LANES +
                       group % VKERN_TOPK_LANES);
    }
    order_positions(c);
}

void vindex__topk_groupmax(struct topk_context *c, struct topk_span span, size_t k)
{
    const size_t depth = vindex__topk_group_depth(span.n, k), tile = depth * VKERN_TOPK_LANES;
    struct topk_filter filter;
    size_t n_tiles, n;
    int64_t bound;

    if (depth == 0) {
        vindex__topk_qselect(c, span, k);
        return;
    }
    n_tiles = span.n / tile;
    c->table->groups[c->type][c->is_min](span.x, n_tiles, depth, c->groups);
    bound = bound_of_groups(c, n_tiles * VKERN_TOPK_LANES, k);
    n = find_groups(c, n_tiles * VKERN_TOPK_LANES, k, &bound);
    vindex__topk_filter_open(&filter, c, span, k, bound);
    if (n * depth <= c->found.capacity - STEP &&
        n * depth * vkern_topk_size(c->type) <= 2 * c->n_groups * vindex__topk_key_bytes(c))
        take_groups(&filter, n, depth);
    else
        push_tiles(&filter, n, tile);
    vindex__topk_filter_push(&filter, n_tiles * tile, span.n - n_tiles * tile);
    if (!vindex__topk_filter_close(&filter)) vindex__topk_by_keys(c, span, k); /* the rest is NaN */
}
