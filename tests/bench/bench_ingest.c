/*
 * bench_ingest.c - rows a second of one large commit, heap of a large build, time to open.
 *
 *     bench_ingest insert [ROWS DIM RUNS]   one commit (default 100000 x 384, 5 runs)
 *     bench_ingest build [GIB DIM]          one writer, rows generated in pieces; peak of the heap (RssAnon)
 *     bench_ingest open [ROWS DIM RUNS]     vindex_open, and up to the first answer of a tiny query
 *
 * Files go to TMPDIR (default /tmp). Each figure comes with a plain write + fdatasync of the same bytes in the same
 * run: the floor.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/random.h"
#include "base/threads.h"
#include "vindex.h"

static void check(vindex_status st, const char *what)
{
    if (st == VINDEX_OK) return;
    fprintf(stderr, "%s: %s\n", what, vindex_message());
    exit(1);
}
#define CHECK(call) check((call), #call)

static char path[512], lock[520], plain[520];

static void set_paths(void)
{
    const char *dir = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/vindex-bench-%ld.vdx", dir && *dir ? dir : "/tmp", (long)getpid());
    snprintf(lock, sizeof lock, "%s-lock", path);
    snprintf(plain, sizeof plain, "%s.raw", path);
}

static void clean_up(void)
{
    unlink(path);
    unlink(lock);
    unlink(plain);
}

static double seconds_since(int64_t start)
{
    return (double)(vindex__now_ns() - start) * 1e-9;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int n)
{
    qsort(values, (size_t)n, sizeof *values, compare_doubles);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static void fill(float *rows, size_t n, uint64_t seed)
{
    struct rng rng;
    vindex__rng_init(&rng, seed);
    for (size_t i = 0; i < n; i++)
        rows[i] = (float)(int32_t)vindex__rng_next(&rng) * 0x1p-31f;
}

static vindex *create(uint32_t dim)
{
    vindex *index = NULL;
    vindex_create_options options = VINDEX_CREATE_OPTIONS_INIT;
    options.dim = dim;
    clean_up();
    CHECK(vindex_create(path, &options, &index));
    return index;
}

static double insert_once(const float *rows, size_t n, uint32_t dim)
{
    vindex *index = create(dim);
    vindex_writer *writer = NULL;
    int64_t start = vindex__now_ns();
    CHECK(vindex_writer_begin(index, &writer));
    CHECK(vindex_writer_insert(writer, NULL, &VINDEX_F32_ROWS(rows, n), 0));
    CHECK(vindex_writer_commit(writer));
    double seconds = seconds_since(start);
    vindex_close(index);
    return seconds;
}

static double write_plain(const void *bytes, size_t size)
{
    int64_t start = vindex__now_ns();
    unlink(plain);
    int fd = open(plain, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    for (size_t at = 0; fd >= 0 && at < size;) {
        ssize_t n = write(fd, (const char *)bytes + at, size - at);
        if (n <= 0) break;
        at += (size_t)n;
    }
    if (fd < 0 || fdatasync(fd) != 0) perror(plain);
    if (fd >= 0) close(fd);
    return seconds_since(start);
}

static void bench_insert(size_t n, uint32_t dim, int runs)
{
    double index_s[64], plain_s[64];
    float *rows = malloc(n * dim * sizeof *rows);
    if (!rows) exit(1);
    fill(rows, n * dim, 1);
    if (runs > 64) runs = 64;
    for (int i = 0; i < runs; i++) {
        index_s[i] = insert_once(rows, n, dim);
        plain_s[i] = write_plain(rows, n * dim * sizeof *rows);
    }
    double s = median(index_s, runs), floor_s = median(plain_s, runs);
    printf("insert %zu x %u f32, one commit, 1 thread, %s: %.0f rows/s (%.3f s, best %.3f); plain "
           "write + fdatasync %.3f s; ratio %.2f\n",
           n, dim, vindex_isa(), (double)n / s, s, index_s[0], floor_s, s / floor_s);
    free(rows);
}

static long rss_anon_kib(void)
{
    char line[256];
    long kib = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status))
        if (sscanf(line, "RssAnon: %ld kB", &kib) == 1) break;
    if (status) fclose(status);
    return kib;
}

static void bench_build(double gib, uint32_t dim)
{
    enum { PIECE = 4096 };
    size_t n = (size_t)(gib * 1024 * 1024 * 1024 / (dim * sizeof(float)));
    float *rows = malloc(sizeof *rows * PIECE * dim);
    vindex *index = create(dim);
    vindex_writer *writer = NULL;
    long peak = 0;
    if (!rows) exit(1);
    int64_t start = vindex__now_ns();
    CHECK(vindex_writer_begin(index, &writer));
    for (size_t i = 0; i < n; i += PIECE) {
        size_t piece = n - i < PIECE ? n - i : PIECE;
        fill(rows, piece * dim, i);
        CHECK(vindex_writer_insert(writer, NULL, &VINDEX_F32_ROWS(rows, piece), 0));
        long now = rss_anon_kib();
        if (now > peak) peak = now;
    }
    CHECK(vindex_writer_commit(writer));
    CHECK(vindex_optimize(index, 0, NULL, NULL));
    long now = rss_anon_kib();
    if (now > peak) peak = now;
    printf("build %zu x %u f32 (%.2f GiB): %.1f s, %.0f rows/s, peak heap %ld MiB\n", n, dim, gib,
           seconds_since(start), (double)n / seconds_since(start), peak / 1024);
    vindex_close(index);
    free(rows);
}

static void bench_open(size_t n, uint32_t dim, int runs)
{
    double open_s[256], answer_s[256];
    float *rows = malloc(n * dim * sizeof *rows);
    vindex_hit hit;
    if (!rows) exit(1);
    if (runs > 256) runs = 256;
    fill(rows, n * dim, 1);
    insert_once(rows, n, dim);
    vindex_filter nothing = {.kind = VINDEX_FILTER_IDS};
    vindex_search_options options = VINDEX_SEARCH_OPTIONS_INIT;
    options.filter = &nothing; /* no row is scanned: what is left is the snapshot */
    for (int i = 0; i < runs; i++) {
        vindex *index = NULL;
        vindex_searcher *searcher = NULL;
        int64_t start = vindex__now_ns();
        CHECK(vindex_open(path, 0, &index));
        open_s[i] = seconds_since(start);
        CHECK(vindex_searcher_open(index, &searcher));
        CHECK(vindex_search(searcher, &VINDEX_F32_ROWS(rows, 1), 1, &options, &hit));
        answer_s[i] = seconds_since(start);
        vindex_searcher_close(searcher);
        vindex_close(index);
    }
    printf("open %zu x %u f32, closed cleanly: %.3f ms, to the first answer %.3f ms (medians of %d)\n", n,
           dim, 1e3 * median(open_s, runs), 1e3 * median(answer_s, runs), runs);
    free(rows);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "insert";
    set_paths();
    if (strcmp(what, "insert") == 0)
        bench_insert(argc > 2 ? strtoul(argv[2], NULL, 10) : 100000,
                     argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 384, argc > 4 ? atoi(argv[4]) : 5);
    else if (strcmp(what, "build") == 0)
        bench_build(argc > 2 ? atof(argv[2]) : 3, argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 128);
    else if (strcmp(what, "open") == 0)
        bench_open(argc > 2 ? strtoul(argv[2], NULL, 10) : 1000000,
                   argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 128, argc > 4 ? atoi(argv[4]) : 21);
    else {
        fprintf(stderr, "usage: bench_ingest insert|build|open\n");
        return 2;
    }
    clean_up();
    return 0;
}
