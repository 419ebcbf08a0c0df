/*
 * check_derived.c - the model, codes and audits: their records against what they are of, and every
 * block against its record. What FORMAT.md lets be out of date is passed over; what claims to be
 * current has to be whole.
 *
 * Of codes it verifies what needs no formula: sums, zeros where there is no element and no row,
 * factors within the bounds that error bands are made of. That codes stand for their rows is the
 * codec's to test.
 */
#include "storage/check_walk.h"

#include <float.h>
#include <math.h>

#include "base/mem.h"
#include "base/status.h"

/* Whose block it is, for messages. */
struct whose {
    const char *what; /* "codes of segment" */
    uint64_t number;
    const unsigned char *nonce;
};

/* *payload NULL: reported. */
static vindex_status read_block(struct walk *w, const struct whose *whose, enum plane plane,
                                const struct plane_layout *layout, uint32_t index,
                                const unsigned char **payload)
{
    struct block_key key = {.plane = (uint16_t)plane, .index = index};
    struct block_header header;
    struct bytes value;
    *payload = NULL;
    memcpy(key.nonce, whose->nonce, NONCE_BYTES);
    vindex_status st = blocks_get(w->session->blocks, &key, &value);
    if (st == VINDEX_OK && !value.data) {
        vindex__check_found(w, "%s %llu: block %u of plane %d is missing", whose->what,
                            (unsigned long long)whose->number, index, (int)plane);
        return VINDEX_OK;
    }
    if (st == VINDEX_OK) st = vindex__block_decode(value, &w->config, true, &header);
    if (st != VINDEX_OK) return vindex__check_absorb(w, st, whose->what, whose->number);
    if (header.plane != plane || header.stride != layout->stride ||
        header.n != layout_block_n(layout, index) ||
        header.first != layout_block_first(layout, index) ||
        memcmp(header.nonce, whose->nonce, NONCE_BYTES) != 0)
        vindex__check_found(w, "%s %llu: block %u of plane %d belongs elsewhere", whose->what,
                            (unsigned long long)whose->number, index, (int)plane);
    else
        *payload = (const unsigned char *)value.data + BLOCK_HEADER_BYTES;
    return VINDEX_OK;
}

/* Verifies the n entries of a block; NULL: they are right, else what is wrong. */
typedef const char *entries_fn(const struct walk *w, const void *context,
                               const unsigned char *entries, uint32_t first, uint32_t n);

static vindex_status check_plane(struct walk *w, const struct whose *whose, enum plane plane,
                                 const struct plane_layout *layout, entries_fn *verify,
                                 const void *context)
{
    for (uint32_t i = 0; i < layout->n_blocks; i++) {
        const unsigned char *entries = NULL;
        vindex_status st = read_block(w, whose, plane, layout, i, &entries);
        if (st != VINDEX_OK) return st;
        const char *wrong = entries ? verify(w, context, entries, layout_block_first(layout, i),
                                             layout_block_n(layout, i))
                                    : NULL;
        if (wrong)
            vindex__check_found(w, "%s %llu: block %u of plane %d: %s", whose->what,
                                (unsigned long long)whose->number, i, (int)plane, wrong);
    }
    return VINDEX_OK;
}

static vindex_status get_config(struct walk *w, const char *name, struct catalog_entry *entry)
{
    return catalog_get(w->session->catalog, TABLE_CONFIG, bytes_of(name, strlen(name)), entry);
}

static bool is_zero(const unsigned char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i]) return false;
    return true;
}

/* ---- the model ------------------------------------------------------------------------------- */

struct floats {
    uint32_t n_each; /* in an entry */
    bool is_signed;
};

static const char *verify_floats(const struct walk *w, const void *context,
                                 const unsigned char *entries, uint32_t first, uint32_t n)
{
    const struct floats *floats = context;
    (void)w;
    (void)first;
    for (size_t i = 0; i < (size_t)n * floats->n_each; i++) {
        float value = load_f32(entries + 4 * i);
        if (!isfinite(value)) return "a value is not finite";
        if (!floats->is_signed && value <= 0) return "a value is not above zero";
    }
    return NULL;
}

static vindex_status check_model(struct walk *w)
{
    const struct {
        enum plane plane;
        struct floats floats;
    } planes[] = {{PLANE_MEAN, {w->config.dim, true}},
                  {PLANE_SCALE, {w->config.dim, false}},
                  {PLANE_AXES, {w->config.dim, true}},
                  {PLANE_DEVIATION, {1, false}}};
    struct catalog_entry entry;
    vindex_status st = get_config(w, "model", &entry);
    if (st != VINDEX_OK || !entry.value.data) return st;
    st = vindex__model_decode(entry.value, &w->model);
    w->has_model = st == VINDEX_OK;
    if (st != VINDEX_OK) return vindex__check_absorb(w, st, "model", 0);

    struct whose whose = {"model", 0, w->model.nonce};
    for (size_t i = 0; i < sizeof planes / sizeof *planes && st == VINDEX_OK; i++) {
        struct plane_layout layout = vindex__model_layout(&w->model, &w->config, planes[i].plane);
        st = check_plane(w, &whose, planes[i].plane, &layout, verify_floats, &planes[i].floats);
    }
    return st;
}

/* ---- codes ----------------------------------------------------------------------------------- */

/* Rows in the group that begins at this slot; those after them are all zeros in every line. */
static uint32_t group_rows(const struct codes_record *codes, uint32_t slot)
{
    return codes->n - slot < GROUP_ROWS ? codes->n - slot : GROUP_ROWS;
}

static bool padding_is_zero(const unsigned char *group, size_t stride, uint32_t n_rows)
{
    for (size_t line = 0; n_rows < GROUP_ROWS && line < stride; line += 64)
        if (!is_zero(group + line + 4 * n_rows, 4 * (GROUP_ROWS - n_rows))) return false;
    return true;
}

static const char *verify_c4(const struct walk *w, const void *context, const unsigned char *groups,
                             uint32_t first, uint32_t n)
{
    const struct codes_record *codes = context;
    size_t stride = c4_stride(codes->m);
    (void)w;
    for (uint32_t i = 0; i < n; i++) {
        const unsigned char *group = groups + i * stride, *factors = group + 8 * (size_t)codes->m;
        uint32_t n_rows = group_rows(codes, first + GROUP_ROWS * i);
        if (!padding_is_zero(group, stride, n_rows)) return "what pads a group is not zero";
        for (uint32_t r = 0; r < n_rows; r++)
            if (!isfinite(load_f32(factors + 4 * (size_t)r))) return "a factor is not finite";
    }
    return NULL;
}

/* A plane of 8-bit codes: c8 or p8. */
struct codes8 {
    const struct codes_record *codes;
    uint32_t dim;    /* elements of a row */
    uint32_t stride; /* of a group */
    float bias_max;
};

static const char *verify_codes8_row(const struct codes8 *plane, const unsigned char *group,
                                     uint32_t r)
{
    uint32_t dim = plane->dim, n_lines = (dim + 3) / 4, sum = 0;
    for (uint32_t line = 0; line < n_lines; line++) {
        const unsigned char *four = group + 64 * (size_t)line + 4 * (size_t)r;
        sum += (uint32_t)four[0] + four[1] + four[2] + four[3];
        if (line + 1 == n_lines && dim % 4 && !is_zero(four + dim % 4, 4 - dim % 4))
            return "a code past the last element is not zero";
    }
    const unsigned char *factors = group + 64 * (size_t)n_lines + 4 * (size_t)r;
    float bias = load_f32(factors), scale = load_f32(factors + 64);
    if (!(bias >= 0 && bias <= plane->bias_max)) return "a bias is not within what the record says";
    if (!(scale >= 0 && scale <= FLT_MAX)) return "a factor is not finite";
    return load_le32(factors + 128) == sum ? NULL : "a sum of codes is wrong";
}

static const char *verify_codes8(const struct walk *w, const void *context,
                                 const unsigned char *groups, uint32_t first, uint32_t n)
{
    const struct codes8 *plane = context;
    (void)w;
    for (uint32_t i = 0; i < n; i++) {
        const unsigned char *group = groups + (size_t)i * plane->stride;
        uint32_t n_rows = group_rows(plane->codes, first + GROUP_ROWS * i);
        if (!padding_is_zero(group, plane->stride, n_rows)) return "what pads a group is not zero";
        for (uint32_t r = 0; r < n_rows; r++) {
            const char *wrong = verify_codes8_row(plane, group, r);
            if (wrong) return wrong;
        }
    }
    return NULL;
}

static bool is_current(const struct walk *w, const struct checked_segment *segment,
                       const struct codes_record *codes)
{
    return w->has_model && memcmp(codes->segment, segment->record.nonce, NONCE_BYTES) == 0 &&
           memcmp(codes->model, w->model.nonce, NONCE_BYTES) == 0;
}

static vindex_status check_current(struct walk *w, const struct checked_segment *segment,
                                   const struct codes_record *codes)
{
    struct whose whose = {"codes of segment", segment->seq, codes->nonce};
    struct plane_layout c4 = vindex__codes_layout(codes, &w->config, PLANE_C4);
    struct plane_layout c8 = vindex__codes_layout(codes, &w->config, PLANE_C8);
    struct plane_layout p8 = vindex__codes_layout(codes, &w->config, PLANE_P8);
    struct codes8 of_c8 = {codes, w->config.dim, c8.stride, codes->c8_bias};
    struct codes8 of_p8 = {codes, p8_dim(codes->p, w->config.metric), p8.stride, codes->p8_bias};
    if (codes->n != segment->record.n || (codes->m && codes->m != w->model.m) ||
        (codes->p && codes->p != w->model.p) || ((codes->flags & CODES_C8) && c8.n_blocks == 0))
        vindex__check_found(
            w, "codes of segment %llu: the record does not fit the segment or the model",
            (unsigned long long)segment->seq);
    vindex_status st = check_plane(w, &whose, PLANE_C4, &c4, verify_c4, codes);
    if (st == VINDEX_OK) st = check_plane(w, &whose, PLANE_C8, &c8, verify_codes8, &of_c8);
    return st == VINDEX_OK ? check_plane(w, &whose, PLANE_P8, &p8, verify_codes8, &of_p8) : st;
}

static vindex_status check_codes(struct walk *w)
{
    struct catalog_walk at = {.catalog = w->session->catalog, .table = TABLE_CODES};
    for (;;) {
        vindex_status st = vindex__walk_next(&at);
        if (st != VINDEX_OK || !at.value.data) return st;
        uint64_t seq = load_be64(at.key);
        const struct checked_segment *segment = vindex__check_segment(w, seq);
        if (!vindex__grow((void **)&w->codes, &w->codes_capacity, w->n_codes + 1, sizeof *w->codes))
            return vindex__nomem();
        struct codes_record *codes = &w->codes[w->n_codes];
        st = vindex__codes_decode(at.value, codes);
        if (st == VINDEX_OK) {
            w->n_codes++;
            if (!segment)
                vindex__check_found(w, "there are codes of segment %llu, which does not exist",
                                    (unsigned long long)seq);
            else if (is_current(w, segment, codes))
                st = check_current(w, segment, codes);
        } else {
            st = vindex__check_absorb(w, st, "codes of segment", seq);
        }
        if (st != VINDEX_OK) return st;
    }
}

/* ---- audits ---------------------------------------------------------------------------------- */

enum { AUDIT_KINDS = 3, AUDIT_DEPTH = 1024 };

static const char *verify_query(const unsigned char *query, size_t size, bool has_query)
{
    if (!has_query) return is_zero(query, size) ? NULL : "an audit without a query has one";
    for (size_t i = 0; i < size; i += 4)
        if (!isfinite(load_f32(query + i))) return "a query is not finite";
    return NULL;
}

static const char *verify_audits(const struct walk *w, const void *context,
                                 const unsigned char *entries, uint32_t first, uint32_t n)
{
    size_t stride = w->audits.entry_bytes;
    (void)context;
    (void)first;
    for (uint32_t i = 0; i < n; i++) {
        const unsigned char *audit = entries + i * stride;
        uint32_t kind = load_le32(audit), depth = load_le32(audit + 4);
        uint32_t has_query = load_le32(audit + 1040);
        if (kind == 0 || kind > AUDIT_KINDS || depth > AUDIT_DEPTH || has_query > 1 ||
            (has_query && stride == AUDIT_HEAD_BYTES) || load_le32(audit + 1044) > w->state.next_seq ||
            !is_zero(audit + 16 + depth, AUDIT_DEPTH - depth))
            return "an audit holds values outside the format's ranges";
        const char *wrong =
            verify_query(audit + AUDIT_HEAD_BYTES, stride - AUDIT_HEAD_BYTES, has_query != 0);
        if (wrong) return wrong;
    }
    return NULL;
}

static vindex_status check_audits(struct walk *w)
{
    struct catalog_entry entry;
    vindex_status st = get_config(w, "audits", &entry);
    if (st != VINDEX_OK || !entry.value.data) return st;
    st = vindex__audits_decode(entry.value, &w->audits);
    w->has_audits = st == VINDEX_OK;
    w->has_foreign_audits = st == VINDEX_UNSUPPORTED;
    if (w->has_foreign_audits) return VINDEX_OK; /* a newer library's: readers pass over them */
    if (st != VINDEX_OK) return vindex__check_absorb(w, st, "audits", 0);

    struct whose whose = {"audits", 0, w->audits.nonce};
    struct plane_layout layout = vindex__audits_layout(&w->audits);
    if (w->audits.n && layout.stride != audit_stride(w->config.dim)) {
        vindex__check_found(w, "the audits have %u bytes each, %u are needed", layout.stride,
                            audit_stride(w->config.dim));
        return VINDEX_OK;
    }
    return check_plane(w, &whose, PLANE_AUDITS, &layout, verify_audits, NULL);
}

vindex_status vindex__check_derived(struct walk *w)
{
    vindex_status st = check_model(w);
    if (st == VINDEX_OK) st = check_codes(w);
    return st == VINDEX_OK ? check_audits(w) : st;
}
