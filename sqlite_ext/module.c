/*
 * module.c - the virtual table as SQLite calls it, and the entry point. Each method is a few lines: what they
 * do is in table.c, write.c, plan.c and cursor.c.
 */
#include "ext.h"

#ifndef SQLITE_CORE
SQLITE_EXTENSION_INIT1
#endif

#include "cursor.h"
#include "functions.h"
#include "plan.h"
#include "table.h"

/* ---- create, connect ----------------------------------------------------------------------------- */

/* The command column is called as the table is, whatever it is called later. */
static int declare(sqlite3 *db, const struct schema *schema, const char *table)
{
    static const char *const hidden_types[N_HIDDEN] = {"",     "INTEGER", "REAL", "REAL",
                                                       "REAL", "REAL",    "",     ""};
    sqlite3_str *sql = sqlite3_str_new(db);
    sqlite3_str_appendall(sql, "CREATE TABLE x(");
    for (int i = 0; i < schema->n_columns; i++) {
        const struct schema_column *column = &schema->columns[i];
        sqlite3_str_appendf(sql, "\"%w\" %s", column->name,
                            column->kind == COLUMN_VECTOR ? "BLOB" : column->declared);
        if (column->collation) sqlite3_str_appendf(sql, " COLLATE \"%w\"", column->collation);
        sqlite3_str_appendall(sql, ", ");
    }
    for (int i = 0; i < N_HIDDEN; i++)
        sqlite3_str_appendf(sql, "\"%w\" %s HIDDEN%s",
                            i == HIDDEN_COMMAND ? table
                                                : vindex__sql_hidden_name((enum hidden_column)i),
                            hidden_types[i], i + 1 < N_HIDDEN ? ", " : ")");
    char *text = sqlite3_str_finish(sql);
    int rc = text ? sqlite3_declare_vtab(db, text) : SQLITE_NOMEM;
    sqlite3_free(text);
    return rc;
}

static int make(struct module *module, int n, const char *const *arguments, bool create,
                sqlite3_vtab **result, char **error)
{
    struct schema schema;
    struct table *table = NULL;
    const char *schema_name = arguments[1], *name = arguments[2];
    *result = NULL;
    int rc = vindex__sql_parse_vindex(name, n - 3, arguments + 3, &schema, error);
    if (rc != SQLITE_OK) return rc;
    rc = sqlite3_vtab_config(module->db, SQLITE_VTAB_CONSTRAINT_SUPPORT, 1);
    if (rc == SQLITE_OK) rc = declare(module->db, &schema, name);
    if (rc != SQLITE_OK) {
        if (rc != SQLITE_NOMEM) *error = sqlite3_mprintf("%s", sqlite3_errmsg(module->db));
        vindex__sql_schema_free(&schema);
        return rc;
    }
    rc = vindex__table_new(module, schema_name, name, &schema, create, &table, error);
    if (rc == SQLITE_OK) *result = &table->base;
    return rc;
}

static int x_create(sqlite3 *db, void *module, int n, const char *const *arguments,
                    sqlite3_vtab **result, char **error)
{
    (void)db;
    return make(module, n, arguments, true, result, error);
}

static int x_connect(sqlite3 *db, void *module, int n, const char *const *arguments,
                     sqlite3_vtab **result, char **error)
{
    (void)db;
    return make(module, n, arguments, false, result, error);
}

static int x_disconnect(sqlite3_vtab *base)
{
    vindex__table_free((struct table *)base);
    return SQLITE_OK;
}

static int x_destroy(sqlite3_vtab *base)
{
    struct table *table = (struct table *)base;
    vindex__table_discard(table);
    vindex__table_enter(table);
    int rc = vindex__table_leave(table, vindex__table_drop(table));
    if (rc == SQLITE_OK) vindex__table_free((struct table *)base);
    return rc;
}

static int x_rename(sqlite3_vtab *base, const char *name)
{
    struct table *table = (struct table *)base;
    vindex__table_enter(table);
    return vindex__table_leave(table, vindex__table_rename(table, name));
}

static int x_shadow_name(const char *suffix)
{
    return vindex__table_shadow_name(suffix);
}

/* ---- plan ---------------------------------------------------------------------------------------- */

static enum plan_op op_of(unsigned char op)
{
    switch (op) {
    case SQLITE_INDEX_CONSTRAINT_EQ: return OP_EQ;
    case SQLITE_INDEX_CONSTRAINT_NE: return OP_NE;
    case SQLITE_INDEX_CONSTRAINT_LT: return OP_LT;
    case SQLITE_INDEX_CONSTRAINT_LE: return OP_LE;
    case SQLITE_INDEX_CONSTRAINT_GT: return OP_GT;
    case SQLITE_INDEX_CONSTRAINT_GE: return OP_GE;
    case SQLITE_INDEX_CONSTRAINT_IS: return OP_IS;
    case SQLITE_INDEX_CONSTRAINT_ISNOT: return OP_IS_NOT;
    case SQLITE_INDEX_CONSTRAINT_ISNULL: return OP_IS_NULL;
    case SQLITE_INDEX_CONSTRAINT_ISNOTNULL: return OP_NOT_NULL;
    case SQLITE_INDEX_CONSTRAINT_LIKE: return OP_LIKE;
    case SQLITE_INDEX_CONSTRAINT_GLOB: return OP_GLOB;
    case SQLITE_INDEX_CONSTRAINT_MATCH: return OP_MATCH;
    case SQLITE_INDEX_CONSTRAINT_LIMIT: return OP_LIMIT;
    case SQLITE_INDEX_CONSTRAINT_OFFSET: return OP_OFFSET;
    default: return OP_OTHER;
    }
}

static void read_constraint(const struct table *table, sqlite3_index_info *info, int i,
                            struct plan_constraint *c)
{
    *c = (struct plan_constraint){.column = info->aConstraint[i].iColumn,
                                  .op = op_of(info->aConstraint[i].op),
                                  .is_usable = info->aConstraint[i].usable};
    if (c->op == OP_LIMIT || c->op == OP_OFFSET) {
        c->column = PLAN_ROWID - 1; /* they have none */
        return;
    }
    c->is_list = c->op == OP_EQ && sqlite3_vtab_in(info, i, -1);
    if (c->column < PLAN_ROWID || c->column >= table->schema.n_columns) return;
    sqlite3_value *value = NULL;
    c->is_literal = sqlite3_vtab_rhs_value(info, i, &value) == SQLITE_OK && value;
    if (c->column < 0) return;
    if (value && sqlite3_value_type(value) == SQLITE_TEXT)
        c->text = (const char *)sqlite3_value_text(value);
    const char *collation = sqlite3_vtab_collation(info, i);
    if (collation && sqlite3_stricmp(collation, "BINARY") != 0) c->collation = collation;
}

/* colUsed has one bit for all columns from 63 on. */
static bool reads_inputs(const struct table *table, const sqlite3_index_info *info)
{
    static const enum hidden_column inputs[] = {HIDDEN_QUERY, HIDDEN_K, HIDDEN_RECALL,
                                                HIDDEN_COMMAND};
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        int column = table->schema.n_columns + (int)inputs[i];
        if (info->colUsed >> (column < 63 ? column : 63) & 1) return true;
    }
    return false;
}

/* From the plan to what SQLite wants to hear. */
static int answer(struct table *table, const struct plan *plan, sqlite3_index_info *info)
{
    size_t size = vindex__sql_plan_print(plan, &table->schema, NULL, 0) + 1;
    info->idxStr = sqlite3_malloc64(size);
    if (!info->idxStr) return SQLITE_NOMEM;
    vindex__sql_plan_print(plan, &table->schema, info->idxStr, size);
    info->needToFreeIdxStr = 1;
    for (int i = 0; i < plan->n_terms; i++) {
        const struct plan_term *term = &plan->terms[i];
        info->aConstraintUsage[term->constraint].argvIndex = i + 1;
        info->aConstraintUsage[term->constraint].omit = term->is_consumed;
        if (term->is_list) sqlite3_vtab_in(info, term->constraint, 1);
    }
    info->orderByConsumed = plan->is_ordered;
    info->estimatedCost = plan->cost;
    info->estimatedRows = plan->n_rows;
    if (plan->kind == PLAN_ROW) info->idxFlags = SQLITE_INDEX_SCAN_UNIQUE;
    return SQLITE_OK;
}

static int x_best_index(sqlite3_vtab *base, sqlite3_index_info *info)
{
    struct table *table = (struct table *)base;
    struct plan plan;
    int rc = SQLITE_OK;
    size_t n = (size_t)info->nConstraint, n_orders = (size_t)info->nOrderBy;
    struct plan_constraint *constraints = sqlite3_malloc64((n + 1) * sizeof *constraints);
    struct plan_order *orders = sqlite3_malloc64((n_orders + 1) * sizeof *orders);
    if (!constraints || !orders) rc = SQLITE_NOMEM;
    for (size_t i = 0; i < n && rc == SQLITE_OK; i++)
        read_constraint(table, info, (int)i, &constraints[i]);
    for (size_t i = 0; i < n_orders && rc == SQLITE_OK; i++)
        orders[i] = (struct plan_order){info->aOrderBy[i].iColumn, info->aOrderBy[i].desc};
    if (rc == SQLITE_OK) {
        struct plan_request request = {.schema = &table->schema,
                                       .constraints = constraints,
                                       .n_constraints = (int)n,
                                       .orders = orders,
                                       .n_orders = (int)n_orders,
                                       .distinct = sqlite3_vtab_distinct(info),
                                       .reads_inputs = reads_inputs(table, info)};
        switch (vindex__sql_plan(&request, &plan)) {
        case PLAN_OK: rc = answer(table, &plan, info); break;
        case PLAN_IMPOSSIBLE: rc = SQLITE_CONSTRAINT; break;
        case PLAN_ERROR:
            rc = vindex__table_error(table, SQLITE_ERROR, "%s: %s", table->name, plan.message);
        }
    }
    sqlite3_free(constraints);
    sqlite3_free(orders);
    return rc;
}

/* MATCH is no test of a row: this is what runs where SQLite could not make it the question. */
static void refuse_match(sqlite3_context *context, int n, sqlite3_value **values)
{
    struct table *table = sqlite3_user_data(context);
    char *text = sqlite3_mprintf("%s: MATCH asks a question and cannot stand inside OR, NOT or an "
                                 "expression: join it to the "
                                 "other terms by AND, or write query = ... in its place",
                                 table->name);
    (void)n;
    (void)values;
    sqlite3_result_error(context, text ? text : "out of memory", -1);
    sqlite3_free(text);
}

static int x_find_function(sqlite3_vtab *base, int n, const char *name,
                           void (**function)(sqlite3_context *, int, sqlite3_value **),
                           void **context)
{
    if (n != 2 || sqlite3_stricmp(name, "match") != 0) return 0;
    *function = refuse_match;
    *context = base;
    return 1;
}

/* ---- transactions -------------------------------------------------------------------------------- */

static int x_begin(sqlite3_vtab *base)
{
    (void)base;
    return SQLITE_OK;
}

static int x_sync(sqlite3_vtab *base)
{
    struct table *table = (struct table *)base;
    vindex__table_enter(table);
    return vindex__table_leave(table, vindex__table_flush(table));
}

static int x_commit(sqlite3_vtab *base)
{
    ((struct table *)base)->has_flushed = false;
    return SQLITE_OK;
}

static int x_rollback(sqlite3_vtab *base)
{
    struct table *table = (struct table *)base;
    vindex__table_discard(table);
    if (!table->is_rolled_back) table->has_flushed = false;
    return SQLITE_OK;
}

/* Called before the savepoint exists: what was written so far belongs to the outside of it. A savepoint inside a
 * call of ours is that of a statement of ours: it has nothing to flush. */
static int x_savepoint(sqlite3_vtab *base, int number)
{
    (void)number;
    return ((struct table *)base)->depth > 0 ? SQLITE_OK : x_sync(base);
}

static int x_release(sqlite3_vtab *base, int number)
{
    (void)base;
    (void)number;
    return SQLITE_OK;
}

/* All that is not flushed came after the last savepoint, so it goes with whichever is rolled back to. */
static int x_rollback_to(sqlite3_vtab *base, int number)
{
    (void)number;
    vindex__table_discard((struct table *)base);
    return SQLITE_OK;
}

/* Since SQLite 3.44; older ones do not look beyond xShadowName. */
static int x_integrity(sqlite3_vtab *base, const char *schema, const char *name, int flags,
                       char **error)
{
    struct table *table = (struct table *)base;
    (void)schema;
    (void)name;
    (void)flags;
    vindex__table_enter(table);
    int rc = vindex__table_flush(table);
    if (rc == SQLITE_OK) rc = vindex__table_check(table, error);
    return vindex__table_leave(table, rc);
}

/* ---- rows ---------------------------------------------------------------------------------------- */

static int x_update(sqlite3_vtab *base, int n, sqlite3_value **values, sqlite3_int64 *rowid)
{
    struct table *table = (struct table *)base;
    vindex__table_enter(table);
    return vindex__table_leave(table, vindex__table_update(base, n, values, rowid));
}

static int x_filter(sqlite3_vtab_cursor *cursor, int number, const char *text, int n,
                    sqlite3_value **values)
{
    struct table *table = (struct table *)cursor->pVtab;
    vindex__table_enter(table);
    return vindex__table_leave(table, vindex__cursor_filter(cursor, number, text, n, values));
}

static int x_next(sqlite3_vtab_cursor *cursor)
{
    struct table *table = (struct table *)cursor->pVtab;
    vindex__table_enter(table);
    return vindex__table_leave(table, vindex__cursor_next(cursor));
}

static int x_column(sqlite3_vtab_cursor *cursor, sqlite3_context *context, int column)
{
    struct table *table = (struct table *)cursor->pVtab;
    vindex__table_enter(table);
    return vindex__table_leave(table, vindex__cursor_column(cursor, context, column));
}

/* sqlite3_module of version 4, also where the header at hand knows only 3. */
struct module_v4 {
    sqlite3_module v3;
    int (*integrity)(sqlite3_vtab *, const char *, const char *, int, char **);
};

static const struct module_v4 vindex_module = {
    .v3 =
        {
            .iVersion = 4,
            .xCreate = x_create,
            .xConnect = x_connect,
            .xBestIndex = x_best_index,
            .xDisconnect = x_disconnect,
            .xDestroy = x_destroy,
            .xOpen = vindex__cursor_open,
            .xClose = vindex__cursor_close,
            .xFilter = x_filter,
            .xNext = x_next,
            .xEof = vindex__cursor_eof,
            .xColumn = x_column,
            .xRowid = vindex__cursor_rowid,
            .xUpdate = x_update,
            .xBegin = x_begin,
            .xSync = x_sync,
            .xCommit = x_commit,
            .xRollback = x_rollback,
            .xFindFunction = x_find_function,
            .xRename = x_rename,
            .xSavepoint = x_savepoint,
            .xRelease = x_release,
            .xRollbackTo = x_rollback_to,
            .xShadowName = x_shadow_name,
#if SQLITE_VERSION_NUMBER >= 3044000
            .xIntegrity = x_integrity,
#endif
        },
    .integrity = x_integrity,
};

/* ---- entry --------------------------------------------------------------------------------------- */

/* sqlite3_vtab_in and sqlite3_vtab_rhs_value, without which k cannot mean what it means. */
#define OLDEST_SQLITE 3038000

int sqlite3_vindex_init(sqlite3 *db, char **error, const sqlite3_api_routines *api)
{
#ifndef SQLITE_CORE
    SQLITE_EXTENSION_INIT2(api);
#else
    (void)api;
#endif
    if (sqlite3_libversion_number() < OLDEST_SQLITE) {
        if (error)
            *error = sqlite3_mprintf("vindex needs SQLite 3.38 or newer, this is %s",
                                     sqlite3_libversion());
        return SQLITE_ERROR;
    }
    struct module *module = sqlite3_malloc64(sizeof *module);
    if (!module) return SQLITE_NOMEM;
    *module = (struct module){.db = db, .refs = 1};
    int rc =
        sqlite3_create_module_v2(db, "vindex", &vindex_module.v3, module, vindex__module_unref);
    if (rc == SQLITE_OK) rc = vindex__sql_register_inspectors(module);
    if (rc == SQLITE_OK) rc = vindex__sql_register_scalars(db);
    if (rc == SQLITE_OK) rc = vindex__sql_register_selection(db);
    return rc;
}
