/*
 * build.c - vindex build: files of vectors into a new index.
 *
 * The index is made under a temporary name beside the target and renamed at the end, so that a
 * failure or Ctrl-C leaves nothing, and an index that is replaced stays whole until then.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"
#include "feed.h"
#include "interrupt.h"
#include "library.h"
#include "progress.h"
#include "pump.h"

#define FLAG_FORCE "force"

static const struct flag flags[] = {
    {"input", 'i', "FILE", NULL, "rows to index; - is standard input; may be repeated"},
    {"output", 'o', "INDEX", NULL, "the index to make"},
    {"format", 0, "NAME", NULL, "format of the input where neither content nor name tell it"},
    {"metric", 0, NULL, "create", NULL},
    {"type", 0, NULL, "create", "how each number is stored (default: as in the file)"},
    {"layout", 0, NULL, "create", NULL},
    {"recall", 0, NULL, "create", NULL},
    {"seal-rows", 0, NULL, "create", NULL},
    {"seal-bytes", 0, NULL, "create", NULL},
    {"ids", 0, "FILE", NULL,
     "ids of the rows (ivecs, ibin, npy); default: the input's, or 0, 1, 2, ..."},
    {"max-memory", 0, "BYTES", NULL, "memory for the rows being read, as in 64M (default 32M)"},
    {"threads", 0, "N", NULL,
     "2 and more: read the input on a thread of its own, share encoding and audits (default 1)"},
    {"force", 'f', NULL, NULL, "replace an index that is there"},
    {"json", 0, NULL, NULL, "print the summary as one JSON object"},
    {NULL, 0, NULL, NULL, NULL},
};

/* What one run of build knows; freed by build_deinit, whatever happened. */
struct build {
    const char *target;
    char *temporary, *temporary_lock;
    vindex_create_options options;
    uint64_t memory_bytes;
    struct id_table given_ids; /* --ids */
    struct feed *feed;
    struct pump *pump; /* over the feed */
    uint32_t n_threads;
    vindex *index;
    vindex_writer *writer;
    uint64_t n_rows;
    int64_t began_ns, inserted_ns, committed_ns, finished_ns;
};

static void build_deinit(struct build *build)
{
    pump_close(build->pump);
    feed_close(build->feed);
    vindex_writer_abort(build->writer);
    vindex_close(build->index);
    if (build->temporary != NULL) unlink(build->temporary);
    if (build->temporary_lock != NULL) unlink(build->temporary_lock);
    free(build->temporary);
    free(build->temporary_lock);
    id_table_deinit(&build->given_ids);
}

/* The word's place in a range "auto|flat" is its number. */
static vindex_status parse_layout(const char *text, uint32_t *layout, struct fault *fault)
{
    for (*layout = VINDEX_LAYOUT_AUTO; *layout <= VINDEX_LAYOUT_FLAT; ++*layout) {
        if (strcmp(text, library_layout_name(*layout)) == 0) return VINDEX_OK;
    }
    return fault_usage(fault, "--layout %s: expected auto or flat", text);
}

/* A word that names no metric or type is a wrong command line. */
static vindex_status check_word(vindex_status st, const char *flag, struct fault *fault)
{
    return st == VINDEX_OK ? st : fault_usage(fault, "--%s: %s", flag, vindex_message());
}

static vindex_status parse_metric_and_type(const struct arguments *arguments, struct build *build,
                                           uint32_t file_type, struct fault *fault)
{
    const char *metric_word = arguments_text(arguments, "metric");
    const char *type_word = arguments_text(arguments, "type");
    vindex_type type = (vindex_type)file_type;
    vindex_metric metric;
    vindex_status st = VINDEX_OK;

    if (type_word != NULL) st = check_word(vindex_type_parse(type_word, &type), "type", fault);
    if (st != VINDEX_OK) return st;
    metric = type == VINDEX_BIT ? VINDEX_HAMMING : VINDEX_L2; /* bits have only the one */
    if (metric_word != NULL) {
        st = check_word(vindex_metric_parse(metric_word, &metric), "metric", fault);
    }
    build->options.type = type;
    build->options.metric = metric;
    return st;
}

static vindex_status parse_options(const struct arguments *arguments, struct build *build,
                                   struct fault *fault)
{
    const char *layout = arguments_text(arguments, "layout");
    uint64_t seal_rows = 0, seal_bytes = 0, n_threads = 1;
    vindex_status st = arguments_required(arguments, "output", &build->target, fault);

    build->options = (vindex_create_options)VINDEX_CREATE_OPTIONS_INIT;
    build->memory_bytes = 2 * FEED_CHUNK_BYTES;
    if (st == VINDEX_OK && layout != NULL) st = parse_layout(layout, &build->options.layout, fault);
    if (st == VINDEX_OK) st = arguments_recall(arguments, "recall", &build->options.recall, fault);
    if (st == VINDEX_OK) st = arguments_count(arguments, "seal-rows", 1, 16384, &seal_rows, fault);
    if (st == VINDEX_OK)
        st = arguments_count(arguments, "seal-bytes", 1, 1 << 24, &seal_bytes, fault);
    if (st == VINDEX_OK) st = arguments_bytes(arguments, "max-memory", &build->memory_bytes, fault);
    if (st == VINDEX_OK) st = arguments_count(arguments, "threads", 1, 1024, &n_threads, fault);
    build->n_threads = (uint32_t)n_threads;
    build->options.seal_rows = (uint32_t)seal_rows;
    build->options.seal_bytes = seal_bytes;
    return st;
}

/* The i-th input: the values of --input, then the operands. */
static const char *input_path(const struct arguments *arguments, size_t i)
{
    size_t n_flags = 0;

    while (arguments_value(arguments, "input", n_flags) != NULL)
        n_flags++;
    return i < n_flags ? arguments_value(arguments, "input", i)
                       : arguments_operand(arguments, i - n_flags);
}

static vindex_status open_input(const struct arguments *arguments, struct build *build, size_t i,
                                struct fault *fault)
{
    pump_close(build->pump);
    build->pump = NULL;
    feed_close(build->feed);
    build->feed = NULL;
    return feed_open(input_path(arguments, i), arguments_text(arguments, "format"), &build->feed,
                     fault);
}

static vindex_status load_ids(const struct arguments *arguments, struct build *build,
                              struct fault *fault)
{
    const char *path = arguments_text(arguments, "ids");

    return path != NULL ? id_table_load(path, NULL, 0, &build->given_ids, fault) : VINDEX_OK;
}

/* The target must be free, or an ordinary file that --force replaces. */
static vindex_status check_target(const struct arguments *arguments, const char *target,
                                  struct fault *fault)
{
    struct stat facts;

    if (stat(target, &facts) != 0) return VINDEX_OK; /* create says what is wrong with the folder */
    if (!S_ISREG(facts.st_mode)) {
        return fault_set(fault, VINDEX_INVALID, "%s is no ordinary file; give another --output",
                         target);
    }
    if (arguments_has(arguments, FLAG_FORCE)) return VINDEX_OK;
    return fault_set(fault, VINDEX_EXISTS, "%s exists; give --force to replace it", target);
}

static vindex_status make_index(struct build *build, struct fault *fault)
{
    char *temporary = NULL, *lock = NULL;
    vindex_status st = VINDEX_OK;

    if (asprintf(&temporary, "%s.building-%ld", build->target, (long)getpid()) < 0)
        temporary = NULL;
    if (temporary == NULL || asprintf(&lock, "%s-lock", temporary) < 0) lock = NULL;
    if (lock == NULL) st = fault_nomem(fault);
    if (st == VINDEX_OK) {
        st = library_check(vindex_create(temporary, &build->options, &build->index), build->target,
                           fault);
    }
    if (st == VINDEX_OK) { /* from here on the files are ours to remove */
        build->temporary = temporary;
        build->temporary_lock = lock;
        return st;
    }
    free(temporary);
    free(lock);
    return st;
}

/* The ids of the next n rows: of --ids, of the file, or NULL for the row's number. */
static vindex_status choose_ids(const struct build *build, size_t n, const int64_t **ids,
                                struct fault *fault)
{
    uint64_t n_given = (uint64_t)build->given_ids.n_rows * build->given_ids.n_columns;

    if (build->given_ids.ids == NULL) return VINDEX_OK;
    if (n > n_given - build->n_rows) {
        return fault_set(fault, VINDEX_INVALID,
                         "--ids has %llu ids, the input has more rows; expected one id a row",
                         (unsigned long long)n_given);
    }
    *ids = build->given_ids.ids + build->n_rows;
    return VINDEX_OK;
}

static vindex_status insert_feed(struct build *build, const char *path, struct progress *progress,
                                 struct fault *fault)
{
    uint64_t n_in_file = feed_info(build->feed)->n_rows, n_total = 0;
    vindex_status st = VINDEX_OK;

    if (n_in_file != READER_ROWS_UNKNOWN) n_total = build->n_rows + n_in_file;
    for (;;) {
        vindex_vectors rows = {0};
        const int64_t *ids = NULL;

        st = pump_next(build->pump, &rows, &ids, fault);
        if (st != VINDEX_OK || rows.n == 0) return st;
        st = choose_ids(build, rows.n, &ids, fault);
        if (st != VINDEX_OK) return st;
        st = library_check(vindex_writer_insert(build->writer, ids, &rows, 0), path, fault);
        if (st != VINDEX_OK) return st;
        build->n_rows += rows.n;
        progress_update(progress, build->n_rows, n_total);
        if (interrupt_pending()) return fault_set(fault, VINDEX_CANCELLED, "interrupted");
    }
}

static vindex_status insert_inputs(const struct arguments *arguments, struct build *build,
                                   struct progress *progress, struct fault *fault)
{
    vindex_status st = VINDEX_OK;

    for (size_t i = 0; input_path(arguments, i) != NULL && st == VINDEX_OK; i++) {
        const char *path = input_path(arguments, i);

        if (i > 0) st = open_input(arguments, build, i, fault);
        if (st == VINDEX_OK) {
            st = feed_check_dim(build->feed, path, build->options.type, build->options.dim, fault);
        }
        if (st == VINDEX_OK) {
            st = feed_target(build->feed, build->options.type, build->memory_bytes,
                             build->n_threads > 1 ? 2 : 1, fault);
        }
        if (st == VINDEX_OK) st = pump_open(build->feed, build->n_threads > 1, &build->pump, fault);
        if (st == VINDEX_OK) st = insert_feed(build, path, progress, fault);
    }
    if (st == VINDEX_OK && build->given_ids.ids != NULL &&
        build->n_rows != (uint64_t)build->given_ids.n_rows * build->given_ids.n_columns) {
        st = fault_set(fault, VINDEX_INVALID, "--ids has more ids than the input's %llu rows",
                       (unsigned long long)build->n_rows);
    }
    return st;
}

static vindex_status fill_index(const struct arguments *arguments, struct build *build,
                                struct fault *fault)
{
    struct progress progress;
    vindex_status st =
        library_check(vindex_writer_begin(build->index, &build->writer), build->target, fault);

    if (st != VINDEX_OK) return st;
    progress_begin(&progress, "indexing");
    st = insert_inputs(arguments, build, &progress, fault);
    progress_end(&progress);
    build->inserted_ns = clock_ns();
    if (st != VINDEX_OK) return st;
    st = library_check(vindex_writer_commit(build->writer), build->target, fault);
    build->committed_ns = clock_ns();
    if (st != VINDEX_OK) return st;
    build->writer = NULL; /* the commit freed it */
    progress_begin(&progress, "optimizing");
    st = library_check(vindex_optimize(build->index, VINDEX_OPTIMIZE_THREADS(build->n_threads),
                                       progress_library, &progress),
                       build->target, fault);
    progress_end(&progress);
    return st;
}

/* LMDB's lock file describes the readers of the file beside it: the one of an index that is
 * replaced must not serve the new one. Whoever has the old index open keeps both. */
static vindex_status publish(struct build *build, struct fault *fault)
{
    char *old_lock = NULL;
    vindex_status st = VINDEX_OK;

    vindex_close(build->index);
    build->index = NULL;
    if (interrupt_pending()) return fault_set(fault, VINDEX_CANCELLED, "interrupted");
    if (asprintf(&old_lock, "%s-lock", build->target) < 0) return fault_nomem(fault);
    if (unlink(old_lock) != 0 && errno != ENOENT) {
        st = fault_errno(fault, errno, "replace", old_lock);
    } else if (rename(build->temporary, build->target) != 0) {
        st = fault_errno(fault, errno, "rename the finished index to", build->target);
    } else {
        free(build->temporary);
        build->temporary = NULL;
    }
    free(old_lock);
    return st;
}

static vindex_status print_summary(const struct arguments *arguments, const struct build *build,
                                   const vindex_stats *stats, struct output *out,
                                   struct fault *fault)
{
    double insert_s = (double)(build->inserted_ns - build->began_ns) * 1e-9;
    double commit_s = (double)(build->committed_ns - build->inserted_ns) * 1e-9;
    double optimize_s = (double)(build->finished_ns - build->committed_ns) * 1e-9;
    double total_s = insert_s + commit_s + optimize_s;
    const char *type = rows_type_name(stats->type);
    const char *metric = vindex_metric_name((vindex_metric)stats->metric);
    vindex_status st;

    if (!arguments_has(arguments, "json")) {
        return output_print(out, fault,
                            "%s: %" PRIu64
                            " rows of %lu x %s, metric %s, layout %s, %.1f MB, codes along %lu axes, "
                            "%.2f s (%.0f rows/s)\n",
                            build->target, stats->n_rows, (unsigned long)stats->dim, type, metric,
                            library_layout_name(stats->layout), (double)stats->size_bytes * 1e-6,
                            (unsigned long)stats->c4_axes, total_s, (double)stats->n_rows / total_s);
    }
    st = output_print(out, fault, "{\"index\":");
    if (st == VINDEX_OK) st = print_json_string(out, build->target, fault);
    if (st != VINDEX_OK) return st;
    return output_print(out, fault,
                        ",\"rows\":%" PRIu64 ",\"dim\":%lu,\"type\":\"%s\",\"metric\":\"%s\","
                        "\"layout\":\"%s\",\"size_bytes\":%" PRIu64
                        ",\"coded_rows\":%" PRIu64 ",\"c4_axes\":%lu,\"codes_bytes\":%" PRIu64
                        ",\"insert_s\":%.3f,\"commit_s\":%.3f,\"optimize_s\":%.3f,"
                        "\"rows_per_s\":%.0f}\n",
                        stats->n_rows, (unsigned long)stats->dim, type, metric,
                        library_layout_name(stats->layout), stats->size_bytes, stats->n_coded,
                        (unsigned long)stats->c4_axes, stats->codes_bytes, insert_s, commit_s,
                        optimize_s, (double)stats->n_rows / total_s);
}

static vindex_status build_index(const struct arguments *arguments, struct build *build,
                                 struct output *out, struct fault *fault)
{
    vindex_stats stats;
    uint64_t dim;
    vindex_status st = parse_options(arguments, build, fault);

    if (st == VINDEX_OK && input_path(arguments, 0) == NULL) {
        st = fault_usage(fault, "vindex build needs --input FILE; see vindex build --help");
    }
    if (st == VINDEX_OK) st = check_target(arguments, build->target, fault);
    if (st == VINDEX_OK) st = load_ids(arguments, build, fault);
    if (st == VINDEX_OK) st = open_input(arguments, build, 0, fault);
    if (st != VINDEX_OK) return st;
    st = parse_metric_and_type(arguments, build, feed_info(build->feed)->type, fault);
    if (st != VINDEX_OK) return st;
    dim = feed_dim(build->feed, build->options.type);
    build->options.dim = dim < UINT32_MAX ? (uint32_t)dim : UINT32_MAX;
    build->began_ns = clock_ns();
    st = make_index(build, fault);
    if (st == VINDEX_OK) st = fill_index(arguments, build, fault);
    build->finished_ns = clock_ns();
    if (st == VINDEX_OK) st = library_stat(build->index, build->target, &stats, fault);
    if (st == VINDEX_OK) st = publish(build, fault);
    if (st == VINDEX_OK) st = print_summary(arguments, build, &stats, out, fault);
    return st;
}

static vindex_status run(const struct arguments *arguments, struct output *out, struct fault *fault)
{
    struct build build = {0};
    vindex_status st = build_index(arguments, &build, out, fault);

    build_deinit(&build);
    return st;
}

const struct command command_build = {
    .name = "build",
    .operands = "[FILE ...]",
    .n_operands_most = SIZE_MAX,
    .summary = "make an index from files of vectors",
    .more = "Formats: fvecs, bvecs, fbin, u8bin, i8bin, f16bin, npy, idx, csv, jsonl; each plain "
            "or .gz.\n"
            "Ids are row numbers from 0 unless the input has ids or --ids gives them.",
    .flags = flags,
    .run = run,
};
