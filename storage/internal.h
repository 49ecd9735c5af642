/* internal.h - the store's own parts, for the files of storage/ only.
 *
 * Locks, in the order in which they may be taken:
 *   merge_lock    merging; and taking segments away (expiry tries it and comes again); held for minutes
 *   maintenance   sealing, rolling up, expiry: one at a time; may be held for seconds
 *   flush_lock    flushing; and freeing what a flush may hold (windows, their files)
 *   series.lock   creation of series (series.h)
 *   structure     views of tiers, the manifest, generations; held for microseconds, and for one fsync
 *                 of the manifest; never while waiting for a grace period
 * Ingest takes only series.lock (a new name) and structure (a new window); queries take none. */
#ifndef PLUMBAGO_STORAGE_INTERNAL_H
#define PLUMBAGO_STORAGE_INTERNAL_H

#include "storage/events.h"
#include "storage/limits.h"
#include "storage/manifest.h"
#include "storage/name_tree.h"
#include "storage/policies.h"
#include "storage/series.h"
#include "storage/series_read.h"
#include "storage/space.h"
#include "storage/storage.h"
#include "storage/tag_index.h"

#include <pthread.h>

enum { STORAGE_THREADS = 4 };

/* Where the search for series without points stands: delete.c. */
struct sweep {
    uint32_t next;      /* the id to look at next; 0: none is under way */
    uint32_t forgotten; /* records whose memory it has given back */
    bool gaps;          /* series were deleted since the sweep before: give their records' memory back */
    int64_t begun_s;    /* the last one */
    uint64_t expired;   /* segments, and series deleted, when it began */
    uint64_t deleted;
};

struct storage {
    struct storage_options options;
    char *dir;
    struct file *lock_file;
    bool same_boot; /* the machine has not gone down since the directory was last opened */
    struct series_log *log;
    struct series_table series;
    struct name_tree *tree; /* names without tags */
    struct tag_index *tags; /* names with tags */
    struct events *events;  /* has locks of its own, with none of the above taken inside */
    struct policies policies;
    struct policy_rules *rules; /* guarded by series.lock */
    char *schemas_path;         /* or NULL */
    char *aggregation_path;
    struct space space;
    struct limits limits;

    pthread_mutex_t structure; /* guards the next four, and changes of views */
    struct manifest *manifest;
    uint64_t generation_next;
    uint32_t window_serial;
    uint32_t windows_open; /* atomic for reading */

    pthread_mutex_t maintenance; /* guards the next one */
    struct sweep sweep;
    pthread_mutex_t merge_lock;
    pthread_mutex_t flush_lock; /* guards the next two */
    int64_t flush_last_ns;      /* atomic for reading: how long the last flush took */
    int64_t flush_began_ns;     /* atomic for reading: monotonic; the last that succeeded */

    uint64_t writers; /* atomic: a bit for each number in use */

    /* Counters, relaxed atomics. */
    uint64_t series_created;
    uint64_t series_deleted;
    uint64_t flushes;
    uint64_t sealed_windows;
    uint64_t expired_segments;
    uint64_t merges;
    uint64_t damaged_chunks;
    uint64_t scrub_rounds;
    uint64_t scrubbed_bytes;
    uint64_t scrub_damaged;
    uint64_t io_errors;
    bool io_failed; /* the last flush failed, or a window waits to be written elsewhere */

    pthread_t thread[STORAGE_THREADS]; /* background threads, unless options.manual */
    unsigned threads;                  /* that run */
    pthread_mutex_t stop_lock;         /* guards .stopping; with .stop_cond */
    pthread_cond_t stop_cond;
    bool stopping;
};

/* The number under which the store itself makes rows (rollup.c); writers have the others. */
enum { STORAGE_OWN_WRITER = WINDOW_WRITERS_MAX - 1 };

/* Whether a window may be opened beyond the limit: ingest can wait, the store's own work cannot. */
enum window_limit { WINDOW_WITHIN_LIMIT, WINDOW_AT_ANY_RATE };

/* The window of TIER that takes stores for T_S at NOW_S, opened when there is none. Between
 * grace_enter() and grace_leave(), or with the maintenance lock held. ERR_LIMIT when too many windows
 * are open: the caller is to leave, call storage_seal_idlest() and try again. open_window.c */
int storage_window_for(struct storage *st, struct tier *tier, int64_t t_s, int64_t now_s, enum window_limit limit,
                       struct window **out, struct err *err);

/* How to read SERIES, an id that was handed out; damage is counted and logged. fetch.c */
struct series_reader storage_reader(struct storage *st, uint32_t series);

/* Read back what is on the disk: recover.c. Before any other thread exists. */
int storage_recover(struct storage *st, struct err *err);

/* The part of it that reads series.log; *created is how many creations the log has. recover_names.c */
int storage_recover_names(struct storage *st, uint64_t *created, struct err *err);

/* Write series.log anew when most of its CREATED creations are of series that are gone. Before any other thread
 * exists. recover_names.c */
int storage_rewrite_names(struct storage *st, uint64_t created, struct err *err);

/* Seal W of TIER now. The maintenance lock is held. 1: nothing was done because an older window over
 * the same span must come first. seal.c */
int storage_seal_window(struct storage *st, struct tier *tier, struct window *w, struct err *err);

/* storage_flush() of everything but W, which is about to be sealed: its own files may be what the device does not
 * take. flush.c */
int storage_flush_but(struct storage *st, const struct window *w, struct err *err);

/* Seal all windows that are due at NOW_S, and the idlest ones beyond options.windows_max. */
int storage_seal_due(struct storage *st, int64_t now_s, struct err *err);

/* Seal the window that has been idle longest. Takes the maintenance lock. Not between grace_enter() and
 * grace_leave(). */
int storage_seal_idlest(struct storage *st, struct err *err);

/* The points of W, which is closing, changed slots that coarser tiers have rolled up already: derive
 * those anew and store them there. 1 when there were any (they must reach the device before the manifest
 * says that W is sealed), 0 when not. The maintenance lock is held. rollup.c */
int storage_roll_late(struct storage *st, const struct tier *tier, const struct window *w, struct err *err);

/* Whether the slot of tier K of POLICY at T_S is settled: no finer point can change it any more but by late
 * ones that come from now on. A store into a coarse tier must find it so, to be the last write. When it
 * is, [*from_s, *to_s) is narrowed to times around T_S of which the same is true. rollup.c */
bool storage_is_settled(const struct policy *policy, unsigned k, int64_t t_s, int64_t *from_s, int64_t *to_s);

/* Settle the slot: seal finer windows over it, roll up to it. Takes the maintenance lock. Not between
 * grace_enter() and grace_leave(). */
int storage_settle(struct storage *st, struct policy *policy, unsigned k, int64_t t_s, struct err *err);

/* Roll up what is due at NOW_S. The maintenance lock is held. */
int storage_roll_due(struct storage *st, int64_t now_s, struct err *err);

/* Drop all segments whose newest slot is past the retention at NOW_S. The maintenance lock is held. expire.c */
int storage_expire(struct storage *st, int64_t now_s, struct err *err);

/* Delete series that have no point left: a bit of the search in each call. The maintenance lock is held. delete.c */
int storage_sweep(struct storage *st, int64_t now_s, struct err *err);

/* Merge the groups of segments that are due at NOW_S. Takes the merge lock. merge.c */
int storage_merge_due(struct storage *st, int64_t now_s, struct err *err);

/* The slots that segments of a tier are merged to. */
uint32_t merge_group_slots(const struct retention_tier *tier);

/* Whether the store is being closed: long work stops. background.c */
bool storage_is_stopping(struct storage *st);

/* Sleep for MS; true when the store is being closed. background.c */
bool storage_pause(struct storage *st, int64_t ms);

/* Start and stop the background threads: background.c. */
int storage_background_start(struct storage *st, struct err *err);
void storage_background_stop(struct storage *st);

#endif
