/*
 * topk_compare.cpp - std::partial_sort and std::nth_element for bench_topk --compare. Test only.
 */
#include <algorithm>

#include "bench_topk.h"

namespace
{
bool is_better(const bench_topk_item &a, const bench_topk_item &b)
{
    return a.value != b.value ? a.value > b.value : a.position < b.position;
}

struct better {
    bool operator()(const bench_topk_item &a, const bench_topk_item &b) const
    {
        return is_better(a, b);
    }
};

void partial_sort(bench_topk_item *items, size_t n, size_t k)
{
    std::partial_sort(items, items + k, items + n, better());
}

void nth_element(bench_topk_item *items, size_t n, size_t k)
{
    if (k < n) std::nth_element(items, items + k, items + n, better());
    std::sort(items, items + k, better());
}
} // namespace

extern "C" const bench_topk_ways bench_topk_cpp_ways;
const bench_topk_ways bench_topk_cpp_ways = {partial_sort, nth_element};
