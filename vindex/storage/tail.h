/*
 * tail.h - the decoded tail of a snapshot, inside storage. A tail never changes once it is whole; one that follows it
 * within this process is made from it in time proportional to what changed.
 */
#ifndef VINDEX_STORAGE_TAIL_H
#define VINDEX_STORAGE_TAIL_H

#include <pthread.h>
#include <stdatomic.h>

#include "storage/snapshot.h"

struct tail {
    atomic_uint refs;
    struct part part;    /* what a snapshot shows; its base is the snapshot's affair */
    struct block block;  /* the one of part */
    uint64_t *live;      /* part's, of the arena's capacity */
    struct arena *arena; /* shared with the tails before and after */
};

/* The ids whose tail records commits of this process touched, one commit after the other. */
#define NOTE_MAX 1024 /* more, and reading the whole tail is as fast */
#define NOTE_STEPS 64
struct tail_notes {
    pthread_mutex_t mutex;     /* over the slots reserved of every arena as well */
    uint64_t from[NOTE_STEPS]; /* marks: commit i led from from[i] to from[i + 1], the last one to `to` */
    size_t begin[NOTE_STEPS];  /* its first id */
    size_t n_steps;
    uint64_t to;
    size_t n;
    int64_t ids[NOTE_MAX];
};

void vindex__tail_notes_init(struct tail_notes *notes);
void vindex__tail_notes_deinit(struct tail_notes *notes);
/** A commit led from one mark to another and touched these ids. */
void vindex__tail_notes_add(struct tail_notes *notes, uint64_t from, uint64_t to, const int64_t *ids,
                            size_t n);
void vindex__tail_notes_clear(struct tail_notes *notes);
/** A tail of this mark exists: what led there has served its turn. */
void vindex__tail_notes_served(struct tail_notes *notes, uint64_t mark);

/** All of the catalog's tail, which must hold n rows. *tail NULL: n is 0. */
vindex_status vindex__tail_read(struct catalog *catalog, const struct config *config, uint64_t n,
                                struct tail **tail);
/**
 * The tail of mark `to` and n rows from the one of mark `from`: the ids noted since are looked up again. *tail NULL
 * where that cannot be done or would not agree with n: the caller then reads all of it.
 */
vindex_status vindex__tail_extend(struct tail_notes *notes, struct catalog *catalog,
                                  const struct config *config, const struct tail *old, uint64_t from,
                                  uint64_t to, uint64_t n, struct tail **tail);
void vindex__tail_unref(struct tail *tail);

#endif
