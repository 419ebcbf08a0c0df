/*
 * check_walk.h - what check.c and check_derived.c share: the walk over one view. Private to check.
 */
#ifndef VINDEX_STORAGE_CHECK_WALK_H
#define VINDEX_STORAGE_CHECK_WALK_H

#include "storage/check.h"

struct checked_segment {
    uint64_t seq;
    struct segment_record record;
    const unsigned char *ids; /* NULL: its ids plane is damaged */
    uint32_t n_named;         /* live slots named by runs */
};

struct walk {
    struct check *check;
    struct session *session;
    struct config config;
    struct state state;
    struct checked_segment *segments; /* ascending by seq */
    size_t n_segments, capacity;
    uint64_t n_live, n_tail;
    bool has_model, has_audits; /* a record that decodes */
    bool has_foreign_audits;    /* one of a version this library does not know */
    struct model_record model;
    struct audits_record audits;
    struct codes_record *codes; /* those that decode */
    size_t n_codes, codes_capacity;
    char first[512];
};

/** Report one finding. */
void vindex__check_found(struct walk *w, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/** A failure of the walk itself (memory, I/O) ends it and is returned; a corruption becomes a
 *  finding. */
vindex_status vindex__check_absorb(struct walk *w, vindex_status st, const char *what,
                                   uint64_t number);

/** The segment with this number, or NULL. */
struct checked_segment *vindex__check_segment(struct walk *w, uint64_t seq);

/** check_derived.c: the model, the codes and the audits; after the segments. */
vindex_status vindex__check_derived(struct walk *w);

#endif
