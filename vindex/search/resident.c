/*
 * resident.c - rows on the devices: where they lie, loading, following commits. See resident.h.
 *
 *     old resident --places whose segment is still there--> new resident
 *     snapshot     --segments that have no place----------> appended, or in new chunks
 *                  --the tail------------------------------> a chunk of its own
 *                  --live bits-----------------------------> biases, uploaded where they changed
 */
#include "search/resident.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "base/status.h"

/* 131,072 rows: launching (10 to 30 us) is little beside a chunk's work, and the scores of 64 queries
   stay in a large GPU's L2. 1,024: a program for each size is compiled. */
enum { CHUNK_MOST = 131072, CHUNK_LEAST = 1024, PIECE_ROWS = 1024, CHUNKS_BEFORE_GROWTH = 16 };

bool vindex__refuse(struct refusal *refusal, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(refusal->text, sizeof refusal->text, format, list);
    va_end(list);
    return false;
}

static bool device_failed(struct refusal *refusal, const struct vkern_pjrt_error *error)
{
    refusal->is_refused =
        error->code == VKERN_PJRT_EXHAUSTED || error->code == VKERN_PJRT_NO_MEMORY;
    refusal->is_failure = !refusal->is_refused;
    return vindex__refuse(refusal, "%s", error->text);
}

static bool no_memory(struct refusal *refusal)
{
    refusal->is_refused = true;
    return vindex__refuse(refusal, "out of memory on the host");
}

/* ---- lifetime ------------------------------------------------------------------------------ */

static struct held *held_new(struct vkern_pjrt_buffer *buffer, float *host)
{
    struct held *held = vindex__calloc(1, sizeof *held);
    if (!held) return NULL;
    atomic_init(&held->refs, 1);
    held->buffer = buffer;
    held->host = host;
    return held;
}

static struct held *held_ref(struct held *held)
{
    if (held) atomic_fetch_add(&held->refs, 1);
    return held;
}

static void held_unref(struct held *held)
{
    if (!held || atomic_fetch_sub(&held->refs, 1) != 1) return;
    vkern_pjrt_buffer_free(held->buffer);
    vindex__free(held->host);
    vindex__free(held);
}

static void chunk_deinit(struct chunk *chunk)
{
    held_unref(chunk->rows);
    held_unref(chunk->bias);
    held_unref(chunk->base);
    *chunk = (struct chunk){0};
}

void vindex__resident_release(struct resident *resident)
{
    if (!resident || atomic_fetch_sub(&resident->refs, 1) != 1) return;
    for (size_t i = 0; i < resident->n_chunks; i++)
        chunk_deinit(&resident->chunks[i]);
    vindex__free(resident->chunks);
    vindex__free(resident->places);
    vindex__free(resident);
}

/* ---- where rows lie ------------------------------------------------------------------------ */

static struct place *find_place(const struct resident *resident, size_t chunk, uint32_t row)
{
    size_t low = 0, high = resident->n_places;
    while (low < high) { /* the first place after (chunk, row) */
        size_t middle = low + (high - low) / 2;
        const struct place *place = &resident->places[middle];
        if (place->chunk < chunk || (place->chunk == chunk && place->row <= row))
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0) return NULL;
    struct place *place = &resident->places[low - 1];
    return place->chunk == chunk && row - place->row < place->n ? place : NULL;
}

const void *vindex__resident_row(const struct resident *resident, const struct call *call,
                                 size_t chunk, int32_t row, int64_t *id)
{
    const struct place *place = row < 0 ? NULL : find_place(resident, chunk, (uint32_t)row);
    if (!place || place->part == NO_PART) return NULL;
    const struct part *part = &call->snapshot->parts[place->part];
    uint32_t slot = place->slot + (uint32_t)row - place->row;
    struct part_mask mask = vindex__call_mask(call, place->part, part);
    if (mask.words && !bitmap_get(mask.words, slot)) return NULL;
    *id = vindex__row_id(part, slot);
    return part_row(part, slot);
}

/* Segments of a snapshot by name. */
struct named {
    const unsigned char *nonce;
    uint32_t part;
};

static int compare_names(const void *a, const void *b)
{
    return memcmp(((const struct named *)a)->nonce, ((const struct named *)b)->nonce, NONCE_BYTES);
}

static struct named *names_of(const struct snapshot *snapshot, size_t *n)
{
    struct named *names = vindex__calloc(snapshot->n_parts, sizeof *names);
    *n = 0;
    for (uint32_t i = 0; names && i < snapshot->n_parts; i++)
        if (!snapshot->parts[i].is_tail)
            names[(*n)++] = (struct named){snapshot->parts[i].nonce, i};
    if (*n) qsort(names, *n, sizeof *names, compare_names);
    return names;
}

static bool add_place(struct resident *resident, const struct place *place)
{
    if (!vindex__grow((void **)&resident->places, &resident->place_capacity, resident->n_places + 1,
                      sizeof *place))
        return false;
    resident->places[resident->n_places++] = *place;
    return true;
}

static struct chunk *add_chunk(struct resident *resident, size_t n_devices, uint32_t capacity)
{
    if (!vindex__grow((void **)&resident->chunks, &resident->chunk_capacity, resident->n_chunks + 1,
                      sizeof *resident->chunks))
        return NULL;
    struct chunk *chunk = &resident->chunks[resident->n_chunks++];
    *chunk = (struct chunk){.device = (resident->n_chunks - 1) % n_devices, .capacity = capacity};
    float *host = vindex__calloc(capacity, sizeof *host);
    chunk->base = host ? held_new(NULL, host) : NULL;
    if (!chunk->base) vindex__free(host);
    return chunk->base ? chunk : NULL;
}

/* Put the rows of a part after those of the last chunk. */
static bool place_part(struct resident *resident, const struct device *device,
                       const struct part *part, uint32_t number, uint32_t capacity)
{
    for (uint32_t slot = 0; slot < part->n;) {
        struct chunk *last = resident->n_chunks ? &resident->chunks[resident->n_chunks - 1] : NULL;
        if (!last || last->used == last->capacity || part->is_tail)
            last = add_chunk(resident, device->n_devices, capacity);
        if (!last) return false;
        uint32_t room = last->capacity - last->used, left = part->n - slot;
        struct place place = {.chunk = (uint32_t)resident->n_chunks - 1,
                              .row = last->used,
                              .slot = slot,
                              .n = left < room ? left : room,
                              .part = number};
        if (part->nonce) memcpy(place.nonce, part->nonce, NONCE_BYTES);
        if (!add_place(resident, &place)) return false;
        last->used += place.n;
        slot += place.n;
    }
    return true;
}

/* ---- a new picture ------------------------------------------------------------------------- */

static uint32_t power_of_two(uint64_t n, uint32_t least, uint32_t most)
{
    uint32_t power = least;
    while (power < n && power < most)
        power *= 2;
    return power;
}

static uint32_t choose_capacity(const struct device *device, uint64_t n_rows)
{
    if (device->options.chunk_rows) return device->options.chunk_rows;
    return power_of_two((n_rows + device->n_devices - 1) / device->n_devices, CHUNK_LEAST,
                        CHUNK_MOST);
}

/* Rows of segments that are gone, and whether the chunks are too small for what came since. */
static bool is_worth_keeping(const struct device *device, const struct resident *old,
                             const struct named *names, size_t n_names)
{
    uint64_t n_rows = 0, n_gone = 0;
    if (!old) return false;
    for (size_t i = 0; i < old->n_places; i++) {
        struct named key = {old->places[i].nonce, 0};
        if (old->has_tail && old->places[i].chunk + 1 == old->n_chunks) continue;
        n_rows += old->places[i].n;
        if (!n_names || !bsearch(&key, names, n_names, sizeof key, compare_names))
            n_gone += old->places[i].n;
    }
    size_t sealed = old->n_chunks - old->has_tail;
    bool is_small = !device->options.chunk_rows &&
                    sealed > CHUNKS_BEFORE_GROWTH * device->n_devices &&
                    old->chunks[0].capacity < CHUNK_MOST;
    return sealed > 0 && n_gone <= n_rows / 4 && !is_small;
}

/* The chunks of segments and their places, parts renumbered; `placed` marks those found. */
static bool take_over(struct resident *resident, const struct resident *old,
                      const struct named *names, size_t n_names, bool *placed)
{
    size_t n_chunks = old->n_chunks - old->has_tail;
    if (!vindex__grow((void **)&resident->chunks, &resident->chunk_capacity, n_chunks,
                      sizeof *resident->chunks))
        return false;
    for (size_t i = 0; i < n_chunks; i++) {
        struct chunk *chunk = &resident->chunks[resident->n_chunks++];
        *chunk = old->chunks[i];
        held_ref(chunk->rows);
        held_ref(chunk->bias);
        held_ref(chunk->base);
    }
    for (size_t i = 0; i < old->n_places; i++) {
        struct place place = old->places[i];
        struct named key = {place.nonce, 0};
        if (place.chunk >= n_chunks) continue;
        const struct named *found =
            n_names ? bsearch(&key, names, n_names, sizeof key, compare_names) : NULL;
        place.part = found ? found->part : NO_PART;
        if (found) placed[found->part] = true;
        if (!add_place(resident, &place)) return false;
    }
    return true;
}

static bool lay_out_parts(struct resident *resident, const struct device *device,
                          const struct snapshot *snapshot, const bool *placed)
{
    uint64_t n_sealed = 0;
    for (uint32_t i = 0; i < snapshot->n_parts; i++)
        if (!snapshot->parts[i].is_tail) n_sealed += snapshot->parts[i].n;
    uint32_t capacity =
        resident->n_chunks ? resident->chunks[0].capacity : choose_capacity(device, n_sealed);
    for (uint32_t i = 0; i < snapshot->n_parts; i++) {
        const struct part *part = &snapshot->parts[i];
        if (part->is_tail || placed[i]) continue;
        if (!place_part(resident, device, part, i, capacity)) return false;
    }
    for (uint32_t i = 0; i < snapshot->n_parts; i++) {
        const struct part *part = &snapshot->parts[i];
        if (!part->is_tail || part->n == 0) continue;
        uint32_t most = snapshot->config.seal_rows > part->n ? snapshot->config.seal_rows : part->n;
        resident->has_tail = true;
        if (!place_part(resident, device, part, i, power_of_two(most, 128, UINT32_C(1) << 30)))
            return false;
    }
    return true;
}

static bool lay_out(struct resident *resident, struct device *device, const struct call *call,
                    struct refusal *refusal)
{
    const struct snapshot *snapshot = call->snapshot;
    size_t n_names = 0;
    struct named *names = names_of(snapshot, &n_names);
    bool *placed = vindex__calloc(snapshot->n_parts, sizeof *placed);
    bool done = names && placed;

    if (done && device->resident && is_worth_keeping(device, device->resident, names, n_names)) {
        done = take_over(resident, device->resident, names, n_names, placed);
    } else {
        vindex__resident_release(device->resident); /* its memory is needed */
        device->resident = NULL;
    }
    if (done) done = lay_out_parts(resident, device, snapshot, placed);
    vindex__free(placed);
    vindex__free(names);
    return done || no_memory(refusal);
}

/* ---- memory -------------------------------------------------------------------------------- */

static size_t type_bytes(enum vkern_pjrt_type type)
{
    return type == VKERN_PJRT_BF16 ? 2 : 4;
}

/* Rows, biases, and the scores of one launch; a TPU pads rows to 128 numbers. */
static bool check_memory(const struct device *device, const struct resident *resident,
                         const struct call *call, struct refusal *refusal)
{
    bool is_tpu = strcmp(vkern_pjrt_platform(device->client), "tpu") == 0;
    uint64_t dim = is_tpu ? (uint64_t)(call->dim + 127) / 128 * 128 : call->dim, most = 0;
    uint32_t largest = 0;
    for (size_t d = 0; d < device->n_devices; d++) {
        uint64_t bytes = 0;
        for (size_t i = 0; i < resident->n_chunks; i++) {
            const struct chunk *chunk = &resident->chunks[i];
            if (chunk->device != d) continue;
            bytes += chunk->capacity * (dim * type_bytes(resident->type) + 4);
            if (chunk->capacity > largest) largest = chunk->capacity;
        }
        if (bytes > most) most = bytes;
    }
    most +=
        (uint64_t)8 * largest; /* of one query: larger tiles need more, and are given up first */
    if (!device->budget_bytes || most <= device->budget_bytes) return true;
    refusal->is_refused = true;
    return vindex__refuse(
        refusal, "%llu rows need %.1f MB on a device, %.1f MB may be used%s",
        (unsigned long long)call->n_live, (double)most / 1e6, (double)device->budget_bytes / 1e6,
        resident->type == VKERN_PJRT_F32 ? ": type=bf16 halves that" : ": give it more devices");
}

enum vkern_pjrt_type vindex__resident_type(const struct device *device, const struct call *call)
{
    /* What bf16 holds exactly: 8-bit numbers and bf16 itself, unless rows are scaled by their norm. */
    bool is_exact = call->type >= VINDEX_BFLOAT16 && call->metric != VINDEX_COSINE;
    if (device->options.store == STORE_F32) return VKERN_PJRT_F32;
    return device->options.store == STORE_BF16 || is_exact ? VKERN_PJRT_BF16 : VKERN_PJRT_F32;
}

/* ---- loading ------------------------------------------------------------------------------- */

/* One row in the form the programs multiply, and its bias. */
static void store_row(const struct call *call, const struct part *part, uint32_t slot,
                      enum vkern_pjrt_type type, float *dense, void *to, float *bias)
{
    const void *row = part_row(part, slot);
    call->kern->to_f32[call->type](row, call->dim, dense);
    if (call->metric == VINDEX_COSINE) {
        float norm = part_norm(part, slot);
        for (uint32_t i = 0; i < call->dim; i++)
            dense[i] = norm > 0 ? dense[i] / norm : 0;
    }
    *bias = call->metric == VINDEX_L2 ? (float)(-0.5 * call->measure.sumsq(row, call->dim)) : 0;
    if (type == VKERN_PJRT_BF16)
        call->kern->from_f32[VINDEX_BFLOAT16](dense, call->dim, to);
    else
        memcpy(to, dense, call->dim * sizeof(float));
}

/* Rows [from, end) of a chunk into `staging`, their biases into the base. */
static vindex_status stage(const struct resident *resident, const struct call *call, size_t number,
                           uint32_t from, uint32_t end, float *dense, char *staging)
{
    const struct chunk *chunk = &resident->chunks[number];
    size_t row_bytes = call->dim * type_bytes(resident->type);
    memset(staging, 0, (end - from) * row_bytes);
    for (uint32_t row = from; row < end && row < chunk->used;) {
        const struct place *place = find_place(resident, number, row);
        assert(place);
        uint32_t stop = place->row + place->n < end ? place->row + place->n : end;
        if (place->part == NO_PART) {
            row = stop;
            continue;
        }
        const struct part *part = &call->snapshot->parts[place->part];
        vindex_status st = vindex__part_touch(call->snapshot, part);
        if (st != VINDEX_OK) return st;
        for (; row < stop; row++)
            store_row(call, part, place->slot + row - place->row, resident->type, dense,
                      staging + (row - from) * row_bytes, &chunk->base->host[row]);
    }
    return VINDEX_OK;
}

static bool hold(struct held **to, struct vkern_pjrt_buffer *buffer, float *host,
                 struct refusal *refusal)
{
    struct held *held = held_new(buffer, host);
    if (!held) {
        vkern_pjrt_buffer_free(buffer);
        vindex__free(host);
        return no_memory(refusal);
    }
    held_unref(*to);
    *to = held;
    return true;
}

struct load {
    struct device *device;
    struct call *call;
    struct resident *resident;
    float *dense; /* [dim] */
    char *staging;
    struct refusal *refusal;
};

/* A base of its own for a chunk that is staged anew: others still read the one it shares. */
static bool own_base(struct load *load, struct chunk *chunk)
{
    if (atomic_load(&chunk->base->refs) == 1) return true;
    float *host = vindex__calloc(chunk->capacity, sizeof *host);
    if (!host) return no_memory(load->refusal);
    memcpy(host, chunk->base->host, chunk->loaded * sizeof *host);
    return hold(&chunk->base, NULL, host, load->refusal);
}

static bool load_whole(struct load *load, size_t number)
{
    struct chunk *chunk = &load->resident->chunks[number];
    struct vkern_pjrt_buffer *buffer = NULL;
    struct vkern_pjrt_error error;
    int64_t dims[2] = {chunk->capacity, load->call->dim};
    if (!own_base(load, chunk)) return false;
    vindex_status st =
        stage(load->resident, load->call, number, 0, chunk->capacity, load->dense, load->staging);
    if (st != VINDEX_OK) {
        vindex__stop_set(&load->call->stop, st);
        return false;
    }
    if (!vkern_pjrt_buffer_new(load->device->client, chunk->device, load->resident->type, dims, 2,
                               load->staging, &buffer, &error))
        return device_failed(load->refusal, &error);
    return hold(&chunk->rows, buffer, NULL, load->refusal);
}

/* Up to PIECE_ROWS rows into a copy of the chunk made on the device. */
static bool load_piece(struct load *load, size_t number, uint32_t from, uint32_t end)
{
    struct device *device = load->device;
    struct chunk *chunk = &load->resident->chunks[number];
    struct vkern_pjrt_spec spec = {.kind = VKERN_PJRT_APPEND,
                                   .type = load->resident->type,
                                   .terms = 1,
                                   .queries = PIECE_ROWS,
                                   .rows = chunk->capacity,
                                   .dim = load->call->dim};
    int64_t dims[2] = {PIECE_ROWS, load->call->dim};
    int32_t at = (int32_t)from;
    struct vkern_pjrt_buffer *arguments[3] = {chunk->rows->buffer, NULL, NULL}, *grown = NULL;
    struct vkern_pjrt_program *program;
    struct vkern_pjrt_run *run;
    struct vkern_pjrt_error error;
    vindex_status st =
        stage(load->resident, load->call, number, from, end, load->dense, load->staging);
    if (st != VINDEX_OK) {
        vindex__stop_set(&load->call->stop, st);
        return false;
    }
    memset(load->staging + (end - from) * load->call->dim * type_bytes(spec.type), 0,
           (PIECE_ROWS - (end - from)) * load->call->dim * type_bytes(spec.type));
    bool done = vkern_pjrt_program_get(device->client, &spec, &program, &error) &&
                vkern_pjrt_buffer_new(device->client, chunk->device, spec.type, dims, 2,
                                      load->staging, &arguments[1], &error) &&
                vkern_pjrt_buffer_new(device->client, chunk->device, VKERN_PJRT_I32, NULL, 0, &at,
                                      &arguments[2], &error) &&
                vkern_pjrt_run_start(program, chunk->device, arguments, 3, &run, &error) &&
                vkern_pjrt_run_keep(run, &grown, &error);
    vkern_pjrt_buffer_free(arguments[1]);
    vkern_pjrt_buffer_free(arguments[2]);
    if (!done) return device_failed(load->refusal, &error);
    return hold(&chunk->rows, grown, NULL, load->refusal);
}

/* What is not there yet: piece by piece where it is little and no piece would reach beyond the end. */
static bool load_chunk(struct load *load, size_t number)
{
    struct chunk *chunk = &load->resident->chunks[number];
    uint32_t n_new = chunk->used - chunk->loaded;
    uint32_t n_pieces = (n_new + PIECE_ROWS - 1) / PIECE_ROWS;
    bool fits = (uint64_t)chunk->loaded + (uint64_t)n_pieces * PIECE_ROWS <= chunk->capacity;
    bool done = true;
    if (n_new == 0) return true;
    if (!chunk->rows || n_new > chunk->capacity / 4 || !fits) {
        done = load_whole(load, number);
    } else {
        for (uint32_t row = chunk->loaded; done && row < chunk->used; row += PIECE_ROWS)
            done = load_piece(load, number, row,
                              chunk->used - row < PIECE_ROWS ? chunk->used : row + PIECE_ROWS);
    }
    if (done) chunk->loaded = chunk->used;
    return done;
}

/* ---- biases -------------------------------------------------------------------------------- */

void vindex__resident_mask(const struct resident *resident, const struct call *call, size_t number,
                           float *bias)
{
    const struct chunk *chunk = &resident->chunks[number];
    for (uint32_t row = 0; row < chunk->capacity; row++)
        bias[row] = -INFINITY;
    for (uint32_t row = 0; row < chunk->used;) {
        const struct place *place = find_place(resident, number, row);
        assert(place);
        row = place->row + place->n;
        if (place->part == NO_PART) continue;
        struct part_mask mask =
            vindex__call_mask(call, place->part, &call->snapshot->parts[place->part]);
        for (uint32_t i = 0; i < place->n; i++)
            if (!mask.words || bitmap_get(mask.words, place->slot + i))
                bias[place->row + i] = chunk->base->host[place->row + i];
    }
}

/* The bias of live rows, uploaded unless it is what lies there. */
static bool load_bias(struct load *load, size_t number)
{
    struct chunk *chunk = &load->resident->chunks[number];
    struct call live = *load->call; /* without its filter */
    struct vkern_pjrt_buffer *buffer = NULL;
    struct vkern_pjrt_error error;
    int64_t dims[1] = {chunk->capacity};
    float *bias = vindex__calloc(chunk->capacity, sizeof *bias);
    if (!bias) return no_memory(load->refusal);
    live.masks = NULL;
    vindex__resident_mask(load->resident, &live, number, bias);
    chunk->n_live = 0;
    for (uint32_t i = 0; i < chunk->capacity; i++)
        chunk->n_live += !isinf(bias[i]);
    if (chunk->bias && memcmp(chunk->bias->host, bias, chunk->capacity * sizeof *bias) == 0) {
        vindex__free(bias);
        return true;
    }
    if (!vkern_pjrt_buffer_new(load->device->client, chunk->device, VKERN_PJRT_F32, dims, 1, bias,
                               &buffer, &error)) {
        vindex__free(bias);
        return device_failed(load->refusal, &error);
    }
    return hold(&chunk->bias, buffer, bias, load->refusal);
}

/* ---- the whole ----------------------------------------------------------------------------- */

/* Rows that are not loaded are as if they had never been laid out: the next call goes on from here. */
static void forget_unloaded(struct resident *resident)
{
    resident->is_partial = true;
    if (resident->has_tail) resident->chunks[resident->n_chunks - 1].loaded = 0;
    resident->has_tail = false;
    while (resident->n_places) {
        struct place *last = &resident->places[resident->n_places - 1];
        struct chunk *chunk = &resident->chunks[last->chunk];
        if (last->row < chunk->loaded) break;
        chunk->used = last->row;
        resident->n_places--;
    }
    while (resident->n_chunks && resident->chunks[resident->n_chunks - 1].used == 0)
        chunk_deinit(&resident->chunks[--resident->n_chunks]);
}

static bool load_all(struct load *load, struct pace *pace)
{
    struct resident *resident = load->resident;
    size_t largest = PIECE_ROWS;
    for (size_t i = 0; i < resident->n_chunks; i++)
        if (resident->chunks[i].capacity > largest) largest = resident->chunks[i].capacity;
    load->dense = vindex__calloc(load->call->dim, sizeof *load->dense);
    load->staging = vindex__alloc_aligned(largest, load->call->dim * type_bytes(resident->type));
    bool done = load->dense && load->staging;
    if (!done) no_memory(load->refusal);
    for (size_t i = 0; done && i < resident->n_chunks; i++)
        done = !vindex__pace_tick(pace, &load->call->stop, 1e9) && load_chunk(load, i);
    for (size_t i = 0; done && i < resident->n_chunks; i++)
        done = load_bias(load, i);
    vindex__free_aligned(load->staging);
    vindex__free(load->dense);
    return done;
}

static void sum_up(const struct device *device, struct resident *resident, const struct call *call)
{
    double n_live = call->n_live > 0 ? (double)call->n_live : 1;
    resident->norm_lo = INFINITY;
    for (uint32_t i = 0; i < call->snapshot->n_parts; i++) {
        const struct part *part = &call->snapshot->parts[i];
        if (part->norm_lo > 0) resident->norm_lo = fmin(resident->norm_lo, part->norm_lo);
        resident->norm_hi = fmax(resident->norm_hi, part->norm_hi);
    }
    for (size_t i = 0; i < resident->n_chunks; i++) {
        double share = resident->chunks[i].n_live / n_live;
        resident->shares_squared += share * share;
    }
    for (size_t d = 0; d < device->n_devices; d++) {
        uint64_t bytes = 0;
        for (size_t i = 0; i < resident->n_chunks; i++)
            if (resident->chunks[i].device == d)
                bytes += vkern_pjrt_buffer_bytes(resident->chunks[i].rows->buffer);
        if (bytes > resident->most_bytes) resident->most_bytes = bytes;
    }
}

/* The device's resident becomes that of the call's snapshot; the mutex is held. */
static bool follow(struct device *device, struct call *call, struct pace *pace,
                   struct refusal *refusal)
{
    struct resident *resident = vindex__calloc(1, sizeof *resident);
    if (!resident) return no_memory(refusal);
    atomic_init(&resident->refs, 1);
    resident->type = vindex__resident_type(device, call);
    resident->mark = call->snapshot->state.mark;
    struct load load = {.device = device, .call = call, .resident = resident, .refusal = refusal};

    bool done =
        lay_out(resident, device, call, refusal) && check_memory(device, resident, call, refusal);
    bool loaded = done && load_all(&load, pace);
    if (loaded) sum_up(device, resident, call);
    bool is_stopped = atomic_load(&call->stop.status) != VINDEX_OK;
    if (done && !loaded && is_stopped) forget_unloaded(resident);
    if (!loaded && !(done && is_stopped)) {
        vindex__resident_release(resident);
        return false;
    }
    vindex__resident_release(device->resident);
    device->resident = resident;
    return loaded;
}

/* Another call may be loading: wait, but not beyond this one's end. */
static bool lock(struct device *device, struct call *call, struct pace *pace)
{
    while (pthread_mutex_trylock(&device->mutex) != 0) {
        if (vindex__pace_tick(pace, &call->stop, 1e6)) return false;
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    }
    return true;
}

bool vindex__resident_acquire(struct device *device, struct call *call, struct pace *pace,
                              struct resident **resident, struct refusal *refusal)
{
    uint64_t mark = call->snapshot->state.mark;
    bool done = true;
    *resident = NULL;
    if (!lock(device, call, pace)) return false;
    vindex__device_connect(device);
    if (device->failed != VINDEX_OK || (device->refused_mark && device->refused_mark == mark)) {
        done = vindex__refuse(refusal, "%s", device->failure);
    } else if (!device->resident || device->resident->is_partial ||
               device->resident->mark != mark) {
        done = follow(device, call, pace, refusal);
    }
    if (done) {
        atomic_fetch_add(&device->resident->refs, 1);
        *resident = device->resident;
    }
    pthread_mutex_unlock(&device->mutex);
    return done;
}
