/*
 * functions.c - scalar functions: vectors to and from JSON, and the score of a pair in the one arithmetic of
 * all scores.
 */
#include "functions.h"

#include "vector.h"

static void fail(sqlite3_context *context, int rc, char *error)
{
    if (rc == SQLITE_NOMEM)
        sqlite3_result_error_nomem(context);
    else
        sqlite3_result_error(context, error ? error : vindex_message(), -1);
    sqlite3_free(error);
}

/* The type named by an argument, FLOAT where there is none. */
static bool read_type(sqlite3_context *context, sqlite3_value *value, vindex_type *type)
{
    *type = VINDEX_FLOAT;
    if (!value) return true;
    if (vindex_type_parse((const char *)sqlite3_value_text(value), type) == VINDEX_OK) return true;
    fail(context, SQLITE_ERROR, NULL);
    return false;
}

/* Numbers in a vector of this type; 0 if it is none. */
static uint32_t dim_of(sqlite3_value *value, vindex_type type)
{
    const char *text;
    long long n = 0;
    switch (sqlite3_value_type(value)) {
    case SQLITE_BLOB:
        n = sqlite3_value_bytes(value);
        if (type == VINDEX_BIT)
            n *= 8;
        else
            n = n % (long long)vindex_row_bytes(type, 1) ? 0
                                                         : n / (long long)vindex_row_bytes(type, 1);
        break;
    case SQLITE_TEXT:
        text = (const char *)sqlite3_value_text(value);
        n = text ? vindex__sql_json_count(text, (size_t)sqlite3_value_bytes(value)) : 0;
        break;
    default: break;
    }
    return n > 0 && n <= VINDEX_DIM_MAX ? (uint32_t)n : 0;
}

static void version(sqlite3_context *context, int n, sqlite3_value **values)
{
    (void)n;
    (void)values;
    sqlite3_result_text(context, vindex_version(), -1, SQLITE_STATIC);
}

/* vindex_to_json(blob [, type]) */
static void to_json(sqlite3_context *context, int n, sqlite3_value **values)
{
    vindex_type type;
    if (sqlite3_value_type(values[0]) == SQLITE_NULL ||
        !read_type(context, n > 1 ? values[1] : NULL, &type))
        return;
    uint32_t dim = dim_of(values[0], type);
    if (sqlite3_value_type(values[0]) != SQLITE_BLOB || !dim) {
        fail(context, SQLITE_ERROR,
             sqlite3_mprintf("vindex_to_json: the first argument is not a BLOB of %s",
                             vindex_type_name(type)));
        return;
    }
    char *json = vindex__sql_vector_json(type, dim, sqlite3_value_blob(values[0]));
    if (json)
        sqlite3_result_text(context, json, -1, sqlite3_free);
    else
        sqlite3_result_error_nomem(context);
}

/* vindex_from_json(text [, type]) */
static void from_json(sqlite3_context *context, int n, sqlite3_value **values)
{
    struct vector vector = {NULL, 0, NULL, 0};
    vindex_type type;
    char *error = NULL;
    if (sqlite3_value_type(values[0]) == SQLITE_NULL ||
        !read_type(context, n > 1 ? values[1] : NULL, &type))
        return;
    if (type == VINDEX_FLOAT16 || type == VINDEX_BFLOAT16) {
        fail(context, SQLITE_ERROR,
             sqlite3_mprintf("vindex_from_json: make it FLOAT: columns of %s take that and round",
                             vindex_type_name(type)));
        return;
    }
    uint32_t dim = dim_of(values[0], type);
    struct vector_shape shape = {"vindex_from_json", type, dim ? dim : 1};
    int rc = sqlite3_value_type(values[0]) == SQLITE_TEXT
                 ? vindex__sql_vector_read(values[0], &shape, &vector, &error)
                 : SQLITE_ERROR;
    if (rc == SQLITE_OK)
        sqlite3_result_blob64(context, vector.data, vindex_row_bytes(type, dim), SQLITE_TRANSIENT);
    else
        fail(context, rc,
             error ? error : sqlite3_mprintf("vindex_from_json: the argument is not text"));
    vindex__sql_vector_deinit(&vector);
}

static int score(sqlite3_value *a, sqlite3_value *b, vindex_type type, vindex_metric metric,
                 double *out, char **error)
{
    struct vector left = {NULL, 0, NULL, 0}, right = {NULL, 0, NULL, 0};
    vindex_hit hit;
    uint32_t dim = dim_of(a, type);
    struct vector_shape shape = {"vindex_distance", type, dim ? dim : 1};
    int rc = vindex__sql_vector_read(a, &shape, &left, error);
    if (rc == SQLITE_OK) rc = vindex__sql_vector_read(b, &shape, &right, error);
    if (rc == SQLITE_OK) {
        vindex_vectors base = vindex__sql_vectors(&left), query = vindex__sql_vectors(&right);
        vindex_status status = vindex_brute(&base, &query, dim, metric, 1, NULL, &hit);
        if (status != VINDEX_OK) *error = sqlite3_mprintf("vindex_distance: %s", vindex_message());
        rc = status == VINDEX_NOMEM ? SQLITE_NOMEM : status == VINDEX_OK ? SQLITE_OK : SQLITE_ERROR;
        *out = (double)hit.score;
    }
    vindex__sql_vector_deinit(&left);
    vindex__sql_vector_deinit(&right);
    return rc;
}

/* vindex_distance(a, b [, metric [, type]]) */
static void distance(sqlite3_context *context, int n, sqlite3_value **values)
{
    vindex_metric metric = VINDEX_L2;
    vindex_type type;
    double result = 0;
    char *error = NULL;
    if (sqlite3_value_type(values[0]) == SQLITE_NULL ||
        sqlite3_value_type(values[1]) == SQLITE_NULL)
        return;
    if (n > 2 &&
        vindex_metric_parse((const char *)sqlite3_value_text(values[2]), &metric) != VINDEX_OK) {
        fail(context, SQLITE_ERROR, NULL);
        return;
    }
    if (!read_type(context, n > 3 ? values[3] : NULL, &type)) return;
    if (n == 3 && metric == VINDEX_HAMMING) type = VINDEX_BIT;
    int rc = score(values[0], values[1], type, metric, &result, &error);
    if (rc == SQLITE_OK)
        sqlite3_result_double(context, result);
    else
        fail(context, rc, error);
}

int vindex__sql_register_scalars(sqlite3 *db)
{
    static const struct {
        const char *name;
        int n;
        void (*run)(sqlite3_context *, int, sqlite3_value **);
    } functions[] = {
        {"vindex_version", 0, version},     {"vindex_to_json", 1, to_json},
        {"vindex_to_json", 2, to_json},     {"vindex_from_json", 1, from_json},
        {"vindex_from_json", 2, from_json}, {"vindex_distance", 2, distance},
        {"vindex_distance", 3, distance},   {"vindex_distance", 4, distance},
    };
    int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS, rc = SQLITE_OK;
    for (size_t i = 0; i < sizeof functions / sizeof *functions && rc == SQLITE_OK; i++)
        rc = sqlite3_create_function_v2(db, functions[i].name, functions[i].n, flags, NULL,
                                        functions[i].run, NULL, NULL, NULL);
    return rc;
}
