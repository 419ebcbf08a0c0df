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
        {"id INTEGER PRIMARY KEY, v FLOAT[3]", "key is its rowid"},
        {"id TEXT PRIMARY KEY, v FLOAT[3]", "key is its rowid"},
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
    assert_fails(db, "SELECT e MATCH '[1,1,1]' FROM docs", SQLITE_ERROR, "MATCH asks");
    assert_fails(db, "SELECT rowid FROM docs WHERE NOT (docs MATCH '[1,1,1]')", SQLITE_ERROR,
                 "write query = ...");
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

/* With k: exactly k rows where SQLite does not tell how a term compares, and where a term can never be known. */
static void test_k_of_doubtful_terms(void **state)
{
    static const struct {
        const char *where, *ids;
    } cases[] = {
        {"tag != 'red'", "3\n4\n5\n"}, /* 1 and 2 are Red and RED under NOCASE */
        {"tag IS NOT ?1", "3\n4\n5\n"},
        {"lang = 5", "2\n5\n6\n"}, /* 1, 3 and 4 are the same number in other words */
        {"lang = ?2", "2\n5\n6\n"},
        {"lang != 5", "1\n3\n4\n"},
        {"lang = (SELECT n FROM numbers)", "1\n2\n3\n"},
        {"lang IN (SELECT n FROM numbers)", "1\n2\n3\n"},
        {"year = 7 AND +lang <> year", "1\n2\n3\n"},
        {"year = 7 AND tag <> year AND body <> year", "1\n2\n3\n"},
        {"lang = '5' AND body <> lang", "2\n5\n6\n"},
        {"lang = ?2 AND body <> lang", "2\n5\n6\n"},
    };
    static const char *const langs[] = {"05", "5", "5.0", " 5", "5", "5"};
    static const char *const tags[] = {"Red", "RED", "blue", "b", "c", "d"};
    sqlite3 *db = sql_open();
    (void)state;
    sql_must(db, "CREATE VIRTUAL TABLE t USING vindex(v FLOAT[1], lang TEXT, tag TEXT COLLATE "
                 "NOCASE, year INTEGER, +body); CREATE TABLE numbers(n INTEGER); INSERT INTO "
                 "numbers VALUES(5)");
    for (int i = 0; i < 6; i++) {
        char *sql = sqlite3_mprintf("INSERT INTO t(rowid, v, lang, tag, year, body) "
                                    "VALUES(%d, '[%d]', %Q, %Q, 7, 'x')",
                                    i + 1, i, langs[i], tags[i]);
        sql_must(db, sql);
        sqlite3_free(sql);
    }
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sqlite3_stmt *statement = NULL;
        sqlite3_str *rows = sqlite3_str_new(db);
        char *sql = sqlite3_mprintf("SELECT rowid FROM t WHERE v MATCH '[0]' AND k = 3 AND %s",
                                    cases[i].where);
        assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
        sqlite3_bind_text(statement, 1, "red", -1, SQLITE_STATIC);
        sqlite3_bind_int(statement, 2, 5);
        while (sqlite3_step(statement) == SQLITE_ROW)
            sqlite3_str_appendf(rows, "%s\n", sqlite3_column_text(statement, 0));
        assert_int_equal(sqlite3_finalize(statement), SQLITE_OK);
        char *text = sqlite3_str_finish(rows);
        if (strcmp(text ? text : "", cases[i].ids) != 0)
            fail_msg("%s gives\n%sand not\n%s", cases[i].where, text ? text : "", cases[i].ids);
        sqlite3_free(text);
        sqlite3_free(sql);
    }
    sqlite3_close(db);
}

/* vindex_topk against ORDER BY, over rows with ties, from JSON and from a BLOB. */
static void test_topk(void **state)
{
    static const char *const best =
        "SELECT group_concat(position), group_concat(score) FROM vindex_topk(%s, %d, '%s')";
    static const char *const plain =
        "SELECT group_concat(key), group_concat(value) FROM (SELECT key, value FROM "
        "json_each((SELECT j FROM r)) ORDER BY value %s, key LIMIT %d)";
    static const int ks[] = {1, 2, 10, 500, 5000, 9000};
    sqlite3 *db = sql_open();
    (void)state;
    sql_must(db, "CREATE TABLE r AS WITH RECURSIVE n(i, x) AS (SELECT 0, 12345 UNION ALL SELECT i "
                 "+ 1, x * 1103515245 + 12345 & 2147483647 FROM n WHERE i < 4999) SELECT "
                 "json_group_array((x >> 16) % 1000 / 8.0 - 40) AS j FROM n");
    for (size_t i = 0; i < 2 * sizeof ks / sizeof *ks; i++) {
        int k = ks[i / 2];
        char *expected_sql = sqlite3_mprintf(plain, i % 2 ? "ASC" : "DESC", k);
        char *expected = sql_text(db, expected_sql);
        const char *scores[] = {"(SELECT j FROM r)", "(SELECT vindex_from_json(j) FROM r)"};
        for (int form = 0; form < 2; form++) {
            char *sql = sqlite3_mprintf(best, scores[form], k, i % 2 ? "MIN" : "max");
            assert_rows(db, sql, expected);
            sqlite3_free(sql);
        }
        sqlite3_free(expected);
        sqlite3_free(expected_sql);
    }
    assert_rows(db,
                "SELECT score, rank FROM vindex_topk('[1e300, -0.1, 2.5]', 3) ORDER BY rank DESC",
                "-0.1|3\n2.5|2\n1.0e+300|1\n");
    assert_rows(db,
                "SELECT position, score FROM vindex_topk(x'0000807f000080ffffffffff00000000', 9)",
                "0|Inf\n3|0.0\n1|-Inf\n2|\n");
    assert_rows(db, "SELECT count(*) FROM vindex_topk(x'', 3)", "0\n");
    assert_fails(db, "SELECT * FROM vindex_topk('[1]')", SQLITE_ERROR, "give the scores and k");
    assert_fails(db, "SELECT * FROM vindex_topk('[1', 1)", SQLITE_ERROR, "no JSON array");
    assert_fails(db, "SELECT * FROM vindex_topk('[\"1\"]', 1)", SQLITE_ERROR, "no JSON array");
    assert_fails(db, "SELECT * FROM vindex_topk(7, 1)", SQLITE_ERROR, "not '7'");
    assert_fails(db, "SELECT * FROM vindex_topk('[1]', 1.5)", SQLITE_ERROR, "k is '1.5'");
    assert_fails(db, "SELECT * FROM vindex_topk('[1]', 1, 'best')", SQLITE_ERROR, "max or min");
    assert_fails(db, "SELECT vindex_recall(10, 'x', 1, 1)", SQLITE_ERROR, "k is 'x'");
    assert_rows(db, "SELECT vindex_recall(10, NULL, 1, 1) IS NULL, vindex_recall(4, 2, 2, 1)",
                "1|0.833333333333333\n");
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
        cmocka_unit_test(test_declarations),
        cmocka_unit_test(test_questions_refused),
        cmocka_unit_test(test_k_of_doubtful_terms),
        cmocka_unit_test(test_topk),
        cmocka_unit_test(test_two_columns),
        cmocka_unit_test(test_defensive),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_open_cursor),
        cmocka_unit_test(test_interrupt),
        cmocka_unit_test(test_attached),
        cmocka_unit_test(test_config_is_pinned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
