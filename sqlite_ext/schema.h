/*
 * schema.h - what CREATE VIRTUAL TABLE declared: columns, types, options; and the numbers of all columns, the
 * hidden ones included. Dialects fill it in, everything else reads it.
 *
 *     columns 0 .. n_columns - 1   as declared
 *     then, for ever in this order: query, k, recall, score, distance, similarity, arg, <table's name>
 */
#ifndef VINDEX_SQLITE_SCHEMA_H
#define VINDEX_SQLITE_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCHEMA_COLUMNS_MAX 200
#define SCHEMA_VECTORS_MAX 16

enum column_kind {
    COLUMN_VECTOR,
    COLUMN_METADATA, /* can be filtered by */
    COLUMN_AUXILIARY /* only kept */
};

enum column_affinity { AFFINITY_TEXT, AFFINITY_NUMERIC, AFFINITY_NONE };

enum hidden_column {
    HIDDEN_QUERY,
    HIDDEN_K,
    HIDDEN_RECALL,
    HIDDEN_SCORE,
    HIDDEN_DISTANCE,
    HIDDEN_SIMILARITY,
    HIDDEN_ARG,
    HIDDEN_COMMAND,
    N_HIDDEN
};

struct schema_column {
    const char *name;
    enum column_kind kind;
    int number; /* among the vector columns, or among all others */

    /* vector columns */
    uint32_t type; /* vindex_type */
    uint32_t metric;
    uint32_t layout;
    uint32_t dim;
    uint32_t seal_rows;
    uint64_t seal_bytes;
    double recall; /* 0: the library's default */

    /* the others */
    const char *declared;  /* type as declared, "" for none */
    const char *collation; /* NULL: BINARY */
    enum column_affinity affinity;
};

struct schema {
    struct schema_column *columns;
    int n_columns;
    int n_vectors;
    int n_values; /* columns that are no vectors */
    char *text;   /* owns the names */
};

/** The name of a hidden column; the command column is called as the table is. */
const char *vindex__sql_hidden_name(enum hidden_column column);

/** The declared column that is the vector column of this number. */
const struct schema_column *vindex__sql_vector_column(const struct schema *schema, int number);

void vindex__sql_schema_free(struct schema *schema);

/**
 * The arguments of CREATE VIRTUAL TABLE ... USING vindex(...), FORMAT: sqlite_ext/README.md. Returns an SQLite
 * result code; *error then says what was given and what to write instead (sqlite3_free it).
 */
int vindex__sql_parse_vindex(const char *table, int n_arguments, const char *const *arguments,
                             struct schema *schema, char **error);

#endif
