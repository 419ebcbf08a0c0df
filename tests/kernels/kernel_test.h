/*
 * kernel_test.h - what the kernel tests share: the levels of this processor, buffers that end at a
 * page nobody may touch, and the table of dims, counts, strides and distributions.
 */
#ifndef KERNEL_TEST_H
#define KERNEL_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels/kernels.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const char *const type_names[] = {"f32", "f16", "bf16", "i8", "u8", "bit"};

/* ---- random numbers: splitmix64 (Steele, Lea, Flood 2014) ------------------------------------ */

static uint64_t test_state;

static inline uint64_t random_u64(void)
{
    uint64_t z = test_state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static inline double random_unit(void)
{
    return (double)(random_u64() >> 11) * 0x1p-53;
}

/* Seeded from VINDEX_TEST_SEED, or with a fixed number; printed either way. */
static inline void seed_random(const char *test)
{
    const char *seed = getenv("VINDEX_TEST_SEED");

    test_state = seed != NULL ? strtoull(seed, NULL, 0) : 20240607;
    printf("%s: VINDEX_TEST_SEED=%llu\n", test, (unsigned long long)test_state);
}

/* ---- levels --------------------------------------------------------------------------------- */

/* Every table this processor can run, the reference first; without VNNI and VPOPCNTDQ too, so that
 * the plain AVX-512 kernels are run where the better ones exist. */
struct levels {
    vkern_table table[5];
    char name[5][24];
    size_t n;
};

static inline void add_level(struct levels *levels, uint64_t cpu, const char *suffix)
{
    vkern_table *t = &levels->table[levels->n];

    vkern_table_init(t, cpu);
    snprintf(levels->name[levels->n++], sizeof levels->name[0], "%s%s", t->level_name, suffix);
}

static inline struct levels all_levels(void)
{
    const uint64_t extra = VKERN_CPU_AVX512_VNNI | VKERN_CPU_AVX512_POPCNT;
    const uint64_t cpu = vkern_cpu_at_level(vkern_cpu(), VKERN_LEVEL_AVX512);
    struct levels levels;

    memset(&levels, 0, sizeof levels);
    add_level(&levels, 0, "");
    if (cpu & VKERN_CPU_AVX2) add_level(&levels, vkern_cpu_at_level(cpu, VKERN_LEVEL_AVX2), "");
    if (cpu & VKERN_CPU_AVX512) add_level(&levels, cpu & ~extra, "");
    if (cpu & VKERN_CPU_AVX512_VNNI)
        add_level(&levels, cpu & ~(uint64_t)VKERN_CPU_AVX512_POPCNT, " vnni");
    if (cpu & VKERN_CPU_AVX512_POPCNT) add_level(&levels, cpu, " popcnt");
    return levels;
}

/* ---- guarded memory -------------------------------------------------------------------------- */

/* A mapping whose last page faults, and the page before its first one too. */
struct guarded {
    unsigned char *map;
    size_t map_size, usable;
};

static inline struct guarded guarded_open(size_t usable)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct guarded g;

    g.usable = (usable + page - 1) / page * page;
    g.map_size = g.usable + 2 * page;
    g.map = mmap(NULL, g.map_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(g.map != MAP_FAILED);
    assert_int_equal(mprotect(g.map, page, PROT_NONE), 0);
    assert_int_equal(mprotect(g.map + page + g.usable, page, PROT_NONE), 0);
    return g;
}

static inline void guarded_close(struct guarded *g)
{
    munmap(g->map, g->map_size);
    g->map = NULL;
}

/* The last `size` bytes before the page that faults. */
static inline void *guarded_end(const struct guarded *g, size_t size)
{
    assert_true(size <= g->usable);
    return g->map + (g->map_size - g->usable) / 2 + g->usable - size;
}

/* The first bytes behind the page that faults. */
static inline void *guarded_begin(const struct guarded *g)
{
    return g->map + (g->map_size - g->usable) / 2;
}

/* ---- the table --------------------------------------------------------------------------------
 * */

static const size_t test_dims[] = {0,   1,   2,   3,   7,   8,   15,   16,   17,
                                   31,  32,  33,  63,  64,  65,  100,  127,  128,
                                   129, 255, 256, 257, 300, 784, 1024, 1536, 4096};
static const size_t test_counts[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 256};
static const size_t test_offsets[] = {0, 1, 2, 3, 7, 13, 32};
static const size_t test_paddings[] = {0, 64, 5}; /* dense, padded, odd */

enum distribution {
    NORMAL,
    TINY,
    HUGE_VALUES,
    WHOLE,
    ZEROS,
    ALTERNATING,
    EXTREMES,
    N_DISTRIBUTIONS
};

static const char *const distribution_names[] = {
    "normal", "tiny", "huge", "whole numbers", "zeros", "alternating signs", "extremes"};

/* Element i of a vector of this distribution, before it is rounded to a type. */
static inline float draw(enum distribution distribution, size_t i)
{
    double sum = 0;

    switch (distribution) {
    case TINY: return (float)(1e-30 * (random_unit() - 0.5));
    case HUGE_VALUES: return (float)(1e15 * (random_unit() - 0.5));
    case WHOLE: return (float)((int)(random_u64() % 201) - 100);
    case ZEROS: return 0;
    case ALTERNATING: return (float)((i % 2 ? -1 : 1) * (1 + 1e-3 * random_unit()));
    case EXTREMES: return random_u64() % 2 ? 65504.0f : -65504.0f;
    default:
        for (int k = 0; k < 12; k++)
            sum += random_unit();
        return (float)(sum - 6);
    }
}

/* dim elements of `type` at any alignment: floats rounded to the type, integers over their range
 * with their extremes, bits with the padding 0. */
static inline void fill_row(const vkern_table *ref, enum vkern_type type,
                            enum distribution distribution, size_t dim, void *row)
{
    unsigned char *to = row;

    for (size_t i = 0; i < dim && type <= VKERN_BF16; i++) {
        float value = draw(distribution, i);
        if (type == VKERN_F16 && distribution == HUGE_VALUES) value /= 1e11f;
        ref->from_f32[type](&value, 1, to + vkern_row_bytes(type, i));
    }
    if (type <= VKERN_BF16) return;
    for (size_t i = 0; i < vkern_row_bytes(type, dim); i++) {
        static const unsigned char ends[] = {0x80, 0x7f, 0xff, 0x00};
        if (distribution == ZEROS)
            to[i] = 0;
        else if (distribution == EXTREMES)
            to[i] = ends[random_u64() % 2];
        else if (distribution == HUGE_VALUES)
            to[i] = ends[2 + random_u64() % 2];
        else if (distribution == ALTERNATING)
            to[i] = ends[i % 2];
        else
            to[i] = (unsigned char)random_u64();
    }
    if (type == VKERN_BIT && dim % 8 != 0) to[dim / 8] &= (unsigned char)((1u << dim % 8) - 1);
}

static inline enum vkern_type type_of_query(enum vkern_type type)
{
    return type == VKERN_F16 || type == VKERN_BF16 ? VKERN_F32 : type;
}

/* Element i as the widest float there is: the oracle's own reading of a row, apart from the
 * kernels'. binary16 by arithmetic on its fields, bfloat16 as the upper half of binary32. */
static inline long double oracle_element(enum vkern_type type, const void *row, size_t i)
{
    const unsigned char *at = (const unsigned char *)row + vkern_row_bytes(type, i);
    uint16_t half;
    uint32_t word;
    float value;

    switch (type) {
    case VKERN_F32: memcpy(&value, at, sizeof value); return value;
    case VKERN_BF16:
        memcpy(&half, at, sizeof half);
        word = (uint32_t)half << 16;
        memcpy(&value, &word, sizeof value);
        return value;
    case VKERN_F16: {
        long double magnitude;
        memcpy(&half, at, sizeof half);
        const int exponent = half >> 10 & 31;
        magnitude = (half & 1023) + (exponent > 0 ? 1024 : 0);
        for (int k = exponent > 0 ? exponent : 1; k < 25; k++)
            magnitude /= 2;
        for (int k = 25; k < exponent; k++)
            magnitude *= 2;
        return half & 0x8000 ? -magnitude : magnitude;
    }
    case VKERN_I8: return *(const int8_t *)at;
    case VKERN_U8: return *at;
    default: return 0;
    }
}

/* The sums the bounds are made of. */
struct oracle {
    long double l2sq, dot, query_norm, row_norm;
};

static inline struct oracle oracle_sums(enum vkern_type type, const void *query, const void *row,
                                        size_t dim)
{
    struct oracle sums = {0, 0, 0, 0};

    for (size_t i = 0; i < dim; i++) {
        const long double q = oracle_element(type_of_query(type), query, i);
        const long double x = oracle_element(type, row, i);
        sums.l2sq += (q - x) * (q - x);
        sums.dot += q * x;
        sums.query_norm += q * q;
        sums.row_norm += x * x;
    }
    return sums;
}

#endif
