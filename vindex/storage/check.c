/*
 * check.c - verify that everything a view shows agrees with everything else. Findings are collected, not
 * stopped at: a damaged index tells all that is wrong with it.
 *
 * Completeness of the id map follows by counting: runs are disjoint, every slot a run names holds the id the run
 * says, and as many live slots are named as there are.
 */
#include "storage/check_walk.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/status.h"

void vindex__check_found(struct walk *w, const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (w->check->n_findings++ == 0) memcpy(w->first, line, sizeof line);
    if (w->check->finding) w->check->finding(w->check->context, line);
}

vindex_status vindex__check_absorb(struct walk *w, vindex_status st, const char *what, uint64_t number)
{
    if (st != VINDEX_CORRUPT && st != VINDEX_UNSUPPORTED) return st;
    char detail[400];
    snprintf(detail, sizeof detail, "%s", vindex_message());
    vindex__check_found(w, "%s %llu: %s", what, (unsigned long long)number, detail);
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
        vindex__check_found(w, "segment %llu: block %u of plane %d is missing", (unsigned long long)segment->seq,
              index, (int)plane);
        return VINDEX_OK;
    }
    st = vindex__block_decode(value, &w->config, true, &header);
    if (st != VINDEX_OK) return vindex__check_absorb(w, st, "segment", segment->seq);
    if (header.plane != plane || header.first != first || header.n != n ||
        memcmp(header.nonce, segment->record.nonce, NONCE_BYTES) != 0)
        vindex__check_found(w, "segment %llu: block %u of plane %d belongs elsewhere",
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
        vindex__check_found(w, "segment %llu: its ids are not within what its record says",
              (unsigned long long)segment->seq);
    if (!ascend && (record->flags & SEGMENT_IDS_ASCEND))
        vindex__check_found(w, "segment %llu: its ids do not ascend", (unsigned long long)segment->seq);
}

/* Writers take an id from next_id on for a new one. */
static void check_given_out(struct walk *w, int64_t id)
{
    if (id >= w->state.next_id && id != INT64_MAX)
        vindex__check_found(w, "id %lld has a row, the state record says that no id from %lld on was given out",
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
        vindex__check_found(w, "segment %llu: its norms are not within what its record says",
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
            vindex__check_found(w, "segment %llu: the norm of slot %u does not fit its row",
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
        vindex__check_found(w, "segment %llu: its number was never given out", (unsigned long long)segment->seq);
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
    struct catalog_walk at = {.catalog = w->session->catalog, .table = TABLE_SEGMENTS};
    for (;;) {
        vindex_status st = vindex__walk_next(&at);
        if (st != VINDEX_OK || !at.value.data) return st;
        if (!vindex__grow((void **)&w->segments, &w->capacity, w->n_segments + 1, sizeof *w->segments))
            return vindex__nomem();
        struct checked_segment *segment = &w->segments[w->n_segments];
        memset(segment, 0, sizeof *segment);
        segment->seq = load_be64(at.key);
        st = vindex__segment_decode(at.value, &w->config, &segment->record);
        if (st == VINDEX_OK) {
            w->n_segments++;
            st = check_segment(w, segment);
        } else {
            st = vindex__check_absorb(w, st, "segment", load_be64(at.key));
        }
        if (st != VINDEX_OK) return st;
    }
}

struct checked_segment *vindex__check_segment(struct walk *w, uint64_t seq)
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
    struct checked_segment *segment = vindex__check_segment(w, run->seq);
    if (!segment || run->slot + run->count > segment->record.n) {
        vindex__check_found(w, "the run of ids from %lld names rows of segment %llu that do not exist",
              (long long)first, (unsigned long long)run->seq);
        return;
    }
    for (uint32_t i = 0; segment->ids && i < run->count; i++) {
        uint32_t slot = run->slot + i;
        if ((int64_t)load_le64(segment->ids + 8 * (size_t)slot) != first + (int64_t)i) {
            vindex__check_found(w, "the run of ids from %lld names slots of segment %llu with other ids",
                  (long long)first, (unsigned long long)run->seq);
            return;
        }
        if (bitmap_get(segment->record.live, slot)) segment->n_named++;
    }
}

static vindex_status check_runs(struct walk *w)
{
    int64_t last = INT64_MIN; /* that: none yet */
    struct catalog_walk at = {.catalog = w->session->catalog, .table = TABLE_IDS};
    for (;;) {
        struct run_record run;
        vindex_status st = vindex__walk_next(&at);
        if (st != VINDEX_OK || !at.value.data) return st;
        int64_t first = load_id_key(at.key);
        st = vindex__run_decode(at.value, &run);
        if (st != VINDEX_OK) {
            st = vindex__check_absorb(w, st, "run of ids from", (uint64_t)first);
            if (st != VINDEX_OK) return st;
            continue;
        }
        if ((last != INT64_MIN && first <= last) || first > INT64_MAX - (int64_t)(run.count - 1))
            vindex__check_found(w, "the run of ids from %lld overlaps its neighbour", (long long)first);
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
            vindex__check_found(w, "segment %llu: %u of its %u live rows are found by id",
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
    const struct checked_segment *segment = vindex__check_segment(w, run.seq);
    *is_sealed = distance < run.count && segment && run.slot + distance < segment->record.n &&
                 bitmap_get(segment->record.live, run.slot + (size_t)distance);
    return VINDEX_OK;
}

static vindex_status check_tail(struct walk *w)
{
    struct catalog_walk at = {.catalog = w->session->catalog, .table = TABLE_TAIL};
    for (;;) {
        const void *row;
        float norm;
        bool is_sealed;
        vindex_status st = vindex__walk_next(&at);
        if (st != VINDEX_OK || !at.value.data) return st;
        int64_t id = load_id_key(at.key);
        w->n_tail++;
        check_given_out(w, id);
        st = vindex__tail_decode(at.value, &w->config, &norm, &row);
        if (st == VINDEX_OK && w->check->norm_is_right &&
            !w->check->norm_is_right(&w->config, row, norm))
            vindex__check_found(w, "tail row %lld: its norm does not fit", (long long)id);
        if (st != VINDEX_OK) st = vindex__check_absorb(w, st, "tail row", (uint64_t)id);
        if (st == VINDEX_OK) st = sealed_too(w, id, &is_sealed);
        if (st != VINDEX_OK) return st;
        if (is_sealed) vindex__check_found(w, "id %lld has a row in the tail and one in a segment", (long long)id);
    }
}

/* ---- blocks nobody names ------------------------------------------------------------------------- */

/* Who names the blocks of a nonce. */
struct owner {
    unsigned char nonce[NONCE_BYTES];
    const struct segment_record *segment; /* one of these */
    const struct codes_record *codes;
    const struct model_record *model;
    const struct audits_record *audits;
};

static int compare_nonces(const void *a, const void *b)
{
    return memcmp(a, b, NONCE_BYTES);
}

static uint32_t n_blocks_of(const struct owner *owner, const struct config *config, enum plane plane)
{
    if (owner->codes) return vindex__codes_layout(owner->codes, config, plane).n_blocks;
    if (owner->model) return vindex__model_layout(owner->model, config, plane).n_blocks;
    if (owner->audits)
        return plane == PLANE_AUDITS ? vindex__audits_layout(owner->audits).n_blocks : 0;
    const struct segment_record *record = owner->segment;
    switch (plane) {
    case PLANE_FULL: return (record->n + record->rows_per_block - 1) / record->rows_per_block;
    case PLANE_IDS: return 1;
    case PLANE_NORM: return config->type == VINDEX_BIT ? 0 : 1;
    default: return 0;
    }
}

/* Every nonce that a record names, in order. */
static vindex_status collect_owners(const struct walk *w, struct owner **owners, size_t *n)
{
    *n = 0;
    *owners = vindex__calloc(w->n_segments + w->n_codes + 2, sizeof **owners);
    if (!*owners) return vindex__nomem();
    struct owner *next = *owners;
    for (size_t i = 0; i < w->n_segments; i++, next++) {
        memcpy(next->nonce, w->segments[i].record.nonce, NONCE_BYTES);
        next->segment = &w->segments[i].record;
    }
    for (size_t i = 0; i < w->n_codes; i++, next++) {
        memcpy(next->nonce, w->codes[i].nonce, NONCE_BYTES);
        next->codes = &w->codes[i];
    }
    if (w->has_model) {
        memcpy(next->nonce, w->model.nonce, NONCE_BYTES);
        next++->model = &w->model;
    }
    if (w->has_audits) {
        memcpy(next->nonce, w->audits.nonce, NONCE_BYTES);
        next++->audits = &w->audits;
    }
    *n = (size_t)(next - *owners);
    qsort(*owners, *n, sizeof **owners, compare_nonces);
    return VINDEX_OK;
}

static vindex_status check_orphans(struct walk *w)
{
    struct block_key key = {.plane = 0};
    struct owner *owners = NULL;
    size_t n_owners = 0;
    uint64_t n_orphans = 0;
    vindex_status st = collect_owners(w, &owners, &n_owners);
    for (bool more = true; st == VINDEX_OK;) {
        st = blocks_next(w->session->blocks, &key, &more);
        if (st != VINDEX_OK || !more) break;
        const struct owner *owner =
            bsearch(key.nonce, owners, n_owners, sizeof *owners, compare_nonces);
        if (w->has_foreign_audits && key.plane == PLANE_AUDITS) continue; /* theirs, as far as we know */
        if (!owner || key.index >= n_blocks_of(owner, &w->config, key.plane)) n_orphans++;
    }
    if (st == VINDEX_OK && n_orphans && !(w->state.flags & STATE_EARLY_BLOCKS))
        vindex__check_found(w, "%llu blocks belong to nothing", (unsigned long long)n_orphans);
    vindex__free(owners);
    return st;
}

/* ---- the walk ------------------------------------------------------------------------------------ */

static void check_counts(struct walk *w)
{
    if (w->n_tail != w->state.n_tail)
        vindex__check_found(w, "the tail holds %llu rows, %llu were counted", (unsigned long long)w->n_tail,
              (unsigned long long)w->state.n_tail);
    if (w->n_live + w->n_tail != w->state.n_rows)
        vindex__check_found(w, "%llu rows are live, %llu were counted", (unsigned long long)(w->n_live + w->n_tail),
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
    if (st == VINDEX_OK) st = vindex__check_derived(&walk);
    if (st == VINDEX_OK) st = check_runs(&walk);
    if (st == VINDEX_OK) check_named(&walk);
    if (st == VINDEX_OK) st = check_tail(&walk);
    if (st == VINDEX_OK) st = check_orphans(&walk);
    if (st == VINDEX_OK) check_counts(&walk);
    catalog_release(session->catalog);
    vindex__free(walk.segments);
    vindex__free(walk.codes);
    if (st == VINDEX_OK && check->n_findings)
        st = vindex__corrupt("%s%s", walk.first, check->n_findings > 1 ? " (and more)" : "");
    return st;
}
