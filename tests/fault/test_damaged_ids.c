/*
 * test_damaged_ids.c - an id that was damaged in the file is told wherever rows are chosen by their ids, not passed
 * over: the row would be lost without a word.
 */
#include "common/cmocka.h"

#include <string.h>

#include "base/bytes.h"
#include "common/model.h"

enum { DIM = 8, N = 400, FIRST = 1000, VICTIM = FIRST + 123 };

static char path[256];

static void make_index(void)
{
    vindex_create_options options = VINDEX_CREATE_OPTIONS_INIT;
    float rows[N * DIM];
    int64_t ids[N];
    vindex *index = NULL;
    vindex_writer *writer = NULL;
    for (int i = 0; i < N * DIM; i++)
        rows[i] = (float)i;
    for (int i = 0; i < N; i++)
        ids[i] = FIRST + i;
    options.dim = DIM;
    options.seal_rows = N / 2;
    assert_int_equal(vindex_create(path, &options, &index), VINDEX_OK);
    assert_int_equal(vindex_writer_begin(index, &writer), VINDEX_OK);
    assert_int_equal(vindex_writer_insert(writer, ids, &VINDEX_F32_ROWS(rows, N), 0), VINDEX_OK);
    assert_int_equal(vindex_writer_commit(writer), VINDEX_OK);
    vindex_close(index);
}

/* The ids lie one after the other: the victim's becomes another number. */
static void damage(void)
{
    static unsigned char bytes[1 << 20];
    unsigned char wanted[16];
    size_t n_found = 0;
    FILE *file = fopen(path, "rb+");
    assert_non_null(file);
    size_t n = fread(bytes, 1, sizeof bytes, file);
    assert_true(n < sizeof bytes);
    store_le64(wanted, VICTIM);
    store_le64(wanted + 8, VICTIM + 1);
    for (size_t i = 0; i + sizeof wanted <= n; i++) {
        if (memcmp(bytes + i, wanted, sizeof wanted) != 0) continue;
        fseek(file, (long)i + 1, SEEK_SET);
        fputc(0x55, file);
        n_found++;
    }
    assert_int_equal(fclose(file), 0);
    assert_true(n_found > 0);
}

static int is_victim(void *context, int64_t id)
{
    (void)context;
    return id == VICTIM;
}

static void a_damaged_id_is_told(void **state)
{
    const int64_t victim = VICTIM;
    const vindex_filter filters[] = {
        {.kind = VINDEX_FILTER_IDS, .ids = &victim, .n = 1},
        {.kind = VINDEX_FILTER_CALLBACK, .callback = is_victim},
    };
    float query[DIM] = {0}, row[DIM];
    vindex_search_options options = VINDEX_SEARCH_OPTIONS_INIT;
    vindex_hit hit;
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        vindex *index = NULL;
        vindex_searcher *searcher = NULL;
        uint8_t found = 0;
        model_path(path, sizeof path, "damaged-ids");
        make_index();
        damage();
        assert_int_equal(vindex_open(path, 0, &index), VINDEX_OK);
        assert_int_equal(vindex_searcher_open(index, &searcher), VINDEX_OK);
        options.filter = &filters[i % 2];
        if (i < 2)
            assert_int_equal(vindex_search(searcher, &VINDEX_F32_ROWS(query, 1), 1, &options, &hit),
                             VINDEX_CORRUPT);
        else
            assert_int_equal(vindex_fetch(searcher, &victim, 1, row, &found), VINDEX_CORRUPT);
        vindex_searcher_close(searcher);
        vindex_close(index);
        model_unlink(path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_damaged_id_is_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
