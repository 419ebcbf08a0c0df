/*
 * helper_snapshot.h - snapshots made by hand from arrays, rows of every type and many natures, and
 * the oracle the search tests compare with.
 */
#ifndef TESTS_SEARCH_HELPER_SNAPSHOT_H
#define TESTS_SEARCH_HELPER_SNAPSHOT_H

#include "base/random.h"
#include "search/search.h"

/* ---- rows ---------------------------------------------------------------------------------- */

enum nature {
    NATURE_NORMAL,
    NATURE_DUPLICATES, /* few distinct rows, many copies */
    NATURE_ALL_EQUAL,
    NATURE_TIES, /* small whole numbers */
    NATURE_HUGE_19,
    NATURE_HUGE_30,
    NATURE_HUGE_38,
    NATURE_TINY_25,
    NATURE_TINY_42,
    NATURE_ZEROS,     /* every third row is zero */
    NATURE_MIXED,     /* row scales from 1e-42 to 1e38 */
    NATURE_OUTLIER,   /* one row in 97 is 1e12 times larger */
    NATURE_FAR,       /* small differences far from the origin */
    NATURE_NEAR_TIES, /* one row, moved by single roundings */
    N_NATURES
};
extern const char *const nature_names[N_NATURES];

/** n dense rows of `type`; queries = as rows, f32 where the type is f16 or bf16. */
void *make_rows(struct rng *rng, uint32_t type, enum nature nature, size_t n, size_t dim,
                bool queries);
size_t row_bytes_of(uint32_t type, size_t dim, bool queries);

/* ---- snapshots ----------------------------------------------------------------------------- */

/* What a part of a made snapshot has beside its rows. */
enum { WITH_C8 = 1, WITH_C4 = 2, WITH_P8 = 4, WITH_ALL = 7 };

struct shape {
    uint32_t type, metric, dim;
    const void *rows; /* dense */
    size_t n;
    const int64_t *ids;    /* NULL: row numbers */
    const uint8_t *dead;   /* [n]; NULL: none */
    const uint32_t *parts; /* sizes, their sum is n; the last is the tail */
    size_t n_parts;
    uint32_t rows_per_block;
    uint32_t padding; /* bytes between rows */
    const uint8_t *codes; /* [n_parts]: WITH_*; NULL: no model, no codes. The tail has none */
    uint32_t m; /* axes of c4, a multiple of 8, at most dim; 0: no c4, no p8 */
    uint32_t p; /* the first of them, for p8: a multiple of 8; 0: all m */
    uint32_t groups_per_block;
    const float *mean, *scale; /* [dim] of the model; NULL: measured */
};
struct snapshot *make_snapshot(const struct shape *shape);
void free_snapshot(struct snapshot *snapshot);

/* ---- the oracle ---------------------------------------------------------------------------- */

/** Scores every row that counts by vindex__exact_score, sorts, pads. Plain arrays: snapshot's shape
 * with ids
 *  and dead NULL. */
void oracle(const struct shape *shape, const struct search_request *request, vindex_hit *hits);
bool filter_names(const vindex_filter *filter, int64_t id);

#endif
