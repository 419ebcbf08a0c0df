/*
 * plan.c - constraints in, plan out. plan_text.c has the plan as text.
 */
#include "plan.h"

#include <stdio.h>
#include <string.h>

/* ---- what a column is --------------------------------------------------------------------------- */

static bool is_kind(const struct schema *schema, int column, enum column_kind kind)
{
    return column >= 0 && column < schema->n_columns && schema->columns[column].kind == kind;
}

static bool is_score(const struct schema *schema, int column)
{
    return is_hidden(schema, column, HIDDEN_SCORE) || is_hidden(schema, column, HIDDEN_DISTANCE);
}

static bool is_similarity(const struct schema *schema, int column)
{
    return is_hidden(schema, column, HIDDEN_SIMILARITY);
}

/* `query = ?`, `column MATCH ?`, `docs MATCH ?` */
static bool is_query(const struct schema *schema, const struct plan_constraint *c)
{
    if (c->op == OP_EQ) return is_hidden(schema, c->column, HIDDEN_QUERY);
    return c->op == OP_MATCH && (is_kind(schema, c->column, COLUMN_VECTOR) ||
                                 is_hidden(schema, c->column, HIDDEN_QUERY) ||
                                 is_hidden(schema, c->column, HIDDEN_COMMAND));
}

static bool is_k(const struct schema *schema, const struct plan_constraint *c)
{
    return c->op == OP_EQ && is_hidden(schema, c->column, HIDDEN_K);
}

static bool is_recall(const struct schema *schema, const struct plan_constraint *c)
{
    return (c->op == OP_EQ || c->op == OP_GE) && is_hidden(schema, c->column, HIDDEN_RECALL);
}

/* ---- terms -------------------------------------------------------------------------------------- */

struct planner {
    const struct plan_request *request;
    const struct schema *schema;
    struct plan *plan;
};

static enum plan_status error(struct plan *plan, const char *text)
{
    snprintf(plan->message, sizeof plan->message, "%s", text);
    return PLAN_ERROR;
}

/* Only where it could be otherwise: beside a column's value the number 5 compares as a number. */
static bool is_as_text(const struct schema *schema, const struct plan_constraint *c)
{
    return c->is_literal && !c->is_list && c->op <= OP_IS_NOT &&
           schema->columns[c->column].affinity == AFFINITY_TEXT;
}

static enum plan_status add(struct planner *p, int i, enum plan_role role)
{
    const struct plan_constraint *c = &p->request->constraints[i];
    struct plan *plan = p->plan;
    if (plan->n_terms == PLAN_TERMS_MAX)
        return plan->has_k ? error(plan, "too many terms beside k: at most 60 are possible")
                           : PLAN_OK;
    plan->terms[plan->n_terms++] = (struct plan_term){
        .role = role,
        .op = c->op,
        .column = c->column,
        .constraint = i,
        /* One call for each value where SQLite can do nothing else with the list. */
        .is_list =
            c->is_list && (role == ROLE_ROWID || role == ROLE_VALUE) && plan->kind == PLAN_NEAREST,
        .is_consumed = role == ROLE_QUERY || role == ROLE_K || role == ROLE_RECALL,
        .is_as_text = role == ROLE_VALUE && is_as_text(p->schema, c),
        .collation = c->collation,
    };
    return PLAN_OK;
}

/* The first constraint of its sort becomes an input; SQLite tests any further ones against its value. */
static enum plan_status add_input(struct planner *p, enum plan_role role,
                                  bool (*is_it)(const struct schema *,
                                                const struct plan_constraint *),
                                  bool *found)
{
    *found = false;
    for (int i = 0; i < p->request->n_constraints; i++) {
        const struct plan_constraint *c = &p->request->constraints[i];
        if (!is_it(p->schema, c)) continue;
        if (!c->is_usable) return PLAN_IMPOSSIBLE;
        if (*found) continue;
        *found = true;
        enum plan_status status = add(p, i, role);
        if (status != PLAN_OK) return status;
    }
    return PLAN_OK;
}

static bool is_value_op(enum plan_op op)
{
    return op <= OP_GLOB;
}

/* The beginning of a pattern, as SQLite turned it into a bound: LIKE changes case, < its last letter too. */
static bool is_prefix(const char *pattern, const struct plan_constraint *c)
{
    size_t n = strlen(c->text);
    if (n && c->op == OP_LT) n--;
    return !pattern || strncasecmp(pattern, c->text, n) == 0;
}

/* SQLite derives >= and < from LIKE and GLOB; they hold for text only, the pattern also for blobs. */
static bool is_derived(const struct plan_request *request, const struct plan_constraint *c)
{
    if ((c->op != OP_GE && c->op != OP_LT) || !c->text) return false;
    for (int i = 0; i < request->n_constraints; i++) {
        const struct plan_constraint *other = &request->constraints[i];
        if (other->column == c->column && (other->op == OP_LIKE || other->op == OP_GLOB) &&
            is_prefix(other->text, c))
            return true;
    }
    return false;
}

/* Where a stream of ascending scores may end. */
static bool bounds_score(const struct schema *schema, const struct plan_constraint *c)
{
    if (c->is_list) return false;
    if (is_score(schema, c->column)) return c->op == OP_LT || c->op == OP_LE || c->op == OP_EQ;
    return is_similarity(schema, c->column) && (c->op == OP_GT || c->op == OP_GE || c->op == OP_EQ);
}

/*
 * `a = 5` leaves one value of a: another term on a is one on what stands on its other side, the same for each row
 * if that is another table's. SQLite offers such terms, with 5 put in for a, also where the other side is of this
 * table (`b <> a`); they can never be known beforehand and are tested after k, as any expression is.
 *
 * A number of unknown origin leaves several texts ('5', '05'): then every other order of the join comes first.
 */
static bool is_fixed(struct planner *p, int column)
{
    for (int i = 0; i < p->request->n_constraints; i++) {
        const struct plan_constraint *c = &p->request->constraints[i];
        if (c->column != column || c->op != OP_EQ || !c->is_usable || c->is_list || c->collation)
            continue;
        if (p->schema->columns[column].affinity == AFFINITY_TEXT && !c->is_literal)
            p->plan->is_last_resort = true;
        return true;
    }
    return false;
}

static enum plan_status nearest_term(struct planner *p, int i)
{
    const struct plan_constraint *c = &p->request->constraints[i];
    bool has_k = p->plan->has_k;
    if (c->op == OP_LIMIT || c->op == OP_OFFSET) {
        if (!c->is_usable) return PLAN_OK;
        return add(p, i, c->op == OP_LIMIT ? ROLE_LIMIT : ROLE_OFFSET);
    }
    if (c->column == PLAN_ROWID && c->op == OP_EQ) {
        if (has_k && !c->is_list) return PLAN_OK;
        if (!c->is_usable) return has_k ? PLAN_IMPOSSIBLE : PLAN_OK;
        return add(p, i, ROLE_ROWID);
    }
    if (is_kind(p->schema, c->column, COLUMN_METADATA) && is_value_op(c->op)) {
        if (!c->is_usable) return has_k && !is_fixed(p, c->column) ? PLAN_IMPOSSIBLE : PLAN_OK;
        return is_derived(p->request, c) ? PLAN_OK : add(p, i, ROLE_VALUE);
    }
    if (!has_k && c->is_usable && bounds_score(p->schema, c)) return add(p, i, ROLE_SCORE);
    return PLAN_OK;
}

static bool is_range(enum plan_op op)
{
    return op == OP_LT || op == OP_LE || op == OP_GT || op == OP_GE;
}

static enum plan_status scan_term(struct planner *p, int i)
{
    const struct plan_constraint *c = &p->request->constraints[i];
    if (!c->is_usable || c->is_list) return PLAN_OK;
    if (c->column == PLAN_ROWID && is_range(c->op)) return add(p, i, ROLE_ROWID);
    if (is_kind(p->schema, c->column, COLUMN_METADATA) && is_value_op(c->op) &&
        !is_derived(p->request, c))
        return add(p, i, ROLE_VALUE);
    return PLAN_OK;
}

/* ---- order -------------------------------------------------------------------------------------- */

/* Rows in order are also grouped and distinct, but only for these two does SQLite ask for the order itself. */
static bool may_order(const struct plan_request *request)
{
    return request->n_orders > 0 && (request->distinct == 0 || request->distinct == 3);
}

static void order_nearest(struct planner *p)
{
    const struct plan_request *r = p->request;
    p->plan->by = BY_SCORE;
    if (!may_order(r)) return;
    const struct plan_order *first = &r->orders[0];
    bool by_similarity = is_similarity(p->schema, first->column);
    if (!by_similarity && !is_score(p->schema, first->column)) return;
    bool ascends = first->is_descending == by_similarity;
    bool then_rowid =
        r->n_orders == 2 && r->orders[1].column == PLAN_ROWID && !r->orders[1].is_descending;
    if (r->n_orders > 1 && !(ascends && then_rowid)) return;
    p->plan->by = ascends ? BY_SCORE : BY_SCORE_DESC;
    p->plan->is_ordered = true;
}

static void order_scan(struct planner *p)
{
    const struct plan_request *r = p->request;
    p->plan->by = BY_ROWID;
    if (!may_order(r) || r->orders[0].column != PLAN_ROWID)
        return; /* rowids are unique: the rest is idle */
    p->plan->by = r->orders[0].is_descending ? BY_ROWID_DESC : BY_ROWID;
    p->plan->is_ordered = true;
}

/* ---- the plan ----------------------------------------------------------------------------------- */

/* A search in which one row is left, which another table names: as in a join by rowid. */
static bool is_lookup(const struct plan_request *request, const struct plan *plan)
{
    bool found = false;
    for (int i = 0; i < plan->n_terms; i++) {
        const struct plan_term *term = &plan->terms[i];
        if (term->role == ROLE_VALUE) return false;
        if (term->role == ROLE_ROWID && term->op == OP_EQ && !term->is_list &&
            !request->constraints[term->constraint].is_literal)
            found = true;
    }
    return found;
}

/*
 * Costs only have to rank: one row, a search, a scan of everything. A search is dear enough that a table it
 * is joined with by rowid is looked up from it, not the other way round.
 *
 * SQLite also asks what each arm of an OR would cost alone. Answered arm by arm, k would mean something else, and
 * an arm as it is run has lost the MATCH, which newer versions (3.53) still show when they ask. So further terms
 * make no search cheaper: then no two arms are cheaper than the one search.
 */
static void estimate_nearest(const struct plan_request *request, struct plan *plan)
{
    bool is_one = is_lookup(request, plan);
    plan->cost = is_one ? 200 : plan->has_k ? 10000 : 20000;
    plan->n_rows = is_one ? 1 : plan->has_k ? 10 : 10000;
    if (plan->is_last_resort) plan->cost = 1e49;
}

static void estimate_scan(const struct plan_request *request, struct plan *plan)
{
    double left = 1;
    for (int i = 0; i < plan->n_terms && left > 0.02; i++)
        if (plan->terms[i].role == ROLE_VALUE) left /= 4;
    plan->cost = plan->kind == PLAN_ROW ? 10 : 2000000 * (0.5 + left / 2);
    plan->n_rows = plan->kind == PLAN_ROW ? 1 : (long long)(1000000 * left);
    if (request->reads_inputs) plan->cost = 1e50;
}

/* The query's own column: hidden ones ask the first vector column. */
int vindex__sql_query_column(const struct schema *schema, int column)
{
    if (is_kind(schema, column, COLUMN_VECTOR)) return column;
    return (int)(vindex__sql_vector_column(schema, 0) - schema->columns);
}

/*
 * SQLite repeats a term now and then; all must ask the same, which the values tell. Of different columns they
 * cannot be the same.
 */
static enum plan_status add_queries(struct planner *p)
{
    for (int i = 0; i < p->request->n_constraints; i++) {
        const struct plan_constraint *c = &p->request->constraints[i];
        if (!is_query(p->schema, c)) continue;
        if (!c->is_usable) return PLAN_IMPOSSIBLE;
        if (p->plan->n_terms &&
            vindex__sql_query_column(p->schema, p->plan->terms[0].column) != vindex__sql_query_column(p->schema, c->column))
            return error(p->plan,
                         "a table is asked one query at a time: join it with itself, or use UNION");
        enum plan_status status = add(p, i, ROLE_QUERY);
        if (status != PLAN_OK) return status;
    }
    return PLAN_OK;
}

static enum plan_status plan_nearest(struct planner *p)
{
    enum plan_status status;
    bool has_recall;
    p->plan->kind = PLAN_NEAREST;
    status = add_input(p, ROLE_K, is_k, &p->plan->has_k);
    if (status == PLAN_OK) status = add_input(p, ROLE_RECALL, is_recall, &has_recall);
    for (int i = 0; i < p->request->n_constraints && status == PLAN_OK; i++)
        status = nearest_term(p, i);
    order_nearest(p);
    return status;
}

static enum plan_status plan_scan(struct planner *p)
{
    enum plan_status status = PLAN_OK;
    for (int i = 0; i < p->request->n_constraints; i++) {
        const struct plan_constraint *c = &p->request->constraints[i];
        if (c->column != PLAN_ROWID || c->op != OP_EQ || !c->is_usable) continue;
        p->plan->kind = PLAN_ROW;
        p->plan->is_ordered = p->request->n_orders > 0 && may_order(p->request);
        return add(p, i, ROLE_ROWID);
    }
    p->plan->kind = PLAN_SCAN;
    for (int i = 0; i < p->request->n_constraints && status == PLAN_OK; i++)
        status = scan_term(p, i);
    order_scan(p);
    return status;
}

enum plan_status vindex__sql_plan(const struct plan_request *request, struct plan *plan)
{
    struct planner p = {request, request->schema, plan};
    enum plan_status status;
    memset(plan, 0, sizeof *plan);
    plan->kind = PLAN_NEAREST;
    status = add_queries(&p);
    bool has_query = plan->n_terms > 0;
    if (status == PLAN_OK) status = has_query ? plan_nearest(&p) : plan_scan(&p);
    if (status != PLAN_OK) return status;
    if (has_query)
        estimate_nearest(request, plan);
    else
        estimate_scan(request, plan);
    return PLAN_OK;
}
