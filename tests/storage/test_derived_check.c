/*
 * test_derived_check.c - what check says of the contents of codes and audits, which a snapshot does not look at.
 */
#include "helper_views.h"

#include <math.h>

static const float nan_value = NAN, zero = 0, minus = -1;
static const uint32_t one = 1;

/* ---- what only check looks at ------------------------------------------------------------ */

/* Blocks whose checksum is right and whose contents are not. Segment 1: 130 rows, 9 groups, the
 * last of 2 rows; a group of c8 is 5 lines, then bias, scale, sums; of p8 likewise, but 4 lines under l2 and
 * 5 under ip, the last with one element. */
enum { C8_GROUP = 8 * 64, C4_GROUP = 9 * 64, P8_GROUP = 7 * 64, P8_IP_GROUP = 8 * 64 };

static const struct content {
    const char *name;
    enum plane plane;
    long at;
    const void *bytes;
    size_t size;
    const char *finding;
} contents[] = {
    {"a sum", PLANE_C8, 3 * C8_GROUP + 7 * 64 + 8, &one, 4, "a sum of codes is wrong"},
    {"a code that its sum does not know", PLANE_C8, C8_GROUP + 64, "\xab\xcd\xef", 3,
     "sum of codes"},
    {"a code past dim", PLANE_C8, 4 * 64 + 2, "\1", 1, "past the last element"},
    {"a code of no row", PLANE_C8, 8 * C8_GROUP + 8, "\1", 1, "what pads a group"},
    {"a sum of no row", PLANE_C8, 8 * C8_GROUP + 7 * 64 + 60, "\1", 1, "what pads a group"},
    {"a bias that is not a number", PLANE_C8, 5 * 64, &nan_value, 4, "a bias"},
    {"a negative bias", PLANE_C8, 5 * 64 + 4, &minus, 4, "a bias"},
    {"a bias above the record's", PLANE_C8, 5 * 64 + 8, "\1\0\x80\x3f", 4, "a bias"},
    {"a scale that is not a number", PLANE_C8, 6 * 64, &nan_value, 4, "a factor"},
    {"a factor that is not a number", PLANE_C4, 8 * 64, &nan_value, 4, "a factor"},
    {"nibbles of no row", PLANE_C4, 8 * C4_GROUP + 63, "\x10", 1, "what pads a group"},
    {"a factor of no row", PLANE_C4, 8 * C4_GROUP + 8 * 64 + 8, "\1", 1, "what pads a group"},
    {"a sum of p8", PLANE_P8, 3 * P8_GROUP + 6 * 64 + 8, &one, 4, "a sum of codes is wrong"},
    {"the last code of p8", PLANE_P8, P8_GROUP + 3 * 64 + 1, "\xab\xcd\xef", 3, "sum of codes"},
    {"a code of p8 of no row", PLANE_P8, 8 * P8_GROUP + 8, "\1", 1, "what pads a group"},
    {"a bias of p8 that is not a number", PLANE_P8, 4 * 64, &nan_value, 4, "a bias"},
    {"a bias of p8 above the record's", PLANE_P8, 4 * 64 + 8, "\1\0\x80\x3f", 4, "a bias"},
    {"a negative scale of p8", PLANE_P8, 5 * 64, &minus, 4, "a factor"},
};
static const struct content contents_under_ip[] = {
    {"a sum of p8 under ip", PLANE_P8, 3 * P8_IP_GROUP + 7 * 64 + 8, &one, 4, "sum of codes"},
    {"the code of what lies outside", PLANE_P8, P8_IP_GROUP + 4 * 64, "\xff", 1, "sum of codes"},
    {"a code past it", PLANE_P8, 4 * 64 + 1, "\1", 1, "past the last element"},
    {"a code in the last line's end", PLANE_P8, 4 * 64 + 3, "\1", 1, "past the last element"},
    {"a bias under ip", PLANE_P8, 5 * 64, "\1", 1, "a bias"},
};

static void expect_finding(const struct content *content, vindex_metric metric)
{
    struct codes_index f;
    codes_index_create(&f, ":memory:", metric);
    put_all(&f);
    bend_block(&f, f.codes[1].nonce, content->plane, 0, content->at, content->bytes, content->size);
    check_says(f.store, content->name, content->finding);
    codes_index_close(&f);
}

static void test_check_looks_into_codes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof contents / sizeof *contents; i++)
        expect_finding(&contents[i], VINDEX_L2);
    for (size_t i = 0; i < sizeof contents_under_ip / sizeof *contents_under_ip; i++)
        expect_finding(&contents_under_ip[i], VINDEX_IP);
}

static const struct {
    const char *name;
    long at; /* of audit 3: kind 1, depth 3, has a query */
    const void *bytes;
    size_t size;
    const char *finding;
} audit_contents[] = {
    {"kind 0", 0, &zero, 4, "outside the format's ranges"},
    {"kind 4", 0, "\4", 1, "outside the format's ranges"},
    {"depth 1025", 4, "\1\4", 2, "outside the format's ranges"},
    {"an effort past depth", 16 + 3, "\1", 1, "outside the format's ranges"},
    {"has_query 2", 1040, "\2", 1, "outside the format's ranges"},
    {"a segment to come", 1047, "\1", 1, "outside the format's ranges"},
    {"a query that is not said to be there", 1040, "\0", 1, "an audit without a query has one"},
    {"a query that is not finite", 1048 + 4 * 17, &nan_value, 4, "a query is not finite"},
};

static void test_check_looks_into_audits(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof audit_contents / sizeof *audit_contents; i++) {
        struct codes_index f;
        codes_index_create(&f, ":memory:", VINDEX_L2);
        put_all(&f);
        bend_block(&f, f.audits.nonce, PLANE_AUDITS, 0,
                   3 * (long)f.audits.entry_bytes + audit_contents[i].at, audit_contents[i].bytes,
                   audit_contents[i].size);
        check_says(f.store, audit_contents[i].name, audit_contents[i].finding);
        codes_index_close(&f);
    }
}

static void orphans(struct codes_index *f)
{
    unsigned char key[8];
    put_all(f);
    put_codes_record(f, 77, &f->codes[1]);
    commit_codes(f);
    check_says(f->store, "codes of no segment", "codes of segment 77, which does not exist");
    store_be64(key, 77);
    CHECK_OK(catalog_del(f->writer.catalog, TABLE_CODES, bytes_of(key, 8)));
    commit_codes(f);
    check_says(f->store, "as before", NULL);
    store_be64(key, 1);
    CHECK_OK(catalog_del(f->writer.catalog, TABLE_CODES, bytes_of(key, 8)));
    commit_codes(f);
    check_says(f->store, "blocks without their codes record", "3 blocks belong to nothing");
    CHECK_OK(catalog_del(f->writer.catalog, TABLE_CONFIG, bytes_of("audits", 6)));
    commit_codes(f);
    check_says(f->store, "audits without their record", "6 blocks belong to nothing");
    f->state.flags = STATE_EARLY_BLOCKS;
    commit_codes(f);
    check_says(f->store, "blocks that came early", NULL);
}

static void test_check_finds_orphans(void **state)
{
    (void)state;
    on_both_stores(orphans);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check_looks_into_codes),
        cmocka_unit_test(test_check_looks_into_audits),
        cmocka_unit_test(test_check_finds_orphans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
