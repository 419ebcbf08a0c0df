/*
 * init.c - which x86 files fill the table: AVX2 over the reference, AVX-512 over AVX2, VNNI and
 * VPOPCNTDQ over AVX-512.
 */
#include "kernels/x86/x86.h"

#if VKERN_X86

static void init_avx2(vkern_table *table)
{
    table->level = VKERN_LEVEL_AVX2;
    table->level_name = "avx2";
    vkern_init_score_avx2(table);
    vkern_init_integer_avx2(table);
    vkern_init_hamming_avx2(table);
    vkern_init_exact_avx2(table);
    vkern_init_convert_avx2(table);
    vkern_init_filter_avx2(table);
    vkern_init_tile_avx2(table);
}

static void init_avx512(vkern_table *table)
{
    table->level = VKERN_LEVEL_AVX512;
    table->level_name = "avx512";
    vkern_init_score_avx512(table);
    vkern_init_integer_avx512(table);
    vkern_init_hamming_avx512(table);
    vkern_init_exact_avx512(table);
    vkern_init_filter_avx512(table);
    vkern_init_tile_avx512(table);
}

void vkern_init_x86(vkern_table *table, uint64_t cpu)
{
    if (!(cpu & VKERN_CPU_AVX2)) return;
    init_avx2(table);
    if (!(cpu & VKERN_CPU_AVX512)) return;
    init_avx512(table);
    if (cpu & VKERN_CPU_AVX512_VNNI) vkern_init_integer_avx512vnni(table);
    if (cpu & VKERN_CPU_AVX512_POPCNT) vkern_init_hamming_avx512popcnt(table);
}
#else
typedef int vkern_x86_is_not_built;
#endif
