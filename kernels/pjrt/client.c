/*
 * client.c - clients, their devices and buffers. One client a plugin: a TPU, for one, belongs to one.
 */
#include "kernels/pjrt/internal.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER;

/* From here on host memory is left alone until the transfer is done, which saves the plugin a copy. */
enum { LARGE_BYTES = 1 << 20 };

bool vkern__pjrt_check_fork(const struct vkern_pjrt *client, struct vkern_pjrt_error *error)
{
    if (client->pid == getpid()) return true;
    return vkern__pjrt_fail(error, VKERN_PJRT_INVALID,
                            "the device was opened before fork(): the child has to open it again");
}

/* ---- opening ------------------------------------------------------------------------------- */

static void copy_text(char *to, size_t size, const char *text, size_t n)
{
    snprintf(to, size, "%.*s", (int)(n < size ? n : size - 1), text != NULL ? text : "");
    to[strcspn(to, "\r\n")] = '\0';
}

static bool read_text(struct vkern_pjrt *client, enum pjrt_function function, char *to, size_t size,
                      struct vkern_pjrt_error *error)
{
    pjrt_client_text get = {.client = client->handle};
    if (!PJRT_CALL(client->plugin, function, pjrt_client_text, &get, text_size, error))
        return false;
    copy_text(to, size, get.text, get.text_size);
    return true;
}

static bool create_with(struct vkern_pjrt *client, const pjrt_named_value *options,
                        size_t n_options, struct vkern_pjrt_error *error)
{
    pjrt_client_create create = {.options = options, .n_options = n_options};
    bool made = PJRT_CALL(client->plugin, PJRT_CLIENT_CREATE, pjrt_client_create, &create,
                          kv_try_get_context, error);
    if (made && create.client == NULL)
        return vkern__pjrt_fail(error, PJRT_INTERNAL, "Client_Create made no client");
    client->handle = made ? create.client : NULL;
    return made;
}

/* A CUDA plugin takes three quarters of the card at once unless told otherwise; a version that does
   not know the option says so. */
static bool create(struct vkern_pjrt *client, struct vkern_pjrt_error *error)
{
    static const int guarded[] = {SIGSEGV, SIGBUS,  SIGABRT, SIGILL,
                                  SIGFPE,  SIGTERM, SIGINT,  SIGPIPE};
    struct sigaction before[sizeof guarded / sizeof *guarded];
    pjrt_named_value lazily = {.struct_size = sizeof lazily,
                               .name = "preallocate",
                               .name_size = strlen("preallocate"),
                               .type = PJRT_BOOL,
                               .value = {.boolean = false},
                               .value_size = 1};
    for (size_t i = 0; i < sizeof guarded / sizeof *guarded; i++)
        sigaction(guarded[i], NULL, &before[i]);
    bool made = client->plugin->is_cuda && create_with(client, &lazily, 1, error);
    if (!made && (!client->plugin->is_cuda || error->code == PJRT_INVALID_ARGUMENT))
        made = create_with(client, NULL, 0, error);
    for (size_t i = 0; i < sizeof guarded / sizeof *guarded; i++)
        sigaction(guarded[i], &before[i], NULL);
    return made;
}

static bool describe(struct vkern_pjrt *client, struct pjrt_device *device,
                     struct vkern_pjrt_error *error)
{
    pjrt_device_description get = {.device = device->handle};
    pjrt_description_kind kind = {0};
    pjrt_description_id id = {0};
    if (!PJRT_CALL(client->plugin, PJRT_DEVICE_GET_DESCRIPTION, pjrt_device_description, &get,
                   description, error))
        return false;
    kind.description = id.description = get.description;
    if (!PJRT_CALL(client->plugin, PJRT_DESCRIPTION_KIND, pjrt_description_kind, &kind, text_size,
                   error) ||
        !PJRT_CALL(client->plugin, PJRT_DESCRIPTION_ID, pjrt_description_id, &id, id, error))
        return false;
    copy_text(device->kind, sizeof device->kind, kind.text, kind.text_size);
    device->id = id.id;
    return true;
}

static bool find_devices(struct vkern_pjrt *client, struct vkern_pjrt_error *error)
{
    pjrt_client_devices get = {.client = client->handle};
    if (!PJRT_CALL(client->plugin, PJRT_CLIENT_ADDRESSABLE_DEVICES, pjrt_client_devices, &get,
                   n_devices, error))
        return false;
    if (get.n_devices == 0)
        return vkern__pjrt_fail(error, PJRT_NOT_FOUND, "%s sees no device", client->plugin->name);
    client->devices = calloc(get.n_devices, sizeof *client->devices);
    if (client->devices == NULL)
        return vkern__pjrt_fail(error, VKERN_PJRT_NO_MEMORY, "out of memory on the host");
    for (size_t i = 0; i < get.n_devices; i++) {
        client->devices[i].handle = get.devices[i];
        pthread_mutex_init(&client->devices[i].launch, NULL);
        client->n_devices++;
        if (!describe(client, &client->devices[i], error)) return false;
    }
    return true;
}

static void client_free(struct vkern_pjrt *client)
{
    struct vkern_pjrt_error ignored;
    vkern__pjrt_programs_free(client);
    for (size_t i = 0; i < client->n_devices; i++)
        pthread_mutex_destroy(&client->devices[i].launch);
    free(client->devices);
    if (client->handle != NULL) {
        pjrt_client_destroy destroy = {.client = client->handle};
        PJRT_CALL(client->plugin, PJRT_CLIENT_DESTROY, pjrt_client_destroy, &destroy, client,
                  &ignored);
    }
    pthread_mutex_destroy(&client->mutex);
    free(client);
}

static bool client_new(struct pjrt_plugin *plugin, struct vkern_pjrt_error *error)
{
    struct vkern_pjrt *client = calloc(1, sizeof *client);
    if (client == NULL)
        return vkern__pjrt_fail(error, VKERN_PJRT_NO_MEMORY, "out of memory on the host");
    client->plugin = plugin;
    client->pid = getpid();
    pthread_mutex_init(&client->mutex, NULL);
    atomic_init(&client->failed_kinds, 0);
    atomic_init(&client->is_pinned, false);
    if (!create(client, error) ||
        !read_text(client, PJRT_CLIENT_PLATFORM_NAME, client->platform, sizeof client->platform,
                   error) ||
        !read_text(client, PJRT_CLIENT_PLATFORM_VERSION, client->version, sizeof client->version,
                   error) ||
        !find_devices(client, error)) {
        client_free(client);
        return false;
    }
    plugin->client = client;
    return true;
}

bool vkern_pjrt_open(const char *path, struct vkern_pjrt **client, struct vkern_pjrt_error *error)
{
    struct pjrt_plugin *plugin = NULL;
    *client = NULL;
    pthread_mutex_lock(&registry);
    bool done = vkern__pjrt_load(path, &plugin, error);
    if (done && plugin->client != NULL) {
        done = vkern__pjrt_check_fork(plugin->client, error);
    } else if (done) {
        done = client_new(plugin, error);
    }
    if (done) {
        plugin->client->n_users++;
        *client = plugin->client;
    }
    pthread_mutex_unlock(&registry);
    return done;
}

void vkern_pjrt_close(struct vkern_pjrt *client)
{
    if (client == NULL || client->pid != getpid()) return; /* a forked child has no device */
    pthread_mutex_lock(&registry);
    if (--client->n_users == 0) {
        client->plugin->client = NULL;
        client_free(client);
    }
    pthread_mutex_unlock(&registry);
}

/* ---- facts --------------------------------------------------------------------------------- */

const char *vkern_pjrt_platform(const struct vkern_pjrt *client)
{
    return client->platform;
}

const char *vkern_pjrt_version(const struct vkern_pjrt *client)
{
    return client->version;
}

int vkern_pjrt_minor(const struct vkern_pjrt *client)
{
    return client->plugin->api->version.minor;
}

size_t vkern_pjrt_n_devices(const struct vkern_pjrt *client)
{
    return client->n_devices;
}

const char *vkern_pjrt_device_kind(const struct vkern_pjrt *client, size_t device)
{
    return client->devices[device].kind;
}

bool vkern_pjrt_device_memory(struct vkern_pjrt *client, size_t device, uint64_t *used_bytes,
                              uint64_t *limit_bytes)
{
    pjrt_device_memory stats = {.device = client->devices[device].handle};
    struct vkern_pjrt_error ignored;
    if (!vkern__pjrt_has(client->plugin, PJRT_DEVICE_MEMORY_STATS) ||
        !vkern__pjrt_call(client->plugin, PJRT_DEVICE_MEMORY_STATS, &stats, sizeof stats,
                          offsetof(pjrt_device_memory, reserved), &ignored) ||
        !stats.bytes_limit.is_set || stats.bytes_limit.value <= 0 || stats.bytes_in_use < 0)
        return false;
    *used_bytes = (uint64_t)stats.bytes_in_use;
    *limit_bytes = (uint64_t)stats.bytes_limit.value;
    return true;
}

/* ---- events -------------------------------------------------------------------------------- */

void vkern__pjrt_event_free(struct vkern_pjrt *client, PJRT_Event *event)
{
    pjrt_event_args destroy = {.event = event};
    struct vkern_pjrt_error ignored;
    if (event == NULL || client->pid != getpid()) return;
    PJRT_CALL(client->plugin, PJRT_EVENT_DESTROY, pjrt_event_args, &destroy, event, &ignored);
}

bool vkern__pjrt_await(struct vkern_pjrt *client, PJRT_Event *event, struct vkern_pjrt_error *error)
{
    pjrt_event_args await = {.event = event};
    if (event == NULL) return true;
    bool done = PJRT_CALL(client->plugin, PJRT_EVENT_AWAIT, pjrt_event_args, &await, event, error);
    vkern__pjrt_event_free(client, event);
    return done;
}

/* ---- buffers ------------------------------------------------------------------------------- */

size_t vkern__pjrt_type_bytes(enum vkern_pjrt_type type)
{
    return type == VKERN_PJRT_BF16 ? 2 : 4;
}

static int element_type(enum vkern_pjrt_type type)
{
    switch (type) {
    case VKERN_PJRT_F32: return PJRT_F32;
    case VKERN_PJRT_BF16: return PJRT_BF16;
    default: return PJRT_S32;
    }
}

void vkern__pjrt_handle_free(struct vkern_pjrt *client, PJRT_Buffer *handle)
{
    pjrt_buffer_destroy destroy = {.buffer = handle};
    struct vkern_pjrt_error ignored;
    if (handle == NULL || client->pid != getpid()) return;
    PJRT_CALL(client->plugin, PJRT_BUFFER_DESTROY, pjrt_buffer_destroy, &destroy, buffer, &ignored);
}

void vkern_pjrt_buffer_free(struct vkern_pjrt_buffer *buffer)
{
    if (buffer == NULL) return;
    vkern__pjrt_handle_free(buffer->client, buffer->handle);
    free(buffer);
}

/* The done event frees the host's memory; whether the device has the data is the buffer's own event. */
static bool wait_for_upload(struct vkern_pjrt *client, PJRT_Event *done, PJRT_Buffer *handle,
                            struct vkern_pjrt_error *error)
{
    pjrt_buffer_ready ready = {.buffer = handle};
    if (!vkern__pjrt_await(client, done, error)) return false;
    if (!PJRT_CALL(client->plugin, PJRT_BUFFER_READY, pjrt_buffer_ready, &ready, event, error))
        return false;
    return vkern__pjrt_await(client, ready.event, error);
}

bool vkern_pjrt_buffer_new(struct vkern_pjrt *client, size_t device, enum vkern_pjrt_type type,
                           const int64_t *dims, size_t rank, const void *data,
                           struct vkern_pjrt_buffer **buffer, struct vkern_pjrt_error *error)
{
    size_t bytes = vkern__pjrt_type_bytes(type);
    for (size_t i = 0; i < rank; i++)
        bytes *= (size_t)dims[i];
    pjrt_buffer_from_host copy = {
        .client = client->handle,
        .data = data,
        .type = element_type(type),
        .dims = dims,
        .n_dims = rank,
        .semantics = bytes >= LARGE_BYTES ? PJRT_UNTIL_DONE : PJRT_DURING_CALL,
        .device = client->devices[device].handle,
    };
    *buffer = NULL;
    if (!vkern__pjrt_check_fork(client, error)) return false;
    struct vkern_pjrt_buffer *made = calloc(1, sizeof *made);
    if (made == NULL)
        return vkern__pjrt_fail(error, VKERN_PJRT_NO_MEMORY, "out of memory on the host");
    made->client = client;
    if (!PJRT_CALL(client->plugin, PJRT_BUFFER_FROM_HOST, pjrt_buffer_from_host, &copy, buffer,
                   error)) {
        free(made);
        return false;
    }
    made->handle = copy.buffer;
    if (!wait_for_upload(client, copy.done_with_host_buffer, copy.buffer, error)) {
        vkern_pjrt_buffer_free(made);
        return false;
    }
    *buffer = made;
    return true;
}

uint64_t vkern_pjrt_buffer_bytes(const struct vkern_pjrt_buffer *buffer)
{
    pjrt_buffer_size get = {.buffer = buffer->handle};
    struct vkern_pjrt_error ignored;
    if (!vkern__pjrt_has(buffer->client->plugin, PJRT_BUFFER_SIZE) ||
        !PJRT_CALL(buffer->client->plugin, PJRT_BUFFER_SIZE, pjrt_buffer_size, &get, size_bytes,
                   &ignored))
        return 0;
    return get.size_bytes;
}
