/*
 * vector.h - vectors as SQL has them (a BLOB of the column's type or of 32-bit floats, a JSON array of numbers)
 * and as the library has them.
 */
#ifndef VINDEX_SQLITE_VECTOR_H
#define VINDEX_SQLITE_VECTOR_H

#include "ext.h"

/** What a vector has to be. */
struct vector_shape {
    const char *what; /* for messages: the column's name */
    uint32_t type;    /* vindex_type */
    uint32_t dim;
};

/** One vector. data is borrowed from the value it was read from, or owned. */
struct vector {
    const void *data; /* NULL: the value was NULL */
    uint32_t type;    /* the shape's, or VINDEX_FLOAT */
    void *owned;
    size_t owned_bytes;
};

/**
 * Read a value; all that the library would refuse is refused here, before anything is changed. `vector` starts
 * zeroed and may be read into again; its memory is kept. Returns an SQLite result code; *error then holds one
 * line (sqlite3_free it), NULL for SQLITE_NOMEM.
 */
int vindex__sql_vector_read(sqlite3_value *value, const struct vector_shape *shape,
                            struct vector *vector, char **error);
/**
 * Read many: a JSON array of arrays, or a BLOB of dense rows of blob_type (the shape's or VINDEX_FLOAT). On success
 * *n >= 1 rows, as vindex__sql_vectors gives them once its n is set.
 */
int vindex__sql_vectors_read(sqlite3_value *value, const struct vector_shape *shape,
                             uint32_t blob_type, struct vector *vector, size_t *n, char **error);
void vindex__sql_vector_deinit(struct vector *vector);

/** The vector as the library takes it. */
vindex_vectors vindex__sql_vectors(const struct vector *vector);

/** A JSON array of the numbers, in the fewest digits that give the same number back. NULL: no memory. */
char *vindex__sql_vector_json(uint32_t type, uint32_t dim, const void *data);

/**
 * Calls `each` for every number of a JSON array, with takes_null also for every null, as NaN. False: the text (which
 * ends with a NUL) is none, or `each` said so.
 */
bool vindex__sql_json_walk(const char *text, size_t size, bool takes_null,
                           bool (*each)(void *context, double value), void *context);

/** Numbers in a JSON array, -1 if it is none. */
long long vindex__sql_json_count(const char *text, size_t size);

#endif
