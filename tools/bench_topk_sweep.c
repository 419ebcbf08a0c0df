/*
 * bench_topk_sweep.c - vindex bench topk --sweep: ratios to the floor over k, as a table and a plot.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "bench_topk_parts.h"

enum { N_SWEPT = 6 };
static const vindex_topk_algo swept[N_SWEPT] = {VINDEX_TOPK_AUTO,      VINDEX_TOPK_GROUPMAX,
                                                VINDEX_TOPK_THRESHOLD, VINDEX_TOPK_QSELECT,
                                                VINDEX_TOPK_DEPTH,     VINDEX_TOPK_SORT};
static const char *const colours[N_SWEPT] = {"#000000", "#0072b2", "#009e73",
                                             "#d55e00", "#cc79a7", "#999999"};

/* Logarithmic axes: k from 1 to len, ratios from 1 to 100. */
static double plot_x(double k, double len)
{
    return 60 + 520 * log(k) / log(len);
}

static double plot_y(double ratio)
{
    return 360 - 320 * log10(ratio < .8 ? .8 : ratio > 100 ? 100 : ratio) / 2;
}

static void write_svg(FILE *svg, const struct settings *s, const int64_t *ks, size_t n_ks,
                      double ratios[][N_SWEPT])
{
    const double len = (double)s->len;

    fprintf(svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"720\" height=\"420\" "
            "font-family=\"sans-serif\" font-size=\"12\">\n"
            "<rect width=\"720\" height=\"420\" fill=\"white\"/>\n"
            "<text x=\"60\" y=\"20\">top-k of %lld %s, order %s: time over a maximum scan</text>\n",
            (long long)s->len, vindex_topk_type_name(s->type), s->order);
    for (int ratio = 1; ratio <= 100; ratio *= 10)
        fprintf(svg,
                "<line x1=\"60\" x2=\"580\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#ccc\"/>"
                "<text x=\"30\" y=\"%.1f\">%d</text>\n",
                plot_y(ratio), plot_y(ratio), plot_y(ratio) + 4, ratio);
    for (size_t i = 0; i < n_ks; i++)
        fprintf(svg, "<text x=\"%.1f\" y=\"380\">%lld</text>\n", plot_x((double)ks[i], len) - 8,
                (long long)ks[i]);
    fprintf(svg, "<text x=\"300\" y=\"405\">k</text>\n");
    for (size_t a = 0; a < N_SWEPT; a++) {
        fprintf(svg, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\" points=\"",
                colours[a]);
        for (size_t i = 0; i < n_ks; i++)
            if (ratios[i][a] > 0)
                fprintf(svg, "%.1f,%.1f ", plot_x((double)ks[i], len), plot_y(ratios[i][a]));
        fprintf(svg, "\"/>\n<text x=\"600\" y=\"%zu\" fill=\"%s\">%s</text>\n", 60 + 20 * a,
                colours[a], vindex_topk_algo_name(swept[a]));
    }
    fprintf(svg, "</svg>\n");
}

static vindex_status sweep_k(struct settings *s, FILE *table, double ratios[N_SWEPT])
{
    fprintf(table, "%lld", (long long)s->k);
    for (size_t a = 0; a < N_SWEPT; a++) {
        struct result r;
        vindex_topk_plan plan;
        int64_t n_survivors;
        vindex_status st;
        ratios[a] = 0;
        s->algo = swept[a];
        if (s->algo == VINDEX_TOPK_DEPTH && s->k > 512) { /* lists as long as the row: hopeless */
            fprintf(table, "\t-");
            continue;
        }
        st = bench_topk_run(s, &r, &plan, &n_survivors);
        if (st != VINDEX_OK) return st;
        ratios[a] = r.ratio;
        fprintf(table, "\t%.3f", r.ratio);
        if (s->algo == VINDEX_TOPK_AUTO)
            fprintf(table, "=%s", vindex_topk_algo_name((vindex_topk_algo)plan.algo));
    }
    fprintf(table, "\n");
    return VINDEX_OK;
}

vindex_status bench_topk_sweep(const struct settings *given)
{
    enum { KS_MOST = 24 };
    struct settings s = *given;
    int64_t ks[KS_MOST];
    double ratios[KS_MOST][N_SWEPT];
    size_t n_ks = 0;
    char name[1024];
    FILE *table, *svg = NULL;
    vindex_status st = VINDEX_OK;

    snprintf(name, sizeof name, "%s.tsv", s.sweep);
    table = fopen(name, "w");
    snprintf(name, sizeof name, "%s.svg", s.sweep);
    if (table) svg = fopen(name, "w");
    if (!svg) {
        fprintf(stderr, "vindex: %s: %s\n", name, strerror(errno));
        st = VINDEX_IO;
    } else {
        fprintf(table, "k");
        for (size_t a = 0; a < N_SWEPT; a++)
            fprintf(table, "\t%s", vindex_topk_algo_name(swept[a]));
        fprintf(table, "\n");
        for (int64_t k = 1; k <= s.len / 2 && n_ks < KS_MOST && st == VINDEX_OK; k *= 4) {
            s.k = ks[n_ks] = k;
            st = sweep_k(&s, table, ratios[n_ks]);
            n_ks++;
        }
        if (st == VINDEX_OK) write_svg(svg, &s, ks, n_ks, ratios);
    }
    if (table) fclose(table);
    if (svg) fclose(svg);
    return st;
}
