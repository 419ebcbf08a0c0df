/*
 * plugin.c - a PJRT plugin for tests: as strict as XLA where that is stricter than convenient, as late as
 * hardware may be, and faulty on demand (plugin.h).
 *
 *   - Sizes of structs, create options, compile options, argument types and shapes are checked.
 *   - Nothing happens before it is waited for: an upload that may read host memory late does so when
 *     its event is awaited; an execution runs when a result is needed; a download writes when its event
 *     is awaited. Whoever does not wait sees old data.
 *   - Without a host layout a download comes back transposed.
 *   - What lives is counted; handles that were freed are poisoned.
 *
 * Variants by macro: TEST_MAJOR, TEST_MINOR, TEST_TABLE_BYTES, TEST_NULL_SLOT, TEST_NO_SYMBOL,
 * TEST_NULL_API, TEST_EXTRA (args larger than known by so many bytes), TEST_STRICT (equal sizes only),
 * TEST_HOLES (no optional function).
 */
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/pjrt/abi.h"
#include "meaning.h"
#include "plugin.h"

#ifndef TEST_MAJOR
#define TEST_MAJOR 0
#endif
#ifndef TEST_MINOR
#define TEST_MINOR 104
#endif
#ifndef TEST_TABLE_BYTES
#define TEST_TABLE_BYTES sizeof(pjrt_api)
#endif
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

static pthread_mutex_t world = PTHREAD_MUTEX_INITIALIZER;
static struct pjrt_test_counts counts;
static long calls[PJRT_N_FUNCTIONS];

#ifdef TEST_NO_SYMBOL
#define EXPORT static __attribute__((unused))
#else
#define EXPORT __attribute__((visibility("default")))
#endif

__attribute__((visibility("default"))) void pjrt_test_counts(struct pjrt_test_counts *to)
{
    pthread_mutex_lock(&world);
    *to = counts;
    pthread_mutex_unlock(&world);
}

__attribute__((visibility("default"))) void pjrt_test_reset(void)
{
    pthread_mutex_lock(&world);
    memset(calls, 0, sizeof calls);
    counts.compiled = counts.executed = counts.uploads = counts.pinned = 0;
    counts.uploaded_bytes = 0;
    pthread_mutex_unlock(&world);
}

/* ---- the environment ----------------------------------------------------------------------- */

/* The value of a key, copied; false if it is not there. */
static bool setting(const char *key, char *value, size_t size)
{
    const char *all = getenv("VINDEX_PJRT_TEST");
    size_t length = strlen(key);
    for (const char *at = all; at && *at; at += strcspn(at, " "), at += strspn(at, " "))
        if (strncmp(at, key, length) == 0 && at[length] == '=') {
            snprintf(value, size, "%.*s", (int)strcspn(at + length + 1, " "), at + length + 1);
            return true;
        }
    return false;
}

static long long number(const char *key, long long otherwise)
{
    char value[32];
    return setting(key, value, sizeof value) ? atoll(value) : otherwise;
}

/* The code that the nth call of `name` is to fail with; 0: none. */
static int fault(const char *name, long nth)
{
    char value[80];
    if (!setting("fault", value, sizeof value)) return 0;
    char *rest = strchr(value, ':');
    if (rest) *rest++ = '\0';
    if (strcmp(value, name) != 0) return 0;
    if (rest && atol(rest) != 0 && atol(rest) != nth) return 0;
    rest = rest ? strchr(rest, ':') : NULL;
    return rest ? atoi(rest + 1) : PJRT_INTERNAL;
}

/* ---- errors and checks --------------------------------------------------------------------- */

static PJRT_Error *fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
static PJRT_Error *fail(int code, const char *format, ...)
{
    PJRT_Error *error = calloc(1, sizeof *error);
    va_list list;
    error->magic = ALIVE;
    error->code = code;
    va_start(list, format);
    vsnprintf(error->text, sizeof error->text, format, list);
    va_end(list);
    counts.errors++;
    return error;
}

static void check_alive(int magic, const char *what)
{
    if (magic == ALIVE) return;
    fprintf(stderr, "test plugin: %s was freed, or is none\n", what);
    abort();
}

static PJRT_Error *check_size(const char *name, size_t given, size_t known)
{
    known += TEST_EXTRA;
    if (IS_STRICT ? given == known : given >= known) return NULL;
    return fail(PJRT_INVALID_ARGUMENT, "Unexpected PJRT_%s_Args size: expected %zu, got %zu.", name,
                known, given);
}

/* Begin a function: its arguments, their size, and the fault it was told to have. The world is locked
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

/* ---- buffers and tasks (the world is locked) ------------------------------------------------ */

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void task_unref(struct task *task);

static void buffer_unref(PJRT_Buffer *buffer)
{
    if (!buffer || --buffer->refs > 0) return;
    buffer->device->bytes -= buffer->bytes;
    counts.device_bytes -= buffer->bytes;
    if (buffer->task) {
        for (size_t i = 0; i < 2; i++)
            if (buffer->task->outputs[i] == buffer) buffer->task->outputs[i] = NULL;
        task_unref(buffer->task);
    }
    free(buffer->data);
    free(buffer);
}

static void task_unref(struct task *task)
{
    if (!task || --task->refs > 0) return;
    for (size_t i = 0; i < 3; i++)
        buffer_unref(task->arguments[i]);
    free(task);
}

static PJRT_Buffer *buffer_new(PJRT_Device *device, int type, const int64_t *dims, size_t n_dims)
{
    PJRT_Buffer *buffer = calloc(1, sizeof *buffer);
    buffer->magic = ALIVE;
    buffer->refs = 1;
    buffer->device = device;
    buffer->type = type;
    buffer->n_dims = n_dims;
    buffer->bytes = type == PJRT_BF16 ? 2 : 4;
    for (size_t i = 0; i < n_dims; i++) {
        buffer->dims[i] = dims[i];
        buffer->bytes *= (size_t)dims[i];
    }
    buffer->data = malloc(buffer->bytes ? buffer->bytes : 1);
    memset(buffer->data, 0xA5, buffer->bytes);
    device->bytes += buffer->bytes;
    counts.device_bytes += buffer->bytes;
    return buffer;
}

static void spoil(struct task *task, float *values, int32_t *rows)
{
    size_t n = (size_t)task->meaning.q * task->meaning.k;
    for (size_t i = 0; i < n && fault("Execute.nan", 0); i++)
        memset(&values[i], 0xFF, 4);
    for (size_t i = 0; rows && i < n && fault("Execute.rows", 0); i++)
        rows[i] = (int32_t)task->meaning.n + 1000;
    for (size_t i = 0; i < n && fault("Execute.wrong", 0); i++)
        values[i] += 1 + values[i] * 0.01F;
}

static void materialize(PJRT_Buffer *buffer);

static void task_run(struct task *task)
{
    const void *arguments[3] = {NULL};
    if (task->is_done) return;
    task->is_done = true;
    int64_t left = task->ready_ns - now_ns();
    if (left > 0) nanosleep(&(struct timespec){left / 1000000000, left % 1000000000}, NULL);
    for (size_t i = 0; i < 3 && task->arguments[i]; i++) {
        materialize(task->arguments[i]);
        arguments[i] = task->arguments[i]->data;
    }
    if (task->outputs[0] && !task->code) {
        /* a result whose buffer is gone still needs room */
        void *rows = task->outputs[1] ? task->outputs[1]->data : NULL, *room = NULL;
        if (!rows) rows = room = malloc((size_t)task->meaning.q * task->meaning.k * 4);
        meaning_run(&task->meaning, arguments, task->outputs[0]->data, rows);
        if (task->outputs[1]) spoil(task, task->outputs[0]->data, rows);
        free(room);
    }
}

static void materialize(PJRT_Buffer *buffer)
{
    if (buffer->pending) memcpy(buffer->data, buffer->pending, buffer->bytes);
    buffer->pending = NULL;
    if (buffer->task) task_run(buffer->task);
}

/* ---- events -------------------------------------------------------------------------------- */

static PJRT_Event *event_new(void)
{
    PJRT_Event *event = calloc(1, sizeof *event);
    event->magic = ALIVE;
    counts.events++;
    return event;
}

static void transfer(PJRT_Event *event)
{
    PJRT_Buffer *source = event->source;
    materialize(source);
    if (!event->is_transposed || source->n_dims != 2) {
        memcpy(event->destination, source->data, source->bytes);
    } else {
        size_t size = source->type == PJRT_BF16 ? 2 : 4, n = (size_t)source->dims[0],
               m = (size_t)source->dims[1];
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < m; j++)
                memcpy((char *)event->destination + (j * n + i) * size,
                       (char *)source->data + (i * m + j) * size, size);
    }
    event->destination = NULL;
}

static PJRT_Error *event_await(void *arguments)
{
    ENTER(Event_Await, PJRT_EVENT_AWAIT, pjrt_event_args, event);
    check_alive(a->event->magic, "an event");
    if (a->event->task) {
        task_run(a->event->task);
        if (!a->event->code) a->event->code = a->event->task->code;
    } else if (a->event->source && a->event->destination) {
        transfer(a->event);
    } else if (a->event->source) {
        materialize(a->event->source);
        if (a->event->is_ready_event) a->event->code = a->event->source->failed;
    }
    if (a->event->code) error = fail(a->event->code, "injected, and told by an event");
    LEAVE;
}

static PJRT_Error *event_is_ready(void *arguments)
{
    ENTER(Event_IsReady, PJRT_EVENT_IS_READY, pjrt_event_is_ready, is_ready);
    check_alive(a->event->magic, "an event");
    a->is_ready = !a->event->task || now_ns() >= a->event->task->ready_ns;
    LEAVE;
}

static PJRT_Error *event_destroy(void *arguments)
{
    ENTER(Event_Destroy, PJRT_EVENT_DESTROY, pjrt_event_args, event);
    check_alive(a->event->magic, "an event");
    a->event->magic = DEAD;
    task_unref(a->event->task);
    buffer_unref(a->event->source);
    free(a->event);
    counts.events--;
    LEAVE;
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
        snprintf(client->devices[i].description.kind, 32, "Test device %u", (unsigned)i % MAX_DEVICES);
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

/* ---- programs ------------------------------------------------------------------------------ */

/* The CompileOptionsProto as program.c writes it, field by field. */
static uint64_t take_varint(const unsigned char **at, const unsigned char *end)
{
    uint64_t value = 0;
    for (int shift = 0; *at < end; shift += 7) {
        unsigned char byte = *(*at)++;
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) break;
    }
    return value;
}

struct options {
    uint64_t ordinal, replicas, partitions, portable, device_id;
};

static void read_options(const unsigned char *at, const unsigned char *end, int depth,
                         struct options *options)
{
    while (at < end) {
        uint64_t key = take_varint(&at, end), value = take_varint(&at, end);
        const unsigned char *inside = at;
        if ((key & 7) == 2) {
            if (value > (uint64_t)(end - at)) return;
            at += value;
        }
        if (depth == 0 && key == 0x1A) read_options(inside, at, 1, options);
        if (depth == 0 && key == 0x20) options->portable = value;
        if (depth == 1 && key == 0x08) options->ordinal = value;
        if (depth == 1 && key == 0x20) options->replicas = value;
        if (depth == 1 && key == 0x28) options->partitions = value;
        if (depth == 1 && key == 0x4A) read_options(inside, at, 2, options);
        if (depth == 2 && key == 0x1A) read_options(inside, at, 3, options);
        if (depth == 3 && key == 0x0A) options->device_id = take_varint(&inside, at);
    }
}

static PJRT_Error *check_program(const pjrt_client_compile *a, struct meaning *meaning,
                                 struct options *options)
{
    char why[400], kinds[80];
    PJRT_Error *error =
        check_size("Program", a->program->struct_size, PJRT_EXACT(pjrt_program, format_size));
    if (error) return error;
    if (a->program->format_size != 4 || memcmp(a->program->format, "mlir", 4) != 0)
        return fail(PJRT_INVALID_ARGUMENT, "unknown program format %.*s",
                    (int)a->program->format_size, a->program->format);
    read_options((const unsigned char *)a->options,
                 (const unsigned char *)a->options + a->options_size, 0, options);
    if (options->ordinal != UINT64_MAX || options->replicas != 1 || options->partitions != 1)
        return fail(PJRT_INVALID_ARGUMENT,
                    "compile options: ordinal %lld, replicas %llu, partitions %llu",
                    (long long)options->ordinal, (unsigned long long)options->replicas,
                    (unsigned long long)options->partitions);
    if (!meaning_read(a->program->code, a->program->code_size, meaning, why, sizeof why))
        return fail(PJRT_INVALID_ARGUMENT,
                    "MLIR parsing failed: <unknown>:1:1: error: %s\nsee current operation", why);
    /* A compiler for another machine does not have ApproxTopK. */
    if (strcmp(meaning->kind, "approx") == 0 && strcmp(a->client->platform, "tpu") != 0)
        return fail(PJRT_UNIMPLEMENTED, "PartialReduce is not implemented on this platform");
    if (setting("kinds", kinds, sizeof kinds)) {
        char all[100], one[40];
        snprintf(all, sizeof all, ",%s,", kinds);
        snprintf(one, sizeof one, ",%s,", meaning->kind);
        if (!strstr(all, one))
            return fail(PJRT_INVALID_ARGUMENT,
                        "MLIR parsing failed: error: custom op '%s' is unknown", meaning->kind);
    }
    return NULL;
}

static PJRT_Error *client_compile(void *arguments)
{
    struct meaning meaning;
    struct options options = {0};
    ENTER(Client_Compile, PJRT_CLIENT_COMPILE, pjrt_client_compile, executable);
    check_alive(a->client->magic, "a client");
    if ((error = check_program(a, &meaning, &options))) goto out;
    PJRT_LoadedExecutable *loaded = calloc(1, sizeof *loaded);
    loaded->magic = ALIVE;
    loaded->client = a->client;
    loaded->meaning = meaning;
    loaded->is_portable = options.portable != 0;
    loaded->device_id = (int)options.device_id;
    loaded->n_outputs =
        strcmp(meaning.kind, "scores") == 0 || strcmp(meaning.kind, "append") == 0 ? 1 : 2;
    loaded->n_outputs += fault("Compile.outputs", 0) != 0;
    counts.executables++;
    counts.compiled++;
    counts.pinned += !loaded->is_portable;
    a->executable = loaded;
    LEAVE;
}

static PJRT_Error *loaded_destroy(void *arguments)
{
    ENTER(LoadedExecutable_Destroy, PJRT_LOADED_DESTROY, pjrt_loaded_destroy, executable);
    check_alive(a->executable->magic, "an executable");
    a->executable->magic = DEAD;
    free(a->executable);
    counts.executables--;
    LEAVE;
}

static PJRT_Error *loaded_get(void *arguments)
{
    ENTER(LoadedExecutable_GetExecutable, PJRT_LOADED_GET, pjrt_loaded_get, executable);
    PJRT_Executable *executable = calloc(1, sizeof *executable);
    executable->magic = ALIVE;
    executable->meaning = a->loaded->meaning;
    executable->n_outputs = a->loaded->n_outputs;
    counts.executables++;
    a->executable = executable;
    LEAVE;
}

static PJRT_Error *executable_destroy(void *arguments)
{
    ENTER(Executable_Destroy, PJRT_EXECUTABLE_DESTROY, pjrt_executable_destroy, executable);
    check_alive(a->executable->magic, "an executable");
    a->executable->magic = DEAD;
    free(a->executable);
    counts.executables--;
    LEAVE;
}

static PJRT_Error *executable_outputs(void *arguments)
{
    ENTER(Executable_NumOutputs, PJRT_EXECUTABLE_OUTPUTS, pjrt_executable_outputs, n_outputs);
    a->n_outputs = a->executable->n_outputs;
    LEAVE;
}

#ifndef TEST_HOLES
static PJRT_Error *executable_memory(void *arguments)
{
    ENTER(Executable_GetCompiledMemoryStats, PJRT_EXECUTABLE_MEMORY, pjrt_executable_memory,
          peak_unpadded_heap);
    a->temp = (int64_t)a->executable->meaning.q * a->executable->meaning.n * 8;
    LEAVE;
}
#endif

/* ---- execution ----------------------------------------------------------------------------- */

static PJRT_Error *check_argument(const PJRT_Buffer *buffer, const PJRT_Device *device,
                                  size_t number, int type, const int64_t *dims, size_t n_dims)
{
    check_alive(buffer->magic, "a buffer");
    bool same = buffer->type == type && buffer->n_dims == n_dims;
    for (size_t i = 0; same && i < n_dims; i++)
        same = buffer->dims[i] == dims[i];
    if (!same)
        return fail(PJRT_INVALID_ARGUMENT, "argument %zu does not have the shape of the program's",
                    number);
    if (buffer->device != device)
        return fail(PJRT_INVALID_ARGUMENT, "argument %zu lies on another device", number);
    return NULL;
}

static PJRT_Error *check_arguments(const struct meaning *m, const PJRT_Device *device,
                                   PJRT_Buffer *const *arguments, size_t n)
{
    int type = strcmp(m->type, "f32") == 0 ? PJRT_F32 : PJRT_BF16;
    int64_t q = m->q, rows = m->n, d = m->d;
    PJRT_Error *error = n == 3 ? NULL : fail(PJRT_INVALID_ARGUMENT, "%zu arguments; expected 3", n);
    if (!error && strcmp(m->kind, "append") == 0) {
        error = check_argument(arguments[0], device, 0, type, (int64_t[]){rows, d}, 2);
        if (!error) error = check_argument(arguments[1], device, 1, type, (int64_t[]){q, d}, 2);
        if (!error) error = check_argument(arguments[2], device, 2, PJRT_S32, NULL, 0);
        return error;
    }
    if (!error && m->terms > 1)
        error = check_argument(arguments[0], device, 0, type, (int64_t[]){m->terms, q, d}, 3);
    else if (!error)
        error = check_argument(arguments[0], device, 0, type, (int64_t[]){q, d}, 2);
    if (!error) error = check_argument(arguments[1], device, 1, type, (int64_t[]){rows, d}, 2);
    if (!error) error = check_argument(arguments[2], device, 2, PJRT_F32, &rows, 1);
    return error;
}

static struct task *task_new(const struct meaning *m, PJRT_Device *device,
                             PJRT_Buffer *const *arguments, PJRT_Buffer **outputs)
{
    struct task *task = calloc(1, sizeof *task);
    bool scores = strcmp(m->kind, "scores") == 0, append = strcmp(m->kind, "append") == 0;
    int type = !append || strcmp(m->type, "f32") == 0 ? PJRT_F32 : PJRT_BF16;
    int64_t dims[2] = {append ? m->n : m->q, append ? m->d : scores ? m->n : m->k};
    task->refs = 1;
    task->meaning = *m;
    task->ready_ns = now_ns() + number("delay_ms", 0) * 1000000;
    task->code = fault("Execute.async", calls[PJRT_EXECUTE]);
    for (size_t i = 0; i < 3; i++) {
        task->arguments[i] = arguments[i];
        arguments[i]->refs++;
    }
    for (size_t i = 0; i < (scores || append ? 1u : 2u); i++) {
        outputs[i] = task->outputs[i] = buffer_new(device, i ? PJRT_S32 : type, dims, 2);
        outputs[i]->task = task;
        task->refs++;
        counts.buffers++;
    }
    return task;
}

static PJRT_Error *execute(void *arguments)
{
    ENTER(Execute, PJRT_EXECUTE, pjrt_execute, execute_device);
    PJRT_LoadedExecutable *loaded = a->executable;
    check_alive(loaded->magic, "an executable");
    if (!a->options || (error = check_size("ExecuteOptions", a->options->struct_size,
                                           PJRT_EXACT(pjrt_execute_options, multi_slice_config))))
        goto out;
    PJRT_Device *device = a->execute_device;
    if (device && (!loaded->is_portable || number("portable", 1) == 0)) {
        error = fail(PJRT_UNIMPLEMENTED, "execute_device is not supported");
        goto out;
    }
    for (size_t i = 0; !device && i < loaded->client->n_devices; i++)
        if (loaded->client->devices[i].description.id == loaded->device_id)
            device = &loaded->client->devices[i];
    if (!device) device = &loaded->client->devices[0];
    if (a->n_devices != 1) {
        error = fail(PJRT_INVALID_ARGUMENT, "%zu devices", a->n_devices);
        goto out;
    }
    if ((error = check_arguments(&loaded->meaning, device, a->argument_lists[0], a->n_arguments)))
        goto out;
    struct task *task =
        task_new(&loaded->meaning, device, a->argument_lists[0], a->output_lists[0]);
    counts.executed++;
    if (a->complete_events) {
        a->complete_events[0] = event_new();
        a->complete_events[0]->task = task; /* the creator's reference */
    } else {
        task_unref(task);
    }
    LEAVE;
}

/* ---- transfers ----------------------------------------------------------------------------- */

static PJRT_Error *buffer_from_host(void *arguments)
{
    ENTER(BufferFromHostBuffer, PJRT_BUFFER_FROM_HOST, pjrt_buffer_from_host, buffer);
    check_alive(a->client->magic, "a client");
    if (a->n_dims > 3 || a->n_byte_strides || a->memory || a->layout || !a->device) {
        error = fail(PJRT_UNIMPLEMENTED, "this plugin knows dense arrays on a device only");
        goto out;
    }
    PJRT_Buffer *buffer = buffer_new(a->device, a->type, a->dims, a->n_dims);
    long long limit = number("hbm", 0);
    bool exhausted = limit && a->device->bytes > (uint64_t)limit;
    if (exhausted && !number("hbm_late", 0)) {
        buffer_unref(buffer);
        error = fail(PJRT_RESOURCE_EXHAUSTED,
                     "Out of memory while trying to allocate on the test device");
        goto out;
    }
    buffer->failed = exhausted ? PJRT_RESOURCE_EXHAUSTED : fault("Buffer.async", nth);
    if (a->semantics == PJRT_DURING_CALL)
        memcpy(buffer->data, a->data, buffer->bytes);
    else
        buffer->pending = a->data;
    counts.buffers++;
    counts.uploads++;
    counts.uploaded_bytes += buffer->bytes;
    a->buffer = buffer;
    a->done_with_host_buffer = event_new();
    a->done_with_host_buffer->source = buffer;
    buffer->refs++;
    LEAVE;
}

static PJRT_Error *buffer_to_host(void *arguments)
{
    ENTER(ToHostBuffer, PJRT_BUFFER_TO_HOST, pjrt_buffer_to_host, event);
    check_alive(a->source->magic, "a buffer");
    if (!a->destination) {
        a->destination_size = a->source->bytes;
        goto out;
    }
    if (a->destination_size < a->source->bytes) {
        error = fail(PJRT_INVALID_ARGUMENT, "%zu bytes of room; expected %zu", a->destination_size,
                     a->source->bytes);
        goto out;
    }
    const pjrt_layout *layout = a->host_layout;
    if (layout && (error = check_size("Buffer_MemoryLayout", layout->struct_size,
                                      PJRT_EXACT(pjrt_layout, type))))
        goto out;
    if (layout && (layout->type != PJRT_TILED || layout->tiled.n_tiles ||
                   layout->tiled.struct_size != sizeof layout->tiled ||
                   layout->tiled.n_minor_to_major != a->source->n_dims)) {
        error = fail(PJRT_UNIMPLEMENTED, "only untiled layouts of the array's rank");
        goto out;
    }
    memset(a->destination, 0x5A, a->source->bytes);
    a->event = event_new();
    a->event->source = a->source;
    a->event->destination = a->destination;
    a->event->is_transposed = !layout || layout->tiled.minor_to_major[0] == 0;
    a->event->code = fault("ToHostBuffer.async", nth);
    a->source->refs++;
    LEAVE;
}

static PJRT_Error *buffer_ready(void *arguments)
{
    ENTER(Buffer_ReadyEvent, PJRT_BUFFER_READY, pjrt_buffer_ready, event);
    check_alive(a->buffer->magic, "a buffer");
    a->event = event_new();
    a->event->source = a->buffer;
    a->event->is_ready_event = true;
    a->buffer->refs++;
    LEAVE;
}

static PJRT_Error *buffer_destroy(void *arguments)
{
    ENTER(Buffer_Destroy, PJRT_BUFFER_DESTROY, pjrt_buffer_destroy, buffer);
    check_alive(a->buffer->magic, "a buffer");
    a->buffer->magic = DEAD; /* tasks and events still hold it */
    buffer_unref(a->buffer);
    counts.buffers--;
    LEAVE;
}

#ifndef TEST_HOLES
/* As a TPU pads: rows to a multiple of 128 elements. */
static PJRT_Error *buffer_size(void *arguments)
{
    ENTER(Buffer_OnDeviceSizeInBytes, PJRT_BUFFER_SIZE, pjrt_buffer_size, size_bytes);
    a->size_bytes = a->buffer->bytes;
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
