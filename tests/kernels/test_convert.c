/*
 * test_convert.c - conversions, bit for bit: every f16 and bf16, every halfway case between two
 * neighbours, subnormals, infinities and NaN; integers; lengths, offsets and bounds.
 */
#include <float.h>
#include <math.h>

#include "kernel_test.h"

static struct levels levels;

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static bool half_is_nan(enum vkern_type type, uint16_t half)
{
    return (half & 0x7fff) > (type == VKERN_F16 ? 0x7c00 : 0x7f80);
}

static bool half_is_infinite(enum vkern_type type, uint16_t half)
{
    return (half & 0x7fff) == (type == VKERN_F16 ? 0x7c00 : 0x7f80);
}

/* All 65,536 values to f32: the right value, the same bits at every level, and back to the same
 * bits. */
static void every_half_to_f32_and_back(void **state)
{
    static uint16_t from[65536], back[65536];
    static float to[65536], first[65536];

    (void)state;
    for (size_t i = 0; i < 65536; i++)
        from[i] = (uint16_t)i;
    for (int type = VKERN_F16; type <= VKERN_BF16; type++)
        for (size_t l = 0; l < levels.n; l++) {
            const vkern_table *t = &levels.table[l];
            t->to_f32[type](from, 65536, to);
            assert_false(t->from_f32[type](to, 65536, back));
            if (l == 0) memcpy(first, to, sizeof to);
            assert_memory_equal(to, first, sizeof to);
            for (size_t i = 0; i < 65536; i++) {
                const uint16_t half = from[i];
                if (half_is_nan(type, half)) {
                    assert_true(isnan(to[i]) && half_is_nan(type, back[i]));
                    continue;
                }
                if (half_is_infinite(type, half))
                    assert_true(isinf(to[i]));
                else
                    assert_true((long double)to[i] == oracle_element(type, from, i));
                assert_int_equal(signbit(to[i]) != 0, half >> 15);
                assert_int_equal(back[i], half);
            }
        }
}

/* Nearest, ties to even, from the values of the two neighbours: no knowledge of the bit patterns
 * but their order. */
static void check_rounding(enum vkern_type type, float value, uint16_t got)
{
    const uint16_t magnitude = got & 0x7fff, infinite = type == VKERN_F16 ? 0x7c00 : 0x7f80;
    /* The value one step beyond the largest finite one stands for infinity when rounding. */
    const long double beyond = type == VKERN_F16 ? 65536.0L : ldexpl(1, 128);
    const uint16_t around[2] = {magnitude > 0 ? (uint16_t)(magnitude - 1) : 0,
                                (uint16_t)(magnitude + 1)};
    const long double x = fabsl((long double)value);
    const long double here = magnitude == infinite ? beyond : oracle_element(type, &magnitude, 0);
    const long double error = fabsl(x - here);

    if (x >= beyond) { /* no neighbour is nearer than infinity, however far the value is */
        assert_int_equal(magnitude, infinite);
        return;
    }
    assert_int_equal(got >> 15, signbit(value) != 0);
    for (int side = 0; side < 2; side++) {
        if (around[side] > infinite) continue;
        const long double there =
            around[side] == infinite ? beyond : oracle_element(type, &around[side], 0);
        if (around[side] == magnitude) continue;
        assert_true(error <= fabsl(x - there));
        if (error == fabsl(x - there)) assert_int_equal(magnitude & 1, 0);
    }
}

enum { BATCH = 4096 };

static void check_batch(enum vkern_type type, const float *from)
{
    static uint16_t first[BATCH], to[BATCH];

    for (size_t l = 0; l < levels.n; l++) {
        bool all_finite = true;
        const bool said = levels.table[l].from_f32[type](from, BATCH, to);
        if (l == 0) memcpy(first, to, sizeof to);
        assert_memory_equal(to, first, sizeof to);
        for (size_t i = 0; i < BATCH; i++)
            all_finite &= !half_is_nan(type, to[i]) && !half_is_infinite(type, to[i]);
        assert_int_equal(said, all_finite);
    }
    for (size_t i = 0; i < BATCH; i++) {
        if (isnan(from[i]))
            assert_true(half_is_nan(type, to[i]));
        else
            check_rounding(type, from[i], to[i]);
    }
}

/* Each half, the midpoint to the next, and the floats next to that midpoint. */
static void halfway_cases_go_to_even(void **state)
{
    static float from[BATCH];

    (void)state;
    for (int type = VKERN_F16; type <= VKERN_BF16; type++) {
        const uint16_t infinite = type == VKERN_F16 ? 0x7c00 : 0x7f80;
        size_t n = 0;
        for (uint32_t half = 0; half < infinite; half++) {
            const uint16_t here = (uint16_t)half, next = (uint16_t)(half + 1);
            const long double beyond = type == VKERN_F16 ? 65536.0L : ldexpl(1, 128);
            const long double there = next == infinite ? beyond : oracle_element(type, &next, 0);
            const float middle = (float)((oracle_element(type, &here, 0) + there) / 2);
            const float cases[4] = {middle, nextafterf(middle, 0), nextafterf(middle, INFINITY),
                                    -middle};
            for (size_t k = 0; k < 4; k++)
                from[n++] = cases[k];
            if (n == BATCH) check_batch(type, from), n = 0;
        }
        while (n < BATCH)
            from[n++] = 0;
        check_batch(type, from);
    }
}

static void random_bits_are_rounded_alike(void **state)
{
    static float from[BATCH];

    (void)state;
    for (size_t round = 0; round < 100; round++) {
        for (size_t i = 0; i < BATCH; i++) {
            uint32_t bits = (uint32_t)random_u64();
            /* every second one in the range of f16 and its subnormals */
            if (i % 2) bits = (bits & 0x807fffff) | (uint32_t)(100 + random_u64() % 45) << 23;
            from[i] = float_of(bits);
        }
        check_batch(VKERN_F16, from);
        check_batch(VKERN_BF16, from);
    }
}

/* Whatever is not finite is reported, wherever it stands; from_f32 of f32 copies. */
static void not_finite_is_found_everywhere(void **state)
{
    static const uint32_t bad[] = {0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001};
    struct guarded memory = guarded_open(400), output = guarded_open(400);

    (void)state;
    for (size_t n = 0; n <= 67; n++)
        for (size_t at = 0; at <= n; at++) /* at == n: none */
            for (int type = VKERN_F32; type <= VKERN_BF16; type++) {
                const size_t size = vkern_row_bytes(type, n);
                unsigned char *row = guarded_end(&memory, size + (at % 2));
                float *to = guarded_end(&output, 4 * n);
                memset(row, 0x3b, size);
                if (at < n) {
                    const float value = float_of(bad[at % COUNT(bad)]);
                    levels.table[0].from_f32[type](&value, 1, row + vkern_row_bytes(type, at));
                }
                for (size_t l = 0; l < levels.n; l++) {
                    const vkern_table *t = &levels.table[l];
                    assert_int_equal(t->finite[type](row, n), at == n);
                    if (type != VKERN_F32) continue;
                    assert_int_equal(t->from_f32[type]((const float *)row, n, to), at == n);
                    assert_memory_equal(to, row, size);
                }
            }
    for (size_t l = 0; l < levels.n; l++)
        for (int type = VKERN_I8; type <= VKERN_BIT; type++)
            assert_true(levels.table[l].finite[type]("\xff\xff\x80\x7f", 4));
    guarded_close(&memory);
    guarded_close(&output);
}

/* Lengths and offsets: nothing outside the arrays is read or written, nothing inside is left out.
 * */
static void every_length_and_offset(void **state)
{
    struct guarded memory = guarded_open(65536), output = guarded_open(4 * 4096 + 64);

    (void)state;
    for (int type = VKERN_F32; type < VKERN_BIT; type++)
        for (size_t d = 0; d < COUNT(test_dims); d++)
            for (size_t o = 0; o < COUNT(test_offsets); o++) {
                const size_t n = test_dims[d], size = vkern_row_bytes(type, n);
                unsigned char *row = guarded_end(&memory, size + test_offsets[o]);
                float *values = guarded_end(&output, 4 * n);
                unsigned char back[4 * 4096];
                fill_row(&levels.table[0], type, NORMAL, n, row);
                for (size_t l = 0; l < levels.n; l++) {
                    memset(values, 0xee, 4 * n);
                    levels.table[l].to_f32[type](row, n, values);
                    for (size_t i = 0; i < n; i++)
                        assert_true((long double)values[i] == oracle_element(type, row, i));
                    memset(back, 0xee, size);
                    assert_true(levels.table[l].from_f32[type](values, n, back));
                    assert_memory_equal(back, row, size);
                }
            }
    guarded_close(&memory);
    guarded_close(&output);
}

static void integers_take_whole_numbers_in_range_only(void **state)
{
    static const struct {
        float value;
        bool i8, u8;
    } cases[] = {
        {0, true, true},
        {-0.0f, true, true},
        {1, true, true},
        {127, true, true},
        {128, false, true},
        {255, false, true},
        {256, false, false},
        {-1, true, false},
        {-128, true, false},
        {-129, false, false},
        {0.5f, false, false},
        {254.5f, false, false},
        {1e30f, false, false},
        {-1e30f, false, false},
        {NAN, false, false},
        {INFINITY, false, false},
        {-INFINITY, false, false},
        {FLT_MIN, false, false},
        {126.99999f, false, false},
    };

    (void)state;
    for (size_t l = 0; l < levels.n; l++)
        for (size_t i = 0; i < COUNT(cases); i++) {
            int8_t i8 = 99;
            uint8_t u8 = 99;
            assert_int_equal(levels.table[l].from_f32[VKERN_I8](&cases[i].value, 1, &i8),
                             cases[i].i8);
            assert_int_equal(levels.table[l].from_f32[VKERN_U8](&cases[i].value, 1, &u8),
                             cases[i].u8);
            if (cases[i].i8) assert_true((float)i8 == cases[i].value);
            if (cases[i].u8) assert_true((float)u8 == cases[i].value);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_half_to_f32_and_back),
        cmocka_unit_test(halfway_cases_go_to_even),
        cmocka_unit_test(random_bits_are_rounded_alike),
        cmocka_unit_test(not_finite_is_found_everywhere),
        cmocka_unit_test(every_length_and_offset),
        cmocka_unit_test(integers_take_whole_numbers_in_range_only),
    };

    seed_random("convert");
    levels = all_levels();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
