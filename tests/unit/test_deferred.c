#include "storage/deferred.h"

#include "base/grace.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>

/* That nothing is freed too early, and nothing is left, is what the address and thread sanitizers see. */

static int *shared; /* atomic */
static int readers_done;

static void *reader_main(void *arg)
{
    (void)arg;
    grace_thread_begin();
    for (int i = 0; i < 20000; i++) {
        grace_enter();
        const int *p = __atomic_load_n(&shared, __ATOMIC_ACQUIRE);
        cr_assert_eq(*p, 42);
        grace_leave();
    }
    grace_thread_end();
    __atomic_fetch_add(&readers_done, 1, __ATOMIC_RELEASE);
    return NULL;
}

static int *fresh(void)
{
    int *p = malloc(sizeof *p);

    *p = 42;
    return p;
}

Test(deferred, nothing_to_free_is_fine)
{
    deferred_free(NULL);
    deferred_drain();
}

Test(deferred, readers_never_see_freed_memory)
{
    pthread_t reader[2];

    shared = fresh();
    for (int i = 0; i < 2; i++)
        pthread_create(&reader[i], NULL, reader_main, NULL);
    while (__atomic_load_n(&readers_done, __ATOMIC_ACQUIRE) < 2) {
        deferred_free(__atomic_exchange_n(&shared, fresh(), __ATOMIC_ACQ_REL));
        deferred_drain();
    }
    for (int i = 0; i < 2; i++)
        pthread_join(reader[i], NULL);
    deferred_free(shared);
    deferred_drain();
}
