/*
 * qselect.c - the k-th key of the whole row by quickselect, then one pass for what reaches it; and the
 * plain sort of a row. For k so large that hardly anything can be left out early.
 */
#include <string.h>

#include "topk/row.h"

void vindex__topk_qselect(struct topk_context *c, struct topk_span span, size_t k)
{
    struct topk_filter filter;
    int64_t kth = vkern_topk_worst(c->type);
    size_t n_above;

    if (k < span.n) {
        c->table->keys[c->type][c->is_min](span.x, span.n, false, c->groups);
        kth = vindex__topk_kth(c, c->groups, span.n, k, c->below, &n_above);
    }
    if (kth < vkern_topk_worst(c->type)) { /* NaN is among the k best */
        vindex__topk_by_keys(c, span, k);
        return;
    }
    vindex__topk_filter_open(&filter, c, span, k, kth);
    vindex__topk_filter_push(&filter, 0, span.n);
    if (!vindex__topk_filter_close(&filter)) vindex__topk_by_keys(c, span, k);
}

void vindex__topk_sort_all(struct topk_context *c, struct topk_span span, size_t k)
{
    struct topk_found *found = &c->found;

    c->table->keys[c->type][c->is_min](span.x, span.n, c->nan_is_best, found->keys);
    for (size_t i = 0; i < span.n; i++)
        found->positions[i] = (uint32_t)i;
    found->n = span.n;
    vindex__topk_sort(c, found);
    if (found->n > k) found->n = k;
    vindex__topk_sort_by_position(c, found);
}
