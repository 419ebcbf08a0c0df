/*
 * test_random.c - xoshiro256** gives the published sequence; bounds hold; nonces differ.
 */
#include "common/cmocka.h"

#include "base/random.h"

#include <string.h>

/* From state {1, 2, 3, 4}: the values of the rand_xoshiro port, made with the authors' C. */
static void the_sequence_is_the_published_one(void **state)
{
    static const uint64_t expected[] = {
        UINT64_C(11520),
        UINT64_C(0),
        UINT64_C(1509978240),
        UINT64_C(1215971899390074240),
        UINT64_C(1216172134540287360),
        UINT64_C(607988272756665600),
        UINT64_C(16172922978634559625),
        UINT64_C(8476171486693032832),
        UINT64_C(10595114339597558777),
        UINT64_C(2904607092377533576),
    };
    struct rng rng = {{1, 2, 3, 4}};
    (void)state;

    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        assert_true(vindex__rng_next(&rng) == expected[i]);
}

/* splitmix64 from 1234567: the values in its reference implementation's tests. */
static void the_seed_goes_through_splitmix(void **state)
{
    static const uint64_t expected[4] = {
        UINT64_C(6457827717110365317),
        UINT64_C(3203168211198807973),
        UINT64_C(9817491932198370423),
        UINT64_C(4593380528125082431),
    };
    struct rng rng;
    (void)state;

    vindex__rng_init(&rng, 1234567);
    for (int i = 0; i < 4; i++)
        assert_true(rng.s[i] == expected[i]);
}

static void below_stays_below_and_reaches_all(void **state)
{
    static const uint64_t bounds[] = {1, 2, 3, 10, 64, 1000};
    struct rng rng;
    (void)state;

    vindex__rng_init(&rng, test_seed());
    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++) {
        unsigned seen[1000] = {0};
        for (uint64_t draw = 0; draw < 100 * bounds[i]; draw++) {
            uint64_t x = vindex__rng_below(&rng, bounds[i]);
            assert_true(x < bounds[i]);
            seen[x]++;
        }
        for (uint64_t x = 0; x < bounds[i];
             x++) /* 100 expected; 10 and 300 are 9 sigma off and more */
            assert_true(seen[x] > 10 && seen[x] < 300);
    }
    for (int draw = 0; draw < 1000; draw++)
        assert_true(vindex__rng_below(&rng, UINT64_MAX) < UINT64_MAX);
}

static void unit_is_in_its_range(void **state)
{
    struct rng rng;
    double sum = 0;
    (void)state;

    vindex__rng_init(&rng, test_seed());
    for (int i = 0; i < 100000; i++) {
        double x = vindex__rng_unit(&rng);
        assert_true(x >= 0 && x < 1);
        sum += x;
    }
    assert_true(sum / 100000 > 0.49 && sum / 100000 < 0.51); /* 11 sigma */

    struct rng highest = {{0}};
    for (int i = 0; i < 4; i++) /* the largest output there is must not round to 1 */
        highest.s[i] = UINT64_MAX;
    assert_true(vindex__rng_unit(&highest) < 1);
}

static void nonces_differ(void **state)
{
    unsigned char a[1000] = {0}, b[1000] = {0};
    size_t zeros = 0;
    (void)state;

    assert_int_equal(vindex__nonce(a, sizeof a), VINDEX_OK);
    assert_int_equal(vindex__nonce(b, sizeof b), VINDEX_OK);
    assert_memory_not_equal(a, b, sizeof a);
    for (size_t i = 0; i < sizeof a; i++)
        zeros += a[i] == 0;
    assert_true(zeros < 60); /* 4 expected: the whole buffer was filled */
    assert_int_equal(vindex__nonce(a, 0), VINDEX_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sequence_is_the_published_one),
        cmocka_unit_test(the_seed_goes_through_splitmix),
        cmocka_unit_test(below_stays_below_and_reaches_all),
        cmocka_unit_test(unit_is_in_its_range),
        cmocka_unit_test(nonces_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
