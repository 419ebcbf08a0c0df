/*
 * truth.c - which hits count; see truth.h. Plain on purpose: this is what the library is judged by.
 */
#include "truth.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "library.h"
#include "rows.h"

#define TIE 1e-6    /* relative: what two orders of summation may differ by */
#define NEARER 1e-3 /* relative: more than the truth's own arithmetic, in float32, may be off */

static double value_at(vindex_type type, const void *row, size_t i)
{
    uint16_t bits;
    float value;

    switch (type) {
    case VINDEX_FLOAT: memcpy(&value, (const char *)row + 4 * i, sizeof value); return value;
    case VINDEX_FLOAT16:
        memcpy(&bits, (const char *)row + 2 * i, sizeof bits);
        return rows_from_half(bits);
    case VINDEX_BFLOAT16:
        memcpy(&bits, (const char *)row + 2 * i, sizeof bits);
        return rows_from_bfloat(bits);
    case VINDEX_INT8: return ((const int8_t *)row)[i];
    case VINDEX_UINT8: return ((const uint8_t *)row)[i];
    default: return ((const uint8_t *)row)[i / 8] >> i % 8 & 1;
    }
}

double truth_score(vindex_metric metric, uint32_t dim, vindex_type a_type, const void *a,
                   vindex_type b_type, const void *b)
{
    double dot = 0, a_square = 0, b_square = 0, difference_square = 0;

    for (size_t i = 0; i < dim; i++) {
        double x = value_at(a_type, a, i), y = value_at(b_type, b, i);

        dot += x * y;
        a_square += x * x;
        b_square += y * y;
        difference_square += (x - y) * (x - y);
    }
    switch (metric) {
    case VINDEX_L2: return sqrt(difference_square);
    case VINDEX_COSINE:
        if (a_square == 0 || b_square == 0) return 1;
        return 1 - dot / (sqrt(a_square) * sqrt(b_square));
    case VINDEX_IP: return -dot;
    default: return difference_square; /* of bits: how many differ */
    }
}

vindex_status truth_init(struct truth *truth, vindex_searcher *searcher, const vindex_stats *stats,
                         const char *path, struct fault *fault)
{
    *truth = (struct truth){.searcher = searcher,
                            .path = path,
                            .type = (vindex_type)stats->type,
                            .metric = (vindex_metric)stats->metric,
                            .dim = stats->dim};
    truth->row_bytes = vindex_row_bytes(truth->type, truth->dim);
    truth->row = malloc(truth->row_bytes);
    return truth->row != NULL ? VINDEX_OK : fault_nomem(fault);
}

void truth_deinit(struct truth *truth)
{
    free(truth->row);
}

static vindex_status score_of_row(struct truth *truth, vindex_type query_type, const void *query,
                                  int64_t id, double *score, struct fault *fault)
{
    vindex_status st =
        library_check(vindex_fetch(truth->searcher, &id, 1, truth->row, NULL), truth->path, fault);

    if (st == VINDEX_NOTFOUND) {
        return fault_set(
            fault, VINDEX_INVALID,
            "%s has no row %lld, which the ground truth names; it belongs to other rows",
            truth->path, (long long)id);
    }
    if (st == VINDEX_OK) {
        *score = truth_score(truth->metric, truth->dim, query_type, query, truth->type, truth->row);
    }
    return st;
}

static bool is_among(const int64_t *ids, size_t n, int64_t id)
{
    for (size_t i = 0; i < n; i++) {
        if (ids[i] == id) return true;
    }
    return false;
}

static bool is_repeated(const vindex_hit *hits, size_t at)
{
    for (size_t i = 0; i < at; i++) {
        if (hits[i].id == hits[at].id) return true;
    }
    return false;
}

vindex_status truth_count(struct truth *truth, vindex_type query_type, const void *query,
                          const int64_t *nearest, const vindex_hit *hits, size_t k, size_t *n_right,
                          size_t *n_true, struct fault *fault)
{
    double worst = NAN; /* of the true k-th row, computed when it is first needed */
    vindex_status st = VINDEX_OK;

    *n_right = 0;
    for (*n_true = 0; *n_true < k && nearest[*n_true] >= 0; ++*n_true) {}
    for (size_t i = 0; i<k && * n_true> 0; i++) {
        double score = 0;

        if (hits[i].id == VINDEX_ID_NONE || is_repeated(hits, i)) continue;
        if (is_among(nearest, *n_true, hits[i].id)) {
            ++*n_right;
            continue;
        }
        if (isnan(worst)) {
            st = score_of_row(truth, query_type, query, nearest[*n_true - 1], &worst, fault);
        }
        if (st == VINDEX_OK) {
            st = score_of_row(truth, query_type, query, hits[i].id, &score, fault);
        }
        if (st != VINDEX_OK) return st;
        if (score <= worst + TIE * fabs(worst)) ++*n_right;
        if (score < worst - NEARER * fabs(worst)) truth->n_nearer++;
    }
    if (*n_right > *n_true) *n_right = *n_true;
    return VINDEX_OK;
}
