/*
 * bench_pjrt.c - a PJRT plugin, step by step: what it is, whether it compiles our programs, whether they compute
 * what they should, what transfers and launches take.
 *
 *     bench_pjrt PLUGIN                      exit 1 if no exact or no approximate program works
 *     bench_pjrt --write FILE ROWS DIM SEED  random rows as .fvecs, for on_device.sh
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "base/threads.h"
#include "kernels/kernels.h"
#include "kernels/pjrt/pjrt.h"

enum { Q = 64, N = 131072, D = 128, K = 10, BINS = 512, N_CHUNKS = 8, CHECKED = 4 };

static float *random_rows(size_t n, size_t dim, uint64_t seed)
{
    struct rng rng;
    float *rows = malloc(n * dim * sizeof *rows);
    vindex__rng_init(&rng, seed);
    for (size_t i = 0; rows && i < n * dim; i++)
        rows[i] = (float)(vindex__rng_unit(&rng) * 2 - 1);
    return rows;
}

static int write_rows(const char *path, size_t n, int32_t dim, uint64_t seed)
{
    FILE *file = fopen(path, "wb");
    float *rows = random_rows(n, (size_t)dim, seed);
    bool good = file && rows;
    for (size_t i = 0; good && i < n; i++)
        good = fwrite(&dim, 4, 1, file) == 1 &&
               fwrite(rows + i * (size_t)dim, (size_t)dim * 4, 1, file) == 1;
    if (file && fclose(file) != 0) good = false;
    free(rows);
    if (!good) fprintf(stderr, "bench_pjrt: %s could not be written\n", path);
    return good ? 0 : 1;
}

struct bench {
    struct vkern_pjrt *client;
    float *rows, *queries, *bias;
    struct vkern_pjrt_buffer *arguments[2][3]; /* by type */
    struct vkern_pjrt_error error;
};

static bool upload(struct bench *b, enum vkern_pjrt_type type)
{
    const vkern_table *kern = vkern_get();
    uint16_t *halves = malloc((size_t)N * D * 2);
    const void *data[3] = {b->queries, b->rows, b->bias};
    int64_t dims[3][2] = {{Q, D}, {N, D}, {N, 0}};
    bool good = halves != NULL;
    for (size_t i = 0; good && i < 3; i++) {
        bool as_bf16 = type == VKERN_PJRT_BF16 && i < 2;
        if (as_bf16) kern->from_f32[VKERN_BF16](data[i], (size_t)dims[i][0] * D, halves);
        int64_t began = vindex__now_ns();
        good = vkern_pjrt_buffer_new(b->client, 0, i < 2 ? type : VKERN_PJRT_F32, dims[i],
                                     i < 2 ? 2 : 1, as_bf16 ? (const void *)halves : data[i],
                                     &b->arguments[type][i], &b->error);
        if (good && i == 1)
            printf("upload of %d x %d %s: %.2f GB/s, %.1f MB on the device\n", N, D,
                   as_bf16 ? "bf16" : "f32",
                   (double)N * D * (as_bf16 ? 2 : 4) / (double)(vindex__now_ns() - began),
                   (double)vkern_pjrt_buffer_bytes(b->arguments[type][i]) / 1e6);
    }
    free(halves);
    return good;
}

/* The first queries of a result against sums in double: values right, and how many of the k best. */
static bool check(const struct bench *b, enum vkern_pjrt_type type, const float *values,
                  const int32_t *rows, double *recall, double *worst)
{
    size_t n_found = 0;
    *worst = 0;
    for (size_t q = 0; q < CHECKED; q++) {
        double *exact = malloc(N * sizeof *exact);
        if (!exact) return false;
        for (size_t n = 0; n < N; n++) {
            exact[n] = (double)b->bias[n];
            for (size_t d = 0; d < D; d++)
                exact[n] += (double)b->queries[q * D + d] * (double)b->rows[n * D + d];
        }
        for (size_t i = 0; i < K; i++) {
            int32_t row = rows[q * K + i];
            if (row < 0 || row >= N) return free(exact), false;
            *worst = fmax(*worst, fabs((double)values[q * K + i] - exact[row]));
            size_t n_better = 0;
            for (size_t n = 0; n < N; n++)
                n_better += exact[n] > exact[row];
            n_found += n_better < K;
        }
        free(exact);
    }
    *recall = (double)n_found / (CHECKED * K);
    return *worst < (type == VKERN_PJRT_BF16 ? 0.5 : 1e-4);
}

static bool run_kind(struct bench *b, enum vkern_pjrt_kind kind, enum vkern_pjrt_type type)
{
    struct vkern_pjrt_spec spec = {kind, type, 1, Q, N, D, K, BINS, 0.95F, -1};
    struct vkern_pjrt_program *program;
    struct vkern_pjrt_run *runs[N_CHUNKS];
    float *values = malloc(Q * K * sizeof *values);
    int32_t *rows = malloc(Q * K * sizeof *rows);
    double recall = 0, worst = 0, best_ms = INFINITY;
    const char *type_name = type == VKERN_PJRT_BF16 ? "bf16" : "f32";
    int64_t began = vindex__now_ns();
    bool good = values && rows && vkern_pjrt_program_get(b->client, &spec, &program, &b->error);
    double compile_ms = (double)(vindex__now_ns() - began) / 1e6;
    for (int round = 0; good && round < 5; round++) {
        began = vindex__now_ns();
        for (size_t i = 0; i < N_CHUNKS; i++)
            runs[i] = NULL;
        for (size_t i = 0; good && i < N_CHUNKS; i++)
            good = vkern_pjrt_run_start(program, 0, b->arguments[type], 3, &runs[i], &b->error);
        for (size_t i = 0; i < N_CHUNKS; i++) {
            if (!good)
                vkern_pjrt_run_free(runs[i]);
            else
                good = vkern_pjrt_run_read(runs[i], NULL, (void *[]){values, rows},
                                           (size_t[]){Q * K * 4, Q * K * 4}, 2, &b->error);
        }
        best_ms = fmin(best_ms, (double)(vindex__now_ns() - began) / 1e6);
    }
    if (good && !check(b, type, values, rows, &recall, &worst)) {
        snprintf(b->error.text, sizeof b->error.text, "wrong results: off by %g", worst);
        good = false;
    }
    if (good)
        printf(
            "%-10s %-4s pass: compiled in %.0f ms, scratch %.1f MB, %d chunks x %d queries %.2f ms"
            " (%.0f GFLOP/s), recall %.3f, off by %.1e\n",
            vkern_pjrt_kind_name(kind), type_name, compile_ms,
            (double)vkern_pjrt_program_scratch(program) / 1e6, N_CHUNKS, Q, best_ms,
            2.0 * Q * N * D * N_CHUNKS / best_ms / 1e6, recall, worst);
    else
        printf("%-10s %-4s FAIL: %s\n", vkern_pjrt_kind_name(kind), type_name, b->error.text);
    free(values);
    free(rows);
    return good;
}

static void show(struct bench *b)
{
    uint64_t used, limit;
    printf("platform %s, %s, PJRT 0.%d, %zu devices\n", vkern_pjrt_platform(b->client),
           vkern_pjrt_version(b->client), vkern_pjrt_minor(b->client),
           vkern_pjrt_n_devices(b->client));
    for (size_t i = 0; i < vkern_pjrt_n_devices(b->client); i++) {
        printf("device %zu: %s", i, vkern_pjrt_device_kind(b->client, i));
        if (vkern_pjrt_device_memory(b->client, i, &used, &limit))
            printf(", %.2f GB of %.2f GB in use", (double)used / 1e9, (double)limit / 1e9);
        printf("\n");
    }
}

int main(int n_words, char **words)
{
    struct bench b = {0};
    int n_exact = 0, n_approximate = 0;
    if (n_words == 6 && strcmp(words[1], "--write") == 0)
        return write_rows(words[2], strtoull(words[3], NULL, 10), atoi(words[4]),
                          strtoull(words[5], NULL, 10));
    if (n_words != 2) {
        fprintf(stderr, "usage: bench_pjrt PLUGIN | bench_pjrt --write FILE ROWS DIM SEED\n");
        return 2;
    }
    int64_t began = vindex__now_ns();
    if (!vkern_pjrt_open(words[1], &b.client, &b.error)) {
        fprintf(stderr, "bench_pjrt: %s\n", b.error.text);
        return 1;
    }
    printf("opened in %.2f s\n", (double)(vindex__now_ns() - began) / 1e9);
    show(&b);
    b.rows = random_rows(N, D, 1);
    b.queries = random_rows(Q, D, 2);
    b.bias = random_rows(N, 1, 3);
    for (int type = VKERN_PJRT_F32; type <= VKERN_PJRT_BF16; type++) {
        if (!upload(&b, type)) {
            printf("upload FAIL: %s\n", b.error.text);
            continue;
        }
        for (int kind = VKERN_PJRT_BINS; kind <= VKERN_PJRT_APPROX; kind++) {
            bool good = run_kind(&b, kind, type),
                 exact = kind == VKERN_PJRT_SORT || kind == VKERN_PJRT_TOPK;
            n_exact += good && exact;
            n_approximate += good && !exact;
        }
    }
    for (size_t i = 0; i < 6; i++)
        vkern_pjrt_buffer_free(b.arguments[i / 3][i % 3]);
    vkern_pjrt_close(b.client);
    free(b.rows), free(b.queries), free(b.bias);
    return n_exact && n_approximate ? 0 : 1;
}
