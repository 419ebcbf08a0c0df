/*
 * test_codes.c - the kernels of kernels/codes.h at every level: integers exact at the limits of
 * codes, weights and dims, floats within their roundings, nothing read or written outside.
 */
#include "codes_test.h"

static struct levels levels;

static const size_t offsets[] = {0, 1, 16, 63};

/* ---- c4 ----------------------------------------------------------------------------------------
 */

struct c4_case {
    size_t n_groups, m, offset;
    enum code_kind kind;
    bool plain; /* no factors, weight_scale 1: the score is minus the integer */
};

static void fill_c4(unsigned char *groups, const struct c4_case *c)
{
    for (size_t g = 0; g < c->n_groups; g++, groups += vkern_c4_group_bytes(c->m)) {
        for (size_t i = 0; i < 8 * c->m; i++)
            groups[i] = row_code(c->kind);
        for (size_t r = 0; r < 16; r++) {
            const float factor = c->plain ? 0 : (float)(100 * random_unit());
            memcpy(groups + 8 * c->m + 4 * r, &factor, 4);
        }
    }
}

static int64_t c4_integer(const int8_t *weights, const unsigned char *group, size_t m, size_t r)
{
    int64_t sum = 0;

    for (size_t k = 0; k < m; k++) {
        const unsigned byte = group[64 * (k / 8) + 4 * r + k % 4];
        sum += weights[k] * (int)(k / 4 % 2 == 0 ? byte % 16 : byte / 16);
    }
    return sum;
}

static void check_c4_scores(const struct c4_case *c, const int8_t *weights, float weight_scale,
                            const unsigned char *groups, const float *scores, const char *level)
{
    for (size_t i = 0; i < 16 * c->n_groups; i++) {
        const unsigned char *group = groups + i / 16 * vkern_c4_group_bytes(c->m);
        const int64_t integer = c4_integer(weights, group, c->m, i % 16);
        const long double product = (long double)weight_scale * integer;
        long double bound;
        float factor;
        memcpy(&factor, group + 8 * c->m + 4 * (i % 16), 4);
        bound = c->plain ? 0 : 4 * 0x1p-24L * (fabsl(product) + fabsl(factor)) + FLT_MIN;
        if (fabsl(scores[i] - (factor - product)) > bound)
            fail_msg("%s, %s codes, m %zu, row %zu of %zu groups: %.9g, integer %lld", level,
                     code_kind_names[c->kind], c->m, i, c->n_groups, (double)scores[i],
                     (long long)integer);
    }
}

/* Scores at the cut are below it, and so is what is no number. */
static void check_c4_below(const struct c4_case *c, const float *scores, float cut,
                           const uint16_t *below, const char *level)
{
    for (size_t i = 0; i < 16 * c->n_groups; i++)
        if ((below[i / 16] >> i % 16 & 1) != !(scores[i] > cut))
            fail_msg("%s, m %zu: row %zu of score %.9g, cut %.9g", level, c->m, i,
                     (double)scores[i], (double)cut);
}

static void check_c4(const struct c4_case *c)
{
    const size_t size = c->n_groups * vkern_c4_group_bytes(c->m);
    struct guarded rows = guarded_open(size + c->offset), query = guarded_open(c->m);
    struct guarded out = guarded_open(64 * c->n_groups), bits = guarded_open(2 * c->n_groups);
    uint16_t *below = guarded_end(&bits, 2 * c->n_groups);
    unsigned char *groups = c->offset == 0 ? guarded_end(&rows, size)
                                           : (unsigned char *)guarded_begin(&rows) + c->offset - 1;
    int8_t *weights = guarded_end(&query, c->m);
    float *scores = guarded_end(&out, 64 * c->n_groups);
    const float weight_scale = c->plain ? 1 : (float)(random_unit() * 1e-3);

    fill_c4(groups, c);
    for (size_t k = 0; k < c->m; k++) {
        weights[k] = query_code(c->kind, k, 127);
        if (weights[k] == -128) weights[k] = -127; /* the contract's range */
    }
    for (size_t l = 0; l < levels.n; l++) {
        memset(scores, 0xff, 64 * c->n_groups);
        levels.table[l].codes->c4_scan(weights, weight_scale, groups, c->n_groups, c->m, scores, 0,
                                       NULL);
        check_c4_scores(c, weights, weight_scale, groups, scores, levels.name[l]);
        const float cuts[] = {c->n_groups ? scores[7] : 0, INFINITY, -INFINITY, NAN};
        for (size_t i = 0; i < COUNT(cuts); i++) {
            memset(scores, 0xff, 64 * c->n_groups);
            memset(below, i % 2 ? 0xff : 0, 2 * c->n_groups);
            levels.table[l].codes->c4_scan(weights, weight_scale, groups, c->n_groups, c->m, scores,
                                           cuts[i], below);
            check_c4_scores(c, weights, weight_scale, groups, scores, levels.name[l]);
            check_c4_below(c, scores, cuts[i], below, levels.name[l]);
        }
    }
    guarded_close(&bits);
    guarded_close(&out);
    guarded_close(&query);
    guarded_close(&rows);
}

static void c4_scan(void **state)
{
    (void)state;
    for (size_t m = 8; m <= 264; m += 8)
        for (int kind = 0; kind < N_CODE_KINDS; kind++) {
            const struct c4_case c = {1 + m / 8 % 5, m, offsets[m / 8 % COUNT(offsets)], kind,
                                      kind != RANDOM_CODES || m % 16 == 0};
            check_c4(&c);
        }
    for (int kind = 0; kind < N_CODE_KINDS; kind++) {
        const struct c4_case widest = {3, VKERN_C4_AXES_MAX, 0, kind, true};
        const struct c4_case none = {0, 48, 0, kind, true};
        check_c4(&widest);
        check_c4(&none);
    }
}

/* ---- c8, one query
 * ------------------------------------------------------------------------------- */

static void check_c8(size_t n_groups, size_t dim, size_t offset, enum code_kind kind, bool plain)
{
    const size_t size = n_groups * vkern_c8_group_bytes(dim), width = (dim + 3) / 4 * 4;
    struct guarded rows = guarded_open(size + offset), out = guarded_open(64 * n_groups);
    struct guarded query_memory = guarded_open(width);
    unsigned char *groups =
        offset == 0 ? guarded_end(&rows, size) : (unsigned char *)guarded_begin(&rows) + offset - 1;
    float *scores = guarded_end(&out, 64 * n_groups);
    const struct vkern_c8_query query =
        make_c8_query(guarded_end(&query_memory, width), dim, kind, plain);

    fill_c8(groups, n_groups, dim, kind, plain);
    for (size_t l = 0; l < levels.n; l++) {
        memset(scores, 0xff, 64 * n_groups);
        levels.table[l].codes->c8_scan(&query, groups, n_groups, dim, scores);
        for (size_t i = 0; i < 16 * n_groups; i++) {
            const unsigned char *group = groups + i / 16 * vkern_c8_group_bytes(dim);
            if (!is_c8_score(&query, group, dim, i % 16, plain, scores[i]))
                fail_msg("%s, %s codes, dim %zu, row %zu of %zu groups: %.9g of %lld",
                         levels.name[l], code_kind_names[kind], dim, i, n_groups, (double)scores[i],
                         (long long)c8_integer(&query, group, dim, i % 16));
        }
    }
    guarded_close(&query_memory);
    guarded_close(&out);
    guarded_close(&rows);
}

static void c8_scan(void **state)
{
    (void)state;
    for (size_t d = 0; d < COUNT(test_dims); d++)
        for (int kind = 0; kind < N_CODE_KINDS; kind++) {
            check_c8(d % 4, test_dims[d], offsets[d % COUNT(offsets)], kind, true);
            check_c8(1 + d % 3, test_dims[d], offsets[(d + 1) % COUNT(offsets)], kind, false);
        }
    for (int kind = 0; kind < N_CODE_KINDS; kind++) {
        check_c8(2, 5, 0, kind, true);
        check_c8(2, VKERN_C8_DIM_MAX, 0, kind, true);
        check_c8(1, VKERN_C8_DIM_MAX - 3, 1, kind, true);
    }
}

/* A file may hold any sum of codes under a right checksum: then all levels say the same. */
static void c8_scan_of_damaged_sums(void **state)
{
    static const int32_t damaged[] = {INT32_MAX, INT32_MIN, -1, 0x01000000, 20000000};
    enum { WIDE = 100 };
    unsigned char group[64 * (WIDE / 4) + 192];
    int8_t codes[WIDE];
    float scores[VKERN_GROUP], expected[VKERN_GROUP];
    (void)state;
    memset(group, 0x5a, sizeof group);
    memset(codes, 77, sizeof codes);
    for (size_t r = 0; r < VKERN_GROUP; r++) {
        const float one = 1, none = 0;
        memcpy(group + 64 * (WIDE / 4) + 4 * r, &none, 4);
        memcpy(group + 64 * (WIDE / 4) + 64 + 4 * r, &one, 4);
        memcpy(group + 64 * (WIDE / 4) + 128 + 4 * r, &damaged[r % COUNT(damaged)], 4);
    }
    for (int32_t shift = -128; shift <= 128; shift += 64) {
        const struct vkern_c8_query query = {codes, 1, shift, 128 * 128 * WIDE};
        for (size_t r = 0; r < VKERN_GROUP; r++) {
            int64_t sum = WIDE * 77 * 0x5a + query.constant;
            sum += (int64_t)shift * damaged[r % COUNT(damaged)];
            expected[r] = (float)(int32_t)(uint32_t)sum;
        }
        for (size_t l = 0; l < levels.n; l++) {
            levels.table[l].codes->c8_scan(&query, group, 1, WIDE, scores);
            assert_memory_equal(scores, expected, sizeof scores);
        }
    }
}

/* ---- 8-bit rows as groups
 * ------------------------------------------------------------------------ */

/* Every byte of every group is said by the contract, so levels must agree with it bit by bit. */
static void check_packed(enum vkern_type type, const unsigned char *rows, size_t stride, size_t n,
                         size_t dim, const float *bias, const float *scale,
                         const unsigned char *groups, const char *level)
{
    const size_t lines = (dim + 3) / 4;

    for (size_t r = 0; r < 16 * vkern_groups(n); r++) {
        const unsigned char *group = groups + r / 16 * vkern_c8_group_bytes(dim) + 4 * (r % 16);
        const float want[2] = {r < n ? bias[r] : 0, r < n ? scale[r] : 0};
        int32_t sum = 0;
        for (size_t i = 0; i < 4 * lines; i++) {
            int code = 0;
            if (r < n && i < dim && type == VKERN_U8) code = rows[r * stride + i];
            if (r < n && i < dim && type == VKERN_I8) code = (int8_t)rows[r * stride + i] + 128;
            if (group[64 * (i / 4) + i % 4] != code)
                fail_msg("%s %s, n %zu, dim %zu: row %zu, element %zu is %d, not %d", level,
                         type_names[type], n, dim, r, i, group[64 * (i / 4) + i % 4], code);
            sum += code;
        }
        assert_memory_equal(group + 64 * lines, &want[0], 4);
        assert_memory_equal(group + 64 * lines + 64, &want[1], 4);
        assert_memory_equal(group + 64 * lines + 128, &sum, 4);
    }
}

static void check_pack(enum vkern_type type, size_t n, size_t dim, size_t padding)
{
    const size_t stride = dim + padding, size = n > 0 ? (n - 1) * stride + dim : 0;
    const size_t out_size = vkern_groups(n) * vkern_c8_group_bytes(dim);
    struct guarded row_memory = guarded_open(size), out = guarded_open(out_size);
    struct guarded factors = guarded_open(4 * n), scales = guarded_open(4 * n);
    unsigned char *rows = guarded_end(&row_memory, size), *groups = guarded_end(&out, out_size);
    float *bias = guarded_end(&factors, 4 * n), *scale = guarded_end(&scales, 4 * n);

    for (size_t i = 0; i < size; i++)
        rows[i] = (unsigned char)random_u64();
    for (size_t r = 0; r < n; r++)
        bias[r] = (float)random_unit(), scale[r] = (float)random_unit();
    for (size_t l = 0; l < levels.n; l++) {
        memset(groups, 0xee, out_size);
        levels.table[l].codes->c8_pack(type, rows, stride, n, dim, bias, scale, groups);
        check_packed(type, rows, stride, n, dim, bias, scale, groups, levels.name[l]);
    }
    guarded_close(&scales);
    guarded_close(&factors);
    guarded_close(&out);
    guarded_close(&row_memory);
}

static void c8_pack(void **state)
{
    (void)state;
    for (int type = VKERN_I8; type <= VKERN_U8; type++)
        for (size_t d = 0; d < COUNT(test_dims); d++) {
            check_pack(type, 1 + d, test_dims[d], test_paddings[d % COUNT(test_paddings)]);
            check_pack(type, 16, test_dims[d], test_paddings[(d + 1) % COUNT(test_paddings)]);
        }
    for (size_t c = 0; c < COUNT(test_counts); c++)
        check_pack(VKERN_I8, test_counts[c], 67, 0);
}

/* Rows packed and scored are the rows: integers of i8 and u8 as the exact kernels have them. */
static void packed_rows_score_as_rows(void **state)
{
    enum { N = 40, DIM = 130 };
    unsigned char rows[N][DIM], query[DIM];
    float ones[N], zeros[N] = {0}, scores[48], *row = malloc(4 * DIM);
    const struct vkern_model model = {DIM, 0, VKERN_IP, NULL, NULL, NULL, NULL, 1, 0, 0};
    unsigned char *groups = malloc(vkern_groups(N) * vkern_c8_group_bytes(DIM));
    int8_t codes[DIM + 2];

    (void)state;
    for (size_t r = 0; r < N; r++) {
        ones[r] = 1;
        for (size_t i = 0; i < DIM; i++)
            rows[r][i] = (unsigned char)random_u64();
    }
    for (int type = VKERN_I8; type <= VKERN_U8; type++)
        for (size_t l = 0; l < levels.n; l++) {
            const vkern_table *t = &levels.table[l];
            const struct vkern_c8_facts facts = {true, type == VKERN_I8, 0, 3e4f, 0};
            struct vkern_c8_side side;
            for (size_t i = 0; i < DIM; i++)
                query[i] = (unsigned char)random_u64();
            t->to_f32[type](query, DIM, row);
            vkern_c8_query_make(&model, &facts, row, codes, &side);
            assert_true(side.v_error == 0);
            t->codes->c8_pack(type, rows, DIM, N, DIM, zeros, ones, groups);
            t->codes->c8_scan(&side.query, groups, vkern_groups(N), DIM, scores);
            for (size_t r = 0; r < N; r++)
                assert_true(scores[r] == -(float)t->exact_dot[type](query, rows[r], DIM));
            for (size_t r = N; r < 48; r++)
                assert_true(scores[r] == 0);
        }
    free(groups);
    free(row);
}

/* ---- many queries
 * -------------------------------------------------------------------------------- */

static void tile8(void **state)
{
    (void)state;
    for (size_t l = 0; l < levels.n; l++) {
        const struct vkern_tile8 *tile = levels.table[l].codes->tile8;
        assert_true(tile->begin == NULL);
        check_tile8_engine(tile);
    }
}

/* Where the processor and the system have tiles; test_codes_amx proves the logic where not. */
static void amx(void **state)
{
    vkern_table best;

    (void)state;
    vkern_table_init(&best, vkern_cpu());
    if (best.codes->amx == NULL || !best.codes->amx->begin()) {
        print_message("no AMX here, or the system refuses it\n");
        skip();
    }
    check_tile8_engine(best.codes->amx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(c4_scan), cmocka_unit_test(c8_scan),
        cmocka_unit_test(c8_scan_of_damaged_sums),
        cmocka_unit_test(c8_pack), cmocka_unit_test(packed_rows_score_as_rows),
        cmocka_unit_test(tile8),   cmocka_unit_test(amx),
    };

    seed_random("test_codes");
    levels = all_levels();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
