/*
 * search.c - vindex search: the nearest rows of queries from a file, or of indexed rows.
 *
 *     queries (--query FILE | --like ID | --name WORD) --batches--> vindex_search --> hits
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "feed.h"
#include "interrupt.h"
#include "library.h"
#include "names.h"

#define HITS_MOST ((size_t)1 << 24) /* of one call: 256 MiB; a larger k takes smaller batches */

static const struct flag flags[] = {
    {"query", 'q', "FILE", NULL, "queries, in any format that build reads"},
    {"like", 0, "ID", NULL, "take an indexed row as the query; may be repeated"},
    {"name", 0, "WORD", NULL,
     "take the row of this name as the query (needs --text); may be repeated"},
    {"k", 'k', "N", NULL, "hits a query (default 10)"},
    {"recall", 0, NULL, "search", NULL},
    {"strict", 0, NULL, NULL, "below recall 1: stay exact until the target is proven"},
    {"no-audit", 0, NULL, NULL, "never answer a query exactly only to learn from it"},
    {"threads", 0, NULL, "search", NULL},
    {"device", 0, NULL, "search", NULL},
    {"timeout-ms", 0, NULL, "search", NULL},
    {"batch", 0, "N", NULL, "queries a call (default 256)"},
    {"offset", 0, "N", NULL, "skip the first queries (default 0)"},
    {"limit", 0, "N", NULL, "answer at most so many queries (default: all)"},
    {"filter-ids", 0, "FILE", NULL, "only rows with these ids (ivecs, ibin, npy)"},
    {"text", 0, "FILE", NULL, "names of the rows, a line each (.gz too), printed instead of ids"},
    {"format", 0, "NAME", NULL, "format of the queries where neither content nor name tell it"},
    {"output", 'o', "FILE", NULL,
     "write the hits' ids (ivecs, ibin, npy int64) instead of printing"},
    {"json", 0, NULL, NULL, "print one JSON object a query"},
    {NULL, 0, NULL, NULL, NULL},
};

struct search {
    const char *path;
    vindex *index;
    vindex_searcher *searcher;
    vindex_stats stats;
    vindex_search_options options;
    vindex_filter filter;
    struct id_table filter_ids;
    struct names names;
    bool has_names, is_json;
    size_t k, n_batch;
    uint64_t n_done; /* queries answered */
    struct writer *writer;
    uint32_t written_type;
    vindex_hit *hits;
    int64_t *hit_ids;
    struct output *out;
};

static void search_deinit(struct search *search)
{
    writer_abort(search->writer);
    free(search->hits);
    free(search->hit_ids);
    names_deinit(&search->names);
    id_table_deinit(&search->filter_ids);
    vindex_searcher_close(search->searcher);
    vindex_close(search->index);
}

/* ---- options --------------------------------------------------------------------------------- */

static int compare_ids(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

    return (left > right) - (left < right);
}

/* The library wants them strictly ascending; a file may have them in any order, and twice. */
static vindex_status load_filter(const char *path, struct search *search, struct fault *fault)
{
    struct id_table *table = &search->filter_ids;
    uint64_t n = 0, n_given;
    vindex_status st = id_table_load(path, NULL, 0, table, fault);

    if (st != VINDEX_OK) return st;
    n_given = (uint64_t)table->n_rows * table->n_columns;
    if (n_given > 0) qsort(table->ids, n_given, sizeof *table->ids, compare_ids);
    for (uint64_t i = 0; i < n_given; i++) {
        if (i == 0 || table->ids[i] != table->ids[n - 1]) table->ids[n++] = table->ids[i];
    }
    search->filter = (vindex_filter){.kind = VINDEX_FILTER_IDS, .ids = table->ids, .n = n};
    search->options.filter = &search->filter;
    return VINDEX_OK;
}

static vindex_status parse_options(const struct arguments *arguments, struct search *search,
                                   struct fault *fault)
{
    const char *filter = arguments_text(arguments, "filter-ids");
    const char *text = arguments_text(arguments, "text");
    uint64_t k = 10, n_batch = 256, timeout_ms = 0;
    vindex_status st = library_search_options(arguments, &search->options, fault);

    if (st == VINDEX_OK) st = arguments_count(arguments, "k", 1, 1 << 24, &k, fault);
    if (st == VINDEX_OK) st = arguments_count(arguments, "batch", 1, 1 << 20, &n_batch, fault);
    if (st == VINDEX_OK) {
        st = arguments_count(arguments, "timeout-ms", 0, INT64_MAX / 1000000, &timeout_ms, fault);
    }
    if (st == VINDEX_OK && filter != NULL) st = load_filter(filter, search, fault);
    if (st == VINDEX_OK && text != NULL) st = names_load(text, &search->names, fault);
    search->has_names = text != NULL;
    search->is_json = arguments_has(arguments, "json");
    search->k = (size_t)k;
    search->n_batch = (size_t)n_batch;
    search->options.timeout_ns = (int64_t)timeout_ms * 1000000;
    return st;
}

static vindex_status open_output(const struct arguments *arguments, struct search *search,
                                 struct fault *fault)
{
    const char *path = arguments_text(arguments, "output");
    vindex_status st = VINDEX_OK;

    while (search->n_batch > 1 && search->n_batch > HITS_MOST / (search->k + 1))
        search->n_batch /= 2;
    search->hits = calloc(search->n_batch * (search->k + 1), sizeof *search->hits);
    search->hit_ids = calloc(search->n_batch * search->k, sizeof *search->hit_ids);
    if (search->hits == NULL || search->hit_ids == NULL) return fault_nomem(fault);
    if (path != NULL) {
        search->written_type = ROWS_INT64;
        st = writer_open(path, NULL, &search->written_type, (uint32_t)search->k, false,
                         &search->writer, fault);
    }
    return st;
}

/* ---- answers --------------------------------------------------------------------------------- */

static vindex_status print_line(const struct search *search, uint64_t query, size_t rank,
                                const vindex_hit *hit, struct fault *fault)
{
    const char *name = search->has_names ? names_of(&search->names, hit->id) : NULL;
    vindex_status st = output_print(search->out, fault, "%" PRIu64 " %zu ", query, rank);

    if (st != VINDEX_OK) return st;
    if (name == NULL) {
        return output_print(search->out, fault, "%" PRId64 " %.9g\n", hit->id, hit->score);
    }
    /* A name may have spaces: it comes last. */
    st = output_print(search->out, fault, "%.9g ", hit->score);
    if (st == VINDEX_OK) st = output_write(search->out, name, strlen(name), fault);
    return st == VINDEX_OK ? output_write(search->out, "\n", 1, fault) : st;
}

static vindex_status print_json_hit(const struct search *search, size_t rank, const vindex_hit *hit,
                                    struct fault *fault)
{
    const char *name = search->has_names ? names_of(&search->names, hit->id) : NULL;
    vindex_status st = output_print(search->out, fault, "%s{\"id\":%" PRId64 ",\"score\":%.9g",
                                    rank == 1 ? "" : ",", hit->id, hit->score);

    if (st == VINDEX_OK && name != NULL) {
        st = output_print(search->out, fault, ",\"text\":");
        if (st == VINDEX_OK) st = print_json_string(search->out, name, fault);
    }
    return st == VINDEX_OK ? output_print(search->out, fault, "}") : st;
}

static vindex_status print_hits(const struct search *search, uint64_t query, const vindex_hit *hits,
                                struct fault *fault)
{
    vindex_status st = VINDEX_OK;

    if (search->is_json)
        st = output_print(search->out, fault, "{\"query\":%" PRIu64 ",\"hits\":[", query);
    for (size_t i = 0; i < search->k && hits[i].id != VINDEX_ID_NONE && st == VINDEX_OK; i++) {
        st = search->is_json ? print_json_hit(search, i + 1, &hits[i], fault)
                             : print_line(search, query, i + 1, &hits[i], fault);
    }
    if (st == VINDEX_OK && search->is_json) st = output_print(search->out, fault, "]}\n");
    return st;
}

/* Missing hits are -1, as usual in .ivecs. */
static vindex_status write_hits(struct search *search, const vindex_hit *hits, size_t n_queries,
                                struct fault *fault)
{
    size_t n = n_queries * search->k, n_bad = 0;
    int32_t *narrow = (int32_t *)(void *)search->hit_ids;

    for (size_t i = 0; i < n; i++) {
        int64_t id = hits[i].id == VINDEX_ID_NONE ? -1 : hits[i].id;

        if (search->written_type == ROWS_INT64) {
            search->hit_ids[i] = id;
            continue;
        }
        if (rows_convert(ROWS_INT64, &id, 1, ROWS_INT32, &narrow[i], &n_bad, fault) != VINDEX_OK) {
            return fault_set(fault, VINDEX_INVALID,
                             "the id %" PRId64 " is beyond the int32 of this format; write .npy",
                             id);
        }
    }
    return writer_write(search->writer, n_queries, search->hit_ids, NULL, fault);
}

static vindex_status give_hits(struct search *search, const vindex_hit *hits, uint64_t first_query,
                               size_t n_queries, struct fault *fault)
{
    vindex_status st = VINDEX_OK;

    if (search->writer != NULL) return write_hits(search, hits, n_queries, fault);
    for (size_t i = 0; i < n_queries && st == VINDEX_OK; i++) {
        st = print_hits(search, first_query + i, hits + i * search->k, fault);
    }
    return st;
}

/* ---- queries from a file --------------------------------------------------------------------- */

static vindex_status skip_queries(struct feed *feed, uint64_t n, struct fault *fault)
{
    vindex_status st = VINDEX_OK;

    while (n > 0 && st == VINDEX_OK) {
        vindex_vectors rows = {0};
        const int64_t *ids = NULL;

        st = feed_read(feed, n < 65536 ? (size_t)n : 65536, &rows, &ids, fault);
        if (rows.n == 0) break;
        n -= rows.n;
    }
    return st;
}

static vindex_status search_feed(struct search *search, struct feed *feed, uint64_t offset,
                                 uint64_t limit, const char *path, struct fault *fault)
{
    vindex_status st = skip_queries(feed, offset, fault);

    while (st == VINDEX_OK && search->n_done < limit) {
        uint64_t n_left = limit - search->n_done;
        vindex_vectors queries = {0};
        const int64_t *ids = NULL;

        st = feed_read(feed, n_left < search->n_batch ? (size_t)n_left : search->n_batch, &queries,
                       &ids, fault);
        if (st != VINDEX_OK || queries.n == 0) break;
        st = library_check(
            vindex_search(search->searcher, &queries, search->k, &search->options, search->hits),
            path, fault);
        if (st == VINDEX_OK) {
            st = give_hits(search, search->hits, offset + search->n_done, queries.n, fault);
        }
        search->n_done += queries.n;
        if (interrupt_pending()) st = fault_set(fault, VINDEX_CANCELLED, "interrupted");
    }
    return st;
}

static vindex_status search_file(const struct arguments *arguments, struct search *search,
                                 const char *path, struct fault *fault)
{
    uint64_t offset = 0, limit = UINT64_MAX;
    struct feed *feed = NULL;
    vindex_status st = arguments_count(arguments, "offset", 0, UINT64_MAX, &offset, fault);

    if (st == VINDEX_OK) st = arguments_count(arguments, "limit", 1, UINT64_MAX, &limit, fault);
    if (st == VINDEX_OK) st = feed_open(path, arguments_text(arguments, "format"), &feed, fault);
    if (st == VINDEX_OK) {
        st = feed_check_dim(feed, path, search->stats.type, search->stats.dim, fault);
    }
    if (st == VINDEX_OK) st = feed_target(feed, search->stats.type, FEED_CHUNK_BYTES, 1, fault);
    if (st == VINDEX_OK) st = search_feed(search, feed, offset, limit, path, fault);
    feed_close(feed);
    return st;
}

/* ---- indexed rows as queries ----------------------------------------------------------------- */

/* The neighbours of a row: one more is asked for, since the nearest is the row itself. */
static vindex_status search_like(struct search *search, int64_t id, struct fault *fault)
{
    size_t row_bytes = vindex_row_bytes((vindex_type)search->stats.type, search->stats.dim);
    void *row = malloc(row_bytes);
    vindex_vectors query = {row, 1, 0, search->stats.type, 0};
    vindex_hit *hits = search->hits;
    size_t n = 0;
    vindex_status st = row != NULL ? VINDEX_OK : fault_nomem(fault);

    if (st == VINDEX_OK) {
        st = library_check(vindex_fetch(search->searcher, &id, 1, row, NULL), search->path, fault);
    }
    if (st == VINDEX_OK) {
        st = library_check(
            vindex_search(search->searcher, &query, search->k + 1, &search->options, hits),
            search->path, fault);
    }
    if (st == VINDEX_OK) {
        for (size_t i = 0; i <= search->k; i++) {
            if (hits[i].id != id) hits[n++] = hits[i];
        }
        st = give_hits(search, hits, search->n_done++, 1, fault);
    }
    free(row);
    return st;
}

static vindex_status parse_id(const char *text, int64_t *id, struct fault *fault)
{
    char *end = NULL;

    *id = strtoll(text, &end, 10);
    if (end == text || *end != 0) return fault_usage(fault, "--like %s: expected a row's id", text);
    return VINDEX_OK;
}

static vindex_status search_rows(const struct arguments *arguments, struct search *search,
                                 struct fault *fault)
{
    const char *value;
    vindex_status st = VINDEX_OK;

    for (size_t i = 0; st == VINDEX_OK && (value = arguments_value(arguments, "like", i)) != NULL;
         i++) {
        int64_t id = 0;

        st = parse_id(value, &id, fault);
        if (st == VINDEX_OK) st = search_like(search, id, fault);
    }
    for (size_t i = 0; st == VINDEX_OK && (value = arguments_value(arguments, "name", i)) != NULL;
         i++) {
        int64_t id = names_find(&search->names, value);

        if (id == VINDEX_ID_NONE) {
            return fault_set(fault, VINDEX_NOTFOUND, "no line of %s is \"%s\"",
                             arguments_text(arguments, "text"), value);
        }
        st = search_like(search, id, fault);
    }
    return st;
}

static vindex_status check_usage(const struct arguments *arguments, struct fault *fault)
{
    bool has_rows = arguments_has(arguments, "like") || arguments_has(arguments, "name");

    if (arguments_has(arguments, "query") == has_rows) {
        return fault_usage(fault,
                           "vindex search needs either --query FILE, or --like ID or --name WORD");
    }
    if (arguments_has(arguments, "name") && !arguments_has(arguments, "text")) {
        return fault_usage(fault, "--name needs --text FILE, which says which row has the name");
    }
    return VINDEX_OK;
}

static vindex_status search_index(const struct arguments *arguments, struct search *search,
                                  struct fault *fault)
{
    const char *queries = arguments_text(arguments, "query");
    vindex_status st = check_usage(arguments, fault);

    if (st == VINDEX_OK) st = parse_options(arguments, search, fault);
    if (st == VINDEX_OK) st = library_open(search->path, &search->index, &search->searcher, fault);
    if (st == VINDEX_OK) st = library_stat(search->index, search->path, &search->stats, fault);
    if (st == VINDEX_OK) st = open_output(arguments, search, fault);
    if (st != VINDEX_OK) return st;
    st = queries != NULL ? search_file(arguments, search, queries, fault)
                         : search_rows(arguments, search, fault);
    if (st == VINDEX_OK && search->writer != NULL) st = writer_commit(&search->writer, fault);
    return st;
}

static vindex_status run(const struct arguments *arguments, struct output *out, struct fault *fault)
{
    struct search search = {.path = arguments_operand(arguments, 0), .out = out};
    vindex_status st = search_index(arguments, &search, fault);

    search_deinit(&search);
    return st;
}

const struct command command_search = {
    .name = "search",
    .operands = "INDEX",
    .n_operands_least = 1,
    .n_operands_most = 1,
    .summary = "the nearest rows of queries",
    .more = "Prints \"query rank id score\" lines, best first; a smaller score is nearer. With "
            "--text they\n"
            "are \"query rank score name\". Fewer than k hits mean that no more rows match.",
    .flags = flags,
    .run = run,
};
