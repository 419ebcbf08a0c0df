/*
 * stream.h - the best of a stream of first-pass scores: a threshold that only falls, and the rows
 * it let through, compressed to the front. Bounded memory, whatever the scores.
 *
 * A first-pass score p differs from the exact score s it stands for by a known error:
 *
 *     |p - (s - offset)| <= error_rel * |p| + error_abs                    (struct topk_band)
 *
 * `upper` is a fact: k rows are known whose exact score is at most `upper`. A row pushed with p >
 * cut is then dropped, where cut is so placed that it implies s > upper + margin; the margin is
 * what two exact scores must differ by before they are told apart in the score reported. So a
 * dropped row is worse than k others, in the score reported as well, and no tie with a smaller id
 * is ever lost.
 *
 * Neither the order of pushes nor their sizes decide what the k best are: they only decide how many
 * other rows stay in the stream. The caller scores what is left exactly (a drain).
 *
 * NaN stands for "unknown": it passes every threshold and never lowers one.
 */
#ifndef VINDEX_TOPK_STREAM_H
#define VINDEX_TOPK_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

/** Entries a stream needs room for, where no push has more than push_max scores. */
static inline size_t vindex__stream_entries(size_t limit, size_t push_max)
{
    return limit + push_max + 16; /* 16: vector stores spill (kernels.h: survivors) */
}

struct topk_band {
    double error_rel, error_abs; /* >= 0, error_rel < 1 */
    double offset;
};

struct topk_margin {
    double rel, abs; /* exact scores a < b are reported apart if b - a > rel * |a| + abs */
};

struct topk_stream {
    uint64_t *positions; /* [vindex__stream_entries] */
    float *scores;
    size_t count;
    size_t limit;
    size_t k;
    double upper;
    float cut;
    struct topk_band band; /* covers every entry and every push to come */
    struct topk_margin margin;
};

/** Entries before a stream is compressed: a few k, and never more than there are rows. */
size_t vindex__stream_limit(size_t k, size_t n_rows);

/** An empty stream over memory of the caller: vindex__stream_entries positions and scores. k >= 1.
 * */
void vindex__stream_init(struct topk_stream *stream, size_t k, size_t limit,
                         struct topk_margin margin, uint64_t *positions, float *scores);

/**
 * Announce the error of the pushes to come. false: entries are held whose scores have another
 * offset, or an error so much wider that they would widen the cut: drain, then announce again.
 */
bool vindex__stream_announce(struct topk_stream *stream, const struct topk_band *band);

/** k rows are known whose exact score is at most `upper`. */
void vindex__stream_lower(struct topk_stream *stream, double upper);

/** Drop what the threshold no longer lets through, after lowering it from the entries themselves.
 * */
void vindex__stream_compress(struct topk_stream *stream);

/**
 * Scores of rows base, base + 1, ...; live and first_bit as in kernels.h.
 * @return true if the stream is full: the caller scores all entries exactly, then calls
 *         vindex__stream_clear. Pushing more before is an error.
 */
static inline bool vindex__stream_push(struct topk_stream *stream, vkern_survivors_fn *survivors,
                                       const float *scores, size_t n, const uint64_t *live,
                                       size_t first_bit, uint64_t base)
{
    stream->count += survivors(scores, n, stream->cut, live, first_bit, base,
                               stream->positions + stream->count, stream->scores + stream->count);
    if (stream->count <= stream->limit) return false;
    vindex__stream_compress(stream);
    /* Less room than half of what lies above k: ties or a wide band, compressing again gains
       little. */
    return stream->count > stream->k + (stream->limit - stream->k) / 2;
}

static inline void vindex__stream_clear(struct topk_stream *stream)
{
    stream->count = 0;
}

#endif
