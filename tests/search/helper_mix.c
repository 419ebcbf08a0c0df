/*
 * helper_mix.c - see helper_mix.h.
 */
#include "search/helper_mix.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "common/cmocka.h"
#include "kernels/codes.h"
#include "kernels/kernels.h"
#include "search/call.h"
#include "search/helper_snapshot.h"

#if defined(__x86_64__)
#include "common/amx_emulated.h"
#endif

enum { PARTS_MAX = 24 };

struct mix {
    uint64_t seed;
    struct rng rng;
    struct shape shape;
    uint32_t parts[PARTS_MAX];
    uint8_t codes[PARTS_MAX];
    int64_t *ids;
    uint8_t *dead;
    float *mean, *scale, *queries; /* f32, of which the request's are made */
    int64_t modulus;
    vindex_filter filter;
    struct search_request request;
    enum engine forced;
};

static size_t below(struct mix *mix, size_t n)
{
    return (size_t)vindex__rng_below(&mix->rng, n);
}

static double between(struct mix *mix, double low, double high)
{
    return low + (high - low) * vindex__rng_unit(&mix->rng);
}

/* ---- numbers ------------------------------------------------------------------------------------ */

enum kind {
    KIND_NORMAL,
    KIND_FAR,      /* small differences far from the origin */
    KIND_AT_QUERY, /* a query, moved by single roundings here and there */
    KIND_COPIES,   /* of one vector */
    KIND_UNSIGNED, /* whole numbers: the codes are the numbers, */
    KIND_SIGNED,
    KIND_MIXED, /* but not of these, */
    KIND_HALVES,
    KIND_FEW, /* 0, -0, 1, 2 */
    KIND_TINY,
    KIND_SUBNORMAL,
    KIND_LARGE,
    KIND_SCALES, /* norms over 30 orders of magnitude */
    KIND_ZERO,
    N_KINDS
};

static double element(struct mix *mix, enum kind kind, double row_scale)
{
    double normal = between(mix, -1, 1) + between(mix, -1, 1) + between(mix, -1, 1);
    switch (kind) {
    case KIND_FAR: return 1000 + 0.01 * normal;
    case KIND_UNSIGNED: return (double)below(mix, 256);
    case KIND_SIGNED: return (double)below(mix, 256) - 128;
    case KIND_MIXED: return (double)below(mix, 384) - 128;
    case KIND_HALVES: return (double)below(mix, 512) / 2 - 128;
    case KIND_FEW: return below(mix, 4) ? (double)below(mix, 3) : -0.0;
    case KIND_TINY: return 1e-25 * normal;
    case KIND_SUBNORMAL: return 1e-42 * normal;
    case KIND_LARGE: return 1e15 * normal;
    case KIND_SCALES: return row_scale * normal;
    case KIND_ZERO: return 0;
    default: return normal;
    }
}

/* A vector. `like`: what KIND_AT_QUERY and KIND_COPIES are made of. */
static void fill(struct mix *mix, enum kind kind, const float *like, float *to)
{
    double row_scale = pow(10, between(mix, -15, 15));
    for (uint32_t i = 0; i < mix->shape.dim; i++) {
        to[i] = (float)element(mix, kind, row_scale);
        if ((kind != KIND_AT_QUERY && kind != KIND_COPIES) || !like) continue;
        to[i] = like[i];
        if (kind == KIND_AT_QUERY && below(mix, 4) == 0)
            to[i] = nextafterf(to[i], below(mix, 2) ? INFINITY : -INFINITY);
    }
}

/* To a type; what does not fit is cut. */
static void convert(uint32_t type, float *from, size_t n, void *to)
{
    double low = -FLT_MAX, high = FLT_MAX;
    if (type == VINDEX_FLOAT16) low = -65504, high = 65504;
    if (type == VINDEX_BFLOAT16) low = -3e38, high = 3e38;
    if (type == VINDEX_INT8) low = -128, high = 127;
    if (type == VINDEX_UINT8) low = 0, high = 255;
    for (size_t i = 0; i < n; i++) {
        from[i] = (float)fmin(fmax(from[i], low), high);
        if (type >= VINDEX_INT8) from[i] = rintf(from[i]);
        if (type == VINDEX_INT8) ((int8_t *)to)[i] = (int8_t)from[i];
        if (type == VINDEX_UINT8) ((uint8_t *)to)[i] = (uint8_t)from[i];
    }
    if (type == VINDEX_FLOAT)
        memcpy(to, from, n * sizeof *from);
    else if (type < VINDEX_INT8)
        assert_true(vkern_get()->from_f32[type](from, n, to));
}

/* ---- a trial ------------------------------------------------------------------------------------ */

static void draw_queries(struct mix *mix)
{
    static const size_t batches[] = {1, 1, 1, 2, 5, 17, 33, 70};
    struct search_request *request = &mix->request;
    uint32_t type = mix->shape.type, dim = mix->shape.dim;
    bool floats = type < VINDEX_INT8;

    request->n_queries = batches[below(mix, dim > 300 ? 6 : 8)];
    mix->queries = calloc(request->n_queries * dim, sizeof *mix->queries);
    for (size_t q = 0; q < request->n_queries; q++)
        fill(mix, (enum kind)below(mix, N_KINDS), NULL, mix->queries + q * dim);
    void *native = calloc(request->n_queries, row_bytes_of(type, dim, true));
    convert(floats ? VINDEX_FLOAT : type, mix->queries, request->n_queries * dim, native);
    request->queries = native;
}

/* Parts of any size, some with a kind of their own and some with rows of all kinds. */
static void draw_rows(struct mix *mix)
{
    struct shape *shape = &mix->shape;
    size_t row_bytes = row_bytes_of(shape->type, shape->dim, false), at = 0;
    size_t most = shape->dim > 1000 ? 60 : shape->dim > 300 ? 200 : 900;
    float *row = calloc(shape->dim, sizeof *row), *first = calloc(shape->dim, sizeof *first);

    shape->n_parts = 1 + below(mix, PARTS_MAX);
    for (size_t i = 0; i < shape->n_parts; i++) {
        mix->parts[i] = (uint32_t)below(mix, below(mix, 3) ? 40 : most);
        shape->n += mix->parts[i];
    }
    char *rows = calloc(shape->n + 1, row_bytes);
    for (size_t i = 0; i < shape->n_parts; i++) {
        bool is_mixed = below(mix, 3) == 0;
        enum kind kind = (enum kind)below(mix, N_KINDS);
        fill(mix, KIND_NORMAL, NULL, first);
        for (uint32_t r = 0; r < mix->parts[i]; r++, at++) {
            if (is_mixed) kind = (enum kind)below(mix, N_KINDS);
            const float *query = mix->queries + below(mix, mix->request.n_queries) * shape->dim;
            fill(mix, kind, kind == KIND_AT_QUERY ? query : first, row);
            convert(shape->type, row, shape->dim, rows + at * row_bytes);
        }
    }
    shape->rows = rows;
    shape->parts = mix->parts;
    free(row);
    free(first);
}

/* Ids in any order; dead rows in runs, so that groups and their ends die too. */
static void name_rows(struct mix *mix)
{
    size_t n = mix->shape.n, dead_in = below(mix, 2) ? 2 + below(mix, 60) : 0;
    bool is_dead = false;
    mix->ids = calloc(n + 1, sizeof *mix->ids);
    mix->dead = calloc(n + 1, 1);
    for (size_t i = 0; i < n; i++) {
        mix->ids[i] = (int64_t)i - (int64_t)(n / 2);
        if (dead_in && below(mix, dead_in) == 0) is_dead = !is_dead;
        mix->dead[i] = is_dead;
    }
    for (size_t i = 1; below(mix, 2) && i < n; i++) {
        size_t j = below(mix, i + 1);
        int64_t other = mix->ids[i];
        mix->ids[i] = mix->ids[j];
        mix->ids[j] = other;
    }
    mix->shape.ids = mix->ids;
    mix->shape.dead = mix->dead;
}

/* A model of these rows, or of quite others. */
static void draw_model(struct mix *mix)
{
    struct shape *shape = &mix->shape;
    size_t how = below(mix, 6);
    double far = pow(10, between(mix, -30, 15));

    for (size_t i = 0; i < shape->n_parts; i++)
        mix->codes[i] = (uint8_t)((below(mix, 5) ? WITH_C8 : 0) | (below(mix, 5) ? WITH_P8 : 0));
    shape->codes = mix->codes;
    shape->m = (uint32_t)(8 * below(mix, 1 + (shape->dim < 64 ? shape->dim : 64) / 8));
    shape->groups_per_block = (uint32_t)(1 + below(mix, 40));
    mix->mean = calloc(shape->dim, sizeof *mix->mean);
    mix->scale = calloc(shape->dim, sizeof *mix->scale);
    for (uint32_t i = 0; i < shape->dim; i++) {
        mix->mean[i] = (float)(how == 1 ? far * between(mix, -1, 1) : how == 2 ? 1000 : 0);
        mix->scale[i] = (float)(how == 3   ? pow(10, between(mix, -30, 30))
                                : how == 4 ? far
                                : how == 5 ? 0x1p-149
                                           : pow(10, between(mix, -1, 1)));
    }
    if (how == 0) return; /* measured */
    shape->mean = mix->mean;
    shape->scale = mix->scale;
}

static int is_multiple(void *context, int64_t id)
{
    return id % *(const int64_t *)context == 0;
}

static void draw_request(struct mix *mix)
{
    static const enum engine ways[] = {ENGINE_EXACT, ENGINE_QUERY, ENGINE_TILE,
                                       ENGINE_C8,    ENGINE_C8,    ENGINE_TILE8, ENGINE_TILE8,
                                       ENGINE_P8,    ENGINE_P8,    ENGINE_P8};
    struct search_request *request = &mix->request;
    size_t n = mix->shape.n;
    const size_t ks[] = {1, 1, 3, 10, 10, 100, n / 3 + 1, n ? n : 1, n + 3};

    request->k = ks[below(mix, 9)];
    request->recall = 1;
    request->n_threads = 1 + (uint32_t)below(mix, 2);
    mix->modulus = 2 + (int64_t)below(mix, below(mix, 2) ? 3 : 50);
    mix->filter = (vindex_filter){
        .kind = VINDEX_FILTER_CALLBACK, .callback = is_multiple, .context = &mix->modulus};
    request->filter = below(mix, 3) == 0 ? &mix->filter : NULL;
    mix->forced = ways[below(mix, sizeof ways / sizeof *ways)];
}

static void draw(struct mix *mix, uint64_t seed, uint32_t type)
{
    static const uint32_t dims[] = {8, 9, 15, 16, 33, 64, 100, 128, 200, 300, 784, 1536, 4096};
    memset(mix, 0, sizeof *mix);
    mix->seed = seed;
    vindex__rng_init(&mix->rng, seed);
    mix->shape.type = type;
    mix->shape.metric = VINDEX_L2 + (uint32_t)below(mix, 3);
    mix->shape.dim = dims[below(mix, below(mix, 4) ? 9 : 13)];
    if (below(mix, 400) == 0) mix->shape.dim = VKERN_C8_DIM_MAX;
    mix->shape.rows_per_block = (uint32_t)(1 + below(mix, 300));
    draw_queries(mix);
    draw_rows(mix);
    name_rows(mix);
    draw_model(mix);
    draw_request(mix);
}

static void discard(struct mix *mix)
{
    free((void *)mix->shape.rows);
    free((void *)mix->request.queries);
    free(mix->ids);
    free(mix->dead);
    free(mix->mean);
    free(mix->scale);
    free(mix->queries);
}

/* ---- the ways ----------------------------------------------------------------------------------- */

/* Kernels of some level that this machine has, with AMX where it can be emulated. */
struct kernels {
    vkern_table table;
    struct vkern_codes codes;
};

static void draw_kernels(struct mix *mix, struct kernels *kernels)
{
    enum vkern_level level = (enum vkern_level)below(mix, 4);
    vkern_table *table = &kernels->table;
    vkern_table_init(table, vkern_cpu_at_level(vkern_cpu(), below(mix, 2) ? VKERN_LEVEL_AMX : level));
#if defined(__x86_64__)
    if (table->level < VKERN_LEVEL_AVX512 || below(mix, 2)) return;
    kernels->codes = *table->codes;
    kernels->codes.amx = &amx_emulated;
    table->codes = &kernels->codes;
#endif
}

static void compare(const struct mix *mix, const char *plan, const vindex_hit *got,
                    const vindex_hit *want)
{
    const struct shape *shape = &mix->shape;
    size_t k = mix->request.k;
    for (size_t i = 0; i < mix->request.n_queries * k; i++)
        if (got[i].id != want[i].id || memcmp(&got[i].score, &want[i].score, 4) != 0)
            fail_msg("mix %llu (type %u metric %u dim %u n %zu batch %zu k %zu threads %u%s; %s): query "
                     "%zu hit %zu is (%lld, %.9g), not (%lld, %.9g)",
                     (unsigned long long)mix->seed, shape->type, shape->metric, shape->dim, shape->n,
                     mix->request.n_queries, k, mix->request.n_threads,
                     mix->request.filter ? " filter" : "", plan, i / k, i % k,
                     (long long)got[i].id, (double)got[i].score, (long long)want[i].id,
                     (double)want[i].score);
}

static void check(struct mix *mix, struct search *search)
{
    size_t n_hits = mix->request.n_queries * mix->request.k;
    vindex_hit *got = calloc(n_hits, sizeof *got), *want = calloc(n_hits, sizeof *want);
    struct snapshot *snapshot = make_snapshot(&mix->shape);
    struct kernels kernels;
    vindex_report report = VINDEX_REPORT_INIT;

    draw_kernels(mix, &kernels);
    search->kern = &kernels.table;
    search->tile = kernels.table.tile;
    search->forced = mix->forced;
    oracle(&mix->shape, &mix->request, want);
    assert_int_equal(vindex__search_run(search, snapshot, &mix->request, got, &report), VINDEX_OK);
    compare(mix, report.plan, got, want);
    assert_int_equal(report.state, VINDEX_STATE_EXACT);
    free_snapshot(snapshot);
    free(got);
    free(want);
}

void check_mix(struct rng *rng, int trials)
{
    const char *one = getenv("VINDEX_TEST_MIX"); /* replay one */
    struct search *search = NULL;
    assert_int_equal(vindex__search_new(&search), VINDEX_OK);
    for (int i = 0; i < (one ? 1 : trials); i++) {
        /* The type is of the seed too, so that the seed alone tells the trial. */
        uint64_t seed = one ? strtoull(one, NULL, 10) : vindex__rng_next(rng) >> 1;
        struct mix mix;
        draw(&mix, seed, VINDEX_FLOAT + (uint32_t)(seed % 5));
        check(&mix, search);
        discard(&mix);
    }
    vindex__search_free(search);
}
