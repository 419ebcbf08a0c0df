/*
 * number.c - decimal text to float. Text files are read at the speed of this function.
 *
 * Fast path (Clinger, "How to read floating point numbers accurately", 1990): with at most 2^53 as
 * digits and a power of ten up to 10^22 both are doubles exactly, so one multiplication or division
 * is correctly rounded. Rounding that to float rounds twice, which is wrong only where the double
 * lies exactly between two floats; those, and all else, go to strtof.
 */
#include "number.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

struct decimal {
    uint64_t digits; /* value = digits * 10^exponent */
    int exponent;
    bool is_negative;
    bool has_digits, is_long; /* is_long: digits overflowed */
};

static const char *take_digits(const char *at, struct decimal *decimal, int step)
{
    for (; *at >= '0' && *at <= '9'; at++) {
        decimal->has_digits = true;
        if (decimal->digits >= UINT64_MAX / 10 - 1)
            decimal->is_long = true;
        else
            decimal->digits = 10 * decimal->digits + (uint64_t)(*at - '0');
        decimal->exponent += step;
    }
    return at;
}

/* "e-7"; what is no exponent is left where it is. */
static const char *take_exponent(const char *at, struct decimal *decimal)
{
    const char *digits = at + 1;
    bool is_negative;
    int exponent = 0;

    if (*at != 'e' && *at != 'E') return at;
    is_negative = *digits == '-';
    if (*digits == '-' || *digits == '+') digits++;
    if (*digits < '0' || *digits > '9') return at;
    for (; *digits >= '0' && *digits <= '9'; digits++) {
        if (exponent < 10000) exponent = 10 * exponent + (*digits - '0');
    }
    decimal->exponent += is_negative ? -exponent : exponent;
    return digits;
}

/* Whether rounding to float would be a tie: of the 29 bits that go, only the first is set. */
static bool is_tie(double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof bits);
    return (bits & 0x1fffffff) == 0x10000000;
}

static const char *parse_slowly(const char *text, float *value)
{
    char *end = NULL;

    *value = strtof(text, &end);
    return end;
}

const char *number_parse(const char *text, float *value)
{
    struct decimal decimal = {.is_negative = *text == '-'};
    const char *at = text + (*text == '-' || *text == '+');
    double wide;

    at = take_digits(at, &decimal, 0);
    if (*at == 'x' || *at == 'X') return text; /* 0x10 */
    if (*at == '.') at = take_digits(at + 1, &decimal, -1);
    if (decimal.has_digits) at = take_exponent(at, &decimal);
    if (!decimal.has_digits || decimal.is_long || decimal.digits > (uint64_t)1 << 53 ||
        decimal.exponent < -22 || decimal.exponent > 22) {
        return parse_slowly(text, value);
    }
    wide = (double)decimal.digits;
    if (decimal.exponent < 0)
        wide /= powers[-decimal.exponent];
    else
        wide *= powers[decimal.exponent];
    if (is_tie(wide)) return parse_slowly(text, value);
    *value = (float)(decimal.is_negative ? -wide : wide);
    return at;
}
