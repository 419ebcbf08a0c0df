/*
 * bytes.h - byte strings, little- and big-endian access at any alignment, CRC-32C, bitmaps.
 */
#ifndef VINDEX_BASE_BYTES_H
#define VINDEX_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/** Borrowed bytes. */
struct bytes {
    const void *data;
    size_t size;
};

static inline struct bytes bytes_of(const void *data, size_t size)
{
    struct bytes b = {data, size};
    return b;
}

static inline uint32_t load_le32(const void *p)
{
    const unsigned char *c = p;
    return (uint32_t)c[0] | (uint32_t)c[1] << 8 | (uint32_t)c[2] << 16 | (uint32_t)c[3] << 24;
}
static inline uint64_t load_le64(const void *p)
{
    return (uint64_t)load_le32(p) | (uint64_t)load_le32((const unsigned char *)p + 4) << 32;
}
static inline uint16_t load_le16(const void *p)
{
    const unsigned char *c = p;
    return (uint16_t)(c[0] | c[1] << 8);
}
static inline float load_f32(const void *p)
{
    uint32_t u = load_le32(p);
    float f;
    memcpy(&f, &u, 4);
    return f;
}
static inline void store_le16(void *p, uint16_t v)
{
    unsigned char *c = p;
    c[0] = (unsigned char)v, c[1] = (unsigned char)(v >> 8);
}
static inline void store_le32(void *p, uint32_t v)
{
    unsigned char *c = p;
    c[0] = (unsigned char)v, c[1] = (unsigned char)(v >> 8);
    c[2] = (unsigned char)(v >> 16), c[3] = (unsigned char)(v >> 24);
}
static inline void store_le64(void *p, uint64_t v)
{
    store_le32(p, (uint32_t)v);
    store_le32((unsigned char *)p + 4, (uint32_t)(v >> 32));
}
static inline void store_f32(void *p, float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    store_le32(p, u);
}
static inline uint32_t load_be32(const void *p)
{
    const unsigned char *c = p;
    return (uint32_t)c[3] | (uint32_t)c[2] << 8 | (uint32_t)c[1] << 16 | (uint32_t)c[0] << 24;
}
static inline void store_be32(void *p, uint32_t v)
{
    unsigned char *c = p;
    c[3] = (unsigned char)v, c[2] = (unsigned char)(v >> 8);
    c[1] = (unsigned char)(v >> 16), c[0] = (unsigned char)(v >> 24);
}
static inline uint64_t load_be64(const void *p)
{
    return (uint64_t)load_be32(p) << 32 | load_be32((const unsigned char *)p + 4);
}
static inline void store_be64(void *p, uint64_t v)
{
    store_be32(p, (uint32_t)(v >> 32));
    store_be32((unsigned char *)p + 4, (uint32_t)v);
}

/* Ids order as signed: the sign bit is flipped, then big-endian, so that bytes compare as numbers. */
static inline void store_id_key(void *p, int64_t id)
{
    store_be64(p, (uint64_t)id ^ (UINT64_C(1) << 63));
}
static inline int64_t load_id_key(const void *p)
{
    return (int64_t)(load_be64(p) ^ (UINT64_C(1) << 63));
}

/** CRC-32C (Castagnoli, reflected, as in iSCSI, RFC 3720), continued from `crc` (start with 0). */
uint32_t vindex__crc32c(uint32_t crc, const void *data, size_t size);
/** The same without the CPU's crc32 instruction, which vindex__crc32c uses where there is one. */
uint32_t vindex__crc32c_plain(uint32_t crc, const void *data, size_t size);

/* Bitmaps of 64-bit words. */
static inline size_t bitmap_words(size_t n_bits)
{
    return (n_bits + 63) / 64;
}
static inline bool bitmap_get(const uint64_t *words, size_t bit)
{
    return words[bit / 64] >> (bit % 64) & 1;
}
static inline void bitmap_set(uint64_t *words, size_t bit)
{
    words[bit / 64] |= UINT64_C(1) << (bit % 64);
}
static inline void bitmap_clear(uint64_t *words, size_t bit)
{
    words[bit / 64] &= ~(UINT64_C(1) << (bit % 64));
}
/** The number of set bits among the first n_bits. */
size_t vindex__bitmap_count(const uint64_t *words, size_t n_bits);
/** Set the first n_bits, clear the rest of the last word. */
void vindex__bitmap_fill(uint64_t *words, size_t n_bits);

#endif
