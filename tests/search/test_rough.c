/*
 * test_rough.c - targets below 1: what c4 finds is exactly the best k' by rough score, whatever
 * the batch, the threads and the filter; audits name the ranks that make it so; a call learns
 * before it plans, and never where it may not.
 */
#include "common/cmocka.h"

#include <math.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "search/call.h"
#include "search/helper_snapshot.h"

static struct rng rng;

enum { DIM = 24, M = 16, PART = 4096, N_QUERIES = 200, N_PARTS = 12 };

struct fixture {
    struct shape shape;
    uint32_t parts[N_PARTS];
    uint8_t codes[N_PARTS];
    uint8_t *dead;
    int64_t *ids;
    void *queries;
    struct snapshot *snapshot;
    struct search *search;
    struct calibration *calibration;
    vindex_report report;
};

/* Parts of 4,096 rows; one has c8 alone, one nothing, one is nearly dead, and there is a tail. */
static void setup(struct fixture *f, uint32_t type, uint32_t metric, enum nature nature, size_t n)
{
    memset(f, 0, sizeof *f);
    f->shape = (struct shape){.type = type,
                              .metric = metric,
                              .dim = DIM,
                              .n = n,
                              .parts = f->parts,
                              .rows_per_block = 300,
                              .codes = f->codes,
                              .m = M,
                              .groups_per_block = 37};
    f->shape.rows = make_rows(&rng, type, nature, n, DIM, false);
    f->queries = make_rows(&rng, type, nature, N_QUERIES, DIM, true);
    f->dead = calloc(n, 1);
    f->ids = calloc(n, sizeof *f->ids);
    for (size_t left = n; left > 0; left -= f->parts[f->shape.n_parts++]) {
        f->parts[f->shape.n_parts] = (uint32_t)(left < PART ? left : PART);
        f->codes[f->shape.n_parts] = WITH_ALL;
    }
    f->codes[1] = WITH_C8;
    f->codes[2] = 0;
    for (size_t i = 0; i < n; i++) {
        size_t part = i / PART;
        f->dead[i] = part == 3 ? i % 50 != 0 : i % 9 == 0;
        f->ids[i] = part == 4 ? (int64_t)(part * PART + (i * 7) % PART) : (int64_t)i;
    }
    f->shape.dead = f->dead;
    f->shape.ids = f->ids;
    f->snapshot = make_snapshot(&f->shape);
    f->report.struct_size = sizeof f->report;
    assert_int_equal(vindex__search_new(&f->search), VINDEX_OK);
    assert_int_equal(vindex__calibration_new(DIM, &f->calibration), VINDEX_OK);
    vindex__calibration_reset(f->calibration, f->snapshot->model->nonce);
}

static void teardown(struct fixture *f)
{
    vindex__calibration_free(f->calibration);
    vindex__search_free(f->search);
    free_snapshot(f->snapshot);
    free((void *)f->shape.rows);
    free(f->queries);
    free(f->dead);
    free(f->ids);
}

static struct search_request request_of(const struct fixture *f, size_t n_queries, size_t k)
{
    return (struct search_request){.queries = f->queries,
                                   .n_queries = n_queries,
                                   .k = k,
                                   .recall = 0.9F,
                                   .n_threads = 1,
                                   .calibration = f->calibration};
}

/* Straight to the scan, with a k' of ours. */
static void search_roughly(struct fixture *f, const struct search_request *request, size_t k_prime,
                           vindex_hit *hits, uint64_t *n_reranked)
{
    struct call call;
    struct window window = {
        .n = request->n_queries, .k = request->k, .k_prime = k_prime, .hits = hits};
    vindex__call_open(&call, f->search, f->snapshot, request, hits);
    assert_int_equal(vindex__search_pool(f->search, request->n_threads), VINDEX_OK);
    assert_int_equal(vindex__call_filter(&call), VINDEX_OK);
    assert_int_equal(vindex__call_window(&call, &window), VINDEX_OK);
    if (n_reranked) *n_reranked = call.n_reranked;
}

/* ---- the oracle ------------------------------------------------------------------------------ */

struct scored {
    float score;
    uint64_t position;
};

static int by_score(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? -1 : 1;
    return (x->position > y->position) - (x->position < y->position);
}

static bool counts(const struct fixture *f, const struct search_request *request, size_t row)
{
    return !f->dead[row] && filter_names(request->filter, f->ids[row]);
}

/* A part that c4 scans: it has the plane, and a 32nd of its rows count. */
static bool is_rough(const struct fixture *f, const struct search_request *request, size_t part)
{
    size_t n = 0;
    for (size_t i = 0; i < f->parts[part]; i++)
        n += counts(f, request, part * PART + i);
    return f->snapshot->parts[part].codes && f->snapshot->parts[part].codes->c4 &&
           32 * n >= f->parts[part];
}

/* c4 scores of all rows that count in rough parts, in order; exact[]: the rows in other parts. */
static size_t rough_order(const struct fixture *f, const struct search_request *request, size_t q,
                          struct scored *order, uint8_t *exact)
{
    const struct model *from = f->snapshot->model;
    struct vkern_model model = {.dim = DIM,
                                .m = M,
                                .metric = f->shape.metric,
                                .mean = from->mean,
                                .scale = from->scale,
                                .axes = from->axes,
                                .deviation = from->deviation,
                                .clip = from->clip};
    float query[DIM], scratch[DIM + M], scale, scores[16];
    int8_t weights[M];
    size_t n = 0, row_bytes = row_bytes_of(f->shape.type, DIM, true);
    const char *bytes = (const char *)f->queries + q * row_bytes;

    vkern_get()->to_f32[row_bytes == 4 * DIM ? VKERN_F32 : f->shape.type](bytes, DIM, query);
    vkern_c4_query_make(vkern_get(), &model, query, scratch, weights, &scale);
    for (size_t p = 0; p < f->shape.n_parts; p++) {
        const struct part *part = &f->snapshot->parts[p];
        bool rough = is_rough(f, request, p);
        for (size_t i = 0; i < part->n; i++) {
            size_t row = part->base + i;
            exact[row] = !rough && counts(f, request, row);
            if (!rough) continue;
            size_t group = i / 16, per_block = part->codes->c4[0].n;
            const struct block *block = &part->codes->c4[group / per_block];
            if (i % 16 == 0)
                vkern_get()->codes->c4_scan(
                    weights, scale, (const char *)block->rows + group % per_block * block->stride,
                    1, M, scores, 0, NULL);
            if (counts(f, request, row)) order[n++] = (struct scored){scores[i % 16], row};
        }
    }
    qsort(order, n, sizeof *order, by_score);
    return n;
}

static int by_hit(const void *a, const void *b)
{
    const vindex_hit *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static void rough_oracle(const struct fixture *f, const struct search_request *request, size_t q,
                         size_t k_prime, vindex_hit *hits)
{
    size_t n = f->shape.n, row_bytes = row_bytes_of(f->shape.type, DIM, false), n_all = 0;
    struct scored *order = calloc(n, sizeof *order);
    uint8_t *chosen = calloc(n, 1);
    vindex_hit *all = calloc(n, sizeof *all);
    size_t n_rough = rough_order(f, request, q, order, chosen);

    for (size_t i = 0; i < n_rough && i < k_prime; i++)
        chosen[order[i].position] = 1;
    for (size_t row = 0; row < n; row++)
        if (chosen[row])
            all[n_all++] =
                (vindex_hit){f->ids[row],
                             vindex__exact_score(f->shape.type, f->shape.metric, DIM,
                                                 (const char *)f->queries +
                                                     q * row_bytes_of(f->shape.type, DIM, true),
                                                 (const char *)f->shape.rows + row * row_bytes),
                             0};
    qsort(all, n_all, sizeof *all, by_hit);
    for (size_t i = 0; i < request->k; i++)
        hits[i] = i < n_all ? all[i] : (vindex_hit){VINDEX_ID_NONE, INFINITY, 0};
    free(order);
    free(chosen);
    free(all);
}

static void assert_hits(const vindex_hit *got, const vindex_hit *want, size_t n, const char *what)
{
    for (size_t i = 0; i < n; i++)
        if (got[i].id != want[i].id || memcmp(&got[i].score, &want[i].score, 4))
            fail_msg("%s: hit %zu is (%lld, %.9g), not (%lld, %.9g)", what, i, (long long)got[i].id,
                     (double)got[i].score, (long long)want[i].id, (double)want[i].score);
}

/* ---- what is found --------------------------------------------------------------------------- */

static int odd_third(void *context, int64_t id)
{
    (void)context;
    return id % 3 == 1;
}

static void the_best_by_rough_score(void **state)
{
    static const struct {
        const char *name;
        uint32_t type, metric;
        enum nature nature;
        size_t batch, k, k_prime;
        uint32_t threads;
        bool filtered;
    } cases[] = {
        {"one query", VINDEX_FLOAT, VINDEX_L2, NATURE_NORMAL, 1, 10, 40, 1, false},
        {"few, threads", VINDEX_FLOAT, VINDEX_COSINE, NATURE_NORMAL, 5, 10, 25, 3, false},
        {"many, threads share rows", VINDEX_BFLOAT16, VINDEX_IP, NATURE_NORMAL, 100, 10, 33, 2,
         false},
        {"many, threads share queries", VINDEX_FLOAT16, VINDEX_L2, NATURE_NORMAL, 200, 3, 5, 1,
         false},
        {"integers", VINDEX_UINT8, VINDEX_L2, NATURE_NORMAL, 20, 10, 64, 2, false},
        {"signed, filtered", VINDEX_INT8, VINDEX_COSINE, NATURE_NORMAL, 3, 10, 64, 2, true},
        {"filtered", VINDEX_FLOAT, VINDEX_L2, NATURE_NORMAL, 1, 10, 40, 1, true},
        {"equal rows: positions decide", VINDEX_FLOAT, VINDEX_L2, NATURE_DUPLICATES, 4, 20, 90, 3,
         false},
        {"k' of 1", VINDEX_FLOAT, VINDEX_L2, NATURE_NORMAL, 2, 1, 1, 2, false},
        {"k' beyond the rows", VINDEX_FLOAT, VINDEX_L2, NATURE_NORMAL, 2, 10, 1000000, 2, false},
        {"huge", VINDEX_FLOAT, VINDEX_L2, NATURE_HUGE_30, 2, 5, 20, 1, false},
        {"tiny", VINDEX_FLOAT, VINDEX_L2, NATURE_TINY_25, 2, 5, 20, 1, false},
    };
    const vindex_filter filter = {.kind = VINDEX_FILTER_CALLBACK, .callback = odd_third};
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct fixture f;
        size_t k = cases[c].k, n = cases[c].batch;
        vindex_hit *got = calloc(n * k, sizeof *got), *want = calloc(k, sizeof *want);
        setup(&f, cases[c].type, cases[c].metric, cases[c].nature, 26000);
        struct search_request request = request_of(&f, n, k);
        request.n_threads = cases[c].threads;
        request.filter = cases[c].filtered ? &filter : NULL;
        search_roughly(&f, &request, cases[c].k_prime, got, NULL);
        for (size_t q = 0; q<n; q += n> 10 ? 17 : 1) {
            rough_oracle(&f, &request, q, cases[c].k_prime, want);
            assert_hits(got + q * k, want, k, cases[c].name);
        }
        teardown(&f);
        free(got);
        free(want);
    }
}

/* With all that the axes hold and some to spare, nearly all is found; and few rows are looked at. */
static void recall_is_sane(void **state)
{
    enum { K = 10, BATCH = 100 };
    vindex_hit got[BATCH * K], want[BATCH * K];
    struct fixture f;
    size_t n_found = 0;
    uint64_t n_reranked;
    (void)state;
    setup(&f, VINDEX_FLOAT, VINDEX_L2, NATURE_NORMAL, 30000);
    f.shape.m = DIM;
    free_snapshot(f.snapshot);
    memset(f.codes, WITH_ALL, sizeof f.codes);
    f.snapshot = make_snapshot(&f.shape);
    struct search_request request = request_of(&f, BATCH, K);
    search_roughly(&f, &request, 60, got, &n_reranked);
    oracle(&f.shape, &request, want);
    for (size_t i = 0; i < BATCH * K; i++)
        for (size_t j = i / K * K; j < i / K * K + K; j++)
            n_found += got[i].id == want[j].id;
    if (n_found < BATCH * K * 97 / 100) fail_msg("%zu of %d found", n_found, BATCH * K);
    assert_true(n_reranked < BATCH * 2000);
    teardown(&f);
}

/* ---- audits ---------------------------------------------------------------------------------- */

static void check_efforts(struct fixture *f, const struct search_request *request, size_t q,
                          const int64_t *exclude, const unsigned char *entry)
{
    uint32_t depth = load_le32(entry + 4), n = (uint32_t)f->shape.n;
    struct scored *order = calloc(n, sizeof *order);
    uint8_t *exact = calloc(n, 1);
    vindex_hit *hits = calloc(N_QUERIES * (depth + 1), sizeof *hits);
    struct search_request deep = *request;
    deep.k = depth + 1;
    oracle(&f->shape, &deep, hits);
    size_t n_rough = rough_order(f, request, q, order, exact), answer = 0;

    for (size_t i = 0; answer < depth; i++) {
        int64_t id = hits[q * deep.k + i].id;
        uint64_t rank = 0;
        size_t at = 0;
        if (exclude && id == *exclude) continue;
        for (; at < n_rough && f->ids[order[at].position] != id; at++)
            rank += !exclude || f->ids[order[at].position] != *exclude;
        uint32_t want = at == n_rough ? 0 : vindex__effort_of(rank + 1);
        if (entry[16 + answer] != want)
            fail_msg("query %zu answer %zu: effort %u, not %u", q, answer, entry[16 + answer],
                     want);
        answer++;
    }
    free(order);
    free(exact);
    free(hits);
}

static void audits_name_ranks(void **state)
{
    enum { BATCH = 6 };
    (void)state;
    for (int round = 0; round < 4; round++) {
        struct fixture f;
        int64_t exclude[BATCH];
        unsigned char *entries = NULL;
        uint32_t n = 0, entry_bytes = 0;
        setup(&f, round == 3 ? VINDEX_UINT8 : VINDEX_FLOAT, round == 1 ? VINDEX_IP : VINDEX_L2,
              round == 2 ? NATURE_TIES : NATURE_NORMAL, 26000);
        struct search_request request = request_of(&f, BATCH, round == 1 ? 120 : 10);
        request.n_threads = 1 + (uint32_t)round % 2;
        for (size_t q = 0; q < BATCH; q++) { /* rows ask for themselves */
            size_t row = q * PART + 77, row_bytes = row_bytes_of(f.shape.type, DIM, false);
            while (f.dead[row])
                row++;
            exclude[q] = f.ids[row];
            memcpy((char *)f.queries + q * row_bytes, (const char *)f.shape.rows + row * row_bytes,
                   row_bytes);
        }
        const int64_t *excluded = round % 2 ? NULL : exclude;
        assert_int_equal(vindex__search_audit(f.search, f.snapshot, &request,
                                              excluded ? AUDIT_ROW : AUDIT_GIVEN, excluded),
                         VINDEX_OK);
        assert_int_equal(vindex__calibration_save(f.calibration, &n, &entry_bytes, &entries),
                         VINDEX_OK);
        assert_int_equal(n, BATCH);
        /* With threads they may be added in any order: told apart by their first efforts, so one
           thread. */
        for (size_t q = 0; q < BATCH && request.n_threads == 1; q++) {
            const unsigned char *entry = entries + q * entry_bytes;
            assert_int_equal(load_le32(entry + 4), 100);
            check_efforts(&f, &request, q, excluded ? &excluded[q] : NULL, entry);
        }
        if (round == 1) assert_int_equal(load_le32(entries + 4), 120);
        vindex__free(entries);
        teardown(&f);
    }
}

/* ---- the flow -------------------------------------------------------------------------------- */

static uint64_t n_live_audits(struct fixture *f)
{
    struct calibration_stat stat;
    vindex__calibration_stat(f->calibration, &stat);
    return stat.n_live;
}

static void learns_then_plans(void **state)
{
    enum { K = 10 };
    vindex_hit got[N_QUERIES * K], want[N_QUERIES * K];
    struct fixture f;
    (void)state;
    setup(&f, VINDEX_FLOAT, VINDEX_L2, NATURE_NORMAL, N_PARTS * PART);
    f.search->forced = ENGINE_C4;
    struct search_request request = request_of(&f, 1, K);

    oracle(&f.shape, &request, want);
    assert_int_equal(vindex__search_run(f.search, f.snapshot, &request, got, &f.report), 0);
    assert_hits(got, want, K, "a cold query");
    assert_int_equal(f.report.state, VINDEX_STATE_EXACT);
    assert_int_equal(f.report.effort, 0);
    assert_int_equal(n_live_audits(&f), 1);

    /* Where it may not learn, it does not. */
    request.flags = VINDEX_SEARCH_NO_AUDIT;
    assert_int_equal(vindex__search_run(f.search, f.snapshot, &request, got, &f.report), 0);
    request.flags = 0;
    request.deadline_ns = vindex__now_ns() + INT64_C(1000000000000);
    assert_int_equal(vindex__search_run(f.search, f.snapshot, &request, got, &f.report), 0);
    request.deadline_ns = 0;
    request.recall = 1;
    assert_int_equal(vindex__search_run(f.search, f.snapshot, &request, got, &f.report), 0);
    assert_int_equal(n_live_audits(&f), 1);

    /* A batch learns from its first queries and plans for the rest of them. */
    request = request_of(&f, N_QUERIES, K);
    assert_int_equal(vindex__search_run(f.search, f.snapshot, &request, got, &f.report), 0);
    assert_true(n_live_audits(&f) >= COLD_AUDITS);
    assert_true(f.report.effort >= K);
    assert_int_equal(f.report.basis, BASIS_QUERIES);
    assert_true(f.report.state == VINDEX_STATE_PROVEN || f.report.state == VINDEX_STATE_ASSUMED);
    assert_non_null(strstr(f.report.plan, ": c4 of "));
    request.n_queries = 10;
    oracle(&f.shape, &request, want);
    assert_hits(got, want, 10 * K, "the first of a cold batch");

    /* Planned: as a scan with this k' finds, with every number of threads. */
    request = request_of(&f, 40, K);
    request.flags = VINDEX_SEARCH_NO_AUDIT;
    for (request.n_threads = 1; request.n_threads <= 3; request.n_threads++) {
        assert_int_equal(vindex__search_run(f.search, f.snapshot, &request, got, &f.report), 0);
        assert_true(f.report.effort > 0);
        search_roughly(&f, &request, (size_t)f.report.effort, want, NULL);
        assert_hits(got, want, 40 * K, "planned");
    }
    teardown(&f);
}

static int count_down(void *context)
{
    int *left = context;
    return (*left)-- <= 0;
}

/* Cut short anywhere: right scores, in order, of live rows. */
static void interrupts_leave_true_rows(void **state)
{
    enum { K = 10 };
    vindex_hit *hits = calloc(N_QUERIES * K, sizeof *hits);
    struct fixture f;
    (void)state;
    setup(&f, VINDEX_FLOAT, VINDEX_L2, NATURE_NORMAL, N_PARTS * PART);
    f.search->forced = ENGINE_C4;
    for (int first = 0; first < 12; first++) {
        int left = first;
        struct search_request request = request_of(&f, first % 2 ? N_QUERIES : 1, K);
        request.cancel = count_down;
        request.cancel_context = &left;
        vindex_status st = vindex__search_run(f.search, f.snapshot, &request, hits, &f.report);
        assert_true(st == VINDEX_CANCELLED || (left >= 0 && st == VINDEX_OK));
        for (size_t i = 0; i < request.n_queries * K; i++) {
            size_t row = (size_t)hits[i].id;
            if (hits[i].id == VINDEX_ID_NONE) continue;
            for (row = 0; f.ids[row] != hits[i].id; row++) {}
            assert_false(f.dead[row]);
            float score = vindex__exact_score(VINDEX_FLOAT, VINDEX_L2, DIM,
                                              (const float *)f.queries + i / K * DIM,
                                              (const float *)f.shape.rows + row * DIM);
            assert_true(score == hits[i].score);
            if (i % K && hits[i - 1].id != VINDEX_ID_NONE) assert_true(hits[i - 1].score <= score);
        }
    }
    teardown(&f);
    free(hits);
}

/* Rows that a rough scan has reached are worth their exact scores: a call that ends gives the best of
   them. */
static void interrupts_leave_what_was_reached(void **state)
{
    enum { K = 10, K_PRIME = 2000 };
    vindex_hit *hits = calloc(N_QUERIES * K, sizeof *hits);
    struct fixture f;
    (void)state;
    setup(&f, VINDEX_FLOAT, VINDEX_L2, NATURE_NORMAL, N_PARTS * PART);
    for (uint32_t n_threads = 1; n_threads <= 2; n_threads++)
        for (int looks = 8; looks <= 16; looks += 8) {
            int left = looks;
            struct search_request request = request_of(&f, N_QUERIES / 2, K);
            struct window window = {
                .n = request.n_queries, .k = K, .k_prime = K_PRIME, .hits = hits};
            struct call call;
            request.cancel = count_down;
            request.cancel_context = &left;
            request.n_threads = n_threads;
            vindex__call_open(&call, f.search, f.snapshot, &request, hits);
            assert_int_equal(vindex__search_pool(f.search, n_threads), VINDEX_OK);
            assert_int_equal(vindex__call_filter(&call), VINDEX_OK);
            assert_int_equal(vindex__call_window(&call, &window), VINDEX_CANCELLED);
            for (size_t i = 0; i < request.n_queries * K; i++)
                if (hits[i].id == VINDEX_ID_NONE)
                    fail_msg("%u threads, look %d: query %zu has %zu hits", n_threads, looks,
                             i / K, i % K);
        }
    teardown(&f);
    free(hits);
}

/* But not worth more than about a millisecond: a large batch with a large k would take long. */
static void interrupts_are_honoured_soon(void **state)
{
    enum { K = 1000 };
    vindex_hit *hits = calloc(N_QUERIES * K, sizeof *hits);
    struct fixture f;
    (void)state;
    setup(&f, VINDEX_FLOAT, VINDEX_L2, NATURE_NORMAL, N_PARTS * PART);
    for (uint32_t n_threads = 1; n_threads <= 2; n_threads++)
        for (size_t k_prime = 0; k_prime <= 5000; k_prime += 5000) {
            int left = 1;
            struct search_request request = request_of(&f, N_QUERIES, K);
            struct window window = {
                .n = request.n_queries, .k = K, .k_prime = k_prime, .hits = hits};
            struct call call;
            request.cancel = count_down;
            request.cancel_context = &left;
            request.n_threads = n_threads;
            memset(hits, 0x55, N_QUERIES * K * sizeof *hits);
            vindex__call_open(&call, f.search, f.snapshot, &request, hits);
            assert_int_equal(vindex__search_pool(f.search, n_threads), VINDEX_OK);
            assert_int_equal(vindex__call_filter(&call), VINDEX_OK);
            assert_int_equal(vindex__call_window(&call, &window), VINDEX_CANCELLED);
            /* 42 ns a row, by estimate; what was scored before that is little */
            if (call.n_reranked > n_threads * 60000)
                fail_msg("%u threads, k' %zu: %llu rows", n_threads, k_prime,
                         (unsigned long long)call.n_reranked);
            for (size_t i = 0; i < N_QUERIES * K; i++)
                assert_true(hits[i].id == VINDEX_ID_NONE || hits[i].id < (int64_t)f.shape.n);
        }
    teardown(&f);
    free(hits);
}

static void warm_call_allocates_nothing(void **state)
{
    enum { K = 10 };
    vindex_hit *hits = calloc(N_QUERIES * K, sizeof *hits);
    struct fixture f;
    (void)state;
    setup(&f, VINDEX_FLOAT, VINDEX_COSINE, NATURE_NORMAL, N_PARTS * PART);
    f.search->forced = ENGINE_C4;
    for (int pass = 0; pass < 3; pass++) {
        uint64_t before = vindex__mem_count();
        for (int i = 0; i < 8; i++) {
            struct search_request request = request_of(&f, i % 2 ? N_QUERIES : 1, K);
            request.n_threads = i < 4 ? 1 : 2;
            request.flags = pass ? VINDEX_SEARCH_NO_AUDIT : 0; /* what is learnt is kept */
            request.recall = i % 4 < 2 ? 0.9F : 1;
            assert_int_equal(vindex__search_run(f.search, f.snapshot, &request, hits, &f.report),
                             VINDEX_OK);
        }
        if (pass == 2) assert_int_equal(vindex__mem_count(), before);
    }
    teardown(&f);
    free(hits);
}

static void out_of_memory_at_each_allocation(void **state)
{
    enum { K = 10, BATCH = 40 };
    vindex_hit *hits = calloc(BATCH * K, sizeof *hits);
    struct fixture f;
    int n_failed = 0;
    (void)state;
    setup(&f, VINDEX_UINT8, VINDEX_L2, NATURE_NORMAL, N_PARTS * PART);
    for (uint64_t n = 1;; n++, n_failed++) {
        struct search *search = NULL;
        struct search_request request = request_of(&f, BATCH, K);
        vindex__calibration_reset(f.calibration, f.snapshot->model->nonce);
        vindex__mem_fail_after(n);
        vindex_status st = vindex__search_new(&search);
        if (st == VINDEX_OK) {
            search->forced = ENGINE_C4;
            st = vindex__search_run(search, f.snapshot, &request, hits, &f.report);
        }
        vindex__mem_fail_after(0);
        vindex__search_free(search);
        if (st == VINDEX_OK) break;
        assert_int_equal(st, VINDEX_NOMEM);
    }
    assert_true(n_failed >= 3);
    teardown(&f);
    free(hits);
}

/* Codes that say nothing are not missed. */
static void no_codes_are_no_matter(void **state)
{
    enum { K = 10 };
    vindex_hit got[K], want[K];
    struct fixture f;
    (void)state;
    setup(&f, VINDEX_FLOAT, VINDEX_L2, NATURE_NORMAL, 40000);
    memset(f.codes, 0, sizeof f.codes);
    free_snapshot(f.snapshot);
    f.snapshot = make_snapshot(&f.shape);
    for (int i = 0; i < 3; i++) {
        static const enum engine ways[] = {ENGINE_EXACT, ENGINE_C8, ENGINE_C4};
        struct search_request request = request_of(&f, 1, K);
        f.search->forced = ways[i];
        oracle(&f.shape, &request, want);
        assert_int_equal(vindex__search_run(f.search, f.snapshot, &request, got, &f.report), 0);
        assert_hits(got, want, K, "without codes");
        assert_int_equal(f.report.state, VINDEX_STATE_EXACT);
        assert_int_equal(vindex__search_audit(f.search, f.snapshot, &request, AUDIT_GIVEN, NULL),
                         VINDEX_OK);
    }
    assert_int_equal(n_live_audits(&f), 0);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_best_by_rough_score),
        cmocka_unit_test(recall_is_sane),
        cmocka_unit_test(audits_name_ranks),
        cmocka_unit_test(learns_then_plans),
        cmocka_unit_test(interrupts_leave_true_rows),
        cmocka_unit_test(interrupts_leave_what_was_reached),
        cmocka_unit_test(interrupts_are_honoured_soon),
        cmocka_unit_test(warm_call_allocates_nothing),
        cmocka_unit_test(out_of_memory_at_each_allocation),
        cmocka_unit_test(no_codes_are_no_matter),
    };
    vindex__rng_init(&rng, test_seed());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
