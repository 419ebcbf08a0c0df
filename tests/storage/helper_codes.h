/*
 * helper_codes.h - an index with derived planes, its records and blocks put by hand: whatever the
 * library would not write can be written here.
 *
 * Three segments of 130, 16384 and 1 rows (numbers 1, 2, 3), dim 18, f32. Contents follow from the
 * number of the segment alone, so that a test can make them again and compare.
 */
#ifndef VINDEX_TESTS_STORAGE_HELPER_CODES_H
#define VINDEX_TESTS_STORAGE_HELPER_CODES_H

#include "helper_store.h"
#include "storage/snapshot.h"

enum { CODES_DIM = 18, CODES_M = 64, CODES_P = 16, N_SEGMENTS = 3, N_AUDITS = 600 };

struct codes_index {
    struct store *store;
    struct session writer; /* open */
    struct config config;
    struct state state;
    struct segment_record segments[N_SEGMENTS + 1]; /* by number */
    struct codes_record codes[N_SEGMENTS + 1];
    struct model_record model;
    struct audits_record audits;
};

/** ":memory:" or a file. Nothing is committed yet but an empty index. */
void codes_index_create(struct codes_index *f, const char *path, vindex_metric metric);
void codes_index_close(struct codes_index *f);

/** Put into the next commit. The records kept in *f are those put last. */
void put_segment(struct codes_index *f, uint64_t seq);
void put_segment_record(struct codes_index *f, uint64_t seq);
void put_model(struct codes_index *f, unsigned char tag);
void put_model_record(struct codes_index *f);
void put_codes(struct codes_index *f, uint64_t seq, uint32_t m, uint32_t p, uint32_t flags);
void put_codes_record(struct codes_index *f, uint64_t seq, const struct codes_record *record);
void put_audits(struct codes_index *f, uint32_t n);
void put_audits_record(struct codes_index *f);
/** Model, segments, codes (m = CODES_M, p = CODES_P, c8) and audits, committed. */
void put_all(struct codes_index *f);

void del_block(struct codes_index *f, const unsigned char nonce[NONCE_BYTES], enum plane plane,
               uint32_t index);
void del_codes(struct codes_index *f, uint64_t seq); /* record and blocks */
void del_model(struct codes_index *f);

/** Change the payload (with at < 0 the header, whose first byte is at -48) of a committed block,
 *  and make its checksum right. */
void bend_block(struct codes_index *f, const unsigned char nonce[NONCE_BYTES], enum plane plane,
                uint32_t index, long at, const void *bytes, size_t size);

/** Commit with a new mark. */
void commit_codes(struct codes_index *f);

/** All groups of a plane of a segment's codes, on the heap (free). */
unsigned char *make_groups(const struct codes_index *f, uint64_t seq, enum plane plane,
                           size_t *size);
/** Value i of the model's arrays; tag as put. */
float model_value(unsigned char tag, enum plane plane, size_t i);
/** All audits, on the heap (free). */
unsigned char *make_audits(const struct codes_index *f, size_t *size);

#endif
