/*
 * internal.h - private to kernels/pjrt/: plugins, clients, calls.
 *
 *     plugin.c   find, load, check a plugin; calls and their errors
 *     client.c   clients, devices, buffers
 *     text.c     programs as text
 *     program.c  compile, choose, run
 */
#ifndef VKERN_PJRT_INTERNAL_H
#define VKERN_PJRT_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "kernels/pjrt/abi.h"
#include "kernels/pjrt/pjrt.h"

struct pjrt_plugin {
    struct pjrt_plugin *next;
    const pjrt_api *api;
    atomic_bool is_strict; /* refuses structs larger than its own */
    bool is_initialized;
    bool is_cuda;              /* by its file's name: it has create options of its own */
    char name[64];             /* the file's, for messages */
    struct vkern_pjrt *client; /* NULL: nobody uses it */
};

struct pjrt_device {
    PJRT_Device *handle;
    int id;
    char kind[64];
    pthread_mutex_t launch;
};

struct vkern_pjrt {
    struct pjrt_plugin *plugin;
    PJRT_Client *handle;
    unsigned n_users; /* under the registry's mutex */
    pid_t pid;
    char platform[32], version[128];
    struct pjrt_device *devices;
    size_t n_devices;

    pthread_mutex_t mutex; /* of the list of programs */
    struct vkern_pjrt_program *programs;
    struct vkern_pjrt_error compile_error; /* the last one, under the mutex */
    atomic_uint failed_kinds;              /* bits: this plugin does not compile them */
    atomic_bool is_pinned;    /* portable executables do not work: one for each device */
};

struct vkern_pjrt_buffer {
    struct vkern_pjrt *client;
    PJRT_Buffer *handle;
};

/** Set code and text (printf style); returns false. */
bool vkern__pjrt_fail(struct vkern_pjrt_error *error, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/**
 * Call a function of the table. `arguments` is one of abi.h's structs, of `size` bytes with its
 * reserve and `exact` without.
 */
bool vkern__pjrt_call(struct pjrt_plugin *plugin, enum pjrt_function function, void *arguments,
                      size_t size, size_t exact, struct vkern_pjrt_error *error);
#define PJRT_CALL(plugin, function, type, arguments, last, error)                                  \
    vkern__pjrt_call(plugin, function, arguments, sizeof(type), PJRT_EXACT(type, last), error)

/** The size to put into a struct inside a struct. */
#define PJRT_SIZE(plugin, type, last)                                                              \
    (atomic_load(&(plugin)->is_strict) ? PJRT_EXACT(type, last) : sizeof(type))

/** Whether the plugin has an optional function. */
bool vkern__pjrt_has(const struct pjrt_plugin *plugin, enum pjrt_function function);

/** Load, check, initialize. The registry's mutex is held. */
bool vkern__pjrt_load(const char *path, struct pjrt_plugin **plugin,
                      struct vkern_pjrt_error *error);

/** Wait for an event and destroy it; NULL is done already. */
bool vkern__pjrt_await(struct vkern_pjrt *client, PJRT_Event *event,
                       struct vkern_pjrt_error *error);
void vkern__pjrt_event_free(struct vkern_pjrt *client, PJRT_Event *event);
void vkern__pjrt_handle_free(struct vkern_pjrt *client, PJRT_Buffer *buffer);
/** VKERN_PJRT_INVALID in a child of the process that opened the client. */
bool vkern__pjrt_check_fork(const struct vkern_pjrt *client, struct vkern_pjrt_error *error);

size_t vkern__pjrt_type_bytes(enum vkern_pjrt_type type);

/* program.c */
void vkern__pjrt_programs_free(struct vkern_pjrt *client);

#endif
