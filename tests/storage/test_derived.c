/*
 * test_derived.c - models, codes and audits written by hand: what a snapshot lends of them, what it
 * passes over, what it refuses.
 */
#include "helper_views.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "storage/check.h"

/* ---- what is lent ------------------------------------------------------------------------ */

static void lends(struct codes_index *f)
{
    put_all(f);
    struct view v = open_view(f->store);
    check_model(f, v.snapshot, 1);
    for (uint64_t seq = 1; seq <= N_SEGMENTS; seq++)
        check_codes(f, v.snapshot, seq);
    const struct part_codes *codes = part_of(v.snapshot, 2)->codes;
    CHECK(codes->n_c4 == 3 && codes->n_c8 == 3);
    CHECK(codes->n_p8 == (f->config.metric == VINDEX_IP ? 3 : 2)); /* of 512 or 448 bytes a group */
    close_view(&v);
    check_says(f->store, "everything", NULL);
}

static void test_lends_codes_and_model(void **state)
{
    (void)state;
    on_both_stores(lends);
}

static void test_p8_is_one_element_wider_under_ip(void **state)
{
    struct codes_index f;
    (void)state;
    codes_index_create(&f, ":memory:", VINDEX_IP);
    lends(&f);
    codes_index_close(&f);
}

static void lends_some_planes(struct codes_index *f)
{
    put_model(f, 1);
    for (uint64_t seq = 1; seq <= N_SEGMENTS; seq++)
        put_segment(f, seq);
    put_codes(f, 1, CODES_M, 0, 0);
    put_codes(f, 2, 0, 0, CODES_C8 | CODES_WHOLE | CODES_SIGNED);
    put_codes(f, 3, 0, CODES_P, 0);
    commit_codes(f);
    struct view v = open_view(f->store);
    check_codes(f, v.snapshot, 1);
    check_codes(f, v.snapshot, 2);
    check_codes(f, v.snapshot, 3);
    CHECK(part_of(v.snapshot, 1)->codes->c8 == NULL && part_of(v.snapshot, 2)->codes->c4 == NULL);
    CHECK(part_of(v.snapshot, 2)->codes->p8 == NULL && part_of(v.snapshot, 3)->codes->p8 != NULL);
    close_view(&v);
    check_says(f->store, "one plane each", NULL);
    del_codes(f, 3);
    put_codes(f, 3, 0, 0, 0);
    commit_codes(f);
    v = open_view(f->store);
    CHECK(part_of(v.snapshot, 3)->codes == NULL); /* no plane could be made */
    close_view(&v);
    check_says(f->store, "no plane", NULL);
}

static void test_lends_one_plane_alone(void **state)
{
    (void)state;
    on_both_stores(lends_some_planes);
}

static void without_axes(struct codes_index *f)
{
    put_all(f);
    for (uint64_t seq = 1; seq <= N_SEGMENTS; seq++)
        del_codes(f, seq);
    del_block(f, f->model.nonce, PLANE_AXES, 0);
    del_block(f, f->model.nonce, PLANE_DEVIATION, 0);
    f->model.m = f->model.p = 0;
    f->model.axes_norm = 0;
    put_model_record(f);
    put_codes(f, 1, 0, 0, CODES_C8);
    commit_codes(f);
    struct view v = open_view(f->store);
    CHECK(v.snapshot->model && v.snapshot->model->m == 0 && v.snapshot->model->p == 0);
    CHECK(!v.snapshot->model->axes && !v.snapshot->model->deviation);
    check_array(v.snapshot->model->scale, CODES_DIM, 1, PLANE_SCALE);
    check_codes(f, v.snapshot, 1);
    close_view(&v);
    check_says(f->store, "no axes", NULL);
}

static void test_a_model_may_have_no_axes(void **state)
{
    (void)state;
    on_both_stores(without_axes);
}

/* ---- what is passed over ----------------------------------------------------------------- */

static void drop_record(struct codes_index *f)
{
    del_codes(f, 2);
}
static void lose_c4_block(struct codes_index *f)
{
    del_block(f, f->codes[2].nonce, PLANE_C4, 1);
}
static void lose_last_c8_block(struct codes_index *f)
{
    del_block(f, f->codes[2].nonce, PLANE_C8, 2);
}
static void lose_last_p8_block(struct codes_index *f)
{
    del_block(f, f->codes[2].nonce, PLANE_P8, 1);
}
static void of_another_segment(struct codes_index *f)
{
    memcpy(f->codes[2].segment, f->segments[1].nonce, NONCE_BYTES);
    put_codes_record(f, 2, &f->codes[2]);
}
static void of_another_model(struct codes_index *f)
{
    f->codes[2].model[3] ^= 1;
    put_codes_record(f, 2, &f->codes[2]);
}
static void of_fewer_rows(struct codes_index *f)
{
    f->codes[2].n--;
    put_codes_record(f, 2, &f->codes[2]);
}
static void of_fewer_axes(struct codes_index *f)
{
    f->codes[2].m -= 8;
    put_codes_record(f, 2, &f->codes[2]);
}
static void of_fewer_p8_axes(struct codes_index *f)
{
    f->codes[2].p -= 8;
    put_codes_record(f, 2, &f->codes[2]);
}

static const struct {
    const char *name;
    body_fn *change; /* of segment 2 */
    const char *finding;
} passed_over[] = {
    {"no record", drop_record, NULL},
    {"a block of c4 is missing", lose_c4_block, "block 1 of plane 32 is missing"},
    {"the last block of c8 is missing", lose_last_c8_block, "block 2 of plane 33 is missing"},
    {"the last block of p8 is missing", lose_last_p8_block, "block 1 of plane 34 is missing"},
    {"codes of another segment", of_another_segment, NULL},
    {"codes of another model", of_another_model, NULL},
    {"codes of fewer rows", of_fewer_rows, "does not fit the segment or the model"},
    {"codes of fewer axes", of_fewer_axes, "does not fit the segment or the model"},
    {"p8 of fewer axes", of_fewer_p8_axes, "does not fit the segment or the model"},
};

static size_t passed_over_case;

static void passes_over(struct codes_index *f)
{
    put_all(f);
    struct view before = open_view(f->store); /* the next snapshot is built from this one */
    passed_over[passed_over_case].change(f);
    commit_codes(f);
    struct view v = open_view(f->store);
    if (part_of(v.snapshot, 2)->codes)
        fail_msg("%s: yet there are codes", passed_over[passed_over_case].name);
    check_codes(f, v.snapshot, 1);
    check_codes(f, v.snapshot, 3);
    check_model(f, v.snapshot, 1);
    CHECK(part_of(before.snapshot, 2)->codes != NULL);
    close_view(&v);
    close_view(&before);
    check_says(f->store, passed_over[passed_over_case].name, passed_over[passed_over_case].finding);
}

static void test_codes_that_do_not_count_are_passed_over(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof passed_over / sizeof *passed_over; i++) {
        passed_over_case = i;
        on_both_stores(passes_over);
    }
}

static void is_whole_or_not(struct codes_index *f)
{
    static const struct {
        enum plane plane;
        uint32_t last;
    } planes[] = {{PLANE_C4, 2}, {PLANE_C8, 2}, {PLANE_P8, 1}};
    put_all(f);
    for (size_t i = 0; i < sizeof planes / sizeof *planes; i++) {
        CHECK(codes_are_whole(f, f->store, true));
        del_block(f, f->codes[2].nonce, planes[i].plane, planes[i].last);
        commit_codes(f);
        CHECK(!codes_are_whole(f, f->store, false));
        del_codes(f, 2);
        put_codes(f, 2, CODES_M, CODES_P, CODES_C8);
        commit_codes(f);
    }
}

static void test_codes_that_lack_a_block_are_not_whole(void **state)
{
    (void)state;
    on_both_stores(is_whole_or_not);
}

static void model_is_lost(struct codes_index *f)
{
    put_all(f);
    del_block(f, f->model.nonce, PLANE_AXES, 0);
    commit_codes(f);
    struct view v = open_view(f->store);
    CHECK(v.snapshot->model == NULL && v.snapshot->n_live == 130 + SEGMENT_ROWS_MAX + 1);
    for (uint64_t seq = 1; seq <= N_SEGMENTS; seq++)
        CHECK(part_of(v.snapshot, seq)->codes == NULL);
    close_view(&v);
    check_says(f->store, "a block of the model", "model 0: block 0 of plane 18 is missing");
    put_model(f, 2);
    commit_codes(f);
    check_says(f->store, "its other blocks", "3 blocks belong to nothing");
}

static void test_a_model_that_lacks_a_block_is_none(void **state)
{
    (void)state;
    on_both_stores(model_is_lost);
}

/* dim 16384: a group of plane c8 would not fit a block. */
static void test_no_c8_where_a_group_fills_more_than_a_block(void **state)
{
    struct codes_index f = {.config = test_config()};
    struct codes_record codes = {.n = 1, .flags = CODES_C8};
    (void)state;
    f.config.dim = 16384;
    assert_int_equal(vindex__codes_layout(&codes, &f.config, PLANE_C8).n_blocks, 0);
    f.config.dim = 16368;
    assert_int_equal(vindex__codes_layout(&codes, &f.config, PLANE_C8).n_blocks, 1);
}

/* ---- what is refused --------------------------------------------------------------------- */

static const float nan_value = NAN, zero = 0, minus = -1;
static const uint32_t one = 1;

static void a_block_lies(struct codes_index *f)
{
    const uint32_t n = 454; /* of 455 groups */
    bend_block(f, f->codes[2].nonce, PLANE_C4, 0, 12 - 48, &n, 4);
}
static void put_8_axes(struct codes_index *f, enum plane plane)
{
    f->codes[1].m = f->codes[1].p = 8; /* as the header of another plane of codes would have it */
    size_t size;
    unsigned char *groups = make_groups(f, 1, plane, &size);
    struct codes_record right = f->codes[1];
    struct block_key key = {.plane = (uint16_t)plane, .index = 0};
    static unsigned char block[BLOCK_BYTES];
    struct block_header header = {
        .plane = (uint16_t)plane, .n = 9, .stride = (uint32_t)size / 9, .dim = CODES_DIM};
    memcpy(key.nonce, right.nonce, NONCE_BYTES);
    memcpy(header.nonce, right.nonce, NONCE_BYTES);
    memcpy(block + BLOCK_HEADER_BYTES, groups, size);
    vindex__block_seal(&header, block);
    del_block(f, right.nonce, plane, 0);
    commit_codes(f);
    CHECK_OK(blocks_put(f->writer.blocks, &key, bytes_of(block, BLOCK_HEADER_BYTES + size)));
    commit_codes(f);
    free(groups);
}
static void a_c4_block_is_of_other_axes(struct codes_index *f)
{
    put_8_axes(f, PLANE_C4);
}
static void a_p8_block_is_of_other_axes(struct codes_index *f)
{
    put_8_axes(f, PLANE_P8);
}
static void a_block_is_of_another_nonce(struct codes_index *f)
{
    bend_block(f, f->codes[3].nonce, PLANE_C8, 0, 32 - 48, &one, 4);
}
static void a_block_begins_elsewhere(struct codes_index *f)
{
    const uint32_t first = 16;
    bend_block(f, f->codes[2].nonce, PLANE_C8, 2, 28 - 48, &first, 4);
}
static void a_p8_block_begins_elsewhere(struct codes_index *f)
{
    const uint32_t first = 16;
    bend_block(f, f->codes[2].nonce, PLANE_P8, 1, 28 - 48, &first, 4);
}
static void a_mean_is_not_finite(struct codes_index *f)
{
    bend_block(f, f->model.nonce, PLANE_MEAN, 0, 4 * 17, &nan_value, 4);
}
static void a_scale_is_zero(struct codes_index *f)
{
    bend_block(f, f->model.nonce, PLANE_SCALE, 0, 0, &zero, 4);
}
static void a_deviation_is_negative(struct codes_index *f)
{
    bend_block(f, f->model.nonce, PLANE_DEVIATION, 0, 4 * 63, &minus, 4);
}
static void a_codes_record_is_damaged(struct codes_index *f)
{
    f->codes[3].flags = 64;
    put_codes_record(f, 3, &f->codes[3]);
}
static void the_model_record_is_damaged(struct codes_index *f)
{
    f->model.m = 12;
    put_model_record(f);
}

static const struct {
    const char *name;
    body_fn *change;
    const char *finding;
} refused[] = {
    {"a block with fewer entries than it says", a_block_lies, "does not agree"},
    {"a block of c4 of other axes", a_c4_block_is_of_other_axes, "plane 32 belongs elsewhere"},
    {"a block of p8 of other axes", a_p8_block_is_of_other_axes, "plane 34 belongs elsewhere"},
    {"a block of another nonce", a_block_is_of_another_nonce, "plane 33 belongs elsewhere"},
    {"a block from elsewhere in the plane", a_block_begins_elsewhere, "plane 33 belongs elsewhere"},
    {"a block from elsewhere in p8", a_p8_block_begins_elsewhere, "plane 34 belongs elsewhere"},
    {"a mean that is not finite", a_mean_is_not_finite, "plane 16: a value is not finite"},
    {"a scale of zero", a_scale_is_zero, "plane 17: a value is not above zero"},
    {"a negative deviation", a_deviation_is_negative, "plane 19: a value is not above zero"},
    {"a codes record out of range", a_codes_record_is_damaged, "codes of segment 3"},
    {"a model record out of range", the_model_record_is_damaged, "the model record holds"},
};

static size_t refused_case;

static void refuses(struct codes_index *f)
{
    struct view v;
    put_all(f);
    refused[refused_case].change(f);
    commit_codes(f);
    vindex__store_forget(f->store); /* what an earlier snapshot knew does not count */
    vindex_status st = try_view(f->store, &v);
    if (st != VINDEX_CORRUPT)
        fail_msg("%s: %s", refused[refused_case].name, vindex_status_text(st));
    check_says(f->store, refused[refused_case].name, refused[refused_case].finding);
}

static void test_derived_planes_that_lie_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        refused_case = i;
        on_both_stores(refuses);
    }
}

/* ---- one snapshot after the other -------------------------------------------------------- */

static void incremental(struct codes_index *f)
{
    put_model(f, 1);
    for (uint64_t seq = 1; seq <= N_SEGMENTS; seq++)
        put_segment(f, seq);
    put_codes(f, 1, CODES_M, CODES_P, CODES_C8);
    commit_codes(f);
    struct view a = open_view(f->store);
    check_codes(f, a.snapshot, 1);
    CHECK(part_of(a.snapshot, 2)->codes == NULL);

    put_codes(f, 2, CODES_M, CODES_P, CODES_C8); /* the segment's record stays as it is */
    commit_codes(f);
    struct view b = open_view(f->store);
    check_codes(f, b.snapshot, 2);
    CHECK(b.snapshot->model == a.snapshot->model);
    CHECK(part_of(b.snapshot, 1)->codes->record == part_of(a.snapshot, 1)->codes->record);
    CHECK(part_of(b.snapshot, 2)->segment == part_of(a.snapshot, 2)->segment);

    bitmap_clear(f->segments[1].live, 5); /* the segment's record changes, its codes stay */
    f->segments[1].n_live--;
    f->state.n_rows--;
    put_segment_record(f, 1);
    commit_codes(f);
    struct view c = open_view(f->store);
    CHECK(part_of(c.snapshot, 1)->segment != part_of(b.snapshot, 1)->segment);
    CHECK(part_of(c.snapshot, 1)->codes->record == part_of(b.snapshot, 1)->codes->record);
    CHECK(part_of(c.snapshot, 1)->n_live == 129);

    struct codes_index before = *f;
    del_codes(f, 2); /* other codes of the same segment and model */
    put_codes(f, 2, 0, CODES_P, CODES_C8 | CODES_WHOLE);
    commit_codes(f);
    struct view d = open_view(f->store);
    check_codes(f, d.snapshot, 2);
    CHECK(part_of(d.snapshot, 2)->codes->c4 == NULL);
    check_codes(&before, c.snapshot, 2); /* and who sees the old ones keeps them */

    del_model(f); /* trained anew: the codes of the model before say nothing */
    put_model(f, 2);
    commit_codes(f);
    struct view e = open_view(f->store);
    check_model(f, e.snapshot, 2);
    for (uint64_t seq = 1; seq <= N_SEGMENTS; seq++)
        CHECK(part_of(e.snapshot, seq)->codes == NULL);
    check_model(&before, d.snapshot, 1);
    check_says(f->store, "stale codes", NULL);

    del_codes(f, 2);
    put_codes(f, 2, CODES_M, 0, 0);
    commit_codes(f);
    struct view g = open_view(f->store);
    CHECK(g.snapshot->model == e.snapshot->model);
    check_codes(f, g.snapshot, 2);
    CHECK(part_of(g.snapshot, 1)->codes == NULL);

    struct view *all[] = {&a, &b, &c, &d, &e, &g};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        close_view(all[i]);
}

static void test_snapshots_follow_one_another(void **state)
{
    (void)state;
    on_both_stores(incremental);
}

/* ---- audits ------------------------------------------------------------------------------ */

static void expect_audits(struct codes_index *f, vindex_status expected, uint32_t n)
{
    struct session s = test_session(f->store, false);
    struct audits_record record;
    unsigned char *entries = NULL;
    CHECK_STATUS(expected, vindex__snapshot_audits(f->store, &s, &record, &entries));
    CHECK(record.n == n && (entries != NULL) == (n > 0));
    if (n) {
        size_t size;
        unsigned char *audits = make_audits(f, &size);
        CHECK(record.entry_bytes == f->audits.entry_bytes && record.n_rows == f->audits.n_rows);
        CHECK(memcmp(record.model, f->audits.model, NONCE_BYTES) == 0);
        CHECK(memcmp(entries, audits, size) == 0);
        free(audits);
    }
    vindex__free(entries);
    vindex__session_close(f->store, &s);
}

static void audits(struct codes_index *f)
{
    expect_audits(f, VINDEX_OK, 0);
    put_all(f);
    expect_audits(f, VINDEX_OK, N_AUDITS);
    CHECK(vindex__audits_layout(&f->audits).n_blocks == 3);
    del_block(f, f->audits.nonce, PLANE_AUDITS, 1);
    commit_codes(f);
    expect_audits(f, VINDEX_OK, 0);
    check_says(f->store, "a block of audits", "audits 0: block 1 of plane 20 is missing");
    del_block(f, f->audits.nonce, PLANE_AUDITS, 0);
    del_block(f, f->audits.nonce, PLANE_AUDITS, 2);
    put_audits(f, 0);
    commit_codes(f);
    expect_audits(f, VINDEX_OK, 0);
    check_says(f->store, "no audits", NULL);
    put_audits(f, 1);
    commit_codes(f);
    expect_audits(f, VINDEX_OK, 1);
    f->audits.version = 2;
    put_audits_record(f);
    commit_codes(f);
    expect_audits(f, VINDEX_OK, 0);
    f->audits.version = 1;
    f->audits.entry_bytes += 4;
    put_audits_record(f);
    commit_codes(f);
    expect_audits(f, VINDEX_CORRUPT, 0);
    check_says(f->store, "audits of another dim",
               "the audits have 1124 bytes each, 1120 are needed");
}

static void test_audits_are_read_back(void **state)
{
    (void)state;
    on_both_stores(audits);
}

/* ---- no memory --------------------------------------------------------------------------- */

static vindex_status read_all(struct codes_index *f)
{
    struct view v;
    struct audits_record record;
    unsigned char *entries = NULL;
    struct check check = {.finding = NULL};
    struct session s = {NULL, NULL};
    vindex_status st = vindex__session_open(f->store, false, &s);
    if (st != VINDEX_OK) return st;
    st = vindex__snapshot_acquire(f->store, &s, &v.snapshot);
    if (st == VINDEX_OK) vindex__snapshot_release(f->store, &s, v.snapshot);
    if (st == VINDEX_OK) st = vindex__snapshot_audits(f->store, &s, &record, &entries);
    if (st == VINDEX_OK) st = vindex__check_store(f->store, &s, &check);
    vindex__free(entries);
    vindex__session_close(f->store, &s);
    vindex__store_forget(f->store);
    return st;
}

static void out_of_memory(struct codes_index *f)
{
    uint64_t n = 0;
    vindex_status st;
    put_all(f);
    CHECK_OK(read_all(f));
    uint64_t live = vindex__mem_live_bytes();
    do {
        vindex__mem_fail_after(++n);
        st = read_all(f);
        vindex__mem_fail_after(0);
        CHECK(st == VINDEX_OK || st == VINDEX_NOMEM);
        CHECK(vindex__mem_live_bytes() == live);
    } while (st != VINDEX_OK && n < 10000);
    CHECK(st == VINDEX_OK);
    CHECK(n > 15);
    printf("%llu allocations failed in turn\n", (unsigned long long)n - 1);
}

static void test_every_allocation_may_fail(void **state)
{
    (void)state;
    on_both_stores(out_of_memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lends_codes_and_model),
        cmocka_unit_test(test_p8_is_one_element_wider_under_ip),
        cmocka_unit_test(test_lends_one_plane_alone),
        cmocka_unit_test(test_a_model_may_have_no_axes),
        cmocka_unit_test(test_codes_that_do_not_count_are_passed_over),
        cmocka_unit_test(test_codes_that_lack_a_block_are_not_whole),
        cmocka_unit_test(test_a_model_that_lacks_a_block_is_none),
        cmocka_unit_test(test_no_c8_where_a_group_fills_more_than_a_block),
        cmocka_unit_test(test_derived_planes_that_lie_are_refused),
        cmocka_unit_test(test_snapshots_follow_one_another),
        cmocka_unit_test(test_audits_are_read_back),
        cmocka_unit_test(test_every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
