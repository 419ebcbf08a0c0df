/*
 * fault.h - why something failed: a status and one line for the person at the terminal.
 *
 * Every function of the command that can fail takes a `struct fault *` last and returns its status.
 * The line says what was given, what was expected and what to do. Exit codes come from the status.
 */
#ifndef TOOLS_FAULT_H
#define TOOLS_FAULT_H

#include <stdbool.h>

#include "vindex.h"

#define FAULT_TEXT_BYTES 1024

struct fault {
    vindex_status status;
    bool is_usage; /* the command line is wrong, and not what it names: exit code 2 */
    char text[FAULT_TEXT_BYTES];
};

/** Fill `fault` (printf style) and return `status`: the one place for a breakpoint. */
vindex_status fault_set(struct fault *fault, vindex_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/** VINDEX_INVALID for a wrong command line. */
vindex_status fault_usage(struct fault *fault, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/** VINDEX_NOMEM, with the standard text. */
vindex_status fault_nomem(struct fault *fault);

/** From errno, as in "cannot open base.fvecs: No such file or directory". */
vindex_status fault_errno(struct fault *fault, int error, const char *what, const char *path);

#endif
