#include "storage/component.h"

#include "base/must.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <stdlib.h>

void components_init(struct components *c, struct tree_heap *heap, uint64_t seed)
{
    *c = (struct components){.heap = heap, .seed = seed};
}

void components_release(struct components *c)
{
    for (uint32_t id = 0; id < c->count; id++)
        tree_heap_free(c->heap, c->chunks[id / COMPONENT_CHUNK][id % COMPONENT_CHUNK]);
    for (uint32_t i = 0; i < COMPONENT_CHUNKS && c->chunks[i] != NULL; i++)
        tree_heap_free(c->heap, c->chunks[i]);
    id_table_release(&c->table, c->heap);
    free(c->free_ids);
}

static uint32_t hash_of(const struct components *c, struct span text)
{
    return (uint32_t)XXH3_64bits_withSeed(text.ptr, text.len, c->seed);
}

static bool is_text(const void *owner, uint32_t id, const void *key)
{
    const struct component *component = component_of(owner, id);
    const struct span *text = key;

    return component->len == text->len && memcmp(component->text, text->ptr, text->len) == 0;
}

bool components_find(const struct components *c, struct span text, uint32_t *id)
{
    return id_table_find(&c->table, hash_of(c, text), is_text, c, &text, id);
}

/* A number that is free; its chunk exists. Not taken yet. */
static bool next_id(struct components *c, uint32_t *id)
{
    *id = c->free_count > 0 ? c->free_ids[c->free_count - 1] : c->count;
    if (*id / COMPONENT_CHUNK >= COMPONENT_CHUNKS)
        return false;
    struct component ***chunk = &c->chunks[*id / COMPONENT_CHUNK];
    if (*chunk == NULL)
        __atomic_store_n(chunk, tree_heap_calloc(c->heap, COMPONENT_CHUNK * sizeof **chunk), __ATOMIC_RELEASE);
    return *chunk != NULL;
}

static void take_id(struct components *c, uint32_t id)
{
    if (c->free_count > 0)
        c->free_count--;
    else
        __atomic_store_n(&c->count, id + 1, __ATOMIC_RELEASE);
}

bool components_intern(struct components *c, struct span text, uint32_t *id)
{
    uint32_t hash = hash_of(c, text);

    MUST(text.len <= UINT8_MAX);
    if (id_table_find(&c->table, hash, is_text, c, &text, id))
        return true;
    struct component *component = tree_heap_alloc(c->heap, sizeof *component + text.len);
    if (component == NULL || !next_id(c, id)) {
        tree_heap_free(c->heap, component);
        return false;
    }
    *component = (struct component){.hash = hash, .len = (uint8_t)text.len};
    memcpy(component->text, text.ptr, text.len);
    /* The text first: whoever finds the number in the table must find the text too. */
    struct component **slot = &c->chunks[*id / COMPONENT_CHUNK][*id % COMPONENT_CHUNK];
    __atomic_store_n(slot, component, __ATOMIC_RELEASE);
    if (!id_table_insert(&c->table, hash, *id, c->heap)) {
        __atomic_store_n(slot, NULL, __ATOMIC_RELEASE);
        tree_heap_free(c->heap, component);
        return false;
    }
    take_id(c, *id);
    return true;
}

void component_drop_unused(struct components *c, uint32_t id, uint32_t kind)
{
    const struct component *component = component_of(c, id);

    if (component->refs > 0)
        return;
    id_table_remove(&c->table, component->hash, id);
    tree_heap_retire_id(c->heap, kind, id);
}

void component_unref(struct components *c, uint32_t id, uint32_t kind)
{
    struct component *component = c->chunks[id / COMPONENT_CHUNK][id % COMPONENT_CHUNK];

    MUST(component->refs > 0);
    component->refs--;
    component_drop_unused(c, id, kind);
}

void components_recycle(struct components *c, uint32_t id)
{
    struct component **slot = &c->chunks[id / COMPONENT_CHUNK][id % COMPONENT_CHUNK];

    tree_heap_free(c->heap, *slot);
    __atomic_store_n(slot, NULL, __ATOMIC_RELEASE);
    if (c->free_count == c->free_cap) {
        uint32_t cap = c->free_cap == 0 ? 64 : c->free_cap * 2;
        uint32_t *ids = realloc(c->free_ids, cap * sizeof *ids);
        if (ids == NULL)
            return; /* the number is never used again */
        c->free_ids = ids;
        c->free_cap = cap;
    }
    c->free_ids[c->free_count++] = id;
}
