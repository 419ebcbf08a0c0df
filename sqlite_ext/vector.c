/*
 * vector.c - SQL values to vectors and back.
 */
#include "vector.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>

/* ---- JSON --------------------------------------------------------------------------------------- */

struct json {
    const char *at, *end;
};

static void skip_space(struct json *json)
{
    while (json->at < json->end &&
           (*json->at == ' ' || *json->at == '\t' || *json->at == '\n' || *json->at == '\r'))
        json->at++;
}

static bool take_char(struct json *json, char c)
{
    skip_space(json);
    if (json->at == json->end || *json->at != c) return false;
    json->at++;
    return true;
}

static size_t skip_digits(const char **at, const char *end)
{
    const char *start = *at;
    while (*at < end && **at >= '0' && **at <= '9')
        ++*at;
    return (size_t)(*at - start);
}

/* The longest JSON number at p, 0 if there is none: -?(0|[1-9][0-9]*)(.[0-9]+)?([eE][+-]?[0-9]+)? */
static size_t number_length(const char *p, const char *end)
{
    const char *at = p;
    if (at < end && *at == '-') at++;
    if (at < end && *at == '0')
        at++;
    else if (!skip_digits(&at, end))
        return 0;
    if (at < end && *at == '.') {
        at++;
        if (!skip_digits(&at, end)) return 0;
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        if (at < end && (*at == '+' || *at == '-')) at++;
        if (!skip_digits(&at, end)) return 0;
    }
    return (size_t)(at - p);
}

/* strtod with the point as the decimal point, whatever the host's locale is. */
static double to_double(const char *text)
{
    static locale_t c_locale; /* glibc and others hand out one constant object: no race, no leak */
    if (!c_locale) c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!c_locale) return strtod(text, NULL);
    locale_t before = uselocale(c_locale);
    double value = strtod(text, NULL);
    uselocale(before);
    return value;
}

static bool take_number(struct json *json, double *value)
{
    skip_space(json);
    size_t n = number_length(json->at, json->end);
    if (!n) return false;
    *value = to_double(json->at); /* the text ends with a NUL, and no number goes beyond it */
    json->at += n;
    return true;
}

static bool take_null(struct json *json, double *value)
{
    skip_space(json);
    if (json->end - json->at < 4 || memcmp(json->at, "null", 4) != 0) return false;
    json->at += 4;
    *value = (double)NAN;
    return true;
}

typedef bool take_one(void *context, double value);

static bool take_array(struct json *json, bool takes_null, take_one *each, void *context)
{
    double value;
    if (!take_char(json, '[')) return false;
    if (take_char(json, ']')) return true;
    do {
        if (!take_number(json, &value) && !(takes_null && take_null(json, &value))) return false;
        if (!each(context, value)) return false;
    } while (take_char(json, ','));
    return take_char(json, ']');
}

static bool take_end(struct json *json)
{
    skip_space(json);
    return json->at == json->end;
}

bool vindex__sql_json_walk(const char *text, size_t size, bool takes_null,
                           bool (*each)(void *context, double value), void *context)
{
    struct json json = {text, text + size};
    return take_array(&json, takes_null, each, context) && take_end(&json);
}

static bool count_one(void *context, double value)
{
    (void)value;
    ++*(long long *)context;
    return true;
}

long long vindex__sql_json_count(const char *text, size_t size)
{
    long long n = 0;
    return vindex__sql_json_walk(text, size, false, count_one, &n) ? n : -1;
}

/* ---- what a type can hold ------------------------------------------------------------------------ */

/* The largest number that is not rounded to infinity. */
static bool fits(uint32_t type, double value)
{
    switch (type) {
    case VINDEX_FLOAT16: return fabs(value) < 65520.0;
    case VINDEX_BFLOAT16: return fabs(value) < 0x1.ffp127;
    case VINDEX_INT8: return value >= -128 && value <= 127 && value == floor(value);
    case VINDEX_UINT8: return value >= 0 && value <= 255 && value == floor(value);
    case VINDEX_BIT: return value == 0 || value == 1;
    default: return fabs(value) < 0x1.ffffffp127; /* half a unit above FLT_MAX */
    }
}

static const char *range_text(uint32_t type)
{
    switch (type) {
    case VINDEX_INT8: return "whole numbers from -128 to 127";
    case VINDEX_UINT8: return "whole numbers from 0 to 255";
    case VINDEX_BIT: return "0 and 1";
    default: return "finite numbers in its range";
    }
}

static int refuse(char **error, const struct vector_shape *shape, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    char *detail = sqlite3_vmprintf(format, list);
    va_end(list);
    *error = sqlite3_mprintf("%s: %z", shape->what, detail);
    return *error ? SQLITE_ERROR : SQLITE_NOMEM;
}

static int refuse_element(char **error, const struct vector_shape *shape, uint32_t i, double value)
{
    return refuse(error, shape, "element %u is %!.9g, but %s holds %s", i, value,
                  vindex_type_name((vindex_type)shape->type), range_text(shape->type));
}

/* ---- blobs --------------------------------------------------------------------------------------- */

static bool is_finite_half(uint32_t type, const unsigned char *p)
{
    unsigned bits = (unsigned)p[0] | (unsigned)p[1] << 8;
    unsigned exponent = type == VINDEX_FLOAT16 ? 0x7c00u : 0x7f80u;
    return (bits & exponent) != exponent;
}

static int check_floats(const struct vector_shape *shape, const void *data, char **error)
{
    for (uint32_t i = 0; i < shape->dim; i++) {
        float value;
        memcpy(&value, (const char *)data + 4 * (size_t)i, 4);
        if (!isfinite(value)) return refuse(error, shape, "element %u is not a finite number", i);
        if (!fits(shape->type, (double)value))
            return refuse_element(error, shape, i, (double)value);
    }
    return SQLITE_OK;
}

static int check_native(const struct vector_shape *shape, const void *data, char **error)
{
    const unsigned char *p = data;
    if (shape->type == VINDEX_FLOAT) return check_floats(shape, data, error);
    if (shape->type == VINDEX_BIT && shape->dim % 8 && p[shape->dim / 8] >> shape->dim % 8)
        return refuse(error, shape, "bits beyond %u are set: the last byte is padded with 0",
                      shape->dim);
    if (shape->type == VINDEX_FLOAT16 || shape->type == VINDEX_BFLOAT16)
        for (uint32_t i = 0; i < shape->dim; i++)
            if (!is_finite_half(shape->type, p + 2 * (size_t)i))
                return refuse(error, shape, "element %u is not a finite number", i);
    return SQLITE_OK;
}

static int read_blob(sqlite3_value *value, const struct vector_shape *shape, struct vector *vector,
                     char **error)
{
    const void *data = sqlite3_value_blob(value);
    size_t size = (size_t)sqlite3_value_bytes(value);
    size_t native = vindex_row_bytes((vindex_type)shape->type, shape->dim);
    vector->data = data;
    vector->type = shape->type;
    if (size == native && data) return check_native(shape, data, error);
    vector->type = VINDEX_FLOAT;
    if (size == 4 * (size_t)shape->dim && shape->type != VINDEX_BIT && data)
        return check_floats(shape, data, error);
    vector->data = NULL;
    if (size && !data) return SQLITE_NOMEM;
    return refuse(error, shape,
                  "%s[%u] is %lld bytes or a JSON array of %u numbers; %lld bytes were given",
                  vindex_type_name((vindex_type)shape->type), shape->dim, (sqlite3_int64)native,
                  shape->dim, (sqlite3_int64)size);
}

/* ---- JSON vectors -------------------------------------------------------------------------------- */

struct filling {
    const struct vector_shape *shape;
    void *out;
    uint32_t n;
    bool is_outside;
    double outside;
};

static bool fill_one(void *context, double value)
{
    struct filling *f = context;
    unsigned char *bytes = f->out;
    float as_float;
    if (f->n == f->shape->dim) {
        f->n = UINT32_MAX;
        return false;
    }
    if (!fits(f->shape->type, value)) {
        f->is_outside = true;
        f->outside = value;
        return false;
    }
    switch (f->shape->type) {
    case VINDEX_INT8: bytes[f->n] = (unsigned char)(signed char)value; break;
    case VINDEX_UINT8: bytes[f->n] = (unsigned char)value; break;
    case VINDEX_BIT:
        if (value != 0) bytes[f->n / 8] = (unsigned char)(bytes[f->n / 8] | 1u << f->n % 8);
        break;
    default:
        as_float = (float)value;
        memcpy(bytes + 4 * (size_t)f->n, &as_float, 4);
        break;
    }
    f->n++;
    return true;
}

static bool reserve(struct vector *vector, size_t size)
{
    if (size <= vector->owned_bytes) return true;
    void *grown = sqlite3_realloc64(vector->owned, size);
    if (!grown) return false;
    vector->owned = grown;
    vector->owned_bytes = size;
    return true;
}

/* JSON becomes floats, or what a type of whole numbers stores. */
static uint32_t json_type(const struct vector_shape *shape)
{
    return shape->type <= VINDEX_BFLOAT16 ? VINDEX_FLOAT : shape->type;
}

/* What was wrong with a JSON array. */
static int refuse_json(char **error, const struct vector_shape *shape,
                       const struct filling *filling, bool is_array)
{
    if (filling->is_outside) return refuse_element(error, shape, filling->n, filling->outside);
    if (is_array)
        return refuse(error, shape, "%u numbers are needed, %u were given", shape->dim, filling->n);
    if (filling->n == UINT32_MAX)
        return refuse(error, shape, "%u numbers are needed, more were given", shape->dim);
    return refuse(error, shape, "the text is not a JSON array of numbers, as in [1, 2.5, -3e-2]");
}

static int read_json(sqlite3_value *value, const struct vector_shape *shape, struct vector *vector,
                     char **error)
{
    const char *text = (const char *)sqlite3_value_text(value);
    size_t size = (size_t)sqlite3_value_bytes(value);
    size_t bytes = vindex_row_bytes((vindex_type)json_type(shape), shape->dim);
    if (!text || !reserve(vector, bytes)) return SQLITE_NOMEM;
    memset(vector->owned, 0, bytes);
    struct filling filling = {.shape = shape, .out = vector->owned};
    bool is_array = vindex__sql_json_walk(text, size, false, fill_one, &filling);
    vector->type = json_type(shape);
    vector->data = vector->owned;
    if (is_array && filling.n == shape->dim) return SQLITE_OK;
    vector->data = NULL;
    return refuse_json(error, shape, &filling, is_array);
}

/* ---- many vectors -------------------------------------------------------------------------------- */

static int refuse_row(char **error, size_t row)
{
    char *detail = *error;
    *error = sqlite3_mprintf("row %lld of the sample: %z", (sqlite3_int64)row, detail);
    return *error ? SQLITE_ERROR : SQLITE_NOMEM;
}

static int read_blob_rows(sqlite3_value *value, const struct vector_shape *shape,
                          uint32_t blob_type, struct vector *vector, size_t *n, char **error)
{
    const char *data = sqlite3_value_blob(value);
    size_t size = (size_t)sqlite3_value_bytes(value);
    size_t bytes = vindex_row_bytes((vindex_type)blob_type, shape->dim);
    if (size && !data) return SQLITE_NOMEM;
    if (size % bytes)
        return refuse(error, shape, "a %s[%u] is %lld bytes; %lld are no whole number of them",
                      vindex_type_name((vindex_type)blob_type), shape->dim, (sqlite3_int64)bytes,
                      (sqlite3_int64)size);
    vector->data = data;
    vector->type = blob_type;
    *n = size / bytes;
    for (size_t i = 0; i < *n; i++) {
        int rc = blob_type == shape->type ? check_native(shape, data + i * bytes, error)
                                          : check_floats(shape, data + i * bytes, error);
        if (rc != SQLITE_OK) return *error ? refuse_row(error, i) : rc;
    }
    return SQLITE_OK;
}

static int read_json_rows(sqlite3_value *value, const struct vector_shape *shape,
                          struct vector *vector, size_t *n, char **error)
{
    const char *text = (const char *)sqlite3_value_text(value);
    if (!text) return SQLITE_NOMEM;
    struct json json = {text, text + sqlite3_value_bytes(value)};
    size_t bytes = vindex_row_bytes((vindex_type)json_type(shape), shape->dim);
    bool is_open = take_char(&json, '['), is_array = is_open && take_char(&json, ']');
    *n = 0;
    while (is_open && !is_array) {
        /* Doubling: appending stays linear. */
        if ((*n & (*n + 1)) == 0 && !reserve(vector, 2 * (*n + 1) * bytes)) return SQLITE_NOMEM;
        struct filling filling = {.shape = shape, .out = (char *)vector->owned + *n * bytes};
        memset(filling.out, 0, bytes);
        bool is_row = take_array(&json, false, fill_one, &filling);
        if (!is_row || filling.n != shape->dim) {
            int rc = refuse_json(error, shape, &filling, is_row);
            return *error ? refuse_row(error, *n) : rc;
        }
        ++*n;
        is_array = take_char(&json, ']');
        is_open = is_array || take_char(&json, ',');
    }
    vector->type = json_type(shape);
    vector->data = vector->owned;
    if (is_array && take_end(&json)) return SQLITE_OK;
    return refuse(error, shape, "the text is not a JSON array of arrays, as in [[1, 2], [3, 4]]");
}

int vindex__sql_vectors_read(sqlite3_value *value, const struct vector_shape *shape,
                             uint32_t blob_type, struct vector *vector, size_t *n, char **error)
{
    int rc = SQLITE_OK, type = sqlite3_value_type(value);
    *error = NULL;
    *n = 0;
    if (type == SQLITE_BLOB) rc = read_blob_rows(value, shape, blob_type, vector, n, error);
    if (type == SQLITE_TEXT) rc = read_json_rows(value, shape, vector, n, error);
    if (rc != SQLITE_OK || *n) return rc;
    return refuse(error, shape, "give at least one vector: a BLOB of rows one behind the other, or a "
                                "JSON array of arrays");
}

/* ---- the door ------------------------------------------------------------------------------------ */

int vindex__sql_vector_read(sqlite3_value *value, const struct vector_shape *shape,
                            struct vector *vector, char **error)
{
    *error = NULL;
    vector->data = NULL;
    vector->type = shape->type;
    switch (sqlite3_value_type(value)) {
    case SQLITE_NULL: return SQLITE_OK;
    case SQLITE_BLOB: return read_blob(value, shape, vector, error);
    case SQLITE_TEXT: return read_json(value, shape, vector, error);
    default: return refuse(error, shape, "a vector is a BLOB or a JSON array, not a number");
    }
}

void vindex__sql_vector_deinit(struct vector *vector)
{
    sqlite3_free(vector->owned);
    memset(vector, 0, sizeof *vector);
}

vindex_vectors vindex__sql_vectors(const struct vector *vector)
{
    return (vindex_vectors){.data = vector->data, .n = 1, .type = vector->type};
}

/* ---- to JSON ------------------------------------------------------------------------------------- */

static float half_to_float(uint32_t type, const unsigned char *p)
{
    uint32_t bits = (uint32_t)p[0] | (uint32_t)p[1] << 8;
    if (type == VINDEX_BFLOAT16) {
        float value;
        bits <<= 16;
        memcpy(&value, &bits, 4);
        return value;
    }
    int exponent = (int)(bits >> 10 & 31);
    double fraction = (double)(bits & 1023) / 1024;
    double size = exponent == 31 ? (bits & 1023 ? NAN : INFINITY)
                  : exponent     ? ldexp(1 + fraction, exponent - 15)
                                 : ldexp(fraction, -14);
    return (float)(bits >> 15 ? -size : size);
}

static void append_float(sqlite3_str *out, float value)
{
    char text[40];
    if (!isfinite(value)) { /* JSON has no word for it */
        sqlite3_str_appendall(out, "null");
        return;
    }
    for (int digits = 6; digits <= 9; digits++) {
        sqlite3_snprintf(sizeof text, text, "%.*g", digits, (double)value);
        if ((float)to_double(text) == value) break;
    }
    sqlite3_str_appendall(out, text);
}

char *vindex__sql_vector_json(uint32_t type, uint32_t dim, const void *data)
{
    const unsigned char *p = data;
    sqlite3_str *out = sqlite3_str_new(NULL);
    for (uint32_t i = 0; i < dim; i++) {
        float value;
        sqlite3_str_appendchar(out, 1, i ? ',' : '[');
        switch (type) {
        case VINDEX_INT8: sqlite3_str_appendf(out, "%d", (int)(signed char)p[i]); break;
        case VINDEX_UINT8: sqlite3_str_appendf(out, "%d", (int)p[i]); break;
        case VINDEX_BIT: sqlite3_str_appendf(out, "%d", p[i / 8] >> i % 8 & 1); break;
        case VINDEX_FLOAT:
            memcpy(&value, p + 4 * (size_t)i, 4);
            append_float(out, value);
            break;
        default: append_float(out, half_to_float(type, p + 2 * (size_t)i)); break;
        }
    }
    sqlite3_str_appendall(out, dim ? "]" : "[]");
    return sqlite3_str_finish(out);
}
