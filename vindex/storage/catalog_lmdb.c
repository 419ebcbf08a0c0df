/*
 * catalog_lmdb.c - the catalog in an LMDB file: reads come from the session's view with its private
 * changes on top (overlay.c), commit applies them and the pending blocks in one transaction.
 */
#include "base/mem.h"
#include "base/status.h"
#include "storage/overlay.h"
#include "storage/session_lmdb.h"

static struct lmdb_session *of_catalog(struct catalog *c)
{
    return (struct lmdb_session *)(void *)c;
}

vindex_status vindex__lmdb_check_writer(const struct lmdb_session *session)
{
    vindex_status st = vindex__env_check_fork(session->env);
    if (st != VINDEX_OK || session->is_writer) return st;
    return vindex__fail(VINDEX_MISUSE, "a session opened for reading cannot write");
}

vindex_status vindex__lmdb_check_view(const struct lmdb_session *session)
{
    if (session->view.is_open) return VINDEX_OK;
    return vindex__fail(VINDEX_MISUSE, "a session reads only between refresh and release");
}

/* ---- view -------------------------------------------------------------------------------- */

static vindex_status lmdb_refresh(struct catalog *c, uint64_t *stamp)
{
    struct lmdb_session *s = of_catalog(c);
    vindex_status st;

    vindex__view_end(&s->view);
    if (s->is_writer) vindex__env_make_room(s->env, 2 * (uint64_t)PENDING_BYTES_MAX);
    st = vindex__view_begin(&s->view);
    if (st == VINDEX_OK) *stamp = s->view.stamp;
    return st;
}

static void lmdb_settle(struct catalog *c)
{
    (void)c; /* LMDB's readers are in nobody's way */
}

static void lmdb_release(struct catalog *c)
{
    vindex__view_end(&of_catalog(c)->view);
}

/* ---- read -------------------------------------------------------------------------------- */

static struct bytes bytes_of_val(const MDB_val *val)
{
    return bytes_of(val->mv_data, val->mv_size);
}

/* LMDB finds the first key that is not smaller; the other three directions are a step from there. */
static int seek_cursor(MDB_cursor *cursor, enum catalog_seek how, struct bytes whole, MDB_val *key,
                       MDB_val *value)
{
    int rc;

    key->mv_data = (void *)(uintptr_t)whole.data;
    key->mv_size = whole.size;
    rc = mdb_cursor_get(cursor, key, value, MDB_SET_RANGE);
    if (rc == MDB_NOTFOUND && (how == SEEK_LE || how == SEEK_LT))
        return mdb_cursor_get(cursor, key, value, MDB_LAST);
    if (rc) return rc;
    if (bytes_compare(bytes_of_val(key), whole) == 0) {
        if (how == SEEK_GT) return mdb_cursor_get(cursor, key, value, MDB_NEXT);
        if (how == SEEK_LT) return mdb_cursor_get(cursor, key, value, MDB_PREV);
        return 0;
    }
    return how == SEEK_LE || how == SEEK_LT ? mdb_cursor_get(cursor, key, value, MDB_PREV) : 0;
}

static vindex_status seek_base(void *base, enum catalog_seek how, struct bytes whole,
                               struct catalog_entry *entry)
{
    struct lmdb_session *s = base;
    MDB_val key, value;
    int rc = seek_cursor(s->view.cursor, how, whole, &key, &value);

    if (rc == MDB_NOTFOUND) return VINDEX_OK;
    if (rc) return vindex__env_fail(s->env, rc, "reading");
    entry->key = bytes_of_val(&key);
    entry->value = bytes_of_val(&value);
    return VINDEX_OK;
}

static vindex_status lmdb_get(struct catalog *c, enum catalog_table table, struct bytes key,
                              struct catalog_entry *entry)
{
    struct lmdb_session *s = of_catalog(c);
    struct whole_key whole = vindex__whole_key(table, key);
    const struct ordmap_entry *change = NULL;
    MDB_val want = {whole.size, whole.bytes}, value = {0, NULL};
    vindex_status st = vindex__lmdb_check_view(s);
    int rc = 0;

    memset(entry, 0, sizeof *entry);
    if (st != VINDEX_OK) return st;
    if (s->changes) change = vindex__ordmap_get(s->changes, whole_key_bytes(&whole));
    if (change && change->tag == OVERLAY_DELETED) return VINDEX_OK;
    if (!change) rc = mdb_get(s->view.txn, ENV_DBI, &want, &value);
    if (rc == MDB_NOTFOUND) return VINDEX_OK;
    if (rc) return vindex__env_fail(s->env, rc, "reading");
    entry->key = key;
    entry->value = change ? change->value : bytes_of_val(&value);
    return VINDEX_OK;
}

static vindex_status lmdb_seek(struct catalog *c, enum catalog_table table, enum catalog_seek how,
                               struct bytes key, struct catalog_entry *entry)
{
    struct lmdb_session *s = of_catalog(c);
    vindex_status st = vindex__lmdb_check_view(s);

    if (st != VINDEX_OK) return st;
    return vindex__overlay_seek(s->changes, seek_base, s, table, how, key, entry);
}

/* ---- write ------------------------------------------------------------------------------- */

static vindex_status lmdb_put(struct catalog *c, enum catalog_table table, struct bytes key,
                              struct bytes value)
{
    struct lmdb_session *s = of_catalog(c);
    vindex_status st = vindex__lmdb_check_writer(s);
    return st != VINDEX_OK ? st : vindex__overlay_put(s->changes, table, key, value);
}

static vindex_status lmdb_del(struct catalog *c, enum catalog_table table, struct bytes key)
{
    struct lmdb_session *s = of_catalog(c);
    vindex_status st = vindex__lmdb_check_writer(s);
    return st != VINDEX_OK ? st : vindex__overlay_del(s->changes, table, key);
}

static vindex_status lmdb_prepare(struct catalog *c)
{
    return vindex__lmdb_check_writer(
        of_catalog(c)); /* the lock is held since the session was opened */
}

static int apply_changes(const struct ordmap *changes, MDB_txn *txn)
{
    const struct ordmap_entry *e = vindex__ordmap_seek(changes, bytes_of(NULL, 0), false);

    for (; e; e = vindex__ordmap_next(e)) {
        MDB_val key = {e->key.size, (void *)(uintptr_t)e->key.data};
        MDB_val value = {e->value.size, (void *)(uintptr_t)e->value.data};
        int rc = e->tag == OVERLAY_DELETED ? mdb_del(txn, ENV_DBI, &key, NULL)
                                           : mdb_put(txn, ENV_DBI, &key, &value, 0);
        if (rc && !(rc == MDB_NOTFOUND && e->tag == OVERLAY_DELETED)) return rc;
    }
    return 0;
}

static vindex_status apply_all(void *context, MDB_txn *txn, int *rc)
{
    const struct lmdb_session *s = context;

    *rc = vindex__lmdb_apply_blocks(s, txn);
    if (*rc == 0) *rc = apply_changes(s->changes, txn);
    return VINDEX_OK;
}

static void forget_changes(struct lmdb_session *s)
{
    if (!s->is_writer) return;
    vindex__ordmap_clear(s->changes);
    vindex__ordmap_clear(s->puts);
    vindex__ordmap_clear(s->dels);
}

static bool has_changes(const struct lmdb_session *s)
{
    return vindex__ordmap_count(s->changes) || vindex__ordmap_count(s->puts) ||
           vindex__ordmap_count(s->dels);
}

static vindex_status lmdb_commit(struct catalog *c)
{
    struct lmdb_session *s = of_catalog(c);
    vindex_status st = vindex__lmdb_check_writer(s);

    if (st != VINDEX_OK || !has_changes(s)) return st;
    st = vindex__env_write(s->env, &s->view, apply_all, s);
    if (st != VINDEX_OK) return st;
    forget_changes(s);
    if (s->view.is_open) vindex__view_begin(&s->view); /* a failure shows at the next read */
    return VINDEX_OK;
}

static void lmdb_rollback(struct catalog *c)
{
    forget_changes(of_catalog(c));
}

static const struct catalog_ops lmdb_catalog_ops = {
    .refresh = lmdb_refresh,
    .settle = lmdb_settle,
    .release = lmdb_release,
    .get = lmdb_get,
    .seek = lmdb_seek,
    .put = lmdb_put,
    .del = lmdb_del,
    .prepare = lmdb_prepare,
    .commit = lmdb_commit,
    .rollback = lmdb_rollback,
};

/* ---- session ----------------------------------------------------------------------------- */

static void session_free(struct lmdb_session *s)
{
    vindex__ordmap_free(s->changes);
    vindex__ordmap_free(s->puts);
    vindex__ordmap_free(s->dels);
    vindex__free(s);
}

static vindex_status become_writer(struct lmdb_session *s)
{
    vindex_status st = vindex__ordmap_new(&s->changes);
    if (st == VINDEX_OK) st = vindex__ordmap_new(&s->puts);
    if (st == VINDEX_OK) st = vindex__ordmap_new(&s->dels);
    if (st == VINDEX_OK) st = vindex__env_lock_writer(s->env);
    s->is_writer = st == VINDEX_OK;
    return st;
}

vindex_status vindex__lmdb_session_open(struct env *env, bool is_writer, struct session *session)
{
    struct lmdb_session *s = NULL;
    vindex_status st = vindex__env_check_fork(env);

    if (st != VINDEX_OK) return st;
    s = vindex__calloc(1, sizeof *s);
    if (!s) return vindex__nomem();
    s->catalog.ops = &lmdb_catalog_ops;
    s->blocks.ops = &vindex__lmdb_blocks_ops;
    s->env = env;
    if (is_writer) st = become_writer(s);
    if (st != VINDEX_OK) {
        session_free(s);
        return st;
    }
    vindex__view_init(&s->view, env);
    session->catalog = &s->catalog;
    session->blocks = &s->blocks;
    return VINDEX_OK;
}

void vindex__lmdb_session_close(struct session *session)
{
    struct lmdb_session *s = of_catalog(session->catalog);

    vindex__view_deinit(&s->view);
    if (s->is_writer) vindex__env_unlock_writer(s->env);
    session_free(s);
}

/* ---- sizes ------------------------------------------------------------------------------- */

static vindex_status used_by(struct lmdb_session *s, unsigned dbi, uint64_t *used_bytes)
{
    MDB_stat stat;
    int rc = mdb_stat(s->view.txn, dbi, &stat);
    if (rc) return vindex__env_fail(s->env, rc, "reading");
    *used_bytes += (uint64_t)stat.ms_psize *
                   (stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages);
    return VINDEX_OK;
}

vindex_status vindex__lmdb_session_used(struct session *session, uint64_t *used_bytes)
{
    struct lmdb_session *s = of_catalog(session->catalog);
    bool had_view = s->view.is_open;
    vindex_status st = had_view ? VINDEX_OK : vindex__view_begin(&s->view);

    if (st != VINDEX_OK) return st;
    *used_bytes = 0;
    st = used_by(s, 0, used_bytes); /* LMDB's tree of free pages */
    if (st == VINDEX_OK) st = used_by(s, ENV_DBI, used_bytes);
    if (!had_view) vindex__view_end(&s->view);
    return st;
}
