/*
 * test_status.c - statuses keep their numbers and texts; messages are one line, cut, per thread.
 */
#include "common/cmocka.h"

#include "base/status.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

/* Released numbers, written out: an edit of the X-macro that moves one must fail here. */
static void numbers_are_pinned(void **state)
{
    static const struct {
        int status, value;
    } pinned[] = {
        {VINDEX_OK, 0},         {VINDEX_INVALID, 1},   {VINDEX_NOMEM, 2},
        {VINDEX_IO, 3},         {VINDEX_CORRUPT, 4},   {VINDEX_NOTINDEX, 5},
        {VINDEX_NOTFOUND, 6},   {VINDEX_EXISTS, 7},    {VINDEX_BUSY, 8},
        {VINDEX_FULL, 9},       {VINDEX_READONLY, 10}, {VINDEX_UNSUPPORTED, 11},
        {VINDEX_CANCELLED, 12}, {VINDEX_TIMEOUT, 13},  {VINDEX_MISUSE, 14},
        {VINDEX_INTERNAL, 15},
    };
    (void)state;

    for (size_t i = 0; i < sizeof pinned / sizeof *pinned; i++)
        assert_int_equal(pinned[i].status, pinned[i].value);
}

static void every_status_has_its_own_text(void **state)
{
    (void)state;
    for (int i = 0; i <= VINDEX_INTERNAL; i++) {
        assert_string_not_equal(vindex_status_text((vindex_status)i), "unknown status");
        for (int j = 0; j < i; j++)
            assert_string_not_equal(vindex_status_text((vindex_status)i),
                                    vindex_status_text((vindex_status)j));
    }
    assert_string_equal(vindex_status_text((vindex_status)16), "unknown status");
    assert_string_equal(vindex_status_text((vindex_status)-1), "unknown status");
}

static void version_is_its_parts(void **state)
{
    char parts[32];
    (void)state;

    snprintf(parts, sizeof parts, "%d.%d.%d", VINDEX_VERSION_MAJOR, VINDEX_VERSION_MINOR,
             VINDEX_VERSION_PATCH);
    assert_string_equal(vindex_version(), parts);
}

static void messages_are_one_line_and_cut(void **state)
{
    char path[1000];
    (void)state;

    assert_int_equal(vindex__fail(VINDEX_INVALID, "recall %g is outside (0, 1]", 1.5),
                     VINDEX_INVALID);
    assert_string_equal(vindex_message(), "recall 1.5 is outside (0, 1]");

    vindex__fail(VINDEX_IO, "cannot open %s", "a\nb\rc");
    assert_string_equal(vindex_message(), "cannot open a b c");

    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    vindex__fail(VINDEX_IO, "%s", path);
    assert_int_equal(strlen(vindex_message()), 511);

    vindex__fail(VINDEX_IO, "inner");
    assert_int_equal(vindex__corrupt("outer: %s", vindex_message()), VINDEX_CORRUPT);
    assert_string_equal(vindex_message(), "outer: inner");

    assert_int_equal(vindex__nomem(), VINDEX_NOMEM);
    assert_string_equal(vindex_message(), "out of memory");
}

static void errno_becomes_a_status(void **state)
{
    static const struct {
        int error;
        vindex_status status;
    } cases[] = {
        {ENOENT, VINDEX_NOTFOUND}, {EEXIST, VINDEX_EXISTS}, {ENOSPC, VINDEX_FULL},
        {EDQUOT, VINDEX_FULL},     {ENOMEM, VINDEX_NOMEM},  {EACCES, VINDEX_IO},
        {EROFS, VINDEX_IO},        {EPERM, VINDEX_IO},      {EIO, VINDEX_IO},
        {12345, VINDEX_IO},
    };
    (void)state;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(vindex__fail_errno(cases[i].error, "cannot open", "/a/b"),
                         cases[i].status);
        assert_ptr_equal(strstr(vindex_message(), "cannot open /a/b: "), vindex_message());
        assert_non_null(strstr(vindex_message(), strerror(cases[i].error)));
    }
}

static void *fail_elsewhere(void *seen)
{
    snprintf(seen, 64, "%s", vindex_message());
    vindex__fail(VINDEX_IO, "of the other thread");
    return NULL;
}

static void each_thread_has_its_own_message(void **state)
{
    char seen[64] = "unset";
    pthread_t thread;
    (void)state;

    vindex__fail(VINDEX_INVALID, "of this thread");
    assert_int_equal(pthread_create(&thread, NULL, fail_elsewhere, seen), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_string_equal(seen, "");
    assert_string_equal(vindex_message(), "of this thread");
}

static void keep_line(void *context, const char *message)
{
    snprintf(context, 64, "%s", message);
}

static void the_log_goes_where_it_is_sent(void **state)
{
    char line[64] = "nothing";
    (void)state;

    vindex__log("to nobody");
    vindex_set_log(keep_line, line);
    vindex__log("%d pages\nchecked", 3);
    assert_string_equal(line, "3 pages checked");
    vindex_set_log(NULL, NULL);
    vindex__log("to nobody");
    assert_string_equal(line, "3 pages checked");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_pinned),
        cmocka_unit_test(every_status_has_its_own_text),
        cmocka_unit_test(version_is_its_parts),
        cmocka_unit_test(messages_are_one_line_and_cut),
        cmocka_unit_test(errno_becomes_a_status),
        cmocka_unit_test(each_thread_has_its_own_message),
        cmocka_unit_test(the_log_goes_where_it_is_sent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
