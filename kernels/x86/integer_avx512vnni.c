/*
 * integer_avx512vnni.c - i8 and u8 rows against one query with AVX-512 VNNI.
 */
#include "kernels/init.h"

#if VKERN_X86
#define VKERN_VNNI 1
#define VKERN_INTEGER_ISA avx512vnni
#include "kernels/x86/integer_avx512.h"

void vkern_init_integer_avx512vnni(vkern_table *table)
{
    fill(table);
}
#else
typedef int vkern_integer_avx512vnni_is_not_built;
#endif
