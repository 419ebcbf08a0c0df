/*
 * test_readers.c - every format: recognised, read back as written, its dialects and what it says about bad input.
 */
#include "helper_samples.h"

/* ---- written and read back -------------------------------------------------------------------- */

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

/* ---- what each format says about bad input --------------------------------------------------- */

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
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_npy_refusals),
        cmocka_unit_test(test_no_such_file),
        cmocka_unit_test(test_csv_dialects),
        cmocka_unit_test(test_jsonl_objects),
        cmocka_unit_test(test_csv_and_jsonl_keep_ids_and_every_bit),
        cmocka_unit_test(test_npy_shapes),
        cmocka_unit_test(test_idx_types),
        cmocka_unit_test(test_ibin_with_distances),
        cmocka_unit_test(test_real_files),
    };

    return cmocka_run_group_tests(tests, files_setup, files_teardown);
}
