/*
 * test_promise.c - targets below 1 through the public interface: what a report says before and after anything is
 * known, that it is kept in the file, and what vindex_calibrate refuses, cancels and survives.
 */
#include "common/cmocka.h"

#include <math.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "api/api.h"
#include "base/mem.h"
#include "base/random.h"
#include "vindex.h"

enum { DIM = 32, N_ROWS = 31000, N_QUERIES = 1200, N_CLUSTERS = 200, K = 10 };

static struct rng rng;
static float *rows, *queries, *shifted;

/* Indexes made once and copied for each test. */
enum prepared { BARE, OPTIMIZED, CALIBRATED, N_PREPARED };
static char prepared_paths[N_PREPARED][64];
static char path[64]; /* of the copy in use */

/* ---- data ------------------------------------------------------------------------------------ */

static float normal(void)
{
    double u = 1 - vindex__rng_unit(&rng), v = vindex__rng_unit(&rng);
    return (float)(sqrt(-2 * log(u)) * cos(2 * acos(-1) * v));
}

/* Clusters whose spread falls from axis to axis, as real embeddings' does. */
static float *draw(const float *centres, size_t n, float noise)
{
    float *out = malloc(n * DIM * sizeof *out);
    for (size_t i = 0; i < n; i++) {
        size_t c = vindex__rng_below(&rng, N_CLUSTERS);
        for (int j = 0; j < DIM; j++)
            out[i * DIM + j] = centres[c * DIM + j] + noise * normal() / (1 + 0.15F * (float)j);
    }
    return out;
}

static void insert(vindex *index, size_t first, size_t n)
{
    vindex_writer *writer = NULL;
    assert_int_equal(vindex_writer_begin(index, &writer), VINDEX_OK);
    assert_int_equal(vindex_writer_insert(writer, NULL, &VINDEX_F32_ROWS(rows + first * DIM, n), 0),
                     VINDEX_OK);
    assert_int_equal(vindex_writer_commit(writer), VINDEX_OK);
}

static void remove_file(const char *name)
{
    char lock[256];
    snprintf(lock, sizeof lock, "%s-lock", name);
    unlink(name);
    unlink(lock);
}

static vindex_status calibrate(vindex *index, const float *from, size_t n)
{
    return vindex_calibrate(index, &VINDEX_F32_ROWS(from, n), NULL, NULL);
}

static void copy_file(const char *from, const char *to)
{
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    char piece[1 << 16];
    size_t n;
    assert_true(in && out);
    while ((n = fread(piece, 1, sizeof piece, in)) > 0)
        assert_int_equal(fwrite(piece, 1, n, out), n);
    fclose(in);
    assert_int_equal(fclose(out), 0);
}

/* Each from the one before. */
static void prepare(enum prepared what)
{
    vindex_create_options options = VINDEX_CREATE_OPTIONS_INIT;
    vindex *index = NULL;
    char *name = prepared_paths[what];
    snprintf(name, sizeof prepared_paths[what], "/tmp/vindex-promise-%ld-%d.vdx", (long)getpid(),
             (int)what);
    options.dim = DIM;
    if (what == BARE) {
        assert_int_equal(vindex_create(name, &options, &index), VINDEX_OK);
        insert(index, 0, N_ROWS);
    } else {
        copy_file(prepared_paths[what - 1], name);
        assert_int_equal(vindex_open(name, 0, &index), VINDEX_OK);
    }
    if (what == OPTIMIZED) assert_int_equal(vindex_optimize(index, 0, NULL, NULL), VINDEX_OK);
    if (what == CALIBRATED) assert_int_equal(calibrate(index, queries, 400), VINDEX_OK);
    vindex_close(index);
}

static int setup_data(void **state)
{
    float *centres = malloc(N_CLUSTERS * DIM * sizeof *centres);
    (void)state;
    for (int i = 0; i < N_CLUSTERS * DIM; i++)
        centres[i] = 2 * normal() / (1 + 0.15F * (float)(i % DIM));
    rows = draw(centres, N_ROWS, 1);
    queries = draw(centres, N_QUERIES, 1);
    shifted = draw(centres, N_QUERIES, 3);
    free(centres);
    snprintf(path, sizeof path, "/tmp/vindex-promise-%ld.vdx", (long)getpid());
    for (int i = 0; i < N_PREPARED; i++)
        prepare((enum prepared)i);
    return 0;
}

static int free_data(void **state)
{
    (void)state;
    for (int i = 0; i < N_PREPARED; i++)
        remove_file(prepared_paths[i]);
    free(rows);
    free(queries);
    free(shifted);
    return 0;
}

static vindex *open_copy(enum prepared what)
{
    vindex *index = NULL;
    copy_file(prepared_paths[what], path);
    assert_int_equal(vindex_open(path, 0, &index), VINDEX_OK);
    return index;
}

static void close_copy(vindex *index)
{
    vindex_close(index);
    remove_file(path);
}

/* ---- asking ---------------------------------------------------------------------------------- */

struct answer {
    vindex_report report;
    double recall;
    uint64_t n_by_state[4];
};

/* Queries first .. first + n - 1, `batch` a call; recall against the same index at recall 1. */
static struct answer ask(vindex *index, const float *from, size_t first, size_t n, size_t batch,
                         float recall, uint32_t flags)
{
    vindex_search_options options = VINDEX_SEARCH_OPTIONS_INIT, exact = VINDEX_SEARCH_OPTIONS_INIT;
    vindex_searcher *searcher = NULL;
    vindex_hit *hits = malloc(2 * batch * K * sizeof *hits), *truth = hits + batch * K;
    struct answer answer = {.report = VINDEX_REPORT_INIT};
    uint64_t found = 0;
    options.recall = recall;
    options.flags = flags;
    exact.recall = 1;
    assert_int_equal(vindex_searcher_open(index, &searcher), VINDEX_OK);
    for (size_t at = first; at < first + n; at += batch) {
        vindex_vectors some = VINDEX_F32_ROWS(from + at * DIM, batch);
        assert_int_equal(vindex_search(searcher, &some, K, &exact, truth), VINDEX_OK);
        assert_int_equal(vindex_search(searcher, &some, K, &options, hits), VINDEX_OK);
        assert_int_equal(vindex_searcher_report(searcher, &answer.report), VINDEX_OK);
        answer.n_by_state[answer.report.state] += batch;
        for (size_t q = 0; q < batch; q++)
            for (int i = 0; i < K; i++)
                for (int j = 0; j < K; j++)
                    found += hits[q * K + (size_t)i].id == truth[q * K + (size_t)j].id;
    }
    answer.recall = (double)found / (double)(n * K);
    vindex_searcher_close(searcher);
    free(hits);
    return answer;
}

static vindex_stats stats_of(vindex *index)
{
    vindex_stats stats = VINDEX_STATS_INIT;
    assert_int_equal(vindex_stat(index, &stats), VINDEX_OK);
    return stats;
}

static void assert_exact(const struct answer *answer)
{
    assert_int_equal(answer->report.state, VINDEX_STATE_EXACT);
    assert_int_equal(answer->report.basis, 0);
    assert_true(answer->report.predicted == 1 && answer->report.bound == 1 && answer->recall == 1);
    assert_int_equal(answer->report.effort, 0);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void nothing_known_is_exact(void **state)
{
    vindex *index = open_copy(BARE);
    (void)state;
    struct answer answer = ask(index, queries, 0, 50, 1, 0.9F, 0);
    assert_exact(&answer);
    assert_int_equal(stats_of(index).n_audits, 0);
    /* Without codes there is nothing to learn. */
    assert_int_equal(calibrate(index, queries, 100), VINDEX_OK);
    assert_int_equal(stats_of(index).n_audits, 0);
    close_copy(index);
}

/* Audits that threads share know as much as those of one. */
static void threads_share_audits(void **state)
{
    static const float targets[] = {0.9F, 0.95F, 0.99F};
    struct answer one[3];
    (void)state;
    for (int i = 0; i < 2; i++) {
        vindex *index = open_copy(i ? BARE : OPTIMIZED);
        if (i)
            assert_int_equal(vindex_optimize(index, VINDEX_OPTIMIZE_THREADS(3), NULL, NULL), VINDEX_OK);
        assert_int_equal(stats_of(index).n_audits, 1000);
        for (size_t t = 0; t < 3; t++) {
            struct answer answer = ask(index, queries, 0, 20, 1, targets[t], VINDEX_SEARCH_NO_AUDIT);
            assert_int_equal(answer.n_by_state[VINDEX_STATE_ASSUMED], 20);
            if (i == 0) one[t] = answer;
            /* Each index draws rows of its own. */
            assert_true(answer.report.predicted >= (double)targets[t]);
            assert_true(2 * answer.report.effort >= one[t].report.effort &&
                        answer.report.effort <= 2 * one[t].report.effort);
        }
        close_copy(index);
    }
}

static void from_cold_to_proven(void **state)
{
    vindex *index = open_copy(OPTIMIZED);
    (void)state;
    vindex_stats stats = stats_of(index);
    assert_int_equal(stats.n_audits, 1000);
    assert_true(stats.c4_axes > 0 && stats.n_coded == N_ROWS);

    /* Nobody may be audited: assumed from the rows, or exact where that is asked for. */
    struct answer answer = ask(index, queries, 0, 200, 1, 0.95F, VINDEX_SEARCH_NO_AUDIT);
    assert_int_equal(answer.n_by_state[VINDEX_STATE_ASSUMED], 200);
    assert_int_equal(answer.report.basis, 1);
    assert_int_equal(answer.report.n_audits, 1000);
    assert_true(answer.report.bound == 0 && answer.report.predicted >= 0.95 &&
                isnan(answer.report.measured));
    assert_true(answer.report.effort >= K && answer.recall >= 0.95);
    assert_int_equal(stats_of(index).n_audits, 1000);
    answer = ask(index, queries, 0, 20, 1, 0.95F, VINDEX_SEARCH_NO_AUDIT | VINDEX_SEARCH_STRICT);
    assert_exact(&answer);

    /* A cold start: 32 exact answers, which are audits. */
    answer = ask(index, queries, 0, 32, 1, 0.95F, 0);
    assert_exact(&answer);
    assert_int_equal(stats_of(index).n_audits, 1032);
    answer = ask(index, queries, 32, 200, 1, 0.95F, 0);
    assert_true(answer.report.state != VINDEX_STATE_EXACT);
    assert_true(answer.recall >= 0.95);

    /* Strict goes on exactly until proven, then not. */
    answer = ask(index, queries, 232, 400, 1, 0.95F, VINDEX_SEARCH_STRICT);
    assert_int_equal(answer.report.state, VINDEX_STATE_PROVEN);
    assert_int_equal(answer.report.basis, 2);
    assert_true(answer.report.bound >= 0.95 && answer.report.predicted >= answer.report.bound);
    assert_int_equal(answer.n_by_state[VINDEX_STATE_ASSUMED], 0);
    assert_non_null(strstr(answer.report.plan, "proven"));
    assert_int_equal(stats_of(index).n_alarms, 0);
    close_copy(index);
}

static void given_queries_prove_at_once(void **state)
{
    static const float targets[] = {0.9F, 0.95F, 0.99F};
    vindex *index = open_copy(CALIBRATED);
    (void)state;
    assert_int_equal(stats_of(index).n_audits, 1400);
    for (size_t i = 0; i < 3; i++)
        for (size_t batch = 1; batch <= 100; batch *= 100) {
            struct answer answer = ask(index, queries, 400, 800, batch, targets[i], 0);
            assert_int_equal(answer.n_by_state[VINDEX_STATE_PROVEN] +
                                 answer.n_by_state[VINDEX_STATE_EXACT],
                             800);
            assert_true(answer.recall >= (double)targets[i]);
        }
    struct answer answer = ask(index, queries, 400, 10, 1, 0.99F, VINDEX_SEARCH_NO_AUDIT);
    assert_int_equal(answer.report.state, VINDEX_STATE_PROVEN);
    assert_true(answer.report.n_audits >= 400);
    /* 400 prove no 0.999, and 1,000 rows are no ground to assume it. */
    answer = ask(index, queries, 400, 10, 1, 0.999F, VINDEX_SEARCH_NO_AUDIT);
    assert_exact(&answer);
    close_copy(index);
}

static void a_filter_is_never_proven(void **state)
{
    vindex *index = open_copy(CALIBRATED);
    vindex_search_options options = VINDEX_SEARCH_OPTIONS_INIT;
    vindex_report report = VINDEX_REPORT_INIT;
    vindex_searcher *searcher = NULL;
    vindex_hit hits[K];
    int64_t out[100];
    (void)state;
    for (int i = 0; i < 100; i++)
        out[i] = 3 * i;
    vindex_filter filter = {
        .kind = VINDEX_FILTER_IDS, .flags = VINDEX_FILTER_NOT, .ids = out, .n = 100};
    assert_int_equal(vindex_searcher_open(index, &searcher), VINDEX_OK);
    options.recall = 0.95F;
    options.filter = &filter;
    assert_int_equal(vindex_search(searcher, &VINDEX_F32_ROWS(queries, 1), K, &options, hits),
                     VINDEX_OK);
    assert_int_equal(vindex_searcher_report(searcher, &report), VINDEX_OK);
    assert_true(report.state != VINDEX_STATE_PROVEN);
    options.filter = NULL;
    assert_int_equal(vindex_search(searcher, &VINDEX_F32_ROWS(queries, 1), K, &options, hits),
                     VINDEX_OK);
    assert_int_equal(vindex_searcher_report(searcher, &report), VINDEX_OK);
    /* A time limit is kept: no audit. */
    uint64_t before = stats_of(index).n_audits;
    options.timeout_ns = INT64_C(60000000000);
    for (int i = 0; i < 300; i++)
        assert_int_equal(vindex_search(searcher, &VINDEX_F32_ROWS(queries, 1), K, &options, hits),
                         VINDEX_OK);
    assert_int_equal(stats_of(index).n_audits, before);
    vindex_searcher_close(searcher);
    close_copy(index);
}

/* The file has the audits; another handle, another process, has the same plan from them. */
static void a_file_keeps_its_plan(void **state)
{
    (void)state;
    vindex *index = open_copy(OPTIMIZED), *other = NULL;
    assert_int_equal(vindex_open(path, VINDEX_OPEN_READONLY, &other), VINDEX_OK);
    assert_int_equal(ask(other, queries, 0, 1, 1, 0.95F, VINDEX_SEARCH_NO_AUDIT).report.state,
                     VINDEX_STATE_ASSUMED);

    /* One handle calibrates, the other sees it with the next search. */
    assert_int_equal(calibrate(index, queries, 400), VINDEX_OK);
    struct answer mine = ask(index, queries, 400, 20, 1, 0.95F, VINDEX_SEARCH_NO_AUDIT);
    struct answer theirs = ask(other, queries, 400, 20, 1, 0.95F, VINDEX_SEARCH_NO_AUDIT);
    assert_int_equal(mine.report.state, VINDEX_STATE_PROVEN);
    assert_int_equal(theirs.report.state, VINDEX_STATE_PROVEN);
    assert_int_equal(mine.report.effort, theirs.report.effort);
    assert_int_equal(stats_of(other).n_audits, 1400);
    assert_int_equal(calibrate(other, queries, 4), VINDEX_READONLY);
    vindex_close(other);
    vindex_close(index);
    assert_int_equal(vindex_open(path, 0, &index), VINDEX_OK);
    theirs = ask(index, queries, 400, 20, 1, 0.95F, VINDEX_SEARCH_NO_AUDIT);
    assert_int_equal(theirs.report.state, VINDEX_STATE_PROVEN);
    assert_int_equal(mine.report.effort, theirs.report.effort);
    assert_true(mine.report.bound == theirs.report.bound &&
                mine.report.predicted == theirs.report.predicted);

    /* Trained anew: the queries kept are answered again, and prove again. */
    assert_int_equal(vindex_optimize(index, VINDEX_OPTIMIZE_ALL, NULL, NULL), VINDEX_OK);
    assert_int_equal(stats_of(index).n_audits, 1400);
    theirs = ask(index, queries, 400, 20, 1, 0.95F, VINDEX_SEARCH_NO_AUDIT);
    assert_int_equal(theirs.report.state, VINDEX_STATE_PROVEN);
    assert_int_equal(vindex_check(index, NULL, NULL), VINDEX_OK);
    close_copy(index);
}

/* Half of the rows again: nothing is proven until optimize has answered anew. */
static void changed_rows_prove_nothing(void **state)
{
    vindex *index = open_copy(CALIBRATED);
    (void)state;
    insert(index, 0, N_ROWS / 2);
    struct answer answer = ask(index, queries, 400, 20, 1, 0.95F, VINDEX_SEARCH_NO_AUDIT);
    assert_int_not_equal(answer.report.state, VINDEX_STATE_PROVEN);
    assert_int_equal(vindex_optimize(index, 0, NULL, NULL), VINDEX_OK);
    answer = ask(index, queries, 400, 20, 1, 0.95F, VINDEX_SEARCH_NO_AUDIT);
    assert_int_equal(answer.report.state, VINDEX_STATE_PROVEN);
    close_copy(index);
}

/* ---- refusals -------------------------------------------------------------------------------- */

static int stop_late(void *context, uint64_t done, uint64_t total)
{
    (void)context;
    assert_int_equal(total, 400);
    return done >= 128;
}

static void calibrate_refuses_and_cancels(void **state)
{
    vindex *index = open_copy(OPTIMIZED);
    vindex_writer *writer = NULL;
    float bad[DIM] = {0};
    (void)state;
    bad[5] = NAN;
    assert_int_equal(calibrate(NULL, queries, 1), VINDEX_INVALID);
    assert_int_equal(vindex_calibrate(index, NULL, NULL, NULL), VINDEX_INVALID);
    assert_int_equal(calibrate(index, bad, 1), VINDEX_INVALID);
    assert_int_equal(calibrate(index, queries, 0), VINDEX_OK);
    assert_int_equal(vindex_writer_begin(index, &writer), VINDEX_OK);
    assert_int_equal(calibrate(index, queries, 1), VINDEX_BUSY);
    vindex_writer_abort(writer);
    assert_int_equal(stats_of(index).n_audits, 1000);

    assert_int_equal(vindex_calibrate(index, &VINDEX_F32_ROWS(queries, 400), stop_late, NULL),
                     VINDEX_CANCELLED);
    assert_non_null(strstr(vindex_message(), "128 of 400"));
    assert_int_equal(stats_of(index).n_audits, 1128); /* what was answered is kept */
    assert_int_equal(vindex_check(index, NULL, NULL), VINDEX_OK);

    vindex_search_options options = VINDEX_SEARCH_OPTIONS_INIT;
    vindex_searcher *searcher = NULL;
    vindex_hit hits[K];
    options.flags = 4;
    assert_int_equal(vindex_searcher_open(index, &searcher), VINDEX_OK);
    assert_int_equal(vindex_search(searcher, &VINDEX_F32_ROWS(queries, 1), K, &options, hits),
                     VINDEX_UNSUPPORTED);
    vindex_searcher_close(searcher);
    close_copy(index);
}

/* Each allocation of a calibration fails once; the index answers as before. */
static void calibrate_without_memory(void **state)
{
    vindex *index = open_copy(OPTIMIZED);
    (void)state;
    const float *some = queries; /* others each time: hard ones repeated contradict the rows */
    vindex_status st = VINDEX_NOMEM;
    for (uint64_t n = 1; st != VINDEX_OK; n += 1 + n / 8, some += 3 * DIM) {
        assert_true(n < 100000);
        vindex__mem_fail_after(n);
        st = calibrate(index, some, 3);
        vindex__mem_fail_after(0);
        assert_true(st == VINDEX_OK || st == VINDEX_NOMEM);
        struct answer answer = ask(index, queries, 0, 1, 1, 0.9F, VINDEX_SEARCH_NO_AUDIT);
        assert_int_equal(answer.report.state, VINDEX_STATE_ASSUMED);
    }
    assert_int_equal(vindex_check(index, NULL, NULL), VINDEX_OK);
    close_copy(index);
}

static void *search_all(void *index)
{
    vindex_search_options options = VINDEX_SEARCH_OPTIONS_INIT;
    vindex_searcher *searcher = NULL;
    vindex_hit hits[K];
    options.recall = 0.95F;
    assert_int_equal(vindex_searcher_open(index, &searcher), VINDEX_OK);
    for (int i = 0; i < 400; i++)
        assert_int_equal(vindex_search(searcher, &VINDEX_F32_ROWS(queries + (size_t)i * DIM, 1), K,
                                       &options, hits),
                         VINDEX_OK);
    vindex_searcher_close(searcher);
    return NULL;
}

/* Two searchers learn into one calibration while a third thread calibrates and optimizes. */
static void threads_learn_together(void **state)
{
    vindex *index = open_copy(OPTIMIZED);
    pthread_t threads[2];
    (void)state;
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, search_all, index), 0);
    assert_int_equal(calibrate(index, queries, 100), VINDEX_OK);
    assert_int_equal(vindex_optimize(index, 0, NULL, NULL), VINDEX_OK);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_true(stats_of(index).n_audits >= 1100);
    assert_int_equal(ask(index, queries, 400, 100, 1, 0.9F, 0).report.state, VINDEX_STATE_PROVEN);
    close_copy(index);
}

/* ---- each audit once ------------------------------------------------------------------------- */

/* Rows added, and most of them taken out again: queries that optimize answered anew in between are no further ones. */
static void queries_answered_anew_count_once(void **state)
{
    enum { N_ADDED = 9000, N_REMOVED = 5000 };
    vindex *index = open_copy(CALIBRATED);
    vindex_writer *writer = NULL;
    int64_t ids[N_REMOVED];
    (void)state;
    insert(index, 0, N_ADDED);
    assert_int_equal(vindex_optimize(index, 0, NULL, NULL), VINDEX_OK);
    assert_int_equal(stats_of(index).n_audits, 1400);
    for (int64_t i = 0; i < N_REMOVED; i++)
        ids[i] = N_ROWS + i;
    assert_int_equal(vindex_writer_begin(index, &writer), VINDEX_OK);
    assert_int_equal(vindex_writer_remove(writer, ids, N_REMOVED, NULL), VINDEX_OK);
    assert_int_equal(vindex_writer_commit(writer), VINDEX_OK);
    struct answer answer = ask(index, queries, 400, 20, 1, 0.95F, VINDEX_SEARCH_NO_AUDIT);
    assert_int_equal(answer.report.state, VINDEX_STATE_PROVEN);
    assert_int_equal(answer.report.n_audits, 400);
    close_copy(index);
}

/* Queries of another law, from a cold start: told, and answered well enough. */
static void another_law_reaches_the_target(void **state)
{
    static const float targets[] = {0.9F, 0.95F, 0.99F};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        vindex *index = open_copy(OPTIMIZED);
        struct answer answer = ask(index, shifted, 0, N_QUERIES, 1, targets[i], 0);
        printf("target %.2f: recall %.4f, exact %llu, proven %llu, assumed %llu\n",
               (double)targets[i], answer.recall, (unsigned long long)answer.n_by_state[1],
               (unsigned long long)answer.n_by_state[2], (unsigned long long)answer.n_by_state[3]);
        assert_true(answer.recall >= (double)targets[i]);
        close_copy(index);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_known_is_exact),
        cmocka_unit_test(threads_share_audits),
        cmocka_unit_test(from_cold_to_proven),
        cmocka_unit_test(given_queries_prove_at_once),
        cmocka_unit_test(a_filter_is_never_proven),
        cmocka_unit_test(a_file_keeps_its_plan),
        cmocka_unit_test(changed_rows_prove_nothing),
        cmocka_unit_test(calibrate_refuses_and_cancels),
        cmocka_unit_test(calibrate_without_memory),
        cmocka_unit_test(threads_learn_together),
        cmocka_unit_test(queries_answered_anew_count_once),
        cmocka_unit_test(another_law_reaches_the_target),
    };
    vindex__rng_init(&rng, test_seed());
    return cmocka_run_group_tests(tests, setup_data, free_data);
}
