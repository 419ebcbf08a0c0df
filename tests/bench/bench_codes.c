/*
 * bench_codes.c - how fast codes are scored and made at each level, beside what the machine allows.
 *
 *     bench_codes [MiB] [substring of a line]     256 MiB unless told
 *
 * Scans: GB/s of groups read, from memory (a base of the given size) and from the second-level
 * cache (512 KiB), the ratio to the sum slot over the same bytes. Tiles: GOP/s and the ratio to a
 * loop of nothing but the multiplying instruction. Codes: rows made a second. Rounds of a kernel
 * and its floor take turns; the median is printed. Not a test: nothing here fails.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "kernels/codes.h"

enum { ROUNDS = 7, CACHED_BYTES = 512 * 1024, AT_ONCE_BYTES = 256 * 1024, QUERIES = 100 };

static const char *filter = "";
static volatile uint64_t sink;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* others may share the processor */
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values)
{
    qsort(values, ROUNDS, sizeof *values, ascending);
    return values[ROUNDS / 2];
}

static uint64_t random_state = 1;

static uint32_t random_32(void)
{
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)(random_state >> 32);
}

static void *room(size_t bytes)
{
    void *at = aligned_alloc(64, (bytes + 127) / 64 * 64);

    if (at == NULL) exit(1);
    return at;
}

/* ---- one query ------------------------------------------------------------------------------- */

struct scan {
    const vkern_table *table;
    const char *name;
    bool wide;    /* c8 */
    size_t width; /* m or dim */
    size_t group_bytes;
    const int8_t *codes; /* of the query */
    float *scores;
    uint16_t *below; /* of c4 */
};

/* As a search does it, a block of the store at a time. */
static void scan_once(const struct scan *s, const unsigned char *base, size_t n_groups)
{
    const size_t at_once = AT_ONCE_BYTES / s->group_bytes;
    const struct vkern_c8_query query = {s->codes, 1e-3f, 0, 77};

    for (size_t g = 0; g < n_groups; g += at_once) {
        const size_t n = n_groups - g < at_once ? n_groups - g : at_once;
        const unsigned char *groups = base + g * s->group_bytes;
        if (s->wide)
            s->table->codes->c8_scan(&query, groups, n, s->width, s->scores);
        else
            s->table->codes->c4_scan(s->codes, 1e-3f, groups, n, s->width, s->scores, 0, s->below);
        sink += s->scores[0] > 0;
    }
}

static void time_scan(const struct scan *s, const unsigned char *base, size_t size)
{
    const size_t n_groups = size / s->group_bytes, bytes = n_groups * s->group_bytes;
    const size_t repeats = size > CACHED_BYTES ? 1 : 200;
    double taken[ROUNDS], floors[ROUNDS], ratios[ROUNDS];
    char name[80];

    snprintf(name, sizeof name, "%s %-11s %s %-4zu %s", s->wide ? "c8_scan" : "c4_scan", s->name,
             s->wide ? "dim" : "m", s->width, size > CACHED_BYTES ? "memory" : "cache ");
    if (strstr(name, filter) == NULL) return;
    for (size_t i = 0; i < ROUNDS; i++) {
        double start = now();
        for (size_t k = 0; k < repeats; k++)
            scan_once(s, base, n_groups);
        taken[i] = now() - start;
        start = now();
        for (size_t k = 0; k < repeats; k++)
            sink += s->table->sum(base, bytes & ~(size_t)63);
        floors[i] = now() - start;
        ratios[i] = floors[i] / taken[i];
    }
    const double seconds = median(taken) / (double)repeats;
    const double floor_seconds = median(floors) / (double)repeats;
    printf("%s %7.2f GB/s  %8.1f M rows/s  sum %7.2f GB/s  ratio %.3f (%.2f-%.2f)\n", name,
           (double)bytes / seconds * 1e-9, 16 * (double)n_groups / seconds * 1e-6,
           (double)bytes / floor_seconds * 1e-9, median(ratios), ratios[0], ratios[ROUNDS - 1]);
}

static void bench_scans(const vkern_table *t, const char *name, const unsigned char *base,
                        size_t size)
{
    static const size_t axes[] = {32, 48, 64, 96, 128, 256}, dims[] = {128, 256, 784};
    static int8_t codes[1024];
    static float scores[AT_ONCE_BYTES];
    static uint16_t below[AT_ONCE_BYTES / 128];
    struct scan s = {t, name, false, 0, 0, codes, scores, below};

    for (size_t i = 0; i < sizeof codes; i++)
        codes[i] = (int8_t)((int)(random_32() % 255) - 127);
    for (size_t i = 0; i < sizeof axes / sizeof *axes; i++) {
        s.width = axes[i];
        s.group_bytes = vkern_c4_group_bytes(s.width);
        time_scan(&s, base, size);
        time_scan(&s, base, CACHED_BYTES);
    }
    s.wide = true;
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
        s.width = dims[i];
        s.group_bytes = vkern_c8_group_bytes(s.width);
        time_scan(&s, base, size);
        time_scan(&s, base, CACHED_BYTES);
    }
}

/* ---- many queries ------------------------------------------------------------------------------
 */

#if defined(__x86_64__)
#include <immintrin.h>

/* Ten chains: two units of latency five need ten. */
enum { CHAINS = 10, STEPS = 300000 };

#define PEAK(name, isa, vector, start, step)                                                       \
    __attribute__((target(isa))) static double name(void)                                          \
    {                                                                                              \
        vector x[CHAINS];                                                                          \
        vector a = start, b = start;                                                               \
        _Pragma("GCC unroll 10") for (size_t c = 0; c < CHAINS; c++) x[c] = start;                 \
        __asm__ volatile("" : "+v"(a), "+v"(b));                                                   \
        for (size_t i = 0; i < STEPS; i++) {                                                       \
            _Pragma("GCC unroll 10") for (size_t c = 0; c < CHAINS; c++) x[c] = step;              \
            __asm__ volatile("" : "+v"(x[0])); /* the loop stays a loop */                         \
        }                                                                                          \
        _Pragma("GCC unroll 10") for (size_t c = 0; c < CHAINS;                                    \
                                      c++) __asm__ volatile("" : "+v"(x[c]));                      \
        return 2.0 * CHAINS * STEPS;                                                               \
    }
PEAK(peak_vnni, "avx512f,avx512vnni", __m512i, _mm512_set1_epi32(1),
     _mm512_dpbusd_epi32(x[c], a, b))
PEAK(peak_avx512, "avx512f,avx512bw", __m512i, _mm512_set1_epi32(1),
     _mm512_add_epi32(x[c], _mm512_madd_epi16(a, x[c])))
PEAK(peak_avx2, "avx2", __m256i, _mm256_set1_epi32(1),
     _mm256_add_epi32(x[c], _mm256_madd_epi16(a, x[c])))

/* Multiplications and additions a second of an engine's instructions alone; 0 = not known. */
static double peak_rate(const char *engine)
{
    double start = now(), n;

    if (strcmp(engine, "avx512vnni") == 0)
        n = 64 * peak_vnni();
    else if (strcmp(engine, "avx512") == 0)
        n = 32 * peak_avx512();
    else if (strcmp(engine, "avx2") == 0)
        n = 16 * peak_avx2();
    else
        return 0;
    return n / (now() - start);
}
#else
static double peak_rate(const char *engine)
{
    (void)engine;
    return 0;
}
#endif

static void time_tile8(const struct vkern_tile8 *tile, size_t nq, size_t dim,
                       const unsigned char *groups)
{
    const size_t n_groups = VKERN_TILE_ROWS / VKERN_GROUP, width = (dim + 3) / 4 * 4;
    const double operations = 2.0 * (double)(nq * VKERN_TILE_ROWS * dim);
    const size_t repeats = (size_t)(strcmp(tile->name, "ref") == 0 ? 1 : 4e9 / operations) + 1;
    struct vkern_c8_query *queries = room(nq * sizeof *queries);
    int8_t *codes = room(nq * width);
    void *packed = room(tile->pack_bytes(nq, dim));
    float *out = room(4 * nq * VKERN_TILE_ROWS);
    float *cuts = room(4 * nq);
    uint16_t *below = room(2 * nq * VKERN_TILE_GROUPS);
    double taken[ROUNDS], packs[ROUNDS], peaks[ROUNDS], rate, peak;

    for (size_t i = 0; i < nq * width; i++)
        codes[i] = (int8_t)random_32();
    for (size_t q = 0; q < nq; q++) {
        queries[q] = (struct vkern_c8_query){codes + q * width, 1e-3f, 0, 5};
        cuts[q] = 0;
    }
    for (size_t i = 0; i < ROUNDS; i++) {
        double start = now();
        tile->pack(queries, nq, dim, packed);
        packs[i] = now() - start;
        start = now();
        for (size_t k = 0; k < repeats; k++)
            tile->multiply(packed, nq, groups, n_groups, dim, out, VKERN_TILE_ROWS, cuts, below);
        taken[i] = (now() - start) / (double)repeats;
        peaks[i] = peak_rate(tile->name);
    }
    rate = operations / median(taken), peak = median(peaks);
    printf("tile8 %-11s nq %-5zu dim %-5zu %8.1f GOP/s  peak %8.1f  ratio %.3f  pack %.2f ns a "
           "query element\n",
           tile->name, nq, dim, rate * 1e-9, peak * 1e-9, peak > 0 ? rate / peak : 0,
           median(packs) * 1e9 / (double)(nq * dim));
    free(below);
    free(cuts);
    free(out);
    free(packed);
    free(codes);
    free(queries);
}

static void bench_tile8(const struct vkern_tile8 *tile, const unsigned char *base)
{
    static const size_t dims[] = {128, 256, 784}, counts[] = {1, 4, 16, 1000};

    for (size_t d = 0; d < sizeof dims / sizeof *dims; d++)
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
            char name[80];
            snprintf(name, sizeof name, "tile8 %-11s nq %-5zu dim %-5zu", tile->name, counts[c],
                     dims[d]);
            if (strstr(name, filter) != NULL) time_tile8(tile, counts[c], dims[d], base);
        }
}

static void bench_pack(const vkern_table *t, const char *level, const unsigned char *base)
{
    static const float factors[VKERN_TILE_ROWS];
    static const size_t dims[] = {128, 784};

    for (size_t d = 0; d < sizeof dims / sizeof *dims; d++) {
        const size_t dim = dims[d], repeats = 2000000 / (dim * VKERN_TILE_ROWS) + 1;
        void *groups = room(VKERN_TILE_ROWS / 16 * vkern_c8_group_bytes(dim));
        double taken[ROUNDS];
        char name[80];
        snprintf(name, sizeof name, "c8_pack %-11s dim %-4zu", level, dim);
        for (size_t i = 0; i < ROUNDS && strstr(name, filter) != NULL; i++) {
            const double start = now();
            for (size_t k = 0; k < repeats; k++)
                t->codes->c8_pack(VKERN_I8, base, dim, VKERN_TILE_ROWS, dim, factors, factors,
                                  groups);
            taken[i] = (now() - start) / (double)(repeats * dim * VKERN_TILE_ROWS);
        }
        if (strstr(name, filter) != NULL) printf("%s %7.2f GB/s\n", name, 1e-9 / median(taken));
        free(groups);
    }
}

/* ---- making codes
 * -------------------------------------------------------------------------------- */

struct encoding {
    struct vkern_model model;
    const vkern_table *table;
    float *rows, *scratch;
    void *c4, *c8;
    size_t n;
    double c4_s[ROUNDS], c8_s[ROUNDS], query4_s[ROUNDS], query8_s[ROUNDS];
};

static void time_encoding(struct encoding *e, size_t i)
{
    const struct vkern_model *model = &e->model;
    int8_t *weights = room(model->m), *codes = room(model->dim + 4);
    struct vkern_c8_facts facts;
    struct vkern_c8_side side;
    float scale;
    double start = now();

    vkern_c4_encode(e->table, model, e->rows, e->n, e->scratch, e->c4);
    e->c4_s[i] = now() - start;
    start = now();
    sink += vkern_c8_encode(e->table, model, e->rows, e->n, e->c8, &facts);
    e->c8_s[i] = now() - start;
    start = now();
    for (size_t q = 0; q < QUERIES; q++) {
        vkern_c4_query_make(e->table, model, e->rows + q * model->dim, e->scratch, weights, &scale);
        sink += scale > 0;
    }
    e->query4_s[i] = (now() - start) / QUERIES;
    start = now();
    for (size_t q = 0; q < QUERIES; q++) {
        vkern_c8_query_make(model, &facts, e->rows + q * model->dim, codes, &side);
        sink += side.v_norm > 0;
    }
    e->query8_s[i] = (now() - start) / QUERIES;
    free(codes);
    free(weights);
}

static void bench_encoding(const vkern_table *t, const char *level, size_t dim, size_t m,
                           bool whole, enum vkern_metric metric)
{
    float *mean = room(4 * dim), *scale = room(4 * dim), *axes = room(4 * m * dim);
    float *deviation = room(4 * m);
    struct encoding e = {
        {(uint32_t)dim, (uint32_t)m, metric, mean, scale, axes, deviation, 2.7f, 0, 0},
        t,
        NULL,
        NULL,
        NULL,
        NULL,
        16384 * 128 / dim,
        {0},
        {0},
        {0},
        {0}};
    char name[80];

    snprintf(name, sizeof name, "encode %-11s dim %-4zu m %-3zu %s %s", level, dim, m,
             whole ? "whole" : "f32  ", metric == VKERN_L2 ? "l2    " : "cosine");
    if (strstr(name, filter) == NULL) goto out;
    for (size_t i = 0; i < dim; i++)
        mean[i] = whole ? 127 : 0.5f, scale[i] = 1;
    for (size_t i = 0; i < m * dim; i++)
        axes[i] = i % dim == i / dim;
    for (size_t k = 0; k < m; k++)
        deviation[k] = whole ? 73 : 0.3f;
    e.rows = room(4 * e.n * dim);
    for (size_t i = 0; i < e.n * dim; i++)
        e.rows[i] = whole ? (float)(random_32() % 256) : (float)random_32() * 0x1p-32f;
    e.scratch = room(4 * vkern_c4_scratch(&e.model));
    e.c4 = room(vkern_groups(e.n) * vkern_c4_group_bytes(m));
    e.c8 = room(vkern_groups(e.n) * vkern_c8_group_bytes(dim));
    for (size_t i = 0; i < ROUNDS; i++)
        time_encoding(&e, i);
    const double c4 = (double)e.n / median(e.c4_s), c8 = (double)e.n / median(e.c8_s);
    printf("%s  c4 %6.0f, c8 %6.0f, both %6.0f k rows/s a thread;  a query %.2f + %.2f us\n", name,
           c4 * 1e-3, c8 * 1e-3, 1e-3 / (1 / c4 + 1 / c8), median(e.query4_s) * 1e6,
           median(e.query8_s) * 1e6);
out:
    free(e.c8);
    free(e.c4);
    free(e.scratch);
    free(e.rows);
    free(deviation);
    free(axes);
    free(scale);
    free(mean);
}

static void bench_table(const vkern_table *t, const char *name, const unsigned char *base,
                        size_t size)
{
    if (t->level > VKERN_LEVEL_REF) bench_scans(t, name, base, size);
    bench_tile8(t->codes->tile8, base);
    if (t->codes->amx != NULL && t->codes->amx->begin()) bench_tile8(t->codes->amx, base);
    bench_pack(t, name, base);
    bench_encoding(t, name, 128, 48, false, VKERN_L2);
    bench_encoding(t, name, 128, 48, true, VKERN_L2);
    bench_encoding(t, name, 128, 48, false, VKERN_COSINE);
    bench_encoding(t, name, 784, 96, false, VKERN_L2);
}

int main(int argc, char **argv)
{
    const size_t size = (argc > 1 ? strtoull(argv[1], NULL, 10) : 256) << 20;
    const uint64_t cpu = vkern_cpu(), vnni = VKERN_CPU_AVX512_VNNI | VKERN_CPU_AMX;
    unsigned char *base =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    vkern_table t;

    if (base == MAP_FAILED || size < CACHED_BYTES) return 1;
    if (argc > 2) filter = argv[2];
    /* Any bytes are codes; as factors these are small numbers. */
    for (size_t i = 0; i < size; i += 4) {
        const float factor = (float)(random_32() % 1000);
        memcpy(base + i, &factor, 4);
    }
    vkern_table_init(&t, 0);
    bench_table(&t, "ref", base, size);
    vkern_table_init(&t, vkern_cpu_at_level(cpu, VKERN_LEVEL_AVX2));
    if (t.level == VKERN_LEVEL_AVX2) bench_table(&t, "avx2", base, size);
    vkern_table_init(&t, cpu & ~vnni);
    if (t.level == VKERN_LEVEL_AVX512) bench_table(&t, "avx512", base, size);
    vkern_table_init(&t, cpu);
    if (t.level >= VKERN_LEVEL_AVX512 && (cpu & VKERN_CPU_AVX512_VNNI))
        bench_table(&t, "avx512vnni", base, size);
    munmap(base, size);
    return 0;
}
