/*
 * evidence.h - what the audits kept say of one k and target: the step that is proven to be enough, and the one that may
 * be assumed to be. Pure but for the count of newer rows; calibrate.h has the rules in words.
 */
#ifndef VINDEX_SEARCH_EVIDENCE_H
#define VINDEX_SEARCH_EVIDENCE_H

#include "search/audit_rings.h"

/* The rows as they are now, and how many of them came after one commit (asked again and again for the same). */
struct now {
    uint64_t n_rows;
    const struct snapshot *snapshot; /* NULL: no row is newer than the audits */
    uint64_t seq, n_newer;           /* n_newer: of segments from seq on */
};
struct now vindex__now_of(const struct effort_ask *ask);
/** Rows of the segments from seq on. */
uint64_t vindex__now_newer(struct now *now, uint64_t seq);

struct question {
    size_t k;
    double prove, assume; /* the losses allowed */
};

/* A step and what was found there. step EFFORT_NONE: there is none. */
struct choice {
    uint32_t step;
    enum basis basis;
    uint64_t n;
    double mean, bound; /* of the loss; bound 1 where nothing was proven */
};

struct verdict {
    struct choice proven, assumed;
    const char *reason; /* why nothing is assumed */
};

struct verdict vindex__evidence_weigh(const struct audit_rings *audits,
                                      const struct question *question, struct now *now);

/** Over n audits at k: rows missed, and the sum of their squares. */
struct loss vindex__loss_of(uint64_t n, uint64_t missed, uint64_t squares, size_t k);

#endif
