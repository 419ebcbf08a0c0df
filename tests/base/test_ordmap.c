/*
 * test_ordmap.c - the ordered map against a sorted array, through random changes, with every
 * allocation failing once.
 */
#include "common/cmocka.h"

#include "base/mem.h"
#include "base/ordmap.h"
#include "base/random.h"

#include <stdbool.h>

enum { MOST_ENTRIES = 600, KEY_BYTES = 6, VALUE_BYTES = 48 };

struct pair {
    unsigned char key[KEY_BYTES], value[VALUE_BYTES];
    size_t key_size, value_size;
    uint32_t tag;
};

struct model {
    struct pair pairs[MOST_ENTRIES]; /* ascending by key */
    size_t n;
};

static struct bytes key_of(const struct pair *pair)
{
    return bytes_of(pair->key, pair->key_size);
}

static struct bytes value_of(const struct pair *pair)
{
    return bytes_of(pair->value, pair->value_size);
}

/* The number of pairs with a smaller key: where the key is, or would be. */
static size_t rank_of(const struct model *model, struct bytes key)
{
    size_t i = 0;
    while (i < model->n && bytes_compare(key_of(&model->pairs[i]), key) < 0)
        i++;
    return i;
}

static bool model_has(const struct model *model, size_t rank, struct bytes key)
{
    return rank < model->n && bytes_compare(key_of(&model->pairs[rank]), key) == 0;
}

static void model_put(struct model *model, const struct pair *pair)
{
    size_t rank = rank_of(model, key_of(pair));

    if (!model_has(model, rank, key_of(pair))) {
        memmove(&model->pairs[rank + 1], &model->pairs[rank], (model->n - rank) * sizeof *pair);
        model->n++;
    }
    model->pairs[rank] = *pair;
}

static bool model_delete(struct model *model, struct bytes key)
{
    size_t rank = rank_of(model, key);

    if (!model_has(model, rank, key)) return false;
    model->n--;
    memmove(&model->pairs[rank], &model->pairs[rank + 1], (model->n - rank) * sizeof *model->pairs);
    return true;
}

/* Short keys over three letters: they repeat, and prefixes of one another are common. */
static struct pair random_pair(struct rng *rng)
{
    struct pair pair = {.key_size = vindex__rng_below(rng, KEY_BYTES + 1),
                        .value_size = vindex__rng_below(rng, VALUE_BYTES + 1),
                        .tag = (uint32_t)vindex__rng_next(rng)};

    for (size_t i = 0; i < pair.key_size; i++)
        pair.key[i] = "\0a\xff"[vindex__rng_below(rng, 3)];
    for (size_t i = 0; i < pair.value_size; i++)
        pair.value[i] = (unsigned char)vindex__rng_next(rng);
    return pair;
}

static void assert_same_entry(const struct ordmap_entry *entry, const struct model *model,
                              size_t rank)
{
    if (rank >= model->n) {
        assert_null(entry);
        return;
    }
    assert_non_null(entry);
    assert_int_equal(bytes_compare(entry->key, key_of(&model->pairs[rank])), 0);
    assert_int_equal(bytes_compare(entry->value, value_of(&model->pairs[rank])), 0);
    assert_int_equal(entry->tag, model->pairs[rank].tag);
}

static void assert_same_map(const struct ordmap *map, const struct model *model)
{
    const struct ordmap_entry *entry = vindex__ordmap_seek(map, bytes_of(NULL, 0), false);

    assert_int_equal(vindex__ordmap_count(map), model->n);
    for (size_t rank = 0; rank < model->n; rank++) {
        assert_same_entry(entry, model, rank);
        entry = vindex__ordmap_next(entry);
    }
    assert_null(entry);
}

static void assert_same_lookups(const struct ordmap *map, const struct model *model,
                                struct bytes key)
{
    size_t rank = rank_of(model, key);
    bool has = model_has(model, rank, key);

    assert_same_entry(vindex__ordmap_get(map, key), model, has ? rank : SIZE_MAX);
    assert_same_entry(vindex__ordmap_seek(map, key, false), model, rank);
    assert_same_entry(vindex__ordmap_seek(map, key, true), model, rank + (has ? 1 : 0));
    assert_same_entry(vindex__ordmap_before(map, key), model, rank - 1); /* SIZE_MAX for rank 0 */
}

static void put_after_a_failure(struct ordmap *map, struct model *model, const struct pair *pair)
{
    size_t bytes = vindex__ordmap_bytes(map);

    vindex__mem_fail_after(1);
    assert_int_equal(vindex__ordmap_put(map, key_of(pair), value_of(pair), pair->tag),
                     VINDEX_NOMEM);
    vindex__mem_fail_after(0);
    assert_int_equal(vindex__ordmap_bytes(map), bytes);
    assert_same_lookups(map, model, key_of(pair));

    assert_int_equal(vindex__ordmap_put(map, key_of(pair), value_of(pair), pair->tag), VINDEX_OK);
    model_put(model, pair);
}

static void random_changes_agree_with_a_sorted_array(void **state)
{
    static struct model model;
    struct ordmap *map = NULL;
    struct rng rng;
    uint64_t live = vindex__mem_live_bytes();
    (void)state;

    vindex__rng_init(&rng, test_seed());
    model.n = 0;
    assert_int_equal(vindex__ordmap_new(&map), VINDEX_OK);
    size_t empty_bytes = vindex__ordmap_bytes(map);
    for (int step = 0; step < 20000; step++) {
        struct pair pair = random_pair(&rng);
        bool shrinks = step % 4000 >= 2500; /* waves: the map fills up and empties again */
        if (model.n < MOST_ENTRIES && vindex__rng_below(&rng, 100) < (shrinks ? 20 : 70))
            put_after_a_failure(map, &model, &pair);
        else
            assert_int_equal(vindex__ordmap_delete(map, key_of(&pair)),
                             model_delete(&model, key_of(&pair)));
        pair = random_pair(&rng);
        assert_same_lookups(map, &model, key_of(&pair));
        if (step % 100 == 0) assert_same_map(map, &model);
        if (step % 7777 == 7776) {
            vindex__ordmap_clear(map);
            model.n = 0;
            assert_same_map(map, &model);
        }
    }
    assert_same_map(map, &model);
    while (model.n > 0) {
        assert_true(vindex__ordmap_delete(map, key_of(&model.pairs[model.n / 2])));
        model_delete(&model, key_of(&model.pairs[model.n / 2]));
    }
    assert_int_equal(vindex__ordmap_bytes(map), empty_bytes);
    vindex__ordmap_free(map);
    assert_int_equal(vindex__mem_live_bytes(), live);
}

static void a_new_map_may_fail(void **state)
{
    struct ordmap *map = NULL;
    (void)state;

    vindex__mem_fail_after(1);
    assert_int_equal(vindex__ordmap_new(&map), VINDEX_NOMEM);
    vindex__mem_fail_after(0);
    assert_null(map);
    vindex__ordmap_free(NULL);
}

static void an_entry_may_be_put_again_from_itself(void **state)
{
    struct ordmap *map = NULL;
    const struct ordmap_entry *entry;
    (void)state;

    assert_int_equal(vindex__ordmap_new(&map), VINDEX_OK);
    assert_int_equal(vindex__ordmap_put(map, bytes_of("key", 3), bytes_of("value", 5), 1),
                     VINDEX_OK);
    entry = vindex__ordmap_get(map, bytes_of("key", 3));
    assert_int_equal(vindex__ordmap_put(map, entry->key, entry->value, 2), VINDEX_OK);
    entry = vindex__ordmap_get(map, bytes_of("key", 3));
    assert_int_equal(bytes_compare(entry->value, bytes_of("value", 5)), 0);
    assert_int_equal(entry->tag, 2);
    assert_true(vindex__ordmap_delete(map, entry->key));
    assert_int_equal(vindex__ordmap_count(map), 0);
    vindex__ordmap_free(map);
}

static void a_large_map_stays_in_order(void **state)
{
    enum { N = 50000 };
    struct ordmap *map = NULL;
    const struct ordmap_entry *entry;
    (void)state;

    assert_int_equal(vindex__ordmap_new(&map), VINDEX_OK);
    for (uint32_t i = 0; i < N; i++) {
        unsigned char key[4];
        store_be32(key, (uint32_t)((uint64_t)i * 7919 % N)); /* a permutation: 7919 is prime to N */
        assert_int_equal(vindex__ordmap_put(map, bytes_of(key, 4), bytes_of(key, 4), i), VINDEX_OK);
    }
    entry = vindex__ordmap_seek(map, bytes_of(NULL, 0), false);
    for (uint32_t i = 0; i < N; i++, entry = vindex__ordmap_next(entry))
        assert_int_equal(load_be32(entry->key.data), i);
    assert_null(entry);
    vindex__ordmap_free(map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_changes_agree_with_a_sorted_array),
        cmocka_unit_test(a_new_map_may_fail),
        cmocka_unit_test(an_entry_may_be_put_again_from_itself),
        cmocka_unit_test(a_large_map_stays_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
