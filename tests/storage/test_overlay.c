/*
 * test_overlay.c - the merge of private changes over a base, with keys of every length, against a plain
 * sorted array of what should be seen.
 */
#include "helper_store.h"

#include <string.h>

#include "base/random.h"
#include "storage/overlay.h"

enum { KEYS = 90, KEY_BYTES_MAX = 3, ROUNDS = 300, SEEKS = 60 };

struct merged {
    unsigned char key[1 + KEY_BYTES_MAX];
    size_t size;
    int in_base, in_changes; /* a value's number; 0 none, -1 deleted */
};

static int compare(const void *a, const void *b)
{
    const struct merged *x = a, *y = b;
    return bytes_compare(bytes_of(x->key, x->size), bytes_of(y->key, y->size));
}

static struct bytes key_of(const struct merged *m)
{
    return bytes_of(m->key, m->size);
}

/* All different, in tables 2 to 4, many of them prefixes of others. */
static size_t random_keys(struct rng *rng, struct merged *keys)
{
    size_t n = 0;
    for (size_t i = 0; i < KEYS; i++) {
        keys[i].key[0] = (unsigned char)(2 + vindex__rng_below(rng, 3));
        keys[i].size = 1 + vindex__rng_below(rng, KEY_BYTES_MAX + 1);
        for (size_t b = 1; b < keys[i].size; b++)
            keys[i].key[b] = (unsigned char)(vindex__rng_below(rng, 3) * 127);
    }
    qsort(keys, KEYS, sizeof *keys, compare);
    for (size_t i = 0; i < KEYS; i++)
        if (n == 0 || compare(&keys[n - 1], &keys[i]) != 0) keys[n++] = keys[i];
    return n;
}

static int visible(const struct merged *m)
{
    return m->in_changes ? (m->in_changes > 0 ? m->in_changes : 0) : m->in_base;
}

static const struct merged *expected(const struct merged *keys, size_t n, enum catalog_seek how,
                                     const struct merged *at)
{
    const struct merged *best = NULL;
    for (size_t i = 0; i < n; i++) {
        int order = compare(&keys[i], at);
        if (keys[i].key[0] != at->key[0] || !visible(&keys[i])) continue;
        if ((how == SEEK_GE && order >= 0) || (how == SEEK_GT && order > 0)) return &keys[i];
        if ((how == SEEK_LE && order <= 0) || (how == SEEK_LT && order < 0)) best = &keys[i];
    }
    return best;
}

static vindex_status seek_map(void *base, enum catalog_seek how, struct bytes key,
                              struct catalog_entry *entry)
{
    const struct ordmap_entry *e = vindex__map_seek(base, how, key);
    if (!e) return VINDEX_OK;
    entry->key = e->key;
    entry->value = e->value;
    return VINDEX_OK;
}

static void check_seek(const struct ordmap *changes, struct ordmap *base, const struct merged *keys,
                       size_t n, struct rng *rng)
{
    const struct merged *at = &keys[vindex__rng_below(rng, n)], *want;
    enum catalog_seek how = (enum catalog_seek)vindex__rng_below(rng, 4);
    struct catalog_entry entry;
    int value;

    CHECK_OK(vindex__overlay_seek(changes, seek_map, base, at->key[0], how,
                                  bytes_of(at->key + 1, at->size - 1), &entry));
    want = expected(keys, n, how, at);
    CHECK((entry.value.data != NULL) == (want != NULL));
    if (!want) return;
    memcpy(&value, entry.value.data, sizeof value);
    CHECK(value == visible(want));
    CHECK(bytes_compare(entry.key, bytes_of(want->key + 1, want->size - 1)) == 0);
}

static void fill_maps(struct ordmap *base, struct ordmap *changes, struct merged *keys, size_t n,
                      struct rng *rng)
{
    for (size_t i = 0; i < n; i++) {
        struct merged *k = &keys[i];
        struct bytes rest = bytes_of(k->key + 1, k->size - 1);
        k->in_base = vindex__rng_below(rng, 2) ? (int)i + 1 : 0;
        k->in_changes = (int)vindex__rng_below(rng, 3) - 1;
        if (k->in_changes > 0) k->in_changes = (int)i + 1000;
        if (k->in_base)
            CHECK_OK(vindex__ordmap_put(base, key_of(k), bytes_of(&k->in_base, sizeof(int)), 0));
        if (k->in_changes > 0)
            CHECK_OK(vindex__overlay_put(changes, k->key[0], rest,
                                         bytes_of(&k->in_changes, sizeof(int))));
        if (k->in_changes < 0) CHECK_OK(vindex__overlay_del(changes, k->key[0], rest));
    }
}

static void test_merge(void **state)
{
    struct rng rng;

    (void)state;
    vindex__rng_init(&rng, test_seed());
    for (int round = 0; round < ROUNDS; round++) {
        struct ordmap *base = NULL, *changes = NULL;
        struct merged keys[KEYS];
        size_t n = random_keys(&rng, keys);

        CHECK_OK(vindex__ordmap_new(&base));
        CHECK_OK(vindex__ordmap_new(&changes));
        fill_maps(base, changes, keys, n, &rng);
        for (int i = 0; i < SEEKS; i++)
            check_seek(changes, base, keys, n, &rng);

        /* Published, the base alone shows the same. */
        vindex__ordmap_absorb(base, changes, OVERLAY_DELETED);
        CHECK(vindex__ordmap_count(changes) == 0);
        for (int i = 0; i < SEEKS; i++)
            check_seek(i % 2 ? changes : NULL, base, keys, n, &rng);
        vindex__ordmap_free(base);
        vindex__ordmap_free(changes);
    }
}

/* The counts an absorbed map shows are those of its entries. */
static void test_absorb_counts(void **state)
{
    struct ordmap *to = NULL, *from = NULL, *same = NULL;

    (void)state;
    CHECK_OK(vindex__ordmap_new(&to));
    CHECK_OK(vindex__ordmap_new(&from));
    CHECK_OK(vindex__ordmap_new(&same));
    size_t empty = vindex__ordmap_bytes(from);
    CHECK_OK(vindex__ordmap_put(to, bytes_of("a", 1), bytes_of("old", 3), 0));
    CHECK_OK(vindex__ordmap_put(to, bytes_of("b", 1), bytes_of("gone", 4), 0));
    CHECK_OK(vindex__ordmap_put(from, bytes_of("a", 1), bytes_of("newer", 5), 0));
    CHECK_OK(vindex__ordmap_put(from, bytes_of("b", 1), bytes_of(NULL, 0), OVERLAY_DELETED));
    CHECK_OK(vindex__ordmap_put(from, bytes_of("c", 1), bytes_of(NULL, 0), OVERLAY_DELETED));
    CHECK_OK(vindex__ordmap_put(from, bytes_of("d", 1), bytes_of("x", 1), 0));
    vindex__ordmap_absorb(to, from, OVERLAY_DELETED);
    CHECK(vindex__ordmap_count(to) == 2 && vindex__ordmap_count(from) == 0);
    CHECK(vindex__ordmap_bytes(from) == empty && vindex__ordmap_bytes(to) > empty);
    CHECK(vindex__ordmap_get(to, bytes_of("a", 1))->value.size == 5);
    CHECK(!vindex__ordmap_get(to, bytes_of("b", 1)) && vindex__ordmap_get(to, bytes_of("d", 1)));
    vindex__ordmap_absorb(to, from, OVERLAY_DELETED); /* of nothing */
    CHECK(vindex__ordmap_delete(to, bytes_of("a", 1)) &&
          vindex__ordmap_delete(to, bytes_of("d", 1)));
    CHECK(vindex__ordmap_bytes(to) == empty);
    vindex__ordmap_free(to);
    vindex__ordmap_free(from);
    vindex__ordmap_free(same);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_absorb_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
