/*
 * codes_set.h - what the tests of the makers of codes share: rows of many kinds and the model they
 * are encoded by, exact scores, and where a c8 group holds what. Used by test_codes_codec.c and
 * test_codes_p8.c.
 */
#ifndef CODES_SET_H
#define CODES_SET_H

#include <float.h>
#include <math.h>

#include "kernel_test.h"
#include "kernels/codes.h"

/* ---- models and rows ------------------------------------------------------------------------- */

enum kind {
    GAUSSIAN,
    OFFSET,       /* a mean far from zero: differences cancel */
    BYTES,        /* whole numbers 0..255 */
    SIGNED_BYTES, /* -128..127 */
    MIXED_BYTES,  /* -128..255: whole, but of no 8-bit type */
    TINY_ROWS,
    HUGE_ROWS,
    OUTLIER, /* one element a million times the rest */
    ZERO_ROWS,
    EQUAL_ROWS,
    N_KINDS
};
static const char *const kind_names[] = {"gaussian",    "offset",    "bytes", "signed bytes",
                                         "mixed bytes", "tiny",      "huge",  "outlier",
                                         "zero rows",   "equal rows"};

static inline double normal(void)
{
    return (double)draw(NORMAL, 0);
}

static inline float element_of_kind(enum kind kind, size_t i)
{
    switch (kind) {
    case OFFSET: return (float)(1e4 + normal());
    case BYTES: return (float)(random_u64() % 256);
    case SIGNED_BYTES: return (float)((int)(random_u64() % 256) - 128);
    case MIXED_BYTES: return (float)((int)(random_u64() % 384) - 128);
    case TINY_ROWS: return (float)(1e-30 * normal());
    case HUGE_ROWS: return (float)(1e15 * normal());
    case OUTLIER: return (float)(i == 0 ? 1e6 * normal() : normal());
    case ZERO_ROWS: return 0;
    default: return (float)normal();
    }
}

struct set {
    struct vkern_model model;
    float *rows, *mean, *scale, *axes, *deviation;
    size_t n;
};

static inline float *floats(size_t n)
{
    float *f = aligned_alloc(64, (4 * n + 127) / 64 * 64);

    assert_non_null(f);
    return f;
}

/* The third of rows is zero where `kind` may hold it: cosine has nothing to divide by. */
static inline void fill_rows(struct set *set, enum kind kind)
{
    const size_t dim = set->model.dim;

    for (size_t i = 0; i < set->n * dim; i++)
        set->rows[i] =
            kind == EQUAL_ROWS && i >= dim ? set->rows[i - dim] : element_of_kind(kind, i % dim);
    if (set->n > 2 && kind != OFFSET && kind != EQUAL_ROWS) memset(set->rows + 2 * dim, 0, 4 * dim);
}

static inline long double norm_of(const float *x, size_t dim)
{
    long double sum = 0;

    for (size_t i = 0; i < dim; i++)
        sum += (long double)x[i] * x[i];
    return sqrtl(sum);
}

static inline void fit_model(struct set *set)
{
    const size_t dim = set->model.dim;

    memset(set->mean, 0, 4 * dim);
    memset(set->scale, 0, 4 * dim);
    for (size_t r = 0; r < set->n; r++) {
        const float *x = set->rows + r * dim;
        const long double norm = set->model.metric == VKERN_COSINE ? norm_of(x, dim) : 1;
        for (size_t i = 0; i < dim && norm > 0; i++) {
            set->mean[i] += (float)(x[i] / norm / set->n);
            set->scale[i] = fmaxf(set->scale[i], (float)fabsl(x[i] / norm));
        }
    }
    for (size_t i = 0; i < dim; i++)
        set->scale[i] = set->scale[i] > 0 ? set->scale[i] * (float)(0.5 + random_unit()) : 1;
}

static inline struct set set_open(enum kind kind, enum vkern_metric metric, size_t n, size_t dim)
{
    struct set set = {.model = {.dim = (uint32_t)dim, .metric = metric, .clip = 2.7f}, .n = n};

    set.rows = floats(n * dim);
    set.mean = floats(dim);
    set.scale = floats(dim);
    fill_rows(&set, kind);
    fit_model(&set);
    set.model.mean = set.mean;
    set.model.scale = set.scale;
    return set;
}

static inline void set_close(struct set *set)
{
    free(set->rows);
    free(set->mean);
    free(set->scale);
    free(set->axes);
    free(set->deviation);
}

/* |q - x|^2, -q.x, or -q.x / |x| (0 for a zero row). */
static inline long double exact_score(const struct vkern_model *model, const float *q,
                                      const float *x)
{
    const long double norm = norm_of(x, model->dim);
    long double l2 = 0, dot = 0;

    for (size_t i = 0; i < model->dim; i++) {
        l2 += ((long double)q[i] - x[i]) * ((long double)q[i] - x[i]);
        dot += (long double)q[i] * x[i];
    }
    if (model->metric == VKERN_L2) return l2;
    if (model->metric == VKERN_IP) return -dot;
    return norm > 0 ? -dot / norm : 0;
}

struct c8_group {
    unsigned char *at;
    size_t lines;
};

static inline uint8_t code_at(struct c8_group g, size_t r, size_t i)
{
    return g.at[64 * (i / 4) + 4 * r + i % 4];
}

static inline float factor_at(struct c8_group g, size_t which, size_t r)
{
    float f;

    memcpy(&f, g.at + 64 * (g.lines + which) + 4 * r, 4);
    return f;
}

static inline int32_t sum_at(struct c8_group g, size_t r)
{
    int32_t sum;

    memcpy(&sum, g.at + 64 * (g.lines + 2) + 4 * r, 4);
    return sum;
}

/* Queries of the rows' law, a row itself, whole bytes, zero, and one far away. */
static inline void make_query(const struct set *set, enum kind kind, size_t which, float *query)
{
    const size_t dim = set->model.dim;

    for (size_t i = 0; i < dim; i++)
        switch (which) {
        case 0: query[i] = element_of_kind(kind, i); break;
        case 1: query[i] = set->rows[(set->n - 1) * dim + i]; break;
        case 2: query[i] = (float)(random_u64() % 256); break;
        case 3: query[i] = (float)((int)(random_u64() % 256) - 128); break;
        case 4: query[i] = 0; break;
        default: query[i] = (float)(1e5 * normal()); break;
        }
}

/* Orthonormal axes: a Householder reflection of the first m unit vectors, so none is trivial. */
static inline void make_axes(struct set *set, size_t m)
{
    const size_t dim = set->model.dim;
    double *v = malloc(8 * dim), norm = 0;

    set->axes = floats(m * dim);
    set->deviation = floats(m);
    for (size_t i = 0; i < dim; i++)
        v[i] = normal(), norm += v[i] * v[i];
    for (size_t k = 0; k < m; k++)
        for (size_t i = 0; i < dim; i++)
            set->axes[k * dim + i] = (float)((i == k) - 2 * v[k] * v[i] / norm);
    set->model.axes = set->axes;
    set->model.deviation = set->deviation;
    set->model.m = (uint32_t)m;
    free(v);
}

/* The row as codec.c centres it, in long double. */
static inline void centred_row(const struct set *set, const float *x, long double *to)
{
    const long double norm = norm_of(x, set->model.dim);

    for (size_t i = 0; i < set->model.dim; i++) {
        long double value = x[i];
        if (set->model.metric == VKERN_COSINE) value = norm > 0 ? value / norm : 0;
        to[i] = value - set->mean[i];
    }
}

static inline long double along(const struct set *set, const long double *x, size_t k)
{
    long double sum = 0;

    for (size_t i = 0; i < set->model.dim; i++)
        sum += set->axes[k * set->model.dim + i] * x[i];
    return sum;
}

static inline void fit_deviations(struct set *set)
{
    long double *x = malloc(sizeof *x * set->model.dim);

    for (size_t k = 0; k < set->model.m; k++) {
        long double squares = 0;
        for (size_t r = 0; r < set->n; r++) {
            centred_row(set, set->rows + r * set->model.dim, x);
            squares += along(set, x, k) * along(set, x, k) / set->n;
        }
        set->deviation[k] = squares > 0 ? (float)sqrtl(squares) : 1e-30f;
    }
    free(x);
}

#endif
