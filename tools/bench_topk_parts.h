/*
 * bench_topk_parts.h - private to bench_topk*.c: a run's settings, its rows, what is measured.
 *
 *     bench_topk.c         the command line, what is printed      bench_topk_ways.c   the ways compared with
 *     bench_topk_run.c     rows, rounds, recall                   bench_topk_sweep.c  tables and plots
 *     bench_topk_floor.c   the plain maximum scan
 */
#ifndef TOOLS_BENCH_TOPK_PARTS_H
#define TOOLS_BENCH_TOPK_PARTS_H

#include <stdbool.h>
#include <stdio.h>

#include "bench_topk.h"
#include "vindex_topk.h"

enum { WAYS_MOST = 8, CHOICES_MOST = 8 };

struct settings {
    int64_t len, k, rows, bins;
    double recall, seconds;
    unsigned per_bin, threads;
    vindex_topk_type type;
    vindex_topk_algo algo;
    const char *order, *sweep;
    bool is_min, is_unsorted, is_json, is_compared, is_choice;
    uint64_t seed;
};

struct bench {
    const struct settings *s;
    unsigned char *x;
    vindex_topk_options options;
    vindex_topk_plan plan;
    void *workspace, *values;
    int64_t *ids;
    struct bench_topk_item *items; /* one row as (value, position) */
};

struct result {
    double ns, floor_ns, ratio, recall;
    double ways_ns[WAYS_MOST];
};

/* bench_topk_run.c */
bool bench_topk_is_order(const char *order);
const void *bench_topk_row(const struct bench *b, int64_t row);
/** An element as something larger is better. */
struct bench_topk_item bench_topk_item_at(const struct bench *b, const void *row, int64_t i);
/** Time of this thread where it works alone, so that what else the machine does is not counted. */
double bench_topk_now_ns(const struct settings *s);
double bench_topk_median(double *values, size_t n);
vindex_status bench_topk_run(const struct settings *s, struct result *r, vindex_topk_plan *plan,
                             int64_t *n_survivors);

/** What each exact algorithm takes beside auto, in turns on the same rows. */
struct choices {
    size_t n;
    vindex_topk_algo algos[CHOICES_MOST];
    double ns[CHOICES_MOST];
    vindex_topk_algo chosen, best;
    double chosen_ns, best_ns;
};
vindex_status bench_topk_choices(const struct settings *s, struct choices *choices);

/* bench_topk_floor.c */
void bench_topk_scan(const void *x, size_t bytes);

/* bench_topk_ways.c: row by row, times in r->ways_ns. */
enum { N_WAYS = 5 };
const char *bench_topk_way_name(size_t way);
bool bench_topk_has_way(size_t way);
void bench_topk_compare(struct bench *b, struct result *r);
/** The k best of a row to the front of b->items. */
void bench_topk_plain(struct bench *b, const void *row, int64_t *ids);

/* bench_topk_sweep.c */
vindex_status bench_topk_sweep(const struct settings *given);

#endif
