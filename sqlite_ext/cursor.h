/*
 * cursor.h - one walk over a table: a search that grows, a scan of t_rows, or one row.
 */
#ifndef VINDEX_SQLITE_CURSOR_H
#define VINDEX_SQLITE_CURSOR_H

#include "table.h"

int vindex__cursor_open(sqlite3_vtab *base, sqlite3_vtab_cursor **cursor);
int vindex__cursor_close(sqlite3_vtab_cursor *base);
int vindex__cursor_filter(sqlite3_vtab_cursor *base, int number, const char *text, int n,
                          sqlite3_value **values);
int vindex__cursor_next(sqlite3_vtab_cursor *base);
int vindex__cursor_eof(sqlite3_vtab_cursor *base);
int vindex__cursor_column(sqlite3_vtab_cursor *base, sqlite3_context *context, int column);
int vindex__cursor_rowid(sqlite3_vtab_cursor *base, sqlite3_int64 *rowid);

/** The table is about to change: every open search fetches what it would still give. */
int vindex__cursors_complete(struct table *table);

/** A stored vector; *found false where it is NULL or there is no such row. out: [row bytes]. */
int vindex__table_fetch(struct table *table, int number, sqlite3_int64 id, void *out, bool *found);

/** An integer id from a value as SQLite compares rowids with it; false: no rowid equals it. */
bool vindex__sql_value_id(sqlite3_value *value, sqlite3_int64 *id);

#endif
