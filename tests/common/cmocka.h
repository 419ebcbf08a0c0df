/*
 * common/cmocka.h - cmocka with the headers it needs before it, and the seed of a random test.
 */
#ifndef VINDEX_TESTS_COMMON_CMOCKA_H
#define VINDEX_TESTS_COMMON_CMOCKA_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/** The seed to use: VINDEX_TEST_SEED, or a new one each run. Printed, to replay a failure. */
static inline uint64_t test_seed(void)
{
    const char *given = getenv("VINDEX_TEST_SEED");
    struct timespec now;
    uint64_t seed;

    clock_gettime(CLOCK_REALTIME, &now);
    seed = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    if (given && *given) seed = strtoull(given, NULL, 0);
    printf("VINDEX_TEST_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

#endif
