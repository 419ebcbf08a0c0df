/*
 * threads.h - a pool for calls that ask for threads. None exists until asked for.
 */
#ifndef VINDEX_BASE_THREADS_H
#define VINDEX_BASE_THREADS_H

#include "vindex.h"

struct pool;

/** A pool of n_threads - 1 helpers (the caller is the other one); n_threads >= 1. Helpers that cannot be
 *  started are done without. */
vindex_status vindex__pool_open(uint32_t n_threads, struct pool **pool);
void vindex__pool_close(struct pool *pool);
uint32_t vindex__pool_size(const struct pool *pool);

/** Work: task in [0, n_tasks), worker in [0, pool size). */
typedef void vindex__task_fn(void *context, size_t task, uint32_t worker);

/** Run n_tasks tasks, each once, on the pool and the caller; returns when all are done. Tasks are handed
 *  out in ascending order. pool NULL: on the caller alone. Allocates nothing. */
void vindex__pool_run(struct pool *pool, vindex__task_fn *task, void *context, size_t n_tasks);

/** CLOCK_MONOTONIC in nanoseconds. */
int64_t vindex__now_ns(void);

#endif
