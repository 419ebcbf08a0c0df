/*
 * plugin.c - find, load and check a plugin; call its functions and take over its errors.
 *
 * A plugin stays loaded to the end of the process: it has started threads and registered destructors.
 */
#include "kernels/pjrt/internal.h"

#include <dirent.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- errors -------------------------------------------------------------------------------- */

static const char *const code_names[] = {
    "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT", "DEADLINE",
    "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "OUT OF MEMORY",    "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",         "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED"};

static const char *const function_names[PJRT_N_FUNCTIONS] = {
    [PJRT_ERROR_DESTROY] = "Error_Destroy",
    [PJRT_ERROR_MESSAGE] = "Error_Message",
    [PJRT_ERROR_GET_CODE] = "Error_GetCode",
    [PJRT_PLUGIN_INITIALIZE] = "Plugin_Initialize",
    [PJRT_PLUGIN_ATTRIBUTES] = "Plugin_Attributes",
    [PJRT_EVENT_DESTROY] = "Event_Destroy",
    [PJRT_EVENT_IS_READY] = "Event_IsReady",
    [PJRT_EVENT_AWAIT] = "Event_Await",
    [PJRT_CLIENT_CREATE] = "Client_Create",
    [PJRT_CLIENT_DESTROY] = "Client_Destroy",
    [PJRT_CLIENT_PLATFORM_NAME] = "Client_PlatformName",
    [PJRT_CLIENT_PLATFORM_VERSION] = "Client_PlatformVersion",
    [PJRT_CLIENT_ADDRESSABLE_DEVICES] = "Client_AddressableDevices",
    [PJRT_CLIENT_COMPILE] = "Client_Compile",
    [PJRT_BUFFER_FROM_HOST] = "Client_BufferFromHostBuffer",
    [PJRT_DESCRIPTION_ID] = "DeviceDescription_Id",
    [PJRT_DESCRIPTION_KIND] = "DeviceDescription_Kind",
    [PJRT_DEVICE_GET_DESCRIPTION] = "Device_GetDescription",
    [PJRT_DEVICE_MEMORY_STATS] = "Device_MemoryStats",
    [PJRT_EXECUTABLE_DESTROY] = "Executable_Destroy",
    [PJRT_EXECUTABLE_OUTPUTS] = "Executable_NumOutputs",
    [PJRT_LOADED_DESTROY] = "LoadedExecutable_Destroy",
    [PJRT_LOADED_GET] = "LoadedExecutable_GetExecutable",
    [PJRT_EXECUTE] = "LoadedExecutable_Execute",
    [PJRT_BUFFER_DESTROY] = "Buffer_Destroy",
    [PJRT_BUFFER_SIZE] = "Buffer_OnDeviceSizeInBytes",
    [PJRT_BUFFER_TO_HOST] = "Buffer_ToHostBuffer",
    [PJRT_BUFFER_READY] = "Buffer_ReadyEvent",
    [PJRT_EXECUTABLE_MEMORY] = "Executable_GetCompiledMemoryStats",
};

/* What a plugin must have; the rest is asked for by vkern__pjrt_has. */
static const enum pjrt_function required[] = {
    PJRT_ERROR_DESTROY,
    PJRT_ERROR_MESSAGE,
    PJRT_ERROR_GET_CODE,
    PJRT_PLUGIN_INITIALIZE,
    PJRT_EVENT_DESTROY,
    PJRT_EVENT_IS_READY,
    PJRT_EVENT_AWAIT,
    PJRT_CLIENT_CREATE,
    PJRT_CLIENT_DESTROY,
    PJRT_CLIENT_PLATFORM_NAME,
    PJRT_CLIENT_PLATFORM_VERSION,
    PJRT_CLIENT_ADDRESSABLE_DEVICES,
    PJRT_CLIENT_COMPILE,
    PJRT_BUFFER_FROM_HOST,
    PJRT_DESCRIPTION_ID,
    PJRT_DESCRIPTION_KIND,
    PJRT_DEVICE_GET_DESCRIPTION,
    PJRT_EXECUTABLE_DESTROY,
    PJRT_EXECUTABLE_OUTPUTS,
    PJRT_LOADED_DESTROY,
    PJRT_LOADED_GET,
    PJRT_EXECUTE,
    PJRT_BUFFER_DESTROY,
    PJRT_BUFFER_TO_HOST,
    PJRT_BUFFER_READY,
};

bool vkern__pjrt_fail(struct vkern_pjrt_error *error, int code, const char *format, ...)
{
    va_list list;
    error->code = code;
    va_start(list, format);
    vsnprintf(error->text, sizeof error->text, format, list);
    va_end(list);
    for (char *c = error->text; *c; c++) /* one line: compilers write many */
        if ((unsigned char)*c < 32) *c = ' ';
    return false;
}

/* The two void functions have the type of the others in the table. */
static void call_void(const struct pjrt_plugin *plugin, enum pjrt_function function,
                      void *arguments)
{
    pjrt_fn *address = plugin->api->functions[function];
    pjrt_void_fn *call;
    memcpy(&call, &address, sizeof call);
    call(arguments);
}

static void error_free(const struct pjrt_plugin *plugin, PJRT_Error *error)
{
    pjrt_error_destroy destroy = {.struct_size = sizeof destroy, .error = error};
    if (atomic_load(&plugin->is_strict))
        destroy.struct_size = PJRT_EXACT(pjrt_error_destroy, error);
    call_void(plugin, PJRT_ERROR_DESTROY, &destroy);
}

static int error_code(const struct pjrt_plugin *plugin, const PJRT_Error *error)
{
    pjrt_error_get_code get = {.struct_size = sizeof get, .error = error};
    pjrt_fn *call = plugin->api->functions[PJRT_ERROR_GET_CODE];
    PJRT_Error *own;

    own = call(&get);
    if (own != NULL) { /* maybe it wants its own size */
        error_free(plugin, own);
        get.struct_size = PJRT_EXACT(pjrt_error_get_code, code);
        own = call(&get);
    }
    if (own == NULL) return get.code;
    error_free(plugin, own);
    return PJRT_UNKNOWN;
}

/* Copy an error and free it. */
static void take_error(const struct pjrt_plugin *plugin, enum pjrt_function function,
                       PJRT_Error *given, struct vkern_pjrt_error *error)
{
    pjrt_error_message message = {.struct_size = sizeof message, .error = given};
    int code = error_code(plugin, given);
    const char *name = code >= 0 && code <= PJRT_UNAUTHENTICATED ? code_names[code] : "UNKNOWN";

    call_void(plugin, PJRT_ERROR_MESSAGE, &message);
    if (message.message == NULL) {
        message.struct_size = PJRT_EXACT(pjrt_error_message, message_size);
        call_void(plugin, PJRT_ERROR_MESSAGE, &message);
    }
    int length = message.message_size > 300 ? 300 : (int)message.message_size;
    vkern__pjrt_fail(error, code == PJRT_OK ? PJRT_UNKNOWN : code, "%s: %s: %.*s", name,
                     function_names[function], message.message ? length : 0,
                     message.message ? message.message : "");
    error_free(plugin, given);
}

bool vkern__pjrt_call(struct pjrt_plugin *plugin, enum pjrt_function function, void *arguments,
                      size_t size, size_t exact, struct vkern_pjrt_error *error)
{
    bool was_strict = atomic_load(&plugin->is_strict);
    size_t *struct_size = arguments; /* its first field */
    PJRT_Error *given;

    *struct_size = was_strict ? exact : size;
    given = plugin->api->functions[function](arguments);
    if (given == NULL) return true;
    take_error(plugin, function, given, error);
    if (was_strict || error->code != PJRT_INVALID_ARGUMENT || strstr(error->text, "size") == NULL)
        return false;

    *struct_size = exact;
    given = plugin->api->functions[function](arguments);
    if (given != NULL) {
        take_error(plugin, function, given, error);
        return false;
    }
    atomic_store(&plugin->is_strict, true);
    return true;
}

bool vkern__pjrt_has(const struct pjrt_plugin *plugin, enum pjrt_function function)
{
    return plugin->api->struct_size >= offsetof(pjrt_api, functions) + 8 * ((size_t)function + 1) &&
           plugin->api->functions[function] != NULL;
}

/* ---- finding ------------------------------------------------------------------------------- */

/* PCI vendor 1ae0 is Google: a TPU chip. */
static bool has_tpu(void)
{
    DIR *directory = opendir("/sys/bus/pci/devices");
    bool found = false;

    for (struct dirent *entry; directory != NULL && !found && (entry = readdir(directory));) {
        char path[400], vendor[16] = "";
        snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/vendor", entry->d_name);
        FILE *file = fopen(path, "r");
        if (file == NULL) continue;
        if (fgets(vendor, sizeof vendor, file) != NULL) found = strncmp(vendor, "0x1ae0", 6) == 0;
        fclose(file);
    }
    if (directory != NULL) closedir(directory);
    return found;
}

static const char *environment(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && *value != '\0' ? value : NULL;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

static const char *find(const char *given, struct vkern_pjrt_error *error)
{
    const char *path = given != NULL && *given != '\0' ? given : environment("VINDEX_PJRT_PLUGIN");
    bool tpu = has_tpu();

    if (path == NULL) path = environment("TPU_LIBRARY_PATH");
    if (path == NULL && tpu) path = "libtpu.so";
    if (path == NULL) {
        vkern__pjrt_fail(error, PJRT_NOT_FOUND,
                         "no PJRT plugin: name one, or set VINDEX_PJRT_PLUGIN to its path");
        return NULL;
    }
    /* Without a chip libtpu waits for a metadata server that is not there. */
    if (strstr(base_name(path), "libtpu") != NULL && !tpu && !environment("TPU_SKIP_MDS_QUERY")) {
        vkern__pjrt_fail(error, PJRT_UNAVAILABLE,
                         "%s: this machine has no TPU (TPU_SKIP_MDS_QUERY=1 loads it anyway)",
                         base_name(path));
        return NULL;
    }
    return path;
}

/* ---- loading ------------------------------------------------------------------------------- */

static const int guarded[] = {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE, SIGTERM, SIGINT, SIGPIPE};
enum { N_GUARDED = sizeof guarded / sizeof *guarded };

/* Some plugins install handlers of their own when loaded: the program's stay. */
static void *load_library(const char *path)
{
    struct sigaction before[N_GUARDED];
    for (int i = 0; i < N_GUARDED; i++)
        sigaction(guarded[i], NULL, &before[i]);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    for (int i = 0; i < N_GUARDED; i++)
        sigaction(guarded[i], &before[i], NULL);
    return library;
}

static bool check_api(const char *name, const pjrt_api *api, struct vkern_pjrt_error *error)
{
    if (api == NULL)
        return vkern__pjrt_fail(error, PJRT_INTERNAL, "%s: GetPjrtApi returned nothing", name);
    if (api->version.major != 0 || api->version.minor < PJRT_LEAST_MINOR)
        return vkern__pjrt_fail(error, PJRT_UNIMPLEMENTED,
                                "%s has PJRT API %d.%d; expected 0.%d or a later 0.x", name,
                                api->version.major, api->version.minor, PJRT_LEAST_MINOR);
    if (api->struct_size < PJRT_LEAST_SIZE)
        return vkern__pjrt_fail(error, PJRT_UNIMPLEMENTED,
                                "%s has a function table of %zu bytes; expected at least %d", name,
                                api->struct_size, PJRT_LEAST_SIZE);
    for (size_t i = 0; i < sizeof required / sizeof *required; i++)
        if (api->functions[required[i]] == NULL)
            return vkern__pjrt_fail(error, PJRT_UNIMPLEMENTED, "%s lacks PJRT_%s", name,
                                    function_names[required[i]]);
    return true;
}

static struct pjrt_plugin *plugins; /* all that were loaded; the registry's mutex is client.c's */

static struct pjrt_plugin *known_plugin(const pjrt_api *api)
{
    struct pjrt_plugin *plugin = plugins;
    while (plugin != NULL && plugin->api != api)
        plugin = plugin->next;
    return plugin;
}

static bool register_plugin(const char *name, const pjrt_api *api, struct pjrt_plugin **plugin,
                            struct vkern_pjrt_error *error)
{
    *plugin = calloc(1, sizeof **plugin);
    if (*plugin == NULL)
        return vkern__pjrt_fail(error, VKERN_PJRT_NO_MEMORY, "out of memory on the host");
    (*plugin)->api = api;
    (*plugin)->is_cuda = strstr(name, "cuda") != NULL || strstr(name, "gpu") != NULL;
    atomic_init(&(*plugin)->is_strict, false);
    snprintf((*plugin)->name, sizeof(*plugin)->name, "%s", name);
    (*plugin)->next = plugins;
    plugins = *plugin;
    return true;
}

bool vkern__pjrt_load(const char *given, struct pjrt_plugin **plugin,
                      struct vkern_pjrt_error *error)
{
    pjrt_plugin_initialize initialize = {0};
    const pjrt_api *(*get_api)(void) = NULL;
    const char *path = find(given, error);
    if (path == NULL) return false;

    void *library = load_library(path);
    if (library == NULL) {
        const char *reason = dlerror();
        return vkern__pjrt_fail(error, PJRT_NOT_FOUND, "%s can not be loaded: %s", path,
                                reason != NULL ? reason : "no reason given");
    }
    /* The library is not closed on failure either: its constructors have run. */
    void *address = dlsym(library, "GetPjrtApi");
    memcpy(&get_api, &address, sizeof get_api);
    if (get_api == NULL)
        return vkern__pjrt_fail(error, PJRT_INVALID_ARGUMENT,
                                "%s is no PJRT plugin: it has no GetPjrtApi", base_name(path));
    const pjrt_api *api = get_api();
    if (!check_api(base_name(path), api, error)) return false;
    *plugin = known_plugin(api);
    if (*plugin == NULL && !register_plugin(base_name(path), api, plugin, error)) return false;
    if ((*plugin)->is_initialized) return true;
    (*plugin)->is_initialized =
        vkern__pjrt_call(*plugin, PJRT_PLUGIN_INITIALIZE, &initialize, sizeof initialize,
                         offsetof(pjrt_plugin_initialize, reserved), error);
    return (*plugin)->is_initialized;
}
