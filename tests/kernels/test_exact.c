/*
 * test_exact.c - the arithmetic of reported scores: bit-identical at every level, equal to its
 * written definition, and close to the truth.
 */
#include <math.h>

#include "kernel_test.h"

static struct levels levels;

enum operation { L2SQ, DOT, SUMSQ, N_OPERATIONS };
static const char *const operation_names[] = {"exact_l2sq", "exact_dot", "sumsq"};

/* The definition in kernels.h, once more; volatile keeps every product and sum a rounding of its
 * own. */
static double defined(enum operation operation, enum vkern_type type, const void *a, const void *b,
                      size_t dim)
{
    volatile double sum[16] = {0}, term;

    for (size_t i = 0; i < dim; i++) {
        const double x =
            (double)oracle_element(operation == SUMSQ ? type : type_of_query(type), a, i);
        const double y = (double)oracle_element(type, b, i);
        const volatile double difference = x - y;
        if (operation == L2SQ)
            term = difference * difference;
        else
            term = x * y;
        sum[i % 16] = sum[i % 16] + term;
    }
    for (size_t j = 0; j < 8; j++)
        sum[j] = sum[j] + sum[j + 8];
    for (size_t j = 0; j < 4; j++)
        sum[j] = sum[j] + sum[j + 4];
    for (size_t j = 0; j < 2; j++)
        sum[j] = sum[j] + sum[j + 2];
    return sum[0] + sum[1];
}

static double computed(const vkern_table *t, enum operation operation, enum vkern_type type,
                       const void *a, const void *b, size_t dim)
{
    if (operation == L2SQ) return t->exact_l2sq[type](a, b, dim);
    if (operation == DOT) return t->exact_dot[type](a, b, dim);
    return t->sumsq[type](b, dim);
}

static void check(enum vkern_type type, enum distribution distribution, size_t dim, size_t offset,
                  const struct guarded *query_memory, const struct guarded *row_memory)
{
    const enum vkern_type query_type = type_of_query(type);
    unsigned char *a = guarded_end(query_memory, vkern_row_bytes(query_type, dim) + offset);
    unsigned char *b =
        guarded_end(row_memory, vkern_row_bytes(type, dim) + (offset % 2 ? 0 : offset));

    fill_row(&levels.table[0], query_type, distribution, dim, a);
    fill_row(&levels.table[0], type, distribution, dim, b);
    for (int operation = 0; operation < N_OPERATIONS; operation++) {
        const double want = defined(operation, type, operation == SUMSQ ? b : a, b, dim);
        for (size_t l = 0; l < levels.n; l++) {
            const double got = computed(&levels.table[l], operation, type, a, b, dim);
            if (memcmp(&got, &want, sizeof got) != 0)
                fail_msg("%s %s %s: %s, dim %zu, offset %zu: %a, not %a",
                         operation_names[operation], type_names[type], levels.name[l],
                         distribution_names[distribution], dim, offset, got, want);
        }
    }
}

static void bits_agree_at_every_level(void **state)
{
    struct guarded query = guarded_open(65520 * 4 + 64), row = guarded_open(65520 * 4 + 64);

    (void)state;
    for (int type = VKERN_F32; type < VKERN_BIT; type++)
        for (int distribution = 0; distribution < N_DISTRIBUTIONS; distribution++) {
            for (size_t d = 0; d < COUNT(test_dims); d++)
                for (size_t o = 0; o < COUNT(test_offsets); o++)
                    check(type, distribution, test_dims[d], test_offsets[o], &query, &row);
            check(type, distribution, 65520, 0, &query, &row);
        }
    guarded_close(&query);
    guarded_close(&row);
}

/* Beyond one 65,536-element chunk of the integer kernels, all terms the largest. */
static void integers_are_exact_beyond_32_bits(void **state)
{
    const size_t dim = 3 * 65536 + 17;
    struct guarded a = guarded_open(dim), b = guarded_open(dim);
    unsigned char *x = guarded_end(&a, dim), *y = guarded_end(&b, dim);

    (void)state;
    memset(x, 0xff, dim);
    memset(y, 0x00, dim);
    for (size_t l = 0; l < levels.n; l++) {
        const vkern_table *t = &levels.table[l];
        assert_true(t->exact_l2sq[VKERN_U8](x, y, dim) == 65025.0 * (double)dim);
        assert_true(t->exact_dot[VKERN_U8](x, x, dim) == 65025.0 * (double)dim);
        assert_true(t->sumsq[VKERN_U8](x, dim) == 65025.0 * (double)dim);
    }
    memset(x, 0x80, dim);
    memset(y, 0x7f, dim);
    for (size_t l = 0; l < levels.n; l++) {
        const vkern_table *t = &levels.table[l];
        assert_true(t->exact_l2sq[VKERN_I8](x, y, dim) == 65025.0 * (double)dim);
        assert_true(t->exact_dot[VKERN_I8](x, y, dim) == -128.0 * 127.0 * (double)dim);
        assert_true(t->sumsq[VKERN_I8](x, dim) == 16384.0 * (double)dim);
    }
    guarded_close(&a);
    guarded_close(&b);
}

static void bits_are_counted(void **state)
{
    struct guarded memory_a = guarded_open(8192), memory_b = guarded_open(8192);

    (void)state;
    for (size_t d = 0; d < COUNT(test_dims); d++) {
        const size_t dim = test_dims[d], size = vkern_row_bytes(VKERN_BIT, dim);
        unsigned char *a = guarded_end(&memory_a, size), *b = guarded_end(&memory_b, size);
        size_t differing = 0, ones = 0;
        fill_row(&levels.table[0], VKERN_BIT, NORMAL, dim, a);
        fill_row(&levels.table[0], VKERN_BIT, NORMAL, dim, b);
        for (size_t i = 0; i < dim; i++) {
            differing += ((a[i / 8] ^ b[i / 8]) >> i % 8) & 1;
            ones += b[i / 8] >> i % 8 & 1;
        }
        for (size_t l = 0; l < levels.n; l++) {
            assert_true(levels.table[l].exact_l2sq[VKERN_BIT](a, b, dim) == (double)differing);
            assert_true(levels.table[l].sumsq[VKERN_BIT](b, dim) == (double)ones);
        }
    }
    guarded_close(&memory_a);
    guarded_close(&memory_b);
}

/* The fixed order is also accurate: a chain of dim / 16 + 5 roundings in double. */
static void close_to_the_truth(void **state)
{
    struct guarded query = guarded_open(4096 * 4), row = guarded_open(4096 * 4);

    (void)state;
    for (int type = VKERN_F32; type < VKERN_I8; type++)
        for (size_t d = 0; d < COUNT(test_dims); d++) {
            const size_t dim = test_dims[d];
            unsigned char *a = guarded_end(&query, 4 * dim);
            unsigned char *b = guarded_end(&row, vkern_row_bytes(type, dim));
            const long double bound = (long double)(dim / 16 + 8) * 0x1p-53L;
            struct oracle sums;
            fill_row(&levels.table[0], VKERN_F32, NORMAL, dim, a);
            fill_row(&levels.table[0], type, NORMAL, dim, b);
            sums = oracle_sums(type, a, b, dim);
            assert_true(fabsl(levels.table[0].exact_l2sq[type](a, b, dim) - sums.l2sq) <=
                        bound * sums.l2sq);
            assert_true(fabsl(levels.table[0].exact_dot[type](a, b, dim) - sums.dot) <=
                        bound * sqrtl(sums.query_norm * sums.row_norm));
            assert_true(fabsl(levels.table[0].sumsq[type](b, dim) - sums.row_norm) <=
                        bound * sums.row_norm);
        }
    guarded_close(&query);
    guarded_close(&row);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_agree_at_every_level),
        cmocka_unit_test(integers_are_exact_beyond_32_bits),
        cmocka_unit_test(bits_are_counted),
        cmocka_unit_test(close_to_the_truth),
    };

    seed_random("exact");
    levels = all_levels();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
