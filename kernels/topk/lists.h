/*
 * lists.h - partition, filter and sinking insertion of topk_avx2.c and topk_avx512.c: one body for 32- and
 * 64-bit keys and both widths. The including file gives `vector`, `lanes` (a set of a vector's lanes) and
 *
 *     split_step, split, keep_some                     keys about a pivot, a vector at a time
 *     first_lanes, both, either, without, is_none      sets of lanes
 *     greater, equal, choose, repeat                   of 32- or 64-bit lanes
 *     load_part, load_tiles, store_tiles               keys, and the tile numbers beside them
 */
#ifndef VKERN_TOPK_LISTS_H
#define VKERN_TOPK_LISTS_H

/* ---- partition --------------------------------------------------------------------------------- */

VKERN_INLINE void *key_place(bool is_wide, void *keys, size_t i)
{
    return (unsigned char *)keys + i * (is_wide ? 8 : 4);
}

VKERN_INLINE const void *key_at(bool is_wide, const void *keys, size_t i)
{
    return (const unsigned char *)keys + i * (is_wide ? 8 : 4);
}

/* What is written to the front lies before what is still to be read: n_above <= i. */
VKERN_INLINE size_t partition(bool is_wide, void *keys, size_t n, int64_t pivot, void *below,
                              size_t *n_below)
{
    size_t n_above = 0, n_rest = 0, i = 0;

    for (; i + split_step(is_wide) <= n; i += split_step(is_wide))
        split(is_wide, key_at(is_wide, keys, i), pivot, key_place(is_wide, keys, n_above), &n_above,
              key_place(is_wide, below, n_rest), &n_rest);
    for (; i < n; i++) {
        const int64_t key = is_wide ? ((int64_t *)keys)[i] : ((int32_t *)keys)[i];
        store_one(is_wide, keys, n_above, key);
        store_one(is_wide, below, n_rest, key);
        n_above += key > pivot;
        n_rest += key < pivot;
    }
    *n_below = n_rest;
    return n_above;
}

static size_t partition_i32(void *keys, size_t n, int64_t pivot, void *below, size_t *n_below)
{
    return partition(false, keys, n, pivot, below, n_below);
}

static size_t partition_i64(void *keys, size_t n, int64_t pivot, void *below, size_t *n_below)
{
    return partition(true, keys, n, pivot, below, n_below);
}

VKERN_INLINE size_t keep(bool is_wide, void *keys, uint32_t *positions, size_t n, int64_t least)
{
    const size_t step = split_step(is_wide);
    size_t kept = 0, i = 0;

    for (; i + step <= n; i += step)
        kept += keep_some(is_wide, key_at(is_wide, keys, i), positions + i, least,
                          key_place(is_wide, keys, kept), positions + kept);
    for (; i < n; i++) {
        const int64_t key = is_wide ? ((int64_t *)keys)[i] : ((int32_t *)keys)[i];
        store_one(is_wide, keys, kept, key);
        positions[kept] = positions[i];
        kept += key >= least;
    }
    return kept;
}

static size_t keep_i32(void *keys, uint32_t *positions, size_t n, int64_t least)
{
    return keep(false, keys, positions, n, least);
}

static size_t keep_i64(void *keys, uint32_t *positions, size_t n, int64_t least)
{
    return keep(true, keys, positions, n, least);
}

/* ---- sinking insertion ------------------------------------------------------------------------- */

VKERN_INLINE vector load_keys(bool is_wide, const void *keys, size_t i)
{
    return load(is_wide ? VKERN_TOPK_I64 : VKERN_TOPK_I32, keys, i);
}

/* Lanes not found in an earlier pass. Tile numbers are below 2^31, so signed comparisons do. */
VKERN_INLINE lanes eligible(bool is_wide, const struct vkern_topk_lists *l, size_t lane, vector keys,
                            vector tile)
{
    const size_t at = (l->done - 1) * l->stride + lane;
    const vector key = load_keys(is_wide, l->keys, at);
    const vector from = load_tiles(is_wide, l->tiles + at);
    const lanes later = both(equal(is_wide, keys, key), greater(is_wide, tile, from));

    return without(either(greater(is_wide, key, keys), later),
                   equal(is_wide, from, repeat(is_wide, -1)));
}

VKERN_INLINE void sink_vector(bool is_wide, const struct vkern_topk_lists *l, size_t lane,
                              lanes live, vector key, vector tile)
{
    lanes placed = first_lanes(is_wide, 0); /* what is displaced comes before all that lie deeper */

    for (size_t d = l->done; d < l->depth; d++) {
        const size_t at = d * l->stride + lane;
        const vector old = load_keys(is_wide, l->keys, at);
        const vector from = load_tiles(is_wide, l->tiles + at);
        const lanes free = equal(is_wide, from, repeat(is_wide, -1));
        const lanes take = both(live, either(placed, either(greater(is_wide, key, old), free)));
        store_keys(is_wide ? VKERN_TOPK_I64 : VKERN_TOPK_I32, l->keys, at,
                   choose(is_wide, take, old, key));
        store_tiles(is_wide, l->tiles + at, choose(is_wide, take, from, tile));
        key = choose(is_wide, take, key, old);
        tile = choose(is_wide, take, tile, from);
        live = without(live, both(take, free));
        placed = either(placed, take);
    }
}

VKERN_INLINE void sink(bool is_wide, const struct vkern_topk_lists *l, const void *all,
                       size_t n_tiles, uint32_t first_tile)
{
    const size_t step = sizeof(vector) / (is_wide ? 8 : 4), last = (l->depth - 1) * l->stride;

    for (size_t t = 0; t < n_tiles; t++) {
        const vector tile = repeat(is_wide, (int32_t)(first_tile + t));
        for (size_t lane = 0; lane < l->lanes; lane += step) {
            const size_t left = l->lanes - lane < step ? l->lanes - lane : step;
            const void *at = key_at(is_wide, all, t * l->lanes + lane);
            const vector key =
                left == step ? load_keys(is_wide, at, 0) : load_part(is_wide, at, left);
            const vector gate = load_keys(is_wide, l->keys, last + lane);
            const vector from = load_tiles(is_wide, l->tiles + last + lane);
            lanes live = both(first_lanes(is_wide, left),
                              either(greater(is_wide, key, gate),
                                     equal(is_wide, from, repeat(is_wide, -1))));
            if (l->done > 0 && !is_none(live))
                live = both(live, eligible(is_wide, l, lane, key, tile));
            if (!is_none(live)) sink_vector(is_wide, l, lane, live, key, tile);
        }
    }
}

static void sink_i32(const struct vkern_topk_lists *l, const void *keys, size_t n_tiles,
                     uint32_t first_tile)
{
    sink(false, l, keys, n_tiles, first_tile);
}

static void sink_i64(const struct vkern_topk_lists *l, const void *keys, size_t n_tiles,
                     uint32_t first_tile)
{
    sink(true, l, keys, n_tiles, first_tile);
}

#endif
