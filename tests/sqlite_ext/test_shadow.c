/*
 * test_shadow.c - the records of derived planes in shadow tables: table codes and the config keys
 * model and audits, through the catalog interface and as SQLite sees them.
 */
#include "common/cmocka.h"

#include <string.h>

#include "helper_sql.h"
#include "sqlite_ext/shadow.h"

struct fixture {
    sqlite3 *db;
    const char *schema_name, *table_name;
    struct shadow shadow; /* of column b */
};

static void open_fixture(struct fixture *f)
{
    f->db = sql_open();
    f->schema_name = "main";
    f->table_name = "docs";
    sql_must(f->db, "CREATE VIRTUAL TABLE docs USING vindex(a FLOAT[4], b FLOAT[8])");
    vindex__shadow_init(&f->shadow, f->db, &f->schema_name, &f->table_name, 1);
}

static void close_fixture(struct fixture *f)
{
    vindex__shadow_deinit(&f->shadow);
    sqlite3_close(f->db);
}

static void expect_sql(struct fixture *f, const char *sql, const char *expected)
{
    char *text = sql_text(f->db, sql);
    assert_string_equal(text, expected);
    sqlite3_free(text);
}

static void put(struct fixture *f, uint64_t seq, unsigned char value)
{
    unsigned char key[8], record[80];
    store_be64(key, seq);
    memset(record, value, sizeof record);
    assert_int_equal(catalog_put(&f->shadow.catalog, TABLE_CODES, bytes_of(key, 8),
                                 bytes_of(record, sizeof record)),
                     VINDEX_OK);
}

/* The entry found holds seq (0: there is none) and the value put for it. */
static void expect_entry(const struct catalog_entry *entry, uint64_t seq)
{
    if (seq == 0) {
        assert_null(entry->value.data);
        return;
    }
    assert_int_equal(entry->key.size, 8);
    assert_true(load_be64(entry->key.data) == seq);
    assert_int_equal(entry->value.size, 80);
    assert_int_equal(*(const unsigned char *)entry->value.data, seq);
}

static void expect_seek(struct fixture *f, enum catalog_seek how, uint64_t at, uint64_t found)
{
    struct catalog_entry entry;
    unsigned char key[8];
    store_be64(key, at);
    assert_int_equal(catalog_seek(&f->shadow.catalog, TABLE_CODES, how, bytes_of(key, 8), &entry),
                     VINDEX_OK);
    expect_entry(&entry, found);
}

static void codes_are_entries_like_others(void **state)
{
    struct fixture f;
    struct catalog_entry entry;
    unsigned char key[8];
    uint64_t stamp;
    (void)state;
    open_fixture(&f);
    assert_int_equal(catalog_refresh(&f.shadow.catalog, &stamp), VINDEX_OK);
    expect_seek(&f, SEEK_GE, 0, 0);
    put(&f, 5, 5);
    put(&f, 3, 9);
    put(&f, 9, 9);
    put(&f, 3, 3); /* in place of the one before */
    expect_seek(&f, SEEK_GE, 0, 3);
    expect_seek(&f, SEEK_GT, 3, 5);
    expect_seek(&f, SEEK_GE, 6, 9);
    expect_seek(&f, SEEK_GT, 9, 0);
    expect_seek(&f, SEEK_LT, 5, 3);
    expect_seek(&f, SEEK_LE, UINT64_MAX, 9);
    store_be64(key, 5);
    assert_int_equal(catalog_get(&f.shadow.catalog, TABLE_CODES, bytes_of(key, 8), &entry),
                     VINDEX_OK);
    expect_entry(&entry, 5);
    assert_int_equal(catalog_del(&f.shadow.catalog, TABLE_CODES, bytes_of(key, 8)), VINDEX_OK);
    assert_int_equal(catalog_get(&f.shadow.catalog, TABLE_CODES, bytes_of(key, 8), &entry),
                     VINDEX_OK);
    expect_entry(&entry, 0);
    expect_sql(&f, "SELECT seq, length(v) FROM docs_codes1 ORDER BY seq", "3|80\n9|80\n");
    expect_sql(&f, "SELECT count(*) FROM docs_codes0", "0\n");
    expect_sql(&f, "SELECT count(*) FROM docs_segments1", "0\n");
    /* There is no table of retired segments here. */
    assert_int_equal(catalog_get(&f.shadow.catalog, TABLE_DEAD, bytes_of(key, 8), &entry),
                     VINDEX_CORRUPT);
    catalog_release(&f.shadow.catalog);
    close_fixture(&f);
}

static void model_and_audits_are_config_records(void **state)
{
    static const char *const names[] = {"model", "audits"};
    struct fixture f;
    struct catalog_entry entry;
    uint64_t stamp;
    (void)state;
    open_fixture(&f);
    assert_int_equal(catalog_refresh(&f.shadow.catalog, &stamp), VINDEX_OK);
    for (int i = 0; i < 2; i++) {
        struct bytes key = bytes_of(names[i], strlen(names[i]));
        assert_int_equal(catalog_get(&f.shadow.catalog, TABLE_CONFIG, key, &entry), VINDEX_OK);
        assert_null(entry.value.data);
        assert_int_equal(catalog_put(&f.shadow.catalog, TABLE_CONFIG, key, key), VINDEX_OK);
        assert_int_equal(catalog_get(&f.shadow.catalog, TABLE_CONFIG, key, &entry), VINDEX_OK);
        assert_int_equal(entry.value.size, key.size);
        assert_memory_equal(entry.value.data, names[i], key.size);
    }
    expect_sql(&f, "SELECT k, v FROM docs_config WHERE typeof(v) = 'blob' AND length(v) < 8",
               "audits_1|617564697473\nmodel_1|6d6f64656c\n");
    assert_int_equal(catalog_del(&f.shadow.catalog, TABLE_CONFIG, bytes_of("model", 5)), VINDEX_OK);
    expect_sql(&f, "SELECT k FROM docs_config WHERE k LIKE 'model%'", "");
    catalog_release(&f.shadow.catalog);
    close_fixture(&f);
}

static void codes_follow_their_table(void **state)
{
    struct fixture f;
    int on = 0;
    (void)state;
    open_fixture(&f);
    sql_must(f.db, "BEGIN");
    put(&f, 1, 1);
    vindex__shadow_close(&f.shadow);
    sql_must(f.db, "ROLLBACK");
    expect_sql(&f, "SELECT count(*) FROM docs_codes1", "0\n");
    put(&f, 2, 2);
    vindex__shadow_close(&f.shadow);
    sql_must(f.db, "ALTER TABLE docs RENAME TO papers");
    f.table_name = "papers";
    expect_sql(&f, "SELECT name FROM sqlite_schema WHERE name LIKE '%codes%' ORDER BY 1",
               "papers_codes0\npapers_codes1\n");
    expect_seek(&f, SEEK_GE, 0, 2);
    vindex__shadow_close(&f.shadow);

    assert_int_equal(sqlite3_db_config(f.db, SQLITE_DBCONFIG_DEFENSIVE, 1, &on), SQLITE_OK);
    assert_int_equal(sql_run(f.db, "DELETE FROM papers_codes1", NULL), SQLITE_ERROR);
    assert_int_equal(sqlite3_db_config(f.db, SQLITE_DBCONFIG_DEFENSIVE, 0, &on), SQLITE_OK);
    sql_must(f.db, "DELETE FROM papers_codes1");
    sql_must(f.db, "DROP TABLE papers");
    expect_sql(&f, "SELECT name FROM sqlite_schema", "");
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_are_entries_like_others),
        cmocka_unit_test(model_and_audits_are_config_records),
        cmocka_unit_test(codes_follow_their_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
