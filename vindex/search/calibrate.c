/*
 * calibrate.c - the audits of an index, and plans made from them. bound.c has the statistics, the header says what
 * is promised.
 *
 *     rows      1,024 rows of the index, asked as queries          -> may only be assumed by
 *     queries   the last 1,024 or 4,096 audited, given or live     -> may prove; an alarm forgets all but 32
 *     vectors   of the last queries                                -> optimize answers them again
 *     entries   what the audits say for a (k, target): one analysis, good until the audits have grown by a
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

#define ROWS_KEPT 1024u
#define QUERIES_KEPT 1024u
#define QUERIES_KEPT_MAX 4096u
#define MANY_TARGET 0.998999 /* from here on 1,024 queries prove nothing; 0.999f is below 0.999 */
#define VECTORS_KEPT 512u
#define VECTORS_BYTES (8u << 20)
#define N_ENTRIES 32u    /* plans in use at once */
#define STALE 0.2        /* rows changed by more: losses of another index */
#define VOID 0.5         /* rows newer by more: nothing to plan by */
#define DRIFT 0.02       /* rows changed by more: look again at what is stale */
#define WATCH 32u        /* live audits between two looks for an alarm */
#define ALARM 0.005      /* its level (tests/recall/test_slow_streams.c: how often it is false) */
#define AUDIT_SHARE 0.02 /* of the time */

/* ---- rings ----------------------------------------------------------------------------------- */

enum stored { NOT_STORED, IN_A_SAVE, STORED };

struct item {
    uint8_t kind;
    uint8_t stored; /* enum stored */
    uint16_t depth;
    uint64_t n_rows, next_seq;
    uint64_t vector; /* number of its vector + 1; 0 = none */
    uint8_t effort[AUDIT_DEPTH_MAX];
};

/* The last n of all items added; number i (from 0) lies at i % capacity. */
struct ring {
    struct item *items;
    size_t capacity, n;
    uint64_t end; /* number of the next */
};

/* The i-th oldest. */
static struct item *ring_at(const struct ring *ring, size_t i)
{
    return &ring->items[(ring->end - ring->n + i) % ring->capacity];
}

static vindex_status ring_reserve(struct ring *ring, size_t capacity)
{
    if (capacity <= ring->capacity) return VINDEX_OK;
    struct item *items = vindex__calloc(capacity, sizeof *items);
    if (!items) return vindex__nomem();
    for (size_t i = 0; i < ring->n; i++)
        items[(ring->end - ring->n + i) % capacity] = *ring_at(ring, i);
    vindex__free(ring->items);
    ring->items = items;
    ring->capacity = capacity;
    return VINDEX_OK;
}

static struct item *ring_push(struct ring *ring)
{
    if (ring->n < ring->capacity) ring->n++;
    return &ring->items[ring->end++ % ring->capacity];
}

/* ---- what the audits say for one (k, a) ------------------------------------------------------ */

/* A step and what was found there. step EFFORT_NONE: there is none. */
struct choice {
    uint32_t step;
    enum basis basis;
    uint64_t n;
    double mean, bound; /* of the loss; bound 1 where nothing was proven */
};

struct entry {
    size_t k;             /* 0: free */
    double prove, assume; /* the losses allowed */
    uint64_t used;        /* clock of the last use */
    /* Good for these audits: */
    uint64_t generation, n_rows, next_seq, n_queries;
    struct choice proven, assumed;
    const char *reason; /* why not assumed */
    /* The plan in use, held against what is audited later. */
    bool is_watched;
    uint32_t step;
    uint64_t since, last; /* live audits so far when it was first and last used */
    double recall_sum;
    uint64_t n_recall;
};

struct calibration {
    pthread_mutex_t mutex;
    uint32_t dim;
    unsigned char model[NONCE_BYTES];
    struct ring rows, queries;
    float *vectors; /* [n_vectors_max, dim]; number i lies at i % n_vectors_max */
    size_t n_vectors_max, n_vectors;
    uint64_t vectors_end;
    struct rng rng;
    uint64_t generation; /* moves where audits are forgotten or replaced */
    uint64_t n_queries_added, n_live_added;
    uint32_t n_cold;    /* after an alarm: exact answers still to come */
    uint64_t n_alarms, clock;
    struct entry entries[N_ENTRIES];
};

/* Sums of losses, in rows missed, over audits, for every step from `first` on: fewer than k rows are not reranked. */
struct tally {
    size_t k;
    uint32_t first;
    uint64_t n;
    uint64_t sum[EFFORT_STEPS], square[EFFORT_STEPS];
};

static void tally_add(struct tally *tally, const struct item *item)
{
    uint16_t found[EFFORT_STEPS] = {0};
    uint32_t step = 0;
    uint64_t missed = 0;
    if (item->depth < tally->k) return;
    for (size_t i = 0; i < tally->k; i++) {
        found[item->effort[i]]++;
        if (item->effort[i] > step) step = item->effort[i];
    }
    for (; step > tally->first; step--) {
        missed += found[step];
        tally->sum[step - 1] += missed;
        tally->square[step - 1] += missed * missed;
    }
    tally->n++;
}

static struct loss loss_of(uint64_t n, uint64_t sum, uint64_t square, size_t k)
{
    struct loss loss = {.n = n};
    if (n == 0) return loss;
    double count = (double)n * (double)k;
    loss.mean = (double)sum / count;
    loss.variance = (double)square / (count * (double)k) - loss.mean * loss.mean;
    if (loss.variance < 0) loss.variance = 0;
    return loss;
}

static struct loss tally_loss(const struct tally *tally, uint32_t step)
{
    return loss_of(tally->n, tally->sum[step], tally->square[step], tally->k);
}

/* The rows as they are now, and how many of them came after one commit (asked again and again for the same). */
struct now {
    uint64_t n_rows;
    const struct snapshot *snapshot;
    uint64_t seq, n_newer; /* n_newer: of segments from seq on */
};

static struct now now_of(const struct effort_ask *ask)
{
    return (struct now){ask->n_rows, ask->snapshot, UINT64_MAX, 0};
}

static uint64_t rows_since(struct now *now, uint64_t seq)
{
    if (now->seq == seq) return now->n_newer;
    now->seq = seq;
    now->n_newer = now->snapshot ? vindex__rows_since(now->snapshot, seq) : 0;
    return now->n_newer;
}

/* Its losses are those of other rows. */
static bool is_stale(const struct item *item, struct now *now)
{
    double then = (double)item->n_rows;
    return fabs((double)now->n_rows - then) > STALE * then ||
           (double)rows_since(now, item->next_seq) > STALE * then;
}

static bool is_void(const struct item *item, struct now *now)
{
    return (double)rows_since(now, item->next_seq) > VOID * (double)item->n_rows;
}

/* The smallest step proven to lose at most a. */
static struct choice prove(const struct tally *tally, double a)
{
    struct choice choice = {.step = EFFORT_NONE, .basis = BASIS_QUERIES, .n = tally->n, .bound = 1};
    bool is_within = false;
    double beta = 1;
    if (tally->n < COLD_AUDITS) return choice;
    for (uint32_t step = tally->first; step < EFFORT_NONE; step++) {
        struct loss loss = tally_loss(tally, step);
        if (vindex__loss_beta_within(&loss, a)) {
            is_within = true;
            beta = fmin(beta, vindex__loss_beta(&loss));
        }
        if (!is_within || vindex__loss_floor(&loss) > a) continue;
        choice.step = step;
        choice.mean = loss.mean;
        choice.bound = fmax(beta, vindex__loss_floor(&loss));
        break;
    }
    return choice;
}

/* The smallest step whose floor is at most a; *can: the audits are enough for it. */
static uint32_t least_floor(const struct tally *tally, double a, bool *can)
{
    uint32_t step = tally->first;
    *can = (double)(tally->n + 1) * a >= 1;
    for (; *can && step < EFFORT_NONE; step++) {
        struct loss loss = tally_loss(tally, step);
        if (vindex__loss_floor(&loss) <= a) break;
    }
    return *can ? step : EFFORT_NONE;
}

/*
 * In the flat layout a rerank of twice the rows costs little beside the scan, and what is only assumed is most often
 * short because the queries are harder than the rows: an octave is added to every assumption.
 */
#define ASSUMED_STEPS 8u

static struct choice assume(const struct entry *entry, const struct tally *rows,
                            const struct tally *fresh, const struct tally *stale,
                            const char **reason)
{
    struct choice choice = {.step = EFFORT_NONE, .bound = 1};
    bool can_rows, can_stale;
    uint32_t by_rows = least_floor(rows, entry->assume, &can_rows);
    uint32_t by_stale = least_floor(stale, entry->assume, &can_stale);
    *reason = rows->n + stale->n + fresh->n ? "too few audits for this target" : "no audits";
    if (!can_rows && !can_stale) return choice;

    uint32_t step = !can_stale           ? by_rows
                    : !can_rows          ? by_stale
                    : by_rows > by_stale ? by_rows
                                         : by_stale;
    *reason = "no effort was enough for the audits";
    if (step == EFFORT_NONE) return choice;
    struct loss loss = tally_loss(fresh, step);
    *reason = "the queries contradict the rows";
    if (vindex__loss_exceeds(&loss, entry->prove, 0.01)) return choice;
    while (step < EFFORT_NONE && tally_loss(fresh, step).mean > entry->assume)
        step++;
    *reason = "no effort was enough for the audits";
    if (step + ASSUMED_STEPS >= EFFORT_NONE) return choice;

    const struct tally *from = can_rows ? rows : stale;
    *reason = NULL;
    choice.step = step + ASSUMED_STEPS;
    choice.basis = can_rows ? BASIS_ROWS : BASIS_QUERIES;
    choice.n = from->n;
    choice.mean = fmax(tally_loss(from, choice.step).mean, tally_loss(fresh, choice.step).mean);
    return choice;
}

/* The smallest step that loses at most a of the audits' rows on the mean. */
static uint32_t least_mean(const struct tally *tally, double a)
{
    uint32_t step = tally->first;
    while (step < EFFORT_NONE && tally_loss(tally, step).mean > a)
        step++;
    return step;
}

static void tally_all(const struct calibration *c, struct now *now, struct tally *rows,
                      struct tally *fresh, struct tally *stale)
{
    for (size_t i = 0; i < c->rows.n; i++) {
        const struct item *item = ring_at(&c->rows, i);
        if (!is_void(item, now)) tally_add(rows, item);
    }
    for (size_t i = 0; i < c->queries.n; i++) {
        const struct item *item = ring_at(&c->queries, i);
        if (!is_void(item, now)) tally_add(is_stale(item, now) ? stale : fresh, item);
    }
}

/*
 * How many steps harder the queries are than the rows, by answers beyond the k-th: 32 queries say little of their
 * first answers, and much of their first hundred.
 */
#define FAR_K 100u

static uint32_t excess_steps(const struct calibration *c, const struct entry *entry, struct now *now)
{
    struct tally rows = {.k = FAR_K, .first = vindex__effort_of(FAR_K)}, fresh = rows, stale = rows;
    tally_all(c, now, &rows, &fresh, &stale);
    if (rows.n == 0 || fresh.n == 0) return 0;
    uint32_t of_rows = least_mean(&rows, entry->assume), of_queries = least_mean(&fresh, entry->assume);
    return of_queries > of_rows ? of_queries - of_rows : 0;
}

static void analyse(struct calibration *c, struct entry *entry, struct now *now)
{
    struct tally rows = {.k = entry->k, .first = vindex__effort_of(entry->k)}, fresh = rows,
                 stale = rows;
    tally_all(c, now, &rows, &fresh, &stale);
    entry->generation = c->generation;
    entry->n_rows = now->n_rows;
    entry->next_seq = now->snapshot ? now->snapshot->state.next_seq : 0;
    entry->n_queries = c->n_queries_added;
    entry->proven = prove(&fresh, entry->prove);
    entry->assumed = assume(entry, &rows, &fresh, &stale, &entry->reason);
    if (entry->assumed.step == EFFORT_NONE || entry->k >= FAR_K) return;
    entry->assumed.step += excess_steps(c, entry, now);
    if (entry->assumed.step > EFFORT_NONE) entry->assumed.step = EFFORT_NONE;
    if (entry->assumed.step == EFFORT_NONE) entry->reason = "no effort was enough for the audits";
}

/* ---- the table of plans ---------------------------------------------------------------------- */

static bool is_good(const struct calibration *c, const struct entry *entry, struct now *now)
{
    uint64_t grown = c->n_queries_added - entry->n_queries;
    double drift = DRIFT * (double)entry->n_rows;
    return entry->generation == c->generation && grown * 16 <= c->queries.n &&
           fabs((double)now->n_rows - (double)entry->n_rows) <= drift &&
           (double)rows_since(now, entry->next_seq) <= drift;
}

static struct entry *find_entry(struct calibration *c, size_t k, double prove_a, double assume_a,
                                const struct effort_ask *ask)
{
    struct now now = now_of(ask);
    struct entry *entry = NULL, *oldest = &c->entries[0];
    for (size_t i = 0; i < N_ENTRIES && !entry; i++) {
        struct entry *e = &c->entries[i];
        if (e->k == k && e->prove == prove_a && e->assume == assume_a) entry = e;
        if (e->used < oldest->used) oldest = e;
    }
    if (!entry) {
        entry = oldest;
        *entry = (struct entry){.k = k, .prove = prove_a, .assume = assume_a};
        analyse(c, entry, &now);
    } else if (!is_good(c, entry, &now)) {
        analyse(c, entry, &now);
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
    bool is_full = c->queries.capacity && c->queries.n == c->queries.capacity;
    return !is_full ? n : vindex__rng_unit(&c->rng) < AUDIT_SHARE ? 1 : 0;
}

static void plan_unfiltered(struct calibration *c, const struct effort_ask *ask,
                            struct effort_plan *plan)
{
    double a = 1 - ask->target;
    struct entry *entry = find_entry(c, ask->k, a, a / 2, ask);
    uint64_t n_fresh = entry->proven.n + (c->n_queries_added - entry->n_queries);
    uint32_t n_cold = c->n_cold               ? c->n_cold
                      : n_fresh < COLD_AUDITS ? COLD_AUDITS - (uint32_t)n_fresh
                                              : 0;
    bool is_proven = entry->proven.step != EFFORT_NONE && c->n_cold == 0;

    if (is_proven) {
        plan_choice(&entry->proven, VINDEX_STATE_PROVEN, "proven by queries", ask, plan);
    } else if (ask->strict) {
        plan_exact(plan, "not proven yet");
        plan->n_cold = ask->may_audit ? cold_queries(c, COLD_AUDITS) : 0;
    } else if (n_cold && ask->may_audit) {
        plan_exact(plan, "cold start");
        plan->n_cold = cold_queries(c, n_cold);
    } else if (entry->assumed.step != EFFORT_NONE) {
        plan_choice(&entry->assumed, VINDEX_STATE_ASSUMED,
                    entry->assumed.basis == BASIS_ROWS ? "not proven for your queries"
                                                       : "not proven for the rows as they are now",
                    ask, plan);
    } else {
        plan_exact(plan, entry->reason);
        plan->n_cold = ask->may_audit ? cold_queries(c, COLD_AUDITS) : 0;
    }
    if (plan->k_prime) {
        watch(c, entry, is_proven ? entry->proven.step : entry->assumed.step);
        if (entry->n_recall) plan->measured = entry->recall_sum / (double)entry->n_recall;
    }
}

/* Audits know all rows, not those that match: never proven. */
static void plan_filtered(struct calibration *c, const struct effort_ask *ask, size_t k,
                          struct effort_plan *plan)
{
    double a = (1 - ask->target) / 2;
    struct entry *entry = find_entry(c, k, a, a, ask);
    if (ask->strict)
        plan_exact(plan, "not proven under a filter");
    else if (entry->proven.step != EFFORT_NONE && c->n_cold == 0)
        plan_choice(&entry->proven, VINDEX_STATE_ASSUMED, "not proven under a filter", ask, plan);
    else if (entry->assumed.step != EFFORT_NONE)
        plan_choice(&entry->assumed, VINDEX_STATE_ASSUMED, "not proven under a filter", ask, plan);
    else
        plan_exact(plan, entry->reason);
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
    if (ask->target >= MANY_TARGET && c->queries.n == QUERIES_KEPT)
        (void)ring_reserve(&c->queries, QUERIES_KEPT_MAX);
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

static uint64_t missed_rows(const struct item *item, size_t k, uint32_t step)
{
    uint64_t missed = 0;
    for (size_t i = 0; i < k; i++)
        missed += item->effort[i] > step;
    return missed;
}

/* Each plan is judged by the audit before it learns from it. */
static void measure(struct calibration *c, const struct item *item)
{
    for (size_t i = 0; i < N_ENTRIES; i++) {
        struct entry *entry = &c->entries[i];
        if (!entry->is_watched || item->depth < entry->k) continue;
        entry->recall_sum +=
            1 - (double)missed_rows(item, entry->k, entry->step) / (double)entry->k;
        entry->n_recall++;
    }
}

/* Whether the last 32, 64, 128, ... live audits since the plan was taken up contradict it. */
static bool is_contradicted(const struct calibration *c, const struct entry *entry, uint64_t n_live)
{
    uint64_t n = 0, sum = 0, square = 0, window = WATCH;
    for (size_t i = c->queries.n; i-- > 0 && n < n_live;) {
        const struct item *item = ring_at(&c->queries, i);
        if (item->kind != AUDIT_LIVE || item->depth < entry->k) continue;
        uint64_t missed = missed_rows(item, entry->k, entry->step);
        sum += missed;
        square += missed * missed;
        if (++n < window) continue;
        struct loss loss = loss_of(n, sum, square, entry->k);
        if (vindex__loss_exceeds(&loss, entry->prove, ALARM)) return true;
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

static void forget_vectors_before(struct calibration *c, uint64_t number)
{
    uint64_t first = c->vectors_end - c->n_vectors;
    if (number > first) c->n_vectors = (size_t)(c->vectors_end - number);
}

static void forget_plans(struct calibration *c)
{
    c->generation++;
    for (size_t i = 0; i < N_ENTRIES; i++)
        c->entries[i] = (struct entry){.k = 0};
}

static void alarm(struct calibration *c)
{
    c->n_alarms++;
    c->n_cold = COLD_AUDITS;
    if (c->queries.n > WATCH) c->queries.n = WATCH;
    for (size_t i = 0; i < c->queries.n; i++)
        if (ring_at(&c->queries, i)->vector) {
            forget_vectors_before(c, ring_at(&c->queries, i)->vector - 1);
            break;
        }
    forget_plans(c);
}

/* ---- adding ---------------------------------------------------------------------------------- */

/* The number of the copy + 1; 0: not kept. */
static uint64_t keep_vector(struct calibration *c, const float *query)
{
    if (!query) return 0;
    if (!c->vectors) c->vectors = vindex__calloc(c->n_vectors_max, sizeof(float) * c->dim);
    if (!c->vectors) return 0; /* only a later optimize has less to go by */
    memcpy(c->vectors + c->vectors_end % c->n_vectors_max * c->dim, query, sizeof(float) * c->dim);
    if (c->n_vectors < c->n_vectors_max) c->n_vectors++;
    return ++c->vectors_end;
}

/* The item's vector, or NULL: it had none, or it was overwritten. */
static const float *vector_of(const struct calibration *c, const struct item *item)
{
    if (item->vector == 0 || c->vectors_end - (item->vector - 1) > c->n_vectors) return NULL;
    return c->vectors + (item->vector - 1) % c->n_vectors_max * c->dim;
}

static vindex_status add_locked(struct calibration *c, const struct audit *audit,
                                const float *query, bool *is_alarm)
{
    bool is_row = audit->kind == AUDIT_ROW;
    struct ring *ring = is_row ? &c->rows : &c->queries;
    bool is_full = ring->n == ring->capacity;
    size_t capacity = is_row                                  ? ROWS_KEPT
                      : is_full && audit->kind == AUDIT_GIVEN ? QUERIES_KEPT_MAX
                                                              : QUERIES_KEPT;
    vindex_status st = ring_reserve(ring, capacity);
    if (st != VINDEX_OK) return st;

    struct item *item = ring_push(ring);
    item->kind = (uint8_t)audit->kind;
    item->stored = NOT_STORED;
    item->depth = (uint16_t)audit->depth;
    item->n_rows = audit->n_rows;
    item->next_seq = audit->next_seq;
    item->vector = is_row ? 0 : keep_vector(c, query);
    memcpy(item->effort, audit->effort, audit->depth);
    if (is_row) {
        c->generation++;
        return VINDEX_OK;
    }
    c->n_queries_added++;
    if (audit->kind != AUDIT_LIVE) return VINDEX_OK;
    c->n_live_added++;
    if (c->n_cold) c->n_cold--;
    measure(c, item);
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
    c->rows.n = 0;
    c->generation++;
    pthread_mutex_unlock(&c->mutex);
}

size_t vindex__calibration_queries(struct calibration *c, float *queries, size_t max, uint64_t *first)
{
    pthread_mutex_lock(&c->mutex);
    size_t n = c->n_vectors < max ? c->n_vectors : max;
    if (first) *first = c->vectors_end - n;
    for (size_t i = 0; queries && i < n; i++)
        memcpy(queries + i * c->dim,
               c->vectors + (c->vectors_end - n + i) % c->n_vectors_max * c->dim,
               sizeof(float) * c->dim);
    pthread_mutex_unlock(&c->mutex);
    return n;
}

/* The same query twice would pass for two, where the audits of neither are stale. */
void vindex__calibration_drop_queries(struct calibration *c, uint64_t end)
{
    size_t n_kept = 0;
    pthread_mutex_lock(&c->mutex);
    for (size_t i = c->queries.n; i-- > 0;) { /* what stays moves up to the newest */
        const struct item *item = ring_at(&c->queries, i);
        if (item->vector == 0 || item->vector > end) {
            n_kept++;
            *ring_at(&c->queries, c->queries.n - n_kept) = *item;
        }
    }
    c->queries.n = n_kept;
    c->generation++;
    forget_vectors_before(c, end);
    pthread_mutex_unlock(&c->mutex);
}

/* ---- the whole ------------------------------------------------------------------------------- */

vindex_status vindex__calibration_new(uint32_t dim, struct calibration **out)
{
    struct calibration *c = vindex__calloc(1, sizeof *c);
    *out = NULL;
    if (!c) return vindex__nomem();
    size_t fits = VECTORS_BYTES / (sizeof(float) * dim);
    c->dim = dim;
    c->n_vectors_max = fits < VECTORS_KEPT ? fits : VECTORS_KEPT;
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
    vindex__free(c->rows.items);
    vindex__free(c->queries.items);
    vindex__free(c->vectors);
    vindex__free(c);
}

static void reset_locked(struct calibration *c, const unsigned char model[NONCE_BYTES])
{
    memcpy(c->model, model, NONCE_BYTES);
    c->rows.n = c->queries.n = 0;
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
    c->n_vectors = 0;
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
    *stat = (struct calibration_stat){.n_rows = c->rows.n, .n_alarms = c->n_alarms};
    if (c->rows.n) {
        stat->rows_then = ring_at(&c->rows, c->rows.n - 1)->n_rows;
        stat->rows_seq = ring_at(&c->rows, c->rows.n - 1)->next_seq;
    }
    if (c->queries.n) {
        stat->queries_then = ring_at(&c->queries, c->queries.n - 1)->n_rows;
        stat->queries_seq = ring_at(&c->queries, c->queries.n - 1)->next_seq;
    }
    for (size_t i = 0; i < c->queries.n; i++) {
        const struct item *item = ring_at(&c->queries, i);
        stat->n_live += item->kind == AUDIT_LIVE;
        stat->n_unsaved += item->kind == AUDIT_LIVE && item->stored != STORED;
    }
    stat->n_given = c->queries.n - stat->n_live;
    for (size_t i = 0; i < N_ENTRIES; i++) {
        sum += c->entries[i].recall_sum;
        n += c->entries[i].n_recall;
    }
    stat->measured = n ? sum / (double)n : (double)NAN;
    pthread_mutex_unlock(&c->mutex);
}

/* ---- in the store (FORMAT.md 4b) ------------------------------------------------------------- */

static void encode(const struct calibration *c, const struct item *item, unsigned char *entry,
                   size_t entry_bytes)
{
    const float *vector = entry_bytes > AUDIT_HEAD_BYTES ? vector_of(c, item) : NULL;
    memset(entry, 0, entry_bytes);
    store_le32(entry, item->kind);
    store_le32(entry + 4, item->depth);
    store_le64(entry + 8, item->n_rows);
    memcpy(entry + 16, item->effort, item->depth);
    store_le32(entry + 1040, vector != NULL);
    store_le32(entry + 1044, item->next_seq < UINT32_MAX ? (uint32_t)item->next_seq : UINT32_MAX);
    for (uint32_t i = 0; vector && i < c->dim; i++)
        store_f32(entry + AUDIT_HEAD_BYTES + 4 * (size_t)i, vector[i]);
}

vindex_status vindex__calibration_save(struct calibration *c, uint32_t *n, uint32_t *entry_bytes,
                                       unsigned char **entries)
{
    vindex_status st = VINDEX_OK;
    pthread_mutex_lock(&c->mutex);
    size_t n_rows = c->rows.n, total = n_rows + c->queries.n;
    uint32_t bytes = audit_stride(c->dim);
    unsigned char *out = vindex__calloc(total ? total : 1, bytes);
    if (!out) st = vindex__nomem();
    for (size_t i = 0; i < total && out; i++)
        encode(c, i < n_rows ? ring_at(&c->rows, i) : ring_at(&c->queries, i - n_rows),
               out + i * bytes, bytes);
    for (size_t i = 0; i < c->queries.n && out; i++)
        if (ring_at(&c->queries, i)->stored == NOT_STORED)
            ring_at(&c->queries, i)->stored = IN_A_SAVE;
    pthread_mutex_unlock(&c->mutex);
    *n = (uint32_t)total;
    *entry_bytes = bytes;
    *entries = out;
    return st;
}

void vindex__calibration_saved(struct calibration *c, bool is_stored)
{
    pthread_mutex_lock(&c->mutex);
    for (size_t i = 0; i < c->queries.n; i++) {
        struct item *item = ring_at(&c->queries, i);
        if (item->stored == IN_A_SAVE) item->stored = is_stored ? STORED : NOT_STORED;
    }
    pthread_mutex_unlock(&c->mutex);
}

static bool entry_makes_sense(const struct calibration *c, const unsigned char *entry,
                              size_t entry_bytes)
{
    uint32_t kind = load_le32(entry), depth = load_le32(entry + 4),
             has_query = load_le32(entry + 1040);
    if (kind < AUDIT_ROW || kind > AUDIT_LIVE || depth > AUDIT_DEPTH_MAX || has_query > 1 ||
        (has_query && entry_bytes == AUDIT_HEAD_BYTES))
        return false;
    for (uint32_t i = 0; has_query && i < c->dim; i++)
        if (!isfinite(load_f32(entry + AUDIT_HEAD_BYTES + 4 * (size_t)i))) return false;
    return true;
}

static vindex_status check_entries(const struct calibration *c, const struct audits_record *record,
                                   const unsigned char *entries)
{
    size_t n_rows = 0;
    if (record->entry_bytes != audit_stride(c->dim))
        return vindex__corrupt("an audit has %u bytes, for dim %u it has %u", record->entry_bytes,
                               c->dim, audit_stride(c->dim));
    for (uint32_t i = 0; i < record->n; i++) {
        const unsigned char *entry = entries + (size_t)i * record->entry_bytes;
        if (!entry_makes_sense(c, entry, record->entry_bytes))
            return vindex__corrupt("audit %u holds values outside the format's ranges", i);
        n_rows += load_le32(entry) == AUDIT_ROW;
    }
    if (n_rows > ROWS_KEPT || record->n - n_rows > QUERIES_KEPT_MAX)
        return vindex__corrupt("there are %zu audits of rows and %zu of queries: too many", n_rows,
                               record->n - n_rows);
    return VINDEX_OK;
}

static void decode(struct calibration *c, const unsigned char *entry, float *scratch,
                   struct item *item)
{
    item->kind = (uint8_t)load_le32(entry);
    item->stored = STORED;
    item->depth = (uint16_t)load_le32(entry + 4);
    item->n_rows = load_le64(entry + 8);
    item->next_seq = load_le32(entry + 1044);
    item->vector = 0;
    memcpy(item->effort, entry + 16, AUDIT_DEPTH_MAX);
    if (load_le32(entry + 1040) == 0) return;
    for (uint32_t i = 0; i < c->dim; i++)
        scratch[i] = load_f32(entry + AUDIT_HEAD_BYTES + 4 * (size_t)i);
    item->vector = keep_vector(c, scratch);
}

/* The live audits that no store has, apart. What a save took with it may be in the store by now, before whoever
   saves has said so. */
struct own {
    struct ring ring;
    bool has_vectors; /* the store has those of its audits: all are numbered anew */
    float *vectors;   /* [n_vectors + 1, dim]: item->vector - 1 is the row; the last one is scratch */
    size_t n_vectors;
};

/* The store's audits come before those answered since, and so do their queries; those there were come again. */
static void take_over(struct calibration *c, const struct audits_record *record,
                      const unsigned char *entries, const struct own *own)
{
    float *scratch = own->vectors + own->n_vectors * c->dim;
    c->rows.n = c->queries.n = 0;
    if (own->has_vectors) c->n_vectors = 0;
    for (uint32_t i = 0; i < record->n; i++) {
        const unsigned char *entry = entries + (size_t)i * record->entry_bytes;
        bool is_row = load_le32(entry) == AUDIT_ROW;
        decode(c, entry, scratch, ring_push(is_row ? &c->rows : &c->queries));
    }
    for (size_t i = 0; i < own->ring.n; i++) {
        struct item *item = ring_push(&c->queries);
        *item = *ring_at(&own->ring, i);
        if (own->has_vectors && item->vector)
            item->vector = keep_vector(c, own->vectors + (item->vector - 1) * c->dim);
    }
    c->generation++;
}

static vindex_status set_own_aside(const struct calibration *c, struct own *own)
{
    vindex_status st = ring_reserve(&own->ring, c->queries.n ? c->queries.n : 1);
    own->vectors = vindex__calloc(c->n_vectors + 1, sizeof(float) * c->dim);
    if (!own->vectors) st = vindex__nomem();
    for (size_t i = 0; i < c->queries.n && st == VINDEX_OK; i++) {
        const struct item *item = ring_at(&c->queries, i);
        if (item->kind != AUDIT_LIVE || item->stored != NOT_STORED) continue;
        const float *vector = own->has_vectors ? vector_of(c, item) : NULL;
        struct item *copy = ring_push(&own->ring);
        *copy = *item;
        if (!own->has_vectors) continue;
        if (vector) memcpy(own->vectors + own->n_vectors * c->dim, vector, sizeof(float) * c->dim);
        copy->vector = vector ? ++own->n_vectors : 0;
    }
    return st;
}

static vindex_status load_locked(struct calibration *c, const struct audits_record *record,
                                 const unsigned char *entries)
{
    struct own own = {.has_vectors = record->entry_bytes > AUDIT_HEAD_BYTES};
    vindex_status st = check_entries(c, record, entries);
    if (st == VINDEX_OK) st = set_own_aside(c, &own);
    if (st == VINDEX_OK) st = ring_reserve(&c->rows, ROWS_KEPT);
    if (st == VINDEX_OK)
        st = ring_reserve(&c->queries,
                          record->n + own.ring.n > QUERIES_KEPT ? QUERIES_KEPT_MAX : QUERIES_KEPT);
    if (st == VINDEX_OK) take_over(c, record, entries, &own);
    vindex__free(own.vectors);
    vindex__free(own.ring.items);
    return st;
}

vindex_status vindex__calibration_load(struct calibration *c, const struct audits_record *record,
                                       const unsigned char *entries)
{
    vindex_status st = VINDEX_OK;
    pthread_mutex_lock(&c->mutex);
    if (memcmp(c->model, record->model, NONCE_BYTES) == 0) st = load_locked(c, record, entries);
    pthread_mutex_unlock(&c->mutex);
    return st;
}
