/*
 * bench.c - vindex bench scan: how near each way of searching comes to what the machine can do.
 *
 * One query: the floor is a plain sum over as many bytes as the way reads, in memory of this
 * process. A batch: the floor is a loop of products in registers. Each round times the floor and
 * then the search, so that what other processes do meets both; medians are compared. Ways are
 * chosen by VINDEX_ENGINE, which a searcher reads when it is opened; one that an index has no
 * codes for is left out.
 */
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "interrupt.h"
#include "library.h"
#include "peaks.h"
#include "rows.h"

#define N_QUERIES 256 /* asked in turn: no query's rows stay in cache for it */
#define N_COMPARED                                                                                 \
    64 /* for recall; beyond those that an index answers exactly first, to learn from them */
#define ROUNDS_LEAST 9 /* medians of fewer jump */
#define ROUNDS_MOST 1000
#define BENCH_NS 1000000000 /* then stop: a second settles a median on a quiet machine */

static const struct flag flags[] = {
    {"n", 0, "N", NULL, "random rows, where no index is given (default 200000)"},
    {"dim", 0, "N", NULL, "their dimension (default 128)"},
    {"type", 0, "TYPE", NULL, "their type (default float)"},
    {"metric", 0, "NAME", NULL, "l2, cosine, ip; hamming for bit (default l2)"},
    {"k", 'k', "N", NULL, "hits a query (default 10)"},
    {"batch", 0, "N", NULL, "queries of a batch, 1 to 256 (default 256)"},
    {"recall", 0, NULL, "search", NULL},
    {"threads", 0, NULL, "search", NULL},
    {"json", 0, NULL, NULL, "print one JSON object a line"},
    {NULL, 0, NULL, NULL, NULL},
};

/* A way of searching. */
struct way {
    const char *name;
    const char *engine, *tile; /* VINDEX_ENGINE, VINDEX_TILE; NULL: unset */
    const char *sign;          /* in the plan of a search that went this way; NULL: any does */
    bool is_batch, is_exact;
    enum peak peak; /* of a batch */
};

static const struct way ways[] = {
    {"auto", NULL, NULL, NULL, false, false, PEAK_FMA},
    {"rows", "scan", NULL, ", scan ", false, true, PEAK_FMA},
    {"c8", "c8", NULL, ", c8 ", false, true, PEAK_FMA},
    {"p8", "p8", NULL, ", p8 ", false, true, PEAK_FMA},
    {"c4", "c4", NULL, ": c4 of ", false, false, PEAK_FMA},
    {"batch", NULL, NULL, NULL, true, false, PEAK_INT8},
    {"tile", "tile", NULL, ", tile ", true, true, PEAK_FMA},
    {"openblas", "tile", "blas", ", tile openblas", true, true, PEAK_FMA},
    {"tile8", "tile8", NULL, ", tile8 ", true, true, PEAK_INT8},
    {"p8-tiles", "p8", NULL, ", p8 ", true, true, PEAK_INT8},
};

struct bench {
    const char *path; /* of the index, or NULL */
    const struct way *way;
    vindex *index;
    vindex_searcher *searcher;
    uint64_t n, k, batch;
    uint32_t dim, axes, leading; /* elements; axes of 4-bit and of 8-bit codes */
    vindex_type type;
    vindex_metric metric;
    size_t row_bytes;
    vindex_search_options options;
    void *base;                    /* shape [n]: the rows, or as much memory */
    void *queries;                 /* shape [N_QUERIES] */
    vindex_hit *hits, *exact_hits; /* shape [N_QUERIES, k] */
    size_t n_rounds;
    double search_ns[ROUNDS_MOST], floor_ns[ROUNDS_MOST]; /* of a batch: floor is GOP/s */
    double recall;
    const char *peak_name;
    char plan[128];
    volatile uint64_t sink; /* keeps the floor's sum from being optimised away */
};

static void bench_deinit(struct bench *bench)
{
    free(bench->base);
    free(bench->queries);
    free(bench->hits);
    free(bench->exact_hits);
    vindex_searcher_close(bench->searcher);
    vindex_close(bench->index);
}

/* ---- data ------------------------------------------------------------------------------------ */

/* splitmix64 (Steele, Lea, Flood 2014): small, and good enough to fill rows. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

/* Sums of four uniform numbers: bell-shaped, so that distances spread as those of embeddings do. */
static float random_value(uint64_t *state)
{
    uint64_t bits = next_random(state);
    float sum = 0;

    for (int i = 0; i < 4; i++)
        sum += (float)(bits >> 16 * i & 0xffff) / 65536 - 0.5f;
    return sum;
}

static void fill_row(const struct bench *bench, void *row, uint64_t *state)
{
    for (uint32_t i = 0; i < bench->dim; i++) {
        float value = random_value(state); /* in [-2, 2) */
        uint16_t half = bench->type == VINDEX_FLOAT16 ? rows_to_half(value) : rows_to_bfloat(value);

        switch (bench->type) {
        case VINDEX_FLOAT: memcpy((char *)row + 4 * i, &value, sizeof value); break;
        case VINDEX_FLOAT16:
        case VINDEX_BFLOAT16: memcpy((char *)row + 2 * i, &half, sizeof half); break;
        case VINDEX_INT8: ((int8_t *)row)[i] = (int8_t)(value * 63); break;
        case VINDEX_UINT8: ((uint8_t *)row)[i] = (uint8_t)(128 + value * 63); break;
        case VINDEX_BIT: ((uint8_t *)row)[i / 8] |= (uint8_t)((value > 0) << i % 8); break;
        }
    }
}

static void fill_rows(const struct bench *bench, void *rows, uint64_t n, uint64_t seed)
{
    memset(rows, 0, n * bench->row_bytes);
    for (uint64_t i = 0; i < n; i++)
        fill_row(bench, (char *)rows + i * bench->row_bytes, &seed);
}

static vindex_status allocate(struct bench *bench, struct fault *fault)
{
    bench->row_bytes = vindex_row_bytes(bench->type, bench->dim);
    if (bench->n > SIZE_MAX / 4 / bench->row_bytes) return fault_nomem(fault);
    bench->base = aligned_alloc(64, (bench->n * bench->row_bytes + 63) / 64 * 64);
    bench->queries = calloc(N_QUERIES, bench->row_bytes);
    bench->hits = calloc(N_QUERIES * bench->k, sizeof *bench->hits);
    bench->exact_hits = calloc(N_QUERIES * bench->k, sizeof *bench->exact_hits);
    if (bench->base == NULL || bench->queries == NULL || bench->hits == NULL ||
        bench->exact_hits == NULL) {
        return fault_nomem(fault);
    }
    return VINDEX_OK;
}

/* Queries are rows of the index, spread over it. */
static int take_queries(void *context, const int64_t *ids, const void *rows, size_t n)
{
    struct bench *bench = context;
    uint64_t step = bench->n / N_QUERIES + 1;

    (void)ids;
    for (size_t i = 0; i < n; i++, bench->n_rounds++) {
        if (bench->n_rounds % step != 0) continue;
        memcpy((char *)bench->queries + bench->n_rounds / step * bench->row_bytes,
               (const char *)rows + i * bench->row_bytes, bench->row_bytes);
    }
    return interrupt_pending();
}

static vindex_status prepare_index(struct bench *bench, struct fault *fault)
{
    vindex_stats stats;
    vindex_status st = library_open(bench->path, &bench->index, &bench->searcher, fault);

    if (st == VINDEX_OK) st = library_stat(bench->index, bench->path, &stats, fault);
    if (st != VINDEX_OK) return st;
    if (stats.n_rows == 0) {
        return fault_set(fault, VINDEX_INVALID, "%s has no rows; expected some to search in",
                         bench->path);
    }
    bench->n = stats.n_rows;
    bench->dim = stats.dim;
    bench->type = (vindex_type)stats.type;
    bench->metric = (vindex_metric)stats.metric;
    bench->axes = stats.c4_axes;
    bench->leading = stats.p8_axes;
    st = allocate(bench, fault);
    if (st != VINDEX_OK) return st;
    memset(bench->base, 1,
           bench->n * bench->row_bytes); /* touched: pages that are not there cost nothing */
    st = library_check(vindex_scan(bench->searcher, take_queries, bench), bench->path, fault);
    bench->n_rounds = 0;
    return st;
}

static vindex_status prepare_random(const struct arguments *arguments, struct bench *bench,
                                    struct fault *fault)
{
    const char *type = arguments_text(arguments, "type"),
               *metric = arguments_text(arguments, "metric");
    uint64_t dim = 128;
    vindex_status st = arguments_count(arguments, "n", 1, UINT64_MAX, &bench->n, fault);

    if (st == VINDEX_OK) st = arguments_count(arguments, "dim", 1, VINDEX_DIM_MAX, &dim, fault);
    if (st != VINDEX_OK) return st;
    if (type != NULL && vindex_type_parse(type, &bench->type) != VINDEX_OK) {
        return fault_usage(fault, "--type: %s", vindex_message());
    }
    if (bench->type == VINDEX_BIT) bench->metric = VINDEX_HAMMING;
    if (metric != NULL && vindex_metric_parse(metric, &bench->metric) != VINDEX_OK) {
        return fault_usage(fault, "--metric: %s", vindex_message());
    }
    bench->dim = (uint32_t)dim;
    st = allocate(bench, fault);
    if (st != VINDEX_OK) return st;
    fill_rows(bench, bench->base, bench->n, 1);
    fill_rows(bench, bench->queries, N_QUERIES, 2);
    return VINDEX_OK;
}

/* ---- timing ---------------------------------------------------------------------------------- */

/* Queries first .. first + n - 1. */
static vindex_status ask(struct bench *bench, size_t first, size_t n, float recall,
                         vindex_hit *hits, struct fault *fault)
{
    vindex_vectors base = {bench->base, bench->n, 0, bench->type, 0};
    vindex_vectors queries = {(char *)bench->queries + first * bench->row_bytes, n, 0, bench->type,
                              0};
    vindex_search_options options = bench->options;
    vindex_status st;

    options.recall = recall;
    if (bench->searcher != NULL) {
        st = vindex_search(bench->searcher, &queries, bench->k, &options, hits);
        return library_check(st, bench->path, fault);
    }
    st = vindex_brute(&base, &queries, bench->dim, bench->metric, bench->k, &options, hits);
    return library_check(st, "bench scan", fault);
}

static float target(const struct bench *bench)
{
    return bench->way->is_exact ? 1 : bench->options.recall;
}

static bool is_among(const vindex_hit *hits, uint64_t k, int64_t id)
{
    for (uint64_t i = 0; i < k; i++)
        if (hits[i].id == id) return true;
    return false;
}

/* Also warms up: memory, and the audits that a plan below recall 1 waits for. */
static vindex_status measure_recall(struct bench *bench, struct fault *fault)
{
    size_t first = N_QUERIES - N_COMPARED, n_right = 0, n_true = 0;
    vindex_status st = ask(bench, 0, first, target(bench), bench->hits, fault);

    if (st == VINDEX_OK) st = ask(bench, first, N_COMPARED, 1, bench->exact_hits, fault);
    for (size_t i = 0; st == VINDEX_OK && i < N_COMPARED; i++) {
        const vindex_hit *exact = bench->exact_hits + i * bench->k;
        vindex_hit *hits = bench->hits;

        if (!bench->way->is_batch)
            st = ask(bench, first + i, 1, target(bench), hits, fault);
        else if (i == 0)
            st = ask(bench, first, N_COMPARED, target(bench), hits, fault);
        if (bench->way->is_batch) hits += i * bench->k;
        for (uint64_t j = 0; j < bench->k && exact[j].id != VINDEX_ID_NONE; j++) {
            n_true++;
            n_right += is_among(hits, bench->k, exact[j].id);
        }
    }
    bench->recall = n_true > 0 ? (double)n_right / (double)n_true : 1;
    return st;
}

/* Bytes that a query reads at least. */
static double bytes_read(const struct bench *bench)
{
    double row = (double)bench->row_bytes;

    if (bench->axes > 0 && strstr(bench->plan, ": c4 of ")) row = bench->axes / 2.0 + 4;
    if (strstr(bench->plan, ", p8 ")) row = bench->leading + 12.0;
    if (strstr(bench->plan, ", c8 ")) row = (bench->dim + 3) / 4 * 4.0 + 12;
    return row * (double)bench->n;
}

/* Products of a query and a row; what leading coordinates let through, and the rows gone over twice, not counted. */
static double products(const struct bench *bench)
{
    return strstr(bench->plan, ", p8 ") ? bench->leading : bench->dim;
}

static double measure_floor(struct bench *bench)
{
    int64_t began_ns = clock_ns();
    size_t n_bytes = (size_t)bytes_read(bench), n_most = bench->n * bench->row_bytes;

    bool by_tiles = strstr(bench->plan, ", tile8 amx") || strstr(bench->plan, ", p8 amx");
    if (bench->way->is_batch)
        return peaks_products(by_tiles ? PEAK_TILES : bench->way->peak, &bench->peak_name);
    bench->sink += peaks_sum_memory(bench->base, n_bytes < n_most ? n_bytes : n_most);
    return (double)(clock_ns() - began_ns);
}

static vindex_status measure_speed(struct bench *bench, struct fault *fault)
{
    size_t n = bench->way->is_batch ? bench->batch : 1;
    int64_t began_ns = clock_ns();
    vindex_status st = VINDEX_OK;

    for (bench->n_rounds = 0; st == VINDEX_OK && bench->n_rounds < ROUNDS_MOST; bench->n_rounds++) {
        size_t first = n == N_QUERIES ? 0 : bench->n_rounds * n % (N_QUERIES - n);
        double floor_ns = measure_floor(bench);
        int64_t started_ns = clock_ns();

        if (bench->n_rounds >= ROUNDS_LEAST && started_ns - began_ns >= BENCH_NS) break;
        st = ask(bench, first, n, target(bench), bench->hits, fault);
        bench->search_ns[bench->n_rounds] = (double)(clock_ns() - started_ns);
        bench->floor_ns[bench->n_rounds] = floor_ns;
        if (interrupt_pending()) st = fault_set(fault, VINDEX_CANCELLED, "interrupted");
    }
    return st;
}

static int compare_doubles(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return (left > right) - (left < right);
}

static double median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, compare_doubles);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/* ---- results --------------------------------------------------------------------------------- */

/* What a way reaches, in the unit of its floor. */
struct figures {
    double query_us, reached, floor, ratio; /* GB/s, or GOP/s of a batch */
};

static struct figures figures_of(struct bench *bench)
{
    double n = bench->way->is_batch ? (double)bench->batch : 1;
    double search_ns = fmax(median(bench->search_ns, bench->n_rounds), 1); /* the clock's step */
    double floor_ns = fmax(median(bench->floor_ns, bench->n_rounds), 1);
    struct figures figures = {.query_us = search_ns / n * 1e-3};

    if (bench->way->is_batch) {
        figures.reached = 2 * n * (double)bench->n * products(bench) / search_ns;
        figures.floor = floor_ns;
    } else {
        figures.reached = bytes_read(bench) / search_ns;
        figures.floor = bytes_read(bench) / floor_ns;
    }
    figures.ratio = figures.floor / figures.reached;
    return figures;
}

static vindex_status print_text(const struct bench *bench, const struct figures *figures,
                                struct output *out, struct fault *fault)
{
    const char *unit = bench->way->is_batch ? "GOP/s" : "GB/s";

    return output_print(out, fault, "%-9s %10.1f %9.2f %-5s %9.2f %8.3f %8.4f  %s\n",
                        bench->way->name, figures->query_us, figures->reached, unit, figures->floor,
                        figures->ratio, bench->recall, bench->plan);
}

static vindex_status print_json(const struct bench *bench, const struct figures *figures,
                                struct output *out, struct fault *fault)
{
    const char *unit = bench->way->is_batch ? "gop" : "gb";
    vindex_status st = output_print(
        out, fault,
        "{\"path\":\"%s\",\"n\":%llu,\"dim\":%lu,\"type\":\"%s\",\"metric\":\"%s\",\"k\":%llu,"
        "\"batch\":%llu,\"isa\":\"%s\",\"threads\":%lu,\"us_per_query\":%.2f,\"%s_per_s\":%.3f,"
        "\"floor\":\"%s\",\"floor_%s_per_s\":%.3f,\"ratio\":%.4f,\"recall\":%.6f,\"rounds\":%zu,"
        "\"plan\":",
        bench->way->name, (unsigned long long)bench->n, (unsigned long)bench->dim,
        rows_type_name(bench->type), vindex_metric_name(bench->metric),
        (unsigned long long)bench->k, (unsigned long long)(bench->way->is_batch ? bench->batch : 1),
        vindex_isa(), (unsigned long)(bench->options.n_threads > 0 ? bench->options.n_threads : 1),
        figures->query_us, unit, figures->reached, bench->way->is_batch ? bench->peak_name : "sum",
        unit, figures->floor, figures->ratio, bench->recall, bench->n_rounds);

    if (st == VINDEX_OK) st = print_json_string(out, bench->plan, fault);
    return st == VINDEX_OK ? output_print(out, fault, "}\n") : st;
}

/* Only a searcher says how it answered. */
static vindex_status read_plan(struct bench *bench, struct fault *fault)
{
    vindex_report report = VINDEX_REPORT_INIT;
    vindex_status st = VINDEX_OK;

    strcpy(bench->plan, "brute");
    if (bench->searcher != NULL) {
        st = library_check(vindex_searcher_report(bench->searcher, &report), bench->path, fault);
        memcpy(bench->plan, report.plan, sizeof bench->plan);
        bench->plan[sizeof bench->plan - 1] = 0;
    }
    return st;
}

static void set_wish(const char *name, const char *value)
{
    if (value != NULL)
        setenv(name, value, 1);
    else
        unsetenv(name);
}

/* A searcher that goes this way. Without an index each search reads the wishes anew. */
static vindex_status take_way(struct bench *bench, const struct way *way, struct fault *fault)
{
    bench->way = way;
    set_wish("VINDEX_ENGINE", way->engine);
    set_wish("VINDEX_TILE", way->tile);
    if (bench->index == NULL) return VINDEX_OK;
    vindex_searcher_close(bench->searcher);
    bench->searcher = NULL;
    return library_check(vindex_searcher_open(bench->index, &bench->searcher), bench->path, fault);
}

/* Nothing is printed of a way that the index has nothing for, or rows alone. */
static vindex_status bench_way(struct bench *bench, const struct way *way, bool is_json,
                               struct output *out, struct fault *fault)
{
    size_t n = way->is_batch ? bench->batch : 1;
    vindex_status st = take_way(bench, way, fault);

    if (bench->index == NULL && way->engine != NULL) return st;
    if (st == VINDEX_OK) st = measure_recall(bench, fault);
    if (st == VINDEX_OK) st = ask(bench, 0, n, target(bench), bench->hits, fault);
    if (st == VINDEX_OK) st = read_plan(bench, fault);
    if (st != VINDEX_OK || (way->sign != NULL && strstr(bench->plan, way->sign) == NULL)) return st;
    st = measure_speed(bench, fault);
    if (st != VINDEX_OK) return st;
    struct figures figures = figures_of(bench);
    return is_json ? print_json(bench, &figures, out, fault)
                   : print_text(bench, &figures, out, fault);
}

static vindex_status print_head(const struct bench *bench, struct output *out, struct fault *fault)
{
    return output_print(
        out, fault,
        "%llu rows of %lu x %s, metric %s, k %llu, batch %llu, isa %s; one query beside "
        "a plain sum of\nthe bytes it reads, a batch beside a loop of products\n"
        "%-9s %10s %15s %9s %8s %8s  %s\n",
        (unsigned long long)bench->n, (unsigned long)bench->dim, rows_type_name(bench->type),
        vindex_metric_name(bench->metric), (unsigned long long)bench->k,
        (unsigned long long)bench->batch, vindex_isa(), "path", "us/query", "reached", "floor",
        "ratio", "recall", "plan");
}

static vindex_status bench_scan(const struct arguments *arguments, struct bench *bench,
                                struct output *out, struct fault *fault)
{
    bool is_json = arguments_has(arguments, "json");
    vindex_status st = library_search_options(arguments, &bench->options, fault);

    if (st == VINDEX_OK) st = arguments_count(arguments, "k", 1, 1 << 20, &bench->k, fault);
    if (st == VINDEX_OK)
        st = arguments_count(arguments, "batch", 1, N_QUERIES, &bench->batch, fault);
    if (st != VINDEX_OK) return st;
    st =
        bench->path != NULL ? prepare_index(bench, fault) : prepare_random(arguments, bench, fault);
    if (st == VINDEX_OK && !is_json) st = print_head(bench, out, fault);
    for (size_t i = 0; i < sizeof ways / sizeof *ways && st == VINDEX_OK; i++)
        st = bench_way(bench, &ways[i], is_json, out, fault);
    return st;
}

static vindex_status run(const struct arguments *arguments, struct output *out, struct fault *fault)
{
    const char *what = arguments_operand(arguments, 0);
    struct bench *bench;
    vindex_status st;

    if (strcmp(what, "scan") != 0) {
        return fault_usage(fault, "bench \"%s\" is not known; expected scan or topk", what);
    }
    bench = calloc(1, sizeof *bench);
    if (bench == NULL) return fault_nomem(fault);
    bench->path = arguments_operand(arguments, 1);
    bench->n = 200000;
    bench->k = 10;
    bench->batch = N_QUERIES;
    st = bench_scan(arguments, bench, out, fault);
    bench_deinit(bench);
    free(bench);
    return st;
}

const struct command command_bench = {
    .name = "bench",
    .operands = "scan [INDEX]",
    .n_operands_least = 1,
    .n_operands_most = 2,
    .summary = "how near a search comes to the speed of the machine",
    .more =
        "scan: each way of searching an index, or the one taken over random rows of --n, --dim,\n"
        "--type and --metric: one query in turn with a plain sum over the bytes it reads, a batch\n"
        "in turn with a loop of products; recall beside each.\n"
        "bench topk selects from rows of scores: `vindex bench topk --help`.",
    .flags = flags,
    .run = run,
};
