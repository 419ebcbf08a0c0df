/*
 * test_golden.c - index files written by earlier versions open, hold the rows they held, and answer with the same
 * bits. A golden is never edited: a format change adds one.
 *
 *     test_golden write NAME     writes NAME.vdx and NAME.txt (then commit both to tests/golden/)
 *
 * NAME.txt: a line a row, "row ID HEX", in storage order, then a line a hit of three queries, "hit Q ID SCORE-BITS".
 */
#include "common/cmocka.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "common/model.h"

enum { DIM = 6, K = 4, N_QUERIES = 3 };

static const char *const goldens[] = {"format1-float-l2", "format1-uint8-cosine", "format1-bit"};

/* ---- dump ---------------------------------------------------------------------------------------- */

struct dump {
    FILE *to;
    size_t row_bytes;
    unsigned char queries[N_QUERIES][64];
    size_t n;
};

static int dump_rows(void *context, const int64_t *ids, const void *rows, size_t n)
{
    struct dump *dump = context;
    for (size_t i = 0; i < n; i++) {
        const unsigned char *row = (const unsigned char *)rows + i * dump->row_bytes;
        fprintf(dump->to, "row %" PRId64 " ", ids[i]);
        for (size_t j = 0; j < dump->row_bytes; j++)
            fprintf(dump->to, "%02x", row[j]);
        fprintf(dump->to, "\n");
        if (dump->n < N_QUERIES) memcpy(dump->queries[dump->n], row, dump->row_bytes);
        dump->n++;
    }
    return 0;
}

static void dump_index(vindex *index, FILE *to)
{
    vindex_searcher *searcher = NULL;
    vindex_stats stats = VINDEX_STATS_INIT;
    struct dump dump = {.to = to};
    MODEL_CHECK(vindex_stat(index, &stats) == VINDEX_OK);
    MODEL_CHECK(stats.row_bytes <= sizeof dump.queries[0]);
    dump.row_bytes = stats.row_bytes;
    MODEL_CHECK(vindex_searcher_open(index, &searcher) == VINDEX_OK);
    MODEL_CHECK(vindex_scan(searcher, dump_rows, &dump) == VINDEX_OK);
    for (size_t q = 0; q < N_QUERIES; q++) {
        vindex_hit hits[K];
        vindex_vectors query = {dump.queries[q], 1, 0, stats.type, 0};
        MODEL_CHECK(vindex_search(searcher, &query, K, NULL, hits) == VINDEX_OK);
        for (size_t i = 0; i < K; i++) {
            uint32_t bits;
            memcpy(&bits, &hits[i].score, 4);
            fprintf(to, "hit %zu %" PRId64 " %08" PRIx32 "\n", q, hits[i].id, bits);
        }
    }
    vindex_searcher_close(searcher);
}

/* ---- reading ------------------------------------------------------------------------------------- */

static char *read_all(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (!file) fail_msg("%s is missing", path);
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    char *bytes = malloc(*size + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *size, file), *size);
    bytes[*size] = 0;
    fclose(file);
    return bytes;
}

/* Tests never open the golden itself: even a clean close would write to it. */
static void copy_to(const char *from, const char *to)
{
    size_t size = 0;
    char *bytes = read_all(from, &size);
    FILE *file = fopen(to, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    fclose(file);
    free(bytes);
}

static void one_golden(const char *name)
{
    char from[512], path[256], *expected, *got = NULL;
    size_t expected_size = 0, got_size = 0;
    vindex *index = NULL;
    vindex_writer *writer = NULL;
    vindex_stats before = VINDEX_STATS_INIT, after = VINDEX_STATS_INIT;
    snprintf(from, sizeof from, "%s/tests/golden/%s.vdx", VINDEX_SOURCE_DIR, name);
    model_path(path, sizeof path, "golden");
    copy_to(from, path);
    snprintf(from, sizeof from, "%s/tests/golden/%s.txt", VINDEX_SOURCE_DIR, name);
    expected = read_all(from, &expected_size);

    MODEL_CHECK(vindex_open(path, 0, &index) == VINDEX_OK);
    MODEL_CHECK(vindex_check(index, NULL, NULL) == VINDEX_OK);
    FILE *memory = open_memstream(&got, &got_size);
    assert_non_null(memory);
    dump_index(index, memory);
    fclose(memory);
    assert_string_equal(got, expected);

    unsigned char zero[64] = {0};
    int64_t id = 1000000;
    MODEL_CHECK(vindex_stat(index, &before) == VINDEX_OK);
    vindex_vectors row = {zero, 1, 0, before.type, 0};
    MODEL_CHECK(vindex_writer_begin(index, &writer) == VINDEX_OK);
    MODEL_CHECK(vindex_writer_insert(writer, &id, &row, 0) == VINDEX_OK);
    MODEL_CHECK(vindex_writer_commit(writer) == VINDEX_OK);
    MODEL_CHECK(vindex_optimize(index, VINDEX_OPTIMIZE_ALL, NULL, NULL) == VINDEX_OK);
    MODEL_CHECK(vindex_check(index, NULL, NULL) == VINDEX_OK);
    MODEL_CHECK(vindex_stat(index, &after) == VINDEX_OK);
    assert_int_equal(after.n_rows, before.n_rows + 1);
    vindex_close(index);
    free(got);
    free(expected);
    model_unlink(path);
}

static void earlier_files_open_and_answer_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++)
        one_golden(goldens[i]);
}

/* ---- writing ------------------------------------------------------------------------------------- */

static int write_golden(const char *name)
{
    char path[512];
    struct model model;
    struct rng rng;
    vindex *index = NULL;
    vindex_writer *writer = NULL;
    uint32_t type = strstr(name, "uint8") ? VINDEX_UINT8 : strstr(name, "bit") ? VINDEX_BIT : VINDEX_FLOAT;
    uint32_t metric = strstr(name, "cosine") ? VINDEX_COSINE
                      : type == VINDEX_BIT   ? VINDEX_HAMMING
                                             : VINDEX_L2;
    vindex__rng_init(&rng, 20260101);
    model_init(&model, type, metric, DIM, 150);
    vindex_create_options options = model_options(&model, 20);
    snprintf(path, sizeof path, "%s.vdx", name);
    MODEL_CHECK(vindex_create(path, &options, &index) == VINDEX_OK);
    for (int i = 0; i < 12; i++) {
        MODEL_CHECK(vindex_writer_begin(index, &writer) == VINDEX_OK);
        model_transaction(&model, vindex__rng_next(&rng), writer);
        MODEL_CHECK(vindex_writer_commit(writer) == VINDEX_OK);
    }
    vindex_close(index);
    MODEL_CHECK(vindex_open(path, 0, &index) == VINDEX_OK);
    snprintf(path, sizeof path, "%s.txt", name);
    FILE *to = fopen(path, "w");
    MODEL_CHECK(to != NULL);
    dump_index(index, to);
    fclose(to);
    vindex_close(index);
    model_free(&model);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(earlier_files_open_and_answer_the_same),
    };
    if (argc == 3 && strcmp(argv[1], "write") == 0) return write_golden(argv[2]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
