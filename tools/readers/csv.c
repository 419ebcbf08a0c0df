/*
 * csv.c - csv: a line a row, numbers separated by commas, semicolons, tabs or spaces.
 *
 * A first line with a field that is no number is a header; its column "id" (any place), if there is
 * one, holds the rows' ids. Without a header every column is a value. Empty lines are passed over.
 */
#include "format.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "number.h"

#define NO_COLUMN SIZE_MAX

struct csv {
    char separator;
    size_t id_column;
    size_t n_columns;
    bool has_row; /* the first row was parsed to learn the dimension, and is not handed out yet */
    int64_t id;
    float values[VINDEX_DIM_MAX];
};

/* Text that begins with a number or a word, and whose first line has a digit or an id. */
static enum match csv_match(const struct format *format, const struct head *head)
{
    bool has_digit = false;

    (void)format;
    for (size_t i = 0; i < head->n_bytes; i++) {
        uint8_t byte = head->bytes[i];

        if (byte < 32 && byte != '\n' && byte != '\r' && byte != '\t') return MATCH_NO;
        has_digit = has_digit || isdigit(byte);
    }
    return has_digit ? MATCH_LIKELY : MATCH_NO;
}

static char find_separator(const char *line)
{
    /* In this order: a semicolon separates where commas do not, a space is the last resort. */
    for (const char *candidate = "\t;, "; *candidate != 0; candidate++) {
        if (strchr(line, *candidate) != NULL) return *candidate;
    }
    return ',';
}

/* Cut the next field off *line: trimmed, without quotes. NULL after the last. */
static char *next_field(char **line, char separator)
{
    char *field = *line, *end;

    if (field == NULL) return NULL;
    while (*field == ' ')
        field++;
    if (separator == ' ' && *field == 0) return NULL;
    end = strchr(field, separator);
    if (end != NULL) *end = 0;
    *line = end != NULL ? end + 1 : NULL;
    end = field + strlen(field);
    while (end > field && end[-1] == ' ')
        end--;
    if (end - field >= 2 && *field == '"' && end[-1] == '"') {
        field++;
        end--;
    }
    *end = 0;
    return field;
}

static bool parse_float(const char *field, float *value)
{
    const char *end = number_parse(field, value);

    return end != field && *end == 0;
}

static bool parse_id(const char *field, int64_t *id)
{
    char *end = NULL;

    errno = 0;
    *id = strtoll(field, &end, 10);
    return end != field && *end == 0 && errno == 0 && *id != VINDEX_ID_NONE;
}

static vindex_status bad_field(struct reader *reader, size_t column, const char *field,
                               const char *expected, struct fault *fault)
{
    return fault_set(fault, VINDEX_INVALID, "%s: line %llu, field %zu is \"%.40s\", expected %s",
                     input_name(reader->input),
                     (unsigned long long)input_line_number(reader->input), column + 1, field,
                     expected);
}

/* One line into values and *id; the number of fields must be that of the first row. */
static vindex_status parse_row(struct reader *reader, char *line, float *values, int64_t *id,
                               struct fault *fault)
{
    struct csv *csv = reader->state;
    size_t column = 0, n_values = 0;
    char *field;

    for (; (field = next_field(&line, csv->separator)) != NULL; column++) {
        if (column == csv->id_column) {
            if (!parse_id(field, id)) {
                return bad_field(reader, column, field, "a whole number (the id)", fault);
            }
            continue;
        }
        if (n_values == VINDEX_DIM_MAX) {
            return fault_set(fault, VINDEX_INVALID, "%s: line %llu has more than %lu values",
                             input_name(reader->input),
                             (unsigned long long)input_line_number(reader->input),
                             (unsigned long)VINDEX_DIM_MAX);
        }
        if (csv->n_columns != 0 && column == csv->n_columns) {
            column++;
            break;
        }
        if (!parse_float(field, &values[n_values++])) {
            return bad_field(reader, column, field, "a number", fault);
        }
    }
    if (csv->n_columns == 0) csv->n_columns = column;
    if (column != csv->n_columns) {
        return fault_set(
            fault, VINDEX_INVALID,
            "%s: line %llu has %s%zu fields, the lines before have %zu; all must agree",
            input_name(reader->input), (unsigned long long)input_line_number(reader->input),
            column > csv->n_columns ? "at least " : "", column, csv->n_columns);
    }
    return VINDEX_OK;
}

/* The next line that is not empty; NULL at the end. */
static vindex_status next_line(struct reader *reader, char **line, struct fault *fault)
{
    vindex_status st;

    do {
        st = input_line(reader->input, line, fault);
    } while (st == VINDEX_OK && *line != NULL && (*line)[strspn(*line, " \t")] == 0);
    return st;
}

/* Whether a line has a field that is no number: then its column "id" is remembered. */
static vindex_status parse_header(struct reader *reader, const char *line, bool *is_header,
                                  struct fault *fault)
{
    struct csv *csv = reader->state;
    char *copy = strdup(line), *rest = copy, *field;
    size_t id_column = NO_COLUMN, n_columns = 0;
    float value;

    *is_header = false;
    if (copy == NULL) return fault_nomem(fault);
    for (; (field = next_field(&rest, csv->separator)) != NULL; n_columns++) {
        if (!parse_float(field, &value)) *is_header = true;
        if (strcasecmp(field, "id") == 0 || strcasecmp(field, "rowid") == 0) id_column = n_columns;
    }
    if (*is_header) {
        csv->id_column = id_column;
        csv->n_columns = n_columns;
    }
    free(copy);
    return VINDEX_OK;
}

static vindex_status no_rows(struct reader *reader, struct fault *fault)
{
    return fault_set(fault, VINDEX_INVALID,
                     "%s has no row of numbers; expected one a line, as in 0.1,0.2,0.3",
                     input_name(reader->input));
}

static vindex_status csv_open(struct reader *reader, struct fault *fault)
{
    struct csv *csv = calloc(1, sizeof *csv);
    char *line = NULL;
    bool is_header = false;
    vindex_status st;

    if (csv == NULL) return fault_nomem(fault);
    reader->state = csv;
    csv->id_column = NO_COLUMN;
    st = next_line(reader, &line, fault);
    if (st != VINDEX_OK) return st;
    if (line == NULL) return no_rows(reader, fault);
    if (strncmp(line, "\xef\xbb\xbf", 3) == 0) line += 3; /* a byte order mark */
    csv->separator = find_separator(line + strspn(line, " "));
    st = parse_header(reader, line, &is_header, fault);
    if (st == VINDEX_OK && is_header) {
        st = next_line(reader, &line, fault);
        if (st == VINDEX_OK && line == NULL) return no_rows(reader, fault);
    }
    if (st == VINDEX_OK) st = parse_row(reader, line, csv->values, &csv->id, fault);
    if (st != VINDEX_OK) return st;
    if (csv->id_column != NO_COLUMN && csv->n_columns < 2) return no_rows(reader, fault);
    csv->has_row = true;
    reader->info.type = VINDEX_FLOAT;
    reader->info.has_ids = csv->id_column != NO_COLUMN;
    reader->info.dim = (uint32_t)(csv->n_columns - (reader->info.has_ids ? 1 : 0));
    return VINDEX_OK;
}

static vindex_status csv_read(struct reader *reader, size_t n_most, void *rows, int64_t *ids,
                              size_t *n_rows, struct fault *fault)
{
    struct csv *csv = reader->state;
    size_t dim = reader->info.dim;

    while (*n_rows < n_most) {
        if (!csv->has_row) {
            char *line = NULL;
            vindex_status st = next_line(reader, &line, fault);

            if (st != VINDEX_OK || line == NULL) return st;
            st = parse_row(reader, line, csv->values, &csv->id, fault);
            if (st != VINDEX_OK) return st;
        }
        csv->has_row = false;
        memcpy((float *)rows + *n_rows * dim, csv->values, dim * sizeof(float));
        if (ids != NULL && reader->info.has_ids) ids[*n_rows] = csv->id;
        ++*n_rows;
        reader->n_done++;
    }
    return VINDEX_OK;
}

static void csv_close(struct reader *reader)
{
    free(reader->state);
}

static vindex_status csv_begin(struct writer *writer, struct fault *fault)
{
    vindex_status st = VINDEX_OK;

    if (!writer->with_ids) return VINDEX_OK;
    st = output_print(writer->output, fault, "id");
    for (uint32_t i = 0; i < writer->dim && st == VINDEX_OK; i++) {
        st = output_print(writer->output, fault, ",v%lu", (unsigned long)i);
    }
    return st == VINDEX_OK ? output_print(writer->output, fault, "\n") : st;
}

static vindex_status csv_write(struct writer *writer, size_t n_rows, const void *rows,
                               const int64_t *ids, struct fault *fault)
{
    vindex_status st = VINDEX_OK;

    for (size_t i = 0; i < n_rows && st == VINDEX_OK; i++) {
        const char *before = "";

        if (writer->with_ids) {
            st = output_print(writer->output, fault, "%" PRId64, ids[i]);
            before = ",";
        }
        for (size_t j = 0; j < writer->dim && st == VINDEX_OK; j++) {
            st = text_write_value(writer, rows, i * writer->dim + j, before, fault);
            before = ",";
        }
        if (st == VINDEX_OK) st = output_write(writer->output, "\n", 1, fault);
    }
    return st;
}

const struct format format_csv = {
    .name = "csv",
    .alias = NULL,
    .match = csv_match,
    .open = csv_open,
    .read = csv_read,
    .close = csv_close,
    .accepts = text_accepts,
    .begin = csv_begin,
    .write = csv_write,
};
