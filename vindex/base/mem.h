/*
 * mem.h - the one way to the heap: sizes multiply with an overflow check, vectors are 64-byte aligned,
 * tests can make the n-th allocation fail.
 */
#ifndef VINDEX_BASE_MEM_H
#define VINDEX_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** count * size bytes, zeroed; NULL when out of memory or when the product overflows. Never NULL for
 *  count == 0. Free with vindex__free. */
void *vindex__calloc(size_t count, size_t size);

/** Grow or shrink to count * size bytes; NULL leaves `old` as it was. New bytes are unspecified. */
void *vindex__realloc(void *old, size_t count, size_t size);

void vindex__free(void *pointer);

/** 64-byte aligned, unspecified contents; free with vindex__free_aligned. */
void *vindex__alloc_aligned(size_t count, size_t size);
void vindex__free_aligned(void *pointer);

/**
 * Make room for at least `need` elements in a growing array: *pointer and *capacity are updated (by
 * doubling). Returns false when out of memory; the array is then unchanged.
 */
bool vindex__grow(void **pointer, size_t *capacity, size_t need, size_t size);

/** Tests: the n-th allocation from now (1 = the next) and all later ones fail; 0 = none. Process-wide. */
void vindex__mem_fail_after(uint64_t n);
/** Tests: allocations made since the process started. */
uint64_t vindex__mem_count(void);
/** Tests: bytes allocated through this file and not freed yet (0 where the C library cannot tell). */
uint64_t vindex__mem_live_bytes(void);

static inline bool vindex__mul(size_t a, size_t b, size_t *product)
{
    return !__builtin_mul_overflow(a, b, product);
}
static inline bool vindex__add(size_t a, size_t b, size_t *sum)
{
    return !__builtin_add_overflow(a, b, sum);
}

#endif
