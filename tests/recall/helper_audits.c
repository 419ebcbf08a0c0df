/*
 * helper_audits.c - see helper_audits.h.
 */
#include "recall/helper_audits.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const struct law law_easy = {0.1, 0.3, 0}, law_hard = {0.4, 0.6, 0}, law_shifted = {1.2, 0.6, 0},
                 law_rare = {0.1, 0.3, 0.004};

const unsigned char test_model[NONCE_BYTES] = "a model of tests";

static double normal(struct rng *rng)
{
    double u = 1 - vindex__rng_unit(rng), v = vindex__rng_unit(rng);
    return sqrt(-2 * log(u)) * cos(2 * acos(-1) * v);
}

static struct audit audit_of(struct rng *rng, const struct law *law, uint32_t kind, bool is_lost)
{
    struct audit audit = {
        .kind = kind, .depth = TEST_DEPTH, .n_rows = TEST_ROWS, .model = test_model};
    double spread = law->spread * exp(law->uneven * normal(rng));
    for (uint32_t i = 0; i < TEST_DEPTH; i++) {
        double rank = (i + 1) * exp(fmin(spread * fabs(normal(rng)), 20));
        if (is_lost) rank += 1 << 20;
        audit.effort[i] = (uint8_t)vindex__effort_of((uint64_t)rank);
    }
    return audit;
}

struct audit make_audit(struct rng *rng, const struct law *law, uint32_t kind)
{
    return audit_of(rng, law, kind, vindex__rng_unit(rng) < law->lost);
}

struct audit *make_audits(struct rng *rng, const struct law *law, uint32_t kind, size_t n)
{
    struct audit *audits = malloc(n * sizeof *audits);
    for (size_t i = 0; i < n; i++)
        audits[i] = audit_of(rng, law, kind,
                             floor((double)(i + 1) * law->lost) > floor((double)i * law->lost));
    return audits;
}

double recall_of(const struct audit *audits, size_t n, size_t k, uint64_t k_prime)
{
    uint64_t found = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < k; j++)
            found += vindex__effort_rows(audits[i].effort[j]) <= k_prime;
    return (double)found / (double)(n * k);
}

struct effort_ask make_ask(size_t k, double target)
{
    return (struct effort_ask){.model = test_model,
                               .k = k,
                               .target = target,
                               .selectivity = 1,
                               .n_rows = TEST_ROWS,
                               .effort_max = TEST_ROWS / 10,
                               .may_audit = true};
}
