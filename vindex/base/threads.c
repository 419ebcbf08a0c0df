/*
 * threads.c - a pool of helper threads that share the tasks of one run at a time, and the clock.
 *
 * A run is open from its start until the caller finds no task left. A helper that wakes while it is
 * open joins; one that wakes late finds it closed and sleeps on, so a run waits for the helpers
 * that joined and never for one that has not woken. Tasks are numbers drawn from one counter.
 */
#include "base/threads.h"

#include "base/mem.h"
#include "base/status.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

struct helper {
    struct pool *pool;
    pthread_t thread;
    uint32_t worker;
};

struct pool {
    pthread_mutex_t lock; /* guards what follows, up to next_task */
    pthread_cond_t wake;  /* a run was opened, or the pool closes */
    pthread_cond_t left;  /* the last helper left a run */
    uint64_t run;         /* number of the current run */
    uint32_t n_inside;    /* helpers in the current run */
    bool is_open;
    bool is_closing;
    vindex__task_fn *task;
    void *context;
    size_t n_tasks;
    _Atomic size_t next_task;
    pid_t owner;        /* after fork the child has no helpers */
    uint32_t n_helpers; /* those that could be started */
    struct helper helpers[];
};

static void take_tasks(struct pool *pool, uint32_t worker)
{
    for (;;) {
        size_t task = atomic_fetch_add_explicit(&pool->next_task, 1, memory_order_relaxed);
        if (task >= pool->n_tasks) return;
        pool->task(pool->context, task, worker);
    }
}

static void *helper_main(void *argument)
{
    struct helper *helper = argument;
    struct pool *pool = helper->pool;
    uint64_t last_run = 0;

    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (!pool->is_closing && (!pool->is_open || pool->run == last_run))
            pthread_cond_wait(&pool->wake, &pool->lock);
        if (pool->is_closing) break;

        last_run = pool->run;
        pool->n_inside++;
        pthread_mutex_unlock(&pool->lock);
        take_tasks(pool, helper->worker);
        pthread_mutex_lock(&pool->lock);
        if (--pool->n_inside == 0) pthread_cond_signal(&pool->left);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* Signals belong to the program's own threads: helpers inherit a mask that blocks all of them. */
static void start_helpers(struct pool *pool, uint32_t n_wanted)
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (uint32_t i = 0; i < n_wanted; i++) {
        struct helper *helper = &pool->helpers[i];
        helper->pool = pool;
        helper->worker = i + 1;
        if (pthread_create(&helper->thread, NULL, helper_main, helper) != 0) break;
        pool->n_helpers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

vindex_status vindex__pool_open(uint32_t n_threads, struct pool **pool)
{
    struct pool *made = NULL;
    size_t helpers_bytes, size;

    assert(n_threads >= 1);
    *pool = NULL;
    if (!vindex__mul(n_threads - 1, sizeof(struct helper), &helpers_bytes) ||
        !vindex__add(helpers_bytes, sizeof *made, &size))
        return vindex__nomem();
    made = vindex__calloc(1, size);
    if (!made) return vindex__nomem();

    pthread_mutex_init(&made->lock, NULL);
    pthread_cond_init(&made->wake, NULL);
    pthread_cond_init(&made->left, NULL);
    made->owner = getpid();
    start_helpers(made, n_threads - 1);
    *pool = made;
    return VINDEX_OK;
}

static void stop_helpers(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->is_closing = true;
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    for (uint32_t i = 0; i < pool->n_helpers; i++)
        pthread_join(pool->helpers[i].thread, NULL);

    pthread_cond_destroy(&pool->left);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
}

void vindex__pool_close(struct pool *pool)
{
    if (!pool) return;
    /* A forked child has no helpers, and one of them may hold the lock there for ever. */
    if (pool->owner == getpid()) stop_helpers(pool);
    vindex__free(pool);
}

uint32_t vindex__pool_size(const struct pool *pool)
{
    return pool->n_helpers + 1;
}

static void open_run(struct pool *pool, vindex__task_fn *task, void *context, size_t n_tasks)
{
    size_t n_useful = n_tasks - 1; /* the caller takes one task at least */

    pthread_mutex_lock(&pool->lock);
    assert(!pool->is_open);
    pool->task = task;
    pool->context = context;
    pool->n_tasks = n_tasks;
    atomic_store_explicit(&pool->next_task, 0, memory_order_relaxed);
    pool->run++;
    pool->is_open = true;
    if (n_useful >= pool->n_helpers)
        pthread_cond_broadcast(&pool->wake);
    else
        for (size_t i = 0; i < n_useful; i++)
            pthread_cond_signal(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
}

static void close_run(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->is_open = false;
    while (pool->n_inside > 0)
        pthread_cond_wait(&pool->left, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

void vindex__pool_run(struct pool *pool, vindex__task_fn *task, void *context, size_t n_tasks)
{
    if (!pool || pool->n_helpers == 0 || n_tasks < 2) {
        for (size_t i = 0; i < n_tasks; i++)
            task(context, i, 0);
        return;
    }
    open_run(pool, task, context, n_tasks);
    take_tasks(pool, 0);
    close_run(pool);
}

int64_t vindex__now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}
