/*
 * test_codes_amx.c - the body of the AMX tile engine (kernels/codes/tile8_amx.h) against tile
 * instructions in plain C: the same tests as for the engines that can run here, so only the
 * instructions themselves are taken on trust where there is no AMX.
 */
#include "codes_test.h"

#if defined(__x86_64__)
#include "common/amx_emulated.h"

static void every_case(void **state)
{
    (void)state;
    check_tile8_engine(&amx_emulated);
    assert_false(configured); /* what a thread is left with */
}

/* The table offers the engine where the processor has tiles and VNNI, and at no lower level. */
static void where_the_table_has_it(void **state)
{
    const uint64_t avx512 = VKERN_CPU_AVX2 | VKERN_CPU_AVX512;
    vkern_table t;

    (void)state;
    vkern_table_init(&t, avx512 | VKERN_CPU_AVX512_VNNI | VKERN_CPU_AMX);
    assert_non_null(t.codes->amx);
    assert_non_null(t.codes->amx->begin);
    assert_string_equal(t.codes->amx->name, "amx");
    assert_string_equal(t.codes->tile8->name, "avx512vnni");
    assert_string_equal(t.level_name, "amx");
    vkern_table_init(&t, avx512 | VKERN_CPU_AVX512_VNNI);
    assert_null(t.codes->amx);
    vkern_table_init(&t, avx512 | VKERN_CPU_AMX);
    assert_null(t.codes->amx);
    assert_string_equal(t.codes->tile8->name, "avx512");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_case),
        cmocka_unit_test(where_the_table_has_it),
    };

    if (!(vkern_cpu() & VKERN_CPU_AVX512)) {
        printf("skipped: the body needs AVX-512\n");
        return 77;
    }
    seed_random("test_codes_amx");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#else
int main(void)
{
    printf("skipped: x86 only\n");
    return 77;
}
#endif
