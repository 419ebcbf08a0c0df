/*
 * vectors.c - vectors as callers have them: checked once, converted where the index holds another type.
 */
#include <math.h>

#include "api/api.h"
#include "base/bytes.h"
#include "base/mem.h"
#include "base/status.h"
#include "kernels/kernels.h"

uint32_t vindex__vectors_type(uint32_t type, enum vectors_use use)
{
    bool is_half = type == VINDEX_FLOAT16 || type == VINDEX_BFLOAT16;
    return use == VECTORS_QUERY && is_half ? VINDEX_FLOAT : type;
}

size_t vindex__vectors_stride(const vindex_vectors *vectors, uint32_t dim)
{
    return vectors->stride_bytes ? vectors->stride_bytes
                                 : vindex_row_bytes((vindex_type)vectors->type, dim);
}

bool vindex__vectors_are_native(const vindex_vectors *vectors, uint32_t type, enum vectors_use use)
{
    return vectors->type == vindex__vectors_type(type, use);
}

static const void *row_at(const vindex_vectors *vectors, size_t i, uint32_t dim)
{
    return (const char *)vectors->data + i * vindex__vectors_stride(vectors, dim);
}

vindex_status vindex__vectors_check_shape(const vindex_vectors *vectors, uint32_t type, uint32_t dim)
{
    size_t bytes = 0;
    if (!vectors) return vindex__fail(VINDEX_INVALID, "vectors are NULL");
    if (vectors->reserved)
        return vindex__fail(VINDEX_UNSUPPORTED, "vindex_vectors.reserved is %u: it must be 0",
                            vectors->reserved);
    if (vectors->type > VINDEX_BIT)
        return vindex__fail(VINDEX_INVALID, "type %u is unknown: see vindex_type", vectors->type);
    if (vectors->type != type && (vectors->type != VINDEX_FLOAT || type == VINDEX_BIT))
        return vindex__fail(VINDEX_INVALID, "vectors are %s, the index holds %s%s",
                            vindex_type_name((vindex_type)vectors->type),
                            vindex_type_name((vindex_type)type),
                            type == VINDEX_BIT ? "" : ": give that or FLOAT");
    size_t row_bytes = vindex_row_bytes((vindex_type)vectors->type, dim);
    if (vectors->stride_bytes && vectors->stride_bytes < row_bytes)
        return vindex__fail(VINDEX_INVALID, "a stride of %zu bytes is less than a row's %zu",
                            vectors->stride_bytes, row_bytes);
    if (vectors->n && !vectors->data)
        return vindex__fail(VINDEX_INVALID, "%zu vectors were announced, their data is NULL",
                            vectors->n);
    if (!vindex__mul(vectors->n, vindex__vectors_stride(vectors, dim), &bytes) ||
        bytes > SIZE_MAX / 2)
        return vindex__fail(VINDEX_INVALID, "%zu vectors exceed the address space", vectors->n);
    return VINDEX_OK;
}

static double element(const vindex_vectors *vectors, const void *row, size_t i)
{
    const vkern_table *kern = vkern_get();
    float value = 0;
    size_t size = vindex_row_bytes((vindex_type)vectors->type, 1);
    kern->to_f32[vectors->type]((const char *)row + i * size, 1, &value);
    return (double)value;
}

/* Slow and only for messages: which element is it? */
static vindex_status name_culprit(const vindex_vectors *vectors, size_t row, uint32_t dim,
                                  uint32_t type)
{
    const void *data = row_at(vectors, row, dim);
    for (uint32_t i = 0; i < dim; i++) {
        double value = element(vectors, data, i);
        if (!isfinite(value))
            return vindex__fail(VINDEX_INVALID, "row %zu, element %u is %g: numbers must be finite", row,
                                i, value);
        float as_float = (float)value;
        unsigned char stored[4];
        if (type != vectors->type && !vkern_get()->from_f32[type](&as_float, 1, stored))
            return vindex__fail(VINDEX_INVALID,
                                "row %zu, element %u is %g: the index holds %s, nothing is quantised "
                                "silently",
                                row, i, value, vindex_type_name((vindex_type)type));
    }
    return vindex__fail(VINDEX_INVALID, "row %zu cannot be stored as %s", row,
                        vindex_type_name((vindex_type)type));
}

static bool padding_is_zero(const unsigned char *row, uint32_t dim)
{
    return dim % 8 == 0 || (row[dim / 8] >> (dim % 8)) == 0;
}

/* Whether a float row is representable: converted piece by piece into a buffer that is thrown away. */
static bool is_representable(const float *row, uint32_t dim, uint32_t type)
{
    unsigned char out[2 * 256];
    float in[256];
    for (uint32_t at = 0; at < dim; at += 256) {
        uint32_t n = dim - at < 256 ? dim - at : 256;
        memcpy(in, (const char *)row + 4 * (size_t)at, 4 * (size_t)n);
        if (!vkern_get()->from_f32[type](in, n, out)) return false;
    }
    return true;
}

vindex_status vindex__vectors_check(const vindex_vectors *vectors, uint32_t type, uint32_t dim,
                                    enum vectors_use use)
{
    vindex_status st = vindex__vectors_check_shape(vectors, type, dim);
    if (st != VINDEX_OK) return st;
    const vkern_table *kern = vkern_get();
    uint32_t wanted = vindex__vectors_type(type, use);
    bool converts = vectors->type == VINDEX_FLOAT && wanted != VINDEX_FLOAT;
    for (size_t i = 0; i < vectors->n; i++) {
        const void *row = row_at(vectors, i, dim);
        if (type == VINDEX_BIT) {
            if (!padding_is_zero(row, dim))
                return vindex__fail(VINDEX_INVALID,
                                    "row %zu sets bits beyond dim %u: padding must be 0", i, dim);
        } else if (converts ? !is_representable(row, dim, wanted)
                            : !kern->finite[vectors->type](row, dim)) {
            return name_culprit(vectors, i, dim, converts ? wanted : vectors->type);
        }
    }
    return VINDEX_OK;
}

void vindex__vectors_convert(const vindex_vectors *vectors, size_t first, size_t n, uint32_t type,
                             uint32_t dim, enum vectors_use use, void *out)
{
    const vkern_table *kern = vkern_get();
    uint32_t wanted = vindex__vectors_type(type, use);
    size_t row_bytes = vindex_row_bytes((vindex_type)wanted, dim);
    for (size_t i = 0; i < n; i++) {
        const void *row = row_at(vectors, first + i, dim);
        char *to = (char *)out + i * row_bytes;
        if (vectors->type == wanted)
            memcpy(to, row, row_bytes);
        else if (wanted == VINDEX_FLOAT)
            kern->to_f32[vectors->type](row, dim, (float *)(void *)to);
        else
            kern->from_f32[wanted](row, dim, to);
    }
}
