/*
 * output.h - a file being written: whole at the end, or not there at all.
 *
 * A regular file is written under a temporary name in the same directory and renamed by commit;
 * what was there under its name stays until then. "-" is standard output; devices and pipes are
 * written as they are.
 */
#ifndef TOOLS_OUTPUT_H
#define TOOLS_OUTPUT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "fault.h"

struct output;

/** Begin. *output is NULL on failure. */
vindex_status output_open(const char *path, struct output **output, struct fault *fault);

/** Append bytes (buffered). */
vindex_status output_write(struct output *output, const void *bytes, size_t n_bytes,
                           struct fault *fault);

/** Append text, printf style. */
vindex_status output_print(struct output *output, struct fault *fault, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/** Hand what is buffered to the operating system: a long run's lines appear as they come. */
vindex_status output_flush(struct output *output, struct fault *fault);

/** Whether output_patch works: false for pipes, devices and standard output. */
bool output_can_patch(const struct output *output);

/** Overwrite the first bytes: a count that is known only at the end. */
vindex_status output_patch(struct output *output, const void *bytes, size_t n_bytes,
                           struct fault *fault);

/** The path as given, for messages. */
const char *output_name(const struct output *output);

/** Flush, make durable, give the file its name, free *output and set it to NULL. On failure nothing
 *  is left under either name but what was there before. */
vindex_status output_commit(struct output **output, struct fault *fault);

/** Throw away and free; NULL is accepted. */
void output_abort(struct output *output);

#endif
