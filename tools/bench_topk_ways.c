/*
 * bench_topk_ways.c - the ways a program would select without this library: a heap, quickselect, a sort, and
 * the C++ library's where they are linked in.
 */
#include <stdlib.h>

#include "bench_topk_parts.h"

const struct bench_topk_ways *bench_topk_cpp;

typedef void way_fn(struct bench *bench, const void *row, int64_t *ids);

static void load_items(struct bench *b, const void *row)
{
    for (int64_t i = 0; i < b->s->len; i++)
        b->items[i] = bench_topk_item_at(b, row, i);
}

static void give_items(const struct bench *b, int64_t *ids)
{
    for (int64_t i = 0; i < b->s->k; i++)
        ids[i] = b->items[i].position;
}

static bool is_worse(struct bench_topk_item a, struct bench_topk_item b)
{
    return a.value != b.value ? a.value < b.value : a.position > b.position;
}

static int best_first(const void *a, const void *b)
{
    const struct bench_topk_item *p = a, *q = b;
    return is_worse(*p, *q) ? 1 : is_worse(*q, *p) ? -1 : 0;
}

static void sift_down(struct bench_topk_item *heap, int64_t n, int64_t at)
{
    const struct bench_topk_item moved = heap[at];

    for (int64_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && is_worse(heap[child + 1], heap[child])) child++;
        if (!is_worse(heap[child], moved)) break;
        heap[at] = heap[child];
    }
    heap[at] = moved;
}

/* The worst of the k best on top: what most programs do. */
static void way_heap(struct bench *b, const void *row, int64_t *ids)
{
    const int64_t n = b->s->len, k = b->s->k;

    for (int64_t i = 0; i < k; i++)
        b->items[i] = bench_topk_item_at(b, row, i);
    for (int64_t i = k / 2 - 1; i >= 0; i--)
        sift_down(b->items, k, i);
    for (int64_t i = k; i < n; i++) {
        const struct bench_topk_item next = bench_topk_item_at(b, row, i);
        if (!is_worse(b->items[0], next)) continue;
        b->items[0] = next;
        sift_down(b->items, k, 0);
    }
    qsort(b->items, (size_t)k, sizeof *b->items, best_first);
    give_items(b, ids);
}

/* Hoare's selection with the median of three. */
void bench_topk_plain(struct bench *b, const void *row, int64_t *ids)
{
    struct bench_topk_item *x = b->items;
    int64_t low = 0, high = b->s->len - 1;

    load_items(b, row);
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        struct bench_topk_item p = x[low], q = x[middle], r = x[high], pivot;
        pivot = is_worse(p, q) ? (is_worse(q, r)   ? q
                                  : is_worse(p, r) ? r
                                                   : p)
                               : (is_worse(p, r)   ? p
                                  : is_worse(q, r) ? r
                                                   : q);
        int64_t i = low, j = high;
        while (i <= j) {
            while (is_worse(pivot, x[i]))
                i++;
            while (is_worse(x[j], pivot))
                j--;
            if (i <= j) {
                const struct bench_topk_item t = x[i];
                x[i++] = x[j];
                x[j--] = t;
            }
        }
        if (b->s->k - 1 <= j)
            high = j;
        else if (b->s->k - 1 >= i)
            low = i;
        else
            break;
    }
    qsort(x, (size_t)b->s->k, sizeof *x, best_first);
    give_items(b, ids);
}

static void way_sort(struct bench *b, const void *row, int64_t *ids)
{
    load_items(b, row);
    qsort(b->items, (size_t)b->s->len, sizeof *b->items, best_first);
    give_items(b, ids);
}

static void way_partial_sort(struct bench *b, const void *row, int64_t *ids)
{
    load_items(b, row);
    bench_topk_cpp->partial_sort(b->items, (size_t)b->s->len, (size_t)b->s->k);
    give_items(b, ids);
}

static void way_nth_element(struct bench *b, const void *row, int64_t *ids)
{
    load_items(b, row);
    bench_topk_cpp->nth_element(b->items, (size_t)b->s->len, (size_t)b->s->k);
    give_items(b, ids);
}

static way_fn *const ways[N_WAYS] = {way_heap, bench_topk_plain, way_sort, way_partial_sort,
                                     way_nth_element};
static const char *const way_names[N_WAYS] = {"heap", "quickselect", "sort", "partial_sort",
                                              "nth_element"};

bool bench_topk_has_way(size_t way)
{
    if (ways[way] == way_partial_sort || ways[way] == way_nth_element)
        return bench_topk_cpp != NULL;
    return true;
}

const char *bench_topk_way_name(size_t way)
{
    return way_names[way];
}

void bench_topk_compare(struct bench *b, struct result *r)
{
    const int64_t rows = b->s->rows < 16 ? b->s->rows : 16; /* enough to be told apart */
    int64_t *ids = malloc((size_t)b->s->k * sizeof *ids);

    for (size_t way = 0; way < N_WAYS && ids; way++) {
        double rounds[3];
        if (!bench_topk_has_way(way)) continue;
        for (size_t round = 0; round < 3; round++) {
            const double start = bench_topk_now_ns(b->s);
            for (int64_t row = 0; row < rows; row++)
                ways[way](b, bench_topk_row(b, row), ids);
            rounds[round] = (bench_topk_now_ns(b->s) - start) / (double)rows;
        }
        r->ways_ns[way] = bench_topk_median(rounds, 3);
    }
    free(ids);
}
