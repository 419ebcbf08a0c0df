/*
 * init.c - the reference level: every slot, plain rather than fast, sums in double. It is what the
 * slots mean; the tests hold every other level to it.
 */
#include "kernels/codes/internal.h"
#include "kernels/init.h"

void vkern_init_ref(vkern_table *table)
{
    table->level = VKERN_LEVEL_REF;
    table->level_name = "ref";
    vkern_init_ref_score(table);
    vkern_init_ref_exact(table);
    vkern_init_ref_convert(table);
    vkern_init_ref_filter(table);
    vkern_init_ref_tile(table);
    table->codes = &vkern_codes_ref;
}
