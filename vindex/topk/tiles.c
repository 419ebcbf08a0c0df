/*
 * tiles.c - vindex_topk_stream: the best k of scores that come in tiles, from many streams, in any order. Each
 * row is a final stream of stream.h; this file checks what callers give, and lays out their memory.
 */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/status.h"
#include "topk/plan.h"
#include "topk/stream.h"

struct vindex_topk_stream {
    size_t k, n_rows;
    struct topk_order order;
    bool nan_is_error, is_unsorted;
    struct topk_stream rows[];
};

/* ---- making ------------------------------------------------------------------------------------ */

static vindex_status check_options(const vindex_topk_options *o)
{
    vindex_status st = vindex__topk_check_size("vindex_topk_options", o, sizeof *o);

    if (st != VINDEX_OK) return st;
    if (o->flags & ~(VINDEX_TOPK_MIN | VINDEX_TOPK_UNSORTED) || o->reserved)
        return vindex__fail(VINDEX_UNSUPPORTED, "flags %#x: streams know MIN and UNSORTED",
                            o->flags);
    if (!vindex_topk_type_name((vindex_topk_type)o->type) || o->nan > VINDEX_TOPK_NAN_ERROR)
        return vindex__fail(VINDEX_INVALID, "type %u or nan %u is unknown", o->type, o->nan);
    if (o->rows < 0 || o->k < 0)
        return vindex__fail(VINDEX_INVALID, "rows %lld, k %lld: one is negative",
                            (long long)o->rows, (long long)o->k);
    return VINDEX_OK;
}

/* Where things lie: the stream, the scratch, then ids and values of each row. */
struct layout {
    size_t entries, scratch, ids, values; /* bytes but for `entries` */
    uint64_t bytes;
};

static size_t rounded(size_t bytes)
{
    return (bytes + 7) / 8 * 8;
}

static vindex_status measure(const vindex_topk_options *o, struct layout *layout)
{
    const size_t k = (size_t)o->k, limit = SIZE_MAX / 4;
    size_t row, all;

    if (o->k <= UINT32_MAX && k < limit / 128) { /* entries are numbered in 32 bits */
        layout->entries = vindex__final_entries(k, limit);
        layout->scratch = rounded(vindex__final_scratch(k, layout->entries));
        layout->ids = layout->entries * sizeof(int64_t);
        layout->values = rounded(layout->entries * vkern_topk_size((enum vkern_topk_type)o->type));
        row = sizeof(struct topk_stream) + layout->ids + layout->values;
        if (vindex__mul(row, (size_t)o->rows, &all) && all < limit) {
            layout->bytes = sizeof(vindex_topk_stream) + layout->scratch + all + 64;
            return VINDEX_OK;
        }
    }
    return vindex__fail(VINDEX_INVALID, "%lld rows of the best %lld exceed the address space",
                        (long long)o->rows, (long long)o->k);
}

vindex_status vindex_topk_stream_bytes(const vindex_topk_options *options, uint64_t *bytes)
{
    struct layout layout;
    vindex_status st = check_options(options);

    if (st == VINDEX_OK && !bytes) st = vindex__fail(VINDEX_INVALID, "bytes is NULL");
    if (st == VINDEX_OK) st = measure(options, &layout);
    if (st == VINDEX_OK) *bytes = layout.bytes;
    return st;
}

static void init_rows(vindex_topk_stream *s, const struct layout *layout)
{
    unsigned char *scratch = (unsigned char *)(s->rows + s->n_rows);
    unsigned char *at = scratch + layout->scratch;

    for (size_t i = 0; s->k > 0 && i < s->n_rows; i++, at += layout->ids + layout->values)
        vindex__final_init(&s->rows[i], s->order, s->k, layout->entries,
                           (struct topk_memory){(int64_t *)(void *)at, at + layout->ids, scratch});
}

vindex_status vindex_topk_stream_init(const vindex_topk_options *options, void *memory,
                                      uint64_t bytes, vindex_topk_stream **stream)
{
    struct layout layout;
    vindex_topk_stream *s;
    vindex_status st = check_options(options);

    if (st == VINDEX_OK) st = measure(options, &layout);
    if (st != VINDEX_OK) return st;
    if (!memory || !stream || bytes < layout.bytes)
        return vindex__fail(VINDEX_INVALID, "a stream of %llu bytes, %llu are needed",
                            (unsigned long long)bytes, (unsigned long long)layout.bytes);
    s = (vindex_topk_stream *)(void *)(((uintptr_t)memory + 63) / 64 * 64);
    *s = (vindex_topk_stream){
        .k = (size_t)options->k,
        .n_rows = (size_t)options->rows,
        .order = {(enum vkern_topk_type)options->type, (options->flags & VINDEX_TOPK_MIN) != 0,
                  options->nan == VINDEX_TOPK_NAN_BEST},
        .nan_is_error = options->nan == VINDEX_TOPK_NAN_ERROR,
        .is_unsorted = (options->flags & VINDEX_TOPK_UNSORTED) != 0,
    };
    init_rows(s, &layout);
    *stream = s;
    return VINDEX_OK;
}

/* ---- pushing ----------------------------------------------------------------------------------- */

vindex_status vindex_topk_stream_push(vindex_topk_stream *stream, int64_t row, const void *scores,
                                      const int64_t *ids, int64_t id_base, int64_t n)
{
    const vindex_topk_stream *s = stream;

    if (!s || row < 0 || (uint64_t)row >= s->n_rows || n < 0 || (n > 0 && !scores))
        return vindex__fail(VINDEX_INVALID, "a push of %lld scores to row %lld", (long long)n,
                            (long long)row);
    if (!ids && n > 0 && id_base > INT64_MAX - (n - 1))
        return vindex__fail(VINDEX_INVALID, "ids from %lld on overflow after %lld scores",
                            (long long)id_base, (long long)n);
    if (s->nan_is_error && vkern_topk_get()->any_nan[s->order.type](scores, (size_t)n))
        return vindex__fail(VINDEX_INVALID, "a score is NaN, and nan is VINDEX_TOPK_NAN_ERROR");
    if (s->k > 0) vindex__final_push(&stream->rows[row], scores, ids, id_base, (size_t)n);
    return VINDEX_OK;
}

/* A key's score as a double, exactly; NaN's keys as the infinity next to them. */
static double score_of(struct topk_order order, int64_t key)
{
    const int64_t worst = vkern_topk_worst(order.type), best = vkern_topk_infinity(order.type);
    uint64_t bits;
    uint32_t word;
    float f32;
    double f64;

    if (key < worst) key = worst;
    if (key > best) key = best;
    bits = vkern_topk_bits(order.type, order.is_min, key);
    switch (order.type) {
    case VKERN_TOPK_F64: memcpy(&f64, &bits, 8); return f64;
    case VKERN_TOPK_I32: return (double)(int32_t)bits;
    case VKERN_TOPK_F16: {
        const double fraction = (double)(bits & 1023), sign = bits >> 15 & 1 ? -1 : 1;
        const int exponent = (int)(bits >> 10 & 31);
        if (exponent == 31) return sign * INFINITY;
        return exponent ? sign * ldexp(1024 + fraction, exponent - 25)
                        : sign * ldexp(fraction, -24);
    }
    default:
        word = (uint32_t)(order.type == VKERN_TOPK_BF16 ? bits << 16 : bits);
        memcpy(&f32, &word, 4);
        return (double)f32;
    }
}

vindex_status vindex_topk_stream_threshold(const vindex_topk_stream *stream, int64_t row,
                                           double *threshold)
{
    if (!stream || !threshold || row < 0 || (uint64_t)row >= stream->n_rows)
        return vindex__fail(VINDEX_INVALID, "the threshold of row %lld", (long long)row);
    *threshold = stream->order.is_min ? INFINITY : -INFINITY;
    if (stream->k > 0 && stream->rows[row].is_full)
        *threshold = score_of(stream->order, stream->rows[row].least);
    return VINDEX_OK;
}

vindex_status vindex_topk_stream_merge(vindex_topk_stream *into, const vindex_topk_stream *from)
{
    if (!into || !from || into == from || into->order.type != from->order.type ||
        into->order.is_min != from->order.is_min ||
        into->order.nan_is_best != from->order.nan_is_best || into->k != from->k ||
        into->n_rows != from->n_rows)
        return vindex__fail(VINDEX_INVALID, "only streams of equal type, order, rows and k merge");
    for (size_t row = 0; into->k > 0 && row < into->n_rows; row++)
        vindex__final_merge(&into->rows[row], &from->rows[row]);
    return VINDEX_OK;
}

/* ---- the result -------------------------------------------------------------------------------- */

/* A row's entries, in this order or (NULL) as they lie, and empty slots behind them. */
static void write_row(const vindex_topk_stream *s, const struct topk_stream *row,
                      const uint32_t *order, unsigned char *values, int64_t *ids)
{
    const size_t size = vkern_topk_size(s->order.type);
    const unsigned char *from = row->memory.values;
    const uint64_t worst =
        vkern_topk_bits(s->order.type, s->order.is_min, vkern_topk_worst(s->order.type));

    for (size_t i = 0; i < row->count; i++) {
        const size_t at = order ? order[i] : i;
        if (values) memcpy(values + i * size, from + at * size, size);
        if (ids) ids[i] = row->memory.ids[at];
    }
    for (size_t i = row->count; i < s->k; i++) {
        if (values) memcpy(values + i * size, &worst, size);
        if (ids) ids[i] = -1;
    }
}

vindex_status vindex_topk_stream_finish(vindex_topk_stream *stream, void *values, int64_t *ids,
                                        int64_t *counts)
{
    vindex_topk_stream *s = stream;

    if (!s) return vindex__fail(VINDEX_INVALID, "the stream is NULL");
    for (size_t i = 0; i < s->n_rows; i++) {
        struct topk_stream *row = &s->rows[i];
        const size_t at = i * s->k;
        const uint32_t *order = NULL;
        if (counts) counts[i] = 0;
        if (s->k == 0) continue;
        if (s->is_unsorted)
            vindex__final_trim(row);
        else
            order = vindex__final_sort(row);
        write_row(s, row, order,
                  values ? (unsigned char *)values + at * vkern_topk_size(s->order.type) : NULL,
                  ids ? ids + at : NULL);
        if (counts) counts[i] = (int64_t)row->count;
    }
    return VINDEX_OK;
}
