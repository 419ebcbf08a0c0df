/*
 * helper_codes_check.c - see helper_codes_check.h.
 */
#include "helper_codes_check.h"

#include "common/cmocka.h"

#include <math.h>
#include <string.h>

#include "api/api.h"
#include "base/random.h"
#include "kernels/codes.h"

float *helper_rows(size_t n, uint32_t dim, uint64_t seed, bool whole)
{
    struct rng rng;
    float *rows = calloc(n * dim, sizeof *rows);
    assert_non_null(rows);
    vindex__rng_init(&rng, seed);
    for (size_t i = 0; i < n * dim; i++) {
        double sum = 0; /* near enough a normal deviate */
        for (int j = 0; j < 4; j++)
            sum += vindex__rng_unit(&rng) - 0.5;
        rows[i] = (float)(3 + sum * pow(0.85, (double)(i % dim)));
        if (whole) rows[i] = (float)(int)(sum * 60 * pow(0.9, (double)(i % dim)));
    }
    return rows;
}

/* Row `slot` as codes see it: f32, a unit vector under cosine. */
static void row_of(const struct snapshot *snapshot, const struct part *part, uint32_t slot,
                   double *x)
{
    float row[4096];
    double norm = 0;
    size_t dim = snapshot->config.dim;
    assert_true(dim <= 4096);
    vkern_get()->to_f32[snapshot->config.type](part_row(part, slot), dim, row);
    for (size_t d = 0; d < dim; d++)
        norm += (double)row[d] * (double)row[d];
    for (size_t d = 0; d < dim; d++)
        x[d] = snapshot->config.metric == VINDEX_COSINE && norm > 0 ? (double)row[d] / sqrt(norm)
                                                                    : (double)row[d];
}

static const unsigned char *group_of(const struct block *blocks, uint32_t n_blocks, uint32_t slot)
{
    for (uint32_t i = 0; i < n_blocks; i++)
        if (slot < blocks[i].first + blocks[i].n * VKERN_GROUP) {
            assert_true(slot >= blocks[i].first);
            return (const unsigned char *)blocks[i].rows +
                   (slot - blocks[i].first) / VKERN_GROUP * blocks[i].stride;
        }
    fail_msg("slot %u is in no block", slot);
    return NULL;
}

static void check_c4(const struct model *model, const unsigned char *group, uint32_t slot,
                     const double *x, size_t dim)
{
    size_t r = slot % VKERN_GROUP;
    for (uint32_t k = 0; k < model->m; k++) {
        unsigned byte = group[64 * (k / 8) + 4 * r + k % 4];
        double code = k % 8 < 4 ? byte & 15 : byte >> 4;
        double span = (double)model->clip * (double)model->deviation[k], step = 2 * span / 15,
               y = 0;
        for (size_t d = 0; d < dim; d++)
            y += (double)model->axes[k * dim + d] * (x[d] - (double)model->mean[d]);
        double clipped = fmin(fmax(y, -span), span);
        if (!(fabs(code * step - span - clipped) <= step * 0.501))
            fail_msg("slot %u, axis %u: code %g stands for %g, not %g", slot, k, code,
                     code * step - span, y);
    }
}

static void check_c8(const struct model *model, const struct part_codes *codes,
                     const unsigned char *group, uint32_t slot, const double *x, size_t dim)
{
    size_t r = slot % VKERN_GROUP, lines = (dim + 3) / 4;
    float step;
    double error = 0;
    memcpy(&step, group + 64 * lines + 64 + 4 * r, 4);
    for (size_t d = 0; d < dim; d++) {
        double code = group[64 * (d / 4) + 4 * r + d % 4];
        double z = codes->whole ? x[d] : (x[d] - (double)model->mean[d]) / (double)model->scale[d];
        double stands = (code - (codes->whole && !codes->is_signed ? 0 : 128)) * (double)step;
        if (!(fabs(stands - z) <= 0.501 * (double)step))
            fail_msg("slot %u, element %zu: code %g stands for %g, not %g", slot, d, code, stands,
                     z);
        error += (stands - z) * (stands - z);
    }
    if (!(sqrt(error) <= (double)codes->c8_error * (1 + 1e-6) + 1e-6))
        fail_msg("slot %u: off by %g, its record says %g", slot, sqrt(error),
                 (double)codes->c8_error);
}

/* Along the leading axes; the last element under ip is what lies outside of them, or a little more. */
static void check_p8(const struct snapshot *snapshot, const struct part_codes *codes,
                     const unsigned char *group, uint32_t slot, const double *x)
{
    const struct model *model = snapshot->model;
    bool has_rest = snapshot->config.metric == VINDEX_IP;
    size_t r = slot % VKERN_GROUP, dim = snapshot->config.dim, n = model->p + has_rest;
    double error = 0, inside = 0, all = 0;
    float step;
    memcpy(&step, group + 64 * ((n + 3) / 4) + 64 + 4 * r, 4);
    for (size_t d = 0; d < dim; d++)
        all += (x[d] - (double)model->mean[d]) * (x[d] - (double)model->mean[d]);
    for (size_t k = 0; k < n; k++) {
        double code = group[64 * (k / 4) + 4 * r + k % 4], y = 0;
        for (size_t d = 0; d < dim && k < model->p; d++)
            y += (double)model->axes[k * dim + d] * (x[d] - (double)model->mean[d]);
        inside += y * y;
        if (k == model->p) y = sqrt(fmax(all - inside, 0));
        double off = fabs((code - 128) * (double)step - y);
        double slack = k < model->p ? (double)codes->p8_drift : 1e-2 * sqrt(all);
        if (!(off <= 0.501 * (double)step + slack))
            fail_msg("slot %u, axis %zu: code %g stands for %g, not %g", slot, k, code,
                     (code - 128) * (double)step, y);
        if (k < model->p) error += off * off;
    }
    if (!(sqrt(error) <= (double)codes->p8_error + (double)codes->p8_drift))
        fail_msg("slot %u: off by %g along the leading axes, its record says %g", slot, sqrt(error),
                 (double)codes->p8_error);
}

static void check_part(const struct snapshot *snapshot, const struct part *part)
{
    const struct part_codes *codes = part->codes;
    size_t dim = snapshot->config.dim;
    double x[4096];
    assert_int_equal(codes->n_c4 > 0, snapshot->model->m > 0);
    assert_int_equal(codes->n_p8 > 0, snapshot->model->p > 0);
    for (uint32_t slot = 0; slot < part->n; slot++) {
        row_of(snapshot, part, slot, x);
        if (codes->n_c4)
            check_c4(snapshot->model, group_of(codes->c4, codes->n_c4, slot), slot, x, dim);
        if (codes->n_c8)
            check_c8(snapshot->model, codes, group_of(codes->c8, codes->n_c8, slot), slot, x, dim);
        if (codes->n_p8)
            check_p8(snapshot, codes, group_of(codes->p8, codes->n_p8, slot), slot, x);
    }
}

void helper_check_codes(vindex *index, struct codes_found *found)
{
    struct session session;
    const struct snapshot *snapshot = NULL;
    memset(found, 0, sizeof *found);
    assert_int_equal(vindex__session_open(index->store, false, &session), VINDEX_OK);
    assert_int_equal(vindex__snapshot_acquire(index->store, &session, &snapshot), VINDEX_OK);
    found->has_model = snapshot->model != NULL;
    if (snapshot->model) {
        found->m = snapshot->model->m;
        found->p = snapshot->model->p;
        found->model_rows = snapshot->model->n_rows;
        memcpy(found->model, snapshot->model->nonce, NONCE_BYTES);
    }
    for (uint32_t i = 0; i < snapshot->n_parts; i++) {
        if (!snapshot->parts[i].codes) continue;
        check_part(snapshot, &snapshot->parts[i]);
        found->n_rows += snapshot->parts[i].n;
        found->n_parts++;
    }
    vindex__snapshot_release(index->store, &session, snapshot);
    vindex__session_close(index->store, &session);
}

static void print_finding(void *context, const char *finding)
{
    (void)context;
    printf("finding: %s\n", finding);
}

void helper_check_index(vindex *index)
{
    vindex_status st = vindex_check(index, print_finding, NULL);
    if (st != VINDEX_OK) fail_msg("vindex_check: %s", vindex_message());
}
