/*
 * ref.c - selection kernels, plain: an element at a time through its key.
 *
 * Each loop is written once, for a type and an order known when compiled; the macros at the end make
 * the slots.
 */
#include <string.h>

#include "kernels/init.h"
#include "kernels/topk/sort.h"
#include "kernels/topk/topk.h"

VKERN_INLINE uint64_t load(enum vkern_topk_type type, const void *x, size_t i)
{
    const unsigned char *at = (const unsigned char *)x + i * vkern_topk_size(type);
    uint16_t u16;
    uint32_t u32;
    uint64_t u64;

    switch (vkern_topk_size(type)) {
    case 2: memcpy(&u16, at, 2); return u16;
    case 4: memcpy(&u32, at, 4); return u32;
    default: memcpy(&u64, at, 8); return u64;
    }
}

VKERN_INLINE void store_key(bool is_wide, void *keys, size_t i, int64_t key)
{
    if (is_wide)
        ((int64_t *)keys)[i] = key;
    else
        ((int32_t *)keys)[i] = (int32_t)key;
}

/* NaN as the worst there is besides it: it never decides a maximum. */
VKERN_INLINE int64_t real_key(enum vkern_topk_type type, bool is_min, const void *x, size_t i)
{
    const int64_t key = vkern_topk_key(type, is_min, false, load(type, x, i));
    return key < vkern_topk_worst(type) ? vkern_topk_worst(type) : key;
}

VKERN_INLINE void all_keys(enum vkern_topk_type type, bool is_min, const void *x, size_t n,
                           bool nan_is_best, void *keys)
{
    for (size_t i = 0; i < n; i++)
        store_key(vkern_topk_is_wide(type), keys, i,
                  vkern_topk_key(type, is_min, nan_is_best, load(type, x, i)));
}

VKERN_INLINE bool any_nan(enum vkern_topk_type type, const void *x, size_t n)
{
    bool found = false;

    if (!vkern_topk_is_float(type)) return false;
    for (size_t i = 0; i < n; i++)
        found |= vkern_topk_key(type, false, false, load(type, x, i)) < vkern_topk_worst(type);
    return found;
}

VKERN_INLINE int64_t best(enum vkern_topk_type type, bool is_min, const void *x, size_t n)
{
    int64_t most = vkern_topk_worst(type);

    for (size_t i = 0; i < n; i++) {
        const int64_t key = real_key(type, is_min, x, i);
        if (key > most) most = key;
    }
    return most;
}

VKERN_INLINE void groups(enum vkern_topk_type type, bool is_min, const void *x, size_t n_tiles,
                         size_t depth, void *maxima)
{
    for (size_t t = 0; t < n_tiles; t++)
        for (size_t c = 0; c < VKERN_TOPK_LANES; c++) {
            int64_t most = vkern_topk_worst(type);
            for (size_t line = 0; line < depth; line++) {
                const size_t i = (t * depth + line) * VKERN_TOPK_LANES + c;
                const int64_t key = real_key(type, is_min, x, i);
                if (key > most) most = key;
            }
            store_key(vkern_topk_is_wide(type), maxima, t * VKERN_TOPK_LANES + c, most);
        }
}

VKERN_INLINE void sample(enum vkern_topk_type type, bool is_min, const void *x, size_t step,
                         size_t n_tiles, size_t depth, void *maxima)
{
    for (size_t t = 0; t < n_tiles; t++)
        for (size_t c = 0; c < VKERN_TOPK_LANES; c++) {
            int64_t most = vkern_topk_worst(type);
            for (size_t line = 0; line < depth; line++) {
                const int64_t key = real_key(type, is_min, x, (line * n_tiles + t) * step + c);
                if (key > most) most = key;
            }
            store_key(vkern_topk_is_wide(type), maxima, t * VKERN_TOPK_LANES + c, most);
        }
}

VKERN_INLINE size_t collect(enum vkern_topk_type type, bool is_min, const void *x, size_t n,
                            int64_t least, uint32_t base, void *keys, uint32_t *positions)
{
    size_t count = 0;

    for (size_t i = 0; i < n; i++) {
        const int64_t key = vkern_topk_key(type, is_min, false, load(type, x, i));
        store_key(vkern_topk_is_wide(type), keys, count, key);
        positions[count] = base + (uint32_t)i;
        count += key >= least;
    }
    return count;
}

VKERN_INLINE size_t find(enum vkern_topk_type type, bool is_min, const void *x, size_t n_parcels,
                         int64_t least, uint32_t *parcels, uint64_t *bits)
{
    size_t n = 0;

    for (size_t p = 0; p < n_parcels; p++) {
        uint64_t found = 0;
        for (size_t i = 0; i < VKERN_TOPK_PARCEL; i++) {
            const uint64_t element = load(type, x, p * VKERN_TOPK_PARCEL + i);
            found |= (uint64_t)(vkern_topk_key(type, is_min, false, element) >= least) << i;
        }
        parcels[n] = (uint32_t)p;
        bits[n] = found;
        n += found != 0;
    }
    return n;
}

VKERN_INLINE size_t take(enum vkern_topk_type type, bool is_min, const void *x,
                         const uint32_t *parcels, const uint64_t *bits, size_t n_parcels,
                         uint32_t base, void *keys, uint32_t *positions)
{
    size_t n = 0;

    for (size_t i = 0; i < n_parcels; i++)
        for (uint64_t left = bits[i]; left; left &= left - 1) {
            const uint32_t at = parcels[i] * VKERN_TOPK_PARCEL + (uint32_t)__builtin_ctzll(left);
            store_key(vkern_topk_is_wide(type), keys, n,
                      vkern_topk_key(type, is_min, false, load(type, x, at)));
            positions[n++] = base + at;
        }
    return n;
}

#define VKERN_TOPK_PARTITION(name, key_type)                                                       \
    static size_t name(void *keys, size_t n, int64_t pivot, void *below, size_t *n_below)          \
    {                                                                                              \
        key_type *front = keys, *rest = below;                                                     \
        size_t n_above = 0, n_rest = 0;                                                            \
                                                                                                   \
        for (size_t i = 0; i < n; i++) {                                                           \
            const key_type key = front[i];                                                         \
            front[n_above] = key;                                                                  \
            rest[n_rest] = key;                                                                    \
            n_above += key > (key_type)pivot;                                                      \
            n_rest += key < (key_type)pivot;                                                       \
        }                                                                                          \
        *n_below = n_rest;                                                                         \
        return n_above;                                                                            \
    }
VKERN_TOPK_PARTITION(partition_i32, int32_t)
VKERN_TOPK_PARTITION(partition_i64, int64_t)

#define VKERN_TOPK_KEEP(name, key_type)                                                            \
    static size_t name(void *all, uint32_t *positions, size_t n, int64_t least)                    \
    {                                                                                              \
        key_type *keys = all;                                                                      \
        size_t kept = 0;                                                                           \
                                                                                                   \
        for (size_t i = 0; i < n; i++) {                                                           \
            const key_type key = keys[i];                                                          \
            keys[kept] = key;                                                                      \
            positions[kept] = positions[i];                                                        \
            kept += key >= least;                                                                  \
        }                                                                                          \
        return kept;                                                                               \
    }
VKERN_TOPK_KEEP(keep_i32, int32_t)
VKERN_TOPK_KEEP(keep_i64, int64_t)

/* A list entry gives way to a better key; what it displaces comes before all that lie deeper. */
#define VKERN_TOPK_SINK(name, key_type)                                                            \
    static void name(const struct vkern_topk_lists *lists, const void *all, size_t n_tiles,        \
                     uint32_t first_tile)                                                          \
    {                                                                                              \
        key_type *list = lists->keys;                                                              \
        const key_type *key_at = all;                                                              \
                                                                                                   \
        for (uint32_t tile = first_tile; tile < first_tile + n_tiles; tile++)                      \
            for (size_t lane = 0; lane < lists->lanes; lane++) {                                   \
                const size_t final = (lists->done - 1) * lists->stride + lane;                     \
                key_type key = *key_at++;                                                          \
                uint32_t from = tile;                                                              \
                bool is_placed = false;                                                            \
                if (lists->done > 0 && (lists->tiles[final] == UINT32_MAX || key > list[final] ||  \
                                        (key == list[final] && tile <= lists->tiles[final])))      \
                    continue;                                                                      \
                for (size_t d = lists->done; d < lists->depth && from != UINT32_MAX; d++) {        \
                    const size_t at = d * lists->stride + lane;                                    \
                    const key_type old = list[at];                                                 \
                    const uint32_t old_from = lists->tiles[at];                                    \
                    if (!is_placed && old_from != UINT32_MAX && key <= old) continue;              \
                    list[at] = key, lists->tiles[at] = from;                                       \
                    key = old, from = old_from;                                                    \
                    is_placed = true;                                                              \
                }                                                                                  \
            }                                                                                      \
    }
VKERN_TOPK_SINK(sink_i32, int32_t)
VKERN_TOPK_SINK(sink_i64, int64_t)

static void sort(int32_t *keys, uint32_t *positions, size_t n, size_t k, void *spare)
{
    (void)k;
    vkern_topk_sort_plain(keys, positions, n, spare);
}

#include "kernels/topk/slots.h"

void vkern_topk_init_ref(vkern_topk_table *table)
{
    table->level = VKERN_LEVEL_REF;
    table->level_name = "ref";
    VKERN_TOPK_FILL_ALL(table);
}
