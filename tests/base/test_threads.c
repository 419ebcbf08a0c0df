/*
 * test_threads.c - every task of a pool runs once, in one of its workers; a pool that got no
 * helper, a forked one and an unused one behave.
 */
#include "common/cmocka.h"

#include "base/mem.h"
#include "base/threads.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_TASKS = 1000, MOST_WORKERS = 9 };

struct tally {
    unsigned char
        times[MOST_TASKS];       /* written by the task's worker alone: the sanitizer sees two */
    unsigned busy[MOST_WORKERS]; /* written by that worker alone */
    size_t last[MOST_WORKERS];
    _Atomic unsigned n_wrong;
    uint32_t n_workers;
};

static void count(void *context, size_t task, uint32_t worker)
{
    struct tally *tally = context;

    if (worker >= tally->n_workers) {
        tally->n_wrong++;
        return;
    }
    if (tally->busy[worker]++ > 0 && tally->last[worker] >= task) tally->n_wrong++; /* ascending */
    tally->last[worker] = task;
    tally->times[task]++;
}

static void run_and_check(struct pool *pool, size_t n_tasks)
{
    static struct tally tally;

    memset(&tally, 0, sizeof tally);
    tally.n_workers = pool ? vindex__pool_size(pool) : 1;
    vindex__pool_run(pool, count, &tally, n_tasks);
    for (size_t i = 0; i < MOST_TASKS; i++)
        assert_int_equal(tally.times[i], i < n_tasks);
    assert_int_equal(tally.n_wrong, 0);
}

static void every_task_runs_once(void **state)
{
    static const size_t n_tasks[] = {0, 1, 2, 3, 7, 8, 9, 64, MOST_TASKS};
    (void)state;

    for (uint32_t n_threads = 1; n_threads <= MOST_WORKERS; n_threads++) {
        struct pool *pool = NULL;
        assert_int_equal(vindex__pool_open(n_threads, &pool), VINDEX_OK);
        assert_int_equal(vindex__pool_size(pool), n_threads);
        for (int round = 0; round < 20; round++)
            for (size_t i = 0; i < sizeof n_tasks / sizeof *n_tasks; i++)
                run_and_check(pool, n_tasks[i]);
        vindex__pool_close(pool);
    }
    run_and_check(NULL, 0);
    run_and_check(NULL, 100);
}

static void an_unused_pool_closes(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        struct pool *pool = NULL;
        assert_int_equal(vindex__pool_open(4, &pool), VINDEX_OK);
        vindex__pool_close(pool);
    }
    vindex__pool_close(NULL);
}

static void a_run_allocates_nothing(void **state)
{
    struct pool *pool = NULL;
    uint64_t live = vindex__mem_live_bytes(), before;
    (void)state;

    assert_int_equal(vindex__pool_open(3, &pool), VINDEX_OK);
    before = vindex__mem_count();
    run_and_check(pool, 500);
    assert_true(vindex__mem_count() == before);
    vindex__pool_close(pool);

    vindex__mem_fail_after(1);
    assert_int_equal(vindex__pool_open(3, &pool), VINDEX_NOMEM);
    vindex__mem_fail_after(0);
    assert_null(pool);
    assert_true(vindex__mem_live_bytes() == live);
}

/* Two tasks that wait for each other need two workers at once. */
static void meet(void *context, size_t task, uint32_t worker)
{
    (void)task, (void)worker;
    pthread_barrier_wait(context);
}

static void helpers_work_beside_the_caller(void **state)
{
    struct pool *pool = NULL;
    pthread_barrier_t barrier;
    (void)state;

    assert_int_equal(pthread_barrier_init(&barrier, NULL, 3), 0);
    assert_int_equal(vindex__pool_open(3, &pool), VINDEX_OK);
    for (int round = 0; round < 100; round++)
        vindex__pool_run(pool, meet, &barrier, 3);
    vindex__pool_close(pool);
    pthread_barrier_destroy(&barrier);
}

static void *do_nothing(void *argument)
{
    return argument;
}

/* In a child that may start no thread: the exit status says what went wrong. */
static int without_helpers(void)
{
    struct rlimit none = {0, 0};
    struct pool *pool = NULL;
    static struct tally tally;
    pthread_t thread;

    if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0) return 77;
    if (setrlimit(RLIMIT_NPROC, &none) != 0) return 77;
    if (pthread_create(&thread, NULL, do_nothing, NULL) == 0) return 77;

    if (vindex__pool_open(4, &pool) != VINDEX_OK) return 1;
    if (vindex__pool_size(pool) != 1) return 2;
    tally.n_workers = 1;
    vindex__pool_run(pool, count, &tally, MOST_TASKS);
    if (tally.n_wrong || tally.busy[0] != MOST_TASKS) return 3;
    vindex__pool_close(pool);
    return 0;
}

static int exit_status_of(int (*body)(void))
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) _exit(body());
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void a_pool_without_helpers_works(void **state)
{
    int status = exit_status_of(without_helpers);
    (void)state;

    if (status == 77) {
        print_message("skipped: this system lets the child start threads without limit\n");
        skip();
    }
    assert_int_equal(status, 0);
}

static struct pool *inherited;

static int close_inherited(void)
{
    alarm(20); /* a join that waits for ever ends the child by a signal */
    vindex__pool_close(inherited);
    return 0;
}

static void a_forked_child_may_close_the_pool(void **state)
{
    (void)state;
    assert_int_equal(vindex__pool_open(3, &inherited), VINDEX_OK);
    run_and_check(inherited, 100);
    assert_int_equal(exit_status_of(close_inherited), 0);
    run_and_check(inherited, 100);
    vindex__pool_close(inherited);
}

struct masks {
    pthread_barrier_t barrier; /* holds each worker until every one has a task */
    int is_blocked[3];
};

static void note_mask(void *context, size_t task, uint32_t worker)
{
    struct masks *masks = context;
    sigset_t mask;
    (void)task;

    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    masks->is_blocked[worker] = sigismember(&mask, SIGUSR1);
    pthread_barrier_wait(&masks->barrier);
}

static void signals_stay_with_the_caller(void **state)
{
    struct pool *pool = NULL;
    struct masks masks = {.is_blocked = {-1, -1, -1}};
    (void)state;

    assert_int_equal(pthread_barrier_init(&masks.barrier, NULL, 3), 0);
    assert_int_equal(vindex__pool_open(3, &pool), VINDEX_OK);
    vindex__pool_run(pool, note_mask, &masks, 3);
    vindex__pool_close(pool);
    pthread_barrier_destroy(&masks.barrier);
    assert_int_equal(masks.is_blocked[0], 0);
    assert_int_equal(masks.is_blocked[1], 1);
    assert_int_equal(masks.is_blocked[2], 1);
}

static void the_clock_ascends(void **state)
{
    int64_t start = vindex__now_ns(), now = start;
    (void)state;

    for (int i = 0; i < 1000; i++) {
        int64_t next = vindex__now_ns();
        assert_true(next >= now);
        now = next;
    }
    usleep(2000);
    assert_true(vindex__now_ns() - start >= 2000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_runs_once),
        cmocka_unit_test(an_unused_pool_closes),
        cmocka_unit_test(a_run_allocates_nothing),
        cmocka_unit_test(helpers_work_beside_the_caller),
        cmocka_unit_test(a_pool_without_helpers_works),
        cmocka_unit_test(a_forked_child_may_close_the_pool),
        cmocka_unit_test(signals_stay_with_the_caller),
        cmocka_unit_test(the_clock_ascends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
