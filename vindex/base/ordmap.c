/*
 * ordmap.c - a skip list of byte strings (W. Pugh, "Skip lists: a probabilistic alternative to
 * balanced trees", 1990).
 *
 * An entry is one heap block:
 *
 *     | struct node | next[height] | key | (to a multiple of 16) value |
 *
 * next[0] links all nodes in key order, next[h] every node that is taller than h. A node is one
 * taller with probability 1/4, so a search compares about 2 log2(n) keys; 16 levels serve 4^16
 * entries.
 */
#include "base/ordmap.h"

#include "base/mem.h"
#include "base/random.h"
#include "base/status.h"

enum { MAX_HEIGHT = 16 };

struct node {
    struct ordmap_entry entry; /* first: an entry handed out is its node */
    size_t size_bytes;
    uint32_t height;
    struct node *next[];
};

struct ordmap {
    size_t count;
    size_t size_bytes;
    struct rng rng;
    uint32_t height; /* of the tallest node so far */
    struct node *first[MAX_HEIGHT];
};

/* The places that point at a key's node, or would: one a level. */
struct path {
    struct node **link[MAX_HEIGHT];
};

/* The last node with key < `key` (or <= if `after`), NULL for none; path may be NULL. */
static struct node *descend(const struct ordmap *map, struct bytes key, bool after,
                            struct path *path)
{
    struct node *const *links = map->first;
    struct node *last = NULL;

    for (uint32_t level = map->height; level-- > 0;) {
        struct node *next;
        while ((next = links[level]) != NULL) {
            int order = bytes_compare(next->entry.key, key);
            if (after ? order > 0 : order >= 0) break;
            last = next;
            links = next->next;
        }
        if (path) path->link[level] = (struct node **)&links[level];
    }
    return last;
}

static struct node *following(const struct ordmap *map, const struct node *node)
{
    return node ? node->next[0] : map->first[0];
}

static bool has_key(const struct node *node, struct bytes key)
{
    return node && bytes_compare(node->entry.key, key) == 0;
}

static uint32_t random_height(struct ordmap *map)
{
    uint64_t bits = vindex__rng_next(&map->rng);
    uint32_t height = 1;

    for (; height < MAX_HEIGHT && (bits & 3) == 0; bits >>= 2)
        height++;
    return height;
}

static bool node_size(struct bytes key, struct bytes value, uint32_t height, size_t *value_at,
                      size_t *size)
{
    size_t head = sizeof(struct node) + height * sizeof(struct node *);

    if (!vindex__add(head, key.size, value_at) || !vindex__add(*value_at, 15, value_at))
        return false;
    *value_at &= ~(size_t)15;
    return vindex__add(*value_at, value.size, size);
}

static struct node *node_new(struct bytes key, struct bytes value, uint32_t tag, uint32_t height)
{
    struct node *node = NULL;
    size_t value_at, size;
    char *bytes;

    if (!node_size(key, value, height, &value_at, &size)) return NULL;
    node = vindex__realloc(NULL, 1, size);
    if (!node) return NULL;
    bytes = (char *)node;
    node->height = height;
    node->size_bytes = size;
    node->entry.key = bytes_of(&node->next[height], key.size);
    node->entry.value = bytes_of(bytes + value_at, value.size);
    node->entry.tag = tag;
    if (key.size) memcpy(&node->next[height], key.data, key.size);
    if (value.size) memcpy(bytes + value_at, value.data, value.size);
    return node;
}

vindex_status vindex__ordmap_new(struct ordmap **map)
{
    *map = vindex__calloc(1, sizeof **map);
    if (!*map) return vindex__nomem();
    vindex__rng_init(&(*map)->rng, 1); /* any seed will do: heights do not depend on the keys */
    (*map)->size_bytes = sizeof **map;
    return VINDEX_OK;
}

void vindex__ordmap_free(struct ordmap *map)
{
    if (!map) return;
    vindex__ordmap_clear(map);
    vindex__free(map);
}

void vindex__ordmap_clear(struct ordmap *map)
{
    struct node *node = map->first[0];

    while (node) {
        struct node *next = node->next[0];
        vindex__free(node);
        node = next;
    }
    memset(map->first, 0, sizeof map->first);
    map->height = 0;
    map->count = 0;
    map->size_bytes = sizeof *map;
}

/* The links above the tallest node so far start at the head. */
static void raise_to(struct ordmap *map, uint32_t height, struct path *path)
{
    for (; map->height < height; map->height++)
        path->link[map->height] = &map->first[map->height];
}

vindex_status vindex__ordmap_put(struct ordmap *map, struct bytes key, struct bytes value,
                                 uint32_t tag)
{
    struct path path;
    struct node *old = following(map, descend(map, key, false, &path));
    struct node *node;

    if (!has_key(old, key)) old = NULL;
    node = node_new(key, value, tag, old ? old->height : random_height(map));
    if (!node) return vindex__nomem();

    raise_to(map, node->height, &path);
    for (uint32_t level = 0; level < node->height; level++) {
        node->next[level] = old ? old->next[level] : *path.link[level];
        *path.link[level] = node;
    }
    map->count += old ? 0 : 1;
    map->size_bytes += node->size_bytes - (old ? old->size_bytes : 0);
    vindex__free(old);
    return VINDEX_OK;
}

bool vindex__ordmap_delete(struct ordmap *map, struct bytes key)
{
    struct path path;
    struct node *node = following(map, descend(map, key, false, &path));

    if (!has_key(node, key)) return false;
    for (uint32_t level = 0; level < node->height; level++)
        *path.link[level] = node->next[level];
    map->count--;
    map->size_bytes -= node->size_bytes;
    vindex__free(node);
    return true;
}

/* A node whose key is not in the map. */
static void link_node(struct ordmap *map, struct node *node)
{
    struct path path;

    descend(map, node->entry.key, false, &path);
    raise_to(map, node->height, &path);
    for (uint32_t level = 0; level < node->height; level++) {
        node->next[level] = *path.link[level];
        *path.link[level] = node;
    }
    map->count++;
    map->size_bytes += node->size_bytes;
}

void vindex__ordmap_absorb(struct ordmap *to, struct ordmap *from, uint32_t delete_tag)
{
    struct node *node = from->first[0];

    memset(from->first, 0, sizeof from->first);
    vindex__ordmap_clear(from); /* of its counts: the nodes are on their way */
    while (node) {
        struct node *next = node->next[0];
        vindex__ordmap_delete(to, node->entry.key);
        if (node->entry.tag == delete_tag)
            vindex__free(node);
        else
            link_node(to, node);
        node = next;
    }
}

const struct ordmap_entry *vindex__ordmap_get(const struct ordmap *map, struct bytes key)
{
    const struct node *node = following(map, descend(map, key, false, NULL));
    return has_key(node, key) ? &node->entry : NULL;
}

const struct ordmap_entry *vindex__ordmap_seek(const struct ordmap *map, struct bytes key,
                                               bool after)
{
    const struct node *node = following(map, descend(map, key, after, NULL));
    return node ? &node->entry : NULL;
}

const struct ordmap_entry *vindex__ordmap_before(const struct ordmap *map, struct bytes key)
{
    const struct node *node = descend(map, key, false, NULL);
    return node ? &node->entry : NULL;
}

const struct ordmap_entry *vindex__ordmap_next(const struct ordmap_entry *entry)
{
    const struct node *next = ((const struct node *)(const void *)entry)->next[0];
    return next ? &next->entry : NULL;
}

size_t vindex__ordmap_count(const struct ordmap *map)
{
    return map->count;
}

size_t vindex__ordmap_bytes(const struct ordmap *map)
{
    return map->size_bytes;
}
