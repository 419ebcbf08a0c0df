/*
 * reader.h - rows of vectors from a file of any known format, and back into one.
 *
 *     struct reader *reader = NULL;
 *     if (reader_open("base.fvecs", NULL, &reader, &fault) != VINDEX_OK) ...
 *     const struct reader_info *info = reader_info(reader);      type, dim, number of rows if known
 *     while (reader_read(reader, 1024, rows, NULL, &n, &fault) == VINDEX_OK && n > 0) ...
 *     reader_close(reader);
 *
 * Formats: fvecs bvecs ivecs, fbin u8bin i8bin f16bin ibin, npy, idx, csv, jsonl; each plain or
 * .gz, from a path or "-". A file is recognised by its content, then by its name; a format given by
 * name wins. Nothing a file says is trusted. Reading takes bounded memory: the caller's chunk and
 * the buffers of one file. Whether values are finite is left to the library.
 */
#ifndef TOOLS_READERS_READER_H
#define TOOLS_READERS_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../fault.h"
#include "../rows.h"

#define READER_ROWS_UNKNOWN UINT64_MAX

struct reader_info {
    const char *format; /* "fvecs" */
    uint32_t type;      /* vindex_type, ROWS_INT32 or ROWS_INT64 */
    uint32_t dim;       /* values a row, at least 1 */
    uint64_t n_rows;    /* READER_ROWS_UNKNOWN for streams and text */
    bool has_ids;       /* rows come with ids (csv with a column id, jsonl with "id") */
};

struct reader;

/** Open a file. `format` is a name of the list below or NULL. *reader is NULL on failure: NOTFOUND,
 *  INVALID (empty, not recognised, damaged, truncated as far as the size tells), IO, NOMEM. */
vindex_status reader_open(const char *path, const char *format, struct reader **reader,
                          struct fault *fault);

/** Close; NULL is accepted. */
void reader_close(struct reader *reader);

/** The facts; valid until close. */
const struct reader_info *reader_info(const struct reader *reader);

/**
 * Read the next rows.
 *
 * @param n_most  rows that `rows` has place for, at least 1.
 * @param rows    [out] shape [n_most, dim] of the type, dense.
 * @param ids     [out] shape [n_most]; NULL where ids are not wanted. Untouched without has_ids.
 * @param n_rows  [out] rows read; 0 only at the end.
 */
vindex_status reader_read(struct reader *reader, size_t n_most, void *rows, int64_t *ids,
                          size_t *n_rows, struct fault *fault);

/** From another thread: a reader_read that waits for a pipe ends with VINDEX_CANCELLED, soon. */
void reader_stop(struct reader *reader);

/** "fvecs, bvecs, ...": for messages and help. */
const char *reader_formats(void);

struct writer;

/** Whether a file of this name or format keeps ids beside the rows. */
bool writer_keeps_ids(const char *path, const char *format);

/**
 * Begin a file. It appears under its name only when it is committed.
 *
 * @param format  a name of the list, or NULL: by the name's ending.
 * @param type    of the rows to come; *type is changed to the one the format holds, into which the
 *                caller converts.
 * @param with_ids whether writer_write is given ids; only with writer_keeps_ids.
 */
vindex_status writer_open(const char *path, const char *format, uint32_t *type, uint32_t dim,
                          bool with_ids, struct writer **writer, struct fault *fault);

/** Append dense rows of the type writer_open answered. */
vindex_status writer_write(struct writer *writer, size_t n_rows, const void *rows,
                           const int64_t *ids, struct fault *fault);

/** Finish the file, free *writer and set it to NULL. */
vindex_status writer_commit(struct writer **writer, struct fault *fault);

/** Throw away and free; NULL is accepted. */
void writer_abort(struct writer *writer);

#endif
