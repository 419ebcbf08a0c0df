/*
 * calibrate.c - the audits of an index, and plans made from them. audit_rings.c keeps the audits, evidence.c says what
 * they prove, bound.c has the statistics, the header says what is promised.
 *
 *     audits    rows asked as queries                              -> may only be assumed by
 *               queries, given or live                             -> may prove; an alarm forgets all but 32
 *     entries   what the audits say for a (k, target): one verdict, good until the audits have grown by a
 *               sixteenth, so that a call costs a look into this table
 *
 * One mutex over all. Nothing is called back while it is held.
 */
#include "search/calibrate.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>

#include "base/mem.h"
#include "base/random.h"
#include "base/status.h"
#include "search/audit_rings.h"
#include "search/evidence.h"

#define MANY_TARGET 0.998999 /* from here on 1,024 queries prove nothing; 0.999f is below 0.999 */
#define N_ENTRIES 32u        /* plans in use at once */
#define DRIFT 0.02           /* rows changed by more: look again at what is stale */
#define WATCH 32u            /* live audits between two looks for an alarm */
#define ALARM 0.005      /* its level (tests/recall/test_slow_streams.c: how often it is false) */
#define AUDIT_SHARE 0.02 /* of the time */

struct entry {
    struct question question; /* k 0: free */
    uint64_t used;            /* clock of the last use */
    struct verdict verdict;
    uint64_t generation, n_rows, next_seq, n_queries; /* the verdict is over these audits */
    /* The plan in use, held against what is audited later. */
    bool is_watched;
    uint32_t step;
    uint64_t since, last; /* live audits so far when it was first and last used */
    double recall_sum;
    uint64_t n_recall;
};

struct calibration {
    pthread_mutex_t mutex;
    unsigned char model[NONCE_BYTES];
    struct audit_rings audits;
    struct rng rng;
    uint64_t generation; /* moves where audits are forgotten or replaced */
    uint64_t n_queries_added, n_live_added;
    uint32_t n_cold;    /* after an alarm: exact answers still to come */
    uint64_t n_alarms, clock;
    struct entry entries[N_ENTRIES];
};

/* ---- the table of plans ---------------------------------------------------------------------- */

static bool is_good(const struct calibration *c, const struct entry *entry, struct now *now)
{
    uint64_t grown = c->n_queries_added - entry->n_queries;
    double drift = DRIFT * (double)entry->n_rows;
    return entry->generation == c->generation && grown * 16 <= c->audits.queries.n &&
           fabs((double)now->n_rows - (double)entry->n_rows) <= drift &&
           (double)vindex__now_newer(now, entry->next_seq) <= drift;
}

static void weigh(struct calibration *c, struct entry *entry, struct now *now)
{
    entry->verdict = vindex__evidence_weigh(&c->audits, &entry->question, now);
    entry->generation = c->generation;
    entry->n_rows = now->n_rows;
    entry->next_seq = now->snapshot ? now->snapshot->state.next_seq : 0;
    entry->n_queries = c->n_queries_added;
}

static bool is_same(const struct question *a, const struct question *b)
{
    return a->k == b->k && a->prove == b->prove && a->assume == b->assume;
}

static struct entry *find_entry(struct calibration *c, struct question question,
                                const struct effort_ask *ask)
{
    struct now now = vindex__now_of(ask);
    struct entry *entry = NULL, *oldest = &c->entries[0];
    for (size_t i = 0; i < N_ENTRIES && !entry; i++) {
        struct entry *e = &c->entries[i];
        if (is_same(&e->question, &question)) entry = e;
        if (e->used < oldest->used) oldest = e;
    }
    if (!entry) {
        entry = oldest;
        *entry = (struct entry){.question = question};
        weigh(c, entry, &now);
    } else if (!is_good(c, entry, &now)) {
        weigh(c, entry, &now);
    }
    entry->used = ++c->clock;
    return entry;
}

/* From now on the plan is held against live audits. */
static void watch(struct calibration *c, struct entry *entry, uint32_t step)
{
    if (!entry->is_watched) entry->since = c->n_live_added;
    entry->last = c->n_live_added;
    entry->is_watched = true;
    entry->step = step;
}

/* ---- plans ----------------------------------------------------------------------------------- */

static void plan_exact(struct effort_plan *plan, const char *reason)
{
    *plan = (struct effort_plan){
        .state = VINDEX_STATE_EXACT, .predicted = 1, .bound = 1, .measured = NAN, .reason = reason};
}

/*
 * The rows to rerank among those that match, where rank r among all rows is about r s among them: three
 * deviations of that above it.
 */
static uint64_t cut_to_matching(uint64_t rows, double s)
{
    double cut = ceil((double)rows * s + 3 * sqrt((double)rows * s));
    return cut < (double)rows ? (uint64_t)cut : rows;
}

static void plan_choice(const struct choice *choice, uint32_t state, const char *reason,
                        const struct effort_ask *ask, struct effort_plan *plan)
{
    uint64_t rows = vindex__effort_rows(choice->step);
    if (ask->selectivity < 1) rows = cut_to_matching(rows, ask->selectivity);
    if (rows < ask->k) rows = ask->k;
    if (rows > ask->effort_max) {
        plan_exact(plan, "an exact scan is cheaper");
        return;
    }
    *plan = (struct effort_plan){.state = state,
                                 .basis = choice->basis,
                                 .n_audits = choice->n,
                                 .k_prime = rows,
                                 .predicted = 1 - choice->mean,
                                 .bound = state == VINDEX_STATE_PROVEN ? 1 - choice->bound : 0,
                                 .measured = NAN,
                                 .reason = reason};
}

/* The answers are exact anyway: they are learnt from until the ring is full, then now and then. */
static uint32_t cold_queries(struct calibration *c, uint32_t n)
{
    bool is_full = c->audits.queries.capacity && c->audits.queries.n == c->audits.queries.capacity;
    return !is_full ? n : vindex__rng_unit(&c->rng) < AUDIT_SHARE ? 1 : 0;
}

static void plan_unfiltered(struct calibration *c, const struct effort_ask *ask,
                            struct effort_plan *plan)
{
    double a = 1 - ask->target;
    struct entry *entry = find_entry(c, (struct question){ask->k, a, a / 2}, ask);
    uint64_t n_fresh = entry->verdict.proven.n + (c->n_queries_added - entry->n_queries);
    uint32_t n_cold = c->n_cold               ? c->n_cold
                      : n_fresh < COLD_AUDITS ? COLD_AUDITS - (uint32_t)n_fresh
                                              : 0;
    bool is_proven = entry->verdict.proven.step != EFFORT_NONE && c->n_cold == 0;

    if (is_proven) {
        plan_choice(&entry->verdict.proven, VINDEX_STATE_PROVEN, "proven by queries", ask, plan);
    } else if (ask->strict) {
        plan_exact(plan, "not proven yet");
        plan->n_cold = ask->may_audit ? cold_queries(c, COLD_AUDITS) : 0;
    } else if (n_cold && ask->may_audit) {
        plan_exact(plan, "cold start");
        plan->n_cold = cold_queries(c, n_cold);
    } else if (entry->verdict.assumed.step != EFFORT_NONE) {
        plan_choice(&entry->verdict.assumed, VINDEX_STATE_ASSUMED,
                    entry->verdict.assumed.basis == BASIS_ROWS
                        ? "not proven for your queries"
                        : "not proven for the rows as they are now",
                    ask, plan);
    } else {
        plan_exact(plan, entry->verdict.reason);
        plan->n_cold = ask->may_audit ? cold_queries(c, COLD_AUDITS) : 0;
    }
    if (plan->k_prime) {
        watch(c, entry, is_proven ? entry->verdict.proven.step : entry->verdict.assumed.step);
        if (entry->n_recall) plan->measured = entry->recall_sum / (double)entry->n_recall;
    }
}

/* Audits know all rows, not those that match: never proven. */
static void plan_filtered(struct calibration *c, const struct effort_ask *ask, size_t k,
                          struct effort_plan *plan)
{
    double a = (1 - ask->target) / 2;
    struct entry *entry = find_entry(c, (struct question){k, a, a}, ask);
    if (ask->strict)
        plan_exact(plan, "not proven under a filter");
    else if (entry->verdict.proven.step != EFFORT_NONE && c->n_cold == 0)
        plan_choice(&entry->verdict.proven, VINDEX_STATE_ASSUMED, "not proven under a filter", ask,
                    plan);
    else if (entry->verdict.assumed.step != EFFORT_NONE)
        plan_choice(&entry->verdict.assumed, VINDEX_STATE_ASSUMED, "not proven under a filter", ask,
                    plan);
    else
        plan_exact(plan, entry->verdict.reason);
}

static void plan_locked(struct calibration *c, const struct effort_ask *ask,
                        struct effort_plan *plan)
{
    double k = ask->selectivity < 1 ? (double)ask->k / ask->selectivity : (double)ask->k;
    if (ask->selectivity * (double)ask->n_rows <= FEW_ROWS)
        plan_exact(plan, "few rows");
    else if (memcmp(c->model, ask->model, NONCE_BYTES) != 0)
        plan_exact(plan, "no audits of these codes");
    else if (k > AUDIT_DEPTH_MAX)
        plan_exact(plan, "k is beyond what audits know");
    else if (ask->selectivity < 1)
        /* On the ladder, so that filters of all kinds share few plans. */
        plan_filtered(c, ask, (size_t)vindex__effort_rows(vindex__effort_of((uint64_t)ceil(k))),
                      plan);
    else
        plan_unfiltered(c, ask, plan);
}

void vindex__calibration_plan(struct calibration *c, const struct effort_ask *ask,
                              struct effort_plan *plan)
{
    assert(ask->k >= 1);
    assert(ask->target > 0 && ask->target < 1);
    assert(ask->selectivity >= 0 && ask->selectivity <= 1);
    pthread_mutex_lock(&c->mutex);
    /* No memory for more: the ring stays as it is, and proves less. */
    if (ask->target >= MANY_TARGET && c->audits.queries.n == QUERIES_KEPT)
        (void)vindex__ring_reserve(&c->audits.queries, QUERIES_KEPT_MAX);
    plan_locked(c, ask, plan);
    pthread_mutex_unlock(&c->mutex);
}

bool vindex__calibration_draw(struct calibration *c, double ratio)
{
    pthread_mutex_lock(&c->mutex);
    bool is_drawn = vindex__rng_unit(&c->rng) * fmax(ratio, 1) < AUDIT_SHARE;
    pthread_mutex_unlock(&c->mutex);
    return is_drawn;
}

/* ---- live audits: what was measured, and the alarm ------------------------------------------- */

static uint64_t missed_rows(const struct kept_audit *audit, size_t k, uint32_t step)
{
    uint64_t missed = 0;
    for (size_t i = 0; i < k; i++)
        missed += audit->effort[i] > step;
    return missed;
}

/* Each plan is judged by the audit before it learns from it. */
static void measure(struct calibration *c, const struct kept_audit *audit)
{
    for (size_t i = 0; i < N_ENTRIES; i++) {
        struct entry *entry = &c->entries[i];
        if (!entry->is_watched || audit->depth < entry->question.k) continue;
        entry->recall_sum += 1 - (double)missed_rows(audit, entry->question.k, entry->step) /
                                     (double)entry->question.k;
        entry->n_recall++;
    }
}

/* Whether the last 32, 64, 128, ... live audits since the plan was taken up contradict it. */
static bool is_contradicted(const struct calibration *c, const struct entry *entry, uint64_t n_live)
{
    uint64_t n = 0, sum = 0, square = 0, window = WATCH;
    for (size_t i = c->audits.queries.n; i-- > 0 && n < n_live;) {
        const struct kept_audit *audit = ring_at(&c->audits.queries, i);
        if (audit->kind != AUDIT_LIVE || audit->depth < entry->question.k) continue;
        uint64_t missed = missed_rows(audit, entry->question.k, entry->step);
        sum += missed;
        square += missed * missed;
        if (++n < window) continue;
        struct loss loss = vindex__loss_of(n, sum, square, entry->question.k);
        if (vindex__loss_exceeds(&loss, entry->question.prove, ALARM)) return true;
        window *= 2;
    }
    return false;
}

static bool must_alarm(const struct calibration *c)
{
    for (size_t i = 0; i < N_ENTRIES; i++) {
        const struct entry *entry = &c->entries[i];
        uint64_t n_live = c->n_live_added - entry->since;
        bool is_in_use = entry->is_watched && c->n_live_added - entry->last <= WATCH;
        if (is_in_use && n_live && n_live % WATCH == 0 && is_contradicted(c, entry, n_live))
            return true;
    }
    return false;
}

static void forget_plans(struct calibration *c)
{
    c->generation++;
    for (size_t i = 0; i < N_ENTRIES; i++)
        c->entries[i] = (struct entry){.used = 0};
}

static void alarm(struct calibration *c)
{
    c->n_alarms++;
    c->n_cold = COLD_AUDITS;
    vindex__rings_keep_last(&c->audits, WATCH);
    forget_plans(c);
}

/* ---- adding ---------------------------------------------------------------------------------- */

static vindex_status add_locked(struct calibration *c, const struct audit *audit,
                                const float *query, bool *is_alarm)
{
    const struct kept_audit *kept = NULL;
    vindex_status st = vindex__rings_add(&c->audits, audit, query, &kept);
    if (st != VINDEX_OK) return st;
    if (audit->kind == AUDIT_ROW) {
        c->generation++;
        return VINDEX_OK;
    }
    c->n_queries_added++;
    if (audit->kind != AUDIT_LIVE) return VINDEX_OK;
    c->n_live_added++;
    if (c->n_cold) c->n_cold--;
    measure(c, kept);
    *is_alarm = must_alarm(c);
    if (*is_alarm) alarm(c);
    return VINDEX_OK;
}

vindex_status vindex__calibration_add(struct calibration *c, const struct audit *audit,
                                      const float *query)
{
    bool is_alarm = false;
    vindex_status st = VINDEX_OK;
    assert(audit->depth <= AUDIT_DEPTH_MAX);
    assert(audit->kind >= AUDIT_ROW && audit->kind <= AUDIT_LIVE);
    pthread_mutex_lock(&c->mutex);
    if (memcmp(c->model, audit->model, NONCE_BYTES) == 0)
        st = add_locked(c, audit, query, &is_alarm);
    pthread_mutex_unlock(&c->mutex);
    if (is_alarm)
        vindex__log(
            "recall: live queries contradict the plan, it is made anew from the next %u; what was "
            "proven before is forgotten",
            COLD_AUDITS);
    return st;
}

void vindex__calibration_drop_rows(struct calibration *c)
{
    pthread_mutex_lock(&c->mutex);
    c->audits.rows.n = 0;
    c->generation++;
    pthread_mutex_unlock(&c->mutex);
}

size_t vindex__calibration_queries(struct calibration *c, float *queries, size_t max, uint64_t *first)
{
    pthread_mutex_lock(&c->mutex);
    size_t n = vindex__rings_vectors(&c->audits, queries, max, first);
    pthread_mutex_unlock(&c->mutex);
    return n;
}

void vindex__calibration_drop_queries(struct calibration *c, uint64_t end)
{
    pthread_mutex_lock(&c->mutex);
    vindex__rings_drop_vectors(&c->audits, end);
    c->generation++;
    pthread_mutex_unlock(&c->mutex);
}

/* ---- the whole ------------------------------------------------------------------------------- */

vindex_status vindex__calibration_new(uint32_t dim, struct calibration **out)
{
    struct calibration *c = vindex__calloc(1, sizeof *c);
    *out = NULL;
    if (!c) return vindex__nomem();
    vindex__rings_init(&c->audits, dim);
    vindex__rng_init(&c->rng, 0x76647800); /* the same queries are drawn each time */
    if (pthread_mutex_init(&c->mutex, NULL) != 0) {
        vindex__free(c);
        return vindex__nomem();
    }
    *out = c;
    return VINDEX_OK;
}

void vindex__calibration_free(struct calibration *c)
{
    if (!c) return;
    pthread_mutex_destroy(&c->mutex);
    vindex__rings_deinit(&c->audits);
    vindex__free(c);
}

static void reset_locked(struct calibration *c, const unsigned char model[NONCE_BYTES])
{
    memcpy(c->model, model, NONCE_BYTES);
    c->audits.rows.n = c->audits.queries.n = 0;
    c->n_cold = 0;
    forget_plans(c);
}

void vindex__calibration_reset(struct calibration *c, const unsigned char model[NONCE_BYTES])
{
    pthread_mutex_lock(&c->mutex);
    reset_locked(c, model);
    pthread_mutex_unlock(&c->mutex);
}

void vindex__calibration_clear(struct calibration *c)
{
    static const unsigned char none[NONCE_BYTES] = {0};
    pthread_mutex_lock(&c->mutex);
    reset_locked(c, none);
    c->audits.n_vectors = 0;
    pthread_mutex_unlock(&c->mutex);
}

void vindex__calibration_model(struct calibration *c, unsigned char model[NONCE_BYTES])
{
    pthread_mutex_lock(&c->mutex);
    memcpy(model, c->model, NONCE_BYTES);
    pthread_mutex_unlock(&c->mutex);
}

void vindex__calibration_stat(struct calibration *c, struct calibration_stat *stat)
{
    double sum = 0;
    uint64_t n = 0;
    pthread_mutex_lock(&c->mutex);
    *stat = (struct calibration_stat){.n_rows = c->audits.rows.n, .n_alarms = c->n_alarms};
    if (c->audits.rows.n) {
        stat->rows_then = ring_at(&c->audits.rows, c->audits.rows.n - 1)->n_rows;
        stat->rows_seq = ring_at(&c->audits.rows, c->audits.rows.n - 1)->next_seq;
    }
    if (c->audits.queries.n) {
        stat->queries_then = ring_at(&c->audits.queries, c->audits.queries.n - 1)->n_rows;
        stat->queries_seq = ring_at(&c->audits.queries, c->audits.queries.n - 1)->next_seq;
    }
    for (size_t i = 0; i < c->audits.queries.n; i++) {
        const struct kept_audit *audit = ring_at(&c->audits.queries, i);
        stat->n_live += audit->kind == AUDIT_LIVE;
        stat->n_unsaved += audit->kind == AUDIT_LIVE && audit->stored != STORED;
    }
    stat->n_given = c->audits.queries.n - stat->n_live;
    for (size_t i = 0; i < N_ENTRIES; i++) {
        sum += c->entries[i].recall_sum;
        n += c->entries[i].n_recall;
    }
    stat->measured = n ? sum / (double)n : (double)NAN;
    pthread_mutex_unlock(&c->mutex);
}

/* ---- in the store (FORMAT.md 4b) ------------------------------------------------------------- */

vindex_status vindex__calibration_save(struct calibration *c, uint32_t *n, uint32_t *entry_bytes,
                                       unsigned char **entries)
{
    pthread_mutex_lock(&c->mutex);
    vindex_status st = vindex__rings_encode(&c->audits, n, entry_bytes, entries);
    pthread_mutex_unlock(&c->mutex);
    return st;
}

void vindex__calibration_saved(struct calibration *c, bool is_stored)
{
    pthread_mutex_lock(&c->mutex);
    vindex__rings_settle(&c->audits, is_stored);
    pthread_mutex_unlock(&c->mutex);
}

vindex_status vindex__calibration_load(struct calibration *c, const struct audits_record *record,
                                       const unsigned char *entries)
{
    vindex_status st = VINDEX_OK;
    pthread_mutex_lock(&c->mutex);
    if (memcmp(c->model, record->model, NONCE_BYTES) == 0) {
        st = vindex__rings_decode(&c->audits, record, entries);
        if (st == VINDEX_OK) c->generation++;
    }
    pthread_mutex_unlock(&c->mutex);
    return st;
}
