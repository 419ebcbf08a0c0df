/*
 * device.c - a device of an index: what it is called in text, its plugin, its failures. The rows on it are
 * resident.c's, a call on it is device_call.c's.
 */
#include "search/device.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/status.h"
#include "search/resident.h"

/* A device that gives no result for so long is lost. */
#define WAIT_NS INT64_C(60000000000)

/* ---- text ---------------------------------------------------------------------------------- */

static vindex_status bad_text(const char *text, const char *why)
{
    return vindex__fail(VINDEX_INVALID,
                        "device '%s': %s; expected cpu or pjrt[:PLUGIN][,memory=SIZE]"
                        "[,type=auto|f32|bf16][,devices=N][,chunk=ROWS][,wait-ms=N][,required]",
                        text, why);
}

/* "8G" and the like, or a plain number. */
static bool parse_size(const char *text, uint64_t *size)
{
    char *end;
    if (!isdigit((unsigned char)*text)) return false;
    unsigned long long n = strtoull(text, &end, 10);
    int shift = *end == 'K' || *end == 'k'   ? 10
                : *end == 'M' || *end == 'm' ? 20
                : *end == 'G' || *end == 'g' ? 30
                                             : 0;
    if (end[shift != 0] != '\0' || n == 0 || n > UINT64_MAX >> 34) return false;
    *size = n << shift;
    return true;
}

static bool parse_word(const char *word, struct device_options *options)
{
    uint64_t n = 0;
    const char *value = strchr(word, '=');
    if (strcmp(word, "required") == 0) return options->is_required = true;
    if (!value) return false;
    value++;
    if (strncmp(word, "memory=", 7) == 0) return parse_size(value, &options->memory_bytes);
    if (strncmp(word, "type=", 5) == 0) {
        options->store = strcmp(value, "f32") == 0    ? STORE_F32
                         : strcmp(value, "bf16") == 0 ? STORE_BF16
                                                      : STORE_AUTO;
        return options->store != STORE_AUTO || strcmp(value, "auto") == 0;
    }
    if (!parse_size(value, &n) || n > UINT32_MAX) return false;
    if (strncmp(word, "devices=", 8) == 0) return (options->n_devices = (uint32_t)n) <= 1024;
    if (strncmp(word, "wait-ms=", 8) == 0) {
        options->wait_ns = (int64_t)n * 1000000;
        return true;
    }
    options->chunk_rows = (uint32_t)n;
    return strncmp(word, "chunk=", 6) == 0 && n >= 128 && n <= 1 << 24 && (n & (n - 1)) == 0;
}

static vindex_status parse(const char *text, struct device_options *options)
{
    *options = (struct device_options){.wait_ns = WAIT_NS};
    if (!text || strlen(text) > 700)
        return bad_text(text ? "..." : "", "no text, or too long a one");
    if (strcmp(text, "cpu") == 0) {
        options->is_cpu = true;
        return VINDEX_OK;
    }
    if (strncmp(text, "pjrt", 4) != 0 || !strchr(":,", text[4])) return bad_text(text, "unknown");
    const char *at = text + 4;
    if (*at == ':') {
        size_t n = strcspn(++at, ",");
        if (n == 0 || n >= sizeof options->plugin) return bad_text(text, "bad path of a plugin");
        memcpy(options->plugin, at, n);
        at += n;
    }
    while (*at == ',') {
        char word[64];
        size_t n = strcspn(++at, ",");
        snprintf(word, sizeof word, "%.*s", (int)n, at);
        if (n >= sizeof word || !parse_word(word, options)) return bad_text(text, word);
        at += n;
    }
    return VINDEX_OK;
}

vindex_status vindex__device_check(const char *text, bool *is_cpu)
{
    struct device_options options;
    vindex_status st = parse(text, &options);
    *is_cpu = st == VINDEX_OK && options.is_cpu;
    return st;
}

/* ---- open and close ------------------------------------------------------------------------ */

void vindex__device_fail(struct device *device, vindex_status status, const char *reason)
{
    device->failed = status;
    snprintf(device->failure, sizeof device->failure, "%.*s", (int)sizeof device->failure - 1,
             reason);
    vindex__log("device %s: %s; searches go on on the cpu", device->text, device->failure);
}

static vindex_status status_of(const struct vkern_pjrt_error *error)
{
    switch (error->code) {
    case 5: return VINDEX_NOTFOUND; /* no plugin, no device */
    case VKERN_PJRT_INVALID:
    case VKERN_PJRT_UNIMPLEMENTED: return VINDEX_UNSUPPORTED;
    case VKERN_PJRT_NO_MEMORY: return VINDEX_NOMEM;
    default: return VINDEX_IO;
    }
}

static void plan_memory(struct device *device)
{
    uint64_t used = 0, limit = 0;
    device->budget_bytes = device->options.memory_bytes;
    if (device->budget_bytes) return;
    for (size_t i = 0; i < device->n_devices; i++) {
        if (!vkern_pjrt_device_memory(device->client, i, &used, &limit) || used >= limit) continue;
        uint64_t most = (limit - used) / 5 * 4;
        if (!device->budget_bytes || most < device->budget_bytes) device->budget_bytes = most;
    }
}

void vindex__device_connect(struct device *device)
{
    struct vkern_pjrt_error error;
    if (device->client || device->failed != VINDEX_OK) return;
    if (!vkern_pjrt_open(device->options.plugin, &device->client, &error)) {
        vindex__device_fail(device, status_of(&error), error.text);
        return;
    }
    device->n_devices = vkern_pjrt_n_devices(device->client);
    if (device->options.n_devices && device->options.n_devices < device->n_devices)
        device->n_devices = device->options.n_devices;
    plan_memory(device);
}

vindex_status vindex__device_open(const char *text, struct device **out)
{
    struct device *device = vindex__calloc(1, sizeof *device);
    *out = NULL;
    if (!device) return vindex__nomem();
    vindex_status st = parse(text, &device->options);
    if (st == VINDEX_OK) {
        device->text = vindex__calloc(strlen(text) + 1, 1);
        if (!device->text) st = vindex__nomem();
    }
    if (st != VINDEX_OK) {
        vindex__free(device);
        return st;
    }
    memcpy(device->text, text, strlen(text) + 1);
    pthread_mutex_init(&device->mutex, NULL);
    *out = device;
    return VINDEX_OK;
}

void vindex__device_close(struct device *device)
{
    if (!device) return;
    vindex__resident_release(device->resident);
    vkern_pjrt_close(device->client);
    pthread_mutex_destroy(&device->mutex);
    vindex__free(device->text);
    vindex__free(device);
}

const char *vindex__device_text(const struct device *device)
{
    return device->text;
}

void vindex__device_retry(struct device *device)
{
    pthread_mutex_lock(&device->mutex);
    device->failed = VINDEX_OK;
    device->refused_mark = 0;
    if (device->client) vkern_pjrt_forget_failures(device->client);
    if (device->client && !device->resident) plan_memory(device);
    pthread_mutex_unlock(&device->mutex);
}

vindex_status vindex__device_status(struct device *device)
{
    pthread_mutex_lock(&device->mutex);
    vindex__device_connect(device);
    vindex_status st = device->failed;
    if (st != VINDEX_OK) st = vindex__fail(st, "device %s: %s", device->text, device->failure);
    pthread_mutex_unlock(&device->mutex);
    return st;
}
