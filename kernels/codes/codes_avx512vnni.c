/*
 * codes_avx512vnni.c - scores of codes with AVX-512 VNNI; beside them the table of a processor that
 * has AMX tiles too.
 */
#include "kernels/init.h"

#if VKERN_X86
#define VKERN_VNNI 1
#include "kernels/codes/codes_avx512.h"

static const struct vkern_tile8 tile8 = {"avx512vnni", pack_bytes, pack, multiply, NULL};

const struct vkern_codes vkern_codes_avx512vnni = {c4_scan, c8_scan, c8_pack,
                                                   &tile8,  NULL,    &vkern_encode_avx512};
const struct vkern_codes vkern_codes_amx = {c4_scan, c8_scan,          c8_pack,
                                            &tile8,  &vkern_tile8_amx, &vkern_encode_avx512};
#else
typedef int vkern_codes_avx512vnni_is_not_built;
#endif
