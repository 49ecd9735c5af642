/* pool.h - N threads that run tasks from one bounded queue, in order of arrival.
 *
 * A task is embedded in what it works on and carries its function; the pool never allocates for one. */
#ifndef PLUMBAGO_SERVER_POOL_H
#define PLUMBAGO_SERVER_POOL_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct pool;

struct pool_task {
    void (*run)(struct pool_task *task); /* in a thread of the pool; may free the task */
    struct pool_task *next;              /* the pool's */
};

struct pool_options {
    const char *name;           /* of the threads, at most 12 bytes; borrowed */
    unsigned threads;           /* at least 1 */
    unsigned queue_max;         /* tasks that may wait */
    void (*thread_begin)(void); /* called in each thread before its first task and after its last; may be NULL */
    void (*thread_end)(void);
};

/* Start the threads. *out is the caller's, to be given back with pool_free(); NULL on failure. ERR_MEMORY, ERR_IO. */
int pool_new(const struct pool_options *options, struct pool **out, struct err *err);

/* Wait until every task that was taken has run, then end the threads. NULL is fine. */
void pool_free(struct pool *pool);

/* Queue TASK, whose run is set. False when the queue is full: then the task stays the caller's. Any thread. */
bool pool_submit(struct pool *pool, struct pool_task *task);

struct pool_stats {
    unsigned threads;
    unsigned running;
    unsigned queued;
    uint64_t done;
    uint64_t refused; /* pool_submit() that returned false */
};

void pool_stats(struct pool *pool, struct pool_stats *out); /* any thread */

#endif
