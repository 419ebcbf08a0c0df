/*
 * vindex.c - the grammar of USING vindex(...): one argument a column or an option.
 *
 *     argument := name TYPE[dim] option*          a vector column
 *               | name TEXT|INTEGER|REAL [COLLATE name]   a metadata column
 *               | + name [type]                   an auxiliary column
 *               | storage = auto | sqlite
 *     option   := metric = m | layout = l | recall = r | seal_rows = n | seal_bytes = n
 */
#include <stdlib.h>

#include "ext.h"
#include "schema.h"

void vindex__sql_schema_free(struct schema *schema)
{
    sqlite3_free(schema->columns);
    sqlite3_free(schema->text);
    memset(schema, 0, sizeof *schema);
}

/* ---- tokens ---------------------------------------------------------------------------------- */

enum token_kind { TOKEN_END, TOKEN_NAME, TOKEN_NUMBER, TOKEN_SIGN, TOKEN_BAD };

struct token {
    enum token_kind kind;
    bool is_quoted;
    char sign;
    char text[256];
};

struct lexer {
    const char *at;
    struct token token; /* the current one */
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f';
}
static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}
static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (unsigned char)c >= 0x80;
}

static void take_quoted(struct lexer *lexer, char close)
{
    struct token *token = &lexer->token;
    size_t n = 0;
    token->kind = TOKEN_BAD;
    for (lexer->at++; *lexer->at && n + 1 < sizeof token->text; lexer->at++) {
        if (*lexer->at == close) {
            if (close == ']' || lexer->at[1] != close) {
                lexer->at++;
                token->kind = TOKEN_NAME;
                token->is_quoted = true;
                break;
            }
            lexer->at++;
        }
        token->text[n++] = *lexer->at;
    }
    token->text[n] = 0;
}

static void take_while_word(struct lexer *lexer, enum token_kind kind)
{
    struct token *token = &lexer->token;
    size_t n = 0;
    token->kind = kind;
    while (is_name(*lexer->at) || is_digit(*lexer->at) ||
           (kind == TOKEN_NUMBER && *lexer->at == '.')) {
        if (n + 1 == sizeof token->text) {
            token->kind = TOKEN_BAD;
            break;
        }
        token->text[n++] = *lexer->at++;
    }
    token->text[n] = 0;
}

/* `[` opens a quoted name only where a name is expected: after a type it opens the dim. */
static void advance(struct lexer *lexer, bool expects_name)
{
    struct token *token = &lexer->token;
    while (is_space(*lexer->at))
        lexer->at++;
    memset(token, 0, offsetof(struct token, text));
    token->text[0] = 0;
    char c = *lexer->at;
    if (!c)
        token->kind = TOKEN_END;
    else if (c == '"' || c == '`' || c == '\'')
        take_quoted(lexer, c);
    else if (c == '[' && expects_name)
        take_quoted(lexer, ']');
    else if (is_name(c))
        take_while_word(lexer, TOKEN_NAME);
    else if (is_digit(c) || (c == '.' && is_digit(lexer->at[1])))
        take_while_word(lexer, TOKEN_NUMBER);
    else {
        token->kind = TOKEN_SIGN;
        token->sign = c;
        token->text[0] = c;
        token->text[1] = 0;
        lexer->at++;
    }
}

static bool is_sign(const struct lexer *lexer, char sign)
{
    return lexer->token.kind == TOKEN_SIGN && lexer->token.sign == sign;
}

static bool is_word(const struct token *token, const char *word)
{
    return token->kind == TOKEN_NAME && !token->is_quoted &&
           sqlite3_stricmp(token->text, word) == 0;
}

/* ---- one declaration --------------------------------------------------------------------------- */

struct parser {
    const char *table;
    const char *argument;
    struct lexer lexer;
    struct schema *schema;
    size_t text_used;
    char **error;
};

static int refuse(struct parser *p, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    char *detail = sqlite3_vmprintf(format, list);
    va_end(list);
    sqlite3_free(*p->error);
    *p->error = sqlite3_mprintf("vindex: '%s': %z", p->argument, detail);
    return *p->error ? SQLITE_ERROR : SQLITE_NOMEM;
}

static const char *keep(struct parser *p, const char *text)
{
    size_t size = strlen(text) + 1;
    char *kept = p->schema->text + p->text_used;
    memcpy(kept, text, size);
    p->text_used += size;
    return kept;
}

static int check_name(struct parser *p, const char *name)
{
    static const char *const ids[] = {"rowid", "oid", "_rowid_"};
    if (!*name) return refuse(p, "a column needs a name");
    for (int i = 0; i < HIDDEN_COMMAND; i++)
        if (sqlite3_stricmp(name, vindex__sql_hidden_name((enum hidden_column)i)) == 0)
            return refuse(p, "every vindex table has a hidden column %s: give yours another name",
                          name);
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        if (sqlite3_stricmp(name, ids[i]) == 0)
            return refuse(p, "every vindex table has its rowid: leave this column out");
    if (sqlite3_stricmp(name, p->table) == 0)
        return refuse(p, "the command column is called as the table is: give yours another name");
    for (int i = 0; i < p->schema->n_columns; i++)
        if (sqlite3_stricmp(name, p->schema->columns[i].name) == 0)
            return refuse(p, "column %s is declared twice", name);
    return SQLITE_OK;
}

static int whole_number(struct parser *p, const char *what, uint64_t low, uint64_t high,
                        uint64_t *value)
{
    const struct token *token = &p->lexer.token;
    char *end = NULL;
    *value = token->kind == TOKEN_NUMBER ? strtoull(token->text, &end, 10) : 0;
    if (token->kind != TOKEN_NUMBER || *end || *value < low || *value > high)
        return refuse(p, "%s is '%s': give a whole number from %llu to %llu", what, token->text,
                      (sqlite3_uint64)low, (sqlite3_uint64)high);
    return SQLITE_OK;
}

/* A number in (0, 1], in digits: strtod would obey the locale. */
static int fraction(struct parser *p, double *value)
{
    const char *s = p->lexer.token.text;
    double scale = 1, sum = 0;
    while (is_digit(*s))
        sum = 10 * sum + (*s++ - '0');
    if (*s == '.')
        for (s++; is_digit(*s); s++) {
            scale *= 10;
            sum = 10 * sum + (*s - '0');
        }
    *value = sum / scale;
    if (p->lexer.token.kind != TOKEN_NUMBER || *s || !(*value > 0 && *value <= 1))
        return refuse(p, "recall is '%s': give a number in (0, 1]", p->lexer.token.text);
    return SQLITE_OK;
}

static int set_metric(struct parser *p, struct schema_column *column)
{
    vindex_metric metric;
    if (vindex_metric_parse(p->lexer.token.text, &metric) != VINDEX_OK)
        return refuse(p, "%s", vindex_message());
    column->metric = metric;
    if ((metric == VINDEX_HAMMING) != (column->type == VINDEX_BIT))
        return refuse(p, "hamming goes with BIT vectors and with no others");
    return SQLITE_OK;
}

static int set_layout(struct parser *p, struct schema_column *column)
{
    column->layout = is_word(&p->lexer.token, "flat") ? VINDEX_LAYOUT_FLAT : VINDEX_LAYOUT_AUTO;
    if (column->layout != VINDEX_LAYOUT_FLAT && !is_word(&p->lexer.token, "auto"))
        return refuse(p, "layout is '%s': give auto or flat", p->lexer.token.text);
    return SQLITE_OK;
}

/* name = value, the lexer on the name. */
static int vector_option(struct parser *p, struct schema_column *column)
{
    struct token name = p->lexer.token;
    uint64_t number = 0;
    int rc = SQLITE_OK;
    advance(&p->lexer, false);
    if (name.kind != TOKEN_NAME || !is_sign(&p->lexer, '='))
        return refuse(p,
                      "after the type come options: metric=, layout=, recall=, seal_rows=, "
                      "seal_bytes=; '%s' is none",
                      name.text);
    advance(&p->lexer, true);
    if (is_word(&name, "metric"))
        rc = set_metric(p, column);
    else if (is_word(&name, "layout"))
        rc = set_layout(p, column);
    else if (is_word(&name, "recall"))
        rc = fraction(p, &column->recall);
    else if (is_word(&name, "seal_rows")) {
        rc = whole_number(p, name.text, 1, 16384, &number);
        column->seal_rows = (uint32_t)number;
    } else if (is_word(&name, "seal_bytes")) {
        rc = whole_number(p, name.text, 1, 16u << 20, &column->seal_bytes);
    } else {
        rc = refuse(
            p, "option '%s' is unknown: there are metric, layout, recall, seal_rows, seal_bytes",
            name.text);
    }
    if (rc == SQLITE_OK) advance(&p->lexer, false);
    return rc;
}

/* The lexer is on `[`. */
static int vector_column(struct parser *p, struct schema_column *column, const char *type)
{
    vindex_type parsed;
    uint64_t dim = 0;
    int rc;
    if (vindex_type_parse(type, &parsed) != VINDEX_OK) return refuse(p, "%s", vindex_message());
    column->kind = COLUMN_VECTOR;
    column->affinity = AFFINITY_NONE;
    column->type = parsed;
    column->metric = parsed == VINDEX_BIT ? VINDEX_HAMMING : VINDEX_L2;
    advance(&p->lexer, false);
    rc = whole_number(p, "the number of dimensions", 1, VINDEX_DIM_MAX, &dim);
    if (rc != SQLITE_OK) return rc;
    column->dim = (uint32_t)dim;
    advance(&p->lexer, false);
    if (!is_sign(&p->lexer, ']'))
        return refuse(p, "the ] after the number of dimensions is missing");
    advance(&p->lexer, false);
    while (rc == SQLITE_OK && p->lexer.token.kind != TOKEN_END)
        rc = vector_option(p, column);
    if (rc == SQLITE_OK && p->schema->n_vectors == SCHEMA_VECTORS_MAX)
        rc = refuse(p, "a table has at most %d vector columns", SCHEMA_VECTORS_MAX);
    if (rc == SQLITE_OK) column->number = p->schema->n_vectors++;
    return rc;
}

static const struct {
    const char *name;
    enum column_affinity affinity;
} value_types[] = {
    {"TEXT", AFFINITY_TEXT},      {"INTEGER", AFFINITY_NUMERIC}, {"INT", AFFINITY_NUMERIC},
    {"BIGINT", AFFINITY_NUMERIC}, {"BOOLEAN", AFFINITY_NUMERIC}, {"REAL", AFFINITY_NUMERIC},
    {"DOUBLE", AFFINITY_NUMERIC}, {"FLOAT", AFFINITY_NUMERIC},   {"NUMERIC", AFFINITY_NUMERIC},
    {"BLOB", AFFINITY_NONE},
};

static bool find_value_type(const char *name, enum column_affinity *affinity)
{
    for (size_t i = 0; i < sizeof value_types / sizeof *value_types; i++)
        if (sqlite3_stricmp(name, value_types[i].name) == 0) {
            *affinity = value_types[i].affinity;
            return true;
        }
    return false;
}

/* What follows the type of a metadata or auxiliary column. */
static int value_column(struct parser *p, struct schema_column *column, const char *type)
{
    bool is_aux = column->kind == COLUMN_AUXILIARY;
    column->affinity = AFFINITY_NONE;
    if (*type && !find_value_type(type, &column->affinity))
        return refuse(
            p,
            "type %s is unknown: a vector is FLOAT[dim] (or FLOAT16, BFLOAT16, INT8, UINT8, "
            "BIT), a value TEXT, INTEGER or REAL",
            type);
    if (!is_aux && column->affinity == AFFINITY_NONE)
        return refuse(
            p,
            "a metadata column is TEXT, INTEGER or REAL; write +%s for values that are only "
            "kept",
            column->name);
    column->declared = *type ? keep(p, type) : "";
    if (is_word(&p->lexer.token, "collate")) {
        advance(&p->lexer, true);
        if (p->lexer.token.kind != TOKEN_NAME) return refuse(p, "COLLATE needs a name");
        column->collation = keep(p, p->lexer.token.text);
        advance(&p->lexer, false);
    }
    if (is_word(&p->lexer.token, "primary"))
        return refuse(p,
                      "a vindex table's key is its rowid: leave an integer key out and use rowid; "
                      "a text key is a metadata column without PRIMARY KEY");
    if (p->lexer.token.kind != TOKEN_END)
        return refuse(p, "nothing may follow the type but COLLATE name; '%s' does",
                      p->lexer.token.text);
    column->number = p->schema->n_values++;
    return SQLITE_OK;
}

static int storage_option(struct parser *p)
{
    advance(&p->lexer, true);
    if (is_word(&p->lexer.token, "dual") || is_word(&p->lexer.token, "sidecar"))
        return refuse(p, "storage=%s is not supported by this version: leave it out",
                      p->lexer.token.text);
    if (!is_word(&p->lexer.token, "auto") && !is_word(&p->lexer.token, "sqlite"))
        return refuse(p, "storage is '%s': give auto or sqlite", p->lexer.token.text);
    advance(&p->lexer, false);
    return p->lexer.token.kind == TOKEN_END ? SQLITE_OK : refuse(p, "one option an argument");
}

static int column(struct parser *p, const char *name, bool is_aux)
{
    char type[256] = "";
    int rc = check_name(p, name);
    if (rc != SQLITE_OK) return rc;
    if (p->schema->n_columns == SCHEMA_COLUMNS_MAX)
        return refuse(p, "a table has at most %d columns", SCHEMA_COLUMNS_MAX);
    struct schema_column *to = &p->schema->columns[p->schema->n_columns];
    *to = (struct schema_column){.name = keep(p, name),
                                 .kind = is_aux ? COLUMN_AUXILIARY : COLUMN_METADATA};
    if (p->lexer.token.kind == TOKEN_NAME && !is_word(&p->lexer.token, "collate")) {
        memcpy(type, p->lexer.token.text, sizeof type);
        advance(&p->lexer, false);
    }
    if (is_sign(&p->lexer, '['))
        rc = is_aux ? refuse(p, "an auxiliary column holds one value: a vector column has no +")
                    : vector_column(p, to, type);
    else
        rc = value_column(p, to, type);
    if (rc == SQLITE_OK) p->schema->n_columns++;
    return rc;
}

static int argument(struct parser *p, const char *text)
{
    bool is_aux = false;
    p->argument = text;
    p->lexer.at = text;
    advance(&p->lexer, true);
    if (is_sign(&p->lexer, '+')) {
        is_aux = true;
        advance(&p->lexer, true);
    }
    struct token name = p->lexer.token;
    if (name.kind != TOKEN_NAME) return refuse(p, "a column starts with its name");
    advance(&p->lexer, false);
    if (!is_aux && is_sign(&p->lexer, '=')) {
        if (is_word(&name, "storage")) return storage_option(p);
        return refuse(
            p,
            "table option '%s' is unknown: there is storage; options of a vector follow its "
            "type, without a comma",
            name.text);
    }
    return column(p, name.text, is_aux);
}

int vindex__sql_parse_vindex(const char *table, int n_arguments, const char *const *arguments,
                             struct schema *schema, char **error)
{
    struct parser p = {.table = table, .argument = "", .schema = schema, .error = error};
    size_t text_bytes = 1;
    int rc = SQLITE_OK;
    memset(schema, 0, sizeof *schema);
    for (int i = 0; i < n_arguments; i++)
        text_bytes += strlen(arguments[i]) + 4; /* pieces of it, each with its end */
    schema->columns = sqlite3_malloc64(SCHEMA_COLUMNS_MAX * sizeof *schema->columns);
    schema->text = sqlite3_malloc64(text_bytes);
    if (!schema->columns || !schema->text) rc = SQLITE_NOMEM;
    for (int i = 0; i < n_arguments && rc == SQLITE_OK; i++)
        rc = argument(&p, arguments[i]);
    if (rc == SQLITE_OK && schema->n_vectors == 0) {
        p.argument = table;
        rc = refuse(
            &p, "a vindex table needs a vector column, as in embedding FLOAT[384] metric=cosine");
    }
    if (rc != SQLITE_OK) vindex__sql_schema_free(schema);
    return rc;
}
