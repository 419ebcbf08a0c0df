/*
 * test_bytes.c - CRC-32C against its definition and published values, byte order, keys, bitmaps.
 */
#include "common/cmocka.h"

#include "base/bytes.h"
#include "base/mem.h"
#include "base/random.h"

/* The definition, one bit at a time. */
static uint32_t crc32c_by_bits(uint32_t crc, const unsigned char *p, size_t size)
{
    crc = ~crc;
    for (size_t i = 0; i < size; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

/* RFC 3720, appendix B.4, and the check value of the CRC catalogues. */
static void published_values(void **state)
{
    unsigned char zeros[32], ones[32], up[32], down[32];
    (void)state;

    for (int i = 0; i < 32; i++) {
        zeros[i] = 0;
        ones[i] = 0xff;
        up[i] = (unsigned char)i;
        down[i] = (unsigned char)(31 - i);
    }
    const struct {
        const char *name;
        const void *data;
        size_t size;
        uint32_t crc;
    } cases[] = {
        {"32 zeros", zeros, 32, 0x8a9136aa},        {"32 ones", ones, 32, 0x62a8ab43},
        {"32 ascending", up, 32, 0x46dd794e},       {"32 descending", down, 32, 0x113fdb5c},
        {"the digits", "123456789", 9, 0xe3069283}, {"nothing", "", 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        print_message("%s\n", cases[i].name);
        assert_int_equal(vindex__crc32c(0, cases[i].data, cases[i].size), cases[i].crc);
        assert_int_equal(vindex__crc32c_plain(0, cases[i].data, cases[i].size), cases[i].crc);
    }
}

static void both_ways_are_the_definition(void **state)
{
    /* around a word, a stream of 4 KiB, three of them and six */
    static const size_t centres[] = {8, 64, 4096, 8192, 12288, 24576, 36864};
    enum { ROOM = 40000 };
    unsigned char *data = vindex__calloc(ROOM, 1);
    struct rng rng;
    (void)state;

    assert_non_null(data);
    vindex__rng_init(&rng, test_seed());
    for (size_t i = 0; i < ROOM; i++)
        data[i] = (unsigned char)vindex__rng_next(&rng);
    for (size_t i = 0; i < sizeof centres / sizeof *centres; i++) {
        for (int trial = 0; trial < 24; trial++) {
            size_t size = centres[i] - 8 + vindex__rng_below(&rng, 17);
            size_t offset = vindex__rng_below(&rng, 64);
            uint32_t start = (uint32_t)vindex__rng_next(&rng);
            uint32_t expected = crc32c_by_bits(start, data + offset, size);
            assert_int_equal(vindex__crc32c(start, data + offset, size), expected);
            assert_int_equal(vindex__crc32c_plain(start, data + offset, size), expected);
        }
    }
    vindex__free(data);
}

static void parts_continue_the_whole(void **state)
{
    static unsigned char data[30000];
    struct rng rng;
    (void)state;

    vindex__rng_init(&rng, test_seed());
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)vindex__rng_next(&rng);
    uint32_t whole = vindex__crc32c(0, data, sizeof data);
    for (int trial = 0; trial < 50; trial++) {
        size_t cut = vindex__rng_below(&rng, sizeof data + 1);
        uint32_t first = vindex__crc32c(0, data, cut);
        assert_int_equal(vindex__crc32c(first, data + cut, sizeof data - cut), whole);
    }
}

static void numbers_lie_in_their_order_of_bytes(void **state)
{
    unsigned char p[9] = {0};
    (void)state;

    for (size_t offset = 0; offset < 2; offset++) {
        unsigned char *at = p + offset;
        store_le64(at, UINT64_C(0x0102030405060708));
        assert_memory_equal(at, "\x08\x07\x06\x05\x04\x03\x02\x01", 8);
        assert_true(load_le64(at) == UINT64_C(0x0102030405060708));
        assert_int_equal(load_le32(at), 0x05060708);
        assert_int_equal(load_le16(at), 0x0708);
        store_be64(at, UINT64_C(0xf102030405060708));
        assert_memory_equal(at, "\xf1\x02\x03\x04\x05\x06\x07\x08", 8);
        assert_true(load_be64(at) == UINT64_C(0xf102030405060708));
        assert_true(load_be32(at) == 0xf1020304u);
        store_le16(at, 0xabcd);
        assert_int_equal(load_le16(at), 0xabcd);
        store_f32(at, -1.5f);
        assert_memory_equal(at, "\0\0\xc0\xbf", 4);
        assert_true(load_f32(at) == -1.5f);
    }
}

static void id_keys_order_as_signed(void **state)
{
    static const int64_t ids[] = {INT64_MIN, INT64_MIN + 1, -256, -1, 0, 1, 255, 256, INT64_MAX};
    unsigned char before[8], key[8];
    (void)state;

    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        store_id_key(key, ids[i]);
        assert_true(load_id_key(key) == ids[i]);
        if (i > 0) assert_true(memcmp(before, key, 8) < 0);
        memcpy(before, key, 8);
    }
}

static void bitmaps_count_and_fill_at_every_length(void **state)
{
    (void)state;
    for (size_t n = 0; n <= 200; n++) {
        uint64_t words[5];
        memset(words, 0xaa, sizeof words);
        vindex__bitmap_fill(words, n);
        for (size_t bit = 0; bit < bitmap_words(n) * 64; bit++)
            assert_int_equal(bitmap_get(words, bit), bit < n);
        assert_true(words[bitmap_words(n)] == UINT64_C(0xaaaaaaaaaaaaaaaa));
        assert_int_equal(vindex__bitmap_count(words, n), n);

        memset(words, 0xff, sizeof words);
        assert_int_equal(vindex__bitmap_count(words, n), n); /* bits past the end do not count */
        if (n == 0) continue;
        bitmap_clear(words, n - 1);
        assert_int_equal(vindex__bitmap_count(words, n), n - 1);
        bitmap_set(words, n - 1);
        assert_int_equal(vindex__bitmap_count(words, n), n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_values),
        cmocka_unit_test(both_ways_are_the_definition),
        cmocka_unit_test(parts_continue_the_whole),
        cmocka_unit_test(numbers_lie_in_their_order_of_bytes),
        cmocka_unit_test(id_keys_order_as_signed),
        cmocka_unit_test(bitmaps_count_and_fill_at_every_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
