/*
 * choose.c - how many axes a scan of 4-bit codes should read: rows of the sample are asked as queries against the others, and what
 * their answers would have cost decides.
 *
 * For m axes, codes of the sample are made and scanned as a search would. The rank there of a query's K nearest rows says how many
 * rows a search has to rerank to find them; k' is the depth at which the share asked for of all is found. A query then costs
 *
 *     n_rows (m / 2 + 4) bytes scanned  +  k' sqrt(n_rows / n) rows fetched and scored
 *
 * More axes: more bytes, better ranks. Depth grows with the root of the number of rows (photo-sift-128, 32k -> 65k -> 200k rows: k' 103 -> 138
 * -> 249 at 32 axes, 51 -> 52 -> 85 at 48): more rows crowd in, but the nearest ones also come closer. On the whole of photo-sift-128 and
 * mnist-784, at the axes chosen, real queries need the k' estimated so from rows within a quarter; at half as many axes, up to twice that.
 *
 * The cheapest m is not taken, but the largest that costs at most a fifth more: other depths (more neighbours, stricter targets, queries unlike
 * the rows) profit from more axes, and the sum above is flat around its least.
 */
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/status.h"
#include "ingest/choose.h"

enum {
    K = CHOOSE_K,
    QUERIES_MAX = 256,
    QUERIES_SHARE = 16, /* no more queries than a 16th of the rows */
    SCAN_GROUPS = 256   /* 4,096 rows at a time: their scores stay in L1 and L2 */
};

/* What a scan and a rerank cost on the machines at hand (2.5 GHz Xeons): codes stream at 28 bytes a nanosecond from the last
 * cache, at 12 from memory; a row reranked costs some 120 ns for its way through the selection and the misses of its first lines, and then
 * comes at 22 bytes a nanosecond. Only the ratios count. */
#define CACHED_BYTES (32.0 * 1024 * 1024)
#define CACHED_BYTES_PER_NS 28.0
#define SCAN_BYTES_PER_NS 12.0
#define FETCH_NS 120.0
#define FETCH_BYTES_PER_NS 22.0

#define MORE_AXES_FOR 1.2 /* times the least cost */

/* Where less than half of the variance lies along the axes, ranks are useless (trivia-lsa-256: k' is more than half of all rows). */
#define ENERGY_LEAST 0.5

static const uint32_t candidates[] = {8,   16,  24,  32,  40,  48,  56,  64,  80,  96,  112, 128,
                                      160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896, 1024};
enum { N_CANDIDATES = sizeof candidates / sizeof *candidates };

struct trial {
    struct asked asked;
    unsigned char *groups; /* the sample's codes */
    size_t groups_capacity;
    float *scratch; /* of the encoder */
    float *scores;  /* [16 * groups] */
    float *vector;  /* [m + dim] */
    int8_t *weights;
    uint32_t *ranks; /* [n_queries * K] */
    size_t n_ranks;
};

/* ---- the truth ------------------------------------------------------------------------------------- */

static void offer(struct neighbour *nearest, float score, size_t row)
{
    size_t at = K;
    if (!(score < nearest[K - 1].score)) return;
    while (at > 1 && score < nearest[at - 2].score) {
        at--;
        nearest[at] = nearest[at - 1];
    }
    nearest[at - 1] = (struct neighbour){score, row};
}

/* The queries, minus: half the squared distance is |x|^2 / 2 - q.x up to what is the query's own. */
void vindex__asked_query(const struct asked *asked, size_t q, float *negated)
{
    const struct sample *sample = asked->sample;
    const struct centred *centred = asked->centred;
    const float *row = sample->rows + asked_row(asked, q) * sample->dim;
    bool is_product = sample->metric == VKERN_IP;
    for (size_t d = 0; d < sample->dim; d++) {
        double origin = is_product ? 0 : (double)centred->mean[d];
        negated[d] = (float)(-((double)row[d] - origin) * centred->factor);
    }
}

static void offer_panel(struct trial *trial, const float *scores, size_t first, size_t n)
{
    for (size_t q = 0; q < trial->asked.n_queries; q++) {
        const float *line = scores + q * VKERN_TILE_ROWS;
        size_t own = asked_row(&trial->asked, q);
        for (size_t r = 0; r < n; r++)
            if (first + r != own) offer(trial->asked.truth + q * K, line[r], first + r);
    }
}

static void half_squares(const struct trial *trial, const float *rows, size_t n, float *bias)
{
    size_t dim = trial->asked.sample->dim;
    bool is_product = trial->asked.sample->metric == VKERN_IP;
    for (size_t i = 0; i < n; i++)
        bias[i] = is_product ? 0 : (float)(vkern_get()->sumsq[VKERN_F32](rows + i * dim, dim) / 2);
}

static vindex_status find_truth(struct trial *trial, const struct asking *asking)
{
    const struct vkern_tile *tile = vkern_get()->tile;
    size_t dim = trial->asked.sample->dim;
    struct centred all = *trial->asked.centred;
    float bias[VKERN_TILE_ROWS];
    float *queries = vindex__alloc_aligned(trial->asked.n_queries, dim * sizeof *queries);
    float *rows = vindex__alloc_aligned(VKERN_TILE_ROWS, dim * sizeof *rows);
    float *panel = vindex__alloc_aligned(vkern_panel_floats(dim), sizeof *panel);
    float *scores = vindex__alloc_aligned(trial->asked.n_queries, VKERN_TILE_ROWS * sizeof *scores);
    vindex_status st = queries && rows && panel && scores ? VINDEX_OK : vindex__nomem();
    all.step = 1;
    all.n = trial->asked.sample->n;
    for (size_t q = 0; q < trial->asked.n_queries && st == VINDEX_OK; q++)
        vindex__asked_query(&trial->asked, q, queries + q * dim);
    for (size_t i = 0; i < trial->asked.n_queries * K; i++)
        trial->asked.truth[i] = (struct neighbour){INFINITY, SIZE_MAX};
    for (size_t first = 0; first < all.n && st == VINDEX_OK; first += VKERN_TILE_ROWS) {
        size_t n = all.n - first < VKERN_TILE_ROWS ? all.n - first : VKERN_TILE_ROWS;
        vindex__centred_rows(&all, first, n, rows);
        half_squares(trial, rows, n, bias);
        tile->pack(VKERN_F32, rows, dim * sizeof *rows, n, dim, NULL, panel);
        tile->multiply(queries, trial->asked.n_queries, panel, bias, n, dim, scores,
                       VKERN_TILE_ROWS);
        offer_panel(trial, scores, first, n);
        st = vindex__ask(asking);
    }
    vindex__free_aligned(queries);
    vindex__free_aligned(rows);
    vindex__free_aligned(panel);
    vindex__free_aligned(scores);
    return st;
}

/* ---- ranks in a scan ------------------------------------------------------------------------------ */

static vindex_status encode(struct trial *trial, const struct vkern_model *model,
                            const struct asking *asking)
{
    const struct sample *sample = trial->asked.sample;
    size_t group_bytes = vkern_c4_group_bytes(model->m), at = 0;
    vindex_status st = VINDEX_OK;
    if (!vindex__grow((void **)&trial->groups, &trial->groups_capacity,
                      vkern_groups(sample->n) * group_bytes, 1))
        return vindex__nomem();
    for (size_t first = 0; first < sample->n && st == VINDEX_OK; first += VKERN_TILE_ROWS) {
        size_t n = sample->n - first < VKERN_TILE_ROWS ? sample->n - first : VKERN_TILE_ROWS;
        vkern_c4_encode(vkern_get(), model, sample->rows + first * sample->dim, n, trial->scratch,
                        trial->groups + at);
        at += vkern_groups(n) * group_bytes;
        st = vindex__ask(asking);
    }
    return st;
}

static uint32_t count_below(const float *scores, size_t n, float threshold)
{
    uint32_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += scores[i] < threshold;
    return count;
}

/* Rows that a scan puts before each true neighbour of query q, the query itself not counted. */
static void rank_neighbours(struct trial *trial, size_t q)
{
    size_t n = trial->asked.sample->n;
    float own = trial->scores[asked_row(&trial->asked, q)];
    for (size_t i = 0; i < K; i++) {
        size_t row = trial->asked.truth[q * K + i].row;
        if (row == SIZE_MAX) continue;
        float score = trial->scores[row];
        trial->ranks[trial->n_ranks++] = isfinite(score) && isfinite(own)
                                             ? count_below(trial->scores, n, score) - (own < score)
                                             : (uint32_t)n;
    }
}

static void scan(struct trial *trial, const struct vkern_model *model, size_t q)
{
    const struct vkern_codes *codes = vkern_get()->codes;
    const struct sample *sample = trial->asked.sample;
    size_t n_groups = vkern_groups(sample->n), group_bytes = vkern_c4_group_bytes(model->m);
    float weight_scale;
    vkern_c4_query_make(vkern_get(), model,
                        sample->rows + asked_row(&trial->asked, q) * sample->dim, trial->vector,
                        trial->weights, &weight_scale);
    for (size_t at = 0; at < n_groups; at += SCAN_GROUPS) {
        size_t n = n_groups - at < SCAN_GROUPS ? n_groups - at : SCAN_GROUPS;
        codes->c4_scan(trial->weights, weight_scale, trial->groups + at * group_bytes, n, model->m,
                       trial->scores + at * VKERN_GROUP, 0, NULL);
    }
}

static int compare_ranks(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/*
 * The share of the neighbours to be found: half of what the index's target lets a scan lose, as plans allow that are made from rows. Below
 * 0.99 depth is cheap at any m; above 0.999 one of 2,560 ranks would decide.
 */
static double share_wanted(const struct sample *sample)
{
    double target = (double)sample->recall;
    target = target < 0.99 ? 0.99 : target > 0.999 ? 0.999 : target;
    return 1 - (1 - target) / 2;
}

/* k': rows of the sample to rerank so that the share wanted of the neighbours is among them. */
static vindex_status depth_needed(struct trial *trial, const struct vkern_model *model,
                                  const struct asking *asking, double *depth)
{
    vindex_status st = encode(trial, model, asking);
    trial->n_ranks = 0;
    for (size_t q = 0; q < trial->asked.n_queries && st == VINDEX_OK; q++) {
        scan(trial, model, q);
        rank_neighbours(trial, q);
        st = vindex__ask(asking);
    }
    if (st != VINDEX_OK || trial->n_ranks == 0) return st;
    qsort(trial->ranks, trial->n_ranks, sizeof *trial->ranks, compare_ranks);
    size_t found = (size_t)ceil(share_wanted(trial->asked.sample) * (double)trial->n_ranks);
    *depth = (double)trial->ranks[found - 1] + 1;
    return VINDEX_OK;
}

/* ---- the choice -------------------------------------------------------------------------------------- */

static double scan_ns(const struct sample *sample, double bytes_a_row)
{
    double bytes = (double)sample->n_rows * bytes_a_row;
    double cached = bytes < CACHED_BYTES ? bytes : CACHED_BYTES;
    return cached / CACHED_BYTES_PER_NS + (bytes - cached) / SCAN_BYTES_PER_NS;
}

static double rerank_ns(const struct sample *sample, double n)
{
    return n * (FETCH_NS + (double)sample->row_bytes / FETCH_BYTES_PER_NS);
}

/* What a query costs without 4-bit codes: a scan of 8-bit ones, or of rows that are. */
static double cost_without(const struct sample *sample)
{
    return sample->has_c8 ? scan_ns(sample, sample->dim + 12.0) + rerank_ns(sample, K + 2)
                          : scan_ns(sample, (double)sample->row_bytes);
}

static double cost_with(const struct sample *sample, uint32_t m, double depth)
{
    double more = sample->n_rows > sample->n ? (double)sample->n_rows / (double)sample->n : 1;
    double n = depth * sqrt(more) < K ? K : depth * sqrt(more);
    return scan_ns(sample, m / 2.0 + 4) + rerank_ns(sample, n);
}

/* The share of the variance along the first m of n_axes axes. */
static double energy_of(const struct trained *trained, uint32_t m, uint32_t n_axes)
{
    double largest = (double)trained->deviation[0], first = 0, all = 0;
    for (uint32_t k = 0; k < n_axes; k++) {
        double share = (double)trained->deviation[k] / largest;
        all += share * share;
        if (k < m) first += share * share;
    }
    return (double)trained->energy * first / all;
}

static uint32_t largest_that_pays(const double *costs, double least, double without)
{
    uint32_t m = 0;
    for (size_t i = 0; i < N_CANDIDATES && least < without; i++)
        if (costs[i] <= MORE_AXES_FOR * least && costs[i] < without) m = candidates[i];
    return m;
}

static vindex_status compare_candidates(struct trial *trial, const struct trained *trained,
                                        uint32_t n_axes, const struct asking *asking,
                                        uint32_t *best)
{
    const struct sample *sample = trial->asked.sample;
    double costs[N_CANDIDATES], without = cost_without(sample), least = without;
    vindex_status st = VINDEX_OK;
    for (size_t i = 0; i < N_CANDIDATES; i++)
        costs[i] = INFINITY;
    for (size_t i = 0; i < N_CANDIDATES && candidates[i] <= n_axes && st == VINDEX_OK; i++) {
        uint32_t m = candidates[i];
        double depth = (double)sample->n;
        if (energy_of(trained, m, n_axes) < ENERGY_LEAST) continue;
        if (scan_ns(sample, m / 2.0 + 4) > MORE_AXES_FOR * least) break;
        struct vkern_model model = vindex__trained_model(trained, sample->metric, m);
        st = depth_needed(trial, &model, asking, &depth);
        costs[i] = cost_with(sample, m, depth);
        if (costs[i] < least) least = costs[i];
    }
    *best = largest_that_pays(costs, least, without);
    return st;
}

static vindex_status trial_init(struct trial *trial, const struct trained *trained, uint32_t n_axes)
{
    const struct sample *sample = trial->asked.sample;
    struct vkern_model model = vindex__trained_model(trained, sample->metric, n_axes);
    trial->asked.truth = vindex__calloc(trial->asked.n_queries * K, sizeof *trial->asked.truth);
    trial->ranks = vindex__calloc(trial->asked.n_queries * K, sizeof *trial->ranks);
    trial->scratch = vindex__alloc_aligned(vkern_c4_scratch(&model), sizeof *trial->scratch);
    trial->scores =
        vindex__alloc_aligned(vkern_groups(sample->n), VKERN_GROUP * sizeof *trial->scores);
    trial->vector = vindex__alloc_aligned((size_t)n_axes + sample->dim, sizeof *trial->vector);
    trial->weights = vindex__alloc_aligned(n_axes, sizeof *trial->weights);
    return trial->asked.truth && trial->ranks && trial->scratch && trial->scores && trial->vector &&
                   trial->weights
               ? VINDEX_OK
               : vindex__nomem();
}

static void trial_deinit(struct trial *trial)
{
    vindex__free(trial->asked.truth);
    vindex__free(trial->ranks);
    vindex__free(trial->groups);
    vindex__free_aligned(trial->scratch);
    vindex__free_aligned(trial->scores);
    vindex__free_aligned(trial->vector);
    vindex__free_aligned(trial->weights);
}

vindex_status vindex__choose_axes(const struct sample *sample, const struct centred *centred,
                                  const struct trained *trained, uint32_t n_axes,
                                  const struct asking *asking, uint32_t *m,
                                  struct lead_choice *lead)
{
    struct trial trial = {.asked = {.sample = sample, .centred = centred}};
    *m = 0;
    *lead = (struct lead_choice){0, 0};
    trial.asked.n_queries =
        sample->n / QUERIES_SHARE < QUERIES_MAX ? sample->n / QUERIES_SHARE : QUERIES_MAX;
    if (n_axes == 0 || trial.asked.n_queries == 0) return VINDEX_OK;
    vindex_status st = trial_init(&trial, trained, n_axes);
    if (st == VINDEX_OK) st = find_truth(&trial, asking);
    if (st == VINDEX_OK) st = compare_candidates(&trial, trained, n_axes, asking, m);
    if (st == VINDEX_OK) st = vindex__choose_lead(&trial.asked, trained, n_axes, asking, lead);
    trial_deinit(&trial);
    return st;
}
