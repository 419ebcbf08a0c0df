/*
 * rows.h - types of values in files, and the conversion of rows from one to another.
 *
 * To vindex_type come two types of ids: ground truth and hits are int32 or int64.
 */
#ifndef TOOLS_ROWS_H
#define TOOLS_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fault.h"

#define ROWS_INT32 32u
#define ROWS_INT64 64u

/** Bytes of one value; 0 for VINDEX_BIT, which has less, and for an unknown type. */
size_t rows_value_bytes(uint32_t type);

/** "float32", "uint8", "int64", ...: for messages. */
const char *rows_type_name(uint32_t type);

/** Whether the type counts ids and not vectors. */
bool rows_is_ids(uint32_t type);

/**
 * Convert values. A float is rounded to nearest even; a whole number type takes whole numbers in
 * its range and nothing else (NaN passes between float types).
 *
 * @param n_bad [out] the place of the value that did not fit, on VINDEX_INVALID.
 */
vindex_status rows_convert(uint32_t from, const void *values, size_t n, uint32_t to,
                           void *converted, size_t *n_bad, struct fault *fault);

/** One binary16 or bfloat16 value as a float, exactly. */
float rows_from_half(uint16_t bits);
float rows_from_bfloat(uint16_t bits);
/** Rounded to nearest even; a value beyond the range becomes an infinity. */
uint16_t rows_to_half(float value);
uint16_t rows_to_bfloat(float value);

#endif
