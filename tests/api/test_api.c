/*
 * test_api.c - the door: what each call refuses, what the message says, and what is unchanged afterwards.
 */
#include "common/cmocka.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "common/model.h"

enum { DIM = 4 };

static vindex *new_index(uint32_t type, uint32_t metric, uint32_t dim)
{
    vindex *index = NULL;
    vindex_create_options options = VINDEX_CREATE_OPTIONS_INIT;
    options.dim = dim;
    options.type = type;
    options.metric = metric;
    assert_int_equal(vindex_create(":memory:", &options, &index), VINDEX_OK);
    return index;
}

static void insert(vindex *index, const int64_t *ids, const void *rows, size_t n, uint32_t type)
{
    vindex_writer *writer = NULL;
    vindex_vectors vectors = {rows, n, 0, type, 0};
    assert_int_equal(vindex_writer_begin(index, &writer), VINDEX_OK);
    assert_int_equal(vindex_writer_insert(writer, ids, &vectors, 0), VINDEX_OK);
    assert_int_equal(vindex_writer_commit(writer), VINDEX_OK);
}

static uint64_t n_rows(vindex *index)
{
    vindex_stats stats = VINDEX_STATS_INIT;
    assert_int_equal(vindex_stat(index, &stats), VINDEX_OK);
    return stats.n_rows;
}

#define assert_message(text) assert_non_null(strstr(vindex_message(), text))

static void create_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        vindex_create_options options;
        vindex_status status;
        const char *message;
    } cases[] = {
        {"no dim", {.struct_size = sizeof(vindex_create_options)}, VINDEX_INVALID, "dim 0"},
        {"dim over the limit",
         {.struct_size = sizeof(vindex_create_options), .dim = 65521},
         VINDEX_INVALID,
         "65521"},
        {"unknown type",
         {.struct_size = sizeof(vindex_create_options), .dim = 1, .type = 6},
         VINDEX_INVALID,
         "type 6"},
        {"bits with l2",
         {.struct_size = sizeof(vindex_create_options), .dim = 1, .type = VINDEX_BIT},
         VINDEX_INVALID,
         "hamming"},
        {"floats with hamming",
         {.struct_size = sizeof(vindex_create_options), .dim = 1, .metric = VINDEX_HAMMING},
         VINDEX_INVALID,
         "BIT"},
        {"recall above 1",
         {.struct_size = sizeof(vindex_create_options), .dim = 1, .recall = 1.2f},
         VINDEX_INVALID,
         "1.2"},
        {"recall not a number",
         {.struct_size = sizeof(vindex_create_options), .dim = 1, .recall = NAN},
         VINDEX_INVALID,
         "recall"},
        {"no struct size", {.dim = 1}, VINDEX_INVALID, "_INIT"},
        {"unknown flag",
         {.struct_size = sizeof(vindex_create_options), .dim = 1, .flags = 8},
         VINDEX_UNSUPPORTED,
         "0x8"},
        {"seal_rows over the limit",
         {.struct_size = sizeof(vindex_create_options), .dim = 1, .seal_rows = 16385},
         VINDEX_INVALID,
         "16385"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vindex *index = (vindex *)(uintptr_t)1;
        assert_int_equal(vindex_create(":memory:", &cases[i].options, &index), cases[i].status);
        assert_message(cases[i].message);
        assert_null(index);
    }
    vindex *index = NULL;
    assert_int_equal(vindex_create(":memory:", NULL, &index), VINDEX_INVALID);
    vindex_create_options options = VINDEX_CREATE_OPTIONS_INIT;
    options.dim = 1;
    assert_int_equal(vindex_create("", &options, &index), VINDEX_INVALID);
    assert_int_equal(vindex_create("/nonexistent-directory/x.vdx", &options, &index), VINDEX_NOTFOUND);
    assert_int_equal(vindex_open("/nonexistent-directory/x.vdx", 0, &index), VINDEX_NOTFOUND);
    assert_int_equal(vindex_open(":memory:", 0, &index), VINDEX_INVALID);
}

/* A caller built against a later header: its larger struct works while the new fields are zero. */
static void larger_option_structs(void **state)
{
    (void)state;
    struct {
        vindex_create_options known;
        uint64_t later;
    } given = {.known = VINDEX_CREATE_OPTIONS_INIT, .later = 0};
    vindex *index = NULL;
    given.known.struct_size = sizeof given;
    given.known.dim = 2;
    assert_int_equal(vindex_create(":memory:", &given.known, &index), VINDEX_OK);
    vindex_close(index);
    given.later = 1;
    assert_int_equal(vindex_create(":memory:", &given.known, &index), VINDEX_UNSUPPORTED);
}

static void insert_refuses_and_changes_nothing(void **state)
{
    (void)state;
    float rows[3 * DIM] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    int64_t ids[3] = {1, 2, 3}, next = 0;
    vindex *index = new_index(VINDEX_FLOAT, VINDEX_L2, DIM);
    vindex_writer *writer = NULL;
    insert(index, ids, rows, 1, VINDEX_FLOAT);
    assert_int_equal(vindex_writer_begin(index, &writer), VINDEX_OK);

    assert_int_equal(vindex_writer_insert(writer, ids, &VINDEX_F32_ROWS(rows, 3), 0), VINDEX_EXISTS);
    assert_message("id 1");
    rows[DIM + 2] = NAN;
    assert_int_equal(vindex_writer_insert(writer, ids, &VINDEX_F32_ROWS(rows, 3), VINDEX_UPSERT),
                     VINDEX_INVALID);
    assert_message("row 1, element 2 is nan");
    rows[DIM + 2] = -INFINITY;
    assert_int_equal(vindex_writer_insert(writer, ids, &VINDEX_F32_ROWS(rows, 3), VINDEX_UPSERT),
                     VINDEX_INVALID);
    rows[DIM + 2] = 0;
    ids[1] = VINDEX_ID_NONE;
    assert_int_equal(vindex_writer_insert(writer, ids, &VINDEX_F32_ROWS(rows, 3), VINDEX_UPSERT),
                     VINDEX_INVALID);
    ids[0] = 8, ids[1] = 9, ids[2] = 8;
    assert_int_equal(vindex_writer_insert(writer, ids, &VINDEX_F32_ROWS(rows, 3), 0), VINDEX_EXISTS);
    assert_message("twice");
    assert_int_equal(vindex_writer_insert(writer, ids, &VINDEX_F32_ROWS(rows, 3),
                                          VINDEX_UPSERT | VINDEX_IGNORE),
                     VINDEX_INVALID);
    assert_int_equal(vindex_writer_insert(writer, ids, &VINDEX_F32_ROWS(rows, 3), 4),
                     VINDEX_UNSUPPORTED);
    vindex_vectors narrow = {rows, 3, 15, VINDEX_FLOAT, 0};
    assert_int_equal(vindex_writer_insert(writer, NULL, &narrow, 0), VINDEX_INVALID);
    vindex_vectors wrong = {rows, 1, 0, VINDEX_UINT8, 0};
    assert_int_equal(vindex_writer_insert(writer, NULL, &wrong, 0), VINDEX_INVALID);
    vindex_vectors huge = {rows, SIZE_MAX / 8, 0, VINDEX_FLOAT, 0};
    assert_int_equal(vindex_writer_insert(writer, NULL, &huge, 0), VINDEX_INVALID);
    assert_int_equal(vindex_writer_next_id(writer, &next), VINDEX_OK);
    assert_int_equal(next, 2);
    assert_int_equal(vindex_writer_commit(writer), VINDEX_OK);
    assert_int_equal(n_rows(index), 1);
    vindex_close(index);
}

static void repeated_ids_follow_the_rule(void **state)
{
    (void)state;
    float rows[3] = {10, 20, 30}, got = 0;
    int64_t ids[3] = {5, 5, 5}, five = 5;
    vindex *index = new_index(VINDEX_FLOAT, VINDEX_L2, 1);
    vindex_writer *writer = NULL;
    vindex_searcher *searcher = NULL;
    assert_int_equal(vindex_writer_begin(index, &writer), VINDEX_OK);
    assert_int_equal(vindex_writer_insert(writer, ids, &VINDEX_F32_ROWS(rows, 3), VINDEX_IGNORE),
                     VINDEX_OK);
    assert_int_equal(vindex_writer_commit(writer), VINDEX_OK);
    assert_int_equal(vindex_searcher_open(index, &searcher), VINDEX_OK);
    assert_int_equal(vindex_fetch(searcher, &five, 1, &got, NULL), VINDEX_OK);
    assert_true(got == 10);
    assert_int_equal(vindex_writer_begin(index, &writer), VINDEX_OK);
    assert_int_equal(vindex_writer_insert(writer, ids, &VINDEX_F32_ROWS(rows, 3), VINDEX_UPSERT),
                     VINDEX_OK);
    assert_int_equal(vindex_writer_commit(writer), VINDEX_OK);
    assert_int_equal(vindex_fetch(searcher, &five, 1, &got, NULL), VINDEX_OK);
    assert_true(got == 30);
    assert_int_equal(n_rows(index), 1);
    five = 6;
    assert_int_equal(vindex_fetch(searcher, &five, 1, &got, NULL), VINDEX_NOTFOUND);
    vindex_searcher_close(searcher);
    vindex_close(index);
}

static void extreme_ids(void **state)
{
    (void)state;
    float rows[4] = {1, 2, 3, 4};
    int64_t ids[3] = {INT64_MAX, INT64_MIN + 1, -1};
    vindex *index = new_index(VINDEX_FLOAT, VINDEX_L2, 1);
    vindex_writer *writer = NULL;
    vindex_searcher *searcher = NULL;
    vindex_hit hits[4];
    insert(index, ids, rows, 3, VINDEX_FLOAT);
    assert_int_equal(vindex_writer_begin(index, &writer), VINDEX_OK);
    assert_int_equal(vindex_writer_insert(writer, NULL, &VINDEX_F32_ROWS(rows, 1), 0), VINDEX_INVALID);
    assert_message("ids are left");
    assert_int_equal(vindex_writer_insert(writer, ids, &VINDEX_F32_ROWS(rows, 1), 0), VINDEX_EXISTS);
    assert_int_equal(vindex_writer_insert(writer, ids, &VINDEX_F32_ROWS(rows + 3, 1), VINDEX_UPSERT),
                     VINDEX_OK);
    assert_int_equal(vindex_writer_commit(writer), VINDEX_OK);
    assert_int_equal(vindex_optimize(index, VINDEX_OPTIMIZE_ALL, NULL, NULL), VINDEX_OK);
    assert_int_equal(vindex_check(index, NULL, NULL), VINDEX_OK);
    assert_int_equal(vindex_searcher_open(index, &searcher), VINDEX_OK);
    assert_int_equal(vindex_search(searcher, &VINDEX_F32_ROWS(rows, 1), 4, NULL, hits), VINDEX_OK);
    assert_true(hits[0].id == INT64_MIN + 1 && hits[1].id == -1 && hits[2].id == INT64_MAX);
    assert_true(hits[3].id == VINDEX_ID_NONE && isinf(hits[3].score));
    vindex_searcher_close(searcher);
    vindex_close(index);
}

/* Floats into an integer index: whole numbers in range or nothing. */
static void nothing_is_quantised_silently(void **state)
{
    (void)state;
    float good[3] = {0, 255, 7}, fraction[3] = {1, 2.5f, 3}, large[3] = {1, 2, 256};
    unsigned char got[3];
    int64_t zero = 0;
    vindex *index = new_index(VINDEX_UINT8, VINDEX_L2, 3);
    vindex_writer *writer = NULL;
    vindex_searcher *searcher = NULL;
    vindex_hit hit;
    insert(index, NULL, good, 1, VINDEX_FLOAT);
    assert_int_equal(vindex_writer_begin(index, &writer), VINDEX_OK);
    assert_int_equal(vindex_writer_insert(writer, NULL, &VINDEX_F32_ROWS(fraction, 1), 0),
                     VINDEX_INVALID);
    assert_message("element 1 is 2.5");
    assert_int_equal(vindex_writer_insert(writer, NULL, &VINDEX_F32_ROWS(large, 1), 0), VINDEX_INVALID);
    vindex_writer_abort(writer);
    assert_int_equal(vindex_searcher_open(index, &searcher), VINDEX_OK);
    assert_int_equal(vindex_fetch(searcher, &zero, 1, got, NULL), VINDEX_OK);
    assert_true(got[0] == 0 && got[1] == 255 && got[2] == 7);
    assert_int_equal(vindex_search(searcher, &VINDEX_F32_ROWS(good, 1), 1, NULL, &hit), VINDEX_OK);
    assert_true(hit.id == 0 && hit.score == 0);
    assert_int_equal(vindex_search(searcher, &VINDEX_F32_ROWS(fraction, 1), 1, NULL, &hit),
                     VINDEX_INVALID);
    vindex_searcher_close(searcher);
    vindex_close(index);
}

/* Half precision rounds what is stored; float queries are used as they are. */
static void halves_round_rows_not_queries(void **state)
{
    (void)state;
    float row = 1.0f + 0x1p-12f, query = row, too_large = 70000, got_score;
    vindex *index = new_index(VINDEX_FLOAT16, VINDEX_L2, 1);
    vindex_writer *writer = NULL;
    vindex_searcher *searcher = NULL;
    vindex_hit hit;
    insert(index, NULL, &row, 1, VINDEX_FLOAT);
    assert_int_equal(vindex_searcher_open(index, &searcher), VINDEX_OK);
    assert_int_equal(vindex_search(searcher, &VINDEX_F32_ROWS(&query, 1), 1, NULL, &hit), VINDEX_OK);
    got_score = hit.score;
    assert_true(got_score == 0x1p-12f);
    assert_int_equal(vindex_writer_begin(index, &writer), VINDEX_OK);
    assert_int_equal(vindex_writer_insert(writer, NULL, &VINDEX_F32_ROWS(&too_large, 1), 0),
                     VINDEX_INVALID); /* would become infinity */
    vindex_writer_abort(writer);
    vindex_searcher_close(searcher);
    vindex_close(index);
}

static void bits_need_clear_padding(void **state)
{
    (void)state;
    unsigned char good[2] = {0xff, 0x03}, bad[2] = {0xff, 0x07};
    vindex *index = new_index(VINDEX_BIT, VINDEX_HAMMING, 10);
    vindex_writer *writer = NULL;
    vindex_vectors vectors = {bad, 1, 0, VINDEX_BIT, 0};
    insert(index, NULL, good, 1, VINDEX_BIT);
    assert_int_equal(vindex_writer_begin(index, &writer), VINDEX_OK);
    assert_int_equal(vindex_writer_insert(writer, NULL, &vectors, 0), VINDEX_INVALID);
    assert_message("beyond dim 10");
    vindex_writer_abort(writer);
    vindex_close(index);
}

static int stop_at_once(void *context)
{
    ++*(int *)context;
    return 1;
}

static void search_refuses(void **state)
{
    (void)state;
    float rows[2] = {1, 2}, nan_query = NAN;
    int64_t unsorted[2] = {2, 1};
    vindex *index = new_index(VINDEX_FLOAT, VINDEX_L2, 1);
    vindex_searcher *searcher = NULL;
    vindex_hit hits[4];
    vindex_search_options options = VINDEX_SEARCH_OPTIONS_INIT;
    vindex_filter filter = {.kind = VINDEX_FILTER_IDS, .ids = unsorted, .n = 2};
    insert(index, NULL, rows, 2, VINDEX_FLOAT);
    assert_int_equal(vindex_searcher_open(index, &searcher), VINDEX_OK);
    assert_int_equal(vindex_search(searcher, &VINDEX_F32_ROWS(rows, 1), 0, NULL, hits), VINDEX_INVALID);
    assert_message("k is 0");
    assert_int_equal(vindex_search(searcher, &VINDEX_F32_ROWS(&nan_query, 1), 1, NULL, hits),
                     VINDEX_INVALID);
    assert_int_equal(vindex_search(searcher, &VINDEX_F32_ROWS(rows, 0), 1, NULL, NULL), VINDEX_OK);
    options.recall = 1.5f;
    assert_int_equal(vindex_search(searcher, &VINDEX_F32_ROWS(rows, 1), 1, &options, hits),
                     VINDEX_INVALID);
    options.recall = 0;
    options.filter = &filter;
    assert_int_equal(vindex_search(searcher, &VINDEX_F32_ROWS(rows, 1), 1, &options, hits),
                     VINDEX_INVALID);
    assert_message("ascend");
    options.filter = NULL;
    options.flags = 1u << 31;
    assert_int_equal(vindex_search(searcher, &VINDEX_F32_ROWS(rows, 1), 1, &options, hits),
                     VINDEX_UNSUPPORTED);
    options.flags = 0;
    options.timeout_ns = -1;
    assert_int_equal(vindex_search(searcher, &VINDEX_F32_ROWS(rows, 1), 1, &options, hits),
                     VINDEX_INVALID);
    vindex_searcher_close(searcher);
    vindex_close(index);
}

static void cancel_and_timeout_stop_a_long_search(void **state)
{
    (void)state;
    enum { N = 60000, D = 64 };
    float *rows = calloc((size_t)N * D, sizeof *rows);
    vindex *index = new_index(VINDEX_FLOAT, VINDEX_L2, D);
    vindex_searcher *searcher = NULL;
    vindex_search_options options = VINDEX_SEARCH_OPTIONS_INIT;
    vindex_hit hits[300];
    int asked = 0;
    assert_non_null(rows);
    for (size_t i = 0; i < (size_t)N * D; i++)
        rows[i] = (float)(i % 251);
    insert(index, NULL, rows, N, VINDEX_FLOAT);
    assert_int_equal(vindex_searcher_open(index, &searcher), VINDEX_OK);
    options.cancel = stop_at_once;
    options.cancel_context = &asked;
    assert_int_equal(vindex_search(searcher, &VINDEX_F32_ROWS(rows, 300), 1, &options, hits),
                     VINDEX_CANCELLED);
    assert_true(asked >= 1);
    options.cancel = NULL;
    options.timeout_ns = 1;
    assert_int_equal(vindex_search(searcher, &VINDEX_F32_ROWS(rows, 300), 1, &options, hits),
                     VINDEX_TIMEOUT);
    options.timeout_ns = INT64_MAX;
    assert_int_equal(vindex_search(searcher, &VINDEX_F32_ROWS(rows, 3), 1, &options, hits), VINDEX_OK);
    vindex_searcher_close(searcher);
    vindex_close(index);
    free(rows);
}

static void reports_tell_how_it_was_answered(void **state)
{
    (void)state;
    float rows[3] = {1, 2, 4};
    vindex *index = new_index(VINDEX_FLOAT, VINDEX_L2, 1);
    vindex_searcher *searcher = NULL;
    vindex_report report = VINDEX_REPORT_INIT;
    vindex_hit hits[2];
    insert(index, NULL, rows, 3, VINDEX_FLOAT);
    assert_int_equal(vindex_searcher_open(index, &searcher), VINDEX_OK);
    assert_int_equal(vindex_search(searcher, &VINDEX_F32_ROWS(rows, 2), 1, NULL, hits), VINDEX_OK);
    assert_int_equal(vindex_searcher_report(searcher, &report), VINDEX_OK);
    assert_int_equal(report.state, VINDEX_STATE_EXACT);
    assert_int_equal(report.n_queries, 2);
    assert_int_equal(report.n_rows, 3);
    assert_int_equal(report.epoch, 1);
    assert_true(report.bound == 1 && report.predicted == 1);
    assert_true(report.target > 0.98 && report.target < 1);
    assert_non_null(strstr(report.plan, "exact"));
    vindex_searcher_close(searcher);
    vindex_close(index);
}

static void a_second_writer_is_busy(void **state)
{
    (void)state;
    vindex *index = new_index(VINDEX_FLOAT, VINDEX_L2, 1);
    vindex_writer *first = NULL, *second = NULL;
    assert_int_equal(vindex_writer_begin(index, &first), VINDEX_OK);
    assert_int_equal(vindex_writer_begin(index, &second), VINDEX_BUSY);
    assert_null(second);
    assert_int_equal(vindex_optimize(index, 0, NULL, NULL), VINDEX_BUSY);
    vindex_writer_abort(first);
    assert_int_equal(vindex_writer_begin(index, &second), VINDEX_OK);
    vindex_writer_abort(second);
    vindex_close(index);
}

static void searchers_see_commits_not_work_in_progress(void **state)
{
    (void)state;
    float rows[2] = {1, 2};
    vindex *index = new_index(VINDEX_FLOAT, VINDEX_L2, 1);
    vindex_writer *writer = NULL;
    vindex_searcher *searcher = NULL;
    vindex_hit hit;
    assert_int_equal(vindex_searcher_open(index, &searcher), VINDEX_OK);
    assert_int_equal(vindex_writer_begin(index, &writer), VINDEX_OK);
    assert_int_equal(vindex_writer_insert(writer, NULL, &VINDEX_F32_ROWS(rows, 2), 0), VINDEX_OK);
    assert_int_equal(vindex_search(searcher, &VINDEX_F32_ROWS(rows, 1), 1, NULL, &hit), VINDEX_OK);
    assert_true(hit.id == VINDEX_ID_NONE);
    assert_int_equal(vindex_writer_commit(writer), VINDEX_OK);
    assert_int_equal(vindex_search(searcher, &VINDEX_F32_ROWS(rows, 1), 1, NULL, &hit), VINDEX_OK);
    assert_int_equal(hit.id, 0);
    vindex_searcher_close(searcher);
    vindex_close(index);
}

static void brute_force_over_plain_arrays(void **state)
{
    (void)state;
    float base[4 * 2] = {0, 0, 3, 4, 1, 1, -1, 0}, query[2] = {0, 0}, bad[2] = {NAN, 0};
    vindex_hit hits[5];
    assert_int_equal(vindex_brute(&VINDEX_F32_ROWS(base, 4), &VINDEX_F32_ROWS(query, 1), 2, VINDEX_L2, 5,
                                  NULL, hits),
                     VINDEX_OK);
    assert_true(hits[0].id == 0 && hits[1].id == 3 && hits[2].id == 2 && hits[3].id == 1);
    assert_true(hits[3].score == 5 && hits[4].id == VINDEX_ID_NONE);
    assert_int_equal(vindex_brute(&VINDEX_F32_ROWS(base, 4), &VINDEX_F32_ROWS(bad, 1), 2, VINDEX_L2, 1,
                                  NULL, hits),
                     VINDEX_INVALID);
    base[0] = NAN; /* the base is not checked: what is not a number is the worst */
    assert_int_equal(vindex_brute(&VINDEX_F32_ROWS(base, 4), &VINDEX_F32_ROWS(query, 1), 2, VINDEX_L2, 4,
                                  NULL, hits),
                     VINDEX_OK);
    assert_true(hits[0].id == 3 && hits[2].id == 1 && hits[3].id == 0 && hits[3].score == FLT_MAX);
    assert_int_equal(vindex_brute(&VINDEX_F32_ROWS(base, 0), &VINDEX_F32_ROWS(query, 1), 2, VINDEX_L2, 1,
                                  NULL, hits),
                     VINDEX_OK);
    assert_true(hits[0].id == VINDEX_ID_NONE);
}

static int stop_optimize(void *context, uint64_t done, uint64_t total)
{
    (void)done;
    (void)total;
    return ++*(int *)context > 0;
}

static void optimize_seals_the_tail_and_can_be_cancelled(void **state)
{
    (void)state;
    float row = 1;
    int asked = 0;
    vindex *index = new_index(VINDEX_FLOAT, VINDEX_L2, 1);
    vindex_stats stats = VINDEX_STATS_INIT;
    insert(index, NULL, &row, 1, VINDEX_FLOAT);
    assert_int_equal(vindex_optimize(index, 2, NULL, NULL), VINDEX_UNSUPPORTED);
    assert_int_equal(vindex_optimize(index, 0, stop_optimize, &asked), VINDEX_CANCELLED);
    assert_int_equal(asked, 1);
    assert_int_equal(vindex_stat(index, &stats), VINDEX_OK);
    assert_int_equal(stats.n_tail, 1);
    assert_int_equal(vindex_optimize(index, 0, NULL, NULL), VINDEX_OK);
    assert_int_equal(vindex_stat(index, &stats), VINDEX_OK);
    assert_int_equal(stats.n_tail, 0);
    assert_int_equal(stats.n_segments, 1);
    vindex_close(index);
}

struct nested {
    vindex_searcher *searcher;
    vindex_status search, fetch;
};

static int use_the_same_searcher(void *context, int64_t id)
{
    struct nested *nested = context;
    float row = 0;
    vindex_hit hit;
    nested->fetch = vindex_fetch(nested->searcher, &id, 1, &row, NULL);
    nested->search = vindex_search(nested->searcher, &VINDEX_F32_ROWS(&row, 1), 1, NULL, &hit);
    vindex_searcher_close(nested->searcher); /* refused as well: the call below still has its view */
    return 1;
}

static void callbacks_may_not_use_their_searcher(void **state)
{
    (void)state;
    float rows[3] = {1, 2, 3};
    vindex *index = new_index(VINDEX_FLOAT, VINDEX_L2, 1);
    struct nested nested = {NULL, VINDEX_OK, VINDEX_OK};
    vindex_filter filter = {.kind = VINDEX_FILTER_CALLBACK, .callback = use_the_same_searcher,
                            .context = &nested};
    vindex_search_options options = VINDEX_SEARCH_OPTIONS_INIT;
    vindex_hit hits[3];
    options.filter = &filter;
    insert(index, NULL, rows, 3, VINDEX_FLOAT);
    assert_int_equal(vindex_searcher_open(index, &nested.searcher), VINDEX_OK);
    assert_int_equal(vindex_search(nested.searcher, &VINDEX_F32_ROWS(rows, 1), 3, &options, hits),
                     VINDEX_OK);
    assert_int_equal(nested.fetch, VINDEX_MISUSE);
    assert_int_equal(nested.search, VINDEX_MISUSE);
    assert_true(hits[0].id == 0 && hits[1].id == 1 && hits[2].id == 2);
    assert_int_equal(vindex_search(nested.searcher, &VINDEX_F32_ROWS(rows, 1), 3, NULL, hits), VINDEX_OK);
    vindex_searcher_close(nested.searcher);
    vindex_close(index);
}

static void names_and_numbers(void **state)
{
    (void)state;
    vindex_type type;
    vindex_metric metric;
    size_t n = 0;
    assert_int_equal(vindex_type_parse("bfloat16", &type), VINDEX_OK);
    assert_int_equal(type, VINDEX_BFLOAT16);
    assert_int_equal(vindex_type_parse("u8", &type), VINDEX_OK);
    assert_int_equal(type, VINDEX_UINT8);
    assert_int_equal(vindex_type_parse("double", &type), VINDEX_INVALID);
    assert_message("'double'");
    assert_int_equal(vindex_metric_parse("COSINE", &metric), VINDEX_OK);
    assert_int_equal(metric, VINDEX_COSINE);
    assert_int_equal(vindex_metric_parse(NULL, &metric), VINDEX_INVALID);
    assert_string_equal(vindex_metric_name(VINDEX_IP), "ip");
    assert_string_equal(vindex_type_name((vindex_type)77), "unknown");
    assert_int_equal(vindex_row_bytes(VINDEX_BIT, 9), 2);
    assert_int_equal(vindex_row_bytes((vindex_type)77, 9), 0);
    assert_non_null(vindex_options(&n));
    assert_true(n >= 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(create_refuses),
        cmocka_unit_test(larger_option_structs),
        cmocka_unit_test(insert_refuses_and_changes_nothing),
        cmocka_unit_test(repeated_ids_follow_the_rule),
        cmocka_unit_test(extreme_ids),
        cmocka_unit_test(nothing_is_quantised_silently),
        cmocka_unit_test(halves_round_rows_not_queries),
        cmocka_unit_test(bits_need_clear_padding),
        cmocka_unit_test(search_refuses),
        cmocka_unit_test(cancel_and_timeout_stop_a_long_search),
        cmocka_unit_test(reports_tell_how_it_was_answered),
        cmocka_unit_test(a_second_writer_is_busy),
        cmocka_unit_test(searchers_see_commits_not_work_in_progress),
        cmocka_unit_test(brute_force_over_plain_arrays),
        cmocka_unit_test(optimize_seals_the_tail_and_can_be_cancelled),
        cmocka_unit_test(callbacks_may_not_use_their_searcher),
        cmocka_unit_test(names_and_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
