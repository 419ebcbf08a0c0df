/*
 * test_tiles.c - vindex_topk_stream: any cut, order and merging of pushes gives the result of one call.
 */
#include "common/cmocka.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "topk/helper_topk.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static struct rng rng;

static vindex_topk_stream *open_stream(const vindex_topk_options *o, void **memory)
{
    uint64_t bytes;
    vindex_topk_stream *stream = NULL;

    assert_int_equal(vindex_topk_stream_bytes(o, &bytes), VINDEX_OK);
    *memory = malloc(bytes);
    assert_int_equal(vindex_topk_stream_init(o, *memory, bytes, &stream), VINDEX_OK);
    return stream;
}

/* Pieces of a row to `n_streams` streams, in an order drawn by chance, half with explicit ids. */
static void push_in_pieces(vindex_topk_stream **streams, size_t n_streams, int64_t row,
                           uint32_t type, const unsigned char *x, int64_t n)
{
    enum { PIECES = 40 };
    int64_t cuts[PIECES + 1], order[PIECES];

    for (int i = 0; i <= PIECES; i++)
        cuts[i] = i == PIECES ? n : n * i / PIECES;
    for (int i = 1; i < PIECES; i++) /* uneven, some empty */
        cuts[i] = cuts[i - 1] + (int64_t)vindex__rng_below(
                                    &rng, (uint64_t)(2 * (n - cuts[i - 1]) / (PIECES - i) + 1));
    for (int i = 0; i <= PIECES; i++)
        if (cuts[i] > n) cuts[i] = n;
    for (int i = 0; i < PIECES; i++) {
        const int64_t j = (int64_t)vindex__rng_below(&rng, (uint64_t)i + 1);
        order[i] = order[j], order[j] = i;
    }
    for (int i = 0; i < PIECES; i++) {
        const int64_t from = cuts[order[i]], count = cuts[order[i] + 1] - from;
        vindex_topk_stream *s = streams[vindex__rng_below(&rng, n_streams)];
        int64_t *ids = malloc((size_t)count * 8 + 8);
        for (int64_t j = 0; j < count; j++)
            ids[j] = from + j;
        assert_int_equal(vindex_topk_stream_push(s, row, x + (size_t)from * type_bytes(type),
                                                 i % 2 ? ids : NULL, from, count),
                         VINDEX_OK);
        free(ids);
    }
}

static void check_streams(uint32_t type, enum pattern pattern, uint32_t flags, uint32_t nan,
                          int64_t n, int64_t k, size_t n_streams)
{
    enum { ROWS = 2 };
    const bool is_min = (flags & VINDEX_TOPK_MIN) != 0;
    const size_t size = type_bytes(type);
    vindex_topk_options o = VINDEX_TOPK_OPTIONS_INIT;
    vindex_topk_stream *streams[4];
    void *memory[4];
    unsigned char *x = malloc((size_t)(ROWS * n + 1) * size),
                  *values = malloc((size_t)(ROWS * k) * 8);
    int64_t *ids = malloc((size_t)(ROWS * k) * 8), *best = malloc((size_t)n * 8 + 8), counts[ROWS];

    o.type = type, o.flags = flags, o.nan = nan, o.rows = ROWS, o.k = k;
    for (size_t i = 0; i < n_streams; i++)
        streams[i] = open_stream(&o, &memory[i]);
    for (int64_t row = 0; row < ROWS; row++) {
        fill_pattern(&rng, pattern, type, is_min, x + (size_t)(row * n) * size, (size_t)n);
        push_in_pieces(streams, n_streams, row, type, x + (size_t)(row * n) * size, n);
    }
    for (size_t i = n_streams; i-- > 1;)
        assert_int_equal(vindex_topk_stream_merge(streams[i - 1], streams[i]), VINDEX_OK);
    for (int again = 0; again < 2; again++) { /* finishing changes nothing */
        assert_int_equal(vindex_topk_stream_finish(streams[0], values, ids, counts), VINDEX_OK);
        for (int64_t row = 0; row < ROWS; row++) {
            const unsigned char *at = x + (size_t)(row * n) * size;
            const int64_t live = k < n ? k : n;
            double threshold;
            plain_best(type, at, (size_t)n, (size_t)live, is_min, nan, best);
            assert_int_equal(counts[row], live);
            for (int64_t i = 0; i < k; i++) {
                if (ids[row * k + i] != (i < live ? best[i] : -1))
                    fail_msg("%s %s slot %lld of row %lld: %lld, expected %lld",
                             pattern_names[pattern], vindex_topk_type_name((vindex_topk_type)type),
                             (long long)i, (long long)row, (long long)ids[row * k + i],
                             (long long)best[i]);
                if (i < live)
                    assert_memory_equal(values + (size_t)(row * k + i) * size,
                                        at + (size_t)best[i] * size, size);
            }
            /* Nothing that is among the best is strictly worse than the threshold. */
            assert_int_equal(vindex_topk_stream_threshold(streams[0], row, &threshold), VINDEX_OK);
            for (int64_t i = 0; i < live; i++) {
                const double value = element(type, at, (size_t)best[i]);
                assert_false(is_min ? value > threshold : value < threshold);
            }
        }
    }
    for (size_t i = 0; i < n_streams; i++)
        free(memory[i]);
    free(x), free(values), free(ids), free(best);
}

static void any_order_of_pushes_and_merges_is_one_result(void **state)
{
    (void)state;
    for (uint32_t type = 0; type < N_TYPES; type++)
        for (int pattern = 0; pattern < N_PATTERNS; pattern++) {
            const uint32_t flags = pattern % 2 ? VINDEX_TOPK_MIN : 0;
            check_streams(type, (enum pattern)pattern, flags, 0, 7000, 50, 1);
            check_streams(type, (enum pattern)pattern, flags, 1, 7000, 333, 4);
            check_streams(type, (enum pattern)pattern, flags, 0, 20, 33, 3);
            check_streams(type, (enum pattern)pattern, flags, 1, 3000, 1, 2);
        }
}

static void ids_may_be_as_large_as_they_get(void **state)
{
    const float x[4] = {1, 2, 2, 0};
    vindex_topk_options o = VINDEX_TOPK_OPTIONS_INIT;
    vindex_topk_stream *s;
    void *memory;
    int64_t ids[2];
    (void)state;

    o.rows = 1, o.k = 2;
    s = open_stream(&o, &memory);
    assert_int_equal(vindex_topk_stream_push(s, 0, x, NULL, INT64_MAX - 3, 4), VINDEX_OK);
    assert_int_equal(vindex_topk_stream_push(s, 0, x, NULL, INT64_MAX - 2, 4), VINDEX_INVALID);
    assert_int_equal(vindex_topk_stream_push(s, 0, x, NULL, INT64_MAX, 0), VINDEX_OK);
    assert_int_equal(vindex_topk_stream_push(s, 1, x, NULL, 0, 1), VINDEX_INVALID);
    assert_int_equal(vindex_topk_stream_push(s, 0, x, NULL, 0, -1), VINDEX_INVALID);
    assert_int_equal(vindex_topk_stream_finish(s, NULL, ids, NULL), VINDEX_OK);
    assert_true(ids[0] == INT64_MAX - 2 && ids[1] == INT64_MAX - 1);
    free(memory);
}

static void empty_streams_and_bad_ones(void **state)
{
    vindex_topk_options o = VINDEX_TOPK_OPTIONS_INIT;
    vindex_topk_stream *a, *b, *other;
    void *memory[3];
    int64_t ids[6], counts[2];
    float x = NAN, values[6];
    double threshold;
    uint64_t bytes;
    (void)state;

    o.rows = 2, o.k = 3;
    a = open_stream(&o, &memory[0]), b = open_stream(&o, &memory[1]);
    assert_int_equal(vindex_topk_stream_merge(a, b), VINDEX_OK);
    assert_int_equal(vindex_topk_stream_merge(a, a), VINDEX_INVALID);
    assert_int_equal(vindex_topk_stream_finish(a, values, ids, counts), VINDEX_OK);
    assert_true(counts[0] == 0 && ids[5] == -1 && values[0] == -INFINITY);
    vindex_topk_stream_threshold(a, 0, &threshold);
    assert_true(threshold == -INFINITY);
    o.k = 4, o.nan = VINDEX_TOPK_NAN_ERROR;
    other = open_stream(&o, &memory[2]);
    assert_int_equal(vindex_topk_stream_merge(a, other), VINDEX_INVALID);
    assert_int_equal(vindex_topk_stream_push(other, 0, &x, NULL, 0, 1), VINDEX_INVALID);
    assert_int_equal(vindex_topk_stream_bytes(&o, &bytes), VINDEX_OK);
    assert_int_equal(vindex_topk_stream_init(&o, memory[2], bytes - 1, &other), VINDEX_INVALID);
    o.k = -1;
    assert_int_equal(vindex_topk_stream_bytes(&o, &bytes), VINDEX_INVALID);
    o.k = INT64_MAX;
    assert_int_equal(vindex_topk_stream_bytes(&o, &bytes), VINDEX_INVALID);
    for (int i = 0; i < 3; i++)
        free(memory[i]);
}

static void thresholds_are_the_scores_themselves(void **state)
{
    (void)state;
    for (uint32_t type = 0; type < N_TYPES; type++)
        for (int is_min = 0; is_min < 2; is_min++) {
            vindex_topk_options o = VINDEX_TOPK_OPTIONS_INIT;
            vindex_topk_stream *s;
            void *memory;
            unsigned char x[10 * 8];
            int64_t best[10];
            double threshold;
            fill_pattern(&rng, ANY_BITS, type, is_min, x, 10);
            o.type = type, o.rows = 1, o.k = 10, o.flags = is_min ? VINDEX_TOPK_MIN : 0;
            s = open_stream(&o, &memory);
            vindex_topk_stream_push(s, 0, x, NULL, 0, 10);
            plain_best(type, x, 10, 10, is_min, 0, best);
            vindex_topk_stream_threshold(s, 0, &threshold);
            if (!isnan(element(type, x, (size_t)best[9])))
                assert_true(threshold == element(type, x, (size_t)best[9]));
            free(memory);
        }
}

static int set_up(void **state)
{
    (void)state;
    vindex__rng_init(&rng, test_seed());
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_order_of_pushes_and_merges_is_one_result),
        cmocka_unit_test(ids_may_be_as_large_as_they_get),
        cmocka_unit_test(empty_streams_and_bad_ones),
        cmocka_unit_test(thresholds_are_the_scores_themselves),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
