/*
 * threshold.c - a running threshold with compressed survivors; the exact path behind every other
 * algorithm, and an algorithm of its own.
 *
 * The filter. Survivors of `least` are appended; when the buffer is full it is reduced to the k best and
 * `least` rises above the k-th key: later equals lose by position. So the buffer never overflows, whatever
 * the scores: all equal, ascending, all in one coarse bin. A `least` that was guessed too high shows at
 * the end, as fewer than k survivors.
 *
 * The algorithm guesses the threshold from a sample: lines of 32 elements spread over the row, of which
 * the maxima of columns of 8 are looked at (more where k is small, fewer where it is large). With f the
 * sampled share, the k-th lies near rank k f of the sample; the guess is kf + 2.3 sqrt(kf) + 1.5 deep, so
 * it fails for one row in a hundred of random order, and leaves about k + 2.3 sqrt(k / f) + 1.5 / f
 * survivors. A guess that failed is made again, twice as deep and more.
 */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "topk/row.h"

enum {
    DEPTH = 8, /* sampled lines of a column: few maxima, and hardly two winners in one */
    DEEP = 32, /* the same where winners are few */
    HALF_LINE = VKERN_TOPK_LANES / 2,
    LEAST_ROOM = 512,     /* less room left in the buffer: reduce it first */
    FOUND_AT_ONCE = 2080, /* parcels, 520 KiB of f32: what is taken out of them is in L2 still */
    SAMPLED_MIN = 4096    /* shorter rows are read as fast as they are sampled */
};

void vindex__topk_filter_open(struct topk_filter *filter, struct topk_context *c,
                              struct topk_span span, size_t k, int64_t least)
{
    assert(c->found.capacity >= k + LEAST_ROOM);
    *filter = (struct topk_filter){c, span, k, least, false, false};
    c->found.n = 0;
}

static void reduce(struct topk_filter *filter)
{
    struct topk_context *c = filter->c;
    const int64_t kth = vindex__topk_trim(c, &c->found, filter->k);

    filter->is_closed = kth == (c->is_wide ? INT64_MAX : INT32_MAX);
    if (!filter->is_closed) filter->least = kth + 1;
}

/* Elements [from, from + n), with room for all of them. */
static void collect(struct topk_filter *filter, size_t from, size_t n)
{
    struct topk_context *c = filter->c;
    void *keys = vindex__topk_keys_from(c, c->found.keys, c->found.n);
    uint32_t *positions = c->found.positions + c->found.n;
    const void *x = vindex__topk_at(c, filter->span.x, from);

    if (filter->by_keys) {
        c->table->keys[c->type][c->is_min](x, n, c->nan_is_best, c->chunk);
        c->found.n += c->table->collect[vindex__topk_key_type(c)][0](
            c->chunk, n, filter->least, (uint32_t)from, keys, positions);
    } else {
        c->found.n += c->table->collect[c->type][c->is_min](x, n, filter->least, (uint32_t)from,
                                                            keys, positions);
    }
}

static size_t room_of(struct topk_filter *filter)
{
    const struct topk_found *found = &filter->c->found;

    if (found->capacity - found->n < LEAST_ROOM) reduce(filter);
    return found->capacity - found->n;
}

static void push_elements(struct topk_filter *filter, size_t from, size_t n)
{
    while (n > 0 && !filter->is_closed) {
        const size_t room = room_of(filter);
        size_t part = n < room ? n : room;
        if (filter->by_keys && part > VINDEX__TOPK_CHUNK) part = VINDEX__TOPK_CHUNK;
        if (part < n) part &= ~(size_t)(VKERN_TOPK_PARCEL - 1);
        collect(filter, from, part);
        from += part;
        n -= part;
    }
}

/* Whole parcels, at most FOUND_AT_ONCE: first those with a survivor, then what survives in them. */
static void push_parcels(struct topk_filter *filter, size_t from, size_t n_parcels)
{
    struct topk_context *c = filter->c;
    const void *x = vindex__topk_at(c, filter->span.x, from);
    uint32_t parcels[FOUND_AT_ONCE + 16];
    uint64_t bits[FOUND_AT_ONCE];
    const size_t n = c->table->find[c->type][c->is_min](x, n_parcels, filter->least, parcels, bits);

    for (size_t i = 0, part; i < n; i += part) {
        const size_t room = room_of(filter) / VKERN_TOPK_PARCEL;
        part = n - i < room ? n - i : room;
        if (filter->is_closed) break;
        c->found.n += c->table->take[c->type][c->is_min](
            x, parcels + i, bits + i, part, (uint32_t)from,
            vindex__topk_keys_from(c, c->found.keys, c->found.n), c->found.positions + c->found.n);
    }
}

void vindex__topk_filter_push(struct topk_filter *filter, size_t from, size_t n)
{
    size_t whole = filter->by_keys ? 0 : n / VKERN_TOPK_PARCEL;

    for (; whole > 0 && !filter->is_closed;
         whole -= whole < FOUND_AT_ONCE ? whole : FOUND_AT_ONCE) {
        const size_t part = whole < FOUND_AT_ONCE ? whole : FOUND_AT_ONCE;
        push_parcels(filter, from, part);
        from += part * VKERN_TOPK_PARCEL;
        n -= part * VKERN_TOPK_PARCEL;
    }
    push_elements(filter, from, n);
    room_of(filter);
}

bool vindex__topk_filter_close(const struct topk_filter *filter)
{
    return filter->c->found.n >= (filter->k < filter->span.n ? filter->k : filter->span.n);
}

void vindex__topk_by_keys(struct topk_context *c, struct topk_span span, size_t k)
{
    struct topk_filter filter;
    bool is_complete;

    vindex__topk_filter_open(&filter, c, span, k, c->is_wide ? INT64_MIN : INT32_MIN);
    filter.by_keys = true;
    vindex__topk_filter_push(&filter, 0, span.n);
    is_complete = vindex__topk_filter_close(&filter);
    assert(is_complete);
    (void)is_complete;
}

/* ---- the algorithm ----------------------------------------------------------------------------- */

/* Lines of a sample. One costs about 4 ns, a survivor too many 9: least near here, from 10 of 2^17 to 1000
 * of 2^20. */
static size_t lines_of_sample(size_t n, size_t k)
{
    const size_t wanted = (size_t)(12 + .06 * cbrt((double)n * (double)k)) * DEPTH;
    const size_t most = n / (4 * VKERN_TOPK_LANES) / DEPTH * DEPTH;

    return wanted < most ? wanted : most;
}

size_t vindex__topk_threshold_room(size_t n, size_t k)
{
    return VKERN_TOPK_LANES * (lines_of_sample(n, k) + 1);
}

/*
 * Maxima of n_tiles x depth lines, `step` apart: a third of them from the row's begin on, the others up to its end. What
 * the steps leave over is a gap in between, where neither a sorted row nor an organ pipe has its best. Two thirds of a
 * step from either end: where a sorted row has more winners than lie before the first line, the rank looked for
 * is past that line (21 + 2.3 sqrt(21) + 1.5 > 32), so that its guess does not fail.
 */
static void sample(const struct topk_context *c, struct topk_span span, size_t step, size_t n_tiles,
                   size_t depth)
{
    vkern_topk_sample_fn *maxima = c->table->sample[c->type][c->is_min];
    const size_t near = n_tiles / 3, far = n_tiles - near;
    const size_t margin = 2 * step / 3 / HALF_LINE * HALF_LINE;
    const size_t at = span.n - margin - VKERN_TOPK_LANES - (far * depth - 1) * step;

    if (near > 0) maxima(vindex__topk_at(c, span.x, margin), step, near, depth, c->groups);
    maxima(vindex__topk_at(c, span.x, at / HALF_LINE * HALF_LINE), step, far, depth,
           vindex__topk_keys_from(c, c->groups, near * VKERN_TOPK_LANES));
}

int64_t vindex__topk_guess(struct topk_context *c, struct topk_span span, size_t k, double slack)
{
    const int64_t worst = vkern_topk_worst(c->type);
    const size_t most_lines = lines_of_sample(span.n, k);
    size_t n_lines, n_maxima, n_above, step, depth = slack > 1 ? DEPTH : DEEP;
    double rank;
    int64_t key;

    if (span.n < SAMPLED_MIN || k > span.n / 4) return worst;
    /* Else winners hide behind winners; where they are few, fewer maxima still tell them apart. */
    while (depth > 1 && k * depth > span.n / (depth > DEPTH ? 40 : 6))
        depth /= 2;
    n_lines = most_lines / depth * depth;
    n_maxima = n_lines / depth * VKERN_TOPK_LANES;
    rank = (double)k * (double)(n_lines * VKERN_TOPK_LANES) / (double)span.n;
    rank += slack * (2.3 * sqrt(rank) + 1.5);
    if (slack > 1)
        rank += VKERN_TOPK_LANES; /* a line at the row's peak is all winners: beyond it */
    if (rank > (double)n_maxima / 2) return worst;
    /* An odd number of half lines: they begin where vectors do, and meet few periods of the row. */
    step = ((span.n - VKERN_TOPK_LANES) / n_lines / HALF_LINE - 1) | 1;
    step *= HALF_LINE;
    sample(c, span, step, n_lines / depth, depth);
    key = vindex__topk_kth(c, c->groups, n_maxima, (size_t)rank + 1, c->below, &n_above);
    return key < worst ? worst : key;
}

void vindex__topk_threshold(struct topk_context *c, struct topk_span span, size_t k)
{
    const int64_t worst = vkern_topk_worst(c->type);
    struct topk_filter filter;

    for (double slack = 1;; slack *= 4) {
        const int64_t least = slack > 4 ? worst : vindex__topk_guess(c, span, k, slack);
        vindex__topk_filter_open(&filter, c, span, k, least);
        vindex__topk_filter_push(&filter, 0, span.n);
        if (vindex__topk_filter_close(&filter)) return;
        if (least == worst) break; /* the rest is NaN */
    }
    vindex__topk_by_keys(c, span, k);
}
