/*
 * pages.h - a bounds-checked reader of LMDB files (LMDB 0.9, data version 1): what must hold before LMDB
 * itself may map one, since stock LMDB trusts every byte and dies on damaged page headers. Reads with
 * pread only; knows nothing of locks.
 */
#ifndef VINDEX_STORAGE_PAGES_H
#define VINDEX_STORAGE_PAGES_H

#include <stdbool.h>

#include "vindex.h"

#define PAGES_NO_ROOT UINT64_MAX /* the tree is empty */

/** What a meta page says of one B-tree. */
struct pages_tree {
    uint16_t depth;
    uint64_t n_branch, n_leaf, n_overflow; /* pages */
    uint64_t n_entries;
    uint64_t root;
};

/** What a meta page says: the start of one snapshot. */
struct pages_meta {
    uint32_t page_bytes;
    uint64_t txnid;
    uint64_t last_page;
    struct pages_tree free, main;
};

/**
 * Read and validate both meta pages; `metas[0]` is the newer one. Everything later code computes from
 * them is in range then: no overflow, page numbers at most last_page, a plausible last_page.
 *
 * @return VINDEX_OK, NOTINDEX (no LMDB file), CORRUPT, UNSUPPORTED (other byte order, word size or LMDB
 *         version), IO.
 */
vindex_status vindex__pages_metas(int fd, const char *path, struct pages_meta metas[2]);

struct pages_report {
    vindex_finding_fn *finding; /* in: may be NULL */
    void *context;              /* in */
    uint64_t n_findings;
    uint64_t used_bytes; /* of pages in use: metas, trees, values */
    uint64_t end_bytes;  /* where the last page in use ends */
    bool is_foreign;     /* a sound LMDB file, but not one of ours */
};

/**
 * Walk every page the meta leads to: each is reached once, lies inside the file, is laid out as LMDB lays
 * it out, keys ascend, counts agree, free pages are free, records and blocks are framed as FORMAT.md says
 * (their checksums are not looked at). Without report->finding it stops at the first finding.
 *
 * @return VINDEX_OK, CORRUPT (the first finding is the message), NOTINDEX (foreign), IO, NOMEM.
 */
vindex_status vindex__pages_walk(int fd, const struct pages_meta *meta,
                                 struct pages_report *report);

#endif
