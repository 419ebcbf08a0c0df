/*
 * codes.c - the derived planes: the model they are relative to, the codes of each segment, and the audits, as
 * records and blocks (FORMAT.md 2, 3, 4a). Each is written under a nonce of its own and never changed: a new one replaces the
 * old one's record and deletes its blocks in the same commit. How rows become codes is encode.c.
 *
 * Nothing here is needed to answer a query: a segment without codes of the current model is searched without.
 */
#include "kernels/codes.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/status.h"
#include "ingest/encode.h"
#include "ingest/internal.h"
#include "ingest/train.h"
#include "storage/derived.h"

/* The two limits of plane c8, of the kernels and of a block, are one. */
_Static_assert(64 * ((VKERN_C8_DIM_MAX + 3) / 4) + 192 <= BLOCK_PAYLOAD_BYTES &&
                   64 * ((VKERN_C8_DIM_MAX + 4) / 4) + 192 > BLOCK_PAYLOAD_BYTES,
               "VKERN_C8_DIM_MAX is the largest dim of which a block holds a group");

bool vindex__has_c8(const struct config *config)
{
    switch (config->type) {
    case VINDEX_FLOAT:
    case VINDEX_FLOAT16:
    case VINDEX_BFLOAT16: return c8_stride(config->dim) != 0;
    default: return false; /* rows of 8 bits are their own 8-bit codes */
    }
}

/* ---- planes as blocks ------------------------------------------------------------------------------- */

static vindex_status put_plane(struct ingest *in, const unsigned char nonce[NONCE_BYTES],
                               enum plane plane, const struct plane_layout *layout,
                               const void *entries)
{
    struct block_header header = {.plane = (uint16_t)plane,
                                  .type = (uint16_t)in->config.type,
                                  .stride = layout->stride,
                                  .dim = in->config.dim};
    struct block_key key = {.plane = (uint16_t)plane};
    const unsigned char *from = entries;
    vindex_status st = VINDEX_OK;
    memcpy(header.nonce, nonce, NONCE_BYTES);
    memcpy(key.nonce, nonce, NONCE_BYTES);
    for (uint32_t i = 0; i < layout->n_blocks && st == VINDEX_OK; i++) {
        header.n = layout_block_n(layout, i);
        header.first = layout_block_first(layout, i);
        size_t size = (size_t)header.n * header.stride;
        memcpy(in->scratch + BLOCK_HEADER_BYTES, from, size);
        vindex__block_seal(&header, in->scratch);
        key.index = i;
        st =
            blocks_put(in->session->blocks, &key, bytes_of(in->scratch, BLOCK_HEADER_BYTES + size));
        from += size;
    }
    return st;
}

static vindex_status delete_plane(struct ingest *in, const unsigned char nonce[NONCE_BYTES],
                                  enum plane plane, const struct plane_layout *layout)
{
    struct block_key key = {.plane = (uint16_t)plane};
    vindex_status st = VINDEX_OK;
    memcpy(key.nonce, nonce, NONCE_BYTES);
    for (; key.index < layout->n_blocks && st == VINDEX_OK; key.index++)
        st = blocks_del(in->session->blocks, &key);
    return st;
}

/* Blocks that nothing names any more: the next writer collects them. */
static vindex_status disown(struct ingest *in)
{
    in->has_orphans = true;
    return VINDEX_OK;
}

/* A derived record that is to go and does not decode goes all the same; what blocks it named is not known. */
static vindex_status disown_if_damaged(struct ingest *in, vindex_status st)
{
    return st == VINDEX_CORRUPT ? disown(in) : st;
}

/* ---- the model ---------------------------------------------------------------------------------------- */

static const enum plane model_planes[] = {PLANE_MEAN, PLANE_SCALE, PLANE_AXES, PLANE_DEVIATION};
enum { N_MODEL_PLANES = sizeof model_planes / sizeof *model_planes };

static const struct bytes model_key = {"model", 5}, audits_key = {"audits", 6};

vindex_status vindex__model_drop(struct ingest *in)
{
    struct catalog_entry entry;
    struct model_record record;
    vindex__coder_forget(in); /* also where it found no model: there may be one next */
    vindex_status st = catalog_get(in->session->catalog, TABLE_CONFIG, model_key, &entry);
    if (st != VINDEX_OK || !entry.value.data) return st;
    st = vindex__model_decode(entry.value, &record);
    bool is_known = st == VINDEX_OK;
    st = disown_if_damaged(in, st);
    for (int i = 0; i < N_MODEL_PLANES && is_known && st == VINDEX_OK; i++) {
        struct plane_layout layout = vindex__model_layout(&record, &in->config, model_planes[i]);
        st = delete_plane(in, record.nonce, model_planes[i], &layout);
    }
    in->changed = true;
    return st == VINDEX_OK ? catalog_del(in->session->catalog, TABLE_CONFIG, model_key) : st;
}

static vindex_status put_model(struct ingest *in, const struct trained *trained)
{
    const float *arrays[N_MODEL_PLANES] = {trained->mean, trained->scale, trained->axes,
                                           trained->deviation};
    struct model_record record = {.n_rows = trained->n_rows,
                                  .m = trained->m,
                                  .clip = trained->clip,
                                  .energy = trained->energy,
                                  .p = trained->p,
                                  .axes_norm = trained->axes_norm,
                                  .p8_share = trained->p8_share};
    unsigned char bytes[RECORD_MODEL_BYTES];
    vindex_status st = vindex__nonce(record.nonce, NONCE_BYTES);
    for (int i = 0; i < N_MODEL_PLANES && st == VINDEX_OK; i++) {
        struct plane_layout layout = vindex__model_layout(&record, &in->config, model_planes[i]);
        st = put_plane(in, record.nonce, model_planes[i], &layout, arrays[i]);
    }
    vindex__model_encode(&record, bytes);
    return st == VINDEX_OK ? catalog_put(in->session->catalog, TABLE_CONFIG, model_key,
                                         bytes_of(bytes, sizeof bytes))
                           : st;
}

vindex_status vindex__ingest_put_model(struct ingest *in, const struct trained *trained)
{
    vindex_status st = vindex__ingest_enter(in);
    if (st != VINDEX_OK) return st;
    in->changed = true;
    in->flushed = false;
    st = vindex__model_drop(in);
    if (st == VINDEX_OK) st = put_model(in, trained);
    return vindex__ingest_leave(in, st);
}

/* ---- audits ------------------------------------------------------------------------------------------- */

vindex_status vindex__audits_drop(struct ingest *in)
{
    struct catalog_entry entry;
    struct audits_record record;
    vindex_status st = catalog_get(in->session->catalog, TABLE_CONFIG, audits_key, &entry);
    if (st != VINDEX_OK || !entry.value.data) return st;
    st = vindex__audits_decode(entry.value, &record);
    bool is_known = st == VINDEX_OK;
    if (st == VINDEX_UNSUPPORTED) /* a newer library's, which readers pass over: ours replace them */
        st = disown(in);
    else
        st = disown_if_damaged(in, st);
    if (is_known) {
        struct plane_layout layout = vindex__audits_layout(&record);
        st = delete_plane(in, record.nonce, PLANE_AUDITS, &layout);
    }
    in->changed = true;
    return st == VINDEX_OK ? catalog_del(in->session->catalog, TABLE_CONFIG, audits_key) : st;
}

static vindex_status put_audits(struct ingest *in, const struct audits_record *audits,
                                const void *entries)
{
    struct audits_record record = *audits;
    unsigned char bytes[RECORD_AUDITS_BYTES];
    vindex_status st = vindex__nonce(record.nonce, NONCE_BYTES);
    if (st != VINDEX_OK) return st;
    struct plane_layout layout = vindex__audits_layout(&record);
    st = put_plane(in, record.nonce, PLANE_AUDITS, &layout, entries);
    vindex__audits_encode(&record, bytes);
    return st == VINDEX_OK ? catalog_put(in->session->catalog, TABLE_CONFIG, audits_key,
                                         bytes_of(bytes, sizeof bytes))
                           : st;
}

vindex_status vindex__ingest_put_audits(struct ingest *in, const struct audits_record *audits,
                                        const void *entries)
{
    vindex_status st = vindex__ingest_enter(in);
    if (st != VINDEX_OK) return st;
    in->changed = true;
    in->flushed = false;
    st = vindex__audits_drop(in);
    if (st == VINDEX_OK && audits->n) st = put_audits(in, audits, entries);
    return vindex__ingest_leave(in, st);
}

/* ---- codes: delete -------------------------------------------------------------------------------------- */

static vindex_status read_codes(struct ingest *in, uint64_t seq, struct codes_record *record,
                                bool *is_there)
{
    unsigned char key[8];
    struct catalog_entry entry;
    store_be64(key, seq);
    *is_there = false;
    vindex_status st = catalog_get(in->session->catalog, TABLE_CODES, bytes_of(key, 8), &entry);
    if (st != VINDEX_OK || !entry.value.data) return st;
    *is_there = true;
    return vindex__codes_decode(entry.value, record);
}

vindex_status vindex__codes_drop(struct ingest *in, uint64_t seq)
{
    static const enum plane planes[] = {PLANE_C4, PLANE_C8, PLANE_P8};
    unsigned char key[8];
    struct codes_record record;
    bool is_there;
    store_be64(key, seq);
    vindex_status st = read_codes(in, seq, &record, &is_there);
    bool is_known = st == VINDEX_OK;
    st = disown_if_damaged(in, st);
    if (st != VINDEX_OK || !is_there) return st;
    for (size_t i = 0; i < sizeof planes / sizeof *planes && is_known && st == VINDEX_OK; i++) {
        struct plane_layout layout = vindex__codes_layout(&record, &in->config, planes[i]);
        st = delete_plane(in, record.nonce, planes[i], &layout);
    }
    return st == VINDEX_OK ? catalog_del(in->session->catalog, TABLE_CODES, bytes_of(key, 8)) : st;
}

/* ---- codes: make ------------------------------------------------------------------------------------------ */

/* What making codes needs, kept for the transaction. Groups take dim + m / 2 + p + 28 bytes a row. */
struct coder {
    struct model_copy *copy; /* NULL: there is no model */
    struct encoder *encoder; /* NULL: no planes for it to fill */
    struct groups groups;
    const unsigned char **blocks; /* of the segment being encoded */
    size_t blocks_capacity;
};

void vindex__coder_forget(struct ingest *in)
{
    struct coder *coder = in->coder;
    if (!coder) return;
    vindex__encoder_close(coder->encoder);
    vindex__groups_deinit(&coder->groups);
    vindex__model_unref(coder->copy);
    vindex__free(coder->blocks);
    vindex__free(coder);
    in->coder = NULL;
}

void vindex__ingest_set_pool(struct ingest *in, struct pool *pool)
{
    in->pool = pool;
}

static vindex_status open_encoder(struct ingest *in, struct coder *coder)
{
    const struct model *model = &coder->copy->model;
    struct vkern_model form = {.dim = in->config.dim,
                               .m = model->m,
                               .metric = in->config.metric,
                               .mean = model->mean,
                               .scale = model->scale,
                               .axes = model->axes,
                               .deviation = model->deviation,
                               .clip = model->clip,
                               .p = model->p,
                               .axes_norm = model->axes_norm};
    bool has_c8 = vindex__has_c8(&in->config);
    if (!model->m && !model->p && !has_c8) return VINDEX_OK;
    return vindex__encoder_open(&form, in->config.type, has_c8, in->pool, &coder->encoder);
}

static vindex_status coder_open(struct ingest *in, struct coder **out)
{
    vindex_status st = VINDEX_OK;
    *out = in->coder;
    if (in->coder) return VINDEX_OK;
    struct coder *coder = in->coder = vindex__calloc(1, sizeof *coder);
    if (!coder) return vindex__nomem();
    st = vindex__model_acquire(in->session, &in->config, NULL, &coder->copy);
    if (st == VINDEX_CORRUPT) st = VINDEX_OK; /* as none: no reason to refuse a commit; optimize drops it */
    if (st == VINDEX_OK && coder->copy) st = open_encoder(in, coder);
    if (st != VINDEX_OK) vindex__coder_forget(in);
    *out = in->coder;
    return st;
}

static void note_c8(const struct vkern_c8_facts *facts, struct codes_record *codes)
{
    codes->flags = CODES_C8 | (facts->whole ? CODES_WHOLE : 0) |
                   (facts->whole && facts->is_signed ? CODES_SIGNED : 0);
    codes->c8_error = facts->error;
    codes->c8_size = facts->size;
    codes->c8_bias = facts->bias_max;
}

static void note_p8(const struct vkern_p8_facts *facts, uint32_t p, struct codes_record *codes)
{
    codes->p = p;
    codes->p8_error = facts->codes.error;
    codes->p8_size = facts->codes.size;
    codes->p8_bias = facts->codes.bias_max;
    codes->p8_drift = facts->drift;
}

/* Blocks, then the record in place of the one there was. */
static vindex_status put_codes(struct ingest *in, uint64_t seq,
                               const struct segment_record *segment, const struct model *model,
                               const struct groups *groups)
{
    struct codes_record codes = {.n = segment->n, .m = model->m};
    unsigned char key[8], bytes[RECORD_CODES_BYTES];
    store_be64(key, seq);
    memcpy(codes.segment, segment->nonce, NONCE_BYTES);
    memcpy(codes.model, model->nonce, NONCE_BYTES);
    if (groups->has_c8) note_c8(&groups->c8_facts, &codes);
    if (groups->has_p8) note_p8(&groups->p8_facts, model->p, &codes);
    const struct {
        enum plane plane;
        const void *groups; /* NULL: there is no such plane */
    } planes[] = {{PLANE_C4, codes.m ? groups->c4 : NULL},
                  {PLANE_C8, groups->has_c8 ? groups->c8 : NULL},
                  {PLANE_P8, groups->has_p8 ? groups->p8 : NULL}};
    vindex_status st = vindex__codes_drop(in, seq);
    if (st == VINDEX_OK) st = vindex__nonce(codes.nonce, NONCE_BYTES);
    for (size_t i = 0; i < sizeof planes / sizeof *planes && st == VINDEX_OK; i++) {
        if (!planes[i].groups) continue;
        struct plane_layout layout = vindex__codes_layout(&codes, &in->config, planes[i].plane);
        st = put_plane(in, codes.nonce, planes[i].plane, &layout, planes[i].groups);
    }
    vindex__codes_encode(&codes, bytes);
    return st == VINDEX_OK ? catalog_put(in->session->catalog, TABLE_CODES, bytes_of(key, 8),
                                         bytes_of(bytes, sizeof bytes))
                           : st;
}

static vindex_status encode_segment(struct ingest *in, uint64_t seq, struct coder *coder,
                                    const struct row_source *source)
{
    vindex_status st = vindex__encode(coder->encoder, source, &coder->groups);
    if (st != VINDEX_OK) return st;
    return put_codes(in, seq, source->record, &coder->copy->model, &coder->groups);
}

vindex_status vindex__codes_put(struct ingest *in, uint64_t seq,
                                const struct segment_record *record)
{
    struct coder *coder = NULL;
    struct row_source source = {.in = in, .record = record};
    if (in->config.type == VINDEX_BIT) return VINDEX_OK;
    vindex_status st = coder_open(in, &coder);
    if (st != VINDEX_OK || !coder->encoder) return st;
    return encode_segment(in, seq, coder, &source);
}

/* ---- codes of committed segments --------------------------------------------------------------------------- */

static vindex_status open_blocks(struct ingest *in, struct coder *coder,
                                 const struct segment_record *record)
{
    uint32_t n_blocks = (record->n + record->rows_per_block - 1) / record->rows_per_block, n;
    vindex_status st = VINDEX_OK;
    if (!vindex__grow((void **)&coder->blocks, &coder->blocks_capacity, n_blocks,
                      sizeof *coder->blocks))
        return vindex__nomem();
    for (uint32_t i = 0; i < n_blocks && st == VINDEX_OK; i++)
        st = vindex__segment_block(in->session, &in->config, record, PLANE_FULL, i,
                                   &coder->blocks[i], &n);
    return st;
}

/* Whether its blocks are all there was seen to before (repair.c). */
static bool is_current(const struct codes_record *codes, const struct segment_record *segment,
                       const struct coder *coder)
{
    const struct model *model = &coder->copy->model;
    return codes->n == segment->n && memcmp(codes->segment, segment->nonce, NONCE_BYTES) == 0 &&
           memcmp(codes->model, model->nonce, NONCE_BYTES) == 0 &&
           (codes->m == 0 || codes->m == model->m) && (codes->p == 0 || codes->p == model->p);
}

/* The next segment after *seq that lacks codes of the model; *seq 0: none. */
static vindex_status next_without(struct ingest *in, const struct coder *coder, uint64_t *seq,
                                  const struct segment_record **record)
{
    for (;;) {
        struct codes_record codes;
        bool is_there;
        vindex_status st = vindex__next_segment(in, seq, record);
        if (st != VINDEX_OK || *seq == 0) return st;
        st = read_codes(in, *seq, &codes, &is_there);
        if (st != VINDEX_OK || !is_there || !is_current(&codes, *record, coder)) return st;
    }
}

static vindex_status encode_some(struct ingest *in, uint64_t max_bytes, uint64_t *after,
                                 uint64_t *n_done, bool *more)
{
    const struct segment_record *record = NULL;
    struct coder *coder = NULL;
    uint64_t done = 0, seq = *after;
    vindex_status st = coder_open(in, &coder);
    if (st != VINDEX_OK || !coder->encoder) return st;
    for (;;) {
        st = next_without(in, coder, &seq, &record);
        if (st != VINDEX_OK || seq == 0) return st;
        uint64_t size = (uint64_t)record->n * record->stride;
        *more = done && done + size > max_bytes;
        if (*more) return VINDEX_OK;
        struct row_source source = {.in = in, .record = record};
        st = open_blocks(in, coder, record);
        source.blocks = coder->blocks;
        if (st == VINDEX_OK) st = encode_segment(in, seq, coder, &source);
        if (st != VINDEX_OK) return st;
        in->changed = true;
        done += size;
        *after = seq;
        ++*n_done;
    }
}

vindex_status vindex__ingest_encode(struct ingest *in, uint64_t max_bytes, uint64_t *after,
                                    uint64_t *n_done, bool *more)
{
    *more = false;
    if (in->config.type == VINDEX_BIT) return VINDEX_OK;
    vindex_status st = vindex__ingest_enter(in);
    if (st != VINDEX_OK) return st;
    in->flushed = false;
    return vindex__ingest_leave(in, encode_some(in, max_bytes, after, n_done, more));
}

/* ---- is it time? ---------------------------------------------------------------------------------------------- */

/* Fewer rows are searched exactly in less than a millisecond, and say little about axes. */
#define TRAIN_ROWS_MIN 4096u
#define TRAIN_DIM_MIN 8u

static bool can_have_codes(const struct config *config)
{
    return config->type != VINDEX_BIT && config->dim >= TRAIN_DIM_MIN &&
           (vindex__has_c8(config) ||
            (config->dim >= TRAIN_AXES_DIM_MIN && config->dim <= TRAIN_AXES_DIM_MAX));
}

static vindex_status compare_with_model(struct session *session, const struct config *config,
                                        const struct state *state, bool *is_due)
{
    struct model_copy *copy = NULL;
    vindex_status st = vindex__model_acquire(session, config, NULL, &copy);
    *is_due = st == VINDEX_OK && (!copy || state->n_rows / 2 >= copy->model.n_rows);
    vindex__model_unref(copy);
    return st;
}

vindex_status vindex__train_is_due(struct session *session, bool again, bool *is_due)
{
    struct config config;
    struct state state;
    uint64_t stamp;
    *is_due = false;
    vindex_status st = catalog_refresh(session->catalog, &stamp);
    if (st == VINDEX_OK) st = vindex__read_head(session->catalog, &config, &state);
    if (st == VINDEX_OK && can_have_codes(&config) &&
        state.n_rows - state.n_tail >= TRAIN_ROWS_MIN) {
        *is_due = again;
        if (!again) st = compare_with_model(session, &config, &state, is_due);
    }
    catalog_release(session->catalog);
    return st;
}
