/*
 * cost.c - nanoseconds a row takes, by algorithm and instruction-set level.
 *
 * Each algorithm's work is counted in a few units (elements scanned, maxima kept, survivors, ...). What a
 * unit takes was fitted to `bench_topk --algo ...`, f32, k = 10 .. 40,000 of 131,072, each level, on one
 * core of a Cascade Lake at 2.5 GHz. Only their ratios decide which algorithm `auto` takes.
 */
#include <math.h>

#include "topk/plan.h"

/* ns for a unit. */
struct units {
    double scan;       /* an element compared with a threshold */
    double group_scan; /* an element that enters a group's maximum */
    double sample;     /* an element of a sampled line, until the threshold is guessed */
    double survivor;   /* an element that reaches the threshold, until it is in the result */
    double group;      /* a group's maximum, until the bound is known */
    double line;       /* an element of a group that is read again */
    double select;     /* an element of quickselect, all passes */
    double digit;      /* an element counted by its digits */
    double insert;     /* a vector of lanes with an insertion, for one depth */
};

static const struct units level_units[] = {
    {5.0, 1.7, 3.0, 14, 3.0, 2.0, 7.1, 3.0, 60},    /* ref */
    {.080, .057, .25, 13, .40, 1.2, .90, 1.7, 20},  /* avx2 */
    {.047, .042, .15, 10, .30, 1.2, .75, 1.54, 15}, /* avx512 */
};

enum {
    BLOCK_MAX = 4096,     /* as in argmax.c: the block with the largest is looked at again */
    START_NS = 400,       /* checking a call, opening its contexts */
    GROUPED_BEST_NS = 35, /* one of the k best, out of scattered groups */
    FAR_BYTES = 1 << 20,  /* rows beyond L2: what is read again is far away */
    SAMPLED_MIN = 4096    /* as in threshold.c */
};

static const struct units *units_of(const vkern_topk_table *table)
{
    return &level_units[table->level > VKERN_LEVEL_AVX512 ? VKERN_LEVEL_AVX512 : table->level];
}

/* Survivors of a guessed threshold (threshold.c). */
static double survivors(double n, double k, double sample)
{
    return k + 2.3 * sqrt(k * n / sample) + 1.5 * n / sample;
}

static double cost_of_threshold(const struct units *u, size_t n_elements, size_t k_best)
{
    const double n = (double)n_elements, k = (double)k_best;
    const double sample = (double)vindex__topk_threshold_room(n_elements, k_best);

    if (n < SAMPLED_MIN || k > n / 4) /* the threshold rises as it goes: k (1 + log(n / k)) pass */
        return u->scan * n + 2 * u->survivor * (k < n ? k * (1 + log(n / k)) : k);
    return u->scan * n + u->sample * sample + u->survivor * survivors(n, k, sample);
}

static double cost_of_groupmax(const struct units *u, size_t n, size_t k, size_t row_bytes)
{
    const double depth = (double)vindex__topk_group_depth(n, k),
                 far = row_bytes > FAR_BYTES ? 3 : 1;

    return u->group_scan * (double)n +
           far * (u->group * (double)n / depth + u->line * (double)k * depth) +
           GROUPED_BEST_NS * (double)k;
}

double vindex__topk_cost(const vkern_topk_table *table, enum vkern_topk_type type,
                         vindex_topk_algo algo, size_t n, size_t k)
{
    const struct units *u = units_of(table);
    const double elements = (double)n, best = (double)k;
    const double width = vkern_topk_size(type) == 8 ? 2 : 1; /* half as many lanes */

    switch (algo) {
    case VINDEX_TOPK_ARGMAX:
        return START_NS + .05 * fmin(elements, BLOCK_MAX) +
               width * u->group_scan * elements *
                   (n * vkern_topk_size(type) > FAR_BYTES ? 1.12 : 1);
    case VINDEX_TOPK_THRESHOLD: return START_NS + width * cost_of_threshold(u, n, k);
    case VINDEX_TOPK_GROUPMAX:
        if (vindex__topk_group_depth(n, k) > 0)
            return START_NS + width * cost_of_groupmax(u, n, k, n * vkern_topk_size(type));
        return vindex__topk_cost(table, type, VINDEX_TOPK_QSELECT, n, k); /* which it then is */
    case VINDEX_TOPK_QSELECT: return START_NS + width * (u->select * elements + u->survivor * best);
    case VINDEX_TOPK_RADIX: return START_NS + u->digit * elements + u->survivor * best;
    default: return START_NS + 2 * u->survivor * elements; /* sort */
    }
}

/* Lists filled by insertion: a lane takes about p (1 + log(lines / p)) of its elements. */
static double cost_of_lists(const struct units *u, double n, double lanes, double depth)
{
    const double lines = n / lanes, vectors = n / 16;
    const double taken = lines > depth ? depth * (1 + log(lines / depth)) : lines;

    return 4 * u->scan * n +
           vectors * -expm1(-taken * lanes / vectors) * u->insert * (1 + depth / 2) +
           u->survivor * lanes * depth;
}

double vindex__topk_cost_of_bins(const vkern_topk_table *table, enum vkern_topk_type type, size_t n,
                                 size_t k, size_t bins, size_t per_bin)
{
    enum { PLACE_NS = 4 }; /* finding a candidate's bin */
    const struct units *u = units_of(table);
    const double width = vkern_topk_size(type) == 8 ? 2 : 1;

    if (n >= SAMPLED_MIN && k > 0 && k <= n / 4) /* as binned.c: those near the top find places */
        return START_NS + width * cost_of_threshold(u, n, k + k / 16) + PLACE_NS * (double)k;
    return START_NS + width * cost_of_lists(u, (double)n, (double)bins, (double)per_bin);
}
