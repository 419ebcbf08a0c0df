/*
 * bench_topk.c - vindex bench topk with the C++ library's partial_sort and nth_element beside it
 * (topk_compare.cpp, where there is a C++ compiler).
 */
#include "bench_topk.h"

extern const struct bench_topk_ways bench_topk_cpp_ways __attribute__((weak));

int main(int argc, char **argv)
{
    bench_topk_cpp = &bench_topk_cpp_ways;
    return bench_topk_main(argc, argv);
}
