/*
 * check.h - walk every record and block of a session's view and verify that they agree: checksums, ids
 * against slots, runs, live bitmaps, counts, orphans. Knows no metric: factors are verified by a callback.
 */
#ifndef VINDEX_STORAGE_CHECK_H
#define VINDEX_STORAGE_CHECK_H

#include "storage/store.h"

/** Whether a row's stored norm is right. */
typedef bool vindex__norm_fn(const struct config *config, const void *row, float norm);

struct check {
    vindex_finding_fn *finding; /* may be NULL */
    void *context;
    vindex__norm_fn *norm_is_right; /* may be NULL */
    uint64_t n_findings;
};

/** VINDEX_OK: sound; VINDEX_CORRUPT: findings were reported, the first is the message. */
vindex_status vindex__check_store(struct store *store, struct session *session, struct check *check);

#endif
