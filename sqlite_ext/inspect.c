/*
 * inspect.c - looking into a table: the integrity check, and the table functions vindex_stats(t) and
 * vindex_plan(t), whose rows are (column, name, value).
 */
#include "functions.h"
#include "ids.h"

/* ---- integrity ----------------------------------------------------------------------------------- */

struct finding {
    char *text; /* the first one */
};

static void keep_first(void *context, const char *text)
{
    struct finding *finding = context;
    if (!finding->text) finding->text = sqlite3_mprintf("%s", text);
}

static int collect(void *context, const int64_t *ids, const void *rows, size_t n)
{
    (void)rows;
    for (size_t i = 0; i < n; i++)
        if (!vindex__ids_add(context, ids[i])) return 1;
    return 0;
}

static int rows_with_vector(struct table *table, int number, struct ids *ids)
{
    sqlite3_stmt *statement = NULL;
    int rc = vindex__table_borrow(table,
                                  sqlite3_mprintf("SELECT id FROM \"%w\".\"%w_rows\" "
                                                  "WHERE vectors >> %d & 1 ORDER BY id",
                                                  table->schema_name, table->name, number),
                                  &statement);
    if (rc != SQLITE_OK) return rc;
    while ((rc = sqlite3_step(statement)) == SQLITE_ROW)
        if (!vindex__ids_add(ids, sqlite3_column_int64(statement, 0))) break;
    rc = rc == SQLITE_ROW ? SQLITE_NOMEM : vindex__table_sqlite(table, rc);
    vindex__table_give_back(table, statement);
    return rc;
}

static char *first_difference(const struct table *table, int number, struct ids *indexed,
                              struct ids *present)
{
    const char *column = vindex__sql_vector_column(&table->schema, number)->name;
    size_t n = indexed->n;
    vindex__ids_sort(indexed);
    if (indexed->n != n)
        return sqlite3_mprintf("%s.%s: a row is indexed twice", table->name, column);
    for (size_t i = 0; i < indexed->n || i < present->n; i++) {
        if (i < indexed->n && i < present->n && indexed->items[i] == present->items[i]) continue;
        bool is_extra =
            i == present->n || (i < indexed->n && indexed->items[i] < present->items[i]);
        return sqlite3_mprintf(is_extra ? "%s.%s: row %lld is indexed but has no such vector"
                                        : "%s.%s: the vector of row %lld is not in its index",
                               table->name, column,
                               (sqlite3_int64)(is_extra ? indexed->items[i] : present->items[i]));
    }
    return NULL;
}

static int compare_rows(struct table *table, int number, struct vector_index *v, char **finding)
{
    struct ids indexed = {NULL, 0, 0}, present = {NULL, 0, 0};
    vindex_stats stats = VINDEX_STATS_INIT;
    int rc = vindex__table_searcher(table, number, &v);
    if (rc == SQLITE_OK)
        rc = vindex__table_status(table, v, vindex_scan(v->searcher, collect, &indexed));
    if (rc == SQLITE_OK) rc = vindex__table_status(table, v, vindex_stat(v->index, &stats));
    if (rc == SQLITE_OK && indexed.n != stats.n_rows)
        rc = SQLITE_NOMEM; /* collect ended the scan */
    if (rc == SQLITE_OK) rc = rows_with_vector(table, number, &present);
    if (rc == SQLITE_OK) *finding = first_difference(table, number, &indexed, &present);
    vindex__ids_free(&indexed);
    vindex__ids_free(&present);
    return rc;
}

/* Damage becomes the finding, whichever call met it. */
static int absorb(struct table *table, int rc, char **finding)
{
    if ((rc & 0xff) != SQLITE_CORRUPT) return rc;
    if (!*finding)
        *finding = sqlite3_mprintf("%s", table->base.zErrMsg ? table->base.zErrMsg : "damaged");
    return *finding ? SQLITE_OK : SQLITE_NOMEM;
}

int vindex__table_check(struct table *table, char **result)
{
    int rc = SQLITE_OK;
    *result = NULL;
    for (int i = 0; i < table->schema.n_vectors && rc == SQLITE_OK && !*result; i++) {
        struct vector_index *v = NULL;
        struct finding finding = {NULL};
        rc = vindex__table_index(table, i, &v);
        if (rc == SQLITE_OK)
            rc = vindex__table_status(table, v, vindex_check(v->index, keep_first, &finding));
        if (rc == SQLITE_OK && !finding.text) rc = compare_rows(table, i, v, &finding.text);
        *result = finding.text;
        rc = absorb(table, rc, result);
    }
    return rc;
}

/* ---- vindex_stats, vindex_plan ------------------------------------------------------------------- */

enum { FACT_COLUMN, FACT_NAME, FACT_VALUE, FACT_TABLE, FACT_SCHEMA };

struct fact {
    const char *name;
    char text[136]; /* used if is_text */
    bool is_text, is_real;
    sqlite3_int64 integer;
    double real;
};

struct facts {
    sqlite3_vtab_cursor base;
    int number; /* of the next vector column */
    struct fact items[24];
    int n, at;
    char *table_name, *schema_name;
};

struct inspector {
    sqlite3_vtab base;
    struct module *module;
    bool is_plan;
};

static struct fact *add(struct facts *facts, const char *name)
{
    struct fact *fact = &facts->items[facts->n++];
    memset(fact, 0, sizeof *fact);
    fact->name = name;
    return fact;
}

static void add_text(struct facts *facts, const char *name, const char *text)
{
    struct fact *fact = add(facts, name);
    fact->is_text = true;
    sqlite3_snprintf((int)sizeof fact->text, fact->text, "%s", text);
}

static void add_integer(struct facts *facts, const char *name, uint64_t value)
{
    add(facts, name)->integer = (sqlite3_int64)value;
}

static void add_real(struct facts *facts, const char *name, double value)
{
    struct fact *fact = add(facts, name);
    fact->is_real = true;
    fact->real = value;
}

static int add_stats(struct table *table, int number, struct facts *facts)
{
    struct vector_index *v = NULL;
    vindex_stats stats = VINDEX_STATS_INIT;
    int rc = vindex__table_flush(table);
    if (rc == SQLITE_OK) rc = vindex__table_index(table, number, &v);
    if (rc == SQLITE_OK) rc = vindex__table_status(table, v, vindex_stat(v->index, &stats));
    if (rc != SQLITE_OK) return rc;
    add_integer(facts, "dim", stats.dim);
    add_text(facts, "type", vindex_type_name((vindex_type)stats.type));
    add_text(facts, "metric", vindex_metric_name((vindex_metric)stats.metric));
    add_text(facts, "layout", stats.layout == VINDEX_LAYOUT_FLAT ? "flat" : "auto");
    add_text(facts, "storage", "sqlite");
    add_real(facts, "recall", (double)stats.recall);
    add_integer(facts, "n_rows", stats.n_rows);
    add_integer(facts, "n_tail", stats.n_tail);
    add_integer(facts, "n_dead", stats.n_dead);
    add_integer(facts, "n_segments", stats.n_segments);
    add_integer(facts, "n_blocks", stats.n_blocks);
    add_integer(facts, "row_bytes", stats.row_bytes);
    add_integer(facts, "cached_bytes", v->shadow.cached_bytes);
    add_integer(facts, "c4_axes", stats.c4_axes);
    add_integer(facts, "p8_axes", stats.p8_axes);
    add_integer(facts, "n_coded", stats.n_coded);
    add_integer(facts, "codes_bytes", stats.codes_bytes);
    add_integer(facts, "n_audits", stats.n_audits);
    add_integer(facts, "n_alarms", stats.n_alarms);
    add_integer(facts, "epoch", stats.epoch);
    add_integer(facts, "format", stats.format_version);
    return SQLITE_OK;
}

/* How the last query of this column on this connection was answered; no rows if there was none. */
static int add_plan(struct table *table, int number, struct facts *facts)
{
    static const char *const states[] = {"", "exact", "proven", "assumed"};
    static const char *const bases[] = {"", "rows", "queries"};
    struct vector_index *v = &table->vectors[number];
    vindex_report report = VINDEX_REPORT_INIT;
    if (!v->searcher || vindex_searcher_report(v->searcher, &report) != VINDEX_OK || !report.state)
        return SQLITE_OK;
    add_text(facts, "plan", report.plan);
    add_text(facts, "state", report.state <= VINDEX_STATE_ASSUMED ? states[report.state] : "");
    add_text(facts, "basis", report.basis <= 2 ? bases[report.basis] : "");
    add_integer(facts, "n_audits", report.n_audits);
    add_real(facts, "target", report.target);
    add_real(facts, "predicted", report.predicted);
    add_real(facts, "bound", report.bound);
    add_real(facts, "measured", report.measured); /* NaN, not measured yet, is NULL in SQL */
    add_integer(facts, "effort", report.effort);
    add_integer(facts, "n_rows", report.n_rows);
    add_integer(facts, "n_scored", report.n_scored);
    add_integer(facts, "n_reranked", report.n_reranked);
    add_real(facts, "elapsed_us", (double)report.elapsed_ns / 1000);
    add_integer(facts, "epoch", report.epoch);
    return SQLITE_OK;
}

static int inspector_connect(sqlite3 *db, void *context, int n, const char *const *arguments,
                             sqlite3_vtab **result, char **error)
{
    (void)error;
    int rc = sqlite3_declare_vtab(db, "CREATE TABLE x(\"column\" TEXT, name TEXT, value, "
                                      "\"table\" TEXT HIDDEN, \"schema\" TEXT HIDDEN)");
    if (rc != SQLITE_OK) return rc;
    struct inspector *inspector = sqlite3_malloc64(sizeof *inspector);
    if (!inspector) return SQLITE_NOMEM;
    memset(inspector, 0, sizeof *inspector);
    inspector->module = context;
    inspector->is_plan = n > 0 && sqlite3_stricmp(arguments[0], "vindex_plan") == 0;
    *result = &inspector->base;
    return SQLITE_OK;
}

static int inspector_disconnect(sqlite3_vtab *base)
{
    sqlite3_free(base);
    return SQLITE_OK;
}

static int inspector_plan(sqlite3_vtab *base, sqlite3_index_info *info)
{
    int n = 0, table = -1, schema = -1;
    (void)base;
    for (int i = 0; i < info->nConstraint; i++) {
        int column = info->aConstraint[i].iColumn;
        if (info->aConstraint[i].op != SQLITE_INDEX_CONSTRAINT_EQ || column < FACT_TABLE) continue;
        if (!info->aConstraint[i].usable) return SQLITE_CONSTRAINT;
        if (column == FACT_TABLE)
            table = i;
        else
            schema = i;
    }
    if (table >= 0) info->aConstraintUsage[table].argvIndex = ++n;
    if (table >= 0 && schema >= 0) info->aConstraintUsage[schema].argvIndex = ++n;
    info->idxNum = n;
    info->estimatedCost = 100;
    info->estimatedRows = 15;
    return SQLITE_OK;
}

static int facts_open(sqlite3_vtab *base, sqlite3_vtab_cursor **cursor)
{
    struct facts *facts = sqlite3_malloc64(sizeof *facts);
    (void)base;
    if (!facts) return SQLITE_NOMEM;
    memset(facts, 0, sizeof *facts);
    *cursor = &facts->base;
    return SQLITE_OK;
}

static void facts_clear(struct facts *facts)
{
    sqlite3_free(facts->table_name);
    sqlite3_free(facts->schema_name);
    facts->table_name = facts->schema_name = NULL;
    facts->n = facts->at = facts->number = 0;
}

static int facts_close(sqlite3_vtab_cursor *cursor)
{
    facts_clear((struct facts *)cursor);
    sqlite3_free(cursor);
    return SQLITE_OK;
}

/* A table that this connection has not touched yet is connected by preparing a statement on it. */
static int find_table(struct inspector *inspector, const struct facts *facts, struct table **table)
{
    struct module *module = inspector->module;
    sqlite3_stmt *statement = NULL;
    *table = vindex__table_find(module, facts->schema_name, facts->table_name);
    if (*table) return SQLITE_OK;
    char *sql = facts->schema_name ? sqlite3_mprintf("SELECT 1 FROM \"%w\".\"%w\"",
                                                     facts->schema_name, facts->table_name)
                                   : sqlite3_mprintf("SELECT 1 FROM \"%w\"", facts->table_name);
    if (!sql) return SQLITE_NOMEM;
    int rc = sqlite3_prepare_v2(module->db, sql, -1, &statement, NULL);
    sqlite3_free(sql);
    sqlite3_finalize(statement);
    *table = vindex__table_find(module, facts->schema_name, facts->table_name);
    if (*table) return SQLITE_OK;
    if (rc == SQLITE_NOMEM) return rc;
    sqlite3_free(inspector->base.zErrMsg);
    inspector->base.zErrMsg = sqlite3_mprintf("no vindex table is called %s", facts->table_name);
    return SQLITE_ERROR;
}

/* The facts of the next vector column that has any. */
static int load_column(struct facts *facts)
{
    struct inspector *inspector = (struct inspector *)facts->base.pVtab;
    struct table *table = NULL;
    int rc = find_table(inspector, facts, &table);
    facts->n = facts->at = 0;
    for (; rc == SQLITE_OK && !facts->n && facts->number < table->schema.n_vectors;
         facts->number++) {
        vindex__table_enter(table);
        rc = inspector->is_plan ? add_plan(table, facts->number, facts)
                                : add_stats(table, facts->number, facts);
        vindex__table_leave(table, rc);
    }
    if (rc != SQLITE_OK && table && table->base.zErrMsg) {
        sqlite3_free(inspector->base.zErrMsg);
        inspector->base.zErrMsg = sqlite3_mprintf("%s", table->base.zErrMsg);
    }
    return rc;
}

static int facts_filter(sqlite3_vtab_cursor *cursor, int number, const char *text, int n,
                        sqlite3_value **values)
{
    struct facts *facts = (struct facts *)cursor;
    (void)number;
    (void)text;
    facts_clear(facts);
    if (n == 0) {
        sqlite3_free(cursor->pVtab->zErrMsg);
        cursor->pVtab->zErrMsg = sqlite3_mprintf("name the table, as in vindex_stats('docs')");
        return SQLITE_ERROR;
    }
    if (sqlite3_value_type(values[0]) == SQLITE_NULL) return SQLITE_OK;
    facts->table_name = sqlite3_mprintf("%s", sqlite3_value_text(values[0]));
    if (n > 1) facts->schema_name = sqlite3_mprintf("%s", sqlite3_value_text(values[1]));
    if (!facts->table_name || (n > 1 && !facts->schema_name)) return SQLITE_NOMEM;
    return load_column(facts);
}

static int facts_next(sqlite3_vtab_cursor *cursor)
{
    struct facts *facts = (struct facts *)cursor;
    if (++facts->at < facts->n) return SQLITE_OK;
    return load_column(facts);
}

static int facts_eof(sqlite3_vtab_cursor *cursor)
{
    return ((struct facts *)cursor)->at >= ((struct facts *)cursor)->n;
}

static int facts_column(sqlite3_vtab_cursor *cursor, sqlite3_context *context, int number)
{
    struct facts *facts = (struct facts *)cursor;
    struct inspector *inspector = (struct inspector *)cursor->pVtab;
    const struct fact *fact = &facts->items[facts->at];
    struct table *table =
        vindex__table_find(inspector->module, facts->schema_name, facts->table_name);
    switch (number) {
    case FACT_COLUMN:
        if (table)
            sqlite3_result_text(context,
                                vindex__sql_vector_column(&table->schema, facts->number - 1)->name,
                                -1, SQLITE_TRANSIENT);
        break;
    case FACT_NAME: sqlite3_result_text(context, fact->name, -1, SQLITE_STATIC); break;
    case FACT_VALUE:
        if (fact->is_text)
            sqlite3_result_text(context, fact->text, -1, SQLITE_TRANSIENT);
        else if (fact->is_real)
            sqlite3_result_double(context, fact->real);
        else
            sqlite3_result_int64(context, fact->integer);
        break;
    case FACT_TABLE: sqlite3_result_text(context, facts->table_name, -1, SQLITE_TRANSIENT); break;
    default: sqlite3_result_text(context, facts->schema_name, -1, SQLITE_TRANSIENT); break;
    }
    return SQLITE_OK;
}

static int facts_rowid(sqlite3_vtab_cursor *cursor, sqlite3_int64 *rowid)
{
    struct facts *facts = (struct facts *)cursor;
    *rowid = 100 * (sqlite3_int64)facts->number + facts->at;
    return SQLITE_OK;
}

static const sqlite3_module inspector_module = {
    .iVersion = 0,
    .xConnect = inspector_connect, /* and no xCreate: these tables are always there */
    .xBestIndex = inspector_plan,
    .xDisconnect = inspector_disconnect,
    .xOpen = facts_open,
    .xClose = facts_close,
    .xFilter = facts_filter,
    .xNext = facts_next,
    .xEof = facts_eof,
    .xColumn = facts_column,
    .xRowid = facts_rowid,
};

int vindex__sql_register_inspectors(struct module *module)
{
    int rc = SQLITE_OK;
    static const char *const names[] = {"vindex_stats", "vindex_plan"};
    for (int i = 0; i < 2 && rc == SQLITE_OK; i++) {
        module->refs++; /* given back by the destructor, which SQLite calls also on failure */
        rc = sqlite3_create_module_v2(module->db, names[i], &inspector_module, module,
                                      vindex__module_unref);
    }
    return rc;
}
