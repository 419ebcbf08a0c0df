/*
 * test_plan.c - the plan as a table of cases: constraints in, text out, without SQLite; and the text read back
 * gives the plan again.
 */
#include <stdio.h>
#include <string.h>

#include "common/cmocka.h"
#include "plan.h"

enum { EMBEDDING, LANG, YEAR, BODY, ODD, IMAGE, N_COLUMNS };
enum {
    QUERY = N_COLUMNS + HIDDEN_QUERY,
    K = N_COLUMNS + HIDDEN_K,
    RECALL = N_COLUMNS + HIDDEN_RECALL,
    SCORE = N_COLUMNS + HIDDEN_SCORE,
    DISTANCE = N_COLUMNS + HIDDEN_DISTANCE,
    SIMILARITY = N_COLUMNS + HIDDEN_SIMILARITY,
    COMMAND = N_COLUMNS + HIDDEN_COMMAND
};

static struct schema_column columns[N_COLUMNS] = {
    [EMBEDDING] = {.name = "embedding", .kind = COLUMN_VECTOR, .number = 0},
    [LANG] = {.name = "lang", .kind = COLUMN_METADATA, .number = 0, .affinity = AFFINITY_TEXT},
    [YEAR] = {.name = "year", .kind = COLUMN_METADATA, .number = 1, .affinity = AFFINITY_NUMERIC},
    [BODY] = {.name = "body", .kind = COLUMN_AUXILIARY, .number = 2},
    [ODD] = {.name = "an \"odd\", name", .kind = COLUMN_METADATA, .number = 3},
    [IMAGE] = {.name = "image", .kind = COLUMN_VECTOR, .number = 1},
};
static const struct schema schema = {
    .columns = columns, .n_columns = N_COLUMNS, .n_vectors = 2, .n_values = 4};

#define YES(column, op)                                                                            \
    {                                                                                              \
        column, op, true, false, NULL, NULL, false                                                 \
    }
#define NO(column, op)                                                                             \
    {                                                                                              \
        column, op, false, false, NULL, NULL, false                                                \
    }
#define LIST(column)                                                                               \
    {                                                                                              \
        column, OP_EQ, true, true, NULL, NULL, false                                               \
    }
#define NO_LIST(column)                                                                            \
    {                                                                                              \
        column, OP_EQ, false, true, NULL, NULL, false                                              \
    }
#define COLLATED(column, op, name)                                                                 \
    {                                                                                              \
        column, op, true, false, name, NULL, false                                                 \
    }
#define TEXT(column, op, text)                                                                     \
    {                                                                                              \
        column, op, true, false, NULL, text, false                                                 \
    }
#define LITERAL(column, op)                                                                        \
    {                                                                                              \
        column, op, true, false, NULL, NULL, true                                                  \
    }

static const struct plan_case {
    const char *name;
    struct plan_constraint constraints[6];
    int n;
    struct plan_order orders[3];
    int n_orders;
    int distinct;
    const char *text; /* of the plan; NULL: impossible; "!": an error */
    bool is_ordered;
} cases[] = {
    /* the forms of a question */
    {"match",
     {YES(EMBEDDING, OP_MATCH)},
     1,
     {{0, 0}},
     0,
     0,
     "nearest embedding match ?1, by score",
     0},
    {"query =", {YES(QUERY, OP_EQ)}, 1, {{0, 0}}, 0, 0, "nearest embedding match ?1, by score", 0},
    {"docs match",
     {YES(COMMAND, OP_MATCH)},
     1,
     {{0, 0}},
     0,
     0,
     "nearest embedding match ?1, by score",
     0},
    {"second vector column",
     {YES(IMAGE, OP_MATCH)},
     1,
     {{0, 0}},
     0,
     0,
     "nearest image match ?1, by score",
     0},
    {"docs(q, k, recall)",
     {YES(QUERY, OP_EQ), YES(K, OP_EQ), YES(RECALL, OP_EQ)},
     3,
     {{0, 0}},
     0,
     0,
     "nearest embedding match ?1, k = ?2, recall = ?3, by score",
     0},
    {"inputs come first whatever their place",
     {YES(YEAR, OP_GT), YES(RECALL, OP_GE), YES(K, OP_EQ), YES(EMBEDDING, OP_MATCH)},
     4,
     {{0, 0}},
     0,
     0,
     "nearest embedding match ?1, k = ?2, recall >= ?3, year > ?4, by score",
     0},
    {"unusable query", {NO(EMBEDDING, OP_MATCH)}, 1, {{0, 0}}, 0, 0, NULL, 0},
    {"unusable k", {YES(EMBEDDING, OP_MATCH), NO(K, OP_EQ)}, 2, {{0, 0}}, 0, 0, NULL, 0},
    {"unusable recall", {YES(QUERY, OP_EQ), NO(RECALL, OP_EQ)}, 2, {{0, 0}}, 0, 0, NULL, 0},
    {"the same query twice",
     {YES(QUERY, OP_EQ), YES(QUERY, OP_EQ)},
     2,
     {{0, 0}},
     0,
     0,
     "nearest embedding match ?1, embedding match ?2, by score",
     0},
    {"queries of two columns",
     {YES(EMBEDDING, OP_MATCH), YES(IMAGE, OP_MATCH)},
     2,
     {{0, 0}},
     0,
     0,
     "!",
     0},
    {"match on a metadata column is SQLite's affair",
     {YES(LANG, OP_MATCH)},
     1,
     {{0, 0}},
     0,
     0,
     "scan by rowid",
     0},
    /* terms without k */
    {"terms without k filter",
     {YES(QUERY, OP_EQ), YES(LANG, OP_EQ), YES(YEAR, OP_IS_NULL), YES(YEAR, OP_NOT_NULL),
      YES(LANG, OP_IS_NOT)},
     5,
     {{0, 0}},
     0,
     0,
     "nearest embedding match ?1, lang = ?2, year is null ?3, year not null ?4, lang is not ?5, by "
     "score",
     0},
    {"unusable terms without k wait",
     {YES(QUERY, OP_EQ), NO(LANG, OP_EQ), NO(PLAN_ROWID, OP_EQ)},
     3,
     {{0, 0}},
     0,
     0,
     "nearest embedding match ?1, by score",
     0},
    {"rowid without k",
     {YES(QUERY, OP_EQ), YES(PLAN_ROWID, OP_EQ)},
     2,
     {{0, 0}},
     0,
     0,
     "nearest embedding match ?1, rowid = ?2, by score",
     0},
    {"rowid range without k",
     {YES(QUERY, OP_EQ), YES(PLAN_ROWID, OP_GT)},
     2,
     {{0, 0}},
     0,
     0,
     "nearest embedding match ?1, by score",
     0},
    {"lists",
     {YES(QUERY, OP_EQ), LIST(PLAN_ROWID), LIST(LANG)},
     3,
     {{0, 0}},
     0,
     0,
     "nearest embedding match ?1, rowid in ?2, lang in ?3, by score",
     0},
    {"score bounds",
     {YES(QUERY, OP_EQ), YES(SCORE, OP_LT), YES(SIMILARITY, OP_GE), YES(DISTANCE, OP_GT)},
     4,
     {{0, 0}},
     0,
     0,
     "nearest embedding match ?1, score < ?2, similarity >= ?3, by score",
     0},
    {"auxiliary columns are never consumed",
     {YES(QUERY, OP_EQ), YES(BODY, OP_EQ)},
     2,
     {{0, 0}},
     0,
     0,
     "nearest embedding match ?1, by score",
     0},
    {"limit and offset in either order",
     {YES(PLAN_ROWID - 1, OP_OFFSET), YES(QUERY, OP_EQ), YES(PLAN_ROWID - 1, OP_LIMIT)},
     3,
     {{0, 0}},
     0,
     0,
     "nearest embedding match ?1, offset ?2, limit ?3, by score",
     0},
    /* terms with k */
    {"metadata before k",
     {YES(QUERY, OP_EQ), YES(K, OP_EQ), YES(LANG, OP_LIKE), LIST(YEAR)},
     4,
     {{0, 0}},
     0,
     0,
     "nearest embedding match ?1, k = ?2, lang like ?3, year in ?4, by score",
     0},
    {"rowid = after k",
     {YES(QUERY, OP_EQ), YES(K, OP_EQ), YES(PLAN_ROWID, OP_EQ)},
     3,
     {{0, 0}},
     0,
     0,
     "nearest embedding match ?1, k = ?2, by score",
     0},
    {"rowid = after k, also where it is unusable",
     {YES(QUERY, OP_EQ), YES(K, OP_EQ), NO(PLAN_ROWID, OP_EQ)},
     3,
     {{0, 0}},
     0,
     0,
     "nearest embedding match ?1, k = ?2, by score",
     0},
    {"rowid in before k",
     {YES(QUERY, OP_EQ), YES(K, OP_EQ), LIST(PLAN_ROWID)},
     3,
     {{0, 0}},
     0,
     0,
     "nearest embedding match ?1, k = ?2, rowid in ?3, by score",
     0},
    {"scores after k",
     {YES(QUERY, OP_EQ), YES(K, OP_EQ), YES(SCORE, OP_LT)},
     3,
     {{0, 0}},
     0,
     0,
     "nearest embedding match ?1, k = ?2, by score",
     0},
    {"unusable metadata with k",
     {YES(QUERY, OP_EQ), YES(K, OP_EQ), NO(LANG, OP_EQ)},
     3,
     {{0, 0}},
     0,
     0,
     NULL,
     0},
    {"unusable rowid list with k",
     {YES(QUERY, OP_EQ), YES(K, OP_EQ), NO_LIST(PLAN_ROWID)},
     3,
     {{0, 0}},
     0,
     0,
     NULL,
     0},
    {"collation and an odd name",
     {YES(QUERY, OP_EQ), COLLATED(LANG, OP_EQ, "NOCASE"), COLLATED(ODD, OP_LE, "my own")},
     3,
     {{0, 0}},
     0,
     0,
     "nearest embedding match ?1, lang = ?2 collate NOCASE, \"an \"\"odd\"\", name\" <= ?3 collate "
     "\"my own\""
     ", by score",
     0},
    {"bounds derived from LIKE",
     {YES(QUERY, OP_EQ), TEXT(LANG, OP_LIKE, "en%"), TEXT(LANG, OP_GE, "EN"),
      TEXT(LANG, OP_LT, "eo")},
     4,
     {{0, 0}},
     0,
     0,
     "nearest embedding match ?1, lang like ?2, by score",
     0},
    {"bounds beside LIKE",
     {YES(QUERY, OP_EQ), TEXT(LANG, OP_LIKE, "en%"), TEXT(LANG, OP_GE, "de"), YES(LANG, OP_LT)},
     4,
     {{0, 0}},
     0,
     0,
     "nearest embedding match ?1, lang like ?2, lang >= ?3, lang < ?4, by score",
     0},
    /* order */
    {"by score",
     {YES(QUERY, OP_EQ)},
     1,
     {{SCORE, 0}},
     1,
     0,
     "nearest embedding match ?1, by score",
     1},
    {"by distance, rowid",
     {YES(QUERY, OP_EQ)},
     1,
     {{DISTANCE, 0}, {PLAN_ROWID, 0}},
     2,
     0,
     "nearest embedding match ?1, by score",
     1},
    {"by similarity desc",
     {YES(QUERY, OP_EQ)},
     1,
     {{SIMILARITY, 1}},
     1,
     0,
     "nearest embedding match ?1, by score",
     1},
    {"by score desc",
     {YES(QUERY, OP_EQ)},
     1,
     {{SCORE, 1}},
     1,
     0,
     "nearest embedding match ?1, by score desc",
     1},
    {"by similarity",
     {YES(QUERY, OP_EQ)},
     1,
     {{SIMILARITY, 0}},
     1,
     0,
     "nearest embedding match ?1, by score desc",
     1},
    {"by score desc, rowid is not ours",
     {YES(QUERY, OP_EQ)},
     1,
     {{SCORE, 1}, {PLAN_ROWID, 0}},
     2,
     0,
     "nearest embedding match ?1, by score",
     0},
    {"by score, rowid desc is not ours",
     {YES(QUERY, OP_EQ)},
     1,
     {{SCORE, 0}, {PLAN_ROWID, 1}},
     2,
     0,
     "nearest embedding match ?1, by score",
     0},
    {"by score, lang is not ours",
     {YES(QUERY, OP_EQ)},
     1,
     {{SCORE, 0}, {LANG, 0}},
     2,
     0,
     "nearest embedding match ?1, by score",
     0},
    {"by lang is not ours",
     {YES(QUERY, OP_EQ)},
     1,
     {{LANG, 0}},
     1,
     0,
     "nearest embedding match ?1, by score",
     0},
    {"grouped",
     {YES(QUERY, OP_EQ)},
     1,
     {{SCORE, 0}},
     1,
     1,
     "nearest embedding match ?1, by score",
     0},
    {"distinct and ordered",
     {YES(QUERY, OP_EQ)},
     1,
     {{SCORE, 0}},
     1,
     3,
     "nearest embedding match ?1, by score",
     1},
    /* without a question */
    {"nothing", {NO(0, OP_OTHER)}, 0, {{0, 0}}, 0, 0, "scan by rowid", 0},
    {"one row", {YES(PLAN_ROWID, OP_EQ), YES(LANG, OP_EQ)}, 2, {{0, 0}}, 0, 0, "row rowid = ?1", 0},
    {"rows of a list, one call each", {LIST(PLAN_ROWID)}, 1, {{0, 0}}, 0, 0, "row rowid = ?1", 0},
    {"range of rows",
     {YES(PLAN_ROWID, OP_GE), YES(PLAN_ROWID, OP_LT), YES(LANG, OP_GLOB)},
     3,
     {{PLAN_ROWID, 1}},
     1,
     0,
     "scan rowid >= ?1, rowid < ?2, lang glob ?3, by rowid desc",
     1},
    {"lists without a question are SQLite's",
     {LIST(LANG)},
     1,
     {{PLAN_ROWID, 0}},
     1,
     0,
     "scan by rowid",
     1},
    {"limit without a question",
     {YES(PLAN_ROWID - 1, OP_LIMIT)},
     1,
     {{0, 0}},
     0,
     0,
     "scan by rowid",
     0},
    {"a text with a number written out",
     {YES(QUERY, OP_EQ), LITERAL(LANG, OP_LT), LITERAL(YEAR, OP_EQ), LITERAL(LANG, OP_IS_NULL)},
     4,
     {{0, 0}},
     0,
     0,
     "nearest embedding match ?1, lang < ?2 as text, year = ?3, lang is null ?4, by score",
     0},
    {"a term on a column with one value, k",
     {YES(QUERY, OP_EQ), YES(K, OP_EQ), YES(YEAR, OP_EQ), NO(YEAR, OP_NE)},
     4,
     {{0, 0}},
     0,
     0,
     "nearest embedding match ?1, k = ?2, year = ?3, by score",
     0},
    {"a term on a column with one of a list, k",
     {YES(QUERY, OP_EQ), YES(K, OP_EQ), LIST(YEAR), NO(YEAR, OP_NE)},
     4,
     {{0, 0}},
     0,
     0,
     NULL,
     0},
    {"k without a query", {YES(K, OP_EQ)}, 1, {{0, 0}}, 0, 0, "scan by rowid", 0},
};

static void assert_same_terms(const struct plan *a, const struct plan *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->by, b->by);
    assert_int_equal(a->has_k, b->has_k);
    assert_int_equal(a->n_terms, b->n_terms);
    for (int i = 0; i < a->n_terms; i++) {
        const struct plan_term *x = &a->terms[i], *y = &b->terms[i];
        assert_int_equal(x->role, y->role);
        assert_int_equal(x->is_list, y->is_list);
        if (x->role == ROLE_LIMIT || x->role == ROLE_OFFSET || x->role == ROLE_QUERY) continue;
        assert_int_equal(x->column, y->column);
        assert_int_equal(x->op, y->op);
        assert_int_equal(x->is_as_text, y->is_as_text);
        assert_string_equal(x->collation ? x->collation : "", y->collation ? y->collation : "");
    }
}

static void run_case(const struct plan_case *c)
{
    char text[512];
    struct plan plan, back;
    struct plan_request request = {.schema = &schema,
                                   .constraints = c->constraints,
                                   .n_constraints = c->n,
                                   .orders = c->orders,
                                   .n_orders = c->n_orders,
                                   .distinct = c->distinct};
    enum plan_status status = vindex__sql_plan(&request, &plan);
    assert_int_equal(status, !c->text ? PLAN_IMPOSSIBLE : *c->text == '!' ? PLAN_ERROR : PLAN_OK);
    if (status != PLAN_OK) return;
    size_t length = vindex__sql_plan_print(&plan, &schema, text, sizeof text);
    assert_int_equal(length, strlen(text));
    assert_string_equal(text, c->text);
    assert_int_equal(plan.is_ordered, c->is_ordered);
    assert_true(vindex__sql_plan_parse(text, &schema, &back));
    assert_same_terms(&plan, &back);
}

static void test_cases(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        printf("%s\n", cases[i].name);
        run_case(&cases[i]);
    }
}

/* The text is cut as snprintf cuts, and damaged texts are refused or read, never misread out of bounds. */
static void test_text(void **state)
{
    char whole[512], cut[512];
    struct plan plan, back;
    (void)state;
    struct plan_constraint constraints[] = {YES(QUERY, OP_EQ), COLLATED(ODD, OP_LE, "my own"),
                                            LIST(LANG)};
    struct plan_request request = {
        .schema = &schema, .constraints = constraints, .n_constraints = 3};
    assert_int_equal(vindex__sql_plan(&request, &plan), PLAN_OK);
    size_t length = vindex__sql_plan_print(&plan, &schema, whole, sizeof whole);
    for (size_t size = 0; size <= length + 1; size++) {
        memset(cut, 'x', sizeof cut);
        assert_int_equal(vindex__sql_plan_print(&plan, &schema, cut, size), length);
        if (!size) continue;
        assert_int_equal(strlen(cut), size - 1 < length ? size - 1 : length);
        vindex__sql_plan_parse(cut, &schema, &back);
    }
    assert_false(vindex__sql_plan_parse(strcpy(cut, "nearest nothing match ?1"), &schema, &back));
    assert_false(vindex__sql_plan_parse(strcpy(cut, "guess"), &schema, &back));
    assert_false(vindex__sql_plan_parse(strcpy(cut, "scan lang = 5"), &schema, &back));
}

static struct plan plan_of(const struct plan_constraint *constraints, int n, bool reads_inputs)
{
    struct plan plan;
    struct plan_request request = {.schema = &schema,
                                   .constraints = constraints,
                                   .n_constraints = n,
                                   .reads_inputs = reads_inputs};
    assert_int_equal(vindex__sql_plan(&request, &plan), PLAN_OK);
    return plan;
}

/* A table that is joined by its rowid is looked up from the search. */
static void test_costs(void **state)
{
    const struct plan_constraint with_query[] = {YES(QUERY, OP_EQ), YES(K, OP_EQ)};
    const struct plan_constraint by_row[] = {YES(PLAN_ROWID, OP_EQ)};
    struct plan search = plan_of(with_query, 2, true), row = plan_of(by_row, 1, false);
    struct plan arm = plan_of(by_row, 1, true), scan = plan_of(by_row, 0, false);
    (void)state;
    assert_true(row.cost < search.cost && search.cost < scan.cost && scan.cost < arm.cost);
}

/* Two arms of an OR never stand for the search: not without the query, and not with it. */
static void test_arms(void **state)
{
    const struct plan_constraint whole[] = {YES(EMBEDDING, OP_MATCH)};
    const struct plan_constraint lang[] = {LITERAL(LANG, OP_EQ), YES(EMBEDDING, OP_MATCH)};
    const struct plan_constraint row[] = {LITERAL(PLAN_ROWID, OP_EQ), YES(EMBEDDING, OP_MATCH)};
    const struct plan_constraint join[] = {YES(PLAN_ROWID, OP_EQ), YES(EMBEDDING, OP_MATCH)};
    struct plan search = plan_of(whole, 1, true), arm = plan_of(lang, 2, true);
    (void)state;
    assert_true(arm.cost >= search.cost && arm.n_rows >= search.n_rows);
    arm = plan_of(row, 2, true);
    assert_true(arm.cost >= search.cost && arm.n_rows >= search.n_rows);
    arm = plan_of(join, 2, true); /* but a row that another table names is looked up */
    assert_true(arm.cost < search.cost && arm.n_rows == 1);
}

/* A number of unknown origin leaves several texts: any other order of the join is better. */
static void test_last_resort(void **state)
{
    const struct plan_constraint terms[] = {YES(QUERY, OP_EQ), YES(K, OP_EQ), YES(LANG, OP_EQ),
                                            NO(LANG, OP_LT)};
    const struct plan_constraint exact[] = {YES(QUERY, OP_EQ), YES(K, OP_EQ), LITERAL(LANG, OP_EQ),
                                            NO(LANG, OP_LT)};
    (void)state;
    assert_true(plan_of(terms, 4, true).cost > 1e40);
    assert_true(plan_of(exact, 4, true).cost < 1e6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),       cmocka_unit_test(test_text),
        cmocka_unit_test(test_costs),       cmocka_unit_test(test_arms),
        cmocka_unit_test(test_last_resort),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
