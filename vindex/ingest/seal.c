/*
 * seal.c - fresh rows become a segment: sorted by id, written as blocks of planes `full`, `ids` and `norm`,
 * described by one record, found through runs of ids; and as codes where the index has a model. FORMAT.md 2 and 3 are
 * the layout.
 */
#include <stdlib.h>

#include "base/random.h"
#include "base/status.h"
#include "ingest/internal.h"

static int by_id(const void *a, const void *b)
{
    int64_t x = ((const struct id_index *)a)->id, y = ((const struct id_index *)b)->id;
    return (x > y) - (x < y);
}

/* Live rows of the buffer in id order; most bulk loads arrive sorted. */
static uint32_t sort_rows(struct ingest *in)
{
    const struct buffer *buffer = &in->buffer;
    uint32_t n = 0;
    bool sorted = true;
    for (uint32_t i = 0; i < buffer->n; i++) {
        if (bitmap_get(buffer->is_hole, i)) continue;
        if (n && buffer->ids[i] < in->order[n - 1].id) sorted = false;
        in->order[n++] = (struct id_index){buffer->ids[i], i};
    }
    if (!sorted) qsort(in->order, n, sizeof *in->order, by_id);
    return n;
}

static vindex_status put_block(struct ingest *in, const struct segment_record *record, enum plane plane,
                               uint32_t index, uint32_t first, uint32_t n, uint32_t stride)
{
    struct block_header header = {.plane = (uint16_t)plane,
                                  .type = (uint16_t)in->config.type,
                                  .n = n,
                                  .stride = stride,
                                  .dim = in->config.dim,
                                  .first = first};
    struct block_key key = {.plane = (uint16_t)plane, .index = index};
    memcpy(header.nonce, record->nonce, NONCE_BYTES);
    memcpy(key.nonce, record->nonce, NONCE_BYTES);
    vindex__block_seal(&header, in->scratch);
    return blocks_put(in->session->blocks, &key,
                      bytes_of(in->scratch, BLOCK_HEADER_BYTES + (size_t)n * stride));
}

static vindex_status put_full(struct ingest *in, const struct segment_record *record)
{
    const struct buffer *buffer = &in->buffer;
    size_t pad = record->stride - buffer->row_bytes;
    vindex_status st = VINDEX_OK;
    for (uint32_t first = 0, index = 0; first < record->n && st == VINDEX_OK; index++) {
        uint32_t left = record->n - first;
        uint32_t n = left < record->rows_per_block ? left : record->rows_per_block;
        unsigned char *to = in->scratch + BLOCK_HEADER_BYTES;
        for (uint32_t i = 0; i < n; i++, to += record->stride) {
            size_t from = in->order[first + i].index;
            memcpy(to, buffer->rows + from * buffer->row_bytes, buffer->row_bytes);
            memset(to + buffer->row_bytes, 0, pad);
        }
        st = put_block(in, record, PLANE_FULL, index, first, n, record->stride);
        first += n;
    }
    return st;
}

static vindex_status put_ids(struct ingest *in, const struct segment_record *record)
{
    for (uint32_t i = 0; i < record->n; i++)
        store_le64(in->scratch + BLOCK_HEADER_BYTES + 8 * (size_t)i, (uint64_t)in->order[i].id);
    return put_block(in, record, PLANE_IDS, 0, 0, record->n, 8);
}

static vindex_status put_norms(struct ingest *in, struct segment_record *record)
{
    if (in->config.type == VINDEX_BIT) return VINDEX_OK;
    for (uint32_t i = 0; i < record->n; i++) {
        float norm = in->buffer.norms[in->order[i].index];
        store_f32(in->scratch + BLOCK_HEADER_BYTES + 4 * (size_t)i, norm);
        if (norm > record->norm_hi) record->norm_hi = norm;
        if (norm > 0 && (record->norm_lo == 0 || norm < record->norm_lo)) record->norm_lo = norm;
    }
    return put_block(in, record, PLANE_NORM, 0, 0, record->n, 4);
}

static bool follows(int64_t id, int64_t previous)
{
    return (uint64_t)id - (uint64_t)previous == 1;
}

static vindex_status put_runs(struct ingest *in, uint64_t seq, uint32_t n)
{
    vindex_status st = VINDEX_OK;
    for (uint32_t slot = 0, end; slot < n && st == VINDEX_OK; slot = end) {
        for (end = slot + 1; end < n && follows(in->order[end].id, in->order[end - 1].id); end++)
            ;
        st = vindex__runs_set(in, in->order[slot].id, end - slot, seq, slot);
    }
    return st;
}

vindex_status vindex__seal_buffer(struct ingest *in)
{
    uint32_t n = sort_rows(in);
    vindex_status st = VINDEX_OK;
    if (n == 0) goto out;

    struct segment_record record = {.mark = in->mark,
                                    .n = n,
                                    .n_live = n,
                                    .stride = vindex__full_stride(in->buffer.row_bytes),
                                    .flags = SEGMENT_IDS_ASCEND,
                                    .min_id = in->order[0].id,
                                    .max_id = in->order[n - 1].id};
    record.rows_per_block = vindex__full_rows_per_block(record.stride);
    vindex__bitmap_fill(record.live, n);
    uint64_t seq = in->state.next_seq;
    st = vindex__nonce(record.nonce, NONCE_BYTES);
    if (st == VINDEX_OK) st = put_full(in, &record);
    if (st == VINDEX_OK) st = put_ids(in, &record);
    if (st == VINDEX_OK) st = put_norms(in, &record);
    if (st == VINDEX_OK) st = vindex__codes_put(in, seq, &record);
    if (st == VINDEX_OK) st = vindex__segments_put(in, seq, &record);
    if (st == VINDEX_OK) st = put_runs(in, seq, n);
    if (st != VINDEX_OK) return st;
    in->state.next_seq++;
out:
    vindex__buffer_clear(&in->buffer);
    return st;
}

/* The next row of the tail, from `key` on (seeking from the start would pass over all that was deleted
 * before), moves into the buffer; *moved false: there is none. */
static vindex_status move_from_tail(struct ingest *in, enum catalog_seek how, unsigned char key[8],
                                    bool *moved)
{
    struct catalog_entry entry;
    float norm;
    const void *row;
    vindex_status st = catalog_seek(in->session->catalog, TABLE_TAIL, how, bytes_of(key, 8), &entry);
    *moved = false;
    if (st != VINDEX_OK || !entry.value.data) return st;
    if (entry.key.size != 8) return vindex__corrupt("a tail key has %zu bytes", entry.key.size);
    if (in->state.n_tail == 0) return vindex__corrupt("the tail holds more rows than were counted");
    memcpy(key, entry.key.data, 8);
    st = vindex__tail_decode(entry.value, &in->config, &norm, &row);
    if (st == VINDEX_OK) st = vindex__buffer_add(&in->buffer, load_id_key(key), row, norm);
    if (st == VINDEX_OK) st = catalog_del(in->session->catalog, TABLE_TAIL, bytes_of(key, 8));
    if (st != VINDEX_OK) return st;
    in->state.n_tail--;
    in->touched_all = true;
    *moved = true;
    return VINDEX_OK;
}

vindex_status vindex__seal_tail(struct ingest *in, uint32_t min_rows)
{
    vindex_status st = VINDEX_OK;
    unsigned char key[8] = {0};
    enum catalog_seek how = SEEK_GE;
    for (bool moved = true; moved && st == VINDEX_OK; how = SEEK_GT) {
        if (buffer_is_full(&in->buffer)) st = vindex__seal_buffer(in);
        if (st == VINDEX_OK) st = move_from_tail(in, how, key, &moved);
    }
    if (st != VINDEX_OK) return st;
    return buffer_live(&in->buffer) >= min_rows ? vindex__seal_buffer(in)
                                                : vindex__buffer_to_tail(in);
}

vindex_status vindex__buffer_to_tail(struct ingest *in)
{
    struct buffer *buffer = &in->buffer;
    for (uint32_t i = 0; i < buffer->n; i++) {
        if (bitmap_get(buffer->is_hole, i)) continue;
        unsigned char key[8];
        store_id_key(key, buffer->ids[i]);
        vindex__tail_encode(buffer->norms[i],
                            bytes_of(buffer->rows + i * buffer->row_bytes, buffer->row_bytes),
                            in->scratch);
        vindex_status st =
            catalog_put(in->session->catalog, TABLE_TAIL, bytes_of(key, 8),
                        bytes_of(in->scratch, RECORD_TAIL_HEAD + buffer->row_bytes));
        if (st != VINDEX_OK) return st;
        vindex__touch(in, buffer->ids[i]);
        in->state.n_tail++;
    }
    vindex__buffer_clear(buffer);
    return VINDEX_OK;
}
