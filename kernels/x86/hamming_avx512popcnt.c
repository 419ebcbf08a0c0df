/*
 * hamming_avx512popcnt.c - bits against one query with AVX-512 VPOPCNTDQ.
 */
#include "kernels/init.h"

#if VKERN_X86
#define VKERN_VPOPCNT 1
#include "kernels/x86/hamming_avx512.h"

static void hamming_avx512popcnt(const void *query, const void *rows, size_t stride, size_t n,
                                 size_t dim, float *scores)
{
    hamming(query, rows, stride, n, dim, scores);
}

void vkern_init_hamming_avx512popcnt(vkern_table *table)
{
    table->hamming = hamming_avx512popcnt;
}
#else
typedef int vkern_hamming_avx512popcnt_is_not_built;
#endif
