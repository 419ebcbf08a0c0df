/*
 * test_codes_encode.c - the inner loops of making codes, at every level: the bytes of a plain text of each, for odd
 * sizes, unaligned inputs that end at a page nobody may touch, numbers of any size and what is none.
 */
#include <float.h>
#include <math.h>

#include "kernel_test.h"
#include "kernels/codes/encode.h"

static struct levels levels;

enum { DIM_MOST = 2050, AXES_MOST = 72 };

static const struct vkern_encode *encode_of(size_t level)
{
    return levels.table[level].codes->encode;
}

static void check_same(const void *got, const void *want, size_t size, const char *what,
                       size_t level, size_t n)
{
    if (memcmp(got, want, size) != 0) fail_msg("%s, level %s, n %zu", what, levels.name[level], n);
}

/* ---- inputs ------------------------------------------------------------------------------------ */

/* n floats that end at a page nobody may touch: aligned to 4 bytes alone. */
struct input {
    struct guarded memory;
    float *x;
};

static struct input input_open(size_t n)
{
    struct input in = {.memory = guarded_open(n * 4 + 1)};
    in.x = guarded_end(&in.memory, n * 4);
    return in;
}

static void fill(float *x, size_t n, enum distribution distribution)
{
    for (size_t i = 0; i < n; i++) {
        const float normal =
            (float)(random_unit() + random_unit() + random_unit() - random_unit() - 1);
        switch (distribution) {
        case TINY: x[i] = normal * 1e-40f; break;
        case HUGE_VALUES: x[i] = normal * 1e37f; break;
        case WHOLE: x[i] = (float)(int)(256 * random_unit()); break;
        case ZEROS: x[i] = i % 3 ? 0.0f : -0.0f; break;
        case ALTERNATING: x[i] = i % 2 ? -1 : 1; break;
        case EXTREMES: x[i] = i % 5 == 0 ? FLT_MAX : i % 5 == 1 ? -FLT_MAX : normal; break;
        default: x[i] = normal; break;
        }
    }
}

/* ---- rows -------------------------------------------------------------------------------------- */

static double total(const double part[PARTS])
{
    double sum = 0;

    for (size_t j = 0; j < PARTS; j++)
        sum += part[j];
    return sum;
}

static void check_sums(const float *x, const float *mean, size_t n)
{
    static float want[DIM_MOST], got[DIM_MOST + 1];
    double squares[PARTS] = {0}, centred[PARTS] = {0};
    const double unit = 0.7, inverse = 0x1p-3;

    for (size_t i = 0; i < n; i++) {
        const double c = ((double)x[i] * unit - mean[i]) * inverse;
        want[i] = (float)c;
        squares[i % PARTS] += (double)x[i] * x[i];
        centred[i % PARTS] += c * c;
    }
    for (size_t l = 0; l < levels.n; l++) {
        const double got_squares = encode_of(l)->squares(x, n), want_squares = total(squares);
        check_same(&got_squares, &want_squares, 8, "squares", l, n);
        memset(got, 0xee, sizeof got);
        const double got_energy = encode_of(l)->centre(x, mean, n, unit, inverse, got);
        const double want_energy = total(centred);
        check_same(&got_energy, &want_energy, 8, "energy", l, n);
        check_same(got, want, 4 * n, "centred", l, n);
        assert_memory_equal(&got[n], "\xee\xee\xee\xee", 4);
    }
}

/* What came before is added to. */
static void begin_parts(double part[PARTS])
{
    for (size_t j = 0; j < PARTS; j++)
        part[j] = (double)(j + 1) * 0.125;
}

static void check_standardise(const float *x, const float *mean, const float *scale, size_t n)
{
    static double z[DIM_MOST], got[DIM_MOST + 1];
    double part[PARTS], most[PARTS], largest = 0;
    const double unit = 1.0 / 3;

    begin_parts(part);
    begin_parts(most);
    for (size_t i = 0; i < n; i++) {
        const double c = (double)x[i] * unit - mean[i];
        z[i] = c / scale[i];
        part[i % PARTS] += c * c;
        most[i % PARTS] = fabs(z[i]) > most[i % PARTS] ? fabs(z[i]) : most[i % PARTS];
    }
    for (size_t j = 0; j < PARTS; j++)
        largest = most[j] > largest ? most[j] : largest;
    for (size_t l = 0; l < levels.n; l++) {
        double got_part[PARTS], got_most[PARTS], got_largest = 0;
        begin_parts(got_part);
        begin_parts(got_most);
        memset(got, 0xee, sizeof got);
        encode_of(l)->standardise(x, mean, scale, n, unit, got, got_part, got_most);
        for (size_t j = 0; j < PARTS; j++)
            got_largest = got_most[j] > got_largest ? got_most[j] : got_largest;
        check_same(got, z, 8 * n, "standardised", l, n);
        check_same(got_part, part, sizeof part, "parts", l, n);
        check_same(&got_largest, &largest, 8, "most", l, n);
        assert_memory_equal(&got[n], "\xee\xee\xee\xee\xee\xee\xee\xee", 8);
    }
}

static void check_sum_codes(const uint8_t *codes, size_t n, int zero)
{
    int32_t sum = 0, squares = 0;

    for (size_t i = 0; i < n; i++) {
        sum += codes[i];
        squares += (codes[i] - zero) * (codes[i] - zero);
    }
    for (size_t l = 0; l < levels.n; l++) {
        int32_t got_sum, got_squares;
        encode_of(l)->sum_codes(codes, n, zero, &got_sum, &got_squares);
        assert_true(got_sum == sum && got_squares == squares);
    }
}

static void check_round(const double *z, size_t n, double step)
{
    static uint8_t want[DIM_MOST], got[DIM_MOST + 1];
    const double inverse = step > 0 ? 1 / step : 0;
    double error[PARTS];

    begin_parts(error);
    for (size_t i = 0; i < n; i++) {
        double code = z[i] * inverse + 128.5;
        code = code > 1 ? code : 1;
        code = code < 255 ? code : 255;
        want[i] = (uint8_t)code;
        const double miss = z[i] - step * (want[i] - 128);
        error[i % PARTS] += miss * miss;
    }
    for (size_t l = 0; l < levels.n; l++) {
        double got_error[PARTS];
        begin_parts(got_error);
        memset(got, 0, sizeof got);
        encode_of(l)->round(z, n, step, got, got_error);
        check_same(got, want, n, "codes", l, n);
        check_same(got_error, error, sizeof error, "errors", l, n);
        assert_int_equal(got[n], 0);
    }
    check_sum_codes(want, n, 128);
    check_sum_codes(want, n, 0);
}

static void check_whole(size_t n, int zero)
{
    static float x[DIM_MOST];
    static uint8_t want[DIM_MOST], got[DIM_MOST + 1];

    for (size_t i = 0; i < n; i++) {
        want[i] = (uint8_t)random_u64();
        x[i] = (float)(want[i] - zero);
    }
    for (size_t l = 0; l < levels.n; l++) {
        memset(got, 0xee, sizeof got);
        encode_of(l)->take_whole(x, n, zero, got);
        check_same(got, want, n, "whole", l, n);
        assert_int_equal(got[n], 0xee);
    }
}

static void check_look(const float *x, size_t n)
{
    struct vkern_c8_range want = {true, -3, 4};

    for (size_t i = 0; i < n; i++) {
        want.whole &= x[i] == rintf(x[i]) && x[i] >= -128 && x[i] <= 255;
        want.low = x[i] < (float)want.low && want.whole ? (int)x[i] : want.low;
        want.high = x[i] > (float)want.high && want.whole ? (int)x[i] : want.high;
    }
    for (size_t l = 0; l < levels.n; l++) {
        struct vkern_c8_range got = {true, -3, 4};
        encode_of(l)->look(x, n, &got);
        assert_int_equal(got.whole, want.whole);
        assert_true(!want.whole || (got.low == want.low && got.high == want.high));
    }
}

/* Another number anywhere: the ends of what is whole, and what is not. */
static void check_looks(float *x, size_t n)
{
    static const float others[] = {-128,   -4,  255,     7,    -0.0f, 0.5f,
                                   255.5f, 256, -128.5f, -129, 1e30f, -1e-30f};

    check_look(x, n);
    for (size_t i = 0; i < n; i += 1 + n / 9)
        for (size_t o = 0; o < COUNT(others); o++) {
            const float was = x[i];
            x[i] = others[o];
            check_look(x, n);
            x[i] = was;
        }
}

static void rows_give_the_same_bytes(void **state)
{
    static const size_t sizes[] = {0,  1,  3,  7,  8,  9,   15,  16,  17,  31,  33,   63,
                                   64, 65, 71, 72, 73, 100, 127, 128, 129, 784, 1023, DIM_MOST};
    static double z[DIM_MOST];

    (void)state;
    for (size_t s = 0; s < COUNT(sizes); s++)
        for (int d = 0; d < N_DISTRIBUTIONS; d++) {
            const size_t n = sizes[s];
            struct input x = input_open(n), mean = input_open(n), scale = input_open(n);
            fill(x.x, n, (enum distribution)d);
            fill(mean.x, n, NORMAL);
            for (size_t i = 0; i < n; i++) {
                scale.x[i] = (float)(0.01 + random_unit());
                z[i] = (double)x.x[i] - mean.x[i];
            }
            check_looks(x.x, n);
            check_sums(x.x, mean.x, n);
            check_standardise(x.x, mean.x, scale.x, n);
            check_round(z, n, d == EXTREMES ? 2.7e36 : 0.02);
            check_round(z, n, 0);
            check_whole(n, 0);
            check_whole(n, 128);
            guarded_close(&x.memory);
            guarded_close(&mean.memory);
            guarded_close(&scale.memory);
        }
}

/* ---- groups along axes ------------------------------------------------------------------------- */

static void plain_c4(const float *y, const struct ladder *ladders, size_t m,
                     struct c4_row_sums *sums, unsigned char *group)
{
    memset(sums, 0, sizeof *sums);
    memset(group, 0, 8 * m);
    for (size_t g = 0; g < m / 8; g++)
        for (size_t i = 0; i < 8; i++) { /* the order in which the sums run: 0, 4, 1, 5, ... */
            const size_t j = i / 2, k = 8 * g + j + (i % 2 ? 4 : 0);
            for (size_t r = 0; r < VKERN_GROUP; r++) {
                const float v = y[k * VKERN_TILE_ROWS + r];
                float code = (v + ladders[k].low) * ladders[k].inverse + 0.5f;
                code = code > 0 ? code : 0;
                code = code < 15 ? code : 15;
                const int whole = (int)code;
                const float c = (float)whole * ladders[k].step - ladders[k].low, miss = v - c;
                sums->code[r] += c * c;
                sums->miss[r] += miss * miss;
                sums->kept[r] += v * v;
                group[64 * g + 4 * r + j] |= (unsigned char)(whole << (i % 2 ? 4 : 0));
            }
        }
}

static void plain_p8(const float *y, size_t p, const float *rest, struct p8_group *group,
                     unsigned char *lines)
{
    for (size_t r = 0; r < VKERN_GROUP; r++) {
        group->miss[r] = 0;
        group->sum[r] = group->squares[r] = 0;
        for (size_t k = 0; k < p + (rest != NULL); k++) {
            const float v = k < p ? y[k * VKERN_TILE_ROWS + r] : rest[r];
            float code = v * group->inverse[r] + 128.5f;
            code = code > 1 ? code : 1;
            code = code < 255 ? code : 255;
            const int whole = (int)code;
            const float miss = v - (float)(whole - 128) * group->step[r];
            group->miss[r] += miss * miss;
            group->sum[r] += whole;
            group->squares[r] += (whole - 128) * (whole - 128);
            lines[64 * (k / 4) + 4 * r + k % 4] = (unsigned char)whole;
        }
    }
}

static void check_c4(const float *y, size_t m)
{
    static unsigned char want[8 * AXES_MOST], got[8 * AXES_MOST + 1];
    struct ladder ladders[AXES_MOST];
    struct c4_row_sums sums, got_sums;

    for (size_t k = 0; k < m; k++) {
        const float low = (float)(0.1 + 2 * random_unit()), step = 2 * low / 15;
        ladders[k] = (struct ladder){low, step, 1 / step};
    }
    plain_c4(y, ladders, m, &sums, want);
    for (size_t l = 0; l < levels.n; l++) {
        memset(got, 0xee, sizeof got);
        encode_of(l)->c4_group(y, ladders, m, &got_sums, got);
        check_same(got, want, 8 * m, "c4 codes", l, m);
        assert_int_equal(got[8 * m], 0xee);
        for (size_t r = 0; r < VKERN_GROUP && !isnan(sums.kept[r]); r++) {
            check_same(&got_sums.code[r], &sums.code[r], 4, "c4 |c|^2", l, m);
            check_same(&got_sums.miss[r], &sums.miss[r], 4, "c4 |y - c|^2", l, m);
            check_same(&got_sums.kept[r], &sums.kept[r], 4, "c4 |y|^2", l, m);
        }
    }
}

static void look_plain(const float *y, size_t p, struct p8_group *group)
{
    memset(group, 0, sizeof *group);
    for (size_t r = 0; r < VKERN_GROUP; r++) {
        for (size_t k = 0; k < p; k++) {
            const float v = y[k * VKERN_TILE_ROWS + r];
            group->most[r] = fabsf(v) > group->most[r] ? fabsf(v) : group->most[r];
            group->kept[r] += (double)v * v;
        }
        group->rest[r] = (float)random_unit();
        group->step[r] = (group->most[r] > group->rest[r] ? group->most[r] : group->rest[r]) / 127;
        group->inverse[r] = group->step[r] > 0 ? 1 / group->step[r] : 0;
    }
}

static void check_p8(const float *y, size_t p, bool has_rest)
{
    static unsigned char want[16 * (AXES_MOST + 4)], got[16 * (AXES_MOST + 4) + 1];
    struct p8_group group, made;
    const size_t size = 16 * p + (has_rest ? 64 : 0);

    look_plain(y, p, &group);
    memset(want, 0, sizeof want);
    plain_p8(y, p, has_rest ? group.rest : NULL, &group, want);
    for (size_t l = 0; l < levels.n; l++) {
        memset(&made, 0xee, sizeof made);
        encode_of(l)->p8_look(y, p, &made);
        check_same(made.most, group.most, sizeof made.most, "p8 most", l, p);
        for (size_t r = 0; r < VKERN_GROUP && !isnan(group.kept[r]); r++)
            check_same(&made.kept[r], &group.kept[r], 8, "p8 |y|^2", l, p);
        memcpy(made.step, group.step, sizeof made.step);
        memcpy(made.inverse, group.inverse, sizeof made.inverse);
        memset(got, 0xee, sizeof got);
        encode_of(l)->p8_round(y, p, has_rest ? group.rest : NULL, &made, got);
        check_same(got, want, size, "p8 codes", l, p);
        assert_int_equal(got[size], 0xee);
        check_same(made.sum, group.sum, sizeof made.sum, "p8 sums", l, p);
        check_same(made.squares, group.squares, sizeof made.squares, "p8 squares", l, p);
        for (size_t r = 0; r < VKERN_GROUP && !isnan(group.miss[r]); r++)
            check_same(&made.miss[r], &group.miss[r], 4, "p8 misses", l, p);
    }
}

static void groups_give_the_same_bytes(void **state)
{
    (void)state;
    for (size_t axes = 8; axes <= AXES_MOST; axes += 8)
        for (int d = 0; d <= N_DISTRIBUTIONS; d++) {
            /* the last element of the last axis is the last before the guard page */
            const size_t n = (axes - 1) * VKERN_TILE_ROWS + VKERN_GROUP;
            struct input y = input_open(n);
            fill(y.x, n, d < N_DISTRIBUTIONS ? (enum distribution)d : NORMAL);
            /* lanes that are no row's may be no numbers: the last lane */
            if (d == N_DISTRIBUTIONS)
                for (size_t k = 0; k < axes; k++)
                    y.x[k * VKERN_TILE_ROWS + 15] = k % 2 ? NAN : INFINITY;
            check_c4(y.x, axes);
            check_p8(y.x, axes, false);
            check_p8(y.x, axes, true);
            guarded_close(&y.memory);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_give_the_same_bytes),
        cmocka_unit_test(groups_give_the_same_bytes),
    };
    levels = all_levels();
    seed_random("test_codes_encode");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
