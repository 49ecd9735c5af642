/* component.h - the dictionary of name components: each distinct text once, with a small number.
 *
 * Ten million names have some ten thousand distinct components, so the tree keeps numbers, and a find
 * judges each text once. Numbers are counted references: when the last goes, the text and the number
 * are used again after a grace period.
 *
 * One writer at a time; any number of readers between grace_enter() and grace_leave(). */
#ifndef PLUMBAGO_STORAGE_COMPONENT_H
#define PLUMBAGO_STORAGE_COMPONENT_H

#include "base/span.h"
#include "storage/id_table.h"
#include "storage/tree_heap.h"

enum {
    COMPONENT_CHUNK = 1 << 14,
    COMPONENT_CHUNKS = 1 << 14,
};

struct component {
    uint32_t refs; /* writer only */
    uint32_t hash;
    uint8_t len;
    char text[];
};

struct components {
    struct tree_heap *heap;
    struct id_table table;
    uint32_t count; /* atomic: numbers ever given out are below */
    uint64_t seed;
    uint32_t *free_ids; /* writer only */
    uint32_t free_count, free_cap;
    struct component **chunks[COMPONENT_CHUNKS]; /* atomic, and so are the pointers in a chunk */
};

/* HEAP is borrowed; SEED makes the hash hard to guess. */
void components_init(struct components *c, struct tree_heap *heap, uint64_t seed);

/* No reader may be left. */
void components_release(struct components *c);

static inline const struct component *component_of(const struct components *c, uint32_t id)
{
    struct component **chunk = __atomic_load_n(&c->chunks[id / COMPONENT_CHUNK], __ATOMIC_ACQUIRE);

    return __atomic_load_n(&chunk[id % COMPONENT_CHUNK], __ATOMIC_ACQUIRE);
}

/* Borrowed until grace_leave(), or until the last reference goes. */
static inline struct span component_text(const struct components *c, uint32_t id)
{
    const struct component *component = component_of(c, id);

    return span_of(component->text, component->len);
}

/* The number of TEXT (at most 255 bytes). Any thread. */
bool components_find(const struct components *c, struct span text, uint32_t *id);

/* The same; a new one when there is none, with no reference yet. False when memory is short or all
 * numbers are taken. Writer. */
bool components_intern(struct components *c, struct span text, uint32_t *id);

static inline void component_ref(struct components *c, uint32_t id)
{
    c->chunks[id / COMPONENT_CHUNK][id % COMPONENT_CHUNK]->refs++;
}

/* KIND is what the heap's recycle() is told when the number is to go to components_recycle(). */
void component_unref(struct components *c, uint32_t id, uint32_t kind);

/* Let a component go that has no reference (an interned one that was not used after all). */
void component_drop_unused(struct components *c, uint32_t id, uint32_t kind);

/* The grace period of a retired number has passed. Writer. */
void components_recycle(struct components *c, uint32_t id);

#endif
