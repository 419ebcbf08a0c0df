/*
 * test_recall.c - recall targets in SQL over a table large enough for codes: what 'optimize' and 'calibrate' leave, what
 * a rollback takes back, that a SELECT writes nothing, and that a stream whose first batches miss rows loses none.
 */
#include "common/cmocka.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/random.h"
#include "helper_sql.h"

enum { DIM = 32, N_ROWS = 31000, N_QUERIES = 400, N_CLUSTERS = 200 };
enum { ENOUGH = 150 }; /* queries prove 0.95 */

static struct rng rng;
static float *queries;
static sqlite3 *bare, *optimized, *calibrated; /* made once and copied */

/* ---- data ---------------------------------------------------------------------------------------- */

static float normal(void)
{
    double u = 1 - vindex__rng_unit(&rng), v = vindex__rng_unit(&rng);
    return (float)(sqrt(-2 * log(u)) * cos(2 * acos(-1) * v));
}

/* Clusters whose spread falls from axis to axis, as real embeddings' does. */
static void draw(const float *centres, float *out)
{
    const float *centre = centres + vindex__rng_below(&rng, N_CLUSTERS) * DIM;
    for (int j = 0; j < DIM; j++)
        out[j] = centre[j] + normal() / (1 + 0.15F * (float)j);
}

static void fill(sqlite3 *db, const float *centres)
{
    sqlite3_stmt *insert = NULL;
    float row[DIM];
    sql_must(db, "CREATE VIRTUAL TABLE docs USING vindex(v FLOAT[32], m INTEGER); BEGIN");
    assert_int_equal(
        sqlite3_prepare_v2(db, "INSERT INTO docs(rowid, v, m) VALUES(?1, ?2, ?1 % 10)", -1, &insert,
                           NULL),
        SQLITE_OK);
    for (int i = 0; i < N_ROWS; i++) {
        draw(centres, row);
        sqlite3_bind_int(insert, 1, i + 1);
        sqlite3_bind_blob(insert, 2, row, sizeof row, SQLITE_STATIC);
        assert_int_equal(sqlite3_step(insert), SQLITE_DONE);
        sqlite3_reset(insert);
    }
    sqlite3_finalize(insert);
    sql_must(db, "COMMIT");
}

static int run_with(sqlite3 *db, const char *sql, const void *blob, int size)
{
    sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
    if (rc == SQLITE_OK) rc = sqlite3_bind_blob(statement, 1, blob, size, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        while ((rc = sqlite3_step(statement)) == SQLITE_ROW)
            ;
    sqlite3_finalize(statement);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static void calibrate(sqlite3 *db, int n)
{
    int rc = run_with(db, "INSERT INTO docs(docs, arg) VALUES('calibrate', ?1)", queries,
                      n * DIM * (int)sizeof *queries);
    if (rc != SQLITE_OK) fail_msg("calibrate: %s (%d)", sqlite3_errmsg(db), rc);
}

static int setup_data(void **state)
{
    float *centres = malloc(N_CLUSTERS * DIM * sizeof *centres);
    (void)state;
    vindex__rng_init(&rng, test_seed());
    for (int i = 0; i < N_CLUSTERS * DIM; i++)
        centres[i] = 2 * normal() / (1 + 0.15F * (float)(i % DIM));
    queries = malloc(N_QUERIES * DIM * sizeof *queries);
    for (int i = 0; i < N_QUERIES; i++)
        draw(centres, queries + i * DIM);
    bare = sql_open();
    fill(bare, centres);
    free(centres);
    optimized = sql_open();
    sql_copy(bare, optimized);
    sql_must(optimized, "INSERT INTO docs(docs) VALUES('optimize')");
    calibrated = sql_open();
    sql_copy(optimized, calibrated);
    calibrate(calibrated, N_QUERIES);
    return 0;
}

static int free_data(void **state)
{
    (void)state;
    sqlite3_close(bare);
    sqlite3_close(optimized);
    sqlite3_close(calibrated);
    free(queries);
    return 0;
}

static sqlite3 *copy_of(sqlite3 *from)
{
    sqlite3 *db = sql_open();
    sql_copy(from, db);
    return db;
}

/* ---- facts --------------------------------------------------------------------------------------- */

static void assert_rows(sqlite3 *db, const char *sql, const char *expected)
{
    char *text = sql_text(db, sql);
    if (strcmp(text, expected) != 0) fail_msg("%s gives\n%sand not\n%s", sql, text, expected);
    sqlite3_free(text);
}

/* vindex_stats or vindex_plan of docs; "" if there is no such fact. */
static void read_fact(sqlite3 *db, const char *function, const char *name, char out[160])
{
    char *sql = sqlite3_mprintf("SELECT value FROM %s('docs') WHERE name = %Q", function, name);
    char *text = sql_text(db, sql);
    sqlite3_snprintf(160, out, "%s", text);
    out[strcspn(out, "\n")] = 0;
    sqlite3_free(text);
    sqlite3_free(sql);
}

static double number(sqlite3 *db, const char *function, const char *name)
{
    char text[160];
    read_fact(db, function, name, text);
    return strtod(text, NULL);
}

static void assert_fact(sqlite3 *db, const char *name, const char *expected)
{
    char text[160];
    read_fact(db, "vindex_plan", name, text);
    if (strcmp(text, expected) != 0) {
        char plan[160];
        read_fact(db, "vindex_plan", "plan", plan);
        fail_msg("%s is '%s', not '%s': %s", name, text, expected, plan);
    }
}

static bool goes_by_codes(sqlite3 *db)
{
    char text[160];
    read_fact(db, "vindex_plan", "plan", text);
    return strstr(text, ": c4 of ") != NULL;
}

/* The 10 nearest of query q, by these terms. */
static int ask(sqlite3 *db, int q, const char *terms, sqlite3_int64 ids[10])
{
    char *sql = sqlite3_mprintf("SELECT rowid FROM docs(?1) WHERE %s", terms);
    sqlite3_stmt *statement = NULL;
    int n = 0;
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    sqlite3_bind_blob(statement, 1, queries + q % N_QUERIES * DIM, DIM * sizeof *queries,
                      SQLITE_STATIC);
    while (sqlite3_step(statement) == SQLITE_ROW && n < 10)
        ids[n++] = sqlite3_column_int64(statement, 0);
    assert_int_equal(sqlite3_finalize(statement), SQLITE_OK);
    sqlite3_free(sql);
    return n;
}

static void ask_many(sqlite3 *db, int n)
{
    sqlite3_int64 ids[10];
    for (int q = 0; q < n; q++)
        assert_int_equal(ask(db, q, "k = 10 AND recall = 0.95", ids), 10);
}

static double measure(sqlite3 *db, const char *terms)
{
    int n_found = 0;
    for (int q = 0; q < 200; q++) {
        sqlite3_int64 got[10], truth[10];
        assert_int_equal(ask(db, q, terms, got), 10);
        assert_int_equal(ask(db, q, "k = 10 AND recall = 1", truth), 10);
        for (int i = 0; i < 10; i++)
            for (int j = 0; j < 10; j++)
                n_found += got[i] == truth[j];
    }
    return n_found / 2000.0;
}

/* ---- commands ------------------------------------------------------------------------------------ */

static void test_optimize(void **state)
{
    sqlite3 *db = copy_of(bare);
    sqlite3_int64 ids[10];
    (void)state;
    assert_int_equal(ask(db, 0, "k = 10", ids), 10);
    assert_fact(db, "state", "exact");
    assert_true(number(db, "vindex_stats", "n_coded") == 0);
    assert_true(number(db, "vindex_stats", "n_audits") == 0);
    calibrate(db, N_QUERIES); /* nothing to be learnt */
    assert_true(number(db, "vindex_stats", "n_audits") == 0);
    sqlite3_close(db);

    db = copy_of(optimized);
    assert_true(number(db, "vindex_stats", "c4_axes") > 0);
    assert_true(number(db, "vindex_stats", "n_coded") == N_ROWS);
    assert_true(number(db, "vindex_stats", "codes_bytes") > 0);
    assert_true(number(db, "vindex_stats", "n_audits") >= 1000);
    ask_many(db, 1);
    assert_fact(db, "state", "exact"); /* the cold start */
    ask_many(db, 40);
    assert_fact(db, "state", "assumed");
    assert_fact(db, "basis", "rows");
    assert_true(goes_by_codes(db));
    sql_must(db, "INSERT INTO docs(docs) VALUES('integrity-check')");
    sqlite3_close(db);
}

static void test_calibrate(void **state)
{
    sqlite3 *db = copy_of(calibrated);
    sqlite3_int64 ids[10];
    (void)state;
    ask_many(db, 1);
    assert_fact(db, "state", "proven");
    assert_fact(db, "basis", "queries");
    assert_true(goes_by_codes(db));
    assert_true(fabs(number(db, "vindex_plan", "target") - 0.95) < 1e-6);
    assert_true(number(db, "vindex_plan", "bound") >= 0.95);
    assert_true(number(db, "vindex_plan", "effort") >= 10);
    assert_true(number(db, "vindex_plan", "n_audits") >= N_QUERIES);
    assert_true(measure(db, "k = 10 AND recall = 0.95") >= 0.94);

    assert_int_equal(ask(db, 0, "k = 10", ids), 10); /* the default */
    assert_true(fabs(number(db, "vindex_plan", "target") - 0.99) < 1e-6);
    assert_int_equal(ask(db, 0, "k = 10 AND recall = 1", ids), 10);
    assert_fact(db, "state", "exact");
    assert_false(goes_by_codes(db));
    sqlite3_close(db);
}

static void assert_fails(sqlite3 *db, const char *sql, const char *part)
{
    int rc = sql_run(db, sql, NULL);
    if (rc != SQLITE_ERROR || !strstr(sqlite3_errmsg(db), part))
        fail_msg("%s: %s (%d), expected ...%s...", sql, sqlite3_errmsg(db), rc, part);
}

static void test_samples_refused(void **state)
{
    static const struct {
        const char *command, *arg, *message;
    } cases[] = {
        {"calibrate", "NULL", "at least one vector"},
        {"calibrate", "5", "at least one vector"},
        {"calibrate", "x''", "at least one vector"},
        {"calibrate", "'[]'", "at least one vector"},
        {"calibrate", "'[1, 2]'", "row 0 of the sample: a: the text is not"},
        {"calibrate", "'[[1, 2], [3]]'", "row 1 of the sample: a: 2 numbers are needed, 1"},
        {"calibrate", "'[[1, 2], [3, 4, 5]]'", "row 1 of the sample: a: 2 numbers are needed, more"},
        {"calibrate", "'[[1, 2], [3, 4]'", "not a JSON array of arrays"},
        {"calibrate", "'[[1, 2], [3, 4]] x'", "not a JSON array of arrays"},
        {"calibrate", "'[[1, 2],]'", "row 1 of the sample"},
        {"calibrate", "x'00000000'", "no whole number"},
        {"calibrate", "x'000000000000c07f'", "row 0 of the sample: a: element 1 is not"},
        {"calibrate b", "x'0001000200'", "no whole number"},
        {"calibrate b", "'[[1, 2], [1, 200]]'", "-128 to 127"},
        {"calibrate c FLOAT16", "x'0000007c'", "row 0 of the sample: c: element 1"},
        {"calibrate d", "'[[1, 1]]'", "calibrate 'd'"},
        {"calibrate b UINT8", "x'0001'", "calibrate 'UINT8'"},
        {"calibrates", "NULL", "there are optimize, calibrate"},
        {"optimize", "'[[1, 1]]'", "'calibrate' and 'device'"},
    };
    static const char *const taken[][2] = {
        {"calibrate", "'[[1, 2], [3, 4]]'"},    {"calibrate", "x'0000803f00000040'"},
        {"calibrate a", "'[[1, 2]]'"},          {"calibrate b", "x'01020304'"},
        {"calibrate b FLOAT", "x'0000803f00000040'"}, {"calibrate c", "x'00000000'"},
        {"calibrate c FLOAT", "x'0000803f00000040'"}, {"CALIBRATE  c  float16", "x'00000000'"},
    };
    sqlite3 *db = sql_open();
    (void)state;
    sql_must(db, "CREATE VIRTUAL TABLE t USING vindex(a FLOAT[2], b INT8[2], c FLOAT16[2]);"
                 "INSERT INTO t(a, b, c) VALUES('[1,1]', '[1,1]', '[1,1]')");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *sql = sqlite3_mprintf("INSERT INTO t(t, arg) VALUES(%Q, %s)", cases[i].command,
                                    cases[i].arg);
        assert_fails(db, sql, cases[i].message);
        sqlite3_free(sql);
    }
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) {
        char *sql =
            sqlite3_mprintf("INSERT INTO t(t, arg) VALUES(%Q, %s)", taken[i][0], taken[i][1]);
        sql_must(db, sql);
        sqlite3_free(sql);
    }
    assert_rows(db, "SELECT rowid FROM t('[1,1]')", "1\n");
    sqlite3_close(db);
}

/* The sample may be JSON, and belong to any column. */
static void test_sample_forms(void **state)
{
    sqlite3 *db = copy_of(optimized);
    (void)state;
    double before = number(db, "vindex_stats", "n_audits");
    sql_must(db, "INSERT INTO docs(docs, arg) SELECT 'calibrate V', json_group_array(json("
                 "vindex_to_json(v))) FROM docs WHERE rowid <= 350");
    assert_true(number(db, "vindex_stats", "n_audits") == before + 350);
    ask_many(db, 1);
    assert_fact(db, "state", "proven");
    sqlite3_close(db);
}

/* ---- transactions -------------------------------------------------------------------------------- */

/* Everything the shadow tables of the vector column hold. */
static char *shadow_picture(sqlite3 *db)
{
    return sql_text(db, "SELECT k, hex(v) FROM docs_config ORDER BY 1;"
                        "SELECT seq, hex(v) FROM docs_segments0 ORDER BY 1;"
                        "SELECT seq, hex(v) FROM docs_codes0 ORDER BY 1;"
                        "SELECT hex(nonce), plane, part, length(v) FROM docs_blocks0 ORDER BY 1, 2, 3;"
                        "SELECT count(*) FROM docs_rows");
}

static const struct {
    const char *name, *begin, *undo, *end;
} undone[] = {
    {"a transaction", "BEGIN", "ROLLBACK", ""},
    {"a savepoint", "BEGIN; SAVEPOINT a", "ROLLBACK TO a", "COMMIT"},
    {"an outer savepoint", "SAVEPOINT a; SAVEPOINT b", "ROLLBACK TO a", "RELEASE a"},
};
enum { N_UNDONE = sizeof undone / sizeof *undone };

static void assert_no_codes(sqlite3 *db)
{
    assert_true(number(db, "vindex_stats", "c4_axes") == 0);
    assert_true(number(db, "vindex_stats", "n_coded") == 0);
    assert_true(number(db, "vindex_stats", "n_audits") == 0);
    ask_many(db, 1);
    assert_fact(db, "state", "exact");
}

/* Back to a savepoint, then the transaction too. */
static void test_optimize_undone(void **state)
{
    sqlite3 *db = copy_of(bare);
    char *before = shadow_picture(db);
    (void)state;
    sql_must(db, "BEGIN; SAVEPOINT a; INSERT INTO docs(docs) VALUES('optimize')");
    calibrate(db, ENOUGH);
    ask_many(db, 1);
    assert_fact(db, "state", "proven");
    sql_must(db, "ROLLBACK TO a");
    assert_no_codes(db);
    sql_must(db, "ROLLBACK");
    assert_no_codes(db);
    char *after = shadow_picture(db);
    assert_string_equal(after, before);
    sqlite3_free(before);
    sqlite3_free(after);
    sqlite3_close(db);
}

static void test_calibrate_undone(void **state)
{
    (void)state;
    for (int i = 0; i < N_UNDONE; i++) {
        sqlite3 *db = copy_of(optimized);
        char *before = shadow_picture(db);
        double n_audits = number(db, "vindex_stats", "n_audits");
        sql_must(db, undone[i].begin);
        calibrate(db, ENOUGH);
        ask_many(db, 1);
        assert_fact(db, "state", "proven");
        sql_must(db, undone[i].undo);
        assert_true(number(db, "vindex_stats", "n_audits") == n_audits);
        ask_many(db, 1);
        assert_fact(db, "state", "exact"); /* cold again */
        sql_must(db, undone[i].end);
        char *after = shadow_picture(db);
        assert_string_equal(after, before);
        /* No query of the sample is kept either: nothing but rows is asked again. */
        if (i == 0) sql_must(db, "INSERT INTO docs(docs) VALUES('rebuild')");
        assert_true(number(db, "vindex_stats", "n_audits") < n_audits + ENOUGH / 2);
        sqlite3_free(before);
        sqlite3_free(after);
        sqlite3_close(db);
    }
}

/* What was learnt before a transaction stays; what was learnt of rows that were rolled back goes. */
static void test_live_audits(void **state)
{
    sqlite3 *db = copy_of(optimized);
    (void)state;
    double stored = number(db, "vindex_stats", "n_audits");
    ask_many(db, 40);
    double learnt = number(db, "vindex_stats", "n_audits");
    assert_true(learnt >= stored + 32);
    sql_must(db, "BEGIN; UPDATE docs SET m = 5 WHERE rowid = 1; ROLLBACK");
    assert_true(number(db, "vindex_stats", "n_audits") == learnt);
    assert_int_not_equal(sql_run(db, "INSERT INTO docs(rowid) VALUES(1)", NULL), SQLITE_OK);
    assert_true(number(db, "vindex_stats", "n_audits") == learnt);

    sql_must(db, "BEGIN; DELETE FROM docs WHERE rowid = 1");
    ask_many(db, 20);
    sql_must(db, "ROLLBACK");
    assert_true(number(db, "vindex_stats", "n_audits") == stored);
    ask_many(db, 1);
    assert_fact(db, "state", "exact");
    sqlite3_close(db);
}

static void remove_database(const char *path)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
    char name[96];
    for (int i = 0; i < 4; i++) {
        sqlite3_snprintf(sizeof name, name, "%s%s", path, suffixes[i]);
        unlink(name);
    }
}

static sqlite3 *open_file(const char *path, int flags)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open_v2(path, &db, flags, NULL), SQLITE_OK);
    return db;
}

static void test_two_connections(void **state)
{
    char path[64];
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    (void)state;
    sqlite3_snprintf(sizeof path, path, "/tmp/vindex-recall-%ld.db", (long)getpid());
    remove_database(path);
    sqlite3 *one = open_file(path, flags);
    sql_copy(optimized, one);
    sql_must(one, "PRAGMA journal_mode = WAL");
    sqlite3 *two = open_file(path, flags);
    ask_many(two, 1);
    assert_fact(two, "state", "exact");

    sql_must(two, "BEGIN");
    ask_many(two, 1);
    calibrate(one, ENOUGH);
    ask_many(two, 1); /* its snapshot is older */
    assert_fact(two, "state", "exact");
    sql_must(two, "COMMIT");
    ask_many(two, 1);
    assert_fact(two, "state", "proven");

    /* A model that another connection replaced and removed rows from. */
    sql_must(one, "DELETE FROM docs WHERE rowid % 100 = 0; INSERT INTO docs(docs) VALUES('rebuild')");
    assert_true(measure(two, "k = 10 AND recall = 0.95") >= 0.94);
    sqlite3_close(two);
    sqlite3_close(one);
    remove_database(path);
}

/* Audits of live queries stay in memory: also where nothing can be written. */
static void test_select_writes_nothing(void **state)
{
    char path[64];
    (void)state;
    sqlite3_snprintf(sizeof path, path, "/tmp/vindex-recall-%ld.db", (long)getpid());
    remove_database(path);
    sqlite3 *db = open_file(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    sql_copy(optimized, db);
    char *before = shadow_picture(db), *version = sql_text(db, "PRAGMA data_version");
    int n_changes = sqlite3_total_changes(db);
    double n_audits = number(db, "vindex_stats", "n_audits");
    sql_must(db, "PRAGMA query_only = 1");
    ask_many(db, 100);
    assert_true(number(db, "vindex_stats", "n_audits") >= n_audits + 32);
    assert_int_equal(sqlite3_total_changes(db), n_changes);
    char *after = shadow_picture(db);
    assert_string_equal(after, before);

    sqlite3 *reader = open_file(path, SQLITE_OPEN_READONLY);
    ask_many(reader, 100);
    assert_true(goes_by_codes(reader));
    sqlite3_close(reader);
    assert_rows(db, "PRAGMA data_version", version);
    sqlite3_free(before);
    sqlite3_free(after);
    sqlite3_free(version);
    sqlite3_close(db);
    remove_database(path);
}

/* ---- streams ------------------------------------------------------------------------------------- */

enum { FIRST = 64, SECOND = 4 * FIRST };

/* Rows of the exact answer's first 64 that the stream gave later. */
static int late_rows(const sqlite3_int64 *given, const sqlite3_int64 *truth)
{
    int n = FIRST;
    for (int i = 0; i < FIRST; i++)
        for (int j = 0; j < FIRST; j++)
            n -= given[i] == truth[j];
    return n;
}

/*
 * One whole stream: every row once, ascending within each batch and throughout the third. n_coded counts first and second
 * batches that went by codes: nearly all below recall 1, where now and then one is answered exactly to learn from it.
 */
static void read_stream(sqlite3 *db, int q, const char *terms, sqlite3_int64 *ids, int n_coded[2])
{
    static unsigned char seen[N_ROWS + 1];
    char *sql = sqlite3_mprintf("SELECT rowid, score FROM docs(?1) %s", terms);
    sqlite3_stmt *statement = NULL;
    double score = 0;
    int n = 0;
    memset(seen, 0, sizeof seen);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    sqlite3_bind_blob(statement, 1, queries + q * DIM, DIM * sizeof *queries, SQLITE_STATIC);
    for (; sqlite3_step(statement) == SQLITE_ROW; n++) {
        sqlite3_int64 id = sqlite3_column_int64(statement, 0);
        assert_in_range(id, 1, N_ROWS);
        assert_int_equal(seen[id]++, 0);
        if (n != 0 && n != FIRST && n != FIRST + SECOND)
            assert_true(sqlite3_column_double(statement, 1) >= score);
        score = sqlite3_column_double(statement, 1);
        if (n < FIRST) ids[n] = id;
        if (n == 0 || n == FIRST) n_coded[n == FIRST] += goes_by_codes(db);
        if (n == FIRST + SECOND) assert_fact(db, "state", "exact");
    }
    assert_int_equal(n, N_ROWS);
    sqlite3_finalize(statement);
    sqlite3_free(sql);
}

static void test_stream(void **state)
{
    sqlite3 *db = copy_of(calibrated);
    sqlite3_int64 given[FIRST], truth[FIRST];
    int n_late = 0, n_coded[2] = {0, 0}, n_coded_exact[2] = {0, 0};
    (void)state;
    for (int q = 0; q < 10; q++) {
        const char *terms = q % 2 ? "WHERE recall = 0.5" : "WHERE recall = 0.5 ORDER BY score";
        read_stream(db, q, terms, given, n_coded);
        read_stream(db, q, "WHERE recall = 1", truth, n_coded_exact);
        n_late += late_rows(given, truth);
    }
    assert_in_range(n_coded[0], 6, 10);
    assert_in_range(n_coded[1], 6, 10);
    assert_true(n_late > 0); /* else nothing was tried here */
    assert_int_equal(n_coded_exact[0] + n_coded_exact[1], 0);
    sqlite3_close(db);
}

/* A row missed before the end that a term on scores sets would be lost. */
static void test_stream_ends(void **state)
{
    static const char *const sums[] = {
        "SELECT count(*), sum(rowid), sum(rowid * rowid % 1009) FROM docs(?1) WHERE score < 3.5",
        "SELECT count(*), sum(rowid), sum(rowid * rowid % 1009) FROM docs(?1) WHERE recall = 1 AND "
        "score < 3.5",
    };
    sqlite3 *db = copy_of(calibrated);
    int n_rows = 0;
    (void)state;
    for (int q = 0; q < 100; q++) {
        sqlite3_int64 got[2][3];
        for (int i = 0; i < 2; i++) {
            sqlite3_stmt *statement = NULL;
            assert_int_equal(sqlite3_prepare_v2(db, sums[i], -1, &statement, NULL), SQLITE_OK);
            sqlite3_bind_blob(statement, 1, queries + q * DIM, DIM * sizeof *queries, SQLITE_STATIC);
            assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
            for (int j = 0; j < 3; j++)
                got[i][j] = sqlite3_column_int64(statement, j);
            sqlite3_finalize(statement);
        }
        assert_memory_equal(got[0], got[1], sizeof got[0]);
        n_rows += (int)got[0][0];
    }
    assert_true(n_rows > 1000);
    sqlite3_close(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_optimize),
        cmocka_unit_test(test_calibrate),
        cmocka_unit_test(test_samples_refused),
        cmocka_unit_test(test_sample_forms),
        cmocka_unit_test(test_optimize_undone),
        cmocka_unit_test(test_calibrate_undone),
        cmocka_unit_test(test_live_audits),
        cmocka_unit_test(test_two_connections),
        cmocka_unit_test(test_select_writes_nothing),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_stream_ends),
    };
    return cmocka_run_group_tests(tests, setup_data, free_data);
}
