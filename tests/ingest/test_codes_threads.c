/*
 * test_codes_threads.c - optimize on several threads: the codes are the same bytes for any number of
 * them, also where the last row decides what a segment is; helpers live as long as the call, and
 * progress is asked on the calling thread.
 */
#include "common/cmocka.h"

#include <dirent.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "api/api.h"
#include "helper_codes_check.h"
#include "storage/snapshot.h"

/* A segment of 24 panels, and one of 64 with it; the last panel is short and not of whole groups. */
enum { DIM = 24, WIDE = 96, ROWS = 6007, MANY = 16384 + ROWS, THREADS_MOST = 4 };

enum kind { PLAIN, WHOLE, LAST_NOT_WHOLE, LAST_NEGATIVE };

static const struct {
    const char *name;
    uint32_t type, metric;
    enum kind kind;
    size_t n; /* rows */
    uint32_t dim;
} cases[] = {
    {"f32", VINDEX_FLOAT, VINDEX_L2, PLAIN, ROWS, DIM},
    {"f32, whole numbers", VINDEX_FLOAT, VINDEX_L2, WHOLE, ROWS, DIM},
    {"f32, whole but for the last row", VINDEX_FLOAT, VINDEX_L2, LAST_NOT_WHOLE, MANY, DIM},
    {"f32, the last row alone is negative", VINDEX_FLOAT, VINDEX_L2, LAST_NEGATIVE, ROWS, DIM},
    {"f32, cosine", VINDEX_FLOAT, VINDEX_COSINE, PLAIN, ROWS, DIM},
    {"f32, cosine, whole numbers", VINDEX_FLOAT, VINDEX_COSINE, WHOLE, ROWS, DIM},
    {"f16, ip", VINDEX_FLOAT16, VINDEX_IP, PLAIN, ROWS, DIM},
    {"bf16, cosine", VINDEX_BFLOAT16, VINDEX_COSINE, PLAIN, ROWS, DIM},
    {"f32, leading coordinates", VINDEX_FLOAT, VINDEX_L2, PLAIN, ROWS, WIDE},
    {"f32, ip, leading coordinates", VINDEX_FLOAT, VINDEX_IP, PLAIN, ROWS, WIDE},
    {"u8", VINDEX_UINT8, VINDEX_L2, LAST_NEGATIVE, ROWS, 64},
    {"i8", VINDEX_INT8, VINDEX_L2, WHOLE, ROWS, 64},
};
enum { N_CASES = sizeof cases / sizeof *cases };

static float *make_rows(uint32_t type, enum kind kind, size_t n, uint32_t dim)
{
    float *rows = helper_rows(n, dim, 5, kind != PLAIN);
    float *last = rows + (n - 1) * dim;
    if (kind == LAST_NEGATIVE)
        for (size_t i = 0; i < n * dim; i++)
            rows[i] = (float)((int)rows[i] / 2 + 64); /* 0..127 */
    if (kind == LAST_NEGATIVE && type == VINDEX_FLOAT) last[0] = -1;
    if (kind == LAST_NOT_WHOLE) last[dim - 1] = 0.5f;
    return rows;
}

static vindex *create(uint32_t type, uint32_t metric, enum kind kind, size_t n, uint32_t dim)
{
    vindex *index = NULL;
    vindex_writer *writer = NULL;
    vindex_create_options options = VINDEX_CREATE_OPTIONS_INIT;
    float *rows = make_rows(type, kind, n, dim);
    options.dim = dim;
    options.type = type;
    options.metric = metric;
    assert_int_equal(vindex_create(":memory:", &options, &index), VINDEX_OK);
    assert_int_equal(vindex_writer_begin(index, &writer), VINDEX_OK);
    assert_int_equal(vindex_writer_insert(writer, NULL, &VINDEX_F32_ROWS(rows, n), 0), VINDEX_OK);
    assert_int_equal(vindex_writer_commit(writer), VINDEX_OK);
    free(rows);
    return index;
}

static void optimize(vindex *index, uint32_t flags)
{
    if (vindex_optimize(index, flags, NULL, NULL) != VINDEX_OK)
        fail_msg("optimize: %s", vindex_message());
}

/* ---- planes -------------------------------------------------------------------------------------- */

/* All codes of an index, one segment after the other: what its record says, then its blocks. */
struct planes {
    unsigned char *bytes;
    size_t size, c4_size, c8_size, p8_size;
    uint32_t n_whole, n_signed, n_parts;
};

static void append(struct planes *planes, const void *bytes, size_t size)
{
    planes->bytes = realloc(planes->bytes, planes->size + size);
    assert_non_null(planes->bytes);
    memcpy(planes->bytes + planes->size, bytes, size);
    planes->size += size;
}

static size_t append_blocks(struct planes *planes, const struct block *blocks, uint32_t n)
{
    size_t before = planes->size;
    for (uint32_t i = 0; i < n; i++)
        append(planes, blocks[i].rows, (size_t)blocks[i].n * blocks[i].stride);
    return planes->size - before;
}

static struct planes take_planes(vindex *index)
{
    struct planes planes = {.bytes = NULL};
    struct session session;
    const struct snapshot *snapshot = NULL;
    assert_int_equal(vindex__session_open(index->store, false, &session), VINDEX_OK);
    assert_int_equal(vindex__snapshot_acquire(index->store, &session, &snapshot), VINDEX_OK);
    for (uint32_t i = 0; i < snapshot->n_parts; i++) {
        const struct part_codes *codes = snapshot->parts[i].codes;
        assert_non_null(codes);
        const float facts[] = {codes->c8_error, codes->c8_size, codes->c8_bias, codes->p8_error,
                               codes->p8_size,  codes->p8_bias, codes->p8_drift};
        const unsigned char kinds[] = {codes->whole, codes->is_signed};
        append(&planes, facts, sizeof facts);
        append(&planes, kinds, sizeof kinds);
        planes.c4_size += append_blocks(&planes, codes->c4, codes->n_c4);
        planes.c8_size += append_blocks(&planes, codes->c8, codes->n_c8);
        planes.p8_size += append_blocks(&planes, codes->p8, codes->n_p8);
        planes.n_whole += codes->whole;
        planes.n_signed += codes->is_signed;
        planes.n_parts++;
    }
    vindex__snapshot_release(index->store, &session, snapshot);
    vindex__session_close(index->store, &session);
    return planes;
}

/* What a segment is said to be is decided by all of its rows. */
static void check_kinds(const struct planes *planes, uint32_t type, enum kind kind, size_t n_rows,
                        bool has_p8)
{
    uint32_t n = planes->n_parts;
    bool has_c8 = type != VINDEX_UINT8 && type != VINDEX_INT8;
    assert_int_equal(n, n_rows > 16384 ? 2 : 1);
    assert_true(planes->c4_size > 0);
    if (has_p8) assert_true(planes->p8_size > 0);
    assert_int_equal(planes->c8_size > 0, has_c8);
    if (!has_c8) return;
    assert_int_equal(planes->n_whole, kind == PLAIN ? 0 : kind == LAST_NOT_WHOLE ? n - 1 : n);
    assert_int_equal(planes->n_signed, kind == WHOLE            ? n
                                       : kind == LAST_NOT_WHOLE ? n - 1
                                       : kind == LAST_NEGATIVE  ? 1
                                                                : 0);
}

static void codes_are_the_same_for_any_number_of_threads(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_CASES; i++) {
        struct planes alone = {.bytes = NULL};
        uint64_t n_audits = 0;
        for (uint32_t n_threads = 1; n_threads <= THREADS_MOST; n_threads += 2 + i % 2) { /* 1, 3 or 1, 4 */
            vindex *index =
                create(cases[i].type, cases[i].metric, cases[i].kind, cases[i].n, cases[i].dim);
            optimize(index, VINDEX_OPTIMIZE_THREADS(n_threads));
            struct planes planes = take_planes(index);
            vindex_stats stats = VINDEX_STATS_INIT;
            assert_int_equal(vindex_stat(index, &stats), VINDEX_OK);
            if (n_threads == 1) n_audits = stats.n_audits;
            assert_int_equal(stats.n_audits, n_audits);
            if (n_threads == 1) {
                struct codes_found found;
                helper_check_index(index);
                helper_check_codes(index, &found);
                assert_int_equal(found.n_rows, cases[i].n);
                check_kinds(&planes, cases[i].type, cases[i].kind, cases[i].n, cases[i].dim == WIDE);
                alone = planes;
            } else {
                if (planes.size != alone.size || memcmp(planes.bytes, alone.bytes, alone.size) != 0)
                    fail_msg("%s: other codes by %u threads", cases[i].name, n_threads);
                free(planes.bytes);
            }
            vindex_close(index);
        }
        free(alone.bytes);
    }
}

/* ---- threads ------------------------------------------------------------------------------------- */

struct watch {
    pthread_t caller;
    int n, cancel_at; /* calls; the one that cancels, -1: none */
    int most_threads;
};

/* Of this process; 0 where the system does not tell. */
static int count_threads(void)
{
    int n = 0;
    DIR *tasks = opendir("/proc/self/task");
    if (!tasks) return 0;
    for (struct dirent *entry; (entry = readdir(tasks)) != NULL;)
        n += entry->d_name[0] != '.';
    closedir(tasks);
    return n;
}

/* A thread that was joined is listed a little longer. */
static void wait_until_there_are(int n)
{
    for (int i = 0; i < 5000 && count_threads() != n; i++)
        usleep(1000);
    assert_int_equal(count_threads(), n);
}

static int look(void *context, uint64_t done, uint64_t total)
{
    struct watch *w = context;
    int n_threads = count_threads();
    assert_true(done <= total);
    assert_true(pthread_equal(pthread_self(), w->caller));
    if (n_threads > w->most_threads) w->most_threads = n_threads;
    return w->n++ == w->cancel_at;
}

static void helpers_live_as_long_as_the_call(void **state)
{
    (void)state;
    vindex *index = create(VINDEX_FLOAT, VINDEX_L2, PLAIN, ROWS, DIM);
    optimize(index, 0); /* what a process starts once, is there */
    int before = count_threads();
    for (uint32_t n_threads = 0; n_threads <= THREADS_MOST; n_threads++) {
        struct watch w = {.caller = pthread_self(), .cancel_at = -1};
        assert_int_equal(vindex_optimize(index,
                                         VINDEX_OPTIMIZE_ALL | VINDEX_OPTIMIZE_THREADS(n_threads),
                                         look, &w),
                         VINDEX_OK);
        assert_true(w.n > 0);
        if (before) assert_int_equal(w.most_threads - before, n_threads ? n_threads - 1 : 0);
        wait_until_there_are(before);
    }
    vindex_close(index);
}

/* The last steps are those of encoding and of audits. */
static void a_cancelled_optimize_leaves_what_was_done(void **state)
{
    (void)state;
    vindex *index = create(VINDEX_FLOAT, VINDEX_L2, PLAIN, ROWS, DIM);
    struct watch all = {.caller = pthread_self(), .cancel_at = -1};
    assert_int_equal(vindex_optimize(index, VINDEX_OPTIMIZE_THREADS(2), look, &all), VINDEX_OK);
    struct planes whole = take_planes(index);
    vindex_close(index);
    int n_cancelled = 0;
    for (int back = 2; back <= all.n; back += 1 + back / 2) {
        struct watch w = {.caller = pthread_self(), .cancel_at = all.n - back};
        index = create(VINDEX_FLOAT, VINDEX_L2, PLAIN, ROWS, DIM);
        vindex_status st = vindex_optimize(index, VINDEX_OPTIMIZE_THREADS(2), look, &w);
        assert_true(st == VINDEX_CANCELLED || st == VINDEX_OK);
        n_cancelled += st == VINDEX_CANCELLED;
        helper_check_index(index);
        optimize(index, VINDEX_OPTIMIZE_THREADS(3));
        struct planes planes = take_planes(index);
        assert_int_equal(planes.size, whole.size);
        assert_memory_equal(planes.bytes, whole.bytes, whole.size);
        free(planes.bytes);
        vindex_close(index);
    }
    assert_true(n_cancelled > 3);
    free(whole.bytes);
}

static void flags_are_checked(void **state)
{
    (void)state;
    static const struct {
        uint32_t flags;
        vindex_status st;
    } given[] = {
        {VINDEX_OPTIMIZE_THREADS(0), VINDEX_OK},
        {VINDEX_OPTIMIZE_THREADS(1), VINDEX_OK},
        {VINDEX_OPTIMIZE_ALL | VINDEX_OPTIMIZE_THREADS(2), VINDEX_OK},
        {VINDEX_OPTIMIZE_THREADS(1024), VINDEX_OK},
        {VINDEX_OPTIMIZE_THREADS(1025), VINDEX_INVALID},
        {VINDEX_OPTIMIZE_THREADS(0xffff), VINDEX_INVALID},
        {VINDEX_OPTIMIZE_THREADS(0x10000), VINDEX_UNSUPPORTED},
        {VINDEX_OPTIMIZE_THREADS(2) | 2, VINDEX_UNSUPPORTED},
        {1u << 31, VINDEX_UNSUPPORTED},
    };
    vindex *index = NULL;
    vindex_create_options options = VINDEX_CREATE_OPTIONS_INIT;
    options.dim = DIM;
    assert_int_equal(vindex_create(":memory:", &options, &index), VINDEX_OK);
    for (size_t i = 0; i < sizeof given / sizeof *given; i++)
        assert_int_equal(vindex_optimize(index, given[i].flags, NULL, NULL), given[i].st);
    assert_int_equal(vindex_optimize(index, VINDEX_OPTIMIZE_THREADS(1025), NULL, NULL),
                     VINDEX_INVALID);
    assert_non_null(strstr(vindex_message(), "1025"));
    vindex_close(index);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_are_the_same_for_any_number_of_threads),
        cmocka_unit_test(helpers_live_as_long_as_the_call),
        cmocka_unit_test(a_cancelled_optimize_leaves_what_was_done),
        cmocka_unit_test(flags_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
