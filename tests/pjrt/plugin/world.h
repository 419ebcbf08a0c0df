/*
 * world.h - what the parts of the test plugin share: the objects behind the handles, the settings of the environment, and
 * how a function begins and ends. The world is locked inside every function of the table.
 *
 * Variants by macro: TEST_EXTRA (args larger than known by so many bytes), TEST_STRICT (equal sizes only), TEST_HOLES (no
 * optional function); plugin.c has those of the table.
 */
#ifndef VINDEX_TESTS_PJRT_WORLD_H
#define VINDEX_TESTS_PJRT_WORLD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "kernels/pjrt/abi.h"
#include "meaning.h"
#include "plugin.h"

#ifndef TEST_EXTRA
#define TEST_EXTRA 0
#endif
#ifdef TEST_STRICT
#define IS_STRICT 1
#else
#define IS_STRICT 0
#endif

enum { ALIVE = 0x11FE11FE, DEAD = 0x0DEAD0DE };
enum { MAX_DEVICES = 8 };

struct PJRT_Error {
    int magic, code;
    char text[600];
};

struct PJRT_DeviceDescription {
    int id;
    char kind[32];
};

struct PJRT_Device {
    PJRT_DeviceDescription description;
    PJRT_Client *client;
    uint64_t bytes;
};

struct PJRT_Client {
    int magic;
    PJRT_Device devices[MAX_DEVICES];
    PJRT_Device *list[MAX_DEVICES];
    size_t n_devices;
    char platform[16];
};

struct task;

struct PJRT_Buffer {
    int magic, refs;
    PJRT_Device *device;
    int type;
    int64_t dims[3];
    size_t n_dims, bytes;
    void *data;
    const void *pending; /* host memory still to be copied */
    struct task *task;   /* still to be executed */
    int failed;          /* code */
};

/* An execution. */
struct task {
    int refs;
    struct meaning meaning;
    PJRT_Buffer *arguments[3];
    PJRT_Buffer *outputs[2]; /* not counted: they hold the task */
    int64_t ready_ns;
    bool is_done;
    int code;
};

struct PJRT_Event {
    int magic;
    struct task *task;   /* complete event */
    PJRT_Buffer *source; /* of a transfer */
    void *destination;
    bool is_transposed, is_ready_event;
    int code;
};

struct PJRT_LoadedExecutable {
    int magic;
    PJRT_Client *client;
    struct meaning meaning;
    bool is_portable;
    int device_id;
    size_t n_outputs;
};

struct PJRT_Executable {
    int magic;
    struct meaning meaning;
    size_t n_outputs;
};

extern pthread_mutex_t world;
extern struct pjrt_test_counts counts;
extern long calls[PJRT_N_FUNCTIONS];

/* ---- settings: words "key=value" of VINDEX_PJRT_TEST ----------------------------------------- */

/** The value of a key, copied; false if it is not there. */
bool setting(const char *key, char *value, size_t size);
long long number(const char *key, long long otherwise);
/** The code that the nth call of `name` is to fail with; 0: none. */
int fault(const char *name, long nth);

/* ---- checks ---------------------------------------------------------------------------------- */

PJRT_Error *fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** Stops the process where a handle is none. */
void check_alive(int magic, const char *what);
PJRT_Error *check_size(const char *name, size_t given, size_t known);

/** Begin a function: its arguments, their size, and the fault it was told to have. The world is locked
   until LEAVE. */
#define ENTER(name, function, type, last)                                                          \
    type *a = arguments;                                                                           \
    pthread_mutex_lock(&world);                                                                    \
    long nth = ++calls[function];                                                                  \
    PJRT_Error *error = check_size(#name, a->struct_size, PJRT_EXACT(type, last));                 \
    int code = error ? 0 : fault(#name, nth);                                                      \
    if (code) error = fail(code, "injected into %s", #name);                                       \
    if (error) goto out
#define LEAVE                                                                                      \
    out:                                                                                           \
    pthread_mutex_unlock(&world);                                                                  \
    return error

/* ---- objects (the world is locked) ----------------------------------------------------------- */

int64_t now_ns(void);
PJRT_Buffer *buffer_new(PJRT_Device *device, int type, const int64_t *dims, size_t n_dims);
void buffer_unref(PJRT_Buffer *buffer);
/** Do what its contents wait for: an upload, an execution. */
void materialize(PJRT_Buffer *buffer);
void task_run(struct task *task);
void task_unref(struct task *task);
PJRT_Event *event_new(void);

/* ---- functions of the table, by the file they stand in --------------------------------------- */

/* transfers.c */
PJRT_Error *event_await(void *arguments);
PJRT_Error *event_is_ready(void *arguments);
PJRT_Error *event_destroy(void *arguments);
PJRT_Error *buffer_from_host(void *arguments);
PJRT_Error *buffer_to_host(void *arguments);
PJRT_Error *buffer_ready(void *arguments);
PJRT_Error *buffer_destroy(void *arguments);
PJRT_Error *buffer_size(void *arguments);

/* programs.c */
PJRT_Error *client_compile(void *arguments);
PJRT_Error *loaded_destroy(void *arguments);
PJRT_Error *loaded_get(void *arguments);
PJRT_Error *executable_destroy(void *arguments);
PJRT_Error *executable_outputs(void *arguments);
PJRT_Error *executable_memory(void *arguments);
PJRT_Error *execute(void *arguments);

#endif
