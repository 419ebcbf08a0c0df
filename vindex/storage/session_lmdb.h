/*
 * session_lmdb.h - what catalog_lmdb.c and blocks_lmdb.c share: one session on an LMDB file. The catalog and
 * the block store of a session see one view; its changes wait in memory and go out in one transaction.
 */
#ifndef VINDEX_STORAGE_SESSION_LMDB_H
#define VINDEX_STORAGE_SESSION_LMDB_H

#include "base/ordmap.h"
#include "storage/blocks.h"
#include "storage/catalog.h"
#include "storage/env.h"
#include "storage/store.h"

/* 32 MiB: a commit's fixed cost (two syncs) is small beside writing that much, and heap use is bounded. */
#define PENDING_BYTES_MAX (32u << 20)

struct lmdb_session {
    struct catalog catalog; /* first: a catalog handed out is its session */
    struct blocks blocks;
    struct env *env;
    struct view view;
    bool is_writer;
    /* of a writer, else NULL */
    struct ordmap *changes; /* overlay.h */
    struct ordmap *puts;    /* LMDB key of a block -> its value */
    struct ordmap *dels;    /* LMDB keys of blocks */
};

vindex_status vindex__lmdb_session_open(struct env *env, bool is_writer, struct session *session);
/** In a forked child it only frees. */
void vindex__lmdb_session_close(struct session *session);
/** Bytes of pages in use, as of a view of its own if none is open. */
vindex_status vindex__lmdb_session_used(struct session *session, uint64_t *used_bytes);

extern const struct blocks_ops vindex__lmdb_blocks_ops;

/** Part of a commit: blocks put and deleted. */
int vindex__lmdb_apply_blocks(const struct lmdb_session *session, MDB_txn *txn);

/** VINDEX_MISUSE unless the session may write. */
vindex_status vindex__lmdb_check_writer(const struct lmdb_session *session);
/** VINDEX_MISUSE unless its view is open. */
vindex_status vindex__lmdb_check_view(const struct lmdb_session *session);

#endif
