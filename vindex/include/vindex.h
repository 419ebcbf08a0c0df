/*
 * vindex.h - the index: create, open, write, search, inspect; brute-force search over plain arrays.
 *
 * A complete program (tests/examples/hello.c is this one, compiled and run by the tests):
 *
 *     float rows[3][2] = {{0, 0}, {3, 4}, {1, 1}}, query[2] = {1, 0};
 *     int64_t ids[3] = {10, 20, 30};
 *     vindex_create_options create = VINDEX_CREATE_OPTIONS_INIT;
 *     vindex *index = NULL; vindex_writer *writer = NULL; vindex_searcher *searcher = NULL;
 *     vindex_hit hits[2];
 *     create.dim = 2;
 *     if (vindex_create(":memory:", &create, &index) != VINDEX_OK) return 1;
 *     vindex_writer_begin(index, &writer);
 *     vindex_writer_insert(writer, ids, &VINDEX_F32_ROWS(rows, 3), 0);
 *     vindex_writer_commit(writer);
 *     vindex_searcher_open(index, &searcher);
 *     vindex_search(searcher, &VINDEX_F32_ROWS(query, 1), 2, NULL, hits);
 *     printf("%lld at %.3f\n", (long long)hits[0].id, hits[0].score);
 *     vindex_searcher_close(searcher);
 *     vindex_close(index);
 *
 * Every call that can fail returns a vindex_status; vindex_message() then holds one line with the
 * values. Outputs are unspecified on failure unless said otherwise. Sizes are in bytes where the
 * name ends in _bytes, times in nanoseconds where it ends in _ns.
 */
#ifndef VINDEX_H
#define VINDEX_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(VINDEX_STATIC)
#define VINDEX_API
#elif defined(__GNUC__)
#define VINDEX_API __attribute__((visibility("default")))
#else
#define VINDEX_API
#endif

/* ---- version ------------------------------------------------------------------------------- */

#define VINDEX_VERSION_MAJOR 0
#define VINDEX_VERSION_MINOR 1
#define VINDEX_VERSION_PATCH 0
#define VINDEX_VERSION "0.1.0" /* the one place: CMake reads it from here */

/** The version of the library that runs, as in "0.1.0". */
VINDEX_API const char *vindex_version(void);

/** The instruction-set level in use: "ref", "avx2", "avx512" or "amx" (VINDEX_ISA lowers it). */
VINDEX_API const char *vindex_isa(void);

/* ---- status -------------------------------------------------------------------------------- */

/* X(name, pinned value, SQLite result code, exit code of the command, text) */
#define VINDEX_STATUS_LIST(X)                                                                      \
    X(OK, 0, 0, 0, "success")                                                                      \
    X(INVALID, 1, 1, 3, "an argument is outside what the call accepts")                            \
    X(NOMEM, 2, 7, 1, "out of memory")                                                             \
    X(IO, 3, 10, 1, "the operating system reported an error")                                      \
    X(CORRUPT, 4, 267, 4, "the index is damaged")                                                  \
    X(NOTINDEX, 5, 26, 4, "the file is not a vindex index")                                        \
    X(NOTFOUND, 6, 14, 3, "no such file or row")                                                   \
    X(EXISTS, 7, 19, 3, "the file or row exists already")                                          \
    X(BUSY, 8, 5, 1, "another writer is at work")                                                  \
    X(FULL, 9, 13, 1, "no space left")                                                             \
    X(READONLY, 10, 8, 1, "the index is open for reading only")                                    \
    X(UNSUPPORTED, 11, 1, 3, "not supported by this version or build")                             \
    X(CANCELLED, 12, 9, 1, "cancelled by the caller")                                              \
    X(TIMEOUT, 13, 9, 1, "the deadline passed")                                                    \
    X(MISUSE, 14, 21, 1, "a handle was used in a way it forbids")                                  \
    X(INTERNAL, 15, 2, 1, "a bug in vindex")

typedef enum vindex_status {
#define VINDEX_X(name, value, sqlite, exit_code, text) VINDEX_##name = value,
    VINDEX_STATUS_LIST(VINDEX_X)
#undef VINDEX_X
} vindex_status;

/** The fixed text of a status; "unknown status" for a value that is none. Never NULL. */
VINDEX_API const char *vindex_status_text(vindex_status status);

/**
 * One line about the calling thread's last failure: what was given, what was expected, what to do.
 * Worth reading only right after a call failed; valid until the thread's next call. Never NULL.
 */
VINDEX_API const char *vindex_message(void);

/** Receives warnings (a large index opened after an unclean close, ...); message has no newline. */
typedef void vindex_log_fn(void *context, const char *message);

/** Set the process-wide log function; NULL = silence (the default). Not while other calls run. */
VINDEX_API void vindex_set_log(vindex_log_fn *log, void *context);

/* ---- types --------------------------------------------------------------------------------- */

#define VINDEX_ID_NONE INT64_MIN /* never the id of a row; pads hits */
#define VINDEX_DIM_MAX 65520u    /* one f32 row fills one storage block */

typedef enum vindex_type {
    VINDEX_FLOAT = 0,    /* IEEE binary32 */
    VINDEX_FLOAT16 = 1,  /* IEEE binary16 */
    VINDEX_BFLOAT16 = 2, /* upper half of binary32 */
    VINDEX_INT8 = 3,
    VINDEX_UINT8 = 4,
    VINDEX_BIT = 5 /* dim bits in ceil(dim / 8) bytes, bit i at byte i / 8, value 1 << (i % 8); padding bits 0 */
} vindex_type;

typedef enum vindex_metric {
    VINDEX_L2 = 0,     /* score = Euclidean distance */
    VINDEX_COSINE = 1, /* score = 1 - cosine, in [0, 2]; 1 where a vector is zero */
    VINDEX_IP = 2,     /* score = -(inner product): maximum inner product search */
    VINDEX_HAMMING = 3 /* score = number of differing bits; only with VINDEX_BIT, which has only it */
} vindex_metric;

typedef enum vindex_layout {
    VINDEX_LAYOUT_AUTO = 0,
    VINDEX_LAYOUT_FLAT = 1 /* every row is scanned */
} vindex_layout;

/** Vectors as the caller has them: n rows, `stride_bytes` apart (0 = dense), borrowed for the call.
 *  Any alignment. Floats must be finite. */
typedef struct vindex_vectors {
    const void *data;
    size_t n;
    size_t stride_bytes;
    uint32_t type; /* vindex_type */
    uint32_t reserved;
} vindex_vectors;

/** A vindex_vectors of n dense float rows (a compound literal: C only). */
#define VINDEX_F32_ROWS(pointer, n_rows)                                                           \
    ((vindex_vectors){(pointer), (n_rows), 0, VINDEX_FLOAT, 0})

/** One answer. A smaller score is nearer, for every metric; equal scores ascend by id. Scores
 *  beyond float's range saturate at +-FLT_MAX, so only padding has INFINITY. */
typedef struct vindex_hit {
    int64_t id;
    float score;
    uint32_t reserved; /* 0 */
} vindex_hit;

typedef struct vindex vindex;                   /* shared by threads: many readers, one writer */
typedef struct vindex_writer vindex_writer;     /* one transaction; one thread at a time */
typedef struct vindex_searcher vindex_searcher; /* one thread at a time; keeps its scratch */

/** Bytes of one row of this type: 4 dim, 2 dim, dim or ceil(dim / 8). 0 for an unknown type. */
VINDEX_API size_t vindex_row_bytes(vindex_type type, uint32_t dim);

/* ---- options ------------------------------------------------------------------------------- */

/* Rules for every option struct: start from its _INIT; zero always means the default; structs grow
 * only at the end; set bits in `flags` that the library does not know give VINDEX_UNSUPPORTED. */

typedef struct vindex_create_options {
    uint32_t struct_size;
    uint32_t flags;        /* VINDEX_CREATE_* */
    uint32_t dim;          /* 1..VINDEX_DIM_MAX; must be set */
    uint32_t type;         /* vindex_type; 0 = VINDEX_FLOAT */
    uint32_t metric;       /* vindex_metric; 0 = VINDEX_L2 */
    uint32_t layout;       /* vindex_layout; 0 = auto */
    float recall;          /* the index's default target in (0, 1]; 0 = 0.99 */
    uint32_t seal_rows;    /* tail rows that make a segment; 0 = 4096, at most 16384 */
    uint64_t seal_bytes;   /* or tail bytes, whichever comes first; 0 = 8 MiB, at most 16 MiB */
} vindex_create_options;
#define VINDEX_CREATE_OPTIONS_INIT                                                                 \
    {                                                                                              \
        .struct_size = sizeof(vindex_create_options)                                               \
    }

/* flags of vindex_open */
#define VINDEX_OPEN_READONLY 1u

typedef enum vindex_filter_kind {
    VINDEX_FILTER_NONE = 0,
    VINDEX_FILTER_IDS = 1,     /* `ids`: strictly ascending; a row counts if its id is among them */
    VINDEX_FILTER_BITMAP = 2,  /* id i counts if 0 <= i < n and bit i % 8 of bitmap[i / 8] is set */
    VINDEX_FILTER_CALLBACK = 3 /* callback(context, id) != 0; called by n_threads threads, any order; may not
                                  use the searcher that calls it (VINDEX_MISUSE) */
} vindex_filter_kind;

typedef struct vindex_filter {
    uint32_t kind; /* vindex_filter_kind */
    uint32_t flags; /* VINDEX_FILTER_NOT */
    const int64_t *ids;
    const uint8_t *bitmap;
    uint64_t n; /* ids, or bits of the bitmap */
    int (*callback)(void *context, int64_t id);
    void *context;
} vindex_filter;
#define VINDEX_FILTER_NOT 1u /* the rows the filter does not name */

#define VINDEX_SEARCH_NO_AUDIT 1u /* never answer a query of this call exactly only to learn from it */
#define VINDEX_SEARCH_STRICT 2u   /* below recall 1: stay exact until the target is proven */

typedef struct vindex_search_options {
    uint32_t struct_size;
    uint32_t flags;      /* VINDEX_SEARCH_* */
    float recall;        /* target in (0, 1]; 0 = the index's default, 1 = exact and proven */
    uint32_t n_threads;  /* 0 = the calling thread alone */
    const vindex_filter *filter; /* NULL = all rows */
    int64_t timeout_ns;  /* > 0: stop after this time with VINDEX_TIMEOUT; 0 = never */
    int (*cancel)(void *context); /* asked about once a millisecond of work, on the calling thread;
                                     != 0 stops with VINDEX_CANCELLED */
    void *cancel_context;
    const char *device; /* as vindex_set_device; NULL = the index's own. One that fails, now or later, is
                           logged and the CPU answers; the plan says so */
} vindex_search_options;
#define VINDEX_SEARCH_OPTIONS_INIT                                                                 \
    {                                                                                              \
        .struct_size = sizeof(vindex_search_options)                                               \
    }

/** One row of the table of options: the command's flags and the man page are made from it. */
typedef struct vindex_option {
    const char *name;     /* "metric" */
    const char *scope;    /* "create" or "search" */
    const char *type;     /* "int", "float", "enum", "text" */
    const char *initial;  /* "l2" */
    const char *range;    /* "l2|cosine|ip|hamming" or "1..65520" */
    const char *help;
} vindex_option;

/** The table of options; *n receives its length. */
VINDEX_API const vindex_option *vindex_options(size_t *n);

/** Parse "l2", "cosine", "ip", "hamming"; VINDEX_INVALID names the choices. */
VINDEX_API vindex_status vindex_metric_parse(const char *text, vindex_metric *metric);
VINDEX_API const char *vindex_metric_name(vindex_metric metric);
/** Parse "FLOAT", "FLOAT16", "BFLOAT16", "INT8", "UINT8", "BIT", any case; also f32, f16, bf16, i8, u8. */
VINDEX_API vindex_status vindex_type_parse(const char *text, vindex_type *type);
VINDEX_API const char *vindex_type_name(vindex_type type);

/* ---- open ---------------------------------------------------------------------------------- */

/**
 * Create an empty index.
 *
 * @param path     a file that does not exist yet, or ":memory:". The file and path-lock are made.
 * @param options  [in] dim must be set.
 * @param index    [out] NULL on failure. Close it with vindex_close.
 * @return VINDEX_OK, INVALID, EXISTS, NOTFOUND (directory), IO, FULL, NOMEM. Nothing is left behind
 *         on failure.
 */
VINDEX_API vindex_status vindex_create(const char *path, const vindex_create_options *options,
                                       vindex **index);

/**
 * Open an index. Opening the same file again in a process shares what can be shared.
 *
 * @param flags  VINDEX_OPEN_READONLY or 0. A file that may only be read needs VINDEX_OPEN_READONLY.
 * @return VINDEX_OK, INVALID (a directory, ":memory:"), NOTFOUND, NOTINDEX, CORRUPT, UNSUPPORTED (newer format,
 *         other byte order), READONLY (may only be read), BUSY (lock file not writable beside a writer), IO, NOMEM.
 *
 * A file that was not closed cleanly, or was changed by anything else, is first checked page by page.
 * After fork() the child must open the file again: handles from before give VINDEX_MISUSE there.
 */
VINDEX_API vindex_status vindex_open(const char *path, uint32_t flags, vindex **index);

/**
 * The device that answers the searches of this handle which name none.
 *
 * @param text  "cpu", or "pjrt[:PLUGIN][,memory=SIZE][,type=auto|f32|bf16][,devices=N][,chunk=ROWS]
 *              [,wait-ms=N][,required]": the TPUs or GPUs behind a PJRT plugin (a shared library, by
 *              default VINDEX_PJRT_PLUGIN's, TPU_LIBRARY_PATH's, or libtpu.so where there is a TPU).
 *              SIZE bytes of each device, with K, M or G, are for rows and scores (default: 80 % of what
 *              is free); `required`: a search the device can not answer fails (VINDEX_IO).
 * @return VINDEX_OK, INVALID (text), NOTFOUND (no plugin or device), UNSUPPORTED (its version), IO, NOMEM,
 *         MISUSE (after fork). On failure the device is as before.
 *
 * Rows go to the device at the first search and follow commits. Hits and scores are those of the CPU: what
 * the device finds is scored again from the bytes given; recall 1 is proven by the error bound of its
 * arithmetic, or the CPU answers. An index opened while VINDEX_PJRT_PLUGIN is set begins with "pjrt".
 * A program that called this does not use the index after fork(). Since 0.1.
 */
VINDEX_API vindex_status vindex_set_device(vindex *index, const char *text);

/** Close. Its writer and searchers must be closed before; NULL is accepted. */
VINDEX_API void vindex_close(vindex *index);

/* ---- write --------------------------------------------------------------------------------- */

#define VINDEX_UPSERT 1u /* insert: an existing id is replaced */
#define VINDEX_IGNORE 2u /* insert: an existing id keeps its row */

/**
 * Begin the one write transaction. Nothing is visible to readers before commit; a killed process
 * loses only what was not committed. A writer may move between threads.
 *
 * @return VINDEX_OK, BUSY (another writer lives, here or in another process), READONLY, IO, NOMEM.
 */
VINDEX_API vindex_status vindex_writer_begin(vindex *index, vindex_writer **writer);

/**
 * Insert rows.
 *
 * @param ids      [in] shape [vectors->n], not VINDEX_ID_NONE; NULL = consecutive new ids from
 *                 vindex_writer_next_id on.
 * @param vectors  [in] rows of the index's type, or VINDEX_FLOAT where the index holds FLOAT16 or
 *                 BFLOAT16 (rounded to nearest even) or INT8 or UINT8 (only whole numbers in range).
 * @param flags    0: an existing id is an error; VINDEX_UPSERT or VINDEX_IGNORE otherwise. Within a
 *                 call a repeated id follows the same rule, in row order.
 * @return VINDEX_OK, INVALID (NaN, infinity, type, id), EXISTS (the message names the id), NOMEM, IO,
 *         FULL, CORRUPT, BUSY (a search that does not end keeps the file's map from growing). On INVALID and EXISTS no row of this call was inserted; on the others only
 *         vindex_writer_abort is left.
 */
VINDEX_API vindex_status vindex_writer_insert(vindex_writer *writer, const int64_t *ids,
                                              const vindex_vectors *vectors, uint32_t flags);

/**
 * Remove rows; an id that does not exist is passed over.
 * @param n_removed  [out] rows that were there; may be NULL.
 */
VINDEX_API vindex_status vindex_writer_remove(vindex_writer *writer, const int64_t *ids, size_t n,
                                              size_t *n_removed);

/** Remove every row, in time proportional to the number of segments and of runs of consecutive ids. */
VINDEX_API vindex_status vindex_writer_remove_all(vindex_writer *writer);

/** The id the next automatic insert would use: one above the largest id ever inserted, at least 0. */
VINDEX_API vindex_status vindex_writer_next_id(const vindex_writer *writer, int64_t *id);

/** *exists = whether the id has a row, this transaction's changes included. */
VINDEX_API vindex_status vindex_writer_exists(vindex_writer *writer, int64_t id, int *exists);

/**
 * Publish, durably, and free the writer. On failure nothing was published and the writer lives: once the
 * cause is gone (FULL, IO) commit again, or abort; VINDEX_MISUSE says that only abort is left.
 */
VINDEX_API vindex_status vindex_writer_commit(vindex_writer *writer);

/** Throw the transaction away and free the writer; NULL is accepted. */
VINDEX_API void vindex_writer_abort(vindex_writer *writer);

/** Asked before each step of a long call; done and total in segments, total an estimate. != 0 cancels. */
typedef int vindex_progress_fn(void *context, uint64_t done, uint64_t total);

#define VINDEX_OPTIMIZE_ALL 1u /* rewrite every segment that is not full and live, not only those due */
/** Threads that share the encoding, 0..1024, in bits 8..23 of the flags; 0 = the calling thread alone. */
#define VINDEX_OPTIMIZE_THREADS(n) ((uint32_t)(n) << 8)

/**
 * Do the maintenance that is due: seal the tail, rewrite segments with more than 25 % dead rows, merge
 * small ones, collect orphaned blocks; then, from some thousand rows on, train what codes are relative to
 * (mean, scale, principal axes; again once the rows have doubled, or with VINDEX_OPTIMIZE_ALL), encode the segments that
 * lack codes, and audit rows of the index and the queries kept, so that targets below 1 can be planned.
 * Its own write transactions, one per step: interrupting it loses nothing.
 *
 * @param flags     VINDEX_OPTIMIZE_ALL, VINDEX_OPTIMIZE_THREADS(n), both with |, or 0. Threads are started by the call and
 *                  end with it; each takes (3 dim + axes) KiB while rows are encoded, and what a search takes while audits are
 *                  answered: these two they share. The codes made are the same for any number of them.
 * @param progress  called by the calling thread; may be NULL.
 * @return VINDEX_OK, INVALID (more than 1024 threads), UNSUPPORTED (flags), BUSY, CANCELLED, READONLY, IO, FULL, NOMEM,
 *         CORRUPT, MISUSE (after fork).
 */
VINDEX_API vindex_status vindex_optimize(vindex *index, uint32_t flags, vindex_progress_fn *progress,
                                         void *context);

/**
 * Learn from sample queries what effort each recall target needs: answers them exactly and keeps how hard each answer was to
 * find. With 300 queries and more, targets up to 0.99 are proven at once for queries of the same law; 0.999 needs some
 * thousand. Kept in the index. The method: vindex/search/calibrate.h.
 *
 * @param queries  [in] as for vindex_search; the last 4,096 are kept. Drawn independently: a query given
 *                 again, in this call or another, counts again, and what such audits prove does not hold.
 * @return VINDEX_OK, INVALID, BUSY (a writer lives), CANCELLED (what was answered is kept), READONLY, IO, FULL, NOMEM,
 *         CORRUPT. Where nothing is to be learnt (no codes: every answer is exact already): VINDEX_OK.
 */
VINDEX_API vindex_status vindex_calibrate(vindex *index, const vindex_vectors *queries,
                                          vindex_progress_fn *progress, void *context);

/* ---- search -------------------------------------------------------------------------------- */

/** Open a searcher: the scratch memory of one thread. Not after fork. */
VINDEX_API vindex_status vindex_searcher_open(vindex *index, vindex_searcher **searcher);
/** Close; NULL is accepted. */
VINDEX_API void vindex_searcher_close(vindex_searcher *searcher);

/**
 * Find the k nearest rows of each query.
 *
 * @param queries  [in]  n rows of the index's type, or VINDEX_FLOAT: used as they are where the index holds
 *                       FLOAT16 or BFLOAT16, whole numbers in range for INT8 and UINT8. n may be 0.
 * @param k        any k >= 1; memory is 16 k bytes a query and a few times that in scratch, for each thread where
 *                 rows are shared out.
 * @param options  [in]  NULL for the defaults.
 * @param hits     [out] shape [queries->n, k], caller-owned; each row ascends by (score, id), padded
 *                       with (VINDEX_ID_NONE, INFINITY). After TIMEOUT or CANCELLED: the best of the
 *                       rows reached, for as many queries as a millisecond more serves.
 * @return VINDEX_OK, INVALID (k, type, NaN, recall, filter), NOMEM, IO, CORRUPT, TIMEOUT, CANCELLED,
 *         MISUSE (after fork).
 *
 * Sees what was committed when the call began. Scores are bit-identical on every instruction-set
 * level, thread count and batch size: computed in double from the bytes given, rounded once.
 */
VINDEX_API vindex_status vindex_search(vindex_searcher *searcher, const vindex_vectors *queries,
                                       size_t k, const vindex_search_options *options,
                                       vindex_hit *hits);

typedef enum vindex_state {
    VINDEX_STATE_EXACT = 1,  /* every row that could be among the k nearest was compared exactly */
    VINDEX_STATE_PROVEN = 2, /* the target holds with 95 % confidence over queries like those audited */
    VINDEX_STATE_ASSUMED = 3 /* planned from the rows alone */
} vindex_state;

/** How the last vindex_search of a searcher was answered. */
typedef struct vindex_report {
    uint32_t struct_size; /* set by the caller */
    uint32_t state;       /* vindex_state */
    double target;        /* recall asked for */
    double predicted;     /* recall the plan expects; 1 when exact */
    double bound;         /* lower bound of the mean recall; 1 when exact */
    uint64_t n_queries;
    uint64_t n_rows;      /* live rows seen */
    uint64_t n_scored;    /* (query, row) pairs of the first pass */
    uint64_t n_reranked;  /* (query, row) pairs scored again from the bytes given */
    uint64_t elapsed_ns;
    uint64_t epoch;       /* the catalog epoch answered from */
    char plan[128];       /* readable, one line, ASCII */
    uint32_t basis;       /* of state: 0 nothing (exact), 1 rows of the index, 2 queries given or live */
    uint32_t n_audits;    /* audits it rests on */
    double measured;      /* mean recall of the plans in use by live audits; NaN: none yet */
    uint64_t effort;      /* rows reranked a query, as planned; 0 when exact */
} vindex_report;
#define VINDEX_REPORT_INIT                                                                         \
    {                                                                                              \
        .struct_size = sizeof(vindex_report)                                                       \
    }
VINDEX_API vindex_status vindex_searcher_report(const vindex_searcher *searcher, vindex_report *report);

/**
 * Fetch rows by id, as stored.
 * @param ids   [in]  shape [n].
 * @param rows  [out] shape [n, vindex_row_bytes], dense; a missing id's row is filled with zeros.
 * @param found [out] shape [n], 1 or 0; NULL: a missing id is VINDEX_NOTFOUND.
 */
VINDEX_API vindex_status vindex_fetch(vindex_searcher *searcher, const int64_t *ids, size_t n,
                                      void *rows, uint8_t *found);

/** Receives rows of vindex_scan: n of them, dense, valid during the call. != 0 ends the scan. */
typedef int vindex_scan_fn(void *context, const int64_t *ids, const void *rows, size_t n);

/** Hand every row of one snapshot to `each`, in storage order, in chunks of at most 1,024 rows. `each` may not use
 *  this searcher (VINDEX_MISUSE). */
VINDEX_API vindex_status vindex_scan(vindex_searcher *searcher, vindex_scan_fn *each, void *context);

/**
 * The k nearest of `base` for each query over plain arrays: the index's scoring and reduction, no
 * index. ids are row numbers. `base` and `queries` have one type (for VINDEX_FLOAT16 and
 * VINDEX_BFLOAT16 the queries may be VINDEX_FLOAT), `dim` columns. The base is not checked
 * beforehand: a row that holds NaN comes last, with score FLT_MAX.
 * The CPU form of the mips/l2nns examples around jax.lax.approx_max_k.
 */
VINDEX_API vindex_status vindex_brute(const vindex_vectors *base, const vindex_vectors *queries,
                                      uint32_t dim, vindex_metric metric, size_t k,
                                      const vindex_search_options *options, vindex_hit *hits);

/* ---- inspect ------------------------------------------------------------------------------- */

typedef struct vindex_stats {
    uint32_t struct_size; /* set by the caller */
    uint32_t dim;
    uint32_t type;
    uint32_t metric;
    uint32_t layout;
    uint32_t format_version;
    uint64_t n_rows;      /* live */
    uint64_t n_tail;      /* of those, not yet sealed */
    uint64_t n_dead;      /* sealed rows that were removed and still take space */
    uint64_t n_segments;
    uint64_t n_blocks;
    uint64_t row_bytes;
    uint64_t size_bytes;  /* of the file; of the heap for ":memory:" */
    uint64_t used_bytes;  /* of those, in use; the rest is reused by later writes */
    uint64_t epoch;       /* commits so far */
    int64_t next_id;
    float recall;         /* the default target */
    uint32_t c4_axes;     /* of the 4-bit codes; 0 = none */
    uint64_t n_coded;     /* live rows in segments with codes of the current model */
    uint64_t codes_bytes; /* of their blocks */
    uint64_t n_audits;    /* rows and queries answered exactly, that plans below recall 1 rest on */
    uint64_t n_alarms;    /* times since opening that live audits contradicted a plan */
    uint32_t p8_axes;     /* of the 8-bit codes of leading coordinates; 0 = none */
    uint32_t reserved;    /* 0 */
} vindex_stats;
#define VINDEX_STATS_INIT                                                                          \
    {                                                                                              \
        .struct_size = sizeof(vindex_stats)                                                        \
    }

/** Facts of the index as committed now. Any thread. */
VINDEX_API vindex_status vindex_stat(vindex *index, vindex_stats *stats);

/** Receives each finding of vindex_check; one line. */
typedef void vindex_finding_fn(void *context, const char *finding);

/**
 * Walk everything: pages, records, blocks and their checksums, ids against slots, live bitmaps,
 * factors, orphans. Reads the whole file; changes nothing.
 * @return VINDEX_OK when sound, VINDEX_CORRUPT with the first finding as message.
 */
VINDEX_API vindex_status vindex_check(vindex *index, vindex_finding_fn *finding, void *context);

/** Set in all bytes of an index when it was created: tells copies of one index apart from others. */
VINDEX_API vindex_status vindex_uuid(vindex *index, uint8_t uuid[16]);

#ifdef __cplusplus
}
#endif

#endif
