/*
 * test_concurrency.c - readers in many threads beside a writer: each answer shows one commit, whole; commits never
 * run backwards; a snapshot in use outlives what replaces it.
 */
#include "common/cmocka.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "common/model.h"

enum { N = 500, DIM = 4, READERS = 3, COMMITS = 60 };

struct shared {
    vindex *index;
    atomic_bool done;
    atomic_uint answers;
};

/* Commit number v: every row is (v, v, v, v), written as removals, upserts and fresh rows by turns. */
static void commit_version(vindex *index, int v)
{
    float rows[N * DIM];
    int64_t ids[N];
    vindex_writer *writer = NULL;
    for (int i = 0; i < N * DIM; i++)
        rows[i] = (float)v;
    for (int i = 0; i < N; i++)
        ids[i] = i;
    MODEL_CHECK(vindex_writer_begin(index, &writer) == VINDEX_OK);
    if (v % 3 == 1) MODEL_CHECK(vindex_writer_remove_all(writer) == VINDEX_OK);
    if (v % 3 == 2) MODEL_CHECK(vindex_writer_remove(writer, ids, N / 2, NULL) == VINDEX_OK);
    MODEL_CHECK(vindex_writer_insert(writer, ids, &VINDEX_F32_ROWS(rows, N), VINDEX_UPSERT) == VINDEX_OK);
    MODEL_CHECK(vindex_writer_commit(writer) == VINDEX_OK);
    if (v % 10 == 0)
        MODEL_CHECK(vindex_optimize(index, VINDEX_OPTIMIZE_ALL, NULL, NULL) == VINDEX_OK);
}

static void *read_until_done(void *context)
{
    struct shared *shared = context;
    vindex_searcher *searcher = NULL;
    vindex_hit *hits = calloc(N + 1, sizeof *hits);
    float query[DIM] = {0}, last = 0;
    uint64_t last_epoch = 0;
    MODEL_CHECK(hits != NULL);
    MODEL_CHECK(vindex_searcher_open(shared->index, &searcher) == VINDEX_OK);
    while (!atomic_load(&shared->done)) {
        vindex_report report = VINDEX_REPORT_INIT;
        MODEL_CHECK(vindex_search(searcher, &VINDEX_F32_ROWS(query, 1), N + 1, NULL, hits) == VINDEX_OK);
        MODEL_CHECK(vindex_searcher_report(searcher, &report) == VINDEX_OK);
        MODEL_CHECK(hits[N].id == VINDEX_ID_NONE);
        for (int i = 0; i < N; i++) {
            MODEL_CHECK(hits[i].id == i);
            MODEL_CHECK(hits[i].score == hits[0].score);
        }
        MODEL_CHECK(hits[0].score >= last && report.epoch >= last_epoch);
        last = hits[0].score;
        last_epoch = report.epoch;
        vindex_stats stats = VINDEX_STATS_INIT;
        MODEL_CHECK(vindex_stat(shared->index, &stats) == VINDEX_OK);
        MODEL_CHECK(stats.n_rows == N);
        atomic_fetch_add(&shared->answers, 1);
    }
    vindex_searcher_close(searcher);
    free(hits);
    return NULL;
}

static void run(const char *path)
{
    struct shared shared = {0};
    pthread_t readers[READERS];
    vindex_create_options options = VINDEX_CREATE_OPTIONS_INIT;
    options.dim = DIM;
    options.seal_rows = 120;
    assert_int_equal(vindex_create(path, &options, &shared.index), VINDEX_OK);
    commit_version(shared.index, 1);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, read_until_done, &shared), 0);
    for (int v = 2; v <= COMMITS; v++)
        commit_version(shared.index, v);
    atomic_store(&shared.done, true);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_join(readers[i], NULL), 0);
    assert_true(atomic_load(&shared.answers) > READERS);
    MODEL_CHECK(vindex_check(shared.index, NULL, NULL) == VINDEX_OK);
    vindex_close(shared.index);
}

static void memory_readers_see_whole_commits(void **state)
{
    (void)state;
    run(":memory:");
}

static void file_readers_see_whole_commits(void **state)
{
    (void)state;
    char path[256];
    model_path(path, sizeof path, "concurrency");
    run(path);
    model_unlink(path);
}

/* One search with many threads of its own, beside others: the pool belongs to its searcher. */
static void threads_within_a_search(void **state)
{
    (void)state;
    enum { ROWS = 3000, QUERIES = 40, K = 9 };
    float *rows = calloc((size_t)ROWS * 16, sizeof *rows);
    vindex_hit one[QUERIES * K], many[QUERIES * K];
    vindex_search_options options = VINDEX_SEARCH_OPTIONS_INIT;
    struct rng rng;
    assert_non_null(rows);
    vindex__rng_init(&rng, test_seed());
    for (size_t i = 0; i < (size_t)ROWS * 16; i++)
        rows[i] = (float)vindex__rng_unit(&rng);
    assert_int_equal(vindex_brute(&VINDEX_F32_ROWS(rows, ROWS), &VINDEX_F32_ROWS(rows, QUERIES), 16,
                                  VINDEX_IP, K, NULL, one),
                     VINDEX_OK);
    for (options.n_threads = 2; options.n_threads <= 5; options.n_threads++) {
        assert_int_equal(vindex_brute(&VINDEX_F32_ROWS(rows, ROWS), &VINDEX_F32_ROWS(rows, QUERIES), 16,
                                      VINDEX_IP, K, &options, many),
                         VINDEX_OK);
        assert_memory_equal(one, many, sizeof one);
    }
    free(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_readers_see_whole_commits),
        cmocka_unit_test(file_readers_see_whole_commits),
        cmocka_unit_test(threads_within_a_search),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
