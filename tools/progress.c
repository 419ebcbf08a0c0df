/*
 * progress.c - a line on the terminal that says how far a long task is; see progress.h.
 */
#include "progress.h"

#include <stdio.h>
#include <unistd.h>

#include "interrupt.h"
#include "library.h"

#define INTERVAL_NS 200000000 /* five times a second can be read, and costs nothing */

void progress_begin(struct progress *progress, const char *verb)
{
    *progress = (struct progress){.verb = verb, .began_ns = clock_ns()};
    progress->shown_ns = progress->began_ns;
}

void progress_update(struct progress *progress, uint64_t done, uint64_t total)
{
    int64_t now_ns = clock_ns();
    double elapsed_s = (double)(now_ns - progress->began_ns) * 1e-9;

    if (now_ns - progress->shown_ns < INTERVAL_NS || !isatty(STDERR_FILENO)) return;
    progress->shown_ns = now_ns;
    progress->is_shown = true;
    fprintf(stderr, "\r%s: %llu", progress->verb, (unsigned long long)done);
    if (total != 0) fprintf(stderr, " of %llu", (unsigned long long)total);
    fprintf(stderr, " rows, %.0f rows/s\033[K", (double)done / elapsed_s);
    fflush(stderr);
}

void progress_end(struct progress *progress)
{
    if (progress->is_shown) fputs("\r\033[K", stderr);
    progress->is_shown = false;
}

int progress_library(void *progress, uint64_t done, uint64_t total)
{
    progress_update(progress, done, total);
    return interrupt_pending();
}
