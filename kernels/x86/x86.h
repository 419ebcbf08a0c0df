/*
 * x86.h - the files of x86/ and what each fills. One file is one instruction set: its suffix names
 * the compiler flags it is built with, and only the processor bits of that suffix lead to it.
 *
 *     _avx2          AVX2, FMA, F16C
 *     _avx512        the above, AVX-512 F, BW, DQ, VL
 *     _avx512vnni    the above, VNNI
 *     _avx512popcnt  _avx512, VPOPCNTDQ
 */
#ifndef VKERN_X86_X86_H
#define VKERN_X86_X86_H

#include <string.h>

#include "kernels/init.h"

#if VKERN_X86
#include <immintrin.h>

void vkern_init_score_avx2(vkern_table *table);
void vkern_init_integer_avx2(vkern_table *table);
void vkern_init_hamming_avx2(vkern_table *table);
void vkern_init_exact_avx2(vkern_table *table);
void vkern_init_convert_avx2(vkern_table *table);
void vkern_init_filter_avx2(vkern_table *table);
void vkern_init_tile_avx2(vkern_table *table);

void vkern_init_score_avx512(vkern_table *table);
void vkern_init_integer_avx512(vkern_table *table);
void vkern_init_hamming_avx512(vkern_table *table);
void vkern_init_exact_avx512(vkern_table *table);
void vkern_init_filter_avx512(vkern_table *table);
void vkern_init_tile_avx512(vkern_table *table);

void vkern_init_integer_avx512vnni(vkern_table *table);
void vkern_init_hamming_avx512popcnt(vkern_table *table);

/*
 * A one-query kernel reads a block of rows side by side, which the hardware's prefetchers follow
 * poorly when rows are short and the work on them is long. So each step asks for as many lines as
 * it consumes, at the same pace through memory, this far ahead: past the block at work, at least 4
 * KiB (the latency of memory at its bandwidth), at most half of L1 (bench_kernels: bf16 and u8 from
 * 0.65 to 0.95 and more of the bandwidth of `sum`). What lies there need not exist: a prefetch
 * never faults.
 */
VKERN_INLINE size_t prefetch_distance(size_t block_bytes)
{
    return block_bytes < 4096 ? 4096 : block_bytes > 16384 ? 16384 : block_bytes;
}

/* Elements of an f32 row from which on the hardware does well alone (784: 1.0 of `sum` from memory,
 * and 1.5 times as fast from cache without the extra instructions). */
enum { LONG_ROW = 512 };

/* The lines that `bytes` bytes from `at` on take, `distance` further on. */
VKERN_INLINE void prefetch(const void *at, size_t distance, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 64)
        _mm_prefetch((const char *)((uintptr_t)at + distance + i), _MM_HINT_T0);
}

/** For the few rows an AVX-512 kernel leaves over. */
vkern_score_fn vkern_l2sq_i8_avx2, vkern_l2sq_u8_avx2, vkern_ndot_i8_avx2, vkern_ndot_u8_avx2;
vkern_score_fn vkern_hamming_avx2;

/** Panels of both SIMD tile engines (tile.h), AVX2 code. */
void vkern_pack_avx2(enum vkern_type type, const void *rows, size_t stride, size_t n, size_t dim,
                     const float *scale, float *panel);

#endif
#endif
