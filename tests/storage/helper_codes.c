/*
 * helper_codes.c - see helper_codes.h.
 */
#include "helper_codes.h"

#include <string.h>

#include "base/random.h"

static const uint32_t segment_rows[N_SEGMENTS + 1] = {0, 130, SEGMENT_ROWS_MAX, 1};

static void seq_key(uint64_t seq, unsigned char key[8])
{
    store_be64(key, seq);
}

/* Nonces differ by what they are of, and each is new. */
static void new_nonce(unsigned char nonce[NONCE_BYTES])
{
    static uint64_t n;
    struct rng rng;
    vindex__rng_init(&rng, 977 + n++);
    store_le64(nonce, vindex__rng_next(&rng));
    store_le64(nonce + 8, n);
}

void codes_index_create(struct codes_index *f, const char *path, vindex_metric metric)
{
    memset(f, 0, sizeof *f);
    f->config = test_config();
    f->config.dim = CODES_DIM;
    f->config.metric = metric;
    f->state = (struct state){.next_seq = 1};
    CHECK_OK(vindex__store_create(path, &f->config, &f->store));
    f->writer = test_session(f->store, true);
}

void codes_index_close(struct codes_index *f)
{
    vindex__session_close(f->store, &f->writer);
    vindex__store_close(f->store);
}

static void put_config_record(struct codes_index *f, const char *name, const void *record,
                              size_t size)
{
    CHECK_OK(catalog_put(f->writer.catalog, TABLE_CONFIG, bytes_of(name, strlen(name)),
                         bytes_of(record, size)));
}

void commit_codes(struct codes_index *f)
{
    unsigned char record[RECORD_STATE_BYTES];
    f->state.epoch++;
    f->state.mark = f->state.mark * UINT64_C(6364136223846793005) + 1442695040888963407u;
    vindex__state_encode(&f->state, record);
    put_config_record(f, "state", record, sizeof record);
    CHECK_OK(catalog_commit(f->writer.catalog));
}

/* ---- blocks ------------------------------------------------------------------------------ */

static void put_block(struct codes_index *f, const struct block_header *header, uint32_t index,
                      const void *entries)
{
    static unsigned char block[BLOCK_BYTES];
    struct block_key key = {.plane = header->plane, .index = index};
    size_t size = (size_t)header->n * header->stride;
    CHECK(size <= BLOCK_PAYLOAD_BYTES);
    memcpy(key.nonce, header->nonce, NONCE_BYTES);
    memcpy(block + BLOCK_HEADER_BYTES, entries, size);
    vindex__block_seal(header, block);
    CHECK_OK(blocks_put(f->writer.blocks, &key, bytes_of(block, BLOCK_HEADER_BYTES + size)));
}

/* A plane by its layout. */
static void put_plane(struct codes_index *f, const unsigned char nonce[NONCE_BYTES],
                      enum plane plane, const struct plane_layout *layout, const void *entries)
{
    const char *from = entries;
    for (uint32_t i = 0; i < layout->n_blocks; i++) {
        struct block_header header = {.plane = (uint16_t)plane,
                                      .type = (uint16_t)f->config.type,
                                      .n = layout_block_n(layout, i),
                                      .stride = layout->stride,
                                      .dim = f->config.dim,
                                      .first = layout_block_first(layout, i)};
        memcpy(header.nonce, nonce, NONCE_BYTES);
        put_block(f, &header, i, from);
        from += (size_t)header.n * header.stride;
    }
}

void del_block(struct codes_index *f, const unsigned char nonce[NONCE_BYTES], enum plane plane,
               uint32_t index)
{
    struct block_key key = {.plane = (uint16_t)plane, .index = index};
    memcpy(key.nonce, nonce, NONCE_BYTES);
    CHECK_OK(blocks_del(f->writer.blocks, &key));
}

void bend_block(struct codes_index *f, const unsigned char nonce[NONCE_BYTES], enum plane plane,
                uint32_t index, long at, const void *bytes, size_t size)
{
    static unsigned char block[BLOCK_BYTES];
    struct session s = test_session(f->store, false);
    struct block_key key = {.plane = (uint16_t)plane, .index = index};
    struct bytes value;
    uint64_t stamp;
    memcpy(key.nonce, nonce, NONCE_BYTES);
    CHECK_OK(catalog_refresh(s.catalog, &stamp));
    CHECK_OK(blocks_get(s.blocks, &key, &value));
    CHECK(value.data != NULL);
    memcpy(block, value.data, value.size);
    catalog_release(s.catalog);
    vindex__session_close(f->store, &s);

    memcpy(block + BLOCK_HEADER_BYTES + at, bytes, size);
    store_le32(block + 4, vindex__crc32c(0, block + 8, value.size - 8));
    del_block(f, nonce, plane, index);
    commit_codes(f);
    CHECK_OK(blocks_put(f->writer.blocks, &key, bytes_of(block, value.size)));
    commit_codes(f);
}

/* ---- segments ---------------------------------------------------------------------------- */

void put_segment_record(struct codes_index *f, uint64_t seq)
{
    static unsigned char record[RECORD_SEGMENT_MAX];
    unsigned char key[8];
    seq_key(seq, key);
    f->segments[seq].mark = f->state.mark + 1;
    size_t size = vindex__segment_encode(&f->segments[seq], record);
    CHECK_OK(
        catalog_put(f->writer.catalog, TABLE_SEGMENTS, bytes_of(key, 8), bytes_of(record, size)));
}

static void put_run(struct codes_index *f, uint64_t seq, int64_t first, uint32_t n)
{
    unsigned char key[8], record[RECORD_RUN_BYTES];
    struct run_record run = {.seq = seq, .slot = 0, .count = n};
    store_id_key(key, first);
    vindex__run_encode(&run, record);
    CHECK_OK(catalog_put(f->writer.catalog, TABLE_IDS, bytes_of(key, 8),
                         bytes_of(record, sizeof record)));
}

/* Rows are all ones: their norm is that of every row. */
void put_segment(struct codes_index *f, uint64_t seq)
{
    struct segment_record *s = &f->segments[seq];
    uint32_t n = segment_rows[seq], stride = vindex__full_stride(4 * CODES_DIM);
    int64_t first = (int64_t)seq * 100000;
    const float one = 1, norm = 4.2426405f;
    float *rows = calloc(n, stride);
    unsigned char *ids = calloc(n, 8), *norms = calloc(n, 4);
    CHECK(rows && ids && norms && stride == 4 * CODES_DIM);
    *s = (struct segment_record){.n = n,
                                 .n_live = n,
                                 .stride = stride,
                                 .rows_per_block = vindex__full_rows_per_block(stride),
                                 .flags = SEGMENT_IDS_ASCEND,
                                 .min_id = first,
                                 .max_id = first + (int64_t)n - 1,
                                 .norm_lo = norm,
                                 .norm_hi = norm};
    new_nonce(s->nonce);
    vindex__bitmap_fill(s->live, n);
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t d = 0; d < CODES_DIM; d++)
            rows[i * CODES_DIM + d] = one;
        store_le64(ids + 8 * (size_t)i, (uint64_t)(first + i));
        store_f32(norms + 4 * (size_t)i, norm);
    }
    struct plane_layout full = {n, stride, s->rows_per_block, (n - 1) / s->rows_per_block + 1, 1};
    struct plane_layout whole_ids = {n, 8, n, 1, 1}, whole_norms = {n, 4, n, 1, 1};
    put_plane(f, s->nonce, PLANE_FULL, &full, rows);
    put_plane(f, s->nonce, PLANE_IDS, &whole_ids, ids);
    put_plane(f, s->nonce, PLANE_NORM, &whole_norms, norms);
    put_segment_record(f, seq);
    put_run(f, seq, first, n);
    f->state.n_rows += n;
    if (f->state.next_seq <= seq) f->state.next_seq = seq + 1;
    if (f->state.next_id <= s->max_id) f->state.next_id = s->max_id + 1;
    free(rows);
    free(ids);
    free(norms);
}

/* ---- the model --------------------------------------------------------------------------- */

float model_value(unsigned char tag, enum plane plane, size_t i)
{
    return (float)tag + (float)plane / 64 + (float)(i % 1000) / 1024;
}

void put_model_record(struct codes_index *f)
{
    unsigned char record[RECORD_MODEL_BYTES];
    vindex__model_encode(&f->model, record);
    put_config_record(f, "model", record, sizeof record);
}

void put_model(struct codes_index *f, unsigned char tag)
{
    static const enum plane planes[] = {PLANE_MEAN, PLANE_SCALE, PLANE_AXES, PLANE_DEVIATION};
    f->model = (struct model_record){.n_rows = f->state.n_rows,
                                     .m = CODES_M,
                                     .clip = 2.5f,
                                     .energy = 0.75f,
                                     .p = CODES_P,
                                     .axes_norm = 1.0625f};
    new_nonce(f->model.nonce);
    for (size_t i = 0; i < sizeof planes / sizeof *planes; i++) {
        static float values[CODES_M * CODES_DIM];
        struct plane_layout layout = vindex__model_layout(&f->model, &f->config, planes[i]);
        for (size_t j = 0; j < (size_t)layout.n * layout.stride / 4; j++)
            values[j] = model_value(tag, planes[i], j);
        put_plane(f, f->model.nonce, planes[i], &layout, values);
    }
    put_model_record(f);
}

void del_model(struct codes_index *f)
{
    del_block(f, f->model.nonce, PLANE_MEAN, 0);
    del_block(f, f->model.nonce, PLANE_SCALE, 0);
    del_block(f, f->model.nonce, PLANE_AXES, 0);
    del_block(f, f->model.nonce, PLANE_DEVIATION, 0);
    CHECK_OK(catalog_del(f->writer.catalog, TABLE_CONFIG, bytes_of("model", 5)));
}

/* ---- codes ------------------------------------------------------------------------------- */

static const enum plane codes_planes[] = {PLANE_C4, PLANE_C8, PLANE_P8};
enum { N_CODES_PLANES = sizeof codes_planes / sizeof *codes_planes };

/* Codes of a row in a plane; in c4 each is of two axes. */
static uint32_t codes_of(const struct codes_index *f, const struct codes_record *codes,
                         enum plane plane)
{
    switch (plane) {
    case PLANE_C4: return codes->m / 2;
    case PLANE_C8: return CODES_DIM;
    default: return p8_dim(codes->p, f->config.metric);
    }
}

/* Random codes, zeros where there is no row or element, and factors that agree with them. */
unsigned char *make_groups(const struct codes_index *f, uint64_t seq, enum plane plane,
                           size_t *size)
{
    const struct codes_record *codes = &f->codes[seq];
    struct plane_layout layout = vindex__codes_layout(codes, &f->config, plane);
    uint32_t n_codes = codes_of(f, codes, plane), lines = (n_codes + 3) / 4;
    bool has_bias = plane != PLANE_P8 || f->config.metric != VINDEX_IP;
    struct rng rng;
    *size = (size_t)layout.n * layout.stride;
    unsigned char *groups = calloc(*size ? *size : 1, 1);
    CHECK(groups != NULL);
    vindex__rng_init(&rng, 100 * seq + plane);
    for (uint32_t slot = 0; slot < codes->n && layout.n; slot++) {
        unsigned char *group = groups + slot / GROUP_ROWS * layout.stride;
        unsigned char *factors = group + 64 * lines + 4 * (slot % GROUP_ROWS);
        uint32_t sum = 0;
        for (uint32_t i = 0; i < n_codes; i++) {
            unsigned char code = (unsigned char)vindex__rng_next(&rng);
            group[64 * (i / 4) + 4 * (slot % GROUP_ROWS) + i % 4] = code;
            sum += code;
        }
        store_f32(factors, has_bias ? (float)vindex__rng_unit(&rng) : 0);
        if (plane == PLANE_C4) continue;
        store_f32(factors + 64, (float)vindex__rng_unit(&rng));
        store_le32(factors + 128, sum);
    }
    return groups;
}

void put_codes_record(struct codes_index *f, uint64_t seq, const struct codes_record *record)
{
    unsigned char key[8], bytes[RECORD_CODES_BYTES];
    seq_key(seq, key);
    vindex__codes_encode(record, bytes);
    CHECK_OK(catalog_put(f->writer.catalog, TABLE_CODES, bytes_of(key, 8),
                         bytes_of(bytes, sizeof bytes)));
}

void put_codes(struct codes_index *f, uint64_t seq, uint32_t m, uint32_t p, uint32_t flags)
{
    struct codes_record *codes = &f->codes[seq];
    *codes = (struct codes_record){.n = f->segments[seq].n, .m = m, .flags = flags, .p = p};
    if (flags & CODES_C8) {
        codes->c8_error = 0.125f;
        codes->c8_size = 3;
        codes->c8_bias = 1;
    }
    if (p) {
        codes->p8_error = 0.0625f;
        codes->p8_size = 2;
        codes->p8_bias = f->config.metric == VINDEX_IP ? 0 : 1;
        codes->p8_drift = 0.03125f;
    }
    new_nonce(codes->nonce);
    memcpy(codes->segment, f->segments[seq].nonce, NONCE_BYTES);
    memcpy(codes->model, f->model.nonce, NONCE_BYTES);
    for (int i = 0; i < N_CODES_PLANES; i++) {
        struct plane_layout layout = vindex__codes_layout(codes, &f->config, codes_planes[i]);
        size_t size;
        unsigned char *groups = make_groups(f, seq, codes_planes[i], &size);
        put_plane(f, codes->nonce, codes_planes[i], &layout, groups);
        free(groups);
    }
    put_codes_record(f, seq, codes);
}

void del_codes(struct codes_index *f, uint64_t seq)
{
    unsigned char key[8];
    for (int i = 0; i < N_CODES_PLANES; i++) {
        struct plane_layout layout =
            vindex__codes_layout(&f->codes[seq], &f->config, codes_planes[i]);
        for (uint32_t b = 0; b < layout.n_blocks; b++)
            del_block(f, f->codes[seq].nonce, codes_planes[i], b);
    }
    seq_key(seq, key);
    CHECK_OK(catalog_del(f->writer.catalog, TABLE_CODES, bytes_of(key, 8)));
}

/* ---- audits ------------------------------------------------------------------------------ */

unsigned char *make_audits(const struct codes_index *f, size_t *size)
{
    size_t stride = f->audits.entry_bytes;
    *size = f->audits.n * stride;
    unsigned char *audits = calloc(*size ? *size : 1, 1);
    CHECK(audits != NULL);
    for (uint32_t i = 0; i < f->audits.n; i++) {
        unsigned char *audit = audits + i * stride;
        uint32_t depth = i % 1025;
        store_le32(audit, 1 + i % 3);
        store_le32(audit + 4, depth);
        store_le64(audit + 8, 1000 + i);
        for (uint32_t j = 0; j < depth; j++)
            audit[16 + j] = (unsigned char)(i + j);
        store_le32(audit + 1040, i % 2);
        for (uint32_t d = 0; i % 2 && d < CODES_DIM; d++)
            store_f32(audit + 1048 + 4 * (size_t)d, (float)d);
    }
    return audits;
}

void put_audits_record(struct codes_index *f)
{
    unsigned char record[RECORD_AUDITS_BYTES];
    vindex__audits_encode(&f->audits, record);
    put_config_record(f, "audits", record, sizeof record);
}

void put_audits(struct codes_index *f, uint32_t n)
{
    size_t size;
    f->audits = (struct audits_record){
        .n_rows = f->state.n_rows, .n = n, .entry_bytes = audit_stride(CODES_DIM), .version = 1};
    new_nonce(f->audits.nonce);
    memcpy(f->audits.model, f->model.nonce, NONCE_BYTES);
    struct plane_layout layout = vindex__audits_layout(&f->audits);
    unsigned char *audits = make_audits(f, &size);
    put_plane(f, f->audits.nonce, PLANE_AUDITS, &layout, audits);
    free(audits);
    put_audits_record(f);
}

void put_all(struct codes_index *f)
{
    put_model(f, 1);
    for (uint64_t seq = 1; seq <= N_SEGMENTS; seq++) {
        put_segment(f, seq);
        put_codes(f, seq, CODES_M, CODES_P, CODES_C8);
    }
    put_audits(f, N_AUDITS);
    commit_codes(f);
}
