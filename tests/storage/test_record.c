/*
 * test_record.c - every record and block header: round trip, cut at every byte, bent at every bit, and bent in
 * every field with the checksum made right again.
 */
#include "common/cmocka.h"

#include <float.h>
#include <string.h>

#include "base/random.h"
#include "storage/record.h"

static const struct config base_config = {.format = 1,
                                          .dim = 100,
                                          .type = VINDEX_FLOAT,
                                          .metric = VINDEX_L2,
                                          .recall = 0.99f,
                                          .seal_rows = 4096,
                                          .seal_bytes = 8u << 20,
                                          .uuid = {1, 2, 3}};

typedef vindex_status decode_fn(struct bytes record);

static vindex_status decode_config(struct bytes record)
{
    struct config config;
    return vindex__config_decode(record, &config);
}
static vindex_status decode_state(struct bytes record)
{
    struct state state;
    return vindex__state_decode(record, &state);
}
static vindex_status decode_segment(struct bytes record)
{
    struct segment_record segment;
    return vindex__segment_decode(record, &base_config, &segment);
}
static vindex_status decode_run(struct bytes record)
{
    struct run_record run;
    return vindex__run_decode(record, &run);
}
static vindex_status decode_tail(struct bytes record)
{
    float norm;
    const void *row;
    return vindex__tail_decode(record, &base_config, &norm, &row);
}
static vindex_status decode_block(struct bytes record)
{
    struct block_header header;
    return vindex__block_decode(record, &base_config, true, &header);
}

/* ---- one valid example of each ------------------------------------------------------------------ */

static struct segment_record example_segment(void)
{
    struct segment_record s = {.nonce = "0123456789abcde",
                               .mark = 9,
                               .n = 130,
                               .n_live = 129,
                               .stride = vindex__full_stride(400),
                               .rows_per_block = vindex__full_rows_per_block(vindex__full_stride(400)),
                               .flags = SEGMENT_IDS_ASCEND,
                               .min_id = -5,
                               .max_id = 1000,
                               .norm_lo = 0.5f,
                               .norm_hi = 2.5f};
    vindex__bitmap_fill(s.live, s.n);
    bitmap_clear(s.live, 129);
    return s;
}

static size_t make_config(unsigned char *out)
{
    vindex__config_encode(&base_config, out);
    return RECORD_CONFIG_BYTES;
}
static size_t make_state(unsigned char *out)
{
    struct state state = {.epoch = 5, .next_seq = 3, .next_id = 77, .n_rows = 12, .n_tail = 4, .flags = 1, .mark = 99};
    vindex__state_encode(&state, out);
    return RECORD_STATE_BYTES;
}
static size_t make_segment(unsigned char *out)
{
    struct segment_record s = example_segment();
    return vindex__segment_encode(&s, out);
}
static size_t make_run(unsigned char *out)
{
    struct run_record run = {.seq = 4, .slot = 17, .count = 200};
    vindex__run_encode(&run, out);
    return RECORD_RUN_BYTES;
}
static size_t make_tail(unsigned char *out)
{
    unsigned char row[400];
    for (size_t i = 0; i < sizeof row; i++)
        row[i] = (unsigned char)i;
    vindex__tail_encode(3.5f, bytes_of(row, sizeof row), out);
    return RECORD_TAIL_HEAD + sizeof row;
}
static size_t make_block(unsigned char *out)
{
    struct block_header header = {.plane = PLANE_FULL,
                                  .type = VINDEX_FLOAT,
                                  .n = 3,
                                  .stride = vindex__full_stride(400),
                                  .dim = 100,
                                  .first = 6,
                                  .nonce = "0123456789abcde"};
    size_t size = BLOCK_HEADER_BYTES + 3 * (size_t)header.stride;
    memset(out, 7, size);
    vindex__block_seal(&header, out);
    return size;
}

static const struct {
    const char *name;
    size_t (*make)(unsigned char *out);
    decode_fn *decode;
    size_t crc_at, body_at; /* the checksum's offset, and where what it covers begins */
} kinds[] = {
    {"config", make_config, decode_config, 4, 8}, {"state", make_state, decode_state, 4, 8},
    {"segment", make_segment, decode_segment, 4, 8}, {"run", make_run, decode_run, 4, 8},
    {"tail", make_tail, decode_tail, 4, 8},       {"block", make_block, decode_block, 4, 8},
};
#define N_KINDS (sizeof kinds / sizeof *kinds)

static void valid_records_decode(void **state)
{
    (void)state;
    unsigned char record[8192];
    for (size_t i = 0; i < N_KINDS; i++) {
        size_t size = kinds[i].make(record);
        assert_int_equal(kinds[i].decode(bytes_of(record, size)), VINDEX_OK);
    }
}

/* A copy on the heap of exactly this size: ASan sees a read beyond it. */
static vindex_status decode_copy(decode_fn *decode, const unsigned char *record, size_t size)
{
    unsigned char *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    memcpy(copy, record, size);
    vindex_status st = decode(bytes_of(copy, size));
    free(copy);
    return st;
}

static void truncation_is_corrupt_at_every_byte(void **state)
{
    (void)state;
    unsigned char record[8192];
    for (size_t i = 0; i < N_KINDS; i++) {
        size_t size = kinds[i].make(record);
        for (size_t cut = 0; cut < size; cut++)
            assert_int_equal(decode_copy(kinds[i].decode, record, cut), VINDEX_CORRUPT);
        memset(record + size, 0, 8);
        assert_int_equal(decode_copy(kinds[i].decode, record, size + 1), VINDEX_CORRUPT);
    }
}

static void every_bent_bit_is_noticed(void **state)
{
    (void)state;
    unsigned char record[8192];
    for (size_t i = 0; i < N_KINDS; i++) {
        size_t size = kinds[i].make(record);
        for (size_t bit = 0; bit < 8 * size; bit++) {
            record[bit / 8] ^= (unsigned char)(1u << (bit % 8));
            vindex_status st = decode_copy(kinds[i].decode, record, size);
            if (st != VINDEX_CORRUPT && st != VINDEX_UNSUPPORTED)
                fail_msg("%s: bit %zu bent gives %s", kinds[i].name, bit, vindex_status_text(st));
            record[bit / 8] ^= (unsigned char)(1u << (bit % 8));
        }
    }
}

/* A hostile writer computes checksums too: any answer but a crash, and what passes is in range. */
static void bent_fields_with_right_checksums_do_no_harm(void **state)
{
    (void)state;
    unsigned char record[8192];
    struct rng rng;
    size_t n_refused = 0;
    vindex__rng_init(&rng, test_seed());
    for (size_t i = 0; i < N_KINDS; i++) {
        for (int trial = 0; trial < 20000; trial++) {
            size_t size = kinds[i].make(record);
            size_t at = kinds[i].body_at + vindex__rng_below(&rng, size - kinds[i].body_at);
            if (at > 100) at = kinds[i].body_at + at % 80;
            size_t width = 1 + vindex__rng_below(&rng, 8);
            for (size_t j = 0; j < width && at + j < size; j++)
                record[at + j] = (unsigned char)(vindex__rng_below(&rng, 3) ? vindex__rng_next(&rng)
                                                                            : 0xff);
            store_le32(record + kinds[i].crc_at,
                       vindex__crc32c(0, record + kinds[i].body_at, size - kinds[i].body_at));
            vindex_status st = decode_copy(kinds[i].decode, record, size);
            assert_true(st == VINDEX_OK || st == VINDEX_CORRUPT || st == VINDEX_UNSUPPORTED);
            n_refused += st != VINDEX_OK;
        }
    }
    assert_true(n_refused > 20000);
}

static void refused(struct segment_record s)
{
    unsigned char record[RECORD_SEGMENT_MAX];
    size_t size = vindex__segment_encode(&s, record);
    assert_int_equal(decode_segment(bytes_of(record, size)), VINDEX_CORRUPT);
}

static void segment_rules(void **state)
{
    (void)state;
    struct segment_record s = example_segment();
    s.n_live = 130; /* one more than there are bits */
    refused(s);
    s = example_segment();
    bitmap_set(s.live, 131); /* beyond the last slot */
    s.n_live = 130;
    refused(s);
    s = example_segment();
    s.stride += 4;
    refused(s);
    s = example_segment();
    s.rows_per_block--;
    refused(s);
    s = example_segment();
    s.min_id = 1001;
    refused(s);
    s = example_segment();
    s.norm_hi = FLT_MAX * 2;
    refused(s);
    s = example_segment();
    s.norm_lo = -1;
    refused(s);
    s = example_segment();
    s.flags |= 2;
    refused(s);
}

static void newer_formats_are_unsupported(void **state)
{
    (void)state;
    unsigned char record[RECORD_CONFIG_BYTES];
    struct config config = base_config;
    config.format = 2;
    vindex__config_encode(&config, record);
    assert_int_equal(decode_config(bytes_of(record, sizeof record)), VINDEX_UNSUPPORTED);
    assert_non_null(strstr(vindex_message(), "newer vindex"));
}

static void strides(void **state)
{
    (void)state;
    for (size_t row_bytes = 1; row_bytes <= 262080; row_bytes = row_bytes * 5 / 4 + 1) {
        uint32_t stride = vindex__full_stride(row_bytes);
        assert_true(stride >= row_bytes && stride - row_bytes <= row_bytes / 16);
        assert_true(stride % 64 == 0 || stride == row_bytes);
        assert_true(vindex__full_rows_per_block(stride) >= 1);
    }
    assert_int_equal(vindex__full_stride(262080), 262080);
    assert_int_equal(vindex__full_stride(1), 1);
    assert_int_equal(vindex__full_stride(63), 64);
    assert_int_equal(vindex__full_stride(1200), 1216);
    assert_int_equal(vindex__full_stride(100), 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_records_decode),
        cmocka_unit_test(truncation_is_corrupt_at_every_byte),
        cmocka_unit_test(every_bent_bit_is_noticed),
        cmocka_unit_test(bent_fields_with_right_checksums_do_no_harm),
        cmocka_unit_test(segment_rules),
        cmocka_unit_test(newer_formats_are_unsupported),
        cmocka_unit_test(strides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
