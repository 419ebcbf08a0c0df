/*
 * test_filter.c - survivors, divide and sum: the same at every level as their definition.
 */
#include <math.h>

#include "kernel_test.h"

static struct levels levels;

enum { MOST = 300 };

struct filter_case {
    size_t n, first_bit;
    float threshold;
    const uint64_t *live;
};

static void check_survivors(const struct filter_case *c, const float *scores,
                            const struct guarded *out)
{
    const uint64_t base = UINT64_C(0x1234567890);
    /* Room for n + 16 entries and not one more. */
    uint64_t *positions = guarded_end(&out[0], 8 * (c->n + 16));
    float *kept = guarded_end(&out[1], 4 * (c->n + 16));

    for (size_t l = 0; l < levels.n; l++) {
        size_t want = 0;
        const size_t count = levels.table[l].survivors(scores, c->n, c->threshold, c->live,
                                                       c->first_bit, base, positions, kept);
        for (size_t i = 0; i < c->n; i++) {
            const size_t bit = c->first_bit + i;
            if (scores[i] > c->threshold) continue;
            if (c->live != NULL && !(c->live[bit / 64] >> bit % 64 & 1)) continue;
            if (want >= count || positions[want] != base + i ||
                memcmp(&kept[want], &scores[i], sizeof *kept) != 0)
                fail_msg(
                    "survivors %s: n %zu, first bit %zu, threshold %g: survivor %zu should be %zu",
                    levels.name[l], c->n, c->first_bit, c->threshold, want, i);
            want++;
        }
        assert_int_equal(count, want);
    }
}

static void fill_scores(float *scores, size_t n, unsigned share)
{
    for (size_t i = 0; i < n; i++) {
        scores[i] =
            random_u64() % 100 < share ? (float)(random_unit() - 1) : (float)(1 + random_unit());
        if (random_u64() % 50 == 0) scores[i] = NAN;
        if (random_u64() % 50 == 0) scores[i] = INFINITY;
        if (random_u64() % 50 == 0) scores[i] = -INFINITY;
        if (random_u64() % 50 == 0) scores[i] = 0;
    }
}

/* Thresholds, NaN among scores and as threshold, live bits from any bit on, the last word just
 * covered. */
static void survivors_are_those_of_the_definition(void **state)
{
    static const float thresholds[] = {0, -0.0f, 0.5f, 3, -3, INFINITY, -INFINITY, NAN};
    static const unsigned shares[] = {0, 1, 10, 100};
    struct guarded scores_memory = guarded_open(4 * MOST), live_memory = guarded_open(8 * 64);
    struct guarded out[2] = {guarded_open(8 * (MOST + 16)), guarded_open(4 * (MOST + 16))};

    (void)state;
    for (size_t n = 0; n <= MOST; n += n < 140 ? 1 : 37)
        for (size_t h = 0; h < COUNT(thresholds); h++)
            for (size_t s = 0; s < COUNT(shares); s++)
                for (size_t k = 0; k < 3; k++) {
                    struct filter_case c = {n, random_u64() % 200, thresholds[h], NULL};
                    const size_t n_words = (c.first_bit + n + 63) / 64;
                    uint64_t *live = guarded_end(&live_memory, 8 * n_words);
                    float *scores = guarded_end(&scores_memory, 4 * n);
                    fill_scores(scores, n, shares[s]);
                    for (size_t w = 0; w < n_words; w++)
                        live[w] =
                            k == 1 ? random_u64() : random_u64() | random_u64() | random_u64();
                    if (k > 0) c.live = live;
                    check_survivors(&c, scores, out);
                }
    guarded_close(&scores_memory);
    guarded_close(&live_memory);
    guarded_close(&out[0]);
    guarded_close(&out[1]);
}

/* A long array without survivors but one: the fast path is left and found again. */
static void one_survivor_anywhere(void **state)
{
    static float scores[1000], kept[1016];
    static uint64_t positions[1016];

    (void)state;
    for (size_t i = 0; i < 1000; i++)
        scores[i] = 2;
    for (size_t l = 0; l < levels.n; l++)
        for (size_t at = 0; at < 1000; at++) {
            scores[at] = at % 2 ? 1.0f : NAN;
            assert_int_equal(
                levels.table[l].survivors(scores, 1000, 1, NULL, 0, 7, positions, kept), 1);
            assert_int_equal(positions[0], 7 + at);
            scores[at] = 2;
        }
}

static void divide_gives_zero_for_no_norm(void **state)
{
    struct guarded norms_memory = guarded_open(1024), scores_memory = guarded_open(1024);
    static const float special[] = {0, -0.0f, -1, NAN, INFINITY, 1e-45f, 1e30f};

    (void)state;
    for (size_t n = 0; n < 100; n++)
        for (size_t o = 0; o < COUNT(test_offsets); o++)
            for (size_t l = 0; l < levels.n; l++) {
                unsigned char *norms = guarded_end(&norms_memory, 4 * n + test_offsets[o]);
                float *scores = guarded_end(&scores_memory, 4 * n), before[100];
                for (size_t i = 0; i < n; i++) {
                    float norm = (float)random_unit();
                    if (random_u64() % 3 == 0) norm = special[random_u64() % COUNT(special)];
                    memcpy(norms + 4 * i, &norm, 4);
                    before[i] = scores[i] = (float)(random_unit() - 0.5);
                }
                levels.table[l].divide(scores, norms, n);
                for (size_t i = 0; i < n; i++) {
                    float norm, want;
                    memcpy(&norm, norms + 4 * i, 4);
                    want = norm > 0 ? before[i] / norm : 0;
                    assert_memory_equal(&scores[i], &want, 4);
                }
            }
    guarded_close(&norms_memory);
    guarded_close(&scores_memory);
}

static void sum_reads_every_word(void **state)
{
    struct guarded memory = guarded_open(2048 + 64);

    (void)state;
    for (size_t n = 0; n <= 1024; n += 64)
        for (size_t o = 0; o < COUNT(test_offsets); o++) {
            unsigned char *bytes = guarded_end(&memory, n + test_offsets[o]);
            uint64_t want = 0;
            for (size_t i = 0; i < n; i += 8) {
                const uint64_t word = random_u64();
                memcpy(bytes + i, &word, 8);
                want += word;
            }
            for (size_t l = 0; l < levels.n; l++)
                assert_true(levels.table[l].sum(bytes, n) == want);
        }
    guarded_close(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(survivors_are_those_of_the_definition),
        cmocka_unit_test(one_survivor_anywhere),
        cmocka_unit_test(divide_gives_zero_for_no_norm),
        cmocka_unit_test(sum_reads_every_word),
    };

    seed_random("filter");
    levels = all_levels();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
