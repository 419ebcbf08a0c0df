/*
 * test_slow_kill.c - a process that writes is killed at random, again and again: every commit it reported is
 * there, the one it was in is there whole or not at all, `check` passes and nobody waits for a lock.
 *
 * VINDEX_TEST_KILLS sets how often (300).
 */
#include "common/cmocka.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/model.h"

/* Shared with the child. */
struct progress {
    volatile uint64_t started, done; /* numbers of transactions */
};

static size_t n_kills(size_t initial)
{
    const char *given = getenv("VINDEX_TEST_KILLS");
    return given && *given ? strtoul(given, NULL, 10) : initial;
}

static struct progress *share(void)
{
    void *memory = mmap(NULL, sizeof(struct progress), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(memory != MAP_FAILED);
    return memory;
}

/* Runs until killed. */
static void write_for_ever(const char *path, struct model *model, struct progress *progress,
                           uint64_t seed)
{
    vindex *index = NULL;
    MODEL_CHECK(vindex_open(path, 0, &index) == VINDEX_OK);
    for (;;) {
        uint64_t number = progress->done + 1;
        vindex_writer *writer = NULL;
        MODEL_CHECK(vindex_writer_begin(index, &writer) == VINDEX_OK);
        model_transaction(model, seed + number, writer);
        progress->started = number;
        MODEL_CHECK(vindex_writer_commit(writer) == VINDEX_OK);
        progress->done = number;
        if (number % 5 == 0)
            MODEL_CHECK(vindex_optimize(index, number % 10 ? 0 : VINDEX_OPTIMIZE_ALL, NULL, NULL) ==
                        VINDEX_OK);
        if (number % 7 == 0) {
            vindex_close(index);
            MODEL_CHECK(vindex_open(path, 0, &index) == VINDEX_OK);
        }
    }
}

static void kill_after(pid_t child, uint64_t microseconds)
{
    int status = 0;
    usleep((useconds_t)microseconds);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* The model as the file must show it: after the last reported commit, or the one under way. */
static void settle(struct model *model, uint64_t *settled, const struct progress *progress,
                   vindex *index, uint64_t seed)
{
    while (*settled < progress->done)
        model_transaction(model, seed + ++*settled, NULL);
    if (progress->started == progress->done || model_equals(model, index)) return;
    assert_int_equal(progress->started, progress->done + 1);
    model_transaction(model, seed + ++*settled, NULL);
}

static void killed_writers_lose_nothing(void **state)
{
    (void)state;
    char path[256];
    uint64_t seed = test_seed(), settled = 0;
    struct progress *progress = share();
    struct model model;
    struct rng rng;
    vindex *index = NULL;
    vindex_writer *writer = NULL;
    size_t n = n_kills(300);
    vindex__rng_init(&rng, seed);
    model_path(path, sizeof path, "kill");
    model_init(&model, VINDEX_FLOAT, VINDEX_L2, 24, 400);
    vindex_create_options options = model_options(&model, 60);
    assert_int_equal(vindex_create(path, &options, &index), VINDEX_OK);
    vindex_close(index);

    alarm(600); /* a stuck lock fails the test instead of hanging it */
    for (size_t i = 0; i < n; i++) {
        fflush(NULL);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) write_for_ever(path, &model, progress, seed);
        kill_after(child, 200 + vindex__rng_below(&rng, 40000));

        MODEL_CHECK(vindex_open(path, 0, &index) == VINDEX_OK);
        settle(&model, &settled, progress, index, seed);
        model_compare(&model, index, seed + i);
        assert_int_equal(vindex_writer_begin(index, &writer), VINDEX_OK);
        vindex_writer_abort(writer);
        vindex_close(index);
        progress->started = progress->done = settled;
    }
    printf("%zu kills, %llu commits, %zu rows at the end\n", n, (unsigned long long)settled, model.n);
    model_free(&model);
    model_unlink(path);
}

/* Blocks committed ahead of their catalog: killed loads leave orphans, which the next writer collects. Every other load is
   killed once all its rows are in, however slow the machine. */
static void killed_loads_leave_no_orphans(void **state)
{
    (void)state;
    enum { DIM = 512, ROWS = 24000 }; /* 48 MB: pending blocks are flushed on the way */
    char path[256];
    struct rng rng;
    vindex *index = NULL;
    vindex_writer *writer = NULL;
    vindex_create_options options = VINDEX_CREATE_OPTIONS_INIT;
    float *rows = calloc((size_t)ROWS * DIM, sizeof *rows);
    size_t n_flagged = 0, n = n_kills(300) / 25 + 2;
    struct progress *progress = share();
    assert_non_null(rows);
    for (size_t i = 0; i < (size_t)ROWS * DIM; i++)
        rows[i] = (float)(i % 1009);
    vindex__rng_init(&rng, test_seed());
    options.dim = DIM;
    model_path(path, sizeof path, "load");
    assert_int_equal(vindex_create(path, &options, &index), VINDEX_OK);
    vindex_close(index);
    alarm(600);
    for (size_t i = 0; i < n; i++) {
        fflush(NULL);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            MODEL_CHECK(vindex_open(path, 0, &index) == VINDEX_OK);
            MODEL_CHECK(vindex_writer_begin(index, &writer) == VINDEX_OK);
            MODEL_CHECK(vindex_writer_insert(writer, NULL, &VINDEX_F32_ROWS(rows, ROWS), 0) ==
                        VINDEX_OK);
            progress->done = 1;
            pause();
        }
        while (i % 2 && !progress->done)
            usleep(1000);
        kill_after(child, i % 2 ? 0 : 20000 + vindex__rng_below(&rng, 500000));
        progress->done = 0;
        vindex_stats before = VINDEX_STATS_INIT, after = VINDEX_STATS_INIT;
        MODEL_CHECK(vindex_open(path, 0, &index) == VINDEX_OK);
        MODEL_CHECK(vindex_check(index, NULL, NULL) == VINDEX_OK);
        MODEL_CHECK(vindex_stat(index, &before) == VINDEX_OK);
        assert_int_equal(before.n_rows, 0);
        assert_int_equal(vindex_writer_begin(index, &writer), VINDEX_OK);
        MODEL_CHECK(vindex_writer_commit(writer) == VINDEX_OK);
        MODEL_CHECK(vindex_check(index, NULL, NULL) == VINDEX_OK);
        MODEL_CHECK(vindex_stat(index, &after) == VINDEX_OK);
        n_flagged += after.used_bytes < before.used_bytes;
        assert_true(after.used_bytes < 1u << 20);
        vindex_close(index);
    }
    printf("%zu of %zu killed loads had left blocks behind\n", n_flagged, n);
    assert_true(n_flagged >= n / 2);
    free(rows);
    model_unlink(path);
}

/* Rows enough to be encoded, trained and encoded anew all the time, with commits between. */
static void optimize_for_ever(const char *path, struct model *model, uint64_t seed)
{
    vindex *index = NULL;
    struct rng rng;
    vindex__rng_init(&rng, seed);
    MODEL_CHECK(vindex_open(path, 0, &index) == VINDEX_OK);
    for (;;) {
        vindex_writer *writer = NULL;
        MODEL_CHECK(vindex_optimize(index, VINDEX_OPTIMIZE_ALL, NULL, NULL) == VINDEX_OK);
        MODEL_CHECK(vindex_writer_begin(index, &writer) == VINDEX_OK);
        model_insert_fresh(model, &rng, writer, 20);
        MODEL_CHECK(vindex_writer_commit(writer) == VINDEX_OK);
    }
}

/* Each step of optimize is a transaction: whichever one is cut short, model, codes and audits agree with
 * what they are of, and no block is left behind. */
static void killed_optimizers_leave_whole_planes(void **state)
{
    (void)state;
    enum { ROWS = 6000 };
    char path[256];
    struct model model;
    struct rng rng;
    vindex *index = NULL;
    vindex_writer *writer = NULL;
    size_t n = n_kills(300) / 5 + 1, n_partly = 0;
    uint64_t seed = test_seed();
    vindex__rng_init(&rng, seed);
    model_path(path, sizeof path, "planes");
    model_init(&model, VINDEX_FLOAT, VINDEX_L2, 24, ROWS);
    vindex_create_options options = model_options(&model, 500);
    assert_int_equal(vindex_create(path, &options, &index), VINDEX_OK);
    assert_int_equal(vindex_writer_begin(index, &writer), VINDEX_OK);
    model_insert_fresh(&model, &rng, writer, ROWS);
    assert_int_equal(vindex_writer_commit(writer), VINDEX_OK);
    vindex_close(index);
    alarm(600);
    for (size_t i = 0; i < n; i++) {
        fflush(NULL);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            struct model copy = {0};
            model_init(&copy, VINDEX_FLOAT, VINDEX_L2, 24, ROWS);
            copy.next_id = 1000000 * (int64_t)(i + 1);
            optimize_for_ever(path, &copy, seed + i);
        }
        kill_after(child, 1000 + vindex__rng_below(&rng, 400000));
        vindex_stats stats = VINDEX_STATS_INIT;
        MODEL_CHECK(vindex_open(path, 0, &index) == VINDEX_OK);
        MODEL_CHECK(vindex_check(index, NULL, NULL) == VINDEX_OK);
        MODEL_CHECK(vindex_stat(index, &stats) == VINDEX_OK);
        assert_true(stats.n_rows >= ROWS);
        n_partly += stats.n_coded < stats.n_rows - stats.n_tail;
        MODEL_CHECK(vindex_writer_begin(index, &writer) == VINDEX_OK);
        MODEL_CHECK(vindex_writer_commit(writer) == VINDEX_OK); /* collects what nobody names */
        MODEL_CHECK(vindex_check(index, NULL, NULL) == VINDEX_OK);
        vindex_close(index);
    }
    MODEL_CHECK(vindex_open(path, 0, &index) == VINDEX_OK);
    MODEL_CHECK(vindex_optimize(index, 0, NULL, NULL) == VINDEX_OK);
    vindex_stats stats = VINDEX_STATS_INIT;
    MODEL_CHECK(vindex_stat(index, &stats) == VINDEX_OK);
    assert_int_equal(stats.n_coded, stats.n_rows);
    vindex_close(index);
    printf("%zu kills, %zu of them left segments without codes\n", n, n_partly);
    model_free(&model);
    model_unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_writers_lose_nothing),
        cmocka_unit_test(killed_loads_leave_no_orphans),
        cmocka_unit_test(killed_optimizers_leave_whole_planes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
