/*
 * encode_ref.c - the inner loops of making codes, for every machine.
 */
#include "kernels/codes/encode_body.h"

const struct vkern_encode vkern_encode_ref = VKERN_ENCODE_SLOTS;
