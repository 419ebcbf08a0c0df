/*
 * repair.c - find derived planes that were damaged or lost, and drop them: optimize then makes them anew. Readers refuse
 * what is damaged (derived.c), so this looks at records and blocks itself and needs no snapshot.
 */
#include "base/mem.h"
#include "base/status.h"
#include "ingest/internal.h"
#include "storage/derived.h"

/* A model that lacks a block goes too: it is as none, and its record would keep the rest of the blocks. */
static vindex_status look_at_model(struct ingest *in)
{
    struct model_copy *copy = NULL;
    vindex_status st = vindex__model_acquire(in->session, &in->config, NULL, &copy);
    bool is_lost = st == VINDEX_CORRUPT || (st == VINDEX_OK && !copy);
    vindex__model_unref(copy);
    return is_lost ? vindex__model_drop(in) : st;
}

static vindex_status look_at_audits(struct ingest *in)
{
    struct audits_record record;
    unsigned char *entries = NULL;
    vindex_status st = vindex__audits_acquire(in->session, &in->config, &record, &entries);
    vindex__free(entries);
    return st == VINDEX_CORRUPT ? vindex__audits_drop(in) : st;
}

static vindex_status has_segment(struct ingest *in, const unsigned char key[8], bool *has)
{
    struct catalog_entry entry;
    vindex_status st =
        catalog_get(in->session->catalog, TABLE_SEGMENTS, bytes_of(key, 8), &entry);
    *has = st == VINDEX_OK && entry.value.data;
    return st;
}

static vindex_status are_whole(struct ingest *in, const unsigned char key[8], struct bytes bytes,
                               bool checksum, bool *is_whole)
{
    struct codes_record record;
    vindex_status st = vindex__codes_decode(bytes, &record);
    *is_whole = st == VINDEX_OK;
    if (st != VINDEX_OK) return st == VINDEX_CORRUPT ? VINDEX_OK : st;
    st = has_segment(in, key, is_whole);
    if (st != VINDEX_OK || !*is_whole) return st;
    return vindex__codes_are_whole(in->session->blocks, &in->config, &record, checksum, is_whole);
}

static vindex_status look_at_codes(struct ingest *in, bool checksum)
{
    struct catalog_walk at = {.catalog = in->session->catalog, .table = TABLE_CODES};
    for (;;) {
        bool is_whole = false;
        vindex_status st = vindex__walk_next(&at);
        if (st != VINDEX_OK || !at.value.data) return st;
        st = are_whole(in, at.key, at.value, checksum, &is_whole);
        if (st == VINDEX_OK && !is_whole) {
            in->changed = true;
            st = vindex__codes_drop(in, load_be64(at.key));
        }
        if (st != VINDEX_OK) return st;
    }
}

vindex_status vindex__ingest_drop_damaged(struct ingest *in, bool checksum)
{
    vindex_status st = vindex__ingest_enter(in);
    if (st != VINDEX_OK) return st;
    in->flushed = false;
    st = look_at_model(in);
    if (st == VINDEX_OK) st = look_at_audits(in);
    if (st == VINDEX_OK) st = look_at_codes(in, checksum);
    return vindex__ingest_leave(in, st);
}
