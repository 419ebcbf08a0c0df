/*
 * bench_topk_floor.c - a plain maximum scan: the time no selection can go below.
 */
#include <math.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "bench_topk_parts.h"

#if defined(__x86_64__)
__attribute__((target("avx512f"))) static float scan_avx512(const float *x, size_t n)
{
    __m512 m[8];
    size_t i = 0;

    for (int j = 0; j < 8; j++)
        m[j] = _mm512_set1_ps(-INFINITY);
    for (; i + 128 <= n; i += 128)
        for (int j = 0; j < 8; j++)
            m[j] = _mm512_max_ps(m[j], _mm512_loadu_ps(x + i + 16 * j));
    for (int j = 1; j < 8; j++)
        m[0] = _mm512_max_ps(m[0], m[j]);
    for (; i < n; i++)
        m[0] = _mm512_max_ps(m[0], _mm512_set1_ps(x[i]));
    return _mm512_reduce_max_ps(m[0]);
}

__attribute__((target("avx2"))) static float scan_avx2(const float *x, size_t n)
{
    __m256 m[8];
    float lanes[8], most;
    size_t i = 0;

    for (int j = 0; j < 8; j++)
        m[j] = _mm256_set1_ps(-INFINITY);
    for (; i + 64 <= n; i += 64)
        for (int j = 0; j < 8; j++)
            m[j] = _mm256_max_ps(m[j], _mm256_loadu_ps(x + i + 8 * j));
    for (int j = 1; j < 8; j++)
        m[0] = _mm256_max_ps(m[0], m[j]);
    _mm256_storeu_ps(lanes, m[0]);
    most = lanes[0];
    for (int j = 1; j < 8; j++)
        most = lanes[j] > most ? lanes[j] : most;
    for (; i < n; i++)
        most = x[i] > most ? x[i] : most;
    return most;
}
#endif

static float scan_plain(const float *x, size_t n)
{
    float most = -INFINITY;

    for (size_t i = 0; i < n; i++)
        most = x[i] > most ? x[i] : most;
    return most;
}

static volatile float sink; /* keeps the scans from being optimised away */

/* All types are scanned as the f32 their bytes make: it is the memory that sets this floor. */
void bench_topk_scan(const void *x, size_t bytes)
{
    const size_t n = bytes / 4;
#if defined(__x86_64__)
    const char *isa = vindex_isa();
    if (strcmp(isa, "avx512") == 0 || strcmp(isa, "amx") == 0) {
        sink = scan_avx512(x, n);
        return;
    }
    if (strcmp(isa, "avx2") == 0) {
        sink = scan_avx2(x, n);
        return;
    }
#endif
    sink = scan_plain(x, n);
}
