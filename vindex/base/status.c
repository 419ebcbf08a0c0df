/*
 * status.c - statuses, their texts, the message of each thread, the log, the version.
 */
#include "base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MESSAGE_BYTES = 512 }; /* the closing zero included */

static _Thread_local char thread_message[MESSAGE_BYTES];
static vindex_log_fn *log_function;
static void *log_context;

const char *vindex_version(void)
{
    return VINDEX_VERSION;
}

const char *vindex_status_text(vindex_status status)
{
    switch (status) {
#define VINDEX_X(name, value, sqlite, exit_code, text)                                             \
    case VINDEX_##name: return text;
        VINDEX_STATUS_LIST(VINDEX_X)
#undef VINDEX_X
    }
    return "unknown status";
}

const char *vindex_message(void)
{
    return thread_message;
}

void vindex_set_log(vindex_log_fn *log, void *context)
{
    log_function = log;
    log_context = context;
}

/* A name given by the user may hold any byte, and a message is one line. */
static void format_line(char line[MESSAGE_BYTES], const char *format, va_list arguments)
{
    if (vsnprintf(line, MESSAGE_BYTES, format, arguments) < 0) line[0] = '\0';
    for (char *c = line; *c; c++)
        if (*c == '\n' || *c == '\r') *c = ' ';
}

/* Through a second buffer, since the old message may be among the arguments. */
static void set_message(const char *format, va_list arguments)
{
    char line[MESSAGE_BYTES];
    format_line(line, format, arguments);
    memcpy(thread_message, line, sizeof line);
}

vindex_status vindex__fail(vindex_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    set_message(format, arguments);
    va_end(arguments);
    return status;
}

vindex_status vindex__corrupt(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    set_message(format, arguments);
    va_end(arguments);
    return VINDEX_CORRUPT;
}

vindex_status vindex__nomem(void)
{
    return vindex__fail(VINDEX_NOMEM, "out of memory");
}

static vindex_status status_of_errno(int error)
{
    switch (error) {
    case ENOENT: return VINDEX_NOTFOUND;
    case EEXIST: return VINDEX_EXISTS;
    case ENOSPC:
    case EDQUOT: return VINDEX_FULL;
    case ENOMEM: return VINDEX_NOMEM;
    default: return VINDEX_IO;
    }
}

vindex_status vindex__fail_errno(int error, const char *what, const char *path)
{
    char buffer[128] = "";
    const char *reason = buffer;
#ifdef __GLIBC__
    reason = strerror_r(error, buffer, sizeof buffer); /* the GNU form, which returns the text */
#else
    if (strerror_r(error, buffer, sizeof buffer) != 0) reason = "unknown error";
#endif
    return vindex__fail(status_of_errno(error), "%s %s: %s", what, path, reason);
}

void vindex__log(const char *format, ...)
{
    char line[MESSAGE_BYTES];
    va_list arguments;

    if (!log_function) return;
    va_start(arguments, format);
    format_line(line, format, arguments);
    va_end(arguments);
    log_function(log_context, line);
}
