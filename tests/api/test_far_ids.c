/*
 * test_far_ids.c - random transactions over ids at both ends of their range and around zero, sealed in segments of a
 * few rows: runs of ids, the next id, filters and lookups must not step over the ends.
 */
#include "common/cmocka.h"

#include <stdbool.h>
#include <string.h>

#include "common/model.h"

enum { AROUND = 12, N_IDS = 4 * AROUND + 1, DIM = 2 };

struct fixture {
    struct rng rng;
    vindex *index;
    const char *path;               /* NULL: in memory */
    int64_t ids[N_IDS];             /* ascending */
    int value[N_IDS], stays[N_IDS]; /* of its row, 0: none; what an abort goes back to */
    int n_made;
};

static size_t below(struct fixture *f, size_t n)
{
    return (size_t)vindex__rng_below(&f->rng, n);
}

static void open_fixture(struct fixture *f, const char *path, uint64_t seed)
{
    vindex_create_options options = VINDEX_CREATE_OPTIONS_INIT;
    memset(f, 0, sizeof *f);
    vindex__rng_init(&f->rng, seed);
    f->path = path;
    for (int i = 0; i < AROUND; i++) {
        f->ids[i] = INT64_MIN + 1 + i;
        f->ids[AROUND + i] = i - AROUND / 2;
        f->ids[2 * AROUND + i] = INT64_C(4294967290) + i;
        f->ids[3 * AROUND + i] = INT64_MAX - AROUND + i;
    }
    f->ids[N_IDS - 1] = INT64_MAX;
    options.dim = DIM;
    options.seal_rows = 1 + (uint32_t)below(f, 9);
    MODEL_CHECK(vindex_create(path ? path : ":memory:", &options, &f->index) == VINDEX_OK);
}

/* Some of the ids in a row, or drawn; those inserted without a flag have no row. */
static void insert(struct fixture *f, vindex_writer *writer)
{
    static const uint32_t ways[] = {0, VINDEX_UPSERT, VINDEX_IGNORE};
    uint32_t flags = ways[below(f, 3)];
    size_t at = below(f, N_IDS), n = 1 + below(f, 12);
    bool in_a_row = below(f, 2);
    for (size_t i = 0; i < n; i++) {
        size_t which = in_a_row ? (at + i) % N_IDS : below(f, N_IDS);
        float row[DIM] = {(float)++f->n_made, 0};
        vindex_status want = flags == 0 && f->value[which] ? VINDEX_EXISTS : VINDEX_OK;
        MODEL_CHECK(vindex_writer_insert(writer, &f->ids[which], &VINDEX_F32_ROWS(row, 1), flags) ==
                    want);
        if (want == VINDEX_OK && !(flags == VINDEX_IGNORE && f->value[which]))
            f->value[which] = f->n_made;
    }
}

/* As one call: rows in any order. */
static void insert_together(struct fixture *f, vindex_writer *writer)
{
    int64_t ids[N_IDS];
    float rows[N_IDS * DIM] = {0};
    size_t n = 1 + below(f, N_IDS), first = below(f, N_IDS), step = 1 + 2 * below(f, 3);
    for (size_t i = 0; i < n; i++) {
        size_t which = (first + i * step) % N_IDS; /* some come twice */
        ids[i] = f->ids[which];
        rows[i * DIM] = (float)++f->n_made;
        f->value[which] = f->n_made;
    }
    MODEL_CHECK(vindex_writer_insert(writer, ids, &VINDEX_F32_ROWS(rows, n), VINDEX_UPSERT) ==
                VINDEX_OK);
}

static void remove_some(struct fixture *f, vindex_writer *writer)
{
    size_t at = below(f, N_IDS), n = 1 + below(f, 20), n_removed = 0, n_there = 0;
    int64_t ids[20];
    for (size_t i = 0; i < n; i++) {
        size_t which = (at + i) % N_IDS;
        ids[i] = f->ids[which];
        n_there += f->value[which] != 0;
        f->value[which] = 0;
    }
    MODEL_CHECK(vindex_writer_remove(writer, ids, n, &n_removed) == VINDEX_OK);
    MODEL_CHECK(n_removed == n_there);
}

static void transaction(struct fixture *f)
{
    vindex_writer *writer = NULL;
    memcpy(f->stays, f->value, sizeof f->value);
    MODEL_CHECK(vindex_writer_begin(f->index, &writer) == VINDEX_OK);
    for (size_t i = 0, n = 1 + below(f, 6); i < n; i++) {
        size_t what = below(f, 12), which = below(f, N_IDS);
        int exists = 0;
        if (what < 5) insert(f, writer);
        if (what >= 5 && what < 8) insert_together(f, writer);
        if (what >= 8 && what < 11) remove_some(f, writer);
        if (what == 11 && below(f, 4) == 0) {
            MODEL_CHECK(vindex_writer_remove_all(writer) == VINDEX_OK);
            memset(f->value, 0, sizeof f->value);
        }
        MODEL_CHECK(vindex_writer_exists(writer, f->ids[which], &exists) == VINDEX_OK);
        MODEL_CHECK(exists == (f->value[which] != 0));
    }
    if (below(f, 6) == 0) {
        vindex_writer_abort(writer);
        memcpy(f->value, f->stays, sizeof f->value);
    } else {
        MODEL_CHECK(vindex_writer_commit(writer) == VINDEX_OK);
    }
}

/* Rows of even places, by a filter of ids. */
static void check_search(struct fixture *f, vindex_searcher *searcher, bool is_filtered)
{
    float query[DIM] = {0, 0};
    int64_t even[N_IDS];
    vindex_hit hits[N_IDS + 1];
    vindex_filter filter = {.kind = VINDEX_FILTER_IDS, .ids = even, .n = 0};
    vindex_search_options options = VINDEX_SEARCH_OPTIONS_INIT;
    size_t n = 0;
    for (size_t i = 0; i < N_IDS; i += 2)
        even[filter.n++] = f->ids[i];
    options.recall = 1;
    if (is_filtered) options.filter = &filter;
    MODEL_CHECK(vindex_search(searcher, &VINDEX_F32_ROWS(query, 1), N_IDS + 1, &options, hits) ==
                VINDEX_OK);
    for (size_t i = 0; i < N_IDS; i++) {
        size_t at = 0;
        if (!f->value[i] || (is_filtered && i % 2)) continue;
        while (at <= N_IDS && hits[at].id != f->ids[i])
            at++;
        MODEL_CHECK(at <= N_IDS && hits[at].score == (float)f->value[i]);
        n++;
    }
    MODEL_CHECK(hits[n].id == VINDEX_ID_NONE && (n == 0 || hits[n - 1].id != VINDEX_ID_NONE));
}

static void check_all(struct fixture *f)
{
    vindex_searcher *searcher = NULL;
    float rows[N_IDS * DIM];
    uint8_t found[N_IDS];
    MODEL_CHECK(vindex_searcher_open(f->index, &searcher) == VINDEX_OK);
    check_search(f, searcher, false);
    check_search(f, searcher, true);
    MODEL_CHECK(vindex_fetch(searcher, f->ids, N_IDS, rows, found) == VINDEX_OK);
    for (size_t i = 0; i < N_IDS; i++) {
        MODEL_CHECK(found[i] == (f->value[i] != 0));
        MODEL_CHECK(rows[i * DIM] == (float)f->value[i]);
    }
    vindex_searcher_close(searcher);
    MODEL_CHECK(vindex_check(f->index, NULL, NULL) == VINDEX_OK);
}

static void run(const char *path, uint64_t seed, int n_transactions)
{
    struct fixture f;
    open_fixture(&f, path, seed);
    for (int i = 0; i < n_transactions; i++) {
        size_t what = below(&f, 12);
        transaction(&f);
        if (what < 2)
            MODEL_CHECK(vindex_optimize(f.index, what ? VINDEX_OPTIMIZE_ALL : 0, NULL, NULL) ==
                        VINDEX_OK);
        if (what == 2 && path) {
            vindex_close(f.index);
            MODEL_CHECK(vindex_open(path, 0, &f.index) == VINDEX_OK);
        }
        check_all(&f);
    }
    vindex_close(f.index);
}

static void rows_at_the_ends_of_their_ids(void **state)
{
    uint64_t seed = test_seed();
    (void)state;
    for (uint64_t i = 0; i < 15; i++)
        run(NULL, seed + i, 60);
}

static void in_a_file_too(void **state)
{
    uint64_t seed = test_seed();
    char path[256];
    (void)state;
    for (uint64_t i = 0; i < 3; i++) {
        model_path(path, sizeof path, "far-ids");
        run(path, seed + i, 25);
        model_unlink(path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_at_the_ends_of_their_ids),
        cmocka_unit_test(in_a_file_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
