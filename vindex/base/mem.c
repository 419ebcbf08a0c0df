/*
 * mem.c - the heap behind mem.h. It counts allocations and live bytes, and fails on demand, in
 * every build: three relaxed atomic operations an allocation, and the warm query path has none.
 */
#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

static _Atomic uint64_t n_allocations;
static _Atomic uint64_t first_failing; /* number of the first allocation that fails; 0 = none */
static _Atomic uint64_t live_bytes;

/* What the C library set aside, which free() can ask again: no header of our own is needed. */
static size_t usable_bytes(void *pointer)
{
#ifdef __GLIBC__
    return malloc_usable_size(pointer);
#else
    (void)pointer;
    return 0;
#endif
}

static void *track(void *pointer)
{
    if (pointer)
        atomic_fetch_add_explicit(&live_bytes, usable_bytes(pointer), memory_order_relaxed);
    return pointer;
}

static void untrack(void *pointer)
{
    atomic_fetch_sub_explicit(&live_bytes, usable_bytes(pointer), memory_order_relaxed);
}

/* Counts the attempt; false if it is to fail, or if its size does not fit. */
static bool admit(size_t count, size_t size, size_t *total)
{
    uint64_t number = 1 + atomic_fetch_add_explicit(&n_allocations, 1, memory_order_relaxed);
    uint64_t first = atomic_load_explicit(&first_failing, memory_order_relaxed);

    return (first == 0 || number < first) && vindex__mul(count, size, total);
}

void *vindex__calloc(size_t count, size_t size)
{
    size_t total;
    if (!admit(count, size, &total)) return NULL;
    return track(calloc(1, total ? total : 1));
}

void *vindex__realloc(void *old, size_t count, size_t size)
{
    size_t old_bytes = old ? usable_bytes(old) : 0;
    size_t total;
    void *grown;

    if (!admit(count, size, &total)) return NULL;
    grown = realloc(old, total ? total : 1);
    if (!grown) return NULL;
    atomic_fetch_sub_explicit(&live_bytes, old_bytes, memory_order_relaxed);
    return track(grown);
}

void vindex__free(void *pointer)
{
    if (!pointer) return;
    untrack(pointer);
    free(pointer);
}

void *vindex__alloc_aligned(size_t count, size_t size)
{
    size_t total, padded;
    void *pointer = NULL;

    if (!admit(count, size, &total)) return NULL;
    if (!vindex__add(total ? total : 1, 63, &padded)) return NULL;
    if (posix_memalign(&pointer, 64, padded & ~(size_t)63) != 0) return NULL;
    return track(pointer);
}

void vindex__free_aligned(void *pointer)
{
    vindex__free(pointer);
}

bool vindex__grow(void **pointer, size_t *capacity, size_t need, size_t size)
{
    size_t wanted = *capacity;
    void *grown;

    if (need <= *capacity) return true;
    if (!vindex__add(wanted, wanted, &wanted) || wanted < need) wanted = need;
    if (wanted < 8) wanted = 8;
    grown = vindex__realloc(*pointer, wanted, size);
    if (!grown) return false;
    *pointer = grown;
    *capacity = wanted;
    return true;
}

void vindex__mem_fail_after(uint64_t n)
{
    uint64_t made = atomic_load_explicit(&n_allocations, memory_order_relaxed);
    atomic_store_explicit(&first_failing, n ? made + n : 0, memory_order_relaxed);
}

uint64_t vindex__mem_count(void)
{
    return atomic_load_explicit(&n_allocations, memory_order_relaxed);
}

uint64_t vindex__mem_live_bytes(void)
{
    return atomic_load_explicit(&live_bytes, memory_order_relaxed);
}
