/*
 * test_number.c - decimal text to float: the same as strtof, bit for bit, and the same end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "tools/readers/number.h"

static void assert_as_strtof(const char *text)
{
    char *expected_end = NULL;
    float expected = strtof(text, &expected_end), value = 0;
    const char *end = number_parse(text, &value);

    if (end != expected_end)
        fail_msg("\"%s\": end %td, not %td", text, end - text, expected_end - text);
    if (memcmp(&value, &expected, sizeof value) != 0) {
        fail_msg("\"%s\": %.9g, not %.9g", text, value, expected);
    }
}

static void test_particular_numbers(void **state)
{
    static const char *const texts[] = {
        "0",
        "-0",
        "+1",
        "1.",
        ".5",
        "-.5e1",
        "1e5",
        "1e+5",
        "1E-5",
        "1e",
        "1e+",
        "1ex",
        "1.5,2",
        "7 8",
        "nan",
        "inf",
        "-inf",
        "NaN",
        "1e38",
        "3.4028235e38",
        "3.5e38",
        "1e-38",
        "1e-45",
        "7e-46",
        "1e999",
        "1e-999",
        "1e99999999999999999999",
        "9007199254740992",
        "9007199254740993",
        "18446744073709551616",
        "123456789012345678901234567890",
        "0.000000000000000000000000000001",
        "1e22",
        "1e23",
        "1e-22",
        /* exactly between two floats, and one digit to either side */
        "16777217",
        "16777217.0000000001",
        "16777216.9999999999",
        "16777219",
        "8388608.5",
        "8388609.5",
        "1.000000059604644775390625",
        "1.000000059604644775390624",
        "1.000000059604644775390626",
        "1.00000005960464477",
        "1.00000005960464478",
        "33554434.0",
        "33554437",
        "0.1",
        "0.3",
        "1.17549435e-38",
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        assert_as_strtof(texts[i]);
}

static void test_what_is_no_number(void **state)
{
    static const char *const texts[] = {"", "x", "-", "+", ".", "e5", "0x10", "-0X1p3"};

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        float value;

        assert_ptr_equal(number_parse(texts[i], &value), texts[i]);
    }
}

static void test_random_numbers(void **state)
{
    const char *given = getenv("VINDEX_TEST_SEED");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL);

    (void)state;
    print_message("VINDEX_TEST_SEED=%u\n", seed);
    srand(seed);
    for (int i = 0; i < 300000; i++) {
        uint32_t bits = (uint32_t)rand() << 16 ^ (uint32_t)rand();
        float value;
        char text[64];

        memcpy(&value, &bits, sizeof value);
        snprintf(text, sizeof text, "%.*g", 1 + rand() % 18, value);
        assert_as_strtof(text);
        snprintf(text, sizeof text, "%d.%0*d", rand() % 100000, 1 + rand() % 9, rand() % 1000000);
        assert_as_strtof(text);
        /* a tie between neighbours, and decimals around it */
        bits = 0x3f000000 + (uint32_t)rand() % 0x08000000;
        memcpy(&value, &bits, sizeof value);
        bits++;
        float next;
        memcpy(&next, &bits, sizeof next);
        snprintf(text, sizeof text, "%.*g", 8 + rand() % 12, ((double)value + next) / 2);
        assert_as_strtof(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_particular_numbers),
        cmocka_unit_test(test_what_is_no_number),
        cmocka_unit_test(test_random_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
