/*
 * helper_numbers.h - what the tests of index files share: numbers written under ids, blocks made from
 * numbers. Each call checks its own success.
 */
#ifndef VINDEX_TESTS_STORAGE_HELPER_NUMBERS_H
#define VINDEX_TESTS_STORAGE_HELPER_NUMBERS_H

#include "helper_store.h"

/** In a session: as part of its transaction, as its view shows it (0: not there). */
void test_put_number(struct session *s, uint64_t id, uint64_t number);
uint64_t test_get_number(struct session *s, uint64_t id);
/** In a transaction, in a view of their own. */
void test_write_number(struct store *store, uint64_t id, uint64_t number);
uint64_t test_read_number(struct store *store, uint64_t id);
/** A new index file whose id 1 has this number. */
void test_make_file(const char *path, uint64_t number);

/** The largest block there is, under test_block_key(number). */
vindex_status test_put_block(struct session *s, uint64_t number);
/** n of them, numbered from first, in a transaction of their own. */
void test_write_blocks(struct store *store, uint64_t first, uint64_t n);
uint64_t test_count_blocks(struct store *store);

struct state test_read_state(struct store *store);
/** Every page is where the file says it is. */
void test_check_sound(struct store *store);
/** A child ended well (the status of test_child, of waitpid). */
void test_expect_exit(int status);

#endif
