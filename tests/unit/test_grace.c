#include "base/grace.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

Test(grace, a_thread_that_never_began_may_wait)
{
    grace_wait();
}

Test(grace, idle_threads_do_not_hold_anybody_up)
{
    grace_thread_begin();
    grace_wait(); /* begins idle */
    grace_enter();
    grace_pass();
    grace_leave();
    grace_wait();
    grace_thread_end();
    grace_wait();
}

Test(grace, waiting_inside_is_a_mistake, .signal = SIGABRT)
{
    grace_thread_begin();
    grace_enter();
    grace_wait();
}

/* Readers follow a pointer without a lock; the writer replaces it and frees the old one. The box is
 * plain memory on purpose: the sanitizers complain when a grace period is too short, or does not
 * order what the reader read before what the writer does to it. */
struct box {
    int first, second;
};

static struct box *shared;
static bool stop;

static void *read_for_long(void *arg)
{
    long *seen = arg;

    grace_thread_begin();
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        grace_enter();
        for (int i = 0; i < 100; i++) {
            struct box *box = __atomic_load_n(&shared, __ATOMIC_ACQUIRE);

            if (box->first != box->second)
                abort();
            (*seen)++;
            grace_pass();
        }
        grace_leave();
    }
    grace_thread_end();
    return NULL;
}

Test(grace, readers_never_see_what_was_freed)
{
    pthread_t readers[3];
    long seen[3] = {0};

    shared = calloc(1, sizeof(*shared));
    for (int i = 0; i < 3; i++)
        pthread_create(&readers[i], NULL, read_for_long, &seen[i]);
    for (int i = 1; i <= 300; i++) {
        struct box *old = shared;
        struct box *box = malloc(sizeof(*box));

        box->first = box->second = i;
        __atomic_store_n(&shared, box, __ATOMIC_RELEASE);
        grace_wait();
        old->first = -1;
        free(old);
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    for (int i = 0; i < 3; i++)
        pthread_join(readers[i], NULL);
    free(shared);
}
