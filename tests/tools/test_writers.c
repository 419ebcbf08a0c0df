/*
 * test_writers.c - what becomes of a file that is not finished, cannot be written, or does not fit.
 */
#include "helper_samples.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_left_of_an_aborted_file),
        cmocka_unit_test(test_what_cannot_be_written),
        cmocka_unit_test(test_a_full_disk_is_reported),
    };

    return cmocka_run_group_tests(tests, files_setup, files_teardown);
}
