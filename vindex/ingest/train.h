/*
 * train.h - learn what codes are relative to (kernels/codes.h, struct vkern_model) from a sample of rows: mean, scale of
 * each element, leading principal axes in energy order, the rows' deviations along them, and how many of these
 * axes a scan should read. Pure: a sample in, arrays out; the same sample gives the same arrays on one machine.
 *
 *     sample -> mean, scale            moments (train.c)
 *            -> axes, deviations       eigenvectors of the covariance (axes.c)
 *            -> m                      recall of the sample's own rows as queries (choose.c)
 */
#ifndef VINDEX_INGEST_TRAIN_H
#define VINDEX_INGEST_TRAIN_H

#include "kernels/codes.h"
#include "vindex.h"

struct config;
struct session;

/** Asked every few milliseconds of long work; != 0: give up with VINDEX_CANCELLED. ask may be NULL. */
struct asking {
    int (*ask)(void *context);
    void *context;
};
vindex_status vindex__ask(const struct asking *asking);

struct sample {
    uint32_t dim, metric; /* vkern_metric; under cosine the rows are unit vectors (or zero) */
    size_t n;
    float *rows;      /* [n, dim], finite */
    uint64_t n_rows;  /* of the index: the sample stands for them */
    size_t row_bytes; /* of a row as stored: what a rerank reads */
    bool has_c8;      /* a plane of 8-bit codes will be there as well */
    float recall;     /* the index's default target */
};

/** A sample of the committed rows, through a view of the session; n 0 where there are none. */
vindex_status vindex__sample_rows(struct session *session, const struct config *config,
                                  const struct asking *asking, struct sample *sample);
void vindex__sample_free(struct sample *sample);

struct trained {
    uint32_t dim;
    uint32_t m, p; /* axes of planes c4 and p8; 0: such codes do not pay */
    float axes_norm; /* vkern_axes_norm of the p; 0 where p is 0, as the next */
    float p8_share;  /* of the rows that these leave in for the ten nearest, by estimate */
    float clip;
    float energy;            /* share of the variance along the first m axes */
    float *mean, *scale;     /* [dim] */
    float *axes, *deviation; /* [max(m, p), dim], [max(m, p)]; vindex__trained_free */
    uint64_t n_rows;
};

/** More elements than this are not looked at: a sample that fits in memory is then too small to choose axes by. */
#define TRAIN_AXES_DIM_MAX 8192u
#define TRAIN_AXES_DIM_MIN 16u

/** @return VINDEX_OK, NOMEM, CANCELLED. trained is empty on failure. sample->n >= 1. */
vindex_status vindex__train(const struct sample *sample, const struct asking *asking,
                            struct trained *trained);
void vindex__trained_free(struct trained *trained);
/** The model of the first m axes, borrowed. */
struct vkern_model vindex__trained_model(const struct trained *trained, uint32_t metric,
                                         uint32_t m);

/* ---- axes.c ------------------------------------------------------------------------------------ */

/** Up to here the covariance matrix is decomposed whole; beyond, time grows with the axes asked for. */
#define AXES_DENSE_DIM_MAX 1024u

/**
 * Rows of a sample less their mean, times a power of two that brings the largest element into [1/2, 1): no square overflows
 * or vanishes, whatever the unit of the data. Row i is row i * step of the sample.
 */
struct centred {
    const struct sample *sample;
    const float *mean;
    double factor;
    size_t n, step;
};
/** Rows first .. first + n - 1. */
void vindex__centred_rows(const struct centred *centred, size_t first, size_t n, float *out);

/**
 * The n_axes leading principal axes of centred rows, orthonormal, in energy order, and the variances along them.
 * axes: [n_axes, dim]; variances: [n_axes], of the centred rows as above.
 */
vindex_status vindex__axes(const struct centred *centred, size_t n_axes,
                           const struct asking *asking, float *axes, double *variances);

/**
 * Eigenvalues (descending) of a symmetric matrix [n, n] and, as the rows of vectors [n, n], their unit eigenvectors. a is
 * destroyed.
 */
vindex_status vindex__eigen_symmetric(double *a, size_t n, const struct asking *asking,
                                      double *values, double *vectors);

/* ---- choose.c ------------------------------------------------------------------------------------ */

struct lead_choice {
    uint32_t p;
    float share; /* p8_share above */
};
/** How many of the n_axes axes that trained holds planes c4 and p8 should have: see the files. 0: none. */
vindex_status vindex__choose_axes(const struct sample *sample, const struct centred *centred,
                                  const struct trained *trained, uint32_t n_axes,
                                  const struct asking *asking, uint32_t *m, struct lead_choice *lead);

#endif
