/*
 * record.c - the one encoder and decoder of catalog records and block headers. FORMAT.md has the layouts;
 * offsets below are its offsets. Nothing is trusted: every field is checked before it leaves this file.
 */
#include "storage/record.h"

#include <float.h>
#include <math.h>

#include "base/status.h"

enum record_kind {
    KIND_CONFIG = 1,
    KIND_STATE = 2,
    KIND_TAIL = 3,
    KIND_SEGMENT = 4,
    KIND_RUN = 5
};
#define RECORD_VERSION 1
#define RECORD_HEAD 8u

static const char *const kind_names[] = {"?", "config", "state", "tail", "segment", "run"};

static void head_seal(enum record_kind kind, unsigned char *record, size_t size)
{
    record[0] = (unsigned char)kind;
    record[1] = RECORD_VERSION;
    store_le16(record + 2, 0);
    store_le32(record + 4, vindex__crc32c(0, record + RECORD_HEAD, size - RECORD_HEAD));
}

/* A damaged version byte must not pass for a newer format: the checksum is looked at first. */
static vindex_status head_check(enum record_kind kind, struct bytes record, size_t size_min)
{
    const unsigned char *r = record.data;
    if (record.size < size_min)
        return vindex__corrupt("a %s record of %zu bytes is shorter than %zu", kind_names[kind],
                               record.size, size_min);
    if (r[0] != kind || load_le16(r + 2) != 0)
        return vindex__corrupt("a record of kind %u stands where a %s record belongs", r[0],
                               kind_names[kind]);
    if (load_le32(r + 4) != vindex__crc32c(0, r + RECORD_HEAD, record.size - RECORD_HEAD))
        return vindex__corrupt("the checksum of a %s record does not match", kind_names[kind]);
    if (r[1] != RECORD_VERSION)
        return vindex__fail(VINDEX_UNSUPPORTED,
                            "a %s record has version %u, this library reads %d: use a newer vindex",
                            kind_names[kind], r[1], RECORD_VERSION);
    return VINDEX_OK;
}

void vindex__config_encode(const struct config *config, unsigned char out[RECORD_CONFIG_BYTES])
{
    store_le32(out + 8, config->format);
    store_le32(out + 12, config->dim);
    store_le16(out + 16, (uint16_t)config->type);
    store_le16(out + 18, (uint16_t)config->metric);
    store_le16(out + 20, (uint16_t)config->layout);
    store_le16(out + 22, 0);
    store_f32(out + 24, config->recall);
    store_le32(out + 28, config->seal_rows);
    store_le64(out + 32, config->seal_bytes);
    memcpy(out + 40, config->uuid, sizeof config->uuid);
    head_seal(KIND_CONFIG, out, RECORD_CONFIG_BYTES);
}

vindex_status vindex__config_decode(struct bytes record, struct config *config)
{
    const unsigned char *r = record.data;
    vindex_status st = head_check(KIND_CONFIG, record, RECORD_CONFIG_BYTES);
    if (st != VINDEX_OK) return st;

    config->format = load_le32(r + 8);
    if (config->format > FORMAT_VERSION)
        return vindex__fail(VINDEX_UNSUPPORTED,
                            "the index has format %u, this library reads up to %u: use a newer vindex",
                            config->format, FORMAT_VERSION);
    config->dim = load_le32(r + 12);
    config->type = load_le16(r + 16);
    config->metric = load_le16(r + 18);
    config->layout = load_le16(r + 20);
    config->recall = load_f32(r + 24);
    config->seal_rows = load_le32(r + 28);
    config->seal_bytes = load_le64(r + 32);
    memcpy(config->uuid, r + 40, sizeof config->uuid);

    bool is_bit = config->type == VINDEX_BIT;
    if (record.size != RECORD_CONFIG_BYTES || config->format == 0 || config->dim == 0 || config->dim > VINDEX_DIM_MAX ||
        config->type > VINDEX_BIT || config->metric > VINDEX_HAMMING ||
        is_bit != (config->metric == VINDEX_HAMMING) || config->layout > VINDEX_LAYOUT_FLAT ||
        load_le16(r + 22) != 0 || !(config->recall > 0 && config->recall <= 1) ||
        config->seal_rows == 0 || config->seal_rows > SEGMENT_ROWS_MAX || config->seal_bytes == 0 ||
        config->seal_bytes > SEGMENT_BYTES_MAX)
        return vindex__corrupt("the config record holds values outside the format's ranges");
    return VINDEX_OK;
}

void vindex__state_encode(const struct state *state, unsigned char out[RECORD_STATE_BYTES])
{
    store_le64(out + 8, state->epoch);
    store_le64(out + 16, state->next_seq);
    store_le64(out + 24, (uint64_t)state->next_id);
    store_le64(out + 32, state->n_rows);
    store_le64(out + 40, state->n_tail);
    store_le32(out + 48, state->flags);
    store_le32(out + 52, 0);
    store_le64(out + 56, state->mark);
    head_seal(KIND_STATE, out, RECORD_STATE_BYTES);
}

vindex_status vindex__state_decode(struct bytes record, struct state *state)
{
    const unsigned char *r = record.data;
    vindex_status st = head_check(KIND_STATE, record, RECORD_STATE_BYTES);
    if (st != VINDEX_OK) return st;

    state->epoch = load_le64(r + 8);
    state->next_seq = load_le64(r + 16);
    state->next_id = (int64_t)load_le64(r + 24);
    state->n_rows = load_le64(r + 32);
    state->n_tail = load_le64(r + 40);
    state->flags = load_le32(r + 48);
    state->mark = load_le64(r + 56);
    if (record.size != RECORD_STATE_BYTES || state->next_seq == 0 ||
        state->next_seq > INT64_MAX || state->n_tail > SEGMENT_ROWS_MAX || state->next_id < 0 || state->n_tail > state->n_rows ||
        (state->flags & ~STATE_EARLY_BLOCKS) || load_le32(r + 52) != 0)
        return vindex__corrupt("the state record holds values outside the format's ranges");
    return VINDEX_OK;
}

size_t vindex__segment_encode(const struct segment_record *segment, unsigned char *out)
{
    size_t n_words = bitmap_words(segment->n), size = 80 + 8 * n_words;
    memcpy(out + 8, segment->nonce, NONCE_BYTES);
    store_le64(out + 24, segment->mark);
    store_le32(out + 32, segment->list);
    store_le32(out + 36, segment->n);
    store_le32(out + 40, segment->n_live);
    store_le32(out + 44, segment->stride);
    store_le32(out + 48, segment->rows_per_block);
    store_le32(out + 52, segment->flags);
    store_le64(out + 56, (uint64_t)segment->min_id);
    store_le64(out + 64, (uint64_t)segment->max_id);
    store_f32(out + 72, segment->norm_lo);
    store_f32(out + 76, segment->norm_hi);
    for (size_t i = 0; i < n_words; i++)
        store_le64(out + 80 + 8 * i, segment->live[i]);
    head_seal(KIND_SEGMENT, out, size);
    return size;
}

static bool live_is_valid(const struct segment_record *s)
{
    uint64_t beyond = s->n % 64 ? ~UINT64_C(0) << (s->n % 64) : 0;
    return !(s->live[s->n / 64 - (s->n % 64 ? 0 : 1)] & beyond) &&
           vindex__bitmap_count(s->live, s->n) == s->n_live;
}

static bool norms_are_valid(const struct segment_record *s)
{
    return s->norm_lo >= 0 && s->norm_hi >= s->norm_lo && s->norm_hi <= FLT_MAX;
}

vindex_status vindex__segment_decode(struct bytes record, const struct config *config,
                                     struct segment_record *segment)
{
    const unsigned char *r = record.data;
    vindex_status st = head_check(KIND_SEGMENT, record, 88);
    if (st != VINDEX_OK) return st;

    memcpy(segment->nonce, r + 8, NONCE_BYTES);
    segment->mark = load_le64(r + 24);
    segment->list = load_le32(r + 32);
    segment->n = load_le32(r + 36);
    segment->n_live = load_le32(r + 40);
    segment->stride = load_le32(r + 44);
    segment->rows_per_block = load_le32(r + 48);
    segment->flags = load_le32(r + 52);
    segment->min_id = (int64_t)load_le64(r + 56);
    segment->max_id = (int64_t)load_le64(r + 64);
    segment->norm_lo = load_f32(r + 72);
    segment->norm_hi = load_f32(r + 76);
    if (segment->n == 0 || segment->n > SEGMENT_ROWS_MAX || segment->n_live == 0 ||
        segment->n_live > segment->n || record.size != 80 + 8 * bitmap_words(segment->n) ||
        segment->stride != vindex__full_stride(vindex__config_row_bytes(config)) ||
        segment->rows_per_block != vindex__full_rows_per_block(segment->stride) ||
        (segment->flags & ~SEGMENT_IDS_ASCEND) || segment->min_id > segment->max_id ||
        !norms_are_valid(segment))
        return vindex__corrupt("a segment record holds values outside the format's ranges");

    memset(segment->live, 0, sizeof segment->live);
    for (size_t i = 0; i < bitmap_words(segment->n); i++)
        segment->live[i] = load_le64(r + 80 + 8 * i);
    if (!live_is_valid(segment))
        return vindex__corrupt("a segment's live bitmap does not agree with its count of %u",
                               segment->n_live);
    return VINDEX_OK;
}

void vindex__run_encode(const struct run_record *run, unsigned char out[RECORD_RUN_BYTES])
{
    store_le64(out + 8, run->seq);
    store_le32(out + 16, run->slot);
    store_le32(out + 20, run->count);
    head_seal(KIND_RUN, out, RECORD_RUN_BYTES);
}

vindex_status vindex__run_decode(struct bytes record, struct run_record *run)
{
    const unsigned char *r = record.data;
    vindex_status st = head_check(KIND_RUN, record, RECORD_RUN_BYTES);
    if (st != VINDEX_OK) return st;

    run->seq = load_le64(r + 8);
    run->slot = load_le32(r + 16);
    run->count = load_le32(r + 20);
    if (record.size != RECORD_RUN_BYTES || run->seq == 0 || run->count == 0 ||
        run->slot >= SEGMENT_ROWS_MAX || run->count > SEGMENT_ROWS_MAX - run->slot)
        return vindex__corrupt("a run of ids holds values outside the format's ranges");
    return VINDEX_OK;
}

void vindex__tail_encode(float norm, struct bytes row, unsigned char *out)
{
    store_f32(out + 8, norm);
    store_le32(out + 12, 0);
    memcpy(out + RECORD_TAIL_HEAD, row.data, row.size);
    head_seal(KIND_TAIL, out, RECORD_TAIL_HEAD + row.size);
}

vindex_status vindex__tail_decode(struct bytes record, const struct config *config, float *norm,
                                  const void **row)
{
    const unsigned char *r = record.data;
    vindex_status st =
        head_check(KIND_TAIL, record, RECORD_TAIL_HEAD + vindex__config_row_bytes(config));
    if (st != VINDEX_OK) return st;

    *norm = load_f32(r + 8);
    *row = r + RECORD_TAIL_HEAD;
    if (record.size != RECORD_TAIL_HEAD + vindex__config_row_bytes(config) ||
        load_le32(r + 12) != 0 || !(*norm >= 0 && *norm <= FLT_MAX))
        return vindex__corrupt("a tail record holds values outside the format's ranges");
    return VINDEX_OK;
}

#define BLOCK_MAGIC "VXB1"
#define BLOCK_VERSION 1

void vindex__block_seal(const struct block_header *header, unsigned char *block)
{
    size_t size = BLOCK_HEADER_BYTES + (size_t)header->n * header->stride;
    memcpy(block, BLOCK_MAGIC, 4);
    store_le16(block + 8, BLOCK_VERSION);
    store_le16(block + 10, header->plane);
    store_le32(block + 12, header->n);
    store_le32(block + 16, header->stride);
    store_le32(block + 20, header->dim);
    store_le16(block + 24, header->type);
    store_le16(block + 26, 0);
    store_le32(block + 28, header->first);
    memcpy(block + 32, header->nonce, NONCE_BYTES);
    store_le32(block + 4, vindex__crc32c(0, block + 8, size - 8));
}

/* The stride a plane must have; 0 = a plane this version does not know. */
static uint32_t plane_stride(uint16_t plane, const struct config *config)
{
    switch (plane) {
    case PLANE_FULL: return vindex__full_stride(vindex__config_row_bytes(config));
    case PLANE_IDS: return 8;
    case PLANE_NORM: return config->type == VINDEX_BIT ? 0 : 4;
    default: return 0;
    }
}

vindex_status vindex__block_decode(struct bytes block, const struct config *config, bool checksum,
                                   struct block_header *header)
{
    const unsigned char *b = block.data;
    if (block.size < BLOCK_HEADER_BYTES || memcmp(b, BLOCK_MAGIC, 4) != 0)
        return vindex__corrupt("a block of %zu bytes has no valid header", block.size);
    if (checksum && load_le32(b + 4) != vindex__crc32c(0, b + 8, block.size - 8))
        return vindex__corrupt("the checksum of a block does not match");

    header->plane = load_le16(b + 10);
    header->n = load_le32(b + 12);
    header->stride = load_le32(b + 16);
    header->dim = load_le32(b + 20);
    header->type = load_le16(b + 24);
    header->first = load_le32(b + 28);
    memcpy(header->nonce, b + 32, NONCE_BYTES);
    if (load_le16(b + 8) != BLOCK_VERSION || header->stride == 0 ||
        header->stride != plane_stride(header->plane, config) || header->n == 0 ||
        header->n > SEGMENT_ROWS_MAX || header->first >= SEGMENT_ROWS_MAX ||
        block.size != BLOCK_HEADER_BYTES + (size_t)header->n * header->stride ||
        block.size > BLOCK_BYTES || header->dim != config->dim || header->type != config->type ||
        load_le16(b + 26) != 0)
        return vindex__corrupt("a block's header does not agree with the index's");
    return VINDEX_OK;
}

size_t vindex__config_row_bytes(const struct config *config)
{
    return vindex_row_bytes((vindex_type)config->type, config->dim);
}

uint32_t vindex__full_stride(size_t row_bytes)
{
    size_t aligned = (row_bytes + 63) / 64 * 64;
    return (uint32_t)(aligned - row_bytes <= row_bytes / 16 ? aligned : row_bytes);
}
