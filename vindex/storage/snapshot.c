/*
 * snapshot.c - build, share and retire snapshots. The bytes behind the pointers belong to the block store
 * (valid while the session's view lasts); the tail, the live bitmaps and the arrays are ours.
 *
 *     snapshot_cache -> snapshot_body (refs) -> segment (refs, shared by successive snapshots)
 *                                            -> codes, model (refs, shared likewise: derived.h)
 *                                            -> tail (refs, shared while the catalog epoch stands)
 */
#include "storage/snapshot.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/mem.h"
#include "base/status.h"
#include "storage/derived.h"

/* One segment's record; never changes once built. */
struct segment {
    atomic_uint refs;
    atomic_bool is_verified; /* its blocks' checksums were looked at in this process, */
    atomic_bool has_sound_ids; /* and before that the one of its ids */
    uint64_t seq;
    struct segment_record record;
};

/*
 * Decoded tail rows. Slots are only ever appended, so that successive tails share them: each sees its own
 * first n, and its own live bits.
 */
struct arena {
    atomic_uint refs;
    uint32_t capacity;
    uint32_t used; /* under the cache's mutex: the slots that some tail sees */
    size_t stride;
    void *rows;
    int64_t *ids;
    float *norms;
};

struct tail {
    atomic_uint refs;
    uint32_t n, n_live;
    bool ids_ascend;
    int64_t min_id, max_id;
    float norm_lo, norm_hi;
    struct block block;
    uint64_t *live;
    struct arena *arena;
};

struct snapshot_body {
    atomic_uint refs;
    bool suspect;
    struct snapshot snapshot;
    struct part *parts;
    struct block *blocks; /* of all segments, in order: of plane `full`, then of codes */
    uint32_t n_segments;
    struct segment **segments;
    struct codes **codes;          /* of each segment: NULL where there are none that count */
    struct part_codes *part_codes; /* of each segment */
    struct model_copy *model;
    struct tail *tail; /* NULL when empty */
};

/* The ids whose tail records commits of this process touched, one commit after the other. */
#define NOTE_MAX 1024 /* more, and reading the whole tail is as fast */
#define NOTE_STEPS 64
struct note {
    uint64_t from[NOTE_STEPS]; /* marks: commit i led from from[i] to from[i + 1], the last one to `to` */
    size_t begin[NOTE_STEPS];  /* its first id */
    size_t n_steps;
    uint64_t to;
    size_t n;
    int64_t ids[NOTE_MAX];
};

struct snapshot_cache {
    pthread_mutex_t mutex;
    struct snapshot_body *current;
    struct note note;
};

/* ---- lifetime ------------------------------------------------------------------------------ */

static void segment_unref(struct segment *segment)
{
    if (segment && atomic_fetch_sub(&segment->refs, 1) == 1) vindex__free(segment);
}

static void arena_unref(struct arena *arena)
{
    if (!arena || atomic_fetch_sub(&arena->refs, 1) != 1) return;
    vindex__free_aligned(arena->rows);
    vindex__free(arena->ids);
    vindex__free(arena->norms);
    vindex__free(arena);
}

static void tail_unref(struct tail *tail)
{
    if (!tail || atomic_fetch_sub(&tail->refs, 1) != 1) return;
    arena_unref(tail->arena);
    vindex__free(tail->live);
    vindex__free(tail);
}

static void body_unref(struct snapshot_body *body)
{
    if (!body || atomic_fetch_sub(&body->refs, 1) != 1) return;
    for (uint32_t i = 0; body->segments && i < body->n_segments; i++)
        segment_unref(body->segments[i]);
    for (uint32_t i = 0; body->codes && i < body->n_segments; i++)
        vindex__codes_unref(body->codes[i]);
    tail_unref(body->tail);
    vindex__model_unref(body->model);
    vindex__free(body->segments);
    vindex__free(body->codes);
    vindex__free(body->part_codes);
    vindex__free(body->blocks);
    vindex__free(body->parts);
    vindex__free(body);
}

vindex_status vindex__snapshot_cache_new(struct snapshot_cache **cache)
{
    *cache = vindex__calloc(1, sizeof **cache);
    if (!*cache) return vindex__nomem();
    pthread_mutex_init(&(*cache)->mutex, NULL);
    return VINDEX_OK;
}

void vindex__snapshot_cache_free(struct snapshot_cache *cache)
{
    if (!cache) return;
    body_unref(cache->current);
    pthread_mutex_destroy(&cache->mutex);
    vindex__free(cache);
}

void vindex__snapshot_cache_clear(struct snapshot_cache *cache)
{
    pthread_mutex_lock(&cache->mutex);
    struct snapshot_body *old = cache->current;
    cache->current = NULL;
    cache->note.n_steps = 0;
    pthread_mutex_unlock(&cache->mutex);
    body_unref(old);
}

static struct snapshot_body *cache_take(struct snapshot_cache *cache)
{
    pthread_mutex_lock(&cache->mutex);
    struct snapshot_body *body = cache->current;
    if (body) atomic_fetch_add(&body->refs, 1);
    pthread_mutex_unlock(&cache->mutex);
    return body;
}

/* A reader that was slow to build must not replace what a later commit shows. */
static void cache_offer(struct snapshot_cache *cache, struct snapshot_body *body)
{
    struct snapshot_body *old = NULL;
    pthread_mutex_lock(&cache->mutex);
    if (!cache->current || cache->current->snapshot.state.epoch <= body->snapshot.state.epoch) {
        old = cache->current;
        cache->current = body;
        atomic_fetch_add(&body->refs, 1);
        if (cache->note.to == body->snapshot.state.mark) cache->note.n_steps = 0; /* served its turn */
    }
    pthread_mutex_unlock(&cache->mutex);
    body_unref(old);
}

/* ---- catalog -> segments and tail ---------------------------------------------------------- */

/* The old snapshot's segment, if it has this very record: same nonce and same mark of last change. Reads
 * two fields of a record whose checksum matched when it was first decoded in this process. */
static struct segment *find_unchanged(const struct snapshot_body *old, uint32_t *cursor, uint64_t seq,
                                      struct bytes record)
{
    if (!old || record.size < 32) return NULL;
    while (*cursor < old->n_segments && old->segments[*cursor]->seq < seq)
        ++*cursor;
    if (*cursor == old->n_segments || old->segments[*cursor]->seq != seq) return NULL;
    struct segment *segment = old->segments[*cursor];
    const unsigned char *r = record.data;
    if (memcmp(segment->record.nonce, r + 8, NONCE_BYTES) != 0 ||
        segment->record.mark != load_le64(r + 24))
        return NULL;
    atomic_fetch_add(&segment->refs, 1);
    return segment;
}

static vindex_status segment_new(const struct config *config, uint64_t seq, struct bytes record,
                                 struct segment **segment)
{
    *segment = vindex__calloc(1, sizeof **segment);
    if (!*segment) return vindex__nomem();
    atomic_init(&(*segment)->refs, 1);
    (*segment)->seq = seq;
    vindex_status st = vindex__segment_decode(record, config, &(*segment)->record);
    if (st != VINDEX_OK) {
        vindex__free(*segment);
        *segment = NULL;
    }
    return st;
}

static vindex_status read_segments(struct catalog *catalog, const struct snapshot_body *old,
                                   struct snapshot_body *body)
{
    unsigned char key[8] = {0};
    enum catalog_seek how = SEEK_GE;
    size_t capacity = 0;
    uint32_t cursor = 0;
    for (;;) {
        struct catalog_entry entry;
        vindex_status st = catalog_seek(catalog, TABLE_SEGMENTS, how, bytes_of(key, 8), &entry);
        if (st != VINDEX_OK || !entry.value.data) return st;
        if (entry.key.size != 8) return vindex__corrupt("a segment's key has %zu bytes", entry.key.size);
        memcpy(key, entry.key.data, 8);
        how = SEEK_GT;

        uint64_t seq = load_be64(key);
        if (seq == 0 || seq >= body->snapshot.state.next_seq)
            return vindex__corrupt("segment %llu has a number that was never given out",
                                   (unsigned long long)seq);
        if (!vindex__grow((void **)&body->segments, &capacity, body->n_segments + 1,
                          sizeof *body->segments))
            return vindex__nomem();
        struct segment *segment = find_unchanged(old, &cursor, seq, entry.value);
        if (!segment) {
            st = segment_new(&body->snapshot.config, seq, entry.value, &segment);
            if (st != VINDEX_OK) return st;
            if (cursor < (old ? old->n_segments : 0) && old->segments[cursor]->seq == seq &&
                memcmp(old->segments[cursor]->record.nonce, segment->record.nonce, NONCE_BYTES) == 0)
                atomic_store(&segment->is_verified, atomic_load(&old->segments[cursor]->is_verified));
        }
        body->segments[body->n_segments++] = segment;
    }
}

/* Codes come and go while the record of their segment stays: the table, one small entry a segment, is
 * read whenever the catalog moved. */
static vindex_status read_codes(struct catalog *catalog, const struct snapshot_body *old,
                                struct snapshot_body *body)
{
    unsigned char key[8] = {0};
    uint32_t at = 0, cursor = 0, n_old = old && old->codes ? old->n_segments : 0;
    if (!body->model) return VINDEX_OK;
    body->codes = vindex__calloc(body->n_segments, sizeof *body->codes);
    if (!body->codes) return vindex__nomem();
    for (enum catalog_seek how = SEEK_GE;; how = SEEK_GT) {
        struct catalog_entry entry;
        vindex_status st = catalog_seek(catalog, TABLE_CODES, how, bytes_of(key, 8), &entry);
        if (st != VINDEX_OK || !entry.value.data) return st;
        if (entry.key.size != 8)
            return vindex__corrupt("the key of a segment's codes has %zu bytes", entry.key.size);
        memcpy(key, entry.key.data, 8);
        uint64_t seq = load_be64(key);
        while (at < body->n_segments && body->segments[at]->seq < seq)
            at++;
        if (at == body->n_segments) return VINDEX_OK;
        if (body->segments[at]->seq != seq) continue;
        while (cursor < n_old && old->segments[cursor]->seq < seq)
            cursor++;
        bool was_there = cursor < n_old && old->segments[cursor]->seq == seq;
        st = vindex__codes_acquire(entry.value, &body->segments[at]->record, &body->model->model,
                                   was_there ? old->codes[cursor] : NULL, &body->codes[at]);
        if (st != VINDEX_OK) return st;
    }
}

static struct arena *arena_new(uint32_t capacity, size_t stride)
{
    struct arena *arena = vindex__calloc(1, sizeof *arena);
    if (!arena) return NULL;
    atomic_init(&arena->refs, 1);
    arena->capacity = capacity;
    arena->stride = stride;
    arena->rows = vindex__alloc_aligned(capacity, stride);
    arena->ids = vindex__calloc(capacity, sizeof *arena->ids);
    arena->norms = vindex__calloc(capacity, sizeof *arena->norms);
    if (!arena->rows || !arena->ids || !arena->norms) {
        arena_unref(arena);
        return NULL;
    }
    memset(arena->rows, 0, capacity * stride); /* what pads a row is zero */
    return arena;
}

/* An empty tail over an arena, which it takes; NULL: out of memory, or there is no arena. */
static struct tail *tail_new(struct arena *arena)
{
    struct tail *tail = arena ? vindex__calloc(1, sizeof *tail) : NULL;
    if (tail) tail->live = vindex__calloc(bitmap_words(arena->capacity), sizeof *tail->live);
    if (!tail || !tail->live) {
        arena_unref(arena);
        vindex__free(tail);
        return NULL;
    }
    atomic_init(&tail->refs, 1);
    tail->arena = arena;
    tail->ids_ascend = true;
    tail->block = (struct block){.rows = arena->rows, .stride = arena->stride};
    return tail;
}

/* The next slot; the caller knows that it is free. */
static void tail_append(struct tail *tail, int64_t id, float norm, const void *row, size_t row_bytes)
{
    struct arena *arena = tail->arena;
    uint32_t slot = tail->n++;
    memcpy((char *)arena->rows + slot * arena->stride, row, row_bytes);
    arena->ids[slot] = id;
    arena->norms[slot] = norm;
    if (slot == 0 || id < tail->min_id) tail->min_id = id;
    if (slot && id <= tail->max_id) tail->ids_ascend = false;
    if (slot == 0 || id > tail->max_id) tail->max_id = id;
    if (norm > tail->norm_hi) tail->norm_hi = norm;
    if (norm > 0 && (tail->norm_lo == 0 || norm < tail->norm_lo)) tail->norm_lo = norm;
    bitmap_set(tail->live, slot);
    tail->n_live++;
    tail->block.n = tail->n;
}

/* The whole tail, into an arena with room for some commits to come. */
static vindex_status read_tail(struct catalog *catalog, struct snapshot_body *body)
{
    const struct config *config = &body->snapshot.config;
    size_t row_bytes = vindex__config_row_bytes(config);
    uint64_t n = body->snapshot.state.n_tail;
    unsigned char key[8] = {0};
    if (n > SEGMENT_ROWS_MAX || n * row_bytes > SEGMENT_BYTES_MAX + row_bytes)
        return vindex__corrupt("the state record counts %llu tail rows", (unsigned long long)n);
    if (n) {
        uint32_t capacity = (uint32_t)(n + n / 4 + 64);
        body->tail = tail_new(arena_new(capacity, vindex__full_stride(row_bytes)));
        if (!body->tail) return vindex__nomem();
    }
    uint64_t found = 0;
    for (enum catalog_seek how = SEEK_GE;; how = SEEK_GT, found++) {
        struct catalog_entry entry;
        float norm;
        const void *row;
        vindex_status st = catalog_seek(catalog, TABLE_TAIL, how, bytes_of(key, 8), &entry);
        if (st != VINDEX_OK) return st;
        if (!entry.value.data) break;
        if (entry.key.size != 8 || found == n)
            return vindex__corrupt("the tail holds more than the %llu rows counted",
                                   (unsigned long long)n);
        memcpy(key, entry.key.data, 8);
        st = vindex__tail_decode(entry.value, config, &norm, &row);
        if (st != VINDEX_OK) return st;
        tail_append(body->tail, load_id_key(key), norm, row, row_bytes);
    }
    if (found != n)
        return vindex__corrupt("the tail holds %llu rows, %llu were counted", (unsigned long long)found,
                               (unsigned long long)n);
    if (body->tail) body->tail->arena->used = body->tail->n;
    return VINDEX_OK;
}

/* ---- a tail from the one before ---------------------------------------------------------------- */

void vindex__snapshot_note(struct store *store, uint64_t from, uint64_t to, const int64_t *ids, size_t n)
{
    struct snapshot_cache *cache = vindex__store_snapshot_cache(store);
    struct note *note = &cache->note;
    pthread_mutex_lock(&cache->mutex);
    if (note->n_steps == 0 || note->n_steps == NOTE_STEPS || note->to != from || n > NOTE_MAX - note->n)
        note->n_steps = note->n = 0;
    if (n <= NOTE_MAX) {
        note->from[note->n_steps] = from;
        note->begin[note->n_steps++] = note->n;
        note->to = to;
        if (n) memcpy(note->ids + note->n, ids, n * sizeof *ids);
        note->n += n;
    }
    pthread_mutex_unlock(&cache->mutex);
}

/* Where the ids noted since `from` begin, or SIZE_MAX. */
static size_t find_note(const struct note *note, uint64_t from, uint64_t to)
{
    for (size_t i = 0; note->to == to && i < note->n_steps; i++)
        if (note->from[i] == from) return note->begin[i];
    return SIZE_MAX;
}

/* Reserve slots after the old tail's last for the ids noted between two marks. Returns how many there are,
 * or SIZE_MAX: not known, no room, or another extension took them. ids has room for NOTE_MAX. */
static size_t reserve(struct snapshot_cache *cache, const struct snapshot_body *old, uint64_t to,
                      int64_t *ids)
{
    const struct note *note = &cache->note;
    struct arena *arena = old->tail->arena;
    size_t n = SIZE_MAX;
    pthread_mutex_lock(&cache->mutex);
    size_t begin = find_note(note, old->snapshot.state.mark, to);
    if (begin != SIZE_MAX && arena->used == old->tail->n &&
        note->n - begin <= arena->capacity - arena->used) {
        n = note->n - begin;
        memcpy(ids, note->ids + begin, n * sizeof *ids);
        arena->used += (uint32_t)n;
    }
    pthread_mutex_unlock(&cache->mutex);
    return n;
}

/* Take back what of a reservation was not needed, if it is still the last one. */
static void give_back(struct snapshot_cache *cache, struct arena *arena, uint32_t reserved, uint32_t n)
{
    pthread_mutex_lock(&cache->mutex);
    if (arena->used == reserved) arena->used = n;
    pthread_mutex_unlock(&cache->mutex);
}

static struct tail *tail_copy(const struct tail *old)
{
    atomic_fetch_add(&old->arena->refs, 1);
    struct tail *tail = tail_new(old->arena);
    if (!tail) return NULL;
    memcpy(tail->live, old->live, bitmap_words(old->arena->capacity) * sizeof *tail->live);
    tail->n = old->n;
    tail->n_live = old->n_live;
    tail->ids_ascend = old->ids_ascend;
    tail->min_id = old->min_id;
    tail->max_id = old->max_id;
    tail->norm_lo = old->norm_lo;
    tail->norm_hi = old->norm_hi;
    tail->block = old->block;
    return tail;
}

static void tail_remove(struct tail *tail, int64_t id)
{
    for (uint32_t slot = 0; slot < tail->n; slot++) {
        if (tail->arena->ids[slot] != id || !bitmap_get(tail->live, slot)) continue;
        bitmap_clear(tail->live, slot);
        tail->n_live--;
        return;
    }
}

/* What the catalog holds now for an id that was touched. */
static vindex_status tail_update(struct catalog *catalog, const struct config *config,
                                 struct tail *tail, int64_t id)
{
    unsigned char key[8];
    struct catalog_entry entry;
    float norm;
    const void *row;
    tail_remove(tail, id);
    store_id_key(key, id);
    vindex_status st = catalog_get(catalog, TABLE_TAIL, bytes_of(key, 8), &entry);
    if (st != VINDEX_OK || !entry.value.data) return st;
    st = vindex__tail_decode(entry.value, config, &norm, &row);
    if (st == VINDEX_OK) tail_append(tail, id, norm, row, vindex__config_row_bytes(config));
    return st;
}

/*
 * The old tail with the ids that were noted since looked up again. body->tail stays NULL where that cannot be
 * done or would not agree with the count: the caller then reads all of it.
 */
static vindex_status extend_tail(struct snapshot_cache *cache, struct catalog *catalog,
                                 const struct snapshot_body *old, struct snapshot_body *body)
{
    const struct state *state = &body->snapshot.state;
    vindex_status st = VINDEX_OK;
    if (!old || !old->tail || old->tail->n_live < old->tail->n / 2) return VINDEX_OK;
    int64_t *ids = vindex__calloc(NOTE_MAX, sizeof *ids);
    if (!ids) return vindex__nomem();
    size_t n = reserve(cache, old, state->mark, ids);
    if (n == SIZE_MAX) goto out;

    uint32_t reserved = old->tail->n + (uint32_t)n;
    struct tail *tail = tail_copy(old->tail);
    if (!tail) st = vindex__nomem();
    for (size_t i = 0; i < n && st == VINDEX_OK; i++)
        st = tail_update(catalog, &body->snapshot.config, tail, ids[i]);
    give_back(cache, old->tail->arena, reserved, st == VINDEX_OK ? tail->n : old->tail->n);
    if (st == VINDEX_OK && tail->n_live == state->n_tail && tail->n_live > 0)
        body->tail = tail;
    else
        tail_unref(tail);
out:
    vindex__free(ids);
    return st;
}

/* Only blocks moved: the catalog says what it said before. */
static vindex_status share_catalog_part(const struct snapshot_body *old, struct snapshot_body *body)
{
    body->segments = vindex__calloc(old->n_segments, sizeof *body->segments);
    if (old->codes) body->codes = vindex__calloc(old->n_segments, sizeof *body->codes);
    if (!body->segments || (old->codes && !body->codes)) return vindex__nomem();
    for (uint32_t i = 0; i < old->n_segments; i++) {
        body->segments[i] = old->segments[i];
        atomic_fetch_add(&body->segments[i]->refs, 1);
        if (!old->codes || !old->codes[i]) continue;
        body->codes[i] = old->codes[i];
        atomic_fetch_add(&body->codes[i]->refs, 1);
    }
    body->n_segments = old->n_segments;
    body->model = old->model;
    if (body->model) atomic_fetch_add(&body->model->refs, 1);
    body->tail = old->tail;
    if (body->tail) atomic_fetch_add(&body->tail->refs, 1);
    return VINDEX_OK;
}

/* ---- block pointers ------------------------------------------------------------------------ */

static uint32_t n_full_blocks(const struct segment_record *record)
{
    return (record->n + record->rows_per_block - 1) / record->rows_per_block;
}

/* One block of a segment, its header checked against what the segment's record says it must be. */
static vindex_status lookup(struct blocks *blocks, const struct config *config,
                            const struct segment *segment, enum plane plane, uint32_t index,
                            uint32_t first, uint32_t n, const void **payload)
{
    struct block_key key = {.plane = (uint16_t)plane, .index = index};
    struct block_header header;
    struct bytes value;
    memcpy(key.nonce, segment->record.nonce, NONCE_BYTES);
    vindex_status st = blocks_get(blocks, &key, &value);
    if (st != VINDEX_OK) return st;
    if (!value.data)
        return vindex__corrupt("block %u of plane %d of segment %llu is missing", index, (int)plane,
                               (unsigned long long)segment->seq);
    st = vindex__block_decode(value, config, false, &header);
    if (st != VINDEX_OK) return st;
    if (header.plane != plane || header.first != first || header.n != n ||
        memcmp(header.nonce, segment->record.nonce, NONCE_BYTES) != 0)
        return vindex__corrupt("block %u of plane %d of segment %llu belongs elsewhere", index,
                               (int)plane, (unsigned long long)segment->seq);
    *payload = (const char *)value.data + BLOCK_HEADER_BYTES;
    return VINDEX_OK;
}

static vindex_status segment_part(struct blocks *store, const struct config *config,
                                  struct segment *segment, struct block *blocks, struct part *part)
{
    const struct segment_record *record = &segment->record;
    part->blocks = blocks;
    part->n_blocks = n_full_blocks(record);
    for (uint32_t i = 0; i < part->n_blocks; i++) {
        uint32_t first = i * record->rows_per_block;
        uint32_t left = record->n - first;
        uint32_t n = left < record->rows_per_block ? left : record->rows_per_block;
        const void *rows = NULL;
        vindex_status st = lookup(store, config, segment, PLANE_FULL, i, first, n, &rows);
        if (st != VINDEX_OK) return st;
        blocks[i] = (struct block){.rows = rows, .stride = record->stride, .n = n, .first = first};
    }
    vindex_status st = lookup(store, config, segment, PLANE_IDS, 0, 0, record->n, &part->ids);
    if (st == VINDEX_OK && config->type != VINDEX_BIT)
        st = lookup(store, config, segment, PLANE_NORM, 0, 0, record->n, &part->norms);
    part->n = record->n;
    part->n_live = record->n_live;
    part->ids_ascend = record->flags & SEGMENT_IDS_ASCEND;
    part->live = record->live;
    part->norm_lo = record->norm_lo;
    part->norm_hi = record->norm_hi;
    part->min_id = record->min_id;
    part->max_id = record->max_id;
    part->seq = segment->seq;
    part->nonce = record->nonce;
    part->segment = segment;
    return st;
}

static void tail_part(const struct config *config, struct tail *tail, struct part *part)
{
    *part = (struct part){
        .blocks = &tail->block,
        .n_blocks = 1,
        .n = tail->n,
        .n_live = tail->n_live,
        .ids_ascend = tail->ids_ascend,
        .is_tail = true,
        .base = part->base,
        .ids = tail->arena->ids,
        .norms = config->type == VINDEX_BIT ? NULL : tail->arena->norms,
        .live = tail->live,
        .norm_lo = tail->norm_lo,
        .norm_hi = tail->norm_hi,
        .min_id = tail->min_id,
        .max_id = tail->max_id,
    };
}

/* The codes of a segment's part, if they are all there. */
static vindex_status part_with_codes(struct blocks *store, struct snapshot_body *body, size_t i,
                                     struct block *blocks)
{
    bool is_whole = false;
    vindex_status st = vindex__codes_lookup(store, &body->snapshot.config, body->codes[i], blocks,
                                            &body->part_codes[i], &is_whole);
    if (is_whole) body->parts[i].codes = &body->part_codes[i];
    return st;
}

static vindex_status alloc_parts(struct snapshot_body *body, size_t n_parts)
{
    size_t n_blocks = 0;
    for (uint32_t i = 0; i < body->n_segments; i++) {
        n_blocks += n_full_blocks(&body->segments[i]->record);
        if (body->codes && body->codes[i])
            n_blocks += vindex__codes_blocks(body->codes[i], &body->snapshot.config);
    }
    body->parts = vindex__calloc(n_parts, sizeof *body->parts);
    body->blocks = vindex__calloc(n_blocks, sizeof *body->blocks);
    if (body->codes) body->part_codes = vindex__calloc(body->n_segments, sizeof *body->part_codes);
    if (!body->parts || !body->blocks || (body->codes && !body->part_codes)) return vindex__nomem();
    return VINDEX_OK;
}

static vindex_status build_parts(struct blocks *store, struct snapshot_body *body)
{
    struct snapshot *snapshot = &body->snapshot;
    size_t n_parts = body->n_segments + (body->tail ? 1u : 0u);
    vindex_status st = alloc_parts(body, n_parts);
    if (st != VINDEX_OK) return st;

    struct block *next = body->blocks;
    for (size_t i = 0; i < n_parts; i++) {
        struct part *part = &body->parts[i];
        part->base = snapshot->n_positions;
        if (i < body->n_segments) {
            st = segment_part(store, &snapshot->config, body->segments[i], next, part);
            next += part->n_blocks;
            if (st == VINDEX_OK && body->codes && body->codes[i]) {
                st = part_with_codes(store, body, i, next);
                next += vindex__codes_blocks(body->codes[i], &snapshot->config);
            }
            if (st != VINDEX_OK) return st;
        } else {
            tail_part(&snapshot->config, body->tail, part);
        }
        if (part->max_id >= snapshot->state.next_id && part->max_id != INT64_MAX)
            return vindex__corrupt("id %lld was never given out", (long long)part->max_id);
        snapshot->n_positions += part->n;
        snapshot->n_live += part->n_live;
    }
    if (body->model) snapshot->model = &body->model->model;
    snapshot->parts = body->parts;
    snapshot->n_parts = (uint32_t)n_parts;
    if (snapshot->n_live != snapshot->state.n_rows)
        return vindex__corrupt("the segments and the tail hold %llu rows, %llu were counted",
                               (unsigned long long)snapshot->n_live,
                               (unsigned long long)snapshot->state.n_rows);
    return VINDEX_OK;
}

/* ---- the door ------------------------------------------------------------------------------ */

static vindex_status body_build(struct store *store, struct session *session, uint64_t stamp,
                                const struct snapshot_body *old, struct snapshot_body **out)
{
    struct snapshot_body *body = vindex__calloc(1, sizeof *body);
    vindex_status st = VINDEX_OK;
    if (!body) return vindex__nomem();
    atomic_init(&body->refs, 1);
    body->suspect = vindex__store_suspect(store);
    body->snapshot.stamp = stamp;
    body->snapshot.body = body;

    st = vindex__read_head(session->catalog, &body->snapshot.config, &body->snapshot.state);
    if (st != VINDEX_OK) goto out;
    if (old && old->snapshot.state.mark == body->snapshot.state.mark) {
        st = share_catalog_part(old, body);
    } else {
        st = vindex__model_acquire(session, &body->snapshot.config, old ? old->model : NULL,
                                   &body->model);
        if (st == VINDEX_OK) st = read_segments(session->catalog, old, body);
        if (st == VINDEX_OK) st = read_codes(session->catalog, old, body);
        if (st == VINDEX_OK)
            st = extend_tail(vindex__store_snapshot_cache(store), session->catalog, old, body);
        if (st == VINDEX_OK && !body->tail) st = read_tail(session->catalog, body);
    }
    catalog_settle(session->catalog);
    if (st == VINDEX_OK) st = build_parts(session->blocks, body);
out:
    if (st != VINDEX_OK) {
        body_unref(body);
        body = NULL;
    }
    *out = body;
    return st;
}

vindex_status vindex__snapshot_acquire(struct store *store, struct session *session,
                                       const struct snapshot **snapshot)
{
    struct snapshot_cache *cache = vindex__store_snapshot_cache(store);
    struct snapshot_body *body = NULL, *old = NULL;
    uint64_t stamp = 0;
    *snapshot = NULL;
    vindex_status st = vindex__store_check_fork(store);
    if (st != VINDEX_OK) return st;
    st = catalog_refresh(session->catalog, &stamp);
    if (st != VINDEX_OK) goto out;

    old = cache_take(cache);
    if (old && old->snapshot.stamp == stamp) {
        catalog_settle(session->catalog);
        body = old;
        old = NULL;
    } else {
        st = body_build(store, session, stamp, old, &body);
        if (st == VINDEX_OK) cache_offer(cache, body);
    }
out:
    body_unref(old);
    if (st != VINDEX_OK)
        catalog_release(session->catalog);
    else
        *snapshot = &body->snapshot;
    return st;
}

void vindex__snapshot_release(struct store *store, struct session *session,
                              const struct snapshot *snapshot)
{
    (void)store;
    if (!snapshot) return;
    catalog_release(session->catalog);
    body_unref(snapshot->body);
}

const struct part *vindex__snapshot_find(const struct snapshot *snapshot, uint64_t position)
{
    uint32_t low = 0, high = snapshot->n_parts;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (snapshot->parts[middle].base <= position)
            low = middle;
        else
            high = middle;
    }
    return &snapshot->parts[low];
}

/* The first slot of an ascending part whose id is >= id. */
static uint32_t lower_slot(const struct part *part, int64_t id)
{
    uint32_t low = 0, high = part->n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (part_id(part, middle) < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool part_locate(const struct part *part, int64_t id, uint32_t *slot)
{
    if (id < part->min_id || id > part->max_id) return false;
    if (part->ids_ascend) {
        *slot = lower_slot(part, id);
        return *slot < part->n && part_id(part, *slot) == id && bitmap_get(part->live, *slot);
    }
    for (*slot = 0; *slot < part->n; ++*slot)
        if (part_id(part, *slot) == id && bitmap_get(part->live, *slot)) return true;
    return false;
}

uint64_t vindex__rows_since(const struct snapshot *snapshot, uint64_t seq)
{
    uint64_t n = 0;
    for (uint32_t i = snapshot->n_parts; i > 0; i--) {
        const struct part *part = &snapshot->parts[i - 1];
        if (part->is_tail) continue;
        if (part->seq < seq) break;
        n += part->n_live;
    }
    return n;
}

struct row_place vindex__snapshot_locate(const struct snapshot *snapshot, int64_t id)
{
    struct row_place place = {NULL, 0};
    for (uint32_t i = snapshot->n_parts; i-- > 0;) {
        if (part_locate(&snapshot->parts[i], id, &place.slot)) {
            place.part = &snapshot->parts[i];
            return place;
        }
    }
    return place;
}

static vindex_status verify_segment(const struct config *config, const struct part *part)
{
    struct segment *segment = part->segment;
    if (atomic_load_explicit(&segment->is_verified, memory_order_acquire)) return VINDEX_OK;
    vindex_status st = VINDEX_OK;
    for (uint32_t i = 0; i < part->n_blocks && st == VINDEX_OK; i++)
        st = vindex__verify_payload(config, part->blocks[i].rows,
                                    part->blocks[i].n * part->blocks[i].stride);
    if (st == VINDEX_OK) st = vindex__verify_payload(config, part->ids, 8 * (size_t)part->n);
    if (st == VINDEX_OK && part->norms)
        st = vindex__verify_payload(config, part->norms, 4 * (size_t)part->n);
    if (st == VINDEX_OK) atomic_store_explicit(&segment->is_verified, true, memory_order_release);
    return st;
}

static bool is_suspect(const struct snapshot *snapshot, const struct part *part)
{
    return snapshot->body && snapshot->body->suspect && part->segment;
}

vindex_status vindex__part_touch_ids(const struct snapshot *snapshot, const struct part *part)
{
    if (!is_suspect(snapshot, part) ||
        atomic_load_explicit(&part->segment->has_sound_ids, memory_order_acquire))
        return VINDEX_OK;
    vindex_status st =
        vindex__verify_payload(&snapshot->config, part->ids, 8 * (size_t)part->n);
    if (st == VINDEX_OK)
        atomic_store_explicit(&part->segment->has_sound_ids, true, memory_order_release);
    return st;
}

vindex_status vindex__part_touch(const struct snapshot *snapshot, const struct part *part)
{
    const struct config *config = &snapshot->config;
    if (!is_suspect(snapshot, part)) return VINDEX_OK;
    vindex_status st = verify_segment(config, part);
    return st == VINDEX_OK && part->codes ? vindex__codes_verify(config, part->codes) : st;
}
