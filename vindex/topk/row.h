/*
 * row.h - one row (or a span of one) and the candidates found in it: what every algorithm takes and
 * gives. Private to topk/.
 *
 * An algorithm leaves the k best (all, where the span is shorter) in a `struct topk_found`, ascending by
 * position, maybe with others; select.c drops those, orders and writes what is left. Positions count from the span's start; a
 * span has at most VINDEX__TOPK_SPAN_MAX elements, so they fit 32 bits.
 */
#ifndef VINDEX_TOPK_ROW_H
#define VINDEX_TOPK_ROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/topk/topk.h"
#include "vindex_topk.h"

#define VINDEX__TOPK_SPAN_MAX ((size_t)1 << 31)
enum { VINDEX__TOPK_SLACK = 64 }; /* entries that vector stores may spill over */

/** Candidates: keys (int32, or int64 for 64-bit types) and positions, room for `capacity` and slack. */
struct topk_found {
    void *keys;
    uint32_t *positions;
    size_t n, capacity;
    bool is_sorted; /* best first instead, and nothing else is in it */
};

/** What rows share: how they are compared, and the memory of one worker. */
struct topk_context {
    const vkern_topk_table *table;
    enum vkern_topk_type type;
    bool is_min, nan_is_best;
    bool is_wide; /* keys of 64 bits */

    struct topk_found found;
    void *spare;  /* 32 bytes for each entry of `found`, and slack: sorts, copies of keys */
    void *groups; /* keys: maxima of GROUPMAX, all keys of QSELECT, the lists of DEPTH and BINNED */
    uint32_t *numbers; /* as many 32-bit numbers: groups that qualify, tiles of the lists */
    void *below;       /* keys, twice as many: copies of `groups`, what a partition puts aside */
    size_t n_groups;   /* room, in keys, and slack */
    void *chunk;       /* keys: VINDEX__TOPK_CHUNK or a line of lanes, whichever is more */
};
enum { VINDEX__TOPK_CHUNK = 2048 }; /* 8 KiB of keys stay in L1 beside the row they come from */

struct topk_span {
    const void *x;
    size_t n;
};

static inline size_t vindex__topk_key_bytes(const struct topk_context *c)
{
    return c->is_wide ? 8 : 4;
}

static inline int64_t vindex__topk_key_at(const struct topk_context *c, const void *keys, size_t i)
{
    return c->is_wide ? ((const int64_t *)keys)[i] : ((const int32_t *)keys)[i];
}

static inline void vindex__topk_store_key(const struct topk_context *c, void *keys, size_t i,
                                          int64_t key)
{
    if (c->is_wide)
        ((int64_t *)keys)[i] = key;
    else
        ((int32_t *)keys)[i] = (int32_t)key;
}

static inline void *vindex__topk_keys_from(const struct topk_context *c, void *keys, size_t i)
{
    return (unsigned char *)keys + i * vindex__topk_key_bytes(c);
}

static inline const void *vindex__topk_at(const struct topk_context *c, const void *x, size_t i)
{
    return (const unsigned char *)x + i * vkern_topk_size(c->type);
}

/** The type of keys themselves. */
static inline enum vkern_topk_type vindex__topk_key_type(const struct topk_context *c)
{
    return c->is_wide ? VKERN_TOPK_I64 : VKERN_TOPK_I32;
}

/* ---- order.c ----------------------------------------------------------------------------------- */

/**
 * The k-th largest of n keys, 1 <= k <= n; *n_above of them are larger. Destroys `keys`; both arrays have
 * room for n entries and slack.
 */
int64_t vindex__topk_kth(const struct topk_context *c, void *keys, size_t n, size_t k, void *below,
                         size_t *n_above);

/** Keep the k best of what was found; among equals the first. Order is kept. Returns the k-th key. */
int64_t vindex__topk_trim(const struct topk_context *c, struct topk_found *found, size_t k);

/** The k best of what was found (all, if fewer), best first or in the order they have. */
void vindex__topk_finish(const struct topk_context *c, struct topk_found *found, size_t k,
                         bool is_sorted);

/** Best first; equals keep their order. */
void vindex__topk_sort(const struct topk_context *c, struct topk_found *found);

/** Ascending by position. */
void vindex__topk_sort_by_position(const struct topk_context *c, struct topk_found *found);

/* ---- threshold.c ------------------------------------------------------------------------------- */

/** A running threshold over parts of a span, offered in ascending order. */
struct topk_filter {
    struct topk_context *c;
    struct topk_span span;
    size_t k;
    int64_t least;  /* keys below it are not among the k best */
    bool is_closed; /* no key can be better than the k there are */
    bool by_keys;   /* compare through keys: NaN has a place among them */
};

/** Start over: nothing found. */
void vindex__topk_filter_open(struct topk_filter *filter, struct topk_context *c,
                              struct topk_span span, size_t k, int64_t least);
/** Offer elements [from, from + n). */
void vindex__topk_filter_push(struct topk_filter *filter, size_t from, size_t n);
/** true if k elements, or all of the span, were found: else `least` was too high. */
bool vindex__topk_filter_close(const struct topk_filter *filter);

/** The answer for any span, from keys alone: NaN where it belongs. */
void vindex__topk_by_keys(struct topk_context *c, struct topk_span span, size_t k);

/** A key that k elements probably reach, from a sample; the worst key where there is nothing to guess. A
 *  larger slack errs less. */
int64_t vindex__topk_guess(struct topk_context *c, struct topk_span span, size_t k, double slack);

/* ---- the algorithms: the k best of a span into c->found ------------------------------------------ */

void vindex__topk_argmax(struct topk_context *c, struct topk_span span);
void vindex__topk_groupmax(struct topk_context *c, struct topk_span span, size_t k);
void vindex__topk_threshold(struct topk_context *c, struct topk_span span, size_t k);
void vindex__topk_qselect(struct topk_context *c, struct topk_span span, size_t k);
void vindex__topk_radix(struct topk_context *c, struct topk_span span, size_t k);
void vindex__topk_sort_all(struct topk_context *c, struct topk_span span, size_t k);

/** Lines of a tile of GROUPMAX for a row of n; 0 = too short to be grouped. */
size_t vindex__topk_group_depth(size_t n, size_t k);
/** Room for `groups` that any row of up to n elements needs. */
size_t vindex__topk_groupmax_room(size_t n, size_t k);
size_t vindex__topk_threshold_room(size_t n, size_t k);

struct topk_depth_plan {
    size_t lanes, cutoff, n_depths;
    const uint32_t *depths; /* ascending; the last is always enough */
};
/** *stop_depth: entries of each lane that were enough. */
void vindex__topk_depth(struct topk_context *c, struct topk_span span, size_t k,
                        const struct topk_depth_plan *plan, uint32_t *stop_depth);

struct topk_bins {
    size_t bins, per_bin;
    bool is_contiguous;
};
/** The k best of the bins' best; *is_proven: they are the k best of the span. */
void vindex__topk_binned(struct topk_context *c, struct topk_span span, size_t k,
                         const struct topk_bins *bins, bool *is_proven);
/** All that the bins keep: entry d * bins + b of `found` is the d-th best of bin b; position UINT32_MAX
 *  where there is none. */
void vindex__topk_bins_keep(struct topk_context *c, struct topk_span span,
                            const struct topk_bins *bins);

/* ---- lists.c: the best of each lane, for depth.c and binned.c ------------------------------------- */

/** Lists in c->groups and c->numbers, all empty. */
struct vkern_topk_lists vindex__topk_lists_open(struct topk_context *c, size_t lanes, size_t depth);
/** Read the span and fill entries [lists->done, depth). */
void vindex__topk_lists_fill(const struct topk_context *c, struct topk_span span,
                             struct vkern_topk_lists *lists, size_t depth);
/** The k best among the first `depth` entries of every lane, into c->found. `tiles` may hold positions
 *  instead of lines: contiguous bins. */
void vindex__topk_lists_best(struct topk_context *c, const struct vkern_topk_lists *lists,
                             size_t depth, bool tiles_are_positions, size_t k);

#endif
