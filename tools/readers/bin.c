/*
 * bin.c - fbin, u8bin, i8bin, f16bin, ibin: the formats of the Big-ANN benchmarks
 * (https://big-ann-benchmarks.com/neurips23.html).
 *
 *     uint32 n, uint32 dim, then n * dim values, little endian
 *     ground truth (ibin): n * k ids, often n * k float32 distances after them (not read)
 */
#include "format.h"

#include <stdlib.h>

#define HEADER_BYTES 8

static uint64_t values_bytes(const struct format *format, const uint8_t *header)
{
    /* Below 2^32 * 2^24 * 4: no overflow, since the dimension was checked. */
    return (uint64_t)little32(header) * little32(header + 4) * rows_value_bytes(format->type);
}

static bool is_dim(const struct format *format, uint32_t dim)
{
    return dim >= 1 && dim <= most_values(format->type);
}

static enum match bin_match(const struct format *format, const struct head *head)
{
    uint64_t n_bytes;

    if (head->n_bytes < HEADER_BYTES || !is_dim(format, little32(head->bytes + 4))) return MATCH_NO;
    n_bytes = values_bytes(format, head->bytes);
    /* Weak even so: u8bin with one byte too many a value is f16bin to the number. */
    if (!head->has_size || head->size_bytes == HEADER_BYTES + n_bytes) return MATCH_WEAK;
    return rows_is_ids(format->type) && head->size_bytes == HEADER_BYTES + 2 * n_bytes ? MATCH_WEAK
                                                                                       : MATCH_NO;
}

static bool has_distances(const struct reader *reader, const uint8_t *header)
{
    uint64_t size_bytes;

    return rows_is_ids(reader->format->type) && input_size(reader->input, &size_bytes) &&
           size_bytes == HEADER_BYTES + 2 * values_bytes(reader->format, header) &&
           little32(header) != 0;
}

/* The distances behind ground truth are as another n rows, of which the reader hands out none. */
static vindex_status bin_read(struct reader *reader, size_t n_most, void *rows, int64_t *ids,
                              size_t *n_rows, struct fault *fault)
{
    bool is_end = reader->n_done == reader->info.n_rows;

    if (is_end && rows_is_ids(reader->info.type)) return VINDEX_OK;
    return dense_read(reader, n_most, rows, ids, n_rows, fault);
}

static vindex_status bin_open(struct reader *reader, struct fault *fault)
{
    uint8_t header[HEADER_BYTES];
    size_t n_got = 0;
    bool with_distances;
    vindex_status st = input_read(reader->input, header, HEADER_BYTES, &n_got, fault);

    if (st != VINDEX_OK) return st;
    if (n_got < HEADER_BYTES) {
        return fault_set(fault, VINDEX_INVALID,
                         "%s: %zu bytes are too few for the header of %s (uint32 n, uint32 dim)",
                         input_name(reader->input), n_got, reader->format->name);
    }
    reader->info.type = reader->format->type;
    reader->info.dim = little32(header + 4);
    if (!is_dim(reader->format, reader->info.dim)) {
        return fault_set(fault, VINDEX_INVALID,
                         "%s: the header claims dimension %lu, expected 1 to %lu; is it really %s? "
                         "Give --format otherwise",
                         input_name(reader->input), (unsigned long)reader->info.dim,
                         (unsigned long)most_values(reader->info.type), reader->format->name);
    }
    with_distances = has_distances(reader, header);
    reader->info.n_rows = (uint64_t)little32(header) << with_distances;
    st = dense_open(reader, rows_value_bytes(reader->info.type), NULL, fault);
    reader->info.n_rows = little32(header);
    return st;
}

static bool bin_accepts(const struct format *format, uint32_t given, uint32_t *held)
{
    *held = format->type;
    return rows_is_ids(given) == rows_is_ids(format->type);
}

static vindex_status bin_begin(struct writer *writer, struct fault *fault)
{
    uint8_t header[HEADER_BYTES] = {0};

    return output_write(writer->output, header, sizeof header, fault);
}

static vindex_status bin_finish(struct writer *writer, struct fault *fault)
{
    uint8_t header[HEADER_BYTES];

    if (writer->n_done > UINT32_MAX) {
        return fault_set(fault, VINDEX_UNSUPPORTED, "%s holds at most 4294967295 rows; write npy",
                         writer->format->name);
    }
    put_little32(header, (uint32_t)writer->n_done);
    put_little32(header + 4, writer->dim);
    return output_patch(writer->output, header, sizeof header, fault);
}

#define BIN(format_name, value_type)                                                               \
    {                                                                                              \
        .name = format_name, .type = value_type, .match = bin_match, .open = bin_open,             \
        .read = bin_read, .close = dense_close, .accepts = bin_accepts, .begin = bin_begin,        \
        .write = dense_write, .finish = bin_finish                                                 \
    }

const struct format format_fbin = BIN("fbin", VINDEX_FLOAT);
const struct format format_u8bin = BIN("u8bin", VINDEX_UINT8);
const struct format format_i8bin = BIN("i8bin", VINDEX_INT8);
const struct format format_f16bin = BIN("f16bin", VINDEX_FLOAT16);
const struct format format_ibin = BIN("ibin", ROWS_INT32);
