/*
 * bench_kernels.c - how fast each kernel slot is at each level, beside what the machine allows.
 *
 *     bench_kernels [MiB] [substring of a line]     1024 MiB unless told
 *
 * One-query slots: GB/s of rows read, from memory (a base of the given size) and from cache (256
 * KiB, as a storage block), the ratio to the sum slot over the same bytes. Tiles: GFLOP/s and the
 * ratio to a loop of nothing but multiply-adds, for 16 and 1,000 queries. Rounds of a slot and its
 * floor take turns; the median is printed. Not a test: nothing here fails.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "kernels/kernels.h"

enum { ROUNDS = 5, CACHED_BYTES = 256 * 1024 };

static const char *const type_names[] = {"f32", "f16", "bf16", "i8", "u8", "bit"};
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

static double median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, ascending);
    return values[n / 2];
}

/* One way to read all rows once. */
struct scan {
    vkern_score_fn *score;
    const void *query;
    size_t dim, row_bytes, n;
};

static double scan_seconds(const struct scan *s, const unsigned char *base, size_t repeats,
                           float *scores)
{
    const size_t at_once = CACHED_BYTES / s->row_bytes ? CACHED_BYTES / s->row_bytes : 1;
    const double start = now();

    for (size_t k = 0; k < repeats; k++)
        for (size_t r = 0; r < s->n; r += at_once) {
            const size_t n = s->n - r < at_once ? s->n - r : at_once;
            s->score(s->query, base + r * s->row_bytes, s->row_bytes, n, s->dim, scores);
        }
    return (now() - start) / (double)repeats;
}

static double sum_seconds(vkern_sum_fn *sum, const unsigned char *base, size_t size, size_t repeats)
{
    const double start = now();

    for (size_t k = 0; k < repeats; k++)
        sink += sum(base, size & ~(size_t)63);
    return (now() - start) / (double)repeats;
}

static void bench_score(const vkern_table *t, const char *op, enum vkern_type type,
                        vkern_score_fn *score, size_t dim, const unsigned char *base, size_t size)
{
    static float scores[CACHED_BYTES];
    double taken[ROUNDS], floor_taken[ROUNDS];
    struct scan s = {score, base, dim, vkern_row_bytes(type, dim), 0};
    char name[64];

    snprintf(name, sizeof name, "%-7s %-4s %-6s dim %-5zu %s", op, type_names[type], t->level_name,
             dim, size > CACHED_BYTES ? "memory" : "cache ");
    if (strstr(name, filter) == NULL) return;
    s.n = size / s.row_bytes;
    const size_t repeats = size > CACHED_BYTES ? 1 : 200;
    for (size_t i = 0; i < ROUNDS; i++) {
        taken[i] = scan_seconds(&s, base, repeats, scores);
        floor_taken[i] = sum_seconds(t->sum, base, s.n * s.row_bytes, repeats);
    }
    const double bytes = (double)(s.n * s.row_bytes);
    const double seconds = median(taken, ROUNDS), floor_seconds = median(floor_taken, ROUNDS);
    printf("%s %8.2f GB/s  %8.1f M rows/s  floor %8.2f GB/s  ratio %.3f\n", name,
           bytes / seconds * 1e-9, (double)s.n / seconds * 1e-6, bytes / floor_seconds * 1e-9,
           floor_seconds / seconds);
}

static void bench_scores(const vkern_table *t, const unsigned char *base, size_t size)
{
    static const size_t dims[] = {3, 16, 100, 128, 300, 784, 1024};
    static const size_t bits[] = {128, 1024};

    for (size_t d = 0; d < sizeof dims / sizeof *dims; d++)
        for (int type = VKERN_F32; type < VKERN_BIT; type++) {
            bench_score(t, "l2sq", type, t->l2sq[type], dims[d], base, size);
            bench_score(t, "ndot", type, t->ndot[type], dims[d], base, size);
        }
    for (size_t d = 0; d < sizeof bits / sizeof *bits; d++)
        bench_score(t, "hamming", VKERN_BIT, t->hamming, bits[d], base, size);
}

static void bench_exact(const vkern_table *t, const unsigned char *base)
{
    const size_t dim = 784, n = 300;

    for (int type = VKERN_F32; type < VKERN_BIT; type++) {
        char name[64];
        double taken[ROUNDS], sum = 0;
        const size_t row = vkern_row_bytes(type, dim), rows = CACHED_BYTES / row;
        snprintf(name, sizeof name, "exact   %-4s %-6s dim %zu", type_names[type], t->level_name,
                 dim);
        if (strstr(name, filter) == NULL) continue;
        for (size_t i = 0; i < ROUNDS; i++) {
            const double start = now();
            for (size_t k = 0; k < n * rows; k++)
                sum += t->exact_l2sq[type](base, base + k % rows * row, dim);
            taken[i] = (now() - start) / (double)(n * rows);
        }
        sink += sum > 0;
        printf("%s %8.1f ns a row\n", name, median(taken, ROUNDS) * 1e9);
    }
}

#if defined(__x86_64__)
#include <immintrin.h>

/* Ten chains of multiply-adds: two units of latency four need eight. */
enum { CHAINS = 10, FMA_STEPS = 1000000 };

__attribute__((target("avx512f"))) static double fma_avx512(void)
{
    __m512 x[CHAINS];
    const __m512 a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(0.001f);

    for (size_t c = 0; c < CHAINS; c++)
        x[c] = _mm512_set1_ps((float)c);
    for (size_t i = 0; i < FMA_STEPS; i++) {
#pragma GCC unroll 10
        for (size_t c = 0; c < CHAINS; c++)
            x[c] = _mm512_fmadd_ps(x[c], a, b);
        __asm__ volatile("" : "+v"(x[0])); /* the loop stays a loop */
    }
    for (size_t c = 1; c < CHAINS; c++)
        x[0] = _mm512_add_ps(x[0], x[c]);
    sink += _mm512_cvtss_f32(x[0]) > 0;
    return 2.0 * 16 * CHAINS * FMA_STEPS;
}

__attribute__((target("avx2,fma"))) static double fma_avx2(void)
{
    __m256 x[CHAINS];
    const __m256 a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(0.001f);

    for (size_t c = 0; c < CHAINS; c++)
        x[c] = _mm256_set1_ps((float)c);
    for (size_t i = 0; i < FMA_STEPS; i++) {
#pragma GCC unroll 10
        for (size_t c = 0; c < CHAINS; c++)
            x[c] = _mm256_fmadd_ps(x[c], a, b);
        __asm__ volatile("" : "+x"(x[0]));
    }
    for (size_t c = 1; c < CHAINS; c++)
        x[0] = _mm256_add_ps(x[0], x[c]);
    sink += _mm256_cvtss_f32(x[0]) > 0;
    return 2.0 * 8 * CHAINS * FMA_STEPS;
}

/* Seconds a floating-point operation takes at best at this level; 0 = not known. */
static double peak_seconds(enum vkern_level level)
{
    const double start = now();
    double flops;

    if (level == VKERN_LEVEL_REF) return 0;
    flops = level == VKERN_LEVEL_AVX2 ? fma_avx2() : fma_avx512();
    return (now() - start) / flops;
}
#else
static double peak_seconds(enum vkern_level level)
{
    (void)level;
    return 0;
}
#endif

static void time_tile(const struct vkern_tile *tile, enum vkern_level level, size_t nq, size_t dim,
                      const unsigned char *base, const float *queries, float *panel, float *out)
{
    static const float bias[VKERN_TILE_ROWS];
    const size_t n = VKERN_TILE_ROWS;
    const double flops = 2.0 * (double)(nq * n * dim);
    const size_t repeats = (size_t)(2e9 / flops) + 1;
    double taken[ROUNDS], packed[ROUNDS], peaks[ROUNDS], each, pack, peak;

    for (size_t i = 0; i < ROUNDS; i++) {
        double start = now();
        for (size_t k = 0; k < repeats; k++)
            tile->pack(VKERN_F32, base, 4 * dim, n, dim, NULL, panel);
        packed[i] = (now() - start) / (double)repeats;
        start = now();
        for (size_t k = 0; k < repeats; k++)
            tile->multiply(queries, nq, panel, bias, n, dim, out, n);
        taken[i] = (now() - start) / (double)repeats;
        peaks[i] = peak_seconds(level);
    }
    each = median(taken, ROUNDS), pack = median(packed, ROUNDS), peak = median(peaks, ROUNDS);
    printf("tile    %-9s nq %-5zu dim %-5zu %8.1f GFLOP/s  ratio to the peak %.3f  pack %.2f ns an "
           "element\n",
           tile->name, nq, dim, flops / each * 1e-9, peak * flops / each,
           pack * 1e9 / (double)(n * dim));
}

static void bench_tile(const struct vkern_tile *tile, enum vkern_level level, size_t nq, size_t dim,
                       const unsigned char *base)
{
    float *panel = aligned_alloc(64, (4 * vkern_panel_floats(dim) + 63) / 64 * 64);
    float *out = aligned_alloc(64, 4 * nq * VKERN_TILE_ROWS), *queries = malloc(4 * nq * dim);
    char name[64];

    snprintf(name, sizeof name, "tile    %-9s nq %-5zu dim %-5zu", tile->name, nq, dim);
    if (strstr(name, filter) != NULL && panel != NULL && out != NULL && queries != NULL) {
        for (size_t i = 0; i < nq * dim; i++)
            queries[i] = (float)(i % 7) - 3;
        time_tile(tile, level, nq, dim, base, queries, panel, out);
    }
    free(queries);
    free(out);
    free(panel);
}

static void bench_tiles(const vkern_table *t, const unsigned char *base)
{
    static const size_t dims[] = {128, 300, 784, 1024};
    const struct vkern_tile *blas = vkern_tile_blas();

    for (size_t d = 0; d < sizeof dims / sizeof *dims; d++) {
        bench_tile(t->tile, t->level, 16, dims[d], base);
        bench_tile(t->tile, t->level, 1000, dims[d], base);
        if (t->level == vkern_get()->level && blas != NULL) {
            bench_tile(blas, t->level, 16, dims[d], base);
            bench_tile(blas, t->level, 1000, dims[d], base);
        }
    }
}

static void bench_survivors(const vkern_table *t)
{
    static float scores[4096], kept[4096 + 16];
    static uint64_t positions[4096 + 16];
    static const unsigned one_in[] = {4096, 64, 8, 1};

    for (size_t s = 0; s < sizeof one_in / sizeof *one_in; s++) {
        double taken[ROUNDS];
        char name[64];
        snprintf(name, sizeof name, "survivors    %-6s one in %-4u", t->level_name, one_in[s]);
        if (strstr(name, filter) == NULL) continue;
        for (size_t i = 0; i < 4096; i++)
            scores[i] = (i * 2654435761u >> 7) % one_in[s] == 0 ? 0.0f : 2.0f;
        for (size_t i = 0; i < ROUNDS; i++) {
            const double start = now();
            for (size_t k = 0; k < 1000; k++)
                sink += t->survivors(scores, 4096, 1, NULL, 0, 0, positions, kept);
            taken[i] = (now() - start) / (1000 * 4096.0);
        }
        printf("%s %8.3f ns a score\n", name, median(taken, ROUNDS) * 1e9);
    }
}

int main(int argc, char **argv)
{
    const size_t size = (argc > 1 ? strtoull(argv[1], NULL, 10) : 1024) << 20;
    unsigned char *base =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (base == MAP_FAILED || size == 0) return 1;
    if (argc > 2) filter = argv[2];
    /* Small whole numbers in every type: 0x3c00 is 1 in f16, the same bytes are fine in all others.
     * */
    for (size_t i = 0; i < size; i += 2)
        base[i] = (unsigned char)(i >> 7), base[i + 1] = 0x3c;

    for (int level = VKERN_LEVEL_REF; level <= VKERN_LEVEL_AVX512; level++) {
        vkern_table t;
        vkern_table_init(&t, vkern_cpu_at_level(vkern_cpu(), level));
        if ((int)t.level != level) continue;
        if (level > VKERN_LEVEL_REF) bench_scores(&t, base, size);
        bench_scores(&t, base, CACHED_BYTES);
        bench_exact(&t, base);
        bench_survivors(&t);
        bench_tiles(&t, base);
    }
    munmap(base, size);
    return 0;
}
