/*
 * test_twins.c - approx_max_k, approx_min_k, gather, scatter, select_k against the acceptance cases of
 * the libraries they are twins of: JAX's ann_test, TensorFlow's approx_topk_test, MaxText's indexer test,
 * cuVS's select_k tests. Recall is measured and must reach the target itself.
 */
#include "common/cmocka.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "topk/helper_topk.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static struct rng rng;
static const uint32_t floats[] = {VINDEX_TOPK_F32, VINDEX_TOPK_F16, VINDEX_TOPK_BF16,
                                  VINDEX_TOPK_F64};

/* ---- approx_max_k, approx_min_k ----------------------------------------------------------------- */

/* An operand and its answer. */
struct approx_case {
    vindex_approx_args args;
    unsigned char *x, *values;
    int64_t *positions;
    int64_t out_dim, outer, len, inner;
    bool is_min;
};

static void run_case(struct approx_case *c)
{
    const int32_t axis = c->args.reduction_dimension < 0
                             ? c->args.reduction_dimension + (int32_t)c->args.rank
                             : c->args.reduction_dimension;
    const size_t size = type_bytes(c->args.type);
    uint64_t bytes;
    void *workspace;

    c->outer = c->inner = 1;
    for (int32_t i = 0; i < (int32_t)c->args.rank; i++)
        *(i < axis   ? &c->outer
          : i > axis ? &c->inner
                     : &c->len) =
            i == axis ? c->args.shape[i] : c->args.shape[i] * (i < axis ? c->outer : c->inner);
    assert_int_equal(vindex_approx_plan(&c->args, &c->out_dim, &bytes), VINDEX_OK);
    assert_true(c->out_dim >= c->args.k && c->out_dim <= c->len);
    c->values = malloc((size_t)(c->outer * c->out_dim * c->inner) * size);
    c->positions = malloc((size_t)(c->outer * c->out_dim * c->inner) * 8);
    workspace = malloc(bytes);
    assert_int_equal((c->is_min ? vindex_approx_min_k : vindex_approx_max_k)(
                         &c->args, c->x, c->values, c->positions, workspace, bytes),
                     VINDEX_OK);
    free(workspace);
}

static void free_case(struct approx_case *c)
{
    free(c->values), free(c->positions);
}

/* Shares of the true k best that were returned, over all rows; values belong to their positions. */
static double recall_of(const struct approx_case *c)
{
    const size_t size = type_bytes(c->args.type);
    unsigned char *row = malloc((size_t)c->len * size);
    int64_t *best = malloc((size_t)c->len * 8), found = 0;

    for (int64_t o = 0; o < c->outer; o++)
        for (int64_t i = 0; i < c->inner; i++) {
            for (int64_t j = 0; j < c->len; j++)
                memcpy(row + (size_t)j * size,
                       c->x + (size_t)((o * c->len + j) * c->inner + i) * size, size);
            plain_best(c->args.type, row, (size_t)c->len, (size_t)c->args.k, c->is_min, 0, best);
            for (int64_t j = 0; j < c->out_dim; j++) {
                const int64_t at = (o * c->out_dim + j) * c->inner + i, p = c->positions[at];
                if (p < 0) continue;
                assert_memory_equal(c->values + (size_t)at * size, row + (size_t)p * size, size);
                for (int64_t b = 0; b < c->args.k; b++)
                    found += best[b] == p;
            }
        }
    free(row), free(best);
    return (double)found / (double)(c->outer * c->inner * c->args.k);
}

static double run_recall(uint32_t type, const int64_t *shape, uint32_t rank, int32_t axis,
                         int64_t k, float target, bool is_min, bool aggregate)
{
    struct approx_case c = {.args = VINDEX_APPROX_ARGS_INIT, .is_min = is_min};
    size_t n = 1;
    double recall;

    for (uint32_t i = 0; i < rank; i++)
        n *= (size_t)shape[i];
    c.args.type = type, c.args.shape = shape, c.args.rank = rank, c.args.k = k;
    c.args.reduction_dimension = axis, c.args.recall_target = target;
    c.args.aggregate_to_topk = aggregate;
    c.x = malloc(n * type_bytes(type));
    for (size_t i = 0; i < n; i++)
        set_element(type, c.x, i, normal(&rng));
    run_case(&c);
    if (aggregate) assert_int_equal(c.out_dim, k);
    recall = recall_of(&c);
    free_case(&c);
    free(c.x);
    return recall;
}

/* JAX: queries (200, 128) and (128, 128) times bases (128, 500) and (128, 3000). The sum of 128 products
 * of normals is normal enough: what counts is shape, k and type. */
static void jax_scores(void **state)
{
    static const int64_t shapes[][2] = {{200, 500}, {128, 500}, {200, 3000}, {128, 3000}};
    static const int64_t ks[] = {1, 10, 50};
    static const float targets[] = {.9f, .95f};
    (void)state;

    for (size_t s = 0; s < COUNT(shapes); s++)
        for (size_t k = 0; k < COUNT(ks); k++)
            for (size_t t = 0; t < COUNT(targets); t++)
                for (int way = 0; way < 4; way++)
                    assert_true(run_recall(floats[(s + k + t) % 4], shapes[s], 2, -1, ks[k],
                                           targets[t], way & 1, way & 2) >= (double)targets[t]);
}

static void jax_harness_and_tensorflow_shapes(void **state)
{
    static const int64_t one[] = {32}, two[] = {2048}, mips[] = {128, 500},
                         deep[] = {2, 10, 200, 3};
    static const int64_t maxtext[] = {4, 16, 1024}, batch[] = {3, 8, 32}, vmap[] = {128, 1024, 8};
    (void)state;

    for (size_t t = 0; t < COUNT(floats); t++)
        for (int way = 0; way < 4; way++) {
            const bool is_min = way & 1, aggregate = way & 2;
            assert_true(run_recall(floats[t], one, 1, -1, 4, .95f, is_min, aggregate) == 1);
            assert_true(run_recall(floats[t], two, 1, 0, 4, .95f, is_min, aggregate) >= .95 ||
                        !aggregate);
            assert_true(run_recall(floats[t], mips, 2, 1, 10, .95f, is_min, aggregate) >= .95);
            assert_true(run_recall(floats[t], deep, 4, 2, 5, .95f, is_min, aggregate) >= .95);
            assert_true(run_recall(floats[t], maxtext, 3, 2, 64, .95f, is_min, aggregate) >= .95);
            assert_true(run_recall(floats[t], batch, 3, 1, 4, .95f, is_min, aggregate) >= .95);
            assert_true(run_recall(floats[t], vmap, 3, 1, 10, .95f, is_min, aggregate) >= .95);
        }
}

/* JAX's pmap: shards of a base of 2048, partial results with the override, put together. */
static void shards_make_up_the_whole(void **state)
{
    enum { N = 2048, ROWS = 128, SHARDS = 8, LEN = N / SHARDS };
    static float all[ROWS][N], part[ROWS * LEN];
    int64_t shape[] = {ROWS, LEN}, best[10];
    (void)state;

    for (int64_t k = 1; k <= 10; k += 9)
        for (int t = 0; t < 2; t++) {
            const float target = t ? .95f : .9f;
            double found = 0;
            for (int r = 0; r < ROWS; r++)
                for (int i = 0; i < N; i++)
                    all[r][i] = (float)normal(&rng);
            for (int shard = 0; shard < SHARDS; shard++) {
                struct approx_case c = {.args = VINDEX_APPROX_ARGS_INIT, .is_min = true};
                for (int r = 0; r < ROWS; r++)
                    memcpy(part + r * LEN, all[r] + shard * LEN, LEN * sizeof *part);
                c.args.shape = shape, c.args.rank = 2, c.args.k = k, c.args.recall_target = target;
                c.args.reduction_input_size_override = N, c.args.aggregate_to_topk = 0;
                c.x = (unsigned char *)part;
                run_case(&c);
                for (int r = 0; r < ROWS;
                     r++) { /* sorting the union finds what of the best is in it */
                    plain_best(0, all[r], N, (size_t)k, true, 0, best);
                    for (int64_t j = 0; j < c.out_dim; j++)
                        for (int64_t b = 0; b < k; b++)
                            found += c.positions[r * c.out_dim + j] >= 0 &&
                                     best[b] == shard * LEN + c.positions[r * c.out_dim + j];
                }
                free_case(&c);
            }
            assert_true(found / (double)(ROWS * k) > (double)target);
        }
}

static void jax_arguments_are_checked(void **state)
{
    const int64_t shape[] = {4, 100}, negative[] = {4, -1}, huge[] = {INT64_MAX, 100};
    vindex_approx_args good = VINDEX_APPROX_ARGS_INIT, a;
    int64_t out_dim;
    (void)state;

    good.shape = shape, good.rank = 2, good.k = 5;
#define TRY(change, status)                                                                        \
    a = good, change;                                                                              \
    assert_int_equal(vindex_approx_plan(&a, &out_dim, NULL), status)
    TRY((void)0, VINDEX_OK);
    TRY(a.k = 100, VINDEX_OK);
    TRY(a.k = 101, VINDEX_INVALID);
    TRY(a.k = 0, VINDEX_INVALID);
    TRY(a.rank = 0, VINDEX_INVALID);
    TRY(a.type = VINDEX_TOPK_I32, VINDEX_INVALID);
    TRY(a.reduction_dimension = 2, VINDEX_INVALID);
    TRY(a.reduction_dimension = -3, VINDEX_INVALID);
    TRY((a.reduction_dimension = -2, a.k = 4), VINDEX_OK);
    TRY(a.shape = negative, VINDEX_INVALID);
    TRY(a.shape = huge, VINDEX_INVALID);
    TRY(a.recall_target = 1.5f, VINDEX_INVALID);
    TRY(a.recall_target = NAN, VINDEX_INVALID);
    TRY(a.reduction_input_size_override = 99, VINDEX_INVALID);
    TRY(a.reduction_input_size_override = 100, VINDEX_OK);
    TRY((a.recall_target = -1, a.k = 1), VINDEX_INVALID);
#undef TRY
}

/* ---- gather and scatter -------------------------------------------------------------------------- */

/* sum(gather(t, p) * g) == sum(t * scatter(g, p)): they are transposes of one another. */
static void gradients_are_transposes(void **state)
{
    static const int64_t shapes[][3] = {{4, 1, 1}, {5, 5, 1}, {2, 1, 4}, {7, 100, 3}, {2, 500, 17}};
    (void)state;

    for (size_t s = 0; s < COUNT(shapes); s++)
        for (int32_t axis = -3; axis < 3; axis++) {
            struct approx_case c = {.args = VINDEX_APPROX_ARGS_INIT, .is_min = axis & 1};
            const int64_t n = shapes[s][0] * shapes[s][1] * shapes[s][2];
            const int64_t len = shapes[s][axis < 0 ? axis + 3 : axis];
            double *x = malloc((size_t)n * 8), *back = malloc((size_t)n * 8), left = 0, right = 0;
            double *tangent = malloc((size_t)n * 8), *out = malloc((size_t)n * 8);
            int64_t m;
            for (int64_t i = 0; i < n; i++)
                x[i] = normal(&rng), tangent[i] = floor(9 * vindex__rng_unit(&rng));
            c.args.type = VINDEX_TOPK_F64, c.args.shape = shapes[s], c.args.rank = 3;
            c.args.reduction_dimension = axis, c.args.k = len < 3 ? len : 3;
            c.x = (unsigned char *)x;
            run_case(&c);
            m = c.outer * c.out_dim * c.inner;
            assert_int_equal(vindex_topk_gather(VINDEX_TOPK_F64, shapes[s], 3, axis, x, c.positions,
                                                c.out_dim, out),
                             VINDEX_OK);
            assert_memory_equal(out, c.values, (size_t)m * 8); /* the selection itself */
            assert_int_equal(vindex_topk_gather(VINDEX_TOPK_F64, shapes[s], 3, axis, tangent,
                                                c.positions, c.out_dim, out),
                             VINDEX_OK);
            assert_int_equal(vindex_topk_scatter(VINDEX_TOPK_F64, shapes[s], 3, axis, c.values,
                                                 c.positions, c.out_dim, back),
                             VINDEX_OK);
            for (int64_t i = 0; i < m; i++)
                left += out[i] * ((double *)c.values)[i];
            for (int64_t i = 0; i < n; i++)
                right += tangent[i] * back[i];
            assert_true(fabs(left - right) <= 1e-12 * (1 + fabs(left)) * (double)n);
            c.positions[0] = len;
            assert_int_equal(vindex_topk_gather(VINDEX_TOPK_F64, shapes[s], 3, axis, x, c.positions,
                                                c.out_dim, out),
                             VINDEX_INVALID);
            assert_int_equal(vindex_topk_scatter(VINDEX_TOPK_F64, shapes[s], 3, axis, c.values,
                                                 c.positions, c.out_dim, back),
                             VINDEX_INVALID);
            c.positions[0] = -1;
            assert_int_equal(vindex_topk_gather(VINDEX_TOPK_F64, shapes[s], 3, axis, x, c.positions,
                                                c.out_dim, out),
                             VINDEX_OK);
            assert_true(out[0] == 0);
            free_case(&c);
            free(x), free(back), free(tangent), free(out);
        }
}

/* ---- select_k ------------------------------------------------------------------------------------ */

static void select_k(uint32_t type, int64_t rows, int64_t len, int64_t k, bool is_min,
                     enum pattern p)
{
    const size_t size = type_bytes(type);
    unsigned char *x = malloc((size_t)(rows * len) * size),
                  *values = malloc((size_t)(rows * k) * size);
    int64_t *ids = malloc((size_t)(rows * k) * 8), *in = malloc((size_t)(rows * len) * 8);
    int64_t *best = malloc((size_t)len * 8), *lengths = malloc((size_t)rows * 8);
    uint64_t bytes;
    void *workspace;

    fill_pattern(&rng, p, type, is_min, x, (size_t)(rows * len));
    for (int64_t i = 0; i < rows * len; i++)
        in[i] = (i * 7919) % 1000003;
    for (int64_t r = 0; r < rows; r++)
        lengths[r] = r % 2 ? len : (int64_t)vindex__rng_below(&rng, (uint64_t)len + 1);
    assert_int_equal(vindex_select_k_workspace((vindex_topk_type)type, rows, len, k, is_min, 1,
                                               VINDEX_TOPK_AUTO, &bytes),
                     VINDEX_OK);
    workspace = malloc(bytes);
    assert_int_equal(vindex_select_k((vindex_topk_type)type, rows, len, k, x, in, values, ids,
                                     is_min, 1, VINDEX_TOPK_AUTO, lengths, workspace, bytes),
                     VINDEX_OK);
    for (int64_t r = 0; r < rows; r++) {
        const int64_t live = k < lengths[r] ? k : lengths[r];
        const unsigned char *row = x + (size_t)(r * len) * size;
        plain_best(type, row, (size_t)lengths[r], (size_t)live, is_min,
                   is_min ? VINDEX_TOPK_NAN_WORST : VINDEX_TOPK_NAN_BEST, best);
        for (int64_t i = 0; i < k; i++) {
            assert_int_equal(ids[r * k + i], i < live ? in[r * len + best[i]] : -1);
            if (i < live)
                assert_memory_equal(values + (size_t)(r * k + i) * size,
                                    row + (size_t)best[i] * size, size);
        }
    }
    free(x), free(values), free(ids), free(in), free(best), free(lengths), free(workspace);
}

static void cuvs_shapes(void **state)
{
    static const int64_t shapes[][3] = {
        {5, 5, 5},         {5, 5, 3},           {5, 7, 3},        {1, 7, 3},
        {1, 130, 5},       {1, 130, 15},        {1, 32, 31},      {1, 128, 15},
        {20, 700, 12},     {20, 700, 16},       {100, 1700, 17},  {100, 1700, 31},
        {50, 1700, 255},   {50, 1700, 256},     {20, 1700, 1023}, {20, 1700, 1700},
        {3, 100000, 1},    {3, 100000, 7},      {3, 100000, 100}, {3, 100000, 1237},
        {3, 100000, 2048}, {2, 100000, 100000}, {2000, 100, 100}};
    (void)state;

    for (size_t s = 0; s < COUNT(shapes); s++)
        for (int way = 0; way < 4; way++) {
            const enum pattern p = way < 2 ? NORMAL : (s % 2 ? MOSTLY_WORST : FEW_VALUES);
            select_k((uint32_t)(s + (size_t)way) % N_TYPES, shapes[s][0], shapes[s][1],
                     shapes[s][2], way & 1, p);
        }
    select_k(VINDEX_TOPK_F32, 3, 100000, 256, false, NEARLY_ALL_WORST);
    select_k(VINDEX_TOPK_F32, 3, 100000, 64, true, NEARLY_ALL_WORST);
    select_k(VINDEX_TOPK_F32, 30, 10000, 128, false, SOME_NAN);
}

/* Rows of more than 2^31 elements: all zero but for a few, in pages that are never written. */
static void rows_beyond_2_to_31(void **state)
{
    enum { K = 4 };
    const int64_t len = ((int64_t)1 << 31) + 1000;
    vindex_topk_options o = VINDEX_TOPK_OPTIONS_INIT;
    vindex_topk_output out = VINDEX_TOPK_OUTPUT_INIT;
    const int64_t places[K] = {len - 1, 5, ((int64_t)1 << 31) + 3, 77};
    uint16_t *x = calloc((size_t)len, sizeof *x);
    int64_t ids[K];
    (void)state;

    if (!x) {
        print_message("skipped: no 4 GiB of address space\n");
        skip();
    }
    for (int i = 0; i < K; i++)
        x[places[i]] = (uint16_t)(0x3f80 + K - i);
    o.type = VINDEX_TOPK_BF16, o.rows = 1, o.len = len, o.k = K, out.ids = ids;
    assert_int_equal(run_topk(vkern_topk_get(), &o, x, NULL, NULL, &out), VINDEX_OK);
    assert_memory_equal(ids, places, sizeof ids);
    free(x);
}

static int set_up(void **state)
{
    (void)state;
    vindex__rng_init(&rng, test_seed());
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jax_scores),
        cmocka_unit_test(jax_harness_and_tensorflow_shapes),
        cmocka_unit_test(shards_make_up_the_whole),
        cmocka_unit_test(jax_arguments_are_checked),
        cmocka_unit_test(gradients_are_transposes),
        cmocka_unit_test(cuvs_shapes),
        cmocka_unit_test(rows_beyond_2_to_31),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
