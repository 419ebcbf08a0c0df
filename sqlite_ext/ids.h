/*
 * ids.h - sets of rowids, sorted: what a filter leaves, and what a walk has given already.
 */
#ifndef VINDEX_SQLITE_IDS_H
#define VINDEX_SQLITE_IDS_H

#include "ext.h"

struct ids {
    int64_t *items;
    size_t n, capacity;
};

/** Append, in any order; vindex__ids_sort before the set is used. False: no memory. */
bool vindex__ids_add(struct ids *ids, int64_t id);
/** Sort and drop repetitions. */
void vindex__ids_sort(struct ids *ids);
/** Keep what is in `other` too (keep), or what is not in it. Both sorted. */
void vindex__ids_reduce(struct ids *ids, const struct ids *other, bool keep);
void vindex__ids_free(struct ids *ids);

#endif
