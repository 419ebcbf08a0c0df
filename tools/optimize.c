/*
 * optimize.c - vindex optimize: the maintenance that is due, and what effort recall targets need, learnt from
 * sample queries.
 */
#include <inttypes.h>

#include "command.h"
#include "feed.h"
#include "library.h"
#include "progress.h"

static const struct flag flags[] = {
    {"all", 0, NULL, NULL,
     "rewrite every segment that is not full and live, and train anew, not only what is due"},
    {"threads", 0, "N", NULL, "threads that share encoding and audits (default 1)"},
    {"queries", 'q', "FILE", NULL,
     "learn from these queries what each recall target needs; 300 prove up to 0.99"},
    {"limit", 0, "N", NULL, "take the first N of them (default: all)"},
    {"format", 0, "NAME", NULL, "format of the queries where neither content nor name tell it"},
    {"json", 0, NULL, NULL, "print the result as one JSON object"},
    {NULL, 0, NULL, NULL, NULL},
};

static vindex_status calibrate(const struct arguments *arguments, vindex *index, const char *path,
                               const vindex_stats *stats, struct fault *fault)
{
    const char *queries = arguments_text(arguments, "queries");
    uint64_t limit = 0;
    struct matrix matrix = {.rows = NULL};
    struct progress progress;
    vindex_status st = arguments_count(arguments, "limit", 1, UINT64_MAX, &limit, fault);

    if (st != VINDEX_OK || queries == NULL) return st;
    st = matrix_load(queries, arguments_text(arguments, "format"), stats->type, stats->dim, 0, limit,
                     &matrix, fault);
    progress_begin(&progress, "answering exactly");
    if (st == VINDEX_OK) {
        st = library_check(vindex_calibrate(index, &matrix.vectors, progress_library, &progress), path,
                           fault);
    }
    progress_end(&progress);
    matrix_deinit(&matrix);
    return st;
}

static vindex_status print_result(const struct arguments *arguments, const vindex_stats *before,
                                  const vindex_stats *after, double elapsed_s, struct output *out,
                                  struct fault *fault)
{
    return output_print(out, fault,
                        arguments_has(arguments, "json")
                            ? "{\"rows\":%" PRIu64 ",\"segments_before\":%" PRIu64
                              ",\"segments\":%" PRIu64 ",\"dead_rows_before\":%" PRIu64
                              ",\"dead_rows\":%" PRIu64 ",\"coded_rows\":%" PRIu64
                              ",\"c4_axes\":%lu,\"audits\":%" PRIu64 ",\"elapsed_s\":%.3f}\n"
                            : "%" PRIu64 " rows; segments %" PRIu64 " -> %" PRIu64
                              ", removed rows %" PRIu64 " -> %" PRIu64 ", %" PRIu64
                              " rows with codes along %lu axes, audits %" PRIu64 ", %.3f s\n",
                        after->n_rows, before->n_segments, after->n_segments, before->n_dead,
                        after->n_dead, after->n_coded, (unsigned long)after->c4_axes, after->n_audits,
                        elapsed_s);
}

static vindex_status optimize(const struct arguments *arguments, vindex *index, const char *path,
                              struct output *out, struct fault *fault)
{
    uint32_t option = arguments_has(arguments, "all") ? VINDEX_OPTIMIZE_ALL : 0;
    uint64_t n_threads = 1;
    int64_t began_ns = clock_ns();
    struct progress progress;
    vindex_stats before, after;
    vindex_status st = arguments_count(arguments, "threads", 1, 1024, &n_threads, fault);

    if (st == VINDEX_OK) st = library_stat(index, path, &before, fault);
    if (st != VINDEX_OK) return st;
    option |= VINDEX_OPTIMIZE_THREADS(n_threads);
    progress_begin(&progress, "optimizing");
    st = library_check(vindex_optimize(index, option, progress_library, &progress), path, fault);
    progress_end(&progress);
    if (st == VINDEX_OK) st = calibrate(arguments, index, path, &before, fault);
    if (st == VINDEX_OK) st = library_stat(index, path, &after, fault);
    if (st != VINDEX_OK) return st;
    return print_result(arguments, &before, &after, (double)(clock_ns() - began_ns) * 1e-9, out, fault);
}

static vindex_status run(const struct arguments *arguments, struct output *out, struct fault *fault)
{
    const char *path = arguments_operand(arguments, 0);
    vindex *index = NULL;
    vindex_status st = library_check(vindex_open(path, 0, &index), path, fault);

    if (st == VINDEX_OK) st = optimize(arguments, index, path, out, fault);
    vindex_close(index);
    return st;
}

const struct command command_optimize = {
    .name = "optimize",
    .operands = "INDEX",
    .n_operands_least = 1,
    .n_operands_most = 1,
    .summary = "do the maintenance that is due; learn from sample queries",
    .more =
        "Seals fresh rows, rewrites segments with many removed rows, merges small ones; trains codes,\n"
        "encodes rows, and asks 1,000 of them as queries, so that targets below recall 1 can be\n"
        "planned. Sample queries (300 and more) prove the plans. Its steps are transactions of their\n"
        "own: an interrupt loses nothing.",
    .flags = flags,
    .run = run,
};
