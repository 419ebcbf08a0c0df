/*
 * filter.c - what happens to scores between the kernel and the top-k: the threshold with its live
 * bitmap, the division by norms; and the sum benchmarks take as the floor.
 */
#include "kernels/ref/element.h"

static size_t survivors_ref(const float *scores, size_t n, float threshold, const uint64_t *live,
                            size_t first_bit, uint64_t base, uint64_t *positions, float *kept)
{
    size_t count = 0;

    for (size_t i = 0; i < n; i++) {
        const size_t bit = first_bit + i;
        if (scores[i] > threshold) continue;
        if (live != NULL && (live[bit / 64] >> (bit % 64) & 1) == 0) continue;
        positions[count] = base + i;
        kept[count++] = scores[i];
    }
    return count;
}

static void divide_ref(float *scores, const void *norms, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const float norm = element(VKERN_F32, norms, i);
        scores[i] = norm > 0 ? scores[i] / norm : 0;
    }
}

static uint64_t sum_ref(const void *bytes, size_t n)
{
    const unsigned char *at = bytes;
    uint64_t sum = 0, word;

    for (size_t i = 0; i < n; i += sizeof word) {
        memcpy(&word, at + i, sizeof word);
        sum += word;
    }
    return sum;
}

void vkern_init_ref_filter(vkern_table *table)
{
    table->survivors = survivors_ref;
    table->divide = divide_ref;
    table->sum = sum_ref;
}
