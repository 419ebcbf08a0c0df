/*
 * device.c - the devices of an index: the one its searches use unless they say otherwise, and those that single
 * searches named. Each is kept, with the rows on it, until the index closes.
 */
#include "search/device.h"

#include <pthread.h>
#include <stdlib.h>

#include "api/api.h"
#include "base/mem.h"
#include "base/status.h"

enum { DEVICES_MOST = 8 };

struct index_devices {
    pthread_mutex_t mutex;
    struct device *list[DEVICES_MOST];
    size_t n;
    struct device *initial; /* of searches that name none */
    bool asks_environment;  /* when the first of them comes */
};

vindex_status vindex__devices_new(struct index_devices **devices)
{
    *devices = vindex__calloc(1, sizeof **devices);
    if (!*devices) return vindex__nomem();
    pthread_mutex_init(&(*devices)->mutex, NULL);
    return VINDEX_OK;
}

void vindex__devices_free(struct index_devices *devices)
{
    if (!devices) return;
    for (size_t i = 0; i < devices->n; i++)
        vindex__device_close(devices->list[i]);
    pthread_mutex_destroy(&devices->mutex);
    vindex__free(devices);
}

/* The mutex is held. */
static vindex_status find_or_open(struct index_devices *devices, const char *text,
                                  struct device **device)
{
    bool is_cpu = false;
    vindex_status st = vindex__device_check(text, &is_cpu);
    *device = NULL;
    if (st != VINDEX_OK || is_cpu) return st;
    for (size_t i = 0; i < devices->n; i++)
        if (strcmp(vindex__device_text(devices->list[i]), text) == 0) {
            *device = devices->list[i];
            return VINDEX_OK;
        }
    if (devices->n == DEVICES_MOST)
        return vindex__fail(VINDEX_INVALID, "device '%s': this index has %d devices already", text,
                            DEVICES_MOST);
    st = vindex__device_open(text, device);
    if (st == VINDEX_OK) devices->list[devices->n++] = *device;
    return st;
}

vindex_status vindex__index_device(vindex *index, const char *text, struct device **device)
{
    struct index_devices *devices = index->devices;
    vindex_status st = VINDEX_OK;
    pthread_mutex_lock(&devices->mutex);
    if (!text && devices->asks_environment) {
        /* What can not be opened is logged; searches say so in their plan. */
        devices->asks_environment = false;
        st = find_or_open(devices, "pjrt", &devices->initial);
    }
    if (text)
        st = find_or_open(devices, text, device);
    else
        *device = devices->initial;
    pthread_mutex_unlock(&devices->mutex);
    return st;
}

void vindex__index_ask_environment(vindex *index)
{
    const char *plugin = getenv("VINDEX_PJRT_PLUGIN");
    index->devices->asks_environment = plugin && *plugin;
}

vindex_status vindex_set_device(vindex *index, const char *text)
{
    struct device *device = NULL;
    if (!index || !text)
        return vindex__fail(VINDEX_INVALID, "vindex_set_device: an argument is NULL");
    vindex_status st = vindex__store_check_fork(index->store);
    if (st != VINDEX_OK) return st;
    struct index_devices *devices = index->devices;
    pthread_mutex_lock(&devices->mutex);
    size_t n_before = devices->n;
    st = find_or_open(devices, text, &device);
    bool is_known = devices->n == n_before;
    pthread_mutex_unlock(&devices->mutex);
    if (st != VINDEX_OK) return st;

    /* Opening a plugin takes its time; searches on other devices do not wait for it. */
    if (device && is_known) vindex__device_retry(device);
    if (device) st = vindex__device_status(device);
    if (st != VINDEX_OK) return st;
    pthread_mutex_lock(&devices->mutex);
    devices->initial = device;
    devices->asks_environment = false;
    pthread_mutex_unlock(&devices->mutex);
    return VINDEX_OK;
}
