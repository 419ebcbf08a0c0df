/*
 * test_derived_damage.c - files damaged where codes and models lie: checksums are looked at before the bytes are
 * used, and whatever is read is refused or what was written.
 */
#include "helper_views.h"

#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/random.h"
#include "storage/check.h"

/* ---- checksums at first touch ------------------------------------------------------------ */

/* Where in the file these bytes are, once. */
static off_t find_bytes(const char *path, const unsigned char *bytes, size_t size)
{
    int fd = open(path, O_RDONLY);
    off_t end = lseek(fd, 0, SEEK_END), at = -1;
    unsigned char *all = malloc((size_t)end);
    CHECK(fd >= 0 && all && pread(fd, all, (size_t)end, 0) == end);
    for (size_t i = 0; i + size <= (size_t)end && at < 0; i++)
        if (all[i] == bytes[0] && memcmp(all + i, bytes, size) == 0) at = (off_t)i;
    free(all);
    close(fd);
    CHECK(at >= 0);
    return at;
}

/* A sound file with everything in it; f knows what. */
static void make_index(struct codes_index *f, const char *path)
{
    codes_index_create(f, path, VINDEX_L2);
    put_all(f);
    codes_index_close(f);
}

static void expect_touch(const struct codes_index *f, const char *path, vindex_status expected)
{
    struct store *store = test_open(path, false);
    struct view v = open_view(store);
    CHECK(vindex__store_suspect(store));
    CHECK_OK(vindex__part_touch(v.snapshot, part_of(v.snapshot, 1)));
    CHECK_STATUS(expected, vindex__part_touch(v.snapshot, part_of(v.snapshot, 2)));
    CHECK_STATUS(expected, vindex__part_touch(v.snapshot, part_of(v.snapshot, 2)));
    CHECK_OK(vindex__part_touch(v.snapshot, part_of(v.snapshot, 3)));
    close_view(&v);
    CHECK(codes_are_whole(f, store, false));
    CHECK(codes_are_whole(f, store, true) == (expected == VINDEX_OK));
    vindex__store_close(store);
}

static void test_codes_of_a_suspect_file_are_verified_at_first_touch(void **state)
{
    static const enum plane planes[] = {PLANE_C4, PLANE_C8, PLANE_P8};
    const char *path = test_path("whole.vdx"), *copy = test_path("touch.vdx");
    struct codes_index f;
    (void)state;
    make_index(&f, path);
    test_copy_file(path, copy);
    expect_touch(&f, copy, VINDEX_OK);
    for (int i = 0; i < 3; i++) {
        size_t size;
        unsigned char *groups = make_groups(&f, 2, planes[i], &size);
        test_remove(copy);
        test_copy_file(path, copy);
        test_flip(copy, find_bytes(copy, groups, 4000) + 3999, 16);
        expect_touch(&f, copy, VINDEX_CORRUPT);
        free(groups);
    }
    test_remove(copy);
    test_remove(path);
}

/* The model is copied, and its checksums are looked at then, whatever the file's past. */
static void test_a_damaged_model_is_refused(void **state)
{
    const char *path = test_path("model.vdx");
    struct codes_index f;
    struct view v;
    float axes[CODES_M * CODES_DIM];
    (void)state;
    make_index(&f, path);
    for (size_t i = 0; i < sizeof axes / sizeof *axes; i++)
        axes[i] = model_value(1, PLANE_AXES, i);
    test_flip(path, find_bytes(path, (const unsigned char *)axes, sizeof axes) + 4000, 1);
    struct store *store = test_open(path, false);
    CHECK_STATUS(VINDEX_CORRUPT, try_view(store, &v));
    check_says(store, "a damaged axis", "model 0: the checksum of a block does not match");
    vindex__store_close(store);
    test_remove(path);
}

/* Codes written after a segment was verified are verified too. */
static void test_new_codes_of_a_verified_segment_are_verified(void **state)
{
    const char *path = test_path("late.vdx"), *copy = test_path("late-copy.vdx");
    struct codes_index f;
    (void)state;
    make_index(&f, path);
    test_copy_file(path, copy);
    f.store = test_open(copy, false);
    f.writer = test_session(f.store, true);
    struct view v = open_view(f.store);
    CHECK_OK(vindex__part_touch(v.snapshot, part_of(v.snapshot, 1)));
    close_view(&v);
    del_codes(&f, 1);
    put_codes(&f, 1, 0, 0, CODES_C8);
    commit_codes(&f);
    /* A payload changed under its checksum: */
    struct block_key key = {.plane = PLANE_C8, .index = 0};
    memcpy(key.nonce, f.codes[1].nonce, NONCE_BYTES);
    static unsigned char block[BLOCK_BYTES];
    v = open_view(f.store);
    const struct part_codes *codes = part_of(v.snapshot, 1)->codes;
    size_t size = BLOCK_HEADER_BYTES + codes->c8[0].n * codes->c8[0].stride;
    memcpy(block, (const char *)codes->c8[0].rows - BLOCK_HEADER_BYTES, size);
    close_view(&v);
    block[size - 70] ^= 4;
    del_block(&f, f.codes[1].nonce, PLANE_C8, 0);
    commit_codes(&f);
    CHECK_OK(blocks_put(f.writer.blocks, &key, bytes_of(block, size)));
    commit_codes(&f);
    v = open_view(f.store);
    CHECK_STATUS(VINDEX_CORRUPT, vindex__part_touch(v.snapshot, part_of(v.snapshot, 1)));
    close_view(&v);
    codes_index_close(&f);
    test_remove(copy);
    test_remove(path);
}

/* ---- damaged files ----------------------------------------------------------------------- */

/* What is read from a damaged file is refused or what was written. */
static void read_damaged(void *context)
{
    const struct codes_index *f = context;
    const char *copy = test_path("damaged.vdx");
    struct store *store = NULL;
    struct view v;
    vindex_status st = vindex__store_open(copy, false, &store);
    if (st != VINDEX_OK) return;
    struct check check = {.finding = NULL};
    struct session s = test_session(store, false);
    vindex_status checked = vindex__check_store(store, &s, &check);
    vindex__session_close(store, &s);
    st = try_view(store, &v);
    if (st != VINDEX_OK) {
        CHECK(st == VINDEX_CORRUPT && checked == VINDEX_CORRUPT);
        vindex__store_close(store);
        return;
    }
    if (v.snapshot->model) check_model(f, v.snapshot, 1);
    for (uint64_t seq = 1; seq <= N_SEGMENTS; seq++) {
        const struct part *part = part_of(v.snapshot, seq);
        st = vindex__part_touch(v.snapshot, part);
        CHECK(st == VINDEX_OK || (st == VINDEX_CORRUPT && checked == VINDEX_CORRUPT));
        if (st == VINDEX_OK && part->codes) check_codes(f, v.snapshot, seq);
        CHECK(part->codes || checked == VINDEX_CORRUPT);
    }
    close_view(&v);
    vindex__store_close(store);
}

static void test_damaged_files_do_no_harm(void **state)
{
    const char *path = test_path("sound.vdx"), *copy = test_path("damaged.vdx");
    struct codes_index f;
    struct rng rng;
    (void)state;
    make_index(&f, path);
    int fd = open(path, O_RDONLY);
    off_t end = lseek(fd, 0, SEEK_END);
    close(fd);
    vindex__rng_init(&rng, test_seed());
    for (int trial = 0; trial < 60; trial++) {
        test_remove(copy);
        test_copy_file(path, copy);
        for (uint64_t n = 1 + vindex__rng_below(&rng, 12); n > 0; n--)
            test_flip(copy, (off_t)vindex__rng_below(&rng, (uint64_t)end),
                      (unsigned char)(1 + vindex__rng_below(&rng, 255)));
        int status = test_child(read_damaged, &f);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            fail_msg("trial %d: the process died", trial);
    }
    test_remove(copy);
    test_remove(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_codes_of_a_suspect_file_are_verified_at_first_touch),
        cmocka_unit_test(test_a_damaged_model_is_refused),
        cmocka_unit_test(test_new_codes_of_a_verified_segment_are_verified),
        cmocka_unit_test(test_damaged_files_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
