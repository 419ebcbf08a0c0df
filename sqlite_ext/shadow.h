/*
 * shadow.h - the store of one vector column over SQLite shadow tables: a catalog, its blocks, and what they
 * share. FORMAT.md 7 is the layout.
 *
 * Everything put goes into the shadow tables at once: private until SQLite commits, undone by what SQLite
 * rolls back. So the catalog's own commit only deletes blocks, and its rollback has nothing to do. Blocks that
 * were read stay on the heap (a segment's blocks never change) until a snapshot is built that does not need them.
 */
#ifndef VINDEX_SQLITE_SHADOW_H
#define VINDEX_SQLITE_SHADOW_H

#include "ext.h"
#include "storage/blocks.h"
#include "storage/catalog.h"

#define SHADOW_CONFIG_MAX 256 /* bytes of a config record that are remembered */

/* Statements, prepared on first use. Those of a catalog table come in this order for each table. */
enum shadow_statement {
    CONFIG_GET,
    CONFIG_PUT,
    CONFIG_DEL,
    STATE_VIEW,
    BLOCK_GET,
    BLOCK_PUT,
    BLOCK_DEL,
    BLOCK_NEXT,
    ENTRY_FIRST,
    ENTRY_GET = 0,
    ENTRY_GE,
    ENTRY_GT,
    ENTRY_LE,
    ENTRY_LT,
    ENTRY_PUT,
    ENTRY_DEL,
    N_ENTRY,
    N_ENTRY_TABLES = 4, /* tail, segments, ids, codes */
    N_SHADOW_STATEMENTS = ENTRY_FIRST + N_ENTRY_TABLES * N_ENTRY
};

struct cached_block;

struct shadow {
    struct catalog catalog;
    struct blocks blocks;
    sqlite3 *db;
    const char *const *schema_name; /* of the owner, who may rename */
    const char *const *table_name;
    int column;

    sqlite3_stmt *statements[N_SHADOW_STATEMENTS];
    sqlite3_stmt *open; /* the one whose row was lent */
    unsigned char key[8];
    int rc; /* SQLite's code behind the last status that came from it */
    char message[200];

    unsigned char config[SHADOW_CONFIG_MAX]; /* as first read: it must never change */
    size_t config_bytes;

    uint64_t mark; /* of the state the stamp stands for */
    uint64_t stamp;
    uint64_t view;       /* number of the current view */
    uint64_t build_view; /* the last one in which a snapshot looked its blocks up */
    bool is_settled; /* this view's catalog reads are over: what gets blocks now is a snapshot */

    struct block_key *deleted; /* goes with the catalog's commit: until then it can still be read */
    size_t n_deleted, deleted_capacity;

    struct cached_block **buckets; /* n_buckets, a power of two */
    size_t n_buckets, n_cached;
    uint64_t cached_bytes;
};

void vindex__shadow_init(struct shadow *shadow, sqlite3 *db, const char *const *schema_name,
                         const char *const *table_name, int column);
void vindex__shadow_deinit(struct shadow *shadow);
/** Finalize the statements: before the tables are renamed or dropped. */
void vindex__shadow_close(struct shadow *shadow);

/** What catalog_sqlite.c and blocks_sqlite.c share. */
extern const struct catalog_ops vindex__shadow_catalog_ops;
extern const struct blocks_ops vindex__shadow_blocks_ops;

/** The statement, reset; prepared first if need be. */
vindex_status vindex__shadow_statement(struct shadow *shadow, int which, const char *format,
                                       sqlite3_stmt **statement);
/** Remember SQLite's code and text; the status it stands for. */
vindex_status vindex__shadow_fail(struct shadow *shadow, int rc);
/** A value in a shadow table is not what it must be. */
vindex_status vindex__shadow_corrupt(struct shadow *shadow, const char *what);
/** The catalog's commit: delete what was to be deleted with it. */
vindex_status vindex__shadow_delete_blocks(struct shadow *shadow);
/** Free cached blocks that the last snapshot built did not use. Only when no view is held. */
void vindex__shadow_sweep(struct shadow *shadow);

#endif
