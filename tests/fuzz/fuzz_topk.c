/*
 * fuzz_topk.c - bytes to a selection: shape, options and scores; every algorithm must give the plain
 * reference's answer. A libFuzzer target:
 *
 *     cmake -B build-fuzz -DCMAKE_C_COMPILER=clang -DVINDEX_FUZZ=ON -DVINDEX_SANITIZE=address,undefined
 *     cmake --build build-fuzz --target fuzz_topk
 *     build-fuzz/fuzz/fuzz_topk tests/fuzz/corpus_topk
 *
 * Layout of an input: 8 bytes of options, then scores' raw bits (repeated where the row is longer).
 */
#include <stdlib.h>
#include <string.h>

#include "topk/helper_topk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    vindex_topk_options options;
    size_t level;
    unsigned char *x;
};

/* false: too short to say anything. */
static bool decode(const uint8_t *data, size_t size, size_t n_levels, struct input *in)
{
    const vindex_topk_options init = VINDEX_TOPK_OPTIONS_INIT;
    vindex_topk_options *o = &in->options;
    size_t bytes;

    if (size < 9) return false;
    *o = init;
    o->type = data[0] % N_TYPES;
    o->algo = data[1] % (VINDEX_TOPK_SORT + 1);
    o->nan = data[2] & 1;
    o->flags = data[2] & 2 ? VINDEX_TOPK_MIN : 0;
    in->level = (data[2] >> 2) % n_levels;
    o->rows = 1;
    o->len = (data[3] | data[4] << 8) % 9000;
    o->k = (data[5] | data[6] << 8) % 1500;
    o->lanes = data[7];
    if (o->algo == VINDEX_TOPK_RADIX && type_bytes(o->type) != 2) o->algo = VINDEX_TOPK_AUTO;
    if (o->algo == VINDEX_TOPK_ARGMAX) o->k %= 2;
    if (o->algo == VINDEX_TOPK_BINNED) o->bins = 1 + data[7], o->per_bin = (uint32_t)o->k + 1;
    bytes = (size_t)o->len * type_bytes(o->type);
    in->x = guarded_alloc(bytes);
    for (size_t i = 0; i < bytes; i++)
        in->x[i] = data[8 + i % (size - 8)];
    return true;
}

/* NULL, or what is wrong with the answer. */
static const char *check(const struct input *in, const vkern_topk_table *table)
{
    const vindex_topk_options *o = &in->options;
    const size_t n = (size_t)o->len, k = (size_t)o->k, live = k < n ? k : n;
    const size_t size = type_bytes(o->type);
    int64_t *expected = malloc((live + 1) * 8), *ids = malloc((k + 1) * 8), count = 0;
    unsigned char *values = malloc((k + 1) * size);
    const char *wrong = NULL;
    vindex_topk_output out = VINDEX_TOPK_OUTPUT_INIT;

    out.ids = ids, out.values = values, out.counts = &count;
    plain_best(o->type, in->x, n, live, (o->flags & VINDEX_TOPK_MIN) != 0, o->nan, expected);
    if (run_topk(table, o, in->x, NULL, NULL, &out) != VINDEX_OK)
        wrong = "the selection was refused";
    else if (count != (int64_t)live)
        wrong = "another number of elements";
    else if (memcmp(ids, expected, live * 8) != 0)
        wrong = "other positions than the plain reference's";
    for (size_t i = 0; i < live && !wrong; i++)
        if (memcmp(values + i * size, in->x + (size_t)ids[i] * size, size) != 0)
            wrong = "a value is not the element at its position";
    for (size_t i = live; i < k && !wrong; i++)
        if (ids[i] != -1) wrong = "a place beyond the elements is not padded";
    free(expected), free(ids), free(values);
    return wrong;
}

/* NULL, or what is wrong with the selection that these bytes ask for. */
static const char *find_fault(const uint8_t *data, size_t size)
{
    static vkern_topk_table levels[3];
    static size_t n_levels;
    struct input in;
    const char *wrong;

    if (n_levels == 0) n_levels = all_levels(levels);
    if (!decode(data, size, n_levels, &in)) return NULL;
    wrong = check(&in, &levels[in.level]);
    guarded_free(in.x, (size_t)in.options.len * type_bytes(in.options.type));
    return wrong;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (find_fault(data, size)) abort();
    return 0;
}
