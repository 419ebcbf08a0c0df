/*
 * encode.c - rows to groups, a panel of VKERN_TILE_ROWS rows at a time; panels are the tasks of a pool.
 *
 *     look     at each panel, until some row is not whole      -> its range; joined: of all rows
 *     encode   each panel: rows in f32 -> groups of each plane  -> its extremes; joined: the facts
 *
 * Panels begin at the same rows whoever takes them, write their own groups, and what they find is joined in their
 * order: nothing depends on the number of threads.
 */
#include "ingest/encode.h"

#include "base/mem.h"
#include "base/status.h"

/* What a thread works in. */
struct workplace {
    float *rows;    /* [VKERN_TILE_ROWS, dim] */
    float *scratch; /* of vkern_axes_encode; NULL where there are no axes */
};

/* What a panel leaves behind. */
struct panel {
    struct vkern_c8_range range;
    struct vkern_c8_extremes extremes;
    bool has_p8;
    struct vkern_p8_facts p8_facts;
};

struct encoder {
    struct vkern_model model;
    vkern_to_f32_fn *to_f32;
    const vkern_table *table;
    bool has_c8;
    struct pool *pool;
    struct workplace *workplaces; /* [n_workers] */
    uint32_t n_workers;
    struct panel *panels;
    size_t panels_capacity;
    /* the segment being encoded */
    const struct row_source *source;
    struct groups *groups;
    struct vkern_c8_range range;
};

/* ---- open, close ------------------------------------------------------------------------------------ */

void vindex__groups_deinit(struct groups *groups)
{
    vindex__free_aligned(groups->c4);
    vindex__free_aligned(groups->c8);
    vindex__free_aligned(groups->p8);
    memset(groups, 0, sizeof *groups);
}

void vindex__encoder_close(struct encoder *e)
{
    if (!e) return;
    for (uint32_t i = 0; i < e->n_workers && e->workplaces; i++) {
        vindex__free_aligned(e->workplaces[i].rows);
        vindex__free_aligned(e->workplaces[i].scratch);
    }
    vindex__free(e->workplaces);
    vindex__free(e->panels);
    vindex__free(e);
}

static bool make_workplace(const struct vkern_model *model, struct workplace *place)
{
    place->rows = vindex__alloc_aligned((size_t)VKERN_TILE_ROWS * model->dim, sizeof *place->rows);
    if (vkern_n_axes(model))
        place->scratch = vindex__alloc_aligned(vkern_c4_scratch(model), sizeof *place->scratch);
    return place->rows && (place->scratch || !vkern_n_axes(model));
}

vindex_status vindex__encoder_open(const struct vkern_model *model, uint32_t type, bool has_c8,
                                   struct pool *pool, struct encoder **out)
{
    struct encoder *e = vindex__calloc(1, sizeof *e);
    *out = NULL;
    if (!e) return vindex__nomem();
    e->model = *model;
    e->table = vkern_get();
    e->to_f32 = e->table->to_f32[type];
    e->has_c8 = has_c8;
    e->pool = pool;
    e->n_workers = pool ? vindex__pool_size(pool) : 1;
    e->workplaces = vindex__calloc(e->n_workers, sizeof *e->workplaces);
    bool fits = e->workplaces != NULL;
    for (uint32_t i = 0; i < e->n_workers && fits; i++)
        fits = make_workplace(model, &e->workplaces[i]);
    if (!fits) {
        vindex__encoder_close(e);
        return vindex__nomem();
    }
    *out = e;
    return VINDEX_OK;
}

/* ---- rows --------------------------------------------------------------------------------------------- */

static const unsigned char *source_row(const struct row_source *source, uint32_t slot)
{
    const struct segment_record *record = source->record;
    const struct buffer *buffer = &source->in->buffer;
    if (!source->blocks) return buffer->rows + source->in->order[slot].index * buffer->row_bytes;
    return source->blocks[slot / record->rows_per_block] +
           (size_t)(slot % record->rows_per_block) * record->stride;
}

static uint32_t panel_rows(const struct encoder *e, size_t panel)
{
    uint32_t left = e->source->record->n - (uint32_t)panel * VKERN_TILE_ROWS;
    return left < VKERN_TILE_ROWS ? left : VKERN_TILE_ROWS;
}

static void gather(const struct encoder *e, uint32_t first, uint32_t n, float *out)
{
    size_t dim = e->model.dim;
    for (uint32_t i = 0; i < n; i++)
        e->to_f32(source_row(e->source, first + i), dim, out + i * dim);
}

/* ---- tasks -------------------------------------------------------------------------------------------- */

/* A row at a time: where rows are not whole, the first mostly says so. */
static void look_at_panel(void *encoder, size_t task, uint32_t worker)
{
    struct encoder *e = encoder;
    struct vkern_c8_range range = VKERN_C8_RANGE_INIT;
    float *row = e->workplaces[worker].rows;
    uint32_t first = (uint32_t)task * VKERN_TILE_ROWS, n = panel_rows(e, task);
    for (uint32_t i = 0; i < n && range.whole; i++) {
        gather(e, first + i, 1, row);
        vkern_c8_look(e->table, row, 1, e->model.dim, &range);
    }
    e->panels[task].range = range;
}

static void encode_along(struct encoder *e, const struct workplace *place, size_t task, uint32_t n)
{
    const struct vkern_model *model = &e->model;
    struct panel *panel = &e->panels[task];
    size_t first_group = task * VKERN_TILE_GROUPS;
    unsigned char *c4 = NULL, *p8 = NULL;
    if (model->m) c4 = e->groups->c4 + first_group * vkern_c4_group_bytes(model->m);
    if (model->p) p8 = e->groups->p8 + first_group * vkern_c8_group_bytes(vkern_p8_dim(model));
    panel->has_p8 = vkern_axes_encode(e->table, model, place->rows, n, place->scratch, c4, p8,
                                      &panel->p8_facts) &&
                    p8;
}

static void encode_panel(void *encoder, size_t task, uint32_t worker)
{
    struct encoder *e = encoder;
    const struct vkern_model *model = &e->model;
    const struct workplace *place = &e->workplaces[worker];
    uint32_t n = panel_rows(e, task);
    size_t first_group = task * VKERN_TILE_GROUPS;
    gather(e, (uint32_t)task * VKERN_TILE_ROWS, n, place->rows);
    if (vkern_n_axes(model)) encode_along(e, place, task, n);
    if (e->has_c8) {
        struct vkern_c8_extremes extremes = {.error = 0};
        vkern_c8_encode_part(e->table, model, &e->range, place->rows, n,
                             e->groups->c8 + first_group * vkern_c8_group_bytes(model->dim),
                             &extremes);
        e->panels[task].extremes = extremes;
    }
}

/* ---- a segment ---------------------------------------------------------------------------------------- */

static bool reserve(unsigned char **bytes, size_t *capacity, size_t n_groups, size_t group_bytes)
{
    size_t need = n_groups * group_bytes;
    if (need <= *capacity) return true;
    void *fresh = vindex__alloc_aligned(need, 1);
    if (!fresh) return false;
    vindex__free_aligned(*bytes);
    *bytes = fresh;
    *capacity = need;
    return true;
}

static vindex_status make_room(struct encoder *e, size_t n_panels, size_t n_groups,
                               struct groups *groups)
{
    size_t c4_bytes = e->model.m ? vkern_c4_group_bytes(e->model.m) : 0;
    size_t c8_bytes = e->has_c8 ? vkern_c8_group_bytes(e->model.dim) : 0;
    size_t p8_bytes = e->model.p ? vkern_c8_group_bytes(vkern_p8_dim(&e->model)) : 0;
    bool fits =
        vindex__grow((void **)&e->panels, &e->panels_capacity, n_panels, sizeof *e->panels) &&
        reserve(&groups->c4, &groups->c4_capacity, n_groups, c4_bytes) &&
        reserve(&groups->c8, &groups->c8_capacity, n_groups, c8_bytes) &&
        reserve(&groups->p8, &groups->p8_capacity, n_groups, p8_bytes);
    return fits ? VINDEX_OK : vindex__nomem();
}

static void find_range(struct encoder *e, size_t n_panels)
{
    e->range = (struct vkern_c8_range)VKERN_C8_RANGE_INIT;
    vindex__pool_run(e->pool, look_at_panel, e, n_panels);
    for (size_t i = 0; i < n_panels; i++)
        vkern_c8_join_ranges(&e->range, &e->panels[i].range);
}

static void conclude_c8(struct encoder *e, size_t n_panels)
{
    struct vkern_c8_extremes extremes = {.error = 0};
    for (size_t i = 0; i < n_panels; i++)
        vkern_c8_join_extremes(&extremes, &e->panels[i].extremes);
    e->groups->has_c8 = vkern_c8_conclude(&e->model, &e->range, &extremes, &e->groups->c8_facts);
}

static void conclude_p8(struct encoder *e, size_t n_panels)
{
    struct groups *groups = e->groups;
    groups->has_p8 = true;
    memset(&groups->p8_facts, 0, sizeof groups->p8_facts);
    for (size_t i = 0; i < n_panels; i++) {
        groups->has_p8 &= e->panels[i].has_p8;
        vkern_p8_join(&groups->p8_facts, &e->panels[i].p8_facts);
    }
}

vindex_status vindex__encode(struct encoder *e, const struct row_source *source,
                             struct groups *groups)
{
    size_t n = source->record->n, n_panels = (n + VKERN_TILE_ROWS - 1) / VKERN_TILE_ROWS;
    vindex_status st = make_room(e, n_panels, vkern_groups(n), groups);
    if (st != VINDEX_OK) return st;
    e->source = source;
    e->groups = groups;
    groups->has_c8 = groups->has_p8 = false;
    if (e->has_c8) find_range(e, n_panels);
    vindex__pool_run(e->pool, encode_panel, e, n_panels);
    if (e->has_c8) conclude_c8(e, n_panels);
    if (e->model.p) conclude_p8(e, n_panels);
    return VINDEX_OK;
}
