/*
 * test_codes_amx.c - the body of the AMX tile engine (kernels/codes/tile8_amx.h) against tile
 * instructions in plain C: the same tests as for the engines that can run here, so only the
 * instructions themselves are taken on trust where there is no AMX.
 *
 * The emulation is after the Intel SDM (volume 2: LDTILECFG, TILELOADD, TILESTORED, TILEZERO,
 * TDPBSUD): shapes are those configured, a tile not configured or used after its release is a
 * failure.
 */
#include "codes_test.h"

#if defined(__x86_64__)
#include <immintrin.h>

struct emulated_tile {
    size_t rows, row_bytes;
    unsigned char bytes[16][64];
};
static struct emulated_tile tile_file[8]; /* the register file */
static bool configured;

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

static void every_case(void **state)
{
    static const struct vkern_tile8 emulated = {"amx emulated", pack_bytes, pack, multiply, NULL};

    (void)state;
    check_tile8_engine(&emulated);
    assert_false(configured); /* what a thread is left with */
}

/* The table offers the engine where the processor has tiles and VNNI, and at no lower level. */
static void where_the_table_has_it(void **state)
{
    const uint64_t avx512 = VKERN_CPU_AVX2 | VKERN_CPU_AVX512;
    vkern_table t;

    (void)state;
    vkern_table_init(&t, avx512 | VKERN_CPU_AVX512_VNNI | VKERN_CPU_AMX);
    assert_non_null(t.codes->amx);
    assert_non_null(t.codes->amx->begin);
    assert_string_equal(t.codes->amx->name, "amx");
    assert_string_equal(t.codes->tile8->name, "avx512vnni");
    assert_string_equal(t.level_name, "amx");
    vkern_table_init(&t, avx512 | VKERN_CPU_AVX512_VNNI);
    assert_null(t.codes->amx);
    vkern_table_init(&t, avx512 | VKERN_CPU_AMX);
    assert_null(t.codes->amx);
    assert_string_equal(t.codes->tile8->name, "avx512");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_case),
        cmocka_unit_test(where_the_table_has_it),
    };

    if (!(vkern_cpu() & VKERN_CPU_AVX512)) {
        printf("skipped: the body needs AVX-512\n");
        return 77;
    }
    seed_random("test_codes_amx");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#else
int main(void)
{
    printf("skipped: x86 only\n");
    return 77;
}
#endif
