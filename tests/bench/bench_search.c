/*
 * bench_search.c - exact search of a snapshot: queries/s by batch and threads; for one query also
 * the share of the plain-sum bandwidth, both measured in turns in one run. One JSON line each.
 *
 *     bench_search [--base F.bvecs|F.fvecs --queries F] [--n N --dim D] [--k K]
 *                  [--type f32|f16|bf16|i8|u8|bit] [--metric l2|cosine|ip|hamming]
 *                  [--batch B,B,...] [--threads T] [--rounds R]
 *
 * Without files: normal data. VINDEX_ISA and VINDEX_TILE=blas choose what is compared.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "kernels/kernels.h"
#include "search/search.h"

#define PART_ROWS 16384u

struct set {
    void *rows;
    size_t n, dim;
};

struct bench {
    uint32_t type, metric, threads;
    size_t k, rounds;
    struct set base, queries;
    struct snapshot snapshot;
    struct search *search;
};

static void die(const char *what, const char *detail)
{
    fprintf(stderr, "bench_search: %s: %s\n", what, detail);
    exit(1);
}

static void *allocate(size_t count, size_t size)
{
    void *memory = aligned_alloc(64, (count * size + 64) / 64 * 64);
    if (!memory) die("out of memory", "rows");
    return memory;
}

/* ---- rows ---------------------------------------------------------------------------------- */

/* Whole .bvecs or .fvecs (int32 dim, then the values) as dense f32. */
static void read_vecs(const char *path, struct set *set)
{
    FILE *file = fopen(path, "rb");
    size_t name = strlen(path), width = name > 6 && path[name - 5] == 'b' ? 1 : 4;
    int32_t dim = 0;
    if (!file || fread(&dim, 4, 1, file) != 1 || dim < 1) die("cannot read", path);
    fseek(file, 0, SEEK_END);
    size_t record = 4 + width * (size_t)dim, n = (size_t)ftell(file) / record;
    unsigned char *row = malloc(record);
    float *floats = allocate(n * (size_t)dim, sizeof *floats);
    rewind(file);
    for (size_t r = 0; r < n; r++) {
        if (fread(row, record, 1, file) != 1) die("short file", path);
        for (size_t i = 0; i < (size_t)dim; i++) {
            if (width == 1)
                floats[r * (size_t)dim + i] = row[4 + i];
            else
                memcpy(&floats[r * (size_t)dim + i], row + 4 + 4 * i, 4);
        }
    }
    free(row);
    fclose(file);
    *set = (struct set){floats, n, (size_t)dim};
}

static void make_set(size_t n, size_t dim, uint64_t seed, bool whole, struct set *set)
{
    struct rng rng;
    float *floats = allocate(n * dim, sizeof *floats);
    vindex__rng_init(&rng, seed);
    for (size_t i = 0; i < n * dim; i++) {
        double x = vindex__rng_unit(&rng) + vindex__rng_unit(&rng) + vindex__rng_unit(&rng) - 1.5;
        floats[i] = whole ? (float)floor(64 + 40 * x) : (float)x;
    }
    *set = (struct set){floats, n, dim};
}

/* From f32 to the type; bits are signs. */
static void convert(struct set *set, uint32_t type)
{
    float *floats = set->rows;
    size_t row_bytes = vkern_row_bytes((enum vkern_type)type, set->dim);
    char *rows = allocate(set->n, row_bytes);
    if (type == VINDEX_FLOAT) {
        free(rows);
        return;
    }
    memset(rows, 0, set->n * row_bytes);
    for (size_t r = 0; r < set->n; r++) {
        const float *from = floats + r * set->dim;
        char *to = rows + r * row_bytes;
        if (type != VINDEX_BIT) {
            if (!vkern_get()->from_f32[type](from, set->dim, to)) die("values", "out of range");
            continue;
        }
        for (size_t i = 0; i < set->dim; i++)
            to[i / 8] = (char)(to[i / 8] | (from[i] > 0) << i % 8);
    }
    free(floats);
    set->rows = rows;
}

/* Parts of 16,384 rows in blocks of 256 KiB, as storage makes them. */
static void make_snapshot(struct bench *bench)
{
    size_t n = bench->base.n, dim = bench->base.dim;
    size_t row_bytes = vkern_row_bytes((enum vkern_type)bench->type, dim);
    uint32_t per_block = (uint32_t)(262080 / row_bytes), n_parts = 0;
    struct part *parts = calloc(n / PART_ROWS + 1, sizeof *parts);
    int64_t *ids = allocate(n, sizeof *ids);
    float *norms = allocate(n, sizeof *norms);

    for (size_t first = 0; first < n; first += PART_ROWS) {
        struct part *part = &parts[n_parts++];
        part->n = part->n_live = (uint32_t)(n - first < PART_ROWS ? n - first : PART_ROWS);
        part->n_blocks = (part->n + per_block - 1) / per_block;
        struct block *blocks = calloc(part->n_blocks, sizeof *blocks);
        uint64_t *live = calloc(PART_ROWS / 64, 8);
        for (uint32_t b = 0; b < part->n_blocks; b++) {
            uint32_t at = b * per_block, left = part->n - at;
            blocks[b] = (struct block){(char *)bench->base.rows + (first + at) * row_bytes,
                                       row_bytes, left < per_block ? left : per_block, at};
        }
        for (uint32_t i = 0; i < part->n; i++) {
            const char *row = (char *)bench->base.rows + (first + i) * row_bytes;
            float norm = (float)sqrt(vkern_get()->sumsq[bench->type](row, dim));
            ids[first + i] = (int64_t)(first + i);
            norms[first + i] = norm;
            bitmap_set(live, i);
            if (norm > 0 && (part->norm_lo == 0 || norm < part->norm_lo)) part->norm_lo = norm;
            if (norm > part->norm_hi) part->norm_hi = norm;
        }
        part->blocks = blocks;
        part->ids = ids + first;
        part->norms = bench->type == VINDEX_BIT ? NULL : norms + first;
        part->live = live;
        part->ids_ascend = true;
        part->base = first;
    }
    bench->snapshot.config.type = bench->type;
    bench->snapshot.config.metric = bench->metric;
    bench->snapshot.config.dim = (uint32_t)dim;
    bench->snapshot.parts = parts;
    bench->snapshot.n_parts = n_parts;
    bench->snapshot.n_positions = bench->snapshot.n_live = n;
}

/* ---- measuring ----------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, by_value);
    return values[n / 2];
}

static double seconds(void)
{
    return (double)vindex__now_ns() * 1e-9;
}

static volatile uint64_t sink;

static void measure(struct bench *bench, size_t batch)
{
    size_t query_bytes = vkern_row_bytes(
        bench->type <= VINDEX_BFLOAT16 ? VKERN_F32 : (enum vkern_type)bench->type, bench->base.dim);
    size_t base_bytes =
        bench->base.n * vkern_row_bytes((enum vkern_type)bench->type, bench->base.dim);
    vindex_hit *hits = calloc(batch * bench->k, sizeof *hits);
    double *search_s = calloc(bench->rounds, sizeof(double));
    double *sum_s = calloc(bench->rounds, sizeof(double));
    vindex_report report = VINDEX_REPORT_INIT;
    struct search_request request = {
        .n_queries = batch, .k = bench->k, .recall = 1, .n_threads = bench->threads};

    if (batch > bench->queries.n) die("batch", "more than there are queries");
    for (size_t round = 0; round <= bench->rounds; round++) { /* the first warms up */
        size_t slot = round ? round - 1 : 0;
        size_t first = bench->queries.n > batch ? round * batch % (bench->queries.n - batch) : 0;
        request.queries = (const char *)bench->queries.rows + first * query_bytes;
        double started = seconds();
        if (vindex__search_run(bench->search, &bench->snapshot, &request, hits, &report))
            die("search", vindex_message());
        double middle = seconds();
        if (batch == 1) sink += vkern_get()->sum(bench->base.rows, base_bytes / 64 * 64);
        search_s[slot] = middle - started;
        sum_s[slot] = seconds() - middle;
    }
    double s = median(search_s, bench->rounds);
    printf("{\"bench\":\"search\",\"n\":%zu,\"dim\":%zu,\"k\":%zu,\"batch\":%zu,\"qps\":%.1f,"
           "\"best_qps\":%.1f,\"gb_s\":%.2f,\"reranked_per_query\":%.1f",
           bench->base.n, bench->base.dim, bench->k, batch, (double)batch / s,
           (double)batch / search_s[0], (double)base_bytes / s * 1e-9,
           (double)report.n_reranked / (double)batch);
    if (batch == 1) printf(",\"share_of_sum\":%.3f", median(sum_s, bench->rounds) / s);
    printf(",\"recall\":1,\"isa\":\"%s\",\"plan\":\"%s\"}\n", vkern_get()->level_name, report.plan);
    fflush(stdout);
    free(hits);
    free(search_s);
    free(sum_s);
}

/* ---- arguments ----------------------------------------------------------------------------- */

static uint32_t word_in(const char *word, const char *const *words, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (!strcmp(word, words[i])) return i;
    die("unknown", word);
    return 0;
}

int main(int argc, char **argv)
{
    static const char *const types[] = {"f32", "f16", "bf16", "i8", "u8", "bit"};
    static const char *const metrics[] = {"l2", "cosine", "ip", "hamming"};
    struct bench bench = {.threads = 1, .k = 10, .rounds = 5};
    const char *base = NULL, *queries = NULL, *batches = "1,2,4,8,32,1000";
    size_t n = 100000, dim = 128;

    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        if (!strcmp(name, "--base"))
            base = value;
        else if (!strcmp(name, "--queries"))
            queries = value;
        else if (!strcmp(name, "--n"))
            n = strtoull(value, NULL, 10);
        else if (!strcmp(name, "--dim"))
            dim = strtoull(value, NULL, 10);
        else if (!strcmp(name, "--type"))
            bench.type = word_in(value, types, 6);
        else if (!strcmp(name, "--metric"))
            bench.metric = word_in(value, metrics, 4);
        else if (!strcmp(name, "--k"))
            bench.k = strtoull(value, NULL, 10);
        else if (!strcmp(name, "--batch"))
            batches = value;
        else if (!strcmp(name, "--threads"))
            bench.threads = (uint32_t)strtoul(value, NULL, 10);
        else if (!strcmp(name, "--rounds"))
            bench.rounds = strtoull(value, NULL, 10);
        else
            die("unknown option", name);
    }
    bool whole = bench.type == VINDEX_INT8 || bench.type == VINDEX_UINT8;
    if (base)
        read_vecs(base, &bench.base);
    else
        make_set(n, dim, 1, whole, &bench.base);
    if (queries)
        read_vecs(queries, &bench.queries);
    else
        make_set(1000, bench.base.dim, 2, whole, &bench.queries);
    convert(&bench.base, bench.type);
    convert(&bench.queries, bench.type <= VINDEX_BFLOAT16 ? (uint32_t)VINDEX_FLOAT : bench.type);
    make_snapshot(&bench);
    if (vindex__search_new(&bench.search)) die("search", vindex_message());
    for (const char *at = batches; *at; at += strspn(at, ","))
        measure(&bench, strtoull(at, (char **)&at, 10));
    vindex__search_free(bench.search);
    return 0;
}
