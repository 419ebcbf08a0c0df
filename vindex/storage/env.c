/*
 * env.c - the registry of LMDB environments: making, opening, sharing, replacing and closing them. What goes on inside
 * an open one is in transactions.c.
 *
 *     registry --> env (dev, ino) --> env ...        one mutex; an env is opened and closed under it
 *                   |-- fd      our own descriptor: locks, walk, token (trust.c); never LMDB's
 *                   |-- mdb     LMDB's environment, replaced as a whole when the map grows
 *                   |-- gate    inside: every view from begin to end, every write transaction; alone:
 *                   |           who replaces mdb
 *                   `-- views   one a session; their transactions die with mdb and come back at begin
 *
 * Why mdb is replaced and not just given a larger map: mdb_env_set_mapsize that fails leaves LMDB 0.9
 * without a map, and then every read dies.
 *
 * The lock file's name is the data file's, so it may belong to another file: one that was renamed away
 * or deleted while a process had it open. Whoever is alone on the data file and finds the lock file in
 * use removes it, and LMDB makes a new one.
 */
#include "storage/env_body.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/status.h"
#include "storage/trust.h"

#define MAP_BYTES (UINT64_C(1) << 40) /* only address space: opening takes no longer for it */
#define MAP_SPARE (UINT64_C(1) << 20)
enum {
    READERS_MAX = 1022, /* sessions that have read, in all processes: a lock file of 64 KiB */
    FULL_BYTES = 1 << 20 /* a disk with less left is called full */
};

struct env_hooks vindex__env_hooks;

static struct {
    pthread_mutex_t mutex;
    struct env *first;
} registry = {PTHREAD_MUTEX_INITIALIZER, NULL};

/* In a forked child the parent's environments are not ours, and the mutex may have been held. */
static void forget_parent(void)
{
    pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;
    registry.mutex = fresh;
    registry.first = NULL;
}

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, forget_parent);
}

static void lock_registry(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    pthread_mutex_lock(&registry.mutex);
}

vindex_status vindex__env_check_fork(const struct env *env)
{
    if (!env_is_forked(env)) return VINDEX_OK;
    return vindex__fail(VINDEX_MISUSE, "%s was opened before fork; open it again in this process",
                        env->path);
}

bool vindex__env_is_suspect(const struct env *env)
{
    return atomic_load_explicit(&env->is_suspect, memory_order_acquire);
}

void vindex__env_clear_suspect(struct env *env)
{
    atomic_store_explicit(&env->is_suspect, false, memory_order_release);
}

int vindex__env_fd(const struct env *env)
{
    return env->fd;
}

const char *vindex__env_path(const struct env *env)
{
    return env->path;
}

vindex_status vindex__env_size(const struct env *env, uint64_t *size_bytes)
{
    struct stat info;
    if (fstat(env->fd, &info) != 0) return vindex__fail_errno(errno, "reading", env->path);
    *size_bytes = (uint64_t)info.st_size;
    return VINDEX_OK;
}

/* ---- failures ---------------------------------------------------------------------------- */

/* LMDB turns a short write into EIO: was it for want of space? */
static bool is_full(const struct env *env)
{
    struct statvfs space;
    struct rlimit limit;
    uint64_t size_bytes = 0;

    if (fstatvfs(env->fd, &space) == 0 && (uint64_t)space.f_bavail * space.f_frsize < FULL_BYTES)
        return true;
    return getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
           vindex__env_size(env, &size_bytes) == VINDEX_OK && size_bytes >= limit.rlim_cur;
}

vindex_status vindex__env_fail(const struct env *env, int rc, const char *what)
{
    switch (rc) {
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_INCOMPATIBLE: return vindex__corrupt("%s %s: %s", what, env->path, mdb_strerror(rc));
    case MDB_VERSION_MISMATCH:
        return vindex__fail(VINDEX_UNSUPPORTED,
                            "%s %s: the file or its lock file is of another LMDB "
                            "version",
                            what, env->path);
    case MDB_READERS_FULL:
        return vindex__fail(VINDEX_BUSY, "%s %s: %d searchers are open already", what, env->path,
                            READERS_MAX);
    case MDB_PANIC:
        return vindex__fail(VINDEX_IO,
                            "%s %s: an earlier write of its meta page failed; close it and "
                            "open it again",
                            what, env->path);
    case MDB_MAP_FULL:
    case MDB_MAP_RESIZED:
        return vindex__fail(VINDEX_FULL, "%s %s: no address space for more than %" PRIu64 " bytes",
                            what, env->path, env->map_bytes);
    case EAGAIN: /* LMDB's reader lock: the same process number in another container */
        return vindex__fail(VINDEX_BUSY,
                            "%s %s: another container has a process with this number open", what,
                            env->path);
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return vindex__fail(VINDEX_FULL, "%s %s: no space left", what, env->path);
    case EIO:
        if (is_full(env)) return vindex__fail(VINDEX_FULL, "%s %s: no space left", what, env->path);
        return vindex__fail_errno(rc, what, env->path);
    case ENOMEM: return vindex__nomem();
    default:
        if (rc > 0) return vindex__fail_errno(rc, what, env->path);
        return vindex__fail(VINDEX_INTERNAL, "%s %s: %s", what, env->path, mdb_strerror(rc));
    }
}

/* ---- opening LMDB ------------------------------------------------------------------------ */

static vindex_status lock_path(const struct env *env, char *path, size_t size)
{
    if (snprintf(path, size, "%s-lock", env->path) < (int)size) return VINDEX_OK;
    return vindex__fail(VINDEX_INVALID, "%s: the name is too long", env->path);
}

/* The file LMDB opened by name must be the one that was verified. */
static vindex_status check_identity(struct env *env)
{
    struct stat info;
    int fd = -1;

    if (mdb_env_get_fd(env->mdb, &fd) != 0 || fstat(fd, &info) != 0)
        return vindex__fail_errno(errno, "opening", env->path);
    if (info.st_dev != env->device || info.st_ino != env->inode)
        return vindex__fail(VINDEX_IO, "%s was replaced while it was being opened", env->path);
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) return vindex__fail_errno(errno, "opening", env->path);
    return VINDEX_OK;
}

/* LMDB sets the order of keys when the database is first named. */
static int name_database(MDB_env *mdb)
{
    MDB_txn *txn = NULL;
    MDB_dbi dbi;
    int rc = mdb_txn_begin(mdb, NULL, MDB_RDONLY, &txn);
    if (rc == 0) rc = mdb_dbi_open(txn, NULL, 0, &dbi);
    if (rc == 0)
        rc = mdb_txn_commit(txn);
    else
        mdb_txn_abort(txn);
    return rc;
}

static vindex_status finish_opening(struct env *env)
{
    char path[PATH_MAX];
    MDB_envinfo info;
    MDB_stat stat_main;
    struct stat lock;
    vindex_status st = check_identity(env);
    int rc;

    if (st != VINDEX_OK) return st;
    mdb_env_info(env->mdb, &info);
    mdb_env_stat(env->mdb, &stat_main);
    env->map_bytes = info.me_mapsize;
    env->page_bytes = stat_main.ms_psize;
    env->lock_inode = 0;
    st = lock_path(env, path, sizeof path);
    if (st != VINDEX_OK) return st;
    if (!env->has_no_lock_file && stat(path, &lock) == 0) env->lock_inode = lock.st_ino;
    if (!env->has_no_lock_file) mdb_reader_check(env->mdb, NULL);
    rc = name_database(env->mdb);
    return rc ? vindex__env_fail(env, rc, "opening") : VINDEX_OK;
}

static int try_open(struct env *env, uint64_t map_bytes, unsigned flags)
{
    MDB_env *mdb = NULL;
    int rc;

    if (vindex__env_hooks.map_bytes_max && map_bytes > vindex__env_hooks.map_bytes_max)
        return ENOMEM;
    if (vindex__env_hooks.no_lock_file && (flags & (MDB_RDONLY | MDB_NOLOCK)) == MDB_RDONLY)
        return EACCES;
    rc = mdb_env_create(&mdb);
    if (rc == 0) rc = mdb_env_set_maxreaders(mdb, READERS_MAX);
    if (rc == 0) rc = mdb_env_set_mapsize(mdb, map_bytes);
    if (rc == 0) rc = mdb_env_open(mdb, env->path, MDB_NOSUBDIR | MDB_NOTLS | flags, 0644);
    if (rc == 0)
        env->mdb = mdb;
    else
        mdb_env_close(mdb);
    return rc;
}

/* With a map of at most map_bytes, or what the process has address space for. */
static vindex_status open_mdb(struct env *env, uint64_t map_bytes, bool readonly)
{
    unsigned flags = readonly ? MDB_RDONLY : 0;
    uint64_t least;
    vindex_status st = vindex__env_size(env, &least);
    int rc;

    if (st != VINDEX_OK) return st;
    least += MAP_SPARE;
    if (map_bytes < least) map_bytes = least;
    env->has_no_lock_file = false;
    for (;;) {
        rc = try_open(env, map_bytes, flags);
        if ((rc == ENOMEM || rc == EINVAL) && map_bytes > least) {
            map_bytes = map_bytes / 2 > least ? map_bytes / 2 : least;
        } else if (readonly && (rc == EACCES || rc == EROFS || rc == EPERM) &&
                   !(flags & MDB_NOLOCK)) {
            vindex__log("%s-lock cannot be written: reading without it, while nobody writes",
                        env->path);
            flags |= MDB_NOLOCK;
            env->has_no_lock_file = true;
        } else {
            break;
        }
    }
    if (rc) return vindex__env_fail(env, rc, "opening");
    env->is_readonly = readonly;
    st = finish_opening(env);
    if (st != VINDEX_OK) {
        mdb_env_close(env->mdb);
        env->mdb = NULL;
    }
    return st;
}

/* ---- a lock file that is not ours -------------------------------------------------------- */

/* Whether another environment of this process uses it. Looked at first: a descriptor opened and closed on
   it would drop this process's locks (POSIX). */
static bool lock_file_is_used_here(const struct stat *lock)
{
    for (const struct env *e = registry.first; e; e = e->next)
        if (e->device == lock->st_dev && e->lock_inode == lock->st_ino) return true;
    return false;
}

static bool lock_file_is_used_elsewhere(const char *path)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool is_used = fd >= 0 && fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    if (fd >= 0) close(fd);
    return is_used;
}

/* We are alone on the data file: whoever uses the lock file of its name uses another data file. */
static void drop_foreign_lock_file(const struct env *env)
{
    char path[PATH_MAX];
    struct stat lock;

    if (lock_path(env, path, sizeof path) != VINDEX_OK || lstat(path, &lock) != 0) return;
    if (!S_ISREG(lock.st_mode)) return;
    if (!lock_file_is_used_here(&lock) && !lock_file_is_used_elsewhere(path)) return;
    vindex__log("%s belongs to another file of that name: making a new one", path);
    unlink(path);
}

/* ---- the object -------------------------------------------------------------------------- */

static vindex_status env_new(const char *path, int fd, bool fd_is_writable, const struct stat *info,
                             struct env **result)
{
    char resolved[PATH_MAX];
    struct env *env = NULL;
    size_t size;

    if (!realpath(path, resolved)) return vindex__fail_errno(errno, "opening", path);
    size = strlen(resolved) + 1;
    env = vindex__calloc(1, sizeof *env + size);
    if (!env) return vindex__nomem();
    if (!vindex__gate_init(&env->gate) || pthread_mutex_init(&env->mutex, NULL) != 0) {
        vindex__free(env);
        return vindex__nomem();
    }
    if (vindex__env_hooks.patience_ms) env->gate.patience_ms = vindex__env_hooks.patience_ms;
    env->path = memcpy(env + 1, resolved, size);
    env->device = info->st_dev;
    env->inode = info->st_ino;
    env->pid = getpid();
    env->n_users = 1;
    env->fd = fd;
    env->fd_is_writable = fd_is_writable;
    *result = env;
    return VINDEX_OK;
}

/* In a forked child LMDB's part is the parent's; the descriptor is a copy, and its locks stay. */
static void env_free(struct env *env)
{
    if (!env) return;
    if (!env_is_forked(env)) {
        if (env->mdb) mdb_env_close(env->mdb);
        vindex__gate_deinit(&env->gate);
        pthread_mutex_destroy(&env->mutex);
    }
    if (env->fd >= 0) close(env->fd);
    vindex__free(env);
}

static uint64_t first_map_bytes(void)
{
    return vindex__env_hooks.map_bytes ? vindex__env_hooks.map_bytes : MAP_BYTES;
}

static void enlist(struct env *env)
{
    env->next = registry.first;
    registry.first = env;
}

static void delist(const struct env *env)
{
    for (struct env **link = &registry.first; *link; link = &(*link)->next)
        if (*link == env) {
            *link = env->next;
            return;
        }
}

/* ---- create ------------------------------------------------------------------------------ */

static vindex_status sync_directory(const struct env *env)
{
    char path[PATH_MAX];
    int fd, error = 0;

    snprintf(path, sizeof path, "%s", env->path); /* dirname writes to it; it fitted realpath */
    fd = open(dirname(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return vindex__fail_errno(errno, "opening the directory of", env->path);
    if (fsync(fd) != 0 && errno != EINVAL)
        error = errno; /* EINVAL: directories need no sync there */
    close(fd);
    return error ? vindex__fail_errno(error, "syncing the directory of", env->path) : VINDEX_OK;
}

static vindex_status create_in(struct env *env, vindex__env_work_fn *fill, void *context)
{
    struct trust trust = {.fd = env->fd, .path = env->path, .is_writable = true};
    vindex_status st = vindex__trust_enter_new(&trust);

    if (st != VINDEX_OK) return st;
    drop_foreign_lock_file(env);
    st = open_mdb(env, first_map_bytes(), false);
    if (st == VINDEX_OK) st = vindex__env_write(env, NULL, fill, context);
    if (st == VINDEX_OK) st = sync_directory(env);
    if (st == VINDEX_OK) st = vindex__trust_share(&trust);
    return st;
}

/* The file was ours alone, and nobody can have used it. */
static void remove_files(const char *path)
{
    char lock[PATH_MAX];

    unlink(path);
    if (snprintf(lock, sizeof lock, "%s-lock", path) < (int)sizeof lock) unlink(lock);
}

vindex_status vindex__env_create(const char *path, vindex__env_work_fn *fill, void *context,
                                 struct env **result)
{
    struct env *env = NULL;
    struct stat info;
    vindex_status st;
    int fd;

    *result = NULL;
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, 0644);
    if (fd < 0) return vindex__fail_errno(errno, "creating", path);
    lock_registry();
    st = fstat(fd, &info) == 0 ? VINDEX_OK : vindex__fail_errno(errno, "creating", path);
    if (st == VINDEX_OK) st = env_new(path, fd, true, &info, &env);
    if (st == VINDEX_OK) st = create_in(env, fill, context);
    if (st == VINDEX_OK) {
        enlist(env);
        *result = env;
    } else {
        remove_files(path);
        if (env)
            env_free(env);
        else
            close(fd);
    }
    pthread_mutex_unlock(&registry.mutex);
    return st;
}

/* ---- open -------------------------------------------------------------------------------- */

static bool may_only_read(int error)
{
    return error == EACCES || error == EPERM || error == EROFS || error == ETXTBSY;
}

/* Writable where that is permitted, also for readers: only a writable descriptor can hold the open lock
   alone. A reader never writes through it. */
static vindex_status open_file(const char *path, bool readonly, int *fd, bool *is_writable,
                               struct stat *info)
{
    *fd = -1;
    if (stat(path, info) != 0) return vindex__fail_errno(errno, "opening", path);
    if (S_ISDIR(info->st_mode))
        return vindex__fail(VINDEX_INVALID, "%s is a directory, not an index file", path);
    if (!S_ISREG(info->st_mode))
        return vindex__fail(VINDEX_NOTINDEX, "%s is no regular file", path);

    errno = EACCES;
    if (!vindex__env_hooks.no_write) *fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    *is_writable = *fd >= 0;
    if (*fd < 0 && may_only_read(errno)) {
        if (!readonly)
            return vindex__fail(VINDEX_READONLY, "%s may only be read: open it for reading only",
                                path);
        *fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    }
    if (*fd < 0) return vindex__fail_errno(errno, "opening", path);
    if (fstat(*fd, info) != 0) return vindex__fail_errno(errno, "opening", path);
    if (!S_ISREG(info->st_mode))
        return vindex__fail(VINDEX_NOTINDEX, "%s is no regular file", path);
    return VINDEX_OK;
}

static vindex_status open_first(struct env *env, bool readonly)
{
    struct trust trust = {.fd = env->fd, .path = env->path, .is_writable = env->fd_is_writable};
    vindex_status st = vindex__trust_enter(&trust);

    if (st != VINDEX_OK) return st;
    atomic_store(&env->is_suspect, trust.is_suspect);
    if (trust.is_alone) drop_foreign_lock_file(env);
    st = open_mdb(env, first_map_bytes(), readonly);
    if (st == VINDEX_OK) st = vindex__trust_share(&trust);
    return st;
}

static struct env *find(const struct stat *info)
{
    for (struct env *env = registry.first; env; env = env->next)
        if (env->device == info->st_dev && env->inode == info->st_ino) return env;
    return NULL;
}

/* Open for reading so far, and now somebody will write. */
static vindex_status make_writable(struct env *env)
{
    if (!env->fd_is_writable)
        return vindex__fail(
            VINDEX_BUSY, "%s is open for reading in this process: close it there first", env->path);
    return vindex__env_replace(env, env->generation, env->map_bytes, false);
}

vindex_status vindex__env_open(const char *path, bool readonly, struct env **result)
{
    struct env *env = NULL;
    struct stat info;
    bool is_writable = false;
    vindex_status st;
    int fd = -1;

    *result = NULL;
    lock_registry();
    st = open_file(path, readonly, &fd, &is_writable, &info);
    if (st != VINDEX_OK) goto out;
    env = find(&info);
    if (env) {
        if (env->is_readonly && !readonly) st = make_writable(env);
        if (st == VINDEX_OK) env->n_users++;
        goto out;
    }
    if (info.st_nlink > 1)
        vindex__log("%s has %ju names: open it under one of them only", path,
                    (uintmax_t)info.st_nlink);
    st = env_new(path, fd, is_writable, &info, &env);
    if (st != VINDEX_OK) goto out;
    fd = -1; /* the environment's now */
    st = open_first(env, readonly);
    if (st == VINDEX_OK) {
        enlist(env);
    } else {
        env_free(env);
        env = NULL;
    }
out:
    if (st == VINDEX_OK) *result = env;
    if (fd >= 0) close(fd);
    pthread_mutex_unlock(&registry.mutex);
    return st;
}

void vindex__env_close(struct env *env)
{
    if (!env) return;
    lock_registry();
    if (--env->n_users == 0) {
        if (!env_is_forked(env)) {
            delist(env);
            if (env->mdb) mdb_env_close(env->mdb);
            env->mdb = NULL;
            if (!env->is_readonly && !env->has_failed)
                vindex__trust_leave_token(env->fd, vindex__env_is_suspect(env));
        }
        env_free(env);
    }
    pthread_mutex_unlock(&registry.mutex);
}

/* ---- replacing LMDB's environment -------------------------------------------------------- */

/* Nobody is inside the gate. */
static vindex_status replace_alone(struct env *env, uint64_t map_bytes, bool readonly)
{
    uint64_t old_bytes = env->map_bytes;
    bool was_readonly = env->is_readonly;
    vindex_status st;

    pthread_mutex_lock(&env->mutex);
    for (struct view *view = env->views; view; view = view->next)
        vindex__view_drop(view);
    pthread_mutex_unlock(&env->mutex);

    env->generation++;
    if (env->mdb) mdb_env_close(env->mdb);
    env->mdb = NULL;
    st = open_mdb(env, map_bytes, readonly);
    if (st != VINDEX_OK && open_mdb(env, old_bytes, was_readonly) != VINDEX_OK)
        vindex__log("%s cannot be opened again; close it", env->path);
    return st;
}

vindex_status vindex__env_replace(struct env *env, uint32_t generation, uint64_t map_bytes,
                                  bool readonly)
{
    vindex_status st = VINDEX_OK;

    if (!vindex__gate_close(&env->gate))
        return vindex__fail(VINDEX_BUSY,
                            "%s: a search that does not end keeps its map from growing", env->path);
    if (env->generation == generation) st = replace_alone(env, map_bytes, readonly);
    vindex__gate_open(&env->gate);
    return st;
}
