/*
 * bench_topk_run.c - rows of scores and the time it takes to select from them.
 *
 * Rounds take turns: the floor, the selection. Medians are compared, so that a round which another process
 * disturbed does not count.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench_topk_parts.h"

enum { ROUNDS_LEAST = 7, ROUNDS_MOST = 501 };

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

bool bench_topk_is_order(const char *order)
{
    static const char *const orders[] = {"random",     "ascending", "descending",
                                         "organ-pipe", "ties",      "one-bin"};

    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++)
        if (strcmp(order, orders[i]) == 0) return true;
    return false;
}

const void *bench_topk_row(const struct bench *b, int64_t row)
{
    return b->x + (size_t)row * (size_t)b->s->len * value_bytes(b->s->type);
}

struct bench_topk_item bench_topk_item_at(const struct bench *b, const void *row, int64_t i)
{
    const float value = load(b->s->type, row, (size_t)i);
    return (struct bench_topk_item){b->s->is_min ? -value : value, (int32_t)i};
}

/* ---- measuring ---------------------------------------------------------------------------------- */

double bench_topk_now_ns(const struct settings *s)
{
    struct timespec t;

    clock_gettime(s->threads > 1 ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID, &t);
    return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_topk_median(double *values, size_t n)
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

static vindex_status measure(struct bench *b, struct result *r)
{
    static double ns[ROUNDS_MOST], floor_ns[ROUNDS_MOST], ratio[ROUNDS_MOST];
    const size_t bytes = (size_t)(b->s->rows * b->s->len) * value_bytes(b->s->type);
    const size_t repeats = repeats_of(b);
    const double per_row = 1 / ((double)repeats * (double)b->s->rows),
                 start = bench_topk_now_ns(b->s);
    size_t n = 0;
    vindex_status st = select_rows(b); /* warms memory and the branch predictor */

    while (st == VINDEX_OK && n < ROUNDS_MOST &&
           (n < ROUNDS_LEAST || bench_topk_now_ns(b->s) - start < 1e9 * b->s->seconds)) {
        double t0 = bench_topk_now_ns(b->s), t1;
        for (size_t i = 0; i < repeats; i++)
            bench_topk_scan(b->x, bytes);
        t1 = bench_topk_now_ns(b->s);
        for (size_t i = 0; i < repeats && st == VINDEX_OK; i++)
            st = select_rows(b);
        ns[n] = (bench_topk_now_ns(b->s) - t1) * per_row;
        floor_ns[n] = (t1 - t0) * per_row;
        ratio[n] = ns[n] / floor_ns[n];
        n++;
    }
    if (st != VINDEX_OK) return st;
    r->ns = bench_topk_median(ns, n), r->floor_ns = bench_topk_median(floor_ns, n),
    r->ratio = bench_topk_median(ratio, n);
    return st;
}

/* Share of the exact k best that were given; ties with the k-th count. */
static double recall_of(struct bench *b)
{
    const int64_t k = b->s->k < b->s->len ? b->s->k : b->s->len;
    int64_t found = 0;

    for (int64_t row = 0; row < b->s->rows; row++) {
        const void *x = bench_topk_row(b, row);
        const int64_t *ids = b->ids + row * b->plan.out_len;
        bench_topk_plain(b, x, (int64_t *)b->values); /* leaves the k best in front, sorted */
        for (int64_t i = 0; i < b->plan.out_len; i++)
            found +=
                ids[i] >= 0 && !(bench_topk_item_at(b, x, ids[i]).value < b->items[k - 1].value);
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
    b->options.algo = b->plan.algo; /* planned once, as vindex_topk.h advises */
    b->options.bins = b->plan.bins, b->options.per_bin = b->plan.per_bin;
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

vindex_status bench_topk_run(const struct settings *s, struct result *r, vindex_topk_plan *plan,
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
        if (s->is_compared) bench_topk_compare(&b, r);
    }
    bench_deinit(&b);
    vindex_topk_pool_close(pool);
    return st;
}

/* ---- the choice --------------------------------------------------------------------------------- */

static size_t exact_algos(const struct settings *s, vindex_topk_algo *algos)
{
    static const vindex_topk_algo all[] = {VINDEX_TOPK_ARGMAX, VINDEX_TOPK_GROUPMAX,
                                           VINDEX_TOPK_THRESHOLD, VINDEX_TOPK_QSELECT,
                                           VINDEX_TOPK_RADIX};
    size_t n = 0;

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i] == VINDEX_TOPK_ARGMAX && s->k > 1) continue;
        if (all[i] == VINDEX_TOPK_RADIX && value_bytes(s->type) != 2) continue;
        algos[n++] = all[i];
    }
    return n;
}

/* One bench an algorithm over the rows of the first. */
static vindex_status open_choices(const struct settings *s, struct settings *each,
                                  struct choices *choices, struct bench *benches)
{
    vindex_status st = VINDEX_OK;

    for (size_t i = 0; i < choices->n && st == VINDEX_OK; i++) {
        each[i] = *s;
        each[i].algo = choices->algos[i];
        st = bench_init(&benches[i], &each[i], NULL);
        if (i > 0 && st == VINDEX_OK) {
            free(benches[i].x);
            benches[i].x = benches[0].x;
        }
    }
    return st;
}

static vindex_status time_choices(const struct settings *s, struct choices *choices,
                                  struct bench *benches)
{
    static double ns[CHOICES_MOST][ROUNDS_MOST];
    const size_t repeats = repeats_of(&benches[0]);
    const double per_row = 1 / ((double)repeats * (double)s->rows), start = bench_topk_now_ns(s);
    size_t n = 0;
    vindex_status st = VINDEX_OK;

    for (; n < ROUNDS_MOST && st == VINDEX_OK &&
           (n < ROUNDS_LEAST || bench_topk_now_ns(s) - start < 1e9 * s->seconds);
         n++)
        for (size_t i = 0; i < choices->n; i++) {
            double from;
            if (st == VINDEX_OK) st = select_rows(&benches[i]); /* its own memory is warm then */
            from = bench_topk_now_ns(s);
            for (size_t j = 0; j < repeats && st == VINDEX_OK; j++)
                st = select_rows(&benches[i]);
            ns[i][n] = (bench_topk_now_ns(s) - from) * per_row;
        }
    for (size_t i = 0; i < choices->n && st == VINDEX_OK; i++)
        choices->ns[i] = bench_topk_median(ns[i], n);
    return st;
}

vindex_status bench_topk_choices(const struct settings *s, struct choices *choices)
{
    struct settings each[CHOICES_MOST];
    struct bench benches[CHOICES_MOST];
    vindex_topk_plan plan = VINDEX_TOPK_PLAN_INIT;
    vindex_topk_options options = VINDEX_TOPK_OPTIONS_INIT;
    vindex_status st;

    memset(benches, 0, sizeof benches);
    memset(choices, 0, sizeof *choices);
    choices->n = exact_algos(s, choices->algos);
    st = open_choices(s, each, choices, benches);
    options.type = s->type, options.rows = s->rows, options.len = s->len, options.k = s->k;
    if (st == VINDEX_OK) st = vindex_topk_make_plan(&options, &plan);
    if (st == VINDEX_OK) st = time_choices(s, choices, benches);
    choices->chosen = (vindex_topk_algo)plan.algo;
    for (size_t i = 0; i < choices->n && st == VINDEX_OK; i++) {
        if (choices->algos[i] == choices->chosen) choices->chosen_ns = choices->ns[i];
        if (choices->best_ns == 0 || choices->ns[i] < choices->best_ns)
            choices->best = choices->algos[i], choices->best_ns = choices->ns[i];
    }
    for (size_t i = choices->n; i-- > 0;) {
        if (i > 0) benches[i].x = NULL;
        bench_deinit(&benches[i]);
    }
    return st;
}
