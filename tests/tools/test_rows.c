/*
 * test_rows.c - conversion of values between the types of rows.
 */
#include "helper_samples.h"

/* ---- conversion of values -------------------------------------------------------------------- */

static void test_half_and_back(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 65536; bits++) {
        float half = rows_from_half((uint16_t)bits), bfloat = rows_from_bfloat((uint16_t)bits);

        if (isnan(half))
            assert_true(isnan(rows_from_half(rows_to_half(half))));
        else
            assert_int_equal(rows_to_half(half), bits);
        if (isnan(bfloat))
            assert_true(isnan(rows_from_bfloat(rows_to_bfloat(bfloat))));
        else
            assert_int_equal(rows_to_bfloat(bfloat), bits);
    }
}

/* Halfway cases go to the even neighbour; just above and below they go to the nearer one. */
static void test_half_rounds_to_nearest_even(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 0x7bff; bits++) {
        float low = rows_from_half((uint16_t)bits), high = rows_from_half((uint16_t)(bits + 1));
        float middle = low + (high - low) / 2; /* exact: a float has thirteen more bits */

        assert_int_equal(rows_to_half(middle), bits + (bits & 1));
        assert_int_equal(rows_to_half(nextafterf(middle, 0)), bits);
        assert_int_equal(rows_to_half(nextafterf(middle, INFINITY)), bits + 1);
        assert_int_equal(rows_to_half(-middle), 0x8000 | (bits + (bits & 1)));
    }
    assert_int_equal(rows_to_half(65519.996f), 0x7bff);
    assert_int_equal(rows_to_half(65520.0f), 0x7c00);
}

static void test_conversion_refuses_what_does_not_fit(void **state)
{
    static const struct {
        float value;
        uint32_t to;
        int fits;
    } cases[] = {
        {255, VINDEX_UINT8, 1},  {256, VINDEX_UINT8, 0},     {-1, VINDEX_UINT8, 0},
        {0.5f, VINDEX_UINT8, 0}, {-128, VINDEX_INT8, 1},     {128, VINDEX_INT8, 0},
        {NAN, VINDEX_INT8, 0},   {65504, VINDEX_FLOAT16, 1}, {1e6f, VINDEX_FLOAT16, 0},
        {3e9f, ROWS_INT32, 0},   {3e9f, ROWS_INT64, 1},      {3e38f, VINDEX_BFLOAT16, 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        float values[2] = {1, cases[i].value};
        uint64_t converted[2];
        size_t n_bad = 9;
        struct fault fault = {0};
        vindex_status st =
            rows_convert(VINDEX_FLOAT, values, 2, cases[i].to, converted, &n_bad, &fault);

        if ((st == VINDEX_OK) != cases[i].fits) fail_msg("case %zu: %s", i, fault.text);
        if (st != VINDEX_OK) assert_int_equal(n_bad, 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_half_and_back),
        cmocka_unit_test(test_half_rounds_to_nearest_even),
        cmocka_unit_test(test_conversion_refuses_what_does_not_fit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
