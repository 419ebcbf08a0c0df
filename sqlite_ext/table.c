/*
 * table.c - a virtual table's life: shadow tables made, renamed and dropped; indexes opened on first use;
 * flush and discard.
 */
#include "table.h"

#include <stdarg.h>

/* ---- errors -------------------------------------------------------------------------------------- */

int vindex__sql_code(vindex_status status)
{
    switch (status) {
#define VINDEX_X(name, value, sqlite, exit_code, text)                                             \
    case VINDEX_##name: return sqlite;
        VINDEX_STATUS_LIST(VINDEX_X)
#undef VINDEX_X
    }
    return SQLITE_INTERNAL;
}

int vindex__table_error(struct table *table, int code, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    char *text = sqlite3_vmprintf(format, list);
    va_end(list);
    if (!text) return SQLITE_NOMEM;
    sqlite3_free(table->base.zErrMsg);
    table->base.zErrMsg = text;
    return code;
}

int vindex__table_status(struct table *table, struct vector_index *v, vindex_status status)
{
    if (status == VINDEX_OK) return SQLITE_OK;
    if (status == VINDEX_NOMEM) return SQLITE_NOMEM;
    if (v->shadow.rc != SQLITE_OK)
        return vindex__table_error(table, v->shadow.rc, "%s", v->shadow.message);
    /* A store that is no index was one when the table was created. */
    int code = status == VINDEX_NOTINDEX ? SQLITE_CORRUPT_VTAB : vindex__sql_code(status);
    return vindex__table_error(table, code, "%s: %s", table->name, vindex_message());
}

int vindex__table_sqlite(struct table *table, int rc)
{
    if (rc == SQLITE_OK || rc == SQLITE_ROW || rc == SQLITE_DONE) return SQLITE_OK;
    if (rc == SQLITE_NOMEM) return rc;
    return vindex__table_error(table, rc, "%s: %s", table->name, sqlite3_errmsg(table->db));
}

/* ---- statements over t_rows ---------------------------------------------------------------------- */

static int prepare(struct table *table, const char *sql, sqlite3_stmt **statement)
{
    const unsigned flags = SQLITE_PREPARE_PERSISTENT | SQLITE_PREPARE_NO_VTAB;
    *statement = NULL;
    int rc = sqlite3_prepare_v3(table->db, sql, -1, flags, statement, NULL);
    /* A table or column that is not there is damage, whatever SQLite calls it. */
    return rc == SQLITE_ERROR ? vindex__table_error(table, SQLITE_CORRUPT_VTAB, "%s is damaged: %s",
                                                    table->name, sqlite3_errmsg(table->db))
                              : vindex__table_sqlite(table, rc);
}

static char *row_sql(const struct table *table, enum row_statement which)
{
    const char *schema = table->schema_name, *name = table->name;
    int n = table->schema.n_values;
    sqlite3_str *sql = sqlite3_str_new(table->db);
    switch (which) {
    case ROW_DELETE:
        sqlite3_str_appendf(sql, "DELETE FROM \"%w\".\"%w_rows\" WHERE id = ?1", schema, name);
        break;
    case ROW_MASK:
        sqlite3_str_appendf(sql, "SELECT vectors FROM \"%w\".\"%w_rows\" WHERE id = ?1", schema,
                            name);
        break;
    case ROW_ANY:
        sqlite3_str_appendf(sql, "SELECT 1 FROM \"%w\".\"%w_rows\" LIMIT 1", schema, name);
        break;
    case ROW_UPDATE:
        sqlite3_str_appendf(sql, "UPDATE \"%w\".\"%w_rows\" SET vectors = ?2", schema, name);
        for (int i = 0; i < n; i++)
            sqlite3_str_appendf(sql, ", m%d = ?%d", i, i + 3);
        sqlite3_str_appendall(sql, " WHERE id = ?1");
        break;
    default:
        sqlite3_str_appendf(sql, "%s INTO \"%w\".\"%w_rows\" VALUES(?1, ?2",
                            which == ROW_INSERT ? "INSERT" : "REPLACE", schema, name);
        for (int i = 0; i < n; i++)
            sqlite3_str_appendf(sql, ", ?%d", i + 3);
        sqlite3_str_appendchar(sql, 1, ')');
        break;
    }
    return sqlite3_str_finish(sql);
}

int vindex__table_statement(struct table *table, enum row_statement which, sqlite3_stmt **statement)
{
    int rc = SQLITE_OK;
    if (!table->statements[which]) {
        char *sql = row_sql(table, which);
        rc = sql ? prepare(table, sql, &table->statements[which]) : SQLITE_NOMEM;
        sqlite3_free(sql);
    }
    *statement = table->statements[which];
    return rc;
}

static void close_lent(struct lent_statement *lent)
{
    sqlite3_finalize(lent->statement);
    sqlite3_free(lent->sql);
    memset(lent, 0, sizeof *lent);
}

/* The slot for a new statement; NULL: all are lent. */
static struct lent_statement *free_slot(struct table *table)
{
    for (int i = 0; i < LENT_MAX; i++) {
        struct lent_statement *slot = &table->lent[table->next_lent];
        table->next_lent = (table->next_lent + 1) % LENT_MAX;
        if (slot->is_lent) continue;
        close_lent(slot);
        return slot;
    }
    return NULL;
}

int vindex__table_borrow(struct table *table, char *sql, sqlite3_stmt **statement)
{
    *statement = NULL;
    if (!sql) return SQLITE_NOMEM;
    for (int i = 0; i < LENT_MAX; i++) {
        struct lent_statement *slot = &table->lent[i];
        if (slot->is_lent || !slot->sql || strcmp(slot->sql, sql) != 0) continue;
        sqlite3_free(sql);
        slot->is_lent = true;
        *statement = slot->statement;
        return SQLITE_OK;
    }
    int rc = prepare(table, sql, statement);
    struct lent_statement *slot = rc == SQLITE_OK ? free_slot(table) : NULL;
    if (slot)
        *slot = (struct lent_statement){*statement, sql, true};
    else
        sqlite3_free(sql);
    return rc;
}

void vindex__table_give_back(struct table *table, sqlite3_stmt *statement)
{
    if (!statement) return;
    for (int i = 0; i < LENT_MAX; i++)
        if (table->lent[i].statement == statement) {
            sqlite3_reset(statement);
            sqlite3_clear_bindings(statement);
            table->lent[i].is_lent = false;
            return;
        }
    sqlite3_finalize(statement);
}

/* SQLite before 3.41 tells nobody but its own statements. */
int vindex__table_is_interrupted(void *context)
{
    struct table *table = context;
    if (!table->probe && prepare(table, "SELECT 1", &table->probe) != SQLITE_OK) return 1;
    int rc = sqlite3_step(table->probe);
    sqlite3_reset(table->probe);
    return rc != SQLITE_ROW;
}

int vindex__table_mask(struct table *table, sqlite3_int64 id, bool *found, sqlite3_int64 *mask)
{
    sqlite3_stmt *statement = NULL;
    int rc = vindex__table_statement(table, ROW_MASK, &statement);
    *found = false;
    *mask = 0;
    if (rc != SQLITE_OK) return rc;
    rc = sqlite3_bind_int64(statement, 1, id);
    if (rc == SQLITE_OK) rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW) {
        *found = true;
        *mask = sqlite3_column_int64(statement, 0);
    }
    rc = vindex__table_sqlite(table, rc);
    sqlite3_reset(statement);
    return rc;
}

static void close_statements(struct table *table)
{
    for (int i = 0; i < N_ROW; i++) {
        sqlite3_finalize(table->statements[i]);
        table->statements[i] = NULL;
    }
    for (int i = 0; i < LENT_MAX; i++)
        if (!table->lent[i].is_lent) close_lent(&table->lent[i]);
    for (int i = 0; table->vectors && i < table->schema.n_vectors; i++)
        vindex__shadow_close(&table->vectors[i].shadow);
}

/* ---- shadow tables ------------------------------------------------------------------------------- */

static const char *const single_tables[] = {"config", "rows"};
static const char *const column_tables[] = {"tail", "segments", "codes", "ids", "blocks"};
enum { N_SINGLE = 2, N_COLUMN = 5 };

/* SQLite looks for a shadow table's owner before the last _ of its name: there is none in these. */
bool vindex__table_shadow_name(const char *suffix)
{
    for (int i = 0; i < N_SINGLE; i++)
        if (sqlite3_stricmp(suffix, single_tables[i]) == 0) return true;
    for (int i = 0; i < N_COLUMN; i++) {
        size_t n = strlen(column_tables[i]);
        if (sqlite3_strnicmp(suffix, column_tables[i], (int)n) != 0) continue;
        const char *digits = suffix + n;
        if (*digits && strspn(digits, "0123456789") == strlen(digits)) return true;
    }
    return false;
}

static int execute(struct table *table, char *sql, char **error)
{
    if (!sql) return SQLITE_NOMEM;
    int rc = sqlite3_exec(table->db, sql, NULL, NULL, error);
    sqlite3_free(sql);
    return rc;
}

static char *rows_sql(const struct table *table)
{
    sqlite3_str *sql = sqlite3_str_new(table->db);
    sqlite3_str_appendf(sql,
                        "CREATE TABLE \"%w\".\"%w_rows\"(id INTEGER PRIMARY KEY, vectors INTEGER",
                        table->schema_name, table->name);
    for (int i = 0; i < table->schema.n_columns; i++) {
        const struct schema_column *column = &table->schema.columns[i];
        if (column->kind == COLUMN_VECTOR) continue;
        sqlite3_str_appendf(sql, ", m%d %s", column->number, column->declared);
        if (column->collation) sqlite3_str_appendf(sql, " COLLATE \"%w\"", column->collation);
    }
    sqlite3_str_appendchar(sql, 1, ')');
    return sqlite3_str_finish(sql);
}

static char *column_sql(const struct table *table, int c)
{
    const char *s = table->schema_name, *n = table->name;
    return sqlite3_mprintf(
        "CREATE TABLE \"%w\".\"%w_tail%d\"(id INTEGER PRIMARY KEY, v BLOB);"
        "CREATE TABLE \"%w\".\"%w_segments%d\"(seq INTEGER PRIMARY KEY, v BLOB);"
        "CREATE TABLE \"%w\".\"%w_codes%d\"(seq INTEGER PRIMARY KEY, v BLOB);"
        "CREATE TABLE \"%w\".\"%w_ids%d\"(first INTEGER PRIMARY KEY, v BLOB);"
        "CREATE TABLE \"%w\".\"%w_blocks%d\"(id INTEGER PRIMARY KEY, nonce BLOB, plane INTEGER, "
        "part INTEGER, v BLOB, UNIQUE (nonce, plane, part))",
        s, n, c, s, n, c, s, n, c, s, n, c, s, n, c);
}

static int create_index(struct table *table, int number, char **error)
{
    const struct schema_column *column = vindex__sql_vector_column(&table->schema, number);
    struct vector_index *v = &table->vectors[number];
    vindex_create_options options = VINDEX_CREATE_OPTIONS_INIT;
    options.dim = column->dim;
    options.type = column->type;
    options.metric = column->metric;
    options.layout = column->layout;
    options.recall = (float)column->recall;
    options.seal_rows = column->seal_rows;
    options.seal_bytes = column->seal_bytes;
    int rc = execute(table, column_sql(table, number), error);
    if (rc != SQLITE_OK) return rc;
    vindex_status status =
        vindex_create_on(&v->shadow.catalog, &v->shadow.blocks, &options, &v->index);
    if (status == VINDEX_OK || status == VINDEX_NOMEM) return vindex__sql_code(status);
    *error =
        sqlite3_mprintf("%s", v->shadow.rc != SQLITE_OK ? v->shadow.message : vindex_message());
    return v->shadow.rc != SQLITE_OK ? v->shadow.rc : vindex__sql_code(status);
}

static int create_tables(struct table *table, char **error)
{
    sqlite3_int64 last = sqlite3_last_insert_rowid(table->db);
    int rc = execute(
        table,
        sqlite3_mprintf("CREATE TABLE \"%w\".\"%w_config\"(k TEXT PRIMARY KEY, v) WITHOUT ROWID;"
                        "INSERT INTO \"%w\".\"%w_config\" VALUES('format', 1)",
                        table->schema_name, table->name, table->schema_name, table->name),
        error);
    if (rc == SQLITE_OK) rc = execute(table, rows_sql(table), error);
    for (int i = 0; i < table->schema.n_vectors && rc == SQLITE_OK; i++)
        rc = create_index(table, i, error);
    sqlite3_set_last_insert_rowid(table->db, last);
    return rc;
}

/* ---- life ---------------------------------------------------------------------------------------- */

int vindex__table_new(struct module *module, const char *schema_name, const char *name,
                      struct schema *schema, bool create, struct table **result, char **error)
{
    struct table *table = sqlite3_malloc64(sizeof *table);
    *result = NULL;
    if (!table) {
        vindex__sql_schema_free(schema);
        return SQLITE_NOMEM;
    }
    memset(table, 0, sizeof *table);
    table->module = module;
    table->db = module->db;
    table->schema = *schema;
    module->refs++;
    size_t bytes = (size_t)schema->n_vectors * sizeof *table->vectors;
    table->schema_name = sqlite3_mprintf("%s", schema_name);
    table->name = sqlite3_mprintf("%s", name);
    table->vectors = sqlite3_malloc64(bytes);
    int rc = table->schema_name && table->name && table->vectors ? SQLITE_OK : SQLITE_NOMEM;
    if (table->vectors) memset(table->vectors, 0, bytes);
    for (int i = 0; i < schema->n_vectors && rc == SQLITE_OK; i++)
        vindex__shadow_init(&table->vectors[i].shadow, table->db, &table->schema_name, &table->name,
                            i);
    if (rc == SQLITE_OK && create) rc = create_tables(table, error);
    if (rc != SQLITE_OK) {
        vindex__table_free(table);
        return rc;
    }
    table->next = module->tables;
    module->tables = table;
    *result = table;
    return SQLITE_OK;
}

static void close_index(struct vector_index *v)
{
    vindex_writer_abort(v->writer);
    vindex_searcher_close(v->searcher);
    vindex_close(v->index);
    v->writer = NULL;
    v->searcher = NULL;
    v->index = NULL;
}

void vindex__table_free(struct table *table)
{
    struct table **link = &table->module->tables;
    while (*link && *link != table)
        link = &(*link)->next;
    if (*link) *link = table->next;
    for (int i = 0; table->vectors && i < table->schema.n_vectors; i++) {
        close_index(&table->vectors[i]);
        vindex__shadow_deinit(&table->vectors[i].shadow);
    }
    sqlite3_finalize(table->probe);
    close_statements(table);
    sqlite3_free(table->vectors);
    sqlite3_free(table->removed);
    sqlite3_free((void *)(uintptr_t)table->schema_name);
    sqlite3_free((void *)(uintptr_t)table->name);
    vindex__sql_schema_free(&table->schema);
    vindex__module_unref(table->module);
    sqlite3_free(table->base.zErrMsg);
    sqlite3_free(table);
}

void vindex__module_unref(void *context)
{
    struct module *module = context;
    if (--module->refs == 0) sqlite3_free(module);
}

struct table *vindex__table_find(struct module *module, const char *schema_name, const char *name)
{
    for (struct table *table = module->tables; table; table = table->next)
        if (sqlite3_stricmp(table->name, name) == 0 &&
            (!schema_name || sqlite3_stricmp(table->schema_name, schema_name) == 0))
            return table;
    return NULL;
}

/* Calls for each shadow table: format has places for schema, table, suffix, and perhaps a new table name. */
static int for_each_table(struct table *table, const char *format, const char *new_name)
{
    char suffix[40];
    int rc = SQLITE_OK;
    int n = N_SINGLE + N_COLUMN * table->schema.n_vectors;
    for (int i = 0; i < n && rc == SQLITE_OK; i++) {
        if (i < N_SINGLE)
            sqlite3_snprintf((int)sizeof suffix, suffix, "%s", single_tables[i]);
        else
            sqlite3_snprintf((int)sizeof suffix, suffix, "%s%d",
                             column_tables[(i - N_SINGLE) % N_COLUMN], (i - N_SINGLE) / N_COLUMN);
        rc = execute(
            table,
            sqlite3_mprintf(format, table->schema_name, table->name, suffix, new_name, suffix),
            NULL);
    }
    return vindex__table_sqlite(table, rc);
}

int vindex__table_drop(struct table *table)
{
    close_statements(table);
    return for_each_table(table, "DROP TABLE IF EXISTS \"%w\".\"%w_%s\"", "");
}

int vindex__table_rename(struct table *table, const char *name)
{
    char *copy = NULL;
    int rc = vindex__table_flush(table);
    if (rc != SQLITE_OK) return rc;
    close_statements(table);
    copy = sqlite3_mprintf("%s", name);
    if (!copy) return SQLITE_NOMEM;
    rc = for_each_table(table, "ALTER TABLE \"%w\".\"%w_%s\" RENAME TO \"%w_%s\"", name);
    if (rc != SQLITE_OK) {
        sqlite3_free(copy);
        return rc;
    }
    sqlite3_free((void *)(uintptr_t)table->name);
    table->name = copy;
    return SQLITE_OK;
}

/* ---- indexes ------------------------------------------------------------------------------------- */

/* The declaration is what SQL sees, the record is what was built: they must be one (FORMAT.md 2). */
static int check_declared(struct table *table, int number)
{
    const struct schema_column *column = vindex__sql_vector_column(&table->schema, number);
    const unsigned char *record = table->vectors[number].shadow.config;
    if (load_le32(record + 12) == column->dim && load_le16(record + 16) == column->type &&
        load_le16(record + 18) == column->metric)
        return SQLITE_OK;
    return vindex__table_error(table, SQLITE_CORRUPT_VTAB,
                               "%s is damaged: column %s is not stored as it is declared",
                               table->name, column->name);
}

int vindex__table_index(struct table *table, int number, struct vector_index **result)
{
    struct vector_index *v = &table->vectors[number];
    *result = v;
    v->shadow.rc = SQLITE_OK;
    if (v->index) return SQLITE_OK;
    vindex_status status = vindex_open_on(&v->shadow.catalog, &v->shadow.blocks, &v->index);
    int rc = vindex__table_status(table, v, status);
    if (rc == SQLITE_OK) rc = check_declared(table, number);
    if (rc != SQLITE_OK) close_index(v);
    return rc;
}

int vindex__table_searcher(struct table *table, int number, struct vector_index **result)
{
    int rc = vindex__table_index(table, number, result);
    struct vector_index *v = *result;
    if (rc != SQLITE_OK || v->searcher) return rc;
    return vindex__table_status(table, v, vindex_searcher_open(v->index, &v->searcher));
}

int vindex__table_writer(struct table *table, int number, struct vector_index **result)
{
    int rc = vindex__table_index(table, number, result);
    struct vector_index *v = *result;
    if (rc != SQLITE_OK || v->writer) return rc;
    return vindex__table_status(table, v, vindex_writer_begin(v->index, &v->writer));
}

/* ---- flush and discard --------------------------------------------------------------------------- */

static int is_empty(struct table *table, bool *empty)
{
    sqlite3_stmt *statement = NULL;
    int rc = vindex__table_statement(table, ROW_ANY, &statement);
    if (rc != SQLITE_OK) return rc;
    rc = sqlite3_step(statement);
    *empty = rc == SQLITE_DONE;
    rc = vindex__table_sqlite(table, rc);
    sqlite3_reset(statement);
    return rc;
}

int vindex__table_apply_removed(struct table *table)
{
    bool all = false;
    if (!table->n_removed) return SQLITE_OK;
    int rc = is_empty(table, &all);
    for (int i = 0; i < table->schema.n_vectors && rc == SQLITE_OK; i++) {
        struct vector_index *v = NULL;
        rc = vindex__table_writer(table, i, &v);
        if (rc != SQLITE_OK) break;
        vindex_status status =
            all ? vindex_writer_remove_all(v->writer)
                : vindex_writer_remove(v->writer, (const int64_t *)table->removed, table->n_removed,
                                       NULL);
        rc = vindex__table_status(table, v, status);
    }
    if (rc == SQLITE_OK) table->n_removed = 0;
    return rc;
}

int vindex__table_flush(struct table *table)
{
    if (table->failed != SQLITE_OK)
        return vindex__table_error(
            table, table->failed,
            "%s: an earlier write of this transaction failed half way: roll it back", table->name);
    if (!table->is_pending) return SQLITE_OK;
    table->has_flushed = true;
    sqlite3_int64 last = sqlite3_last_insert_rowid(table->db);
    int rc = vindex__table_apply_removed(table);
    for (int i = 0; i < table->schema.n_vectors && rc == SQLITE_OK; i++) {
        struct vector_index *v = &table->vectors[i];
        if (!v->writer) continue;
        v->shadow.rc = SQLITE_OK;
        vindex_status status = vindex_writer_commit(v->writer);
        if (status == VINDEX_OK) v->writer = NULL;
        rc = vindex__table_status(table, v, status);
    }
    sqlite3_set_last_insert_rowid(table->db, last);
    if (rc == SQLITE_OK)
        table->is_pending = false;
    else
        table->failed = rc;
    return rc;
}

void vindex__table_discard(struct table *table)
{
    if (table->depth > 0) {
        table->is_rolled_back = true;
        return;
    }
    table->is_rolled_back = false;
    for (int i = 0; i < table->schema.n_vectors; i++) {
        struct vector_index *v = &table->vectors[i];
        vindex_writer_abort(v->writer);
        v->writer = NULL;
        vindex_forget(v->index, table->has_flushed);
    }
    table->n_removed = 0;
    table->is_pending = false;
    table->failed = SQLITE_OK;
}

void vindex__table_enter(struct table *table)
{
    table->depth++;
}

int vindex__table_leave(struct table *table, int rc)
{
    if (--table->depth == 0 && table->is_rolled_back) vindex__table_discard(table);
    return rc;
}
