/*
 * element.h - one element of a row at any alignment, and the conversions between formats, bit by
 * bit.
 *
 * binary16 after IEEE 754-2008 section 3.4, rounding to nearest, ties to even (4.3.1); NaN as the
 * F16C instructions have it (quiet, upper payload kept), so that every level agrees on every bit.
 */
#ifndef VKERN_REF_ELEMENT_H
#define VKERN_REF_ELEMENT_H

#include <string.h>

#include "kernels/init.h"

VKERN_INLINE float float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

VKERN_INLINE uint32_t bits_of_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

VKERN_INLINE float float_of_f16(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    const uint32_t exponent = half >> 10 & 0x1f;
    const uint32_t mantissa = half & 0x3ff;

    if (exponent == 0x1f) /* infinity, or NaN made quiet */
        return float_of_bits(sign | 0x7f800000 | mantissa << 13 | (mantissa ? 0x400000 : 0));
    if (exponent == 0) { /* zero or subnormal: mantissa * 2^-24, exact in binary32 */
        const float magnitude = (float)mantissa * 0x1p-24f;
        return sign ? -magnitude : magnitude;
    }
    return float_of_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

VKERN_INLINE uint16_t f16_of_float(float value)
{
    const uint32_t bits = bits_of_float(value);
    const uint32_t sign = bits >> 16 & 0x8000;
    uint32_t magnitude = bits & 0x7fffffff, shift, kept, rest, half_way;

    if (magnitude > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
    if (magnitude >= 0x47800000) return (uint16_t)(sign | 0x7c00); /* 2^16 and beyond */
    if (magnitude < 0x33000000) return (uint16_t)sign;             /* under half of 2^-24 */

    if (magnitude >= 0x38800000) { /* normal: 112 off the exponent, 13 bits off the mantissa */
        shift = 13;
        magnitude -= (uint32_t)112 << 23;
    } else { /* subnormal: the mantissa with its leading one, in units of 2^-24 */
        shift = 126 - (magnitude >> 23);
        magnitude = (magnitude & 0x7fffff) | 0x800000;
    }
    kept = magnitude >> shift;
    rest = magnitude & (((uint32_t)1 << shift) - 1);
    half_way = (uint32_t)1 << (shift - 1);
    if (rest > half_way || (rest == half_way && (kept & 1)))
        kept++; /* may carry to infinity: right */
    return (uint16_t)(sign | kept);
}

VKERN_INLINE float float_of_bf16(uint16_t upper)
{
    return float_of_bits((uint32_t)upper << 16);
}

VKERN_INLINE uint16_t bf16_of_float(float value)
{
    const uint32_t bits = bits_of_float(value);

    if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* Element i of a row (not of bits); exact. */
VKERN_INLINE float element(enum vkern_type type, const void *row, size_t i)
{
    const unsigned char *at = (const unsigned char *)row + vkern_row_bytes(type, i);
    uint32_t word;
    uint16_t half;

    switch (type) {
    case VKERN_F32: memcpy(&word, at, sizeof word); return float_of_bits(word);
    case VKERN_F16: memcpy(&half, at, sizeof half); return float_of_f16(half);
    case VKERN_BF16: memcpy(&half, at, sizeof half); return float_of_bf16(half);
    case VKERN_I8: return (float)*(const int8_t *)at;
    case VKERN_U8: return (float)*at;
    default: return 0;
    }
}

/* The type a query has for rows of `type`. */
VKERN_INLINE enum vkern_type query_type(enum vkern_type type)
{
    return type == VKERN_F16 || type == VKERN_BF16 ? VKERN_F32 : type;
}

/* Ones in n bytes of a xor b, or of a alone where b is NULL. */
static inline size_t count_ones(const unsigned char *a, const unsigned char *b, size_t n)
{
    size_t ones = 0;

    for (size_t i = 0; i < n; i++)
        ones += (size_t)__builtin_popcount((unsigned)(b ? a[i] ^ b[i] : a[i]));
    return ones;
}

/* Defines one function for each of the five element types; DEFINE(name, type). */
#define VKERN_FOR_ELEMENT_TYPES(DEFINE)                                                            \
    DEFINE(f32, VKERN_F32)                                                                         \
    DEFINE(f16, VKERN_F16)                                                                         \
    DEFINE(bf16, VKERN_BF16)                                                                       \
    DEFINE(i8, VKERN_I8)                                                                           \
    DEFINE(u8, VKERN_U8)

#endif
