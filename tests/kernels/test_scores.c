/*
 * test_scores.c - every one-query slot at every level: against an oracle in long double within the
 * bound of kernels.h, integers to the bit, at every dim, count, stride and offset, never outside a
 * row.
 */
#include <float.h>
#include <math.h>

#include "kernel_test.h"

static struct levels levels;

/* Everything that names one case. */
struct scores_case {
    enum vkern_type type;
    enum distribution distribution;
    size_t dim, n, stride, offset;
    bool is_at_start; /* behind the page that faults, not before it */
};

struct memory {
    struct guarded query, rows, scores;
};

static const float untouched = -12345.0f;

static void explain(const struct scores_case *c, const char *op, const char *level, size_t row,
                    double got, double want)
{
    fail_msg("%s %s %s: %s, dim %zu, n %zu, stride %zu, offset %zu, row %zu: %.17g, not %.17g", op,
             type_names[c->type], level, distribution_names[c->distribution], c->dim, c->n,
             c->stride, c->offset, row, got, want);
}

/* |got - want| within the bound of the slot. */
static bool close_enough(const struct scores_case *c, bool is_dot, double got, long double want,
                         const struct oracle *sums)
{
    const long double scale = is_dot ? sqrtl(sums->query_norm) * sqrtl(sums->row_norm) : sums->l2sq;

    if (c->type >= VKERN_I8) return got == (double)(float)want;
    return fabsl(got - want) <=
           (long double)vkern_gamma(c->dim) * scale + (long double)c->dim * FLT_MIN;
}

/* Rows at an end of guarded memory: the last row, not its padding, touches the guard, or the first
 * row does. */
static unsigned char *place_rows(const struct scores_case *c, const struct memory *m)
{
    const size_t row = vkern_row_bytes(c->type, c->dim);
    const size_t size = c->n > 0 ? (c->n - 1) * c->stride + row : 0;

    if (c->is_at_start) return guarded_begin(&m->rows);
    return guarded_end(&m->rows, size + c->offset);
}

static void check_slot(const struct scores_case *c, const struct memory *m, bool is_dot,
                       const void *query, const unsigned char *rows)
{
    float *scores = guarded_end(&m->scores, 4 * c->n);

    for (size_t l = 0; l < levels.n; l++) {
        const vkern_table *t = &levels.table[l];
        for (size_t r = 0; r < c->n; r++)
            scores[r] = untouched;
        (is_dot ? t->ndot : t->l2sq)[c->type](query, rows, c->stride, c->n, c->dim, scores);
        for (size_t r = 0; r < c->n; r++) {
            const struct oracle sums = oracle_sums(c->type, query, rows + r * c->stride, c->dim);
            const long double want = is_dot ? -sums.dot : sums.l2sq;
            if (!close_enough(c, is_dot, scores[r], want, &sums))
                explain(c, is_dot ? "ndot" : "l2sq", levels.name[l], r, scores[r], (double)want);
        }
    }
}

static void check_case(const struct scores_case *c, const struct memory *m)
{
    const size_t query_bytes = vkern_row_bytes(type_of_query(c->type), c->dim);
    unsigned char *query = guarded_end(&m->query, query_bytes), *rows = place_rows(c, m);

    fill_row(&levels.table[0], type_of_query(c->type), c->distribution, c->dim, query);
    for (size_t r = 0; r < c->n; r++)
        fill_row(&levels.table[0], c->type, c->distribution, c->dim, rows + r * c->stride);
    check_slot(c, m, false, query, rows);
    check_slot(c, m, true, query, rows);
}

static struct memory memory_open(size_t rows)
{
    struct memory m = {guarded_open(65536 * 8), guarded_open(rows), guarded_open(4096 * 4)};
    return m;
}

static void memory_close(struct memory *m)
{
    guarded_close(&m->query);
    guarded_close(&m->rows);
    guarded_close(&m->scores);
}

/* All dims with few counts, and all counts with few dims. */
static void every_dim_and_count(void **state)
{
    struct memory m = memory_open(256 * (4096 * 4 + 64));

    (void)state;
    for (int type = VKERN_F32; type < VKERN_BIT; type++)
        for (size_t d = 0; d < COUNT(test_dims); d++)
            for (size_t k = 0; k < COUNT(test_counts); k++) {
                const size_t padding = test_paddings[(d + k) % COUNT(test_paddings)];
                struct scores_case c = {type, NORMAL, test_dims[d], test_counts[k], 0, 0, false};
                if (c.dim > 129 && c.n > 17) continue;
                c.stride = vkern_row_bytes(type, c.dim) + padding;
                c.offset = test_offsets[(d * 5 + k) % COUNT(test_offsets)];
                check_case(&c, &m);
                c.offset = 0;
                check_case(&c, &m);
                c.is_at_start = true;
                check_case(&c, &m);
            }
    memory_close(&m);
}

static void every_distribution_stride_and_offset(void **state)
{
    static const size_t dims[] = {1, 7, 16, 33, 100, 300};
    struct memory m = memory_open(1 << 20);

    (void)state;
    for (int type = VKERN_F32; type < VKERN_BIT; type++)
        for (int distribution = 0; distribution < N_DISTRIBUTIONS; distribution++)
            for (size_t d = 0; d < COUNT(dims); d++)
                for (size_t p = 0; p < COUNT(test_paddings); p++)
                    for (size_t o = 0; o < COUNT(test_offsets); o++) {
                        struct scores_case c = {type, distribution,    dims[d], 9,
                                                0,    test_offsets[o], false};
                        c.stride = vkern_row_bytes(type, c.dim) + test_paddings[p];
                        check_case(&c, &m);
                    }
    memory_close(&m);
}

/* Integer kernels take eight rows at once and the rest one by one, in steps of 64 and 128 elements:
 * all that may be left over of both. */
static void integers_of_every_small_dim_and_count(void **state)
{
    static const enum distribution distributions[] = {NORMAL, EXTREMES, HUGE_VALUES, ALTERNATING};
    struct memory m = memory_open(9 * (784 + 64));

    (void)state;
    for (int type = VKERN_I8; type <= VKERN_U8; type++)
        for (size_t d = 1; d <= 201; d++)
            for (size_t n = 1; n <= 9; n++) {
                const size_t dim = d <= 200 ? d : 784;
                struct scores_case c = {type, distributions[(d + n) % COUNT(distributions)],
                                        dim,  n,
                                        0,    test_offsets[(d + n) % COUNT(test_offsets)],
                                        n % 4 == 3};
                c.stride = dim + test_paddings[d % COUNT(test_paddings)];
                check_case(&c, &m);
            }
    memory_close(&m);
}

/* The largest sums: every term 255^2, for u8 just below 2^32. */
static void integers_at_the_largest_dim(void **state)
{
    static const size_t dims[] = {65519, 65520, 65536, 65536, 65537, 65537, 131072 + 5};
    static const unsigned char pairs[][2] = {
        {0x80, 0x7f}, {0x80, 0x80}, {0xff, 0x00}, {0xff, 0xff}};
    struct memory m = memory_open(9 * 140000);

    (void)state;
    for (int type = VKERN_I8; type <= VKERN_U8; type++)
        for (size_t d = 0; d < COUNT(dims); d++)
            for (size_t p = 0; p < COUNT(pairs); p++) {
                const size_t n = d % 2 ? 9 : 3; /* with and without rows by the eight */
                struct scores_case c = {type, EXTREMES, dims[d], n, dims[d], 0, false};
                unsigned char *query = guarded_end(&m.query, c.dim), *rows = place_rows(&c, &m);
                memset(query, pairs[p][0], c.dim);
                memset(rows, pairs[p][1], n * c.dim);
                check_slot(&c, &m, false, query, rows);
                check_slot(&c, &m, true, query, rows);
            }
    memory_close(&m);
}

static void floats_at_the_largest_dim(void **state)
{
    struct memory m = memory_open(9 * 65520 * 4);

    (void)state;
    for (int type = VKERN_F32; type < VKERN_BIT; type++) {
        struct scores_case c = {type, NORMAL, 65520, 9, vkern_row_bytes(type, 65520), 0, false};
        check_case(&c, &m);
    }
    memory_close(&m);
}

static size_t differing_bits(const unsigned char *a, const unsigned char *b, size_t dim)
{
    size_t count = 0;

    for (size_t i = 0; i < dim; i++)
        count += (a[i / 8] >> i % 8 & 1) != (b[i / 8] >> i % 8 & 1);
    return count;
}

static void hamming_counts_bits(void **state)
{
    struct memory m = memory_open(256 * (65520 / 8 + 64));
    static const size_t more[] = {65520};

    (void)state;
    for (size_t d = 0; d < COUNT(test_dims) + COUNT(more); d++)
        for (size_t k = 0; k < COUNT(test_counts); k++) {
            const size_t dim = d < COUNT(test_dims) ? test_dims[d] : more[0];
            const size_t padding = test_paddings[(d + k) % COUNT(test_paddings)];
            struct scores_case c = {VKERN_BIT, NORMAL, dim, test_counts[k], 0, 0, false};
            float *scores = guarded_end(&m.scores, 4 * c.n);
            unsigned char *query, *rows;
            c.stride = vkern_row_bytes(VKERN_BIT, dim) + padding;
            c.offset = test_offsets[k % COUNT(test_offsets)];
            query = guarded_end(&m.query, vkern_row_bytes(VKERN_BIT, dim));
            rows = place_rows(&c, &m);
            fill_row(&levels.table[0], VKERN_BIT, k % 3 == 2 ? HUGE_VALUES : NORMAL, dim, query);
            for (size_t r = 0; r < c.n; r++)
                fill_row(&levels.table[0], VKERN_BIT, NORMAL, dim, rows + r * c.stride);
            for (size_t l = 0; l < levels.n; l++) {
                for (size_t r = 0; r < c.n; r++)
                    scores[r] = untouched;
                levels.table[l].hamming(query, rows, c.stride, c.n, dim, scores);
                for (size_t r = 0; r < c.n; r++) {
                    const size_t want = differing_bits(query, rows + r * c.stride, dim);
                    if (scores[r] != (float)want)
                        explain(&c, "hamming", levels.name[l], r, scores[r], (double)want);
                }
            }
        }
    memory_close(&m);
}

/* The bound is not vacuous: it is far below what a wrong sum would give, and grows slowly. */
static void gamma_is_small_and_grows(void **state)
{
    (void)state;
    assert_true(vkern_gamma(0) > 23 * 0x1p-24 && vkern_gamma(0) < 25 * 0x1p-24);
    assert_true(vkern_gamma(1024) < 90 * 0x1p-24);
    assert_true(vkern_gamma(65520) < 2.5e-4);
    for (size_t d = 1; d < 65520; d++)
        assert_true(vkern_gamma(d) > vkern_gamma(d - 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_dim_and_count),
        cmocka_unit_test(every_distribution_stride_and_offset),
        cmocka_unit_test(integers_of_every_small_dim_and_count),
        cmocka_unit_test(integers_at_the_largest_dim),
        cmocka_unit_test(floats_at_the_largest_dim),
        cmocka_unit_test(hamming_counts_bits),
        cmocka_unit_test(gamma_is_small_and_grows),
    };

    seed_random("scores");
    levels = all_levels();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
