/*
 * head.c - the two records every reader of a catalog begins with.
 */
#include <string.h>

#include "base/status.h"
#include "storage/store.h"

static vindex_status read_record(struct catalog *catalog, const char *name, struct catalog_entry *entry)
{
    vindex_status st = catalog_get(catalog, TABLE_CONFIG, bytes_of(name, strlen(name)), entry);
    if (st == VINDEX_OK && !entry->value.data) st = vindex__corrupt("the %s record is missing", name);
    return st;
}

vindex_status vindex__read_head(struct catalog *catalog, struct config *config, struct state *state)
{
    struct catalog_entry entry;
    vindex_status st = read_record(catalog, "config", &entry);
    if (st == VINDEX_OK) st = vindex__config_decode(entry.value, config);
    if (st != VINDEX_OK || !state) return st;
    st = read_record(catalog, "state", &entry);
    return st == VINDEX_OK ? vindex__state_decode(entry.value, state) : st;
}
