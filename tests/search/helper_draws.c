/*
 * helper_draws.c - see helper_draws.h.
 *
 * Target 1: hits are the oracle's, bit by bit. Below 1: what is found is the same however the work is shared out, is
 * sound (rows that count, each once, with their own scores, in order, as many as there are), and where the report
 * says exact it is the oracle's. For that some draws have so many rows that audits are asked.
 */
#include "search/helper_draws.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

#include "base/threads.h"
#include "common/cmocka.h"
#include "kernels/codes.h"
#include "kernels/kernels.h"
#include "search/call.h"
#include "search/helper_snapshot.h"

enum { PARTS_MAX = 16 };

struct draw {
    uint64_t seed;
    struct rng rng;
    struct shape shape;
    uint32_t parts[PARTS_MAX];
    uint8_t codes[PARTS_MAX];
    int64_t *ids;
    uint8_t *dead;
    int64_t *filter_ids;
    uint8_t *filter_bits;
    int64_t modulus;
    vindex_filter filter;
    struct search_request request;
    uint8_t *counts; /* [n]: live, and the filter's */
    size_t n_match;
    bool is_large; /* more rows than are always searched exactly */
    size_t work_bytes;
    enum engine forced;
    const struct vkern_tile *tile;
    vindex_hit *want; /* the oracle's */
};

static size_t below(struct draw *d, size_t n)
{
    return (size_t)vindex__rng_below(&d->rng, n);
}

static size_t at_least_1(size_t n)
{
    return n ? n : 1;
}

/* ---- a draw ------------------------------------------------------------------------------------ */

/* How much there is to do: products of the oracle. */
#define WORK_LIMIT 4e6

static void draw_sizes(struct draw *d)
{
    static const uint32_t dims[] = {1,  2,  3,  5,  7,   8,   9,   15,  16,  17,  24,  31,
                                    33, 63, 64, 65, 100, 127, 128, 129, 200, 384, 784, 1001};
    static const size_t batches[] = {1, 1, 2, 3, 7, 16, 40, 127, 130, 300, 600};
    struct shape *shape = &d->shape;
    struct search_request *request = &d->request;

    shape->dim = dims[below(d, below(d, 3) ? 16 : 24)];
    if (below(d, 25) == 0) shape->dim = 4096;
    if (below(d, 60) == 0) shape->dim = VKERN_C8_DIM_MAX + (uint32_t)below(d, 3);
    if (below(d, 120) == 0) shape->dim = VINDEX_DIM_MAX - (uint32_t)below(d, 2);
    shape->n = below(d, 12) == 0 ? below(d, 4) : below(d, 3) ? below(d, 9000) : below(d, 900);
    request->n_queries = batches[below(d, 11)];
    d->is_large = shape->type != VINDEX_BIT && below(d, 40) == 0;
    if (d->is_large) {
        shape->dim = 8 * (1 + (uint32_t)below(d, 3));
        shape->n = FEW_ROWS + 2000 + below(d, 7000);
        request->n_queries = at_least_1(below(d, 12));
        return;
    }
    while ((double)shape->n * shape->dim > WORK_LIMIT / 4)
        shape->n /= 2;
    while ((double)request->n_queries * (double)shape->n * (shape->dim + 20) > WORK_LIMIT)
        request->n_queries = request->n_queries / 2 + 1;
}

static void draw_parts(struct draw *d)
{
    struct shape *shape = &d->shape;
    size_t left = shape->n, n = 1 + below(d, PARTS_MAX);
    uint32_t axes = shape->dim / 8 * 8;
    const uint8_t possible = shape->dim > VKERN_C8_DIM_MAX ? WITH_C4 | WITH_P8 : WITH_ALL;

    for (size_t i = 0; i + 1 < n; i++) {
        size_t most = below(d, 4) ? 2 * left / (n - i) : 2, size = below(d, most + 1);
        d->parts[i] = (uint32_t)(size < left ? size : left);
        left -= d->parts[i];
    }
    d->parts[n - 1] = (uint32_t)left;
    shape->parts = d->parts;
    shape->n_parts = n;
    shape->rows_per_block = (uint32_t)(1 + below(d, below(d, 2) ? 30 : 2000));
    shape->padding = below(d, 2) ? 0 : (uint32_t)below(d, 40);
    if (shape->type == VINDEX_BIT || (below(d, 4) == 0 && !d->is_large)) return;
    for (size_t i = 0; i < n; i++)
        d->codes[i] = (uint8_t)((below(d, 4) ? WITH_ALL : below(d, WITH_ALL)) & possible);
    shape->codes = d->codes;
    shape->m = axes ? (uint32_t)(8 * (1 + below(d, (axes < 128 ? axes : 128) / 8))) : 0;
    if (shape->m && below(d, 2)) shape->p = (uint32_t)(8 * (1 + below(d, shape->m / 8)));
    shape->groups_per_block = (uint32_t)(1 + below(d, below(d, 2) ? 4 : 200));
}

/* Ids ascend, or are shuffled over all parts; some are negative. Dead rows come singly, or in runs. */
static void name_rows(struct draw *d)
{
    size_t n = d->shape.n, dead_in = below(d, 2) ? (d->is_large ? 20 : 2) + below(d, 60) : 0;
    bool in_runs = below(d, 2) && !d->is_large, is_dead = false;
    int64_t id = -(int64_t)below(d, n + 1);

    d->ids = calloc(n + 1, sizeof *d->ids);
    d->dead = calloc(n + 1, 1);
    for (size_t i = 0; i < n; i++) {
        bool is_drawn = dead_in && below(d, dead_in) == 0;
        is_dead = in_runs ? is_dead != is_drawn : is_drawn;
        d->dead[i] = is_dead;
        d->ids[i] = id += 1 + (int64_t)below(d, 3);
    }
    for (size_t i = 1, shuffled = below(d, 2); shuffled && i < n; i++) {
        size_t j = below(d, i + 1);
        int64_t other = d->ids[i];
        d->ids[i] = d->ids[j];
        d->ids[j] = other;
    }
    d->shape.ids = d->ids;
    d->shape.dead = d->dead;
}

static int by_id(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int is_multiple(void *context, int64_t id)
{
    return id % *(const int64_t *)context == 0;
}

static void draw_filter(struct draw *d)
{
    static const size_t one_in[] = {1, 2, 3, 10, 50, 1000};
    vindex_filter *filter = &d->filter;
    size_t n = d->shape.n, rare = one_in[below(d, 6)], count = 0;

    filter->kind = VINDEX_FILTER_IDS + (uint32_t)below(d, 3);
    filter->flags = below(d, 4) ? 0 : VINDEX_FILTER_NOT;
    d->modulus = (int64_t)rare;
    d->filter_ids = calloc(n + 2, sizeof *d->filter_ids);
    d->filter_bits = calloc(n / 8 + 1, 1);
    for (size_t i = 0; i < n; i++)
        if (below(d, rare) == 0) d->filter_ids[count++] = d->ids[i];
    d->filter_ids[count++] = INT64_MAX; /* a row that is not there */
    qsort(d->filter_ids, count, sizeof *d->filter_ids, by_id);
    for (size_t i = 0; i < n / 8 + 1; i++)
        d->filter_bits[i] = (uint8_t)vindex__rng_next(&d->rng);
    if (filter->kind == VINDEX_FILTER_IDS) filter->ids = d->filter_ids, filter->n = count;
    if (filter->kind == VINDEX_FILTER_BITMAP) filter->bitmap = d->filter_bits, filter->n = n;
    if (filter->kind == VINDEX_FILTER_CALLBACK)
        filter->callback = is_multiple, filter->context = &d->modulus;
    d->request.filter = below(d, d->is_large ? 12 : 5) < 2 ? filter : NULL;
}

static void find_matching(struct draw *d)
{
    d->counts = calloc(d->shape.n + 1, 1);
    for (size_t i = 0; i < d->shape.n; i++) {
        d->counts[i] = !d->dead[i] && filter_names(d->request.filter, d->ids[i]);
        d->n_match += d->counts[i];
    }
}

static void draw_request(struct draw *d)
{
    static const size_t works[] = {1, 30000, 300000, 2000000, (size_t)64 << 20};
    struct search_request *request = &d->request;
    size_t n = at_least_1(d->shape.n);
    const size_t ks[] = {1, 2, 10, 10, 100, n / 10, n / 3, n / 2 + 1, n - 1, n, n + 5};

    request->k = at_least_1(ks[below(d, d->is_large ? 5 : 11)]);
    while (request->n_queries * request->k > 400000)
        request->n_queries = request->n_queries / 2 + 1;
    request->recall = 1;
    request->n_threads = 1 + (uint32_t)below(d, 6);
    d->work_bytes = works[below(d, 5)];
    d->forced = below(d, 3) ? (enum engine)below(d, ENGINE_P8 + 1) : ENGINE_EXACT;
    d->tile = below(d, 4) == 0 ? vkern_tile_blas() : NULL;
    if (!d->tile) d->tile = vkern_get()->tile;
}

static void draw(struct draw *d, uint64_t seed)
{
    static const enum nature natures[] = {NATURE_TIES,    NATURE_DUPLICATES, NATURE_FAR,
                                          NATURE_MIXED,   NATURE_ZEROS,      NATURE_NEAR_TIES,
                                          NATURE_HUGE_30, NATURE_HUGE_38};
    enum nature nature = NATURE_NORMAL;
    memset(d, 0, sizeof *d);
    d->seed = seed;
    vindex__rng_init(&d->rng, seed);
    d->shape.type = (uint32_t)below(d, VINDEX_BIT + 1);
    d->shape.metric = d->shape.type == VINDEX_BIT ? VINDEX_HAMMING : (uint32_t)below(d, 3);
    draw_sizes(d);
    draw_request(d);
    draw_parts(d);
    name_rows(d);
    draw_filter(d);
    if (below(d, 3) == 0) nature = natures[below(d, 8)];
    d->shape.rows = make_rows(&d->rng, d->shape.type, nature, d->shape.n, d->shape.dim, false);
    d->request.queries =
        make_rows(&d->rng, d->shape.type, nature, d->request.n_queries, d->shape.dim, true);
    find_matching(d);
    d->want = calloc(d->request.n_queries * d->request.k, sizeof *d->want);
    oracle(&d->shape, &d->request, d->want);
}

static void discard(struct draw *d)
{
    free((void *)d->shape.rows);
    free((void *)d->request.queries);
    free(d->ids);
    free(d->dead);
    free(d->filter_ids);
    free(d->filter_bits);
    free(d->counts);
    free(d->want);
}

/* ---- searches of it ---------------------------------------------------------------------------- */

/* A search in a thread of its own; assertions wait until it was joined. */
struct run {
    struct draw *draw;
    struct search *search;
    const struct snapshot *snapshot; /* NULL: plain arrays */
    struct search_request request;
    size_t work_bytes;
    enum engine forced;
    size_t k_prime; /* > 0: straight to the scan, with this k' */
    vindex_hit *hits;
    vindex_report report;
    vindex_status status;
};

static vindex_status scan_roughly(struct run *run)
{
    const struct window window = {.n = run->request.n_queries,
                                  .k = run->request.k,
                                  .k_prime = run->k_prime,
                                  .hits = run->hits};
    struct call call;
    vindex__call_open(&call, run->search, run->snapshot, &run->request, run->hits);
    vindex_status st = vindex__search_pool(run->search, run->request.n_threads);
    if (st == VINDEX_OK) st = vindex__call_filter(&call);
    return st == VINDEX_OK ? vindex__call_window(&call, &window) : st;
}

static void *search_it(void *context)
{
    struct run *run = context;
    const struct shape *shape = &run->draw->shape;
    size_t stride = row_bytes_of(shape->type, shape->dim, false);
    memset(run->hits, 0xa5, run->request.n_queries * run->request.k * sizeof *run->hits);
    run->search->work_bytes = run->work_bytes;
    run->search->forced = run->forced;
    run->search->tile = run->draw->tile;
    run->report = (vindex_report)VINDEX_REPORT_INIT;
    run->status =
        run->k_prime ? scan_roughly(run)
        : run->snapshot
            ? vindex__search_run(run->search, run->snapshot, &run->request, run->hits, &run->report)
            : vindex__search_brute(run->search, shape->type, shape->metric, shape->dim, shape->rows,
                                   stride, shape->n, &run->request, run->hits, &run->report);
    return NULL;
}

static void tell(const struct run *run, const char *what, size_t at, const vindex_hit *want)
{
    const struct draw *d = run->draw;
    const vindex_hit *got = &run->hits[at];
    fail_msg(
        "draw %llu, %s: type %u metric %u dim %u n %zu (%zu match) parts %zu%s batch %zu k %zu "
        "k' %zu threads %u work %zu forced %d filter %d (%s): query %zu hit %zu is (%lld, %.9g), "
        "not (%lld, %.9g)",
        (unsigned long long)d->seed, what, d->shape.type, d->shape.metric, d->shape.dim, d->shape.n,
        d->n_match, d->shape.n_parts, d->shape.codes ? " codes" : "", run->request.n_queries,
        run->request.k, run->k_prime, run->request.n_threads, run->work_bytes, (int)run->forced,
        run->request.filter ? (int)run->request.filter->kind : -1, run->report.plan,
        at / run->request.k, at % run->request.k, (long long)got->id, (double)got->score,
        want ? (long long)want->id : -1, want ? (double)want->score : (double)NAN);
}

static void assert_equal(const struct run *run, const vindex_hit *want, const char *what)
{
    assert_int_equal(run->status, VINDEX_OK);
    for (size_t i = 0; i < run->request.n_queries * run->request.k; i++)
        if (run->hits[i].id != want[i].id || memcmp(&run->hits[i].score, &want[i].score, 4) != 0 ||
            run->hits[i].reserved != 0)
            tell(run, what, i, &want[i]);
}

struct named_row {
    int64_t id;
    size_t row;
};

static bool is_before(const vindex_hit *a, const vindex_hit *b)
{
    return a->score < b->score || (a->score == b->score && a->id < b->id);
}

/* Rows that count, each once, with their own scores, in order, as many as there are; of a call that was cancelled, any
   number of them. */
static void assert_sound(const struct run *run, const char *what)
{
    const struct draw *d = run->draw;
    const struct shape *shape = &d->shape;
    const bool is_cut = run->status == VINDEX_CANCELLED;
    size_t k = run->request.k, most = d->n_match < k ? d->n_match : k, n = most;
    size_t row_bytes = row_bytes_of(shape->type, shape->dim, false);
    struct named_row *rows = calloc(shape->n + 1, sizeof *rows);

    assert_true(run->status == VINDEX_OK || (is_cut && run->request.cancel));
    for (size_t i = 0; i < shape->n; i++)
        rows[i] = (struct named_row){d->ids[i], i};
    qsort(rows, shape->n, sizeof *rows, by_id); /* the id comes first */
    for (size_t i = 0; i < run->request.n_queries * k; i++) {
        const vindex_hit *hit = &run->hits[i];
        if (i % k == 0) n = most;
        if (is_cut && hit->id == VINDEX_ID_NONE && i % k < n) n = i % k;
        if (i % k >= n) {
            if (hit->id != VINDEX_ID_NONE || hit->score < INFINITY) tell(run, what, i, NULL);
            continue;
        }
        const struct named_row *row = bsearch(&hit->id, rows, shape->n, sizeof *rows, by_id);
        if (!row || !d->counts[row->row] || (i % k && !is_before(hit - 1, hit)))
            tell(run, what, i, NULL);
        const char *query = (const char *)run->request.queries +
                            i / k * row_bytes_of(shape->type, shape->dim, true);
        float score = vindex__exact_score(shape->type, shape->metric, shape->dim, query,
                                          (const char *)shape->rows + row->row * row_bytes);
        if (memcmp(&score, &hit->score, 4) != 0)
            tell(run, what, i, &(vindex_hit){hit->id, score, 0});
    }
    free(rows);
}

static struct run run_of(struct draw *d, struct search *search, const struct snapshot *snapshot,
                         vindex_hit *hits)
{
    return (struct run){.draw = d,
                        .search = search,
                        .snapshot = snapshot,
                        .request = d->request,
                        .work_bytes = d->work_bytes,
                        .forced = d->forced,
                        .hits = hits};
}

/* Two searches at once: the second shares out its work otherwise. */
static void search_twice(struct run *one, struct run *other)
{
    pthread_t thread;
    other->request.n_threads = 1 + (uint32_t)below(one->draw, 6);
    assert_int_equal(pthread_create(&thread, NULL, search_it, other), 0);
    search_it(one);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

struct searches {
    struct search *one, *other;
    vindex_hit *hits[2];
};

static void check_exact(struct draw *d, const struct searches *s, const struct snapshot *snapshot)
{
    struct run one = run_of(d, s->one, snapshot, s->hits[0]);
    struct run other = run_of(d, s->other, snapshot, s->hits[1]);
    search_twice(&one, &other);
    assert_equal(&one, d->want, "target 1");
    assert_equal(&other, d->want, "target 1, beside another");
    assert_int_equal(one.report.state, VINDEX_STATE_EXACT);
}

/* With k' the same is found however the work is shared out. */
static void check_rough(struct draw *d, const struct searches *s, const struct snapshot *snapshot)
{
    struct run one = run_of(d, s->one, snapshot, s->hits[0]);
    struct run other = run_of(d, s->other, snapshot, s->hits[1]);
    if (!snapshot->model || d->shape.m == 0 || d->n_match == 0) return;
    size_t k = d->request.k < d->n_match ? d->request.k : d->n_match;
    one.k_prime = other.k_prime = k + below(d, d->n_match - k + 1);
    other.work_bytes = (size_t)64 << 20;
    search_twice(&one, &other);
    assert_sound(&one, "k'");
    assert_equal(&other, one.hits, "k', shared out otherwise");
}

static int count_down(void *left)
{
    return --*(int *)left < 0;
}

/* Cancelled somewhere: what was reached is sound, and the next search finds nothing odd in the scratch. */
static void check_cancelled(struct draw *d, const struct searches *s,
                            const struct snapshot *snapshot)
{
    struct run run = run_of(d, s->one, snapshot, s->hits[0]);
    int left = (int)below(d, below(d, 2) ? 4 : 30);
    if (below(d, 2) && snapshot->model && d->shape.m && d->n_match)
        run.k_prime = d->n_match / 2 > d->request.k ? d->n_match / 2 : d->n_match;
    run.request.cancel = count_down;
    run.request.cancel_context = &left;
    search_it(&run);
    assert_sound(&run, "cancelled");
}

/* Plain arrays are not read beforehand. */
static void put_in_what_is_no_number(struct draw *d)
{
    static const uint32_t patterns[3][3] = {/* of f32, f16, bf16 */
                                            {0x7fc00000, 0x7f800000, 0xff800000},
                                            {0x7e00, 0x7c00, 0xfc00},
                                            {0x7fc0, 0x7f80, 0xff80}};
    const struct shape *shape = &d->shape;
    size_t size = shape->type == VINDEX_FLOAT ? 4 : 2;
    if (shape->type > VINDEX_BFLOAT16 || below(d, 4)) return;
    for (size_t i = 0; i < shape->n; i += 1 + below(d, 300)) {
        size_t at = i * shape->dim + below(d, shape->dim);
        memcpy((char *)shape->rows + at * size, &patterns[shape->type][below(d, 3)], size);
    }
}

/* The rows audited, queries given, and then searches that learn and plan, two at once. */
static void check_learnt(struct draw *d, const struct searches *s, const struct snapshot *snapshot)
{
    struct calibration *calibration = NULL;
    struct run one = run_of(d, s->one, snapshot, s->hits[0]);
    struct run other = run_of(d, s->other, snapshot, s->hits[1]);
    struct search_request given = d->request;
    if (!d->is_large || !snapshot->model || d->shape.m == 0) return;
    assert_int_equal(vindex__calibration_new(d->shape.dim, &calibration), VINDEX_OK);
    vindex__calibration_reset(calibration, snapshot->model->nonce);
    given.calibration = calibration;
    given.filter = NULL;
    given.n_queries = 60;
    given.k = d->request.k < AUDIT_DEPTH_MAX ? d->request.k : AUDIT_DEPTH_MAX;
    given.queries =
        make_rows(&d->rng, d->shape.type, NATURE_NORMAL, given.n_queries, d->shape.dim, true);
    assert_int_equal(
        vindex__search_audit(s->one, snapshot, &given, below(d, 2) ? AUDIT_ROW : AUDIT_GIVEN, NULL),
        VINDEX_OK);
    for (size_t i = 0; i < 4; i++) {
        one.request.calibration = other.request.calibration = calibration;
        one.request.recall = below(d, 2) ? 0.9F : 0.7F;
        other.request.recall = 0.5F;
        one.forced = other.forced = below(d, 4) ? ENGINE_C4 : ENGINE_EXACT;
        one.request.flags = below(d, 4) == 0 ? VINDEX_SEARCH_STRICT : 0;
        search_twice(&one, &other);
        assert_sound(&one, "learnt");
        assert_sound(&other, "learnt, beside another");
        if (one.report.state == VINDEX_STATE_EXACT) assert_equal(&one, d->want, "said to be exact");
        if (other.report.state == VINDEX_STATE_EXACT)
            assert_equal(&other, d->want, "said to be exact, beside another");
    }
    free((void *)given.queries);
    vindex__calibration_free(calibration);
}

static void check_arrays(struct draw *d, const struct searches *s)
{
    struct run one = run_of(d, s->one, NULL, s->hits[0]);
    put_in_what_is_no_number(d);
    d->shape.ids = NULL;
    d->shape.dead = NULL;
    oracle(&d->shape, &d->request, d->want);
    search_it(&one);
    assert_equal(&one, d->want, "plain arrays");
}

static void check_draw(uint64_t seed, struct searches *s)
{
    struct draw d;
    draw(&d, seed);
    for (size_t i = 0; i < 2; i++)
        s->hits[i] = calloc(d.request.n_queries * d.request.k, sizeof *s->hits[i]);
    struct snapshot *snapshot = make_snapshot(&d.shape);
    check_exact(&d, s, snapshot);
    check_cancelled(&d, s, snapshot);
    check_rough(&d, s, snapshot);
    check_learnt(&d, s, snapshot);
    free_snapshot(snapshot);
    check_arrays(&d, s);
    for (size_t i = 0; i < 2; i++)
        free(s->hits[i]);
    discard(&d);
}

void check_draws(struct rng *rng, double seconds)
{
    const char *one = getenv("VINDEX_TEST_DRAW"); /* replay one */
    int64_t end = vindex__now_ns() + (int64_t)(seconds * 1e9);
    struct searches s = {NULL, NULL, {NULL, NULL}};
    size_t n = 0;
    assert_int_equal(vindex__search_new(&s.one), VINDEX_OK);
    assert_int_equal(vindex__search_new(&s.other), VINDEX_OK);
    do {
        check_draw(one ? strtoull(one, NULL, 10) : vindex__rng_next(rng) >> 1, &s);
        n++;
    } while (!one && vindex__now_ns() < end);
    printf("%zu draws\n", n);
    vindex__search_free(s.one);
    vindex__search_free(s.other);
}
