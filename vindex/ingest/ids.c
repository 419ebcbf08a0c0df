/*
 * ids.c - the map from ids to places, kept as disjoint runs: first id -> (segment, slot, count). A bulk load of
 * consecutive ids is one record a segment; single random ids are runs of one.
 *
 * Runs put by the transaction itself are also kept in `fresh`, without a trace of those deleted: a seek in the
 * catalog has to pass over every deleted run between an id and the run that took its place.
 *
 * A run is never shortened when rows are removed (the live bit says so); it is overwritten when its ids
 * are placed elsewhere, and deleted with its segment.
 */
#include "base/status.h"
#include "ingest/internal.h"

struct run {
    int64_t first;
    struct run_record to;
};

static int64_t run_last(const struct run *run)
{
    return run->first + (int64_t)(run->to.count - 1);
}

static vindex_status decode(int64_t first, struct bytes record, struct run *run)
{
    run->first = first;
    vindex_status st = vindex__run_decode(record, &run->to);
    if (st == VINDEX_OK && run->first > INT64_MAX - (int64_t)(run->to.count - 1))
        st = vindex__corrupt("a run of ids ends beyond the largest id");
    return st;
}

/* The nearest run in a direction; run->to.count 0: there is none. */
static vindex_status seek_run(struct ingest *in, enum catalog_seek how, int64_t id, struct run *run)
{
    unsigned char key[8];
    struct catalog_entry entry;
    store_id_key(key, id);
    run->to.count = 0;
    vindex_status st = catalog_seek(in->session->catalog, TABLE_IDS, how, bytes_of(key, 8), &entry);
    if (st != VINDEX_OK || !entry.value.data) return st;
    if (entry.key.size != 8) return vindex__corrupt("the key of a run of ids has %zu bytes", entry.key.size);
    return decode(load_id_key(entry.key.data), entry.value, run);
}

/* The run that begins at id; run->to.count 0: there is none. */
static vindex_status get_run(struct ingest *in, int64_t id, struct run *run)
{
    unsigned char key[8];
    struct catalog_entry entry;
    store_id_key(key, id);
    run->to.count = 0;
    vindex_status st = catalog_get(in->session->catalog, TABLE_IDS, bytes_of(key, 8), &entry);
    return st == VINDEX_OK && entry.value.data ? decode(id, entry.value, run) : st;
}

static vindex_status put_run(struct ingest *in, int64_t first, const struct run_record *to)
{
    unsigned char key[8], record[RECORD_RUN_BYTES];
    store_id_key(key, first);
    vindex__run_encode(to, record);
    vindex_status st = vindex__ordmap_put(in->fresh, bytes_of(key, 8), bytes_of(record, sizeof record), 0);
    return st != VINDEX_OK ? st : catalog_put(in->session->catalog, TABLE_IDS, bytes_of(key, 8),
                       bytes_of(record, sizeof record));
}

static vindex_status delete_run(struct ingest *in, int64_t first)
{
    unsigned char key[8];
    store_id_key(key, first);
    vindex__ordmap_delete(in->fresh, bytes_of(key, 8));
    return catalog_del(in->session->catalog, TABLE_IDS, bytes_of(key, 8));
}

/* The last fresh run that begins at or before id; run->to.count 0: there is none. */
static vindex_status fresh_run(struct ingest *in, int64_t id, struct run *run)
{
    unsigned char after[9]; /* the first key after id's */
    store_id_key(after, id);
    after[8] = 0;
    const struct ordmap_entry *entry = vindex__ordmap_before(in->fresh, bytes_of(after, sizeof after));
    run->to.count = 0;
    return entry ? decode(load_id_key(entry->key.data), entry->value, run) : VINDEX_OK;
}

/* The last run that begins before first, if it may reach first. Where a fresh run ends right before first, no
 * other can. */
static vindex_status run_before(struct ingest *in, int64_t first, struct run *run)
{
    vindex_status st = VINDEX_OK;
    run->to.count = 0;
    if (first == INT64_MIN) return VINDEX_OK;
    st = fresh_run(in, first - 1, run);
    if (st != VINDEX_OK || (run->to.count && run_last(run) >= first - 1)) return st;
    return seek_run(in, SEEK_LT, first, run);
}

/* What of `run` lies beyond `last` becomes a run of its own. */
static vindex_status keep_right_part(struct ingest *in, const struct run *run, int64_t last)
{
    if (run_last(run) <= last) return VINDEX_OK;
    uint32_t cut = (uint32_t)(last - run->first + 1);
    struct run_record right = {run->to.seq, run->to.slot + cut, run->to.count - cut};
    return put_run(in, last + 1, &right);
}

/* No run covers any id of [first, last] afterwards. */
static vindex_status erase_range(struct ingest *in, int64_t first, int64_t last)
{
    struct run run;
    vindex_status st = run_before(in, first, &run);
    if (st != VINDEX_OK) return st;
    if (run.to.count && run_last(&run) >= first) {
        struct run_record left = {run.to.seq, run.to.slot, (uint32_t)(first - run.first)};
        st = put_run(in, run.first, &left);
        if (st == VINDEX_OK) st = keep_right_part(in, &run, last);
        if (st != VINDEX_OK) return st;
    }
    /* On from the last one: seeking from the start would pass over all that was deleted before. */
    int64_t at = first;
    for (enum catalog_seek how = SEEK_GE;; how = SEEK_GT, at = run.first) {
        st = seek_run(in, how, at, &run);
        if (st != VINDEX_OK || !run.to.count || run.first > last) return st;
        st = delete_run(in, run.first);
        if (st == VINDEX_OK) st = keep_right_part(in, &run, last);
        if (st != VINDEX_OK) return st;
    }
}

vindex_status vindex__runs_find(struct ingest *in, int64_t id, uint64_t *seq, uint32_t *slot)
{
    struct run run;
    vindex_status st = fresh_run(in, id, &run);
    *seq = 0;
    if (st == VINDEX_OK && !(run.to.count && run_last(&run) >= id)) st = seek_run(in, SEEK_LE, id, &run);
    if (st == VINDEX_OK && run.to.count && run_last(&run) >= id) {
        *seq = run.to.seq;
        *slot = run.to.slot + (uint32_t)(id - run.first);
    }
    return st;
}

vindex_status vindex__runs_set(struct ingest *in, int64_t first, uint32_t count, uint64_t seq,
                               uint32_t slot)
{
    struct run_record to = {seq, slot, count};
    vindex_status st = erase_range(in, first, first + (int64_t)(count - 1));
    return st == VINDEX_OK ? put_run(in, first, &to) : st;
}

/* A run that names a segment begins at one of its ids: each is looked up, none is sought. */
vindex_status vindex__runs_drop(struct ingest *in, uint64_t seq, const unsigned char *ids, uint32_t n)
{
    struct run run = {0, {0, 0, 0}}; /* the last one found: most of its ids follow each other here */
    for (uint32_t i = 0; i < n; i++) {
        int64_t id = (int64_t)load_le64(ids + 8 * (size_t)i);
        if (run.to.count && run.first <= id && id <= run_last(&run)) continue;
        vindex_status st = get_run(in, id, &run);
        if (st == VINDEX_OK && run.to.count && run.to.seq == seq) st = delete_run(in, run.first);
        if (st != VINDEX_OK) return st;
    }
    return VINDEX_OK;
}

vindex_status vindex__runs_drop_between(struct ingest *in, vindex__seq_fn *is_gone, int64_t min_id,
                                        int64_t max_id)
{
    struct run run;
    enum catalog_seek how = SEEK_GE;
    for (int64_t at = min_id;; at = run.first, how = SEEK_GT) {
        vindex_status st = seek_run(in, how, at, &run);
        if (st != VINDEX_OK || !run.to.count || run.first > max_id) return st;
        if (is_gone(in, run.to.seq)) st = delete_run(in, run.first);
        if (st != VINDEX_OK) return st;
    }
}
