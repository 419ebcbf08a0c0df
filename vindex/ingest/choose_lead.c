/*
 * choose_lead.c - how many leading coordinates an exact search should look at before it looks at rows (search/lead.c):
 * rows of the sample are asked as queries, and what their searches would have cost decides. With p coordinates a query
 * costs, a row of the index,
 *
 *     p a                products of 8-bit codes, a quarter of the rows gone over twice
 *     share(p) b         the share of rows let through, each scored from its bytes
 *
 * share(p): of the sample's rows, those that the leading coordinates do not tell from a row as near as the tenth nearest of
 * all rows is: the sample's own neighbour of that rank among fewer rows, at least its nearest.
 */
#include "ingest/choose.h"

#include <math.h>

#include "base/mem.h"
#include "base/status.h"

enum { LEAD_QUERIES = 64, LEAD_ROWS = 16384 };

/* Of AVX-512 with VNNI, as search/cost.c has them: only ratios count. Codes err: their bands let a little more through than
   real numbers would, and rows come by before it is known how good they have to be. */
#define PRODUCT_NS 0.0055
#define SCOUTED 1.25
#define ROW_NS 45.0
#define BYTE_NS 0.08
#define SCORE_NS 0.1
#define BAND 1.15
#define EARLY 1.3
#define WORTH 1.25 /* times what a batch costs without: of few queries, which memory bounds, it is less than half */

/* With more of the elements than this there is nothing to gain. */
#define SHARE_MOST 0.625

static const uint32_t candidates[] = {8,  16, 24, 32,  40,  48,  56,  64,
                                      80, 96, 112, 128, 160, 192, 224, 256};
enum { N_CANDIDATES = sizeof candidates / sizeof *candidates };

struct query {
    float *along;     /* [n_axes] */
    double threshold; /* scores of the leading coordinates above it leave a row out */
    double squares;   /* |q|^2 */
};

struct trial {
    const struct asked *asked;
    const struct trained *trained;
    uint32_t n_axes; /* looked at */
    size_t n_queries, n_candidates;
    struct query queries[LEAD_QUERIES];
    float *rows, *panel, *y, *along; /* [256, dim], a panel, [n_axes, 256], [queries, n_axes] */
    size_t n_seen, n_let_through[N_CANDIDATES];
};

static bool is_product(const struct trial *trial)
{
    return trial->asked->sample->metric == VKERN_IP;
}

/* ---- queries ---------------------------------------------------------------------------------------- */

/* The rank that the tenth of all rows has among those of the sample. */
static size_t rank_of(const struct sample *sample)
{
    double rank = ceil(CHOOSE_K * (double)sample->n / (double)sample->n_rows);
    return rank < 1 ? 0 : rank > CHOOSE_K ? CHOOSE_K - 1 : (size_t)rank - 1;
}

static void ask_query(struct trial *trial, size_t q, float *room)
{
    const struct asked *asked = trial->asked;
    size_t dim = asked->sample->dim, number = q * asked->n_queries / trial->n_queries;
    const struct neighbour *nearest =
        &asked->truth[number * CHOOSE_K + rank_of(asked->sample)];
    struct query *query = &trial->queries[q];
    query->along = trial->along + q * trial->n_axes;
    vindex__asked_query(asked, number, room);
    vkern_get()->ndot[VKERN_F32](room, trial->trained->axes, dim * sizeof *room, trial->n_axes, dim,
                                 query->along);
    query->squares = vkern_get()->sumsq[VKERN_F32](room, dim);
    query->threshold = INFINITY;
    if (nearest->row == SIZE_MAX) return;
    query->threshold = is_product(trial)
                           ? (double)nearest->score
                           : BAND * (2 * (double)nearest->score + query->squares);
}

/* ---- rows -------------------------------------------------------------------------------------------- */

/* A panel of rows as a query sees them, axis by axis. */
struct view {
    double score[VKERN_TILE_ROWS], kept[VKERN_TILE_ROWS], squares[VKERN_TILE_ROWS];
    double query_kept;
};

static void look_along(const struct trial *trial, const struct query *query, size_t k, size_t n,
                       struct view *view)
{
    const float *y = trial->y + k * VKERN_TILE_ROWS;
    double a = (double)query->along[k];
    view->query_kept += a * a;
    for (size_t r = 0; r < n; r++) {
        double b = (double)y[r];
        view->score[r] += is_product(trial) ? -a * b : (a - b) * (a - b);
        view->kept[r] += b * b;
    }
}

static double outside(double squares, double kept)
{
    return squares > kept ? squares - kept : 0;
}

static size_t count_below(const struct trial *trial, const struct query *query,
                          const struct view *view, size_t n)
{
    size_t count = 0;
    double rest = outside(query->squares, view->query_kept), margin = (BAND - 1) / 10;
    for (size_t r = 0; r < n; r++) {
        double score = view->score[r];
        if (is_product(trial))
            score -= sqrt(rest * outside(view->squares[r], view->kept[r])) +
                     margin * sqrt(query->squares * view->squares[r]);
        count += !(score > query->threshold);
    }
    return count;
}

static void try_panel(struct trial *trial, size_t n)
{
    size_t dim = trial->asked->sample->dim;
    struct view view, blank = {.query_kept = 0};
    for (size_t r = 0; r < n; r++)
        blank.squares[r] = vkern_get()->sumsq[VKERN_F32](trial->rows + r * dim, dim);
    for (size_t q = 0; q < trial->n_queries; q++) {
        size_t k = 0;
        view = blank;
        for (size_t i = 0; i < trial->n_candidates; i++) {
            for (; k < candidates[i]; k++)
                look_along(trial, &trial->queries[q], k, n, &view);
            trial->n_let_through[i] += count_below(trial, &trial->queries[q], &view, n);
        }
    }
    trial->n_seen += n * trial->n_queries;
}

/* Panels are spread over the sample. */
static vindex_status try_rows(struct trial *trial, const struct asking *asking)
{
    const struct vkern_tile *tile = vkern_get()->tile;
    const struct sample *sample = trial->asked->sample;
    struct centred all = *trial->asked->centred;
    float zeros[VKERN_TILE_ROWS] = {0};
    size_t step = (sample->n + LEAD_ROWS - 1) / LEAD_ROWS * VKERN_TILE_ROWS;
    vindex_status st = VINDEX_OK;
    all.step = 1;
    all.n = sample->n;
    for (size_t first = 0; first < all.n && st == VINDEX_OK; first += step) {
        size_t n = all.n - first < VKERN_TILE_ROWS ? all.n - first : VKERN_TILE_ROWS;
        vindex__centred_rows(&all, first, n, trial->rows);
        tile->pack(VKERN_F32, trial->rows, sample->dim * sizeof(float), n, sample->dim, NULL,
                   trial->panel);
        tile->multiply(trial->trained->axes, trial->n_axes, trial->panel, zeros, n, sample->dim,
                       trial->y, VKERN_TILE_ROWS);
        try_panel(trial, n);
        st = vindex__ask(asking);
    }
    return st;
}

/* ---- the choice -------------------------------------------------------------------------------------- */

static double share_of(const struct trial *trial, size_t i)
{
    return fmin(EARLY * (double)trial->n_let_through[i] / (double)trial->n_seen, 1);
}

static double cost_of(const struct trial *trial, size_t i)
{
    double row_ns = ROW_NS + BYTE_NS * (double)trial->asked->sample->row_bytes;
    return SCOUTED * (candidates[i] * PRODUCT_NS + SCORE_NS) + share_of(trial, i) * row_ns;
}

static struct lead_choice cheapest(const struct trial *trial)
{
    double least = WORTH * (trial->asked->sample->dim * PRODUCT_NS + SCORE_NS);
    struct lead_choice choice = {0, 0};
    for (size_t i = 0; i < trial->n_candidates; i++)
        if (cost_of(trial, i) < least) {
            least = cost_of(trial, i);
            choice = (struct lead_choice){candidates[i], (float)share_of(trial, i)};
        }
    return choice;
}

vindex_status vindex__choose_lead(const struct asked *asked, const struct trained *trained,
                                  uint32_t n_axes, const struct asking *asking,
                                  struct lead_choice *choice)
{
    size_t dim = asked->sample->dim;
    struct trial *trial = vindex__calloc(1, sizeof *trial);
    *choice = (struct lead_choice){0, 0};
    if (!trial) return vindex__nomem();
    trial->asked = asked;
    trial->trained = trained;
    trial->n_queries = asked->n_queries < LEAD_QUERIES ? asked->n_queries : LEAD_QUERIES;
    uint32_t most = (uint32_t)(SHARE_MOST * (double)dim);
    if (most > n_axes) most = n_axes;
    while (trial->n_candidates < N_CANDIDATES && candidates[trial->n_candidates] <= most)
        trial->n_axes = candidates[trial->n_candidates++];
    trial->rows = vindex__alloc_aligned(VKERN_TILE_ROWS, dim * sizeof *trial->rows);
    trial->panel = vindex__alloc_aligned(vkern_panel_floats(dim), sizeof *trial->panel);
    trial->y = vindex__alloc_aligned(trial->n_axes + 1, VKERN_TILE_ROWS * sizeof *trial->y);
    trial->along = vindex__alloc_aligned(trial->n_queries * trial->n_axes + 1, sizeof *trial->along);
    bool fits = trial->rows && trial->panel && trial->y && trial->along;
    vindex_status st = fits ? VINDEX_OK : vindex__nomem();
    for (size_t q = 0; q < trial->n_queries && st == VINDEX_OK && trial->n_axes; q++)
        ask_query(trial, q, trial->rows);
    if (st == VINDEX_OK && trial->n_axes) st = try_rows(trial, asking);
    if (st == VINDEX_OK && trial->n_axes) *choice = cheapest(trial);
    vindex__free_aligned(trial->rows);
    vindex__free_aligned(trial->panel);
    vindex__free_aligned(trial->y);
    vindex__free_aligned(trial->along);
    vindex__free(trial);
    return st;
}
