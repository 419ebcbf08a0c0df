/*
 * test_bins.c - bins and lanes: hand-placed winners, recall as predicted over many rows, partial results,
 * rows that prove themselves exact, stop depths against their definition.
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

/* ---- hand cases (pytorch-approx-topk) ----------------------------------------------------------- */

static void check_bins(const float *x, int64_t n, int64_t k, int64_t bins, uint32_t per_bin,
                       uint32_t flags, const int64_t *expected, size_t n_expected)
{
    for (size_t l = 0; l < n_levels; l++) {
        vindex_topk_options o = VINDEX_TOPK_OPTIONS_INIT;
        vindex_topk_output out = VINDEX_TOPK_OUTPUT_INIT;
        int64_t ids[64];
        o.algo = VINDEX_TOPK_BINNED, o.flags = flags;
        o.rows = 1, o.len = n, o.k = k, o.bins = bins, o.per_bin = per_bin;
        out.ids = ids;
        assert_int_equal(run_topk(&levels[l], &o, x, NULL, NULL, &out), VINDEX_OK);
        for (size_t i = 0; i < n_expected; i++)
            if (ids[i] != expected[i])
                fail_msg("%s, n %lld, %lld bins, slot %zu: %lld, expected %lld",
                         levels[l].level_name, (long long)n, (long long)bins, i, (long long)ids[i],
                         (long long)expected[i]);
    }
}

static void hand_placed_winners(void **state)
{
    const uint32_t strided = VINDEX_TOPK_PARTIAL;
    const uint32_t contiguous = VINDEX_TOPK_PARTIAL | VINDEX_TOPK_CONTIGUOUS;
    float arange[17], placed[17] = {0};
    (void)state;

    for (int i = 0; i < 17; i++)
        arange[i] = (float)i;
    check_bins(arange, 10, 3, 3, 1, contiguous, (const int64_t[]){3, 6, 9}, 3);
    check_bins(arange, 10, 3, 3, 1, strided, (const int64_t[]){9, 7, 8}, 3);
    /* k 4, k_mult 2: eight bins of one, then the best four of those. */
    check_bins(arange, 16, 4, 8, 1, VINDEX_TOPK_CONTIGUOUS, (const int64_t[]){15, 13, 11, 9}, 4);
    check_bins(arange, 16, 4, 8, 1, 0, (const int64_t[]){15, 14, 13, 12}, 4);
    /* Seventeen in four bins: contiguous {0-4}, {5-8}, {9-12}, {13-16}. */
    placed[4] = 9, placed[3] = 8, placed[5] = 7, placed[12] = 6;
    check_bins(placed, 17, 4, 4, 1, contiguous, (const int64_t[]){4, 5, 12, 13}, 4);
    check_bins(placed, 17, 4, 4, 1, strided, (const int64_t[]){4, 5, 2, 3}, 4);
    check_bins(placed, 17, 4, 4, 2, VINDEX_TOPK_CONTIGUOUS, (const int64_t[]){4, 3, 5, 12}, 4);
    /* Bins of one element, and one bin, keep everything that matters. */
    check_bins(placed, 17, 4, 17, 1, 0, (const int64_t[]){4, 3, 5, 12}, 4);
    check_bins(placed, 17, 4, 1, 4, 0, (const int64_t[]){4, 3, 5, 12}, 4);
    check_bins(placed, 17, 4, 1, 4, VINDEX_TOPK_CONTIGUOUS, (const int64_t[]){4, 3, 5, 12}, 4);
}

/* ---- partial results ---------------------------------------------------------------------------- */

/* Bins of a row kept by the definition: sort each bin, take per_bin. */
static void plain_bins(const float *x, int64_t n, int64_t bins, int64_t per_bin, bool contiguous,
                       int64_t *kept)
{
    int64_t *members = malloc((size_t)n * 8 + 8), *order = malloc((size_t)n * 8 + 8), from = 0;
    float *values = malloc((size_t)n * 4 + 4);

    for (int64_t b = 0; b < bins; b++) {
        int64_t count = 0, size = n / bins + (b < n % bins);
        for (int64_t i = 0; i < size; i++)
            members[count++] = contiguous ? from + i : b + i * bins;
        from += size;
        for (int64_t i = 0; i < count; i++)
            values[i] = x[members[i]];
        plain_best(VINDEX_TOPK_F32, values, (size_t)count, (size_t)count, false, 0, order);
        for (int64_t d = 0; d < per_bin; d++)
            kept[d * bins + b] = d < count ? members[order[d]] : -1;
    }
    free(members), free(order), free(values);
}

static void partial_results_are_what_bins_keep(void **state)
{
    static const int64_t shapes[][3] = {{1000, 128, 1}, {1000, 100, 3}, {777, 31, 4},   {50, 64, 2},
                                        {3000, 1, 5},   {129, 128, 2},  {4097, 512, 8}, {9, 16, 1}};
    (void)state;

    for (size_t s = 0; s < COUNT(shapes); s++)
        for (int pattern = 0; pattern < N_PATTERNS; pattern++)
            for (uint32_t contiguous = 0; contiguous < 2; contiguous++) {
                const int64_t n = shapes[s][0], bins = shapes[s][1], per_bin = shapes[s][2];
                float x[4097];
                int64_t expected[4096], ids[4096], count = -1, live = 0;
                fill_pattern(&rng, (enum pattern)pattern, 0, false, x, (size_t)n);
                plain_bins(x, n, bins, per_bin, contiguous, expected);
                for (int64_t i = 0; i < bins * per_bin; i++)
                    live += expected[i] >= 0;
                for (size_t l = 0; l < n_levels; l++) {
                    vindex_topk_options o = VINDEX_TOPK_OPTIONS_INIT;
                    vindex_topk_output out = VINDEX_TOPK_OUTPUT_INIT;
                    o.algo = VINDEX_TOPK_BINNED;
                    o.flags = VINDEX_TOPK_PARTIAL | (contiguous ? VINDEX_TOPK_CONTIGUOUS : 0);
                    o.rows = 1, o.len = n, o.k = 5, o.bins = bins, o.per_bin = (uint32_t)per_bin;
                    out.ids = ids, out.counts = &count;
                    assert_int_equal(run_topk(&levels[l], &o, x, NULL, NULL, &out), VINDEX_OK);
                    assert_int_equal(count, live);
                    for (int64_t i = 0; i < bins * per_bin; i++)
                        if (ids[i] != expected[i])
                            fail_msg("%s %s n %lld %lld x %lld %s slot %lld: %lld, expected %lld",
                                     levels[l].level_name, pattern_names[pattern], (long long)n,
                                     (long long)bins, (long long)per_bin,
                                     contiguous ? "contiguous" : "strided", (long long)i,
                                     (long long)ids[i], (long long)expected[i]);
                }
            }
}

/* ---- recall ------------------------------------------------------------------------------------- */

/* A row of n of which k are winners, at places drawn by chance; what of them the bins keep. */
static int64_t winners_kept(vindex_topk_options *o, float *x, int64_t *places, void *workspace,
                            uint64_t bytes, bool *is_proven)
{
    const int64_t n = o->len, k = o->k;
    vindex_topk_output out = VINDEX_TOPK_OUTPUT_INIT;
    uint8_t proven;
    int64_t ids[256], kept = 0;

    for (int64_t i = 0; i < k; i++) { /* the first k of a shuffle */
        const int64_t j = i + (int64_t)vindex__rng_below(&rng, (uint64_t)(n - i));
        const int64_t t = places[i];
        places[i] = places[j], places[j] = t;
        x[places[i]] = 1 + (float)i;
    }
    out.ids = ids, out.is_proven = &proven;
    assert_int_equal(vindex_topk(o, x, NULL, NULL, &out, workspace, bytes), VINDEX_OK);
    for (int64_t i = 0; i < k; i++)
        kept += x[ids[i]] > 0;
    for (int64_t i = 0; i < k; i++)
        x[places[i]] = 0;
    *is_proven = proven != 0;
    return kept;
}

/* 10,000 rows a plan: the mean is within 3 standard errors of the formula, as measured. Of 12 plans one
 * falls outside in 1 of 30 runs by chance, so a plan that does is measured once more. */
static bool recall_agrees(int64_t n, int64_t k, int64_t bins, int64_t per_bin)
{
    enum { ROWS = 10000 };
    vindex_topk_options o = VINDEX_TOPK_OPTIONS_INIT;
    vindex_topk_plan plan = VINDEX_TOPK_PLAN_INIT;
    float *x = calloc((size_t)n, sizeof *x);
    int64_t *places = malloc((size_t)n * 8);
    double sum = 0, squares = 0, mean, error;
    void *workspace;

    o.algo = VINDEX_TOPK_BINNED, o.rows = 1, o.len = n, o.k = k, o.bins = bins;
    o.per_bin = (uint32_t)per_bin;
    assert_int_equal(vindex_topk_make_plan(&o, &plan), VINDEX_OK);
    assert_true(plan.expected_recall == vindex_topk_recall(n, k, bins, per_bin));
    assert_true(plan.bound_recall <= plan.expected_recall + 1e-12);
    workspace = malloc(plan.workspace_bytes);
    for (int64_t i = 0; i < n; i++)
        places[i] = i;
    for (int row = 0; row < ROWS; row++) {
        bool is_proven;
        const int64_t kept =
            winners_kept(&o, x, places, workspace, plan.workspace_bytes, &is_proven);
        const double r = (double)kept / (double)k;
        assert_true(!is_proven || kept == k); /* proven is never wrong */
        sum += r, squares += r * r;
    }
    free(x), free(places), free(workspace);
    mean = sum / ROWS;
    error = sqrt((squares / ROWS - mean * mean) / ROWS);
    if (fabs(mean - plan.expected_recall) <= 3 * error + 1e-12) return true;
    printf("n %lld k %lld %lld x %lld: measured %.6f +- %.6f, predicted %.6f\n", (long long)n,
           (long long)k, (long long)bins, (long long)per_bin, mean, error, plan.expected_recall);
    return false;
}

static void measured_recall_is_the_predicted(void **state)
{
    static const int64_t plans[][4] = {{1000, 10, 256, 1},  {1000, 10, 100, 1}, {1000, 64, 64, 1},
                                       {1000, 64, 100, 2},  {3000, 50, 768, 1}, {3000, 50, 77, 2},
                                       {4096, 64, 128, 2},  {4096, 64, 32, 4},  {4096, 100, 48, 4},
                                       {4096, 200, 320, 2}, {5000, 16, 16, 3},  {2000, 5, 16, 1}};
    (void)state;

    for (size_t i = 0; i < COUNT(plans); i++) {
        const int64_t *p = plans[i];
        assert_true(recall_agrees(p[0], p[1], p[2], p[3]) || recall_agrees(p[0], p[1], p[2], p[3]));
    }
}

static void targets_are_reached_with_few_survivors(void **state)
{
    enum { N = 131072, K = 2048, ROWS = 20 };
    static float x[N];
    static int64_t ids[K], expected[K];
    vindex_topk_options o = VINDEX_TOPK_OPTIONS_INIT;
    vindex_topk_plan plan = VINDEX_TOPK_PLAN_INIT;
    vindex_topk_output out = VINDEX_TOPK_OUTPUT_INIT;
    double found = 0;
    (void)state;

    o.algo = VINDEX_TOPK_BINNED, o.recall = .95f, o.rows = 1, o.len = N, o.k = K;
    assert_int_equal(vindex_topk_make_plan(&o, &plan), VINDEX_OK);
    assert_true(plan.bins * plan.per_bin <= 4096);
    assert_true(plan.expected_recall >= .95);
    out.ids = ids;
    for (int row = 0; row < ROWS; row++) {
        fill_pattern(&rng, NORMAL, 0, false, x, N);
        assert_int_equal(run_topk(&levels[n_levels - 1], &o, x, NULL, NULL, &out), VINDEX_OK);
        plain_best(0, x, N, K, false, 0, expected);
        for (int i = 0; i < K; i++)
            found += comes_before(0, x, (size_t)ids[i], (size_t)expected[K - 1], false, 0) ||
                     ids[i] == expected[K - 1];
    }
    /* The prediction reaches the target, and what is found is the prediction to within chance: ROWS K winners deviate
       less than as many independent draws, those of one bin crowd each other out. */
    const double mean = found / (ROWS * K), predicted = plan.expected_recall;
    const double sd = sqrt(predicted * (1 - predicted) / (ROWS * K));
    if (fabs(mean - predicted) > 5 * sd) fail_msg("found %.5f, predicted %.5f", mean, predicted);
}

/* A contiguous run of winners: strided bins spread it, contiguous bins lose it. */
static void correlated_winners_need_strided_bins(void **state)
{
    enum { N = 8192, K = 64 };
    float x[N] = {0};
    int64_t ids[K];
    double recall[2];
    (void)state;

    for (int i = 0; i < K; i++)
        x[3000 + i] = (float)(1 + i);
    for (uint32_t contiguous = 0; contiguous < 2; contiguous++) {
        vindex_topk_options o = VINDEX_TOPK_OPTIONS_INIT;
        vindex_topk_output out = VINDEX_TOPK_OUTPUT_INIT;
        o.algo = VINDEX_TOPK_BINNED, o.flags = contiguous ? VINDEX_TOPK_CONTIGUOUS : 0;
        o.rows = 1, o.len = N, o.k = K, o.bins = 128, o.per_bin = 1, out.ids = ids;
        assert_int_equal(run_topk(&levels[0], &o, x, NULL, NULL, &out), VINDEX_OK);
        recall[contiguous] = 0;
        for (int i = 0; i < K; i++)
            recall[contiguous] += x[ids[i]] > 0;
    }
    assert_true(recall[0] == K);
    assert_true(recall[1] <= 2);
}

static void auto_bins_only_where_they_are_cheaper(void **state)
{
    static const float targets[] = {.5f, .9f, .95f, .99f, 1};
    (void)state;

    for (size_t l = 0; l < n_levels; l++)
        for (int64_t n = 1; n < 5000000; n = n * 5 + 3)
            for (int64_t k = 1; k <= n; k = k * 6)
                for (size_t i = 0; i < COUNT(targets); i++) {
                    vindex_topk_options o = VINDEX_TOPK_OPTIONS_INIT;
                    vindex_topk_plan exact = VINDEX_TOPK_PLAN_INIT, plan = VINDEX_TOPK_PLAN_INIT;
                    o.rows = 1, o.len = n, o.k = k;
                    assert_int_equal(vindex__topk_plan_at(&levels[l], &o, &exact), VINDEX_OK);
                    o.recall = targets[i];
                    assert_int_equal(vindex__topk_plan_at(&levels[l], &o, &plan), VINDEX_OK);
                    assert_true(plan.cost_ns <= exact.cost_ns);
                    assert_true(plan.expected_recall >= targets[i]);
                    assert_true(plan.out_len >= k);
                    assert_true(exact.expected_recall == 1 && exact.bins == 0);
                }
}

/* ---- depths ------------------------------------------------------------------------------------- */

/* The definition: the fullest of `lanes` lanes among the k best. */
static uint32_t depth_needed(const int64_t *best, size_t k, uint32_t lanes)
{
    uint32_t count[512] = {0}, deepest = 0;

    for (size_t i = 0; i < k; i++)
        if (++count[best[i] % lanes] > deepest) deepest = count[best[i] % lanes];
    return deepest;
}

static void stop_depths_are_the_fullest_lane(void **state)
{
    enum { N = 8192, K = 64, ROWS = 50 };
    static float x[N];
    int64_t best[K], ids[K];
    (void)state;

    for (int row = 0; row < ROWS; row++) {
        vindex_topk_options o = VINDEX_TOPK_OPTIONS_INIT;
        vindex_topk_output out = VINDEX_TOPK_OUTPUT_INIT;
        uint32_t stop = 0;
        fill_pattern(&rng, row % 2 ? NORMAL : FEW_VALUES, 0, false, x, N);
        plain_best(0, x, N, K, false, 0, best);
        for (size_t l = 0; l < n_levels; l++) {
            o.algo = VINDEX_TOPK_DEPTH, o.rows = 1, o.len = N, o.k = K, o.lanes = 128;
            o.n_depths = 8; /* every depth is tried: the stop depth is the depth needed */
            for (uint32_t d = 0; d < 8; d++)
                o.depths[d] = d + 2;
            out.ids = ids, out.stop_depths = &stop;
            assert_int_equal(run_topk(&levels[l], &o, x, NULL, NULL, &out), VINDEX_OK);
            assert_memory_equal(ids, best, sizeof best);
            if (depth_needed(best, K, 128) < 9) assert_int_equal(stop, depth_needed(best, K, 128));
        }
    }
}

static void any_schedule_gives_the_same_answer(void **state)
{
    static const uint32_t schedules[][4] = {
        {1, 0}, {5, 8, 12, 0}, {2, 3, 60, 0}, {64, 0}, {100, 0}};
    static const uint32_t lanes[] = {1, 7, 16, 100, 128, 500};
    static float x[5000];
    int64_t best[64], ids[64];
    (void)state;

    for (int pattern = 0; pattern < N_PATTERNS; pattern++) {
        fill_pattern(&rng, (enum pattern)pattern, 0, true, x, COUNT(x));
        plain_best(0, x, COUNT(x), 64, true, 0, best);
        for (size_t s = 0; s < COUNT(schedules); s++)
            for (size_t i = 0; i < COUNT(lanes); i++) {
                vindex_topk_options o = VINDEX_TOPK_OPTIONS_INIT;
                vindex_topk_output out = VINDEX_TOPK_OUTPUT_INIT;
                o.algo = VINDEX_TOPK_DEPTH, o.flags = VINDEX_TOPK_MIN;
                o.rows = 1, o.len = COUNT(x), o.k = 64, o.lanes = lanes[i];
                o.cutoff = (uint32_t)(1 + i), o.rows_per_block = (uint32_t)(1 + 31 * (i % 2));
                while (schedules[s][o.n_depths])
                    o.depths[o.n_depths] = schedules[s][o.n_depths], o.n_depths++;
                out.ids = ids;
                assert_int_equal(run_topk(&levels[s % n_levels], &o, x, NULL, NULL, &out),
                                 VINDEX_OK);
                assert_memory_equal(ids, best, sizeof best);
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
        cmocka_unit_test(hand_placed_winners),
        cmocka_unit_test(partial_results_are_what_bins_keep),
        cmocka_unit_test(measured_recall_is_the_predicted),
        cmocka_unit_test(targets_are_reached_with_few_survivors),
        cmocka_unit_test(correlated_winners_need_strided_bins),
        cmocka_unit_test(auto_bins_only_where_they_are_cheaper),
        cmocka_unit_test(stop_depths_are_the_fullest_lane),
        cmocka_unit_test(any_schedule_gives_the_same_answer),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
