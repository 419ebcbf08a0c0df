/*
 * codes.h - rows as small integers: how they lie in memory, how rows and queries become codes, and
 * the kernels that score a query against them. Pure functions; the planes `c4` and `c8` of
 * FORMAT.md are made of these groups.
 *
 * A GROUP is 16 rows, so that one 64-byte line holds 4 code bytes of each of them and one vpdpbusd
 * (or one row of an AMX tile) takes a line whole. A group that is not full is padded with rows of
 * zeros, which score 0. Groups start at any address.
 *
 * c4   4-bit codes along m leading axes (a multiple of 8, 8..VKERN_C4_AXES_MAX), a factor a row:
 *        m / 8 lines: byte 4 r + j of line g: low nibble = code of axis 8 g + j, high nibble = axis
 *                     8 g + 4 + j, of row r
 *        1 line:      16 f32, the factors
 *      score = factor[r] - weight_scale * sum_k weights[k] * code[r][k]
 *
 * c8   8-bit codes of all dim elements, and three factors a row:
 *        ceil(dim / 4) lines: byte 4 r + j of line g: code of element 4 g + j of row r (0 past dim)
 *        3 lines:     16 f32 bias, 16 f32 scale, 16 i32 sum of the row's codes
 *      score = bias[r] + weight * (scale[r] * (float)sum)
 *      sum = sum_d t[d] code[r][d] + shift * sum[r] + constant
 *      Integers are exact: dim <= VKERN_C8_DIM_MAX keeps every one of them below 2^31; where a
 *      damaged sum[r] leaves that, they wrap, at every level alike. The conversion rounds once, the
 *      two products and the addition once each (an FMA may leave one out): kernels/codes/README.md
 *      bounds it.
 *
 * p8   8-bit codes along the first p of the axes: c8 groups of d elements, d = p, or p + 1 under ip, scored
 *      by the same kernels. A score bounds the exact one from below: vkern_p8_cut.
 *
 * WHAT CODES STAND FOR. x a row (under cosine divided by its norm; a zero row stays zero),
 * q a query:
 *
 * c8:  z = (x - mean) / scale, element by element, code = z / step_r + 128, step_r = max |z| / 127.
 *      WHOLE: where all elements of all rows given are integers in 0..255 (zero point 0), or in
 *      -128..127 (zero point 128), codes are the rows' own numbers, mean counts as 0, scale as 1
 *      and step_r is 1, or 1 / |x| under cosine (0 for a zero row).
 *      The score of l2 is |x - mean|^2 - 2 v.z with v = (q - mean) * scale, of ip and cosine -v.z
 *      with v = q * scale; adding offset, |q - mean|^2 or -q.mean, makes it |q - x|^2 or -q.x.
 *      Under cosine q is not divided by its norm, so -q.x is -|q| cos.
 * c4:  y = axes (x - mean); code = clamp(round((y_k + clip dev_k) / step_k), 0, 15), step_k = 2
 *      clip dev_k / 15; what it stands for is c_k = code step_k - clip dev_k. Approximate, no
 *      bound.
 *      l2, cosine: factor = (|c|^2 - |y - c|^2 + energy of x - mean outside the axes) / 2, query
 *      vector axes (q - mean), q divided by its norm under cosine: half the squared distance, up
 *      to a constant of the query. Its error is (q - x).(x - c) instead of q.(x - c): none for a
 *      query at the row.
 *      ip: factor = 0, query vector axes q: -q.x up to a constant of the query.
 * p8:  y = A (x - mean), A the first p axes, N a bound of its spectral norm; under ip one more element,
 *      sqrt(|x - mean|^2 - |y|^2 / N^2), rounded up. code = y / step_r + 128, step_r = max |y| / 127.
 *      l2, cosine: bias = |y|^2, query vector v = A (q - mean), q divided by its norm under cosine: the
 *      score plus |v|^2 is |v - y|^2, which is at most N^2 |q - x|^2: distances to part of the
 *      principal coordinates never are larger (lower bounding: Korn et al., VLDB 1996).
 *      ip: bias = 0, query vector A q and sqrt(|q|^2 - |A q|^2 / N^2): -q.x + q.mean is at least the
 *      score, by Cauchy and Schwarz in what lies outside the axes.
 */
#ifndef VKERN_CODES_H
#define VKERN_CODES_H

#include "kernels/kernels.h"

#define VKERN_GROUP 16u
#define VKERN_C4_AXES_MAX 1024u
#define VKERN_C8_DIM_MAX 16368u /* a group of 262,080 bytes: all that a block holds (FORMAT.md 3) */

static inline size_t vkern_groups(size_t n_rows)
{
    return (n_rows + VKERN_GROUP - 1) / VKERN_GROUP;
}
static inline size_t vkern_c4_group_bytes(size_t m)
{
    return 8 * m + 64;
}
static inline size_t vkern_c8_group_bytes(size_t dim)
{
    return 64 * ((dim + 3) / 4) + 192;
}

/* ---- scoring --------------------------------------------------------------------------------- */

/** A query for c8 groups. */
struct vkern_c8_query {
    const int8_t *codes; /* t: [4 * ceil(dim / 4)], zeros past dim; any alignment */
    float weight;
    int32_t shift;    /* -128..128 */
    int32_t constant; /* within 128 * (sum |t| + 128 dim) */
};

/** One query against n_groups c4 groups; weights: [m], each in -127..127.
 *  scores: f32 [16 n_groups]. below, where not NULL: [n_groups], bit r of below[i] is set where row r
 *  of group i has a score that is not > cut (so NaN counts as below). */
typedef void vkern_c4_scan_fn(const int8_t *weights, float weight_scale, const void *groups,
                              size_t n_groups, size_t m, float *scores, float cut, uint16_t *below);

/** One query against n_groups c8 groups. scores: f32 [16 n_groups]. */
typedef void vkern_c8_scan_fn(const struct vkern_c8_query *query, const void *groups,
                              size_t n_groups, size_t dim, float *scores);

/**
 * Many queries x many c8 groups. queries: as prepared by `pack` below (AMX wants tiles).
 * out[q * out_stride + r], r < 16 n_groups; out 64-byte aligned, out_stride a multiple of 16 and
 * >= 16 n_groups. n_groups <= VKERN_TILE_GROUPS. below, where not NULL: bit r of
 * below[q * VKERN_TILE_GROUPS + i] is set where row r of group i has a score that is not > cuts[q] (so
 * NaN counts as below); groups there are not are left alone. out_stride 0: only `below` is wanted, out
 * has room for one query's scores and holds any one's afterwards.
 */
#define VKERN_TILE_GROUPS (VKERN_TILE_ROWS / VKERN_GROUP)
struct vkern_tile8 {
    const char *name; /* "avx512vnni", "amx", ... */
    /** Bytes of a pack of nq queries (a multiple of 64), and its making; packed is 64-byte aligned.
     *  The queries' codes are copied. */
    size_t (*pack_bytes)(size_t nq, size_t dim);
    void (*pack)(const struct vkern_c8_query *queries, size_t nq, size_t dim, void *packed);
    void (*multiply)(const void *packed, size_t nq, const void *groups, size_t n_groups, size_t dim,
                     float *out, size_t out_stride, const float *cuts, uint16_t *below);
    /** Once before the first multiply of a thread, where not NULL: false = the system refuses (AMX
     *  permission). Cheap when asked again. */
    bool (*begin)(void);
};

/** n rows (n <= VKERN_TILE_ROWS) of type i8 or u8, as whole c8 groups, zero point 128 for i8 and 0
 *  for u8. bias, scale: [n]. */
typedef void vkern_c8_pack_fn(enum vkern_type type, const void *rows, size_t stride, size_t n,
                              size_t dim, const float *bias, const float *scale, void *groups);

/* The slots of the kernel table (kernels.h: table->codes; never NULL). */
struct vkern_codes {
    vkern_c4_scan_fn *c4_scan;
    vkern_c8_scan_fn *c8_scan;
    vkern_c8_pack_fn *c8_pack;
    const struct vkern_tile8 *tile8; /* the best that needs no permission */
    const struct vkern_tile8 *amx;   /* NULL where the CPU has none */
    const struct vkern_encode *encode; /* private to kernels/codes/: loops of the makers below */
};

/* ---- making codes (codec.c, axes.c, p8.c) -------------------------------------------------------
 *
 * By a table's kernels. c8 codes, factors and facts are the same bytes on every machine and level. Codes of c4 and p8
 * come from products in f32 by the table's tile engine and ndot slot, which round differently from level to
 * level: a code may then differ by one, and its factor with it. */

/** What codes are relative to. Borrowed arrays of f32. */
struct vkern_model {
    uint32_t dim, m;
    uint32_t metric;   /* vkern_metric: cosine makes rows unit vectors first; ip has no c4 factor */
    const float *mean; /* [dim] */
    const float *scale;     /* [dim], > 0 */
    const float *axes;      /* [max(m, p), dim], orthonormal, in energy order */
    const float *deviation; /* [max(m, p)], > 0: of the rows along the axes */
    float clip;
    uint32_t p;      /* axes of p8: the first p; a multiple of 8 */
    float axes_norm; /* vkern_axes_norm of these */
};

static inline size_t vkern_n_axes(const struct vkern_model *model)
{
    return model->m > model->p ? model->m : model->p;
}

/** Facts of encoded c8 rows that error bands need; rounded up. Facts of several encodings are
 *  joined by their maxima where `whole` and `is_signed` agree. */
struct vkern_c8_facts {
    bool whole, is_signed;
    float
        error;  /* largest |z - what the code stands for|; 0 where whole, but for cosine's factor */
    float size; /* largest norm of what a code stands for (with its scale) */
    float bias_max; /* largest bias */
};

/**
 * Encode n rows (f32, dense, finite) as vkern_groups(n) groups.
 * c8: a first look over all rows decides `whole`. false: the plane can not be made (a step, a bias
 * or a norm leaves f32); nothing is then said of groups and facts.
 * c4: scratch: vkern_c4_scratch floats, 64-byte aligned.
 */
bool vkern_c8_encode(const vkern_table *table, const struct vkern_model *model, const float *rows,
                     size_t n, void *groups, struct vkern_c8_facts *facts);

/**
 * The same in parts, on any threads: the range of all rows, then the groups of each part (whole
 * groups, but for the last part), then the facts, from what was met in all parts. The bytes are
 * those of one call.
 */
struct vkern_c8_range {
    bool whole;    /* all elements seen are integers in -128..255 */
    int low, high; /* where whole: the least and the largest of them and 0 */
};
#define VKERN_C8_RANGE_INIT                                                                        \
    {                                                                                              \
        .whole = true                                                                              \
    }
/** Largest of what rows have; starts as zeros. */
struct vkern_c8_extremes {
    double error, size, step;
    float bias;
};
/** Widen the range; stops at a row that is not whole. */
void vkern_c8_look(const vkern_table *table, const float *rows, size_t n, size_t dim,
                   struct vkern_c8_range *range);
void vkern_c8_join_ranges(struct vkern_c8_range *range, const struct vkern_c8_range *other);
void vkern_c8_encode_part(const vkern_table *table, const struct vkern_model *model,
                          const struct vkern_c8_range *range, const float *rows, size_t n,
                          void *groups, struct vkern_c8_extremes *extremes);
void vkern_c8_join_extremes(struct vkern_c8_extremes *extremes,
                            const struct vkern_c8_extremes *other);
/** What vkern_c8_encode answers. */
bool vkern_c8_conclude(const struct vkern_model *model, const struct vkern_c8_range *range,
                       const struct vkern_c8_extremes *extremes, struct vkern_c8_facts *facts);

size_t vkern_c4_scratch(const struct vkern_model *model);
void vkern_c4_encode(const vkern_table *table, const struct vkern_model *model, const float *rows,
                     size_t n, float *scratch, void *groups);

/** A query's codes for c8 planes of one model, and the numbers its error band is made of. */
struct vkern_c8_side {
    struct vkern_c8_query query;
    double offset; /* score in real numbers = offset + what the kernel gives, within the band */
    double offset_error; /* of offset itself */
    double v_norm;       /* |v|, rounded up */
    double v_error;      /* |v - what t stands for|, rounded up; 0 where exact */
};
/**
 * query: f32 [dim] (i8, u8 rows: their values). facts: of the planes to score (whole and is_signed
 * count). codes: int8 [4 ceil(dim / 4)], written; side->query borrows it.
 */
void vkern_c8_query_make(const struct vkern_model *model, const struct vkern_c8_facts *facts,
                         const float *query, int8_t *codes, struct vkern_c8_side *side);
/**
 * The band: |offset + kernel's score - exact score| <= band for every row of planes with these
 * facts, at every level. INFINITY where a score might leave f32. Proof: kernels/codes/README.md.
 */
double vkern_c8_band(const struct vkern_model *model, const struct vkern_c8_facts *facts,
                     const struct vkern_c8_side *side);

/** scratch: f32 [m + dim]. weights: int8 [m]. A query of zeros (cosine) gives weights of zero. */
void vkern_c4_query_make(const vkern_table *table, const struct vkern_model *model,
                         const float *query, float *scratch, int8_t *weights, float *weight_scale);

/* ---- p8 ---------------------------------------------------------------------------------------- */

/** Elements of p8 groups. */
static inline size_t vkern_p8_dim(const struct vkern_model *model)
{
    return model->p + (model->metric == VKERN_IP);
}

/** No less than the spectral norm of p axes, 1 or more; p^2 dim / 2 products. */
float vkern_axes_norm(const float *axes, size_t p, size_t dim);

/** Facts of encoded p8 rows; rounded up, joined by their maxima. */
struct vkern_p8_facts {
    struct vkern_c8_facts codes; /* never whole; error: |y - what the code stands for|, y as computed */
    float drift;                 /* largest |y as computed - y| */
};

void vkern_p8_join(struct vkern_p8_facts *facts, const struct vkern_p8_facts *other);

/**
 * Groups of n rows for planes c4 and p8 from one projection; either may be NULL. scratch as for
 * vkern_c4_encode. false: plane p8 can not be made (a number leaves f32).
 */
bool vkern_axes_encode(const vkern_table *table, const struct vkern_model *model,
                       const float *rows, size_t n, float *scratch, void *c4, void *p8,
                       struct vkern_p8_facts *facts);

/** A query's codes for p8 planes of one model, and what its cuts are made of. */
struct vkern_p8_side {
    struct vkern_c8_side codes; /* codes.query is for the kernels, over d elements */
    double drift;               /* |v as computed - v| at most */
    double norm;                /* |q|, rounded up */
    double origin, origin_error; /* q.mean under ip */
};
/** scratch: f32 [p + 1 + dim]. codes: int8 [4 ceil(d / 4)]. */
void vkern_p8_query_make(const vkern_table *table, const struct vkern_model *model,
                         const float *query, float *scratch, int8_t *codes,
                         struct vkern_p8_side *side);
/**
 * The cut: a row of planes with these facts whose score (by any level's kernels) is above it has an exact score
 * above `worst`: |q - x|^2, -q.x, or -q.x / |x| (0 where |x| = 0). INFINITY where none can be told. Proof:
 * kernels/codes/README.md.
 */
float vkern_p8_cut(const struct vkern_model *model, const struct vkern_p8_facts *facts,
                   const struct vkern_p8_side *side, double worst);

#endif
