/*
 * writer.c - the write transaction: where an id is, what insert and remove do about it, and commit. Reads as
 * the table of contents of ingest/.
 */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/random.h"
#include "base/status.h"
#include "base/threads.h"
#include "ingest/internal.h"
#include "kernels/kernels.h"

/* ---- begin, free, view ---------------------------------------------------------------------- */

static vindex_status read_base(struct ingest *in)
{
    vindex_status st = vindex__read_head(in->session->catalog, &in->config, &in->state);
    in->base_next_seq = in->state.next_seq;
    if (st == VINDEX_OK) st = vindex__nonce(&in->mark, sizeof in->mark);
    return st;
}

vindex_status vindex__ingest_enter(struct ingest *in)
{
    uint64_t stamp;
    if (in->failed != VINDEX_OK)
        return vindex__fail(VINDEX_MISUSE,
                            "this writer failed before (%s): only abort is left",
                            vindex_status_text(in->failed));
    vindex_status st = catalog_refresh(in->session->catalog, &stamp);
    if (st != VINDEX_OK) catalog_release(in->session->catalog);
    return st;
}

vindex_status vindex__ingest_leave(struct ingest *in, vindex_status st)
{
    catalog_release(in->session->catalog);
    return ingest_fail(in, st);
}

vindex_status vindex__ingest_begin(struct session *session, struct ingest **out)
{
    struct ingest *in = vindex__calloc(1, sizeof *in);
    *out = NULL;
    if (!in) return vindex__nomem();
    in->session = session;
    in->began_ns = vindex__now_ns();
    vindex_status st = vindex__ingest_enter(in);
    if (st != VINDEX_OK) goto out;
    st = read_base(in);
    if (st == VINDEX_OK) st = vindex__ordmap_new(&in->fresh);
    if (st == VINDEX_OK) st = vindex__buffer_init(&in->buffer, &in->config);
    if (st == VINDEX_OK) {
        in->scratch = vindex__alloc_aligned(1, INGEST_SCRATCH_BYTES);
        in->order = vindex__calloc(in->buffer.capacity, sizeof *in->order);
        if (!in->scratch || !in->order) st = vindex__nomem();
    }
    if (st == VINDEX_OK && (in->state.flags & STATE_EARLY_BLOCKS)) st = vindex__collect_orphans(in);
    st = vindex__ingest_leave(in, st);
out:
    if (st != VINDEX_OK) {
        vindex__ingest_free(in);
        in = NULL;
    }
    *out = in;
    return st;
}

void vindex__ingest_free(struct ingest *in)
{
    if (!in) return;
    vindex__buffer_deinit(&in->buffer);
    vindex__segments_forget(in);
    vindex__coder_forget(in);
    vindex__free_aligned(in->scratch);
    vindex__free(in->order);
    vindex__free(in->touched);
    vindex__ordmap_free(in->fresh);
    vindex__free(in);
}

/* ---- where an id is --------------------------------------------------------------------------- */

enum place_kind { NOWHERE, IN_BUFFER, IN_TAIL, IN_SEGMENT };
struct place {
    enum place_kind kind;
    uint32_t index; /* in the buffer */
    uint64_t seq;
    uint32_t slot;
};

/* Nothing was ever inserted from next_id on; it saturates at the largest id. */
static bool is_new_id(const struct ingest *in, int64_t id)
{
    return id >= in->state.next_id && id != INT64_MAX;
}

static vindex_status find_in_tail(struct ingest *in, int64_t id, struct place *place)
{
    unsigned char key[8];
    struct catalog_entry entry;
    if (in->state.n_tail == 0) return VINDEX_OK;
    store_id_key(key, id);
    vindex_status st = catalog_get(in->session->catalog, TABLE_TAIL, bytes_of(key, 8), &entry);
    if (st == VINDEX_OK && entry.value.data) place->kind = IN_TAIL;
    return st;
}

static vindex_status find_in_segments(struct ingest *in, int64_t id, struct place *place)
{
    const struct segment_record *record = NULL;
    vindex_status st = vindex__runs_find(in, id, &place->seq, &place->slot);
    if (st != VINDEX_OK || place->seq == 0) return st;
    st = vindex__segments_get(in, place->seq, &record);
    if (st != VINDEX_OK || !record) return st;
    if (place->slot >= record->n)
        return vindex__corrupt("a run of ids names slot %u of a segment of %u rows", place->slot,
                               record->n);
    if (bitmap_get(record->live, place->slot)) place->kind = IN_SEGMENT;
    return VINDEX_OK;
}

static vindex_status find(struct ingest *in, int64_t id, struct place *place)
{
    *place = (struct place){.kind = NOWHERE};
    if (is_new_id(in, id)) return VINDEX_OK;
    place->index = vindex__buffer_find(&in->buffer, id);
    if (place->index != UINT32_MAX) {
        place->kind = IN_BUFFER;
        return VINDEX_OK;
    }
    vindex_status st = find_in_tail(in, id, place);
    if (st == VINDEX_OK && place->kind == NOWHERE) st = find_in_segments(in, id, place);
    return st;
}

/* Without rows: those to come may be of another kind than those trained on and asked for. */
static vindex_status forget_derived(struct ingest *in)
{
    vindex_status st = vindex__model_drop(in);
    return st == VINDEX_OK ? vindex__audits_drop(in) : st;
}

static vindex_status remove_at(struct ingest *in, int64_t id, const struct place *place)
{
    unsigned char key[8];
    vindex_status st = VINDEX_OK;
    switch (place->kind) {
    case NOWHERE: return VINDEX_OK;
    case IN_BUFFER: vindex__buffer_take_out(&in->buffer, place->index); break;
    case IN_TAIL:
        store_id_key(key, id);
        st = catalog_del(in->session->catalog, TABLE_TAIL, bytes_of(key, 8));
        if (st == VINDEX_OK) in->state.n_tail--;
        vindex__touch(in, id);
        break;
    case IN_SEGMENT: st = vindex__segments_clear(in, place->seq, place->slot); break;
    }
    if (st == VINDEX_OK && --in->state.n_rows == 0) st = forget_derived(in);
    return st;
}

#define TOUCHED_MAX 1024 /* more, and reading the whole tail again is as fast */

void vindex__touch(struct ingest *in, int64_t id)
{
    if (in->touched_all || in->n_touched == TOUCHED_MAX ||
        !vindex__grow((void **)&in->touched, &in->touched_capacity, in->n_touched + 1,
                      sizeof *in->touched))
        in->touched_all = true; /* a hint that cannot be kept is done without */
    else
        in->touched[in->n_touched++] = id;
}

bool vindex__ingest_tail_changes(const struct ingest *in, uint64_t *from, uint64_t *to,
                                 const int64_t **ids, size_t *n)
{
    *from = in->state.mark;
    *to = in->mark;
    *ids = in->touched;
    *n = in->n_touched;
    return in->flushed && !in->touched_all;
}

/* ---- insert ------------------------------------------------------------------------------------ */

static int compare_ids(const void *a, const void *b)
{
    int64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

static vindex_status refuse_repeated(const int64_t *ids, size_t n)
{
    bool ascending = true;
    for (size_t i = 1; i < n && ascending; i++)
        ascending = ids[i - 1] < ids[i];
    if (ascending) return VINDEX_OK;

    int64_t *sorted = vindex__calloc(n, sizeof *sorted);
    if (!sorted) return vindex__nomem();
    memcpy(sorted, ids, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, compare_ids);
    vindex_status st = VINDEX_OK;
    for (size_t i = 1; i < n && st == VINDEX_OK; i++)
        if (sorted[i] == sorted[i - 1])
            st = vindex__fail(VINDEX_EXISTS,
                              "id %lld appears twice in one insert; use VINDEX_UPSERT or VINDEX_IGNORE",
                              (long long)sorted[i]);
    vindex__free(sorted);
    return st;
}

static vindex_status refuse_existing(struct ingest *in, const int64_t *ids, size_t n)
{
    struct place place;
    vindex_status st = VINDEX_OK;
    for (size_t i = 0; i < n && st == VINDEX_OK; i++) {
        st = find(in, ids[i], &place);
        if (st == VINDEX_OK && place.kind != NOWHERE)
            st = vindex__fail(VINDEX_EXISTS,
                              "id %lld has a row already; use VINDEX_UPSERT to replace it",
                              (long long)ids[i]);
    }
    return st;
}

vindex_status vindex__ingest_may_insert(struct ingest *in, const int64_t *ids, size_t n, uint32_t flags)
{
    if (!ids) {
        if (n <= (uint64_t)(INT64_MAX - in->state.next_id)) return VINDEX_OK;
        return vindex__fail(VINDEX_INVALID,
                            "no %zu consecutive ids are left after %lld: give the ids yourself", n,
                            (long long)in->state.next_id);
    }
    for (size_t i = 0; i < n; i++)
        if (ids[i] == VINDEX_ID_NONE)
            return vindex__fail(VINDEX_INVALID,
                                "the id of row %zu is %lld, which stands for no row", i,
                                (long long)ids[i]);
    if (flags & (VINDEX_UPSERT | VINDEX_IGNORE)) return VINDEX_OK;
    vindex_status st = refuse_repeated(ids, n);
    if (st == VINDEX_OK) st = vindex__ingest_enter(in);
    if (st == VINDEX_OK) st = vindex__ingest_leave(in, refuse_existing(in, ids, n));
    return st;
}

float vindex__row_norm(const struct config *config, const void *row)
{
    if (config->type == VINDEX_BIT) return 0;
    double norm = sqrt(vkern_get()->sumsq[config->type](row, config->dim));
    if (norm >= (double)FLT_MAX) return FLT_MAX;
    float rounded = (float)norm;
    return norm > 0 && rounded == 0 ? 0x1p-149f : rounded;
}

static vindex_status insert_row(struct ingest *in, int64_t id, const void *row, uint32_t flags)
{
    struct place place;
    vindex_status st = find(in, id, &place);
    if (st != VINDEX_OK || (place.kind != NOWHERE && (flags & VINDEX_IGNORE))) return st;
    float norm = vindex__row_norm(&in->config, row);
    if (place.kind == IN_BUFFER) {
        vindex__buffer_replace(&in->buffer, place.index, row, norm);
        return VINDEX_OK;
    }
    st = remove_at(in, id, &place);
    if (st == VINDEX_OK && buffer_is_full(&in->buffer)) st = vindex__seal_buffer(in);
    if (st == VINDEX_OK) st = vindex__buffer_add(&in->buffer, id, row, norm);
    if (st != VINDEX_OK) return st;
    in->state.n_rows++;
    if (id >= in->state.next_id) in->state.next_id = id == INT64_MAX ? id : id + 1;
    return VINDEX_OK;
}

/* A view keeps the file's map from growing: a large insert takes a new one each time it has brought this much. */
#define VIEW_BYTES (16u << 20)

vindex_status vindex__ingest_insert(struct ingest *in, const int64_t *ids, const void *rows,
                                    size_t stride, size_t n, uint32_t flags)
{
    vindex_status st = vindex__ingest_enter(in);
    if (st != VINDEX_OK) return st;
    in->flushed = false;
    if (n) in->changed = true;
    int64_t first = in->state.next_id;
    size_t piece = VIEW_BYTES / in->buffer.row_bytes + 1;
    for (size_t i = 0; i < n && st == VINDEX_OK; i++) {
        if (i && i % piece == 0) {
            vindex__ingest_leave(in, VINDEX_OK);
            st = vindex__ingest_enter(in);
            if (st != VINDEX_OK) return ingest_fail(in, st);
        }
        st = insert_row(in, ids ? ids[i] : first + (int64_t)i, (const char *)rows + i * stride, flags);
    }
    return vindex__ingest_leave(in, st);
}

/* ---- remove ------------------------------------------------------------------------------------ */

vindex_status vindex__ingest_remove(struct ingest *in, const int64_t *ids, size_t n, size_t *n_removed)
{
    size_t removed = 0;
    vindex_status st = vindex__ingest_enter(in);
    if (st != VINDEX_OK) return st;
    in->flushed = false;
    for (size_t i = 0; i < n && st == VINDEX_OK; i++) {
        struct place place;
        st = find(in, ids[i], &place);
        if (st != VINDEX_OK || place.kind == NOWHERE) continue;
        st = remove_at(in, ids[i], &place);
        in->changed = true;
        removed++;
    }
    if (n_removed) *n_removed = removed;
    return vindex__ingest_leave(in, st);
}

/* Every key of a table, from the first on. */
static vindex_status delete_table(struct ingest *in, enum catalog_table table)
{
    unsigned char key[CATALOG_KEY_MAX] = {0};
    size_t size = 0;
    for (enum catalog_seek how = SEEK_GE;; how = SEEK_GT) {
        struct catalog_entry entry;
        vindex_status st =
            catalog_seek(in->session->catalog, table, how, bytes_of(key, size), &entry);
        if (st != VINDEX_OK || !entry.value.data) return st;
        if (entry.key.size > sizeof key) return vindex__corrupt("a catalog key is too long");
        size = entry.key.size;
        memcpy(key, entry.key.data, size);
        st = catalog_del(in->session->catalog, table, bytes_of(key, size));
        if (st != VINDEX_OK) return st;
    }
}

static vindex_status drop_all_segments(struct ingest *in)
{
    struct catalog_walk at = {.catalog = in->session->catalog, .table = TABLE_SEGMENTS};
    for (;;) {
        vindex_status st = vindex__walk_next(&at);
        if (st != VINDEX_OK || !at.value.data) return st;
        st = vindex__segments_drop(in, load_be64(at.key));
        if (st != VINDEX_OK) return st;
    }
}

vindex_status vindex__ingest_remove_all(struct ingest *in)
{
    vindex_status st = vindex__ingest_enter(in);
    if (st != VINDEX_OK) return st;
    in->changed = true;
    in->flushed = false;
    vindex__buffer_clear(&in->buffer);
    st = drop_all_segments(in);
    in->gone_below = in->state.next_seq;
    if (st == VINDEX_OK) st = delete_table(in, TABLE_TAIL);
    if (st == VINDEX_OK) st = forget_derived(in);
    in->state.n_rows = in->state.n_tail = 0;
    in->touched_all = true;
    return vindex__ingest_leave(in, st);
}

/* ---- ask --------------------------------------------------------------------------------------- */

vindex_status vindex__ingest_exists(struct ingest *in, int64_t id, bool *exists)
{
    struct place place = {.kind = NOWHERE};
    vindex_status st = vindex__ingest_enter(in);
    if (st != VINDEX_OK) return st;
    st = vindex__ingest_leave(in, find(in, id, &place));
    *exists = place.kind != NOWHERE;
    return st;
}

int64_t vindex__ingest_next_id(const struct ingest *in)
{
    return in->state.next_id;
}

/* ---- commit ------------------------------------------------------------------------------------ */

/* Fresh rows that are worth a segment. */
static uint32_t due_rows(const struct ingest *in)
{
    uint64_t by_bytes = (in->config.seal_bytes + in->buffer.row_bytes - 1) / in->buffer.row_bytes;
    uint64_t rows = in->config.seal_rows < by_bytes ? in->config.seal_rows : by_bytes;
    return (uint32_t)(rows < in->buffer.capacity ? rows : in->buffer.capacity);
}

static vindex_status put_state(struct ingest *in)
{
    unsigned char record[RECORD_STATE_BYTES];
    struct state state = in->state;
    state.epoch++;
    state.mark = in->mark;
    /* Orphans were collected at begin; what this transaction flushed is now named. */
    state.flags = in->has_orphans ? STATE_EARLY_BLOCKS : 0;
    vindex__state_encode(&state, record);
    return catalog_put(in->session->catalog, TABLE_CONFIG, bytes_of("state", 5),
                       bytes_of(record, sizeof record));
}

static bool tail_is_full(const struct ingest *in, uint32_t due)
{
    return in->state.n_tail + buffer_live(&in->buffer) >= due;
}

/*
 * A transaction that brings this much is a load, not a trickle: its rows go straight into segments. As tail records
 * they would be written twice, and rows above 2 KiB would each take whole pages.
 */
#define LARGE_INSERT_BYTES (1u << 20)

static bool is_large_insert(const struct ingest *in)
{
    return (uint64_t)buffer_live(&in->buffer) * in->buffer.row_bytes >= LARGE_INSERT_BYTES;
}

/* Everything buffered goes into the catalog's private changes. */
static vindex_status flush(struct ingest *in)
{
    vindex_status st = vindex__maintain_within_commit(in);
    uint32_t due = due_rows(in);
    if (st == VINDEX_OK)
        st = is_large_insert(in)    ? vindex__seal_tail(in, 1)
             : tail_is_full(in, due) ? vindex__seal_tail(in, (due + 1) / 2) /* half is worth a segment */
                                     : vindex__buffer_to_tail(in);
    if (st == VINDEX_OK) st = vindex__segments_flush(in);
    if (st == VINDEX_OK) st = put_state(in);
    in->flushed = st == VINDEX_OK;
    return st;
}

vindex_status vindex__ingest_commit(struct ingest *in)
{
    if (in->failed == VINDEX_OK && !in->changed) return VINDEX_OK;
    if (!in->flushed) {
        vindex_status st = vindex__ingest_enter(in);
        if (st == VINDEX_OK) st = vindex__ingest_leave(in, flush(in));
        if (st != VINDEX_OK) return st;
    }
    return catalog_commit(in->session->catalog);
}
