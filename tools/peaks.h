/*
 * peaks.h - what this machine can do at most, measured: reading memory, multiplying. The floors
 * beside which benchmarks put their figures. One thread.
 */
#ifndef TOOLS_PEAKS_H
#define TOOLS_PEAKS_H

#include <stddef.h>
#include <stdint.h>

/** A plain sum of n_bytes (a multiple of 64, 64-byte aligned): reading them once. */
uint64_t peaks_sum_memory(const void *memory, size_t n_bytes);

enum peak {
    PEAK_FMA,  /* f32 multiply-adds */
    PEAK_INT8, /* 8-bit products into 32-bit sums by VNNI, or into 16-bit ones by AVX2 */
    PEAK_TILES /* 8-bit products by AMX; to be asked for once a search has used tiles, for it has also
                  asked the system's permission */
};

/** A loop of independent products in registers that lasts about a tenth of a millisecond, and its GOP/s (a product and
 *  a sum are two); 0 where the processor has no instruction for it. *name: of the instruction. */
double peaks_products(enum peak peak, const char **name);

#endif
