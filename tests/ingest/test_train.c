/*
 * test_train.c - moments, axes and their number: of samples whose covariance is known, and of samples that have no
 * sensible one.
 */
#include "common/cmocka.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/random.h"
#include "ingest/train.h"

static double normal(struct rng *rng)
{
    return sqrt(-2 * log(1 - vindex__rng_unit(rng))) *
           cos(6.283185307179586 * vindex__rng_unit(rng));
}

static float *floats(size_t n)
{
    float *array = vindex__alloc_aligned(n, sizeof *array);
    assert_non_null(array);
    memset(array, 0, n * sizeof *array);
    return array;
}

/* n_rows orthonormal rows. */
static void random_rotation(double *rows, size_t n_rows, size_t dim, struct rng *rng)
{
    for (size_t i = 0; i < n_rows; i++) {
        double *row = rows + i * dim, norm = 0;
        for (size_t d = 0; d < dim; d++)
            row[d] = normal(rng);
        for (int pass = 0; pass < 2; pass++)
            for (size_t j = 0; j < i; j++) {
                double product = 0;
                for (size_t d = 0; d < dim; d++)
                    product += row[d] * rows[j * dim + d];
                for (size_t d = 0; d < dim; d++)
                    row[d] -= product * rows[j * dim + d];
            }
        for (size_t d = 0; d < dim; d++)
            norm += row[d] * row[d];
        for (size_t d = 0; d < dim; d++)
            row[d] /= sqrt(norm);
    }
}

/* Normal rows with these deviations along n_axes orthonormal directions, about a mean. */
struct law {
    size_t dim, n_axes;
    double *directions, *deviations, *mean;
};

static void law_init(struct law *law, size_t dim, size_t n_axes, double first, double ratio,
                     struct rng *rng)
{
    law->dim = dim;
    law->n_axes = n_axes;
    law->directions = calloc(n_axes * dim, sizeof(double));
    law->deviations = calloc(n_axes, sizeof(double));
    law->mean = calloc(dim, sizeof(double));
    assert_true(law->directions && law->deviations && law->mean);
    random_rotation(law->directions, n_axes, dim, rng);
    for (size_t k = 0; k < n_axes; k++, first *= ratio)
        law->deviations[k] = first;
    for (size_t d = 0; d < dim; d++)
        law->mean[d] = 10 * normal(rng);
}

static void law_free(struct law *law)
{
    free(law->directions);
    free(law->deviations);
    free(law->mean);
}

static void draw(const struct law *law, struct rng *rng, float *row)
{
    double x[2048];
    memcpy(x, law->mean, law->dim * sizeof *x);
    for (size_t k = 0; k < law->n_axes; k++) {
        double along = law->deviations[k] * normal(rng);
        for (size_t d = 0; d < law->dim; d++)
            x[d] += along * law->directions[k * law->dim + d];
    }
    for (size_t d = 0; d < law->dim; d++)
        row[d] = (float)x[d];
}

static struct sample sample_of(uint32_t dim, size_t n, uint32_t metric)
{
    struct sample sample = {.dim = dim,
                            .metric = metric,
                            .n = n,
                            .rows = floats(n * dim),
                            .n_rows = n,
                            .row_bytes = 4 * (size_t)dim,
                            .has_c8 = true,
                            .recall = 0.99f};
    return sample;
}

static double product(const float *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * b[i];
    return sum;
}

static void assert_orthonormal(const float *axes, size_t m, size_t dim)
{
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j <= i; j++) {
            double sum = 0;
            for (size_t d = 0; d < dim; d++)
                sum += (double)axes[i * dim + d] * (double)axes[j * dim + d];
            if (!(fabs(sum - (i == j)) < 1e-5)) fail_msg("axes %zu and %zu: product %g", i, j, sum);
        }
}

/* ---- eigenvectors --------------------------------------------------------------------------------- */

static void assert_eigen(const double *a, size_t n, const char *what)
{
    double *copy = calloc(n * n, sizeof *copy), *vectors = calloc(n * n, sizeof *vectors);
    double *values = calloc(n, sizeof *values), size = 0;
    assert_true(copy && vectors && values);
    memcpy(copy, a, n * n * sizeof *copy);
    for (size_t i = 0; i < n * n; i++)
        size = fmax(size, fabs(a[i]));
    assert_int_equal(vindex__eigen_symmetric(copy, n, NULL, values, vectors), VINDEX_OK);
    for (size_t k = 0; k < n; k++) {
        const double *v = vectors + k * n;
        if (k) assert_true(values[k] <= values[k - 1]);
        for (size_t i = 0; i < n; i++) {
            double image = 0;
            for (size_t j = 0; j < n; j++)
                image += a[i * n + j] * v[j];
            if (!(fabs(image - values[k] * v[i]) <= 1e-13 * (double)n * size))
                fail_msg("%s: vector %zu: off by %g", what, k, image - values[k] * v[i]);
        }
        for (size_t l = 0; l <= k; l++) {
            double sum = 0;
            for (size_t i = 0; i < n; i++)
                sum += v[i] * vectors[l * n + i];
            if (!(fabs(sum - (k == l)) <= 1e-13 * (double)n)) fail_msg("%s: not orthonormal", what);
        }
    }
    free(copy);
    free(vectors);
    free(values);
}

static void eigenvectors_of_symmetric_matrices(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 2, 3, 4, 7, 8, 9, 33, 100};
    struct rng rng;
    vindex__rng_init(&rng, test_seed());
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        size_t n = sizes[s];
        double *a = calloc(n * n, sizeof *a);
        assert_non_null(a);
        assert_eigen(a, n, "zero");
        for (size_t i = 0; i < n; i++)
            a[i * n + i] = 2;
        assert_eigen(a, n, "equal values");
        for (size_t i = 0; i < n; i++)
            a[i * n + i] = ldexp(1, -(int)(i * 7 % 60));
        assert_eigen(a, n, "diagonal, widely spread");
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < n; j++)
                a[i * n + j] = 1;
        assert_eigen(a, n, "rank one");
        for (size_t i = 0; i < n; i++)
            for (size_t j = i; j < n; j++)
                a[i * n + j] = a[j * n + i] = normal(&rng);
        assert_eigen(a, n, "random");
        for (size_t i = 0; i < n * n; i++)
            a[i] *= 1e-150;
        assert_eigen(a, n, "random, tiny");
        free(a);
    }
}

/* ---- a known law ---------------------------------------------------------------------------------- */

static void finds_the_axes_of_a_known_law(void **state)
{
    (void)state;
    enum { DIM = 43, N = 20000 }; /* no multiple of anything */
    struct rng rng;
    struct law law;
    struct trained trained;
    struct sample sample = sample_of(DIM, N, VKERN_L2);
    vindex__rng_init(&rng, test_seed());
    law_init(&law, DIM, DIM, 8, 0.8, &rng);
    for (size_t i = 0; i < N; i++)
        draw(&law, &rng, sample.rows + i * DIM);
    assert_int_equal(vindex__train(&sample, NULL, &trained), VINDEX_OK);

    assert_true(trained.m >= 8 && trained.m % 8 == 0 && trained.m <= DIM);
    assert_orthonormal(trained.axes, trained.m, DIM);
    for (size_t d = 0; d < DIM; d++)
        assert_true(fabs((double)trained.mean[d] - law.mean[d]) < 6 * 14 / sqrt(N));
    for (size_t k = 0; k < trained.m; k++) {
        double deviation = (double)trained.deviation[k];
        if (k) assert_true(trained.deviation[k] <= trained.deviation[k - 1]);
        if (!(fabs(deviation / law.deviations[k] - 1) < 0.05))
            fail_msg("axis %zu: deviation %g, drawn with %g", k, deviation, law.deviations[k]);
        double cosine = product(trained.axes + k * DIM, law.directions + k * DIM, DIM);
        if (!(fabs(cosine) > 0.99))
            fail_msg("axis %zu: cosine %g with the one drawn along", k, cosine);
    }
    double energy = 0, all = 0;
    for (size_t k = 0; k < DIM; k++) {
        all += law.deviations[k] * law.deviations[k];
        if (k < trained.m) energy += law.deviations[k] * law.deviations[k];
    }
    assert_true(fabs((double)trained.energy - energy / all) < 0.01);
    for (size_t d = 0; d < DIM; d++) {
        double variance = 0;
        for (size_t k = 0; k < DIM; k++)
            variance += pow(law.deviations[k] * law.directions[k * DIM + d], 2);
        assert_true(fabs((double)trained.scale[d] / sqrt(variance) - 1) < 0.05);
    }
    vindex__trained_free(&trained);
    vindex__free_aligned(sample.rows);
    law_free(&law);
}

/* The way of more than 1,024 elements: few enough axes to be quick. */
static void finds_axes_in_many_dimensions(void **state)
{
    (void)state;
    enum { DIM = 1201, N = 2500, AXES = 24, DRAWN = 160 };
    struct rng rng;
    struct law law;
    struct sample sample = sample_of(DIM, N, VKERN_L2);
    float *mean = floats(DIM), *axes = floats((size_t)AXES * DIM);
    double variances[AXES];
    vindex__rng_init(&rng, test_seed());
    law_init(&law, DIM, DRAWN, 4, 0.93, &rng);
    for (size_t i = 0; i < N; i++)
        draw(&law, &rng, sample.rows + i * DIM);
    for (size_t d = 0; d < DIM; d++)
        mean[d] = (float)law.mean[d];
    struct centred centred = {.sample = &sample, .mean = mean, .factor = 0.125, .n = N, .step = 1};
    assert_int_equal(vindex__axes(&centred, AXES, NULL, axes, variances), VINDEX_OK);
    assert_orthonormal(axes, AXES, DIM);
    double found = 0; /* of the first direction: axes of nearly its deviation share it with the first */
    for (size_t k = 0; k < AXES; k++) {
        if (k) assert_true(variances[k] <= variances[k - 1]);
        double deviation = sqrt(variances[k]) / centred.factor;
        if (!(fabs(deviation / law.deviations[k] - 1) < 0.1))
            fail_msg("axis %zu: deviation %g, drawn with %g", k, deviation, law.deviations[k]);
        double share = product(axes + k * DIM, law.directions, DIM);
        if (k < 4) found += share * share;
    }
    assert_true(found > 0.95);
    vindex__free_aligned(mean);
    vindex__free_aligned(axes);
    vindex__free_aligned(sample.rows);
    law_free(&law);
}

/* The first axes looked for do not do: all that the sample has are. */
static void looks_for_more_axes_where_the_first_do_not_do(void **state)
{
    (void)state;
    enum { DIM = 1040, N = 400 };
    struct rng rng;
    struct trained trained;
    struct sample sample = sample_of(DIM, N, VKERN_L2);
    vindex__rng_init(&rng, 1); /* one draw in some dozen is content with fewer than 256 axes */
    for (size_t i = 0; i < (size_t)N * DIM; i++)
        sample.rows[i] = (float)normal(&rng);
    assert_int_equal(vindex__train(&sample, NULL, &trained), VINDEX_OK);
    printf("%u axes of %d where %d rows have no preference\n", trained.m, DIM, N);
    assert_true(trained.m == 0 || (trained.m > 256 && trained.m <= N));
    assert_orthonormal(trained.axes, trained.m, DIM);
    vindex__trained_free(&trained);
    vindex__free_aligned(sample.rows);
}

static struct trained axes_chosen(double ratio, size_t n, uint32_t metric, struct rng *rng)
{
    enum { DIM = 96 };
    struct law law;
    struct trained trained;
    struct sample sample = sample_of(DIM, n, metric);
    law_init(&law, DIM, DIM, 1, ratio, rng);
    for (size_t i = 0; i < n; i++)
        draw(&law, rng, sample.rows + i * DIM);
    sample.n_rows = 1000000;
    assert_int_equal(vindex__train(&sample, NULL, &trained), VINDEX_OK);
    assert_true(trained.p % 8 == 0 && trained.p <= DIM);
    if (trained.p > 0) {
        assert_orthonormal(trained.axes, trained.p, DIM);
        assert_true(trained.axes_norm >= 1 && trained.axes_norm < 1.0001F);
        assert_true(trained.p8_share > 0 && trained.p8_share < 0.2F);
        assert_true(trained.axes_norm == vkern_axes_norm(trained.axes, trained.p, DIM));
        for (uint32_t k = 1; k < trained.p; k++)
            assert_true(trained.deviation[k] > 0 && trained.deviation[k] <= trained.deviation[k - 1]);
    } else {
        assert_true(trained.axes_norm == 0 && trained.p8_share == 0);
    }
    struct trained numbers = {.m = trained.m, .p = trained.p};
    vindex__trained_free(&trained);
    vindex__free_aligned(sample.rows);
    law_free(&law);
    return numbers;
}

static void a_steep_spectrum_needs_few_axes_and_a_flat_one_many(void **state)
{
    (void)state;
    struct rng rng;
    vindex__rng_init(&rng, test_seed());
    uint32_t steep = axes_chosen(0.85, 6000, VKERN_L2, &rng).m,
             flat = axes_chosen(1, 6000, VKERN_L2, &rng).m;
    printf("axes kept of 96: steep spectrum %u, flat %u\n", steep, flat);
    assert_true(steep >= 8 && steep <= 48);
    assert_true(flat == 0 || flat >= 2 * steep); /* 0: reading 8-bit codes is as cheap */
    assert_true(axes_chosen(0.85, 6000, VKERN_IP, &rng).m > 0);
}

/* Where leading coordinates say little, looking at them first gains nothing. */
static void leading_coordinates_are_few_or_none(void **state)
{
    (void)state;
    struct rng rng;
    vindex__rng_init(&rng, test_seed());
    uint32_t steep = axes_chosen(0.8, 6000, VKERN_L2, &rng).p,
             less = axes_chosen(0.93, 6000, VKERN_L2, &rng).p,
             flat = axes_chosen(1, 6000, VKERN_L2, &rng).p,
             product = axes_chosen(0.8, 6000, VKERN_IP, &rng).p;
    printf("leading axes of 96: steep spectrum %u, less so %u, flat %u; products %u\n", steep, less,
           flat, product);
    assert_true(steep >= 8 && steep <= 32);
    assert_true(less > steep && less <= 60);
    assert_int_equal(flat, 0);
    assert_true(product >= 8 && product <= 48);
}

/* ---- samples without a sensible covariance ------------------------------------------------------------ */

enum shape {
    EQUAL,
    ZEROS,
    HUGE_ROWS,
    TINY_ROWS,
    TWO_ROWS,
    DUPLICATES,
    ONE_ELEMENT,
    MIXED_SIZES,
    N_SHAPES
};
static const char *const shape_names[N_SHAPES] = {"equal rows",
                                                  "zero rows",
                                                  "norms of 1e30 and more",
                                                  "denormal rows",
                                                  "two different rows",
                                                  "each row eight times",
                                                  "one element varies",
                                                  "rows of 1e-30 among rows of 1e30"};

static void fill(float *rows, size_t n, size_t dim, enum shape shape, struct rng *rng)
{
    for (size_t i = 0; i < n; i++)
        for (size_t d = 0; d < dim; d++) {
            float *x = rows + i * dim + d, random = (float)normal(rng);
            switch (shape) {
            case EQUAL: *x = (float)d - 3.5f; break;
            case ZEROS: *x = 0; break;
            case HUGE_ROWS: *x = fmaxf(fminf(random * 1e38f, FLT_MAX), -FLT_MAX); break;
            case TINY_ROWS: *x = random * 1e-41f; break;
            case TWO_ROWS: *x = i % 2 ? (float)d : -(float)d; break;
            case DUPLICATES: *x = i % 8 ? rows[(i - i % 8) * dim + d] : random; break;
            case ONE_ELEMENT: *x = d == dim / 2 ? random : 7; break;
            default: *x = random * (i % 2 ? 1e30f : 1e-30f);
            }
        }
}

static void assert_sound(const struct sample *sample, const struct trained *trained,
                         const char *what)
{
    uint32_t dim = sample->dim;
    for (uint32_t d = 0; d < dim; d++) {
        if (!isfinite(trained->mean[d]))
            fail_msg("%s, dim %u: a mean of %g", what, dim, (double)trained->mean[d]);
        if (!(trained->scale[d] >= FLT_MIN && trained->scale[d] <= FLT_MAX))
            fail_msg("%s, dim %u: a scale of %g", what, dim, (double)trained->scale[d]);
    }
    assert_true(trained->m % 8 == 0 && trained->m <= dim);
    assert_true(trained->energy >= 0 && trained->energy <= 1);
    if (dim < 16) assert_int_equal(trained->m, 0);
    for (uint32_t k = 0; k < trained->m; k++)
        if (!(trained->deviation[k] >= FLT_MIN && trained->deviation[k] <= FLT_MAX))
            fail_msg("%s, dim %u: a deviation of %g", what, dim, (double)trained->deviation[k]);
    assert_orthonormal(trained->axes, trained->m, dim);
    assert_true(trained->p % 8 == 0 && trained->p <= dim);
    assert_orthonormal(trained->axes, trained->p, dim);
}

static void odd_samples_train_to_something_sound(void **state)
{
    (void)state;
    static const uint32_t dims[] = {1, 3, 8, 15, 16, 17, 33};
    static const size_t counts[] = {1, 2, 15, 16, 257, 1200};
    struct rng rng;
    vindex__rng_init(&rng, test_seed());
    for (size_t a = 0; a < sizeof dims / sizeof *dims; a++)
        for (size_t b = 0; b < sizeof counts / sizeof *counts; b++)
            for (int shape = 0; shape < N_SHAPES; shape++)
                for (uint32_t metric = VKERN_L2; metric <= VKERN_IP; metric++) {
                    struct trained trained;
                    if (metric == VKERN_COSINE) continue; /* its rows come as unit vectors */
                    struct sample sample = sample_of(dims[a], counts[b], metric);
                    fill(sample.rows, sample.n, sample.dim, (enum shape)shape, &rng);
                    assert_int_equal(vindex__train(&sample, NULL, &trained), VINDEX_OK);
                    assert_sound(&sample, &trained, shape_names[shape]);
                    if (shape == EQUAL || shape == ZEROS) assert_int_equal(trained.m, 0);
                    vindex__trained_free(&trained);
                    vindex__free_aligned(sample.rows);
                }
}

/* ---- giving up -------------------------------------------------------------------------------------------- */

static int refuse_later(void *context)
{
    int *left = context;
    return (*left)-- <= 0;
}

static void training_can_be_cancelled_anywhere(void **state)
{
    (void)state;
    struct rng rng;
    struct sample sample = sample_of(24, 2000, VKERN_L2);
    vindex__rng_init(&rng, 1);
    fill(sample.rows, sample.n, sample.dim, DUPLICATES, &rng);
    uint64_t live = vindex__mem_live_bytes();
    int n = 0, step = 1;
    for (;; n += step, step = n / 20 + 1) {
        struct trained trained;
        int left = n;
        struct asking asking = {refuse_later, &left};
        vindex_status st = vindex__train(&sample, &asking, &trained);
        vindex__trained_free(&trained);
        assert_int_equal(vindex__mem_live_bytes(), live);
        if (st == VINDEX_OK) break;
        assert_int_equal(st, VINDEX_CANCELLED);
    }
    assert_true(n > 100);
    vindex__free_aligned(sample.rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eigenvectors_of_symmetric_matrices),
        cmocka_unit_test(finds_the_axes_of_a_known_law),
        cmocka_unit_test(finds_axes_in_many_dimensions),
        cmocka_unit_test(looks_for_more_axes_where_the_first_do_not_do),
        cmocka_unit_test(a_steep_spectrum_needs_few_axes_and_a_flat_one_many),
        cmocka_unit_test(leading_coordinates_are_few_or_none),
        cmocka_unit_test(odd_samples_train_to_something_sound),
        cmocka_unit_test(training_can_be_cancelled_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
