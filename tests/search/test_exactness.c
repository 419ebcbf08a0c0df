/*
 * test_exactness.c - hits equal the oracle's, bit for bit, for every type, metric and nature of
 * data, over random shapes, batches, threads, k and filters; at every instruction-set level this
 * machine has (the program runs itself once a level: the kernel table of a process is chosen once).
 * VINDEX_TEST_TRIALS of each, one by default (test_slow_exactness.sh: more).
 */
#include "common/cmocka.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/kernels.h"
#include "search/call.h"
#include "search/helper_snapshot.h"

static struct rng rng;
static struct search *search; /* one for all cases: its scratch must fit whatever comes next */

static size_t below(size_t n)
{
    return (size_t)vindex__rng_below(&rng, n);
}

/* ---- random shapes ------------------------------------------------------------------------- */

struct trial {
    struct shape shape;
    uint32_t parts[64];
    uint8_t codes[64];
    int64_t *ids;
    uint8_t *dead;
    int64_t *filter_ids;
    uint8_t *filter_bits;
    vindex_filter filter;
    struct search_request request;
    vindex_hit *got, *want; /* [n_queries, k]; want: of the snapshot, with or without codes */
};

static void cut_into_parts(struct trial *trial)
{
    size_t left = trial->shape.n, n = 1 + below(below(2) ? 5 : 60);
    for (size_t i = 0; i + 1 < n; i++) {
        size_t most = below(4) ? 2 * left / (n - i) : 2; /* empty parts and single rows too */
        size_t size = below(most + 1);
        trial->parts[i] = (uint32_t)(size < left ? size : left);
        left -= trial->parts[i];
    }
    trial->parts[n - 1] = (uint32_t)left;
    trial->shape.parts = trial->parts;
    trial->shape.n_parts = n;
}

/* Ids ascend, or are shuffled inside parts; some are negative. */
static void name_rows(struct trial *trial)
{
    size_t n = trial->shape.n;
    int64_t id = -(int64_t)below(n + 1), step = below(2) ? 1 : 5;
    bool shuffled = below(2);
    trial->ids = calloc(n + 1, sizeof *trial->ids);
    trial->dead = calloc(n + 1, 1);
    size_t dead_in = below(2) ? 3 + below(20) : n + 1;
    for (size_t i = 0; i < n; i++) {
        trial->ids[i] = id += 1 + (int64_t)below((size_t)step);
        trial->dead[i] = below(dead_in) == 0;
    }
    for (size_t i = 1; shuffled && i < n; i++) {
        size_t j = below(i + 1);
        int64_t other = trial->ids[i];
        trial->ids[i] = trial->ids[j];
        trial->ids[j] = other;
    }
    trial->shape.ids = trial->ids;
    trial->shape.dead = trial->dead;
}

/* Most parts have codes, some have none yet. */
static void draw_codes(struct trial *trial)
{
    uint32_t axes = trial->shape.dim / 8 * 8;
    for (size_t i = 0; i < trial->shape.n_parts; i++)
        trial->codes[i] = below(4) ? WITH_ALL : (uint8_t)below(WITH_ALL);
    trial->shape.codes = trial->codes;
    trial->shape.m = axes ? (uint32_t)(8 * (1 + below(axes / 8))) : 0;
    trial->shape.p = axes && below(2) ? (uint32_t)(8 * (1 + below(trial->shape.m / 8))) : 0;
    trial->shape.groups_per_block = (uint32_t)(1 + below(below(2) ? 4 : 60));
}

static int by_id(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int modulo(void *context, int64_t id)
{
    int64_t by = *(const int64_t *)context;
    return id % by == 0 ? 7 : 0;
}

static void draw_filter(struct trial *trial)
{
    static int64_t by;
    static const size_t one_in[] = {1, 2, 10, 50, 1000};
    vindex_filter *filter = &trial->filter;
    size_t n = trial->shape.n, rare = one_in[below(5)], count = 0;

    memset(filter, 0, sizeof *filter);
    filter->kind = (uint32_t)below(4);
    filter->flags = below(3) ? 0 : VINDEX_FILTER_NOT;
    trial->filter_ids = calloc(2 * n + 1, sizeof(int64_t));
    for (size_t i = 0; i < n; i++)
        if (below(rare) == 0)
            trial->filter_ids[count++] = trial->shape.ids ? trial->shape.ids[i] : (int64_t)i;
    trial->filter_ids[count++] = INT64_MAX; /* a row that is not there */
    qsort(trial->filter_ids, count, sizeof(int64_t), by_id);
    trial->filter_bits = calloc(n / 8 + 1, 1);
    for (size_t i = 0; i < n / 8 + 1; i++)
        trial->filter_bits[i] = (uint8_t)(vindex__rng_next(&rng) & vindex__rng_next(&rng));
    by = (int64_t)rare;
    if (filter->kind == VINDEX_FILTER_IDS) filter->ids = trial->filter_ids, filter->n = count;
    if (filter->kind == VINDEX_FILTER_BITMAP) filter->bitmap = trial->filter_bits, filter->n = n;
    if (filter->kind == VINDEX_FILTER_CALLBACK) filter->callback = modulo, filter->context = &by;
    trial->request.filter = below(2) ? filter : NULL;
}

static void draw(struct trial *trial, uint32_t type, uint32_t metric, enum nature nature)
{
    static const uint32_t dims[] = {1, 2, 3, 7, 8, 16, 17, 31, 33, 64, 100, 128, 130};
    static const size_t batches[] = {1, 1, 2, 3, 5, 8, 17, 40, 40};
    struct search_request *request = &trial->request;
    size_t n = below(10) == 0 ? below(4) : below(4) == 0 ? below(4000) : below(700);

    memset(trial, 0, sizeof *trial);
    trial->shape.type = type;
    trial->shape.metric = metric;
    trial->shape.dim = dims[below(sizeof dims / sizeof *dims)];
    trial->shape.n = n;
    trial->shape.rows = make_rows(&rng, type, nature, n, trial->shape.dim, false);
    trial->shape.rows_per_block = (uint32_t)(1 + below(below(2) ? 16 : 600));
    trial->shape.padding = below(2) ? 0 : (uint32_t)below(40);
    cut_into_parts(trial);
    name_rows(trial);

    const size_t ks[] = {1, 2, 10, 100, n > 1 ? n - 1 : 1, n ? n : 1, n + 5, 1 + below(n + 1)};
    request->n_queries = batches[below(9)];
    if (below(60) == 0) request->n_queries = 300;
    request->queries = make_rows(&rng, type, nature, request->n_queries, trial->shape.dim, true);
    /* Nearly all of many rows for many queries take long to sort: now and then is enough. */
    request->k = ks[below(request->n_queries * n < 10000 || below(8) == 0 ? 8 : 4)];
    request->recall = 1;
    request->n_threads = 1 + (uint32_t)below(4);
    draw_filter(trial);
    if (below(3) == 0 && n && row_bytes_of(type, 8, false) == row_bytes_of(type, 8, true))
        memcpy((void *)request->queries, trial->shape.rows,
               row_bytes_of(type, trial->shape.dim, true)); /* a row asks for itself */
    size_t n_hits = request->n_queries * request->k;
    trial->got = calloc(n_hits, sizeof *trial->got);
    trial->want = calloc(n_hits, sizeof *trial->want);
    oracle(&trial->shape, request, trial->want);
}

static void discard(struct trial *trial)
{
    free((void *)trial->shape.rows);
    free((void *)trial->request.queries);
    free(trial->ids);
    free(trial->dead);
    free(trial->filter_ids);
    free(trial->filter_bits);
    free(trial->got);
    free(trial->want);
}

/* ---- comparison ---------------------------------------------------------------------------- */

static void compare(const struct trial *trial, const char *how, const char *nature)
{
    const vindex_hit *got = trial->got, *want = trial->want;
    size_t k = trial->request.k;
    for (size_t i = 0; i < trial->request.n_queries * k; i++) {
        if (got[i].id == want[i].id && memcmp(&got[i].score, &want[i].score, 4) == 0 &&
            got[i].reserved == 0)
            continue;
        fail_msg("%s, %s, type %u metric %u dim %u n %zu batch %zu k %zu threads %u filter %d/%u: "
                 "query %zu hit %zu is (%lld, %.9g), not (%lld, %.9g)",
                 how, nature, trial->shape.type, trial->shape.metric, trial->shape.dim,
                 trial->shape.n, trial->request.n_queries, k, trial->request.n_threads,
                 trial->request.filter ? (int)trial->request.filter->kind : -1,
                 trial->request.filter ? trial->request.filter->flags : 0, i / k, i % k,
                 (long long)got[i].id, (double)got[i].score, (long long)want[i].id,
                 (double)want[i].score);
    }
}

static void check_snapshot(struct trial *trial, const char *nature, const char *how)
{
    struct snapshot *snapshot = make_snapshot(&trial->shape);
    vindex_report report = VINDEX_REPORT_INIT;

    assert_int_equal(vindex__search_run(search, snapshot, &trial->request, trial->got, &report),
                     VINDEX_OK);
    compare(trial, how, nature);
    assert_int_equal(report.state, VINDEX_STATE_EXACT);
    assert_int_equal(report.n_queries, trial->request.n_queries);
    assert_int_equal(report.n_rows, snapshot->n_live);
    free_snapshot(snapshot);
}

/* The same rows with codes, by each way that uses them. */
static void check_codes(struct trial *trial, const char *nature)
{
    static const enum engine ways[] = {ENGINE_C8, ENGINE_TILE8, ENGINE_EXACT};
    static const char *const names[] = {"c8", "tile8", "codes"};
    size_t i = below(3);
    if (trial->shape.type == VINDEX_BIT) return;
    draw_codes(trial);
    search->forced = ways[i];
    check_snapshot(trial, nature, names[i]);
    search->forced = ENGINE_P8;
    check_snapshot(trial, nature, "p8");
    search->forced = below(2) ? ENGINE_EXACT : ENGINE_TILE8; /* of integers, without codes */
    trial->shape.codes = NULL;
}

/* The rows as plain arrays: other ids, and none is dead. */
static void check_brute(struct trial *trial, const char *nature)
{
    size_t row_bytes = row_bytes_of(trial->shape.type, trial->shape.dim, false);
    size_t stride = row_bytes + trial->shape.padding, n = trial->shape.n;
    char *memory = calloc(n + 1, stride + 1);
    vindex_report report = VINDEX_REPORT_INIT;

    trial->shape.ids = NULL;
    trial->shape.dead = NULL;
    for (size_t r = 0; r < n; r++)
        memcpy(memory + 1 + r * stride, (const char *)trial->shape.rows + r * row_bytes, row_bytes);
    oracle(&trial->shape, &trial->request, trial->want);
    assert_int_equal(vindex__search_brute(search, trial->shape.type, trial->shape.metric,
                                          trial->shape.dim, memory + 1, stride, n, &trial->request,
                                          trial->got, &report),
                     VINDEX_OK);
    compare(trial, "plain arrays", nature);
    search->forced = ENGINE_EXACT;
    free(memory);
}

static void check_type(uint32_t type)
{
    const char *given = getenv("VINDEX_TEST_TRIALS");
    int trials = given ? atoi(given) : 1; /* other shapes each run: see the seed */
    for (uint32_t metric = VINDEX_L2; metric <= VINDEX_HAMMING; metric++) {
        if ((metric == VINDEX_HAMMING) != (type == VINDEX_BIT)) continue;
        for (int nature = 0; nature < N_NATURES; nature++)
            for (int i = 0; i < trials; i++) {
                struct trial trial;
                draw(&trial, type, metric, (enum nature)nature);
                check_snapshot(&trial, nature_names[nature], "snapshot");
                check_codes(&trial, nature_names[nature]);
                check_brute(&trial, nature_names[nature]);
                discard(&trial);
            }
    }
}

#define TYPE_TEST(name, type)                                                                      \
    static void name(void **state)                                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        check_type(type);                                                                          \
    }
TYPE_TEST(floats, VINDEX_FLOAT)
TYPE_TEST(float16, VINDEX_FLOAT16)
TYPE_TEST(bfloat16, VINDEX_BFLOAT16)
TYPE_TEST(int8, VINDEX_INT8)
TYPE_TEST(uint8, VINDEX_UINT8)
TYPE_TEST(bits, VINDEX_BIT)

/* ---- one run a level ----------------------------------------------------------------------- */

static int run_all(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(floats), cmocka_unit_test(float16), cmocka_unit_test(bfloat16),
        cmocka_unit_test(int8),   cmocka_unit_test(uint8),   cmocka_unit_test(bits),
    };
    vindex__rng_init(&rng, test_seed());
    if (vindex__search_new(&search) != VINDEX_OK) return 1;
    printf("level %s\n", vkern_get()->level_name);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    vindex__search_free(search);
    return failed;
}

static int run_level(const char *self, const char *level)
{
    int status = 0;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        setenv("VINDEX_ISA", level, 1);
        execl("/proc/self/exe", self, (char *)NULL);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) != child) return 1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int main(int argc, char **argv)
{
    static const char *const levels[] = {"ref", "avx2", "avx512", "amx"};
    int failed = 0;
    (void)argc;
    if (getenv("VINDEX_ISA")) return run_all();
    for (size_t i = 0; i < 4; i++) {
        vkern_table table;
        vkern_table_init(&table, vkern_cpu_at_level(vkern_cpu(), (enum vkern_level)i));
        if (table.level != (enum vkern_level)i) continue; /* this CPU stops below */
        failed |= run_level(argv[0], levels[i]);
    }
    return failed;
}
