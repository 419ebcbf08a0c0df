/*
 * input.h - a file being read: plain or gzip, a path or "-", bytes or lines, with bounded memory.
 *
 * Gzip is recognised by its first bytes and unpacked as it is read; offsets and sizes below are
 * those of the unpacked content.
 */
#ifndef TOOLS_READERS_INPUT_H
#define TOOLS_READERS_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../fault.h"

#define INPUT_PEEK_BYTES ((size_t)1 << 16)
#define INPUT_LINE_BYTES_MAX ((size_t)4 << 20) /* VINDEX_DIM_MAX values of 60 characters */

struct input;

/** Open a file, or standard input for "-". *input is NULL on failure. */
vindex_status input_open(const char *path, struct input **input, struct fault *fault);

/** Close; NULL is accepted. */
void input_close(struct input *input);

/** From another thread: a call that waits for a pipe ends with VINDEX_CANCELLED, soon. */
void input_stop(struct input *input);

/** The path as given, or "standard input". */
const char *input_name(const struct input *input);

/** Whether the content's size is known before it is read: only for a plain regular file. */
bool input_size(const struct input *input, uint64_t *size_bytes);

/** Content bytes consumed. */
uint64_t input_offset(const struct input *input);

/** Look at the next bytes (at most INPUT_PEEK_BYTES) without consuming them; *n_got < n_bytes only
 *  at the end. *bytes is valid until the next call. */
vindex_status input_peek(struct input *input, size_t n_bytes, const uint8_t **bytes, size_t *n_got,
                         struct fault *fault);

/** Consume n_bytes; *n_got < n_bytes only at the end. */
vindex_status input_read(struct input *input, void *bytes, size_t n_bytes, size_t *n_got,
                         struct fault *fault);

/** Consume a line. *line is NULL at the end; else its text without the line end, terminated, valid
 *  until the next call, and writable. A line with a zero byte is refused. */
vindex_status input_line(struct input *input, char **line, struct fault *fault);

/** The number of the line that input_line gave last, from 1. */
uint64_t input_line_number(const struct input *input);

#endif
