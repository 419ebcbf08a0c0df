/*
 * helper_mix.h - random searches at target 1 against the oracle, where everything is mixed: rows of several
 * natures in one index, queries of another, codes relative to a model of other rows, every way to scan.
 * test_exactness.c has one nature a trial and the model of its rows.
 */
#ifndef TESTS_SEARCH_HELPER_MIX_H
#define TESTS_SEARCH_HELPER_MIX_H

#include "base/random.h"

/** Run `trials` of them, for all types and instruction-set levels. Fails as a
 *  cmocka test does; the message names the trial (VINDEX_TEST_MIX replays it alone). */
void check_mix(struct rng *rng, int trials);

#endif
