/*
 * live.h - 64 bits of a live bitmap from any bit on, for the survivors kernels.
 */
#ifndef VKERN_X86_LIVE_H
#define VKERN_X86_LIVE_H

#include "kernels/init.h"

/* Bits bit .. bit + n - 1, 1 <= n <= 64, in the low n bits; all ones where live is NULL. Reads only
 * the words those bits lie in; what is above the low n bits is unspecified. */
VKERN_INLINE uint64_t live_bits(const uint64_t *live, size_t bit, size_t n)
{
    const size_t shift = bit % 64;
    uint64_t bits;

    if (live == NULL) return ~UINT64_C(0);
    bits = live[bit / 64] >> shift;
    if (shift + n > 64) bits |= live[bit / 64 + 1] << (64 - shift);
    return bits;
}

#endif
