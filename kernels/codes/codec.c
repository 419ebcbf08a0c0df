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

#include "kernels/codes/codec.h"

/* ---- c8: rows ---------------------------------------------------------------------------------- */

void vkern_c8_look(const vkern_table *table, const float *rows, size_t n, size_t dim,
                   struct vkern_c8_range *range)
{
    for (size_t r = 0; r < n && range->whole; r++)
        table->codes->encode->look(rows + r * dim, dim, range);
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

static void encode_whole(const struct vkern_encode *encode, const struct vkern_model *model,
                         int zero, const float *x, struct c8_row *row)
{
    int32_t squares;

    encode->take_whole(x, model->dim, zero, row->codes);
    encode->sum_codes(row->codes, model->dim, zero, &row->sum, &squares);
    const double norm = sqrt((double)squares);
    row->scale = 1;
    row->error = 0;
    row->bias_exact = model->metric == VKERN_L2 ? squares : 0;
    if (model->metric == VKERN_COSINE) {
        row->scale = norm > 0 ? (float)(1 / norm) : 0;
        row->error = norm > 0 ? fabs(norm * row->scale - 1) + 0x1p-50 : 0;
    }
    row->size = norm * row->scale * (1 + 0x1p-50);
}

/* z of a row, a stretch of it: what a thread's stack and the nearest cache hold. A multiple of PARTS: element i belongs to
 * partial sum i % PARTS. Longer rows are standardised twice. */
enum { STRETCH = 1024 };
_Static_assert(STRETCH % PARTS == 0, "partial sums go on from stretch to stretch");

static size_t stretch_of(size_t dim, size_t at)
{
    return dim - at < STRETCH ? dim - at : STRETCH;
}

static void encode_rounded(const struct vkern_encode *encode, const struct vkern_model *model,
                           const float *x, struct c8_row *row)
{
    const double unit = unit_factor(encode, model, x);
    double energy[PARTS] = {0}, most[PARTS] = {0}, again[PARTS] = {0}, error[PARTS] = {0};
    const size_t dim = model->dim;
    double z[STRETCH];
    int32_t squares;

    for (size_t at = 0; at < dim; at += STRETCH)
        encode->standardise(x + at, model->mean + at, model->scale + at, stretch_of(dim, at), unit,
                            z, energy, most);
    row->scale = (float)(most_of_parts(most) / 127);
    for (size_t at = 0; at < dim; at += STRETCH) {
        if (dim > STRETCH)
            encode->standardise(x + at, model->mean + at, model->scale + at, stretch_of(dim, at),
                                unit, z, again, most);
        encode->round(z, stretch_of(dim, at), row->scale, row->codes + at, error);
    }
    row->error = sqrt(sum_of_parts(error));
    encode->sum_codes(row->codes, dim, 128, &row->sum, &squares);
    row->size = row->scale * sqrt((double)squares) * (1 + 0x1p-50);
    row->bias_exact = model->metric == VKERN_L2 ? sum_of_parts(energy) : 0;
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

void vkern_c8_encode_part(const vkern_table *table, const struct vkern_model *model,
                          const struct vkern_c8_range *range, const float *rows, size_t n,
                          void *groups, struct vkern_c8_extremes *extremes)
{
    const struct vkern_encode *encode = table->codes->encode;
    const size_t dim = model->dim, group_bytes = vkern_c8_group_bytes(dim);
    const bool whole = is_whole(range);
    const int zero = is_signed(range) ? 128 : 0;
    struct c8_row row;

    memset(row.codes + dim, 0, 4);
    for (size_t r = 0; r < n; r++) {
        unsigned char *group = (unsigned char *)groups + r / VKERN_GROUP * group_bytes;
        if (r % VKERN_GROUP == 0 && n - r < VKERN_GROUP) memset(group, 0, group_bytes);
        if (whole)
            encode_whole(encode, model, zero, rows + r * dim, &row);
        else
            encode_rounded(encode, model, rows + r * dim, &row);
        row.bias = (float)row.bias_exact;
        put_row(&row, r % VKERN_GROUP, dim, group);
        vkern_c8_join_extremes(
            extremes, &(struct vkern_c8_extremes){row.error, row.size, row.scale, row.bias});
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

bool vkern_c8_encode(const vkern_table *table, const struct vkern_model *model, const float *rows,
                     size_t n, void *groups, struct vkern_c8_facts *facts)
{
    struct vkern_c8_range range = VKERN_C8_RANGE_INIT;
    struct vkern_c8_extremes extremes = {0, 0, 0, 0};

    vkern_c8_look(table, rows, n, model->dim, &range);
    vkern_c8_encode_part(table, model, &range, rows, n, groups, &extremes);
    return vkern_c8_conclude(model, &range, &extremes, facts);
}

/* ---- c8: queries ------------------------------------------------------------------------------- */

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

    if (facts->whole) vkern_encode_ref.look(q, dim, &range);
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
