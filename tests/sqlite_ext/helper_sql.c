/*
 * helper_sql.c - databases for tests.
 */
#include "helper_sql.h"

#include <stdio.h>
#include <stdlib.h>

#include "ext.h"

static void check(int rc, sqlite3 *db, const char *what)
{
    if (rc == SQLITE_OK) return;
    fprintf(stderr, "%s: %s (%d)\n", what, db ? sqlite3_errmsg(db) : "?", rc);
    abort();
}

sqlite3 *sql_open(void)
{
    sqlite3 *db = NULL;
    sqlite3_auto_extension((void (*)(void))sqlite3_vindex_init);
    check(sqlite3_open(":memory:", &db), db, "open");
    return db;
}

void sql_copy(sqlite3 *from, sqlite3 *to)
{
    sqlite3_backup *backup = sqlite3_backup_init(to, "main", from, "main");
    if (!backup || sqlite3_backup_step(backup, -1) != SQLITE_DONE)
        check(SQLITE_ERROR, to, "backup");
    check(sqlite3_backup_finish(backup), to, "backup");
}

static void append_row(sqlite3_str *out, sqlite3_stmt *statement)
{
    for (int i = 0; i < sqlite3_column_count(statement); i++) {
        if (i) sqlite3_str_appendchar(out, 1, '|');
        if (sqlite3_column_type(statement, i) != SQLITE_BLOB) {
            const unsigned char *text = sqlite3_column_text(statement, i);
            sqlite3_str_appendall(out, text ? (const char *)text : "");
            continue;
        }
        const unsigned char *blob = sqlite3_column_blob(statement, i);
        for (int j = 0; j < sqlite3_column_bytes(statement, i); j++)
            sqlite3_str_appendf(out, "%02x", blob[j]);
    }
    sqlite3_str_appendchar(out, 1, '\n');
}

int sql_run(sqlite3 *db, const char *sql, char **text)
{
    sqlite3_str *out = text ? sqlite3_str_new(NULL) : NULL;
    int rc = SQLITE_OK;
    while (rc == SQLITE_OK && *sql) {
        sqlite3_stmt *statement = NULL;
        rc = sqlite3_prepare_v2(db, sql, -1, &statement, &sql);
        while (rc == SQLITE_OK && statement && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
            if (out) append_row(out, statement);
            rc = SQLITE_OK;
        }
        if (rc == SQLITE_DONE) rc = SQLITE_OK;
        int finalized = sqlite3_finalize(statement);
        if (rc == SQLITE_OK) rc = finalized;
    }
    if (text) {
        *text = sqlite3_str_finish(out);
        if (!*text) *text = sqlite3_mprintf(""); /* no rows */
    }
    return rc;
}

void sql_must(sqlite3 *db, const char *sql)
{
    check(sql_run(db, sql, NULL), db, sql);
}

char *sql_text(sqlite3 *db, const char *sql)
{
    char *text = NULL;
    check(sql_run(db, sql, &text), db, sql);
    return text;
}

void sql_fill(sqlite3 *db)
{
    sql_must(
        db,
        "CREATE VIRTUAL TABLE docs USING vindex(e FLOAT[3] seal_rows=8, lang TEXT, year INTEGER, "
        "f INT8[2] seal_rows=16 metric=ip, +body TEXT)");
    sql_must(db, "BEGIN");
    for (int i = 0; i < 60; i++) {
        char *sql = sqlite3_mprintf("INSERT INTO docs(rowid, e, lang, year, f, body) VALUES(%d, "
                                    "'[%d,%d,1]', '%s', %d, %s, 'row %d')",
                                    i * 3 % 61, i % 7, i % 5, i % 2 ? "en" : "de", 2000 + i % 9,
                                    i % 11 ? "'[1,-2]'" : "NULL", i);
        sql_must(db, sql);
        sqlite3_free(sql);
        if (i % 10 == 9) sql_must(db, "COMMIT; BEGIN");
    }
    sql_must(db, "DELETE FROM docs WHERE rowid IN (3, 7, 30, 31)");
    sql_must(db, "UPDATE docs SET e = NULL WHERE rowid = 12; COMMIT");
}
