/*
 * helper_files.c - files of one test; see helper_files.h.
 */
#include "helper_files.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

static char folder[512];

static char *next_path(void)
{
    static char paths[8][1024];
    static unsigned next;

    return paths[next++ % 8];
}

int files_setup(void **state)
{
    const char *base = getenv("TMPDIR");

    (void)state;
    snprintf(folder, sizeof folder, "%s/vindex-test-XXXXXX", base != NULL ? base : "/tmp");
    return mkdtemp(folder) == NULL;
}

int files_teardown(void **state)
{
    DIR *directory = opendir(folder);
    struct dirent *entry;

    (void)state;
    if (directory == NULL) return 1;
    while ((entry = readdir(directory)) != NULL) {
        if (entry->d_name[0] != '.') unlink(file_path(entry->d_name));
    }
    closedir(directory);
    return rmdir(folder);
}

const char *file_path(const char *name)
{
    char *path = next_path();

    snprintf(path, 1024, "%s/%s", folder, name);
    return path;
}

const char *file_write(const char *name, const void *bytes, size_t n_bytes)
{
    const char *path = file_path(name);
    FILE *file;

    unlink(path); /* some file systems write at once what replaces a file's contents: this is a new file */
    file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n_bytes, file), n_bytes);
    assert_int_equal(fclose(file), 0);
    return path;
}

const char *file_write_gzip(const char *name, const void *bytes, size_t n_bytes, size_t *n_packed)
{
    size_t capacity = compressBound(n_bytes) + 64;
    uint8_t *packed = malloc(capacity);
    z_stream stream = {0};
    const char *path;

    assert_non_null(packed);
    assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    stream.next_in = (Bytef *)(uintptr_t)bytes;
    stream.avail_in = (uInt)n_bytes;
    stream.next_out = packed;
    stream.avail_out = (uInt)capacity;
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    *n_packed = capacity - stream.avail_out;
    deflateEnd(&stream);
    path = file_write(name, packed, *n_packed);
    free(packed);
    return path;
}

uint8_t *file_read(const char *path, size_t *n_bytes)
{
    FILE *file = fopen(path, "rb");
    uint8_t *bytes;
    long size;

    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    size = ftell(file);
    assert_true(size >= 0);
    rewind(file);
    bytes = malloc((size_t)size + 1);
    assert_non_null(bytes);
    *n_bytes = fread(bytes, 1, (size_t)size, file);
    assert_int_equal(*n_bytes, size);
    bytes[size] = 0;
    fclose(file);
    return bytes;
}

int files_count(void)
{
    DIR *directory = opendir(folder);
    struct dirent *entry;
    int n = 0;

    assert_non_null(directory);
    while ((entry = readdir(directory)) != NULL)
        n += entry->d_name[0] != '.';
    closedir(directory);
    return n;
}

const char *file_real(const char *name)
{
    const char *base = getenv("VINDEX_TEST_DATA");
    char *path = next_path();

    if (base != NULL)
        snprintf(path, 1024, "%s/%s", base, name);
    else
        snprintf(path, 1024, "%s/../shared/data/%s", VINDEX_SOURCE_DIR, name);
    return access(path, R_OK) == 0 ? path : NULL;
}
