/*
 * check.c - verify that everything a view shows agrees with everything else. Findings are collected, not
 * stopped at: a damaged index tells all that is wrong with it.
 *
 * Completeness of the id map follows by counting: runs are disjoint, every slot a run names holds the id the run
 * says, and as many live slots are named as there are.
 */
#include "storage/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/status.h"

struct checked_segment {
    uint64_t seq;
    struct segment_record record;
    const unsigned char *ids; /* NULL: its ids plane is damaged */
    uint32_t n_named;         /* live slots named by runs */
};

struct walk {
    struct check *check;
    struct session *session;
    struct config config;
    struct state state;
    struct checked_segment *segments; /* ascending by seq */
    size_t n_segments, capacity;
    uint64_t n_live, n_tail;
    char first[512];
};

static void found(struct walk *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void found(struct walk *w, const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (w->check->n_findings++ == 0) memcpy(w->first, line, sizeof line);
    if (w->check->finding) w->check->finding(w->check->context, line);
}

/* A failure of the walk itself (memory, I/O) ends it; a corruption becomes a finding. */
static vindex_status absorb_corrupt(struct walk *w, vindex_status st, const char *what, uint64_t number)
{
    if (st != VINDEX_CORRUPT && st != VINDEX_UNSUPPORTED) return st;
    char detail[400];
    snprintf(detail, sizeof detail, "%s", vindex_message());
    found(w, "%s %llu: %s", what, (unsigned long long)number, detail);
    return VINDEX_OK;
}

/* ---- segments and their blocks ---------------------------------------------------------------- */

static vindex_status read_block(struct walk *w, const struct checked_segment *segment, enum plane plane,
                                uint32_t index, uint32_t first, uint32_t n,
                                const unsigned char **payload)
{
    struct block_key key = {.plane = (uint16_t)plane, .index = index};
    struct block_header header;
    struct bytes value;
    *payload = NULL;
    memcpy(key.nonce, segment->record.nonce, NONCE_BYTES);
    vindex_status st = blocks_get(w->session->blocks, &key, &value);
    if (st != VINDEX_OK) return st;
    if (!value.data) {
        found(w, "segment %llu: block %u of plane %d is missing", (unsigned long long)segment->seq,
              index, (int)plane);
        return VINDEX_OK;
    }
    st = vindex__block_decode(value, &w->config, true, &header);
    if (st != VINDEX_OK) return absorb_corrupt(w, st, "segment", segment->seq);
    if (header.plane != plane || header.first != first || header.n != n ||
        memcmp(header.nonce, segment->record.nonce, NONCE_BYTES) != 0)
        found(w, "segment %llu: block %u of plane %d belongs elsewhere",
              (unsigned long long)segment->seq, index, (int)plane);
    else
        *payload = (const unsigned char *)value.data + BLOCK_HEADER_BYTES;
    return VINDEX_OK;
}

static void check_ids(struct walk *w, const struct checked_segment *segment)
{
    const struct segment_record *record = &segment->record;
    int64_t min = INT64_MAX, max = INT64_MIN;
    bool ascend = true;
    for (uint32_t i = 0; i < record->n; i++) {
        int64_t id = (int64_t)load_le64(segment->ids + 8 * (size_t)i);
        if (i && id <= max) ascend = false;
        if (id < min) min = id;
        if (id > max) max = id;
    }
    if (min != record->min_id || max != record->max_id || min == VINDEX_ID_NONE)
        found(w, "segment %llu: its ids are not within what its record says",
              (unsigned long long)segment->seq);
    if (!ascend && (record->flags & SEGMENT_IDS_ASCEND))
        found(w, "segment %llu: its ids do not ascend", (unsigned long long)segment->seq);
}

/* Writers take an id from next_id on for a new one. */
static void check_given_out(struct walk *w, int64_t id)
{
    if (id >= w->state.next_id && id != INT64_MAX)
        found(w, "id %lld has a row, the state record says that no id from %lld on was given out",
              (long long)id, (long long)w->state.next_id);
}

static void check_norm_bounds(struct walk *w, const struct checked_segment *segment,
                              const unsigned char *norms)
{
    float lo = 0, hi = 0;
    for (uint32_t i = 0; i < segment->record.n; i++) {
        float norm = load_f32(norms + 4 * (size_t)i);
        if (norm > hi) hi = norm;
        if (norm > 0 && (lo == 0 || norm < lo)) lo = norm;
    }
    if (lo != segment->record.norm_lo || hi != segment->record.norm_hi)
        found(w, "segment %llu: its norms are not within what its record says",
              (unsigned long long)segment->seq);
}

static vindex_status check_rows(struct walk *w, const struct checked_segment *segment,
                                const unsigned char *norms)
{
    const struct segment_record *record = &segment->record;
    for (uint32_t first = 0, index = 0; first < record->n; first += record->rows_per_block, index++) {
        uint32_t left = record->n - first;
        uint32_t n = left < record->rows_per_block ? left : record->rows_per_block;
        const unsigned char *rows = NULL;
        vindex_status st = read_block(w, segment, PLANE_FULL, index, first, n, &rows);
        if (st != VINDEX_OK) return st;
        for (uint32_t i = 0; rows && norms && w->check->norm_is_right && i < n; i++) {
            float norm = load_f32(norms + 4 * (size_t)(first + i));
            if (w->check->norm_is_right(&w->config, rows + (size_t)i * record->stride, norm)) continue;
            found(w, "segment %llu: the norm of slot %u does not fit its row",
                  (unsigned long long)segment->seq, first + i);
            break;
        }
    }
    return VINDEX_OK;
}

static vindex_status check_segment(struct walk *w, struct checked_segment *segment)
{
    const unsigned char *norms = NULL;
    w->n_live += segment->record.n_live;
    check_given_out(w, segment->record.max_id);
    if (segment->seq == 0 || segment->seq >= w->state.next_seq)
        found(w, "segment %llu: its number was never given out", (unsigned long long)segment->seq);
    vindex_status st =
        read_block(w, segment, PLANE_IDS, 0, 0, segment->record.n, &segment->ids);
    if (st == VINDEX_OK && segment->ids) check_ids(w, segment);
    if (st == VINDEX_OK && w->config.type != VINDEX_BIT)
        st = read_block(w, segment, PLANE_NORM, 0, 0, segment->record.n, &norms);
    if (st == VINDEX_OK && norms) check_norm_bounds(w, segment, norms);
    if (st == VINDEX_OK) st = check_rows(w, segment, norms);
    return st;
}

static vindex_status check_segments(struct walk *w)
{
    unsigned char key[8] = {0};
    for (enum catalog_seek how = SEEK_GE;; how = SEEK_GT) {
        struct catalog_entry entry;
        vindex_status st =
            catalog_seek(w->session->catalog, TABLE_SEGMENTS, how, bytes_of(key, 8), &entry);
        if (st != VINDEX_OK || !entry.value.data) return st;
        if (entry.key.size != 8) return vindex__corrupt("a segment's key has %zu bytes", entry.key.size);
        memcpy(key, entry.key.data, 8);
        if (!vindex__grow((void **)&w->segments, &w->capacity, w->n_segments + 1, sizeof *w->segments))
            return vindex__nomem();
        struct checked_segment *segment = &w->segments[w->n_segments];
        memset(segment, 0, sizeof *segment);
        segment->seq = load_be64(key);
        st = vindex__segment_decode(entry.value, &w->config, &segment->record);
        if (st == VINDEX_OK) {
            w->n_segments++;
            st = check_segment(w, segment);
        } else {
            st = absorb_corrupt(w, st, "segment", load_be64(key));
        }
        if (st != VINDEX_OK) return st;
    }
}

static struct checked_segment *segment_of(struct walk *w, uint64_t seq)
{
    size_t low = 0, high = w->n_segments;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (w->segments[middle].seq < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low < w->n_segments && w->segments[low].seq == seq ? &w->segments[low] : NULL;
}

/* ---- runs of ids ------------------------------------------------------------------------------- */

static void check_run(struct walk *w, int64_t first, const struct run_record *run)
{
    struct checked_segment *segment = segment_of(w, run->seq);
    if (!segment || run->slot + run->count > segment->record.n) {
        found(w, "the run of ids from %lld names rows of segment %llu that do not exist",
              (long long)first, (unsigned long long)run->seq);
        return;
    }
    for (uint32_t i = 0; segment->ids && i < run->count; i++) {
        uint32_t slot = run->slot + i;
        if ((int64_t)load_le64(segment->ids + 8 * (size_t)slot) != first + (int64_t)i) {
            found(w, "the run of ids from %lld names slots of segment %llu with other ids",
                  (long long)first, (unsigned long long)run->seq);
            return;
        }
        if (bitmap_get(segment->record.live, slot)) segment->n_named++;
    }
}

static vindex_status check_runs(struct walk *w)
{
    unsigned char key[8] = {0};
    int64_t last = INT64_MIN;
    for (enum catalog_seek how = SEEK_GE;; how = SEEK_GT) {
        struct catalog_entry entry;
        struct run_record run;
        vindex_status st =
            catalog_seek(w->session->catalog, TABLE_IDS, how, bytes_of(key, 8), &entry);
        if (st != VINDEX_OK || !entry.value.data) return st;
        if (entry.key.size != 8) return vindex__corrupt("a run's key has %zu bytes", entry.key.size);
        memcpy(key, entry.key.data, 8);
        int64_t first = load_id_key(key);
        st = vindex__run_decode(entry.value, &run);
        if (st != VINDEX_OK) {
            st = absorb_corrupt(w, st, "run of ids from", (uint64_t)first);
            if (st != VINDEX_OK) return st;
            continue;
        }
        if ((how == SEEK_GT && first <= last) || first > INT64_MAX - (int64_t)(run.count - 1))
            found(w, "the run of ids from %lld overlaps its neighbour", (long long)first);
        else
            last = first + (int64_t)(run.count - 1);
        check_run(w, first, &run);
    }
}

static void check_named(struct walk *w)
{
    for (size_t i = 0; i < w->n_segments; i++) {
        const struct checked_segment *segment = &w->segments[i];
        if (segment->ids && segment->n_named != segment->record.n_live)
            found(w, "segment %llu: %u of its %u live rows are found by id",
                  (unsigned long long)segment->seq, segment->n_named, segment->record.n_live);
    }
}

/* ---- tail --------------------------------------------------------------------------------------- */

static vindex_status sealed_too(struct walk *w, int64_t id, bool *is_sealed)
{
    unsigned char key[8];
    struct catalog_entry entry;
    struct run_record run;
    store_id_key(key, id);
    *is_sealed = false;
    vindex_status st =
        catalog_seek(w->session->catalog, TABLE_IDS, SEEK_LE, bytes_of(key, 8), &entry);
    if (st != VINDEX_OK || !entry.value.data || entry.key.size != 8) return st;
    int64_t first = load_id_key(entry.key.data);
    if (vindex__run_decode(entry.value, &run) != VINDEX_OK) return VINDEX_OK; /* reported already */
    uint64_t distance = (uint64_t)id - (uint64_t)first;
    const struct checked_segment *segment = segment_of(w, run.seq);
    *is_sealed = distance < run.count && segment && run.slot + distance < segment->record.n &&
                 bitmap_get(segment->record.live, run.slot + (size_t)distance);
    return VINDEX_OK;
}

static vindex_status check_tail(struct walk *w)
{
    unsigned char key[8] = {0};
    for (enum catalog_seek how = SEEK_GE;; how = SEEK_GT) {
        struct catalog_entry entry;
        const void *row;
        float norm;
        bool is_sealed;
        vindex_status st =
            catalog_seek(w->session->catalog, TABLE_TAIL, how, bytes_of(key, 8), &entry);
        if (st != VINDEX_OK || !entry.value.data) return st;
        if (entry.key.size != 8) return vindex__corrupt("a tail key has %zu bytes", entry.key.size);
        memcpy(key, entry.key.data, 8);
        int64_t id = load_id_key(key);
        w->n_tail++;
        check_given_out(w, id);
        st = vindex__tail_decode(entry.value, &w->config, &norm, &row);
        if (st == VINDEX_OK && w->check->norm_is_right &&
            !w->check->norm_is_right(&w->config, row, norm))
            found(w, "tail row %lld: its norm does not fit", (long long)id);
        if (st != VINDEX_OK) st = absorb_corrupt(w, st, "tail row", (uint64_t)id);
        if (st == VINDEX_OK) st = sealed_too(w, id, &is_sealed);
        if (st != VINDEX_OK) return st;
        if (is_sealed) found(w, "id %lld has a row in the tail and one in a segment", (long long)id);
    }
}

/* ---- blocks nobody names ------------------------------------------------------------------------- */

struct nonce_of {
    unsigned char nonce[NONCE_BYTES];
    const struct segment_record *record;
};

static int compare_nonces(const void *a, const void *b)
{
    return memcmp(a, b, NONCE_BYTES);
}

static bool is_named(const struct nonce_of *nonces, size_t n, const struct config *config,
                     const struct block_key *key)
{
    const struct nonce_of *of = n ? bsearch(key->nonce, nonces, n, sizeof *nonces, compare_nonces) : NULL;
    if (!of) return false;
    uint32_t n_full = (of->record->n + of->record->rows_per_block - 1) / of->record->rows_per_block;
    return key->plane == PLANE_FULL ? key->index < n_full
                                    : key->index == 0 &&
                                          (key->plane == PLANE_IDS ||
                                           (key->plane == PLANE_NORM && config->type != VINDEX_BIT));
}

static vindex_status check_orphans(struct walk *w)
{
    struct block_key key = {.plane = 0};
    struct nonce_of *nonces = vindex__calloc(w->n_segments, sizeof *nonces);
    uint64_t n_orphans = 0;
    vindex_status st = nonces ? VINDEX_OK : vindex__nomem();
    for (size_t i = 0; i < w->n_segments && st == VINDEX_OK; i++) {
        memcpy(nonces[i].nonce, w->segments[i].record.nonce, NONCE_BYTES);
        nonces[i].record = &w->segments[i].record;
    }
    if (st == VINDEX_OK && w->n_segments)
        qsort(nonces, w->n_segments, sizeof *nonces, compare_nonces);
    for (bool more = true; st == VINDEX_OK;) {
        st = blocks_next(w->session->blocks, &key, &more);
        if (st != VINDEX_OK || !more) break;
        if (!is_named(nonces, w->n_segments, &w->config, &key)) n_orphans++;
    }
    if (st == VINDEX_OK && n_orphans && !(w->state.flags & STATE_EARLY_BLOCKS))
        found(w, "%llu blocks belong to no segment", (unsigned long long)n_orphans);
    vindex__free(nonces);
    return st;
}

/* ---- the walk ------------------------------------------------------------------------------------ */

static void check_counts(struct walk *w)
{
    if (w->n_tail != w->state.n_tail)
        found(w, "the tail holds %llu rows, %llu were counted", (unsigned long long)w->n_tail,
              (unsigned long long)w->state.n_tail);
    if (w->n_live + w->n_tail != w->state.n_rows)
        found(w, "%llu rows are live, %llu were counted", (unsigned long long)(w->n_live + w->n_tail),
              (unsigned long long)w->state.n_rows);
}

vindex_status vindex__check_store(struct store *store, struct session *session, struct check *check)
{
    struct walk walk = {.check = check, .session = session};
    uint64_t stamp;
    vindex_status st = vindex__store_check_fork(store);
    if (st != VINDEX_OK) return st;
    st = catalog_refresh(session->catalog, &stamp);
    if (st == VINDEX_OK) st = vindex__read_head(session->catalog, &walk.config, &walk.state);
    if (st == VINDEX_OK) st = check_segments(&walk);
    if (st == VINDEX_OK) st = check_runs(&walk);
    if (st == VINDEX_OK) check_named(&walk);
    if (st == VINDEX_OK) st = check_tail(&walk);
    if (st == VINDEX_OK) st = check_orphans(&walk);
    if (st == VINDEX_OK) check_counts(&walk);
    catalog_release(session->catalog);
    vindex__free(walk.segments);
    if (st == VINDEX_OK && check->n_findings)
        st = vindex__corrupt("%s%s", walk.first, check->n_findings > 1 ? " (and more)" : "");
    return st;
}
