/*
 * helper_samples.c - see helper_samples.h.
 */
#include "helper_samples.h"

vindex_status read_all(const char *path, const char *format, size_t step, struct content *content,
                       struct fault *fault)
{
    struct reader *reader = NULL;
    vindex_status st = reader_open(path, format, &reader, fault);
    size_t n = 1, row_bytes;

    memset(content, 0, sizeof *content);
    if (st != VINDEX_OK) {
        assert_null(reader);
        return st;
    }
    content->info = *reader_info(reader);
    row_bytes = content->info.dim * rows_value_bytes(content->info.type);
    assert_true(row_bytes > 0);
    while (n > 0 && (content->n_rows + step) * row_bytes <= sizeof content->rows &&
           content->n_rows + step <= 64) {
        st = reader_read(reader, step, content->rows + content->n_rows * row_bytes,
                         content->ids + content->n_rows, &n, fault);
        if (st != VINDEX_OK) break;
        content->n_rows += n;
    }
    reader_close(reader);
    return st;
}

void assert_reads(const char *path, const char *format, struct content *content)
{
    struct fault fault = {0};

    if (read_all(path, format, 2, content, &fault) != VINDEX_OK) fail_msg("%s", fault.text);
}

void assert_refused(const char *path, const char *format, vindex_status status, const char *words)
{
    struct content content;
    struct fault fault = {0};
    vindex_status st = read_all(path, format, 2, &content, &fault);

    if (st != status) fail_msg("%s: status %d, expected %d (%s)", path, st, status, fault.text);
    if (strstr(fault.text, words) == NULL) fail_msg("\"%s\" lacks \"%s\"", fault.text, words);
}

static int sample_value(size_t row, size_t column)
{
    return (int)((row * 17 + column * 29 + 3) % 120) + 1;
}

void sample_rows(uint32_t type, void *rows)
{
    size_t n_bad;
    struct fault fault;

    for (size_t i = 0; i < N_ROWS * DIM; i++) {
        float value = (float)sample_value(i / DIM, i % DIM);
        void *to = (char *)rows + i * rows_value_bytes(type);

        assert_int_equal(rows_convert(VINDEX_FLOAT, &value, 1, type, to, &n_bad, &fault),
                         VINDEX_OK);
    }
}

const struct sample samples[N_SAMPLES] = {
    {"fvecs", "a.fvecs", VINDEX_FLOAT, VINDEX_FLOAT, 0},
    {"bvecs", "a.bvecs", VINDEX_UINT8, VINDEX_UINT8, 0},
    {"ivecs", "a.ivecs", ROWS_INT32, ROWS_INT32, 0},
    {"fbin", "a.fbin", VINDEX_FLOAT, VINDEX_FLOAT, 1},
    {"u8bin", "a.u8bin", VINDEX_UINT8, VINDEX_UINT8, 1},
    {"i8bin", "a.i8bin", VINDEX_INT8, VINDEX_INT8, 1},
    {"f16bin", "a.f16bin", VINDEX_FLOAT16, VINDEX_FLOAT16, 1},
    {"ibin", "a.ibin", ROWS_INT32, ROWS_INT32, 1},
    {"npy", "f4.npy", VINDEX_FLOAT, VINDEX_FLOAT, 1},
    {"npy", "f2.npy", VINDEX_FLOAT16, VINDEX_FLOAT16, 1},
    {"npy", "u1.npy", VINDEX_UINT8, VINDEX_UINT8, 1},
    {"npy", "i1.npy", VINDEX_INT8, VINDEX_INT8, 1},
    {"npy", "i4.npy", ROWS_INT32, ROWS_INT32, 1},
    {"npy", "i8.npy", ROWS_INT64, ROWS_INT64, 1},
    {"idx", "u.idx", VINDEX_UINT8, VINDEX_UINT8, 1},
    {"idx", "i.idx", VINDEX_INT8, VINDEX_INT8, 1},
    {"csv", "a.csv", VINDEX_FLOAT, VINDEX_FLOAT, 0},
    {"jsonl", "a.jsonl", VINDEX_FLOAT, VINDEX_FLOAT, 0},
};

const char *write_sample(const struct sample *sample)
{
    const char *path = file_path(sample->name);
    struct writer *writer = NULL;
    struct fault fault = {0};
    uint32_t type = sample->type;
    uint8_t rows[N_ROWS * DIM * 8];

    sample_rows(sample->type, rows);
    if (writer_open(path, NULL, &type, DIM, false, &writer, &fault) != VINDEX_OK) {
        fail_msg("%s", fault.text);
    }
    assert_int_equal(type, sample->read_type);
    assert_int_equal(writer_write(writer, 2, rows, NULL, &fault), VINDEX_OK);
    assert_int_equal(
        writer_write(writer, N_ROWS - 2, rows + 2 * DIM * rows_value_bytes(type), NULL, &fault),
        VINDEX_OK);
    assert_int_equal(writer_commit(&writer, &fault), VINDEX_OK);
    assert_null(writer);
    return path;
}

uint8_t *sample_bytes(size_t at, size_t *n_bytes)
{
    static uint8_t kept[N_SAMPLES][2048];
    static size_t n_kept[N_SAMPLES];
    uint8_t *bytes;

    if (n_kept[at] == 0) {
        bytes = file_read(write_sample(&samples[at]), &n_kept[at]);
        assert_true(n_kept[at] <= sizeof kept[at]);
        memcpy(kept[at], bytes, n_kept[at]);
        free(bytes);
    }
    *n_bytes = n_kept[at];
    bytes = malloc(*n_bytes + 1);
    assert_non_null(bytes);
    memcpy(bytes, kept[at], *n_bytes);
    return bytes;
}

void assert_is_sample(const struct sample *sample, const struct content *content, size_t n_rows)
{
    uint8_t rows[N_ROWS * DIM * 8];

    sample_rows(sample->read_type, rows);
    assert_string_equal(content->info.format, sample->format);
    assert_int_equal(content->info.type, sample->read_type);
    assert_int_equal(content->info.dim, DIM);
    assert_int_equal(content->n_rows, n_rows);
    assert_memory_equal(content->rows, rows, n_rows * DIM * rows_value_bytes(sample->read_type));
}
