/*
 * overlay.h - the private changes of a write session: puts and deletions in key order, and their picture
 * merged over what is committed.
 *
 * Keys here are whole: the table's byte, then the key.
 */
#ifndef VINDEX_STORAGE_OVERLAY_H
#define VINDEX_STORAGE_OVERLAY_H

#include "base/ordmap.h"
#include "storage/catalog.h"

#define OVERLAY_DELETED 1u /* tag of an entry that says: this key is deleted */
#define WHOLE_KEY_MAX (1 + CATALOG_KEY_MAX)

struct whole_key {
    unsigned char bytes[WHOLE_KEY_MAX];
    size_t size;
};

struct whole_key vindex__whole_key(enum catalog_table table, struct bytes key);
static inline struct bytes whole_key_bytes(const struct whole_key *key)
{
    return bytes_of(key->bytes, key->size);
}

/** What is committed: the nearest whole key in the direction asked, in any table; entry->key.size 0 for
 *  none. Entries live until the next call. */
typedef vindex_status vindex__base_seek_fn(void *base, enum catalog_seek how, struct bytes key,
                                           struct catalog_entry *entry);

/** catalog_ops.seek over the base with `changes` (may be NULL) on top. */
vindex_status vindex__overlay_seek(const struct ordmap *changes, vindex__base_seek_fn *seek_base,
                                   void *base, enum catalog_table table, enum catalog_seek how,
                                   struct bytes key, struct catalog_entry *entry);

vindex_status vindex__overlay_put(struct ordmap *changes, enum catalog_table table,
                                  struct bytes key, struct bytes value);
vindex_status vindex__overlay_del(struct ordmap *changes, enum catalog_table table,
                                  struct bytes key);

/** The nearest entry of a map in any of the four directions, or NULL. */
const struct ordmap_entry *vindex__map_seek(const struct ordmap *map, enum catalog_seek how,
                                            struct bytes key);

#endif
