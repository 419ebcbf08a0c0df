/*
 * catalog_walk.c - one entry of a table after the other.
 */
#include "storage/catalog.h"

#include <string.h>

#include "base/status.h"

static const char *const entry_names[] = {[TABLE_TAIL] = "a tail row",
                                          [TABLE_SEGMENTS] = "a segment",
                                          [TABLE_IDS] = "a run of ids",
                                          [TABLE_CODES] = "a segment's codes"};

vindex_status vindex__walk_next(struct catalog_walk *at)
{
    struct catalog_entry entry;
    vindex_status st = catalog_seek(at->catalog, at->table, at->is_begun ? SEEK_GT : SEEK_GE,
                                    bytes_of(at->key, sizeof at->key), &entry);
    at->value = bytes_of(NULL, 0);
    if (st != VINDEX_OK || !entry.value.data) return st;
    if (entry.key.size != sizeof at->key)
        return vindex__corrupt("the key of %s has %zu bytes", entry_names[at->table],
                               entry.key.size);
    memcpy(at->key, entry.key.data, sizeof at->key);
    at->value = entry.value;
    at->is_begun = true;
    return VINDEX_OK;
}
