/*
 * slots.h - included at the end of a level's file: makes its slots from all_keys, best, groups, sample,
 * collect, find, take, any_nan, partition_i32/i64, keep_i32/i64, sink_i32/i64 and sort, for every type and
 * both orders.
 */
#ifndef VKERN_TOPK_SLOTS_H
#define VKERN_TOPK_SLOTS_H

#define VKERN_TOPK_ORDER(name, type, is_min)                                                       \
    static void keys_##name(const void *x, size_t n, bool nan_is_best, void *keys)                 \
    {                                                                                              \
        all_keys(type, is_min, x, n, nan_is_best, keys);                                           \
    }                                                                                              \
    static int64_t best_##name(const void *x, size_t n)                                            \
    {                                                                                              \
        return best(type, is_min, x, n);                                                           \
    }                                                                                              \
    static void groups_##name(const void *x, size_t n_tiles, size_t depth, void *maxima)           \
    {                                                                                              \
        groups(type, is_min, x, n_tiles, depth, maxima);                                           \
    }                                                                                              \
    static void sample_##name(const void *x, size_t step, size_t n_tiles, size_t depth,            \
                              void *maxima)                                                        \
    {                                                                                              \
        sample(type, is_min, x, step, n_tiles, depth, maxima);                                     \
    }                                                                                              \
    static size_t collect_##name(const void *x, size_t n, int64_t least, uint32_t base,            \
                                 void *keys, uint32_t *positions)                                  \
    {                                                                                              \
        return collect(type, is_min, x, n, least, base, keys, positions);                          \
    }                                                                                              \
    static size_t find_##name(const void *x, size_t n, int64_t least, uint32_t *parcels,           \
                              uint64_t *bits)                                                      \
    {                                                                                              \
        return find(type, is_min, x, n, least, parcels, bits);                                     \
    }                                                                                              \
    static size_t take_##name(const void *x, const uint32_t *parcels, const uint64_t *bits,        \
                              size_t n, uint32_t base, void *keys, uint32_t *positions)            \
    {                                                                                              \
        return take(type, is_min, x, parcels, bits, n, base, keys, positions);                     \
    }
#define VKERN_TOPK_TYPE(name, type)                                                                \
    VKERN_TOPK_ORDER(name##_max, type, false)                                                      \
    VKERN_TOPK_ORDER(name##_min, type, true)                                                       \
    static bool any_nan_##name(const void *x, size_t n)                                            \
    {                                                                                              \
        return any_nan(type, x, n);                                                                \
    }
VKERN_TOPK_TYPE(f32, VKERN_TOPK_F32)
VKERN_TOPK_TYPE(f16, VKERN_TOPK_F16)
VKERN_TOPK_TYPE(bf16, VKERN_TOPK_BF16)
VKERN_TOPK_TYPE(f64, VKERN_TOPK_F64)
VKERN_TOPK_TYPE(i32, VKERN_TOPK_I32)
VKERN_TOPK_TYPE(i64, VKERN_TOPK_I64)

#define VKERN_TOPK_FILL(name, type)                                                                \
    table->keys[type][0] = keys_##name##_max, table->keys[type][1] = keys_##name##_min;            \
    table->best[type][0] = best_##name##_max, table->best[type][1] = best_##name##_min;            \
    table->groups[type][0] = groups_##name##_max, table->groups[type][1] = groups_##name##_min;    \
    table->sample[type][0] = sample_##name##_max, table->sample[type][1] = sample_##name##_min;    \
    table->collect[type][0] = collect_##name##_max,                                                \
    table->collect[type][1] = collect_##name##_min;                                                \
    table->find[type][0] = find_##name##_max, table->find[type][1] = find_##name##_min;            \
    table->take[type][0] = take_##name##_max, table->take[type][1] = take_##name##_min;            \
    table->any_nan[type] = any_nan_##name

#define VKERN_TOPK_FILL_ALL(table)                                                                 \
    do {                                                                                           \
        VKERN_TOPK_FILL(f32, VKERN_TOPK_F32);                                                      \
        VKERN_TOPK_FILL(f16, VKERN_TOPK_F16);                                                      \
        VKERN_TOPK_FILL(bf16, VKERN_TOPK_BF16);                                                    \
        VKERN_TOPK_FILL(f64, VKERN_TOPK_F64);                                                      \
        VKERN_TOPK_FILL(i32, VKERN_TOPK_I32);                                                      \
        VKERN_TOPK_FILL(i64, VKERN_TOPK_I64);                                                      \
        (table)->partition[0] = partition_i32, (table)->partition[1] = partition_i64;              \
        (table)->keep[0] = keep_i32, (table)->keep[1] = keep_i64;                                  \
        (table)->sink[0] = sink_i32, (table)->sink[1] = sink_i64;                                  \
        (table)->sort = sort;                                                                      \
    } while (0)

#endif
