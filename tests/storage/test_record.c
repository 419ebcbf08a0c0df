/*
 * test_record.c - every record and block header: round trip, cut at every byte, bent at every bit, and bent in
 * every field with the checksum made right again.
 */
#include "common/cmocka.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
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
static vindex_status decode_model(struct bytes record)
{
    struct model_record model;
    return vindex__model_decode(record, &model);
}
static vindex_status decode_codes(struct bytes record)
{
    struct codes_record codes;
    return vindex__codes_decode(record, &codes);
}
static vindex_status decode_audits(struct bytes record)
{
    struct audits_record audits;
    return vindex__audits_decode(record, &audits);
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

static const struct model_record example_model = {.nonce = "abcdefghijklmno",
                                                  .n_rows = 5000,
                                                  .m = 64,
                                                  .clip = 2.5f,
                                                  .energy = 0.93f,
                                                  .p = 32,
                                                  .axes_norm = 1.5f,
                                                  .p8_share = 0.004f};
static const struct codes_record example_codes = {.nonce = "ABCDEFGHIJKLMNO",
                                                  .segment = "0123456789abcde",
                                                  .model = "abcdefghijklmno",
                                                  .n = 130,
                                                  .m = 64,
                                                  .flags = CODES_C8 | CODES_WHOLE | CODES_SIGNED,
                                                  .c8_error = 0.25f,
                                                  .c8_size = 17,
                                                  .c8_bias = 289,
                                                  .p = 32,
                                                  .p8_error = 0.125f,
                                                  .p8_size = 13,
                                                  .p8_bias = 169,
                                                  .p8_drift = 0.001f};
static const struct audits_record example_audits = {.nonce = "the audits here",
                                                    .model = "abcdefghijklmno",
                                                    .n_rows = 4999,
                                                    .n = 300,
                                                    .entry_bytes = AUDIT_HEAD_BYTES + 400,
                                                    .version = AUDITS_VERSION};

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

static size_t make_model(unsigned char *out)
{
    vindex__model_encode(&example_model, out);
    return RECORD_MODEL_BYTES;
}
static size_t make_codes(unsigned char *out)
{
    vindex__codes_encode(&example_codes, out);
    return RECORD_CODES_BYTES;
}
static size_t make_audits(unsigned char *out)
{
    vindex__audits_encode(&example_audits, out);
    return RECORD_AUDITS_BYTES;
}
static size_t make_group_block(unsigned char *out)
{
    struct block_header header = {.plane = PLANE_C4,
                                  .type = VINDEX_FLOAT,
                                  .n = 3,
                                  .stride = c4_stride(64),
                                  .dim = 100,
                                  .first = 32,
                                  .nonce = "ABCDEFGHIJKLMNO"};
    size_t size = BLOCK_HEADER_BYTES + 3 * (size_t)header.stride;
    memset(out, 9, size);
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
    {"model", make_model, decode_model, 4, 8},    {"codes", make_codes, decode_codes, 4, 8},
    {"audits", make_audits, decode_audits, 4, 8}, {"block of groups", make_group_block, decode_block, 4, 8},
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

/* ---- the records of derived planes: every field's bad values ------------------------------------ */

static vindex_status model_status(struct model_record m)
{
    unsigned char record[RECORD_MODEL_BYTES];
    vindex__model_encode(&m, record);
    return decode_model(bytes_of(record, sizeof record));
}
static vindex_status codes_status(struct codes_record c)
{
    unsigned char record[RECORD_CODES_BYTES];
    vindex__codes_encode(&c, record);
    return decode_codes(bytes_of(record, sizeof record));
}
static vindex_status audits_status(struct audits_record a)
{
    unsigned char record[RECORD_AUDITS_BYTES];
    vindex__audits_encode(&a, record);
    return decode_audits(bytes_of(record, sizeof record));
}

/* The example of a record with one field set; is the answer the one expected? */
#define EXPECT(kind, expected, field, ...)                                                         \
    do {                                                                                           \
        struct kind##_record with = example_##kind;                                                \
        with.field = __VA_ARGS__;                                                                  \
        vindex_status got = kind##_status(with);                                                   \
        if (got != (expected))                                                                     \
            fail_msg(#kind " with " #field " = " #__VA_ARGS__ " gives %s", vindex_status_text(got)); \
    } while (0)

static void model_rules(void **state)
{
    (void)state;
    EXPECT(model, VINDEX_OK, m, MODEL_AXES_MAX);
    EXPECT(model, VINDEX_OK, m, 32);
    EXPECT(model, VINDEX_OK, m, 24); /* fewer than p */
    EXPECT(model, VINDEX_OK, m, 0);
    EXPECT(model, VINDEX_CORRUPT, m, 4);
    EXPECT(model, VINDEX_CORRUPT, m, MODEL_AXES_MAX + 8);
    EXPECT(model, VINDEX_CORRUPT, m, UINT32_MAX - 7);
    EXPECT(model, VINDEX_OK, clip, FLT_MIN);
    EXPECT(model, VINDEX_CORRUPT, clip, 0);
    EXPECT(model, VINDEX_CORRUPT, clip, -1);
    EXPECT(model, VINDEX_CORRUPT, clip, NAN);
    EXPECT(model, VINDEX_CORRUPT, clip, INFINITY);
    EXPECT(model, VINDEX_OK, energy, 0);
    EXPECT(model, VINDEX_OK, energy, 1);
    EXPECT(model, VINDEX_CORRUPT, energy, 1.001f);
    EXPECT(model, VINDEX_CORRUPT, energy, -0.001f);
    EXPECT(model, VINDEX_CORRUPT, energy, NAN);
    EXPECT(model, VINDEX_OK, p, 8);
    EXPECT(model, VINDEX_OK, p, 1024); /* more than m */
    EXPECT(model, VINDEX_CORRUPT, p, 1032);
    EXPECT(model, VINDEX_CORRUPT, p, 12);
    EXPECT(model, VINDEX_CORRUPT, p, UINT32_MAX - 7);
    EXPECT(model, VINDEX_CORRUPT, p, 0); /* and yet it speaks of these axes */
    EXPECT(model, VINDEX_OK, axes_norm, 1);
    EXPECT(model, VINDEX_OK, axes_norm, nextafterf(2, 1));
    EXPECT(model, VINDEX_CORRUPT, axes_norm, 2);
    EXPECT(model, VINDEX_CORRUPT, axes_norm, nextafterf(1, 0));
    EXPECT(model, VINDEX_CORRUPT, axes_norm, 0);
    EXPECT(model, VINDEX_CORRUPT, axes_norm, NAN);
    EXPECT(model, VINDEX_CORRUPT, axes_norm, INFINITY);
    EXPECT(model, VINDEX_OK, p8_share, 0);
    EXPECT(model, VINDEX_OK, p8_share, 1);
    EXPECT(model, VINDEX_CORRUPT, p8_share, 1.001f);
    EXPECT(model, VINDEX_CORRUPT, p8_share, -0.001f);
    EXPECT(model, VINDEX_CORRUPT, p8_share, NAN);
}

/* Nothing is said of axes that are not there. */
static void models_without_plane_p8(void **state)
{
    struct model_record model = example_model;
    (void)state;
    model.p = 0;
    model.axes_norm = 0;
    assert_int_equal(model_status(model), VINDEX_CORRUPT);
    model.p8_share = 0;
    assert_int_equal(model_status(model), VINDEX_OK);
    model.m = 0;
    assert_int_equal(model_status(model), VINDEX_OK);
    model.axes_norm = 1;
    assert_int_equal(model_status(model), VINDEX_CORRUPT);
    model.axes_norm = NAN;
    assert_int_equal(model_status(model), VINDEX_CORRUPT);
}

/* Records may end before what they would say of plane p8. */
static void short_records_are_without_plane_p8(void **state)
{
    unsigned char record[RECORD_CODES_BYTES];
    struct model_record model;
    struct codes_record codes;
    (void)state;
    for (size_t size = RECORD_MODEL_SHORT - 4; size < RECORD_MODEL_BYTES; size += 4) {
        vindex__model_encode(&example_model, record);
        store_le32(record + 44, 0);
        store_le32(record + 4, vindex__crc32c(0, record + 8, size - 8));
        vindex_status st = vindex__model_decode(bytes_of(record, size), &model);
        assert_int_equal(st, size == RECORD_MODEL_SHORT ? VINDEX_OK : VINDEX_CORRUPT);
        if (st != VINDEX_OK) continue;
        assert_true(model.m == example_model.m && model.energy == example_model.energy);
        assert_true(model.p == 0 && model.axes_norm == 0 && model.p8_share == 0);
    }
    for (size_t size = RECORD_CODES_SHORT - 4; size < RECORD_CODES_BYTES; size += 4) {
        vindex__codes_encode(&example_codes, record);
        store_le32(record + 4, vindex__crc32c(0, record + 8, size - 8));
        vindex_status st = vindex__codes_decode(bytes_of(record, size), &codes);
        assert_int_equal(st, size == RECORD_CODES_SHORT ? VINDEX_OK : VINDEX_CORRUPT);
        if (st != VINDEX_OK) continue;
        assert_true(codes.n == example_codes.n && codes.c8_bias == example_codes.c8_bias);
        assert_true(codes.p == 0 && codes.p8_error == 0 && codes.p8_drift == 0);
    }
}

static void codes_rules(void **state)
{
    (void)state;
    EXPECT(codes, VINDEX_OK, n, SEGMENT_ROWS_MAX);
    EXPECT(codes, VINDEX_CORRUPT, n, SEGMENT_ROWS_MAX + 1);
    EXPECT(codes, VINDEX_CORRUPT, n, 0);
    EXPECT(codes, VINDEX_OK, m, 0);
    EXPECT(codes, VINDEX_CORRUPT, m, 12);
    EXPECT(codes, VINDEX_CORRUPT, m, MODEL_AXES_MAX + 8);
    EXPECT(codes, VINDEX_OK, flags, CODES_C8);
    EXPECT(codes, VINDEX_OK, flags, CODES_C8 | CODES_WHOLE);
    EXPECT(codes, VINDEX_CORRUPT, flags, CODES_C8 | CODES_SIGNED);
    EXPECT(codes, VINDEX_CORRUPT, flags, CODES_WHOLE | CODES_SIGNED);
    EXPECT(codes, VINDEX_CORRUPT, flags, CODES_WHOLE);
    EXPECT(codes, VINDEX_CORRUPT, flags, CODES_C8 | 8u);
    EXPECT(codes, VINDEX_CORRUPT, flags, CODES_C8 | 1u << 31);
    EXPECT(codes, VINDEX_CORRUPT, flags, 0); /* and yet it speaks of plane c8 */
    EXPECT(codes, VINDEX_OK, c8_error, 0);
    EXPECT(codes, VINDEX_OK, c8_bias, FLT_MAX);
    const float bad[] = {-1, NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        EXPECT(codes, VINDEX_CORRUPT, c8_error, bad[i]);
        EXPECT(codes, VINDEX_CORRUPT, c8_size, bad[i]);
        EXPECT(codes, VINDEX_CORRUPT, c8_bias, bad[i]);
        EXPECT(codes, VINDEX_CORRUPT, p8_error, bad[i]);
        EXPECT(codes, VINDEX_CORRUPT, p8_size, bad[i]);
        EXPECT(codes, VINDEX_CORRUPT, p8_bias, bad[i]);
        EXPECT(codes, VINDEX_CORRUPT, p8_drift, bad[i]);
    }
    EXPECT(codes, VINDEX_OK, p, MODEL_AXES_MAX);
    EXPECT(codes, VINDEX_OK, p, 72); /* more than m: c4 may be of none */
    EXPECT(codes, VINDEX_CORRUPT, p, 12);
    EXPECT(codes, VINDEX_CORRUPT, p, MODEL_AXES_MAX + 8);
    EXPECT(codes, VINDEX_CORRUPT, p, 0); /* and yet it speaks of plane p8 */
    EXPECT(codes, VINDEX_OK, p8_error, 0);
    EXPECT(codes, VINDEX_OK, p8_drift, 0);
    EXPECT(codes, VINDEX_OK, p8_bias, FLT_MAX);
}

/* Without plane p8 each of its facts is zero. */
static void codes_without_plane_p8(void **state)
{
    struct codes_record none = example_codes;
    (void)state;
    none.p = 0;
    none.p8_error = none.p8_size = none.p8_bias = none.p8_drift = 0;
    assert_int_equal(codes_status(none), VINDEX_OK);
    float *facts[] = {&none.p8_error, &none.p8_size, &none.p8_bias, &none.p8_drift};
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++) {
        *facts[i] = 0.5f;
        assert_int_equal(codes_status(none), VINDEX_CORRUPT);
        *facts[i] = NAN;
        assert_int_equal(codes_status(none), VINDEX_CORRUPT);
        *facts[i] = 0;
    }
}

/* The last four bytes are reserved. */
static void codes_records_with_reserved_bytes_are_refused(void **state)
{
    unsigned char record[RECORD_CODES_BYTES];
    (void)state;
    size_t size = make_codes(record);
    for (size_t at = size - 4; at < size; at++) {
        record[at] = 1;
        store_le32(record + 4, vindex__crc32c(0, record + 8, size - 8));
        assert_int_equal(decode_codes(bytes_of(record, size)), VINDEX_CORRUPT);
        record[at] = 0;
    }
    store_le32(record + 4, vindex__crc32c(0, record + 8, size - 8));
    assert_int_equal(decode_codes(bytes_of(record, size)), VINDEX_OK);
}

static void audits_rules(void **state)
{
    (void)state;
    EXPECT(audits, VINDEX_OK, n, 0);
    EXPECT(audits, VINDEX_OK, n, AUDITS_MAX);
    EXPECT(audits, VINDEX_CORRUPT, n, AUDITS_MAX + 1);
    EXPECT(audits, VINDEX_OK, entry_bytes, AUDIT_HEAD_BYTES);
    EXPECT(audits, VINDEX_CORRUPT, entry_bytes, AUDIT_HEAD_BYTES - 4);
    EXPECT(audits, VINDEX_CORRUPT, entry_bytes, AUDIT_HEAD_BYTES + 2);
    EXPECT(audits, VINDEX_CORRUPT, entry_bytes, BLOCK_PAYLOAD_BYTES + 4);
    EXPECT(audits, VINDEX_CORRUPT, entry_bytes, 0);
    EXPECT(audits, VINDEX_CORRUPT, version, 0);
    EXPECT(audits, VINDEX_UNSUPPORTED, version, 2);
}

static void records_of_derived_planes_keep_what_they_hold(void **state)
{
    (void)state;
    unsigned char record[RECORD_CODES_BYTES];
    struct model_record model;
    vindex__model_encode(&example_model, record);
    assert_int_equal(vindex__model_decode(bytes_of(record, RECORD_MODEL_BYTES), &model), VINDEX_OK);
    assert_memory_equal(model.nonce, example_model.nonce, NONCE_BYTES);
    assert_int_equal(model.n_rows, example_model.n_rows);
    assert_int_equal(model.m, example_model.m);
    assert_true(model.clip == example_model.clip && model.energy == example_model.energy);
    assert_int_equal(model.p, example_model.p);
    assert_true(model.axes_norm == example_model.axes_norm);
    assert_true(model.p8_share == example_model.p8_share);
    struct codes_record codes;
    vindex__codes_encode(&example_codes, record);
    assert_int_equal(vindex__codes_decode(bytes_of(record, RECORD_CODES_BYTES), &codes), VINDEX_OK);
    assert_memory_equal(&codes, &example_codes, sizeof codes);
    struct audits_record audits;
    vindex__audits_encode(&example_audits, record);
    assert_int_equal(vindex__audits_decode(bytes_of(record, RECORD_AUDITS_BYTES), &audits), VINDEX_OK);
    assert_memory_equal(audits.nonce, example_audits.nonce, NONCE_BYTES);
    assert_memory_equal(audits.model, example_audits.model, NONCE_BYTES);
    assert_int_equal(audits.n_rows, example_audits.n_rows);
    assert_int_equal(audits.n, example_audits.n);
    assert_int_equal(audits.entry_bytes, example_audits.entry_bytes);
}

/* ---- headers of every plane ------------------------------------------------------------------- */

static vindex_status header_status(uint32_t dim, uint32_t type, uint32_t metric, uint16_t plane,
                                   uint32_t stride, uint32_t n, uint32_t first)
{
    struct config config = base_config;
    struct block_header header = {.plane = plane, .type = (uint16_t)type, .n = n, .stride = stride,
                                  .dim = dim, .first = first, .nonce = "ABCDEFGHIJKLMNO"};
    size_t size = BLOCK_HEADER_BYTES + (size_t)n * stride;
    unsigned char *block = calloc(size, 1);
    assert_non_null(block);
    config.dim = dim;
    config.type = type;
    config.metric = metric;
    vindex__block_seal(&header, block);
    vindex_status st = vindex__block_decode(bytes_of(block, size), &config, true, &header);
    free(block);
    return st;
}

static const struct header_case {
    const char *name;
    uint32_t dim, type;
    uint16_t plane;
    uint32_t stride, n, first;
    bool is_right;
} headers[] = {
    {"mean", 100, VINDEX_FLOAT, PLANE_MEAN, 400, 1, 0, true},
    {"mean of an 8-bit index is of floats", 100, VINDEX_INT8, PLANE_MEAN, 400, 1, 0, true},
    {"two means", 100, VINDEX_FLOAT, PLANE_MEAN, 400, 2, 0, false},
    {"mean at 1", 100, VINDEX_FLOAT, PLANE_MEAN, 400, 1, 1, false},
    {"mean of the largest dim", 65520, VINDEX_FLOAT, PLANE_MEAN, 262080, 1, 0, true},
    {"scale", 7, VINDEX_FLOAT, PLANE_SCALE, 28, 1, 0, true},
    {"scale with a stride of bytes", 7, VINDEX_FLOAT, PLANE_SCALE, 7, 1, 0, false},
    {"model of a bit index", 64, VINDEX_BIT, PLANE_MEAN, 256, 1, 0, false},
    {"axes", 100, VINDEX_FLOAT, PLANE_AXES, 400, 64, 0, true},
    {"the last axes", 100, VINDEX_FLOAT, PLANE_AXES, 400, 24, 1000, true},
    {"axes beyond the last", 100, VINDEX_FLOAT, PLANE_AXES, 400, 25, 1000, false},
    {"deviations", 100, VINDEX_FLOAT, PLANE_DEVIATION, 4, 1024, 0, true},
    {"too many deviations", 100, VINDEX_FLOAT, PLANE_DEVIATION, 4, 1025, 0, false},
    {"audits", 100, VINDEX_FLOAT, PLANE_AUDITS, 1448, 100, 5020, true},
    {"too many audits", 100, VINDEX_FLOAT, PLANE_AUDITS, 1448, 100, 5021, false},
    {"audits of another dim", 100, VINDEX_FLOAT, PLANE_AUDITS, 1452, 100, 0, false},
    {"audits with a query that just fits", 65258, VINDEX_FLOAT, PLANE_AUDITS, 262080, 1, 0, true},
    {"audits without a query", 65259, VINDEX_FLOAT, PLANE_AUDITS, 1048, 250, 0, true},
    {"c4 of 8 axes", 100, VINDEX_FLOAT, PLANE_C4, 128, 1024, 0, true},
    {"c4 of 1,024 axes", 100, VINDEX_FLOAT, PLANE_C4, 8256, 31, 15888, true},
    {"c4 of 1,032 axes", 100, VINDEX_FLOAT, PLANE_C4, 8320, 1, 0, false},
    {"c4 of 12 axes", 100, VINDEX_FLOAT, PLANE_C4, 160, 1, 0, false},
    {"c4 of no axes", 100, VINDEX_FLOAT, PLANE_C4, 64, 1, 0, false},
    {"c4 with no group", 100, VINDEX_FLOAT, PLANE_C4, 128, 0, 0, false},
    {"c4 with a stride of zero", 100, VINDEX_FLOAT, PLANE_C4, 0, 1, 0, false},
    {"c4 that begins within a group", 100, VINDEX_FLOAT, PLANE_C4, 128, 1, 8, false},
    {"c4 that ends beyond the largest segment", 100, VINDEX_FLOAT, PLANE_C4, 128, 2, 16368, false},
    {"c4 of a bit index", 64, VINDEX_BIT, PLANE_C4, 128, 1, 0, false},
    {"c8", 100, VINDEX_FLOAT, PLANE_C8, 1792, 146, 2336, true},
    {"c8 of an odd dim", 101, VINDEX_FLOAT, PLANE_C8, 1856, 1, 0, true},
    {"c8 of another dim", 100, VINDEX_FLOAT, PLANE_C8, 1856, 1, 0, false},
    {"c8 of the largest dim it has", 16368, VINDEX_FLOAT, PLANE_C8, 262080, 1, 16368, true},
    {"c8 of a dim whose groups fill more than a block", 16369, VINDEX_FLOAT, PLANE_C8, 262144, 1, 0, false},
    {"c8 of that dim, of nothing", 16369, VINDEX_FLOAT, PLANE_C8, 0, 1, 0, false},
    {"p8 of 8 axes", 100, VINDEX_FLOAT, PLANE_P8, 320, 819, 3280, true},
    {"p8 of 32 axes", 100, VINDEX_FLOAT, PLANE_P8, 704, 1, 0, true},
    {"p8 of 1,024 axes", 100, VINDEX_FLOAT, PLANE_P8, 16576, 15, 0, true},
    {"p8 of 1,032 axes", 100, VINDEX_FLOAT, PLANE_P8, 16704, 1, 0, false},
    {"p8 of no axes", 100, VINDEX_FLOAT, PLANE_P8, 192, 1, 0, false},
    {"p8 of 12 axes", 100, VINDEX_FLOAT, PLANE_P8, 384, 1, 0, false},
    {"p8 where there is no c8", 16369, VINDEX_FLOAT, PLANE_P8, 320, 1, 0, true},
    {"p8 that begins within a group", 100, VINDEX_FLOAT, PLANE_P8, 320, 1, 8, false},
    {"p8 that ends beyond the largest segment", 100, VINDEX_FLOAT, PLANE_P8, 320, 2, 16368, false},
    {"p8 of a bit index", 64, VINDEX_BIT, PLANE_P8, 320, 1, 0, false},
    {"a plane nobody knows", 100, VINDEX_FLOAT, 35, 64, 1, 0, false},
    {"norms of a bit index", 64, VINDEX_BIT, PLANE_NORM, 4, 1, 0, false},
};
static const struct header_case headers_under_ip[] = {
    {"p8 of 8 axes under ip", 100, VINDEX_FLOAT, PLANE_P8, 384, 682, 0, true},
    {"p8 of 8 axes as under l2", 100, VINDEX_FLOAT, PLANE_P8, 320, 1, 0, false},
    {"p8 of 1,024 axes under ip", 100, VINDEX_FLOAT, PLANE_P8, 16640, 15, 16144, true},
    {"p8 of 1,032 axes under ip", 100, VINDEX_FLOAT, PLANE_P8, 16768, 1, 0, false},
    {"c8 under ip", 100, VINDEX_FLOAT, PLANE_C8, 1792, 146, 2336, true},
};

static void expect_header(const struct header_case *h, uint32_t metric)
{
    vindex_status st = header_status(h->dim, h->type, metric, h->plane, h->stride, h->n, h->first);
    if (st != (h->is_right ? VINDEX_OK : VINDEX_CORRUPT))
        fail_msg("%s: %s", h->name, vindex_status_text(st));
}

static void headers_of_every_plane(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
        expect_header(&headers[i], VINDEX_L2);
    for (size_t i = 0; i < sizeof headers_under_ip / sizeof *headers_under_ip; i++)
        expect_header(&headers_under_ip[i], VINDEX_IP);
}

/* The blocks of a layout hold its entries once each, and every header among them is one that decodes. */
static void expect_layout(const char *name, const struct config *config, enum plane plane,
                          struct plane_layout layout, uint32_t n)
{
    uint32_t next = 0, seen = 0;
    if (layout.n != n) fail_msg("%s: %u entries, not %u", name, layout.n, n);
    assert_int_equal(layout.n_blocks == 0, n == 0);
    for (uint32_t i = 0; i < layout.n_blocks; i++) {
        uint32_t here = layout_block_n(&layout, i);
        assert_int_equal(layout_block_first(&layout, i), next);
        assert_true(i + 1 == layout.n_blocks ? here >= 1 && here <= layout.per_block
                                             : here == layout.per_block);
        assert_int_equal(header_status(config->dim, config->type, config->metric, (uint16_t)plane,
                                       layout.stride, here, next),
                         VINDEX_OK);
        next += here * layout.slots;
        seen += here;
    }
    assert_int_equal(seen, n);
}

static void layouts_hold_every_entry_once(void **state)
{
    (void)state;
    static const uint32_t dims[] = {1, 3, 100, 960, 4096, 16368, 16369, 65258, 65259, 65520};
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
        struct config config = base_config;
        struct model_record model = example_model;
        struct codes_record codes = example_codes;
        struct audits_record audits = example_audits;
        config.dim = dims[i];
        model.m = codes.m = 1024;
        audits.n = 900;
        audits.entry_bytes = audit_stride(dims[i]);
        expect_layout("mean", &config, PLANE_MEAN, vindex__model_layout(&model, &config, PLANE_MEAN), 1);
        expect_layout("axes", &config, PLANE_AXES, vindex__model_layout(&model, &config, PLANE_AXES),
                      1024);
        expect_layout("deviation", &config, PLANE_DEVIATION,
                      vindex__model_layout(&model, &config, PLANE_DEVIATION), 1024);
        expect_layout("audits", &config, PLANE_AUDITS, vindex__audits_layout(&audits), 900);
        for (codes.n = 1; codes.n <= SEGMENT_ROWS_MAX; codes.n = codes.n * 3 + 1) {
            uint32_t n_groups = (codes.n + 15) / 16;
            expect_layout("c4", &config, PLANE_C4, vindex__codes_layout(&codes, &config, PLANE_C4),
                          n_groups);
            expect_layout("c8", &config, PLANE_C8, vindex__codes_layout(&codes, &config, PLANE_C8),
                          dims[i] <= 16368 ? n_groups : 0);
        }
        model.m = 8; /* fewer than p */
        expect_layout("axes of p8", &config, PLANE_AXES,
                      vindex__model_layout(&model, &config, PLANE_AXES), model.p);
        expect_layout("deviations of p8", &config, PLANE_DEVIATION,
                      vindex__model_layout(&model, &config, PLANE_DEVIATION), model.p);
        model.m = model.p = codes.m = codes.flags = codes.p = 0;
        expect_layout("no c4", &config, PLANE_C4, vindex__codes_layout(&codes, &config, PLANE_C4), 0);
        expect_layout("no c8", &config, PLANE_C8, vindex__codes_layout(&codes, &config, PLANE_C8), 0);
        expect_layout("no p8", &config, PLANE_P8, vindex__codes_layout(&codes, &config, PLANE_P8), 0);
        expect_layout("no axes", &config, PLANE_AXES, vindex__model_layout(&model, &config, PLANE_AXES),
                      0);
    }
}

static void layouts_of_p8_follow_axes_and_metric(void **state)
{
    (void)state;
    static const uint32_t metrics[] = {VINDEX_L2, VINDEX_COSINE, VINDEX_IP};
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++) {
        struct config config = base_config;
        struct codes_record codes = example_codes;
        bool is_ip = metrics[i] == VINDEX_IP;
        config.metric = metrics[i];
        for (codes.p = 8; codes.p <= MODEL_AXES_MAX; codes.p += 8) {
            codes.n = 1 + 16 * codes.p - codes.p / 8;
            struct plane_layout layout = vindex__codes_layout(&codes, &config, PLANE_P8);
            assert_int_equal(layout.stride, 16 * (codes.p + (is_ip ? 4 : 0)) + 192);
            assert_int_equal(p8_dim(codes.p, metrics[i]), codes.p + is_ip);
            expect_layout("p8", &config, PLANE_P8, layout, (codes.n + 15) / 16);
        }
    }
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
        cmocka_unit_test(model_rules),
        cmocka_unit_test(models_without_plane_p8),
        cmocka_unit_test(short_records_are_without_plane_p8),
        cmocka_unit_test(codes_rules),
        cmocka_unit_test(codes_without_plane_p8),
        cmocka_unit_test(codes_records_with_reserved_bytes_are_refused),
        cmocka_unit_test(audits_rules),
        cmocka_unit_test(records_of_derived_planes_keep_what_they_hold),
        cmocka_unit_test(headers_of_every_plane),
        cmocka_unit_test(layouts_hold_every_entry_once),
        cmocka_unit_test(layouts_of_p8_follow_axes_and_metric),
        cmocka_unit_test(newer_formats_are_unsupported),
        cmocka_unit_test(strides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
