/*
 * library.c - the library as the command uses it; see library.h.
 */
#include "library.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "interrupt.h"

vindex_status library_check(vindex_status status, const char *what, struct fault *fault)
{
    const char *message;

    if (status == VINDEX_OK) return VINDEX_OK;
    message = vindex_message();
    if (message[0] == 0) message = vindex_status_text(status);
    if (strstr(message, what) != NULL) return fault_set(fault, status, "%s", message);
    return fault_set(fault, status, "%s: %s", what, message);
}

vindex_status library_open(const char *path, vindex **index, vindex_searcher **searcher,
                           struct fault *fault)
{
    vindex_status st = library_check(vindex_open(path, VINDEX_OPEN_READONLY, index), path, fault);

    if (st != VINDEX_OK || searcher == NULL) return st;
    return library_check(vindex_searcher_open(*index, searcher), path, fault);
}

vindex_status library_stat(vindex *index, const char *path, vindex_stats *stats,
                           struct fault *fault)
{
    *stats = (vindex_stats)VINDEX_STATS_INIT;
    return library_check(vindex_stat(index, stats), path, fault);
}

static int ask_interrupt(void *context)
{
    (void)context;
    return interrupt_pending();
}

vindex_status library_search_options(const struct arguments *arguments,
                                     vindex_search_options *options, struct fault *fault)
{
    uint64_t n_threads = 0;
    vindex_status st;

    *options = (vindex_search_options)VINDEX_SEARCH_OPTIONS_INIT;
    options->cancel = ask_interrupt;
    options->device = arguments_text(arguments, "device");
    st = arguments_recall(arguments, "recall", &options->recall, fault);
    if (st == VINDEX_OK) st = arguments_count(arguments, "threads", 1, 1024, &n_threads, fault);
    options->n_threads = (uint32_t)n_threads;
    if (arguments_has(arguments, "strict")) options->flags |= VINDEX_SEARCH_STRICT;
    if (arguments_has(arguments, "no-audit")) options->flags |= VINDEX_SEARCH_NO_AUDIT;
    return st;
}

const char *library_state_name(uint32_t state)
{
    switch (state) {
    case VINDEX_STATE_EXACT: return "exact";
    case VINDEX_STATE_PROVEN: return "proven";
    case VINDEX_STATE_ASSUMED: return "assumed";
    default: return "unknown";
    }
}

const char *library_basis_name(uint32_t basis)
{
    return basis == 1 ? "rows" : basis == 2 ? "queries" : "nothing";
}

const char *library_layout_name(uint32_t layout)
{
    return layout == VINDEX_LAYOUT_FLAT ? "flat" : "auto";
}

static void show(void *context, const char *message)
{
    (void)context;
    fprintf(stderr, "vindex: %s\n", message);
}

void library_show_log(void)
{
    vindex_set_log(show, NULL);
}

vindex_status print_json_string(struct output *out, const char *text, struct fault *fault)
{
    vindex_status st = output_write(out, "\"", 1, fault);

    for (; *text != 0 && st == VINDEX_OK; text++) {
        if (*text == '"' || *text == '\\') {
            st = output_print(out, fault, "\\%c", *text);
        } else if ((unsigned char)*text < 32) {
            st = output_print(out, fault, "\\u%04x", (unsigned char)*text);
        } else {
            st = output_write(out, text, 1, fault);
        }
    }
    return st == VINDEX_OK ? output_write(out, "\"", 1, fault) : st;
}

int64_t clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}
