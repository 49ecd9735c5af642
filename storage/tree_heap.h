/* tree_heap.h - memory of a structure that is read without locks: counted, and freed after a grace period.
 *
 * One writer at a time (the owner's mutex) allocates, retires and recycles. What readers may still see is
 * retired, not freed: it waits here until the owner's background work has let a grace period pass.
 * Numbers that name something (an id that readers may hold) are retired the same way. */
#ifndef PLUMBAGO_STORAGE_TREE_HEAP_H
#define PLUMBAGO_STORAGE_TREE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tree_heap_item {
    void *ptr;     /* to be freed; NULL: an id */
    uint32_t kind; /* the owner's name for a sort of ids, or of blocks; 0: a plain block */
    uint32_t id;
};

struct tree_heap {
    struct tree_heap_item *items; /* retired */
    size_t count;
    size_t cap;
    uint64_t bytes;   /* atomic: of all blocks, the retired too */
    bool at_once;     /* no reader exists: retiring is freeing */
    uint64_t fail_at; /* for tests: the allocation with that number from now on fails; 0: none */
    /* Takes an id back after the grace period. */
    void (*recycle)(void *owner, uint32_t kind, uint32_t id);
    /* Frees a block that was retired with a kind, after the grace period. */
    void (*dispose)(void *owner, uint32_t kind, void *ptr);
    void *owner;
};

/* N bytes, not cleared; NULL when memory is short. */
void *tree_heap_alloc(struct tree_heap *heap, size_t n);

/* The same, cleared. */
void *tree_heap_calloc(struct tree_heap *heap, size_t n);

/* Free a block that no reader can see. NULL is fine. */
void tree_heap_free(struct tree_heap *heap, void *ptr);

/* The block, or the id, is out of sight of new readers. When there is no memory to note that, it is
 * leaked, which is safe. NULL is fine. */
void tree_heap_retire(struct tree_heap *heap, void *ptr);
void tree_heap_retire_id(struct tree_heap *heap, uint32_t kind, uint32_t id);

/* The same for a block that takes more than one free(): heap->dispose() does it. KIND is not 0. */
void tree_heap_retire_kind(struct tree_heap *heap, void *ptr, uint32_t kind);

/* Count BYTES more (or less) that another library took from the heap. */
void tree_heap_count(struct tree_heap *heap, int64_t bytes);

/* Take the retired items out; they are the caller's array, to be given to tree_heap_free_items() bit by
 * bit after a grace period, then to free(). Returns how many. */
size_t tree_heap_take(struct tree_heap *heap, struct tree_heap_item **items);
void tree_heap_free_items(struct tree_heap *heap, const struct tree_heap_item *items, size_t count);

#endif
