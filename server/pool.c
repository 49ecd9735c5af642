#include "server/pool.h"

#include "base/must.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct pool {
    struct pool_options options;
    pthread_t *threads; /* .started of them */
    unsigned started;

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t wanted;
    struct pool_task *first;
    struct pool_task **last; /* where the next task is hung */
    unsigned queued;
    unsigned running;
    uint64_t done;
    uint64_t refused;
    bool ending;
};

/* The next task, or NULL when the pool ends and nothing waits. */
static struct pool_task *take(struct pool *pool, bool ran_one)
{
    struct pool_task *task = NULL;

    pthread_mutex_lock(&pool->lock);
    if (ran_one) {
        pool->running--;
        pool->done++;
    }
    while (pool->first == NULL && !pool->ending)
        pthread_cond_wait(&pool->wanted, &pool->lock);
    task = pool->first;
    if (task != NULL) {
        pool->first = task->next;
        if (pool->first == NULL)
            pool->last = &pool->first;
        pool->queued--;
        pool->running++;
    }
    pthread_mutex_unlock(&pool->lock);
    return task;
}

static void *thread_main(void *arg)
{
    struct pool *pool = arg;
    struct pool_task *task = NULL;

    if (pool->options.thread_begin != NULL)
        pool->options.thread_begin();
    while ((task = take(pool, task != NULL)) != NULL)
        task->run(task);
    if (pool->options.thread_end != NULL)
        pool->options.thread_end();
    return NULL;
}

int pool_new(const struct pool_options *options, struct pool **out, struct err *err)
{
    struct pool *pool = calloc(1, sizeof(*pool));

    *out = NULL;
    MUST(options->threads >= 1);
    if (pool == NULL || (pool->threads = calloc(options->threads, sizeof(pthread_t))) == NULL) {
        free(pool);
        return err_set(err, ERR_MEMORY, "no memory for the threads of %s", options->name);
    }
    pool->options = *options;
    pool->last = &pool->first;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wanted, NULL);
    for (; pool->started < options->threads; pool->started++) {
        int rc = pthread_create(&pool->threads[pool->started], NULL, thread_main, pool);
        char name[16];

        if (rc != 0) {
            pool_free(pool);
            return err_errno(err, rc, "cannot start thread %u of %s", pool->started + 1, options->name);
        }
        snprintf(name, sizeof(name), "%.12s", options->name);
        pthread_setname_np(pool->threads[pool->started], name);
    }
    *out = pool;
    return 0;
}

void pool_free(struct pool *pool)
{
    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->ending = true;
    pthread_cond_broadcast(&pool->wanted);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->started; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->wanted);
    pthread_mutex_destroy(&pool->lock);
    free(pool->threads);
    free(pool);
}

bool pool_submit(struct pool *pool, struct pool_task *task)
{
    bool room = false;

    MUST(task->run != NULL);
    task->next = NULL;
    pthread_mutex_lock(&pool->lock);
    room = pool->queued < pool->options.queue_max && !pool->ending;
    if (room) {
        *pool->last = task;
        pool->last = &task->next;
        pool->queued++;
        pthread_cond_signal(&pool->wanted);
    } else {
        pool->refused++;
    }
    pthread_mutex_unlock(&pool->lock);
    return room;
}

void pool_stats(struct pool *pool, struct pool_stats *out)
{
    pthread_mutex_lock(&pool->lock);
    *out = (struct pool_stats){.threads = pool->options.threads,
                               .running = pool->running,
                               .queued = pool->queued,
                               .done = pool->done,
                               .refused = pool->refused};
    pthread_mutex_unlock(&pool->lock);
}
