/*
 * blocks.h - the block store: immutable values of at most BLOCK_BYTES, named by segment nonce, plane and
 * index. A block nobody names is garbage, so puts may reach the disk before the catalog commit.
 */
#ifndef VINDEX_STORAGE_BLOCKS_H
#define VINDEX_STORAGE_BLOCKS_H

#include "base/bytes.h"
#include "vindex.h"

#define BLOCK_BYTES 262128u /* 64 pages of 4 KiB less LMDB's page header */
#define BLOCK_HEADER_BYTES 48u
#define BLOCK_PAYLOAD_BYTES (BLOCK_BYTES - BLOCK_HEADER_BYTES)
#define NONCE_BYTES 16

enum plane {
    PLANE_FULL = 1,
    PLANE_IDS = 2,
    PLANE_NORM = 3,
    PLANE_MEAN = 16, /* 16..19: of a model */
    PLANE_SCALE = 17,
    PLANE_AXES = 18,
    PLANE_DEVIATION = 19,
    PLANE_AUDITS = 20,
    PLANE_C4 = 32, /* derived, of a segment */
    PLANE_C8 = 33,
    PLANE_P8 = 34
};

struct block_key {
    unsigned char nonce[NONCE_BYTES];
    uint16_t plane;
    uint32_t index;
};

struct blocks;

struct blocks_ops {
    /* Copies the value. May write to the store at once (with flag 1 of the state record set, FORMAT.md 5)
       when much is pending; then only commit's catalog part is still to come. What the session's view
       lent stays valid. On failure this value was not put, and those before are kept. */
    vindex_status (*put)(struct blocks *b, const struct block_key *key, struct bytes value);
    /* The value as of the session's view; value->data NULL: no such block. Valid until the view is
       released or renewed with another stamp. Not for blocks this session put and has not committed. */
    vindex_status (*get)(struct blocks *b, const struct block_key *key, struct bytes *value);
    /* Delete with the next commit. */
    vindex_status (*del)(struct blocks *b, const struct block_key *key);
    /* The first block with key > *key in (nonce, plane, index) order, as of the view; start from all zeros
       with plane 0. *found false at the end. */
    vindex_status (*next)(struct blocks *b, struct block_key *key, bool *found);
    /* Whatever was put is on disk when this returns. Release the view before: the map may have to grow. */
    vindex_status (*sync)(struct blocks *b);
};

struct blocks {
    const struct blocks_ops *ops;
};

static inline vindex_status blocks_put(struct blocks *b, const struct block_key *key, struct bytes value)
{
    return b->ops->put(b, key, value);
}
static inline vindex_status blocks_get(struct blocks *b, const struct block_key *key,
                                       struct bytes *value)
{
    return b->ops->get(b, key, value);
}
static inline vindex_status blocks_del(struct blocks *b, const struct block_key *key)
{
    return b->ops->del(b, key);
}
static inline vindex_status blocks_next(struct blocks *b, struct block_key *key, bool *found)
{
    return b->ops->next(b, key, found);
}

#endif
