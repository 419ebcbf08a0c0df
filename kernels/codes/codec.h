/*
 * codec.h - arithmetic that the makers of codes share. Private to kernels/codes/.
 *
 * Everything a band rests on is computed in double from f32 that are exact, so what remains of
 * rounding is `slack`. Sums run over eight partial sums in a fixed order, so compilers may use
 * vectors and the bytes stay the same everywhere.
 */
#ifndef VKERN_CODES_CODEC_H
#define VKERN_CODES_CODEC_H

#include <math.h>
#include <string.h>

#include "kernels/codes/encode.h"
#include "kernels/codes/internal.h"

/* More than the relative error in double of a sum over dim elements, their root and a few more. */
static inline double slack(size_t dim)
{
    return ((double)dim + 16) * 0x1p-53;
}

static inline double most_of_parts(const double part[PARTS])
{
    double most = part[0];

    for (size_t j = 1; j < PARTS; j++)
        most = part[j] > most ? part[j] : most;
    return most;
}

static inline double dot_of(const float *a, const float *b, size_t dim)
{
    double part[PARTS] = {0};
    size_t i = 0;

    for (; i + PARTS <= dim; i += PARTS)
        for (size_t j = 0; j < PARTS; j++)
            part[j] += (double)a[i + j] * b[i + j];
    for (size_t j = 0; i < dim; i++, j++)
        part[j] += (double)a[i] * b[i];
    return sum_of_parts(part);
}

/* What a vector is multiplied by before anything else: 1, or 1 / |x| under cosine (zero stays
 * zero). */
static inline double unit_factor(const struct vkern_encode *encode, const struct vkern_model *model,
                                 const float *x)
{
    if (model->metric != VKERN_COSINE) return 1;

    const double squares = encode->squares(x, model->dim);
    return squares > 0 ? 1 / sqrt(squares) : 0;
}

/* The least f32 not below x >= -FLT_MAX; INFINITY beyond FLT_MAX. */
static inline float round_up(double x)
{
    float f = (float)x;

    return (double)f < x ? nextafterf(f, INFINITY) : f;
}

/* Rows past n of a last group become zero bytes in each of its lines. */
static inline void clear_rows(size_t n, size_t lines, unsigned char *group)
{
    for (size_t line = 0; line < lines; line++)
        memset(group + 64 * line + 4 * n, 0, 4 * (VKERN_GROUP - n));
}

/* ---- the unit of projections ------------------------------------------------------------------- */

/*
 * Rows are projected in units of a power of two near the largest deviation, so that rows of any size
 * keep inside f32: numbers are multiplied by this first.
 */
static inline double inverse_unit(const struct vkern_model *model)
{
    float most = 0;
    int exponent;

    for (size_t k = 0; k < vkern_n_axes(model); k++)
        most = model->deviation[k] > most ? model->deviation[k] : most;
    frexp(most, &exponent);
    return ldexp(1, -exponent);
}

#endif
