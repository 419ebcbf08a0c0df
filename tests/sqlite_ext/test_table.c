/*
 * test_table.c - what the table promises beside rows: errors with remedies, DEFENSIVE, interrupts, cursors that are
 * open while the table changes, attached databases, two vector columns.
 */
#include <string.h>

#include "common/cmocka.h"

#include "helper_sql.h"

static void assert_fails(sqlite3 *db, const char *sql, int code, const char *part)
{
    int rc = sql_run(db, sql, NULL);
    if ((rc & 0xff) != code || (part && !strstr(sqlite3_errmsg(db), part)))
        fail_msg("%s: %s (%d), expected %d, ...%s...", sql, sqlite3_errmsg(db), rc, code,
                 part ? part : "");
}

static void assert_rows(sqlite3 *db, const char *sql, const char *expected)
{
    char *text = sql_text(db, sql);
    assert_string_equal(text, expected);
    sqlite3_free(text);
}

static void test_declarations(void **state)
{
    static const struct {
        const char *arguments, *message;
    } refused[] = {
        {"", "needs a vector column"},
        {"lang TEXT", "needs a vector column"},
        {"v FLOAT[0]", "whole number from 1 to 65520"},
        {"v FLOAT[70000]", "whole number from 1 to 65520"},
        {"v VECTOR[3]", "type 'VECTOR' is unknown"},
        {"v FLOAT[3] metric=euclid", "metric 'euclid' is unknown"},
        {"v FLOAT[3] metric=hamming", "hamming goes with BIT"},
        {"v BIT[8] metric=l2", "hamming goes with BIT"},
        {"v FLOAT[3] probes=3", "option 'probes' is unknown"},
        {"v FLOAT[3] recall=1.5", "(0, 1]"},
        {"v FLOAT[3] seal_rows=0", "from 1 to 16384"},
        {"v FLOAT[3], v TEXT", "declared twice"},
        {"v FLOAT[3], Score REAL", "hidden column"},
        {"v FLOAT[3], rowid INTEGER", "leave this column out"},
        {"v FLOAT[3], t TEXT", "called as the table is"},
        {"v FLOAT[3], x BLOB", "write +x"},
        {"v FLOAT[3], x", "write +x"},
        {"v FLOAT[3], x TEXT NOT NULL", "nothing may follow"},
        {"v FLOAT[3], +w FLOAT[3]", "holds one value"},
        {"v FLOAT[3], storage=sidecar", "not supported"},
        {"v FLOAT[3], pages=5", "table option 'pages' is unknown"},
    };
    sqlite3 *db = sql_open();
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        char *sql =
            sqlite3_mprintf("CREATE VIRTUAL TABLE t USING vindex(%s)", refused[i].arguments);
        assert_fails(db, sql, SQLITE_ERROR, refused[i].message);
        sqlite3_free(sql);
    }
    assert_rows(db, "SELECT count(*) FROM sqlite_schema", "0\n");
    sql_must(db, "CREATE VIRTUAL TABLE t USING vindex(\"a \"\"b\" FLOAT16[3] metric=ip, [c d] TEXT "
                 "COLLATE NOCASE, "
                 "`limit` INT, +e, storage=auto)");
    sql_must(db,
             "INSERT INTO t(\"a \"\"b\", [c d], \"limit\", e) VALUES('[1, 2, 3]', 'X', 5, x'01')");
    assert_rows(db,
                "SELECT rowid, [c d], e, score FROM t('[1,1,1]') WHERE k = 1 AND [c d] = 'x' AND "
                "\"limit\" = '5'",
                "1|X|01|-6.0\n");
    sqlite3_close(db);
}

static void test_questions_refused(void **state)
{
    sqlite3 *db = sql_open();
    (void)state;
    sql_fill(db);
    assert_fails(db, "SELECT k FROM docs", SQLITE_ERROR, "docs.k is an input");
    assert_fails(db, "SELECT rowid FROM docs WHERE k = 3", SQLITE_ERROR, "beside a query");
    assert_fails(db, "SELECT rowid FROM docs('[1,1,1]') WHERE k > 3", SQLITE_ERROR,
                 "docs.k is an input");
    assert_fails(db, "SELECT rowid FROM docs('[1,1,1]') WHERE k = 2.5", SQLITE_ERROR,
                 "whole number");
    assert_fails(db, "SELECT rowid FROM docs('[1,1,1]', -1)", SQLITE_ERROR, "whole number");
    assert_fails(db, "SELECT rowid FROM docs('[1,1,1]', 3, 0)", SQLITE_ERROR, "(0, 1]");
    assert_fails(db, "SELECT rowid FROM docs('[1,1]')", SQLITE_ERROR,
                 "3 numbers are needed, 2 were given");
    assert_fails(db, "SELECT rowid FROM docs(x'00')", SQLITE_ERROR, "12 bytes");
    assert_fails(db, "SELECT rowid FROM docs('[1,1,1e99]')", SQLITE_ERROR, "element 2");
    assert_fails(db, "SELECT rowid FROM docs(5)", SQLITE_ERROR, "not a number");
    assert_fails(db, "SELECT rowid FROM docs WHERE e MATCH '[1,1,1]' AND f MATCH '[1,1]'",
                 SQLITE_ERROR, "one query at a time");
    assert_fails(db, "SELECT rowid FROM docs('[1,1,1]') WHERE query = '[2,2,2]'", SQLITE_ERROR,
                 "one query at a time");
    assert_fails(db, "INSERT INTO docs(score) VALUES(1)", SQLITE_ERROR, "belongs to queries");
    assert_fails(db, "INSERT INTO docs(docs) VALUES('explode')", SQLITE_ERROR, "integrity-check");
    assert_fails(db, "INSERT INTO docs(rowid) VALUES('x')", SQLITE_MISMATCH, "mismatch");
    assert_fails(db, "INSERT INTO docs(rowid) VALUES(-9223372036854775808)", SQLITE_ERROR,
                 "no row");
    assert_fails(db, "INSERT INTO docs(f) VALUES('[1, 200]')", SQLITE_ERROR, "-128 to 127");
    assert_rows(db, "SELECT count(*) FROM docs(NULL)", "0\n");
    assert_rows(db, "SELECT count(*) FROM docs('[1,1,1]', 0)", "0\n");
    assert_rows(db, "SELECT count(*) FROM docs('[1,1,1]', NULL)", "0\n");
    sqlite3_close(db);
}

static void test_two_columns(void **state)
{
    sqlite3 *db = sql_open();
    (void)state;
    sql_must(db,
             "CREATE VIRTUAL TABLE t USING vindex(a FLOAT[2], b BIT[9], c UINT8[2] metric=cosine)");
    sql_must(db, "INSERT INTO t(rowid, a, b, c) VALUES(1, '[0,0]', x'ff01', '[1,0]'), (2, '[1,1]', "
                 "x'0000', '[0,1]')");
    assert_rows(db, "SELECT rowid, score FROM t WHERE b MATCH x'0000'", "2|0.0\n1|9.0\n");
    assert_rows(db, "SELECT rowid, score FROM t WHERE c MATCH '[2,0]'", "1|0.0\n2|1.0\n");
    assert_rows(
        db,
        "SELECT x.rowid, y.rowid FROM t x JOIN t y ON y.rowid = x.rowid WHERE x.a MATCH '[0,0]' "
        "AND y.b MATCH x'0000'",
        "1|1\n2|2\n");
    assert_fails(db, "INSERT INTO t(b) VALUES(x'0080')", SQLITE_ERROR, "bits beyond 9");
    sql_must(db,
             "UPDATE t SET b = NULL WHERE rowid = 2; INSERT INTO t(t) VALUES('integrity-check')");
    assert_rows(db, "SELECT rowid FROM t WHERE b MATCH x'0000'", "1\n");
    sqlite3_close(db);
}

static void test_defensive(void **state)
{
    sqlite3 *db = sql_open();
    (void)state;
    sql_fill(db);
    sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    assert_fails(db, "DELETE FROM docs_blocks0", SQLITE_ERROR, "may not be modified");
    assert_fails(db, "DROP TABLE docs_rows", SQLITE_ERROR, "may not be dropped");
    sql_must(db, "BEGIN; INSERT INTO docs(rowid, e) VALUES(800, '[9,9,9]'); SAVEPOINT a; DELETE "
                 "FROM docs WHERE "
                 "rowid < 30; COMMIT");
    assert_rows(db, "SELECT rowid FROM docs('[9,9,9]', 1)", "800\n");
    sql_must(db, "INSERT INTO docs(docs) VALUES('rebuild'); ALTER TABLE docs RENAME TO papers; "
                 "DROP TABLE papers");
    assert_rows(db, "SELECT count(*) FROM sqlite_schema", "0\n");
    sqlite3_close(db);
}

/* Rows come in batches of 64 and 256, and then all: none twice, none lost, in order. */
static void test_stream(void **state)
{
    sqlite3 *db = sql_open();
    (void)state;
    sql_must(
        db, "CREATE VIRTUAL TABLE t USING vindex(v FLOAT[2] seal_rows=100, m INTEGER); "
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) "
            "INSERT INTO t(rowid, v, m) SELECT i, '[' || (i * 7919 % 1000) || ',0]', i % 2 FROM n");
    assert_rows(
        db,
        "SELECT count(*), count(DISTINCT id), sum(score < before) FROM (SELECT rowid AS id, score, "
        "lag(score) OVER () AS before FROM t('[0,0]'))",
        "1000|1000|0\n");
    assert_rows(db, "SELECT count(*), min(m) FROM (SELECT rowid, m FROM t('[0,0]') WHERE m = 1)",
                "500|1\n");
    assert_rows(db, "SELECT score FROM t('[0,0]') LIMIT 3 OFFSET 500", "500.0\n501.0\n502.0\n");
    sqlite3_close(db);
}

/* A search that is under way gives what it would have given before its connection changed the table. */
static void test_open_cursor(void **state)
{
    sqlite3 *db = sql_open();
    sqlite3_stmt *search = NULL;
    int n = 1;
    (void)state;
    sql_must(db, "CREATE VIRTUAL TABLE t USING vindex(v FLOAT[1]); "
                 "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) "
                 "INSERT INTO t(rowid, v) SELECT i, '[' || i || ']' FROM n");
    sqlite3_prepare_v2(db, "SELECT rowid, score FROM t('[0]')", -1, &search, NULL);
    assert_int_equal(sqlite3_step(search), SQLITE_ROW);
    sql_must(db,
             "DELETE FROM t WHERE rowid > 100; INSERT INTO t(rowid, v) VALUES(9999, '[300.5]')");
    while (sqlite3_step(search) == SQLITE_ROW)
        assert_int_equal(sqlite3_column_int(search, 0), ++n);
    assert_int_equal(n, 500);
    sqlite3_finalize(search);
    assert_rows(db, "SELECT count(*) FROM t('[0]')", "101\n");
    sqlite3_close(db);
}

static int stop(void *calls)
{
    return ++*(int *)calls > 3;
}

static void test_interrupt(void **state)
{
    sqlite3 *db = sql_open();
    int calls = 0;
    (void)state;
    sql_must(db, "CREATE VIRTUAL TABLE t USING vindex(v FLOAT[64]); "
                 "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) "
                 "INSERT INTO t(v) SELECT zeroblob(256) FROM n");
    sqlite3_progress_handler(db, 2, stop, &calls);
    assert_fails(db, "SELECT count(*) FROM t((SELECT zeroblob(256)))", SQLITE_INTERRUPT, NULL);
    sqlite3_progress_handler(db, 0, NULL, NULL);
    assert_rows(db, "SELECT count(*) FROM t(zeroblob(256))", "20000\n");
    sqlite3_close(db);
}

static void test_attached(void **state)
{
    sqlite3 *db = sql_open();
    (void)state;
    sql_must(db, "ATTACH ':memory:' AS other; CREATE VIRTUAL TABLE t USING vindex(v FLOAT[1]); "
                 "CREATE VIRTUAL TABLE other.t USING vindex(v FLOAT[1]); "
                 "INSERT INTO t(v) VALUES('[1]'); INSERT INTO other.t(rowid, v) VALUES(7, '[1]'), "
                 "(8, '[2]')");
    assert_rows(db, "SELECT rowid FROM main.t('[1]'); SELECT rowid FROM other.t('[1]')",
                "1\n7\n8\n");
    assert_rows(db, "SELECT value FROM vindex_stats('t', 'other') WHERE name = 'n_rows'", "2\n");
    sql_must(db, "DROP TABLE other.t");
    assert_rows(db, "SELECT count(*) FROM t('[1]')", "1\n");
    sqlite3_close(db);
}

/* A config record that changes under an open index is damage, not a new shape. */
static void test_config_is_pinned(void **state)
{
    sqlite3 *db = sql_open();
    (void)state;
    sql_must(db, "CREATE VIRTUAL TABLE a USING vindex(v FLOAT[2]); CREATE VIRTUAL TABLE b USING "
                 "vindex(v FLOAT[200]); "
                 "INSERT INTO a(v) VALUES('[1,1]')");
    assert_rows(db, "SELECT count(*) FROM a('[1,1]')", "1\n");
    sql_must(
        db,
        "UPDATE a_config SET v = (SELECT v FROM b_config WHERE k = 'config_0') WHERE k = "
        "'config_0'; "
        "UPDATE a_config SET v = (SELECT v FROM b_config WHERE k = 'state_0') WHERE k = 'state_0'");
    assert_fails(db, "SELECT count(*) FROM a('[1,1]')", SQLITE_CORRUPT,
                 "config record was changed");
    sqlite3_close(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_declarations),     cmocka_unit_test(test_questions_refused),
        cmocka_unit_test(test_two_columns),      cmocka_unit_test(test_defensive),
        cmocka_unit_test(test_stream),           cmocka_unit_test(test_open_cursor),
        cmocka_unit_test(test_interrupt),        cmocka_unit_test(test_attached),
        cmocka_unit_test(test_config_is_pinned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
