/*
 * common/model.h - the oracle of the write path: a sorted array of rows that random transactions are applied to,
 * beside the index. A transaction is decided by its seed and the model alone, so that another process can
 * repeat it.
 */
#ifndef VINDEX_TESTS_COMMON_MODEL_H
#define VINDEX_TESTS_COMMON_MODEL_H

#include "base/random.h"
#include "vindex.h"

#define MODEL_ROW_MAX 256 /* bytes */

struct model_row {
    int64_t id;
    unsigned char row[MODEL_ROW_MAX];
};

struct model {
    uint32_t dim, type, metric;
    size_t row_bytes;
    int64_t next_id;
    int64_t id_span;       /* random ids lie in [-id_span, id_span] */
    size_t n, capacity;
    struct model_row *rows; /* ascending by id */
};

/** Stop the process with the place and vindex_message(): works in children too. */
#define MODEL_CHECK(condition) model_check((condition), #condition, __FILE__, __LINE__)
void model_check(int condition, const char *text, const char *file, int line);

void model_init(struct model *model, uint32_t type, uint32_t metric, uint32_t dim, int64_t id_span);
void model_free(struct model *model);
void model_copy(struct model *to, const struct model *from); /* to: fresh */

const struct model_row *model_find(const struct model *model, int64_t id);
void model_random_row(const struct model *model, struct rng *rng, unsigned char *row);

/** Random inserts, upserts, removals: to the model, and to the writer unless it is NULL. */
void model_transaction(struct model *model, uint64_t seed, vindex_writer *writer);

/** n rows with new ids after each other, by the automatic numbering or explicitly. */
void model_insert_fresh(struct model *model, struct rng *rng, vindex_writer *writer, size_t n);

/** Every row is there and no other, and queries answer as brute force over the model does. */
void model_compare(const struct model *model, vindex *index, uint64_t seed);

/** 1 if the index holds exactly the model's rows, 0 if not; stops the process only when it cannot be read. */
int model_equals(const struct model *model, vindex *index);

/** A path in the temporary directory that only this process uses; any file there before is removed. */
void model_path(char *path, size_t size, const char *name);
/** Remove an index file and its lock file. */
void model_unlink(const char *path);

/** Create options for the model's shape that seal after seal_rows rows. */
vindex_create_options model_options(const struct model *model, uint32_t seal_rows);

#endif
