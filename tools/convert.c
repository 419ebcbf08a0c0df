/*
 * convert.c - vindex convert: a file of vectors or ids into another format or type.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "interrupt.h"
#include "progress.h"
#include "readers/reader.h"

#define CHUNK_BYTES ((size_t)4 << 20)

static const struct flag flags[] = {
    {"format", 0, "NAME", NULL, "format of the input where neither content nor name tell it"},
    {"to-format", 0, "NAME", NULL, "format of the output where its name does not tell it"},
    {"to-type", 0, "TYPE", NULL, "float, float16, int8, uint8 (npy holds any; others their own)"},
    {"limit", 0, "N", NULL, "the first N rows (default: all)"},
    {NULL, 0, NULL, NULL, NULL},
};

struct convert {
    const char *from, *to;
    struct reader *reader;
    struct writer *writer;
    uint32_t type; /* written */
    size_t chunk_rows;
    void *read_rows, *written_rows;
    int64_t *ids;
};

static void convert_deinit(struct convert *convert)
{
    reader_close(convert->reader);
    writer_abort(convert->writer);
    free(convert->read_rows);
    free(convert->written_rows);
    free(convert->ids);
}

static vindex_status choose_type(const struct arguments *arguments, struct convert *convert,
                                 struct fault *fault)
{
    const char *word = arguments_text(arguments, "to-type");
    vindex_type wanted;

    convert->type = reader_info(convert->reader)->type;
    if (word == NULL) return VINDEX_OK;
    if (vindex_type_parse(word, &wanted) != VINDEX_OK || rows_value_bytes(wanted) == 0) {
        return fault_usage(fault, "--to-type %s: expected float, float16, int8 or uint8", word);
    }
    convert->type = wanted;
    return VINDEX_OK;
}

static vindex_status open_files(const struct arguments *arguments, struct convert *convert,
                                struct fault *fault)
{
    const char *to_format = arguments_text(arguments, "to-format");
    const struct reader_info *info;
    uint32_t wanted;
    bool with_ids;
    vindex_status st =
        reader_open(convert->from, arguments_text(arguments, "format"), &convert->reader, fault);

    if (st == VINDEX_OK) st = choose_type(arguments, convert, fault);
    if (st != VINDEX_OK) return st;
    info = reader_info(convert->reader);
    with_ids = info->has_ids && writer_keeps_ids(convert->to, to_format);
    if (info->has_ids && !with_ids) {
        fprintf(stderr, "vindex: %s has ids, which this format does not keep\n", convert->from);
    }
    wanted = convert->type;
    st = writer_open(convert->to, to_format, &convert->type, info->dim, with_ids, &convert->writer,
                     fault);
    if (st == VINDEX_OK && arguments_has(arguments, "to-type") && convert->type != wanted) {
        st = fault_set(fault, VINDEX_UNSUPPORTED,
                       "%s holds %s, --to-type asks for %s; write npy, or leave --to-type out",
                       convert->to, rows_type_name(convert->type), rows_type_name(wanted));
    }
    if (st != VINDEX_OK) return st;
    convert->chunk_rows = 1 + CHUNK_BYTES / (8 * (size_t)info->dim);
    convert->read_rows = malloc(convert->chunk_rows * info->dim * rows_value_bytes(info->type));
    convert->written_rows =
        malloc(convert->chunk_rows * info->dim * rows_value_bytes(convert->type));
    convert->ids = calloc(convert->chunk_rows, sizeof *convert->ids);
    if (convert->read_rows == NULL || convert->written_rows == NULL || convert->ids == NULL) {
        return fault_nomem(fault);
    }
    return VINDEX_OK;
}

static vindex_status convert_chunk(struct convert *convert, size_t n, uint64_t n_done,
                                   struct fault *fault)
{
    const struct reader_info *info = reader_info(convert->reader);
    size_t n_bad = 0;
    struct fault why;

    if (rows_convert(info->type, convert->read_rows, n * info->dim, convert->type,
                     convert->written_rows, &n_bad, &why) != VINDEX_OK) {
        return fault_set(fault, why.status, "%s: row %llu, value %zu: %s", convert->from,
                         (unsigned long long)(n_done + n_bad / info->dim), n_bad % info->dim,
                         why.text);
    }
    return writer_write(convert->writer, n, convert->written_rows, convert->ids, fault);
}

static vindex_status copy_rows(struct convert *convert, uint64_t limit, uint64_t *n_done,
                               struct fault *fault)
{
    uint64_t n_rows = reader_info(convert->reader)->n_rows;
    struct progress progress;
    size_t n = 1;
    vindex_status st = VINDEX_OK;

    progress_begin(&progress, "converting");
    while (n > 0 && *n_done < limit && st == VINDEX_OK) {
        uint64_t n_left = limit - *n_done;

        st = reader_read(convert->reader,
                         n_left < convert->chunk_rows ? (size_t)n_left : convert->chunk_rows,
                         convert->read_rows, convert->ids, &n, fault);
        if (st == VINDEX_OK) st = convert_chunk(convert, n, *n_done, fault);
        *n_done += n;
        progress_update(&progress, *n_done, n_rows == READER_ROWS_UNKNOWN ? 0 : n_rows);
        if (interrupt_pending()) st = fault_set(fault, VINDEX_CANCELLED, "interrupted");
    }
    progress_end(&progress);
    return st;
}

static vindex_status run(const struct arguments *arguments, struct output *out, struct fault *fault)
{
    struct convert convert = {.from = arguments_operand(arguments, 0),
                              .to = arguments_operand(arguments, 1)};
    uint64_t limit = UINT64_MAX, n_done = 0;
    vindex_status st = arguments_count(arguments, "limit", 1, UINT64_MAX, &limit, fault);

    if (st == VINDEX_OK) st = open_files(arguments, &convert, fault);
    if (st == VINDEX_OK) st = copy_rows(&convert, limit, &n_done, fault);
    if (st == VINDEX_OK) st = writer_commit(&convert.writer, fault);
    if (st == VINDEX_OK && strcmp(convert.to, "-") != 0) {
        st = output_print(out, fault, "%llu rows of %lu x %s\n", (unsigned long long)n_done,
                          (unsigned long)reader_info(convert.reader)->dim,
                          rows_type_name(convert.type));
    }
    convert_deinit(&convert);
    return st;
}

const struct command command_convert = {
    .name = "convert",
    .operands = "INPUT OUTPUT",
    .n_operands_least = 2,
    .n_operands_most = 2,
    .summary = "turn a file of vectors into another format",
    .more =
        "Formats: fvecs, bvecs, ivecs, fbin, u8bin, i8bin, f16bin, ibin, npy, idx, csv, jsonl.\n"
        "Whole-number types take only whole numbers in their range; nothing is rounded silently "
        "but\n"
        "to float16 and from float64. Files of ids become files of ids.",
    .flags = flags,
    .run = run,
};
