/*
 * bench_ingest.c - rows a second of one large commit, heap of a large build, time to open.
 *
 *     bench_ingest insert [ROWS DIM RUNS]   one commit (default 100000 x 384, 5 runs)
 *     bench_ingest build [GIB DIM]          one writer, rows generated in pieces; peak of the heap (RssAnon)
 *     bench_ingest open [ROWS DIM RUNS]     vindex_open, and up to the first answer of a tiny query
 *     bench_ingest codes INDEX [THREADS [RUNS]]  train and encode an index that is there (and keep the result): seconds, rows a
 *                                           second, bytes a row of each plane. Several numbers of threads (1,2) take
 *                                           turns, RUNS times (default 1).
 *
 * Files go to TMPDIR (default /tmp). Each figure comes with a plain write + fdatasync of the same bytes in the same
 * run: the floor.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/random.h"
#include "base/threads.h"
#include "ingest/ingest.h"
#include "ingest/train.h"
#include "storage/snapshot.h"
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

/* Of this process: what the work takes when nobody else wants the processors. */
static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
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

/* ---- codes --------------------------------------------------------------------------------------- */

static void train_on(struct store *store, struct trained *trained)
{
    struct session session;
    struct config config;
    struct sample sample;
    uint64_t stamp;
    CHECK(vindex__session_open(store, false, &session));
    CHECK(catalog_refresh(session.catalog, &stamp));
    CHECK(vindex__read_head(session.catalog, &config, NULL));
    catalog_release(session.catalog);
    int64_t start = vindex__now_ns();
    CHECK(vindex__sample_rows(&session, &config, NULL, &sample));
    double sample_s = seconds_since(start);
    vindex__session_close(store, &session);
    double cpu_s = cpu_seconds();
    start = vindex__now_ns();
    CHECK(vindex__train(&sample, NULL, trained));
    printf("%zu of %llu rows x %u, %s: sample %.3f s, train %.3f s (%.3f s of CPU); %u axes, energy %.3f\n",
           sample.n, (unsigned long long)sample.n_rows, sample.dim, vindex_isa(), sample_s,
           seconds_since(start), cpu_seconds() - cpu_s, trained->m, (double)trained->energy);
    vindex__sample_free(&sample);
}

typedef vindex_status write_fn(struct ingest *ingest, void *context);

static void write_once(struct store *store, write_fn *write, void *context)
{
    struct session session;
    struct ingest *ingest = NULL;
    CHECK(vindex__session_open(store, true, &session));
    CHECK(vindex__ingest_begin(&session, &ingest));
    CHECK(write(ingest, context));
    CHECK(vindex__ingest_commit(ingest));
    vindex__ingest_free(ingest);
    vindex__session_close(store, &session);
}

static vindex_status put_model(struct ingest *ingest, void *trained)
{
    return vindex__ingest_put_model(ingest, trained);
}

struct encoding {
    struct pool *pool;
    uint64_t after, n;
    bool more;
};

static vindex_status encode(struct ingest *ingest, void *context)
{
    struct encoding *e = context;
    vindex__ingest_set_pool(ingest, e->pool);
    return vindex__ingest_encode(ingest, UINT64_C(64) << 20, &e->after, &e->n, &e->more);
}

static uint64_t plane_bytes(const struct block *blocks, uint32_t n)
{
    uint64_t size = 0;
    for (uint32_t i = 0; i < n; i++)
        size += BLOCK_HEADER_BYTES + (uint64_t)blocks[i].n * blocks[i].stride;
    return size;
}

/* Bytes a row of each plane; returns the number of rows with codes. */
static uint64_t print_planes(struct store *store)
{
    struct session session;
    const struct snapshot *snapshot;
    uint64_t n = 0, c4 = 0, c8 = 0, p8 = 0;
    CHECK(vindex__session_open(store, false, &session));
    CHECK(vindex__snapshot_acquire(store, &session, &snapshot));
    for (uint32_t i = 0; i < snapshot->n_parts; i++) {
        const struct part *part = &snapshot->parts[i];
        if (!part->codes) continue;
        n += part->n;
        c4 += plane_bytes(part->codes->c4, part->codes->n_c4);
        c8 += plane_bytes(part->codes->c8, part->codes->n_c8);
        p8 += plane_bytes(part->codes->p8, part->codes->n_p8);
    }
    printf("%llu rows with codes; bytes a row: c4 %.1f, c8 %.1f, p8 %.1f\n", (unsigned long long)n,
           n ? (double)c4 / (double)n : 0, n ? (double)c8 / (double)n : 0,
           n ? (double)p8 / (double)n : 0);
    vindex__snapshot_release(store, &session, snapshot);
    vindex__session_close(store, &session);
    return n;
}

/* The threads a run uses are started within its time. */
static void encode_all(struct store *store, const struct trained *trained, uint32_t n_threads,
                       double *seconds, double *cpu_s)
{
    struct encoding encoding = {.more = true};
    write_once(store, put_model, (void *)(uintptr_t)trained);
    int64_t start = vindex__now_ns();
    *cpu_s = cpu_seconds();
    if (n_threads > 1) CHECK(vindex__pool_open(n_threads, &encoding.pool));
    while (encoding.more)
        write_once(store, encode, &encoding);
    vindex__pool_close(encoding.pool);
    *seconds = seconds_since(start);
    *cpu_s = cpu_seconds() - *cpu_s;
}

enum { COUNTS_MAX = 8, RUNS_MAX = 64 };

static int parse_counts(const char *list, uint32_t counts[COUNTS_MAX])
{
    int n = 0;
    for (char *end; *list && n < COUNTS_MAX; list = *end ? end + 1 : end)
        counts[n++] = (uint32_t)strtoul(list, &end, 10);
    return n;
}

static void bench_codes(const char *index, const char *threads, int runs)
{
    static double seconds[COUNTS_MAX][RUNS_MAX], cpu_s[COUNTS_MAX][RUNS_MAX];
    uint32_t counts[COUNTS_MAX];
    int n_counts = parse_counts(threads, counts);
    struct store *store = NULL;
    struct trained trained;
    if (runs > RUNS_MAX) runs = RUNS_MAX;
    CHECK(vindex__store_open(index, false, &store));
    train_on(store, &trained);
    for (int run = 0; run < runs; run++)
        for (int i = 0; i < n_counts; i++)
            encode_all(store, &trained, counts[i], &seconds[i][run], &cpu_s[i][run]);
    vindex__trained_free(&trained);
    double n = (double)print_planes(store);
    for (int i = 0; i < n_counts; i++) {
        double s = median(seconds[i], runs), c = median(cpu_s[i], runs);
        printf("%u threads: encoded in %.3f s (%.3f..%.3f; %.3f s of CPU): %.0f rows/s, commits included, median of %d\n",
               counts[i], s, seconds[i][0], seconds[i][runs - 1], c, n / s, runs);
    }
    vindex__store_close(store);
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
    else if (strcmp(what, "codes") == 0 && argc > 2)
        bench_codes(argv[2], argc > 3 ? argv[3] : "1", argc > 4 ? atoi(argv[4]) : 1);
    else {
        fprintf(stderr, "usage: bench_ingest insert|build|open|codes INDEX [THREADS [RUNS]]\n");
        return 2;
    }
    clean_up();
    return 0;
}
