/*
 * library.h - the library as the command uses it: messages taken over, indexes opened, searches
 * that Ctrl-C ends.
 */
#ifndef TOOLS_LIBRARY_H
#define TOOLS_LIBRARY_H

#include <stdbool.h>
#include <stdint.h>

#include "command.h"
#include "fault.h"

/** VINDEX_OK passes; else `fault` gets "what: the library's message" and the status is returned.
 *  Call it right after the library. */
vindex_status library_check(vindex_status status, const char *what, struct fault *fault);

/** Open an index for reading, with a searcher if `searcher` is not NULL. */
vindex_status library_open(const char *path, vindex **index, vindex_searcher **searcher,
                           struct fault *fault);

/** The facts of an index. */
vindex_status library_stat(vindex *index, const char *path, vindex_stats *stats,
                           struct fault *fault);

/** Options of a search that an interrupt ends: recall, threads, device, strict and no-audit from the flags
 *  of these names, where the command has them and they were given. */
vindex_status library_search_options(const struct arguments *arguments,
                                     vindex_search_options *options, struct fault *fault);

/** "exact", "proven" or "assumed"; "nothing", "rows" or "queries": of a report. */
const char *library_state_name(uint32_t state);
const char *library_basis_name(uint32_t basis);

/** "auto" or "flat". */
const char *library_layout_name(uint32_t layout);

/** Print warnings of the library to standard error from now on. */
void library_show_log(void);

/** Append a JSON string, quotes included. */
vindex_status print_json_string(struct output *out, const char *text, struct fault *fault);

/** Nanoseconds of the monotonic clock. */
int64_t clock_ns(void);

#endif
