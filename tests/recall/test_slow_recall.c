/*
 * test_slow_recall.c - the promise on real data: each set's rows and queries are audited once by the index itself, then
 * plans are drawn from some queries and judged by the others, in memory. Queries of another law than the rows: means
 * of two rows.
 *
 * VINDEX_TEST_DATA names another place of the data. Without data the test is skipped.
 */
#include "common/cmocka.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "api/api.h"
#include "base/mem.h"
#include "base/random.h"
#include "feed.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static struct rng rng;
static const char *data;

/* ---- audits of a set ------------------------------------------------------------------------- */

struct set {
    const char *name, *folder, *base, *queries;
    uint32_t type, metric, dim;
    size_t n_queries;
};
static const struct set sets[] = {
    {"photo-sift-128 l2", "photo-sift-128", "base.bvecs.gz", "queries.bvecs.gz", VINDEX_UINT8,
     VINDEX_L2, 128, 3000},
    {"mnist-784 l2", "mnist-784", "train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz",
     VINDEX_UINT8, VINDEX_L2, 784, 2000},
    {"trivia-lsa-256 cosine", "trivia-lsa-256", "base.fvecs", "queries.fvecs", VINDEX_FLOAT,
     VINDEX_COSINE, 256, 1000},
    {"trivia-lsa-256 ip", "trivia-lsa-256", "base.fvecs", "queries.fvecs", VINDEX_FLOAT, VINDEX_IP,
     256, 1000},
};

struct audits {
    struct audit *items;
    size_t n;
};
struct audited {
    unsigned char model[NONCE_BYTES];
    uint64_t n_rows;
    struct audits rows, queries, mixed;
};

static struct matrix load(const struct set *set, const char *name, uint64_t limit)
{
    char path[512];
    struct matrix matrix = {.rows = NULL};
    struct fault fault = {0};
    snprintf(path, sizeof path, "%s/%s/%s", data, set->folder, name);
    if (matrix_load(path, NULL, set->type, set->dim, 0, limit, &matrix, &fault) != VINDEX_OK)
        fail_msg("%s: not read", path);
    return matrix;
}

static vindex *build(const struct set *set, const struct matrix *base)
{
    vindex_create_options options = VINDEX_CREATE_OPTIONS_INIT;
    vindex *index = NULL;
    vindex_writer *writer = NULL;
    options.dim = set->dim;
    options.type = set->type;
    options.metric = set->metric;
    assert_int_equal(vindex_create(":memory:", &options, &index), VINDEX_OK);
    assert_int_equal(vindex_writer_begin(index, &writer), VINDEX_OK);
    assert_int_equal(vindex_writer_insert(writer, NULL, &base->vectors, 0), VINDEX_OK);
    assert_int_equal(vindex_writer_commit(writer), VINDEX_OK);
    assert_int_equal(vindex_optimize(index, 0, NULL, NULL), VINDEX_OK);
    return index;
}

/* Means of two rows; whole numbers stay whole. */
static void *mix(const struct set *set, const struct matrix *base, size_t n)
{
    unsigned char *out = malloc(n * base->row_bytes);
    for (size_t i = 0; i < n; i++) {
        const unsigned char *a = (const unsigned char *)base->rows +
                                 vindex__rng_below(&rng, base->vectors.n) * base->row_bytes;
        const unsigned char *b = (const unsigned char *)base->rows +
                                 vindex__rng_below(&rng, base->vectors.n) * base->row_bytes;
        for (size_t j = 0; j < set->dim; j++)
            if (set->type == VINDEX_FLOAT)
                store_f32(out + i * base->row_bytes + 4 * j,
                          (load_f32(a + 4 * j) + load_f32(b + 4 * j)) / 2);
            else
                out[i * base->row_bytes + j] = (unsigned char)((a[j] + b[j]) / 2);
    }
    return out;
}

/* The audits the index holds, of one kind, from number `first` of that kind on. */
static struct audits take(vindex *index, uint32_t kind, size_t first, const unsigned char *model)
{
    uint32_t n, entry_bytes;
    unsigned char *entries = NULL;
    struct audits audits = {NULL, 0};
    assert_int_equal(vindex__calibration_save(index->calibration, &n, &entry_bytes, &entries),
                     VINDEX_OK);
    audits.items = malloc((n + 1) * sizeof *audits.items);
    for (uint32_t i = 0; i < n; i++) {
        const unsigned char *entry = entries + (size_t)i * entry_bytes;
        struct audit *audit = &audits.items[audits.n];
        if (load_le32(entry) != kind) continue;
        if (first > 0) {
            first--;
            continue;
        }
        *audit = (struct audit){.kind = kind,
                                .depth = load_le32(entry + 4),
                                .n_rows = load_le64(entry + 8),
                                .model = model};
        memcpy(audit->effort, entry + 16, audit->depth);
        audits.n++;
    }
    vindex__free(entries);
    return audits;
}

static void audit_set(const struct set *set, struct audited *audited)
{
    struct matrix base = load(set, set->base, 0), queries = load(set, set->queries, set->n_queries);
    vindex *index = build(set, &base);
    size_t n_mixed = 1000;
    void *mixed = mix(set, &base, n_mixed);
    vindex_vectors mixed_rows = {mixed, n_mixed, 0, set->type, 0};
    assert_int_equal(vindex_calibrate(index, &queries.vectors, NULL, NULL), VINDEX_OK);
    assert_int_equal(vindex_calibrate(index, &mixed_rows, NULL, NULL), VINDEX_OK);
    vindex__calibration_model(index->calibration, audited->model);
    audited->n_rows = base.vectors.n;
    audited->rows = take(index, AUDIT_ROW, 0, audited->model);
    audited->queries = take(index, AUDIT_GIVEN, 0, audited->model);
    audited->mixed = take(index, AUDIT_GIVEN, queries.vectors.n, audited->model);
    audited->queries.n = queries.vectors.n;
    assert_int_equal(audited->rows.n, 1000);
    assert_int_equal(audited->mixed.n, n_mixed);
    vindex_stats stats = VINDEX_STATS_INIT;
    assert_int_equal(vindex_stat(index, &stats), VINDEX_OK);
    printf("%s: %llu rows, %u axes\n", set->name, (unsigned long long)stats.n_rows, stats.c4_axes);
    vindex_close(index);
    free(mixed);
    matrix_deinit(&base);
    matrix_deinit(&queries);
}

static void free_audited(struct audited *audited)
{
    free(audited->rows.items);
    free(audited->queries.items);
    free(audited->mixed.items);
}

/* ---- plans from them ------------------------------------------------------------------------- */

static struct calibration *fresh(const struct audited *from)
{
    struct calibration *c = NULL;
    assert_int_equal(vindex__calibration_new(1, &c), VINDEX_OK);
    vindex__calibration_reset(c, from->model);
    return c;
}

static void add(struct calibration *c, const struct audit *audit, uint32_t kind)
{
    struct audit copy = *audit;
    copy.kind = kind;
    assert_int_equal(vindex__calibration_add(c, &copy, NULL), VINDEX_OK);
}

static struct effort_ask make_ask(const struct audited *from, size_t k, double target)
{
    return (struct effort_ask){.model = from->model,
                               .k = k,
                               .target = target,
                               .selectivity = 1,
                               .n_rows = from->n_rows,
                               .effort_max = from->n_rows,
                               .may_audit = true};
}

static double recall_of(const struct audits *audits, const uint32_t *order, size_t first, size_t k,
                        uint64_t k_prime, double *sd)
{
    double sum = 0, square = 0, n = (double)(audits->n - first);
    for (size_t i = first; i < audits->n; i++) {
        const uint8_t *effort = audits->items[order[i]].effort;
        size_t found = 0;
        for (size_t j = 0; j < k; j++)
            found += vindex__effort_rows(effort[j]) <= k_prime;
        double recall = (double)found / (double)k;
        sum += recall;
        square += recall * recall;
    }
    *sd = sqrt(fmax(square / n - sum / n * (sum / n), 0) / n);
    return sum / n;
}

static void shuffle(uint32_t *order, size_t n)
{
    for (size_t i = 0; i < n; i++)
        order[i] = (uint32_t)i;
    for (size_t i = n; i > 1; i--) {
        size_t j = vindex__rng_below(&rng, i);
        uint32_t swap = order[i - 1];
        order[i - 1] = order[j];
        order[j] = swap;
    }
}

static const size_t ks[] = {1, 10, 100};
static const double targets[] = {0.9, 0.95, 0.99, 0.999};

/* Plans from n other queries, 20 draws: proven ones meet the target in at least 90 % of all draws, and never fall short by more than
   chance of n queries allows. */
static void targets_are_met(const struct audited *from, const struct audits *audits,
                            const char *name)
{
    enum { DRAWS = 20 };
    uint32_t *order = malloc(audits->n * sizeof *order);
    unsigned n_met = 0, n_proven = 0;
    for (size_t n = 300; n <= 1000 && n <= audits->n / 2; n += 700) {
        printf("  %-22s n %4zu met/proven:", name, n);
        for (size_t i = 0; i < COUNT(ks); i++) {
            printf("  k %zu", ks[i]);
            for (size_t t = 0; t < COUNT(targets); t++) {
                unsigned met = 0, proven = 0;
                uint64_t effort = 0;
                for (int draw = 0; draw < DRAWS; draw++) {
                    struct calibration *c = fresh(from);
                    struct effort_ask ask = make_ask(from, ks[i], targets[t]);
                    struct effort_plan plan;
                    double sd, a = 1 - targets[t];
                    shuffle(order, audits->n);
                    for (size_t j = 0; j < n; j++)
                        add(c, &audits->items[order[j]], AUDIT_GIVEN);
                    vindex__calibration_plan(c, &ask, &plan);
                    vindex__calibration_free(c);
                    if (plan.state != VINDEX_STATE_PROVEN) continue;
                    double recall = recall_of(audits, order, n, ks[i], plan.k_prime, &sd);
                    double short_by = fmax(a / 10, 2.5 * sqrt(a * targets[t] / (double)n));
                    /* A loss of 14 / n is missed by all n queries in one draw of e^14. */
                    short_by = fmax(short_by, 14 / (double)n - a) + 2 * sd;
                    if (recall < targets[t] - short_by)
                        fail_msg("%s: k %zu target %.3f recall %.4f", name, ks[i], targets[t],
                                 recall);
                    proven++;
                    met += recall >= targets[t];
                    effort += plan.k_prime;
                }
                printf(" %u/%u", met, proven);
                if (proven) printf("(%llu)", (unsigned long long)(effort / proven));
                n_met += met;
                n_proven += proven;
                /* .9 of them; three deviations below it in 20 draws. */
                assert_true(met >= proven * 0.7);
            }
        }
        printf("\n");
    }
    printf("  %-22s met in %u of %u\n", name, n_met, n_proven);
    assert_true(n_met >= 0.9 * n_proven);
    free(order);
}

/* A stream in random order on a set whose rows alone are known. How many deliver less than the target by more than two
 * deviations: a plan proven by few audits is one of the wrong twentieth now and then. None does by what the 32 audits of a cold start all
 * miss once in e^12. */
static unsigned cold_streams(const struct audited *from, const struct audits *audits, const char *name)
{
    uint32_t *order = malloc(audits->n * sizeof *order);
    unsigned n_short = 0;
    printf("  %-22s from cold:", name);
    for (size_t i = 0; i < COUNT(ks); i++) {
        printf("  k %zu", ks[i]);
        for (size_t t = 0; t < COUNT(targets); t++) {
            struct calibration *c = fresh(from);
            struct effort_ask ask = make_ask(from, ks[i], targets[t]);
            struct effort_plan plan;
            double sum = 0, square = 0, n = (double)audits->n;
            unsigned n_exact = 0;
            uint64_t effort = 0;
            for (size_t j = 0; j < from->rows.n; j++)
                add(c, &from->rows.items[j], AUDIT_ROW);
            shuffle(order, audits->n);
            for (size_t j = 0; j < audits->n; j++) {
                struct audits one = {&audits->items[order[j]], 1};
                uint32_t first = 0;
                double sd, recall = 1;
                vindex__calibration_plan(c, &ask, &plan);
                bool is_audited = plan.n_cold || (plan.k_prime && vindex__calibration_draw(c, 10));
                if (is_audited)
                    add(c, one.items, AUDIT_LIVE);
                else if (plan.k_prime)
                    recall = recall_of(&one, &first, 0, ks[i], plan.k_prime, &sd);
                n_exact += is_audited || !plan.k_prime;
                effort += plan.k_prime;
                sum += recall;
                square += recall * recall;
            }
            double mean = sum / n, sd = sqrt(fmax(square / n - mean * mean, 0) / n);
            printf(" %.4f", mean);
            if (n_exact < audits->n)
                printf("(%llu)", (unsigned long long)(effort / (audits->n - n_exact)));
            n_short += mean < targets[t] - 2 * sd;
            if (mean < targets[t] - fmax(4 * sd, 12.0 / COLD_AUDITS - (1 - targets[t])))
                fail_msg("%s: k %zu target %.3f delivered %.4f (sd %.4f), %u exact", name, ks[i],
                         targets[t], mean, sd, n_exact);
            vindex__calibration_free(c);
        }
    }
    printf("\n");
    free(order);
    return n_short;
}

/* A loss this far above the one allowed can be told from it by some hundred audits; what is smaller goes on, seen or not. */
#define TOLD .01

/* The set's queries until the ring is full, then the mixed ones: audits until the plan falls short by less than TOLD, then
   until it delivers the target again; '!' where an alarm was needed. At k = 1 a loss of 0.04 is 12 misses in 300
   audits: half as quick to see as at larger k. */
static void switched(const struct audited *from, const char *name)
{
    uint32_t *order = malloc((from->queries.n + from->mixed.n) * sizeof *order);
    uint64_t n_early = 0; /* a plan that 32 queries proved may be one of the wrong twentieth */
    printf("  %-22s switched to mixed, shortfall: audits till near, back", name);
    for (size_t i = 0; i < COUNT(ks); i++)
        for (size_t t = 0; t < 3; t++) {
            struct calibration *c = fresh(from);
            struct calibration_stat before, after;
            struct effort_ask ask = make_ask(from, ks[i], targets[t]);
            struct effort_plan plan;
            double sd, shortfall = 0;
            size_t n = 0, n_far = 0;
            shuffle(order, from->queries.n);
            for (size_t j = 0; j < 1000; j++) {
                vindex__calibration_plan(c, &ask, &plan);
                add(c, &from->queries.items[order[j]], AUDIT_LIVE);
            }
            vindex__calibration_stat(c, &before);
            shuffle(order, from->mixed.n);
            for (; n < from->mixed.n; n++) {
                vindex__calibration_plan(c, &ask, &plan);
                double recall =
                    plan.k_prime ? recall_of(&from->mixed, order, 0, ks[i], plan.k_prime, &sd) : 1;
                if (n == 0) shortfall = targets[t] - recall;
                if (recall < targets[t] - TOLD) n_far = n + 1;
                if (recall >= targets[t]) break;
                add(c, &from->mixed.items[order[n]], AUDIT_LIVE);
            }
            vindex__calibration_stat(c, &after);
            printf("  %.3f: %zu, %zu%s", shortfall, n_far, n,
                   after.n_alarms > before.n_alarms ? "!" : "");
            n_early += before.n_alarms;
            if (shortfall >= fmax(0.03, 1 - targets[t]))
                assert_true(n_far <= (ks[i] == 1 ? 600 : 300));
            vindex__calibration_free(c);
        }
    assert_true(n_early <= 2);
    printf("\n");
    free(order);
}

static void real_sets(void **state)
{
    unsigned n_short = 0;
    (void)state;
    for (size_t i = 0; i < COUNT(sets); i++) {
        struct audited audited;
        char mixed[64];
        snprintf(mixed, sizeof mixed, "%s mix", sets[i].folder);
        audit_set(&sets[i], &audited);
        targets_are_met(&audited, &audited.queries, sets[i].name);
        targets_are_met(&audited, &audited.mixed, mixed);
        n_short += cold_streams(&audited, &audited.queries, sets[i].name);
        n_short += cold_streams(&audited, &audited.mixed, mixed);
        if (audited.queries.n >= 1000) switched(&audited, sets[i].name);
        free_audited(&audited);
    }
    assert_true(n_short <= 1); /* of 96 streams */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(real_sets)};
    data = getenv("VINDEX_TEST_DATA");
    if (!data || !*data) data = VINDEX_SOURCE_DIR "/../shared/data";
    if (access(data, R_OK) != 0) {
        printf("skipped: no data sets in %s\n", data);
        return 77;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    vindex__rng_init(&rng, test_seed());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
