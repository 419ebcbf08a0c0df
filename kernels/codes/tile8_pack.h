/*
 * tile8_pack.h - a pack of queries as the vector engines like it: the heads, then blocks of QUERIES queries, WORDS
 * words of each a line; the last block is filled up with zeros. Included where QUERIES, WORDS and
 * put_words are known; AMX and the reference have packs of their own.
 */
#ifndef VKERN_TILE8_PACK_H
#define VKERN_TILE8_PACK_H

#include "kernels/codes/internal.h"

static size_t pack_bytes(size_t nq, size_t dim)
{
    const size_t blocks = (nq + QUERIES - 1) / QUERIES;

    return tile8_head_bytes(nq) + round_up_64(blocks * QUERIES * WORDS * 4 * c8_lines(dim));
}

static void pack(const struct vkern_c8_query *queries, size_t nq, size_t dim, void *packed)
{
    const size_t lines = c8_lines(dim);
    int32_t *words = (int32_t *)((unsigned char *)packed + tile8_head_bytes(nq));

    tile8_put_heads(queries, nq, packed);
    memset(words, 0, pack_bytes(nq, dim) - tile8_head_bytes(nq));
    for (size_t q = 0; q < nq; q++)
        for (size_t i = 0; i < lines; i++)
            put_words(queries[q].codes + 4 * i,
                      words + ((q / QUERIES * lines + i) * QUERIES + q % QUERIES) * WORDS);
}

#endif
