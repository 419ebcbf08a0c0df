/*
 * audit_rings.c - two rings of audits and one of vectors, in memory and in the store.
 *
 *     rows      1,024 rows of the index, asked as queries
 *     queries   the last 1,024 or 4,096 audited, given or live
 *     vectors   of the last queries, whatever became of their audits
 */
#include "search/audit_rings.h"

#include <math.h>

#include "base/mem.h"
#include "base/status.h"

#define VECTORS_KEPT 512u
#define VECTORS_BYTES (8u << 20)

/* Where the fields of a stored audit lie (FORMAT.md 4b); its query follows at AUDIT_HEAD_BYTES. */
enum { AT_KIND = 0, AT_DEPTH = 4, AT_ROWS = 8, AT_EFFORT = 16, AT_HAS_QUERY = 1040, AT_SEQ = 1044 };

/* ---- rings ----------------------------------------------------------------------------------- */

vindex_status vindex__ring_reserve(struct audit_ring *ring, size_t capacity)
{
    if (capacity <= ring->capacity) return VINDEX_OK;
    struct kept_audit *items = vindex__calloc(capacity, sizeof *items);
    if (!items) return vindex__nomem();
    for (size_t i = 0; i < ring->n; i++)
        items[(ring->end - ring->n + i) % capacity] = *ring_at(ring, i);
    vindex__free(ring->items);
    ring->items = items;
    ring->capacity = capacity;
    return VINDEX_OK;
}

static struct kept_audit *ring_push(struct audit_ring *ring)
{
    if (ring->n < ring->capacity) ring->n++;
    return &ring->items[ring->end++ % ring->capacity];
}

/* ---- vectors --------------------------------------------------------------------------------- */

static float *vector_at(const struct audit_rings *audits, uint64_t number)
{
    return audits->vectors + number % audits->n_vectors_max * audits->dim;
}

/* The number of the copy + 1; 0: not kept. */
static uint64_t keep_vector(struct audit_rings *audits, const float *query)
{
    size_t bytes = sizeof(float) * audits->dim;
    if (!query) return 0;
    if (!audits->vectors) audits->vectors = vindex__calloc(audits->n_vectors_max, bytes);
    if (!audits->vectors) return 0; /* only a later optimize has less to go by */
    memcpy(vector_at(audits, audits->vectors_end), query, bytes);
    if (audits->n_vectors < audits->n_vectors_max) audits->n_vectors++;
    return ++audits->vectors_end;
}

/* The audit's vector, or NULL: it had none, or it was overwritten. */
static const float *vector_of(const struct audit_rings *audits, const struct kept_audit *audit)
{
    if (audit->vector == 0 || audits->vectors_end - (audit->vector - 1) > audits->n_vectors)
        return NULL;
    return vector_at(audits, audit->vector - 1);
}

static void forget_vectors_before(struct audit_rings *audits, uint64_t number)
{
    uint64_t first = audits->vectors_end - audits->n_vectors;
    if (number > first) audits->n_vectors = (size_t)(audits->vectors_end - number);
}

size_t vindex__rings_vectors(const struct audit_rings *audits, float *queries, size_t max,
                             uint64_t *first)
{
    size_t n = audits->n_vectors < max ? audits->n_vectors : max;
    if (first) *first = audits->vectors_end - n;
    for (size_t i = 0; queries && i < n; i++)
        memcpy(queries + i * audits->dim, vector_at(audits, audits->vectors_end - n + i),
               sizeof(float) * audits->dim);
    return n;
}

/* ---- the whole ------------------------------------------------------------------------------- */

void vindex__rings_init(struct audit_rings *audits, uint32_t dim)
{
    size_t fits = VECTORS_BYTES / (sizeof(float) * dim);
    *audits = (struct audit_rings){.dim = dim,
                                   .n_vectors_max = fits < VECTORS_KEPT ? fits : VECTORS_KEPT};
}

void vindex__rings_deinit(struct audit_rings *audits)
{
    vindex__free(audits->rows.items);
    vindex__free(audits->queries.items);
    vindex__free(audits->vectors);
}

vindex_status vindex__rings_add(struct audit_rings *audits, const struct audit *audit,
                                const float *query, const struct kept_audit **kept)
{
    bool is_row = audit->kind == AUDIT_ROW;
    struct audit_ring *ring = is_row ? &audits->rows : &audits->queries;
    bool is_full = ring->n == ring->capacity;
    size_t capacity = is_row                                  ? ROWS_KEPT
                      : is_full && audit->kind == AUDIT_GIVEN ? QUERIES_KEPT_MAX
                                                              : QUERIES_KEPT;
    vindex_status st = vindex__ring_reserve(ring, capacity);
    if (st != VINDEX_OK) return st;

    struct kept_audit *item = ring_push(ring);
    item->kind = (uint8_t)audit->kind;
    item->stored = NOT_STORED;
    item->depth = (uint16_t)audit->depth;
    item->n_rows = audit->n_rows;
    item->next_seq = audit->next_seq;
    item->vector = is_row ? 0 : keep_vector(audits, query);
    memcpy(item->effort, audit->effort, audit->depth);
    *kept = item;
    return VINDEX_OK;
}

void vindex__rings_keep_last(struct audit_rings *audits, size_t n)
{
    struct audit_ring *queries = &audits->queries;
    if (queries->n > n) queries->n = n;
    for (size_t i = 0; i < queries->n; i++) {
        uint64_t vector = ring_at(queries, i)->vector;
        if (vector == 0) continue;
        forget_vectors_before(audits, vector - 1);
        return;
    }
}

void vindex__rings_drop_vectors(struct audit_rings *audits, uint64_t end)
{
    struct audit_ring *queries = &audits->queries;
    size_t n_kept = 0;
    for (size_t i = queries->n; i-- > 0;) { /* what stays moves up to the newest */
        const struct kept_audit *item = ring_at(queries, i);
        if (item->vector == 0 || item->vector > end) {
            n_kept++;
            *ring_at(queries, queries->n - n_kept) = *item;
        }
    }
    queries->n = n_kept;
    forget_vectors_before(audits, end);
}

void vindex__rings_settle(struct audit_rings *audits, bool is_stored)
{
    for (size_t i = 0; i < audits->queries.n; i++) {
        struct kept_audit *item = ring_at(&audits->queries, i);
        if (item->stored == IN_A_SAVE) item->stored = is_stored ? STORED : NOT_STORED;
    }
}

/* ---- to the store ---------------------------------------------------------------------------- */

static void encode(const struct audit_rings *audits, const struct kept_audit *item,
                   unsigned char *entry, size_t entry_bytes)
{
    const float *vector = entry_bytes > AUDIT_HEAD_BYTES ? vector_of(audits, item) : NULL;
    memset(entry, 0, entry_bytes);
    store_le32(entry + AT_KIND, item->kind);
    store_le32(entry + AT_DEPTH, item->depth);
    store_le64(entry + AT_ROWS, item->n_rows);
    memcpy(entry + AT_EFFORT, item->effort, item->depth);
    store_le32(entry + AT_HAS_QUERY, vector != NULL);
    store_le32(entry + AT_SEQ, item->next_seq < UINT32_MAX ? (uint32_t)item->next_seq : UINT32_MAX);
    for (uint32_t i = 0; vector && i < audits->dim; i++)
        store_f32(entry + AUDIT_HEAD_BYTES + 4 * (size_t)i, vector[i]);
}

vindex_status vindex__rings_encode(struct audit_rings *audits, uint32_t *n, uint32_t *entry_bytes,
                                   unsigned char **entries)
{
    size_t n_rows = audits->rows.n, total = n_rows + audits->queries.n;
    uint32_t bytes = audit_stride(audits->dim);
    unsigned char *out = vindex__calloc(total ? total : 1, bytes);
    for (size_t i = 0; i < total && out; i++) {
        const struct kept_audit *item =
            i < n_rows ? ring_at(&audits->rows, i) : ring_at(&audits->queries, i - n_rows);
        encode(audits, item, out + i * bytes, bytes);
    }
    for (size_t i = 0; i < audits->queries.n && out; i++)
        if (ring_at(&audits->queries, i)->stored == NOT_STORED)
            ring_at(&audits->queries, i)->stored = IN_A_SAVE;
    *n = (uint32_t)total;
    *entry_bytes = bytes;
    *entries = out;
    return out ? VINDEX_OK : vindex__nomem();
}

/* ---- from the store -------------------------------------------------------------------------- */

static bool entry_makes_sense(const struct audit_rings *audits, const unsigned char *entry,
                              size_t entry_bytes)
{
    uint32_t kind = load_le32(entry + AT_KIND), depth = load_le32(entry + AT_DEPTH),
             has_query = load_le32(entry + AT_HAS_QUERY);
    if (kind < AUDIT_ROW || kind > AUDIT_LIVE || depth > AUDIT_DEPTH_MAX || has_query > 1 ||
        (has_query && entry_bytes == AUDIT_HEAD_BYTES))
        return false;
    for (uint32_t i = 0; has_query && i < audits->dim; i++)
        if (!isfinite(load_f32(entry + AUDIT_HEAD_BYTES + 4 * (size_t)i))) return false;
    return true;
}

static vindex_status check_entries(const struct audit_rings *audits,
                                   const struct audits_record *record, const unsigned char *entries)
{
    size_t n_rows = 0;
    if (record->entry_bytes != audit_stride(audits->dim))
        return vindex__corrupt("an audit has %u bytes, for dim %u it has %u", record->entry_bytes,
                               audits->dim, audit_stride(audits->dim));
    for (uint32_t i = 0; i < record->n; i++) {
        const unsigned char *entry = entries + (size_t)i * record->entry_bytes;
        if (!entry_makes_sense(audits, entry, record->entry_bytes))
            return vindex__corrupt("audit %u holds values outside the format's ranges", i);
        n_rows += load_le32(entry + AT_KIND) == AUDIT_ROW;
    }
    if (n_rows > ROWS_KEPT || record->n - n_rows > QUERIES_KEPT_MAX)
        return vindex__corrupt("there are %zu audits of rows and %zu of queries: too many", n_rows,
                               record->n - n_rows);
    return VINDEX_OK;
}

static void decode(struct audit_rings *audits, const unsigned char *entry, float *scratch,
                   struct kept_audit *item)
{
    item->kind = (uint8_t)load_le32(entry + AT_KIND);
    item->stored = STORED;
    item->depth = (uint16_t)load_le32(entry + AT_DEPTH);
    item->n_rows = load_le64(entry + AT_ROWS);
    item->next_seq = load_le32(entry + AT_SEQ);
    item->vector = 0;
    memcpy(item->effort, entry + AT_EFFORT, AUDIT_DEPTH_MAX);
    if (load_le32(entry + AT_HAS_QUERY) == 0) return;
    for (uint32_t i = 0; i < audits->dim; i++)
        scratch[i] = load_f32(entry + AUDIT_HEAD_BYTES + 4 * (size_t)i);
    item->vector = keep_vector(audits, scratch);
}

/* The live audits that no store has, apart. What a save took with it may be in the store by now, before whoever
   saves has said so. */
struct own {
    struct audit_ring ring;
    bool has_vectors; /* the store has those of its audits: all are numbered anew */
    float *vectors; /* [n_vectors + 1, dim]: item->vector - 1 is the row; the last one is scratch */
    size_t n_vectors;
};

static vindex_status set_own_aside(const struct audit_rings *audits, struct own *own)
{
    const struct audit_ring *queries = &audits->queries;
    size_t bytes = sizeof(float) * audits->dim;
    vindex_status st = vindex__ring_reserve(&own->ring, queries->n ? queries->n : 1);
    own->vectors = vindex__calloc(audits->n_vectors + 1, bytes);
    if (!own->vectors) st = vindex__nomem();
    for (size_t i = 0; i < queries->n && st == VINDEX_OK; i++) {
        const struct kept_audit *item = ring_at(queries, i);
        if (item->kind != AUDIT_LIVE || item->stored != NOT_STORED) continue;
        const float *vector = own->has_vectors ? vector_of(audits, item) : NULL;
        struct kept_audit *copy = ring_push(&own->ring);
        *copy = *item;
        if (!own->has_vectors) continue;
        if (vector) memcpy(own->vectors + own->n_vectors * audits->dim, vector, bytes);
        copy->vector = vector ? ++own->n_vectors : 0;
    }
    return st;
}

/* The store's audits come before those answered since, and so do their queries; those there were come again. */
static void take_over(struct audit_rings *audits, const struct audits_record *record,
                      const unsigned char *entries, const struct own *own)
{
    float *scratch = own->vectors + own->n_vectors * audits->dim;
    audits->rows.n = audits->queries.n = 0;
    if (own->has_vectors) audits->n_vectors = 0;
    for (uint32_t i = 0; i < record->n; i++) {
        const unsigned char *entry = entries + (size_t)i * record->entry_bytes;
        bool is_row = load_le32(entry + AT_KIND) == AUDIT_ROW;
        decode(audits, entry, scratch, ring_push(is_row ? &audits->rows : &audits->queries));
    }
    for (size_t i = 0; i < own->ring.n; i++) {
        struct kept_audit *item = ring_push(&audits->queries);
        *item = *ring_at(&own->ring, i);
        if (own->has_vectors && item->vector)
            item->vector = keep_vector(audits, own->vectors + (item->vector - 1) * audits->dim);
    }
}

vindex_status vindex__rings_decode(struct audit_rings *audits, const struct audits_record *record,
                                   const unsigned char *entries)
{
    struct own own = {.has_vectors = record->entry_bytes > AUDIT_HEAD_BYTES};
    vindex_status st = check_entries(audits, record, entries);
    if (st == VINDEX_OK) st = set_own_aside(audits, &own);
    if (st == VINDEX_OK) st = vindex__ring_reserve(&audits->rows, ROWS_KEPT);
    if (st == VINDEX_OK)
        st = vindex__ring_reserve(&audits->queries, record->n + own.ring.n > QUERIES_KEPT
                                                        ? QUERIES_KEPT_MAX
                                                        : QUERIES_KEPT);
    if (st == VINDEX_OK) take_over(audits, record, entries, &own);
    vindex__free(own.vectors);
    vindex__free(own.ring.items);
    return st;
}
