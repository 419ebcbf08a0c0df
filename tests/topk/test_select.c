/*
 * test_select.c - every algorithm, type, order, NaN policy and level against the plain reference: sort by
 * score, then position. One body, over all patterns of topk.md's edge-case list.
 */
#include "common/cmocka.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "topk/helper_topk.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static struct rng rng;
static vkern_topk_table levels[3];
static size_t n_levels;

/* What is compared: one row, all its outputs. */
struct case_ {
    const vkern_topk_table *table;
    vindex_topk_options options;
    const void *x;
    enum pattern pattern;
    const int64_t *expected; /* positions, best first */
};

static void report(const struct case_ *c, size_t slot, int64_t got, int64_t expected)
{
    const vindex_topk_options *o = &c->options;

    fail_msg("%s %s %s%s nan %u len %lld k %lld, %s, slot %zu: position %lld, expected %lld",
             c->table->level_name, vindex_topk_algo_name((vindex_topk_algo)o->algo),
             vindex_topk_type_name((vindex_topk_type)o->type),
             o->flags & VINDEX_TOPK_MIN ? " min" : "", o->nan, (long long)o->len, (long long)o->k,
             pattern_names[c->pattern], slot, (long long)got, (long long)expected);
}

/* Sorted output, exact: positions, values bit for bit, padding, count. */
static void check_exact(const struct case_ *c)
{
    const vindex_topk_options *o = &c->options;
    const size_t n = (size_t)o->len, k = (size_t)o->k, live = k < n ? k : n;
    const size_t size = type_bytes(o->type);
    const bool is_min = (o->flags & VINDEX_TOPK_MIN) != 0;
    const int64_t *expected = c->expected;
    int64_t *ids = malloc((k + 1) * 8), count = -7;
    unsigned char *values = malloc((k + 1) * size), worst[8];
    vindex_topk_output out = VINDEX_TOPK_OUTPUT_INIT;

    memset(ids, 0x77, (k + 1) * 8);
    memset(values, 0x77, (k + 1) * size);
    out.values = values, out.ids = ids, out.counts = &count;
    assert_int_equal(run_topk(c->table, o, c->x, NULL, NULL, &out), VINDEX_OK);
    assert_int_equal(count, live);
    for (size_t i = 0; i < live; i++) {
        if (ids[i] != expected[i]) report(c, i, ids[i], expected[i]);
        assert_memory_equal(values + i * size, (const unsigned char *)c->x + (size_t)ids[i] * size,
                            size);
    }
    set_element(o->type, worst, 0, is_min ? INFINITY : -INFINITY);
    if (o->type == VINDEX_TOPK_I32)
        set_bits(o->type, worst, 0, is_min ? (uint32_t)INT32_MAX : (uint32_t)INT32_MIN);
    for (size_t i = live; i < k; i++) {
        assert_int_equal(ids[i], -1);
        assert_memory_equal(values + i * size, worst, size);
    }
    assert_int_equal(values[k * size], 0x77); /* nothing behind */
    free(ids), free(values);
}

static bool takes(vindex_topk_algo algo, uint32_t type, size_t k)
{
    if (algo == VINDEX_TOPK_ARGMAX) return k <= 1;
    return algo != VINDEX_TOPK_RADIX || type_bytes(type) == 2;
}

static void check_all_ways(uint32_t type, bool is_min, enum pattern pattern, size_t n, size_t k,
                           size_t offset)
{
    const size_t bytes = n * type_bytes(type);
    unsigned char *memory = guarded_alloc(bytes + offset), *x = memory;
    int64_t *expected[VINDEX_TOPK_NAN_ERROR];

    /* The row ends at a page without access, or starts off any alignment. */
    if (offset) memset(memory + bytes, 0xff, offset);
    fill_pattern(&rng, pattern, type, is_min, x, n);
    for (uint32_t nan = 0; nan < VINDEX_TOPK_NAN_ERROR; nan++) {
        expected[nan] = malloc((n + 1) * 8);
        plain_best(type, x, n, k < n ? k : n, is_min, nan, expected[nan]);
    }
    for (size_t l = 0; l < n_levels; l++)
        for (int algo = VINDEX_TOPK_AUTO; algo <= VINDEX_TOPK_SORT; algo++)
            for (uint32_t nan = 0; nan < VINDEX_TOPK_NAN_ERROR; nan++) {
                struct case_ c = {&levels[l], VINDEX_TOPK_OPTIONS_INIT, x, pattern, expected[nan]};
                if (!takes((vindex_topk_algo)algo, type, k)) continue;
                c.options.type = type, c.options.algo = (uint32_t)algo, c.options.nan = nan;
                c.options.rows = 1, c.options.len = (int64_t)n, c.options.k = (int64_t)k;
                c.options.flags = is_min ? VINDEX_TOPK_MIN : 0;
                check_exact(&c);
            }
    for (uint32_t nan = 0; nan < VINDEX_TOPK_NAN_ERROR; nan++)
        free(expected[nan]);
    guarded_free(memory, bytes + offset);
}

static const size_t lengths[] = {1,    2,    7,    8,    15,   16,   17,   31,   32,   33,  63,
                                 64,   65,   100,  127,  128,  129,  255,  256,  257,  500, 700,
                                 1023, 1024, 1025, 1700, 2048, 2049, 4095, 4096, 4097, 6000};
static const size_t ks[] = {1, 2, 3, 10, 16, 17, 64, 100, 257, 1000};

static void small_rows_are_selected_exactly(void **state)
{
    (void)state;
    for (uint32_t type = 0; type < N_TYPES; type++)
        for (size_t i = 0; i < COUNT(lengths); i++) {
            const enum pattern pattern = (enum pattern)vindex__rng_below(&rng, N_PATTERNS);
            for (size_t j = 0; j < COUNT(ks); j++)
                if (ks[j] < 2 * lengths[i] + 3)
                    check_all_ways(type, j % 2, pattern, lengths[i], ks[j], 0);
            check_all_ways(type, i % 2, pattern, lengths[i], lengths[i], 3); /* k == len */
        }
}

static void every_pattern_is_selected_exactly(void **state)
{
    static const size_t sizes[][2] = {{300, 10}, {5000, 1}, {5000, 37}, {9000, 600}, {20000, 100}};
    (void)state;

    for (uint32_t type = 0; type < N_TYPES; type++)
        for (int pattern = 0; pattern < N_PATTERNS; pattern++)
            for (size_t i = 0; i < COUNT(sizes); i++)
                check_all_ways(type, (pattern + i) % 2, (enum pattern)pattern, sizes[i][0],
                               sizes[i][1], 0);
}

/* All equal and nearly so, many more than any buffer holds. */
static void ties_overflow_every_buffer(void **state)
{
    static const enum pattern patterns[] = {ALL_EQUAL, TWO_VALUES, FEW_VALUES, ZEROS, ALL_NAN};
    (void)state;

    for (uint32_t type = 0; type < N_TYPES; type++)
        for (size_t i = 0; i < COUNT(patterns); i++)
            check_all_ways(type, i % 2, patterns[i], 40000, i % 2 ? 10 : 1500, 0);
}

/* ---- the upstream edge rows -------------------------------------------------------------------- */

static void select_rows(const float *rows, int64_t n, int64_t k, uint32_t flags, uint32_t nan,
                        int64_t *ids)
{
    for (size_t l = 0; l < n_levels; l++)
        for (int algo = VINDEX_TOPK_AUTO; algo <= VINDEX_TOPK_SORT; algo++) {
            vindex_topk_options o = VINDEX_TOPK_OPTIONS_INIT;
            vindex_topk_output out = VINDEX_TOPK_OUTPUT_INIT;
            int64_t got[16];
            if (!takes((vindex_topk_algo)algo, VINDEX_TOPK_F32, (size_t)k)) continue;
            o.algo = (uint32_t)algo, o.flags = flags, o.nan = nan;
            o.rows = 1, o.len = n, o.k = k;
            out.ids = l == 0 && algo == 0 ? ids : got;
            assert_int_equal(run_topk(&levels[l], &o, rows, NULL, NULL, &out), VINDEX_OK);
            assert_memory_equal(out.ids, ids, (size_t)k * 8);
        }
}

static void raft_edge_rows(void **state)
{
    const float inf = INFINITY;
    const struct {
        float row[5];
        int64_t expected[3];
    } cases[] = {{{.5f, NAN, NAN, NAN, NAN}, {1, 2, 3}},
                 {{.5f, -inf, -inf, -inf, -inf}, {0, 1, 2}},
                 {{.5f, inf, inf, inf, inf}, {1, 2, 3}},
                 {{.5f, -inf, NAN, -inf, inf}, {2, 4, 0}}};
    (void)state;

    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t ids[3];
        select_rows(cases[i].row, 5, 3, 0, VINDEX_TOPK_NAN_BEST, ids);
        assert_memory_equal(ids, cases[i].expected, sizeof ids);
    }
}

static void jax_export_row(void **state)
{
    const float row[] = {3, 1, 4, 2, 5, 6, 7};
    const int64_t expected[] = {6, 5, 4};
    int64_t ids[3];
    (void)state;

    select_rows(row, 7, 3, 0, 0, ids);
    assert_memory_equal(ids, expected, sizeof ids);
}

/* ---- shapes ------------------------------------------------------------------------------------ */

/* Rows apart, payload ids, lengths of their own; what lies past a length is poison. */
static void rows_have_their_own_lengths(void **state)
{
    enum { ROWS = 40, LEN = 3000, IN = LEN + 5, ID = LEN + 9, K = 50, OUT = K + 3 };
    int64_t *ids = malloc(ROWS * ID * 8), row_len[ROWS], counts[ROWS];
    unsigned char *x = malloc(ROWS * IN * 8), *values = malloc(ROWS * OUT * 8);
    int64_t *got = malloc(ROWS * OUT * 8), expected[K];
    (void)state;

    for (size_t i = 0; i < ROWS * ID; i++)
        ids[i] = INT64_MAX - (int64_t)vindex__rng_below(&rng, 1000); /* duplicates, huge */
    for (int r = 0; r < ROWS; r++)
        row_len[r] = r == 0   ? 0
                     : r == 1 ? LEN
                     : r == 2 ? 1
                     : r == 3 ? K
                              : (int64_t)vindex__rng_below(&rng, LEN + 1);
    for (size_t l = 0; l < n_levels; l++)
        for (uint32_t type = 0; type < N_TYPES; type++)
            for (int algo = VINDEX_TOPK_AUTO; algo <= VINDEX_TOPK_SORT; algo++) {
                const size_t size = type_bytes(type);
                const bool is_min = algo & 1;
                vindex_topk_options o = VINDEX_TOPK_OPTIONS_INIT;
                vindex_topk_output out = VINDEX_TOPK_OUTPUT_INIT;
                if (!takes((vindex_topk_algo)algo, type, K)) continue;
                for (int r = 0; r < ROWS; r++) {
                    unsigned char *row = x + (size_t)r * IN * size;
                    fill_pattern(&rng, NORMAL, type, is_min, row, (size_t)row_len[r]);
                    for (int64_t i = row_len[r]; i < IN; i++) /* would win every place */
                        set_element(type, row, (size_t)i, is_min ? -INFINITY : INFINITY);
                }
                o.type = type, o.algo = (uint32_t)algo, o.flags = is_min ? VINDEX_TOPK_MIN : 0;
                o.rows = ROWS, o.len = LEN, o.k = K;
                o.in_stride = IN, o.id_stride = ID, o.out_stride = OUT;
                out.values = values, out.ids = got, out.counts = counts;
                memset(got, 0x11, ROWS * OUT * 8);
                assert_int_equal(run_topk(&levels[l], &o, x, ids, row_len, &out), VINDEX_OK);
                for (int r = 0; r < ROWS; r++) {
                    const unsigned char *row = x + (size_t)r * IN * size;
                    const size_t live = row_len[r] < K ? (size_t)row_len[r] : K;
                    plain_best(type, row, (size_t)row_len[r], live, is_min, 0, expected);
                    assert_int_equal(counts[r], live);
                    for (size_t i = 0; i < live; i++) {
                        assert_int_equal(got[r * OUT + i], ids[r * ID + expected[i]]);
                        assert_memory_equal(values + ((size_t)r * OUT + i) * size,
                                            row + (size_t)expected[i] * size, size);
                    }
                    for (size_t i = live; i < K; i++)
                        assert_int_equal(got[r * OUT + i], -1);
                    for (size_t i = K; i < OUT; i++) /* between rows nothing is written */
                        assert_int_equal(got[r * OUT + i], 0x1111111111111111);
                }
            }
    free(ids), free(x), free(values), free(got);
}

static int ascending_i64(const void *a, const void *b)
{
    const int64_t p = *(const int64_t *)a, q = *(const int64_t *)b;
    return (p > q) - (p < q);
}

static void unsorted_gives_the_same_set(void **state)
{
    enum { N = 10000, K = 300 };
    static float x[N];
    int64_t expected[K], ids[K];
    (void)state;

    fill_pattern(&rng, FEW_VALUES, VINDEX_TOPK_F32, false, x, N);
    plain_best(VINDEX_TOPK_F32, x, N, K, false, 0, expected);
    qsort(expected, K, 8, ascending_i64);
    for (size_t l = 0; l < n_levels; l++)
        for (int algo = VINDEX_TOPK_AUTO; algo <= VINDEX_TOPK_SORT; algo++) {
            vindex_topk_options o = VINDEX_TOPK_OPTIONS_INIT;
            vindex_topk_output out = VINDEX_TOPK_OUTPUT_INIT;
            if (!takes((vindex_topk_algo)algo, 0, K)) continue;
            o.algo = (uint32_t)algo, o.flags = VINDEX_TOPK_UNSORTED;
            o.rows = 1, o.len = N, o.k = K;
            out.ids = ids;
            assert_int_equal(run_topk(&levels[l], &o, x, NULL, NULL, &out), VINDEX_OK);
            qsort(ids, K, 8, ascending_i64);
            assert_memory_equal(ids, expected, sizeof ids);
        }
}

/* One thread or many, rows shared out or rows cut: the same bytes. */
static void threads_do_not_matter(void **state)
{
    enum { N = 150000, K = 700, MAX_ROWS = 9 };
    static const int64_t row_counts[] = {1, 2, MAX_ROWS};
    static float x[MAX_ROWS * N];
    static int64_t alone[MAX_ROWS * K], many[MAX_ROWS * K];
    vindex_topk_pool *pool = NULL;
    (void)state;

    assert_int_equal(vindex_topk_pool_open(4, &pool), VINDEX_OK);
    for (int pattern = 0; pattern < N_PATTERNS; pattern++) {
        fill_pattern(&rng, (enum pattern)pattern, VINDEX_TOPK_F32, false, x, MAX_ROWS * N);
        for (size_t i = 0; i < COUNT(row_counts); i++) {
            vindex_topk_options o = VINDEX_TOPK_OPTIONS_INIT;
            vindex_topk_output out = VINDEX_TOPK_OUTPUT_INIT;
            int64_t row_len[MAX_ROWS];
            for (int r = 0; r < MAX_ROWS; r++)
                row_len[r] = r % 2 ? N : (int64_t)vindex__rng_below(&rng, N + 1);
            o.rows = row_counts[i], o.len = N, o.k = K;
            o.nan = pattern % 2 ? VINDEX_TOPK_NAN_BEST : VINDEX_TOPK_NAN_WORST;
            out.ids = alone;
            assert_int_equal(run_topk(&levels[n_levels - 1], &o, x, NULL, row_len, &out),
                             VINDEX_OK);
            o.pool = pool, out.ids = many;
            assert_int_equal(run_topk(&levels[n_levels - 1], &o, x, NULL, row_len, &out),
                             VINDEX_OK);
            assert_memory_equal(alone, many, (size_t)(row_counts[i] * K) * 8);
        }
    }
    vindex_topk_pool_close(pool);
}

/* ---- refusals ---------------------------------------------------------------------------------- */

static vindex_status try_plan(vindex_topk_options o)
{
    vindex_topk_plan plan = VINDEX_TOPK_PLAN_INIT;
    return vindex_topk_make_plan(&o, &plan);
}

static void senseless_options_are_refused(void **state)
{
    vindex_topk_options good = VINDEX_TOPK_OPTIONS_INIT, o;
    (void)state;

    good.rows = 2, good.len = 100, good.k = 5;
    assert_int_equal(try_plan(good), VINDEX_OK);
#define REFUSED(change, status)                                                                    \
    o = good, change;                                                                              \
    assert_int_equal(try_plan(o), status)
    REFUSED(o.k = -1, VINDEX_INVALID);
    REFUSED(o.rows = -1, VINDEX_INVALID);
    REFUSED(o.len = -1, VINDEX_INVALID);
    REFUSED(o.recall = -1, VINDEX_INVALID);
    REFUSED(o.recall = NAN, VINDEX_INVALID);
    REFUSED(o.recall = 1.01f, VINDEX_INVALID);
    REFUSED((o.recall = 2, o.k = 1), VINDEX_INVALID);
    REFUSED(o.type = 5, VINDEX_INVALID);
    REFUSED(o.algo = 9, VINDEX_INVALID);
    REFUSED(o.nan = 3, VINDEX_INVALID);
    REFUSED(o.flags = 1u << 20, VINDEX_UNSUPPORTED);
    REFUSED(o.reserved = 1, VINDEX_UNSUPPORTED);
    REFUSED(o.struct_size = 8, VINDEX_INVALID);
    REFUSED(o.in_stride = 99, VINDEX_INVALID);
    REFUSED(o.id_stride = -1, VINDEX_INVALID);
    REFUSED(o.out_stride = 4, VINDEX_INVALID);
    REFUSED(o.rows = INT64_MAX, VINDEX_INVALID);
    REFUSED((o.rows = INT64_MAX / 100, o.len = 200), VINDEX_INVALID);
    REFUSED(o.k = INT64_MAX, VINDEX_INVALID);
    REFUSED(o.algo = VINDEX_TOPK_ARGMAX, VINDEX_INVALID);
    REFUSED(o.algo = VINDEX_TOPK_RADIX, VINDEX_INVALID);
    REFUSED((o.bins = 2, o.per_bin = 2, o.algo = VINDEX_TOPK_BINNED), VINDEX_INVALID);
    REFUSED((o.n_depths = 2, o.depths[0] = 5, o.depths[1] = 5, o.algo = VINDEX_TOPK_DEPTH),
            VINDEX_INVALID);
    REFUSED((o.n_depths = 1, o.algo = VINDEX_TOPK_DEPTH), VINDEX_INVALID);
    for (int64_t n = -5; n < 100; n += n == -3 ? 1 : 1) {
        o = good, o.input_size_override = n;
        assert_int_equal(try_plan(o), n == -1 || n == 0 ? VINDEX_OK : VINDEX_INVALID);
    }
    o = good, o.input_size_override = 100;
    assert_int_equal(try_plan(o), VINDEX_OK);
#undef REFUSED
}

static void bad_calls_write_nothing(void **state)
{
    static float x[400];
    float values[10];
    int64_t ids[10], row_len[2] = {100, 100};
    vindex_topk_options o = VINDEX_TOPK_OPTIONS_INIT;
    vindex_topk_plan plan = VINDEX_TOPK_PLAN_INIT;
    vindex_topk_output out = VINDEX_TOPK_OUTPUT_INIT;
    unsigned char *workspace;
    (void)state;

    o.rows = 2, o.len = 100, o.k = 5;
    assert_int_equal(vindex_topk_make_plan(&o, &plan), VINDEX_OK);
    workspace = malloc(plan.workspace_bytes);
    memset(ids, 0x33, sizeof ids);
    out.ids = ids, out.values = values;
#define REFUSED(lengths, size)                                                                     \
    assert_int_equal(vindex_topk(&o, x, NULL, lengths, &out, workspace, size), VINDEX_INVALID);    \
    assert_int_equal(ids[0], 0x3333333333333333)
    REFUSED(NULL, plan.workspace_bytes - 1);
    REFUSED(NULL, 0);
    row_len[1] = -1;
    REFUSED(row_len, plan.workspace_bytes);
    row_len[1] = 101;
    REFUSED(row_len, plan.workspace_bytes);
    out.values = x + 3;
    REFUSED(NULL, plan.workspace_bytes);
    out.values = ids;
    REFUSED(NULL, plan.workspace_bytes);
    out.values = workspace + 8;
    REFUSED(NULL, plan.workspace_bytes);
    out.values = values;
    assert_int_equal(vindex_topk(&o, NULL, NULL, NULL, &out, workspace, plan.workspace_bytes),
                     VINDEX_INVALID);
#undef REFUSED
    o.nan = VINDEX_TOPK_NAN_ERROR;
    assert_int_equal(vindex_topk(&o, x, NULL, NULL, &out, workspace, plan.workspace_bytes),
                     VINDEX_OK);
    x[199] = NAN;
    assert_int_equal(vindex_topk(&o, x, NULL, NULL, &out, workspace, plan.workspace_bytes),
                     VINDEX_INVALID);
    row_len[0] = 100, row_len[1] = 99; /* past the row's end: not seen */
    assert_int_equal(vindex_topk(&o, x, NULL, row_len, &out, workspace, plan.workspace_bytes),
                     VINDEX_OK);
    x[199] = 0;
    free(workspace);
}

static void nothing_is_a_fine_amount(void **state)
{
    static const int64_t shapes[][3] = {{0, 10, 3}, {3, 0, 2}, {3, 10, 0}, {0, 0, 0}};
    float x[30] = {0}, values[6];
    int64_t ids[6], counts[3];
    (void)state;

    for (size_t i = 0; i < COUNT(shapes); i++)
        for (int algo = VINDEX_TOPK_AUTO; algo <= VINDEX_TOPK_SORT; algo++) {
            vindex_topk_options o = VINDEX_TOPK_OPTIONS_INIT;
            vindex_topk_output out = VINDEX_TOPK_OUTPUT_INIT;
            o.rows = shapes[i][0], o.len = shapes[i][1], o.k = shapes[i][2];
            o.algo = (uint32_t)algo;
            if (!takes((vindex_topk_algo)algo, 0, (size_t)o.k)) continue;
            memset(ids, 0x33, sizeof ids), memset(counts, 0x33, sizeof counts);
            out.values = values, out.ids = ids, out.counts = counts;
            assert_int_equal(run_topk(&levels[0], &o, x, NULL, NULL, &out), VINDEX_OK);
            assert_int_equal(ids[0], o.rows * o.k > 0 ? -1 : 0x3333333333333333);
            assert_int_equal(counts[0], o.rows > 0 ? 0 : 0x3333333333333333);
        }
}

/* ---- plans ------------------------------------------------------------------------------------- */

static void memory_formula_and_rows_that_fit(void **state)
{
    vindex_topk_options o = VINDEX_TOPK_OPTIONS_INIT;
    vindex_topk_plan plan = VINDEX_TOPK_PLAN_INIT;
    int64_t rows;
    (void)state;

    o.rows = 7, o.len = 1000, o.k = 10;
    vindex_topk_make_plan(&o, &plan);
    assert_int_equal(plan.row_bytes, 1000 * 4 + 10 * 12 + 8);
    assert_true(plan.fixed_bytes == plan.workspace_bytes);
    vindex_topk_rows_that_fit(&o, 1, 1000000000, &rows);
    assert_int_equal(rows, (int64_t)((850000000. - (double)plan.fixed_bytes) / (12000 + 128)));
    o.flags = VINDEX_TOPK_UNSORTED;
    vindex_topk_rows_that_fit(&o, 0, 1000000000, &rows);
    assert_int_equal(rows, (int64_t)((900000000. - (double)plan.fixed_bytes) / 4128));
    vindex_topk_rows_that_fit(&o, 0, 100, &rows);
    assert_int_equal(rows, 0);
}

/* ---- the sort of candidates ---------------------------------------------------------------------- */

enum { SORTED_MOST = 5000 };

static int by_key_then_number(const void *a, const void *b)
{
    const int64_t *x = a, *y = b; /* key, number */

    if (x[0] != y[0]) return x[0] > y[0] ? -1 : 1;
    return (x[1] > y[1]) - (x[1] < y[1]);
}

/* Keys of many shapes: few values or all, one cluster beside outliers, in order or against it. */
static int32_t candidate_key(int shape, size_t i, size_t n)
{
    const uint32_t r = (uint32_t)vindex__rng_next(&rng);

    switch (shape) {
    case 0: return (int32_t)r;
    case 1: return (int32_t)(r % 7);
    case 2: return (int32_t)(r % 50 ? r % 1000 : r); /* differ below an entry's bits */
    case 3: return (int32_t)i;
    case 4: return (int32_t)(n - i) * 1000 + (int32_t)(r % 3000);
    default: return (int32_t)(r % (2 * (uint32_t)n + 1));
    }
}

static void the_first_k_are_sorted(void **state)
{
    static int32_t given[SORTED_MOST], keys[SORTED_MOST + 64];
    static uint32_t positions[SORTED_MOST + 64];
    static int64_t expected[SORTED_MOST][2];
    static uint64_t spare[4 * SORTED_MOST + 256];
    (void)state;

    for (int round = 0; round < 600; round++) {
        const int shape = round % 6;
        const size_t most = round / 6 % 3 ? 900 : SORTED_MOST;
        const size_t n = 1 + (size_t)vindex__rng_below(&rng, most);
        const size_t k = round / 6 % 4 ? 1 + (size_t)vindex__rng_below(&rng, n) : n;
        for (size_t i = 0; i < n; i++) {
            given[i] = candidate_key(shape, i, n);
            expected[i][0] = given[i], expected[i][1] = (int64_t)i;
        }
        qsort(expected, n, sizeof *expected, by_key_then_number);
        for (size_t l = 0; l < n_levels; l++) {
            memcpy(keys, given, n * sizeof *keys);
            for (size_t i = 0; i < n; i++)
                positions[i] = (uint32_t)(3 * i);
            levels[l].sort(keys, positions, n, k, spare);
            for (size_t i = 0; i < k; i++)
                if (keys[i] != expected[i][0] || positions[i] != 3 * expected[i][1])
                    fail_msg("%s, %zu of %zu, shape %d: slot %zu is %d from %u, not %lld from %lld",
                             levels[l].level_name, k, n, shape, i, keys[i], positions[i],
                             (long long)expected[i][0], (long long)(3 * expected[i][1]));
        }
    }
}

static int set_up(void **state)
{
    (void)state;
    vindex__rng_init(&rng, test_seed());
    n_levels = all_levels(levels);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_rows_are_selected_exactly),
        cmocka_unit_test(every_pattern_is_selected_exactly),
        cmocka_unit_test(ties_overflow_every_buffer),
        cmocka_unit_test(raft_edge_rows),
        cmocka_unit_test(jax_export_row),
        cmocka_unit_test(rows_have_their_own_lengths),
        cmocka_unit_test(unsorted_gives_the_same_set),
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(senseless_options_are_refused),
        cmocka_unit_test(bad_calls_write_nothing),
        cmocka_unit_test(nothing_is_a_fine_amount),
        cmocka_unit_test(memory_formula_and_rows_that_fit),
        cmocka_unit_test(the_first_k_are_sorted),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
