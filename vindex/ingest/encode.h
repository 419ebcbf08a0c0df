/*
 * encode.h - the rows of a segment become groups of codes (kernels/codes.h), on the threads of a pool. What becomes of
 * the groups is codes.c's business.
 */
#ifndef VINDEX_INGEST_ENCODE_H
#define VINDEX_INGEST_ENCODE_H

#include "base/threads.h"
#include "ingest/internal.h"
#include "kernels/codes.h"

/* Where the rows of a segment are: in blocks, or in the transaction's buffer in the order of sealing. */
struct row_source {
    const struct ingest *in;
    const struct segment_record *record;
    const unsigned char **blocks; /* NULL: in the buffer */
};

/* Groups of one segment, all planes that it gets; the buffers are kept from one to the next. */
struct groups {
    unsigned char *c4, *c8, *p8;
    size_t c4_capacity, c8_capacity, p8_capacity;
    bool has_c8, has_p8; /* false: there is no such plane, or some row leaves the range of f32 */
    struct vkern_c8_facts c8_facts;
    struct vkern_p8_facts p8_facts;
};

void vindex__groups_deinit(struct groups *groups);

struct encoder;

/**
 * The model is copied, its arrays and the pool (NULL: the calling thread alone) are borrowed. m 0: no c4; p 0: no p8.
 * Scratch is (3 dim + m) KiB for each thread of the pool.
 */
vindex_status vindex__encoder_open(const struct vkern_model *model, uint32_t type, bool has_c8,
                                   struct pool *pool, struct encoder **encoder);
void vindex__encoder_close(struct encoder *encoder);

/** Encode all rows of a segment. The groups are the same bytes for any number of threads. */
vindex_status vindex__encode(struct encoder *encoder, const struct row_source *source,
                             struct groups *groups);

#endif
