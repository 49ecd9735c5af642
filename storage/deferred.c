/* List nodes of our own: a reader may still look at the block itself, so its bytes must not change.
 * When not even a node is to be had, the block is leaked: safe, and memory is lost anyway. */
#include "storage/deferred.h"

#include "base/grace.h"

#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>

struct deferred {
    struct deferred *next;
    void *ptr;
};

static pthread_mutex_t deferred_lock = PTHREAD_MUTEX_INITIALIZER;
static struct deferred *deferred_list;
static uint64_t deferred_sum; /* relaxed atomic: bytes of what is in the list */

void deferred_free(void *ptr)
{
    struct deferred *node = ptr == NULL ? NULL : malloc(sizeof *node);

    if (node == NULL)
        return;
    node->ptr = ptr;
    __atomic_fetch_add(&deferred_sum, malloc_usable_size(ptr), __ATOMIC_RELAXED);
    pthread_mutex_lock(&deferred_lock);
    node->next = deferred_list;
    deferred_list = node;
    pthread_mutex_unlock(&deferred_lock);
}

uint64_t deferred_bytes(void)
{
    return __atomic_load_n(&deferred_sum, __ATOMIC_RELAXED);
}

void deferred_drain(void)
{
    pthread_mutex_lock(&deferred_lock);
    struct deferred *list = deferred_list;
    deferred_list = NULL;
    pthread_mutex_unlock(&deferred_lock);
    if (list == NULL)
        return;
    grace_wait();
    while (list != NULL) {
        struct deferred *next = list->next;
        __atomic_fetch_sub(&deferred_sum, malloc_usable_size(list->ptr), __ATOMIC_RELAXED);
        free(list->ptr);
        free(list);
        list = next;
    }
}
