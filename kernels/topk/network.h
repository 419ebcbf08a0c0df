/*
 * network.h - sorting candidates by a network of exchanges (Batcher's bitonic merges): no branch hangs on a
 * key, and a vector is exchanged at once. For levels with vectors; the including file gives `vector` and
 *
 *     load_words, store_words      32-bit lanes in memory
 *     smaller, larger              of two vectors, lane by lane, unsigned
 *     exchange(v, x)               lanes i and i ^ x: the smaller to the lower place
 *     reversed                     lanes from last to first
 *     split_words                  a vector's words about a limit
 *
 * An entry is one word, the upper bits of a key's distance to the best key above the candidate's number,
 * so entries differ and ties stand in the order they came in. Keys that those bits do not tell apart are
 * few, and close: they are put right at the end.
 *
 *     blocks of `size` vectors are in order  ->  mirror: i against 2 size - 1 - i
 *                                                then distances size / 2, ..., 1, then inside a vector
 *
 * Every exchange puts the larger behind. So the largest word, thought to follow the last entry, never
 * moves, and exchanges with it are left out: any number of vectors is sorted, not powers of two alone.
 *
 * Merging takes more the longer the blocks. So many words are first parted about a sampled word, as
 * quicksort does, and what lies beyond the k best is not looked at again.
 */
#ifndef VKERN_TOPK_NETWORK_H
#define VKERN_TOPK_NETWORK_H

#include "kernels/topk/sort.h"

enum { WORDS = sizeof(vector) / 4, QUAD = 4 * WORDS }; /* four vectors are sorted in registers */

VKERN_INLINE void order_two(vector *a, vector *b)
{
    const vector low = smaller(*a, *b);

    *b = larger(*a, *b);
    *a = low;
}

VKERN_INLINE vector merge_lanes(vector v)
{
#pragma GCC unroll 4
    for (size_t distance = WORDS / 2; distance > 0; distance /= 2)
        v = exchange(v, distance);
    return v;
}

VKERN_INLINE vector sort_lanes(vector v)
{
#pragma GCC unroll 4
    for (size_t size = 2; size <= WORDS; size *= 2) {
        v = exchange(v, size - 1);
#pragma GCC unroll 4
        for (size_t distance = size / 4; distance > 0; distance /= 2)
            v = exchange(v, distance);
    }
    return v;
}

/* Two sorted vectors, the second read backwards. */
VKERN_INLINE void mirror_two(vector *a, vector *b)
{
    vector back = reversed(*b);

    order_two(a, &back);
    *b = reversed(back);
}

VKERN_INLINE void sort_quad(uint32_t *words)
{
    vector a = sort_lanes(load_words(words)), b = sort_lanes(load_words(words + WORDS));
    vector c = sort_lanes(load_words(words + 2 * WORDS));
    vector d = sort_lanes(load_words(words + 3 * WORDS));

    mirror_two(&a, &b), mirror_two(&c, &d);
    a = merge_lanes(a), b = merge_lanes(b), c = merge_lanes(c), d = merge_lanes(d);
    mirror_two(&a, &d), mirror_two(&b, &c);
    order_two(&a, &b), order_two(&c, &d);
    store_words(words, merge_lanes(a)), store_words(words + WORDS, merge_lanes(b));
    store_words(words + 2 * WORDS, merge_lanes(c)), store_words(words + 3 * WORDS, merge_lanes(d));
}

/* The last distances of a merge. */
VKERN_INLINE void merge_quad(uint32_t *words)
{
    vector a = load_words(words), b = load_words(words + WORDS);
    vector c = load_words(words + 2 * WORDS), d = load_words(words + 3 * WORDS);

    order_two(&a, &c), order_two(&b, &d);
    order_two(&a, &b), order_two(&c, &d);
    store_words(words, merge_lanes(a)), store_words(words + WORDS, merge_lanes(b));
    store_words(words + 2 * WORDS, merge_lanes(c)), store_words(words + 3 * WORDS, merge_lanes(d));
}

/* Blocks of `size` words, sorted in halves, each against its second half read backwards. */
VKERN_INLINE void mirror_blocks(uint32_t *words, size_t n, size_t size)
{
    for (size_t from = 0; from + size / 2 < n; from += size)
        for (size_t i = from + size > n ? from + size - n : 0; i < size / 2; i += WORDS) {
            uint32_t *front = words + from + i, *back = words + from + size - WORDS - i;
            vector a = load_words(front), b = load_words(back);
            mirror_two(&a, &b);
            store_words(front, a), store_words(back, b);
        }
}

VKERN_INLINE void order_at_distance(uint32_t *words, size_t n, size_t distance)
{
    for (size_t from = 0; from + distance < n; from += 2 * distance)
        for (size_t i = from; i < from + distance && i + distance < n; i += WORDS) {
            vector a = load_words(words + i), b = load_words(words + i + distance);
            order_two(&a, &b);
            store_words(words + i, a), store_words(words + i + distance, b);
        }
}

/* n, a multiple of QUAD, words in ascending order. */
VKERN_INLINE void sort_words(uint32_t *words, size_t n)
{
    for (size_t i = 0; i < n; i += QUAD)
        sort_quad(words + i);
    for (size_t size = 2 * QUAD; size < 2 * n; size *= 2) {
        mirror_blocks(words, n, size);
        for (size_t distance = size / 4; distance >= QUAD; distance /= 2)
            order_at_distance(words, n, distance);
        for (size_t i = 0; i < n; i += QUAD)
            merge_quad(words + i);
    }
}

/* true if one of WORDS keys comes before its neighbour in front. */
VKERN_INLINE bool is_any_wrong(const int32_t *keys)
{
    int32_t is_wrong = 0; /* as wide as a key: compared a vector at a time */

    for (ptrdiff_t j = 0; j < WORDS; j++)
        is_wrong |= -(keys[j] > keys[j - 1]);
    return is_wrong != 0;
}

/* Candidates whose distances share the bits of an entry; false if they are too many to insert. */
VKERN_INLINE bool put_right(int32_t *keys, uint32_t *positions, size_t n)
{
    size_t moves = 0;

    for (size_t i = 1; i < n; i++) {
        while (i + WORDS <= n && !is_any_wrong(keys + i))
            i += WORDS;
        if (i == n) break;
        const int32_t key = keys[i];
        const uint32_t position = positions[i];
        size_t j = i;
        if (keys[i - 1] >= key) continue;
        for (; j > 0 && keys[j - 1] < key; j--)
            keys[j] = keys[j - 1], positions[j] = positions[j - 1];
        keys[j] = key, positions[j] = position;
        moves += i - j;
        if (moves > 4 * n) return false;
    }
    return true;
}

/* ---- the first k of n words -------------------------------------------------------------------- */

enum {
    LEAF = 640,       /* words: so many are merged faster than parted */
    PARTED_MIN = 192 /* so few are merged as fast even where a part of them is asked for */
};

static void sort_leaf(uint32_t *words, size_t n)
{
    uint32_t leaf[LEAF + WORDS];
    const size_t padded = (n + QUAD - 1) / QUAD * QUAD;

    memcpy(leaf, words, n * sizeof *words);
    for (size_t i = n; i < padded; i++)
        leaf[i] = UINT32_MAX;
    sort_words(leaf, padded);
    memcpy(words, leaf, n * sizeof *words);
}

/* A word that about `rank` of n are below, a few at least and not all. */
VKERN_INLINE uint32_t sampled_word(const uint32_t *words, size_t n, size_t rank)
{
    uint32_t sample[QUAD];
    const size_t step = n / QUAD, at = rank * QUAD / n;

    for (size_t i = 0; i < QUAD; i++)
        sample[i] = words[i * step];
    sort_quad(sample);
    return sample[at < 2 ? 2 : at < QUAD - 2 ? at : QUAD - 2];
}

/* Words below the limit to the front (returned: how many), all others behind them. */
VKERN_INLINE size_t part_words(uint32_t *words, size_t n, uint32_t limit, uint32_t *spare)
{
    size_t n_front = 0, n_back = 0, i = 0;

    for (; i + WORDS <= n; i += WORDS)
        split_words(words + i, limit, words + n_front, &n_front, spare + n_back, &n_back);
    for (; i < n; i++) {
        const uint32_t word = words[i];
        words[n_front] = spare[n_back] = word;
        n_front += word < limit;
        n_back += word >= limit;
    }
    memcpy(words + n_front, spare, n_back * sizeof *words);
    return n_front;
}

/* Words [0, k) of n different ones become the least, ascending. spare: n words and a vector. false if bad
 * samples used up the budget of words to part. */
static bool sort_first(uint32_t *words, size_t n, size_t k, uint32_t *spare, size_t *budget)
{
    while (k > 0 && (n > LEAF || (n > PARTED_MIN && k < n - n / 4))) {
        const uint32_t limit = sampled_word(words, n, k < n - n / 16 ? k : n / 2);
        const size_t n_front = part_words(words, n, limit, spare);
        if (*budget < n) return false;
        *budget -= n;
        if (n_front >= k) {
            n = n_front;
            continue;
        }
        if (!sort_first(words, n_front, n_front, spare, budget)) return false;
        words += n_front, n -= n_front, k -= n_front;
    }
    if (k > 0) sort_leaf(words, n);
    return true;
}

/* k <= n <= 2^16 - QUAD. spare: as for vkern_topk_sort_fn. */
VKERN_INLINE bool sort_by_network(int32_t *keys, uint32_t *positions, size_t n, size_t k,
                                  void *spare)
{
    uint32_t *words = (uint32_t *)(void *)(((uintptr_t)spare + 63) / 64 * 64);
    const size_t padded = (n + QUAD - 1) / QUAD * QUAD;
    const uint32_t number = UINT32_MAX >> __builtin_clz((uint32_t)padded - 1);
    int32_t *keys_to = (int32_t *)(void *)(words + padded);
    uint32_t *positions_to = words + 2 * padded;
    int32_t worst, best;
    size_t budget = 64 * n, sorted = k + WORDS < n ? k + WORDS : n;
    unsigned unused;

    vkern_topk_range(keys, n, &worst, &best);
    unused = best > worst ? (unsigned)__builtin_clz((uint32_t)best - (uint32_t)worst) : 0;
    for (size_t i = 0; i < n; i++)
        words[i] = ((((uint32_t)best - (uint32_t)keys[i]) << unused) & ~number) | (uint32_t)i;
    if (!sort_first(words, n, sorted, words + padded, &budget)) return false;
    if (sorted < n && (words[sorted - 1] ^ words[k - 1]) <= number) { /* keys like the k-th go on */
        sorted = n;
        if (!sort_first(words, n, n, words + padded, &budget)) return false;
    }
    for (size_t i = 0; i < sorted; i++) {
        const size_t from = words[i] & number;
        positions_to[i] = positions[from];
        keys_to[i] = keys[from];
    }
    if (!put_right(keys_to, positions_to, sorted)) return false;
    memcpy(keys, keys_to, k * sizeof *keys);
    memcpy(positions, positions_to, k * sizeof *positions);
    return true;
}

static void sort(int32_t *keys, uint32_t *positions, size_t n, size_t k, void *spare)
{
    enum { FEW = 16, MOST = VKERN_TOPK_PARTED }; /* beyond, insertion or digits take less */

    if (n <= FEW)
        vkern_topk_sort_by_insertion(keys, positions, n);
    else if (n > MOST || !sort_by_network(keys, positions, n, k, spare))
        vkern_topk_sort_by_digits(keys, positions, n, spare);
}

#endif
