/*
 * pump.c - a feed read ahead; see pump.h.
 *
 *     thread: read into slot 0 | publish | wait until taken | read into slot 1 | publish | ...
 *     caller:                     take .... works on it .... | take: slot 0 is free again
 *
 * The thread waits until a chunk was taken before it reads on, and the caller takes the next one
 * only when it is done with the last: two slots are enough, and the feed is never used by both.
 */
#include "pump.h"

#include <pthread.h>
#include <stdlib.h>

#include "interrupt.h"

struct chunk {
    vindex_status status;
    struct fault fault;
    vindex_vectors rows;
    const int64_t *ids;
};

struct pump {
    struct feed *feed;
    bool has_thread;
    pthread_t thread;
    pthread_mutex_t mutex; /* over what follows */
    pthread_cond_t changed;
    struct chunk chunk;
    bool is_full;    /* chunk waits to be taken */
    bool is_stopped; /* the caller wants no more */
};

/* Returns whether the thread should go on. */
static bool publish(struct pump *pump, const struct chunk *chunk)
{
    bool goes_on;

    pthread_mutex_lock(&pump->mutex);
    pump->chunk = *chunk;
    pump->is_full = true;
    pthread_cond_broadcast(&pump->changed);
    while (pump->is_full && !pump->is_stopped)
        pthread_cond_wait(&pump->changed, &pump->mutex);
    goes_on = !pump->is_stopped && chunk->status == VINDEX_OK && chunk->rows.n > 0;
    pthread_mutex_unlock(&pump->mutex);
    return goes_on;
}

static void *run_thread(void *context)
{
    struct pump *pump = context;
    struct chunk chunk;

    do {
        chunk = (struct chunk){0};
        chunk.status = feed_read(pump->feed, 0, &chunk.rows, &chunk.ids, &chunk.fault);
    } while (publish(pump, &chunk));
    return NULL;
}

vindex_status pump_open(struct feed *feed, bool with_thread, struct pump **pump,
                        struct fault *fault)
{
    struct pump *made = calloc(1, sizeof *made);

    *pump = NULL;
    if (made == NULL) return fault_nomem(fault);
    made->feed = feed;
    if (with_thread) {
        pthread_mutex_init(&made->mutex, NULL);
        pthread_cond_init(&made->changed, NULL);
        made->has_thread = pthread_create(&made->thread, NULL, run_thread, made) == 0;
    }
    /* Where no thread can be had, the rows are read one chunk after the other. */
    *pump = made;
    return VINDEX_OK;
}

vindex_status pump_next(struct pump *pump, vindex_vectors *rows, const int64_t **ids,
                        struct fault *fault)
{
    vindex_status st;

    if (!pump->has_thread) return feed_read(pump->feed, 0, rows, ids, fault);
    pthread_mutex_lock(&pump->mutex);
    while (!pump->is_full)
        pthread_cond_wait(&pump->changed, &pump->mutex);
    st = pump->chunk.status;
    if (st != VINDEX_OK) *fault = pump->chunk.fault;
    *rows = pump->chunk.rows;
    *ids = pump->chunk.ids;
    if (st == VINDEX_OK && rows->n > 0) { /* the last one stays, for whoever asks again */
        pump->is_full = false;
        pthread_cond_broadcast(&pump->changed);
    }
    pthread_mutex_unlock(&pump->mutex);
    return st;
}

void pump_close(struct pump *pump)
{
    if (pump == NULL) return;
    if (pump->has_thread) {
        feed_stop(pump->feed); /* it may be waiting for a pipe */
        pthread_mutex_lock(&pump->mutex);
        pump->is_stopped = true;
        pthread_cond_broadcast(&pump->changed);
        pthread_mutex_unlock(&pump->mutex);
        pthread_join(pump->thread, NULL);
        pthread_mutex_destroy(&pump->mutex);
        pthread_cond_destroy(&pump->changed);
    }
    free(pump);
}
