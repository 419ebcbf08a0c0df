/*
 * store.c - the door of storage/: which of the stores (file, memory, another owner's), and what they share.
 */
#include "storage/store.h"

#include <unistd.h>

#include "base/mem.h"
#include "base/status.h"
#include "storage/pages.h"
#include "storage/session_lmdb.h"
#include "storage/session_mem.h"
#include "storage/snapshot.h"

struct store {
    struct env *env;        /* a file, or */
    struct mem_store *mem;  /* memory, or */
    struct session foreign; /* another owner's catalog and blocks */
    pid_t pid;              /* of the process that opened a foreign store */
    bool is_readonly;
    struct snapshot_cache *cache;
};

static bool is_memory(const char *path)
{
    return strcmp(path, ":memory:") == 0;
}

static vindex_status store_new(struct store **result)
{
    struct store *store = vindex__calloc(1, sizeof *store);
    vindex_status st = store ? vindex__snapshot_cache_new(&store->cache) : vindex__nomem();

    *result = store;
    if (st == VINDEX_OK) return VINDEX_OK;
    vindex__free(store);
    *result = NULL;
    return st;
}

/* ---- create ------------------------------------------------------------------------------ */

static const struct state fresh_state = {.next_seq = 1};

static int put_record(MDB_txn *txn, const char *name, void *record, size_t size)
{
    MDB_val key = {strlen(name), (void *)(uintptr_t)name}, value = {size, record};
    return mdb_put(txn, ENV_DBI, &key, &value, 0);
}

/* The first commit of a file. */
static vindex_status fill(void *context, MDB_txn *txn, int *rc)
{
    unsigned char config[RECORD_CONFIG_BYTES], state[RECORD_STATE_BYTES];

    vindex__config_encode(context, config);
    vindex__state_encode(&fresh_state, state);
    *rc = put_record(txn, "\1config", config, sizeof config);
    if (*rc == 0) *rc = put_record(txn, "\1state", state, sizeof state);
    return VINDEX_OK;
}

vindex_status vindex__store_create(const char *path, const struct config *config, struct store **result)
{
    struct config copy = *config;
    struct store *store = NULL;
    vindex_status st = store_new(&store);

    *result = NULL;
    if (st != VINDEX_OK) return st;
    if (is_memory(path))
        st = vindex__mem_store_new(config, &fresh_state, &store->mem);
    else
        st = vindex__env_create(path, fill, &copy, &store->env);
    if (st == VINDEX_OK)
        *result = store;
    else
        vindex__store_close(store);
    return st;
}

/* ---- open and close ---------------------------------------------------------------------- */

/* LMDB's file is sound; is it an index this library can read? */
static vindex_status check_config(struct store *store, const char *path)
{
    struct session session = {NULL, NULL};
    struct catalog_entry entry;
    struct config config;
    uint64_t stamp;
    vindex_status st = vindex__session_open(store, false, &session);

    if (st != VINDEX_OK) return st;
    st = catalog_refresh(session.catalog, &stamp);
    if (st == VINDEX_OK) st = catalog_get(session.catalog, TABLE_CONFIG, bytes_of("config", 6), &entry);
    if (st == VINDEX_OK && !entry.value.data)
        st = vindex__fail(VINDEX_NOTINDEX, "%s is no index: it has no config record", path);
    if (st == VINDEX_OK) st = vindex__config_decode(entry.value, &config);
    catalog_release(session.catalog);
    vindex__session_close(store, &session);
    return st;
}

vindex_status vindex__store_open(const char *path, bool readonly, struct store **result)
{
    struct store *store = NULL;
    vindex_status st;

    *result = NULL;
    if (is_memory(path))
        return vindex__fail(VINDEX_NOTFOUND, "an index in memory can be created, not opened");
    st = store_new(&store);
    if (st != VINDEX_OK) return st;
    store->is_readonly = readonly;
    st = vindex__env_open(path, readonly, &store->env);
    if (st == VINDEX_OK) st = check_config(store, path);
    if (st == VINDEX_OK)
        *result = store;
    else
        vindex__store_close(store);
    return st;
}

void vindex__store_close(struct store *store)
{
    if (!store) return;
    vindex__snapshot_cache_free(store->cache);
    vindex__env_close(store->env);
    vindex__mem_store_free(store->mem);
    vindex__free(store);
}

/* ---- another owner's catalog and blocks -------------------------------------------------- */

vindex_status vindex__store_foreign(struct catalog *catalog, struct blocks *blocks,
                                    struct store **result)
{
    vindex_status st = store_new(result);

    if (st != VINDEX_OK) return st;
    (*result)->foreign = (struct session){catalog, blocks};
    (*result)->pid = getpid();
    return VINDEX_OK;
}

vindex_status vindex__store_format(struct catalog *catalog, const struct config *config)
{
    unsigned char record[RECORD_CONFIG_BYTES], state[RECORD_STATE_BYTES];
    vindex_status st;

    vindex__config_encode(config, record);
    vindex__state_encode(&fresh_state, state);
    st = catalog_put(catalog, TABLE_CONFIG, bytes_of("config", 6), bytes_of(record, sizeof record));
    if (st == VINDEX_OK)
        st = catalog_put(catalog, TABLE_CONFIG, bytes_of("state", 5), bytes_of(state, sizeof state));
    return st;
}

void vindex__store_forget(struct store *store)
{
    vindex__snapshot_cache_clear(store->cache);
}

static vindex_status check_foreign_fork(const struct store *store)
{
    if (store->pid == getpid()) return VINDEX_OK;
    return vindex__fail(VINDEX_MISUSE, "the index was opened before fork; open it again in this process");
}

/* ---- questions --------------------------------------------------------------------------- */

bool vindex__store_readonly(const struct store *store)
{
    return store->is_readonly;
}

vindex_status vindex__store_check_fork(const struct store *store)
{
    if (store->env) return vindex__env_check_fork(store->env);
    return store->mem ? vindex__mem_store_check_fork(store->mem) : check_foreign_fork(store);
}

bool vindex__store_suspect(const struct store *store)
{
    return store->env && vindex__env_is_suspect(store->env);
}

void vindex__store_set_verified(struct store *store)
{
    if (store->env) vindex__env_clear_suspect(store->env);
}

struct snapshot_cache *vindex__store_snapshot_cache(struct store *store)
{
    return store->cache;
}

/* ---- sessions ---------------------------------------------------------------------------- */

vindex_status vindex__session_open(struct store *store, bool write, struct session *session)
{
    session->catalog = NULL;
    session->blocks = NULL;
    if (write && store->is_readonly)
        return vindex__fail(VINDEX_READONLY, "the index is open for reading only");
    if (store->env) return vindex__lmdb_session_open(store->env, write, session);
    if (store->mem) return vindex__mem_session_open(store->mem, write, session);
    *session = store->foreign;
    return VINDEX_OK;
}

void vindex__session_close(struct store *store, struct session *session)
{
    if (!session->catalog) return;
    if (store->env)
        vindex__lmdb_session_close(session);
    else if (store->mem)
        vindex__mem_session_close(session);
    session->catalog = NULL;
    session->blocks = NULL;
}

vindex_status vindex__store_sizes(struct store *store, struct session *session, uint64_t *size_bytes,
                                  uint64_t *used_bytes)
{
    vindex_status st;

    if (store->mem) {
        vindex__mem_store_sizes(store->mem, size_bytes, used_bytes);
        return VINDEX_OK;
    }
    if (!store->env) { /* its owner knows */
        *size_bytes = *used_bytes = 0;
        return VINDEX_OK;
    }
    st = vindex__env_size(store->env, size_bytes);
    if (st == VINDEX_OK) st = vindex__lmdb_session_used(session, used_bytes);
    return st;
}

/* ---- check ------------------------------------------------------------------------------- */

/* The meta page of the view: both move on while a writer commits. */
static vindex_status find_meta(struct view *view, struct pages_meta *meta)
{
    enum { TRIES = 100 };
    int fd = vindex__env_fd(view->env);
    vindex_status st = VINDEX_OK;

    for (int i = 0; i < TRIES; i++) {
        struct pages_meta metas[2];
        uint64_t txnid;
        st = vindex__view_begin(view);
        if (st != VINDEX_OK) return st;
        txnid = mdb_txn_id(view->txn);
        st = vindex__pages_metas(fd, vindex__env_path(view->env), metas);
        for (int m = 0; m < 2 && st == VINDEX_OK; m++)
            if (metas[m].page_bytes && metas[m].txnid == txnid) {
                *meta = metas[m];
                return VINDEX_OK;
            }
        if (st != VINDEX_OK && st != VINDEX_CORRUPT) return st; /* CORRUPT: perhaps half written */
    }
    return st != VINDEX_OK ? st : vindex__fail(VINDEX_BUSY, "a writer commits too often to check");
}

vindex_status vindex__store_check_pages(struct store *store, vindex_finding_fn *finding, void *context)
{
    struct pages_report report = {.finding = finding, .context = context};
    struct pages_meta meta;
    struct view view;
    vindex_status st = vindex__store_check_fork(store);

    if (st != VINDEX_OK || !store->env) return st;
    vindex__view_init(&view, store->env);
    st = find_meta(&view, &meta);
    if (st == VINDEX_OK) st = vindex__pages_walk(vindex__env_fd(store->env), &meta, &report);
    vindex__view_deinit(&view);
    return st;
}
