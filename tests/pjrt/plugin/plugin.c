/*
 * plugin.c - a PJRT plugin for tests: as strict as XLA where that is stricter than convenient, as late as
 * hardware may be, and faulty on demand (plugin.h). Here are errors, the client and its devices, and the table.
 *
 *   - Sizes of structs, create options, compile options, argument types and shapes are checked.
 *   - Nothing happens before it is waited for. Whoever does not wait sees old data.
 *   - Without a host layout a download comes back transposed.
 *   - What lives is counted; handles that were freed are poisoned.
 *
 * Variants by macro: TEST_MAJOR, TEST_MINOR, TEST_TABLE_BYTES, TEST_NULL_SLOT, TEST_NO_SYMBOL,
 * TEST_NULL_API; world.h has the others.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

#ifndef TEST_MAJOR
#define TEST_MAJOR 0
#endif
#ifndef TEST_MINOR
#define TEST_MINOR 104
#endif
#ifndef TEST_TABLE_BYTES
#define TEST_TABLE_BYTES sizeof(pjrt_api)
#endif
#ifdef TEST_NO_SYMBOL
#define EXPORT static __attribute__((unused))
#else
#define EXPORT __attribute__((visibility("default")))
#endif

/* ---- errors -------------------------------------------------------------------------------- */

static PJRT_Error *error_destroy(void *arguments)
{
    pjrt_error_destroy *a = arguments;
    pthread_mutex_lock(&world);
    if (a->error) {
        PJRT_Error *error = a->error;
        check_alive(error->magic, "an error");
        error->magic = DEAD;
        free(error);
        counts.errors--;
    }
    pthread_mutex_unlock(&world);
    return NULL;
}

static PJRT_Error *error_message(void *arguments)
{
    pjrt_error_message *a = arguments;
    size_t known = PJRT_EXACT(pjrt_error_message, message_size) + TEST_EXTRA;
    if (IS_STRICT ? a->struct_size != known : a->struct_size < known) return NULL;
    check_alive(a->error->magic, "an error");
    a->message = a->error->text;
    a->message_size = strlen(a->error->text);
    return NULL;
}

static PJRT_Error *error_get_code(void *arguments)
{
    pjrt_error_get_code *a = arguments;
    pthread_mutex_lock(&world);
    PJRT_Error *error =
        check_size("Error_GetCode", a->struct_size, PJRT_EXACT(pjrt_error_get_code, code));
    if (!error) a->code = a->error->code;
    pthread_mutex_unlock(&world);
    return error;
}

static PJRT_Error *plugin_initialize(void *arguments)
{
    pjrt_plugin_initialize *a = arguments;
    pthread_mutex_lock(&world);
    int code = fault("Plugin_Initialize", ++calls[PJRT_PLUGIN_INITIALIZE]);
    PJRT_Error *error =
        check_size("Plugin_Initialize", a->struct_size, offsetof(pjrt_plugin_initialize, reserved));
    if (!error && code) error = fail(code, "injected into Plugin_Initialize");
    pthread_mutex_unlock(&world);
    return error;
}

/* ---- client -------------------------------------------------------------------------------- */

static PJRT_Error *check_options(const pjrt_client_create *a)
{
    char platform[16] = "test";
    setting("platform", platform, sizeof platform);
    for (size_t i = 0; i < a->n_options; i++) {
        const pjrt_named_value *option = &a->options[i];
        bool known = option->name_size == 11 && memcmp(option->name, "preallocate", 11) == 0;
        if (!known || strcmp(platform, "cuda") != 0)
            return fail(PJRT_INVALID_ARGUMENT, "unknown create option %.*s", (int)option->name_size,
                        option->name);
        if (option->type != PJRT_BOOL) abort(); /* as some real plugins do */
    }
    return NULL;
}

static PJRT_Error *client_create(void *arguments)
{
    ENTER(Client_Create, PJRT_CLIENT_CREATE, pjrt_client_create, kv_try_get_context);
    if ((error = check_options(a))) goto out;
    PJRT_Client *client = calloc(1, sizeof *client);
    client->magic = ALIVE;
    client->n_devices = (size_t)number("devices", 1) % (MAX_DEVICES + 1);
    snprintf(client->platform, sizeof client->platform, "test");
    setting("platform", client->platform, sizeof client->platform);
    for (size_t i = 0; i < client->n_devices; i++) {
        client->list[i] = &client->devices[i];
        client->devices[i].client = client;
        client->devices[i].description.id =
            (int)(100 + 50 * i); /* no position: one and two bytes */
        snprintf(client->devices[i].description.kind, 32, "Test device %u",
                 (unsigned)i % MAX_DEVICES);
    }
    counts.clients++;
    a->client = client;
    LEAVE;
}

static PJRT_Error *client_destroy(void *arguments)
{
    ENTER(Client_Destroy, PJRT_CLIENT_DESTROY, pjrt_client_destroy, client);
    check_alive(a->client->magic, "a client");
    if (counts.events || counts.buffers || counts.executables || counts.errors) {
        fprintf(stderr,
                "test plugin: left at Client_Destroy: %ld events, %ld buffers, %ld executables, "
                "%ld errors\n",
                counts.events, counts.buffers, counts.executables, counts.errors);
        error = fail(PJRT_FAILED_PRECONDITION, "the client is still in use");
        goto out;
    }
    a->client->magic = DEAD;
    free(a->client);
    counts.clients--;
    LEAVE;
}

static PJRT_Error *client_platform_name(void *arguments)
{
    ENTER(Client_PlatformName, PJRT_CLIENT_PLATFORM_NAME, pjrt_client_text, text_size);
    a->text = a->client->platform;
    a->text_size = strlen(a->text);
    LEAVE;
}

static PJRT_Error *client_platform_version(void *arguments)
{
    ENTER(Client_PlatformVersion, PJRT_CLIENT_PLATFORM_VERSION, pjrt_client_text, text_size);
    a->text = "the test plugin\nof vindex";
    a->text_size = strlen(a->text);
    LEAVE;
}

static PJRT_Error *client_devices(void *arguments)
{
    ENTER(Client_AddressableDevices, PJRT_CLIENT_ADDRESSABLE_DEVICES, pjrt_client_devices,
          n_devices);
    a->devices = a->client->list;
    a->n_devices = a->client->n_devices;
    LEAVE;
}

static PJRT_Error *device_get_description(void *arguments)
{
    ENTER(Device_GetDescription, PJRT_DEVICE_GET_DESCRIPTION, pjrt_device_description, description);
    a->description = &a->device->description;
    LEAVE;
}

static PJRT_Error *description_id(void *arguments)
{
    ENTER(DeviceDescription_Id, PJRT_DESCRIPTION_ID, pjrt_description_id, id);
    a->id = a->description->id;
    LEAVE;
}

static PJRT_Error *description_kind(void *arguments)
{
    ENTER(DeviceDescription_Kind, PJRT_DESCRIPTION_KIND, pjrt_description_kind, text_size);
    a->text = a->description->kind;
    a->text_size = strlen(a->text);
    LEAVE;
}

#ifndef TEST_HOLES
static PJRT_Error *device_memory_stats(void *arguments)
{
    ENTER(Device_MemoryStats, PJRT_DEVICE_MEMORY_STATS, pjrt_device_memory, peak_pool_bytes.is_set);
    long long limit = number("hbm", 0);
    if (limit == 0) {
        error = fail(PJRT_UNIMPLEMENTED, "no memory statistics");
        goto out;
    }
    a->bytes_in_use = (int64_t)a->device->bytes;
    a->bytes_limit.value = limit;
    a->bytes_limit.is_set = true;
    LEAVE;
}
#endif

/* ---- the table ----------------------------------------------------------------------------- */

static pjrt_api table = {
    .struct_size = TEST_TABLE_BYTES,
    .version = {.struct_size = sizeof(pjrt_api_version), .major = TEST_MAJOR, .minor = TEST_MINOR},
    .functions =
        {
            [PJRT_ERROR_DESTROY] = error_destroy,
            [PJRT_ERROR_MESSAGE] = error_message,
            [PJRT_ERROR_GET_CODE] = error_get_code,
            [PJRT_PLUGIN_INITIALIZE] = plugin_initialize,
            [PJRT_EVENT_DESTROY] = event_destroy,
            [PJRT_EVENT_IS_READY] = event_is_ready,
            [PJRT_EVENT_AWAIT] = event_await,
            [PJRT_CLIENT_CREATE] = client_create,
            [PJRT_CLIENT_DESTROY] = client_destroy,
            [PJRT_CLIENT_PLATFORM_NAME] = client_platform_name,
            [PJRT_CLIENT_PLATFORM_VERSION] = client_platform_version,
            [PJRT_CLIENT_ADDRESSABLE_DEVICES] = client_devices,
            [PJRT_CLIENT_COMPILE] = client_compile,
            [PJRT_BUFFER_FROM_HOST] = buffer_from_host,
            [PJRT_DESCRIPTION_ID] = description_id,
            [PJRT_DESCRIPTION_KIND] = description_kind,
            [PJRT_DEVICE_GET_DESCRIPTION] = device_get_description,
            [PJRT_EXECUTABLE_DESTROY] = executable_destroy,
            [PJRT_EXECUTABLE_OUTPUTS] = executable_outputs,
            [PJRT_LOADED_DESTROY] = loaded_destroy,
            [PJRT_LOADED_GET] = loaded_get,
            [PJRT_EXECUTE] = execute,
            [PJRT_BUFFER_DESTROY] = buffer_destroy,
            [PJRT_BUFFER_TO_HOST] = buffer_to_host,
            [PJRT_BUFFER_READY] = buffer_ready,
#ifndef TEST_HOLES
            [PJRT_DEVICE_MEMORY_STATS] = device_memory_stats,
            [PJRT_EXECUTABLE_MEMORY] = executable_memory,
            [PJRT_BUFFER_SIZE] = buffer_size,
#endif
        },
};

EXPORT const pjrt_api *GetPjrtApi(void)
{
#ifdef TEST_NULL_SLOT
    table.functions[TEST_NULL_SLOT] = NULL;
#endif
#ifdef TEST_NULL_API
    (void)table;
    return NULL;
#else
    return &table;
#endif
}
