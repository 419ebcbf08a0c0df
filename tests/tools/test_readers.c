/*
 * test_readers.c - every format: recognised, read back as written, and refused when damaged.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "helper_files.h"
#include "tools/readers/reader.h"

#define N_ROWS 5u
#define DIM 6u

/* ---- reading whole files -------------------------------------------------------------------- */

struct content {
    struct reader_info info;
    size_t n_rows;
    uint8_t rows[4096];
    int64_t ids[64];
};

/* All rows, `step` at a time. Files that claim rows beyond the room are opened only. */
static vindex_status read_all(const char *path, const char *format, size_t step,
                              struct content *content, struct fault *fault)
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

static void assert_reads(const char *path, const char *format, struct content *content)
{
    struct fault fault = {0};

    if (read_all(path, format, 2, content, &fault) != VINDEX_OK) fail_msg("%s", fault.text);
}

static void assert_refused(const char *path, const char *format, vindex_status status,
                           const char *words)
{
    struct content content;
    struct fault fault = {0};
    vindex_status st = read_all(path, format, 2, &content, &fault);

    if (st != status) fail_msg("%s: status %d, expected %d (%s)", path, st, status, fault.text);
    if (strstr(fault.text, words) == NULL) fail_msg("\"%s\" lacks \"%s\"", fault.text, words);
}

/* ---- the sample: whole numbers that every type holds ----------------------------------------- */

static int sample_value(size_t row, size_t column)
{
    return (int)((row * 17 + column * 29 + 3) % 120) + 1;
}

static void sample_rows(uint32_t type, void *rows)
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

static const struct sample {
    const char *format;
    const char *name;
    uint32_t type;      /* given to the writer */
    uint32_t read_type; /* answered by the reader */
    int always_refused; /* a cut at any byte is noticed */
} samples[] = {
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
#define N_SAMPLES (sizeof samples / sizeof samples[0])

static const char *write_sample(const struct sample *sample)
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

/* The written sample's bytes, malloc'ed; written once, since a commit waits for the disk. */
static uint8_t *sample_bytes(size_t at, size_t *n_bytes)
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

static void assert_is_sample(const struct sample *sample, const struct content *content,
                             size_t n_rows)
{
    uint8_t rows[N_ROWS * DIM * 8];

    sample_rows(sample->read_type, rows);
    assert_string_equal(content->info.format, sample->format);
    assert_int_equal(content->info.type, sample->read_type);
    assert_int_equal(content->info.dim, DIM);
    assert_int_equal(content->n_rows, n_rows);
    assert_memory_equal(content->rows, rows, n_rows * DIM * rows_value_bytes(sample->read_type));
}

static void test_every_writer_with_every_reader(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_SAMPLES; i++) {
        const char *path = write_sample(&samples[i]);
        struct content content;
        struct fault fault = {0};

        for (size_t step = 1; step <= N_ROWS + 1; step++) {
            assert_int_equal(read_all(path, NULL, step, &content, &fault), VINDEX_OK);
            assert_is_sample(&samples[i], &content, N_ROWS);
        }
    }
}

static void test_gzip_of_every_format(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_SAMPLES; i++) {
        size_t n_bytes, n_packed;
        uint8_t *bytes = sample_bytes(i, &n_bytes);
        char name[64];
        struct content content;

        snprintf(name, sizeof name, "%s.gz", samples[i].name);
        assert_reads(file_write_gzip(name, bytes, n_bytes, &n_packed), NULL, &content);
        assert_is_sample(&samples[i], &content, N_ROWS);
        free(bytes);
    }
}

/* Under a name that says nothing, the content alone decides where it can. */
static void test_recognised_by_content(void **state)
{
    static const char *const ambiguous[] = {"a.fbin", "a.ibin", "a.u8bin", "a.i8bin"};

    (void)state;
    for (size_t i = 0; i < N_SAMPLES; i++) {
        size_t n_bytes;
        uint8_t *bytes = sample_bytes(i, &n_bytes);
        const char *path = file_write("nameless", bytes, n_bytes);
        struct content content;
        int is_ambiguous = 0;

        for (size_t j = 0; j < sizeof ambiguous / sizeof ambiguous[0]; j++) {
            is_ambiguous |= strcmp(ambiguous[j], samples[i].name) == 0;
        }
        if (is_ambiguous) assert_refused(path, NULL, VINDEX_INVALID, "--format");
        assert_reads(path, is_ambiguous ? samples[i].format : NULL, &content);
        assert_is_sample(&samples[i], &content, N_ROWS);
        free(bytes);
    }
}

static void test_content_beats_a_wrong_name(void **state)
{
    size_t n_bytes;
    uint8_t *bytes = sample_bytes(8, &n_bytes);
    struct content content;

    (void)state;
    assert_reads(file_write("really-npy.fvecs", bytes, n_bytes), NULL, &content);
    assert_string_equal(content.info.format, "npy");
    free(bytes);
    bytes = sample_bytes(0, &n_bytes);
    assert_reads(file_write("really-fvecs.csv", bytes, n_bytes), NULL, &content);
    assert_string_equal(content.info.format, "fvecs");
    free(bytes);
}

/* ---- damage --------------------------------------------------------------------------------- */

/* A cut file is refused, or is a shorter file of the same rows. */
static void assert_cut_is_noticed(const struct sample *sample, const char *path, size_t cut)
{
    struct content content;
    struct fault fault = {0};
    vindex_status st = read_all(path, sample->format, 2, &content, &fault);
    size_t row_bytes = 4 + DIM * rows_value_bytes(sample->type);

    if (st != VINDEX_OK) {
        assert_int_equal(st, VINDEX_INVALID);
        assert_non_null(strstr(fault.text, path));
        return;
    }
    if (sample->always_refused) fail_msg("%s cut at byte %zu was accepted", sample->name, cut);
    if (strstr(sample->format, "vecs") != NULL) {
        assert_int_equal(cut % row_bytes, 0);
        assert_is_sample(sample, &content, cut / row_bytes);
    } else { /* jsonl: every row has its own end */
        assert_is_sample(sample, &content, content.n_rows);
    }
}

static void test_cut_at_every_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_SAMPLES; i++) {
        size_t n_bytes;
        uint8_t *bytes;

        if (strcmp(samples[i].format, "csv") == 0) continue; /* a number cut short is a number */
        bytes = sample_bytes(i, &n_bytes);
        for (size_t cut = 0; cut < n_bytes; cut++) {
            assert_cut_is_noticed(&samples[i], file_write("cut", bytes, cut), cut);
        }
        free(bytes);
    }
}

/* A number cut short is a number: whole lines count, and perhaps one more row. */
static void test_csv_cut_at_every_byte(void **state)
{
    size_t n_bytes;
    uint8_t *bytes = sample_bytes(16, &n_bytes);
    struct content content;
    struct fault fault;

    (void)state;
    for (size_t cut = 0; cut < n_bytes; cut++) {
        const char *path = file_write("cut", bytes, cut);
        size_t n_lines = 0;
        vindex_status st = read_all(path, "csv", 2, &content, &fault);

        for (size_t i = 0; i < cut; i++)
            n_lines += bytes[i] == '\n';
        if (st != VINDEX_OK) {
            assert_int_equal(st, VINDEX_INVALID);
            continue;
        }
        assert_in_range(content.n_rows, n_lines, n_lines + 1);
        if (n_lines > 0) {
            uint8_t rows[N_ROWS * DIM * 4];

            sample_rows(VINDEX_FLOAT, rows);
            assert_memory_equal(content.rows, rows, n_lines * DIM * 4);
        }
    }
    free(bytes);
}

static void test_streams_cut_at_every_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_SAMPLES; i++) {
        size_t n_bytes, n_packed;
        uint8_t *bytes;

        if (strcmp(samples[i].format, "csv") == 0) continue;
        bytes = sample_bytes(i, &n_bytes);
        for (size_t cut = 0; cut < n_bytes; cut++) { /* the content cut, the compression whole */
            const char *path = file_write_gzip("cut.gz", bytes, cut, &n_packed);

            assert_cut_is_noticed(&samples[i], path, cut);
        }
        free(bytes);
    }
}

static void test_gzip_cut_at_every_byte(void **state)
{
    size_t n_bytes, n_packed;
    uint8_t *bytes = sample_bytes(0, &n_bytes);
    uint8_t *packed = file_read(file_write_gzip("whole.gz", bytes, n_bytes, &n_packed), &n_packed);

    (void)state;
    for (size_t cut = 0; cut < n_packed; cut++) {
        assert_refused(file_write("cut.fvecs.gz", packed, cut), "fvecs", VINDEX_INVALID, "");
    }
    free(packed);
    free(bytes);
}

static void test_gzip_bent_at_every_byte(void **state)
{
    size_t n_bytes, n_packed;
    uint8_t *bytes = sample_bytes(0, &n_bytes);
    uint8_t *packed = file_read(file_write_gzip("whole.gz", bytes, n_bytes, &n_packed), &n_packed);

    (void)state;
    for (size_t at = 2; at < n_packed; at++) {
        struct content content;
        struct fault fault;
        uint8_t kept = packed[at];
        vindex_status st;

        packed[at] ^= 0x24;
        st = read_all(file_write("bent.fvecs.gz", packed, n_packed), NULL, 2, &content, &fault);
        if (st == VINDEX_OK)
            assert_is_sample(&samples[0], &content, N_ROWS); /* a time stamp, ... */
        else
            assert_int_equal(st, VINDEX_INVALID);
        packed[at] = kept;
    }
    free(packed);
    free(bytes);
}

static void test_gzip_members_and_padding(void **state)
{
    size_t n_bytes, n_packed;
    uint8_t *bytes = sample_bytes(0, &n_bytes);
    uint8_t *packed = file_read(file_write_gzip("whole.gz", bytes, n_bytes, &n_packed), &n_packed);
    uint8_t joined[2048] = {0};
    struct content content;

    (void)state;
    assert_true(2 * n_packed + 100 < sizeof joined);
    memcpy(joined, packed, n_packed);
    memcpy(joined + n_packed, packed, n_packed);
    assert_reads(file_write("two.fvecs.gz", joined, 2 * n_packed), NULL, &content);
    assert_int_equal(content.n_rows, 2 * N_ROWS);
    assert_reads(file_write("padded.fvecs.gz", joined, 2 * n_packed + 100), NULL, &content);
    assert_int_equal(content.n_rows, 2 * N_ROWS);
    joined[2 * n_packed] = 'x';
    assert_refused(file_write("tail.fvecs.gz", joined, 2 * n_packed + 100), NULL, VINDEX_INVALID,
                   "");
    free(packed);
    free(bytes);
}

static void test_every_header_byte_bent(void **state)
{
    static const uint8_t values[] = {0, 0x7f, 0xff};

    (void)state;
    for (size_t i = 0; i < N_SAMPLES; i++) {
        size_t n_bytes, n_packed;
        uint8_t *bytes = sample_bytes(i, &n_bytes);

        for (size_t at = 0; at < n_bytes && at < 136; at++) {
            uint8_t kept = bytes[at];

            for (size_t j = 0; j < sizeof values; j++) {
                struct content content;
                struct fault fault = {0};

                bytes[at] = values[j];
                if (read_all(file_write("bent", bytes, n_bytes), samples[i].format, 1, &content,
                             &fault) != VINDEX_OK) {
                    assert_true(fault.text[0] != 0);
                    assert_int_not_equal(fault.status, VINDEX_INTERNAL);
                }
                if (at >= 16) continue;
                read_all(file_write_gzip("bent.gz", bytes, n_bytes, &n_packed), NULL, 1, &content,
                         &fault);
            }
            bytes[at] = kept;
        }
        free(bytes);
    }
}

/* Random bytes after each format's own beginning: an answer or a refusal, never a crash. */
static void test_random_bytes(void **state)
{
    const char *given = getenv("VINDEX_TEST_SEED");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL);

    (void)state;
    print_message("VINDEX_TEST_SEED=%u\n", seed);
    srand(seed);
    for (int round = 0; round < 400; round++) {
        size_t at = (size_t)rand() % N_SAMPLES;
        size_t n_bytes;
        uint8_t *bytes = sample_bytes(at, &n_bytes);
        struct content content;
        struct fault fault;

        for (int i = 0; i < 4; i++)
            bytes[(size_t)rand() % n_bytes] = (uint8_t)rand();
        read_all(file_write("random", bytes, n_bytes), NULL, 1, &content, &fault);
        read_all(file_path("random"), samples[at].format, 1, &content, &fault);
        free(bytes);
    }
}

/* ---- what each format says about bad input --------------------------------------------------- */

#define BYTES(text) text, sizeof(text) - 1

static const struct refusal {
    const char *what, *name, *bytes;
    size_t n_bytes;
    vindex_status status;
    const char *words;
} refusals[] = {
    {"empty", "a.fvecs", BYTES(""), VINDEX_INVALID, "is empty"},
    {"empty text", "a.csv", BYTES(""), VINDEX_INVALID, "is empty"},
    {"dimension 0", "a.fvecs", BYTES("\0\0\0\0"), VINDEX_INVALID, "dimension 0"},
    {"negative dimension", "a.fvecs", BYTES("\xff\xff\xff\xff...."), VINDEX_INVALID,
     "dimension -1"},
    {"absurd dimension", "a.fvecs", BYTES("\0\0\0\x40...."), VINDEX_INVALID,
     "dimension 1073741824"},
    {"dimension changes", "a.bvecs", BYTES("\2\0\0\0AB\1\0\0\0CD"), VINDEX_INVALID,
     "row 1 (byte 6)"},
    {"rows beyond the file", "a.fbin", BYTES("\xff\xff\xff\xff\xf0\xff\0\0"), VINDEX_INVALID,
     "claims 4294967295 rows"},
    {"bytes behind the rows", "a.u8bin", BYTES("\1\0\0\0\1\0\0\0AB"), VINDEX_INVALID,
     "the file has 10"},
    {"a word among numbers", "a.csv", BYTES("1,2\n3,x\n"), VINDEX_INVALID,
     "line 2, field 2 is \"x\""},
    {"a line too short", "a.csv", BYTES("1,2\n3\n"), VINDEX_INVALID, "line 2 has 1 fields"},
    {"a line too long", "a.csv", BYTES("1,2\n3,4,5\n"), VINDEX_INVALID, "all must agree"},
    {"only a header", "a.csv", BYTES("id,a,b\n"), VINDEX_INVALID, "no row"},
    {"an id that is none", "a.csv", BYTES("id,a,b\n1.5,1,2\n"), VINDEX_INVALID, "the id"},
    {"an empty field", "a.csv", BYTES("1,2\n3,\n"), VINDEX_INVALID, "a number"},
    {"a decimal comma", "a.csv", BYTES("1,5;2,5\n"), VINDEX_INVALID, "no row"},
    {"a zero byte", "a.csv", BYTES("1,2\n3,\0\n"), VINDEX_INVALID, "zero byte"},
    {"no array", "a.jsonl", BYTES("{\"id\": 1}\n"), VINDEX_INVALID, "\"vector\""},
    {"an array of arrays", "a.jsonl", BYTES("[[1,2],[3,4]]\n"), VINDEX_INVALID, "one row a line"},
    {"another length", "a.jsonl", BYTES("[1,2]\n[3]\n"), VINDEX_INVALID, "line 2 has 1 values"},
    {"an id is missing", "a.jsonl", BYTES("{\"id\":1,\"vector\":[1]}\n[2]\n"), VINDEX_INVALID,
     "lacks"},
    {"an id of text", "a.jsonl", BYTES("{\"id\":\"x\",\"vector\":[1]}\n"), VINDEX_INVALID,
     "the id"},
    {"two values a line", "a.jsonl", BYTES("[1,2] [3]\n"), VINDEX_INVALID, "end of the line"},
    {"an empty array", "a.jsonl", BYTES("[]\n"), VINDEX_INVALID, "a number"},
    {"an idx of no axes", "a.idx", BYTES("\0\0\x08\0\0\0\0\0"), VINDEX_INVALID, "axes"},
    {"an idx of absurd axes", "a.idx", BYTES("\0\0\x08\3\0\0\0\1\xff\xff\xff\xff\xff\xff\xff\xff"),
     VINDEX_INVALID, "no row"},
};

static void test_refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        const struct refusal *refusal = &refusals[i];
        const char *path = file_write(refusal->name, refusal->bytes, refusal->n_bytes);
        struct content content;
        struct fault fault = {0};
        vindex_status st = read_all(path, NULL, 2, &content, &fault);

        if (st != refusal->status || strstr(fault.text, refusal->words) == NULL) {
            fail_msg("%s: status %d, \"%s\"", refusal->what, st, fault.text);
        }
        assert_non_null(strstr(fault.text, path));
    }
}

/* A npy file of this header and no values. */
static const char *write_npy(const char *name, unsigned version, const char *dictionary,
                             const void *values, size_t n_bytes)
{
    uint8_t bytes[512] = "\x93NUMPY";
    size_t length = strlen(dictionary), start = version == 1 ? 10 : 12;

    bytes[6] = (uint8_t)version;
    bytes[8] = (uint8_t)length;
    memcpy(bytes + start, dictionary, length);
    memcpy(bytes + start + length, values, n_bytes);
    return file_write(name, bytes, start + length + n_bytes);
}

static void test_npy_refusals(void **state)
{
    static const struct {
        const char *what, *header;
        vindex_status status;
        const char *words;
    } cases[] = {
        {"big endian", "{'descr': '>f4', 'fortran_order': False, 'shape': (0, 4)}",
         VINDEX_UNSUPPORTED, "big endian"},
        {"Fortran order", "{'descr': '<f4', 'fortran_order': True, 'shape': (3, 4)}",
         VINDEX_UNSUPPORTED, "ascontiguousarray"},
        {"complex numbers", "{'descr': '<c8', 'fortran_order': False, 'shape': (3, 4)}",
         VINDEX_UNSUPPORTED, "astype"},
        {"a record type", "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,)}",
         VINDEX_INVALID, "header"},
        {"three axes", "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4, 5)}",
         VINDEX_UNSUPPORTED, "reshape"},
        {"no axes", "{'descr': '<f4', 'fortran_order': False, 'shape': ()}", VINDEX_UNSUPPORTED,
         "0 axes"},
        {"rows of nothing", "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 0)}",
         VINDEX_INVALID, "rows of 0 values"},
        {"an absurd shape",
         "{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999999, 1)}", VINDEX_INVALID,
         "claims"},
        {"a shape beyond its bytes",
         "{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999999, 65000)}",
         VINDEX_INVALID, "absurd"},
        {"a shape beyond 64 bits",
         "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 1)}",
         VINDEX_INVALID, "header"},
        {"a key is missing", "{'descr': '<f4', 'shape': (3, 4)}", VINDEX_INVALID, "header"},
        {"no end", "{'descr': '<f4', 'fortran_order': False, 'shape': (3, ", VINDEX_INVALID,
         "header"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *path = write_npy("a.npy", 1, cases[i].header, "", 0);
        struct content content;
        struct fault fault = {0};
        vindex_status st = read_all(path, NULL, 2, &content, &fault);

        if (st != cases[i].status || strstr(fault.text, cases[i].words) == NULL) {
            fail_msg("%s: status %d, \"%s\"", cases[i].what, st, fault.text);
        }
    }
    assert_refused(write_npy("a.npy", 9, cases[0].header, "", 0), NULL, VINDEX_UNSUPPORTED,
                   "version 9");
}

static void test_no_such_file(void **state)
{
    (void)state;
    assert_refused(file_path("missing.fvecs"), NULL, VINDEX_NOTFOUND, "missing.fvecs");
    assert_refused(file_path(""), NULL, VINDEX_INVALID, "directory");
    assert_refused(file_write("a.fvecs", "x", 1), "parquet", VINDEX_INVALID, "parquet");
}

/* ---- particulars ----------------------------------------------------------------------------- */

static void assert_floats(const struct content *content, const float *values, size_t n)
{
    assert_int_equal(content->info.type, VINDEX_FLOAT);
    assert_int_equal(content->n_rows * content->info.dim, n);
    assert_memory_equal(content->rows, values, n * sizeof *values);
}

static void test_csv_dialects(void **state)
{
    static const float values[] = {1.5f, -2, 3e4f, 4};
    static const char *const texts[] = {
        "1.5,-2\n3e4,4\n",
        "1.5;-2\r\n3e4;4\r\n",
        "1.5\t-2\n\n3e4\t4",
        " 1.5  -2 \n3e4 4\n",
        "\xef\xbb\xbf\x31.5, -2\n3e4, 4\n",
        "x,y\n1.5,-2\n3e4,4\n",
        "\"1.5\",\"-2\"\n\"3e4\",\"4\"\n",
    };
    struct content content;

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_reads(file_write("a.csv", texts[i], strlen(texts[i])), NULL, &content);
        assert_false(content.info.has_ids);
        assert_floats(&content, values, 4);
    }
    assert_reads(file_write("a.csv", BYTES("a,ID,b\n1.5,-7,-2\n3e4,9000000000,4\n")), NULL,
                 &content);
    assert_true(content.info.has_ids);
    assert_floats(&content, values, 4);
    assert_int_equal(content.ids[0], -7);
    assert_int_equal(content.ids[1], 9000000000);
}

static void test_jsonl_objects(void **state)
{
    static const float values[] = {1.5f, -2, 3e4f, 4};
    struct content content;

    (void)state;
    assert_reads(
        file_write("a.jsonl", BYTES("{\"text\":\"a \\\"b\\\" ]}\",\"x\":{\"y\":[1,{}]},\"id\":5,"
                                    "\"embedding\":[1.5,-2]}\n\n"
                                    "{\"id\": 6 , \"embedding\" : [ 3e4 , 4 ] , \"n\":null}")),
        NULL, &content);
    assert_floats(&content, values, 4);
    assert_int_equal(content.ids[0], 5);
    assert_int_equal(content.ids[1], 6);
}

static void test_csv_and_jsonl_keep_ids_and_every_bit(void **state)
{
    static const char *const names[] = {"ids.csv", "ids.jsonl"};
    static const float values[] = {0.1f,        1.17549435e-38f, -3.40282347e38f,
                                   16777217.0f, 1e-45f,          -0.0f};
    static const int64_t ids[] = {-9223372036854775807, 0, 9223372036854775807};
    struct content content;
    struct fault fault;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct writer *writer = NULL;
        uint32_t type = VINDEX_FLOAT;

        assert_int_equal(writer_open(file_path(names[i]), NULL, &type, 2, true, &writer, &fault),
                         VINDEX_OK);
        assert_int_equal(writer_write(writer, 3, values, ids, &fault), VINDEX_OK);
        assert_int_equal(writer_commit(&writer, &fault), VINDEX_OK);
        assert_reads(file_path(names[i]), NULL, &content);
        assert_floats(&content, values, 6);
        assert_memory_equal(content.ids, ids, sizeof ids);
    }
}

static void test_npy_shapes(void **state)
{
    static const float values[] = {1.5f, -2};
    static const double wide[] = {1.5, -2};
    static const int64_t ids[] = {7, -8};
    struct content content;

    (void)state;
    for (unsigned version = 1; version <= 3; version++) { /* one axis of numbers is one row */
        assert_reads(write_npy("wide.npy", version,
                               "{'shape': (2,), 'fortran_order': False, 'descr': '<f8', }\n", wide,
                               sizeof wide),
                     NULL, &content);
        assert_int_equal(content.info.dim, 2);
        assert_floats(&content, values, 2);
    }
    assert_reads(write_npy("ids.npy", 1, "{'descr': '<i8', 'fortran_order': False, 'shape': (2,)}",
                           ids, sizeof ids),
                 NULL, &content); /* one axis of ids is a column */
    assert_int_equal(content.info.type, ROWS_INT64);
    assert_int_equal(content.info.dim, 1);
    assert_int_equal(content.n_rows, 2);
    assert_memory_equal(content.rows, ids, sizeof ids);
}

static void test_idx_types(void **state)
{
    static const float values[] = {1.5f, -2, 300, -1};
    struct content content;

    (void)state;
    assert_reads(file_write("a.idx", BYTES("\0\0\x0d\2\0\0\0\1\0\0\0\2\x3f\xc0\0\0\xc0\0\0\0")),
                 NULL, &content);
    assert_floats(&content, values, 2);
    assert_reads(
        file_write("a.idx", BYTES("\0\0\x0e\1\0\0\0\2\x3f\xf8\0\0\0\0\0\0\xc0\0\0\0\0\0\0\0")),
        NULL, &content);
    assert_floats(&content, values, 2);
    assert_reads(file_write("a.idx", BYTES("\0\0\x0b\3\0\0\0\1\0\0\0\1\0\0\0\2\x01\x2c\xff\xff")),
                 NULL, &content);
    assert_floats(&content, values + 2, 2);
    assert_reads(file_write("a.idx", BYTES("\0\0\x0c\1\0\0\0\1\x00\x01\x00\x02")), NULL, &content);
    assert_int_equal(content.info.type, ROWS_INT32);
    assert_int_equal(*(int32_t *)(void *)content.rows, 65538);
}

/* Big-ANN ground truth: distances follow the ids. */
static void test_ibin_with_distances(void **state)
{
    static const char bytes[] = "\1\0\0\0\2\0\0\0\5\0\0\0\6\0\0\0\0\0\x80\x3f\0\0\0\x40";
    size_t n_packed;
    struct content content;

    (void)state;
    for (int packed = 0; packed < 2; packed++) {
        assert_reads(packed ? file_write_gzip("gt.ibin.gz", BYTES(bytes), &n_packed)
                            : file_write("gt.ibin", BYTES(bytes)),
                     NULL, &content);
        assert_int_equal(content.n_rows, 1);
        assert_int_equal(content.rows[0], 5);
        assert_int_equal(content.rows[4], 6);
    }
}

/* ---- writing --------------------------------------------------------------------------------- */

static void test_nothing_is_left_of_an_aborted_file(void **state)
{
    struct writer *writer = NULL;
    struct fault fault;
    uint32_t type = VINDEX_FLOAT;
    float row[2] = {1, 2};
    int n_before = files_count();

    (void)state;
    assert_int_equal(writer_open(file_path("gone.npy"), NULL, &type, 2, false, &writer, &fault),
                     VINDEX_OK);
    assert_int_equal(writer_write(writer, 1, row, NULL, &fault), VINDEX_OK);
    assert_int_equal(files_count(), n_before + 1);
    writer_abort(writer);
    assert_int_equal(files_count(), n_before);
}

static void test_what_cannot_be_written(void **state)
{
    static const struct {
        const char *name;
        uint32_t type;
        bool with_ids;
        const char *words;
    } cases[] = {
        {"a.fvecs.gz", VINDEX_FLOAT, false, "gzip"},
        {"a.parquet", VINDEX_FLOAT, false, "ending"},
        {"a.ivecs", VINDEX_FLOAT, false, "vectors"},
        {"a.fvecs", ROWS_INT64, false, "ids"},
        {"a.npy", VINDEX_FLOAT, true, "csv or jsonl"},
        {"no/such/a.npy", VINDEX_FLOAT, false, "No such"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct writer *writer = NULL;
        struct fault fault = {0};
        uint32_t type = cases[i].type;
        int n_before = files_count();

        assert_int_not_equal(writer_open(file_path(cases[i].name), NULL, &type, 2,
                                         cases[i].with_ids, &writer, &fault),
                             VINDEX_OK);
        assert_null(writer);
        if (strstr(fault.text, cases[i].words) == NULL) fail_msg("%s", fault.text);
        assert_int_equal(files_count(), n_before);
    }
}

static void test_a_full_disk_is_reported(void **state)
{
    struct writer *writer = NULL;
    struct fault fault = {0};
    uint32_t type = VINDEX_FLOAT;
    float row[2] = {1, 2};

    (void)state;
    assert_int_equal(writer_open("/dev/full", "fvecs", &type, 2, false, &writer, &fault),
                     VINDEX_OK);
    assert_int_equal(writer_write(writer, 1, row, NULL, &fault), VINDEX_OK);
    assert_int_equal(writer_commit(&writer, &fault), VINDEX_FULL);
    assert_non_null(strstr(fault.text, "/dev/full"));
}

/* ---- conversion of values -------------------------------------------------------------------- */

static void test_half_and_back(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 65536; bits++) {
        float half = rows_from_half((uint16_t)bits), bfloat = rows_from_bfloat((uint16_t)bits);

        if (isnan(half))
            assert_true(isnan(rows_from_half(rows_to_half(half))));
        else
            assert_int_equal(rows_to_half(half), bits);
        if (isnan(bfloat))
            assert_true(isnan(rows_from_bfloat(rows_to_bfloat(bfloat))));
        else
            assert_int_equal(rows_to_bfloat(bfloat), bits);
    }
}

/* Halfway cases go to the even neighbour; just above and below they go to the nearer one. */
static void test_half_rounds_to_nearest_even(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 0x7bff; bits++) {
        float low = rows_from_half((uint16_t)bits), high = rows_from_half((uint16_t)(bits + 1));
        float middle = low + (high - low) / 2; /* exact: a float has thirteen more bits */

        assert_int_equal(rows_to_half(middle), bits + (bits & 1));
        assert_int_equal(rows_to_half(nextafterf(middle, 0)), bits);
        assert_int_equal(rows_to_half(nextafterf(middle, INFINITY)), bits + 1);
        assert_int_equal(rows_to_half(-middle), 0x8000 | (bits + (bits & 1)));
    }
    assert_int_equal(rows_to_half(65519.996f), 0x7bff);
    assert_int_equal(rows_to_half(65520.0f), 0x7c00);
}

static void test_conversion_refuses_what_does_not_fit(void **state)
{
    static const struct {
        float value;
        uint32_t to;
        int fits;
    } cases[] = {
        {255, VINDEX_UINT8, 1},  {256, VINDEX_UINT8, 0},     {-1, VINDEX_UINT8, 0},
        {0.5f, VINDEX_UINT8, 0}, {-128, VINDEX_INT8, 1},     {128, VINDEX_INT8, 0},
        {NAN, VINDEX_INT8, 0},   {65504, VINDEX_FLOAT16, 1}, {1e6f, VINDEX_FLOAT16, 0},
        {3e9f, ROWS_INT32, 0},   {3e9f, ROWS_INT64, 1},      {3e38f, VINDEX_BFLOAT16, 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        float values[2] = {1, cases[i].value};
        uint64_t converted[2];
        size_t n_bad = 9;
        struct fault fault = {0};
        vindex_status st =
            rows_convert(VINDEX_FLOAT, values, 2, cases[i].to, converted, &n_bad, &fault);

        if ((st == VINDEX_OK) != cases[i].fits) fail_msg("case %zu: %s", i, fault.text);
        if (st != VINDEX_OK) assert_int_equal(n_bad, 1);
    }
}

/* ---- real files ------------------------------------------------------------------------------ */

static void test_real_files(void **state)
{
    static const struct {
        const char *name;
        uint32_t type, dim;
        uint64_t n_rows;
    } files[] = {
        {"mnist-784/train-images-idx3-ubyte.gz", VINDEX_UINT8, 784, 60000},
        {"mnist-784/t10k-labels-idx1-ubyte.gz", VINDEX_UINT8, 1, 10000},
        {"mnist-784/gt-l2.ivecs", ROWS_INT32, 100, 10000},
        {"photo-sift-128/queries.bvecs.gz", VINDEX_UINT8, 128, 10000},
        {"w2v-gnews-300/base.fvecs", VINDEX_FLOAT, 300, 7000},
        {"bright-bge-1024/queries.fvecs", VINDEX_FLOAT, 1024, 138},
        {"lvis-clip-512/gt-ip.ivecs", ROWS_INT32, 100, 865},
    };
    static uint8_t rows[64 * 4096];

    (void)state;
    if (file_real("README.md") == NULL) {
        print_message("skipped: no real data (set VINDEX_TEST_DATA)\n");
        skip();
    }
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        struct reader *reader = NULL;
        struct fault fault;
        uint64_t n_rows = 0;
        size_t n = 1;

        if (reader_open(file_real(files[i].name), NULL, &reader, &fault) != VINDEX_OK) {
            fail_msg("%s", fault.text);
        }
        assert_int_equal(reader_info(reader)->type, files[i].type);
        assert_int_equal(reader_info(reader)->dim, files[i].dim);
        while (n > 0) {
            assert_int_equal(reader_read(reader, 64, rows, NULL, &n, &fault), VINDEX_OK);
            n_rows += n;
        }
        assert_int_equal(n_rows, files[i].n_rows);
        reader_close(reader);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_writer_with_every_reader),
        cmocka_unit_test(test_gzip_of_every_format),
        cmocka_unit_test(test_recognised_by_content),
        cmocka_unit_test(test_content_beats_a_wrong_name),
        cmocka_unit_test(test_cut_at_every_byte),
        cmocka_unit_test(test_csv_cut_at_every_byte),
        cmocka_unit_test(test_streams_cut_at_every_byte),
        cmocka_unit_test(test_gzip_cut_at_every_byte),
        cmocka_unit_test(test_gzip_bent_at_every_byte),
        cmocka_unit_test(test_gzip_members_and_padding),
        cmocka_unit_test(test_every_header_byte_bent),
        cmocka_unit_test(test_random_bytes),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_npy_refusals),
        cmocka_unit_test(test_no_such_file),
        cmocka_unit_test(test_csv_dialects),
        cmocka_unit_test(test_jsonl_objects),
        cmocka_unit_test(test_csv_and_jsonl_keep_ids_and_every_bit),
        cmocka_unit_test(test_npy_shapes),
        cmocka_unit_test(test_idx_types),
        cmocka_unit_test(test_ibin_with_distances),
        cmocka_unit_test(test_nothing_is_left_of_an_aborted_file),
        cmocka_unit_test(test_what_cannot_be_written),
        cmocka_unit_test(test_a_full_disk_is_reported),
        cmocka_unit_test(test_half_and_back),
        cmocka_unit_test(test_half_rounds_to_nearest_even),
        cmocka_unit_test(test_conversion_refuses_what_does_not_fit),
        cmocka_unit_test(test_real_files),
    };

    return cmocka_run_group_tests(tests, files_setup, files_teardown);
}
