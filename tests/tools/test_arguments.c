/*
 * test_arguments.c - the command line: forms of flags, values and their ranges, and the help made
 * from the tables.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tools/command.h"

static const struct flag flags[] = {
    {"input", 'i', "FILE", NULL, "read this"},
    {"k", 'k', "N", NULL, "hits"},
    {"memory", 0, "BYTES", NULL, "at most"},
    {"recall", 0, NULL, "search", NULL},
    {"batch", 0, "LIST", NULL, "sizes"},
    {"json", 'j', NULL, NULL, "as JSON"},
    {NULL, 0, NULL, NULL, NULL},
};

static const struct command command = {
    .name = "try", .operands = "INDEX", .n_operands_most = 2, .summary = "to test", .flags = flags};

#define WORDS_MOST 8

static vindex_status parse(const char *const words[], struct arguments **arguments,
                           struct fault *fault)
{
    char *copies[WORDS_MOST];
    int n = 0;

    for (; n < WORDS_MOST && words[n] != NULL; n++)
        copies[n] = (char *)(uintptr_t)words[n];
    return arguments_parse(&command, n, copies, arguments, fault);
}

static void test_forms_of_flags(void **state)
{
    static const char *const forms[][WORDS_MOST] = {
        {"--input", "a", "x"},  {"--input=a", "x"}, {"-i", "a", "x"},
        {"-ia", "x"},           {"x", "-i", "a"},   {"-i", "b", "-i", "a", "x"},
        {"-i", "a", "--", "x"}, {"-j", "-ia", "x"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        struct arguments *arguments = NULL;
        struct fault fault = {0};

        if (parse(forms[i], &arguments, &fault) != VINDEX_OK) fail_msg("%s", fault.text);
        assert_string_equal(arguments_text(arguments, "input"), "a");
        assert_string_equal(arguments_operand(arguments, 0), "x");
        assert_null(arguments_operand(arguments, 1));
        arguments_free(arguments);
    }
}

static void test_operands_that_look_like_flags(void **state)
{
    static const char *const words[] = {"-", "--", "--json", NULL};
    struct arguments *arguments = NULL;
    struct fault fault;

    (void)state;
    assert_int_equal(parse(words, &arguments, &fault), VINDEX_OK);
    assert_string_equal(arguments_operand(arguments, 0), "-");
    assert_string_equal(arguments_operand(arguments, 1), "--json");
    assert_false(arguments_has(arguments, "json"));
    arguments_free(arguments);
}

static void test_wrong_command_lines(void **state)
{
    static const char *const lines[][WORDS_MOST] = {
        {"--frobnicate"}, {"-z"},  {"--input"},     {"-i"},
        {"--json=1"},     {"-jx"}, {"a", "b", "c"}, {"--inp", "a"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct arguments *arguments = NULL;
        struct fault fault = {0};

        assert_int_equal(parse(lines[i], &arguments, &fault), VINDEX_INVALID);
        assert_true(fault.is_usage);
        assert_null(arguments);
    }
}

static void test_counts_and_bytes(void **state)
{
    static const struct {
        const char *flag, *text;
        int is_right;
        uint64_t value;
    } cases[] = {
        {"k", "1", 1, 1},
        {"k", "100", 1, 100},
        {"k", "0", 0, 0},
        {"k", "101", 0, 0},
        {"k", "-1", 0, 0},
        {"k", " 1", 0, 0},
        {"k", "1x", 0, 0},
        {"k", "", 0, 0},
        {"k", "99999999999999999999", 0, 0},
        {"memory", "500", 1, 500},
        {"memory", "64K", 1, 65536},
        {"memory", "2g", 1, (uint64_t)2 << 30},
        {"memory", "3M", 1, 3 << 20},
        {"memory", "0", 0, 0},
        {"memory", "1T", 0, 0},
        {"memory", "M", 0, 0},
        {"memory", "1MB", 0, 0},
        {"memory", "99999999999999G", 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int is_memory = strcmp(cases[i].flag, "memory") == 0;
        const char *words[] = {is_memory ? "--memory" : "--k", cases[i].text, NULL};
        struct arguments *arguments = NULL;
        struct fault fault = {0};
        uint64_t value = 7;
        vindex_status st = parse(words, &arguments, &fault);

        assert_int_equal(st, VINDEX_OK);
        st = is_memory ? arguments_bytes(arguments, "memory", &value, &fault)
                       : arguments_count(arguments, "k", 1, 100, &value, &fault);
        if ((st == VINDEX_OK) != cases[i].is_right) fail_msg("%s: %s", cases[i].text, fault.text);
        assert_int_equal(value, cases[i].is_right ? cases[i].value : 7);
        if (st != VINDEX_OK) assert_non_null(strstr(fault.text, cases[i].flag));
        arguments_free(arguments);
    }
}

static void test_lists(void **state)
{
    static const struct {
        const char *text;
        size_t n; /* 0: refused */
    } cases[] = {
        {"1", 1},      {"1,1000", 2},
        {"1,2,3,", 3}, {"", 0},
        {",", 0},      {"1,,2", 0},
        {"1,x", 0},    {"0", 0},
        {"1001", 0},   {"1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1", 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *words[] = {"--batch", cases[i].text, NULL};
        struct arguments *arguments = NULL;
        struct fault fault = {0};
        uint64_t values[ARGUMENTS_LIST_MOST];
        size_t n = 0;
        vindex_status st = parse(words, &arguments, &fault);

        assert_int_equal(st, VINDEX_OK);
        st = arguments_count_list(arguments, "batch", 1, 1000, values, &n, &fault);
        if ((st == VINDEX_OK) != (cases[i].n > 0))
            fail_msg("\"%s\": %s", cases[i].text, fault.text);
        if (st == VINDEX_OK) assert_int_equal(n, cases[i].n);
        arguments_free(arguments);
    }
}

static void test_recall_range(void **state)
{
    static const struct {
        const char *text;
        int is_right;
    } cases[] = {{"1", 1},    {"0.9", 1},  {"1e-3", 1}, {"0", 0},
                 {"1.01", 0}, {"-0.5", 0}, {"nan", 0},  {"high", 0}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *words[] = {"--recall", cases[i].text, NULL};
        struct arguments *arguments = NULL;
        struct fault fault = {0};
        float recall = 0;

        assert_int_equal(parse(words, &arguments, &fault), VINDEX_OK);
        assert_int_equal(arguments_recall(arguments, "recall", &recall, &fault) == VINDEX_OK,
                         cases[i].is_right);
        arguments_free(arguments);
    }
}

/* A flag that names a library option shows that option: none may be misspelt in a command's
 * table. */
static void test_flags_name_options_of_the_library(void **state)
{
    static const struct command *const commands[] = {
        &command_build,   &command_search, &command_eval,     &command_info, &command_check,
        &command_convert, &command_export, &command_optimize, &command_bench};
    size_t n = 0;
    const vindex_option *options = vindex_options(&n);

    (void)state;
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        for (const struct flag *flag = commands[i]->flags; flag->name != NULL; flag++) {
            int is_found = flag->library == NULL;

            for (size_t j = 0; j < n; j++) {
                is_found |= flag->library != NULL && strcmp(options[j].scope, flag->library) == 0 &&
                            strcmp(options[j].name, flag->name) == 0;
            }
            if (!is_found) fail_msg("%s --%s", commands[i]->name, flag->name);
            assert_true(flag->help != NULL || flag->library != NULL);
        }
    }
}

/* ... and every option of creation but the dimension, which the file has, is a flag of build. */
static void test_build_has_all_options(void **state)
{
    size_t n = 0;
    const vindex_option *options = vindex_options(&n);

    (void)state;
    for (size_t i = 0; i < n; i++) {
        int is_found =
            strcmp(options[i].scope, "create") != 0 || strcmp(options[i].name, "dim") == 0;

        for (const struct flag *flag = command_build.flags; flag->name != NULL; flag++) {
            is_found |= strcmp(flag->name, options[i].name) == 0;
        }
        if (!is_found) fail_msg("build lacks --%s", options[i].name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms_of_flags),
        cmocka_unit_test(test_operands_that_look_like_flags),
        cmocka_unit_test(test_wrong_command_lines),
        cmocka_unit_test(test_counts_and_bytes),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_recall_range),
        cmocka_unit_test(test_flags_name_options_of_the_library),
        cmocka_unit_test(test_build_has_all_options),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
