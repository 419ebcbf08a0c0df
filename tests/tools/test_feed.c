/*
 * test_feed.c - rows of a file as an index takes them: types, chunks within a memory limit, reading
 * ahead, and an end to waiting.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "helper_files.h"
#include "tools/pump.h"

#define N_ROWS 1000
#define DIM 4

static const char *write_rows(const char *name, uint32_t type)
{
    const char *path = file_path(name);
    struct writer *writer = NULL;
    struct fault fault = {0};

    if (writer_open(path, NULL, &type, DIM, false, &writer, &fault) != VINDEX_OK) {
        fail_msg("%s", fault.text);
    }
    for (int i = 0; i < N_ROWS; i++) {
        float values[DIM] = {(float)(i % 100), 1, 2, 3};
        uint64_t row[DIM];
        size_t n_bad;

        assert_int_equal(rows_convert(VINDEX_FLOAT, values, DIM, type, row, &n_bad, &fault),
                         VINDEX_OK);
        assert_int_equal(writer_write(writer, 1, row, NULL, &fault), VINDEX_OK);
    }
    assert_int_equal(writer_commit(&writer, &fault), VINDEX_OK);
    return path;
}

static void test_types_an_index_takes(void **state)
{
    static const struct {
        const char *name;
        uint32_t file_type, index_type, handed_out;
    } cases[] = {
        {"f.fvecs", VINDEX_FLOAT, VINDEX_FLOAT, VINDEX_FLOAT},
        {"f.fvecs", VINDEX_FLOAT, VINDEX_UINT8, VINDEX_FLOAT},
        {"u.bvecs", VINDEX_UINT8, VINDEX_UINT8, VINDEX_UINT8},
        {"u.bvecs", VINDEX_UINT8, VINDEX_FLOAT, VINDEX_FLOAT},
        {"u.bvecs", VINDEX_UINT8, VINDEX_INT8, VINDEX_FLOAT},
        {"u.bvecs", VINDEX_UINT8, VINDEX_BIT, VINDEX_BIT},
        {"h.f16bin", VINDEX_FLOAT16, VINDEX_FLOAT16, VINDEX_FLOAT16},
        {"h.f16bin", VINDEX_FLOAT16, VINDEX_BFLOAT16, VINDEX_FLOAT},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *path = write_rows(cases[i].name, cases[i].file_type);
        uint32_t index_dim = cases[i].index_type == VINDEX_BIT ? 8 * DIM - 3 : DIM;
        struct matrix matrix;
        struct fault fault = {0};

        if (matrix_load(path, NULL, cases[i].index_type, index_dim, 990, 5, &matrix, &fault) !=
            VINDEX_OK) {
            fail_msg("%s", fault.text);
        }
        assert_int_equal(matrix.vectors.type, cases[i].handed_out);
        assert_int_equal(matrix.vectors.n, 5);
        if (cases[i].handed_out == VINDEX_FLOAT) {
            vindex_vectors second = matrix_slice(&matrix, 1, 1);

            assert_float_equal(*(const float *)second.data, 91, 0); /* row 991 */
        }
        matrix_deinit(&matrix);
    }
}

static void test_wrong_shapes(void **state)
{
    const char *path = write_rows("f.fvecs", VINDEX_FLOAT),
               *ids = file_write("i.ivecs", "\1\0\0\0\7\0\0\0", 8);
    struct matrix matrix;
    struct fault fault = {0};

    (void)state;
    assert_int_equal(matrix_load(path, NULL, VINDEX_FLOAT, DIM + 1, 0, 0, &matrix, &fault),
                     VINDEX_INVALID);
    assert_non_null(strstr(fault.text, "dimension 4, the index has 5"));
    assert_int_equal(matrix_load(path, NULL, VINDEX_BIT, 8 * DIM, 0, 0, &matrix, &fault),
                     VINDEX_INVALID);
    assert_non_null(strstr(fault.text, "packbits"));
    assert_int_equal(matrix_load(ids, NULL, VINDEX_FLOAT, 1, 0, 0, &matrix, &fault),
                     VINDEX_INVALID);
    assert_non_null(strstr(fault.text, "as ids are"));
}

/* All rows, in order, whoever reads and however small the chunks are. */
static void test_chunks_and_reading_ahead(void **state)
{
    const char *path = write_rows("u.bvecs", VINDEX_UINT8);

    (void)state;
    for (uint64_t memory = 1; memory <= 1 << 20; memory *= 32) {
        for (unsigned n_slots = 1; n_slots <= 2; n_slots++) {
            struct feed *feed = NULL;
            struct pump *pump = NULL;
            struct fault fault = {0};
            size_t n_rows = 0;
            vindex_vectors rows = {.n = 1};
            const int64_t *ids;

            assert_int_equal(feed_open(path, NULL, &feed, &fault), VINDEX_OK);
            assert_int_equal(feed_target(feed, VINDEX_FLOAT, memory, n_slots, &fault), VINDEX_OK);
            assert_int_equal(pump_open(feed, n_slots == 2, &pump, &fault), VINDEX_OK);
            while (rows.n > 0) {
                assert_int_equal(pump_next(pump, &rows, &ids, &fault), VINDEX_OK);
                assert_null(ids);
                if (memory > 64)
                    assert_true(rows.n * DIM * 5 <= memory);
                else
                    assert_true(rows.n <= 1);
                for (size_t i = 0; i < rows.n; i++, n_rows++) {
                    const float *row = (const float *)rows.data + i * DIM;

                    assert_float_equal(row[0], (float)(n_rows % 100), 0);
                }
            }
            assert_int_equal(n_rows, N_ROWS);
            assert_int_equal(pump_next(pump, &rows, &ids, &fault), VINDEX_OK);
            assert_int_equal(rows.n, 0); /* the end stays the end */
            pump_close(pump);
            feed_close(feed);
        }
    }
}

static void test_an_error_arrives_through_the_thread(void **state)
{
    const char *path = file_write("bad.csv", "1,2\n3,4\n5,x\n", 12);
    struct feed *feed = NULL;
    struct pump *pump = NULL;
    struct fault fault = {0};
    vindex_vectors rows = {.n = 1};
    const int64_t *ids;
    vindex_status st = VINDEX_OK;

    (void)state;
    assert_int_equal(feed_open(path, NULL, &feed, &fault), VINDEX_OK);
    assert_int_equal(feed_target(feed, VINDEX_FLOAT, 1, 2, &fault), VINDEX_OK);
    assert_int_equal(pump_open(feed, true, &pump, &fault), VINDEX_OK);
    while (st == VINDEX_OK && rows.n > 0)
        st = pump_next(pump, &rows, &ids, &fault);
    assert_int_equal(st, VINDEX_INVALID);
    assert_non_null(strstr(fault.text, "line 3"));
    pump_close(pump);
    feed_close(feed);
}

/* Closing must not wait for rows that a silent pipe may never give. */
static void test_close_while_the_thread_waits(void **state)
{
    const char *path = file_path("silent");
    struct feed *feed = NULL;
    struct pump *pump = NULL;
    struct fault fault = {0};
    FILE *other_end;

    (void)state;
    assert_int_equal(mkfifo(path, 0600), 0);
    other_end = fopen(path, "r+");
    assert_non_null(other_end);
    fputs("1,2\n", other_end);
    fflush(other_end);
    assert_int_equal(feed_open(path, "csv", &feed, &fault), VINDEX_OK);
    assert_int_equal(feed_target(feed, VINDEX_FLOAT, 1, 2, &fault), VINDEX_OK);
    assert_int_equal(pump_open(feed, true, &pump, &fault), VINDEX_OK);
    usleep(20000);
    pump_close(pump);
    feed_close(feed);
    fclose(other_end);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types_an_index_takes),
        cmocka_unit_test(test_wrong_shapes),
        cmocka_unit_test(test_chunks_and_reading_ahead),
        cmocka_unit_test(test_an_error_arrives_through_the_thread),
        cmocka_unit_test(test_close_while_the_thread_waits),
    };

    return cmocka_run_group_tests(tests, files_setup, files_teardown);
}
