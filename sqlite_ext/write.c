/*
 * write.c - xUpdate: insert, update, delete, and the commands that come as inserts.
 *
 * All that can be refused is refused before anything is changed. t_rows says which rows exist and is written
 * at once; vectors go to the library's writer. What fails half way leaves the table failed until a rollback.
 */
#include "cursor.h"
#include "table.h"
#include "vector.h"

/* One row as xUpdate hands it over. */
struct change {
    struct table *table;
    sqlite3_value **values; /* of the columns, the hidden ones included */
    bool is_update;
    bool has_id; /* false: SQLite chooses */
    sqlite3_int64 id, old_id;
    bool is_replaced;       /* id has a row, which goes */
    sqlite3_int64 old_mask; /* of the row that is updated or replaced */
    sqlite3_int64 mask;
    struct vector *vectors; /* [n_vectors] */
    bool *is_kept;          /* [n_vectors]: UPDATE did not name it */
};

/* ---- checks -------------------------------------------------------------------------------------- */

static int check_hidden(const struct change *c)
{
    const struct schema *schema = &c->table->schema;
    for (int i = 0; i < N_HIDDEN; i++) {
        sqlite3_value *value = c->values[schema->n_columns + i];
        if (sqlite3_value_nochange(value) || sqlite3_value_type(value) == SQLITE_NULL) continue;
        if (i == HIDDEN_COMMAND)
            return vindex__table_error(c->table, SQLITE_ERROR,
                                       "%s: commands are inserted, not updated", c->table->name);
        return vindex__table_error(
            c->table, SQLITE_ERROR,
            "%s: column %s belongs to queries and commands and holds nothing", c->table->name,
            vindex__sql_hidden_name((enum hidden_column)i));
    }
    return SQLITE_OK;
}

static int read_vectors(struct change *c)
{
    const struct schema *schema = &c->table->schema;
    for (int i = 0; i < schema->n_columns; i++) {
        const struct schema_column *column = &schema->columns[i];
        if (column->kind != COLUMN_VECTOR) continue;
        int n = column->number;
        c->is_kept[n] = c->is_update && sqlite3_value_nochange(c->values[i]);
        if (c->is_kept[n]) continue;
        struct vector_shape shape = {column->name, column->type, column->dim};
        char *error = NULL;
        int rc = vindex__sql_vector_read(c->values[i], &shape, &c->vectors[n], &error);
        if (rc != SQLITE_OK) {
            if (error) vindex__table_error(c->table, rc, "%s.%s", c->table->name, error);
            sqlite3_free(error);
            return rc;
        }
        if (c->vectors[n].data) c->mask |= (sqlite3_int64)1 << n;
    }
    return SQLITE_OK;
}

static int read_id(struct change *c, sqlite3_value *value)
{
    c->has_id = sqlite3_value_type(value) != SQLITE_NULL;
    if (!c->has_id) return SQLITE_OK;
    if (!vindex__sql_value_id(value, &c->id))
        return vindex__table_error(c->table, SQLITE_MISMATCH, "%s: the rowid is not an integer",
                                   c->table->name);
    if (c->id == VINDEX_ID_NONE)
        return vindex__table_error(c->table, SQLITE_ERROR, "%s: rowid %lld stands for no row",
                                   c->table->name, c->id);
    return SQLITE_OK;
}

/* A row of this id that is in the way is replaced or refused, as the statement says. */
static int check_conflict(struct change *c)
{
    sqlite3_int64 mask;
    bool found = false;
    if (!c->has_id || (c->is_update && c->id == c->old_id)) return SQLITE_OK;
    int rc = vindex__table_mask(c->table, c->id, &found, &mask);
    if (rc != SQLITE_OK || !found) return rc;
    if (sqlite3_vtab_on_conflict(c->table->db) != SQLITE_REPLACE)
        return vindex__table_error(c->table, SQLITE_CONSTRAINT,
                                   "UNIQUE constraint failed: %s.rowid", c->table->name);
    c->is_replaced = true;
    if (!c->is_update) c->old_mask = mask;
    return SQLITE_OK;
}

/* ---- t_rows -------------------------------------------------------------------------------------- */

static int bind_row(const struct change *c, sqlite3_stmt *statement)
{
    const struct schema *schema = &c->table->schema;
    int rc = c->has_id ? sqlite3_bind_int64(statement, 1, c->id) : sqlite3_bind_null(statement, 1);
    if (rc == SQLITE_OK) rc = sqlite3_bind_int64(statement, 2, c->mask);
    for (int i = 0; i < schema->n_columns && rc == SQLITE_OK; i++)
        if (schema->columns[i].kind != COLUMN_VECTOR)
            rc = sqlite3_bind_value(statement, 3 + schema->columns[i].number, c->values[i]);
    return rc;
}

static int put_row(struct change *c)
{
    bool in_place = c->is_update && c->id == c->old_id;
    sqlite3_stmt *statement = NULL;
    int rc = vindex__table_statement(c->table,
                                     in_place         ? ROW_UPDATE
                                     : c->is_replaced ? ROW_REPLACE
                                                      : ROW_INSERT,
                                     &statement);
    if (rc != SQLITE_OK) return rc;
    rc = bind_row(c, statement);
    if (rc == SQLITE_OK) rc = sqlite3_step(statement);
    rc = vindex__table_sqlite(c->table, rc);
    if (rc == SQLITE_OK && !c->has_id) c->id = sqlite3_last_insert_rowid(c->table->db);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return rc;
}

static int delete_row(struct table *table, sqlite3_int64 id)
{
    sqlite3_stmt *statement = NULL;
    int rc = vindex__table_statement(table, ROW_DELETE, &statement);
    if (rc != SQLITE_OK) return rc;
    rc = sqlite3_bind_int64(statement, 1, id);
    if (rc == SQLITE_OK) rc = sqlite3_step(statement);
    rc = vindex__table_sqlite(table, rc);
    sqlite3_reset(statement);
    return rc;
}

/* ---- vectors ------------------------------------------------------------------------------------- */

static int insert_vector(struct table *table, int number, sqlite3_int64 id,
                         const struct vector *vector)
{
    struct vector_index *v = NULL;
    int64_t key = id;
    int rc = vindex__table_writer(table, number, &v);
    if (rc != SQLITE_OK) return rc;
    vindex_vectors rows = vindex__sql_vectors(vector);
    return vindex__table_status(table, v,
                                vindex_writer_insert(v->writer, &key, &rows, VINDEX_UPSERT));
}

static int remove_vector(struct table *table, int number, sqlite3_int64 id)
{
    struct vector_index *v = NULL;
    int64_t key = id;
    int rc = vindex__table_writer(table, number, &v);
    if (rc != SQLITE_OK) return rc;
    return vindex__table_status(table, v, vindex_writer_remove(v->writer, &key, 1, NULL));
}

/* A removal is cheaper together with others: the list is given to the writers when somebody needs to know. */
static int remove_row_vectors(struct table *table, sqlite3_int64 id)
{
    if (table->n_removed == table->removed_capacity) {
        size_t capacity = table->removed_capacity ? 2 * table->removed_capacity : 64;
        sqlite3_int64 *grown = sqlite3_realloc64(table->removed, capacity * sizeof *grown);
        if (!grown) return SQLITE_NOMEM;
        table->removed = grown;
        table->removed_capacity = capacity;
    }
    table->removed[table->n_removed++] = id;
    table->is_pending = true;
    return SQLITE_OK;
}

static int put_vectors(struct change *c)
{
    int rc = SQLITE_OK;
    for (int i = 0; i < c->table->schema.n_vectors && rc == SQLITE_OK; i++) {
        if (c->is_kept[i]) continue;
        if (c->vectors[i].data)
            rc = insert_vector(c->table, i, c->id, &c->vectors[i]);
        else if (c->old_mask >> i & 1)
            rc = remove_vector(c->table, i, c->id);
    }
    return rc;
}

/* ---- insert, update, delete ---------------------------------------------------------------------- */

static int reserve_change(struct change *c)
{
    size_t n = (size_t)c->table->schema.n_vectors;
    c->vectors = sqlite3_malloc64(n * (sizeof *c->vectors + sizeof *c->is_kept));
    if (!c->vectors) return SQLITE_NOMEM;
    memset(c->vectors, 0, n * (sizeof *c->vectors + sizeof *c->is_kept));
    c->is_kept = (bool *)(c->vectors + n);
    return SQLITE_OK;
}

static void release_change(struct change *c)
{
    for (int i = 0; c->vectors && i < c->table->schema.n_vectors; i++)
        vindex__sql_vector_deinit(&c->vectors[i]);
    sqlite3_free(c->vectors);
}

static int insert(struct change *c)
{
    int rc = check_conflict(c);
    if (rc == SQLITE_OK) rc = vindex__table_apply_removed(c->table);
    if (rc == SQLITE_OK) rc = put_row(c);
    if (rc != SQLITE_OK) return rc;
    rc = put_vectors(c);
    c->table->is_pending = true;
    if (rc != SQLITE_OK) c->table->failed = rc;
    return rc;
}

/* Vectors that UPDATE did not name move to the new id with their row. */
static int read_kept(struct change *c)
{
    for (int i = 0; i < c->table->schema.n_vectors; i++) {
        const struct schema_column *column = vindex__sql_vector_column(&c->table->schema, i);
        size_t bytes = vindex_row_bytes((vindex_type)column->type, column->dim);
        bool found = false;
        if (!c->is_kept[i] || !(c->old_mask >> i & 1)) continue;
        c->vectors[i].owned = sqlite3_malloc64(bytes);
        if (!c->vectors[i].owned) return SQLITE_NOMEM;
        c->vectors[i].owned_bytes = bytes;
        int rc = vindex__table_fetch(c->table, i, c->old_id, c->vectors[i].owned, &found);
        if (rc != SQLITE_OK) return rc;
        if (!found)
            return vindex__table_error(c->table, SQLITE_CORRUPT_VTAB,
                                       "%s is damaged: row %lld has no vector", c->table->name,
                                       c->old_id);
        c->vectors[i].data = c->vectors[i].owned;
        c->vectors[i].type = column->type;
    }
    memset(c->is_kept, 0, (size_t)c->table->schema.n_vectors * sizeof *c->is_kept);
    return SQLITE_OK;
}

static int move_row(struct change *c)
{
    int rc = check_conflict(c);
    if (rc == SQLITE_OK) rc = read_kept(c);
    if (rc != SQLITE_OK) return rc;
    rc = remove_row_vectors(c->table, c->old_id);
    if (rc == SQLITE_OK && c->is_replaced) rc = remove_row_vectors(c->table, c->id);
    if (rc == SQLITE_OK) rc = delete_row(c->table, c->old_id);
    if (rc == SQLITE_OK) rc = put_row(c);
    if (rc == SQLITE_OK) rc = vindex__table_apply_removed(c->table);
    c->old_mask = 0;
    if (rc == SQLITE_OK) rc = put_vectors(c);
    if (rc != SQLITE_OK) c->table->failed = rc;
    return rc;
}

static int update(struct change *c)
{
    bool found = false;
    int rc = vindex__table_mask(c->table, c->old_id, &found, &c->old_mask);
    if (rc != SQLITE_OK) return rc;
    if (!found) return SQLITE_OK; /* it was deleted by what this same statement set off */
    for (int i = 0; i < c->table->schema.n_vectors; i++)
        if (c->is_kept[i]) c->mask |= c->old_mask & (sqlite3_int64)1 << i;
    if (c->id != c->old_id) return move_row(c);
    rc = vindex__table_apply_removed(c->table);
    if (rc == SQLITE_OK) rc = put_row(c);
    if (rc != SQLITE_OK) return rc;
    c->table->is_pending = true;
    rc = put_vectors(c);
    if (rc != SQLITE_OK) c->table->failed = rc;
    return rc;
}

static int write_row(struct change *c, sqlite3_value *new_id)
{
    int rc = reserve_change(c);
    if (rc == SQLITE_OK) rc = check_hidden(c);
    if (rc == SQLITE_OK) rc = read_id(c, new_id);
    if (rc == SQLITE_OK) rc = read_vectors(c);
    if (rc == SQLITE_OK) rc = c->is_update ? update(c) : insert(c);
    release_change(c);
    return rc;
}

static int remove_row(struct table *table, sqlite3_int64 id)
{
    int rc = remove_row_vectors(table, id);
    if (rc != SQLITE_OK) return rc;
    rc = delete_row(table, id);
    if (rc != SQLITE_OK) table->n_removed--;
    return rc;
}

/* ---- commands ------------------------------------------------------------------------------------ */

static int ask_progress(void *table, uint64_t done, uint64_t total)
{
    (void)done;
    (void)total;
    return vindex__table_is_interrupted(table);
}

static int optimize(struct table *table, uint32_t flags)
{
    int rc = vindex__table_flush(table);
    table->has_flushed = true;
    for (int i = 0; i < table->schema.n_vectors && rc == SQLITE_OK; i++) {
        struct vector_index *v = NULL;
        rc = vindex__table_index(table, i, &v);
        if (rc != SQLITE_OK) break;
        rc = vindex__table_status(table, v, vindex_optimize(v->index, flags, ask_progress, table));
        if (rc != SQLITE_OK) table->failed = rc;
    }
    return rc;
}

static int integrity_check(struct table *table)
{
    char *finding = NULL;
    int rc = vindex__table_flush(table);
    if (rc == SQLITE_OK) rc = vindex__table_check(table, &finding);
    if (rc == SQLITE_OK && finding)
        rc = vindex__table_error(table, SQLITE_CORRUPT_VTAB, "%s", finding);
    sqlite3_free(finding);
    return rc;
}

/* What 'calibrate' is told of its sample: "calibrate [COLUMN] [TYPE]", the first vector column's and its own by default. */
struct sample_shape {
    const struct schema_column *column;
    uint32_t blob_type;
};

static int read_sample_word(struct table *table, const char *word, struct sample_shape *sample)
{
    vindex_type type;
    for (int i = 0; i < table->schema.n_vectors; i++) {
        const struct schema_column *column = vindex__sql_vector_column(&table->schema, i);
        if (sqlite3_stricmp(column->name, word) != 0) continue;
        sample->column = column;
        sample->blob_type = column->type;
        return SQLITE_OK;
    }
    if (vindex_type_parse(word, &type) != VINDEX_OK ||
        (type != VINDEX_FLOAT && type != sample->column->type) ||
        (type == VINDEX_FLOAT && sample->column->type == VINDEX_BIT))
        return vindex__table_error(
            table, SQLITE_ERROR,
            "%s: calibrate '%s': give a vector column, or the type of the BLOB: the column's or FLOAT",
            table->name, word);
    sample->blob_type = type;
    return SQLITE_OK;
}

static int read_sample_shape(struct table *table, const char *words, struct sample_shape *sample)
{
    int rc = SQLITE_OK;
    sample->column = vindex__sql_vector_column(&table->schema, 0);
    sample->blob_type = sample->column->type;
    while (rc == SQLITE_OK && *(words += strspn(words, " "))) {
        size_t n = strcspn(words, " ");
        char *word = sqlite3_mprintf("%.*s", (int)n, words);
        rc = word ? read_sample_word(table, word, sample) : SQLITE_NOMEM;
        sqlite3_free(word);
        words += n;
    }
    return rc;
}

static int calibrate_with(struct table *table, int number, const vindex_vectors *queries)
{
    struct vector_index *v = NULL;
    int rc = vindex__table_flush(table);
    if (rc == SQLITE_OK) rc = vindex__table_index(table, number, &v);
    if (rc != SQLITE_OK) return rc;
    table->has_flushed = true;
    rc = vindex__table_status(table, v,
                              vindex_calibrate(v->index, queries, ask_progress, table));
    if (rc != SQLITE_OK) table->failed = rc;
    return rc;
}

static int calibrate(struct table *table, const char *words, sqlite3_value *argument)
{
    struct sample_shape sample;
    struct vector vector = {NULL, 0, NULL, 0};
    size_t n = 0;
    char *error = NULL;
    int rc = read_sample_shape(table, words, &sample);
    if (rc != SQLITE_OK) return rc;
    struct vector_shape shape = {sample.column->name, sample.column->type, sample.column->dim};
    rc = vindex__sql_vectors_read(argument, &shape, sample.blob_type, &vector, &n, &error);
    if (error) vindex__table_error(table, rc, "%s: calibrate: %s", table->name, error);
    sqlite3_free(error);
    if (rc == SQLITE_OK) {
        vindex_vectors queries = vindex__sql_vectors(&vector);
        queries.n = n;
        rc = calibrate_with(table, sample.column->number, &queries);
    }
    vindex__sql_vector_deinit(&vector);
    return rc;
}

/* For this connection, not stored. SQL may come from anywhere: it names no library to be loaded. */
static int set_device(struct table *table, sqlite3_value *argument)
{
    const char *text = (const char *)sqlite3_value_text(argument);
    int rc = SQLITE_OK;
    if (!text)
        return vindex__table_error(table, SQLITE_ERROR, "%s: 'device' needs an arg: 'cpu' or 'pjrt'",
                                   table->name);
    if (strchr(text, ':'))
        return vindex__table_error(
            table, SQLITE_ERROR,
            "%s: a plugin is not named in SQL: set VINDEX_PJRT_PLUGIN and give 'pjrt'", table->name);
    for (int i = 0; i < table->schema.n_vectors && rc == SQLITE_OK; i++) {
        struct vector_index *v = NULL;
        rc = vindex__table_index(table, i, &v);
        if (rc == SQLITE_OK)
            rc = vindex__table_status(table, v, vindex_set_device(v->index, text));
    }
    return rc;
}

static int command(struct table *table, sqlite3_value *value, sqlite3_value *argument)
{
    const char *text = (const char *)sqlite3_value_text(value);
    if (!text) return SQLITE_NOMEM;
    if (sqlite3_stricmp(text, "device") == 0) return set_device(table, argument);
    if (sqlite3_strnicmp(text, "calibrate", 9) == 0 && (text[9] == ' ' || !text[9]))
        return calibrate(table, text + 9, argument);
    if (sqlite3_value_type(argument) != SQLITE_NULL)
        return vindex__table_error(table, SQLITE_ERROR,
                                   "%s: the commands that take an arg are 'calibrate' and 'device'",
                                   table->name);
    if (sqlite3_stricmp(text, "optimize") == 0) return optimize(table, 0);
    if (sqlite3_stricmp(text, "rebuild") == 0) return optimize(table, VINDEX_OPTIMIZE_ALL);
    if (sqlite3_stricmp(text, "integrity-check") == 0) return integrity_check(table);
    return vindex__table_error(
        table, SQLITE_ERROR,
        "%s: command '%s' is unknown: there are optimize, calibrate, rebuild, integrity-check, device",
        table->name, text);
}

/* ---- the door ------------------------------------------------------------------------------------ */

static int update_any(struct table *table, int n, sqlite3_value **values, sqlite3_int64 *rowid)
{
    const struct schema *schema = &table->schema;
    bool is_update = sqlite3_value_type(values[0]) != SQLITE_NULL;
    if (n == 1) return remove_row(table, sqlite3_value_int64(values[0]));
    struct change change = {.table = table,
                            .values = values + 2,
                            .is_update = is_update,
                            .old_id = is_update ? sqlite3_value_int64(values[0]) : 0};
    sqlite3_value *order = change.values[schema->n_columns + HIDDEN_COMMAND];
    if (!is_update && sqlite3_value_type(order) != SQLITE_NULL)
        return command(table, order, change.values[schema->n_columns + HIDDEN_ARG]);
    int rc = write_row(&change, values[1]);
    if (rc == SQLITE_OK) *rowid = change.id;
    return rc;
}

int vindex__table_update(sqlite3_vtab *base, int n, sqlite3_value **values, sqlite3_int64 *rowid)
{
    struct table *table = (struct table *)base;
    sqlite3_int64 last = sqlite3_last_insert_rowid(table->db);
    int rc =
        table->failed != SQLITE_OK ? vindex__table_flush(table) : vindex__cursors_complete(table);
    if (rc == SQLITE_OK) rc = update_any(table, n, values, rowid);
    sqlite3_set_last_insert_rowid(table->db, last); /* SQLite itself sets it for an insert */
    return rc;
}
