/*
 * snapshot.h - an immutable picture of one catalog epoch: segments, live bitmaps, the decoded tail, and
 * pointers to the blocks. Storage and kernels meet here: a search sees parts and row blocks, never a
 * catalog.
 *
 * Building is incremental: segments whose record did not change are shared with the snapshot before,
 * block pointers are looked up again only when the store's stamp moved.
 */
#ifndef VINDEX_STORAGE_SNAPSHOT_H
#define VINDEX_STORAGE_SNAPSHOT_H

#include "storage/store.h"

/** A run of rows that lie stride bytes apart. Borrowed, any alignment. */
struct block {
    const void *rows;
    size_t stride;
    uint32_t n;
    uint32_t first; /* slot of row 0 in its part */
};

/** The derived planes of a segment, of the snapshot's model. Blocks hold groups (kernels/codes.h): n counts them, stride is a
 *  group's bytes, first the slot of the first group's first row. */
struct part_codes {
    const struct block *c4, *c8, *p8; /* NULL: not there */
    uint32_t n_c4, n_c8, n_p8;        /* blocks */
    bool whole, is_signed;
    float c8_error, c8_size, c8_bias;
    float p8_error, p8_size, p8_bias, p8_drift;
    struct codes *record; /* private to storage */
};

/** What the codes of a snapshot are relative to. Arrays of f32, each 64-byte aligned, all finite, on the heap as long as the snapshot
 *  lives. */
struct model {
    unsigned char nonce[NONCE_BYTES];
    uint64_t n_rows; /* live when it was trained */
    uint32_t m, p; /* axes of planes c4 and p8 */
    float clip, energy;
    float axes_norm; /* of the first p axes as a matrix: its spectral norm is no larger; 0 where p is 0 */
    float p8_share;  /* of the rows that these leave in for the ten nearest, by estimate */
    const float *mean, *scale;     /* [dim]; scale > 0 */
    const float *axes, *deviation; /* [max(m, p), dim], [max(m, p)], deviation > 0; NULL where both are 0 */
};

/** A segment or the tail. Row `slot` of a part has position base + slot in the snapshot. */
struct part {
    const struct block *blocks; /* every block but the last holds blocks[0].n rows */
    uint32_t n_blocks;
    uint32_t n;
    uint32_t n_live;
    bool ids_ascend;       /* slots ascend by id */
    bool is_tail;
    uint64_t base;         /* position of slot 0 */
    const void *ids;       /* int64 [n], any alignment: read with part_id */
    const void *norms;     /* f32 [n], any alignment; NULL for type bit */
    const uint64_t *live;  /* bitmap [n] */
    float norm_lo, norm_hi; /* over rows with norm > 0 (0 = none), and over all */
    int64_t min_id, max_id;
    uint64_t seq;          /* of the segment; 0 for the tail */
    const struct part_codes *codes; /* NULL: none (the tail, segments not encoded yet) */
    const unsigned char *nonce; /* the segment's name, NONCE_BYTES; NULL for the tail */
    struct segment *segment; /* private to storage; NULL for the tail */
};

struct snapshot {
    struct config config;
    struct state state;
    uint64_t stamp;
    const struct part *parts; /* segments by seq, then the tail if it has rows */
    uint32_t n_parts;
    uint64_t n_positions; /* sum of n */
    uint64_t n_live;
    const struct model *model; /* NULL: never trained, or lost */
    struct snapshot_body *body; /* private */
};

static inline int64_t part_id(const struct part *part, uint32_t slot)
{
    int64_t id;
    memcpy(&id, (const char *)part->ids + 8 * (size_t)slot, 8);
    return id;
}
static inline float part_norm(const struct part *part, uint32_t slot)
{
    float norm;
    memcpy(&norm, (const char *)part->norms + 4 * (size_t)slot, 4);
    return norm;
}
static inline const void *part_row(const struct part *part, uint32_t slot)
{
    uint32_t per_block = part->blocks[0].n;
    const struct block *block = &part->blocks[slot / per_block];
    return (const char *)block->rows + (size_t)(slot % per_block) * block->stride;
}

/** The part holding a position (binary search); position < n_positions. */
const struct part *vindex__snapshot_find(const struct snapshot *snapshot, uint64_t position);
/** The first slot of a part with ids_ascend whose id is >= id; part->n: there is none. */
uint32_t vindex__part_lower(const struct part *part, int64_t id);

/**
 * Begin the session's read view and lend the snapshot it shows. Reference-counted, shared by threads.
 * Call vindex__snapshot_release before the session is used for anything else.
 */
vindex_status vindex__snapshot_acquire(struct store *store, struct session *session,
                                       const struct snapshot **snapshot);
/** Drops the reference and ends the view. */
void vindex__snapshot_release(struct store *store, struct session *session,
                              const struct snapshot *snapshot);

/** Live rows of the segments numbered from seq on: what was sealed since a state whose next_seq it was. */
uint64_t vindex__rows_since(const struct snapshot *snapshot, uint64_t seq);

/** Whether an id has a live row: its part and slot, part NULL if not. Binary search where slots ascend. */
struct row_place {
    const struct part *part;
    uint32_t slot;
};
struct row_place vindex__snapshot_locate(const struct snapshot *snapshot, int64_t id);

/** The store's own: made by store_open, freed by store_close. */
vindex_status vindex__snapshot_cache_new(struct snapshot_cache **cache);
void vindex__snapshot_cache_free(struct snapshot_cache *cache);
/** Forget the current snapshot; lent ones live on. */
void vindex__snapshot_cache_clear(struct snapshot_cache *cache);

/**
 * After a commit of this process that led from one mark to another (record.h): the ids whose tail records it
 * wrote or deleted. Lets the next snapshot be built from the last one in time proportional to n. Not
 * calling it costs time, never correctness.
 */
void vindex__snapshot_note(struct store *store, uint64_t from, uint64_t to, const int64_t *ids, size_t n);

/**
 * Read the audits kept in the catalog (for vindex__calibration_load): record->n entries of record->entry_bytes, on the heap (vindex__free).
 * record->n 0, *entries NULL: there are none. Begins and ends a view of its own: not while the session lends a snapshot.
 */
vindex_status vindex__snapshot_audits(struct store *store, struct session *session,
                                      struct audits_record *record, unsigned char **entries);

/**
 * Before a part's rows or codes are read: where the store is suspect, verify the checksums of its blocks, once in
 * the process. Cheap otherwise.
 */
vindex_status vindex__part_touch(const struct snapshot *snapshot, const struct part *part);
/** The same for its ids alone: before rows are chosen by them. */
vindex_status vindex__part_touch_ids(const struct snapshot *snapshot, const struct part *part);

#endif
