/*
 * helper_snapshot.c - see helper_snapshot.h. Rows and factors of a made snapshot start at odd
 * addresses.
 */
#include "search/helper_snapshot.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "kernels/codes.h"
#include "kernels/kernels.h"

const char *const nature_names[N_NATURES] = {
    "normal",     "duplicates", "all equal", "ties",  "huge 1e19", "huge 1e30", "huge 3e38",
    "tiny 1e-25", "tiny 1e-42", "zero rows", "mixed", "outlier",   "far",       "near ties"};

/* ---- rows ---------------------------------------------------------------------------------- */

static double normal(struct rng *rng)
{
    double radius = sqrt(-2 * log(1 - vindex__rng_unit(rng)));
    return radius * cos(6.283185307179586 * vindex__rng_unit(rng));
}

static double scale_of(enum nature nature, struct rng *rng, size_t row)
{
    switch (nature) {
    case NATURE_HUGE_19: return 1e19;
    case NATURE_HUGE_30: return 1e30;
    case NATURE_HUGE_38: return 2e38;
    case NATURE_TINY_25: return 1e-25;
    case NATURE_TINY_42: return 1e-42;
    case NATURE_ZEROS: return row % 3 ? 1 : 0;
    case NATURE_MIXED: return pow(10, -42 + 80 * vindex__rng_unit(rng));
    case NATURE_OUTLIER: return row % 97 == 13 ? 1e12 : 1;
    default: return 1;
    }
}

static void fill_floats(struct rng *rng, enum nature nature, size_t n, size_t dim, float *to)
{
    for (size_t r = 0; r < n; r++) {
        float *row = to + r * dim;
        size_t twin = nature == NATURE_ALL_EQUAL || nature == NATURE_NEAR_TIES ? 0 : r % 7;
        bool copies =
            nature == NATURE_DUPLICATES || nature == NATURE_ALL_EQUAL || nature == NATURE_NEAR_TIES;
        double scale = scale_of(nature, rng, r);
        for (size_t i = 0; i < dim; i++) {
            double x = normal(rng) * scale;
            if (nature == NATURE_TIES) x = (double)vindex__rng_below(rng, 3);
            if (nature == NATURE_FAR) x = 1000 + 0.01 * x;
            if (copies && r != twin) x = to[twin * dim + i];
            if (nature == NATURE_NEAR_TIES && r && vindex__rng_below(rng, 8) == 0)
                x = nextafterf((float)x, vindex__rng_below(rng, 2) ? INFINITY : -INFINITY);
            row[i] = (float)fmax(fmin(x, 3.3e38), -3.3e38);
        }
    }
}

/* Whole numbers from all of the range, or from its ends, or few. */
static void fill_bytes(struct rng *rng, enum nature nature, size_t n, size_t row_bytes, uint8_t *to)
{
    for (size_t r = 0; r < n; r++)
        for (size_t i = 0; i < row_bytes; i++) {
            uint8_t x = (uint8_t)vindex__rng_next(rng);
            if (nature == NATURE_TIES) x &= 1;
            if (nature == NATURE_ZEROS && r % 3 == 0) x = 0;
            if (nature == NATURE_HUGE_38) x = x & 1 ? 0x80 : 0x7f;
            if (nature == NATURE_HUGE_30) x = (uint8_t)(255 - x % 2);
            if (nature == NATURE_ALL_EQUAL && r) x = to[i];
            if (nature == NATURE_DUPLICATES && r > 6) x = to[r % 7 * row_bytes + i];
            if (nature == NATURE_NEAR_TIES && r) x = (uint8_t)(to[i] ^ (x % 16 == 0));
            to[r * row_bytes + i] = x;
        }
}

/* Bits past the dimension are zero. */
static void trim_bits(size_t n, size_t dim, uint8_t *rows)
{
    size_t row_bytes = (dim + 7) / 8;
    for (size_t r = 0; r < n && dim % 8; r++)
        rows[(r + 1) * row_bytes - 1] &= (uint8_t)((1 << dim % 8) - 1);
}

size_t row_bytes_of(uint32_t type, size_t dim, bool queries)
{
    bool wide = queries && (type == VINDEX_FLOAT16 || type == VINDEX_BFLOAT16);
    return vkern_row_bytes(wide ? VKERN_F32 : (enum vkern_type)type, dim);
}

void *make_rows(struct rng *rng, uint32_t type, enum nature nature, size_t n, size_t dim,
                bool queries)
{
    size_t row_bytes = row_bytes_of(type, dim, queries);
    void *rows = calloc(n + 1, row_bytes);
    if (type > VINDEX_BFLOAT16) {
        fill_bytes(rng, nature, n, row_bytes, rows);
        if (type == VINDEX_BIT) trim_bits(n, dim, rows);
        return rows;
    }
    float *floats = calloc(n * dim + 1, sizeof *floats);
    fill_floats(rng, nature, n, dim, floats);
    for (size_t i = 0; i < n * dim; i++) {
        void *to = (char *)rows + i * (row_bytes / dim);
        if (row_bytes == 4 * dim)
            memcpy(to, &floats[i], 4);
        else if (!vkern_get()->from_f32[type](&floats[i], 1, to)) {
            float most = floats[i] > 0 ? 65504 : -65504; /* of f16 */
            vkern_get()->from_f32[type](&most, 1, to);
        }
    }
    free(floats);
    return rows;
}

/* ---- snapshots ----------------------------------------------------------------------------- */

/* A snapshot and the memory it lends. Its body stays NULL: storage takes the parts as sound. */
struct made {
    struct snapshot snapshot; /* first: free_snapshot finds the rest by it */
    void **pieces;
    size_t n_pieces;
};

static void *piece(struct made *made, size_t size)
{
    void *memory = calloc(1, size + 1);
    made->pieces = realloc(made->pieces, (made->n_pieces + 1) * sizeof *made->pieces);
    made->pieces[made->n_pieces++] = memory;
    return memory;
}

static float norm_of(const struct shape *shape, const void *row)
{
    double norm = sqrt(vkern_get()->sumsq[shape->type](row, shape->dim));
    if (norm > FLT_MAX) return FLT_MAX;
    return norm > 0 && norm < FLT_TRUE_MIN ? FLT_TRUE_MIN : (float)norm;
}

static void make_blocks(struct made *made, const struct shape *shape, size_t first,
                        struct part *part)
{
    size_t row_bytes = row_bytes_of(shape->type, shape->dim, false);
    size_t stride = row_bytes + shape->padding, per_block = shape->rows_per_block;
    struct block *blocks;

    part->n_blocks = (uint32_t)((part->n + per_block - 1) / per_block);
    part->blocks = blocks = piece(made, (part->n_blocks + 1) * sizeof *blocks);
    for (uint32_t b = 0; b < part->n_blocks; b++) {
        size_t at = b * per_block, n = part->n - at < per_block ? part->n - at : per_block;
        /* Nothing after the last row: a read past it is seen by the sanitizers. */
        char *memory = (char *)piece(made, n * stride - shape->padding) + 1;
        for (size_t r = 0; r < n; r++)
            memcpy(memory + r * stride, (const char *)shape->rows + (first + at + r) * row_bytes,
                   row_bytes);
        blocks[b] = (struct block){memory, stride, (uint32_t)n, (uint32_t)at};
    }
}

static void make_factors(struct made *made, const struct shape *shape, size_t first,
                         struct part *part)
{
    char *ids = (char *)piece(made, 8 * (size_t)part->n) + 1;
    char *norms = (char *)piece(made, 4 * (size_t)part->n) + 1;
    uint64_t *live = piece(made, 8 * bitmap_words(part->n));
    int64_t before = INT64_MIN;

    part->min_id = INT64_MAX;
    part->max_id = INT64_MIN;
    part->ids_ascend = true;
    for (uint32_t slot = 0; slot < part->n; slot++) {
        size_t r = first + slot;
        int64_t id = shape->ids ? shape->ids[r] : (int64_t)r;
        size_t row_bytes = row_bytes_of(shape->type, shape->dim, false);
        float norm = norm_of(shape, (const char *)shape->rows + r * row_bytes);
        if (id <= before) part->ids_ascend = false;
        before = id;
        if (id < part->min_id) part->min_id = id;
        if (id > part->max_id) part->max_id = id;
        memcpy(ids + 8 * (size_t)slot, &id, 8);
        memcpy(norms + 4 * (size_t)slot, &norm, 4);
        if (norm > 0 && (part->norm_lo == 0 || norm < part->norm_lo)) part->norm_lo = norm;
        if (norm > part->norm_hi) part->norm_hi = norm;
        if (shape->dead && shape->dead[r]) continue;
        bitmap_set(live, slot);
        part->n_live++;
    }
    part->ids = ids;
    part->norms = shape->type == VINDEX_BIT ? NULL : norms;
    part->live = live;
}

/* ---- codes --------------------------------------------------------------------------------- */

static void to_floats(const struct shape *shape, size_t first, size_t n, float *to)
{
    size_t row_bytes = row_bytes_of(shape->type, shape->dim, false);
    vkern_get()->to_f32[shape->type]((const char *)shape->rows + first * row_bytes, n * shape->dim,
                                     to);
}

/* Axes: random, made orthonormal one after another (Gram and Schmidt). */
static void make_axes(uint32_t m, uint32_t dim, float *axes)
{
    struct rng rng;
    vindex__rng_init(&rng, 77 + m + dim);
    for (uint32_t k = 0; k < m; k++) {
        float *axis = axes + (size_t)k * dim;
        double norm = 0;
        for (uint32_t i = 0; i < dim; i++)
            axis[i] = (float)(i == k) + 0.1F * (float)normal(&rng);
        for (uint32_t j = 0; j < k; j++) {
            const float *before = axes + (size_t)j * dim;
            double dot = 0;
            for (uint32_t i = 0; i < dim; i++)
                dot += (double)axis[i] * before[i];
            for (uint32_t i = 0; i < dim; i++)
                axis[i] -= (float)(dot * before[i]);
        }
        for (uint32_t i = 0; i < dim; i++)
            norm += (double)axis[i] * axis[i];
        for (uint32_t i = 0; i < dim; i++)
            axis[i] = (float)(axis[i] / sqrt(norm));
    }
}

/* Means and deviations of the rows as codes see them; whatever they are, answers must be right. */
static void make_model(struct made *made, const struct shape *shape)
{
    size_t n = shape->n, dim = shape->dim;
    struct model *model = piece(made, sizeof *model);
    float *rows = calloc(n * dim + 1, sizeof *rows), *mean = piece(made, 4 * dim);
    float *scale = piece(made, 4 * dim), *axes = piece(made, 4 * dim * (shape->m + 1));
    float *deviation = piece(made, 4 * ((size_t)shape->m + 1));
    double largest = 0;

    to_floats(shape, 0, n, rows);
    for (size_t i = 0; i < dim; i++) {
        double sum = 0, squares = 0;
        for (size_t r = 0; r < n; r++) {
            double norm = shape->metric == VINDEX_COSINE
                              ? norm_of(shape, (const char *)shape->rows +
                                                   r * row_bytes_of(shape->type, dim, false))
                              : 1;
            double x = norm > 0 ? rows[r * dim + i] / norm : 0;
            sum += x / (double)n;
            squares += x * x / (double)n;
        }
        double variance = squares - sum * sum;
        mean[i] = (float)sum;
        scale[i] = (float)sqrt(variance > 1e-60 ? variance : 1e-60);
        if (!(scale[i] < FLT_MAX) || !(scale[i] > 0)) scale[i] = 1;
        if (shape->mean) mean[i] = shape->mean[i];
        if (shape->scale) scale[i] = shape->scale[i];
        if (scale[i] > largest) largest = scale[i];
    }
    make_axes(shape->m, shape->dim, axes);
    for (uint32_t k = 0; k < shape->m; k++)
        deviation[k] = largest > 0 ? (float)largest : 1;
    memset(model->nonce, 7, sizeof model->nonce);
    model->n_rows = n;
    model->m = shape->m;
    model->p = shape->p ? shape->p : shape->m;
    model->axes_norm = model->p ? vkern_axes_norm(axes, model->p, shape->dim) : 0;
    model->clip = 2.5F;
    model->energy = 0.9F;
    model->mean = mean;
    model->scale = scale;
    model->axes = axes;
    model->deviation = deviation;
    made->snapshot.model = model;
    free(rows);
}

/* Groups at odd addresses, in blocks. */
static const struct block *cut_groups(struct made *made, const struct shape *shape,
                                      const char *groups, size_t n_groups, size_t stride,
                                      uint32_t *n_blocks)
{
    size_t per_block = shape->groups_per_block;
    *n_blocks = (uint32_t)((n_groups + per_block - 1) / per_block);
    struct block *blocks = piece(made, *n_blocks * sizeof *blocks);
    for (uint32_t b = 0; b < *n_blocks; b++) {
        size_t at = b * per_block, n = n_groups - at < per_block ? n_groups - at : per_block;
        char *memory = (char *)piece(made, n * stride) + 1;
        memcpy(memory, groups + at * stride, n * stride);
        blocks[b] = (struct block){memory, stride, (uint32_t)n, (uint32_t)(at * VKERN_GROUP)};
    }
    return blocks;
}

/* c4 and p8, from one projection. */
static void make_axis_codes(struct made *made, const struct shape *shape,
                            const struct vkern_model *model, const float *rows, uint8_t wanted,
                            size_t n, struct part_codes *codes)
{
    size_t n_groups = vkern_groups(n), c4_bytes = vkern_c4_group_bytes(model->m);
    size_t p8_bytes = vkern_c8_group_bytes(vkern_p8_dim(model));
    char *c4 = wanted & WITH_C4 ? malloc(n_groups * c4_bytes) : NULL;
    char *p8 = wanted & WITH_P8 ? malloc(n_groups * p8_bytes) : NULL;
    float *scratch = aligned_alloc(64, (4 * vkern_c4_scratch(model) + 64) / 64 * 64);
    struct vkern_p8_facts facts;
    bool has_p8 = vkern_axes_encode(vkern_get(), model, rows, n, scratch, c4, p8, &facts) && p8;

    if (c4) codes->c4 = cut_groups(made, shape, c4, n_groups, c4_bytes, &codes->n_c4);
    if (has_p8) {
        codes->p8 = cut_groups(made, shape, p8, n_groups, p8_bytes, &codes->n_p8);
        codes->p8_error = facts.codes.error;
        codes->p8_size = facts.codes.size;
        codes->p8_bias = facts.codes.bias_max;
        codes->p8_drift = facts.drift;
    }
    free(c4);
    free(p8);
    free(scratch);
}

static void make_codes(struct made *made, const struct shape *shape, size_t first, uint8_t wanted,
                       struct part *part)
{
    const struct model *from = made->snapshot.model;
    struct vkern_model model = {.dim = shape->dim,
                                .m = from->m,
                                .metric = shape->metric,
                                .mean = from->mean,
                                .scale = from->scale,
                                .axes = from->axes,
                                .deviation = from->deviation,
                                .clip = from->clip,
                                .p = from->p,
                                .axes_norm = from->axes_norm};
    size_t n_groups = vkern_groups(part->n), c8 = vkern_c8_group_bytes(shape->dim);
    struct part_codes *codes = piece(made, sizeof *codes);
    struct vkern_c8_facts facts;
    float *rows = calloc((size_t)part->n * shape->dim + 1, sizeof *rows);
    char *groups = malloc(n_groups * c8);

    to_floats(shape, first, part->n, rows);
    if (wanted & WITH_C8 && vkern_c8_encode(vkern_get(), &model, rows, part->n, groups, &facts)) {
        codes->c8 = cut_groups(made, shape, groups, n_groups, c8, &codes->n_c8);
        codes->whole = facts.whole;
        codes->is_signed = facts.is_signed;
        codes->c8_error = facts.error;
        codes->c8_size = facts.size;
        codes->c8_bias = facts.bias_max;
    }
    if (shape->m) make_axis_codes(made, shape, &model, rows, wanted, part->n, codes);
    part->codes = codes;
    free(rows);
    free(groups);
}

struct snapshot *make_snapshot(const struct shape *shape)
{
    struct made *made = calloc(1, sizeof *made);
    struct snapshot *snapshot = &made->snapshot;
    struct part *parts = piece(made, (shape->n_parts + 1) * sizeof *parts);
    size_t first = 0;

    snapshot->config.type = shape->type;
    snapshot->config.metric = shape->metric;
    snapshot->config.dim = shape->dim;
    if (shape->codes && shape->n) make_model(made, shape);
    for (size_t i = 0; i < shape->n_parts; i++) {
        parts[i].n = shape->parts[i];
        parts[i].base = first;
        parts[i].is_tail = i + 1 == shape->n_parts;
        make_blocks(made, shape, first, &parts[i]);
        make_factors(made, shape, first, &parts[i]);
        if (snapshot->model && shape->codes[i] && parts[i].n && !parts[i].is_tail)
            make_codes(made, shape, first, shape->codes[i], &parts[i]);
        first += parts[i].n;
        snapshot->n_live += parts[i].n_live;
    }
    snapshot->parts = parts;
    snapshot->n_parts = (uint32_t)shape->n_parts;
    snapshot->state.next_seq = 1; /* no part is newer than an audit */
    snapshot->n_positions = first;
    return snapshot;
}

void free_snapshot(struct snapshot *snapshot)
{
    struct made *made = (struct made *)snapshot;
    if (!snapshot) return;
    for (size_t i = 0; i < made->n_pieces; i++)
        free(made->pieces[i]);
    free(made->pieces);
    free(made);
}

/* ---- the oracle ---------------------------------------------------------------------------- */

bool filter_names(const vindex_filter *filter, int64_t id)
{
    bool named = true;
    if (!filter) return true;
    if (filter->kind == VINDEX_FILTER_IDS) {
        named = false;
        for (uint64_t i = 0; i < filter->n; i++)
            named |= filter->ids[i] == id;
    } else if (filter->kind == VINDEX_FILTER_BITMAP) {
        named = id >= 0 && (uint64_t)id < filter->n && (filter->bitmap[id / 8] >> id % 8 & 1);
    } else if (filter->kind == VINDEX_FILTER_CALLBACK) {
        named = filter->callback(filter->context, id) != 0;
    }
    return named != ((filter->flags & VINDEX_FILTER_NOT) != 0);
}

static int compare_hits(const void *a, const void *b)
{
    const vindex_hit *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

enum { FEW = 100 };

/* Few of many are kept sorted as they come; sorting all would take most of the tests' time. */
static size_t keep_best(vindex_hit *best, size_t n, size_t k, vindex_hit hit)
{
    size_t at = n < k ? n : k - 1;
    if (n == k && compare_hits(&hit, &best[at]) >= 0) return n;
    for (; at > 0 && compare_hits(&hit, &best[at - 1]) < 0; at--)
        best[at] = best[at - 1];
    best[at] = hit;
    return n < k ? n + 1 : n;
}

void oracle(const struct shape *shape, const struct search_request *request, vindex_hit *hits)
{
    size_t row_bytes = row_bytes_of(shape->type, shape->dim, false);
    size_t query_bytes = row_bytes_of(shape->type, shape->dim, true);
    vindex_hit *all = calloc(shape->n + FEW, sizeof *all);
    uint8_t *counts = calloc(shape->n + 1, 1);

    for (size_t r = 0; r < shape->n; r++)
        counts[r] = !(shape->dead && shape->dead[r]) &&
                    filter_names(request->filter, shape->ids ? shape->ids[r] : (int64_t)r);
    for (size_t q = 0; q < request->n_queries; q++) {
        const void *query = (const char *)request->queries + q * query_bytes;
        size_t n = 0;
        for (size_t r = 0; r < shape->n; r++) {
            if (!counts[r]) continue;
            vindex_hit hit = {.id = shape->ids ? shape->ids[r] : (int64_t)r};
            hit.score = vindex__exact_score(shape->type, shape->metric, shape->dim, query,
                                            (const char *)shape->rows + r * row_bytes);
            if (request->k <= FEW)
                n = keep_best(all, n, request->k, hit);
            else
                all[n++] = hit;
        }
        if (request->k > FEW) qsort(all, n, sizeof *all, compare_hits);
        for (size_t i = 0; i < request->k; i++)
            hits[q * request->k + i] = i < n ? all[i] : (vindex_hit){VINDEX_ID_NONE, INFINITY, 0};
    }
    free(counts);
    free(all);
}
