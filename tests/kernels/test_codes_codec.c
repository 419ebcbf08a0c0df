/*
 * test_codes_codec.c - rows and queries as codes (kernels/codes/codec.c): bytes lie where codes.h
 * says, stand for what it says, and every c8 score of every level is within its band of the exact
 * one.
 */
#include "codes_set.h"

static struct levels levels;

/* ---- c8 ----------------------------------------------------------------------------------------
 */

/* z of the contract, in numbers wide enough to measure double by. */
static long double z_of(const struct set *set, const struct vkern_c8_facts *facts, long double norm,
                        const float *x, size_t i)
{
    long double value = x[i];

    if (set->model.metric == VKERN_COSINE) value = norm > 0 ? value / norm : 0;
    return facts->whole ? value : (value - set->mean[i]) / set->scale[i];
}

/* A row's codes, sum and factors against the contract; returns its distance from what they stand
 * for. */
static long double check_c8_row(const struct set *set, const struct vkern_c8_facts *facts,
                                struct c8_group g, size_t r, const float *x)
{
    const size_t dim = set->model.dim;
    const int zero = facts->whole && !facts->is_signed ? 0 : 128;
    const float scale = factor_at(g, 1, r);
    const long double norm = norm_of(x, dim);
    long double error = 0, bias = 0, size = 0;
    int32_t sum = 0;

    for (size_t i = 0; i < dim; i++) {
        const int code = code_at(g, r, i);
        const long double z = z_of(set, facts, norm, x, i);
        const long double centred = x[i] - (facts->whole ? 0 : (long double)set->mean[i]);
        const long double stood_for = (long double)scale * (code - zero);
        sum += code;
        error += (z - stood_for) * (z - stood_for);
        size += stood_for * stood_for;
        bias += centred * centred;
        if (facts->whole) assert_int_equal(code, (int)x[i] + zero);
        /* u - mean may cancel to what double leaves of u */
        if (!facts->whole)
            assert_true(fabsl(z - stood_for) <= 0.501L * scale + 1e-15L / set->scale[i]);
    }
    for (size_t i = dim; i < 4 * g.lines; i++)
        assert_int_equal(code_at(g, r, i), 0);
    if (set->model.metric != VKERN_L2) bias = 0;
    assert_int_equal(sum_at(g, r), sum);
    assert_true(fabsl(factor_at(g, 0, r) - bias) <= 0x1p-23L * bias + 1e-45L);
    assert_true(factor_at(g, 0, r) <= facts->bias_max);
    assert_true(sqrtl(size) <= facts->size);
    assert_true(sqrtl(error) <= facts->error);
    return sqrtl(error);
}

static void check_c8_rows(const struct set *set, const struct vkern_c8_facts *facts,
                          unsigned char *groups)
{
    const size_t dim = set->model.dim, bytes = vkern_c8_group_bytes(dim);
    long double error = 0, least = INFINITY;

    for (size_t i = 0; i < dim; i++)
        least = fminl(least, set->scale[i]);
    for (size_t r = 0; r < 16 * vkern_groups(set->n); r++) {
        const struct c8_group g = {groups + r / 16 * bytes, (dim + 3) / 4};
        if (r < set->n) {
            const long double of_row = check_c8_row(set, facts, g, r % 16, set->rows + r * dim);
            error = of_row > error ? of_row : error;
            continue;
        }
        for (size_t i = 0; i < 4 * (g.lines + 3); i++) /* padding */
            assert_int_equal(code_at(g, r % 16, i), 0);
    }
    /* the facts are maxima, not guesses */
    assert_true(facts->error <= 1.0001L * error + 1e-6L * facts->size + 1e-11L / least);
}

static void check_band(const struct set *set, const struct vkern_c8_facts *facts,
                       const unsigned char *groups, const float *query, const char *kind)
{
    const size_t dim = set->model.dim, n_groups = vkern_groups(set->n);
    float *scores = floats(16 * n_groups);
    int8_t *codes = malloc(dim + 4);
    struct vkern_c8_side side;

    vkern_c8_query_make(&set->model, facts, query, codes, &side);
    const double band = vkern_c8_band(&set->model, facts, &side);
    assert_true(isfinite(band) && band >= 0);
    for (size_t l = 0; l < levels.n; l++) {
        levels.table[l].codes->c8_scan(&side.query, groups, n_groups, dim, scores);
        for (size_t r = 0; r < set->n; r++) {
            const long double want = exact_score(&set->model, query, set->rows + r * dim);
            const long double got = (long double)side.offset + scores[r];
            if (!(fabsl(got - want) <= band))
                fail_msg("%s, metric %u, dim %zu, level %s, row %zu: %.9Lg, not %.9Lg (band %g)",
                         kind, set->model.metric, dim, levels.name[l], r, got, want, band);
        }
    }
    free(codes);
    free(scores);
}

/* In parts of a group, the last ones first, at any level: the bytes and facts of one call. */
static void check_parts(const vkern_table *table, const struct set *set,
                        const unsigned char *groups, const struct vkern_c8_facts *facts)
{
    enum { PART = VKERN_GROUP };
    const size_t dim = set->model.dim, group_bytes = vkern_c8_group_bytes(dim);
    const size_t size = vkern_groups(set->n) * group_bytes;
    unsigned char *parts = malloc(size);
    struct vkern_c8_range range = VKERN_C8_RANGE_INIT;
    struct vkern_c8_extremes extremes = {0, 0, 0, 0};
    struct vkern_c8_facts joined;

    assert_non_null(parts);
    memset(parts, 0xdd, size);
    for (size_t at = (set->n - 1) / PART * PART, left = set->n - at;; at -= PART, left = PART) {
        struct vkern_c8_range one = VKERN_C8_RANGE_INIT;
        vkern_c8_look(table, set->rows + at * dim, left, dim, &one);
        vkern_c8_join_ranges(&range, &one);
        if (at == 0) break;
    }
    for (size_t at = (set->n - 1) / PART * PART, left = set->n - at;; at -= PART, left = PART) {
        struct vkern_c8_extremes one = {0, 0, 0, 0};
        vkern_c8_encode_part(table, &set->model, &range, set->rows + at * dim, left,
                             parts + at / VKERN_GROUP * group_bytes, &one);
        vkern_c8_join_extremes(&extremes, &one);
        if (at == 0) break;
    }
    assert_true(vkern_c8_conclude(&set->model, &range, &extremes, &joined));
    assert_memory_equal(parts, groups, size);
    assert_int_equal(joined.whole, facts->whole);
    assert_int_equal(joined.is_signed, facts->is_signed);
    assert_true(joined.error == facts->error && joined.size == facts->size &&
                joined.bias_max == facts->bias_max);
    free(parts);
}

static void check_kind(enum kind kind, enum vkern_metric metric, size_t n, size_t dim)
{
    struct set set = set_open(kind, metric, n, dim);
    unsigned char *groups = malloc(vkern_groups(n) * vkern_c8_group_bytes(dim) + 1);
    float *query = floats(dim);
    struct vkern_c8_facts facts;

    memset(groups, 0xee, vkern_groups(n) * vkern_c8_group_bytes(dim) + 1);
    assert_true(vkern_c8_encode(&levels.table[0], &set.model, set.rows, n, groups, &facts));
    assert_int_equal(facts.whole, kind == BYTES || kind == SIGNED_BYTES || kind == ZERO_ROWS ||
                                      (facts.whole && kind == MIXED_BYTES && n * dim < 16));
    check_c8_rows(&set, &facts, groups);
    for (size_t l = 0; l < levels.n; l++)
        check_parts(&levels.table[l], &set, groups, &facts);
    assert_int_equal(groups[vkern_groups(n) * vkern_c8_group_bytes(dim)], 0xee);
    for (size_t which = 0; which < 6; which++) {
        make_query(&set, kind, which, query);
        check_band(&set, &facts, groups, query, kind_names[kind]);
    }
    free(query);
    free(groups);
    set_close(&set);
}

static void c8_scores_are_within_their_band(void **state)
{
    static const size_t dims[] = {1, 3, 5, 8, 127, 128, 784};
    static const size_t counts[] = {1, 16, 21, 37};

    (void)state;
    for (size_t d = 0; d < COUNT(dims); d++)
        for (int kind = 0; kind < N_KINDS; kind++)
            for (int metric = VKERN_L2; metric <= VKERN_IP; metric++)
                check_kind(kind, metric, counts[(d + (size_t)kind) % COUNT(counts)], dims[d]);
    for (int kind = 0; kind < N_KINDS; kind++)
        check_kind(kind, kind % 3, 3, 4096);
    check_kind(BYTES, VKERN_L2, 2, VKERN_C8_DIM_MAX);
    check_kind(GAUSSIAN, VKERN_COSINE, 2, VKERN_C8_DIM_MAX);
}

/* A band that is only wide proves nothing of use: where rows and queries are whole it is rounding
 * alone, elsewhere some hundredths of |q| |x|. */
static void bands_are_narrow(void **state)
{
    static const enum kind kinds[] = {BYTES, GAUSSIAN};

    (void)state;
    for (size_t k = 0; k < COUNT(kinds); k++) {
        struct set set = set_open(kinds[k], VKERN_IP, 32, 128);
        unsigned char *groups = malloc(2 * vkern_c8_group_bytes(128));
        int8_t codes[128];
        float query[128];
        struct vkern_c8_facts facts;
        struct vkern_c8_side side;
        long double size = 0;

        make_query(&set, kinds[k], 0, query);
        assert_true(vkern_c8_encode(&levels.table[0], &set.model, set.rows, 32, groups, &facts));
        vkern_c8_query_make(&set.model, &facts, query, codes, &side);
        for (size_t r = 0; r < 32; r++)
            size = fmaxl(size, norm_of(query, 128) * norm_of(set.rows + 128 * r, 128));
        assert_true(vkern_c8_band(&set.model, &facts, &side) <=
                    (double)size * (kinds[k] == BYTES ? 0x1p-21 : 0.03));
        free(groups);
        set_close(&set);
    }
}

/* An element, step, bias or norm beyond f32 is refused; a score beyond it has no band. */
static void what_leaves_f32_is_refused(void **state)
{
    float row[8] = {3e38f, -3e38f, 1, 1, 1, 1, 1, 1}, mean[8] = {0}, scale[8], query[8];
    unsigned char *groups = malloc(vkern_c8_group_bytes(8));
    struct vkern_model model = {8, 0, VKERN_IP, mean, scale, NULL, NULL, 1, 0, 0};
    int8_t codes[8];
    struct vkern_c8_facts facts;
    struct vkern_c8_side side;

    (void)state;
    for (size_t i = 0; i < 8; i++)
        scale[i] = 1, query[i] = 1e20f;
    scale[0] = 1e-10f; /* z of element 0: 3e48 */
    assert_false(vkern_c8_encode(&levels.table[0], &model, row, 1, groups, &facts));
    scale[0] = 1;
    model.metric = VKERN_L2; /* bias 1.8e77 */
    assert_false(vkern_c8_encode(&levels.table[0], &model, row, 1, groups, &facts));
    row[0] = 1e19f, row[1] = -1e18f, model.metric = VKERN_IP;
    assert_true(vkern_c8_encode(&levels.table[0], &model, row, 1, groups, &facts));
    vkern_c8_query_make(&model, &facts, query, codes, &side);
    assert_true(vkern_c8_band(&model, &facts, &side) == INFINITY);
    query[0] = 1;
    for (size_t i = 0; i < 8; i++)
        query[i] = 1e10f;
    vkern_c8_query_make(&model, &facts, query, codes, &side);
    assert_true(isfinite(vkern_c8_band(&model, &facts, &side)));
    free(groups);
}

/* ---- c4 ----------------------------------------------------------------------------------------
 */

static unsigned nibble(const unsigned char *group, size_t r, size_t k)
{
    const unsigned byte = group[64 * (k / 8) + 4 * r + k % 4];

    return k % 8 < 4 ? byte & 15 : byte >> 4;
}

/* The square of the power of two above the largest deviation: what scores are in units of. */
static long double unit_squared(const struct set *set)
{
    int exponent, most = -10000;

    for (size_t k = 0; k < set->model.m; k++) {
        frexpf(set->deviation[k], &exponent);
        most = exponent > most ? exponent : most;
    }
    return ldexpl(1, 2 * most);
}

/* Codes within a rounding of the nearest step, and the factor that follows from them. */
static void check_c4_row(const struct set *set, const unsigned char *group, size_t r,
                         const float *x)
{
    const size_t dim = set->model.dim, m = set->model.m;
    long double *centred = malloc(sizeof *centred * dim), code2 = 0, miss2 = 0, kept2 = 0, all2 = 0;
    float factor;

    centred_row(set, x, centred);
    for (size_t i = 0; i < dim; i++)
        all2 += centred[i] * centred[i];
    for (size_t k = 0; k < m; k++) {
        const long double low = (long double)set->model.clip * set->deviation[k];
        const long double step = 2 * low / 15, y = along(set, centred, k);
        const long double c = nibble(group, r, k) * step - low;
        const long double nearest = fminl(fmaxl((y + low) / step, 0), 15);
        const long double slack = 0.5L + 1e-4L + 1e-5L * sqrtl(all2) / step;
        if (fabsl(nearest - nibble(group, r, k)) > slack)
            fail_msg("row %zu, axis %zu: code %u, not near %Lg", r, k, nibble(group, r, k),
                     nearest);
        code2 += c * c;
        miss2 += (y - c) * (y - c);
        kept2 += y * y;
    }
    memcpy(&factor, group + 8 * m + 4 * r, 4);
    const long double unit2 = unit_squared(set);
    const long double want = (code2 - miss2 + fmaxl(all2 - kept2, 0)) / 2 / unit2;
    const long double scale = (code2 + miss2 + all2) / unit2;
    if (set->model.metric == VKERN_IP)
        assert_true(factor == 0);
    else
        assert_true(fabsl(factor - want) <= 1e-4L * scale);
    free(centred);
}

static void check_c4(enum kind kind, enum vkern_metric metric, size_t n, size_t dim, size_t m)
{
    struct set set = set_open(kind, metric, n, dim);
    make_axes(&set, m);
    fit_deviations(&set);
    const size_t bytes = vkern_c4_group_bytes(m), size = vkern_groups(n) * bytes;
    float *scratch = floats(vkern_c4_scratch(&set.model));
    unsigned char *groups = malloc(size + 1);

    for (size_t l = 0; l < levels.n; l++) {
        memset(groups, 0xee, size + 1);
        memset(scratch, 0xff, 4 * vkern_c4_scratch(&set.model)); /* NaN */
        vkern_c4_encode(&levels.table[l], &set.model, set.rows, n, scratch, groups);
        assert_int_equal(groups[size], 0xee);
        for (size_t r = 0; r < 16 * vkern_groups(n); r++) {
            const unsigned char *group = groups + r / 16 * bytes;
            if (r < n) check_c4_row(&set, group, r % 16, set.rows + r * dim);
            for (size_t line = 0; r >= n && line <= m / 8; line++)
                for (size_t j = 0; j < 4; j++)
                    assert_int_equal(group[64 * line + 4 * (r % 16) + j], 0);
        }
    }
    free(groups);
    free(scratch);
    set_close(&set);
}

static void c4_codes_are_what_they_stand_for(void **state)
{
    static const enum kind kinds[] = {GAUSSIAN, OFFSET, BYTES, TINY_ROWS, HUGE_ROWS, EQUAL_ROWS};

    (void)state;
    for (size_t k = 0; k < COUNT(kinds); k++)
        for (int metric = VKERN_L2; metric <= VKERN_IP; metric++) {
            check_c4(kinds[k], metric, 37, 40, 16);
            check_c4(kinds[k], metric, 16, 9, 8);
        }
    check_c4(GAUSSIAN, VKERN_L2, 300, 61, 48); /* two tiles */
    check_c4(GAUSSIAN, VKERN_COSINE, 5, 784, 96);
}

/* Along all axes the score of a query at a row is half the squared distance up to a constant, but
 * for the rounding of the query's weights: the row itself scores least, and differences are right.
 */
static void c4_scores_order_rows(enum vkern_metric metric, enum kind kind)
{
    enum { N = 64, DIM = 32 };
    struct set set = set_open(kind, metric, N, DIM);
    make_axes(&set, DIM);
    fit_deviations(&set);
    float *scratch = floats(vkern_c4_scratch(&set.model)), *scores = floats(N), scale;
    unsigned char *groups = malloc(N / 16 * vkern_c4_group_bytes(DIM));
    int8_t weights[DIM];
    size_t n_first = 0;

    for (size_t l = 0; l < levels.n; l++) {
        vkern_c4_encode(&levels.table[l], &set.model, set.rows, N, scratch, groups);
        for (size_t q = 0; q < N; q++) {
            const float *query = set.rows + q * DIM;
            size_t least = 0;
            vkern_c4_query_make(&levels.table[l], &set.model, query, scratch, weights, &scale);
            assert_true(isfinite(scale) && scale >= 0);
            levels.table[l].codes->c4_scan(weights, scale, groups, N / 16, DIM, scores, 0, NULL);
            for (size_t r = 1; r < N; r++)
                least = scores[r] < scores[least] ? r : least;
            n_first += least == q;
        }
    }
    /* ip: the nearest of a row need not be itself; one row is zero, and under cosine has no
     * direction */
    if (metric != VKERN_IP) assert_true(n_first >= levels.n * (N - 1));
    free(groups);
    free(scores);
    free(scratch);
    set_close(&set);
}

static void c4_finds_a_row_by_itself(void **state)
{
    static const enum kind kinds[] = {GAUSSIAN, TINY_ROWS, HUGE_ROWS, BYTES};

    (void)state;
    for (size_t k = 0; k < COUNT(kinds); k++)
        for (int metric = VKERN_L2; metric <= VKERN_COSINE; metric++)
            c4_scores_order_rows(metric, kinds[k]);
}

/* Weights of a query: nearest to weight_scale's multiples, the largest 127; zero where nothing is
 * asked. */
static void c4_queries(void **state)
{
    for (int metric = VKERN_L2; metric <= VKERN_IP; metric++) {
        struct set set = set_open(GAUSSIAN, metric, 20, 24);
        make_axes(&set, 16);
        fit_deviations(&set);
        float query[24], scratch[40], scale;
        long double centred[24], unit = sqrtl(unit_squared(&set)), norm;
        int8_t weights[16];
        int most = 0;

        (void)state;
        for (size_t i = 0; i < 24; i++)
            query[i] = (float)normal();
        norm = norm_of(query, 24);
        vkern_c4_query_make(&levels.table[0], &set.model, query, scratch, weights, &scale);
        for (size_t i = 0; i < 24; i++)
            centred[i] = query[i] / (metric == VKERN_COSINE ? norm : 1) -
                         (metric == VKERN_IP ? 0 : (long double)set.mean[i]);
        for (size_t k = 0; k < 16; k++) {
            const long double step = 2 * (long double)set.model.clip * set.deviation[k] / 15 / unit;
            const long double want = along(&set, centred, k) / unit * step;
            assert_true(fabsl(want - (long double)scale * weights[k]) <= 0.5001L * scale);
            most = abs(weights[k]) > most ? abs(weights[k]) : most;
        }
        assert_int_equal(most, 127);

        memset(query, 0, sizeof query);
        if (metric == VKERN_L2) memcpy(query, set.mean, sizeof query); /* centred, it is zero */
        vkern_c4_query_make(&levels.table[0], &set.model, query, scratch, weights, &scale);
        for (size_t k = 0; k < 16; k++)
            assert_int_equal(weights[k], 0);
        assert_true(scale == 0);
        set_close(&set);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(c8_scores_are_within_their_band),
        cmocka_unit_test(bands_are_narrow),
        cmocka_unit_test(what_leaves_f32_is_refused),
        cmocka_unit_test(c4_codes_are_what_they_stand_for),
        cmocka_unit_test(c4_finds_a_row_by_itself),
        cmocka_unit_test(c4_queries),
    };

    seed_random("test_codes_codec");
    levels = all_levels();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
