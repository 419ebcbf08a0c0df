/*
 * test_slow_draws.c - 40 seconds of random searches of what meets in a call (helper_draws.h); VINDEX_TEST_SECONDS
 * asks for more.
 */
#include "common/cmocka.h"

#include "search/helper_draws.h"

static void drawn(void **state)
{
    const char *given = getenv("VINDEX_TEST_SECONDS");
    check_draws(*state, given ? atof(given) : 40);
}

int main(void)
{
    struct rng rng;
    const struct CMUnitTest tests[] = {cmocka_unit_test_prestate(drawn, &rng)};
    vindex__rng_init(&rng, test_seed());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
