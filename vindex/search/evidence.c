/*
 * evidence.c - from audits to steps of effort. A tally sums the losses of one group of audits at every step; rules over
 * three tallies (rows, fresh queries, stale queries) give the verdict. bound.c has the statistics.
 */
#include "search/evidence.h"

#include <math.h>

#define VOID 0.5 /* rows newer by more: nothing to plan by */

/* ---- rows that came since --------------------------------------------------------------------- */

struct now vindex__now_of(const struct effort_ask *ask)
{
    return (struct now){ask->n_rows, ask->snapshot, UINT64_MAX, 0};
}

uint64_t vindex__now_newer(struct now *now, uint64_t seq)
{
    if (now->seq == seq) return now->n_newer;
    now->seq = seq;
    now->n_newer = now->snapshot ? vindex__rows_since(now->snapshot, seq) : 0;
    return now->n_newer;
}

/* Its losses are those of other rows. */
static bool is_stale(const struct kept_audit *audit, struct now *now)
{
    double then = (double)audit->n_rows;
    return fabs((double)now->n_rows - then) > AUDITS_STALE * then ||
           (double)vindex__now_newer(now, audit->next_seq) > AUDITS_STALE * then;
}

static bool is_void(const struct kept_audit *audit, struct now *now)
{
    return (double)vindex__now_newer(now, audit->next_seq) > VOID * (double)audit->n_rows;
}

/* ---- tallies ---------------------------------------------------------------------------------- */

/* Sums of losses, in rows missed, over audits, for every step from `first` on: fewer than k rows are not reranked. */
struct tally {
    size_t k;
    uint32_t first;
    uint64_t n;
    uint64_t sum[EFFORT_STEPS], square[EFFORT_STEPS];
};

/* Of the rows asked as queries, and of the queries by whether the rows are still those of then. */
struct tallies {
    struct tally rows, fresh, stale;
};

static void tally_add(struct tally *tally, const struct kept_audit *audit)
{
    uint16_t found[EFFORT_STEPS] = {0};
    uint32_t step = 0;
    uint64_t missed = 0;
    if (audit->depth < tally->k) return;
    for (size_t i = 0; i < tally->k; i++) {
        found[audit->effort[i]]++;
        if (audit->effort[i] > step) step = audit->effort[i];
    }
    for (; step > tally->first; step--) {
        missed += found[step];
        tally->sum[step - 1] += missed;
        tally->square[step - 1] += missed * missed;
    }
    tally->n++;
}

struct loss vindex__loss_of(uint64_t n, uint64_t missed, uint64_t squares, size_t k)
{
    struct loss loss = {.n = n};
    if (n == 0) return loss;
    double count = (double)n * (double)k;
    loss.mean = (double)missed / count;
    loss.variance = (double)squares / (count * (double)k) - loss.mean * loss.mean;
    if (loss.variance < 0) loss.variance = 0;
    return loss;
}

static struct loss tally_loss(const struct tally *tally, uint32_t step)
{
    return vindex__loss_of(tally->n, tally->sum[step], tally->square[step], tally->k);
}

static void tally_all(const struct audit_rings *audits, size_t k, struct now *now,
                      struct tallies *tallies)
{
    struct tally none = {.k = k, .first = vindex__effort_of(k)};
    *tallies = (struct tallies){none, none, none};
    for (size_t i = 0; i < audits->rows.n; i++) {
        const struct kept_audit *audit = ring_at(&audits->rows, i);
        if (!is_void(audit, now)) tally_add(&tallies->rows, audit);
    }
    for (size_t i = 0; i < audits->queries.n; i++) {
        const struct kept_audit *audit = ring_at(&audits->queries, i);
        if (is_void(audit, now)) continue;
        tally_add(is_stale(audit, now) ? &tallies->stale : &tallies->fresh, audit);
    }
}

/* ---- rules ------------------------------------------------------------------------------------ */

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

static struct choice assume(const struct question *question, const struct tallies *tallies,
                            const char **reason)
{
    const struct tally *rows = &tallies->rows, *fresh = &tallies->fresh, *stale = &tallies->stale;
    struct choice choice = {.step = EFFORT_NONE, .bound = 1};
    bool can_rows, can_stale;
    uint32_t by_rows = least_floor(rows, question->assume, &can_rows);
    uint32_t by_stale = least_floor(stale, question->assume, &can_stale);
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
    if (vindex__loss_exceeds(&loss, question->prove, 0.01)) return choice;
    while (step < EFFORT_NONE && tally_loss(fresh, step).mean > question->assume)
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

/*
 * How many steps harder the queries are than the rows, by answers beyond the k-th: 32 queries say little of their
 * first answers, and much of their first hundred.
 */
#define FAR_K 100u

static uint32_t excess_steps(const struct audit_rings *audits, const struct question *question,
                             struct now *now)
{
    struct tallies far;
    tally_all(audits, FAR_K, now, &far);
    if (far.rows.n == 0 || far.fresh.n == 0) return 0;
    uint32_t of_rows = least_mean(&far.rows, question->assume);
    uint32_t of_queries = least_mean(&far.fresh, question->assume);
    return of_queries > of_rows ? of_queries - of_rows : 0;
}

struct verdict vindex__evidence_weigh(const struct audit_rings *audits,
                                      const struct question *question, struct now *now)
{
    struct tallies tallies;
    struct verdict verdict;
    tally_all(audits, question->k, now, &tallies);
    verdict.proven = prove(&tallies.fresh, question->prove);
    verdict.assumed = assume(question, &tallies, &verdict.reason);
    if (verdict.assumed.step == EFFORT_NONE || question->k >= FAR_K) return verdict;
    verdict.assumed.step += excess_steps(audits, question, now);
    if (verdict.assumed.step < EFFORT_NONE) return verdict;
    verdict.assumed.step = EFFORT_NONE;
    verdict.reason = "no effort was enough for the audits";
    return verdict;
}
