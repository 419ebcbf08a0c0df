/*
 * segments.c - the segment records a transaction reads and changes: each is decoded once, changed in memory,
 * and written to the catalog once, however many of its rows were removed.
 */
#include "base/mem.h"
#include "base/status.h"
#include "ingest/internal.h"

/* The place of seq among the open segments, or where it belongs. */
static size_t lower_bound(const struct segments *open, uint64_t seq)
{
    size_t low = 0, high = open->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (open->items[middle]->seq < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static vindex_status load(struct ingest *in, uint64_t seq, struct segment_record *record)
{
    unsigned char key[8];
    struct catalog_entry entry;
    store_be64(key, seq);
    vindex_status st =
        catalog_get(in->session->catalog, TABLE_SEGMENTS, bytes_of(key, 8), &entry);
    if (st != VINDEX_OK) return st;
    if (!entry.value.data)
        return vindex__corrupt("a run of ids names segment %llu, which does not exist",
                               (unsigned long long)seq);
    return vindex__segment_decode(entry.value, &in->config, record);
}

static vindex_status open_segment(struct ingest *in, uint64_t seq, struct open_segment **out)
{
    struct segments *open = &in->open;
    size_t at = lower_bound(open, seq);
    if (at < open->n && open->items[at]->seq == seq) {
        *out = open->items[at];
        return VINDEX_OK;
    }
    if (!vindex__grow((void **)&open->items, &open->capacity, open->n + 1, sizeof *open->items))
        return vindex__nomem();
    struct open_segment *segment = vindex__calloc(1, sizeof *segment);
    if (!segment) return vindex__nomem();
    segment->seq = seq;
    vindex_status st = load(in, seq, &segment->record);
    if (st != VINDEX_OK) {
        vindex__free(segment);
        return st;
    }
    memmove(open->items + at + 1, open->items + at, (open->n - at) * sizeof *open->items);
    open->items[at] = segment;
    open->n++;
    *out = segment;
    return VINDEX_OK;
}

vindex_status vindex__segments_get(struct ingest *in, uint64_t seq,
                                   const struct segment_record **record)
{
    struct open_segment *segment = NULL;
    vindex_status st = open_segment(in, seq, &segment);
    *record = segment && !segment->is_gone ? &segment->record : NULL;
    return st;
}

vindex_status vindex__segments_put(struct ingest *in, uint64_t seq,
                                   const struct segment_record *record)
{
    unsigned char key[8];
    store_be64(key, seq);
    size_t size = vindex__segment_encode(record, in->scratch);
    return catalog_put(in->session->catalog, TABLE_SEGMENTS, bytes_of(key, 8),
                       bytes_of(in->scratch, size));
}

vindex_status vindex__segments_clear(struct ingest *in, uint64_t seq, uint32_t slot)
{
    struct open_segment *segment = NULL;
    vindex_status st = open_segment(in, seq, &segment);
    if (st != VINDEX_OK) return st;
    bitmap_clear(segment->record.live, slot);
    segment->record.n_live--;
    segment->is_dirty = true;
    return segment->record.n_live ? VINDEX_OK : vindex__segments_drop(in, seq);
}

vindex_status vindex__segment_block(struct session *session, const struct config *config,
                                    const struct segment_record *record, enum plane plane,
                                    uint32_t index, const unsigned char **payload, uint32_t *n)
{
    struct block_key key = {.plane = (uint16_t)plane, .index = index};
    struct block_header header;
    struct bytes value;
    memcpy(key.nonce, record->nonce, NONCE_BYTES);
    vindex_status st = blocks_get(session->blocks, &key, &value);
    if (st == VINDEX_OK && !value.data)
        st = vindex__corrupt("block %u of plane %d of a segment is missing", index, (int)plane);
    if (st == VINDEX_OK) st = vindex__block_decode(value, config, true, &header);
    if (st != VINDEX_OK) return st;

    uint32_t per_block = plane == PLANE_FULL ? record->rows_per_block : record->n;
    uint64_t first = (uint64_t)index * per_block;
    uint64_t expected = first < record->n ? record->n - first : 0;
    if (expected > per_block) expected = per_block;
    if (header.plane != plane || header.first != first || header.n != expected ||
        memcmp(header.nonce, record->nonce, NONCE_BYTES) != 0)
        return vindex__corrupt("block %u of plane %d of a segment belongs elsewhere", index,
                               (int)plane);
    *payload = (const unsigned char *)value.data + BLOCK_HEADER_BYTES;
    *n = header.n;
    return VINDEX_OK;
}

vindex_status vindex__segments_block(struct ingest *in, const struct segment_record *record,
                                     enum plane plane, uint32_t index, const unsigned char **payload,
                                     uint32_t *n)
{
    return vindex__segment_block(in->session, &in->config, record, plane, index, payload, n);
}

static vindex_status delete_blocks(struct ingest *in, const struct segment_record *record)
{
    struct blocks *blocks = in->session->blocks;
    struct block_key key = {.plane = PLANE_FULL};
    memcpy(key.nonce, record->nonce, NONCE_BYTES);
    uint32_t n_full = (record->n + record->rows_per_block - 1) / record->rows_per_block;
    vindex_status st = VINDEX_OK;
    for (key.index = 0; key.index < n_full && st == VINDEX_OK; key.index++)
        st = blocks_del(blocks, &key);
    key.index = 0;
    key.plane = PLANE_IDS;
    if (st == VINDEX_OK) st = blocks_del(blocks, &key);
    key.plane = PLANE_NORM;
    if (st == VINDEX_OK && in->config.type != VINDEX_BIT) st = blocks_del(blocks, &key);
    return st;
}

vindex_status vindex__segments_drop(struct ingest *in, uint64_t seq)
{
    unsigned char key[8];
    struct open_segment *segment = NULL;
    store_be64(key, seq);
    vindex_status st = open_segment(in, seq, &segment);
    if (st == VINDEX_OK) st = delete_blocks(in, &segment->record);
    if (st == VINDEX_OK) st = vindex__codes_drop(in, seq);
    if (st == VINDEX_OK)
        st = catalog_del(in->session->catalog, TABLE_SEGMENTS, bytes_of(key, 8));
    if (st == VINDEX_OK) segment->is_gone = true;
    return st;
}

static bool is_gone(const struct ingest *in, uint64_t seq)
{
    size_t at = lower_bound(&in->open, seq);
    return seq < in->gone_below ||
           (at < in->open.n && in->open.items[at]->seq == seq && in->open.items[at]->is_gone);
}

static vindex_status drop_committed_runs(struct ingest *in, const struct open_segment *segment)
{
    const unsigned char *ids = NULL;
    uint32_t n = 0;
    vindex_status st = vindex__segments_block(in, &segment->record, PLANE_IDS, 0, &ids, &n);
    return st == VINDEX_OK ? vindex__runs_drop(in, segment->seq, ids, n) : st;
}

/* The ids of segments that this transaction sealed cannot be read back yet: one pass over the runs between the
 * smallest and the largest of them finds what names any. */
static vindex_status drop_gone_runs(struct ingest *in)
{
    int64_t min_id = in->gone_below ? INT64_MIN : INT64_MAX;
    int64_t max_id = in->gone_below ? INT64_MAX : INT64_MIN;
    vindex_status st = VINDEX_OK;
    for (size_t i = 0; i < in->open.n && st == VINDEX_OK; i++) {
        const struct open_segment *segment = in->open.items[i];
        if (!segment->is_gone || segment->seq < in->gone_below) continue;
        if (segment->seq < in->base_next_seq) {
            st = drop_committed_runs(in, segment);
        } else {
            if (segment->record.min_id < min_id) min_id = segment->record.min_id;
            if (segment->record.max_id > max_id) max_id = segment->record.max_id;
        }
    }
    if (st == VINDEX_OK && min_id <= max_id)
        st = vindex__runs_drop_between(in, is_gone, min_id, max_id);
    return st;
}

/* Gone segments are let go of: their runs are deleted. */
static void forget_gone(struct segments *open)
{
    size_t n = 0;
    for (size_t i = 0; i < open->n; i++) {
        if (open->items[i]->is_gone)
            vindex__free(open->items[i]);
        else
            open->items[n++] = open->items[i];
    }
    open->n = n;
}

vindex_status vindex__segments_flush(struct ingest *in)
{
    vindex_status st = drop_gone_runs(in);
    if (st != VINDEX_OK) return st;
    in->gone_below = 0;
    forget_gone(&in->open);
    for (size_t i = 0; i < in->open.n; i++) {
        struct open_segment *segment = in->open.items[i];
        if (!segment->is_dirty) continue;
        segment->record.mark = in->mark;
        st = vindex__segments_put(in, segment->seq, &segment->record);
        if (st != VINDEX_OK) return st;
        segment->is_dirty = false;
    }
    return VINDEX_OK;
}

void vindex__segments_forget(struct ingest *in)
{
    for (size_t i = 0; i < in->open.n; i++)
        vindex__free(in->open.items[i]);
    vindex__free(in->open.items);
    memset(&in->open, 0, sizeof in->open);
}
