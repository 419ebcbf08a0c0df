/*
 * store.h - the door of storage/: open a store (an LMDB file or memory), open sessions on it, take its
 * snapshots. A store may be shared by threads, a session belongs to one thread at a time.
 */
#ifndef VINDEX_STORAGE_STORE_H
#define VINDEX_STORAGE_STORE_H

#include "storage/blocks.h"
#include "storage/catalog.h"
#include "storage/record.h"

struct store;

/** What one user of a store works with: a catalog and a block store that share one read view. */
struct session {
    struct catalog *catalog;
    struct blocks *blocks;
};

/** ":memory:" or a file that must not exist. Writes config and a fresh state record. */
vindex_status vindex__store_create(const char *path, const struct config *config,
                                   struct store **store);
/** Verifies a file that was not closed cleanly (pages.h) before LMDB maps it. */
vindex_status vindex__store_open(const char *path, bool readonly, struct store **store);
/**
 * A store over a catalog and blocks of another owner (SQLite shadow tables), borrowed until store_close. It has
 * one session, which is that catalog and those blocks: reads see what it has put, commit does what the
 * owner's commit does. No locks, no files: the owner serialises.
 */
vindex_status vindex__store_foreign(struct catalog *catalog, struct blocks *blocks,
                                    struct store **store);
/** Write the config and fresh state records of a new store through a catalog; the caller commits. */
vindex_status vindex__store_format(struct catalog *catalog, const struct config *config);
/** The config and state records (state may be NULL) as the catalog's view shows them; a missing one is CORRUPT. */
vindex_status vindex__read_head(struct catalog *catalog, struct config *config, struct state *state);
/** Forget cached snapshots: the owner rolled back. */
void vindex__store_forget(struct store *store);

/** All sessions must be closed. Leaves a clean token. In a forked child it only frees. */
void vindex__store_close(struct store *store);

bool vindex__store_readonly(const struct store *store);
/** VINDEX_MISUSE in a child of the process that opened the store. */
vindex_status vindex__store_check_fork(const struct store *store);
/** True if block checksums must be verified at first touch: the file was not closed cleanly. */
bool vindex__store_suspect(const struct store *store);
/** All of them were verified, and are right: the store is no longer suspect. */
void vindex__store_set_verified(struct store *store);

/** write: may put, delete and commit; takes the writer lock, VINDEX_BUSY when another holds it. */
vindex_status vindex__session_open(struct store *store, bool write, struct session *session);
void vindex__session_close(struct store *store, struct session *session);

/** File (or heap) bytes, and those in use. */
vindex_status vindex__store_sizes(struct store *store, struct session *session, uint64_t *size_bytes,
                                  uint64_t *used_bytes);

/** Walk every page (nothing to do in memory); each finding goes to `finding`. */
vindex_status vindex__store_check_pages(struct store *store, vindex_finding_fn *finding,
                                        void *context);

/* The store keeps one current snapshot for snapshot.c; freed by store_close. */
struct snapshot_cache;
struct snapshot_cache *vindex__store_snapshot_cache(struct store *store);

#endif
