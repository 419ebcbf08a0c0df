/*
 * test_search.c - what a call promises besides its hits: the arithmetic of scores, any order of
 * parts, filters asked once a row, deadline, cancel, memory, the report. (test_exactness.c: the
 * hits.)
 */
#include "common/cmocka.h"

#include <float.h>
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/kernels.h"
#include "search/helper_snapshot.h"

static struct rng rng;

/* ---- a snapshot of normal rows ------------------------------------------------------------- */

struct fixture {
    struct shape shape;
    uint32_t parts[64];
    struct snapshot *snapshot;
    struct search *search;
    void *queries;
    vindex_report report;
};

static void setup(struct fixture *f, uint32_t type, uint32_t metric, enum nature nature, size_t n,
                  uint32_t dim)
{
    memset(f, 0, sizeof *f);
    f->shape = (struct shape){.type = type,
                              .metric = metric,
                              .dim = dim,
                              .n = n,
                              .parts = f->parts,
                              .rows_per_block = 511};
    f->shape.rows = make_rows(&rng, type, nature, n, dim, false);
    f->queries = make_rows(&rng, type, nature, 400, dim, true);
    for (size_t left = n; left > 0; left -= f->parts[f->shape.n_parts++])
        f->parts[f->shape.n_parts] = (uint32_t)(left < 4096 ? left : 4096);
    f->snapshot = make_snapshot(&f->shape);
    f->report.struct_size = sizeof f->report;
    assert_int_equal(vindex__search_new(&f->search), VINDEX_OK);
}

static void teardown(struct fixture *f)
{
    vindex__search_free(f->search);
    free_snapshot(f->snapshot);
    free((void *)f->shape.rows);
    free(f->queries);
}

static struct search_request request_of(const struct fixture *f, size_t n_queries, size_t k)
{
    return (struct search_request){
        .queries = f->queries, .n_queries = n_queries, .k = k, .recall = 1, .n_threads = 1};
}

static void assert_hits(const vindex_hit *got, const vindex_hit *want, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (got[i].id != want[i].id || memcmp(&got[i].score, &want[i].score, 4))
            fail_msg("hit %zu is (%lld, %.9g), not (%lld, %.9g)", i, (long long)got[i].id,
                     (double)got[i].score, (long long)want[i].id, (double)want[i].score);
}

static void run_and_compare(struct fixture *f, const struct search_request *request)
{
    size_t n_hits = request->n_queries * request->k;
    vindex_hit *got = calloc(n_hits, sizeof *got), *want = calloc(n_hits, sizeof *want);
    oracle(&f->shape, request, want);
    assert_int_equal(vindex__search_run(f->search, f->snapshot, request, got, &f->report),
                     VINDEX_OK);
    assert_hits(got, want, n_hits);
    free(got);
    free(want);
}

/* ---- scores -------------------------------------------------------------------------------- */

/* design.md 5, written out: 16 partial sums in double, one tree, one rounding. */
static double tree(const double *terms, size_t n)
{
    double sums[16] = {0};
    for (size_t i = 0; i < n; i++)
        sums[i % 16] += terms[i];
    for (size_t width = 8; width > 0; width /= 2)
        for (size_t j = 0; j < width; j++)
            sums[j] += sums[j + width];
    return sums[0];
}

static void arithmetic_of_scores(void **state)
{
    enum { DIM = 77 };
    float q[DIM], x[DIM];
    double square[DIM], product[DIM], qq[DIM], xx[DIM];
    (void)state;
    for (int trial = 0; trial < 200; trial++) {
        for (int i = 0; i < DIM; i++) {
            q[i] = (float)(vindex__rng_unit(&rng) - 0.5) * powf(2, (float)(trial % 40));
            x[i] = (float)(vindex__rng_unit(&rng) - 0.5);
            square[i] = ((double)q[i] - x[i]) * ((double)q[i] - x[i]);
            product[i] = (double)q[i] * x[i];
            qq[i] = (double)q[i] * q[i];
            xx[i] = (double)x[i] * x[i];
        }
        double dot = tree(product, DIM), norms = sqrt(tree(qq, DIM)) * sqrt(tree(xx, DIM));
        assert_true(vindex__exact_score(VINDEX_FLOAT, VINDEX_L2, DIM, q, x) ==
                    (float)sqrt(tree(square, DIM)));
        assert_true(vindex__exact_score(VINDEX_FLOAT, VINDEX_IP, DIM, q, x) == (float)-dot);
        assert_true(vindex__exact_score(VINDEX_FLOAT, VINDEX_COSINE, DIM, q, x) ==
                    (float)(1 - dot / norms));
    }
}

static void scores_at_the_ends(void **state)
{
    const float zero[3] = {0, 0, 0}, one[3] = {1, 2, 3}, minus[3] = {-1, -2, -3};
    const float most[3] = {FLT_MAX, FLT_MAX, FLT_MAX}, least[3] = {-FLT_MAX, -FLT_MAX, -FLT_MAX};
    const uint8_t bits[2] = {0xff, 1}, none[2] = {0, 0};
    const struct {
        const char *name;
        uint32_t metric;
        const float *q, *x;
        float score;
    } cases[] = {
        {"cosine of a zero row", VINDEX_COSINE, one, zero, 1},
        {"cosine of a zero query", VINDEX_COSINE, zero, one, 1},
        {"cosine of itself", VINDEX_COSINE, one, one, 0},
        {"cosine of its opposite", VINDEX_COSINE, one, minus, 2},
        {"cosine near overflow", VINDEX_COSINE, most, least, 2},
        {"l2 saturates", VINDEX_L2, most, least, FLT_MAX},
        {"ip saturates low", VINDEX_IP, most, most, -FLT_MAX},
        {"ip saturates high", VINDEX_IP, most, least, FLT_MAX},
        {"ip of a zero row is plus zero", VINDEX_IP, one, zero, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float score = vindex__exact_score(VINDEX_FLOAT, cases[i].metric, 3, cases[i].q, cases[i].x);
        if (memcmp(&score, &cases[i].score, 4)) fail_msg("%s: %.9g", cases[i].name, (double)score);
    }
    assert_true(vindex__exact_score(VINDEX_BIT, VINDEX_HAMMING, 9, bits, none) == 9);
}

/* ---- order --------------------------------------------------------------------------------- */

/* The same rows cut and ordered in other ways have the same answers. */
static void order_of_parts(void **state)
{
    enum { N = 5000, K = 20, QUERIES = 40 };
    int64_t *ids = malloc(N * sizeof *ids);
    vindex_hit want[QUERIES * K], got[QUERIES * K];
    (void)state;
    for (int nature = 0; nature < N_NATURES; nature++) {
        struct fixture f;
        setup(&f, VINDEX_FLOAT, VINDEX_L2, (enum nature)nature, N, 24);
        float *rows = (float *)(uintptr_t)f.shape.rows;
        for (size_t i = 0; i < N; i++)
            ids[i] = (int64_t)i;
        f.shape.ids = ids;
        struct search_request request = request_of(&f, QUERIES, K);
        assert_int_equal(vindex__search_run(f.search, f.snapshot, &request, want, &f.report), 0);
        for (int round = 0; round < 3; round++) {
            for (size_t i = N - 1; i > 0; i--) { /* shuffle rows with their ids */
                size_t j = (size_t)vindex__rng_below(&rng, i + 1);
                int64_t id = ids[i];
                ids[i] = ids[j], ids[j] = id;
                for (size_t d = 0; d < 24; d++) {
                    float x = rows[i * 24 + d];
                    rows[i * 24 + d] = rows[j * 24 + d], rows[j * 24 + d] = x;
                }
            }
            struct snapshot *shuffled = make_snapshot(&f.shape);
            request.n_threads = 1 + (uint32_t)round;
            request.n_queries = round ? QUERIES : 1;
            assert_int_equal(vindex__search_run(f.search, shuffled, &request, got, &f.report), 0);
            assert_hits(got, want, request.n_queries * K);
            free_snapshot(shuffled);
        }
        teardown(&f);
    }
    free(ids);
}

/* Far more equal rows than any buffer holds: the smallest ids win, whatever the engine. */
static void many_equal_rows(void **state)
{
    static const size_t batches[] = {1, 3, 40};
    (void)state;
    for (size_t i = 0; i < 3; i++)
        for (uint32_t threads = 1; threads <= 3; threads++) {
            struct fixture f;
            setup(&f, VINDEX_FLOAT, i ? VINDEX_COSINE : VINDEX_L2, NATURE_ALL_EQUAL, 30000, 8);
            struct search_request request = request_of(&f, batches[i], 100);
            request.n_threads = threads;
            run_and_compare(&f, &request);
            teardown(&f);
        }
}

/* Small differences far from the origin: the tile engine's band lets nearly all through. */
static void far_from_the_origin(void **state)
{
    struct fixture f;
    (void)state;
    setup(&f, VINDEX_FLOAT, VINDEX_L2, NATURE_FAR, 40000, 32);
    struct search_request request = request_of(&f, 64, 10);
    run_and_compare(&f, &request);
    /* ... until it is left for the query kernels. */
    assert_true(f.report.n_reranked < f.report.n_scored / 4);
    teardown(&f);
}

static void large_k(void **state)
{
    static const size_t ks[] = {1000, 9999, 14999, 29999, 30000, 30001, 100000};
    (void)state;
    for (size_t i = 0; i < sizeof ks / sizeof *ks; i++) {
        struct fixture f;
        setup(&f, VINDEX_UINT8, VINDEX_L2, NATURE_TIES, 30000, 20);
        struct search_request request = request_of(&f, 2, ks[i]);
        request.n_threads = 1 + (uint32_t)i % 3;
        run_and_compare(&f, &request);
        teardown(&f);
    }
}

static void nothing_to_find(void **state)
{
    static uint64_t no_ids[1];
    const vindex_filter none = {.kind = VINDEX_FILTER_IDS, .ids = (const int64_t *)no_ids};
    struct fixture f;
    vindex_hit hits[6];
    (void)state;
    setup(&f, VINDEX_FLOAT, VINDEX_L2, NATURE_NORMAL, 0, 4);
    struct search_request request = request_of(&f, 2, 3);
    assert_int_equal(vindex__search_run(f.search, f.snapshot, &request, hits, &f.report), 0);
    for (int i = 0; i < 6; i++)
        assert_true(hits[i].id == VINDEX_ID_NONE && isinf(hits[i].score));
    assert_int_equal(
        vindex__search_brute(f.search, 0, 0, 4, NULL, 16, 0, &request, hits, &f.report), 0);
    teardown(&f);

    setup(&f, VINDEX_FLOAT, VINDEX_L2, NATURE_NORMAL, 500, 4);
    request = request_of(&f, 2, 3);
    request.filter = &none;
    assert_int_equal(vindex__search_run(f.search, f.snapshot, &request, hits, &f.report), 0);
    for (int i = 0; i < 6; i++)
        assert_true(hits[i].id == VINDEX_ID_NONE && isinf(hits[i].score));
    request.n_queries = 0;
    assert_int_equal(vindex__search_run(f.search, f.snapshot, &request, hits, &f.report), 0);
    assert_int_equal(f.report.n_queries, 0);
    teardown(&f);
}

/* ---- filters ------------------------------------------------------------------------------- */

static _Atomic uint32_t asked[20000];

static int ask(void *context, int64_t id)
{
    (void)context;
    atomic_fetch_add(&asked[id], 1);
    return id % 3 == 0;
}

static void callback_is_asked_once_a_live_row(void **state)
{
    const vindex_filter filter = {.kind = VINDEX_FILTER_CALLBACK, .callback = ask};
    uint8_t *dead = calloc(20000, 1);
    struct fixture f;
    (void)state;
    setup(&f, VINDEX_FLOAT, VINDEX_IP, NATURE_NORMAL, 20000, 8);
    for (size_t i = 0; i < 20000; i++)
        dead[i] = i % 5 == 1;
    free_snapshot(f.snapshot);
    f.shape.dead = dead;
    f.snapshot = make_snapshot(&f.shape);
    for (uint32_t threads = 1; threads <= 4; threads += 3) {
        struct search_request request = request_of(&f, 40, 5);
        vindex_hit hits[40 * 5];
        for (size_t i = 0; i < 20000; i++)
            atomic_store(&asked[i], 0);
        request.filter = &filter;
        request.n_threads = threads;
        assert_int_equal(vindex__search_run(f.search, f.snapshot, &request, hits, &f.report), 0);
        for (size_t i = 0; i < 20000; i++)
            assert_int_equal(atomic_load(&asked[i]), !dead[i]);
        for (size_t i = 0; i < 40 * 5; i++)
            assert_true(hits[i].id % 3 == 0);
    }
    teardown(&f);
    free(dead);
}

/* A few ids: only these rows are scored. */
static void rare_rows_are_gathered(void **state)
{
    const int64_t ids[] = {-5, 3, 4096, 8191, 8192, 19999, 20000};
    const vindex_filter filter = {.kind = VINDEX_FILTER_IDS, .ids = ids, .n = 7};
    struct fixture f;
    (void)state;
    setup(&f, VINDEX_FLOAT, VINDEX_COSINE, NATURE_NORMAL, 20000, 8);
    struct search_request request = request_of(&f, 3, 2);
    request.filter = &filter;
    run_and_compare(&f, &request);
    assert_int_equal(f.report.n_scored, 0);
    assert_int_equal(f.report.n_reranked, 3 * 5);
    teardown(&f);
}

/* ---- deadline and cancel ------------------------------------------------------------------- */

static int count_down(void *context)
{
    int *left = context;
    return (*left)-- <= 0;
}

/* Hits of a call cut short: right scores, in order, without repetition. */
static void assert_sound(const struct fixture *f, const vindex_hit *hits, size_t nq, size_t k)
{
    size_t row_bytes = row_bytes_of(f->shape.type, f->shape.dim, false);
    size_t query_bytes = row_bytes_of(f->shape.type, f->shape.dim, true);
    for (size_t i = 0; i < nq * k; i++) {
        if (hits[i].id == VINDEX_ID_NONE) {
            assert_true(isinf(hits[i].score));
            continue;
        }
        assert_true(
            hits[i].score ==
            vindex__exact_score(f->shape.type, f->shape.metric, f->shape.dim,
                                (char *)f->queries + i / k * query_bytes,
                                (const char *)f->shape.rows + (size_t)hits[i].id * row_bytes));
        if (i % k)
            assert_true(hits[i - 1].score < hits[i].score ||
                        (hits[i - 1].score == hits[i].score && hits[i - 1].id < hits[i].id));
    }
}

static void cancel_stops(void **state)
{
    static const size_t batches[] = {1, 5, 300};
    struct fixture f;
    (void)state;
    setup(&f, VINDEX_FLOAT, VINDEX_IP, NATURE_TIES, 40000, 64);
    for (int i = 0; i < 18; i++) {
        int left = i % 3, asked_for = left;
        size_t nq = batches[i / 3 % 3], k = 10;
        vindex_hit *hits = malloc(nq * k * sizeof *hits);
        struct search_request request = request_of(&f, nq, k);
        request.n_threads = i < 9 ? 1 : 2;
        request.cancel = count_down;
        request.cancel_context = &left;
        vindex_status st = vindex__search_run(f.search, f.snapshot, &request, hits, &f.report);
        /* A helper may have done all the work before the caller is due to ask again. */
        if (request.n_threads == 1 || asked_for == 0 || st != VINDEX_OK) {
            assert_int_equal(st, VINDEX_CANCELLED);
            assert_true(left < 0);
        }
        if (request.n_threads == 1) assert_true(f.report.n_scored < nq * f.shape.n);
        if (asked_for == 0) assert_int_equal(f.report.n_scored, 0);
        assert_sound(&f, hits, nq, k);
        free(hits);
    }
    teardown(&f);
}

static void deadline_stops(void **state)
{
    struct fixture f;
    enum { BATCH = 400, K = 3 };
    vindex_hit *hits = malloc(BATCH * K * sizeof *hits);
    (void)state;
    setup(&f, VINDEX_FLOAT, VINDEX_L2, NATURE_TIES, 60000, 64);
    for (uint32_t threads = 1; threads <= 3; threads++) {
        struct search_request request = request_of(&f, BATCH, K);
        request.n_threads = threads;
        request.deadline_ns = vindex__now_ns() + 1000000;
        assert_int_equal(vindex__search_run(f.search, f.snapshot, &request, hits, &f.report),
                         VINDEX_TIMEOUT);
        assert_true(f.report.n_scored < BATCH * f.shape.n);
        assert_sound(&f, hits, BATCH, K);
        request.deadline_ns = 1; /* long past */
        assert_int_equal(vindex__search_run(f.search, f.snapshot, &request, hits, &f.report),
                         VINDEX_TIMEOUT);
        assert_int_equal(hits[0].id, VINDEX_ID_NONE);
        request.deadline_ns = vindex__now_ns() + INT64_C(600000000000);
        assert_int_equal(vindex__search_run(f.search, f.snapshot, &request, hits, &f.report),
                         VINDEX_OK);
    }
    teardown(&f);
    free(hits);
}

/* ---- memory -------------------------------------------------------------------------------- */

static void warm_call_allocates_nothing(void **state)
{
    static const size_t batches[] = {1, 5, 40, 300};
    const vindex_filter filter = {.kind = VINDEX_FILTER_CALLBACK, .callback = ask};
    vindex_hit *hits = malloc(300 * 10 * sizeof *hits);
    struct fixture f;
    (void)state;
    setup(&f, VINDEX_UINT8, VINDEX_L2, NATURE_NORMAL, 20000, 32);
    for (int pass = 0; pass < 2; pass++) {
        uint64_t before = vindex__mem_count();
        for (int i = 0; i < 16; i++) {
            struct search_request request = request_of(&f, batches[i % 4], 10);
            request.n_threads = i < 8 ? 1 : 2;
            request.filter = i % 8 < 4 ? &filter : NULL;
            assert_int_equal(vindex__search_run(f.search, f.snapshot, &request, hits, &f.report),
                             VINDEX_OK);
            assert_int_equal(vindex__search_brute(f.search, VINDEX_UINT8, VINDEX_COSINE, 32,
                                                  f.shape.rows, 32, 20000, &request, hits,
                                                  &f.report),
                             VINDEX_OK);
        }
        if (pass) assert_int_equal(vindex__mem_count(), before);
    }
    teardown(&f);
    free(hits);
}

/* Scratch of large batches is bounded, and follows k only where k asks for it. So large a k makes
   several groups of queries, each merged by whichever thread is free: the hits are the same. */
static void scratch_is_bounded(void **state)
{
    enum { BATCH = 400, K = 2000 };
    struct fixture f;
    vindex_hit *hits[2] = {malloc((size_t)BATCH * K * sizeof(vindex_hit)),
                           malloc((size_t)BATCH * K * sizeof(vindex_hit))};
    (void)state;
    setup(&f, VINDEX_FLOAT, VINDEX_L2, NATURE_NORMAL, 20000, 8);
    uint64_t before = vindex__mem_live_bytes();
    struct search_request request = request_of(&f, BATCH, K);
    for (request.n_threads = 1; request.n_threads <= 4; request.n_threads++) {
        vindex_hit *got = hits[request.n_threads > 1];
        assert_int_equal(vindex__search_run(f.search, f.snapshot, &request, got, &f.report), 0);
        if (request.n_threads > 1) assert_hits(got, hits[0], (size_t)BATCH * K);
    }
    assert_true(vindex__mem_live_bytes() - before < UINT64_C(80) << 20);
    teardown(&f);
    free(hits[0]);
    free(hits[1]);
}

static void out_of_memory_at_each_allocation(void **state)
{
    const vindex_filter filter = {.kind = VINDEX_FILTER_CALLBACK, .callback = ask};
    struct fixture f;
    vindex_hit hits[40 * 3], want[40 * 3];
    int n_failed = 0;
    (void)state;
    setup(&f, VINDEX_INT8, VINDEX_L2, NATURE_NORMAL, 5000, 16);
    struct search_request request = request_of(&f, 40, 3);
    request.filter = &filter;
    request.n_threads = 2;
    assert_int_equal(vindex__search_run(f.search, f.snapshot, &request, want, &f.report), 0);
    uint64_t live = vindex__mem_live_bytes();
    for (uint64_t n = 1;; n++, n_failed++) {
        struct search *search = NULL;
        vindex__mem_fail_after(n);
        vindex_status st = vindex__search_new(&search);
        if (st == VINDEX_OK) st = vindex__search_run(search, f.snapshot, &request, hits, &f.report);
        vindex__mem_fail_after(0);
        if (st == VINDEX_NOMEM && search) { /* the searcher is as good as before */
            assert_int_equal(vindex__search_run(search, f.snapshot, &request, hits, &f.report),
                             VINDEX_OK);
            assert_hits(hits, want, 40 * 3);
        }
        vindex__search_free(search);
        assert_int_equal(vindex__mem_live_bytes(), live);
        if (st == VINDEX_OK) break;
        assert_int_equal(st, VINDEX_NOMEM);
    }
    assert_true(n_failed >= 3);
    teardown(&f);
}

/* ---- the report ---------------------------------------------------------------------------- */

static void report_tells(void **state)
{
    struct fixture f;
    vindex_hit hits[40 * 2];
    (void)state;
    setup(&f, VINDEX_FLOAT, VINDEX_COSINE, NATURE_NORMAL, 10000, 16);
    struct search_request request = request_of(&f, 40, 2);
    request.recall = 0.9F;
    assert_int_equal(vindex__search_run(f.search, f.snapshot, &request, hits, &f.report), 0);
    assert_int_equal(f.report.state, VINDEX_STATE_EXACT);
    assert_float_equal(f.report.target, 0.9, 1e-6);
    assert_float_equal(f.report.predicted, 1, 0);
    assert_float_equal(f.report.bound, 1, 0);
    assert_int_equal(f.report.n_queries, 40);
    assert_int_equal(f.report.n_rows, 10000);
    assert_int_equal(f.report.n_scored, 40 * 10000);
    assert_true(f.report.n_reranked >= 40 * 2 && f.report.n_reranked < 40 * 40);
    assert_true(f.report.elapsed_ns > 0);
    assert_non_null(strstr(f.report.plan, "exact: flat scan of 10000 rows in 3 parts, cosine f32, "
                                          "tile "));
    assert_non_null(strstr(f.report.plan, "batch 40, threads 1"));
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arithmetic_of_scores),
        cmocka_unit_test(scores_at_the_ends),
        cmocka_unit_test(order_of_parts),
        cmocka_unit_test(many_equal_rows),
        cmocka_unit_test(far_from_the_origin),
        cmocka_unit_test(large_k),
        cmocka_unit_test(nothing_to_find),
        cmocka_unit_test(callback_is_asked_once_a_live_row),
        cmocka_unit_test(rare_rows_are_gathered),
        cmocka_unit_test(cancel_stops),
        cmocka_unit_test(deadline_stops),
        cmocka_unit_test(warm_call_allocates_nothing),
        cmocka_unit_test(scratch_is_bounded),
        cmocka_unit_test(out_of_memory_at_each_allocation),
        cmocka_unit_test(report_tells),
    };
    vindex__rng_init(&rng, test_seed());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
