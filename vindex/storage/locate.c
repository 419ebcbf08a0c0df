/*
 * locate.c - questions to a snapshot that its arrays alone answer: which part holds a position, where an id lives, how
 * many rows came since.
 */
#include "storage/snapshot.h"

const struct part *vindex__snapshot_find(const struct snapshot *snapshot, uint64_t position)
{
    uint32_t low = 0, high = snapshot->n_parts;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (snapshot->parts[middle].base <= position)
            low = middle;
        else
            high = middle;
    }
    return &snapshot->parts[low];
}

uint32_t vindex__part_lower(const struct part *part, int64_t id)
{
    uint32_t low = 0, high = part->n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (part_id(part, middle) < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool part_locate(const struct part *part, int64_t id, uint32_t *slot)
{
    if (id < part->min_id || id > part->max_id) return false;
    if (part->ids_ascend) {
        *slot = vindex__part_lower(part, id);
        return *slot < part->n && part_id(part, *slot) == id && bitmap_get(part->live, *slot);
    }
    for (*slot = 0; *slot < part->n; ++*slot)
        if (part_id(part, *slot) == id && bitmap_get(part->live, *slot)) return true;
    return false;
}

uint64_t vindex__rows_since(const struct snapshot *snapshot, uint64_t seq)
{
    uint64_t n = 0;
    for (uint32_t i = snapshot->n_parts; i > 0; i--) {
        const struct part *part = &snapshot->parts[i - 1];
        if (part->is_tail) continue;
        if (part->seq < seq) break;
        n += part->n_live;
    }
    return n;
}

struct row_place vindex__snapshot_locate(const struct snapshot *snapshot, int64_t id)
{
    struct row_place place = {NULL, 0};
    for (uint32_t i = snapshot->n_parts; i-- > 0;) {
        if (part_locate(&snapshot->parts[i], id, &place.slot)) {
            place.part = &snapshot->parts[i];
            return place;
        }
    }
    return place;
}
