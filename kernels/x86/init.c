/*
 * init.c - which x86 files fill the table: AVX2 over the reference, AVX-512 over AVX2, VNNI and
 * VPOPCNTDQ over AVX-512, AMX over VNNI.
 */
#include "kernels/codes/internal.h"
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
    table->codes = &vkern_codes_avx2;
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
    table->codes = &vkern_codes_avx512;
}

static void init_vnni(vkern_table *table)
{
    vkern_init_integer_avx512vnni(table);
    table->codes = &vkern_codes_avx512vnni;
}

static void init_amx(vkern_table *table)
{
    table->level = VKERN_LEVEL_AMX;
    table->level_name = "amx";
    table->codes = &vkern_codes_amx;
}

void vkern_init_x86(vkern_table *table, uint64_t cpu)
{
    if (!(cpu & VKERN_CPU_AVX2)) return;
    init_avx2(table);
    if (!(cpu & VKERN_CPU_AVX512)) return;
    init_avx512(table);
    if (cpu & VKERN_CPU_AVX512_VNNI) init_vnni(table);
    if (cpu & VKERN_CPU_AVX512_POPCNT) vkern_init_hamming_avx512popcnt(table);
    if ((cpu & VKERN_CPU_AVX512_VNNI) && (cpu & VKERN_CPU_AMX)) init_amx(table);
}
#else
typedef int vkern_x86_is_not_built;
#endif
