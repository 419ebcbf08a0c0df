/*
 * reader.c - opens a file, recognises its format and hands over to it; see reader.h. The formats
 * are in the files beside this one, one each.
 */
#include "reader.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "format.h"

static const struct format *const formats[] = {
    &format_fvecs,  &format_bvecs, &format_ivecs, &format_fbin, &format_u8bin, &format_i8bin,
    &format_f16bin, &format_ibin,  &format_npy,   &format_idx,  &format_csv,   &format_jsonl,
};
#define N_FORMATS (sizeof formats / sizeof formats[0])

const char *reader_formats(void)
{
    return "fvecs, bvecs, ivecs, fbin, u8bin, i8bin, f16bin, ibin, npy, idx, csv, jsonl";
}

static const struct format *format_named(const char *name, size_t length)
{
    for (size_t i = 0; i < N_FORMATS; i++) {
        const char *names[2] = {formats[i]->name, formats[i]->alias};

        for (size_t j = 0; j < 2 && names[j] != NULL; j++) {
            if (strlen(names[j]) == length && strncasecmp(names[j], name, length) == 0) {
                return formats[i];
            }
        }
    }
    return NULL;
}

/* By the ending of a path, before an ending .gz. */
static const struct format *format_of_path(const char *path)
{
    const char *end = path + strlen(path);
    const char *dot;

    if (end - path > 3 && strcasecmp(end - 3, ".gz") == 0) end -= 3;
    for (dot = end; dot > path && dot[-1] != '.' && dot[-1] != '/'; dot--) {}
    return dot > path && dot[-1] == '.' ? format_named(dot, (size_t)(end - dot)) : NULL;
}

/* What the content says: the format that matches best; NULL where none or several do so equally. */
static const struct format *format_of_content(const struct head *head, enum match *level)
{
    const struct format *best = NULL;

    *level = MATCH_NO;
    for (size_t i = 0; i < N_FORMATS; i++) {
        enum match match = formats[i]->match(formats[i], head);

        if (match == MATCH_NO || match < *level) continue;
        best = match > *level ? formats[i] : NULL;
        *level = match;
    }
    return best;
}

static vindex_status recognise(const char *path, struct input *input, const struct format **format,
                               struct fault *fault)
{
    const struct format *named = format_of_path(path), *found;
    struct head head = {0};
    enum match level;
    vindex_status st = input_peek(input, INPUT_PEEK_BYTES, &head.bytes, &head.n_bytes, fault);

    if (st != VINDEX_OK) return st;
    if (head.n_bytes == 0) {
        return fault_set(fault, VINDEX_INVALID, "%s is empty; expected vectors (%s)",
                         input_name(input), reader_formats());
    }
    head.has_size = input_size(input, &head.size_bytes);
    found = format_of_content(&head, &level);
    if (level == MATCH_SURE && found != NULL) {
        *format = found;
    } else if (named != NULL && (named->match(named, &head) != MATCH_NO || level < MATCH_LIKELY)) {
        *format = named;
    } else {
        *format = found;
    }
    if (*format == NULL) *format = named;
    if (*format == NULL) {
        return fault_set(
            fault, VINDEX_INVALID,
            "%s: the format is not clear from the content%s; give --format (one of %s)",
            input_name(input), level == MATCH_NO ? "" : ", which fits several", reader_formats());
    }
    return VINDEX_OK;
}

static vindex_status choose_format(const char *path, const char *name, struct input *input,
                                   const struct format **format, struct fault *fault)
{
    if (name == NULL) return recognise(path, input, format, fault);
    *format = format_named(name, strlen(name));
    if (*format == NULL) {
        return fault_set(fault, VINDEX_INVALID, "format \"%s\" is not known; expected one of %s",
                         name, reader_formats());
    }
    return VINDEX_OK;
}

vindex_status reader_open(const char *path, const char *format, struct reader **reader,
                          struct fault *fault)
{
    struct reader *made = calloc(1, sizeof *made);
    vindex_status st;

    *reader = NULL;
    if (made == NULL) return fault_nomem(fault);
    st = input_open(path, &made->input, fault);
    if (st == VINDEX_OK) st = choose_format(path, format, made->input, &made->format, fault);
    if (st == VINDEX_OK) {
        made->info.format = made->format->name;
        made->info.n_rows = READER_ROWS_UNKNOWN;
        st = made->format->open(made, fault);
    }
    if (st == VINDEX_OK) {
        *reader = made;
        made = NULL;
    }
    reader_close(made);
    return st;
}

void reader_close(struct reader *reader)
{
    if (reader == NULL) return;
    if (reader->format != NULL && reader->format->close != NULL) reader->format->close(reader);
    input_close(reader->input);
    free(reader);
}

const struct reader_info *reader_info(const struct reader *reader)
{
    return &reader->info;
}

vindex_status reader_read(struct reader *reader, size_t n_most, void *rows, int64_t *ids,
                          size_t *n_rows, struct fault *fault)
{
    assert(n_most > 0);
    *n_rows = 0;
    return reader->format->read(reader, n_most, rows, ids, n_rows, fault);
}

void reader_stop(struct reader *reader)
{
    input_stop(reader->input);
}

/* ---- writing ------------------------------------------------------------------------------- */

static bool keeps_ids(const struct format *format)
{
    return format == &format_csv || format == &format_jsonl;
}

bool writer_keeps_ids(const char *path, const char *format)
{
    const struct format *found =
        format != NULL ? format_named(format, strlen(format)) : format_of_path(path);

    return found != NULL && keeps_ids(found);
}

static vindex_status check_writable(const struct format *format, const struct output *output,
                                    bool with_ids, struct fault *fault)
{
    if (format->finish != NULL && !output_can_patch(output)) {
        return fault_set(
            fault, VINDEX_UNSUPPORTED,
            "%s: %s needs its row count written last, which a pipe or device cannot do; "
            "write to a file, or take fvecs, bvecs, ivecs, csv or jsonl",
            output_name(output), format->name);
    }
    if (with_ids && !keeps_ids(format)) {
        return fault_set(
            fault, VINDEX_UNSUPPORTED,
            "%s holds no ids beside the rows; write csv or jsonl, or the ids to a file of "
            "their own",
            format->name);
    }
    return VINDEX_OK;
}

static vindex_status choose_output_format(const char *path, const char *name,
                                          const struct format **format, struct fault *fault)
{
    size_t length = strlen(path);

    if (length > 3 && strcasecmp(path + length - 3, ".gz") == 0) {
        return fault_set(fault, VINDEX_UNSUPPORTED,
                         "%s: files are written plain; leave out .gz and run gzip afterwards",
                         path);
    }
    *format = name != NULL ? format_named(name, strlen(name)) : format_of_path(path);
    if (*format != NULL) return VINDEX_OK;
    return fault_set(fault, VINDEX_INVALID, "%s: no format known for this %s; expected one of %s",
                     path, name != NULL ? "--format" : "ending", reader_formats());
}

vindex_status writer_open(const char *path, const char *format, uint32_t *type, uint32_t dim,
                          bool with_ids, struct writer **writer, struct fault *fault)
{
    struct writer *made = calloc(1, sizeof *made);
    uint32_t given = *type;
    vindex_status st;

    *writer = NULL;
    if (made == NULL) return fault_nomem(fault);
    made->dim = dim;
    made->with_ids = with_ids;
    st = choose_output_format(path, format, &made->format, fault);
    if (st == VINDEX_OK && !made->format->accepts(made->format, given, &made->type)) {
        st = fault_set(fault, VINDEX_UNSUPPORTED, "%s: %s does not hold %s", path,
                       made->format->name, rows_is_ids(given) ? "ids" : "vectors");
    }
    if (st == VINDEX_OK) st = output_open(path, &made->output, fault);
    if (st == VINDEX_OK) st = check_writable(made->format, made->output, with_ids, fault);
    if (st == VINDEX_OK && made->format->begin != NULL) st = made->format->begin(made, fault);
    if (st == VINDEX_OK) {
        *type = made->type;
        *writer = made;
        made = NULL;
    }
    writer_abort(made);
    return st;
}

vindex_status writer_write(struct writer *writer, size_t n_rows, const void *rows,
                           const int64_t *ids, struct fault *fault)
{
    vindex_status st = writer->format->write(writer, n_rows, rows, ids, fault);

    if (st == VINDEX_OK) writer->n_done += n_rows;
    return st;
}

vindex_status writer_commit(struct writer **writer, struct fault *fault)
{
    vindex_status st = VINDEX_OK;

    if ((*writer)->format->finish != NULL) st = (*writer)->format->finish(*writer, fault);
    if (st == VINDEX_OK) st = output_commit(&(*writer)->output, fault);
    writer_abort(*writer);
    *writer = NULL;
    return st;
}

void writer_abort(struct writer *writer)
{
    if (writer == NULL) return;
    output_abort(writer->output);
    free(writer);
}
