/*
 * bench_topk.c - vindex bench topk: how near a selection comes to a plain maximum scan of the same rows.
 *
 * Rounds take turns: the floor, the selection, and with --compare the ways a program would write it
 * without this library. Medians are compared, so that a round which another process disturbed does not
 * count. The C++ library's ways are there in build/bench/bench_topk, where a C++ compiler was found.
 */
#include "bench_topk.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "vindex_topk.h"

const struct bench_topk_ways *bench_topk_cpp;

enum { ROUNDS_LEAST = 7, ROUNDS_MOST = 501, WAYS_MOST = 8 };

struct settings {
    int64_t len, k, rows, bins;
    double recall, seconds;
    unsigned per_bin, threads;
    vindex_topk_type type;
    vindex_topk_algo algo;
    const char *order, *sweep;
    bool is_min, is_unsorted, is_json, is_compared;
    uint64_t seed;
};

/* ---- rows -------------------------------------------------------------------------------------- */

static size_t value_bytes(vindex_topk_type type)
{
    static const size_t bytes[] = {4, 2, 2, 8, 4};
    return bytes[type];
}

/* splitmix64 (Vigna): one word of state, any seed. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* About standard normal: the sum of twelve uniforms less six has its variance, and tails to 6. */
static double about_normal(uint64_t *state)
{
    double sum = -6;

    for (int i = 0; i < 3; i++) {
        uint64_t r = next_random(state);
        for (int j = 0; j < 4; j++, r >>= 16)
            sum += ((double)(r & 0xffff) + .5) / 65536;
    }
    return sum;
}

static uint16_t to_bf16(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, 4);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* Finite values of f16's normal range, cut to 11 bits. */
static uint16_t to_f16(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, 4);
    if ((bits & 0x7fffffff) < 0x38800000) return (uint16_t)(bits >> 16 & 0x8000);
    return (uint16_t)((bits >> 16 & 0x8000) | (((bits & 0x7fffffff) - 0x38000000) >> 13 & 0x7fff));
}

static void store(vindex_topk_type type, void *x, size_t i, double value)
{
    switch (type) {
    case VINDEX_TOPK_F32: ((float *)x)[i] = (float)value; break;
    case VINDEX_TOPK_F16: ((uint16_t *)x)[i] = to_f16((float)value); break;
    case VINDEX_TOPK_BF16: ((uint16_t *)x)[i] = to_bf16((float)value); break;
    case VINDEX_TOPK_F64: ((double *)x)[i] = value; break;
    case VINDEX_TOPK_I32: ((int32_t *)x)[i] = (int32_t)(value * 1e8); break;
    }
}

static float load(vindex_topk_type type, const void *x, size_t i)
{
    uint32_t bits;
    float value;

    switch (type) {
    case VINDEX_TOPK_F32: return ((const float *)x)[i];
    case VINDEX_TOPK_BF16:
        bits = (uint32_t)((const uint16_t *)x)[i] << 16;
        memcpy(&value, &bits, 4);
        return value;
    case VINDEX_TOPK_F16: /* in order, which is all that is asked of it */
        bits = ((const uint16_t *)x)[i];
        return bits & 0x8000 ? -(float)(bits & 0x7fff) : (float)bits;
    case VINDEX_TOPK_F64: return (float)((const double *)x)[i];
    default: return (float)((const int32_t *)x)[i];
    }
}

static double value_at(const struct settings *s, int64_t i, uint64_t *state)
{
    const double at = (double)i / (double)s->len;

    if (strcmp(s->order, "ascending") == 0) return at;
    if (strcmp(s->order, "descending") == 0) return -at;
    if (strcmp(s->order, "organ-pipe") == 0) return at < .5 ? at : 1 - at;
    if (strcmp(s->order, "ties") == 0) return (double)(next_random(state) % 16);
    if (strcmp(s->order, "one-bin") == 0) return about_normal(state) + (i % 128 == 5 ? 20 : 0);
    return about_normal(state);
}

static bool is_order(const char *order)
{
    static const char *const orders[] = {"random",     "ascending", "descending",
                                         "organ-pipe", "ties",      "one-bin"};

    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++)
        if (strcmp(order, orders[i]) == 0) return true;
    return false;
}

/* ---- the floor: a plain maximum scan ------------------------------------------------------------ */

#if defined(__x86_64__)
__attribute__((target("avx512f"))) static float scan_avx512(const float *x, size_t n)
{
    __m512 m[8];
    size_t i = 0;

    for (int j = 0; j < 8; j++)
        m[j] = _mm512_set1_ps(-INFINITY);
    for (; i + 128 <= n; i += 128)
        for (int j = 0; j < 8; j++)
            m[j] = _mm512_max_ps(m[j], _mm512_loadu_ps(x + i + 16 * j));
    for (int j = 1; j < 8; j++)
        m[0] = _mm512_max_ps(m[0], m[j]);
    for (; i < n; i++)
        m[0] = _mm512_max_ps(m[0], _mm512_set1_ps(x[i]));
    return _mm512_reduce_max_ps(m[0]);
}

__attribute__((target("avx2"))) static float scan_avx2(const float *x, size_t n)
{
    __m256 m[8];
    float lanes[8], most;
    size_t i = 0;

    for (int j = 0; j < 8; j++)
        m[j] = _mm256_set1_ps(-INFINITY);
    for (; i + 64 <= n; i += 64)
        for (int j = 0; j < 8; j++)
            m[j] = _mm256_max_ps(m[j], _mm256_loadu_ps(x + i + 8 * j));
    for (int j = 1; j < 8; j++)
        m[0] = _mm256_max_ps(m[0], m[j]);
    _mm256_storeu_ps(lanes, m[0]);
    most = lanes[0];
    for (int j = 1; j < 8; j++)
        most = lanes[j] > most ? lanes[j] : most;
    for (; i < n; i++)
        most = x[i] > most ? x[i] : most;
    return most;
}
#endif

static float scan_plain(const float *x, size_t n)
{
    float most = -INFINITY;

    for (size_t i = 0; i < n; i++)
        most = x[i] > most ? x[i] : most;
    return most;
}

static volatile float sink; /* keeps the scans from being optimised away */

/* All types are scanned as the f32 their bytes make: it is the memory that sets this floor. */
static void scan_rows(const void *x, size_t bytes)
{
    const size_t n = bytes / 4;
#if defined(__x86_64__)
    const char *isa = vindex_isa();
    if (strcmp(isa, "avx512") == 0 || strcmp(isa, "amx") == 0) {
        sink = scan_avx512(x, n);
        return;
    }
    if (strcmp(isa, "avx2") == 0) {
        sink = scan_avx2(x, n);
        return;
    }
#endif
    sink = scan_plain(x, n);
}

/* ---- the ways ----------------------------------------------------------------------------------- */

struct bench {
    const struct settings *s;
    unsigned char *x;
    vindex_topk_options options;
    vindex_topk_plan plan;
    void *workspace, *values;
    int64_t *ids;
    struct bench_topk_item *items; /* one row as (value, position) */
};

typedef void way_fn(struct bench *bench, const void *row, int64_t *ids);

static const void *row_at(const struct bench *b, int64_t row)
{
    return b->x + (size_t)row * (size_t)b->s->len * value_bytes(b->s->type);
}

static struct bench_topk_item item(const struct bench *b, const void *row, int64_t i)
{
    const float value = load(b->s->type, row, (size_t)i);
    return (struct bench_topk_item){b->s->is_min ? -value : value, (int32_t)i};
}

static void load_items(struct bench *b, const void *row)
{
    for (int64_t i = 0; i < b->s->len; i++)
        b->items[i] = item(b, row, i);
}

static void give_items(const struct bench *b, int64_t *ids)
{
    for (int64_t i = 0; i < b->s->k; i++)
        ids[i] = b->items[i].position;
}

static bool is_worse(struct bench_topk_item a, struct bench_topk_item b)
{
    return a.value != b.value ? a.value < b.value : a.position > b.position;
}

static int best_first(const void *a, const void *b)
{
    const struct bench_topk_item *p = a, *q = b;
    return is_worse(*p, *q) ? 1 : is_worse(*q, *p) ? -1 : 0;
}

static void sift_down(struct bench_topk_item *heap, int64_t n, int64_t at)
{
    const struct bench_topk_item moved = heap[at];

    for (int64_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && is_worse(heap[child + 1], heap[child])) child++;
        if (!is_worse(heap[child], moved)) break;
        heap[at] = heap[child];
    }
    heap[at] = moved;
}

/* The worst of the k best on top: what most programs do. */
static void way_heap(struct bench *b, const void *row, int64_t *ids)
{
    const int64_t n = b->s->len, k = b->s->k;

    for (int64_t i = 0; i < k; i++)
        b->items[i] = item(b, row, i);
    for (int64_t i = k / 2 - 1; i >= 0; i--)
        sift_down(b->items, k, i);
    for (int64_t i = k; i < n; i++) {
        const struct bench_topk_item next = item(b, row, i);
        if (!is_worse(b->items[0], next)) continue;
        b->items[0] = next;
        sift_down(b->items, k, 0);
    }
    qsort(b->items, (size_t)k, sizeof *b->items, best_first);
    give_items(b, ids);
}

/* Hoare's selection with the median of three. */
static void way_quickselect(struct bench *b, const void *row, int64_t *ids)
{
    struct bench_topk_item *x = b->items;
    int64_t low = 0, high = b->s->len - 1;

    load_items(b, row);
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        struct bench_topk_item p = x[low], q = x[middle], r = x[high], pivot;
        pivot = is_worse(p, q) ? (is_worse(q, r)   ? q
                                  : is_worse(p, r) ? r
                                                   : p)
                               : (is_worse(p, r)   ? p
                                  : is_worse(q, r) ? r
                                                   : q);
        int64_t i = low, j = high;
        while (i <= j) {
            while (is_worse(pivot, x[i]))
                i++;
            while (is_worse(x[j], pivot))
                j--;
            if (i <= j) {
                const struct bench_topk_item t = x[i];
                x[i++] = x[j];
                x[j--] = t;
            }
        }
        if (b->s->k - 1 <= j)
            high = j;
        else if (b->s->k - 1 >= i)
            low = i;
        else
            break;
    }
    qsort(x, (size_t)b->s->k, sizeof *x, best_first);
    give_items(b, ids);
}

static void way_sort(struct bench *b, const void *row, int64_t *ids)
{
    load_items(b, row);
    qsort(b->items, (size_t)b->s->len, sizeof *b->items, best_first);
    give_items(b, ids);
}

static void way_partial_sort(struct bench *b, const void *row, int64_t *ids)
{
    load_items(b, row);
    bench_topk_cpp->partial_sort(b->items, (size_t)b->s->len, (size_t)b->s->k);
    give_items(b, ids);
}

static void way_nth_element(struct bench *b, const void *row, int64_t *ids)
{
    load_items(b, row);
    bench_topk_cpp->nth_element(b->items, (size_t)b->s->len, (size_t)b->s->k);
    give_items(b, ids);
}

/* ---- measuring ---------------------------------------------------------------------------------- */

static double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, ascending);
    return values[n / 2];
}

static vindex_status select_rows(struct bench *b)
{
    vindex_topk_output out = VINDEX_TOPK_OUTPUT_INIT;

    out.values = b->values, out.ids = b->ids;
    return vindex_topk(&b->options, b->x, NULL, NULL, &out, b->workspace, b->plan.workspace_bytes);
}

/* Repeats that make a round long enough for the clock. */
static size_t repeats_of(const struct bench *b)
{
    const double bytes = (double)b->s->rows * (double)b->s->len * (double)value_bytes(b->s->type);
    return bytes < 2e6 ? (size_t)(2e6 / bytes) + 1 : 1;
}

struct result {
    double ns, floor_ns, ratio, recall;
    double ways_ns[WAYS_MOST];
};

static way_fn *const ways[] = {way_heap, way_quickselect, way_sort, way_partial_sort,
                               way_nth_element};
static const char *const way_names[] = {"heap", "quickselect", "sort", "partial_sort",
                                        "nth_element"};
enum { N_WAYS = sizeof ways / sizeof *ways };

static bool has_way(size_t way)
{
    if (ways[way] == way_partial_sort || ways[way] == way_nth_element)
        return bench_topk_cpp != NULL;
    return true;
}

static vindex_status measure(struct bench *b, struct result *r)
{
    static double ns[ROUNDS_MOST], floor_ns[ROUNDS_MOST], ratio[ROUNDS_MOST];
    const size_t bytes = (size_t)(b->s->rows * b->s->len) * value_bytes(b->s->type);
    const size_t repeats = repeats_of(b);
    const double per_row = 1 / ((double)repeats * (double)b->s->rows), start = now_ns();
    size_t n = 0;
    vindex_status st = select_rows(b); /* warms memory and the branch predictor */

    while (st == VINDEX_OK && n < ROUNDS_MOST &&
           (n < ROUNDS_LEAST || now_ns() - start < 1e9 * b->s->seconds)) {
        double t0 = now_ns(), t1;
        for (size_t i = 0; i < repeats; i++)
            scan_rows(b->x, bytes);
        t1 = now_ns();
        for (size_t i = 0; i < repeats && st == VINDEX_OK; i++)
            st = select_rows(b);
        ns[n] = (now_ns() - t1) * per_row;
        floor_ns[n] = (t1 - t0) * per_row;
        ratio[n] = ns[n] / floor_ns[n];
        n++;
    }
    if (st != VINDEX_OK) return st;
    r->ns = median(ns, n), r->floor_ns = median(floor_ns, n), r->ratio = median(ratio, n);
    return st;
}

static void compare(struct bench *b, struct result *r)
{
    const int64_t rows = b->s->rows < 16 ? b->s->rows : 16; /* enough to be told apart */
    int64_t *ids = malloc((size_t)b->s->k * sizeof *ids);

    for (size_t way = 0; way < N_WAYS && ids; way++) {
        double rounds[3];
        if (!has_way(way)) continue;
        for (size_t round = 0; round < 3; round++) {
            const double start = now_ns();
            for (int64_t row = 0; row < rows; row++)
                ways[way](b, row_at(b, row), ids);
            rounds[round] = (now_ns() - start) / (double)rows;
        }
        r->ways_ns[way] = median(rounds, 3);
    }
    free(ids);
}

/* Share of the exact k best that were given; ties with the k-th count. */
static double recall_of(struct bench *b)
{
    const int64_t k = b->s->k < b->s->len ? b->s->k : b->s->len;
    int64_t found = 0;

    for (int64_t row = 0; row < b->s->rows; row++) {
        const void *x = row_at(b, row);
        const int64_t *ids = b->ids + row * b->plan.out_len;
        load_items(b, x);
        way_quickselect(b, x, (int64_t *)b->values); /* leaves the k best in front, sorted */
        for (int64_t i = 0; i < b->plan.out_len; i++)
            found += ids[i] >= 0 && !(item(b, x, ids[i]).value < b->items[k - 1].value);
    }
    return k * b->s->rows > 0 ? (double)found / (double)(k * b->s->rows) : 1;
}

/* ---- a run -------------------------------------------------------------------------------------- */

static void bench_deinit(struct bench *b)
{
    free(b->x), free(b->workspace), free(b->values), free(b->ids), free(b->items);
}

static vindex_status bench_init(struct bench *b, const struct settings *s, vindex_topk_pool *pool)
{
    const vindex_topk_options init = VINDEX_TOPK_OPTIONS_INIT;
    const vindex_topk_plan plan = VINDEX_TOPK_PLAN_INIT;
    uint64_t state = s->seed;
    size_t n = (size_t)(s->rows * s->len), out;
    vindex_status st;

    *b = (struct bench){.s = s, .options = init, .plan = plan};
    b->options.flags =
        (s->is_min ? VINDEX_TOPK_MIN : 0) | (s->is_unsorted ? VINDEX_TOPK_UNSORTED : 0);
    b->options.type = s->type, b->options.algo = s->algo, b->options.recall = (float)s->recall;
    b->options.rows = s->rows, b->options.len = s->len, b->options.k = s->k;
    b->options.bins = s->bins, b->options.per_bin = s->per_bin, b->options.pool = pool;
    st = vindex_topk_make_plan(&b->options, &b->plan);
    if (st != VINDEX_OK) return st;
    out = (size_t)(s->rows * b->plan.out_len);
    b->x = aligned_alloc(64, (n * value_bytes(s->type) + 63) / 64 * 64);
    b->workspace = malloc(b->plan.workspace_bytes);
    b->values = malloc(out * 8 + 8), b->ids = malloc(out * 8 + 8);
    b->items = malloc((size_t)s->len * sizeof *b->items);
    if (!b->x || !b->workspace || !b->values || !b->ids || !b->items) return VINDEX_NOMEM;
    for (size_t i = 0; i < n; i++)
        store(s->type, b->x, i, value_at(s, (int64_t)(i % (size_t)s->len), &state));
    return VINDEX_OK;
}

/* Entries that stage one of a plan hands on: all that bins keep, or what exact algorithms give. */
static int64_t survivors(const struct bench *b)
{
    return b->plan.bins ? b->plan.bins * b->plan.per_bin : b->plan.out_len;
}

static vindex_status run_once(const struct settings *s, struct result *r, vindex_topk_plan *plan,
                              int64_t *n_survivors)
{
    struct bench b;
    vindex_topk_pool *pool = NULL;
    vindex_status st = s->threads > 1 ? vindex_topk_pool_open(s->threads, &pool) : VINDEX_OK;

    memset(r, 0, sizeof *r);
    memset(&b, 0, sizeof b);
    if (st == VINDEX_OK) st = bench_init(&b, s, pool);
    if (st == VINDEX_OK) st = measure(&b, r);
    if (st == VINDEX_OK) {
        *plan = b.plan, *n_survivors = survivors(&b);
        r->recall = recall_of(&b);
        if (s->is_compared) compare(&b, r);
    }
    bench_deinit(&b);
    vindex_topk_pool_close(pool);
    return st;
}

static void print_result(const struct settings *s, const struct result *r,
                         const vindex_topk_plan *plan, int64_t n_survivors)
{
    const char *format =
        s->is_json
            ? "{\"algo\":\"%s\",\"ns_per_row\":%.0f,\"floor_ns_per_row\":%.0f,\"ratio\":%.3f,"
              "\"recall\":%.6f,\"expected_recall\":%.6f,\"survivors\":%lld"
            : "%s: %.0f ns a row, floor %.0f, ratio %.3f, recall %.6f, expected %.6f, %lld "
              "survivors\n";

    printf(format, vindex_topk_algo_name((vindex_topk_algo)plan->algo), r->ns, r->floor_ns,
           r->ratio, r->recall, plan->expected_recall, (long long)n_survivors);
    if (s->is_json)
        printf(
            ",\"len\":%lld,\"k\":%lld,\"rows\":%lld,\"type\":\"%s\",\"order\":\"%s\",\"bins\":%lld,"
            "\"per_bin\":%u,\"isa\":\"%s\",\"threads\":%u",
            (long long)s->len, (long long)s->k, (long long)s->rows, vindex_topk_type_name(s->type),
            s->order, (long long)plan->bins, plan->per_bin, vindex_isa(), s->threads);
    for (size_t way = 0; s->is_compared && way < N_WAYS; way++) {
        if (!has_way(way)) continue;
        printf(s->is_json ? ",\"%s_ns\":%.0f,\"%s_speedup\":%.2f"
                          : "  %-12s %12.0f ns a row, %s x%.2f\n",
               way_names[way], r->ways_ns[way], s->is_json ? way_names[way] : "",
               r->ways_ns[way] / r->ns);
    }
    if (s->is_json) printf("}\n");
    fflush(stdout);
}

/* ---- --sweep: a table and a plot ---------------------------------------------------------------- */

enum { N_SWEPT = 6 };
static const vindex_topk_algo swept[N_SWEPT] = {VINDEX_TOPK_AUTO,      VINDEX_TOPK_GROUPMAX,
                                                VINDEX_TOPK_THRESHOLD, VINDEX_TOPK_QSELECT,
                                                VINDEX_TOPK_DEPTH,     VINDEX_TOPK_SORT};
static const char *const colours[N_SWEPT] = {"#000000", "#0072b2", "#009e73",
                                             "#d55e00", "#cc79a7", "#999999"};

/* Logarithmic axes: k from 1 to len, ratios from 1 to 100. */
static double plot_x(double k, double len)
{
    return 60 + 520 * log(k) / log(len);
}

static double plot_y(double ratio)
{
    return 360 - 320 * log10(ratio < .8 ? .8 : ratio > 100 ? 100 : ratio) / 2;
}

static void write_svg(FILE *svg, const struct settings *s, const int64_t *ks, size_t n_ks,
                      double ratios[][N_SWEPT])
{
    const double len = (double)s->len;

    fprintf(svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"720\" height=\"420\" "
            "font-family=\"sans-serif\" font-size=\"12\">\n"
            "<rect width=\"720\" height=\"420\" fill=\"white\"/>\n"
            "<text x=\"60\" y=\"20\">top-k of %lld %s, order %s: time over a maximum scan</text>\n",
            (long long)s->len, vindex_topk_type_name(s->type), s->order);
    for (int ratio = 1; ratio <= 100; ratio *= 10)
        fprintf(svg,
                "<line x1=\"60\" x2=\"580\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#ccc\"/>"
                "<text x=\"30\" y=\"%.1f\">%d</text>\n",
                plot_y(ratio), plot_y(ratio), plot_y(ratio) + 4, ratio);
    for (size_t i = 0; i < n_ks; i++)
        fprintf(svg, "<text x=\"%.1f\" y=\"380\">%lld</text>\n", plot_x((double)ks[i], len) - 8,
                (long long)ks[i]);
    fprintf(svg, "<text x=\"300\" y=\"405\">k</text>\n");
    for (size_t a = 0; a < N_SWEPT; a++) {
        fprintf(svg, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\" points=\"",
                colours[a]);
        for (size_t i = 0; i < n_ks; i++)
            if (ratios[i][a] > 0)
                fprintf(svg, "%.1f,%.1f ", plot_x((double)ks[i], len), plot_y(ratios[i][a]));
        fprintf(svg, "\"/>\n<text x=\"600\" y=\"%zu\" fill=\"%s\">%s</text>\n", 60 + 20 * a,
                colours[a], vindex_topk_algo_name(swept[a]));
    }
    fprintf(svg, "</svg>\n");
}

static vindex_status sweep_k(struct settings *s, FILE *table, double ratios[N_SWEPT])
{
    fprintf(table, "%lld", (long long)s->k);
    for (size_t a = 0; a < N_SWEPT; a++) {
        struct result r;
        vindex_topk_plan plan;
        int64_t n_survivors;
        vindex_status st;
        ratios[a] = 0;
        s->algo = swept[a];
        if (s->algo == VINDEX_TOPK_DEPTH && s->k > 512) { /* lists as long as the row: hopeless */
            fprintf(table, "\t-");
            continue;
        }
        st = run_once(s, &r, &plan, &n_survivors);
        if (st != VINDEX_OK) return st;
        ratios[a] = r.ratio;
        fprintf(table, "\t%.3f", r.ratio);
        if (s->algo == VINDEX_TOPK_AUTO)
            fprintf(table, "=%s", vindex_topk_algo_name((vindex_topk_algo)plan.algo));
    }
    fprintf(table, "\n");
    return VINDEX_OK;
}

static vindex_status sweep(const struct settings *given)
{
    enum { KS_MOST = 24 };
    struct settings s = *given;
    int64_t ks[KS_MOST];
    double ratios[KS_MOST][N_SWEPT];
    size_t n_ks = 0;
    char name[1024];
    FILE *table, *svg = NULL;
    vindex_status st = VINDEX_OK;

    snprintf(name, sizeof name, "%s.tsv", s.sweep);
    table = fopen(name, "w");
    snprintf(name, sizeof name, "%s.svg", s.sweep);
    if (table) svg = fopen(name, "w");
    if (!svg) {
        fprintf(stderr, "vindex: %s: %s\n", name, strerror(errno));
        st = VINDEX_IO;
    } else {
        fprintf(table, "k");
        for (size_t a = 0; a < N_SWEPT; a++)
            fprintf(table, "\t%s", vindex_topk_algo_name(swept[a]));
        fprintf(table, "\n");
        for (int64_t k = 1; k <= s.len / 2 && n_ks < KS_MOST && st == VINDEX_OK; k *= 4) {
            s.k = ks[n_ks] = k;
            st = sweep_k(&s, table, ratios[n_ks]);
            n_ks++;
        }
        if (st == VINDEX_OK) write_svg(svg, &s, ks, n_ks, ratios);
    }
    if (table) fclose(table);
    if (svg) fclose(svg);
    return st;
}

/* ---- the command line --------------------------------------------------------------------------- */

static const char usage[] =
    "usage: vindex bench topk [--len N] [-k K] [--rows R] [--recall R] [--type "
    "f32|f16|bf16|f64|i32]\n"
    "    [--order random|ascending|descending|organ-pipe|ties|one-bin] [--algo NAME] [--bins B]\n"
    "    [--per-bin P] [--min] [--unsorted] [--threads N] [--seconds S] [--seed N] [--compare]\n"
    "    [--sweep PREFIX] [--json]\n"
    "Time to select the K best of rows of random scores, beside a plain maximum scan of them: the\n"
    "floor. --compare adds a binary heap, quickselect and a full sort (bench_topk: the C++ "
    "library's\n"
    "too); --sweep writes PREFIX.tsv and PREFIX.svg, ratios to the floor for k = 1, 4, 16, ...\n";

static bool parse_whole(const char *text, int64_t least, int64_t most, int64_t *value)
{
    char *end;
    long long number;

    errno = 0;
    number = text ? strtoll(text, &end, 10) : 0;
    if (!text || errno || end == text || *end || number < least || number > most) return false;
    *value = number;
    return true;
}

static bool parse_real(const char *text, double most, double *value)
{
    char *end;
    const double number = text ? strtod(text, &end) : 0;

    if (!text || end == text || *end || !(number > 0 && number <= most)) return false;
    *value = number;
    return true;
}

static bool parse_name(const char *text, bool is_type, int *number)
{
    for (int i = 0; text && i < 16; i++) {
        const char *name = is_type ? vindex_topk_type_name((vindex_topk_type)i)
                                   : vindex_topk_algo_name((vindex_topk_algo)i);
        if (name && strcmp(name, text) == 0) {
            *number = i;
            return true;
        }
    }
    return false;
}

/* A flag with a value. */
static bool parse_value(struct settings *s, const char *flag, const char *value)
{
    int64_t whole;
    int number;

    if (strcmp(flag, "--len") == 0) return parse_whole(value, 1, INT32_MAX, &s->len);
    if (strcmp(flag, "-k") == 0 || strcmp(flag, "--k") == 0)
        return parse_whole(value, 1, INT32_MAX, &s->k);
    if (strcmp(flag, "--rows") == 0) return parse_whole(value, 1, INT32_MAX, &s->rows);
    if (strcmp(flag, "--bins") == 0) return parse_whole(value, 1, INT32_MAX, &s->bins);
    if (strcmp(flag, "--recall") == 0) return parse_real(value, 1, &s->recall);
    if (strcmp(flag, "--seconds") == 0) return parse_real(value, 3600, &s->seconds);
    if (strcmp(flag, "--order") == 0) return (s->order = value) != NULL && is_order(value);
    if (strcmp(flag, "--sweep") == 0) return (s->sweep = value) != NULL;
    if (strcmp(flag, "--per-bin") == 0) {
        if (!parse_whole(value, 1, INT32_MAX, &whole)) return false;
        s->per_bin = (unsigned)whole;
    } else if (strcmp(flag, "--threads") == 0) {
        if (!parse_whole(value, 1, 1024, &whole)) return false;
        s->threads = (unsigned)whole;
    } else if (strcmp(flag, "--seed") == 0) {
        if (!parse_whole(value, 0, INT64_MAX, &whole)) return false;
        s->seed = (uint64_t)whole;
    } else if (strcmp(flag, "--type") == 0) {
        if (!parse_name(value, true, &number)) return false;
        s->type = (vindex_topk_type)number;
    } else if (strcmp(flag, "--algo") == 0) {
        if (!parse_name(value, false, &number)) return false;
        s->algo = (vindex_topk_algo)number;
    } else {
        return false;
    }
    return true;
}

/* 0: run; 1: help was printed; 2: wrong. */
static int parse(int argc, char **argv, struct settings *s)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            s->is_json = true;
        else if (strcmp(argv[i], "--min") == 0)
            s->is_min = true;
        else if (strcmp(argv[i], "--unsorted") == 0)
            s->is_unsorted = true;
        else if (strcmp(argv[i], "--compare") == 0)
            s->is_compared = true;
        else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(usage, stdout);
            return 1;
        } else if (i + 1 < argc && parse_value(s, argv[i], argv[i + 1]))
            i++;
        else {
            fprintf(stderr,
                    "vindex: bench topk: \"%s\" is not a flag, or its value is missing or not "
                    "one it takes\n%s",
                    argv[i], usage);
            return 2;
        }
    }
    if (s->k > s->len) s->k = s->len;
    return 0;
}

int bench_topk_main(int argc, char **argv)
{
    struct settings s = {.len = 131072,
                         .k = 100,
                         .rows = 1,
                         .recall = 1,
                         .seconds = .5,
                         .threads = 1,
                         .order = "random",
                         .seed = 1};
    struct result r;
    vindex_topk_plan plan;
    int64_t n_survivors;
    vindex_status st;

    switch (parse(argc, argv, &s)) {
    case 1: return 0;
    case 2: return 2;
    default: break;
    }
    if (s.sweep) {
        st = sweep(&s);
    } else {
        st = run_once(&s, &r, &plan, &n_survivors);
        if (st == VINDEX_OK) print_result(&s, &r, &plan, n_survivors);
    }
    if (st == VINDEX_OK) return 0;
    fprintf(stderr, "vindex: bench topk: %s\n",
            st == VINDEX_NOMEM ? vindex_status_text(st) : vindex_message());
    return 1;
}
