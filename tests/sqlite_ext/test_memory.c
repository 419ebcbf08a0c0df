/*
 * test_memory.c - every allocation of each scenario fails once, and from there on: SQLite's own and the library's.
 * The statement answers SQLITE_NOMEM or succeeds; afterwards the database is whole and as it was, or as it was to
 * become. VINDEX_TEST_EVERY=1 tries every one; without it about each 40th is, at random.
 */
#include <string.h>

#include "common/cmocka.h"

#include "base/mem.h"
#include "helper_sql.h"

/* ---- SQLite's allocations ------------------------------------------------------------------------ */

static sqlite3_mem_methods original;
static uint64_t until_failure; /* 0: never; counts down */
static bool is_persistent;

static bool fails_now(void)
{
    if (!until_failure) return false;
    if (until_failure == 1 && is_persistent) return true;
    return --until_failure == 0;
}

static void *failing_malloc(int n)
{
    return fails_now() ? NULL : original.xMalloc(n);
}

static void *failing_realloc(void *old, int n)
{
    return fails_now() ? NULL : original.xRealloc(old, n);
}

static void install(void)
{
    sqlite3_config(SQLITE_CONFIG_GETMALLOC, &original);
    sqlite3_mem_methods failing = original;
    failing.xMalloc = failing_malloc;
    failing.xRealloc = failing_realloc;
    sqlite3_config(SQLITE_CONFIG_MALLOC, &failing);
    sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0);
}

/* ---- scenarios ----------------------------------------------------------------------------------- */

static const struct scenario {
    const char *name, *before, *sql;
    uint64_t sparse; /* as many times fewer: ALTER parses the whole schema for each shadow table */
} scenarios[] = {
    {"create", "", "CREATE VIRTUAL TABLE t USING vindex(v FLOAT[2], m TEXT, +a)", 1},
    {"insert", "", "INSERT INTO docs(rowid, e, lang, f) VALUES(900, '[1,2,3]', 'x', x'0102')", 1},
    {"insert many, sealing", "",
     "WITH RECURSIVE n(i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < 1020) "
     "INSERT INTO docs(rowid, e, f) SELECT i, '[1,2,' || i || ']', '[1,2]' FROM n",
     1},
    {"replace", "", "INSERT OR REPLACE INTO docs(rowid, e) VALUES(9, '[7,7,7]')", 1},
    {"update a vector", "SELECT * FROM docs('[1,1,1]', 1)",
     "UPDATE docs SET e = '[4,4,4]' WHERE rowid < 8", 1},
    {"move a row", "", "UPDATE docs SET rowid = 5000 WHERE rowid = 9", 1},
    {"delete", "", "DELETE FROM docs WHERE rowid % 2 = 0", 1},
    {"k nearest with terms", "",
     "SELECT rowid, score, lang, e FROM docs('[1,2,1]') WHERE k = 5 AND lang = 'en' AND rowid IN "
     "(1, 2, 5, 9, 11) "
     "AND year IN (2001, 2002, 2005)",
     1},
    {"the whole stream", "", "SELECT rowid, score FROM docs('[1,2,1]') ORDER BY score LIMIT 1000",
     1},
    {"join", "CREATE TABLE o AS SELECT value AS id FROM json_each('[1,2,5]')",
     "SELECT o.id, d.score FROM o JOIN docs d ON d.rowid = o.id WHERE d.f MATCH '[1,1]'", 1},
    {"scan", "", "SELECT rowid, * FROM docs WHERE lang LIKE 'e%' ORDER BY rowid DESC", 1},
    {"optimize", "", "INSERT INTO docs(docs) VALUES('rebuild')", 1},
    {"calibrate", "",
     "INSERT INTO docs(docs, arg) VALUES('calibrate', '[[1,2,3],[4,5,6]]'), ('calibrate f', x'0102')",
     1},
    {"integrity-check", "", "INSERT INTO docs(docs) VALUES('integrity-check')", 1},
    {"rename", "", "ALTER TABLE docs RENAME TO papers", 10},
    {"drop", "", "DROP TABLE docs", 1},
    {"facts", "SELECT rowid FROM docs('[1,1,1]')",
     "SELECT * FROM vindex_stats('docs'); SELECT * FROM vindex_plan('docs')", 1},
    {"savepoints", "",
     "SAVEPOINT a; INSERT INTO docs(rowid, e) VALUES(700, '[1,1,1]'); SAVEPOINT b; DELETE FROM "
     "docs WHERE "
     "rowid < 20; ROLLBACK TO b; INSERT INTO docs(rowid, e) VALUES(701, '[1,1,1]'); RELEASE a",
     1},
    {"functions", "",
     "SELECT vindex_to_json(vindex_from_json('[1,2.5]')), vindex_distance('[1,2]', '[3,4]', "
     "'cosine')",
     1},
    {"k nearest with terms of two readings", "",
     "SELECT rowid, score FROM docs('[1,2,1]') WHERE k = 5 AND lang != 5 AND lang >= 5", 1},
    {"the best of a row", "",
     "SELECT * FROM vindex_topk('[1,5,null,3]', 3, 'min'); SELECT vindex_recall(100, 5, 10, 1)", 1},
};
enum { N_SCENARIOS = sizeof scenarios / sizeof *scenarios };

static const char *const contents =
    "SELECT name FROM sqlite_schema ORDER BY 1; SELECT rowid, e, lang, year, f, body FROM docs "
    "ORDER BY 1; "
    "SELECT rowid, score FROM docs('[1,2,1]') ORDER BY score, rowid; "
    "INSERT INTO docs(docs) VALUES('integrity-check')";

/* The text of everything, or of what is left when the table was renamed or dropped. */
static char *picture(sqlite3 *db)
{
    char *text = NULL, *names = sql_text(db, "SELECT name FROM sqlite_schema ORDER BY 1");
    if (strstr(names, "docs\n")) {
        text = sql_text(db, contents);
        sqlite3_free(names);
        return text;
    }
    return names;
}

enum mode { SQLITE_ONCE, SQLITE_ALWAYS, LIBRARY, N_MODES };

static void arm(enum mode mode, uint64_t n)
{
    is_persistent = mode == SQLITE_ALWAYS;
    if (mode == LIBRARY)
        vindex__mem_fail_after(n);
    else
        until_failure = n;
}

/* True when the failure lay beyond the scenario's last allocation. */
static bool run_with_failure(sqlite3 *template, const struct scenario *s, enum mode mode,
                             uint64_t n, const char *before, const char *after)
{
    sqlite3 *db = sql_open();
    sql_copy(template, db);
    sql_must(db, s->before);
    sql_must(db, "SELECT 1 FROM docs LIMIT 0");
    arm(mode, n);
    int rc = sql_run(db, s->sql, NULL);
    bool was_reached = mode == LIBRARY
                           ? rc != SQLITE_OK
                           : until_failure == 0 || (is_persistent && until_failure == 1);
    arm(mode, 0);
    arm(SQLITE_ONCE, 0);
    if (rc != SQLITE_OK && (rc & 0xff) != SQLITE_NOMEM) {
        fprintf(stderr, "%s, mode %d, allocation %llu: %s (%d)\n", s->name, mode,
                (unsigned long long)n, sqlite3_errmsg(db), rc);
        fail();
    }
    if (!sqlite3_get_autocommit(db)) sql_must(db, "ROLLBACK");
    char *now = picture(db);
    if (strcmp(now, before) != 0 && strcmp(now, after) != 0) {
        fprintf(stderr, "%s, mode %d, allocation %llu: neither before nor after:\n%s", s->name,
                mode, (unsigned long long)n, now);
        fail();
    }
    sqlite3_free(now);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    return !was_reached;
}

static uint64_t random_state, every = 40;

static uint64_t step(const struct scenario *s)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return 1 + (random_state >> 33) % (2 * every * s->sparse - 1);
}

static void run_scenario(sqlite3 *template, const struct scenario *s)
{
    sqlite3 *db = sql_open();
    sql_copy(template, db);
    sql_must(db, s->before);
    char *before = picture(db);
    sql_must(db, s->sql);
    char *after = picture(db);
    sqlite3_close(db);
    for (int mode = 0; mode < N_MODES; mode++) {
        uint64_t n = step(s), n_tried = 1;
        for (; !run_with_failure(template, s, (enum mode)mode, n, before, after); n_tried++)
            n += step(s);
        printf("%s: %llu failures tried, mode %d\n", s->name, (unsigned long long)n_tried - 1,
               mode);
    }
    sqlite3_free(before);
    sqlite3_free(after);
}

static void test_scenarios(void **state)
{
    const char *given = getenv("VINDEX_TEST_EVERY");
    sqlite3 *template;
    (void)state;
    random_state = test_seed();
    if (given && strtoull(given, NULL, 10)) every = strtoull(given, NULL, 10);
    template = sql_open();
    sql_fill(template);
    for (int i = 0; i < N_SCENARIOS; i++)
        run_scenario(template, &scenarios[i]);
    sqlite3_close(template);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scenarios),
    };
    install();
    setvbuf(stdout, NULL, _IOLBF, 0); /* what led to an abort is seen */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
