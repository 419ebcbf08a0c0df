/*
 * test_oom.c - the first, second, third ... allocation fails, and all after it: every call answers VINDEX_NOMEM,
 * nothing leaks, and what was committed stays readable.
 */
#include "common/cmocka.h"

#include <string.h>

#include "base/mem.h"
#include "common/model.h"

#define TRY(call)                                                                                  \
    do {                                                                                           \
        st = (call);                                                                               \
        if (st != VINDEX_OK) goto out;                                                             \
    } while (0)

enum { DIM = 8, ROWS = 300 };

static void fill(float *rows, uint64_t seed)
{
    struct rng rng;
    vindex__rng_init(&rng, seed);
    for (int i = 0; i < ROWS * DIM; i++)
        rows[i] = (float)vindex__rng_unit(&rng);
}

/* Insert, seal, remove, optimize, search, fetch on an index that exists. *committed counts commits. */
static vindex_status work(vindex *index, int *committed)
{
    float rows[ROWS * DIM], fetched[DIM];
    int64_t ids[50], next = 0;
    vindex_hit hits[2 * 10];
    vindex_writer *writer = NULL;
    vindex_searcher *searcher = NULL;
    vindex_stats stats = VINDEX_STATS_INIT;
    vindex_search_options options = VINDEX_SEARCH_OPTIONS_INIT;
    vindex_status st;
    fill(rows, 7);
    for (int i = 0; i < 50; i++)
        ids[i] = 3 * i;
    TRY(vindex_writer_begin(index, &writer));
    TRY(vindex_writer_next_id(writer, &next));
    TRY(vindex_writer_insert(writer, NULL, &VINDEX_F32_ROWS(rows, ROWS), 0));
    TRY(vindex_writer_remove(writer, ids, 50, NULL));
    TRY(vindex_writer_commit(writer));
    writer = NULL;
    ++*committed;
    TRY(vindex_optimize(index, VINDEX_OPTIMIZE_ALL, NULL, NULL));
    TRY(vindex_searcher_open(index, &searcher));
    TRY(vindex_search(searcher, &VINDEX_F32_ROWS(rows, 2), 10, NULL, hits));
    vindex_filter filter = {.kind = VINDEX_FILTER_IDS, .ids = ids, .n = 50};
    options.filter = &filter;
    options.n_threads = 2;
    TRY(vindex_search(searcher, &VINDEX_F32_ROWS(rows, 2), 10, &options, hits));
    TRY(vindex_fetch(searcher, (int64_t[]){1}, 1, fetched, NULL));
    TRY(vindex_stat(index, &stats));
    TRY(vindex_check(index, NULL, NULL));
out:
    vindex_searcher_close(searcher);
    vindex_writer_abort(writer);
    return st;
}

static vindex_status run(const char *path, int *committed)
{
    vindex *index = NULL;
    vindex_create_options options = VINDEX_CREATE_OPTIONS_INIT;
    vindex_status st;
    options.dim = DIM;
    options.seal_rows = 100;
    TRY(vindex_create(path, &options, &index));
    TRY(work(index, committed));
out:
    vindex_close(index);
    return st;
}

static void reopen_and_check(const char *path, int committed)
{
    vindex *index = NULL;
    vindex_stats stats = VINDEX_STATS_INIT;
    if (vindex_open(path, 0, &index) == VINDEX_NOTFOUND) {
        assert_int_equal(committed, 0);
        return;
    }
    assert_non_null(index);
    assert_int_equal(vindex_check(index, NULL, NULL), VINDEX_OK);
    assert_int_equal(vindex_stat(index, &stats), VINDEX_OK);
    assert_int_equal(stats.n_rows, committed ? ROWS - 50 : 0);
    vindex_close(index);
    model_unlink(path);
}

static void fail_everywhere(const char *path)
{
    int is_file = strcmp(path, ":memory:") != 0, committed = 0;
    uint64_t n = 0;
    vindex_status st = run(path, &committed); /* whatever is set up once in a process is set up now */
    assert_int_equal(st, VINDEX_OK);
    if (is_file) model_unlink(path);
    uint64_t live = vindex__mem_live_bytes();
    do {
        committed = 0;
        vindex__mem_fail_after(++n);
        st = run(path, &committed);
        vindex__mem_fail_after(0);
        if (st != VINDEX_OK && st != VINDEX_NOMEM)
            fail_msg("allocation %llu failed and %s came of it: %s", (unsigned long long)n,
                     vindex_status_text(st), vindex_message());
        if (vindex__mem_live_bytes() != live)
            fail_msg("allocation %llu failed and memory leaked", (unsigned long long)n);
        if (is_file) reopen_and_check(path, committed);
        assert_int_equal(vindex__mem_live_bytes(), live);
    } while (st != VINDEX_OK && n < 100000);
    assert_int_equal(st, VINDEX_OK);
    assert_true(n > 20);
    printf("%s: %llu allocations failed in turn\n", path, (unsigned long long)n - 1);
}

static void memory_index(void **state)
{
    (void)state;
    fail_everywhere(":memory:");
}

static void file_index(void **state)
{
    (void)state;
    char path[256];
    model_path(path, sizeof path, "oom");
    fail_everywhere(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_index),
        cmocka_unit_test(file_index),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
