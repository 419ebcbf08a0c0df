/*
 * helper_topk.h - rows of scores of every type and order, and the plain reference: sort by score, then by
 * position.
 */
#ifndef VINDEX_TESTS_TOPK_HELPER_H
#define VINDEX_TESTS_TOPK_HELPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/random.h"
#include "topk/plan.h"
#include "vindex_topk.h"

enum { N_TYPES = 5 };

size_t type_bytes(uint32_t type);

/** Element i as a double, exactly (NaN as NaN). */
double element(uint32_t type, const void *x, size_t i);
/** Store the value of the type nearest to `value` (integers: cut to their range, NaN as 0). */
void set_element(uint32_t type, void *x, size_t i, double value);
/** Store raw bits. */
void set_bits(uint32_t type, void *x, size_t i, uint64_t bits);

enum pattern {
    NORMAL,
    ASCENDING,
    DESCENDING,
    ORGAN_PIPE,
    SAWTOOTH,
    ALL_EQUAL,
    TWO_VALUES,
    FEW_VALUES,       /* many ties, some across the k-th */
    ONE_LANE,         /* winners all in one lane of 128 */
    ONE_TILE,         /* winners in one run */
    MOSTLY_WORST,     /* 90 % the worst infinity */
    NEARLY_ALL_WORST, /* 99.9 % */
    BOTH_INFINITIES,
    SOME_NAN, /* both signs, quiet and signalling */
    ALL_NAN,
    FEW_NUMBERS, /* NaN but for a handful */
    ZEROS,       /* -0 and +0 */
    ANY_BITS,    /* every bit pattern of the type */
    N_PATTERNS
};
extern const char *const pattern_names[N_PATTERNS];

void fill_pattern(struct rng *rng, enum pattern pattern, uint32_t type, bool is_min, void *x,
                  size_t n);

/** true if a comes before b in the order of vindex_topk.h. */
bool comes_before(uint32_t type, const void *x, size_t a, size_t b, bool is_min, uint32_t nan);

/** The k best positions of n, best first (k <= n). */
void plain_best(uint32_t type, const void *x, size_t n, size_t k, bool is_min, uint32_t nan,
                int64_t *positions);

/** The tables of all levels this processor has. */
size_t all_levels(vkern_topk_table tables[3]);

/** A call with its own workspace, exactly as large as planned and guarded behind. */
vindex_status run_topk(const vkern_topk_table *table, const vindex_topk_options *options,
                       const void *scores, const int64_t *ids, const int64_t *row_len,
                       const vindex_topk_output *output);

/** n bytes that end where a page without access begins; freed with guarded_free. */
void *guarded_alloc(size_t bytes);
void guarded_free(void *at, size_t bytes);

/** A value from the standard normal distribution. */
double normal(struct rng *rng);

#endif
