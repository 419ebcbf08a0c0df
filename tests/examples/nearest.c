/*
 * nearest.c - which of the sample's names is nearest to a given one? Reads tests/data, builds an
 * index in memory, asks, prints scores and names.
 *
 *     nearest [name [directory of sample.fvecs and sample.txt]]
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vindex.h>

enum { DIM = 512, MOST_ROWS = 256, NAME_BYTES = 64, K = 6 };

struct sample {
    size_t n;
    float rows[MOST_ROWS][DIM];
    char names[MOST_ROWS][NAME_BYTES];
};

static FILE *open_in(const char *directory, const char *name)
{
    char path[1024];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", directory, name);
    file = fopen(path, "rb");
    if (!file) fprintf(stderr, "nearest: cannot open %s\n", path);
    return file;
}

/* A row of .fvecs is its dimension (int32) and its floats. */
static bool read_rows(FILE *file, struct sample *sample)
{
    int32_t dim;

    for (sample->n = 0; sample->n < MOST_ROWS; sample->n++) {
        if (fread(&dim, sizeof dim, 1, file) != 1) break;
        if (dim != DIM || fread(sample->rows[sample->n], sizeof(float), DIM, file) != DIM)
            return false;
    }
    return sample->n > 0;
}

static bool read_names(FILE *file, struct sample *sample)
{
    for (size_t i = 0; i < sample->n; i++) {
        if (!fgets(sample->names[i], NAME_BYTES, file)) return false;
        sample->names[i][strcspn(sample->names[i], "\n")] = '\0';
    }
    return true;
}

static bool read_sample(const char *directory, struct sample *sample)
{
    FILE *rows = open_in(directory, "sample.fvecs");
    FILE *names = open_in(directory, "sample.txt");
    bool ok = rows && names && read_rows(rows, sample) && read_names(names, sample);

    if (rows) fclose(rows);
    if (names) fclose(names);
    return ok;
}

/* Ids are row numbers, since none are given. */
static vindex_status build(const struct sample *sample, vindex **index)
{
    vindex_create_options options = VINDEX_CREATE_OPTIONS_INIT;
    vindex_writer *writer = NULL;
    vindex_status st;

    options.dim = DIM;
    options.metric = VINDEX_COSINE;
    st = vindex_create(":memory:", &options, index);
    if (st != VINDEX_OK) goto out;
    st = vindex_writer_begin(*index, &writer);
    if (st != VINDEX_OK) goto out;
    st = vindex_writer_insert(writer, NULL, &VINDEX_F32_ROWS(sample->rows, sample->n), 0);
    if (st != VINDEX_OK) goto out;
    st = vindex_writer_commit(writer);
    if (st == VINDEX_OK) writer = NULL;
out:
    vindex_writer_abort(writer);
    return st;
}

static vindex_status ask(vindex *index, const struct sample *sample, size_t row)
{
    vindex_searcher *searcher = NULL;
    vindex_hit hits[K];
    vindex_status st = vindex_searcher_open(index, &searcher);

    if (st != VINDEX_OK) goto out;
    st = vindex_search(searcher, &VINDEX_F32_ROWS(sample->rows[row], 1), K, NULL, hits);
    if (st != VINDEX_OK) goto out;
    for (size_t i = 0; i < K && hits[i].id != VINDEX_ID_NONE; i++)
        printf("%.3f  %s\n", hits[i].score, sample->names[hits[i].id]);
out:
    vindex_searcher_close(searcher);
    return st;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "cat";
    struct sample *sample = calloc(1, sizeof *sample);
    vindex *index = NULL;
    vindex_status st;
    size_t row = 0;
    int exit_code = 1;

    if (!sample || !read_sample(argc > 2 ? argv[2] : "tests/data", sample)) goto out;
    while (row < sample->n && strcmp(sample->names[row], name) != 0)
        row++;
    if (row == sample->n) {
        fprintf(stderr, "nearest: %s is not among the %zu names of sample.txt\n", name, sample->n);
        goto out;
    }
    st = build(sample, &index);
    if (st == VINDEX_OK) st = ask(index, sample, row);
    if (st == VINDEX_OK)
        exit_code = 0;
    else
        fprintf(stderr, "nearest: %s (%s)\n", vindex_message(), vindex_status_text(st));
out:
    vindex_close(index);
    free(sample);
    return exit_code;
}
