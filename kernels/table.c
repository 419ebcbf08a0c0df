/*
 * table.c - fills the kernel table: what the processor and the operating system offer, lowered by
 * VINDEX_ISA, turned into slots once in a process. The kernels themselves are in ref/, x86/ and
 * arm/.
 *
 * Processor bits: Intel SDM volume 1, sections 14.3 (AVX), 14.7 (AVX2), 15.2 (AVX-512), 18.3 (AMX).
 * A CPUID bit alone is not enough: the registers must be saved by the operating system (XCR0).
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/init.h"

#if VKERN_X86
#include <cpuid.h>

enum {
    XCR0_YMM = 0x6,                /* SSE and AVX state */
    XCR0_ZMM = XCR0_YMM | 0xe0,    /* opmask, upper halves, upper sixteen */
    XCR0_TILE = XCR0_ZMM | 0x60000 /* tile configuration and data */
};

static bool all_set(uint32_t word, uint32_t bits)
{
    return (word & bits) == bits;
}

static uint32_t xcr0(void)
{
    uint32_t low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

uint64_t vkern_cpu(void)
{
    uint32_t a, b, c, d, c1, saved = 0;
    uint64_t cpu = 0;

    if (!__get_cpuid(1, &a, &b, &c1, &d)) return 0;
    if (c1 & bit_SSE4_2) cpu |= VKERN_CPU_SSE42;
    if (c1 & bit_OSXSAVE) saved = xcr0();
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return cpu;

    if (all_set(saved, XCR0_YMM) && all_set(c1, bit_AVX | bit_FMA | bit_F16C) && (b & bit_AVX2))
        cpu |= VKERN_CPU_AVX2;
    if ((cpu & VKERN_CPU_AVX2) && all_set(saved, XCR0_ZMM) &&
        all_set(b, bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL)) {
        cpu |= VKERN_CPU_AVX512;
        if (c & bit_AVX512VNNI) cpu |= VKERN_CPU_AVX512_VNNI;
        if (c & bit_AVX512VPOPCNTDQ) cpu |= VKERN_CPU_AVX512_POPCNT;
        /* AMX-BF16, AMX-TILE, AMX-INT8: bits 22, 24, 25 of EDX. */
        if (all_set(saved, XCR0_TILE) && all_set(d, 1u << 22 | 1u << 24 | 1u << 25))
            cpu |= VKERN_CPU_AMX;
    }
    return cpu;
}
#else
uint64_t vkern_cpu(void)
{
    return 0;
}
#endif

uint64_t vkern_cpu_at_level(uint64_t cpu, enum vkern_level level)
{
    const uint64_t avx2 = VKERN_CPU_SSE42 | VKERN_CPU_AVX2;
    const uint64_t avx512 =
        avx2 | VKERN_CPU_AVX512 | VKERN_CPU_AVX512_VNNI | VKERN_CPU_AVX512_POPCNT;

    switch (level) {
    case VKERN_LEVEL_REF: return 0;
    case VKERN_LEVEL_AVX2: return cpu & avx2;
    case VKERN_LEVEL_AVX512: return cpu & avx512;
    case VKERN_LEVEL_AMX: return cpu;
    }
    return 0;
}

void vkern_table_init(vkern_table *table, uint64_t cpu)
{
    memset(table, 0, sizeof *table);
    vkern_init_ref(table); /* every slot now has a meaning */
#if VKERN_X86
    vkern_init_x86(table, cpu);
#elif VKERN_ARM
    vkern_init_arm(table, cpu);
#else
    (void)cpu;
#endif
}

static vkern_table the_table;
static pthread_once_t the_table_once = PTHREAD_ONCE_INIT;

/* A name that is none of the levels changes nothing: a typo must not make a server slow. */
static enum vkern_level level_asked(void)
{
    const char *isa = getenv("VINDEX_ISA");

    if (isa == NULL) return VKERN_LEVEL_AMX;
    if (strcmp(isa, "ref") == 0) return VKERN_LEVEL_REF;
    if (strcmp(isa, "avx2") == 0) return VKERN_LEVEL_AVX2;
    if (strcmp(isa, "avx512") == 0) return VKERN_LEVEL_AVX512;
    return VKERN_LEVEL_AMX;
}

static void fill_the_table(void)
{
    vkern_table_init(&the_table, vkern_cpu_at_level(vkern_cpu(), level_asked()));
}

const vkern_table *vkern_get(void)
{
    pthread_once(&the_table_once, fill_the_table);
    return &the_table;
}

/* README.md proves less for every level; the roundings in excess leave room for a level to come. */
double vkern_gamma(size_t dim)
{
    double nu = ((double)dim / 16 + 24) * 0x1p-24;

    return nu / (1 - nu);
}
