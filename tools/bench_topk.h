/*
 * bench_topk.h - vindex bench topk, and the ways of the C++ library it compares with where they are
 * linked in (tests/bench).
 */
#ifndef TOOLS_BENCH_TOPK_H
#define TOOLS_BENCH_TOPK_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Run with argv[1..] as flags; returns the exit status. */
int bench_topk_main(int argc, char **argv);

/** A score, larger is better, and where it was. */
struct bench_topk_item {
    float value;
    int32_t position;
};

/** The k best of n to the front, best first. Only where bench_topk_cpp is not NULL. */
struct bench_topk_ways {
    void (*partial_sort)(struct bench_topk_item *items, size_t n, size_t k);
    void (*nth_element)(struct bench_topk_item *items, size_t n, size_t k);
};
extern const struct bench_topk_ways *bench_topk_cpp;

#ifdef __cplusplus
}
#endif

#endif
