/*
 * test_env.c - index files between processes and over time: the clean token, locks, forks, one environment
 * a file, the map's growth, full disks, killed writers, files that are no index.
 */
#include "helper_store.h"

#include <fcntl.h>
#include <lmdb.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/random.h"
#include "storage/env.h"
#include "storage/pages.h"

enum { MIB = 1 << 20, TOKEN_AT = 2048 };

/* ---- helpers ----------------------------------------------------------------------------- */

static int n_walks;

static void count_walks(void *context, const char *message)
{
    (void)context;
    n_walks += strstr(message, "checking its pages") != NULL;
}

static void put_number(struct session *s, uint64_t id, uint64_t number)
{
    unsigned char key[8], record[24] = {3, 1};
    store_be64(key, id);
    store_le64(record + 16, number);
    CHECK_OK(
        catalog_put(s->catalog, TABLE_TAIL, bytes_of(key, 8), bytes_of(record, sizeof record)));
}

/* Of an open view; 0 when it is not there. */
static uint64_t get_number(struct session *s, uint64_t id)
{
    unsigned char key[8];
    struct catalog_entry entry;
    store_be64(key, id);
    CHECK_OK(catalog_get(s->catalog, TABLE_TAIL, bytes_of(key, 8), &entry));
    return entry.value.data ? load_le64((const char *)entry.value.data + 16) : 0;
}

static void write_number(struct store *store, uint64_t id, uint64_t number)
{
    struct session s = test_session(store, true);
    put_number(&s, id, number);
    CHECK_OK(catalog_commit(s.catalog));
    vindex__session_close(store, &s);
}

static uint64_t read_number(struct store *store, uint64_t id)
{
    struct session s = test_session(store, false);
    uint64_t stamp, number;
    CHECK_OK(catalog_refresh(s.catalog, &stamp));
    number = get_number(&s, id);
    vindex__session_close(store, &s);
    return number;
}

static void make_file(const char *path, uint64_t number)
{
    struct store *store;
    test_remove(path);
    store = test_create(path);
    write_number(store, 1, number);
    vindex__store_close(store);
}

static vindex_status put_block(struct session *s, uint64_t number)
{
    static unsigned char value[BLOCK_BYTES];
    struct block_key key = test_block_key(number);
    return blocks_put(s->blocks, &key, test_block(&key, 4095, number, value));
}

static uint64_t count_blocks(struct store *store)
{
    struct session s = test_session(store, false);
    struct block_key at = {.plane = 0};
    uint64_t stamp, n = 0;
    bool found;

    CHECK_OK(catalog_refresh(s.catalog, &stamp));
    for (;; n++) {
        CHECK_OK(blocks_next(s.blocks, &at, &found));
        if (!found) break;
    }
    vindex__session_close(store, &s);
    return n;
}

static struct state read_state(struct store *store)
{
    struct session s = test_session(store, false);
    struct catalog_entry entry;
    struct state state;
    uint64_t stamp;

    CHECK_OK(catalog_refresh(s.catalog, &stamp));
    CHECK_OK(catalog_get(s.catalog, TABLE_CONFIG, bytes_of("state", 5), &entry));
    CHECK_OK(vindex__state_decode(entry.value, &state));
    vindex__session_close(store, &s);
    return state;
}

static void check_sound(struct store *store)
{
    CHECK_OK(vindex__store_check_pages(store, NULL, NULL));
}

static void expect_exit(int status)
{
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        printf("child status %#x\n", (unsigned)status);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* ---- the clean token --------------------------------------------------------------------- */

static void expect_open(const char *path, bool is_suspect, int walks)
{
    struct store *store;

    n_walks = 0;
    store = test_open(path, true);
    CHECK(vindex__store_suspect(store) == is_suspect);
    CHECK(n_walks == walks);
    CHECK(read_number(store, 1) == 5);
    vindex__store_close(store);
}

static void flip(const char *path, off_t at)
{
    unsigned char byte = 0;
    int fd = open(path, O_RDWR);
    CHECK(fd >= 0 && pread(fd, &byte, 1, at) == 1);
    byte ^= 1;
    CHECK(pwrite(fd, &byte, 1, at) == 1);
    close(fd);
}

static void write_and_die(void *context)
{
    struct store *store = test_open(context, false);
    write_number(store, 2, 6);
    _exit(0);
}

static void open_and_die(void *context)
{
    struct store *store = test_open(context, false);
    CHECK(read_number(store, 1) == 5);
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
    make_file(path, 5);
    expect_open(path, false, 0);

    CHECK(stat(path, &before) == 0); /* opened for writing, nothing written: not a byte changes */
    store = test_open(path, false);
    vindex__store_close(store);
    CHECK(stat(path, &after) == 0 && before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
    expect_exit(test_child(open_and_die, (void *)(uintptr_t)path));
    expect_open(path, false, 0);

    test_copy_file(path, copy);
    expect_open(copy, true, 1);
    CHECK(utimensat(AT_FDCWD, path, times, 0) == 0);
    expect_open(path, true, 1);

    make_file(path, 5);
    CHECK(truncate(path, before.st_size + 1) == 0);
    expect_open(path, true, 1);
    for (off_t at = 0; at < 52; at += 3) {
        make_file(path, 5);
        CHECK(stat(path, &before) == 0);
        flip(path, TOKEN_AT + at);
        times[1] = before.st_mtim;
        CHECK(utimensat(AT_FDCWD, path, times, 0) == 0);
        expect_open(path, true, 1);
    }

    make_file(path, 5);
    expect_exit(test_child(write_and_die, (void *)(uintptr_t)path));
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
    make_file(path, 5);
    expect_exit(test_child(write_and_die, (void *)(uintptr_t)path));
    n_walks = 0;
    store = test_open(path, false);
    CHECK(vindex__store_suspect(store) && n_walks == 1);
    write_number(store, 3, 3);
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
    make_file(path, 5);
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

    make_file(path, 5);
    CHECK(stat(path, &info) == 0 && (info.st_mode & 0777) == 0644);
    flip(path, 4096 * 2 + 10);
    flip(path, 4096 * 3 + 10);
    flip(path, 4096 * 4 + 10);
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
    expect_exit(test_child(create_in_little_space, (void *)(uintptr_t)path));
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
    make_file(path, 1);
    CHECK(symlink(path, link_path) == 0);
    a = test_open(path, false);
    view = test_session(a, false);
    CHECK_OK(catalog_refresh(view.catalog, &stamp));
    for (uint64_t i = 2; i < 100;
         i++) { /* opening and closing beside a view, and writing over what it sees */
        b = test_open(i % 2 ? path : link_path, i % 3 == 0);
        CHECK(read_number(b, 1) == i - 1);
        vindex__store_close(b);
        write_number(a, 1, i);
        CHECK(get_number(&view, 1) == 1);
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
    make_file(path, 7);
    CHECK(stat(path, &before) == 0);
    reader = test_open(path, true);
    CHECK(vindex__store_readonly(reader));
    CHECK_STATUS(VINDEX_READONLY, vindex__session_open(reader, true, &s));
    view = test_session(reader, false);
    CHECK_OK(catalog_refresh(view.catalog, &stamp));
    CHECK(get_number(&view, 1) == 7);
    catalog_release(view.catalog);

    writer = test_open(
        path, false); /* the same environment, now writable: pointers move, and the stamp */
    CHECK_STATUS(VINDEX_READONLY, vindex__session_open(reader, true, &s));
    CHECK_OK(catalog_refresh(view.catalog, &stamp_after));
    CHECK(stamp_after != stamp);
    write_number(writer, 1, 8);
    CHECK(get_number(&view, 1) == 7);
    vindex__session_close(reader, &view);
    CHECK(read_number(reader, 1) == 8);
    vindex__store_close(writer);
    vindex__store_close(reader);

    CHECK(stat(path, &before) == 0);
    reader = test_open(path, true);
    CHECK(read_number(reader, 1) == 8);
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
    CHECK(read_number(store, 1) == 7);
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
    make_file(path, 7);
    expect_exit(test_child(read_unseen, (void *)(uintptr_t)path));
    test_copy_file(path, copy); /* walked, without a lock of its own */
    expect_exit(test_child(read_unseen, (void *)(uintptr_t)copy));
    store = test_open(path, false);
    expect_exit(test_child(read_unseen, (void *)(uintptr_t)path));
    w = test_session(store, true);
    expect_exit(test_child(read_unseen_beside_writer, (void *)(uintptr_t)path));
    vindex__session_close(store, &w);
    vindex__store_close(store);
    test_remove(path);
    test_remove(copy);
}

/* ---- processes --------------------------------------------------------------------------- */

static void expect_busy(void *context)
{
    struct store *store = test_open(context, false);
    struct session s;
    CHECK_STATUS(VINDEX_BUSY, vindex__session_open(store, true, &s));
    CHECK(read_number(store, 1) == 5);
    vindex__store_close(store);
}

static void write_until_killed(void *context)
{
    struct store *store = test_open(context, false);
    struct session s = test_session(store, true);
    for (uint64_t i = 1;; i++) {
        CHECK_OK(put_block(&s, i));
        for (uint64_t id = 10; id < 60; id++)
            put_number(&s, id, i);
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
    make_file(path, 5);
    child = test_child_start(hold_writer, (void *)(uintptr_t)path);
    test_wait_ready();
    store = test_open(path, false);
    CHECK_STATUS(VINDEX_BUSY, vindex__session_open(store, true, &s));
    CHECK(read_number(store, 1) == 5);
    test_kill(child);
    write_number(store, 1, 5); /* the lock died with its owner */
    s = test_session(store, true);
    expect_exit(test_child(expect_busy, (void *)(uintptr_t)path));
    vindex__session_close(store, &s);
    write_number(store, 1, 6);
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

        make_file(path, 5);
        child = test_child_start(write_until_killed, (void *)(uintptr_t)path);
        test_wait_ready();
        nanosleep(&pause_time, NULL);
        test_kill(child);
        store = test_open(path, false);
        check_sound(store);
        s = test_session(store, true);
        CHECK_OK(catalog_refresh(s.catalog, &stamp));
        number = get_number(&s, 10);
        for (uint64_t id = 10; id < 60; id++)
            CHECK(get_number(&s, id) == number);
        CHECK(number >= 1 && count_blocks(store) == number);
        vindex__session_close(store, &s);
        write_number(store, 99, 1);
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
    make_file(path, 5);
    store = test_open(path, false);
    child = test_child_start(read_and_stay, (void *)(uintptr_t)path);
    test_wait_ready();
    test_kill(child);
    s = test_session(store, true);
    for (uint64_t i = 1; i <= 200; i++) {
        struct block_key old = test_block_key(i - 1);
        CHECK_OK(put_block(&s, i));
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
    CHECK(read_number(store, 1) == 5);
    check_sound(store);
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
        expect_exit(status);
    }
}

static void test_open_race(void **state)
{
    const char *path = test_path("race.vdx"), *copy = test_path("race-copy.vdx");
    struct store *store;
    struct session s;

    (void)state;
    make_file(path, 5);
    store = test_open(path, false);
    s = test_session(store, true);
    for (uint64_t i = 0; i < 20000; i++)
        put_number(&s, 100 + i, i);
    CHECK_OK(catalog_commit(s.catalog));
    vindex__session_close(store, &s);
    vindex__store_close(store);
    for (int round = 0; round < 10; round++) {
        test_remove(copy);
        test_copy_file(path, copy);
        crowd(open_at_once, copy);
    }
    flip(path, 4096 * 200 + 10); /* a leaf's flags */
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
    CHECK(read_number(own, 1) == 5);
    CHECK_STATUS(VINDEX_BUSY, vindex__session_open(own, true, &s)); /* the parent's lock stands */
    vindex__store_close(own);
}

static void test_fork(void **state)
{
    struct family f = {.path = test_path("fork.vdx")};
    uint64_t stamp;

    (void)state;
    make_file(f.path, 5);
    f.store = test_open(f.path, false);
    f.reader = test_session(f.store, false);
    f.writer = test_session(f.store, true);
    CHECK_OK(catalog_refresh(f.reader.catalog, &stamp));
    expect_exit(test_child(use_parents, &f));
    expect_exit(test_child(expect_busy, (void *)(uintptr_t)f.path));
    CHECK(get_number(&f.reader, 1) == 5); /* the parent goes on as if nothing were */
    put_number(&f.writer, 1, 6);
    CHECK_OK(catalog_commit(f.writer.catalog));
    CHECK(get_number(&f.reader, 1) == 5);
    CHECK(read_number(f.store, 1) == 6);
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
    expect_exit(status);
    vindex__session_close(f.store, &f.reader);
    vindex__store_close(f.store);
    test_remove(f.path);
}

/* ---- the map ----------------------------------------------------------------------------- */

static void write_blocks(struct store *store, uint64_t first, uint64_t n)
{
    struct session s = test_session(store, true);
    for (uint64_t i = first; i < first + n; i++)
        CHECK_OK(put_block(&s, i));
    CHECK_OK(catalog_commit(s.catalog));
    vindex__session_close(store, &s);
}

static void write_twenty(void *context)
{
    struct store *store = test_open(context, false);
    write_blocks(store, 100, 20);
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
    write_blocks(store, 0, 12); /* 3 MiB at once */
    r = test_session(store, false);
    w = test_session(store, true);

    CHECK_OK(catalog_refresh(r.catalog, &before));
    CHECK_OK(blocks_get(r.blocks, &key, &value));
    for (uint64_t i = 20; i < 60; i++)
        CHECK_OK(put_block(&w, i));
    CHECK_STATUS(VINDEX_BUSY, catalog_commit(w.catalog)); /* a view keeps the map where it is */
    CHECK(load_le32((const char *)value.data + 12) == 4095);
    catalog_release(r.catalog);
    CHECK_OK(catalog_commit(w.catalog)); /* nothing was lost */
    CHECK_OK(catalog_refresh(r.catalog, &stamp));
    CHECK(stamp != before);
    catalog_release(r.catalog);
    CHECK(count_blocks(store) == 52);

    before = stamp; /* another process makes the file larger than our map */
    vindex__session_close(store, &w);
    expect_exit(test_child(write_twenty, (void *)(uintptr_t)path));
    CHECK_OK(catalog_refresh(r.catalog, &stamp));
    CHECK(stamp != before);
    catalog_release(r.catalog);
    CHECK(count_blocks(store) == 72);
    check_sound(store);
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
    write_number(store, 1, 5);
    w = test_session(store, true);
    for (uint64_t i = 0; i < 40; i++)
        CHECK_OK(put_block(&w, i));
    vindex_status st = catalog_commit(w.catalog);
    CHECK(st == VINDEX_NOMEM || st == VINDEX_FULL);
    CHECK(read_number(store, 1) == 5 && count_blocks(store) == 0);
    vindex__env_hooks.map_bytes_max = 0;
    CHECK_OK(catalog_commit(w.catalog));
    CHECK(count_blocks(store) == 40);
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
    write_blocks(store, 0, 80);
    CHECK(count_blocks(store) == 80);
    vindex__store_close(store);
    store = test_open(context, false);
    CHECK(count_blocks(store) == 80);
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
    expect_exit(test_child(live_in_little_space, (void *)(uintptr_t)path));
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
    write_number(store, 1, 5);
    before = read_state(store);
    CHECK(before.next_seq == 1 && before.flags == 0 && before.epoch == 0);
    w = test_session(store, true);
    r = test_session(store, false);
    CHECK_OK(catalog_refresh(r.catalog, &stamp));
    CHECK_OK(catalog_refresh(w.catalog, &stamp));
    put_number(&w, 1, 6);
    for (uint64_t i = 0; i < N; i++)
        CHECK_OK(put_block(&w, i));
    CHECK(get_number(&w, 1) == 6 && get_number(&r, 1) == 5);
    catalog_rollback(w.catalog);

    orphans = count_blocks(store);
    CHECK(orphans > 200 && orphans < N);
    after = read_state(store);
    CHECK(after.flags == STATE_EARLY_BLOCKS && after.epoch == 0 && after.next_seq == 1);
    CHECK(read_number(store, 1) == 5 && get_number(&r, 1) == 5);

    CHECK_OK(put_block(&w, 1000));
    CHECK_OK(w.blocks->ops->sync(w.blocks));
    CHECK(count_blocks(store) == orphans + 1);
    struct block_key key = test_block_key(1000);
    CHECK_OK(blocks_del(w.blocks, &key)); /* put early, then not wanted after all */
    put_number(&w, 1, 7);
    CHECK_OK(catalog_commit(w.catalog));
    CHECK(count_blocks(store) == orphans && read_number(store, 1) == 7);
    CHECK_OK(catalog_get(w.catalog, TABLE_CONFIG, bytes_of("state", 5), &entry));
    CHECK(entry.value.size == RECORD_STATE_BYTES);
    check_sound(store);
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
        CHECK_OK(put_block(&w, i));
    put_number(&w, 1, 6);
    for (rlim_t extra = 0; extra < 4 * MIB; extra += 300000) {
        set_file_limit(100000 + extra);
        CHECK_STATUS(VINDEX_FULL, catalog_commit(w.catalog));
        CHECK(read_number(store, 1) == 5 && count_blocks(store) == 0);
    }
    set_file_limit(RLIM_INFINITY);
    CHECK_OK(catalog_commit(w.catalog));
    CHECK(read_number(store, 1) == 6 && count_blocks(store) == 20);
    check_sound(store);
    vindex__session_close(store, &w);
    vindex__store_close(store);
}

static void test_file_limit(void **state)
{
    const char *path = test_path("limit.vdx");
    struct store *store;

    (void)state;
    make_file(path, 5);
    expect_exit(test_child(write_past_limit, (void *)(uintptr_t)path));
    store = test_open(path, true);
    CHECK(read_number(store, 1) == 6);
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
    write_number(store, 1, 5);
    while (write(hog, zeros, sizeof zeros) > 0)
        continue;
    CHECK(truncate(hog_path, lseek(hog, 0, SEEK_CUR) - MIB) == 0);
    w = test_session(store, true);
    put_number(&w, 1, 6);
    for (uint64_t i = 0; i < 40; i++)
        CHECK_OK(put_block(&w, i));
    CHECK_STATUS(VINDEX_FULL, catalog_commit(w.catalog));
    CHECK_STATUS(VINDEX_FULL, w.blocks->ops->sync(w.blocks));
    CHECK(read_number(store, 1) == 5);
    for (uint64_t i = 40; i < 200; i++) /* early writes fail too; what was put before is kept */
        if (put_block(&w, i) != VINDEX_OK) {
            CHECK(i > 100);
            CHECK_STATUS(VINDEX_FULL, put_block(&w, i));
            CHECK(ftruncate(hog, 0) == 0);
            CHECK_OK(put_block(&w, i));
        }
    CHECK_OK(catalog_commit(w.catalog));
    CHECK(read_number(store, 1) == 6 && count_blocks(store) == 200);
    check_sound(store);
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
    make_file(path, 5);
    store = test_open(path, false);
    write_blocks(store, 0, 8);
    w = test_session(store, true);
    for (uint64_t i = 0; i < 8; i++) {
        struct block_key key = test_block_key(i);
        CHECK_OK(blocks_del(w.blocks, &key));
    }
    CHECK_OK(catalog_commit(w.catalog));
    for (uint64_t i = 0; i < 4; i++) { /* the pages in use move to the front */
        put_number(&w, 1, 5);
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
    CHECK(read_number(store, 1) == 5);
    CHECK(stat(path, &info) == 0 && (uint64_t)info.st_size == report.end_bytes);
    vindex__store_close(store);
    store = test_open(path, false);
    w = test_session(store, true);
    CHECK(stat(path, &info) == 0 &&
          (uint64_t)info.st_size >= (metas[0].last_page + 1) * metas[0].page_bytes);
    vindex__session_close(store, &w);
    write_blocks(store, 0, 8);
    check_sound(store);
    vindex__store_close(store);
    test_remove(path);
}

static void expect_nine(void *context)
{
    struct store *store = test_open(context, false);
    CHECK(read_number(store, 1) == 9);
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
    make_file(path, 5);
    make_file(fresh, 9);
    old = test_open(path, false);
    view = test_session(old, false);
    CHECK_OK(catalog_refresh(view.catalog, &stamp));
    CHECK(rename(fresh, path) == 0);
    expect_exit(test_child(expect_nine, (void *)(uintptr_t)path));
    new = test_open(path, false);
    for (uint64_t i = 10; i < 20; i++) {
        write_number(new, 1, i);
        write_number(old, 1, i + 100);
        CHECK(read_number(new, 1) == i && read_number(old, 1) == i + 100);
        CHECK(get_number(&view, 1) == 5);
    }
    vindex__store_close(new);
    CHECK(get_number(&view, 1) == 5);
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
        CHECK(read_number(store, 1) >= 5);
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
    make_file(path, 5);
    for (int i = 0; i < 3; i++)
        CHECK(pthread_create(&threads[i], NULL, open_and_read, (void *)(uintptr_t)path) == 0);
    store = test_open(path, false);
    for (uint64_t i = 0; i < 40; i++) {
        write_number(store, 1, 5 + i);
        write_blocks(store, 2 * i, 2);
    }
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    CHECK(count_blocks(store) == 80);
    check_sound(store);
    vindex__store_close(store);
    memset(&vindex__env_hooks, 0, sizeof vindex__env_hooks);
    test_remove(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_token),
        cmocka_unit_test(test_token_keeps_suspicion),
        cmocka_unit_test(test_token_and_lmdb),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_create_fails),
        cmocka_unit_test(test_registry),
        cmocka_unit_test(test_readonly),
        cmocka_unit_test(test_without_lock_file),
        cmocka_unit_test(test_one_writer),
        cmocka_unit_test(test_killed_writers),
        cmocka_unit_test(test_killed_reader),
        cmocka_unit_test(test_open_race),
        cmocka_unit_test(test_fork),
        cmocka_unit_test(test_map_grows),
        cmocka_unit_test(test_map_cannot_grow),
        cmocka_unit_test(test_address_space),
        cmocka_unit_test(test_early_blocks),
        cmocka_unit_test(test_file_limit),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_short_file),
        cmocka_unit_test(test_replaced),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
