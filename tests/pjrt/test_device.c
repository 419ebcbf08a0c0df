/*
 * test_device.c - an index with a device: the hits are those of the CPU, through commits and faults; the plan
 * says who answered and why.
 */
#include "common/cmocka.h"

#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "base/mem.h"
#include "base/random.h"
#include "helper_plugin.h"
#include "vindex.h"

enum { N = 3000, DIM = 24, Q = 20, K = 10 };

/* ---- an index and its questions ------------------------------------------------------------ */

struct fixture {
    vindex *index;
    vindex_searcher *searcher;
    struct rng rng;
    uint32_t type, metric;
    int64_t next_id;
    float queries[Q * DIM];
};

static char logged[1000];

static void take_log(void *context, const char *message)
{
    (void)context;
    snprintf(logged, sizeof logged, "%s", message);
}

static void make_rows(struct fixture *f, float *rows, size_t n)
{
    bool integers = f->type == VINDEX_UINT8 || f->type == VINDEX_INT8;
    for (size_t i = 0; i < n * DIM; i++)
        rows[i] = integers ? (float)vindex__rng_below(&f->rng, 100)
                           : (float)(vindex__rng_unit(&f->rng) * 2 - 1);
}

static void insert(struct fixture *f, size_t n)
{
    float *rows = calloc(n * DIM, sizeof *rows);
    vindex_writer *writer = NULL;
    make_rows(f, rows, n);
    assert_int_equal(vindex_writer_begin(f->index, &writer), VINDEX_OK);
    assert_int_equal(vindex_writer_insert(writer, NULL, &VINDEX_F32_ROWS(rows, n), 0), VINDEX_OK);
    assert_int_equal(vindex_writer_commit(writer), VINDEX_OK);
    f->next_id += (int64_t)n;
    free(rows);
}

static void remove_some(struct fixture *f, size_t n)
{
    vindex_writer *writer = NULL;
    assert_int_equal(vindex_writer_begin(f->index, &writer), VINDEX_OK);
    for (size_t i = 0; i < n; i++) {
        int64_t id = (int64_t)vindex__rng_below(&f->rng, (uint64_t)f->next_id);
        assert_int_equal(vindex_writer_remove(writer, &id, 1, NULL), VINDEX_OK);
    }
    assert_int_equal(vindex_writer_commit(writer), VINDEX_OK);
}

static void open_fixture(struct fixture *f, uint32_t type, uint32_t metric, size_t n)
{
    vindex_create_options options = VINDEX_CREATE_OPTIONS_INIT;
    options.dim = DIM;
    options.type = type;
    options.metric = metric;
    options.seal_rows = 512;
    memset(f, 0, sizeof *f);
    f->type = type;
    f->metric = metric;
    vindex__rng_init(&f->rng, test_seed());
    make_rows(f, f->queries, Q);
    assert_int_equal(vindex_create(":memory:", &options, &f->index), VINDEX_OK);
    assert_int_equal(vindex_searcher_open(f->index, &f->searcher), VINDEX_OK);
    if (n) insert(f, n);
    logged[0] = '\0';
    vindex_set_log(take_log, NULL);
}

static void close_fixture(struct fixture *f)
{
    vindex_searcher_close(f->searcher);
    vindex_close(f->index);
    vindex_set_log(NULL, NULL);
    plugin_check_empty("good");
}

static const char *device_text(const char *options)
{
    static char text[600];
    snprintf(text, sizeof text, "pjrt:%s%s", plugin_path("good"), options);
    return text;
}

/* The hits of a search, and its report. */
static vindex_status ask(struct fixture *f, const char *device, float recall, uint32_t n_threads,
                         const vindex_filter *filter, vindex_hit *hits, vindex_report *report)
{
    vindex_search_options options = VINDEX_SEARCH_OPTIONS_INIT;
    options.device = device;
    options.recall = recall;
    options.n_threads = n_threads;
    options.filter = filter;
    vindex_status st =
        vindex_search(f->searcher, &VINDEX_F32_ROWS(f->queries, Q), K, &options, hits);
    *report = (vindex_report)VINDEX_REPORT_INIT;
    assert_int_equal(vindex_searcher_report(f->searcher, report), VINDEX_OK);
    return st;
}

/* The device's answer at target 1 is the CPU's, bit for bit; `expected` stands in the plan. */
static void check_exact_with(struct fixture *f, const char *device, const vindex_filter *filter,
                             const char *expected)
{
    vindex_hit by_cpu[Q * K], by_device[Q * K];
    vindex_report report;
    assert_int_equal(ask(f, "cpu", 1, 1, filter, by_cpu, &report), VINDEX_OK);
    memset(by_device, 0x77, sizeof by_device);
    for (uint32_t n_threads = 1; n_threads <= 3; n_threads += 2) {
        if (ask(f, device, 1, n_threads, filter, by_device, &report) != VINDEX_OK)
            fail_msg("%s", vindex_message());
        assert_memory_equal(by_cpu, by_device, sizeof by_cpu);
        if (!strstr(report.plan, expected))
            fail_msg("the plan is \"%s\"; expected %s (%s)", report.plan, expected, logged);
        assert_int_equal(report.state, VINDEX_STATE_EXACT);
    }
}

static void check_exact(struct fixture *f, const char *options, const char *expected)
{
    check_exact_with(f, device_text(options), NULL, expected);
}

#define ON_DEVICE "exact: device Test device 0"

/* ---- the answer ---------------------------------------------------------------------------- */

static const struct {
    uint32_t type, metric;
} shapes[] = {
    {VINDEX_FLOAT, VINDEX_L2},        {VINDEX_FLOAT, VINDEX_IP},    {VINDEX_FLOAT, VINDEX_COSINE},
    {VINDEX_FLOAT16, VINDEX_L2},      {VINDEX_BFLOAT16, VINDEX_L2}, {VINDEX_BFLOAT16, VINDEX_IP},
    {VINDEX_BFLOAT16, VINDEX_COSINE}, {VINDEX_INT8, VINDEX_L2},     {VINDEX_INT8, VINDEX_IP},
    {VINDEX_UINT8, VINDEX_COSINE},    {VINDEX_UINT8, VINDEX_L2},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

static void exact_for_every_type_and_metric(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_SHAPES; i++) {
        struct fixture f;
        plugin_tell("");
        open_fixture(&f, shapes[i].type, shapes[i].metric, N);
        check_exact(&f, ",chunk=1024", ON_DEVICE);
        check_exact(&f, ",type=f32,required", ON_DEVICE);
        /* the band is narrow: little more than k rows are scored again */
        vindex_report report;
        vindex_hit hits[Q * K];
        assert_int_equal(ask(&f, device_text(",chunk=1024"), 1, 1, NULL, hits, &report), VINDEX_OK);
        assert_in_range(report.n_reranked, Q * K, Q * K + 8);
        close_fixture(&f);
    }
}

static double recall_of(const vindex_hit *truth, const vindex_hit *hits)
{
    size_t n = 0;
    for (size_t q = 0; q < Q; q++)
        for (size_t i = 0; i < K; i++)
            for (size_t j = 0; j < K; j++)
                n += truth[q * K + i].id == hits[q * K + j].id;
    return (double)n / (Q * K);
}

/* Scores are exact whatever the target; the rows are nearly all. */
static void approximate_answers_have_exact_scores(void **state)
{
    static const char *const platforms[] = {"platform=tpu", "platform=cuda", "kinds=bins"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        vindex_hit truth[Q * K], hits[Q * K];
        vindex_report report;
        struct fixture f;
        plugin_tell(platforms[i]);
        open_fixture(&f, VINDEX_FLOAT, VINDEX_L2, N);
        ask(&f, "cpu", 1, 1, NULL, truth, &report);
        assert_int_equal(ask(&f, device_text(",chunk=1024"), 0.9F, 1, NULL, hits, &report),
                         VINDEX_OK);
        if (!strstr(report.plan, "assumed: device Test device 0")) fail_msg("%s", report.plan);
        assert_int_equal(report.state, VINDEX_STATE_ASSUMED);
        assert_true(report.predicted >= 0.949 && report.predicted < 1);
        assert_true(recall_of(truth, hits) > 0.85);
        for (size_t j = 0; j < Q * K; j++)
            for (size_t m = j / K * K; m < j / K * K + K; m++)
                if (hits[j].id == truth[m].id)
                    assert_memory_equal(&hits[j], &truth[m], sizeof *hits);
        close_fixture(&f);
    }
}

/* What nobody has measured is not proven: who stays exact until proven gets what target 1 gets. */
static void strict_stays_exact(void **state)
{
    vindex_search_options options = VINDEX_SEARCH_OPTIONS_INIT;
    vindex_hit truth[Q * K], hits[Q * K];
    vindex_report report = VINDEX_REPORT_INIT;
    struct fixture f;
    (void)state;
    plugin_tell("kinds=bins");
    open_fixture(&f, VINDEX_FLOAT, VINDEX_L2, N);
    ask(&f, "cpu", 1, 1, NULL, truth, &report);
    options.device = device_text(",chunk=1024");
    options.recall = 0.9F;
    options.flags = VINDEX_SEARCH_STRICT;
    assert_int_equal(vindex_search(f.searcher, &VINDEX_F32_ROWS(f.queries, Q), K, &options, hits),
                     VINDEX_OK);
    assert_int_equal(vindex_searcher_report(f.searcher, &report), VINDEX_OK);
    if (report.state != VINDEX_STATE_EXACT) fail_msg("%s", report.plan);
    assert_memory_equal(hits, truth, sizeof hits);
    close_fixture(&f);
}

/* bf16 rows of f32 numbers have a wide band: what it can not prove goes to the CPU. */
static void a_bound_that_proves_nothing(void **state)
{
    struct fixture f;
    vindex_report report;
    vindex_hit hits[Q * K];
    (void)state;
    plugin_tell("");
    open_fixture(&f, VINDEX_FLOAT, VINDEX_IP, N);
    check_exact(&f, ",type=bf16", "");
    assert_int_equal(ask(&f, device_text(",type=bf16"), 0.95F, 1, NULL, hits, &report), VINDEX_OK);
    assert_non_null(strstr(report.plan, "bf16 rows"));
    close_fixture(&f);

    /* One row a thousand times: more ties than the device can give. */
    open_fixture(&f, VINDEX_FLOAT, VINDEX_L2, 100);
    float same[3000 * DIM];
    vindex_writer *writer;
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        same[i] = 0.01F;
    vindex_writer_begin(f.index, &writer);
    assert_int_equal(vindex_writer_insert(writer, NULL, &VINDEX_F32_ROWS(same, 3000), 0),
                     VINDEX_OK);
    assert_int_equal(vindex_writer_commit(writer), VINDEX_OK);
    for (size_t i = 0; i < sizeof f.queries / sizeof *f.queries; i++)
        f.queries[i] = 0.02F;
    check_exact(&f, "", "cpu (device: its error bound proves nothing here");
    assert_string_equal(logged, ""); /* no failure */
    close_fixture(&f);
}

static void filters(void **state)
{
    static uint8_t bitmap[N / 8];
    int64_t few[] = {3, 500, 501, 2999};
    struct fixture f;
    (void)state;
    plugin_tell("devices=2");
    open_fixture(&f, VINDEX_FLOAT, VINDEX_IP, N);
    for (size_t i = 0; i < sizeof bitmap; i++)
        bitmap[i] = (uint8_t)vindex__rng_next(&f.rng);
    vindex_filter half = {.kind = VINDEX_FILTER_BITMAP, .bitmap = bitmap, .n = N};
    vindex_filter rest = {
        .kind = VINDEX_FILTER_BITMAP, .flags = VINDEX_FILTER_NOT, .bitmap = bitmap, .n = N};
    vindex_filter ids = {.kind = VINDEX_FILTER_IDS, .ids = few, .n = 4};
    check_exact_with(&f, device_text(",chunk=512"), &half, ON_DEVICE);
    check_exact_with(&f, device_text(",chunk=512"), &rest, ON_DEVICE);
    check_exact_with(&f, device_text(",chunk=512"), &ids, "cpu (device: half of all rows");
    check_exact(&f, ",chunk=512", ON_DEVICE); /* the filter is gone */
    close_fixture(&f);
}

static void several_devices_are_shards(void **state)
{
    static const char *const words[] = {"devices=3", "devices=3 portable=0",
                                        "devices=4 platform=tpu"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct fixture f;
        plugin_tell(words[i]);
        open_fixture(&f, VINDEX_UINT8, VINDEX_L2, N);
        check_exact(&f, ",chunk=256", i == 2 ? "x4 (tpu)" : "x3 (test)");
        check_exact(&f, ",chunk=256,devices=2", "x2");
        close_fixture(&f);
    }
}

/* ---- commits ------------------------------------------------------------------------------- */

static void the_device_follows_commits(void **state)
{
    struct fixture f;
    (void)state;
    for (int in_pieces = 0; in_pieces < 2; in_pieces++) {
        const char *options = in_pieces ? ",chunk=8192" : ",chunk=1024";
        plugin_tell("devices=2");
        open_fixture(&f, VINDEX_FLOAT, VINDEX_L2, N);
        check_exact(&f, options, ON_DEVICE);
        plugin_tell("devices=2");
        check_exact(&f, options, ON_DEVICE);
        /* nothing changed: a tile of queries is all that was sent, per call and device with rows */
        assert_true(plugin_counts("good").uploaded_bytes <= (uint64_t)2 * 2 * 64 * DIM * 4);

        remove_some(&f, 20);
        plugin_tell("devices=2");
        check_exact(&f, options, ON_DEVICE);
        assert_true(plugin_counts("good").uploaded_bytes < 400000);
        for (int step = 0; step < 8; step++) {
            insert(&f, step % 2 ? 700 : 30);
            remove_some(&f, 50);
            check_exact(&f, options, ON_DEVICE);
        }
        assert_int_equal(vindex_optimize(f.index, VINDEX_OPTIMIZE_ALL, NULL, NULL), VINDEX_OK);
        check_exact(&f, options, ON_DEVICE);
        close_fixture(&f);
    }
}

static void an_empty_index_and_a_tail_alone(void **state)
{
    struct fixture f;
    (void)state;
    plugin_tell("");
    open_fixture(&f, VINDEX_FLOAT, VINDEX_IP, 0);
    check_exact(&f, "", "exact");
    insert(&f, 5);
    check_exact(&f, "", "cpu (device: half of all rows");
    insert(&f, 300);
    check_exact(&f, "", ON_DEVICE);
    insert(&f, 3000);
    check_exact(&f, "", ON_DEVICE);
    close_fixture(&f);
}

struct asker {
    struct fixture *f;
    const char *device;
    bool failed;
};

static void *ask_often(void *context)
{
    struct asker *asker = context;
    vindex_searcher *searcher = NULL;
    vindex_search_options options = VINDEX_SEARCH_OPTIONS_INIT;
    vindex_hit hits[2][K];
    options.recall = 1;
    asker->failed = vindex_searcher_open(asker->f->index, &searcher) != VINDEX_OK;
    for (size_t i = 0; i < 40 && !asker->failed; i++) {
        const float *query = asker->f->queries + i % Q * DIM;
        options.device = asker->device;
        asker->failed |= vindex_search(searcher, &VINDEX_F32_ROWS(query, 1), K, &options, hits[0]);
        vindex_report report = VINDEX_REPORT_INIT;
        vindex_searcher_report(searcher, &report);
        asker->failed |= !strstr(report.plan, "device Test");
    }
    vindex_searcher_close(searcher);
    return NULL;
}

static void searchers_and_a_writer_at_once(void **state)
{
    struct fixture f;
    pthread_t threads[3];
    char text[600];
    (void)state;
    plugin_tell("devices=2");
    open_fixture(&f, VINDEX_FLOAT, VINDEX_L2, N);
    snprintf(text, sizeof text, "%s", device_text(",chunk=1024"));
    struct asker asker = {&f, text, false};
    struct asker askers[3] = {asker, asker, asker};
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_often, &askers[i]), 0);
    for (size_t i = 0; i < 10; i++) {
        insert(&f, 100);
        remove_some(&f, 30);
    }
    for (size_t i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        assert_false(askers[i].failed);
    }
    check_exact_with(&f, text, NULL, ON_DEVICE);
    close_fixture(&f);
}

/* ---- faults -------------------------------------------------------------------------------- */

static const struct {
    const char *words, *reason;
} faults[] = {
    {"fault=Client_Create:0:14", "UNAVAILABLE"},
    {"fault=Client_Create:0:10", "ABORTED"},
    {"devices=0", "no device"},
    {"fault=Client_Compile:0:3", "INVALID_ARGUMENT"},
    {"fault=Compile.outputs", "results"},
    {"fault=BufferFromHostBuffer:1:8", "OUT OF MEMORY"},
    {"fault=BufferFromHostBuffer:2:8", "OUT OF MEMORY"},
    {"fault=BufferFromHostBuffer:5:8", "OUT OF MEMORY"},
    {"hbm=100000 fault=Device_MemoryStats", "OUT OF MEMORY"},
    {"hbm=100000 hbm_late=1 fault=Device_MemoryStats", "OUT OF MEMORY"},
    {"hbm=100000", "may be used"},
    {"fault=Buffer.async:3:8", "OUT OF MEMORY"},
    {"fault=Buffer.async:0:15", "DATA_LOSS"},
    {"fault=Execute", "INTERNAL"},
    {"fault=Execute:2", "INTERNAL"},
    {"fault=Execute:0:14", "UNAVAILABLE"},
    {"fault=Execute.async", "INTERNAL"},
    {"fault=Execute.async:3:8", "OUT OF MEMORY"},
    {"fault=ToHostBuffer:2", "INTERNAL"},
    {"fault=ToHostBuffer.async", "INTERNAL"},
    {"fault=ToHostBuffer.async:4", "INTERNAL"},
    {"fault=Event_IsReady", "INTERNAL"},
    {"fault=Event_Await:2", "INTERNAL"},
    {"fault=Execute.nan", "not those of the rows"},
    {"fault=Execute.rows", "not those of the rows"},
    {"fault=Execute.wrong", "not those of the rows"},
};
enum { N_FAULTS = sizeof faults / sizeof *faults };

static void every_fault_ends_on_the_cpu(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_FAULTS; i++) {
        vindex_hit hits[Q * K];
        vindex_report report;
        struct fixture f;
        open_fixture(&f, VINDEX_FLOAT, VINDEX_L2, N);
        plugin_tell(faults[i].words);
        check_exact(&f, ",chunk=1024", "cpu (device: ");
        if (!strstr(logged, faults[i].reason) || !strstr(logged, "on the cpu"))
            fail_msg("%s: logged \"%s\"", faults[i].words, logged);
        /* demanded, it is an error instead */
        plugin_tell(faults[i].words);
        vindex_status st = ask(&f, device_text(",chunk=1024,required"), 1, 1, NULL, hits, &report);
        if (st != VINDEX_IO || !strstr(vindex_message(), faults[i].reason))
            fail_msg("%s: status %d, %s", faults[i].words, st, vindex_message());
        /* once well, it is asked again when that is wished */
        plugin_tell("");
        check_exact(&f, ",chunk=1024", "cpu (device: ");
        assert_int_equal(vindex_set_device(f.index, device_text(",chunk=1024")), VINDEX_OK);
        check_exact(&f, ",chunk=1024", ON_DEVICE);
        check_exact_with(&f, NULL, NULL, ON_DEVICE);
        assert_int_equal(vindex_set_device(f.index, "cpu"), VINDEX_OK);
        check_exact_with(&f, NULL, NULL, "exact: flat scan");
        close_fixture(&f);
    }
}

/* The device dies in the middle of its life. */
static void a_device_is_lost(void **state)
{
    struct fixture f;
    (void)state;
    plugin_tell("");
    open_fixture(&f, VINDEX_FLOAT, VINDEX_IP, N);
    check_exact(&f, ",wait-ms=50", ON_DEVICE);
    plugin_tell("delay_ms=300");
    check_exact(&f, ",wait-ms=50", "cpu (device: no result within 50 ms");
    assert_non_null(strstr(logged, "no result within 50 ms"));
    plugin_tell("");
    check_exact(&f, ",wait-ms=50", "cpu (device: no result within 50 ms");
    close_fixture(&f);
}

/* Out of memory for these rows is no failure for good. */
static void fewer_rows_fit_again(void **state)
{
    struct fixture f;
    (void)state;
    plugin_tell("hbm=400000");
    open_fixture(&f, VINDEX_FLOAT, VINDEX_L2, 1000);
    check_exact(&f, ",chunk=512", ON_DEVICE);
    insert(&f, 4000);
    check_exact(&f, ",chunk=512", "may be used");
    vindex_writer *writer;
    vindex_writer_begin(f.index, &writer);
    vindex_writer_remove_all(writer);
    vindex_writer_commit(writer);
    insert(&f, 900);
    vindex_optimize(f.index, VINDEX_OPTIMIZE_ALL, NULL, NULL);
    check_exact(&f, ",chunk=512", ON_DEVICE);
    close_fixture(&f);
}

static int cancel_now(void *context)
{
    (void)context;
    return 1;
}

static void ends_when_told(void **state)
{
    vindex_search_options options = VINDEX_SEARCH_OPTIONS_INIT;
    vindex_hit hits[Q * K];
    struct fixture f;
    (void)state;
    plugin_tell("");
    open_fixture(&f, VINDEX_FLOAT, VINDEX_IP, N);
    check_exact(&f, "", ON_DEVICE);
    plugin_tell("delay_ms=100");
    options.device = device_text("");
    options.timeout_ns = 5000000;
    assert_int_equal(vindex_search(f.searcher, &VINDEX_F32_ROWS(f.queries, Q), K, &options, hits),
                     VINDEX_TIMEOUT);
    assert_true(hits[0].id == VINDEX_ID_NONE && isinf(hits[0].score));
    options.timeout_ns = 0;
    options.cancel = cancel_now;
    assert_int_equal(vindex_search(f.searcher, &VINDEX_F32_ROWS(f.queries, Q), K, &options, hits),
                     VINDEX_CANCELLED);
    plugin_tell("");
    assert_string_equal(logged, ""); /* it has not failed */
    check_exact(&f, "", ON_DEVICE);
    close_fixture(&f);
}

/* Allocations of the host fail one after the other: an answer, or VINDEX_NOMEM, and nothing is lost. */
static void the_host_runs_out_of_memory(void **state)
{
    vindex_hit by_cpu[Q * K], hits[Q * K];
    vindex_report report;
    bool reached_device = false;
    (void)state;
    plugin_tell("");
    for (uint64_t n = 1; !reached_device; n++) {
        struct fixture f;
        open_fixture(&f, VINDEX_FLOAT, VINDEX_IP, N);
        assert_int_equal(ask(&f, "cpu", 1, 1, NULL, by_cpu, &report), VINDEX_OK);
        vindex__mem_fail_after(n);
        vindex_status st = ask(&f, device_text(",chunk=512"), 1, 1, NULL, hits, &report);
        vindex__mem_fail_after(0);
        assert_true(st == VINDEX_OK || st == VINDEX_NOMEM);
        if (st == VINDEX_OK) assert_memory_equal(by_cpu, hits, sizeof hits);
        reached_device = st == VINDEX_OK && strstr(report.plan, ON_DEVICE) != NULL;
        close_fixture(&f);
    }
}

/* ---- text and environment ------------------------------------------------------------------ */

static void texts(void **state)
{
    static const char *const bad[] = {
        "",
        "gpu",
        "pjrt:",
        "pjrtx",
        "pjrt,memory",
        "pjrt,memory=0",
        "pjrt,memory=12X",
        "pjrt,type=f64",
        "pjrt,chunk=100",
        "pjrt,chunk=129",
        "pjrt,devices=0",
        "pjrt,wait-ms=",
        "pjrt,requires",
        "CPU",
    };
    struct fixture f;
    vindex_hit hits[Q * K];
    vindex_report report;
    (void)state;
    plugin_tell("");
    open_fixture(&f, VINDEX_FLOAT, VINDEX_IP, N);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(vindex_set_device(f.index, bad[i]), VINDEX_INVALID);
        assert_int_equal(ask(&f, bad[i], 1, 1, NULL, hits, &report), VINDEX_INVALID);
        assert_non_null(strstr(vindex_message(), "pjrt[:PLUGIN]"));
    }
    assert_int_equal(vindex_set_device(f.index, "pjrt:/nowhere/plugin.so"), VINDEX_NOTFOUND);
    assert_non_null(strstr(vindex_message(), "/nowhere/plugin.so"));
    check_exact_with(&f, NULL, NULL, "exact: flat scan"); /* as before */
    char major[600];
    snprintf(major, sizeof major, "pjrt:%s", plugin_path("major"));
    assert_int_equal(vindex_set_device(f.index, major), VINDEX_UNSUPPORTED);
    check_exact(&f, ",memory=64M,type=auto,chunk=2048,devices=7,wait-ms=9999", ON_DEVICE);

    float row[DIM] = {0};
    vindex_search_options options = VINDEX_SEARCH_OPTIONS_INIT;
    options.device = "pjrt";
    assert_int_equal(vindex_brute(&VINDEX_F32_ROWS(row, 1), &VINDEX_F32_ROWS(row, 1), DIM,
                                  VINDEX_IP, 1, &options, hits),
                     VINDEX_UNSUPPORTED);
    close_fixture(&f);
}

static void the_environment_asks(void **state)
{
    struct fixture f;
    (void)state;
    plugin_tell("");
    unsetenv("TPU_LIBRARY_PATH");
    open_fixture(&f, VINDEX_FLOAT, VINDEX_IP, N);
    check_exact_with(&f, NULL, NULL, "exact: flat scan"); /* nothing starts unasked */
    close_fixture(&f);
    setenv("VINDEX_PJRT_PLUGIN", plugin_path("good"), 1);
    open_fixture(&f, VINDEX_FLOAT, VINDEX_IP, N);
    assert_int_equal(plugin_counts("good").clients, 0); /* not before a search */
    check_exact_with(&f, NULL, NULL, ON_DEVICE);
    check_exact_with(&f, "pjrt,type=f32", NULL, ON_DEVICE);
    close_fixture(&f);
    setenv("VINDEX_PJRT_PLUGIN", "/nowhere.so", 1);
    open_fixture(&f, VINDEX_FLOAT, VINDEX_IP, N);
    check_exact_with(&f, NULL, NULL, "cpu (device: /nowhere.so can not be loaded");
    close_fixture(&f);
    unsetenv("VINDEX_PJRT_PLUGIN");
}

static void bits_stay_on_the_cpu(void **state)
{
    vindex_create_options create = VINDEX_CREATE_OPTIONS_INIT;
    vindex_search_options options = VINDEX_SEARCH_OPTIONS_INIT;
    vindex_report report = VINDEX_REPORT_INIT;
    uint8_t rows[4] = {1, 2, 3, 4};
    vindex_vectors vectors = {rows, 4, 0, VINDEX_BIT, 0}, query = {rows, 1, 0, VINDEX_BIT, 0};
    vindex_searcher *searcher;
    vindex_writer *writer;
    vindex *index;
    vindex_hit hit;
    (void)state;
    plugin_tell("");
    create.dim = 8;
    create.type = VINDEX_BIT;
    create.metric = VINDEX_HAMMING;
    assert_int_equal(vindex_create(":memory:", &create, &index), VINDEX_OK);
    vindex_writer_begin(index, &writer);
    vindex_writer_insert(writer, NULL, &vectors, 0);
    vindex_writer_commit(writer);
    vindex_searcher_open(index, &searcher);
    options.device = device_text("");
    assert_int_equal(vindex_search(searcher, &query, 1, &options, &hit), VINDEX_OK);
    vindex_searcher_report(searcher, &report);
    assert_non_null(strstr(report.plan, "bits are compared on the cpu"));
    vindex_searcher_close(searcher);
    vindex_close(index);
    plugin_check_empty("good");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_for_every_type_and_metric),
        cmocka_unit_test(approximate_answers_have_exact_scores),
        cmocka_unit_test(strict_stays_exact),
        cmocka_unit_test(a_bound_that_proves_nothing),
        cmocka_unit_test(filters),
        cmocka_unit_test(several_devices_are_shards),
        cmocka_unit_test(the_device_follows_commits),
        cmocka_unit_test(an_empty_index_and_a_tail_alone),
        cmocka_unit_test(searchers_and_a_writer_at_once),
        cmocka_unit_test(every_fault_ends_on_the_cpu),
        cmocka_unit_test(a_device_is_lost),
        cmocka_unit_test(fewer_rows_fit_again),
        cmocka_unit_test(ends_when_told),
        cmocka_unit_test(the_host_runs_out_of_memory),
        cmocka_unit_test(texts),
        cmocka_unit_test(the_environment_asks),
        cmocka_unit_test(bits_stay_on_the_cpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
