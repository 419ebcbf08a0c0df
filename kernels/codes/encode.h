/*
 * encode.h - the inner loops of making codes of rows: slots that each instruction-set level fills. Private to
 * kernels/codes/.
 *
 * Every slot gives the same bytes at every level: sums run over PARTS partial sums in a fixed order, and nothing is
 * contracted. encode_body.h is the one body; codec.c, axes.c and p8.c say what codes are.
 */
#ifndef VKERN_CODES_ENCODE_H
#define VKERN_CODES_ENCODE_H

#include "kernels/codes.h"
#include "kernels/init.h"

enum { PARTS = 8 };

static inline double sum_of_parts(const double part[PARTS])
{
    double sum = 0;

    for (size_t j = 0; j < PARTS; j++)
        sum += part[j];
    return sum;
}

/* What rows of c4 are made with and what is summed over their axes, for the sixteen rows of a group. Codes of an axis
 * stand for code * step - low. */
struct ladder {
    float low, step, inverse; /* 1 / step */
};
struct c4_row_sums {
    float code[VKERN_GROUP], miss[VKERN_GROUP], kept[VKERN_GROUP]; /* |c|^2, |y - c|^2, |y|^2 */
};

/* Sixteen rows of p8 in the making, an entry each. */
struct p8_group {
    float most[VKERN_GROUP], rest[VKERN_GROUP], step[VKERN_GROUP], inverse[VKERN_GROUP];
    float miss[VKERN_GROUP];
    double kept[VKERN_GROUP];
    int32_t sum[VKERN_GROUP], squares[VKERN_GROUP];
};

struct vkern_encode {
    /** Sum of x_i^2. */
    double (*squares)(const float *x, size_t n);
    /** to = (x * unit - mean) * inverse; the sum of its squares. */
    double (*centre)(const float *x, const float *mean, size_t n, double unit, double inverse,
                     float *to);
    /** The range widened by n finite numbers. -0 is the whole number 0. */
    void (*look)(const float *x, size_t n, struct vkern_c8_range *range);
    /** z = (x * unit - mean) / scale; `part` gains the squares of x * unit - mean, `most` takes the largest |z|, of
     *  element i in entry i % PARTS of the one and anywhere in the other. */
    void (*standardise)(const float *x, const float *mean, const float *scale, size_t n,
                        double unit, double *z, double part[PARTS], double most[PARTS]);
    /** Codes 1..255 of z / step + 128 rounded, and the squares of what they miss of z gained by `error`, of element
     *  i in entry i % PARTS. */
    void (*round)(const double *z, size_t n, double step, uint8_t *codes, double error[PARTS]);
    /** Sums over n codes of the codes and of (code - zero)^2. Below 2^31: n <= VKERN_C8_DIM_MAX. */
    void (*sum_codes)(const uint8_t *codes, size_t n, int zero, int32_t *sum, int32_t *squares);
    /** Codes x + zero of whole numbers. */
    void (*take_whole)(const float *x, size_t n, int zero, uint8_t *codes);
    /** The m / 8 lines of a c4 group. y: [m, VKERN_TILE_ROWS], of which 16 columns are this group's; NaN becomes 0. */
    void (*c4_group)(const float *y, const struct ladder *ladders, size_t m,
                     struct c4_row_sums *sums, unsigned char *group);
    /** Largest |y| and sum of y^2 over p axes. y: as above. */
    void (*p8_look)(const float *y, size_t p, struct p8_group *group);
    /** Codes by step and inverse, NaN becomes 1: the p / 4 lines of the axes, and where rest is not NULL a line of its codes
     *  alone. Writes miss, sum and squares. */
    void (*p8_round)(const float *y, size_t p, const float *rest, struct p8_group *group,
                     unsigned char *lines);
};

extern const struct vkern_encode vkern_encode_ref;
#if VKERN_X86
extern const struct vkern_encode vkern_encode_avx2, vkern_encode_avx512;
#endif

#endif
