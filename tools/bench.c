/*
 * bench.c - vindex bench scan: how near one query's search comes to reading the memory once.
 *
 * The floor is a plain sum over as many bytes as the rows have, in memory of this process, timed in
 * turn with the search: each round times one pass of the floor and one query. Medians are compared,
 * so that a round which another process disturbed does not count.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "interrupt.h"
#include "library.h"
#include "rows.h"

#define N_QUERIES 16   /* asked in turn: no query's rows stay in cache for it */
#define ROUNDS_LEAST 9 /* medians of fewer jump */
#define ROUNDS_MOST 1000
#define BENCH_NS 2000000000 /* then stop: two seconds settle a median on a quiet machine */

static const struct flag flags[] = {
    {"n", 0, "N", NULL, "random rows, where no index is given (default 200000)"},
    {"dim", 0, "N", NULL, "their dimension (default 128)"},
    {"type", 0, "TYPE", NULL, "their type (default float)"},
    {"metric", 0, "NAME", NULL, "l2, cosine, ip; hamming for bit (default l2)"},
    {"k", 'k', "N", NULL, "hits a query (default 10)"},
    {"recall", 0, NULL, "search", NULL},
    {"threads", 0, NULL, "search", NULL},
    {"json", 0, NULL, NULL, "print one JSON object"},
    {NULL, 0, NULL, NULL, NULL},
};

struct bench {
    const char *path; /* of the index, or NULL */
    vindex *index;
    vindex_searcher *searcher;
    uint64_t n, k;
    uint32_t dim;
    vindex_type type;
    vindex_metric metric;
    size_t row_bytes;
    vindex_search_options options;
    void *base;                    /* shape [n]: the rows, or as much memory */
    void *queries;                 /* shape [N_QUERIES] */
    vindex_hit *hits, *exact_hits; /* shape [k] */
    size_t n_rounds;
    double query_ns[ROUNDS_MOST], floor_ns[ROUNDS_MOST];
    double recall;
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
    bench->hits = calloc(bench->k, sizeof *bench->hits);
    bench->exact_hits = calloc(bench->k, sizeof *bench->exact_hits);
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

typedef uint64_t sum_lanes __attribute__((vector_size(64)));

/* Four independent sums, so that no chain of additions is longer than the loads. 2 KiB ahead: with
 * a prefetch over page ends the sum is a tenth faster than without (8 MiB and 100 MiB, Cascade
 * Lake), and a floor must not be above what stands on it. */
#define SUM_MEMORY(name, instruction_set)                                                          \
    instruction_set static uint64_t name(const void *memory, size_t n_bytes)                       \
    {                                                                                              \
        const sum_lanes *lanes = memory;                                                           \
        size_t n = n_bytes / sizeof *lanes, i = 0;                                                 \
        sum_lanes a = {0}, b = {0}, c = {0}, d = {0};                                              \
        uint64_t sum = 0;                                                                          \
                                                                                                   \
        for (; i + 4 <= n; i += 4) {                                                               \
            for (size_t j = 32; j < 36; j++)                                                       \
                __builtin_prefetch(&lanes[i + j < n ? i + j : i]);                                 \
            a += lanes[i];                                                                         \
            b += lanes[i + 1];                                                                     \
            c += lanes[i + 2];                                                                     \
            d += lanes[i + 3];                                                                     \
        }                                                                                          \
        for (; i < n; i++)                                                                         \
            a += lanes[i];                                                                         \
        a += b + c + d;                                                                            \
        for (int lane = 0; lane < 8; lane++)                                                       \
            sum += a[lane];                                                                        \
        return sum;                                                                                \
    }

SUM_MEMORY(sum_memory_plain, )
#if defined(__x86_64__)
SUM_MEMORY(sum_memory_avx2, __attribute__((target("avx2"))))
SUM_MEMORY(sum_memory_avx512, __attribute__((target("avx512f"))))
#endif

static uint64_t sum_memory(const void *memory, size_t n_bytes)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) return sum_memory_avx512(memory, n_bytes);
    if (__builtin_cpu_supports("avx2")) return sum_memory_avx2(memory, n_bytes);
#endif
    return sum_memory_plain(memory, n_bytes);
}

static vindex_status ask(struct bench *bench, size_t query, float recall, vindex_hit *hits,
                         struct fault *fault)
{
    vindex_vectors base = {bench->base, bench->n, 0, bench->type, 0};
    vindex_vectors queries = {(char *)bench->queries + query * bench->row_bytes, 1, 0, bench->type,
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

static vindex_status measure_recall(struct bench *bench, struct fault *fault)
{
    size_t n_right = 0, n_true = 0;

    for (size_t query = 0; query < N_QUERIES; query++) {
        vindex_status st = ask(bench, query, bench->options.recall, bench->hits, fault);

        if (st == VINDEX_OK) st = ask(bench, query, 1, bench->exact_hits, fault);
        if (st != VINDEX_OK) return st;
        for (uint64_t i = 0; i < bench->k && bench->exact_hits[i].id != VINDEX_ID_NONE; i++) {
            n_true++;
            for (uint64_t j = 0; j < bench->k; j++) {
                n_right += bench->hits[j].id == bench->exact_hits[i].id;
            }
        }
    }
    bench->recall = n_true > 0 ? (double)n_right / (double)n_true : 1;
    return VINDEX_OK;
}

static vindex_status measure_speed(struct bench *bench, struct fault *fault)
{
    int64_t began_ns = clock_ns();
    vindex_status st = VINDEX_OK;

    while (st == VINDEX_OK && bench->n_rounds < ROUNDS_MOST &&
           (bench->n_rounds < ROUNDS_LEAST || clock_ns() - began_ns < BENCH_NS)) {
        int64_t first_ns = clock_ns(), second_ns;

        bench->sink += sum_memory(bench->base, bench->n * bench->row_bytes);
        second_ns = clock_ns();
        st = ask(bench, bench->n_rounds % N_QUERIES, bench->options.recall, bench->hits, fault);
        bench->query_ns[bench->n_rounds] = (double)(clock_ns() - second_ns);
        bench->floor_ns[bench->n_rounds] = (double)(second_ns - first_ns);
        bench->n_rounds++;
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

static vindex_status print_result(struct bench *bench, bool is_json, struct output *out,
                                  struct fault *fault)
{
    double query_ns = median(bench->query_ns, bench->n_rounds);
    double floor_ns = median(bench->floor_ns, bench->n_rounds);
    double n_bytes = (double)bench->n * (double)bench->row_bytes;
    vindex_status st;

    if (query_ns < 1) query_ns = 1; /* one row is below the clock's step */
    if (floor_ns < 1) floor_ns = 1;
    if (!is_json) {
        return output_print(out, fault,
                            "%llu rows of %lu x %s, metric %s, k %llu, isa %s\n"
                            "search %10.1f us  %7.2f GB/s  recall %.4f\n"
                            "floor  %10.1f us  %7.2f GB/s  (a plain sum of the same bytes)\n"
                            "ratio  %10.3f  (medians of %zu rounds)\n",
                            (unsigned long long)bench->n, (unsigned long)bench->dim,
                            rows_type_name(bench->type), vindex_metric_name(bench->metric),
                            (unsigned long long)bench->k, vindex_isa(), query_ns * 1e-3,
                            n_bytes / query_ns, bench->recall, floor_ns * 1e-3, n_bytes / floor_ns,
                            query_ns / floor_ns, bench->n_rounds);
    }
    st = output_print(out, fault,
                      "{\"n\":%llu,\"dim\":%lu,\"type\":\"%s\",\"metric\":\"%s\",\"k\":%llu,"
                      "\"isa\":\"%s\",\"threads\":%lu,\"us_per_query\":%.2f,\"gb_per_s\":%.3f,"
                      "\"floor_us\":%.2f,\"floor_gb_per_s\":%.3f,\"ratio\":%.4f,\"recall\":%.6f,"
                      "\"rounds\":%zu,\"plan\":",
                      (unsigned long long)bench->n, (unsigned long)bench->dim,
                      rows_type_name(bench->type), vindex_metric_name(bench->metric),
                      (unsigned long long)bench->k, vindex_isa(),
                      (unsigned long)(bench->options.n_threads > 0 ? bench->options.n_threads : 1),
                      query_ns * 1e-3, n_bytes / query_ns, floor_ns * 1e-3, n_bytes / floor_ns,
                      query_ns / floor_ns, bench->recall, bench->n_rounds);
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

static vindex_status bench_scan(const struct arguments *arguments, struct bench *bench,
                                struct output *out, struct fault *fault)
{
    vindex_status st = library_search_options(arguments, &bench->options, fault);

    if (st == VINDEX_OK) st = arguments_count(arguments, "k", 1, 1 << 20, &bench->k, fault);
    if (st != VINDEX_OK) return st;
    st =
        bench->path != NULL ? prepare_index(bench, fault) : prepare_random(arguments, bench, fault);
    if (st == VINDEX_OK) st = measure_recall(bench, fault); /* warms both up */
    if (st == VINDEX_OK) st = measure_speed(bench, fault);
    if (st == VINDEX_OK) st = read_plan(bench, fault);
    if (st == VINDEX_OK) {
        st = print_result(bench, arguments_has(arguments, "json"), out, fault);
    }
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
    .summary = "how near a search comes to the speed of memory",
    .more =
        "scan: one query at a time over an index, or over random rows of --n, --dim, --type and\n"
        "--metric, in turn with a plain sum over as many bytes: the floor.\n"
        "bench topk selects from rows of scores: `vindex bench topk --help`.",
    .flags = flags,
    .run = run,
};
