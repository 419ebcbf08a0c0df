/*
 * blocks_sqlite.c - blocks as rows of a shadow table, and the heap cache through which they are read: a
 * block's checksum is verified when it enters, and its payload then lies 64-byte aligned.
 */
#include "shadow.h"

struct cached_block {
    struct cached_block *next;
    struct block_key key;
    uint64_t view; /* the last one that used it */
    size_t size;
    void *heap;
    unsigned char *value;
};

static struct shadow *of_blocks(struct blocks *b)
{
    return (struct shadow *)(void *)((char *)b - offsetof(struct shadow, blocks));
}

/* ---- cache --------------------------------------------------------------------------------------- */

/* Nonces are random: their first bytes are a hash. A hostile choice of them costs time only. */
static size_t bucket_of(const struct shadow *shadow, const struct block_key *key)
{
    uint64_t hash = load_le64(key->nonce) ^ (uint64_t)key->plane << 20 ^ key->index;
    hash *= UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(hash >> 32) & (shadow->n_buckets - 1);
}

static bool same_key(const struct block_key *a, const struct block_key *b)
{
    return memcmp(a->nonce, b->nonce, NONCE_BYTES) == 0 && a->plane == b->plane &&
           a->index == b->index;
}

static struct cached_block *find(const struct shadow *shadow, const struct block_key *key)
{
    if (!shadow->n_buckets) return NULL;
    struct cached_block *block = shadow->buckets[bucket_of(shadow, key)];
    while (block && !same_key(&block->key, key))
        block = block->next;
    return block;
}

static bool grow(struct shadow *shadow)
{
    size_t old_n = shadow->n_buckets, n = old_n ? 2 * old_n : 256;
    struct cached_block **old = shadow->buckets;
    struct cached_block **buckets = sqlite3_malloc64(n * sizeof *buckets);
    if (!buckets) return false;
    memset(buckets, 0, n * sizeof *buckets);
    shadow->buckets = buckets;
    shadow->n_buckets = n;
    for (size_t i = 0; i < old_n; i++)
        for (struct cached_block *block = old[i], *next; block; block = next) {
            struct cached_block **to = &buckets[bucket_of(shadow, &block->key)];
            next = block->next;
            block->next = *to;
            *to = block;
        }
    sqlite3_free(old);
    return true;
}

static void free_block(struct shadow *shadow, struct cached_block *block)
{
    shadow->n_cached--;
    shadow->cached_bytes -= block->size;
    sqlite3_free(block->heap);
    sqlite3_free(block);
}

void vindex__shadow_sweep(struct shadow *shadow)
{
    for (size_t i = 0; i < shadow->n_buckets; i++)
        for (struct cached_block **link = &shadow->buckets[i]; *link;) {
            struct cached_block *block = *link;
            if (block->view >= shadow->build_view) {
                link = &block->next;
                continue;
            }
            *link = block->next;
            free_block(shadow, block);
        }
}

/* Value at 16 past a 64-byte boundary: header of 48 bytes, then entries at the next boundary. */
static vindex_status cache_value(struct shadow *shadow, const struct block_key *key,
                                 const void *value, size_t size, struct cached_block **result)
{
    struct cached_block *block = NULL;
    *result = NULL;
    if (shadow->n_cached >= shadow->n_buckets && !grow(shadow))
        return vindex__shadow_fail(shadow, SQLITE_NOMEM);
    block = sqlite3_malloc64(sizeof *block);
    if (block) block->heap = sqlite3_malloc64(size + 16 + 64);
    if (!block || !block->heap) {
        sqlite3_free(block);
        return vindex__shadow_fail(shadow, SQLITE_NOMEM);
    }
    block->key = *key;
    block->size = size;
    block->view = shadow->view;
    block->value = (unsigned char *)(((uintptr_t)block->heap + 63) / 64 * 64) + 16;
    memcpy(block->value, value, size);
    struct cached_block **to = &shadow->buckets[bucket_of(shadow, key)];
    block->next = *to;
    *to = block;
    shadow->n_cached++;
    shadow->cached_bytes += size;
    *result = block;
    return VINDEX_OK;
}

/* ---- the interface ------------------------------------------------------------------------------- */

static vindex_status bind_key(struct shadow *shadow, sqlite3_stmt *statement,
                              const struct block_key *key)
{
    int rc = sqlite3_bind_blob(statement, 1, key->nonce, NONCE_BYTES, SQLITE_STATIC);
    if (rc == SQLITE_OK) rc = sqlite3_bind_int(statement, 2, key->plane);
    if (rc == SQLITE_OK) rc = sqlite3_bind_int64(statement, 3, key->index);
    return rc == SQLITE_OK ? VINDEX_OK : vindex__shadow_fail(shadow, rc);
}

static vindex_status check_value(struct shadow *shadow, sqlite3_stmt *statement, const void **value,
                                 size_t *size)
{
    if (sqlite3_column_type(statement, 0) != SQLITE_BLOB)
        return vindex__shadow_corrupt(shadow, "a block is not a blob");
    *value = sqlite3_column_blob(statement, 0);
    *size = (size_t)sqlite3_column_bytes(statement, 0);
    if (!*value && *size) return vindex__shadow_fail(shadow, SQLITE_NOMEM);
    if (*size < BLOCK_HEADER_BYTES || *size > BLOCK_BYTES)
        return vindex__shadow_corrupt(shadow, "a block has the wrong length");
    if (vindex__crc32c(0, (const char *)*value + 8, *size - 8) !=
        load_le32((const char *)*value + 4))
        return vindex__shadow_corrupt(shadow, "the checksum of a block is wrong");
    return VINDEX_OK;
}

static vindex_status load(struct shadow *shadow, const struct block_key *key,
                          struct cached_block **block)
{
    sqlite3_stmt *statement = NULL;
    const void *value = NULL;
    size_t size = 0;
    vindex_status st = vindex__shadow_statement(
        shadow, BLOCK_GET,
        "SELECT v FROM \"%w\".\"%w_blocks%d\" WHERE nonce = ?1 AND plane = ?2 AND part = ?3",
        &statement);
    *block = NULL;
    if (st == VINDEX_OK) st = bind_key(shadow, statement, key);
    if (st != VINDEX_OK) return st;
    int rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW) {
        st = check_value(shadow, statement, &value, &size);
        if (st == VINDEX_OK) st = cache_value(shadow, key, value, size, block);
    } else if (rc != SQLITE_DONE) {
        st = vindex__shadow_fail(shadow, rc);
    }
    sqlite3_reset(statement);
    return st;
}

static vindex_status shadow_get(struct blocks *b, const struct block_key *key, struct bytes *value)
{
    struct shadow *shadow = of_blocks(b);
    struct cached_block *block = find(shadow, key);
    vindex_status st = VINDEX_OK;
    *value = bytes_of(NULL, 0);
    if (!block) st = load(shadow, key, &block);
    if (!block) return st;
    block->view = shadow->view;
    if (shadow->is_settled) shadow->build_view = shadow->view;
    *value = bytes_of(block->value, block->size);
    return VINDEX_OK;
}

static vindex_status run(struct shadow *shadow, sqlite3_stmt *statement)
{
    int rc = sqlite3_step(statement);
    vindex_status st = rc == SQLITE_DONE ? VINDEX_OK : vindex__shadow_fail(shadow, rc);
    sqlite3_reset(statement);
    return st;
}

static vindex_status shadow_put(struct blocks *b, const struct block_key *key, struct bytes value)
{
    struct shadow *shadow = of_blocks(b);
    sqlite3_stmt *statement = NULL;
    vindex_status st = vindex__shadow_statement(
        shadow, BLOCK_PUT,
        "INSERT INTO \"%w\".\"%w_blocks%d\"(nonce, plane, part, v) VALUES(?1, ?2, ?3, ?4)",
        &statement);
    if (st == VINDEX_OK) st = bind_key(shadow, statement, key);
    if (st != VINDEX_OK) return st;
    int rc = sqlite3_bind_blob64(statement, 4, value.data, value.size, SQLITE_STATIC);
    return rc == SQLITE_OK ? run(shadow, statement) : vindex__shadow_fail(shadow, rc);
}

static vindex_status shadow_del(struct blocks *b, const struct block_key *key)
{
    struct shadow *shadow = of_blocks(b);
    if (shadow->n_deleted == shadow->deleted_capacity) {
        size_t capacity = shadow->deleted_capacity ? 2 * shadow->deleted_capacity : 64;
        struct block_key *grown = sqlite3_realloc64(shadow->deleted, capacity * sizeof *grown);
        if (!grown) return vindex__shadow_fail(shadow, SQLITE_NOMEM);
        shadow->deleted = grown;
        shadow->deleted_capacity = capacity;
    }
    shadow->deleted[shadow->n_deleted++] = *key;
    return VINDEX_OK;
}

vindex_status vindex__shadow_delete_blocks(struct shadow *shadow)
{
    for (; shadow->n_deleted > 0; shadow->n_deleted--) {
        sqlite3_stmt *statement = NULL;
        vindex_status st = vindex__shadow_statement(
            shadow, BLOCK_DEL,
            "DELETE FROM \"%w\".\"%w_blocks%d\" WHERE nonce = ?1 AND plane = ?2 AND part = ?3",
            &statement);
        if (st == VINDEX_OK)
            st = bind_key(shadow, statement, &shadow->deleted[shadow->n_deleted - 1]);
        if (st == VINDEX_OK) st = run(shadow, statement);
        if (st != VINDEX_OK) return st;
    }
    return VINDEX_OK;
}

static vindex_status decode_key(struct shadow *shadow, sqlite3_stmt *statement,
                                struct block_key *key)
{
    const void *nonce = sqlite3_column_blob(statement, 0);
    sqlite3_int64 plane = sqlite3_column_int64(statement, 1);
    sqlite3_int64 index = sqlite3_column_int64(statement, 2);
    if (!nonce || sqlite3_column_bytes(statement, 0) != NONCE_BYTES || plane < 0 ||
        plane > UINT16_MAX || index < 0 || index > UINT32_MAX ||
        sqlite3_column_type(statement, 0) != SQLITE_BLOB ||
        sqlite3_column_type(statement, 1) != SQLITE_INTEGER ||
        sqlite3_column_type(statement, 2) != SQLITE_INTEGER)
        return vindex__shadow_corrupt(shadow, "a block has no proper name");
    memcpy(key->nonce, nonce, NONCE_BYTES);
    key->plane = (uint16_t)plane;
    key->index = (uint32_t)index;
    return VINDEX_OK;
}

static vindex_status shadow_next(struct blocks *b, struct block_key *key, bool *found)
{
    struct shadow *shadow = of_blocks(b);
    sqlite3_stmt *statement = NULL;
    *found = false;
    vindex_status st =
        vindex__shadow_statement(shadow, BLOCK_NEXT,
                                 "SELECT nonce, plane, part FROM \"%w\".\"%w_blocks%d\" WHERE "
                                 "(nonce, plane, part) > (?1, ?2, ?3) "
                                 "ORDER BY nonce, plane, part LIMIT 1",
                                 &statement);
    if (st == VINDEX_OK) st = bind_key(shadow, statement, key);
    if (st != VINDEX_OK) return st;
    int rc = sqlite3_step(statement);
    *found = rc == SQLITE_ROW;
    if (rc == SQLITE_ROW)
        st = decode_key(shadow, statement, key);
    else if (rc != SQLITE_DONE)
        st = vindex__shadow_fail(shadow, rc);
    sqlite3_reset(statement);
    return st;
}

static vindex_status shadow_sync(struct blocks *b)
{
    (void)b; /* SQLite syncs when it commits */
    return VINDEX_OK;
}

const struct blocks_ops vindex__shadow_blocks_ops = {
    .put = shadow_put,
    .get = shadow_get,
    .del = shadow_del,
    .next = shadow_next,
    .sync = shadow_sync,
};
