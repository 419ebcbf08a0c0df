/*
 * programs.c - programs compiled and executed: options, types and shapes are checked as strictly as XLA does; what a
 * program computes is meaning.c's.
 */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

PJRT_Error *client_compile(void *arguments)
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

PJRT_Error *loaded_destroy(void *arguments)
{
    ENTER(LoadedExecutable_Destroy, PJRT_LOADED_DESTROY, pjrt_loaded_destroy, executable);
    check_alive(a->executable->magic, "an executable");
    a->executable->magic = DEAD;
    free(a->executable);
    counts.executables--;
    LEAVE;
}

PJRT_Error *loaded_get(void *arguments)
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

PJRT_Error *executable_destroy(void *arguments)
{
    ENTER(Executable_Destroy, PJRT_EXECUTABLE_DESTROY, pjrt_executable_destroy, executable);
    check_alive(a->executable->magic, "an executable");
    a->executable->magic = DEAD;
    free(a->executable);
    counts.executables--;
    LEAVE;
}

PJRT_Error *executable_outputs(void *arguments)
{
    ENTER(Executable_NumOutputs, PJRT_EXECUTABLE_OUTPUTS, pjrt_executable_outputs, n_outputs);
    a->n_outputs = a->executable->n_outputs;
    LEAVE;
}

#ifndef TEST_HOLES
PJRT_Error *executable_memory(void *arguments)
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

PJRT_Error *execute(void *arguments)
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
