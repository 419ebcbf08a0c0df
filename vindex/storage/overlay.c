/*
 * overlay.c - the merge: of the nearest change and the nearest committed entry the nearer one wins, a
 * change over a committed entry of the same key; a deletion is stepped over.
 */
#include "storage/overlay.h"

#include <assert.h>

struct whole_key vindex__whole_key(enum catalog_table table, struct bytes key)
{
    struct whole_key whole;

    assert(key.size <= CATALOG_KEY_MAX);
    whole.bytes[0] = (unsigned char)table;
    if (key.size) memcpy(whole.bytes + 1, key.data, key.size);
    whole.size = 1 + key.size;
    return whole;
}

const struct ordmap_entry *vindex__map_seek(const struct ordmap *map, enum catalog_seek how,
                                            struct bytes key)
{
    const struct ordmap_entry *exact;

    switch (how) {
    case SEEK_GE: return vindex__ordmap_seek(map, key, false);
    case SEEK_GT: return vindex__ordmap_seek(map, key, true);
    case SEEK_LT: return vindex__ordmap_before(map, key);
    case SEEK_LE:
        exact = vindex__ordmap_get(map, key);
        return exact ? exact : vindex__ordmap_before(map, key);
    }
    return NULL;
}

static bool is_upward(enum catalog_seek how)
{
    return how == SEEK_GE || how == SEEK_GT;
}

/* The committed entry stands unless a change lies nearer, or at the same key. */
static bool change_wins(const struct ordmap_entry *change, struct bytes committed,
                        enum catalog_seek how)
{
    int order;
    if (!change) return false;
    if (committed.size == 0) return true;
    order = bytes_compare(change->key, committed);
    return is_upward(how) ? order <= 0 : order >= 0;
}

vindex_status vindex__overlay_seek(const struct ordmap *changes, vindex__base_seek_fn *seek_base,
                                   void *base, enum catalog_table table, enum catalog_seek how,
                                   struct bytes key, struct catalog_entry *entry)
{
    struct catalog_entry none = {{NULL, 0}, {NULL, 0}};
    struct whole_key at = vindex__whole_key(table, key);

    for (;;) {
        const struct ordmap_entry *change =
            changes ? vindex__map_seek(changes, how, whole_key_bytes(&at)) : NULL;
        vindex_status st;

        *entry = none;
        st = seek_base(base, how, whole_key_bytes(&at), entry);
        if (st != VINDEX_OK) return st;
        if (change_wins(change, entry->key, how)) {
            entry->key = change->key;
            entry->value = change->value;
        } else {
            change = NULL;
        }
        if (entry->key.size == 0 || *(const unsigned char *)entry->key.data != table) {
            *entry = none;
            return VINDEX_OK;
        }
        if (!change || change->tag != OVERLAY_DELETED) break;
        at.size = change->key.size;
        memcpy(at.bytes, change->key.data, at.size);
        how = is_upward(how) ? SEEK_GT : SEEK_LT;
    }
    entry->key = bytes_of((const char *)entry->key.data + 1, entry->key.size - 1);
    return VINDEX_OK;
}

vindex_status vindex__overlay_put(struct ordmap *changes, enum catalog_table table,
                                  struct bytes key, struct bytes value)
{
    struct whole_key whole = vindex__whole_key(table, key);
    return vindex__ordmap_put(changes, whole_key_bytes(&whole), value, 0);
}

vindex_status vindex__overlay_del(struct ordmap *changes, enum catalog_table table,
                                  struct bytes key)
{
    struct whole_key whole = vindex__whole_key(table, key);
    return vindex__ordmap_put(changes, whole_key_bytes(&whole), bytes_of(NULL, 0), OVERLAY_DELETED);
}
