/*
 * truth.h - which hits count: the rule of recall.
 *
 * A hit counts if its id is among the first k of the ground truth, or if its score, computed again
 * in double, is not worse than that of the true k-th row by more than 1e-6 relative (ties at the
 * k-th place may be broken either way). An id that is repeated in an answer counts once.
 */
#ifndef TOOLS_TRUTH_H
#define TOOLS_TRUTH_H

#include <stddef.h>
#include <stdint.h>

#include "fault.h"

/** The score of two rows in plain double arithmetic, as vindex.h defines it. */
double truth_score(vindex_metric metric, uint32_t dim, vindex_type a_type, const void *a,
                   vindex_type b_type, const void *b);

struct truth {
    vindex_searcher *searcher; /* rows are fetched from here where ids differ */
    const char *path;          /* of the index, for messages */
    vindex_type type;
    vindex_metric metric;
    uint32_t dim;
    size_t row_bytes;
    void *row;         /* owned: the row being compared */
    uint64_t n_nearer; /* hits that are clearly nearer than the true k-th: that truth is none */
};

/** Prepare for an index. */
vindex_status truth_init(struct truth *truth, vindex_searcher *searcher, const vindex_stats *stats,
                         const char *path, struct fault *fault);
void truth_deinit(struct truth *truth);

/**
 * Count what an answer gets right.
 *
 * @param query   one row of query_type: the index's type or VINDEX_FLOAT.
 * @param nearest [in] shape [k]: the ground truth, best first, negative ids pad.
 * @param hits    [in] shape [k].
 * @param n_right [out] hits that count.
 * @param n_true  [out] rows the truth has, at most k: what n_right is divided by.
 */
vindex_status truth_count(struct truth *truth, vindex_type query_type, const void *query,
                          const int64_t *nearest, const vindex_hit *hits, size_t k, size_t *n_right,
                          size_t *n_true, struct fault *fault);

#endif
