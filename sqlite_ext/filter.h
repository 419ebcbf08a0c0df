/*
 * filter.h - which rows the terms of a plan leave, asked of t_rows by SQL: it knows affinities, collations, NULL
 * and LIKE as nobody else does.
 *
 * What a value on the right side was is not known here: `text = 5` compares as text if 5 was written there, and
 * as numbers if it came from an INTEGER column. Where that matters both readings are let through, and SQLite,
 * which knows, tests again.
 */
#ifndef VINDEX_SQLITE_FILTER_H
#define VINDEX_SQLITE_FILTER_H

#include "ids.h"
#include "plan.h"
#include "table.h"

/** The columns of t_rows, and WHERE with the terms on values and rowids that are no lists; borrowed. */
int vindex__filter_scan(struct table *table, const struct plan *plan, sqlite3_value **values,
                        sqlite3_stmt **statement);

/** *has_ids false: no term says anything, every row is left. Otherwise the rows left, sorted. */
int vindex__filter_ids(struct table *table, const struct plan *plan, sqlite3_value **values,
                       struct ids *ids, bool *has_ids);

#endif
