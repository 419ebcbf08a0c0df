/*
 * jsonl.c - jsonl: a JSON value a line (https://jsonlines.org).
 *
 *     [0.1, 0.2]                                    a row, or
 *     {"id": 7, "vector": [0.1, 0.2], "text": ""}   "embedding" and "values" serve as well
 *
 * Other members are passed over. With "id" in the first line every line must have one.
 */
#include "format.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "number.h"

#define DEPTH_MAX 64 /* of what is passed over */

struct jsonl {
    uint32_t dim; /* 0 until the first row is known */
    bool has_row; /* the first row was parsed to learn the dimension, and is not handed out yet */
    bool has_id;
    int64_t id;
    float values[VINDEX_DIM_MAX];
};

/* A place in one line. The text is terminated, so one byte may always be looked at. */
struct cursor {
    struct reader *reader;
    const char *start;
    const char *at;
    struct fault *fault;
};

static enum match jsonl_match(const struct format *format, const struct head *head)
{
    size_t i = 0;

    (void)format;
    while (i < head->n_bytes && strchr(" \t\r\n", head->bytes[i]) != NULL && head->bytes[i] != 0) {
        i++;
    }
    if (i == head->n_bytes || (head->bytes[i] != '{' && head->bytes[i] != '[')) return MATCH_NO;
    return memchr(head->bytes, 0, head->n_bytes) == NULL ? MATCH_SURE : MATCH_NO;
}

static vindex_status unexpected(struct cursor *cursor, const char *expected)
{
    return fault_set(cursor->fault, VINDEX_INVALID,
                     "%s: line %llu, column %zu: \"%.20s\", expected %s",
                     input_name(cursor->reader->input),
                     (unsigned long long)input_line_number(cursor->reader->input),
                     (size_t)(cursor->at - cursor->start) + 1, cursor->at, expected);
}

static void skip_space(struct cursor *cursor)
{
    while (*cursor->at == ' ' || *cursor->at == '\t')
        cursor->at++;
}

static bool take(struct cursor *cursor, char wanted)
{
    skip_space(cursor);
    if (*cursor->at != wanted) return false;
    cursor->at++;
    return true;
}

/* Past a string; *text and *length are what is between its quotes, escapes untouched. */
static vindex_status parse_string(struct cursor *cursor, const char **text, size_t *length)
{
    if (!take(cursor, '"')) return unexpected(cursor, "a string");
    *text = cursor->at;
    while (*cursor->at != '"') {
        if (*cursor->at == '\\') cursor->at++;
        if (*cursor->at == 0) return unexpected(cursor, "the end of the string");
        cursor->at++;
    }
    *length = (size_t)(cursor->at - *text);
    cursor->at++;
    return VINDEX_OK;
}

/* Past any value, however it is nested; brackets are only counted, since nothing of it is used. */
static vindex_status skip_value(struct cursor *cursor)
{
    int depth = 0;

    do {
        const char *text;
        size_t length;
        vindex_status st = VINDEX_OK;

        skip_space(cursor);
        if (*cursor->at == '"') {
            st = parse_string(cursor, &text, &length);
        } else if (*cursor->at == '[' || *cursor->at == '{') {
            if (++depth > DEPTH_MAX) st = unexpected(cursor, "less nesting");
            cursor->at++;
        } else if (depth > 0 && (*cursor->at == ']' || *cursor->at == '}')) {
            depth--;
            cursor->at++;
        } else if (depth > 0 && (*cursor->at == ',' || *cursor->at == ':')) {
            cursor->at++;
        } else {
            length = strcspn(cursor->at, " \t,:]}[{\"");
            if (length == 0) st = unexpected(cursor, "a value");
            cursor->at += length;
        }
        if (st != VINDEX_OK) return st;
    } while (depth > 0);
    return VINDEX_OK;
}

static vindex_status parse_number(struct cursor *cursor, float *value)
{
    const char *end;

    skip_space(cursor);
    if (*cursor->at == '[') {
        return unexpected(cursor, "a number: write one row a line, as with jq -c '.[]'");
    }
    /* Also NaN, as Python writes it: the library refuses it with its place. */
    end = number_parse(cursor->at, value);
    if (end == cursor->at) return unexpected(cursor, "a number");
    cursor->at = end;
    return VINDEX_OK;
}

static vindex_status parse_vector(struct cursor *cursor, struct jsonl *jsonl)
{
    uint32_t n = 0;

    if (!take(cursor, '[')) return unexpected(cursor, "[ (an array of numbers)");
    do {
        vindex_status st;

        if (n == VINDEX_DIM_MAX) return unexpected(cursor, "at most 65520 values");
        st = parse_number(cursor, &jsonl->values[n]);
        if (st != VINDEX_OK) return st;
        n++;
    } while (take(cursor, ','));
    if (!take(cursor, ']')) return unexpected(cursor, ", or ]");
    if (jsonl->dim == 0) jsonl->dim = n;
    if (n != jsonl->dim) {
        return fault_set(cursor->fault, VINDEX_INVALID,
                         "%s: line %llu has %lu values, the lines before have %lu; all must agree",
                         input_name(cursor->reader->input),
                         (unsigned long long)input_line_number(cursor->reader->input),
                         (unsigned long)n, (unsigned long)jsonl->dim);
    }
    return VINDEX_OK;
}

static vindex_status parse_id(struct cursor *cursor, struct jsonl *jsonl)
{
    char *end = NULL;

    skip_space(cursor);
    errno = 0;
    jsonl->id = strtoll(cursor->at, &end, 10);
    if (end == cursor->at || errno != 0 || jsonl->id == VINDEX_ID_NONE ||
        strchr(" \t,}", *end) == NULL || *end == 0) {
        return unexpected(cursor, "a whole number (the id)");
    }
    cursor->at = end;
    jsonl->has_id = true;
    return VINDEX_OK;
}

static bool is_key(const char *text, size_t length, const char *key)
{
    return length == strlen(key) && memcmp(text, key, length) == 0;
}

static vindex_status parse_object(struct cursor *cursor, struct jsonl *jsonl)
{
    bool has_vector = false;

    if (!take(cursor, '{')) return unexpected(cursor, "{ or [");
    do {
        const char *key = NULL;
        size_t length = 0;
        vindex_status st = parse_string(cursor, &key, &length);

        if (st != VINDEX_OK) return st;
        if (!take(cursor, ':')) return unexpected(cursor, ":");
        if (is_key(key, length, "id")) {
            st = parse_id(cursor, jsonl);
        } else if (is_key(key, length, "vector") || is_key(key, length, "embedding") ||
                   is_key(key, length, "values")) {
            if (has_vector) return unexpected(cursor, "only one vector a line");
            has_vector = true;
            st = parse_vector(cursor, jsonl);
        } else {
            st = skip_value(cursor);
        }
        if (st != VINDEX_OK) return st;
    } while (take(cursor, ','));
    if (!take(cursor, '}')) return unexpected(cursor, ", or }");
    if (!has_vector) return unexpected(cursor, "a member \"vector\", \"embedding\" or \"values\"");
    return VINDEX_OK;
}

/* The next row into jsonl->values; *is_end at the end of the file. */
static vindex_status parse_line(struct reader *reader, bool *is_end, struct fault *fault)
{
    struct jsonl *jsonl = reader->state;
    struct cursor cursor = {.reader = reader, .fault = fault};
    char *line = NULL;
    vindex_status st;

    do {
        st = input_line(reader->input, &line, fault);
        if (st != VINDEX_OK) return st;
        *is_end = line == NULL;
        if (*is_end) return VINDEX_OK;
    } while (line[strspn(line, " \t")] == 0);
    cursor.start = line;
    cursor.at = line;
    jsonl->has_id = false;
    skip_space(&cursor);
    st = *cursor.at == '[' ? parse_vector(&cursor, jsonl) : parse_object(&cursor, jsonl);
    if (st != VINDEX_OK) return st;
    skip_space(&cursor);
    if (*cursor.at != 0) return unexpected(&cursor, "the end of the line");
    return VINDEX_OK;
}

static vindex_status jsonl_open(struct reader *reader, struct fault *fault)
{
    struct jsonl *jsonl = calloc(1, sizeof *jsonl);
    bool is_end = false;
    vindex_status st;

    if (jsonl == NULL) return fault_nomem(fault);
    reader->state = jsonl;
    st = parse_line(reader, &is_end, fault);
    if (st != VINDEX_OK) return st;
    if (is_end) {
        return fault_set(fault, VINDEX_INVALID,
                         "%s has no row; expected one a line, as in [0.1, 0.2, 0.3]",
                         input_name(reader->input));
    }
    jsonl->has_row = true;
    reader->info.type = VINDEX_FLOAT;
    reader->info.dim = jsonl->dim;
    reader->info.has_ids = jsonl->has_id;
    return VINDEX_OK;
}

static vindex_status jsonl_read(struct reader *reader, size_t n_most, void *rows, int64_t *ids,
                                size_t *n_rows, struct fault *fault)
{
    struct jsonl *jsonl = reader->state;

    while (*n_rows < n_most) {
        bool is_end = false;
        vindex_status st = jsonl->has_row ? VINDEX_OK : parse_line(reader, &is_end, fault);

        if (st != VINDEX_OK || is_end) return st;
        jsonl->has_row = false;
        if (jsonl->has_id != reader->info.has_ids) {
            return fault_set(
                fault, VINDEX_INVALID,
                "%s: line %llu %s an \"id\", the first line %s; all must agree",
                input_name(reader->input), (unsigned long long)input_line_number(reader->input),
                jsonl->has_id ? "has" : "lacks", jsonl->has_id ? "lacks it" : "has one");
        }
        memcpy((float *)rows + *n_rows * jsonl->dim, jsonl->values, jsonl->dim * sizeof(float));
        if (ids != NULL && reader->info.has_ids) ids[*n_rows] = jsonl->id;
        ++*n_rows;
        reader->n_done++;
    }
    return VINDEX_OK;
}

static void jsonl_close(struct reader *reader)
{
    free(reader->state);
}

static vindex_status jsonl_write(struct writer *writer, size_t n_rows, const void *rows,
                                 const int64_t *ids, struct fault *fault)
{
    vindex_status st = VINDEX_OK;

    for (size_t i = 0; i < n_rows && st == VINDEX_OK; i++) {
        if (writer->with_ids) {
            st = output_print(writer->output, fault, "{\"id\":%" PRId64 ",\"vector\":", ids[i]);
        }
        for (size_t j = 0; j < writer->dim && st == VINDEX_OK; j++) {
            st = text_write_value(writer, rows, i * writer->dim + j, j == 0 ? "[" : ",", fault);
        }
        if (st == VINDEX_OK) {
            st = output_print(writer->output, fault, writer->with_ids ? "]}\n" : "]\n");
        }
    }
    return st;
}

const struct format format_jsonl = {
    .name = "jsonl",
    .alias = "ndjson",
    .match = jsonl_match,
    .open = jsonl_open,
    .read = jsonl_read,
    .close = jsonl_close,
    .accepts = text_accepts,
    .write = jsonl_write,
};
