/*
 * stream.c - threshold and compress (stream.h says why no row is lost).
 *
 * The k-th smallest of the entries' scores is found by radix: 32-bit keys in the order of the
 * scores, a histogram of the eight bits below those all keys share, again inside the bin that holds
 * the k-th. At most four passes whatever the data, mostly one; nothing is moved.
 */
#include "topk/stream.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <string.h>

enum { FEW = 16 };

size_t vindex__stream_limit(size_t k, size_t n_rows)
{
    /* 256: compressing costs about 2 us then, once in so many survivors; k / 2: few passes over
       many. */
    size_t slack = k / 2 + 256;
    size_t limit = slack > SIZE_MAX - k ? SIZE_MAX : k + slack;
    if (limit > n_rows) limit = n_rows;
    return limit > k ? limit : k;
}

void vindex__stream_init(struct topk_stream *stream, size_t k, size_t limit,
                         struct topk_margin margin, uint64_t *positions, float *scores)
{
    assert(k >= 1);
    assert(limit >= k);
    memset(stream, 0, sizeof *stream);
    stream->positions = positions;
    stream->scores = scores;
    stream->limit = limit;
    stream->k = k;
    stream->upper = INFINITY;
    stream->cut = INFINITY;
    stream->margin = margin;
}

/* A key that orders as the score, NaN (of both signs) last. */
static inline uint32_t key_of(float score)
{
    uint32_t bits;
    memcpy(&bits, &score, sizeof bits);
    if (score != score) return UINT32_MAX;
    return bits >> 31 ? ~bits : bits | UINT32_C(1) << 31;
}

static float score_of(uint32_t key)
{
    uint32_t bits = key >> 31 ? key & ~(UINT32_C(1) << 31) : ~key;
    float score;
    memcpy(&score, &bits, sizeof score);
    return score;
}

/* The k-th smallest of the few keys in [low, high], by insertion. */
static uint32_t kth_of_few(const float *scores, size_t n, uint32_t low, uint32_t high, size_t k)
{
    uint32_t few[FEW];
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t key = key_of(scores[i]);
        if (key < low || key > high) continue;
        size_t at = count++;
        for (; at > 0 && few[at - 1] > key; at--)
            few[at] = few[at - 1];
        few[at] = key;
    }
    return few[k - 1];
}

/* The k-th smallest (k >= 1) of n >= k scores; NaN where that one is NaN. [low, high] holds its
   key. */
static float kth_smallest(const float *scores, size_t n, size_t k)
{
    uint32_t low = UINT32_MAX, high = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t key = key_of(scores[i]);
        if (key < low) low = key;
        if (key > high) high = key;
    }
    while (low < high) {
        int width = 32 - __builtin_clz(low ^ high), shift = width > 8 ? width - 8 : 0;
        uint32_t base = low >> shift & ~UINT32_C(255); /* 256 bins, low and high among them */
        size_t histogram[256] = {0}, bin = 0;
        for (size_t i = 0; i < n; i++) {
            uint32_t key = key_of(scores[i]);
            if (key >= low && key <= high) histogram[(key >> shift) - base]++;
        }
        while (k > histogram[bin])
            k -= histogram[bin++];
        low = (base + (uint32_t)bin) << shift;
        high = low | ((UINT32_C(1) << shift) - 1);
        if (histogram[bin] <= FEW) low = high = kth_of_few(scores, n, low, high, k);
    }
    return score_of(low);
}

/* The smallest float that is not below x. */
static float round_up(double x)
{
    if (x > (double)FLT_MAX) return INFINITY;
    if (x < -(double)FLT_MAX) return -FLT_MAX;
    float f = (float)x;
    return (double)f < x ? nextafterf(f, INFINITY) : f;
}

/*
 * p > cut must imply s > worst = upper + margin. s - offset >= p - error_rel |p| - error_abs, which
 * grows with p; so cut is the p where the right side is worst - offset.
 */
static void set_cut(struct topk_stream *stream)
{
    const struct topk_band *band = &stream->band;
    if (!(stream->upper < INFINITY)) {
        stream->cut = INFINITY;
        return;
    }
    double worst = stream->upper + stream->margin.rel * fabs(stream->upper) + stream->margin.abs;
    double least = worst - band->offset + band->error_abs;
    stream->cut =
        round_up(least >= 0 ? least / (1 - band->error_rel) : least / (1 + band->error_rel));
}

bool vindex__stream_announce(struct topk_stream *stream, const struct topk_band *band)
{
    struct topk_band *held = &stream->band;
    if (stream->count == 0) {
        *held = *band;
    } else {
        if (band->offset != held->offset) return false;
        if (held->error_abs > 4 * band->error_abs || held->error_rel > 4 * band->error_rel)
            return false;
        held->error_abs = fmax(held->error_abs, band->error_abs);
        held->error_rel = fmax(held->error_rel, band->error_rel);
    }
    set_cut(stream);
    return true;
}

void vindex__stream_lower(struct topk_stream *stream, double upper)
{
    if (!(upper < stream->upper)) return;
    stream->upper = upper;
    set_cut(stream);
}

void vindex__stream_compress(struct topk_stream *stream)
{
    size_t kept = 0;
    if (stream->count >= stream->k) {
        double kth = kth_smallest(stream->scores, stream->count, stream->k);
        vindex__stream_lower(stream, kth + stream->band.error_rel * fabs(kth) +
                                         stream->band.error_abs + stream->band.offset);
    }
    for (size_t i = 0; i < stream->count; i++) {
        stream->positions[kept] = stream->positions[i];
        stream->scores[kept] = stream->scores[i];
        kept += !(stream->scores[i] > stream->cut);
    }
    stream->count = kept;
}
