/*
 * output.c - a file being written: whole at the end, or not there at all; see output.h.
 */
#include "output.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "interrupt.h"

#define BUFFER_BYTES ((size_t)1 << 18) /* one write call per 256 KiB: its cost is noise */

struct output {
    char *name;      /* as given */
    char *temporary; /* NULL where the target is written directly */
    int file;
    bool is_standard;
    size_t n_buffered;
    unsigned char buffer[BUFFER_BYTES];
};

static void output_free(struct output *output)
{
    if (output == NULL) return;
    if (output->file >= 0 && !output->is_standard) close(output->file);
    if (output->temporary != NULL) {
        unlink(output->temporary);
        free(output->temporary);
    }
    free(output->name);
    free(output);
}

/* mkstemp makes 0600; the file should have the rights any new file of this user gets. */
static void set_usual_mode(int file)
{
    mode_t mask = umask(0);

    umask(mask);
    (void)fchmod(file, 0666 & ~mask);
}

static vindex_status open_target(struct output *output, struct fault *fault)
{
    struct stat facts;
    bool exists = stat(output->name, &facts) == 0;
    size_t n_bytes = strlen(output->name) + sizeof ".XXXXXX";

    if (exists && S_ISDIR(facts.st_mode)) {
        return fault_set(fault, VINDEX_INVALID, "%s is a directory; give the name of a file",
                         output->name);
    }
    if (exists && !S_ISREG(facts.st_mode)) {
        output->file = open(output->name, O_WRONLY | O_CLOEXEC);
        if (output->file < 0) return fault_errno(fault, errno, "write", output->name);
        return VINDEX_OK;
    }
    output->temporary = malloc(n_bytes);
    if (output->temporary == NULL) return fault_nomem(fault);
    snprintf(output->temporary, n_bytes, "%s.XXXXXX", output->name);
    output->file = mkostemp(output->temporary, O_CLOEXEC);
    if (output->file < 0) {
        int error = errno;

        free(output->temporary);
        output->temporary = NULL;
        return fault_errno(fault, error, "write", output->name);
    }
    set_usual_mode(output->file);
    return VINDEX_OK;
}

vindex_status output_open(const char *path, struct output **output, struct fault *fault)
{
    struct output *made = calloc(1, sizeof *made);
    vindex_status st = VINDEX_OK;

    *output = NULL;
    if (made == NULL) return fault_nomem(fault);
    made->file = -1;
    made->is_standard = strcmp(path, "-") == 0;
    made->name = strdup(made->is_standard ? "standard output" : path);
    if (made->name == NULL) {
        st = fault_nomem(fault);
    } else if (made->is_standard) {
        made->file = STDOUT_FILENO;
    } else {
        st = open_target(made, fault);
    }
    if (st == VINDEX_OK) {
        *output = made;
        made = NULL;
    }
    output_free(made);
    return st;
}

static vindex_status write_through(struct output *output, const unsigned char *bytes,
                                   size_t n_bytes, struct fault *fault)
{
    while (n_bytes > 0) {
        ssize_t n_written = write(output->file, bytes, n_bytes);

        if (n_written < 0 && errno == EINTR && !interrupt_pending()) continue;
        if (n_written < 0 && errno == EINTR) {
            return fault_set(fault, VINDEX_CANCELLED, "interrupted");
        }
        if (n_written < 0) return fault_errno(fault, errno, "write", output->name);
        bytes += n_written;
        n_bytes -= (size_t)n_written;
    }
    return VINDEX_OK;
}

vindex_status output_flush(struct output *output, struct fault *fault)
{
    vindex_status st = write_through(output, output->buffer, output->n_buffered, fault);

    output->n_buffered = 0;
    return st;
}

vindex_status output_write(struct output *output, const void *bytes, size_t n_bytes,
                           struct fault *fault)
{
    vindex_status st = VINDEX_OK;

    if (n_bytes == 0) return VINDEX_OK;
    if (n_bytes > BUFFER_BYTES - output->n_buffered) st = output_flush(output, fault);
    if (st != VINDEX_OK) return st;
    if (n_bytes > BUFFER_BYTES) return write_through(output, bytes, n_bytes, fault);
    memcpy(output->buffer + output->n_buffered, bytes, n_bytes);
    output->n_buffered += n_bytes;
    return VINDEX_OK;
}

vindex_status output_print(struct output *output, struct fault *fault, const char *format, ...)
{
    char line[512], *text = line;
    va_list arguments;
    int n_bytes;
    vindex_status st;

    va_start(arguments, format);
    n_bytes = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (n_bytes >= (int)sizeof line) { /* a long path */
        va_start(arguments, format);
        n_bytes = vasprintf(&text, format, arguments);
        va_end(arguments);
    }
    if (n_bytes < 0) return fault_nomem(fault);
    st = output_write(output, text, (size_t)n_bytes, fault);
    if (text != line) free(text);
    return st;
}

bool output_can_patch(const struct output *output)
{
    return output->temporary != NULL;
}

vindex_status output_patch(struct output *output, const void *bytes, size_t n_bytes,
                           struct fault *fault)
{
    vindex_status st = output_flush(output, fault);

    assert(output_can_patch(output));
    if (st != VINDEX_OK) return st;
    if (lseek(output->file, 0, SEEK_SET) < 0)
        return fault_errno(fault, errno, "seek", output->name);
    st = write_through(output, bytes, n_bytes, fault);
    if (st == VINDEX_OK && lseek(output->file, 0, SEEK_END) < 0) {
        st = fault_errno(fault, errno, "seek", output->name);
    }
    return st;
}

const char *output_name(const struct output *output)
{
    return output->name;
}

static vindex_status publish(struct output *output, struct fault *fault)
{
    int file = output->file;

    if (output->is_standard) return VINDEX_OK;
    if (output->temporary != NULL && fsync(file) != 0) {
        return fault_errno(fault, errno, "write", output->name);
    }
    output->file = -1;
    if (close(file) != 0) return fault_errno(fault, errno, "write", output->name);
    if (output->temporary == NULL) return VINDEX_OK;
    if (rename(output->temporary, output->name) != 0) {
        return fault_errno(fault, errno, "rename the finished file to", output->name);
    }
    free(output->temporary);
    output->temporary = NULL;
    return VINDEX_OK;
}

vindex_status output_commit(struct output **output, struct fault *fault)
{
    vindex_status st = output_flush(*output, fault);

    if (st == VINDEX_OK) st = publish(*output, fault);
    output_free(*output);
    *output = NULL;
    return st;
}

void output_abort(struct output *output)
{
    output_free(output);
}
