/*
 * bench_fused.c - what selecting costs beside scoring: rows scored a block at a time by the query kernel, with
 * and without a first-pass stream that keeps the best k (topk/stream.h), in turns on the same rows.
 *
 *     bench_fused [n] [dim] [k] [rounds]          100000 128 100 31
 *
 * Time is the thread's own, so that what else the machine does counts little. One JSON line.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/random.h"
#include "kernels/kernels.h"
#include "topk/stream.h"

enum { BLOCK = 1024, ROUNDS_MOST = 1001 };

struct fused {
    const vkern_table *kern;
    float *rows, *query, scores[BLOCK];
    size_t n, dim;
    struct topk_stream stream;
    double kept; /* entries left, summed: the work must not be optimised away */
};

static double now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return 1e6 * (double)t.tv_sec + 1e-3 * (double)t.tv_nsec;
}

static double scan(struct fused *f, bool selects)
{
    const double start = now_us();

    for (size_t i = 0; i < f->n; i += BLOCK) {
        const size_t n = f->n - i < BLOCK ? f->n - i : BLOCK;
        f->kern->l2sq[VKERN_F32](f->query, f->rows + i * f->dim, f->dim * sizeof(float), n, f->dim,
                                 f->scores);
        if (selects) vindex__stream_push(&f->stream, f->kern->survivors, f->scores, n, NULL, 0, i);
        f->kept += f->scores[0];
    }
    if (selects) vindex__stream_compress(&f->stream);
    f->kept += (double)f->stream.count;
    return now_us() - start;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, ascending);
    return values[n / 2];
}

static size_t argument(int argc, char **argv, int i, size_t otherwise)
{
    return argc > i ? (size_t)strtoull(argv[i], NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
    static double alone[ROUNDS_MOST], fused[ROUNDS_MOST], ratio[ROUNDS_MOST];
    const size_t k = argument(argc, argv, 3, 100);
    size_t rounds = argument(argc, argv, 4, 31), entries;
    struct fused f = {
        vkern_get(), NULL, NULL, {0}, argument(argc, argv, 1, 100000), argument(argc, argv, 2, 128),
        {0},         0};
    const size_t limit = vindex__stream_limit(k, f.n);
    struct topk_memory memory;
    struct rng rng;

    if (rounds < 1 || rounds > ROUNDS_MOST) rounds = 31;
    entries = vindex__stream_entries(limit, BLOCK);
    f.rows = aligned_alloc(64, (f.n * f.dim + 64) / 64 * 256);
    f.query = malloc((f.dim + 16) * sizeof *f.query);
    memory.ids = malloc(entries * sizeof *memory.ids);
    memory.values = malloc(entries * sizeof(float));
    memory.scratch = malloc(vindex__stream_scratch(entries));
    if (!f.rows || !f.query || !memory.ids || !memory.values || !memory.scratch || k < 1) {
        fprintf(stderr, "bench_fused: out of memory, or k is 0\n");
        return 1;
    }
    vindex__rng_init(&rng, 1);
    for (size_t i = 0; i < f.n * f.dim; i++)
        f.rows[i] = (float)vindex__rng_unit(&rng);
    for (size_t i = 0; i < f.dim; i++)
        f.query[i] = (float)vindex__rng_unit(&rng);
    for (size_t i = 0; i < rounds; i++) {
        alone[i] = scan(&f, false);
        vindex__stream_init(&f.stream, k, limit, (struct topk_margin){0, 0}, memory);
        fused[i] = scan(&f, true);
        ratio[i] = fused[i] / alone[i];
    }
    printf("{\"bench\":\"fused\",\"n\":%zu,\"dim\":%zu,\"k\":%zu,\"isa\":\"%s\",\"score_us\":%.1f,"
           "\"fused_us\":%.1f,\"ratio\":%.4f,\"kept\":%zu}\n",
           f.n, f.dim, k, f.kern->level_name, median(alone, rounds), median(fused, rounds),
           median(ratio, rounds), f.stream.count);
    free(f.rows), free(f.query), free(memory.ids), free(memory.values), free(memory.scratch);
    return f.kept == 0;
}
