/*
 * helper_audits.h - audits without an index: answers found at drawn ranks, from laws that are easy, hard or shifted.
 */
#ifndef TESTS_RECALL_HELPER_AUDITS_H
#define TESTS_RECALL_HELPER_AUDITS_H

#include "base/random.h"
#include "search/calibrate.h"

/* Answer i of a query lies at rank (i + 1) exp(spread |normal|); a query's spread is `spread`, times exp of a normal
   of deviation `uneven`; a share `lost` of the queries finds nothing below rank 2^20. */
struct law {
    double spread, uneven, lost;
};
extern const struct law law_easy, law_hard, law_shifted, law_rare;

extern const unsigned char test_model[NONCE_BYTES];

#define TEST_DEPTH 128u
#define TEST_ROWS UINT64_C(1000000)

struct audit make_audit(struct rng *rng, const struct law *law, uint32_t kind);
/** n of them to judge plans by, the law's share of lost ones among them to a whole number; freed by the caller. */
struct audit *make_audits(struct rng *rng, const struct law *law, uint32_t kind, size_t n);
/** Mean recall over audits of k rows with k_prime reranked. */
double recall_of(const struct audit *audits, size_t n, size_t k, uint64_t k_prime);

struct effort_ask make_ask(size_t k, double target);

#endif
