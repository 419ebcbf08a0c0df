/*
 * blocks_mem.c - the blocks of the store ":memory:": each on the heap, put by a session into a map of its
 * own and moved to the store's at commit. An early write would save nothing here, so there are no orphans.
 */
#include "base/mem.h"
#include "base/status.h"
#include "storage/session_mem.h"

enum { BLOCK_KEY_BYTES = NONCE_BYTES + 2 + 4, VALUE_AT = 16 };
#define NO_TAG UINT32_MAX

static struct mem_session *of_blocks(struct blocks *b)
{
    return (struct mem_session *)(void *)((char *)b - offsetof(struct mem_session, blocks));
}

static struct bytes encode_key(const struct block_key *key, unsigned char out[BLOCK_KEY_BYTES])
{
    memcpy(out, key->nonce, NONCE_BYTES);
    out[16] = (unsigned char)(key->plane >> 8);
    out[17] = (unsigned char)key->plane;
    store_be32(out + 18, key->index);
    return bytes_of(out, BLOCK_KEY_BYTES);
}

static void decode_key(struct bytes raw, struct block_key *key)
{
    const unsigned char *k = raw.data;
    memcpy(key->nonce, k, NONCE_BYTES);
    key->plane = (uint16_t)(k[16] << 8 | k[17]);
    key->index = load_be32(k + 18);
}

/* ---- blocks on the heap ------------------------------------------------------------------ */

static struct mem_block *block_of(const struct ordmap_entry *entry)
{
    struct mem_block *block;
    memcpy(&block, entry->value.data, sizeof block);
    return block;
}

static vindex_status block_new(struct bytes value, struct mem_block **result)
{
    struct mem_block *block = vindex__calloc(1, sizeof *block);

    *result = NULL;
    if (block) block->heap = vindex__alloc_aligned(VALUE_AT + value.size, 1);
    if (!block || !block->heap) {
        vindex__free(block);
        return vindex__nomem();
    }
    block->size = value.size;
    if (value.size) memcpy(block->heap + VALUE_AT, value.data, value.size);
    *result = block;
    return VINDEX_OK;
}

static void block_free(struct mem_block *block)
{
    vindex__free_aligned(block->heap);
    vindex__free(block);
}

void vindex__mem_blocks_free_all(struct ordmap *blocks)
{
    const struct ordmap_entry *e = vindex__ordmap_seek(blocks, bytes_of(NULL, 0), false);
    for (; e; e = vindex__ordmap_next(e))
        block_free(block_of(e));
    vindex__ordmap_clear(blocks);
}

void vindex__mem_blocks_forget(struct mem_session *s)
{
    vindex__mem_blocks_free_all(s->puts);
    vindex__ordmap_clear(s->dels);
}

/* ---- commit ------------------------------------------------------------------------------ */

static void kill_block(struct mem_store *store, const struct ordmap_entry *entry)
{
    struct mem_block *block = block_of(entry);
    if (block->died) return;
    block->died = store->stamp;
    block->key = entry->key;
    block->next_dead = store->dead;
    store->dead = block;
    store->live_bytes -= block->size;
    store->dead_bytes += block->size;
}

void vindex__mem_blocks_publish(struct mem_session *s)
{
    struct mem_store *store = s->store;
    const struct ordmap_entry *e = vindex__ordmap_seek(s->puts, bytes_of(NULL, 0), false);

    for (; e; e = vindex__ordmap_next(e)) {
        block_of(e)->born = store->stamp;
        store->live_bytes += block_of(e)->size;
    }
    vindex__ordmap_absorb(store->blocks, s->puts, NO_TAG);
    for (e = vindex__ordmap_seek(s->dels, bytes_of(NULL, 0), false); e;
         e = vindex__ordmap_next(e)) {
        const struct ordmap_entry *there = vindex__ordmap_get(store->blocks, e->key);
        if (there) kill_block(store, there);
    }
    vindex__ordmap_clear(s->dels);
}

/* The oldest view that is held. */
static uint64_t oldest_view(const struct mem_store *store)
{
    uint64_t oldest = UINT64_MAX;
    for (const struct mem_session *s = store->sessions; s; s = s->next)
        if (s->has_view && s->stamp < oldest) oldest = s->stamp;
    return oldest;
}

void vindex__mem_blocks_sweep(struct mem_store *store)
{
    struct mem_block **link = &store->dead;
    uint64_t oldest;

    if (!store->dead) return;
    oldest = oldest_view(store);
    while (*link) {
        struct mem_block *block = *link;
        if (block->died > oldest) {
            link = &block->next_dead;
            continue;
        }
        *link = block->next_dead;
        store->dead_bytes -= block->size;
        vindex__ordmap_delete(store->blocks, block->key);
        block_free(block);
    }
}

/* ---- the interface ----------------------------------------------------------------------- */

static vindex_status check_writer(const struct mem_session *s)
{
    vindex_status st = vindex__mem_store_check_fork(s->store);
    if (st != VINDEX_OK || s->is_writer) return st;
    return vindex__fail(VINDEX_MISUSE, "a session opened for reading cannot write");
}

static vindex_status check_view(const struct mem_session *s)
{
    if (s->has_view) return VINDEX_OK;
    return vindex__fail(VINDEX_MISUSE, "a session reads only between refresh and release");
}

static bool is_in_store(struct mem_session *s, struct bytes key)
{
    bool is_there;
    pthread_mutex_lock(&s->store->mutex);
    is_there = vindex__ordmap_get(s->store->blocks, key) != NULL;
    pthread_mutex_unlock(&s->store->mutex);
    return is_there;
}

static vindex_status mem_put(struct blocks *b, const struct block_key *key, struct bytes value)
{
    struct mem_session *s = of_blocks(b);
    unsigned char raw[BLOCK_KEY_BYTES];
    struct bytes whole = encode_key(key, raw);
    struct mem_block *block = NULL;
    vindex_status st = check_writer(s);

    if (st != VINDEX_OK) return st;
    if (value.size > BLOCK_BYTES)
        return vindex__fail(VINDEX_INTERNAL, "a block of %zu bytes is too long", value.size);
    if (vindex__ordmap_get(s->puts, whole) || is_in_store(s, whole))
        return vindex__fail(VINDEX_INTERNAL, "a block was put twice");
    st = block_new(value, &block);
    if (st == VINDEX_OK) st = vindex__ordmap_put(s->puts, whole, bytes_of(&block, sizeof block), 0);
    if (st != VINDEX_OK && block) block_free(block);
    return st;
}

static bool is_visible(const struct mem_block *block, uint64_t stamp)
{
    return block->born <= stamp && (block->died == 0 || block->died > stamp);
}

static vindex_status mem_get(struct blocks *b, const struct block_key *key, struct bytes *value)
{
    struct mem_session *s = of_blocks(b);
    unsigned char raw[BLOCK_KEY_BYTES];
    struct bytes whole = encode_key(key, raw);
    const struct ordmap_entry *e;
    vindex_status st = check_view(s);

    *value = bytes_of(NULL, 0);
    if (st != VINDEX_OK) return st;
    pthread_mutex_lock(&s->store->mutex);
    e = vindex__ordmap_get(s->store->blocks, whole);
    if (e && is_visible(block_of(e), s->stamp))
        *value = bytes_of(block_of(e)->heap + VALUE_AT, block_of(e)->size);
    pthread_mutex_unlock(&s->store->mutex);
    return VINDEX_OK;
}

static vindex_status mem_del(struct blocks *b, const struct block_key *key)
{
    struct mem_session *s = of_blocks(b);
    unsigned char raw[BLOCK_KEY_BYTES];
    struct bytes whole = encode_key(key, raw);
    const struct ordmap_entry *pending;
    vindex_status st = check_writer(s);

    if (st != VINDEX_OK) return st;
    pending = vindex__ordmap_get(s->puts, whole);
    if (!pending) return vindex__ordmap_put(s->dels, whole, bytes_of(NULL, 0), 0);
    block_free(block_of(pending));
    vindex__ordmap_delete(s->puts, whole);
    return VINDEX_OK;
}

static vindex_status mem_next(struct blocks *b, struct block_key *key, bool *found)
{
    struct mem_session *s = of_blocks(b);
    unsigned char raw[BLOCK_KEY_BYTES];
    struct bytes whole = encode_key(key, raw);
    const struct ordmap_entry *e;
    vindex_status st = check_view(s);

    *found = false;
    if (st != VINDEX_OK) return st;
    pthread_mutex_lock(&s->store->mutex);
    e = vindex__ordmap_seek(s->store->blocks, whole, true);
    while (e && !is_visible(block_of(e), s->stamp))
        e = vindex__ordmap_next(e);
    if (e) decode_key(e->key, key);
    *found = e != NULL;
    pthread_mutex_unlock(&s->store->mutex);
    return VINDEX_OK;
}

static vindex_status mem_sync(struct blocks *b)
{
    return check_writer(of_blocks(b)); /* there is nothing more lasting than the heap */
}

const struct blocks_ops vindex__mem_blocks_ops = {
    .put = mem_put,
    .get = mem_get,
    .del = mem_del,
    .next = mem_next,
    .sync = mem_sync,
};
