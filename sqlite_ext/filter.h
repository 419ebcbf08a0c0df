/*
 * filter.h - which rows the terms of a plan leave, asked of t_rows by SQL: it knows affinities, collations, NULL
 * and LIKE as nobody else does.
 *
 * Two things SQLite keeps to itself, so that a term may have two readings:
 *
 *                                    likely                                     widest, leaves more
 *     text column, a number          texts: written out or bound; else numbers  either, or never equal
 *     text column < a text           texts                                      or whatever looks like a number
 *     !=, IS NOT: their collation    the column's own                           BINARY
 *
 * SQLite knows and tests again. So without k the widest reading is let through; with k the k nearest of both are:
 * exact where the likely reading was right, and where it was not, none of the k is missing that the widest finds.
 */
#ifndef VINDEX_SQLITE_FILTER_H
#define VINDEX_SQLITE_FILTER_H

#include "ids.h"
#include "plan.h"
#include "table.h"

/** The columns of t_rows, and WHERE with the terms on values and rowids that are no lists; borrowed. */
int vindex__filter_scan(struct table *table, const struct plan *plan, sqlite3_value **values,
                        sqlite3_stmt **statement);

enum reading { READING_LIKELY, READING_WIDEST };

/** *has_ids false: no term says anything, every row is left. Otherwise the rows left, sorted. */
int vindex__filter_ids(struct table *table, const struct plan *plan, sqlite3_value **values,
                       enum reading reading, struct ids *ids, bool *has_ids);

/** Whether a term has two readings that may differ. */
bool vindex__filter_is_ambiguous(const struct table *table, const struct plan *plan,
                                 sqlite3_value **values);

#endif
