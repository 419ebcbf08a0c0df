/*
 * bench_search.c - ways to search one snapshot, in turns in one run: queries/s by batch, the bytes a way reads
 * beside a plain sum over as many bytes, recall beside each. One JSON line each.
 *
 *     bench_search [--base F.bvecs|F.fvecs --queries F] [--n N --dim D] [--k K]
 *                  [--type f32|f16|bf16|i8|u8|bit] [--metric l2|cosine|ip|hamming]
 *                  [--limit QUERIES] [--batch B,B,...] [--threads T] [--rounds R]
 *                  [--engine auto,scan,tile,c8,tile8,c4,p8] [--axes M] [--lead P] [--recall R]
 *                  [--clock wall|cpu] [--cold 1]
 *
 * Without files: normal data. Codes are made where an engine needs them, axes from a sample of rows (--axes: so
 * many). c4 reranks as many rows as the queries given need for the recall asked (0.99): a look at the answers that
 * no search has, to compare speeds at equal recall. --clock cpu counts the calling thread's time alone, for one
 * thread on a machine that others use. --cold 1 empties the caches before each search and each sum. VINDEX_ISA and VINDEX_TILE=blas choose what is compared.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/random.h"
#include "ingest/train.h"
#include "kernels/codes.h"
#include "search/call.h"

#define PART_ROWS 16384u
#define EVICT_BYTES ((size_t)256 << 20)
#define CACHE_BYTES ((size_t)64 << 20) /* of any processor's, at most */

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
    const char *engines;
    bool cold;
    char *other; /* that no way reads */
    uint32_t axes, lead;
    double recall;
    struct model model;
    struct trained trained;
    char *c4, *c8, *p8; /* all groups of all parts */
    size_t c4_bytes, c8_bytes, p8_bytes, k_prime;
    vindex_hit *truth; /* [queries.n, k] */
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

/* ---- codes ---------------------------------------------------------------------------------- */

#define SAMPLE_ROWS 65536u

static void dense_rows(const struct bench *bench, size_t first, size_t n, float *to)
{
    size_t dim = bench->base.dim, row_bytes = vkern_row_bytes((enum vkern_type)bench->type, dim);
    vkern_get()->to_f32[bench->type]((const char *)bench->base.rows + first * row_bytes, n * dim,
                                     to);
}

static void train(struct bench *bench)
{
    size_t dim = bench->base.dim, n = bench->base.n < SAMPLE_ROWS ? bench->base.n : SAMPLE_ROWS;
    struct sample sample = {.dim = (uint32_t)dim,
                            .metric = bench->metric,
                            .n = n,
                            .rows = allocate(n * dim, sizeof(float)),
                            .n_rows = bench->base.n,
                            .row_bytes = vkern_row_bytes((enum vkern_type)bench->type, dim),
                            .has_c8 = bench->type <= VINDEX_BFLOAT16,
                            .recall = 0.99F};
    for (size_t i = 0; i < n; i++) {
        float *row = sample.rows + i * dim;
        dense_rows(bench, i * (bench->base.n / n), 1, row);
        double norm = sqrt(vkern_get()->sumsq[VKERN_F32](row, dim));
        for (size_t d = 0; bench->metric == VINDEX_COSINE && norm > 0 && d < dim; d++)
            row[d] = (float)(row[d] / norm);
    }
    if (vindex__train(&sample, NULL, &bench->trained)) die("training", vindex_message());
    free(sample.rows);
}

static struct block *cut(char *groups, size_t n_groups, size_t stride, uint32_t *n_blocks)
{
    size_t per_block = 262080 / stride;
    *n_blocks = (uint32_t)((n_groups + per_block - 1) / per_block);
    struct block *blocks = calloc(*n_blocks + 1, sizeof *blocks);
    for (uint32_t b = 0; b < *n_blocks; b++) {
        size_t at = b * per_block, n = n_groups - at < per_block ? n_groups - at : per_block;
        blocks[b] = (struct block){groups + at * stride, stride, (uint32_t)n, (uint32_t)(16 * at)};
    }
    return blocks;
}

/* All planes of a part, at `at` groups into the bench's memory. */
static void encode(struct bench *bench, const struct vkern_model *model, struct part *part,
                   size_t at, float *rows, float *scratch)
{
    struct part_codes *codes = calloc(1, sizeof *codes);
    struct vkern_c8_facts facts;
    size_t n_groups = vkern_groups(part->n), c8 = vkern_c8_group_bytes(model->dim);
    size_t c4 = vkern_c4_group_bytes(model->m), p8 = vkern_c8_group_bytes(vkern_p8_dim(model));
    struct vkern_p8_facts p8_facts;

    dense_rows(bench, part->base, part->n, rows);
    if (vkern_c8_encode(vkern_get(), model, rows, part->n, bench->c8 + at * c8, &facts)) {
        codes->c8 = cut(bench->c8 + at * c8, n_groups, c8, &codes->n_c8);
        codes->whole = facts.whole;
        codes->is_signed = facts.is_signed;
        codes->c8_error = facts.error;
        codes->c8_size = facts.size;
        codes->c8_bias = facts.bias_max;
    }
    if (model->m > 0) {
        char *to = model->p ? bench->p8 + at * p8 : NULL;
        bool has_p8 = vkern_axes_encode(vkern_get(), model, rows, part->n, scratch,
                                        bench->c4 + at * c4, to, &p8_facts);
        if (to && has_p8) {
            codes->p8 = cut(to, n_groups, p8, &codes->n_p8);
            codes->p8_error = p8_facts.codes.error;
            codes->p8_size = p8_facts.codes.size;
            codes->p8_bias = p8_facts.codes.bias_max;
            codes->p8_drift = p8_facts.drift;
        }
        codes->c4 = cut(bench->c4 + at * c4, n_groups, c4, &codes->n_c4);
    }
    part->codes = codes;
}

static void make_codes(struct bench *bench)
{
    train(bench);
    const struct trained *trained = &bench->trained;
    uint32_t m = bench->axes ? bench->axes : trained->m;
    struct vkern_model model = vindex__trained_model(trained, bench->metric, m);
    size_t n_groups = bench->base.n / 16 + bench->snapshot.n_parts, at = 0;
    model.p = bench->lead ? bench->lead : trained->p;
    model.axes_norm = model.p ? vkern_axes_norm(model.axes, model.p, model.dim) : 0;
    float *rows = allocate((size_t)PART_ROWS * model.dim, sizeof *rows);
    float *scratch = allocate(vkern_c4_scratch(&model), sizeof *scratch);
    double started = (double)vindex__now_ns();

    bench->c8 = allocate(n_groups, vkern_c8_group_bytes(model.dim));
    bench->c4 = allocate(n_groups, vkern_c4_group_bytes(m));
    bench->p8 = allocate(n_groups, vkern_c8_group_bytes(vkern_p8_dim(&model)));
    for (uint32_t i = 0; i < bench->snapshot.n_parts; i++) {
        struct part *part = (struct part *)(uintptr_t)&bench->snapshot.parts[i];
        encode(bench, &model, part, at, rows, scratch);
        at += vkern_groups(part->n);
    }
    bench->c8_bytes = at * vkern_c8_group_bytes(model.dim);
    bench->c4_bytes = at * vkern_c4_group_bytes(m);
    bench->p8_bytes = at * vkern_c8_group_bytes(vkern_p8_dim(&model));
    bench->model = (struct model){.m = m,
                                  .clip = model.clip,
                                  .mean = model.mean,
                                  .scale = model.scale,
                                  .axes = model.axes,
                                  .deviation = model.deviation,
                                  .p = model.p,
                                  .axes_norm = model.axes_norm,
                                  .p8_share = model.p == trained->p ? trained->p8_share : 0.005F};
    bench->snapshot.model = &bench->model;
    fprintf(stderr, "bench_search: %u axes, energy %.3f, %u leading (%.4f), encoded %.0f rows/s\n",
            m, (double)trained->energy, model.p, (double)bench->model.p8_share,
            (double)bench->base.n / ((double)vindex__now_ns() - started) * 1e9);
    free(rows);
    free(scratch);
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

static clockid_t clock_used = CLOCK_MONOTONIC;

static double seconds(void)
{
    struct timespec now;
    clock_gettime(clock_used, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static volatile uint64_t sink;

static size_t query_bytes_of(const struct bench *bench)
{
    return vkern_row_bytes(
        bench->type <= VINDEX_BFLOAT16 ? VKERN_F32 : (enum vkern_type)bench->type, bench->base.dim);
}

/* Queries first .. first + n - 1 by the engine forced; k_prime 0: exactly. */
static void ask(struct bench *bench, size_t first, size_t n, size_t k_prime, vindex_hit *hits,
                vindex_report *report)
{
    struct search_request request = {.queries = (const char *)bench->queries.rows +
                                                first * query_bytes_of(bench),
                                     .n_queries = n,
                                     .k = bench->k,
                                     .recall = 1,
                                     .n_threads = bench->threads};
    struct window window = {.n = n, .k = bench->k, .k_prime = k_prime, .hits = hits};
    struct call call;

    if (k_prime == 0) {
        if (vindex__search_run(bench->search, &bench->snapshot, &request, hits, report))
            die("search", vindex_message());
        return;
    }
    vindex__call_open(&call, bench->search, &bench->snapshot, &request, hits);
    call.n_match = call.n_live;
    if (vindex__search_pool(bench->search, bench->threads) || vindex__call_window(&call, &window))
        die("search", vindex_message());
    report->n_reranked = call.n_reranked;
    snprintf(report->plan, sizeof report->plan, "c4, %u axes, best %zu reranked", bench->model.m,
             k_prime);
}

static double recall_of(const struct bench *bench, size_t first, size_t n, const vindex_hit *hits)
{
    size_t found = 0, k = bench->k;
    for (size_t i = 0; i < n * k; i++)
        for (size_t j = 0; j < k; j++)
            found += bench->truth[(first + i / k) * k + j].id == hits[i].id;
    return (double)found / (double)(n * k);
}

static void find_truth(struct bench *bench)
{
    vindex_report report = VINDEX_REPORT_INIT;
    bench->truth = calloc(bench->queries.n * bench->k, sizeof *bench->truth);
    bench->search->forced = ENGINE_TILE8; /* auto may be what is measured */
    ask(bench, 0, bench->queries.n, 0, bench->truth, &report);
    bench->search->forced = ENGINE_EXACT;
}

/* The least k' with the recall asked for over all queries. */
static void find_k_prime(struct bench *bench)
{
    vindex_report report = VINDEX_REPORT_INIT;
    vindex_hit *hits = calloc(bench->queries.n * bench->k, sizeof *hits);
    for (bench->k_prime = bench->k; bench->k_prime < bench->base.n / 2;
         bench->k_prime += bench->k_prime / 16 + 1) {
        ask(bench, 0, bench->queries.n, bench->k_prime, hits, &report);
        if (recall_of(bench, 0, bench->queries.n, hits) >= bench->recall) break;
    }
    free(hits);
}

struct way {
    char name[8];
    enum engine forced;
    const void *bytes; /* that it reads */
    size_t n_bytes, k_prime;
    double *search_s, *sum_s, recall, n_reranked;
    char plan[128];
};

static struct way way_of(struct bench *bench, const char *name)
{
    static const char *const names[] = {"auto", "scan", "tile", "c8", "tile8", "c4", "p8"};
    struct way way = {.bytes = bench->base.rows,
                      .n_bytes = bench->base.n *
                                 vkern_row_bytes((enum vkern_type)bench->type, bench->base.dim)};
    for (int i = ENGINE_EXACT; i <= ENGINE_P8; i++)
        if (!strcmp(name, names[i])) way.forced = (enum engine)i;
    if ((way.forced == ENGINE_C8 || way.forced == ENGINE_TILE8) && bench->c8)
        way.bytes = bench->c8, way.n_bytes = bench->c8_bytes;
    if (way.forced == ENGINE_P8 && bench->p8) way.bytes = bench->p8, way.n_bytes = bench->p8_bytes;
    if (way.forced == ENGINE_C4)
        way.bytes = bench->c4, way.n_bytes = bench->c4_bytes, way.k_prime = bench->k_prime;
    snprintf(way.name, sizeof way.name, "%s", name);
    way.search_s = calloc(bench->rounds + 1, sizeof(double));
    way.sum_s = calloc(bench->rounds + 1, sizeof(double));
    return way;
}

static void print_way(const struct bench *bench, struct way *way, size_t batch)
{
    double s = median(way->search_s, bench->rounds), rounds = (double)bench->rounds;
    double products = (double)batch * (double)bench->base.n * (double)bench->base.dim;
    printf("{\"bench\":\"search\",\"n\":%zu,\"dim\":%zu,\"k\":%zu,\"batch\":%zu,"
           "\"threads\":%u,\"engine\":\"%s\",\"recall\":%.4f,\"qps\":%.1f,\"best_qps\":%.1f,"
           "\"ms_per_query\":%.4f,\"reranked_per_query\":%.1f",
           bench->base.n, bench->base.dim, bench->k, batch, bench->threads, way->name,
           way->recall / rounds, (double)batch / s, (double)batch / way->search_s[0],
           1e3 * s / (double)batch, way->n_reranked / rounds / (double)batch);
    if (batch == 1)
        printf(",\"gb_s\":%.2f,\"share_of_sum\":%.3f", (double)way->n_bytes / s * 1e-9,
               median(way->sum_s, bench->rounds) / s);
    else
        printf(",\"gop_s\":%.1f", 2 * products / s * 1e-9);
    printf(",\"isa\":\"%s\",\"plan\":\"%s\"}\n", vkern_get()->level_name, way->plan);
    fflush(stdout);
    free(way->search_s);
    free(way->sum_s);
}

/* Nothing of what was read before stays in a cache. */
static void evict(struct bench *bench)
{
    if (!bench->cold) return;
    if (!bench->other) {
        bench->other = allocate(EVICT_BYTES, 1);
        memset(bench->other, 1, EVICT_BYTES);
    }
    sink += vkern_get()->sum(bench->other, EVICT_BYTES);
}

/* One query stands beside a sum over the bytes it reads, in turns with other ways: what stays in cache where one
   query follows another is there for both. Caches take some passes to settle. */
static void settle(struct bench *bench, const struct way *way, size_t round, vindex_hit *hits)
{
    vindex_report report = VINDEX_REPORT_INIT;
    for (size_t i = 0; way->n_bytes < CACHE_BYTES && i < 8; i++) {
        ask(bench, (round + 17 * i + 1) % bench->queries.n, 1, way->k_prime, hits, &report);
        sink += vkern_get()->sum(way->bytes, way->n_bytes / 64 * 64);
    }
}

/* All ways in turns, a batch each. */
static void measure(struct bench *bench, size_t batch)
{
    struct way ways[8];
    vindex_hit *hits = calloc(batch * bench->k, sizeof *hits);
    size_t n_ways = 0;

    if (batch > bench->queries.n) die("batch", "more than there are queries");
    for (const char *at = bench->engines; *at && n_ways < 8; at += strspn(at, ",")) {
        char name[8] = "";
        size_t length = strcspn(at, ",");
        snprintf(name, sizeof name, "%.*s", (int)length, at);
        ways[n_ways++] = way_of(bench, name);
        at += length;
    }
    for (size_t round = 0; round <= bench->rounds; round++) /* the first warms up */
        for (size_t i = 0; i < n_ways; i++) {
            struct way *way = &ways[i];
            vindex_report report = VINDEX_REPORT_INIT;
            size_t slot = round ? round - 1 : 0;
            size_t first =
                bench->queries.n > batch ? round * batch % (bench->queries.n - batch) : 0;
            bench->search->forced = way->forced;
            if (batch == 1) settle(bench, way, round, hits);
            evict(bench);
            double started = seconds();
            ask(bench, first, batch, way->k_prime, hits, &report);
            way->search_s[slot] = seconds() - started;
            evict(bench);
            started = seconds();
            if (batch == 1) sink += vkern_get()->sum(way->bytes, way->n_bytes / 64 * 64);
            way->sum_s[slot] = seconds() - started;
            memcpy(way->plan, report.plan, sizeof way->plan);
            if (round == 0) continue;
            way->recall += recall_of(bench, first, batch, hits);
            way->n_reranked += (double)report.n_reranked;
        }
    for (size_t i = 0; i < n_ways; i++)
        print_way(bench, &ways[i], batch);
    free(hits);
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
    struct bench bench = {.threads = 1, .k = 10, .rounds = 5, .engines = "auto", .recall = 0.99};
    const char *base = NULL, *queries = NULL, *batches = "1,2,4,8,32,1000";
    size_t n = 100000, dim = 128, limit = 1000;

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
        else if (!strcmp(name, "--engine"))
            bench.engines = value;
        else if (!strcmp(name, "--axes"))
            bench.axes = (uint32_t)strtoul(value, NULL, 10);
        else if (!strcmp(name, "--recall"))
            bench.recall = strtod(value, NULL);
        else if (!strcmp(name, "--lead"))
            bench.lead = (uint32_t)strtoul(value, NULL, 10);
        else if (!strcmp(name, "--clock"))
            clock_used = strcmp(value, "cpu") ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID;
        else if (!strcmp(name, "--cold"))
            bench.cold = atoi(value) != 0;
        else if (!strcmp(name, "--limit"))
            limit = strtoull(value, NULL, 10);
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
    if (bench.queries.n > limit) bench.queries.n = limit;
    make_snapshot(&bench);
    if (vindex__search_new(&bench.search)) die("search", vindex_message());
    if (strpbrk(bench.engines, "48")) make_codes(&bench);
    find_truth(&bench);
    if (strstr(bench.engines, "c4")) find_k_prime(&bench);
    for (const char *at = batches; *at; at += strspn(at, ","))
        measure(&bench, strtoull(at, (char **)&at, 10));
    vindex__search_free(bench.search);
    return 0;
}
