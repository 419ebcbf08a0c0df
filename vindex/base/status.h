/*
 * status.h - the per-thread message behind a failing status, and the log.
 */
#ifndef VINDEX_BASE_STATUS_H
#define VINDEX_BASE_STATUS_H

#include "vindex.h"

/** Set this thread's message (printf style, one line, cut at 511 bytes) and return `status`. */
vindex_status vindex__fail(vindex_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/** VINDEX_CORRUPT with a message: the one place for a breakpoint. */
vindex_status vindex__corrupt(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** VINDEX_NOMEM with the standard message. */
vindex_status vindex__nomem(void);

/** From errno: ENOENT -> NOTFOUND, EEXIST -> EXISTS, ENOSPC/EDQUOT -> FULL, ENOMEM -> NOMEM,
 *  EROFS/EACCES/EPERM -> IO, others -> IO; the message has `what`, the path and strerror. */
vindex_status vindex__fail_errno(int error, const char *what, const char *path);

/** To the log function, if one is set. */
void vindex__log(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
