/*
 * helper_views.h - what the tests of derived planes look at: views, their codes and models held against what
 * helper_codes.h put, and what check says of a store.
 */
#ifndef VINDEX_TESTS_STORAGE_HELPER_VIEWS_H
#define VINDEX_TESTS_STORAGE_HELPER_VIEWS_H

#include "helper_codes.h"

struct view {
    struct store *store;
    struct session session;
    const struct snapshot *snapshot;
};

vindex_status try_view(struct store *store, struct view *v);
struct view open_view(struct store *store);
void close_view(struct view *v);

/** The part of a segment, which must be there. */
const struct part *part_of(const struct snapshot *snapshot, uint64_t seq);
/** A segment's codes, a model put with this tag, an array of f32: exactly as put. */
void check_codes(const struct codes_index *f, const struct snapshot *snapshot, uint64_t seq);
void check_model(const struct codes_index *f, const struct snapshot *snapshot, unsigned char tag);
void check_array(const float *array, size_t n, unsigned char tag, enum plane plane);

/** Whether all blocks of segment 2's codes are there, with the checksums asked for. */
bool codes_are_whole(const struct codes_index *f, struct store *store, bool checksum);

/** check finds something with these words; NULL: nothing at all. */
void check_says(struct store *store, const char *name, const char *words);

/** The same body for a store in memory and for a file. */
typedef void body_fn(struct codes_index *f);
void on_both_stores(body_fn *body);

#endif
