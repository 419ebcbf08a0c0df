/*
 * filter.c - which rows count: the filter is asked once for each live row of the call and becomes a
 * live mask a part, which everything after reads.
 *
 * Id sets ascend. Where a part's ids ascend too, the two are merged, by search on the shorter side
 * where lengths differ much.
 */
#include "search/call.h"

#include <string.h>

#include "base/status.h"

/* The first index in ascending ids [from, n) whose id is >= id, by doubling steps from `from`. */
static uint64_t gallop_ids(const int64_t *ids, uint64_t from, uint64_t n, int64_t id)
{
    uint64_t step = 1, low = from, high = from;
    while (high < n && ids[high] < id) {
        low = high + 1;
        high = n - high > step ? high + step : n;
        step *= 2;
    }
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (ids[middle] < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The same over the slots of a part whose ids ascend. */
static uint32_t gallop_slots(const struct part *part, uint32_t from, int64_t id)
{
    uint32_t step = 1, low = from, high = from;
    while (high < part->n && vindex__row_id(part, high) < id) {
        low = high + 1;
        high = part->n - high > step ? high + step : part->n;
        step *= 2;
    }
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (vindex__row_id(part, middle) < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Two ascending sequences: each catches up with the other in doubling steps. */
static void name_by_merge(const vindex_filter *filter, const struct part *part, uint64_t *named)
{
    uint64_t i = 0;
    uint32_t slot = 0;
    while (slot < part->n) {
        int64_t id = vindex__row_id(part, slot);
        i = gallop_ids(filter->ids, i, filter->n, id);
        if (i == filter->n) return;
        if (filter->ids[i] == id)
            bitmap_set(named, slot++);
        else
            slot = gallop_slots(part, slot, filter->ids[i]);
    }
}

static bool names(const vindex_filter *filter, int64_t id)
{
    switch (filter->kind) {
    case VINDEX_FILTER_IDS: {
        uint64_t i = gallop_ids(filter->ids, 0, filter->n, id);
        return i < filter->n && filter->ids[i] == id;
    }
    case VINDEX_FILTER_BITMAP:
        return id >= 0 && (uint64_t)id < filter->n && filter->bitmap[id / 8] >> (id % 8) & 1;
    case VINDEX_FILTER_CALLBACK: return filter->callback(filter->context, id) != 0;
    default: return true;
    }
}

/* Each live row is asked about; false: the call is to end. */
static bool name_by_row(struct call *call, const vindex_filter *filter, const struct part *part,
                        uint64_t *named)
{
    struct pace pace;
    vindex__pace_init(&pace, &call->stop);
    for (uint32_t slot = 0; slot < part->n; slot++) {
        if (slot % 64 == 0 && vindex__pace_tick(&pace, &call->stop, 64 * 20.0)) return false;
        if (part->live && !bitmap_get(part->live, slot)) continue;
        if (names(filter, vindex__row_id(part, slot))) bitmap_set(named, slot);
    }
    return true;
}

/* named -> live & named, or live & ~named. */
static void combine(const vindex_filter *filter, const struct part *part, uint64_t *named)
{
    uint64_t flip = filter->flags & VINDEX_FILTER_NOT ? ~UINT64_C(0) : 0;
    for (size_t w = 0; w < bitmap_words(part->n); w++) {
        uint64_t live = part->live ? part->live[w] : ~UINT64_C(0);
        size_t left = part->n - 64 * w;
        if (left < 64) live &= (UINT64_C(1) << left) - 1;
        named[w] = (named[w] ^ flip) & live;
    }
}

/* A task: the mask of one part. */
static void filter_part(void *context, size_t index, uint32_t number)
{
    struct call *call = context;
    const vindex_filter *filter = call->request->filter;
    struct part_mask *mask = &call->masks[index];
    uint64_t *named = (uint64_t *)mask->words; /* ours: lay_out made it */
    struct part_view view;
    (void)number;

    if (atomic_load_explicit(&call->stop.status, memory_order_relaxed) != VINDEX_OK) return;
    vindex__call_part(call, index, &view);
    if (view.part->n == 0) return;
    vindex_status st =
        call->snapshot ? vindex__part_touch_ids(call->snapshot, view.part) : VINDEX_OK;
    if (st != VINDEX_OK) {
        vindex__stop_set(&call->stop, st);
        return;
    }
    memset(named, 0, 8 * bitmap_words(view.part->n));
    if (filter->kind == VINDEX_FILTER_IDS && view.part->ids_ascend)
        name_by_merge(filter, view.part, named);
    else if (!name_by_row(call, filter, view.part, named))
        return;
    combine(filter, view.part, named);
    mask->n = (uint32_t)vindex__bitmap_count(named, view.part->n);
}

/* Masks of all parts, in the searcher's memory. */
static vindex_status lay_out(struct call *call)
{
    struct region *region = &call->search->mask_memory;
    size_t n_words = 0;
    struct part_view view;

    for (size_t i = 0; i < call->n_parts; i++) {
        vindex__call_part(call, i, &view);
        n_words += bitmap_words(view.part->n);
    }
    for (int pass = 0; pass < 2; pass++) {
        struct arena arena = {pass ? region->memory : NULL, 0, false};
        call->masks = vindex__arena_take(&arena, call->n_parts, sizeof *call->masks);
        /* One more, so that there is one: parts may all be empty. */
        uint64_t *words = vindex__arena_take(&arena, n_words + 1, sizeof *words);
        if (arena.overflow) return vindex__nomem();
        if (pass == 0) {
            vindex_status st = vindex__region_need(region, arena.used);
            if (st != VINDEX_OK) return st;
            continue;
        }
        for (size_t i = 0; i < call->n_parts; i++) {
            vindex__call_part(call, i, &view);
            call->masks[i] = (struct part_mask){words, 0};
            words += bitmap_words(view.part->n);
        }
    }
    return VINDEX_OK;
}

vindex_status vindex__call_filter(struct call *call)
{
    const vindex_filter *filter = call->request->filter;
    call->n_match = call->n_live;
    if (!filter || (filter->kind == VINDEX_FILTER_NONE && !(filter->flags & VINDEX_FILTER_NOT)))
        return VINDEX_OK;

    vindex_status st = lay_out(call);
    if (st != VINDEX_OK) {
        call->masks = NULL;
        return st;
    }
    vindex__pool_run(call->request->n_threads > 1 ? call->search->pool : NULL, filter_part, call,
                     call->n_parts);
    call->n_match = 0;
    for (size_t i = 0; i < call->n_parts; i++)
        call->n_match += call->masks[i].n;
    return VINDEX_OK;
}
