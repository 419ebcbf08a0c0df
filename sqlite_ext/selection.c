/*
 * selection.c - the top-k engine (vindex_topk.h) in SQL: the table function vindex_topk(scores, k [, which]), and
 * the formula vindex_recall(n, k, bins, per_bin).
 */
#include "cursor.h"
#include "functions.h"
#include "vector.h"
#include "vindex_topk.h"

enum { TOPK_RANK, TOPK_POSITION, TOPK_SCORE, TOPK_SCORES, TOPK_K, TOPK_WHICH };
enum { N_ARGUMENTS = 3 };

/* One row of scores and what was selected. */
struct selection {
    sqlite3_vtab_cursor base;
    sqlite3_value *arguments[N_ARGUMENTS]; /* as given */
    const void *scores;                    /* a BLOB's own bytes, or `parsed` */
    double *parsed;
    size_t n, capacity;
    bool is_out_of_memory;
    vindex_topk_type type;
    void *values; /* [n_selected] */
    int64_t *positions;
    int64_t n_selected, at;
};

static int refuse(struct selection *s, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    char *detail = sqlite3_vmprintf(format, list);
    va_end(list);
    sqlite3_free(s->base.pVtab->zErrMsg);
    s->base.pVtab->zErrMsg = sqlite3_mprintf("vindex_topk: %z", detail);
    return s->base.pVtab->zErrMsg ? SQLITE_ERROR : SQLITE_NOMEM;
}

/* ---- arguments ----------------------------------------------------------------------------------- */

static bool keep_number(void *context, double value)
{
    struct selection *s = context;
    if (s->n == s->capacity) {
        size_t capacity = s->capacity ? 2 * s->capacity : 64;
        double *grown = sqlite3_realloc64(s->parsed, capacity * sizeof *grown);
        s->is_out_of_memory = !grown;
        if (!grown) return false;
        s->parsed = grown;
        s->capacity = capacity;
    }
    s->parsed[s->n++] = value;
    return true;
}

static int read_json(struct selection *s, sqlite3_value *value)
{
    const char *text = (const char *)sqlite3_value_text(value);
    if (!text) return SQLITE_NOMEM;
    size_t size = (size_t)sqlite3_value_bytes(value);
    s->type = VINDEX_TOPK_F64;
    if (!vindex__sql_json_walk(text, size, true, keep_number, s))
        return s->is_out_of_memory ? SQLITE_NOMEM
                                   : refuse(s, "the scores are no JSON array of numbers and nulls");
    s->scores = s->parsed;
    return SQLITE_OK;
}

static int read_blob(struct selection *s, sqlite3_value *value)
{
    s->type = VINDEX_TOPK_F32;
    s->n = (size_t)sqlite3_value_bytes(value) / 4;
    if (sqlite3_value_bytes(value) % 4)
        return refuse(s, "the scores are a BLOB of %d bytes, which is no array of 32-bit floats",
                      sqlite3_value_bytes(value));
    s->scores = sqlite3_value_blob(value);
    return s->n && !s->scores ? SQLITE_NOMEM : SQLITE_OK;
}

static int read_scores(struct selection *s)
{
    sqlite3_value *value = s->arguments[0];
    switch (sqlite3_value_type(value)) {
    case SQLITE_TEXT: return read_json(s, value);
    case SQLITE_BLOB: return read_blob(s, value);
    default:
        return refuse(s, "the scores are a JSON array or a BLOB of 32-bit floats, not '%s'",
                      sqlite3_value_text(value));
    }
}

static int read_k(struct selection *s, int64_t *k)
{
    sqlite3_int64 given;
    if (!vindex__sql_value_id(s->arguments[1], &given) || given < 0)
        return refuse(s, "k is '%s': give a whole number from 0 on",
                      sqlite3_value_text(s->arguments[1]));
    *k = (uint64_t)given < s->n ? given : (int64_t)s->n;
    return SQLITE_OK;
}

static int read_which(struct selection *s, uint32_t *flags)
{
    const char *text = s->arguments[2] ? (const char *)sqlite3_value_text(s->arguments[2]) : "max";
    *flags = text && sqlite3_stricmp(text, "min") == 0 ? VINDEX_TOPK_MIN : 0;
    if (!*flags && (!text || sqlite3_stricmp(text, "max") != 0))
        return refuse(s, "the third argument is '%s': give max or min", text ? text : "");
    return SQLITE_OK;
}

/* ---- selecting ----------------------------------------------------------------------------------- */

static int run(struct selection *s, const vindex_topk_options *options,
               const vindex_topk_plan *plan)
{
    vindex_topk_output output = VINDEX_TOPK_OUTPUT_INIT;
    void *workspace = sqlite3_malloc64(plan->workspace_bytes + 1);
    s->values = sqlite3_malloc64((sqlite3_uint64)options->k * sizeof(double));
    s->positions = sqlite3_malloc64((sqlite3_uint64)options->k * sizeof *s->positions);
    output.values = s->values;
    output.ids = s->positions;
    int rc = workspace && s->values && s->positions ? SQLITE_OK : SQLITE_NOMEM;
    if (rc == SQLITE_OK && vindex_topk(options, s->scores, NULL, NULL, &output, workspace,
                                       plan->workspace_bytes) != VINDEX_OK)
        rc = refuse(s, "%s", vindex_message());
    sqlite3_free(workspace);
    if (rc == SQLITE_OK) s->n_selected = options->k;
    return rc;
}

static int select_best(struct selection *s)
{
    vindex_topk_options options = VINDEX_TOPK_OPTIONS_INIT;
    vindex_topk_plan plan = VINDEX_TOPK_PLAN_INIT;
    int rc = read_scores(s);
    if (rc == SQLITE_OK) rc = read_k(s, &options.k);
    if (rc == SQLITE_OK) rc = read_which(s, &options.flags);
    if (rc != SQLITE_OK || options.k == 0) return rc;
    options.rows = 1;
    options.len = (int64_t)s->n;
    options.type = s->type;
    if (vindex_topk_make_plan(&options, &plan) != VINDEX_OK)
        return refuse(s, "%s", vindex_message());
    return run(s, &options, &plan);
}

/* ---- the table function -------------------------------------------------------------------------- */

static int topk_connect(sqlite3 *db, void *context, int n, const char *const *arguments,
                        sqlite3_vtab **result, char **error)
{
    (void)context;
    (void)n;
    (void)arguments;
    (void)error;
    *result = NULL;
    int rc = sqlite3_declare_vtab(db, "CREATE TABLE x(rank INTEGER, position INTEGER, score REAL, "
                                      "scores HIDDEN, k HIDDEN, which HIDDEN)");
    if (rc == SQLITE_OK) rc = sqlite3_vtab_config(db, SQLITE_VTAB_INNOCUOUS);
    if (rc != SQLITE_OK) return rc;
    *result = sqlite3_malloc64(sizeof **result);
    if (!*result) return SQLITE_NOMEM;
    memset(*result, 0, sizeof **result);
    return SQLITE_OK;
}

static int topk_disconnect(sqlite3_vtab *base)
{
    sqlite3_free(base);
    return SQLITE_OK;
}

static int topk_plan(sqlite3_vtab *base, sqlite3_index_info *info)
{
    int found[N_ARGUMENTS] = {-1, -1, -1}, n = 0;
    (void)base;
    for (int i = 0; i < info->nConstraint; i++) {
        int argument = info->aConstraint[i].iColumn - TOPK_SCORES;
        if (info->aConstraint[i].op != SQLITE_INDEX_CONSTRAINT_EQ || argument < 0) continue;
        if (!info->aConstraint[i].usable) return SQLITE_CONSTRAINT;
        found[argument] = i;
    }
    for (int i = 0; i < N_ARGUMENTS && found[i] >= 0; i++) {
        info->aConstraintUsage[found[i]].argvIndex = ++n;
        info->aConstraintUsage[found[i]].omit = 1;
    }
    info->orderByConsumed =
        info->nOrderBy == 1 && info->aOrderBy[0].iColumn == TOPK_RANK && !info->aOrderBy[0].desc;
    info->estimatedCost = 1000;
    info->estimatedRows = 10;
    return SQLITE_OK;
}

static int topk_open(sqlite3_vtab *base, sqlite3_vtab_cursor **cursor)
{
    struct selection *s = sqlite3_malloc64(sizeof *s);
    (void)base;
    if (!s) return SQLITE_NOMEM;
    memset(s, 0, sizeof *s);
    *cursor = &s->base;
    return SQLITE_OK;
}

static void clear(struct selection *s)
{
    for (int i = 0; i < N_ARGUMENTS; i++) {
        sqlite3_value_free(s->arguments[i]);
        s->arguments[i] = NULL;
    }
    sqlite3_free(s->values);
    sqlite3_free(s->positions);
    s->values = NULL;
    s->positions = NULL;
    s->scores = NULL;
    s->n = 0;
    s->n_selected = s->at = 0;
}

static int topk_close(sqlite3_vtab_cursor *cursor)
{
    struct selection *s = (struct selection *)cursor;
    clear(s);
    sqlite3_free(s->parsed);
    sqlite3_free(s);
    return SQLITE_OK;
}

static int topk_filter(sqlite3_vtab_cursor *cursor, int number, const char *text, int n,
                       sqlite3_value **values)
{
    struct selection *s = (struct selection *)cursor;
    (void)number;
    (void)text;
    clear(s);
    if (n < 2) return refuse(s, "give the scores and k, as in vindex_topk('[0.1, 0.9]', 1)");
    for (int i = 0; i < n; i++) {
        if (sqlite3_value_type(values[i]) == SQLITE_NULL)
            return SQLITE_OK; /* nothing equals NULL */
        s->arguments[i] = sqlite3_value_dup(values[i]);
        if (!s->arguments[i]) return SQLITE_NOMEM;
    }
    return select_best(s);
}

static int topk_next(sqlite3_vtab_cursor *cursor)
{
    ((struct selection *)cursor)->at++;
    return SQLITE_OK;
}

static int topk_eof(sqlite3_vtab_cursor *cursor)
{
    return ((struct selection *)cursor)->at >= ((struct selection *)cursor)->n_selected;
}

static double score_at(const struct selection *s)
{
    return s->type == VINDEX_TOPK_F64 ? ((const double *)s->values)[s->at]
                                      : (double)((const float *)s->values)[s->at];
}

static int topk_column(sqlite3_vtab_cursor *cursor, sqlite3_context *context, int column)
{
    struct selection *s = (struct selection *)cursor;
    switch (column) {
    case TOPK_RANK: sqlite3_result_int64(context, s->at + 1); break;
    case TOPK_POSITION: sqlite3_result_int64(context, s->positions[s->at]); break;
    case TOPK_SCORE: sqlite3_result_double(context, score_at(s)); break; /* NaN becomes NULL */
    default:
        if (s->arguments[column - TOPK_SCORES])
            sqlite3_result_value(context, s->arguments[column - TOPK_SCORES]);
        break;
    }
    return SQLITE_OK;
}

static int topk_rowid(sqlite3_vtab_cursor *cursor, sqlite3_int64 *rowid)
{
    *rowid = ((struct selection *)cursor)->at + 1;
    return SQLITE_OK;
}

static const sqlite3_module topk_module = {
    .iVersion = 0,
    .xConnect = topk_connect, /* and no xCreate: the table is always there */
    .xBestIndex = topk_plan,
    .xDisconnect = topk_disconnect,
    .xOpen = topk_open,
    .xClose = topk_close,
    .xFilter = topk_filter,
    .xNext = topk_next,
    .xEof = topk_eof,
    .xColumn = topk_column,
    .xRowid = topk_rowid,
};

/* ---- vindex_recall(n, k, bins, per_bin) ---------------------------------------------------------- */

static void recall(sqlite3_context *context, int n, sqlite3_value **values)
{
    static const char *const names[] = {"n", "k", "bins", "per_bin"};
    sqlite3_int64 numbers[4];
    for (int i = 0; i < n; i++)
        if (sqlite3_value_type(values[i]) == SQLITE_NULL) return;
    for (int i = 0; i < n; i++) {
        if (vindex__sql_value_id(values[i], &numbers[i])) continue;
        char *text = sqlite3_mprintf("vindex_recall: %s is '%s': give a whole number", names[i],
                                     sqlite3_value_text(values[i]));
        sqlite3_result_error(context, text ? text : "out of memory", -1);
        sqlite3_free(text);
        return;
    }
    sqlite3_result_double(context,
                          vindex_topk_recall(numbers[0], numbers[1], numbers[2], numbers[3]));
}

int vindex__sql_register_selection(sqlite3 *db)
{
    int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS;
    int rc = sqlite3_create_module_v2(db, "vindex_topk", &topk_module, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_create_function_v2(db, "vindex_recall", 4, flags, NULL, recall, NULL, NULL,
                                        NULL);
    return rc;
}
