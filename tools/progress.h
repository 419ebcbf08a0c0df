/*
 * progress.h - a line on the terminal that says how far a long task is; nothing where standard
 * error is no terminal.
 */
#ifndef TOOLS_PROGRESS_H
#define TOOLS_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *verb; /* "reading" */
    int64_t began_ns;
    int64_t shown_ns;
    bool is_shown;
};

/** Begin a task. */
void progress_begin(struct progress *progress, const char *verb);

/** Show the state, at most five times a second. total 0 = unknown. */
void progress_update(struct progress *progress, uint64_t done, uint64_t total);

/** Remove the line. */
void progress_end(struct progress *progress);

/** A vindex_progress_fn over a struct progress: also asks whether Ctrl-C was pressed. */
int progress_library(void *progress, uint64_t done, uint64_t total);

#endif
