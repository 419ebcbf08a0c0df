/*
 * bench_clusters.c - a large set that every machine can make again: rows and queries of one law, clusters on low-rank
 * subspaces, and the exact answers.
 *
 *     bench_clusters PREFIX [--n 1000000] [--dim 128] [--queries 2000] [--clusters 2000] [--rank 24] [--seed 1]
 *                    [--metric l2|cosine|ip] [-k 100] [--norms SPREAD]
 *
 * Writes PREFIX.base.fbin, PREFIX.query.fbin (int32 n, int32 dim, then f32) and PREFIX.truth.ivecs (int32 k, then k row
 * numbers, a query). Cluster weights fall as 1 / rank; centres and the deviations inside a cluster fall along
 * their axes, as principal components of real embeddings do; a little noise in all elements. --norms s multiplies each
 * row by exp(s g), g normal: spread norms for inner products.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "vindex.h"

struct law {
    size_t dim, clusters, rank;
    double spread;
    float *centres; /* [clusters, dim] */
    float *axes;    /* [clusters, rank, dim], deviations folded in */
    double *weights; /* [clusters], cumulative */
};

struct set {
    float *rows;
    size_t n, dim;
};

static void die(const char *what, const char *detail)
{
    fprintf(stderr, "bench_clusters: %s: %s\n", what, detail);
    exit(1);
}

static void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size);
    if (!memory) die("out of memory", "");
    return memory;
}

/* Box and Muller; the second number is thrown away so that one call has one meaning. */
static double normal(struct rng *rng)
{
    double u = 1 - vindex__rng_unit(rng), v = vindex__rng_unit(rng);
    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

static void make_law(struct law *law, struct rng *rng)
{
    double total = 0, per_axis = 1 / sqrt((double)law->dim);
    law->centres = allocate(law->clusters * law->dim, sizeof(float));
    law->axes = allocate(law->clusters * law->rank * law->dim, sizeof(float));
    law->weights = allocate(law->clusters, sizeof(double));
    for (size_t c = 0; c < law->clusters; c++) {
        law->weights[c] = total += 1 / (double)(c + 8);
        for (size_t d = 0; d < law->dim; d++)
            law->centres[c * law->dim + d] =
                (float)(normal(rng) / sqrt(1 + 8 * (double)d / (double)law->dim));
        for (size_t r = 0; r < law->rank; r++) {
            double deviation = 1.5 / sqrt(1 + (double)r);
            for (size_t d = 0; d < law->dim; d++)
                law->axes[(c * law->rank + r) * law->dim + d] =
                    (float)(normal(rng) * per_axis * deviation);
        }
    }
    for (size_t c = 0; c < law->clusters; c++)
        law->weights[c] /= total;
}

static size_t draw_cluster(const struct law *law, struct rng *rng)
{
    double u = vindex__rng_unit(rng);
    size_t lo = 0, hi = law->clusters - 1;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (law->weights[mid] < u)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void draw_row(const struct law *law, struct rng *rng, float *row)
{
    size_t cluster = draw_cluster(law, rng);
    memcpy(row, law->centres + cluster * law->dim, law->dim * sizeof *row);
    for (size_t r = 0; r < law->rank; r++) {
        const float *axis = law->axes + (cluster * law->rank + r) * law->dim;
        float g = (float)normal(rng);
        for (size_t d = 0; d < law->dim; d++)
            row[d] += g * axis[d];
    }
    float factor = law->spread > 0 ? (float)exp(law->spread * normal(rng)) : 1;
    for (size_t d = 0; d < law->dim; d++)
        row[d] = factor * (row[d] + 0.02F * (float)(vindex__rng_unit(rng) - 0.5));
}

static void draw_set(const struct law *law, struct rng *rng, struct set *set)
{
    set->dim = law->dim;
    set->rows = allocate(set->n * set->dim, sizeof(float));
    for (size_t i = 0; i < set->n; i++)
        draw_row(law, rng, set->rows + i * set->dim);
}

static FILE *create(const char *prefix, const char *suffix)
{
    char path[4096];
    snprintf(path, sizeof path, "%s%s", prefix, suffix);
    FILE *file = fopen(path, "wb");
    if (!file) die("cannot write", path);
    return file;
}

static void finish(FILE *file)
{
    if (ferror(file) || fclose(file)) die("cannot write", "a file is incomplete");
}

static void write_set(const char *prefix, const char *suffix, const struct set *set)
{
    FILE *file = create(prefix, suffix);
    int32_t head[2] = {(int32_t)set->n, (int32_t)set->dim};
    fwrite(head, sizeof head, 1, file);
    fwrite(set->rows, sizeof(float) * set->dim, set->n, file);
    finish(file);
}

static void write_truth(const char *prefix, const vindex_hit *hits, size_t n, size_t k)
{
    FILE *file = create(prefix, ".truth.ivecs");
    for (size_t q = 0; q < n; q++) {
        int32_t head = (int32_t)k;
        fwrite(&head, sizeof head, 1, file);
        for (size_t i = 0; i < k; i++) {
            int32_t id = (int32_t)hits[q * k + i].id;
            fwrite(&id, sizeof id, 1, file);
        }
    }
    finish(file);
}

static void answer(const char *prefix, const struct set *base, const struct set *queries,
                   vindex_metric metric, size_t k)
{
    vindex_search_options options = VINDEX_SEARCH_OPTIONS_INIT;
    options.recall = 1;
    options.n_threads = 2;
    if (k > base->n) k = base->n;
    vindex_hit *hits = allocate(queries->n * k, sizeof *hits);
    if (vindex_brute(&VINDEX_F32_ROWS(base->rows, base->n),
                     &VINDEX_F32_ROWS(queries->rows, queries->n), (uint32_t)base->dim, metric, k,
                     &options, hits) != VINDEX_OK)
        die("exact answers", vindex_message());
    write_truth(prefix, hits, queries->n, k);
    free(hits);
}

int main(int argc, char **argv)
{
    struct law law = {.dim = 128, .clusters = 2000, .rank = 24};
    struct set base = {.n = 1000000}, queries = {.n = 2000};
    uint64_t seed = 1;
    size_t k = 100;
    vindex_metric metric = VINDEX_L2;
    struct rng rng;

    if (argc < 2 || argc % 2 || argv[1][0] == '-') die("usage", "PREFIX [--n N] [--dim D] [--queries N] [--clusters C] [--rank R] "
                                           "[--seed S] [--metric M] [-k K] [--norms SPREAD]");
    for (int i = 2; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        size_t number = (size_t)strtoull(value, NULL, 10);
        if (!strcmp(name, "--n")) base.n = number;
        else if (!strcmp(name, "--dim")) law.dim = number;
        else if (!strcmp(name, "--queries")) queries.n = number;
        else if (!strcmp(name, "--clusters")) law.clusters = number;
        else if (!strcmp(name, "--rank")) law.rank = number;
        else if (!strcmp(name, "--seed")) seed = number;
        else if (!strcmp(name, "-k")) k = number;
        else if (!strcmp(name, "--norms")) law.spread = strtod(value, NULL);
        else if (strcmp(name, "--metric") || vindex_metric_parse(value, &metric) != VINDEX_OK)
            die("unknown option", name);
    }
    if (!base.n || !law.dim || !queries.n || !law.clusters || !law.rank || !k)
        die("usage", "every number is at least 1");
    vindex__rng_init(&rng, seed);
    make_law(&law, &rng);
    draw_set(&law, &rng, &base);
    draw_set(&law, &rng, &queries);
    write_set(argv[1], ".base.fbin", &base);
    write_set(argv[1], ".query.fbin", &queries);
    answer(argv[1], &base, &queries, metric, k);
    free(base.rows);
    free(queries.rows);
    free(law.centres);
    free(law.axes);
    free(law.weights);
    return 0;
}
