/*
 * cost.c - what each way of scanning costs, in nanoseconds by estimate: what a plan chooses by.
 * Never what an answer depends on.
 *
 * A scan reads its bytes from memory once and computes on them; one query hides the smaller of
 * the two behind the larger, further queries find the bytes in cache. The rates were fitted with
 * bench_search --engine scan,tile,c8,tile8,c4 on photo-sift-128 and mnist-784, AVX-512 with VNNI
 * and AVX2, on a busy machine: only their ratios matter. (AMX: eight VNNI, as the peaks are.) The
 * reference level only needs to be told what is slow.
 */
#include "search/call.h"

#include <math.h>

/* Nanoseconds. */
struct rates {
    double element[3];  /* of a row of 4, 2, 1 bytes each, by the query kernels */
    double c8, c4;      /* of an element, an axis, by one query's codes */
    double tile, tile8; /* of a product */
    double pack, pack8; /* of an element made ready for tiles */
};

static const struct rates rates_of[] = {
    [VKERN_LEVEL_REF] = {{1.0, 3.0, 1.0}, 1.0, 1.2, 0.6, 1.0, 1.5, 2.0},
    [VKERN_LEVEL_AVX2] = {{0.075, 0.1, 0.04}, 0.036, 0.028, 0.045, 0.03, 0.12, 0.3},
    [VKERN_LEVEL_AVX512] = {{0.05, 0.065, 0.018}, 0.017, 0.013, 0.0295, 0.0055, 0.12, 0.3},
    [VKERN_LEVEL_AMX] = {{0.05, 0.065, 0.018}, 0.017, 0.013, 0.0295, 0.0007, 0.12, 0.3},
};

#define MEMORY_NS 0.105 /* a byte */
#define PAIR_NS 0.35    /* a score through a stream's threshold */
#define FUSED_NS 0.1    /* one that the kernel holds against it */
#define ROW_NS 3.0      /* of a row in a query kernel, beside its elements */
#define C8_NS 0.85      /* of a row of 8-bit codes, likewise: its factors */
#define C4_NS 0.1
#define LEAD_NS 0.12 /* of a row's leading coordinates in a tile, beside the elements */
#define SCOUTED 1.25 /* a quarter of the rows is gone over twice */
#define MISS_NS 150 /* a row somewhere in memory */

static const struct rates *rates(const struct call *call)
{
    return &rates_of[call->kern->level];
}

/* A scan of n_queries: bytes from memory once, ns of computing for each query. */
static double scan_ns(size_t n_queries, double bytes, double ns)
{
    return fmax(bytes * MEMORY_NS, ns) + (double)(n_queries - 1) * ns;
}

static double by_query(const struct call *call, size_t n_queries, double n_rows)
{
    double row_bytes = (double)vkern_row_bytes((enum vkern_type)call->type, call->dim);
    int width = call->type == VINDEX_FLOAT ? 0 : call->type <= VINDEX_BFLOAT16 ? 1 : 2;
    double elements = call->type == VINDEX_BIT ? row_bytes : call->dim;
    double row_ns = elements * rates(call)->element[width] + ROW_NS + PAIR_NS;
    return scan_ns(n_queries, n_rows * row_bytes, n_rows * row_ns);
}

static double by_groups(size_t n_queries, double n_rows, double row_bytes, double row_ns)
{
    return scan_ns(n_queries, n_rows * row_bytes, n_rows * row_ns);
}

/* Tiles take some queries at a time, whole. */
static double by_tiles(const struct call *call, size_t n_queries, double n_rows, double row_bytes,
                       double pack_ns, double product_ns, double pair_ns)
{
    double whole = (double)((n_queries + 3) / 4 * 4);
    double ready = fmax(row_bytes * MEMORY_NS, call->dim * pack_ns);
    return n_rows * (ready + whole * call->dim * product_ns + (double)n_queries * pair_ns);
}

/* What it lets through comes on top. */
static double by_lead(const struct call *call, size_t n_queries, double n_rows)
{
    double d = (double)vkern_p8_dim(&call->model);
    double bytes = (double)vkern_c8_group_bytes(vkern_p8_dim(&call->model)) / VKERN_GROUP;
    const struct rates *r = rates(call);
    if (n_queries == 1)
        return SCOUTED * by_groups(1, n_rows, bytes, d * r->c8 + C8_NS + PAIR_NS);
    double whole = (double)((n_queries + 7) / 8 * 8);
    return SCOUTED * n_rows *
           (bytes * MEMORY_NS + whole * d * r->tile8 + (double)n_queries * LEAD_NS);
}

double vindex__cost_scan(const struct call *call, enum engine engine, size_t n_queries,
                         uint64_t n_rows)
{
    const struct rates *r = rates(call);
    double n = (double)n_rows, dim = call->dim, m = call->model.m;
    double row_bytes = (double)vkern_row_bytes((enum vkern_type)call->type, call->dim);
    double c8_bytes = (double)vkern_c8_group_bytes(call->dim) / VKERN_GROUP;
    double c4_bytes = (double)vkern_c4_group_bytes(call->model.m) / VKERN_GROUP;
    bool is_packed = call->n_c8 == 0; /* rows of integers, group by group */

    if (n_rows == 0 || n_queries == 0) return 0;
    switch (engine) {
    case ENGINE_QUERY: return by_query(call, n_queries, n);
    case ENGINE_TILE: return by_tiles(call, n_queries, n, row_bytes, r->pack, r->tile, PAIR_NS);
    case ENGINE_C8: return by_groups(n_queries, n, c8_bytes, dim * r->c8 + C8_NS + PAIR_NS);
    case ENGINE_C4: return by_groups(n_queries, n, c4_bytes, m * r->c4 + C4_NS);
    case ENGINE_TILE8:
        return by_tiles(call, n_queries, n, is_packed ? row_bytes : c8_bytes,
                        is_packed ? r->pack8 : 0, r->tile8, FUSED_NS);
    case ENGINE_P8: return by_lead(call, n_queries, n);
    default: return n * (double)n_queries * vindex__cost_rerank(call);
    }
}

/* Rows of a step are asked for together; of many queries they soon are in the second-level cache. */
double vindex__cost_let_through(const struct call *call, size_t n_queries)
{
    return 45 + 0.08 * (double)call->row_bytes + MISS_NS / 2 / (1 + (double)n_queries / 16);
}

/* Of photographs, digits and clusters 4, 4 and 50 times as many for k = 100 as for 10: lead.c sees what is so. */
double vindex__cost_expected(const struct call *call, size_t k)
{
    double n = (double)call->n_positions, share = call->snapshot->model->p8_share;
    return fmin(share * pow(fmax((double)k, 1) / 10, 0.6) + 2 * (double)k / n, 1);
}

double vindex__cost_rerank(const struct call *call)
{
    return MISS_NS + 0.5 * call->dim;
}

double vindex__cost_project(const struct call *call)
{
    return 300 + (double)call->model.m * call->dim * rates(call)->element[0];
}

/* A row scored exactly costs about as much as scanning so many, or as pushing them through a tile;
   rough scores are the cheapest. */
double vindex__cost_sparse(enum engine engine)
{
    return engine == ENGINE_QUERY ? 1.0 / 8 : 1.0 / 32;
}

bool vindex__is_rough(const struct part *part, struct part_mask mask)
{
    return vindex__part_has_c4(part) && (double)mask.n >= vindex__cost_sparse(ENGINE_C4) * part->n;
}
