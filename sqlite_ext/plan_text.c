/*
 * plan_text.c - a plan as text and back: SQLite carries it from xBestIndex to xFilter, and EXPLAIN QUERY PLAN shows it.
 *
 *     nearest v match ?1, k = ?2, year >= ?3, by score
 */
#include "plan.h"

#include <stdio.h>
#include <string.h>

/* ---- text --------------------------------------------------------------------------------------- */

static const char *const op_words[] = {
    [OP_EQ] = "=",
    [OP_NE] = "!=",
    [OP_LT] = "<",
    [OP_LE] = "<=",
    [OP_GT] = ">",
    [OP_GE] = ">=",
    [OP_IS] = "is",
    [OP_IS_NOT] = "is not",
    [OP_IS_NULL] = "is null",
    [OP_NOT_NULL] = "not null",
    [OP_LIKE] = "like",
    [OP_GLOB] = "glob",
    [OP_MATCH] = "match",
};
static const char *const kind_words[] = {
    [PLAN_SCAN] = "scan", [PLAN_ROW] = "row", [PLAN_NEAREST] = "nearest"};
static const char *const by_words[] = {[BY_NOTHING] = "nothing",
                                       [BY_SCORE] = "score",
                                       [BY_SCORE_DESC] = "score desc",
                                       [BY_ROWID] = "rowid",
                                       [BY_ROWID_DESC] = "rowid desc"};

struct printer {
    char *out;
    size_t size, length;
};

static void put_char(struct printer *p, char c)
{
    if (p->length + 1 < p->size) p->out[p->length] = c;
    p->length++;
}

static void put(struct printer *p, const char *text)
{
    while (*text)
        put_char(p, *text++);
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_plain(const char *name)
{
    static const char *const reserved[] = {"by", "limit", "offset"};
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
        if (strcmp(name, reserved[i]) == 0) return false;
    if (!is_letter(*name)) return false;
    for (; *name; name++)
        if (!is_letter(*name) && !(*name >= '0' && *name <= '9')) return false;
    return true;
}

static void put_name(struct printer *p, const char *name)
{
    if (is_plain(name)) {
        put(p, name);
        return;
    }
    put_char(p, '"');
    for (; *name; name++) {
        if (*name == '"') put_char(p, '"');
        put_char(p, *name);
    }
    put_char(p, '"');
}

static const char *column_name(const struct schema *schema, int column)
{
    if (column == PLAN_ROWID) return "rowid";
    if (column < schema->n_columns) return schema->columns[column].name;
    return vindex__sql_hidden_name((enum hidden_column)(column - schema->n_columns));
}

static void put_term(struct printer *p, const struct plan_term *term, int number,
                     const struct schema *schema)
{
    char argument[16];
    snprintf(argument, sizeof argument, " ?%d", number);
    if (term->role == ROLE_LIMIT || term->role == ROLE_OFFSET) {
        put(p, term->role == ROLE_LIMIT ? "limit" : "offset");
    } else if (term->role == ROLE_QUERY) {
        put_name(p, column_name(schema, vindex__sql_query_column(schema, term->column)));
        put(p, " match");
    } else {
        put_name(p, column_name(schema, term->column));
        put_char(p, ' ');
        put(p, term->is_list ? "in" : op_words[term->op]);
    }
    put(p, argument);
    if (term->is_as_text) put(p, " as text");
    if (term->role == ROLE_VALUE && term->collation) {
        put(p, " collate ");
        put_name(p, term->collation);
    }
}

size_t vindex__sql_plan_print(const struct plan *plan, const struct schema *schema, char *out,
                              size_t size)
{
    struct printer p = {out, size, 0};
    put(&p, kind_words[plan->kind]);
    for (int i = 0; i < plan->n_terms; i++) {
        put(&p, i ? ", " : " ");
        put_term(&p, &plan->terms[i], i + 1, schema);
    }
    if (plan->by != BY_NOTHING) {
        put(&p, plan->n_terms ? ", by " : " by ");
        put(&p, by_words[plan->by]);
    }
    if (size) out[p.length < size ? p.length : size - 1] = 0;
    return p.length;
}

/* ---- and back ----------------------------------------------------------------------------------- */

static bool take(char **at, const char *word)
{
    size_t n = strlen(word);
    if (strncmp(*at, word, n) != 0) return false;
    *at += n;
    return true;
}

/* A name, unquoted in place; *is_plain_name tells keywords from columns called so. */
static char *take_name(char **at, bool *was_quoted)
{
    char *name = *at, *to;
    *was_quoted = **at == '"';
    if (!*was_quoted) {
        while (is_letter(**at) || (**at >= '0' && **at <= '9'))
            ++*at;
        return *at == name ? NULL : name;
    }
    name = to = ++*at;
    for (; **at; ++*at) {
        if (**at == '"') {
            if ((*at)[1] != '"') break;
            ++*at;
        }
        *to++ = **at;
    }
    if (!**at) return NULL;
    ++*at;
    *to = 0;
    return name;
}

/* Ends a name that was not quoted; what followed it is returned. */
static char end_name(char *at)
{
    char c = *at;
    *at = 0;
    return c;
}

static bool find_column(const struct schema *schema, const char *name, int *column)
{
    for (*column = PLAN_ROWID; *column < schema->n_columns + HIDDEN_COMMAND; ++*column)
        if (strcmp(column_name(schema, *column), name) == 0) return true;
    return false;
}

static bool take_op(char **at, struct plan_term *term)
{
    /* Longer words before their beginnings. */
    static const enum plan_op order[] = {OP_IS_NULL, OP_IS_NOT, OP_IS,   OP_NOT_NULL, OP_LE,
                                         OP_LT,      OP_GE,     OP_GT,   OP_EQ,       OP_NE,
                                         OP_LIKE,    OP_GLOB,   OP_MATCH};
    if (take(at, " in ?")) {
        term->op = OP_EQ;
        term->is_list = true;
        return true;
    }
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        char *start = *at;
        term->op = order[i];
        if (take(at, " ") && take(at, op_words[order[i]]) && take(at, " ?")) return true;
        *at = start;
    }
    return false;
}

static enum plan_role role_of(const struct schema *schema, const struct plan_term *term)
{
    if (term->op == OP_MATCH) return ROLE_QUERY;
    if (term->column == PLAN_ROWID) return ROLE_ROWID;
    if (is_hidden(schema, term->column, HIDDEN_K)) return ROLE_K;
    if (is_hidden(schema, term->column, HIDDEN_RECALL)) return ROLE_RECALL;
    return term->column < schema->n_columns ? ROLE_VALUE : ROLE_SCORE;
}

static bool take_number(char **at)
{
    char *start = *at;
    while (**at >= '0' && **at <= '9')
        ++*at;
    return *at > start;
}

static bool take_collation(char **at, struct plan_term *term)
{
    bool quoted;
    if (!take(at, " collate ")) return true;
    char *name = take_name(at, &quoted);
    if (!name) return false;
    char *end = *at;
    if (!quoted && *end) { /* what follows is ", ": the comma gives way to the end */
        if (end_name(end) != ',') return false;
        ++*at;
    }
    term->collation = name;
    return true;
}

static bool take_term(char **at, const struct schema *schema, struct plan *plan)
{
    struct plan_term term = {.role = **at == 'l' ? ROLE_LIMIT : ROLE_OFFSET};
    bool quoted;
    if (plan->n_terms == PLAN_TERMS_MAX) return false;
    if (take(at, "limit ?") || take(at, "offset ?")) {
        plan->terms[plan->n_terms++] = term;
        return take_number(at);
    }
    char *name = take_name(at, &quoted);
    if (!name) return false;
    char *end = *at, after = *end;
    *end = 0;
    bool found = find_column(schema, name, &term.column);
    *end = after;
    if (!found || !take_op(at, &term)) return false;
    term.role = role_of(schema, &term);
    if (term.role == ROLE_K) plan->has_k = true;
    if (!take_number(at)) return false;
    term.is_as_text = take(at, " as text");
    if (!take_collation(at, &term)) return false;
    plan->terms[plan->n_terms++] = term;
    return true;
}

static bool take_by(char **at, struct plan *plan)
{
    static const enum plan_by order[] = {BY_SCORE_DESC, BY_SCORE, BY_ROWID_DESC, BY_ROWID};
    if (!take(at, "by ")) return false;
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        if (take(at, by_words[order[i]])) {
            plan->by = order[i];
            return true;
        }
    return false;
}

bool vindex__sql_plan_parse(char *text, const struct schema *schema, struct plan *plan)
{
    char *at = text;
    memset(plan, 0, sizeof *plan);
    if (take(&at, kind_words[PLAN_NEAREST]))
        plan->kind = PLAN_NEAREST;
    else if (take(&at, kind_words[PLAN_SCAN]))
        plan->kind = PLAN_SCAN;
    else if (take(&at, kind_words[PLAN_ROW]))
        plan->kind = PLAN_ROW;
    else
        return false;
    while (*at) {
        if (!take(&at, ", ") && !take(&at, " ")) return false;
        if (!take_by(&at, plan) && !take_term(&at, schema, plan)) return false;
    }
    return true;
}
