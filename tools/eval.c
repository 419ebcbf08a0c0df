/*
 * eval.c - vindex eval: recall and speed of an index against ground truth, for every combination of
 * target, batch and threads.
 *
 * One combination: a warm-up that is not counted, then all queries once, each call timed by itself;
 * then the answers are compared (truth.h).
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "feed.h"
#include "interrupt.h"
#include "library.h"
#include "truth.h"

#define WARM_UP_NS 300000000 /* 0.3 s: maps the pages and lets the clock rate settle */

static const struct flag flags[] = {
    {"query", 'q', "FILE", NULL, "queries, in any format that build reads"},
    {"truth", 'g', "FILE", NULL,
     "ids of the nearest rows of each query, best first (ivecs, ibin, npy)"},
    {"k", 'k', "N", NULL, "hits a query (default 10)"},
    {"recall", 0, "LIST", NULL, "recall targets, as in 0.9,0.99,1 (default: the index's)"},
    {"strict", 0, NULL, NULL, "below recall 1: stay exact until the target is proven"},
    {"no-audit", 0, NULL, NULL, "never answer a query exactly only to learn from it"},
    {"batch", 0, "LIST", NULL, "queries a call, as in 1,1000 (default 1)"},
    {"threads", 0, "LIST", NULL, "threads a call (default 1)"},
    {"device", 0, NULL, "search", NULL},
    {"limit", 0, "N", NULL, "take the first N queries (default: all)"},
    {"format", 0, "NAME", NULL, "format of the queries where neither content nor name tell it"},
    {"json", 0, NULL, NULL, "print one JSON object a combination"},
    {NULL, 0, NULL, NULL, NULL},
};

struct eval {
    const char *path;
    vindex *index;
    vindex_searcher *searcher;
    vindex_stats stats;
    struct matrix queries;
    struct id_table nearest;
    struct truth truth;
    const char *device; /* NULL: the index's own */
    size_t k;
    vindex_hit *hits;      /* shape [n_queries, k] */
    int64_t *latencies_ns; /* shape [n_queries], one a call */
    uint32_t flags;        /* VINDEX_SEARCH_* */
    bool is_json;
    struct output *out;
};

struct combination {
    float recall;
    size_t n_batch;
    uint32_t n_threads;
};

struct figures {
    double recall, qps, p50_us, p99_us;
    uint64_t n_by_state[4]; /* queries of calls that ended in this vindex_state */
    vindex_report report;   /* of the last call */
};

static void eval_deinit(struct eval *eval)
{
    truth_deinit(&eval->truth);
    matrix_deinit(&eval->queries);
    id_table_deinit(&eval->nearest);
    free(eval->hits);
    free(eval->latencies_ns);
    vindex_searcher_close(eval->searcher);
    vindex_close(eval->index);
}

/* ---- one combination ------------------------------------------------------------------------- */

static int ask_interrupt(void *context)
{
    (void)context;
    return interrupt_pending();
}

/* One call: queries [first, first + n_batch), fewer at the end. */
static vindex_status answer(struct eval *eval, const struct combination *combination, size_t first,
                            size_t *n, int64_t *elapsed_ns, struct fault *fault)
{
    size_t n_left = eval->queries.vectors.n - first;
    vindex_search_options options = VINDEX_SEARCH_OPTIONS_INIT;
    vindex_vectors queries;
    int64_t began_ns;
    vindex_status st;

    *n = n_left < combination->n_batch ? n_left : combination->n_batch;
    queries = matrix_slice(&eval->queries, first, *n);
    options.recall = combination->recall;
    options.n_threads = combination->n_threads;
    options.cancel = ask_interrupt;
    options.flags = eval->flags;
    options.device = eval->device;
    began_ns = clock_ns();
    st = vindex_search(eval->searcher, &queries, eval->k, &options, eval->hits + first * eval->k);
    *elapsed_ns = clock_ns() - began_ns;
    return library_check(st, eval->path, fault);
}

static vindex_status warm_up(struct eval *eval, const struct combination *combination,
                             struct fault *fault)
{
    int64_t began_ns = clock_ns(), elapsed_ns;
    size_t first = 0, n;
    vindex_status st = VINDEX_OK;

    while (st == VINDEX_OK && first < eval->queries.vectors.n &&
           clock_ns() - began_ns < WARM_UP_NS) {
        st = answer(eval, combination, first, &n, &elapsed_ns, fault);
        first += n;
    }
    return st;
}

static int compare_times(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

    return (left > right) - (left < right);
}

/* The nearest-rank percentile of sorted times. */
static double percentile_us(const int64_t *sorted_ns, size_t n, unsigned percent)
{
    size_t rank = (n * percent + 99) / 100;

    return (double)sorted_ns[rank > 0 ? rank - 1 : 0] * 1e-3;
}

static vindex_status take_report(struct eval *eval, struct figures *figures, size_t n_queries,
                                 struct fault *fault)
{
    vindex_status st;

    figures->report = (vindex_report)VINDEX_REPORT_INIT;
    st = library_check(vindex_searcher_report(eval->searcher, &figures->report), eval->path, fault);
    if (st == VINDEX_OK) figures->n_by_state[figures->report.state & 3] += n_queries;
    return st;
}

static vindex_status measure_speed(struct eval *eval, const struct combination *combination,
                                   struct figures *figures, struct fault *fault)
{
    size_t n_calls = 0, n = 0;
    int64_t total_ns = 0;
    vindex_status st = VINDEX_OK;

    for (size_t first = 0; first < eval->queries.vectors.n && st == VINDEX_OK; first += n) {
        st = answer(eval, combination, first, &n, &eval->latencies_ns[n_calls], fault);
        total_ns += eval->latencies_ns[n_calls++];
        if (st == VINDEX_OK) st = take_report(eval, figures, n, fault);
    }
    if (st != VINDEX_OK) return st;
    qsort(eval->latencies_ns, n_calls, sizeof *eval->latencies_ns, compare_times);
    figures->qps = (double)eval->queries.vectors.n * 1e9 / (double)(total_ns > 0 ? total_ns : 1);
    figures->p50_us = percentile_us(eval->latencies_ns, n_calls, 50);
    figures->p99_us = percentile_us(eval->latencies_ns, n_calls, 99);
    return VINDEX_OK;
}

static vindex_status measure_recall(struct eval *eval, struct figures *figures, struct fault *fault)
{
    double sum = 0;
    size_t n_counted = 0;

    for (size_t i = 0; i < eval->queries.vectors.n; i++) {
        size_t n_right = 0, n_true = 0;
        vindex_status st =
            truth_count(&eval->truth, (vindex_type)eval->queries.vectors.type,
                        (const char *)eval->queries.rows + i * eval->queries.row_bytes,
                        eval->nearest.ids + i * eval->nearest.n_columns, eval->hits + i * eval->k,
                        eval->k, &n_right, &n_true, fault);

        if (st != VINDEX_OK) return st;
        if (n_true == 0) continue;
        sum += (double)n_right / (double)n_true;
        n_counted++;
    }
    figures->recall = n_counted > 0 ? sum / (double)n_counted : 0;
    return VINDEX_OK;
}

/* What the last call was planned by, and how many queries were answered in which state. */
static vindex_status print_promise(const struct eval *eval, const struct figures *figures,
                                   struct fault *fault)
{
    const vindex_report *report = &figures->report;
    char measured[32] = "null"; /* JSON has no NaN */

    if (!isnan(report->measured)) snprintf(measured, sizeof measured, "%.6f", report->measured);
    return output_print(
        eval->out, fault,
        ",\"state\":\"%s\",\"basis\":\"%s\",\"audits\":%lu,\"predicted\":%.6f,\"bound\":%.6f,"
        "\"measured\":%s,\"effort\":%llu,\"n_exact\":%llu,\"n_proven\":%llu,\"n_assumed\":%llu}\n",
        library_state_name(report->state), library_basis_name(report->basis),
        (unsigned long)report->n_audits, report->predicted, report->bound, measured,
        (unsigned long long)report->effort,
        (unsigned long long)figures->n_by_state[VINDEX_STATE_EXACT],
        (unsigned long long)figures->n_by_state[VINDEX_STATE_PROVEN],
        (unsigned long long)figures->n_by_state[VINDEX_STATE_ASSUMED]);
}

static vindex_status print_json(const struct eval *eval, const struct combination *combination,
                                const struct figures *figures, struct fault *fault)
{
    vindex_status st = output_print(
        eval->out, fault,
        "{\"k\":%zu,\"recall_target\":%.6g,\"recall\":%.6f,\"qps\":%.1f,\"p50_us\":%.1f,"
        "\"p99_us\":%.1f,\"batch\":%zu,\"threads\":%lu,\"isa\":\"%s\",\"layout\":\"%s\",\"plan\":",
        eval->k, figures->report.target, figures->recall, figures->qps, figures->p50_us,
        figures->p99_us, combination->n_batch, (unsigned long)combination->n_threads, vindex_isa(),
        library_layout_name(eval->stats.layout));

    if (st == VINDEX_OK) st = print_json_string(eval->out, figures->report.plan, fault);
    return st == VINDEX_OK ? print_promise(eval, figures, fault) : st;
}

static vindex_status print_row(const struct eval *eval, const struct combination *combination,
                               const struct figures *figures, struct fault *fault)
{
    char basis[40] = "-"; /* exact: rests on nothing */

    if (figures->report.basis != 0) {
        snprintf(basis, sizeof basis, "%lu %s", (unsigned long)figures->report.n_audits,
                 library_basis_name(figures->report.basis));
    }
    return output_print(eval->out, fault,
                        "%6zu %7.4g %7.4f %10.1f %10.1f %10.1f %6zu %7lu %8s %13s  %s\n", eval->k,
                        figures->report.target, figures->recall, figures->qps, figures->p50_us,
                        figures->p99_us, combination->n_batch,
                        (unsigned long)combination->n_threads,
                        library_state_name(figures->report.state), basis, figures->report.plan);
}

static vindex_status run_combination(struct eval *eval, const struct combination *combination,
                                     struct fault *fault)
{
    struct figures figures = {0};
    vindex_status st = warm_up(eval, combination, fault);

    if (st == VINDEX_OK) st = measure_speed(eval, combination, &figures, fault);
    if (st == VINDEX_OK) st = measure_recall(eval, &figures, fault);
    if (st == VINDEX_OK && interrupt_pending()) {
        st = fault_set(fault, VINDEX_CANCELLED, "interrupted");
    }
    if (st != VINDEX_OK) return st;
    st = eval->is_json ? print_json(eval, combination, &figures, fault)
                       : print_row(eval, combination, &figures, fault);
    return st == VINDEX_OK ? output_flush(eval->out, fault) : st;
}

/* ---- all of them ----------------------------------------------------------------------------- */

static vindex_status check_truth(const struct eval *eval, const char *path, struct fault *fault)
{
    if (eval->nearest.n_columns < eval->k) {
        return fault_set(fault, VINDEX_INVALID,
                         "%s has %lu ids a query, k is %zu; expected at least k", path,
                         (unsigned long)eval->nearest.n_columns, eval->k);
    }
    if (eval->nearest.n_rows < eval->queries.vectors.n) {
        return fault_set(fault, VINDEX_INVALID,
                         "%s answers %zu queries, there are %zu; give --limit %zu, or the truth of "
                         "these queries",
                         path, eval->nearest.n_rows, eval->queries.vectors.n, eval->nearest.n_rows);
    }
    return VINDEX_OK;
}

static vindex_status load(const struct arguments *arguments, struct eval *eval, struct fault *fault)
{
    const char *queries = NULL, *truth = NULL;
    uint64_t k = 10, limit = 0;
    vindex_status st = arguments_required(arguments, "query", &queries, fault);

    if (st == VINDEX_OK) st = arguments_required(arguments, "truth", &truth, fault);
    if (st == VINDEX_OK) st = arguments_count(arguments, "k", 1, 1 << 20, &k, fault);
    if (st == VINDEX_OK) st = arguments_count(arguments, "limit", 1, UINT64_MAX, &limit, fault);
    eval->k = (size_t)k;
    if (st == VINDEX_OK) st = library_open(eval->path, &eval->index, &eval->searcher, fault);
    if (st == VINDEX_OK) st = library_stat(eval->index, eval->path, &eval->stats, fault);
    if (st == VINDEX_OK) {
        st = matrix_load(queries, arguments_text(arguments, "format"), eval->stats.type,
                         eval->stats.dim, 0, limit, &eval->queries, fault);
    }
    if (st == VINDEX_OK) st = id_table_load(truth, NULL, limit, &eval->nearest, fault);
    if (st == VINDEX_OK && eval->queries.vectors.n == 0) {
        st = fault_set(fault, VINDEX_INVALID, "%s has no queries", queries);
    }
    if (st == VINDEX_OK) st = check_truth(eval, truth, fault);
    if (st == VINDEX_OK) {
        st = truth_init(&eval->truth, eval->searcher, &eval->stats, eval->path, fault);
    }
    if (st != VINDEX_OK) return st;
    eval->hits = calloc(eval->queries.vectors.n, eval->k * sizeof *eval->hits);
    eval->latencies_ns = calloc(eval->queries.vectors.n, sizeof *eval->latencies_ns);
    return eval->hits != NULL && eval->latencies_ns != NULL ? VINDEX_OK : fault_nomem(fault);
}

/* By the rule such hits count, so that a wrong truth would look like a good recall. */
static void warn_of_wrong_truth(const struct eval *eval)
{
    if (eval->truth.n_nearer == 0) return;
    fprintf(stderr,
            "vindex: %llu hits are nearer than the ground truth's k-th row: it is not the truth of "
            "these rows, queries and metric (%s)\n",
            (unsigned long long)eval->truth.n_nearer,
            vindex_metric_name((vindex_metric)eval->stats.metric));
}

static vindex_status run_all(const struct arguments *arguments, struct eval *eval,
                             struct fault *fault)
{
    float recalls[ARGUMENTS_LIST_MOST] = {0}; /* 0: the index's own target */
    uint64_t batches[ARGUMENTS_LIST_MOST] = {1}, threads[ARGUMENTS_LIST_MOST] = {1};
    size_t n_recalls = 1, n_batches = 1, n_threads = 1;
    vindex_status st = arguments_recall_list(arguments, "recall", recalls, &n_recalls, fault);

    if (st == VINDEX_OK) {
        st = arguments_count_list(arguments, "batch", 1, 1 << 20, batches, &n_batches, fault);
    }
    if (st == VINDEX_OK) {
        st = arguments_count_list(arguments, "threads", 1, 1024, threads, &n_threads, fault);
    }
    if (st == VINDEX_OK) st = load(arguments, eval, fault);
    if (st == VINDEX_OK && !eval->is_json) {
        st = output_print(eval->out, fault, "%6s %7s %7s %10s %10s %10s %6s %7s %8s %13s  plan (%s, %s)\n",
                          "k", "target", "recall", "qps", "p50_us", "p99_us", "batch", "threads",
                          "state", "basis", vindex_isa(), library_layout_name(eval->stats.layout));
    }
    for (size_t i = 0; i < n_recalls * n_batches * n_threads && st == VINDEX_OK; i++) {
        struct combination combination = {recalls[i % n_recalls],
                                          (size_t)batches[i / n_recalls % n_batches],
                                          (uint32_t)threads[i / n_recalls / n_batches]};

        st = run_combination(eval, &combination, fault);
    }
    return st;
}

static vindex_status run(const struct arguments *arguments, struct output *out, struct fault *fault)
{
    struct eval eval = {.path = arguments_operand(arguments, 0), .out = out};
    vindex_status st;

    eval.is_json = arguments_has(arguments, "json");
    if (arguments_has(arguments, "strict")) eval.flags |= VINDEX_SEARCH_STRICT;
    if (arguments_has(arguments, "no-audit")) eval.flags |= VINDEX_SEARCH_NO_AUDIT;
    eval.device = arguments_text(arguments, "device");
    st = run_all(arguments, &eval, fault);
    if (st == VINDEX_OK) warn_of_wrong_truth(&eval);
    eval_deinit(&eval);
    return st;
}

const struct command command_eval = {
    .name = "eval",
    .operands = "INDEX",
    .n_operands_least = 1,
    .n_operands_most = 1,
    .summary = "recall and speed against ground truth",
    .more = "qps counts the time inside the calls; p50 and p99 are those of a call. A hit counts "
            "if its\n"
            "id is among the first k of the truth, or its score, computed again in double, is not "
            "worse\n"
            "than the true k-th by more than 1e-6 relative. Repeated ids count once. State and\n"
            "basis are those of the last call: what its target rests on.",
    .flags = flags,
    .run = run,
};
