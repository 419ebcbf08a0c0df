/*
 * session_mem.h - the store ":memory:" and its sessions, shared by catalog_mem.c and blocks_mem.c.
 *
 *     records   whole key (overlay.h) -> record. Read inside the gate, from refresh to settle; a commit
 *               is alone. It moves the session's changes over without allocating, so it cannot stop half way.
 *     blocks    key -> struct mem_block *. Under the mutex. A block knows the commits that bore and
 *               deleted it, so a view finds what it should; it is freed when no view that may see it is left.
 */
#ifndef VINDEX_STORAGE_SESSION_MEM_H
#define VINDEX_STORAGE_SESSION_MEM_H

#include "base/ordmap.h"
#include "storage/blocks.h"
#include "storage/catalog.h"
#include "storage/gate.h"
#include "storage/record.h"
#include "storage/store.h"

struct mem_block {
    struct mem_block *next_dead;
    uint64_t born, died; /* stamps; died 0: lives */
    size_t size;
    struct bytes key;    /* the map's copy */
    unsigned char *heap; /* the value lies at heap + 16, so that its payload is 64-byte aligned */
};

struct mem_store {
    pid_t pid;
    struct gate gate;
    struct ordmap *records;

    pthread_mutex_t mutex; /* of what follows */
    uint64_t stamp;        /* commits so far */
    struct ordmap *blocks;
    struct mem_block *dead;
    uint64_t live_bytes, dead_bytes; /* of blocks */
    struct mem_session *sessions;
    bool has_writer;
};

struct mem_session {
    struct catalog catalog; /* first: a catalog handed out is its session */
    struct blocks blocks;
    struct mem_store *store;
    struct mem_session *next, *previous;
    bool is_reading; /* inside the gate */
    bool has_view;
    uint64_t stamp; /* of the view */
    bool is_writer;
    /* of a writer, else NULL */
    struct ordmap *changes; /* overlay.h */
    struct ordmap *puts;    /* as store.blocks */
    struct ordmap *dels;    /* keys */
};

/** Empty but for the two records. */
vindex_status vindex__mem_store_new(const struct config *config, const struct state *state,
                                    struct mem_store **store);
void vindex__mem_store_free(struct mem_store *store);
vindex_status vindex__mem_store_check_fork(const struct mem_store *store);
void vindex__mem_store_sizes(struct mem_store *store, uint64_t *size_bytes, uint64_t *used_bytes);

vindex_status vindex__mem_session_open(struct mem_store *store, bool is_writer,
                                       struct session *session);
/** In a forked child it only frees. */
void vindex__mem_session_close(struct session *session);

extern const struct blocks_ops vindex__mem_blocks_ops;

/* The block part of catalog_mem.c's work; store->mutex is held, except for the last one. */
void vindex__mem_blocks_publish(struct mem_session *session);
void vindex__mem_blocks_sweep(struct mem_store *store);
void vindex__mem_blocks_forget(struct mem_session *session);
void vindex__mem_blocks_free_all(struct ordmap *blocks);

#endif
