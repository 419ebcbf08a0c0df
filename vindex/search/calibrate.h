/*
 * calibrate.h - ask for recall, get recall: audits (exact answers, and how much effort would have found each
 * of their rows), the bound computed from them, and the effort a target needs.
 *
 * AN AUDIT is one query answered exactly. For each of its depth nearest rows, in order, it holds the EFFORT
 * that finds the row: the least step of one ladder at which a plan's final answer contains it. Effort is
 * whatever a layout spends; in the flat layout it is k', the rows of the c4 scan that are reranked: a row of
 * rank r there (from 0) is found from step vindex__effort_of(r + 1) on. (Lists will put probes on the same
 * ladder.) The loss of an audit at (k, step) is the share of its k nearest rows that need more than step, so
 * any k up to depth can be asked and nothing is interpolated; loss falls as steps rise.
 *
 * THE BOUND (Clopper and Pearson's for 0/1 losses, widened to shares by the variance, with a conformal floor:
 * Angelopoulos et al., Conformal Risk Control, ICLR 2024). For losses l_1..l_n of one step, m their mean, v
 * their variance (divided by n):
 *     n_e = n clamp(m (1 - m) / v, 1, 4)      (n where v = 0)
 *     U = max(B, (n m + 1) / (n + 1)), B the least BetaInv(0.95; m n_e + 1, n_e - m n_e) of this and all
 *         smaller steps
 *     L = BetaInv(0.01; m n_e, n_e - m n_e + 1)                            (0 where m = 0)
 * The plan is the smallest step with U <= a, a = 1 - target: then over queries of the law of those audited
 * mean recall >= target with 95 % confidence (measured: tests/recall/test_bound.c).
 *
 * STATES, the first that applies (recall.md's, for the flat layout):
 *     exact    at most FEW_ROWS rows match; k (under a filter k / selectivity) beyond the audits' depth; the
 *              step costs more than effort_max; nothing below lets less than everything be scanned
 *     proven   U <= a over at least COLD_AUDITS queries, given or live, audited while the index had about as many
 *              rows as now (20 %)
 *     assumed  not under `strict`. The step whose floor (n m + 1) / (n + 1) is at most a / 2 over the rows of the
 *              index asked as queries (and over queries audited while it had another number of rows), deepened
 *              until the mean loss of queries audited since is at most a / 2, then by an octave and, for k < 100,
 *              by as many steps as those queries need more than the rows do at k = 100. Not while
 *              fewer than COLD_AUDITS queries were audited and this call may audit, and not if the queries
 *              contradict the rows (L > a before deepening)
 * Cold start: until COLD_AUDITS queries have been audited or the target is proven, queries are answered exactly
 * and become audits. So is every query answered exactly for lack of proof, until the ring is full.
 *
 * Under a filter the plan is that of k / selectivity at a / 2, never called proven: nobody has audited the rows
 * it leaves. Its k' is cut to the share of rows that match, and three deviations of that share.
 *
 * ALARM: after each 32 live audits the plans in use are held against the last 32, 64, 128, ... of them. L > a (at
 * level 0.005, for it is asked again and again): the queries have changed. All audits of queries before the last 32 are forgotten, and so is what was proven by them;
 * the next COLD_AUDITS are answered exactly.
 */
#ifndef VINDEX_SEARCH_CALIBRATE_H
#define VINDEX_SEARCH_CALIBRATE_H

#include "storage/snapshot.h"

/* ---- the ladder ------------------------------------------------------------------------------ */

/* Step s stands for 2^(s / 8) rows, rounded up: 8 steps double. 0 is one row; 255 = not found by any. */
#define EFFORT_STEPS 256u
#define EFFORT_NONE 255u
/** The least step that stands for at least n rows; EFFORT_NONE where none does. n >= 1. */
uint32_t vindex__effort_of(uint64_t n);
/** Rows a step stands for: ceil(2^(step / 8)); UINT64_MAX for EFFORT_NONE. */
uint64_t vindex__effort_rows(uint32_t step);

/* ---- the bound (pure) ------------------------------------------------------------------------ */

/** The x with I_x(a, b) = p: a >= 0, b >= 0 not both 0; 0 where a = 0, 1 where b = 0. Continued fraction
 *  (Lentz) and bisection. */
double vindex__beta_inverse(double p, double a, double b);

struct loss {
    double mean, variance; /* of n losses in [0, 1] */
    uint64_t n;
};
double vindex__loss_upper(const struct loss *loss); /* U of one step alone; 1 where n = 0 */
double vindex__loss_lower(const struct loss *loss); /* L; 0 where n = 0 */
/* The two parts of U, and what a plan asks, without the inverse: beta <= a; L > a, at level 0.01 or another. */
double vindex__loss_beta(const struct loss *loss);
double vindex__loss_floor(const struct loss *loss);
bool vindex__loss_beta_within(const struct loss *loss, double a);
bool vindex__loss_exceeds(const struct loss *loss, double a, double level);

/* ---- audits ---------------------------------------------------------------------------------- */

#define AUDIT_DEPTH_MAX 1024u
#define COLD_AUDITS 32u
#define FEW_ROWS 30000u
#define AUDITS_STALE 0.2 /* rows changed by more since: losses of another index, which prove nothing */
enum audit_kind { AUDIT_ROW = 1, AUDIT_GIVEN = 2, AUDIT_LIVE = 3 };

struct audit {
    uint32_t kind;
    uint32_t depth;  /* answers known */
    uint64_t n_rows; /* live when it was answered */
    uint64_t next_seq; /* of that snapshot: rows of later segments are newer */
    const unsigned char *model; /* nonce: what the efforts are relative to */
    uint8_t effort[AUDIT_DEPTH_MAX]; /* of answer i; EFFORT_NONE: found by no step */
};

/**
 * The audits of an index: shared by its searchers (locked inside), kept in memory, stored by optimize. Two
 * rings: 1,024 rows, and 1,024 queries given or live (4,096 once a target of 0.999 and more was asked for, or
 * more were given). The vectors of the last queries are kept too (512, at most 8 MiB), so that optimize can
 * answer them anew after the rows or the axes have changed.
 */
struct calibration;

vindex_status vindex__calibration_new(uint32_t dim, struct calibration **calibration);
void vindex__calibration_free(struct calibration *calibration);
/** Forget all but the kept queries; audits from now on are relative to this model. */
void vindex__calibration_reset(struct calibration *calibration, const unsigned char model[NONCE_BYTES]);
/** Forget everything, the kept queries and the model too: as new. */
void vindex__calibration_clear(struct calibration *calibration);
/** The model of the audits; all zeros: none yet. */
void vindex__calibration_model(struct calibration *calibration, unsigned char model[NONCE_BYTES]);
/** Take over stored audits (FORMAT.md 4b) of the model held, in place of those of their kind (live ones of this
 *  process stay). Of another model: nothing happens. CORRUPT: they make no sense, nothing was taken. */
vindex_status vindex__calibration_load(struct calibration *calibration, const struct audits_record *record,
                                       const unsigned char *entries);
/** For storing: n entries of *entry_bytes in FORMAT.md 4b's form, on the heap. */
vindex_status vindex__calibration_save(struct calibration *calibration, uint32_t *n, uint32_t *entry_bytes,
                                       unsigned char **entries);
/** Whether what save gave is in the store now. In between it counts as stored: a load may already bring it. */
void vindex__calibration_saved(struct calibration *calibration, bool is_stored);
/** query: f32 [dim], kept for re-answering, or NULL. An audit of another model than the one held is passed over:
 *  its snapshot was replaced meanwhile. */
vindex_status vindex__calibration_add(struct calibration *calibration, const struct audit *audit,
                                      const float *query);
/** Forget the audits of rows. */
void vindex__calibration_drop_rows(struct calibration *calibration);
/** Copies the last kept queries, at most max, oldest first: f32 [max, dim]; returns how many. A reset leaves
 *  them. queries NULL: only counts. first (may be NULL): the number of the first of them; others follow. */
size_t vindex__calibration_queries(struct calibration *calibration, float *queries, size_t max,
                                   uint64_t *first);
/** Queries with numbers below `end` were answered anew: forget them, and what they were audited by before. */
void vindex__calibration_drop_queries(struct calibration *calibration, uint64_t end);

/* ---- plans ----------------------------------------------------------------------------------- */

enum basis { BASIS_NONE, BASIS_ROWS, BASIS_QUERIES };

struct effort_ask {
    const unsigned char *model; /* nonce: of the snapshot that is searched */
    size_t k;
    double target;        /* in (0, 1) */
    double selectivity;   /* rows that match / rows: 1 without a filter */
    uint64_t n_rows;      /* live now */
    const struct snapshot *snapshot; /* what is searched; NULL: no row is newer than the audits */
    uint64_t effort_max;  /* rows from which on an exact scan is cheaper */
    bool strict;          /* exact until proven */
    bool may_audit;       /* no deadline, no filter, not VINDEX_SEARCH_NO_AUDIT */
};

struct effort_plan {
    uint32_t state;      /* vindex_state, of the queries after the first n_cold */
    enum basis basis;
    uint64_t n_audits;   /* it rests on */
    uint64_t k_prime;    /* rows to rerank, >= k; 0 = exact */
    double predicted;    /* 1 - mean loss; 1 when exact */
    double bound;        /* 1 - U; 1 when exact, 0 where not proven */
    double measured;     /* mean recall of this plan over live audits, each judged before it was learnt from; NaN: none */
    uint32_t n_cold;     /* answer this call's first n_cold queries exactly, add them as AUDIT_LIVE, and
                            ask again for the rest. 0 unless may_audit */
    const char *reason;  /* "proven by queries", ...: why this state; a static string, without figures */
};

/** What to do for this call. Cached by (k, target); thread-safe. */
void vindex__calibration_plan(struct calibration *calibration, const struct effort_ask *ask,
                              struct effort_plan *plan);

/**
 * One query is about to be answered by a plan with k_prime > 0, in a call that may audit: whether to audit it
 * (vindex__search_audit's work; its answer is then exact). The share keeps audits at 2 % of the time, where an
 * exact query costs `ratio` planned ones.
 */
bool vindex__calibration_draw(struct calibration *calibration, double ratio);

/** The numbers of stat and report: audits of each kind, alarms since the index was opened, mean recall measured
 *  by live audits at the plans in use (NaN: none). */
struct calibration_stat {
    uint64_t n_rows, n_given, n_live, n_alarms;
    double measured;
    uint64_t n_unsaved;               /* live ones that no store has */
    uint64_t rows_then, queries_then; /* live rows when the last of rows, of queries was answered; 0: none */
    uint64_t rows_seq, queries_seq;   /* next_seq then */
};
void vindex__calibration_stat(struct calibration *calibration, struct calibration_stat *stat);

#endif
