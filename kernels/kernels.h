/*
 * kernels.h - the kernel table: pure functions over vectors, one slot an operation and type.
 *
 * No kernel allocates, reads anything but its arguments or keeps state. Rows may start anywhere (no
 * alignment), lie stride bytes apart (stride >= row bytes) and are read inside [row, row + row_bytes)
 * only: tests end every buffer at a guard page. n and dim may be any number >= 0.
 *
 * Slots are filled from the reference up, once in a process (vkern_get); tests fill one table a level
 * with vkern_table_init. A first-pass score is smaller when nearer: inner products come negated.
 *
 * Error of the first pass, u = 2^-24, exact s, computed c (proved in kernels/README.md, tested at
 * every level):
 *     l2sq  float types   |c - s| <= vkern_gamma(dim) * s + dim * FLT_MIN
 *     ndot  float types   |c - s| <= vkern_gamma(dim) * |q| |x| + dim * FLT_MIN
 *     i8, u8              exact integer, then rounded to f32 once: |c - s| <= u * s
 *     hamming             exact
 * While intermediate results stay below FLT_MAX; the caller rules that out by |q| |x| < 1e37.
 */
#ifndef VKERN_KERNELS_H
#define VKERN_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Same numbers as vindex_type. */
enum vkern_type { VKERN_F32, VKERN_F16, VKERN_BF16, VKERN_I8, VKERN_U8, VKERN_BIT, VKERN_N_TYPES };

/* Same numbers as vindex_metric. */
enum vkern_metric { VKERN_L2, VKERN_COSINE, VKERN_IP, VKERN_HAMMING, VKERN_N_METRICS };

enum vkern_level { VKERN_LEVEL_REF, VKERN_LEVEL_AVX2, VKERN_LEVEL_AVX512, VKERN_LEVEL_AMX };

/* Bits of the cpu argument of vkern_table_init. */
enum {
    VKERN_CPU_AVX2 = 1 << 0,        /* AVX2, FMA and F16C, with OS support for ymm */
    VKERN_CPU_AVX512 = 1 << 1,      /* F, BW, DQ, VL, with OS support for zmm */
    VKERN_CPU_AVX512_VNNI = 1 << 2,
    VKERN_CPU_AVX512_POPCNT = 1 << 3, /* VPOPCNTDQ */
    VKERN_CPU_AMX = 1 << 4,         /* AMX-TILE, BF16, INT8 (permission is asked by the user of the slot) */
    VKERN_CPU_SSE42 = 1 << 5
};

/**
 * One query against n rows. The query is f32 for f32, f16 and bf16 rows; i8, u8 and bits for rows of
 * their own type. scores: f32 [n].
 */
typedef void vkern_score_fn(const void *query, const void *rows, size_t stride, size_t n, size_t dim,
                            float *scores);

/**
 * The arithmetic of reported scores, bit-identical at every level: element i goes to partial sum
 * i mod 16 in ascending order (a product or square and an addition, each rounded to double, never
 * fused), then the sums are added as a tree: j += j + 8, j += j + 4, j += j + 2, j += j + 1.
 * i8 and u8: exact 64-bit integers, then to double. a is the query (type as above), b one row.
 */
typedef double vkern_exact_fn(const void *a, const void *b, size_t dim);

/** Sum of squares of one row in the arithmetic above (bits: the number of ones). */
typedef double vkern_sumsq_fn(const void *row, size_t dim);

/** n elements of the slot's type to f32; exact. */
typedef void vkern_to_f32_fn(const void *from, size_t n, float *to);

/** n f32 to the slot's type. f16, bf16: nearest, ties to even, overflow to infinity. i8, u8: whole
 *  numbers in range only (0 is stored for others). Returns false where a value stored is not finite or
 *  not the whole number given; all n are stored either way. */
typedef bool vkern_from_f32_fn(const float *from, size_t n, void *to);

/** true if all n elements are finite (integers and bits always are). */
typedef bool vkern_finite_fn(const void *from, size_t n);

/**
 * Tile engine: many queries x many rows in f32, scores = bias + queries . rows.
 *
 * pack:     n rows of `type` (n <= VKERN_TILE_ROWS) become a panel of f32, each row times scale[row]
 *           (NULL = 1). panel: at least vkern_panel_floats(dim) floats, 64-byte aligned.
 * multiply: out[q * out_stride + r] = bias[r] + sum_d queries[q * dim + d] * panel(r, d), for q < nq,
 *           r < n; columns n .. up to the next multiple of 32 of each line may be overwritten
 *           (out_stride >= that). bias: n floats. Queries are dense f32, any nq; out 64-byte aligned,
 *           out_stride a multiple of 16.
 * Error of out: |c - s| <= engine->gamma(dim) * (|bias| + |q| |scale x|) + dim * FLT_MIN + u |scale x| |q|
 */
#define VKERN_TILE_ROWS 256
struct vkern_tile {
    const char *name; /* "avx512", "openblas", ... */
    void (*pack)(enum vkern_type type, const void *rows, size_t stride, size_t n, size_t dim,
                 const float *scale, float *panel);
    void (*multiply)(const float *queries, size_t nq, const float *panel, const float *bias, size_t n,
                     size_t dim, float *out, size_t out_stride);
    double (*gamma)(size_t dim);
};
/** Floats a panel needs: rows rounded up to VKERN_TILE_ROWS, times dim, plus slack. */
static inline size_t vkern_panel_floats(size_t dim)
{
    return (size_t)VKERN_TILE_ROWS * dim + 64;
}

/**
 * Survivors of a threshold: for each i < n with !(scores[i] > threshold) (so NaN survives) and, where
 * live is not NULL, bit (first_bit + i) of live set (bit b is live[b / 64] >> (b % 64) & 1), append
 * positions[count] = base + i and kept[count] = scores[i]. Returns the count (ascending i).
 * positions and kept have room for n + 16 entries (vector stores may spill past the count).
 */
typedef size_t vkern_survivors_fn(const float *scores, size_t n, float threshold, const uint64_t *live,
                                  size_t first_bit, uint64_t base, uint64_t *positions, float *kept);

/** scores[i] = norms[i] > 0 ? scores[i] / norms[i] : 0, for n entries; norms has any alignment. */
typedef void vkern_divide_fn(float *scores, const void *norms, size_t n);

/** Sum of n bytes' 64-bit words (n a multiple of 64): the bandwidth floor of benchmarks. */
typedef uint64_t vkern_sum_fn(const void *bytes, size_t n);

typedef struct vkern_table {
    enum vkern_level level;
    const char *level_name; /* "ref", "avx2", "avx512", "amx" */
    vkern_score_fn *l2sq[VKERN_N_TYPES];  /* bit: NULL */
    vkern_score_fn *ndot[VKERN_N_TYPES];  /* minus the inner product; bit: NULL */
    vkern_score_fn *hamming;              /* bits */
    vkern_exact_fn *exact_l2sq[VKERN_N_TYPES]; /* bit: hamming */
    vkern_exact_fn *exact_dot[VKERN_N_TYPES];  /* bit: NULL */
    vkern_sumsq_fn *sumsq[VKERN_N_TYPES];
    vkern_to_f32_fn *to_f32[VKERN_N_TYPES];     /* bit: NULL */
    vkern_from_f32_fn *from_f32[VKERN_N_TYPES]; /* bit: NULL */
    vkern_finite_fn *finite[VKERN_N_TYPES];
    vkern_survivors_fn *survivors;
    vkern_divide_fn *divide;
    vkern_sum_fn *sum;
    const struct vkern_tile *tile; /* the SIMD or reference tile engine; never NULL */
    const struct vkern_codes *codes; /* kernels/codes.h: 4-bit and 8-bit codes; never NULL */
} vkern_table;

/** The process's table: levels the CPU has, lowered by VINDEX_ISA=ref|avx2|avx512|amx. Thread-safe. */
const vkern_table *vkern_get(void);

/** Fill a table for these CPU bits. Pure. */
void vkern_table_init(vkern_table *table, uint64_t cpu);

/** What this CPU (and OS) offers, VINDEX_ISA not applied. */
uint64_t vkern_cpu(void);

/** The bits left when the level is lowered to `level`. */
uint64_t vkern_cpu_at_level(uint64_t cpu, enum vkern_level level);

/**
 * The OpenBLAS tile engine, loaded on first use (dlopen; VINDEX_BLAS=path or "none" overrides), or NULL
 * where there is none, or where it would start threads the caller did not ask for. Thread-safe; never
 * changes OpenBLAS's global settings.
 */
const struct vkern_tile *vkern_tile_blas(void);

/** Bytes of a row. */
static inline size_t vkern_row_bytes(enum vkern_type type, size_t dim)
{
    switch (type) {
    case VKERN_F32: return 4 * dim;
    case VKERN_F16: case VKERN_BF16: return 2 * dim;
    case VKERN_I8: case VKERN_U8: return dim;
    case VKERN_BIT: return (dim + 7) / 8;
    default: return 0;
    }
}

/** Relative error bound of the one-query float kernels for any order of summation with at most
 *  16 accumulation chains' worth of parallelism: (dim / 16 + 24) u / (1 - ...), the value for all levels. */
double vkern_gamma(size_t dim);

#endif
