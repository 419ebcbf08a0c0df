/*
 * input.c - a file being read: plain or gzip, a path or "-"; see input.h.
 *
 *     file --fill_packed--> packed[] --inflate--> buffer[start, end) --> peek, read, line
 *     file ------------------fill_plain---------> buffer
 */
#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "../interrupt.h"

#define BUFFER_BYTES ((size_t)1 << 18) /* 256 KiB: a read call's cost is noise beside the copy */
#define POLL_MS 100 /* how long a signal or a stop may go unnoticed while a pipe is silent */
#define PACKED_BYTES ((size_t)1 << 16)

struct input {
    char *name;
    int file;
    bool is_standard;
    bool may_wait; /* a pipe or a terminal */
    atomic_bool is_stopped;
    bool has_size;
    uint64_t size_bytes;
    uint64_t offset; /* of buffer[start] in the content */
    size_t start, end;
    bool at_end; /* nothing follows buffer[end) */
    bool is_gzip;
    uint64_t n_lines;
    char *line;
    size_t line_capacity;
    z_stream stream;
    bool has_stream;
    bool in_member; /* between a gzip member's first and last byte */
    bool packed_at_end;
    size_t packed_start, packed_end;
    uint64_t packed_offset; /* of packed[packed_end] in the file */
    uint8_t packed[PACKED_BYTES];
    uint8_t buffer[BUFFER_BYTES];
};

void input_close(struct input *input)
{
    if (input == NULL) return;
    if (input->has_stream) inflateEnd(&input->stream);
    if (input->file >= 0 && !input->is_standard) close(input->file);
    free(input->line);
    free(input->name);
    free(input);
}

static vindex_status read_file(struct input *input, uint8_t *bytes, size_t n_bytes, size_t *n_got,
                               struct fault *fault)
{
    for (;;) {
        struct pollfd wanted = {.fd = input->file, .events = POLLIN};
        ssize_t n_read;

        if (interrupt_pending() || atomic_load(&input->is_stopped)) {
            return fault_set(fault, VINDEX_CANCELLED, "interrupted");
        }
        /* Without the poll a signal just before the read, or one of another thread, would wait. */
        if (input->may_wait && poll(&wanted, 1, POLL_MS) <= 0) continue;
        n_read = read(input->file, bytes, n_bytes);
        if (n_read >= 0) {
            *n_got = (size_t)n_read;
            return VINDEX_OK;
        }
        if (errno != EINTR) return fault_errno(fault, errno, "read", input->name);
    }
}

static vindex_status fill_packed(struct input *input, struct fault *fault)
{
    size_t n_got = 0;
    vindex_status st = read_file(input, input->packed, PACKED_BYTES, &n_got, fault);

    if (st != VINDEX_OK) return st;
    input->packed_start = 0;
    input->packed_end = n_got;
    input->packed_offset += n_got;
    input->packed_at_end = n_got == 0;
    return VINDEX_OK;
}

static uint64_t packed_place(const struct input *input)
{
    return input->packed_offset - (input->packed_end - input->packed_start);
}

static vindex_status damaged_gzip(struct input *input, const char *what, struct fault *fault)
{
    return fault_set(fault, VINDEX_INVALID, "%s: %s at byte %llu of the .gz; get the file again",
                     input->name, what, (unsigned long long)packed_place(input));
}

/* Members follow each other (gzip a b > c); zeros after the last are padding, as gzip(1) has it. */
static vindex_status begin_member(struct input *input, struct fault *fault)
{
    while (input->packed_start < input->packed_end && input->packed[input->packed_start] == 0) {
        input->packed_start++;
    }
    if (input->packed_start == input->packed_end) return VINDEX_OK;
    if (inflateReset(&input->stream) != Z_OK) {
        return fault_set(fault, VINDEX_INTERNAL, "inflateReset failed");
    }
    input->in_member = true;
    return VINDEX_OK;
}

static vindex_status inflate_some(struct input *input, struct fault *fault)
{
    z_stream *stream = &input->stream;
    int result;

    stream->next_in = input->packed + input->packed_start;
    stream->avail_in = (uInt)(input->packed_end - input->packed_start);
    stream->next_out = input->buffer + input->end;
    stream->avail_out = (uInt)(BUFFER_BYTES - input->end);
    result = inflate(stream, Z_NO_FLUSH);
    input->packed_start = input->packed_end - stream->avail_in;
    input->end = BUFFER_BYTES - stream->avail_out;
    if (result == Z_STREAM_END) {
        input->in_member = false;
        return VINDEX_OK;
    }
    if (result == Z_OK || result == Z_BUF_ERROR) return VINDEX_OK;
    if (result == Z_MEM_ERROR) return fault_nomem(fault);
    return damaged_gzip(input, stream->msg != NULL ? stream->msg : "damaged gzip data", fault);
}

static vindex_status fill_gzip(struct input *input, struct fault *fault)
{
    size_t before = input->end;
    vindex_status st = VINDEX_OK;

    while (st == VINDEX_OK && input->end == before && !input->at_end) {
        if (input->packed_start == input->packed_end) st = fill_packed(input, fault);
        if (st != VINDEX_OK) break;
        if (input->packed_at_end && input->in_member) {
            st = damaged_gzip(input, "the compressed data is cut off", fault);
        } else if (input->packed_at_end) {
            input->at_end = true;
        } else if (!input->in_member) {
            st = begin_member(input, fault);
        } else {
            st = inflate_some(input, fault);
        }
    }
    return st;
}

/* The bytes read so far are the packed ones: move them over. */
static vindex_status begin_gzip(struct input *input, struct fault *fault)
{
    memset(&input->stream, 0, sizeof input->stream);
    if (inflateInit2(&input->stream, 15 + 16) != Z_OK)
        return fault_nomem(fault); /* 16: gzip only */
    input->has_stream = true;
    input->is_gzip = true;
    input->has_size = false;
    memcpy(input->packed, input->buffer, input->end);
    input->packed_end = input->end;
    input->packed_offset = input->end;
    input->packed_at_end = false;
    input->end = 0;
    input->at_end = false;
    input->in_member = true;
    return VINDEX_OK;
}

static vindex_status fill_plain(struct input *input, size_t limit, struct fault *fault)
{
    size_t n_got = 0;
    vindex_status st =
        read_file(input, input->buffer + input->end, limit - input->end, &n_got, fault);

    if (st != VINDEX_OK) return st;
    input->end += n_got;
    input->at_end = n_got == 0;
    return VINDEX_OK;
}

/* Have at least n_bytes <= INPUT_PEEK_BYTES in the buffer, or all that is left. */
static vindex_status need(struct input *input, size_t n_bytes, struct fault *fault)
{
    vindex_status st = VINDEX_OK;

    if (input->end - input->start >= n_bytes) return VINDEX_OK;
    memmove(input->buffer, input->buffer + input->start, input->end - input->start);
    input->end -= input->start;
    input->start = 0;
    while (st == VINDEX_OK && input->end < n_bytes && !input->at_end) {
        st = input->is_gzip ? fill_gzip(input, fault) : fill_plain(input, BUFFER_BYTES, fault);
    }
    return st;
}

static vindex_status open_file(struct input *input, const char *path, struct fault *fault)
{
    struct stat facts;

    input->file = input->is_standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (input->file < 0) return fault_errno(fault, errno, "open", path);
    if (fstat(input->file, &facts) != 0) return fault_errno(fault, errno, "stat", path);
    if (S_ISDIR(facts.st_mode)) {
        return fault_set(fault, VINDEX_INVALID, "%s is a directory; give the name of a file", path);
    }
    input->may_wait = !S_ISREG(facts.st_mode);
    input->has_size =
        !input->may_wait && !input->is_standard; /* standard input may begin anywhere */
    input->size_bytes = input->has_size ? (uint64_t)facts.st_size : 0;
    return VINDEX_OK;
}

/* Only a little is read before the first bytes are known, since gzip data must fit packed[]. */
static vindex_status unpack_if_gzip(struct input *input, struct fault *fault)
{
    vindex_status st = VINDEX_OK;

    while (st == VINDEX_OK && input->end < 2 && !input->at_end) {
        st = fill_plain(input, PACKED_BYTES, fault);
    }
    if (st == VINDEX_OK && input->end >= 2 && input->buffer[0] == 0x1f &&
        input->buffer[1] == 0x8b) {
        st = begin_gzip(input, fault);
    }
    return st;
}

vindex_status input_open(const char *path, struct input **input, struct fault *fault)
{
    struct input *made = malloc(sizeof *made);
    vindex_status st = VINDEX_OK;

    *input = NULL;
    if (made == NULL) return fault_nomem(fault);
    memset(made, 0, offsetof(struct input, buffer));
    made->file = -1;
    made->is_standard = strcmp(path, "-") == 0;
    made->name = strdup(made->is_standard ? "standard input" : path);
    if (made->name == NULL) st = fault_nomem(fault);
    if (st == VINDEX_OK) st = open_file(made, path, fault);
    if (st == VINDEX_OK) st = unpack_if_gzip(made, fault);
    if (st == VINDEX_OK) {
        *input = made;
        made = NULL;
    }
    input_close(made);
    return st;
}

void input_stop(struct input *input)
{
    atomic_store(&input->is_stopped, true);
}

const char *input_name(const struct input *input)
{
    return input->name;
}

bool input_size(const struct input *input, uint64_t *size_bytes)
{
    *size_bytes = input->size_bytes;
    return input->has_size;
}

uint64_t input_offset(const struct input *input)
{
    return input->offset;
}

vindex_status input_peek(struct input *input, size_t n_bytes, const uint8_t **bytes, size_t *n_got,
                         struct fault *fault)
{
    vindex_status st = need(input, n_bytes, fault);

    if (st != VINDEX_OK) return st;
    *bytes = input->buffer + input->start;
    *n_got = input->end - input->start < n_bytes ? input->end - input->start : n_bytes;
    return VINDEX_OK;
}

vindex_status input_read(struct input *input, void *bytes, size_t n_bytes, size_t *n_got,
                         struct fault *fault)
{
    *n_got = 0;
    while (*n_got < n_bytes) {
        size_t n_wanted = n_bytes - *n_got;
        size_t n_have;
        vindex_status st = need(input, 1, fault);

        if (st != VINDEX_OK) return st;
        n_have = input->end - input->start;
        if (n_have == 0) break;
        if (n_have > n_wanted) n_have = n_wanted;
        memcpy((uint8_t *)bytes + *n_got, input->buffer + input->start, n_have);
        input->start += n_have;
        input->offset += n_have;
        *n_got += n_have;
    }
    return VINDEX_OK;
}

static vindex_status line_append(struct input *input, size_t at, size_t n_bytes,
                                 struct fault *fault)
{
    if (at + n_bytes > INPUT_LINE_BYTES_MAX) {
        return fault_set(
            fault, VINDEX_INVALID, "%s: line %llu is longer than %zu MiB; expected a row of text",
            input->name, (unsigned long long)input->n_lines + 1, INPUT_LINE_BYTES_MAX >> 20);
    }
    if (at + n_bytes + 1 > input->line_capacity) {
        size_t capacity = 2 * (at + n_bytes) + 256;
        char *grown = realloc(input->line, capacity);

        if (grown == NULL) return fault_nomem(fault);
        input->line = grown;
        input->line_capacity = capacity;
    }
    memcpy(input->line + at, input->buffer + input->start, n_bytes);
    input->start += n_bytes;
    input->offset += n_bytes;
    return VINDEX_OK;
}

vindex_status input_line(struct input *input, char **line, struct fault *fault)
{
    size_t length = 0;
    bool is_whole = false;

    *line = NULL;
    while (!is_whole) {
        const uint8_t *found;
        size_t n_bytes;
        vindex_status st = need(input, 1, fault);

        if (st != VINDEX_OK) return st;
        n_bytes = input->end - input->start;
        if (n_bytes == 0 && length == 0) return VINDEX_OK; /* the end */
        found = memchr(input->buffer + input->start, '\n', n_bytes);
        is_whole = found != NULL || n_bytes == 0;
        if (found != NULL) n_bytes = (size_t)(found - input->buffer) - input->start + 1;
        st = line_append(input, length, n_bytes, fault);
        if (st != VINDEX_OK) return st;
        length += n_bytes;
    }
    input->n_lines++;
    if (memchr(input->line, 0, length) != NULL) {
        return fault_set(fault, VINDEX_INVALID, "%s: line %llu has a zero byte; expected text",
                         input->name, (unsigned long long)input->n_lines);
    }
    if (length > 0 && input->line[length - 1] == '\n') length--;
    if (length > 0 && input->line[length - 1] == '\r') length--;
    input->line[length] = 0;
    *line = input->line;
    return VINDEX_OK;
}

uint64_t input_line_number(const struct input *input)
{
    return input->n_lines;
}
