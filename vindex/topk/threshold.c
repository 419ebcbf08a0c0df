/*
 * threshold.c - a running threshold with compressed survivors; the exact path behind every other
 * algorithm, and an algorithm of its own.
 *
 * The filter. Survivors of `least` are appended; when the buffer is full it is reduced to the k best and
 * `least` rises above the k-th key: later equals lose by position. So the buffer never overflows, whatever
 * the scores: all equal, ascending, all in one coarse bin. A `least` that was guessed too high shows at
 * the end, as fewer than k survivors.
 *
 * The algorithm guesses the threshold from a sample: runs of 16 elements spread over the row. With f the
 * sampled share, the k-th lies near rank k f of the sample; the guess is kf + 2.3 sqrt(kf) + 1.5 deep, so
 * it fails for one row in a hundred of random order, and leaves about k + 2.3 sqrt(k / f) + 1.5 / f
 * survivors. A guess that failed is made again, twice as deep and more.
 */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "topk/row.h"

enum {
    RUN = 16,          /* a cache line of f32, sampled at once */
    STEP = 512,        /* what the AVX-512 kernel does at once */
    LEAST_ROOM = STEP, /* less room left in the buffer: reduce it first */
    SAMPLED_MIN = 4096 /* shorter rows are read as fast as they are sampled */
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

void vindex__topk_filter_push(struct topk_filter *filter, size_t from, size_t n)
{
    const struct topk_found *found = &filter->c->found;

    while (n > 0 && !filter->is_closed) {
        const size_t room = found->capacity - found->n;
        size_t part = n < room ? n : room;
        if (part < n) part &= ~(size_t)(STEP - 1); /* room is at least LEAST_ROOM */
        if (filter->by_keys && part > VINDEX__TOPK_CHUNK) part = VINDEX__TOPK_CHUNK;
        collect(filter, from, part);
        if (found->capacity - found->n < LEAST_ROOM) reduce(filter);
        from += part;
        n -= part;
    }
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

/* s sampled elements cost about s, the excess they leave 10 * 3 sqrt(k n / s): least near here. */
static size_t runs_of_sample(size_t n, size_t k)
{
    const double wanted = cbrt(256. * (double)n * (double)k) / RUN;
    const size_t runs = wanted < 32 ? 32 : (size_t)wanted, most = n / (4 * RUN);

    return runs < most ? runs : most;
}

size_t vindex__topk_threshold_room(size_t n, size_t k)
{
    return RUN * runs_of_sample(n, k) + RUN;
}

/* Sampled keys into c->groups; returns how many. */
static size_t take_sample(struct topk_context *c, struct topk_span span, size_t k)
{
    const size_t runs = runs_of_sample(span.n, k);

    for (size_t i = 0; i < runs; i++) {
        /* The middle of each part: a sorted row's best lie in the first or last, and are not all seen. */
        const size_t from = (size_t)(((double)i + .5) / (double)runs * (double)(span.n - RUN));
        c->table->keys[c->type][c->is_min](vindex__topk_at(c, span.x, from), RUN, false,
                                           vindex__topk_keys_from(c, c->groups, i * RUN));
    }
    return runs * RUN;
}

int64_t vindex__topk_guess(struct topk_context *c, struct topk_span span, size_t k, double slack)
{
    const int64_t worst = vkern_topk_worst(c->type);
    size_t size, n_above;
    double depth;
    int64_t key;

    if (span.n < SAMPLED_MIN || k > span.n / 4) return worst;
    size = take_sample(c, span, k);
    depth = (double)k * (double)size / (double)span.n;
    depth += slack * (2.3 * sqrt(depth) + 1.5);
    if (slack > 1) depth += RUN; /* a run at the row's peak is all winners: look beyond it */
    if (depth > (double)size / 2) return worst;
    key = vindex__topk_kth(c, c->groups, size, (size_t)depth, c->below, &n_above);
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
