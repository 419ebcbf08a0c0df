/*
 * gate.c - a readers-writer gate on a mutex and a condition.
 */
#include "storage/gate.h"

#include <time.h>

/* Newcomers let somebody who waits to be alone go first, but only this long: a newcomer's thread may be
   the one he waits for. */
enum { COURTESY_MS = 50 };

static struct timespec in_ms(uint32_t ms)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += (long)(ms % 1000) * 1000000;
    if (t.tv_nsec >= 1000000000) t.tv_sec++, t.tv_nsec -= 1000000000;
    return t;
}

bool vindex__gate_init(struct gate *gate)
{
    pthread_condattr_t attributes;
    bool is_made = false;

    gate->n_inside = gate->n_waiting = 0;
    gate->is_closed = false;
    gate->patience_ms = GATE_PATIENCE_MS;
    if (pthread_mutex_init(&gate->mutex, NULL) != 0) return false;
    if (pthread_condattr_init(&attributes) == 0) {
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        is_made = pthread_cond_init(&gate->changed, &attributes) == 0;
        pthread_condattr_destroy(&attributes);
    }
    if (!is_made) pthread_mutex_destroy(&gate->mutex);
    return is_made;
}

void vindex__gate_deinit(struct gate *gate)
{
    pthread_cond_destroy(&gate->changed);
    pthread_mutex_destroy(&gate->mutex);
}

void vindex__gate_enter(struct gate *gate)
{
    struct timespec until;

    pthread_mutex_lock(&gate->mutex);
    if (gate->n_waiting > 0) {
        until = in_ms(COURTESY_MS);
        while (gate->n_waiting > 0)
            if (pthread_cond_timedwait(&gate->changed, &gate->mutex, &until) != 0) break;
    }
    while (gate->is_closed)
        pthread_cond_wait(&gate->changed, &gate->mutex);
    gate->n_inside++;
    pthread_mutex_unlock(&gate->mutex);
}

void vindex__gate_leave(struct gate *gate)
{
    pthread_mutex_lock(&gate->mutex);
    gate->n_inside--;
    if (gate->n_inside == 0 && gate->n_waiting > 0) pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->mutex);
}

bool vindex__gate_close(struct gate *gate)
{
    struct timespec until = in_ms(gate->patience_ms);
    bool is_ours;

    pthread_mutex_lock(&gate->mutex);
    gate->n_waiting++;
    while (gate->n_inside > 0 || gate->is_closed)
        if (pthread_cond_timedwait(&gate->changed, &gate->mutex, &until) != 0) break;
    gate->n_waiting--;
    is_ours = gate->n_inside == 0 && !gate->is_closed;
    if (is_ours) gate->is_closed = true;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->mutex);
    return is_ours;
}

void vindex__gate_open(struct gate *gate)
{
    pthread_mutex_lock(&gate->mutex);
    gate->is_closed = false;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->mutex);
}
