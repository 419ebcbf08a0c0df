/*
 * transactions.c - reading and writing inside an open environment: views, the writer lock, write transactions, and
 * the map that grows under them. env.c is the environment's life, env_body.h its parts.
 */
#include <errno.h>
#include <inttypes.h>

#include "base/status.h"
#include "storage/env_body.h"
#include "storage/trust.h"

enum { READER_CHECK_COMMITS = 64, GROW_TRIES = 48 };

/* ---- the map ------------------------------------------------------------------------------- */

/* What a user of the map saw inside the gate. */
struct map_seen {
    uint32_t generation;
    uint64_t map_bytes;
    bool readonly;
};

static struct map_seen see_map(const struct env *env)
{
    struct map_seen seen = {env->generation, env->map_bytes, env->is_readonly};
    return seen;
}

static vindex_status grow_map(struct env *env, struct map_seen seen)
{
    return vindex__env_replace(env, seen.generation, 2 * seen.map_bytes, seen.readonly);
}

/* ---- views ------------------------------------------------------------------------------- */

void vindex__view_drop(struct view *view)
{
    if (view->cursor) mdb_cursor_close(view->cursor);
    if (view->txn) mdb_txn_abort(view->txn);
    view->cursor = NULL;
    view->txn = NULL;
}

void vindex__view_init(struct view *view, struct env *env)
{
    memset(view, 0, sizeof *view);
    view->env = env;
    pthread_mutex_lock(&env->mutex);
    view->next = env->views;
    if (view->next) view->next->previous = view;
    env->views = view;
    pthread_mutex_unlock(&env->mutex);
}

void vindex__view_deinit(struct view *view)
{
    struct env *env = view->env;

    if (!env || env_is_forked(env)) return;
    vindex__view_end(view);
    vindex__gate_enter(
        &env->gate); /* the transaction belongs to mdb, which must not be replaced now */
    vindex__view_drop(view);
    pthread_mutex_lock(&env->mutex);
    if (view->next) view->next->previous = view->previous;
    if (view->previous)
        view->previous->next = view->next;
    else
        env->views = view->next;
    pthread_mutex_unlock(&env->mutex);
    vindex__gate_leave(&env->gate);
    view->env = NULL;
}

static int renew_once(struct view *view)
{
    struct env *env = view->env;
    int rc;

    if (!env->mdb) return MDB_PANIC;
    if (view->txn) {
        rc = mdb_txn_renew(view->txn);
        return rc ? rc : mdb_cursor_renew(view->txn, view->cursor);
    }
    rc = mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, &view->txn);
    if (rc == MDB_READERS_FULL) { /* perhaps with slots of processes that died */
        mdb_reader_check(env->mdb, NULL);
        rc = mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, &view->txn);
    }
    if (rc) {
        view->txn = NULL;
        return rc;
    }
    rc = mdb_cursor_open(view->txn, ENV_DBI, &view->cursor);
    if (rc) {
        view->cursor = NULL;
        vindex__view_drop(view);
    }
    return rc;
}

/* LMDB 0.9 reads the number of the newest transaction, then copies the roots from that number's meta page.
   Two commits in between, and the page is the second one's: newer than its number says, perhaps not yet
   durable, and the next view may be older. */
static bool is_overtaken(const struct view *view)
{
    MDB_envinfo info;
    return mdb_env_info(view->env->mdb, &info) == 0 &&
           info.me_last_txnid > mdb_txn_id(view->txn) + 1;
}

static int renew(struct view *view)
{
    int rc = renew_once(view);
    while (rc == 0 && is_overtaken(view)) {
        mdb_txn_reset(view->txn);
        rc = renew_once(view);
    }
    return rc;
}

/* Without LMDB's reader table no writer knows of us. */
static vindex_status check_unseen(const struct env *env)
{
    if (!env->has_no_lock_file || !vindex__trust_has_writer(env->fd)) return VINDEX_OK;
    return vindex__fail(VINDEX_BUSY,
                        "a writer is at work on %s, and %s-lock cannot be written: readers "
                        "and writer need it",
                        env->path, env->path);
}

vindex_status vindex__view_begin(struct view *view)
{
    struct env *env = view->env;
    vindex_status st = vindex__env_check_fork(env);
    int rc = 0;

    if (st != VINDEX_OK) return st;
    vindex__view_end(view);
    for (int tries = 0; st == VINDEX_OK && tries < GROW_TRIES; tries++) {
        struct map_seen seen;
        vindex__gate_enter(&env->gate);
        st = check_unseen(env);
        rc = st == VINDEX_OK ? renew(view) : 0;
        if (st == VINDEX_OK && rc == 0) {
            view->is_open = true;
            view->stamp = mdb_txn_id(view->txn) + ((uint64_t)env->generation << 48);
            return VINDEX_OK;
        }
        seen = see_map(env);
        vindex__gate_leave(&env->gate);
        if (st == VINDEX_OK && rc != MDB_MAP_RESIZED) break;
        if (st == VINDEX_OK)
            st = grow_map(env, seen); /* another process has made the file larger */
    }
    return st != VINDEX_OK ? st : vindex__env_fail(env, rc, "reading");
}

void vindex__view_end(struct view *view)
{
    if (!view->is_open || env_is_forked(view->env)) return;
    mdb_txn_reset(view->txn);
    view->is_open = false;
    vindex__gate_leave(&view->env->gate);
}

/* ---- writing ----------------------------------------------------------------------------- */

/* The file's length covers every page LMDB has numbered: nothing it may ever map lies beyond the end. The
   writer lock is held (or the open lock alone), so nobody else changes the length. The commit is made:
   a failure is no failure of it. */
static void extend_file(struct env *env)
{
    MDB_envinfo info;
    uint64_t size_bytes = 0, need;

    if (!env->mdb || mdb_env_info(env->mdb, &info) != 0) return;
    need = ((uint64_t)info.me_last_pgno + 1) * env->page_bytes;
    if (vindex__env_size(env, &size_bytes) != VINDEX_OK || size_bytes >= need) return;
    if (ftruncate(env->fd, (off_t)need) != 0)
        vindex__log("%s cannot be extended to %" PRIu64 " bytes", env->path, need);
}

vindex_status vindex__env_lock_writer(struct env *env)
{
    vindex_status st = vindex__env_check_fork(env);

    if (st != VINDEX_OK) return st;
    vindex__gate_enter(&env->gate);
    pthread_mutex_lock(&env->mutex);
    if (env->is_readonly)
        st = vindex__fail(VINDEX_READONLY, "%s is open for reading only", env->path);
    else if (env->has_writer)
        st =
            vindex__fail(VINDEX_BUSY, "another writer of this process is at work on %s", env->path);
    else
        st = vindex__trust_lock_writer(env->fd, env->path);
    if (st == VINDEX_OK) env->has_writer = true;
    pthread_mutex_unlock(&env->mutex);
    if (st == VINDEX_OK) extend_file(env);
    vindex__gate_leave(&env->gate);
    return st;
}

void vindex__env_unlock_writer(struct env *env)
{
    if (env_is_forked(env)) return; /* the lock is the parent's */
    pthread_mutex_lock(&env->mutex);
    env->has_writer = false;
    vindex__trust_unlock_writer(env->fd);
    pthread_mutex_unlock(&env->mutex);
}

/* Inside the gate. */
static vindex_status write_once(struct env *env, vindex__env_work_fn *work, void *context, int *rc)
{
    MDB_txn *txn = NULL;
    vindex_status st = VINDEX_OK;

    *rc = env->mdb ? mdb_txn_begin(env->mdb, NULL, 0, &txn) : MDB_PANIC;
    if (*rc) return VINDEX_OK;
    st = work(context, txn, rc);
    if (*rc || st != VINDEX_OK) {
        mdb_txn_abort(txn);
        return st;
    }
    *rc = mdb_txn_commit(txn);
    pthread_mutex_lock(&env->mutex);
    env->has_failed = *rc != 0 && *rc != MDB_MAP_FULL;
    if (*rc == 0) env->n_commits++;
    pthread_mutex_unlock(&env->mutex);
    if (*rc == 0) {
        extend_file(env);
        if (env->n_commits % READER_CHECK_COMMITS == 0) mdb_reader_check(env->mdb, NULL);
    }
    return VINDEX_OK;
}

static bool is_for_a_larger_map(int rc)
{
    return rc == MDB_MAP_FULL || rc == MDB_MAP_RESIZED;
}

vindex_status vindex__env_write_in_place(struct env *env, vindex__env_work_fn *work, void *context,
                                         bool *is_done)
{
    vindex_status st = vindex__env_check_fork(env);
    int rc = 0;

    if (st != VINDEX_OK) return st;
    vindex__gate_enter(&env->gate);
    st = write_once(env, work, context, &rc);
    vindex__gate_leave(&env->gate);
    *is_done = !is_for_a_larger_map(rc);
    return *is_done && rc ? vindex__env_fail(env, rc, "writing") : st;
}

void vindex__env_make_room(struct env *env, uint64_t bytes)
{
    MDB_envinfo info;
    struct map_seen seen;
    bool has_room = true;

    if (env_is_forked(env)) return;
    vindex__gate_enter(&env->gate);
    seen = see_map(env);
    if (env->mdb && mdb_env_info(env->mdb, &info) == 0)
        has_room = ((uint64_t)info.me_last_pgno + 1) * env->page_bytes + bytes <= seen.map_bytes;
    vindex__gate_leave(&env->gate);
    if (!has_room)
        (void)grow_map(env, seen); /* what does not fit is written when the view has ended */
}

vindex_status vindex__env_write(struct env *env, struct view *own, vindex__env_work_fn *work,
                                void *context)
{
    vindex_status st = vindex__env_check_fork(env);
    bool had_view = own && own->is_open;
    int rc = 0;

    for (int tries = 0; st == VINDEX_OK && tries < GROW_TRIES; tries++) {
        struct map_seen seen;
        vindex__gate_enter(&env->gate);
        seen = see_map(env);
        rc = 0;
        st = write_once(env, work, context, &rc);
        vindex__gate_leave(&env->gate);
        if (!is_for_a_larger_map(rc)) break;
        if (own) vindex__view_end(own);
        st = grow_map(env, seen);
        if (st == VINDEX_OK && rc == MDB_MAP_FULL && env->map_bytes <= seen.map_bytes)
            st = vindex__env_fail(env, rc, "writing");
    }
    if (rc && st == VINDEX_OK) st = vindex__env_fail(env, rc, "writing");
    if (had_view && !own->is_open) vindex__view_begin(own); /* a failure shows at the next read */
    return st;
}
