/*
 * test_pages.c - the reader of LMDB files: it accepts whatever LMDB writes, it survives whatever else lies
 * on the disk, and what it accepts LMDB survives, reading and writing.
 */
#include "helper_store.h"

#include <fcntl.h>
#include <inttypes.h>
#include <lmdb.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/random.h"
#include "storage/pages.h"

enum { PAGE = 4096 };

/* ---- a file with all kinds of pages ------------------------------------------------------ */

static void put_record(struct session *s, enum catalog_table table, uint64_t id, size_t size)
{
    unsigned char key[8], record[3000];
    store_be64(key, id);
    test_record(table, id, size, record);
    CHECK_OK(catalog_put(s->catalog, table, bytes_of(key, 8), bytes_of(record, size)));
}

static void del_record(struct session *s, enum catalog_table table, uint64_t id)
{
    unsigned char key[8];
    store_be64(key, id);
    CHECK_OK(catalog_del(s->catalog, table, bytes_of(key, 8)));
}

static void put_block(struct session *s, uint64_t number, uint32_t rows)
{
    static unsigned char value[BLOCK_BYTES];
    struct block_key key = test_block_key(number);
    CHECK_OK(blocks_put(s->blocks, &key, test_block(&key, rows, number, value)));
}

static void del_block(struct session *s, uint64_t number)
{
    struct block_key key = test_block_key(number);
    CHECK_OK(blocks_del(s->blocks, &key));
}

/* Two levels, values of one and of several pages, free lists inline and (by the large deletion) longer. */
static void make_small_file(const char *path)
{
    struct store *store = test_create(path);
    struct session s = test_session(store, true);

    for (uint64_t i = 0; i < 60; i++)
        put_record(&s, TABLE_TAIL, i, 80);
    for (uint64_t i = 0; i < 4; i++)
        put_record(&s, TABLE_SEGMENTS, i, 2500);
    for (uint64_t i = 0; i < 20; i++)
        put_record(&s, TABLE_CODES, i, 80);
    for (uint64_t i = 0; i < 6; i++)
        put_block(&s, i, 10 + (uint32_t)i * 50);
    for (uint64_t i = 0; i < 3; i++)
        put_block(&s, 10 + i, 4000);
    CHECK_OK(catalog_commit(s.catalog));
    for (uint64_t i = 0; i < 3; i++)
        del_block(&s, 10 + i);
    del_block(&s, 1);
    CHECK_OK(catalog_commit(s.catalog));
    for (uint64_t i = 0; i < 5; i++) {
        put_record(&s, TABLE_IDS, i, 24);
        del_record(&s, TABLE_TAIL, 10 * i);
        CHECK_OK(catalog_commit(s.catalog));
    }
    vindex__session_close(store, &s);
    vindex__store_close(store);
}

static vindex_status walk(int fd, const char *path, struct pages_report *report)
{
    struct pages_meta metas[2];
    vindex_status st = vindex__pages_metas(fd, path, metas);
    return st != VINDEX_OK ? st : vindex__pages_walk(fd, &metas[0], report);
}

static vindex_status walk_file(const char *path, struct pages_report *report)
{
    int fd = open(path, O_RDONLY);
    vindex_status st;

    CHECK(fd >= 0);
    st = walk(fd, path, report);
    close(fd);
    return st;
}

/* ---- LMDB's own files -------------------------------------------------------------------- */

static void print_finding(void *context, const char *finding)
{
    (void)context;
    fprintf(stderr, "finding: %s\n", finding);
}

/* Growth, shrinking, fragmentation, long and short free lists, pages kept by a reader: always accepted. */
static void test_accepts_lmdb(void **state)
{
    const char *path = test_path("churn.vdx");
    struct store *store = test_create(path);
    struct session w = test_session(store, true), r = test_session(store, false);
    bool blocks[40] = {false};
    struct rng rng;
    uint64_t stamp;

    (void)state;
    vindex__rng_init(&rng, test_seed());
    for (int commit = 0; commit < 250; commit++) {
        uint64_t share = 1 + vindex__rng_below(&rng, 9); /* of deletions: trees grow and collapse */
        for (uint64_t n = vindex__rng_below(&rng, commit % 25 ? 40 : 600); n > 0; n--) {
            uint64_t i = vindex__rng_below(&rng, 300);
            if (vindex__rng_below(&rng, 10) < share)
                del_record(&w, TABLE_TAIL, i);
            else
                put_record(&w, TABLE_TAIL, i, 16 + vindex__rng_below(&rng, i % 7 ? 200 : 2900));
        }
        uint64_t first = vindex__rng_below(&rng, 40);
        for (uint64_t n = vindex__rng_below(&rng, 6); n > 0; n--) {
            uint64_t i = (first + n) % 40;
            if (blocks[i])
                del_block(&w, i);
            else
                put_block(&w, i, (uint32_t)vindex__rng_below(&rng, i % 3 ? 100 : 4095));
            blocks[i] = !blocks[i];
        }
        CHECK_OK(catalog_commit(w.catalog));
        if (vindex__rng_below(&rng, 4) == 0) CHECK_OK(catalog_refresh(r.catalog, &stamp));
        if (vindex__rng_below(&rng, 4) == 0) catalog_release(r.catalog);
        struct pages_report report = {.finding = print_finding};
        CHECK_OK(walk_file(path, &report));
        CHECK(report.n_findings == 0);
    }
    vindex__session_close(store, &w);
    vindex__session_close(store, &r);
    vindex__store_close(store);
    test_remove(path);
}

/* A tree of three levels, and a free list of thousands of pages. */
static void test_accepts_large(void **state)
{
    const char *path = test_path("large.vdx");
    struct store *store = test_create(path);
    struct session w = test_session(store, true);
    struct pages_report report = {.finding = print_finding};
    struct pages_meta metas[2];
    int fd = open(path, O_RDONLY);

    (void)state;
    for (uint64_t i = 0; i < 30000; i++)
        put_record(&w, TABLE_TAIL, i * 77773 % 30011, 150);
    for (uint64_t i = 0; i < 100; i++)
        put_block(&w, i, 2000);
    CHECK_OK(catalog_commit(w.catalog));
    CHECK_OK(vindex__pages_metas(fd, path, metas));
    CHECK(metas[0].main.depth >= 3);
    CHECK_OK(walk_file(path, &report));
    for (uint64_t i = 0; i < 100; i++)
        del_block(&w, i);
    for (uint64_t i = 0; i < 30000; i++)
        if (i % 100) del_record(&w, TABLE_TAIL, i * 77773 % 30011);
    for (int i = 0; i < 4; i++) {
        CHECK_OK(catalog_commit(w.catalog));
        CHECK_OK(walk_file(path, &report));
        put_record(&w, TABLE_TAIL, 1000000 + (uint64_t)i, 100);
    }
    CHECK(report.used_bytes < metas[0].last_page * PAGE / 2);
    vindex__session_close(store, &w);
    vindex__store_close(store);
    close(fd);
    test_remove(path);
}

/* ---- damaged files in memory ------------------------------------------------------------- */

struct image {
    unsigned char *bytes;
    size_t size;
    int fd; /* a copy to be damaged, in memory */
};

static struct image load_image(const char *path)
{
    struct image image = {.fd = memfd_create("image", MFD_CLOEXEC)};
    struct stat info;
    int fd = open(path, O_RDONLY);

    CHECK(fd >= 0 && image.fd >= 0 && fstat(fd, &info) == 0);
    image.size = (size_t)info.st_size;
    image.bytes = malloc(image.size);
    CHECK(image.bytes && read(fd, image.bytes, image.size) == info.st_size);
    CHECK(write(image.fd, image.bytes, image.size) == info.st_size);
    close(fd);
    return image;
}

static void free_image(struct image *image)
{
    free(image->bytes);
    close(image->fd);
}

static void poke(const struct image *image, size_t at, const void *bytes, size_t size)
{
    CHECK(pwrite(image->fd, bytes, size, (off_t)at) == (ssize_t)size);
}

static void restore(const struct image *image, size_t at, size_t size)
{
    poke(image, at, image->bytes + at, size);
}

static vindex_status walk_image(const struct image *image)
{
    struct pages_report report = {.finding = NULL};
    return walk(image->fd, "image", &report);
}

static void test_truncated(void **state)
{
    const char *path = test_path("small.vdx");
    struct pages_report report = {.finding = NULL};
    struct image image;
    size_t end;

    (void)state;
    make_small_file(path);
    CHECK_OK(walk_file(path, &report));
    end = report.end_bytes;
    image = load_image(path);
    CHECK(end <= image.size);
    /* Every length up to the second page, then those at, below and above multiples of 512. */
    for (size_t size = image.size; size > 0; size--) {
        vindex_status st;
        if (size > 4500 && (size + 1) % 512 > 2) continue;
        CHECK(ftruncate(image.fd, (off_t)size) == 0);
        st = walk_image(&image);
        if (size >= end)
            CHECK_STATUS(VINDEX_OK, st);
        else
            CHECK(st == VINDEX_CORRUPT || (size < PAGE && st == VINDEX_NOTINDEX));
    }
    free_image(&image);
    test_remove(path);
}

static void test_random_bytes(void **state)
{
    const char *path = test_path("small.vdx");
    struct image image;
    struct rng rng;
    int accepted = 0;

    (void)state;
    make_small_file(path);
    image = load_image(path);
    vindex__rng_init(&rng, test_seed());
    for (int i = 0; i < 4000; i++) {
        size_t at = vindex__rng_below(&rng, image.size / PAGE) * PAGE;
        unsigned char noise[PAGE];
        for (size_t b = 0; b < PAGE; b += 8) {
            uint64_t word = vindex__rng_next(&rng);
            memcpy(noise + b, &word, 8);
        }
        poke(&image, at, noise, i % 2 ? PAGE : 16);
        accepted += walk_image(&image) == VINDEX_OK;
        if (i % 3 == 2) poke(&image, 0, image.bytes, image.size);
    }
    printf("%d of 4000 with noise in unused pages or payloads\n", accepted);
    for (size_t size = 0; size < 9000; size += 1000) { /* nothing but noise */
        CHECK(ftruncate(image.fd, 0) == 0 && ftruncate(image.fd, (off_t)size) == 0);
        for (size_t at = 0; at + 8 <= size; at += 8) {
            uint64_t word = vindex__rng_next(&rng);
            poke(&image, at, &word, 8);
        }
        CHECK_STATUS(VINDEX_NOTINDEX, walk_image(&image));
    }
    free_image(&image);
    test_remove(path);
}

/* ---- accepted by the walk, then given to LMDB -------------------------------------------- */

struct bend {
    size_t at;
    unsigned char value;
};

/* What a store does with a file, without its syncs: read all, delete half, write, commit, read all. */
static void use_file(const char *path)
{
    MDB_env *env = NULL;
    MDB_txn *txn = NULL;
    MDB_cursor *cursor = NULL;
    MDB_val key, value;
    MDB_dbi dbi;
    unsigned long sum = 0;
    int n = 0;

    if (mdb_env_create(&env) || mdb_env_set_mapsize(env, 1u << 30) ||
        mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOTLS | MDB_NOSYNC | MDB_NOLOCK, 0644))
        goto out;
    for (int round = 0; round < 4; round++) {
        if (mdb_txn_begin(env, NULL, 0, &txn) || mdb_dbi_open(txn, NULL, 0, &dbi) ||
            mdb_cursor_open(txn, dbi, &cursor))
            goto out;
        for (int rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST); rc == 0;
             rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
            for (size_t i = 0; i < value.mv_size; i += 64)
                sum += ((unsigned char *)value.mv_data)[i];
            if ((n++ + round) % 2 && mdb_cursor_del(cursor, 0)) break;
        }
        for (unsigned i = 0; i < 40; i++) {
            static unsigned char record[9000];
            unsigned char k[9] = {2, (unsigned char)round, (unsigned char)(i * 7)};
            key.mv_data = k, key.mv_size = 9;
            value.mv_data = record, value.mv_size = i % 5 ? 90 : 9000;
            if (mdb_put(txn, dbi, &key, &value, 0)) break;
        }
        mdb_cursor_close(cursor);
        if (mdb_txn_commit(txn)) goto out;
    }
out:
    mdb_env_close(env);
    if (sum == 1) printf("\n");
}

struct ordeal {
    const struct image *image;
    const struct bend *bends;
    size_t n;
    volatile size_t *at; /* shared with the child */
    const char *path;
};

static void face_lmdb(void *context)
{
    struct ordeal *o = context;
    int fd = open(o->path, O_RDWR | O_CREAT, 0644);

    CHECK(fd >= 0 && freopen("/dev/null", "w", stderr)); /* LMDB prints its assertions */
    for (; *o->at < o->n; ++*o->at) {
        CHECK(ftruncate(fd, (off_t)o->image->size) == 0);
        CHECK(pwrite(fd, o->image->bytes, o->image->size, 0) == (ssize_t)o->image->size);
        CHECK(pwrite(fd, &o->bends[*o->at].value, 1, (off_t)o->bends[*o->at].at) == 1);
        use_file(o->path);
    }
    close(fd);
}

/* The number of bends that kill LMDB. */
static size_t count_deaths(const struct image *image, const struct bend *bends, size_t n,
                           bool is_quiet)
{
    struct ordeal o = {image, bends, n, NULL, NULL};
    size_t deaths = 0;
    char path[64];

    snprintf(path, sizeof path, "/dev/shm/vindex-ordeal-%d", (int)getpid());
    o.path = access("/dev/shm", W_OK) == 0 ? path : test_path("ordeal");
    o.at = mmap(NULL, sizeof *o.at, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK((void *)o.at != MAP_FAILED);
    while (*o.at < n) {
        int status = test_child(face_lmdb, &o);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) break;
        if (!is_quiet)
            fprintf(stderr, "LMDB dies (status %#x) of page %zu + %zu set to %#x\n",
                    (unsigned)status, bends[*o.at].at / PAGE, bends[*o.at].at % PAGE,
                    bends[*o.at].value);
        deaths++;
        ++*o.at;
    }
    unlink(o.path);
    munmap((void *)o.at, sizeof *o.at);
    return deaths;
}

/* Bytes that LMDB interprets: metas, page heads, offsets, node heads, keys, overflow page numbers, free
   lists; of records and blocks only the first eight. `mask` has one byte for each of the file. */
static void mark_leaf(const unsigned char *image, size_t page, bool is_free, unsigned char *mask)
{
    unsigned n = (load_le16(image + page + 12) - 16u) / 2;
    for (unsigned i = 0; i < n; i++) {
        size_t at = page + load_le16(image + page + 16 + 2 * i);
        size_t data = at + 8 + load_le16(image + at + 6), size = load_le32(image + at);
        bool is_big = load_le16(image + at + 4) & 1;
        memset(mask + at, 1, data - at + 8);
        if (is_free && !is_big) memset(mask + data, 1, size);
        if (is_big) memset(mask + load_le64(image + data) * PAGE, 1, is_free ? 16 + size : 64);
    }
}

static void mark_tree(const unsigned char *image, size_t root, bool is_free, unsigned char *mask)
{
    size_t page = root * PAGE;
    unsigned n = (load_le16(image + page + 12) - 16u) / 2;

    if (root == UINT64_MAX) return;
    memset(mask + page, 1, 16 + 2 * n);
    if (load_le16(image + page + 10) == 2) {
        mark_leaf(image, page, is_free, mask);
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        size_t at = page + load_le16(image + page + 16 + 2 * i);
        memset(mask + at, 1, 8 + load_le16(image + at + 6));
        mark_tree(image, load_le32(image + at) | (size_t)load_le16(image + at + 4) << 32, is_free,
                  mask);
    }
}

static unsigned char *mark_structure(const struct image *image, const struct pages_meta *meta)
{
    unsigned char *mask = calloc(1, image->size);

    CHECK(mask != NULL);
    memset(mask, 1, 152);
    memset(mask + PAGE, 1, 152);
    mark_tree(image->bytes, meta->main.root, false, mask);
    mark_tree(image->bytes, meta->free.root, true, mask);
    return mask;
}

static void test_bent(void **state)
{
    static const unsigned char flips[] = {0x01, 0x02, 0x10, 0x80, 0xff};
    const char *path = test_path("small.vdx");
    struct pages_meta metas[2];
    struct bend *accepted;
    unsigned char *mask;
    size_t n_bends = 0, n_accepted = 0, deaths;
    struct image image;

    (void)state;
    make_small_file(path);
    image = load_image(path);
    CHECK_OK(vindex__pages_metas(image.fd, path, metas));
    mask = mark_structure(&image, &metas[0]);
    accepted = calloc(image.size * sizeof flips, sizeof *accepted);
    CHECK(accepted != NULL);
    for (size_t at = 0; at < image.size; at++)
        for (size_t f = 0; mask[at] && f < sizeof flips; f++) {
            struct bend bend = {at, (unsigned char)(image.bytes[at] ^ flips[f])};
            vindex_status st;
            poke(&image, at, &bend.value, 1);
            st = walk_image(&image);
            CHECK(st == VINDEX_OK || st == VINDEX_CORRUPT || st == VINDEX_NOTINDEX ||
                  st == VINDEX_UNSUPPORTED);
            if (st == VINDEX_OK) accepted[n_accepted++] = bend;
            restore(&image, at, 1);
            n_bends++;
        }
    CHECK_OK(walk_image(&image));
    deaths = count_deaths(&image, accepted, n_accepted, false);
    printf("%zu bytes bent, %zu accepted, LMDB died of %zu\n", n_bends, n_accepted, deaths);
    CHECK(n_bends > 10000 && deaths == 0);
    free(accepted);
    free(mask);
    free_image(&image);
    test_remove(path);
}

/* The same bends straight to LMDB: the ordeal can kill. */
static void test_ordeal_kills(void **state)
{
    const char *path = test_path("small.vdx");
    struct bend bends[12];
    struct pages_meta metas[2];
    struct image image;
    size_t root, n = 0;

    (void)state;
    make_small_file(path);
    image = load_image(path);
    CHECK_OK(vindex__pages_metas(image.fd, path, metas));
    root = metas[0].main.root * PAGE;
    for (size_t i = 0; i < 6; i++) {
        bends[n++] = (struct bend){root + 10 + i, 0xff}; /* flags and bounds */
        bends[n++] = (struct bend){root + 16 + i, 0xff}; /* offsets of nodes */
    }
    CHECK(count_deaths(&image, bends, n, true) > 0);
    free_image(&image);
    test_remove(path);
}

/* ---- named damage ------------------------------------------------------------------------ */

struct change {
    const char *name;
    size_t at, size;
    uint64_t value;
    vindex_status expected;
    const char *message; /* part of it */
};

static void check_change(const struct image *image, const struct change *c)
{
    poke(image, c->at, &c->value, c->size);
    vindex_status st = walk_image(image);
    if (st != c->expected || !strstr(vindex_message(), c->message))
        printf("%s: %s: %s\n", c->name, vindex_status_text(st), vindex_message());
    CHECK_STATUS(c->expected, st);
    CHECK(strstr(vindex_message(), c->message) != NULL);
    restore(image, c->at, c->size);
}

/* Where the first node lies that has this first key byte and its value outside; *page: its page. */
static size_t find_node(const struct image *image, size_t root, unsigned char first, size_t *page)
{
    for (unsigned b = 0; b < (load_le16(image->bytes + root + 12) - 16u) / 2; b++) {
        size_t child = root + load_le16(image->bytes + root + 16 + 2 * b);
        *page = load_le32(image->bytes + child) * (size_t)PAGE;
        for (unsigned i = 0; i < (load_le16(image->bytes + *page + 12) - 16u) / 2; i++) {
            size_t node = *page + load_le16(image->bytes + *page + 16 + 2 * i);
            if (image->bytes[node + 8] == first && image->bytes[node + 4] == 1) return node;
        }
    }
    fail();
    return 0;
}

/* Damage of more than one field. */
static void test_forged(const struct image *image, size_t root, size_t leaf)
{
    unsigned char page[PAGE];
    size_t block_leaf, block = find_node(image, root, 0x42, &block_leaf), run;
    size_t last = leaf + load_le16(image->bytes + leaf + load_le16(image->bytes + leaf + 12) - 2);

    /* The last key of a leaf above the next leaf's first. */
    page[0] = 0xff;
    poke(image, last + 8, page, 1);
    CHECK_STATUS(VINDEX_CORRUPT, walk_image(image));
    CHECK(strstr(vindex_message(), "next page") != NULL);
    restore(image, last + 8, 1);

    /* Room between the offsets and the nodes that is counted as neither. */
    store_le16(page, (uint16_t)(load_le16(image->bytes + leaf + 14) - 2));
    poke(image, leaf + 14, page, 2);
    CHECK_STATUS(VINDEX_CORRUPT, walk_image(image));
    CHECK(strstr(vindex_message(), "gap") != NULL);
    restore(image, leaf + 14, 2);

    /* One node as large as LMDB would keep outside, alone in its leaf. */
    memcpy(page, image->bytes + leaf, PAGE);
    store_le16(page + 12, 18);
    store_le16(page + 14, 1000);
    store_le16(page + 16, 1000);
    store_le32(page + 1000, PAGE - 1000 - 8 - 7);
    store_le16(page + 1004, 0);
    store_le16(page + 1006, 7);
    memcpy(page + 1008, "\1config\1", 8);
    poke(image, leaf, page, PAGE);
    CHECK_STATUS(VINDEX_CORRUPT, walk_image(image));
    CHECK(strstr(vindex_message(), "too long") != NULL);
    restore(image, leaf, PAGE);

    /* A block under another segment's key. */
    run = load_le64(image->bytes + block + 8 + load_le16(image->bytes + block + 6)) * PAGE;
    CHECK(memcmp(image->bytes + run + 16, "VXB1", 4) == 0);
    page[0] = (unsigned char)(image->bytes[run + 16 + 32] + 1);
    poke(image, run + 16 + 32, page, 1);
    CHECK_STATUS(VINDEX_CORRUPT, walk_image(image));
    CHECK(strstr(vindex_message(), "key 0x42") != NULL);
    restore(image, run + 16 + 32, 1);
    CHECK_OK(walk_image(image));
}

static void test_named(void **state)
{
    const char *path = test_path("small.vdx");
    struct pages_meta metas[2];
    struct image image;

    (void)state;
    make_small_file(path);
    image = load_image(path);
    CHECK_OK(vindex__pages_metas(image.fd, path, metas));
    size_t meta = (metas[0].txnid & 1) * PAGE, root = metas[0].main.root * PAGE;
    size_t node = root + load_le16(image.bytes + root + 16),
           leaf = load_le32(image.bytes + node) * (size_t)PAGE;
    size_t node1 = root + load_le16(image.bytes + root + 18);
    size_t free_leaf = metas[0].free.root * PAGE;
    size_t list = free_leaf + load_le16(image.bytes + free_leaf + 16);
    size_t last_list = free_leaf + load_le16(image.bytes + free_leaf +
                                             load_le16(image.bytes + free_leaf + 12) - 2);
    size_t two_ptrs =
        load_le16(image.bytes + leaf + 20) | (size_t)load_le16(image.bytes + leaf + 18) << 16;
    const struct change changes[] = {
        {"the other byte order", 16, 4, 0xDEC0EFBE, VINDEX_UNSUPPORTED, "byte order"},
        {"LMDB of another version", 20, 4, 2, VINDEX_UNSUPPORTED, "data version 2"},
        {"no magic", 16, 4, 0, VINDEX_CORRUPT, "first meta"},
        {"no magic in the second", PAGE + 16, 4, 0, VINDEX_CORRUPT, "second meta"},
        {"page size 4095", 40, 4, 4095, VINDEX_CORRUPT, "first meta"},
        {"page size of the second", PAGE + 40, 4, 8192, VINDEX_CORRUPT, "second meta"},
        {"duplicate keys allowed", meta + 92, 2, 4, VINDEX_CORRUPT, "newer"},
        {"a transaction in the wrong meta page", meta + 144, 8, metas[0].txnid + 1, VINDEX_CORRUPT,
         "newer"},
        {"last page far away", meta + 136, 8, UINT64_C(1) << 50, VINDEX_CORRUPT, "newer"},
        {"root beyond the last page", meta + 128, 8, metas[0].last_page + 1, VINDEX_CORRUPT,
         "newer"},
        {"root is a meta page", meta + 128, 8, 1, VINDEX_CORRUPT, "newer"},
        {"depth 1", meta + 94, 2, 1, VINDEX_CORRUPT, "where a leaf belongs"},
        {"depth 3", meta + 94, 2, 3, VINDEX_CORRUPT, "where a branch belongs"},
        {"one entry more", meta + 120, 8, metas[0].main.n_entries + 1, VINDEX_CORRUPT, "entries"},
        {"one leaf fewer", meta + 104, 8, metas[0].main.n_leaf - 1, VINDEX_CORRUPT, "entries"},
        {"both trees one", meta + 80, 8, metas[0].main.root, VINDEX_CORRUPT, "used twice"},
        {"a page says it is another", root, 8, 1, VINDEX_CORRUPT, "says it is page 1"},
        {"a leaf used twice", node1, 4, leaf / PAGE, VINDEX_CORRUPT, "used twice"},
        {"a branch as its own child", node, 4, root / PAGE, VINDEX_CORRUPT, "used twice"},
        {"keys out of order", leaf + 18, 4, two_ptrs, VINDEX_CORRUPT, "out of order"},
        {"a node at an odd offset", leaf + 16, 2, load_le16(image.bytes + leaf + 16) + 1u,
         VINDEX_CORRUPT, "lies outside"},
        {"two nodes at one offset", leaf + 16, 2, load_le16(image.bytes + leaf + 18),
         VINDEX_CORRUPT, "overlaps"},
        {"lower above upper", root + 12, 2, load_le16(image.bytes + root + 14) + 2u, VINDEX_CORRUPT,
         "bounds"},
        {"one node in a branch", root + 12, 2, 18, VINDEX_CORRUPT, "1 nodes"},
        {"a free page in use", list + 8 + 8 + 8, 8, metas[0].last_page, VINDEX_CORRUPT, ""},
        {"more free pages than words", list + 8 + 8, 8, 1u << 20, VINDEX_CORRUPT, "counts"},
        {"freed by a later transaction", last_list + 8, 8, metas[0].txnid + 1, VINDEX_CORRUPT,
         "misshapen"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++)
        check_change(&image, &changes[i]);
    CHECK_OK(walk_image(&image));
    test_forged(&image, root, leaf);

    unsigned char shifted[PAGE]; /* a 32-bit page head is four bytes shorter */
    memcpy(shifted, image.bytes + 4, sizeof shifted);
    poke(&image, 0, shifted, sizeof shifted);
    CHECK_STATUS(VINDEX_UNSUPPORTED, walk_image(&image));
    CHECK(strstr(vindex_message(), "32-bit") != NULL);
    free_image(&image);
    test_remove(path);
}

/* Findings do not end a check, and none is told of what lies below one. */
static void collect(void *context, const char *finding)
{
    (void)finding;
    ++*(int *)context;
}

static void test_all_findings(void **state)
{
    const char *path = test_path("small.vdx");
    struct pages_report report = {.finding = collect};
    struct pages_meta metas[2];
    struct image image;
    int n = 0;

    (void)state;
    make_small_file(path);
    image = load_image(path);
    CHECK_OK(vindex__pages_metas(image.fd, path, metas));
    size_t root = metas[0].main.root * PAGE;
    for (unsigned i = 0; i < 2; i++) { /* two of its leaves */
        size_t node = root + load_le16(image.bytes + root + 16 + 2 * i);
        poke(&image, load_le32(image.bytes + node) * (size_t)PAGE + 10, "\0", 1);
    }
    report.context = &n;
    CHECK_STATUS(VINDEX_CORRUPT, walk(image.fd, path, &report));
    CHECK(n == 2 || n == 3); /* and the config record may have been on one of them */
    CHECK(report.n_findings == (uint64_t)n);
    report.finding = NULL;
    CHECK(walk(image.fd, path, &report) != VINDEX_OK);
    CHECK(report.n_findings == 1);
    free_image(&image);
    test_remove(path);
}

/* ---- LMDB files of others ---------------------------------------------------------------- */

static void make_foreign(const char *path, bool with_sub_database)
{
    MDB_env *env = NULL;
    MDB_txn *txn = NULL;
    MDB_dbi dbi;
    MDB_val key = {5, "hello"}, value = {5, "world"};

    CHECK(mdb_env_create(&env) == 0 && mdb_env_set_maxdbs(env, 2) == 0);
    CHECK(mdb_env_open(env, path, MDB_NOSUBDIR, 0644) == 0 &&
          mdb_txn_begin(env, NULL, 0, &txn) == 0);
    CHECK(mdb_dbi_open(txn, with_sub_database ? "sub" : NULL, MDB_CREATE, &dbi) == 0);
    CHECK(mdb_put(txn, dbi, &key, &value, 0) == 0 && mdb_txn_commit(txn) == 0);
    mdb_env_close(env);
}

static void test_foreign(void **state)
{
    const char *path = test_path("foreign.mdb");
    struct pages_report report = {.finding = NULL};
    MDB_env *env = NULL;

    (void)state;
    for (int with_sub = 0; with_sub < 2; with_sub++) {
        make_foreign(path, with_sub);
        CHECK_STATUS(VINDEX_NOTINDEX, walk_file(path, &report));
        CHECK(report.is_foreign);
        test_remove(path);
    }
    CHECK(mdb_env_create(&env) == 0 &&
          mdb_env_open(env, path, MDB_NOSUBDIR, 0644) == 0); /* empty */
    mdb_env_close(env);
    CHECK_STATUS(VINDEX_NOTINDEX, walk_file(path, &report));
    test_remove(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts_lmdb), cmocka_unit_test(test_accepts_large),
        cmocka_unit_test(test_truncated),    cmocka_unit_test(test_random_bytes),
        cmocka_unit_test(test_bent),         cmocka_unit_test(test_ordeal_kills),
        cmocka_unit_test(test_named),        cmocka_unit_test(test_all_findings),
        cmocka_unit_test(test_foreign),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
