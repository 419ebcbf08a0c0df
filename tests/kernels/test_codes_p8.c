/*
 * test_codes_p8.c - rows and queries as 8-bit codes along the leading axes (kernels/codes/p8.c,
 * axes.c): groups lie as codes.h says, facts are the largest there are, and no row is above the cut
 * of a score that is no better than its own, at any level, by either kernel.
 */
#include "codes_set.h"
#include "kernels/codes/codec.h"

static struct levels levels;

/* ---- models ---------------------------------------------------------------------------------- */

/* What a model may be beside one that fits its rows. */
enum shape {
    FITTING,
    BENT_AXES,   /* not quite orthonormal: a norm up to 1.5 */
    LONG_AXES,   /* orthogonal, of a norm that all rows feel */
    FAR_MEAN,    /* rows lie in one direction from it, their differences are small beside */
    WIDE_UNIT,   /* deviations far above what rows have: squares of theirs leave f32 below */
    NARROW_UNIT, /* and far below */
    N_SHAPES
};
static const char *const shape_names[] = {"fitting",  "bent axes", "long axes",
                                          "far mean", "wide unit", "narrow unit"};

/* All axes by the same amount at random. */
static void bend_axes(struct set *set, double amount)
{
    const size_t dim = set->model.dim;

    for (size_t i = 0; i < set->model.m * dim; i++)
        set->axes[i] += (float)(amount * normal() / sqrt((double)dim));
}

static void lengthen_axes(struct set *set, float by)
{
    for (size_t i = 0; i < (size_t)set->model.m * set->model.dim; i++)
        set->axes[i] *= by;
}

/* Kept where queries of make_query stay inside f32 in their unit: rows that are all the mean have
 * no deviation. */
static void scale_deviations(struct set *set, enum kind kind, double by)
{
    const double least = kind == HUGE_ROWS ? 1e-15 : 1e-31;

    for (size_t k = 0; k < set->model.m; k++)
        set->deviation[k] = (float)fmin(fmax(set->deviation[k] * by, least), 1e38);
}

/* Of m axes, p of them for p8. */
static struct set p8_set_open(enum kind kind, enum shape shape, enum vkern_metric metric, size_t n,
                              size_t dim, size_t m, size_t p)
{
    struct set set = set_open(kind, metric, n, dim);

    const double far = kind == HUGE_ROWS ? 100 : 1e4; /* squares of huge rows are near FLT_MAX */
    for (size_t i = 0; i < dim && shape == FAR_MEAN; i++)
        set.mean[i] += (float)(far * (fabs(set.mean[i]) + 1e-3));
    make_axes(&set, m);
    fit_deviations(&set);
    if (shape == BENT_AXES) bend_axes(&set, 0.3 / sqrt((double)m));
    if (shape == LONG_AXES) lengthen_axes(&set, 1.4f);
    scale_deviations(&set, kind, shape == WIDE_UNIT ? 1e25 : shape == NARROW_UNIT ? 1e-13 : 1);
    set.model.p = (uint32_t)p;
    set.model.axes_norm = vkern_axes_norm(set.axes, p, dim);
    assert_true(set.model.axes_norm >= 1 &&
                set.model.axes_norm < (shape == BENT_AXES || shape == LONG_AXES ? 1.6f : 1.00001f));
    return set;
}

/* ---- the norm of axes ------------------------------------------------------------------------ */

/* The largest singular value from below: |A' A x| / |A x| grows towards it. */
static long double norm_from_below(const struct set *set, size_t p)
{
    const size_t dim = set->model.dim;
    long double *x = malloc(sizeof *x * dim), *y = malloc(sizeof *y * p), size = 0, before;

    for (size_t i = 0; i < dim; i++)
        x[i] = normal();
    for (size_t turn = 0; turn < 50; turn++) {
        before = 0, size = 0;
        for (size_t k = 0; k < p; k++)
            y[k] = along(set, x, k), before += y[k] * y[k];
        for (size_t i = 0; i < dim; i++) {
            x[i] = 0;
            for (size_t k = 0; k < p; k++)
                x[i] += set->axes[k * dim + i] * y[k] / sqrtl(before);
            size += x[i] * x[i];
        }
    }
    free(x);
    free(y);
    return sqrtl(size);
}

static void norms_of_axes_are_bounds(void **state)
{
    (void)state;
    for (size_t p = 8; p <= 48; p += 8)
        for (int bent = 0; bent <= 4; bent++) {
            struct set set = set_open(GAUSSIAN, VKERN_L2, 1, 50 + p % 3);
            make_axes(&set, p);
            bend_axes(&set, 0.1 * bent);
            const long double norm = vkern_axes_norm(set.axes, p, set.model.dim);
            const long double least = norm_from_below(&set, p);
            assert_true(norm >= least && norm >= 1);
            assert_true(norm <= least * (bent == 0 ? 1.00001L : 2.5L));
            set_close(&set);
        }
}

/* Where the bound is the norm: equal axes, and one alone. */
static void norms_of_known_axes(void **state)
{
    float axes[8][20] = {{0}};

    (void)state;
    for (size_t k = 0; k < 8; k++)
        axes[k][3] = 1;
    assert_true(fabs(vkern_axes_norm(axes[0], 8, 20) - sqrt(8)) < 1e-6);
    for (size_t k = 1; k < 8; k++)
        axes[k][3] = 0;
    axes[0][3] = -1.5f;
    assert_true(vkern_axes_norm(axes[0], 8, 20) >= 1.5f);
    assert_true(vkern_axes_norm(axes[0], 8, 20) < 1.5001f);
    axes[0][3] = 0.5f;
    assert_true(vkern_axes_norm(axes[0], 8, 20) >= 1);
    assert_true(vkern_axes_norm(axes[0], 8, 20) < 1.0001f);
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* Encoded rows, in memory whose end or begin no one may pass. */
struct plane {
    struct guarded memory;
    unsigned char *groups;
    size_t size;
    struct vkern_p8_facts facts;
};

static size_t plane_size(const struct set *set)
{
    return vkern_groups(set->n) * vkern_c8_group_bytes(vkern_p8_dim(&set->model));
}

/* Scratch of NaN that ends at a guard. */
static float *scratch_open(const struct set *set, struct guarded *memory)
{
    const size_t size = (4 * vkern_c4_scratch(&set->model) + 63) / 64 * 64;

    *memory = guarded_open(size);
    memset(guarded_end(memory, size), 0xff, size);
    return guarded_end(memory, size);
}

/* offset 0: up to the page that faults; else as many bytes behind another, less one. */
static struct plane plane_open(const struct set *set, const vkern_table *table, size_t offset)
{
    const size_t size = plane_size(set);
    struct plane plane = {.memory = guarded_open(size + offset), .size = size};
    struct guarded memory;
    float *scratch = scratch_open(set, &memory);

    plane.groups = offset == 0 ? guarded_end(&plane.memory, size)
                               : (unsigned char *)guarded_begin(&plane.memory) + offset - 1;
    memset(plane.groups, 0xee, size);
    assert_true(vkern_axes_encode(table, &set->model, set->rows, set->n, scratch, NULL,
                                  plane.groups, &plane.facts));
    guarded_close(&memory);
    return plane;
}

static void plane_close(struct plane *plane)
{
    guarded_close(&plane->memory);
}

/* Not their bytes: some are padding. */
static void assert_same_facts(const struct vkern_p8_facts *a, const struct vkern_p8_facts *b)
{
    assert_true(a->codes.whole == b->codes.whole && a->codes.is_signed == b->codes.is_signed);
    assert_true(a->codes.error == b->codes.error && a->codes.size == b->codes.size);
    assert_true(a->codes.bias_max == b->codes.bias_max && a->drift == b->drift);
}

/* c4 beside p8, or alone: the same bytes, and those of p8 are no others for it. */
static void check_both(const struct set *set, const vkern_table *table, const struct plane *plane)
{
    const size_t c4_size = vkern_groups(set->n) * vkern_c4_group_bytes(set->model.m);
    unsigned char *beside = malloc(c4_size), *alone = malloc(c4_size), *p8 = malloc(plane->size);
    struct guarded memory;
    float *scratch = scratch_open(set, &memory);
    struct vkern_p8_facts facts;

    memset(beside, 0x11, c4_size);
    memset(alone, 0x22, c4_size);
    memset(p8, 0x33, plane->size);
    assert_true(
        vkern_axes_encode(table, &set->model, set->rows, set->n, scratch, beside, p8, &facts));
    vkern_c4_encode(table, &set->model, set->rows, set->n, scratch, alone);
    assert_memory_equal(beside, alone, c4_size);
    assert_memory_equal(p8, plane->groups, plane->size);
    assert_same_facts(&facts, &plane->facts);
    guarded_close(&memory);
    free(p8);
    free(alone);
    free(beside);
}

/* A group at a time, the last first: the bytes and the facts of one call. */
static void check_joined(const struct set *set, const vkern_table *table, const struct plane *plane)
{
    const size_t n_groups = vkern_groups(set->n), group_bytes = plane->size / n_groups;
    unsigned char *parts = malloc(plane->size);
    struct guarded memory;
    float *scratch = scratch_open(set, &memory);
    struct vkern_p8_facts joined = {{0}, 0}, one;

    for (size_t g = n_groups; g-- > 0;) {
        const size_t at = g * VKERN_GROUP, left = set->n - at;
        assert_true(vkern_axes_encode(table, &set->model, set->rows + at * set->model.dim,
                                      left < VKERN_GROUP ? left : VKERN_GROUP, scratch, NULL,
                                      parts + g * group_bytes, &one));
        vkern_p8_join(&joined, &one);
    }
    assert_memory_equal(parts, plane->groups, plane->size);
    assert_same_facts(&joined, &plane->facts);
    guarded_close(&memory);
    free(parts);
}

/* Rows along the axes as the codec has them, in f32: [n, p] in the rows' own unit. */
static double *projected(const struct set *set, const vkern_table *table)
{
    const struct vkern_encode *encode = table->codes->encode;
    const struct vkern_tile *tile = table->tile;
    const struct vkern_model *model = &set->model;
    const size_t dim = model->dim;
    const double inverse = inverse_unit(model);
    double *to = malloc(sizeof *to * set->n * model->p);
    float *panel = floats(vkern_panel_floats(dim)), *centred = floats(VKERN_TILE_ROWS * dim);
    float *y = floats((size_t)model->m * VKERN_TILE_ROWS), bias[VKERN_TILE_ROWS] = {0};

    for (size_t at = 0; at < set->n; at += VKERN_TILE_ROWS) {
        const size_t n = set->n - at < VKERN_TILE_ROWS ? set->n - at : VKERN_TILE_ROWS;
        for (size_t r = 0; r < n; r++) {
            const float *x = set->rows + (at + r) * dim;
            encode->centre(x, model->mean, dim, unit_factor(encode, model, x), inverse,
                           centred + r * dim);
        }
        tile->pack(VKERN_F32, centred, 4 * dim, n, dim, NULL, panel);
        tile->multiply(model->axes, model->m, panel, bias, n, dim, y, VKERN_TILE_ROWS);
        for (size_t r = 0; r < n; r++)
            for (size_t k = 0; k < model->p; k++)
                to[(at + r) * model->p + k] = y[k * VKERN_TILE_ROWS + r] / inverse;
    }
    free(y);
    free(centred);
    free(panel);
    return to;
}

/* The largest of what facts bound. */
struct measured {
    long double error, size, bias;
};

/* The length outside the axes: none shorter is coded, and none longer than drift explains. */
static void check_rest(const struct set *set, const struct vkern_p8_facts *facts, double coded,
                       long double energy, long double kept)
{
    const long double norm2 = (long double)set->model.axes_norm * set->model.axes_norm;
    const long double rest2 = energy - kept / norm2;
    const long double most2 = fmaxl(rest2, 0) + 4 * sqrtl(kept) * facts->drift + 1e-13L * energy;

    assert_true(coded + facts->codes.error >= sqrtl(fmaxl(rest2 - 1e-16L * energy, 0)));
    assert_true(coded - facts->codes.error <= sqrtl(most2) * (1 + 1e-6L) + 1e-40L);
}

/* A row of a group against the contract and the facts; y: as the codec has it. */
static void check_row(const struct set *set, const struct vkern_p8_facts *facts, struct c8_group g,
                      size_t r, const float *x, const double *y, struct measured *most)
{
    const size_t dim = set->model.dim, p = set->model.p, d = vkern_p8_dim(&set->model);
    const float scale = factor_at(g, 1, r);
    long double *v = malloc(sizeof *v * dim), energy = 0, kept = 0, drift = 0, error = 0, size = 0;
    long double bias = 0;
    int32_t sum = 0;
    int widest = 0;

    centred_row(set, x, v);
    for (size_t i = 0; i < dim; i++)
        energy += v[i] * v[i];
    for (size_t k = 0; k < d; k++) {
        const int code = code_at(g, r, k);
        const long double stood_for = (long double)scale * (code - 128);
        assert_true(code >= 1);
        sum += code;
        widest = abs(code - 128) > widest ? abs(code - 128) : widest;
        size += stood_for * stood_for;
        if (k == p) continue; /* the rest */
        const long double a = along(set, v, k);
        kept += a * a;
        drift += (a - y[k]) * (a - y[k]);
        error += (y[k] - stood_for) * (y[k] - stood_for);
        bias += (long double)y[k] * y[k];
        /* codes are found in f32: near the border of two either may be taken */
        assert_true(fabsl(y[k] - stood_for) <= 0.5001L * scale + 1e-38L);
    }
    for (size_t i = d; i < 4 * g.lines; i++)
        assert_int_equal(code_at(g, r, i), 0);
    if (d > p) {
        assert_true(code_at(g, r, p) >= 128);
        check_rest(set, facts, (double)scale * (code_at(g, r, p) - 128), energy, kept);
    }
    assert_int_equal(sum_at(g, r), sum);
    assert_true(widest == 127 || scale < 1e-36f);
    if (set->model.metric == VKERN_IP) bias = 0;
    assert_true(fabsl(factor_at(g, 0, r) - bias) <= 0x1p-23L * bias + 1e-45L);
    assert_true(factor_at(g, 0, r) <= facts->codes.bias_max);
    if (sqrtl(drift) > facts->drift)
        fail_msg("row %zu drifts by %Lg, more than %g", r, sqrtl(drift), (double)facts->drift);
    if (sqrtl(error) > facts->codes.error)
        fail_msg("row %zu: error %Lg, more than %g", r, sqrtl(error), (double)facts->codes.error);
    assert_true(sqrtl(size) <= facts->codes.size);
    most->error = fmaxl(most->error, sqrtl(error));
    most->size = fmaxl(most->size, sqrtl(size));
    most->bias = fmaxl(most->bias, factor_at(g, 0, r));
    free(v);
}

/* Facts are maxima, not guesses: but for what rounding takes, and half a step of a rest. */
static void check_facts(const struct set *set, const struct vkern_p8_facts *facts,
                        const struct measured *most)
{
    const bool has_rest = set->model.metric == VKERN_IP;
    const double unit = 1 / inverse_unit(&set->model);
    const long double rest = has_rest ? 0.5001L * most->size / 127 : 0;
    const long double underflow = unit * 0x1p-69L + 1e-38L;

    assert_false(facts->codes.whole || facts->codes.is_signed);
    assert_true(facts->codes.bias_max == most->bias);
    assert_true(facts->codes.size <= most->size * (1 + 1e-6L) + 1e-38L);
    assert_true(facts->codes.error <= sqrtl(most->error * most->error + rest * rest) * (1 + 1e-4L) +
                                          1e-6L * most->size + underflow);
}

static void check_plane(const struct set *set, const vkern_table *table, const struct plane *plane)
{
    const size_t d = vkern_p8_dim(&set->model), p = set->model.p, dim = set->model.dim;
    double *y = projected(set, table);
    struct measured most = {0, 0, 0};

    for (size_t r = 0; r < 16 * vkern_groups(set->n); r++) {
        const struct c8_group g = {plane->groups + r / 16 * vkern_c8_group_bytes(d), (d + 3) / 4};
        if (r < set->n)
            check_row(set, &plane->facts, g, r % 16, set->rows + r * dim, y + r * p, &most);
        for (size_t i = 0; r >= set->n && i < 4 * (g.lines + 3); i++) /* padding */
            assert_int_equal(code_at(g, r % 16, i), 0);
    }
    check_facts(set, &plane->facts, &most);
    check_both(set, table, plane);
    check_joined(set, table, plane);
    free(y);
}

/* ---- the promise ----------------------------------------------------------------------------- */

/* A query's exact scores, and the cut of each row's own: rows no worse must not be above it. */
struct trial {
    const struct set *set;
    const struct plane *plane;
    const char *kind, *shape, *level;
    struct vkern_p8_side side;
    long double *exact;
    double *worst;
    float *cuts;
};

/* No less than x, in double. */
static double double_above(long double x)
{
    return nextafter((double)x, INFINITY);
}

static void explain(const struct trial *trial, const char *kernel, size_t row, size_t of,
                    float score)
{
    const struct vkern_model *model = &trial->set->model;

    fail_msg("%s, %s, metric %u, dim %u, p %u, norm %g, query of %s, %s: row %zu of %.17Lg scores "
             "%.9g, above the cut %.9g of %.17g",
             trial->kind, trial->shape, model->metric, model->dim, model->p,
             (double)model->axes_norm, trial->level, kernel, row, trial->exact[row], (double)score,
             (double)trial->cuts[of], trial->worst[of]);
}

static void check_scan(const struct trial *trial, const vkern_table *t, const char *name)
{
    const size_t n = trial->set->n, n_groups = vkern_groups(n);
    const size_t d = vkern_p8_dim(&trial->set->model);
    float *scores = floats(16 * n_groups);

    t->codes->c8_scan(&trial->side.codes.query, trial->plane->groups, n_groups, d, scores);
    for (size_t of = 0; of < n; of++)
        for (size_t r = 0; r < n; r++)
            if (trial->exact[r] <= trial->worst[of] && scores[r] > trial->cuts[of])
                explain(trial, name, r, of, scores[r]);
    free(scores);
}

/* The same query once for each cut. */
static void check_tile(const struct trial *trial, const vkern_table *t)
{
    enum { ROWS = VKERN_TILE_ROWS };
    const size_t n = trial->set->n < ROWS ? trial->set->n : ROWS, n_groups = vkern_groups(n);
    const size_t d = vkern_p8_dim(&trial->set->model);
    const struct vkern_tile8 *tile = t->codes->tile8;
    struct vkern_c8_query queries[ROWS];
    static uint16_t below[ROWS][VKERN_TILE_GROUPS];
    float *packed = floats(tile->pack_bytes(n, d) / 4), *out = floats(16 * n_groups);

    for (size_t q = 0; q < n; q++)
        queries[q] = trial->side.codes.query;
    tile->pack(queries, n, d, packed);
    memset(below, 0, sizeof below);
    tile->multiply(packed, n, trial->plane->groups, n_groups, d, out, 0, trial->cuts, below[0]);
    for (size_t of = 0; of < n; of++)
        for (size_t r = 0; r < n; r++)
            if (trial->exact[r] <= trial->worst[of] && !(below[of][r / 16] >> r % 16 & 1))
                explain(trial, tile->name, r, of, INFINITY);
    free(out);
    free(packed);
}

static void find_exact(struct trial *trial, const float *query)
{
    const struct set *set = trial->set;

    for (size_t r = 0; r < set->n; r++) {
        trial->exact[r] = exact_score(&set->model, query, set->rows + r * set->model.dim);
        trial->worst[r] = double_above(trial->exact[r]);
    }
}

/* A query of the size of a row, as far along each axis as along any other: its codes miss nothing,
 * so only the facts of rows answer for what rows miss. */
static void make_even_query(const struct set *set, float *query)
{
    const size_t dim = set->model.dim, p = set->model.p;
    long double *v = malloc(sizeof *v * dim), energy = 0;

    centred_row(set, set->rows, v);
    for (size_t i = 0; i < dim; i++)
        energy += v[i] * v[i];
    for (size_t i = 0; i < dim; i++)
        v[i] = set->model.metric == VKERN_IP ? 0 : (long double)set->mean[i];
    for (size_t k = 0; k < p; k++) {
        const long double far = random_u64() % 2 ? sqrtl(energy / p) : -sqrtl(energy / p);
        for (size_t i = 0; i < dim; i++)
            v[i] += far * set->axes[k * dim + i];
    }
    for (size_t i = 0; i < dim; i++)
        query[i] = (float)v[i];
    free(v);
}

/* Under ip, what lies outside the axes is coded no shorter than it is. */
static void check_rest_of_query(const struct set *set, const struct vkern_c8_side *side,
                                const float *query)
{
    const size_t dim = set->model.dim, p = set->model.p;
    const long double norm2 = (long double)set->model.axes_norm * set->model.axes_norm;
    long double *v = malloc(sizeof *v * dim), energy = 0, kept = 0;

    for (size_t i = 0; i < dim; i++)
        v[i] = query[i], energy += v[i] * v[i];
    for (size_t k = 0; k < p; k++)
        kept += along(set, v, k) * along(set, v, k);
    const long double coded = -(long double)side->query.weight * side->query.codes[p];
    assert_true(coded + side->v_error >= sqrtl(fmaxl(energy - kept / norm2 - 1e-16L * energy, 0)));
    free(v);
}

/* A query of this level, kernels of any. */
static void check_promise(struct trial *trial, const vkern_table *t, const float *query)
{
    const struct vkern_model *model = &trial->set->model;
    const size_t d = vkern_p8_dim(model), width = (d + 3) / 4 * 4;
    const size_t scratch_size = 4 * (model->p + 1 + (size_t)model->dim);
    struct guarded memory = guarded_open(scratch_size), code_memory = guarded_open(width);
    float *scratch = guarded_end(&memory, scratch_size);
    int8_t *codes = guarded_end(&code_memory, width);

    find_exact(trial, query);
    memset(scratch, 0xff, scratch_size);
    memset(codes, 0x55, width);
    vkern_p8_query_make(t, model, query, scratch, codes, &trial->side);
    for (size_t i = d; i < width; i++)
        assert_int_equal(codes[i], 0);
    if (model->metric == VKERN_IP) check_rest_of_query(trial->set, &trial->side.codes, query);
    for (size_t r = 0; r < trial->set->n; r++) {
        const float cut = vkern_p8_cut(model, &trial->plane->facts, &trial->side, trial->worst[r]);
        /* only a query of zeros has nothing to be cut by */
        if (isfinite(cut) != (model->metric != VKERN_COSINE || norm_of(query, model->dim) > 0))
            fail_msg("%s, %s, metric %u: cut %g", trial->kind, trial->shape, model->metric,
                     (double)cut);
        trial->cuts[r] = cut;
    }
    for (size_t s = 0; s < levels.n; s++) {
        check_scan(trial, &levels.table[s], levels.name[s]);
        check_tile(trial, &levels.table[s]);
    }
    guarded_close(&code_memory);
    guarded_close(&memory);
}

/* Groups of every level, queries of that and of the next: files are read elsewhere than made. */
static void check_level(enum kind kind, enum shape shape, const struct set *set, size_t level,
                        size_t offset)
{
    struct plane plane = plane_open(set, &levels.table[level], offset);
    struct trial trial = {.set = set,
                          .plane = &plane,
                          .kind = kind_names[kind],
                          .shape = shape_names[shape],
                          .exact = malloc(sizeof(long double) * set->n),
                          .worst = malloc(sizeof(double) * set->n),
                          .cuts = floats(set->n)};
    float *query = floats(set->model.dim);

    check_plane(set, &levels.table[level], &plane);
    for (size_t which = 0; which < 16; which++) {
        const size_t of = (level + which / 8) % levels.n;
        if (which % 8 < 6)
            make_query(set, kind, which % 8, query);
        else
            make_even_query(set, query);
        trial.level = levels.name[of];
        check_promise(&trial, &levels.table[of], query);
    }
    free(query);
    free(trial.cuts);
    free(trial.worst);
    free(trial.exact);
    plane_close(&plane);
}

static void check_case(enum kind kind, enum shape shape, enum vkern_metric metric, size_t n,
                       size_t dim, size_t m, size_t p)
{
    struct set set = p8_set_open(kind, shape, metric, n, dim, m, p);

    for (size_t l = 0; l < levels.n; l++)
        check_level(kind, shape, &set, l, (n + dim + l) % 3);
    set_close(&set);
}

static void no_row_is_above_its_own_cut(void **state)
{
    static const size_t counts[] = {1, 16, 21, 37};
    static const struct {
        size_t dim, m, p;
    } sizes[] = {{16, 16, 16}, {17, 16, 8}, {33, 24, 24}, {61, 48, 32}};
    size_t turn = 0;

    (void)state;
    for (int kind = 0; kind < N_KINDS; kind++)
        for (int shape = 0; shape < N_SHAPES; shape++)
            for (int metric = VKERN_L2; metric <= VKERN_IP; metric++, turn++) {
                const size_t s = turn % COUNT(sizes);
                check_case(kind, shape, metric, counts[(turn / 4 + turn) % COUNT(counts)],
                           sizes[s].dim, sizes[s].m, sizes[s].p);
            }
}

static void nor_in_longer_rows(void **state)
{
    (void)state;
    for (int metric = VKERN_L2; metric <= VKERN_IP; metric++) {
        check_case(GAUSSIAN, BENT_AXES, metric, 19, 255, 96, 64);
        check_case(OUTLIER, FITTING, metric, 18, 784, 96, 96);
        check_case(BYTES, FAR_MEAN, metric, 5, 1024, 128, 40);
        check_case(GAUSSIAN, FITTING, metric, 261, 40, 16, 8); /* two tiles */
    }
}

/* Projections that drift by a known part, far more than codes miss: of rows, of the query, of both.
 * Along all axes nothing else stands between scores and exact ones. */
static void check_drift(enum vkern_metric metric, float of_rows, float of_query)
{
    enum { N = 40, DIM = 16 };
    struct set set = p8_set_open(GAUSSIAN, FITTING, metric, N, DIM, DIM, DIM);
    struct set rows = set, queries = set;
    long double exact[N], longest = 0, v[DIM], length;
    double worst[N];
    float cuts[N], query[DIM], scratch[2 * DIM + 1];
    int8_t codes[DIM + 4];

    rows.model.axes = rows.axes = memcpy(floats(DIM * DIM), set.axes, sizeof(float) * DIM * DIM);
    queries.model.axes = queries.axes =
        memcpy(floats(DIM * DIM), set.axes, sizeof(float) * DIM * DIM);
    lengthen_axes(&rows, 1 + of_rows);
    lengthen_axes(&queries, 1 + of_query);
    struct plane plane = plane_open(&rows, &levels.table[0], 0);
    struct trial trial = {&set,        &plane, "gaussian", "drifting", "ref",
                          {.norm = 0}, exact,  worst,      cuts};
    for (size_t r = 0; r < N; r++) {
        centred_row(&set, set.rows + r * DIM, v);
        length = 0;
        for (size_t i = 0; i < DIM; i++)
            length += v[i] * v[i];
        longest = fmaxl(longest, sqrtl(length));
    }
    plane.facts.drift += (float)(longest * of_rows) * 1.00001f;
    for (size_t turn = 0; turn < 10; turn++) {
        make_query(&set, GAUSSIAN, 0, query);
        find_exact(&trial, query);
        vkern_p8_query_make(&levels.table[0], &queries.model, query, scratch, codes, &trial.side);
        trial.side.drift += trial.side.codes.v_norm * of_query; /* v_norm is of the longer one */
        for (size_t r = 0; r < N; r++) {
            cuts[r] = vkern_p8_cut(&set.model, &plane.facts, &trial.side, worst[r]);
            assert_true(isfinite(cuts[r]));
        }
        check_scan(&trial, &levels.table[0], "ref");
    }
    plane_close(&plane);
    free(queries.axes);
    free(rows.axes);
    set_close(&set);
}

static void cuts_allow_for_drift(void **state)
{
    (void)state;
    for (int metric = VKERN_L2; metric <= VKERN_IP; metric++) {
        check_drift(metric, 0.2f, 0);
        check_drift(metric, 0, 0.2f);
        check_drift(metric, 0.2f, 0.2f);
    }
}

/* ---- its use --------------------------------------------------------------------------------- */

/* Rows whose deviations along the axes fall by a tenth from each to the next, and next to nothing
 * outside. */
static void decay(struct set *set)
{
    const size_t dim = set->model.dim;

    for (size_t r = 0; r < set->n; r++) {
        float *x = set->rows + r * dim;
        for (size_t i = 0; i < dim; i++)
            x[i] = (float)(set->mean[i] + 0.01 * normal());
        for (size_t k = 0; k < set->model.m; k++) {
            const double y = pow(0.9, (double)k) * normal();
            for (size_t i = 0; i < dim; i++)
                x[i] += (float)(y * set->axes[k * dim + i]);
        }
    }
}

static int compare(const void *a, const void *b)
{
    const long double x = *(const long double *)a, y = *(const long double *)b;

    return (x > y) - (x < y);
}

/* How many rows the cut of the tenth best leaves. */
static size_t left_by_cut(const struct set *set, const struct plane *plane, const float *query)
{
    const size_t n_groups = vkern_groups(set->n), d = vkern_p8_dim(&set->model);
    long double *exact = malloc(sizeof *exact * set->n);
    float *scores = floats(16 * n_groups), *scratch = floats(d + 1 + set->model.dim);
    int8_t *codes = malloc(d + 4);
    struct vkern_p8_side side;
    size_t left = 0;

    for (size_t r = 0; r < set->n; r++)
        exact[r] = exact_score(&set->model, query, set->rows + r * set->model.dim);
    qsort(exact, set->n, sizeof *exact, compare);
    vkern_p8_query_make(&levels.table[0], &set->model, query, scratch, codes, &side);
    const float cut = vkern_p8_cut(&set->model, &plane->facts, &side, double_above(exact[9]));
    levels.table[0].codes->c8_scan(&side.codes.query, plane->groups, n_groups, d, scores);
    for (size_t r = 0; r < set->n; r++)
        left += !(scores[r] > cut);
    free(codes);
    free(scratch);
    free(scores);
    free(exact);
    return left;
}

/* A cut that leaves all rows would keep the promise too. */
static void cuts_leave_few_rows(void **state)
{
    enum { N = 2000, DIM = 64, AXES = 48, USED = 32, QUERIES = 20 };

    (void)state;
    for (int metric = VKERN_L2; metric <= VKERN_IP; metric++) {
        struct set set = set_open(GAUSSIAN, metric, N, DIM);
        size_t left = 0;
        memset(set.mean, 0, sizeof(float) * DIM);
        make_axes(&set, AXES);
        decay(&set);
        fit_model(&set);
        fit_deviations(&set);
        set.model.p = USED;
        set.model.axes_norm = vkern_axes_norm(set.axes, USED, DIM);
        struct plane plane = plane_open(&set, &levels.table[0], 0);
        for (size_t q = 0; q < QUERIES; q++) {
            float query[DIM];
            for (size_t i = 0; i < DIM; i++) /* near a row */
                query[i] = set.rows[(97 * q + 5) * DIM + i] + (float)(0.05 * normal());
            left += left_by_cut(&set, &plane, query);
        }
        print_message("metric %d: the cut of the tenth best leaves %.2f %% of %d rows\n", metric,
                      100.0 * (double)left / QUERIES / N, N);
        assert_true(left >= 10 * QUERIES);
        assert_true(left <= (size_t)QUERIES * N / 20);
        plane_close(&plane);
        set_close(&set);
    }
}

/* ---- what has no cut ------------------------------------------------------------------------- */

struct refusal {
    const char *name;
    enum vkern_metric metric;
    float element, deviation;
    bool is_encoded;
};

/* Rows of one element that leave f32 in some number. */
static void what_leaves_f32_is_refused(void **state)
{
    static const struct refusal cases[] = {
        {"ordinary", VKERN_L2, 1, 1, true},
        {"the square is beyond f32", VKERN_L2, 1e19f, 1e19f, false},
        {"as an inner product it has none", VKERN_IP, 1e19f, 1e19f, true},
        {"the row is beyond f32 in the unit", VKERN_L2, 1e10f, 1e-30f, false},
        {"one row alone is", VKERN_L2, 3e38f, 1e-3f, false},
        {"the same, ip", VKERN_IP, 1e10f, 1e-30f, false},
        {"the projection is beyond f32", VKERN_IP, 1e38f, 1, false},
        {"the norm is beyond f32", VKERN_IP, 3e38f, 1e38f, false},
        {"what the step misses is", VKERN_IP, 1e25f, 1, false},
        {"all rows are unit vectors", VKERN_COSINE, 3e38f, 1, true},
    };

    (void)state;
    for (size_t c = 0; c < COUNT(cases); c++) {
        struct set set = set_open(GAUSSIAN, cases[c].metric, 20, 32);
        struct vkern_p8_facts facts;
        make_axes(&set, 16);
        fit_deviations(&set);
        for (size_t k = 0; k < 16; k++)
            set.deviation[k] = cases[c].deviation;
        for (size_t i = 0; i < 32; i++)
            set.rows[7 * 32 + i] = i % 2 ? cases[c].element : -cases[c].element;
        set.model.p = 16;
        set.model.axes_norm = vkern_axes_norm(set.axes, 16, 32);
        unsigned char *groups = malloc(plane_size(&set));
        float *scratch = floats(vkern_c4_scratch(&set.model));
        const bool is_encoded = vkern_axes_encode(&levels.table[0], &set.model, set.rows, set.n,
                                                  scratch, NULL, groups, &facts);
        if (is_encoded != cases[c].is_encoded) fail_msg("%s: %d", cases[c].name, is_encoded);
        free(scratch);
        free(groups);
        set_close(&set);
    }
}

static float cut_of(const struct set *set, const struct vkern_p8_facts *facts, float element,
                    double worst)
{
    struct vkern_p8_side side;
    float query[32], scratch[16 + 1 + 32];
    int8_t codes[20];

    for (size_t i = 0; i < 32; i++)
        query[i] = i % 3 ? element : -element;
    vkern_p8_query_make(&levels.table[0], &set->model, query, scratch, codes, &side);
    return vkern_p8_cut(&set->model, facts, &side, worst);
}

static void queries_beyond_f32_have_no_cut(void **state)
{
    (void)state;
    for (int metric = VKERN_L2; metric <= VKERN_IP; metric++) {
        struct set set = p8_set_open(GAUSSIAN, FITTING, metric, 20, 32, 16, 16);
        struct plane plane = plane_open(&set, &levels.table[0], 0);
        struct vkern_p8_facts wide = plane.facts;
        wide.codes.size = 1e30f;
        assert_true(isfinite(cut_of(&set, &plane.facts, 1, 0)));
        assert_true(cut_of(&set, &plane.facts, 1, INFINITY) == INFINITY);
        assert_true(cut_of(&set, &plane.facts, 1, DBL_MAX) == INFINITY);
        assert_true(cut_of(&set, &plane.facts, 1, -DBL_MAX) < INFINITY);
        assert_true(!isnan(cut_of(&set, &plane.facts, 1, -INFINITY)));
        if (metric == VKERN_COSINE) /* any query is a unit vector, but zero none */
            assert_true(isfinite(cut_of(&set, &plane.facts, 3e38f, 0)) &&
                        cut_of(&set, &plane.facts, 0, 0) == INFINITY);
        else
            assert_true(cut_of(&set, &plane.facts, 3e38f, 0) == INFINITY &&
                        cut_of(&set, &wide, 1e10f, 0) == INFINITY);
        plane_close(&plane);
        set_close(&set);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norms_of_axes_are_bounds),
        cmocka_unit_test(norms_of_known_axes),
        cmocka_unit_test(no_row_is_above_its_own_cut),
        cmocka_unit_test(nor_in_longer_rows),
        cmocka_unit_test(cuts_allow_for_drift),
        cmocka_unit_test(cuts_leave_few_rows),
        cmocka_unit_test(what_leaves_f32_is_refused),
        cmocka_unit_test(queries_beyond_f32_have_no_cut),
    };

    seed_random("test_codes_p8");
    levels = all_levels();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
