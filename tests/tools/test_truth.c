/*
 * test_truth.c - which hits count: ids, ties at the k-th place, repeated ids, missing rows.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tools/truth.h"

#define K 3

/* One dimension: the row's value is its distance from the query 0. Rows 2, 3 and 4 are level. */
static const float rows[] = {1, 2, 3, 3, 3, 3.000001f, 3.1f, 9};
static const float query[] = {0};
static const int64_t nearest[] = {0, 1, 2};

static vindex *index_handle;
static vindex_searcher *searcher;
static struct truth truth;

static int setup(void **state)
{
    vindex_create_options options = VINDEX_CREATE_OPTIONS_INIT;
    vindex_writer *writer = NULL;
    vindex_stats stats = VINDEX_STATS_INIT;
    struct fault fault;

    (void)state;
    options.dim = 1;
    return vindex_create(":memory:", &options, &index_handle) != VINDEX_OK ||
           vindex_writer_begin(index_handle, &writer) != VINDEX_OK ||
           vindex_writer_insert(writer, NULL, &VINDEX_F32_ROWS(rows, 8), 0) != VINDEX_OK ||
           vindex_writer_commit(writer) != VINDEX_OK ||
           vindex_searcher_open(index_handle, &searcher) != VINDEX_OK ||
           vindex_stat(index_handle, &stats) != VINDEX_OK ||
           truth_init(&truth, searcher, &stats, "memory", &fault) != VINDEX_OK;
}

static int teardown(void **state)
{
    (void)state;
    truth_deinit(&truth);
    vindex_searcher_close(searcher);
    vindex_close(index_handle);
    return 0;
}

static void test_what_counts(void **state)
{
    static const int64_t none = VINDEX_ID_NONE;
    const struct {
        const char *what;
        int64_t ids[K];
        size_t n_right;
    } cases[] = {
        {"the truth", {0, 1, 2}, 3},
        {"the truth in another order", {2, 0, 1}, 3},
        {"another row of the same score", {0, 1, 4}, 3},
        {"a score within 1e-6 relative", {0, 1, 5}, 3},
        {"a score beyond it", {0, 1, 6}, 2},
        {"a far row", {0, 7, 1}, 2},
        {"one id three times", {0, 0, 0}, 1},
        {"a level id twice", {0, 4, 4}, 2},
        {"three level rows, two of them for nearer ones", {2, 3, 4}, 3},
        {"too few hits", {0, none, none}, 1},
        {"no hits", {none, none, none}, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vindex_hit hits[K];
        struct fault fault = {0};
        size_t n_right = 99, n_true = 99;

        for (size_t j = 0; j < K; j++)
            hits[j] = (vindex_hit){.id = cases[i].ids[j]};
        if (truth_count(&truth, VINDEX_FLOAT, query, nearest, hits, K, &n_right, &n_true, &fault) !=
            VINDEX_OK) {
            fail_msg("%s", fault.text);
        }
        assert_int_equal(n_true, K);
        if (n_right != cases[i].n_right) fail_msg("%s: %zu", cases[i].what, n_right);
    }
    assert_int_equal(truth.n_nearer, 0);
}

static void test_a_short_truth(void **state)
{
    static const int64_t two[K] = {0, 1, -1}, nothing[K] = {-1, -1, -1};
    vindex_hit hits[K] = {{.id = 0}, {.id = 1}, {.id = 2}};
    struct fault fault;
    size_t n_right, n_true;

    (void)state;
    assert_int_equal(
        truth_count(&truth, VINDEX_FLOAT, query, two, hits, K, &n_right, &n_true, &fault),
        VINDEX_OK);
    assert_int_equal(n_true, 2);
    assert_int_equal(n_right, 2);
    assert_int_equal(
        truth_count(&truth, VINDEX_FLOAT, query, nothing, hits, K, &n_right, &n_true, &fault),
        VINDEX_OK);
    assert_int_equal(n_true, 0);
    assert_int_equal(n_right, 0);
}

static void test_a_wrong_truth_is_noticed(void **state)
{
    static const int64_t wrong[K] = {7, 6, 7}, missing[K] = {0, 1, 1000};
    vindex_hit hits[K] = {{.id = 0}, {.id = 1}, {.id = 2}};
    struct fault fault;
    size_t n_right, n_true;

    (void)state;
    truth.n_nearer = 0;
    assert_int_equal(
        truth_count(&truth, VINDEX_FLOAT, query, wrong, hits, K, &n_right, &n_true, &fault),
        VINDEX_OK);
    assert_int_equal(truth.n_nearer, 3);
    assert_int_equal(
        truth_count(&truth, VINDEX_FLOAT, query, missing, hits, K, &n_right, &n_true, &fault),
        VINDEX_INVALID);
}

static void test_scores(void **state)
{
    static const float a[] = {1, 2, 2}, b[] = {4, 6, 2}, zero[] = {0, 0, 0};
    static const uint8_t bytes_a[] = {1, 2, 2}, bits_a[] = {0xff, 1}, bits_b[] = {0x0f, 0};

    (void)state;
    assert_float_equal(truth_score(VINDEX_L2, 3, VINDEX_FLOAT, a, VINDEX_FLOAT, b), 5, 0);
    assert_float_equal(truth_score(VINDEX_IP, 3, VINDEX_FLOAT, a, VINDEX_FLOAT, b), -20, 0);
    assert_float_equal(truth_score(VINDEX_COSINE, 3, VINDEX_FLOAT, a, VINDEX_FLOAT, b),
                       1 - 20 / (3 * sqrt(56)), 1e-15);
    assert_float_equal(truth_score(VINDEX_COSINE, 3, VINDEX_FLOAT, a, VINDEX_FLOAT, zero), 1, 0);
    assert_float_equal(truth_score(VINDEX_L2, 3, VINDEX_FLOAT, b, VINDEX_UINT8, bytes_a), 5, 0);
    assert_float_equal(truth_score(VINDEX_HAMMING, 9, VINDEX_BIT, bits_a, VINDEX_BIT, bits_b), 5,
                       0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_counts),
        cmocka_unit_test(test_a_short_truth),
        cmocka_unit_test(test_a_wrong_truth_is_noticed),
        cmocka_unit_test(test_scores),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
