/*
 * helper_files.h - files of one test: a folder of its own, made and removed; bytes in and out.
 */
#ifndef TESTS_TOOLS_HELPER_FILES_H
#define TESTS_TOOLS_HELPER_FILES_H

#include <stddef.h>
#include <stdint.h>

/** Group setup and teardown of cmocka: the folder appears and goes with all that is in it. */
int files_setup(void **state);
int files_teardown(void **state);

/** The path of a file in the folder; valid until eight more calls. */
const char *file_path(const char *name);

/** Write a file in the folder and return its path. */
const char *file_write(const char *name, const void *bytes, size_t n_bytes);

/** The same, gzip-compressed; *n_packed receives the size. */
const char *file_write_gzip(const char *name, const void *bytes, size_t n_bytes, size_t *n_packed);

/** A whole file, malloc'ed and with a zero behind it. */
uint8_t *file_read(const char *path, size_t *n_bytes);

/** How many files the folder holds. */
int files_count(void);

/** The path of a real data file under VINDEX_TEST_DATA or ../shared/data beside the sources; NULL
 *  where there is none. Valid until eight more calls. */
const char *file_real(const char *name);

#endif
