/* The store's own threads: the flusher writes to the device every sync_ms, the keeper seals, rolls up and
 * expires, the merger merges, the scrubber reads and checks. They are four because sealing takes seconds,
 * merging minutes and checking a day, and none must wait for a slower one. */
#include "storage/internal.h"

#include "base/clock.h"
#include "base/grace.h"
#include "base/log.h"
#include "storage/deferred.h"

#include <errno.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum {
    KEEPER_PAUSE_MS = 1000,
    MERGER_PAUSE_MS = 2000,
    MERGER_NICE = 10,
    SCRUBBER_PAUSE_MS = 60000, /* between two rounds */
    SCRUBBER_NICE = 19,
};

bool storage_pause(struct storage *st, int64_t ms)
{
    struct timespec until;
    int rc = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += ms % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&st->stop_lock);
    while (!st->stopping && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&st->stop_cond, &st->stop_lock, &until);
    bool stopping = st->stopping;
    pthread_mutex_unlock(&st->stop_lock);
    return stopping;
}

static void background_report(struct log_limit *limit, const char *what, const struct err *err)
{
    uint64_t held_back;

    if (log_limit_pass(limit, 1, 60 * 1000000000LL, &held_back))
        log_error("storage", what, LOG_ERR(err), LOG_INT("held_back", held_back));
}

/* What is due at NOW_S but merging. */
static int storage_keep(struct storage *st, int64_t now_s, struct err *err)
{
    int (*const steps[])(struct storage *, int64_t, struct err *) = {storage_seal_due, storage_roll_due,
                                                                     storage_expire, storage_sweep};
    struct err why;
    int rc = 0;

    pthread_mutex_lock(&st->maintenance);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        int one = steps[i](st, now_s, rc == 0 ? err : &why);
        rc = rc == 0 ? one : rc;
        if (one < 0)
            __atomic_fetch_add(&st->io_errors, 1, __ATOMIC_RELAXED);
    }
    /* Who holds the maintenance lock may read views without being counted as a reader. */
    deferred_drain();
    pthread_mutex_unlock(&st->maintenance);
    name_tree_reclaim(st->tree);
    tag_index_reclaim(st->tags);
    int one = events_expire(st->events, now_s, rc == 0 ? err : &why);
    if (one < 0)
        __atomic_fetch_add(&st->io_errors, 1, __ATOMIC_RELAXED);
    return rc == 0 ? one : rc;
}

int storage_tick(struct storage *st, int64_t now_s, struct err *err)
{
    int rc = storage_keep(st, now_s, err);

    return rc < 0 ? rc : storage_merge_due(st, now_s, err);
}

bool storage_is_stopping(struct storage *st)
{
    pthread_mutex_lock(&st->stop_lock);
    bool stopping = st->stopping;
    pthread_mutex_unlock(&st->stop_lock);
    return stopping;
}

static void *flusher_main(void *arg)
{
    struct storage *st = arg;
    struct log_limit limit = {0};
    struct err err;

    while (!storage_pause(st, st->options.sync_ms)) {
        if (storage_flush(st, &err) < 0)
            background_report(&limit, "stored points do not reach the disk", &err);
    }
    return NULL;
}

static void *keeper_main(void *arg)
{
    struct storage *st = arg;
    struct log_limit limit = {0};
    struct err err;

    while (!storage_pause(st, KEEPER_PAUSE_MS)) {
        if (storage_keep(st, clock_now_s(), &err) < 0)
            background_report(&limit, "housekeeping failed and will be tried again", &err);
    }
    return NULL;
}

static void *merger_main(void *arg)
{
    struct storage *st = arg;
    struct log_limit limit = {0};
    struct err err;

    setpriority(PRIO_PROCESS, (id_t)gettid(), MERGER_NICE); /* of this thread only, on Linux */
    while (!storage_pause(st, MERGER_PAUSE_MS)) {
        if (storage_merge_due(st, clock_now_s(), &err) < 0)
            background_report(&limit, "merging failed and will be tried again", &err);
    }
    return NULL;
}

static void *scrubber_main(void *arg)
{
    struct storage *st = arg;

    setpriority(PRIO_PROCESS, (id_t)gettid(), SCRUBBER_NICE);
    grace_thread_begin();
    while (st->options.scrub_interval_s != 0 && !storage_pause(st, SCRUBBER_PAUSE_MS))
        storage_scrub(st, st->options.scrub_interval_s);
    grace_thread_end();
    return NULL;
}

int storage_background_start(struct storage *st, struct err *err)
{
    static void *(*const mains[STORAGE_THREADS])(void *) = {flusher_main, keeper_main, merger_main, scrubber_main};

    for (unsigned i = 0; i < STORAGE_THREADS; i++) {
        if (pthread_create(&st->thread[i], NULL, mains[i], st) != 0)
            return err_set(err, ERR_MEMORY, "cannot start the store's threads");
        st->threads++;
    }
    return 0;
}

void storage_background_stop(struct storage *st)
{
    pthread_mutex_lock(&st->stop_lock);
    st->stopping = true;
    pthread_cond_broadcast(&st->stop_cond);
    pthread_mutex_unlock(&st->stop_lock);
    while (st->threads > 0)
        pthread_join(st->thread[--st->threads], NULL);
}
