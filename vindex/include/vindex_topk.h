/*
 * vindex_topk.h - the k largest or smallest of each row of scores: exact, or with a stated recall.
 *
 * A complete program:
 *
 *     float scores[2][5] = {{.1f, .9f, .3f, .7f, .5f}, {4, 3, 2, 1, 0}}, best[2][2];
 *     int64_t where[2][2];
 *     vindex_topk_options options = VINDEX_TOPK_OPTIONS_INIT;
 *     vindex_topk_plan plan = VINDEX_TOPK_PLAN_INIT;
 *     vindex_topk_output output = VINDEX_TOPK_OUTPUT_INIT;
 *     options.rows = 2, options.len = 5, options.k = 2;
 *     if (vindex_topk_make_plan(&options, &plan) != VINDEX_OK) return 1;
 *     void *workspace = malloc(plan.workspace_bytes);
 *     output.values = best, output.ids = where;
 *     vindex_topk(&options, scores, NULL, NULL, &output, workspace, plan.workspace_bytes);
 *     free(workspace);                         (best[0] is .9, .7 and where[0] is 1, 3)
 *
 * Nothing here needs an index. No call allocates, starts a thread or keeps state, except where it says
 * so. Values come out bit-identical to what went in. Any alignment.
 *
 * The order. Larger is better (smaller with VINDEX_TOPK_MIN); equal scores: the lower position, so a
 * result is one thing whatever the algorithm, instruction set or number of threads. -0 and +0 are equal.
 * NaN, either sign and any payload, is one value, placed by vindex_topk_nan. Infinities are values like
 * others. A slot without an element has id -1; its value is the worst the type has (-inf for a maximum).
 */
#ifndef VINDEX_TOPK_H
#define VINDEX_TOPK_H

#include "vindex.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- types --------------------------------------------------------------------------------- */

typedef enum vindex_topk_type {
    VINDEX_TOPK_F32 = 0,
    VINDEX_TOPK_F16 = 1,
    VINDEX_TOPK_BF16 = 2,
    VINDEX_TOPK_F64 = 3,
    VINDEX_TOPK_I32 = 4
} vindex_topk_type;

typedef enum vindex_topk_algo {
    VINDEX_TOPK_AUTO = 0,      /* the cheapest by the cost model, never one slower than exact */
    VINDEX_TOPK_ARGMAX = 1,    /* k = 1 */
    VINDEX_TOPK_GROUPMAX = 2,  /* maxima of small groups bound the k-th; one pass, any order of input */
    VINDEX_TOPK_THRESHOLD = 3, /* a running threshold, started from a sample; survivors compressed */
    VINDEX_TOPK_QSELECT = 4,   /* vector quickselect: cost hardly depends on k */
    VINDEX_TOPK_RADIX = 5,     /* counting by digits: 16-bit types */
    VINDEX_TOPK_DEPTH = 6,     /* the best 1, 2, ... m of every lane until the k best are proved in */
    VINDEX_TOPK_BINNED = 7,    /* per_bin best of each bin, then the best of those: approximate */
    VINDEX_TOPK_SORT = 8       /* sort all of the row: the plain reference */
} vindex_topk_algo;

typedef enum vindex_topk_nan {
    VINDEX_TOPK_NAN_WORST = 0, /* after everything else */
    VINDEX_TOPK_NAN_BEST = 1,  /* before everything else */
    VINDEX_TOPK_NAN_ERROR = 2  /* a row with one is VINDEX_INVALID */
} vindex_topk_nan;

/* flags */
#define VINDEX_TOPK_MIN 1u         /* the smallest instead of the largest */
#define VINDEX_TOPK_UNSORTED 2u    /* the k best in any order */
#define VINDEX_TOPK_PARTIAL 4u     /* do not reduce bins to k: plan.out_len >= k entries, unsorted */
#define VINDEX_TOPK_ANY_TIE 8u     /* allows another choice among equal scores (none is made today) */
#define VINDEX_TOPK_CONTIGUOUS 16u /* a bin is a run of elements; otherwise element i is in bin i mod bins */

/** Name of a type ("f32") or an algorithm ("groupmax"); NULL for a number that is none. */
VINDEX_API const char *vindex_topk_type_name(vindex_topk_type type);
VINDEX_API const char *vindex_topk_algo_name(vindex_topk_algo algo);

/* ---- options ------------------------------------------------------------------------------- */

typedef struct vindex_topk_pool vindex_topk_pool; /* threads; one call at a time */

#define VINDEX_TOPK_MAX_DEPTHS 8

/* The rules of vindex.h: start from _INIT, zero is the default, structs grow at the end. */
typedef struct vindex_topk_options {
    uint32_t struct_size;
    uint32_t flags;
    uint32_t type; /* vindex_topk_type */
    uint32_t algo; /* vindex_topk_algo */
    uint32_t nan;  /* vindex_topk_nan */
    float recall;  /* target in (0, 1]; 0 = 1 = exact. Below 1 bins may be used where they are cheaper */
    int64_t rows;
    int64_t len; /* elements of a row */
    int64_t k;   /* any number >= 0; beyond len the output is padded */
    int64_t in_stride;  /* elements from row to row of scores; 0 = len */
    int64_t id_stride;  /* of ids; 0 = len */
    int64_t out_stride; /* of values and ids out; 0 = plan.out_len */
    int64_t input_size_override; /* the row is a shard of one this long, >= len; 0 or -1 = it is not */
    int64_t bins;     /* VINDEX_TOPK_BINNED: 0 = planned for `recall` */
    uint32_t per_bin; /* kept in each bin; 0 = planned */
    uint32_t lanes;   /* VINDEX_TOPK_DEPTH: 0 = 128 */
    uint32_t cutoff;  /* VINDEX_TOPK_DEPTH: the last step takes a depth rounded up to cutoff * 2^i; 0 = 8 */
    uint32_t rows_per_block; /* VINDEX_TOPK_DEPTH: rows the default schedule is made for; 0 = 32 */
    uint32_t n_depths;       /* of the schedule below; 0 = from the termination probabilities */
    uint32_t depths[VINDEX_TOPK_MAX_DEPTHS]; /* ascending; k + 1 follows by itself */
    uint32_t reserved;
    vindex_topk_pool *pool; /* NULL = the calling thread alone */
} vindex_topk_options;
#define VINDEX_TOPK_OPTIONS_INIT                                                                   \
    {                                                                                              \
        .struct_size = sizeof(vindex_topk_options)                                                 \
    }

/** Start n_threads - 1 threads that share the work of calls (allocates). */
VINDEX_API vindex_status vindex_topk_pool_open(uint32_t n_threads, vindex_topk_pool **pool);
/** Stop them; NULL is accepted. */
VINDEX_API void vindex_topk_pool_close(vindex_topk_pool *pool);

/* ---- plan ---------------------------------------------------------------------------------- */

typedef struct vindex_topk_plan {
    uint32_t struct_size; /* set by the caller */
    uint32_t algo;        /* vindex_topk_algo, never AUTO */
    int64_t out_len;      /* entries a row of output has */
    int64_t bins;         /* BINNED; else 0 */
    uint32_t per_bin;
    int32_t log2_reduction; /* floor(log2(len / bins)); 0 when exact */
    double expected_recall; /* were the winners spread over bins by chance; 1 when exact */
    double bound_recall;    /* closed lower bound of it; 1 when exact */
    double cost_ns;         /* of a row, by the cost model of this level */
    uint64_t workspace_bytes; /* what vindex_topk needs */
    uint64_t fixed_bytes;     /* memory in all = fixed_bytes + rows * row_bytes: */
    uint64_t row_bytes;       /* scores, payload ids, values, ids, counts of a row */
    uint32_t lanes;           /* DEPTH; else 0 */
    uint32_t n_depths;
    uint32_t depths[VINDEX_TOPK_MAX_DEPTHS + 1];
    uint32_t reserved;
} vindex_topk_plan;
#define VINDEX_TOPK_PLAN_INIT                                                                      \
    {                                                                                              \
        .struct_size = sizeof(vindex_topk_plan)                                                    \
    }

/**
 * What vindex_topk will do: a pure function of the options and the instruction-set level.
 * @return VINDEX_OK, INVALID, UNSUPPORTED (unknown flags or non-zero bytes of a newer struct).
 */
VINDEX_API vindex_status vindex_topk_make_plan(const vindex_topk_options *options,
                                               vindex_topk_plan *plan);

/**
 * How many rows fit in memory_bytes, 15 % kept free for what else is there (10 % when unsorted): the
 * rule of cuVS's K-selection page. options->rows is not read.
 * @param with_ids  != 0: payload ids come in beside the scores.
 */
VINDEX_API vindex_status vindex_topk_rows_that_fit(const vindex_topk_options *options, int with_ids,
                                                   uint64_t memory_bytes, int64_t *rows);

/* ---- select -------------------------------------------------------------------------------- */

typedef struct vindex_topk_output {
    uint32_t struct_size;
    uint32_t reserved;
    void *values;         /* [rows, out_len] of the scores' type; NULL = not wanted */
    int64_t *ids;         /* [rows, out_len]; NULL = not wanted */
    int64_t *counts;      /* [rows]: live entries, min(row's length, out_len) unless PARTIAL; NULL ok */
    uint32_t *stop_depths; /* [rows]: DEPTH: entries of each lane that were enough; 0 otherwise; NULL ok */
    uint8_t *is_proven;   /* [rows]: 1 = these are the exact k best, bins or not; NULL ok */
} vindex_topk_output;
#define VINDEX_TOPK_OUTPUT_INIT                                                                    \
    {                                                                                              \
        .struct_size = sizeof(vindex_topk_output)                                                  \
    }

/**
 * Select in every row. A call plans by itself; with a recall below 1 that takes about as long as a row of
 * 100,000, which later calls save by taking algo, bins and per_bin from a plan.
 *
 * @param scores     [in]  shape [rows, len], in_stride apart. Elements past a row's length are not read.
 * @param ids        [in]  payload, shape [rows, len], id_stride apart; NULL = the position 0, 1, ...
 *                         Handed through as they are; ties go by position, never by id.
 * @param row_len    [in]  shape [rows], each in [0, len]; NULL = len.
 * @param output     [out] caller-owned; must not overlap scores, ids or row_len.
 * @param workspace  plan.workspace_bytes bytes, any alignment.
 * @return VINDEX_OK, INVALID (a shape, a recall, too little workspace, NaN under NAN_ERROR: outputs are
 *         then unspecified; all other cases are found before anything is written), UNSUPPORTED.
 */
VINDEX_API vindex_status vindex_topk(const vindex_topk_options *options, const void *scores,
                                     const int64_t *ids, const int64_t *row_len,
                                     const vindex_topk_output *output, void *workspace,
                                     uint64_t workspace_bytes);

/* ---- streams: scores that come in tiles ---------------------------------------------------- */

/** The best k so far of each of `rows` rows, in memory of the caller. One thread at a time. */
typedef struct vindex_topk_stream vindex_topk_stream;

/** Bytes a stream needs. Read of options: type, nan, rows, k, flags MIN and UNSORTED. */
VINDEX_API vindex_status vindex_topk_stream_bytes(const vindex_topk_options *options,
                                                  uint64_t *bytes);

/** An empty stream at `memory` (any alignment, not to be moved); nothing is to be freed. */
VINDEX_API vindex_status vindex_topk_stream_init(const vindex_topk_options *options, void *memory,
                                                 uint64_t bytes, vindex_topk_stream **stream);

/**
 * Offer n scores to a row. Their ids are ids[i], or id_base + i where ids is NULL; ties go to the
 * smaller id, so neither the order of pushes nor their sizes matter. No id may come twice.
 * @return VINDEX_OK, INVALID (id_base + n overflows, NaN under NAN_ERROR: the stream is as before).
 */
VINDEX_API vindex_status vindex_topk_stream_push(vindex_topk_stream *stream, int64_t row,
                                                 const void *scores, const int64_t *ids,
                                                 int64_t id_base, int64_t n);

/**
 * A score that is strictly worse than *threshold cannot enter the result any more: a fused scorer skips
 * tiles by it. The worst infinity until k scores have come; exact for every type.
 */
VINDEX_API vindex_status vindex_topk_stream_threshold(const vindex_topk_stream *stream, int64_t row,
                                                      double *threshold);

/** Take in all of `from`, which has the same type, order, rows and k, and keeps its contents. */
VINDEX_API vindex_status vindex_topk_stream_merge(vindex_topk_stream *into,
                                                  const vindex_topk_stream *from);

/** Write the result as vindex_topk does, out_len = k; counts may be NULL. More may be pushed after. */
VINDEX_API vindex_status vindex_topk_stream_finish(vindex_topk_stream *stream, void *values,
                                                   int64_t *ids, int64_t *counts);

/* ---- twins --------------------------------------------------------------------------------- */

/** The arguments of jax.lax.approx_max_k, by JAX's names and with its defaults from _INIT. */
typedef struct vindex_approx_args {
    uint32_t struct_size;
    uint32_t type; /* a float type */
    uint32_t rank; /* >= 1 */
    int32_t reduction_dimension; /* -rank .. rank - 1 */
    const int64_t *shape;        /* [rank] */
    int64_t k;                   /* 1 .. shape[reduction_dimension] */
    int64_t reduction_input_size_override; /* 0 or -1 = none */
    float recall_target;                   /* in (0, 1]; 0 = 0.95 */
    int32_t aggregate_to_topk; /* 0: partial result; out_dim as XLA computes it, never below k */
} vindex_approx_args;
#define VINDEX_APPROX_ARGS_INIT                                                                    \
    {                                                                                              \
        .struct_size = sizeof(vindex_approx_args), .reduction_dimension = -1,                      \
        .reduction_input_size_override = -1, .recall_target = 0.95f, .aggregate_to_topk = 1        \
    }

/** *out_dim: size of the reduced dimension in the outputs; *workspace_bytes: what a call needs. */
VINDEX_API vindex_status vindex_approx_plan(const vindex_approx_args *args, int64_t *out_dim,
                                            uint64_t *workspace_bytes);

/**
 * jax.lax.approx_max_k and approx_min_k: values and positions along the reduction dimension, the other
 * dimensions unchanged. Sorted best first when aggregated; empty slots of a partial result have
 * position -1. Ties go to the lower position, NaN comes last.
 */
VINDEX_API vindex_status vindex_approx_max_k(const vindex_approx_args *args, const void *operand,
                                             void *values, int64_t *positions, void *workspace,
                                             uint64_t workspace_bytes);
VINDEX_API vindex_status vindex_approx_min_k(const vindex_approx_args *args, const void *operand,
                                             void *values, int64_t *positions, void *workspace,
                                             uint64_t workspace_bytes);

/**
 * The derivative of a selection: out[.., j, ..] = source[.., positions[.., j, ..], ..] along `axis`.
 * source has `shape`; positions and out have `shape` with out_dim along the axis. Position -1 gives 0.
 */
VINDEX_API vindex_status vindex_topk_gather(vindex_topk_type type, const int64_t *shape,
                                            uint32_t rank, int32_t axis, const void *source,
                                            const int64_t *positions, int64_t out_dim, void *out);

/** Its transpose: out, of `shape`, is 0 but for out[.., positions[.., j, ..], ..] = source[.., j, ..].
 *  Positions of one row differ, as a selection's do; -1 is passed over. */
VINDEX_API vindex_status vindex_topk_scatter(vindex_topk_type type, const int64_t *shape,
                                             uint32_t rank, int32_t axis, const void *source,
                                             const int64_t *positions, int64_t out_dim, void *out);

/**
 * cuVS's select_k: in_val [batch_size, len], in_idx the payload or NULL, out_val and out_idx
 * [batch_size, k], len_i [batch_size] the rows' lengths or NULL. Ties are stable; NaN orders above
 * +inf, as cuVS's radix does: first when selecting the largest, last when selecting the smallest.
 */
VINDEX_API vindex_status vindex_select_k(vindex_topk_type type, int64_t batch_size, int64_t len,
                                         int64_t k, const void *in_val, const int64_t *in_idx,
                                         void *out_val, int64_t *out_idx, int select_min, int sorted,
                                         vindex_topk_algo algo, const int64_t *len_i,
                                         void *workspace, uint64_t workspace_bytes);
/** The workspace such a call needs. */
VINDEX_API vindex_status vindex_select_k_workspace(vindex_topk_type type, int64_t batch_size,
                                                   int64_t len, int64_t k, int select_min,
                                                   int sorted, vindex_topk_algo algo,
                                                   uint64_t *workspace_bytes);

/* ---- the formulas -------------------------------------------------------------------------- */

/**
 * XLA's ApproxTopK output size and log2 reduction for a row of n in an array of `rank` dimensions.
 * Other than upstream: recall is checked for k = 1 too, a row that is not reduced keeps n entries, and
 * a size is never below min(k, n). override_n as input_size_override; an override below n is an error
 * where the row is long enough to be reduced.
 */
VINDEX_API vindex_status vindex_topk_xla_size(int64_t n, uint32_t rank, int64_t k, float recall,
                                              int aggregate_to_topk, int64_t override_n,
                                              int64_t *size, int32_t *log2_reduction);

/**
 * Expected recall of the k best of n when each of `bins` strided bins keeps its per_bin best, winners
 * anywhere with equal chance: exact (hypergeometric, bins of uneven size as they are).
 * NAN where an argument makes no sense; so do the functions below.
 */
VINDEX_API double vindex_topk_recall(int64_t n, int64_t k, int64_t bins, int64_t per_bin);

/** The limit of n without end: a lower bound of the exact value that needs no n. */
VINDEX_API double vindex_topk_recall_binomial(int64_t k, int64_t bins, int64_t per_bin);

/** Closed lower bound: 1 - (k-1)(n-bins) / (2 bins (n-1)) for per_bin = 1 (with the true sizes where bins
 *  are uneven), else 1 - C(k-1, per_bin) / ((per_bin+1) bins^per_bin); never below 0. */
VINDEX_API double vindex_topk_recall_bound(int64_t n, int64_t k, int64_t bins, int64_t per_bin);

/** The bound of TPU-KNN (Chern et al. 2022): (1 - 1/bins)^(k-1), which counts a collision twice. */
VINDEX_API double vindex_topk_recall_chern(int64_t k, int64_t bins);

/** The fewest bins, a multiple of `multiple`, whose binomial recall reaches the target. */
VINDEX_API vindex_status vindex_topk_least_bins(int64_t k, double recall, int64_t per_bin,
                                                int64_t multiple, int64_t *bins);

/** The (bins, per_bin <= 8) of least work for a target; *bins = 0 where every plan keeps the whole row. */
VINDEX_API vindex_status vindex_topk_plan_bins(int64_t n, int64_t k, double recall, int64_t *bins,
                                               int64_t *per_bin);

/**
 * k balls fall into `lanes` lanes; D is the fullest lane's count, the depth at which the notebook's
 * block top-k has all winners. P(D = m) to full relative precision however small, P(D <= m).
 * Time grows with k^2 log(lanes); NAN when out of memory (they allocate 10 k doubles).
 */
VINDEX_API double vindex_topk_depth_pmf(int64_t k, int64_t lanes, int64_t m);
VINDEX_API double vindex_topk_depth_cdf(int64_t k, int64_t lanes, int64_t m);

/** The default schedule: depths that stop a block of rows with chance .66, .95, .9999 (at most 3). */
VINDEX_API vindex_status vindex_topk_depth_schedule(int64_t k, int64_t lanes, int64_t rows_per_block,
                                                    uint32_t *depths, uint32_t *n_depths);

#ifdef __cplusplus
}
#endif

#endif
