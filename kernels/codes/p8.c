/*
 * p8.c - rows and queries as 8-bit codes along the first p principal axes, and the cut: the score above which a row is
 * provably worse than a given one. What codes stand for is said in kernels/codes.h, why the cut holds in README.md.
 */
#include "kernels/codes/p8.h"

#include <assert.h>
#include <float.h>
#include <string.h>

#define U 0x1p-24

static double largest(double a, double b)
{
    return a > b ? a : b;
}

static bool has_rest(const struct vkern_model *model)
{
    return model->metric == VKERN_IP;
}

/* ---- axes ------------------------------------------------------------------------------------- */

/* Gershgorin: no eigenvalue of A A' is larger than the largest sum of magnitudes in a row of it. */
float vkern_axes_norm(const float *axes, size_t p, size_t dim)
{
    double sums[VKERN_C4_AXES_MAX] = {0}, most = 1;

    assert(p <= VKERN_C4_AXES_MAX);
    for (size_t i = 0; i < p; i++) {
        for (size_t j = i; j < p; j++) {
            const double size = fabs(dot_of(axes + i * dim, axes + j * dim, dim));
            sums[i] += size;
            if (j > i) sums[j] += size;
        }
        most = largest(most, sums[i]);
    }
    return round_up(sqrt(most) * (1 + (double)(p + 1) * slack(dim)));
}

/*
 * How far a projection in f32 is from A v, v = x - mean: products within gamma of a row of A and v,
 * and what rounding v to f32 does to them; under cosine the double arithmetic of x / |x| too, which
 * |x / |x|| = 1 bounds. What f32 cannot hold is within the second number.
 */
static void find_drift(const struct vkern_model *model, double gamma, double unit, double *rel,
                       double *abs)
{
    const double norm = model->axes_norm, roots = sqrt((double)model->p), dim = model->dim;

    *rel = norm * (roots * (gamma + U) * (1 + 2 * U) + 2 * U);
    *abs = (roots * (dim + 2) + dim * norm) * (double)FLT_MIN;
    if (model->metric == VKERN_COSINE) *abs += 2 * norm * slack(model->dim) / unit;
}

/* |v|^2 - |A v|^2 / norm^2, at least, as a length (README.md): what lies outside the axes. energy: |v|^2, kept: |A v|^2
 * but for the drift. */
static float rest_of(const struct vkern_model *model, double energy, double kept, double drift)
{
    const double unsure = slack(model->dim);
    const double least = largest(sqrt(kept) * (1 - unsure) - drift, 0) / model->axes_norm;
    const double rest = energy * (1 + unsure) - least * least * (1 - unsure);

    return rest > 0 ? round_up(sqrt(rest) * (1 + unsure)) : 0;
}

/* ---- rows -------------------------------------------------------------------------------------- */

void vkern__p8_begin(struct p8_rows *rows, const struct vkern_model *model,
                     const vkern_table *table)
{
    *rows = (struct p8_rows){.model = model,
                             .encode = table->codes->encode,
                             .unit = 1 / inverse_unit(model),
                             .is_finite = true};
    find_drift(model, table->tile->gamma(model->dim), rows->unit, &rows->drift_rel,
               &rows->drift_abs);
}

static void find_rest(const struct p8_rows *rows, const double *energy, const double *drift,
                      struct p8_group *g)
{
    for (size_t r = 0; r < VKERN_GROUP; r++) {
        g->rest[r] = rest_of(rows->model, energy[r], g->kept[r], drift[r]);
        g->most[r] = g->rest[r] > g->most[r] ? g->rest[r] : g->most[r];
    }
}

/* Factors of the group's n rows, and what is known of them joined to the rest. */
static void put_factors(struct p8_rows *rows, const struct p8_group *g, size_t n, float *bias,
                        float *scale)
{
    const double d = (double)vkern_p8_dim(rows->model);
    /* Squares of what rows next to the mean miss underflow: no sum of d of them loses more. */
    const double lost = d * 0x1p-148;

    for (size_t r = 0; r < n; r++) {
        const double size = (double)g->step[r] * sqrt((double)g->squares[r]) * (1 + 0x1p-50);
        const double miss = sqrt(g->miss[r] + lost) * (1 + (d + 8) * U) + 2 * U * size;
        scale[r] = (float)(g->step[r] * rows->unit);
        bias[r] = has_rest(rows->model) ? 0 : (float)(g->kept[r] * rows->unit * rows->unit);
        rows->is_finite &= g->kept[r] <= DBL_MAX;
        rows->error = largest(rows->error, miss);
        rows->size = largest(rows->size, size);
        rows->bias = largest(rows->bias, bias[r]);
    }
}

void vkern__p8_put(struct p8_rows *rows, const float *y, const double *energy, size_t n,
                   unsigned char *group)
{
    const struct vkern_model *model = rows->model;
    const size_t lines = c8_lines(vkern_p8_dim(model));
    float bias[VKERN_GROUP] = {0}, scale[VKERN_GROUP] = {0};
    double drift[VKERN_GROUP];
    struct p8_group g;

    rows->encode->p8_look(y, model->p, &g);
    for (size_t r = 0; r < VKERN_GROUP; r++) {
        drift[r] = r < n ? rows->drift_rel * sqrt(energy[r]) + rows->drift_abs : 0;
        rows->drift = largest(rows->drift, drift[r]);
    }
    if (has_rest(model)) find_rest(rows, energy, drift, &g);
    for (size_t r = 0; r < VKERN_GROUP; r++) {
        g.step[r] = g.most[r] / 127;
        g.inverse[r] = g.step[r] > 0 ? 1 / g.step[r] : 0;
    }
    rows->encode->p8_round(y, model->p, has_rest(model) ? g.rest : NULL, &g, group);
    put_factors(rows, &g, n, bias, scale);
    memcpy(group + 64 * lines, bias, sizeof bias);
    memcpy(group + 64 * lines + 64, scale, sizeof scale);
    memcpy(group + 64 * lines + 128, g.sum, sizeof g.sum);
    if (n < VKERN_GROUP) clear_rows(n, lines + 3, group);
}

bool vkern__p8_facts(const struct p8_rows *rows, struct vkern_p8_facts *facts)
{
    /* A step that f32 does not hold in the rows' own unit misses no more than this. */
    const double lost = (double)vkern_p8_dim(rows->model) * 0x1p-140;

    *facts = (struct vkern_p8_facts){
        .codes = {.error = round_up(rows->error * rows->unit * (1 + 0x1p-40) + lost),
                  .size = round_up(rows->size * rows->unit * (1 + 0x1p-40) + lost),
                  .bias_max = (float)rows->bias},
        .drift = round_up(rows->drift * rows->unit * (1 + 0x1p-40))};
    return rows->is_finite && facts->codes.error <= FLT_MAX && facts->codes.size <= FLT_MAX &&
           facts->codes.bias_max <= FLT_MAX && facts->drift <= FLT_MAX;
}

static float larger(float a, float b)
{
    return a > b ? a : b;
}

void vkern_p8_join(struct vkern_p8_facts *facts, const struct vkern_p8_facts *other)
{
    facts->codes.error = larger(facts->codes.error, other->codes.error);
    facts->codes.size = larger(facts->codes.size, other->codes.size);
    facts->codes.bias_max = larger(facts->codes.bias_max, other->codes.bias_max);
    facts->drift = larger(facts->drift, other->drift);
}

/* ---- queries ------------------------------------------------------------------------------------ */

/* What c8's query and band are told: the metric's form over d elements. */
static struct vkern_model form_of(const struct vkern_model *model)
{
    return (struct vkern_model){.dim = (uint32_t)vkern_p8_dim(model),
                                .metric = has_rest(model) ? VKERN_IP : VKERN_L2};
}

/* v in the unit of projections, as f32; returns |v|^2. */
static double centre_query(const struct vkern_encode *encode, const struct vkern_model *model,
                           const float *query, double inverse, float *centred)
{
    if (!has_rest(model))
        return encode->centre(query, model->mean, model->dim, unit_factor(encode, model, query),
                              inverse, centred);
    for (size_t i = 0; i < model->dim; i++)
        centred[i] = (float)(query[i] * inverse);
    return encode->squares(query, model->dim) * inverse * inverse;
}

/* Codes of the projection, which is `along` times the unit. */
static void round_query(const struct vkern_model *form, const float *along, double unit,
                        int8_t *codes, struct vkern_c8_side *side)
{
    const double factor = form->metric == VKERN_L2 ? 2 : 1, unsure = slack(form->dim);
    double most = 0, squares = 0, error = 0;
    int32_t sum = 0;

    for (size_t i = 0; i < form->dim; i++) {
        most = largest(most, fabs((double)along[i] * unit));
        squares += (double)along[i] * along[i] * unit * unit;
    }
    const double weight = factor * most / 127;
    *side = (struct vkern_c8_side){
        .query = {.codes = codes, .weight = -(float)(weight < FLT_MAX ? weight : FLT_MAX)},
        .offset = form->metric == VKERN_L2 ? squares : 0,
        .offset_error = form->metric == VKERN_L2 ? unsure * squares : 0,
        .v_norm = sqrt(squares) * (1 + unsure)};
    const double step = -side->query.weight / factor, inverse = step > 0 ? 1 / step : 0;
    memset(codes, 0, 4 * c8_lines(form->dim));
    for (size_t i = 0; i < form->dim; i++) {
        double code = along[i] * unit * inverse;
        code = code > -127 ? code : -127;
        code = code < 127 ? code : 127;
        const int k = (int)(code + 128.5) - 128;
        const double miss = along[i] * unit - step * k;
        error += miss * miss;
        codes[i] = (int8_t)k;
        sum += k;
    }
    side->v_error = sqrt(error) + unsure * (sqrt(error) + side->v_norm);
    side->query.constant = -128 * sum;
}

void vkern_p8_query_make(const vkern_table *table, const struct vkern_model *model,
                         const float *query, float *scratch, int8_t *codes,
                         struct vkern_p8_side *side)
{
    const struct vkern_encode *encode = table->codes->encode;
    const double inverse = inverse_unit(model), unit = 1 / inverse;
    const struct vkern_model form = form_of(model);
    float *along = scratch, *centred = scratch + model->p + 1;
    const double energy = centre_query(encode, model, query, inverse, centred);
    double rel, abs, kept = 0;

    table->ndot[VKERN_F32](centred, model->axes, 4 * (size_t)model->dim, model->p, model->dim,
                           along);
    for (size_t k = 0; k < model->p; k++) {
        along[k] = -along[k];
        kept += (double)along[k] * along[k];
    }
    find_drift(model, vkern_gamma(model->dim), unit, &rel, &abs);
    const double drift = rel * sqrt(energy) + abs;
    if (has_rest(model)) along[model->p] = rest_of(model, energy, kept, drift);
    round_query(&form, along, unit, codes, &side->codes);
    side->drift = drift * unit * (1 + 0x1p-40);
    side->norm = sqrt(encode->squares(query, model->dim)) * (1 + slack(model->dim));
    side->origin = side->origin_error = 0;
    for (size_t i = 0; i < model->dim && has_rest(model); i++) {
        side->origin += (double)query[i] * model->mean[i];
        side->origin_error += fabs((double)query[i] * model->mean[i]) * slack(model->dim);
    }
}

/* ---- the cut ------------------------------------------------------------------------------------ */

/* Squared distances: |A (q - x)| <= norm |q - x|, and projections drift. */
static double cut_of_distance(const struct vkern_model *model, const struct vkern_p8_facts *facts,
                              const struct vkern_p8_side *side, double squared)
{
    const double reach = model->axes_norm * sqrt(largest(squared, 0)) + side->drift + facts->drift;

    return reach * reach * (1 + 0x1p-40) - side->codes.offset;
}

/* q.x <= q.mean + A q . A v + rest rest, up to drifts and a norm of not quite 1. */
static double cut_of_product(const struct vkern_model *model, const struct vkern_p8_facts *facts,
                             const struct vkern_p8_side *side, double worst)
{
    const double row =
        (double)facts->codes.size + (double)facts->codes.error + (double)facts->drift;
    const double query = side->codes.v_norm + side->drift;
    const double drift = query * (double)facts->drift + side->drift * row;
    const double more = 2.01 * ((double)model->axes_norm - 1) * query * row;

    return worst + side->origin + side->origin_error + (drift + more) * (1 + 0x1p-40);
}

/* |q / |q| - x / |x||^2 = 2 - 2 cos, at least; of either sign, as |q| is only known within slack. */
static double distance_of_cosine(const struct vkern_model *model, const struct vkern_p8_side *side,
                                 double worst)
{
    const double cosine = worst / side->norm;

    return 2 * (1 + cosine) + 4 * slack(model->dim) * (1 + fabs(cosine));
}

float vkern_p8_cut(const struct vkern_model *model, const struct vkern_p8_facts *facts,
                   const struct vkern_p8_side *side, double worst)
{
    const struct vkern_model form = form_of(model);
    double cut;

    if (model->metric == VKERN_IP)
        cut = cut_of_product(model, facts, side, worst);
    else if (model->metric == VKERN_L2)
        cut = cut_of_distance(model, facts, side, worst);
    else if (side->norm > 0)
        cut = cut_of_distance(model, facts, side, distance_of_cosine(model, side, worst));
    else
        return INFINITY;
    cut += vkern_c8_band(&form, &facts->codes, &side->codes);
    cut += fabs(cut) * 0x1p-40;
    if (!(cut < (double)FLT_MAX)) return INFINITY;
    if (cut < -(double)FLT_MAX) return -FLT_MAX;
    return round_up(cut);
}
