/*
 * train.c - moments of a sample, and the order of the steps of training; see train.h.
 */
#include "ingest/train.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/status.h"

/*
 * 4-bit codes cover +-2.7 deviations: for a normal law the mean square error is within 1 % of the least (at 2.5; Max, IRE Transactions on
 * Information Theory, 1960), and the tails of real rows are heavier (measured with the settings of 2.7 on photographs, digits and
 * texts).
 */
#define CLIP 2.7f

/* Rows the covariance is made of: its error falls with their root, its time with their number. */
#define COVARIANCE_ROWS 32768u

/* An element whose deviation is below this share of the root mean square one is scaled as if it had that: where it does vary, it would
 * otherwise take the whole range of its row's 8-bit codes. */
#define SCALE_LEAST (1.0 / 16)

/* Sums run along rows, all elements at once: a column at a time would miss the cache for each number. */
static vindex_status find_mean(const struct sample *sample, const struct asking *asking,
                               float *mean)
{
    size_t dim = sample->dim;
    double *sums = vindex__calloc(dim, sizeof *sums);
    vindex_status st = sums ? VINDEX_OK : vindex__nomem();
    for (size_t i = 0; i < sample->n && st == VINDEX_OK; i++) {
        const float *row = sample->rows + i * dim;
        for (size_t d = 0; d < dim; d++)
            sums[d] += (double)row[d];
        if (i % 1024 == 0) st = vindex__ask(asking);
    }
    for (size_t d = 0; d < dim && st == VINDEX_OK; d++)
        mean[d] = (float)(sums[d] / (double)sample->n);
    vindex__free(sums);
    return st;
}

/* The power of two that brings the largest |x - mean| into [1/2, 1); 1 where all are 0. */
static double find_factor(const struct sample *sample, const float *mean)
{
    double largest = 0;
    int exponent = 0;
    for (size_t i = 0; i < sample->n; i++) {
        const float *row = sample->rows + i * sample->dim;
        for (size_t d = 0; d < sample->dim; d++) {
            double size = fabs((double)row[d] - (double)mean[d]);
            if (size > largest) largest = size;
        }
    }
    frexp(largest, &exponent);
    return ldexp(1, -exponent);
}

/* Variances of the elements, in the centred rows' unit. Returns their sum. */
static double find_variances(const struct centred *centred, double *variances)
{
    const struct sample *sample = centred->sample;
    size_t dim = sample->dim;
    double sum = 0;
    for (size_t i = 0; i < sample->n; i++) {
        const float *row = sample->rows + i * dim;
        for (size_t d = 0; d < dim; d++) {
            double x = ((double)row[d] - (double)centred->mean[d]) * centred->factor;
            variances[d] += x * x;
        }
    }
    for (size_t d = 0; d < dim; d++) {
        variances[d] /= (double)sample->n;
        sum += variances[d];
    }
    return sum;
}

/* A deviation in the rows' own unit, as a positive normal f32. */
static float positive(double deviation)
{
    return deviation > (double)FLT_MAX   ? FLT_MAX
           : deviation > (double)FLT_MIN ? (float)deviation
                                         : FLT_MIN;
}

static void set_scales(const struct centred *centred, const double *variances, double total,
                       float *scale)
{
    size_t dim = centred->sample->dim;
    double typical = sqrt(total / (double)dim);
    for (size_t d = 0; d < dim; d++) {
        double deviation = sqrt(variances[d]);
        if (deviation < SCALE_LEAST * typical) deviation = SCALE_LEAST * typical;
        scale[d] = typical > 0 ? positive(deviation / centred->factor) : 1;
    }
}

/* How many axes there can be: no more than directions in the sample, eight at a time. */
static uint32_t axes_possible(const struct sample *sample, size_t n, double total)
{
    size_t most = sample->dim < VKERN_C4_AXES_MAX ? sample->dim : VKERN_C4_AXES_MAX;
    if (n < most + 1) most = n ? n - 1 : 0;
    if (sample->dim < TRAIN_AXES_DIM_MIN || sample->dim > TRAIN_AXES_DIM_MAX || !(total > 0))
        return 0;
    return (uint32_t)(most / 8 * 8);
}

/* Axes along which the rows do not differ carry nothing: rounding alone makes their variance. */
static uint32_t axes_that_count(const double *variances, uint32_t n)
{
    while (n && !(variances[n - 1] > 1e-10 * variances[0]))
        n -= 8;
    return n;
}

static void set_deviations(const struct centred *centred, const double *variances, uint32_t m,
                           double total, struct trained *trained)
{
    double kept = 0;
    for (uint32_t k = 0; k < m; k++) {
        trained->deviation[k] = positive(sqrt(variances[k]) / centred->factor);
        kept += variances[k];
    }
    trained->energy = total > 0 ? (float)(kept < total ? kept / total : 1) : 0;
}

/* A matrix whose norm is not close to 1 is none of axes: never seen, and FORMAT.md has no room for it. */
static void keep_lead(const struct sample *sample, const struct lead_choice *lead,
                      struct trained *trained)
{
    float norm = lead->p ? vkern_axes_norm(trained->axes, lead->p, sample->dim) : 2;
    if (!(norm < 2)) return;
    trained->p = lead->p;
    trained->axes_norm = norm;
    trained->p8_share = lead->share;
}

/* The n leading axes and how many of them to keep. */
static vindex_status try_axes(const struct centred *centred, uint32_t n, double total,
                              const struct asking *asking, struct trained *trained)
{
    uint32_t m = 0;
    struct lead_choice lead = {0, 0};
    double *variances = vindex__calloc(n, sizeof *variances);
    trained->axes = vindex__alloc_aligned(n, centred->sample->dim * sizeof *trained->axes);
    trained->deviation = vindex__alloc_aligned(n, sizeof *trained->deviation);
    vindex_status st =
        variances && trained->axes && trained->deviation ? VINDEX_OK : vindex__nomem();
    if (st == VINDEX_OK) st = vindex__axes(centred, n, asking, trained->axes, variances);
    if (st != VINDEX_OK) goto out;
    n = axes_that_count(variances, n);
    set_deviations(centred, variances, n, total, trained);
    st = vindex__choose_axes(centred->sample, centred, trained, n, asking, &m, &lead);
    trained->m = m;
    set_deviations(centred, variances, m, total, trained);
    keep_lead(centred->sample, &lead, trained);
out:
    vindex__free(variances);
    return st;
}

/* Axes are dear where there are many elements: all that there can be are looked for only if the first do not do. */
#define FIRST_AXES 256u

static vindex_status find_axes(const struct centred *centred, double total,
                               const struct asking *asking, struct trained *trained)
{
    uint32_t most = axes_possible(centred->sample, centred->n, total), n = most;
    if (n == 0) return VINDEX_OK;
    if (centred->sample->dim > AXES_DENSE_DIM_MAX && n > FIRST_AXES) n = FIRST_AXES;
    vindex_status st = try_axes(centred, n, total, asking, trained);
    if (st != VINDEX_OK || n == most || (trained->m != 0 && trained->m < n)) return st;
    vindex__free_aligned(trained->axes);
    vindex__free_aligned(trained->deviation);
    return try_axes(centred, most, total, asking, trained);
}

vindex_status vindex__train(const struct sample *sample, const struct asking *asking,
                            struct trained *trained)
{
    struct centred centred = {.sample = sample};
    double *variances = vindex__calloc(sample->dim, sizeof *variances);
    memset(trained, 0, sizeof *trained);
    *trained = (struct trained){.dim = sample->dim, .clip = CLIP, .n_rows = sample->n_rows};
    trained->mean = vindex__alloc_aligned(sample->dim, sizeof *trained->mean);
    trained->scale = vindex__alloc_aligned(sample->dim, sizeof *trained->scale);
    vindex_status st = variances && trained->mean && trained->scale ? VINDEX_OK : vindex__nomem();
    if (st == VINDEX_OK) st = find_mean(sample, asking, trained->mean);
    if (st == VINDEX_OK) {
        centred.mean = trained->mean;
        centred.factor = find_factor(sample, trained->mean);
        centred.step = (sample->n + COVARIANCE_ROWS - 1) / COVARIANCE_ROWS;
        centred.n = sample->n / centred.step;
        double total = find_variances(&centred, variances);
        set_scales(&centred, variances, total, trained->scale);
        st = find_axes(&centred, total, asking, trained);
    }
    vindex__free(variances);
    if (st != VINDEX_OK) vindex__trained_free(trained);
    return st;
}

void vindex__trained_free(struct trained *trained)
{
    vindex__free_aligned(trained->mean);
    vindex__free_aligned(trained->scale);
    vindex__free_aligned(trained->axes);
    vindex__free_aligned(trained->deviation);
    memset(trained, 0, sizeof *trained);
}

struct vkern_model vindex__trained_model(const struct trained *trained, uint32_t metric, uint32_t m)
{
    return (struct vkern_model){.dim = trained->dim,
                                .m = m,
                                .metric = metric,
                                .mean = trained->mean,
                                .scale = trained->scale,
                                .axes = trained->axes,
                                .deviation = trained->deviation,
                                .clip = trained->clip};
}
