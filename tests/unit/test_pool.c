#include "server/pool.h"

#include <criterion/criterion.h>
#include <pthread.h>

struct counted {
    struct pool_task task;
    int *sum; /* atomic */
};

static int begun, ended; /* atomic */

static void count_begin(void)
{
    __atomic_add_fetch(&begun, 1, __ATOMIC_SEQ_CST);
}

static void count_end(void)
{
    __atomic_add_fetch(&ended, 1, __ATOMIC_SEQ_CST);
}

static void add_one(struct pool_task *task)
{
    __atomic_add_fetch(((struct counted *)task)->sum, 1, __ATOMIC_SEQ_CST);
}

static struct pool *pool_of(unsigned threads, unsigned queue_max)
{
    struct pool *pool = NULL;
    struct err err = {0};
    struct pool_options options = {.name = "test",
                                   .threads = threads,
                                   .queue_max = queue_max,
                                   .thread_begin = count_begin,
                                   .thread_end = count_end};

    cr_assert_eq(pool_new(&options, &pool, &err), 0, "%s", err.text);
    return pool;
}

Test(pool, runs_every_task_it_took_before_it_is_freed)
{
    enum { TASKS = 1000 };
    static struct counted tasks[TASKS];
    int sum = 0;
    struct pool *pool = pool_of(3, TASKS);

    for (int i = 0; i < TASKS; i++) {
        tasks[i] = (struct counted){.task = {.run = add_one}, .sum = &sum};
        cr_assert(pool_submit(pool, &tasks[i].task));
    }
    pool_free(pool);
    cr_assert_eq(sum, TASKS);
}

Test(pool, begins_and_ends_each_thread_once)
{
    begun = ended = 0;
    pool_free(pool_of(4, 1));
    cr_assert_eq(begun, 4);
    cr_assert_eq(ended, 4);
}

/* A task that waits until it is let go, and says that it has begun. */
struct gate {
    struct pool_task task;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool reached;
    bool open;
};

static void wait_at_gate(struct pool_task *task)
{
    struct gate *gate = (struct gate *)task;

    pthread_mutex_lock(&gate->lock);
    gate->reached = true;
    pthread_cond_broadcast(&gate->changed);
    while (!gate->open)
        pthread_cond_wait(&gate->changed, &gate->lock);
    pthread_mutex_unlock(&gate->lock);
}

Test(pool, refuses_what_does_not_fit_its_queue_and_counts_it)
{
    struct gate gate = {
        .task = {.run = wait_at_gate}, .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    int sum = 0;
    struct counted tasks[3];
    struct pool_stats stats;
    struct pool *pool = pool_of(1, 2);

    cr_assert(pool_submit(pool, &gate.task));
    pthread_mutex_lock(&gate.lock);
    while (!gate.reached)
        pthread_cond_wait(&gate.changed, &gate.lock);
    pthread_mutex_unlock(&gate.lock);
    for (int i = 0; i < 3; i++) {
        tasks[i] = (struct counted){.task = {.run = add_one}, .sum = &sum};
        cr_assert_eq(pool_submit(pool, &tasks[i].task), i < 2);
    }
    pool_stats(pool, &stats);
    cr_assert_eq(stats.running, 1);
    cr_assert_eq(stats.queued, 2);
    cr_assert_eq(stats.refused, 1);

    pthread_mutex_lock(&gate.lock);
    gate.open = true;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.lock);
    pool_free(pool);
    cr_assert_eq(sum, 2);
}

static struct pool_task order[3];
static int order_seen[3], order_count;

static void note_order(struct pool_task *task)
{
    order_seen[order_count++] = (int)(task - order);
}

Test(pool, runs_tasks_in_order_of_arrival)
{
    struct pool *pool = pool_of(1, 3);

    for (int i = 0; i < 3; i++) {
        order[i] = (struct pool_task){.run = note_order};
        cr_assert(pool_submit(pool, &order[i]));
    }
    pool_free(pool);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(order_seen[i], i);
}
