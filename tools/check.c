/*
 * check.c - vindex check: walks an index and says what is wrong with it.
 */
#include <string.h>

#include "command.h"
#include "library.h"

static const struct flag flags[] = {
    {"quiet", 0, NULL, NULL, "print nothing; the exit code says it: 0 sound, 4 damaged"},
    {NULL, 0, NULL, NULL, NULL},
};

struct findings {
    struct output *out; /* NULL: quiet */
    struct fault fault; /* the first failure to print */
    uint64_t n;
};

static vindex_status print_line(struct output *out, const char *text, struct fault *fault)
{
    vindex_status st = output_write(out, text, strlen(text), fault);

    return st == VINDEX_OK ? output_write(out, "\n", 1, fault) : st;
}

static void take_finding(void *context, const char *finding)
{
    struct findings *findings = context;

    findings->n++;
    if (findings->out == NULL || findings->fault.status != VINDEX_OK) return;
    print_line(findings->out, finding, &findings->fault);
}

static vindex_status run(const struct arguments *arguments, struct output *out, struct fault *fault)
{
    const char *path = arguments_operand(arguments, 0);
    struct findings findings = {.out = arguments_has(arguments, "quiet") ? NULL : out};
    vindex *index = NULL;
    vindex_status st = library_open(path, &index, NULL, fault);

    if (st == VINDEX_OK) {
        st = library_check(vindex_check(index, take_finding, &findings), path, fault);
    }
    if (st == VINDEX_OK && findings.fault.status != VINDEX_OK) {
        *fault = findings.fault;
        st = fault->status;
    }
    if (st == VINDEX_OK && findings.out != NULL) {
        st = output_write(out, path, strlen(path), fault);
        if (st == VINDEX_OK) st = print_line(out, ": sound", fault);
    }
    vindex_close(index);
    return st;
}

const struct command command_check = {
    .name = "check",
    .operands = "INDEX",
    .n_operands_least = 1,
    .n_operands_most = 1,
    .summary = "walk an index and say what is wrong with it",
    .more = "Reads the whole file and changes nothing. Exit code 4 means damaged.",
    .flags = flags,
    .run = run,
};
