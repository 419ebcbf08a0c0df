/*
 * test_slow_topk.c - a million rows of bytes drawn by chance through fuzz_topk.c: each selection must equal the plain
 * reference's.
 */
#include "common/cmocka.h"

#include "fuzz/fuzz_topk.c"
#include "topk/helper_topk.c"

static void a_million_rows_pass(void **state)
{
    struct rng rng;
    (void)state;

    vindex__rng_init(&rng, test_seed());
    for (int row = 0; row < 1000000; row++) {
        uint8_t bytes[600];
        size_t size = 16 + vindex__rng_below(&rng, sizeof bytes - 16);
        const uint64_t kind = vindex__rng_next(&rng);
        for (size_t i = 0; i < size; i++)
            bytes[i] = (uint8_t)vindex__rng_next(&rng);
        if (kind & 1) /* few different bytes: ties, infinities, NaN */
            for (size_t i = 8; i < size; i++)
                bytes[i] = (uint8_t[]){0, 0x80, 0x7f, 0xff, 0x3f, 0x7c, 1, 0xf0}[bytes[i] & 7];
        /* Mostly short rows: their edges are where the code differs. */
        if (row % 1000) bytes[4] = 0, bytes[6] = 0;
        const char *fault = find_fault(bytes, size);
        if (fault) fail_msg("row %d: %s", row, fault);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_million_rows_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
