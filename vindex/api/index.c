/*
 * index.c - the handle of an index: create, open, close, facts, check, upkeep.
 */
#include "api/api.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/status.h"
#include "base/threads.h"
#include "ingest/ingest.h"
#include "ingest/train.h"
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
    vindex__audits_close(index);
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
    if (st != VINDEX_OK) return st;
    new_index->config = config;
    st = vindex__audits_open(new_index);
    if (st == VINDEX_OK) st = vindex__store_create(path, &config, &new_index->store);
    if (st != VINDEX_OK) {
        vindex__index_free(new_index);
        return st;
    }
    vindex__index_ask_environment(new_index);
    *index = new_index;
    return VINDEX_OK;
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
    if (st == VINDEX_OK) st = vindex__audits_sync(index, &view->session);
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
    if (st == VINDEX_OK) st = vindex__audits_open(new_index);
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

static uint64_t blocks_bytes(const struct block *blocks, uint32_t n)
{
    uint64_t size_bytes = 0;
    for (uint32_t i = 0; i < n; i++)
        size_bytes += BLOCK_HEADER_BYTES + (uint64_t)blocks[i].n * blocks[i].stride;
    return size_bytes;
}

static void count_codes(const struct part *part, vindex_stats *stats)
{
    const struct part_codes *codes = part->codes;
    if (!codes) return;
    stats->n_coded += part->n_live;
    stats->n_blocks += codes->n_c4 + codes->n_c8 + codes->n_p8;
    stats->codes_bytes += blocks_bytes(codes->c4, codes->n_c4) +
                          blocks_bytes(codes->c8, codes->n_c8) +
                          blocks_bytes(codes->p8, codes->n_p8);
}

static void count_parts(const struct snapshot *snapshot, vindex_stats *stats)
{
    for (uint32_t i = 0; i < snapshot->n_parts; i++) {
        const struct part *part = &snapshot->parts[i];
        if (part->is_tail) continue;
        stats->n_segments++;
        stats->n_dead += part->n - part->n_live;
        stats->n_blocks += part->n_blocks + (part->norms ? 2u : 1u);
        count_codes(part, stats);
    }
}

vindex_status vindex_stat(vindex *index, vindex_stats *stats)
{
    struct calibration_stat audits;
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
            .c4_axes = snapshot->model ? snapshot->model->m : 0,
            .p8_axes = snapshot->model ? snapshot->model->p : 0,
        };
        count_parts(snapshot, &s);
        vindex__calibration_stat(index->calibration, &audits);
        s.n_audits = audits.n_rows + audits.n_given + audits.n_live;
        s.n_alarms = audits.n_alarms;
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

/* ---- upkeep --------------------------------------------------------------------------------- */

/* One step of upkeep: its own transaction of at most 64 MiB of rows, so that little is lost when it is
 * interrupted and little is pending in memory. */
#define STEP_BYTES (UINT64_C(64) << 20)

struct upkeep {
    vindex *index;
    bool all;
    vindex_progress_fn *progress;
    void *context;
    struct pool *pool; /* NULL: the calling thread alone */
    uint64_t done, total; /* segments looked at: each may be rewritten and encoded */
    bool more;
    uint64_t after; /* segments up to this one are encoded */
    const struct trained *trained;
};

static int ask(void *upkeep)
{
    const struct upkeep *u = upkeep;
    return u->progress ? u->progress(u->context, u->done < u->total ? u->done : u->total, u->total) : 0;
}

static vindex_status go_on(struct upkeep *u)
{
    if (!ask(u)) return VINDEX_OK;
    return vindex__fail(VINDEX_CANCELLED, "optimize was cancelled at segment %llu of %llu",
                        (unsigned long long)u->done, (unsigned long long)u->total);
}

typedef vindex_status step_fn(struct upkeep *upkeep, struct ingest *ingest);

/* A step is a transaction. */
static vindex_status take_step(struct upkeep *u, step_fn *step)
{
    struct session session = {NULL, NULL};
    struct ingest *ingest = NULL;
    vindex_status st = vindex__session_open(u->index->store, true, &session);
    if (st == VINDEX_OK) st = vindex__ingest_begin(&session, &ingest);
    if (st == VINDEX_OK) {
        vindex__ingest_set_pool(ingest, u->pool);
        st = step(u, ingest);
    }
    if (st == VINDEX_OK) st = vindex__ingest_commit(ingest);
    if (st != VINDEX_OK && session.catalog) catalog_rollback(session.catalog);
    vindex__ingest_free(ingest);
    if (session.catalog) vindex__session_close(u->index->store, &session);
    return st;
}

static vindex_status take_steps(struct upkeep *u, step_fn *step)
{
    vindex_status st = VINDEX_OK;
    u->more = true;
    while (u->more && st == VINDEX_OK) {
        st = go_on(u);
        if (st == VINDEX_OK) st = take_step(u, step);
    }
    return st;
}

static vindex_status repair_step(struct upkeep *u, struct ingest *ingest)
{
    return vindex__ingest_drop_damaged(ingest, vindex__store_suspect(u->index->store));
}

static vindex_status maintain_step(struct upkeep *u, struct ingest *ingest)
{
    u->done++;
    return vindex__ingest_maintain(ingest, u->all, STEP_BYTES, &u->more);
}

static vindex_status encode_step(struct upkeep *u, struct ingest *ingest)
{
    return vindex__ingest_encode(ingest, STEP_BYTES, &u->after, &u->done, &u->more);
}

static vindex_status put_step(struct upkeep *u, struct ingest *ingest)
{
    return vindex__ingest_put_model(ingest, u->trained);
}

static vindex_status count_segments(vindex *index, uint64_t *n)
{
    vindex_stats stats = VINDEX_STATS_INIT;
    vindex_status st = vindex_stat(index, &stats);
    *n = stats.n_segments;
    return st;
}

/* A sample is read through a reader's view; then neither a view nor the writer's lock is held. */
static vindex_status sample_rows(struct upkeep *u, const struct asking *asking, struct sample *sample)
{
    struct session session = {NULL, NULL};
    bool is_due = false;
    vindex_status st = vindex__session_open(u->index->store, false, &session);
    if (st == VINDEX_OK) st = vindex__train_is_due(&session, u->all, &is_due);
    if (st == VINDEX_OK && is_due)
        st = vindex__sample_rows(&session, &u->index->config, asking, sample);
    if (session.catalog) vindex__session_close(u->index->store, &session);
    return st;
}

static vindex_status train(struct upkeep *u)
{
    struct asking asking = {ask, u};
    struct sample sample = {.n = 0};
    struct trained trained = {.m = 0};
    vindex_status st = sample_rows(u, &asking, &sample);
    if (st != VINDEX_OK || sample.n == 0) return st;
    st = vindex__train(&sample, &asking, &trained);
    vindex__sample_free(&sample);
    u->trained = &trained;
    if (st == VINDEX_OK) st = take_step(u, put_step);
    u->trained = NULL;
    vindex__trained_free(&trained);
    return st;
}

static vindex_status do_upkeep(struct upkeep *u)
{
    vindex_status st = take_step(u, repair_step); /* before a snapshot could refuse what is damaged */
    if (st == VINDEX_OK) st = count_segments(u->index, &u->total);
    u->total *= 2;
    if (st == VINDEX_OK) st = take_steps(u, maintain_step);
    if (st == VINDEX_OK) st = train(u);
    if (st == VINDEX_OK) st = take_steps(u, encode_step);
    uint32_t n_threads = u->pool ? vindex__pool_size(u->pool) : 1;
    if (st == VINDEX_OK) st = vindex__optimize_audits(u->index, n_threads, u->progress, u->context);
    if (st == VINDEX_OK && u->progress) u->progress(u->context, u->total, u->total);
    return st;
}

#define THREADS_BITS VINDEX_OPTIMIZE_THREADS(0xffff)
#define THREADS_MAX 1024u /* as of a search */

static vindex_status check_optimize(const vindex *index, uint32_t flags, uint32_t n_threads)
{
    if (!index) return vindex__fail(VINDEX_INVALID, "vindex_optimize: the index is NULL");
    if (flags & ~(VINDEX_OPTIMIZE_ALL | THREADS_BITS))
        return vindex__fail(VINDEX_UNSUPPORTED, "optimize flags 0x%x are unknown", flags);
    if (n_threads > THREADS_MAX)
        return vindex__fail(VINDEX_INVALID, "n_threads %u is outside 0..%u", n_threads, THREADS_MAX);
    if (vindex__store_readonly(index->store))
        return vindex__fail(VINDEX_READONLY, "the index was opened for reading only");
    return vindex__store_check_fork(index->store);
}

vindex_status vindex_optimize(vindex *index, uint32_t flags, vindex_progress_fn *progress,
                              void *context)
{
    uint32_t n_threads = (flags & THREADS_BITS) >> 8;
    struct upkeep u = {.index = index,
                       .all = flags & VINDEX_OPTIMIZE_ALL,
                       .progress = progress,
                       .context = context};
    vindex_status st = check_optimize(index, flags, n_threads);
    if (st == VINDEX_OK && n_threads > 1) st = vindex__pool_open(n_threads, &u.pool);
    if (st == VINDEX_OK) st = do_upkeep(&u);
    vindex__pool_close(u.pool);
    return st;
}
