/*
 * export.c - vindex export: the rows of an index into a file, in ascending order of their ids.
 *
 * The ids are collected first (8 bytes a row), then the rows are fetched in chunks: whatever was
 * removed and replaced since, an index built from a file without ids gives that file back.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "interrupt.h"
#include "library.h"
#include "progress.h"
#include "readers/reader.h"

#define CHUNK_BYTES ((size_t)4 << 20)

static const struct flag flags[] = {
    {"output", 'o', "FILE", NULL,
     "the file to write; - is standard output (csv, jsonl, fvecs, bvecs)"},
    {"to-format", 0, "NAME", NULL, "format of the output where its name does not tell it"},
    {"ids", 0, "FILE", NULL,
     "write the ids of the rows to a file of their own (npy, ivecs, ibin, csv)"},
    {NULL, 0, NULL, NULL, NULL},
};

struct export
{
    const char *path;
    vindex *index;
    vindex_searcher *searcher;
    vindex_stats stats;
    uint32_t row_type, dim; /* as values: bits are bytes, eight dimensions each */
    uint32_t written_type;
    int64_t *ids;
    size_t n_ids, capacity;
    bool is_out_of_memory;
    struct writer *writer, *ids_writer;
    uint32_t ids_type;
    void *rows, *written;
};

static void export_deinit(struct export *export)
{
    writer_abort(export->writer);
    writer_abort(export->ids_writer);
    free(export->ids);
    free(export->rows);
    free(export->written);
    vindex_searcher_close(export->searcher);
    vindex_close(export->index);
}

static int take_ids(void *context, const int64_t *ids, const void *rows, size_t n)
{
    struct export *export = context;

    (void)rows;
    if (export->n_ids + n > export->capacity) {
        size_t wanted = 2 * (export->n_ids + n);
        int64_t *grown = realloc(export->ids, wanted * sizeof *grown);

        export->is_out_of_memory = grown == NULL;
        if (grown == NULL) return 1;
        export->ids = grown;
        export->capacity = wanted;
    }
    memcpy(export->ids + export->n_ids, ids, n * sizeof *ids);
    export->n_ids += n;
    return interrupt_pending();
}

static int compare_ids(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

    return (left > right) - (left < right);
}

static vindex_status collect_ids(struct export *export, struct fault *fault)
{
    vindex_status st =
        library_check(vindex_scan(export->searcher, take_ids, export), export->path, fault);

    if (interrupt_pending()) return fault_set(fault, VINDEX_CANCELLED, "interrupted");
    if (export->is_out_of_memory) return fault_nomem(fault);
    if (st == VINDEX_OK && export->n_ids > 0) {
        qsort(export->ids, export->n_ids, sizeof *export->ids, compare_ids);
    }
    return st;
}

static vindex_status open_writers(const struct arguments *arguments, struct export *export,
                                  struct fault *fault)
{
    const char *path = NULL, *ids_path = arguments_text(arguments, "ids");
    const char *format = arguments_text(arguments, "to-format");
    bool with_ids;
    vindex_status st = arguments_required(arguments, "output", &path, fault);

    if (st != VINDEX_OK) return st;
    with_ids = writer_keeps_ids(path, format);
    export->written_type = export->row_type;
    st = writer_open(path, format, &export->written_type, export->dim, with_ids, &export->writer,
                     fault);
    if (st == VINDEX_OK && ids_path != NULL) {
        export->ids_type = ROWS_INT64;
        st = writer_open(ids_path, NULL, &export->ids_type, 1, false, &export->ids_writer, fault);
    }
    if (st != VINDEX_OK || with_ids || ids_path != NULL || export->n_ids == 0) return st;
    if (export->ids[0] != 0 || export->ids[export->n_ids - 1] != (int64_t) export->n_ids - 1) {
        fprintf(stderr, "vindex: the ids are not 0 to n - 1 and this file does not keep them; add "
                        "--ids FILE\n");
    }
    return VINDEX_OK;
}

static vindex_status export_chunk(struct export *export, size_t first, size_t n,
                                  struct fault *fault)
{
    size_t n_bad = 0;
    const int64_t *ids = export->ids + first;
    vindex_status st = library_check(vindex_fetch(export->searcher, ids, n, export->rows, NULL),
                                     export->path, fault);

    if (st == VINDEX_NOTFOUND) {
        return fault_set(fault, VINDEX_BUSY,
                         "%s: rows were removed during the export; run it again", export->path);
    }
    if (st == VINDEX_OK) {
        st = rows_convert(export->row_type, export->rows, n * export->dim, export->written_type,
                          export->written, &n_bad, fault);
    }
    if (st == VINDEX_OK) st = writer_write(export->writer, n, export->written, ids, fault);
    if (st != VINDEX_OK || export->ids_writer == NULL) return st;
    st = rows_convert(ROWS_INT64, ids, n, export->ids_type, export->written, &n_bad, fault);
    if (st != VINDEX_OK) {
        return fault_set(fault, VINDEX_INVALID,
                         "the id %" PRId64 " is beyond the int32 of this format; write .npy",
                         ids[n_bad]);
    }
    return writer_write(export->ids_writer, n, export->written, NULL, fault);
}

static vindex_status export_rows(struct export *export, struct fault *fault)
{
    size_t row_bytes = vindex_row_bytes((vindex_type) export->stats.type, export->stats.dim);
    size_t n_chunk = 1 + CHUNK_BYTES / row_bytes, written_bytes = export->dim * sizeof(float);
    struct progress progress;
    vindex_status st = VINDEX_OK;

    if (written_bytes < sizeof(int64_t))
        written_bytes = sizeof(int64_t); /* the ids pass here too */
    export->rows = malloc(n_chunk * row_bytes);
    export->written = malloc(n_chunk * written_bytes);
    if (export->rows == NULL || export->written == NULL) return fault_nomem(fault);
    progress_begin(&progress, "exporting");
    for (size_t first = 0; first < export->n_ids && st == VINDEX_OK; first += n_chunk) {
        size_t n_left = export->n_ids - first;

        st = export_chunk(export, first, n_left < n_chunk ? n_left : n_chunk, fault);
        progress_update(&progress, first, export->n_ids);
        if (interrupt_pending()) st = fault_set(fault, VINDEX_CANCELLED, "interrupted");
    }
    progress_end(&progress);
    return st;
}

static vindex_status export_index(const struct arguments *arguments, struct export *export,
                                  struct output *out, struct fault *fault)
{
    vindex_status st = library_open(export->path, &export->index, &export->searcher, fault);

    if (st == VINDEX_OK) st = library_stat(export->index, export->path, &export->stats, fault);
    if (st == VINDEX_OK) st = collect_ids(export, fault);
    if (st != VINDEX_OK) return st;
    export->row_type = export->stats.type;
    export->dim = export->stats.dim;
    if (export->stats.type == VINDEX_BIT) { /* as build takes them */
        export->row_type = VINDEX_UINT8;
        export->dim = (export->stats.dim + 7) / 8;
    }
    st = open_writers(arguments, export, fault);
    if (st == VINDEX_OK) st = export_rows(export, fault);
    if (st == VINDEX_OK) st = writer_commit(&export->writer, fault);
    if (st == VINDEX_OK && export->ids_writer != NULL)
        st = writer_commit(&export->ids_writer, fault);
    if (st == VINDEX_OK && strcmp(arguments_text(arguments, "output"), "-") != 0) {
        st = output_print(out, fault, "%zu rows of %lu x %s\n", export->n_ids,
                          (unsigned long)export->dim, rows_type_name(export->written_type));
    }
    return st;
}

static vindex_status run(const struct arguments *arguments, struct output *out, struct fault *fault)
{
    struct export export = {.path = arguments_operand(arguments, 0)};
    vindex_status st = export_index(arguments, &export, out, fault);

    export_deinit(&export);
    return st;
}

const struct command command_export = {
    .name = "export",
    .operands = "INDEX",
    .n_operands_least = 1,
    .n_operands_most = 1,
    .summary = "write the rows of an index to a file",
    .more = "Rows come in ascending order of their ids; csv and jsonl have the ids beside them. "
            "BIT rows\n"
            "are written as uint8 rows of packed bits.",
    .flags = flags,
    .run = run,
};
