/*
 * test_token.c - the clean token: when a file opens without a walk over its pages, what spends the token, what LMDB
 * does to it.
 */
#include "helper_numbers.h"

#include <fcntl.h>
#include <lmdb.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MIB = 1 << 20, TOKEN_AT = 2048 };

/* ---- the clean token --------------------------------------------------------------------- */

static int n_walks;

static void count_walks(void *context, const char *message)
{
    (void)context;
    n_walks += strstr(message, "checking its pages") != NULL;
}

static void expect_open(const char *path, bool is_suspect, int walks)
{
    struct store *store;

    n_walks = 0;
    store = test_open(path, true);
    CHECK(vindex__store_suspect(store) == is_suspect);
    CHECK(n_walks == walks);
    CHECK(test_read_number(store, 1) == 5);
    vindex__store_close(store);
}

static void write_and_die(void *context)
{
    struct store *store = test_open(context, false);
    test_write_number(store, 2, 6);
    _exit(0);
}

static void open_and_die(void *context)
{
    struct store *store = test_open(context, false);
    CHECK(test_read_number(store, 1) == 5);
    _exit(0);
}

static void test_token(void **state)
{
    const char *path = test_path("token.vdx"), *copy = test_path("copy.vdx");
    struct timespec times[2] = {{0, UTIME_OMIT}, {1000000000, 5}};
    struct stat before, after;
    struct store *store;

    (void)state;
    vindex_set_log(count_walks, NULL);
    test_make_file(path, 5);
    expect_open(path, false, 0);

    CHECK(stat(path, &before) == 0); /* opened for writing, nothing written: not a byte changes */
    store = test_open(path, false);
    vindex__store_close(store);
    CHECK(stat(path, &after) == 0 && before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
    test_expect_exit(test_child(open_and_die, (void *)(uintptr_t)path));
    expect_open(path, false, 0);

    test_copy_file(path, copy);
    expect_open(copy, true, 1);
    CHECK(utimensat(AT_FDCWD, path, times, 0) == 0);
    expect_open(path, true, 1);

    test_make_file(path, 5);
    CHECK(truncate(path, before.st_size + 1) == 0);
    expect_open(path, true, 1);
    for (off_t at = 0; at < 52; at += 3) {
        test_make_file(path, 5);
        CHECK(stat(path, &before) == 0);
        test_flip(path, TOKEN_AT + at, 1);
        times[1] = before.st_mtim;
        CHECK(utimensat(AT_FDCWD, path, times, 0) == 0);
        expect_open(path, true, 1);
    }

    test_make_file(path, 5);
    test_expect_exit(test_child(write_and_die, (void *)(uintptr_t)path));
    expect_open(path, true, 1);
    vindex_set_log(NULL, NULL);
    test_remove(path);
    test_remove(copy);
}

/* A walk is not repeated after a clean close, and the blocks stay suspect until they were verified. */
static void test_token_keeps_suspicion(void **state)
{
    const char *path = test_path("token.vdx");
    struct store *store;

    (void)state;
    vindex_set_log(count_walks, NULL);
    test_make_file(path, 5);
    test_expect_exit(test_child(write_and_die, (void *)(uintptr_t)path));
    n_walks = 0;
    store = test_open(path, false);
    CHECK(vindex__store_suspect(store) && n_walks == 1);
    test_write_number(store, 3, 3);
    vindex__store_close(store);
    expect_open(path, true, 0);
    store = test_open(path, false);
    vindex__store_set_verified(store);
    CHECK(!vindex__store_suspect(store));
    vindex__store_close(store);
    expect_open(path, false, 0);
    vindex_set_log(NULL, NULL);
    test_remove(path);
}

/* LMDB neither writes the token's bytes nor minds them. */
static void test_token_and_lmdb(void **state)
{
    const char *path = test_path("token.vdx");
    unsigned char before[64], after[64];
    MDB_env *env = NULL;
    int fd;

    (void)state;
    test_make_file(path, 5);
    fd = open(path, O_RDWR);
    CHECK(fd >= 0 && pread(fd, before, 64, TOKEN_AT) == 64 && memcmp(before, "VXCLEAN1", 8) == 0);
    CHECK(mdb_env_create(&env) == 0 && mdb_env_set_mapsize(env, 64 * MIB) == 0);
    CHECK(mdb_env_open(env, path, MDB_NOSUBDIR, 0644) == 0);
    for (int i = 0; i < 9; i++) {
        MDB_txn *txn = NULL;
        MDB_dbi dbi = 0;
        MDB_val key = {9, "\2\0\0\0\0\0\0\0\0"}, value = {1, &i};
        CHECK(mdb_txn_begin(env, NULL, 0, &txn) == 0 && mdb_dbi_open(txn, NULL, 0, &dbi) == 0);
        CHECK(mdb_put(txn, dbi, &key, &value, 0) == 0 && mdb_txn_commit(txn) == 0);
        CHECK(pread(fd, after, 64, TOKEN_AT) == 64 && memcmp(before, after, 64) == 0);
    }
    mdb_env_close(env);
    memset(after, 0xa5, sizeof after);
    CHECK(pwrite(fd, after, 64, TOKEN_AT) == 64);
    CHECK(mdb_env_create(&env) == 0 && mdb_env_set_mapsize(env, 64 * MIB) == 0);
    CHECK(mdb_env_open(env, path, MDB_NOSUBDIR, 0644) == 0);
    mdb_env_close(env);
    close(fd);
    test_remove(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_token),
        cmocka_unit_test(test_token_keeps_suspicion),
        cmocka_unit_test(test_token_and_lmdb),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
