/*
 * test_calibrate.c - plans from audits, without an index: the states and when they hold, cold start, alarm, what
 * is stale, what is stored, threads, time. (test_bound.c: the statistics; test_slow_streams.c: streams of simulated queries;
 * test_slow_recall.c: real data.)
 */
#include "common/cmocka.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

#include "base/mem.h"
#include "base/threads.h"
#include "recall/helper_audits.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define DIM 8u

static struct rng rng;

static struct calibration *fresh(void)
{
    struct calibration *c = NULL;
    assert_int_equal(vindex__calibration_new(DIM, &c), VINDEX_OK);
    vindex__calibration_reset(c, test_model);
    return c;
}

static void add(struct calibration *c, const struct audit *audit)
{
    float query[DIM];
    for (uint32_t i = 0; i < DIM; i++)
        query[i] = (float)audit->effort[i];
    assert_int_equal(vindex__calibration_add(c, audit, audit->kind == AUDIT_ROW ? NULL : query),
                     VINDEX_OK);
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
    memset(&plan, 0xee, sizeof plan);
    vindex__calibration_plan(c, ask, &plan);
    assert_non_null(plan.reason);
    if (plan.state == VINDEX_STATE_EXACT) {
        assert_true(plan.k_prime == 0 && plan.predicted == 1 && plan.bound == 1);
    } else {
        assert_true(plan.k_prime >= ask->k && plan.k_prime <= ask->effort_max);
        assert_true(plan.basis != BASIS_NONE && plan.n_audits > 0);
        assert_true(plan.predicted >= ask->target);
        assert_true(plan.state == VINDEX_STATE_PROVEN ? plan.bound >= ask->target
                                                      : plan.bound == 0);
    }
    assert_true(plan.n_cold == 0 || ask->may_audit);
    return plan;
}

static struct effort_plan plan_of(struct calibration *c, size_t k, double target)
{
    struct effort_ask ask = make_ask(k, target);
    return plan_for(c, &ask);
}

#define assert_exact(plan, why)                                                                    \
    do {                                                                                           \
        assert_int_equal((plan).state, VINDEX_STATE_EXACT);                                        \
        assert_string_equal((plan).reason, why);                                                   \
    } while (0)

/* ---- states ---------------------------------------------------------------------------------- */

static void cold_start(void **state)
{
    struct calibration *c = fresh();
    struct effort_ask deaf = make_ask(10, 0.9);
    (void)state;
    deaf.may_audit = false;
    struct effort_plan plan = plan_of(c, 10, 0.9);
    assert_exact(plan, "cold start");
    assert_int_equal(plan.n_cold, COLD_AUDITS);
    assert_exact(plan_for(c, &deaf), "no audits");

    /* Rows known: who may not audit is answered on assumption; who may is audited first. */
    add_drawn(c, &law_easy, AUDIT_ROW, 1000);
    plan = plan_for(c, &deaf);
    assert_int_equal(plan.state, VINDEX_STATE_ASSUMED);
    assert_int_equal(plan.basis, BASIS_ROWS);
    assert_int_equal(plan.n_audits, 1000);
    deaf.strict = true;
    assert_exact(plan_for(c, &deaf), "not proven yet");
    for (uint32_t n = 0; n < COLD_AUDITS; n++) {
        plan = plan_of(c, 10, 0.99);
        assert_exact(plan, "cold start");
        assert_int_equal(plan.n_cold, COLD_AUDITS - n);
        add_drawn(c, &law_easy, AUDIT_LIVE, 1);
    }
    plan = plan_of(c, 10, 0.99);
    assert_int_equal(plan.state, VINDEX_STATE_ASSUMED);
    assert_int_equal(plan.n_cold, 0);
    vindex__calibration_free(c);
}

static void queries_prove(void **state)
{
    static const size_t ks[] = {1, 3, 10, 100};
    (void)state;
    struct calibration *c = fresh();
    add_drawn(c, &law_easy, AUDIT_GIVEN, 1000);
    for (size_t i = 0; i < COUNT(ks); i++) {
        uint64_t before = 0;
        static const double targets[] = {0.8, 0.9, 0.95, 0.99};
        for (size_t j = 0; j < COUNT(targets); j++) {
            struct effort_plan plan = plan_of(c, ks[i], targets[j]);
            assert_int_equal(plan.state, VINDEX_STATE_PROVEN);
            assert_int_equal(plan.basis, BASIS_QUERIES);
            assert_int_equal(plan.n_audits, 1000);
            assert_true(plan.k_prime >= before); /* more recall is never less effort */
            assert_true(isnan(plan.measured));
            before = plan.k_prime;
        }
    }
    /* 1,000 prove no 0.999 at k = 1, and there are no rows to assume it from. */
    struct effort_plan plan = plan_of(c, 1, 0.999);
    assert_exact(plan, "too few audits for this target");
    assert_int_equal(plan.n_cold, COLD_AUDITS);
    vindex__calibration_free(c);
}

/* All found at rank 1, yet 200 queries cannot tell 0.99 from 0.986. */
static void two_hundred_without_a_miss(void **state)
{
    struct audit audit = {
        .kind = AUDIT_GIVEN, .depth = TEST_DEPTH, .n_rows = TEST_ROWS, .model = test_model};
    struct calibration *c = fresh();
    (void)state;
    for (int i = 0; i < 298; i++) {
        add(c, &audit);
        if (i == 199) assert_int_equal(plan_of(c, 1, 0.99).state, VINDEX_STATE_EXACT);
    }
    struct effort_plan plan = plan_of(c, 1, 0.99);
    assert_exact(plan, "too few audits for this target");
    for (int i = 0; i < 40; i++) /* a plan is made anew with a sixteenth more */
        add(c, &audit);
    plan = plan_of(c, 1, 0.99);
    assert_int_equal(plan.state, VINDEX_STATE_PROVEN);
    assert_int_equal(plan.k_prime, 1);
    vindex__calibration_free(c);
}

static void queries_contradict_the_rows(void **state)
{
    struct calibration *c = fresh();
    (void)state;
    add_drawn(c, &law_easy, AUDIT_ROW, 1000);
    add_drawn(c, &law_shifted, AUDIT_LIVE, COLD_AUDITS);
    struct effort_plan plan = plan_of(c, 10, 0.99);
    assert_exact(plan, "the queries contradict the rows");
    assert_int_equal(plan.n_cold, COLD_AUDITS);
    /* Exact until they prove something themselves. */
    for (int i = 0; i < 32 && plan.state == VINDEX_STATE_EXACT; i++) {
        add_drawn(c, &law_shifted, AUDIT_LIVE, COLD_AUDITS);
        plan = plan_of(c, 10, 0.99);
        assert_int_not_equal(plan.state, VINDEX_STATE_ASSUMED);
    }
    assert_int_equal(plan.state, VINDEX_STATE_PROVEN);
    vindex__calibration_free(c);
}

static void exact_where_it_must_be(void **state)
{
    struct calibration *c = fresh();
    struct effort_ask ask = make_ask(10, 0.95);
    (void)state;
    add_drawn(c, &law_easy, AUDIT_GIVEN, 300);
    assert_int_equal(plan_for(c, &ask).state, VINDEX_STATE_PROVEN);
    ask.n_rows = FEW_ROWS;
    assert_exact(plan_for(c, &ask), "few rows");
    ask = make_ask(TEST_DEPTH + 1, 0.95); /* no audit is so deep */
    assert_exact(plan_for(c, &ask), "cold start");
    ask.k = AUDIT_DEPTH_MAX + 1;
    assert_exact(plan_for(c, &ask), "k is beyond what audits know");
    ask = make_ask(10, 0.95);
    ask.effort_max = 9;
    assert_exact(plan_for(c, &ask), "an exact scan is cheaper");
    ask = make_ask(10, 0.95);
    ask.model = (const unsigned char *)"some other model";
    assert_exact(plan_for(c, &ask), "no audits of these codes");
    /* An audit of that other model is not taken. */
    struct audit audit = make_audit(&rng, &law_easy, AUDIT_GIVEN);
    struct calibration_stat before, after;
    vindex__calibration_stat(c, &before);
    audit.model = ask.model;
    assert_int_equal(vindex__calibration_add(c, &audit, NULL), VINDEX_OK);
    vindex__calibration_stat(c, &after);
    assert_int_equal(before.n_given, after.n_given);
    vindex__calibration_free(c);
}

static void stale_audits_prove_nothing(void **state)
{
    static const double changes[] = {0.5, 0.79, 1.21, 3};
    struct calibration *c = fresh();
    (void)state;
    add_drawn(c, &law_easy, AUDIT_ROW, 1000);
    add_drawn(c, &law_easy, AUDIT_GIVEN, 1000);
    for (size_t i = 0; i < COUNT(changes); i++) {
        struct effort_ask ask = make_ask(10, 0.99);
        assert_int_equal(plan_for(c, &ask).state, VINDEX_STATE_PROVEN);
        ask.n_rows = (uint64_t)(changes[i] * TEST_ROWS);
        ask.may_audit = false;
        assert_int_equal(plan_for(c, &ask).state, VINDEX_STATE_ASSUMED);
        ask.may_audit = true; /* they are audited anew */
        struct effort_plan plan = plan_for(c, &ask);
        assert_exact(plan, "cold start");
        assert_int_equal(plan.n_cold, COLD_AUDITS);
    }
    struct effort_ask ask = make_ask(10, 0.99);
    ask.n_rows = (uint64_t)(1.15 * TEST_ROWS);
    assert_int_equal(plan_for(c, &ask).state, VINDEX_STATE_PROVEN);
    vindex__calibration_free(c);
}

/* As many rows as before, but other ones: of segments that came after the audits. */
static void newer_rows_prove_nothing(void **state)
{
    static const struct {
        double newer;
        uint32_t state;
    } cases[] = {{0.1, VINDEX_STATE_PROVEN},
                 {0.25, VINDEX_STATE_ASSUMED},
                 {0.6, VINDEX_STATE_EXACT},
                 {1, VINDEX_STATE_EXACT}};
    struct calibration *c = fresh();
    (void)state;
    for (int i = 0; i < 1000; i++) {
        struct audit audit = make_audit(&rng, &law_easy, i % 2 ? AUDIT_ROW : AUDIT_GIVEN);
        audit.next_seq = 10;
        add(c, &audit);
    }
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint32_t newer = (uint32_t)(cases[i].newer * TEST_ROWS);
        struct part parts[] = {{.seq = 9, .n_live = TEST_ROWS - newer},
                               {.seq = 10 + i, .n_live = newer},
                               {.is_tail = true, .n_live = TEST_ROWS / 2}};
        struct snapshot snapshot = {.state.next_seq = 11 + i, .parts = parts, .n_parts = 3};
        struct effort_ask ask = make_ask(10, 0.95);
        ask.snapshot = &snapshot;
        ask.may_audit = false;
        assert_int_equal(plan_for(c, &ask).state, cases[i].state);
    }
    vindex__calibration_free(c);
}

static void filters_are_never_proven(void **state)
{
    static const double shares[] = {0.9, 0.5, 0.3, 0.1};
    struct calibration *c = fresh();
    (void)state;
    add_drawn(c, &law_easy, AUDIT_GIVEN, 1000);
    uint64_t unfiltered = plan_of(c, 10, 0.95).k_prime;
    for (size_t i = 0; i < COUNT(shares); i++) {
        struct effort_ask ask = make_ask(10, 0.95);
        ask.selectivity = shares[i];
        ask.may_audit = false;
        struct effort_plan plan = plan_for(c, &ask);
        assert_int_equal(plan.state, VINDEX_STATE_ASSUMED);
        assert_string_equal(plan.reason, "not proven under a filter");
        assert_true(plan.k_prime >= 10 && plan.k_prime <= 10 * unfiltered);
        ask.strict = true;
        assert_exact(plan_for(c, &ask), "not proven under a filter");
    }
    struct effort_ask ask = make_ask(10, 0.95);
    ask.selectivity = 0.02;
    assert_exact(plan_for(c, &ask), "few rows");
    ask.n_rows = 100 * TEST_ROWS;
    ask.selectivity = 0.002;
    assert_exact(plan_for(c, &ask), "k is beyond what audits know");
    vindex__calibration_free(c);
}

/* Filters that keep a random share of the rows: the answers of a filtered query are those of the unfiltered one that
   match, at ranks among the rows that match. */
static void independent_filters_reach_the_target(void **state)
{
    static const double shares[] = {0.5, 0.2, 0.1};
    enum { K = 10, QUERIES = 2000 };
    (void)state;
    for (size_t i = 0; i < COUNT(shares); i++) {
        struct calibration *c = fresh();
        add_drawn(c, &law_hard, AUDIT_GIVEN, 1000);
        struct effort_ask ask = make_ask(K, 0.95);
        ask.selectivity = shares[i];
        ask.may_audit = false;
        struct effort_plan plan = plan_for(c, &ask);
        assert_int_equal(plan.state, VINDEX_STATE_ASSUMED);
        uint64_t found = 0, asked = 0;
        for (int q = 0; q < QUERIES; q++) {
            struct audit audit = make_audit(&rng, &law_hard, AUDIT_LIVE);
            for (uint32_t j = 0, n = 0; j < TEST_DEPTH && n < K; j++) {
                if (vindex__rng_unit(&rng) >= shares[i]) continue;
                /* Of the rows before it so many match. */
                double rank = (double)vindex__effort_rows(audit.effort[j]) * shares[i];
                double u =
                    vindex__rng_unit(&rng) + vindex__rng_unit(&rng) + vindex__rng_unit(&rng) - 1.5;
                rank += 2 * u * sqrt(rank * (1 - shares[i]));
                found += rank <= (double)plan.k_prime;
                asked++;
                n++;
            }
        }
        double recall = (double)found / (double)asked;
        printf("filter %.1f: k' %llu, recall %.4f\n", shares[i], (unsigned long long)plan.k_prime,
               recall);
        assert_true(recall >= 0.95);
        vindex__calibration_free(c);
    }
}

/* ---- auditing ------------------------------------------------------------------------------- */

static void audits_take_their_share(void **state)
{
    static const double ratios[] = {1, 5, 50};
    struct calibration *c = fresh();
    (void)state;
    for (size_t i = 0; i < COUNT(ratios); i++) {
        enum { N = 200000 };
        unsigned n = 0;
        for (int q = 0; q < N; q++)
            n += vindex__calibration_draw(c, ratios[i]);
        double share = n * ratios[i] / N;
        assert_true(share > 0.016 && share < 0.024);
    }
    vindex__calibration_free(c);
}

/* ---- stored ---------------------------------------------------------------------------------- */

struct stored {
    struct audits_record record;
    unsigned char *entries;
};

static struct stored save(struct calibration *c)
{
    struct stored s = {.record = {.n_rows = TEST_ROWS, .version = AUDITS_VERSION}};
    memcpy(s.record.model, test_model, NONCE_BYTES);
    assert_int_equal(vindex__calibration_save(c, &s.record.n, &s.record.entry_bytes, &s.entries),
                     VINDEX_OK);
    return s;
}

static void a_stored_plan_is_the_same(void **state)
{
    struct calibration *c = fresh(), *other = fresh();
    (void)state;
    add_drawn(c, &law_easy, AUDIT_ROW, 900);
    add_drawn(c, &law_hard, AUDIT_GIVEN, 300);
    add_drawn(c, &law_hard, AUDIT_LIVE, 40);
    struct stored s = save(c);
    assert_int_equal(s.record.n, 1240);
    assert_int_equal(vindex__calibration_load(other, &s.record, s.entries), VINDEX_OK);
    static const size_t ks[] = {1, 10, 100};
    static const double targets[] = {0.9, 0.95, 0.99, 0.999};
    for (size_t i = 0; i < COUNT(ks); i++)
        for (size_t t = 0; t < COUNT(targets); t++) {
            struct effort_plan a = plan_of(c, ks[i], targets[t]),
                               b = plan_of(other, ks[i], targets[t]);
            assert_true(a.state == b.state && a.k_prime == b.k_prime && a.bound == b.bound &&
                        a.predicted == b.predicted && a.n_audits == b.n_audits &&
                        a.basis == b.basis);
        }
    /* And so are the queries: the last 340, in order. */
    float mine[512 * DIM], theirs[512 * DIM];
    assert_int_equal(vindex__calibration_queries(c, mine, 512, NULL), 340);
    assert_int_equal(vindex__calibration_queries(other, theirs, 512, NULL), 340);
    assert_memory_equal(mine, theirs, 340 * DIM * sizeof(float));

    /* Loaded again, beside what this process audited itself: that stays, nothing is twice. */
    struct calibration_stat stat;
    add_drawn(other, &law_hard, AUDIT_LIVE, 7);
    assert_int_equal(vindex__calibration_load(other, &s.record, s.entries), VINDEX_OK);
    vindex__calibration_stat(other, &stat);
    assert_int_equal(stat.n_rows, 900);
    assert_int_equal(stat.n_given, 300);
    assert_int_equal(stat.n_live, 47);
    assert_int_equal(vindex__calibration_queries(other, NULL, SIZE_MAX, NULL), 347);
    assert_int_equal(vindex__calibration_queries(other, theirs, 347, NULL), 347);
    assert_memory_equal(mine, theirs, 340 * DIM * sizeof(float));

    /* Of another model: passed over. */
    struct calibration *third = fresh();
    memset(s.record.model, 7, NONCE_BYTES);
    assert_int_equal(vindex__calibration_load(third, &s.record, s.entries), VINDEX_OK);
    vindex__calibration_stat(third, &stat);
    assert_int_equal(stat.n_rows + stat.n_given + stat.n_live, 0);
    vindex__free(s.entries);
    vindex__calibration_free(c);
    vindex__calibration_free(other);
    vindex__calibration_free(third);
}

/* Another thread may take over from the store what is being saved as soon as it is there. */
static void what_is_being_saved_is_not_taken_twice(void **state)
{
    struct calibration *c = fresh();
    struct calibration_stat stat;
    (void)state;
    add_drawn(c, &law_hard, AUDIT_LIVE, 40);
    struct stored s = save(c);
    add_drawn(c, &law_hard, AUDIT_LIVE, 3);
    assert_int_equal(vindex__calibration_load(c, &s.record, s.entries), VINDEX_OK);
    vindex__calibration_saved(c, true);
    vindex__calibration_stat(c, &stat);
    assert_int_equal(stat.n_live, 43);
    assert_int_equal(stat.n_unsaved, 3);

    /* A save that failed saved nothing. */
    struct stored failed = save(c);
    vindex__calibration_saved(c, false);
    vindex__calibration_stat(c, &stat);
    assert_int_equal(stat.n_unsaved, 3);
    assert_int_equal(vindex__calibration_load(c, &s.record, s.entries), VINDEX_OK);
    vindex__calibration_stat(c, &stat);
    assert_int_equal(stat.n_live, 43);
    vindex__free(failed.entries);
    vindex__free(s.entries);
    vindex__calibration_free(c);
}

/* Queries that were answered anew leave with what they were audited by before; the others stay. */
static void answered_anew(void **state)
{
    struct calibration *c = fresh();
    struct calibration_stat stat;
    float before[30 * DIM], after[30 * DIM];
    uint64_t first = 0, next = 0;
    (void)state;
    add_drawn(c, &law_hard, AUDIT_GIVEN, 7);
    add_drawn(c, &law_hard, AUDIT_LIVE, 13);
    assert_int_equal(vindex__calibration_queries(c, before, 30, &first), 20);
    add_drawn(c, &law_hard, AUDIT_GIVEN, 5); /* the first five, let us say */
    vindex__calibration_drop_queries(c, first + 5);
    vindex__calibration_stat(c, &stat);
    assert_int_equal(stat.n_given, 2 + 5);
    assert_int_equal(stat.n_live, 13);
    assert_int_equal(vindex__calibration_queries(c, after, 30, &next), 20);
    assert_int_equal(next, first + 5);
    assert_memory_equal(after, before + 5 * DIM, 15 * DIM * sizeof(float));
    vindex__calibration_drop_queries(c, next + 20);
    assert_int_equal(vindex__calibration_queries(c, NULL, 30, NULL), 0);
    vindex__calibration_stat(c, &stat);
    assert_int_equal(stat.n_given + stat.n_live, 0);
    vindex__calibration_free(c);
}

static void nonsense_is_not_taken(void **state)
{
    static const struct {
        const char *name;
        size_t at;
        uint32_t value;
    } cases[] = {{"kind 0", 0, 0},
                 {"kind 4", 0, 4},
                 {"depth 1025", 4, 1025},
                 {"two queries", 1040, 2},
                 {"NaN in the query", 1048, 0x7fc00000},
                 {"infinity in the query", 1048 + 4 * (DIM - 1), 0x7f800000}};
    struct calibration *c = fresh(), *other = fresh();
    struct calibration_stat stat;
    (void)state;
    add_drawn(c, &law_easy, AUDIT_GIVEN, 5);
    struct stored s = save(c);
    unsigned char *third = s.entries + 2 * (size_t)s.record.entry_bytes;
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint32_t before = load_le32(third + cases[i].at);
        store_le32(third + cases[i].at, cases[i].value);
        if (vindex__calibration_load(other, &s.record, s.entries) != VINDEX_CORRUPT)
            fail_msg("%s was taken", cases[i].name);
        store_le32(third + cases[i].at, before);
        vindex__calibration_stat(other, &stat);
        assert_int_equal(stat.n_given, 0);
    }
    s.record.entry_bytes -= 4;
    assert_int_equal(vindex__calibration_load(other, &s.record, s.entries), VINDEX_CORRUPT);
    s.record.entry_bytes += 4;
    assert_int_equal(vindex__calibration_load(other, &s.record, s.entries), VINDEX_OK);
    vindex__free(s.entries);
    vindex__calibration_free(c);
    vindex__calibration_free(other);
}

static void rings_keep_the_last(void **state)
{
    struct calibration *c = fresh();
    struct calibration_stat stat;
    (void)state;
    add_drawn(c, &law_easy, AUDIT_ROW, 1500);
    add_drawn(c, &law_easy, AUDIT_LIVE, 1500);
    vindex__calibration_stat(c, &stat);
    assert_int_equal(stat.n_rows, 1024);
    assert_int_equal(stat.n_live, 1024);
    plan_of(c, 10, (double)0.999f); /* asks for more */
    add_drawn(c, &law_easy, AUDIT_LIVE, 5000);
    vindex__calibration_stat(c, &stat);
    assert_int_equal(stat.n_live, 4096);
    assert_int_equal(vindex__calibration_queries(c, NULL, SIZE_MAX, NULL), 512);
    vindex__calibration_drop_rows(c);
    vindex__calibration_stat(c, &stat);
    assert_int_equal(stat.n_rows, 0);
    struct stored s = save(c); /* as much as there can be */
    add_drawn(c, &law_easy, AUDIT_ROW, 1024);
    vindex__free(s.entries);
    s = save(c);
    assert_int_equal(s.record.n, AUDITS_MAX);
    struct calibration *other = fresh();
    assert_int_equal(vindex__calibration_load(other, &s.record, s.entries), VINDEX_OK);
    vindex__free(s.entries);
    /* A reset keeps the queries, to be answered anew. */
    vindex__calibration_reset(c, (const unsigned char *)"the next model..");
    vindex__calibration_stat(c, &stat);
    assert_int_equal(stat.n_rows + stat.n_live + stat.n_given, 0);
    assert_int_equal(vindex__calibration_queries(c, NULL, 600, NULL), 512);
    vindex__calibration_free(c);
    vindex__calibration_free(other);
}

static void vectors_are_bounded_for_long_rows(void **state)
{
    struct calibration *c = NULL;
    float *query = calloc(VINDEX_DIM_MAX, sizeof *query);
    (void)state;
    assert_int_equal(vindex__calibration_new(VINDEX_DIM_MAX, &c), VINDEX_OK);
    vindex__calibration_reset(c, test_model);
    for (int i = 0; i < 100; i++) {
        struct audit audit = make_audit(&rng, &law_easy, AUDIT_GIVEN);
        query[7] = (float)i;
        assert_int_equal(vindex__calibration_add(c, &audit, query), VINDEX_OK);
    }
    size_t n = vindex__calibration_queries(c, NULL, 512, NULL);
    assert_true(n >= 31 && n * sizeof(float) * VINDEX_DIM_MAX <= 8u << 20);
    assert_int_equal(vindex__calibration_queries(c, query, 1, NULL), 1);
    assert_true(query[7] == 99);
    struct stored s = save(c); /* they do not fit a block: stored without */
    assert_int_equal(s.record.entry_bytes, AUDIT_HEAD_BYTES);
    assert_int_equal(vindex__calibration_load(c, &s.record, s.entries), VINDEX_OK);
    vindex__free(s.entries);
    free(query);
    vindex__calibration_free(c);
}

/* ---- memory, threads, time ------------------------------------------------------------------- */

static vindex_status use_all(const struct audit *audits, const struct stored *stored)
{
    struct calibration *c = NULL;
    uint32_t n, entry_bytes;
    unsigned char *entries = NULL;
    float query[DIM] = {1};
    vindex_status st = vindex__calibration_new(DIM, &c);
    if (st != VINDEX_OK) return st;
    vindex__calibration_reset(c, test_model);
    for (int i = 0; i < 20 && st == VINDEX_OK; i++)
        st = vindex__calibration_add(c, &audits[i], query);
    if (st == VINDEX_OK) st = vindex__calibration_load(c, &stored->record, stored->entries);
    if (st == VINDEX_OK) st = vindex__calibration_save(c, &n, &entry_bytes, &entries);
    struct effort_ask ask = make_ask(10, 0.999);
    plan_for(c, &ask);
    vindex__free(entries);
    vindex__calibration_free(c);
    return st;
}

static void memory_may_run_out(void **state)
{
    struct audit *audits = make_audits(&rng, &law_easy, AUDIT_LIVE, 20);
    struct calibration *c = fresh();
    (void)state;
    audits[0].kind = AUDIT_ROW;
    add_drawn(c, &law_easy, AUDIT_GIVEN, 5);
    struct stored s = save(c);
    uint64_t before = vindex__mem_live_bytes();
    vindex_status st = VINDEX_NOMEM;
    for (uint64_t n = 1; st != VINDEX_OK; n++) {
        assert_true(n < 100);
        vindex__mem_fail_after(n);
        st = use_all(audits, &s);
        vindex__mem_fail_after(0);
        assert_true(st == VINDEX_OK || st == VINDEX_NOMEM);
        assert_true(vindex__mem_live_bytes() == before);
    }
    vindex__free(s.entries);
    free(audits);
    vindex__calibration_free(c);
}

struct worker {
    struct calibration *c;
    struct rng rng;
    uint64_t n_live;
};

static void *work(void *argument)
{
    struct worker *w = argument;
    struct effort_ask ask = make_ask(10, 0.95);
    struct effort_plan plan;
    struct calibration_stat stat;
    float query[DIM] = {0}, queries[4 * DIM];
    for (int i = 0; i < 3000; i++) {
        vindex__calibration_plan(w->c, &ask, &plan);
        if (plan.n_cold || vindex__calibration_draw(w->c, 1)) {
            struct audit audit = make_audit(&w->rng, &law_easy, AUDIT_LIVE);
            (void)vindex__calibration_add(w->c, &audit, query);
            w->n_live++;
        }
        if (i % 500 == 0) {
            vindex__calibration_stat(w->c, &stat);
            (void)vindex__calibration_queries(w->c, queries, 4, NULL);
        }
    }
    return NULL;
}

static void threads_share_one(void **state)
{
    struct worker workers[2] = {{.c = fresh()}};
    struct calibration_stat stat;
    pthread_t threads[2];
    (void)state;
    workers[1].c = workers[0].c;
    for (int i = 0; i < 2; i++) {
        vindex__rng_init(&workers[i].rng, vindex__rng_next(&rng));
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    vindex__calibration_stat(workers[0].c, &stat);
    assert_int_equal(stat.n_live, workers[0].n_live + workers[1].n_live);
    assert_true(stat.n_live >= COLD_AUDITS);
    assert_int_equal(plan_of(workers[0].c, 10, 0.95).state, VINDEX_STATE_PROVEN);
    vindex__calibration_free(workers[0].c);
}

/* A search asks once a call: a microsecond. 20 is for a busy machine and sanitizers. */
static void a_plan_is_a_look_into_a_table(void **state)
{
    enum { N = 200000 };
    struct calibration *c = fresh();
    struct effort_ask ask = make_ask(10, 0.95);
    struct effort_plan plan;
    (void)state;
    add_drawn(c, &law_easy, AUDIT_ROW, 1024);
    add_drawn(c, &law_easy, AUDIT_GIVEN, 4096);
    int64_t began = vindex__now_ns();
    vindex__calibration_plan(c, &ask, &plan);
    int64_t first = vindex__now_ns() - began;
    uint64_t allocations = vindex__mem_count();
    began = vindex__now_ns();
    for (int i = 0; i < N; i++) {
        ask.n_rows = TEST_ROWS + (uint64_t)(i % 100);
        vindex__calibration_plan(c, &ask, &plan);
        (void)vindex__calibration_draw(c, 10);
    }
    double each = (double)(vindex__now_ns() - began) / N;
    printf("a plan from 5,120 audits %.2f ms, then %.0f ns a call with its draw\n",
           (double)first * 1e-6, each);
    assert_int_equal(vindex__mem_count(), allocations);
    assert_true(each < 20000);
    vindex__calibration_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cold_start),
        cmocka_unit_test(queries_prove),
        cmocka_unit_test(two_hundred_without_a_miss),
        cmocka_unit_test(queries_contradict_the_rows),
        cmocka_unit_test(exact_where_it_must_be),
        cmocka_unit_test(stale_audits_prove_nothing),
        cmocka_unit_test(newer_rows_prove_nothing),
        cmocka_unit_test(filters_are_never_proven),
        cmocka_unit_test(independent_filters_reach_the_target),
        cmocka_unit_test(audits_take_their_share),
        cmocka_unit_test(a_stored_plan_is_the_same),
        cmocka_unit_test(what_is_being_saved_is_not_taken_twice),
        cmocka_unit_test(answered_anew),
        cmocka_unit_test(nonsense_is_not_taken),
        cmocka_unit_test(rings_keep_the_last),
        cmocka_unit_test(vectors_are_bounded_for_long_rows),
        cmocka_unit_test(memory_may_run_out),
        cmocka_unit_test(threads_share_one),
        cmocka_unit_test(a_plan_is_a_look_into_a_table),
    };
    vindex__rng_init(&rng, test_seed());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
