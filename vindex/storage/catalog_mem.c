/*
 * catalog_mem.c - the catalog of the store ":memory:". Views see the one set of records, which is why a
 * commit waits until the catalog reads of all views are over (settle); none of them lasts.
 */
#include <unistd.h>

#include "base/mem.h"
#include "base/status.h"
#include "storage/overlay.h"
#include "storage/session_mem.h"

static struct mem_session *of_catalog(struct catalog *c)
{
    return (struct mem_session *)(void *)c;
}

/* ---- store ------------------------------------------------------------------------------- */

vindex_status vindex__mem_store_check_fork(const struct mem_store *store)
{
    if (getpid() == store->pid) return VINDEX_OK;
    return vindex__fail(VINDEX_MISUSE,
                        "an index in memory was created before fork: the child cannot "
                        "use it");
}

static vindex_status put_record(struct mem_store *store, const char *name, const void *record,
                                size_t size)
{
    return vindex__overlay_put(store->records, TABLE_CONFIG, bytes_of(name, strlen(name)),
                               bytes_of(record, size));
}

vindex_status vindex__mem_store_new(const struct config *config, const struct state *state,
                                    struct mem_store **result)
{
    unsigned char config_record[RECORD_CONFIG_BYTES], state_record[RECORD_STATE_BYTES];
    struct mem_store *store = vindex__calloc(1, sizeof *store);
    vindex_status st = VINDEX_OK;

    *result = NULL;
    if (!store) return vindex__nomem();
    if (!vindex__gate_init(&store->gate) || pthread_mutex_init(&store->mutex, NULL) != 0) {
        vindex__free(store);
        return vindex__nomem();
    }
    store->pid = getpid();
    store->stamp = 1;
    vindex__config_encode(config, config_record);
    vindex__state_encode(state, state_record);
    st = vindex__ordmap_new(&store->records);
    if (st == VINDEX_OK) st = vindex__ordmap_new(&store->blocks);
    if (st == VINDEX_OK) st = put_record(store, "config", config_record, sizeof config_record);
    if (st == VINDEX_OK) st = put_record(store, "state", state_record, sizeof state_record);
    if (st == VINDEX_OK)
        *result = store;
    else
        vindex__mem_store_free(store);
    return st;
}

void vindex__mem_store_free(struct mem_store *store)
{
    if (!store) return;
    if (store->blocks) vindex__mem_blocks_free_all(store->blocks);
    vindex__ordmap_free(store->blocks);
    vindex__ordmap_free(store->records);
    if (getpid() == store->pid) {
        vindex__gate_deinit(&store->gate);
        pthread_mutex_destroy(&store->mutex);
    }
    vindex__free(store);
}

void vindex__mem_store_sizes(struct mem_store *store, uint64_t *size_bytes, uint64_t *used_bytes)
{
    vindex__gate_enter(&store->gate);
    pthread_mutex_lock(&store->mutex);
    *used_bytes = store->live_bytes + vindex__ordmap_bytes(store->records) +
                  vindex__ordmap_bytes(store->blocks);
    *size_bytes = *used_bytes + store->dead_bytes;
    pthread_mutex_unlock(&store->mutex);
    vindex__gate_leave(&store->gate);
}

/* ---- view -------------------------------------------------------------------------------- */

static void mem_settle(struct catalog *c)
{
    struct mem_session *s = of_catalog(c);
    if (!s->is_reading) return;
    s->is_reading = false;
    vindex__gate_leave(&s->store->gate);
}

static void mem_release(struct catalog *c)
{
    struct mem_session *s = of_catalog(c);

    mem_settle(c);
    pthread_mutex_lock(&s->store->mutex);
    s->has_view = false;
    vindex__mem_blocks_sweep(s->store);
    pthread_mutex_unlock(&s->store->mutex);
}

static vindex_status mem_refresh(struct catalog *c, uint64_t *stamp)
{
    struct mem_session *s = of_catalog(c);
    vindex_status st = vindex__mem_store_check_fork(s->store);

    if (st != VINDEX_OK) return st;
    mem_settle(c);
    vindex__gate_enter(&s->store->gate);
    s->is_reading = true;
    pthread_mutex_lock(&s->store->mutex);
    s->has_view = true;
    s->stamp = s->store->stamp;
    *stamp = s->stamp;
    vindex__mem_blocks_sweep(
        s->store); /* the view before this one may have been the last to see some */
    pthread_mutex_unlock(&s->store->mutex);
    return VINDEX_OK;
}

/* ---- read -------------------------------------------------------------------------------- */

static vindex_status check_reading(const struct mem_session *s)
{
    if (s->is_reading) return VINDEX_OK;
    return vindex__fail(VINDEX_MISUSE,
                        "a session reads its catalog only between refresh and settle");
}

static vindex_status mem_get(struct catalog *c, enum catalog_table table, struct bytes key,
                             struct catalog_entry *entry)
{
    struct mem_session *s = of_catalog(c);
    struct whole_key whole = vindex__whole_key(table, key);
    const struct ordmap_entry *e = NULL;
    vindex_status st = check_reading(s);

    memset(entry, 0, sizeof *entry);
    if (st != VINDEX_OK) return st;
    if (s->changes) e = vindex__ordmap_get(s->changes, whole_key_bytes(&whole));
    if (!e) e = vindex__ordmap_get(s->store->records, whole_key_bytes(&whole));
    if (!e || e->tag == OVERLAY_DELETED) return VINDEX_OK;
    entry->key = key;
    entry->value = e->value;
    return VINDEX_OK;
}

static vindex_status seek_base(void *base, enum catalog_seek how, struct bytes whole,
                               struct catalog_entry *entry)
{
    const struct mem_session *s = base;
    const struct ordmap_entry *e = vindex__map_seek(s->store->records, how, whole);

    if (!e) return VINDEX_OK;
    entry->key = e->key;
    entry->value = e->value;
    return VINDEX_OK;
}

static vindex_status mem_seek(struct catalog *c, enum catalog_table table, enum catalog_seek how,
                              struct bytes key, struct catalog_entry *entry)
{
    struct mem_session *s = of_catalog(c);
    vindex_status st = check_reading(s);

    if (st != VINDEX_OK) return st;
    return vindex__overlay_seek(s->changes, seek_base, s, table, how, key, entry);
}

/* ---- write ------------------------------------------------------------------------------- */

static vindex_status check_writer(const struct mem_session *s)
{
    vindex_status st = vindex__mem_store_check_fork(s->store);
    if (st != VINDEX_OK || s->is_writer) return st;
    return vindex__fail(VINDEX_MISUSE, "a session opened for reading cannot write");
}

static vindex_status mem_put(struct catalog *c, enum catalog_table table, struct bytes key,
                             struct bytes value)
{
    struct mem_session *s = of_catalog(c);
    vindex_status st = check_writer(s);
    return st != VINDEX_OK ? st : vindex__overlay_put(s->changes, table, key, value);
}

static vindex_status mem_del(struct catalog *c, enum catalog_table table, struct bytes key)
{
    struct mem_session *s = of_catalog(c);
    vindex_status st = check_writer(s);
    return st != VINDEX_OK ? st : vindex__overlay_del(s->changes, table, key);
}

static vindex_status mem_prepare(struct catalog *c)
{
    return check_writer(of_catalog(c));
}

static bool has_changes(const struct mem_session *s)
{
    return vindex__ordmap_count(s->changes) || vindex__ordmap_count(s->puts) ||
           vindex__ordmap_count(s->dels);
}

/* From here on nothing fails. */
static void publish(struct mem_session *s)
{
    struct mem_store *store = s->store;

    pthread_mutex_lock(&store->mutex);
    s->has_view = false; /* the view it may have moves on to this commit */
    store->stamp++;
    vindex__mem_blocks_publish(s);
    vindex__ordmap_absorb(store->records, s->changes, OVERLAY_DELETED);
    vindex__mem_blocks_sweep(store);
    pthread_mutex_unlock(&store->mutex);
}

static vindex_status mem_commit(struct catalog *c)
{
    struct mem_session *s = of_catalog(c);
    vindex_status st = check_writer(s);
    bool had_view = s->has_view, was_reading = s->is_reading, is_alone;
    uint64_t stamp;

    if (st != VINDEX_OK || !has_changes(s)) return st;
    mem_settle(c);
    is_alone = vindex__gate_close(&s->store->gate);
    if (is_alone) {
        publish(s);
        vindex__gate_open(&s->store->gate);
    }
    if (had_view && (is_alone || was_reading)) st = mem_refresh(c, &stamp);
    if (had_view && !was_reading) mem_settle(c);
    if (is_alone) return st;
    return vindex__fail(VINDEX_BUSY,
                        "a view whose catalog reads do not end keeps a commit waiting");
}

static void mem_rollback(struct catalog *c)
{
    struct mem_session *s = of_catalog(c);

    if (!s->is_writer) return;
    vindex__ordmap_clear(s->changes);
    vindex__mem_blocks_forget(s);
}

static const struct catalog_ops mem_catalog_ops = {
    .refresh = mem_refresh,
    .settle = mem_settle,
    .release = mem_release,
    .get = mem_get,
    .seek = mem_seek,
    .put = mem_put,
    .del = mem_del,
    .prepare = mem_prepare,
    .commit = mem_commit,
    .rollback = mem_rollback,
};

/* ---- session ----------------------------------------------------------------------------- */

static void session_free(struct mem_session *s)
{
    if (s->puts && s->dels) vindex__mem_blocks_forget(s);
    vindex__ordmap_free(s->changes);
    vindex__ordmap_free(s->puts);
    vindex__ordmap_free(s->dels);
    vindex__free(s);
}

static vindex_status enlist(struct mem_session *s, bool is_writer)
{
    struct mem_store *store = s->store;
    vindex_status st = VINDEX_OK;

    pthread_mutex_lock(&store->mutex);
    if (is_writer && store->has_writer) {
        st = vindex__fail(VINDEX_BUSY, "another writer is at work on this index in memory");
    } else {
        if (is_writer) store->has_writer = true;
        s->is_writer = is_writer;
        s->next = store->sessions;
        if (s->next) s->next->previous = s;
        store->sessions = s;
    }
    pthread_mutex_unlock(&store->mutex);
    return st;
}

static void delist(struct mem_session *s)
{
    pthread_mutex_lock(&s->store->mutex);
    if (s->is_writer) s->store->has_writer = false;
    if (s->next) s->next->previous = s->previous;
    if (s->previous)
        s->previous->next = s->next;
    else
        s->store->sessions = s->next;
    pthread_mutex_unlock(&s->store->mutex);
}

vindex_status vindex__mem_session_open(struct mem_store *store, bool is_writer,
                                       struct session *session)
{
    struct mem_session *s = NULL;
    vindex_status st = vindex__mem_store_check_fork(store);

    if (st != VINDEX_OK) return st;
    s = vindex__calloc(1, sizeof *s);
    if (!s) return vindex__nomem();
    s->catalog.ops = &mem_catalog_ops;
    s->blocks.ops = &vindex__mem_blocks_ops;
    s->store = store;
    if (is_writer) st = vindex__ordmap_new(&s->changes);
    if (is_writer && st == VINDEX_OK) st = vindex__ordmap_new(&s->puts);
    if (is_writer && st == VINDEX_OK) st = vindex__ordmap_new(&s->dels);
    if (st == VINDEX_OK) st = enlist(s, is_writer);
    if (st != VINDEX_OK) {
        session_free(s);
        return st;
    }
    session->catalog = &s->catalog;
    session->blocks = &s->blocks;
    return VINDEX_OK;
}

void vindex__mem_session_close(struct session *session)
{
    struct mem_session *s = of_catalog(session->catalog);

    if (getpid() == s->store->pid) {
        mem_release(&s->catalog);
        delist(s);
    }
    session_free(s);
}
