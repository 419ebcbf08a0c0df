/*
 * helper_sql.h - databases with the extension linked in, for the C tests of this folder.
 */
#ifndef VINDEX_TESTS_SQLITE_EXT_HELPER_SQL_H
#define VINDEX_TESTS_SQLITE_EXT_HELPER_SQL_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

/** An open database in memory; the extension is registered with sqlite3_auto_extension. */
sqlite3 *sql_open(void);
/** Copy every page of one database into another (the backup interface). */
void sql_copy(sqlite3 *from, sqlite3 *to);

/** Run statements; the result code of the first that fails. *text (sqlite3_free it, may be NULL): all rows, a
 *  line each, columns separated by a bar; blobs in hex. */
int sql_run(sqlite3 *db, const char *sql, char **text);
/** sql_run that must succeed. */
void sql_must(sqlite3 *db, const char *sql);
/** The same, with its rows as text (sqlite3_free it). */
char *sql_text(sqlite3 *db, const char *sql);

/** The template of the damage and memory tests: table docs of two vector columns with segments, dead rows, a
 *  tail, NULL vectors, metadata. */
void sql_fill(sqlite3 *db);

#endif
