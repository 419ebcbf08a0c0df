/*
 * resident.h - private to search/: which rows of a snapshot lie where on the devices.
 *
 * Rows lie in chunks of one size, segment after segment; the tail has a chunk of its own. A chunk has a
 * bias a row, -infinity where there is none or it is dead. A resident is an immutable picture of one
 * snapshot and shares buffers with the one before: a commit appends rows, replaces biases, replaces
 * the tail. When a quarter of the rows are of segments that are gone, all is loaded anew.
 */
#ifndef VINDEX_SEARCH_RESIDENT_H
#define VINDEX_SEARCH_RESIDENT_H

#include "kernels/pjrt/pjrt.h"
#include "search/call.h"
#include "search/device.h"

struct device_options {
    char plugin[512];      /* "": the environment's */
    uint64_t memory_bytes; /* of each device; 0: most of what is free */
    uint32_t n_devices;    /* 0: all */
    uint32_t chunk_rows;   /* 0: chosen */
    enum { STORE_AUTO, STORE_F32, STORE_BF16 } store;
    int64_t wait_ns;  /* for a result, before the device counts as lost */
    bool is_required; /* a search that it can not answer fails */
    bool is_cpu;
};

/** A device buffer that residents share. */
struct held {
    atomic_uint refs;
    struct vkern_pjrt_buffer *buffer;
    float *host; /* a bias: what was uploaded */
};

struct chunk {
    struct held *rows, *bias;
    struct held *base; /* host only: the bias of each row if it is live */
    size_t device;
    uint32_t capacity, used, n_live;
    uint32_t loaded; /* rows that are on the device */
};

#define NO_PART UINT32_MAX
/** Slots [slot, slot + n) of a segment are rows [row, row + n) of a chunk. */
struct place {
    unsigned char nonce[NONCE_BYTES];
    uint32_t chunk, row, slot, n;
    uint32_t part; /* of the snapshot; NO_PART: gone */
};

struct resident {
    atomic_uint refs;
    uint64_t mark; /* of the commit it shows */
    bool is_partial;
    struct chunk *chunks;
    size_t n_chunks, chunk_capacity; /* the tail's, if any, is the last */
    struct place *places;            /* ascending by (chunk, row) */
    size_t n_places, place_capacity;
    bool has_tail;
    enum vkern_pjrt_type type; /* of the rows */
    double norm_lo, norm_hi;   /* over all parts */
    uint64_t most_bytes;       /* of rows on one device */
    double shares_squared;     /* sum over chunks of the squared share of live rows */
};

struct device {
    char *text;
    struct device_options options;
    pthread_mutex_t
        mutex; /* of what follows; held while the plugin is opened and rows are loaded */
    struct vkern_pjrt *client; /* NULL: not opened, or that failed */
    size_t n_devices;
    uint64_t budget_bytes; /* of each device, for rows and scratch; 0: unknown */
    struct resident *resident;
    vindex_status failed; /* VINDEX_OK: it works */
    char failure[256];
    uint64_t refused_mark; /* the commit whose rows it could not take; 0: none */
};

/** Open the plugin unless that was done, or failed; the mutex is held. */
void vindex__device_connect(struct device *device);
/** It has failed: remember and log the reason; the mutex is held. */
void vindex__device_fail(struct device *device, vindex_status status, const char *reason);

/** Why a call is not answered by the device. */
struct refusal {
    bool is_failure; /* of the device: logged, and it is not asked again */
    bool is_refused; /* these rows are: not asked again before they change */
    char text[256];
};
bool vindex__refuse(struct refusal *refusal, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/**
 * The rows of the call's snapshot on the devices, loaded as far as needed. false: refused, or the call is to
 * end (call->stop says why).
 */
bool vindex__resident_acquire(struct device *device, struct call *call, struct pace *pace,
                              struct resident **resident, struct refusal *refusal);
void vindex__resident_release(struct resident *resident);

/** The row at a place of a chunk; NULL: there is none. */
const void *vindex__resident_row(const struct resident *resident, const struct call *call,
                                 size_t chunk, int32_t row, int64_t *id);

/** The bias of a chunk for the call's rows alone: -infinity where its filter says no. */
void vindex__resident_mask(const struct resident *resident, const struct call *call, size_t chunk,
                           float *bias);

/** The element type rows of this index get. */
enum vkern_pjrt_type vindex__resident_type(const struct device *device, const struct call *call);

#endif
