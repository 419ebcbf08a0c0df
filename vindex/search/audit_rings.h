/*
 * audit_rings.h - the audits an index keeps: two rings, the vectors of the last queries, and their form in the store. What
 * they say is evidence.h's; their lock and what is done with them calibrate.c's.
 */
#ifndef VINDEX_SEARCH_AUDIT_RINGS_H
#define VINDEX_SEARCH_AUDIT_RINGS_H

#include "search/calibrate.h"

#define ROWS_KEPT 1024u
#define QUERIES_KEPT 1024u
#define QUERIES_KEPT_MAX 4096u

enum stored { NOT_STORED, IN_A_SAVE, STORED };

struct kept_audit {
    uint8_t kind;   /* enum audit_kind */
    uint8_t stored; /* enum stored */
    uint16_t depth;
    uint64_t n_rows, next_seq;
    uint64_t vector; /* number of its vector + 1; 0 = none */
    uint8_t effort[AUDIT_DEPTH_MAX];
};

/* The last n of all audits added; number i (from 0) lies at i % capacity. */
struct audit_ring {
    struct kept_audit *items;
    size_t capacity, n;
    uint64_t end; /* number of the next */
};

struct audit_rings {
    uint32_t dim;
    struct audit_ring rows, queries;
    float *vectors; /* [n_vectors_max, dim], number i at i % n_vectors_max; NULL before the first */
    size_t n_vectors_max, n_vectors;
    uint64_t vectors_end; /* number of the next */
};

/* The i-th oldest. */
static inline struct kept_audit *ring_at(const struct audit_ring *ring, size_t i)
{
    return &ring->items[(ring->end - ring->n + i) % ring->capacity];
}

/** Room for at least this many; what it holds stays. */
vindex_status vindex__ring_reserve(struct audit_ring *ring, size_t capacity);

void vindex__rings_init(struct audit_rings *audits, uint32_t dim);
void vindex__rings_deinit(struct audit_rings *audits);

/** query: f32 [dim] or NULL; its copy is only kept where there is memory for it. *kept is good until the next change. */
vindex_status vindex__rings_add(struct audit_rings *audits, const struct audit *audit,
                                const float *query, const struct kept_audit **kept);
/** Forget all queries but the last n, and all vectors before theirs. */
void vindex__rings_keep_last(struct audit_rings *audits, size_t n);
/** Copies the last kept vectors, at most max, oldest first; returns how many. queries NULL: only counts. first (may be
 *  NULL): the number of the first of them. */
size_t vindex__rings_vectors(const struct audit_rings *audits, float *queries, size_t max,
                             uint64_t *first);
/** Forget the vectors with numbers below `end` and the audits of theirs: the same query twice would pass for two. */
void vindex__rings_drop_vectors(struct audit_rings *audits, uint64_t end);

/** All of them in FORMAT.md 4b's form: *n entries of *entry_bytes, on the heap. Until settled, they count as
 *  stored. */
vindex_status vindex__rings_encode(struct audit_rings *audits, uint32_t *n, uint32_t *entry_bytes,
                                   unsigned char **entries);
/** Stored audits in place of those held, before the live ones that no store has. CORRUPT: nothing was taken. */
vindex_status vindex__rings_decode(struct audit_rings *audits, const struct audits_record *record,
                                   const unsigned char *entries);
/** Whether what encode gave is in the store now. */
void vindex__rings_settle(struct audit_rings *audits, bool is_stored);

#endif
