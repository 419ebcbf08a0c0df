/*
 * idx.c - idx: the format of MNIST (http://yann.lecun.com/exdb/mnist).
 *
 *     0, 0, type, number of axes (1 byte each), the length of each axis (uint32), then the values;
 *     all big endian. The first axis counts rows, the others are laid out as one: 60000 x
 *     28 x 28 is 60000 rows of 784.
 */
#include "format.h"

#include <string.h>

#define AXES_MAX 4

static void decode_int16(const void *stored, void *values, size_t n)
{
    const uint8_t *bytes = stored;

    for (size_t i = 0; i < n; i++) {
        float value = (int16_t)(uint16_t)(bytes[2 * i] << 8 | bytes[2 * i + 1]);

        memcpy((char *)values + 4 * i, &value, sizeof value);
    }
}

/* int32 and float32: the same four bytes turned around. */
static void decode_word(const void *stored, void *values, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t word = big32((const uint8_t *)stored + 4 * i);

        memcpy((char *)values + 4 * i, &word, sizeof word);
    }
}

static void decode_double(const void *stored, void *values, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const uint8_t *bytes = (const uint8_t *)stored + 8 * i;
        uint64_t bits = (uint64_t)big32(bytes) << 32 | big32(bytes + 4);
        double wide;
        float narrow;

        memcpy(&wide, &bits, sizeof wide);
        narrow = (float)wide;
        memcpy((char *)values + 4 * i, &narrow, sizeof narrow);
    }
}

static const struct idx_type {
    uint8_t code;
    uint32_t type;
    size_t stored_bytes;
    dense_decode *decode;
} idx_types[] = {
    {0x08, VINDEX_UINT8, 1, NULL},         {0x09, VINDEX_INT8, 1, NULL},
    {0x0b, VINDEX_FLOAT, 2, decode_int16}, {0x0c, ROWS_INT32, 4, decode_word},
    {0x0d, VINDEX_FLOAT, 4, decode_word},  {0x0e, VINDEX_FLOAT, 8, decode_double},
};

static const struct idx_type *find_type(uint8_t code)
{
    for (size_t i = 0; i < sizeof idx_types / sizeof idx_types[0]; i++) {
        if (idx_types[i].code == code) return &idx_types[i];
    }
    return NULL;
}

/* Values a row, or 0 where the axes' product is absurd. `axes` are the stored lengths. */
static uint32_t row_values(const uint8_t *axes, int n_axes, uint32_t type)
{
    uint64_t dim = 1;

    for (int i = 1; i < n_axes; i++) {
        dim *= big32(axes + 4 * i);
        if (dim > most_values(type)) return 0;
    }
    return (uint32_t)dim;
}

static enum match idx_match(const struct format *format, const struct head *head)
{
    const uint8_t *bytes = head->bytes;
    const struct idx_type *type;
    size_t header_bytes;
    uint32_t dim;

    (void)format;
    if (head->n_bytes < 8 || bytes[0] != 0 || bytes[1] != 0) return MATCH_NO;
    type = find_type(bytes[2]);
    if (type == NULL || bytes[3] < 1 || bytes[3] > AXES_MAX) return MATCH_NO;
    header_bytes = 4 + 4 * (size_t)bytes[3];
    if (head->n_bytes < header_bytes) return MATCH_NO;
    dim = row_values(bytes + 4, bytes[3], type->type);
    if (dim == 0) return MATCH_NO;
    if (!head->has_size) return MATCH_LIKELY;
    return head->size_bytes == header_bytes + (uint64_t)big32(bytes + 4) * dim * type->stored_bytes
               ? MATCH_SURE
               : MATCH_WEAK;
}

static vindex_status idx_open(struct reader *reader, struct fault *fault)
{
    const char *name = input_name(reader->input);
    const struct idx_type *type = NULL;
    uint8_t start[4], axes[4 * AXES_MAX];
    size_t n_got = 0, n_axes_bytes;
    vindex_status st = input_read(reader->input, start, sizeof start, &n_got, fault);

    if (st != VINDEX_OK) return st;
    if (n_got == sizeof start && start[0] == 0 && start[1] == 0) type = find_type(start[2]);
    if (type == NULL || start[3] < 1 || start[3] > AXES_MAX) {
        return fault_set(fault, VINDEX_INVALID,
                         "%s does not begin as an idx file does: 0, 0, a type, 1 to %d axes", name,
                         AXES_MAX);
    }
    n_axes_bytes = 4 * (size_t)start[3];
    st = input_read(reader->input, axes, n_axes_bytes, &n_got, fault);
    if (st != VINDEX_OK) return st;
    if (n_got < n_axes_bytes) {
        return fault_set(fault, VINDEX_INVALID, "%s: the idx header is cut off", name);
    }
    reader->info.type = type->type;
    reader->info.n_rows = big32(axes);
    reader->info.dim = row_values(axes, start[3], type->type);
    if (reader->info.dim == 0) {
        return fault_set(fault, VINDEX_INVALID,
                         "%s: the axes after the first make no row of 1 to %lu values", name,
                         (unsigned long)most_values(type->type));
    }
    return dense_open(reader, type->stored_bytes, type->decode, fault);
}

/* Written as bytes in two axes: what the format is used for. */
static bool idx_accepts(const struct format *format, uint32_t given, uint32_t *held)
{
    (void)format;
    *held = given == VINDEX_INT8 ? VINDEX_INT8 : VINDEX_UINT8;
    return !rows_is_ids(given);
}

static void format_header(const struct writer *writer, uint8_t header[12])
{
    memset(header, 0, 12);
    header[2] = writer->type == VINDEX_INT8 ? 0x09 : 0x08;
    header[3] = 2;
    put_big32(header + 4, (uint32_t)writer->n_done);
    put_big32(header + 8, writer->dim);
}

static vindex_status idx_begin(struct writer *writer, struct fault *fault)
{
    uint8_t header[12];

    format_header(writer, header);
    return output_write(writer->output, header, sizeof header, fault);
}

static vindex_status idx_finish(struct writer *writer, struct fault *fault)
{
    uint8_t header[12];

    if (writer->n_done > UINT32_MAX) {
        return fault_set(fault, VINDEX_UNSUPPORTED, "idx holds at most 4294967295 rows; write npy");
    }
    format_header(writer, header);
    return output_patch(writer->output, header, sizeof header, fault);
}

const struct format format_idx = {
    .name = "idx",
    .alias = NULL,
    .match = idx_match,
    .open = idx_open,
    .read = dense_read,
    .close = dense_close,
    .accepts = idx_accepts,
    .begin = idx_begin,
    .write = dense_write,
    .finish = idx_finish,
};
