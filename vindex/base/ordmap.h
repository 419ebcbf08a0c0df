/*
 * ordmap.h - an ordered map from byte strings to byte strings (a skip list, Pugh 1990): the memory
 * catalog, and the buffer of a catalog transaction.
 */
#ifndef VINDEX_BASE_ORDMAP_H
#define VINDEX_BASE_ORDMAP_H

#include "base/bytes.h"
#include "vindex.h"

struct ordmap;

/** One entry, owned by the map. `tag` is the user's (the catalog marks deletions with it). */
struct ordmap_entry {
    struct bytes key;
    struct bytes value;
    uint32_t tag;
};

vindex_status vindex__ordmap_new(struct ordmap **map);
void vindex__ordmap_free(struct ordmap *map);

/** Copies key and value in; replaces an existing value. Entries handed out for this key become invalid.
 *  VINDEX_NOMEM leaves the map as it was. */
vindex_status vindex__ordmap_put(struct ordmap *map, struct bytes key, struct bytes value, uint32_t tag);

/** Remove; false if the key was not there. */
bool vindex__ordmap_delete(struct ordmap *map, struct bytes key);

/** The entry with this key, or NULL. Valid until it is replaced, deleted or the map cleared. */
const struct ordmap_entry *vindex__ordmap_get(const struct ordmap *map, struct bytes key);

/** The first entry with key >= (or > if `after`) the given one in memcmp order, or NULL. */
const struct ordmap_entry *vindex__ordmap_seek(const struct ordmap *map, struct bytes key, bool after);
/** The last entry with key < the given one, or NULL. */
const struct ordmap_entry *vindex__ordmap_before(const struct ordmap *map, struct bytes key);
/** The entry after this one, or NULL; the entry must still be in the map. */
const struct ordmap_entry *vindex__ordmap_next(const struct ordmap_entry *entry);

/** Move all entries of `from` into `to`, where they replace those with the same key; an entry with
 *  delete_tag only deletes that. Allocates nothing, cannot fail; `from` is empty then. */
void vindex__ordmap_absorb(struct ordmap *to, struct ordmap *from, uint32_t delete_tag);

void vindex__ordmap_clear(struct ordmap *map);
size_t vindex__ordmap_count(const struct ordmap *map);
/** Bytes of heap held. */
size_t vindex__ordmap_bytes(const struct ordmap *map);

/** memcmp order, a prefix first. */
static inline int bytes_compare(struct bytes a, struct bytes b)
{
    size_t n = a.size < b.size ? a.size : b.size;
    int c = n ? memcmp(a.data, b.data, n) : 0;
    return c ? c : (a.size > b.size) - (a.size < b.size);
}

#endif
