/*
 * ingest.h - the door of the write path: one write transaction over a store's write session. Rows come in
 * as stored bytes (type and finiteness are the caller's business); ids become places.
 *
 *     insert -> buffer --full--> seal -> blocks, segment record, runs of ids
 *                      --commit--> tail records, or sealed together with the tail
 *     remove -> out of the buffer or the tail, or a live bit cleared in a segment
 *
 * Between calls a transaction holds no read view and no lock of the store but the writer's.
 */
#ifndef VINDEX_INGEST_INGEST_H
#define VINDEX_INGEST_INGEST_H

#include "storage/store.h"

struct ingest;
struct pool;

/** Begin on an open write session (borrowed). Collects orphaned blocks if the store says there are. */
vindex_status vindex__ingest_begin(struct session *session, struct ingest **ingest);
/** Frees; the session's private changes are the caller's to roll back. NULL is accepted. */
void vindex__ingest_free(struct ingest *ingest);

/**
 * n rows, stride bytes apart, row_bytes each. ids NULL: consecutive from next_id. flags: VINDEX_UPSERT,
 * VINDEX_IGNORE or 0. VINDEX_EXISTS and VINDEX_INVALID (ids run out) change nothing; after any other
 * failure every call but free answers VINDEX_MISUSE.
 */
vindex_status vindex__ingest_insert(struct ingest *ingest, const int64_t *ids, const void *rows,
                                    size_t stride, size_t n, uint32_t flags);
vindex_status vindex__ingest_remove(struct ingest *ingest, const int64_t *ids, size_t n,
                                    size_t *n_removed);
vindex_status vindex__ingest_remove_all(struct ingest *ingest);
vindex_status vindex__ingest_exists(struct ingest *ingest, int64_t id, bool *exists);
int64_t vindex__ingest_next_id(const struct ingest *ingest);

/**
 * Check that inserting these ids with these flags can succeed (flags 0: none exists, none twice). Lets a
 * caller that inserts in pieces fail before the first.
 */
vindex_status vindex__ingest_may_insert(struct ingest *ingest, const int64_t *ids, size_t n,
                                        uint32_t flags);

/**
 * After a commit: the marks it led from and to, and the ids whose tail records it wrote or deleted (borrowed, may
 * repeat). false: too many to tell, or nothing was committed.
 */
bool vindex__ingest_tail_changes(const struct ingest *ingest, uint64_t *from, uint64_t *to,
                                 const int64_t **ids, size_t *n);

/** Publish. On failure nothing is published; VINDEX_FULL and VINDEX_IO may be tried again. */
vindex_status vindex__ingest_commit(struct ingest *ingest);

/**
 * Move the rows of segments that are due into this transaction's buffer, and seal: segments with more than
 * 25 % dead rows and runs of small ones, at most max_bytes of rows. all: every segment that is not full and live.
 * The tail is sealed as well. *more = something is still due.
 */
vindex_status vindex__ingest_maintain(struct ingest *ingest, bool all, uint64_t max_bytes, bool *more);

/* ---- derived planes (codes.c): training itself is train.h ----------------------------------------- */

struct trained;

/**
 * Whether to train: no model yet, or twice the rows it was trained on; never below some thousand rows. again: also
 * where there is a good one. Reads through a view of its own.
 */
vindex_status vindex__train_is_due(struct session *session, bool again, bool *is_due);
/** Put a model in place of the one there was; the segments' codes are then of another model, until encoded. */
vindex_status vindex__ingest_put_model(struct ingest *ingest, const struct trained *trained);
/**
 * Encode segments after *after (0: all) that have no codes of the model, max_bytes of rows at least and a segment more at most.
 * *after moves on, *n_done counts segments, *more = there are others.
 */
vindex_status vindex__ingest_encode(struct ingest *ingest, uint64_t max_bytes, uint64_t *after,
                                    uint64_t *n_done, bool *more);
/**
 * Drop what is damaged of model, codes and audits, codes that lack a block or a segment with it: what encode and training
 * then make anew. checksum: look at every byte of the codes, not only whether their blocks are there. (repair.c)
 */
vindex_status vindex__ingest_drop_damaged(struct ingest *ingest, bool checksum);
/** Put audits in place of those there were: entries as the record says, its nonce given anew; n 0: none. */
vindex_status vindex__ingest_put_audits(struct ingest *ingest, const struct audits_record *audits,
                                        const void *entries);

/** Share encoding, where rows are sealed as well, with the threads of a pool (borrowed). Before any other call. */
void vindex__ingest_set_pool(struct ingest *ingest, struct pool *pool);

/** Whether segments get a plane of 8-bit codes. */
bool vindex__has_c8(const struct config *config);

/** FORMAT.md 4: the norm kept beside a row. */
float vindex__row_norm(const struct config *config, const void *row);

#endif
