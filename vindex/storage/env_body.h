/*
 * env_body.h - private to env.c and transactions.c: the environment itself.
 */
#ifndef VINDEX_STORAGE_ENV_BODY_H
#define VINDEX_STORAGE_ENV_BODY_H

#include "storage/env.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>
#include <unistd.h>

#include "storage/gate.h"

struct env {
    struct env *next; /* in the registry */
    dev_t device;
    ino_t inode;
    _Atomic ino_t lock_inode; /* of the lock file */
    pid_t pid;
    uint32_t n_users;
    char *path; /* without symbolic links: the lock file's name depends on it */
    int fd;
    bool fd_is_writable;
    bool is_readonly; /* mdb is */
    _Atomic bool is_suspect;

    struct gate gate;
    MDB_env *mdb; /* NULL: could not be replaced */
    bool has_no_lock_file;
    uint32_t page_bytes;
    _Atomic uint64_t map_bytes;
    uint32_t generation; /* of mdb */

    pthread_mutex_t mutex; /* of what follows */
    struct view *views;
    bool has_writer;
    bool has_failed; /* the last commit did: the file may be in any state LMDB leaves then */
    uint32_t n_commits;
};

static inline bool env_is_forked(const struct env *env)
{
    return getpid() != env->pid;
}

/** Close LMDB's environment and open it again with another map or for writing, unless somebody did since
 *  `generation`. The caller is outside the gate; BUSY where a view does not end. */
vindex_status vindex__env_replace(struct env *env, uint32_t generation, uint64_t map_bytes,
                                  bool readonly);

/** Forget a view's transaction: it dies with LMDB's environment. */
void vindex__view_drop(struct view *view);

#endif
