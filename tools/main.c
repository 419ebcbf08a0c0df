/*
 * main.c - the command `vindex`: chooses the subcommand, prints what went wrong, and ends with the
 * exit code 0 ok, 1 runtime, 2 usage, 3 bad input, 4 corrupt index.
 */
#include <stdio.h>
#include <string.h>

#include "bench_topk.h"
#include "command.h"
#include "interrupt.h"
#include "library.h"

#define EXIT_USAGE 2

static const struct command *const commands[] = {
    &command_build,   &command_search, &command_eval,     &command_info,  &command_check,
    &command_convert, &command_export, &command_optimize, &command_bench,
};
#define N_COMMANDS (sizeof commands / sizeof commands[0])

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strcmp(commands[i]->name, name) == 0) return commands[i];
    }
    return NULL;
}

static vindex_status print_overview(struct output *out, struct fault *fault)
{
    vindex_status st = output_print(out, fault,
                                    "vindex - an embedded vector-search index\n\n"
                                    "usage: vindex COMMAND [flags] ...\n\ncommands:\n");

    for (size_t i = 0; i < N_COMMANDS && st == VINDEX_OK; i++) {
        st = output_print(out, fault, "  %-10s%s\n", commands[i]->name, commands[i]->summary);
    }
    if (st != VINDEX_OK) return st;
    return output_print(out, fault,
                        "\n"
                        "vindex COMMAND --help   the flags of a command\n"
                        "vindex --version        version and instruction set\n\n"
                        "A first index, and a search in it:\n"
                        "  vindex build -i base.fvecs -o base.vdx --metric l2\n"
                        "  vindex search base.vdx -q queries.fvecs -k 10 --recall 0.95\n");
}

static vindex_status run_command(const struct command *command, int n_words, char **words,
                                 struct output *out, struct fault *fault)
{
    struct arguments *arguments = NULL;
    vindex_status st = arguments_parse(command, n_words, words, &arguments, fault);

    if (st != VINDEX_OK) return st;
    if (arguments_want_help(arguments))
        st = command_help(command, out, fault);
    else
        st = command->run(arguments, out, fault);
    arguments_free(arguments);
    return st;
}

static vindex_status run_words(int n_words, char **words, struct output *out, struct fault *fault)
{
    const struct command *command;
    const char *first = n_words > 0 ? words[0] : "";

    if (n_words == 0) return fault_usage(fault, "no command was given; see vindex --help");
    if (strcmp(first, "--version") == 0 || strcmp(first, "-V") == 0) {
        return output_print(out, fault, "vindex %s (%s)\n", vindex_version(), vindex_isa());
    }
    if (strcmp(first, "--help") == 0 || strcmp(first, "-h") == 0 || strcmp(first, "help") == 0) {
        command = n_words > 1 ? find_command(words[1]) : NULL;
        if (command != NULL) return command_help(command, out, fault);
        if (n_words == 1) return print_overview(out, fault);
        first = words[1];
    }
    command = find_command(first);
    if (command == NULL) {
        return fault_usage(fault, "\"%s\" is no command; see vindex --help", first);
    }
    return run_command(command, n_words - 1, words + 1, out, fault);
}

static int exit_code(const struct fault *fault)
{
    if (fault->is_usage) return EXIT_USAGE;
    switch (fault->status) {
#define VINDEX_X(name, value, sqlite, exit_code, text)                                             \
    case VINDEX_##name: return exit_code;
        VINDEX_STATUS_LIST(VINDEX_X)
#undef VINDEX_X
    }
    return 1;
}

int main(int n_words, char **words)
{
    struct fault fault = {VINDEX_OK, false, ""};
    struct output *out = NULL;
    vindex_status st;

    /* Its flags are its own: it works on rows of scores, not on an index. */
    if (n_words >= 3 && strcmp(words[1], "bench") == 0 && strcmp(words[2], "topk") == 0)
        return bench_topk_main(n_words - 2, words + 2);

    interrupt_install();
    library_show_log();
    st = output_open("-", &out, &fault);
    if (st == VINDEX_OK) st = run_words(n_words - 1, words + 1, out, &fault);
    if (st == VINDEX_OK) {
        st = output_commit(&out, &fault);
    } else if (out != NULL) {
        struct fault ignored; /* the first failure is the one to report; what was printed stays */

        output_commit(&out, &ignored);
    }
    if (st != VINDEX_OK) fprintf(stderr, "vindex: %s\n", fault.text);
    interrupt_finish();
    return st == VINDEX_OK ? 0 : exit_code(&fault);
}
