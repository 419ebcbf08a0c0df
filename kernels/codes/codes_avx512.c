/*
 * codes_avx512.c - scores of codes with AVX-512 where there is no VNNI.
 */
#include "kernels/init.h"

#if VKERN_X86
#define VKERN_VNNI 0
#include "kernels/codes/codes_avx512.h"

static const struct vkern_tile8 tile8 = {"avx512", pack_bytes, pack, multiply, NULL};

const struct vkern_codes vkern_codes_avx512 = {c4_scan, c8_scan, c8_pack,
                                               &tile8,  NULL,    &vkern_encode_avx512};
#else
typedef int vkern_codes_avx512_is_not_built;
#endif
