/*
 * test_device_draws.c - random searches with a device beside the same by the CPU, through random commits, two searchers
 * at once: at target 1 the hits are the CPU's, below it they are rows that count with their own scores, in order. One
 * second of them; VINDEX_TEST_SECONDS asks for more.
 */
#include "common/cmocka.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "base/random.h"
#include "base/threads.h"
#include "helper_plugin.h"
#include "vindex.h"

enum { DIM_MAX = 40, BATCH_MAX = 70, INSERT_MAX = 1500 };

struct fixture {
    struct rng rng;
    vindex *index;
    vindex_searcher *searchers[2];
    uint32_t type, metric, dim;
    bool has_ties;
    size_t n; /* ids handed out */
    char device[600];
};

static size_t below(struct fixture *f, size_t n)
{
    return (size_t)vindex__rng_below(&f->rng, n);
}

static void draw_rows(struct fixture *f, float *rows, size_t n)
{
    bool whole = f->has_ties || f->type == VINDEX_UINT8 || f->type == VINDEX_INT8;
    for (size_t i = 0; i < n * f->dim; i++)
        rows[i] = whole ? (float)below(f, f->has_ties ? 3 : 100)
                        : (float)(vindex__rng_unit(&f->rng) * 2 - 1);
}

static void change_rows(struct fixture *f)
{
    static float rows[INSERT_MAX * DIM_MAX];
    vindex_writer *writer = NULL;
    size_t n_in = below(f, 2) ? below(f, INSERT_MAX) : below(f, 60), n_out = below(f, 200);
    draw_rows(f, rows, n_in);
    assert_int_equal(vindex_writer_begin(f->index, &writer), VINDEX_OK);
    assert_int_equal(
        vindex_writer_insert(writer, NULL, &(vindex_vectors){rows, n_in, 4 * f->dim, 0, 0}, 0),
        VINDEX_OK);
    f->n += n_in;
    for (size_t i = 0; i < n_out; i++) {
        int64_t id = (int64_t)below(f, f->n + 1);
        assert_int_equal(vindex_writer_remove(writer, &id, 1, NULL), VINDEX_OK);
    }
    assert_int_equal(vindex_writer_commit(writer), VINDEX_OK);
    if (below(f, 6) == 0)
        assert_int_equal(vindex_optimize(f->index, VINDEX_OPTIMIZE_ALL, NULL, NULL), VINDEX_OK);
}

static void open_fixture(struct fixture *f, uint64_t seed)
{
    static const char *const words[] = {
        "", "devices=2", "devices=3", "platform=tpu", "platform=cuda", "kinds=bins"};
    vindex_create_options options = VINDEX_CREATE_OPTIONS_INIT;
    memset(f, 0, sizeof *f);
    vindex__rng_init(&f->rng, seed);
    plugin_tell(words[below(f, 6)]);
    f->type = (uint32_t)below(f, VINDEX_BIT);
    f->metric = (uint32_t)below(f, VINDEX_HAMMING);
    f->dim = 1 + (uint32_t)below(f, DIM_MAX);
    f->has_ties = below(f, 4) == 0;
    options.dim = f->dim;
    options.type = f->type;
    options.metric = f->metric;
    options.seal_rows = 50 + (uint32_t)below(f, 800);
    assert_int_equal(vindex_create(":memory:", &options, &f->index), VINDEX_OK);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(vindex_searcher_open(f->index, &f->searchers[i]), VINDEX_OK);
    snprintf(f->device, sizeof f->device, "pjrt:%s,chunk=%u%s", plugin_path("good"),
             128u << below(f, 4), below(f, 4) == 0 ? ",type=bf16" : "");
}

static void close_fixture(struct fixture *f)
{
    for (size_t i = 0; i < 2; i++)
        vindex_searcher_close(f->searchers[i]);
    vindex_close(f->index);
    plugin_check_empty("good");
}

/* ---- questions ------------------------------------------------------------------------------- */

struct question {
    vindex_searcher *searcher;
    const char *device;
    vindex_vectors queries;
    size_t k;
    float recall;
    uint32_t n_threads;
    const vindex_filter *filter;
    vindex_hit *hits;
    vindex_report report;
    vindex_status status;
};

static void *ask(void *context)
{
    struct question *q = context;
    vindex_search_options options = VINDEX_SEARCH_OPTIONS_INIT;
    options.device = q->device;
    options.recall = q->recall;
    options.n_threads = q->n_threads;
    options.filter = q->filter;
    memset(q->hits, 0x77, q->queries.n * q->k * sizeof *q->hits);
    q->status = vindex_search(q->searcher, &q->queries, q->k, &options, q->hits);
    q->report = (vindex_report)VINDEX_REPORT_INIT;
    vindex_searcher_report(q->searcher, &q->report);
    return NULL;
}

static void tell(const struct fixture *f, const struct question *q, size_t at)
{
    fail_msg("type %u metric %u dim %u rows %zu batch %zu k %zu recall %g threads %u%s, %s: query "
             "%zu hit "
             "%zu is (%lld, %.9g)",
             f->type, f->metric, f->dim, f->n, q->queries.n, q->k, (double)q->recall, q->n_threads,
             q->filter ? " filter" : "", q->report.plan, at / q->k, at % q->k,
             (long long)q->hits[at].id, (double)q->hits[at].score);
}

/* all: every row that counts, in order, for each query. */
static void check(const struct fixture *f, const struct question *q, const vindex_hit *all,
                  size_t n_all)
{
    if (q->status != VINDEX_OK) fail_msg("%s", vindex_message());
    for (size_t i = 0; i < q->queries.n; i++) {
        const vindex_hit *hits = q->hits + i * q->k, *truth = all + i * n_all;
        size_t at = 0;
        for (size_t j = 0; j < q->k; j++) {
            if (q->recall < 1 && q->report.state != VINDEX_STATE_EXACT && j < n_all)
                while (at < n_all && truth[at].id != hits[j].id)
                    at++; /* in order: never back */
            else
                at = j;
            if (at < n_all ? memcmp(&truth[at], &hits[j], sizeof *hits) != 0
                           : j < n_all || hits[j].id != VINDEX_ID_NONE)
                tell(f, q, i * q->k + j);
            at++;
        }
    }
}

static void ask_and_compare(struct fixture *f)
{
    static float queries[BATCH_MAX * DIM_MAX];
    static uint8_t bits[1 << 16];
    vindex_filter filter = {.kind = VINDEX_FILTER_BITMAP, .bitmap = bits, .n = 8 * sizeof bits};
    vindex_stats stats = VINDEX_STATS_INIT;
    size_t n_all = 0;
    assert_int_equal(vindex_stat(f->index, &stats), VINDEX_OK);
    const size_t ks[] = {1, 3, 10, 10, 100, stats.n_rows / 5 + 1, stats.n_rows + 3};
    struct question q[2], all = {.searcher = f->searchers[0], .device = "cpu", .recall = 1};
    draw_rows(f, queries, BATCH_MAX);
    for (size_t i = 0; i < sizeof bits; i++)
        bits[i] = (uint8_t)vindex__rng_next(&f->rng);
    all.queries =
        (vindex_vectors){queries, 1 + below(f, below(f, 2) ? 9 : BATCH_MAX), 4 * f->dim, 0, 0};
    all.filter = below(f, 3) == 0 ? &filter : NULL;
    all.k = stats.n_rows + 1;
    all.hits = malloc(all.queries.n * all.k * sizeof *all.hits);
    assert_non_null(all.hits);
    ask(&all);
    assert_int_equal(all.status, VINDEX_OK);
    while (all.hits[n_all].id != VINDEX_ID_NONE)
        n_all++;
    for (size_t i = 1; i < all.queries.n; i++) /* dense */
        memmove(all.hits + i * n_all, all.hits + i * all.k, n_all * sizeof *all.hits);
    for (size_t i = 0; i < 2; i++) {
        q[i] = all;
        q[i].searcher = f->searchers[i];
        q[i].device = f->device;
        q[i].k = ks[below(f, 7)];
        q[i].recall = below(f, 3) ? 1 : 0.9F;
        q[i].n_threads = 1 + (uint32_t)below(f, 4);
        q[i].hits = malloc(q[i].queries.n * q[i].k * sizeof *q[i].hits);
        assert_non_null(q[i].hits);
    }
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, ask, &q[1]), 0);
    ask(&q[0]);
    pthread_join(thread, NULL);
    for (size_t i = 0; i < 2; i++) {
        check(f, &q[i], all.hits, n_all);
        free(q[i].hits);
    }
    free(all.hits);
}

static void drawn(void **state)
{
    const char *given = getenv("VINDEX_TEST_SECONDS");
    int64_t end = vindex__now_ns() + (int64_t)((given ? atof(given) : 1) * 1e9);
    uint64_t seed = test_seed();
    (void)state;
    do {
        struct fixture f;
        open_fixture(&f, seed++);
        for (int i = 0; i < 8; i++) {
            change_rows(&f);
            ask_and_compare(&f);
        }
        close_fixture(&f);
    } while (vindex__now_ns() < end);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(drawn)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
