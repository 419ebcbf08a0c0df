/*
 * tile8_amx.h - the body of tile8_amx.c: many queries x many c8 groups on AMX tiles. Tests compile
 * it a second time against a plain C emulation of the tile instructions
 * (tests/kernels/test_codes_amx.c), so the includer defines, t and so on being constants:
 *
 *     TILE_CONFIGURE(config)          TILE_RELEASE()
 *     TILE_LOAD(t, base, stride)      TILE_STORE(t, base, stride)
 *     TILE_ZERO(t)                    TILE_DOT(c, a, b)    tdpbsud: a signed, b unsigned bytes
 *
 * A tile holds 16 rows of 64 bytes. A: 16 queries x 64 codes. B: 16 lines of a group, 4 codes of
 * its 16 rows each, just as they lie. C: 16 queries x 16 rows, 32-bit sums. A block is 2 A x 2 B =
 * 4 C, so every tile loaded is used twice.
 *
 *     pack    heads, then for each 16 queries, for each 64 codes, one tile of 1 KiB
 *
 * The last step of a group whose lines are no multiple of 16 comes from a copy filled up with
 * zeros: nothing past the group is read. While a block's products are in the tile unit, the block
 * before is turned into scores (two buffers of 4 KiB take turns).
 */
#ifndef VKERN_TILE8_AMX_BODY_H
#define VKERN_TILE8_AMX_BODY_H

#include "kernels/codes/internal.h"
#include "kernels/x86/simd_avx512.h"

enum { TILE_ROWS = 16, TILE_BYTES = 1024 };

/* Intel SDM volume 1, 18.2: palette 1, eight tiles of 16 rows of 64 bytes. */
struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t column_bytes[16];
    uint8_t rows[16];
};
_Static_assert(sizeof(struct tile_config) == 64, "what ldtilecfg reads");

/* Static: gcc 12 tells its optimisers that ldtilecfg reads eight bytes, and would leave the others
 * of a local one unwritten. */
static const struct tile_config config = {
    .palette = 1,
    .column_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
    .rows = {TILE_ROWS, TILE_ROWS, TILE_ROWS, TILE_ROWS, TILE_ROWS, TILE_ROWS, TILE_ROWS,
             TILE_ROWS},
};

static size_t steps_of(size_t dim)
{
    return (c8_lines(dim) + TILE_ROWS - 1) / TILE_ROWS;
}

static size_t pack_bytes(size_t nq, size_t dim)
{
    return tile8_head_bytes(nq) + (nq + TILE_ROWS - 1) / TILE_ROWS * steps_of(dim) * TILE_BYTES;
}

static void pack(const struct vkern_c8_query *queries, size_t nq, size_t dim, void *packed)
{
    const size_t steps = steps_of(dim);
    unsigned char *tiles = (unsigned char *)packed + tile8_head_bytes(nq);

    tile8_put_heads(queries, nq, packed);
    memset(tiles, 0, pack_bytes(nq, dim) - tile8_head_bytes(nq));
    for (size_t q = 0; q < nq; q++)
        for (size_t s = 0; s < steps; s++)
            memcpy(tiles + (q / TILE_ROWS * steps + s) * TILE_BYTES + q % TILE_ROWS * 64,
                   queries[q].codes + 64 * s, dim - 64 * s < 64 ? dim - 64 * s : 64);
}

/* 32 queries x 32 rows of sums. */
typedef int32_t sums_32[32][32];

/* Where a block of 2 x 2 tiles takes its operands from, and where its scores go. */
struct amx_block {
    const unsigned char *queries[2]; /* their tiles */
    const unsigned char *groups[2];
    const unsigned char *tails[2]; /* the last step of these, filled up; NULL where it is whole */
    const struct tile8_head *heads;
    float *out;
    const float *cuts;
    uint16_t *below;            /* NULL: not asked for */
    size_t n_queries, n_groups; /* how many of the 32 and of the 2 there are */
};

VKERN_INLINE void step(const unsigned char *const queries[2], size_t query_offset,
                       const unsigned char *const rows[2], size_t row_offset)
{
    TILE_LOAD(4, queries[0] + query_offset, 64);
    TILE_LOAD(6, rows[0] + row_offset, 64);
    TILE_LOAD(5, queries[1] + query_offset, 64);
    TILE_LOAD(7, rows[1] + row_offset, 64);
    TILE_DOT(0, 4, 6);
    TILE_DOT(1, 4, 7);
    TILE_DOT(2, 5, 6);
    TILE_DOT(3, 5, 7);
}

/* The products of a block into tiles 0 to 3. */
static void multiply_block(const struct amx_block *b, size_t dim)
{
    const size_t whole = c8_lines(dim) / TILE_ROWS;

    TILE_ZERO(0);
    TILE_ZERO(1);
    TILE_ZERO(2);
    TILE_ZERO(3);
    for (size_t s = 0; s < whole; s++)
        step(b->queries, s * TILE_BYTES, b->groups, s * TILE_BYTES);
    if (b->tails[0] != NULL) step(b->queries, whole * TILE_BYTES, b->tails, 0);
}

static void store_block(sums_32 sums)
{
    TILE_STORE(0, &sums[0][0], sizeof sums[0]);
    TILE_STORE(1, &sums[0][16], sizeof sums[0]);
    TILE_STORE(2, &sums[16][0], sizeof sums[0]);
    TILE_STORE(3, &sums[16][16], sizeof sums[0]);
}

/* The factors of a group. */
struct factors {
    __m512 bias, scale;
    __m512i sum;
};

static struct factors factors_of(const unsigned char *group, size_t dim)
{
    const unsigned char *at = group + 64 * c8_lines(dim);

    return (struct factors){_mm512_loadu_ps(at), _mm512_loadu_ps(at + 64),
                            _mm512_loadu_si512(at + 128)};
}

VKERN_INLINE __m512 scores_of(const int32_t *sums, const struct tile8_head *head,
                              const struct factors *f)
{
    __m512i sum = _mm512_add_epi32(_mm512_load_si512(sums), _mm512_set1_epi32(head->constant));

    if (head->shift != 0)
        sum = _mm512_add_epi32(sum, _mm512_mullo_epi32(f->sum, _mm512_set1_epi32(head->shift)));
    return _mm512_fmadd_ps(_mm512_mul_ps(f->scale, _mm512_cvtepi32_ps(sum)),
                           _mm512_set1_ps(head->weight), f->bias);
}

static void finish_block(const struct amx_block *b, sums_32 sums, size_t dim, size_t out_stride)
{
    const struct factors first = factors_of(b->groups[0], dim);
    const struct factors second = factors_of(b->groups[1], dim);

    for (size_t q = 0; q < b->n_queries; q++) {
        float *out = b->out + q * out_stride;
        const __m512 near = scores_of(&sums[q][0], &b->heads[q], &first);
        const __m512 far = scores_of(&sums[q][16], &b->heads[q], &second);
        _mm512_store_ps(out, near);
        if (b->n_groups > 1) _mm512_store_ps(out + 16, far);
        if (!b->below) continue;
        const __m512 cut = _mm512_set1_ps(b->cuts[q]);
        b->below[q * VKERN_TILE_GROUPS] = _mm512_cmp_ps_mask(near, cut, _CMP_NGT_UQ);
        if (b->n_groups > 1)
            b->below[q * VKERN_TILE_GROUPS + 1] = _mm512_cmp_ps_mask(far, cut, _CMP_NGT_UQ);
    }
}

/* The lines of a group beyond a multiple of 16, and zeros up to 16. */
static void copy_tail(const unsigned char *group, size_t dim, unsigned char tail[TILE_BYTES])
{
    const size_t lines = c8_lines(dim), whole = lines / TILE_ROWS * TILE_ROWS;

    memcpy(tail, group + 64 * whole, 64 * (lines - whole));
    memset(tail + 64 * (lines - whole), 0, TILE_BYTES - 64 * (lines - whole));
}

/* A pair of groups, the second one again the first where there is but one; likewise sixteens of
 * queries: the products are made and left. */
static void take_groups(struct amx_block *b, const unsigned char *groups, size_t n_groups,
                        size_t dim, unsigned char tails[2][TILE_BYTES])
{
    b->n_groups = n_groups < 2 ? n_groups : 2;
    for (size_t g = 0; g < 2; g++) {
        b->groups[g] = groups + (g < n_groups ? g : 0) * vkern_c8_group_bytes(dim);
        b->tails[g] = NULL;
        if (c8_lines(dim) % TILE_ROWS != 0) {
            copy_tail(b->groups[g], dim, tails[g]);
            b->tails[g] = tails[g];
        }
    }
}

static void take_queries(struct amx_block *b, const void *packed, size_t nq, size_t q, size_t dim)
{
    const size_t tiles = steps_of(dim) * TILE_BYTES;
    const unsigned char *first =
        (const unsigned char *)packed + tile8_head_bytes(nq) + q / TILE_ROWS * tiles;

    b->heads = (const struct tile8_head *)packed + q;
    b->n_queries = nq - q < 32 ? nq - q : 32;
    b->queries[0] = first;
    b->queries[1] = b->n_queries > TILE_ROWS ? first + tiles : first;
}

static void multiply(const void *packed, size_t nq, const void *groups, size_t n_groups, size_t dim,
                     float *out, size_t out_stride, const float *cuts, uint16_t *below)
{
    _Alignas(64) sums_32 sums[2];
    _Alignas(64) unsigned char tails[2][TILE_BYTES];
    struct amx_block b, before = {.n_queries = 0};
    size_t turn = 0;

    TILE_CONFIGURE(&config);
    for (size_t g = 0; g < n_groups; g += 2) {
        take_groups(&b, (const unsigned char *)groups + g * vkern_c8_group_bytes(dim), n_groups - g,
                    dim, tails);
        for (size_t q = 0; q < nq; q += 32, turn ^= 1) {
            take_queries(&b, packed, nq, q, dim);
            b.out = out + q * out_stride + g * VKERN_GROUP;
            b.cuts = below ? cuts + q : NULL;
            b.below = below ? below + q * VKERN_TILE_GROUPS + g : NULL;
            multiply_block(&b, dim);
            if (before.n_queries > 0) finish_block(&before, sums[turn ^ 1], dim, out_stride);
            store_block(sums[turn]);
            before = b;
        }
    }
    if (before.n_queries > 0) finish_block(&before, sums[turn ^ 1], dim, out_stride);
    TILE_RELEASE();
}

#endif
