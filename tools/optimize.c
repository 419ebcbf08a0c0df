/*
 * optimize.c - vindex optimize: the maintenance that is due.
 */
#include <inttypes.h>

#include "command.h"
#include "library.h"
#include "progress.h"

static const struct flag flags[] = {
    {"all", 0, NULL, NULL, "rewrite every segment that is not full and live, not only those due"},
    {"json", 0, NULL, NULL, "print the result as one JSON object"},
    {NULL, 0, NULL, NULL, NULL},
};

static vindex_status optimize(const struct arguments *arguments, vindex *index, const char *path,
                              struct output *out, struct fault *fault)
{
    uint32_t option = arguments_has(arguments, "all") ? VINDEX_OPTIMIZE_ALL : 0;
    int64_t began_ns = clock_ns();
    struct progress progress;
    vindex_stats before, after;
    vindex_status st = library_stat(index, path, &before, fault);

    if (st != VINDEX_OK) return st;
    progress_begin(&progress, "optimizing");
    st = library_check(vindex_optimize(index, option, progress_library, &progress), path, fault);
    progress_end(&progress);
    if (st == VINDEX_OK) st = library_stat(index, path, &after, fault);
    if (st != VINDEX_OK) return st;
    return output_print(out, fault,
                        arguments_has(arguments, "json")
                            ? "{\"rows\":%" PRIu64 ",\"segments_before\":%" PRIu64
                              ",\"segments\":%" PRIu64 ",\"dead_rows_before\":%" PRIu64
                              ",\"dead_rows\":%" PRIu64 ",\"elapsed_s\":%.3f}\n"
                            : "%" PRIu64 " rows; segments %" PRIu64 " -> %" PRIu64
                              ", removed rows %" PRIu64 " -> %" PRIu64 ", %.3f s\n",
                        after.n_rows, before.n_segments, after.n_segments, before.n_dead,
                        after.n_dead, (double)(clock_ns() - began_ns) * 1e-9);
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
    .summary = "do the maintenance that is due",
    .more =
        "Seals fresh rows, rewrites segments with many removed rows, merges small ones. Its steps\n"
        "are transactions of their own: an interrupt loses nothing.",
    .flags = flags,
    .run = run,
};
