/*
 * pump.h - a feed read ahead: with a thread of its own the next chunk is read and unpacked while
 * the caller works on this one.
 */
#ifndef TOOLS_PUMP_H
#define TOOLS_PUMP_H

#include <stdbool.h>
#include <stdint.h>

#include "feed.h"

struct pump;

/** Begin on a feed whose target was set with two slots (feed_target). Without a thread pump_next
 *  reads by itself. The feed stays the caller's, and is the pump's alone until pump_close. */
vindex_status pump_open(struct feed *feed, bool with_thread, struct pump **pump,
                        struct fault *fault);

/** The next chunk, as feed_read gives it; valid until the next call. */
vindex_status pump_next(struct pump *pump, vindex_vectors *rows, const int64_t **ids,
                        struct fault *fault);

/** End the thread, wherever it is, and free; NULL is accepted. */
void pump_close(struct pump *pump);

#endif
