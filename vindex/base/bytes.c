/*
 * bytes.c - CRC-32C and counting in bitmaps.
 *
 * CRC-32C is linear over xor: the entry of a byte in a table is the xor of the entries of its bits.
 * So the eight tables of the plain way (slicing by 8: Kounavis and Berry, "Novel table lookup-based
 * algorithms for high-performance CRC generation", 2008) are written as eight numbers each, and the
 * effect of 4 KiB of zeros on the register as 32. With SSE 4.2 three streams of 4 KiB run side by
 * side, since the crc32 instruction takes three cycles but starts one a cycle (Gopal et al., "Fast
 * CRC computation for iSCSI polynomial using CRC32 instruction", 2011). tests/base/test_bytes.c
 * holds both ways against the definition, bit by bit.
 */
#include "base/bytes.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

#define BIT(b, i, entry) ((((b) >> (i)) & 1) * (uint32_t)(entry))
#define ENTRY(b, e0, e1, e2, e3, e4, e5, e6, e7)                                                   \
    (BIT(b, 0, e0) ^ BIT(b, 1, e1) ^ BIT(b, 2, e2) ^ BIT(b, 3, e3) ^ BIT(b, 4, e4) ^               \
     BIT(b, 5, e5) ^ BIT(b, 6, e6) ^ BIT(b, 7, e7))
#define ENTRIES4(b, ...)                                                                           \
    ENTRY(b, __VA_ARGS__), ENTRY((b) + 1, __VA_ARGS__), ENTRY((b) + 2, __VA_ARGS__),               \
        ENTRY((b) + 3, __VA_ARGS__)
#define ENTRIES16(b, ...)                                                                          \
    ENTRIES4(b, __VA_ARGS__), ENTRIES4((b) + 4, __VA_ARGS__), ENTRIES4((b) + 8, __VA_ARGS__),      \
        ENTRIES4((b) + 12, __VA_ARGS__)
#define ENTRIES64(b, ...)                                                                          \
    ENTRIES16(b, __VA_ARGS__), ENTRIES16((b) + 16, __VA_ARGS__), ENTRIES16((b) + 32, __VA_ARGS__), \
        ENTRIES16((b) + 48, __VA_ARGS__)
#define TABLE(...)                                                                                 \
    {                                                                                              \
        ENTRIES64(0, __VA_ARGS__), ENTRIES64(64, __VA_ARGS__), ENTRIES64(128, __VA_ARGS__),        \
            ENTRIES64(192, __VA_ARGS__)                                                            \
    }

/* advance[k][b]: what byte b makes of the register once k more bytes of zero have passed. */
static const uint32_t advance[8][256] = {
    TABLE(0xf26b8303, 0xe13b70f7, 0xc79a971f, 0x8ad958cf, 0x105ec76f, 0x20bd8ede, 0x417b1dbc,
          0x82f63b78),
    TABLE(0x13a29877, 0x274530ee, 0x4e8a61dc, 0x9d14c3b8, 0x3fc5f181, 0x7f8be302, 0xff17c604,
          0xfbc3faf9),
    TABLE(0xa541927e, 0x4f6f520d, 0x9edea41a, 0x38513ec5, 0x70a27d8a, 0xe144fb14, 0xc76580d9,
          0x8b277743),
    TABLE(0xdd45aab8, 0xbf672381, 0x7b2231f3, 0xf64463e6, 0xe964b13d, 0xd725148b, 0xaba65fe7,
          0x52a0c93f),
    TABLE(0x38116fac, 0x7022df58, 0xe045beb0, 0xc5670b91, 0x8f2261d3, 0x1ba8b557, 0x37516aae,
          0x6ea2d55c),
    TABLE(0xef306b19, 0xdb8ca0c3, 0xb2f53777, 0x6006181f, 0xc00c303e, 0x85f4168d, 0x0e045beb,
          0x1c08b7d6),
    TABLE(0x68032cc8, 0xd0065990, 0xa5e0c5d1, 0x4e2dfd53, 0x9c5bfaa6, 0x3d5b83bd, 0x7ab7077a,
          0xf56e0ef4),
    TABLE(0x493c7d27, 0x9278fa4e, 0x211d826d, 0x423b04da, 0x847609b4, 0x0d006599, 0x1a00cb32,
          0x34019664),
};

/* Works on the register, which the caller has inverted. */
static uint32_t update_plain(uint32_t crc, const unsigned char *p, size_t size)
{
    for (; size >= 8; p += 8, size -= 8) {
        uint32_t low = load_le32(p) ^ crc, high = load_le32(p + 4);
        crc = advance[7][low & 255] ^ advance[6][low >> 8 & 255] ^ advance[5][low >> 16 & 255] ^
              advance[4][low >> 24] ^ advance[3][high & 255] ^ advance[2][high >> 8 & 255] ^
              advance[1][high >> 16 & 255] ^ advance[0][high >> 24];
    }
    for (; size > 0; p++, size--)
        crc = crc >> 8 ^ advance[0][(crc ^ *p) & 255];
    return crc;
}

uint32_t vindex__crc32c_plain(uint32_t crc, const void *data, size_t size)
{
    return ~update_plain(~crc, data, size);
}

#if defined(__x86_64__)

/* 4 KiB: the 32 steps that join two streams cost less than a hundredth of the streams. */
enum { STREAM_BYTES = 4096 };

/* after_zeros[i]: bit i of the register after STREAM_BYTES of zero. */
static const uint32_t after_zeros[32] = {
    0xc2a5b65e, 0x80a71a4d, 0x04a2426b, 0x094484d6, 0x128909ac, 0x25121358, 0x4a2426b0, 0x94484d60,
    0x2d7cec31, 0x5af9d862, 0xb5f3b0c4, 0x6e0b1779, 0xdc162ef2, 0xbdc02b15, 0x7e6c20db, 0xfcd841b6,
    0xfc5cf59d, 0xfd559dcb, 0xff474d67, 0xfb62ec3f, 0xf329ae8f, 0xe3bf2bef, 0xc292212f, 0x80c834af,
    0x047c1faf, 0x08f83f5e, 0x11f07ebc, 0x23e0fd78, 0x47c1faf0, 0x8f83f5e0, 0x1aeb9d31, 0x35d73a62,
};

static uint32_t pass_zeros(uint32_t crc)
{
    uint32_t result = 0;
    for (int i = 0; i < 32; i++)
        result ^= (crc >> i & 1) * after_zeros[i];
    return result;
}

__attribute__((target("sse4.2"))) static uint32_t update_three(uint32_t crc, const unsigned char *p)
{
    const unsigned char *q = p + STREAM_BYTES, *r = q + STREAM_BYTES;
    uint64_t a = crc, b = 0, c = 0;

    for (size_t i = 0; i < STREAM_BYTES; i += 8) {
        a = _mm_crc32_u64(a, load_le64(p + i));
        b = _mm_crc32_u64(b, load_le64(q + i));
        c = _mm_crc32_u64(c, load_le64(r + i));
    }
    return pass_zeros(pass_zeros((uint32_t)a) ^ (uint32_t)b) ^ (uint32_t)c;
}

__attribute__((target("sse4.2"))) static uint32_t update_sse42(uint32_t crc, const unsigned char *p,
                                                               size_t size)
{
    uint64_t wide;

    for (; size >= 3 * STREAM_BYTES; p += 3 * STREAM_BYTES, size -= 3 * STREAM_BYTES)
        crc = update_three(crc, p);
    for (wide = crc; size >= 8; p += 8, size -= 8)
        wide = _mm_crc32_u64(wide, load_le64(p));
    for (crc = (uint32_t)wide; size > 0; p++, size--)
        crc = _mm_crc32_u8(crc, *p);
    return crc;
}

#endif

uint32_t vindex__crc32c(uint32_t crc, const void *data, size_t size)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2")) return ~update_sse42(~crc, data, size);
#endif
    return vindex__crc32c_plain(crc, data, size);
}

size_t vindex__bitmap_count(const uint64_t *words, size_t n_bits)
{
    size_t whole = n_bits / 64, rest = n_bits % 64, count = 0;

    for (size_t i = 0; i < whole; i++)
        count += (size_t)__builtin_popcountll(words[i]);
    if (rest) count += (size_t)__builtin_popcountll(words[whole] << (64 - rest));
    return count;
}

void vindex__bitmap_fill(uint64_t *words, size_t n_bits)
{
    size_t whole = n_bits / 64, rest = n_bits % 64;

    if (whole) memset(words, 0xff, whole * sizeof *words);
    if (rest) words[whole] = UINT64_MAX >> (64 - rest);
}
