/*
 * test_catalog.c - the catalog and block interfaces, one body for the LMDB file and for memory: random
 * operations against sorted arrays, views that keep their picture, threads, memory running out anywhere.
 */
#include "helper_store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/random.h"

enum { STEPS = 4000, ITEMS_MAX = 400, BLOCKS_MAX = 96, VALUE_MAX = 5000, KEY_SPACE = 120 };

static const char *const kinds[] = {"file", "memory"};

static const char *store_path(const char *kind)
{
    return strcmp(kind, "memory") == 0 ? ":memory:" : test_path("catalog.vdx");
}

static bool is_memory(const char *kind)
{
    return strcmp(kind, "memory") == 0;
}

/* ---- the model --------------------------------------------------------------------------- */

struct item {
    unsigned char key[9]; /* the table, then 8 bytes */
    uint64_t seed;
    size_t size;
};

struct model {
    struct item items[ITEMS_MAX]; /* ascending by key */
    size_t n;
    uint64_t blocks[BLOCKS_MAX]; /* number -> seed, 0: absent */
};

static size_t rank_of(const struct model *m, const unsigned char key[9])
{
    size_t i = 0;
    while (i < m->n && memcmp(m->items[i].key, key, 9) < 0)
        i++;
    return i;
}

static bool has(const struct model *m, size_t rank, const unsigned char key[9])
{
    return rank < m->n && memcmp(m->items[rank].key, key, 9) == 0;
}

static void model_put(struct model *m, const struct item *item)
{
    size_t rank = rank_of(m, item->key);
    if (!has(m, rank, item->key)) {
        memmove(&m->items[rank + 1], &m->items[rank], (m->n - rank) * sizeof *item);
        m->n++;
    }
    m->items[rank] = *item;
}

static void model_del(struct model *m, const unsigned char key[9])
{
    size_t rank = rank_of(m, key);
    if (!has(m, rank, key)) return;
    memmove(&m->items[rank], &m->items[rank + 1], (m->n - rank - 1) * sizeof m->items[0]);
    m->n--;
}

static const struct item *model_seek(const struct model *m, enum catalog_seek how,
                                     const unsigned char key[9])
{
    size_t rank = rank_of(m, key);
    bool exact = has(m, rank, key);
    size_t at = 0;

    switch (how) {
    case SEEK_GE: at = rank; break;
    case SEEK_GT: at = rank + exact; break;
    case SEEK_LE: at = exact ? rank : rank - 1; break;
    case SEEK_LT: at = rank - 1; break;
    }
    return at < m->n && m->items[at].key[0] == key[0] ? &m->items[at]
                                                      : NULL; /* rank - 1 may wrap */
}

/* ---- comparing --------------------------------------------------------------------------- */

static void check_value(struct bytes value, const struct item *item)
{
    static _Thread_local unsigned char expected[VALUE_MAX];

    CHECK(value.size == item->size);
    test_record(item->key[0], item->seed, item->size, expected);
    CHECK(memcmp(value.data, expected, item->size) == 0);
}

static void check_seek(struct session *s, const struct model *m, enum catalog_seek how,
                       const unsigned char key[9])
{
    const struct item *expected = model_seek(m, how, key);
    struct catalog_entry entry;

    CHECK_OK(catalog_seek(s->catalog, key[0], how, bytes_of(key + 1, 8), &entry));
    CHECK((entry.value.data != NULL) == (expected != NULL));
    CHECK((entry.key.size == 8) == (expected != NULL));
    if (!expected) return;
    CHECK(memcmp(entry.key.data, expected->key + 1, 8) == 0);
    check_value(entry.value, expected);
}

static void check_get(struct session *s, const struct model *m, const unsigned char key[9])
{
    size_t rank = rank_of(m, key);
    struct catalog_entry entry;

    CHECK_OK(catalog_get(s->catalog, key[0], bytes_of(key + 1, 8), &entry));
    CHECK((entry.value.data != NULL) == has(m, rank, key));
    if (entry.value.data) check_value(entry.value, &m->items[rank]);
}

/* Every table forwards and backwards. */
static void check_catalog(struct session *s, const struct model *m)
{
    size_t n = 0;

    for (int table = TABLE_TAIL; table <= TABLE_CODES; table++) {
        unsigned char key[9] = {(unsigned char)table};
        struct catalog_entry entry;
        size_t n_up = 0, n_down = 0;
        CHECK_OK(catalog_seek(s->catalog, table, SEEK_GE, bytes_of(key + 1, 0), &entry));
        for (; entry.value.data; n_up++) {
            CHECK(n < m->n);
            memcpy(key + 1, entry.key.data, 8);
            CHECK(memcmp(key, m->items[n].key, 9) == 0);
            check_value(entry.value, &m->items[n++]);
            CHECK_OK(catalog_seek(s->catalog, table, SEEK_GT, bytes_of(key + 1, 8), &entry));
        }
        memset(key + 1, 0xff, 8);
        CHECK_OK(catalog_seek(s->catalog, table, SEEK_LE, bytes_of(key + 1, 8), &entry));
        for (; entry.value.data; n_down++) {
            memcpy(key + 1, entry.key.data, 8);
            check_value(entry.value, &m->items[n - 1 - n_down]);
            CHECK_OK(catalog_seek(s->catalog, table, SEEK_LT, bytes_of(key + 1, 8), &entry));
        }
        CHECK(n_up == n_down);
    }
    CHECK(n == m->n);
}

static uint32_t block_rows(uint64_t seed)
{
    static const uint32_t sizes[] = {1, 3, 40, 100, 4095};
    return sizes[seed % 16 ? seed % 4 : 4];
}

static void check_block(struct bytes value, uint64_t number, uint64_t seed)
{
    static _Thread_local unsigned char expected[BLOCK_BYTES];
    struct block_key key = test_block_key(number);
    struct bytes block = test_block(&key, block_rows(seed), seed, expected);

    CHECK(value.size == block.size);
    CHECK(memcmp(value.data, block.data, block.size) == 0);
    if (block.size > 4096) CHECK(((uintptr_t)value.data + BLOCK_HEADER_BYTES) % 64 == 0);
}

static void check_blocks(struct session *s, const struct model *m)
{
    struct block_key at = {.plane = 0};
    size_t n = 0, n_next = 0;
    bool found = true;

    for (uint64_t number = 0; number < BLOCKS_MAX; number++) {
        struct block_key key = test_block_key(number);
        struct bytes value;
        CHECK_OK(blocks_get(s->blocks, &key, &value));
        CHECK((value.data != NULL) == (m->blocks[number] != 0));
        if (value.data) check_block(value, number, m->blocks[number]);
        n += value.data != NULL;
    }
    while (found) {
        struct block_key before = at;
        CHECK_OK(blocks_next(s->blocks, &at, &found));
        if (!found) break;
        n_next++;
        CHECK(memcmp(before.nonce, at.nonce, NONCE_BYTES) < 0 ||
              (memcmp(before.nonce, at.nonce, NONCE_BYTES) == 0 &&
               (before.plane < at.plane || (before.plane == at.plane && before.index < at.index))));
        CHECK(at.index < BLOCKS_MAX && m->blocks[at.index] != 0);
    }
    CHECK(n == n_next);
}

/* ---- the random walk --------------------------------------------------------------------- */

struct run {
    bool is_memory;
    struct rng rng;
    struct store *store;
    struct session writer, reader;
    struct model private, committed, seen; /* by the writer, by all, by the reader */
    bool is_reading;                       /* the reader's catalog */
    bool has_view;
    uint64_t commits, commits_seen, stamp;
    struct bytes held[BLOCKS_MAX]; /* pointers of the reader's view */
    bool is_dirty;
};

static void random_key(struct run *r, unsigned char key[9])
{
    static const unsigned char tables[] = {TABLE_TAIL, TABLE_SEGMENTS, TABLE_IDS, TABLE_CODES};
    key[0] = tables[vindex__rng_below(&r->rng, 4)];
    store_be64(key + 1, vindex__rng_below(&r->rng, KEY_SPACE) << (key[0] == TABLE_IDS ? 56 : 3));
}

static void step_put(struct run *r)
{
    static unsigned char value[VALUE_MAX];
    struct item item;

    if (r->private.n == ITEMS_MAX) return;
    random_key(r, item.key);
    item.seed = vindex__rng_next(&r->rng);
    item.size =
        16 + vindex__rng_below(&r->rng, vindex__rng_below(&r->rng, 8) ? 60 : VALUE_MAX - 16);
    test_record(item.key[0], item.seed, item.size, value);
    CHECK_OK(catalog_put(r->writer.catalog, item.key[0], bytes_of(item.key + 1, 8),
                         bytes_of(value, item.size)));
    model_put(&r->private, &item);
    r->is_dirty = true;
}

static void step_del(struct run *r)
{
    unsigned char key[9];
    random_key(r, key);
    CHECK_OK(catalog_del(r->writer.catalog, key[0], bytes_of(key + 1, 8)));
    model_del(&r->private, key);
    r->is_dirty = true;
}

static void step_block(struct run *r)
{
    static unsigned char value[BLOCK_BYTES];
    uint64_t number = vindex__rng_below(&r->rng, BLOCKS_MAX);
    struct block_key key = test_block_key(number);

    if (r->private.blocks[number]) {
        CHECK_OK(blocks_del(r->writer.blocks, &key));
        r->private.blocks[number] = 0;
        r->is_dirty = true;
    } else if (!r->committed.blocks[number] && !(r->has_view && r->seen.blocks[number])) {
        uint64_t seed = 1 + vindex__rng_next(&r->rng) / 2;
        CHECK_OK(
            blocks_put(r->writer.blocks, &key, test_block(&key, block_rows(seed), seed, value)));
        r->private.blocks[number] = seed;
        r->is_dirty = true;
    }
}

static void step_read(struct run *r)
{
    unsigned char key[9];
    enum catalog_seek how = (enum catalog_seek)vindex__rng_below(&r->rng, 4);

    random_key(r, key);
    check_seek(&r->writer, &r->private, how, key);
    check_get(&r->writer, &r->private, key);
    if (!r->is_reading) return;
    check_seek(&r->reader, &r->seen, how, key);
    check_get(&r->reader, &r->seen, key);
}

static bool same_contents(const struct model *a, const struct model *b)
{
    if (a->n != b->n || memcmp(a->blocks, b->blocks, sizeof a->blocks) != 0) return false;
    for (size_t i = 0; i < a->n; i++)
        if (memcmp(a->items[i].key, b->items[i].key, 9) != 0 ||
            a->items[i].seed != b->items[i].seed)
            return false;
    return true;
}

static void step_refresh(struct run *r)
{
    uint64_t stamp;

    CHECK_OK(catalog_refresh(r->reader.catalog, &stamp));
    if (r->commits == r->commits_seen) CHECK(stamp == r->stamp);
    if (stamp == r->stamp) CHECK(same_contents(&r->seen, &r->committed));
    r->stamp = stamp;
    r->commits_seen = r->commits;
    r->seen = r->committed;
    r->is_reading = r->has_view = true;
    for (uint64_t number = 0; number < BLOCKS_MAX; number++) {
        struct block_key key = test_block_key(number);
        CHECK_OK(blocks_get(r->reader.blocks, &key, &r->held[number]));
    }
}

static void step_release(struct run *r)
{
    catalog_release(r->reader.catalog);
    if (vindex__rng_below(&r->rng, 2)) catalog_release(r->reader.catalog);
    r->is_reading = r->has_view = false;
}

/* What the reader got from its view is still there, whatever was committed since. */
static void check_held(struct run *r)
{
    if (!r->has_view) return;
    for (uint64_t number = 0; number < BLOCKS_MAX; number++)
        if (r->seen.blocks[number]) check_block(r->held[number], number, r->seen.blocks[number]);
    check_blocks(&r->reader, &r->seen);
    if (r->is_reading) check_catalog(&r->reader, &r->seen);
}

static void step_commit(struct run *r)
{
    if (r->is_memory) {
        catalog_settle(r->reader.catalog);
        r->is_reading = false;
    }
    CHECK_OK(catalog_commit(r->writer.catalog));
    if (r->is_dirty) r->commits++;
    r->is_dirty = false;
    r->committed = r->private;
    check_catalog(&r->writer, &r->private);
    check_blocks(&r->writer, &r->private);
    check_held(r);
}

static void step_rollback(struct run *r)
{
    catalog_rollback(r->writer.catalog);
    r->private = r->committed;
    r->is_dirty = false;
    check_catalog(&r->writer, &r->private);
}

static void count_finding(void *context, const char *finding)
{
    fprintf(stderr, "%s\n", finding);
    ++*(int *)context;
}

static void random_walk(struct run *r)
{
    uint64_t stamp;
    int n_findings = 0;

    CHECK_OK(catalog_refresh(r->writer.catalog, &stamp));
    for (int i = 0; i < STEPS; i++) {
        uint64_t dice = vindex__rng_below(&r->rng, 100);
        if (dice < 40)
            step_put(r);
        else if (dice < 55)
            step_del(r);
        else if (dice < 65)
            step_block(r);
        else if (dice < 90)
            step_read(r);
        else if (dice < 93)
            step_refresh(r);
        else if (dice < 95)
            step_release(r);
        else if (dice < 99)
            step_commit(r);
        else
            step_rollback(r);
        if (i % 500 == 0) CHECK_OK(vindex__store_check_pages(r->store, count_finding, &n_findings));
    }
    CHECK(n_findings == 0);
}

static void test_random(void **state)
{
    uint64_t seed = test_seed();

    (void)state;
    for (size_t k = 0; k < 2; k++) {
        const char *path = store_path(kinds[k]);
        struct run *r = calloc(1, sizeof *r);
        uint64_t heap = vindex__mem_live_bytes();

        vindex__rng_init(&r->rng, seed + k);
        r->is_memory = is_memory(kinds[k]);
        r->commits = 1; /* the one that made the store: none was seen */
        r->store = test_create(path);
        r->writer = test_session(r->store, true);
        r->reader = test_session(r->store, false);
        random_walk(r);
        vindex__session_close(r->store, &r->writer);
        vindex__session_close(r->store, &r->reader);
        if (!r->is_memory) {
            vindex__store_close(r->store);
            r->store = test_open(path, false);
        }
        r->reader = test_session(r->store, false);
        r->commits_seen = r->commits, r->commits++, r->stamp = 0;
        step_refresh(r);
        check_held(r);
        vindex__session_close(r->store, &r->reader);
        vindex__store_close(r->store);
        CHECK(vindex__mem_live_bytes() == heap);
        if (!r->is_memory) test_remove(path);
        free(r);
    }
}

/* ---- small rules ------------------------------------------------------------------------- */

static void test_rules(void **state)
{
    (void)state;
    for (size_t k = 0; k < 2; k++) {
        const char *path = store_path(kinds[k]);
        struct store *store = test_create(path);
        struct session reader = test_session(store, false), writer = test_session(store, true),
                       other;
        struct block_key key = test_block_key(1);
        struct catalog_entry entry;
        struct bytes value;
        uint64_t stamp, size_bytes, used_bytes;
        unsigned char block[1000];

        CHECK_STATUS(VINDEX_BUSY, vindex__session_open(store, true, &other));
        CHECK(other.catalog == NULL);
        CHECK_STATUS(VINDEX_MISUSE,
                     catalog_put(reader.catalog, TABLE_TAIL, bytes_of("k", 1), bytes_of("v", 1)));
        CHECK_STATUS(VINDEX_MISUSE, catalog_del(reader.catalog, TABLE_TAIL, bytes_of("k", 1)));
        CHECK_STATUS(VINDEX_MISUSE, catalog_commit(reader.catalog));
        CHECK_STATUS(VINDEX_MISUSE, blocks_put(reader.blocks, &key, bytes_of("v", 1)));
        CHECK_STATUS(VINDEX_MISUSE, blocks_del(reader.blocks, &key));
        CHECK_STATUS(VINDEX_MISUSE,
                     catalog_get(reader.catalog, TABLE_CONFIG, bytes_of("config", 6), &entry));
        CHECK_STATUS(VINDEX_MISUSE, blocks_get(reader.blocks, &key, &value));
        catalog_rollback(reader.catalog);
        catalog_release(reader.catalog);

        CHECK_OK(blocks_put(writer.blocks, &key, test_block(&key, 2, 5, block)));
        CHECK_STATUS(VINDEX_INTERNAL,
                     blocks_put(writer.blocks, &key, test_block(&key, 2, 5, block)));
        CHECK_OK(writer.blocks->ops->sync(writer.blocks));
        CHECK_OK(catalog_commit(writer.catalog));
        CHECK_OK(catalog_commit(writer.catalog)); /* nothing to do */
        if (blocks_put(writer.blocks, &key, test_block(&key, 2, 5, block)) == VINDEX_OK)
            CHECK_STATUS(VINDEX_INTERNAL, catalog_commit(writer.catalog));
        catalog_rollback(writer.catalog);

        CHECK_OK(catalog_refresh(reader.catalog, &stamp));
        CHECK_OK(blocks_get(reader.blocks, &key, &value));
        CHECK(value.size == 48 + 128);
        CHECK_OK(catalog_get(reader.catalog, TABLE_CONFIG, bytes_of("config", 6), &entry));
        CHECK(entry.value.size == RECORD_CONFIG_BYTES);
        CHECK_OK(vindex__store_sizes(store, &reader, &size_bytes, &used_bytes));
        CHECK(used_bytes > 0 && used_bytes <= size_bytes);
        vindex__session_close(store, &writer);
        writer = test_session(store, true); /* the lock is free again */
        vindex__session_close(store, &writer);
        vindex__session_close(store, &reader);
        vindex__session_close(store, &reader); /* closed: nothing */
        vindex__store_close(store);
        if (!is_memory(kinds[k])) test_remove(path);
    }
    vindex__store_close(NULL);
    struct store *none;
    CHECK_STATUS(VINDEX_NOTFOUND, vindex__store_open(":memory:", false, &none));
}

/* ---- threads ----------------------------------------------------------------------------- */

enum { THREADS = 3, TRANSACTIONS = 60, PER_TRANSACTION = 8 };

struct crowd {
    struct store *store;
    _Atomic bool is_over;
};

/* All records of a transaction carry its number, and there are always PER_TRANSACTION of them; the block of
   that number exists. */
static void *crowd_reader(void *context)
{
    struct crowd *crowd = context;
    struct session s = test_session(crowd->store, false);
    uint64_t last = 0;

    while (!atomic_load(&crowd->is_over)) {
        unsigned char key[8] = {0};
        struct catalog_entry entry;
        struct bytes block;
        uint64_t stamp, number = 0;
        size_t n = 0;

        CHECK_OK(catalog_refresh(s.catalog, &stamp));
        CHECK_OK(catalog_seek(s.catalog, TABLE_TAIL, SEEK_GE, bytes_of(key, 8), &entry));
        for (; entry.value.data; n++) {
            uint64_t here = load_le64((const char *)entry.value.data + 8);
            CHECK(n == 0 || here == number);
            number = here;
            memcpy(key, entry.key.data, 8);
            CHECK_OK(catalog_seek(s.catalog, TABLE_TAIL, SEEK_GT, bytes_of(key, 8), &entry));
        }
        catalog_settle(s.catalog);
        CHECK(n == (number ? PER_TRANSACTION : 0));
        CHECK(number >= last);
        last = number;
        if (number) {
            struct block_key block_key = test_block_key(number);
            CHECK_OK(blocks_get(s.blocks, &block_key, &block));
            CHECK(block.data != NULL);
            check_block(block, number, number);
        }
        catalog_release(s.catalog);
    }
    vindex__session_close(crowd->store, &s);
    return NULL;
}

static void crowd_write(struct crowd *crowd)
{
    static unsigned char block[BLOCK_BYTES];
    struct session s = test_session(crowd->store, true);

    for (uint64_t number = 1; number <= TRANSACTIONS; number++) {
        struct block_key key = test_block_key(number), old = test_block_key(number - 1);
        unsigned char record[16] = {3, 1}, id[8];
        store_le64(record + 8, number);
        for (uint64_t i = 0; i < PER_TRANSACTION; i++) {
            store_be64(id, (number - 1) * PER_TRANSACTION + i);
            CHECK_OK(catalog_put(s.catalog, TABLE_TAIL, bytes_of(id, 8), bytes_of(record, 16)));
            if (number == 1) continue;
            store_be64(id, (number - 2) * PER_TRANSACTION + i);
            CHECK_OK(catalog_del(s.catalog, TABLE_TAIL, bytes_of(id, 8)));
        }
        CHECK_OK(blocks_put(s.blocks, &key, test_block(&key, block_rows(number), number, block)));
        if (number > 1) CHECK_OK(blocks_del(s.blocks, &old));
        CHECK_OK(catalog_commit(s.catalog));
    }
    vindex__session_close(crowd->store, &s);
}

static void test_threads(void **state)
{
    (void)state;
    for (size_t k = 0; k < 2; k++) {
        const char *path = store_path(kinds[k]);
        struct crowd crowd = {.store = test_create(path)};
        pthread_t threads[THREADS];

        for (int i = 0; i < THREADS; i++)
            CHECK(pthread_create(&threads[i], NULL, crowd_reader, &crowd) == 0);
        crowd_write(&crowd);
        atomic_store(&crowd.is_over, true);
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        vindex__store_close(crowd.store);
        if (!is_memory(kinds[k])) test_remove(path);
    }
}

/* ---- out of memory ----------------------------------------------------------------------- */

struct outcome {
    bool was_committed;
};

static vindex_status write_some(struct session *s)
{
    unsigned char record[64], key[8], block[1000];
    struct block_key block_key = test_block_key(9);
    vindex_status st = VINDEX_OK;

    test_record(TABLE_TAIL, 1, sizeof record, record);
    for (uint64_t i = 0; i < 5 && st == VINDEX_OK; i++) {
        store_be64(key, i);
        st = catalog_put(s->catalog, TABLE_TAIL, bytes_of(key, 8), bytes_of(record, sizeof record));
    }
    if (st == VINDEX_OK) st = catalog_del(s->catalog, TABLE_TAIL, bytes_of(key, 8));
    if (st == VINDEX_OK)
        st = blocks_put(s->blocks, &block_key, test_block(&block_key, 3, 1, block));
    block_key = test_block_key(10);
    if (st == VINDEX_OK)
        st = blocks_put(s->blocks, &block_key, test_block(&block_key, 3, 1, block));
    if (st == VINDEX_OK) st = blocks_del(s->blocks, &block_key);
    return st;
}

/* All of it that allocates; the first failure ends it. */
static vindex_status scenario(const char *path, struct outcome *outcome)
{
    struct config config = test_config();
    struct store *store = NULL;
    struct session s = {NULL, NULL};
    struct catalog_entry entry;
    uint64_t stamp;
    vindex_status st = vindex__store_create(path, &config, &store);

    outcome->was_committed = false;
    if (st != VINDEX_OK) return st;
    st = vindex__session_open(store, true, &s);
    if (st == VINDEX_OK) st = catalog_refresh(s.catalog, &stamp);
    if (st == VINDEX_OK) st = write_some(&s);
    if (st == VINDEX_OK)
        st = catalog_seek(s.catalog, TABLE_TAIL, SEEK_GE, bytes_of("\0", 1), &entry);
    if (st == VINDEX_OK) st = catalog_commit(s.catalog);
    outcome->was_committed = st == VINDEX_OK;
    if (st == VINDEX_OK) st = vindex__store_check_pages(store, NULL, NULL);
    vindex__session_close(store, &s);
    vindex__store_close(store);
    return st;
}

static void test_out_of_memory(void **state)
{
    (void)state;
    for (size_t k = 0; k < 2; k++) {
        const char *path = store_path(kinds[k]);
        vindex_status st = VINDEX_NOMEM;
        uint64_t n;

        for (n = 1; st == VINDEX_NOMEM; n++) {
            uint64_t heap = vindex__mem_live_bytes();
            struct outcome outcome;
            vindex__mem_fail_after(n);
            st = scenario(path, &outcome);
            vindex__mem_fail_after(0);
            CHECK(vindex__mem_live_bytes() == heap);
            CHECK(st == VINDEX_OK || st == VINDEX_NOMEM);
            if (is_memory(kinds[k]) || access(path, F_OK) != 0) continue;
            struct store *store = test_open(path, false);
            struct session s = test_session(store, false);
            struct catalog_entry entry;
            uint64_t stamp;
            CHECK_OK(catalog_refresh(s.catalog, &stamp));
            CHECK_OK(catalog_seek(s.catalog, TABLE_TAIL, SEEK_GE, bytes_of("\0", 1), &entry));
            CHECK((entry.value.data != NULL) == outcome.was_committed);
            vindex__session_close(store, &s);
            vindex__store_close(store);
            test_remove(path);
        }
        CHECK(n > 10);
    }
}

/* A commit in memory is all or nothing without allocating, and a failed put leaves the session usable. */
static void test_retry_after_nomem(void **state)
{
    (void)state;
    for (size_t k = 0; k < 2; k++) {
        const char *path = store_path(kinds[k]);
        struct store *store = test_create(path);
        struct session s = test_session(store, true);
        struct catalog_entry entry;
        uint64_t stamp;

        CHECK_OK(write_some(&s));
        vindex__mem_fail_after(1);
        CHECK_STATUS(VINDEX_NOMEM,
                     catalog_put(s.catalog, TABLE_TAIL, bytes_of("new", 3), bytes_of("v", 1)));
        if (is_memory(kinds[k])) CHECK_OK(catalog_commit(s.catalog));
        vindex__mem_fail_after(0);
        CHECK_OK(catalog_commit(s.catalog));
        CHECK_OK(catalog_refresh(s.catalog, &stamp));
        CHECK_OK(catalog_seek(s.catalog, TABLE_TAIL, SEEK_GE, bytes_of("\0", 1), &entry));
        CHECK(entry.value.size == 64);
        vindex__session_close(store, &s);
        vindex__store_close(store);
        if (!is_memory(kinds[k])) test_remove(path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_retry_after_nomem),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
