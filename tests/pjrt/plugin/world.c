/*
 * world.c - the objects of the test plugin and what counts them. Nothing happens before it is waited for: an upload that
 * may read host memory late does so in materialize(), an execution runs when a result of it is needed.
 */
#include "world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

pthread_mutex_t world = PTHREAD_MUTEX_INITIALIZER;
struct pjrt_test_counts counts;
long calls[PJRT_N_FUNCTIONS];

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
bool setting(const char *key, char *value, size_t size)
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

long long number(const char *key, long long otherwise)
{
    char value[32];
    return setting(key, value, sizeof value) ? atoll(value) : otherwise;
}

/* The code that the nth call of `name` is to fail with; 0: none. */
int fault(const char *name, long nth)
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

PJRT_Error *fail(int code, const char *format, ...)
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

void check_alive(int magic, const char *what)
{
    if (magic == ALIVE) return;
    fprintf(stderr, "test plugin: %s was freed, or is none\n", what);
    abort();
}

PJRT_Error *check_size(const char *name, size_t given, size_t known)
{
    known += TEST_EXTRA;
    if (IS_STRICT ? given == known : given >= known) return NULL;
    return fail(PJRT_INVALID_ARGUMENT, "Unexpected PJRT_%s_Args size: expected %zu, got %zu.", name,
                known, given);
}

/* ---- buffers, tasks, events ---------------------------------------------------------------- */

int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void buffer_unref(PJRT_Buffer *buffer)
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

void task_unref(struct task *task)
{
    if (!task || --task->refs > 0) return;
    for (size_t i = 0; i < 3; i++)
        buffer_unref(task->arguments[i]);
    free(task);
}

PJRT_Buffer *buffer_new(PJRT_Device *device, int type, const int64_t *dims, size_t n_dims)
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

void task_run(struct task *task)
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

void materialize(PJRT_Buffer *buffer)
{
    if (buffer->pending) memcpy(buffer->data, buffer->pending, buffer->bytes);
    buffer->pending = NULL;
    if (buffer->task) task_run(buffer->task);
}

PJRT_Event *event_new(void)
{
    PJRT_Event *event = calloc(1, sizeof *event);
    event->magic = ALIVE;
    counts.events++;
    return event;
}
