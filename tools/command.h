/*
 * command.h - a subcommand: its flags, from which --help is made, and its function.
 *
 * A flag that is an option of the library has its range, default and help from vindex_options();
 * the others say theirs here.
 */
#ifndef TOOLS_COMMAND_H
#define TOOLS_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fault.h"
#include "output.h"

struct flag {
    const char *name;    /* "output": given as --output */
    char letter;         /* 'o', or 0 */
    const char *value;   /* "FILE"; NULL: a switch, or an option of the library */
    const char *library; /* the scope in vindex_options(), or NULL */
    const char *help;    /* NULL where the library has it */
};

struct arguments;

struct command {
    const char *name;
    const char *operands; /* "INDEX", for the usage line; NULL: takes none */
    size_t n_operands_least, n_operands_most;
    const char *summary;      /* one line */
    const char *more;         /* a paragraph or an example for --help, or NULL */
    const struct flag *flags; /* ends with a NULL name */
    /** Results go to `out`, progress and notes to standard error. */
    vindex_status (*run)(const struct arguments *arguments, struct output *out,
                         struct fault *fault);
};

extern const struct command command_build, command_search, command_eval, command_info,
    command_check;
extern const struct command command_convert, command_export, command_optimize, command_bench;

/** Parse what follows the subcommand's name. *arguments is NULL on failure. */
vindex_status arguments_parse(const struct command *command, int n_words, char **words,
                              struct arguments **arguments, struct fault *fault);
void arguments_free(struct arguments *arguments);

/** Whether --help (or -h) was given. */
bool arguments_want_help(const struct arguments *arguments);

/** The i-th operand, or NULL. */
const char *arguments_operand(const struct arguments *arguments, size_t i);

/** Whether the flag was given. */
bool arguments_has(const struct arguments *arguments, const char *flag);

/** The i-th value given to a flag, from 0; NULL after the last. */
const char *arguments_value(const struct arguments *arguments, const char *flag, size_t i);

/** The last value given, or NULL. */
const char *arguments_text(const struct arguments *arguments, const char *flag);

/** The last value, or a usage error that names the flag. */
vindex_status arguments_required(const struct arguments *arguments, const char *flag,
                                 const char **value, struct fault *fault);

/** A whole number in [least, most]; *n keeps its value where the flag was not given. */
vindex_status arguments_count(const struct arguments *arguments, const char *flag, uint64_t least,
                              uint64_t most, uint64_t *n, struct fault *fault);

/** Bytes, with a suffix K, M or G (of 1024). */
vindex_status arguments_bytes(const struct arguments *arguments, const char *flag,
                              uint64_t *n_bytes, struct fault *fault);

/** A recall target in (0, 1]; *recall keeps its value where the flag was not given. */
vindex_status arguments_recall(const struct arguments *arguments, const char *flag, float *recall,
                               struct fault *fault);

#define ARGUMENTS_LIST_MOST 32

/** A list "1,1000" of counts, or of recalls; *n_values keeps its value where it was not given. */
vindex_status arguments_count_list(const struct arguments *arguments, const char *flag,
                                   uint64_t least, uint64_t most,
                                   uint64_t values[ARGUMENTS_LIST_MOST], size_t *n_values,
                                   struct fault *fault);
vindex_status arguments_recall_list(const struct arguments *arguments, const char *flag,
                                    float values[ARGUMENTS_LIST_MOST], size_t *n_values,
                                    struct fault *fault);

/** Print the subcommand's help. */
vindex_status command_help(const struct command *command, struct output *out, struct fault *fault);

#endif
