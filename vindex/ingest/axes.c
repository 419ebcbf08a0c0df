/*
 * axes.c - leading principal axes of a sample.
 *
 * Up to AXES_DENSE_DIM_MAX elements: the covariance matrix in double (products by the f32 tile kernels, 1,024 rows at a time),
 * Householder tridiagonalisation and the QL algorithm with implicit shifts (Golub and Van Loan, Matrix Computations, 8.3; Bowdler, Martin,
 * Reinsch and Wilkinson, Numerische Mathematik 11, 1968). Eigenvectors are kept as rows, so that every inner loop runs along
 * memory.
 *
 * Beyond: the covariance matrix would take dim^2 and its decomposition dim^3. A random subspace is instead multiplied by it a
 * few times, as X^T (X V), orthonormalised each time, and the covariance restricted to the subspace is decomposed
 * (Halko, Martinsson and Tropp, SIAM Review 53, 2011, algorithm 4.4; Rayleigh-Ritz).
 */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/random.h"
#include "base/status.h"
#include "ingest/train.h"

enum {
    CHUNK_ROWS =
        1024, /* summed in f32 by the tile kernels, then in double: relative error about 1e-6 */
    POWER_STEPS =
        3, /* enough where the spectrum falls slowly; where it falls fast one is (Halko et al., 4.5) */
    EXTRA_AXES = 16 /* oversampling of the subspace */
};

vindex_status vindex__ask(const struct asking *asking)
{
    if (!asking || !asking->ask || !asking->ask(asking->context)) return VINDEX_OK;
    return vindex__fail(VINDEX_CANCELLED, "training was cancelled");
}

void vindex__centred_rows(const struct centred *centred, size_t first, size_t n, float *out)
{
    size_t dim = centred->sample->dim;
    for (size_t i = 0; i < n; i++, out += dim) {
        const float *row = centred->sample->rows + (first + i) * centred->step * dim;
        for (size_t d = 0; d < dim; d++)
            out[d] = (float)(((double)row[d] - (double)centred->mean[d]) * centred->factor);
    }
}

/* ---- inner loops: eight partial sums, so that they run in SIMD registers ------------------------ */

static double dot(const double *a, const double *b, size_t n)
{
    double sums[8] = {0}, rest = 0;
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (size_t j = 0; j < 8; j++)
            sums[j] += a[i + j] * b[i + j];
    for (; i < n; i++)
        rest += a[i] * b[i];
    return ((sums[0] + sums[4]) + (sums[1] + sums[5])) +
           ((sums[2] + sums[6]) + (sums[3] + sums[7])) + rest;
}

static void add_scaled(double *restrict to, double factor, const double *restrict from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] += factor * from[i];
}

static void scale_by(double *to, double factor, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] *= factor;
}

/* ---- symmetric eigenproblem --------------------------------------------------------------------- */

/*
 * Row k of a, from k + 1 on, becomes the Householder vector v of column k, beta[k] its factor: (I - beta v v^T) maps that
 * column to a multiple of e_1, which is the off-diagonal element.
 */
static double make_reflector(double *x, size_t n, double *beta)
{
    double tail = dot(x + 1, x + 1, n - 1), alpha = x[0];
    *beta = 0;
    if (tail == 0) return alpha;
    double norm = sqrt(alpha * alpha + tail), image = alpha > 0 ? -norm : norm;
    x[0] = alpha - image;
    *beta = 2 / (x[0] * x[0] + tail);
    return image;
}

/* a22 - v w^T - w v^T with w = beta a22 v - (beta^2 v.a22 v / 2) v; w is scratch [n]. */
static void reflect_both_sides(double *a22, size_t stride, const double *v, double beta, size_t n,
                               double *w)
{
    for (size_t i = 0; i < n; i++)
        w[i] = beta * dot(a22 + i * stride, v, n);
    add_scaled(w, -beta * dot(w, v, n) / 2, v, n);
    for (size_t i = 0; i < n; i++) {
        double *row = a22 + i * stride;
        double vi = v[i], wi = w[i];
        for (size_t j = 0; j < n; j++)
            row[j] -= vi * w[j] + wi * v[j];
    }
}

static vindex_status tridiagonalise(double *a, size_t n, const struct asking *asking,
                                    double *diagonal, double *off, double *beta, double *scratch)
{
    vindex_status st = VINDEX_OK;
    for (size_t k = 0; k < n && st == VINDEX_OK; k++) {
        double *row = a + k * n;
        diagonal[k] = row[k];
        beta[k] = 0;
        if (k + 1 == n) break;
        off[k] = make_reflector(row + k + 1, n - k - 1, &beta[k]);
        if (beta[k] != 0)
            reflect_both_sides(a + (k + 1) * n + k + 1, n, row + k + 1, beta[k], n - k - 1,
                               scratch);
        st = vindex__ask(asking);
    }
    off[n - 1] = 0;
    return st;
}

/* The transposed product of the reflectors, from the last one on: rows of z are the columns of Q. */
static vindex_status accumulate(const double *a, const double *beta, size_t n,
                                const struct asking *asking, double *z)
{
    vindex_status st = VINDEX_OK;
    memset(z, 0, n * n * sizeof *z);
    for (size_t i = 0; i < n; i++)
        z[i * n + i] = 1;
    for (size_t k = n; k-- > 0 && st == VINDEX_OK;) {
        if (beta[k] == 0) continue;
        const double *v = a + k * n + k + 1;
        size_t left = n - k - 1;
        for (size_t i = k + 1; i < n; i++) {
            double *row = z + i * n + k + 1;
            add_scaled(row, -beta[k] * dot(row, v, left), v, left);
        }
        st = vindex__ask(asking);
    }
    return st;
}

static void rotate_rows(double *restrict upper, double *restrict lower, double c, double s,
                        size_t n)
{
    for (size_t k = 0; k < n; k++) {
        double f = lower[k], g = upper[k];
        lower[k] = s * g + c * f;
        upper[k] = c * g - s * f;
    }
}

/* One implicit QL step on the block l .. m of the tridiagonal matrix. */
static void ql_step(double *d, double *e, size_t l, size_t m, size_t n, double *z)
{
    double g = (d[l + 1] - d[l]) / (2 * e[l]), r = hypot(g, 1);
    g = d[m] - d[l] + e[l] / (g + copysign(r, g)); /* Wilkinson's shift */
    double s = 1, c = 1, p = 0;
    size_t i = m;
    while (i-- > l) {
        double f = s * e[i], b = c * e[i];
        r = hypot(f, g);
        e[i + 1] = r;
        if (r == 0) { /* the matrix falls apart here: go on with the smaller block */
            d[i + 1] -= p;
            e[m] = 0;
            return;
        }
        s = f / r;
        c = g / r;
        g = d[i + 1] - p;
        r = (d[i] - g) * s + 2 * c * b;
        p = s * r;
        d[i + 1] = g + p;
        g = c * r - b;
        rotate_rows(z + i * n, z + (i + 1) * n, c, s, n);
    }
    d[l] -= p;
    e[l] = g;
    e[m] = 0;
}

/* The end of the unreduced block that starts at l: the first off-diagonal element that is nothing beside its neighbours. */
static size_t block_end(const double *d, const double *e, size_t l, size_t n)
{
    size_t m = l;
    for (; m + 1 < n; m++) {
        double beside = fabs(d[m]) + fabs(d[m + 1]);
        if (fabs(e[m]) + beside == beside) break;
    }
    return m;
}

static vindex_status diagonalise(double *d, double *e, size_t n, const struct asking *asking,
                                 double *z)
{
    enum { STEPS_MAX = 100 }; /* two are usual */
    for (size_t l = 0; l < n; l++) {
        for (int step = 0;; step++) {
            size_t m = block_end(d, e, l, n);
            if (m == l) break;
            if (step == STEPS_MAX)
                return vindex__fail(VINDEX_INTERNAL, "an eigenvalue was not found in %d steps",
                                    STEPS_MAX);
            vindex_status st = vindex__ask(asking);
            if (st != VINDEX_OK) return st;
            ql_step(d, e, l, m, n, z);
        }
    }
    return VINDEX_OK;
}

static void sort_descending(double *values, size_t n, double *vectors)
{
    for (size_t i = 0; i + 1 < n; i++) {
        size_t best = i;
        for (size_t j = i + 1; j < n; j++)
            if (values[j] > values[best]) best = j;
        if (best == i) continue;
        double value = values[i];
        values[i] = values[best];
        values[best] = value;
        for (size_t k = 0; k < n; k++) {
            double element = vectors[i * n + k];
            vectors[i * n + k] = vectors[best * n + k];
            vectors[best * n + k] = element;
        }
    }
}

vindex_status vindex__eigen_symmetric(double *a, size_t n, const struct asking *asking,
                                      double *values, double *vectors)
{
    double *work = vindex__calloc(n, 3 * sizeof *work);
    vindex_status st = work ? VINDEX_OK : vindex__nomem();
    if (st != VINDEX_OK || n == 0) goto out;
    double *off = work, *beta = work + n, *scratch = work + 2 * n;
    st = tridiagonalise(a, n, asking, values, off, beta, scratch);
    if (st == VINDEX_OK) st = accumulate(a, beta, n, asking, vectors);
    if (st == VINDEX_OK) st = diagonalise(values, off, n, asking, vectors);
    if (st == VINDEX_OK) sort_descending(values, n, vectors);
out:
    vindex__free(work);
    return st;
}

/* ---- products of rows ----------------------------------------------------------------------------- */

/* Scratch of the products below: a chunk of centred rows, the same transposed, panels, results. */
struct products {
    const struct vkern_tile *tile;
    size_t dim;
    float *rows;       /* [CHUNK_ROWS, dim] */
    float *transposed; /* [dim, CHUNK_ROWS] */
    float *panel;      /* of rows of dim or of CHUNK_ROWS elements */
    float *out;        /* [max(dim, CHUNK_ROWS, n_axes), VKERN_TILE_ROWS] */
    float zeros[VKERN_TILE_ROWS];
};

static void products_deinit(struct products *p)
{
    vindex__free_aligned(p->rows);
    vindex__free_aligned(p->transposed);
    vindex__free_aligned(p->panel);
    vindex__free_aligned(p->out);
}

static vindex_status products_init(struct products *p, size_t dim, size_t n_axes)
{
    size_t lines = dim > CHUNK_ROWS ? dim : CHUNK_ROWS;
    if (n_axes > lines) lines = n_axes;
    memset(p, 0, sizeof *p);
    p->tile = vkern_get()->tile;
    p->dim = dim;
    p->rows = vindex__alloc_aligned(dim, CHUNK_ROWS * sizeof *p->rows);
    p->transposed = vindex__alloc_aligned(dim, CHUNK_ROWS * sizeof *p->rows);
    p->panel = vindex__alloc_aligned(vkern_panel_floats(dim > CHUNK_ROWS ? dim : CHUNK_ROWS),
                                     sizeof *p->panel);
    p->out = vindex__alloc_aligned(lines, VKERN_TILE_ROWS * sizeof *p->out);
    return p->rows && p->transposed && p->panel && p->out ? VINDEX_OK : vindex__nomem();
}

/* [n, n_columns] -> [n_columns, n], in squares that fit the first cache. */
static void transpose(const float *from, size_t n, size_t n_columns, float *to)
{
    enum { SIDE = 16 };
    for (size_t i = 0; i < n; i += SIDE)
        for (size_t j = 0; j < n_columns; j += SIDE)
            for (size_t r = i; r < i + SIDE && r < n; r++)
                for (size_t c = j; c < j + SIDE && c < n_columns; c++)
                    to[c * n + r] = from[r * n_columns + c];
}

/* The products of n_left lines of `left` with lines first .. of `right`, both of `length` elements: out [n_left, TILE_ROWS].
 * Returns how many lines of right were taken. */
static size_t multiply(struct products *p, const float *left, size_t n_left, const float *right,
                       size_t n_right, size_t first, size_t length)
{
    size_t n = n_right - first < VKERN_TILE_ROWS ? n_right - first : VKERN_TILE_ROWS;
    p->tile->pack(VKERN_F32, right + first * length, length * sizeof *right, n, length, NULL,
                  p->panel);
    p->tile->multiply(left, n_left, p->panel, p->zeros, n, length, p->out, VKERN_TILE_ROWS);
    return n;
}

static void add_lines(const struct products *p, size_t n_left, size_t n, size_t first,
                      size_t stride, double *sums)
{
    for (size_t i = 0; i < n_left; i++)
        for (size_t j = 0; j < n; j++)
            sums[i * stride + first + j] += (double)p->out[i * VKERN_TILE_ROWS + j];
}

/* ---- the covariance matrix, whole ------------------------------------------------------------------ */

/* Columns first .. of the covariance over rows of one chunk, on and above the diagonal. */
static vindex_status add_chunk(struct products *p, size_t n, const struct asking *asking,
                               double *covariance)
{
    size_t taken;
    vindex_status st = VINDEX_OK;
    transpose(p->rows, n, p->dim, p->transposed);
    for (size_t first = 0; first < p->dim && st == VINDEX_OK; first += taken) {
        size_t end = first + VKERN_TILE_ROWS < p->dim ? first + VKERN_TILE_ROWS : p->dim;
        taken = multiply(p, p->transposed, end, p->transposed, p->dim, first, n);
        add_lines(p, end, taken, first, p->dim, covariance);
        st = vindex__ask(asking);
    }
    return st;
}

static void mirror_and_divide(double *covariance, size_t dim, size_t n)
{
    for (size_t i = 0; i < dim; i++)
        for (size_t j = i; j < dim; j++)
            covariance[i * dim + j] = covariance[j * dim + i] = covariance[i * dim + j] / (double)n;
}

static vindex_status covariance_of(const struct centred *centred, struct products *p,
                                   const struct asking *asking, double *covariance)
{
    vindex_status st = VINDEX_OK;
    for (size_t first = 0; first < centred->n && st == VINDEX_OK; first += CHUNK_ROWS) {
        size_t n = centred->n - first < CHUNK_ROWS ? centred->n - first : CHUNK_ROWS;
        vindex__centred_rows(centred, first, n, p->rows);
        st = add_chunk(p, n, asking, covariance);
    }
    mirror_and_divide(covariance, p->dim, centred->n);
    return st;
}

static vindex_status axes_dense(const struct centred *centred, size_t n_axes,
                                const struct asking *asking, float *axes, double *variances)
{
    size_t dim = centred->sample->dim;
    struct products p;
    double *covariance = vindex__calloc(dim * dim, sizeof *covariance);
    double *vectors = vindex__calloc(dim * dim, sizeof *vectors);
    double *values = vindex__calloc(dim, sizeof *values);
    vindex_status st = products_init(&p, dim, 0);
    if (st == VINDEX_OK && (!covariance || !vectors || !values)) st = vindex__nomem();
    if (st == VINDEX_OK) st = covariance_of(centred, &p, asking, covariance);
    if (st == VINDEX_OK) st = vindex__eigen_symmetric(covariance, dim, asking, values, vectors);
    for (size_t i = 0; i < n_axes && st == VINDEX_OK; i++) {
        variances[i] = values[i] > 0 ? values[i] : 0;
        for (size_t d = 0; d < dim; d++)
            axes[i * dim + d] = (float)vectors[i * dim + d];
    }
    products_deinit(&p);
    vindex__free(covariance);
    vindex__free(vectors);
    vindex__free(values);
    return st;
}

/* ---- a subspace ------------------------------------------------------------------------------------ */

struct subspace {
    struct products products;
    size_t n, dim;
    double *vectors;      /* [n, dim], orthonormal rows */
    float *narrow;        /* the same in f32 */
    float *projected;     /* [n, CHUNK_ROWS]: a chunk of rows along the vectors, transposed */
    double *products_sum; /* [n, dim] or, at the end, [n, n] */
};

static void subspace_deinit(struct subspace *s)
{
    products_deinit(&s->products);
    vindex__free(s->vectors);
    vindex__free_aligned(s->narrow);
    vindex__free_aligned(s->projected);
    vindex__free(s->products_sum);
}

static vindex_status subspace_init(struct subspace *s, size_t n, size_t dim)
{
    memset(s, 0, sizeof *s);
    s->n = n;
    s->dim = dim;
    vindex_status st = products_init(&s->products, dim, n);
    s->vectors = vindex__calloc(n * dim, sizeof *s->vectors);
    s->narrow = vindex__alloc_aligned(n, dim * sizeof *s->narrow);
    s->projected = vindex__alloc_aligned(n, CHUNK_ROWS * sizeof *s->projected);
    s->products_sum = vindex__calloc(n * dim, sizeof *s->products_sum);
    if (st != VINDEX_OK) return st;
    return s->vectors && s->narrow && s->projected && s->products_sum ? VINDEX_OK : vindex__nomem();
}

/* Normal deviates, Box and Muller (1958). */
static void start_at_random(struct subspace *s)
{
    struct rng rng;
    vindex__rng_init(&rng, 1);
    for (size_t i = 0; i < s->n * s->dim; i++)
        s->vectors[i] = sqrt(-2 * log(1 - vindex__rng_unit(&rng))) *
                        cos(6.283185307179586 * vindex__rng_unit(&rng));
}

static void narrow(struct subspace *s)
{
    for (size_t i = 0; i < s->n * s->dim; i++)
        s->narrow[i] = (float)s->vectors[i];
}

/* Rows first .. end - 1 lose what they have of the rows before first: each of those is read once for all of them. */
static void subtract_earlier(struct subspace *s, size_t first, size_t end)
{
    for (size_t j = 0; j < first; j++) {
        const double *other = s->vectors + j * s->dim;
        for (size_t i = first; i < end; i++) {
            double *row = s->vectors + i * s->dim;
            add_scaled(row, -dot(row, other, s->dim), other, s->dim);
        }
    }
}

/* A row that depends on those before it becomes zero: the sample has no more directions. */
static void orthonormalise_block(struct subspace *s, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++) {
        double *row = s->vectors + i * s->dim, before = sqrt(dot(row, row, s->dim)), after;
        for (size_t j = first; j < i; j++) {
            const double *other = s->vectors + j * s->dim;
            add_scaled(row, -dot(row, other, s->dim), other, s->dim);
        }
        after = sqrt(dot(row, row, s->dim));
        scale_by(row, after > 1e-10 * before ? 1 / after : 0, s->dim);
    }
}

/*
 * Gram and Schmidt, modified, a block of rows at a time. Twice is enough for rows orthogonal to rounding (Parlett, The Symmetric Eigenvalue
 * Problem, 6.9); once is enough to keep the next product from losing directions.
 */
static vindex_status orthonormalise(struct subspace *s, int n_passes, const struct asking *asking)
{
    enum { BLOCK = 16 };
    vindex_status st = VINDEX_OK;
    for (int pass = 0; pass < n_passes; pass++)
        for (size_t first = 0; first < s->n && st == VINDEX_OK; first += BLOCK) {
            size_t end = first + BLOCK < s->n ? first + BLOCK : s->n;
            subtract_earlier(s, first, end);
            orthonormalise_block(s, first, end);
            st = vindex__ask(asking);
        }
    narrow(s);
    return st;
}

/* projected = vectors . rows of the chunk: [n, rows] */
static void project_chunk(struct subspace *s, size_t n_rows)
{
    struct products *p = &s->products;
    size_t taken;
    for (size_t first = 0; first < n_rows; first += taken) {
        taken = multiply(p, s->narrow, s->n, p->rows, n_rows, first, s->dim);
        for (size_t i = 0; i < s->n; i++)
            memcpy(s->projected + i * n_rows + first, p->out + i * VKERN_TILE_ROWS,
                   taken * sizeof *p->out);
    }
}

/* Over all chunks: sums of projected . (rows transposed, or projected). */
static vindex_status sum_products(struct subspace *s, const struct centred *centred,
                                  bool with_itself, const struct asking *asking)
{
    struct products *p = &s->products;
    size_t columns = with_itself ? s->n : s->dim;
    vindex_status st = VINDEX_OK;
    memset(s->products_sum, 0, s->n * columns * sizeof *s->products_sum);
    for (size_t at = 0; at < centred->n && st == VINDEX_OK; at += CHUNK_ROWS) {
        size_t n = centred->n - at < CHUNK_ROWS ? centred->n - at : CHUNK_ROWS, taken;
        vindex__centred_rows(centred, at, n, p->rows);
        project_chunk(s, n);
        if (!with_itself) transpose(p->rows, n, s->dim, p->transposed);
        const float *right = with_itself ? s->projected : p->transposed;
        for (size_t first = 0; first < columns && st == VINDEX_OK; first += taken) {
            taken = multiply(p, s->projected, s->n, right, columns, first, n);
            add_lines(p, s->n, taken, first, columns, s->products_sum);
            st = vindex__ask(asking);
        }
    }
    return st;
}

/* The covariance within the subspace is decomposed; its eigenvectors combine the subspace's vectors. */
static vindex_status rayleigh_ritz(struct subspace *s, const struct centred *centred, size_t n_axes,
                                   const struct asking *asking, float *axes, double *variances)
{
    double *within = vindex__calloc(s->n * s->n, sizeof *within);
    double *rotation = vindex__calloc(s->n * s->n, sizeof *rotation);
    double *values = vindex__calloc(s->n, sizeof *values);
    double *axis = vindex__calloc(s->dim, sizeof *axis);
    vindex_status st = within && rotation && values && axis ? VINDEX_OK : vindex__nomem();
    if (st == VINDEX_OK) st = sum_products(s, centred, true, asking);
    for (size_t i = 0; i < s->n * s->n && st == VINDEX_OK; i++)
        within[i] = s->products_sum[i] / (double)centred->n;
    if (st == VINDEX_OK) st = vindex__eigen_symmetric(within, s->n, asking, values, rotation);
    for (size_t i = 0; i < n_axes && st == VINDEX_OK; i++) {
        memset(axis, 0, s->dim * sizeof *axis);
        for (size_t j = 0; j < s->n; j++)
            add_scaled(axis, rotation[i * s->n + j], s->vectors + j * s->dim, s->dim);
        for (size_t d = 0; d < s->dim; d++)
            axes[i * s->dim + d] = (float)axis[d];
        variances[i] = values[i] > 0 ? values[i] : 0;
        st = vindex__ask(asking);
    }
    vindex__free(within);
    vindex__free(rotation);
    vindex__free(values);
    vindex__free(axis);
    return st;
}

static vindex_status axes_subspace(const struct centred *centred, size_t n_axes,
                                   const struct asking *asking, float *axes, double *variances)
{
    size_t dim = centred->sample->dim;
    size_t n = n_axes + EXTRA_AXES < dim ? n_axes + EXTRA_AXES : dim;
    struct subspace s;
    vindex_status st = subspace_init(&s, n, dim);
    if (st != VINDEX_OK) goto out;
    start_at_random(&s);
    narrow(&s);
    for (int i = 0; i < POWER_STEPS && st == VINDEX_OK; i++) {
        st = sum_products(&s, centred, false, asking);
        if (st != VINDEX_OK) break;
        memcpy(s.vectors, s.products_sum, n * dim * sizeof *s.vectors);
        st = orthonormalise(&s, i + 1 < POWER_STEPS ? 1 : 2, asking);
    }
    if (st == VINDEX_OK) st = rayleigh_ritz(&s, centred, n_axes, asking, axes, variances);
out:
    subspace_deinit(&s);
    return st;
}

vindex_status vindex__axes(const struct centred *centred, size_t n_axes,
                           const struct asking *asking, float *axes, double *variances)
{
    return centred->sample->dim <= AXES_DENSE_DIM_MAX
               ? axes_dense(centred, n_axes, asking, axes, variances)
               : axes_subspace(centred, n_axes, asking, axes, variances);
}
