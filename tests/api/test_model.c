/*
 * test_model.c - random transactions beside a sorted array: after every commit, abort, optimize and reopening the
 * index holds the same rows and answers as brute force does.
 */
#include "common/cmocka.h"

#include <string.h>

#include "base/threads.h"
#include "common/model.h"

struct shape {
    const char *name;
    uint32_t type, metric, dim, seal_rows;
    int64_t id_span;
};

static const struct shape shapes[] = {
    {"float l2, sealed often", VINDEX_FLOAT, VINDEX_L2, 8, 40, 300},
    {"float ip, one row a segment", VINDEX_FLOAT, VINDEX_IP, 3, 1, 60},
    {"float cosine, rarely sealed", VINDEX_FLOAT, VINDEX_COSINE, 33, 4096, 2000},
    {"uint8 l2, dense ids", VINDEX_UINT8, VINDEX_L2, 17, 100, 150},
    {"int8 cosine", VINDEX_INT8, VINDEX_COSINE, 16, 64, 500},
    {"float16 ip", VINDEX_FLOAT16, VINDEX_IP, 12, 50, 300},
    {"bfloat16 l2", VINDEX_BFLOAT16, VINDEX_L2, 20, 50, 300},
    {"bits", VINDEX_BIT, VINDEX_HAMMING, 37, 30, 200},
};

static void one_transaction(struct model *model, vindex *index, struct rng *rng)
{
    vindex_writer *writer = NULL;
    struct model before;
    uint64_t seed = vindex__rng_next(rng);
    model_copy(&before, model);
    MODEL_CHECK(vindex_writer_begin(index, &writer) == VINDEX_OK);
    model_transaction(model, seed, writer);
    if (vindex__rng_below(rng, 5) == 0) {
        vindex_writer_abort(writer);
        model_free(model);
        *model = before;
    } else {
        MODEL_CHECK(vindex_writer_commit(writer) == VINDEX_OK);
        model_free(&before);
    }
}

static void run_shape(const struct shape *shape, const char *path, uint64_t seed, int n_transactions)
{
    struct model model;
    struct rng rng;
    vindex *index = NULL;
    int is_file = strcmp(path, ":memory:") != 0;
    vindex__rng_init(&rng, seed);
    model_init(&model, shape->type, shape->metric, shape->dim, shape->id_span);
    vindex_create_options options = model_options(&model, shape->seal_rows);
    if (is_file) model_unlink(path);
    MODEL_CHECK(vindex_create(path, &options, &index) == VINDEX_OK);
    model_compare(&model, index, 1);
    for (int i = 0; i < n_transactions; i++) {
        one_transaction(&model, index, &rng);
        uint64_t choice = vindex__rng_below(&rng, 20);
        if (choice == 0) MODEL_CHECK(vindex_optimize(index, 0, NULL, NULL) == VINDEX_OK);
        if (choice == 1)
            MODEL_CHECK(vindex_optimize(index, VINDEX_OPTIMIZE_ALL, NULL, NULL) == VINDEX_OK);
        if (choice == 2 && is_file) {
            vindex_close(index);
            MODEL_CHECK(vindex_open(path, 0, &index) == VINDEX_OK);
        }
        model_compare(&model, index, vindex__rng_next(&rng));
    }
    vindex_close(index);
    if (is_file) model_unlink(path);
    model_free(&model);
}

static void memory_agrees_with_the_model(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        run_shape(&shapes[i], ":memory:", seed + i, 150);
}

static void file_agrees_with_the_model(void **state)
{
    (void)state;
    char path[200];
    uint64_t seed = test_seed();
    model_path(path, sizeof path, "model");
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        run_shape(&shapes[i], path, seed + i, 40);
}

/* Everything at once: more rows than a segment holds, then all removed again. */
static void large_transactions_agree(void **state)
{
    (void)state;
    enum { N = 40000, DIM = 4 };
    float *rows = malloc(sizeof(float) * N * DIM);
    int64_t *ids = malloc(sizeof *ids * N);
    struct rng rng;
    vindex *index = NULL;
    vindex_writer *writer = NULL;
    vindex_stats stats = VINDEX_STATS_INIT;
    size_t removed = 0;
    vindex_create_options options = VINDEX_CREATE_OPTIONS_INIT;
    options.dim = DIM;
    assert_non_null(rows);
    assert_non_null(ids);
    vindex__rng_init(&rng, test_seed());
    for (int i = 0; i < N; i++) {
        ids[i] = (int64_t)i * 7919 % N; /* a permutation: 7919 and N have no common factor */
        for (int j = 0; j < DIM; j++)
            rows[i * DIM + j] = (float)vindex__rng_unit(&rng);
    }
    assert_int_equal(vindex_create(":memory:", &options, &index), VINDEX_OK);
    assert_int_equal(vindex_writer_begin(index, &writer), VINDEX_OK);
    assert_int_equal(vindex_writer_insert(writer, ids, &VINDEX_F32_ROWS(rows, N), 0), VINDEX_OK);
    assert_int_equal(vindex_writer_insert(writer, ids, &VINDEX_F32_ROWS(rows, N), 0), VINDEX_EXISTS);
    assert_int_equal(vindex_writer_remove(writer, ids, N / 2, &removed), VINDEX_OK);
    assert_int_equal(removed, N / 2);
    assert_int_equal(vindex_writer_commit(writer), VINDEX_OK);
    assert_int_equal(vindex_check(index, NULL, NULL), VINDEX_OK);
    assert_int_equal(vindex_stat(index, &stats), VINDEX_OK);
    assert_int_equal(stats.n_rows, N / 2);

    assert_int_equal(vindex_optimize(index, VINDEX_OPTIMIZE_ALL, NULL, NULL), VINDEX_OK);
    assert_int_equal(vindex_check(index, NULL, NULL), VINDEX_OK);
    assert_int_equal(vindex_stat(index, &stats), VINDEX_OK);
    assert_int_equal(stats.n_rows, N / 2);
    assert_int_equal(stats.n_dead, 0);
    assert_true(stats.n_segments <= 2);

    assert_int_equal(vindex_writer_begin(index, &writer), VINDEX_OK);
    assert_int_equal(vindex_writer_remove(writer, ids, N, &removed), VINDEX_OK);
    assert_int_equal(removed, N - N / 2);
    assert_int_equal(vindex_writer_commit(writer), VINDEX_OK);
    assert_int_equal(vindex_check(index, NULL, NULL), VINDEX_OK);
    assert_int_equal(vindex_stat(index, &stats), VINDEX_OK);
    assert_int_equal(stats.n_rows, 0);
    assert_int_equal(stats.n_segments, 0);
    vindex_close(index);
    free(rows);
    free(ids);
}

/* Ids that were inserted out of order make a run each; replacing them in order must not take quadratic time:
 * the limit is a hundred times what it takes. */
static void replacing_scattered_rows_is_not_quadratic(void **state)
{
    (void)state;
    enum { N = 50000 };
    float *rows = calloc(N, sizeof *rows);
    int64_t *ids = calloc(N, sizeof *ids);
    vindex *index = NULL;
    vindex_writer *writer = NULL;
    vindex_create_options options = VINDEX_CREATE_OPTIONS_INIT;
    options.dim = 1;
    assert_non_null(rows);
    assert_non_null(ids);
    assert_int_equal(vindex_create(":memory:", &options, &index), VINDEX_OK);
    for (int i = 0; i < N; i++)
        ids[i] = (int64_t)i * 7919 % N;
    int64_t start = vindex__now_ns();
    for (int round = 0; round < 3; round++) {
        assert_int_equal(vindex_writer_begin(index, &writer), VINDEX_OK);
        assert_int_equal(vindex_writer_insert(writer, ids, &VINDEX_F32_ROWS(rows, N), VINDEX_UPSERT),
                         VINDEX_OK);
        assert_int_equal(vindex_writer_insert(writer, ids, &VINDEX_F32_ROWS(rows, N), VINDEX_UPSERT),
                         VINDEX_OK);
        assert_int_equal(vindex_writer_commit(writer), VINDEX_OK);
        assert_int_equal(vindex_check(index, NULL, NULL), VINDEX_OK);
        for (int i = 0; i < N; i++)
            ids[i] = i;
    }
    assert_true(vindex__now_ns() - start < INT64_C(60000000000));
    vindex_close(index);
    free(rows);
    free(ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_agrees_with_the_model),
        cmocka_unit_test(file_agrees_with_the_model),
        cmocka_unit_test(large_transactions_agree),
        cmocka_unit_test(replacing_scattered_rows_is_not_quadratic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
