/*
 * test_hostile.c - anybody may write into shadow tables: after every mutation each statement gives the right rows
 * or SQLITE_CORRUPT_VTAB, and touches no memory that is not its own (run it under ASan).
 *
 * Half of the mutations repair the checksum of what they damaged, so that decoding is reached. Most are of a small table;
 * some of one whose rows have codes; and in long runs a few of one that also holds audits.
 * VINDEX_TEST_MUTATIONS sets their number.
 */
#include <string.h>

#include "common/cmocka.h"

#include "base/bytes.h"
#include "helper_sql.h"

static uint64_t random_state;

static uint32_t rnd(uint32_t n)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(random_state >> 33) % n;
}

static const struct {
    const char *name, *key;
    bool
        has_checksum; /* v is a record or a block: bytes 4..7 are the checksum of those from 8 on */
} tables[] = {
    {"docs_config", "k", true},      {"docs_rows", "id", false},      {"docs_tail0", "id", true},
    {"docs_segments0", "seq", true}, {"docs_ids0", "first", true},    {"docs_blocks0", "id", true},
    {"docs_tail1", "id", true},      {"docs_segments1", "seq", true}, {"docs_ids1", "first", true},
    {"docs_blocks1", "id", true},    {"docs_codes0", "seq", true},    {"docs_codes1", "seq", true},
};
enum { N_TABLES = sizeof tables / sizeof *tables };

/* ---- templates ----------------------------------------------------------------------------------- */

/* Codes need some thousand rows, audits ten times as many. Both columns of the statements below. */
static void fill_large(sqlite3 *db, int n_rows)
{
    sqlite3_stmt *insert = NULL;
    float e[16];
    signed char f[16];
    sql_must(db, "CREATE VIRTUAL TABLE docs USING vindex(e FLOAT[16], lang TEXT, year INTEGER, "
                 "f INT8[16] metric=ip, +body TEXT); BEGIN");
    assert_int_equal(sqlite3_prepare_v2(db, "INSERT INTO docs(rowid, e, lang, year, f, body) "
                                            "VALUES(?1, ?2, 'en', ?1 % 9 + 2000, ?3, 'x')",
                                        -1, &insert, NULL),
                     SQLITE_OK);
    for (int i = 0; i < n_rows; i++) {
        for (int j = 0; j < 16; j++) {
            e[j] = (float)rnd(1000) / (float)(1 + j * j);
            f[j] = (signed char)((int)rnd(200) / (1 + j) - 20);
        }
        sqlite3_bind_int(insert, 1, i);
        sqlite3_bind_blob(insert, 2, e, sizeof e, SQLITE_STATIC);
        sqlite3_bind_blob(insert, 3, f, sizeof f, SQLITE_STATIC);
        assert_int_equal(sqlite3_step(insert), SQLITE_DONE);
        sqlite3_reset(insert);
    }
    sqlite3_finalize(insert);
    sql_must(db, "COMMIT; INSERT INTO docs(docs) VALUES('optimize');"
                 "DELETE FROM docs WHERE rowid IN (3, 7, 30, 31);"
                 "INSERT INTO docs(rowid, e, f) SELECT -1, e, f FROM docs WHERE rowid = 5");
}

/* Vectors to ask with and to insert, of whatever dim the template has. */
static void fill_probes(sqlite3 *db)
{
    sql_must(db, "CREATE TABLE probes(id INTEGER PRIMARY KEY, e, f); INSERT INTO probes(e, f) "
                 "SELECT e, f FROM docs WHERE e IS NOT NULL AND f IS NOT NULL LIMIT 3");
}

/* ---- mutations ----------------------------------------------------------------------------------- */

static void run_any(sqlite3 *db, char *sql)
{
    sql_run(db, sql, NULL); /* a mutation that SQLite refuses is none */
    sqlite3_free(sql);
}

static unsigned char *read_value(sqlite3 *db, const char *table, sqlite3_int64 row, int *size,
                                 char key[40])
{
    sqlite3_stmt *statement = NULL;
    unsigned char *copy = NULL;
    char *sql = sqlite3_mprintf("SELECT %s, v FROM %s LIMIT 1 OFFSET %lld",
                                strcmp(table, "docs_config") == 0 ? "k" : "rowid", table, row);
    *size = 0;
    key[0] = 0;
    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW) {
        *size = sqlite3_column_bytes(statement, 1);
        const void *blob = sqlite3_column_blob(statement, 1);
        sqlite3_snprintf(40, key, "%s", sqlite3_column_text(statement, 0));
        copy = sqlite3_malloc(*size + 16);
        memset(copy, 0, (size_t)*size + 16);
        if (blob) memcpy(copy, blob, (size_t)*size);
    }
    sqlite3_finalize(statement);
    sqlite3_free(sql);
    return copy;
}

static void write_value(sqlite3 *db, const char *table, const char *key, const void *value,
                        int size)
{
    sqlite3_stmt *statement = NULL;
    char *sql = sqlite3_mprintf("UPDATE %s SET v = ?1 WHERE %s = ?2", table,
                                strcmp(table, "docs_config") == 0 ? "k" : "rowid");
    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK) {
        sqlite3_bind_blob(statement, 1, value, size, SQLITE_STATIC);
        sqlite3_bind_text(statement, 2, key, -1, SQLITE_STATIC);
        sqlite3_step(statement);
    }
    sqlite3_finalize(statement);
    sqlite3_free(sql);
}

static sqlite3_int64 count(sqlite3 *db, const char *table)
{
    char *sql = sqlite3_mprintf("SELECT count(*) FROM %s", table);
    char *text = NULL;
    sqlite3_int64 n =
        sql_run(db, sql, &text) == SQLITE_OK ? strtoll(text, NULL, 10) : 0; /* or dropped */
    sqlite3_free(sql);
    sqlite3_free(text);
    return n;
}

static int bend(unsigned char *value, int size)
{
    static const unsigned char edges[] = {0, 1, 0x7f, 0x80, 0xff};
    int n = 1 + (int)rnd(4);
    switch (rnd(6)) {
    case 0: return size ? (int)rnd((uint32_t)size) : 0; /* cut */
    case 1: return size + 1 + (int)rnd(15);             /* longer, by zeros */
    case 2:                                             /* a whole number in the head */
        if (size >= 16)
            memset(value + 8 +
                       4 * rnd((uint32_t)(size - 8) / 4 > 20 ? 20 : (uint32_t)(size - 8) / 4),
                   edges[rnd(5)], 4);
        return size;
    default:
        for (int i = 0; i < n && size; i++) {
            uint32_t at = rnd(2) && size > 88 ? rnd(88) : rnd((uint32_t)size);
            value[at] = rnd(2) ? edges[rnd(5)] : (unsigned char)(value[at] ^ 1u << rnd(8));
        }
        return size;
    }
}

/* Change a value's bytes. */
static void mutate_value(sqlite3 *db, int t, bool repair)
{
    char key[40];
    int size;
    sqlite3_int64 n = count(db, tables[t].name);
    if (!n || !tables[t].has_checksum) return;
    unsigned char *value = read_value(db, tables[t].name, rnd((uint32_t)n), &size, key);
    if (!value) return;
    size = bend(value, size);
    if (repair && size >= 8) store_le32(value + 4, vindex__crc32c(0, value + 8, (size_t)size - 8));
    write_value(db, tables[t].name, key, value, size);
    sqlite3_free(value);
}

/* Change rows: types, keys, presence, order. */
static void mutate_row(sqlite3 *db, int t)
{
    static const char *const values[] = {"NULL", "1",    "'text'", "x''", "zeroblob(300000)",
                                         "2.5",  "x'01'"};
    const char *table = tables[t].name, *key = tables[t].key;
    sqlite3_int64 n = count(db, table);
    uint32_t row = n ? rnd((uint32_t)n) : 0;
    const char *value = values[rnd(7)];
    const char *columns[] = {"vectors", "m0", "m1", "m2"};
    char *at = sqlite3_mprintf("%s = (SELECT %s FROM %s LIMIT 1 OFFSET %u)", key, key, table, row);
    switch (rnd(7)) {
    case 0: run_any(db, sqlite3_mprintf("DELETE FROM %s WHERE %s", table, at)); break;
    case 1:
        run_any(db, sqlite3_mprintf("UPDATE %s SET %s = %s WHERE %s", table,
                                    t == 1 ? columns[rnd(4)] : "v", value, at));
        break;
    case 2:
        run_any(db, sqlite3_mprintf("UPDATE OR REPLACE %s SET %s = %d WHERE %s", table, key,
                                    (int)rnd(100) - 20, at));
        break;
    case 3:
        run_any(db, sqlite3_mprintf("UPDATE OR REPLACE %s SET %s = %s WHERE %s", table, key,
                                    rnd(2) ? "9223372036854775807" : "-9223372036854775808", at));
        break;
    case 4:
        if (t != 1)
            run_any(db, sqlite3_mprintf(
                            "UPDATE %s SET v = (SELECT v FROM %s LIMIT 1 OFFSET %u) WHERE %s",
                            table, table, n ? rnd((uint32_t)n) : 0, at));
        break;
    case 5:
        run_any(db,
                sqlite3_mprintf("UPDATE OR IGNORE docs_blocks%u SET %s = %s WHERE id = %u", rnd(2),
                                rnd(2)   ? "nonce"
                                : rnd(2) ? "plane"
                                         : "part",
                                value, 1 + rnd(20)));
        break;
    default:
        if (rnd(20) == 0)
            run_any(db, sqlite3_mprintf("DROP TABLE %s", table));
        else
            run_any(db, sqlite3_mprintf("UPDATE docs_rows SET vectors = %d WHERE id %% 5 = %u",
                                        (int)rnd(9) - 2, rnd(5)));
        break;
    }
    sqlite3_free(at);
}

/* ---- statements ---------------------------------------------------------------------------------- */

#define E(id) "(SELECT e FROM probes WHERE id = " #id ")"
#define F(id) "(SELECT f FROM probes WHERE id = " #id ")"

static const char *const questions[] = {
    "SELECT rowid, score FROM docs(" E(1) ") WHERE k = 10 AND recall = 1",
    "SELECT rowid, score FROM docs WHERE f MATCH " F(2) " AND recall = 1 LIMIT 100",
    "SELECT rowid, score FROM docs(" E(3) ") ORDER BY score DESC LIMIT 100",
};
enum { N_QUESTIONS = 3 };

static const char *const others[] = {
    "SELECT rowid, score, lang, year, body, e, f FROM docs(" E(2) ") WHERE lang = 'en' AND year > "
    "2001 LIMIT 300",
    "SELECT rowid, *, e, f FROM docs LIMIT 300",
    "SELECT * FROM docs WHERE rowid = 9",
    "SELECT * FROM vindex_stats('docs'); SELECT * FROM vindex_plan('docs')",
    "INSERT INTO docs(rowid, e, f) SELECT 50000, e, f FROM probes WHERE id = 1",
    "INSERT OR REPLACE INTO docs(rowid, e, f) SELECT 9, e, f FROM probes WHERE id = 2",
    "UPDATE docs SET e = " E(3) " WHERE rowid < 9",
    "UPDATE docs SET rowid = rowid + 100000 WHERE rowid IN (10, 11)",
    "DELETE FROM docs WHERE rowid % 3 = 1",
    "INSERT INTO docs(docs) VALUES('integrity-check')",
    "INSERT INTO docs(docs) VALUES('optimize')",
    "INSERT INTO docs(docs) VALUES('rebuild')",
    "INSERT INTO docs(docs, arg) SELECT 'calibrate', e FROM probes",
    "SELECT rowid, score FROM docs(" E(1) ")",
    "SELECT rowid, score FROM docs WHERE f MATCH " F(1) " AND k = 10 AND recall = 0.9",
    "SELECT rowid, score FROM docs(" E(2) ") WHERE k = 10 AND recall = 0.5",
    "BEGIN; DELETE FROM docs; INSERT INTO docs(e) SELECT e FROM probes; ROLLBACK",
    "ALTER TABLE docs RENAME TO papers",
    "ALTER TABLE papers RENAME TO docs",
};
enum { N_OTHERS = sizeof others / sizeof *others };

/* What SQLite itself may say about what the mutation left: a row that exists, a name that is taken. */
static bool is_allowed(int rc)
{
    rc &= 0xff;
    return rc == SQLITE_OK || rc == SQLITE_CORRUPT || rc == SQLITE_CONSTRAINT ||
           rc == SQLITE_ERROR || rc == SQLITE_FULL; /* no rowid left above the largest */
}

static void ask(sqlite3 *db, const char *sql, const char *expected)
{
    char *text = NULL;
    int rc = sql_run(db, sql, &text);
    if (!is_allowed(rc)) {
        fprintf(stderr, "%s: %s (%d)\n", sql, sqlite3_errmsg(db), rc);
        fail();
    }
    if (rc == SQLITE_OK && expected) assert_string_equal(text ? text : "", expected);
    sqlite3_free(text);
    if (!sqlite3_get_autocommit(db)) sql_run(db, "ROLLBACK", NULL);
}

static void one_mutation(sqlite3 *template, char *const *expected)
{
    sqlite3 *db = sql_open();
    int t = (int)rnd(N_TABLES), n = 1 + (int)rnd(3);
    bool repair = rnd(2), only_values = rnd(2);
    sql_copy(template, db);
    if (rnd(4) == 0) /* a warm connection keeps what it knows */
        for (int i = 0; i < N_QUESTIONS; i++)
            ask(db, questions[i], expected[i]);
    for (int i = 0; i < n; i++) {
        if (only_values || rnd(2))
            mutate_value(db, t, repair);
        else
            mutate_row(db, t);
        t = (int)rnd(N_TABLES);
    }
    for (int i = 0; i < N_QUESTIONS; i++)
        ask(db, questions[i], only_values && !repair ? expected[i] : NULL);
    for (int i = 0; i < 6; i++)
        ask(db, others[rnd(N_OTHERS)], NULL);
    ask(db, "DROP TABLE IF EXISTS docs", NULL);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* A template, and what its questions give. */
struct template {
    sqlite3 *db;
    char *expected[N_QUESTIONS];
    long share; /* one in so many mutations is of it */
    long n;
};

static void finish_template(struct template *t, sqlite3 *db, long share)
{
    t->db = db;
    t->share = share;
    fill_probes(db);
    for (int i = 0; i < N_QUESTIONS; i++)
        t->expected[i] = sql_text(db, questions[i]);
}

static void free_template(struct template *t)
{
    for (int i = 0; i < N_QUESTIONS; i++)
        sqlite3_free(t->expected[i]);
    sqlite3_close(t->db);
}

#define MANY_MUTATIONS 10000 /* from here on it pays to make a template with audits */

static void test_mutations(void **state)
{
    const char *wanted = getenv("VINDEX_TEST_MUTATIONS");
    long n = wanted ? strtol(wanted, NULL, 10) : 500; /* test_slow_hostile.sh: 10,000 */
    struct template templates[3];
    int n_templates = n < MANY_MUTATIONS ? 2 : 3;
    (void)state;
    random_state = test_seed();
    memset(templates, 0, sizeof templates);
    for (int i = 0; i < n_templates; i++) {
        static const long shares[] = {1, 64, 500};
        sqlite3 *db = sql_open();
        if (i == 0) sql_fill(db);
        if (i > 0) fill_large(db, i == 1 ? 4200 : 30100);
        if (i == 2) sql_must(db, "INSERT INTO docs(docs, arg) SELECT 'calibrate', "
                                 "json_group_array(json(vindex_to_json(e))) FROM docs WHERE rowid "
                                 "BETWEEN 100 AND 500");
        finish_template(&templates[i], db, shares[i]);
    }
    for (long i = 0; i < n; i++) {
        int t = n_templates - 1;
        while (t > 0 && rnd((uint32_t)templates[t].share))
            t--;
        templates[t].n++;
        one_mutation(templates[t].db, templates[t].expected);
    }
    for (int i = 0; i < n_templates; i++)
        free_template(&templates[i]);
    printf("%ld mutations: %ld of a small table, %ld of one with codes, %ld of one with audits\n", n,
           templates[0].n, templates[1].n, templates[2].n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mutations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
