/*
 * filter.c - terms as SQL over t_rows.
 */
#include "filter.h"

#include "cursor.h"

/* A statement with so many values stays far from SQLite's limits of variables and of expression depth. */
#define LIST_CHUNK 200

static const char *sql_op(enum plan_op op)
{
    switch (op) {
    case OP_EQ: return "=";
    case OP_NE: return "!=";
    case OP_LT: return "<";
    case OP_LE: return "<=";
    case OP_GT: return ">";
    case OP_GE: return ">=";
    case OP_IS: return "IS";
    case OP_IS_NOT: return "IS NOT";
    case OP_LIKE: return "LIKE";
    case OP_GLOB: return "GLOB";
    default: return "";
    }
}

static bool is_number(sqlite3_value *value)
{
    int type = sqlite3_value_type(value);
    return type == SQLITE_INTEGER || type == SQLITE_FLOAT;
}

static bool is_range(enum plan_op op)
{
    return op == OP_LT || op == OP_LE || op == OP_GT || op == OP_GE;
}

/* The right side is of no column's type, so that a TEXT column makes a text of it. (A CAST of what was written out
 * or bound passes for it.) */
static bool is_bare(const struct plan_term *term, sqlite3_value *value)
{
    return !term->is_list && (term->is_as_text || sqlite3_value_frombind(value));
}

static bool has_unknown_collation(const struct schema_column *column, const struct plan_term *term)
{
    return (term->op == OP_NE || term->op == OP_IS_NOT) && column->collation;
}

static bool has_unknown_affinity(const struct schema_column *column, const struct plan_term *term,
                                 sqlite3_value *value)
{
    if (column->affinity != AFFINITY_TEXT || term->op > OP_IS_NOT) return false;
    return is_number(value) || (is_range(term->op) && !is_bare(term, value) &&
                                sqlite3_value_type(value) == SQLITE_TEXT);
}

static const char *collation_of(const struct schema_column *column, const struct plan_term *term,
                                enum reading reading)
{
    const char *name = term->collation;
    if (has_unknown_collation(column, term))
        name = reading == READING_LIKELY ? column->collation : NULL;
    return name ? name : "BINARY";
}

/* What SQLite makes of the two sides: by the column's own type, as numbers, or as they are. */
static const char *const by_type = "m%d %s ?%d";
static const char *const as_numbers = "m%d %s CAST(?%d AS NUMERIC)";
static const char *const as_they_are = "+m%d %s ?%d";

static void append_comparison(sqlite3_str *sql, const struct schema_column *column,
                              const struct plan_term *term, int number, enum reading reading,
                              const char *format)
{
    sqlite3_str_appendf(sql, format, column->number, sql_op(term->op), number);
    if (term->op <= OP_IS_NOT)
        sqlite3_str_appendf(sql, " COLLATE \"%w\"", collation_of(column, term, reading));
}

/* One term on a metadata column, its right side being argument `number` of the statement. */
static void append_value_term(sqlite3_str *sql, const struct schema_column *column,
                              const struct plan_term *term, int number, enum reading reading,
                              sqlite3_value *value)
{
    if (term->op == OP_IS_NULL || term->op == OP_NOT_NULL) {
        sqlite3_str_appendf(sql, "m%d %s", column->number,
                            term->op == OP_IS_NULL ? "IS NULL" : "IS NOT NULL");
        return;
    }
    bool is_wide = reading == READING_WIDEST && has_unknown_affinity(column, term, value);
    bool is_typed_number =
        column->affinity == AFFINITY_TEXT && is_number(value) && !is_bare(term, value);
    sqlite3_str_appendchar(sql, 1, '(');
    append_comparison(sql, column, term, number, reading,
                      is_typed_number && term->op <= OP_IS_NOT ? as_numbers : by_type);
    if (is_wide && is_number(value)) {
        sqlite3_str_appendall(sql, " OR ");
        append_comparison(sql, column, term, number, reading,
                          is_typed_number ? by_type : as_numbers);
        sqlite3_str_appendall(sql, " OR ");
        append_comparison(sql, column, term, number, reading, as_they_are);
    } else if (is_wide) { /* what looks like a number may be one, and less than any text */
        sqlite3_str_appendf(sql, " OR m%d = CAST(m%d AS NUMERIC)", column->number, column->number);
    }
    sqlite3_str_appendchar(sql, 1, ')');
}

static bool is_simple(const struct plan_term *term)
{
    return !term->is_list && (term->role == ROLE_VALUE || term->role == ROLE_ROWID);
}

/* " WHERE a AND b" of all terms that are no lists; the arguments keep the plan's numbers. */
static void append_where(sqlite3_str *sql, const struct table *table, const struct plan *plan,
                         sqlite3_value **values, enum reading reading)
{
    const char *before = " WHERE ";
    for (int i = 0; i < plan->n_terms; i++) {
        const struct plan_term *term = &plan->terms[i];
        if (!is_simple(term)) continue;
        sqlite3_str_appendall(sql, before);
        before = " AND ";
        if (term->role == ROLE_ROWID)
            sqlite3_str_appendf(sql, "id %s ?%d", sql_op(term->op), i + 1);
        else
            append_value_term(sql, &table->schema.columns[term->column], term, i + 1, reading,
                              values[i]);
    }
}

static int bind_simple(struct table *table, const struct plan *plan, sqlite3_value **values,
                       sqlite3_stmt *statement)
{
    int rc = SQLITE_OK;
    for (int i = 0; i < plan->n_terms && rc == SQLITE_OK; i++) {
        const struct plan_term *term = &plan->terms[i];
        bool has_value = term->op != OP_IS_NULL && term->op != OP_NOT_NULL;
        if (is_simple(term) && has_value) rc = sqlite3_bind_value(statement, i + 1, values[i]);
    }
    return vindex__table_sqlite(table, rc);
}

int vindex__filter_scan(struct table *table, const struct plan *plan, sqlite3_value **values,
                        sqlite3_stmt **statement)
{
    sqlite3_str *sql = sqlite3_str_new(table->db);
    sqlite3_str_appendf(sql, "SELECT * FROM \"%w\".\"%w_rows\"", table->schema_name, table->name);
    append_where(sql, table, plan, values, READING_WIDEST);
    if (plan->by == BY_ROWID) sqlite3_str_appendall(sql, " ORDER BY id");
    if (plan->by == BY_ROWID_DESC) sqlite3_str_appendall(sql, " ORDER BY id DESC");
    int rc = vindex__table_borrow(table, sqlite3_str_finish(sql), statement);
    return rc == SQLITE_OK ? bind_simple(table, plan, values, *statement) : rc;
}

/* ---- sets of rows -------------------------------------------------------------------------------- */

static int collect(struct table *table, sqlite3_stmt *statement, struct ids *ids)
{
    int rc;
    while ((rc = sqlite3_step(statement)) == SQLITE_ROW)
        if (!vindex__ids_add(ids, sqlite3_column_int64(statement, 0))) return SQLITE_NOMEM;
    return vindex__table_sqlite(table, rc);
}

static bool has_values(const struct plan *plan)
{
    for (int i = 0; i < plan->n_terms; i++)
        if (plan->terms[i].role == ROLE_VALUE && !plan->terms[i].is_list) return true;
    return false;
}

/* The terms on values that are no lists, in one pass over t_rows. */
static int simple_ids(struct table *table, const struct plan *plan, sqlite3_value **values,
                      enum reading reading, struct ids *ids)
{
    sqlite3_stmt *statement = NULL;
    sqlite3_str *sql = sqlite3_str_new(table->db);
    sqlite3_str_appendf(sql, "SELECT id FROM \"%w\".\"%w_rows\"", table->schema_name, table->name);
    append_where(sql, table, plan, values, reading);
    int rc = vindex__table_borrow(table, sqlite3_str_finish(sql), &statement);
    if (rc == SQLITE_OK) rc = bind_simple(table, plan, values, statement);
    if (rc == SQLITE_OK) rc = collect(table, statement, ids);
    vindex__table_give_back(table, statement);
    return rc;
}

/* rowid = x, rowid IN (...): the list itself, whether or not there are such rows. */
static int rowid_ids(const struct plan_term *term, sqlite3_value *value, struct ids *ids)
{
    sqlite3_value *item = value;
    sqlite3_int64 id;
    int rc = term->is_list ? sqlite3_vtab_in_first(value, &item) : SQLITE_OK;
    while (rc == SQLITE_OK && item) {
        if (vindex__sql_value_id(item, &id) && !vindex__ids_add(ids, id)) return SQLITE_NOMEM;
        if (!term->is_list) break;
        rc = sqlite3_vtab_in_next(value, &item);
    }
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* Up to LIST_CHUNK values of column IN (...). They are copied: SQLite's own move on. */
static int chunk_ids(struct table *table, const struct plan_term *term, sqlite3_value **items,
                     int n, enum reading reading, struct ids *ids)
{
    const struct schema_column *column = &table->schema.columns[term->column];
    sqlite3_stmt *statement = NULL;
    sqlite3_str *sql = sqlite3_str_new(table->db);
    sqlite3_str_appendf(sql, "SELECT id FROM \"%w\".\"%w_rows\" WHERE ", table->schema_name,
                        table->name);
    for (int i = 0; i < n; i++) {
        if (i) sqlite3_str_appendall(sql, " OR ");
        append_value_term(sql, column, term, i + 1, reading, items[i]);
    }
    int rc = vindex__table_borrow(table, sqlite3_str_finish(sql), &statement);
    for (int i = 0; i < n && rc == SQLITE_OK; i++)
        rc = vindex__table_sqlite(table, sqlite3_bind_value(statement, i + 1, items[i]));
    if (rc == SQLITE_OK) rc = collect(table, statement, ids);
    vindex__table_give_back(table, statement);
    return rc;
}

static int list_ids(struct table *table, const struct plan_term *term, sqlite3_value *list,
                    enum reading reading, struct ids *ids)
{
    sqlite3_value *items[LIST_CHUNK], *item = NULL;
    int rc = sqlite3_vtab_in_first(list, &item);
    while (rc == SQLITE_OK && item) {
        int n = 0;
        for (; n < LIST_CHUNK && rc == SQLITE_OK && item; n++) {
            items[n] = sqlite3_value_dup(item);
            if (!items[n]) rc = SQLITE_NOMEM;
            if (rc == SQLITE_OK) rc = sqlite3_vtab_in_next(list, &item);
        }
        int scan = rc == SQLITE_OK || rc == SQLITE_DONE
                       ? chunk_ids(table, term, items, n, reading, ids)
                       : rc;
        while (n > 0)
            sqlite3_value_free(items[--n]);
        if (scan != SQLITE_OK) return scan;
    }
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* A term's own set, and what it has in common with those before it. */
static int reduce_by(struct table *table, const struct plan_term *term, sqlite3_value *value,
                     enum reading reading, struct ids *ids, bool *has_ids)
{
    struct ids own = {NULL, 0, 0};
    int rc = term->role == ROLE_ROWID ? rowid_ids(term, value, &own)
                                      : list_ids(table, term, value, reading, &own);
    vindex__ids_sort(&own);
    if (rc == SQLITE_OK && *has_ids) {
        vindex__ids_reduce(ids, &own, true);
    } else if (rc == SQLITE_OK) {
        vindex__ids_free(ids);
        *ids = own;
        memset(&own, 0, sizeof own);
        *has_ids = true;
    }
    vindex__ids_free(&own);
    return rc;
}

static bool has_number(sqlite3_value *list)
{
    sqlite3_value *item = NULL;
    int rc = sqlite3_vtab_in_first(list, &item);
    while (rc == SQLITE_OK && item && !is_number(item))
        rc = sqlite3_vtab_in_next(list, &item);
    return rc == SQLITE_OK && item;
}

static bool is_ambiguous(const struct schema_column *column, const struct plan_term *term,
                         sqlite3_value *value)
{
    if (term->is_list) return column->affinity == AFFINITY_TEXT && has_number(value);
    return has_unknown_collation(column, term) || has_unknown_affinity(column, term, value);
}

bool vindex__filter_is_ambiguous(const struct table *table, const struct plan *plan,
                                 sqlite3_value **values)
{
    bool found = false;
    for (int i = 0; i < plan->n_terms && !found; i++) {
        const struct plan_term *term = &plan->terms[i];
        if (term->role == ROLE_VALUE)
            found = is_ambiguous(&table->schema.columns[term->column], term, values[i]);
    }
    return found;
}

int vindex__filter_ids(struct table *table, const struct plan *plan, sqlite3_value **values,
                       enum reading reading, struct ids *ids, bool *has_ids)
{
    int rc = SQLITE_OK;
    ids->n = 0;
    *has_ids = has_values(plan);
    if (*has_ids) {
        rc = simple_ids(table, plan, values, reading, ids);
        vindex__ids_sort(ids);
    }
    for (int i = 0; i < plan->n_terms && rc == SQLITE_OK; i++) {
        const struct plan_term *term = &plan->terms[i];
        bool is_set = term->role == ROLE_ROWID || (term->role == ROLE_VALUE && term->is_list);
        if (is_set) rc = reduce_by(table, term, values[i], reading, ids, has_ids);
    }
    return rc;
}
