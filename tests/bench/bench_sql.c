/*
 * bench_sql.c - what SQL adds to a query of the C API: the same rows in an index in memory and in a virtual table of a
 * database in memory, asked in turns on warm connections; and what the table's first question costs. One JSON line a
 * form: medians in microseconds, median and 10th percentile of the differences query by query, recall@k against plain
 * sums in double.
 *
 *     bench_sql [--rows N] [--dim D] [--k K] [--queries Q] [--rounds R]
 */
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "base/threads.h"
#include "vindex.h"

int sqlite3_vindex_init(sqlite3 *db, char **error, const void *api);

enum { N_FORMS = 3 };
static const char *const forms[N_FORMS] = {
    "SELECT rowid, score FROM docs WHERE v MATCH ?1 AND k = ?2",
    "SELECT rowid, score FROM docs WHERE query = ?1 ORDER BY score LIMIT ?2",
    "SELECT rowid, score FROM docs(?1, ?2)",
};

struct bench {
    size_t n_rows, dim, k, n_queries, n_rounds;
    float *rows, *queries;
    vindex *index;
    vindex_searcher *searcher;
    sqlite3 *db;
    vindex_hit *hits;
};

static void must(int ok, const char *what)
{
    if (ok) return;
    fprintf(stderr, "bench_sql: %s: %s\n", what, vindex_message());
    exit(1);
}

static float *make_rows(size_t n, size_t dim, uint64_t seed)
{
    struct rng rng;
    float *rows = malloc(n * dim * sizeof *rows);
    must(rows != NULL, "out of memory");
    vindex__rng_init(&rng, seed);
    for (size_t i = 0; i < n * dim; i++)
        rows[i] = (float)(vindex__rng_unit(&rng) + vindex__rng_unit(&rng) - 1);
    return rows;
}

static void build_index(struct bench *b)
{
    vindex_create_options options = VINDEX_CREATE_OPTIONS_INIT;
    vindex_writer *writer = NULL;
    vindex_vectors rows = {.data = b->rows, .n = b->n_rows, .type = VINDEX_FLOAT};
    options.dim = (uint32_t)b->dim;
    must(vindex_create(":memory:", &options, &b->index) == VINDEX_OK, "create");
    must(vindex_writer_begin(b->index, &writer) == VINDEX_OK, "begin");
    must(vindex_writer_insert(writer, NULL, &rows, 0) == VINDEX_OK, "insert");
    must(vindex_writer_commit(writer) == VINDEX_OK, "commit");
    must(vindex_searcher_open(b->index, &b->searcher) == VINDEX_OK, "searcher");
}

static void build_table(struct bench *b)
{
    sqlite3_stmt *insert = NULL;
    char *sql =
        sqlite3_mprintf("CREATE VIRTUAL TABLE docs USING vindex(v FLOAT[%d]); BEGIN", (int)b->dim);
    must(sqlite3_open(":memory:", &b->db) == SQLITE_OK, "open");
    must(sqlite3_exec(b->db, sql, NULL, NULL, NULL) == SQLITE_OK, sqlite3_errmsg(b->db));
    sqlite3_free(sql);
    sqlite3_prepare_v2(b->db, "INSERT INTO docs(rowid, v) VALUES(?, ?)", -1, &insert, NULL);
    for (size_t i = 0; i < b->n_rows; i++) {
        sqlite3_bind_int64(insert, 1, (sqlite3_int64)i);
        sqlite3_bind_blob(insert, 2, b->rows + i * b->dim, (int)(4 * b->dim), SQLITE_STATIC);
        must(sqlite3_step(insert) == SQLITE_DONE, sqlite3_errmsg(b->db));
        sqlite3_reset(insert);
    }
    sqlite3_finalize(insert);
    must(sqlite3_exec(b->db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK, sqlite3_errmsg(b->db));
}

/* ---- one query ------------------------------------------------------------------------------- */

static int64_t ask_c(struct bench *b, const float *query)
{
    vindex_vectors one = {.data = query, .n = 1, .type = VINDEX_FLOAT};
    vindex_search_options options = VINDEX_SEARCH_OPTIONS_INIT;
    options.recall = 1;
    int64_t start = vindex__now_ns();
    must(vindex_search(b->searcher, &one, b->k, &options, b->hits) == VINDEX_OK, "search");
    return vindex__now_ns() - start;
}

/* Bind, step through the rows, reset; the rows must be those that the C API has just given. */
static int64_t ask_sql(struct bench *b, sqlite3_stmt *statement, const float *query)
{
    size_t n = 0, n_same = 0;
    int64_t start = vindex__now_ns();
    sqlite3_bind_blob(statement, 1, query, (int)(4 * b->dim), SQLITE_STATIC);
    sqlite3_bind_int64(statement, 2, (sqlite3_int64)b->k);
    for (; sqlite3_step(statement) == SQLITE_ROW; n++)
        if (n < b->k && sqlite3_column_int64(statement, 0) == b->hits[n].id &&
            sqlite3_column_double(statement, 1) == (double)b->hits[n].score)
            n_same++;
    must(sqlite3_reset(statement) == SQLITE_OK, sqlite3_errmsg(b->db));
    int64_t elapsed_ns = vindex__now_ns() - start;
    must(n == b->k && n_same == b->k, "SQL gives other hits than the C API");
    return elapsed_ns;
}

static double distance2(const struct bench *b, size_t row, const float *query)
{
    double sum = 0;
    for (size_t i = 0; i < b->dim; i++) {
        double d = (double)b->rows[row * b->dim + i] - (double)query[i];
        sum += d * d;
    }
    return sum;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of the hits in b->hits, which are also SQL's: those not worse than the true k-th by more than 1e-6. */
static double recall_of(const struct bench *b, const float *query)
{
    double *all = malloc(b->n_rows * sizeof *all);
    size_t n_right = 0;
    must(all != NULL, "out of memory");
    for (size_t i = 0; i < b->n_rows; i++)
        all[i] = distance2(b, i, query);
    qsort(all, b->n_rows, sizeof *all, compare_doubles);
    for (size_t i = 0; i < b->k; i++)
        if (distance2(b, (size_t)b->hits[i].id, query) <= all[b->k - 1] * (1 + 1e-6)) n_right++;
    free(all);
    return (double)n_right / (double)b->k;
}

/* ---- the run --------------------------------------------------------------------------------- */

static double quantile(double *values, size_t n, double share)
{
    qsort(values, n, sizeof *values, compare_doubles);
    return values[(size_t)((double)(n - 1) * share)];
}

static void run_form(struct bench *b, const char *sql)
{
    size_t n = b->n_queries * b->n_rounds, n_checked = b->n_queries < 20 ? b->n_queries : 20;
    double *c = malloc(n * sizeof *c), *s = malloc(n * sizeof *s), *added = malloc(n * sizeof *s);
    double recall = 0;
    sqlite3_stmt *statement = NULL;
    must(c && s && added, "out of memory");
    must(sqlite3_prepare_v2(b->db, sql, -1, &statement, NULL) == SQLITE_OK, sqlite3_errmsg(b->db));
    ask_c(b, b->queries);
    int64_t first_ns = ask_sql(b, statement, b->queries);
    for (size_t i = 0; i < n; i++) {
        const float *query = b->queries + i % b->n_queries * b->dim;
        ask_c(b,
              query); /* each has rows of its own: a call before the timed one brings them near */
        c[i] = (double)ask_c(b, query) / 1000;
        ask_sql(b, statement, query);
        s[i] = (double)ask_sql(b, statement, query) / 1000;
        added[i] = s[i] - c[i];
        if (i < n_checked) recall += recall_of(b, query) / (double)n_checked;
    }
    printf("{\"bench\":\"sql\",\"form\":\"%s\",\"rows\":%zu,\"dim\":%zu,\"k\":%zu,\"queries\":%zu,"
           "\"c_us\":%.2f,\"sql_us\":%.2f,\"added_us\":%.2f,\"added_p10_us\":%.2f,\"first_us\":%."
           "0f,\"recall\":%.4f,"
           "\"isa\":\"%s\"}\n",
           sql, b->n_rows, b->dim, b->k, n, quantile(c, n, .5), quantile(s, n, .5),
           quantile(added, n, .5), quantile(added, n, .1), (double)first_ns / 1000, recall,
           vindex_isa());
    sqlite3_finalize(statement);
    free(c);
    free(s);
    free(added);
}

static void read_options(struct bench *b, int n, char **arguments)
{
    static const char *const names[] = {"--rows", "--dim", "--k", "--queries", "--rounds"};
    size_t *const values[] = {&b->n_rows, &b->dim, &b->k, &b->n_queries, &b->n_rounds};
    for (int i = 1; i < n; i++) {
        size_t j = 0;
        while (j < 5 && strcmp(arguments[i], names[j]) != 0)
            j++;
        if (j == 5 || i + 1 == n || strtoull(arguments[i + 1], NULL, 10) == 0) {
            fprintf(stderr, "usage: bench_sql [--rows N] [--dim D] [--k K] [--queries Q] "
                            "[--rounds R]\n");
            exit(2);
        }
        *values[j] = strtoull(arguments[++i], NULL, 10);
    }
    if (b->k > b->n_rows) b->k = b->n_rows;
}

int main(int n, char **arguments)
{
    struct bench b = {.n_rows = 10000, .dim = 128, .k = 10, .n_queries = 100, .n_rounds = 20};
    read_options(&b, n, arguments);
    sqlite3_auto_extension((void (*)(void))sqlite3_vindex_init);
    b.rows = make_rows(b.n_rows, b.dim, 1);
    b.queries = make_rows(b.n_queries, b.dim, 2);
    b.hits = malloc(b.k * sizeof *b.hits);
    must(b.hits != NULL, "out of memory");
    build_index(&b);
    build_table(&b);
    for (int f = 0; f < N_FORMS; f++)
        run_form(&b, forms[f]);
    vindex_searcher_close(b.searcher);
    vindex_close(b.index);
    sqlite3_close(b.db);
    free(b.rows);
    free(b.queries);
    free(b.hits);
    return 0;
}
