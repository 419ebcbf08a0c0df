/*
 * pages.c - the reader of LMDB files behind pages.h. The layout is that of LMDB 0.9.24 (mdb.c: MDB_page,
 * MDB_node, MDB_meta, MDB_db), in the byte order of the machine that wrote the file, 64 bits:
 *
 *     page      | 0 page number u64 | 8 pad u16 | 10 flags u16 | 12 lower u16 | 14 upper u16 | 16 ...
 *     meta      page head, then | 16 magic u32 | 20 version u32 | 24 address | 32 map size
 *               | 40 free tree, 48 bytes | 88 main tree, 48 bytes | 136 last page u64 | 144 txnid u64
 *     tree      | 0 page size u32 (free tree) | 4 flags u16 | 6 depth u16 | 8 branch pages u64
 *               | 16 leaf pages | 24 overflow pages | 32 entries | 40 root
 *     branch,   page head, u16 offsets of the nodes in key order up to `lower`; from `upper` to the
 *     leaf      page's end the nodes, in any order, each at an even offset, without a gap
 *     node      | 0 data size u32, or low half of the child | 4 node flags u16, or the child's upper 16
 *               bits | 6 key size u16 | 8 key | data, or the page number of an overflow run
 *     overflow  page head with the number of pages as u32 at 12; data from 16 on, through all pages
 *
 * The first key of a branch page means nothing. The free tree maps u64 transaction ids to lists of the
 * pages they freed: | count u64 | page numbers, descending |. Transaction t writes meta page t % 2.
 *
 * Every page from 2 to the last one is used by a tree or free, never both: a bitmap tells.
 */
#include "storage/pages.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/ordmap.h"
#include "base/status.h"
#include "storage/blocks.h"

_Static_assert(sizeof(size_t) == 8, "the layout read here is the one of 64-bit machines");

enum {
    META_MAGIC_AT = 16,
    META_BYTES = 152,
    PAGE_HEAD = 16,
    NODE_HEAD = 8,
    PAGE_BYTES_MIN =
        4096, /* LMDB takes the page size of the system; FORMAT.md needs room for the token */
    PAGE_BYTES_MAX = 32768, /* of LMDB 0.9 */
    DEPTH_MAX = 31,         /* below LMDB's cursor stack of 32 */
    KEY_MAX = 511,
    FLAG_BRANCH = 1,
    FLAG_LEAF = 2,
    FLAG_OVERFLOW = 4,
    FLAG_META = 8,
    NODE_BIG = 1,         /* the data is an overflow run */
    NODE_FOREIGN = 2 | 4, /* a sub-database, duplicates: LMDB has them, we do not */
    TREE_INTEGER_KEYS = 0x08,
    ENV_NOSUBDIR =
        0x4000, /* LMDB keeps this bit of the environment in the flags of the free tree */
    CHUNK_BYTES = 65536
};
#define MAGIC UINT32_C(0xBEEFC0DE)

/* In the machine's byte order, as LMDB writes. */
static uint16_t load16(const unsigned char *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static uint32_t load32(const unsigned char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static uint64_t load64(const unsigned char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* ---- meta pages -------------------------------------------------------------------------- */

/* As many bytes as there are, 0 at the end of the file, -1 on an error. */
static ssize_t read_some(int fd, void *buffer, size_t size, uint64_t offset)
{
    ssize_t n, done = 0;
    while ((size_t)done < size) {
        n = pread(fd, (char *)buffer + done, size - (size_t)done, (off_t)(offset + (uint64_t)done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        if (n == 0) break;
        done += n;
    }
    return done;
}

static bool page_size_is_sound(uint32_t size)
{
    return size >= PAGE_BYTES_MIN && size <= PAGE_BYTES_MAX && (size & (size - 1)) == 0;
}

static struct pages_tree tree_load(const unsigned char *p)
{
    struct pages_tree tree = {
        .depth = load16(p + 6),
        .n_branch = load64(p + 8),
        .n_leaf = load64(p + 16),
        .n_overflow = load64(p + 24),
        .n_entries = load64(p + 32),
        .root = load64(p + 40),
    };
    return tree;
}

static bool tree_is_sound(const struct pages_tree *tree, uint64_t last_page)
{
    if (tree->n_branch > last_page || tree->n_leaf > last_page || tree->n_overflow > last_page)
        return false;
    if (tree->root == PAGES_NO_ROOT)
        return tree->depth == 0 && tree->n_entries == 0 && tree->n_leaf == 0;
    return tree->root >= 2 && tree->root <= last_page && tree->depth >= 1 &&
           tree->depth <= DEPTH_MAX;
}

/* The parts that LMDB reads before it knows which meta page is the newer one. */
static bool meta_is_ours(const unsigned char *raw)
{
    return load32(raw + META_MAGIC_AT) == MAGIC && load32(raw + META_MAGIC_AT + 4) == 1 &&
           (load16(raw + 10) & FLAG_META) && page_size_is_sound(load32(raw + 40));
}

/* Transaction t writes page t % 2, and LMDB relies on it. */
static bool meta_is_sound(const unsigned char *raw, unsigned slot, uint64_t file_bytes,
                          struct pages_meta *meta)
{
    uint64_t file_pages, spare;

    meta->page_bytes = load32(raw + 40);
    meta->free = tree_load(raw + 40);
    meta->main = tree_load(raw + 88);
    meta->last_page = load64(raw + 136);
    meta->txnid = load64(raw + 144);

    if ((load16(raw + 44) & ~ENV_NOSUBDIR) != TREE_INTEGER_KEYS || load16(raw + 92) != 0)
        return false;
    if (meta->txnid != 0 && (meta->txnid & 1) != slot) return false;
    /* The file may end before pages that were numbered and freed in the last transaction; each of ours
       holds well below 1 GiB, and after it the file is extended. */
    file_pages = file_bytes / meta->page_bytes;
    spare = (UINT64_C(1) << 30) / meta->page_bytes;
    if (meta->last_page < 1 || meta->last_page >= 4 * file_pages + spare) return false;
    return tree_is_sound(&meta->free, meta->last_page) &&
           tree_is_sound(&meta->main, meta->last_page);
}

/* A file without two sound meta pages: what is it? */
static vindex_status name_the_stranger(const unsigned char *raw, const char *path)
{
    uint32_t magic = load32(raw + META_MAGIC_AT);

    if (magic == __builtin_bswap32(MAGIC))
        return vindex__fail(
            VINDEX_UNSUPPORTED,
            "%s was written on a machine of the other byte order: export it there and "
            "build it here",
            path);
    if (load32(raw + 12) == MAGIC || load32(raw + 12) == __builtin_bswap32(MAGIC))
        return vindex__fail(VINDEX_UNSUPPORTED,
                            "%s was written by a 32-bit program: export it there and build it here",
                            path);
    if (magic == MAGIC && load32(raw + META_MAGIC_AT + 4) != 1 && (load16(raw + 10) & FLAG_META))
        return vindex__fail(VINDEX_UNSUPPORTED,
                            "%s has LMDB data version %" PRIu32 ", this library reads 1", path,
                            load32(raw + META_MAGIC_AT + 4));
    if (magic == MAGIC) return vindex__corrupt("%s: the first meta page is damaged", path);
    return VINDEX_OK;
}

/* The first page is no meta page; if the second one is, this was an LMDB file. */
static bool second_meta_exists(int fd)
{
    unsigned char raw[META_BYTES];

    for (uint64_t at = PAGE_BYTES_MIN; at <= PAGE_BYTES_MAX; at *= 2)
        if (read_some(fd, raw, sizeof raw, at) == META_BYTES && meta_is_ours(raw)) return true;
    return false;
}

vindex_status vindex__pages_metas(int fd, const char *path, struct pages_meta metas[2])
{
    unsigned char raw[2][META_BYTES];
    struct pages_meta both[2];
    bool is_sound[2];
    struct stat info;
    ssize_t n[2] = {0, 0};
    unsigned newer;

    memset(both, 0, sizeof both);
    if (fstat(fd, &info) != 0) return vindex__fail_errno(errno, "reading", path);
    n[0] = read_some(fd, raw[0], META_BYTES, 0);
    if (n[0] == META_BYTES && meta_is_ours(raw[0]))
        n[1] = read_some(fd, raw[1], META_BYTES, load32(raw[0] + 40));
    if (n[0] < 0 || n[1] < 0) return vindex__fail_errno(errno, "reading", path);
    if (n[0] < META_BYTES)
        return vindex__fail(VINDEX_NOTINDEX, "%s is no index: it has only %lld bytes", path,
                            (long long)info.st_size);
    if (!meta_is_ours(raw[0])) {
        vindex_status st = name_the_stranger(raw[0], path);
        if (st != VINDEX_OK) return st;
        if (second_meta_exists(fd))
            return vindex__corrupt("%s: the first meta page is damaged", path);
        return vindex__fail(VINDEX_NOTINDEX, "%s is no index", path);
    }
    if (n[1] < META_BYTES || !meta_is_ours(raw[1]) || load32(raw[1] + 40) != load32(raw[0] + 40))
        return vindex__corrupt("%s: the second meta page is damaged", path);

    for (unsigned slot = 0; slot < 2; slot++)
        is_sound[slot] = meta_is_sound(raw[slot], slot, (uint64_t)info.st_size, &both[slot]);
    newer = both[0].txnid < both[1].txnid; /* LMDB's choice: mdb_env_pick_meta */
    if (!is_sound[newer])
        return vindex__corrupt("%s: meta page %u, the newer one, is damaged", path, newer);
    metas[0] = both[newer];
    metas[1] = both[1 - newer];
    if (!is_sound[1 - newer]) metas[1].page_bytes = 0;
    return VINDEX_OK;
}

/* ---- the walk ---------------------------------------------------------------------------- */

struct walk {
    int fd;
    const struct pages_meta *meta;
    struct pages_report *report;
    uint64_t file_bytes;
    uint64_t *claimed;             /* bitmap of pages: used or free */
    unsigned char *pages;          /* one page for each level */
    unsigned char *chunk;          /* of a free list */
    const struct pages_tree *tree; /* the one being walked */
    bool is_free_tree;
    struct pages_tree seen; /* counts found in it */
    bool has_config;
    char first[256]; /* the first finding */
};

/* A finding: the part of the tree below it is left alone. */
__attribute__((format(printf, 2, 3))) static vindex_status found(struct walk *w, const char *format,
                                                                 ...)
{
    char line[sizeof w->first];
    va_list arguments;

    va_start(arguments, format);
    if (vsnprintf(line, sizeof line, format, arguments) < 0) line[0] = '\0';
    va_end(arguments);
    if (w->report->n_findings++ == 0) memcpy(w->first, line, sizeof line);
    if (w->report->finding) w->report->finding(w->report->context, line);
    return vindex__corrupt("%s", line);
}

/* Whether to go on with the next sibling. */
static bool go_on(const struct walk *w, vindex_status st)
{
    return st == VINDEX_OK || (st == VINDEX_CORRUPT && w->report->finding);
}

static vindex_status read_exactly(struct walk *w, void *buffer, size_t size, uint64_t offset)
{
    ssize_t n = read_some(w->fd, buffer, size, offset);
    if (n < 0) return vindex__fail_errno(errno, "reading", "the index file");
    if ((size_t)n < size)
        return found(w, "the file ends within page %" PRIu64, offset / w->meta->page_bytes);
    return VINDEX_OK;
}

/* Each page once. */
static vindex_status claim(struct walk *w, uint64_t page, uint64_t n_pages)
{
    if (page < 2 || page > w->meta->last_page || n_pages == 0 ||
        n_pages > w->meta->last_page - page + 1)
        return found(w, "pages %" PRIu64 "+%" PRIu64 " are outside 2..%" PRIu64, page, n_pages,
                     w->meta->last_page);
    for (uint64_t p = page; p < page + n_pages; p++) {
        if (bitmap_get(w->claimed, p)) return found(w, "page %" PRIu64 " is used twice", p);
        bitmap_set(w->claimed, p);
    }
    return VINDEX_OK;
}

/* Pages in use lie inside the file. */
static vindex_status claim_used(struct walk *w, uint64_t page, uint64_t n_pages)
{
    uint64_t end;
    vindex_status st = claim(w, page, n_pages);
    if (st != VINDEX_OK) return st;
    end = (page + n_pages) * w->meta->page_bytes; /* in range: last_page was bounded by the file */
    if (end > w->file_bytes)
        return found(w, "page %" PRIu64 " lies beyond the end of the file", page + n_pages - 1);
    if (end > w->report->end_bytes) w->report->end_bytes = end;
    w->report->used_bytes += n_pages * w->meta->page_bytes;
    return VINDEX_OK;
}

struct node {
    const unsigned char *at;
    struct bytes key;
    uint32_t flags;
    uint32_t size;  /* of the data, wherever it lies */
    uint64_t child; /* of a branch */
};

static unsigned n_nodes(const unsigned char *page)
{
    return (load16(page + 12) - (unsigned)PAGE_HEAD) / 2;
}

static struct node node_at(const unsigned char *page, unsigned index)
{
    const unsigned char *at = page + load16(page + PAGE_HEAD + 2 * index);
    struct node node = {
        .at = at,
        .key = bytes_of(at + NODE_HEAD, load16(at + 6)),
        .flags = load16(at + 4),
        .size = load32(at),
        .child = load32(at) | (uint64_t)load16(at + 4) << 32,
    };
    return node;
}

/* Bytes a node takes in its page, made even. */
static uint64_t node_extent(const struct node *node, bool is_leaf)
{
    uint64_t extent = NODE_HEAD + node->key.size;
    if (is_leaf) extent += node->flags & NODE_BIG ? 8 : node->size;
    return (extent + 1) & ~UINT64_C(1);
}

/* LMDB keeps larger values outside the page, and its page splits rely on that. */
static bool node_is_small(const struct walk *w, const struct node *node)
{
    uint64_t node_max = (((w->meta->page_bytes - PAGE_HEAD) / 2) & ~1u) - 2;
    return node->flags & NODE_BIG || NODE_HEAD + node->key.size + (uint64_t)node->size <= node_max;
}

/* One node: inside the page, at an even offset, over nobody else's bytes. */
static vindex_status check_node(struct walk *w, uint64_t number, const unsigned char *page,
                                unsigned index, bool is_leaf, uint64_t *taken, uint64_t *n_taken)
{
    uint32_t page_bytes = w->meta->page_bytes;
    uint32_t at = load16(page + PAGE_HEAD + 2 * index);
    struct node node;
    uint64_t extent;

    if (at < load16(page + 14) || at > page_bytes - NODE_HEAD || at % 2)
        return found(w, "page %" PRIu64 ": node %u lies outside", number, index);
    node = node_at(page, index);
    if (is_leaf && (node.flags & ~(uint32_t)NODE_BIG)) {
        if (!(node.flags & ~(uint32_t)(NODE_BIG | NODE_FOREIGN)) && !w->has_config &&
            !w->is_free_tree)
            w->report->is_foreign = true;
        return found(w, "page %" PRIu64 ": node %u has flags %#" PRIx32, number, index, node.flags);
    }
    extent = node_extent(&node, is_leaf);
    if (at + extent > page_bytes || node.key.size > KEY_MAX ||
        (is_leaf && !node_is_small(w, &node)))
        return found(w, "page %" PRIu64 ": node %u is too long", number, index);
    for (uint64_t half = at / 2; half < (at + extent) / 2; half++) {
        if (bitmap_get(taken, half))
            return found(w, "page %" PRIu64 ": node %u overlaps another", number, index);
        bitmap_set(taken, half);
    }
    *n_taken += extent;
    return VINDEX_OK;
}

/* The head, the offsets and the extents of a page: afterwards its nodes may be read. */
static vindex_status check_layout(struct walk *w, uint64_t number, const unsigned char *page,
                                  bool is_leaf)
{
    uint64_t taken[PAGE_BYTES_MAX / 2 / 64] = {0};
    uint64_t n_taken = 0;
    uint32_t lower = load16(page + 12), upper = load16(page + 14);
    unsigned n;

    if (load64(page) != number)
        return found(w, "page %" PRIu64 " says it is page %" PRIu64, number, load64(page));
    if (load16(page + 10) != (is_leaf ? FLAG_LEAF : FLAG_BRANCH))
        return found(w, "page %" PRIu64 " has flags %#x where a %s belongs", number,
                     load16(page + 10), is_leaf ? "leaf" : "branch");
    if (lower < PAGE_HEAD || lower % 2 || lower > upper || upper > w->meta->page_bytes)
        return found(w, "page %" PRIu64 " has bounds %" PRIu32 "..%" PRIu32, number, lower, upper);
    n = n_nodes(page);
    if (n < (is_leaf ? 1u : 2u)) return found(w, "page %" PRIu64 " has %u nodes", number, n);
    for (unsigned i = 0; i < n; i++) {
        vindex_status st = check_node(w, number, page, i, is_leaf, taken, &n_taken);
        if (st != VINDEX_OK) return st;
    }
    if (n_taken != w->meta->page_bytes - upper)
        return found(w, "page %" PRIu64 " has a gap between its nodes", number);
    return VINDEX_OK;
}

static int compare_keys(const struct walk *w, struct bytes a, struct bytes b)
{
    uint64_t x, y;
    if (!w->is_free_tree) return bytes_compare(a, b);
    x = load64(a.data), y = load64(b.data);
    return (x > y) - (x < y);
}

/* Keys of a subtree are >= lo and < hi; NULL data: unbounded. */
struct range {
    struct bytes lo, hi;
};

/* Keys ascend and stay in their range. A branch's separators are above lo: there are keys before them. */
static vindex_status check_keys(struct walk *w, uint64_t number, const unsigned char *page,
                                bool is_leaf, struct range range)
{
    unsigned n = n_nodes(page);
    struct bytes last = range.lo;
    int least = is_leaf ? 0 : 1; /* lo itself may stand in a leaf */

    for (unsigned i = is_leaf ? 0 : 1; i < n; i++) {
        struct bytes key = node_at(page, i).key;
        if (key.size == 0 || (w->is_free_tree && key.size != 8))
            return found(w, "page %" PRIu64 ": key %u has %zu bytes", number, i, key.size);
        if (last.data && compare_keys(w, key, last) < least)
            return found(w, "page %" PRIu64 ": key %u is out of order", number, i);
        last = key;
        least = 1;
    }
    if (range.hi.data && last.data && compare_keys(w, last, range.hi) >= 0)
        return found(w, "page %" PRIu64 ": its last key belongs to the next page", number);
    return VINDEX_OK;
}

/* ---- values ------------------------------------------------------------------------------ */

/* The head of an overflow run, and what follows it up to `size` bytes in `head`. */
static vindex_status open_run(struct walk *w, const struct node *node, uint64_t *page,
                              unsigned char *head, size_t size)
{
    unsigned char raw[PAGE_HEAD + BLOCK_HEADER_BYTES];
    uint64_t n_pages, need = ((uint64_t)node->size + PAGE_HEAD - 1) / w->meta->page_bytes + 1;
    vindex_status st;

    *page = load64(node->at + NODE_HEAD + node->key.size);
    if (*page > w->meta->last_page || (*page + 1) * w->meta->page_bytes > w->file_bytes)
        return found(w, "a value lies on page %" PRIu64 ", beyond the end", *page);
    st = read_exactly(w, raw, PAGE_HEAD + size, *page * w->meta->page_bytes);
    if (st != VINDEX_OK) return st;
    n_pages = load32(raw + 12);
    if (load64(raw) != *page || load16(raw + 10) != FLAG_OVERFLOW || n_pages < need)
        return found(w, "page %" PRIu64 " does not start a value of %" PRIu32 " bytes", *page,
                     node->size);
    st = claim_used(w, *page, n_pages);
    if (st != VINDEX_OK) return st;
    w->seen.n_overflow += n_pages;
    memcpy(head, raw + PAGE_HEAD, size);
    return VINDEX_OK;
}

static bool block_is_framed(struct bytes key, const unsigned char *value, uint64_t size)
{
    const unsigned char *k = key.data;
    uint64_t n, stride;

    if (key.size != 1 + NONCE_BYTES + 2 + 4 || size < BLOCK_HEADER_BYTES || size > BLOCK_BYTES)
        return false;
    n = load_le32(value + 12), stride = load_le32(value + 16);
    return memcmp(value, "VXB1", 4) == 0 && n * stride == size - BLOCK_HEADER_BYTES &&
           memcmp(value + 32, k + 1, NONCE_BYTES) == 0 &&
           load_le16(value + 10) == (k[17] << 8 | k[18]);
}

/* The key's shape and the value's kind, by FORMAT.md 1 and 2. */
static bool record_is_framed(struct bytes key, const unsigned char *value, uint64_t size)
{
    static const struct {
        size_t key_bytes;
        unsigned char kind;
    } tables[] = {{0, 0}, {0, 0}, {9, 3}, {9, 4}, {9, 5}, {1 + NONCE_BYTES, 6}, {9, 8}};
    static const struct {
        const char *name;
        unsigned char kind;
    } names[] = {{"config", 1}, {"state", 2}, {"model", 7}, {"audits", 9}};
    const unsigned char *k = key.data;

    if (size < 8) return false;
    for (size_t i = 0; k[0] == 1 && i < sizeof names / sizeof *names; i++)
        if (bytes_compare(bytes_of(k + 1, key.size - 1),
                          bytes_of(names[i].name, strlen(names[i].name))) == 0)
            return value[0] == names[i].kind;
    return k[0] > 1 && k[0] < sizeof tables / sizeof *tables && key.size == tables[k[0]].key_bytes &&
           value[0] == tables[k[0]].kind;
}

static vindex_status check_entry(struct walk *w, const struct node *node)
{
    unsigned char head[BLOCK_HEADER_BYTES] = {0};
    size_t n_head = node->size < sizeof head ? node->size : sizeof head;
    const unsigned char *key = node->key.data;
    bool is_framed;
    vindex_status st = VINDEX_OK;
    uint64_t page;

    if (node->flags & NODE_BIG)
        st = open_run(w, node, &page, head, n_head);
    else
        memcpy(head, node->at + NODE_HEAD + node->key.size, n_head);
    if (st != VINDEX_OK) return st;

    is_framed = key[0] == 0x42 ? block_is_framed(node->key, head, node->size)
                               : record_is_framed(node->key, head, node->size);
    if (is_framed) {
        w->has_config |= node->key.size == 7 && memcmp(key, "\1config", 7) == 0;
        return VINDEX_OK;
    }
    if (!w->has_config) w->report->is_foreign = true; /* its key is the first of all */
    return found(w, "an entry with key 0x%02x.. and %" PRIu32 " bytes is none of FORMAT.md", key[0],
                 node->size);
}

/* A list of free pages, read in pieces: it may be long. */
static vindex_status check_free_list(struct walk *w, const struct node *node)
{
    uint64_t key = load64(node->key.data), n_words = node->size / 8, n_listed = 0;
    uint64_t page = 0, last = w->meta->last_page + 1, done = 0;
    unsigned char head[8];
    vindex_status st = VINDEX_OK;

    if (key < 1 || key > w->meta->txnid || node->size % 8 || n_words < 1)
        return found(w, "the list of pages freed by transaction %" PRIu64 " is misshapen", key);
    if (node->flags & NODE_BIG) st = open_run(w, node, &page, head, sizeof head);

    while (st == VINDEX_OK && done < n_words && (done == 0 || done <= n_listed)) {
        uint64_t n = CHUNK_BYTES / 8 < n_words - done ? CHUNK_BYTES / 8 : n_words - done;
        const unsigned char *words = node->at + NODE_HEAD + 8 + 8 * done;
        if (node->flags & NODE_BIG) {
            st =
                read_exactly(w, w->chunk, 8 * n, page * w->meta->page_bytes + PAGE_HEAD + 8 * done);
            if (st != VINDEX_OK) break;
            words = w->chunk;
        }
        if (done == 0) {
            n_listed = load64(words);
            if (n_listed > n_words - 1)
                return found(w, "a list of free pages counts %" PRIu64 " in %" PRIu64 " words",
                             n_listed, n_words);
        }
        for (uint64_t i = done == 0 ? 1 : 0; i < n && done + i <= n_listed && st == VINDEX_OK;
             i++) {
            uint64_t freed = load64(words + 8 * i);
            if (freed >= last) return found(w, "free page %" PRIu64 " is out of order", freed);
            last = freed;
            st = claim(w, freed, 1);
        }
        done += n;
    }
    return st;
}

/* ---- trees ------------------------------------------------------------------------------- */

static vindex_status check_leaf(struct walk *w, const unsigned char *page)
{
    vindex_status worst = VINDEX_OK;

    w->seen.n_leaf++;
    w->seen.n_entries += n_nodes(page);
    for (unsigned i = 0; i < n_nodes(page); i++) {
        struct node node = node_at(page, i);
        vindex_status st = w->is_free_tree ? check_free_list(w, &node) : check_entry(w, &node);
        if (st != VINDEX_OK) worst = st;
        if (!go_on(w, st)) return st;
    }
    return worst;
}

static vindex_status visit(struct walk *w, uint64_t number, unsigned level, struct range range);

static vindex_status check_children(struct walk *w, const unsigned char *page, unsigned level,
                                    struct range range)
{
    unsigned n = n_nodes(page);
    vindex_status worst = VINDEX_OK;

    w->seen.n_branch++;
    for (unsigned i = 0; i < n; i++) {
        struct range part = {i ? node_at(page, i).key : range.lo,
                             i + 1 < n ? node_at(page, i + 1).key : range.hi};
        vindex_status st = visit(w, node_at(page, i).child, level + 1, part);
        if (st != VINDEX_OK) worst = st;
        if (!go_on(w, st)) return st;
    }
    return worst;
}

/* Page `number` and all below it; at most DEPTH_MAX deep. */
static vindex_status visit(struct walk *w, uint64_t number, unsigned level, struct range range)
{
    unsigned char *page = w->pages + (size_t)level * w->meta->page_bytes;
    bool is_leaf = level + 1u == w->tree->depth;
    vindex_status st = claim_used(w, number, 1);

    if (st == VINDEX_OK)
        st = read_exactly(w, page, w->meta->page_bytes, number * w->meta->page_bytes);
    if (st == VINDEX_OK) st = check_layout(w, number, page, is_leaf);
    if (st == VINDEX_OK) st = check_keys(w, number, page, is_leaf, range);
    if (st != VINDEX_OK) return st;
    return is_leaf ? check_leaf(w, page) : check_children(w, page, level, range);
}

static vindex_status walk_tree(struct walk *w, const struct pages_tree *tree, bool is_free_tree)
{
    struct range everything = {{NULL, 0}, {NULL, 0}};
    const char *name = is_free_tree ? "free" : "main";
    vindex_status st = VINDEX_OK;

    memset(&w->seen, 0, sizeof w->seen);
    w->tree = tree;
    w->is_free_tree = is_free_tree;
    if (tree->root != PAGES_NO_ROOT) st = visit(w, tree->root, 0, everything);
    if (st != VINDEX_OK) return st; /* counts would be short for that reason alone */
    if (w->seen.n_branch != tree->n_branch || w->seen.n_leaf != tree->n_leaf ||
        w->seen.n_overflow != tree->n_overflow || w->seen.n_entries != tree->n_entries)
        return found(w,
                     "the %s tree has %" PRIu64 "+%" PRIu64 "+%" PRIu64 " pages, %" PRIu64
                     " entries; its meta page says %" PRIu64 "+%" PRIu64 "+%" PRIu64 ", %" PRIu64,
                     name, w->seen.n_branch, w->seen.n_leaf, w->seen.n_overflow, w->seen.n_entries,
                     tree->n_branch, tree->n_leaf, tree->n_overflow, tree->n_entries);
    return VINDEX_OK;
}

static vindex_status walk_trees(struct walk *w)
{
    vindex_status st = walk_tree(w, &w->meta->main, false);

    if (st == VINDEX_OK && !w->has_config) {
        w->report->is_foreign = true;
        st = found(w, "there is no config record");
    }
    if (go_on(w, st)) st = walk_tree(w, &w->meta->free, true);
    if (st == VINDEX_OK && w->report->n_findings > 0) st = VINDEX_CORRUPT;
    if (st != VINDEX_CORRUPT) return st;
    if (w->report->is_foreign)
        return vindex__fail(VINDEX_NOTINDEX, "the LMDB file is no vindex index: %s", w->first);
    return vindex__corrupt("%s", w->first);
}

vindex_status vindex__pages_walk(int fd, const struct pages_meta *meta, struct pages_report *report)
{
    struct walk w = {.fd = fd, .meta = meta, .report = report};
    struct stat info;
    unsigned depth = meta->main.depth > meta->free.depth ? meta->main.depth : meta->free.depth;
    vindex_status st;

    report->n_findings = 0;
    report->is_foreign = false;
    report->used_bytes = report->end_bytes = 2 * (uint64_t)meta->page_bytes;
    if (fstat(fd, &info) != 0) return vindex__fail_errno(errno, "reading", "the index file");
    w.file_bytes = (uint64_t)info.st_size;

    w.claimed = vindex__calloc(bitmap_words(meta->last_page + 1), sizeof *w.claimed);
    w.pages = vindex__calloc(depth + 1, meta->page_bytes);
    w.chunk = vindex__calloc(1, CHUNK_BYTES);
    st = w.claimed && w.pages && w.chunk ? walk_trees(&w) : vindex__nomem();

    vindex__free(w.claimed);
    vindex__free(w.pages);
    vindex__free(w.chunk);
    return st;
}
