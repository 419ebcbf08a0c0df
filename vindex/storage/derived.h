/*
 * derived.h - what a snapshot holds of derived planes (FORMAT.md 2, 3): the model on the heap, and
 * the codes record and block pointers of a segment. For snapshots, and for ingest, which encodes
 * relative to the same model and looks for what was lost; searches see snapshot.h alone.
 *
 * All of it may be missing or out of date, and is then as if it were not there. What is there and
 * makes no sense is VINDEX_CORRUPT.
 */
#ifndef VINDEX_STORAGE_DERIVED_H
#define VINDEX_STORAGE_DERIVED_H

#include <stdatomic.h>

#include "storage/snapshot.h"

/* Records with equal bytes name equal blocks: their nonces are random. */

/** A model, shared by the snapshots that have it. Never changes once built. */
struct model_copy {
    atomic_uint refs;
    unsigned char bytes[RECORD_MODEL_BYTES]; /* the record */
    struct model model;
    float *heap; /* its arrays */
};

/** The codes record of a segment, shared likewise. */
struct codes {
    atomic_uint refs;
    atomic_bool is_verified; /* its blocks' checksums were looked at in this process */
    unsigned char bytes[RECORD_CODES_BYTES];
    struct codes_record record;
};

void vindex__model_unref(struct model_copy *model);
void vindex__codes_unref(struct codes *codes);

/** The model the session's view shows, a new reference: to old (may be NULL) where the record is
 *  the same. *model NULL: there is none, or it lacks a block. Checksums are verified. */
vindex_status vindex__model_acquire(struct session *session, const struct config *config,
                                    struct model_copy *old, struct model_copy **model);

/** The codes of a record, a new reference: to old (may be NULL) where it is the same. *codes NULL:
 *  it is not of this segment and this model. */
vindex_status vindex__codes_acquire(struct bytes bytes, const struct segment_record *segment,
                                    const struct model *model, struct codes *old,
                                    struct codes **codes);

/** How many blocks a record names. */
uint32_t vindex__codes_blocks(const struct codes *codes, const struct config *config);

/** Look the blocks up, their headers checked against the record. `blocks` has room for
 *  codes_blocks. *is_whole false: one is missing, or the record names none. */
vindex_status vindex__codes_lookup(struct blocks *store, const struct config *config,
                                   struct codes *codes, struct block *blocks,
                                   struct part_codes *part, bool *is_whole);

/** Whether every block a record names is there and is the one it names; `checksum`: and undamaged. Damage is an
 *  answer here, no failure. A record that names no block is whole. */
vindex_status vindex__codes_are_whole(struct blocks *store, const struct config *config,
                                      const struct codes_record *record, bool checksum,
                                      bool *is_whole);

/** Verify the checksums of all blocks, once in the process. */
vindex_status vindex__codes_verify(const struct config *config, const struct part_codes *part);

/** The checksum of the block whose payload this is: the header lies right before it. */
vindex_status vindex__verify_payload(const struct config *config, const void *payload,
                                     size_t payload_bytes);

/** The audits the session's view shows, as vindex__snapshot_audits lends them. */
vindex_status vindex__audits_acquire(struct session *session, const struct config *config,
                                     struct audits_record *record, unsigned char **entries);

#endif
