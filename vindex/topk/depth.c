/*
 * depth.c - block top-k by depth (the notebook fast_exact_topk_tpu): the best m entries of every lane, m
 * growing along a schedule, until they are proved to hold the k best.
 *
 * The proof at depth m: let p be the best among the lanes' m-th entries. Whatever is not among the first
 * m - 1 entries of its lane is not better than p. If k of the first m - 1 entries are better than p, the k
 * best are among them. "Better" is the total order (score, then position), so ties prove as well as
 * anything, and positions come out as from a stable sort.
 *
 * A deeper stage reads the row again and fills depths [done, next); the kernel passes over what is found.
 */
#include "topk/row.h"

/* A list entry in the total order. */
struct entry {
    int64_t key;
    uint64_t position;
    bool is_there;
};

static struct entry entry_at(const struct topk_context *c, const struct vkern_topk_lists *lists,
                             size_t depth, size_t lane)
{
    const size_t at = depth * lists->stride + lane;

    return (struct entry){vindex__topk_key_at(c, lists->keys, at),
                          (uint64_t)lists->tiles[at] * lists->lanes + lane,
                          lists->tiles[at] != UINT32_MAX};
}

static bool is_better(const struct entry *a, const struct entry *b)
{
    if (!a->is_there || !b->is_there) return a->is_there;
    return a->key != b->key ? a->key > b->key : a->position < b->position;
}

static bool is_proved(const struct topk_context *c, const struct vkern_topk_lists *lists, size_t k)
{
    struct entry pivot = {0, 0, false};
    size_t n_better = 0;

    for (size_t lane = 0; lane < lists->lanes; lane++) {
        const struct entry last = entry_at(c, lists, lists->depth - 1, lane);
        if (is_better(&last, &pivot)) pivot = last;
    }
    if (!pivot.is_there) return true; /* every lane has ended: all of the row is in */
    for (size_t d = 0; d + 1 < lists->depth; d++)
        for (size_t lane = 0; lane < lists->lanes; lane++) {
            const struct entry e = entry_at(c, lists, d, lane);
            n_better += is_better(&e, &pivot);
        }
    return n_better >= k;
}

/* The notebook's cutoffs: cutoff * 2^i, so that the last step has few shapes. */
static size_t round_up(size_t depth, size_t cutoff, size_t most)
{
    while (cutoff < depth)
        cutoff *= 2;
    return cutoff < most ? cutoff : most;
}

void vindex__topk_depth(struct topk_context *c, struct topk_span span, size_t k,
                        const struct topk_depth_plan *plan, uint32_t *stop_depth)
{
    /* No lane has more entries than it has lines, and none needs more than k. */
    const size_t n_lines = (span.n - 1) / plan->lanes + 1;
    const size_t whole = n_lines < k ? n_lines : k;
    struct vkern_topk_lists lists = vindex__topk_lists_open(c, plan->lanes, whole);

    *stop_depth = (uint32_t)whole;
    for (size_t i = 0; lists.depth < whole; i++) {
        const size_t next = i < plan->n_depths && plan->depths[i] < whole ? plan->depths[i] : whole;
        vindex__topk_lists_fill(c, span, &lists, next);
        if (next < whole && is_proved(c, &lists, k)) {
            *stop_depth = (uint32_t)next - 1;
            break;
        }
    }
    vindex__topk_lists_best(c, &lists, round_up(*stop_depth, plan->cutoff, lists.depth), false, k);
}
