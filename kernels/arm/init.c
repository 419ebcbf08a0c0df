/*
 * init.c - 64-bit ARM: the reference kernels serve every slot, so the library builds, runs and
 * gives the same answers there; nothing is faster than the reference yet.
 */
#include "kernels/init.h"

#if VKERN_ARM
void vkern_init_arm(vkern_table *table, uint64_t cpu)
{
    (void)table;
    (void)cpu;
}
#else
typedef int vkern_arm_is_not_built;
#endif
