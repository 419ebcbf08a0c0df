/*
 * p8.h - rows as 8-bit codes along the leading axes, from projections that axes.c makes. Private to
 * kernels/codes/.
 */
#ifndef VKERN_CODES_P8_H
#define VKERN_CODES_P8_H

#include "kernels/codes/codec.h"

/* Groups in the making, and what is known of all rows so far: in the unit of projections. */
struct p8_rows {
    const struct vkern_model *model;
    const struct vkern_encode *encode;
    double unit;                     /* of projections */
    double drift_rel, drift_abs;     /* a projection of v is within drift_rel |v| + drift_abs */
    double error, size, bias, drift; /* the largest */
    bool is_finite;
};

void vkern__p8_begin(struct p8_rows *rows, const struct vkern_model *model,
                     const vkern_table *table);
/** n <= 16 rows as a group. y: [p, VKERN_TILE_ROWS], 16 columns of it; energy: |v|^2. */
void vkern__p8_put(struct p8_rows *rows, const float *y, const double *energy, size_t n,
                   unsigned char *group);
/** false: a fact leaves f32. */
bool vkern__p8_facts(const struct p8_rows *rows, struct vkern_p8_facts *facts);

#endif
