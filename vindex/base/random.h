/*
 * random.h - nonces from the operating system, and a small seeded generator (xoshiro256**, Blackman and
 * Vigna 2018) for everything that must repeat.
 */
#ifndef VINDEX_BASE_RANDOM_H
#define VINDEX_BASE_RANDOM_H

#include "vindex.h"

/** Fill with bytes nobody else has (getrandom). */
vindex_status vindex__nonce(void *bytes, size_t size);

struct rng {
    uint64_t s[4];
};
void vindex__rng_init(struct rng *rng, uint64_t seed);
uint64_t vindex__rng_next(struct rng *rng);
/** Uniform in [0, n), n > 0. */
uint64_t vindex__rng_below(struct rng *rng, uint64_t n);
/** Uniform in [0, 1). */
double vindex__rng_unit(struct rng *rng);

#endif
