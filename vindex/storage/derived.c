/*
 * derived.c - models, codes and audits as a session's view shows them. What decides whether codes
 * count is here and nowhere else: the nonces of segment and model, the number of rows and of axes.
 */
#include "storage/derived.h"

#include <float.h>
#include <math.h>

#include "base/mem.h"
#include "base/status.h"

/* ---- a block of a plane, as its layout wants it ---------------------------------------------- */

/* *payload NULL: there is no such block. */
static vindex_status lookup(struct blocks *blocks, const struct config *config,
                            const unsigned char nonce[NONCE_BYTES], enum plane plane,
                            const struct plane_layout *layout, uint32_t index, bool checksum,
                            const void **payload)
{
    struct block_key key = {.plane = (uint16_t)plane, .index = index};
    struct block_header header;
    struct bytes value;
    *payload = NULL;
    memcpy(key.nonce, nonce, NONCE_BYTES);
    vindex_status st = blocks_get(blocks, &key, &value);
    if (st != VINDEX_OK || !value.data) return st;
    st = vindex__block_decode(value, config, checksum, &header);
    if (st != VINDEX_OK) return st;
    if (header.plane != plane || header.stride != layout->stride ||
        header.n != layout_block_n(layout, index) ||
        header.first != layout_block_first(layout, index) ||
        memcmp(header.nonce, nonce, NONCE_BYTES) != 0)
        return vindex__corrupt("block %u of plane %d is not the one its record names", index,
                               (int)plane);
    *payload = (const char *)value.data + BLOCK_HEADER_BYTES;
    return VINDEX_OK;
}

/* All entries of a plane, one after the other. *is_whole false: a block is missing. */
static vindex_status copy_plane(struct blocks *blocks, const struct config *config,
                                const unsigned char nonce[NONCE_BYTES], enum plane plane,
                                const struct plane_layout *layout, void *out, bool *is_whole)
{
    char *to = out;
    *is_whole = true;
    for (uint32_t i = 0; i < layout->n_blocks; i++) {
        const void *payload = NULL;
        size_t size = (size_t)layout_block_n(layout, i) * layout->stride;
        vindex_status st = lookup(blocks, config, nonce, plane, layout, i, true, &payload);
        if (st != VINDEX_OK) return st;
        if (!payload) {
            *is_whole = false;
            return VINDEX_OK;
        }
        memcpy(to, payload, size);
        to += size;
    }
    return VINDEX_OK;
}

vindex_status vindex__verify_payload(const struct config *config, const void *payload,
                                     size_t payload_bytes)
{
    struct block_header header;
    return vindex__block_decode(
        bytes_of((const char *)payload - BLOCK_HEADER_BYTES, BLOCK_HEADER_BYTES + payload_bytes),
        config, true, &header);
}

/* ---- the model ------------------------------------------------------------------------------- */

void vindex__model_unref(struct model_copy *model)
{
    if (!model || atomic_fetch_sub(&model->refs, 1) != 1) return;
    vindex__free_aligned(model->heap);
    vindex__free(model);
}

/* Whether these are a record's bytes, of either length it may have; the checksum is among them. */
static bool is_copy(const unsigned char *bytes, size_t size, size_t shorter, struct bytes record)
{
    return (record.size == size || record.size == shorter) &&
           memcmp(bytes, record.data, record.size) == 0;
}

enum { N_MODEL_PLANES = 4 };

/* The planes in the order of their arrays; may their values be zero or less? */
static const struct {
    enum plane plane;
    bool is_signed;
} model_planes[N_MODEL_PLANES] = {
    {PLANE_MEAN, true}, {PLANE_SCALE, false}, {PLANE_AXES, true}, {PLANE_DEVIATION, false}};

static bool values_are_valid(const float *values, size_t n, bool is_signed)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(values[i]) <= FLT_MAX) || (!is_signed && values[i] <= 0)) return false;
    return true;
}

static vindex_status copy_arrays(struct blocks *blocks, const struct config *config,
                                 const struct model_record *record, struct model_copy *copy,
                                 bool *is_whole)
{
    struct plane_layout layouts[N_MODEL_PLANES];
    const float *arrays[N_MODEL_PLANES] = {NULL};
    size_t n[N_MODEL_PLANES], n_all = 0;
    for (int i = 0; i < N_MODEL_PLANES; i++) {
        layouts[i] = vindex__model_layout(record, config, model_planes[i].plane);
        n[i] = (size_t)layouts[i].n * layouts[i].stride / sizeof(float);
        n_all += (n[i] + 15) / 16 * 16; /* each array begins 64-byte aligned */
    }
    copy->heap = vindex__alloc_aligned(n_all, sizeof(float));
    if (!copy->heap) return vindex__nomem();

    float *to = copy->heap;
    for (int i = 0; i < N_MODEL_PLANES; i++) {
        vindex_status st = copy_plane(blocks, config, record->nonce, model_planes[i].plane,
                                      &layouts[i], to, is_whole);
        if (st != VINDEX_OK || !*is_whole) return st;
        if (!values_are_valid(to, n[i], model_planes[i].is_signed))
            return vindex__corrupt("plane %d of the model holds values out of range",
                                   (int)model_planes[i].plane);
        arrays[i] = n[i] ? to : NULL;
        to += (n[i] + 15) / 16 * 16;
    }
    struct model *model = &copy->model;
    *model = (struct model){.n_rows = record->n_rows,
                            .m = record->m,
                            .p = record->p,
                            .clip = record->clip,
                            .energy = record->energy,
                            .axes_norm = record->axes_norm,
                            .p8_share = record->p8_share,
                            .mean = arrays[0],
                            .scale = arrays[1],
                            .axes = arrays[2],
                            .deviation = arrays[3]};
    memcpy(model->nonce, record->nonce, NONCE_BYTES);
    return VINDEX_OK;
}

vindex_status vindex__model_acquire(struct session *session, const struct config *config,
                                    struct model_copy *old, struct model_copy **model)
{
    struct catalog_entry entry;
    struct model_record record;
    struct model_copy *copy = NULL;
    bool is_whole = false;
    *model = NULL;
    vindex_status st = catalog_get(session->catalog, TABLE_CONFIG, bytes_of("model", 5), &entry);
    if (st != VINDEX_OK || !entry.value.data) return st;
    if (old && is_copy(old->bytes, sizeof old->bytes, RECORD_MODEL_SHORT, entry.value)) {
        atomic_fetch_add(&old->refs, 1);
        *model = old;
        return VINDEX_OK;
    }
    st = vindex__model_decode(entry.value, &record);
    if (st != VINDEX_OK) return st;
    copy = vindex__calloc(1, sizeof *copy);
    if (!copy) return vindex__nomem();
    atomic_init(&copy->refs, 1);
    memcpy(copy->bytes, entry.value.data, entry.value.size); /* what decoded is not larger */
    st = copy_arrays(session->blocks, config, &record, copy, &is_whole);
    if (st == VINDEX_OK && is_whole)
        *model = copy;
    else
        vindex__model_unref(copy);
    return st;
}

/* ---- codes ----------------------------------------------------------------------------------- */

void vindex__codes_unref(struct codes *codes)
{
    if (codes && atomic_fetch_sub(&codes->refs, 1) == 1) vindex__free(codes);
}

static bool codes_count(const struct codes_record *codes, const struct segment_record *segment,
                        const struct model *model)
{
    return memcmp(codes->segment, segment->nonce, NONCE_BYTES) == 0 &&
           memcmp(codes->model, model->nonce, NONCE_BYTES) == 0 && codes->n == segment->n &&
           (codes->m == 0 || codes->m == model->m) && (codes->p == 0 || codes->p == model->p);
}

vindex_status vindex__codes_acquire(struct bytes bytes, const struct segment_record *segment,
                                    const struct model *model, struct codes *old,
                                    struct codes **codes)
{
    struct codes_record record;
    *codes = NULL;
    if (old && is_copy(old->bytes, sizeof old->bytes, RECORD_CODES_SHORT, bytes)) {
        if (!codes_count(&old->record, segment, model)) return VINDEX_OK; /* the model moved on */
        atomic_fetch_add(&old->refs, 1);
        *codes = old;
        return VINDEX_OK;
    }
    vindex_status st = vindex__codes_decode(bytes, &record);
    if (st != VINDEX_OK || !codes_count(&record, segment, model)) return st;
    *codes = vindex__calloc(1, sizeof **codes);
    if (!*codes) return vindex__nomem();
    atomic_init(&(*codes)->refs, 1);
    memcpy((*codes)->bytes, bytes.data, bytes.size);
    (*codes)->record = record;
    return VINDEX_OK;
}

uint32_t vindex__codes_blocks(const struct codes *codes, const struct config *config)
{
    return vindex__codes_layout(&codes->record, config, PLANE_C4).n_blocks +
           vindex__codes_layout(&codes->record, config, PLANE_C8).n_blocks +
           vindex__codes_layout(&codes->record, config, PLANE_P8).n_blocks;
}

static vindex_status lookup_plane(struct blocks *store, const struct config *config,
                                  const struct codes_record *record, enum plane plane,
                                  struct block *blocks, uint32_t *n_blocks, bool *is_whole)
{
    struct plane_layout layout = vindex__codes_layout(record, config, plane);
    for (uint32_t i = 0; i < layout.n_blocks && *is_whole; i++) {
        const void *payload = NULL;
        vindex_status st = lookup(store, config, record->nonce, plane, &layout, i, false, &payload);
        if (st != VINDEX_OK) return st;
        blocks[i] = (struct block){.rows = payload,
                                   .stride = layout.stride,
                                   .n = layout_block_n(&layout, i),
                                   .first = layout_block_first(&layout, i)};
        *is_whole = payload != NULL;
    }
    *n_blocks = layout.n_blocks;
    return VINDEX_OK;
}

vindex_status vindex__codes_lookup(struct blocks *store, const struct config *config,
                                   struct codes *codes, struct block *blocks,
                                   struct part_codes *part, bool *is_whole)
{
    const struct codes_record *record = &codes->record;
    uint32_t n_c4 = 0, n_c8 = 0, n_p8 = 0;
    *is_whole = true;
    vindex_status st = lookup_plane(store, config, record, PLANE_C4, blocks, &n_c4, is_whole);
    if (st == VINDEX_OK)
        st = lookup_plane(store, config, record, PLANE_C8, blocks + n_c4, &n_c8, is_whole);
    if (st == VINDEX_OK)
        st = lookup_plane(store, config, record, PLANE_P8, blocks + n_c4 + n_c8, &n_p8, is_whole);
    if (n_c4 + n_c8 + n_p8 == 0) *is_whole = false;
    *part = (struct part_codes){.c4 = n_c4 ? blocks : NULL,
                                .c8 = n_c8 ? blocks + n_c4 : NULL,
                                .p8 = n_p8 ? blocks + n_c4 + n_c8 : NULL,
                                .n_c4 = n_c4,
                                .n_c8 = n_c8,
                                .n_p8 = n_p8,
                                .whole = record->flags & CODES_WHOLE,
                                .is_signed = record->flags & CODES_SIGNED,
                                .c8_error = record->c8_error,
                                .c8_size = record->c8_size,
                                .c8_bias = record->c8_bias,
                                .p8_error = record->p8_error,
                                .p8_size = record->p8_size,
                                .p8_bias = record->p8_bias,
                                .p8_drift = record->p8_drift,
                                .record = codes};
    return st;
}

static vindex_status plane_is_whole(struct blocks *store, const struct config *config,
                                    const struct codes_record *record, enum plane plane,
                                    bool checksum, bool *is_whole)
{
    struct plane_layout layout = vindex__codes_layout(record, config, plane);
    vindex_status st = VINDEX_OK;
    for (uint32_t i = 0; i < layout.n_blocks && *is_whole && st == VINDEX_OK; i++) {
        const void *payload = NULL;
        st = lookup(store, config, record->nonce, plane, &layout, i, checksum, &payload);
        *is_whole = st == VINDEX_OK && payload != NULL;
    }
    return st == VINDEX_CORRUPT ? VINDEX_OK : st;
}

vindex_status vindex__codes_are_whole(struct blocks *store, const struct config *config,
                                      const struct codes_record *record, bool checksum,
                                      bool *is_whole)
{
    static const enum plane planes[] = {PLANE_C4, PLANE_C8, PLANE_P8};
    vindex_status st = VINDEX_OK;
    *is_whole = true;
    for (size_t i = 0; i < sizeof planes / sizeof *planes && st == VINDEX_OK; i++)
        st = plane_is_whole(store, config, record, planes[i], checksum, is_whole);
    return st;
}

static vindex_status verify_blocks(const struct config *config, const struct block *blocks,
                                   uint32_t n)
{
    vindex_status st = VINDEX_OK;
    for (uint32_t i = 0; i < n && st == VINDEX_OK; i++)
        st = vindex__verify_payload(config, blocks[i].rows, blocks[i].n * blocks[i].stride);
    return st;
}

vindex_status vindex__codes_verify(const struct config *config, const struct part_codes *part)
{
    if (atomic_load_explicit(&part->record->is_verified, memory_order_acquire)) return VINDEX_OK;
    vindex_status st = verify_blocks(config, part->c4, part->n_c4);
    if (st == VINDEX_OK) st = verify_blocks(config, part->c8, part->n_c8);
    if (st == VINDEX_OK) st = verify_blocks(config, part->p8, part->n_p8);
    if (st == VINDEX_OK)
        atomic_store_explicit(&part->record->is_verified, true, memory_order_release);
    return st;
}

/* ---- audits ---------------------------------------------------------------------------------- */

static vindex_status copy_audits(struct session *session, const struct config *config,
                                 const struct audits_record *record, unsigned char **entries)
{
    struct plane_layout layout = vindex__audits_layout(record);
    bool is_whole = false;
    if (layout.n == 0) return VINDEX_OK;
    if (layout.stride != audit_stride(config->dim))
        return vindex__corrupt("the audits have %u bytes each, %u are needed", layout.stride,
                               audit_stride(config->dim));
    *entries = vindex__realloc(NULL, layout.n, layout.stride);
    if (!*entries) return vindex__nomem();
    vindex_status st = copy_plane(session->blocks, config, record->nonce, PLANE_AUDITS, &layout,
                                  *entries, &is_whole);
    if (st == VINDEX_OK && is_whole) return st;
    vindex__free(*entries);
    *entries = NULL;
    return st;
}

vindex_status vindex__audits_acquire(struct session *session, const struct config *config,
                                     struct audits_record *record, unsigned char **entries)
{
    struct catalog_entry entry;
    memset(record, 0, sizeof *record);
    *entries = NULL;
    vindex_status st = catalog_get(session->catalog, TABLE_CONFIG, bytes_of("audits", 6), &entry);
    if (st != VINDEX_OK || !entry.value.data) return st;
    st = vindex__audits_decode(entry.value, record);
    if (st == VINDEX_OK) st = copy_audits(session, config, record, entries);
    if (!*entries) record->n = 0;
    if (st == VINDEX_UNSUPPORTED) return VINDEX_OK; /* a newer library's: we know none */
    return st;
}

vindex_status vindex__snapshot_audits(struct store *store, struct session *session,
                                      struct audits_record *record, unsigned char **entries)
{
    struct config config;
    uint64_t stamp;
    memset(record, 0, sizeof *record);
    *entries = NULL;
    vindex_status st = vindex__store_check_fork(store);
    if (st != VINDEX_OK) return st;
    st = catalog_refresh(session->catalog, &stamp);
    if (st == VINDEX_OK) st = vindex__read_head(session->catalog, &config, NULL);
    if (st == VINDEX_OK) st = vindex__audits_acquire(session, &config, record, entries);
    catalog_release(session->catalog);
    return st;
}
