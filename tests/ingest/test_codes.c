/*
 * test_codes.c - the life of codes: made by optimize and while sealing, right through updates, removals and compaction, replaced
 * with the model, gone with their segments, and whole after optimize was cancelled or killed anywhere.
 */
#include "common/cmocka.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "common/model.h"
#include "helper_codes_check.h"
#include "storage/store.h"

enum { DIM = 24, ROWS = 6000 };

static vindex *create(const char *path, uint32_t type, uint32_t metric, uint32_t dim)
{
    vindex *index = NULL;
    vindex_create_options options = VINDEX_CREATE_OPTIONS_INIT;
    options.dim = dim;
    options.type = type;
    options.metric = metric;
    assert_int_equal(vindex_create(path, &options, &index), VINDEX_OK);
    return index;
}

/* Rows of one seed, ids ascending from first. */
static void insert_as(vindex *index, bool whole, uint32_t dim, int64_t first, size_t n,
                      uint64_t seed, uint32_t flags)
{
    vindex_writer *writer = NULL;
    float *rows = helper_rows(n, dim, seed, whole);
    int64_t *ids = calloc(n, sizeof *ids);
    assert_non_null(ids);
    for (size_t i = 0; i < n; i++)
        ids[i] = first + (int64_t)i;
    assert_int_equal(vindex_writer_begin(index, &writer), VINDEX_OK);
    assert_int_equal(vindex_writer_insert(writer, ids, &VINDEX_F32_ROWS(rows, n), flags),
                     VINDEX_OK);
    assert_int_equal(vindex_writer_commit(writer), VINDEX_OK);
    free(ids);
    free(rows);
}

static void insert(vindex *index, uint32_t dim, int64_t first, size_t n, uint64_t seed,
                   uint32_t flags)
{
    vindex_stats stats = VINDEX_STATS_INIT;
    assert_int_equal(vindex_stat(index, &stats), VINDEX_OK);
    insert_as(index, stats.type == VINDEX_INT8, dim, first, n, seed, flags);
}

static void remove_every(vindex *index, int64_t first, int64_t end, int64_t step)
{
    vindex_writer *writer = NULL;
    assert_int_equal(vindex_writer_begin(index, &writer), VINDEX_OK);
    for (int64_t id = first; id < end; id += step)
        assert_int_equal(vindex_writer_remove(writer, &id, 1, NULL), VINDEX_OK);
    assert_int_equal(vindex_writer_commit(writer), VINDEX_OK);
}

static vindex_stats stats_of(vindex *index)
{
    vindex_stats stats = VINDEX_STATS_INIT;
    assert_int_equal(vindex_stat(index, &stats), VINDEX_OK);
    return stats;
}

static void optimize(vindex *index, uint32_t flags)
{
    if (vindex_optimize(index, flags, NULL, NULL) != VINDEX_OK)
        fail_msg("optimize: %s", vindex_message());
}

/* Every row has codes of the model, and they are right. */
static struct codes_found assert_all_coded(vindex *index)
{
    struct codes_found found;
    vindex_stats stats = stats_of(index);
    helper_check_index(index);
    helper_check_codes(index, &found);
    assert_true(found.has_model);
    assert_int_equal(stats.n_coded, stats.n_rows);
    assert_int_equal(stats.c4_axes, found.m);
    assert_int_equal(stats.p8_axes, found.p);
    assert_true(stats.codes_bytes > 0);
    return found;
}

/* ---- what gets codes -------------------------------------------------------------------------------- */

static void each_type_and_metric_gets_its_planes(void **state)
{
    (void)state;
    static const struct {
        uint32_t type, metric, dim;
        bool c8;
    } cases[] = {
        {VINDEX_FLOAT, VINDEX_L2, DIM, true},       {VINDEX_FLOAT, VINDEX_COSINE, 33, true},
        {VINDEX_FLOAT, VINDEX_IP, 17, true},        {VINDEX_FLOAT16, VINDEX_L2, DIM, true},
        {VINDEX_BFLOAT16, VINDEX_COSINE, 40, true}, {VINDEX_INT8, VINDEX_L2, 64, false},
        {VINDEX_FLOAT, VINDEX_L2, 8, true},         {VINDEX_FLOAT, VINDEX_L2, 9, true},
        {VINDEX_FLOAT, VINDEX_L2, 97, true},        {VINDEX_FLOAT, VINDEX_COSINE, 96, true},
        {VINDEX_FLOAT16, VINDEX_IP, 98, true},      {VINDEX_INT8, VINDEX_L2, 96, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vindex *index = create(":memory:", cases[i].type, cases[i].metric, cases[i].dim);
        insert(index, cases[i].dim, 0, ROWS, i, 0);
        assert_int_equal(stats_of(index).n_coded, 0);
        optimize(index, 0);
        struct codes_found found = assert_all_coded(index);
        printf("case %zu: %u and %u axes of %u, %.1f bytes a row\n", i, found.m, found.p, cases[i].dim,
               (double)stats_of(index).codes_bytes / ROWS);
        if (cases[i].dim < 16)
            assert_int_equal(found.m, 0);
        else
            assert_true(found.m > 0);
        if (cases[i].dim >= 96) assert_true(found.p > 0 && found.p < 60);
        assert_int_equal(found.model_rows, ROWS);
        uint64_t epoch = stats_of(index).epoch;
        optimize(index, 0); /* nothing is due */
        assert_int_equal(stats_of(index).n_coded, ROWS);
        assert_true(stats_of(index).epoch - epoch <= 1); /* audits may be */
        vindex_close(index);
    }
}

static void few_rows_and_bits_get_none(void **state)
{
    (void)state;
    struct codes_found found;
    vindex *index = create(":memory:", VINDEX_FLOAT, VINDEX_L2, DIM);
    insert(index, DIM, 0, 4000, 1, 0);
    optimize(index, VINDEX_OPTIMIZE_ALL);
    helper_check_codes(index, &found);
    assert_false(found.has_model);
    vindex_close(index);

    index = create(":memory:", VINDEX_FLOAT, VINDEX_L2, 7);
    insert(index, 7, 0, ROWS, 1, 0);
    optimize(index, 0);
    assert_int_equal(stats_of(index).n_coded, 0);
    vindex_close(index);

    struct rng rng;
    unsigned char *bits = calloc(ROWS, 8);
    vindex_writer *writer = NULL;
    assert_non_null(bits);
    vindex__rng_init(&rng, 1);
    for (size_t i = 0; i < ROWS * 8; i++)
        bits[i] = (unsigned char)vindex__rng_next(&rng);
    vindex_vectors vectors = {.data = bits, .n = ROWS, .type = VINDEX_BIT};
    index = create(":memory:", VINDEX_BIT, VINDEX_HAMMING, 64);
    assert_int_equal(vindex_writer_begin(index, &writer), VINDEX_OK);
    assert_int_equal(vindex_writer_insert(writer, NULL, &vectors, 0), VINDEX_OK);
    assert_int_equal(vindex_writer_commit(writer), VINDEX_OK);
    optimize(index, VINDEX_OPTIMIZE_ALL);
    assert_int_equal(stats_of(index).n_coded, 0);
    helper_check_index(index);
    vindex_close(index);
    free(bits);
}

/* ---- through changes ------------------------------------------------------------------------------------ */

static void codes_stay_right_through_changes(void **state)
{
    (void)state;
    char path[256];
    struct codes_found before, found;
    model_path(path, sizeof path, "codes");
    vindex *index = create(path, VINDEX_FLOAT, VINDEX_L2, DIM);
    insert(index, DIM, 0, ROWS, 1, 0);
    optimize(index, 0);
    before = assert_all_coded(index);

    insert(index, DIM, 500, 700, 2, VINDEX_UPSERT); /* some stay in the tail */
    remove_every(index, 3000, 4000, 3);
    helper_check_index(index);
    helper_check_codes(index, &found);
    vindex_stats stats = stats_of(index);
    assert_int_equal(stats.n_coded, stats.n_rows - stats.n_tail);

    insert(index, DIM, 100000, 13000, 3, 0); /* 1.2 MB: sealed by the commit, with codes */
    stats = stats_of(index);
    assert_true(stats.n_tail == 0);
    assert_int_equal(stats.n_coded, stats.n_rows);
    helper_check_codes(index, &found);
    assert_memory_equal(found.model, before.model, NONCE_BYTES);

    remove_every(index, 100000, 113000, 2); /* compaction is due */
    optimize(index, 0);
    found = assert_all_coded(index);
    assert_int_equal(stats_of(index).n_dead, 0);

    remove_every(index, 0, 113000, 1); /* the last row of each segment takes its codes along */
    helper_check_index(index);
    assert_int_equal(stats_of(index).n_segments, 0);
    assert_int_equal(stats_of(index).codes_bytes, 0);
    vindex_close(index);

    assert_int_equal(vindex_open(path, 0, &index), VINDEX_OK);
    helper_check_index(index);
    vindex_close(index);
    model_unlink(path);
}

static void a_new_model_replaces_the_old_one(void **state)
{
    (void)state;
    vindex *index = create(":memory:", VINDEX_FLOAT, VINDEX_COSINE, DIM);
    insert(index, DIM, 0, 5000, 1, 0);
    optimize(index, 0);
    struct codes_found first = assert_all_coded(index), found;
    insert(index, DIM, 5000, 4000, 2, 0);
    optimize(index, 0);
    found = assert_all_coded(index);
    assert_memory_equal(first.model, found.model, NONCE_BYTES); /* not yet twice the rows */
    insert(index, DIM, 9000, 1000, 3, 0);
    optimize(index, 0);
    found = assert_all_coded(index);
    assert_memory_not_equal(first.model, found.model, NONCE_BYTES);
    assert_int_equal(found.model_rows, 10000);
    first = found;
    optimize(index, VINDEX_OPTIMIZE_ALL);
    found = assert_all_coded(index);
    assert_memory_not_equal(first.model, found.model, NONCE_BYTES);
    vindex_close(index);
}

static void removing_all_rows_forgets_the_model(void **state)
{
    (void)state;
    struct codes_found found;
    vindex_writer *writer = NULL;
    vindex *index = create(":memory:", VINDEX_FLOAT, VINDEX_L2, DIM);
    insert(index, DIM, 0, ROWS, 1, 0);
    optimize(index, 0);
    assert_all_coded(index);

    float *rows = helper_rows(ROWS, DIM, 9, false);
    assert_int_equal(vindex_writer_begin(index, &writer), VINDEX_OK);
    assert_int_equal(vindex_writer_insert(writer, NULL, &VINDEX_F32_ROWS(rows, ROWS), 0),
                     VINDEX_OK);
    assert_int_equal(vindex_writer_remove_all(writer), VINDEX_OK);
    vindex_writer_abort(writer); /* nothing happened */
    assert_int_equal(stats_of(index).n_rows, ROWS);
    assert_all_coded(index);

    assert_int_equal(vindex_writer_begin(index, &writer), VINDEX_OK);
    for (int i = 0; i < 3; i++) /* the first segment is sealed, with codes, and goes as well */
        assert_int_equal(vindex_writer_insert(writer, NULL, &VINDEX_F32_ROWS(rows, ROWS), 0),
                         VINDEX_OK);
    assert_int_equal(vindex_writer_remove_all(writer), VINDEX_OK);
    for (int i = 0; i < 3;
         i++) /* sealed without codes: the model is gone in this transaction too */
        assert_int_equal(vindex_writer_insert(writer, NULL, &VINDEX_F32_ROWS(rows, ROWS), 0),
                         VINDEX_OK);
    assert_int_equal(vindex_writer_commit(writer), VINDEX_OK);
    helper_check_index(index);
    helper_check_codes(index, &found);
    assert_false(found.has_model);
    assert_int_equal(stats_of(index).n_coded, 0);
    optimize(index, 0);
    assert_all_coded(index);
    free(rows);
    vindex_close(index);
}

/* ---- interrupted ---------------------------------------------------------------------------------------- */

struct watch {
    vindex *index;
    int left; /* calls until it cancels; < 0: never */
    int n;
    uint64_t most_bytes; /* of heap */
};

static void assert_exact(vindex *index)
{
    vindex_searcher *searcher = NULL;
    vindex_search_options options = VINDEX_SEARCH_OPTIONS_INIT;
    vindex_hit hit;
    float row[DIM];
    int64_t id = 4321;
    options.recall = 1;
    assert_int_equal(vindex_searcher_open(index, &searcher), VINDEX_OK);
    assert_int_equal(vindex_fetch(searcher, &id, 1, row, NULL), VINDEX_OK);
    assert_int_equal(vindex_search(searcher, &VINDEX_F32_ROWS(row, 1), 1, &options, &hit),
                     VINDEX_OK);
    assert_int_equal(hit.id, id);
    vindex_searcher_close(searcher);
}

static int look(void *context, uint64_t done, uint64_t total)
{
    struct watch *w = context;
    uint64_t bytes = vindex__mem_live_bytes();
    assert_true(done <= total);
    if (bytes > w->most_bytes) w->most_bytes = bytes;
    if (w->n++ % 50 == 0) assert_exact(w->index); /* between steps and during training */
    return w->left >= 0 && w->left-- == 0;
}

static void a_cancelled_optimize_goes_on_later(void **state)
{
    (void)state;
    int step = 1, total = 0;
    for (int n = 0;; n += step, step = 1 + n / 3) {
        vindex *index = create(":memory:", VINDEX_FLOAT, VINDEX_L2, DIM);
        insert(index, DIM, 0, ROWS, 1, 0);
        struct watch w = {.index = index, .left = n};
        vindex_status st = vindex_optimize(index, 0, look, &w);
        total = w.n;
        helper_check_index(index);
        if (st != VINDEX_OK) assert_int_equal(st, VINDEX_CANCELLED);
        optimize(index, 0);
        assert_all_coded(index);
        vindex_close(index);
        if (st == VINDEX_OK) break;
    }
    assert_true(total > 50);
}

static void memory_is_bounded(void **state)
{
    (void)state;
    enum { MANY = 40000 };
    char path[256];
    model_path(path, sizeof path, "codes-memory");
    vindex *index = create(path, VINDEX_FLOAT, VINDEX_L2, DIM);
    insert(index, DIM, 0, MANY, 1, 0);
    uint64_t before = vindex__mem_live_bytes();
    struct watch w = {.index = index, .left = -1};
    assert_int_equal(vindex_optimize(index, 0, look, &w), VINDEX_OK);
    printf("%.1f MiB of heap at most while 3.7 MiB of rows were trained on\n",
           (double)(w.most_bytes - before) / (1 << 20));
    assert_true(w.most_bytes - before < 32u << 20);
    assert_all_coded(index);
    vindex_close(index);
    model_unlink(path);
}

static void a_killed_optimize_leaves_a_sound_index(void **state)
{
    (void)state;
    enum { KILLS = 8, MANY = 20000 };
    char path[256];
    struct rng rng;
    vindex__rng_init(&rng, test_seed());
    model_path(path, sizeof path, "codes-kill");
    vindex *index = create(path, VINDEX_FLOAT, VINDEX_L2, DIM);
    insert(index, DIM, 0, MANY, 1, 0);
    vindex_close(index);
    alarm(120);
    for (int i = 0; i < KILLS; i++) {
        int status;
        fflush(NULL);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            MODEL_CHECK(vindex_open(path, 0, &index) == VINDEX_OK);
            for (;;)
                MODEL_CHECK(vindex_optimize(index, VINDEX_OPTIMIZE_ALL, NULL, NULL) == VINDEX_OK);
        }
        usleep((useconds_t)(5000 + vindex__rng_below(&rng, 250000)));
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

        struct codes_found found;
        assert_int_equal(vindex_open(path, 0, &index), VINDEX_OK);
        helper_check_index(index);
        helper_check_codes(index, &found); /* those of the model are right, others do not show */
        assert_int_equal(stats_of(index).n_rows, MANY);
        assert_exact(index);
        vindex_close(index);
    }
    assert_int_equal(vindex_open(path, 0, &index), VINDEX_OK);
    optimize(index, 0);
    assert_all_coded(index);
    vindex_close(index);
    alarm(0);
    model_unlink(path);
}

/* ---- damaged ------------------------------------------------------------------------------------------ */

/* The store of a closed index, open to write whatever a broken disk might have. */
struct surgery {
    struct store *store;
    struct session session;
    struct config config;
    struct state state;
    struct model_record model;
    unsigned char seq[8]; /* of the first segment with codes */
    struct codes_record codes;
};

static void get(struct surgery *s, enum catalog_table table, const void *key, size_t size,
                struct bytes *record)
{
    struct catalog_entry entry;
    assert_int_equal(catalog_get(s->session.catalog, table, bytes_of(key, size), &entry),
                     VINDEX_OK);
    assert_non_null(entry.value.data);
    *record = entry.value;
}

static void open_up(const char *path, struct surgery *s)
{
    struct catalog_entry entry;
    struct bytes record;
    uint64_t stamp;
    assert_int_equal(vindex__store_open(path, false, &s->store), VINDEX_OK);
    vindex__store_set_verified(s->store); /* a copy of what is sound: what is wrong comes now */
    assert_int_equal(vindex__session_open(s->store, true, &s->session), VINDEX_OK);
    assert_int_equal(catalog_refresh(s->session.catalog, &stamp), VINDEX_OK);
    assert_int_equal(vindex__read_head(s->session.catalog, &s->config, &s->state), VINDEX_OK);
    get(s, TABLE_CONFIG, "model", 5, &record);
    assert_int_equal(vindex__model_decode(record, &s->model), VINDEX_OK);
    assert_int_equal(
        catalog_seek(s->session.catalog, TABLE_CODES, SEEK_GE, bytes_of("", 0), &entry), VINDEX_OK);
    assert_int_equal(entry.key.size, 8);
    memcpy(s->seq, entry.key.data, 8);
    assert_int_equal(vindex__codes_decode(entry.value, &s->codes), VINDEX_OK);
}

static void put(struct surgery *s, enum catalog_table table, const void *key, size_t size,
                const void *record, size_t record_size)
{
    assert_int_equal(
        catalog_put(s->session.catalog, table, bytes_of(key, size), bytes_of(record, record_size)),
        VINDEX_OK);
}

static void commit(struct surgery *s)
{
    unsigned char record[RECORD_STATE_BYTES];
    s->state.epoch++;
    s->state.mark++;
    vindex__state_encode(&s->state, record);
    put(s, TABLE_CONFIG, "state", 5, record, sizeof record);
    assert_int_equal(catalog_commit(s->session.catalog), VINDEX_OK);
}

static void sew_up(struct surgery *s)
{
    commit(s);
    catalog_release(s->session.catalog);
    vindex__session_close(s->store, &s->session);
    vindex__store_close(s->store);
}

static struct block_key key_of(const unsigned char nonce[NONCE_BYTES], enum plane plane)
{
    struct block_key key = {.plane = (uint16_t)plane};
    memcpy(key.nonce, nonce, NONCE_BYTES);
    return key;
}

static void lose(struct surgery *s, const unsigned char nonce[NONCE_BYTES], enum plane plane)
{
    struct block_key key = key_of(nonce, plane);
    assert_int_equal(blocks_del(s->session.blocks, &key), VINDEX_OK);
}

/* Four bytes of a block become 0xff, at an offset of the block; the checksum is made right where asked. */
static void bend(struct surgery *s, const unsigned char nonce[NONCE_BYTES], enum plane plane,
                 size_t at, bool seal)
{
    static unsigned char block[BLOCK_BYTES];
    struct block_key key = key_of(nonce, plane);
    struct bytes value;
    uint64_t stamp;
    assert_int_equal(blocks_get(s->session.blocks, &key, &value), VINDEX_OK);
    assert_non_null(value.data);
    size_t size = value.size;
    memcpy(block, value.data, size);
    memset(block + at, 0xff, 4);
    if (seal) store_le32(block + 4, vindex__crc32c(0, block + 8, size - 8));
    lose(s, nonce, plane); /* blocks are never rewritten: it goes, and comes back */
    commit(s);
    assert_int_equal(blocks_put(s->session.blocks, &key, bytes_of(block, size)), VINDEX_OK);
    assert_int_equal(catalog_refresh(s->session.catalog, &stamp), VINDEX_OK);
}

static void a_c4_block_is_lost(struct surgery *s)
{
    lose(s, s->codes.nonce, PLANE_C4);
}
static void a_c8_block_is_lost(struct surgery *s)
{
    lose(s, s->codes.nonce, PLANE_C8);
}
static void a_codes_block_lies(struct surgery *s)
{
    bend(s, s->codes.nonce, PLANE_C8, 28, true);
}
static void a_codes_block_has_rotted(struct surgery *s)
{
    bend(s, s->codes.nonce, PLANE_C4, 100, false);
}
static void a_codes_record_has_rotted(struct surgery *s)
{
    put(s, TABLE_CODES, s->seq, 8, "not a record", 12);
}
static void codes_have_no_segment(struct surgery *s)
{
    static const unsigned char no_key[8] = {0, 0, 0, 0, 0, 0, 0, 77};
    unsigned char record[RECORD_CODES_BYTES];
    vindex__codes_encode(&s->codes, record);
    s->state.next_seq = 78;
    put(s, TABLE_CODES, no_key, 8, record, sizeof record);
}
static void codes_are_of_other_axes(struct surgery *s)
{
    unsigned char record[RECORD_CODES_BYTES];
    s->codes.m += 8;
    vindex__codes_encode(&s->codes, record);
    put(s, TABLE_CODES, s->seq, 8, record, sizeof record);
}
/* A plane p8 along axes the model does not give: it is made anew, and its blocks go. */
static void codes_have_p8_of_other_axes(struct surgery *s)
{
    static unsigned char block[BLOCK_BYTES];
    unsigned char record[RECORD_CODES_BYTES];
    lose(s, s->codes.nonce, PLANE_P8);
    commit(s);
    s->codes.p = s->model.p + 8;
    vindex__codes_encode(&s->codes, record);
    put(s, TABLE_CODES, s->seq, 8, record, sizeof record);
    struct plane_layout layout = vindex__codes_layout(&s->codes, &s->config, PLANE_P8);
    assert_int_equal(layout.n_blocks, 1);
    struct block_header header = {.plane = PLANE_P8,
                                  .type = (uint16_t)s->config.type,
                                  .n = layout.n,
                                  .stride = layout.stride,
                                  .dim = s->config.dim};
    struct block_key key = key_of(s->codes.nonce, PLANE_P8);
    memcpy(header.nonce, s->codes.nonce, NONCE_BYTES);
    memset(block, 0, sizeof block);
    vindex__block_seal(&header, block);
    assert_int_equal(blocks_put(s->session.blocks, &key,
                                bytes_of(block, BLOCK_HEADER_BYTES + layout.n * layout.stride)),
                     VINDEX_OK);
}
static void the_model_record_has_rotted(struct surgery *s)
{
    put(s, TABLE_CONFIG, "model", 5, "not a record", 12);
}
static void a_model_block_is_lost(struct surgery *s)
{
    lose(s, s->model.nonce, PLANE_AXES);
}
static void a_mean_is_no_number(struct surgery *s)
{
    bend(s, s->model.nonce, PLANE_MEAN, BLOCK_HEADER_BYTES, true);
}
static void the_audits_have_rotted(struct surgery *s)
{
    put(s, TABLE_CONFIG, "audits", 6, "not a record", 12);
}
static void the_audits_are_of_a_newer_library(struct surgery *s)
{
    struct audits_record audits = {
        .n = 1, .entry_bytes = AUDIT_HEAD_BYTES + 4 * DIM, .version = AUDITS_VERSION + 1};
    unsigned char record[RECORD_AUDITS_BYTES];
    vindex__audits_encode(&audits, record);
    put(s, TABLE_CONFIG, "audits", 6, record, sizeof record);
}

static const struct damage {
    const char *name;
    void (*inflict)(struct surgery *s);
    bool
        is_foreign; /* the file is then one that another hand has touched: its checksums are looked at */
} damages[] = {
    {"a c4 block is lost", a_c4_block_is_lost, false},
    {"a c8 block is lost", a_c8_block_is_lost, false},
    {"the header of a codes block lies", a_codes_block_lies, false},
    {"a codes block has rotted", a_codes_block_has_rotted, true},
    {"a codes record has rotted", a_codes_record_has_rotted, false},
    {"codes have no segment", codes_have_no_segment, false},
    {"codes are of other axes", codes_are_of_other_axes, false},
    {"the model's record has rotted", the_model_record_has_rotted, false},
    {"a block of the model is lost", a_model_block_is_lost, false},
    {"a mean is no number", a_mean_is_no_number, false},
    {"the audits' record has rotted", the_audits_have_rotted, false},
    {"the audits are of a newer library", the_audits_are_of_a_newer_library, false},
};
enum { N_DAMAGES = sizeof damages / sizeof *damages };

/* An index with codes; rows are removed after training until n_rows are left. */
static void make_sound(const char *path, int64_t n_rows)
{
    vindex *index = create(path, VINDEX_FLOAT, VINDEX_L2, DIM);
    insert(index, DIM, 0, 6000, 1, 0);
    optimize(index, 0);
    assert_all_coded(index);
    remove_every(index, n_rows, 6000, 1);
    vindex_close(index);
}

static void copy_file(const char *from, const char *to)
{
    size_t size = 0;
    unsigned char *bytes = NULL;
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    assert_true(in && out);
    assert_int_equal(fseek(in, 0, SEEK_END), 0);
    size = (size_t)ftell(in);
    bytes = malloc(size);
    rewind(in);
    assert_true(bytes && fread(bytes, 1, size, in) == size && fwrite(bytes, 1, size, out) == size);
    fclose(in);
    assert_int_equal(fclose(out), 0);
    free(bytes);
}

/* A copy of `sound`, damaged, and open again. */
static vindex *open_damaged(const char *path, const char *sound, const struct damage *damage)
{
    struct surgery s;
    vindex *index = NULL;
    copy_file(sound, path);
    open_up(path, &s);
    damage->inflict(&s);
    sew_up(&s);
    printf("%s\n", damage->name);
    if (damage->is_foreign)
        assert_int_equal(utimensat(AT_FDCWD, path, (struct timespec[2]){{1, 0}, {1, 0}}, 0), 0);
    assert_int_equal(vindex_open(path, 0, &index), VINDEX_OK);
    return index;
}

static void optimize_mends_what_is_damaged(void **state)
{
    (void)state;
    char path[256], sound[256];
    model_path(path, sizeof path, "codes-damage");
    model_path(sound, sizeof sound, "codes-sound");
    make_sound(sound, 5500);
    for (int i = 0; i < N_DAMAGES; i++) {
        vindex *index = open_damaged(path, sound, &damages[i]);
        insert_as(index, false, DIM, 20000, 10, 2, 0);   /* commits are not refused */
        insert_as(index, false, DIM, 40000, 5000, 2, 0); /* with a segment neither */
        optimize(index, 0);
        assert_all_coded(index);
        assert_exact(index);
        insert(index, DIM, 30000, 10, 3, 0); /* collects blocks that were disowned */
        optimize(index, 0);
        assert_all_coded(index);
        vindex_close(index);
        model_unlink(path);
    }
    model_unlink(sound);
}

/* No block is damaged and nothing is trained anew: that the axes are not the model's is all there is to see. */
static void codes_along_other_axes_are_made_anew(void **state)
{
    static const struct damage damage = {"p8 along other axes", codes_have_p8_of_other_axes, false};
    (void)state;
    char path[256], sound[256];
    model_path(path, sizeof path, "codes-damage");
    model_path(sound, sizeof sound, "codes-sound");
    make_sound(sound, 5500);
    vindex *index = open_damaged(path, sound, &damage);
    assert_true(stats_of(index).n_coded < 5500);
    optimize(index, 0);
    assert_all_coded(index);
    assert_exact(index);
    vindex_close(index);
    model_unlink(path);
    model_unlink(sound);
}

static void a_damaged_model_of_few_rows_is_dropped(void **state)
{
    (void)state;
    char path[256], sound[256];
    struct codes_found found;
    model_path(path, sizeof path, "codes-damage");
    model_path(sound, sizeof sound, "codes-sound");
    make_sound(sound, 4500);
    for (int i = 0; i < N_DAMAGES; i++) {
        vindex *index = open_damaged(path, sound, &damages[i]);
        remove_every(index, 0, 3000, 1); /* too few for another */
        optimize(index, 0);
        assert_int_equal(stats_of(index).n_rows, 1500);
        helper_check_codes(index, &found);
        insert(index, DIM, 30000, 10, 3, 0);
        helper_check_index(index);
        assert_exact(index);
        vindex_close(index);
        model_unlink(path);
    }
    model_unlink(sound);
}

static void damaged_codes_go_with_their_rows(void **state)
{
    (void)state;
    char path[256], sound[256];
    model_path(path, sizeof path, "codes-damage");
    model_path(sound, sizeof sound, "codes-sound");
    make_sound(sound, 5500);
    for (int i = 0; i < N_DAMAGES; i++) {
        for (int one_by_one = 0; one_by_one < 2; one_by_one++) {
            vindex_writer *writer = NULL;
            vindex *index = open_damaged(path, sound, &damages[i]);
            if (one_by_one) {
                remove_every(index, 0, 5500, 1);
            } else {
                assert_int_equal(vindex_writer_begin(index, &writer), VINDEX_OK);
                assert_int_equal(vindex_writer_remove_all(writer), VINDEX_OK);
                assert_int_equal(vindex_writer_commit(writer), VINDEX_OK);
            }
            insert(index, DIM, 0, ROWS, 4, 0);
            assert_int_equal(stats_of(index).c4_axes, 0);
            optimize(index, 0);
            assert_all_coded(index);
            vindex_close(index);
            model_unlink(path);
        }
    }
    model_unlink(sound);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_type_and_metric_gets_its_planes),
        cmocka_unit_test(few_rows_and_bits_get_none),
        cmocka_unit_test(codes_stay_right_through_changes),
        cmocka_unit_test(a_new_model_replaces_the_old_one),
        cmocka_unit_test(removing_all_rows_forgets_the_model),
        cmocka_unit_test(a_cancelled_optimize_goes_on_later),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(a_killed_optimize_leaves_a_sound_index),
        cmocka_unit_test(optimize_mends_what_is_damaged),
        cmocka_unit_test(codes_along_other_axes_are_made_anew),
        cmocka_unit_test(a_damaged_model_of_few_rows_is_dropped),
        cmocka_unit_test(damaged_codes_go_with_their_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
