/*
 * snapshot.c - build, share and retire snapshots; locate.c asks them. The bytes behind the pointers
 * belong to the block store (valid while the session's view lasts); the tail, the live bitmaps and the
 * arrays are ours.
 *
 *     snapshot_cache -> snapshot_body (refs) -> segment (refs, shared by successive snapshots)
 *                                            -> codes, model (refs, shared likewise: derived.h)
 *                                            -> tail (refs, shared while the catalog epoch stands: tail.h)
 */
#include "storage/snapshot.h"

#include "base/mem.h"
#include "base/status.h"
#include "storage/derived.h"
#include "storage/tail.h"

/* One segment's record; never changes once built. */
struct segment {
    atomic_uint refs;
    atomic_bool is_verified; /* its blocks' checksums were looked at in this process, */
    atomic_bool has_sound_ids; /* and before that the one of its ids */
    uint64_t seq;
    struct segment_record record;
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

struct snapshot_cache {
    pthread_mutex_t mutex;
    struct snapshot_body *current;
    struct tail_notes notes;
};

/* ---- lifetime ------------------------------------------------------------------------------ */

static void segment_unref(struct segment *segment)
{
    if (segment && atomic_fetch_sub(&segment->refs, 1) == 1) vindex__free(segment);
}

static void body_unref(struct snapshot_body *body)
{
    if (!body || atomic_fetch_sub(&body->refs, 1) != 1) return;
    for (uint32_t i = 0; body->segments && i < body->n_segments; i++)
        segment_unref(body->segments[i]);
    for (uint32_t i = 0; body->codes && i < body->n_segments; i++)
        vindex__codes_unref(body->codes[i]);
    vindex__tail_unref(body->tail);
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
    vindex__tail_notes_init(&(*cache)->notes);
    return VINDEX_OK;
}

void vindex__snapshot_cache_free(struct snapshot_cache *cache)
{
    if (!cache) return;
    body_unref(cache->current);
    vindex__tail_notes_deinit(&cache->notes);
    pthread_mutex_destroy(&cache->mutex);
    vindex__free(cache);
}

void vindex__snapshot_cache_clear(struct snapshot_cache *cache)
{
    pthread_mutex_lock(&cache->mutex);
    struct snapshot_body *old = cache->current;
    cache->current = NULL;
    vindex__tail_notes_clear(&cache->notes);
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
        vindex__tail_notes_served(&cache->notes, body->snapshot.state.mark);
    }
    pthread_mutex_unlock(&cache->mutex);
    body_unref(old);
}

void vindex__snapshot_note(struct store *store, uint64_t from, uint64_t to, const int64_t *ids,
                           size_t n)
{
    vindex__tail_notes_add(&vindex__store_snapshot_cache(store)->notes, from, to, ids, n);
}

/* ---- the catalog's part ------------------------------------------------------------------- */

/* The old snapshot's segment, if it has this very record: same nonce and same mark of last change. Reads
 * two fields of a record whose checksum matched when it was first decoded in this process. */
static struct segment *find_unchanged(const struct snapshot_body *old, uint32_t *cursor,
                                      uint64_t seq, struct bytes record)
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
    struct catalog_walk at = {.catalog = catalog, .table = TABLE_SEGMENTS};
    size_t capacity = 0;
    uint32_t cursor = 0;
    for (;;) {
        vindex_status st = vindex__walk_next(&at);
        if (st != VINDEX_OK || !at.value.data) return st;
        uint64_t seq = load_be64(at.key);
        if (seq == 0 || seq >= body->snapshot.state.next_seq)
            return vindex__corrupt("segment %llu has a number that was never given out",
                                   (unsigned long long)seq);
        if (!vindex__grow((void **)&body->segments, &capacity, body->n_segments + 1,
                          sizeof *body->segments))
            return vindex__nomem();
        struct segment *segment = find_unchanged(old, &cursor, seq, at.value);
        if (!segment) {
            st = segment_new(&body->snapshot.config, seq, at.value, &segment);
            if (st != VINDEX_OK) return st;
            if (cursor < (old ? old->n_segments : 0) && old->segments[cursor]->seq == seq &&
                memcmp(old->segments[cursor]->record.nonce, segment->record.nonce, NONCE_BYTES) ==
                    0)
                atomic_store(&segment->is_verified,
                             atomic_load(&old->segments[cursor]->is_verified));
        }
        body->segments[body->n_segments++] = segment;
    }
}

/* Codes come and go while the record of their segment stays: the table, one small entry a segment, is
 * read whenever the catalog moved. */
static vindex_status read_codes(struct catalog *catalog, const struct snapshot_body *old,
                                struct snapshot_body *body)
{
    uint32_t i = 0, cursor = 0, n_old = old && old->codes ? old->n_segments : 0;
    struct catalog_walk at = {.catalog = catalog, .table = TABLE_CODES};
    if (!body->model) return VINDEX_OK;
    body->codes = vindex__calloc(body->n_segments, sizeof *body->codes);
    if (!body->codes) return vindex__nomem();
    for (;;) {
        vindex_status st = vindex__walk_next(&at);
        if (st != VINDEX_OK || !at.value.data) return st;
        uint64_t seq = load_be64(at.key);
        while (i < body->n_segments && body->segments[i]->seq < seq)
            i++;
        if (i == body->n_segments) return VINDEX_OK;
        if (body->segments[i]->seq != seq) continue;
        while (cursor < n_old && old->segments[cursor]->seq < seq)
            cursor++;
        bool was_there = cursor < n_old && old->segments[cursor]->seq == seq;
        st = vindex__codes_acquire(at.value, &body->segments[i]->record, &body->model->model,
                                   was_there ? old->codes[cursor] : NULL, &body->codes[i]);
        if (st != VINDEX_OK) return st;
    }
}

static vindex_status read_tail(struct snapshot_cache *cache, struct catalog *catalog,
                               const struct snapshot_body *old, struct snapshot_body *body)
{
    const struct config *config = &body->snapshot.config;
    const struct state *state = &body->snapshot.state;
    vindex_status st = VINDEX_OK;
    if (old)
        st = vindex__tail_extend(&cache->notes, catalog, config, old->tail,
                                 old->snapshot.state.mark, state->mark, state->n_tail, &body->tail);
    if (st == VINDEX_OK && !body->tail)
        st = vindex__tail_read(catalog, config, state->n_tail, &body->tail);
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
        if (i < body->n_segments) {
            st = segment_part(store, &snapshot->config, body->segments[i], next, part);
            next += part->n_blocks;
            if (st == VINDEX_OK && body->codes && body->codes[i]) {
                st = part_with_codes(store, body, i, next);
                next += vindex__codes_blocks(body->codes[i], &snapshot->config);
            }
            if (st != VINDEX_OK) return st;
        } else {
            *part = body->tail->part;
        }
        part->base = snapshot->n_positions;
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
            st = read_tail(vindex__store_snapshot_cache(store), session->catalog, old, body);
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
