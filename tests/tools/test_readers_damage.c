/*
 * test_readers_damage.c - files cut and bent at every byte: the rows that were written, or a refusal with a reason.
 */
#include "helper_samples.h"

#include <time.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cut_at_every_byte),
        cmocka_unit_test(test_csv_cut_at_every_byte),
        cmocka_unit_test(test_streams_cut_at_every_byte),
        cmocka_unit_test(test_gzip_cut_at_every_byte),
        cmocka_unit_test(test_gzip_bent_at_every_byte),
        cmocka_unit_test(test_gzip_members_and_padding),
        cmocka_unit_test(test_every_header_byte_bent),
        cmocka_unit_test(test_random_bytes),
    };

    return cmocka_run_group_tests(tests, files_setup, files_teardown);
}
