/*
 * catalog_sqlite.c - the catalog over shadow tables: one row an entry, keys as integers.
 *
 * The stamp follows the mark in the state record, which is read anew for every view: whoever changed the
 * index, this connection, another one or a rollback, the mark says so.
 */
#include "shadow.h"

#define STATE_MARK_AT 56 /* FORMAT.md 2 */
#define STATE_BYTES 64

static struct shadow *of_catalog(struct catalog *c)
{
    return (struct shadow *)(void *)c;
}

/* The row lent last goes back. */
static void close_row(struct shadow *shadow)
{
    if (shadow->open) sqlite3_reset(shadow->open);
    shadow->open = NULL;
}

/* ---- keys ---------------------------------------------------------------------------------------- */

static bool is_id_table(enum catalog_table table)
{
    return table == TABLE_TAIL || table == TABLE_IDS;
}

/* The integer of a key. False: a segment number beyond what SQLite can hold, larger than all there are. */
static bool key_to_rowid(enum catalog_table table, struct bytes key, sqlite3_int64 *rowid)
{
    unsigned char whole[8] = {0}; /* a shorter key sorts as if filled with zeros */
    if (key.size) memcpy(whole, key.data, key.size < 8 ? key.size : 8);
    *rowid = is_id_table(table) ? load_id_key(whole) : (sqlite3_int64)load_be64(whole);
    return is_id_table(table) || *rowid >= 0;
}

static void rowid_to_key(enum catalog_table table, sqlite3_int64 rowid, unsigned char key[8])
{
    if (is_id_table(table))
        store_id_key(key, rowid);
    else
        store_be64(key, (uint64_t)rowid);
}

/* ---- statements ---------------------------------------------------------------------------------- */

static const char *const entry_sql[N_ENTRY_TABLES][N_ENTRY] = {
#define ENTRY_SQL(table, key)                                                                      \
    {                                                                                              \
        [ENTRY_GET] = "SELECT " key ", v FROM \"%w\".\"%w_" table "%d\" WHERE " key " = ?1",       \
        [ENTRY_GE] = "SELECT " key ", v FROM \"%w\".\"%w_" table "%d\" WHERE " key                 \
                     " >= ?1 ORDER BY " key " LIMIT 1",                                            \
        [ENTRY_GT] = "SELECT " key ", v FROM \"%w\".\"%w_" table "%d\" WHERE " key                 \
                     " > ?1 ORDER BY " key " LIMIT 1",                                             \
        [ENTRY_LE] = "SELECT " key ", v FROM \"%w\".\"%w_" table "%d\" WHERE " key                 \
                     " <= ?1 ORDER BY " key " DESC LIMIT 1",                                       \
        [ENTRY_LT] = "SELECT " key ", v FROM \"%w\".\"%w_" table "%d\" WHERE " key                 \
                     " < ?1 ORDER BY " key " DESC LIMIT 1",                                        \
        [ENTRY_PUT] = "REPLACE INTO \"%w\".\"%w_" table "%d\"(" key ", v) VALUES(?1, ?2)",         \
        [ENTRY_DEL] = "DELETE FROM \"%w\".\"%w_" table "%d\" WHERE " key " = ?1",                  \
    }
    ENTRY_SQL("tail", "id"),
    ENTRY_SQL("segments", "seq"),
    ENTRY_SQL("ids", "first"),
    ENTRY_SQL("codes", "seq"),
#undef ENTRY_SQL
};

static vindex_status entry_statement(struct shadow *shadow, enum catalog_table table, int which,
                                     sqlite3_stmt **statement)
{
    int t = table == TABLE_CODES ? N_ENTRY_TABLES - 1 : (int)table - TABLE_TAIL;
    *statement = NULL;
    if (t < 0 || t >= N_ENTRY_TABLES || table == TABLE_DEAD)
        return vindex__shadow_corrupt(shadow, "there is no such catalog table");
    close_row(shadow);
    return vindex__shadow_statement(shadow, ENTRY_FIRST + t * N_ENTRY + which, entry_sql[t][which],
                                    statement);
}

static vindex_status config_statement(struct shadow *shadow, int which, struct bytes key,
                                      sqlite3_stmt **statement)
{
    static const char *const sql[] = {
        [CONFIG_GET] = "SELECT v FROM \"%w\".\"%w_config\" WHERE k = ?1 || '_%d'",
        [CONFIG_PUT] = "REPLACE INTO \"%w\".\"%w_config\"(k, v) VALUES(?1 || '_%d', ?2)",
        [CONFIG_DEL] = "DELETE FROM \"%w\".\"%w_config\" WHERE k = ?1 || '_%d'",
    };
    close_row(shadow);
    vindex_status st = vindex__shadow_statement(shadow, which, sql[which], statement);
    if (st != VINDEX_OK) return st;
    int rc = sqlite3_bind_text(*statement, 1, key.data, (int)key.size, SQLITE_STATIC);
    return rc == SQLITE_OK ? VINDEX_OK : vindex__shadow_fail(shadow, rc);
}

/* A statement that returns nothing. */
static vindex_status finish(struct shadow *shadow, sqlite3_stmt *statement)
{
    int rc = sqlite3_step(statement);
    vindex_status st = rc == SQLITE_DONE ? VINDEX_OK : vindex__shadow_fail(shadow, rc);
    sqlite3_reset(statement);
    return st;
}

/* ---- view ---------------------------------------------------------------------------------------- */

static void shadow_settle(struct catalog *c)
{
    struct shadow *shadow = of_catalog(c);
    close_row(shadow);
    shadow->is_settled = true;
}

static void shadow_release(struct catalog *c)
{
    struct shadow *shadow = of_catalog(c);
    close_row(shadow);
    if (shadow->statements[STATE_VIEW]) sqlite3_reset(shadow->statements[STATE_VIEW]);
    shadow->is_settled = false;
}

/* The statement stays open until release, so that all reads of the view see one commit. */
static vindex_status read_mark(struct shadow *shadow, bool *found, uint64_t *mark)
{
    sqlite3_stmt *statement = NULL;
    *found = false;
    vindex_status st = vindex__shadow_statement(
        shadow, STATE_VIEW, "SELECT v FROM \"%w\".\"%w_config\" WHERE k = 'state_%d'", &statement);
    if (st != VINDEX_OK) return st;
    int rc = sqlite3_step(statement);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) return vindex__shadow_fail(shadow, rc);
    if (rc != SQLITE_ROW || sqlite3_column_type(statement, 0) != SQLITE_BLOB) return VINDEX_OK;
    const unsigned char *record = sqlite3_column_blob(statement, 0);
    if (!record || sqlite3_column_bytes(statement, 0) < STATE_BYTES) return VINDEX_OK;
    *mark = load_le64(record + STATE_MARK_AT);
    *found = true;
    return VINDEX_OK;
}

static vindex_status shadow_refresh(struct catalog *c, uint64_t *stamp)
{
    struct shadow *shadow = of_catalog(c);
    uint64_t mark = 0;
    bool found;
    shadow_release(c);
    shadow->rc = SQLITE_OK;
    vindex_status st = read_mark(shadow, &found, &mark);
    if (st != VINDEX_OK) return st;
    shadow->view++;
    if (!found || shadow->stamp == 0 || mark != shadow->mark) {
        vindex__shadow_sweep(shadow);
        shadow->stamp++;
        shadow->mark = mark;
        if (!found) shadow->stamp++; /* no state: every view is new, and says so itself */
    }
    *stamp = shadow->stamp;
    return VINDEX_OK;
}

/* ---- read ---------------------------------------------------------------------------------------- */

static vindex_status lend_blob(struct shadow *shadow, sqlite3_stmt *statement, int column,
                               struct bytes *value)
{
    if (sqlite3_column_type(statement, column) != SQLITE_BLOB)
        return vindex__shadow_corrupt(shadow, "a record is not a blob");
    value->data = sqlite3_column_blob(statement, column);
    value->size = (size_t)sqlite3_column_bytes(statement, column);
    if (!value->data && value->size) return vindex__shadow_fail(shadow, SQLITE_NOMEM);
    if (!value->data) return vindex__shadow_corrupt(shadow, "a record is empty");
    shadow->open = statement;
    return VINDEX_OK;
}

/* The config was read when the index was opened: dim and type are relied on from then on. */
static vindex_status check_config(struct shadow *shadow, struct bytes value)
{
    if (value.size > sizeof shadow->config)
        return vindex__shadow_corrupt(shadow, "its config record is too long");
    if (!shadow->config_bytes) {
        memcpy(shadow->config, value.data, value.size);
        shadow->config_bytes = value.size;
    }
    if (value.size != shadow->config_bytes || memcmp(value.data, shadow->config, value.size) != 0)
        return vindex__shadow_corrupt(shadow, "its config record was changed");
    return VINDEX_OK;
}

static vindex_status get_config(struct shadow *shadow, struct bytes key,
                                struct catalog_entry *entry)
{
    sqlite3_stmt *statement = NULL;
    vindex_status st = config_statement(shadow, CONFIG_GET, key, &statement);
    if (st != VINDEX_OK) return st;
    int rc = sqlite3_step(statement);
    if (rc == SQLITE_DONE) return VINDEX_OK;
    if (rc != SQLITE_ROW) return vindex__shadow_fail(shadow, rc);
    st = lend_blob(shadow, statement, 0, &entry->value);
    entry->key = key;
    if (st == VINDEX_OK && key.size == 6 && memcmp(key.data, "config", 6) == 0)
        st = check_config(shadow, entry->value);
    return st;
}

static vindex_status step_entry(struct shadow *shadow, enum catalog_table table,
                                sqlite3_stmt *statement, sqlite3_int64 rowid,
                                struct catalog_entry *entry)
{
    int rc = sqlite3_bind_int64(statement, 1, rowid);
    if (rc == SQLITE_OK) rc = sqlite3_step(statement);
    if (rc == SQLITE_DONE) {
        sqlite3_reset(statement);
        return VINDEX_OK;
    }
    if (rc != SQLITE_ROW) return vindex__shadow_fail(shadow, rc);
    shadow->open = statement;
    vindex_status st = lend_blob(shadow, statement, 1, &entry->value);
    rowid_to_key(table, sqlite3_column_int64(statement, 0), shadow->key);
    entry->key = bytes_of(shadow->key, 8);
    return st;
}

static vindex_status shadow_get(struct catalog *c, enum catalog_table table, struct bytes key,
                                struct catalog_entry *entry)
{
    struct shadow *shadow = of_catalog(c);
    sqlite3_stmt *statement = NULL;
    sqlite3_int64 rowid;
    memset(entry, 0, sizeof *entry);
    if (table == TABLE_CONFIG) return get_config(shadow, key, entry);
    if (!key_to_rowid(table, key, &rowid)) return VINDEX_OK;
    vindex_status st = entry_statement(shadow, table, ENTRY_GET, &statement);
    return st == VINDEX_OK ? step_entry(shadow, table, statement, rowid, entry) : st;
}

static vindex_status shadow_seek(struct catalog *c, enum catalog_table table, enum catalog_seek how,
                                 struct bytes key, struct catalog_entry *entry)
{
    static const int statements[] = {
        [SEEK_GE] = ENTRY_GE, [SEEK_GT] = ENTRY_GT, [SEEK_LE] = ENTRY_LE, [SEEK_LT] = ENTRY_LT};
    struct shadow *shadow = of_catalog(c);
    sqlite3_stmt *statement = NULL;
    sqlite3_int64 rowid;
    unsigned char copy[8]; /* the key may be the one lent last */
    memset(entry, 0, sizeof *entry);
    if (key.size) memcpy(copy, key.data, key.size < 8 ? key.size : 8);
    /* The empty key lies before all others, the one of all zeros included. */
    if (key.size == 0 && how == SEEK_GT) how = SEEK_GE;
    if (key.size == 0 && (how == SEEK_LE || how == SEEK_LT)) return VINDEX_OK;
    if (!key_to_rowid(table, bytes_of(copy, key.size < 8 ? key.size : 8), &rowid)) {
        if (how == SEEK_GE || how == SEEK_GT) return VINDEX_OK;
        rowid = INT64_MAX;
        how = SEEK_LE;
    }
    vindex_status st = entry_statement(shadow, table, statements[how], &statement);
    return st == VINDEX_OK ? step_entry(shadow, table, statement, rowid, entry) : st;
}

/* ---- write --------------------------------------------------------------------------------------- */

static vindex_status shadow_put(struct catalog *c, enum catalog_table table, struct bytes key,
                                struct bytes value)
{
    struct shadow *shadow = of_catalog(c);
    sqlite3_stmt *statement = NULL;
    sqlite3_int64 rowid = 0;
    vindex_status st;
    int rc = SQLITE_OK;
    if (table == TABLE_CONFIG) {
        st = config_statement(shadow, CONFIG_PUT, key, &statement);
    } else {
        if (!key_to_rowid(table, key, &rowid))
            return vindex__shadow_corrupt(shadow, "its segments have run out of numbers");
        st = entry_statement(shadow, table, ENTRY_PUT, &statement);
        if (st == VINDEX_OK) rc = sqlite3_bind_int64(statement, 1, rowid);
    }
    if (st != VINDEX_OK) return st;
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_blob64(statement, 2, value.data, value.size, SQLITE_STATIC);
    if (rc != SQLITE_OK) return vindex__shadow_fail(shadow, rc);
    return finish(shadow, statement);
}

static vindex_status shadow_del(struct catalog *c, enum catalog_table table, struct bytes key)
{
    struct shadow *shadow = of_catalog(c);
    sqlite3_stmt *statement = NULL;
    sqlite3_int64 rowid = 0;
    vindex_status st;
    int rc = SQLITE_OK;
    if (table == TABLE_CONFIG) {
        st = config_statement(shadow, CONFIG_DEL, key, &statement);
    } else {
        if (!key_to_rowid(table, key, &rowid)) return VINDEX_OK;
        st = entry_statement(shadow, table, ENTRY_DEL, &statement);
        if (st == VINDEX_OK) rc = sqlite3_bind_int64(statement, 1, rowid);
    }
    if (st != VINDEX_OK) return st;
    if (rc != SQLITE_OK) return vindex__shadow_fail(shadow, rc);
    return finish(shadow, statement);
}

/* SQLite's transaction is the one that decides. */
static vindex_status shadow_prepare(struct catalog *c)
{
    close_row(of_catalog(c));
    return VINDEX_OK;
}

static vindex_status shadow_commit(struct catalog *c)
{
    return vindex__shadow_delete_blocks(of_catalog(c));
}

static void shadow_rollback(struct catalog *c)
{
    close_row(of_catalog(c));
    of_catalog(c)->n_deleted = 0;
}

const struct catalog_ops vindex__shadow_catalog_ops = {
    .refresh = shadow_refresh,
    .settle = shadow_settle,
    .release = shadow_release,
    .get = shadow_get,
    .seek = shadow_seek,
    .put = shadow_put,
    .del = shadow_del,
    .prepare = shadow_prepare,
    .commit = shadow_commit,
    .rollback = shadow_rollback,
};
