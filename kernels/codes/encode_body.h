/*
 * encode_body.h - the slots of encode.h in vectors of the compiler (gcc and clang): one text, compiled for each level
 * with vectors of its width.
 *
 * PARTS / DOUBLES vectors of doubles are the partial sums, a group is WIDTHS columns of FLOATS rows. The arithmetic of an
 * element is written once and depends on no level; only larger and smaller numbers are picked by what the level has,
 * a > b ? a : b as every one of them does it (so NaN gives b).
 */
#ifndef VKERN_CODES_ENCODE_BODY_H
#define VKERN_CODES_ENCODE_BODY_H

#include <string.h>

#include "kernels/codes/encode.h"
#include "kernels/init.h"

#if defined(__AVX512F__)
#define WIDTH 64
#define LEVEL(name) _mm512_##name
#define F64(x) (__m512d)(x)
#define F32(x) (__m512)(x)
#elif defined(__AVX2__)
#define WIDTH 32
#define LEVEL(name) _mm256_##name
#define F64(x) (__m256d)(x)
#define F32(x) (__m256)(x)
#else
#define WIDTH 16
#endif
#if defined(LEVEL)
#include <immintrin.h>
#endif

enum { FLOATS = WIDTH / 4, DOUBLES = WIDTH / 8, WIDTHS = VKERN_GROUP / FLOATS };

typedef double doubles __attribute__((vector_size(WIDTH)));
typedef int64_t longs __attribute__((vector_size(WIDTH)));
typedef float floats __attribute__((vector_size(WIDTH)));
typedef int32_t ints __attribute__((vector_size(WIDTH)));
typedef uint32_t words __attribute__((vector_size(WIDTH)));
/* As many as there are doubles. */
typedef float half_floats __attribute__((vector_size(WIDTH / 2)));
typedef int32_t half_ints __attribute__((vector_size(WIDTH / 2)));

VKERN_INLINE doubles load_doubles(const double *x)
{
    doubles v;
    memcpy(&v, x, sizeof v);
    return v;
}

VKERN_INLINE void store_doubles(doubles v, double *to)
{
    memcpy(to, &v, sizeof v);
}

VKERN_INLINE floats load_floats(const float *x)
{
    floats v;
    memcpy(&v, x, sizeof v);
    return v;
}

VKERN_INLINE doubles widen(const float *x)
{
    half_floats v;
    memcpy(&v, x, sizeof v);
    return __builtin_convertvector(v, doubles);
}

#if defined(LEVEL)
VKERN_INLINE doubles larger_doubles(doubles a, doubles b)
{
    return (doubles)LEVEL(max_pd)(F64(a), F64(b));
}

VKERN_INLINE doubles smaller_doubles(doubles a, doubles b)
{
    return (doubles)LEVEL(min_pd)(F64(a), F64(b));
}

VKERN_INLINE floats larger_floats(floats a, floats b)
{
    return (floats)LEVEL(max_ps)(F32(a), F32(b));
}

VKERN_INLINE floats smaller_floats(floats a, floats b)
{
    return (floats)LEVEL(min_ps)(F32(a), F32(b));
}
#else
/* a where the mask is set, b elsewhere. */
VKERN_INLINE doubles pick_doubles(longs mask, doubles a, doubles b)
{
    return (doubles)(((longs)a & mask) | ((longs)b & ~mask));
}

VKERN_INLINE floats pick_floats(ints mask, floats a, floats b)
{
    return (floats)(((ints)a & mask) | ((ints)b & ~mask));
}

VKERN_INLINE doubles larger_doubles(doubles a, doubles b)
{
    return pick_doubles(a > b, a, b);
}

VKERN_INLINE doubles smaller_doubles(doubles a, doubles b)
{
    return pick_doubles(a < b, a, b);
}

VKERN_INLINE floats larger_floats(floats a, floats b)
{
    return pick_floats(a > b, a, b);
}

VKERN_INLINE floats smaller_floats(floats a, floats b)
{
    return pick_floats(a < b, a, b);
}
#endif

VKERN_INLINE doubles size_of_doubles(doubles x)
{
    return (doubles)((longs)x & INT64_MAX);
}

VKERN_INLINE floats size_of_floats(floats x)
{
    return (floats)((ints)x & INT32_MAX);
}

/* ---- rows, element by element ------------------------------------------------------------------ */

/* The partial sums in registers. */
struct sums {
    doubles part[PARTS / DOUBLES];
};

VKERN_INLINE void begin_sums(const double part[PARTS], struct sums *sums)
{
    for (size_t v = 0; v < PARTS / DOUBLES; v++)
        sums->part[v] = load_doubles(part + v * DOUBLES);
}

VKERN_INLINE void end_sums(const struct sums *sums, double part[PARTS])
{
    for (size_t v = 0; v < PARTS / DOUBLES; v++)
        store_doubles(sums->part[v], part + v * DOUBLES);
}

static double squares(const float *x, size_t n)
{
    double part[PARTS] = {0};
    struct sums sums;
    size_t i = 0;

    begin_sums(part, &sums);
    for (; i + PARTS <= n; i += PARTS)
        for (size_t v = 0; v < PARTS / DOUBLES; v++) {
            const doubles c = widen(x + i + v * DOUBLES);
            sums.part[v] += c * c;
        }
    end_sums(&sums, part);
    for (size_t j = 0; i < n; i++, j++)
        part[j] += (double)x[i] * x[i];
    return sum_of_parts(part);
}

static double centre_row(const float *x, const float *mean, size_t n, double unit, double inverse,
                         float *to)
{
    double part[PARTS] = {0};
    struct sums sums;
    size_t i = 0;

    begin_sums(part, &sums);
    for (; i + PARTS <= n; i += PARTS)
        for (size_t v = 0; v < PARTS / DOUBLES; v++) {
            const size_t at = i + v * DOUBLES;
            const doubles c = (widen(x + at) * unit - widen(mean + at)) * inverse;
            const half_floats rounded = __builtin_convertvector(c, half_floats);
            memcpy(to + at, &rounded, sizeof rounded);
            sums.part[v] += c * c;
        }
    end_sums(&sums, part);
    for (size_t j = 0; i < n; i++, j++) {
        const double c = ((double)x[i] * unit - mean[i]) * inverse;
        to[i] = (float)c;
        part[j] += c * c;
    }
    return sum_of_parts(part);
}

/* What is met: a range in floats, and whether something was not whole. */
struct met {
    floats low, high;
    ints not_whole;
};

VKERN_INLINE void meet(const float *x, struct met *met)
{
    const floats v = load_floats(x);
    const floats inside = smaller_floats(larger_floats(v, (floats){0} - 128), (floats){0} + 255);
    met->not_whole |= __builtin_convertvector(__builtin_convertvector(inside, ints), floats) != v;
    met->low = smaller_floats(inside, met->low);
    met->high = larger_floats(inside, met->high);
}

static void look(const float *x, size_t n, struct vkern_c8_range *range)
{
    struct met met = {(floats){0} + (float)range->low, (floats){0} + (float)range->high, {0}};
    float rest[FLOATS] = {0}, low[FLOATS], high[FLOATS];
    size_t i = 0;

    for (; i + FLOATS <= n; i += FLOATS)
        meet(x + i, &met);
    memcpy(rest, x + i, 4 * (n - i)); /* 0 is in every range */
    meet(rest, &met);
    memcpy(low, &met.low, sizeof low);
    memcpy(high, &met.high, sizeof high);
    for (size_t j = 0; j < FLOATS; j++) {
        range->low = (int)low[j] < range->low ? (int)low[j] : range->low;
        range->high = (int)high[j] > range->high ? (int)high[j] : range->high;
        range->whole &= met.not_whole[j] == 0;
    }
}

static void standardise(const float *x, const float *mean, const float *scale, size_t n,
                        double unit, double *z, double part[PARTS], double most[PARTS])
{
    struct sums sums, largest;
    size_t i = 0;

    begin_sums(part, &sums);
    begin_sums(most, &largest);
    for (; i + PARTS <= n; i += PARTS)
        for (size_t v = 0; v < PARTS / DOUBLES; v++) {
            const size_t at = i + v * DOUBLES;
            const doubles c = widen(x + at) * unit - widen(mean + at), s = c / widen(scale + at);
            sums.part[v] += c * c;
            largest.part[v] = larger_doubles(size_of_doubles(s), largest.part[v]);
            store_doubles(s, z + at);
        }
    end_sums(&sums, part);
    end_sums(&largest, most);
    for (size_t j = 0; i < n; i++, j++) {
        const double c = (double)x[i] * unit - mean[i], s = c / scale[i], size = s < 0 ? -s : s;
        part[j] += c * c;
        most[j] = size > most[j] ? size : most[j];
        z[i] = s;
    }
}

/* As ints first: compilers narrow many of them to bytes at once, a vector alone one by one. */
enum { NARROWED = 8 * PARTS };

static void round_codes(const double *z, size_t n, double step, uint8_t *codes, double error[PARTS])
{
    const double inverse = step > 0 ? 1 / step : 0;
    struct sums sums;
    size_t i = 0;

    begin_sums(error, &sums);
    while (i + PARTS <= n) {
        const size_t here = n - i < NARROWED ? (n - i) / PARTS * PARTS : NARROWED;
        int32_t made[NARROWED];
        for (size_t at = 0; at < here; at += PARTS)
            for (size_t v = 0; v < PARTS / DOUBLES; v++) {
                const doubles c = load_doubles(z + i + at + v * DOUBLES);
                doubles code = larger_doubles(c * inverse + 128.5, (doubles){0} + 1);
                code = smaller_doubles(code, (doubles){0} + 255);
                const half_ints whole = __builtin_convertvector(code, half_ints);
                const doubles miss = c - step * __builtin_convertvector(whole - 128, doubles);
                sums.part[v] += miss * miss;
                memcpy(made + at + v * DOUBLES, &whole, sizeof whole);
            }
        for (size_t j = 0; j < here; j++)
            codes[i + j] = (uint8_t)made[j];
        i += here;
    }
    end_sums(&sums, error);
    for (size_t j = 0; i < n; i++, j++) {
        double code = z[i] * inverse + 128.5;
        code = code > 1 ? code : 1;
        code = code < 255 ? code : 255;
        const int made = (int)code;
        const double miss = z[i] - step * (made - 128);
        error[j] += miss * miss;
        codes[i] = (uint8_t)made;
    }
}

/* Whole numbers: compilers make vectors of these by themselves, in any order. */
static void sum_codes(const uint8_t *codes, size_t n, int zero, int32_t *sum, int32_t *squares_of)
{
    int32_t all = 0, square = 0;

    for (size_t i = 0; i < n; i++) {
        const int code = codes[i], from_zero = code - zero;
        all += code;
        square += from_zero * from_zero;
    }
    *sum = all;
    *squares_of = square;
}

static void take_whole(const float *x, size_t n, int zero, uint8_t *codes)
{
    for (size_t i = 0; i < n; i++)
        codes[i] = (uint8_t)((int)x[i] + zero);
}

/* ---- groups along axes: a column of rows at once ----------------------------------------------- */

struct c4_lanes {
    floats code, miss, kept;
};

VKERN_INLINE ints round_axis(const float *y, const struct ladder *ladder, struct c4_lanes *lanes)
{
    const floats v = load_floats(y);
    floats code = (v + ladder->low) * ladder->inverse + 0.5f;
    code = smaller_floats(larger_floats(code, (floats){0}), (floats){0} + 15);
    const ints whole = __builtin_convertvector(code, ints);
    const floats c = __builtin_convertvector(whole, floats) * ladder->step - ladder->low;
    const floats miss = v - c;
    lanes->code += c * c;
    lanes->miss += miss * miss;
    lanes->kept += v * v;
    return whole;
}

static void c4_group(const float *y, const struct ladder *ladders, size_t m,
                     struct c4_row_sums *sums, unsigned char *group)
{
    for (size_t w = 0; w < WIDTHS; w++) {
        struct c4_lanes lanes = {{0}, {0}, {0}};
        for (size_t g = 0; g < m / 8; g++) {
            words line = {0};
            for (size_t j = 0; j < 4; j++) {
                const size_t k = 8 * g + j;
                const float *at = y + k * VKERN_TILE_ROWS + w * FLOATS;
                const ints low = round_axis(at, &ladders[k], &lanes);
                const ints high = round_axis(at + 4 * VKERN_TILE_ROWS, &ladders[k + 4], &lanes);
                line |= (words)(low | high << 4) << (uint32_t)(8 * j);
            }
            memcpy(group + 64 * g + w * WIDTH, &line, sizeof line);
        }
        memcpy(sums->code + w * FLOATS, &lanes.code, WIDTH);
        memcpy(sums->miss + w * FLOATS, &lanes.miss, WIDTH);
        memcpy(sums->kept + w * FLOATS, &lanes.kept, WIDTH);
    }
}

static void p8_look(const float *y, size_t p, struct p8_group *group)
{
    for (size_t w = 0; w < WIDTHS; w++) {
        floats most = {0};
        doubles low = {0}, high = {0};
        for (size_t k = 0; k < p; k++) {
            const float *at = y + k * VKERN_TILE_ROWS + w * FLOATS;
            const doubles a = widen(at), b = widen(at + DOUBLES);
            most = larger_floats(size_of_floats(load_floats(at)), most);
            low += a * a;
            high += b * b;
        }
        memcpy(group->most + w * FLOATS, &most, WIDTH);
        store_doubles(low, group->kept + w * FLOATS);
        store_doubles(high, group->kept + w * FLOATS + DOUBLES);
    }
}

struct p8_lanes {
    floats step, inverse, miss;
    ints sum, squares;
};

VKERN_INLINE ints round_along(const float *y, struct p8_lanes *lanes)
{
    const floats v = load_floats(y);
    floats code = v * lanes->inverse + 128.5f;
    code = smaller_floats(larger_floats(code, (floats){0} + 1), (floats){0} + 255);
    const ints whole = __builtin_convertvector(code, ints), from_zero = whole - 128;
    const floats miss = v - __builtin_convertvector(from_zero, floats) * lanes->step;
    lanes->miss += miss * miss;
    lanes->sum += whole;
    lanes->squares += from_zero * from_zero;
    return whole;
}

static void p8_round(const float *y, size_t p, const float *rest, struct p8_group *group,
                     unsigned char *lines)
{
    for (size_t w = 0; w < WIDTHS; w++) {
        struct p8_lanes lanes = {.step = load_floats(group->step + w * FLOATS),
                                 .inverse = load_floats(group->inverse + w * FLOATS)};
        for (size_t g = 0; g < p / 4; g++) {
            words line = {0};
            for (size_t j = 0; j < 4; j++) {
                const float *at = y + (4 * g + j) * VKERN_TILE_ROWS + w * FLOATS;
                line |= (words)round_along(at, &lanes) << (uint32_t)(8 * j);
            }
            memcpy(lines + 64 * g + w * WIDTH, &line, sizeof line);
        }
        if (rest) {
            const ints line = round_along(rest + w * FLOATS, &lanes);
            memcpy(lines + 16 * p + w * WIDTH, &line, sizeof line);
        }
        memcpy(group->miss + w * FLOATS, &lanes.miss, WIDTH);
        memcpy(group->sum + w * FLOATS, &lanes.sum, WIDTH);
        memcpy(group->squares + w * FLOATS, &lanes.squares, WIDTH);
    }
}

#define VKERN_ENCODE_SLOTS                                                                         \
    {                                                                                              \
        squares, centre_row, look, standardise, round_codes, sum_codes, take_whole, c4_group,      \
            p8_look, p8_round                                                                      \
    }

#endif
