/*
 * test_slow_streams.c - the promise over simulated laws and streams of queries: targets met by proven plans, cold
 * starts, a law that changes, one that does not.
 */
#include "common/cmocka.h"

#include <math.h>
#include <string.h>

#include "recall/helper_audits.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static struct rng rng;

static struct calibration *fresh(void)
{
    struct calibration *c = NULL;
    assert_int_equal(vindex__calibration_new(8, &c), VINDEX_OK);
    vindex__calibration_reset(c, test_model);
    return c;
}

static void add(struct calibration *c, const struct audit *audit)
{
    assert_int_equal(vindex__calibration_add(c, audit, NULL), VINDEX_OK);
}

static void add_drawn(struct calibration *c, const struct law *law, uint32_t kind, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct audit audit = make_audit(&rng, law, kind);
        add(c, &audit);
    }
}

static struct effort_plan plan_for(struct calibration *c, const struct effort_ask *ask)
{
    struct effort_plan plan;
    vindex__calibration_plan(c, ask, &plan);
    return plan;
}

static struct effort_plan plan_of(struct calibration *c, size_t k, double target)
{
    struct effort_ask ask = make_ask(k, target);
    return plan_for(c, &ask);
}

/* ---- the promise over simulated laws --------------------------------------------------------- */

static void targets_are_met(void **state)
{
    static const struct {
        const char *name;
        const struct law *law;
    } sets[] = {
        {"easy", &law_easy}, {"hard", &law_hard}, {"shifted", &law_shifted}, {"rare", &law_rare}};
    static const size_t ks[] = {1, 10, 100}, ns[] = {300, 1000};
    static const double targets[] = {0.9, 0.95, 0.99, 0.999};
    enum { POOL = 20000, DRAWS = 30 };
    unsigned n_plans = 0, n_met = 0;
    (void)state;
    for (size_t i = 0; i < COUNT(sets); i++) {
        struct audit *pool = make_audits(&rng, sets[i].law, AUDIT_GIVEN, POOL);
        double judged[COUNT(ks)][256] = {{0}}; /* recall of each k and step met; 0: not yet */
        for (size_t n = 0; n < COUNT(ns); n++) {
            unsigned proven[3][4] = {{0}}, met[3][4] = {{0}};
            for (int draw = 0; draw < DRAWS; draw++) {
                struct calibration *c = fresh();
                add_drawn(c, sets[i].law, AUDIT_GIVEN, ns[n]);
                for (size_t j = 0; j < COUNT(ks); j++)
                    for (size_t t = 0; t < COUNT(targets); t++) {
                        struct effort_plan plan = plan_of(c, ks[j], targets[t]);
                        if (plan.state != VINDEX_STATE_PROVEN) continue;
                        uint32_t at = vindex__effort_of(plan.k_prime);
                        if (judged[j][at] == 0)
                            judged[j][at] = recall_of(pool, POOL, ks[j], plan.k_prime);
                        double recall = judged[j][at];
                        double a = 1 - targets[t], sd = sqrt(a * targets[t] / (double)ns[n]);
                        double judge_sd = sqrt(a * targets[t] / POOL); /* of 0/1 losses */
                        proven[j][t]++;
                        met[j][t] += recall >= targets[t] - judge_sd;
                        /* 95 % of them meet it; the others fall short by what n 0/1 losses may hide. */
                        double short_by = fmax(4 * sd, 14 / (double)ns[n] - a); /* missed: e^-14 */
                        if (recall < targets[t] - short_by)
                            fail_msg("%s: n %zu k %zu target %.3f: recall %.5f, sd %.5f",
                                     sets[i].name, ns[n], ks[j], targets[t], recall, sd);
                    }
                vindex__calibration_free(c);
            }
            printf("%-8s n %4zu met/proven of %d:", sets[i].name, ns[n], (int)DRAWS);
            for (size_t j = 0; j < COUNT(ks); j++) {
                printf("  k %zu:", ks[j]);
                for (size_t t = 0; t < COUNT(targets); t++) {
                    printf(" %u/%u", met[j][t], proven[j][t]);
                    n_plans += proven[j][t];
                    n_met += met[j][t];
                    /* .9 of 30 draws and more; three deviations of .95 below that is 22. */
                    if (proven[j][t] == DRAWS) assert_true(met[j][t] >= 23);
                }
            }
            printf("\n");
        }
        free(pool);
    }
    printf("met in %u of %u proven plans\n", n_met, n_plans);
    assert_true(n_met >= 0.93 * n_plans);
}

/* ---- a stream of queries --------------------------------------------------------------------- */

struct stream {
    struct calibration *c;
    struct effort_ask ask;
    double ratio;
    uint64_t n_queries, n_audits;
    double recall_sum; /* of all answers; exact ones have 1 */
};

static double found_share(const struct audit *audit, size_t k, uint64_t k_prime)
{
    return recall_of(audit, 1, k, k_prime);
}

/* What a search does, one query a call; returns the recall of this answer. */
static double step(struct stream *s, const struct law *law)
{
    struct effort_plan plan = plan_for(s->c, &s->ask);
    struct audit audit = make_audit(&rng, law, AUDIT_LIVE);
    bool is_audited = plan.n_cold > 0 || (plan.k_prime && s->ask.may_audit &&
                                          vindex__calibration_draw(s->c, s->ratio));
    double recall =
        is_audited || plan.k_prime == 0 ? 1 : found_share(&audit, s->ask.k, plan.k_prime);
    if (is_audited) {
        add(s->c, &audit);
        s->n_audits++;
    }
    s->n_queries++;
    s->recall_sum += recall;
    return recall;
}

static uint64_t alarms(struct calibration *c)
{
    struct calibration_stat stat;
    vindex__calibration_stat(c, &stat);
    return stat.n_alarms;
}

/*
 * From nothing but rows, of the queries' law or of an easier one: the mean recall reaches the target at once. Means of 2,000
 * answers have a deviation, and a plan proven by few audits is one of the wrong twentieth now and then: of the 60 streams two may
 * be more than two deviations short (four of 3,000 were), none by what the 32 audits of a cold start all miss once in e^12.
 */
static void cold_streams_reach_the_target(void **state)
{
    static const struct {
        const char *name;
        const struct law *rows, *queries;
    } cases[] = {{"rows as queries", &law_hard, &law_hard},
                 {"queries easier", &law_hard, &law_easy},
                 {"queries harder", &law_easy, &law_hard},
                 {"queries of another law", &law_easy, &law_shifted},
                 {"rare losses in queries alone", &law_easy, &law_rare}};
    static const size_t ks[] = {1, 10, 100};
    static const double targets[] = {0.9, 0.95, 0.99, 0.999};
    unsigned n_short = 0;
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        printf("%-30s", cases[i].name);
        for (size_t j = 0; j < COUNT(ks); j++)
            for (size_t t = 0; t < COUNT(targets); t++) {
                struct stream s = {.c = fresh(), .ask = make_ask(ks[j], targets[t]), .ratio = 10};
                add_drawn(s.c, cases[i].rows, AUDIT_ROW, 1000);
                for (int q = 0; q < 2000; q++)
                    step(&s, cases[i].queries);
                double recall = s.recall_sum / (double)s.n_queries;
                double sd = sqrt(targets[t] * (1 - targets[t]) / 2000);
                printf(" %.4f", recall);
                n_short += recall < targets[t] - 2 * sd;
                if (recall < targets[t] - fmax(4 * sd, 12.0 / COLD_AUDITS - (1 - targets[t])))
                    fail_msg("%s: k %zu target %.3f delivered %.4f (sd %.4f)", cases[i].name, ks[j],
                             targets[t], recall, sd);
                vindex__calibration_free(s.c);
            }
        printf("\n");
    }
    assert_true(n_short <= 2);
}

/* A stream whose law changes once its ring is full. Plans learn from every audit, so that most changes are answered
   by a deeper plan, and the others by an alarm. Counted in audits: to an alarm where the plan still falls short,
   and until it delivers the target again. */
static void change_to(const struct law *before, const struct law *after, const char *name)
{
    static const size_t ks[] = {1, 10, 100};
    static const double targets[] = {0.9, 0.95, 0.99};
    enum { TRIALS = 20, POOL = 2000, MOST = 1000 };
    struct audit *pool = make_audits(&rng, after, AUDIT_LIVE, POOL);
    for (size_t j = 0; j < COUNT(ks); j++)
        for (size_t t = 0; t < COUNT(targets); t++) {
            unsigned n_late = 0, n_slow = 0, n_alarmed = 0, most = 0;
            double shortfall = 0;
            for (int trial = 0; trial < TRIALS; trial++) {
                struct calibration *c = fresh();
                struct effort_ask ask = make_ask(ks[j], targets[t]);
                struct effort_plan plan;
                for (size_t n = 0; n < 1100; n++) {
                    plan = plan_for(c, &ask);
                    add_drawn(c, before, AUDIT_LIVE, 1);
                }
                shortfall += targets[t] - recall_of(pool, POOL, ks[j], plan.k_prime);
                uint64_t n_before = alarms(c);
                unsigned n = 0;
                for (; n < MOST; n++) {
                    plan = plan_for(c, &ask);
                    if (!plan.k_prime || recall_of(pool, POOL, ks[j], plan.k_prime) >= targets[t])
                        break;
                    n_late += n == 128 && alarms(c) == n_before;
                    add_drawn(c, after, AUDIT_LIVE, 1);
                }
                if (n > most) most = n;
                n_slow += n > 300;
                n_alarmed += alarms(c) > n_before;
                vindex__calibration_free(c);
            }
            shortfall /= TRIALS;
            printf("%s, k %3zu target %.2f: shortfall %.3f; of %d: alarmed %u, short and not "
                   "alarmed after 128 %u; back "
                   "after at most %u\n",
                   name, ks[j], targets[t], shortfall, (int)TRIALS, n_alarmed, n_late, most);
            if (shortfall < fmax(0.03, 1 - targets[t])) continue;
            /* At k = 1 128 audits hold few misses; the plan deepens before they suffice. */
            if (ks[j] > 1) assert_true(n_late <= TRIALS / 10);
            assert_true(n_slow <= TRIALS / 10); /* one trial of 14,000 was */
        }
    free(pool);
}

static void change_is_seen(void **state)
{
    (void)state;
    change_to(&law_easy, &law_shifted, "easy to shifted");
    change_to(&law_easy, &law_hard, "easy to hard");
}

/* The alarm's other side: streams of 10,000 queries without a change, audits at their share and, so that there are many,
   every query an audit. */
static unsigned alarmed_streams(unsigned n_streams, bool audit_all)
{
    static const double targets[] = {0.9, 0.95, 0.99};
    unsigned n_alarmed = 0;
    for (unsigned trial = 0; trial < n_streams; trial++) {
        const struct law *law = trial % 2 ? &law_hard : &law_rare;
        struct stream s = {
            .c = fresh(), .ask = make_ask(trial % 4 < 2 ? 1 : 10, targets[trial % 3]), .ratio = 1};
        add_drawn(s.c, law, AUDIT_ROW, 200);
        for (int n = 0; n < 10000; n++) {
            struct effort_plan plan = plan_for(s.c, &s.ask);
            /* What is not audited teaches nothing: it need not be drawn. */
            if (audit_all || plan.n_cold || vindex__calibration_draw(s.c, s.ratio))
                add_drawn(s.c, law, AUDIT_LIVE, 1);
        }
        n_alarmed += alarms(s.c) > 0;
        struct effort_plan plan = plan_for(s.c, &s.ask);
        if (plan.k_prime && audit_all) assert_true(plan.measured >= s.ask.target - 0.005);
        vindex__calibration_free(s.c);
    }
    return n_alarmed;
}

static void no_change_no_alarm(void **state)
{
    enum { QUERIES = 400, AUDITS = 60 };
    (void)state;
    unsigned few = alarmed_streams(QUERIES, false), many = alarmed_streams(AUDITS, true);
    printf(
        "alarmed without a change: %u of %d streams of 10,000 queries, %u of %d of 10,000 audits\n",
        few, (int)QUERIES, many, (int)AUDITS);
    assert_true(few <= QUERIES / 20);
    assert_true(many <= AUDITS / 4); /* 50 times as many looks as those queries have at their share */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(targets_are_met),
        cmocka_unit_test(cold_streams_reach_the_target),
        cmocka_unit_test(change_is_seen),
        cmocka_unit_test(no_change_no_alarm),
    };
    vindex__rng_init(&rng, test_seed());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
