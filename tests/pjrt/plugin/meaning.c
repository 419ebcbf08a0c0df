/*
 * meaning.c - see meaning.h. The check of a text is light: brackets, names defined before their use,
 * the signature, and the numbers that decide what is kept.
 */
#include "meaning.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- reading ------------------------------------------------------------------------------- */

static bool say(char *why, size_t size, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(why, size, format, list);
    va_end(list);
    return false;
}

static bool read_comment(const char *text, struct meaning *m)
{
    int n = sscanf(text,
                   "// vindex %15s type=%7s terms=%u q=%u n=%u d=%u k=%u bins=%u recall=%f "
                   "override=%lld\n",
                   m->kind, m->type, &m->terms, &m->q, &m->n, &m->d, &m->k, &m->bins, &m->recall,
                   &m->override_rows);
    return n == 10 && m->q && m->n && m->d && m->k && m->bins;
}

static bool check_brackets(const char *text, char *why, size_t size)
{
    char stack[64];
    size_t depth = 0;
    for (const char *c = strchr(text, '\n'); *c; c++) {
        if (*c == '-' && c[1] == '>') {
            c++;
        } else if (strchr("([{<", *c)) {
            if (depth == sizeof stack) return say(why, size, "brackets nest too deeply");
            stack[depth++] = *c == '(' ? ')' : *c == '[' ? ']' : *c == '{' ? '}' : '>';
        } else if (strchr(")]}>", *c)) {
            if (depth == 0 || stack[--depth] != *c)
                return say(why, size, "unexpected '%c' near \"%.20s\"", *c, c);
        }
    }
    return depth == 0 ||
           say(why, size, "a bracket is not closed: '%c' is missing", stack[depth - 1]);
}

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

/* %x = and %x: tensor define, everything else uses. */
static bool check_names(const char *text, char *why, size_t size)
{
    char defined[64][16];
    size_t n_defined = 0;
    for (const char *at = text; (at = strchr(at, '%')) != NULL;) {
        const char *start = ++at;
        while (is_name(*at))
            at++;
        size_t length = (size_t)(at - start);
        if (length == 0 || length > 15) return say(why, size, "bad name near \"%.20s\"", start);
        const char *after = at;
        bool defines = strncmp(after, ": tensor<", 9) == 0;
        if (*after == ':' && after[1] >= '2' && after[1] <= '9') after += 2;
        if (strncmp(after, " = ", 3) == 0) defines = true;
        size_t i = 0;
        while (i < n_defined && (strlen(defined[i]) != length || memcmp(defined[i], start, length)))
            i++;
        if (i < n_defined) continue;
        if (!defines)
            return say(why, size, "use of undeclared SSA value name %%%.*s", (int)length, start);
        if (n_defined == 64) return say(why, size, "too many names");
        snprintf(defined[n_defined++], 16, "%.*s", (int)length, start);
    }
    return true;
}

static bool has(const char *text, char *why, size_t size, const char *format, ...)
{
    char wanted[400];
    va_list list;
    va_start(list, format);
    vsnprintf(wanted, sizeof wanted, format, list);
    va_end(list);
    return strstr(text, wanted) != NULL || say(why, size, "expected \"%s\"", wanted);
}

static bool check_selection(const char *text, const struct meaning *m, char *why, size_t size)
{
    bool bins = strncmp(m->kind, "bins", 4) == 0;
    char result[120];
    snprintf(result, sizeof result, "tensor<%ux%uxf32>, tensor<%ux%uxi32>", m->q, m->k, m->q, m->k);
    if (!has(text, why, size, "      -> (%s) {", result) ||
        !has(text, why, size, " : %s\n  }\n}\n", result))
        return false;
    if (bins && (m->n % m->bins || m->k > m->bins ||
                 !has(text, why, size, "dense<%u> : tensor<%ux%uxi32>", m->bins, m->q, m->bins) ||
                 !has(text, why, size, "-> tensor<%ux%ux%uxf32>\n", m->q, m->n / m->bins, m->bins)))
        return *why ? false
                    : say(why, size, "k %u, %u bins, %u rows do not go together", m->k, m->bins,
                          m->n);
    if (strcmp(m->kind, "bins") == 0 || strcmp(m->kind, "sort") == 0)
        return has(text, why, size, "[0:%u, 0:%u]", m->q, m->k);
    if (strstr(m->kind, "topk")) return has(text, why, size, "k = %u) :", m->k);
    if (strcmp(m->kind, "approx") != 0) return say(why, size, "kind %s is unknown", m->kind);
    return has(text, why, size, "recall_target = %.9e : f32", (double)m->recall) &&
           has(text, why, size, "reduction_input_size_override = %lld : i64", m->override_rows) &&
           has(text, why, size, "top_k = %u : i64}}", m->k) &&
           (m->override_rows < 0 || m->override_rows >= (long long)m->n ||
            say(why, size, "override %lld is below %u rows", m->override_rows, m->n));
}

bool meaning_read(const char *given, size_t length, struct meaning *m, char *why, size_t size)
{
    bool good = false;
    char *text = malloc(length + 1);
    memcpy(text, given, length);
    text[length] = '\0';
    *why = '\0';
    memset(m, 0, sizeof *m);
    if (!read_comment(text, m)) {
        say(why, size, "the first line is not the comment expected");
        goto out;
    }
    if (!check_brackets(text, why, size) || !check_names(text, why, size)) goto out;
    if (strcmp(m->kind, "append") == 0) {
        good = has(text, why, size,
                   "@main(%%db: tensor<%ux%ux%s>, %%new: tensor<%ux%ux%s>, %%at: tensor<i32>)\n    "
                   "  -> tensor<%ux%ux%s> {",
                   m->n, m->d, m->type, m->q, m->d, m->type, m->n, m->d, m->type);
        goto out;
    }
    char query[64];
    if (m->terms > 1)
        snprintf(query, sizeof query, "tensor<%ux%ux%ux%s>", m->terms, m->q, m->d, m->type);
    else
        snprintf(query, sizeof query, "tensor<%ux%ux%s>", m->q, m->d, m->type);
    good = has(text, why, size, "@main(%%q: %s, %%db: tensor<%ux%ux%s>, %%bias: tensor<%uxf32>)\n",
               query, m->n, m->d, m->type, m->n);
    /* f32 products of full precision have to be asked for. */
    if (good && strcmp(m->type, "f32") == 0)
        good = has(text, why, size, "precision = [HIGHEST, HIGHEST]");
    if (good && strcmp(m->kind, "scores") == 0)
        good = has(text, why, size, "      -> tensor<%ux%uxf32> {", m->q, m->n);
    else if (good)
        good = check_selection(text, m, why, size);
out:
    free(text);
    return good;
}

/* ---- running ------------------------------------------------------------------------------- */

static float from_bf16(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

/* Elements of a row as f32. */
static void read_row(const struct meaning *m, const void *rows, size_t row, float *to)
{
    if (strcmp(m->type, "f32") == 0) {
        memcpy(to, (const float *)rows + row * m->d, m->d * sizeof(float));
        return;
    }
    for (size_t i = 0; i < m->d; i++)
        to[i] = from_bf16(((const uint16_t *)rows)[row * m->d + i]);
}

static float dot(const float *a, const float *b, size_t n)
{
    float sums[16] = {0}, sum = 0;
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (size_t j = 0; j < 16; j++)
            sums[j] += a[i + j] * b[i + j];
    for (; i < n; i++)
        sum += a[i] * b[i];
    for (size_t j = 0; j < 16; j++)
        sum += sums[j];
    return sum;
}

static float *all_scores(const struct meaning *m, const void *queries, const void *rows,
                         const float *bias)
{
    float *scores = malloc((size_t)m->q * m->n * sizeof *scores);
    float *dense = malloc((size_t)m->terms * m->q * m->d * sizeof *dense),
          *row = malloc(m->d * sizeof *row);
    for (size_t i = 0; i < (size_t)m->terms * m->q; i++)
        read_row(m, queries, i, dense + i * m->d);
    for (size_t r = 0; r < m->n; r++) {
        read_row(m, rows, r, row);
        for (size_t q = 0; q < m->q; q++) {
            float sum = 0;
            for (size_t t = 0; t < m->terms; t++)
                sum += dot(dense + (t * m->q + q) * m->d, row, m->d);
            scores[q * m->n + r] = sum + bias[r];
        }
    }
    free(row);
    free(dense);
    return scores;
}

/* The k best of n in the order (value down, row up); bins keep one each. */
static void select_best(const float *values, const int32_t *rows, size_t n, size_t k, float *best,
                        int32_t *best_rows)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t row = rows ? rows[i] : (int32_t)i;
        if (count == k &&
            !(values[i] > best[k - 1] || (values[i] == best[k - 1] && row < best_rows[k - 1])))
            continue;
        size_t at = count < k ? count++ : k - 1;
        for (; at > 0 &&
               (best[at - 1] < values[i] || (best[at - 1] == values[i] && best_rows[at - 1] > row));
             at--) {
            best[at] = best[at - 1];
            best_rows[at] = best_rows[at - 1];
        }
        best[at] = values[i];
        best_rows[at] = row;
    }
}

/* XLA's approx_topk_shape.cc: how many outputs a row of n is reduced to. */
static size_t approx_bins(const struct meaning *m)
{
    size_t n = m->n, tile = 128, whole = m->override_rows >= 0 ? (size_t)m->override_rows : n;
    if (n <= tile) return n;
    if (m->k == 1) return tile;
    if (m->recall >= 1) return n;
    double least = (1.0 - m->k) / log((double)m->recall);
    size_t wanted = least < (double)tile ? tile : least > (double)n ? n : (size_t)least;
    size_t log2_reduction = 0, most = 0;
    while (whole / wanted >> (log2_reduction + 1))
        log2_reduction++;
    while (((size_t)1 << most) < n / tile)
        most++;
    if (log2_reduction > most) log2_reduction = most;
    if (log2_reduction == 0) return n;
    size_t tiles = (n + tile - 1) / tile;
    return ((tiles + ((size_t)1 << log2_reduction) - 1) >> log2_reduction) * tile;
}

static void select_by_bins(const struct meaning *m, const float *scores, size_t bins, float *values,
                           int32_t *rows)
{
    float *best = malloc(bins * sizeof *best);
    int32_t *winners = malloc(bins * sizeof *winners);
    for (size_t b = 0; b < bins; b++) {
        best[b] = scores[b];
        winners[b] = (int32_t)b;
        for (size_t r = b + bins; r < m->n; r += bins)
            if (scores[r] > best[b]) best[b] = scores[r], winners[b] = (int32_t)r;
    }
    select_best(best, winners, bins, m->k, values, rows);
    free(best);
    free(winners);
}

static void append(const struct meaning *m, const void *const *arguments, void *values)
{
    size_t row = m->d * (strcmp(m->type, "f32") == 0 ? 4u : 2u);
    int32_t at = *(const int32_t *)arguments[2], most = (int32_t)(m->n - m->q);
    if (at < 0) at = 0;
    if (at > most) at = most; /* as the operation clamps */
    memcpy(values, arguments[0], m->n * row);
    memcpy((char *)values + (size_t)at * row, arguments[1], m->q * row);
}

void meaning_run(const struct meaning *m, const void *const *arguments, void *values, int32_t *rows)
{
    if (strcmp(m->kind, "append") == 0) {
        append(m, arguments, values);
        return;
    }
    float *scores = all_scores(m, arguments[0], arguments[1], arguments[2]);
    for (size_t q = 0; q < m->q; q++) {
        const float *line = scores + q * m->n;
        float *to = (float *)values + q * m->k;
        if (strcmp(m->kind, "scores") == 0)
            memcpy((float *)values + q * m->n, line, m->n * sizeof *line);
        else if (strncmp(m->kind, "bins", 4) == 0)
            select_by_bins(m, line, m->bins, to, rows + q * m->k);
        else if (strcmp(m->kind, "approx") == 0 && approx_bins(m) < m->n)
            select_by_bins(m, line, approx_bins(m), to, rows + q * m->k);
        else
            select_best(line, NULL, m->n, m->k, to, rows + q * m->k);
    }
    free(scores);
}
