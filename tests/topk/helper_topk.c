/*
 * helper_topk.c - see helper_topk.h. The reference knows nothing of keys: it compares doubles.
 */
#include "topk/helper_topk.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kernels/kernels.h"

const char *const pattern_names[N_PATTERNS] = {
    "normal",     "ascending",  "descending", "organ pipe",  "sawtooth",     "all equal",
    "two values", "few values", "one lane",   "one tile",    "mostly worst", "nearly all worst",
    "infinities", "some NaN",   "all NaN",    "few numbers", "zeros",        "any bits"};

size_t type_bytes(uint32_t type)
{
    static const size_t bytes[N_TYPES] = {4, 2, 2, 8, 4};
    return bytes[type];
}

static uint64_t raw(uint32_t type, const void *x, size_t i)
{
    uint64_t bits = 0;
    memcpy(&bits, (const unsigned char *)x + i * type_bytes(type), type_bytes(type));
    return bits;
}

static double from_f16(uint64_t bits)
{
    const int exponent = (int)(bits >> 10 & 31);
    const double fraction = (double)(bits & 1023), sign = bits >> 15 ? -1 : 1;

    if (exponent == 31) return fraction != 0 ? NAN : sign * INFINITY;
    return exponent == 0 ? sign * ldexp(fraction, -24)
                         : sign * ldexp(1024 + fraction, exponent - 25);
}

double element(uint32_t type, const void *x, size_t i)
{
    const uint64_t bits = raw(type, x, i);
    const uint32_t bf16 = (uint32_t)bits << 16;
    float f32;
    double f64;

    switch (type) {
    case VINDEX_TOPK_F32: memcpy(&f32, &bits, 4); return (double)f32;
    case VINDEX_TOPK_F16: return from_f16(bits);
    case VINDEX_TOPK_BF16: memcpy(&f32, &bf16, 4); return (double)f32;
    case VINDEX_TOPK_F64: memcpy(&f64, &bits, 8); return f64;
    default: return (double)(int32_t)bits;
    }
}

void set_bits(uint32_t type, void *x, size_t i, uint64_t bits)
{
    memcpy((unsigned char *)x + i * type_bytes(type), &bits, type_bytes(type));
}

void set_element(uint32_t type, void *x, size_t i, double value)
{
    vkern_table ref;
    const float f32 = (float)value;
    uint64_t bits = 0;
    uint16_t half;

    switch (type) {
    case VINDEX_TOPK_F32: memcpy(&bits, &f32, 4); break;
    case VINDEX_TOPK_F16:
    case VINDEX_TOPK_BF16:
        vkern_table_init(&ref, 0);
        ref.from_f32[type == VINDEX_TOPK_F16 ? VKERN_F16 : VKERN_BF16](&f32, 1, &half);
        bits = half;
        break;
    case VINDEX_TOPK_F64: memcpy(&bits, &value, 8); break;
    default:
        if (isnan(value)) value = 0;
        if (value > INT32_MAX) value = INT32_MAX;
        if (value < INT32_MIN) value = INT32_MIN;
        bits = (uint32_t)(int32_t)value;
    }
    set_bits(type, x, i, bits);
}

double normal(struct rng *rng)
{
    const double u = 1 - vindex__rng_unit(rng), v = vindex__rng_unit(rng);

    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

/* A NaN of any sign and payload; integers have none. */
static void set_nan(struct rng *rng, uint32_t type, void *x, size_t i)
{
    static const uint64_t infinity[N_TYPES] = {0x7f800000, 0x7c00, 0x7f80, 0x7ff0000000000000, 0};
    const uint64_t r = vindex__rng_next(rng);
    uint64_t bits = infinity[type] | (r & 1 ? 1 : infinity[type] >> 3);

    if (type == VINDEX_TOPK_I32) return;
    if (!(r & 1)) bits = infinity[type] | (infinity[type] & (~infinity[type] >> 1)) | 1;
    if (type == VINDEX_TOPK_F32 && r & 4) bits = 0x7fc00000;
    if (r & 2) bits |= UINT64_C(1) << (8 * type_bytes(type) - 1);
    set_bits(type, x, i, bits);
}

static double pattern_value(struct rng *rng, enum pattern pattern, size_t i, size_t n)
{
    const double at = (double)i, half = (double)n / 2;

    switch (pattern) {
    case ASCENDING: return at;
    case DESCENDING: return -at;
    case ORGAN_PIPE: return at < half ? at : (double)n - at;
    case SAWTOOTH: return (double)(i % 97);
    case ALL_EQUAL: return 3;
    case TWO_VALUES: return (double)(vindex__rng_next(rng) & 1);
    case FEW_VALUES: return (double)vindex__rng_below(rng, 7);
    case ONE_LANE: return i % 128 == 5 ? 100 + normal(rng) : normal(rng);
    case ONE_TILE: return at > half && at < half + 200 ? 100 + normal(rng) : normal(rng);
    default: return normal(rng);
    }
}

void fill_pattern(struct rng *rng, enum pattern pattern, uint32_t type, bool is_min, void *x,
                  size_t n)
{
    const double worst = is_min ? INFINITY : -INFINITY;

    for (size_t i = 0; i < n; i++) {
        const double u = vindex__rng_unit(rng);
        double value = pattern_value(rng, pattern, i, n);
        if (type == VINDEX_TOPK_I32 && pattern == NORMAL) value *= 1e6;
        if (pattern == MOSTLY_WORST && u < .9) value = worst;
        if (pattern == NEARLY_ALL_WORST && u < .999) value = worst;
        if (pattern == BOTH_INFINITIES) value = u < .3 ? worst : u < .4 ? -worst : value;
        if (pattern == ZEROS) value = u < .4 ? 0. : u < .8 ? -0. : floor(3 * (u - .9) * 10) - 1;
        set_element(type, x, i, value);
        if ((pattern == SOME_NAN && u < .05) || pattern == ALL_NAN ||
            (pattern == FEW_NUMBERS && i % 61 != 7))
            set_nan(rng, type, x, i);
        if (pattern == ANY_BITS) set_bits(type, x, i, vindex__rng_next(rng));
    }
}

bool comes_before(uint32_t type, const void *x, size_t a, size_t b, bool is_min, uint32_t nan)
{
    const double p = element(type, x, a), q = element(type, x, b);

    if (isnan(p) || isnan(q)) {
        if (isnan(p) && isnan(q)) return a < b;
        return isnan(p) == (nan == VINDEX_TOPK_NAN_BEST);
    }
    if (p != q) return is_min ? p < q : p > q;
    return a < b;
}

static struct {
    uint32_t type, nan;
    const void *x;
    bool is_min;
} sorted;

static int in_order(const void *a, const void *b)
{
    const int64_t p = *(const int64_t *)a, q = *(const int64_t *)b;

    return comes_before(sorted.type, sorted.x, (size_t)p, (size_t)q, sorted.is_min, sorted.nan) ? -1
                                                                                                : 1;
}

void plain_best(uint32_t type, const void *x, size_t n, size_t k, bool is_min, uint32_t nan,
                int64_t *positions)
{
    int64_t *all = malloc((n + 1) * sizeof *all);

    for (size_t i = 0; i < n; i++)
        all[i] = (int64_t)i;
    sorted.type = type, sorted.x = x, sorted.is_min = is_min, sorted.nan = nan;
    qsort(all, n, sizeof *all, in_order);
    memcpy(positions, all, k * sizeof *all);
    free(all);
}

size_t all_levels(vkern_topk_table tables[3])
{
    const uint64_t cpu = vkern_cpu();
    size_t n = 0;

    vkern_topk_table_init(&tables[n++], 0);
    for (int level = VKERN_LEVEL_AVX2; level <= VKERN_LEVEL_AVX512; level++) {
        vkern_topk_table_init(&tables[n], vkern_cpu_at_level(cpu, (enum vkern_level)level));
        n += tables[n].level == (enum vkern_level)level;
    }
    return n;
}

void *guarded_alloc(size_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = (bytes + page - 1) / page;
    unsigned char *at =
        mmap(NULL, (pages + 1) * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (at == MAP_FAILED) abort();
    mprotect(at + pages * page, page, PROT_NONE);
    return at + pages * page - bytes;
}

void guarded_free(void *at, size_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = (bytes + page - 1) / page;

    munmap((unsigned char *)at + bytes - pages * page, (pages + 1) * page);
}

vindex_status run_topk(const vkern_topk_table *table, const vindex_topk_options *options,
                       const void *scores, const int64_t *ids, const int64_t *row_len,
                       const vindex_topk_output *output)
{
    vindex_topk_plan plan = VINDEX_TOPK_PLAN_INIT;
    vindex_status st = vindex__topk_plan_at(table, options, &plan);
    unsigned char *workspace;

    if (st != VINDEX_OK) return st;
    workspace = malloc(plan.workspace_bytes + 64);
    memset(workspace, 0x5a, plan.workspace_bytes + 64);
    st = vindex__topk_run(table, options, scores, ids, row_len, output, workspace,
                          plan.workspace_bytes);
    for (size_t i = 0; i < 64; i++) /* nothing behind the planned bytes was touched */
        if (workspace[plan.workspace_bytes + i] != 0x5a) abort();
    free(workspace);
    return st;
}
