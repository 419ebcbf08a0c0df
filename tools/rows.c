/*
 * rows.c - types of values in files, and their conversion; see rows.h. Plain rather than fast: it
 * runs once over a file, beside the disk.
 */
#include "rows.h"

#include <math.h>
#include <string.h>

size_t rows_value_bytes(uint32_t type)
{
    switch (type) {
    case VINDEX_FLOAT:
    case ROWS_INT32: return 4;
    case VINDEX_FLOAT16:
    case VINDEX_BFLOAT16: return 2;
    case VINDEX_INT8:
    case VINDEX_UINT8: return 1;
    case ROWS_INT64: return 8;
    default: return 0;
    }
}

const char *rows_type_name(uint32_t type)
{
    switch (type) {
    case VINDEX_FLOAT: return "float32";
    case VINDEX_FLOAT16: return "float16";
    case VINDEX_BFLOAT16: return "bfloat16";
    case VINDEX_INT8: return "int8";
    case VINDEX_UINT8: return "uint8";
    case VINDEX_BIT: return "bit";
    case ROWS_INT32: return "int32";
    case ROWS_INT64: return "int64";
    default: return "unknown";
    }
}

bool rows_is_ids(uint32_t type)
{
    return type == ROWS_INT32 || type == ROWS_INT64;
}

float rows_from_bfloat(uint16_t bits)
{
    uint32_t wide = (uint32_t)bits << 16;
    float value;

    memcpy(&value, &wide, sizeof value);
    return value;
}

float rows_from_half(uint16_t bits)
{
    int exponent = bits >> 10 & 0x1f;
    int mantissa = bits & 0x3ff;
    float size;

    if (exponent == 0x1f) {
        size = mantissa != 0 ? NAN : INFINITY;
    } else if (exponent == 0) {
        size = ldexpf((float)mantissa, -24);
    } else {
        size = ldexpf((float)(mantissa + 0x400), exponent - 25);
    }
    return bits & 0x8000 ? -size : size;
}

uint16_t rows_to_bfloat(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    if (isnan(value))
        return (uint16_t)(bits >> 16 | 0x40); /* quiet, and never rounded to infinity */
    bits += 0x7fff + (bits >> 16 & 1);
    return (uint16_t)(bits >> 16);
}

uint16_t rows_to_half(float value)
{
    uint16_t sign = signbit(value) ? 0x8000 : 0;
    float size = fabsf(value);
    int exponent;
    long mantissa;

    if (isnan(value)) return sign | 0x7e00;
    if (size >= 65520.0f) return sign | 0x7c00; /* halfway to the value after the largest */
    if (size < 0x1p-14f)
        return sign | (uint16_t)lrintf(ldexpf(size, 24)); /* subnormal steps: 2^-24 */
    frexpf(size, &exponent);
    /* size = m 2^(exponent - 11) with m in [1024, 2048]; 2048 carries into the exponent. */
    mantissa = lrintf(ldexpf(size, 11 - exponent));
    return sign | (uint16_t)(((exponent + 14) << 10) + (mantissa - 0x400));
}

/* Every value of every type but a large int64 is a double exactly. */
static double load(uint32_t type, const void *values, size_t i)
{
    switch (type) {
    case VINDEX_FLOAT: {
        float value;
        memcpy(&value, (const char *)values + 4 * i, sizeof value);
        return value;
    }
    case VINDEX_FLOAT16:
    case VINDEX_BFLOAT16: {
        uint16_t bits;
        memcpy(&bits, (const char *)values + 2 * i, sizeof bits);
        return type == VINDEX_FLOAT16 ? rows_from_half(bits) : rows_from_bfloat(bits);
    }
    case VINDEX_INT8: return ((const int8_t *)values)[i];
    case VINDEX_UINT8: return ((const uint8_t *)values)[i];
    case ROWS_INT32: {
        int32_t value;
        memcpy(&value, (const char *)values + 4 * i, sizeof value);
        return value;
    }
    default: {
        int64_t value;
        memcpy(&value, (const char *)values + 8 * i, sizeof value);
        return (double)value;
    }
    }
}

static bool is_whole(double value, double least, double most)
{
    return value >= least && value <= most && value == floor(value);
}

/* Returns false where the value does not fit. */
static bool store(double value, uint32_t type, void *values, size_t i)
{
    switch (type) {
    case VINDEX_FLOAT: {
        float narrow = (float)value;
        memcpy((char *)values + 4 * i, &narrow, sizeof narrow);
        return true;
    }
    case VINDEX_FLOAT16:
    case VINDEX_BFLOAT16: {
        float narrow = (float)value;
        uint16_t bits = type == VINDEX_FLOAT16 ? rows_to_half(narrow) : rows_to_bfloat(narrow);
        uint16_t infinite = type == VINDEX_FLOAT16 ? 0x7c00 : 0x7f80;
        memcpy((char *)values + 2 * i, &bits, sizeof bits);
        return (bits & 0x7fff) != infinite || isinf(value);
    }
    case VINDEX_INT8:
        if (!is_whole(value, INT8_MIN, INT8_MAX)) return false;
        ((int8_t *)values)[i] = (int8_t)value;
        return true;
    case VINDEX_UINT8:
        if (!is_whole(value, 0, UINT8_MAX)) return false;
        ((uint8_t *)values)[i] = (uint8_t)value;
        return true;
    case ROWS_INT32: {
        int32_t whole = 0;
        if (!is_whole(value, INT32_MIN, INT32_MAX)) return false;
        whole = (int32_t)value;
        memcpy((char *)values + 4 * i, &whole, sizeof whole);
        return true;
    }
    case ROWS_INT64: {
        int64_t whole = 0;
        if (!is_whole(value, -0x1p53, 0x1p53)) return false;
        whole = (int64_t)value;
        memcpy((char *)values + 8 * i, &whole, sizeof whole);
        return true;
    }
    default: return false;
    }
}

vindex_status rows_convert(uint32_t from, const void *values, size_t n, uint32_t to,
                           void *converted, size_t *n_bad, struct fault *fault)
{
    if (rows_value_bytes(from) == 0 || rows_value_bytes(to) == 0) {
        return fault_set(fault, VINDEX_UNSUPPORTED, "%s rows cannot become %s",
                         rows_type_name(from), rows_type_name(to));
    }
    if (from == to) {
        memcpy(converted, values, n * rows_value_bytes(from));
        return VINDEX_OK;
    }
    for (size_t i = 0; i < n; i++) {
        double value = load(from, values, i);

        if (!store(value, to, converted, i)) {
            *n_bad = i;
            return fault_set(
                fault, VINDEX_INVALID, "the value %.9g does not fit %s, which holds %s", value,
                rows_type_name(to),
                to == VINDEX_FLOAT16 || to == VINDEX_BFLOAT16 ? "nothing that large"
                                                              : "only whole numbers in its range");
        }
    }
    return VINDEX_OK;
}
