/*
 * env.h - LMDB environments: one for each file in a process, opened only after its pages are known to be
 * sound, with the locks between processes, the map's growth and the fork rule.
 *
 * A view is a read transaction that is renewed for each call. A write transaction lives inside one call
 * (vindex__env_write), since LMDB's writer mutex belongs to a thread.
 */
#ifndef VINDEX_STORAGE_ENV_H
#define VINDEX_STORAGE_ENV_H

#include <lmdb.h>

#include "base/bytes.h"
#include "vindex.h"

#define ENV_DBI 1u /* LMDB's number of the unnamed database; mdb_dbi_open always gives it */

struct env;

/** Work in a write transaction. An LMDB code goes to *rc (the return value is then not looked at). May
 *  be called again after the map grew: it must leave its inputs as they were. */
typedef vindex_status vindex__env_work_fn(void *context, MDB_txn *txn, int *rc);

/** Make a file that does not exist; `fill` writes its first commit. A failure leaves no file. */
vindex_status vindex__env_create(const char *path, vindex__env_work_fn *fill, void *context,
                                 struct env **env);
/** Open, or share what this process has open. Each needs its own close. */
vindex_status vindex__env_open(const char *path, bool readonly, struct env **env);
/** The last close leaves a clean token. In a forked child it only frees. NULL is accepted. */
void vindex__env_close(struct env *env);

/** VINDEX_MISUSE in a child of the process that opened the environment. */
vindex_status vindex__env_check_fork(const struct env *env);
/** Not closed cleanly, and not every block's checksum was verified since. */
bool vindex__env_is_suspect(const struct env *env);
void vindex__env_clear_suspect(struct env *env);
int vindex__env_fd(const struct env *env);
const char *vindex__env_path(const struct env *env);
/** Of the file. */
vindex_status vindex__env_size(const struct env *env, uint64_t *size_bytes);

/** The one writer of the file among all processes: at once, or VINDEX_BUSY. */
vindex_status vindex__env_lock_writer(struct env *env);
void vindex__env_unlock_writer(struct env *env);

/** A read transaction of one session, in the environment's list. */
struct view {
    struct env *env;
    MDB_txn *txn;       /* kept from begin to begin with its slot in the reader table */
    MDB_cursor *cursor; /* of txn */
    bool is_open;
    uint64_t stamp; /* of the last begin; moves with every commit and whenever the map moves */
    struct view *next, *previous;
};

void vindex__view_init(struct view *view, struct env *env);
void vindex__view_deinit(struct view *view);
/** Begin, or end and begin anew. */
vindex_status vindex__view_begin(struct view *view);
void vindex__view_end(struct view *view);

/**
 * Run `work` in one write transaction and commit it. The caller holds the writer lock. Where the map must
 * grow, `own` (the caller's view, may be NULL) is ended and begun anew, and work runs again.
 */
vindex_status vindex__env_write(struct env *env, struct view *own, vindex__env_work_fn *work,
                                void *context);

/** The same within the map as it is: views stay. *is_done false: a larger map is needed, nothing written. */
vindex_status vindex__env_write_in_place(struct env *env, vindex__env_work_fn *work, void *context,
                                         bool *is_done);
/** Before a view begins: try to have this much of the map free. */
void vindex__env_make_room(struct env *env, uint64_t bytes);

/** A failure of LMDB as a status. Never VINDEX_OK. */
vindex_status vindex__env_fail(const struct env *env, int rc, const char *what);

/** Tests only, not while environments are being opened. */
struct env_hooks {
    uint64_t map_bytes;     /* the first map; 0: 1 TiB */
    uint64_t map_bytes_max; /* a larger map fails; 0: no limit */
    uint32_t patience_ms;   /* of views that stand in the way of the map's growth; 0: the default */
    bool no_lock_file;      /* as if the lock file could not be opened, for readers */
    bool no_write;          /* as if files could not be opened for writing */
};
extern struct env_hooks vindex__env_hooks;

#endif
