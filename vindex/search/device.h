/*
 * device.h - rows resident on an accelerator, and calls answered by it. A device belongs to one index and is
 * shared by its searchers.
 *
 *     text       "cpu", or "pjrt[:PLUGIN][,memory=SIZE][,type=auto|f32|bf16][,devices=N][,chunk=ROWS]
 *                [,wait-ms=N][,required]"
 *     device.c       text, opening, failures
 *     device_call.c  a call: plan, launch                 device_merge.c  merge, rerank, prove
 *     resident.c     which rows lie where: loading, following commits, memory
 */
#ifndef VINDEX_SEARCH_DEVICE_H
#define VINDEX_SEARCH_DEVICE_H

#include <stdbool.h>
#include <stddef.h>

#include "vindex.h"

struct device;

/** VINDEX_INVALID where the text is none. *is_cpu: it means no device. */
vindex_status vindex__device_check(const char *text, bool *is_cpu);

/**
 * A device; its plugin is opened when first asked for. A failure then or later is logged, and told by the
 * plan of every search that wanted it. text passed vindex__device_check.
 */
vindex_status vindex__device_open(const char *text, struct device **device);
/** No search may use it any more. NULL is accepted. */
void vindex__device_close(struct device *device);

/** Forget a failure: the next search asks again. */
void vindex__device_retry(struct device *device);

const char *vindex__device_text(const struct device *device);
/** Open its plugin, if that was not done. VINDEX_OK, or the failure as a status with its message: NOTFOUND, UNSUPPORTED, IO. */
vindex_status vindex__device_status(struct device *device);

#endif
