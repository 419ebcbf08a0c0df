/*
 * integer_avx512.c - i8 and u8 rows against one query with AVX-512 BW.
 */
#include "kernels/init.h"

#if VKERN_X86
#define VKERN_VNNI 0
#define VKERN_INTEGER_ISA avx512
#include "kernels/x86/integer_avx512.h"

void vkern_init_integer_avx512(vkern_table *table)
{
    fill(table);
}
#else
typedef int vkern_integer_avx512_is_not_built;
#endif
