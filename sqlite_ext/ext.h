/*
 * ext.h - what every file of the extension includes first: SQLite's interface as an extension sees it, either
 * through the table of functions its host hands over or, built with SQLITE_CORE, linked directly.
 */
#ifndef VINDEX_SQLITE_EXT_H
#define VINDEX_SQLITE_EXT_H

#include <sqlite3ext.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "vindex.h"

#ifndef SQLITE_CORE
extern const sqlite3_api_routines *sqlite3_api;
#endif

#if defined(__GNUC__)
#define VINDEX_EXT_API __attribute__((visibility("default")))
#else
#define VINDEX_EXT_API
#endif

/** The entry point: for load_extension by file name or by this name, and for sqlite3_auto_extension. */
VINDEX_EXT_API int sqlite3_vindex_init(sqlite3 *db, char **error, const sqlite3_api_routines *api);

/** SQLite's result code for a status; its text is in vindex_message(). */
int vindex__sql_code(vindex_status status);

#endif
