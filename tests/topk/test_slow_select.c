/*
 * test_slow_select.c - the largest shapes of cuVS's select_k tests: a row of 10^9 scores, and rows of which 90 %
 * and 99.9 % are infinite.
 */
#include "common/cmocka.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "topk/helper_topk.h"

static const int64_t ks[] = {1, 16, 64, 128, 256};
enum { N_KS = sizeof ks / sizeof *ks, K_MOST = 256 };

static struct rng rng;

static void select_rows(vindex_topk_options *o, const void *x, void *values, int64_t *ids)
{
    vindex_topk_plan plan = VINDEX_TOPK_PLAN_INIT;
    vindex_topk_output out = VINDEX_TOPK_OUTPUT_INIT;
    void *workspace;

    assert_int_equal(vindex_topk_make_plan(o, &plan), VINDEX_OK);
    workspace = malloc(plan.workspace_bytes);
    assert_non_null(workspace);
    out.values = values, out.ids = ids;
    assert_int_equal(vindex_topk(o, x, NULL, NULL, &out, workspace, plan.workspace_bytes),
                     VINDEX_OK);
    free(workspace);
}

/* ---- 10^9 scores --------------------------------------------------------------------------------- */

enum { HALF_TWO = 0x4000 }; /* 2 in f16; what fills the row lies below 1 */

static uint16_t *row_of_a_billion(size_t n)
{
    uint16_t *x = mmap(NULL, n * sizeof *x, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (x == MAP_FAILED) return NULL;
    for (size_t i = 0; i + 4 <= n; i += 4) { /* bits below those of 1: f16 in [0, 1) */
        uint64_t bits = vindex__rng_next(&rng);
        for (size_t j = 0; j < 4; j++, bits >>= 16)
            x[i + j] = (uint16_t)(bits & 0xffff) % 0x3c00;
    }
    return x;
}

/* Winner w, best first, stands where multiplying by a number prime to n sends it. */
static size_t place_of(size_t w, size_t n)
{
    return (w + 1) * (size_t)617283941 % n;
}

static void a_row_of_a_billion_scores(void **state)
{
    const size_t n = 1000000000;
    const long pages = sysconf(_SC_AVPHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    uint16_t *x, values[K_MOST];
    int64_t ids[K_MOST];
    (void)state;

    if ((double)pages * (double)page < 3e9) {
        print_message("skipped: 3 GB of free memory are needed\n");
        skip();
    }
    x = row_of_a_billion(n);
    assert_non_null(x);
    for (size_t w = 0; w < K_MOST; w++)
        x[place_of(w, n)] = (uint16_t)(HALF_TWO + K_MOST - w);
    for (size_t i = 0; i < N_KS; i++) {
        vindex_topk_options o = VINDEX_TOPK_OPTIONS_INIT;
        o.type = VINDEX_TOPK_F16, o.rows = 1, o.len = (int64_t)n, o.k = ks[i];
        select_rows(&o, x, values, ids);
        for (size_t w = 0; w < (size_t)ks[i]; w++) {
            assert_int_equal(ids[w], place_of(w, n));
            assert_int_equal(values[w], HALF_TWO + K_MOST - w);
        }
    }
    munmap(x, n * sizeof *x);
}

/* ---- infinities ---------------------------------------------------------------------------------- */

static void check_rows(const float *x, int64_t rows, int64_t len, bool is_min)
{
    float *values = malloc((size_t)rows * K_MOST * sizeof *values);
    int64_t *ids = malloc((size_t)rows * K_MOST * sizeof *ids);
    int64_t *best = malloc((size_t)rows * K_MOST * sizeof *best);

    for (int64_t row = 0; row < rows; row++)
        plain_best(VINDEX_TOPK_F32, (const unsigned char *)(x + row * len), (size_t)len, K_MOST,
                   is_min, VINDEX_TOPK_NAN_WORST, best + row * K_MOST);
    for (size_t i = 0; i < N_KS; i++) {
        const int64_t k = ks[i];
        vindex_topk_options o = VINDEX_TOPK_OPTIONS_INIT;
        o.rows = rows, o.len = len, o.k = k, o.flags = is_min ? VINDEX_TOPK_MIN : 0;
        select_rows(&o, x, values, ids);
        for (int64_t row = 0; row < rows; row++)
            for (int64_t j = 0; j < k; j++) {
                const int64_t expected = best[row * K_MOST + j];
                if (ids[row * k + j] != expected)
                    fail_msg("%lld of %lld, k %lld: slot %lld is %lld, expected %lld",
                             (long long)row, (long long)len, (long long)k, (long long)j,
                             (long long)ids[row * k + j], (long long)expected);
                assert_memory_equal(&values[row * k + j], &x[row * len + expected], sizeof *x);
            }
    }
    free(values), free(ids), free(best);
}

static void rows_of_infinities(void **state)
{
    static const struct {
        int64_t rows, len;
    } shapes[] = {{10, 100000}, {1000, 10000}};
    static const double shares[] = {.9, .999};
    (void)state;

    for (size_t s = 0; s < 2; s++)
        for (size_t share = 0; share < 2; share++)
            for (int kind = 0; kind < 4;
                 kind++) { /* largest or smallest, infinities best or worst */
                const size_t n = (size_t)(shapes[s].rows * shapes[s].len);
                float *x = malloc(n * sizeof *x);
                assert_non_null(x);
                for (size_t i = 0; i < n; i++)
                    x[i] = vindex__rng_unit(&rng) < shares[share] ? kind & 2 ? INFINITY : -INFINITY
                                                                  : (float)vindex__rng_unit(&rng);
                check_rows(x, shapes[s].rows, shapes[s].len, kind & 1);
                free(x);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_infinities),
        cmocka_unit_test(a_row_of_a_billion_scores),
    };
    vindex__rng_init(&rng, test_seed());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
