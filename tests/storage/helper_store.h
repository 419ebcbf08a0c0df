/*
 * helper_store.h - what the storage tests share: files in a directory of their own, a config, checks that
 * also work in a child process, framed records and blocks (FORMAT.md), child processes.
 */
#ifndef VINDEX_TESTS_STORAGE_HELPER_STORE_H
#define VINDEX_TESTS_STORAGE_HELPER_STORE_H

#include <sys/types.h>

#include "common/cmocka.h"

#include "storage/store.h"

/** Stop the process with the place and vindex_message(): works in children and threads too. */
#define CHECK(condition) check_here((condition), #condition, __FILE__, __LINE__)
#define CHECK_STATUS(expected, call)                                                               \
    check_status_here((expected), (call), #call, __FILE__, __LINE__)
#define CHECK_OK(call) CHECK_STATUS(VINDEX_OK, call)
void check_here(bool condition, const char *text, const char *file, int line);
void check_status_here(vindex_status expected, vindex_status status, const char *text,
                       const char *file, int line);

/** `name` in a temporary directory of this process, which goes away at exit. Valid until the 16th next call. */
const char *test_path(const char *name);
/** Remove an index file and its lock file. */
void test_remove(const char *path);

struct config test_config(void);
struct store *test_create(const char *path);
struct store *test_open(const char *path, bool readonly);
struct session test_session(struct store *store, bool write);

/** A record of the kind its table holds, framed and sealed, `size` >= 16 bytes, filled from `seed`. */
void test_record(enum catalog_table table, uint64_t seed, size_t size, unsigned char *out);
/** A sealed block of plane `full` with this key: 48 + 64 n bytes, filled from `seed`. */
struct bytes test_block(const struct block_key *key, uint32_t n, uint64_t seed, unsigned char *out);
/** A key made from a number. */
struct block_key test_block_key(uint64_t number);

/** Run `body` in a child and return its wait status. */
int test_child(void (*body)(void *context), void *context);
/** A child that runs `body` until it is killed; *ready_fd delivers a byte when it calls test_ready. */
pid_t test_child_start(void (*body)(void *context), void *context);
void test_ready(void);       /* in the child */
void test_wait_ready(void);  /* in the parent */
void test_kill(pid_t child); /* SIGKILL, and wait */

void test_copy_file(const char *from, const char *to);
/** Flip these bits of one byte of a file. */
void test_flip(const char *path, off_t at, unsigned char mask);

#endif
