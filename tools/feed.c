/*
 * feed.c - rows of a file as an index takes them; see feed.h.
 */
#include "feed.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_ROWS_MAX 65536u

struct feed {
    char *path;
    struct reader *reader;
    uint32_t type; /* handed out: that of the file, float32 or BIT */
    bool is_converted;
    size_t chunk_rows;
    size_t read_bytes, row_bytes; /* of a row as read, as handed out */
    unsigned n_slots, next_slot;
    struct {
        void *read_rows;
        void *converted_rows; /* where is_converted */
        int64_t *ids;
    } slots[2];
};

vindex_status feed_open(const char *path, const char *format, struct feed **feed,
                        struct fault *fault)
{
    struct feed *made = calloc(1, sizeof *made);
    vindex_status st;

    *feed = NULL;
    if (made == NULL) return fault_nomem(fault);
    st = reader_open(path, format, &made->reader, fault);
    if (st == VINDEX_OK && rows_is_ids(reader_info(made->reader)->type)) {
        st = fault_set(
            fault, VINDEX_INVALID,
            "%s holds %s numbers, as ids are; expected vectors of float32, float16, uint8 "
            "or int8",
            path, rows_type_name(reader_info(made->reader)->type));
    }
    if (st == VINDEX_OK) {
        made->path = strdup(path);
        if (made->path == NULL) st = fault_nomem(fault);
    }
    if (st == VINDEX_OK) {
        *feed = made;
        made = NULL;
    }
    feed_close(made);
    return st;
}

void feed_close(struct feed *feed)
{
    if (feed == NULL) return;
    reader_close(feed->reader);
    free(feed->path);
    for (unsigned i = 0; i < 2; i++) {
        free(feed->slots[i].read_rows);
        free(feed->slots[i].converted_rows);
        free(feed->slots[i].ids);
    }
    free(feed);
}

const struct reader_info *feed_info(const struct feed *feed)
{
    return reader_info(feed->reader);
}

uint64_t feed_dim(const struct feed *feed, uint32_t index_type)
{
    uint64_t dim = feed_info(feed)->dim;

    return index_type == VINDEX_BIT ? 8 * dim : dim;
}

vindex_status feed_check_dim(const struct feed *feed, const char *path, uint32_t index_type,
                             uint32_t index_dim, struct fault *fault)
{
    const struct reader_info *info = feed_info(feed);

    if (index_type == VINDEX_BIT) { /* the last byte may have padding bits */
        if (info->dim == (index_dim + 7) / 8) return VINDEX_OK;
        return fault_set(fault, VINDEX_INVALID,
                         "%s has rows of %lu bytes, the index holds %lu bits: expected %lu bytes",
                         path, (unsigned long)info->dim, (unsigned long)index_dim,
                         (unsigned long)(index_dim + 7) / 8);
    }
    if (info->dim == index_dim) return VINDEX_OK;
    return fault_set(fault, VINDEX_INVALID,
                     "%s has dimension %lu, the index has %lu; both must come from the same model",
                     path, (unsigned long)info->dim, (unsigned long)index_dim);
}

static vindex_status choose_type(struct feed *feed, uint32_t index_type, struct fault *fault)
{
    uint32_t given = feed_info(feed)->type;

    feed->type = given == index_type ? given : VINDEX_FLOAT;
    if (index_type == VINDEX_BIT) {
        if (given != VINDEX_UINT8) {
            return fault_set(fault, VINDEX_INVALID,
                             "%s holds %s; bits are given as uint8 rows of packed bits, in Python: "
                             "numpy.packbits(a, axis=1, bitorder='little')",
                             feed->path, rows_type_name(given));
        }
        feed->type = VINDEX_BIT;
    }
    feed->is_converted = feed->type == VINDEX_FLOAT && given != VINDEX_FLOAT;
    return VINDEX_OK;
}

static vindex_status allocate_slot(struct feed *feed, unsigned slot, struct fault *fault)
{
    size_t n_rows = feed->chunk_rows;

    feed->slots[slot].read_rows = malloc(n_rows * feed->read_bytes);
    feed->slots[slot].ids = malloc(n_rows * sizeof(int64_t));
    if (feed->is_converted) feed->slots[slot].converted_rows = malloc(n_rows * feed->row_bytes);
    if (feed->slots[slot].read_rows == NULL || feed->slots[slot].ids == NULL ||
        (feed->is_converted && feed->slots[slot].converted_rows == NULL)) {
        return fault_nomem(fault);
    }
    return VINDEX_OK;
}

vindex_status feed_target(struct feed *feed, uint32_t index_type, uint64_t n_bytes_most,
                          unsigned n_slots, struct fault *fault)
{
    const struct reader_info *info = feed_info(feed);
    uint64_t n_rows;
    vindex_status st = choose_type(feed, index_type, fault);

    assert(n_slots >= 1 && n_slots <= 2);
    if (st != VINDEX_OK) return st;
    feed->n_slots = n_slots;
    feed->read_bytes = info->dim * rows_value_bytes(info->type);
    feed->row_bytes = feed->is_converted ? info->dim * sizeof(float) : feed->read_bytes;
    n_rows = n_bytes_most / n_slots /
             (feed->read_bytes + (feed->is_converted ? feed->row_bytes : 0) + sizeof(int64_t));
    if (n_rows > CHUNK_ROWS_MAX) n_rows = CHUNK_ROWS_MAX;
    if (n_rows > info->n_rows) n_rows = info->n_rows;
    if (n_rows == 0) n_rows = 1;
    feed->chunk_rows = (size_t)n_rows;
    for (unsigned i = 0; i < n_slots && st == VINDEX_OK; i++)
        st = allocate_slot(feed, i, fault);
    return st;
}

vindex_status feed_read(struct feed *feed, size_t n_most, vindex_vectors *vectors,
                        const int64_t **ids, struct fault *fault)
{
    const struct reader_info *info = feed_info(feed);
    unsigned slot = feed->next_slot;
    size_t n = 0, n_bad = 0;
    vindex_status st;

    feed->next_slot = (slot + 1) % feed->n_slots;
    if (n_most == 0 || n_most > feed->chunk_rows) n_most = feed->chunk_rows;
    st = reader_read(feed->reader, n_most, feed->slots[slot].read_rows, feed->slots[slot].ids, &n,
                     fault);
    if (st == VINDEX_OK && feed->is_converted) {
        st = rows_convert(info->type, feed->slots[slot].read_rows, n * info->dim, VINDEX_FLOAT,
                          feed->slots[slot].converted_rows, &n_bad, fault);
    }
    if (st != VINDEX_OK) return st;
    *vectors = (vindex_vectors){feed->is_converted ? feed->slots[slot].converted_rows
                                                   : feed->slots[slot].read_rows,
                                n, 0, feed->type, 0};
    *ids = info->has_ids ? feed->slots[slot].ids : NULL;
    return VINDEX_OK;
}

void feed_stop(struct feed *feed)
{
    reader_stop(feed->reader);
}

/* ---- whole files ----------------------------------------------------------------------------- */

/* Make room for one more chunk: doubled, so that a stream of unknown length is copied rarely. */
static vindex_status grow(void **memory, size_t *capacity, size_t n_needed, size_t item_bytes,
                          struct fault *fault)
{
    size_t wanted = *capacity;
    void *grown;

    if (n_needed <= *capacity) return VINDEX_OK;
    while (wanted < n_needed)
        wanted = wanted < 64 ? 64 : 2 * wanted;
    if (wanted > SIZE_MAX / 2 / item_bytes) return fault_nomem(fault);
    grown = realloc(*memory, wanted * item_bytes);
    if (grown == NULL) return fault_nomem(fault);
    *memory = grown;
    *capacity = wanted;
    return VINDEX_OK;
}

/* Append the chunks of a feed, without the first `offset` rows. */
static vindex_status collect(struct feed *feed, uint64_t offset, uint64_t limit,
                             struct matrix *matrix, struct fault *fault)
{
    size_t capacity = 0;
    vindex_status st = VINDEX_OK;

    while (st == VINDEX_OK && (limit == 0 || matrix->vectors.n < limit)) {
        uint64_t n_wanted = offset != 0 ? offset : limit == 0 ? 0 : limit - matrix->vectors.n;
        vindex_vectors chunk = {0};
        const int64_t *ids = NULL;

        st = feed_read(feed, n_wanted > CHUNK_ROWS_MAX ? CHUNK_ROWS_MAX : (size_t)n_wanted, &chunk,
                       &ids, fault);
        if (st != VINDEX_OK || chunk.n == 0) break;
        if (offset != 0) {
            offset -= chunk.n;
            continue;
        }
        st = grow(&matrix->rows, &capacity, matrix->vectors.n + chunk.n, feed->row_bytes, fault);
        if (st != VINDEX_OK) break;
        memcpy((char *)matrix->rows + matrix->vectors.n * feed->row_bytes, chunk.data,
               chunk.n * feed->row_bytes);
        matrix->vectors.n += chunk.n;
    }
    return st;
}

vindex_status matrix_load(const char *path, const char *format, uint32_t index_type,
                          uint32_t index_dim, uint64_t offset, uint64_t limit,
                          struct matrix *matrix, struct fault *fault)
{
    struct feed *feed = NULL;
    vindex_status st = feed_open(path, format, &feed, fault);

    memset(matrix, 0, sizeof *matrix);
    if (st == VINDEX_OK) st = feed_check_dim(feed, path, index_type, index_dim, fault);
    if (st == VINDEX_OK) st = feed_target(feed, index_type, FEED_CHUNK_BYTES, 1, fault);
    if (st == VINDEX_OK) st = collect(feed, offset, limit, matrix, fault);
    if (st == VINDEX_OK) {
        matrix->row_bytes = feed->row_bytes;
        matrix->vectors.type = feed->type;
        matrix->vectors.data = matrix->rows;
    }
    feed_close(feed);
    return st;
}

void matrix_deinit(struct matrix *matrix)
{
    free(matrix->rows);
    memset(matrix, 0, sizeof *matrix);
}

vindex_vectors matrix_slice(const struct matrix *matrix, size_t first, size_t n)
{
    vindex_vectors slice = matrix->vectors;

    slice.data = (const char *)matrix->rows + first * matrix->row_bytes;
    slice.n = n;
    return slice;
}

static vindex_status read_ids(struct reader *reader, uint64_t limit, struct id_table *table,
                              struct fault *fault)
{
    const struct reader_info *info = reader_info(reader);
    size_t n_chunk = 1 + 65536 / info->dim, n = 1, n_bad = 0, capacity = 0;
    size_t row_bytes = info->dim * sizeof(int64_t);
    void *chunk = malloc(n_chunk * row_bytes), *ids = NULL;
    vindex_status st = chunk != NULL ? VINDEX_OK : fault_nomem(fault);

    table->n_columns = info->dim;
    while (st == VINDEX_OK && n > 0 && (limit == 0 || table->n_rows < limit)) {
        uint64_t n_left = limit == 0 ? n_chunk : limit - table->n_rows;

        st = reader_read(reader, n_left < n_chunk ? (size_t)n_left : n_chunk, chunk, NULL, &n,
                         fault);
        if (st == VINDEX_OK) st = grow(&ids, &capacity, table->n_rows + n, row_bytes, fault);
        if (st != VINDEX_OK) break;
        st = rows_convert(info->type, chunk, n * info->dim, ROWS_INT64,
                          (char *)ids + table->n_rows * row_bytes, &n_bad, fault);
        table->n_rows += n;
    }
    table->ids = ids;
    free(chunk);
    return st;
}

vindex_status id_table_load(const char *path, const char *format, uint64_t limit,
                            struct id_table *table, struct fault *fault)
{
    struct reader *reader = NULL;
    vindex_status st = reader_open(path, format, &reader, fault);

    memset(table, 0, sizeof *table);
    if (st == VINDEX_OK && !rows_is_ids(reader_info(reader)->type)) {
        st = fault_set(fault, VINDEX_INVALID,
                       "%s holds %s; expected ids of int32 or int64 (ivecs, ibin, npy)", path,
                       rows_type_name(reader_info(reader)->type));
    }
    if (st == VINDEX_OK) st = read_ids(reader, limit, table, fault);
    reader_close(reader);
    return st;
}

void id_table_deinit(struct id_table *table)
{
    free(table->ids);
    memset(table, 0, sizeof *table);
}
