/*
 * encode_avx512.c - the inner loops of making codes, with AVX-512.
 */
#include "kernels/init.h"

#if VKERN_X86
#include "kernels/codes/encode_body.h"

const struct vkern_encode vkern_encode_avx512 = VKERN_ENCODE_SLOTS;
#else
typedef int vkern_encode_avx512_is_not_built;
#endif
