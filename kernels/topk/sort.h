/*
 * sort.h - sorting candidates with 32-bit keys best first, stably: rank and position in one word, by digits.
 * Plain C for all levels; each file that includes it compiles it for its own instructions.
 */
#ifndef VKERN_TOPK_SORT_H
#define VKERN_TOPK_SORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/init.h"

/* Counts of each digit become where its first entry goes. */
VKERN_INLINE void vkern_topk_starts_of(uint32_t counts[256])
{
    uint32_t sum = 0;

    for (size_t digit = 0; digit < 256; digit++) {
        const uint32_t count = counts[digit];
        counts[digit] = sum;
        sum += count;
    }
}

/* One pass by eight bits of the entries; both are counted before, as moving does not change them. */
VKERN_INLINE void vkern_topk_move_by_digit(const uint64_t *entries, uint64_t *to, size_t n,
                                           unsigned shift, uint32_t start[256])
{
    vkern_topk_starts_of(start);
    for (size_t i = 0; i < n; i++)
        to[start[entries[i] >> shift & 255]++] = entries[i];
}

/* By bits [shift, shift + 16); the result is in `entries` again. `shift` is a constant where this is
 * inlined: shifts by a variable take three times as long. */
VKERN_INLINE void vkern_topk_sort_by_16_bits(uint64_t *entries, uint64_t *spare, size_t n,
                                             unsigned shift)
{
    uint32_t low[256] = {0}, high[256] = {0};

    for (size_t i = 0; i < n; i++) {
        low[entries[i] >> shift & 255]++;
        high[entries[i] >> (shift + 8) & 255]++;
    }
    vkern_topk_move_by_digit(entries, spare, n, shift, low);
    vkern_topk_move_by_digit(spare, entries, n, shift + 8, high);
}

/* Entries that differ only in bits not yet looked at are few and close: false if they turn out not to be.
 * Equal ranks are in order of position, which is their lower half. */
VKERN_INLINE bool vkern_topk_insert_what_is_left(uint64_t *entries, size_t n)
{
    size_t moves = 0;

    for (size_t i = 1; i < n; i++) {
        const uint64_t entry = entries[i];
        size_t j = i;
        if (entries[i - 1] <= entry) continue;
        for (; j > 0 && entries[j - 1] > entry; j--)
            entries[j] = entries[j - 1];
        entries[j] = entry;
        moves += i - j;
        if (moves > 4 * n) return false;
    }
    return true;
}

/* Least and largest of n >= 1 keys. */
VKERN_INLINE void vkern_topk_range(const int32_t *keys, size_t n, int32_t *worst, int32_t *best)
{
    int32_t low = keys[0], high = keys[0];

    for (size_t i = 1; i < n; i++) {
        low = keys[i] < low ? keys[i] : low;
        high = keys[i] > high ? keys[i] : high;
    }
    *worst = low, *best = high;
}

/*
 * Ranks are distances to the best key, moved up so that the largest fills its word: its upper digits tell
 * most. spare: 16 bytes for each candidate.
 */
VKERN_INLINE void vkern_topk_sort_by_digits(int32_t *keys, uint32_t *positions, size_t n,
                                            uint64_t *spare)
{
    uint64_t *entries = spare, *other = entries + n;
    int32_t worst, best;
    unsigned unused;

    vkern_topk_range(keys, n, &worst, &best);
    unused = best > worst ? (unsigned)__builtin_clz((uint32_t)best - (uint32_t)worst) : 0;
    for (size_t i = 0; i < n; i++)
        entries[i] =
            (uint64_t)(((uint32_t)best - (uint32_t)keys[i]) << unused) << 32 | positions[i];
    vkern_topk_sort_by_16_bits(entries, other, n, 48);
    if (!vkern_topk_insert_what_is_left(entries, n)) {
        vkern_topk_sort_by_16_bits(entries, other, n, 32);
        vkern_topk_sort_by_16_bits(entries, other, n, 48);
    }
    for (size_t i = 0; i < n; i++) {
        keys[i] = (int32_t)((uint32_t)best - ((uint32_t)(entries[i] >> 32) >> unused));
        positions[i] = (uint32_t)entries[i];
    }
}

VKERN_INLINE void vkern_topk_sort_by_insertion(int32_t *keys, uint32_t *positions, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        const int32_t key = keys[i];
        const uint32_t position = positions[i];
        size_t j = i;
        for (; j > 0 && keys[j - 1] < key; j--)
            keys[j] = keys[j - 1], positions[j] = positions[j - 1];
        keys[j] = key, positions[j] = position;
    }
}

/* 24: insertion takes less than 512 counters. */
VKERN_INLINE void vkern_topk_sort_plain(int32_t *keys, uint32_t *positions, size_t n, void *spare)
{
    if (n <= 24)
        vkern_topk_sort_by_insertion(keys, positions, n);
    else
        vkern_topk_sort_by_digits(keys, positions, n, spare);
}

#endif
