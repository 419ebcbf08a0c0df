/*
 * helper_numbers.c - an index file as the simplest database there is: a number under an id, and blocks by number.
 */
#include "helper_numbers.h"

#include <sys/wait.h>

void test_put_number(struct session *s, uint64_t id, uint64_t number)
{
    unsigned char key[8], record[24] = {3, 1};
    store_be64(key, id);
    store_le64(record + 16, number);
    CHECK_OK(
        catalog_put(s->catalog, TABLE_TAIL, bytes_of(key, 8), bytes_of(record, sizeof record)));
}

uint64_t test_get_number(struct session *s, uint64_t id)
{
    unsigned char key[8];
    struct catalog_entry entry;
    store_be64(key, id);
    CHECK_OK(catalog_get(s->catalog, TABLE_TAIL, bytes_of(key, 8), &entry));
    return entry.value.data ? load_le64((const char *)entry.value.data + 16) : 0;
}

void test_write_number(struct store *store, uint64_t id, uint64_t number)
{
    struct session s = test_session(store, true);
    test_put_number(&s, id, number);
    CHECK_OK(catalog_commit(s.catalog));
    vindex__session_close(store, &s);
}

uint64_t test_read_number(struct store *store, uint64_t id)
{
    struct session s = test_session(store, false);
    uint64_t stamp, number;
    CHECK_OK(catalog_refresh(s.catalog, &stamp));
    number = test_get_number(&s, id);
    vindex__session_close(store, &s);
    return number;
}

void test_make_file(const char *path, uint64_t number)
{
    struct store *store;
    test_remove(path);
    store = test_create(path);
    test_write_number(store, 1, number);
    vindex__store_close(store);
}

vindex_status test_put_block(struct session *s, uint64_t number)
{
    static unsigned char value[BLOCK_BYTES];
    struct block_key key = test_block_key(number);
    return blocks_put(s->blocks, &key, test_block(&key, 4095, number, value));
}

void test_write_blocks(struct store *store, uint64_t first, uint64_t n)
{
    struct session s = test_session(store, true);
    for (uint64_t i = first; i < first + n; i++)
        CHECK_OK(test_put_block(&s, i));
    CHECK_OK(catalog_commit(s.catalog));
    vindex__session_close(store, &s);
}

uint64_t test_count_blocks(struct store *store)
{
    struct session s = test_session(store, false);
    struct block_key at = {.plane = 0};
    uint64_t stamp, n = 0;
    bool found;

    CHECK_OK(catalog_refresh(s.catalog, &stamp));
    for (;; n++) {
        CHECK_OK(blocks_next(s.blocks, &at, &found));
        if (!found) break;
    }
    vindex__session_close(store, &s);
    return n;
}

struct state test_read_state(struct store *store)
{
    struct session s = test_session(store, false);
    struct catalog_entry entry;
    struct state state;
    uint64_t stamp;

    CHECK_OK(catalog_refresh(s.catalog, &stamp));
    CHECK_OK(catalog_get(s.catalog, TABLE_CONFIG, bytes_of("state", 5), &entry));
    CHECK_OK(vindex__state_decode(entry.value, &state));
    vindex__session_close(store, &s);
    return state;
}

void test_check_sound(struct store *store)
{
    CHECK_OK(vindex__store_check_pages(store, NULL, NULL));
}

void test_expect_exit(int status)
{
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        printf("child status %#x\n", (unsigned)status);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
