/*
 * buffer.c - fresh rows of a transaction: arrival order, found by id.
 *
 * The hash table uses linear probing over index + 1; deleting keeps the probe chains by leaving the slot
 * pointing at the hole, which never matches an id again.
 */
#include "base/mem.h"
#include "base/status.h"
#include "ingest/internal.h"

static uint32_t hash_id(int64_t id)
{
    /* Fibonacci hashing (Knuth, TAOCP 6.4): neighbouring ids spread over the table. */
    return (uint32_t)(((uint64_t)id * UINT64_C(0x9E3779B97F4A7C15)) >> 32);
}

vindex_status vindex__buffer_init(struct buffer *buffer, const struct config *config)
{
    memset(buffer, 0, sizeof *buffer);
    buffer->row_bytes = vindex__config_row_bytes(config);
    uint32_t stride = vindex__full_stride(buffer->row_bytes);
    uint32_t rows = SEGMENT_BYTES_MAX / stride; /* >= 64: a row fits a block */
    buffer->capacity = rows < SEGMENT_ROWS_MAX ? rows : SEGMENT_ROWS_MAX;

    uint32_t slots = 16;
    while (slots < 2 * buffer->capacity) slots *= 2;
    buffer->table_mask = slots - 1;
    buffer->table = vindex__calloc(slots, sizeof *buffer->table);
    buffer->ids = vindex__calloc(buffer->capacity, sizeof *buffer->ids);
    buffer->norms = vindex__calloc(buffer->capacity, sizeof *buffer->norms);
    buffer->is_hole = vindex__calloc(bitmap_words(buffer->capacity), sizeof *buffer->is_hole);
    if (buffer->table && buffer->ids && buffer->norms && buffer->is_hole) return VINDEX_OK;
    vindex__buffer_deinit(buffer);
    return vindex__nomem();
}

void vindex__buffer_deinit(struct buffer *buffer)
{
    vindex__free(buffer->rows);
    vindex__free(buffer->ids);
    vindex__free(buffer->norms);
    vindex__free(buffer->is_hole);
    vindex__free(buffer->table);
    memset(buffer, 0, sizeof *buffer);
}

void vindex__buffer_clear(struct buffer *buffer)
{
    if (buffer->n) {
        memset(buffer->table, 0, ((size_t)buffer->table_mask + 1) * sizeof *buffer->table);
        memset(buffer->is_hole, 0, bitmap_words(buffer->capacity) * sizeof *buffer->is_hole);
    }
    buffer->n = buffer->n_holes = 0;
}

uint32_t vindex__buffer_find(const struct buffer *buffer, int64_t id)
{
    for (uint32_t at = hash_id(id) & buffer->table_mask;; at = (at + 1) & buffer->table_mask) {
        uint32_t entry = buffer->table[at];
        if (!entry) return UINT32_MAX;
        if (buffer->ids[entry - 1] == id && !bitmap_get(buffer->is_hole, entry - 1)) return entry - 1;
    }
}

vindex_status vindex__buffer_add(struct buffer *buffer, int64_t id, const void *row, float norm)
{
    if (!vindex__grow((void **)&buffer->rows, &buffer->rows_capacity, buffer->n + 1,
                      buffer->row_bytes))
        return vindex__nomem();
    uint32_t index = buffer->n++;
    memcpy(buffer->rows + index * buffer->row_bytes, row, buffer->row_bytes);
    buffer->ids[index] = id;
    buffer->norms[index] = norm;
    uint32_t at = hash_id(id) & buffer->table_mask;
    while (buffer->table[at]) at = (at + 1) & buffer->table_mask;
    buffer->table[at] = index + 1;
    return VINDEX_OK;
}

void vindex__buffer_replace(struct buffer *buffer, uint32_t index, const void *row, float norm)
{
    memcpy(buffer->rows + index * buffer->row_bytes, row, buffer->row_bytes);
    buffer->norms[index] = norm;
}

void vindex__buffer_take_out(struct buffer *buffer, uint32_t index)
{
    bitmap_set(buffer->is_hole, index);
    buffer->n_holes++;
}
