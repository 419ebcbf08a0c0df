/*
 * calibrate.c - the audits of an index behind the door: taken over from the store when they change there, answered for
 * vindex_calibrate and vindex_optimize, and stored. What they mean is search/calibrate.h's.
 */
#include <math.h>

#include "api/api.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/status.h"
#include "ingest/ingest.h"

vindex_status vindex__audits_open(vindex *index)
{
    atomic_init(&index->audits_mark, 0);
    atomic_init(&index->audits_in_doubt, false);
    vindex_status st = vindex__calibration_new(index->config.dim, &index->calibration);
    if (st == VINDEX_OK && pthread_mutex_init(&index->audits_mutex, NULL) != 0) {
        vindex__calibration_free(index->calibration);
        index->calibration = NULL;
        st = vindex__nomem();
    }
    return st;
}

void vindex__audits_close(vindex *index)
{
    if (!index->calibration) return;
    pthread_mutex_destroy(&index->audits_mutex);
    vindex__calibration_free(index->calibration);
    index->calibration = NULL;
}

/* ---- from the store -------------------------------------------------------------------------- */

/* What a snapshot is, once it was given back. */
struct facts {
    uint64_t mark, n_rows;
    uint32_t m;
    unsigned char model[NONCE_BYTES]; /* zeros: none */
};

static vindex_status read_facts(vindex *index, struct session *session, struct facts *facts)
{
    const struct snapshot *snapshot = NULL;
    memset(facts, 0, sizeof *facts);
    vindex_status st = vindex__snapshot_acquire(index->store, session, &snapshot);
    if (st != VINDEX_OK) return st;
    facts->mark = snapshot->state.mark;
    facts->n_rows = snapshot->n_live;
    if (snapshot->model) {
        facts->m = snapshot->model->m;
        memcpy(facts->model, snapshot->model->nonce, NONCE_BYTES);
    }
    vindex__snapshot_release(index->store, session, snapshot);
    return st;
}

/* The record alone: a few bytes, where vindex__snapshot_audits reads megabytes. n 0: there is none. */
static vindex_status read_record(struct session *session, struct audits_record *record)
{
    struct catalog_entry entry;
    uint64_t stamp;
    memset(record, 0, sizeof *record);
    vindex_status st = catalog_refresh(session->catalog, &stamp);
    if (st == VINDEX_OK)
        st = catalog_get(session->catalog, TABLE_CONFIG, bytes_of("audits", 6), &entry);
    if (st == VINDEX_OK && entry.value.data) st = vindex__audits_decode(entry.value, record);
    if (st == VINDEX_UNSUPPORTED) { /* a newer library's: as if there were none */
        memset(record, 0, sizeof *record);
        st = VINDEX_OK;
    }
    catalog_release(session->catalog);
    return st;
}

static vindex_status load(vindex *index, struct session *session, struct calibration *into)
{
    struct audits_record record;
    unsigned char *entries = NULL;
    vindex_status st = vindex__snapshot_audits(index->store, session, &record, &entries);
    if (st == VINDEX_OK && record.n) st = vindex__calibration_load(into, &record, entries);
    if (st == VINDEX_OK) memcpy(index->audits_nonce, record.nonce, NONCE_BYTES);
    vindex__free(entries);
    return st;
}

/*
 * After a rollback: audits stay only if the commit they were last in step with is the one that counts again, and nothing
 * was stored since. All others may be of rows, codes or queries that never were.
 */
static void settle_doubt(vindex *index, const struct facts *facts,
                         const struct audits_record *record)
{
    if (facts->mark == atomic_load(&index->audits_mark) &&
        memcmp(record->nonce, index->audits_nonce, NONCE_BYTES) == 0)
        return;
    vindex__calibration_clear(index->calibration);
    memset(index->audits_nonce, 0, NONCE_BYTES);
}

static vindex_status sync(vindex *index, struct session *session, struct facts *facts)
{
    unsigned char model[NONCE_BYTES];
    struct audits_record record;
    bool is_in_doubt = atomic_load(&index->audits_in_doubt);
    vindex_status st = read_facts(index, session, facts);
    if (st != VINDEX_OK || (facts->mark == atomic_load(&index->audits_mark) && !is_in_doubt))
        return st;
    st = read_record(session, &record);
    if (st != VINDEX_OK) return st;
    if (is_in_doubt) settle_doubt(index, facts, &record);
    vindex__calibration_model(index->calibration, model);
    if (memcmp(model, facts->model, NONCE_BYTES) != 0) {
        vindex__calibration_reset(index->calibration, facts->model);
        memset(index->audits_nonce, 0, NONCE_BYTES);
    }
    if (record.n && memcmp(record.model, facts->model, NONCE_BYTES) == 0 &&
        memcmp(record.nonce, index->audits_nonce, NONCE_BYTES) != 0)
        st = load(index, session, index->calibration);
    if (st != VINDEX_OK) return st;
    atomic_store(&index->audits_mark, facts->mark);
    atomic_store(&index->audits_in_doubt, false);
    return st;
}

bool vindex__audits_behind(vindex *index, const struct snapshot *snapshot)
{
    return snapshot->state.mark != atomic_load_explicit(&index->audits_mark, memory_order_acquire) ||
           atomic_load_explicit(&index->audits_in_doubt, memory_order_acquire);
}

vindex_status vindex__audits_sync(vindex *index, struct session *session)
{
    struct facts facts;
    pthread_mutex_lock(&index->audits_mutex);
    vindex_status st = sync(index, session, &facts);
    pthread_mutex_unlock(&index->audits_mutex);
    return st;
}

/* ---- answering ------------------------------------------------------------------------------- */

/* 64 queries are answered as a batch, in well under a second: then the caller is asked whether to go on. */
#define STEP_QUERIES 64u

struct audits_job {
    vindex *index;
    struct session writer, reader; /* the writer's lock is held throughout */
    struct facts facts;
    struct search *search;
    void *queries; /* a step's, as searches want them */
    uint32_t n_threads;
    vindex_progress_fn *progress;
    void *context;
    uint64_t done, total; /* queries */
};

static vindex_status job_begin(struct audits_job *job, vindex *index, vindex_progress_fn *progress,
                               void *context)
{
    const struct config *config = &index->config;
    size_t row_bytes = vindex_row_bytes(
        (vindex_type)vindex__vectors_type(config->type, VECTORS_QUERY), config->dim);
    *job = (struct audits_job){
        .index = index, .n_threads = 1, .progress = progress, .context = context};
    vindex_status st = vindex__session_open(index->store, true, &job->writer);
    if (st == VINDEX_OK) st = vindex__session_open(index->store, false, &job->reader);
    if (st == VINDEX_OK) st = vindex__search_new(&job->search);
    if (st != VINDEX_OK) return st;
    job->queries = vindex__alloc_aligned(STEP_QUERIES, row_bytes);
    if (!job->queries) return vindex__nomem();
    pthread_mutex_lock(&index->audits_mutex);
    st = sync(index, &job->reader, &job->facts);
    pthread_mutex_unlock(&index->audits_mutex);
    return st;
}

static void job_end(struct audits_job *job)
{
    struct store *store = job->index->store;
    vindex__search_free(job->search);
    vindex__free_aligned(job->queries);
    if (job->reader.catalog) vindex__session_close(store, &job->reader);
    if (job->writer.catalog) vindex__session_close(store, &job->writer);
}

/* Without codes, or with few rows, every answer is exact: nothing is to be learnt. */
static bool has_to_learn(const struct audits_job *job)
{
    return job->facts.m > 0 && job->facts.n_rows > FEW_ROWS;
}

static vindex_status answer_step(struct audits_job *job, size_t n, uint32_t kind,
                                 const int64_t *exclude)
{
    const struct snapshot *snapshot = NULL;
    struct search_request request = {.queries = job->queries,
                                     .n_queries = n,
                                     .k = AUDIT_DEPTH_MAX, /* any k may be asked for later */
                                     .recall = 1,
                                     .calibration = job->index->calibration,
                                     .n_threads = job->n_threads};
    if (job->progress && job->progress(job->context, job->done, job->total))
        return vindex__fail(VINDEX_CANCELLED, "cancelled after %llu of %llu audits",
                            (unsigned long long)job->done, (unsigned long long)job->total);
    vindex_status st = vindex__snapshot_acquire(job->index->store, &job->reader, &snapshot);
    if (st != VINDEX_OK) return st;
    st = vindex__search_audit(job->search, snapshot, &request, kind, exclude);
    vindex__snapshot_release(job->index->store, &job->reader, snapshot);
    if (st == VINDEX_OK) job->done += n;
    return st;
}

/* Queries [first, first + STEP_QUERIES) of checked vectors, as far as there are. */
static vindex_status answer_some(struct audits_job *job, const vindex_vectors *vectors, size_t first)
{
    const struct config *config = &job->index->config;
    size_t left = vectors->n - first, n = left < STEP_QUERIES ? left : STEP_QUERIES;
    vindex__vectors_convert(vectors, first, n, config->type, config->dim, VECTORS_QUERY,
                            job->queries);
    return answer_step(job, n, AUDIT_GIVEN, NULL);
}

static vindex_status answer_vectors(struct audits_job *job, const vindex_vectors *vectors)
{
    vindex_status st = VINDEX_OK;
    for (size_t first = 0; first < vectors->n && st == VINDEX_OK; first += STEP_QUERIES)
        st = answer_some(job, vectors, first);
    return st;
}

/* ---- to the store ---------------------------------------------------------------------------- */

static vindex_status put(struct session *writer, const struct audits_record *record,
                         const unsigned char *entries)
{
    struct ingest *ingest = NULL;
    vindex_status st = vindex__ingest_begin(writer, &ingest);
    if (st == VINDEX_OK) st = vindex__ingest_put_audits(ingest, record, entries);
    if (st == VINDEX_OK) st = vindex__ingest_commit(ingest);
    if (st != VINDEX_OK) catalog_rollback(writer->catalog);
    vindex__ingest_free(ingest);
    return st;
}

static vindex_status store_audits(struct audits_job *job)
{
    vindex *index = job->index;
    struct audits_record record = {.n_rows = job->facts.n_rows, .version = AUDITS_VERSION};
    unsigned char *entries = NULL;
    memcpy(record.model, job->facts.model, NONCE_BYTES);
    vindex_status st =
        vindex__calibration_save(index->calibration, &record.n, &record.entry_bytes, &entries);
    if (st == VINDEX_OK) st = put(&job->writer, &record, entries);
    vindex__free(entries);
    vindex__calibration_saved(index->calibration, st == VINDEX_OK);
    if (st != VINDEX_OK) return st;

    /* They are known here: only their nonce is to be remembered. */
    pthread_mutex_lock(&index->audits_mutex);
    st = read_record(&job->reader, &record);
    if (st == VINDEX_OK) memcpy(index->audits_nonce, record.nonce, NONCE_BYTES);
    pthread_mutex_unlock(&index->audits_mutex);
    return st;
}

/* What was answered is kept, also where the caller had enough. */
static vindex_status store_answered(struct audits_job *job, vindex_status st)
{
    if (job->done == 0 || (st != VINDEX_OK && st != VINDEX_CANCELLED)) return st;
    vindex_status stored = store_audits(job);
    if (stored != VINDEX_OK) return stored;
    if (st == VINDEX_CANCELLED)
        return vindex__fail(st, "cancelled after %llu of %llu audits, which are kept",
                            (unsigned long long)job->done, (unsigned long long)job->total);
    return st;
}

vindex_status vindex_calibrate(vindex *index, const vindex_vectors *queries,
                               vindex_progress_fn *progress, void *context)
{
    struct audits_job job;
    if (!index || !queries)
        return vindex__fail(VINDEX_INVALID, "vindex_calibrate: an argument is NULL");
    const struct config *config = &index->config;
    vindex_status st = vindex__vectors_check(queries, config->type, config->dim, VECTORS_QUERY);
    if (st == VINDEX_OK) st = vindex__store_check_fork(index->store);
    if (st != VINDEX_OK) return st;
    if (vindex__store_readonly(index->store))
        return vindex__fail(VINDEX_READONLY, "the index was opened for reading only");
    st = job_begin(&job, index, progress, context);
    if (st == VINDEX_OK && has_to_learn(&job)) {
        job.total = queries->n;
        st = store_answered(&job, answer_vectors(&job, queries));
    }
    if (st == VINDEX_OK && progress) progress(context, job.done, job.done);
    job_end(&job);
    return st;
}

/* ---- optimize: rows as queries, and queries anew --------------------------------------------- */

#define ROWS_ASKED 1000u /* a half per cent of loss shows in five of them */

/* The live row of a number, counted over all parts. */
static void locate(const struct snapshot *snapshot, uint64_t number, struct row_place *place)
{
    const struct part *part = snapshot->parts;
    while (number >= part->n_live)
        number -= part++->n_live;
    place->part = part;
    place->slot = 0;
    for (uint32_t word = 0;; word++) {
        uint64_t live = part->live[word];
        unsigned n = (unsigned)__builtin_popcountll(live);
        place->slot = 64 * word;
        if (number >= n) {
            number -= n;
            continue;
        }
        for (; number > 0; number--)
            live &= live - 1;
        place->slot += (uint32_t)__builtin_ctzll(live);
        return;
    }
}

/* Rows drawn with replacement: 1,000 of more than 30,000, so that few come twice. */
static vindex_status draw_rows(struct audits_job *job, struct rng *rng, size_t n, int64_t *ids)
{
    const struct config *config = &job->index->config;
    const struct snapshot *snapshot = NULL;
    size_t row_bytes = vindex_row_bytes(
        (vindex_type)vindex__vectors_type(config->type, VECTORS_QUERY), config->dim);
    vindex_status st = vindex__snapshot_acquire(job->index->store, &job->reader, &snapshot);
    if (st != VINDEX_OK) return st;
    for (size_t i = 0; i < n && st == VINDEX_OK; i++) {
        struct row_place place;
        locate(snapshot, vindex__rng_below(rng, snapshot->n_live), &place);
        st = vindex__part_touch(snapshot, place.part);
        if (st != VINDEX_OK) break;
        ids[i] = part_id(place.part, place.slot);
        vindex_vectors row = {part_row(place.part, place.slot), 1, 0, config->type, 0};
        vindex__vectors_convert(&row, 0, 1, config->type, config->dim, VECTORS_QUERY,
                                (char *)job->queries + i * row_bytes);
    }
    vindex__snapshot_release(job->index->store, &job->reader, snapshot);
    return st;
}

static vindex_status answer_rows(struct audits_job *job)
{
    int64_t ids[STEP_QUERIES];
    struct rng rng;
    vindex_status st = VINDEX_OK;
    vindex__rng_init(&rng, load_le64(job->facts.model));
    vindex__calibration_drop_rows(job->index->calibration);
    for (size_t first = 0; first < ROWS_ASKED && st == VINDEX_OK; first += STEP_QUERIES) {
        size_t left = ROWS_ASKED - first, n = left < STEP_QUERIES ? left : STEP_QUERIES;
        st = draw_rows(job, &rng, n, ids);
        if (st == VINDEX_OK) st = answer_step(job, n, AUDIT_ROW, ids);
    }
    return st;
}

/* Queries on the heap: the same answered anew are pushed behind those that are kept. */
struct kept {
    vindex_vectors queries;
    bool is_stored; /* they come from the store, and are not kept */
    uint64_t first; /* number of the first that is kept */
};

static vindex_status copy_queries(struct calibration *from, uint32_t dim, struct kept *kept)
{
    size_t n = vindex__calibration_queries(from, NULL, SIZE_MAX, NULL);
    float *rows = n ? vindex__realloc(NULL, n, sizeof(float) * dim) : NULL;
    kept->queries = (vindex_vectors){rows, 0, 0, VINDEX_FLOAT, 0};
    if (n && !rows) return vindex__nomem();
    if (n) kept->queries.n = vindex__calibration_queries(from, rows, n, &kept->first);
    return VINDEX_OK;
}

/* Those in memory or, where a new model came before any search, those stored with audits of the old one. */
static vindex_status kept_queries(struct audits_job *job, struct kept *kept)
{
    vindex *index = job->index;
    struct calibration *stored = NULL;
    struct audits_record record;
    unsigned char *entries = NULL;
    vindex_status st = copy_queries(index->calibration, index->config.dim, kept);
    if (st != VINDEX_OK || kept->queries.n) return st;
    st = vindex__snapshot_audits(index->store, &job->reader, &record, &entries);
    if (st == VINDEX_OK && record.n) st = vindex__calibration_new(index->config.dim, &stored);
    if (stored) {
        vindex__calibration_reset(stored, record.model);
        st = vindex__calibration_load(stored, &record, entries);
    }
    kept->is_stored = true;
    if (st == VINDEX_OK && stored) st = copy_queries(stored, index->config.dim, kept);
    vindex__calibration_free(stored);
    vindex__free(entries);
    return st;
}

/* Step by step, so that a query is always there: as it was answered before, or anew. */
static vindex_status answer_kept(struct audits_job *job, const struct kept *kept)
{
    vindex_status st = VINDEX_OK;
    for (size_t first = 0; first < kept->queries.n && st == VINDEX_OK; first += STEP_QUERIES) {
        size_t left = kept->queries.n - first, n = left < STEP_QUERIES ? left : STEP_QUERIES;
        st = answer_some(job, &kept->queries, first);
        if (st == VINDEX_OK && !kept->is_stored)
            vindex__calibration_drop_queries(job->index->calibration, kept->first + first + n);
    }
    return st;
}

static bool has_changed(uint64_t then, uint64_t seq, const struct snapshot *snapshot)
{
    double allowed = AUDITS_STALE * (double)then;
    return fabs((double)snapshot->n_live - (double)then) > allowed ||
           (double)vindex__rows_since(snapshot, seq) > allowed;
}

/* Whether what the audits of rows and of queries were answered over is still what there is. */
static vindex_status find_due(struct audits_job *job, const struct calibration_stat *stat,
                              bool *rows_due, bool *queries_due)
{
    const struct snapshot *snapshot = NULL;
    vindex_status st = vindex__snapshot_acquire(job->index->store, &job->reader, &snapshot);
    if (st != VINDEX_OK) return st;
    *rows_due = stat->n_rows < ROWS_ASKED || has_changed(stat->rows_then, stat->rows_seq, snapshot);
    *queries_due = stat->n_given + stat->n_live == 0 ||
                   has_changed(stat->queries_then, stat->queries_seq, snapshot);
    vindex__snapshot_release(job->index->store, &job->reader, snapshot);
    return st;
}

static vindex_status answer_due(struct audits_job *job)
{
    vindex *index = job->index;
    struct calibration_stat stat;
    struct kept kept = {.is_stored = false};
    bool rows_due = false, queries_due = false;
    vindex__calibration_stat(index->calibration, &stat);
    vindex_status st = find_due(job, &stat, &rows_due, &queries_due);
    if (st != VINDEX_OK) return st;

    if (queries_due) st = kept_queries(job, &kept);
    job->total = (rows_due ? ROWS_ASKED : 0) + kept.queries.n;
    if (st == VINDEX_OK && rows_due) st = answer_rows(job);
    if (st == VINDEX_OK) st = answer_kept(job, &kept);
    vindex__free((void *)kept.queries.data);
    if (st == VINDEX_OK && job->done == 0 && stat.n_unsaved) return store_audits(job);
    return store_answered(job, st);
}

vindex_status vindex__optimize_audits(vindex *index, uint32_t n_threads, vindex_progress_fn *progress,
                                      void *context)
{
    struct audits_job job;
    vindex_status st = job_begin(&job, index, progress, context);
    job.n_threads = n_threads;
    if (st == VINDEX_OK && has_to_learn(&job)) st = answer_due(&job);
    job_end(&job);
    return st;
}
