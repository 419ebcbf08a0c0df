/*
 * internal.h - what the files of codes/ share: where things lie in a group and in a pack of
 * queries, and who fills the slots. Private to kernels/codes/.
 */
#ifndef VKERN_CODES_INTERNAL_H
#define VKERN_CODES_INTERNAL_H

#include "kernels/codes.h"
#include "kernels/init.h"

/* Lines of codes in a c8 group. */
static inline size_t c8_lines(size_t dim)
{
    return (dim + 3) / 4;
}

static inline size_t round_up_64(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

/**
 * The head of a pack of queries: what is added to and multiplied with the integers, an entry a
 * query. It takes a multiple of 64 bytes; codes follow, as each engine likes them.
 */
struct tile8_head {
    float weight;
    int32_t shift, constant;
};

static inline size_t tile8_head_bytes(size_t nq)
{
    return round_up_64(nq * sizeof(struct tile8_head));
}

static inline void tile8_put_heads(const struct vkern_c8_query *queries, size_t nq, void *packed)
{
    struct tile8_head *heads = packed;

    for (size_t q = 0; q < nq; q++)
        heads[q] = (struct tile8_head){queries[q].weight, queries[q].shift, queries[q].constant};
}

/** codes_ref.c, for the levels that have nothing better. */
extern const struct vkern_codes vkern_codes_ref;
vkern_c8_pack_fn vkern_c8_pack_ref;

#if VKERN_X86
extern const struct vkern_codes vkern_codes_avx2, vkern_codes_avx512, vkern_codes_avx512vnni;
extern const struct vkern_codes vkern_codes_amx; /* avx512vnni, and tiles */
extern const struct vkern_tile8 vkern_tile8_amx;
#endif

#endif
