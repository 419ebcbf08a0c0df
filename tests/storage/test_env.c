/*
 * test_env.c - index files over time: files that are no index, one environment a file, lengths and names that change
 * under it, threads.
 */
#include "helper_numbers.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/env.h"
#include "storage/pages.h"

enum { MIB = 1 << 20 };

/* ---- files that are no index ------------------------------------------------------------- */

static void expect_refused(const char *path, vindex_status expected, const char *message)
{
    for (int readonly = 0; readonly < 2; readonly++) {
        struct store *store = (struct store *)1;
        CHECK_STATUS(expected, vindex__store_open(path, readonly, &store));
        CHECK(store == NULL && strstr(vindex_message(), message) != NULL);
    }
}

static void test_refused(void **state)
{
    const char *path = test_path("refused"), *inside = test_path("none/x.vdx");
    struct config config = test_config();
    struct store *store;
    struct stat info;
    FILE *file;

    (void)state;
    expect_refused(path, VINDEX_NOTFOUND, "refused");
    CHECK_STATUS(VINDEX_NOTFOUND, vindex__store_create(inside, &config, &store));
    CHECK(mkdir(path, 0755) == 0);
    expect_refused(path, VINDEX_INVALID, "directory");
    CHECK_STATUS(VINDEX_EXISTS, vindex__store_create(path, &config, &store));
    CHECK(rmdir(path) == 0 && mkfifo(path, 0644) == 0);
    expect_refused(path, VINDEX_NOTINDEX, "regular");
    CHECK(unlink(path) == 0);
    expect_refused("/dev/null", VINDEX_NOTINDEX, "regular");
    CHECK((file = fopen(path, "w")) != NULL && fclose(file) == 0);
    expect_refused(path, VINDEX_NOTINDEX, "empty");
    CHECK((file = fopen(path, "w")) != NULL && fprintf(file, "%0*d", 10000, 1) > 0 &&
          fclose(file) == 0);
    expect_refused(path, VINDEX_NOTINDEX, "no index");
    CHECK_STATUS(VINDEX_EXISTS, vindex__store_create(path, &config, &store));
    test_remove(path);

    test_make_file(path, 5);
    CHECK(stat(path, &info) == 0 && (info.st_mode & 0777) == 0644);
    test_flip(path, 4096 * 2 + 10, 1);
    test_flip(path, 4096 * 3 + 10, 1);
    test_flip(path, 4096 * 4 + 10, 1);
    expect_refused(path, VINDEX_CORRUPT, "flags");
    CHECK(truncate(path, 4096 * 2) == 0);
    expect_refused(path, VINDEX_CORRUPT, "end");
    test_remove(path);
}

/* Nothing is left of a file that could not be made. */
static void create_in_little_space(void *context)
{
    struct config config = test_config();
    struct rlimit limit = {9000, RLIM_INFINITY};
    struct store *store;

    signal(SIGXFSZ, SIG_IGN);
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    vindex_status st = vindex__store_create(context, &config, &store);
    CHECK(st == VINDEX_FULL);
    CHECK(access(context, F_OK) != 0);
}

static void test_create_fails(void **state)
{
    const char *path = test_path("little.vdx"), *lock = test_path("little.vdx-lock");

    (void)state;
    test_expect_exit(test_child(create_in_little_space, (void *)(uintptr_t)path));
    CHECK(access(path, F_OK) != 0 && access(lock, F_OK) != 0);
}

/* ---- one environment a file -------------------------------------------------------------- */

static void test_registry(void **state)
{
    const char *path = test_path("shared.vdx"), *link_path = test_path("link.vdx");
    struct store *a, *b;
    struct session view;
    uint64_t stamp;

    (void)state;
    test_make_file(path, 1);
    CHECK(symlink(path, link_path) == 0);
    a = test_open(path, false);
    view = test_session(a, false);
    CHECK_OK(catalog_refresh(view.catalog, &stamp));
    for (uint64_t i = 2; i < 100;
         i++) { /* opening and closing beside a view, and writing over what it sees */
        b = test_open(i % 2 ? path : link_path, i % 3 == 0);
        CHECK(test_read_number(b, 1) == i - 1);
        vindex__store_close(b);
        test_write_number(a, 1, i);
        CHECK(test_get_number(&view, 1) == 1);
    }
    vindex__session_close(a, &view);
    vindex__store_close(a);
    CHECK(access(test_path("link.vdx-lock"), F_OK) != 0); /* one lock file, of the real name */
    test_remove(path);
    test_remove(link_path);
}

static void test_readonly(void **state)
{
    const char *path = test_path("readonly.vdx");
    struct store *reader, *writer;
    struct session s, view;
    struct stat before, after;
    uint64_t stamp, stamp_after;

    (void)state;
    test_make_file(path, 7);
    CHECK(stat(path, &before) == 0);
    reader = test_open(path, true);
    CHECK(vindex__store_readonly(reader));
    CHECK_STATUS(VINDEX_READONLY, vindex__session_open(reader, true, &s));
    view = test_session(reader, false);
    CHECK_OK(catalog_refresh(view.catalog, &stamp));
    CHECK(test_get_number(&view, 1) == 7);
    catalog_release(view.catalog);

    writer = test_open(
        path, false); /* the same environment, now writable: pointers move, and the stamp */
    CHECK_STATUS(VINDEX_READONLY, vindex__session_open(reader, true, &s));
    CHECK_OK(catalog_refresh(view.catalog, &stamp_after));
    CHECK(stamp_after != stamp);
    test_write_number(writer, 1, 8);
    CHECK(test_get_number(&view, 1) == 7);
    vindex__session_close(reader, &view);
    CHECK(test_read_number(reader, 1) == 8);
    vindex__store_close(writer);
    vindex__store_close(reader);

    CHECK(stat(path, &before) == 0);
    reader = test_open(path, true);
    CHECK(test_read_number(reader, 1) == 8);
    vindex__store_close(reader);
    CHECK(stat(path, &after) == 0 && before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
    test_remove(path);
}

/* As a user who may write neither the file nor its directory. */
static void read_unseen(void *context)
{
    struct store *store;

    vindex__env_hooks.no_lock_file = vindex__env_hooks.no_write = true;
    CHECK_STATUS(VINDEX_READONLY, vindex__store_open(context, false, &store));
    CHECK(strstr(vindex_message(), "reading only"));
    store = test_open(context, true);
    CHECK(test_read_number(store, 1) == 7);
    CHECK_STATUS(VINDEX_READONLY, vindex__session_open(store, true, &(struct session){NULL, NULL}));
    vindex__store_close(store);
}

static void read_unseen_beside_writer(void *context)
{
    struct store *store = NULL;

    vindex__env_hooks.no_lock_file = vindex__env_hooks.no_write = true;
    CHECK_STATUS(VINDEX_BUSY, vindex__store_open(context, true, &store));
}

static void test_without_lock_file(void **state)
{
    const char *path = test_path("unseen.vdx"), *copy = test_path("unseen-copy.vdx");
    struct store *store;
    struct session w;

    (void)state;
    test_make_file(path, 7);
    test_expect_exit(test_child(read_unseen, (void *)(uintptr_t)path));
    test_copy_file(path, copy); /* walked, without a lock of its own */
    test_expect_exit(test_child(read_unseen, (void *)(uintptr_t)copy));
    store = test_open(path, false);
    test_expect_exit(test_child(read_unseen, (void *)(uintptr_t)path));
    w = test_session(store, true);
    test_expect_exit(test_child(read_unseen_beside_writer, (void *)(uintptr_t)path));
    vindex__session_close(store, &w);
    vindex__store_close(store);
    test_remove(path);
    test_remove(copy);
}

/* ---- lengths and names ------------------------------------------------------------------- */

/* A file that ends before its last free pages opens, and the next writer makes it whole. */
static void test_short_file(void **state)
{
    const char *path = test_path("short.vdx");
    struct pages_report report = {.finding = NULL};
    struct pages_meta metas[2];
    struct store *store;
    struct session w;
    struct stat info;
    int fd;

    (void)state;
    test_make_file(path, 5);
    store = test_open(path, false);
    test_write_blocks(store, 0, 8);
    w = test_session(store, true);
    for (uint64_t i = 0; i < 8; i++) {
        struct block_key key = test_block_key(i);
        CHECK_OK(blocks_del(w.blocks, &key));
    }
    CHECK_OK(catalog_commit(w.catalog));
    for (uint64_t i = 0; i < 4; i++) { /* the pages in use move to the front */
        test_put_number(&w, 1, 5);
        CHECK_OK(catalog_commit(w.catalog));
    }
    vindex__session_close(store, &w);
    vindex__store_close(store);

    fd = open(path, O_RDWR);
    CHECK_OK(vindex__pages_metas(fd, path, metas));
    CHECK_OK(vindex__pages_walk(fd, &metas[0], &report));
    CHECK(report.end_bytes < (metas[0].last_page + 1) * metas[0].page_bytes);
    CHECK(ftruncate(fd, (off_t)report.end_bytes) == 0);
    close(fd);
    store = test_open(path, true);
    CHECK(test_read_number(store, 1) == 5);
    CHECK(stat(path, &info) == 0 && (uint64_t)info.st_size == report.end_bytes);
    vindex__store_close(store);
    store = test_open(path, false);
    w = test_session(store, true);
    CHECK(stat(path, &info) == 0 &&
          (uint64_t)info.st_size >= (metas[0].last_page + 1) * metas[0].page_bytes);
    vindex__session_close(store, &w);
    test_write_blocks(store, 0, 8);
    test_check_sound(store);
    vindex__store_close(store);
    test_remove(path);
}

static void expect_nine(void *context)
{
    struct store *store = test_open(context, false);
    CHECK(test_read_number(store, 1) == 9);
    vindex__store_close(store);
}

/* A new file under the name of one that is still in use: each keeps its own readers and writers. */
static void test_replaced(void **state)
{
    const char *path = test_path("replaced.vdx"), *fresh = test_path("fresh.vdx");
    struct store *old, *new;
    struct session view;
    uint64_t stamp;

    (void)state;
    test_make_file(path, 5);
    test_make_file(fresh, 9);
    old = test_open(path, false);
    view = test_session(old, false);
    CHECK_OK(catalog_refresh(view.catalog, &stamp));
    CHECK(rename(fresh, path) == 0);
    test_expect_exit(test_child(expect_nine, (void *)(uintptr_t)path));
    new = test_open(path, false);
    for (uint64_t i = 10; i < 20; i++) {
        test_write_number(new, 1, i);
        test_write_number(old, 1, i + 100);
        CHECK(test_read_number(new, 1) == i && test_read_number(old, 1) == i + 100);
        CHECK(test_get_number(&view, 1) == 5);
    }
    vindex__store_close(new);
    CHECK(test_get_number(&view, 1) == 5);
    vindex__session_close(old, &view);
    vindex__store_close(old);
    test_remove(path);
    test_remove(fresh);
}

/* ---- threads ----------------------------------------------------------------------------- */

/* Opening, closing, reading in threads while the map grows again and again. */
static void *open_and_read(void *context)
{
    for (int i = 0; i < 40; i++) {
        struct store *store = test_open(context, i % 2 == 0);
        CHECK(test_read_number(store, 1) >= 5);
        vindex__store_close(store);
    }
    return NULL;
}

static void test_threads(void **state)
{
    const char *path = test_path("threads.vdx");
    struct store *store;
    pthread_t threads[3];

    (void)state;
    vindex__env_hooks.map_bytes = MIB;
    test_make_file(path, 5);
    for (int i = 0; i < 3; i++)
        CHECK(pthread_create(&threads[i], NULL, open_and_read, (void *)(uintptr_t)path) == 0);
    store = test_open(path, false);
    for (uint64_t i = 0; i < 40; i++) {
        test_write_number(store, 1, 5 + i);
        test_write_blocks(store, 2 * i, 2);
    }
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    CHECK(test_count_blocks(store) == 80);
    test_check_sound(store);
    vindex__store_close(store);
    memset(&vindex__env_hooks, 0, sizeof vindex__env_hooks);
    test_remove(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),           cmocka_unit_test(test_create_fails),
        cmocka_unit_test(test_registry),          cmocka_unit_test(test_readonly),
        cmocka_unit_test(test_without_lock_file), cmocka_unit_test(test_short_file),
        cmocka_unit_test(test_replaced),          cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
