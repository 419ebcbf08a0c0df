/*
 * test_slow_damage.c - 500 damaged copies of an index, and as many of one with a model, codes and audits, each
 * opened, checked, searched, written to and optimised in a process of its own: no process may die, and no answer
 * may be wrong.
 */
#include "common/cmocka.h"

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/model.h"

enum { PAGE = 4096, K = 5, N_QUERIES = 4, TRIALS = 125 };

/* What became of one damaged file. */
enum outcome { SOUND, REFUSED, WRONG, DIED, N_OUTCOMES };
static const char *const outcome_names[] = {"sound", "refused", "wrong", "died"};

struct original {
    struct model model;
    unsigned char *bytes;
    size_t size;
    unsigned char queries[N_QUERIES * MODEL_ROW_MAX];
    vindex_hit hits[N_QUERIES * K];
};

/* An exact answer is the same with and without codes, which may be lost. */
static void search(const struct original *o, vindex_searcher *searcher, float recall,
                   vindex_status *st, vindex_hit *hits)
{
    vindex_vectors queries = {o->queries, N_QUERIES, 0, o->model.type, 0};
    vindex_search_options options = VINDEX_SEARCH_OPTIONS_INIT;
    options.recall = recall;
    *st = vindex_search(searcher, &queries, K, &options, hits);
}

static void read_file(const char *path, unsigned char **bytes, size_t *size)
{
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    off_t end = lseek(fd, 0, SEEK_END);
    assert_true(end > 0);
    *size = (size_t)end;
    *bytes = malloc(*size);
    assert_non_null(*bytes);
    assert_int_equal(pread(fd, *bytes, *size, 0), (ssize_t)*size);
    close(fd);
}

static void write_file(const char *path, const unsigned char *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), (ssize_t)size);
    close(fd);
}

/* Transactions now and then remove every row: the original shall be of some size. */
static void insert_all(struct model *model, struct rng *rng, vindex_writer *writer)
{
    for (int i = 0; i < 40; i++)
        model_insert_fresh(model, rng, writer, 60);
}

/* Segments of several sizes, scattered ids, removed rows, a tail; or enough rows to be encoded. */
static void make_original(struct original *o, const char *path, bool has_codes, uint64_t seed)
{
    vindex *index = NULL;
    vindex_writer *writer = NULL;
    vindex_searcher *searcher = NULL;
    vindex_status st;
    struct rng rng;
    vindex__rng_init(&rng, seed);
    model_init(&o->model, VINDEX_FLOAT, VINDEX_L2, 16, 3000);
    vindex_create_options options = model_options(&o->model, 150);
    assert_int_equal(vindex_create(path, &options, &index), VINDEX_OK);
    for (int i = 0; i < 3; i++) { /* few commits: few free pages, where damage does no harm */
        assert_int_equal(vindex_writer_begin(index, &writer), VINDEX_OK);
        for (int j = 0; j < 150; j++)
            model_transaction(&o->model, vindex__rng_next(&rng), writer);
        insert_all(&o->model, &rng, writer);
        if (has_codes) insert_all(&o->model, &rng, writer);
        assert_int_equal(vindex_writer_commit(writer), VINDEX_OK);
    }
    if (has_codes) {
        vindex_stats stats = VINDEX_STATS_INIT;
        assert_int_equal(vindex_optimize(index, 0, NULL, NULL), VINDEX_OK);
        assert_int_equal(vindex_stat(index, &stats), VINDEX_OK);
        assert_true(stats.n_coded > 0);
    }
    for (size_t i = 0; i < N_QUERIES; i++)
        model_random_row(&o->model, &rng, o->queries + i * o->model.row_bytes);
    assert_int_equal(vindex_searcher_open(index, &searcher), VINDEX_OK);
    search(o, searcher, 1, &st, o->hits);
    assert_int_equal(st, VINDEX_OK);
    vindex_searcher_close(searcher);
    vindex_close(index);
    read_file(path, &o->bytes, &o->size);
}

static int is_refusal(vindex_status st)
{
    return st == VINDEX_CORRUPT || st == VINDEX_NOTINDEX || st == VINDEX_UNSUPPORTED ||
           st == VINDEX_IO;
}

/* Returns SOUND, REFUSED or WRONG; whatever it meets it goes on, as an application might. */
static enum outcome use(const struct original *o, const char *path)
{
    vindex *index = NULL;
    vindex_searcher *searcher = NULL;
    vindex_writer *writer = NULL;
    vindex_hit hits[N_QUERIES * K];
    enum outcome outcome = SOUND;
    vindex_status st = vindex_open(path, 0, &index);
    if (st != VINDEX_OK) return is_refusal(st) ? REFUSED : WRONG;

    st = vindex_check(index, NULL, NULL);
    if (st != VINDEX_OK) outcome = is_refusal(st) ? REFUSED : WRONG;
    if (vindex_searcher_open(index, &searcher) == VINDEX_OK) {
        search(o, searcher, 0.9f, &st, hits);
        if (st != VINDEX_OK && !is_refusal(st)) outcome = WRONG;
        search(o, searcher, 1, &st, hits);
        if (st == VINDEX_OK ? memcmp(hits, o->hits, sizeof hits) != 0 : !is_refusal(st))
            outcome = WRONG;
        vindex_searcher_close(searcher);
    }
    if (vindex_writer_begin(index, &writer) == VINDEX_OK) {
        unsigned char row[MODEL_ROW_MAX] = {0};
        vindex_vectors vectors = {row, 1, 0, o->model.type, 0};
        for (int64_t id = -20; id < 20; id++)
            if (vindex_writer_insert(writer, &id, &vectors, VINDEX_UPSERT) != VINDEX_OK) break;
        if (vindex_writer_commit(writer) != VINDEX_OK) vindex_writer_abort(writer);
    }
    vindex_optimize(index, VINDEX_OPTIMIZE_ALL, NULL, NULL);
    vindex_close(index);
    return outcome;
}

static enum outcome try_file(const struct original *o, const char *path, const unsigned char *bytes,
                             size_t size)
{
    int status = 0;
    model_unlink(path);
    write_file(path, bytes, size);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(60);
        _exit((int)use(o, path));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFEXITED(status)) return DIED;
    return WEXITSTATUS(status) < DIED ? (enum outcome)WEXITSTATUS(status) : DIED;
}

/* ---- kinds of damage --------------------------------------------------------------------------- */

typedef size_t damage_fn(const struct original *o, struct rng *rng, unsigned char *bytes);

static size_t cut_short(const struct original *o, struct rng *rng, unsigned char *bytes)
{
    (void)bytes;
    return vindex__rng_below(rng, o->size);
}

static size_t random_bytes(const struct original *o, struct rng *rng, unsigned char *bytes)
{
    for (int i = 0; i < 20; i++)
        bytes[vindex__rng_below(rng, o->size)] = (unsigned char)vindex__rng_next(rng);
    return o->size;
}

/* A few bits inside pages, away from their headers and pointers. */
static size_t values(const struct original *o, struct rng *rng, unsigned char *bytes)
{
    for (int i = 0; i < 4; i++) {
        size_t page = vindex__rng_below(rng, o->size / PAGE);
        bytes[page * PAGE + 512 + vindex__rng_below(rng, PAGE - 512)] ^=
            (unsigned char)(1u << vindex__rng_below(rng, 8));
    }
    return o->size;
}

/* Page headers, node pointers, the first nodes. */
static size_t page_heads(const struct original *o, struct rng *rng, unsigned char *bytes)
{
    for (int i = 0; i < 3; i++) {
        size_t page = vindex__rng_below(rng, o->size / PAGE);
        bytes[page * PAGE + vindex__rng_below(rng, 64)] = (unsigned char)vindex__rng_next(rng);
    }
    return o->size;
}

static void damaged_files_never_kill(bool has_codes)
{
    static const struct {
        const char *name;
        damage_fn *damage;
    } kinds[] = {{"truncated", cut_short},
                 {"random bytes", random_bytes},
                 {"value damage", values},
                 {"page damage", page_heads}};
    static struct original original;
    char path[256];
    uint64_t seed = test_seed();
    struct rng rng;
    size_t n_died = 0, n_wrong = 0, n_refused = 0;
    vindex__rng_init(&rng, seed);
    model_path(path, sizeof path, "damage");
    make_original(&original, path, has_codes, seed);
    unsigned char *bytes = malloc(original.size);
    assert_non_null(bytes);
    assert_int_equal(try_file(&original, path, original.bytes, original.size), SOUND);

    for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++) {
        size_t counts[N_OUTCOMES] = {0};
        for (int i = 0; i < TRIALS; i++) {
            memcpy(bytes, original.bytes, original.size);
            size_t size = kinds[kind].damage(&original, &rng, bytes);
            enum outcome outcome = try_file(&original, path, bytes, size);
            counts[outcome]++;
        }
        printf("%-13s", kinds[kind].name);
        for (int i = 0; i < N_OUTCOMES; i++)
            printf(" %s %zu", outcome_names[i], counts[i]);
        printf("\n");
        n_died += counts[DIED];
        n_wrong += counts[WRONG];
        n_refused += counts[REFUSED];
    }
    assert_int_equal(n_died, 0);
    assert_int_equal(n_wrong, 0);
    assert_true(n_refused > TRIALS);
    free(bytes);
    free(original.bytes);
    model_free(&original.model);
    model_unlink(path);
}

static void damaged_rows(void **state)
{
    (void)state;
    damaged_files_never_kill(false);
}

static void damaged_codes(void **state)
{
    (void)state;
    damaged_files_never_kill(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged_rows),
        cmocka_unit_test(damaged_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
