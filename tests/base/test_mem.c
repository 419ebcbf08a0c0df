/*
 * test_mem.c - the heap of base/mem.h: overflow, alignment, growing, counting, failing on demand.
 */
#include "common/cmocka.h"

#include "base/mem.h"

#include <string.h>

static void sizes_that_overflow_are_refused(void **state)
{
    static const struct {
        const char *name;
        size_t count, size;
    } cases[] = {
        {"product just past the top", SIZE_MAX / 2 + 1, 2},
        {"both factors huge", SIZE_MAX, SIZE_MAX},
        {"wraps to a small number", SIZE_MAX / 16 + 2, 16},
    };
    uint64_t live = vindex__mem_live_bytes();
    void *kept = vindex__calloc(1, 8);
    (void)state;

    assert_non_null(kept);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        print_message("%s\n", cases[i].name);
        assert_null(vindex__calloc(cases[i].count, cases[i].size));
        assert_null(vindex__alloc_aligned(cases[i].count, cases[i].size));
        assert_null(vindex__realloc(kept, cases[i].count, cases[i].size));
    }
    assert_null(vindex__alloc_aligned(SIZE_MAX - 20, 1)); /* only its padding overflows */
    vindex__free(kept);
    assert_int_equal(vindex__mem_live_bytes(), live);
}

static void nothing_is_an_allocation_too(void **state)
{
    void *a = vindex__calloc(0, 8), *b = vindex__realloc(NULL, 8, 0),
         *c = vindex__alloc_aligned(0, 0);
    (void)state;

    assert_non_null(a);
    assert_non_null(b);
    assert_non_null(c);
    b = vindex__realloc(b, 0, 0);
    assert_non_null(b);
    vindex__free(a);
    vindex__free(b);
    vindex__free_aligned(c);
    vindex__free(NULL);
    vindex__free_aligned(NULL);
}

static void aligned_memory_is_aligned(void **state)
{
    (void)state;
    for (size_t size = 1; size < 5000; size += 97) {
        char *p = vindex__alloc_aligned(size, 1);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 64, 0);
        memset(p, 0xff, size);
        vindex__free_aligned(p);
    }
}

static void calloc_gives_zeros_and_realloc_keeps_them(void **state)
{
    unsigned char *p = vindex__calloc(300, 3);
    (void)state;

    assert_non_null(p);
    p = vindex__realloc(p, 300, 7);
    assert_non_null(p);
    for (size_t i = 0; i < 900; i++)
        assert_int_equal(p[i], 0);
    vindex__free(p);
}

static void an_array_grows_by_doubling(void **state)
{
    uint32_t *array = NULL;
    size_t capacity = 0, n_grown = 0;
    (void)state;

    for (size_t n = 0; n < 10000; n++) {
        size_t before = capacity;
        assert_true(vindex__grow((void **)&array, &capacity, n + 1, sizeof *array));
        assert_true(capacity > n);
        n_grown += capacity != before;
        array[n] = (uint32_t)n;
    }
    for (size_t n = 0; n < 10000; n++)
        assert_int_equal(array[n], n);
    assert_true(n_grown < 16);

    uint32_t *before = array;
    size_t capacity_before = capacity;
    assert_false(vindex__grow((void **)&array, &capacity, SIZE_MAX / 2, sizeof *array));
    assert_ptr_equal(array, before);
    assert_int_equal(capacity, capacity_before);
    vindex__free(array);
}

static void allocations_fail_on_demand(void **state)
{
    uint64_t count = vindex__mem_count();
    void *p[4] = {NULL};
    (void)state;

    vindex__mem_fail_after(3);
    p[0] = vindex__calloc(1, 1);
    p[1] = vindex__alloc_aligned(1, 1);
    p[2] = vindex__realloc(NULL, 1, 1);
    p[3] = vindex__calloc(1, 1);
    vindex__mem_fail_after(0);

    assert_non_null(p[0]);
    assert_non_null(p[1]);
    assert_null(p[2]);
    assert_null(p[3]);
    assert_int_equal(vindex__mem_count() - count, 4);
    vindex__free(p[0]);
    vindex__free_aligned(p[1]);

    p[0] = vindex__calloc(1, 1);
    assert_non_null(p[0]);
    vindex__free(p[0]);
}

static void live_bytes_follow(void **state)
{
    uint64_t start = vindex__mem_live_bytes();
    void *p = vindex__calloc(1000, 1);
    uint64_t with_p = vindex__mem_live_bytes();
    (void)state;

    assert_non_null(p);
#ifdef __GLIBC__
    assert_true(with_p >= start + 1000);
    p = vindex__realloc(p, 100000, 1);
    assert_true(vindex__mem_live_bytes() >= start + 100000);
#else
    assert_int_equal(with_p, 0);
#endif
    vindex__free(p);
    assert_int_equal(vindex__mem_live_bytes(), start);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_that_overflow_are_refused),
        cmocka_unit_test(nothing_is_an_allocation_too),
        cmocka_unit_test(aligned_memory_is_aligned),
        cmocka_unit_test(calloc_gives_zeros_and_realloc_keeps_them),
        cmocka_unit_test(an_array_grows_by_doubling),
        cmocka_unit_test(allocations_fail_on_demand),
        cmocka_unit_test(live_bytes_follow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
