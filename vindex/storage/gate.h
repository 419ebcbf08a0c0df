/*
 * gate.h - many may be inside, or one alone. Unlike a pthread rwlock it may be entered on one thread and
 * left on another, entering twice does not deadlock, and waiting to be alone ends.
 */
#ifndef VINDEX_STORAGE_GATE_H
#define VINDEX_STORAGE_GATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define GATE_PATIENCE_MS                                                                           \
    10000u /* a view lasts one call: after this long somebody forgot to end one */

struct gate {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint32_t n_inside;
    uint32_t n_waiting; /* to be alone */
    bool is_closed;
    uint32_t patience_ms;
};

/** False when the system has no mutex left. */
bool vindex__gate_init(struct gate *gate);
void vindex__gate_deinit(struct gate *gate);

void vindex__gate_enter(struct gate *gate);
void vindex__gate_leave(struct gate *gate);

/** Wait until nobody is inside and keep all out; false after GATE_PATIENCE_MS. */
bool vindex__gate_close(struct gate *gate);
void vindex__gate_open(struct gate *gate);

#endif
