/*
 * names.h - names of rows: a text file, a line a row, plain or .gz, so that hits can be read.
 */
#ifndef TOOLS_NAMES_H
#define TOOLS_NAMES_H

#include <stddef.h>
#include <stdint.h>

#include "fault.h"

struct names {
    size_t n;
    char *text;      /* owned: the names, each terminated */
    size_t *offsets; /* owned: shape [n], into text */
};

vindex_status names_load(const char *path, struct names *names, struct fault *fault);
void names_deinit(struct names *names);

/** The name of a row, or NULL where the file has none. */
const char *names_of(const struct names *names, int64_t id);

/** The first row of this name; VINDEX_ID_NONE where there is none. */
int64_t names_find(const struct names *names, const char *name);

#endif
