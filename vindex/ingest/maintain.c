/*
 * maintain.c - give space back: rewrite segments with many dead rows, merge small ones, delete blocks that no
 * record names. Rewriting moves live rows into the transaction's buffer; sealing does the rest.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "base/status.h"
#include "base/threads.h"
#include "ingest/internal.h"

/* A segment is due when more than a quarter of it is dead: space amplification stays below 4/3. */
static bool is_mostly_dead(const struct segment_record *record)
{
    return record->n - record->n_live > record->n / 4;
}

/* ---- orphans ------------------------------------------------------------------------------------ */

static int compare_nonces(const void *a, const void *b)
{
    return memcmp(a, b, NONCE_BYTES);
}

struct nonces {
    unsigned char *items;
    size_t n, capacity;
};

static vindex_status add_nonce(struct nonces *nonces, const unsigned char nonce[NONCE_BYTES])
{
    if (!vindex__grow((void **)&nonces->items, &nonces->capacity, nonces->n + 1, NONCE_BYTES))
        return vindex__nomem();
    memcpy(nonces->items + NONCE_BYTES * nonces->n++, nonce, NONCE_BYTES);
    return VINDEX_OK;
}

/* The nonce in a record of one of the kinds that name blocks. */
static vindex_status nonce_of(struct ingest *in, enum catalog_table table, struct bytes record,
                              unsigned char nonce[NONCE_BYTES])
{
    struct segment_record segment;
    struct codes_record codes;
    vindex_status st = table == TABLE_SEGMENTS ? vindex__segment_decode(record, &in->config, &segment)
                                               : vindex__codes_decode(record, &codes);
    if (st == VINDEX_OK)
        memcpy(nonce, table == TABLE_SEGMENTS ? segment.nonce : codes.nonce, NONCE_BYTES);
    return st;
}

/* A damaged record of derived planes keeps no block: they are made anew. */
static bool names_nothing(enum catalog_table table, vindex_status st)
{
    return st == VINDEX_CORRUPT && table != TABLE_SEGMENTS;
}

static vindex_status read_table(struct ingest *in, enum catalog_table table, struct nonces *nonces)
{
    unsigned char nonce[NONCE_BYTES];
    struct catalog_walk at = {.catalog = in->session->catalog, .table = table};
    for (;;) {
        vindex_status st = vindex__walk_next(&at);
        if (st != VINDEX_OK || !at.value.data) return st;
        st = nonce_of(in, table, at.value, nonce);
        if (names_nothing(table, st)) continue;
        if (st == VINDEX_OK) st = add_nonce(nonces, nonce);
        if (st != VINDEX_OK) return st;
    }
}

static vindex_status read_single(struct ingest *in, const char *name, struct nonces *nonces)
{
    struct catalog_entry entry;
    struct model_record model;
    struct audits_record audits;
    bool is_model = strcmp(name, "model") == 0;
    vindex_status st =
        catalog_get(in->session->catalog, TABLE_CONFIG, bytes_of(name, strlen(name)), &entry);
    if (st != VINDEX_OK || !entry.value.data) return st;
    st = is_model ? vindex__model_decode(entry.value, &model) : vindex__audits_decode(entry.value, &audits);
    if (names_nothing(TABLE_CONFIG, st)) return VINDEX_OK;
    return st == VINDEX_OK ? add_nonce(nonces, is_model ? model.nonce : audits.nonce) : st;
}

/* Nonces of all segments, their codes, the model and the audits, sorted. */
static vindex_status read_nonces(struct ingest *in, struct nonces *nonces)
{
    vindex_status st = read_table(in, TABLE_SEGMENTS, nonces);
    if (st == VINDEX_OK) st = read_table(in, TABLE_CODES, nonces);
    if (st == VINDEX_OK) st = read_single(in, "model", nonces);
    if (st == VINDEX_OK) st = read_single(in, "audits", nonces);
    if (nonces->n) qsort(nonces->items, nonces->n, NONCE_BYTES, compare_nonces);
    return st;
}

vindex_status vindex__collect_orphans(struct ingest *in)
{
    struct block_key key = {.plane = 0};
    struct nonces nonces = {NULL, 0, 0};
    vindex_status st = read_nonces(in, &nonces);
    if (st == VINDEX_UNSUPPORTED) { /* a newer library's record: what it names only that one can tell */
        in->has_orphans = true;
        vindex__free(nonces.items);
        return VINDEX_OK;
    }
    for (bool found = true; st == VINDEX_OK;) {
        st = blocks_next(in->session->blocks, &key, &found);
        if (st != VINDEX_OK || !found) break;
        if (nonces.n && bsearch(key.nonce, nonces.items, nonces.n, NONCE_BYTES, compare_nonces)) continue;
        st = blocks_del(in->session->blocks, &key);
        in->changed = true;
    }
    vindex__free(nonces.items);
    return st;
}

/* ---- rewriting ---------------------------------------------------------------------------------- */

/* One row of a segment moves into the buffer. */
static vindex_status move_row(struct ingest *in, int64_t id, const void *row, float norm)
{
    vindex_status st = VINDEX_OK;
    if (buffer_is_full(&in->buffer)) st = vindex__seal_buffer(in);
    return st == VINDEX_OK ? vindex__buffer_add(&in->buffer, id, row, norm) : st;
}

static vindex_status move_block(struct ingest *in, const struct segment_record *record,
                                const unsigned char *ids, const unsigned char *norms, uint32_t index)
{
    const unsigned char *rows = NULL;
    uint32_t n = 0, first = index * record->rows_per_block;
    vindex_status st = vindex__segments_block(in, record, PLANE_FULL, index, &rows, &n);
    for (uint32_t i = 0; i < n && st == VINDEX_OK; i++) {
        uint32_t slot = first + i;
        if (!bitmap_get(record->live, slot)) continue;
        st = move_row(in, (int64_t)load_le64(ids + 8 * (size_t)slot),
                      rows + (size_t)i * record->stride,
                      norms ? load_f32(norms + 4 * (size_t)slot) : 0);
    }
    return st;
}

/*
 * The live rows of a committed segment move into the buffer, the segment goes. Sealing the buffer overwrites the
 * runs of the moved rows; those of dead rows, and of rows that end in the tail, go with the flush.
 */
static vindex_status absorb(struct ingest *in, uint64_t seq)
{
    const struct segment_record *open = NULL;
    const unsigned char *ids = NULL, *norms = NULL;
    uint32_t n = 0;
    vindex_status st = vindex__segments_get(in, seq, &open);
    if (st != VINDEX_OK) return st;
    struct segment_record record = *open;
    st = vindex__segments_block(in, &record, PLANE_IDS, 0, &ids, &n);
    if (st == VINDEX_OK && in->config.type != VINDEX_BIT)
        st = vindex__segments_block(in, &record, PLANE_NORM, 0, &norms, &n);
    if (st == VINDEX_OK) st = vindex__segments_drop(in, seq);
    uint32_t n_blocks = (record.n + record.rows_per_block - 1) / record.rows_per_block;
    for (uint32_t i = 0; i < n_blocks && st == VINDEX_OK; i++)
        st = move_block(in, &record, ids, norms, i);
    in->changed = true;
    return st;
}

vindex_status vindex__next_segment(struct ingest *in, uint64_t *seq,
                                   const struct segment_record **record)
{
    unsigned char key[8];
    struct catalog_entry entry;
    store_be64(key, *seq);
    *seq = 0;
    vindex_status st =
        catalog_seek(in->session->catalog, TABLE_SEGMENTS, SEEK_GT, bytes_of(key, 8), &entry);
    if (st != VINDEX_OK || !entry.value.data) return st;
    if (entry.key.size != 8) return vindex__corrupt("a segment's key has %zu bytes", entry.key.size);
    uint64_t found = load_be64(entry.key.data);
    if (found >= in->base_next_seq) return VINDEX_OK;
    *seq = found;
    return vindex__segments_get(in, found, record);
}

static uint64_t live_bytes(const struct segment_record *record)
{
    return (uint64_t)record->n_live * record->stride;
}

/* Heap that moving a segment's rows takes: what is buffered and pending, and up to one run an id. */
static uint64_t moved_bytes(const struct segment_record *record)
{
    return live_bytes(record) + UINT64_C(200) * record->n_live;
}

/* Time that rewriting takes: about 1 byte a nanosecond (copy, checksum, write), and some microseconds for each row
 * whose id is a run of its own (measured: 5). */
static int64_t rewrite_ns(const struct segment_record *record)
{
    bool consecutive = (uint64_t)record->max_id - (uint64_t)record->min_id == record->n - 1;
    return (int64_t)live_bytes(record) + (consecutive ? 100 : 5000) * (int64_t)record->n_live;
}

vindex_status vindex__maintain_within_commit(struct ingest *in)
{
    int64_t now = vindex__now_ns(), own = now - in->began_ns;
    int64_t deadline = now + (own / 10 > 5000000 ? own / 10 : 5000000);
    uint64_t due[16];
    size_t n_due = 0;
    vindex_status st = VINDEX_OK;
    for (size_t i = 0; i < in->open.n && n_due < 16; i++) {
        const struct open_segment *segment = in->open.items[i];
        if (segment->is_dirty && !segment->is_gone && segment->seq < in->base_next_seq && is_mostly_dead(&segment->record))
            due[n_due++] = segment->seq;
    }
    for (size_t i = 0; i < n_due && st == VINDEX_OK; i++) {
        const struct segment_record *record = NULL;
        st = vindex__segments_get(in, due[i], &record);
        if (st != VINDEX_OK || vindex__now_ns() + rewrite_ns(record) > deadline) break;
        st = absorb(in, due[i]);
    }
    return st;
}

/*
 * Merging: a segment below half of a full one is small; small ones are due when there are two of them, since one
 * alone would only be rewritten as itself.
 */
static bool is_small(const struct ingest *in, const struct segment_record *record)
{
    return record->n_live < in->buffer.capacity / 2;
}

static bool is_due(const struct ingest *in, const struct segment_record *record, bool all,
                   bool merge_small)
{
    if (is_mostly_dead(record)) return true;
    if (all && (record->n_live < record->n)) return true;
    return merge_small && (all ? record->n_live < in->buffer.capacity : is_small(in, record));
}

static vindex_status count_small(struct ingest *in, bool all, uint64_t *n_small)
{
    const struct segment_record *record = NULL;
    uint64_t seq = 0;
    *n_small = in->state.n_tail ? 1 : 0;
    for (;;) {
        vindex_status st = vindex__next_segment(in, &seq, &record);
        if (st != VINDEX_OK || seq == 0) return st;
        if (all ? record->n_live < in->buffer.capacity : is_small(in, record)) ++*n_small;
    }
}

vindex_status vindex__ingest_maintain(struct ingest *in, bool all, uint64_t max_bytes, bool *more)
{
    const struct segment_record *record = NULL;
    uint64_t stamp, seq = 0, moved = 0, n_small = 0;
    *more = false;
    vindex_status st = catalog_refresh(in->session->catalog, &stamp);
    if (st == VINDEX_OK) st = count_small(in, all, &n_small);
    while (st == VINDEX_OK) {
        st = vindex__next_segment(in, &seq, &record);
        if (st != VINDEX_OK || seq == 0) break;
        if (!is_due(in, record, all, n_small > 1)) continue;
        if (moved && moved + moved_bytes(record) > max_bytes) {
            *more = true;
            break;
        }
        moved += moved_bytes(record);
        st = absorb(in, seq);
    }
    if (st == VINDEX_OK && in->state.n_tail) in->changed = true;
    if (st == VINDEX_OK && in->changed) st = vindex__seal_tail(in, 1);
    catalog_release(in->session->catalog);
    return ingest_fail(in, st);
}
