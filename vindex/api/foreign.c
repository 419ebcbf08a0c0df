/*
 * foreign.c - indexes over a catalog and blocks that another program part owns (catalog.h): the SQLite
 * extension's shadow tables.
 */
#include "api/api.h"
#include "base/random.h"
#include "base/status.h"

static vindex_status read_config(struct catalog *catalog, struct config *config)
{
    uint64_t stamp;
    vindex_status st = catalog_refresh(catalog, &stamp);
    if (st == VINDEX_OK) st = vindex__read_head(catalog, config, NULL);
    catalog_release(catalog);
    return st;
}

vindex_status vindex_open_on(struct catalog *catalog, struct blocks *blocks, vindex **out)
{
    vindex *index = NULL;
    if (!catalog || !blocks || !out)
        return vindex__fail(VINDEX_INVALID, "vindex_open_on: an argument is NULL");
    *out = NULL;
    vindex_status st = vindex__index_new(&index);
    if (st != VINDEX_OK) return st;
    st = read_config(catalog, &index->config);
    if (st == VINDEX_OK) st = vindex__audits_open(index);
    if (st == VINDEX_OK) st = vindex__store_foreign(catalog, blocks, &index->store);
    if (st != VINDEX_OK) {
        vindex__index_free(index);
        return st;
    }
    vindex__index_ask_environment(index);
    *out = index;
    return VINDEX_OK;
}

vindex_status vindex_create_on(struct catalog *catalog, struct blocks *blocks,
                               const vindex_create_options *options, vindex **out)
{
    struct config config;
    if (!catalog || !blocks || !out)
        return vindex__fail(VINDEX_INVALID, "vindex_create_on: an argument is NULL");
    *out = NULL;
    vindex_status st = vindex__config_from(options, &config);
    if (st == VINDEX_OK) st = vindex__nonce(config.uuid, sizeof config.uuid);
    if (st == VINDEX_OK) st = vindex__store_format(catalog, &config);
    if (st == VINDEX_OK) st = catalog_commit(catalog);
    return st == VINDEX_OK ? vindex_open_on(catalog, blocks, out) : st;
}

void vindex_forget(vindex *index, bool was_read)
{
    if (!index) return;
    vindex__store_forget(index->store);
    if (was_read) atomic_store(&index->audits_in_doubt, true);
}
