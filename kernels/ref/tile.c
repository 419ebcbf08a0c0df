/*
 * tile.c - the tile engine in plain loops: the panel is the rows, dense, in f32; sums in double.
 */
#include <assert.h>

#include "kernels/ref/element.h"

static void pack(enum vkern_type type, const void *rows, size_t stride, size_t n, size_t dim,
                 const float *scale, float *panel)
{
    assert(type != VKERN_BIT);
    for (size_t r = 0; r < n; r++) {
        const unsigned char *row = (const unsigned char *)rows + r * stride;
        for (size_t i = 0; i < dim; i++) {
            const float x = element(type, row, i);
            panel[r * dim + i] = scale != NULL ? x * scale[r] : x;
        }
    }
}

static void multiply(const float *queries, size_t nq, const float *panel, const float *bias,
                     size_t n, size_t dim, float *out, size_t out_stride)
{
    for (size_t q = 0; q < nq; q++)
        for (size_t r = 0; r < n; r++) {
            double sum = bias[r];
            for (size_t i = 0; i < dim; i++)
                sum += (double)queries[q * dim + i] * panel[r * dim + i];
            out[q * out_stride + r] = (float)sum;
        }
}

/* The last rounding is u; the double sum stays far below another u for any dim below 2^28. */
static double gamma_ref(size_t dim)
{
    (void)dim;
    return 2 * 0x1p-24;
}

static const struct vkern_tile tile_ref = {"ref", pack, multiply, gamma_ref};

void vkern_init_ref_tile(vkern_table *table)
{
    table->tile = &tile_ref;
}
