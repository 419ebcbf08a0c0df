/*
 * helper_plugin.h - the test plugin from outside: where it lies, what it is told, what lives in it.
 */
#ifndef TESTS_PJRT_HELPER_PLUGIN_H
#define TESTS_PJRT_HELPER_PLUGIN_H

#include <stddef.h>

#include "plugin/plugin.h"

/** The path of a variant: "good", "strict", ... Valid until the next call. */
const char *plugin_path(const char *variant);

/** Set VINDEX_PJRT_TEST and reset the counters of all variants that are loaded. */
void plugin_tell(const char *words);

/** The counters of a variant; zeros where it is not loaded. */
struct pjrt_test_counts plugin_counts(const char *variant);

/** Stop the test if anything of a variant lives. */
void plugin_check_empty(const char *variant);

#endif
