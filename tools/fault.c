/*
 * fault.c - why something failed: a status and one line. The library's own messages are taken over
 * by library.c, so that readers and writers need no library.
 */
#include "fault.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

vindex_status fault_set(struct fault *fault, vindex_status status, const char *format, ...)
{
    va_list arguments;

    fault->status = status;
    fault->is_usage = false;
    va_start(arguments, format);
    vsnprintf(fault->text, sizeof fault->text, format, arguments);
    va_end(arguments);
    return status;
}

vindex_status fault_usage(struct fault *fault, const char *format, ...)
{
    va_list arguments;

    fault->status = VINDEX_INVALID;
    fault->is_usage = true;
    va_start(arguments, format);
    vsnprintf(fault->text, sizeof fault->text, format, arguments);
    va_end(arguments);
    return VINDEX_INVALID;
}

vindex_status fault_nomem(struct fault *fault)
{
    return fault_set(fault, VINDEX_NOMEM, "out of memory");
}

static vindex_status status_of_errno(int error)
{
    switch (error) {
    case ENOENT:
    case ENOTDIR: return VINDEX_NOTFOUND;
    case EEXIST: return VINDEX_EXISTS;
    case ENOMEM: return VINDEX_NOMEM;
    case ENOSPC:
    case EDQUOT: return VINDEX_FULL;
    default: return VINDEX_IO;
    }
}

vindex_status fault_errno(struct fault *fault, int error, const char *what, const char *path)
{
    return fault_set(fault, status_of_errno(error), "cannot %s %s: %s", what, path,
                     strerror(error));
}
