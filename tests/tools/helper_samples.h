/*
 * helper_samples.h - the same few rows in every format: written, their bytes, read back and compared.
 */
#ifndef TESTS_TOOLS_HELPER_SAMPLES_H
#define TESTS_TOOLS_HELPER_SAMPLES_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "helper_files.h"
#include "tools/readers/reader.h"

#define N_ROWS 5u
#define DIM 6u
#define N_SAMPLES 18u
#define BYTES(text) text, sizeof(text) - 1

struct content {
    struct reader_info info;
    size_t n_rows;
    uint8_t rows[4096];
    int64_t ids[64];
};

/** All rows, `step` at a time. Files that claim rows beyond the room are opened only. */
vindex_status read_all(const char *path, const char *format, size_t step, struct content *content,
                       struct fault *fault);
void assert_reads(const char *path, const char *format, struct content *content);
/** The status, and words of the message. */
void assert_refused(const char *path, const char *format, vindex_status status, const char *words);

/* Whole numbers that every type holds: N_ROWS rows of DIM, in each of these. */
struct sample {
    const char *format;
    const char *name;
    uint32_t type;      /* given to the writer */
    uint32_t read_type; /* answered by the reader */
    int always_refused; /* a cut at any byte is noticed */
};
extern const struct sample samples[N_SAMPLES];

/** The rows of the sample as values of a type. */
void sample_rows(uint32_t type, void *rows);
/** Writes the sample as a file and returns its path. */
const char *write_sample(const struct sample *sample);
/** The bytes of sample `at` as written, malloc'ed; written once, since a commit waits for the disk. */
uint8_t *sample_bytes(size_t at, size_t *n_bytes);
/** The first n_rows rows of the sample, exactly. */
void assert_is_sample(const struct sample *sample, const struct content *content, size_t n_rows);

#endif
