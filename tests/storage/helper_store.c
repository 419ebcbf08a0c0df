/*
 * helper_store.c - see helper_store.h.
 */
#include "helper_store.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/random.h"

void check_here(bool condition, const char *text, const char *file, int line)
{
    if (condition) return;
    fprintf(stderr, "%s:%d: %s fails: %s\n", file, line, text, vindex_message());
    fflush(NULL);
    abort();
}

void check_status_here(vindex_status expected, vindex_status status, const char *text,
                       const char *file, int line)
{
    if (expected == status) return;
    fprintf(stderr, "%s:%d: %s gives %s, not %s: %s\n", file, line, text,
            vindex_status_text(status), vindex_status_text(expected), vindex_message());
    fflush(NULL);
    abort();
}

/* ---- files ------------------------------------------------------------------------------- */

static char directory[128];
static pid_t directory_owner;

static void remove_directory(void)
{
    char command[160];
    if (getpid() != directory_owner) return;
    snprintf(command, sizeof command, "rm -rf '%s'", directory);
    if (system(command) != 0) fprintf(stderr, "%s is left behind\n", directory);
}

const char *test_path(const char *name)
{
    static char paths[16][256];
    static unsigned next;
    char *path = paths[next++ % 16];

    if (!directory[0]) {
        const char *base = getenv("TMPDIR");
        snprintf(directory, sizeof directory, "%s/vindex-storage-XXXXXX",
                 base && *base ? base : "/tmp");
        CHECK(mkdtemp(directory) != NULL);
        directory_owner = getpid();
        atexit(remove_directory);
    }
    snprintf(path, sizeof paths[0], "%s/%s", directory, name);
    return path;
}

void test_remove(const char *path)
{
    char lock[300];
    snprintf(lock, sizeof lock, "%s-lock", path);
    unlink(path);
    unlink(lock);
}

void test_copy_file(const char *from, const char *to)
{
    static char buffer[1 << 16];
    ssize_t n;
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0644);

    CHECK(in >= 0 && out >= 0);
    while ((n = read(in, buffer, sizeof buffer)) > 0)
        CHECK(write(out, buffer, (size_t)n) == n);
    CHECK(n == 0);
    close(in);
    close(out);
}

/* ---- stores ------------------------------------------------------------------------------ */

struct config test_config(void)
{
    struct config config = {
        .format = FORMAT_VERSION,
        .dim = 16,
        .type = 0,
        .metric = 0,
        .recall = 0.99f,
        .seal_rows = 4096,
        .seal_bytes = 8u << 20,
    };
    memset(config.uuid, 7, sizeof config.uuid);
    return config;
}

struct store *test_create(const char *path)
{
    struct config config = test_config();
    struct store *store = NULL;
    CHECK_OK(vindex__store_create(path, &config, &store));
    return store;
}

struct store *test_open(const char *path, bool readonly)
{
    struct store *store = NULL;
    CHECK_OK(vindex__store_open(path, readonly, &store));
    return store;
}

struct session test_session(struct store *store, bool write)
{
    struct session session;
    CHECK_OK(vindex__session_open(store, write, &session));
    return session;
}

/* ---- records and blocks ------------------------------------------------------------------ */

static void fill(uint64_t seed, unsigned char *out, size_t size)
{
    struct rng rng;
    vindex__rng_init(&rng, seed);
    for (size_t i = 0; i < size; i += 8) {
        uint64_t word = vindex__rng_next(&rng);
        memcpy(out + i, &word, size - i < 8 ? size - i : 8);
    }
}

void test_record(enum catalog_table table, uint64_t seed, size_t size, unsigned char *out)
{
    CHECK(size >= 16);
    fill(seed, out + 8, size - 8);
    out[0] = table == TABLE_CODES ? 8 : (unsigned char)(table + 1); /* the kind, from `tail` on */
    out[1] = 1;
    out[2] = out[3] = 0;
    store_le32(out + 4, vindex__crc32c(0, out + 8, size - 8));
}

struct bytes test_block(const struct block_key *key, uint32_t n, uint64_t seed, unsigned char *out)
{
    struct block_header header = {.plane = key->plane, .n = n, .stride = 64, .dim = 16};

    memcpy(header.nonce, key->nonce, NONCE_BYTES);
    fill(seed, out + BLOCK_HEADER_BYTES, (size_t)n * 64);
    vindex__block_seal(&header, out);
    return bytes_of(out, BLOCK_HEADER_BYTES + (size_t)n * 64);
}

struct block_key test_block_key(uint64_t number)
{
    struct block_key key = {.plane = PLANE_FULL, .index = (uint32_t)number};
    fill(number / 4, key.nonce, NONCE_BYTES); /* four blocks a segment */
    return key;
}

/* ---- processes --------------------------------------------------------------------------- */

/* The test driver catches signals, and would go on with its tests in the child. */
static void die_of_signals(void)
{
    static const int signals[] = {SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGSYS, SIGABRT};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        signal(signals[i], SIG_DFL);
}

int test_child(void (*body)(void *context), void *context)
{
    int status = 0;
    pid_t child;

    fflush(NULL);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        die_of_signals();
        body(context);
        fflush(NULL);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    return status;
}

static int ready[2] = {-1, -1};

pid_t test_child_start(void (*body)(void *context), void *context)
{
    pid_t child;

    CHECK(pipe(ready) == 0);
    fflush(NULL);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        close(ready[0]);
        die_of_signals();
        body(context);
        _exit(0);
    }
    close(ready[1]);
    return child;
}

void test_ready(void)
{
    CHECK(write(ready[1], "!", 1) == 1);
}

void test_wait_ready(void)
{
    char byte;
    CHECK(read(ready[0], &byte, 1) == 1);
    close(ready[0]);
}

void test_kill(pid_t child)
{
    int status;
    kill(child, SIGKILL);
    CHECK(waitpid(child, &status, 0) == child);
}

void test_flip(const char *path, off_t at, unsigned char mask)
{
    unsigned char byte = 0;
    int fd = open(path, O_RDWR);
    CHECK(fd >= 0 && pread(fd, &byte, 1, at) == 1);
    byte ^= mask;
    CHECK(pwrite(fd, &byte, 1, at) == 1);
    close(fd);
}
