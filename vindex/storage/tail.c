/*
 * tail.c - rows not yet sealed, decoded once. Successive tails share an arena of slots: slots are only ever appended,
 * each tail sees its own first n of them, and its own live bits. A row replaced or removed clears its bit; a row added
 * takes the next slot.
 *
 *     tail of epoch 7   n = 5   live 1 1 0 1 1 . . .
 *     tail of epoch 8   n = 6   live 1 0 0 1 1 1 . .      id of slot 1 written anew in slot 5
 *     arena             used 6       a b c d e b'. .
 */
#include "storage/tail.h"

#include "base/mem.h"
#include "base/status.h"

struct arena {
    atomic_uint refs;
    uint32_t capacity;
    uint32_t used; /* under the mutex of the notes: the slots that some tail sees */
    size_t stride;
    void *rows;
    int64_t *ids;
    float *norms;
};

/* ---- lifetime ------------------------------------------------------------------------------ */

static void arena_unref(struct arena *arena)
{
    if (!arena || atomic_fetch_sub(&arena->refs, 1) != 1) return;
    vindex__free_aligned(arena->rows);
    vindex__free(arena->ids);
    vindex__free(arena->norms);
    vindex__free(arena);
}

static struct arena *arena_new(uint32_t capacity, size_t stride)
{
    struct arena *arena = vindex__calloc(1, sizeof *arena);
    if (!arena) return NULL;
    atomic_init(&arena->refs, 1);
    arena->capacity = capacity;
    arena->stride = stride;
    arena->rows = vindex__alloc_aligned(capacity, stride);
    arena->ids = vindex__calloc(capacity, sizeof *arena->ids);
    arena->norms = vindex__calloc(capacity, sizeof *arena->norms);
    if (!arena->rows || !arena->ids || !arena->norms) {
        arena_unref(arena);
        return NULL;
    }
    memset(arena->rows, 0, capacity * stride); /* what pads a row is zero */
    return arena;
}

void vindex__tail_unref(struct tail *tail)
{
    if (!tail || atomic_fetch_sub(&tail->refs, 1) != 1) return;
    arena_unref(tail->arena);
    vindex__free(tail->live);
    vindex__free(tail);
}

/* An empty tail over an arena, which it takes; NULL: out of memory, or there is no arena. */
static struct tail *tail_new(struct arena *arena, const struct config *config)
{
    struct tail *tail = arena ? vindex__calloc(1, sizeof *tail) : NULL;
    if (tail) tail->live = vindex__calloc(bitmap_words(arena->capacity), sizeof *tail->live);
    if (!tail || !tail->live) {
        arena_unref(arena);
        vindex__free(tail);
        return NULL;
    }
    atomic_init(&tail->refs, 1);
    tail->arena = arena;
    tail->block = (struct block){.rows = arena->rows, .stride = arena->stride};
    tail->part = (struct part){
        .blocks = &tail->block,
        .n_blocks = 1,
        .ids_ascend = true,
        .is_tail = true,
        .ids = arena->ids,
        .norms = config->type == VINDEX_BIT ? NULL : arena->norms,
        .live = tail->live,
    };
    return tail;
}

/* One more of the same rows, over the same arena. */
static struct tail *tail_copy(const struct tail *old, const struct config *config)
{
    atomic_fetch_add(&old->arena->refs, 1);
    struct tail *tail = tail_new(old->arena, config);
    if (!tail) return NULL;
    memcpy(tail->live, old->live, bitmap_words(old->arena->capacity) * sizeof *tail->live);
    tail->block = old->block;
    tail->part = old->part;
    tail->part.blocks = &tail->block;
    tail->part.live = tail->live;
    return tail;
}

/* ---- rows ---------------------------------------------------------------------------------- */

/* The next slot; the caller knows that it is free. */
static void tail_append(struct tail *tail, int64_t id, float norm, const void *row,
                        size_t row_bytes)
{
    struct arena *arena = tail->arena;
    struct part *part = &tail->part;
    uint32_t slot = part->n++;
    memcpy((char *)arena->rows + slot * arena->stride, row, row_bytes);
    arena->ids[slot] = id;
    arena->norms[slot] = norm;
    if (slot == 0 || id < part->min_id) part->min_id = id;
    if (slot && id <= part->max_id) part->ids_ascend = false;
    if (slot == 0 || id > part->max_id) part->max_id = id;
    if (norm > part->norm_hi) part->norm_hi = norm;
    if (norm > 0 && (part->norm_lo == 0 || norm < part->norm_lo)) part->norm_lo = norm;
    bitmap_set(tail->live, slot);
    part->n_live++;
    tail->block.n = part->n;
}

static void tail_remove(struct tail *tail, int64_t id)
{
    for (uint32_t slot = 0; slot < tail->part.n; slot++) {
        if (tail->arena->ids[slot] != id || !bitmap_get(tail->live, slot)) continue;
        bitmap_clear(tail->live, slot);
        tail->part.n_live--;
        return;
    }
}

/* ---- all of it ----------------------------------------------------------------------------- */

/* Appends every row of the catalog's tail, of which n are counted. */
static vindex_status read_rows(struct catalog *catalog, const struct config *config, uint64_t n,
                               struct tail *tail)
{
    size_t row_bytes = vindex__config_row_bytes(config);
    uint64_t found = 0;
    struct catalog_walk at = {.catalog = catalog, .table = TABLE_TAIL};
    for (;; found++) {
        float norm;
        const void *row;
        vindex_status st = vindex__walk_next(&at);
        if (st != VINDEX_OK) return st;
        if (!at.value.data) break;
        if (found == n)
            return vindex__corrupt("the tail holds more than the %llu rows counted",
                                   (unsigned long long)n);
        st = vindex__tail_decode(at.value, config, &norm, &row);
        if (st != VINDEX_OK) return st;
        tail_append(tail, load_id_key(at.key), norm, row, row_bytes);
    }
    if (found != n)
        return vindex__corrupt("the tail holds %llu rows, %llu were counted",
                               (unsigned long long)found, (unsigned long long)n);
    return VINDEX_OK;
}

/* Into an arena with room for some commits to come. */
vindex_status vindex__tail_read(struct catalog *catalog, const struct config *config, uint64_t n,
                                struct tail **out)
{
    size_t row_bytes = vindex__config_row_bytes(config);
    struct tail *tail = NULL;
    *out = NULL;
    if (n > SEGMENT_ROWS_MAX || n * row_bytes > SEGMENT_BYTES_MAX + row_bytes)
        return vindex__corrupt("the state record counts %llu tail rows", (unsigned long long)n);
    if (n) {
        uint32_t capacity = (uint32_t)(n + n / 4 + 64);
        tail = tail_new(arena_new(capacity, vindex__full_stride(row_bytes)), config);
        if (!tail) return vindex__nomem();
    }
    vindex_status st = read_rows(catalog, config, n, tail);
    if (st != VINDEX_OK) {
        vindex__tail_unref(tail);
        return st;
    }
    if (tail) tail->arena->used = tail->part.n;
    *out = tail;
    return VINDEX_OK;
}

/* ---- notes --------------------------------------------------------------------------------- */

void vindex__tail_notes_init(struct tail_notes *notes)
{
    pthread_mutex_init(&notes->mutex, NULL);
    notes->n_steps = notes->n = 0;
}

void vindex__tail_notes_deinit(struct tail_notes *notes)
{
    pthread_mutex_destroy(&notes->mutex);
}

void vindex__tail_notes_add(struct tail_notes *notes, uint64_t from, uint64_t to,
                            const int64_t *ids, size_t n)
{
    pthread_mutex_lock(&notes->mutex);
    if (notes->n_steps == 0 || notes->n_steps == NOTE_STEPS || notes->to != from ||
        n > NOTE_MAX - notes->n)
        notes->n_steps = notes->n = 0;
    if (n <= NOTE_MAX) {
        notes->from[notes->n_steps] = from;
        notes->begin[notes->n_steps++] = notes->n;
        notes->to = to;
        if (n) memcpy(notes->ids + notes->n, ids, n * sizeof *ids);
        notes->n += n;
    }
    pthread_mutex_unlock(&notes->mutex);
}

void vindex__tail_notes_clear(struct tail_notes *notes)
{
    pthread_mutex_lock(&notes->mutex);
    notes->n_steps = 0;
    pthread_mutex_unlock(&notes->mutex);
}

void vindex__tail_notes_served(struct tail_notes *notes, uint64_t mark)
{
    pthread_mutex_lock(&notes->mutex);
    if (notes->to == mark) notes->n_steps = 0;
    pthread_mutex_unlock(&notes->mutex);
}

/* Where the ids noted since `from` begin, or SIZE_MAX. */
static size_t find_note(const struct tail_notes *notes, uint64_t from, uint64_t to)
{
    for (size_t i = 0; notes->to == to && i < notes->n_steps; i++)
        if (notes->from[i] == from) return notes->begin[i];
    return SIZE_MAX;
}

/* ---- from the one before ------------------------------------------------------------------- */

/*
 * Reserve slots after the old tail's last for the ids noted between two marks. Returns how many there are, or SIZE_MAX:
 * not known, no room, or another extension took them. ids has room for NOTE_MAX.
 */
static size_t reserve(struct tail_notes *notes, const struct tail *old, uint64_t from, uint64_t to,
                      int64_t *ids)
{
    struct arena *arena = old->arena;
    size_t n = SIZE_MAX;
    pthread_mutex_lock(&notes->mutex);
    size_t begin = find_note(notes, from, to);
    if (begin != SIZE_MAX && arena->used == old->part.n &&
        notes->n - begin <= arena->capacity - arena->used) {
        n = notes->n - begin;
        memcpy(ids, notes->ids + begin, n * sizeof *ids);
        arena->used += (uint32_t)n;
    }
    pthread_mutex_unlock(&notes->mutex);
    return n;
}

/* Take back what of a reservation was not needed, if it is still the last one. */
static void give_back(struct tail_notes *notes, struct arena *arena, uint32_t reserved, uint32_t n)
{
    pthread_mutex_lock(&notes->mutex);
    if (arena->used == reserved) arena->used = n;
    pthread_mutex_unlock(&notes->mutex);
}

/* What the catalog holds now for an id that was touched. */
static vindex_status tail_update(struct catalog *catalog, const struct config *config,
                                 struct tail *tail, int64_t id)
{
    unsigned char key[8];
    struct catalog_entry entry;
    float norm;
    const void *row;
    tail_remove(tail, id);
    store_id_key(key, id);
    vindex_status st = catalog_get(catalog, TABLE_TAIL, bytes_of(key, 8), &entry);
    if (st != VINDEX_OK || !entry.value.data) return st;
    st = vindex__tail_decode(entry.value, config, &norm, &row);
    if (st == VINDEX_OK) tail_append(tail, id, norm, row, vindex__config_row_bytes(config));
    return st;
}

vindex_status vindex__tail_extend(struct tail_notes *notes, struct catalog *catalog,
                                  const struct config *config, const struct tail *old,
                                  uint64_t from, uint64_t to, uint64_t n, struct tail **out)
{
    vindex_status st = VINDEX_OK;
    *out = NULL;
    if (!old || old->part.n_live < old->part.n / 2) return VINDEX_OK;
    int64_t *ids = vindex__calloc(NOTE_MAX, sizeof *ids);
    if (!ids) return vindex__nomem();
    size_t n_ids = reserve(notes, old, from, to, ids);
    if (n_ids == SIZE_MAX) goto out;

    uint32_t reserved = old->part.n + (uint32_t)n_ids;
    struct tail *tail = tail_copy(old, config);
    if (!tail) st = vindex__nomem();
    for (size_t i = 0; i < n_ids && st == VINDEX_OK; i++)
        st = tail_update(catalog, config, tail, ids[i]);
    give_back(notes, old->arena, reserved, st == VINDEX_OK ? tail->part.n : old->part.n);
    if (st == VINDEX_OK && tail->part.n_live == n && n > 0)
        *out = tail;
    else
        vindex__tail_unref(tail);
out:
    vindex__free(ids);
    return st;
}
