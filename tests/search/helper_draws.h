/*
 * helper_draws.h - random searches of what meets in a call: threads, groups of queries, k of thousands, filters, dead
 * rows, parts with and without codes, every way to scan, at target 1 and below; over snapshots and plain arrays. The
 * searches of one run share their scratch, and two threads search one snapshot. helper_mix.c has the numbers.
 */
#ifndef TESTS_SEARCH_HELPER_DRAWS_H
#define TESTS_SEARCH_HELPER_DRAWS_H

#include "base/random.h"

/** Run draws for about so long, at least one. Fails as a cmocka test does; the message names the draw
 *  (VINDEX_TEST_DRAW replays it alone). */
void check_draws(struct rng *rng, double seconds);

#endif
