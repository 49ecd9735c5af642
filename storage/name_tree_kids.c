/* Small blocks hold components side by side, then refs, and are scanned. Large ones hold them in chunks of
 * 128 and have a table component -> index, so that growing never copies much; see name_tree.c. */
#include "storage/name_tree_int.h"

#include "base/must.h"

typedef uint32_t quad __attribute__((vector_size(16)));

/* Capacities of small blocks: with the head, just below the allocator's size classes. */
static const uint8_t small_caps[] = {2, 4, 6, 10, 14, 22, 30, 46, 62, 94, KIDS_SMALL_MAX};

static uint32_t mix(uint32_t component)
{
    return (uint32_t)((component + 1) * UINT64_C(0x9E3779B97F4A7C15) >> 32);
}

/* The index of COMPONENT among the first COUNT words, or COUNT. */
static uint32_t scan(const uint32_t *words, uint32_t count, uint32_t component)
{
    uint32_t i = 0;

    for (; i + 8 <= count; i += 8) {
        quad a, b;
        uint64_t any[2];
        memcpy(&a, words + i, sizeof a);
        memcpy(&b, words + i + 4, sizeof b);
        quad equal = (quad)(a == component) | (quad)(b == component);
        memcpy(any, &equal, sizeof any);
        if ((any[0] | any[1]) != 0)
            break;
    }
    while (i < count && words[i] != component)
        i++;
    return i;
}

/* Whether INDEX is that of the component *KEY. */
static bool is_at(const void *owner, uint32_t index, const void *key)
{
    const struct kids *kids = owner;
    uint32_t count = kids_count(kids);

    return index < count && kids_run(kids, index, count).components[0] == *(const uint32_t *)key;
}

uint32_t *kids_find(const struct kids *kids, uint32_t component)
{
    uint32_t count = kids_count(kids), index;

    if (count == 0)
        return NULL;
    if (kids->cap == KIDS_LARGE) {
        const struct id_table *table = &((const struct kids_large *)kids)->by_component;
        if (!id_table_find(table, mix(component), is_at, kids, &component, &index))
            return NULL;
    } else {
        index = scan(((const struct kids_small *)kids)->words, count, component);
    }
    return index < count ? kids_run(kids, index, count).refs : NULL;
}

static struct kids *kids_small_new(struct name_tree *tree, uint32_t count)
{
    size_t i = 0;

    while (small_caps[i] < count)
        i++;
    struct kids_small *kids = tree_heap_alloc(&tree->heap, sizeof *kids + 2 * small_caps[i] * sizeof kids->words[0]);
    if (kids == NULL)
        return NULL;
    kids->head = (struct kids){.cap = small_caps[i]};
    return &kids->head;
}

void kids_let_go(struct name_tree *tree, struct kids *kids, bool seen)
{
    void (*let_go)(struct tree_heap *, void *) = seen ? tree_heap_retire : tree_heap_free;

    if (kids != NULL && kids->cap == KIDS_LARGE) {
        struct kids_large *large = (struct kids_large *)kids;
        for (uint32_t i = 0; i < large->chunks_cap && i * KIDS_CHUNK < kids->count + KIDS_CHUNK; i++)
            let_go(&tree->heap, large->chunks[i]);
        let_go(&tree->heap, large->chunks);
        id_table_release(&large->by_component, &tree->heap);
    }
    let_go(&tree->heap, kids);
}

static struct kids *kids_large_new(struct name_tree *tree, uint32_t count)
{
    struct kids_large *large = tree_heap_calloc(&tree->heap, sizeof *large);

    if (large == NULL)
        return NULL;
    large->head.cap = KIDS_LARGE;
    large->chunks_cap = count / KIDS_CHUNK + 2;
    large->chunks = tree_heap_calloc(&tree->heap, large->chunks_cap * sizeof *large->chunks);
    if (large->chunks == NULL || !id_table_reserve(&large->by_component, count, &tree->heap)) {
        tree_heap_free(&tree->heap, large->chunks);
        tree_heap_free(&tree->heap, large);
        return NULL;
    }
    return &large->head;
}

/* Make sure that the chunk for the next child is there. */
static bool large_make_room(struct name_tree *tree, struct kids_large *large)
{
    uint32_t chunk = large->head.count / KIDS_CHUNK;

    if (chunk == large->chunks_cap) {
        uint32_t cap = large->chunks_cap * 2;
        struct kids_chunk **chunks = tree_heap_calloc(&tree->heap, cap * sizeof *chunks), **old = large->chunks;
        if (chunks == NULL)
            return false;
        memcpy(chunks, old, chunk * sizeof *chunks);
        __atomic_store_n(&large->chunks, chunks, __ATOMIC_RELEASE);
        large->chunks_cap = cap;
        tree_heap_retire(&tree->heap, old);
    }
    if (large->chunks[chunk] == NULL)
        large->chunks[chunk] = tree_heap_alloc(&tree->heap, sizeof **large->chunks);
    return large->chunks[chunk] != NULL;
}

/* Add a pair to a block that has room (a large one makes it). False when memory is short. */
static bool kids_add(struct name_tree *tree, struct kids *kids, uint32_t component, uint32_t ref)
{
    uint32_t index = kids->count;

    if (kids->cap == KIDS_LARGE) {
        struct kids_large *large = (struct kids_large *)kids;
        if (!large_make_room(tree, large) || !id_table_insert(&large->by_component, mix(component), index, &tree->heap))
            return false;
        struct kids_chunk *chunk = large->chunks[index / KIDS_CHUNK];
        chunk->components[index % KIDS_CHUNK] = component;
        chunk->refs[index % KIDS_CHUNK] = ref;
    } else {
        struct kids_small *small = (struct kids_small *)kids;
        MUST(index < kids->cap);
        small->words[index] = component;
        small->words[kids->cap + index] = ref;
    }
    kids->live++;
    __atomic_store_n(&kids->count, index + 1, __ATOMIC_RELEASE);
    return true;
}

/* Copy what is not gone; false when memory is short. */
static bool kids_copy(struct name_tree *tree, const struct kids *from, struct kids *to)
{
    for (uint32_t at = 0; from != NULL && at < from->count;) {
        struct kids_run run = kids_run(from, at, from->count);
        for (uint32_t i = 0; i < run.count; i++) {
            if (run.refs[i] != REF_GONE && !kids_add(tree, to, run.components[i], run.refs[i]))
                return false;
        }
        at += run.count;
    }
    return true;
}

void kids_unref(struct name_tree *tree, const struct kids *kids, bool all)
{
    for (uint32_t at = 0; kids != NULL && at < kids->count;) {
        struct kids_run run = kids_run(kids, at, kids->count);
        for (uint32_t i = 0; i < run.count; i++) {
            if (all || run.refs[i] == REF_GONE)
                component_unref(&tree->components, run.components[i], ID_COMPONENT);
        }
        at += run.count;
    }
}

bool kids_rebuild(struct name_tree *tree, struct branch *b, uint32_t extra)
{
    struct kids *old = b->kids;
    uint32_t count = (old == NULL ? 0 : old->live) + extra;
    struct kids *kids = count <= KIDS_SMALL_MAX ? kids_small_new(tree, count) : kids_large_new(tree, count);

    if (kids == NULL)
        return false;
    if (!kids_copy(tree, old, kids)) {
        kids_let_go(tree, kids, false);
        return false;
    }
    __atomic_store_n(&b->kids, kids, __ATOMIC_RELEASE);
    kids_unref(tree, old, false);
    kids_let_go(tree, old, true);
    return true;
}

bool branch_add(struct name_tree *tree, struct branch *b, uint32_t component, uint32_t ref)
{
    if ((b->kids == NULL || b->kids->count == b->kids->cap) && !kids_rebuild(tree, b, 1))
        return false;
    if (!kids_add(tree, b->kids, component, ref))
        return false;
    component_ref(&tree->components, component);
    return true;
}
