/*
 * table.h - one virtual table of one connection: its schema, an index for each vector column over shadow
 * tables, and what this transaction has not put there yet.
 *
 *     xUpdate -> t_rows at once; vectors -> the library's writer (buffered)
 *     flush   -> writer's commit: into the shadow tables. Before whatever could look or leave: a query of this
 *                table, a savepoint, xSync
 *     discard -> after a rollback: writer aborted, snapshots forgotten
 */
#ifndef VINDEX_SQLITE_TABLE_H
#define VINDEX_SQLITE_TABLE_H

#include "schema.h"
#include "shadow.h"

struct cursor;

/** What one connection's tables share. */
struct module {
    sqlite3 *db;
    int refs;
    struct table *tables;
};

struct vector_index {
    struct shadow shadow;
    vindex *index;
    vindex_searcher *searcher;
    vindex_writer *writer; /* NULL: nothing was written since the last flush */
};

/* Statements whose text depends on the query, kept for the next one like it. */
struct lent_statement {
    sqlite3_stmt *statement;
    char *sql;
    bool is_lent;
};
#define LENT_MAX 8

enum row_statement { ROW_INSERT, ROW_REPLACE, ROW_UPDATE, ROW_DELETE, ROW_MASK, ROW_ANY, N_ROW };

struct table {
    sqlite3_vtab base; /* first: SQLite holds this pointer */
    struct module *module;
    struct table *next; /* of the module */
    sqlite3 *db;
    const char *schema_name; /* main, temp, or as attached */
    const char *name;
    struct schema schema;
    struct vector_index *vectors; /* [schema.n_vectors] */
    sqlite3_stmt *statements[N_ROW];
    struct lent_statement lent[LENT_MAX];
    int next_lent; /* the slot to give up next */
    sqlite3_stmt *probe;
    struct cursor *cursors; /* open ones */

    sqlite3_int64 *removed; /* rows deleted from t_rows whose vectors are still to be removed */
    size_t n_removed, removed_capacity;
    int depth;           /* calls of ours that are under way */
    bool is_rolled_back; /* SQLite rolled back meanwhile: discard when they are over */
    bool is_pending;     /* something is to be flushed */
    bool has_flushed;    /* in this transaction: searches have seen what may still be rolled back */
    int failed;          /* a write stopped half way: only a rollback is left */
};

/** Takes the schema over, also on failure. create: make the shadow tables. */
int vindex__table_new(struct module *module, const char *schema_name, const char *name,
                      struct schema *schema, bool create, struct table **table, char **error);
void vindex__table_free(struct table *table);
int vindex__table_drop(struct table *table);
int vindex__table_rename(struct table *table, const char *name);
bool vindex__table_shadow_name(const char *suffix);

/** The connection's open table of this name, NULL if it has none. schema_name NULL: any. */
struct table *vindex__table_find(struct module *module, const char *schema_name, const char *name);

void vindex__module_unref(void *module);

/** The index of a vector column, opened. */
int vindex__table_index(struct table *table, int number, struct vector_index **v);
/** The same with its searcher. */
int vindex__table_searcher(struct table *table, int number, struct vector_index **v);
/** The same with its writer, begun if need be. */
int vindex__table_writer(struct table *table, int number, struct vector_index **v);

int vindex__table_flush(struct table *table);
/** Pending removals become the writers' own. */
int vindex__table_apply_removed(struct table *table);
void vindex__table_discard(struct table *table);

/**
 * Around everything that calls the library or SQLite. When a statement of ours runs out of memory inside such a
 * call, SQLite rolls the whole transaction back there and then: what the call stands on must outlive it.
 */
void vindex__table_enter(struct table *table);
/** Returns rc. */
int vindex__table_leave(struct table *table, int rc);

/** Set the table's error message; returns code. */
int vindex__table_error(struct table *table, int code, const char *format, ...);
/** From a status of a library call on v: SQLite's own code if SQLite was the cause. */
int vindex__table_status(struct table *table, struct vector_index *v, vindex_status status);
/** From an SQLite call of ours on shadow tables. */
int vindex__table_sqlite(struct table *table, int rc);

int vindex__table_statement(struct table *table, enum row_statement which,
                            sqlite3_stmt **statement);
/** SQL over t_rows, made by the caller; freed here. Reset, without values; give it back after use. */
int vindex__table_borrow(struct table *table, char *sql, sqlite3_stmt **statement);
void vindex__table_give_back(struct table *table, sqlite3_stmt *statement);
/** Bitmap of vector columns that are not NULL; *found false: no such row. */
int vindex__table_mask(struct table *table, sqlite3_int64 id, bool *found, sqlite3_int64 *mask);

/** write.c: xUpdate. */
int vindex__table_update(sqlite3_vtab *base, int n, sqlite3_value **values, sqlite3_int64 *rowid);
/** inspect.c: agreement of everything with everything; *finding (sqlite3_free it) is NULL if all is well. */
int vindex__table_check(struct table *table, char **finding);
/** Whether sqlite3_interrupt was called or a progress handler says stop; a vindex_search_options.cancel. */
int vindex__table_is_interrupted(void *table);

#endif
