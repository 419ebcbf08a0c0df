/*
 * test_tile.c - every tile engine, OpenBLAS included where there is one: products within the
 * engine's bound, at any number of queries, rows and dims, all types, reading and writing only what
 * it may.
 */
#include <float.h>
#include <math.h>
#include <pthread.h>

#include "kernel_test.h"

static struct levels levels;

enum { MOST_ENGINES = 6, MOST_QUERIES = 64 };

static const struct vkern_tile *engines[MOST_ENGINES];
static size_t n_engines;

struct tile_case {
    enum vkern_type type;
    enum distribution distribution;
    size_t nq, n, dim, padding;
    bool scaled;
};

struct tile_memory {
    struct guarded queries, rows, scale, panel, bias, out;
};

static struct tile_memory tile_memory_open(size_t dim, size_t nq)
{
    struct tile_memory m = {
        guarded_open(4 * nq * dim + 64),   guarded_open(VKERN_TILE_ROWS * (4 * dim + 64)),
        guarded_open(4 * VKERN_TILE_ROWS), guarded_open(4 * vkern_panel_floats(dim)),
        guarded_open(4 * VKERN_TILE_ROWS), guarded_open(4 * nq * (VKERN_TILE_ROWS + 32)),
    };
    return m;
}

static void tile_memory_close(struct tile_memory *m)
{
    guarded_close(&m->queries);
    guarded_close(&m->rows);
    guarded_close(&m->scale);
    guarded_close(&m->panel);
    guarded_close(&m->bias);
    guarded_close(&m->out);
}

struct operands {
    float *queries, *scale, *bias, *panel, *out;
    unsigned char *rows;
    size_t stride, out_stride;
};

static struct operands place(const struct tile_case *c, const struct tile_memory *m)
{
    const size_t row = vkern_row_bytes(c->type, c->dim);
    struct operands o;

    o.stride = row + c->padding;
    o.out_stride = (c->n + 31) / 32 * 32 + (c->padding ? 16 : 0);
    o.queries = guarded_end(&m->queries, 4 * c->nq * c->dim);
    o.rows = guarded_end(&m->rows, c->n > 0 ? (c->n - 1) * o.stride + row : 0);
    o.scale = guarded_end(&m->scale, 4 * c->n);
    o.bias = guarded_end(&m->bias, 4 * c->n);
    o.panel = guarded_end(&m->panel, (4 * vkern_panel_floats(c->dim) + 63) / 64 * 64);
    /* the last line ends with its last group of 32 columns */
    o.out = guarded_end(&m->out,
                        c->nq > 0 ? 4 * ((c->nq - 1) * o.out_stride + (c->n + 31) / 32 * 32) : 0);
    return o;
}

static void fill_operands(const struct tile_case *c, const struct operands *o)
{
    const vkern_table *ref = &levels.table[0];

    for (size_t q = 0; q < c->nq; q++)
        fill_row(ref, VKERN_F32, c->distribution, c->dim, o->queries + q * c->dim);
    for (size_t r = 0; r < c->n; r++) {
        fill_row(ref, c->type, c->distribution, c->dim, o->rows + r * o->stride);
        o->scale[r] = c->scaled ? (float)(random_unit() - 0.5) : 1;
        o->bias[r] = (float)(random_unit() - 0.5);
    }
}

/* One result against the oracle, within the bound of kernels.h. */
static void check_result(const struct tile_case *c, const struct vkern_tile *tile,
                         const struct operands *o, size_t q, size_t r, float got)
{
    const double u = 0x1p-24;
    long double dot = 0, query_norm = 0, row_norm = 0, want, size, bound;

    for (size_t i = 0; i < c->dim; i++) {
        const long double a = o->queries[q * c->dim + i];
        const long double b = oracle_element(c->type, o->rows + r * o->stride, i) * o->scale[r];
        dot += a * b;
        query_norm += a * a;
        row_norm += b * b;
    }
    want = o->bias[r] + dot;
    size = sqrtl(query_norm) * sqrtl(row_norm);
    bound = tile->gamma(c->dim) * (fabsl((long double)o->bias[r]) + size) +
            (long double)c->dim * FLT_MIN + u * size;
    if (fabsl(got - want) > bound)
        fail_msg(
            "%s %s: %s, nq %zu, n %zu, dim %zu, query %zu, row %zu: %.9g, not %.9Lg (bound %Lg)",
            tile->name, type_names[c->type], distribution_names[c->distribution], c->nq, c->n,
            c->dim, q, r, (double)got, want, bound);
}

static void check_case(const struct tile_case *c, const struct tile_memory *m)
{
    struct operands o = place(c, m);

    fill_operands(c, &o);
    for (size_t e = 0; e < n_engines; e++) {
        memset(o.panel, 0xff, 4 * vkern_panel_floats(c->dim)); /* NaN, should it be used unpacked */
        for (size_t i = 0; c->nq > 0 && i + 1 < c->nq * o.out_stride; i++)
            if (i / o.out_stride + 1 < c->nq || i % o.out_stride < (c->n + 31) / 32 * 32)
                o.out[i] = NAN;
        engines[e]->pack(c->type, o.rows, o.stride, c->n, c->dim, c->scaled ? o.scale : NULL,
                         o.panel);
        engines[e]->multiply(o.queries, c->nq, o.panel, o.bias, c->n, c->dim, o.out, o.out_stride);
        for (size_t q = 0; q < c->nq; q++) {
            for (size_t r = 0; r < c->n; r++)
                check_result(c, engines[e], &o, q, r, o.out[q * o.out_stride + r]);
            for (size_t i = (c->n + 31) / 32 * 32; q + 1 < c->nq && i < o.out_stride; i++)
                assert_true(
                    isnan(o.out[q * o.out_stride + i])); /* beyond the last group: untouched */
        }
    }
}

static void every_dim(void **state)
{
    struct tile_memory m = tile_memory_open(4096, 14);

    (void)state;
    for (size_t d = 0; d < COUNT(test_dims); d++) {
        const struct tile_case c = {VKERN_F32, NORMAL, 14, 35, test_dims[d], test_paddings[d % 3],
                                    d % 2};
        check_case(&c, &m);
    }
    tile_memory_close(&m);
}

static void every_count_of_rows_and_queries(void **state)
{
    struct tile_memory m = tile_memory_open(130, MOST_QUERIES);

    (void)state;
    for (size_t k = 0; k < COUNT(test_counts); k++)
        for (size_t nq = 0; nq <= 26; nq++) {
            const struct tile_case c = {VKERN_F32,      NORMAL,          nq,
                                        test_counts[k], k % 2 ? 130 : 5, test_paddings[nq % 3],
                                        nq % 2};
            check_case(&c, &m);
        }
    tile_memory_close(&m);
}

static void every_type_and_distribution(void **state)
{
    static const size_t dims[] = {1, 9, 23, 128, 301};
    struct tile_memory m = tile_memory_open(301, MOST_QUERIES);

    (void)state;
    for (int type = VKERN_F32; type < VKERN_BIT; type++)
        for (int distribution = 0; distribution < N_DISTRIBUTIONS; distribution++)
            for (size_t d = 0; d < COUNT(dims); d++) {
                const struct tile_case c = {type,    distribution,         7,    41,
                                            dims[d], test_paddings[d % 3], d % 2};
                check_case(&c, &m);
            }
    tile_memory_close(&m);
}

static void the_largest_dim(void **state)
{
    struct tile_memory m = tile_memory_open(65520, 3);
    const struct tile_case c = {VKERN_F32, NORMAL, 3, 33, 65520, 0, true};

    (void)state;
    check_case(&c, &m);
    tile_memory_close(&m);
}

/* Two threads multiply at once; each must get what it gets alone. */
struct worker {
    const struct vkern_tile *tile;
    const float *queries, *panel, *bias, *want;
    bool same;
};

enum { SHARED_DIM = 200, SHARED_QUERIES = 40 };

static void *multiply_often(void *context)
{
    struct worker *w = context;
    float *out = aligned_alloc(64, 4 * SHARED_QUERIES * VKERN_TILE_ROWS);

    w->same = out != NULL;
    for (size_t k = 0; k < 200 && w->same; k++) {
        w->tile->multiply(w->queries, SHARED_QUERIES, w->panel, w->bias, VKERN_TILE_ROWS,
                          SHARED_DIM, out, VKERN_TILE_ROWS);
        w->same = memcmp(out, w->want, 4 * SHARED_QUERIES * VKERN_TILE_ROWS) == 0;
    }
    free(out);
    return NULL;
}

static void threads_do_not_disturb_each_other(void **state)
{
    float *queries = malloc(4 * SHARED_QUERIES * SHARED_DIM),
          *rows = malloc(4 * VKERN_TILE_ROWS * SHARED_DIM);
    float *panel = aligned_alloc(64, (4 * vkern_panel_floats(SHARED_DIM) + 63) / 64 * 64);
    float *want = aligned_alloc(64, 4 * SHARED_QUERIES * VKERN_TILE_ROWS),
          bias[VKERN_TILE_ROWS] = {1};

    (void)state;
    fill_row(&levels.table[0], VKERN_F32, NORMAL, SHARED_QUERIES * SHARED_DIM, queries);
    fill_row(&levels.table[0], VKERN_F32, NORMAL, VKERN_TILE_ROWS * SHARED_DIM, rows);
    for (size_t e = 0; e < n_engines; e++) {
        struct worker workers[4];
        pthread_t threads[4];
        engines[e]->pack(VKERN_F32, rows, 4 * SHARED_DIM, VKERN_TILE_ROWS, SHARED_DIM, NULL, panel);
        engines[e]->multiply(queries, SHARED_QUERIES, panel, bias, VKERN_TILE_ROWS, SHARED_DIM,
                             want, VKERN_TILE_ROWS);
        if (strcmp(engines[e]->name, "ref") == 0) continue;
        for (size_t i = 0; i < COUNT(threads); i++) {
            workers[i] = (struct worker){engines[e], queries, panel, bias, want, false};
            assert_int_equal(pthread_create(&threads[i], NULL, multiply_often, &workers[i]), 0);
        }
        for (size_t i = 0; i < COUNT(threads); i++) {
            pthread_join(threads[i], NULL);
            if (!workers[i].same) fail_msg("%s: a thread got another result", engines[e]->name);
        }
    }
    free(queries);
    free(rows);
    free(panel);
    free(want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_dim),
        cmocka_unit_test(every_count_of_rows_and_queries),
        cmocka_unit_test(every_type_and_distribution),
        cmocka_unit_test(the_largest_dim),
        cmocka_unit_test(threads_do_not_disturb_each_other),
    };

    seed_random("tile");
    levels = all_levels();
    for (size_t l = 0; l < levels.n; l++)
        if (n_engines == 0 || engines[n_engines - 1] != levels.table[l].tile)
            engines[n_engines++] = levels.table[l].tile;
    if (vkern_tile_blas() != NULL)
        engines[n_engines++] = vkern_tile_blas();
    else
        printf("tile: no OpenBLAS with one thread here; its engine is not tested\n");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
