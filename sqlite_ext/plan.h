/*
 * plan.h - how a statement's constraints are answered: a pure function from what SQLite offers to a plan, and
 * the plan's text, which is idxStr and what EXPLAIN QUERY PLAN shows. Knows nothing of SQLite.
 *
 * The meaning kept whatever the plan: without k, the stream holds every row that the constraints leave. With k:
 * the k nearest of the rows left by `rowid IN (...)` and by the metadata terms; all else is tested after. So with
 * k, an order of the join in which such a term, or the query, is not known yet is refused.
 */
#ifndef VINDEX_SQLITE_PLAN_H
#define VINDEX_SQLITE_PLAN_H

#include "schema.h"

enum plan_op {
    OP_EQ,
    OP_NE,
    OP_LT,
    OP_LE,
    OP_GT,
    OP_GE,
    OP_IS,
    OP_IS_NOT,
    OP_IS_NULL,
    OP_NOT_NULL,
    OP_LIKE,
    OP_GLOB,
    OP_MATCH,
    OP_LIMIT,
    OP_OFFSET,
    OP_OTHER
};

#define PLAN_ROWID (-1) /* as a column number */

struct plan_constraint {
    int column;
    enum plan_op op;
    bool is_usable;        /* its right side is known when the table is read */
    bool is_list;          /* EQ that was written IN (...) */
    const char *collation; /* NULL: BINARY */
    const char *text;      /* the right side, where it is a text known beforehand */
    bool is_literal;       /* the right side was written out, and so is of no column's type */
};

struct plan_order {
    int column;
    bool is_descending;
};

struct plan_request {
    const struct schema *schema;
    const struct plan_constraint *constraints;
    int n_constraints;
    const struct plan_order *orders;
    int n_orders;
    int distinct; /* as sqlite3_vtab_distinct says */
    bool
        reads_inputs; /* the statement names query, k, recall or the command column, perhaps not in these
                          constraints */
};

enum plan_kind { PLAN_SCAN, PLAN_ROW, PLAN_NEAREST };
enum plan_by { BY_NOTHING, BY_SCORE, BY_SCORE_DESC, BY_ROWID, BY_ROWID_DESC };

enum plan_role {
    ROLE_QUERY,
    ROLE_K,
    ROLE_RECALL,
    ROLE_ROWID,
    ROLE_VALUE, /* a metadata column */
    ROLE_SCORE, /* score, distance or similarity: where the stream may end */
    ROLE_LIMIT,
    ROLE_OFFSET
};

struct plan_term {
    enum plan_role role;
    enum plan_op op;
    int column;
    int constraint; /* its place in the request */
    bool is_list;
    bool is_consumed; /* SQLite need not test it again */
    bool is_as_text;  /* a TEXT column with a literal: texts are compared */
    const char *collation;
};

#define PLAN_TERMS_MAX 64

struct plan {
    enum plan_kind kind;
    enum plan_by by;
    struct plan_term terms[PLAN_TERMS_MAX]; /* as arguments: term i has number i + 1 */
    int n_terms;
    bool has_k;
    bool is_ordered;     /* rows come as ORDER BY asks */
    bool is_last_resort; /* better any other order of the join */
    double cost;
    long long n_rows;
    char message[200]; /* of PLAN_ERROR */
};

enum plan_status {
    PLAN_OK,
    PLAN_IMPOSSIBLE, /* not in this order of the join */
    PLAN_ERROR
};

/** Whether a column is this one of the table's own. */
static inline bool is_hidden(const struct schema *schema, int column, enum hidden_column which)
{
    return column == schema->n_columns + (int)which;
}

enum plan_status vindex__sql_plan(const struct plan_request *request, struct plan *plan);
/** The vector column that a query names by itself, or by the table: the first. */
int vindex__sql_query_column(const struct schema *schema, int column);

/** The text of a plan (plan_text.c): as snprintf, returns the length without its end. */
size_t vindex__sql_plan_print(const struct plan *plan, const struct schema *schema, char *out,
                              size_t size);

/** Back from the text, which is changed and must outlive the plan. False if it is none. */
bool vindex__sql_plan_parse(char *text, const struct schema *schema, struct plan *plan);

#endif
