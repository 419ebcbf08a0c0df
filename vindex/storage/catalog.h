/*
 * catalog.h - the ordered key-value interface of everything that is not a block: table number + key ->
 * record bytes. Implementations: LMDB, memory (here), SQLite shadow tables (sqlite_ext).
 *
 * A catalog is one session's view of a store and belongs to one thread at a time. Reads happen between
 * refresh and release and see one commit, plus what this session has put. Puts and deletes of a write
 * session stay private until commit. Keys exclude the table number; key order is memcmp.
 */
#ifndef VINDEX_STORAGE_CATALOG_H
#define VINDEX_STORAGE_CATALOG_H

#include "base/bytes.h"
#include "vindex.h"

enum catalog_table {
    TABLE_CONFIG = 1,
    TABLE_TAIL = 2,
    TABLE_SEGMENTS = 3,
    TABLE_IDS = 4,
    TABLE_DEAD = 5,
    TABLE_CODES = 6
};

enum catalog_seek { SEEK_GE, SEEK_GT, SEEK_LE, SEEK_LT };

#define CATALOG_KEY_MAX 32 /* bytes */

/** An entry found; both byte strings are valid until the next call on this catalog. size 0 of key and
 *  data NULL: there is none. */
struct catalog_entry {
    struct bytes key;
    struct bytes value;
};

struct catalog;

struct catalog_ops {
    /* Begin the read view, or renew it. *stamp changes whenever any byte or block pointer of the store may
       have changed; equal stamps mean equal contents and equal pointers. */
    vindex_status (*refresh)(struct catalog *c, uint64_t *stamp);
    /* Catalog reads of this view are over; block pointers stay valid until release. */
    void (*settle)(struct catalog *c);
    /* End the view. Also right after a failed refresh, or twice. */
    void (*release)(struct catalog *c);

    /* entry->value.data NULL: no such key. */
    vindex_status (*get)(struct catalog *c, enum catalog_table table, struct bytes key,
                         struct catalog_entry *entry);
    /* The nearest entry of this table in the direction asked. */
    vindex_status (*seek)(struct catalog *c, enum catalog_table table, enum catalog_seek how,
                          struct bytes key, struct catalog_entry *entry);

    vindex_status (*put)(struct catalog *c, enum catalog_table table, struct bytes key,
                         struct bytes value);
    vindex_status (*del)(struct catalog *c, enum catalog_table table, struct bytes key); /* absent: OK */

    /* Make the next commit as sure as possible (space, locks). Then publish, durably: the blocks put and
       deleted by the session's struct blocks, and the catalog changes, all or nothing. On failure all
       private changes are kept, so that commit can be tried again. A view of this session that is open
       moves on to the new commit; entries and block pointers got before are invalid then (after a
       failure too). */
    vindex_status (*prepare)(struct catalog *c);
    vindex_status (*commit)(struct catalog *c);
    /* Forget private changes and unflushed blocks. */
    void (*rollback)(struct catalog *c);
};

struct catalog {
    const struct catalog_ops *ops;
};

static inline vindex_status catalog_refresh(struct catalog *c, uint64_t *stamp)
{
    return c->ops->refresh(c, stamp);
}
static inline void catalog_settle(struct catalog *c)
{
    c->ops->settle(c);
}
static inline void catalog_release(struct catalog *c)
{
    c->ops->release(c);
}
static inline vindex_status catalog_get(struct catalog *c, enum catalog_table table, struct bytes key,
                                        struct catalog_entry *entry)
{
    return c->ops->get(c, table, key, entry);
}
static inline vindex_status catalog_seek(struct catalog *c, enum catalog_table table,
                                         enum catalog_seek how, struct bytes key,
                                         struct catalog_entry *entry)
{
    return c->ops->seek(c, table, how, key, entry);
}
static inline vindex_status catalog_put(struct catalog *c, enum catalog_table table, struct bytes key,
                                        struct bytes value)
{
    return c->ops->put(c, table, key, value);
}
static inline vindex_status catalog_del(struct catalog *c, enum catalog_table table, struct bytes key)
{
    return c->ops->del(c, table, key);
}
static inline vindex_status catalog_commit(struct catalog *c)
{
    vindex_status st = c->ops->prepare(c);
    return st != VINDEX_OK ? st : c->ops->commit(c);
}
static inline void catalog_rollback(struct catalog *c)
{
    c->ops->rollback(c);
}

/**
 * The entries of a table whose keys are numbers of 8 bytes (all but config), in order:
 *
 *     struct catalog_walk at = {.catalog = catalog, .table = TABLE_SEGMENTS};
 *     for (;;) {
 *         vindex_status st = vindex__walk_next(&at);
 *         if (st != VINDEX_OK || !at.value.data) return st;
 *
 * Entries may be put and deleted on the way. CORRUPT: a key of another length.
 */
struct catalog_walk {
    struct catalog *catalog;
    enum catalog_table table;
    bool is_begun;
    unsigned char key[8]; /* of this entry */
    struct bytes value;   /* data NULL: there are no more */
};
vindex_status vindex__walk_next(struct catalog_walk *at);

/**
 * For owners of a catalog and blocks outside the library (sqlite_ext): an index over them.
 *
 * open: the records exist already. create: writes config and state (options as vindex_create's). The handles
 * stay the caller's, must outlive the index, and are used on the calling thread only. A writer's commit calls
 * the catalog's commit, which may leave durability to the owner's transaction. forget: after a rollback; was_read:
 * what was rolled back may have been searched or learnt from, so audits of it go too.
 */
struct blocks;
vindex_status vindex_open_on(struct catalog *catalog, struct blocks *blocks, vindex **index);
vindex_status vindex_create_on(struct catalog *catalog, struct blocks *blocks,
                               const vindex_create_options *options, vindex **index);
void vindex_forget(vindex *index, bool was_read);

#endif
