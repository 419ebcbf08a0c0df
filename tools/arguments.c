/*
 * arguments.c - the command line after the subcommand's name, and the help made from the same
 * tables; see command.h.
 */
#include "command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct given {
    const struct flag *flag;
    const char *value; /* NULL for a switch */
};

struct arguments {
    const struct command *command;
    bool want_help;
    size_t n_operands, n_given;
    const char **operands;
    struct given *given;
};

/* ---- the tables ------------------------------------------------------------------------------ */

static const vindex_option *library_option(const struct flag *flag)
{
    size_t n = 0;
    const vindex_option *options = vindex_options(&n);

    for (size_t i = 0; flag->library != NULL && i < n; i++) {
        if (strcmp(options[i].scope, flag->library) == 0 &&
            strcmp(options[i].name, flag->name) == 0) {
            return &options[i];
        }
    }
    return NULL;
}

static bool is_switch(const struct flag *flag)
{
    return flag->value == NULL && flag->library == NULL;
}

static const struct flag *find_flag(const struct command *command, const char *name, size_t length)
{
    for (const struct flag *flag = command->flags; flag->name != NULL; flag++) {
        if (strlen(flag->name) == length && memcmp(flag->name, name, length) == 0) return flag;
    }
    return NULL;
}

static const struct flag *find_letter(const struct command *command, char letter)
{
    for (const struct flag *flag = command->flags; flag->name != NULL; flag++) {
        if (flag->letter != 0 && flag->letter == letter) return flag;
    }
    return NULL;
}

/* ---- parsing --------------------------------------------------------------------------------- */

/* One word that begins with '-'. `next` is the word after it, or NULL; *takes_next says whether it
 * was this flag's value. */
static vindex_status parse_flag(struct arguments *arguments, const char *word, const char *next,
                                bool *takes_next, struct fault *fault)
{
    const struct command *command = arguments->command;
    const struct flag *flag;
    const char *value = NULL;

    *takes_next = false;
    if (word[1] == '-') {
        size_t length = strcspn(word + 2, "=");

        flag = find_flag(command, word + 2, length);
        if (word[2 + length] == '=') value = word + 3 + length;
    } else {
        flag = find_letter(command, word[1]);
        if (word[2] != 0) value = word + 2;
    }
    if (flag == NULL) {
        return fault_usage(fault, "%s is no flag of vindex %s; see vindex %s --help", word,
                           command->name, command->name);
    }
    if (is_switch(flag) && value != NULL) {
        return fault_usage(fault, "--%s takes no value, given \"%s\"", flag->name, value);
    }
    if (!is_switch(flag) && value == NULL) {
        if (next == NULL) return fault_usage(fault, "--%s needs a value", flag->name);
        value = next;
        *takes_next = true;
    }
    arguments->given[arguments->n_given++] = (struct given){flag, value};
    return VINDEX_OK;
}

static vindex_status check_operands(const struct arguments *arguments, struct fault *fault)
{
    const struct command *command = arguments->command;

    if (arguments->want_help) return VINDEX_OK;
    if (arguments->n_operands < command->n_operands_least) {
        return fault_usage(fault, "vindex %s needs %s; see vindex %s --help", command->name,
                           command->operands, command->name);
    }
    if (arguments->n_operands > command->n_operands_most) {
        return fault_usage(fault, "vindex %s does not expect \"%s\"; see vindex %s --help",
                           command->name, arguments->operands[command->n_operands_most],
                           command->name);
    }
    return VINDEX_OK;
}

static vindex_status parse_words(struct arguments *arguments, int n_words, char **words,
                                 struct fault *fault)
{
    bool only_operands = false;
    vindex_status st = VINDEX_OK;

    for (int i = 0; i < n_words && st == VINDEX_OK; i++) {
        const char *word = words[i];
        bool takes_next = false;

        if (only_operands || word[0] != '-' || word[1] == 0) {
            arguments->operands[arguments->n_operands++] = word;
        } else if (strcmp(word, "--") == 0) {
            only_operands = true;
        } else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            arguments->want_help = true;
        } else {
            st = parse_flag(arguments, word, i + 1 < n_words ? words[i + 1] : NULL, &takes_next,
                            fault);
        }
        if (takes_next) i++;
    }
    return st;
}

vindex_status arguments_parse(const struct command *command, int n_words, char **words,
                              struct arguments **arguments, struct fault *fault)
{
    struct arguments *made = calloc(1, sizeof *made);
    vindex_status st;

    *arguments = NULL;
    if (made == NULL) return fault_nomem(fault);
    made->command = command;
    made->operands = calloc((size_t)n_words + 1, sizeof *made->operands);
    made->given = calloc((size_t)n_words + 1, sizeof *made->given);
    if (made->operands == NULL || made->given == NULL)
        st = fault_nomem(fault);
    else
        st = parse_words(made, n_words, words, fault);
    if (st == VINDEX_OK) st = check_operands(made, fault);
    if (st == VINDEX_OK) {
        *arguments = made;
        made = NULL;
    }
    arguments_free(made);
    return st;
}

void arguments_free(struct arguments *arguments)
{
    if (arguments == NULL) return;
    free(arguments->operands);
    free(arguments->given);
    free(arguments);
}

/* ---- asking ---------------------------------------------------------------------------------- */

bool arguments_want_help(const struct arguments *arguments)
{
    return arguments->want_help;
}

const char *arguments_operand(const struct arguments *arguments, size_t i)
{
    return i < arguments->n_operands ? arguments->operands[i] : NULL;
}

bool arguments_has(const struct arguments *arguments, const char *flag)
{
    for (size_t i = 0; i < arguments->n_given; i++) {
        if (strcmp(arguments->given[i].flag->name, flag) == 0) return true;
    }
    return false;
}

const char *arguments_value(const struct arguments *arguments, const char *flag, size_t i)
{
    for (size_t j = 0; j < arguments->n_given; j++) {
        if (strcmp(arguments->given[j].flag->name, flag) == 0 && i-- == 0) {
            return arguments->given[j].value;
        }
    }
    return NULL;
}

const char *arguments_text(const struct arguments *arguments, const char *flag)
{
    const char *last = NULL, *value;

    for (size_t i = 0; (value = arguments_value(arguments, flag, i)) != NULL; i++)
        last = value;
    return last;
}

vindex_status arguments_required(const struct arguments *arguments, const char *flag,
                                 const char **value, struct fault *fault)
{
    const struct flag *found = find_flag(arguments->command, flag, strlen(flag));

    *value = arguments_text(arguments, flag);
    if (*value != NULL) return VINDEX_OK;
    return fault_usage(fault, "vindex %s needs --%s %s; see vindex %s --help",
                       arguments->command->name, flag, found->value, arguments->command->name);
}

/* A whole number and nothing behind it but what *end is left at. */
static bool parse_count(const char *text, uint64_t *n, const char **end)
{
    char *after = NULL;

    if (*text < '0' || *text > '9') return false; /* strtoull would take a sign and spaces */
    errno = 0;
    *n = strtoull(text, &after, 10);
    *end = after;
    return errno == 0;
}

static vindex_status bad_count(const char *flag, const char *text, uint64_t least, uint64_t most,
                               struct fault *fault)
{
    if (most >= UINT32_MAX) {
        return fault_usage(fault, "--%s %s: expected a whole number from %llu on", flag, text,
                           (unsigned long long)least);
    }
    return fault_usage(fault, "--%s %s: expected a whole number from %llu to %llu", flag, text,
                       (unsigned long long)least, (unsigned long long)most);
}

vindex_status arguments_count(const struct arguments *arguments, const char *flag, uint64_t least,
                              uint64_t most, uint64_t *n, struct fault *fault)
{
    const char *text = arguments_text(arguments, flag), *end = NULL;
    uint64_t given;

    if (text == NULL) return VINDEX_OK;
    if (!parse_count(text, &given, &end) || *end != 0 || given < least || given > most) {
        return bad_count(flag, text, least, most, fault);
    }
    *n = given;
    return VINDEX_OK;
}

vindex_status arguments_bytes(const struct arguments *arguments, const char *flag,
                              uint64_t *n_bytes, struct fault *fault)
{
    const char *text = arguments_text(arguments, flag), *end = NULL;
    uint64_t given;
    unsigned shift = 0;

    if (text == NULL) return VINDEX_OK;
    if (parse_count(text, &given, &end)) {
        static const char suffixes[] = "KkMmGg";
        const char *suffix = *end != 0 ? strchr(suffixes, *end) : NULL;

        if (suffix != NULL) {
            shift = 10 * (unsigned)((suffix - suffixes) / 2 + 1);
            end++;
        }
        if (*end == 0 && given > 0 && given <= UINT64_MAX >> shift) {
            *n_bytes = given << shift;
            return VINDEX_OK;
        }
    }
    return fault_usage(fault, "--%s %s: expected bytes, as in 500000, 64M or 2G", flag, text);
}

static vindex_status parse_recall(const char *flag, const char *text, float *recall,
                                  struct fault *fault)
{
    char *end = NULL;
    float given = strtof(text, &end);

    if (end == text || *end != 0 || !(given > 0 && given <= 1)) {
        return fault_usage(fault, "--%s %s: expected a recall above 0 and at most 1 (1 = exact)",
                           flag, text);
    }
    *recall = given;
    return VINDEX_OK;
}

vindex_status arguments_recall(const struct arguments *arguments, const char *flag, float *recall,
                               struct fault *fault)
{
    const char *text = arguments_text(arguments, flag);

    return text != NULL ? parse_recall(flag, text, recall, fault) : VINDEX_OK;
}

/* Cut the next element off a list into `word`; false at the end. */
static bool next_element(const char **list, char word[64])
{
    size_t length = strcspn(*list, ",");

    if (**list == 0) return false;
    snprintf(word, 64, "%.*s", length < 64 ? (int)length : 63, *list);
    *list += length;
    if (**list == ',') ++*list;
    return true;
}

static vindex_status check_list(const char *flag, const char *text, size_t n, struct fault *fault)
{
    if (n >= 1 && n <= ARGUMENTS_LIST_MOST) return VINDEX_OK;
    return fault_usage(fault, "--%s \"%s\": expected 1 to %d values separated by commas", flag,
                       text, ARGUMENTS_LIST_MOST);
}

vindex_status arguments_count_list(const struct arguments *arguments, const char *flag,
                                   uint64_t least, uint64_t most,
                                   uint64_t values[ARGUMENTS_LIST_MOST], size_t *n_values,
                                   struct fault *fault)
{
    const char *text = arguments_text(arguments, flag), *rest = text, *end = NULL;
    char word[64];
    size_t n = 0;

    if (text == NULL) return VINDEX_OK;
    for (; n <= ARGUMENTS_LIST_MOST && next_element(&rest, word); n++) {
        uint64_t value;

        if (!parse_count(word, &value, &end) || *end != 0 || value < least || value > most) {
            return bad_count(flag, text, least, most, fault);
        }
        if (n < ARGUMENTS_LIST_MOST) values[n] = value;
    }
    *n_values = n;
    return check_list(flag, text, n, fault);
}

vindex_status arguments_recall_list(const struct arguments *arguments, const char *flag,
                                    float values[ARGUMENTS_LIST_MOST], size_t *n_values,
                                    struct fault *fault)
{
    const char *text = arguments_text(arguments, flag), *rest = text;
    char word[64];
    size_t n = 0;

    if (text == NULL) return VINDEX_OK;
    for (; n <= ARGUMENTS_LIST_MOST && next_element(&rest, word); n++) {
        float value = 0;
        vindex_status st = parse_recall(flag, word, &value, fault);

        if (st != VINDEX_OK) return st;
        if (n < ARGUMENTS_LIST_MOST) values[n] = value;
    }
    *n_values = n;
    return check_list(flag, text, n, fault);
}

/* ---- help ------------------------------------------------------------------------------------ */

#define HELP_COLUMN 28

static vindex_status help_flag(const struct flag *flag, struct output *out, struct fault *fault)
{
    const vindex_option *option = library_option(flag);
    const char *value = option != NULL ? option->range : flag->value;
    char left[160], letter[8] = "    ";
    int n_bytes;
    vindex_status st;

    if (flag->letter != 0) snprintf(letter, sizeof letter, "-%c, ", flag->letter);
    n_bytes = snprintf(left, sizeof left, "  %s--%s%s%s", letter, flag->name,
                       value != NULL ? " " : "", value != NULL ? value : "");
    if (n_bytes > HELP_COLUMN) { /* too long to stand beside its help */
        st = output_print(out, fault, "%s\n%*s  ", left, HELP_COLUMN, "");
    } else {
        st = output_print(out, fault, "%-*s  ", HELP_COLUMN, left);
    }
    if (st != VINDEX_OK) return st;
    if (flag->help != NULL) return output_print(out, fault, "%s\n", flag->help);
    return output_print(out, fault, "%s (default %s)\n", option != NULL ? option->help : "",
                        option != NULL ? option->initial : "");
}

vindex_status command_help(const struct command *command, struct output *out, struct fault *fault)
{
    vindex_status st = output_print(
        out, fault, "vindex %s - %s\n\nusage: vindex %s [flags] %s\n\nflags:\n", command->name,
        command->summary, command->name, command->operands != NULL ? command->operands : "");

    for (const struct flag *flag = command->flags; flag->name != NULL && st == VINDEX_OK; flag++) {
        st = help_flag(flag, out, fault);
    }
    if (st == VINDEX_OK && command->more != NULL) {
        st = output_print(out, fault, "\n%s\n", command->more);
    }
    return st;
}
