/*
 * trust.c - locks, token and verification behind trust.h.
 *
 * The locks are those of the open file description (fcntl F_OFD_SETLK): they go with the process that
 * dies, closing another descriptor of the file does not drop them as with POSIX locks, and LMDB's own
 * descriptors have none on the data file. A descriptor that may only read can take no exclusive lock: it
 * verifies without one, and again if a writer came meanwhile. What it saw intact at transaction t stays
 * so while LMDB alone goes on from there.
 */
#include "storage/trust.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/status.h"
#include "storage/pages.h"

#define BYTE_WRITER ((off_t)1 << 62)
#define BYTE_OPEN (((off_t)1 << 62) + 1)

enum { WAIT_MS_MAX = 20, TORN_META_TRIES = 20 };

/* ---- locks ------------------------------------------------------------------------------- */

/* 0, EAGAIN when somebody else's lock stands in the way, or another errno. */
static int lock_byte(int fd, off_t byte, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

    while (fcntl(fd, F_OFD_SETLK, &lock) != 0) {
        if (errno == EACCES) return EAGAIN;
        if (errno != EINTR) return errno;
    }
    return 0;
}

/* How somebody else holds the byte: F_WRLCK, F_RDLCK, or F_UNLCK for not at all. */
static int byte_holder(int fd, off_t byte, short *type)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

    if (fcntl(fd, F_OFD_GETLK, &lock) != 0) return errno;
    *type = lock.l_type;
    return 0;
}

static vindex_status fail_lock(int error, const char *path)
{
    return vindex__fail_errno(error, "locking", path);
}

static void sleep_ms(unsigned ms)
{
    struct timespec t = {0, (long)ms * 1000000};
    nanosleep(&t, NULL);
}

vindex_status vindex__trust_lock_writer(int fd, const char *path)
{
    int error = lock_byte(fd, BYTE_WRITER, F_WRLCK);
    if (error == EAGAIN) return vindex__fail(VINDEX_BUSY, "another process is writing to %s", path);
    return error ? fail_lock(error, path) : VINDEX_OK;
}

void vindex__trust_unlock_writer(int fd)
{
    lock_byte(fd, BYTE_WRITER, F_UNLCK);
}

bool vindex__trust_has_writer(int fd)
{
    short type = F_UNLCK;
    return byte_holder(fd, BYTE_WRITER, &type) == 0 && type != F_UNLCK;
}

/* ---- the clean token --------------------------------------------------------------------- */

enum { TOKEN_AT = 2048, TOKEN_BYTES = 52, TOKEN_SUSPECT = 1 };
static const char token_magic[8] = {'V', 'X', 'C', 'L', 'E', 'A', 'N', '1'};

static void token_encode(const struct stat *info, struct timespec time, uint32_t flags,
                         unsigned char out[TOKEN_BYTES])
{
    memcpy(out, token_magic, 8);
    store_le64(out + 8, (uint64_t)info->st_dev);
    store_le64(out + 16, (uint64_t)info->st_ino);
    store_le64(out + 24, (uint64_t)info->st_size);
    store_le64(out + 32, (uint64_t)time.tv_sec);
    store_le32(out + 40, (uint32_t)time.tv_nsec);
    store_le32(out + 44, flags);
    store_le32(out + 48, vindex__crc32c(0, out, 48));
}

/* Whether the file is as its token says; then *flags is what else it says. */
static bool token_matches(int fd, const struct stat *info, uint32_t *flags)
{
    unsigned char there[TOKEN_BYTES], expected[TOKEN_BYTES];

    if (pread(fd, there, sizeof there, TOKEN_AT) != TOKEN_BYTES) return false;
    *flags = load_le32(there + 44);
    if (*flags & ~(uint32_t)TOKEN_SUSPECT) return false;
    token_encode(info, info->st_mtim, *flags, expected);
    return memcmp(there, expected, sizeof there) == 0;
}

/* File systems round times: *time becomes what was kept. */
static bool token_write(int fd, uint32_t flags, struct timespec *time)
{
    struct timespec times[2] = {{0, UTIME_OMIT}, *time};
    unsigned char token[TOKEN_BYTES];
    struct stat info;

    if (fstat(fd, &info) != 0) return false;
    token_encode(&info, *time, flags, token);
    if (pwrite(fd, token, sizeof token, TOKEN_AT) != TOKEN_BYTES) return false;
    if (futimens(fd, times) != 0 || fstat(fd, &info) != 0) return false;
    *time = info.st_mtim;
    return true;
}

void vindex__trust_leave_token(int fd, bool is_suspect)
{
    uint32_t flags = is_suspect ? TOKEN_SUSPECT : 0, old_flags = 0;
    struct timespec now, kept;
    struct stat info;

    if (lock_byte(fd, BYTE_WRITER, F_WRLCK) != 0) return;
    if (fstat(fd, &info) == 0 && !(token_matches(fd, &info, &old_flags) && old_flags == flags)) {
        clock_gettime(CLOCK_REALTIME, &now);
        kept = now;
        if (token_write(fd, flags, &kept) &&
            (kept.tv_sec != now.tv_sec || kept.tv_nsec != now.tv_nsec))
            token_write(fd, flags, &kept);
    }
    lock_byte(fd, BYTE_WRITER, F_UNLCK);
}

/* ---- verification ------------------------------------------------------------------------ */

/* Metas being written by a live writer may be seen half old and half new. */
static vindex_status read_metas(const struct trust *t, bool may_be_torn, struct pages_meta metas[2])
{
    vindex_status st = vindex__pages_metas(t->fd, t->path, metas);
    for (int i = 0; may_be_torn && st == VINDEX_CORRUPT && i < TORN_META_TRIES; i++) {
        sleep_ms(1);
        st = vindex__pages_metas(t->fd, t->path, metas);
    }
    return st;
}

/* Closed cleanly, and long enough for all that LMDB has numbered? */
static bool is_clean(struct trust *t, const struct pages_meta *meta, const struct stat *info)
{
    uint32_t flags;

    if (!token_matches(t->fd, info, &flags)) return false;
    if ((uint64_t)info->st_size / meta->page_bytes < meta->last_page + 1) return false;
    t->is_suspect = (flags & TOKEN_SUSPECT) != 0;
    return true;
}

/* Trust the token or walk the pages. *txnid: of the snapshot that was looked at. */
static vindex_status inspect(struct trust *t, uint64_t *txnid)
{
    struct pages_report report = {.finding = NULL};
    struct pages_meta metas[2];
    struct stat info;
    vindex_status st;

    *txnid = 0;
    t->is_suspect = true;
    if (fstat(t->fd, &info) != 0) return vindex__fail_errno(errno, "reading", t->path);
    if (info.st_size == 0) return vindex__fail(VINDEX_NOTINDEX, "%s is empty", t->path);
    st = read_metas(t, false, metas);
    if (st != VINDEX_OK) return st;
    *txnid = metas[0].txnid;
    if (is_clean(t, &metas[0], &info)) return VINDEX_OK;
    vindex__log("%s was not closed cleanly, or was copied: checking its pages", t->path);
    return vindex__pages_walk(t->fd, &metas[0], &report);
}

/* Somebody holds the lock shared: the file was verified. */
static vindex_status join(struct trust *t, bool *is_in)
{
    struct pages_meta metas[2];
    struct stat info;
    vindex_status st;
    int error = lock_byte(t->fd, BYTE_OPEN, F_RDLCK);

    *is_in = error == 0;
    if (error == EAGAIN) return VINDEX_OK;
    if (error) return fail_lock(error, t->path);
    st = read_metas(t, true, metas);
    t->is_suspect = true;
    if (st == VINDEX_OK && fstat(t->fd, &info) == 0) is_clean(t, &metas[0], &info);
    if (st != VINDEX_OK) lock_byte(t->fd, BYTE_OPEN, F_UNLCK);
    return st;
}

/* Nobody holds the lock, and this descriptor cannot hold it alone. */
static vindex_status verify_unlocked(struct trust *t, bool *is_in)
{
    struct pages_meta metas[2];
    uint64_t txnid;
    short holder = F_UNLCK;
    int error;
    vindex_status st = inspect(t, &txnid);

    if (st == VINDEX_CORRUPT || st == VINDEX_NOTINDEX) {
        byte_holder(t->fd, BYTE_OPEN, &holder);
        if (holder != F_UNLCK) return VINDEX_OK; /* somebody came: his word counts */
        if (vindex__pages_metas(t->fd, t->path, metas) == VINDEX_OK && metas[0].txnid != txnid)
            return VINDEX_OK; /* and went: look again */
        return inspect(t, &txnid);
    }
    if (st != VINDEX_OK) return st;
    error = lock_byte(t->fd, BYTE_OPEN, F_RDLCK);
    *is_in = error == 0;
    return error && error != EAGAIN ? fail_lock(error, t->path) : VINDEX_OK;
}

vindex_status vindex__trust_enter(struct trust *t)
{
    uint64_t txnid;
    vindex_status st = VINDEX_OK;
    bool is_in = false;

    t->is_alone = false;
    for (unsigned wait_ms = 1; st == VINDEX_OK && !is_in; wait_ms += wait_ms < WAIT_MS_MAX) {
        short holder = F_UNLCK;
        int error = t->is_writable ? lock_byte(t->fd, BYTE_OPEN, F_WRLCK) : EAGAIN;
        if (error == 0) {
            t->is_alone = true;
            st = inspect(t, &txnid);
            if (st != VINDEX_OK) lock_byte(t->fd, BYTE_OPEN, F_UNLCK);
            return st;
        }
        if (error == EAGAIN) error = byte_holder(t->fd, BYTE_OPEN, &holder);
        if (error) return fail_lock(error, t->path);
        if (holder == F_RDLCK) st = join(t, &is_in);
        if (holder == F_UNLCK && !t->is_writable) st = verify_unlocked(t, &is_in);
        if (st == VINDEX_OK && !is_in) sleep_ms(wait_ms);
    }
    return st;
}

vindex_status vindex__trust_enter_new(struct trust *t)
{
    int error;

    t->is_suspect = false;
    t->is_alone = true;
    while ((error = lock_byte(t->fd, BYTE_OPEN, F_WRLCK)) == EAGAIN)
        sleep_ms(1); /* somebody looks at the empty file, and leaves it */
    return error ? fail_lock(error, t->path) : VINDEX_OK;
}

vindex_status vindex__trust_share(struct trust *t)
{
    int error = t->is_alone ? lock_byte(t->fd, BYTE_OPEN, F_RDLCK) : 0;
    t->is_alone = false;
    return error ? fail_lock(error, t->path) : VINDEX_OK;
}
