/*
 * test_maths.c - the formulas against published and independently computed numbers: XLA's sizes, exact
 * and limiting recall, the bounds, the least bins, the notebook's 64 termination probabilities.
 */
#include "common/cmocka.h"

#include <math.h>
#include <string.h>

#include "base/random.h"
#include "vindex_topk.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- XLA's output size ------------------------------------------------------------------------- */

struct xla_case {
    int64_t n;
    uint32_t rank;
    int64_t k;
    float recall;
    int64_t override_n, size; /* size -1: refused */
    int32_t log2_reduction;
    double expected; /* recall of that plan; 0: not given */
};

static const struct xla_case xla_cases[] = {
    {100, 2, 10, 0.95f, -1, 100, 0, 1},
    {128, 2, 10, 0.95f, -1, 128, 0, 1},
    {129, 2, 10, 0.95f, -1, 129, 0, 1},
    {500, 2, 1, 0.95f, -1, 128, 2, 1},
    {500, 2, 10, 0.95f, -1, 256, 1, 0.9912},
    {1000, 2, 10, 0.95f, -1, 256, 2, 0.9869},
    {1024, 2, 10, 0.95f, -1, 256, 2, 0.9869},
    {1024, 2, 64, 0.95f, -1, 1024, 0, 1},
    {2048, 2, 10, 0.90f, -1, 128, 4, 0.9676},
    {3000, 2, 1, 0.95f, -1, 128, 5, 1},
    {3000, 2, 10, 0.95f, -1, 256, 4, 0.9818},
    {3000, 2, 50, 0.95f, -1, 1536, 1, 0.9920},
    {3000, 2, 50, 0.90f, -1, 768, 2, 0.9763},
    {10000, 2, 50, 0.95f, -1, 1280, 3, 0.9834},
    {16384, 2, 64, 0.95f, -1, 2048, 3, 0.9866},
    {65536, 2, 64, 0.95f, -1, 2048, 5, 0.9852},
    {65536, 2, 2048, 0.95f, -1, 65536, 0, 1},
    {131072, 2, 2048, 0.95f, -1, 65536, 1, 0.9922},
    {201088, 2, 64, 0.95f, -1, 1664, 7, 0.9807},
    {262144, 2, 1024, 0.95f, -1, 32768, 3, 0.9864},
    {262144, 2, 1024, 0.99f, -1, 131072, 1, 0.9980},
    {1000000, 2, 1, 0.95f, -1, 128, 13, 1},
    {1000000, 2, 10, 0.50f, -1, 256, 12, 0.9826},
    {1000000, 2, 10, 0.95f, -1, 256, 12, 0.9826},
    {1000000, 2, 10, 0.99f, -1, 1024, 10, 0.9955},
    {1000000, 2, 10, 1.00f, -1, 1000000, 0, 1},
    {1000000, 2, 100, 0.95f, -1, 2048, 9, 0.9754},
    {1000000, 2, 100, 0.999f, -1, 125056, 3, 0.9997},
    {1000000, 2, 1000, 0.95f, -1, 31360, 5, 0.9847},
    {1000000, 1, 10, 0.95f, -1, 2048, 9, 0},
    {1024, 1, 4, 0.95f, -1, 1024, 0, 1},
    {2048, 1, 4, 0.95f, -1, 1024, 1, 0},
    {2147483653, 2, 10, 0.95f, -1, 384, 23, 0},
    {10000000, 2, 100, 0.95f, -1, 2560, 12, 0.9801},
    {1000000000, 2, 100, 0.95f, -1, 3840, 18, 0.9872},
    {1024, 2, 10, 0.90f, 2048, 128, 3, 0},
    {1024, 2, 1, 0.90f, 2048, 128, 4, 0},
    {65536, 2, 10, 0.95f, 1000000, 128, 9, 0},
    {4096, 2, 100, 0.95f, 1048576, 128, 5, 0},
    {1000, 2, 10, 0.95f, 500, -1, 0, 0},
};

static void xla_sizes_are_reproduced(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(xla_cases); i++) {
        const struct xla_case *c = &xla_cases[i];
        int64_t size = -2, aggregated = -2;
        int32_t log2 = -2, none = -2;
        vindex_status st =
            vindex_topk_xla_size(c->n, c->rank, c->k, c->recall, 0, c->override_n, &size, &log2);
        vindex_status same = vindex_topk_xla_size(c->n, c->rank, c->k, c->recall, 1, c->override_n,
                                                  &aggregated, &none);
        assert_int_equal(st, c->size < 0 ? VINDEX_INVALID : VINDEX_OK);
        assert_int_equal(same, st);
        if (st != VINDEX_OK) continue;
        if (size != c->size || log2 != c->log2_reduction)
            fail_msg("n %lld k %lld: (%lld, %d), expected (%lld, %d)", (long long)c->n,
                     (long long)c->k, (long long)size, log2, (long long)c->size, c->log2_reduction);
        assert_int_equal(aggregated, c->k < c->size ? c->k : c->size);
        assert_int_equal(none, -1);
    }
}

/* Of k winners in n, the chance that a bin of `size` elements has one. */
static double chance_of_a_winner(double n, double k, double size)
{
    double none = 0;

    for (double i = 0; i < k; i++)
        none += log1p(-size / (n - i));
    return n - size < k ? 1 : -expm1(none);
}

/* XLA folds runs of 2^log2 tiles onto one: all its bins have 2^log2 elements but those of the last run. */
static double recall_of_folding(const struct xla_case *c)
{
    const int64_t tile = 128, run = tile << c->log2_reduction;
    double kept = 0;

    for (int64_t first = 0; first < c->n; first += run)
        for (int64_t lane = 0; lane < tile && first + lane < c->n; lane++) {
            const int64_t end = first + run < c->n ? first + run : c->n;
            const double size = (double)((end - first - lane + tile - 1) / tile);
            kept += chance_of_a_winner((double)c->n, (double)c->k, size);
        }
    return kept / (double)c->k;
}

static void recall_of_xla_plans_is_the_table_s(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(xla_cases); i++) {
        const struct xla_case *c = &xla_cases[i];
        if (c->expected == 0) continue;
        const double folded = recall_of_folding(c);
        const double ours = vindex_topk_recall(c->n, c->k, c->size, 1);
        if (fabs(folded - c->expected) > 5.001e-5)
            fail_msg("n %lld k %lld bins %lld: recall %.6f, expected %.4f", (long long)c->n,
                     (long long)c->k, (long long)c->size, folded, c->expected);
        /* As many strided bins are more even, so they keep no less; the same where XLA's are even. */
        assert_true(ours >= folded - 1e-9);
        if (c->n % ((int64_t)128 << c->log2_reduction) == 0)
            assert_true(fabs(ours - folded) < 1e-9);
    }
}

static void xla_quirks_are_not_inherited(void **state)
{
    int64_t size;
    int32_t log2;
    (void)state;

    /* More outputs than inputs upstream: (256, 0). */
    assert_int_equal(vindex_topk_xla_size(129, 2, 2, .5f, 0, 1 << 30, &size, &log2), VINDEX_OK);
    assert_int_equal(size, 129);
    assert_int_equal(log2, 0);
    /* Fewer than k upstream: (256, 12), (256, 1), (128, 3). */
    vindex_topk_xla_size(1000000, 2, 1000, .01f, 0, -1, &size, &log2);
    assert_int_equal(size, 1000);
    vindex_topk_xla_size(300, 2, 280, .95f, 0, 1 << 30, &size, &log2);
    assert_int_equal(size, 280);
    vindex_topk_xla_size(1000, 2, 900, .95f, 0, 1 << 20, &size, &log2);
    assert_int_equal(size, 900);
    /* recall not looked at for k = 1 upstream. */
    static const float bad[] = {0, -1, 1.5f, NAN, INFINITY};
    for (size_t i = 0; i < COUNT(bad); i++)
        for (int64_t k = 1; k < 3; k++)
            assert_int_equal(vindex_topk_xla_size(1000, 2, k, bad[i], 0, -1, &size, &log2),
                             VINDEX_INVALID);
}

/* ---- recall ------------------------------------------------------------------------------------ */

static const struct {
    int64_t n, k, bins, per_bin;
    double exact, binomial, chern, bound;
} recalls[] = {
    {262144, 1024, 65536, 1, 0.994162, 0.992236, 0.984511, 0.994146},
    {262144, 1024, 16384, 1, 0.971257, 0.969420, 0.939469, 0.970732},
    {262144, 1024, 1024, 3, 0.977110, 0.976753, -1, 0.958577},
    {262144, 1024, 512, 4, 0.962957, 0.962606, -1, 0.867964},
    {1000000, 10, 128, 1, 0.965575, 0.965566, 0.931845, 0.964848},
    {1000000, 10, 256, 1, 0.982610, 0.982604, 0.965388, 0.982426},
    {1000000, 100, 2048, 1, 0.976285, 0.976211, 0.952799, 0.975880},
    {1000000, 100, 256, 2, 0.979532, 0.979516, -1, 0.975327},
    {1000000, 100, 128, 3, 0.987963, 0.987954, -1, 0.981302},
    {16384, 64, 128, 2, 0.969101, 0.968529, -1, 0.960266},
    {131072, 2048, 4096, 2, 0.969739, 0.967384, -1, 0.958394},
};

static void recalls_and_bounds_are_the_table_s(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(recalls); i++) {
        const int64_t n = recalls[i].n, k = recalls[i].k, b = recalls[i].bins,
                      p = recalls[i].per_bin;
        /* The table divides bins of n / b rounded down; ours have their true sizes (counted below). */
        assert_true(fabs(vindex_topk_recall(n, k, b, p) - recalls[i].exact) <
                    (n % b ? 3e-5 : 6e-7));
        assert_true(fabs(vindex_topk_recall_binomial(k, b, p) - recalls[i].binomial) < 6e-7);
        if (recalls[i].chern > 0)
            assert_true(fabs(vindex_topk_recall_chern(k, b) - recalls[i].chern) < 6e-7);
        /* For one a bin the table has the form without n, or with it: ours is at least as tight. */
        assert_true(vindex_topk_recall_bound(n, k, b, p) >= recalls[i].bound - 2e-5);
        assert_true(vindex_topk_recall_bound(n, k, b, p) <= vindex_topk_recall(n, k, b, p) + 1e-12);
    }
}

/* The published form of the binomial recall: the j-th best survives if fewer than per_bin better ones
 * share its bin. Summed plainly, for small k. */
static double survival_form(int k, double bins, int per_bin)
{
    double kept = per_bin < k ? per_bin : k;

    for (int j = per_bin; j < k; j++) {
        double term = pow(1 - 1 / bins, j), cdf = 0;
        for (int x = 0; x < per_bin; x++) {
            cdf += term;
            term *= (j - x) / ((x + 1) * (bins - 1));
        }
        kept += cdf;
    }
    return kept / k;
}

static void both_published_forms_agree(void **state)
{
    (void)state;
    assert_true(fabs(vindex_topk_recall_binomial(64, 128, 2) - 0.9685285782) < 1e-10);
    for (int k = 1; k < 200; k += 7)
        for (int bins = 2; bins < 300; bins += 13)
            for (int p = 1; p < 9; p++)
                assert_true(fabs(vindex_topk_recall_binomial(k, bins, p) -
                                 survival_form(k, bins, p)) < 1e-12);
    assert_true(fabs(vindex_topk_recall_binomial(1000000, 1000000, 1) - (1 - exp(-1))) < 1e-6);
}

/* Every set of k positions of n, counted. */
static void recall_is_the_count_over_all_sets(void **state)
{
    (void)state;
    for (int n = 1; n <= 12; n++)
        for (int k = 1; k <= n; k++)
            for (int bins = 1; bins <= n + 1; bins++)
                for (int per_bin = 1; per_bin <= 3; per_bin++) {
                    double kept = 0, sets = 0;
                    for (unsigned set = 0; set < 1u << n; set++) {
                        int in_bin[16] = {0};
                        if (__builtin_popcount(set) != k) continue;
                        sets++;
                        for (int i = 0; i < n; i++)
                            if (set >> i & 1) kept += in_bin[i % bins]++ < per_bin;
                    }
                    assert_true(fabs(vindex_topk_recall(n, k, bins, per_bin) - kept / (sets * k)) <
                                1e-13);
                }
}

static void recall_at_the_ends(void **state)
{
    (void)state;
    assert_true(vindex_topk_recall(100, 10, 100, 1) == 1);
    assert_true(vindex_topk_recall(100, 10, 1, 10) == 1);
    assert_true(fabs(vindex_topk_recall(100, 10, 1, 1) - .1) < 1e-15);
    assert_true(vindex_topk_recall(100, 1, 1, 1) == 1);
    assert_true(isnan(vindex_topk_recall(100, 101, 1, 1)));
    assert_true(isnan(vindex_topk_recall(100, 1, 0, 1)));
    assert_true(isnan(vindex_topk_recall_binomial(0, 1, 1)));
    /* Rows longer than an int, k far apart from them: the limit is reached. */
    assert_true(fabs(vindex_topk_recall((int64_t)1 << 40, 1000, 4096, 2) -
                     vindex_topk_recall_binomial(1000, 4096, 2)) < 1e-9);
}

static const struct {
    int64_t k;
    double recall;
    int64_t per_bin, bins;
} least[] = {
    {10, 0.95, 1, 96},      {10, 0.95, 2, 16},      {10, 0.95, 3, 16},      {10, 0.95, 4, 16},
    {10, 0.99, 1, 448},     {10, 0.99, 2, 48},      {10, 0.99, 3, 16},      {10, 0.99, 4, 16},
    {64, 0.95, 1, 624},     {64, 0.95, 2, 112},     {64, 0.95, 3, 48},      {64, 0.95, 4, 32},
    {64, 0.95, 5, 32},      {64, 0.95, 6, 16},      {64, 0.95, 8, 16},      {64, 0.999, 1, 31488},
    {64, 0.999, 2, 800},    {64, 0.999, 3, 208},    {64, 0.999, 4, 96},     {64, 0.999, 5, 64},
    {64, 0.999, 6, 48},     {64, 0.999, 8, 32},     {100, 0.95, 1, 960},    {100, 0.95, 2, 160},
    {100, 0.95, 3, 80},     {100, 0.95, 4, 48},     {100, 0.95, 5, 32},     {100, 0.95, 6, 32},
    {100, 0.95, 8, 32},     {100, 0.99, 1, 4928},   {100, 0.99, 2, 384},    {100, 0.99, 3, 144},
    {100, 0.99, 4, 80},     {100, 0.99, 5, 64},     {100, 0.99, 6, 48},     {100, 0.99, 8, 32},
    {100, 0.999, 1, 49472}, {100, 0.999, 2, 1248},  {100, 0.999, 3, 336},   {100, 0.999, 4, 160},
    {100, 0.999, 5, 96},    {100, 0.999, 6, 64},    {100, 0.999, 8, 48},    {1000, 0.95, 1, 9664},
    {1000, 0.95, 2, 1568},  {1000, 0.95, 3, 736},   {1000, 0.95, 4, 464},   {1000, 0.95, 5, 336},
    {1000, 0.95, 6, 256},   {1000, 0.95, 8, 176},   {1000, 0.99, 1, 49632}, {1000, 0.99, 2, 3824},
    {1000, 0.99, 3, 1408},  {1000, 0.99, 4, 784},   {1000, 0.99, 5, 528},   {1000, 0.99, 6, 384},
    {1000, 0.99, 8, 256},   {1024, 0.99, 1, 50816}, {1024, 0.99, 2, 3920},  {1024, 0.99, 3, 1440},
    {1024, 0.99, 4, 800},   {1024, 0.99, 5, 528},   {1024, 0.99, 6, 400},   {1024, 0.99, 8, 256},
    {2048, 0.95, 1, 19792}, {2048, 0.95, 2, 3216},  {2048, 0.95, 3, 1488},  {2048, 0.95, 4, 928},
    {2048, 0.95, 5, 672},   {2048, 0.95, 6, 512},   {2048, 0.95, 8, 352},
};

static void least_bins_are_the_table_s(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(least); i++) {
        int64_t bins = 0;
        assert_int_equal(
            vindex_topk_least_bins(least[i].k, least[i].recall, least[i].per_bin, 16, &bins),
            VINDEX_OK);
        if (bins != least[i].bins)
            fail_msg("k %lld recall %g, %lld a bin: %lld bins, expected %lld",
                     (long long)least[i].k, least[i].recall, (long long)least[i].per_bin,
                     (long long)bins, (long long)least[i].bins);
    }
}

static void planned_bins_reach_the_target(void **state)
{
    static const double targets[] = {.3, .8, .9, .95, .99, .999};
    (void)state;

    for (int64_t n = 100; n < 2000000; n = n * 3 + 1)
        for (int64_t k = 1; k <= n; k = k * 3 + 1)
            for (size_t i = 0; i < COUNT(targets); i++) {
                int64_t bins, per_bin;
                assert_int_equal(vindex_topk_plan_bins(n, k, targets[i], &bins, &per_bin),
                                 VINDEX_OK);
                if (bins == 0) continue;
                assert_true(bins * per_bin >= k && bins * per_bin <= n && per_bin <= 8);
                assert_true(vindex_topk_recall(n, k, bins, per_bin) >= targets[i]);
            }
}

/* ---- depths ------------------------------------------------------------------------------------ */

/* Written in the notebook beside compute_termination_probabilities(k=64, num_lanes=128). */
static const double notebook[64] = {
    4.1812404072740824e-09, 0.13436890728003542,     0.673656436392413,
    0.17274256944422797,    0.01775253655062719,     0.0013838922281360039,
    9.032679548553634e-05,  5.067660246625492e-06,   2.4828455416721553e-07,
    1.075248105864657e-08,  4.156291895201961e-10,   1.4454295961378757e-11,
    4.552534161066638e-13,  1.3058450068301742e-14,  3.427414716089682e-16,
    8.264927218917032e-18,  1.8375011880871763e-19,  3.77788958180651e-21,
    7.201944499092436e-23,  1.2759350490518157e-24,  2.1050297022227087e-26,
    3.239666327687077e-28,  4.658198759426817e-30,   6.265949774819566e-32,
    7.894109952528496e-34,  9.323751912435309e-36,   1.0332533469598683e-37,
    1.0750948773204598e-39, 1.0508665648530184e-41,  9.653629860854444e-44,
    8.33689142161678e-46,   6.769621479167146e-48,   5.168883019168442e-50,
    3.710870161978265e-52,  2.5045242937986133e-54,  1.5886090227506496e-56,
    9.466067809537837e-59,  5.295976602932471e-61,   2.7800402115131096e-63,
    1.368130025350939e-65,  6.305957481932515e-68,   2.719104276048889e-70,
    1.0954091571704027e-72, 4.116605637182969e-75,   1.4406318940272857e-77,
    4.6853827433273565e-80, 1.412914883228222e-82,   3.9402153895800056e-85,
    1.0130716090837228e-87, 2.393082541142658e-90,   5.1726347963559024e-93,
    1.0182351961330517e-95, 1.81530565348338e-98,    2.9116888580223354e-101,
    4.168487985715583e-104, 5.275083221518592e-107,  5.82962643626865e-110,
    5.53996538879725e-113,  4.43611268287515e-116,   2.9108350937500984e-119,
    1.502948286433509e-122, 5.7262444238005166e-126, 1.431382183177232e-129,
    1.761050914342067e-133,
};

static void termination_probabilities_are_the_notebook_s(void **state)
{
    double sum = 0;
    (void)state;

    for (int m = 1; m <= 64; m++) {
        double p = vindex_topk_depth_pmf(64, 128, m);
        if (!(fabs(p / notebook[m - 1] - 1) <= 1e-12))
            fail_msg("P(D = %d) is %.17g, the notebook has %.17g", m, p, notebook[m - 1]);
        sum += p;
        assert_true(fabs(vindex_topk_depth_cdf(64, 128, m) - sum) < 1e-13);
    }
    assert_true(vindex_topk_depth_pmf(64, 128, 0) == 0 && vindex_topk_depth_pmf(64, 128, 65) == 0);
}

/* The notebook's own recursion, another way to the same numbers: states are the counts of lanes with at
 * least 1, 2, ... balls. Here as all ways to place k balls in a few lanes. */
static void depths_are_the_count_over_all_placements(void **state)
{
    (void)state;
    for (int lanes = 1; lanes <= 4; lanes++)
        for (int k = 1; k <= 8; k++) {
            double ways[9] = {0}, all = pow(lanes, k);
            for (int code = 0; code < (int)all; code++) {
                int count[4] = {0}, deepest = 0, rest = code;
                for (int ball = 0; ball < k; ball++, rest /= lanes)
                    if (++count[rest % lanes] > deepest) deepest = count[rest % lanes];
                ways[deepest]++;
            }
            for (int m = 0; m <= k; m++)
                assert_true(fabs(vindex_topk_depth_pmf(k, lanes, m) - ways[m] / all) < 1e-14);
        }
}

static const struct {
    int64_t k, lanes;
    int64_t depth[3]; /* that 50 %, 99 % and 99.99 % of rows need */
} depths[] = {
    {5, 16, {2, 3, 4}},        {5, 32, {1, 2, 4}},        {5, 64, {1, 2, 3}},
    {5, 128, {1, 2, 3}},       {5, 256, {1, 2, 3}},       {5, 512, {1, 2, 2}},
    {5, 1024, {1, 1, 2}},      {10, 16, {2, 4, 6}},       {10, 32, {2, 3, 5}},
    {10, 64, {2, 3, 4}},       {10, 128, {1, 2, 3}},      {10, 256, {1, 2, 3}},
    {10, 512, {1, 2, 3}},      {10, 1024, {1, 2, 3}},     {32, 16, {5, 8, 10}},
    {32, 32, {3, 6, 8}},       {32, 64, {3, 4, 6}},       {32, 128, {2, 4, 5}},
    {32, 256, {2, 3, 4}},      {32, 512, {2, 3, 4}},      {32, 1024, {1, 2, 3}},
    {64, 16, {8, 11, 15}},     {64, 32, {5, 8, 11}},      {64, 64, {4, 6, 8}},
    {64, 128, {3, 5, 6}},      {64, 256, {2, 4, 5}},      {64, 512, {2, 3, 5}},
    {64, 1024, {2, 3, 4}},     {100, 16, {11, 15, 19}},   {100, 32, {7, 10, 13}},
    {100, 64, {5, 8, 10}},     {100, 128, {4, 6, 8}},     {100, 256, {3, 5, 6}},
    {100, 512, {2, 4, 5}},     {100, 1024, {2, 3, 4}},    {256, 16, {23, 30, 35}},
    {256, 32, {14, 19, 23}},   {256, 64, {9, 13, 16}},    {256, 128, {6, 9, 12}},
    {256, 256, {5, 7, 9}},     {256, 512, {4, 5, 7}},     {256, 1024, {3, 4, 6}},
    {1000, 16, {76, 89, 98}},  {1000, 32, {43, 52, 59}},  {1000, 64, {25, 32, 37}},
    {1000, 128, {16, 20, 24}}, {1000, 256, {10, 14, 17}}, {1000, 512, {7, 10, 12}},
    {1000, 1024, {5, 7, 9}},
};

static void depths_needed_are_the_table_s(void **state)
{
    static const double chances[3] = {.5, .99, .9999};
    (void)state;

    for (size_t i = 0; i < COUNT(depths); i++)
        for (int j = 0; j < 3; j++) {
            const int64_t m = depths[i].depth[j];
            assert_true(vindex_topk_depth_cdf(depths[i].k, depths[i].lanes, m) >= chances[j]);
            assert_true(vindex_topk_depth_cdf(depths[i].k, depths[i].lanes, m - 1) < chances[j]);
        }
    /* tallax: 256 bins, top 128. */
    assert_true(fabs(vindex_topk_depth_cdf(128, 256, 4) - .9594) < 5e-5);
    assert_true(fabs(vindex_topk_depth_cdf(128, 256, 8) - .99999932) < 5e-9);
    assert_true(fabs(pow(vindex_topk_depth_cdf(64, 128, 4), 32) - 0.537180238) < 1e-9);
}

static void schedules_ascend_and_prove(void **state)
{
    (void)state;
    for (int64_t k = 0; k < 100000; k = k * 2 + 1)
        for (int64_t lanes = 1; lanes <= 4096; lanes *= 8) {
            uint32_t schedule[8] = {0}, n = 9;
            assert_int_equal(vindex_topk_depth_schedule(k, lanes, 32, schedule, &n), VINDEX_OK);
            assert_true(n <= 3);
            for (uint32_t i = 0; i < n; i++) {
                assert_true(schedule[i] >= 2 && schedule[i] <= k);
                assert_true(i == 0 || schedule[i] > schedule[i - 1]);
            }
        }
    uint32_t schedule[8], n;
    vindex_topk_depth_schedule(64, 128, 1, schedule, &n);
    assert_int_equal(schedule[0], 4); /* P(D <= 3) = .808: the fourth entry proves it */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(xla_sizes_are_reproduced),
        cmocka_unit_test(recall_of_xla_plans_is_the_table_s),
        cmocka_unit_test(xla_quirks_are_not_inherited),
        cmocka_unit_test(recalls_and_bounds_are_the_table_s),
        cmocka_unit_test(both_published_forms_agree),
        cmocka_unit_test(recall_is_the_count_over_all_sets),
        cmocka_unit_test(recall_at_the_ends),
        cmocka_unit_test(least_bins_are_the_table_s),
        cmocka_unit_test(planned_bins_reach_the_target),
        cmocka_unit_test(termination_probabilities_are_the_notebook_s),
        cmocka_unit_test(depths_are_the_count_over_all_placements),
        cmocka_unit_test(depths_needed_are_the_table_s),
        cmocka_unit_test(schedules_ascend_and_prove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
