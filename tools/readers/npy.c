/*
 * npy.c - npy: NumPy's array files (numpy.lib.format, versions 1 to 3).
 *
 *     "\x93NUMPY", version 1 byte, 0, header length (uint16 in version 1, uint32 later), then
 *     {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } padded with spaces and a newline,
 *     then the values
 *
 * Two dimensions are rows and columns. One dimension is one row of numbers, or a column of ids.
 */
#include "format.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC "\x93NUMPY"
#define MAGIC_BYTES 6
#define HEADER_BYTES_MAX 65536u
#define WRITTEN_HEADER_BYTES 128 /* a multiple of 64, as NumPy aligns it */

static enum match npy_match(const struct format *format, const struct head *head)
{
    (void)format;
    return head->n_bytes >= MAGIC_BYTES && memcmp(head->bytes, MAGIC, MAGIC_BYTES) == 0 ? MATCH_SURE
                                                                                        : MATCH_NO;
}

static void decode_double(const void *stored, void *values, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double wide;
        float narrow;

        memcpy(&wide, (const char *)stored + 8 * i, sizeof wide);
        narrow = (float)wide;
        memcpy((char *)values + 4 * i, &narrow, sizeof narrow);
    }
}

static const struct npy_type {
    const char *descr;
    uint32_t type;
    size_t stored_bytes;
    dense_decode *decode;
} npy_types[] = {
    {"f4", VINDEX_FLOAT, 4, NULL},
    {"f2", VINDEX_FLOAT16, 2, NULL},
    {"f8", VINDEX_FLOAT, 8, decode_double}, /* rounded: no index holds float64 */
    {"u1", VINDEX_UINT8, 1, NULL},
    {"i1", VINDEX_INT8, 1, NULL},
    {"i4", ROWS_INT32, 4, NULL},
    {"i8", ROWS_INT64, 8, NULL},
};

/* The header is a Python dictionary with three keys, in any order. */
struct npy_header {
    char descr[16];
    bool is_fortran, has_descr, has_order, has_shape;
    int n_axes;
    uint64_t shape[2];
};

static const char *skip_space(const char *text)
{
    while (*text == ' ' || *text == '\t' || *text == '\n' || *text == '\r')
        text++;
    return text;
}

/* 'text' or "text" into a buffer; NULL where there is none. */
static const char *parse_string(const char *text, char *to, size_t n_bytes)
{
    char quote = *text;
    size_t length;
    const char *end;

    if (quote != '\'' && quote != '"') return NULL;
    end = strchr(text + 1, quote);
    if (end == NULL) return NULL;
    length = (size_t)(end - text - 1);
    if (length >= n_bytes) return NULL;
    memcpy(to, text + 1, length);
    to[length] = 0;
    return end + 1;
}

static const char *parse_shape(const char *text, struct npy_header *header)
{
    if (*text != '(') return NULL;
    text = skip_space(text + 1);
    while (*text != ')') {
        uint64_t n = 0;

        if (!isdigit((unsigned char)*text)) return NULL;
        for (; isdigit((unsigned char)*text); text++) {
            if (n > (UINT64_MAX >> 8) / 10) return NULL;
            n = 10 * n + (uint64_t)(*text - '0');
        }
        if (header->n_axes < 2) header->shape[header->n_axes] = n;
        if (header->n_axes < 100) header->n_axes++;
        text = skip_space(text);
        if (*text == ',')
            text = skip_space(text + 1);
        else if (*text != ')')
            return NULL;
    }
    header->has_shape = true;
    return text + 1;
}

static const char *parse_entry(const char *text, struct npy_header *header)
{
    char key[32];

    text = parse_string(text, key, sizeof key);
    if (text == NULL) return NULL;
    text = skip_space(text);
    if (*text != ':') return NULL;
    text = skip_space(text + 1);
    if (strcmp(key, "descr") == 0) {
        text = parse_string(text, header->descr, sizeof header->descr);
        header->has_descr = text != NULL;
    } else if (strcmp(key, "fortran_order") == 0) {
        header->is_fortran = strncmp(text, "True", 4) == 0;
        if (!header->is_fortran && strncmp(text, "False", 5) != 0) return NULL;
        text += header->is_fortran ? 4 : 5;
        header->has_order = true;
    } else if (strcmp(key, "shape") == 0) {
        text = parse_shape(text, header);
    } else {
        return NULL;
    }
    return text;
}

static bool parse_header(const char *text, struct npy_header *header)
{
    text = skip_space(text);
    if (*text++ != '{') return false;
    for (text = skip_space(text); *text != '}'; text = skip_space(text)) {
        text = parse_entry(text, header);
        if (text == NULL) return false;
        text = skip_space(text);
        if (*text == ',')
            text++;
        else if (*text != '}')
            return false;
    }
    return header->has_descr && header->has_order && header->has_shape;
}

/* The whole header as text, malloc'ed and terminated. */
static vindex_status read_header(struct reader *reader, char **text, struct fault *fault)
{
    const char *name = input_name(reader->input);
    uint8_t start[MAGIC_BYTES + 2], length_bytes[4] = {0};
    size_t n_got = 0, n_length;
    uint32_t length;
    vindex_status st = input_read(reader->input, start, sizeof start, &n_got, fault);

    if (st != VINDEX_OK) return st;
    if (n_got < sizeof start || memcmp(start, MAGIC, MAGIC_BYTES) != 0) {
        return fault_set(fault, VINDEX_INVALID, "%s does not begin as a npy file does", name);
    }
    if (start[6] < 1 || start[6] > 3) {
        return fault_set(fault, VINDEX_UNSUPPORTED, "%s: npy version %u, expected 1 to 3", name,
                         start[6]);
    }
    n_length = start[6] == 1 ? 2 : 4;
    st = input_read(reader->input, length_bytes, n_length, &n_got, fault);
    if (st != VINDEX_OK) return st;
    length = little32(length_bytes);
    if (n_got < n_length || length > HEADER_BYTES_MAX) {
        return fault_set(fault, VINDEX_INVALID, "%s: the npy header is cut off or absurdly long",
                         name);
    }
    *text = malloc((size_t)length + 1);
    if (*text == NULL) return fault_nomem(fault);
    st = input_read(reader->input, *text, length, &n_got, fault);
    if (st != VINDEX_OK) return st;
    (*text)[n_got] = 0;
    if (n_got < length) {
        return fault_set(fault, VINDEX_INVALID, "%s: the npy header is cut off at byte %llu", name,
                         (unsigned long long)input_offset(reader->input));
    }
    return VINDEX_OK;
}

static vindex_status find_type(const char *name, const char *descr, const struct npy_type **type,
                               struct fault *fault)
{
    if (descr[0] == '>') {
        return fault_set(fault, VINDEX_UNSUPPORTED,
                         "%s is big endian ('%s'), expected little endian; in Python: "
                         "numpy.save(path, a.astype(a.dtype.newbyteorder('<')))",
                         name, descr);
    }
    for (size_t i = 0; i < sizeof npy_types / sizeof npy_types[0]; i++) {
        *type = &npy_types[i];
        if (strchr("<|=", descr[0]) != NULL && descr[0] != 0 &&
            strcmp(descr + 1, npy_types[i].descr) == 0) {
            return VINDEX_OK;
        }
    }
    return fault_set(
        fault, VINDEX_UNSUPPORTED,
        "%s holds '%s'; expected f4, f2, f8, u1 or i1 for vectors, i4 or i8 for ids; in "
        "Python: numpy.save(path, a.astype('<f4'))",
        name, descr);
}

static vindex_status set_shape(struct reader *reader, const struct npy_header *header,
                               struct fault *fault)
{
    const char *name = input_name(reader->input);
    uint64_t dim = 0;

    if (header->n_axes == 2) {
        reader->info.n_rows = header->shape[0];
        dim = header->shape[1];
    } else if (header->n_axes == 1) {
        bool is_column = rows_is_ids(reader->info.type);

        reader->info.n_rows = is_column ? header->shape[0] : 1;
        dim = is_column ? 1 : header->shape[0];
    } else {
        return fault_set(
            fault, VINDEX_UNSUPPORTED,
            "%s has %d axes, expected 2 (rows, values); in Python: a.reshape(len(a), -1)", name,
            header->n_axes);
    }
    if (header->is_fortran && header->n_axes == 2 && reader->info.n_rows > 1 && dim > 1) {
        return fault_set(fault, VINDEX_UNSUPPORTED,
                         "%s is in Fortran order, expected C order (row by row); in Python: "
                         "numpy.save(path, numpy.ascontiguousarray(a))",
                         name);
    }
    if (dim < 1 || dim > most_values(reader->info.type)) {
        return fault_set(fault, VINDEX_INVALID, "%s: rows of %llu values, expected 1 to %lu", name,
                         (unsigned long long)dim, (unsigned long)most_values(reader->info.type));
    }
    reader->info.dim = (uint32_t)dim;
    return VINDEX_OK;
}

static vindex_status npy_open(struct reader *reader, struct fault *fault)
{
    struct npy_header header = {0};
    const struct npy_type *type = NULL;
    char *text = NULL;
    vindex_status st = read_header(reader, &text, fault);

    if (st == VINDEX_OK && !parse_header(text, &header)) {
        st =
            fault_set(fault, VINDEX_INVALID,
                      "%s: the npy header is not {'descr': '<f4', 'fortran_order': False, 'shape': "
                      "(n, dim)} with a plain type",
                      input_name(reader->input));
    }
    if (st == VINDEX_OK) st = find_type(input_name(reader->input), header.descr, &type, fault);
    if (st == VINDEX_OK) {
        reader->info.type = type->type;
        st = set_shape(reader, &header, fault);
    }
    if (st == VINDEX_OK) st = dense_open(reader, type->stored_bytes, type->decode, fault);
    free(text);
    return st;
}

static bool npy_accepts(const struct format *format, uint32_t given, uint32_t *held)
{
    (void)format;
    *held = given == VINDEX_BFLOAT16 ? VINDEX_FLOAT : given; /* NumPy has no bfloat16 */
    return true;
}

static void format_header(const struct writer *writer, char header[WRITTEN_HEADER_BYTES])
{
    const char *descr = "";
    int length;

    for (size_t i = 0; i < sizeof npy_types / sizeof npy_types[0]; i++) {
        if (npy_types[i].type == writer->type && npy_types[i].decode == NULL) {
            descr = npy_types[i].descr;
        }
    }
    memset(header, ' ', WRITTEN_HEADER_BYTES);
    memcpy(header, MAGIC "\x01\x00\x76\x00", 10); /* version 1.0; 118 bytes follow */
    length = snprintf(header + 10, WRITTEN_HEADER_BYTES - 10,
                      "{'descr': '%c%s', 'fortran_order': False, 'shape': (%llu, %lu), }",
                      descr[1] == '1' ? '|' : '<', descr, (unsigned long long)writer->n_done,
                      (unsigned long)writer->dim);
    header[10 + length] = ' ';
    header[WRITTEN_HEADER_BYTES - 1] = '\n';
}

static vindex_status npy_begin(struct writer *writer, struct fault *fault)
{
    char header[WRITTEN_HEADER_BYTES];

    format_header(writer, header);
    return output_write(writer->output, header, sizeof header, fault);
}

static vindex_status npy_finish(struct writer *writer, struct fault *fault)
{
    char header[WRITTEN_HEADER_BYTES];

    format_header(writer, header);
    return output_patch(writer->output, header, sizeof header, fault);
}

const struct format format_npy = {
    .name = "npy",
    .match = npy_match,
    .open = npy_open,
    .read = dense_read,
    .close = dense_close,
    .accepts = npy_accepts,
    .begin = npy_begin,
    .write = dense_write,
    .finish = npy_finish,
};
