/*
 * codes_ref.c - the slots of kernels/codes.h in plain loops: what they mean.
 */
#include <assert.h>
#include <string.h>

#include "kernels/codes/encode.h"
#include "kernels/codes/internal.h"

static float float_at(const unsigned char *line, size_t r)
{
    float value;

    memcpy(&value, line + 4 * r, sizeof value);
    return value;
}

static int32_t int_at(const unsigned char *line, size_t r)
{
    int32_t value;

    memcpy(&value, line + 4 * r, sizeof value);
    return value;
}

/* Sum of weights times 4-bit codes of row r. */
static int32_t c4_sum(const int8_t *weights, const unsigned char *group, size_t m, size_t r)
{
    int32_t sum = 0;

    for (size_t k = 0; k < m; k++) {
        const unsigned byte = group[64 * (k / 8) + 4 * r + k % 4];
        sum += weights[k] * (int32_t)(k % 8 < 4 ? byte & 15 : byte >> 4);
    }
    return sum;
}

static void c4_scan(const int8_t *weights, float weight_scale, const void *groups, size_t n_groups,
                    size_t m, float *scores, float cut, uint16_t *below)
{
    const unsigned char *group = groups;

    assert(m % 8 == 0 && m <= VKERN_C4_AXES_MAX);
    for (size_t i = 0; i < n_groups; i++, group += vkern_c4_group_bytes(m)) {
        unsigned bits = 0;
        for (size_t r = 0; r < VKERN_GROUP; r++) {
            scores[r] =
                float_at(group + 8 * m, r) - weight_scale * (float)c4_sum(weights, group, m, r);
            bits |= (unsigned)!(scores[r] > cut) << r;
        }
        if (below) below[i] = (uint16_t)bits;
        scores += VKERN_GROUP;
    }
}

/* The score of row r of a c8 group for codes t. */
static float c8_score(const int8_t *t, const struct tile8_head *head, const unsigned char *group,
                      size_t dim, size_t r)
{
    const unsigned char *factors = group + 64 * c8_lines(dim);
    int32_t sum = 0;

    for (size_t i = 0; i < dim; i++)
        sum += t[i] * (int32_t)group[64 * (i / 4) + 4 * r + i % 4];
    /* A damaged sum of codes may leave 31 bits: it wraps here as it does in vectors. */
    const uint32_t shifted = (uint32_t)head->shift * (uint32_t)int_at(factors + 128, r);
    sum = (int32_t)((uint32_t)sum + shifted + (uint32_t)head->constant);
    return float_at(factors, r) + head->weight * (float_at(factors + 64, r) * (float)sum);
}

static void c8_scan(const struct vkern_c8_query *query, const void *groups, size_t n_groups,
                    size_t dim, float *scores)
{
    const struct tile8_head head = {query->weight, query->shift, query->constant};
    const unsigned char *group = groups;

    assert(dim <= VKERN_C8_DIM_MAX);
    for (size_t i = 0; i < n_groups; i++, group += vkern_c8_group_bytes(dim))
        for (size_t r = 0; r < VKERN_GROUP; r++)
            *scores++ = c8_score(query->codes, &head, group, dim, r);
}

/* Row r of a group, four codes at a time; codes past dim are zeros. Returns their sum. */
static int32_t pack_row(const unsigned char *row, unsigned char flip, size_t dim, size_t r,
                        unsigned char *group)
{
    const uint32_t flips = flip * UINT32_C(0x01010101);
    unsigned char rest[4] = {0};
    int32_t sum = 0;
    uint32_t word;

    for (size_t i = 0; i < dim / 4; i++) {
        memcpy(&word, row + 4 * i, 4);
        word ^= flips;
        memcpy(group + 64 * i + 4 * r, &word, 4);
    }
    for (size_t i = dim / 4 * 4; i < dim; i++)
        rest[i % 4] = row[i] ^ flip;
    if (dim % 4 != 0) memcpy(group + 64 * (dim / 4) + 4 * r, rest, 4);
    for (size_t i = 0; i < dim; i++)
        sum += row[i] ^ flip;
    return sum;
}

void vkern_c8_pack_ref(enum vkern_type type, const void *rows, size_t stride, size_t n, size_t dim,
                       const float *bias, const float *scale, void *groups)
{
    const unsigned char flip = type == VKERN_I8 ? 0x80 : 0; /* + 128 */
    const size_t group_bytes = vkern_c8_group_bytes(dim);

    assert(type == VKERN_I8 || type == VKERN_U8);
    for (size_t r = 0; r < n; r++) {
        unsigned char *group = (unsigned char *)groups + r / VKERN_GROUP * group_bytes;
        unsigned char *factors = group + 64 * c8_lines(dim) + 4 * (r % VKERN_GROUP);
        if (r % VKERN_GROUP == 0 && n - r < VKERN_GROUP) memset(group, 0, group_bytes);
        const int32_t sum =
            pack_row((const unsigned char *)rows + r * stride, flip, dim, r % VKERN_GROUP, group);
        memcpy(factors, &bias[r], 4);
        memcpy(factors + 64, &scale[r], 4);
        memcpy(factors + 128, &sum, 4);
    }
}

/* ---- many queries: heads, then the codes one query after another ------------------------------
 */

static size_t pack_bytes(size_t nq, size_t dim)
{
    return tile8_head_bytes(nq) + round_up_64(nq * dim);
}

static void pack(const struct vkern_c8_query *queries, size_t nq, size_t dim, void *packed)
{
    unsigned char *codes = (unsigned char *)packed + tile8_head_bytes(nq);

    tile8_put_heads(queries, nq, packed);
    for (size_t q = 0; q < nq && dim > 0; q++)
        memcpy(codes + q * dim, queries[q].codes, dim);
}

static void multiply(const void *packed, size_t nq, const void *groups, size_t n_groups, size_t dim,
                     float *out, size_t out_stride, const float *cuts, uint16_t *below)
{
    const int8_t *codes = (const int8_t *)packed + tile8_head_bytes(nq);
    const struct tile8_head *heads = packed;

    for (size_t q = 0; q < nq; q++)
        for (size_t g = 0; g < n_groups; g++) {
            const unsigned char *group =
                (const unsigned char *)groups + g * vkern_c8_group_bytes(dim);
            float *scores = out + q * out_stride + g * VKERN_GROUP;
            unsigned bits = 0;
            for (size_t r = 0; r < VKERN_GROUP; r++) {
                scores[r] = c8_score(codes + q * dim, &heads[q], group, dim, r);
                bits |= (unsigned)(below && !(scores[r] > cuts[q])) << r;
            }
            if (below) below[q * VKERN_TILE_GROUPS + g] = (uint16_t)bits;
        }
}

static const struct vkern_tile8 tile8 = {"ref", pack_bytes, pack, multiply, NULL};

const struct vkern_codes vkern_codes_ref = {c4_scan, c8_scan, vkern_c8_pack_ref,
                                            &tile8,  NULL,    &vkern_encode_ref};
