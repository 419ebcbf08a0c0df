/*
 * stream.c - threshold and compress (stream.h says why no row is lost). The k-th of the entries comes from
 * the quickselect of order.c, over their keys.
 */
#include "topk/stream.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "topk/row.h"

enum {
    PART = 1024, /* scores filtered at once: their keys and positions are on the stack */
    /* Scratch. Compressing: keys of all entries, and ids of those that tie, twice to partition them.
       Sorting: keys, ids that tie, numbers, and what vindex__topk_sort takes. */
    TRIM_BYTES = 8 + 2 * 8,
    SORT_BYTES = 8 + 8 + 4 + 32
};

/* ---- entries ----------------------------------------------------------------------------------- */

static size_t saturated(size_t count, size_t size)
{
    return count > SIZE_MAX / size ? SIZE_MAX : count * size;
}

static size_t with_slack(size_t entries)
{
    return entries > SIZE_MAX - VINDEX__TOPK_SLACK ? SIZE_MAX : entries + VINDEX__TOPK_SLACK;
}

static bool is_wide(const struct topk_stream *s)
{
    return vkern_topk_is_wide(s->type);
}

/* What order.c reads of a context. */
static struct topk_context comparison(const struct topk_stream *s, bool keys_are_wide, void *spare)
{
    return (struct topk_context){.table = s->table, .is_wide = keys_are_wide, .spare = spare};
}

static inline void copy_value(const struct topk_stream *s, void *to, size_t at, const void *from,
                              size_t i)
{
    switch (vkern_topk_size(s->type)) {
    case 2: memcpy((unsigned char *)to + 2 * at, (const unsigned char *)from + 2 * i, 2); break;
    case 4: memcpy((unsigned char *)to + 4 * at, (const unsigned char *)from + 4 * i, 4); break;
    default: memcpy((unsigned char *)to + 8 * at, (const unsigned char *)from + 8 * i, 8); break;
    }
}

static inline void move_entry(struct topk_stream *s, size_t to, size_t from)
{
    s->memory.ids[to] = s->memory.ids[from];
    copy_value(s, s->memory.values, to, s->memory.values, from);
}

static void write_keys(const struct topk_stream *s, void *keys)
{
    s->table->keys[s->type][s->is_min](s->memory.values, s->count, s->nan_is_best, keys);
}

/* The k-th best key of the entries. */
static int64_t kth_key(const struct topk_stream *s, size_t *n_above)
{
    const struct topk_context c = comparison(s, is_wide(s), NULL);
    void *keys = s->memory.scratch;

    write_keys(s, keys);
    return vindex__topk_kth(&c, keys, s->count, s->k,
                            vindex__topk_keys_from(&c, keys, with_slack(s->count)), n_above);
}

/* ---- first pass -------------------------------------------------------------------------------- */

size_t vindex__stream_limit(size_t k, size_t n_rows)
{
    /* 256: compressing costs about 1 us then, once in so many survivors; k / 2: few passes over
       many. */
    size_t slack = k / 2 + 256;
    size_t limit = slack > SIZE_MAX - k ? SIZE_MAX : k + slack;
    if (limit > n_rows) limit = n_rows;
    return limit > k ? limit : k;
}

size_t vindex__stream_entries(size_t limit, size_t push_max)
{
    return limit + push_max + 16; /* 16: vector stores spill (kernels.h: survivors) */
}

size_t vindex__stream_scratch(size_t entries)
{
    return saturated(with_slack(entries), 2 * sizeof(int32_t));
}

void vindex__stream_init(struct topk_stream *stream, size_t k, size_t limit,
                         struct topk_margin margin, struct topk_memory memory)
{
    assert(k >= 1);
    assert(limit >= k);
    *stream = (struct topk_stream){
        .table = vkern_topk_get(),
        .type = VKERN_TOPK_F32,
        .is_min = true,
        .k = k,
        .limit = limit,
        .memory = memory,
        .upper = INFINITY,
        .cut = INFINITY,
        .margin = margin,
    };
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
    double worst = vindex__stream_worst(stream);
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

/* The k-th smallest score, in exact arithmetic at most this; NaN where it is NaN. */
static double kth_upper(const struct topk_stream *stream)
{
    const struct topk_band *band = &stream->band;
    size_t n_above;
    int64_t key = kth_key(stream, &n_above);
    uint32_t bits;
    float kth;

    if (key < vkern_topk_worst(VKERN_TOPK_F32)) return NAN;
    bits = (uint32_t)vkern_topk_bits(VKERN_TOPK_F32, true, key);
    memcpy(&kth, &bits, sizeof kth);
    return (double)kth + band->error_rel * fabs((double)kth) + band->error_abs + band->offset;
}

void vindex__stream_compress(struct topk_stream *stream)
{
    float *scores = stream->memory.values, cut;
    int64_t *ids = stream->memory.ids;
    const size_t count = stream->count;
    size_t kept = 0;

    if (count >= stream->k) vindex__stream_lower(stream, kth_upper(stream));
    cut = stream->cut;
    for (size_t i = 0; i < count; i++) {
        const float score = scores[i];
        ids[kept] = ids[i];
        scores[kept] = score;
        kept += !(score > cut);
    }
    stream->count = kept;
}

/* ---- final ------------------------------------------------------------------------------------- */

size_t vindex__final_entries(size_t k, size_t n_rows)
{
    const size_t slack = k > 64 ? k : 64; /* compressed once in so many that entered */
    const size_t entries = slack > SIZE_MAX - k ? SIZE_MAX : k + slack;

    if (entries <= n_rows) return entries;
    return n_rows >= k ? n_rows + 1 : k + 1; /* never full */
}

size_t vindex__final_scratch(size_t k, size_t entries)
{
    const size_t trim = saturated(with_slack(entries), TRIM_BYTES);
    const size_t sort = saturated(with_slack(k), SORT_BYTES);

    return trim > sort ? trim : sort;
}

void vindex__final_init(struct topk_stream *stream, struct topk_order order, size_t k,
                        size_t entries, struct topk_memory memory)
{
    assert(k >= 1);
    assert(entries > k);
    *stream = (struct topk_stream){
        .table = vkern_topk_get(),
        .type = order.type,
        .is_min = order.is_min,
        .nan_is_best = order.nan_is_best,
        .k = k,
        .limit = entries,
        .memory = memory,
        .least = vkern_topk_is_wide(order.type) ? INT64_MIN : INT32_MIN,
    };
}

/* Leave the entries whose key is at least `least`, and their keys; size: of a value, a constant. */
static inline size_t keep_reaching(struct topk_stream *s, void *keys, int64_t least, bool is_wide,
                                   size_t size)
{
    int64_t *ids = s->memory.ids;
    unsigned char *values = s->memory.values;
    const size_t count = s->count;
    size_t kept = 0;

    for (size_t i = 0; i < count; i++) {
        const int64_t key = is_wide ? ((int64_t *)keys)[i] : ((int32_t *)keys)[i];
        if (is_wide)
            ((int64_t *)keys)[kept] = key;
        else
            ((int32_t *)keys)[kept] = (int32_t)key;
        ids[kept] = ids[i];
        memcpy(values + size * kept, values + size * i, size);
        kept += key >= least;
    }
    return kept;
}

static void keep(struct topk_stream *s, void *keys, int64_t least)
{
    switch (vkern_topk_size(s->type)) {
    case 2: s->count = keep_reaching(s, keys, least, false, 2); break;
    case 4: s->count = keep_reaching(s, keys, least, false, 4); break;
    default: s->count = keep_reaching(s, keys, least, true, 8); break;
    }
}

/* The largest id of the entries with this key. */
static int64_t largest_id(const struct topk_stream *s, const void *keys, int64_t key)
{
    const struct topk_context c = comparison(s, is_wide(s), NULL);
    int64_t largest = INT64_MIN;

    for (size_t i = 0; i < s->count; i++) {
        const int64_t id = s->memory.ids[i];
        if (vindex__topk_key_at(&c, keys, i) == key && id > largest) largest = id;
    }
    return largest;
}

/* Of the entries with this key leave the `wanted` with the smallest ids, fewer than there are; returns the largest
   of these. */
static int64_t keep_ties(struct topk_stream *s, const void *keys, int64_t key, size_t wanted)
{
    const struct topk_context c = comparison(s, is_wide(s), NULL),
                              by_id = comparison(s, true, NULL);
    int64_t *ties = (int64_t *)s->memory.scratch + with_slack(s->count), worst;
    size_t n = 0, kept = 0, n_above;

    for (size_t i = 0; i < s->count; i++) { /* a smaller id is better: its complement is a key */
        ties[n] = ~s->memory.ids[i];
        n += vindex__topk_key_at(&c, keys, i) == key;
    }
    worst = ~vindex__topk_kth(&by_id, ties, n, wanted, ties + with_slack(s->count), &n_above);
    for (size_t i = 0; i < s->count; i++) {
        const bool is_tie = vindex__topk_key_at(&c, keys, i) == key;
        /* `wanted`, even where a damaged file names one id twice: there is room for k. */
        const bool is_in = !is_tie || (s->memory.ids[i] <= worst && wanted > 0);
        move_entry(s, kept, i);
        kept += is_in;
        wanted -= is_tie && is_in;
    }
    s->count = kept;
    return worst;
}

static void trim(struct topk_stream *s)
{
    void *keys = s->memory.scratch;
    size_t n_above;

    s->least = kth_key(s, &n_above);
    write_keys(s, keys); /* they were partitioned */
    keep(s, keys, s->least);
    s->worst_id = s->count > s->k ? keep_ties(s, keys, s->least, s->k - n_above)
                                  : largest_id(s, keys, s->least);
    assert(s->count == s->k);
    s->is_full = true;
}

/* Those among n <= PART scores whose key is at least `least`: keys, and positions from 0. */
static size_t filter(const struct topk_stream *s, int64_t least, const void *values, size_t n,
                     void *keys, uint32_t *positions)
{
    int64_t all[PART];

    if (!s->nan_is_best && least >= vkern_topk_worst(s->type))
        return s->table->collect[s->type][s->is_min](values, n, least, 0, keys, positions);
    s->table->keys[s->type][s->is_min](values, n, s->nan_is_best, all);
    return s->table->collect[is_wide(s) ? VKERN_TOPK_I64 : VKERN_TOPK_I32][0](all, n, least, 0,
                                                                              keys, positions);
}

static void push_part(struct topk_stream *s, const void *values, const int64_t *ids,
                      int64_t id_base, size_t n)
{
    const struct topk_context c = comparison(s, is_wide(s), NULL);
    int64_t keys[PART + VINDEX__TOPK_SLACK], least = s->least;
    uint32_t positions[PART + VINDEX__TOPK_SLACK];
    size_t found;

    /* Later ids lose every tie with the worst entry: most ties need not be looked at. */
    if (s->is_full && !ids && id_base > s->worst_id) {
        if (least == (is_wide(s) ? INT64_MAX : INT32_MAX)) return;
        least++;
    }
    found = filter(s, least, values, n, keys, positions);
    for (size_t i = 0; i < found; i++) {
        const size_t at = positions[i];
        const int64_t key = vindex__topk_key_at(&c, keys, i);
        const int64_t id = ids ? ids[at] : id_base + (int64_t)at;
        if (key < s->least) continue; /* it may have risen */
        if (s->is_full && key == s->least && id > s->worst_id) continue;
        s->memory.ids[s->count] = id;
        copy_value(s, s->memory.values, s->count++, values, at);
        if (s->count == s->limit) trim(s);
    }
    if (!s->is_full && s->count >= s->k) trim(s);
}

void vindex__final_push(struct topk_stream *stream, const void *values, const int64_t *ids,
                        int64_t id_base, size_t n)
{
    const size_t size = vkern_topk_size(stream->type);

    for (size_t i = 0; i < n; i += PART)
        push_part(stream, (const unsigned char *)values + i * size, ids ? ids + i : NULL,
                  ids ? 0 : id_base + (int64_t)i, n - i < PART ? n - i : PART);
}

void vindex__final_append(struct topk_stream *stream, size_t n)
{
    stream->count += n;
    if (stream->count >= (stream->is_full ? stream->limit : stream->k)) trim(stream);
}

bool vindex__final_threshold(struct topk_stream *stream, int64_t *key)
{
    /* Compressing reads all entries: an eighth of them new pays for it. */
    if (stream->is_full && stream->count > stream->k + stream->k / 8) trim(stream);
    *key = stream->least;
    return stream->is_full;
}

void vindex__final_trim(struct topk_stream *stream)
{
    if (stream->count > stream->k) trim(stream);
}

const uint32_t *vindex__final_sort(struct topk_stream *s)
{
    struct topk_context c, by_id;
    struct topk_found all, run;
    int64_t *ids, *spare;

    vindex__final_trim(s);
    assert(s->count <= UINT32_MAX);
    all.keys = s->memory.scratch;
    ids = (int64_t *)s->memory.scratch + with_slack(s->count);
    spare = ids + with_slack(s->count);
    all.positions = (uint32_t *)(void *)(spare + 4 * with_slack(s->count));
    all.n = s->count;
    c = comparison(s, is_wide(s), spare);
    by_id = comparison(s, true, spare);
    write_keys(s, all.keys);
    for (size_t i = 0; i < s->count; i++)
        all.positions[i] = (uint32_t)i;
    vindex__topk_sort(&c, &all);
    for (size_t i = 0, end; i < s->count; i = end) { /* equal keys: by id */
        const int64_t key = vindex__topk_key_at(&c, all.keys, i);
        for (end = i + 1; end < s->count; end++)
            if (vindex__topk_key_at(&c, all.keys, end) != key) break;
        run = (struct topk_found){.keys = ids, .positions = all.positions + i, .n = end - i};
        for (size_t j = 0; j < run.n; j++)
            ids[j] = ~s->memory.ids[run.positions[j]];
        if (run.n > 1) vindex__topk_sort(&by_id, &run);
    }
    return all.positions;
}
