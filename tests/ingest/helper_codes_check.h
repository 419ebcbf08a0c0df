/*
 * helper_codes_check.h - rows to train on, and whether every code of an index stands for its row.
 */
#ifndef VINDEX_TESTS_INGEST_HELPER_CODES_CHECK_H
#define VINDEX_TESTS_INGEST_HELPER_CODES_CHECK_H

#include "storage/blocks.h"
#include "vindex.h"

/** n rows of dim elements whose deviations fall from element to element; whole numbers in -128..127 where asked. The same
 *  seed gives the same rows. Free them. */
float *helper_rows(size_t n, uint32_t dim, uint64_t seed, bool whole);

/** What a look at all codes found. */
struct codes_found {
    uint64_t n_rows;  /* slots with codes */
    uint64_t n_parts; /* segments with codes */
    uint32_t m, p;
    bool has_model;
    unsigned char model[NONCE_BYTES];
    uint64_t model_rows;
};

/**
 * Decode all planes of every segment and compare with its rows: 4-bit codes within half a step or clipped, 8-bit ones within
 * half a step (and the drift of projections) and, all together, within the error their record states. Fails the test where that is not so.
 */
void helper_check_codes(vindex *index, struct codes_found *found);

/** vindex_check, with its findings as the message of the failure. */
void helper_check_index(vindex *index);

#endif
