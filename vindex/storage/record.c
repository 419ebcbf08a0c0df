/*
 * record.c - the one encoder and decoder of catalog records and block headers. FORMAT.md has the layouts;
 * offsets below are its offsets. Nothing is trusted: every field is checked before it leaves this file.
 */
#include "storage/record.h"

#include <float.h>
#include <math.h>
#include <stddef.h>

#include "base/status.h"

enum record_kind {
    KIND_CONFIG = 1,
    KIND_STATE = 2,
    KIND_TAIL = 3,
    KIND_SEGMENT = 4,
    KIND_RUN = 5,
    KIND_DEAD = 6, /* of a sidecar only: nothing here reads it */
    KIND_MODEL = 7,
    KIND_CODES = 8,
    KIND_AUDITS = 9
};
#define RECORD_VERSION 1
#define RECORD_HEAD 8u

static const char *const kind_names[] = {"?",   "config", "state", "tail",  "segment",
                                         "run", "dead",   "model", "codes", "audits"};

static void head_seal(enum record_kind kind, unsigned char *record, size_t size)
{
    record[0] = (unsigned char)kind;
    record[1] = RECORD_VERSION;
    store_le16(record + 2, 0);
    store_le32(record + 4, vindex__crc32c(0, record + RECORD_HEAD, size - RECORD_HEAD));
}

/* A damaged version byte must not pass for a newer format: the checksum is looked at first. */
static vindex_status head_check(enum record_kind kind, struct bytes record, size_t size_min)
{
    const unsigned char *r = record.data;
    if (record.size < size_min)
        return vindex__corrupt("a %s record of %zu bytes is shorter than %zu", kind_names[kind],
                               record.size, size_min);
    if (r[0] != kind || load_le16(r + 2) != 0)
        return vindex__corrupt("a record of kind %u stands where a %s record belongs", r[0],
                               kind_names[kind]);
    if (load_le32(r + 4) != vindex__crc32c(0, r + RECORD_HEAD, record.size - RECORD_HEAD))
        return vindex__corrupt("the checksum of a %s record does not match", kind_names[kind]);
    if (r[1] != RECORD_VERSION)
        return vindex__fail(VINDEX_UNSUPPORTED,
                            "a %s record has version %u, this library reads %d: use a newer vindex",
                            kind_names[kind], r[1], RECORD_VERSION);
    return VINDEX_OK;
}

/* ---- fields ---------------------------------------------------------------------------------- */

/* Where a field lies in a record and in its struct: its layout is written down once, for both directions. */
struct field {
    uint8_t at;
    uint8_t size;   /* 4 or 8: a number or a float; 16: bytes; 2: a u32 stored in two bytes */
    uint8_t member; /* RESERVED: zero, and nothing else is accepted */
};
#define RESERVED UINT8_MAX
#define MEMBER_IS(type, name, bytes)                                                               \
    sizeof(char[sizeof((struct type *)0)->name == (bytes) ? 1 : -1])
#define FIELD_OF(at, size, type, name, bytes)                                                      \
    {                                                                                              \
        (at), (size), (uint8_t)(offsetof(struct type, name) + 0 * MEMBER_IS(type, name, bytes))    \
    }
#define U16(at, type, name) FIELD_OF(at, 2, type, name, 4)
#define U32(at, type, name) FIELD_OF(at, 4, type, name, 4)
#define U64(at, type, name) FIELD_OF(at, 8, type, name, 8)
#define F32(at, type, name) FIELD_OF(at, 4, type, name, 4)
#define NAME(at, type, name) FIELD_OF(at, 16, type, name, NONCE_BYTES)
#define ZERO16(at)                                                                                 \
    {                                                                                              \
        (at), 2, RESERVED                                                                          \
    }
#define ZERO32(at)                                                                                 \
    {                                                                                              \
        (at), 4, RESERVED                                                                          \
    }
#define N_FIELDS(fields) (sizeof(fields) / sizeof *(fields))

static void put_fields(const struct field *fields, size_t n, const void *from,
                       unsigned char *record)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char *to = record + fields[i].at;
        const char *member = (const char *)from + fields[i].member;
        uint32_t u32 = 0;
        uint64_t u64 = 0;
        if (fields[i].member == RESERVED) {
            memset(to, 0, fields[i].size);
            continue;
        }
        switch (fields[i].size) {
        case 16: memcpy(to, member, 16); break;
        case 8: memcpy(&u64, member, 8), store_le64(to, u64); break;
        case 4: memcpy(&u32, member, 4), store_le32(to, u32); break;
        default: memcpy(&u32, member, 4), store_le16(to, (uint16_t)u32);
        }
    }
}

/* false: a reserved field is not zero. */
static bool get_fields(const struct field *fields, size_t n, const unsigned char *record, void *to)
{
    bool is_zero = true;
    for (size_t i = 0; i < n; i++) {
        const unsigned char *from = record + fields[i].at;
        char *member = (char *)to + fields[i].member;
        uint32_t u32 = fields[i].size == 2 ? load_le16(from) : load_le32(from);
        uint64_t u64 = 0;
        if (fields[i].member == RESERVED) {
            is_zero = is_zero && u32 == 0;
            continue;
        }
        switch (fields[i].size) {
        case 16: memcpy(member, from, 16); break;
        case 8: u64 = load_le64(from), memcpy(member, &u64, 8); break;
        default: memcpy(member, &u32, 4);
        }
    }
    return is_zero;
}

/* ---- config, state --------------------------------------------------------------------------- */

static const struct field config_fields[] = {
    U32(8, config, format),  U32(12, config, dim),       U16(16, config, type),
    U16(18, config, metric), U16(20, config, layout),    ZERO16(22),
    F32(24, config, recall), U32(28, config, seal_rows), U64(32, config, seal_bytes),
    NAME(40, config, uuid),
};

void vindex__config_encode(const struct config *config, unsigned char out[RECORD_CONFIG_BYTES])
{
    put_fields(config_fields, N_FIELDS(config_fields), config, out);
    head_seal(KIND_CONFIG, out, RECORD_CONFIG_BYTES);
}

vindex_status vindex__config_decode(struct bytes record, struct config *config)
{
    const unsigned char *r = record.data;
    vindex_status st = head_check(KIND_CONFIG, record, RECORD_CONFIG_BYTES);
    if (st != VINDEX_OK) return st;

    bool is_zero = get_fields(config_fields, N_FIELDS(config_fields), r, config);
    if (config->format > FORMAT_VERSION)
        return vindex__fail(
            VINDEX_UNSUPPORTED,
            "the index has format %u, this library reads up to %u: use a newer vindex",
            config->format, FORMAT_VERSION);

    bool is_bit = config->type == VINDEX_BIT;
    if (!is_zero || record.size != RECORD_CONFIG_BYTES || config->format == 0 || config->dim == 0 ||
        config->dim > VINDEX_DIM_MAX || config->type > VINDEX_BIT ||
        config->metric > VINDEX_HAMMING || is_bit != (config->metric == VINDEX_HAMMING) ||
        config->layout > VINDEX_LAYOUT_FLAT || !(config->recall > 0 && config->recall <= 1) ||
        config->seal_rows == 0 || config->seal_rows > SEGMENT_ROWS_MAX || config->seal_bytes == 0 ||
        config->seal_bytes > SEGMENT_BYTES_MAX)
        return vindex__corrupt("the config record holds values outside the format's ranges");
    return VINDEX_OK;
}

static const struct field state_fields[] = {
    U64(8, state, epoch),
    U64(16, state, next_seq),
    U64(24, state, next_id),
    U64(32, state, n_rows),
    U64(40, state, n_tail),
    U32(48, state, flags),
    ZERO32(52),
    U64(56, state, mark),
};

void vindex__state_encode(const struct state *state, unsigned char out[RECORD_STATE_BYTES])
{
    put_fields(state_fields, N_FIELDS(state_fields), state, out);
    head_seal(KIND_STATE, out, RECORD_STATE_BYTES);
}

vindex_status vindex__state_decode(struct bytes record, struct state *state)
{
    const unsigned char *r = record.data;
    vindex_status st = head_check(KIND_STATE, record, RECORD_STATE_BYTES);
    if (st != VINDEX_OK) return st;

    bool is_zero = get_fields(state_fields, N_FIELDS(state_fields), r, state);
    if (!is_zero || record.size != RECORD_STATE_BYTES || state->next_seq == 0 ||
        state->next_seq > INT64_MAX || state->n_tail > SEGMENT_ROWS_MAX || state->next_id < 0 ||
        state->n_tail > state->n_rows || (state->flags & ~STATE_EARLY_BLOCKS))
        return vindex__corrupt("the state record holds values outside the format's ranges");
    return VINDEX_OK;
}

static const struct field segment_fields[] = {
    NAME(8, segment_record, nonce),          U64(24, segment_record, mark),
    U32(32, segment_record, list),           U32(36, segment_record, n),
    U32(40, segment_record, n_live),         U32(44, segment_record, stride),
    U32(48, segment_record, rows_per_block), U32(52, segment_record, flags),
    U64(56, segment_record, min_id),         U64(64, segment_record, max_id),
    F32(72, segment_record, norm_lo),        F32(76, segment_record, norm_hi),
};

size_t vindex__segment_encode(const struct segment_record *segment, unsigned char *out)
{
    size_t n_words = bitmap_words(segment->n), size = 80 + 8 * n_words;
    put_fields(segment_fields, N_FIELDS(segment_fields), segment, out);
    for (size_t i = 0; i < n_words; i++)
        store_le64(out + 80 + 8 * i, segment->live[i]);
    head_seal(KIND_SEGMENT, out, size);
    return size;
}

static bool live_is_valid(const struct segment_record *s)
{
    uint64_t beyond = s->n % 64 ? ~UINT64_C(0) << (s->n % 64) : 0;
    return !(s->live[s->n / 64 - (s->n % 64 ? 0 : 1)] & beyond) &&
           vindex__bitmap_count(s->live, s->n) == s->n_live;
}

static bool norms_are_valid(const struct segment_record *s)
{
    return s->norm_lo >= 0 && s->norm_hi >= s->norm_lo && s->norm_hi <= FLT_MAX;
}

vindex_status vindex__segment_decode(struct bytes record, const struct config *config,
                                     struct segment_record *segment)
{
    const unsigned char *r = record.data;
    vindex_status st = head_check(KIND_SEGMENT, record, 88);
    if (st != VINDEX_OK) return st;

    get_fields(segment_fields, N_FIELDS(segment_fields), r, segment);
    if (segment->n == 0 || segment->n > SEGMENT_ROWS_MAX || segment->n_live == 0 ||
        segment->n_live > segment->n || record.size != 80 + 8 * bitmap_words(segment->n) ||
        segment->stride != vindex__full_stride(vindex__config_row_bytes(config)) ||
        segment->rows_per_block != vindex__full_rows_per_block(segment->stride) ||
        (segment->flags & ~SEGMENT_IDS_ASCEND) || segment->min_id > segment->max_id ||
        !norms_are_valid(segment))
        return vindex__corrupt("a segment record holds values outside the format's ranges");

    memset(segment->live, 0, sizeof segment->live);
    for (size_t i = 0; i < bitmap_words(segment->n); i++)
        segment->live[i] = load_le64(r + 80 + 8 * i);
    if (!live_is_valid(segment))
        return vindex__corrupt("a segment's live bitmap does not agree with its count of %u",
                               segment->n_live);
    return VINDEX_OK;
}

static const struct field run_fields[] = {
    U64(8, run_record, seq),
    U32(16, run_record, slot),
    U32(20, run_record, count),
};

void vindex__run_encode(const struct run_record *run, unsigned char out[RECORD_RUN_BYTES])
{
    put_fields(run_fields, N_FIELDS(run_fields), run, out);
    head_seal(KIND_RUN, out, RECORD_RUN_BYTES);
}

vindex_status vindex__run_decode(struct bytes record, struct run_record *run)
{
    const unsigned char *r = record.data;
    vindex_status st = head_check(KIND_RUN, record, RECORD_RUN_BYTES);
    if (st != VINDEX_OK) return st;

    get_fields(run_fields, N_FIELDS(run_fields), r, run);
    if (record.size != RECORD_RUN_BYTES || run->seq == 0 || run->count == 0 ||
        run->slot >= SEGMENT_ROWS_MAX || run->count > SEGMENT_ROWS_MAX - run->slot)
        return vindex__corrupt("a run of ids holds values outside the format's ranges");
    return VINDEX_OK;
}

void vindex__tail_encode(float norm, struct bytes row, unsigned char *out)
{
    store_f32(out + 8, norm);
    store_le32(out + 12, 0);
    memcpy(out + RECORD_TAIL_HEAD, row.data, row.size);
    head_seal(KIND_TAIL, out, RECORD_TAIL_HEAD + row.size);
}

vindex_status vindex__tail_decode(struct bytes record, const struct config *config, float *norm,
                                  const void **row)
{
    const unsigned char *r = record.data;
    vindex_status st =
        head_check(KIND_TAIL, record, RECORD_TAIL_HEAD + vindex__config_row_bytes(config));
    if (st != VINDEX_OK) return st;

    *norm = load_f32(r + 8);
    *row = r + RECORD_TAIL_HEAD;
    if (record.size != RECORD_TAIL_HEAD + vindex__config_row_bytes(config) ||
        load_le32(r + 12) != 0 || !(*norm >= 0 && *norm <= FLT_MAX))
        return vindex__corrupt("a tail record holds values outside the format's ranges");
    return VINDEX_OK;
}

/* ---- derived planes ------------------------------------------------------------------------ */

/* False for NaN too. */
static bool is_size(float value)
{
    return value >= 0 && value <= FLT_MAX;
}

static bool axes_are_valid(uint32_t m)
{
    return m % 8 == 0 && m <= MODEL_AXES_MAX;
}

/* A record without the fields of plane p8, which are zero then, or with them. false: of neither length. */
static bool complete(struct bytes record, size_t without_p8, unsigned char *full, size_t full_bytes)
{
    if (record.size != without_p8 && record.size != full_bytes) return false;
    memset(full, 0, full_bytes);
    memcpy(full, record.data, record.size);
    return true;
}

static const struct field model_fields[] = {
    NAME(8, model_record, nonce),     U64(24, model_record, n_rows),
    U32(32, model_record, m),         F32(36, model_record, clip),
    F32(40, model_record, energy),    U32(44, model_record, p),
    F32(48, model_record, axes_norm), F32(52, model_record, p8_share),
};

void vindex__model_encode(const struct model_record *model, unsigned char out[RECORD_MODEL_BYTES])
{
    put_fields(model_fields, N_FIELDS(model_fields), model, out);
    head_seal(KIND_MODEL, out, RECORD_MODEL_BYTES);
}

/* Axes that are all but orthonormal: a matrix of them stretches by next to nothing. */
static bool p8_axes_are_valid(const struct model_record *m)
{
    if (!axes_are_valid(m->p)) return false;
    if (!m->p) return m->axes_norm == 0 && m->p8_share == 0;
    return m->axes_norm >= 1 && m->axes_norm < 2 && m->p8_share >= 0 && m->p8_share <= 1;
}

vindex_status vindex__model_decode(struct bytes record, struct model_record *model)
{
    unsigned char full[RECORD_MODEL_BYTES];
    vindex_status st = head_check(KIND_MODEL, record, RECORD_MODEL_SHORT);
    if (st != VINDEX_OK) return st;

    if (!complete(record, RECORD_MODEL_SHORT, full, sizeof full) ||
        !get_fields(model_fields, N_FIELDS(model_fields), full, model) || !axes_are_valid(model->m) ||
        !is_size(model->clip) || model->clip == 0 || !(model->energy >= 0 && model->energy <= 1) ||
        !p8_axes_are_valid(model))
        return vindex__corrupt("the model record holds values outside the format's ranges");
    return VINDEX_OK;
}

static const struct field codes_fields[] = {
    NAME(8, codes_record, nonce),    NAME(24, codes_record, segment),
    NAME(40, codes_record, model),   U32(56, codes_record, n),
    U32(60, codes_record, m),        U32(64, codes_record, flags),
    F32(68, codes_record, c8_error), F32(72, codes_record, c8_size),
    F32(76, codes_record, c8_bias),  U32(80, codes_record, p),
    F32(84, codes_record, p8_error), F32(88, codes_record, p8_size),
    F32(92, codes_record, p8_bias),  F32(96, codes_record, p8_drift),
    ZERO32(100),
};

void vindex__codes_encode(const struct codes_record *codes, unsigned char out[RECORD_CODES_BYTES])
{
    put_fields(codes_fields, N_FIELDS(codes_fields), codes, out);
    head_seal(KIND_CODES, out, RECORD_CODES_BYTES);
}

/* Each flag means something only beside the one before it; without plane c8 nothing is said of it. */
static bool c8_is_valid(const struct codes_record *c)
{
    uint32_t flags = c->flags;
    if (flags & ~(CODES_C8 | CODES_WHOLE | CODES_SIGNED)) return false;
    if ((flags & CODES_WHOLE) && !(flags & CODES_C8)) return false;
    if ((flags & CODES_SIGNED) && !(flags & CODES_WHOLE)) return false;
    if (!(flags & CODES_C8)) return c->c8_error == 0 && c->c8_size == 0 && c->c8_bias == 0;
    return is_size(c->c8_error) && is_size(c->c8_size) && is_size(c->c8_bias);
}

static bool p8_is_valid(const struct codes_record *c)
{
    const float facts[] = {c->p8_error, c->p8_size, c->p8_bias, c->p8_drift};
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        if (c->p ? !is_size(facts[i]) : facts[i] != 0) return false;
    return axes_are_valid(c->p);
}

vindex_status vindex__codes_decode(struct bytes record, struct codes_record *codes)
{
    unsigned char full[RECORD_CODES_BYTES];
    vindex_status st = head_check(KIND_CODES, record, RECORD_CODES_SHORT);
    if (st != VINDEX_OK) return st;

    if (!complete(record, RECORD_CODES_SHORT, full, sizeof full) ||
        !get_fields(codes_fields, N_FIELDS(codes_fields), full, codes) || codes->n == 0 ||
        codes->n > SEGMENT_ROWS_MAX || !axes_are_valid(codes->m) || !c8_is_valid(codes) ||
        !p8_is_valid(codes))
        return vindex__corrupt("a codes record holds values outside the format's ranges");
    return VINDEX_OK;
}

static const struct field audits_fields[] = {
    NAME(8, audits_record, nonce),
    NAME(24, audits_record, model),
    U64(40, audits_record, n_rows),
    U32(48, audits_record, n),
    U32(52, audits_record, entry_bytes),
    U32(56, audits_record, version),
    ZERO32(60),
};

void vindex__audits_encode(const struct audits_record *audits,
                           unsigned char out[RECORD_AUDITS_BYTES])
{
    put_fields(audits_fields, N_FIELDS(audits_fields), audits, out);
    head_seal(KIND_AUDITS, out, RECORD_AUDITS_BYTES);
}

vindex_status vindex__audits_decode(struct bytes record, struct audits_record *audits)
{
    const unsigned char *r = record.data;
    vindex_status st = head_check(KIND_AUDITS, record, RECORD_AUDITS_BYTES);
    if (st != VINDEX_OK) return st;

    bool is_zero = get_fields(audits_fields, N_FIELDS(audits_fields), r, audits);
    if (audits->version > AUDITS_VERSION)
        return vindex__fail(
            VINDEX_UNSUPPORTED,
            "the audits have version %u, this library reads up to %u: use a newer vindex",
            audits->version, AUDITS_VERSION);
    if (!is_zero || record.size != RECORD_AUDITS_BYTES || audits->version == 0 ||
        audits->n > AUDITS_MAX || audits->entry_bytes < AUDIT_HEAD_BYTES ||
        audits->entry_bytes > BLOCK_PAYLOAD_BYTES || audits->entry_bytes % 4 != 0)
        return vindex__corrupt("the audits record holds values outside the format's ranges");
    return VINDEX_OK;
}

static struct plane_layout layout_of(uint32_t n, uint32_t stride, uint32_t slots)
{
    struct plane_layout layout = {.slots = slots};
    if (n == 0 || stride == 0) return layout;
    layout.n = n;
    layout.stride = stride;
    layout.per_block = BLOCK_PAYLOAD_BYTES / stride;
    layout.n_blocks = (n + layout.per_block - 1) / layout.per_block;
    return layout;
}

struct plane_layout vindex__model_layout(const struct model_record *model,
                                         const struct config *config, enum plane plane)
{
    uint32_t axes = model->m > model->p ? model->m : model->p;
    switch (plane) {
    case PLANE_MEAN:
    case PLANE_SCALE: return layout_of(1, 4 * config->dim, 1);
    case PLANE_AXES: return layout_of(axes, 4 * config->dim, 1);
    case PLANE_DEVIATION: return layout_of(axes, 4, 1);
    default: return layout_of(0, 0, 1);
    }
}

struct plane_layout vindex__codes_layout(const struct codes_record *codes,
                                         const struct config *config, enum plane plane)
{
    uint32_t n_groups = (codes->n + GROUP_ROWS - 1) / GROUP_ROWS;
    if (plane == PLANE_C4 && codes->m) return layout_of(n_groups, c4_stride(codes->m), GROUP_ROWS);
    if (plane == PLANE_C8 && (codes->flags & CODES_C8))
        return layout_of(n_groups, c8_stride(config->dim), GROUP_ROWS);
    if (plane == PLANE_P8 && codes->p)
        return layout_of(n_groups, p8_stride(codes->p, config->metric), GROUP_ROWS);
    return layout_of(0, 0, GROUP_ROWS);
}

struct plane_layout vindex__audits_layout(const struct audits_record *audits)
{
    return layout_of(audits->n, audits->entry_bytes, 1);
}

/* ---- blocks --------------------------------------------------------------------------------- */

#define BLOCK_MAGIC "VXB1"
#define BLOCK_VERSION 1

void vindex__block_seal(const struct block_header *header, unsigned char *block)
{
    size_t size = BLOCK_HEADER_BYTES + (size_t)header->n * header->stride;
    memcpy(block, BLOCK_MAGIC, 4);
    store_le16(block + 8, BLOCK_VERSION);
    store_le16(block + 10, header->plane);
    store_le32(block + 12, header->n);
    store_le32(block + 16, header->stride);
    store_le32(block + 20, header->dim);
    store_le16(block + 24, header->type);
    store_le16(block + 26, 0);
    store_le32(block + 28, header->first);
    memcpy(block + 32, header->nonce, NONCE_BYTES);
    store_le32(block + 4, vindex__crc32c(0, block + 8, size - 8));
}

/* What a header of one plane may say: its stride, its entries (0 = a plane this version does not know, or one that an
 * index of this type does not have), and where the last of them may end. */
struct plane_rule {
    uint32_t stride_min, stride_max, stride_step;
    uint32_t n_max; /* entries of the whole plane */
    uint32_t slots; /* of an entry */
};

static struct plane_rule rule_of(uint16_t plane, const struct config *config)
{
    uint32_t full = vindex__full_stride(vindex__config_row_bytes(config));
    uint32_t floats = 4 * config->dim, c8 = c8_stride(config->dim);
    uint32_t audit = audit_stride(config->dim), n_groups = SEGMENT_ROWS_MAX / GROUP_ROWS;
    bool is_bit = config->type == VINDEX_BIT; /* no norms, no codes */
    struct plane_rule none = {0, 0, 1, 0, 1};
    switch (plane) {
    case PLANE_FULL: return (struct plane_rule){full, full, 1, SEGMENT_ROWS_MAX, 1};
    case PLANE_IDS: return (struct plane_rule){8, 8, 1, SEGMENT_ROWS_MAX, 1};
    case PLANE_AUDITS: return (struct plane_rule){audit, audit, 1, AUDITS_MAX, 1};
    default: break;
    }
    if (is_bit) return none;
    switch (plane) {
    case PLANE_NORM: return (struct plane_rule){4, 4, 1, SEGMENT_ROWS_MAX, 1};
    case PLANE_MEAN:
    case PLANE_SCALE: return (struct plane_rule){floats, floats, 1, 1, 1};
    case PLANE_AXES: return (struct plane_rule){floats, floats, 1, MODEL_AXES_MAX, 1};
    case PLANE_DEVIATION: return (struct plane_rule){4, 4, 1, MODEL_AXES_MAX, 1};
    case PLANE_C4:
        return (struct plane_rule){c4_stride(8), c4_stride(MODEL_AXES_MAX), 64, n_groups,
                                   GROUP_ROWS};
    case PLANE_C8: return (struct plane_rule){c8, c8, 1, c8 ? n_groups : 0, GROUP_ROWS};
    case PLANE_P8: /* 8 axes are 2 lines */
        return (struct plane_rule){p8_stride(8, config->metric),
                                   p8_stride(MODEL_AXES_MAX, config->metric), 128, n_groups,
                                   GROUP_ROWS};
    default: return none;
    }
}

static bool obeys(const struct block_header *h, const struct plane_rule *rule)
{
    return h->n > 0 && h->n <= rule->n_max && h->stride >= rule->stride_min &&
           h->stride <= rule->stride_max &&
           (h->stride - rule->stride_min) % rule->stride_step == 0 && h->first % rule->slots == 0 &&
           h->first / rule->slots <= rule->n_max - h->n;
}

vindex_status vindex__block_decode(struct bytes block, const struct config *config, bool checksum,
                                   struct block_header *header)
{
    const unsigned char *b = block.data;
    if (block.size < BLOCK_HEADER_BYTES || memcmp(b, BLOCK_MAGIC, 4) != 0)
        return vindex__corrupt("a block of %zu bytes has no valid header", block.size);
    if (checksum && load_le32(b + 4) != vindex__crc32c(0, b + 8, block.size - 8))
        return vindex__corrupt("the checksum of a block does not match");

    header->plane = load_le16(b + 10);
    header->n = load_le32(b + 12);
    header->stride = load_le32(b + 16);
    header->dim = load_le32(b + 20);
    header->type = load_le16(b + 24);
    header->first = load_le32(b + 28);
    memcpy(header->nonce, b + 32, NONCE_BYTES);
    struct plane_rule rule = rule_of(header->plane, config);
    if (load_le16(b + 8) != BLOCK_VERSION || !obeys(header, &rule) ||
        block.size != BLOCK_HEADER_BYTES + (size_t)header->n * header->stride ||
        block.size > BLOCK_BYTES || header->dim != config->dim || header->type != config->type ||
        load_le16(b + 26) != 0)
        return vindex__corrupt("a block's header does not agree with the index's");
    return VINDEX_OK;
}

size_t vindex__config_row_bytes(const struct config *config)
{
    return vindex_row_bytes((vindex_type)config->type, config->dim);
}

uint32_t vindex__full_stride(size_t row_bytes)
{
    size_t aligned = (row_bytes + 63) / 64 * 64;
    return (uint32_t)(aligned - row_bytes <= row_bytes / 16 ? aligned : row_bytes);
}
