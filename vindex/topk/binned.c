/*
 * binned.c - two stages: the per_bin best of each bin, then the k best of those (Chern et al. 2022 with
 * one a bin; Samaga et al., arXiv 2506.04165, with more).
 *
 * Strided bins are the lanes of lists.c; a contiguous bin is selected exactly, one after the other, the
 * first len mod bins of them one element longer.
 *
 * Only the few elements near the top decide what the k best of all bins are. So where a threshold can be
 * guessed, those that reach it are sorted and walked from the best on: each takes a place in its bin while
 * there is one, until k have. That is the same answer as from full bins, from a fraction of the work; a
 * guess that leaves fewer than k is made again, then the bins are filled.
 */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "topk/row.h"

static size_t bin_size(size_t n, const struct topk_bins *bins, size_t bin)
{
    return n / bins->bins + (bin < n % bins->bins);
}

/* Lists as strided bins have them, but with positions for tiles. */
static struct vkern_topk_lists fill_contiguous(struct topk_context *c, struct topk_span span,
                                               const struct topk_bins *bins)
{
    struct vkern_topk_lists lists = vindex__topk_lists_open(c, bins->bins, bins->per_bin);
    size_t from = 0;

    lists.depth = bins->per_bin;
    for (size_t bin = 0; bin < bins->bins; bin++) {
        const struct topk_span part = {vindex__topk_at(c, span.x, from),
                                       bin_size(span.n, bins, bin)};
        c->found.n = 0;
        if (part.n > 0)
            vindex__topk_by_keys(c, part, bins->per_bin < part.n ? bins->per_bin : part.n);
        vindex__topk_finish(c, &c->found, bins->per_bin, true);
        for (size_t d = 0; d < c->found.n; d++) {
            vindex__topk_store_key(c, lists.keys, d * lists.stride + bin,
                                   vindex__topk_key_at(c, c->found.keys, d));
            lists.tiles[d * lists.stride + bin] = (uint32_t)from + c->found.positions[d];
        }
        from += part.n;
    }
    return lists;
}

static struct vkern_topk_lists fill(struct topk_context *c, struct topk_span span,
                                    const struct topk_bins *bins)
{
    struct vkern_topk_lists lists;

    if (bins->is_contiguous) return fill_contiguous(c, span, bins);
    lists = vindex__topk_lists_open(c, bins->bins, bins->per_bin);
    vindex__topk_lists_fill(c, span, &lists, bins->per_bin);
    return lists;
}

static uint32_t position_of(const struct vkern_topk_lists *lists, const struct topk_bins *bins,
                            size_t at, size_t bin)
{
    if (lists->tiles[at] == UINT32_MAX || bins->is_contiguous) return lists->tiles[at];
    return (uint32_t)(lists->tiles[at] * lists->lanes + bin);
}

void vindex__topk_bins_keep(struct topk_context *c, struct topk_span span,
                            const struct topk_bins *bins)
{
    const struct vkern_topk_lists lists = fill(c, span, bins);

    assert(bins->bins * bins->per_bin <= c->found.capacity);
    c->found.n = 0;
    for (size_t d = 0; d < bins->per_bin; d++)
        for (size_t bin = 0; bin < bins->bins; bin++) {
            const size_t at = d * lists.stride + bin;
            vindex__topk_store_key(c, c->found.keys, c->found.n,
                                   vindex__topk_key_at(c, lists.keys, at));
            c->found.positions[c->found.n++] = position_of(&lists, bins, at, bin);
        }
}

/*
 * What a bin dropped comes after its last entry. If no bin that dropped something has its last entry
 * among the k best, nothing dropped belongs there.
 */
static bool is_exact(const struct topk_context *c, const struct vkern_topk_lists *lists,
                     const struct topk_bins *bins, size_t n, int64_t kth, uint32_t kth_position)
{
    for (size_t bin = 0; bin < bins->bins; bin++) {
        const size_t at = (bins->per_bin - 1) * lists->stride + bin;
        const int64_t key = vindex__topk_key_at(c, lists->keys, at);
        if (bin_size(n, bins, bin) <= bins->per_bin) continue;
        if (key > kth || (key == kth && position_of(lists, bins, at, bin) <= kth_position))
            return false;
    }
    return true;
}

/* The worst of what was found: the last among those of the least key. */
static void find_worst(const struct topk_context *c, int64_t *key, uint32_t *position)
{
    *key = INT64_MAX;
    *position = 0;
    for (size_t i = 0; i < c->found.n; i++) {
        const int64_t candidate = vindex__topk_key_at(c, c->found.keys, i);
        if (candidate <= *key) *key = candidate, *position = c->found.positions[i];
    }
}

static void select_from_bins(struct topk_context *c, struct topk_span span, size_t k,
                             const struct topk_bins *bins, bool *is_proven)
{
    const struct vkern_topk_lists lists = fill(c, span, bins);
    int64_t kth;
    uint32_t position;

    vindex__topk_lists_best(c, &lists, bins->per_bin, bins->is_contiguous, k);
    find_worst(c, &kth, &position);
    *is_proven = is_exact(c, &lists, bins, span.n, kth, position);
}

/* x mod d for 32-bit x and d by two multiplications (Lemire, Kaser and Kurz 2019). */
__extension__ typedef unsigned __int128 uint128;

static uint32_t modulo(uint32_t x, uint64_t inverse, uint32_t d)
{
    return (uint32_t)((uint128)(inverse * x) * d >> 64);
}

/* Of what was found, best first, keep what finds a place in its bin; true if k did. *is_proven: nothing
 * better had to go. */
static bool take_places(struct topk_context *c, size_t k, const struct topk_bins *bins,
                        bool *is_proven)
{
    const uint32_t n_bins = (uint32_t)bins->bins, per_bin = (uint32_t)bins->per_bin;
    const uint64_t inverse = UINT64_MAX / n_bins + 1;
    const size_t n = c->found.n;
    uint32_t *positions = c->found.positions, *taken = c->numbers;
    void *keys = c->found.keys;
    size_t kept = 0, i;

    memset(taken, 0, bins->bins * sizeof *taken);
    for (i = 0; i < n && kept < k; i++) {
        const uint32_t position = positions[i];
        const uint32_t bin = n_bins > 1 ? modulo(position, inverse, n_bins) : 0;
        const uint32_t before = taken[bin];
        vindex__topk_store_key(c, keys, kept, vindex__topk_key_at(c, keys, i));
        positions[kept] = position;
        taken[bin] = before + 1;
        kept += before < per_bin;
    }
    *is_proven = kept == i;
    c->found.n = kept;
    return kept == k;
}

/* Of the r best, with X a bin's share of them, E[min(X, per_bin)] bins find a place; X as good as Poisson. The
 * next one finds one with probability *next. */
static double places_of(double r, const struct topk_bins *bins, double *next)
{
    const double mean = r / (double)bins->bins;
    double p = exp(-mean), below = 0, sum = 0; /* p: P(X = i) */

    for (size_t i = 0; i < bins->per_bin; i++) {
        below += p;
        sum += 1 - below;
        p *= mean / (double)(i + 1);
        if (i > mean && p < 1e-9) break;
    }
    *next = below;
    return sum * (double)bins->bins;
}

/* So many of the best hold k that find a place, but for four deviations; 0: better fill the bins. */
static size_t candidates_for(size_t k, const struct topk_bins *bins)
{
    double r = (double)k, next;

    if (k > 500 * bins->bins) return k + k / 16; /* exp above underflows; such bins lose next to nothing */
    for (int step = 0; step < 6; step++) { /* Newton; from the left, as places grow ever slower */
        const double missing = (double)k - places_of(r, bins, &next);
        if (next < .25 || r > 2 * (double)k) return 0;
        r += missing / next;
    }
    return (size_t)(r + 4 * sqrt(r - (double)k) + 4);
}

/* The answer from the elements near the top alone; false if that did not come off. */
static bool select_near_the_top(struct topk_context *c, struct topk_span span, size_t k,
                                const struct topk_bins *bins, bool *is_proven)
{
    const size_t wanted = candidates_for(k, bins);
    struct topk_filter filter;

    if (bins->is_contiguous || wanted == 0) return false;
    if (c->nan_is_best && c->table->any_nan[c->type](span.x, span.n)) return false;
    for (double slack = 1; slack <= 4; slack *= 4) {
        const int64_t least = vindex__topk_guess(c, span, wanted, slack);
        if (least == vkern_topk_worst(c->type)) return false;
        vindex__topk_filter_open(&filter, c, span, k, least);
        vindex__topk_filter_push(&filter, 0, span.n);
        if (filter.least != least) return false; /* ties or a bad guess: the buffer was reduced */
        if (!vindex__topk_filter_close(&filter)) continue;
        vindex__topk_finish(c, &c->found, wanted, true);
        c->found.is_sorted = take_places(c, k, bins, is_proven);
        if (c->found.is_sorted) return true;
    }
    return false;
}

void vindex__topk_binned(struct topk_context *c, struct topk_span span, size_t k,
                         const struct topk_bins *bins, bool *is_proven)
{
    if (!select_near_the_top(c, span, k, bins, is_proven))
        select_from_bins(c, span, k, bins, is_proven);
}
