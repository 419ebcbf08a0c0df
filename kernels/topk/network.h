/*
 * network.h - sorting candidates by a network of exchanges (Batcher's bitonic merges): no branch hangs on a
 * key, and a vector is exchanged at once. For levels with vectors; the including file gives `vector` and
 *
 *     load_words, store_words      32-bit lanes in memory
 *     smaller, larger              of two vectors, lane by lane, unsigned
 *     exchange(v, x)               lanes i and i ^ x: the smaller to the lower place
 *     reversed                     lanes from last to first
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

/* Candidates whose distances share the bits of an entry; false if they are too many to insert. */
VKERN_INLINE bool put_right(int32_t *keys, uint32_t *positions, size_t n)
{
    size_t moves = 0;

    for (size_t i = 1; i < n; i++) {
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

/* n <= 2^16 - QUAD. spare: as for vkern_topk_sort_fn. */
VKERN_INLINE bool sort_by_network(int32_t *keys, uint32_t *positions, size_t n, void *spare)
{
    uint32_t *words = (uint32_t *)(void *)(((uintptr_t)spare + 63) / 64 * 64);
    const size_t padded = (n + QUAD - 1) / QUAD * QUAD;
    const uint32_t number = UINT32_MAX >> __builtin_clz((uint32_t)padded - 1);
    int32_t *keys_to = (int32_t *)(void *)(words + padded);
    uint32_t *positions_to = words + 2 * padded;
    int32_t worst, best, last = INT32_MAX;
    unsigned unused;
    bool is_ordered = true;

    vkern_topk_range(keys, n, &worst, &best);
    unused = best > worst ? (unsigned)__builtin_clz((uint32_t)best - (uint32_t)worst) : 0;
    for (size_t i = 0; i < n; i++)
        words[i] = ((((uint32_t)best - (uint32_t)keys[i]) << unused) & ~number) | (uint32_t)i;
    for (size_t i = n; i < padded; i++)
        words[i] = UINT32_MAX;
    sort_words(words, padded);
    for (size_t i = 0; i < n; i++) {
        const size_t from = words[i] & number;
        const int32_t key = keys[from];
        positions_to[i] = positions[from];
        keys_to[i] = key;
        is_ordered &= key <= last;
        last = key;
    }
    if (!is_ordered && !put_right(keys_to, positions_to, n)) return false;
    memcpy(keys, keys_to, n * sizeof *keys);
    memcpy(positions, positions_to, n * sizeof *positions);
    return true;
}

static void sort(int32_t *keys, uint32_t *positions, size_t n, void *spare)
{
    enum { FEW = 16, MOST = 4096 }; /* below, insertion takes less; above, digits (bench_topk) */

    if (n <= FEW)
        vkern_topk_sort_by_insertion(keys, positions, n);
    else if (n > MOST || !sort_by_network(keys, positions, n, spare))
        vkern_topk_sort_by_digits(keys, positions, n, spare);
}

#endif
