/*
 * stream.h - the selection of scores that come in pieces: the one engine behind vindex_topk_stream (tiles.c),
 * the first pass of a search and the k best of its exact scores (search/).
 *
 * A stream holds entries (id, score) in memory of the caller and a threshold that only moves one way.
 * What cannot be among the k best is left out when it is pushed; full memory is compressed: the k-th of
 * the entries raises the threshold, and entries it shuts out go. There are two kinds.
 *
 * A FINAL stream holds scores that are the result: any type, largest or smallest, equal scores by the
 * smaller id. Compressing leaves k entries, always: that order does not depend on when an entry came, so
 * pushes may be cut, exchanged and merged at will, whatever the scores.
 *
 * A FIRST-PASS stream holds f32 scores, smallest first, each known up to an error from the exact score s
 * it stands for:
 *
 *     |p - (s - offset)| <= error_rel * |p| + error_abs                    (struct topk_band)
 *
 * `upper` is a fact: k rows are known whose exact score is at most `upper`. A row pushed with p >
 * cut is then dropped, where cut is so placed that it implies s > upper + margin; the margin is
 * what two exact scores must differ by before they are told apart in the score reported. So a
 * dropped row is worse than k others, in the score reported as well, and no tie with a smaller id
 * is ever lost. Neither the order of pushes nor their sizes decide what the k best are: they only
 * decide how many other rows stay. Where more than k stay so that compressing gains little, the
 * caller drains: it scores all entries exactly, clears, and lowers `upper` by what it found.
 * NaN stands for "unknown": it passes every threshold and never lowers one.
 */
#ifndef VINDEX_TOPK_STREAM_H
#define VINDEX_TOPK_STREAM_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "kernels/topk/topk.h"

struct topk_band {
    double error_rel, error_abs; /* >= 0, error_rel < 1 */
    double offset;
};

struct topk_margin {
    double rel, abs; /* exact scores a < b are reported apart if b - a > rel * |a| + abs */
};

/** Memory of a stream. Streams of one thread may share the scratch: it holds nothing between calls. */
struct topk_memory {
    int64_t *ids;  /* [entries] */
    void *values;  /* [entries] of the type */
    void *scratch; /* 8-byte aligned */
};

struct topk_stream {
    const vkern_topk_table *table;
    enum vkern_topk_type type;
    bool is_min, nan_is_best;
    bool is_full; /* final: `least` is a k-th key */
    size_t k, limit, count;
    struct topk_memory memory;
    /* final */
    int64_t least;    /* keys below it cannot enter */
    int64_t worst_id; /* of the worst entry, once full: equal keys with a larger id cannot enter */
    /* first pass */
    double upper;
    float cut;
    struct topk_band band; /* covers every entry and every push to come */
    struct topk_margin margin;
};

/* ---- first pass -------------------------------------------------------------------------------- */

/** Entries before a first-pass stream is compressed: a few k, and never more than there are rows. */
size_t vindex__stream_limit(size_t k, size_t n_rows);
/** Entries it needs room for, where no push has more than push_max scores. */
size_t vindex__stream_entries(size_t limit, size_t push_max);
/** Bytes of scratch for so many entries. */
size_t vindex__stream_scratch(size_t entries);

/** An empty first-pass stream. k >= 1, limit >= k. */
void vindex__stream_init(struct topk_stream *stream, size_t k, size_t limit,
                         struct topk_margin margin, struct topk_memory memory);

/**
 * Announce the error of the pushes to come. false: entries are held whose scores have another
 * offset, or an error so much wider that they would widen the cut: drain, then announce again.
 */
bool vindex__stream_announce(struct topk_stream *stream, const struct topk_band *band);

/** k rows are known whose exact score is at most `upper`. */
void vindex__stream_lower(struct topk_stream *stream, double upper);

/** No row with an exact score above this is among the k best. */
static inline double vindex__stream_worst(const struct topk_stream *stream)
{
    return stream->upper + stream->margin.rel * fabs(stream->upper) + stream->margin.abs;
}

/** Drop what the threshold no longer lets through, after lowering it from the entries themselves. */
void vindex__stream_compress(struct topk_stream *stream);

/** n entries were written after the last: see vindex__stream_push. */
static inline bool vindex__stream_append(struct topk_stream *stream, size_t n)
{
    stream->count += n;
    if (stream->count <= stream->limit) return false;
    vindex__stream_compress(stream);
    /* Less room than half of what lies above k: ties or a wide band, compressing again gains
       little. */
    return stream->count > stream->k + (stream->limit - stream->k) / 2;
}

/**
 * Scores of rows base, base + 1, ...; live and first_bit as in kernels.h.
 * @return true if the stream is full: the caller scores all entries exactly, then calls
 *         vindex__stream_clear. Pushing more before is an error.
 */
static inline bool vindex__stream_push(struct topk_stream *stream, vkern_survivors_fn *survivors,
                                       const float *scores, size_t n, const uint64_t *live,
                                       size_t first_bit, uint64_t base)
{
    return vindex__stream_append(stream, survivors(scores, n, stream->cut, live, first_bit, base,
                                                   (uint64_t *)stream->memory.ids + stream->count,
                                                   (float *)stream->memory.values + stream->count));
}

static inline void vindex__stream_clear(struct topk_stream *stream)
{
    stream->count = 0;
}

/* ---- final ------------------------------------------------------------------------------------- */

/** Entries of a final stream over at most n_rows rows: its limit and its room. Saturates. */
size_t vindex__final_entries(size_t k, size_t n_rows);
/** Bytes of scratch; saturates. */
size_t vindex__final_scratch(size_t k, size_t entries);

struct topk_order {
    enum vkern_topk_type type;
    bool is_min, nan_is_best;
};

/** An empty final stream; k >= 1, `entries` from vindex__final_entries. */
void vindex__final_init(struct topk_stream *stream, struct topk_order order, size_t k,
                        size_t entries, struct topk_memory memory);

/** Offer n scores with ids[i], or id_base + i where ids is NULL. No id may come twice. */
void vindex__final_push(struct topk_stream *stream, const void *values, const int64_t *ids,
                        int64_t id_base, size_t n);

/**
 * n entries were written after the last by the caller, who made room for as many above the limit: any, but
 * those below `least` are not kept. No id may come twice.
 */
void vindex__final_append(struct topk_stream *stream, size_t n);

/** Take in all of `from`, which has the same order and k and keeps its entries. */
static inline void vindex__final_merge(struct topk_stream *into, const struct topk_stream *from)
{
    vindex__final_push(into, from->memory.values, from->memory.ids, 0, from->count);
}

/**
 * The key k entries reach (false: fewer have come), almost the highest such: entries that came since
 * the last compression count once they are worth one.
 */
bool vindex__final_threshold(struct topk_stream *stream, int64_t *key);

/** Leave the k best; returns their entries' numbers, best first, in the scratch. */
const uint32_t *vindex__final_sort(struct topk_stream *stream);
/** The same in any order: entries [0, count). */
void vindex__final_trim(struct topk_stream *stream);

#endif
