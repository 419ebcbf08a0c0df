/*
 * table.c - fills the table of selection kernels, at the level the kernel table runs at.
 */
#include <pthread.h>
#include <string.h>

#include "kernels/init.h"
#include "kernels/topk/topk.h"

void vkern_topk_table_init(vkern_topk_table *table, uint64_t cpu)
{
    memset(table, 0, sizeof *table);
    vkern_topk_init_ref(table);
#if VKERN_X86
    if (cpu & VKERN_CPU_AVX2) vkern_topk_init_avx2(table);
    if ((cpu & VKERN_CPU_AVX2) && (cpu & VKERN_CPU_AVX512)) vkern_topk_init_avx512(table);
#else
    (void)cpu;
#endif
}

static vkern_topk_table the_table;
static pthread_once_t the_table_once = PTHREAD_ONCE_INIT;

static void fill_the_table(void)
{
    vkern_topk_table_init(&the_table, vkern_cpu_at_level(vkern_cpu(), vkern_get()->level));
}

const vkern_topk_table *vkern_topk_get(void)
{
    pthread_once(&the_table_once, fill_the_table);
    return &the_table;
}
