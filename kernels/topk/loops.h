/*
 * loops.h - the loops of topk_avx2.c and topk_avx512.c, which differ in the width of a vector alone. The
 * including file gives `vector` and what is done to one:
 *
 *     load, start, better, better_of_two, limit_of     as their comments there say
 *     key_of, key_of_best, store_keys, reduce          keys of a vector
 *     reaches, parcel_bits                             bits of a vector's, a parcel's elements that
 *                                                      reach a limit
 *     is_any_nan, append_many, list_nonzero
 *
 * Ends of rows that fill no vector go element by element.
 */
#ifndef VKERN_TOPK_LOOPS_H
#define VKERN_TOPK_LOOPS_H

VKERN_INLINE size_t per_vector(enum vkern_topk_type type)
{
    return sizeof(vector) / vkern_topk_size(type);
}

VKERN_INLINE int64_t one_key(enum vkern_topk_type type, bool is_min, bool nan_is_best,
                             const void *x, size_t i)
{
    uint64_t bits = 0;

    memcpy(&bits, (const unsigned char *)x + i * vkern_topk_size(type), vkern_topk_size(type));
    return vkern_topk_key(type, is_min, nan_is_best, bits);
}

VKERN_INLINE void store_one(bool is_wide, void *keys, size_t i, int64_t key)
{
    if (is_wide)
        ((int64_t *)keys)[i] = key;
    else
        ((int32_t *)keys)[i] = (int32_t)key;
}

VKERN_INLINE void all_keys(enum vkern_topk_type type, bool is_min, const void *x, size_t n,
                           bool nan_is_best, void *keys)
{
    const size_t step = per_vector(type);
    size_t i = 0;

    for (; i + step <= n; i += step)
        store_keys(type, keys, i, key_of(type, is_min, nan_is_best, load(type, x, i)));
    for (; i < n; i++)
        store_one(vkern_topk_is_wide(type), keys, i, one_key(type, is_min, nan_is_best, x, i));
}

VKERN_INLINE bool any_nan(enum vkern_topk_type type, const void *x, size_t n)
{
    const size_t step = per_vector(type);
    bool found = false;
    size_t i = 0;

    if (!vkern_topk_is_float(type)) return false;
    for (; i + step <= n && !found; i += step)
        found = is_any_nan(type, load(type, x, i));
    for (; i < n && !found; i++)
        found = one_key(type, false, false, x, i) < vkern_topk_worst(type);
    return found;
}

/* ---- maxima ------------------------------------------------------------------------------------ */

VKERN_INLINE int64_t best(enum vkern_topk_type type, bool is_min, const void *x, size_t n)
{
    const size_t step = per_vector(type);
    const vector worst = start(type, is_min);
    vector a = worst, b = worst, c = worst, d = worst;
    int64_t most;
    size_t i = 0;

    for (; i + 4 * step <= n; i += 4 * step) {
        a = better(type, is_min, load(type, x, i), a);
        b = better(type, is_min, load(type, x, i + step), b);
        c = better(type, is_min, load(type, x, i + 2 * step), c);
        d = better(type, is_min, load(type, x, i + 3 * step), d);
    }
    for (; i + step <= n; i += step)
        a = better(type, is_min, load(type, x, i), a);
    a = better_of_two(type, is_min, better_of_two(type, is_min, a, b),
                      better_of_two(type, is_min, c, d));
    most = reduce(type, key_of_best(type, is_min, a));
    for (; i < n; i++) {
        const int64_t key = one_key(type, is_min, false, x, i);
        if (key > most) most = key;
    }
    return most;
}

/* `chains` vectors make the columns of a line; two lines at a time keep the maxima independent, where there
 * are registers for it. */
VKERN_INLINE void groups(enum vkern_topk_type type, bool is_min, const void *x, size_t n_tiles,
                         size_t depth, void *maxima)
{
    const size_t step = per_vector(type), chains = VKERN_TOPK_LANES / step;
    const vector worst = start(type, is_min);

    for (size_t t = 0; t < n_tiles; t++) {
        const size_t first = t * depth * VKERN_TOPK_LANES;
        vector even[8], odd[8];
        for (size_t c = 0; c < chains; c++)
            even[c] = odd[c] = worst;
        for (size_t line = 0; line + 1 < depth; line += 2)
            for (size_t c = 0; c < chains; c++) {
                const size_t i = first + line * VKERN_TOPK_LANES + c * step;
                even[c] = better(type, is_min, load(type, x, i), even[c]);
                vector *next = chains > 4 ? &even[c] : &odd[c];
                *next = better(type, is_min, load(type, x, i + VKERN_TOPK_LANES), *next);
            }
        for (size_t c = 0; c < chains; c++) {
            if (depth == 1) even[c] = better(type, is_min, load(type, x, first + c * step), worst);
            store_keys(type, maxima, t * VKERN_TOPK_LANES + c * step,
                       key_of_best(type, is_min, better_of_two(type, is_min, even[c], odd[c])));
        }
    }
}

VKERN_INLINE void sample(enum vkern_topk_type type, bool is_min, const void *x, size_t step,
                         size_t n_tiles, size_t depth, void *maxima)
{
    const size_t width = per_vector(type);

    for (size_t t = 0; t < n_tiles; t++)
        for (size_t c = 0; c < VKERN_TOPK_LANES; c += width) {
            vector most = start(type, is_min);
            for (size_t line = 0; line < depth; line++)
                most = better(type, is_min, load(type, x, (line * n_tiles + t) * step + c), most);
            store_keys(type, maxima, t * VKERN_TOPK_LANES + c, key_of_best(type, is_min, most));
        }
}

/* ---- survivors --------------------------------------------------------------------------------- */

/* No branch on what a parcel has: it could not be foretold. */
VKERN_INLINE size_t find(enum vkern_topk_type type, bool is_min, const void *x, size_t n_parcels,
                         int64_t least, uint32_t *parcels, uint64_t *bits)
{
    const vector limit = limit_of(type, is_min, least);

    for (size_t p = 0; p < n_parcels; p++)
        bits[p] = parcel_bits(type, is_min, x, p * VKERN_TOPK_PARCEL, limit);
    return list_nonzero(bits, n_parcels, parcels);
}

/* Element `at` of x as the n-th survivor: its bits, which vectors turn to keys later, or a 16-bit one's key. */
VKERN_INLINE void put(enum vkern_topk_type type, bool is_min, const void *x, size_t at,
                      uint32_t base, void *keys, uint32_t *positions, size_t n)
{
    const size_t size = vkern_topk_size(type);

    positions[n] = base + (uint32_t)at;
    if (size == 2)
        store_one(false, keys, n, one_key(type, is_min, false, x, at));
    else
        memcpy((unsigned char *)keys + n * size, (const unsigned char *)x + at * size, size);
}

/* Bits of n survivors to keys; beyond n is slack. */
VKERN_INLINE void turn_to_keys(enum vkern_topk_type type, bool is_min, void *keys, size_t n)
{
    for (size_t i = 0; vkern_topk_size(type) > 2 && i < n; i += per_vector(type))
        store_keys(type, keys, i, key_of(type, is_min, false, load(type, keys, i)));
}

/*
 * The elements `bits` tells of, from `at` on, as survivors from the n-th on; returns how many there are then.
 * The first two are put without asking whether they are there (the parcel is), a branch only beyond.
 */
VKERN_INLINE size_t append(enum vkern_topk_type type, bool is_min, const void *x, size_t at,
                           uint64_t bits, uint32_t base, void *keys, uint32_t *positions, size_t n)
{
    const uint64_t last = UINT64_C(1) << (VKERN_TOPK_PARCEL - 1);
    const size_t end = n + (size_t)__builtin_popcountll(bits);

    if (end > n + 8) {
        append_many(bits, base + (uint32_t)at, positions + n);
        for (; n < end; n++)
            put(type, is_min, x, positions[n] - base, base, keys, positions, n);
        return end;
    }
    put(type, is_min, x, at + (size_t)__builtin_ctzll(bits | last), base, keys, positions, n++);
    bits &= bits - 1;
    put(type, is_min, x, at + (size_t)__builtin_ctzll(bits | last), base, keys, positions, n++);
    for (bits &= bits - 1; bits; bits &= bits - 1)
        put(type, is_min, x, at + (size_t)__builtin_ctzll(bits), base, keys, positions, n++);
    return end;
}

VKERN_INLINE size_t take(enum vkern_topk_type type, bool is_min, const void *x,
                         const uint32_t *parcels, const uint64_t *bits, size_t n_parcels,
                         uint32_t base, void *keys, uint32_t *positions)
{
    size_t n = 0;

    for (size_t i = 0; i < n_parcels; i++)
        n = append(type, is_min, x, (size_t)parcels[i] * VKERN_TOPK_PARCEL, bits[parcels[i]], base,
                   keys, positions, n);
    turn_to_keys(type, is_min, keys, n);
    return n;
}

VKERN_INLINE size_t collect(enum vkern_topk_type type, bool is_min, const void *x, size_t n,
                            int64_t least, uint32_t base, void *keys, uint32_t *positions)
{
    const vector limit = limit_of(type, is_min, least);
    size_t count = 0, i = 0;

    for (; i + VKERN_TOPK_PARCEL <= n; i += VKERN_TOPK_PARCEL)
        count = append(type, is_min, x, i, parcel_bits(type, is_min, x, i, limit), base, keys,
                       positions, count);
    for (; i < n; i++) {
        const bool is_there = one_key(type, is_min, false, x, i) >= least;
        put(type, is_min, x, i, base, keys, positions, count);
        count += is_there;
    }
    turn_to_keys(type, is_min, keys, count);
    return count;
}

#endif
