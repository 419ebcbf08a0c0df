/*
 * test_slow_beside.c - searches at every target in several threads, of two handles of one file, and in another process,
 * beside a writer that commits, aborts, optimizes and calibrates. Each answer is held against the rows of the commit it names: hits are
 * rows that count, each once, with their own scores, in order; where the report says exact they are the nearest; and
 * where it says proven the mean recall is what was promised.
 *
 * VINDEX_TEST_SECONDS asks for more than 40.
 */
#include "common/cmocka.h"

#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/random.h"
#include "base/threads.h"
#include "search/search.h"

enum {
    DIM = 24,
    N_IDS = 36000,
    N_FIRST = 34000,
    POOL_MAX = 600000,
    VERSIONS_MAX = 4000,
    SEARCHERS = 3
};

/* In any thread, as cmocka's own may not be used. */
#define CHECK(condition) check((condition), #condition, __LINE__)

static void check(int condition, const char *text, int line)
{
    if (condition) return;
    fprintf(stderr, "%s:%d: %s fails: %s\n", __FILE__, line, text, vindex_message());
    abort();
}

static const double targets[] = {0.9, 0.95, 0.99};
enum { N_TARGETS = sizeof targets / sizeof *targets };

/* The rows of one commit: vectors are numbered as they were made. */
struct version {
    uint64_t epoch;
    size_t n_rows;
    int32_t *vectors; /* [N_IDS]: of an id; -1: no row */
};

static struct shared {
    vindex *index, *other; /* two handles of the file */
    float *pool;           /* [POOL_MAX, DIM] */
    size_t n_pool;         /* the writer's */
    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t moved;
    struct version versions[VERSIONS_MAX];
    size_t n_versions;
    uint64_t known_epoch; /* up to here the versions tell what the rows are */
    bool is_over;
    uint64_t n_by_state[4];
    double recall_sum[N_TARGETS];
    uint64_t n_recall[N_TARGETS];
} shared = {.mutex = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER};

/* A law whose spread falls from axis to axis. */
static void draw_vector(struct rng *rng, float *to)
{
    for (int i = 0; i < DIM; i++) {
        double sum = -3;
        for (int j = 0; j < 6; j++)
            sum += vindex__rng_unit(rng);
        to[i] = (float)(sum / (1 + 0.15 * i));
    }
}

/* ---- the writer ------------------------------------------------------------------------------ */

static int32_t new_vector(struct rng *rng)
{
    CHECK(shared.n_pool < POOL_MAX);
    draw_vector(rng, shared.pool + shared.n_pool * DIM);
    return (int32_t)shared.n_pool++;
}

static void publish(struct version *version)
{
    vindex_stats stats = VINDEX_STATS_INIT;
    CHECK(vindex_stat(shared.index, &stats) == VINDEX_OK);
    pthread_mutex_lock(&shared.mutex);
    if (version) {
        CHECK(stats.n_rows == version->n_rows && shared.n_versions < VERSIONS_MAX);
        version->epoch = stats.epoch;
        shared.versions[shared.n_versions++] = *version;
    }
    shared.known_epoch = stats.epoch;
    pthread_cond_broadcast(&shared.moved);
    pthread_mutex_unlock(&shared.mutex);
}

static void replace_row(struct rng *rng, struct version *version, vindex_writer *writer, int64_t id)
{
    int32_t number = new_vector(rng);
    version->n_rows += version->vectors[id] < 0;
    version->vectors[id] = number;
    CHECK(vindex_writer_insert(writer, &id, &VINDEX_F32_ROWS(shared.pool + (size_t)number * DIM, 1),
                               VINDEX_UPSERT) == VINDEX_OK);
}

static void remove_row(struct version *version, vindex_writer *writer, int64_t id)
{
    version->n_rows -= version->vectors[id] >= 0;
    version->vectors[id] = -1;
    CHECK(vindex_writer_remove(writer, &id, 1, NULL) == VINDEX_OK);
}

static struct version next_version(void)
{
    struct version version = {0, 0, malloc(N_IDS * sizeof *version.vectors)};
    const struct version *last = shared.n_versions ? &shared.versions[shared.n_versions - 1] : NULL;
    CHECK(version.vectors != NULL);
    for (size_t i = 0; i < N_IDS; i++)
        version.vectors[i] = last ? last->vectors[i] : -1;
    version.n_rows = last ? last->n_rows : 0;
    return version;
}

static void begin_with_rows(struct rng *rng)
{
    struct version version = next_version();
    vindex_writer *writer = NULL;
    CHECK(vindex_writer_begin(shared.index, &writer) == VINDEX_OK);
    for (int64_t id = 0; id < N_FIRST; id++)
        replace_row(rng, &version, writer, id);
    CHECK(vindex_writer_commit(writer) == VINDEX_OK);
    publish(&version);
}

/* Some rows replaced or removed: here and there, or all of a stretch. */
static void transaction(struct rng *rng)
{
    struct version version = next_version();
    vindex_writer *writer = NULL;
    size_t n = vindex__rng_below(rng, vindex__rng_below(rng, 12) ? 200 : 6000);
    bool is_stretch = vindex__rng_below(rng, 3) == 0, is_aborted = vindex__rng_below(rng, 6) == 0;
    uint64_t at = vindex__rng_below(rng, N_IDS);
    CHECK(vindex_writer_begin(shared.index, &writer) == VINDEX_OK);
    for (size_t i = 0; i < n; i++) {
        int64_t id = (int64_t)(is_stretch ? (at + i) % N_IDS : vindex__rng_below(rng, N_IDS));
        if (vindex__rng_below(rng, 10) == 0)
            remove_row(&version, writer, id);
        else
            replace_row(rng, &version, writer, id);
    }
    if (is_aborted) {
        vindex_writer_abort(writer);
        free(version.vectors);
    } else {
        CHECK(vindex_writer_commit(writer) == VINDEX_OK);
        publish(&version);
    }
}

static void calibrate(struct rng *rng)
{
    float queries[60 * DIM];
    size_t n = 1 + vindex__rng_below(rng, 60);
    for (size_t i = 0; i < n; i++)
        draw_vector(rng, queries + i * DIM);
    CHECK(vindex_calibrate(shared.index, &VINDEX_F32_ROWS(queries, n), NULL, NULL) == VINDEX_OK);
}

static void write_until(struct rng *rng, int64_t end)
{
    while (vindex__now_ns() < end && shared.n_pool + 7000 < POOL_MAX &&
           shared.n_versions + 1 < VERSIONS_MAX) {
        uint64_t what = vindex__rng_below(rng, 20);
        if (what < 12)
            transaction(rng);
        else if (what < 17)
            calibrate(rng);
        else
            CHECK(vindex_optimize(shared.index, what == 19 ? VINDEX_OPTIMIZE_ALL : 0, NULL, NULL) ==
                  VINDEX_OK);
        publish(NULL);
    }
    pthread_mutex_lock(&shared.mutex);
    shared.is_over = true;
    pthread_mutex_unlock(&shared.mutex);
}

/* ---- searches -------------------------------------------------------------------------------- */

struct question {
    float queries[5 * DIM];
    size_t n, k, target; /* N_TARGETS: 1 */
    int64_t modulus;
    vindex_filter filter;
    vindex_search_options options;
    vindex_hit *hits;
    vindex_report report;
};

static int is_multiple(void *context, int64_t id)
{
    return id % *(const int64_t *)context == 0;
}

static void draw_question(struct rng *rng, struct question *q)
{
    static const size_t ks[] = {1, 2, 10, 10, 10, 100, 1000, 3000};
    memset(q, 0, sizeof *q);
    q->n = vindex__rng_below(rng, 3) ? 1 : 5;
    q->k = ks[vindex__rng_below(rng, 8)];
    q->target = vindex__rng_below(rng, N_TARGETS + 1);
    for (size_t i = 0; i < q->n; i++)
        draw_vector(rng, q->queries + i * DIM);
    q->modulus = 2 + (int64_t)vindex__rng_below(rng, 9);
    q->filter = (vindex_filter){.kind = VINDEX_FILTER_CALLBACK,
                                .flags = VINDEX_FILTER_NOT,
                                .callback = is_multiple,
                                .context = &q->modulus};
    q->options = (vindex_search_options)VINDEX_SEARCH_OPTIONS_INIT;
    q->options.n_threads = 1 + (uint32_t)vindex__rng_below(rng, 4);
    q->options.recall = q->target < N_TARGETS ? (float)targets[q->target] : 1;
    if (vindex__rng_below(rng, 8) == 0) q->options.filter = &q->filter;
    if (vindex__rng_below(rng, 8) == 0) q->options.flags = VINDEX_SEARCH_STRICT;
    if (vindex__rng_below(rng, 8) == 0) q->options.flags |= VINDEX_SEARCH_NO_AUDIT;
    q->hits = malloc(q->n * q->k * sizeof *q->hits);
    CHECK(q->hits != NULL);
}

/* The rows of the commit that an answer names, as soon as the writer has told. */
static struct version version_of(uint64_t epoch)
{
    struct version version = {0, 0, NULL};
    pthread_mutex_lock(&shared.mutex);
    while (shared.known_epoch < epoch)
        pthread_cond_wait(&shared.moved, &shared.mutex);
    for (size_t i = 0; i < shared.n_versions && shared.versions[i].epoch <= epoch; i++)
        version = shared.versions[i];
    pthread_mutex_unlock(&shared.mutex);
    CHECK(version.vectors != NULL);
    return version;
}

static bool is_before(float a_score, int64_t a, const vindex_hit *b)
{
    return a_score < b->score || (a_score == b->score && a < b->id);
}

static float score_of(const struct version *version, const float *query, int64_t id)
{
    return vindex__exact_score(VINDEX_FLOAT, VINDEX_L2, DIM, query,
                               shared.pool + (size_t)version->vectors[id] * DIM);
}

static bool counts(const struct question *q, const struct version *version, int64_t id)
{
    return version->vectors[id] >= 0 && (!q->options.filter || id % q->modulus != 0);
}

/* Returns how many of the hits are among the k nearest. */
static size_t check_answer(const struct question *q, const struct version *version, size_t number)
{
    const float *query = q->queries + number * DIM;
    const vindex_hit *hits = q->hits + number * q->k;
    float *scores = malloc(N_IDS * sizeof *scores);
    uint32_t *rank = calloc(q->k + 1, sizeof *rank); /* rows between hit i - 1 and hit i */
    size_t n_match = 0, n_before = 0, n_found = 0, n;
    for (int64_t id = 0; id < N_IDS; id++) {
        if (!counts(q, version, id)) continue;
        scores[id] = score_of(version, query, id);
        n_match++;
    }
    n = n_match < q->k ? n_match : q->k;
    for (size_t i = 0; i < q->k; i++) {
        CHECK((hits[i].id == VINDEX_ID_NONE) == (i >= n));
        if (i >= n) continue;
        CHECK(hits[i].id >= 0 && hits[i].id < N_IDS && counts(q, version, hits[i].id));
        CHECK(memcmp(&scores[hits[i].id], &hits[i].score, sizeof *scores) == 0);
        CHECK(i == 0 || is_before(hits[i - 1].score, hits[i - 1].id, &hits[i]));
    }
    for (int64_t id = 0; id < N_IDS; id++) {
        size_t low = 0, high = n; /* the first hit that is not before the row */
        if (!counts(q, version, id)) continue;
        while (low < high) {
            size_t middle = low + (high - low) / 2;
            if (is_before(hits[middle].score, hits[middle].id, &(vindex_hit){id, scores[id], 0}))
                low = middle + 1;
            else
                high = middle;
        }
        rank[low]++;
    }
    for (size_t i = 0; i < n; i++) {
        n_before += rank[i]; /* the hit itself included */
        n_found += n_before <= q->k;
    }
    free(scores);
    free(rank);
    return n_found;
}

static void ask(vindex_searcher *searcher, struct question *q)
{
    q->report = (vindex_report)VINDEX_REPORT_INIT;
    CHECK(vindex_search(searcher, &VINDEX_F32_ROWS(q->queries, q->n), q->k, &q->options, q->hits) ==
          VINDEX_OK);
    CHECK(vindex_searcher_report(searcher, &q->report) == VINDEX_OK);
}

static size_t at_most_k(const struct question *q, const struct version *version)
{
    size_t n_match = version->n_rows;
    if (q->options.filter) {
        n_match = 0;
        for (int64_t id = 0; id < N_IDS; id++)
            n_match += counts(q, version, id);
    }
    return q->k < n_match ? q->k : n_match;
}

/* Returns how many of all hits are among the k nearest. */
static size_t check_answers(const struct question *q, const struct version *version)
{
    size_t n_found = 0;
    CHECK(q->report.n_rows == version->n_rows);
    for (size_t i = 0; i < q->n; i++)
        n_found += check_answer(q, version, i);
    CHECK(q->report.state != VINDEX_STATE_EXACT || n_found == q->n * at_most_k(q, version));
    return n_found;
}

static void ask_and_check(vindex_searcher *searcher, struct question *q)
{
    ask(searcher, q);
    struct version version = version_of(q->report.epoch);
    size_t n_found = check_answers(q, &version), k = at_most_k(q, &version);
    pthread_mutex_lock(&shared.mutex);
    shared.n_by_state[q->report.state]++;
    if (q->report.state == VINDEX_STATE_PROVEN) {
        CHECK(!q->options.filter && q->report.bound >= q->report.target);
        shared.recall_sum[q->target] += (double)n_found / (double)k;
        shared.n_recall[q->target] += q->n;
    }
    pthread_mutex_unlock(&shared.mutex);
}

static void *search_until_over(void *context)
{
    const size_t number = (size_t)context;
    vindex_searcher *searcher = NULL;
    struct rng rng;
    bool is_over = false;
    vindex__rng_init(&rng, 1000 + number);
    while (!is_over) { /* some questions, then another searcher */
        CHECK(vindex_searcher_open(number % 3 == 2 ? shared.other : shared.index, &searcher) ==
              VINDEX_OK);
        for (int i = 0; i < 50 && !is_over; i++) {
            struct question q;
            draw_question(&rng, &q);
            ask_and_check(searcher, &q);
            free(q.hits);
            pthread_mutex_lock(&shared.mutex);
            is_over = shared.is_over;
            pthread_mutex_unlock(&shared.mutex);
        }
        vindex_searcher_close(searcher);
    }
    return NULL;
}

/* ---- another process ------------------------------------------------------------------------- */

static char path[64], lock[80];

static int take_rows(void *context, const int64_t *ids, const void *rows, size_t n)
{
    struct version *version = context;
    memcpy(shared.pool + version->n_rows * DIM, rows, n * DIM * sizeof(float));
    for (size_t i = 0; i < n; i++) {
        CHECK(version->vectors[ids[i]] < 0); /* each id once */
        version->vectors[ids[i]] = (int32_t)version->n_rows++;
    }
    return 0;
}

static uint64_t epoch_of(vindex *index)
{
    vindex_stats stats = VINDEX_STATS_INIT;
    CHECK(vindex_stat(index, &stats) == VINDEX_OK);
    return stats.epoch;
}

/* A scan and an answer of one commit, which two looks at its number tell: the scan's rows are the oracle's. Returns
   whether they were. */
static bool scan_and_ask(vindex *index, vindex_searcher *searcher, struct rng *rng)
{
    struct version version = {epoch_of(index), 0, malloc(N_IDS * sizeof *version.vectors)};
    struct question q;
    CHECK(version.vectors != NULL);
    for (size_t i = 0; i < N_IDS; i++)
        version.vectors[i] = -1;
    CHECK(vindex_scan(searcher, take_rows, &version) == VINDEX_OK);
    draw_question(rng, &q);
    ask(searcher, &q);
    bool is_one_commit = q.report.epoch == version.epoch && epoch_of(index) == version.epoch;
    if (is_one_commit) check_answers(&q, &version);
    free(q.hits);
    free(version.vectors);
    return is_one_commit;
}

/* Until the parent closes its end. */
static int search_elsewhere(int from_parent)
{
    vindex *index = NULL;
    struct rng rng;
    char ready, more;
    size_t n_checked = 0;
    vindex__rng_init(&rng, 77);
    shared.pool = malloc(sizeof(float) * N_IDS * DIM);
    CHECK(shared.pool != NULL && read(from_parent, &ready, 1) == 1);
    CHECK(fcntl(from_parent, F_SETFL, O_NONBLOCK) == 0);
    while (read(from_parent, &more, 1) != 0) { /* some questions, then opened again */
        vindex_searcher *searcher = NULL;
        CHECK(vindex_open(path, VINDEX_OPEN_READONLY, &index) == VINDEX_OK);
        CHECK(vindex_searcher_open(index, &searcher) == VINDEX_OK);
        for (int i = 0; i < 30; i++)
            n_checked += scan_and_ask(index, searcher, &rng);
        vindex_searcher_close(searcher);
        vindex_close(index);
    }
    printf("%zu answers in another process\n", n_checked);
    fflush(NULL);
    free(shared.pool);
    return n_checked > 0 ? 0 : 1;
}

struct elsewhere {
    pid_t child;
    int to_child;
};

/* Before any thread and any handle. */
static struct elsewhere start_elsewhere(void)
{
    int ends[2];
    CHECK(pipe(ends) == 0);
    fflush(NULL);
    struct elsewhere e = {fork(), ends[1]};
    CHECK(e.child >= 0);
    if (e.child == 0) {
        close(ends[1]);
        _exit(search_elsewhere(ends[0]));
    }
    close(ends[0]);
    return e;
}

static void end_elsewhere(const struct elsewhere *e)
{
    int status = 1;
    close(e->to_child);
    assert_int_equal(waitpid(e->child, &status, 0), e->child);
    assert_int_equal(status, 0);
}

/* ---- all of them ----------------------------------------------------------------------------- */

static void answers_are_of_their_commit(void **state)
{
    const char *given = getenv("VINDEX_TEST_SECONDS");
    vindex_create_options options = VINDEX_CREATE_OPTIONS_INIT;
    pthread_t threads[SEARCHERS];
    snprintf(path, sizeof path, "/tmp/vindex-beside-%ld.vdx", (long)getpid());
    snprintf(lock, sizeof lock, "%s-lock", path);
    struct elsewhere elsewhere = start_elsewhere();
    shared.pool = malloc(sizeof(float) * POOL_MAX * DIM);
    assert_non_null(shared.pool);
    options.dim = DIM;
    assert_int_equal(vindex_create(path, &options, &shared.index), VINDEX_OK);
    begin_with_rows(*state);
    assert_int_equal(vindex_optimize(shared.index, 0, NULL, NULL), VINDEX_OK);
    publish(NULL);
    assert_int_equal(vindex_open(path, VINDEX_OPEN_READONLY, &shared.other), VINDEX_OK);
    for (size_t i = 0; i < SEARCHERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, search_until_over, (void *)i), 0);
    assert_int_equal(write(elsewhere.to_child, "r", 1), 1);
    write_until(*state, vindex__now_ns() + (int64_t)((given ? atof(given) : 40) * 1e9));
    for (size_t i = 0; i < SEARCHERS; i++)
        pthread_join(threads[i], NULL);
    printf("%zu commits; answers exact %llu, proven %llu, assumed %llu\n", shared.n_versions,
           (unsigned long long)shared.n_by_state[1], (unsigned long long)shared.n_by_state[2],
           (unsigned long long)shared.n_by_state[3]);
    for (size_t i = 0; i < N_TARGETS; i++) {
        double recall = shared.recall_sum[i] / (double)shared.n_recall[i];
        printf("target %.2f: %llu proven, recall %.4f\n", targets[i],
               (unsigned long long)shared.n_recall[i], recall);
        assert_true(shared.n_recall[i] < 100 || recall >= targets[i] - 0.02);
    }
    end_elsewhere(&elsewhere);
    assert_int_equal(vindex_check(shared.index, NULL, NULL), VINDEX_OK);
    vindex_close(shared.other);
    vindex_close(shared.index);
    unlink(path);
    unlink(lock);
    for (size_t i = 0; i < shared.n_versions; i++)
        free(shared.versions[i].vectors);
    free(shared.pool);
}

int main(void)
{
    struct rng rng;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(answers_are_of_their_commit, &rng)};
    vindex__rng_init(&rng, test_seed());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
