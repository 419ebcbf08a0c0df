/*
 * writer.c - the write transaction's public face: argument checks, conversion in pieces, the session's life.
 */
#include "api/api.h"
#include "base/mem.h"
#include "base/status.h"
#include "ingest/ingest.h"
#include "storage/snapshot.h"

struct vindex_writer {
    vindex *index;
    struct session session;
    struct ingest *ingest;
};

/* Conversion works on pieces of this size: they stay in cache between conversion and copy. */
#define PIECE_BYTES (256u << 10)

vindex_status vindex_writer_begin(vindex *index, vindex_writer **out)
{
    vindex_writer *writer = NULL;
    if (!index || !out) return vindex__fail(VINDEX_INVALID, "vindex_writer_begin: an argument is NULL");
    *out = NULL;
    vindex_status st = vindex__store_check_fork(index->store);
    if (st != VINDEX_OK) return st;
    if (vindex__store_readonly(index->store))
        return vindex__fail(VINDEX_READONLY, "the index was opened for reading only");
    writer = vindex__calloc(1, sizeof *writer);
    if (!writer) return vindex__nomem();
    writer->index = index;
    st = vindex__session_open(index->store, true, &writer->session);
    if (st == VINDEX_OK) st = vindex__ingest_begin(&writer->session, &writer->ingest);
    if (st != VINDEX_OK) {
        if (writer->session.catalog) vindex__session_close(index->store, &writer->session);
        vindex__free(writer);
        return st;
    }
    atomic_fetch_add(&index->n_handles, 1);
    *out = writer;
    return VINDEX_OK;
}

static void writer_free(vindex_writer *writer)
{
    vindex *index = writer->index;
    vindex__ingest_free(writer->ingest);
    vindex__session_close(index->store, &writer->session);
    vindex__free(writer);
    atomic_fetch_sub(&index->n_handles, 1);
}

static vindex_status insert_converted(vindex_writer *writer, const int64_t *ids,
                                      const vindex_vectors *vectors, uint32_t flags)
{
    const struct config *config = &writer->index->config;
    size_t row_bytes = vindex__config_row_bytes(config);
    size_t piece = PIECE_BYTES / row_bytes ? PIECE_BYTES / row_bytes : 1;
    void *rows = vindex__alloc_aligned(piece, row_bytes);
    vindex_status st = rows ? VINDEX_OK : vindex__nomem();
    for (size_t i = 0; i < vectors->n && st == VINDEX_OK; i += piece) {
        size_t n = vectors->n - i < piece ? vectors->n - i : piece;
        vindex__vectors_convert(vectors, i, n, config->type, config->dim, VECTORS_STORE, rows);
        st = vindex__ingest_insert(writer->ingest, ids ? ids + i : NULL, rows, row_bytes, n, flags);
    }
    vindex__free_aligned(rows);
    return st;
}

vindex_status vindex_writer_insert(vindex_writer *writer, const int64_t *ids,
                                   const vindex_vectors *vectors, uint32_t flags)
{
    if (!writer) return vindex__fail(VINDEX_INVALID, "vindex_writer_insert: the writer is NULL");
    if (flags & ~(VINDEX_UPSERT | VINDEX_IGNORE))
        return vindex__fail(VINDEX_UNSUPPORTED, "insert flags 0x%x are unknown", flags);
    if (flags == (VINDEX_UPSERT | VINDEX_IGNORE))
        return vindex__fail(VINDEX_INVALID, "VINDEX_UPSERT and VINDEX_IGNORE exclude each other");
    const struct config *config = &writer->index->config;
    vindex_status st = vindex__store_check_fork(writer->index->store);
    if (st == VINDEX_OK)
        st = vindex__vectors_check(vectors, config->type, config->dim, VECTORS_STORE);
    if (st == VINDEX_OK) st = vindex__ingest_may_insert(writer->ingest, ids, vectors->n, flags);
    if (st != VINDEX_OK || vectors->n == 0) return st;
    if (!vindex__vectors_are_native(vectors, config->type, VECTORS_STORE))
        return insert_converted(writer, ids, vectors, flags);
    return vindex__ingest_insert(writer->ingest, ids, vectors->data,
                                 vindex__vectors_stride(vectors, config->dim), vectors->n, flags);
}

vindex_status vindex_writer_remove(vindex_writer *writer, const int64_t *ids, size_t n,
                                   size_t *n_removed)
{
    if (!writer || (n && !ids))
        return vindex__fail(VINDEX_INVALID, "vindex_writer_remove: an argument is NULL");
    vindex_status st = vindex__store_check_fork(writer->index->store);
    return st == VINDEX_OK ? vindex__ingest_remove(writer->ingest, ids, n, n_removed) : st;
}

vindex_status vindex_writer_remove_all(vindex_writer *writer)
{
    if (!writer) return vindex__fail(VINDEX_INVALID, "vindex_writer_remove_all: the writer is NULL");
    vindex_status st = vindex__store_check_fork(writer->index->store);
    return st == VINDEX_OK ? vindex__ingest_remove_all(writer->ingest) : st;
}

vindex_status vindex_writer_next_id(const vindex_writer *writer, int64_t *id)
{
    if (!writer || !id) return vindex__fail(VINDEX_INVALID, "vindex_writer_next_id: an argument is NULL");
    *id = vindex__ingest_next_id(writer->ingest);
    return VINDEX_OK;
}

vindex_status vindex_writer_exists(vindex_writer *writer, int64_t id, int *exists)
{
    bool found = false;
    if (!writer || !exists)
        return vindex__fail(VINDEX_INVALID, "vindex_writer_exists: an argument is NULL");
    vindex_status st = vindex__store_check_fork(writer->index->store);
    if (st == VINDEX_OK) st = vindex__ingest_exists(writer->ingest, id, &found);
    *exists = found;
    return st;
}

/* So that the next snapshot costs what changed. */
static void note_changes(const vindex_writer *writer)
{
    uint64_t from, to;
    const int64_t *ids;
    size_t n;
    if (vindex__ingest_tail_changes(writer->ingest, &from, &to, &ids, &n))
        vindex__snapshot_note(writer->index->store, from, to, ids, n);
}

vindex_status vindex_writer_commit(vindex_writer *writer)
{
    if (!writer) return vindex__fail(VINDEX_INVALID, "vindex_writer_commit: the writer is NULL");
    vindex_status st = vindex__store_check_fork(writer->index->store);
    if (st == VINDEX_OK) st = vindex__ingest_commit(writer->ingest);
    if (st != VINDEX_OK) return st;
    note_changes(writer);
    writer_free(writer);
    return VINDEX_OK;
}

void vindex_writer_abort(vindex_writer *writer)
{
    if (!writer) return;
    catalog_rollback(writer->session.catalog);
    writer_free(writer);
}
