/*
 * record.h - encode and decode every record and block header of FORMAT.md; the one decoder. Decoding trusts
 * nothing: lengths, ranges, reserved bits and the checksum are verified; what fails is VINDEX_CORRUPT.
 */
#ifndef VINDEX_STORAGE_RECORD_H
#define VINDEX_STORAGE_RECORD_H

#include "storage/blocks.h"

#define FORMAT_VERSION 1u
#define SEGMENT_ROWS_MAX 16384u
#define SEGMENT_BYTES_MAX (16u << 20)
#define RECORD_TAIL_HEAD 16u /* bytes before the row in a tail record */
#define RECORD_SEGMENT_MAX (80u + SEGMENT_ROWS_MAX / 8u)

struct config {
    uint32_t format;
    uint32_t dim;
    uint32_t type;   /* vindex_type */
    uint32_t metric; /* vindex_metric; storage only keeps it */
    uint32_t layout;
    float recall;
    uint32_t seal_rows;
    uint64_t seal_bytes;
    unsigned char uuid[16];
};
#define STATE_EARLY_BLOCKS 1u
struct state {
    uint64_t epoch;
    uint64_t next_seq;
    int64_t next_id;
    uint64_t n_rows; /* live, sealed and tail */
    uint64_t n_tail;
    uint32_t flags; /* STATE_* */
    uint64_t mark;  /* of this commit: random, so that no two catalogs share one by accident */
};
#define SEGMENT_IDS_ASCEND 1u
struct segment_record {
    unsigned char nonce[NONCE_BYTES];
    uint64_t mark; /* of the commit that last changed this record */
    uint32_t list;
    uint32_t n;
    uint32_t n_live;
    uint32_t stride;
    uint32_t rows_per_block;
    uint32_t flags;
    int64_t min_id, max_id;
    float norm_lo, norm_hi;
    uint64_t live[SEGMENT_ROWS_MAX / 64];
};
struct run_record {
    uint64_t seq;
    uint32_t slot;
    uint32_t count;
};
struct block_header {
    uint16_t plane;
    uint16_t type;
    uint32_t n;
    uint32_t stride;
    uint32_t dim;
    uint32_t first;
    unsigned char nonce[NONCE_BYTES];
};

#define RECORD_CONFIG_BYTES 56u
#define RECORD_STATE_BYTES 64u
#define RECORD_RUN_BYTES 24u

void vindex__config_encode(const struct config *config, unsigned char out[RECORD_CONFIG_BYTES]);
vindex_status vindex__config_decode(struct bytes record, struct config *config);

void vindex__state_encode(const struct state *state, unsigned char out[RECORD_STATE_BYTES]);
vindex_status vindex__state_decode(struct bytes record, struct state *state);

/** out has room for RECORD_SEGMENT_MAX bytes; returns the size used. */
size_t vindex__segment_encode(const struct segment_record *segment, unsigned char *out);
/** Checked against the config: stride and rows per block fit row_bytes, n and live agree. */
vindex_status vindex__segment_decode(struct bytes record, const struct config *config,
                                     struct segment_record *segment);

void vindex__run_encode(const struct run_record *run, unsigned char out[RECORD_RUN_BYTES]);
vindex_status vindex__run_decode(struct bytes record, struct run_record *run);

/** out has room for RECORD_TAIL_HEAD + row.size bytes. */
void vindex__tail_encode(float norm, struct bytes row, unsigned char *out);
/** The row's bytes are borrowed from the record. */
vindex_status vindex__tail_decode(struct bytes record, const struct config *config, float *norm,
                                  const void **row);

/** Fill in the header (checksum included) of a block whose payload already lies at
 *  block + BLOCK_HEADER_BYTES. */
void vindex__block_seal(const struct block_header *header, unsigned char *block);
/** Checks lengths and fields against config; the checksum only where asked. */
vindex_status vindex__block_decode(struct bytes block, const struct config *config, bool checksum,
                                   struct block_header *header);

/** Bytes of a row as given, the stride of plane `full` (FORMAT.md 3), and rows in one of its blocks. */
size_t vindex__config_row_bytes(const struct config *config);
uint32_t vindex__full_stride(size_t row_bytes);
static inline uint32_t vindex__full_rows_per_block(uint32_t stride)
{
    return BLOCK_PAYLOAD_BYTES / stride;
}

#endif
