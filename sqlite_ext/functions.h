/*
 * functions.h - the scalar functions, the table functions that look into a table, and the selection of the
 * best of a row of scores.
 */
#ifndef VINDEX_SQLITE_FUNCTIONS_H
#define VINDEX_SQLITE_FUNCTIONS_H

#include "table.h"

/** vindex_version, vindex_distance, vindex_to_json, vindex_from_json. */
int vindex__sql_register_scalars(sqlite3 *db);
/** vindex_stats(table [, schema]) and vindex_plan(table [, schema]). */
int vindex__sql_register_inspectors(struct module *module);
/** vindex_topk(scores, k [, 'max' | 'min']) and vindex_recall(n, k, bins, per_bin). */
int vindex__sql_register_selection(sqlite3 *db);

#endif
