/*
 * test_bound.c - the statistics of a promise: the ladder of efforts, the inverse beta function against closed forms
 * and numerical integration, and how often the bound holds over simulated losses of known mean.
 */
#include "common/cmocka.h"

#include <math.h>
#include <string.h>

#include "base/random.h"
#include "search/calibrate.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static struct rng rng;

/* ---- the ladder ------------------------------------------------------------------------------ */

static void a_step_stands_for_its_rows(void **state)
{
    (void)state;
    for (uint32_t step = 0; step < EFFORT_NONE; step++) {
        long double exact = powl(2, step / 8.0L);
        long double rows = (long double)vindex__effort_rows(step);
        assert_true(rows >= exact * (1 - 1e-15L) && rows < exact * (1 + 1e-15L) + 1);
    }
    assert_int_equal(vindex__effort_rows(0), 1);
    assert_int_equal(vindex__effort_rows(1), 2);
    assert_int_equal(vindex__effort_rows(80), 1024);
    assert_int_equal(vindex__effort_rows(248), UINT64_C(1) << 31);
    assert_true(vindex__effort_rows(EFFORT_NONE) == UINT64_MAX);
}

static void the_least_step_is_found(void **state)
{
    uint64_t most = vindex__effort_rows(EFFORT_NONE - 1);
    (void)state;
    for (uint64_t n = 1; n <= 5000; n++) {
        uint32_t step = vindex__effort_of(n);
        assert_true(vindex__effort_rows(step) >= n);
        assert_true(step == 0 || vindex__effort_rows(step - 1) < n);
        assert_true(vindex__effort_rows(step) <= n + n / 10 + 1);
    }
    assert_int_equal(vindex__effort_of(most), EFFORT_NONE - 1);
    assert_int_equal(vindex__effort_of(most + 1), EFFORT_NONE);
    assert_int_equal(vindex__effort_of(UINT64_MAX), EFFORT_NONE);
}

/* ---- the inverse beta function --------------------------------------------------------------- */

static void assert_near(double got, double want, double relative)
{
    if (fabs(got - want) > relative * fabs(want) + 1e-300) fail_msg("%.17g, not %.17g", got, want);
}

static void beta_in_closed_form(void **state)
{
    static const double ps[] = {0.01, 0.05, 0.5, 0.95, 0.99};
    (void)state;
    for (size_t i = 0; i < COUNT(ps); i++) {
        double p = ps[i];
        for (double n = 1; n <= 20000; n *= 3) {
            assert_near(vindex__beta_inverse(p, 1, n), -expm1(log1p(-p) / n), 1e-10);
            assert_near(vindex__beta_inverse(p, n, 1), exp(log(p) / n), 1e-10);
        }
        /* Arcsine's law, and the parabola's: 3 x^2 - 2 x^3 = p. */
        double half = sin(p * acos(-1) / 2);
        assert_near(vindex__beta_inverse(p, 0.5, 0.5), half * half, 1e-10);
        double x = vindex__beta_inverse(p, 2, 2);
        assert_near(x * x * (3 - 2 * x), p, 1e-10);
    }
    assert_true(vindex__beta_inverse(0.95, 0, 5) == 0);
    assert_true(vindex__beta_inverse(0.95, 5, 0) == 1);
}

static void beta_is_symmetric(void **state)
{
    (void)state;
    for (int i = 0; i < 500; i++) {
        double a = exp(10 * vindex__rng_unit(&rng) - 2), b = exp(10 * vindex__rng_unit(&rng) - 2);
        double p = 0.001 + 0.998 * vindex__rng_unit(&rng);
        double sum = vindex__beta_inverse(p, a, b) + vindex__beta_inverse(1 - p, b, a);
        assert_near(sum, 1, 1e-10);
    }
}

/* I_x(a, b) by Simpson's rule on the density. */
static double beta_by_integration(double x, double a, double b)
{
    enum { N = 20000 };
    double h = x / N, sum = 0, scale = lgamma(a + b) - lgamma(a) - lgamma(b);
    for (int i = 0; i <= N; i++) {
        double t = h * i, weight = i == 0 || i == N ? 1 : i % 2 ? 4 : 2;
        if (t > 0 && t < 1) sum += weight * exp(scale + (a - 1) * log(t) + (b - 1) * log1p(-t));
    }
    return sum * h / 3;
}

static void beta_by_its_integral(void **state)
{
    static const double pairs[][2] = {{3, 298}, {2.5, 3.5},  {11, 990},
                                      {40, 60}, {4.2, 4000}, {30, 2}};
    (void)state;
    for (size_t i = 0; i < COUNT(pairs); i++)
        for (double p = 0.01; p < 1; p += 0.14) {
            double x = vindex__beta_inverse(p, pairs[i][0], pairs[i][1]);
            assert_near(beta_by_integration(x, pairs[i][0], pairs[i][1]), p, 1e-6);
        }
}

/* ---- what n audits can prove ----------------------------------------------------------------- */

/* Clopper and Pearson, no miss: 1 - 0.05^(1/n) <= a. */
static void least_n_that_proves(void **state)
{
    static const struct {
        double target;
        uint64_t n;
    } cases[] = {{0.9, 29}, {0.95, 59}, {0.99, 299}, {0.999, 2995}};
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct loss enough = {0, 0, cases[i].n}, few = {0, 0, cases[i].n - 1};
        assert_true(vindex__loss_upper(&enough) <= 1 - cases[i].target);
        assert_true(vindex__loss_upper(&few) > 1 - cases[i].target);
    }
    /* Shares vary less: a tenth of that, as far as the floor goes (1 / a). */
    struct loss shares = {0.002, 0.0002, 200}, too_few = {0.0005, 0.00005, 98};
    assert_true(vindex__loss_upper(&shares) <= 0.01);
    assert_true(vindex__loss_upper(&too_few) > 0.01);
}

static void bounds_lie_on_both_sides(void **state)
{
    (void)state;
    for (int i = 0; i < 2000; i++) {
        double m = vindex__rng_unit(&rng) * vindex__rng_unit(&rng);
        struct loss loss = {m, m * (1 - m) * vindex__rng_unit(&rng),
                            1 + vindex__rng_below(&rng, 4096)};
        double upper = vindex__loss_upper(&loss), lower = vindex__loss_lower(&loss);
        assert_true(0 <= lower && lower <= m && m <= upper && upper <= 1);
        /* The quick questions agree with the bounds, except where they are asked within a rounding. */
        double a = vindex__rng_unit(&rng) * vindex__rng_unit(&rng);
        if (fabs(a - vindex__loss_beta(&loss)) > 1e-9)
            assert_true(vindex__loss_beta_within(&loss, a) == (vindex__loss_beta(&loss) <= a));
        if (fabs(a - lower) > 1e-9)
            assert_true(vindex__loss_exceeds(&loss, a, 0.01) == (lower > a));
    }
    struct loss all = {1, 0, 50}, none = {0, 0, 0};
    assert_true(vindex__loss_upper(&all) == 1 && vindex__loss_upper(&none) == 1);
    assert_true(vindex__loss_lower(&none) == 0);
}

/* ---- coverage -------------------------------------------------------------------------------- */

static double normal(void)
{
    double u = 1 - vindex__rng_unit(&rng), v = vindex__rng_unit(&rng);
    return sqrt(-2 * log(u)) * cos(2 * acos(-1) * v);
}

/* Marsaglia and Tsang, A simple method for generating gamma variables (2000). */
static double gamma_variable(double shape)
{
    if (shape < 1) return gamma_variable(shape + 1) * pow(1 - vindex__rng_unit(&rng), 1 / shape);
    double d = shape - 1.0 / 3, c = 1 / sqrt(9 * d);
    for (;;) {
        double x = normal(), v = 1 + c * x;
        if (v <= 0) continue;
        v = v * v * v;
        if (log(1 - vindex__rng_unit(&rng)) < 0.5 * x * x + d - d * v + d * log(v)) return d * v;
    }
}

/* A law of losses: with probability p1 it is x1, with p2 it is x2, otherwise x3; or Beta(a, b). */
struct law {
    const char *name;
    double p1, x1, p2, x2, x3;
    double a, b;
    double least; /* coverage asked for */
};
static const struct law laws[] = {
    {"Bernoulli .3", .3, 1, 0, 0, 0, 0, 0, .93},
    {"Bernoulli .05", .05, 1, 0, 0, 0, 0, 0, .93},
    {"99 % zeros, rare 1", .01, 1, 0, 0, 0, 0, 0, .93},
    {"Bernoulli .001", .001, 1, 0, 0, 0, 0, 0, .93},
    {"Beta(1, 9)", 0, 0, 0, 0, 0, 1, 9, .93},
    {"Beta(.2, 3.8)", 0, 0, 0, 0, 0, .2, 3.8, .93},
    {"Beta(2, 198)", 0, 0, 0, 0, 0, 2, 198, .93},
    {"a tenth of the queries loses a tenth", .1, .1, 0, 0, 0, 0, 0, .93},
    {"5 % lose .1, .5 % lose all", .05, .1, .005, 1, 0, 0, 0, .85},
    {"1 % lose half, the rest .001", .01, .5, 0, 0, .001, 0, 0, .85},
    {".2 % lose all, half lose .01", .002, 1, .5, .01, 0, 0, 0, .85},
};

static double draw_loss(const struct law *law)
{
    if (law->a > 0) {
        double x = gamma_variable(law->a), y = gamma_variable(law->b);
        return x / (x + y);
    }
    double u = vindex__rng_unit(&rng);
    return u < law->p1 ? law->x1 : u < law->p1 + law->p2 ? law->x2 : law->x3;
}

static double mean_of(const struct law *law)
{
    if (law->a > 0) return law->a / (law->a + law->b);
    return law->p1 * law->x1 + law->p2 * law->x2 + (1 - law->p1 - law->p2) * law->x3;
}

static struct loss sample_losses(const struct law *law, uint64_t n)
{
    double sum = 0, square = 0;
    for (uint64_t i = 0; i < n; i++) {
        double x = draw_loss(law);
        sum += x;
        square += x * x;
    }
    struct loss loss = {sum / (double)n, 0, n};
    loss.variance = fmax(square / (double)n - loss.mean * loss.mean, 0);
    return loss;
}

static void the_bound_covers(void **state)
{
    enum { DRAWS = 3000 };
    static const uint64_t ns[] = {32, 100, 300, 1000};
    (void)state;
    for (size_t i = 0; i < COUNT(laws); i++) {
        double mean = mean_of(&laws[i]);
        printf("%-38s", laws[i].name);
        for (size_t j = 0; j < COUNT(ns); j++) {
            int n_covered = 0, n_false = 0;
            for (int draw = 0; draw < DRAWS; draw++) {
                struct loss loss = sample_losses(&laws[i], ns[j]);
                n_covered +=
                    !vindex__loss_beta_within(&loss, mean) || vindex__loss_floor(&loss) >= mean;
                n_false += vindex__loss_exceeds(&loss, mean, 0.01);
            }
            double coverage = (double)n_covered / DRAWS, wrong = (double)n_false / DRAWS;
            printf("  n %4llu: %.3f (alarm %.4f)", (unsigned long long)ns[j], coverage, wrong);
            if (coverage < laws[i].least)
                fail_msg("%s, n %zu: coverage %.3f", laws[i].name, (size_t)ns[j], coverage);
            if (wrong > 0.05)
                fail_msg("%s, n %zu: %.3f false alarms", laws[i].name, (size_t)ns[j], wrong);
        }
        printf("\n");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_stands_for_its_rows), cmocka_unit_test(the_least_step_is_found),
        cmocka_unit_test(beta_in_closed_form),        cmocka_unit_test(beta_is_symmetric),
        cmocka_unit_test(beta_by_its_integral),       cmocka_unit_test(least_n_that_proves),
        cmocka_unit_test(bounds_lie_on_both_sides),   cmocka_unit_test(the_bound_covers),
    };
    vindex__rng_init(&rng, test_seed());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
