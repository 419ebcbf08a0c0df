/*
 * topk.h - the inner loops of selection: maxima, thresholds, partitions, sinking insertion. One table,
 * as in kernels.h, filled from the reference up; what a row needs is decided in vindex/topk.
 *
 * Everything is compared as keys: integers, larger is better, equal where scores tie. A float's key is
 * its magnitude's bits with its sign (so -0 and +0 are both 0), negated when the smallest are wanted;
 * integers are themselves, or their complement. NaN has a key of its own, below -inf's or above +inf's.
 * Keys of f64 (and i64) have 64 bits, all others 32.
 *
 * No kernel allocates or keeps state; inputs have any alignment and are read inside [x, x + n) only.
 */
#ifndef VKERN_TOPK_TOPK_H
#define VKERN_TOPK_TOPK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

/* The first five have the numbers of vindex_topk_type; keys themselves are I32 or I64. */
enum vkern_topk_type {
    VKERN_TOPK_F32,
    VKERN_TOPK_F16,
    VKERN_TOPK_BF16,
    VKERN_TOPK_F64,
    VKERN_TOPK_I32,
    VKERN_TOPK_I64,
    VKERN_TOPK_N_TYPES
};

/* Columns of a tile of vkern_topk_groups_fn: the same at every level, so results are too. */
#define VKERN_TOPK_LANES 32

/** All n elements' keys: int32 or int64. A NaN's is the type's worst or best. */
typedef void vkern_topk_keys_fn(const void *x, size_t n, bool nan_is_best, void *keys);

/** true if one of n elements is NaN. */
typedef bool vkern_topk_any_nan_fn(const void *x, size_t n);

/** The largest key of n >= 1 elements, NaN passed over; where all are NaN, the key of the worst infinity. */
typedef int64_t vkern_topk_best_fn(const void *x, size_t n);

/**
 * Column maxima. Tile t is elements [t * depth * 32, ...), depth lines of 32; maxima[t * 32 + c] is the
 * largest key of its column c, NaN passed over as above. depth is even or 1.
 */
typedef void vkern_topk_groups_fn(const void *x, size_t n_tiles, size_t depth, void *maxima);

/**
 * The same for sampled lines: line l of tile t is the 32 elements from (l * n_tiles + t) * step on. Those of
 * a column lie far apart: where x is sorted, the best lines stand in different columns.
 */
typedef void vkern_topk_sample_fn(const void *x, size_t step, size_t n_tiles, size_t depth,
                                  void *maxima);

/**
 * Elements whose key is at least `least`, in order: keys[i] and positions[i] = base + index. `least` is
 * not below the worst infinity's key; NaN is passed over. Returns the count. Room for n + 64 entries.
 */
typedef size_t vkern_topk_collect_fn(const void *x, size_t n, int64_t least, uint32_t base,
                                     void *keys, uint32_t *positions);

/* Elements whose survivors are the bits of a word. */
#define VKERN_TOPK_PARCEL 64

/**
 * Of n_parcels parcels those with elements whose key is at least `least` (as for collect): parcels[i] their
 * numbers, ascending, bits[i] which elements. Returns their count; room for n_parcels, of `parcels` 16 more.
 */
typedef size_t vkern_topk_find_fn(const void *x, size_t n_parcels, int64_t least, uint32_t *parcels,
                                  uint64_t *bits);

/**
 * Keys and positions (base + index) of what was found in n of the listed parcels of x, with their bits;
 * returns how many. Room for 64 more than that.
 */
typedef size_t vkern_topk_take_fn(const void *x, const uint32_t *parcels, const uint64_t *bits,
                                  size_t n, uint32_t base, void *keys, uint32_t *positions);

/**
 * Keys above the pivot to the front of `keys` (returned: how many), those below it to `below` (*n_below
 * of them, room for n + 64), in order; those equal are dropped.
 */
typedef size_t vkern_topk_partition_fn(void *keys, size_t n, int64_t pivot, void *below,
                                       size_t *n_below);

/** Leave, in order, the candidates whose key is at least `least`; returns how many. */
typedef size_t vkern_topk_keep_fn(void *keys, uint32_t *positions, size_t n, int64_t least);

/**
 * Lists of the best entries of each lane: depth d of lane l is (keys[d * stride + l], tiles[...]), best
 * first, tile UINT32_MAX = empty. stride is `lanes` rounded up to 16.
 */
struct vkern_topk_lists {
    void *keys;
    uint32_t *tiles;
    size_t lanes, stride;
    size_t done, depth; /* entries [0, done) are final; [done, depth) are being found */
};

/**
 * Sink n_tiles lines of `lanes` keys (I32 or I64), numbered from first_tile, into the lists: the better
 * key stays, the other sinks one deeper; equal keys keep their order. What is in the lists' first `done`
 * entries already, or better than the last of them, is passed over: a row is read again to go deeper.
 */
typedef void vkern_topk_sink_fn(const struct vkern_topk_lists *lists, const void *keys,
                                size_t n_tiles, uint32_t first_tile);

/**
 * The k best of n >= k candidates to the front, best first, equals in the order of position they come in;
 * what is behind them is lost. spare: 16 bytes for each
 * and 64 more, 8-byte aligned; keys and positions have room for 16 more.
 */
typedef void vkern_topk_sort_fn(int32_t *keys, uint32_t *positions, size_t n, size_t k,
                                void *spare);

/* Of so many candidates sorting the k best takes less than finding the k-th, then sorting. */
#define VKERN_TOPK_PARTED 4096

typedef struct vkern_topk_table {
    enum vkern_level level;
    const char *level_name;
    /* [type][1: the smallest are wanted] */
    vkern_topk_keys_fn *keys[VKERN_TOPK_N_TYPES][2];
    vkern_topk_best_fn *best[VKERN_TOPK_N_TYPES][2];
    vkern_topk_groups_fn *groups[VKERN_TOPK_N_TYPES][2];
    vkern_topk_sample_fn *sample[VKERN_TOPK_N_TYPES][2];
    vkern_topk_collect_fn *collect[VKERN_TOPK_N_TYPES][2];
    vkern_topk_find_fn *find[VKERN_TOPK_N_TYPES][2];
    vkern_topk_take_fn *take[VKERN_TOPK_N_TYPES][2];
    vkern_topk_any_nan_fn *any_nan[VKERN_TOPK_N_TYPES];
    /* [1: 64-bit keys] */
    vkern_topk_partition_fn *partition[2];
    vkern_topk_keep_fn *keep[2];
    vkern_topk_sink_fn *sink[2];
    vkern_topk_sort_fn *sort;
} vkern_topk_table;

/** The process's table, at the level of vkern_get. Thread-safe. */
const vkern_topk_table *vkern_topk_get(void);

/** Fill a table for these CPU bits (VKERN_CPU_*). Pure. */
void vkern_topk_table_init(vkern_topk_table *table, uint64_t cpu);

void vkern_topk_init_ref(vkern_topk_table *table);
void vkern_topk_init_avx2(vkern_topk_table *table);
void vkern_topk_init_avx512(vkern_topk_table *table);

/* ---- keys, one at a time: the definition ------------------------------------------------------- */

static inline bool vkern_topk_is_wide(enum vkern_topk_type type)
{
    return type == VKERN_TOPK_F64 || type == VKERN_TOPK_I64;
}

static inline size_t vkern_topk_size(enum vkern_topk_type type)
{
    return vkern_topk_is_wide(type) ? 8 : type == VKERN_TOPK_F16 || type == VKERN_TOPK_BF16 ? 2 : 4;
}

static inline bool vkern_topk_is_float(enum vkern_topk_type type)
{
    return type != VKERN_TOPK_I32 && type != VKERN_TOPK_I64;
}

/* Bits of +inf, which are its key too; for integers the largest key. */
static inline int64_t vkern_topk_infinity(enum vkern_topk_type type)
{
    switch (type) {
    case VKERN_TOPK_F32: return 0x7f800000;
    case VKERN_TOPK_F16: return 0x7c00;
    case VKERN_TOPK_BF16: return 0x7f80;
    case VKERN_TOPK_F64: return INT64_C(0x7ff0000000000000);
    case VKERN_TOPK_I32: return INT32_MAX;
    default: return INT64_MAX;
    }
}

/* The least key of what is not NaN. */
static inline int64_t vkern_topk_worst(enum vkern_topk_type type)
{
    if (type == VKERN_TOPK_I32) return INT32_MIN;
    if (type == VKERN_TOPK_I64) return INT64_MIN;
    return -vkern_topk_infinity(type);
}

static inline int64_t vkern_topk_nan_key(enum vkern_topk_type type, bool nan_is_best)
{
    switch (vkern_topk_size(type)) {
    case 2: return nan_is_best ? INT16_MAX : INT16_MIN;
    case 4: return nan_is_best ? INT32_MAX : INT32_MIN;
    default: return nan_is_best ? INT64_MAX : INT64_MIN;
    }
}

/** The key of an element's bits, zero-extended. */
static inline int64_t vkern_topk_key(enum vkern_topk_type type, bool is_min, bool nan_is_best,
                                     uint64_t bits)
{
    const unsigned sign_bit = 8 * (unsigned)vkern_topk_size(type) - 1;
    const int64_t magnitude = (int64_t)(bits & ~(UINT64_C(1) << sign_bit));

    if (type == VKERN_TOPK_I32) return is_min ? ~(int64_t)(int32_t)bits : (int64_t)(int32_t)bits;
    if (type == VKERN_TOPK_I64) return is_min ? ~(int64_t)bits : (int64_t)bits;
    if (magnitude > vkern_topk_infinity(type)) return vkern_topk_nan_key(type, nan_is_best);
    return (bits >> sign_bit & 1) != is_min ? -magnitude : magnitude;
}

/** Bits with this key, which is no NaN's. */
static inline uint64_t vkern_topk_bits(enum vkern_topk_type type, bool is_min, int64_t key)
{
    const unsigned sign_bit = 8 * (unsigned)vkern_topk_size(type) - 1;

    if (type == VKERN_TOPK_I32) return (uint32_t)(is_min ? ~key : key);
    if (type == VKERN_TOPK_I64) return (uint64_t)(is_min ? ~key : key);
    if (is_min) key = -key;
    return key < 0 ? (uint64_t)-key | UINT64_C(1) << sign_bit : (uint64_t)key;
}

#endif
