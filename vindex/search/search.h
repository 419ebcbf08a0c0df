/*
 * search.h - the door of the read path: k nearest rows of a snapshot, or of plain arrays, for one query or
 * many. Knows snapshots and row blocks, never a catalog.
 */
#ifndef VINDEX_SEARCH_SEARCH_H
#define VINDEX_SEARCH_SEARCH_H

#include "base/threads.h"
#include "storage/snapshot.h"

/** Scratch of one searcher: grows to what its queries need, then a warm query allocates nothing. */
struct search;

vindex_status vindex__search_new(struct search **search);
void vindex__search_free(struct search *search);

struct search_request {
    /* Dense rows, validated (finite): f32 where the rows are f32, f16 or bf16; their own type otherwise. */
    const void *queries;
    size_t n_queries;
    size_t k;              /* >= 1 */
    float recall;          /* (0, 1]; exact search meets every target */
    struct calibration *calibration; /* NULL: always exact (plain arrays) */
    uint32_t flags;        /* VINDEX_SEARCH_* */
    uint32_t n_threads;    /* >= 1 */
    const vindex_filter *filter; /* NULL = all rows; validated */
    int64_t deadline_ns;   /* on vindex__now_ns's clock; 0 = none */
    int (*cancel)(void *context);
    void *cancel_context;
    struct device *device; /* asked first (device.h); NULL: the CPU alone */
};

/**
 * hits: [n_queries, k], as vindex_search says, padded. report: all fields but epoch.
 * @return VINDEX_OK, NOMEM, CORRUPT (vindex__part_touch), TIMEOUT, CANCELLED (hits: best of the rows reached).
 */
vindex_status vindex__search_run(struct search *search, const struct snapshot *snapshot,
                                 const struct search_request *request, vindex_hit *hits,
                                 vindex_report *report);

/**
 * Answer queries exactly to depth (at most AUDIT_DEPTH_MAX) and add an audit of each to request->calibration: what effort would have
 * found each answer. kind: AUDIT_*. exclude: ids of the queries themselves where these are rows [n_queries], or NULL.
 */
struct calibration;
vindex_status vindex__search_audit(struct search *search, const struct snapshot *snapshot,
                                   const struct search_request *request, uint32_t kind,
                                   const int64_t *exclude);

/** The same over plain arrays of n rows; ids are row numbers. */
vindex_status vindex__search_brute(struct search *search, uint32_t type, uint32_t metric, uint32_t dim,
                                   const void *rows, size_t stride, size_t n,
                                   const struct search_request *request, vindex_hit *hits,
                                   vindex_report *report);

/**
 * The reported score of one pair, from the bytes given, in the one arithmetic of design.md 5: double, then
 * rounded to f32 once, saturating at +-FLT_MAX. query as in search_request.
 */
float vindex__exact_score(uint32_t type, uint32_t metric, uint32_t dim, const void *query,
                          const void *row);

#endif
