/*
 * codes.c - a range of rows by their codes (kernels/codes.h), one query at a time over groups
 * that stay in cache.
 *
 * 8-bit codes stand for rows up to an error that plan.c knows: a first pass like any other, over
 * a quarter of the bytes of f32. 4-bit codes along the leading axes give rough scores without a
 * bound: each query keeps the k' best of them, by (score, position), whatever the order they come
 * in; rerank.c scores these.
 */
#include "search/call.h"

#include <math.h>
#include <string.h>

/* Which codes of queries such facts ask for: rows of whole numbers have their own, by sign. */
static uint32_t variant_of(const struct vkern_c8_facts *facts)
{
    return facts->whole ? 2 + facts->is_signed : 1;
}

void vindex__codes_make(struct worker *worker, const struct vkern_c8_facts *facts)
{
    uint32_t variant = variant_of(facts);
    if (worker->variant == variant) return;
    for (size_t q = 0; q < worker->n_collectors; q++) {
        struct collector *collector = &worker->collectors[q];
        vkern_c8_query_make(&worker->call->model, facts, collector->query.dense, collector->codes,
                            &collector->side);
    }
    worker->variant = variant;
    worker->is_packed = false;
}

uint32_t vindex__next_groups(const struct block *blocks, const uint64_t *mask, uint32_t rows_max,
                             uint32_t end, uint32_t *slot, const void **groups)
{
    *slot = vindex__first_live(mask, *slot, end);
    if (*slot >= end) return 0;
    uint32_t per_block = blocks[0].n * VKERN_GROUP, at = *slot % per_block;
    const struct block *block = &blocks[*slot / per_block];
    uint32_t n = per_block - at, room = rows_max - at % VKERN_GROUP;

    *groups = (const char *)block->rows + at / VKERN_GROUP * block->stride;
    if (n > end - *slot) n = end - *slot;
    return n < room ? n : room;
}

/* With several queries the groups of a step are read again: they stay in L2. */
static uint32_t rows_in_cache(const struct call *call, size_t group_bytes)
{
    size_t rows = ((size_t)256 << 10) / group_bytes * VKERN_GROUP;
    size_t most = call->plan.rows_max / VKERN_GROUP * VKERN_GROUP;
    return (uint32_t)(rows < VKERN_GROUP ? VKERN_GROUP : rows < most ? rows : most);
}

void vindex__codes_part(struct worker *worker, const struct part *part, const uint64_t *mask,
                        uint32_t slot, uint32_t end)
{
    const struct call *call = worker->call;
    size_t group_bytes = vkern_c8_group_bytes(call->dim);
    uint32_t rows_max = rows_in_cache(call, group_bytes), n;
    const void *groups;

    for (; (n = vindex__next_groups(part->codes->c8, mask, rows_max, end, &slot, &groups)) > 0;
         slot += n) {
        uint32_t before = slot % VKERN_GROUP;
        size_t n_groups = vkern_groups(before + n);
        for (size_t q = 0; q < worker->n_collectors; q++) {
            struct collector *collector = &worker->collectors[q];
            if (collector->engine != ENGINE_C8) continue;
            if (vindex__pace_tick(&worker->pace, &worker->call->stop,
                                  0.1 * (double)(n_groups * group_bytes)))
                return;
            call->kern->codes->c8_scan(&collector->side.query, groups, n_groups, call->dim,
                                       worker->scores);
            vindex__collector_push(worker, collector, worker->scores + before, n, part, mask, slot);
        }
    }
}

/* ---- rows below a cut ---------------------------------------------------------------------- */

enum {
    AT_ONCE = 64 / VKERN_GROUP
}; /* groups whose bits are looked at together: mostly none is set */

/* Leave the bits of rows of the run. Returns the groups there are bits of, a multiple of AT_ONCE. */
static size_t cut_edges(uint16_t *below, const struct group_run *run)
{
    uint32_t end = run->before + run->n;
    size_t n = vkern_groups(end), n_rounded = (n + AT_ONCE - 1) / AT_ONCE * AT_ONCE;

    below[0] &= (uint16_t)(0xffffU << run->before);
    below[n - 1] &= (uint16_t)(0xffffU >> (VKERN_GROUP * n - end));
    for (size_t i = n; i < n_rounded; i++)
        below[i] = 0;
    return n_rounded;
}

/* 64 bits of a mask of `end` bits, from any bit on. */
uint64_t vindex__mask_bits(const uint64_t *mask, uint32_t at, uint32_t end)
{
    uint64_t bits = mask[at / 64] >> (at % 64);
    if (at % 64 > 0 && at / 64 < (end - 1) / 64) bits |= mask[at / 64 + 1] << (64 - at % 64);
    return bits;
}

size_t vindex__take_below(uint16_t *below, const float *scores, const struct group_run *run,
                          int64_t *ids, float *values)
{
    size_t n_groups = cut_edges(below, run), count = 0;
    uint32_t first = run->slot - run->before;
    uint64_t base = run->part->base + first, rows;

    for (size_t g = 0; g < n_groups; g += AT_ONCE) {
        memcpy(&rows, below + g, sizeof rows);
        if (rows == 0) continue;
        size_t at = VKERN_GROUP * g;
        if (run->mask) rows &= vindex__mask_bits(run->mask, first + (uint32_t)at, run->slot + run->n);
        for (; rows; rows &= rows - 1, count++) {
            size_t i = at + (size_t)__builtin_ctzll(rows);
            ids[count] = (int64_t)(base + i);
            values[count] = scores[i];
        }
    }
    return count;
}

/* ---- rough scores -------------------------------------------------------------------------- */

/* Scores above this cannot enter. It falls when the stream is compressed: asking for more would
   cost more than the entries it spares. */
float vindex__rough_cut(const struct topk_stream *rough)
{
    uint32_t bits;
    float cut;
    if (!rough->is_full) return INFINITY;
    bits = (uint32_t)vkern_topk_bits(VKERN_TOPK_F32, true, rough->least);
    memcpy(&cut, &bits, sizeof cut);
    return cut;
}

static void push_rough(struct worker *worker, struct topk_stream *rough,
                       const struct group_run *run)
{
    float *values = rough->memory.values;
    size_t found = vindex__take_below(worker->below, worker->scores, run,
                                      rough->memory.ids + rough->count, values + rough->count);
    vindex__final_append(rough, found);
    worker->n_scored += run->n;
}

/* Until k' scores are known every row gets in: steps are short then, for these are sorted. */
static uint32_t rough_rows(const struct worker *worker, uint32_t rows_max)
{
    const uint32_t first = 256;
    bool knows_cut = worker->collectors[0].rough.is_full;
    return knows_cut || rows_max < first ? rows_max : first;
}

void vindex__rough_part(struct worker *worker, const struct part *part, const uint64_t *mask,
                        uint32_t slot, uint32_t end)
{
    const struct call *call = worker->call;
    size_t m = call->model.m, group_bytes = vkern_c4_group_bytes(m);
    uint32_t rows_max = rows_in_cache(call, group_bytes), n;
    const void *groups;

    for (; (n = vindex__next_groups(part->codes->c4, mask, rough_rows(worker, rows_max), end, &slot,
                                    &groups)) > 0;
         slot += n) {
        const struct group_run run = {part, mask, slot, n, slot % VKERN_GROUP};
        size_t n_groups = vkern_groups(run.before + n);
        for (size_t q = 0; q < worker->n_collectors; q++) {
            struct collector *collector = &worker->collectors[q];
            if (vindex__pace_tick(&worker->pace, &worker->call->stop,
                                  0.1 * (double)(n_groups * group_bytes)))
                return;
            call->kern->codes->c4_scan(collector->weights, collector->weight_scale, groups,
                                       n_groups, m, worker->scores, vindex__rough_cut(&collector->rough),
                                       worker->below);
            push_rough(worker, &collector->rough, &run);
        }
    }
}
