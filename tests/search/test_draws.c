/*
 * test_draws.c - two seconds of random searches of what meets in a call (helper_draws.h).
 */
#include "common/cmocka.h"

#include "search/helper_draws.h"

static void drawn(void **state)
{
    check_draws(*state, 2);
}

int main(void)
{
    struct rng rng;
    const struct CMUnitTest tests[] = {cmocka_unit_test_prestate(drawn, &rng)};
    vindex__rng_init(&rng, test_seed());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
