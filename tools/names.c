/*
 * names.c - names of rows; see names.h.
 */
#include "names.h"

#include <stdlib.h>
#include <string.h>

#include "readers/input.h"

struct capacity {
    size_t text, offsets;
};

static vindex_status append(struct names *names, size_t *n_text, struct capacity *capacity,
                            const char *line, struct fault *fault)
{
    size_t length = strlen(line) + 1;

    if (*n_text + length > capacity->text) {
        size_t wanted = 2 * (*n_text + length);
        char *grown = realloc(names->text, wanted);

        if (grown == NULL) return fault_nomem(fault);
        names->text = grown;
        capacity->text = wanted;
    }
    if (names->n == capacity->offsets) {
        size_t wanted = 2 * names->n + 64;
        size_t *grown = realloc(names->offsets, wanted * sizeof *grown);

        if (grown == NULL) return fault_nomem(fault);
        names->offsets = grown;
        capacity->offsets = wanted;
    }
    memcpy(names->text + *n_text, line, length);
    names->offsets[names->n++] = *n_text;
    *n_text += length;
    return VINDEX_OK;
}

vindex_status names_load(const char *path, struct names *names, struct fault *fault)
{
    struct input *input = NULL;
    struct capacity capacity = {0, 0};
    size_t n_text = 0;
    vindex_status st = input_open(path, &input, fault);

    memset(names, 0, sizeof *names);
    while (st == VINDEX_OK) {
        char *line = NULL;

        st = input_line(input, &line, fault);
        if (st != VINDEX_OK || line == NULL) break;
        st = append(names, &n_text, &capacity, line, fault);
    }
    input_close(input);
    return st;
}

void names_deinit(struct names *names)
{
    free(names->text);
    free(names->offsets);
    memset(names, 0, sizeof *names);
}

const char *names_of(const struct names *names, int64_t id)
{
    return id >= 0 && (uint64_t)id < names->n ? names->text + names->offsets[id] : NULL;
}

int64_t names_find(const struct names *names, const char *name)
{
    for (size_t i = 0; i < names->n; i++) {
        if (strcmp(names->text + names->offsets[i], name) == 0) return (int64_t)i;
    }
    return VINDEX_ID_NONE;
}
