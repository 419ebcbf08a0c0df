/*
 * dense.c - what bin, npy and idx share: a header that claims a number of rows, then the rows
 * without a gap. The claim is checked against the file's size where that is known, else at the end.
 */
#include "format.h"

#include <stdlib.h>
#include <string.h>

/* Stored values are handed out as they are. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the formats are little endian");

struct dense {
    size_t stored_row_bytes;
    dense_decode *decode;
    uint8_t row[]; /* one stored row, where it is decoded */
};

vindex_status dense_open(struct reader *reader, size_t stored_value_bytes, dense_decode *decode,
                         struct fault *fault)
{
    struct dense *dense = NULL;
    size_t stored_row_bytes = (size_t)reader->info.dim * stored_value_bytes;
    uint64_t size_bytes, wanted_bytes;

    if (reader->info.n_rows > (UINT64_MAX >> 1) / stored_row_bytes) {
        return fault_set(fault, VINDEX_INVALID, "%s: the header claims %llu rows, which is absurd",
                         input_name(reader->input), (unsigned long long)reader->info.n_rows);
    }
    wanted_bytes = input_offset(reader->input) + reader->info.n_rows * stored_row_bytes;
    if (input_size(reader->input, &size_bytes) && size_bytes != wanted_bytes) {
        return fault_set(
            fault, VINDEX_INVALID,
            "%s: the header claims %llu rows of %lu %s values, which is %llu bytes; the "
            "file has %llu%s",
            input_name(reader->input), (unsigned long long)reader->info.n_rows,
            (unsigned long)reader->info.dim, rows_type_name(reader->info.type),
            (unsigned long long)wanted_bytes, (unsigned long long)size_bytes,
            size_bytes < wanted_bytes ? ": it is cut off, get it again" : "");
    }
    dense = malloc(sizeof *dense + (decode != NULL ? stored_row_bytes : 0));
    if (dense == NULL) return fault_nomem(fault);
    dense->stored_row_bytes = stored_row_bytes;
    dense->decode = decode;
    reader->state = dense;
    return VINDEX_OK;
}

void dense_close(struct reader *reader)
{
    free(reader->state);
}

static vindex_status check_nothing_follows(struct reader *reader, struct fault *fault)
{
    const uint8_t *bytes = NULL;
    size_t n_got = 0;
    vindex_status st = input_peek(reader->input, 1, &bytes, &n_got, fault);

    if (st == VINDEX_OK && n_got != 0) {
        st = fault_set(fault, VINDEX_INVALID,
                       "%s: bytes follow the %llu rows that the header claims (byte %llu)",
                       input_name(reader->input), (unsigned long long)reader->info.n_rows,
                       (unsigned long long)input_offset(reader->input));
    }
    return st;
}

/* Read whole rows into `bytes`; fewer than asked for is an error, since the header claimed them. */
static vindex_status read_stored(struct reader *reader, void *bytes, size_t n_rows,
                                 struct fault *fault)
{
    const struct dense *dense = reader->state;
    size_t n_bytes = n_rows * dense->stored_row_bytes;
    size_t n_got = 0;
    vindex_status st = input_read(reader->input, bytes, n_bytes, &n_got, fault);

    if (st == VINDEX_OK && n_got < n_bytes) {
        st = fault_set(
            fault, VINDEX_INVALID,
            "%s: cut off at byte %llu in row %llu of the %llu that the header claims; get "
            "the file again",
            input_name(reader->input), (unsigned long long)input_offset(reader->input),
            (unsigned long long)(reader->n_done + n_got / dense->stored_row_bytes),
            (unsigned long long)reader->info.n_rows);
    }
    return st;
}

vindex_status dense_read(struct reader *reader, size_t n_most, void *rows, int64_t *ids,
                         size_t *n_rows, struct fault *fault)
{
    struct dense *dense = reader->state;
    uint64_t n_left = reader->info.n_rows - reader->n_done;
    size_t n = n_left < n_most ? (size_t)n_left : n_most;
    size_t row_bytes = reader->info.dim * rows_value_bytes(reader->info.type);
    vindex_status st = VINDEX_OK;

    (void)ids;
    if (n == 0) return check_nothing_follows(reader, fault);
    if (dense->decode == NULL) {
        st = read_stored(reader, rows, n, fault);
        if (st == VINDEX_OK) reader->n_done += n;
    }
    for (size_t i = 0; dense->decode != NULL && st == VINDEX_OK && i < n; i++) {
        st = read_stored(reader, dense->row, 1, fault);
        if (st != VINDEX_OK) break;
        dense->decode(dense->row, (char *)rows + i * row_bytes, reader->info.dim);
        reader->n_done++;
    }
    if (st == VINDEX_OK) *n_rows = n;
    return st;
}

vindex_status dense_write(struct writer *writer, size_t n_rows, const void *rows,
                          const int64_t *ids, struct fault *fault)
{
    (void)ids;
    return output_write(writer->output, rows, n_rows * writer->dim * rows_value_bytes(writer->type),
                        fault);
}
