/* List nodes of our own: a reader may still look at the block itself, so its bytes must not change.
 * When not even a node is to be had, the block is leaked: safe, and memory is lost anyway. */
#include "storage/deferred.h"

#include "base/grace.h"

#include <pthread.h>
#include <stdlib.h>

struct deferred {
    struct deferred *next;
    void *ptr;
};

static pthread_mutex_t deferred_lock = PTHREAD_MUTEX_INITIALIZER;
static struct deferred *deferred_list;

void deferred_free(void *ptr)
{
    struct deferred *node = ptr == NULL ? NULL : malloc(sizeof *node);

    if (node == NULL)
        return;
    node->ptr = ptr;
    pthread_mutex_lock(&deferred_lock);
    node->next = deferred_list;
    deferred_list = node;
    pthread_mutex_unlock(&deferred_lock);
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
        free(list->ptr);
        free(list);
        list = next;
    }
}
