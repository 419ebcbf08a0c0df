/*
 * bench_topk.c - vindex bench topk: how near a selection comes to a plain maximum scan of the same rows.
 *
 * With --compare also the ways a program would write it without this library; the C++ library's are there in
 * build/bench/bench_topk, where a C++ compiler was found.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bench_topk_parts.h"

static void print_result(const struct settings *s, const struct result *r,
                         const vindex_topk_plan *plan, int64_t n_survivors)
{
    const char *format =
        s->is_json
            ? "{\"algo\":\"%s\",\"ns_per_row\":%.0f,\"floor_ns_per_row\":%.0f,\"ratio\":%.3f,"
              "\"recall\":%.6f,\"expected_recall\":%.6f,\"survivors\":%lld"
            : "%s: %.0f ns a row, floor %.0f, ratio %.3f, recall %.6f, expected %.6f, %lld "
              "survivors\n";

    printf(format, vindex_topk_algo_name((vindex_topk_algo)plan->algo), r->ns, r->floor_ns,
           r->ratio, r->recall, plan->expected_recall, (long long)n_survivors);
    if (s->is_json)
        printf(
            ",\"len\":%lld,\"k\":%lld,\"rows\":%lld,\"type\":\"%s\",\"order\":\"%s\",\"bins\":%lld,"
            "\"per_bin\":%u,\"isa\":\"%s\",\"threads\":%u",
            (long long)s->len, (long long)s->k, (long long)s->rows, vindex_topk_type_name(s->type),
            s->order, (long long)plan->bins, plan->per_bin, vindex_isa(), s->threads);
    for (size_t way = 0; s->is_compared && way < N_WAYS; way++) {
        if (!bench_topk_has_way(way)) continue;
        printf(s->is_json ? ",\"%s_ns\":%.0f,\"%s_speedup\":%.2f"
                          : "  %-12s %12.0f ns a row, %s x%.2f\n",
               bench_topk_way_name(way), r->ways_ns[way],
               s->is_json ? bench_topk_way_name(way) : "", r->ways_ns[way] / r->ns);
    }
    if (s->is_json) printf("}\n");
    fflush(stdout);
}

static void print_choices(const struct settings *s, const struct choices *c)
{
    printf(
        "{\"len\":%lld,\"k\":%lld,\"type\":\"%s\",\"order\":\"%s\",\"auto\":\"%s\",\"best\":\"%s\","
        "\"auto_over_best\":%.3f",
        (long long)s->len, (long long)s->k, vindex_topk_type_name(s->type), s->order,
        vindex_topk_algo_name(c->chosen), vindex_topk_algo_name(c->best),
        c->chosen_ns / c->best_ns);
    for (size_t i = 0; i < c->n; i++)
        printf(",\"%s_ns\":%.0f", vindex_topk_algo_name(c->algos[i]), c->ns[i]);
    printf("}\n");
}

/* ---- the command line --------------------------------------------------------------------------- */

static const char usage[] =
    "usage: vindex bench topk [--len N] [-k K] [--rows R] [--recall R] [--type "
    "f32|f16|bf16|f64|i32]\n"
    "    [--order random|ascending|descending|organ-pipe|ties|one-bin] [--algo NAME] [--bins B]\n"
    "    [--per-bin P] [--min] [--unsorted] [--threads N] [--seconds S] [--seed N] [--compare]\n"
    "    [--sweep PREFIX] [--choices] [--json]\n"
    "Time to select the K best of rows of random scores, beside a plain maximum scan of them: the\n"
    "floor. --compare adds a binary heap, quickselect and a full sort (bench_topk: the C++ "
    "library's\n"
    "too); --sweep writes PREFIX.tsv and PREFIX.svg, ratios to the floor for k = 1, 4, 16, ...\n"
    "--choices times every exact algorithm in turns and says what auto's costs over the best.\n";

static bool parse_whole(const char *text, int64_t least, int64_t most, int64_t *value)
{
    char *end;
    long long number;

    errno = 0;
    number = text ? strtoll(text, &end, 10) : 0;
    if (!text || errno || end == text || *end || number < least || number > most) return false;
    *value = number;
    return true;
}

static bool parse_real(const char *text, double most, double *value)
{
    char *end;
    const double number = text ? strtod(text, &end) : 0;

    if (!text || end == text || *end || !(number > 0 && number <= most)) return false;
    *value = number;
    return true;
}

static bool parse_name(const char *text, bool is_type, int *number)
{
    for (int i = 0; text && i < 16; i++) {
        const char *name = is_type ? vindex_topk_type_name((vindex_topk_type)i)
                                   : vindex_topk_algo_name((vindex_topk_algo)i);
        if (name && strcmp(name, text) == 0) {
            *number = i;
            return true;
        }
    }
    return false;
}

/* A flag with a value. */
static bool parse_value(struct settings *s, const char *flag, const char *value)
{
    int64_t whole;
    int number;

    if (strcmp(flag, "--len") == 0) return parse_whole(value, 1, INT32_MAX, &s->len);
    if (strcmp(flag, "-k") == 0 || strcmp(flag, "--k") == 0)
        return parse_whole(value, 1, INT32_MAX, &s->k);
    if (strcmp(flag, "--rows") == 0) return parse_whole(value, 1, INT32_MAX, &s->rows);
    if (strcmp(flag, "--bins") == 0) return parse_whole(value, 1, INT32_MAX, &s->bins);
    if (strcmp(flag, "--recall") == 0) return parse_real(value, 1, &s->recall);
    if (strcmp(flag, "--seconds") == 0) return parse_real(value, 3600, &s->seconds);
    if (strcmp(flag, "--order") == 0)
        return (s->order = value) != NULL && bench_topk_is_order(value);
    if (strcmp(flag, "--sweep") == 0) return (s->sweep = value) != NULL;
    if (strcmp(flag, "--per-bin") == 0) {
        if (!parse_whole(value, 1, INT32_MAX, &whole)) return false;
        s->per_bin = (unsigned)whole;
    } else if (strcmp(flag, "--threads") == 0) {
        if (!parse_whole(value, 1, 1024, &whole)) return false;
        s->threads = (unsigned)whole;
    } else if (strcmp(flag, "--seed") == 0) {
        if (!parse_whole(value, 0, INT64_MAX, &whole)) return false;
        s->seed = (uint64_t)whole;
    } else if (strcmp(flag, "--type") == 0) {
        if (!parse_name(value, true, &number)) return false;
        s->type = (vindex_topk_type)number;
    } else if (strcmp(flag, "--algo") == 0) {
        if (!parse_name(value, false, &number)) return false;
        s->algo = (vindex_topk_algo)number;
    } else {
        return false;
    }
    return true;
}

/* 0: run; 1: help was printed; 2: wrong. */
static int parse(int argc, char **argv, struct settings *s)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            s->is_json = true;
        else if (strcmp(argv[i], "--min") == 0)
            s->is_min = true;
        else if (strcmp(argv[i], "--unsorted") == 0)
            s->is_unsorted = true;
        else if (strcmp(argv[i], "--compare") == 0)
            s->is_compared = true;
        else if (strcmp(argv[i], "--choices") == 0)
            s->is_choice = true;
        else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(usage, stdout);
            return 1;
        } else if (i + 1 < argc && parse_value(s, argv[i], argv[i + 1]))
            i++;
        else {
            fprintf(stderr,
                    "vindex: bench topk: \"%s\" is not a flag, or its value is missing or not "
                    "one it takes\n%s",
                    argv[i], usage);
            return 2;
        }
    }
    if (s->k > s->len) s->k = s->len;
    return 0;
}

int bench_topk_main(int argc, char **argv)
{
    struct settings s = {.len = 131072,
                         .k = 100,
                         .rows = 1,
                         .recall = 1,
                         .seconds = .5,
                         .threads = 1,
                         .order = "random",
                         .seed = 1};
    struct result r;
    struct choices choices;
    vindex_topk_plan plan;
    int64_t n_survivors;
    vindex_status st;

    switch (parse(argc, argv, &s)) {
    case 1: return 0;
    case 2: return 2;
    default: break;
    }
    if (s.sweep) {
        st = bench_topk_sweep(&s);
    } else if (s.is_choice) {
        st = bench_topk_choices(&s, &choices);
        if (st == VINDEX_OK) print_choices(&s, &choices);
    } else {
        st = bench_topk_run(&s, &r, &plan, &n_survivors);
        if (st == VINDEX_OK) print_result(&s, &r, &plan, n_survivors);
    }
    if (st == VINDEX_OK) return 0;
    fprintf(stderr, "vindex: bench topk: %s\n",
            st == VINDEX_NOMEM ? vindex_status_text(st) : vindex_message());
    return 1;
}
