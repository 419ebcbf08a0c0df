/*
 * scratch.c - what a searcher keeps between calls: two regions of memory and a pool of threads.
 * They grow to what calls need, so a warm call allocates nothing.
 */
#include "search/call.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/status.h"

#define WORK_BYTES ((size_t)64 << 20)

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

/*
 * Wishes of benchmarks: VINDEX_ENGINE=scan|tile|c8|tile8|c4|p8 names the way to take where it can be
 * taken (the first two leave codes alone), VINDEX_TILE=blas the library that multiplies f32 tiles
 * (the SIMD engine is the faster one: tests/bench).
 */
static void read_wishes(struct search *search)
{
    static const char *const names[] = {[ENGINE_QUERY] = "scan",
                                        [ENGINE_TILE] = "tile",
                                        [ENGINE_C8] = "c8",
                                        [ENGINE_TILE8] = "tile8",
                                        [ENGINE_C4] = "c4",
                                        [ENGINE_P8] = "p8"};
    const char *engine = getenv("VINDEX_ENGINE"), *tile = getenv("VINDEX_TILE");
    const struct vkern_tile *blas = tile && !strcmp(tile, "blas") ? vkern_tile_blas() : NULL;

    search->tile = blas ? blas : search->kern->tile;
    for (int i = ENGINE_QUERY; engine && i <= ENGINE_P8; i++)
        if (!strcmp(engine, names[i])) search->forced = (enum engine)i;
}

vindex_status vindex__search_new(struct search **search)
{
    *search = vindex__calloc(1, sizeof **search);
    if (!*search) return vindex__nomem();
    (*search)->kern = vkern_get();
    (*search)->work_bytes = WORK_BYTES;
    read_wishes(*search);
    return VINDEX_OK;
}

void vindex__search_free(struct search *search)
{
    if (!search) return;
    vindex__pool_close(search->pool);
    vindex__free_aligned(search->mask_memory.memory);
    vindex__free_aligned(search->work_memory.memory);
    vindex__free_aligned(search->audit_memory.memory);
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
