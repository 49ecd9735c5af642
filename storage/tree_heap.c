#include "storage/tree_heap.h"

#include <malloc.h>
#include <stdlib.h>

void tree_heap_count(struct tree_heap *heap, int64_t bytes)
{
    __atomic_fetch_add(&heap->bytes, (uint64_t)bytes, __ATOMIC_RELAXED);
}

static bool fails(struct tree_heap *heap)
{
    return heap->fail_at != 0 && --heap->fail_at == 0;
}

static void *counted(struct tree_heap *heap, void *ptr)
{
    if (ptr != NULL)
        tree_heap_count(heap, (int64_t)malloc_usable_size(ptr));
    return ptr;
}

void *tree_heap_alloc(struct tree_heap *heap, size_t n)
{
    return fails(heap) ? NULL : counted(heap, malloc(n));
}

void *tree_heap_calloc(struct tree_heap *heap, size_t n)
{
    return fails(heap) ? NULL : counted(heap, calloc(1, n));
}

void tree_heap_free(struct tree_heap *heap, void *ptr)
{
    if (ptr == NULL)
        return;
    tree_heap_count(heap, -(int64_t)malloc_usable_size(ptr));
    free(ptr);
}

static void retire(struct tree_heap *heap, struct tree_heap_item item)
{
    if (heap->at_once) {
        tree_heap_free_items(heap, &item, 1);
        return;
    }
    if (heap->count == heap->cap) {
        size_t cap = heap->cap == 0 ? 64 : heap->cap * 2;
        struct tree_heap_item *items = realloc(heap->items, cap * sizeof *items);
        if (items == NULL)
            return;
        heap->items = items;
        heap->cap = cap;
    }
    heap->items[heap->count++] = item;
}

void tree_heap_retire(struct tree_heap *heap, void *ptr)
{
    if (ptr != NULL)
        retire(heap, (struct tree_heap_item){.ptr = ptr});
}

void tree_heap_retire_kind(struct tree_heap *heap, void *ptr, uint32_t kind)
{
    retire(heap, (struct tree_heap_item){.ptr = ptr, .kind = kind});
}

void tree_heap_retire_id(struct tree_heap *heap, uint32_t kind, uint32_t id)
{
    retire(heap, (struct tree_heap_item){.kind = kind, .id = id});
}

size_t tree_heap_take(struct tree_heap *heap, struct tree_heap_item **items)
{
    size_t count = heap->count;

    *items = heap->items;
    heap->items = NULL;
    heap->count = heap->cap = 0;
    return count;
}

void tree_heap_free_items(struct tree_heap *heap, const struct tree_heap_item *items, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (items[i].ptr != NULL && items[i].kind != 0)
            heap->dispose(heap->owner, items[i].kind, items[i].ptr);
        else if (items[i].ptr != NULL)
            tree_heap_free(heap, items[i].ptr);
        else
            heap->recycle(heap->owner, items[i].kind, items[i].id);
    }
}
