/*
 * test_bands.c - the proof in plan.c, tested at its edge: kernels that err as much as kernels.h
 * lets them, up or down by turns, still give the oracle's hits, bit for bit.
 *
 * The data are near ties, so that errors of that size change the order of first-pass scores.
 */
#include "common/cmocka.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "search/call.h"
#include "search/helper_snapshot.h"

static struct rng rng;

/* ---- kernels that err ---------------------------------------------------------------------- */

/* What the worst kernel may return for the exact score s: to f32 towards s, never past the bound.
   */
static float err(double s, double bound)
{
    double side = vindex__rng_below(&rng, 4) ? (vindex__rng_below(&rng, 2) ? 1 : -1) : 0;
    float f = (float)(s + side * bound);
    if (fabs((double)f - s) > bound) f = nextafterf(f, s > f ? INFINITY : -INFINITY);
    return f;
}

static void score_rows(uint32_t type, bool is_dot, const void *query, const char *rows,
                       size_t stride, size_t n, size_t dim, float *scores)
{
    const vkern_table *kern = vkern_get();
    enum vkern_type query_type =
        type == VINDEX_FLOAT16 || type == VINDEX_BFLOAT16 ? VKERN_F32 : (enum vkern_type)type;
    double qq = kern->sumsq[query_type](query, dim), gamma = vkern_gamma(dim);
    bool whole = type == VINDEX_INT8 || type == VINDEX_UINT8;

    for (size_t i = 0; i < n; i++) {
        const char *row = rows + i * stride;
        double s = is_dot ? -kern->exact_dot[type](query, row, dim)
                          : kern->exact_l2sq[type](query, row, dim);
        double size = is_dot ? sqrt(qq * kern->sumsq[type](row, dim)) : s;
        scores[i] = whole ? (float)s : err(s, gamma * size + (double)dim * FLT_MIN);
    }
}

#define ERRING(name, type)                                                                         \
    static void l2sq_##name(const void *query, const void *rows, size_t stride, size_t n,          \
                            size_t dim, float *scores)                                             \
    {                                                                                              \
        score_rows(type, false, query, rows, stride, n, dim, scores);                              \
    }                                                                                              \
    static void ndot_##name(const void *query, const void *rows, size_t stride, size_t n,          \
                            size_t dim, float *scores)                                             \
    {                                                                                              \
        score_rows(type, true, query, rows, stride, n, dim, scores);                               \
    }
ERRING(f32, VINDEX_FLOAT)
ERRING(f16, VINDEX_FLOAT16)
ERRING(bf16, VINDEX_BFLOAT16)
ERRING(i8, VINDEX_INT8)
ERRING(u8, VINDEX_UINT8)

/* A panel of plain rows; wide errors, as of an engine with one chain of additions. */
static double tile_gamma(size_t dim)
{
    return (double)(dim + 2) * 0x1p-24;
}

static void tile_pack(enum vkern_type type, const void *rows, size_t stride, size_t n, size_t dim,
                      const float *scale, float *panel)
{
    for (size_t r = 0; r < n; r++) {
        vkern_get()->to_f32[type]((const char *)rows + r * stride, dim, panel + r * dim);
        for (size_t i = 0; scale && i < dim; i++)
            panel[r * dim + i] *= scale[r];
    }
}

static void tile_multiply(const float *queries, size_t nq, const float *panel, const float *bias,
                          size_t n, size_t dim, float *out, size_t out_stride)
{
    const vkern_table *kern = vkern_get();
    for (size_t q = 0; q < nq; q++)
        for (size_t r = 0; r < n; r++) {
            const float *query = queries + q * dim, *row = panel + r * dim;
            double s = bias[r] + kern->exact_dot[VKERN_F32](query, row, dim), size = 0;
            bool whole = true;
            for (size_t i = 0; i < dim; i++) {
                whole = whole && query[i] == floorf(query[i]) && row[i] == floorf(row[i]);
                size += fabs((double)query[i] * row[i]);
            }
            double norms =
                sqrt(kern->sumsq[VKERN_F32](query, dim)) * sqrt(kern->sumsq[VKERN_F32](row, dim));
            bool exact = whole && size + fabs((double)bias[r]) < 0x1p24; /* any engine's are */
            out[q * out_stride + r] =
                exact ? (float)s
                      : err(s, tile_gamma(dim) * (fabs((double)bias[r]) + norms) +
                                   (double)dim * FLT_MIN);
        }
}

static const struct vkern_tile erring_tile = {"erring", tile_pack, tile_multiply, tile_gamma};

static void make_erring(vkern_table *table)
{
    *table = *vkern_get();
#define FILL(name, type) table->l2sq[type] = l2sq_##name, table->ndot[type] = ndot_##name;
    FILL(f32, VINDEX_FLOAT)
    FILL(f16, VINDEX_FLOAT16)
    FILL(bf16, VINDEX_BFLOAT16)
    FILL(i8, VINDEX_INT8)
    FILL(u8, VINDEX_UINT8)
#undef FILL
}

/* ---- trials -------------------------------------------------------------------------------- */

/* Rows whose scores to the query differ by a few roundings: the query, or a row, moved a little. */
static void near_ties(uint32_t type, size_t n, uint32_t dim, void *rows, void *queries, size_t nq)
{
    size_t row_bytes = row_bytes_of(type, dim, false);
    enum nature nature = vindex__rng_below(&rng, 4) ? NATURE_NEAR_TIES : NATURE_FAR;
    void *all = make_rows(&rng, type, nature, n, dim, false);
    void *asked = make_rows(&rng, type, NATURE_NORMAL, nq, dim, true);
    memcpy(rows, all, n * row_bytes);
    memcpy(queries, asked, nq * row_bytes_of(type, dim, true));
    free(all);
    free(asked);
}

static void check_type(uint32_t type)
{
    static const uint32_t dims[] = {1, 3, 16, 40, 100, 300};
    static const size_t batches[] = {1, 3, 40};
    enum { N = 700 };
    vkern_table erring;
    make_erring(&erring);

    for (int trial = 0; trial < 18; trial++) {
        uint32_t dim = dims[trial % 6], parts[3] = {400, 0, 300};
        size_t nq = batches[trial / 6 % 3], k = vindex__rng_below(&rng, 2) ? 10 : 1;
        void *rows = calloc(N, row_bytes_of(type, dim, false));
        void *queries = calloc(nq, row_bytes_of(type, dim, true));
        vindex_hit *got = calloc(nq * k, sizeof *got), *want = calloc(nq * k, sizeof *want);
        vindex_report report = VINDEX_REPORT_INIT;
        struct search *search = NULL;

        near_ties(type, N, dim, rows, queries, nq);
        for (uint32_t metric = VINDEX_L2; metric <= VINDEX_IP; metric++) {
            struct shape shape = {.type = type,
                                  .metric = metric,
                                  .dim = dim,
                                  .rows = rows,
                                  .n = N,
                                  .parts = parts,
                                  .n_parts = 3,
                                  .rows_per_block = 300};
            struct search_request request = {
                .queries = queries, .n_queries = nq, .k = k, .recall = 1, .n_threads = 1};
            struct snapshot *snapshot = make_snapshot(&shape);

            assert_int_equal(vindex__search_new(&search), VINDEX_OK);
            search->kern = &erring;
            search->tile = &erring_tile;
            oracle(&shape, &request, want);
            assert_int_equal(vindex__search_run(search, snapshot, &request, got, &report), 0);
            for (int brute = 0; brute < 2; brute++) {
                for (size_t i = 0; i < nq * k; i++)
                    if (got[i].id != want[i].id || got[i].score != want[i].score)
                        fail_msg("type %u metric %u dim %u batch %zu k %zu, %s: query %zu hit %zu "
                                 "is (%lld, %.9g), not (%lld, %.9g)",
                                 type, metric, dim, nq, k, brute ? "plain arrays" : "snapshot",
                                 i / k, i % k, (long long)got[i].id, (double)got[i].score,
                                 (long long)want[i].id, (double)want[i].score);
                if (brute) break;
                assert_int_equal(vindex__search_brute(search, type, metric, dim, rows,
                                                      row_bytes_of(type, dim, false), N, &request,
                                                      got, &report),
                                 VINDEX_OK);
            }
            vindex__search_free(search);
            free_snapshot(snapshot);
        }
        free(rows);
        free(queries);
        free(got);
        free(want);
    }
}

#define TYPE_TEST(name, type)                                                                      \
    static void name(void **state)                                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        check_type(type);                                                                          \
    }
TYPE_TEST(floats, VINDEX_FLOAT)
TYPE_TEST(float16, VINDEX_FLOAT16)
TYPE_TEST(bfloat16, VINDEX_BFLOAT16)
TYPE_TEST(int8, VINDEX_INT8)
TYPE_TEST(uint8, VINDEX_UINT8)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(floats), cmocka_unit_test(float16), cmocka_unit_test(bfloat16),
        cmocka_unit_test(int8),   cmocka_unit_test(uint8),
    };
    vindex__rng_init(&rng, test_seed());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
