/*
 * sample.c - rows to train on: as many as fit SAMPLE_BYTES in f32, spread evenly over the blocks of all segments. Of a
 * large index only BLOCKS_MAX blocks are read, drawn without replacement (selection sampling: Knuth, TAOCP 3.4.2, algorithm S). The
 * seed is fixed: the same index gives the same sample.
 */
#include <math.h>

#include "base/mem.h"
#include "base/random.h"
#include "base/status.h"
#include "ingest/internal.h"
#include "ingest/train.h"

#define SAMPLE_ROWS 65536u
#define SAMPLE_BYTES (UINT64_C(128) << 20)
#define BLOCKS_MAX 4096u /* 1 GiB is read at most */

struct sampler {
    struct session *session;
    const struct config *config;
    struct sample *sample;
    struct rng rng;
    uint64_t n_live, n_blocks; /* of all segments */
    uint64_t blocks_left, blocks_wanted;
    double share; /* of the live rows of a drawn block */
    double owed;  /* rows that rounding left out so far */
    size_t capacity;
};

static uint32_t blocks_of(const struct segment_record *record)
{
    return (record->n + record->rows_per_block - 1) / record->rows_per_block;
}

/* Calls each for all segments, in order. */
typedef vindex_status each_fn(struct sampler *sampler, const struct segment_record *record);

static vindex_status each_segment(struct sampler *s, each_fn *each, const struct asking *asking)
{
    struct catalog_walk at = {.catalog = s->session->catalog, .table = TABLE_SEGMENTS};
    for (;;) {
        struct segment_record record;
        vindex_status st = vindex__walk_next(&at);
        if (st != VINDEX_OK || !at.value.data) return st;
        st = vindex__segment_decode(at.value, s->config, &record);
        if (st == VINDEX_OK) st = vindex__ask(asking);
        if (st == VINDEX_OK) st = each(s, &record);
        if (st != VINDEX_OK) return st;
    }
}

static vindex_status count_segment(struct sampler *s, const struct segment_record *record)
{
    s->n_live += record->n_live;
    s->n_blocks += blocks_of(record);
    return VINDEX_OK;
}

/* Under cosine rows become unit vectors; a row of zeros stays. */
static void make_unit(float *row, size_t dim)
{
    double norm = sqrt(vkern_get()->sumsq[VKERN_F32](row, dim));
    for (size_t d = 0; d < dim && norm > 0; d++)
        row[d] = (float)((double)row[d] / norm);
}

static void take_row(struct sampler *s, const unsigned char *row)
{
    struct sample *sample = s->sample;
    float *to = sample->rows + sample->n++ * sample->dim;
    vkern_get()->to_f32[s->config->type](row, sample->dim, to);
    if (sample->metric == VKERN_COSINE) make_unit(to, sample->dim);
}

static uint32_t live_in(const struct segment_record *record, uint32_t first, uint32_t n)
{
    uint32_t live = 0;
    for (uint32_t i = first; i < first + n; i++)
        live += bitmap_get(record->live, i);
    return live;
}

static vindex_status take_from_block(struct sampler *s, const struct segment_record *record,
                                     uint32_t index)
{
    const unsigned char *rows = NULL;
    uint32_t n = 0, first = index * record->rows_per_block;
    vindex_status st =
        vindex__segment_block(s->session, s->config, record, PLANE_FULL, index, &rows, &n);
    if (st != VINDEX_OK) return st;
    uint32_t left = live_in(record, first, n);
    s->owed += s->share * left;
    uint32_t wanted = (uint32_t)s->owed < left ? (uint32_t)s->owed : left;
    if (wanted > s->capacity - s->sample->n) wanted = (uint32_t)(s->capacity - s->sample->n);
    s->owed -= wanted;
    for (uint32_t i = 0; i < n && wanted; i++) {
        if (!bitmap_get(record->live, first + i)) continue;
        if (vindex__rng_below(&s->rng, left--) >= wanted) continue;
        take_row(s, rows + (size_t)i * record->stride);
        wanted--;
    }
    return VINDEX_OK;
}

static vindex_status take_from_segment(struct sampler *s, const struct segment_record *record)
{
    vindex_status st = VINDEX_OK;
    for (uint32_t i = 0; i < blocks_of(record) && s->blocks_left && st == VINDEX_OK; i++) {
        if (vindex__rng_below(&s->rng, s->blocks_left--) >= s->blocks_wanted) continue;
        s->blocks_wanted--;
        st = take_from_block(s, record, i);
    }
    return st;
}

static vindex_status take_rows(struct sampler *s, const struct asking *asking)
{
    struct sample *sample = s->sample;
    uint64_t fit = SAMPLE_BYTES / (sizeof(float) * sample->dim);
    if (fit > SAMPLE_ROWS) fit = SAMPLE_ROWS;
    s->capacity = (size_t)(s->n_live < fit ? s->n_live : fit);
    if (s->capacity == 0) return VINDEX_OK;
    sample->rows = vindex__alloc_aligned(s->capacity, sample->dim * sizeof *sample->rows);
    if (!sample->rows) return vindex__nomem();
    s->blocks_left = s->n_blocks;
    s->blocks_wanted = s->n_blocks < BLOCKS_MAX ? s->n_blocks : BLOCKS_MAX;
    double drawn = (double)s->n_live * (double)s->blocks_wanted / (double)s->n_blocks;
    s->share = (double)s->capacity < drawn ? (double)s->capacity / drawn : 1;
    return each_segment(s, take_from_segment, asking);
}

vindex_status vindex__sample_rows(struct session *session, const struct config *config,
                                  const struct asking *asking, struct sample *sample)
{
    struct sampler s = {.session = session, .config = config, .sample = sample};
    uint64_t stamp;
    *sample = (struct sample){.dim = config->dim,
                              .metric = config->metric,
                              .row_bytes = vindex__config_row_bytes(config),
                              .has_c8 = vindex__has_c8(config),
                              .recall = config->recall};
    vindex__rng_init(&s.rng, 1);
    vindex_status st = catalog_refresh(session->catalog, &stamp);
    if (st == VINDEX_OK) st = each_segment(&s, count_segment, asking);
    sample->n_rows = s.n_live;
    if (st == VINDEX_OK) st = take_rows(&s, asking);
    catalog_release(session->catalog);
    if (st != VINDEX_OK) vindex__sample_free(sample);
    return st;
}

void vindex__sample_free(struct sample *sample)
{
    vindex__free_aligned(sample->rows);
    sample->rows = NULL;
    sample->n = 0;
}
