/*
 * maths.c - how much a plan keeps: XLA's output size, expected recall of bins, depths of lanes. Pure
 * numbers; what is done with them is plan.c.
 *
 * Bins. A bin of s elements holds X of the k winners, X hypergeometric (n, k, s); it loses those above
 * per_bin. Recall is 1 - sum over bins of E[(X - per_bin)+] / k (Samaga et al., arXiv 2506.04165, section
 * 3; bins of two sizes where `bins` does not divide n). The limit n -> inf is the binomial form, which is
 * that of Key et al., arXiv 2412.04358. Weights are taken relative to the mode and divided by their sum,
 * so no factorial of n is ever formed: the relative error stays near 1e-14 for n = 1e9 too.
 *
 * Depths. k balls in L lanes, D the fullest. P(D <= m) = k!/L^k [x^k] (sum_{i<=m} x^i/i!)^L. With Poisson
 * weights a_i = e^-l l^i/i!, l = k/L, it is [x^k] (sum_{i<=m} a_i x^i)^L / Poisson(k; k): every term is
 * positive, for any k and L. P(D = m) must not be a difference of two such numbers (64 balls in 128 lanes
 * reach depth 64 with chance 1.8e-133), so the power is taken of a pair: A, the ways with all lanes below
 * m, and E, the ways with some lane at m and none above. Two groups of lanes join as A = A1 A2,
 * E = E1 A2 + A1 E2 + E1 E2.
 */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/status.h"
#include "topk/maths.h"
#include "vindex_topk.h"

int32_t vindex__log2_floor(uint64_t x)
{
    return x ? 63 - __builtin_clzll(x) : 0;
}

int32_t vindex__log2_ceil(uint64_t x)
{
    return x > 1 ? vindex__log2_floor(x - 1) + 1 : 0;
}

static int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* ---- XLA's output size (hlo/builder/lib/approx_topk_shape.cc) ---------------------------------- */

static vindex_status check_xla(int64_t n, uint32_t rank, int64_t k, float recall,
                               int64_t override_n)
{
    if (n < 0 || k < 0 || rank < 1)
        return vindex__fail(VINDEX_INVALID, "n %lld, k %lld and rank %u: negative, or no dimension",
                            (long long)n, (long long)k, rank);
    if (!vindex__recall_is_valid(recall))
        return vindex__fail(VINDEX_INVALID, "recall %g is outside (0, 1]", (double)recall);
    if (override_n < -1)
        return vindex__fail(VINDEX_INVALID, "an input size override of %lld: -1 or 0 is none",
                            (long long)override_n);
    return VINDEX_OK;
}

/* The bins the model asks for: (1 - 1/M)^(k-1) = recall, nearly. */
static int64_t xla_bins(int64_t k, float recall, int64_t tile, int64_t n)
{
    double bins = trunc((double)(1 - k) / log((double)recall));

    if (!(bins < (double)n)) return n;
    return min_i64(max_i64((int64_t)bins, tile), n);
}

static int64_t xla_reduced(int64_t n, int64_t tile, int64_t k, float recall, int64_t logical_n,
                           int32_t *log2_reduction)
{
    const int64_t tiles = n / tile + (n % tile != 0);
    int32_t g;

    *log2_reduction = 0;
    if (k == 1) {
        *log2_reduction = vindex__log2_ceil((uint64_t)(logical_n / tile + (logical_n % tile != 0)));
        return tile;
    }
    if (recall == 1) return n;
    g = vindex__log2_floor((uint64_t)(logical_n / xla_bins(k, recall, tile, logical_n)));
    g = (int32_t)min_i64(g, vindex__log2_ceil((uint64_t)(n / tile)));
    if (g == 0) return n;
    *log2_reduction = g;
    return ((tiles - 1) / ((int64_t)1 << g) + 1) * tile;
}

vindex_status vindex_topk_xla_size(int64_t n, uint32_t rank, int64_t k, float recall,
                                   int aggregate_to_topk, int64_t override_n, int64_t *size,
                                   int32_t *log2_reduction)
{
    const int64_t tile = rank == 1 ? 1024 : 128;
    int32_t g = 0;
    int64_t s = n;
    vindex_status st = check_xla(n, rank, k, recall, override_n);

    if (st != VINDEX_OK) return st;
    if (n > tile) {
        if (override_n > 0 && override_n < n)
            return vindex__fail(VINDEX_INVALID,
                                "the input size override %lld is below the row's %lld",
                                (long long)override_n, (long long)n);
        s = xla_reduced(n, tile, k, recall, override_n > 0 ? override_n : n, &g);
        s = min_i64(max_i64(s, k), n);
    }
    if (size) *size = aggregate_to_topk ? min_i64(k, s) : s;
    if (log2_reduction) *log2_reduction = aggregate_to_topk ? -1 : g;
    return VINDEX_OK;
}

/* ---- expected recall --------------------------------------------------------------------------- */

/* Winners in one bin: successive weights w(x + 1) / w(x), from 0 or the least possible on. */
struct occupancy {
    double n, k, size; /* hypergeometric; n = INFINITY: binomial with chance 1 / bins */
    double bins;
};

static double next_weight(const struct occupancy *o, double x)
{
    if (isinf(o->n)) return (o->k - x) / ((x + 1) * (o->bins - 1));
    return (o->k - x) * (o->size - x) / ((x + 1) * (o->n - o->k - o->size + x + 1));
}

/* E[(X - kept)+]: weights relative to the mode, both ways until they no longer count. */
static double expected_loss(const struct occupancy *o, double least, double most, double kept)
{
    const double mean = isinf(o->n) ? o->k / o->bins : o->k * o->size / o->n;
    double mode = floor(mean), sum = 1, loss, w = 1;

    if (least >= most) return least > kept ? least - kept : 0;
    if (mode < least) mode = least;
    if (mode > most) mode = most;
    loss = mode > kept ? mode - kept : 0;
    for (double x = mode; x < most; x++) {
        w *= next_weight(o, x);
        sum += w;
        if (x + 1 > kept) loss += w * (x + 1 - kept);
        if (x > kept && w * (x + 1) < 1e-19 * loss) break;
        if (w < 1e-300) break;
    }
    w = 1;
    for (double x = mode; x > least; x--) {
        w /= next_weight(o, x - 1);
        sum += w;
        if (x - 1 > kept) loss += w * (x - 1 - kept);
        if (w < 1e-19) break;
    }
    return loss / sum;
}

static double loss_of_bin(int64_t n, int64_t k, int64_t size, int64_t kept)
{
    const struct occupancy o = {(double)n, (double)k, (double)size, 0};

    if (size <= kept) return 0;
    return expected_loss(&o, (double)max_i64(0, size + k - n), (double)min_i64(k, size),
                         (double)kept);
}

double vindex_topk_recall(int64_t n, int64_t k, int64_t bins, int64_t per_bin)
{
    int64_t longer;
    double loss;

    if (n < 1 || k < 1 || k > n || bins < 1 || per_bin < 1) return NAN;
    if (bins >= n) return 1;
    longer = n % bins;
    loss = (double)longer * loss_of_bin(n, k, n / bins + 1, per_bin) +
           (double)(bins - longer) * loss_of_bin(n, k, n / bins, per_bin);
    return 1 - loss / (double)k;
}

double vindex_topk_recall_binomial(int64_t k, int64_t bins, int64_t per_bin)
{
    const struct occupancy o = {INFINITY, (double)k, 0, (double)bins};

    if (k < 1 || bins < 1 || per_bin < 1) return NAN;
    if (k <= per_bin) return 1;
    if (bins == 1) return (double)per_bin / (double)k;
    return 1 - (double)bins / (double)k * expected_loss(&o, 0, (double)k, (double)per_bin);
}

double vindex_topk_recall_bound(int64_t n, int64_t k, int64_t bins, int64_t per_bin)
{
    double bound;

    if (n < 1 || k < 1 || k > n || bins < 1 || per_bin < 1) return NAN;
    if (bins >= n || k <= per_bin) return 1;
    if (per_bin ==
        1) { /* pairs of winners in a bin: (n / bins - 1) / (n - 1) where bins are even */
        const double size = (double)(n / bins), longer = (double)(n % bins);
        const double pairs = ((double)bins * size * (size - 1) + 2 * longer * size) / (double)n;
        bound = 1 - (double)(k - 1) / 2 * pairs / (double)(n - 1);
    } else { /* C(k - 1, per_bin) / bins^per_bin, a factor at a time */
        double loss = 1 / ((double)per_bin + 1);
        for (int64_t i = 0; i < per_bin && loss > 0; i++)
            loss *= (double)(k - 1 - i) / ((double)(i + 1) * (double)bins);
        bound = 1 - loss;
    }
    return bound < 0 ? 0 : bound;
}

double vindex_topk_recall_chern(int64_t k, int64_t bins)
{
    if (k < 1 || bins < 1) return NAN;
    if (k == 1) return 1;
    return bins == 1 ? 0 : exp((double)(k - 1) * log1p(-1 / (double)bins));
}

/* ---- the inverse ------------------------------------------------------------------------------- */

vindex_status vindex_topk_least_bins(int64_t k, double recall, int64_t per_bin, int64_t multiple,
                                     int64_t *bins)
{
    int64_t low = 0, high = 1; /* in multiples: low is too few, high enough */

    if (k < 1 || per_bin < 1 || multiple < 1 || !bins || !vindex__recall_is_valid(recall))
        return vindex__fail(
            VINDEX_INVALID,
            "k %lld, %lld a bin, multiples of %lld, recall %g: each must be positive, "
            "recall at most 1",
            (long long)k, (long long)per_bin, (long long)multiple, recall);
    while (vindex_topk_recall_binomial(k, high * multiple, per_bin) < recall) {
        if (high > ((int64_t)1 << 52) / multiple)
            return vindex__fail(VINDEX_INVALID, "no number of bins reaches recall %.17g for k %lld",
                                recall, (long long)k);
        low = high;
        high *= 2;
    }
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        if (vindex_topk_recall_binomial(k, middle * multiple, per_bin) < recall)
            low = middle;
        else
            high = middle;
    }
    *bins = high * multiple;
    return VINDEX_OK;
}

/*
 * Work in vector operations, sixteen scores each: two to compare, and half a move for every depth of a bin,
 * as few vectors are inserted; then six for each survivor that the second step selects from.
 */
static double work_of_bins(int64_t n, int64_t bins, int64_t per_bin)
{
    return (double)n / 16 * (2 + (double)per_bin / 2) + 6 * (double)bins * (double)per_bin;
}

vindex_status vindex_topk_plan_bins(int64_t n, int64_t k, double recall, int64_t *bins,
                                    int64_t *per_bin)
{
    double least = INFINITY;

    if (n < 1 || k < 1 || k > n || !bins || !per_bin || !vindex__recall_is_valid(recall))
        return vindex__fail(VINDEX_INVALID,
                            "n %lld, k %lld, recall %g: k in [1, n], recall in (0, 1]",
                            (long long)n, (long long)k, recall);
    *bins = *per_bin = 0;
    if (recall == 1) return VINDEX_OK;
    for (int64_t kept = 1; kept <= 8; kept++) {
        int64_t b = 0;
        if (vindex_topk_least_bins(k, recall, kept, 16, &b) != VINDEX_OK) continue;
        b = max_i64(b, (k + 16 * kept - 1) / (16 * kept) * 16); /* at least k survive */
        if (b > n / kept || work_of_bins(n, b, kept) >= least) continue;
        least = work_of_bins(n, b, kept);
        *bins = b, *per_bin = kept;
    }
    return VINDEX_OK;
}

/* ---- depths ------------------------------------------------------------------------------------ */

/* Truncated series, coefficients 0 .. k: lanes all below the depth, and lanes that reach it. */
struct series {
    double *below, *reach;
};

/* c += a b, up to x^k. */
static void add_product(const double *a, const double *b, double *c, size_t k)
{
    for (size_t i = 0; i <= k; i++) {
        if (a[i] == 0) continue;
        for (size_t j = 0; i + j <= k; j++)
            c[i + j] += a[i] * b[j];
    }
}

/* into = a joined with b; into is neither. */
static void join(const struct series *a, const struct series *b, const struct series *into,
                 size_t k)
{
    memset(into->below, 0, (k + 1) * sizeof *into->below);
    memset(into->reach, 0, (k + 1) * sizeof *into->reach);
    add_product(a->below, b->below, into->below, k);
    add_product(a->reach, b->below, into->reach, k);
    add_product(a->below, b->reach, into->reach, k);
    add_product(a->reach, b->reach, into->reach, k);
}

static void swap(struct series *a, struct series *b)
{
    const struct series t = *a;
    *a = *b;
    *b = t;
}

/* One lane: chance of i balls, i < m below, i = m reaching. */
static void one_lane(const struct series *lane, size_t k, double load, size_t m)
{
    double weight = exp(-load);

    for (size_t i = 0; i <= k; i++) {
        lane->below[i] = i < m ? weight : 0;
        lane->reach[i] = i == m ? weight : 0;
        weight *= load / (double)(i + 1);
    }
}

/* Poisson(k; k) = k^k e^-k / k!. */
static double poisson_at_mean(double k)
{
    double p = 1;

    if (k > 1000) /* Stirling's series: its first neglected term is below 1e-17 here */
        return exp(-1 / (12 * k) + 1 / (360 * k * k * k)) / sqrt(2 * 3.14159265358979323846 * k);
    for (double i = 1; i <= k; i++)
        p *= k / (i * 2.71828182845904523536);
    return p;
}

/*
 * P(D < m) and P(D = m). `room`: 6 (k + 1) doubles. The lanes' power by squaring; a series that no lane
 * has joined yet is the number 1.
 */
static void depth_chances(size_t k, int64_t lanes, size_t m, double *room, double *below,
                          double *at)
{
    struct series power = {room, room + (k + 1)}, result = {room + 2 * (k + 1), room + 3 * (k + 1)};
    struct series spare = {room + 4 * (k + 1), room + 5 * (k + 1)};
    const double scale = poisson_at_mean((double)k);

    one_lane(&power, k, (double)k / (double)lanes, m);
    memset(result.below, 0, 2 * (k + 1) * sizeof *room);
    result.below[0] = 1;
    for (int64_t left = lanes; left > 0; left >>= 1) {
        if (left & 1) {
            join(&result, &power, &spare, k);
            swap(&result, &spare);
        }
        if (left > 1) {
            join(&power, &power, &spare, k);
            swap(&power, &spare);
        }
    }
    *below = result.below[k] / scale;
    *at = result.reach[k] / scale;
}

/* 0 where the answer is *certain, else 1: *below and *at hold; -1: out of memory or senseless. */
static int find_depth(int64_t k, int64_t lanes, int64_t m, double *below, double *at)
{
    double *room;

    if (k < 0 || lanes < 1 || k > INT32_MAX) return -1;
    *below = *at = 0;
    if (m < 0 || (k > 0 && m < (k - 1) / lanes + 1)) return 0;
    if (m > k) *below = 1;
    if (k == 0 && m == 0) *at = 1;
    if (m > k || k == 0) return 0;
    room = vindex__calloc(6 * ((size_t)k + 1), sizeof *room);
    if (!room) return -1;
    depth_chances((size_t)k, lanes, (size_t)m, room, below, at);
    vindex__free(room);
    return 1;
}

double vindex_topk_depth_pmf(int64_t k, int64_t lanes, int64_t m)
{
    double below, at;

    return find_depth(k, lanes, m, &below, &at) < 0 ? NAN : at;
}

double vindex_topk_depth_cdf(int64_t k, int64_t lanes, int64_t m)
{
    double below, at;

    if (find_depth(k, lanes, m, &below, &at) < 0) return NAN;
    return below + at > 1 ? 1 : below + at;
}

/* ---- the default schedule ---------------------------------------------------------------------- */

enum {
    EXACT_BALLS = 128
}; /* beyond, a plan would take longer than a row: independent lanes instead */

/* P(D <= m), on the stack: exact for few balls, else lanes as independent Poisson counts. */
static double planning_cdf(int64_t k, int64_t lanes, int64_t m)
{
    double room[6 * (EXACT_BALLS + 1)], below, at, sum = 0, weight;

    if (m >= k) return 1;
    if (k <= EXACT_BALLS) {
        depth_chances((size_t)k, lanes, (size_t)m, room, &below, &at);
        return below + at;
    }
    weight = exp(-(double)k / (double)lanes);
    for (int64_t i = 0; i <= m; i++) {
        sum += weight;
        weight *= (double)k / (double)lanes / (double)(i + 1);
    }
    return sum >= 1 ? 1 : exp((double)lanes * log(sum));
}

vindex_status vindex_topk_depth_schedule(int64_t k, int64_t lanes, int64_t rows_per_block,
                                         uint32_t *depths, uint32_t *n_depths)
{
    static const double chances[3] = {.66, .95, .9999}; /* tallax's rule for its stages */
    int64_t m = 1;

    if (k < 0 || k > INT32_MAX || lanes < 1 || rows_per_block < 1 || !depths || !n_depths)
        return vindex__fail(VINDEX_INVALID, "k %lld, %lld lanes, blocks of %lld rows", (long long)k,
                            (long long)lanes, (long long)rows_per_block);
    *n_depths = 0;
    if (k / lanes > 500)
        return VINDEX_OK; /* e^-load underflows; such lanes are better kept whole */
    for (int i = 0; i < 3; i++) {
        while (m < k && pow(planning_cdf(k, lanes, m), (double)rows_per_block) < chances[i]) {
            /* Below the mean load no depth can be enough: start there. */
            m = m < k / lanes ? k / lanes : m + 1;
        }
        if (m >= k) break;
        if (*n_depths > 0 && depths[*n_depths - 1] == (uint32_t)m + 1) continue;
        depths[(*n_depths)++] =
            (uint32_t)m + 1; /* the entry at depth m + 1 proves the m before it */
    }
    return VINDEX_OK;
}
