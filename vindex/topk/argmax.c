/*
 * argmax.c - k = 1: a maximum scan, remembering the block it was last beaten in, then the first element
 * of that block that has it.
 */
#include "topk/row.h"

enum { STEP = 512, BLOCK = 4096 }; /* 16 KiB of f32 stay in L1: the second look is nearly free */

static size_t first_with(const struct topk_context *c, const void *x, size_t n, int64_t key)
{
    unsigned char keys[8 * (STEP + VINDEX__TOPK_SLACK)];
    uint32_t positions[STEP + VINDEX__TOPK_SLACK];

    for (size_t i = 0; i < n; i += STEP) {
        const size_t part = n - i < STEP ? n - i : STEP;
        if (c->table->collect[c->type][c->is_min](vindex__topk_at(c, x, i), part, key, (uint32_t)i,
                                                  keys, positions))
            return positions[0];
    }
    return n;
}

void vindex__topk_argmax(struct topk_context *c, struct topk_span span)
{
    int64_t most = vkern_topk_worst(c->type);
    size_t block = 0, at;

    for (size_t i = 0; i < span.n; i += BLOCK) {
        const size_t part = span.n - i < BLOCK ? span.n - i : BLOCK;
        const int64_t key = c->table->best[c->type][c->is_min](vindex__topk_at(c, span.x, i), part);
        if (key > most) most = key, block = i;
    }
    /* Only the worst infinity, integers' worst or NaN: the first of the former may be in any block. */
    at = most == vkern_topk_worst(c->type)
             ? first_with(c, span.x, span.n, most)
             : block + first_with(c, vindex__topk_at(c, span.x, block),
                                  span.n - block < BLOCK ? span.n - block : BLOCK, most);
    if (at == span.n) {
        vindex__topk_by_keys(c, span, 1);
        return;
    }
    vindex__topk_store_key(c, c->found.keys, 0, most);
    c->found.positions[0] = (uint32_t)at;
    c->found.n = 1;
}
