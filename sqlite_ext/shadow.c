/*
 * shadow.c - what the catalog and the blocks of shadow tables share: statements and errors.
 */
#include "shadow.h"

void vindex__shadow_init(struct shadow *shadow, sqlite3 *db, const char *const *schema_name,
                         const char *const *table_name, int column)
{
    memset(shadow, 0, sizeof *shadow);
    shadow->catalog.ops = &vindex__shadow_catalog_ops;
    shadow->blocks.ops = &vindex__shadow_blocks_ops;
    shadow->db = db;
    shadow->schema_name = schema_name;
    shadow->table_name = table_name;
    shadow->column = column;
}

void vindex__shadow_close(struct shadow *shadow)
{
    for (int i = 0; i < N_SHADOW_STATEMENTS; i++) {
        sqlite3_finalize(shadow->statements[i]);
        shadow->statements[i] = NULL;
    }
    shadow->open = NULL;
}

void vindex__shadow_deinit(struct shadow *shadow)
{
    vindex__shadow_close(shadow);
    shadow->build_view = UINT64_MAX;
    vindex__shadow_sweep(shadow);
    sqlite3_free(shadow->buckets);
    sqlite3_free(shadow->deleted);
}

vindex_status vindex__shadow_statement(struct shadow *shadow, int which, const char *format,
                                       sqlite3_stmt **statement)
{
    /* NO_VTAB: a shadow table replaced by a virtual one must not call anybody's code from here. */
    const unsigned flags = SQLITE_PREPARE_PERSISTENT | SQLITE_PREPARE_NO_VTAB;
    sqlite3_stmt **slot = &shadow->statements[which];
    int rc = SQLITE_OK;
    if (!*slot) {
        char *sql =
            sqlite3_mprintf(format, *shadow->schema_name, *shadow->table_name, shadow->column);
        rc = sql ? sqlite3_prepare_v3(shadow->db, sql, -1, flags, slot, NULL) : SQLITE_NOMEM;
        sqlite3_free(sql);
    } else {
        sqlite3_reset(*slot);
        if (shadow->open == *slot) shadow->open = NULL;
    }
    *statement = *slot;
    if (rc == SQLITE_OK) return VINDEX_OK;
    /* A table or column that is not there is damage, whatever SQLite calls it. */
    return rc == SQLITE_ERROR ? vindex__shadow_corrupt(shadow, sqlite3_errmsg(shadow->db))
                              : vindex__shadow_fail(shadow, rc);
}

vindex_status vindex__shadow_fail(struct shadow *shadow, int rc)
{
    shadow->rc = rc;
    sqlite3_snprintf((int)sizeof shadow->message, shadow->message, "%s",
                     rc == SQLITE_NOMEM ? "out of memory" : sqlite3_errmsg(shadow->db));
    switch (rc & 0xff) {
    case SQLITE_NOMEM: return VINDEX_NOMEM;
    case SQLITE_FULL: return VINDEX_FULL;
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return VINDEX_BUSY;
    case SQLITE_READONLY: return VINDEX_READONLY;
    case SQLITE_CORRUPT: return VINDEX_CORRUPT;
    case SQLITE_INTERRUPT: return VINDEX_CANCELLED;
    default: return VINDEX_IO;
    }
}

vindex_status vindex__shadow_corrupt(struct shadow *shadow, const char *what)
{
    shadow->rc = SQLITE_CORRUPT_VTAB;
    sqlite3_snprintf((int)sizeof shadow->message, shadow->message, "%s is damaged: %s",
                     *shadow->table_name, what);
    return VINDEX_CORRUPT;
}
