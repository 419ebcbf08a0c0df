/*
 * maths.h - what the planner needs of the formulas beyond the public ones (vindex_topk.h).
 */
#ifndef VINDEX_TOPK_MATHS_H
#define VINDEX_TOPK_MATHS_H

#include <stdbool.h>
#include <stdint.h>

/** true if `recall` is in (0, 1]: NaN is not. */
static inline bool vindex__recall_is_valid(double recall)
{
    return recall > 0 && recall <= 1;
}

/** floor(log2(x)) and ceil(log2(x)); both 0 for x = 0. */
int32_t vindex__log2_floor(uint64_t x);
int32_t vindex__log2_ceil(uint64_t x);

#endif
