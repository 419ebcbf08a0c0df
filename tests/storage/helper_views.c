/*
 * helper_views.c - views of an index made by helper_codes.c, held against what was put there.
 */
#include "helper_views.h"

#include <string.h>

#include "storage/check.h"
#include "storage/derived.h"

vindex_status try_view(struct store *store, struct view *v)
{
    v->store = store;
    v->session = test_session(store, false);
    vindex_status st = vindex__snapshot_acquire(store, &v->session, &v->snapshot);
    if (st != VINDEX_OK) vindex__session_close(store, &v->session);
    return st;
}

struct view open_view(struct store *store)
{
    struct view v;
    CHECK_OK(try_view(store, &v));
    return v;
}

void close_view(struct view *v)
{
    vindex__snapshot_release(v->store, &v->session, v->snapshot);
    vindex__session_close(v->store, &v->session);
}

const struct part *part_of(const struct snapshot *snapshot, uint64_t seq)
{
    for (uint32_t i = 0; i < snapshot->n_parts; i++)
        if (snapshot->parts[i].seq == seq) return &snapshot->parts[i];
    CHECK(!"the segment is in the snapshot");
    return NULL;
}

/* The blocks hold exactly what was written. */
static void check_plane(const struct codes_index *f, uint64_t seq, enum plane plane,
                        const struct block *blocks, uint32_t n_blocks)
{
    size_t size, at = 0;
    uint32_t slot = 0;
    unsigned char *groups = make_groups(f, seq, plane, &size);
    CHECK((blocks != NULL) == (n_blocks > 0) && (n_blocks > 0) == (size > 0));
    for (uint32_t i = 0; i < n_blocks; i++) {
        size_t bytes = blocks[i].n * blocks[i].stride;
        CHECK(blocks[i].first == slot && at + bytes <= size);
        CHECK(memcmp(blocks[i].rows, groups + at, bytes) == 0);
        slot += GROUP_ROWS * blocks[i].n;
        at += bytes;
    }
    CHECK(at == size);
    free(groups);
}

void check_codes(const struct codes_index *f, const struct snapshot *snapshot, uint64_t seq)
{
    const struct part *part = part_of(snapshot, seq);
    const struct codes_record *record = &f->codes[seq];
    CHECK(part->codes != NULL && part->n == record->n);
    check_plane(f, seq, PLANE_C4, part->codes->c4, part->codes->n_c4);
    check_plane(f, seq, PLANE_C8, part->codes->c8, part->codes->n_c8);
    check_plane(f, seq, PLANE_P8, part->codes->p8, part->codes->n_p8);
    CHECK(part->codes->whole == !!(record->flags & CODES_WHOLE));
    CHECK(part->codes->is_signed == !!(record->flags & CODES_SIGNED));
    CHECK(part->codes->c8_error == record->c8_error && part->codes->c8_size == record->c8_size &&
          part->codes->c8_bias == record->c8_bias);
    CHECK(part->codes->p8_error == record->p8_error && part->codes->p8_size == record->p8_size &&
          part->codes->p8_bias == record->p8_bias && part->codes->p8_drift == record->p8_drift);
}

void check_array(const float *array, size_t n, unsigned char tag, enum plane plane)
{
    CHECK(array != NULL && (uintptr_t)array % 64 == 0);
    for (size_t i = 0; i < n; i++)
        CHECK(array[i] == model_value(tag, plane, i));
}

void check_model(const struct codes_index *f, const struct snapshot *snapshot, unsigned char tag)
{
    const struct model *model = snapshot->model;
    CHECK(model != NULL && memcmp(model->nonce, f->model.nonce, NONCE_BYTES) == 0);
    CHECK(model->m == CODES_M && model->clip == 2.5f && model->energy == 0.75f);
    CHECK(model->p == CODES_P && model->axes_norm == 1.0625f);
    CHECK(model->n_rows == f->model.n_rows);
    check_array(model->mean, CODES_DIM, tag, PLANE_MEAN);
    check_array(model->scale, CODES_DIM, tag, PLANE_SCALE);
    check_array(model->axes, (size_t)CODES_M * CODES_DIM, tag, PLANE_AXES);
    check_array(model->deviation, CODES_M, tag, PLANE_DEVIATION);
}

bool codes_are_whole(const struct codes_index *f, struct store *store, bool checksum)
{
    struct session s = test_session(store, false);
    uint64_t stamp;
    bool is_whole = false;
    CHECK_OK(catalog_refresh(s.catalog, &stamp));
    CHECK_OK(vindex__codes_are_whole(s.blocks, &f->config, &f->codes[2], checksum, &is_whole));
    catalog_release(s.catalog);
    vindex__session_close(store, &s);
    return is_whole;
}

struct findings {
    unsigned n;
    char text[2000];
};

static void collect(void *context, const char *finding)
{
    struct findings *all = context;
    size_t used = strlen(all->text);
    all->n++;
    snprintf(all->text + used, sizeof all->text - used, "%s\n", finding);
}

void check_says(struct store *store, const char *name, const char *words)
{
    struct findings all = {0, ""};
    struct check check = {.finding = collect, .context = &all};
    struct session s = test_session(store, false);
    vindex_status st = vindex__check_store(store, &s, &check);
    vindex__session_close(store, &s);
    bool is_right = words ? st == VINDEX_CORRUPT && all.n >= 1 && strstr(all.text, words)
                          : st == VINDEX_OK && all.n == 0;
    if (!is_right)
        fail_msg("%s: check gives %s, not \"%s\":\n%s", name, vindex_status_text(st),
                 words ? words : "nothing", all.text);
}

void on_both_stores(body_fn *body)
{
    const char *path = test_path("derived.vdx");
    struct codes_index f;
    codes_index_create(&f, ":memory:", VINDEX_L2);
    body(&f);
    codes_index_close(&f);
    codes_index_create(&f, path, VINDEX_L2);
    body(&f);
    codes_index_close(&f);
    test_remove(path);
}
