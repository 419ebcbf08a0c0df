/*
 * test_codes_oom.c - each allocation of training and encoding fails in turn, and all after it: optimize answers VINDEX_NOMEM, nothing
 * leaks, the index is sound, and the next optimize finishes the work.
 */
#include "common/cmocka.h"

#include <string.h>

#include "base/mem.h"
#include "helper_codes_check.h"

enum { DIM = 16, ROWS = 4200 };

static vindex *create(const float *rows)
{
    vindex *index = NULL;
    vindex_writer *writer = NULL;
    vindex_create_options options = VINDEX_CREATE_OPTIONS_INIT;
    options.dim = DIM;
    assert_int_equal(vindex_create(":memory:", &options, &index), VINDEX_OK);
    assert_int_equal(vindex_writer_begin(index, &writer), VINDEX_OK);
    assert_int_equal(vindex_writer_insert(writer, NULL, &VINDEX_F32_ROWS(rows, ROWS), 0),
                     VINDEX_OK);
    assert_int_equal(vindex_writer_commit(writer), VINDEX_OK);
    return index;
}

static void survive_without_memory(uint32_t flags)
{
    float *rows = helper_rows(ROWS, DIM, 1, false);
    vindex *index = create(rows);
    assert_int_equal(vindex_optimize(index, flags, NULL, NULL),
                     VINDEX_OK); /* what is set up once, is */
    vindex_close(index);
    uint64_t n = 0, live = vindex__mem_live_bytes(), n_failed = 0;
    vindex_status st = VINDEX_NOMEM;
    for (n = 1; st != VINDEX_OK; n++) {
        struct codes_found found;
        index = create(rows);
        vindex__mem_fail_after(n);
        st = vindex_optimize(index, flags, NULL, NULL);
        vindex__mem_fail_after(0);
        if (st != VINDEX_OK && st != VINDEX_NOMEM)
            fail_msg("allocation %llu failed and %s came of it: %s", (unsigned long long)n,
                     vindex_status_text(st), vindex_message());
        n_failed += st == VINDEX_NOMEM;
        helper_check_index(index);
        helper_check_codes(index, &found);

        vindex_close(index);
        if (vindex__mem_live_bytes() != live)
            fail_msg("allocation %llu failed and %lld bytes leaked", (unsigned long long)n,
                     (long long)(vindex__mem_live_bytes() - live));
        assert_true(n < 100000);
    }
    assert_true(n_failed > 30);
    printf("%llu allocations failed in turn\n", (unsigned long long)n_failed);

    index = create(rows);
    vindex__mem_fail_after(60);
    assert_int_equal(vindex_optimize(index, flags, NULL, NULL), VINDEX_NOMEM);
    vindex__mem_fail_after(0);
    struct codes_found found;
    assert_int_equal(vindex_optimize(index, flags, NULL, NULL), VINDEX_OK);
    helper_check_codes(index, &found);
    assert_int_equal(found.n_rows, ROWS);
    vindex_close(index);
    free(rows);
}

static void training_and_encoding_survive_without_memory(void **state)
{
    (void)state;
    survive_without_memory(0);
}

static void threads_survive_without_memory(void **state)
{
    (void)state;
    survive_without_memory(VINDEX_OPTIMIZE_THREADS(3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(training_and_encoding_survive_without_memory),
        cmocka_unit_test(threads_survive_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
