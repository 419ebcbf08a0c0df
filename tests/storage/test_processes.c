/*
 * test_processes.c - index files between processes: the writer's lock, killed writers and readers, many opening at
 * once, handles carried over a fork.
 */
#include "helper_numbers.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/random.h"
#include "storage/env.h"

/* ---- processes --------------------------------------------------------------------------- */

static void expect_busy(void *context)
{
    struct store *store = test_open(context, false);
    struct session s;
    CHECK_STATUS(VINDEX_BUSY, vindex__session_open(store, true, &s));
    CHECK(test_read_number(store, 1) == 5);
    vindex__store_close(store);
}

static void write_until_killed(void *context)
{
    struct store *store = test_open(context, false);
    struct session s = test_session(store, true);
    for (uint64_t i = 1;; i++) {
        CHECK_OK(test_put_block(&s, i));
        for (uint64_t id = 10; id < 60; id++)
            test_put_number(&s, id, i);
        CHECK_OK(catalog_commit(s.catalog));
        if (i == 1) test_ready();
    }
}

static void hold_writer(void *context)
{
    struct store *store = test_open(context, false);
    test_session(store, true);
    test_ready();
    pause();
}

static void test_one_writer(void **state)
{
    const char *path = test_path("writer.vdx");
    struct store *store;
    struct session s;
    pid_t child;

    (void)state;
    test_make_file(path, 5);
    child = test_child_start(hold_writer, (void *)(uintptr_t)path);
    test_wait_ready();
    store = test_open(path, false);
    CHECK_STATUS(VINDEX_BUSY, vindex__session_open(store, true, &s));
    CHECK(test_read_number(store, 1) == 5);
    test_kill(child);
    test_write_number(store, 1, 5); /* the lock died with its owner */
    s = test_session(store, true);
    test_expect_exit(test_child(expect_busy, (void *)(uintptr_t)path));
    vindex__session_close(store, &s);
    test_write_number(store, 1, 6);
    vindex__store_close(store);
    test_remove(path);
}

/* Whatever moment a writer is killed in, the file holds one of its commits, whole. */
static void test_killed_writers(void **state)
{
    const char *path = test_path("killed.vdx");
    struct rng rng;

    (void)state;
    vindex__rng_init(&rng, test_seed());
    for (int round = 0; round < 25; round++) {
        struct timespec pause_time = {0, (long)vindex__rng_below(&rng, 40000000)};
        struct store *store;
        struct session s;
        uint64_t stamp, number;
        pid_t child;

        test_make_file(path, 5);
        child = test_child_start(write_until_killed, (void *)(uintptr_t)path);
        test_wait_ready();
        nanosleep(&pause_time, NULL);
        test_kill(child);
        store = test_open(path, false);
        test_check_sound(store);
        s = test_session(store, true);
        CHECK_OK(catalog_refresh(s.catalog, &stamp));
        number = test_get_number(&s, 10);
        for (uint64_t id = 10; id < 60; id++)
            CHECK(test_get_number(&s, id) == number);
        CHECK(number >= 1 && test_count_blocks(store) == number);
        vindex__session_close(store, &s);
        test_write_number(store, 99, 1);
        vindex__store_close(store);
    }
    test_remove(path);
}

static void read_and_stay(void *context)
{
    struct store *store = test_open(context, false);
    struct session s = test_session(store, false);
    uint64_t stamp;
    CHECK_OK(catalog_refresh(s.catalog, &stamp));
    test_ready();
    pause();
}

/* Pages kept for a reader that was killed are taken again. */
static void test_killed_reader(void **state)
{
    const char *path = test_path("stale.vdx");
    uint64_t size_bytes, used_bytes;
    struct store *store;
    struct session s;
    pid_t child;

    (void)state;
    test_make_file(path, 5);
    store = test_open(path, false);
    child = test_child_start(read_and_stay, (void *)(uintptr_t)path);
    test_wait_ready();
    test_kill(child);
    s = test_session(store, true);
    for (uint64_t i = 1; i <= 200; i++) {
        struct block_key old = test_block_key(i - 1);
        CHECK_OK(test_put_block(&s, i));
        if (i > 1) CHECK_OK(blocks_del(s.blocks, &old));
        CHECK_OK(catalog_commit(s.catalog));
    }
    CHECK_OK(vindex__store_sizes(store, &s, &size_bytes, &used_bytes));
    CHECK(size_bytes < 75 * (uint64_t)BLOCK_BYTES && used_bytes < 2 * BLOCK_BYTES);
    vindex__session_close(store, &s);
    vindex__store_close(store);
    test_remove(path);
}

/* Many open a file at once that none has verified. */
static void open_at_once(void *context)
{
    struct store *store = test_open(context, (getpid() & 1) != 0);
    CHECK(test_read_number(store, 1) == 5);
    test_check_sound(store);
    vindex__store_close(store);
}

static void fail_at_once(void *context)
{
    struct store *store;
    vindex__env_hooks.no_write = (getpid() & 1) != 0;
    CHECK_STATUS(VINDEX_CORRUPT, vindex__store_open(context, vindex__env_hooks.no_write, &store));
}

static void crowd(void (*body)(void *), const char *path)
{
    enum { N = 8 };
    pid_t children[N];

    fflush(NULL);
    for (int i = 0; i < N; i++) {
        children[i] = fork();
        CHECK(children[i] >= 0);
        if (children[i] == 0) {
            body((void *)(uintptr_t)path);
            _exit(0);
        }
    }
    for (int i = 0; i < N; i++) {
        int status;
        CHECK(waitpid(children[i], &status, 0) == children[i]);
        test_expect_exit(status);
    }
}

static void test_open_race(void **state)
{
    const char *path = test_path("race.vdx"), *copy = test_path("race-copy.vdx");
    struct store *store;
    struct session s;

    (void)state;
    test_make_file(path, 5);
    store = test_open(path, false);
    s = test_session(store, true);
    for (uint64_t i = 0; i < 20000; i++)
        test_put_number(&s, 100 + i, i);
    CHECK_OK(catalog_commit(s.catalog));
    vindex__session_close(store, &s);
    vindex__store_close(store);
    for (int round = 0; round < 10; round++) {
        test_remove(copy);
        test_copy_file(path, copy);
        crowd(open_at_once, copy);
    }
    test_flip(path, 4096 * 200 + 10, 1); /* a leaf's flags */
    for (int round = 0; round < 10; round++)
        crowd(fail_at_once, path);
    test_remove(path);
    test_remove(copy);
}

/* ---- fork -------------------------------------------------------------------------------- */

struct family {
    const char *path;
    struct store *store;
    struct session reader, writer;
};

static void use_parents(void *context)
{
    struct family *f = context;
    struct session s;
    struct store *own;
    struct block_key key = test_block_key(1);
    uint64_t stamp;

    CHECK_STATUS(VINDEX_MISUSE, vindex__store_check_fork(f->store));
    CHECK_STATUS(VINDEX_MISUSE, catalog_refresh(f->reader.catalog, &stamp));
    CHECK(strstr(vindex_message(), "opened before fork") != NULL);
    CHECK_STATUS(VINDEX_MISUSE,
                 catalog_put(f->writer.catalog, TABLE_TAIL, bytes_of("k", 1), bytes_of("v", 1)));
    CHECK_STATUS(VINDEX_MISUSE, blocks_put(f->writer.blocks, &key, bytes_of("v", 1)));
    CHECK_STATUS(VINDEX_MISUSE, catalog_commit(f->writer.catalog));
    CHECK_STATUS(VINDEX_MISUSE, vindex__session_open(f->store, false, &s));
    CHECK_STATUS(VINDEX_MISUSE, vindex__store_check_pages(f->store, NULL, NULL));
    catalog_release(f->reader.catalog);
    vindex__session_close(f->store, &f->reader);
    vindex__session_close(f->store, &f->writer);
    vindex__store_close(f->store);

    own = test_open(f->path, false); /* an environment of the child's own */
    CHECK(test_read_number(own, 1) == 5);
    CHECK_STATUS(VINDEX_BUSY, vindex__session_open(own, true, &s)); /* the parent's lock stands */
    vindex__store_close(own);
}

static void test_fork(void **state)
{
    struct family f = {.path = test_path("fork.vdx")};
    uint64_t stamp;

    (void)state;
    test_make_file(f.path, 5);
    f.store = test_open(f.path, false);
    f.reader = test_session(f.store, false);
    f.writer = test_session(f.store, true);
    CHECK_OK(catalog_refresh(f.reader.catalog, &stamp));
    test_expect_exit(test_child(use_parents, &f));
    test_expect_exit(test_child(expect_busy, (void *)(uintptr_t)f.path));
    CHECK(test_get_number(&f.reader, 1) == 5); /* the parent goes on as if nothing were */
    test_put_number(&f.writer, 1, 6);
    CHECK_OK(catalog_commit(f.writer.catalog));
    CHECK(test_get_number(&f.reader, 1) == 5);
    CHECK(test_read_number(f.store, 1) == 6);
    vindex__session_close(f.store, &f.reader);
    vindex__session_close(f.store, &f.writer);
    vindex__store_close(f.store);

    f.store = test_create(":memory:");
    f.reader = test_session(f.store, false);
    CHECK_OK(catalog_refresh(f.reader.catalog, &stamp));
    pid_t child = fork();
    if (child == 0) {
        CHECK_STATUS(VINDEX_MISUSE, vindex__store_check_fork(f.store));
        CHECK_STATUS(VINDEX_MISUSE, catalog_refresh(f.reader.catalog, &stamp));
        vindex__session_close(f.store, &f.reader);
        vindex__store_close(f.store);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    test_expect_exit(status);
    vindex__session_close(f.store, &f.reader);
    vindex__store_close(f.store);
    test_remove(f.path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_writer),    cmocka_unit_test(test_killed_writers),
        cmocka_unit_test(test_killed_reader), cmocka_unit_test(test_open_race),
        cmocka_unit_test(test_fork),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
