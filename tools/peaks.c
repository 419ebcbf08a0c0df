/*
 * peaks.c - see peaks.h. Every loop keeps its operands in registers and enough of them in flight
 * that nothing but the arithmetic units is waited for.
 */
#include "peaks.h"

#include <time.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* ---- memory ---------------------------------------------------------------------------------- */

typedef uint64_t sum_lanes __attribute__((vector_size(64)));

/* Four independent sums, so that no chain of additions is longer than the loads. 2 KiB ahead: with
 * a prefetch over page ends the sum is a tenth faster than without (8 MiB and 100 MiB, Cascade
 * Lake), and a floor must not be above what stands on it. */
#define SUM_MEMORY(name, instruction_set)                                                          \
    instruction_set static uint64_t name(const void *memory, size_t n_bytes)                       \
    {                                                                                              \
        const sum_lanes *lanes = memory;                                                           \
        size_t n = n_bytes / sizeof *lanes, i = 0;                                                 \
        sum_lanes a = {0}, b = {0}, c = {0}, d = {0};                                              \
        uint64_t sum = 0;                                                                          \
                                                                                                   \
        for (; i + 4 <= n; i += 4) {                                                               \
            for (size_t j = 32; j < 36; j++)                                                       \
                __builtin_prefetch(&lanes[i + j < n ? i + j : i]);                                 \
            a += lanes[i];                                                                         \
            b += lanes[i + 1];                                                                     \
            c += lanes[i + 2];                                                                     \
            d += lanes[i + 3];                                                                     \
        }                                                                                          \
        for (; i < n; i++)                                                                         \
            a += lanes[i];                                                                         \
        a += b + c + d;                                                                            \
        for (int lane = 0; lane < 8; lane++)                                                       \
            sum += a[lane];                                                                        \
        return sum;                                                                                \
    }

SUM_MEMORY(sum_plain, )
#if defined(__x86_64__)
SUM_MEMORY(sum_avx2, __attribute__((target("avx2"))))
SUM_MEMORY(sum_avx512, __attribute__((target("avx512f"))))
#endif

uint64_t peaks_sum_memory(const void *memory, size_t n_bytes)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) return sum_avx512(memory, n_bytes);
    if (__builtin_cpu_supports("avx2")) return sum_avx2(memory, n_bytes);
#endif
    return sum_plain(memory, n_bytes);
}

/* ---- products -------------------------------------------------------------------------------- */

#if defined(__x86_64__)

enum {
    CHAINS = 10,   /* latency 4 or 5, two a cycle */
    STEPS = 20000, /* of all chains: about 0.1 ms */
    FMA_512 = 2 * 16,
    FMA_256 = 2 * 8,
    INT8_512 = 2 * 64,
    INT8_256 = 2 * 32,
    TILE_INT8 = 2 * 16 * 16 * 64,
    TILE_SHARE = 16 /* a product of tiles takes about as long as so many of the others */
};

static volatile float sink;

/* One of the CHAINS sums. Variables of their own: compilers would keep an array in memory. */
#define STEP(a, step)                                                                              \
    a = step(a);                                                                                   \
    __asm__ volatile("" : "+v"(a)) /* no two steps become one */

/* `step` on each of CHAINS sums, STEPS times; `spill` makes a number of one. */
#define PRODUCTS(name, instruction_set, vector, zero, step, spill)                                 \
    __attribute__((target(instruction_set))) static void name(void)                                \
    {                                                                                              \
        vector a0 = zero, a1 = zero, a2 = zero, a3 = zero, a4 = zero, a5 = zero, a6 = zero,        \
               a7 = zero, a8 = zero, a9 = zero;                                                    \
        for (int i = 0; i < STEPS; i++) {                                                          \
            STEP(a0, step);                                                                        \
            STEP(a1, step);                                                                        \
            STEP(a2, step);                                                                        \
            STEP(a3, step);                                                                        \
            STEP(a4, step);                                                                        \
            STEP(a5, step);                                                                        \
            STEP(a6, step);                                                                        \
            STEP(a7, step);                                                                        \
            STEP(a8, step);                                                                        \
            STEP(a9, step);                                                                        \
        }                                                                                          \
        sink = (float)(spill(a0) + spill(a1) + spill(a2) + spill(a3) + spill(a4) + spill(a5) +     \
                       spill(a6) + spill(a7) + spill(a8) + spill(a9));                             \
    }

#define FMA_512_STEP(a) _mm512_fmadd_ps(a, a, a)
#define FMA_256_STEP(a) _mm256_fmadd_ps(a, a, a)
#define VNNI_512_STEP(a) _mm512_dpbusd_epi32(a, a, a)
#define INT8_256_STEP(a) _mm256_add_epi16(_mm256_maddubs_epi16(a, a), a)
#define INT_512(a) _mm_cvtsi128_si32(_mm512_castsi512_si128(a))
#define INT_256(a) _mm_cvtsi128_si32(_mm256_castsi256_si128(a))

PRODUCTS(fma_512, "avx512f", __m512, _mm512_setzero_ps(), FMA_512_STEP, _mm512_cvtss_f32)
PRODUCTS(fma_256, "avx2,fma", __m256, _mm256_setzero_ps(), FMA_256_STEP, _mm256_cvtss_f32)
PRODUCTS(vnni_512, "avx512f,avx512vnni", __m512i, _mm512_setzero_si512(), VNNI_512_STEP, INT_512)
PRODUCTS(int8_256, "avx2", __m256i, _mm256_setzero_si256(), INT8_256_STEP, INT_256)

/* Intel SDM volume 1, 18.2: palette 1, eight tiles of 16 rows of 64 bytes. */
static const struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t column_bytes[16];
    uint8_t rows[16];
} tiles = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};

/* A product of tiles takes 16 cycles and is finished after 52 (Intel's optimization manual, chapter 20): four sums take
   turns. */
__attribute__((target("amx-tile,amx-int8"))) static void tiles_int8(void)
{
    _tile_loadconfig(&tiles);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    for (int i = 0; i < CHAINS * STEPS / TILE_SHARE; i += 4) {
        _tile_dpbsud(0, 4, 5);
        _tile_dpbsud(1, 4, 5);
        _tile_dpbsud(2, 4, 5);
        _tile_dpbsud(3, 4, 5);
    }
    _tile_release();
}

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return 1e9 * (double)now.tv_sec + (double)now.tv_nsec;
}

static double rate(void (*loop)(void), double operations)
{
    double started = now_ns();
    loop();
    return operations * CHAINS * STEPS / (now_ns() - started);
}

double peaks_products(enum peak peak, const char **name)
{
    if (peak == PEAK_FMA && __builtin_cpu_supports("avx512f")) {
        *name = "avx512 fma";
        return rate(fma_512, FMA_512);
    }
    if (peak == PEAK_FMA && __builtin_cpu_supports("fma")) {
        *name = "avx2 fma";
        return rate(fma_256, FMA_256);
    }
    if (peak == PEAK_INT8 && __builtin_cpu_supports("avx512vnni")) {
        *name = "vpdpbusd";
        return rate(vnni_512, INT8_512);
    }
    if (peak == PEAK_TILES) {
        *name = "tdpbsud";
        return rate(tiles_int8, TILE_INT8 / (double)TILE_SHARE);
    }
    if (peak == PEAK_INT8 && __builtin_cpu_supports("avx2")) {
        *name = "vpmaddubsw";
        return rate(int8_256, INT8_256);
    }
    *name = "none";
    return 0;
}

#else

double peaks_products(enum peak peak, const char **name)
{
    (void)peak;
    *name = "none";
    return 0;
}

#endif
