/*
 * cursor.c - walks over a table. A search gives its rows in batches: first max(64, LIMIT + OFFSET), then four
 * times as many, and the third time an exact search orders all that is left; with k there is one batch.
 * Later batches search among the rows not given yet, so none comes twice and none is lost.
 */
#include "cursor.h"

#include <math.h>
#include <stdlib.h>

#include "filter.h"
#include "vector.h"

#define FIRST_BATCH 64
#define BATCH_GROWTH 4
#define LAST_BATCH 3
/* Above this many rows it pays to ask how many there are before making room. */
#define CHEAP_BATCH 4096

struct cursor {
    sqlite3_vtab_cursor base;
    struct table *table;
    struct cursor *next; /* of the table */
    char *text;          /* of the plan, taken apart */
    struct plan plan;
    bool is_eof;

    /* nearest */
    int number;                               /* of the vector column */
    sqlite3_value *inputs[HIDDEN_RECALL + 1]; /* query, k, recall as given */
    struct vector query;
    uint64_t k;
    uint64_t first_batch;
    float recall;       /* 0: the index's default */
    double worst_score; /* a row above ends the stream */
    double least_similarity;
    struct ids ids; /* the rows left by the terms, read as widely as they can be */
    bool has_ids;
    struct ids likely_ids; /* with k: the same as they most likely are, where that is fewer */
    bool has_likely_ids;
    struct ids given;
    vindex_hit *hits;
    size_t n_hits, capacity, at;
    int n_batches;
    bool is_last;  /* no batch is to follow */
    bool is_exact; /* the last batch was: no row was missed before its end */

    /* rows of t_rows: of a scan, or the one a search is at */
    sqlite3_stmt *row;
    sqlite3_stmt *hit_row;
    bool has_hit_row;
};

/* ---- life ---------------------------------------------------------------------------------------- */

int vindex__cursor_open(sqlite3_vtab *base, sqlite3_vtab_cursor **result)
{
    struct table *table = (struct table *)base;
    struct cursor *cursor = sqlite3_malloc64(sizeof *cursor);
    *result = NULL;
    if (!cursor) return SQLITE_NOMEM;
    memset(cursor, 0, sizeof *cursor);
    cursor->table = table;
    cursor->next = table->cursors;
    table->cursors = cursor;
    *result = &cursor->base;
    return SQLITE_OK;
}

/* As after open; memory that only grows is kept. */
static void reset(struct cursor *c)
{
    vindex__table_give_back(c->table, c->row);
    vindex__table_give_back(c->table, c->hit_row);
    c->row = c->hit_row = NULL;
    c->has_hit_row = false;
    for (size_t i = 0; i < sizeof c->inputs / sizeof *c->inputs; i++) {
        sqlite3_value_free(c->inputs[i]);
        c->inputs[i] = NULL;
    }
    sqlite3_free(c->text);
    c->text = NULL;
    c->query.data = NULL;
    c->ids.n = c->likely_ids.n = c->given.n = 0;
    c->n_hits = c->at = 0;
    c->n_batches = 0;
    c->is_last = c->is_eof = c->has_ids = c->has_likely_ids = false;
    c->recall = 0;
    c->worst_score = INFINITY;
    c->least_similarity = -INFINITY;
}

int vindex__cursor_close(sqlite3_vtab_cursor *base)
{
    struct cursor *c = (struct cursor *)base;
    struct cursor **link = &c->table->cursors;
    while (*link != c)
        link = &(*link)->next;
    *link = c->next;
    reset(c);
    vindex__sql_vector_deinit(&c->query);
    vindex__ids_free(&c->ids);
    vindex__ids_free(&c->likely_ids);
    vindex__ids_free(&c->given);
    sqlite3_free(c->hits);
    sqlite3_free(c);
    return SQLITE_OK;
}

/* ---- batches ------------------------------------------------------------------------------------- */

static const struct schema_column *vector_column(const struct cursor *c)
{
    return vindex__sql_vector_column(&c->table->schema, c->number);
}

/* Rows that are left to give. */
static int count_left(struct cursor *c, struct vector_index *v, uint64_t *left)
{
    vindex_stats stats = VINDEX_STATS_INIT;
    *left = c->ids.n;
    if (c->has_ids) return SQLITE_OK; /* given ones were taken out */
    vindex_status status = vindex_stat(v->index, &stats);
    *left = stats.n_rows > c->given.n ? stats.n_rows - c->given.n : 0;
    return vindex__table_status(c->table, v, status);
}

/* The size of the next batch, and whether it is the last. */
static int plan_batch(struct cursor *c, struct vector_index *v, bool everything, uint64_t *want)
{
    bool is_reversed = c->plan.by == BY_SCORE_DESC;
    uint64_t left = 0;
    c->n_batches++;
    *want = UINT64_MAX;
    if (c->plan.has_k)
        *want = c->k;
    else if (!is_reversed && !everything && c->n_batches == 1)
        *want = c->first_batch;
    else if (!is_reversed && !everything && c->n_batches < LAST_BATCH)
        *want =
            c->first_batch > UINT64_MAX / BATCH_GROWTH ? UINT64_MAX : c->first_batch * BATCH_GROWTH;
    c->is_last = c->plan.has_k || *want == UINT64_MAX;
    if (c->has_ids && *want > c->ids.n) *want = c->ids.n;
    if (*want <= CHEAP_BATCH) return SQLITE_OK;
    int rc = count_left(c, v, &left);
    if (*want > left) *want = left;
    return rc;
}

static int make_room(struct cursor *c, uint64_t want)
{
    uint64_t need = c->n_hits + want;
    if (need <= c->capacity) return SQLITE_OK;
    if (need > SIZE_MAX / sizeof *c->hits) return SQLITE_NOMEM;
    vindex_hit *grown = sqlite3_realloc64(c->hits, need * sizeof *grown);
    if (!grown) return SQLITE_NOMEM;
    c->hits = grown;
    c->capacity = (size_t)need;
    return SQLITE_OK;
}

/* What the next batch may hold: the rows left by the terms less those given; or all less those given. */
static vindex_filter batch_filter(struct cursor *c)
{
    vindex_filter filter = {.kind = VINDEX_FILTER_NONE};
    if (c->has_ids) {
        filter.kind = VINDEX_FILTER_IDS;
        filter.ids = c->ids.items;
        filter.n = c->ids.n;
    } else if (c->given.n) {
        filter.kind = VINDEX_FILTER_IDS;
        filter.flags = VINDEX_FILTER_NOT;
        filter.ids = c->given.items;
        filter.n = c->given.n;
    }
    return filter;
}

/* The hits of the batch before are not to come again. */
static int remember_given(struct cursor *c)
{
    for (size_t i = 0; i < c->n_hits; i++)
        if (!vindex__ids_add(&c->given, c->hits[i].id)) return SQLITE_NOMEM;
    vindex__ids_sort(&c->given);
    if (c->has_ids) vindex__ids_reduce(&c->ids, &c->given, false);
    return SQLITE_OK;
}

static void reverse(vindex_hit *hits, size_t n)
{
    for (size_t i = 0; i < n / 2; i++) {
        vindex_hit hit = hits[i];
        hits[i] = hits[n - 1 - i];
        hits[n - 1 - i] = hit;
    }
}

/*
 * The last batch of a stream misses no row. Nor does a stream that a term on scores ends, where no target was given: it
 * promises every row the terms leave, and a row missed before its end would not come later.
 */
static bool asks_for_all(const struct cursor *c)
{
    bool is_bounded = c->worst_score < INFINITY || c->least_similarity > -INFINITY;
    return !c->plan.has_k && (c->is_last || (is_bounded && !c->inputs[HIDDEN_RECALL]));
}

static int read_exactness(struct cursor *c, struct vector_index *v)
{
    vindex_report report = VINDEX_REPORT_INIT;
    vindex_status status = vindex_searcher_report(v->searcher, &report);
    c->is_exact = report.state == VINDEX_STATE_EXACT;
    return vindex__table_status(c->table, v, status);
}

/* The `want` nearest of the rows of the filter, behind the hits there are. */
static int search(struct cursor *c, struct vector_index *v, const vindex_filter *filter,
                  uint64_t want, size_t *n)
{
    vindex_search_options options = VINDEX_SEARCH_OPTIONS_INIT;
    vindex_vectors query = vindex__sql_vectors(&c->query);
    *n = 0;
    int rc = make_room(c, want);
    if (rc != SQLITE_OK) return rc;
    options.recall = asks_for_all(c) ? 1 : c->recall;
    options.filter = filter;
    options.cancel = vindex__table_is_interrupted;
    options.cancel_context = c->table;
    vindex_hit *hits = c->hits + c->n_hits;
    rc = vindex__table_status(c->table, v,
                              vindex_search(v->searcher, &query, (size_t)want, &options, hits));
    while (rc == SQLITE_OK && *n < want && hits[*n].id != VINDEX_ID_NONE)
        ++*n;
    return rc == SQLITE_OK ? read_exactness(c, v) : rc;
}

static int compare_hits(const void *a, const void *b)
{
    const vindex_hit *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

/* With k and terms of two readings: the k nearest of each (filter.h). */
static int add_likely(struct cursor *c, struct vector_index *v, size_t *n)
{
    vindex_filter filter = {
        .kind = VINDEX_FILTER_IDS, .ids = c->likely_ids.items, .n = c->likely_ids.n};
    uint64_t want = c->k < c->likely_ids.n ? c->k : c->likely_ids.n;
    size_t n_more = 0, to = 0;
    if (want == 0) return SQLITE_OK;
    c->n_hits += *n;
    int rc = search(c, v, &filter, want, &n_more);
    c->n_hits -= *n;
    if (rc != SQLITE_OK) return rc;
    vindex_hit *hits = c->hits + c->n_hits;
    qsort(hits, *n + n_more, sizeof *hits, compare_hits);
    for (size_t i = 0; i < *n + n_more; i++)
        if (to == 0 || hits[i].id != hits[to - 1].id) hits[to++] = hits[i];
    *n = to;
    return SQLITE_OK;
}

/* Append the next batch; everything: all that is left at once. */
static int load(struct cursor *c, bool everything)
{
    struct vector_index *v = NULL;
    uint64_t want = 0;
    size_t n = 0;
    int rc = remember_given(c);
    if (rc != SQLITE_OK) return rc;
    if (c->at > 0) {
        memmove(c->hits, c->hits + c->at, (c->n_hits - c->at) * sizeof *c->hits);
        c->n_hits -= c->at;
        c->at = 0;
    }
    rc = vindex__table_searcher(c->table, c->number, &v);
    if (rc == SQLITE_OK) rc = plan_batch(c, v, everything, &want);
    if (rc == SQLITE_OK && want == 0) c->is_last = true;
    if (rc != SQLITE_OK || want == 0) return rc;

    vindex_filter filter = batch_filter(c);
    rc = search(c, v, &filter, want, &n);
    if (rc != SQLITE_OK) return rc;
    if (n < want && c->is_exact) c->is_last = true;
    if (c->has_likely_ids) rc = add_likely(c, v, &n);
    if (rc != SQLITE_OK) return rc;
    if (c->plan.by == BY_SCORE_DESC) reverse(c->hits + c->n_hits, n);
    c->n_hits += n;
    return SQLITE_OK;
}

static double similarity_of(const struct cursor *c, double score)
{
    switch (vector_column(c)->metric) {
    case VINDEX_COSINE: return 1 - score;
    default: return 0 - score; /* and never -0 */
    }
}

/* No row from here on can pass the terms on scores: the stream ascends. */
static bool is_beyond(const struct cursor *c)
{
    double score = (double)c->hits[c->at].score;
    if (c->plan.by == BY_SCORE_DESC) return false;
    return score > c->worst_score || similarity_of(c, score) < c->least_similarity;
}

/* The cursor is on a row or at its end. */
static int settle(struct cursor *c)
{
    c->has_hit_row = false;
    while (c->at == c->n_hits && !c->is_last) {
        int rc = load(c, false);
        if (rc != SQLITE_OK) return rc;
    }
    c->is_eof = c->at == c->n_hits || is_beyond(c);
    return SQLITE_OK;
}

int vindex__cursors_complete(struct table *table)
{
    for (struct cursor *c = table->cursors; c; c = c->next) {
        if (c->plan.kind != PLAN_NEAREST || !c->n_batches || c->is_last || c->is_eof) continue;
        int rc = load(c, true);
        if (rc != SQLITE_OK) return rc;
    }
    return SQLITE_OK;
}

/* ---- inputs of a search -------------------------------------------------------------------------- */

bool vindex__sql_value_id(sqlite3_value *value, sqlite3_int64 *id)
{
    int type = sqlite3_value_numeric_type(value);
    *id = sqlite3_value_int64(value);
    if (type == SQLITE_INTEGER) return true;
    if (type != SQLITE_FLOAT) return false;
    double real = sqlite3_value_double(value);
    if (!(real >= -0x1p63 && real < 0x1p63) || real != floor(real)) return false;
    *id = (sqlite3_int64)real;
    return true;
}

static int read_k(struct cursor *c, sqlite3_value *value)
{
    sqlite3_int64 k;
    if (!vindex__sql_value_id(value, &k) || k < 0)
        return vindex__table_error(c->table, SQLITE_ERROR,
                                   "%s: k is '%s': give a whole number from 0 on", c->table->name,
                                   sqlite3_value_text(value));
    c->k = (uint64_t)k;
    return SQLITE_OK;
}

static int read_recall(struct cursor *c, sqlite3_value *value)
{
    int type = sqlite3_value_numeric_type(value);
    double recall = sqlite3_value_double(value);
    if ((type != SQLITE_FLOAT && type != SQLITE_INTEGER) || !(recall > 0 && recall <= 1))
        return vindex__table_error(
            c->table, SQLITE_ERROR,
            "%s: recall is '%s': give a number in (0, 1], 1 for exact answers", c->table->name,
            sqlite3_value_text(value));
    c->recall = (float)recall;
    return SQLITE_OK;
}

static int read_query(struct cursor *c, int column, sqlite3_value *value)
{
    const struct schema *schema = &c->table->schema;
    char *error = NULL;
    c->number = column < schema->n_columns ? schema->columns[column].number : 0;
    const struct schema_column *asked = vector_column(c);
    struct vector_shape shape = {asked->name, asked->type, asked->dim};
    int rc = vindex__sql_vector_read(value, &shape, &c->query, &error);
    if (error) vindex__table_error(c->table, rc, "%s: the query for %s", c->table->name, error);
    sqlite3_free(error);
    return rc;
}

/* Scores are floats: a bound that is no number bounds nothing, SQLite knows what to make of it. */
static void read_bound(struct cursor *c, const struct plan_term *term, sqlite3_value *value)
{
    int type = sqlite3_value_numeric_type(value);
    double bound = sqlite3_value_double(value);
    if (type != SQLITE_INTEGER && type != SQLITE_FLOAT) return;
    if (term->column == c->table->schema.n_columns + HIDDEN_SIMILARITY) {
        if (bound > c->least_similarity) c->least_similarity = bound;
    } else if (bound < c->worst_score) {
        c->worst_score = bound;
    }
}

/* LIMIT and OFFSET only size the first batch. */
static void read_limit(sqlite3_value *value, uint64_t *sum)
{
    sqlite3_int64 n = sqlite3_value_int64(value);
    if (n > 0) *sum = *sum + (uint64_t)n;
}

/* The same query once more is what SQLite makes of OR; another one is the user's mistake. */
static int check_same_query(struct cursor *c, sqlite3_value *value)
{
    sqlite3_value *first = c->inputs[HIDDEN_QUERY];
    int n = sqlite3_value_bytes(value);
    const void *a = sqlite3_value_blob(first), *b = sqlite3_value_blob(value);
    if (sqlite3_value_type(first) == sqlite3_value_type(value) && n == sqlite3_value_bytes(first) &&
        (n == 0 || (a && b && memcmp(a, b, (size_t)n) == 0)))
        return SQLITE_OK;
    return vindex__table_error(
        c->table, SQLITE_ERROR,
        "%s: a table is asked one query at a time: join it with itself, or use UNION",
        c->table->name);
}

static int keep_input(struct cursor *c, enum hidden_column column, sqlite3_value *value)
{
    if (sqlite3_value_type(value) == SQLITE_NULL) c->is_eof = true; /* nothing equals NULL */
    c->inputs[column] = sqlite3_value_dup(value);
    return c->inputs[column] ? SQLITE_OK : SQLITE_NOMEM;
}

static int read_term(struct cursor *c, const struct plan_term *term, sqlite3_value *value,
                     uint64_t *limit)
{
    int rc = SQLITE_OK;
    switch (term->role) {
    case ROLE_QUERY:
        if (c->inputs[HIDDEN_QUERY]) return check_same_query(c, value);
        rc = keep_input(c, HIDDEN_QUERY, value);
        return rc == SQLITE_OK ? read_query(c, term->column, c->inputs[HIDDEN_QUERY]) : rc;
    case ROLE_K:
        rc = keep_input(c, HIDDEN_K, value);
        return rc == SQLITE_OK && !c->is_eof ? read_k(c, value) : rc;
    case ROLE_RECALL:
        rc = keep_input(c, HIDDEN_RECALL, value);
        return rc == SQLITE_OK && !c->is_eof ? read_recall(c, value) : rc;
    case ROLE_SCORE: read_bound(c, term, value); return SQLITE_OK;
    case ROLE_LIMIT:
    case ROLE_OFFSET: read_limit(value, limit); return SQLITE_OK;
    case ROLE_ROWID:
    case ROLE_VALUE: break;
    }
    return SQLITE_OK;
}

static int read_filters(struct cursor *c, sqlite3_value **values)
{
    bool has_any = false;
    if (c->plan.has_k && c->k == 0) return SQLITE_OK;
    int rc = vindex__filter_ids(c->table, &c->plan, values, READING_WIDEST, &c->ids, &c->has_ids);
    if (rc != SQLITE_OK || !c->plan.has_k ||
        !vindex__filter_is_ambiguous(c->table, &c->plan, values))
        return rc;
    rc = vindex__filter_ids(c->table, &c->plan, values, READING_LIKELY, &c->likely_ids, &has_any);
    c->has_likely_ids = c->likely_ids.n < c->ids.n;
    return rc;
}

static int begin_nearest(struct cursor *c, sqlite3_value **values)
{
    uint64_t limit = 0;
    int rc = SQLITE_OK;
    for (int i = 0; i < c->plan.n_terms && rc == SQLITE_OK; i++)
        rc = read_term(c, &c->plan.terms[i], values[i], &limit);
    if (rc != SQLITE_OK || c->is_eof) return rc;
    c->first_batch = limit > FIRST_BATCH ? limit : FIRST_BATCH;
    rc = read_filters(c, values);
    return rc == SQLITE_OK ? settle(c) : rc;
}

/* ---- rows of t_rows ------------------------------------------------------------------------------ */

static int step_row(struct cursor *c)
{
    int rc = sqlite3_step(c->row);
    c->is_eof = rc != SQLITE_ROW;
    return vindex__table_sqlite(c->table, rc);
}

static int borrow_by_id(struct cursor *c, sqlite3_stmt **statement)
{
    return vindex__table_borrow(c->table,
                                sqlite3_mprintf("SELECT * FROM \"%w\".\"%w_rows\" WHERE id = ?1",
                                                c->table->schema_name, c->table->name),
                                statement);
}

static int begin_row(struct cursor *c, sqlite3_value **values)
{
    sqlite3_int64 id;
    c->is_eof = true;
    if (c->plan.n_terms != 1) return SQLITE_INTERNAL;
    if (!vindex__sql_value_id(values[0], &id)) return SQLITE_OK;
    int rc = borrow_by_id(c, &c->row);
    if (rc == SQLITE_OK) rc = vindex__table_sqlite(c->table, sqlite3_bind_int64(c->row, 1, id));
    return rc == SQLITE_OK ? step_row(c) : rc;
}

static int begin_scan(struct cursor *c, sqlite3_value **values)
{
    int rc = vindex__filter_scan(c->table, &c->plan, values, &c->row);
    return rc == SQLITE_OK ? step_row(c) : rc;
}

/* The row of t_rows that the cursor is at: a hit's is looked up when first asked for. */
static int current_row(struct cursor *c, sqlite3_stmt **row)
{
    *row = c->row;
    if (c->plan.kind != PLAN_NEAREST) return SQLITE_OK;
    if (c->has_hit_row) {
        *row = c->hit_row;
        return SQLITE_OK;
    }
    int rc = c->hit_row ? SQLITE_OK : borrow_by_id(c, &c->hit_row);
    if (rc != SQLITE_OK) return rc;
    sqlite3_reset(c->hit_row);
    rc = sqlite3_bind_int64(c->hit_row, 1, c->hits[c->at].id);
    if (rc == SQLITE_OK) rc = sqlite3_step(c->hit_row);
    if (rc == SQLITE_DONE)
        return vindex__table_error(c->table, SQLITE_CORRUPT_VTAB,
                                   "%s is damaged: its index names row %lld, which does not exist",
                                   c->table->name, (sqlite3_int64)c->hits[c->at].id);
    rc = vindex__table_sqlite(c->table, rc);
    c->has_hit_row = rc == SQLITE_OK;
    *row = c->hit_row;
    return rc;
}

/* ---- the walk ------------------------------------------------------------------------------------ */

int vindex__cursor_filter(sqlite3_vtab_cursor *base, int number, const char *text, int n,
                          sqlite3_value **values)
{
    struct cursor *c = (struct cursor *)base;
    (void)number;
    reset(c);
    c->text = sqlite3_mprintf("%s", text);
    if (!c->text) return SQLITE_NOMEM;
    if (!vindex__sql_plan_parse(c->text, &c->table->schema, &c->plan) || c->plan.n_terms != n)
        return vindex__table_error(c->table, SQLITE_INTERNAL, "%s: the plan '%s' is none",
                                   c->table->name, text);
    int rc = vindex__table_flush(c->table);
    if (rc != SQLITE_OK) return rc;
    switch (c->plan.kind) {
    case PLAN_NEAREST: return begin_nearest(c, values);
    case PLAN_ROW: return begin_row(c, values);
    case PLAN_SCAN: return begin_scan(c, values);
    }
    return SQLITE_INTERNAL;
}

int vindex__cursor_next(sqlite3_vtab_cursor *base)
{
    struct cursor *c = (struct cursor *)base;
    if (c->plan.kind != PLAN_NEAREST) return step_row(c);
    c->at++;
    return settle(c);
}

int vindex__cursor_eof(sqlite3_vtab_cursor *base)
{
    return ((struct cursor *)base)->is_eof;
}

static sqlite3_int64 current_id(const struct cursor *c)
{
    return c->plan.kind == PLAN_NEAREST ? c->hits[c->at].id : sqlite3_column_int64(c->row, 0);
}

int vindex__cursor_rowid(sqlite3_vtab_cursor *base, sqlite3_int64 *rowid)
{
    *rowid = current_id((struct cursor *)base);
    return SQLITE_OK;
}

/* ---- columns ------------------------------------------------------------------------------------- */

int vindex__table_fetch(struct table *table, int number, sqlite3_int64 id, void *out, bool *found)
{
    struct vector_index *v = NULL;
    int64_t key = id;
    uint8_t is_there = 0;
    int rc = vindex__table_flush(table);
    if (rc == SQLITE_OK) rc = vindex__table_searcher(table, number, &v);
    if (rc == SQLITE_OK)
        rc = vindex__table_status(table, v, vindex_fetch(v->searcher, &key, 1, out, &is_there));
    *found = is_there;
    return rc;
}

static int vector_result(struct cursor *c, sqlite3_context *context,
                         const struct schema_column *column)
{
    size_t bytes = vindex_row_bytes((vindex_type)column->type, column->dim);
    sqlite3_stmt *row = NULL;
    bool found = false;
    int rc = current_row(c, &row);
    if (rc != SQLITE_OK || !(sqlite3_column_int64(row, 1) >> column->number & 1)) return rc;
    void *out = sqlite3_malloc64(bytes);
    if (!out) return SQLITE_NOMEM;
    rc = vindex__table_fetch(c->table, column->number, current_id(c), out, &found);
    if (rc == SQLITE_OK && !found)
        rc = vindex__table_error(c->table, SQLITE_CORRUPT_VTAB,
                                 "%s is damaged: row %lld has no vector", c->table->name,
                                 current_id(c));
    if (rc == SQLITE_OK)
        sqlite3_result_blob64(context, out, bytes, sqlite3_free);
    else
        sqlite3_free(out);
    return rc;
}

static int value_result(struct cursor *c, sqlite3_context *context,
                        const struct schema_column *column)
{
    sqlite3_stmt *row = NULL;
    int rc = current_row(c, &row);
    if (rc == SQLITE_OK)
        sqlite3_result_value(context, sqlite3_column_value(row, 2 + column->number));
    return rc;
}

/* An input given is its own value; one that was not taken as an input must not be read. */
static int input_result(struct cursor *c, sqlite3_context *context, enum hidden_column column)
{
    if (c->inputs[column]) {
        sqlite3_result_value(context, c->inputs[column]);
        return SQLITE_OK;
    }
    const char *name = vindex__sql_hidden_name(column);
    char *text = sqlite3_mprintf("%s.%s is an input: write %s = ... beside a query, joined by AND "
                                 "(and into ON where the table is on "
                                 "the right of a LEFT JOIN)",
                                 c->table->name, name, name);
    sqlite3_result_error(context, text ? text : "out of memory", -1);
    sqlite3_free(text);
    return SQLITE_OK;
}

static int hidden_result(struct cursor *c, sqlite3_context *context, enum hidden_column column)
{
    double score;
    switch (column) {
    case HIDDEN_QUERY:
    case HIDDEN_K:
    case HIDDEN_RECALL: return input_result(c, context, column);
    case HIDDEN_SCORE:
    case HIDDEN_DISTANCE:
    case HIDDEN_SIMILARITY:
        if (c->plan.kind != PLAN_NEAREST) return SQLITE_OK;
        score = (double)c->hits[c->at].score;
        sqlite3_result_double(context,
                              column == HIDDEN_SIMILARITY ? similarity_of(c, score) : score);
        return SQLITE_OK;
    default: return SQLITE_OK; /* NULL */
    }
}

int vindex__cursor_column(sqlite3_vtab_cursor *base, sqlite3_context *context, int number)
{
    struct cursor *c = (struct cursor *)base;
    const struct schema *schema = &c->table->schema;
    bool is_value = number < schema->n_columns && schema->columns[number].kind != COLUMN_VECTOR;
    if (!is_value && sqlite3_vtab_nochange(context))
        return SQLITE_OK; /* UPDATE leaves it as it is */
    if (number >= schema->n_columns)
        return hidden_result(c, context, (enum hidden_column)(number - schema->n_columns));
    return is_value ? value_result(c, context, &schema->columns[number])
                    : vector_result(c, context, &schema->columns[number]);
}
