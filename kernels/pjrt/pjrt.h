/*
 * pjrt.h - score and reduce on an accelerator, through any PJRT plugin (libtpu.so, a CUDA plugin, ...):
 * buffers in, buffers out. Knows nothing of indexes: rows, a bias a row, query tiles, the best of each.
 *
 *     vkern_pjrt_open          dlopen -> checks -> client          one client a plugin and process
 *     vkern_pjrt_buffer_new    rows, biases, query tiles           host -> device
 *     vkern_pjrt_program_get   program text -> executable          kept by the client
 *     vkern_pjrt_run_start     one query tile on one chunk of rows; does not wait
 *     vkern_pjrt_run_read      the best values and their rows      device -> host
 *
 * Nothing of this is linked or loaded before the first vkern_pjrt_open; a plugin is never unloaded
 * (its threads and destructors stay behind), a client goes with its last vkern_pjrt_close.
 *
 * Ownership: what a _new, _get or _start gives is the caller's to free by the function named, before
 * the client is closed; programs alone belong to the client. Host arrays are borrowed for the call.
 * Threads: every function may be called by any thread; launches on one device take turns.
 *
 * Errors: false, with a code and one line of text. Nothing is left behind by a call that failed.
 */
#ifndef VKERN_PJRT_PJRT_H
#define VKERN_PJRT_PJRT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The numbers of PJRT's error codes (abi.h has them all), and two of our own. */
enum {
    VKERN_PJRT_INVALID = 3,
    VKERN_PJRT_EXHAUSTED = 8,
    VKERN_PJRT_UNIMPLEMENTED = 12,
    VKERN_PJRT_NO_MEMORY = 100, /* of the host */
    VKERN_PJRT_STOPPED = 101    /* by vkern_pjrt_wait.stop */
};

struct vkern_pjrt_error {
    int code;
    char text[400];
};

/* ---- client -------------------------------------------------------------------------------- */

struct vkern_pjrt;

/**
 * Load a plugin and connect to its devices; a second open of the same file shares the client.
 * plugin: a path; NULL or "": VINDEX_PJRT_PLUGIN, then TPU_LIBRARY_PATH, then libtpu.so where the
 * machine has a TPU. The disk is never searched.
 */
bool vkern_pjrt_open(const char *plugin, struct vkern_pjrt **client,
                     struct vkern_pjrt_error *error);
void vkern_pjrt_close(struct vkern_pjrt *client);

/** "cuda", "tpu", ...; its version as the plugin says it; the minor of its API. */
const char *vkern_pjrt_platform(const struct vkern_pjrt *client);
const char *vkern_pjrt_version(const struct vkern_pjrt *client);
int vkern_pjrt_minor(const struct vkern_pjrt *client);

size_t vkern_pjrt_n_devices(const struct vkern_pjrt *client);
/** "NVIDIA H200", "TPU v5 lite", ... */
const char *vkern_pjrt_device_kind(const struct vkern_pjrt *client, size_t device);
/** Bytes in use and in all; false: the plugin does not know. */
bool vkern_pjrt_device_memory(struct vkern_pjrt *client, size_t device, uint64_t *used_bytes,
                              uint64_t *limit_bytes);

/* ---- buffers ------------------------------------------------------------------------------- */

struct vkern_pjrt_buffer;

enum vkern_pjrt_type { VKERN_PJRT_F32, VKERN_PJRT_BF16, VKERN_PJRT_I32 };

/** A dense row-major array on a device; returns when it is there. rank <= 3. */
bool vkern_pjrt_buffer_new(struct vkern_pjrt *client, size_t device, enum vkern_pjrt_type type,
                           const int64_t *dims, size_t rank, const void *data,
                           struct vkern_pjrt_buffer **buffer, struct vkern_pjrt_error *error);
/** NULL is accepted. Runs that use the buffer may still be under way. */
void vkern_pjrt_buffer_free(struct vkern_pjrt_buffer *buffer);
/** Bytes on the device, padding included; 0: the plugin does not say. */
uint64_t vkern_pjrt_buffer_bytes(const struct vkern_pjrt_buffer *buffer);

/* ---- programs ------------------------------------------------------------------------------ */

/*
 * Arguments of all but the last kind: queries [terms, Q, D] or, where terms is 1, [Q, D]; rows [N, D];
 * bias f32 [N]. A score is bias + query . row, larger = better; -infinity in the bias takes a row out.
 * Results: f32 values [Q, K], best first, and i32 rows [Q, K]. A value of -infinity is no result, and
 * the row beside it means nothing.
 */
enum vkern_pjrt_kind {
    VKERN_PJRT_SCORES,    /* values f32 [Q, N] alone: every score */
    VKERN_PJRT_BINS,      /* row n competes in bin n mod bins; the winners are sorted */
    VKERN_PJRT_BINS_TOPK, /* the same, the winners reduced by chlo.top_k */
    VKERN_PJRT_SORT,      /* all scores are sorted: exact */
    VKERN_PJRT_TOPK,      /* all scores by chlo.top_k: exact */
    VKERN_PJRT_APPROX,    /* ApproxTopK of the TPU's compiler */
    VKERN_PJRT_APPEND,    /* rows [N, D], new [R, D], first i32 -> rows [N, D]; `queries` is R */
    VKERN_PJRT_N_KINDS
};

struct vkern_pjrt_spec {
    enum vkern_pjrt_kind kind;
    enum vkern_pjrt_type
        type;       /* of rows and queries: F32 (multiplied as such) or BF16 (sums in f32) */
    uint32_t terms; /* 1; or 3: bf16 parts of an f32 query, whose products are added */
    uint32_t queries, rows, dim;
    uint32_t k;            /* <= rows, and <= bins */
    uint32_t bins;         /* BINS*: divides rows */
    float recall;          /* APPROX: of this chunk, in (0, 1] */
    int64_t override_rows; /* APPROX: rows over all shards, or -1 */
};

/**
 * The program's text (StableHLO), NUL-terminated, cut at `size`; returns its full length. A spec that
 * makes no sense gives 0.
 */
size_t vkern_pjrt_text(const struct vkern_pjrt_spec *spec, char *text, size_t size);
const char *vkern_pjrt_kind_name(enum vkern_pjrt_kind kind);

struct vkern_pjrt_program;

/** Compile, or find what was compiled before. */
bool vkern_pjrt_program_get(struct vkern_pjrt *client, const struct vkern_pjrt_spec *spec,
                            struct vkern_pjrt_program **program, struct vkern_pjrt_error *error);

/**
 * The best kind this plugin compiles for a task: exact ones only, or any. spec->kind is the answer. A
 * kind that failed for a reason of its own (not: out of memory) is not tried again on this client; the
 * error is that of the last one tried.
 */
bool vkern_pjrt_program_choose(struct vkern_pjrt *client, struct vkern_pjrt_spec *spec, bool exact,
                               struct vkern_pjrt_program **program, struct vkern_pjrt_error *error);

/** Try kinds that failed again. */
void vkern_pjrt_forget_failures(struct vkern_pjrt *client);

/** Device bytes a run needs beyond arguments and results; 0: the plugin does not say. */
uint64_t vkern_pjrt_program_scratch(const struct vkern_pjrt_program *program);

/* ---- runs ---------------------------------------------------------------------------------- */

struct vkern_pjrt_run;

/** Who may end a wait: asked about once a millisecond, NULL = never. */
struct vkern_pjrt_wait {
    bool (*stop)(void *context);
    void *context;
};

/** Arguments lie on `device`, in the order and of the shapes of the spec. */
bool vkern_pjrt_run_start(struct vkern_pjrt_program *program, size_t device,
                          struct vkern_pjrt_buffer *const *arguments, size_t n_arguments,
                          struct vkern_pjrt_run **run, struct vkern_pjrt_error *error);

/**
 * Wait, then fetch the results into outputs[i] of sizes[i] bytes, dense and row-major. The run is
 * freed either way. Stopped: nothing was written, nothing will be.
 */
bool vkern_pjrt_run_read(struct vkern_pjrt_run *run, const struct vkern_pjrt_wait *wait,
                         void *const *outputs, const size_t *sizes, size_t n_outputs,
                         struct vkern_pjrt_error *error);

/** Wait, then keep the one result on the device. The run is freed either way. */
bool vkern_pjrt_run_keep(struct vkern_pjrt_run *run, struct vkern_pjrt_buffer **buffer,
                         struct vkern_pjrt_error *error);

/** Give up a run; NULL is accepted. */
void vkern_pjrt_run_free(struct vkern_pjrt_run *run);

#endif
