/*
 * axes.c - rows and queries as 4-bit codes along principal axes (plane c4), and the projection of rows that plane
 * p8 is made from too (p8.c). What codes stand for is said in kernels/codes.h.
 *
 * Scores of c4 are for comparison alone: they are in units of the square of the power of two that projections are
 * in.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/codes/p8.h"

/* ---- rows as 4-bit codes ------------------------------------------------------------------------ */

/* Axes of next to no deviation get a step above zero. */
static struct ladder ladder_of(const struct vkern_model *model, double inverse, size_t k)
{
    const double deviation = model->deviation[k] * inverse;
    const double low = model->clip * (deviation > 0x1p-60 ? deviation : 0x1p-60);
    const float step = (float)(2 * low / 15);

    return (struct ladder){(float)low, step, 1 / step};
}

/* Half of |c|^2 - |y - c|^2 + what lies outside the axes; kept finite. */
static float factor_of(const struct c4_row_sums *sums, size_t r, double energy)
{
    const double limit = FLT_MAX / 4;
    const double outside = energy > sums->kept[r] ? energy - sums->kept[r] : 0;
    const double factor = ((double)sums->code[r] - sums->miss[r] + outside) / 2;

    return (float)(factor > -limit ? factor < limit ? factor : limit : -limit);
}

/* ---- rows: c4 and p8 from one projection ------------------------------------------------------- */

struct scratch {
    float *panel, *y, *bias, *rows;
};

static struct scratch divide_scratch(const struct vkern_model *model, float *scratch)
{
    struct scratch s;

    s.panel = scratch;
    s.y = s.panel + vkern_panel_floats(model->dim);
    s.bias = s.y + vkern_n_axes(model) * VKERN_TILE_ROWS;
    s.rows = s.bias + VKERN_TILE_ROWS;
    return s;
}

size_t vkern_c4_scratch(const struct vkern_model *model)
{
    return vkern_panel_floats(model->dim) +
           VKERN_TILE_ROWS * (vkern_n_axes(model) + 1 + model->dim);
}

/* What rows are made into, a tile of them at a time. */
struct encoding {
    const struct vkern_model *model;
    const struct vkern_tile *tile;
    const struct vkern_encode *encode;
    struct scratch scratch;
    struct ladder ladders[VKERN_C4_AXES_MAX];
    double inverse;
    unsigned char *c4, *p8; /* NULL: not asked for */
    struct p8_rows p8_rows;
};

/* Project at most VKERN_TILE_ROWS rows; energy: of x - mean, in the unit of projections. */
static void project(const struct encoding *e, const float *rows, size_t n, double *energy)
{
    const struct vkern_model *model = e->model;
    const struct scratch *s = &e->scratch;
    const size_t dim = model->dim;

    for (size_t r = 0; r < n; r++)
        energy[r] = e->encode->centre(rows + r * dim, model->mean, dim,
                                      unit_factor(e->encode, model, rows + r * dim), e->inverse,
                                      s->rows + r * dim);
    e->tile->pack(VKERN_F32, s->rows, 4 * dim, n, dim, NULL, s->panel);
    e->tile->multiply(model->axes, vkern_n_axes(model), s->panel, s->bias, n, dim, s->y,
                      VKERN_TILE_ROWS);
}

static void put_c4(struct encoding *e, const float *y, const double *energy, size_t n)
{
    const struct vkern_model *model = e->model;
    float factors[VKERN_GROUP] = {0};
    struct c4_row_sums sums;

    e->encode->c4_group(y, e->ladders, model->m, &sums, e->c4);
    for (size_t i = 0; i < n && model->metric != VKERN_IP; i++)
        factors[i] = factor_of(&sums, i, energy[i]);
    memcpy(e->c4 + 8 * (size_t)model->m, factors, sizeof factors);
    if (n < VKERN_GROUP) clear_rows(n, model->m / 8 + 1, e->c4);
    e->c4 += vkern_c4_group_bytes(model->m);
}

static void encode_tile(struct encoding *e, const float *rows, size_t n)
{
    double energy[VKERN_TILE_ROWS] = {0};

    project(e, rows, n, energy);
    for (size_t r = 0; r < n; r += VKERN_GROUP) {
        const size_t here = n - r < VKERN_GROUP ? n - r : VKERN_GROUP;
        if (e->c4) put_c4(e, e->scratch.y + r, energy + r, here);
        if (!e->p8) continue;
        vkern__p8_put(&e->p8_rows, e->scratch.y + r, energy + r, here, e->p8);
        e->p8 += vkern_c8_group_bytes(vkern_p8_dim(e->model));
    }
}

bool vkern_axes_encode(const vkern_table *table, const struct vkern_model *model, const float *rows,
                       size_t n, float *scratch, void *c4, void *p8, struct vkern_p8_facts *facts)
{
    struct encoding e = {.model = model,
                         .tile = table->tile,
                         .encode = table->codes->encode,
                         .scratch = divide_scratch(model, scratch),
                         .inverse = inverse_unit(model),
                         .c4 = c4,
                         .p8 = p8};

    for (size_t k = 0; k < model->m && c4; k++)
        e.ladders[k] = ladder_of(model, e.inverse, k);
    if (p8) vkern__p8_begin(&e.p8_rows, model, table);
    /* lanes past the last row take part in the arithmetic: let them be numbers */
    memset(e.scratch.y, 0, sizeof(float) * vkern_n_axes(model) * VKERN_TILE_ROWS);
    memset(e.scratch.bias, 0, sizeof(float) * VKERN_TILE_ROWS);
    for (size_t r = 0; r < n; r += VKERN_TILE_ROWS)
        encode_tile(&e, rows + r * model->dim, n - r < VKERN_TILE_ROWS ? n - r : VKERN_TILE_ROWS);
    return !p8 || vkern__p8_facts(&e.p8_rows, facts);
}

void vkern_c4_encode(const vkern_table *table, const struct vkern_model *model, const float *rows,
                     size_t n, float *scratch, void *groups)
{
    (void)vkern_axes_encode(table, model, rows, n, scratch, groups, NULL, NULL);
}

/* ---- queries of c4 ------------------------------------------------------------------------------ */

/* Weights of [m] numbers: nearest multiples of scale, the largest 127; all zero where scale is. */
static void round_weights(const float *along, size_t m, float scale, int8_t *weights)
{
    const float inverse = scale > 0 ? 1 / scale : 0;

    for (size_t k = 0; k < m; k++) {
        float weight = along[k] * inverse;
        weight = weight > -127 ? weight : -127;
        weight = weight < 127 ? weight : 127;
        weights[k] = (int8_t)(int)(weight + (weight < 0 ? -0.5f : 0.5f));
    }
}

void vkern_c4_query_make(const vkern_table *table, const struct vkern_model *model,
                         const float *query, float *scratch, int8_t *weights, float *weight_scale)
{
    const struct vkern_encode *encode = table->codes->encode;
    const double inverse = inverse_unit(model), unit = unit_factor(encode, model, query);
    const size_t m = model->m, dim = model->dim;
    float *along = scratch, *centred = scratch + m, most = 0, scale;

    if (model->metric == VKERN_IP)
        for (size_t i = 0; i < dim; i++)
            centred[i] = (float)(query[i] * inverse);
    else
        encode->centre(query, model->mean, dim, unit, inverse, centred);
    table->ndot[VKERN_F32](centred, model->axes, 4 * dim, m, dim, along);
    for (size_t k = 0; k < m; k++) { /* in units of a code step */
        along[k] *= -ladder_of(model, inverse, k).step;
        most = fabsf(along[k]) > most ? fabsf(along[k]) : most;
    }
    scale = most / 127;
    if (unit == 0 || !(scale >= FLT_MIN && scale <= FLT_MAX)) {
        memset(along, 0, sizeof *along * m);
        scale = 0;
    }
    round_weights(along, m, scale, weights);
    *weight_scale = scale;
}
