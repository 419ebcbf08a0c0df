/*
 * device_call.h - what the two halves of a call on an accelerator share: device_call.c plans and launches,
 * device_merge.c makes hits of what comes back. No other file includes it.
 */
#ifndef VINDEX_SEARCH_DEVICE_CALL_H
#define VINDEX_SEARCH_DEVICE_CALL_H

#include "search/resident.h"

enum { N_IN_FLIGHT = 2 }; /* tiles: one is merged while the next one is computed */

struct tile {
    size_t first, n;              /* queries */
    struct vkern_pjrt_run **runs; /* [n_chunks] */
    float **values;               /* [n_chunks] -> [tile, wide] */
    int32_t **rows;
};

/* One thread of the merge. */
struct merger {
    struct topk_stream stream, best;
    float *negated; /* [wide] */
    uint64_t n_reranked;
    bool is_unproven; /* the floors do not lie above the cut */
    bool is_wrong;    /* the device gave what can not be */
};

struct device_call {
    struct call *call;
    struct device *device;
    struct resident *resident;
    struct refusal *refusal;
    struct pace pace;
    int64_t waits_until_ns;

    uint32_t terms, n_tile, wide; /* parts of a query, queries of a launch, candidates of a chunk */
    bool wants_proof, selects_exactly;
    double predicted;
    uint32_t bins;
    enum vkern_pjrt_kind kind;
    struct vkern_pjrt_program *program, *tail_program;
    struct vkern_pjrt_buffer **masks; /* [n_chunks] biases under a filter; NULL: the resident's */

    struct tile tiles[N_IN_FLIGHT];
    float *dense;     /* a tile of queries, */
    uint16_t *halves; /* and as bf16, terms of them */
    struct merger *mergers;
    const struct tile *merging;
};

/* Candidates of a chunk. */
static inline uint32_t wide_of(const struct device_call *dc, size_t chunk)
{
    uint32_t capacity = dc->resident->chunks[chunk].capacity;
    return dc->wide < capacity ? dc->wide : capacity;
}
static inline uint32_t n_mergers(const struct call *call)
{
    return call->request->n_threads > 1 ? vindex__pool_size(call->search->pool) : 1;
}

/* device_merge.c */

/** Whether scores of these queries, as the device computes them, have a bound at all. */
bool vindex__device_bands_hold(const struct device_call *dc);
/** The hits of a tile's queries from its candidates; false: the device is wrong. */
bool vindex__device_merge(struct device_call *dc, const struct tile *tile);
/** Some answer so far may lack rows the device did not give. */
bool vindex__device_is_unproven(const struct device_call *dc);

#endif
