/*
 * trust.h - may LMDB map this file? The locks between processes, the clean token, and the walk where there
 * is no token (FORMAT.md 1).
 *
 * The open lock has one invariant: who holds it shared has had the file verified, or came while somebody
 * held it so. Whoever can be alone (exclusive) verifies, and only then shares.
 */
#ifndef VINDEX_STORAGE_TRUST_H
#define VINDEX_STORAGE_TRUST_H

#include <stdbool.h>

#include "vindex.h"

struct trust {
    int fd;           /* in: of an open regular file; the locks belong to it */
    const char *path; /* in: for messages */
    bool is_writable; /* in: the descriptor */
    bool is_alone;    /* out: held exclusively, until vindex__trust_share */
    bool is_suspect;  /* out: block checksums are to be verified at first touch */
};

/** Take the open lock, having verified the file if nobody had. Waits while somebody else verifies. */
vindex_status vindex__trust_enter(struct trust *trust);
/** The same for a file just created: alone, nothing to verify. */
vindex_status vindex__trust_enter_new(struct trust *trust);
/** Let others in. */
vindex_status vindex__trust_share(struct trust *trust);

/** The writer lock: at once, or VINDEX_BUSY. */
vindex_status vindex__trust_lock_writer(int fd, const char *path);
void vindex__trust_unlock_writer(int fd);
/** Whether somebody else holds it. */
bool vindex__trust_has_writer(int fd);

/** Write the clean token, unless a valid one is there or a writer lives. A failure costs a later walk. */
void vindex__trust_leave_token(int fd, bool is_suspect);

#endif
