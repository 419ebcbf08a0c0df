/*
 * scratch.c - what a searcher keeps between calls: two regions of memory and a pool of threads.
 * They grow to what calls need, so a warm call allocates nothing.
 */
#include "search/call.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/status.h"

void *vindex__arena_take(struct arena *arena, size_t count, size_t size)
{
    size_t bytes, end;
    char *at = arena->base ? arena->base + arena->used : NULL;
    if (!vindex__mul(count, size, &bytes) || !vindex__add(bytes, 63, &bytes) ||
        !vindex__add(arena->used, bytes / 64 * 64, &end)) {
        arena->overflow = true;
        return NULL;
    }
    arena->used = end;
    return bytes < 64 ? NULL : at; /* nothing asked for */
}

vindex_status vindex__region_need(struct region *region, size_t size)
{
    if (size <= region->size) return VINDEX_OK;
    vindex__free_aligned(region->memory);
    region->size = 0;
    region->memory = vindex__alloc_aligned(size, 1);
    if (!region->memory) return vindex__nomem();
    region->size = size;
    return VINDEX_OK;
}

/* VINDEX_TILE=blas lets benchmarks compare; the SIMD engine is the faster one (tests/bench). */
static const struct vkern_tile *choose_tile(const vkern_table *kern)
{
    const char *wish = getenv("VINDEX_TILE");
    const struct vkern_tile *blas = wish && !strcmp(wish, "blas") ? vkern_tile_blas() : NULL;
    return blas ? blas : kern->tile;
}

vindex_status vindex__search_new(struct search **search)
{
    *search = vindex__calloc(1, sizeof **search);
    if (!*search) return vindex__nomem();
    (*search)->kern = vkern_get();
    (*search)->tile = choose_tile((*search)->kern);
    return VINDEX_OK;
}

void vindex__search_free(struct search *search)
{
    if (!search) return;
    vindex__pool_close(search->pool);
    vindex__free_aligned(search->mask_memory.memory);
    vindex__free_aligned(search->work_memory.memory);
    vindex__free_aligned(search->device_memory.memory);
    vindex__free(search);
}

vindex_status vindex__search_pool(struct search *search, uint32_t n_threads)
{
    struct pool *pool = NULL;
    if (n_threads <= 1 || n_threads == search->n_threads) return VINDEX_OK;
    vindex_status st = vindex__pool_open(n_threads, &pool);
    if (st != VINDEX_OK) return st;
    vindex__pool_close(search->pool);
    search->pool = pool;
    search->n_threads = n_threads;
    return VINDEX_OK;
}
