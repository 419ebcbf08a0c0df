/*
 * blas.c - the tile engine on OpenBLAS, loaded when first asked for: the panel is the rows, dense,
 * in f32; one sgemm a call.
 *
 * OpenBLAS built with threads starts one a core when it is loaded, and its settings belong to the
 * process, so this file never loads a library that would do so and never sets anything:
 *     VINDEX_BLAS=none         no BLAS
 *     VINDEX_BLAS=PATH         that library; the user answers for the threads its loading may start
 *     the serial flavour       where Debian and Ubuntu put it
 *     libopenblas.so.0         only where OPENBLAS_NUM_THREADS=1 keeps it from starting threads
 * Whatever was loaded then has to say itself that it uses one thread, or it is closed again.
 *
 * Several threads may call multiply at once. A library built without threads allows that only when
 * built with USE_LOCKING, which its configuration names since OpenBLAS pull request 4680 (2024);
 * any other gets one caller at a time. Debian's serial 0.3.21 needs it: four threads got wrong
 * products.
 */
#include <assert.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/init.h"

#if VKERN_X86
#define SERIAL "/usr/lib/x86_64-linux-gnu/openblas-serial/libopenblas.so.0"
#elif VKERN_ARM
#define SERIAL "/usr/lib/aarch64-linux-gnu/openblas-serial/libopenblas.so.0"
#else
#define SERIAL NULL
#endif

/* cblas.h: the values are fixed by the CBLAS interface (BLAS Technical Forum standard, 2001, B.2).
 * */
enum { ROW_MAJOR = 101, NO_TRANS = 111, TRANS = 112 };

typedef void sgemm_fn(int order, int trans_a, int trans_b, int m, int n, int k, float alpha,
                      const float *a, int lda, const float *b, int ldb, float beta, float *c,
                      int ldc);
typedef int int_fn(void);
typedef char *text_fn(void);

/* 384 x 256 results are 384 KiB: they stay in L2 from the bias to the product. */
enum { QUERIES_AT_ONCE = 384 };

static sgemm_fn *sgemm;
static bool is_one_at_a_time;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static const vkern_table *table; /* to_f32 and friends; filled with sgemm */

static void pack(enum vkern_type type, const void *rows, size_t stride, size_t n, size_t dim,
                 const float *scale, float *panel)
{
    assert(type != VKERN_BIT);
    for (size_t r = 0; r < n; r++, panel += dim) {
        table->to_f32[type]((const unsigned char *)rows + r * stride, dim, panel);
        if (scale != NULL)
            for (size_t i = 0; i < dim; i++)
                panel[i] *= scale[r];
    }
}

static void multiply(const float *queries, size_t nq, const float *panel, const float *bias,
                     size_t n, size_t dim, float *out, size_t out_stride)
{
    for (size_t first = 0; first < nq; first += QUERIES_AT_ONCE) {
        const size_t m = nq - first < QUERIES_AT_ONCE ? nq - first : QUERIES_AT_ONCE;
        float *c = out + first * out_stride;

        for (size_t q = 0; q < m && n > 0; q++)
            memcpy(c + q * out_stride, bias, n * sizeof *bias);
        if (n == 0 || dim == 0) continue;
        if (is_one_at_a_time) pthread_mutex_lock(&turn);
        sgemm(ROW_MAJOR, NO_TRANS, TRANS, (int)m, (int)n, (int)dim, 1, queries + first * dim,
              (int)dim, panel, (int)dim, 1, c, (int)out_stride);
        if (is_one_at_a_time) pthread_mutex_unlock(&turn);
    }
}

/* The order of the sums is not ours to know: any order of dim products and a bias. */
static double gamma_blas(size_t dim)
{
    const double nu = ((double)dim + 2) * 0x1p-24;

    return nu / (1 - nu);
}

static const struct vkern_tile tile_blas = {"openblas", pack, multiply, gamma_blas};

/* A function of the library; POSIX lets a data pointer hold it, ISO C only through its bytes. */
#define FUNCTION(type, variable, library, name)                                                    \
    type *variable = NULL;                                                                         \
    do {                                                                                           \
        void *address = dlsym(library, name);                                                      \
        memcpy(&variable, &address, sizeof address);                                               \
    } while (0)

/* One thread, 32-bit integers, and an sgemm; else NULL. */
static sgemm_fn *usable(void *library)
{
    FUNCTION(int_fn, parallel, library, "openblas_get_parallel");
    FUNCTION(int_fn, n_threads, library, "openblas_get_num_threads");
    FUNCTION(text_fn, config, library, "openblas_get_config");
    FUNCTION(sgemm_fn, found, library, "cblas_sgemm");

    if (parallel == NULL || n_threads == NULL || config == NULL) return NULL;
    if (parallel() != 0 && n_threads() > 1) return NULL;
    if (strstr(config(), "USE64BITINT") != NULL) return NULL;
    is_one_at_a_time = parallel() == 0 && strstr(config(), "USE_LOCKING") == NULL;
    return found;
}

static bool load(const char *path)
{
    void *library = path != NULL ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;

    if (library == NULL) return false;
    sgemm = usable(library);
    if (sgemm == NULL) dlclose(library);
    return sgemm != NULL;
}

static void find(void)
{
    const char *asked = getenv("VINDEX_BLAS"), *n_threads = getenv("OPENBLAS_NUM_THREADS");

    table = vkern_get();
    if (asked != NULL && *asked != '\0') {
        if (strcmp(asked, "none") != 0) load(asked);
        return;
    }
    if (load(SERIAL)) return;
    if (n_threads != NULL && strcmp(n_threads, "1") == 0) load("libopenblas.so.0");
}

const struct vkern_tile *vkern_tile_blas(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, find);
    return sgemm != NULL ? &tile_blas : NULL;
}
