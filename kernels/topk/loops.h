/*
 * loops.h - the loops of topk_avx2.c and topk_avx512.c, which differ in the width of a vector alone. The
 * including file gives `vector` and what is done to one:
 *
 *     load, start, better, better_of_two, limit_of     as their comments there say
 *     key_of, key_of_best, store_keys, reduce          keys of a vector
 *     reaches, parcel_bits                             bits of a vector's, a parcel's elements that
 *                                                      reach a limit
 *     is_any_nan, list_nonzero
 *     append_many, append_eight                        set bits' numbers, of one word or of eight
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

/* The set bits' numbers: the first two without asking whether they are there, a branch only beyond. */
VKERN_INLINE size_t append_bits(uint64_t bits, uint32_t position, uint32_t *to)
{
    const size_t count = (size_t)__builtin_popcountll(bits);

    if (count > 8) return append_many(bits, position, to);
    to[0] = position + (uint32_t)__builtin_ctzll(bits | UINT64_C(1) << 63);
    bits &= bits - 1;
    to[1] = position + (uint32_t)__builtin_ctzll(bits | UINT64_C(1) << 63);
    bits &= bits - 1;
    for (to += 2; bits; bits &= bits - 1)
        *to++ = position + (uint32_t)__builtin_ctzll(bits);
    return count;
}

/* Keys of the elements at positions less base: fetched one by one, turned a vector at a time. */
VKERN_INLINE void fetch_keys(enum vkern_topk_type type, bool is_min, const void *x, uint32_t base,
                             const uint32_t *positions, size_t n, void *keys)
{
    const size_t size = vkern_topk_size(type);
    unsigned char *to = keys;

    if (size == 2) {
        for (size_t i = 0; i < n; i++)
            store_one(false, keys, i, one_key(type, is_min, false, x, positions[i] - base));
        return;
    }
    for (size_t i = 0; i < n; i++)
        memcpy(to + i * size, (const unsigned char *)x + (size_t)(positions[i] - base) * size,
               size);
    for (size_t i = 0; i < n; i += per_vector(type)) /* beyond n is slack */
        store_keys(type, keys, i, key_of(type, is_min, false, load(type, keys, i)));
}

VKERN_INLINE size_t take(enum vkern_topk_type type, bool is_min, const void *x,
                         const uint32_t *parcels, const uint64_t *bits, size_t n_parcels,
                         uint32_t base, void *keys, uint32_t *positions)
{
    size_t n = 0, i = 0;

    for (; i + 8 <= n_parcels; i += 8)
        n += append_eight(bits + i, parcels + i, base, positions + n);
    for (; i < n_parcels; i++)
        n += append_bits(bits[i], base + parcels[i] * VKERN_TOPK_PARCEL, positions + n);
    fetch_keys(type, is_min, x, base, positions, n, keys);
    return n;
}

VKERN_INLINE size_t collect(enum vkern_topk_type type, bool is_min, const void *x, size_t n,
                            int64_t least, uint32_t base, void *keys, uint32_t *positions)
{
    const size_t step = per_vector(type);
    const vector limit = limit_of(type, is_min, least);
    size_t count = 0, i = 0;

    for (; i + VKERN_TOPK_PARCEL <= n; i += VKERN_TOPK_PARCEL)
        count += append_bits(parcel_bits(type, is_min, x, i, limit), base + (uint32_t)i,
                             positions + count);
    for (; i + step <= n; i += step)
        count += append_bits(reaches(type, is_min, load(type, x, i), limit), base + (uint32_t)i,
                             positions + count);
    for (; i < n; i++) {
        positions[count] = base + (uint32_t)i;
        count += one_key(type, is_min, false, x, i) >= least;
    }
    fetch_keys(type, is_min, x, base, positions, count, keys);
    return count;
}

#endif
