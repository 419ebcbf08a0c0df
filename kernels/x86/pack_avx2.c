/*
 * pack_avx2.c - rows of any type into a panel (tile.h): converted, scaled and transposed, eight
 * rows by eight dimensions at a time.
 */
#include <assert.h>

#include "kernels/x86/simd_avx2.h"
#include "kernels/x86/tile.h"

#if VKERN_X86

/* v[i] element j becomes v[j] element i. */
VKERN_INLINE void transpose8(__m256 v[8])
{
    __m256 t[8], s[8];

    for (size_t i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(v[i], v[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(v[i], v[i + 1]);
    }
    for (size_t i = 0; i < 8; i += 4) {
        s[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        s[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        s[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        s[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    for (size_t i = 0; i < 4; i++) {
        v[i] = _mm256_permute2f128_ps(s[i], s[i + 4], 0x20);
        v[i + 4] = _mm256_permute2f128_ps(s[i], s[i + 4], 0x31);
    }
}

/* Dimensions first .. first + n_dims - 1 of up to eight rows into eight neighbouring columns of a
 * group. */
VKERN_INLINE void pack8(enum vkern_type type, const unsigned char *rows, size_t stride,
                        size_t n_rows, size_t first, size_t n_dims, const float *scale,
                        float *columns)
{
    __m256 v[8], factor[8];

    for (size_t r = 0; r < 8; r++)
        factor[r] = _mm256_set1_ps(scale != NULL && r < n_rows ? scale[r] : 1);
    for (size_t i = 0; i < n_dims; i += 8) {
        const size_t n = n_dims - i < 8 ? n_dims - i : 8;
        for (size_t r = 0; r < 8; r++) {
            v[r] = _mm256_setzero_ps();
            if (r < n_rows && n == 8)
                v[r] = load8(type, rows + r * stride, first + i);
            else if (r < n_rows)
                v[r] = load8_part(type, rows + r * stride, first + i, n);
            v[r] = _mm256_mul_ps(v[r], factor[r]);
        }
        transpose8(v);
        for (size_t j = 0; j < n; j++)
            _mm256_store_ps(columns + (i + j) * GROUP, v[j]);
    }
}

/* One chunk of all groups. */
VKERN_INLINE void pack_chunk(enum vkern_type type, const unsigned char *rows, size_t stride,
                             size_t n, size_t first, size_t n_dims, const float *scale,
                             float *chunk)
{
    const size_t n_columns = (n + GROUP - 1) / GROUP * GROUP;

    for (size_t r = 0; r < n_columns; r += 8) {
        float *columns = chunk + r / GROUP * GROUP * n_dims + r % GROUP;
        const size_t n_rows = r >= n ? 0 : n - r < 8 ? n - r : 8;
        const unsigned char *row = n_rows > 0 ? rows + r * stride : rows;
        const float *factors = scale != NULL && n_rows > 0 ? scale + r : NULL;
        if (n_rows == 8)
            pack8(type, row, stride, 8, first, n_dims, factors, columns);
        else
            pack8(type, row, stride, n_rows, first, n_dims, factors, columns);
    }
}

VKERN_INLINE void pack(enum vkern_type type, const unsigned char *rows, size_t stride, size_t n,
                       size_t dim, const float *scale, float *panel)
{
    for (size_t i = 0; i < dim; i += CHUNK)
        pack_chunk(type, rows, stride, n, i, dim - i < CHUNK ? dim - i : CHUNK, scale,
                   panel + i * VKERN_TILE_ROWS);
}

void vkern_pack_avx2(enum vkern_type type, const void *rows, size_t stride, size_t n, size_t dim,
                     const float *scale, float *panel)
{
    assert(n <= VKERN_TILE_ROWS);
    assert(type != VKERN_BIT);
    switch (type) {
    case VKERN_F32: pack(VKERN_F32, rows, stride, n, dim, scale, panel); break;
    case VKERN_F16: pack(VKERN_F16, rows, stride, n, dim, scale, panel); break;
    case VKERN_BF16: pack(VKERN_BF16, rows, stride, n, dim, scale, panel); break;
    case VKERN_I8: pack(VKERN_I8, rows, stride, n, dim, scale, panel); break;
    case VKERN_U8: pack(VKERN_U8, rows, stride, n, dim, scale, panel); break;
    default: break;
    }
}
#else
typedef int vkern_pack_avx2_is_not_built;
#endif
