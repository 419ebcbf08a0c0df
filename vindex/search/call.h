/*
 * call.h - private to search/: one call (a search of a snapshot or of plain arrays), its plan, its
 * workers, and what each file of this folder does for it. query.c puts them together.
 *
 *     query.c    the call from end to end            filter.c   which rows count: the live masks
 *     effort.c   targets below 1: what to spend      cost.c     what each way of scanning costs
 *     plan.c     decisions, error bands, the proof   scan.c     a range of rows, by query kernels
 *     codes.c    a range of rows, by their codes     batch.c    a range of rows, by tiles
 *     lead.c     by their leading coordinates first
 *     rerank.c   exact scores of candidates          results.c  the k best, merged and in order
 *     audit.c    what effort finds an exact answer   exact.c    the arithmetic of reported scores
 *     brute.c    plain arrays as parts               scratch.c  memory and threads between calls
 *     stop.c     deadline and cancel                 device_call.c the same by an accelerator
 */
#ifndef VINDEX_SEARCH_CALL_H
#define VINDEX_SEARCH_CALL_H

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "kernels/codes.h"
#include "kernels/kernels.h"
#include "search/calibrate.h"
#include "search/search.h"
#include "topk/stream.h"

/* ---- exact.c ------------------------------------------------------------------------------- */

/** What turns a query and a row into the score reported. */
struct measure {
    uint32_t type, metric, dim;
    vkern_exact_fn *l2sq, *dot;
    vkern_sumsq_fn *sumsq, *query_sumsq;
};

struct query {
    const void *bytes;  /* as in search_request */
    const float *dense; /* f32: what tiles and codes are made from */
    double norm;        /* Euclidean, double; 0 for bits */
    double sumsq;
};

void vindex__measure_init(struct measure *measure, const vkern_table *kern, uint32_t type,
                          uint32_t metric, uint32_t dim);
void vindex__query_init(const struct measure *measure, const void *bytes, struct query *query);
/** The reported score. Never NaN, never infinite, never -0. */
float vindex__measure_score(const struct measure *measure, const struct query *query,
                            const void *row);

/* ---- ways to scan --------------------------------------------------------------------------- */

enum engine {
    ENGINE_EXACT, /* every row by the exact arithmetic: no first pass would leave rows out */
    ENGINE_QUERY, /* first pass by the one-query kernels over the rows */
    ENGINE_TILE,  /* first pass by the f32 tile engine over the rows */
    ENGINE_C8,    /* first pass by one query's 8-bit codes over the rows' */
    ENGINE_TILE8, /* first pass by tiles of 8-bit codes */
    ENGINE_C4,    /* rough scores: the best k' are scored exactly, nothing is proven */
    ENGINE_P8     /* 8-bit codes of the leading coordinates leave rows out, the query kernels score the rest */
};

/* ---- scratch.c ----------------------------------------------------------------------------- */

/** A run of memory carved into arrays. base NULL: only adds up what they need. */
struct arena {
    char *base;
    size_t used;
    bool overflow;
};
/** count * size bytes at a multiple of 64; NULL for none. */
void *vindex__arena_take(struct arena *arena, size_t count, size_t size);

struct region {
    void *memory;
    size_t size;
};
/** Make room for `size` bytes; what was there is lost. */
vindex_status vindex__region_need(struct region *region, size_t size);

struct search {
    const vkern_table *kern;
    const struct vkern_tile *tile;
    /* Where it can be taken it is, whatever it costs: tests and benchmarks compare ways.
       ENGINE_EXACT: none. */
    enum engine forced;
    size_t work_bytes; /* of scratch, all workers, unless k itself needs more: tests ask for little */
    struct pool *pool;  /* NULL: no call asked for threads yet */
    uint32_t n_threads; /* that the pool was opened for */
    struct region mask_memory, work_memory, audit_memory, device_memory;
};

/** The pool for n_threads; NULL for 1. */
vindex_status vindex__search_pool(struct search *search, uint32_t n_threads);

/* ---- stop.c -------------------------------------------------------------------------------- */

/** Why and whether a call ends early; shared by its threads. */
struct stop {
    int64_t deadline_ns; /* 0 = none */
    int (*cancel)(void *context);
    void *cancel_context;
    pthread_t caller;   /* the thread that may ask cancel */
    _Atomic int status; /* vindex_status; set once */
    char message[256];  /* of VINDEX_CORRUPT: messages are per thread */
};

/** One thread's count of work between two looks at the clock. */
struct pace {
    double credit_ns; /* of work, by estimate, until the next look */
    double step_ns;   /* what a look grants; follows from measured time */
    int64_t last_ns;
};

void vindex__stop_init(struct stop *stop, const struct search_request *request);
void vindex__pace_init(struct pace *pace, const struct stop *stop);
/** End the call for this reason, unless it is ending already. */
void vindex__stop_set(struct stop *stop, vindex_status status);
/** The call's status, with its message set on this thread. */
vindex_status vindex__stop_status(struct stop *stop);
bool vindex__pace_look(struct pace *pace, struct stop *stop);
/** Count work of about work_ns; true if the call is to end. */
static inline bool vindex__pace_tick(struct pace *pace, struct stop *stop, double work_ns)
{
    pace->credit_ns -= work_ns;
    if (pace->credit_ns > 0)
        return atomic_load_explicit(&stop->status, memory_order_relaxed) != VINDEX_OK;
    return vindex__pace_look(pace, stop);
}

/* ---- the call ------------------------------------------------------------------------------ */

/* What a thread may still do for the answer of a call that is ending: interrupts are honoured within about
   so much. */
#define GRACE_NS 1e6

enum { PLAN_LINES_MAX = 96 }; /* queries of one multiply at most */

struct plan {
    enum engine plain;   /* for parts of rows alone; ENGINE_EXACT: for all */
    enum engine coded;   /* for parts with plane c8 */
    size_t k_prime;      /* > 0: parts with plane c4 by c4, so many rows reranked */
    bool by_p8;          /* parts with plane p8 by it; k_prime is 0 */
    size_t p8_lines;     /* queries of one multiply of p8 */
    double p8_most;      /* the share of rows let through from which on the other engines are quicker */
    size_t k;            /* min(k asked, rows that match); 0: nothing to find */
    size_t group;        /* queries in flight in one worker */
    size_t rows_max;     /* rows of one step */
    size_t lines;        /* queries of one multiply */
    size_t limit;        /* of a stream */
    bool splits_queries; /* between workers; otherwise rows */
    uint64_t chunk;      /* positions of one task where rows are split */
    uint32_t n_workers;
};

/** Entries that rough streams are to keep; 0: there are none. */
static inline size_t vindex__rough_k(const struct plan *plan)
{
    return plan->by_p8 ? plan->k : plan->k_prime;
}

/** One query in one worker: what its first pass let through, and the best it is sure of. */
struct collector {
    struct query query;
    struct topk_stream stream; /* of first-pass scores */
    struct topk_stream best;   /* of exact scores */
    struct topk_stream rough;  /* of c4 scores: the best k', by (score, position); of p8 scores: the best k */
    enum engine engine;        /* of the current part: the wanted one if its error band is useful */
    struct vkern_c8_side side; /* its codes for c8, of worker->variant */
    int8_t *codes;             /* [dim in whole quads] */
    int8_t *weights;           /* its codes for c4 [m] */
    float weight_scale;
    struct lead *lead; /* NULL: the plan does without plane p8 */
};

/** What a query needs for plane p8 (lead.c). */
struct lead {
    struct vkern_p8_side side;
    int8_t *codes; /* [d in whole quads] */
    /* Upper bounds of the exact scores of the k best rows known, the largest first (a heap): of scouts at first. */
    float *known; /* [k] */
    size_t n_known;
    int64_t *scouts; /* [k] positions, ascending: rows that are known already */
    size_t n_scouts, next;
};

struct worker {
    struct call *call;
    struct pace pace;
    double grace_ns; /* of work left once the call is ending, to score and write what was reached */
    struct collector *collectors; /* [plan.group] */
    size_t n_collectors;
    float *dense;  /* [group, dim] f32 copies of integer queries; NULL where not needed */
    float *scores; /* [rows_max + VKERN_GROUP]; [lines, VKERN_TILE_ROWS] of a multiply */
    float *panel, *scale, *bias;
    void *scratch;   /* of all its streams */
    float *norms;    /* [rows of a brute part]; NULL for snapshots */
    /* Rows that a cut lets through, a bit each: [groups of rows_max + VKERN_GROUP] of a query's rough
       scores, [lines, VKERN_TILE_GROUPS] of a multiply, by cuts [lines]. */
    uint16_t *below;
    float *cuts;
    float *projection;
    /* codes.c */
    uint32_t variant; /* of the codes its queries hold; 0: none yet */
    bool is_packed;   /* they lie in `packed` too */
    const struct vkern_tile8 *tile8; /* of this thread; NULL: not asked yet */
    struct vkern_c8_query *pack_queries; /* [lines] */
    char *packed;                        /* a pack of pack_bytes for every `lines` queries */
    size_t pack_bytes;
    void *groups; /* rows of integers as c8 groups, VKERN_TILE_ROWS of them */
    /* lead.c */
    bool p8_is_made;      /* the queries in hand have codes and packs for p8 */
    char *p8_packed;      /* a pack of p8_pack_bytes for every plan.p8_lines queries */
    size_t p8_pack_bytes;
    uint32_t *pairs;      /* [p8_lines * VKERN_TILE_ROWS]: of a query and a row that a multiply let through */
    float *p8_cuts;       /* [group]: scores of the part in hand above these leave a row out */
    bool is_scouting;     /* looks for rows to begin with, not for hits */
    bool p8_fails;        /* too many rows are let through */
    uint64_t p8_tried, p8_passed;
    /* How the current first pass does: its bands may be too wide for these data. */
    bool codes_fail, tile_fails;
    uint64_t n_tried, n_overflowed; /* scored; reranked because a stream was full */
    uint64_t n_scored, n_reranked;
};

struct part_mask {
    const uint64_t *words; /* NULL: all rows */
    uint32_t n;            /* bits set */
};

/** A part, and room to make one of plain arrays. */
struct part_view {
    const struct part *part;
    struct part made;
    struct block block;
};

/** What a target below 1 is answered by, and why. */
struct effort {
    struct effort_plan plan; /* k_prime 0: exact */
    double ratio;            /* an audited query's time to a planned one's */
    bool may_audit;
};

/** The queries being answered: those of the request, or some of them, deeper for an audit. */
struct window {
    size_t first, n;
    size_t k;
    size_t k_prime;   /* 0: exactly */
    vindex_hit *hits; /* [n, k] */
};

/** What a device did for a call, or why it did nothing. */
struct device_answer {
    char text[128];    /* its plan; "": the CPU answers */
    char refusal[256]; /* "": none was asked */
    uint32_t state;    /* vindex_state */
    double predicted, bound;
    uint64_t n_scored, n_reranked;
};

struct call {
    struct search *search;
    const vkern_table *kern;
    const struct search_request *request;
    vindex_hit *hits;
    struct measure measure;
    uint32_t type, metric, dim;
    size_t row_bytes, query_bytes;
    struct vkern_model model; /* m 0 and no arrays: no codes but whole numbers */

    const struct snapshot *snapshot; /* NULL: plain arrays */
    const void *rows;
    size_t stride;
    uint64_t rows_per_part;
    void *zeros; /* a query of zeros, for norms of plain arrays */

    size_t n_parts;
    uint64_t n_positions, n_live, n_match;
    uint64_t n_c4, n_c8, n_p8; /* positions in parts with these planes */
    struct part_mask *masks; /* [n_parts]; NULL: no filter */

    struct effort effort;
    struct window window;
    struct plan plan;
    struct device_answer device;
    struct worker *workers;
    struct stop stop;
    size_t group_first;            /* of the queries in flight, where rows are split */
    uint64_t n_scored, n_reranked; /* of the windows answered */
};

/* brute.c: positions, parts and rows, of snapshots and of plain arrays. */
size_t vindex__call_find(const struct call *call, uint64_t position);
void vindex__call_part(const struct call *call, size_t index, struct part_view *view);
struct part_mask vindex__call_mask(const struct call *call, size_t index, const struct part *part);
const void *vindex__call_row(const struct call *call, uint64_t position, int64_t *id);
/** Norms of a made part, into worker->norms; sets norms, norm_lo and norm_hi. */
void vindex__part_measure_norms(struct worker *worker, struct part_view *view);
static inline int64_t vindex__row_id(const struct part *part, uint32_t slot)
{
    return part->ids ? part_id(part, slot) : (int64_t)(part->base + slot);
}

/* filter.c */
vindex_status vindex__call_filter(struct call *call);

/* effort.c */
/** Decide what the request's target is answered by, for its next n_queries queries: call->effort. */
void vindex__effort_plan(struct call *call, size_t n_queries);
/** Nothing but an exact answer will do, or was given. reason: static, or NULL. */
void vindex__effort_exact(struct call *call, const char *reason);
/** Whether the query about to be answered by that plan is one to learn from. */
bool vindex__effort_draw(const struct call *call);

/* audit.c */
/** Answer queries first .. first + n - 1 exactly, and add an audit of each. is_answered: their hits are
 *  there; those of an exact search cut short would be worse. */
vindex_status vindex__audit_queries(struct call *call, size_t first, size_t n, bool is_answered);

/* cost.c: nanoseconds, by estimate. */
/** n_queries queries over n_rows rows. */
double vindex__cost_scan(const struct call *call, enum engine engine, size_t n_queries,
                         uint64_t n_rows);
/** Scoring one row exactly; the c4 codes of one query. */
double vindex__cost_rerank(const struct call *call);
double vindex__cost_project(const struct call *call);
/** Scoring a row that the leading coordinates let through, and the share of rows they are expected to. */
double vindex__cost_let_through(const struct call *call, size_t n_queries);
double vindex__cost_expected(const struct call *call, size_t k);
/** A part with a smaller share of matching rows is scored exactly at once. */
double vindex__cost_sparse(enum engine engine);
/** Whether a plan with k' leaves a part to c4. Decided by all of its rows: what is found must not depend on
 *  how threads share them. */
bool vindex__is_rough(const struct part *part, struct part_mask mask);

/* plan.c */
/** Plan call->window. */
void vindex__plan_make(struct call *call);
/** The exact way for so many queries over parts without, and with, plane c8. */
enum engine vindex__plan_plain(const struct call *call, size_t n_queries);
enum engine vindex__plan_coded(const struct call *call, size_t n_queries);
/** Whether exact answers are found by the leading coordinates first, where a part has them. */
bool vindex__plan_leads(const struct call *call, size_t n_queries, size_t k);
void vindex__plan_text(const struct call *call, char *text, size_t size);
/** Entries of the stream of a query's first-pass scores. */
size_t vindex__first_entries(const struct plan *plan);
/** Room for the stream of a query's rough scores; 0: the plan has none. */
size_t vindex__rough_entries(const struct call *call);
struct topk_margin vindex__plan_margin(const struct call *call, const struct query *query);
/** The error of a first pass over a part's rows; false: none that is useful. */
bool vindex__plan_band(const struct call *call, enum engine engine, const struct query *query,
                       const struct part *part, struct topk_band *band);
/** The same over 8-bit codes with these facts, of a query's side. */
bool vindex__plan_codes_band(const struct call *call, const struct collector *collector,
                             const struct vkern_c8_facts *facts, const struct part *part,
                             struct topk_band *band);
/** The facts of the 8-bit codes a part is scored by: of its plane, or as made on the fly; false:
 *  its norms are none. */
bool vindex__plan_facts(const struct call *call, const struct part *part,
                        struct vkern_c8_facts *facts);
/** By how much a reported score of the part's rows may differ from the exact one, beside the margin. */
double vindex__plan_doubt(const struct call *call, const struct query *query, const struct part *part);
/** Rows whose exact first-pass score (offset added) is above this are reported worse than `score`.
 * */
double vindex__plan_upper(const struct call *call, const struct query *query, float score);

/* lead.c */
static inline bool vindex__part_has_p8(const struct part *part)
{
    return part->codes && part->codes->p8;
}
/** Some rows of slots [slot, end) into the rough streams of all, by their leading coordinates alone. */
void vindex__scout_part(struct worker *worker, const struct part *part, const uint64_t *mask,
                        uint32_t slot, uint32_t end);
/** What a query's scouts found, scored exactly, tells its collector how good a row has to be. rough is used up, best is
 *  emptied, unless the call is ending. */
void vindex__scout_end(struct worker *worker, struct collector *collector,
                       struct topk_stream *rough);
/** The same from another worker's collector of this query. */
void vindex__scout_copy(struct collector *collector, const struct collector *from);
/** Slots [slot, end) by the leading coordinates, for the collectors whose engine is ENGINE_QUERY: rows not left out
 *  are scored by the query kernels. Returns the slot it stopped at: too many rows are let through. */
uint32_t vindex__lead_part(struct worker *worker, const struct part *part, const uint64_t *mask,
                           uint32_t slot, uint32_t end);

/* codes.c */
static inline bool vindex__part_has_c8(const struct part *part)
{
    return part->codes && part->codes->c8;
}
static inline bool vindex__part_has_c4(const struct part *part)
{
    return part->codes && part->codes->c4;
}
/** Bytes of one query's codes for c8. */
static inline size_t vindex__codes_bytes(size_t dim)
{
    return (dim + 3) / 4 * 4;
}
/** Give all queries in hand the 8-bit codes that rows with such facts ask for. */
void vindex__codes_make(struct worker *worker, const struct vkern_c8_facts *facts);
/** Slots [slot, end) for the collectors whose engine is ENGINE_C8. */
void vindex__codes_part(struct worker *worker, const struct part *part, const uint64_t *mask,
                        uint32_t slot, uint32_t end);
/** The same by c4, into the rough streams of all. */
void vindex__rough_part(struct worker *worker, const struct part *part, const uint64_t *mask,
                        uint32_t slot, uint32_t end);
/** Scores above this cannot enter a rough stream. */
float vindex__rough_cut(const struct topk_stream *rough);
/** Rows from the first of [*slot, end) that the mask leaves in, whose groups lie together; with those
 *  before it in its group at most rows_max. 0 at the end. *groups: the first group. */
uint32_t vindex__next_groups(const struct block *blocks, const uint64_t *mask, uint32_t rows_max,
                             uint32_t end, uint32_t *slot, const void **groups);
/** Rows of groups at hand: slots [slot, slot + n), `before` rows past the first group's begin. */
struct group_run {
    const struct part *part;
    const uint64_t *mask; /* NULL: all rows count */
    uint32_t slot, n, before;
};
/** 64 bits of a mask of `end` bits, from any bit on. */
uint64_t vindex__mask_bits(const uint64_t *mask, uint32_t at, uint32_t end);
/** Whether any of a query's bits of a multiply is set. */
static inline bool vindex__has_below(const uint16_t *below)
{
    uint64_t words[VKERN_TILE_GROUPS / 4];
    memcpy(words, below, sizeof words);
    return (words[0] | words[1] | words[2] | words[3]) != 0;
}
/** Positions and scores of the run's rows whose bit is set in `below` (kernels/codes.h) and that the mask leaves in;
 *  returns how many. below and scores begin with the first group; below has room for a multiple of 4
 *  groups, and bits of rows outside the run are cleared. */
size_t vindex__take_below(uint16_t *below, const float *scores, const struct group_run *run, int64_t *ids,
                          float *values);

/* results.c */
/** Entries of a stream of the k best. */
size_t vindex__best_entries(size_t k, uint64_t n_match);
/** An empty one: of exact scores and ids, or of rough scores and positions. */
void vindex__best_init(struct topk_stream *best, size_t k, uint64_t n_match,
                       struct topk_memory memory);
/** A score that k known hits reach; false: there are fewer. */
bool vindex__best_worst(struct topk_stream *best, float *score);
/** The k best in order, padded. */
void vindex__hits_write(struct topk_stream *best, size_t n_padded, vindex_hit *hits);
/** No hit for slots [from, to). */
void vindex__hits_pad(vindex_hit *hits, size_t from, size_t to);

/* scan.c */
/** Rows of slots [slot, end) that count. */
size_t vindex__count_rows(const struct part *part, struct part_mask mask, uint32_t slot,
                          uint32_t end);
/** The first slot >= slot that the mask leaves in, or end. */
uint32_t vindex__first_live(const uint64_t *mask, uint32_t slot, uint32_t end);
/** All rows at positions [first, end), for all collectors of the worker. */
void vindex__scan_range(struct worker *worker, uint64_t first, uint64_t end);
void vindex__collector_push(struct worker *worker, struct collector *collector, const float *scores,
                            size_t n, const struct part *part, const uint64_t *mask, uint32_t slot);
/** What a query's scores are made by where rows are scored one by one: minus products, not yet divided by norms. */
vkern_score_fn *vindex__score_function(const struct call *call);
/** n rows scored, `found` of them at the end of the stream's entries. */
void vindex__collector_found(struct worker *worker, struct collector *collector, size_t n, size_t found);
/** The same for scores that a kernel has held against the stream's cut. */
void vindex__collector_take(struct worker *worker, struct collector *collector, const float *scores,
                            uint16_t *below, const struct group_run *run);
/** Rows of slots [*slot, end) that lie together, at most rows_max, skipping those the mask leaves
 * out;
 *  0 at the end. *slot is moved to their first. */
uint32_t vindex__next_rows(const struct part *part, const uint64_t *mask, uint32_t rows_max,
                           uint32_t end, uint32_t *slot);

/* batch.c */
/** Slots [slot, end) for the collectors whose engine is ENGINE_TILE. */
void vindex__batch_part(struct worker *worker, const struct part *part, const uint64_t *mask,
                        uint32_t slot, uint32_t end);
/** The same for ENGINE_TILE8. */
void vindex__batch8_part(struct worker *worker, const struct part *part, const uint64_t *mask,
                         uint32_t slot, uint32_t end);

/* rerank.c */
/** Count work on rows that were reached; false: the call is ending, and its grace is used up. */
static inline bool vindex__may_finish(struct worker *worker, struct stop *stop, double work_ns)
{
    if (!vindex__pace_tick(&worker->pace, stop, work_ns)) return true;
    worker->grace_ns -= work_ns;
    return worker->grace_ns > 0;
}
/** Begin to fetch a row: up to half a KiB, past it the processor has seen where it goes. */
static inline void vindex__fetch_row(const struct call *call, const void *row)
{
    size_t n_bytes = call->row_bytes < 512 ? call->row_bytes : 512;
    for (size_t at = 0; at < n_bytes; at += 64)
        __builtin_prefetch((const char *)row + at);
}
/** Score the best k' of a rough stream exactly, into the collector's best; k of them where the call is
 *  ending. */
void vindex__rerank_rough(struct worker *worker, struct collector *collector,
                          struct topk_stream *rough);
/** Score a stream's entries exactly and empty it. */
void vindex__rerank_stream(struct worker *worker, struct collector *collector);
/** Score every row of slots [slot, end) that the mask leaves in. */
void vindex__rerank_slots(struct worker *worker, struct collector *collector,
                          const struct part *part, const uint64_t *mask, uint32_t slot,
                          uint32_t end);

/* device_call.c */
/** Let the request's device answer. false: there is none, or it can not: the CPU is to. */
bool vindex__device_answer(struct call *call, vindex_status *status);

/* query.c */
vindex_status vindex__call_answer(struct call *call, vindex_report *report);
/** Answer some queries into hits of their own. */
vindex_status vindex__call_window(struct call *call, const struct window *window);
/** A call over a snapshot. */
void vindex__call_open(struct call *call, struct search *search, const struct snapshot *snapshot,
                       const struct search_request *request, vindex_hit *hits);
void vindex__call_init(struct call *call, struct search *search, uint32_t type, uint32_t metric,
                       uint32_t dim, const struct search_request *request, vindex_hit *hits);

#endif
