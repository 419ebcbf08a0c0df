/*
 * vecs.c - fvecs, bvecs, ivecs: the TEXMEX formats (http://corpus-texmex.irisa.fr).
 *
 *     row:  int32 dim, then dim values (float32, uint8 or int32), little endian; rows without a gap
 */
#include "format.h"

#include <string.h>

static bool is_dim(const struct format *format, uint32_t dim)
{
    return dim >= 1 && dim <= most_values(format->type);
}

/* As a float a small whole number is subnormal: the values tell fvecs from ivecs. */
static bool values_are_plausible(const struct format *format, const uint8_t *values, size_t n)
{
    size_t n_whole = 0, n_float = 0;

    if (format->type == VINDEX_UINT8) return true;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = little32(values + 4 * i);
        uint32_t exponent = bits >> 23 & 0xff;

        if (bits == 0 || bits == 0xffffffff) continue;
        if (exponent == 0)
            n_whole++;
        else if (exponent != 0xff)
            n_float++;
    }
    return format->type == VINDEX_FLOAT ? n_whole == 0 : n_float == 0;
}

static enum match vecs_match(const struct format *format, const struct head *head)
{
    size_t value_bytes = rows_value_bytes(format->type);
    uint32_t dim;
    uint64_t row_bytes;
    size_t n_values;
    bool is_followed;

    if (head->n_bytes < 4) return MATCH_NO;
    dim = little32(head->bytes);
    if (!is_dim(format, dim)) return MATCH_NO;
    row_bytes = 4 + (uint64_t)dim * value_bytes;
    if (head->has_size && head->size_bytes % row_bytes != 0) return MATCH_NO;
    is_followed = head->n_bytes >= row_bytes + 4;
    if (is_followed && little32(head->bytes + row_bytes) != dim) return MATCH_NO;
    n_values = head->n_bytes < row_bytes ? (head->n_bytes - 4) / value_bytes : dim;
    if (!values_are_plausible(format, head->bytes + 4, n_values)) return MATCH_NO;
    return is_followed || head->has_size ? MATCH_LIKELY : MATCH_WEAK;
}

static uint64_t row_size(const struct reader *reader)
{
    return 4 + (uint64_t)reader->info.dim * rows_value_bytes(reader->info.type);
}

static vindex_status vecs_open(struct reader *reader, struct fault *fault)
{
    const char *name = input_name(reader->input);
    const uint8_t *bytes = NULL;
    size_t n_got = 0;
    uint64_t size_bytes;
    vindex_status st = input_peek(reader->input, 4, &bytes, &n_got, fault);

    if (st != VINDEX_OK) return st;
    if (n_got < 4) {
        return fault_set(fault, VINDEX_INVALID,
                         "%s: %zu bytes are too few for one row of %s (int32 dim, then the values)",
                         name, n_got, reader->format->name);
    }
    reader->info.type = reader->format->type;
    reader->info.dim = little32(bytes);
    if (!is_dim(reader->format, reader->info.dim)) {
        return fault_set(fault, VINDEX_INVALID,
                         "%s: row 0 has dimension %ld, expected 1 to %lu; is it really %s? "
                         "Give --format otherwise",
                         name, (long)(int32_t)reader->info.dim,
                         (unsigned long)most_values(reader->info.type), reader->format->name);
    }
    if (input_size(reader->input, &size_bytes)) {
        reader->info.n_rows = size_bytes / row_size(reader);
        if (size_bytes % row_size(reader) != 0) {
            return fault_set(fault, VINDEX_INVALID,
                             "%s: %llu bytes are no whole number of %s rows of dimension %lu "
                             "(%llu bytes each): the file is cut off, or its rows differ; get it "
                             "again",
                             name, (unsigned long long)size_bytes, reader->format->name,
                             (unsigned long)reader->info.dim, (unsigned long long)row_size(reader));
        }
    }
    return VINDEX_OK;
}

/* *is_end instead of a row at the end of the file. */
static vindex_status read_row(struct reader *reader, void *row, bool *is_end, struct fault *fault)
{
    const char *name = input_name(reader->input);
    uint64_t offset = input_offset(reader->input);
    size_t row_bytes = (size_t)row_size(reader) - 4;
    size_t n_got = 0;
    uint8_t header[4];
    vindex_status st = input_read(reader->input, header, 4, &n_got, fault);

    *is_end = false;
    if (st != VINDEX_OK) return st;
    if (n_got == 0) {
        *is_end = true;
        return VINDEX_OK;
    }
    if (n_got == 4 && little32(header) != reader->info.dim) {
        return fault_set(
            fault, VINDEX_INVALID,
            "%s: row %llu (byte %llu) has dimension %ld, the rows before have %lu; all "
            "must agree",
            name, (unsigned long long)reader->n_done, (unsigned long long)offset,
            (long)(int32_t)little32(header), (unsigned long)reader->info.dim);
    }
    if (n_got == 4)
        st = input_read(reader->input, row, row_bytes, &n_got, fault);
    else
        row_bytes += 4;
    if (st == VINDEX_OK && n_got < row_bytes) {
        st = fault_set(fault, VINDEX_INVALID,
                       "%s: row %llu (byte %llu) is cut off by the end of the file; get it again",
                       name, (unsigned long long)reader->n_done, (unsigned long long)offset);
    }
    return st;
}

static vindex_status vecs_read(struct reader *reader, size_t n_most, void *rows, int64_t *ids,
                               size_t *n_rows, struct fault *fault)
{
    size_t row_bytes = (size_t)row_size(reader) - 4;

    (void)ids;
    while (*n_rows < n_most) {
        bool is_end = false;
        vindex_status st = read_row(reader, (char *)rows + *n_rows * row_bytes, &is_end, fault);

        if (st != VINDEX_OK) return st;
        if (is_end) break;
        ++*n_rows;
        reader->n_done++;
    }
    return VINDEX_OK;
}

static bool vecs_accepts(const struct format *format, uint32_t given, uint32_t *held)
{
    *held = format->type;
    return rows_is_ids(given) == rows_is_ids(format->type);
}

static vindex_status vecs_write(struct writer *writer, size_t n_rows, const void *rows,
                                const int64_t *ids, struct fault *fault)
{
    size_t row_bytes = (size_t)writer->dim * rows_value_bytes(writer->type);
    vindex_status st = VINDEX_OK;
    uint8_t header[4];

    (void)ids;
    put_little32(header, writer->dim);
    for (size_t i = 0; i < n_rows && st == VINDEX_OK; i++) {
        st = output_write(writer->output, header, sizeof header, fault);
        if (st != VINDEX_OK) break;
        st = output_write(writer->output, (const char *)rows + i * row_bytes, row_bytes, fault);
    }
    return st;
}

#define VECS(format_name, value_type)                                                              \
    {                                                                                              \
        .name = format_name, .type = value_type, .match = vecs_match, .open = vecs_open,           \
        .read = vecs_read, .accepts = vecs_accepts, .write = vecs_write                            \
    }

const struct format format_fvecs = VECS("fvecs", VINDEX_FLOAT);
const struct format format_bvecs = VECS("bvecs", VINDEX_UINT8);
const struct format format_ivecs = VECS("ivecs", ROWS_INT32);
