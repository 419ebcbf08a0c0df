/*
 * functions.h - the scalar functions, and the table functions that look into a table.
 */
#ifndef VINDEX_SQLITE_FUNCTIONS_H
#define VINDEX_SQLITE_FUNCTIONS_H

#include "table.h"

/** vindex_version, vindex_distance, vindex_to_json, vindex_from_json. */
int vindex__sql_register_scalars(sqlite3 *db);
/** vindex_stats(table [, schema]) and vindex_plan(table [, schema]). */
int vindex__sql_register_inspectors(struct module *module);

#endif
