/*
 * bound.c - how much recall n audits prove: the ladder of efforts, the inverse of the incomplete beta function,
 * and the two bounds of calibrate.h.
 *
 * The incomplete beta function is its continued fraction (DLMF 8.17.22) by Lentz's method as Thompson and Barnett
 * modified it; the inverse halves an interval.
 */
#include "search/calibrate.h"

#include <assert.h>
#include <math.h>

/* ---- the ladder ------------------------------------------------------------------------------ */

uint64_t vindex__effort_rows(uint32_t step)
{
    /* 2^(i / 8). Only the first is a whole number times any power of two, so ceil needs no slack. */
    static const double roots[8] = {1.0,
                                    1.0905077326652577,
                                    1.1892071150027210,
                                    1.2968395546510096,
                                    1.4142135623730951,
                                    1.5422108254079407,
                                    1.6817928305074290,
                                    1.8340080864093424};
    if (step >= EFFORT_NONE) return UINT64_MAX;
    return (uint64_t)ceil(roots[step % 8] * (double)(UINT64_C(1) << step / 8));
}

uint32_t vindex__effort_of(uint64_t n)
{
    assert(n >= 1);
    if (n == 1) return 0;
    /* 2^octave < n <= 2^(octave + 1). */
    uint32_t octave = 63 - (uint32_t)__builtin_clzll(n - 1), step = 8 * octave + 1;
    if (octave >= EFFORT_STEPS / 8) return EFFORT_NONE;
    while (vindex__effort_rows(step) < n)
        step++;
    return step;
}

/* ---- the beta law ---------------------------------------------------------------------------- */

#define TINY 1e-300
#define PRECISION 1e-15

static double not_zero(double x)
{
    return fabs(x) < TINY ? TINY : x;
}

/* The continued fraction of I_x(a, b), quick for x <= (a + 1) / (a + b + 2): about sqrt(max(a, b)) terms. */
static double beta_fraction(double a, double b, double x)
{
    double c = 1, d = 1 / not_zero(1 - (a + b) * x / (a + 1)), fraction = d;
    for (int m = 1; m <= 10000; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        d = 1 / not_zero(1 + even * d);
        c = not_zero(1 + even / c);
        fraction *= d * c;
        d = 1 / not_zero(1 + odd * d);
        c = not_zero(1 + odd / c);
        fraction *= d * c;
        if (fabs(d * c - 1) < PRECISION) break;
    }
    return fraction;
}

/* lgamma would write a global. */
static double log_gamma(double x)
{
    int sign;
    return lgamma_r(x, &sign);
}

/* I_x(a, b), a, b > 0. */
static double beta_cdf(double x, double a, double b)
{
    if (x <= 0) return 0;
    if (x >= 1) return 1;
    double front = exp(log_gamma(a + b) - log_gamma(a) - log_gamma(b) + a * log(x) + b * log1p(-x));
    if (x <= (a + 1) / (a + b + 2)) return front * beta_fraction(a, b, x) / a;
    return 1 - front * beta_fraction(b, a, 1 - x) / b;
}

double vindex__beta_inverse(double p, double a, double b)
{
    assert(a >= 0 && b >= 0 && a + b > 0);
    if (a <= 0) return 0;
    if (b <= 0) return 1;
    double low = 0, high = 1;
    for (int i = 0; i < 200 && high - low > 1e-15 * high; i++) {
        double middle = low + (high - low) / 2;
        if (beta_cdf(middle, a, b) < p)
            low = middle;
        else
            high = middle;
    }
    return low + (high - low) / 2;
}

/* ---- the bounds ------------------------------------------------------------------------------ */

#define SURE 0.95
#define UNLIKELY 0.01

/*
 * How many 0/1 losses say as much about the mean as these shares do. Small variances are not trusted beyond 4:
 * a rare heavy loss that the sample has not met shows in no variance (recall.md 3.3).
 */
static double effective(const struct loss *loss)
{
    double ratio = 1, bernoulli = loss->mean * (1 - loss->mean);
    if (loss->variance > 0) ratio = bernoulli / loss->variance;
    return (double)loss->n * (ratio < 1 ? 1 : ratio > 4 ? 4 : ratio);
}

double vindex__loss_beta(const struct loss *loss)
{
    double n = effective(loss);
    return vindex__beta_inverse(SURE, loss->mean * n + 1, fmax(n - loss->mean * n, 0));
}

double vindex__loss_floor(const struct loss *loss)
{
    return ((double)loss->n * loss->mean + 1) / ((double)loss->n + 1);
}

double vindex__loss_upper(const struct loss *loss)
{
    return loss->n ? fmax(vindex__loss_beta(loss), vindex__loss_floor(loss)) : 1;
}

double vindex__loss_lower(const struct loss *loss)
{
    if (loss->n == 0 || loss->mean <= 0) return 0;
    double n = effective(loss);
    return vindex__beta_inverse(UNLIKELY, loss->mean * n, fmax(n - loss->mean * n, 0) + 1);
}

/* The same as comparing the bound with a, for one evaluation instead of fifty. */
bool vindex__loss_beta_within(const struct loss *loss, double a)
{
    double n = effective(loss), rest = n - loss->mean * n;
    if (loss->n == 0 || loss->mean >= a || rest <= 0) return a >= 1;
    return beta_cdf(a, loss->mean * n + 1, rest) >= SURE;
}

bool vindex__loss_exceeds(const struct loss *loss, double a, double level)
{
    if (loss->n == 0 || loss->mean <= a) return false;
    double n = effective(loss);
    return beta_cdf(a, loss->mean * n, fmax(n - loss->mean * n, 0) + 1) < level;
}
