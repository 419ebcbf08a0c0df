/*
 * feed.h - rows of a file as an index takes them: chunks of bounded memory, in a type the index
 * accepts, and whole sets of queries.
 *
 * An index takes rows of its own type, or float32 where it holds another type of numbers (the
 * library rounds, or refuses what is no whole number). A BIT index takes uint8 rows as packed bits,
 * bit i at byte i / 8.
 */
#ifndef TOOLS_FEED_H
#define TOOLS_FEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fault.h"
#include "readers/reader.h"

#define FEED_CHUNK_BYTES ((uint64_t)16 << 20) /* per insert: far above a call's own cost */

struct feed;

/** Open a file of vectors. Files of ids (int32, int64) are refused. *feed is NULL on failure. */
vindex_status feed_open(const char *path, const char *format, struct feed **feed,
                        struct fault *fault);
void feed_close(struct feed *feed);

const struct reader_info *feed_info(const struct feed *feed);

/** The dimension an index of this type has for these rows: 8 for each byte of BIT. */
uint64_t feed_dim(const struct feed *feed, uint32_t index_type);

/**
 * Say what the rows are for; before the first feed_read.
 *
 * @param n_bytes_most  memory for the chunks; at least one row is always read.
 * @param n_slots       1, or 2: a chunk then stays valid while the next one is read.
 */
vindex_status feed_target(struct feed *feed, uint32_t index_type, uint64_t n_bytes_most,
                          unsigned n_slots, struct fault *fault);

/** Check that the rows fit an index. */
vindex_status feed_check_dim(const struct feed *feed, const char *path, uint32_t index_type,
                             uint32_t index_dim, struct fault *fault);

/** The next chunk of at most n_most rows (0: as many as the memory allows); vectors->n is 0 at the
 *  end. `ids` is NULL for files without. Valid until the next call; with two slots
 *  until the one after it. */
vindex_status feed_read(struct feed *feed, size_t n_most, vindex_vectors *vectors,
                        const int64_t **ids, struct fault *fault);

/** From another thread: a feed_read that waits for a pipe ends with VINDEX_CANCELLED, soon. */
void feed_stop(struct feed *feed);

/** Whole files: queries in the type an index takes. */
struct matrix {
    vindex_vectors vectors;
    size_t row_bytes;
    void *rows; /* owned */
};

/** Read rows [offset, offset + limit) for an index of this type and dimension; limit 0 = all. */
vindex_status matrix_load(const char *path, const char *format, uint32_t index_type,
                          uint32_t index_dim, uint64_t offset, uint64_t limit,
                          struct matrix *matrix, struct fault *fault);
void matrix_deinit(struct matrix *matrix);

/** Rows [first, first + n) of a matrix. */
vindex_vectors matrix_slice(const struct matrix *matrix, size_t first, size_t n);

/** Whole files of ids: ground truth, hits, lists of ids. */
struct id_table {
    size_t n_rows;
    uint32_t n_columns;
    int64_t *ids; /* owned, shape [n_rows, n_columns] */
};

/** Read at most `limit` rows (0 = all). Files of other numbers are refused. */
vindex_status id_table_load(const char *path, const char *format, uint64_t limit,
                            struct id_table *table, struct fault *fault);
void id_table_deinit(struct id_table *table);

#endif
