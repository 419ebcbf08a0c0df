/*
 * order.c - the k-th of some keys, the k best of some candidates, and sorting them.
 *
 * k-th: quickselect with the partition kernel. The pivot comes from a small sample, a little to the far
 * side of where k should be, so that mostly one pass leaves little more than k keys. Samples can be made
 * to fail; after some rounds the pivot is the middle of the keys' range instead, which ends within as
 * many rounds as a key has bits.
 *
 * Sort: of 32-bit keys a kernel (kernels/topk/network.h, sort.h); of 64-bit ones insertion for few, else
 * by digits from the least, on the distance to the best key: as many bytes as the candidates really span.
 * It is stable, so ties stay in order of position.
 */
#include <assert.h>
#include <string.h>

#include "kernels/topk/sort.h"
#include "topk/row.h"

enum {
    FEW = 24,        /* insertion sort beats another partition or a digit's 256 counters */
    SAMPLE_MAX = 63, /* keys a pivot is chosen from */
    SAMPLED_ROUNDS = 24
};

static void sort_descending(int64_t *values, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        const int64_t value = values[i];
        size_t j = i;
        for (; j > 0 && values[j - 1] < value; j--)
            values[j] = values[j - 1];
        values[j] = value;
    }
}

static int64_t sampled_pivot(const struct topk_context *c, const void *keys, size_t n, size_t k)
{
    const size_t size = n < 512 ? 7 : n < 8192 ? 23 : SAMPLE_MAX;
    int64_t sample[SAMPLE_MAX];
    size_t rank = (size_t)((double)k / (double)n * (double)size), at = n / 7;

    /* Steps of an irrational share of n meet no period of the data. */
    for (size_t i = 0; i < size; i++) {
        sample[i] = vindex__topk_key_at(c, keys, at);
        at += (size_t)((double)n * 0.6180339887498949);
        if (at >= n) at -= n;
    }
    sort_descending(sample, size);
    if (2 * k < n)
        rank += size > 7; /* rather below the k-th: it stays with the few above */
    else if (rank > 0)
        rank -= 1;
    return sample[rank < size ? rank : size - 1];
}

static int64_t middle_of_range(const struct topk_context *c, const void *keys, size_t n)
{
    const enum vkern_topk_type type = vindex__topk_key_type(c);
    const int64_t high = c->table->best[type][0](keys, n);
    const int64_t low = ~c->table->best[type][1](keys, n); /* a minimum's key is the complement */

    return (low & high) + ((low ^ high) >> 1); /* floor of the mean, without overflow */
}

static int64_t kth_of_few(const struct topk_context *c, const void *keys, size_t n, size_t k,
                          size_t *n_above)
{
    int64_t values[FEW];

    for (size_t i = 0; i < n; i++)
        values[i] = vindex__topk_key_at(c, keys, i);
    sort_descending(values, n);
    for (*n_above = k - 1; *n_above > 0 && values[*n_above - 1] == values[k - 1];)
        --*n_above;
    return values[k - 1];
}

int64_t vindex__topk_kth(const struct topk_context *c, void *keys, size_t n, size_t k, void *below,
                         size_t *n_above)
{
    vkern_topk_partition_fn *partition = c->table->partition[c->is_wide];
    size_t passed = 0; /* keys known to be above all that are left */
    int64_t kth;

    assert(k >= 1 && k <= n);
    for (size_t round = 0; n > FEW; round++) {
        const int64_t pivot =
            round < SAMPLED_ROUNDS ? sampled_pivot(c, keys, n, k) : middle_of_range(c, keys, n);
        size_t n_below;
        const size_t above = partition(keys, n, pivot, below, &n_below);
        if (k <= above) {
            n = above;
        } else if (k <= n - n_below) {
            *n_above = passed + above;
            return pivot;
        } else {
            void *rest = below;
            below = keys, keys = rest;
            passed += n - n_below;
            k -= n - n_below;
            n = n_below;
        }
    }
    kth = kth_of_few(c, keys, n, k, n_above);
    *n_above += passed;
    return kth;
}

/* Of the candidates at the k-th key keep the first n_equal. */
static void keep_first_equal(const struct topk_context *c, struct topk_found *found, int64_t kth,
                             size_t n_equal)
{
    size_t kept = 0;

    for (size_t i = 0; i < found->n; i++) {
        const int64_t key = vindex__topk_key_at(c, found->keys, i);
        const bool is_equal = key == kth;
        vindex__topk_store_key(c, found->keys, kept, key);
        found->positions[kept] = found->positions[i];
        kept += !is_equal || n_equal > 0;
        n_equal -= is_equal && n_equal > 0;
    }
    found->n = kept;
}

int64_t vindex__topk_trim(const struct topk_context *c, struct topk_found *found, size_t k)
{
    void *copy = c->spare, *below;
    size_t n_above;
    int64_t kth;

    assert(k >= 1 && k <= found->n);
    below = vindex__topk_keys_from(c, copy, found->n + VINDEX__TOPK_SLACK);
    memcpy(copy, found->keys, found->n * vindex__topk_key_bytes(c));
    kth = vindex__topk_kth(c, copy, found->n, k, below, &n_above);
    if (k == found->n) return kth;

    found->n = c->table->keep[c->is_wide](found->keys, found->positions, found->n, kth);
    if (found->n > k) keep_first_equal(c, found, kth, k - n_above);
    assert(found->n == k);
    return kth;
}

/* ---- sorting ----------------------------------------------------------------------------------- */

static void sort_few_wide(struct topk_found *found)
{
    int64_t *keys = found->keys;

    for (size_t i = 1; i < found->n; i++) {
        const int64_t key = keys[i];
        const uint32_t position = found->positions[i];
        size_t j = i;
        for (; j > 0 && keys[j - 1] < key; j--)
            keys[j] = keys[j - 1], found->positions[j] = found->positions[j - 1];
        keys[j] = key, found->positions[j] = position;
    }
}

/* A candidate of 64 bits to be sorted by `rank`, ascending. */
struct wide_entry {
    uint64_t rank, position;
};

/* Passes a sort by digits of numbers up to `most` takes: after an odd number the result is in `spare`. */
static unsigned n_digits(uint64_t most)
{
    return most ? (unsigned)(71 - __builtin_clzll(most)) / 8 : 0;
}

static void sort_digits_wide(struct wide_entry *entries, struct wide_entry *spare, size_t n,
                             uint64_t most)
{
    for (unsigned d = 0; d < n_digits(most); d++) {
        uint32_t start[256] = {0};
        struct wide_entry *swapped = spare;
        for (size_t i = 0; i < n; i++)
            start[entries[i].rank >> 8 * d & 255]++;
        vkern_topk_starts_of(start);
        for (size_t i = 0; i < n; i++)
            spare[start[entries[i].rank >> 8 * d & 255]++] = entries[i];
        spare = entries, entries = swapped;
    }
}

static void sort_positions_narrow(const struct topk_context *c, struct topk_found *found)
{
    int32_t *keys = found->keys;
    uint64_t *entries = c->spare;

    for (size_t i = 0; i < found->n; i++)
        entries[i] = (uint64_t)found->positions[i] << 32 | (uint32_t)keys[i];
    vkern_topk_sort_by_16_bits(entries, entries + found->n, found->n, 32);
    vkern_topk_sort_by_16_bits(entries, entries + found->n, found->n, 48);
    for (size_t i = 0; i < found->n; i++) {
        keys[i] = (int32_t)(uint32_t)entries[i];
        found->positions[i] = (uint32_t)(entries[i] >> 32);
    }
}

static void sort_many_wide(const struct topk_context *c, struct topk_found *found, bool by_position)
{
    int64_t *keys = found->keys;
    struct wide_entry *entries = c->spare, *spare = entries + found->n;
    uint64_t most = 0;
    const uint64_t best =
        by_position ? 0 : (uint64_t)c->table->best[VKERN_TOPK_I64][0](keys, found->n);

    for (size_t i = 0; i < found->n; i++) {
        const uint64_t key = best - (uint64_t)keys[i];
        entries[i].rank = by_position ? found->positions[i] : key;
        entries[i].position = by_position ? key : found->positions[i];
        most |= entries[i].rank;
    }
    sort_digits_wide(entries, spare, found->n, most);
    if (n_digits(most) % 2) entries = spare;
    for (size_t i = 0; i < found->n; i++) {
        const uint64_t key = by_position ? entries[i].position : entries[i].rank;
        keys[i] = (int64_t)(best - key);
        found->positions[i] = (uint32_t)(by_position ? entries[i].rank : entries[i].position);
    }
}

void vindex__topk_finish(const struct topk_context *c, struct topk_found *found, size_t k,
                         bool is_sorted)
{
    const bool is_parted = !c->is_wide && found->n <= VKERN_TOPK_PARTED;

    if (found->is_sorted) return;
    if (is_sorted && is_parted) {
        k = found->n < k ? found->n : k;
        c->table->sort(found->keys, found->positions, found->n, k, c->spare);
        found->n = k;
        return;
    }
    /* Sorting a few too many takes less than finding the k-th first. */
    if (found->n > k && (!is_sorted || found->n > k + k / 4 + 128)) vindex__topk_trim(c, found, k);
    if (is_sorted) vindex__topk_sort(c, found);
    if (found->n > k) found->n = k;
}

void vindex__topk_sort(const struct topk_context *c, struct topk_found *found)
{
    if (!c->is_wide)
        c->table->sort(found->keys, found->positions, found->n, found->n, c->spare);
    else if (found->n <= FEW)
        sort_few_wide(found);
    else
        sort_many_wide(c, found, false);
}

void vindex__topk_sort_by_position(const struct topk_context *c, struct topk_found *found)
{
    if (found->n < 2) return;
    if (c->is_wide)
        sort_many_wide(c, found, true);
    else
        sort_positions_narrow(c, found);
}
