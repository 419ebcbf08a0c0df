/*
 * program.c - compile programs, choose among variants, run them.
 *
 * One executable serves all devices where the plugin compiles portable ones and takes a device at
 * launch; else there is one for each device. A program is made once and kept until the client goes.
 */
#include "kernels/pjrt/internal.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

struct vkern_pjrt_program {
    struct vkern_pjrt_program *next;
    struct vkern_pjrt *client;
    struct vkern_pjrt_spec spec;
    pthread_mutex_t mutex; /* while compiling */
    PJRT_LoadedExecutable *portable;
    PJRT_LoadedExecutable **pinned; /* [n_devices], made when first used */
    uint64_t scratch_bytes;
    size_t n_outputs;
    bool is_compiled;
};

struct vkern_pjrt_run {
    struct vkern_pjrt *client;
    PJRT_Event *complete;
    PJRT_Buffer *outputs[2];
    size_t n_outputs;
};

/* ---- compiling ----------------------------------------------------------------------------- */

/*
 * CompileOptionsProto (openxla/xla, xla/pjrt/proto/compile_options.proto), as bytes:
 *     3: executable_build_options  1: device_ordinal = -1  4: replicas = 1  5: partitions = 1
 *                                  9: device_assignment    1: replicas = 1  2: computations = 1
 *                                                          3: { 1: the device's id, packed }
 *     4: compile_portable_executable
 */
static size_t put_varint(unsigned char *to, uint64_t value)
{
    size_t n = 0;
    for (; value >= 128; value >>= 7)
        to[n++] = (unsigned char)(value | 128);
    to[n++] = (unsigned char)value;
    return n;
}

static size_t compile_options(bool portable, int device_id, unsigned char to[64])
{
    static const unsigned char build[] = {0x08, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
                                          0xFF, 0xFF, 0x01, 0x20, 0x01, 0x28, 0x01};
    unsigned char id[10], pin[24] = {0};
    size_t n_id = put_varint(id, (uint64_t)(int64_t)device_id), n_pin = 0, n = 0;

    if (!portable) {
        const unsigned char start[] = {0x4A, (unsigned char)(8 + n_id),
                                       0x08, 0x01,
                                       0x10, 0x01,
                                       0x1A, (unsigned char)(2 + n_id),
                                       0x0A, (unsigned char)n_id};
        memcpy(pin, start, sizeof start);
        memcpy(pin + sizeof start, id, n_id);
        n_pin = sizeof start + n_id;
    }
    to[n++] = 0x1A;
    to[n++] = (unsigned char)(sizeof build + n_pin);
    memcpy(to + n, build, sizeof build);
    n += sizeof build;
    memcpy(to + n, pin, n_pin);
    n += n_pin;
    if (portable) {
        to[n++] = 0x20;
        to[n++] = 0x01;
    }
    return n;
}

static void executable_free(struct vkern_pjrt *client, PJRT_LoadedExecutable *executable)
{
    pjrt_loaded_destroy destroy = {.executable = executable};
    struct vkern_pjrt_error ignored;
    if (executable == NULL) return;
    PJRT_CALL(client->plugin, PJRT_LOADED_DESTROY, pjrt_loaded_destroy, &destroy, executable,
              &ignored);
}

/* Results, and what it needs beside them. */
static bool inspect(struct vkern_pjrt_program *program, PJRT_LoadedExecutable *loaded,
                    struct vkern_pjrt_error *error)
{
    struct pjrt_plugin *plugin = program->client->plugin;
    pjrt_loaded_get get = {.loaded = loaded};
    struct vkern_pjrt_error ignored;
    if (!PJRT_CALL(plugin, PJRT_LOADED_GET, pjrt_loaded_get, &get, executable, error)) return false;

    pjrt_executable_outputs outputs = {.executable = get.executable};
    pjrt_executable_memory memory = {.executable = get.executable};
    pjrt_executable_destroy destroy = {.executable = get.executable};
    bool done = PJRT_CALL(plugin, PJRT_EXECUTABLE_OUTPUTS, pjrt_executable_outputs, &outputs,
                          n_outputs, error);
    if (done && outputs.n_outputs != program->n_outputs)
        done = vkern__pjrt_fail(error, PJRT_INTERNAL,
                                "%s: a program of kind %s has %zu results; expected %zu",
                                plugin->name, vkern_pjrt_kind_name(program->spec.kind),
                                outputs.n_outputs, program->n_outputs);
    if (done && vkern__pjrt_has(plugin, PJRT_EXECUTABLE_MEMORY) &&
        PJRT_CALL(plugin, PJRT_EXECUTABLE_MEMORY, pjrt_executable_memory, &memory,
                  peak_unpadded_heap, &ignored) &&
        memory.temp > 0)
        program->scratch_bytes = (uint64_t)memory.temp;
    PJRT_CALL(plugin, PJRT_EXECUTABLE_DESTROY, pjrt_executable_destroy, &destroy, executable,
              &ignored);
    return done;
}

static bool compile(struct vkern_pjrt_program *program, bool portable, size_t device,
                    PJRT_LoadedExecutable **executable, struct vkern_pjrt_error *error)
{
    struct vkern_pjrt *client = program->client;
    unsigned char options[64];
    size_t length = vkern_pjrt_text(&program->spec, NULL, 0);
    char *text = malloc(length + 1);
    if (text == NULL)
        return vkern__pjrt_fail(error, VKERN_PJRT_NO_MEMORY, "out of memory on the host");
    vkern_pjrt_text(&program->spec, text, length + 1);

    pjrt_program code = {.struct_size = PJRT_SIZE(client->plugin, pjrt_program, format_size),
                         .code = text,
                         .code_size = length,
                         .format = "mlir",
                         .format_size = strlen("mlir")};
    pjrt_client_compile call = {.client = client->handle,
                                .program = &code,
                                .options = (const char *)options,
                                .options_size =
                                    compile_options(portable, client->devices[device].id, options)};
    bool done = PJRT_CALL(client->plugin, PJRT_CLIENT_COMPILE, pjrt_client_compile, &call,
                          executable, error);
    free(text);
    if (!done) return false;
    if (!inspect(program, call.executable, error)) {
        executable_free(client, call.executable);
        return false;
    }
    *executable = call.executable;
    return true;
}

/* The first executable; program->mutex is held. */
static bool compile_first(struct vkern_pjrt_program *program, struct vkern_pjrt_error *error)
{
    struct vkern_pjrt *client = program->client;
    struct vkern_pjrt_error second;
    if (!atomic_load(&client->is_pinned)) {
        if (compile(program, true, 0, &program->portable, error)) return true;
        if (error->code == VKERN_PJRT_EXHAUSTED || error->code == VKERN_PJRT_NO_MEMORY)
            return false;
        /* Is it the program, or that it is portable? */
        if (!compile(program, false, 0, &program->pinned[0], &second)) return false;
        atomic_store(&client->is_pinned, true);
        return true;
    }
    return program->pinned[0] != NULL || compile(program, false, 0, &program->pinned[0], error);
}

/* ---- the cache ----------------------------------------------------------------------------- */

static bool is_same(const struct vkern_pjrt_spec *a, const struct vkern_pjrt_spec *b)
{
    return a->kind == b->kind && a->type == b->type && a->terms == b->terms &&
           a->queries == b->queries && a->rows == b->rows && a->dim == b->dim && a->k == b->k &&
           a->bins == b->bins && a->recall == b->recall && a->override_rows == b->override_rows;
}

static void program_free(struct vkern_pjrt_program *program)
{
    executable_free(program->client, program->portable);
    for (size_t i = 0; program->pinned != NULL && i < program->client->n_devices; i++)
        executable_free(program->client, program->pinned[i]);
    free(program->pinned);
    pthread_mutex_destroy(&program->mutex);
    free(program);
}

void vkern__pjrt_programs_free(struct vkern_pjrt *client)
{
    while (client->programs != NULL) {
        struct vkern_pjrt_program *program = client->programs;
        client->programs = program->next;
        program_free(program);
    }
}

static struct vkern_pjrt_program *program_new(struct vkern_pjrt *client,
                                              const struct vkern_pjrt_spec *spec)
{
    struct vkern_pjrt_program *program = calloc(1, sizeof *program);
    if (program == NULL) return NULL;
    pthread_mutex_init(&program->mutex, NULL);
    program->client = client;
    program->spec = *spec;
    program->n_outputs = spec->kind == VKERN_PJRT_SCORES || spec->kind == VKERN_PJRT_APPEND ? 1 : 2;
    program->pinned = calloc(client->n_devices, sizeof(PJRT_LoadedExecutable *));
    if (program->pinned != NULL) return program;
    program_free(program);
    return NULL;
}

/* The list's entry, compiled or not; NULL: out of memory. */
static struct vkern_pjrt_program *find_or_add(struct vkern_pjrt *client,
                                              const struct vkern_pjrt_spec *spec)
{
    pthread_mutex_lock(&client->mutex);
    struct vkern_pjrt_program *program = client->programs;
    while (program != NULL && !is_same(&program->spec, spec))
        program = program->next;
    if (program == NULL) {
        program = program_new(client, spec);
        if (program != NULL) {
            program->next = client->programs;
            client->programs = program;
        }
    }
    pthread_mutex_unlock(&client->mutex);
    return program;
}

bool vkern_pjrt_program_get(struct vkern_pjrt *client, const struct vkern_pjrt_spec *spec,
                            struct vkern_pjrt_program **program, struct vkern_pjrt_error *error)
{
    *program = NULL;
    if (vkern_pjrt_text(spec, NULL, 0) == 0)
        return vkern__pjrt_fail(error, VKERN_PJRT_INVALID,
                                "a program of kind %s can not have "
                                "%u queries, %u rows, k %u, %u bins",
                                vkern_pjrt_kind_name(spec->kind), spec->queries, spec->rows,
                                spec->k, spec->bins);
    if (!vkern__pjrt_check_fork(client, error)) return false;
    struct vkern_pjrt_program *found = find_or_add(client, spec);
    if (found == NULL)
        return vkern__pjrt_fail(error, VKERN_PJRT_NO_MEMORY, "out of memory on the host");
    pthread_mutex_lock(&found->mutex);
    if (!found->is_compiled) found->is_compiled = compile_first(found, error);
    bool done = found->is_compiled;
    pthread_mutex_unlock(&found->mutex);
    if (done) *program = found;
    return done;
}

/* ---- choosing ------------------------------------------------------------------------------ */

/* Fastest first, as far as is known; each list ends with what any compiler has. */
static const enum vkern_pjrt_kind exact_kinds[] = {VKERN_PJRT_TOPK, VKERN_PJRT_SORT};
static const enum vkern_pjrt_kind tpu_kinds[] = {
    VKERN_PJRT_APPROX, VKERN_PJRT_BINS, VKERN_PJRT_BINS_TOPK, VKERN_PJRT_TOPK, VKERN_PJRT_SORT};
static const enum vkern_pjrt_kind other_kinds[] = {VKERN_PJRT_BINS_TOPK, VKERN_PJRT_BINS,
                                                   VKERN_PJRT_TOPK, VKERN_PJRT_SORT};

bool vkern_pjrt_program_choose(struct vkern_pjrt *client, struct vkern_pjrt_spec *spec, bool exact,
                               struct vkern_pjrt_program **program, struct vkern_pjrt_error *error)
{
    bool is_tpu = strcmp(client->platform, "tpu") == 0;
    const enum vkern_pjrt_kind *kinds = exact ? exact_kinds : is_tpu ? tpu_kinds : other_kinds;
    size_t n = exact ? 2 : is_tpu ? 5 : 4;

    *program = NULL;
    for (size_t i = 0; i < n; i++) {
        spec->kind = kinds[i];
        if (atomic_load(&client->failed_kinds) & 1u << kinds[i]) continue;
        if (vkern_pjrt_text(spec, NULL, 0) == 0) continue;
        if (vkern_pjrt_program_get(client, spec, program, error)) return true;
        if (error->code == VKERN_PJRT_EXHAUSTED || error->code == VKERN_PJRT_NO_MEMORY)
            return false;
        atomic_fetch_or(&client->failed_kinds, 1u << kinds[i]);
        pthread_mutex_lock(&client->mutex);
        client->compile_error = *error;
        pthread_mutex_unlock(&client->mutex);
    }
    pthread_mutex_lock(&client->mutex);
    vkern__pjrt_fail(error, VKERN_PJRT_UNIMPLEMENTED, "%s compiles no program for this: %.300s",
                     client->plugin->name, client->compile_error.text);
    pthread_mutex_unlock(&client->mutex);
    return false;
}

void vkern_pjrt_forget_failures(struct vkern_pjrt *client)
{
    atomic_store(&client->failed_kinds, 0);
}

uint64_t vkern_pjrt_program_scratch(const struct vkern_pjrt_program *program)
{
    return program->scratch_bytes;
}

/* ---- running ------------------------------------------------------------------------------- */

static bool find_executable(struct vkern_pjrt_program *program, size_t device,
                            PJRT_LoadedExecutable **executable, struct vkern_pjrt_error *error)
{
    bool done = true;
    pthread_mutex_lock(&program->mutex);
    *executable = program->portable;
    if (*executable == NULL || atomic_load(&program->client->is_pinned)) {
        if (program->pinned[device] == NULL)
            done = compile(program, false, device, &program->pinned[device], error);
        *executable = program->pinned[device];
    }
    pthread_mutex_unlock(&program->mutex);
    return done;
}

static bool launch(struct vkern_pjrt_program *program, size_t device, PJRT_Buffer *const *arguments,
                   size_t n_arguments, struct vkern_pjrt_run *run, struct vkern_pjrt_error *error)
{
    struct vkern_pjrt *client = program->client;
    struct pjrt_device *on = &client->devices[device];
    PJRT_LoadedExecutable *executable = NULL;
    if (!find_executable(program, device, &executable, error)) return false;

    PJRT_Buffer **outputs = run->outputs;
    pjrt_execute_options options = {
        .struct_size = PJRT_SIZE(client->plugin, pjrt_execute_options, multi_slice_config)};
    pjrt_execute call = {.executable = executable,
                         .options = &options,
                         .argument_lists = &arguments,
                         .n_devices = 1,
                         .n_arguments = n_arguments,
                         .output_lists = &outputs,
                         .complete_events = &run->complete,
                         .execute_device = executable == program->portable ? on->handle : NULL};
    pthread_mutex_lock(&on->launch);
    bool done = PJRT_CALL(client->plugin, PJRT_EXECUTE, pjrt_execute, &call, execute_device, error);
    pthread_mutex_unlock(&on->launch);
    if (!done) { /* nothing was filled in, whatever is there now */
        run->complete = NULL;
        memset(run->outputs, 0, sizeof run->outputs);
    }
    return done;
}

bool vkern_pjrt_run_start(struct vkern_pjrt_program *program, size_t device,
                          struct vkern_pjrt_buffer *const *arguments, size_t n_arguments,
                          struct vkern_pjrt_run **run, struct vkern_pjrt_error *error)
{
    struct vkern_pjrt *client = program->client;
    PJRT_Buffer *handles[3] = {NULL};
    *run = NULL;
    if (n_arguments > 3)
        return vkern__pjrt_fail(error, VKERN_PJRT_INVALID, "%zu arguments; at most 3", n_arguments);
    if (!vkern__pjrt_check_fork(client, error)) return false;
    struct vkern_pjrt_run *made = calloc(1, sizeof *made);
    if (made == NULL)
        return vkern__pjrt_fail(error, VKERN_PJRT_NO_MEMORY, "out of memory on the host");
    made->client = client;
    made->n_outputs = program->n_outputs;
    for (size_t i = 0; i < n_arguments; i++)
        handles[i] = arguments[i]->handle;

    bool done = launch(program, device, handles, n_arguments, made, error);
    if (!done && error->code == VKERN_PJRT_UNIMPLEMENTED && program->portable != NULL &&
        !atomic_exchange(&client->is_pinned, true))
        done = launch(program, device, handles, n_arguments, made, error);
    if (!done) {
        vkern_pjrt_run_free(made);
        return false;
    }
    *run = made;
    return true;
}

void vkern_pjrt_run_free(struct vkern_pjrt_run *run)
{
    if (run == NULL) return;
    vkern__pjrt_event_free(run->client, run->complete);
    for (size_t i = 0; i < 2; i++)
        vkern__pjrt_handle_free(run->client, run->outputs[i]);
    free(run);
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Ask for the event, and once a millisecond whether to go on. */
static bool poll(struct vkern_pjrt_run *run, const struct vkern_pjrt_wait *wait,
                 struct vkern_pjrt_error *error)
{
    int64_t pause_ns = 10000, asked_ns = now_ns();
    for (;;) {
        pjrt_event_is_ready ready = {.event = run->complete};
        if (!PJRT_CALL(run->client->plugin, PJRT_EVENT_IS_READY, pjrt_event_is_ready, &ready,
                       is_ready, error))
            return false;
        if (ready.is_ready) return true;
        if (now_ns() - asked_ns >= 1000000) {
            if (wait->stop(wait->context))
                return vkern__pjrt_fail(error, VKERN_PJRT_STOPPED, "the wait was ended");
            asked_ns = now_ns();
        }
        nanosleep(&(struct timespec){.tv_nsec = pause_ns}, NULL);
        if (pause_ns < 200000) pause_ns += pause_ns / 2;
    }
}

static bool wait_for(struct vkern_pjrt_run *run, const struct vkern_pjrt_wait *wait,
                     struct vkern_pjrt_error *error)
{
    PJRT_Event *complete = run->complete;
    if (complete != NULL && wait != NULL && wait->stop != NULL && !poll(run, wait, error))
        return false;
    run->complete = NULL;
    if (!vkern__pjrt_await(run->client, complete, error)) return false;
    for (size_t i = 0; i < run->n_outputs; i++)
        if (run->outputs[i] == NULL)
            return vkern__pjrt_fail(error, PJRT_INTERNAL, "result %zu of a program is missing", i);
    return true;
}

/* Row-major on the host: without a layout the device's own order would come back. */
static bool fetch_start(struct vkern_pjrt *client, PJRT_Buffer *source, void *to, size_t size,
                        PJRT_Event **event, struct vkern_pjrt_error *error)
{
    static const int64_t row_major[] = {1, 0};
    pjrt_layout layout = {.struct_size = PJRT_SIZE(client->plugin, pjrt_layout, type),
                          .tiled = {.struct_size = sizeof(pjrt_tiled_layout),
                                    .minor_to_major = row_major,
                                    .n_minor_to_major = 2},
                          .type = PJRT_TILED};
    pjrt_buffer_to_host call = {.source = source, .host_layout = &layout};
    if (!PJRT_CALL(client->plugin, PJRT_BUFFER_TO_HOST, pjrt_buffer_to_host, &call, event, error))
        return false;
    vkern__pjrt_event_free(client, call.event); /* only the size was asked for */
    if (call.destination_size != size)
        return vkern__pjrt_fail(error, PJRT_INTERNAL, "a result has %zu bytes; expected %zu",
                                call.destination_size, size);
    call.destination = to;
    call.event = NULL;
    if (!PJRT_CALL(client->plugin, PJRT_BUFFER_TO_HOST, pjrt_buffer_to_host, &call, event, error))
        return false;
    *event = call.event;
    return true;
}

bool vkern_pjrt_run_read(struct vkern_pjrt_run *run, const struct vkern_pjrt_wait *wait,
                         void *const *outputs, const size_t *sizes, size_t n_outputs,
                         struct vkern_pjrt_error *error)
{
    PJRT_Event *events[2] = {NULL, NULL};
    struct vkern_pjrt_error later;
    bool done = n_outputs == run->n_outputs && wait_for(run, wait, error);
    if (n_outputs != run->n_outputs)
        vkern__pjrt_fail(error, VKERN_PJRT_INVALID, "%zu results were asked for; there are %zu",
                         n_outputs, run->n_outputs);
    for (size_t i = 0; done && i < n_outputs; i++)
        done = fetch_start(run->client, run->outputs[i], outputs[i], sizes[i], &events[i], error);
    /* All that was started ends before the caller's memory is his again. */
    for (size_t i = 0; i < 2; i++)
        if (!vkern__pjrt_await(run->client, events[i], done ? error : &later)) done = false;
    vkern_pjrt_run_free(run);
    return done;
}

bool vkern_pjrt_run_keep(struct vkern_pjrt_run *run, struct vkern_pjrt_buffer **buffer,
                         struct vkern_pjrt_error *error)
{
    *buffer = NULL;
    struct vkern_pjrt_buffer *made = calloc(1, sizeof *made);
    bool done = made != NULL && wait_for(run, NULL, error);
    if (made == NULL) vkern__pjrt_fail(error, VKERN_PJRT_NO_MEMORY, "out of memory on the host");
    if (done) {
        *made = (struct vkern_pjrt_buffer){run->client, run->outputs[0]};
        run->outputs[0] = NULL;
        *buffer = made;
    } else {
        free(made);
    }
    vkern_pjrt_run_free(run);
    return done;
}
