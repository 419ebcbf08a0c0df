/*
 * tiles.c - vindex_topk_stream: the best k of scores that come in tiles, from many streams, in any order.
 *
 * A row of a stream keeps up to 2 k + 64 entries (key, id, the score's bits) and `least`, the key below
 * which nothing can enter any more. Survivors are appended; a full buffer is reduced to the k best in the
 * total order (key, then smaller id). That order does not depend on when an entry came, so neither does
 * the result: pushes may be cut, exchanged and merged at will.
 */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/status.h"
#include "topk/plan.h"

enum { PART = 1024 }; /* scores filtered at once: their keys and positions are on the stack */

struct entry {
    int64_t key, id;
    uint64_t bits;
};

struct row {
    struct entry *entries;
    size_t n;
    int64_t least;    /* keys below it cannot enter */
    int64_t least_id; /* of the worst entry, once least is a k-th key */
    bool is_full;     /* least is a k-th key */
};

struct vindex_topk_stream {
    const vkern_topk_table *table;
    enum vkern_topk_type type;
    bool is_min, nan_is_best, nan_is_error, is_wide, is_unsorted;
    size_t k, n_rows, capacity;
    struct row rows[];
};

/* ---- order ------------------------------------------------------------------------------------- */

static bool comes_before(const struct entry *a, const struct entry *b)
{
    return a->key != b->key ? a->key > b->key : a->id < b->id;
}

static void exchange(struct entry *a, struct entry *b)
{
    const struct entry t = *a;
    *a = *b;
    *b = t;
}

/* Heap with the last in order on top. */
static void sift_down(struct entry *heap, size_t n, size_t at)
{
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && comes_before(&heap[child], &heap[child + 1])) child++;
        if (!comes_before(&heap[at], &heap[child])) break;
        exchange(&heap[at], &heap[child]);
    }
}

static void sort_entries(struct entry *entries, size_t n)
{
    for (size_t i = n / 2; i-- > 0;)
        sift_down(entries, n, i);
    for (size_t i = n; i-- > 1;) {
        exchange(&entries[0], &entries[i]);
        sift_down(entries, i, 0);
    }
}

/* Of three entries the middle one goes to the front. */
static void median_to_front(struct entry *x, size_t n)
{
    struct entry *a = &x[0], *b = &x[n / 2], *c = &x[n - 1];

    if (comes_before(b, a)) exchange(a, b);
    if (comes_before(c, b)) exchange(b, c);
    if (comes_before(b, a)) exchange(a, b);
    exchange(a, b);
}

/* The k first in order to the front. Hoare's selection; a sort where it does not get on. */
static void select_entries(struct entry *entries, size_t n, size_t k)
{
    for (size_t rounds = 0; n > 16 && k > 0 && k < n; rounds++) {
        size_t i = 0, j = n;
        if (rounds > 40) break;
        median_to_front(entries, n);
        const struct entry pivot = entries[0];
        for (;;) {
            do
                i++;
            while (i < n && comes_before(&entries[i], &pivot));
            do
                j--;
            while (comes_before(&pivot, &entries[j]));
            if (i >= j) break;
            exchange(&entries[i], &entries[j]);
        }
        exchange(&entries[0], &entries[j]); /* the pivot has place j */
        if (k <= j) {
            n = j;
        } else {
            entries += j + 1;
            n -= j + 1;
            k -= j + 1;
        }
    }
    if (k > 0 && k < n) sort_entries(entries, n);
}

/* Keep the k best; what is worse than the worst of them cannot enter. */
static void reduce(const vindex_topk_stream *s, struct row *row)
{
    size_t worst = 0;

    select_entries(row->entries, row->n, s->k);
    row->n = s->k;
    for (size_t i = 1; i < row->n; i++)
        if (comes_before(&row->entries[worst], &row->entries[i])) worst = i;
    row->least = row->entries[worst].key;
    row->least_id = row->entries[worst].id;
    row->is_full = true;
}

static void offer(const vindex_topk_stream *s, struct row *row, struct entry entry)
{
    if (entry.key < row->least) return;
    if (row->is_full && entry.key == row->least && entry.id > row->least_id) return;
    row->entries[row->n++] = entry;
    if (row->n == s->capacity || (row->n >= s->k && !row->is_full)) reduce(s, row);
}

/* ---- making ------------------------------------------------------------------------------------ */

static vindex_status measure(const vindex_topk_options *o, size_t *capacity, uint64_t *bytes)
{
    const size_t limit = SIZE_MAX / 2;
    size_t row, all;
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
    if (!vindex__mul((size_t)o->k, 2, &row) || !vindex__add(row, 64, capacity) ||
        !vindex__mul(*capacity, sizeof(struct entry), &row) ||
        !vindex__add(row, sizeof(struct row), &row) || !vindex__mul(row, (size_t)o->rows, &all) ||
        all > limit)
        return vindex__fail(VINDEX_INVALID, "%lld rows of the best %lld exceed the address space",
                            (long long)o->rows, (long long)o->k);
    *bytes = sizeof(vindex_topk_stream) + all + 64;
    return VINDEX_OK;
}

vindex_status vindex_topk_stream_bytes(const vindex_topk_options *options, uint64_t *bytes)
{
    size_t capacity;

    if (!bytes) return vindex__fail(VINDEX_INVALID, "bytes is NULL");
    return measure(options, &capacity, bytes);
}

vindex_status vindex_topk_stream_init(const vindex_topk_options *options, void *memory,
                                      uint64_t bytes, vindex_topk_stream **stream)
{
    uint64_t needed;
    size_t capacity;
    struct entry *entries;
    vindex_topk_stream *s;
    vindex_status st = measure(options, &capacity, &needed);

    if (st != VINDEX_OK) return st;
    if (!memory || !stream || bytes < needed)
        return vindex__fail(VINDEX_INVALID, "a stream of %llu bytes, %llu are needed",
                            (unsigned long long)bytes, (unsigned long long)needed);
    s = (vindex_topk_stream *)(void *)(((uintptr_t)memory + 63) / 64 * 64);
    *s = (vindex_topk_stream){
        .table = vkern_topk_get(),
        .type = (enum vkern_topk_type)options->type,
        .is_min = (options->flags & VINDEX_TOPK_MIN) != 0,
        .nan_is_best = options->nan == VINDEX_TOPK_NAN_BEST,
        .nan_is_error = options->nan == VINDEX_TOPK_NAN_ERROR,
        .is_wide = vkern_topk_is_wide((enum vkern_topk_type)options->type),
        .is_unsorted = (options->flags & VINDEX_TOPK_UNSORTED) != 0,
        .k = (size_t)options->k,
        .n_rows = (size_t)options->rows,
        .capacity = capacity,
    };
    entries = (struct entry *)(void *)(s->rows + s->n_rows);
    for (size_t i = 0; i < s->n_rows; i++)
        s->rows[i] =
            (struct row){entries + i * capacity, 0, s->is_wide ? INT64_MIN : INT32_MIN, 0, false};
    *stream = s;
    return VINDEX_OK;
}

/* ---- pushing ----------------------------------------------------------------------------------- */

static uint64_t bits_at(const vindex_topk_stream *s, const void *scores, size_t i)
{
    const size_t size = vkern_topk_size(s->type);
    uint64_t bits = 0;

    memcpy(&bits, (const unsigned char *)scores + i * size, size);
    return bits;
}

/* Survivors among n <= PART scores: keys and positions from 0. */
static size_t filter(const vindex_topk_stream *s, int64_t least, const void *scores, size_t n,
                     void *keys, uint32_t *positions)
{
    int64_t all[PART];

    if (!s->nan_is_best && least >= vkern_topk_worst(s->type))
        return s->table->collect[s->type][s->is_min](scores, n, least, 0, keys, positions);
    s->table->keys[s->type][s->is_min](scores, n, s->nan_is_best, all);
    return s->table->collect[s->is_wide ? VKERN_TOPK_I64 : VKERN_TOPK_I32][0](all, n, least, 0,
                                                                              keys, positions);
}

static void push_part(const vindex_topk_stream *s, struct row *row, const void *scores,
                      const int64_t *ids, int64_t id_base, size_t n)
{
    int64_t keys[PART + 64];
    uint32_t positions[PART + 64];
    const int64_t most = s->is_wide ? INT64_MAX : INT32_MAX;
    int64_t least = row->least;
    size_t found;

    /* Later ids lose every tie with the worst entry: most ties need not be looked at. */
    if (row->is_full && !ids && id_base > row->least_id) {
        if (least == most) return;
        least++;
    }
    found = filter(s, least, scores, n, keys, positions);
    for (size_t i = 0; i < found; i++) {
        const size_t at = positions[i];
        offer(s, row,
              (struct entry){s->is_wide ? keys[i] : ((const int32_t *)(const void *)keys)[i],
                             ids ? ids[at] : id_base + (int64_t)at, bits_at(s, scores, at)});
    }
}

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
    if (s->nan_is_error && s->table->any_nan[s->type](scores, (size_t)n))
        return vindex__fail(VINDEX_INVALID, "a score is NaN, and nan is VINDEX_TOPK_NAN_ERROR");
    if (s->k == 0) return VINDEX_OK;
    for (int64_t i = 0; i < n; i += PART)
        push_part(s, &stream->rows[row],
                  (const unsigned char *)scores + (size_t)i * vkern_topk_size(s->type),
                  ids ? ids + i : NULL, ids ? 0 : id_base + i,
                  (size_t)(n - i < PART ? n - i : PART));
    return VINDEX_OK;
}

/* A key's score as a double, exactly; NaN's keys as the infinity next to them. */
static double score_of(const vindex_topk_stream *s, int64_t key)
{
    const int64_t worst = vkern_topk_worst(s->type), best = vkern_topk_infinity(s->type);
    uint64_t bits;
    uint32_t word;
    float f32;
    double f64;

    if (key < worst) key = worst;
    if (key > best) key = best;
    bits = vkern_topk_bits(s->type, s->is_min, key);
    switch (s->type) {
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
        word = (uint32_t)(s->type == VKERN_TOPK_BF16 ? bits << 16 : bits);
        memcpy(&f32, &word, 4);
        return (double)f32;
    }
}

vindex_status vindex_topk_stream_threshold(const vindex_topk_stream *stream, int64_t row,
                                           double *threshold)
{
    if (!stream || !threshold || row < 0 || (uint64_t)row >= stream->n_rows)
        return vindex__fail(VINDEX_INVALID, "the threshold of row %lld", (long long)row);
    *threshold = stream->rows[row].is_full ? score_of(stream, stream->rows[row].least)
                 : stream->is_min          ? INFINITY
                                           : -INFINITY;
    return VINDEX_OK;
}

vindex_status vindex_topk_stream_merge(vindex_topk_stream *into, const vindex_topk_stream *from)
{
    if (!into || !from || into == from || into->type != from->type ||
        into->is_min != from->is_min || into->nan_is_best != from->nan_is_best ||
        into->k != from->k || into->n_rows != from->n_rows)
        return vindex__fail(VINDEX_INVALID, "only streams of equal type, order, rows and k merge");
    for (size_t row = 0; row < into->n_rows; row++)
        for (size_t i = 0; i < from->rows[row].n; i++)
            offer(into, &into->rows[row], from->rows[row].entries[i]);
    return VINDEX_OK;
}

/* ---- the result -------------------------------------------------------------------------------- */

static void write_row(const vindex_topk_stream *s, const struct row *row, unsigned char *values,
                      int64_t *ids)
{
    const size_t size = vkern_topk_size(s->type);
    const uint64_t worst = vkern_topk_bits(s->type, s->is_min, vkern_topk_worst(s->type));

    for (size_t i = 0; i < s->k; i++) {
        const bool is_there = i < row->n;
        if (values) memcpy(values + i * size, is_there ? &row->entries[i].bits : &worst, size);
        if (ids) ids[i] = is_there ? row->entries[i].id : -1;
    }
}

vindex_status vindex_topk_stream_finish(vindex_topk_stream *stream, void *values, int64_t *ids,
                                        int64_t *counts)
{
    vindex_topk_stream *s = stream;

    if (!s) return vindex__fail(VINDEX_INVALID, "the stream is NULL");
    for (size_t i = 0; i < s->n_rows; i++) {
        struct row *row = &s->rows[i];
        if (row->n > s->k) reduce(s, row);
        if (!s->is_unsorted) sort_entries(row->entries, row->n);
        write_row(s, row,
                  values ? (unsigned char *)values + i * s->k * vkern_topk_size(s->type) : NULL,
                  ids ? ids + i * s->k : NULL);
        if (counts) counts[i] = (int64_t)row->n;
    }
    return VINDEX_OK;
}
