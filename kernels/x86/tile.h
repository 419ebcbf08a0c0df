/*
 * tile.h - what the AVX2 and AVX-512 tile engines share: the panel and the order of the work.
 *
 * A panel is rows in groups of 32, each group transposed, cut into chunks of the dimensions: float
 * [chunk][8 groups][CHUNK, or what is left of dim][32], rows that do not exist as zeros. So what
 * one chunk needs is contiguous and never competes with itself for the sets of L2. A micro-kernel
 * multiplies a block of queries with one group over a chunk of the dimensions, all sums in
 * registers; the query elements are broadcast from where they are.
 *
 *     for each chunk of CHUNK dimensions      panel chunk: 256 rows x 128 x 4 B = 128 KiB, in L2
 *       for each block of queries             12 x 128 x 4 B = 6 KiB, in L1 over all groups
 *         for each group of 32 rows           16 KiB, streamed from L2
 *           out = bias or out, + sums of the chunk
 *
 * After Goto and van de Geijn, "Anatomy of high-performance matrix multiplication" (2008). Chunks
 * are also what bounds the error: a sum is a chain of CHUNK fused additions, then one addition a
 * chunk.
 */
#ifndef VKERN_X86_TILE_H
#define VKERN_X86_TILE_H

#include "kernels/x86/x86.h"

enum { GROUP = 32, CHUNK = 128 };

/* Where queries lie a multiple of ALIASED floats apart their lines compete for one or two sets of
 * L1, and the block is copied to lines 9 cache lines apart (1,024 dims: 0.6 of the peak without,
 * 0.8 with). Not otherwise: the copy costs, and a stride the compiler knows gives longer
 * instructions (0.65). */
enum { ALIASED = 512, COPY_STRIDE = CHUNK + 16, MOST_QUERIES = 12 };

/* One block of queries x one group. bias NULL: out is added to. n_columns <= GROUP: bias has no
 * more. */
struct tile_step {
    const float *queries, *panel, *bias;
    size_t query_stride, n_dims, n_columns;
    float *out;
    size_t out_stride;
};

typedef void tile_micro_fn(size_t n_queries, const struct tile_step *step);

/* One block of queries x all groups, over n_dims dimensions. */
VKERN_INLINE void tile_block(tile_micro_fn *micro, size_t n_queries, const float *queries, size_t n,
                             size_t dim, size_t n_dims, const float *panel, const float *bias,
                             float *out, size_t out_stride)
{
    _Alignas(64) float copy[MOST_QUERIES * COPY_STRIDE];
    struct tile_step step = {queries, NULL, NULL, dim, n_dims, 0, NULL, out_stride};

    if (dim % ALIASED == 0 && dim > 0) {
        for (size_t q = 0; q < n_queries; q++)
            memcpy(copy + q * COPY_STRIDE, queries + q * dim, n_dims * sizeof *copy);
        step.queries = copy;
        step.query_stride = COPY_STRIDE;
    }
    for (size_t column = 0; column < n; column += GROUP) {
        step.panel = panel + column * n_dims;
        step.bias = bias != NULL ? bias + column : NULL;
        step.n_columns = n - column < GROUP ? n - column : GROUP;
        step.out = out + column;
        micro(n_queries, &step);
    }
}

/* max_queries: what the micro-kernel takes at once; blocks are of nearly equal size. */
VKERN_INLINE void tile_multiply(tile_micro_fn *micro, size_t max_queries, const float *queries,
                                size_t nq, const float *panel, const float *bias, size_t n,
                                size_t dim, float *out, size_t out_stride)
{
    const size_t n_blocks = (nq + max_queries - 1) / max_queries;
    size_t i = 0;

    do { /* once for dim == 0 too: out = bias */
        const size_t n_dims = dim - i < CHUNK ? dim - i : CHUNK;
        for (size_t b = 0, q = 0; b < n_blocks; b++) {
            const size_t n_queries = nq / n_blocks + (b < nq % n_blocks);
            tile_block(micro, n_queries, queries + q * dim + i, n, dim, n_dims,
                       panel + i * VKERN_TILE_ROWS, i == 0 ? bias : NULL, out + q * out_stride,
                       out_stride);
            q += n_queries;
        }
        i += CHUNK;
    } while (i < dim);
}

/* Roundings on the way of a product into out: its chunk's chain, the chunks' additions (README.md).
 * */
VKERN_INLINE double tile_gamma(size_t dim)
{
    const size_t chain = dim < CHUNK ? dim : CHUNK;
    const double nu = (double)(chain + (dim + CHUNK - 1) / CHUNK + 1) * 0x1p-24;

    return nu / (1 - nu);
}

#endif
