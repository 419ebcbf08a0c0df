/*
 * encode_avx2.c - the inner loops of making codes, with AVX2.
 */
#include "kernels/init.h"

#if VKERN_X86
#include "kernels/codes/encode_body.h"

const struct vkern_encode vkern_encode_avx2 = VKERN_ENCODE_SLOTS;
#else
typedef int vkern_encode_avx2_is_not_built;
#endif
