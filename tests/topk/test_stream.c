/*
 * test_stream.c - the stream never loses one of the k best, whatever the error inside the band it
 * was told, the order and the sizes of pushes; it stays small; NaN and infinities take part.
 */
#include "common/cmocka.h"

#include <math.h>
#include <string.h>

#include "base/random.h"
#include "topk/stream.h"

static struct rng rng;

static double unit(void)
{
    return vindex__rng_unit(&rng);
}

/* A stream, memory of its own, and what the caller of a stream keeps: the k best of drained rows.
   */
struct user {
    struct topk_stream stream;
    struct topk_memory memory;
    const double *exact; /* by position */
    double *best;        /* ascending */
    size_t n_best;
    bool *seen; /* rows drained */
    size_t n_drains;
};

static void setup(struct user *user, size_t k, size_t n, size_t push_max, const double *exact,
                  struct topk_margin margin)
{
    size_t limit = vindex__stream_limit(k, n), entries = vindex__stream_entries(limit, push_max);
    memset(user, 0, sizeof *user);
    user->memory.ids = malloc(entries * sizeof *user->memory.ids);
    user->memory.values = malloc(entries * sizeof(float));
    user->memory.scratch = malloc(vindex__stream_scratch(entries));
    user->best = malloc((k + 1) * sizeof *user->best);
    user->seen = calloc(n + 1, sizeof *user->seen);
    user->exact = exact;
    vindex__stream_init(&user->stream, k, limit, margin, user->memory);
}

static void teardown(struct user *user)
{
    free(user->memory.ids);
    free(user->memory.values);
    free(user->memory.scratch);
    free(user->best);
    free(user->seen);
}

static void drain(struct user *user)
{
    struct topk_stream *stream = &user->stream;
    vindex__stream_compress(stream);
    for (size_t i = 0; i < stream->count; i++) {
        size_t position = (size_t)stream->memory.ids[i];
        double s = user->exact[position];
        size_t at = user->n_best < stream->k ? user->n_best++ : stream->k;
        assert_false(user->seen[position]);
        user->seen[position] = true;
        for (; at > 0 && user->best[at - 1] > s; at--)
            user->best[at] = user->best[at - 1];
        user->best[at] = s;
    }
    user->n_drains++;
    vindex__stream_clear(stream);
    if (user->n_best == stream->k) vindex__stream_lower(stream, user->best[stream->k - 1]);
}

static void push(struct user *user, const float *scores, size_t n, uint64_t base)
{
    if (vindex__stream_push(&user->stream, vkern_get()->survivors, scores, n, NULL, 0, base))
        drain(user);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Rows that must have been seen: those no worse than the k-th by more than the margin. */
static void check(const struct user *user, size_t n)
{
    const struct topk_stream *stream = &user->stream;
    size_t k = stream->k, n_best = n < k ? n : k;
    double *sorted = malloc((n + 1) * sizeof *sorted);
    memcpy(sorted, user->exact, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_value);
    for (size_t i = 0; i < n_best; i++)
        if (!(sorted[i] == user->best[i]))
            fail_msg("best %zu is %.17g, not %.17g", i, user->best[i], sorted[i]);
    double worst = n_best ? sorted[n_best - 1] : 0;
    double reach = worst + stream->margin.rel * fabs(worst) + stream->margin.abs;
    for (size_t i = 0; i < n; i++)
        if (user->exact[i] <= reach && !user->seen[i])
            fail_msg("row %zu at %.17g, within the margin of %.17g, was left out", i,
                     user->exact[i], worst);
    free(sorted);
}

/* ---- cases --------------------------------------------------------------------------------- */

enum kind { UNIFORM, EQUAL, FEW_VALUES, ASCENDING, DESCENDING, SIGNED, N_KINDS };

static double draw(enum kind kind, size_t i)
{
    switch (kind) {
    case EQUAL: return 3;
    case FEW_VALUES: return (double)vindex__rng_below(&rng, 3);
    case ASCENDING: return (double)i;
    case DESCENDING: return -(double)i;
    case SIGNED: return (unit() - 0.5) * exp(40 * unit() - 20);
    default: return unit();
    }
}

/* A first-pass score anywhere inside the band, at its ends often. */
static float blur(double s, const struct topk_band *band)
{
    static const double ends[] = {-1, 1, 0};
    double side = vindex__rng_below(&rng, 2) ? ends[vindex__rng_below(&rng, 3)] : 2 * unit() - 1;
    double x = s - band->offset;
    double most = band->error_rel * fabs(x) / (1 + band->error_rel) + 0.8 * band->error_abs;
    return (float)(x + 0.95 * side * most); /* what is left covers the rounding to f32 */
}

static void random_streams(void **state)
{
    (void)state;
    for (int trial = 0; trial < 3000; trial++) {
        size_t n = (size_t)vindex__rng_below(&rng, 3000), done = 0;
        size_t k = 1 + (size_t)vindex__rng_below(&rng, trial % 3 ? 20 : 1500);
        enum kind kind = (enum kind)vindex__rng_below(&rng, N_KINDS);
        double *exact = malloc((n + 1) * sizeof *exact);
        float *scores = malloc((n + 1) * sizeof *scores);
        struct topk_margin margin = {trial % 2 ? 1e-3 * unit() : 0, trial % 4 ? 0 : 0.01};
        struct user user;

        for (size_t i = 0; i < n; i++)
            exact[i] = draw(kind, i);
        setup(&user, k, n, 1024, exact, margin);
        while (done < n) {
            size_t left = n - done, size = (size_t)vindex__rng_below(&rng, 1025);
            struct topk_band band = {trial % 3 ? 1e-5 + 1e-3 * unit() : 1e-5 + 0.2 * unit(),
                                     1e-6 + pow(10, -6 * unit()), trial % 5 ? 0 : 100};
            if (size > left) size = left;
            if (!vindex__stream_announce(&user.stream, &band)) {
                drain(&user);
                assert_true(vindex__stream_announce(&user.stream, &band));
            }
            for (size_t i = 0; i < size; i++)
                scores[i] = blur(exact[done + i], &band);
            push(&user, scores, size, done);
            assert_true(user.stream.count <= user.stream.limit);
            done += size;
        }
        drain(&user);
        check(&user, n);
        teardown(&user);
        free(exact);
        free(scores);
    }
}

/* Scores as in an exact first pass: the stream drops nearly all, and keeps the ties of the k-th. */
static void drops_nearly_all(void **state)
{
    enum { N = 200000, K = 10 };
    double *exact = malloc(N * sizeof *exact);
    float *scores = malloc(N * sizeof *scores);
    struct user user;
    size_t n_seen = 0;
    (void)state;

    for (size_t i = 0; i < N; i++)
        exact[i] = scores[i] = (float)unit();
    setup(&user, K, N, 1024, exact, (struct topk_margin){0, 0});
    for (size_t i = 0; i < N; i += 1000)
        push(&user, scores + i, 1000, i);
    assert_int_equal(user.n_drains, 0);
    drain(&user);
    check(&user, N);
    for (size_t i = 0; i < N; i++)
        n_seen += user.seen[i];
    assert_true(n_seen < K + 5); /* random f32 rarely tie with the tenth */
    teardown(&user);
    free(exact);
    free(scores);
}

/* A wide band announced for a moment does not stay. */
static void wide_band_passes(void **state)
{
    enum { N = 4000 };
    const struct topk_band wide = {0, 1, 0}, narrow = {0, 1e-9, 0};
    double exact[N];
    float scores[N];
    struct user user;
    (void)state;

    for (size_t i = 0; i < N; i++)
        exact[i] = scores[i] = (float)unit();
    setup(&user, 5, N, 1024, exact, (struct topk_margin){0, 0});
    assert_true(vindex__stream_announce(&user.stream, &narrow));
    push(&user, scores, 1000, 0);
    vindex__stream_compress(&user.stream);
    assert_true(user.stream.cut < 0.1F);
    assert_true(vindex__stream_announce(&user.stream, &wide));
    assert_true(user.stream.cut > 1);
    push(&user, scores + 1000, 100, 1000);
    assert_false(vindex__stream_announce(&user.stream, &narrow));
    drain(&user);
    assert_true(vindex__stream_announce(&user.stream, &narrow));
    assert_true(user.stream.cut < 0.1F);
    push(&user, scores + 1100, 900, 1100);
    push(&user, scores + 2000, 1000, 2000);
    push(&user, scores + 3000, 1000, 3000);
    drain(&user);
    check(&user, N);
    teardown(&user);
}

/* What is not a number is never dropped, and never lowers the threshold; infinity is only very far.
   */
static void not_a_number(void **state)
{
    enum { N = 3000 };
    double exact[N];
    float scores[N];
    struct user user;
    size_t n_nan = 0;
    (void)state;

    for (size_t i = 0; i < N; i++) {
        exact[i] = unit();
        scores[i] = (float)exact[i];
        if (i % 10 == 0) scores[i] = i % 20 ? NAN : -NAN;
        if (i % 10 == 1) exact[i] = 1e300, scores[i] = INFINITY;
    }
    for (size_t i = 0; i < N; i += 70)
        exact[i] = -1; /* the best are behind NaN */
    setup(&user, 10, N, 1024, exact, (struct topk_margin){0x1p-22, 0});
    vindex__stream_announce(&user.stream, &(struct topk_band){1e-6, 0, 0});
    for (size_t i = 0; i < N; i += 500)
        push(&user, scores + i, 500, i);
    drain(&user);
    check(&user, N);
    for (size_t i = 0; i < N; i++)
        n_nan += scores[i] != scores[i] && user.seen[i];
    assert_int_equal(n_nan, N / 10);
    teardown(&user);
}

static void only_infinity(void **state)
{
    enum { N = 2000 };
    double exact[N];
    float scores[N];
    struct user user;
    (void)state;
    for (size_t i = 0; i < N; i++)
        exact[i] = 1e39 + (double)i, scores[i] = INFINITY;
    setup(&user, 7, N, 1024, exact, (struct topk_margin){0, 0});
    for (size_t i = 0; i < N; i += 100)
        push(&user, scores + i, 100, i);
    drain(&user);
    check(&user, N);
    teardown(&user);
}

static void limits(void **state)
{
    (void)state;
    assert_true(vindex__stream_limit(1, 1000000) >= 256);
    assert_true(vindex__stream_limit(10, 1000000) <= 512);
    assert_int_equal(vindex__stream_limit(10, 20), 20);
    assert_true(vindex__stream_limit(1000000, 2000000) <= 2000000);
    assert_int_equal(vindex__stream_limit(SIZE_MAX / 2, SIZE_MAX) >= SIZE_MAX / 2, 1);
    assert_int_equal(vindex__stream_limit(SIZE_MAX - 1, SIZE_MAX), SIZE_MAX);
    assert_int_equal(vindex__stream_limit(5, 5), 5);
}

/* The live bitmap and the position base reach the kernel. */
static void bitmap_and_base(void **state)
{
    const uint64_t live[2] = {UINT64_C(1) << 63, 5};
    float scores[4] = {4, 3, 2, 1};
    double exact[1] = {0};
    struct user user;
    (void)state;
    setup(&user, 2, 100, 1024, exact, (struct topk_margin){0, 0});
    assert_false(
        vindex__stream_push(&user.stream, vkern_get()->survivors, scores, 4, live, 63, 1000));
    assert_int_equal(user.stream.count, 3);
    assert_int_equal(user.stream.memory.ids[0], 1000);
    assert_int_equal(user.stream.memory.ids[1], 1001);
    assert_int_equal(user.stream.memory.ids[2], 1003);
    assert_float_equal(((float *)user.stream.memory.values)[2], 1, 0);
    teardown(&user);
}

/* Only a damaged file names an id twice: the stream keeps to its room, and to k. */
static void an_id_that_comes_twice(void **state)
{
    enum { K = 5 };
    const struct topk_order order = {VKERN_TOPK_F32, true, false};
    const size_t entries = vindex__final_entries(K, 100000);
    struct topk_stream stream;
    struct topk_memory memory = {calloc(entries, sizeof(int64_t)), calloc(entries, sizeof(float)),
                                 malloc(vindex__final_scratch(K, entries))};
    (void)state;
    vindex__final_init(&stream, order, K, entries, memory);
    for (size_t i = 0; i < 10 * entries; i++) {
        const float score = i % 7 ? 1 : 2;
        const int64_t id = (int64_t)(i % 3);
        vindex__final_push(&stream, &score, &id, 0, 1);
        assert_true(stream.count < entries);
    }
    vindex__final_trim(&stream);
    assert_int_equal(stream.count, K);
    for (size_t i = 0; i < K; i++)
        assert_true(((float *)stream.memory.values)[i] == 1);
    free(memory.ids);
    free(memory.values);
    free(memory.scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_streams),   cmocka_unit_test(drops_nearly_all),
        cmocka_unit_test(wide_band_passes), cmocka_unit_test(not_a_number),
        cmocka_unit_test(only_infinity),    cmocka_unit_test(limits),
        cmocka_unit_test(bitmap_and_base),  cmocka_unit_test(an_id_that_comes_twice),
    };
    vindex__rng_init(&rng, test_seed());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
