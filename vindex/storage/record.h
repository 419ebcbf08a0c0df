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
    uint32_t metric; /* vindex_metric; storage looks at it for the width of plane p8 alone */
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

/** What codes are relative to (FORMAT.md 2, model); the arrays lie in blocks. */
#define MODEL_AXES_MAX 1024u
struct model_record {
    unsigned char nonce[NONCE_BYTES];
    uint64_t n_rows; /* live when it was trained */
    uint32_t m;      /* axes; 0 = no plane c4 */
    float clip;
    float energy;
    uint32_t p;      /* axes of plane p8; 0 = there is none. max(m, p) axes are kept */
    float axes_norm; /* no less than the spectral norm of these; 0 where p is 0, as the next */
    float p8_share;  /* of the rows that these leave in for the ten nearest, by estimate */
};
/** Derived planes of one segment. */
#define CODES_C8 1u
#define CODES_WHOLE 2u
#define CODES_SIGNED 4u
struct codes_record {
    unsigned char nonce[NONCE_BYTES];
    unsigned char segment[NONCE_BYTES];
    unsigned char model[NONCE_BYTES];
    uint32_t n, m;
    uint32_t flags; /* CODES_* */
    float c8_error, c8_size, c8_bias;
    uint32_t p; /* axes of plane p8; 0 = there is none */
    float p8_error, p8_size, p8_bias, p8_drift;
};
/** Where the audits are. */
#define AUDITS_MAX 5120u      /* 1,024 rows and 4,096 queries (search/calibrate.h) */
#define AUDIT_HEAD_BYTES 1048u /* of one audit, before its query */
#define AUDITS_VERSION 1u
struct audits_record {
    unsigned char nonce[NONCE_BYTES];
    unsigned char model[NONCE_BYTES];
    uint64_t n_rows;
    uint32_t n;
    uint32_t entry_bytes;
    uint32_t version;
};

#define RECORD_MODEL_BYTES 56u
#define RECORD_MODEL_SHORT 48u /* without plane p8 */
#define RECORD_CODES_BYTES 104u
#define RECORD_CODES_SHORT 80u
#define RECORD_AUDITS_BYTES 64u
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

void vindex__model_encode(const struct model_record *model, unsigned char out[RECORD_MODEL_BYTES]);
vindex_status vindex__model_decode(struct bytes record, struct model_record *model);
void vindex__codes_encode(const struct codes_record *codes, unsigned char out[RECORD_CODES_BYTES]);
/** Whether the record is of the segment and the model that are current is the caller's question. */
vindex_status vindex__codes_decode(struct bytes record, struct codes_record *codes);
void vindex__audits_encode(const struct audits_record *audits, unsigned char out[RECORD_AUDITS_BYTES]);
vindex_status vindex__audits_decode(struct bytes record, struct audits_record *audits);

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

/**
 * How the entries of a plane outside plane `full` lie in its blocks (FORMAT.md 3): each block but the last holds
 * per_block of them. n_blocks 0: the plane is not there.
 */
#define GROUP_ROWS 16u /* rows in a group of codes */
struct plane_layout {
    uint32_t n;         /* entries */
    uint32_t stride;    /* bytes of one */
    uint32_t per_block;
    uint32_t n_blocks;
    uint32_t slots; /* of an entry: GROUP_ROWS where it is a group, else 1 */
};
/** plane: MEAN, SCALE, AXES or DEVIATION. */
struct plane_layout vindex__model_layout(const struct model_record *model, const struct config *config,
                                         enum plane plane);
/** plane: C4, C8 or P8; not there where the record says so, or where a block could not hold one group. */
struct plane_layout vindex__codes_layout(const struct codes_record *codes, const struct config *config,
                                         enum plane plane);
/** Of plane AUDITS. */
struct plane_layout vindex__audits_layout(const struct audits_record *audits);
/** Entries of block `index` (< n_blocks), and what its header says under "slot of the first entry". */
static inline uint32_t layout_block_n(const struct plane_layout *layout, uint32_t index)
{
    uint32_t left = layout->n - index * layout->per_block;
    return left < layout->per_block ? left : layout->per_block;
}
static inline uint32_t layout_block_first(const struct plane_layout *layout, uint32_t index)
{
    return index * layout->per_block * layout->slots;
}

/** Bytes of a group of plane c4. */
static inline uint32_t c4_stride(uint32_t m)
{
    return 8 * m + 64;
}
/** Bytes of a group of plane c8; 0 where that is more than a block holds (dim > 16368): there is no such plane then. */
static inline uint32_t c8_stride(uint32_t dim)
{
    uint32_t stride = 64 * ((dim + 3) / 4) + 192;
    return stride <= BLOCK_PAYLOAD_BYTES ? stride : 0;
}
/** Elements of a row in plane p8: its projections on p axes, and under ip what lies outside of them. */
static inline uint32_t p8_dim(uint32_t p, uint32_t metric)
{
    return metric == VINDEX_IP ? p + 1 : p;
}
/** Bytes of a group of plane p8; every p up to MODEL_AXES_MAX fits. */
static inline uint32_t p8_stride(uint32_t p, uint32_t metric)
{
    return 64 * ((p8_dim(p, metric) + 3) / 4) + 192;
}
/** Bytes of an audit: with its query, or without where a block could not hold it (dim > 65258). */
static inline uint32_t audit_stride(uint32_t dim)
{
    uint32_t stride = AUDIT_HEAD_BYTES + 4 * dim;
    return stride <= BLOCK_PAYLOAD_BYTES ? stride : AUDIT_HEAD_BYTES;
}

/** Bytes of a row as given, the stride of plane `full` (FORMAT.md 3), and rows in one of its blocks. */
size_t vindex__config_row_bytes(const struct config *config);
uint32_t vindex__full_stride(size_t row_bytes);
static inline uint32_t vindex__full_rows_per_block(uint32_t stride)
{
    return BLOCK_PAYLOAD_BYTES / stride;
}

#endif
