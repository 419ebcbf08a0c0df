/*
 * internal.h - what the files of ingest/ share: the transaction, its buffer of fresh rows, its dirty
 * segments.
 */
#ifndef VINDEX_INGEST_INTERNAL_H
#define VINDEX_INGEST_INTERNAL_H

#include "base/ordmap.h"
#include "ingest/ingest.h"

/* ---- buffer.c: fresh rows by id ------------------------------------------------------------ */

/*
 * Rows in order of arrival, and an open-addressing hash table id -> index. A row that is taken out leaves a
 * hole (is_hole) that sealing passes over.
 */
struct buffer {
    uint32_t capacity; /* rows: one segment's worth */
    uint32_t n;        /* slots used, holes included */
    uint32_t n_holes;
    size_t row_bytes;
    unsigned char *rows; /* dense, grown as needed */
    size_t rows_capacity;
    int64_t *ids;
    float *norms;
    uint64_t *is_hole;
    uint32_t *table; /* index + 1, 0 = free; power of two, at least twice the capacity */
    uint32_t table_mask;
};

vindex_status vindex__buffer_init(struct buffer *buffer, const struct config *config);
void vindex__buffer_deinit(struct buffer *buffer);
void vindex__buffer_clear(struct buffer *buffer);
/** The row's index, or UINT32_MAX. */
uint32_t vindex__buffer_find(const struct buffer *buffer, int64_t id);
/** The id must not be there and the buffer not full. */
vindex_status vindex__buffer_add(struct buffer *buffer, int64_t id, const void *row, float norm);
void vindex__buffer_replace(struct buffer *buffer, uint32_t index, const void *row, float norm);
void vindex__buffer_take_out(struct buffer *buffer, uint32_t index);
static inline bool buffer_is_full(const struct buffer *buffer)
{
    return buffer->n == buffer->capacity;
}
static inline uint32_t buffer_live(const struct buffer *buffer)
{
    return buffer->n - buffer->n_holes;
}

/* ---- segments.c: segment records this transaction reads and changes --------------------------- */

/*
 * A segment that was dropped stays here until the flush: runs of ids may still name it. They are deleted last,
 * because whoever seeks a run has to pass over every deleted one.
 */
struct open_segment {
    uint64_t seq;
    bool is_dirty;
    bool is_gone;
    struct segment_record record;
};

struct segments {
    struct open_segment **items; /* ascending by seq */
    size_t n, capacity;
};

/* ---- the transaction ------------------------------------------------------------------------ */

struct id_index;
struct coder;

struct ingest {
    struct session *session;
    struct config config;
    struct state state; /* as it will be after commit; epoch and mark are still the base's */
    uint64_t mark;      /* of the commit to come */
    struct buffer buffer;
    struct segments open; /* records this transaction has looked at */
    struct ordmap *fresh;   /* ids.c: the runs put by this transaction, as the catalog has them */
    uint64_t gone_below;    /* every segment below this number was dropped */
    uint64_t base_next_seq; /* segments from here on were sealed by this transaction */
    int64_t *touched; /* ids whose tail records were written or deleted; for the next snapshot */
    size_t n_touched, touched_capacity;
    bool touched_all; /* too many to name, or the tail was sealed */
    bool changed;
    bool has_orphans; /* this transaction leaves blocks that no record names */
    bool flushed; /* buffer and dirty records are in the catalog: only its commit is left */
    vindex_status failed; /* not OK: only free is left */
    int64_t began_ns;
    unsigned char *scratch; /* INGEST_SCRATCH_BYTES: a block or a record on its way out */
    struct id_index *order; /* [buffer.capacity], for sealing */
    struct coder *coder;    /* codes.c: the model and scratch of encoding; NULL until needed */
    struct pool *pool;      /* that encoding may use; NULL: the calling thread alone */
};

/* A tail record of the largest row is larger than a block. */
#define INGEST_SCRATCH_BYTES (BLOCK_BYTES + 64u)

struct id_index {
    int64_t id;
    uint32_t index;
};

/** The record, to read; loaded on first use. NULL: the segment was dropped. Valid until then. */
vindex_status vindex__segments_get(struct ingest *in, uint64_t seq,
                                   const struct segment_record **record);
/** Put a new segment's record into the catalog. */
vindex_status vindex__segments_put(struct ingest *in, uint64_t seq,
                                   const struct segment_record *record);
/** Clear a live bit; the last one drops the segment. Changes reach the catalog with segments_flush. */
vindex_status vindex__segments_clear(struct ingest *in, uint64_t seq, uint32_t slot);
/** Remove a segment: record and blocks now, with the flush the runs that name it. Row counts are the
 *  caller's. */
vindex_status vindex__segments_drop(struct ingest *in, uint64_t seq);
vindex_status vindex__segments_flush(struct ingest *in);
void vindex__segments_forget(struct ingest *in);
/** The next committed segment after *seq; *seq 0: there is none. */
vindex_status vindex__next_segment(struct ingest *in, uint64_t *seq,
                                   const struct segment_record **record);
/** The payload of a committed segment's block, checksum verified; valid during the view. */
vindex_status vindex__segment_block(struct session *session, const struct config *config,
                                    const struct segment_record *record, enum plane plane,
                                    uint32_t index, const unsigned char **payload, uint32_t *n);
vindex_status vindex__segments_block(struct ingest *in, const struct segment_record *record,
                                     enum plane plane, uint32_t index, const unsigned char **payload,
                                     uint32_t *n);

/* ---- ids.c: runs of ids ---------------------------------------------------------------------- */

/** The run covering id: *seq 0 if there is none, else the slot of the id. */
vindex_status vindex__runs_find(struct ingest *in, int64_t id, uint64_t *seq, uint32_t *slot);
/** Ids first .. first + count - 1 lie in slots slot .. of segment seq from now on. */
vindex_status vindex__runs_set(struct ingest *in, int64_t first, uint32_t count, uint64_t seq,
                               uint32_t slot);
/** Delete every run that names seq; ids: the segment's ids plane (n entries, little-endian). */
vindex_status vindex__runs_drop(struct ingest *in, uint64_t seq, const unsigned char *ids, uint32_t n);
/** The same for many segments at once and without their planes, by looking at every run in [min_id, max_id]. */
typedef bool vindex__seq_fn(const struct ingest *in, uint64_t seq);
vindex_status vindex__runs_drop_between(struct ingest *in, vindex__seq_fn *is_gone, int64_t min_id,
                                        int64_t max_id);

/* ---- seal.c ---------------------------------------------------------------------------------- */

/** The buffer becomes one segment and is cleared. No row: nothing happens. */
vindex_status vindex__seal_buffer(struct ingest *in);
/** Tail rows go through the buffer into segments; what is left at the end becomes a segment if it has at
 *  least min_rows, and tail records otherwise. */
vindex_status vindex__seal_tail(struct ingest *in, uint32_t min_rows);
/** The buffer's rows become tail records. */
vindex_status vindex__buffer_to_tail(struct ingest *in);

/* ---- codes.c: derived planes (ingest.h has the rest) ------------------------------------------ */

/** Codes of the segment that is being sealed, from the buffer; none where the index has no model. */
vindex_status vindex__codes_put(struct ingest *in, uint64_t seq, const struct segment_record *record);
/** Delete a segment's codes, record and blocks; it may have none. The same for the model, the audits. */
vindex_status vindex__codes_drop(struct ingest *in, uint64_t seq);
vindex_status vindex__model_drop(struct ingest *in);
vindex_status vindex__audits_drop(struct ingest *in);
void vindex__coder_forget(struct ingest *in);

/* ---- writer.c ----------------------------------------------------------------------------------- */

/** Every public call sees the store through a view of its own and holds nothing afterwards. */
vindex_status vindex__ingest_enter(struct ingest *in);
/** Ends the view; passes st on. */
vindex_status vindex__ingest_leave(struct ingest *in, vindex_status st);

/** A tail record of this id was written or deleted. */
void vindex__touch(struct ingest *in, int64_t id);

/* ---- maintain.c ------------------------------------------------------------------------------- */

/** Delete the blocks that no record names. */
vindex_status vindex__collect_orphans(struct ingest *in);
/** A commit's share of compaction: at most max(5 ms, a tenth of the transaction's own time). */
vindex_status vindex__maintain_within_commit(struct ingest *in);

/** Remember a failure after which only free is left. */
static inline vindex_status ingest_fail(struct ingest *in, vindex_status st)
{
    if (st != VINDEX_OK && st != VINDEX_EXISTS && st != VINDEX_INVALID) in->failed = st;
    return st;
}

#endif
