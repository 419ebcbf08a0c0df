/*
 * ids.c - sets of rowids.
 */
#include "ids.h"

#include <stdlib.h>

bool vindex__ids_add(struct ids *ids, int64_t id)
{
    if (ids->n == ids->capacity) {
        size_t capacity = ids->capacity ? 2 * ids->capacity : 64;
        int64_t *grown = sqlite3_realloc64(ids->items, capacity * sizeof *grown);
        if (!grown) return false;
        ids->items = grown;
        ids->capacity = capacity;
    }
    ids->items[ids->n++] = id;
    return true;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

void vindex__ids_sort(struct ids *ids)
{
    bool is_sorted = true;
    for (size_t i = 1; i < ids->n && is_sorted; i++)
        is_sorted = ids->items[i - 1] < ids->items[i];
    if (is_sorted) return;
    qsort(ids->items, ids->n, sizeof *ids->items, compare);
    size_t n = 1;
    for (size_t i = 1; i < ids->n; i++)
        if (ids->items[i] != ids->items[n - 1]) ids->items[n++] = ids->items[i];
    ids->n = n;
}

void vindex__ids_reduce(struct ids *ids, const struct ids *other, bool keep)
{
    size_t n = 0, j = 0;
    for (size_t i = 0; i < ids->n; i++) {
        while (j < other->n && other->items[j] < ids->items[i])
            j++;
        bool is_there = j < other->n && other->items[j] == ids->items[i];
        if (is_there == keep) ids->items[n++] = ids->items[i];
    }
    ids->n = n;
}

void vindex__ids_free(struct ids *ids)
{
    sqlite3_free(ids->items);
    memset(ids, 0, sizeof *ids);
}
