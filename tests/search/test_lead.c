/*
 * test_lead.c - searches by the leading coordinates (plane p8): the hits are the oracle's whatever the shape of parts,
 * batches and threads; a row that scouts have found counts once; where too much is let through another way goes on in
 * the middle of a part; damaged codes do no more than spoil hits.
 */
#include "common/cmocka.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "search/call.h"
#include "search/helper_snapshot.h"

static struct rng rng;

enum { PARTS_MAX = 16, QUERIES_MAX = 300 };

struct fixture {
    struct shape shape;
    uint32_t parts[PARTS_MAX];
    uint8_t codes[PARTS_MAX];
    uint8_t *dead;
    void *queries;
    struct snapshot *snapshot;
    struct search *search;
    vindex_report report;
};

/* ---- rows -------------------------------------------------------------------------------------- */

static double symmetric(void)
{
    return vindex__rng_unit(&rng) + vindex__rng_unit(&rng) + vindex__rng_unit(&rng) - 1.5;
}

/* Rows, or queries, that mostly differ in the first `leading` elements, along which the axes of made snapshots lie: codes
   of these leave much out. Equal to dim: they leave nothing out. */
static void *leading_rows(uint32_t type, size_t n, size_t dim, size_t leading, bool queries)
{
    bool floats = type < VINDEX_INT8, wide = type == VINDEX_FLOAT || (queries && floats);
    char *rows = calloc(n + 1, row_bytes_of(type, dim, queries));
    for (size_t i = 0; i < n * dim; i++) {
        float x = (float)(symmetric() * (i % dim < leading ? 40 : 1));
        if (wide) memcpy(rows + 4 * i, &x, 4);
        if (!wide && floats) vkern_get()->from_f32[type](&x, 1, rows + 2 * i);
        if (type == VINDEX_INT8) ((int8_t *)rows)[i] = (int8_t)x;
        if (type == VINDEX_UINT8) ((uint8_t *)rows)[i] = (uint8_t)(x + 100);
    }
    return rows;
}

static void cut_into_parts(struct fixture *f, const uint32_t *sizes, size_t n_sizes)
{
    f->shape.n = 0;
    f->shape.n_parts = n_sizes;
    for (size_t i = 0; i < n_sizes; i++) {
        f->parts[i] = sizes[i];
        f->codes[i] = WITH_P8;
        f->shape.n += sizes[i];
    }
}

/* What is not set in the shape by the caller: 16 axes, blocks of odd sizes. */
static void setup(struct fixture *f, const struct shape *shape, const uint32_t *sizes,
                  size_t n_sizes, size_t leading)
{
    memset(f, 0, sizeof *f);
    f->shape = *shape;
    cut_into_parts(f, sizes, n_sizes);
    f->shape.parts = f->parts;
    f->shape.codes = f->codes;
    if (!f->shape.m) f->shape.m = 16;
    if (!f->shape.rows_per_block) f->shape.rows_per_block = 37;
    if (!f->shape.groups_per_block) f->shape.groups_per_block = 5;
    f->shape.rows = leading_rows(shape->type, f->shape.n, shape->dim, leading, false);
    f->queries = leading_rows(shape->type, QUERIES_MAX, shape->dim, leading, true);
    f->dead = calloc(f->shape.n, 1);
    f->shape.dead = f->dead;
    f->report.struct_size = sizeof f->report;
    assert_int_equal(vindex__search_new(&f->search), VINDEX_OK);
    f->search->forced = ENGINE_P8;
}

static void begin(struct fixture *f)
{
    f->snapshot = make_snapshot(&f->shape);
    for (size_t i = 0; i + 1 < f->shape.n_parts; i++)
        if (f->codes[i] & WITH_P8) assert_non_null(f->snapshot->parts[i].codes->p8);
}

static void teardown(struct fixture *f)
{
    vindex__search_free(f->search);
    free_snapshot(f->snapshot);
    free((void *)f->shape.rows);
    free(f->queries);
    free(f->dead);
}

static struct search_request request_of(const struct fixture *f, size_t n_queries, size_t k)
{
    return (struct search_request){
        .queries = f->queries, .n_queries = n_queries, .k = k, .recall = 1, .n_threads = 1};
}

static void run_and_compare(struct fixture *f, const struct search_request *request,
                            const char *what)
{
    size_t k = request->k, n_hits = request->n_queries * k;
    vindex_hit *got = calloc(n_hits, sizeof *got), *want = calloc(n_hits, sizeof *want);
    oracle(&f->shape, request, want);
    assert_int_equal(vindex__search_run(f->search, f->snapshot, request, got, &f->report),
                     VINDEX_OK);
    for (size_t i = 0; i < n_hits; i++)
        if (got[i].id != want[i].id || memcmp(&got[i].score, &want[i].score, 4))
            fail_msg("%s (type %u metric %u batch %zu k %zu threads %u; %s): query %zu hit %zu is "
                     "(%lld, %.9g), not (%lld, %.9g)",
                     what, f->shape.type, f->shape.metric, request->n_queries, k, request->n_threads,
                     f->report.plan, i / k, i % k, (long long)got[i].id, (double)got[i].score,
                     (long long)want[i].id, (double)want[i].score);
    assert_int_equal(f->report.state, VINDEX_STATE_EXACT);
    free(got);
    free(want);
}

/* ---- hits -------------------------------------------------------------------------------------- */

static int rare(void *context, int64_t id)
{
    (void)context;
    return id % 19 == 3;
}

/* Both ends of some runs of 256, and words that are full or empty. */
static int in_runs(void *context, int64_t id)
{
    (void)context;
    return id % 256 < 3 || id % 256 > 250 || id / 64 % 5 == 1;
}

static const vindex_filter filters[] = {
    {.kind = VINDEX_FILTER_NONE},
    {.kind = VINDEX_FILTER_CALLBACK, .callback = rare},
    {.kind = VINDEX_FILTER_CALLBACK, .callback = in_runs},
    {.kind = VINDEX_FILTER_CALLBACK, .flags = VINDEX_FILTER_NOT, .callback = rare},
};

/* Parts of fewer rows than a group or a run, without the plane, and nearly dead. */
static void hits_are_the_oracles(void **state)
{
    static const uint32_t sizes[] = {1300, 5, 255, 257, 600, 16, 900, 33, 2048, 1, 70};
    static const size_t batches[] = {1, 2, 7, 96, 97, 300}, ks[] = {1, 10, 300, 2000, 6000};
    (void)state;
    for (uint32_t i = 0; i < 15; i++) {
        struct shape shape = {.type = VINDEX_FLOAT + i % 5, .metric = VINDEX_L2 + i / 5, .dim = 33};
        struct fixture f;
        shape.p = i % 2 ? 8 : 0;
        setup(&f, &shape, sizes, 11, 6);
        f.codes[4] = i % 3 ? WITH_C8 | WITH_C4 : 0;
        f.codes[6] = WITH_ALL;
        for (size_t r = 0; r < f.shape.n; r++)
            f.dead[r] = r % 1000 < 500 ? r % 7 == 2 : r >= 2000 && r < 2400;
        begin(&f);
        for (uint32_t round = 0; round < 4; round++) {
            size_t n = batches[(i + round) % 6];
            struct search_request request = request_of(&f, n, ks[(i + 3 * round) % 5]);
            if (n > 7 && request.k > 10) request.k = 20;
            request.n_threads = 1 + (i + round) % 4;
            request.filter = round % 2 ? &filters[1 + round / 2 % 3] : NULL;
            f.search->work_bytes = round % 3 ? (size_t)64 << 20 : 40000; /* several groups */
            run_and_compare(&f, &request, "random");
        }
        teardown(&f);
    }
}

/* As many rows as asked for twice: just no longer scored one by one. Rows that are equal are found by their ids. */
static void equal_rows(void **state)
{
    static const uint32_t sizes[] = {3000, 700, 20};
    (void)state;
    for (uint32_t metric = VINDEX_L2; metric <= VINDEX_IP; metric++) {
        struct shape shape = {.metric = metric, .dim = 24};
        struct fixture f;
        setup(&f, &shape, sizes, 3, 8);
        float *rows = (float *)(uintptr_t)f.shape.rows;
        for (size_t r = 0; r < f.shape.n; r++) /* 11 different ones, of which one is zero */
            memcpy(rows + r * 24, rows + r % 11 * 24, 24 * sizeof *rows);
        for (size_t r = 4; r < f.shape.n; r += 11)
            memset(rows + r * 24, 0, 24 * sizeof *rows);
        begin(&f);
        for (size_t k = 1; k <= 1859; k += 929)
            for (uint32_t n_threads = 1; n_threads <= 3; n_threads++) {
                struct search_request request = request_of(&f, n_threads * 2 - 1, k);
                request.n_threads = n_threads;
                run_and_compare(&f, &request, "equal rows");
            }
        teardown(&f);
    }
}

/* While fewer than k rows are known all are let through: not those that only fill a group up. */
static void padding_is_no_row(void **state)
{
    static const uint32_t sizes[] = {100, 1, 70, 3000, 20};
    struct shape shape = {.metric = VINDEX_L2, .dim = 24};
    struct fixture f;
    (void)state;
    setup(&f, &shape, sizes, 5, 24);
    begin(&f);
    for (size_t n = 1; n <= 5; n += 2) {
        struct search_request request = request_of(&f, n, 1500);
        run_and_compare(&f, &request, "padding");
    }
    teardown(&f);
}

/* Whether an array of a worker begins within the scores that a multiply of scouts writes. */
static bool is_overwritten(const struct worker *worker, const void *array)
{
    size_t n = worker->call->plan.p8_lines * VKERN_TILE_ROWS;
    const char *at = array, *first = (const char *)worker->scores;
    return at && at > first && at < first + n * sizeof *worker->scores;
}

/* Leading coordinates are taken of more queries at once than whole rows of such a dimension are. */
static void more_lines_than_tiles(void **state)
{
    static const uint32_t sizes[] = {2100, 40};
    static const size_t batches[] = {7, 40, 97};
    struct shape shape = {.metric = VINDEX_L2, .dim = 784};
    struct fixture f;
    (void)state;
    setup(&f, &shape, sizes, 2, 10);
    begin(&f);
    for (size_t i = 0; i < 3; i++) {
        struct search_request request = request_of(&f, batches[i], 3);
        struct window window = {.n = batches[i], .k = 3, .hits = calloc(batches[i] * 3, 16)};
        struct call call;
        vindex__call_open(&call, f.search, f.snapshot, &request, window.hits);
        call.n_match = call.n_live;
        assert_int_equal(vindex__call_window(&call, &window), VINDEX_OK);
        assert_true(call.plan.by_p8);
        const struct worker *worker = &call.workers[0];
        const void *arrays[] = {worker->panel,      worker->scratch,  worker->below,
                                worker->cuts,       worker->packed,   worker->p8_packed,
                                worker->projection, worker->p8_cuts,  worker->pairs,
                                worker->dense,      worker->groups,   worker->collectors};
        for (size_t a = 0; a < sizeof arrays / sizeof *arrays; a++)
            assert_false(is_overwritten(worker, arrays[a]));
        free(window.hits);
        run_and_compare(&f, &request, "many lines");
    }
    teardown(&f);
}

/* ---- scouts ------------------------------------------------------------------------------------ */

/* The k nearest rows are the first ones, so scouts know them, and the nearest comes first again: counted twice it would
   shut out the k-th. */
static void scouts_count_once(void **state)
{
    enum { K = 8, DIM = 16, QUERIES = 100 };
    static const uint32_t sizes[] = {9000, 10};
    struct shape shape = {.metric = VINDEX_L2, .dim = DIM};
    struct fixture f;
    (void)state;
    setup(&f, &shape, sizes, 2, DIM);
    float *rows = (float *)(uintptr_t)f.shape.rows, *queries = f.queries;
    for (size_t r = 0; r < f.shape.n; r++) {
        rows[r * DIM] += 1000;
        if (r >= K) continue;
        memset(rows + r * DIM, 0, DIM * sizeof *rows);
        rows[r * DIM] = 10 + (float)r;
    }
    memset(queries, 0, QUERIES_MAX * DIM * sizeof *queries);
    begin(&f);
    for (size_t n = 1; n <= QUERIES; n += 33)
        for (uint32_t n_threads = 1; n_threads <= 3; n_threads++) {
            struct search_request request = request_of(&f, n, K);
            request.n_threads = n_threads;
            run_and_compare(&f, &request, "counted once");
        }
    teardown(&f);
}

/* Threads that scouted nothing know what the others found, and nothing of the queries before: those are nearer to rows than
   these. */
static void idle_threads(void **state)
{
    enum { DIM = 16, QUERIES = 60 };
    static const uint32_t sizes[] = {2500, 4000, 10};
    struct shape shape = {.metric = VINDEX_L2, .dim = DIM};
    struct fixture f;
    (void)state;
    setup(&f, &shape, sizes, 3, 8);
    f.codes[1] = 0;
    for (size_t q = 0; q < QUERIES; q++) {
        float *query = (float *)f.queries + q * DIM;
        if (q % 2 == 0) memcpy(query, (const float *)f.shape.rows + q * DIM, sizeof *query * DIM);
        if (q % 2) query[0] += 3000;
    }
    begin(&f);
    for (size_t i = 0; i < 24; i++) {
        struct search_request request = request_of(&f, i % 2 ? QUERIES : 1, 4);
        if (i % 2 == 0) request.queries = (const float *)f.queries + i / 2 % 4 * DIM;
        request.n_threads = 2 + (uint32_t)i % 3;
        f.search->work_bytes = 1; /* a query at a time */
        run_and_compare(&f, &request, "idle threads");
    }
    teardown(&f);
}

/* ---- other ways in the middle -------------------------------------------------------------------- */

/* Scans as planned, and sees whether and where the leading coordinates were given up. */
static void scan_and_look(struct fixture *f, const struct search_request *request, bool *gave_up)
{
    const struct window window = {.n = request->n_queries,
                                  .k = request->k,
                                  .hits = calloc(request->n_queries * request->k, 16)};
    struct call call;
    uint64_t asked = f->shape.n * request->n_queries;
    vindex__call_open(&call, f->search, f->snapshot, request, window.hits);
    assert_int_equal(vindex__search_pool(f->search, request->n_threads), VINDEX_OK);
    call.n_match = call.n_live;
    assert_int_equal(vindex__call_window(&call, &window), VINDEX_OK);
    assert_true(call.plan.by_p8);
    *gave_up = false;
    for (uint32_t i = 0; i < call.plan.n_workers; i++) {
        *gave_up |= call.workers[i].p8_fails;
        assert_true(call.workers[i].p8_tried < asked || !call.workers[i].p8_fails);
    }
    assert_int_equal(call.n_scored, asked); /* none twice, none left */
    free(window.hits);
}

/* Rows that differ in 256 elements alike, of which 16 are looked at. */
static void gives_up(void **state)
{
    static const uint32_t sizes[] = {3000, 900, 50};
    static const size_t batches[] = {1, 8, 70};
    (void)state;
    for (uint32_t i = 0; i < 9; i++) {
        struct shape shape = {.metric = VINDEX_L2 + i / 3, .dim = 256};
        struct fixture f;
        setup(&f, &shape, sizes, 3, 256);
        f.codes[0] = i % 2 ? WITH_P8 : WITH_ALL;
        begin(&f);
        f.search->forced = ENGINE_EXACT; /* none: as it costs */
        bool gave_up;
        struct search_request request = request_of(&f, batches[i % 3], 5);
        request.n_threads = 1 + i % 2;
        scan_and_look(&f, &request, &gave_up);
        /* To plain loops anything else is dearer. */
        if (vkern_get()->level != VKERN_LEVEL_REF) assert_true(gave_up);
        run_and_compare(&f, &request, "given up");
        teardown(&f);
    }
}

/* Where it is not given up few rows are scored. */
static void pays(void **state)
{
    static const uint32_t sizes[] = {16000, 50};
    struct shape shape = {.metric = VINDEX_L2, .dim = 256};
    struct fixture f;
    (void)state;
    setup(&f, &shape, sizes, 2, 5);
    begin(&f);
    f.search->forced = ENGINE_EXACT;
    for (size_t n = 1; n <= 65; n += 64) {
        bool gave_up;
        struct search_request request = request_of(&f, n, 5);
        scan_and_look(&f, &request, &gave_up);
        assert_false(gave_up);
        run_and_compare(&f, &request, "pays");
        assert_non_null(strstr(f.report.plan, ", p8 "));
    }
    teardown(&f);
}

/* Queries so large that only exact scores will do, beside others: they go their own way, once, whether the others stay
   with the leading coordinates or give them up. */
static void huge_queries_beside_others(void **state)
{
    enum { DIM = 256, QUERIES = 9 };
    static const uint32_t sizes[] = {3000, 50};
    static const float sizes_of_query[] = {1e36F, 3e38F};
    (void)state;
    for (uint32_t i = 0; i < 8; i++) {
        struct shape shape = {.metric = i % 2 ? VINDEX_IP : VINDEX_COSINE, .dim = DIM};
        struct fixture f;
        setup(&f, &shape, sizes, 2, i / 2 % 2 ? DIM : 5);
        begin(&f);
        float *query = (float *)f.queries + 4 * DIM;
        for (size_t d = 0; d < DIM; d++)
            query[d] = symmetric() < 0 ? sizes_of_query[i / 4] : -sizes_of_query[i / 4];
        for (int forced = 0; forced < 2; forced++)
            for (uint32_t n_threads = 1; n_threads <= 2; n_threads++) {
                struct search_request request = request_of(&f, QUERIES, 5);
                request.n_threads = n_threads;
                f.search->forced = forced ? ENGINE_P8 : ENGINE_EXACT;
                run_and_compare(&f, &request, "huge");
            }
        teardown(&f);
    }
}

/* ---- damaged codes ------------------------------------------------------------------------------- */

static void damage(struct part_codes *codes, size_t group_bytes, int how)
{
    static const float odd[] = {0, 1e-38F, 3e38F, INFINITY, NAN, -INFINITY, -1};
    float *facts[] = {&codes->p8_error, &codes->p8_size, &codes->p8_bias, &codes->p8_drift};
    for (uint32_t b = 0; b < codes->n_p8; b++) {
        char *group = (char *)(uintptr_t)codes->p8[b].rows;
        for (size_t at = 0; at < codes->p8[b].n * group_bytes; at++) {
            if (how % 4 == 0) group[at] = (char)vindex__rng_next(&rng);
            if (how % 4 == 1 && at % group_bytes >= group_bytes - 192) group[at] = (char)0xff;
            if (how % 4 == 2) group[at] = 0x7f;
            if (how % 4 == 3 && vindex__rng_below(&rng, 9) == 0)
                group[at] = (char)vindex__rng_next(&rng);
        }
    }
    for (size_t i = 0; i < 4 && how >= 4; i++)
        *facts[i] = odd[vindex__rng_below(&rng, 7)];
}

/* Whatever is lost: what is told are rows, each once, with their scores, in order. */
static void assert_sound(const struct fixture *f, const struct search_request *request,
                         const vindex_hit *hits)
{
    size_t row_bytes = row_bytes_of(f->shape.type, f->shape.dim, false);
    size_t query_bytes = row_bytes_of(f->shape.type, f->shape.dim, true);
    for (size_t i = 0; i < request->n_queries * request->k; i++) {
        const vindex_hit *hit = &hits[i], *before = i % request->k ? hit - 1 : NULL;
        if (hit->id == VINDEX_ID_NONE) {
            assert_true(isinf(hit->score));
            continue;
        }
        assert_true(hit->id >= 0 && (size_t)hit->id < f->shape.n && !f->dead[hit->id]);
        assert_true(hit->score ==
                    vindex__exact_score(
                        f->shape.type, f->shape.metric, f->shape.dim,
                        (const char *)request->queries + i / request->k * query_bytes,
                        (const char *)f->shape.rows + (size_t)hit->id * row_bytes));
        assert_true(!before || before->score < hit->score ||
                    (before->score == hit->score && before->id < hit->id));
    }
}

/* Where a part says that norms are none no query has codes, and none goes by tiles: all rows are scored exactly. */
static void norms_that_are_none(void **state)
{
    static const uint32_t sizes[] = {900, 40};
    static const enum engine ways[] = {ENGINE_C8, ENGINE_TILE8, ENGINE_TILE, ENGINE_P8};
    (void)state;
    for (uint32_t i = 0; i < 48; i++) {
        struct shape shape = {.type = i / 24 ? VINDEX_INT8 : VINDEX_FLOAT, .metric = i / 8 % 3, .dim = 20};
        struct fixture f;
        setup(&f, &shape, sizes, 2, 8);
        f.codes[0] = i % 8 < 4 ? WITH_P8 : WITH_ALL;
        begin(&f);
        ((struct part *)(uintptr_t)f.snapshot->parts)[0].norm_hi = INFINITY;
        f.search->forced = ways[i % 4];
        struct search_request request = request_of(&f, i % 4 == 1 ? 97 : 3, 5);
        run_and_compare(&f, &request, "no norms");
        teardown(&f);
    }
}

static void damaged_codes(void **state)
{
    static const uint32_t sizes[] = {2900, 700, 40};
    static const size_t batches[] = {1, 3, 96, 97, 200};
    vindex_hit *hits = calloc(QUERIES_MAX * 1000, sizeof *hits);
    (void)state;
    for (int how = 0; how < 16; how++) {
        struct shape shape = {
            .type = VINDEX_FLOAT + (uint32_t)how % 5, .metric = (uint32_t)how % 3, .dim = 20};
        size_t group_bytes = 64 * ((16 + (shape.metric == VINDEX_IP) + 3) / 4) + 192;
        struct fixture f;
        setup(&f, &shape, sizes, 3, 8);
        for (size_t r = 0; r < f.shape.n; r++)
            f.dead[r] = r % 5 == 1;
        begin(&f);
        for (size_t i = 0; i < 2; i++)
            damage((struct part_codes *)(uintptr_t)f.snapshot->parts[i].codes, group_bytes, how % 8);
        for (size_t i = 0; i < 5; i++) {
            struct search_request request = request_of(&f, batches[i], i ? 3 + 30 * (i % 2) : 1000);
            request.n_threads = 1 + (uint32_t)how % 2;
            f.search->forced = how % 3 ? ENGINE_P8 : ENGINE_EXACT;
            assert_int_equal(
                vindex__search_run(f.search, f.snapshot, &request, hits, &f.report), VINDEX_OK);
            assert_sound(&f, &request, hits);
        }
        teardown(&f);
    }
    free(hits);
}

/* ---- calls --------------------------------------------------------------------------------------- */

static void warm_call_allocates_nothing(void **state)
{
    static const uint32_t sizes[] = {5000, 900, 50};
    static const size_t batches[] = {1, 5, 97, 300};
    struct shape shape = {.type = VINDEX_UINT8, .metric = VINDEX_IP, .dim = 40};
    vindex_hit *hits = calloc(QUERIES_MAX * 10, sizeof *hits);
    struct fixture f;
    (void)state;
    setup(&f, &shape, sizes, 3, 8);
    begin(&f);
    for (int pass = 0; pass < 2; pass++) {
        uint64_t before = vindex__mem_count();
        for (int i = 0; i < 8; i++) {
            struct search_request request = request_of(&f, batches[i % 4], 10);
            request.n_threads = i < 4 ? 1 : 2;
            assert_int_equal(vindex__search_run(f.search, f.snapshot, &request, hits, &f.report),
                             VINDEX_OK);
            assert_non_null(strstr(f.report.plan, ", p8 "));
        }
        if (pass) assert_int_equal(vindex__mem_count(), before);
    }
    teardown(&f);
    free(hits);
}

static int count_down(void *context)
{
    int *left = context;
    return (*left)-- <= 0;
}

/* Cut short anywhere, scouting or later; the next call finds nothing odd. */
static void interrupts_leave_true_rows(void **state)
{
    static const uint32_t sizes[] = {30000, 9000, 50};
    struct shape shape = {.metric = VINDEX_L2, .dim = 24, .rows_per_block = 900};
    vindex_hit *hits = calloc(QUERIES_MAX * 10, sizeof *hits);
    struct fixture f;
    (void)state;
    setup(&f, &shape, sizes, 3, 12);
    begin(&f);
    for (int first = 0; first < 24; first++) {
        int left = first / 2;
        struct search_request request = request_of(&f, first % 2 ? QUERIES_MAX : 1, 10);
        request.cancel = count_down;
        request.cancel_context = &left;
        request.n_threads = 1 + (uint32_t)first / 2 % 2;
        vindex_status st = vindex__search_run(f.search, f.snapshot, &request, hits, &f.report);
        assert_true(st == VINDEX_CANCELLED || st == VINDEX_OK);
        assert_sound(&f, &request, hits);
        if (first % 8) continue;
        request = request_of(&f, 3, 10);
        run_and_compare(&f, &request, "after a cancelled call");
    }
    for (uint32_t n_threads = 1; n_threads <= 2; n_threads++) {
        struct search_request request = request_of(&f, QUERIES_MAX, 10);
        request.n_threads = n_threads;
        request.deadline_ns = vindex__now_ns() + 500000;
        vindex_status st = vindex__search_run(f.search, f.snapshot, &request, hits, &f.report);
        assert_true(st == VINDEX_TIMEOUT || st == VINDEX_OK);
        assert_sound(&f, &request, hits);
    }
    teardown(&f);
    free(hits);
}

/* A call that ends while it scouts has the best of what was looked at: of all queries not scored before it was to end. */
static void interrupts_leave_what_was_scouted(void **state)
{
    enum { K = 10 };
    static const uint32_t sizes[] = {40000, 50};
    struct shape shape = {.metric = VINDEX_L2, .dim = 24, .rows_per_block = 900};
    vindex_hit *hits = calloc(QUERIES_MAX * K, sizeof *hits);
    struct fixture f;
    (void)state;
    setup(&f, &shape, sizes, 2, 12);
    begin(&f);
    int left = 2; /* looks: before the call and the first row; the next is due in an eighth of a millisecond */
    struct search_request request = request_of(&f, QUERIES_MAX, K);
    request.cancel = count_down;
    request.cancel_context = &left;
    assert_int_equal(vindex__search_run(f.search, f.snapshot, &request, hits, &f.report),
                     VINDEX_CANCELLED);
    assert_int_equal(f.report.n_scored, 0);
    assert_sound(&f, &request, hits);
    const vindex_hit *last = &hits[(QUERIES_MAX - 1) * K];
    for (size_t i = 0; i < K && f.report.n_reranked == QUERIES_MAX * K; i++)
        assert_true(last[i].id != VINDEX_ID_NONE);
    teardown(&f);
    free(hits);
}

/* Audits learn the same of exact answers, however these are found. */
static void audits_are_the_same(void **state)
{
    enum { BATCH = 20 };
    static const uint32_t sizes[] = {6000, 5000, 50};
    struct shape shape = {.metric = VINDEX_L2, .dim = 24};
    unsigned char *entries[2] = {NULL, NULL};
    uint32_t n[2], entry_bytes[2];
    struct fixture f;
    (void)state;
    setup(&f, &shape, sizes, 3, 12);
    f.codes[0] = f.codes[1] = WITH_ALL;
    begin(&f);
    for (size_t i = 0; i < 2; i++) {
        struct search_request request = request_of(&f, BATCH, 10);
        struct calibration *calibration = NULL;
        assert_int_equal(vindex__calibration_new(24, &calibration), VINDEX_OK);
        vindex__calibration_reset(calibration, f.snapshot->model->nonce);
        request.calibration = calibration;
        f.search->forced = i ? ENGINE_P8 : ENGINE_QUERY;
        assert_int_equal(vindex__search_audit(f.search, f.snapshot, &request, AUDIT_GIVEN, NULL),
                         VINDEX_OK);
        assert_int_equal(
            vindex__calibration_save(calibration, &n[i], &entry_bytes[i], &entries[i]), VINDEX_OK);
        vindex__calibration_free(calibration);
    }
    assert_int_equal(n[0], BATCH);
    assert_int_equal(n[1], BATCH);
    assert_int_equal(entry_bytes[0], entry_bytes[1]);
    assert_memory_equal(entries[0], entries[1], (size_t)BATCH * entry_bytes[0]);
    vindex__free(entries[0]);
    vindex__free(entries[1]);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hits_are_the_oracles),
        cmocka_unit_test(equal_rows),
        cmocka_unit_test(padding_is_no_row),
        cmocka_unit_test(more_lines_than_tiles),
        cmocka_unit_test(scouts_count_once),
        cmocka_unit_test(idle_threads),
        cmocka_unit_test(gives_up),
        cmocka_unit_test(pays),
        cmocka_unit_test(huge_queries_beside_others),
        cmocka_unit_test(norms_that_are_none),
        cmocka_unit_test(damaged_codes),
        cmocka_unit_test(warm_call_allocates_nothing),
        cmocka_unit_test(interrupts_leave_true_rows),
        cmocka_unit_test(interrupts_leave_what_was_scouted),
        cmocka_unit_test(audits_are_the_same),
    };
    vindex__rng_init(&rng, test_seed());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
