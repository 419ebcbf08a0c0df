/*
 * hello.c - the program at the head of vindex.h: three rows, one query, the nearest row.
 */
#include <stdint.h>
#include <stdio.h>

#include <vindex.h>

int main(void)
{
    float rows[3][2] = {{0, 0}, {3, 4}, {1, 1}}, query[2] = {1, 0};
    int64_t ids[3] = {10, 20, 30};
    vindex_create_options create = VINDEX_CREATE_OPTIONS_INIT;
    vindex *index = NULL; vindex_writer *writer = NULL; vindex_searcher *searcher = NULL;
    vindex_hit hits[2];
    create.dim = 2;
    if (vindex_create(":memory:", &create, &index) != VINDEX_OK) return 1;
    vindex_writer_begin(index, &writer);
    vindex_writer_insert(writer, ids, &VINDEX_F32_ROWS(rows, 3), 0);
    vindex_writer_commit(writer);
    vindex_searcher_open(index, &searcher);
    vindex_search(searcher, &VINDEX_F32_ROWS(query, 1), 2, NULL, hits);
    printf("%lld at %.3f\n", (long long)hits[0].id, hits[0].score);
    vindex_searcher_close(searcher);
    vindex_close(index);
    return 0;
}
