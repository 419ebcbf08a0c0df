/*
 * codes_test.h - what the tests of kernels/codes.h share: groups and queries of random or extreme
 * codes, and the oracle that scores them.
 */
#ifndef CODES_TEST_H
#define CODES_TEST_H

#include <float.h>
#include <math.h>

#include "kernel_test.h"
#include "kernels/codes.h"

enum code_kind {
    RANDOM_CODES,
    HIGHEST, /* every product of the largest magnitude and one sign: sums near the limit */
    LOWEST,  /* the same, negative */
    SIGNS,   /* alternating: what a sum that saturates on the way gets wrong */
    N_CODE_KINDS
};
static const char *const code_kind_names[] = {"random", "highest", "lowest", "alternating"};

static inline uint8_t row_code(enum code_kind kind)
{
    return kind == RANDOM_CODES ? (uint8_t)random_u64() : 255;
}

static inline int8_t query_code(enum code_kind kind, size_t i, int most)
{
    switch (kind) {
    case HIGHEST: return (int8_t)most;
    case LOWEST: return (int8_t)(most == 127 ? -128 : -most);
    case SIGNS: return (int8_t)(i % 2 ? most : -most);
    default: return (int8_t)((int)(random_u64() % (2 * (unsigned)most + 1)) - most);
    }
}

/* Factors: plain makes a score the integer itself, rounded once; else of any size. */
static inline void put_factors(unsigned char *lines, bool plain)
{
    for (size_t r = 0; r < 16; r++) {
        const float bias = plain ? 0 : (float)(1e3 * random_unit());
        const float scale = plain ? 1 : (float)(random_unit() * 1e-2);
        memcpy(lines + 4 * r, &bias, 4);
        memcpy(lines + 64 + 4 * r, &scale, 4);
    }
}

/* Whole c8 groups: codes, 0 past dim, their sums, factors. */
static inline void fill_c8(unsigned char *groups, size_t n_groups, size_t dim, enum code_kind kind,
                           bool plain)
{
    const size_t lines = (dim + 3) / 4, bytes = vkern_c8_group_bytes(dim);

    for (size_t g = 0; g < n_groups; g++, groups += bytes) {
        for (size_t r = 0; r < 16; r++) {
            int32_t sum = 0;
            for (size_t i = 0; i < 4 * lines; i++) {
                const uint8_t code = i < dim ? row_code(kind) : 0;
                groups[64 * (i / 4) + 4 * r + i % 4] = code;
                sum += code;
            }
            memcpy(groups + 64 * (lines + 2) + 4 * r, &sum, 4);
        }
        put_factors(groups + 64 * lines, plain);
    }
}

/* codes: [4 ceil(dim / 4)], written. Shift and constant as a query of whole numbers has them. */
static inline struct vkern_c8_query make_c8_query(int8_t *codes, size_t dim, enum code_kind kind,
                                                  bool plain)
{
    static const int32_t shifts[] = {0, 128, -128, 1};
    struct vkern_c8_query query = {codes, plain ? 1 : (float)(random_unit() - 0.5), 0, 0};
    int32_t sum = 0;

    memset(codes, 0, (dim + 3) / 4 * 4);
    for (size_t i = 0; i < dim; i++)
        sum += codes[i] = query_code(kind, i, 127);
    query.shift = kind == HIGHEST ? 128 : kind == LOWEST ? -128 : shifts[random_u64() % 4];
    query.constant = kind == RANDOM_CODES ? -128 * (sum + query.shift * (int32_t)dim)
                     : kind == HIGHEST    ? 128 * 128 * (int32_t)dim
                                          : -128 * 128 * (int32_t)dim;
    return query;
}

/* The integer of row r of a group, in 64 bits; it must fit in 32. */
static inline int64_t c8_integer(const struct vkern_c8_query *query, const unsigned char *group,
                                 size_t dim, size_t r)
{
    int64_t sum = query->constant, codes = 0;

    for (size_t i = 0; i < dim; i++) {
        const int64_t code = group[64 * (i / 4) + 4 * r + i % 4];
        sum += query->codes[i] * code;
        codes += code;
    }
    sum += query->shift * codes;
    assert_true(sum <= INT32_MAX && sum >= INT32_MIN);
    return sum;
}

/* True where `got` is a score of row r: the integer exactly where factors are plain, else within
 * the roundings the contract allows. */
static inline bool is_c8_score(const struct vkern_c8_query *query, const unsigned char *group,
                               size_t dim, size_t r, bool plain, float got)
{
    const int64_t integer = c8_integer(query, group, dim, r);
    float bias, scale;

    if (plain) return got == (float)integer;
    memcpy(&bias, group + 64 * ((dim + 3) / 4) + 4 * r, 4);
    memcpy(&scale, group + 64 * ((dim + 3) / 4) + 64 + 4 * r, 4);
    const long double product = (long double)query->weight * scale * integer;
    const long double bound = 5 * 0x1p-24L * fabsl(product) + 0x1p-24L * fabsl(bias) + FLT_MIN;
    return fabsl(got - (bias + product)) <= bound;
}

/* ---- many queries ------------------------------------------------------------------------------
 */

struct tile8_case {
    size_t nq, n_groups, dim;
    size_t offset; /* of the groups from the end of a page */
    enum code_kind kind;
    bool plain, unshifted; /* unshifted: every query's shift is 0, as engines may know */
};

/* Without room for scores of more than one query: the bits are those made beside scores. */
static inline void check_tile8_bits_alone(const struct vkern_tile8 *tile,
                                          const struct tile8_case *c, const void *packed,
                                          const unsigned char *groups, const float *cuts,
                                          const uint16_t *below)
{
    const size_t size = 2 * c->nq * VKERN_TILE_GROUPS, out_size = 64 * c->n_groups;
    struct guarded memory = guarded_open(size), room = guarded_open(out_size);
    uint16_t *alone = guarded_end(&memory, size);

    memset(alone, 0x5a, size);
    tile->multiply(packed, c->nq, groups, c->n_groups, c->dim, guarded_end(&room, out_size), 0,
                   cuts, alone);
    if (size > 0) assert_memory_equal(alone, below, size);
    guarded_close(&room);
    guarded_close(&memory);
}

/* Bits of scores at most their cut, of every value a cut may have; what lies past the groups
 * stays. */
static inline void check_tile8_below(const struct vkern_tile8 *tile, const struct tile8_case *c,
                                     const void *packed, const unsigned char *groups, float *out,
                                     size_t out_stride)
{
    const size_t n_bits = c->nq * VKERN_TILE_GROUPS;
    struct guarded cut_memory = guarded_open(4 * c->nq), memory = guarded_open(2 * n_bits);
    float *cuts = guarded_end(&cut_memory, 4 * c->nq);
    uint16_t *below = guarded_end(&memory, 2 * n_bits);

    for (size_t q = 0; q < c->nq; q++) {
        const float own = c->n_groups > 0 ? out[q * out_stride + q % 16] : 0;
        const float values[] = {own, INFINITY, -INFINITY, NAN};
        cuts[q] = values[q % 3 == 0 ? 0 : q % 4];
    }
    memset(below, 0x5a, 2 * n_bits);
    tile->multiply(packed, c->nq, groups, c->n_groups, c->dim, out, out_stride, cuts, below);
    for (size_t q = 0; q < c->nq; q++)
        for (size_t i = 0; i < 16 * VKERN_TILE_GROUPS; i++) {
            const int bit = below[q * VKERN_TILE_GROUPS + i / 16] >> i % 16 & 1;
            const int want = i < 16 * c->n_groups ? !(out[q * out_stride + i] > cuts[q])
                                                  : 0x5a5a >> i % 16 & 1;
            if (bit != want)
                fail_msg("%s, nq %zu, groups %zu, dim %zu: query %zu, row %zu is %d, cut %.9g",
                         tile->name, c->nq, c->n_groups, c->dim, q, i, bit, (double)cuts[q]);
        }
    check_tile8_bits_alone(tile, c, packed, groups, cuts, below);
    guarded_close(&memory);
    guarded_close(&cut_memory);
}

/* The engine in its room: the pack and the groups end at a page nobody may touch, or the groups
 * begin at one; out is filled with NaN and must stay so outside. */
static inline void check_tile8(const struct vkern_tile8 *tile, const struct tile8_case *c)
{
    const size_t width = 4 * ((c->dim + 3) / 4), size = c->n_groups * vkern_c8_group_bytes(c->dim);
    const size_t pack_size = tile->pack_bytes(c->nq, c->dim), columns = 16 * c->n_groups;
    const size_t out_stride = columns + 16;
    struct guarded rows = guarded_open(size + c->offset), pack = guarded_open(pack_size);
    struct guarded codes = guarded_open(c->nq * width + 1), result;
    struct vkern_c8_query *queries = calloc(c->nq + 1, sizeof *queries);
    unsigned char *groups = c->offset == 0 ? guarded_end(&rows, size)
                                           : (unsigned char *)guarded_begin(&rows) + c->offset - 1;
    int8_t *code = guarded_end(&codes, c->nq * width);
    const size_t out_size = c->nq > 0 ? 4 * ((c->nq - 1) * out_stride + columns) : 0;
    void *packed = guarded_end(&pack, pack_size);
    float *out;

    assert_int_equal(pack_size % 64, 0);
    result = guarded_open(out_size);
    out = guarded_end(&result, out_size);
    fill_c8(groups, c->n_groups, c->dim, c->kind, c->plain);
    for (size_t q = 0; q < c->nq; q++) {
        queries[q] = make_c8_query(code + q * width, c->dim, c->kind, c->plain);
        if (c->unshifted) queries[q].shift = 0;
    }
    for (size_t i = 0; i < out_size / 4; i++)
        out[i] = NAN;
    memset(packed, 0xee, pack_size);
    tile->pack(queries, c->nq, c->dim, packed);
    tile->multiply(packed, c->nq, groups, c->n_groups, c->dim, out, out_stride, NULL, NULL);
    for (size_t q = 0; q < c->nq; q++) {
        for (size_t i = 0; i < columns; i++) {
            const unsigned char *group = groups + i / 16 * vkern_c8_group_bytes(c->dim);
            const float got = out[q * out_stride + i];
            if (!is_c8_score(&queries[q], group, c->dim, i % 16, c->plain, got))
                fail_msg(
                    "%s, %s codes, nq %zu, groups %zu, dim %zu: query %zu, row %zu: %.9g of %lld",
                    tile->name, code_kind_names[c->kind], c->nq, c->n_groups, c->dim, q, i,
                    (double)got, (long long)c8_integer(&queries[q], group, c->dim, i % 16));
        }
        for (size_t i = columns; i < out_stride && q + 1 < c->nq; i++)
            assert_true(isnan(out[q * out_stride + i]));
    }
    if (c->n_groups <= VKERN_TILE_GROUPS)
        check_tile8_below(tile, c, packed, groups, out, out_stride);
    free(queries);
    guarded_close(&result);
    guarded_close(&codes);
    guarded_close(&pack);
    guarded_close(&rows);
}

/* Ragged queries, groups and dims; codes at their limits; the longest rows. */
static inline void check_tile8_engine(const struct vkern_tile8 *tile)
{
    static const size_t dims[] = {0, 1, 3, 4, 5, 63, 64, 65, 127, 128, 130, 192, 784};
    static const size_t counts[] = {0, 1, 2, 3, 5, 8, 16};
    static const size_t n_queries[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 32, 33, 50};

    for (size_t d = 0; d < COUNT(dims); d++)
        for (int kind = 0; kind < N_CODE_KINDS; kind++) {
            const struct tile8_case c = {n_queries[(d + 3 * (size_t)kind) % COUNT(n_queries)],
                                         counts[(d + (size_t)kind) % COUNT(counts)],
                                         dims[d],
                                         test_offsets[d % COUNT(test_offsets)],
                                         kind,
                                         d % 2 == 0,
                                         d % 3 == 0};
            check_tile8(tile, &c);
        }
    for (size_t g = 0; g < COUNT(counts); g++)
        for (size_t q = 0; q < COUNT(n_queries); q++)
            for (int unshifted = 0; unshifted < 2; unshifted++) {
                const struct tile8_case c = {n_queries[q], counts[g],    q % 2 ? 70 : 5,
                                             g % 3 * 7,    RANDOM_CODES, q % 3 == 0,
                                             unshifted};
                check_tile8(tile, &c);
            }
    for (int kind = 0; kind < N_CODE_KINDS; kind++) {
        const struct tile8_case longest = {3, 3, VKERN_C8_DIM_MAX, 0, kind, true, false};
        const struct tile8_case large = {9, 2, 4096, 13, kind, true, false};
        check_tile8(tile, &longest);
        check_tile8(tile, &large);
    }
}

#endif
