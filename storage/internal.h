/* internal.h - the store's own parts, for the files of storage/ only.
 *
 * Locks, in the order in which they may be taken:
 *   maintenance   sealing, expiry: one at a time; may be held for seconds
 *   flush_lock    flushing; and freeing what a flush may hold (windows, their files)
 *   series.lock   creation of series (series.h)
 *   structure     views of tiers, the manifest, generations; held for microseconds, and for one fsync
 *                 of the manifest; never while waiting for a grace period
 * Ingest takes only series.lock (a new name) and structure (a new window); queries take none. */
#ifndef PLUMBAGO_STORAGE_INTERNAL_H
#define PLUMBAGO_STORAGE_INTERNAL_H

#include "storage/manifest.h"
#include "storage/name_tree.h"
#include "storage/policies.h"
#include "storage/series.h"
#include "storage/space.h"
#include "storage/storage.h"

#include <pthread.h>

struct storage {
    struct storage_options options;
    char *dir;
    struct file *lock_file;
    struct series_log *log;
    struct series_table series;
    struct name_tree *tree;
    struct policies policies;
    struct policy_rules *rules; /* guarded by series.lock */
    char *schemas_path;         /* or NULL */
    char *aggregation_path;
    struct space space;

    pthread_mutex_t structure; /* guards the next four, and changes of views */
    struct manifest *manifest;
    uint64_t generation_next;
    uint32_t window_serial;
    uint32_t windows_open; /* atomic for reading */

    pthread_mutex_t maintenance;
    pthread_mutex_t flush_lock; /* guards the next two */
    int64_t flush_last_ns;      /* atomic for reading: how long the last flush took */
    int64_t flush_began_ns;     /* atomic for reading: monotonic; the last that succeeded */

    uint64_t writers; /* atomic: a bit for each number in use */

    /* Counters, relaxed atomics. */
    uint64_t series_created;
    uint64_t flushes;
    uint64_t sealed_windows;
    uint64_t expired_segments;
    uint64_t damaged_chunks;
    uint64_t io_errors;
    bool io_failed;

    pthread_t flusher, keeper; /* background threads, unless options.manual */
    bool flusher_runs, keeper_runs;
    pthread_mutex_t stop_lock; /* guards .stopping; with .stop_cond */
    pthread_cond_t stop_cond;
    bool stopping;
};

/* The window of TIER that takes stores for T_S at NOW_S, opened when there is none. Between
 * grace_enter() and grace_leave(). ERR_LIMIT when too many windows are open: the caller is to leave,
 * call storage_seal_idlest() and try again. open.c */
int storage_window_for(struct storage *st, struct tier *tier, int64_t t_s, int64_t now_s, struct window **out,
                       struct err *err);

/* Read back what is on the disk: recover.c. Before any other thread exists. */
int storage_recover(struct storage *st, struct err *err);

/* Seal W of TIER now. The maintenance lock is held. 1: nothing was done because an older window over
 * the same span must come first. seal.c */
int storage_seal_window(struct storage *st, struct tier *tier, struct window *w, struct err *err);

/* Seal all windows that are due at NOW_S, and the idlest ones beyond options.windows_max. */
int storage_seal_due(struct storage *st, int64_t now_s, struct err *err);

/* Seal the window that has been idle longest. Takes the maintenance lock. Not between grace_enter() and
 * grace_leave(). */
int storage_seal_idlest(struct storage *st, struct err *err);

/* Drop all segments whose newest slot is past the retention at NOW_S. The maintenance lock is held. expire.c */
int storage_expire(struct storage *st, int64_t now_s, struct err *err);

/* Start and stop the background threads: background.c. */
int storage_background_start(struct storage *st, struct err *err);
void storage_background_stop(struct storage *st);

#endif
