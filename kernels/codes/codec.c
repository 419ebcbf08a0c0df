/*
 * codec.c - rows and queries become codes, and the band within which c8 scores hold. What codes
 * stand for is said in kernels/codes.h, why the band holds in README.md.
 *
 * Everything the band rests on is computed in double from f32 that are exact, so what remains of
 * rounding is `slack`. Sums run over eight partial sums in a fixed order, so compilers may use
 * vectors and the bytes stay the same everywhere.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/codes/internal.h"

enum { PARTS = 8 };

/* More than the relative error in double of a sum over dim elements, their root and a few more. */
static double slack(size_t dim)
{
    return ((double)dim + 16) * 0x1p-53;
}

static double sum_of_parts(const double part[PARTS])
{
    double sum = 0;

    for (size_t j = 0; j < PARTS; j++)
        sum += part[j];
    return sum;
}

static double most_of_parts(const double part[PARTS])
{
    double most = part[0];

    for (size_t j = 1; j < PARTS; j++)
        most = part[j] > most ? part[j] : most;
    return most;
}

static double sum_of_squares(const float *x, size_t dim)
{
    double part[PARTS] = {0};
    size_t i = 0;

    for (; i + PARTS <= dim; i += PARTS)
        for (size_t j = 0; j < PARTS; j++)
            part[j] += (double)x[i + j] * x[i + j];
    for (size_t j = 0; i < dim; i++, j++)
        part[j] += (double)x[i] * x[i];
    return sum_of_parts(part);
}

/* What a vector is multiplied by before anything else: 1, or 1 / |x| under cosine (zero stays
 * zero). */
static double unit_factor(const struct vkern_model *model, const float *x)
{
    if (model->metric != VKERN_COSINE) return 1;

    const double squares = sum_of_squares(x, model->dim);
    return squares > 0 ? 1 / sqrt(squares) : 0;
}

/* ---- c8: rows ----------------------------------------------------------------------------------
 */

/* The least f32 not below x >= 0; INFINITY beyond FLT_MAX. */
static float round_up(double x)
{
    float f = (float)x;

    return (double)f < x ? nextafterf(f, INFINITY) : f;
}

/* -0 is the whole number 0. */
static void look_at(const float *x, size_t dim, struct vkern_c8_range *range)
{
    int low = range->low, high = range->high, not_whole = 0;

    for (size_t i = 0; i < dim; i++) {
        const float inside = x[i] < -128 ? -128 : x[i] > 255 ? 255 : x[i];
        const int k = (int)inside;
        not_whole |= (float)k != x[i];
        low = k < low ? k : low;
        high = k > high ? k : high;
    }
    range->low = low;
    range->high = high;
    range->whole = !not_whole;
}

void vkern_c8_look(const float *rows, size_t n, size_t dim, struct vkern_c8_range *range)
{
    for (size_t r = 0; r < n && range->whole; r++)
        look_at(rows + r * dim, dim, range);
}

void vkern_c8_join_ranges(struct vkern_c8_range *range, const struct vkern_c8_range *other)
{
    range->whole &= other->whole;
    range->low = other->low < range->low ? other->low : range->low;
    range->high = other->high > range->high ? other->high : range->high;
}

/* Whether rows of this range are their own codes: they fit into 0..255 or into -128..127. */
static bool is_whole(const struct vkern_c8_range *range)
{
    return range->whole && (range->low >= 0 || range->high <= 127);
}

static bool is_signed(const struct vkern_c8_range *range)
{
    return is_whole(range) && range->low < 0;
}

/* One row in the making. */
struct c8_row {
    float bias, scale;
    int32_t sum;
    double error, size, bias_exact;
    uint8_t codes[VKERN_C8_DIM_MAX + 4];
};

/* Apart from encode_rounded: in one body with it the loops lose a fifth of their speed (gcc 12). */
static __attribute__((noinline)) void encode_whole(const struct vkern_model *model, int zero,
                                                   const float *x, struct c8_row *row)
{
    int32_t sum = 0, squares = 0; /* below 2^31: dim <= VKERN_C8_DIM_MAX */

    for (size_t i = 0; i < model->dim; i++) {
        const int k = (int)x[i];
        row->codes[i] = (uint8_t)(k + zero);
        sum += k + zero;
        squares += k * k;
    }
    const double norm = sqrt((double)squares);
    row->sum = sum;
    row->scale = 1;
    row->error = 0;
    row->bias_exact = model->metric == VKERN_L2 ? squares : 0;
    if (model->metric == VKERN_COSINE) {
        row->scale = norm > 0 ? (float)(1 / norm) : 0;
        row->error = norm > 0 ? fabs(norm * row->scale - 1) + 0x1p-50 : 0;
    }
    row->size = norm * row->scale * (1 + 0x1p-50);
}

/*
 * Rows are worked on in stretches, one plain loop after the other over arrays on the stack:
 * compilers make vectors of such loops, and of loops that do everything at once they do not.
 * STRETCH is a multiple of PARTS: element i belongs to partial sum i % PARTS.
 */
enum { STRETCH = 64 };

VKERN_INLINE size_t stretch_of(size_t dim, size_t at)
{
    return dim - at < STRETCH ? dim - at : STRETCH;
}

VKERN_INLINE void centre_stretch(const struct vkern_model *model, const float *x, double unit,
                                 size_t at, size_t n, double *centred)
{
    for (size_t i = 0; i < n; i++)
        centred[i] = (double)x[at + i] * unit - model->mean[at + i];
}

VKERN_INLINE void scale_stretch(const struct vkern_model *model, size_t at, size_t n, double *z)
{
    for (size_t i = 0; i < n; i++)
        z[i] /= model->scale[at + i];
}

VKERN_INLINE void add_squares(const double *x, size_t n, double part[PARTS])
{
    size_t i = 0;

    for (; i + PARTS <= n; i += PARTS)
        for (size_t j = 0; j < PARTS; j++)
            part[j] += x[i + j] * x[i + j];
    for (size_t j = 0; i < n; i++, j++)
        part[j] += x[i] * x[i];
}

VKERN_INLINE void take_largest(const double *x, size_t n, double most[PARTS])
{
    size_t i = 0;

    for (; i + PARTS <= n; i += PARTS)
        for (size_t j = 0; j < PARTS; j++)
            most[j] = fabs(x[i + j]) > most[j] ? fabs(x[i + j]) : most[j];
    for (; i < n; i++)
        most[0] = fabs(x[i]) > most[0] ? fabs(x[i]) : most[0];
}

/* max |z|, and |x - mean|^2. */
static double measure(const struct vkern_model *model, const float *x, double unit, double *squares)
{
    double most[PARTS] = {0}, part[PARTS] = {0}, z[STRETCH];
    const size_t dim = model->dim;

    for (size_t at = 0; at < dim; at += STRETCH) {
        const size_t n = stretch_of(dim, at);
        centre_stretch(model, x, unit, at, n, z);
        add_squares(z, n, part);
        scale_stretch(model, at, n, z);
        take_largest(z, n, most);
    }
    *squares = sum_of_parts(part);
    return most_of_parts(most);
}

/* Codes of z, which becomes what they miss of it. */
VKERN_INLINE void round_stretch(double *z, size_t n, double step, uint8_t *codes)
{
    const double inverse = step > 0 ? 1 / step : 0;
    int32_t made[STRETCH];

    for (size_t i = 0; i < n; i++) {
        double code = z[i] * inverse + 128.5;
        code = code > 1 ? code : 1;
        code = code < 255 ? code : 255;
        made[i] = (int32_t)code;
    }
    for (size_t i = 0; i < n; i++)
        z[i] -= step * (made[i] - 128);
    for (size_t i = 0; i < n; i++)
        codes[i] = (uint8_t)made[i];
}

/* Codes of a row for a step; the square of its distance from what they stand for. */
static double round_row(const struct vkern_model *model, const float *x, double unit, double step,
                        uint8_t *codes)
{
    double error[PARTS] = {0}, z[STRETCH];
    const size_t dim = model->dim;

    for (size_t at = 0; at < dim; at += STRETCH) {
        const size_t n = stretch_of(dim, at);
        centre_stretch(model, x, unit, at, n, z);
        scale_stretch(model, at, n, z);
        round_stretch(z, n, step, codes + at);
        add_squares(z, n, error);
    }
    return sum_of_parts(error);
}

static void encode_rounded(const struct vkern_model *model, const float *x, struct c8_row *row)
{
    const double unit = unit_factor(model, x);
    int32_t sum = 0, squares = 0;
    double energy;

    row->scale = (float)(measure(model, x, unit, &energy) / 127);
    row->error = sqrt(round_row(model, x, unit, row->scale, row->codes));
    for (size_t i = 0; i < model->dim; i++) {
        const int k = row->codes[i];
        sum += k;
        squares += (k - 128) * (k - 128);
    }
    row->sum = sum;
    row->size = row->scale * sqrt((double)squares) * (1 + 0x1p-50);
    row->bias_exact = model->metric == VKERN_L2 ? energy : 0;
}

/* Row r of a group; codes past dim are zero already. */
static void put_row(const struct c8_row *row, size_t r, size_t dim, unsigned char *group)
{
    const size_t lines = c8_lines(dim);

    for (size_t g = 0; g < lines; g++)
        memcpy(group + 64 * g + 4 * r, row->codes + 4 * g, 4);
    memcpy(group + 64 * lines + 4 * r, &row->bias, 4);
    memcpy(group + 64 * lines + 64 + 4 * r, &row->scale, 4);
    memcpy(group + 64 * lines + 128 + 4 * r, &row->sum, 4);
}

/* What the double arithmetic above may have missed of the largest error (README.md). */
static double error_missed(const struct vkern_model *model, double error, double size)
{
    double least = INFINITY;

    for (size_t i = 0; i < model->dim && model->metric == VKERN_COSINE; i++)
        least = model->scale[i] < least ? model->scale[i] : least;
    return slack(model->dim) * (2 * error + size + 1 / least);
}

static double larger(double a, double b)
{
    return b > a ? b : a;
}

void vkern_c8_join_extremes(struct vkern_c8_extremes *extremes,
                            const struct vkern_c8_extremes *other)
{
    extremes->error = larger(extremes->error, other->error);
    extremes->size = larger(extremes->size, other->size);
    extremes->step = larger(extremes->step, other->step);
    extremes->bias = other->bias > extremes->bias ? other->bias : extremes->bias;
}

void vkern_c8_encode_part(const struct vkern_model *model, const struct vkern_c8_range *range,
                          const float *rows, size_t n, void *groups,
                          struct vkern_c8_extremes *extremes)
{
    const size_t dim = model->dim, group_bytes = vkern_c8_group_bytes(dim);
    const bool whole = is_whole(range);
    const int zero = is_signed(range) ? 128 : 0;
    struct c8_row row;

    memset(row.codes + dim, 0, 4);
    for (size_t r = 0; r < n; r++) {
        unsigned char *group = (unsigned char *)groups + r / VKERN_GROUP * group_bytes;
        if (r % VKERN_GROUP == 0 && n - r < VKERN_GROUP) memset(group, 0, group_bytes);
        if (whole)
            encode_whole(model, zero, rows + r * dim, &row);
        else
            encode_rounded(model, rows + r * dim, &row);
        row.bias = (float)row.bias_exact;
        put_row(&row, r % VKERN_GROUP, dim, group);
        vkern_c8_join_extremes(extremes, &(struct vkern_c8_extremes){row.error, row.size, row.scale,
                                                                     row.bias});
    }
}

bool vkern_c8_conclude(const struct vkern_model *model, const struct vkern_c8_range *range,
                       const struct vkern_c8_extremes *extremes, struct vkern_c8_facts *facts)
{
    double error = extremes->error;

    memset(facts, 0, sizeof *facts);
    facts->whole = is_whole(range);
    facts->is_signed = is_signed(range);
    if (!facts->whole) error += error_missed(model, error, extremes->size);
    facts->error = round_up(error);
    facts->size = round_up(extremes->size);
    facts->bias_max = extremes->bias;
    return extremes->step <= FLT_MAX && facts->error <= FLT_MAX && facts->size <= FLT_MAX &&
           facts->bias_max <= FLT_MAX;
}

bool vkern_c8_encode(const struct vkern_model *model, const float *rows, size_t n, void *groups,
                     struct vkern_c8_facts *facts)
{
    struct vkern_c8_range range = VKERN_C8_RANGE_INIT;
    struct vkern_c8_extremes extremes = {0, 0, 0, 0};

    vkern_c8_look(rows, n, model->dim, &range);
    vkern_c8_encode_part(model, &range, rows, n, groups, &extremes);
    return vkern_c8_conclude(model, &range, &extremes, facts);
}

/* ---- c8: queries -------------------------------------------------------------------------------
 */

/* The forms v and offset take; where rows are whole, mean counts as 0 and scale as 1. */
enum form { L2_FORM, L2_WHOLE, DOT_FORM, DOT_WHOLE };

static enum form form_of(const struct vkern_model *model, bool whole)
{
    if (model->metric == VKERN_L2) return whole ? L2_WHOLE : L2_FORM;
    return whole ? DOT_WHOLE : DOT_FORM;
}

VKERN_INLINE double element_of_v(enum form form, const struct vkern_model *model, const float *q,
                                 size_t i)
{
    const double from_mean = form == L2_FORM ? (double)q[i] - model->mean[i] : q[i];

    return form == L2_WHOLE || form == DOT_WHOLE ? from_mean : from_mean * model->scale[i];
}

VKERN_INLINE double term_of_offset(enum form form, const struct vkern_model *model, const float *q,
                                   size_t i)
{
    const double from_mean = form == L2_FORM ? (double)q[i] - model->mean[i] : q[i];

    if (form == DOT_WHOLE) return 0;
    return form == DOT_FORM ? -(double)q[i] * model->mean[i] : from_mean * from_mean;
}

/* Sums over a query: of v its largest element and its square, of the offset its value and the sum
 * of its terms' magnitudes. */
struct query_sums {
    double most[PARTS], squares[PARTS], offset[PARTS], terms[PARTS];
};

VKERN_INLINE void measure_element(enum form form, const struct vkern_model *model, const float *q,
                                  size_t i, struct query_sums *sums, size_t part)
{
    const double v = fabs(element_of_v(form, model, q, i));
    const double term = term_of_offset(form, model, q, i);

    sums->most[part] = v > sums->most[part] ? v : sums->most[part];
    sums->squares[part] += v * v;
    sums->offset[part] += term;
    sums->terms[part] += fabs(term);
}

VKERN_INLINE void measure_query_of(enum form form, const struct vkern_model *model, const float *q,
                                   struct query_sums *sums)
{
    size_t i = 0;

    for (; i + PARTS <= model->dim; i += PARTS)
        for (size_t j = 0; j < PARTS; j++)
            measure_element(form, model, q, i + j, sums, j);
    for (size_t j = 0; i < model->dim; i++, j++)
        measure_element(form, model, q, i, sums, j);
}

VKERN_INLINE int round_element(enum form form, const struct vkern_model *model, const float *q,
                               size_t i, double step, double inverse, double *error)
{
    const double v = element_of_v(form, model, q, i);
    double code = v * inverse, miss;
    int rounded;

    code = code > -127 ? code : -127;
    code = code < 127 ? code : 127;
    rounded = (int)(code + 128.5) - 128;
    miss = v - step * rounded;
    *error += miss * miss;
    return rounded;
}

/* Codes v / step rounded; returns |v - what they stand for|. */
VKERN_INLINE double round_query_of(enum form form, const struct vkern_model *model, const float *q,
                                   double step, int8_t *codes)
{
    const double inverse = step > 0 ? 1 / step : 0;
    double error[PARTS] = {0};
    size_t i = 0;

    for (; i + PARTS <= model->dim; i += PARTS) {
        int made[PARTS];
        for (size_t j = 0; j < PARTS; j++)
            made[j] = round_element(form, model, q, i + j, step, inverse, &error[j]);
        for (size_t j = 0; j < PARTS; j++)
            codes[i + j] = (int8_t)made[j];
    }
    for (size_t j = 0; i < model->dim; i++, j++)
        codes[i] = (int8_t)round_element(form, model, q, i, step, inverse, &error[j]);
    return sqrt(sum_of_parts(error));
}

static void measure_query(enum form form, const struct vkern_model *model, const float *q,
                          struct query_sums *sums)
{
    switch (form) {
    case L2_FORM: measure_query_of(L2_FORM, model, q, sums); break;
    case L2_WHOLE: measure_query_of(L2_WHOLE, model, q, sums); break;
    case DOT_FORM: measure_query_of(DOT_FORM, model, q, sums); break;
    case DOT_WHOLE: measure_query_of(DOT_WHOLE, model, q, sums); break;
    }
}

static double round_query(enum form form, const struct vkern_model *model, const float *q,
                          double step, int8_t *codes)
{
    switch (form) {
    case L2_FORM: return round_query_of(L2_FORM, model, q, step, codes);
    case L2_WHOLE: return round_query_of(L2_WHOLE, model, q, step, codes);
    case DOT_FORM: return round_query_of(DOT_FORM, model, q, step, codes);
    case DOT_WHOLE: return round_query_of(DOT_WHOLE, model, q, step, codes);
    }
    return INFINITY;
}

/* Where rows are whole and the query's elements are too, they are its codes, shifted where they
 * need be. */
static bool take_whole(const struct vkern_c8_facts *facts, const float *q, size_t dim,
                       int8_t *codes, struct vkern_c8_query *query)
{
    struct vkern_c8_range range = VKERN_C8_RANGE_INIT;

    if (facts->whole) look_at(q, dim, &range);
    if (!facts->whole || !range.whole || (range.low < 0 && range.high > 127)) return false;
    query->shift = range.high > 127 ? 128 : 0;
    for (size_t i = 0; i < dim; i++)
        codes[i] = (int8_t)((int)q[i] - query->shift);
    return true;
}

static double metric_factor(const struct vkern_model *model)
{
    return model->metric == VKERN_L2 ? 2 : 1;
}

void vkern_c8_query_make(const struct vkern_model *model, const struct vkern_c8_facts *facts,
                         const float *query, int8_t *codes, struct vkern_c8_side *side)
{
    const enum form form = form_of(model, facts->whole);
    const double factor = metric_factor(model), unsure = slack(model->dim);
    const int32_t zero = facts->whole && !facts->is_signed ? 0 : 128;
    struct query_sums sums = {{0}, {0}, {0}, {0}};
    int32_t sum = 0;

    memset(codes, 0, 4 * c8_lines(model->dim));
    side->query = (struct vkern_c8_query){codes, (float)-factor, 0, 0};
    measure_query(form, model, query, &sums);
    side->offset = sum_of_parts(sums.offset);
    side->offset_error = unsure * sum_of_parts(sums.terms);
    side->v_norm = sqrt(sum_of_parts(sums.squares)) * (1 + unsure);
    side->v_error = 0;
    if (!take_whole(facts, query, model->dim, codes, &side->query)) {
        const double weight = factor * most_of_parts(sums.most) / 127;
        side->query.weight = -(float)(weight < FLT_MAX ? weight : FLT_MAX);
        side->v_error = round_query(form, model, query, -side->query.weight / factor, codes);
        side->v_error += unsure * (side->v_error + side->v_norm);
    }
    for (size_t i = 0; i < model->dim; i++)
        sum += codes[i];
    side->query.constant = -zero * (sum + side->query.shift * (int32_t)model->dim);
}

double vkern_c8_band(const struct vkern_model *model, const struct vkern_c8_facts *facts,
                     const struct vkern_c8_side *side)
{
    const double u = 0x1p-24, factor = metric_factor(model);
    const double product = factor * (side->v_norm + side->v_error) * facts->size;
    const double codes = factor * (side->v_norm * facts->error + side->v_error * facts->size);
    const double rounding = 5 * u * product + 2.5 * u * facts->bias_max;
    const double underflow = (2 + fabs((double)side->query.weight)) * 0x1p-149;
    /* scale * integer before the weight makes it smaller: |t + shift| <= 255 an element */
    const double largest = 256 * sqrt((double)model->dim) * facts->size;

    if (!(largest + product + facts->bias_max < FLT_MAX / 2)) return INFINITY;
    return (codes + rounding + underflow) * (1 + 0x1p-40) + side->offset_error;
}

/* ---- c4 ----------------------------------------------------------------------------------------
 */

/*
 * Scores of c4 are for comparison alone, so all of them are taken in units of the square of a power
 * of two near the largest deviation: rows of any size keep inside f32.
 */
static double inverse_unit(const struct vkern_model *model)
{
    float most = 0;
    int exponent;

    for (size_t k = 0; k < model->m; k++)
        most = model->deviation[k] > most ? model->deviation[k] : most;
    frexp(most, &exponent);
    return ldexp(1, -exponent);
}

/* Codes of an axis stand for code * step - low. Axes of next to no deviation get a step above zero.
 */
struct ladder {
    float low, step;
};

static struct ladder ladder_of(const struct vkern_model *model, double inverse, size_t k)
{
    const double deviation = model->deviation[k] * inverse;
    const double low = model->clip * (deviation > 0x1p-60 ? deviation : 0x1p-60);

    return (struct ladder){(float)low, (float)(2 * low / 15)};
}

/* (x * unit - mean) * inverse, and the sum of its squares. */
static double centre(const struct vkern_model *model, const float *x, double unit, double inverse,
                     float *to)
{
    const size_t dim = model->dim;
    double part[PARTS] = {0};
    size_t i = 0;

    for (; i + PARTS <= dim; i += PARTS)
        for (size_t j = 0; j < PARTS; j++) {
            const double c = ((double)x[i + j] * unit - model->mean[i + j]) * inverse;
            to[i + j] = (float)c;
            part[j] += c * c;
        }
    for (size_t j = 0; i < dim; i++, j++) {
        const double c = ((double)x[i] * unit - model->mean[i]) * inverse;
        to[i] = (float)c;
        part[j] += c * c;
    }
    return sum_of_parts(part);
}

/* Sums over the axes, for the sixteen rows of a group. */
struct c4_sums {
    float code[VKERN_GROUP], miss[VKERN_GROUP], kept[VKERN_GROUP]; /* |c|^2, |y - c|^2, |y|^2 */
};

/* The codes of one axis of sixteen rows; NaN becomes 0. */
VKERN_INLINE void round_axis(const float *y, struct ladder ladder, struct c4_sums *sums,
                             uint8_t codes[VKERN_GROUP])
{
    const float inverse = 1 / ladder.step;

    for (size_t r = 0; r < VKERN_GROUP; r++) {
        float code = (y[r] + ladder.low) * inverse + 0.5f;
        code = code > 0 ? code : 0;
        code = code < 15 ? code : 15;
        const int k = (int)code;
        const float c = (float)k * ladder.step - ladder.low, miss = y[r] - c;
        sums->code[r] += c * c;
        sums->miss[r] += miss * miss;
        sums->kept[r] += y[r] * y[r];
        codes[r] = (uint8_t)k;
    }
}

/* y: [m, VKERN_TILE_ROWS], of which 16 columns are this group's. */
static void round_group(const struct vkern_model *model, const struct ladder *ladders,
                        const float *y, struct c4_sums *sums, unsigned char *group)
{
    uint8_t low[VKERN_GROUP], high[VKERN_GROUP];

    memset(sums, 0, sizeof *sums);
    for (size_t g = 0; g < model->m / 8; g++)
        for (size_t j = 0; j < 4; j++) {
            const size_t k = 8 * g + j;
            round_axis(y + k * VKERN_TILE_ROWS, ladders[k], sums, low);
            round_axis(y + (k + 4) * VKERN_TILE_ROWS, ladders[k + 4], sums, high);
            for (size_t r = 0; r < VKERN_GROUP; r++)
                group[64 * g + 4 * r + j] = (unsigned char)(low[r] | high[r] << 4);
        }
}

/* Half of |c|^2 - |y - c|^2 + what lies outside the axes; kept finite. */
static float factor_of(const struct c4_sums *sums, size_t r, double energy)
{
    const double limit = FLT_MAX / 4;
    const double outside = energy > sums->kept[r] ? energy - sums->kept[r] : 0;
    const double factor = ((double)sums->code[r] - sums->miss[r] + outside) / 2;

    return (float)(factor > -limit ? factor < limit ? factor : limit : -limit);
}

/* Rows past n of a last group become zero bytes: nibbles and factors. */
static void clear_rows(size_t n, size_t m, unsigned char *group)
{
    for (size_t line = 0; line <= m / 8; line++)
        memset(group + 64 * line + 4 * n, 0, 4 * (VKERN_GROUP - n));
}

struct c4_scratch {
    float *panel, *y, *bias, *rows;
};

static struct c4_scratch divide_scratch(const struct vkern_model *model, float *scratch)
{
    struct c4_scratch s;

    s.panel = scratch;
    s.y = s.panel + vkern_panel_floats(model->dim);
    s.bias = s.y + (size_t)model->m * VKERN_TILE_ROWS;
    s.rows = s.bias + VKERN_TILE_ROWS;
    return s;
}

size_t vkern_c4_scratch(const struct vkern_model *model)
{
    return vkern_panel_floats(model->dim) + VKERN_TILE_ROWS * ((size_t)model->m + 1 + model->dim);
}

/* At most VKERN_TILE_ROWS rows. */
static void encode_tile(const struct vkern_model *model, const struct vkern_tile *tile,
                        const struct ladder *ladders, const float *rows, size_t n,
                        const struct c4_scratch *s, unsigned char *groups)
{
    const double inverse = inverse_unit(model);
    const size_t dim = model->dim, group_bytes = vkern_c4_group_bytes(model->m);
    double energy[VKERN_TILE_ROWS];
    struct c4_sums sums;

    for (size_t r = 0; r < n; r++)
        energy[r] = centre(model, rows + r * dim, unit_factor(model, rows + r * dim), inverse,
                           s->rows + r * dim);
    tile->pack(VKERN_F32, s->rows, 4 * dim, n, dim, NULL, s->panel);
    tile->multiply(model->axes, model->m, s->panel, s->bias, n, dim, s->y, VKERN_TILE_ROWS);
    for (size_t r = 0; r < n; r += VKERN_GROUP, groups += group_bytes) {
        const size_t here = n - r < VKERN_GROUP ? n - r : VKERN_GROUP;
        float factors[VKERN_GROUP] = {0};
        round_group(model, ladders, s->y + r, &sums, groups);
        for (size_t i = 0; i < here && model->metric != VKERN_IP; i++)
            factors[i] = factor_of(&sums, i, energy[r + i]);
        memcpy(groups + 8 * (size_t)model->m, factors, sizeof factors);
        if (here < VKERN_GROUP) clear_rows(here, model->m, groups);
    }
}

void vkern_c4_encode(const struct vkern_model *model, const struct vkern_tile *tile,
                     const float *rows, size_t n, float *scratch, void *groups)
{
    const struct c4_scratch s = divide_scratch(model, scratch);
    const size_t tile_bytes = VKERN_TILE_ROWS / VKERN_GROUP * vkern_c4_group_bytes(model->m);
    const double inverse = inverse_unit(model);
    struct ladder ladders[VKERN_C4_AXES_MAX];
    unsigned char *to = groups;

    for (size_t k = 0; k < model->m; k++)
        ladders[k] = ladder_of(model, inverse, k);
    /* lanes past the last row take part in the arithmetic: let them be numbers */
    memset(s.y, 0, sizeof *s.y * (size_t)model->m * VKERN_TILE_ROWS);
    memset(s.bias, 0, sizeof *s.bias * VKERN_TILE_ROWS);
    for (size_t r = 0; r < n; r += VKERN_TILE_ROWS, to += tile_bytes)
        encode_tile(model, tile, ladders, rows + r * model->dim,
                    n - r < VKERN_TILE_ROWS ? n - r : VKERN_TILE_ROWS, &s, to);
}

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

void vkern_c4_query_make(const struct vkern_model *model, vkern_score_fn *ndot, const float *query,
                         float *scratch, int8_t *weights, float *weight_scale)
{
    const double inverse = inverse_unit(model), unit = unit_factor(model, query);
    const size_t m = model->m, dim = model->dim;
    float *along = scratch, *centred = scratch + m, most = 0, scale;

    if (model->metric == VKERN_IP)
        for (size_t i = 0; i < dim; i++)
            centred[i] = (float)(query[i] * inverse);
    else
        centre(model, query, unit, inverse, centred);
    ndot(centred, model->axes, 4 * dim, m, dim, along);
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
