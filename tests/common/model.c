/*
 * common/model.c - see model.h.
 */
#include "common/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void model_check(int condition, const char *text, const char *file, int line)
{
    if (condition) return;
    fprintf(stderr, "%s:%d: %s fails: %s\n", file, line, text, vindex_message());
    fflush(NULL);
    abort();
}

void model_init(struct model *model, uint32_t type, uint32_t metric, uint32_t dim, int64_t id_span)
{
    memset(model, 0, sizeof *model);
    model->dim = dim;
    model->type = type;
    model->metric = metric;
    model->row_bytes = vindex_row_bytes((vindex_type)type, dim);
    model->id_span = id_span;
    MODEL_CHECK(model->row_bytes <= MODEL_ROW_MAX);
}

void model_free(struct model *model)
{
    free(model->rows);
    memset(model, 0, sizeof *model);
}

void model_copy(struct model *to, const struct model *from)
{
    *to = *from;
    to->rows = malloc((from->capacity + 1) * sizeof *to->rows);
    MODEL_CHECK(to->rows != NULL);
    if (from->n) memcpy(to->rows, from->rows, from->n * sizeof *to->rows);
}

static size_t lower(const struct model *model, int64_t id)
{
    size_t low = 0, high = model->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (model->rows[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct model_row *model_find(const struct model *model, int64_t id)
{
    size_t at = lower(model, id);
    return at < model->n && model->rows[at].id == id ? &model->rows[at] : NULL;
}

static void put(struct model *model, int64_t id, const unsigned char *row)
{
    size_t at = lower(model, id);
    if (at == model->n || model->rows[at].id != id) {
        if (model->n == model->capacity) {
            model->capacity = model->capacity ? 2 * model->capacity : 64;
            model->rows = realloc(model->rows, model->capacity * sizeof *model->rows);
            MODEL_CHECK(model->rows != NULL);
        }
        memmove(model->rows + at + 1, model->rows + at, (model->n - at) * sizeof *model->rows);
        model->n++;
        model->rows[at].id = id;
    }
    memcpy(model->rows[at].row, row, model->row_bytes);
    if (id >= model->next_id) model->next_id = id + 1;
}

static int take_out(struct model *model, int64_t id)
{
    size_t at = lower(model, id);
    if (at == model->n || model->rows[at].id != id) return 0;
    model->n--;
    memmove(model->rows + at, model->rows + at + 1, (model->n - at) * sizeof *model->rows);
    return 1;
}

static uint16_t half_of_small(int value) /* binary16 of a whole number in -4..4 */
{
    static const uint16_t magnitude[] = {0x0000, 0x3c00, 0x4000, 0x4200, 0x4400};
    return (uint16_t)(magnitude[abs(value)] | (value < 0 ? 0x8000 : 0));
}

void model_random_row(const struct model *model, struct rng *rng, unsigned char *row)
{
    int coarse = vindex__rng_below(rng, 2) == 0; /* small whole numbers: many equal scores */
    for (uint32_t i = 0; i < model->dim; i++) {
        int small = (int)vindex__rng_below(rng, 9) - 4;
        float f = coarse ? (float)small : (float)(vindex__rng_unit(rng) * 8 - 4);
        uint32_t bits;
        uint16_t half;
        memcpy(&bits, &f, 4);
        switch (model->type) {
        case VINDEX_FLOAT: memcpy(row + 4 * i, &f, 4); break;
        case VINDEX_FLOAT16:
            half = half_of_small(small);
            memcpy(row + 2 * i, &half, 2);
            break;
        case VINDEX_BFLOAT16:
            half = (uint16_t)(bits >> 16);
            memcpy(row + 2 * i, &half, 2);
            break;
        case VINDEX_INT8: row[i] = (unsigned char)(signed char)small; break;
        case VINDEX_UINT8: row[i] = (unsigned char)vindex__rng_below(rng, coarse ? 4 : 256); break;
        default:
            if (i % 8 == 0) row[i / 8] = 0;
            row[i / 8] |= (unsigned char)(vindex__rng_below(rng, 2) << (i % 8));
        }
    }
}

static int64_t random_id(const struct model *model, struct rng *rng)
{
    return (int64_t)vindex__rng_below(rng, 2 * (uint64_t)model->id_span + 1) - model->id_span;
}

void model_insert_fresh(struct model *model, struct rng *rng, vindex_writer *writer, size_t n)
{
    int automatic = vindex__rng_below(rng, 2) == 0;
    unsigned char *rows = malloc(n * model->row_bytes + 1);
    int64_t *ids = malloc((n + 1) * sizeof *ids), first = model->next_id;
    MODEL_CHECK(rows && ids);
    for (size_t i = 0; i < n; i++) {
        ids[i] = first + (int64_t)i;
        model_random_row(model, rng, rows + i * model->row_bytes);
        put(model, ids[i], rows + i * model->row_bytes);
    }
    vindex_vectors vectors = {rows, n, 0, model->type, 0};
    if (writer)
        MODEL_CHECK(vindex_writer_insert(writer, automatic ? NULL : ids, &vectors, 0) == VINDEX_OK);
    free(rows);
    free(ids);
}

/* One row with a random id, by each of the three rules. */
static void insert_one(struct model *model, struct rng *rng, vindex_writer *writer)
{
    unsigned char row[MODEL_ROW_MAX];
    int64_t id = random_id(model, rng);
    uint64_t rule = vindex__rng_below(rng, 3);
    int had = model_find(model, id) != NULL;
    model_random_row(model, rng, row);
    vindex_vectors vectors = {row, 1, 0, model->type, 0};
    vindex_status expected = rule == 0 && had ? VINDEX_EXISTS : VINDEX_OK;
    uint32_t flags = rule == 0 ? 0 : rule == 1 ? VINDEX_UPSERT : VINDEX_IGNORE;
    if (writer) MODEL_CHECK(vindex_writer_insert(writer, &id, &vectors, flags) == expected);
    if (!had || rule == 1) put(model, id, row);
}

static void remove_some(struct model *model, struct rng *rng, vindex_writer *writer)
{
    int64_t first = random_id(model, rng), ids[64];
    size_t n = 1 + vindex__rng_below(rng, 64), removed = 0, expected = 0;
    int scattered = vindex__rng_below(rng, 2) == 0;
    for (size_t i = 0; i < n; i++) {
        ids[i] = scattered ? random_id(model, rng) : first + (int64_t)i;
        expected += (size_t)take_out(model, ids[i]);
    }
    if (!writer) return;
    MODEL_CHECK(vindex_writer_remove(writer, ids, n, &removed) == VINDEX_OK);
    MODEL_CHECK(removed == expected);
}

void model_transaction(struct model *model, uint64_t seed, vindex_writer *writer)
{
    struct rng rng;
    vindex__rng_init(&rng, seed);
    size_t n_steps = 1 + vindex__rng_below(&rng, 12);
    for (size_t step = 0; step < n_steps; step++) {
        uint64_t choice = vindex__rng_below(&rng, 100);
        if (choice < 40) {
            insert_one(model, &rng, writer);
        } else if (choice < 60) {
            model_insert_fresh(model, &rng, writer, 1 + vindex__rng_below(&rng, 60));
        } else if (choice < 98) {
            remove_some(model, &rng, writer);
        } else {
            if (writer) MODEL_CHECK(vindex_writer_remove_all(writer) == VINDEX_OK);
            model->n = 0;
        }
        int64_t id = random_id(model, &rng);
        int exists = 0;
        if (!writer) continue;
        MODEL_CHECK(vindex_writer_exists(writer, id, &exists) == VINDEX_OK);
        MODEL_CHECK(exists == (model_find(model, id) != NULL));
    }
}

/* ---- comparing -------------------------------------------------------------------------------- */

struct counter {
    const struct model *model;
    size_t n;
};

static int tell_row(void *context, const int64_t *ids, const void *rows, size_t n)
{
    struct counter *counter = context;
    for (size_t i = 0; i < n; i++) {
        const struct model_row *row = model_find(counter->model, ids[i]);
        if (!row || memcmp(row->row, (const char *)rows + i * counter->model->row_bytes,
                           counter->model->row_bytes) != 0)
            return 1;
        counter->n++;
    }
    return 0;
}

int model_equals(const struct model *model, vindex *index)
{
    struct counter counter = {model, 0};
    vindex_searcher *searcher = NULL;
    vindex_stats stats = VINDEX_STATS_INIT;
    MODEL_CHECK(vindex_stat(index, &stats) == VINDEX_OK);
    if (stats.n_rows != model->n || stats.next_id != model->next_id) return 0;
    MODEL_CHECK(vindex_searcher_open(index, &searcher) == VINDEX_OK);
    MODEL_CHECK(vindex_scan(searcher, tell_row, &counter) == VINDEX_OK);
    vindex_searcher_close(searcher);
    return counter.n == model->n;
}

static int count_row(void *context, const int64_t *ids, const void *rows, size_t n)
{
    struct counter *counter = context;
    for (size_t i = 0; i < n; i++) {
        const struct model_row *row = model_find(counter->model, ids[i]);
        MODEL_CHECK(row != NULL);
        MODEL_CHECK(memcmp(row->row, (const char *)rows + i * counter->model->row_bytes,
                           counter->model->row_bytes) == 0);
    }
    counter->n += n;
    return 0;
}

static void compare_search(const struct model *model, vindex_searcher *searcher, struct rng *rng)
{
    enum { K = 7, N = 3 };
    unsigned char queries[N * MODEL_ROW_MAX];
    vindex_hit hits[N * K], expected[N * K];
    unsigned char *dense = malloc(model->n * model->row_bytes + 1);
    MODEL_CHECK(dense != NULL);
    for (size_t i = 0; i < model->n; i++)
        memcpy(dense + i * model->row_bytes, model->rows[i].row, model->row_bytes);
    for (size_t i = 0; i < N; i++)
        model_random_row(model, rng, queries + i * model->row_bytes);
    vindex_vectors base = {dense, model->n, 0, model->type, 0};
    vindex_vectors asked = {queries, N, 0, model->type, 0};
    /* Brute force wants float queries for half-precision rows, the index takes both. */
    MODEL_CHECK(vindex_search(searcher, &asked, K, NULL, hits) == VINDEX_OK);
    MODEL_CHECK(vindex_brute(&base, &asked, model->dim, (vindex_metric)model->metric, K, NULL,
                             expected) == VINDEX_OK);
    for (size_t i = 0; i < N * K; i++) {
        int64_t id = expected[i].id == VINDEX_ID_NONE ? VINDEX_ID_NONE
                                                      : model->rows[expected[i].id].id;
        MODEL_CHECK(hits[i].id == id);
        MODEL_CHECK(memcmp(&hits[i].score, &expected[i].score, sizeof(float)) == 0);
    }
    free(dense);
}

void model_compare(const struct model *model, vindex *index, uint64_t seed)
{
    struct rng rng;
    struct counter counter = {model, 0};
    vindex_searcher *searcher = NULL;
    vindex_stats stats = VINDEX_STATS_INIT;
    unsigned char row[MODEL_ROW_MAX];
    vindex__rng_init(&rng, seed);
    MODEL_CHECK(vindex_check(index, NULL, NULL) == VINDEX_OK);
    MODEL_CHECK(vindex_stat(index, &stats) == VINDEX_OK);
    MODEL_CHECK(stats.n_rows == model->n);
    MODEL_CHECK(stats.next_id == model->next_id);
    MODEL_CHECK(vindex_searcher_open(index, &searcher) == VINDEX_OK);
    MODEL_CHECK(vindex_scan(searcher, count_row, &counter) == VINDEX_OK);
    MODEL_CHECK(counter.n == model->n);
    for (int i = 0; i < 20; i++) {
        int64_t id = random_id(model, &rng);
        uint8_t found = 9;
        const struct model_row *expected = model_find(model, id);
        MODEL_CHECK(vindex_fetch(searcher, &id, 1, row, &found) == VINDEX_OK);
        MODEL_CHECK(found == (expected != NULL));
        if (expected) MODEL_CHECK(memcmp(row, expected->row, model->row_bytes) == 0);
    }
    compare_search(model, searcher, &rng);
    vindex_searcher_close(searcher);
}

vindex_create_options model_options(const struct model *model, uint32_t seal_rows)
{
    vindex_create_options options = VINDEX_CREATE_OPTIONS_INIT;
    options.dim = model->dim;
    options.type = model->type;
    options.metric = model->metric;
    options.seal_rows = seal_rows;
    return options;
}

void model_unlink(const char *path)
{
    char lock[512];
    snprintf(lock, sizeof lock, "%s-lock", path);
    unlink(path);
    unlink(lock);
}

void model_path(char *path, size_t size, const char *name)
{
    const char *dir = getenv("TMPDIR");
    snprintf(path, size, "%s/vindex-%s-%ld.vdx", dir && *dir ? dir : "/tmp", name, (long)getpid());
    model_unlink(path);
}
