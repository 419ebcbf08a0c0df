/*
 * plan.h - a checked call: what is done for each row and the memory it takes. Private to topk/.
 */
#ifndef VINDEX_TOPK_PLAN_H
#define VINDEX_TOPK_PLAN_H

#include "topk/row.h"

struct topk_job {
    vindex_topk_options options; /* with defaults filled in; recall in (0, 1] */
    vindex_topk_plan plan;
    const vkern_topk_table *table;
    size_t len, k; /* k <= len */
    uint32_t n_workers;
    bool
        tells_recall; /* formulas of a plan that selecting does without: they take longer than a row */
    size_t n_spans; /* parts of a row that are selected apart and merged; mostly 1 */
    size_t span_len;
    /* room of a worker's context */
    size_t capacity, n_groups, n_chunk;
};

/** Check the options and plan for them. */
vindex_status vindex__topk_job_make(struct topk_job *job, const vkern_topk_table *table,
                                    const vindex_topk_options *options, bool tells_recall);

/** Lay out a worker's context at `memory` (64-byte aligned, or NULL to measure); returns its bytes. */
size_t vindex__topk_context_open(struct topk_context *c, const struct topk_job *job, void *memory);

/** vindex_topk at a given level: tests run all of them. */
vindex_status vindex__topk_run(const vkern_topk_table *table, const vindex_topk_options *options,
                               const void *scores, const int64_t *ids, const int64_t *row_len,
                               const vindex_topk_output *output, void *workspace,
                               uint64_t workspace_bytes);
/** vindex_topk_make_plan at a given level. */
vindex_status vindex__topk_plan_at(const vkern_topk_table *table,
                                   const vindex_topk_options *options, vindex_topk_plan *plan);

/** An option struct as this library knows it: shorter ones are refused, longer ones if they say more. */
vindex_status vindex__topk_check_size(const char *name, const void *given, size_t known);

/** The threads of a pool; NULL has one, the caller. */
struct pool *vindex__topk_pool_of(vindex_topk_pool *pool);

/* ---- cost.c ------------------------------------------------------------------------------------- */

/** Nanoseconds for a row of n by an exact algorithm, as fitted for this level. */
double vindex__topk_cost(const vkern_topk_table *table, enum vkern_topk_type type,
                         vindex_topk_algo algo, size_t n, size_t k);
double vindex__topk_cost_of_bins(const vkern_topk_table *table, enum vkern_topk_type type, size_t n,
                                 size_t k, size_t bins, size_t per_bin);

#endif
