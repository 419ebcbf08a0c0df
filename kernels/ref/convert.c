/*
 * convert.c - rows of any type to f32 and back, and the test for finite elements.
 */
#include "kernels/ref/element.h"

VKERN_INLINE void to_f32(enum vkern_type type, const void *from, size_t n, float *to)
{
    for (size_t i = 0; i < n; i++) {
        const float value = element(type, from, i);
        memcpy((unsigned char *)to + 4 * i, &value, 4);
    }
}

static bool is_finite(float value)
{
    return (bits_of_float(value) & 0x7f800000) != 0x7f800000;
}

/* Store element i; false where what is stored is not the finite value asked for. */
VKERN_INLINE bool store(enum vkern_type type, float value, unsigned char *to, size_t i)
{
    const float low = type == VKERN_I8 ? -128.0f : 0.0f, high = type == VKERN_I8 ? 127.0f : 255.0f;
    uint16_t half;

    switch (type) {
    case VKERN_F32: memcpy(to + 4 * i, &value, 4); return is_finite(value);
    case VKERN_F16:
        half = f16_of_float(value);
        memcpy(to + 2 * i, &half, 2);
        return (half & 0x7c00) != 0x7c00;
    case VKERN_BF16:
        half = bf16_of_float(value);
        memcpy(to + 2 * i, &half, 2);
        return (half & 0x7f80) != 0x7f80;
    default:
        to[i] = 0;
        if (!(value >= low && value <= high) || value != (float)(int)value) return false;
        to[i] = (unsigned char)(int)value;
        return true;
    }
}

VKERN_INLINE bool from_f32(enum vkern_type type, const float *from, size_t n, void *to)
{
    bool all = true;

    for (size_t i = 0; i < n; i++)
        all &= store(type, element(VKERN_F32, from, i), to, i);
    return all;
}

VKERN_INLINE bool finite(enum vkern_type type, const void *from, size_t n)
{
    bool all = true;

    for (size_t i = 0; i < n; i++)
        all &= is_finite(element(type, from, i));
    return all;
}

static bool finite_always(const void *from, size_t n)
{
    (void)from;
    (void)n;
    return true;
}

#define DEFINE(name, type)                                                                         \
    static void to_f32_##name(const void *from, size_t n, float *to)                               \
    {                                                                                              \
        to_f32(type, from, n, to);                                                                 \
    }                                                                                              \
    static bool from_f32_##name(const float *from, size_t n, void *to)                             \
    {                                                                                              \
        return from_f32(type, from, n, to);                                                        \
    }
VKERN_FOR_ELEMENT_TYPES(DEFINE)
#undef DEFINE

static bool finite_f32(const void *from, size_t n)
{
    return finite(VKERN_F32, from, n);
}

static bool finite_f16(const void *from, size_t n)
{
    return finite(VKERN_F16, from, n);
}

static bool finite_bf16(const void *from, size_t n)
{
    return finite(VKERN_BF16, from, n);
}

void vkern_init_ref_convert(vkern_table *table)
{
#define FILL(name, type)                                                                           \
    table->to_f32[type] = to_f32_##name, table->from_f32[type] = from_f32_##name;
    VKERN_FOR_ELEMENT_TYPES(FILL)
#undef FILL
    for (int type = 0; type < VKERN_N_TYPES; type++)
        table->finite[type] = finite_always;
    table->finite[VKERN_F32] = finite_f32;
    table->finite[VKERN_F16] = finite_f16;
    table->finite[VKERN_BF16] = finite_bf16;
}
