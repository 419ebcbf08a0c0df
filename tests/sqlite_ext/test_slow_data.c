/*
 * test_slow_data.c - on real embeddings every form of a question at recall 1 gives the C API's hits and scores, bit for
 * bit, and costs little more. The tables are optimized: where that made codes, their scan is what is proven exact.
 *
 * VINDEX_TEST_DATA names the folder of the data sets (default: ../shared/data beside the checkout); where it is missing
 * the test is skipped. VINDEX_TEST_QUERIES limits the queries of each set (default 300).
 *
 * With VINDEX_TEST_ANSWERS=FOLDER nothing is compared here: for hosts.py each set's database, queries and the C
 * API's hits (of an index without codes) are written there, as NAME-TYPE.db, .queries (rows) and .hits (i64 id, f32 score; 10 a query).
 */
#include <string.h>
#include <unistd.h>

#include "common/cmocka.h"

#include "base/threads.h"
#include "helper_sql.h"
#include "vindex.h"

struct set {
    const char *name, *base, *queries, *metric_name;
    vindex_metric metric;
    vindex_type type;
};

static const struct set sets[] = {
    {"bright-bge-1024", "base.fvecs", "queries.fvecs", "cosine", VINDEX_COSINE, VINDEX_FLOAT},
    {"w2v-gnews-300", "base.fvecs", "queries.fvecs", "ip", VINDEX_IP, VINDEX_FLOAT},
    {"photo-sift-128", "base.bvecs", "queries.bvecs", "l2", VINDEX_L2, VINDEX_UINT8},
    {"photo-sift-128", "base.bvecs", "queries.bvecs", "l2", VINDEX_L2, VINDEX_FLOAT},
};

struct rows {
    unsigned char *data; /* dense */
    size_t n, row_bytes;
    uint32_t dim;
};

/* .fvecs and .bvecs: each row is its dim, then that many elements. Bytes become floats where floats are wanted. */
static bool read_rows(const char *folder, const struct set *set, const char *file,
                      struct rows *rows)
{
    char command[2048];
    snprintf(command, sizeof command, "cd '%s/%s' && { cat %s || gzip -dc %s.gz; } 2> /dev/null",
             folder, set->name, file, file);
    FILE *f = popen(command, "r");
    if (!f) return false;
    bool are_bytes = strstr(file, ".bvecs") != NULL;
    uint32_t dim = 0;
    size_t capacity = 0;
    memset(rows, 0, sizeof *rows);
    while (fread(&dim, 4, 1, f) == 1 && dim > 0 && dim <= 4096) {
        unsigned char element[4 * 4096];
        rows->dim = dim;
        rows->row_bytes = vindex_row_bytes(set->type, dim);
        if (rows->n == capacity) {
            capacity = capacity ? 2 * capacity : 1024;
            rows->data = realloc(rows->data, capacity * rows->row_bytes);
        }
        if (fread(element, are_bytes ? 1 : 4, dim, f) != dim) break;
        unsigned char *to = rows->data + rows->n++ * rows->row_bytes;
        if (are_bytes && set->type == VINDEX_FLOAT)
            for (uint32_t i = 0; i < dim; i++) {
                float value = (float)element[i];
                memcpy(to + 4 * (size_t)i, &value, 4);
            }
        else
            memcpy(to, element, rows->row_bytes);
    }
    pclose(f);
    return rows->n > 0;
}

static vindex *build_index(const struct set *set, const struct rows *base)
{
    vindex_create_options options = VINDEX_CREATE_OPTIONS_INIT;
    vindex *index = NULL;
    vindex_writer *writer = NULL;
    vindex_vectors vectors = {.data = base->data, .n = base->n, .type = set->type};
    options.dim = base->dim;
    options.type = set->type;
    options.metric = set->metric;
    assert_int_equal(vindex_create(":memory:", &options, &index), VINDEX_OK);
    assert_int_equal(vindex_writer_begin(index, &writer), VINDEX_OK);
    assert_int_equal(vindex_writer_insert(writer, NULL, &vectors, 0), VINDEX_OK);
    assert_int_equal(vindex_writer_commit(writer), VINDEX_OK);
    return index;
}

static sqlite3 *build_table(const struct set *set, const struct rows *base)
{
    sqlite3 *db = sql_open();
    sqlite3_stmt *insert = NULL;
    char *sql = sqlite3_mprintf("CREATE VIRTUAL TABLE docs USING vindex(v %s[%u] metric=%s); BEGIN",
                                vindex_type_name(set->type), base->dim, set->metric_name);
    sql_must(db, sql);
    sqlite3_free(sql);
    assert_int_equal(
        sqlite3_prepare_v2(db, "INSERT INTO docs(rowid, v) VALUES(?, ?)", -1, &insert, NULL), 0);
    for (size_t i = 0; i < base->n; i++) {
        sqlite3_bind_int64(insert, 1, (sqlite3_int64)i);
        sqlite3_bind_blob(insert, 2, base->data + i * base->row_bytes, (int)base->row_bytes,
                          SQLITE_STATIC);
        assert_int_equal(sqlite3_step(insert), SQLITE_DONE);
        sqlite3_reset(insert);
    }
    sqlite3_finalize(insert);
    sql_must(db, "COMMIT; INSERT INTO docs(docs) VALUES('optimize')");
    return db;
}

enum { K = 10, N_FORMS = 3 };
static const char *const forms[N_FORMS] = {
    "SELECT rowid, score FROM docs WHERE v MATCH ? AND k = 10 AND recall = 1",
    "SELECT rowid, score FROM docs WHERE query = ? AND recall = 1 ORDER BY score LIMIT 10",
    "SELECT rowid, score FROM docs(?, 10, 1)",
};

static const vindex_search_options exact = {.struct_size = sizeof exact, .recall = 1};

static int64_t compare(sqlite3_stmt *statement, const void *query, size_t bytes,
                       const vindex_hit *hits)
{
    int64_t start = vindex__now_ns();
    sqlite3_bind_blob(statement, 1, query, (int)bytes, SQLITE_STATIC);
    for (int i = 0; i < K; i++) {
        assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
        double score = sqlite3_column_double(statement, 1), expected = (double)hits[i].score;
        if (sqlite3_column_int64(statement, 0) != hits[i].id || memcmp(&score, &expected, 8) != 0)
            fail_msg("hit %d is %lld at %.9g, the C API says %lld at %.9g", i,
                     sqlite3_column_int64(statement, 0), score, (long long)hits[i].id, expected);
    }
    assert_int_equal(sqlite3_step(statement), SQLITE_DONE);
    sqlite3_reset(statement);
    return vindex__now_ns() - start;
}

static int compare_times(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* ---- for other hosts ----------------------------------------------------------------------------- */

static FILE *create(const char *folder, const struct set *set, const char *ending)
{
    char *path =
        sqlite3_mprintf("%s/%s-%s.%s", folder, set->name, vindex_type_name(set->type), ending);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    sqlite3_free(path);
    return file;
}

static void write_hits(FILE *file, vindex_searcher *searcher, const struct set *set,
                       const struct rows *queries, size_t n)
{
    enum { BATCH = 250 };
    static vindex_hit hits[BATCH * K];
    for (size_t at = 0; at < n; at += BATCH) {
        size_t m = n - at < BATCH ? n - at : BATCH;
        vindex_vectors vectors = {
            .data = queries->data + at * queries->row_bytes, .n = m, .type = set->type};
        assert_int_equal(vindex_search(searcher, &vectors, K, &exact, hits), VINDEX_OK);
        for (size_t i = 0; i < m * K; i++) {
            assert_int_equal(fwrite(&hits[i].id, 8, 1, file), 1);
            assert_int_equal(fwrite(&hits[i].score, 4, 1, file), 1);
        }
    }
}

static void write_answers(const char *folder, const struct set *set, vindex_searcher *searcher,
                          sqlite3 *db, const struct rows *queries, size_t n)
{
    FILE *file = create(folder, set, "hits");
    write_hits(file, searcher, set, queries, n);
    assert_int_equal(fclose(file), 0);
    file = create(folder, set, "queries");
    assert_int_equal(fwrite(queries->data, queries->row_bytes, n, file), n);
    assert_int_equal(fclose(file), 0);
    char *sql = sqlite3_mprintf("VACUUM INTO '%q/%q-%q.db'", folder, set->name,
                                vindex_type_name(set->type));
    sql_must(db, sql);
    sqlite3_free(sql);
}

/* ---- in this process ----------------------------------------------------------------------------- */

static void compare_all(const struct set *set, vindex_searcher *searcher, sqlite3 *db,
                        const struct rows *base, const struct rows *queries, size_t n)
{
    sqlite3_stmt *statements[N_FORMS];
    vindex_hit hits[K];
    int64_t *times[1 + N_FORMS];
    for (int f = 0; f < N_FORMS; f++)
        assert_int_equal(sqlite3_prepare_v2(db, forms[f], -1, &statements[f], NULL), SQLITE_OK);
    for (int f = 0; f <= N_FORMS; f++)
        times[f] = malloc(n * sizeof **times);
    for (size_t i = 0; i < n; i++) {
        const unsigned char *query = queries->data + i * queries->row_bytes;
        vindex_vectors vectors = {.data = query, .n = 1, .type = set->type};
        /* The first call warms the caches for all that follow. */
        assert_int_equal(vindex_search(searcher, &vectors, K, &exact, hits), VINDEX_OK);
        int64_t start = vindex__now_ns();
        assert_int_equal(vindex_search(searcher, &vectors, K, &exact, hits), VINDEX_OK);
        times[N_FORMS][i] = vindex__now_ns() - start;
        for (int f = 0; f < N_FORMS; f++)
            times[f][i] = compare(statements[f], query, queries->row_bytes, hits);
    }
    for (int f = 0; f <= N_FORMS; f++)
        qsort(times[f], n, sizeof **times, compare_times);
    printf("%s %s: %zu rows, %zu queries equal; median us: C %.1f, MATCH and k %.1f, query = %.1f, "
           "docs(?, 10) %.1f\n",
           set->name, vindex_type_name(set->type), base->n, n, (double)times[N_FORMS][n / 2] / 1000,
           (double)times[0][n / 2] / 1000, (double)times[1][n / 2] / 1000,
           (double)times[2][n / 2] / 1000);
    for (int f = 0; f <= N_FORMS; f++)
        free(times[f]);
    for (int f = 0; f < N_FORMS; f++)
        sqlite3_finalize(statements[f]);
}

static int n_tried;

static void run_set(const char *folder, const struct set *set, size_t limit)
{
    struct rows base, queries;
    vindex_searcher *searcher = NULL;
    const char *answers = getenv("VINDEX_TEST_ANSWERS");
    if (!read_rows(folder, set, set->base, &base) ||
        !read_rows(folder, set, set->queries, &queries)) {
        printf("%s is not there: not tried\n", set->name);
        return;
    }
    n_tried++;
    vindex *index = build_index(set, &base);
    sqlite3 *db = build_table(set, &base);
    size_t n = queries.n < limit ? queries.n : limit;
    assert_int_equal(vindex_searcher_open(index, &searcher), VINDEX_OK);
    if (!answers) assert_int_equal(vindex_optimize(index, 0, NULL, NULL), VINDEX_OK);
    if (answers)
        write_answers(answers, set, searcher, db, &queries, n);
    else
        compare_all(set, searcher, db, &base, &queries, n);
    vindex_searcher_close(searcher);
    vindex_close(index);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    free(base.data);
    free(queries.data);
}

static const char *data_folder(void)
{
    const char *given = getenv("VINDEX_TEST_DATA");
    return given && *given ? given : VINDEX_SOURCE_DIR "/../shared/data";
}

static void test_sets(void **state)
{
    const char *folder = data_folder(), *given = getenv("VINDEX_TEST_QUERIES");
    size_t limit = given ? strtoul(given, NULL, 10) : 300;
    (void)state;
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        run_set(folder, &sets[i], limit);
    assert_true(n_tried > 0); /* the folder named holds none of them */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sets),
    };
    if (access(data_folder(), R_OK) != 0) {
        printf("skipped: no data sets in %s\n", data_folder());
        return 77;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
