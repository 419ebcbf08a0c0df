/*
 * index.c - the handle of an index: create, open, close, facts, check, upkeep.
 */
#include "api/api.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/status.h"
#include "ingest/ingest.h"
#include "storage/check.h"

vindex_status vindex__index_new(vindex **out)
{
    vindex *index = vindex__calloc(1, sizeof *index);
    *out = NULL;
    if (!index) return vindex__nomem();
    atomic_init(&index->n_handles, 0);
    vindex_status st = vindex__devices_new(&index->devices);
    if (st != VINDEX_OK) {
        vindex__free(index);
        return st;
    }
    *out = index;
    return VINDEX_OK;
}

void vindex__index_free(vindex *index)
{
    if (!index) return;
    vindex__devices_free(index->devices);
    vindex__free(index);
}

vindex_status vindex_create(const char *path, const vindex_create_options *options, vindex **index)
{
    struct config config;
    vindex *new_index = NULL;
    if (!index) return vindex__fail(VINDEX_INVALID, "the index to fill in is NULL");
    *index = NULL;
    if (!path || !*path) return vindex__fail(VINDEX_INVALID, "the path is empty: give a file or :memory:");
    vindex_status st = vindex__config_from(options, &config);
    if (st == VINDEX_OK) st = vindex__nonce(config.uuid, sizeof config.uuid);
    if (st == VINDEX_OK) st = vindex__index_new(&new_index);
    if (st == VINDEX_OK) st = vindex__store_create(path, &config, &new_index->store);
    if (st == VINDEX_OK) {
        new_index->config = config;
        vindex__index_ask_environment(new_index);
        *index = new_index;
        new_index = NULL;
    }
    vindex__index_free(new_index);
    return st;
}

/* A view of its own for calls that come without a searcher. */
struct view {
    struct session session;
    const struct snapshot *snapshot;
};

static vindex_status view_open(vindex *index, struct view *view)
{
    memset(view, 0, sizeof *view);
    vindex_status st = vindex__store_check_fork(index->store);
    if (st == VINDEX_OK) st = vindex__session_open(index->store, false, &view->session);
    if (st == VINDEX_OK)
        st = vindex__snapshot_acquire(index->store, &view->session, &view->snapshot);
    return st;
}

static void view_close(vindex *index, struct view *view)
{
    vindex__snapshot_release(index->store, &view->session, view->snapshot);
    if (view->session.catalog) vindex__session_close(index->store, &view->session);
}

static vindex_status read_config(struct store *store, struct config *config)
{
    struct session session = {NULL, NULL};
    struct catalog_entry entry;
    uint64_t stamp;
    vindex_status st = vindex__session_open(store, false, &session);
    if (st != VINDEX_OK) return st;
    st = catalog_refresh(session.catalog, &stamp);
    if (st == VINDEX_OK)
        st = catalog_get(session.catalog, TABLE_CONFIG, bytes_of("config", 6), &entry);
    if (st == VINDEX_OK && !entry.value.data)
        st = vindex__fail(VINDEX_NOTINDEX, "the file holds no vindex config record: it is another "
                                           "program's, or was never completely created");
    if (st == VINDEX_OK) st = vindex__config_decode(entry.value, config);
    catalog_release(session.catalog);
    vindex__session_close(store, &session);
    return st;
}

vindex_status vindex_open(const char *path, uint32_t flags, vindex **index)
{
    vindex *new_index = NULL;
    if (!index) return vindex__fail(VINDEX_INVALID, "the index to fill in is NULL");
    *index = NULL;
    if (!path || !*path) return vindex__fail(VINDEX_INVALID, "the path is empty: give a file");
    if (flags & ~VINDEX_OPEN_READONLY)
        return vindex__fail(VINDEX_UNSUPPORTED, "open flags 0x%x are unknown", flags);
    if (strcmp(path, ":memory:") == 0)
        return vindex__fail(VINDEX_INVALID, ":memory: cannot be opened, only created: vindex_create");
    vindex_status st = vindex__index_new(&new_index);
    if (st != VINDEX_OK) return st;
    st = vindex__store_open(path, flags & VINDEX_OPEN_READONLY, &new_index->store);
    if (st == VINDEX_OK) st = read_config(new_index->store, &new_index->config);
    if (st != VINDEX_OK) {
        vindex__store_close(new_index->store);
        vindex__index_free(new_index);
        return st;
    }
    vindex__index_ask_environment(new_index);
    *index = new_index;
    return VINDEX_OK;
}

void vindex_close(vindex *index)
{
    if (!index) return;
    int n = atomic_load(&index->n_handles);
    if (n) {
        /* Freeing the store under a live searcher would crash it later: a leak is the lesser harm. */
        vindex__log("vindex_close: %d writers or searchers are still open; the index stays open", n);
        return;
    }
    vindex__store_close(index->store);
    vindex__index_free(index);
}

vindex_status vindex_uuid(vindex *index, uint8_t uuid[16])
{
    if (!index || !uuid) return vindex__fail(VINDEX_INVALID, "vindex_uuid: an argument is NULL");
    memcpy(uuid, index->config.uuid, sizeof index->config.uuid);
    return VINDEX_OK;
}

static void count_parts(const struct snapshot *snapshot, vindex_stats *stats)
{
    for (uint32_t i = 0; i < snapshot->n_parts; i++) {
        const struct part *part = &snapshot->parts[i];
        if (part->is_tail) continue;
        stats->n_segments++;
        stats->n_dead += part->n - part->n_live;
        stats->n_blocks += part->n_blocks + (part->norms ? 2u : 1u);
    }
}

vindex_status vindex_stat(vindex *index, vindex_stats *stats)
{
    struct view view;
    if (!index || !stats) return vindex__fail(VINDEX_INVALID, "vindex_stat: an argument is NULL");
    uint32_t size = stats->struct_size;
    if (size < 8 || size > sizeof *stats)
        return vindex__fail(VINDEX_INVALID, "vindex_stats has struct_size %u: use VINDEX_STATS_INIT",
                            size);
    vindex_status st = view_open(index, &view);
    if (st == VINDEX_OK) {
        const struct snapshot *snapshot = view.snapshot;
        vindex_stats s = {
            .struct_size = size,
            .dim = index->config.dim,
            .type = index->config.type,
            .metric = index->config.metric,
            .layout = VINDEX_LAYOUT_FLAT,
            .format_version = index->config.format,
            .n_rows = snapshot->state.n_rows,
            .n_tail = snapshot->state.n_tail,
            .row_bytes = vindex__config_row_bytes(&index->config),
            .epoch = snapshot->state.epoch,
            .next_id = snapshot->state.next_id,
            .recall = index->config.recall,
        };
        count_parts(snapshot, &s);
        st = vindex__store_sizes(index->store, &view.session, &s.size_bytes, &s.used_bytes);
        if (st == VINDEX_OK) memcpy(stats, &s, size);
    }
    view_close(index, &view);
    return st;
}

static bool norm_is_right(const struct config *config, const void *row, float norm)
{
    return vindex__row_norm(config, row) == norm;
}

vindex_status vindex_check(vindex *index, vindex_finding_fn *finding, void *context)
{
    struct session session = {NULL, NULL};
    struct check check = {.finding = finding, .context = context, .norm_is_right = norm_is_right};
    if (!index) return vindex__fail(VINDEX_INVALID, "vindex_check: the index is NULL");
    vindex_status st = vindex__store_check_fork(index->store);
    if (st == VINDEX_OK) st = vindex__store_check_pages(index->store, finding, context);
    if (st == VINDEX_OK) st = vindex__session_open(index->store, false, &session);
    if (st == VINDEX_OK) st = vindex__check_store(index->store, &session, &check);
    if (st == VINDEX_OK) vindex__store_set_verified(index->store);
    if (session.catalog) vindex__session_close(index->store, &session);
    return st;
}

/* One step of upkeep: its own transaction of at most 64 MiB of rows, so that little is lost when it is
 * interrupted and little is pending in memory. */
#define STEP_BYTES (UINT64_C(64) << 20)

static vindex_status optimize_step(vindex *index, bool all, bool *more)
{
    struct session session = {NULL, NULL};
    struct ingest *ingest = NULL;
    vindex_status st = vindex__session_open(index->store, true, &session);
    if (st == VINDEX_OK) st = vindex__ingest_begin(&session, &ingest);
    if (st == VINDEX_OK) st = vindex__ingest_maintain(ingest, all, STEP_BYTES, more);
    if (st == VINDEX_OK) st = vindex__ingest_commit(ingest);
    if (st != VINDEX_OK && session.catalog) catalog_rollback(session.catalog);
    vindex__ingest_free(ingest);
    if (session.catalog) vindex__session_close(index->store, &session);
    return st;
}

static vindex_status count_segments(vindex *index, uint64_t *n)
{
    vindex_stats stats = VINDEX_STATS_INIT;
    vindex_status st = vindex_stat(index, &stats);
    *n = stats.n_segments;
    return st;
}

vindex_status vindex_optimize(vindex *index, uint32_t flags, vindex_progress_fn *progress,
                              void *context)
{
    uint64_t total = 0, done = 0;
    if (!index) return vindex__fail(VINDEX_INVALID, "vindex_optimize: the index is NULL");
    if (flags & ~VINDEX_OPTIMIZE_ALL)
        return vindex__fail(VINDEX_UNSUPPORTED, "optimize flags 0x%x are unknown", flags);
    if (vindex__store_readonly(index->store))
        return vindex__fail(VINDEX_READONLY, "the index was opened for reading only");
    vindex_status st = vindex__store_check_fork(index->store);
    if (st == VINDEX_OK) st = count_segments(index, &total);
    for (bool more = true; more && st == VINDEX_OK; done++) {
        if (progress && progress(context, done < total ? done : total, total))
            return vindex__fail(VINDEX_CANCELLED, "optimize was cancelled after %llu steps",
                                (unsigned long long)done);
        st = optimize_step(index, flags & VINDEX_OPTIMIZE_ALL, &more);
    }
    if (st == VINDEX_OK && progress) progress(context, total, total);
    return st;
}
