/*
 * test_slow_mix.c - many random searches at target 1 where everything is mixed (helper_mix.h).
 */
#include "common/cmocka.h"

#include "search/helper_mix.h"

static void mixed(void **state)
{
    const char *given = getenv("VINDEX_TEST_TRIALS");
    struct rng *rng = *state;
    check_mix(rng, given ? atoi(given) : 600);
}

int main(void)
{
    struct rng rng;
    const struct CMUnitTest tests[] = {cmocka_unit_test_prestate(mixed, &rng)};
    vindex__rng_init(&rng, test_seed());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
