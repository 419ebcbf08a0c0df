/*
 * axes.h - an array of n dimensions, seen along one of them: [outer, len, inner]. Private to topk/.
 */
#ifndef VINDEX_TOPK_AXES_H
#define VINDEX_TOPK_AXES_H

#include <stddef.h>

#include "vindex_topk.h"

struct axes {
    size_t outer, len, inner;
};

/** Check a shape and find the axis (negative: from the end). VINDEX_INVALID names what is wrong. */
vindex_status vindex__axes_make(const int64_t *shape, uint32_t rank, int32_t axis,
                                struct axes *axes);

#endif
