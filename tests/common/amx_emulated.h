/*
 * common/amx_emulated.h - the AMX tile engine (kernels/codes/tile8_amx.h) over tile instructions in plain
 * C: `amx_emulated`. It takes AVX-512 (F, BW, DQ, VL). Included by one file of a program.
 *
 * The emulation is after the Intel SDM (volume 2: LDTILECFG, TILELOADD, TILESTORED, TILEZERO,
 * TDPBSUD): shapes are those configured, a tile not configured or used after its release is a
 * failure.
 */
#ifndef VINDEX_TESTS_COMMON_AMX_EMULATED_H
#define VINDEX_TESTS_COMMON_AMX_EMULATED_H

#include "common/cmocka.h"

#include <stdbool.h>
#include <string.h>

#include "kernels/codes.h"

#include <immintrin.h>

struct emulated_tile {
    size_t rows, row_bytes;
    unsigned char bytes[16][64];
};
static _Thread_local struct emulated_tile tile_file[8]; /* the register file */
static _Thread_local bool configured;

static void emulate_configure(const void *config)
{
    const unsigned char *at = config;

    assert_int_equal(at[0], 1); /* the palette */
    for (size_t i = 1; i < 16; i++)
        assert_int_equal(at[i], 0);
    for (size_t t = 0; t < 8; t++) {
        uint16_t row_bytes;
        memcpy(&row_bytes, at + 16 + 2 * t, 2);
        tile_file[t].rows = at[48 + t];
        tile_file[t].row_bytes = row_bytes;
        assert_true(tile_file[t].rows <= 16 && row_bytes <= 64 && row_bytes % 4 == 0);
        memset(tile_file[t].bytes, 0xee,
               sizeof tile_file[t].bytes); /* zeros, but not to be relied on */
    }
    configured = true;
}

static void emulate_release(void)
{
    assert_true(configured);
    configured = false;
}

static struct emulated_tile *tile_at(size_t t)
{
    assert_true(configured && tile_file[t].rows > 0 && tile_file[t].row_bytes > 0);
    return &tile_file[t];
}

static void emulate_load(size_t t, const void *base, size_t stride)
{
    struct emulated_tile *tile = tile_at(t);

    for (size_t r = 0; r < tile->rows; r++)
        memcpy(tile->bytes[r], (const unsigned char *)base + r * stride, tile->row_bytes);
}

static void emulate_store(size_t t, void *base, size_t stride)
{
    const struct emulated_tile *tile = tile_at(t);

    for (size_t r = 0; r < tile->rows; r++)
        memcpy((unsigned char *)base + r * stride, tile->bytes[r], tile->row_bytes);
}

static void emulate_zero(size_t t)
{
    memset(tile_at(t)->bytes, 0, sizeof tile_file[t].bytes);
}

/* c[m][n] += a[m][4 k + j] (signed) * b[k][4 n + j] (unsigned), modulo 2^32. */
static void emulate_dot(size_t c, size_t a, size_t b)
{
    struct emulated_tile *to = tile_at(c);
    const struct emulated_tile *left = tile_at(a), *right = tile_at(b);

    assert_true(left->rows == to->rows && right->row_bytes == to->row_bytes &&
                left->row_bytes == 4 * right->rows);
    for (size_t m = 0; m < to->rows; m++)
        for (size_t n = 0; n < to->row_bytes / 4; n++) {
            uint32_t sum;
            memcpy(&sum, &to->bytes[m][4 * n], 4);
            for (size_t k = 0; k < left->row_bytes; k++)
                sum += (uint32_t)((int8_t)left->bytes[m][k] * right->bytes[k / 4][4 * n + k % 4]);
            memcpy(&to->bytes[m][4 * n], &sum, 4);
        }
}

#define TILE_CONFIGURE(config) emulate_configure(config)
#define TILE_RELEASE() emulate_release()
#define TILE_LOAD(t, base, stride) emulate_load(t, base, stride)
#define TILE_STORE(t, base, stride) emulate_store(t, base, stride)
#define TILE_ZERO(t) emulate_zero(t)
#define TILE_DOT(c, a, b) emulate_dot(c, a, b)

/* The rest of the body is AVX-512, which this file is not otherwise built with. */
#ifdef __clang__
#pragma clang attribute push(                                                                      \
    __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl"))),                   \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")
#endif
#include "kernels/codes/tile8_amx.h"
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

static const struct vkern_tile8 amx_emulated = {"amx emulated", pack_bytes, pack, multiply, NULL};

#endif
