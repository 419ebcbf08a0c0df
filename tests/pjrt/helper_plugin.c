/*
 * helper_plugin.c - see helper_plugin.h.
 */
#include "helper_plugin.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cmocka.h"

static const char *const variants[] = {"good", "gpu", "holes", "newer", "strict"};

const char *plugin_path(const char *variant)
{
    static char path[4][512];
    static unsigned turn;
    char *to = path[turn++ % 4];
    snprintf(to, sizeof path[0], "%s/%s.so", VINDEX_PJRT_PLUGINS, variant);
    return to;
}

/* A function of a variant that is loaded already, else NULL. */
static void *function_of(const char *variant, const char *name)
{
    void *library = dlopen(plugin_path(variant), RTLD_NOW | RTLD_NOLOAD);
    void *function = library ? dlsym(library, name) : NULL;
    if (library) dlclose(library);
    return function;
}

void plugin_tell(const char *words)
{
    setenv("VINDEX_PJRT_TEST", words, 1);
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        pjrt_test_reset_fn *reset;
        void *address = function_of(variants[i], "pjrt_test_reset");
        memcpy(&reset, &address, sizeof reset);
        if (reset) reset();
    }
}

struct pjrt_test_counts plugin_counts(const char *variant)
{
    struct pjrt_test_counts counts = {0};
    pjrt_test_counts_fn *read;
    void *address = function_of(variant, "pjrt_test_counts");
    memcpy(&read, &address, sizeof read);
    if (read) read(&counts);
    return counts;
}

void plugin_check_empty(const char *variant)
{
    struct pjrt_test_counts counts = plugin_counts(variant);
    assert_int_equal(counts.errors, 0);
    assert_int_equal(counts.events, 0);
    assert_int_equal(counts.buffers, 0);
    assert_int_equal(counts.executables, 0);
    assert_int_equal(counts.clients, 0);
    assert_int_equal(counts.device_bytes, 0);
}
