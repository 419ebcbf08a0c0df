/*
 * stop.c - deadline and cancel: asked about once in half a millisecond of work on each thread. Work
 * is counted in estimated nanoseconds; each look compares them with the clock and corrects the
 * stride, so that estimates may be wrong.
 */
#include "search/call.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/status.h"

#define LOOK_NS 5e5

void vindex__stop_init(struct stop *stop, const struct search_request *request)
{
    stop->deadline_ns = request->deadline_ns;
    stop->cancel = request->cancel;
    stop->cancel_context = request->cancel_context;
    stop->caller = pthread_self();
    stop->message[0] = '\0';
    atomic_init(&stop->status, VINDEX_OK);
}

void vindex__pace_init(struct pace *pace, const struct stop *stop)
{
    bool never = !stop->cancel && !stop->deadline_ns;
    pace->credit_ns = never ? INFINITY : 0; /* 0: look before the first work */
    pace->step_ns = LOOK_NS / 8;
    pace->last_ns = never ? 0 : vindex__now_ns();
}

void vindex__stop_set(struct stop *stop, vindex_status status)
{
    int expected = VINDEX_OK;
    /* The message is read after the threads have met again at the end of the run. */
    if (atomic_compare_exchange_strong(&stop->status, &expected, (int)status) &&
        status != VINDEX_TIMEOUT && status != VINDEX_CANCELLED)
        snprintf(stop->message, sizeof stop->message, "%s", vindex_message());
}

vindex_status vindex__stop_status(struct stop *stop)
{
    vindex_status status = (vindex_status)atomic_load(&stop->status);
    switch (status) {
    case VINDEX_OK: return VINDEX_OK;
    case VINDEX_TIMEOUT: return vindex__fail(status, "the search ran past its deadline");
    case VINDEX_CANCELLED: return vindex__fail(status, "the search was cancelled by the caller");
    default: return vindex__fail(status, "%s", stop->message);
    }
}

bool vindex__pace_look(struct pace *pace, struct stop *stop)
{
    int64_t now = vindex__now_ns();
    double factor = LOOK_NS / fmax((double)(now - pace->last_ns), 1);
    pace->step_ns *= fmin(fmax(factor, 0.125), 2);
    pace->credit_ns = pace->step_ns;
    pace->last_ns = now;

    if (stop->deadline_ns && now >= stop->deadline_ns) vindex__stop_set(stop, VINDEX_TIMEOUT);
    if (stop->cancel && pthread_equal(pthread_self(), stop->caller) &&
        stop->cancel(stop->cancel_context))
        vindex__stop_set(stop, VINDEX_CANCELLED);
    return atomic_load_explicit(&stop->status, memory_order_relaxed) != VINDEX_OK;
}
