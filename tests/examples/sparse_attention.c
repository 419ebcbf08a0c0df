/*
 * sparse_attention.c - the top-k of a sparse attention layer: scores [heads, queries, keys] in, the keys
 * each query attends to out, exactly or with a recall target: one option, as in MaxText's indexer
 * (indexer_use_approx_top_k). Causal: query q sees keys 0 .. q, so rows have lengths of their own.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <vindex_topk.h>

enum { HEADS = 4, QUERIES = 32, KEYS = 8192, K = 64, FIRST_QUERY = KEYS - QUERIES };

/* Scores as a dot product of random vectors would have them: near enough to normal. */
static float score(uint32_t *state)
{
    float sum = -6;

    for (int i = 0; i < 12; i++) {
        *state = *state * 1664525u + 1013904223u;
        sum += (float)(*state >> 8) / 16777216.0f;
    }
    return sum;
}

static int attend(const float *scores, const int64_t *lengths, float recall, int64_t *keys)
{
    vindex_topk_options options = VINDEX_TOPK_OPTIONS_INIT;
    vindex_topk_plan plan = VINDEX_TOPK_PLAN_INIT;
    vindex_topk_output output = VINDEX_TOPK_OUTPUT_INIT;
    vindex_status st;
    void *workspace;

    options.rows = HEADS * QUERIES, options.len = KEYS, options.k = K;
    options.recall = recall;
    options.flags = VINDEX_TOPK_UNSORTED; /* a softmax does not care */
    st = vindex_topk_make_plan(&options, &plan);
    if (st != VINDEX_OK) return 0;
    workspace = malloc(plan.workspace_bytes);
    output.ids = keys;
    st = workspace ? vindex_topk(&options, scores, NULL, lengths, &output, workspace,
                                 plan.workspace_bytes)
                   : VINDEX_NOMEM;
    free(workspace);
    return st == VINDEX_OK;
}

int main(void)
{
    const size_t rows = HEADS * QUERIES;
    float *scores = malloc(rows * KEYS * sizeof *scores);
    int64_t *lengths = malloc(rows * sizeof *lengths);
    int64_t *exact = malloc(rows * K * sizeof *exact), *fast = malloc(rows * K * sizeof *fast);
    uint32_t state = 1;
    size_t shared = 0, future = 0;
    int failed = !scores || !lengths || !exact || !fast;

    if (failed) goto out;
    for (size_t i = 0; i < rows * KEYS; i++)
        scores[i] = score(&state);
    for (size_t row = 0; row < rows; row++)
        lengths[row] = FIRST_QUERY + (int64_t)(row % QUERIES) + 1;

    failed = !attend(scores, lengths, 1, exact) || !attend(scores, lengths, .95f, fast);
    if (failed) {
        fprintf(stderr, "%s\n", vindex_message());
        goto out;
    }
    for (size_t row = 0; row < rows; row++)
        for (size_t i = 0; i < K; i++) {
            future += fast[row * K + i] >= lengths[row] || exact[row * K + i] >= lengths[row];
            for (size_t j = 0; j < K; j++)
                shared += fast[row * K + i] == exact[row * K + j];
        }
    printf("%d heads x %d queries x %d keys, top %d: recall at least .95: %s, keys from the "
           "future: %zu\n",
           HEADS, QUERIES, KEYS, K, (double)shared >= .95 * (double)(rows * K) ? "yes" : "no",
           future);
    failed = (double)shared < .95 * (double)(rows * K) || future > 0;
out:
    free(scores);
    free(lengths);
    free(exact);
    free(fast);
    return failed;
}
