/*
 * api.h - what the files behind the door share: handles, option decoding, callers' vectors.
 */
#ifndef VINDEX_API_API_H
#define VINDEX_API_API_H

#include <pthread.h>
#include <stdatomic.h>

#include "search/calibrate.h"
#include "search/search.h"
#include "storage/store.h"

struct index_devices;

struct vindex {
    struct store *store;
    struct config config;
    struct index_devices *devices;
    atomic_int n_handles; /* writers and searchers that are open */
    struct calibration *calibration; /* audits, shared by searchers */
    pthread_mutex_t audits_mutex;    /* of taking them over from the store */
    _Atomic uint64_t audits_mark;    /* of the commit they are of */
    unsigned char audits_nonce[NONCE_BYTES]; /* of the record taken over or stored last */
    atomic_bool audits_in_doubt; /* what they were learnt from may have been rolled back */
};

/**
 * Copy a caller's option struct over `mine` (already holding the defaults, i.e. zeros), reading the smaller
 * of both sizes. The struct starts with its size; bytes beyond mine_size must be zero.
 */
vindex_status vindex__options_read(const void *given, void *mine, size_t mine_size, const char *what);

/** The config a new index gets; refuses what does not go together. Leaves the uuid to the caller. */
vindex_status vindex__config_from(const vindex_create_options *options, struct config *config);

/** dim, type and metric as an application gave them. */
vindex_status vindex__check_shape(uint32_t dim, uint32_t type, uint32_t metric);

/* ---- calibrate.c ------------------------------------------------------------------------------ */

/** The last part of vindex_optimize: audit rows of the index, and the queries kept anew, and store the audits. Where there are no
 *  codes, or nothing is due, it does nothing. Cancellable through progress. */
vindex_status vindex__optimize_audits(vindex *index, uint32_t n_threads, vindex_progress_fn *progress,
                                      void *context);

/** index->calibration and what belongs to it, empty; once config is known. close: nothing where open was not called or failed. */
vindex_status vindex__audits_open(vindex *index);
void vindex__audits_close(vindex *index);
/** Whether commits may have changed model or audits since the last sync. */
bool vindex__audits_behind(vindex *index, const struct snapshot *snapshot);
/** Make the calibration that of the newest commit. Not while the session lends a snapshot. Any thread. */
vindex_status vindex__audits_sync(vindex *index, struct session *session);
/* ---- device.c -------------------------------------------------------------------------------- */

vindex_status vindex__devices_new(struct index_devices **devices);
/** No searcher is open. NULL is accepted. */
void vindex__devices_free(struct index_devices *devices);
/** VINDEX_PJRT_PLUGIN names the device of an index that is told of no other. */
void vindex__index_ask_environment(vindex *index);
/** The device of a search: by its text, NULL for the index's own; NULL is the CPU alone. */
vindex_status vindex__index_device(vindex *index, const char *text, struct device **device);

/** A handle without a store, and its end. */
vindex_status vindex__index_new(vindex **index);
void vindex__index_free(vindex *index);

/* ---- vectors.c: callers' vectors -------------------------------------------------------------- */

enum vectors_use { VECTORS_STORE, VECTORS_QUERY };

/** The type that rows of `type` have for this use: stored as they are; queries of f16 and bf16 as f32. */
uint32_t vindex__vectors_type(uint32_t type, enum vectors_use use);

/** Shape and type only: what can be checked without reading the rows. */
vindex_status vindex__vectors_check_shape(const vindex_vectors *vectors, uint32_t type, uint32_t dim);

/**
 * Check shape, type, finiteness, whole numbers, padding bits of all rows; the message names the first
 * wrong row and element.
 */
vindex_status vindex__vectors_check(const vindex_vectors *vectors, uint32_t type, uint32_t dim,
                                    enum vectors_use use);

/** Bytes from row to row. */
size_t vindex__vectors_stride(const vindex_vectors *vectors, uint32_t dim);

/** True if the rows are already as this use wants them (only perhaps not dense). */
bool vindex__vectors_are_native(const vindex_vectors *vectors, uint32_t type, enum vectors_use use);

/** Rows first .. first + n - 1 of checked vectors, converted and dense. */
void vindex__vectors_convert(const vindex_vectors *vectors, size_t first, size_t n, uint32_t type,
                             uint32_t dim, enum vectors_use use, void *out);

#endif
