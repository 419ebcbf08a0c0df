/*
 * test_room.c - room for an index file: the map grows, address space ends, large writes go ahead of their catalog, the
 * disk is full.
 */
#include "helper_numbers.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/env.h"
#include "storage/record.h"

enum { MIB = 1 << 20 };

/* ---- the map ----------------------------------------------------------------------------- */

static void write_twenty(void *context)
{
    struct store *store = test_open(context, false);
    test_write_blocks(store, 100, 20);
    vindex__store_close(store);
}

static void test_map_grows(void **state)
{
    const char *path = test_path("map.vdx");
    struct session r, w;
    struct store *store;
    struct bytes value;
    struct block_key key = test_block_key(1);
    uint64_t stamp, before;

    (void)state;
    vindex__env_hooks.map_bytes = MIB;
    vindex__env_hooks.patience_ms = 50;
    store = test_create(path);
    test_write_blocks(store, 0, 12); /* 3 MiB at once */
    r = test_session(store, false);
    w = test_session(store, true);

    CHECK_OK(catalog_refresh(r.catalog, &before));
    CHECK_OK(blocks_get(r.blocks, &key, &value));
    for (uint64_t i = 20; i < 60; i++)
        CHECK_OK(test_put_block(&w, i));
    CHECK_STATUS(VINDEX_BUSY, catalog_commit(w.catalog)); /* a view keeps the map where it is */
    CHECK(load_le32((const char *)value.data + 12) == 4095);
    catalog_release(r.catalog);
    CHECK_OK(catalog_commit(w.catalog)); /* nothing was lost */
    CHECK_OK(catalog_refresh(r.catalog, &stamp));
    CHECK(stamp != before);
    catalog_release(r.catalog);
    CHECK(test_count_blocks(store) == 52);

    before = stamp; /* another process makes the file larger than our map */
    vindex__session_close(store, &w);
    test_expect_exit(test_child(write_twenty, (void *)(uintptr_t)path));
    CHECK_OK(catalog_refresh(r.catalog, &stamp));
    CHECK(stamp != before);
    catalog_release(r.catalog);
    CHECK(test_count_blocks(store) == 72);
    test_check_sound(store);
    vindex__session_close(store, &r);
    vindex__store_close(store);
    memset(&vindex__env_hooks, 0, sizeof vindex__env_hooks);
    test_remove(path);
}

/* No address space: told as such, nothing lost, readable as before. */
static void test_map_cannot_grow(void **state)
{
    const char *path = test_path("map.vdx");
    struct store *store;
    struct session w;

    (void)state;
    vindex__env_hooks.map_bytes = vindex__env_hooks.map_bytes_max = 4 * MIB;
    store = test_create(path);
    test_write_number(store, 1, 5);
    w = test_session(store, true);
    for (uint64_t i = 0; i < 40; i++)
        CHECK_OK(test_put_block(&w, i));
    vindex_status st = catalog_commit(w.catalog);
    CHECK(st == VINDEX_NOMEM || st == VINDEX_FULL);
    CHECK(test_read_number(store, 1) == 5 && test_count_blocks(store) == 0);
    vindex__env_hooks.map_bytes_max = 0;
    CHECK_OK(catalog_commit(w.catalog));
    CHECK(test_count_blocks(store) == 40);
    vindex__session_close(store, &w);
    vindex__store_close(store);
    memset(&vindex__env_hooks, 0, sizeof vindex__env_hooks);
    test_remove(path);
}

/* With little address space for the whole process. */
static void live_in_little_space(void *context)
{
    struct rlimit limit = {256u << 20, 256u << 20};
    struct store *store;

    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
    store = test_create(context);
    test_write_blocks(store, 0, 80);
    CHECK(test_count_blocks(store) == 80);
    vindex__store_close(store);
    store = test_open(context, false);
    CHECK(test_count_blocks(store) == 80);
    vindex__store_close(store);
}

static bool is_sanitized(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    return true;
#endif
#endif
    return false;
}

static void test_address_space(void **state)
{
    const char *path = test_path("space.vdx");

    (void)state;
    if (is_sanitized()) {
        printf("skipped: a sanitizer's shadow memory needs address space itself\n");
        return;
    }
    test_expect_exit(test_child(live_in_little_space, (void *)(uintptr_t)path));
    test_remove(path);
}

/* ---- blocks ahead of their catalog ------------------------------------------------------- */

static void test_early_blocks(void **state)
{
    enum { N = 300 }; /* 75 MiB: two early writes and a rest */
    const char *path = test_path("early.vdx");
    struct state before, after;
    struct store *store = test_create(path);
    struct session w, r;
    struct catalog_entry entry;
    uint64_t stamp, orphans;

    (void)state;
    test_write_number(store, 1, 5);
    before = test_read_state(store);
    CHECK(before.next_seq == 1 && before.flags == 0 && before.epoch == 0);
    w = test_session(store, true);
    r = test_session(store, false);
    CHECK_OK(catalog_refresh(r.catalog, &stamp));
    CHECK_OK(catalog_refresh(w.catalog, &stamp));
    test_put_number(&w, 1, 6);
    for (uint64_t i = 0; i < N; i++)
        CHECK_OK(test_put_block(&w, i));
    CHECK(test_get_number(&w, 1) == 6 && test_get_number(&r, 1) == 5);
    catalog_rollback(w.catalog);

    orphans = test_count_blocks(store);
    CHECK(orphans > 200 && orphans < N);
    after = test_read_state(store);
    CHECK(after.flags == STATE_EARLY_BLOCKS && after.epoch == 0 && after.next_seq == 1);
    CHECK(test_read_number(store, 1) == 5 && test_get_number(&r, 1) == 5);

    CHECK_OK(test_put_block(&w, 1000));
    CHECK_OK(w.blocks->ops->sync(w.blocks));
    CHECK(test_count_blocks(store) == orphans + 1);
    struct block_key key = test_block_key(1000);
    CHECK_OK(blocks_del(w.blocks, &key)); /* put early, then not wanted after all */
    test_put_number(&w, 1, 7);
    CHECK_OK(catalog_commit(w.catalog));
    CHECK(test_count_blocks(store) == orphans && test_read_number(store, 1) == 7);
    CHECK_OK(catalog_get(w.catalog, TABLE_CONFIG, bytes_of("state", 5), &entry));
    CHECK(entry.value.size == RECORD_STATE_BYTES);
    test_check_sound(store);
    vindex__session_close(store, &w);
    vindex__session_close(store, &r);
    vindex__store_close(store);
    test_remove(path);
}

/* ---- no space ---------------------------------------------------------------------------- */

static void set_file_limit(rlim_t bytes)
{
    struct rlimit limit = {bytes, RLIM_INFINITY};
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

static void write_past_limit(void *context)
{
    struct store *store = test_open(context, false);
    struct session w = test_session(store, true);

    signal(SIGXFSZ, SIG_IGN);
    for (uint64_t i = 0; i < 20; i++)
        CHECK_OK(test_put_block(&w, i));
    test_put_number(&w, 1, 6);
    for (rlim_t extra = 0; extra < 4 * MIB; extra += 300000) {
        set_file_limit(100000 + extra);
        CHECK_STATUS(VINDEX_FULL, catalog_commit(w.catalog));
        CHECK(test_read_number(store, 1) == 5 && test_count_blocks(store) == 0);
    }
    set_file_limit(RLIM_INFINITY);
    CHECK_OK(catalog_commit(w.catalog));
    CHECK(test_read_number(store, 1) == 6 && test_count_blocks(store) == 20);
    test_check_sound(store);
    vindex__session_close(store, &w);
    vindex__store_close(store);
}

static void test_file_limit(void **state)
{
    const char *path = test_path("limit.vdx");
    struct store *store;

    (void)state;
    test_make_file(path, 5);
    test_expect_exit(test_child(write_past_limit, (void *)(uintptr_t)path));
    store = test_open(path, true);
    CHECK(test_read_number(store, 1) == 6);
    vindex__store_close(store);
    test_remove(path);
}

static void fill_disk(const char *path, const char *hog_path)
{
    static char zeros[1 << 16];
    struct store *store = test_create(path);
    struct session w;
    int hog = open(hog_path, O_WRONLY | O_CREAT, 0644);

    CHECK(hog >= 0);
    test_write_number(store, 1, 5);
    while (write(hog, zeros, sizeof zeros) > 0)
        continue;
    CHECK(truncate(hog_path, lseek(hog, 0, SEEK_CUR) - MIB) == 0);
    w = test_session(store, true);
    test_put_number(&w, 1, 6);
    for (uint64_t i = 0; i < 40; i++)
        CHECK_OK(test_put_block(&w, i));
    CHECK_STATUS(VINDEX_FULL, catalog_commit(w.catalog));
    CHECK_STATUS(VINDEX_FULL, w.blocks->ops->sync(w.blocks));
    CHECK(test_read_number(store, 1) == 5);
    for (uint64_t i = 40; i < 200; i++) /* early writes fail too; what was put before is kept */
        if (test_put_block(&w, i) != VINDEX_OK) {
            CHECK(i > 100);
            CHECK_STATUS(VINDEX_FULL, test_put_block(&w, i));
            CHECK(ftruncate(hog, 0) == 0);
            CHECK_OK(test_put_block(&w, i));
        }
    CHECK_OK(catalog_commit(w.catalog));
    CHECK(test_read_number(store, 1) == 6 && test_count_blocks(store) == 200);
    test_check_sound(store);
    vindex__session_close(store, &w);
    vindex__store_close(store);
    close(hog);
}

static void test_full_disk(void **state)
{
    const char *where = test_path("disk"), *path = test_path("disk/full.vdx"),
               *hog = test_path("disk/hog");

    (void)state;
    CHECK(mkdir(where, 0755) == 0);
    if (mount("none", where, "tmpfs", 0, "size=80m") != 0) {
        printf("skipped: no permission to mount a small disk\n");
        rmdir(where);
        return;
    }
    fill_disk(path, hog);
    CHECK(umount(where) == 0 && rmdir(where) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map_grows),     cmocka_unit_test(test_map_cannot_grow),
        cmocka_unit_test(test_address_space), cmocka_unit_test(test_early_blocks),
        cmocka_unit_test(test_file_limit),    cmocka_unit_test(test_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
