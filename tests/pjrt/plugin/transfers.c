/*
 * transfers.c - events, and buffers to the device and back. A download writes when its event is awaited; without a host
 * layout it comes back transposed.
 */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- events -------------------------------------------------------------------------------- */

static void transfer(PJRT_Event *event)
{
    PJRT_Buffer *source = event->source;
    materialize(source);
    if (!event->is_transposed || source->n_dims != 2) {
        memcpy(event->destination, source->data, source->bytes);
    } else {
        size_t size = source->type == PJRT_BF16 ? 2 : 4, n = (size_t)source->dims[0],
               m = (size_t)source->dims[1];
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < m; j++)
                memcpy((char *)event->destination + (j * n + i) * size,
                       (char *)source->data + (i * m + j) * size, size);
    }
    event->destination = NULL;
}

PJRT_Error *event_await(void *arguments)
{
    ENTER(Event_Await, PJRT_EVENT_AWAIT, pjrt_event_args, event);
    check_alive(a->event->magic, "an event");
    if (a->event->task) {
        task_run(a->event->task);
        if (!a->event->code) a->event->code = a->event->task->code;
    } else if (a->event->source && a->event->destination) {
        transfer(a->event);
    } else if (a->event->source) {
        materialize(a->event->source);
        if (a->event->is_ready_event) a->event->code = a->event->source->failed;
    }
    if (a->event->code) error = fail(a->event->code, "injected, and told by an event");
    LEAVE;
}

PJRT_Error *event_is_ready(void *arguments)
{
    ENTER(Event_IsReady, PJRT_EVENT_IS_READY, pjrt_event_is_ready, is_ready);
    check_alive(a->event->magic, "an event");
    a->is_ready = !a->event->task || now_ns() >= a->event->task->ready_ns;
    LEAVE;
}

PJRT_Error *event_destroy(void *arguments)
{
    ENTER(Event_Destroy, PJRT_EVENT_DESTROY, pjrt_event_args, event);
    check_alive(a->event->magic, "an event");
    a->event->magic = DEAD;
    task_unref(a->event->task);
    buffer_unref(a->event->source);
    free(a->event);
    counts.events--;
    LEAVE;
}

/* ---- transfers ----------------------------------------------------------------------------- */

PJRT_Error *buffer_from_host(void *arguments)
{
    ENTER(BufferFromHostBuffer, PJRT_BUFFER_FROM_HOST, pjrt_buffer_from_host, buffer);
    check_alive(a->client->magic, "a client");
    if (a->n_dims > 3 || a->n_byte_strides || a->memory || a->layout || !a->device) {
        error = fail(PJRT_UNIMPLEMENTED, "this plugin knows dense arrays on a device only");
        goto out;
    }
    PJRT_Buffer *buffer = buffer_new(a->device, a->type, a->dims, a->n_dims);
    long long limit = number("hbm", 0);
    bool exhausted = limit && a->device->bytes > (uint64_t)limit;
    if (exhausted && !number("hbm_late", 0)) {
        buffer_unref(buffer);
        error = fail(PJRT_RESOURCE_EXHAUSTED,
                     "Out of memory while trying to allocate on the test device");
        goto out;
    }
    buffer->failed = exhausted ? PJRT_RESOURCE_EXHAUSTED : fault("Buffer.async", nth);
    if (a->semantics == PJRT_DURING_CALL)
        memcpy(buffer->data, a->data, buffer->bytes);
    else
        buffer->pending = a->data;
    counts.buffers++;
    counts.uploads++;
    counts.uploaded_bytes += buffer->bytes;
    a->buffer = buffer;
    a->done_with_host_buffer = event_new();
    a->done_with_host_buffer->source = buffer;
    buffer->refs++;
    LEAVE;
}

PJRT_Error *buffer_to_host(void *arguments)
{
    ENTER(ToHostBuffer, PJRT_BUFFER_TO_HOST, pjrt_buffer_to_host, event);
    check_alive(a->source->magic, "a buffer");
    if (!a->destination) {
        a->destination_size = a->source->bytes;
        goto out;
    }
    if (a->destination_size < a->source->bytes) {
        error = fail(PJRT_INVALID_ARGUMENT, "%zu bytes of room; expected %zu", a->destination_size,
                     a->source->bytes);
        goto out;
    }
    const pjrt_layout *layout = a->host_layout;
    if (layout && (error = check_size("Buffer_MemoryLayout", layout->struct_size,
                                      PJRT_EXACT(pjrt_layout, type))))
        goto out;
    if (layout && (layout->type != PJRT_TILED || layout->tiled.n_tiles ||
                   layout->tiled.struct_size != sizeof layout->tiled ||
                   layout->tiled.n_minor_to_major != a->source->n_dims)) {
        error = fail(PJRT_UNIMPLEMENTED, "only untiled layouts of the array's rank");
        goto out;
    }
    memset(a->destination, 0x5A, a->source->bytes);
    a->event = event_new();
    a->event->source = a->source;
    a->event->destination = a->destination;
    a->event->is_transposed = !layout || layout->tiled.minor_to_major[0] == 0;
    a->event->code = fault("ToHostBuffer.async", nth);
    a->source->refs++;
    LEAVE;
}

PJRT_Error *buffer_ready(void *arguments)
{
    ENTER(Buffer_ReadyEvent, PJRT_BUFFER_READY, pjrt_buffer_ready, event);
    check_alive(a->buffer->magic, "a buffer");
    a->event = event_new();
    a->event->source = a->buffer;
    a->event->is_ready_event = true;
    a->buffer->refs++;
    LEAVE;
}

PJRT_Error *buffer_destroy(void *arguments)
{
    ENTER(Buffer_Destroy, PJRT_BUFFER_DESTROY, pjrt_buffer_destroy, buffer);
    check_alive(a->buffer->magic, "a buffer");
    a->buffer->magic = DEAD; /* tasks and events still hold it */
    buffer_unref(a->buffer);
    counts.buffers--;
    LEAVE;
}

#ifndef TEST_HOLES
/* As a TPU pads: rows to a multiple of 128 elements. */
PJRT_Error *buffer_size(void *arguments)
{
    ENTER(Buffer_OnDeviceSizeInBytes, PJRT_BUFFER_SIZE, pjrt_buffer_size, size_bytes);
    a->size_bytes = a->buffer->bytes;
    LEAVE;
}
#endif
