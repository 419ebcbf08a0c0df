/*
 * blocks_lmdb.c - blocks in an LMDB file. What is put waits in memory; beyond PENDING_BYTES_MAX it goes
 * out at once, in a transaction of its own that also marks the state record: until the catalog names
 * these blocks they are garbage, and the next writer must look for them (FORMAT.md 5).
 */
#include "base/status.h"
#include "storage/overlay.h"
#include "storage/record.h"
#include "storage/session_lmdb.h"

enum { BLOCK_TABLE = 0x42, BLOCK_KEY_BYTES = 1 + NONCE_BYTES + 2 + 4 };

static struct lmdb_session *of_blocks(struct blocks *b)
{
    return (struct lmdb_session *)(void *)((char *)b - offsetof(struct lmdb_session, blocks));
}

static struct bytes encode_key(const struct block_key *key, unsigned char out[BLOCK_KEY_BYTES])
{
    out[0] = BLOCK_TABLE;
    memcpy(out + 1, key->nonce, NONCE_BYTES);
    out[17] = (unsigned char)(key->plane >> 8);
    out[18] = (unsigned char)key->plane;
    store_be32(out + 19, key->index);
    return bytes_of(out, BLOCK_KEY_BYTES);
}

static vindex_status decode_key(const MDB_val *raw, struct block_key *key)
{
    const unsigned char *k = raw->mv_data;
    if (raw->mv_size != BLOCK_KEY_BYTES)
        return vindex__corrupt("a block's key has %zu bytes", raw->mv_size);
    memcpy(key->nonce, k + 1, NONCE_BYTES);
    key->plane = (uint16_t)(k[17] << 8 | k[18]);
    key->index = load_be32(k + 19);
    return VINDEX_OK;
}

static MDB_val val_of(struct bytes b)
{
    MDB_val val = {b.size, (void *)(uintptr_t)b.data};
    return val;
}

/* ---- into a transaction ------------------------------------------------------------------ */

static int apply_puts(const struct ordmap *puts, MDB_txn *txn)
{
    const struct ordmap_entry *e = vindex__ordmap_seek(puts, bytes_of(NULL, 0), false);
    int rc = 0;

    for (; e && rc == 0; e = vindex__ordmap_next(e)) {
        MDB_val key = val_of(e->key), value = val_of(e->value);
        rc = mdb_put(txn, ENV_DBI, &key, &value, MDB_NOOVERWRITE);
    }
    return rc;
}

int vindex__lmdb_apply_blocks(const struct lmdb_session *s, MDB_txn *txn)
{
    const struct ordmap_entry *e = vindex__ordmap_seek(s->dels, bytes_of(NULL, 0), false);
    int rc = apply_puts(s->puts, txn);

    for (; e && rc == 0; e = vindex__ordmap_next(e)) {
        MDB_val key = val_of(e->key);
        rc = mdb_del(txn, ENV_DBI, &key, NULL);
        if (rc == MDB_NOTFOUND) rc = 0;
    }
    return rc;
}

/* Nothing else in the record changes, the epoch neither: the catalog is as it was. */
static vindex_status mark_state(MDB_txn *txn, int *rc)
{
    struct whole_key whole = vindex__whole_key(TABLE_CONFIG, bytes_of("state", 5));
    MDB_val key = {whole.size, whole.bytes}, value = {0, NULL};
    unsigned char record[RECORD_STATE_BYTES];
    struct state state;
    vindex_status st;

    *rc = mdb_get(txn, ENV_DBI, &key, &value);
    if (*rc == MDB_NOTFOUND) {
        *rc = 0;
        return vindex__corrupt("there is no state record");
    }
    if (*rc) return VINDEX_OK;
    st = vindex__state_decode(bytes_of(value.mv_data, value.mv_size), &state);
    if (st != VINDEX_OK || state.flags & STATE_EARLY_BLOCKS) return st;
    state.flags |= STATE_EARLY_BLOCKS;
    vindex__state_encode(&state, record);
    value.mv_data = record;
    value.mv_size = sizeof record;
    *rc = mdb_put(txn, ENV_DBI, &key, &value, 0);
    return VINDEX_OK;
}

static vindex_status apply_early(void *context, MDB_txn *txn, int *rc)
{
    const struct lmdb_session *s = context;

    *rc = apply_puts(s->puts, txn);
    return *rc ? VINDEX_OK : mark_state(txn, rc);
}

/* With a view open the map must stay: the caller may hold pointers into it. Then what does not fit waits
   for the commit. */
static vindex_status flush(struct lmdb_session *s)
{
    bool is_done = true;
    vindex_status st;

    if (vindex__ordmap_count(s->puts) == 0) return VINDEX_OK;
    if (s->view.is_open)
        st = vindex__env_write_in_place(s->env, apply_early, s, &is_done);
    else
        st = vindex__env_write(s->env, NULL, apply_early, s);
    if (st == VINDEX_OK && is_done) vindex__ordmap_clear(s->puts);
    return st;
}

/* ---- the interface ----------------------------------------------------------------------- */

/* When an early write fails the put has not happened; what was put before still waits. */
static vindex_status lmdb_put(struct blocks *b, const struct block_key *key, struct bytes value)
{
    struct lmdb_session *s = of_blocks(b);
    unsigned char raw[BLOCK_KEY_BYTES];
    struct bytes whole = encode_key(key, raw);
    vindex_status st = vindex__lmdb_check_writer(s);

    if (st != VINDEX_OK) return st;
    if (value.size > BLOCK_BYTES)
        return vindex__fail(VINDEX_INTERNAL, "a block of %zu bytes is too long", value.size);
    if (vindex__ordmap_get(s->puts, whole))
        return vindex__fail(VINDEX_INTERNAL, "a block was put twice");
    st = vindex__ordmap_put(s->puts, whole, value, 0);
    if (st == VINDEX_OK) vindex__ordmap_delete(s->dels, whole); /* put, deleted, and put again */
    if (st != VINDEX_OK || vindex__ordmap_bytes(s->puts) < PENDING_BYTES_MAX) return st;
    st = flush(s);
    if (st != VINDEX_OK) vindex__ordmap_delete(s->puts, whole);
    return st;
}

static vindex_status lmdb_get(struct blocks *b, const struct block_key *key, struct bytes *value)
{
    struct lmdb_session *s = of_blocks(b);
    unsigned char raw[BLOCK_KEY_BYTES];
    MDB_val want = val_of(encode_key(key, raw)), got;
    vindex_status st = vindex__lmdb_check_view(s);
    int rc;

    *value = bytes_of(NULL, 0);
    if (st != VINDEX_OK) return st;
    rc = mdb_get(s->view.txn, ENV_DBI, &want, &got);
    if (rc == MDB_NOTFOUND) return VINDEX_OK;
    if (rc) return vindex__env_fail(s->env, rc, "reading");
    *value = bytes_of(got.mv_data, got.mv_size);
    return VINDEX_OK;
}

static vindex_status lmdb_del(struct blocks *b, const struct block_key *key)
{
    struct lmdb_session *s = of_blocks(b);
    unsigned char raw[BLOCK_KEY_BYTES];
    struct bytes whole = encode_key(key, raw);
    vindex_status st = vindex__lmdb_check_writer(s);

    if (st == VINDEX_OK) st = vindex__ordmap_put(s->dels, whole, bytes_of(NULL, 0), 0);
    if (st == VINDEX_OK)
        vindex__ordmap_delete(s->puts, whole); /* may also be in the file already */
    return st;
}

static vindex_status lmdb_next(struct blocks *b, struct block_key *key, bool *found)
{
    struct lmdb_session *s = of_blocks(b);
    unsigned char raw[BLOCK_KEY_BYTES];
    struct bytes whole = encode_key(key, raw);
    MDB_val at = val_of(whole), value;
    vindex_status st = vindex__lmdb_check_view(s);
    int rc;

    *found = false;
    if (st != VINDEX_OK) return st;
    rc = mdb_cursor_get(s->view.cursor, &at, &value, MDB_SET_RANGE);
    if (rc == 0 && bytes_compare(bytes_of(at.mv_data, at.mv_size), whole) == 0)
        rc = mdb_cursor_get(s->view.cursor, &at, &value, MDB_NEXT);
    if (rc == MDB_NOTFOUND || (rc == 0 && *(unsigned char *)at.mv_data != BLOCK_TABLE))
        return VINDEX_OK;
    if (rc) return vindex__env_fail(s->env, rc, "reading");
    st = decode_key(&at, key);
    *found = st == VINDEX_OK;
    return st;
}

static vindex_status lmdb_sync(struct blocks *b)
{
    struct lmdb_session *s = of_blocks(b);
    vindex_status st = vindex__lmdb_check_writer(s);

    if (st == VINDEX_OK) st = flush(s);
    if (st == VINDEX_OK && vindex__ordmap_count(s->puts) > 0)
        st = vindex__fail(VINDEX_BUSY, "the map must grow first: release the session's view");
    return st;
}

const struct blocks_ops vindex__lmdb_blocks_ops = {
    .put = lmdb_put,
    .get = lmdb_get,
    .del = lmdb_del,
    .next = lmdb_next,
    .sync = lmdb_sync,
};
