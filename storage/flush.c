/* Flushing: what was stored before the call is on the device when it returns.
 *
 * The series log goes first, so that no cell is on the device whose name is not (a cell of a series that
 * is created in between is not covered by this flush). Then each grid's dirty mark is taken away, a
 * grace period is waited for, and the file is synced: a writer that saw the mark still set has finished
 * its batch by then, so its cells are covered; one that stores later sets the mark again.
 *
 * When a sync fails, the kernel has given up on some pages: it takes them for written, reports that once, and may
 * forget them, so that trying again would succeed and mean nothing. Therefore:
 *   1. the pages of the grid that are in memory are marked as changed again, so that they stay there, and
 *      the next sync that succeeds has written all of them
 *   2. the window is marked as failing: the next round of housekeeping takes it from the writers (a new
 *      window comes over it, in new files) and seals it from memory, into a segment elsewhere on the disk
 *   3. until both is done the store says io_failed; what was stored is served all the while
 * When the whole device fails, the new window's sync fails, too; only one window of a tier is failing at a
 * time, so their number does not grow. When the device works again, all this ends by itself. */
#include "storage/internal.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/grace.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

/* A grid to be synced, and where it belongs. */
struct flush_item {
    struct grid *grid;
    struct window *window;
    struct tier *tier;
};

struct flush_list {
    const struct window *but; /* leave this one out; NULL: none */
    struct flush_item *item;
    size_t count, cap;
    bool failed;
};

static void flush_add(struct flush_list *list, struct flush_item what)
{
    if (list->count == list->cap) {
        size_t cap = list->cap == 0 ? 64 : list->cap * 2;
        struct flush_item *item = realloc(list->item, cap * sizeof *item);
        if (item == NULL) {
            __atomic_store_n(&what.grid->dirty, 1, __ATOMIC_RELAXED);
            list->failed = true;
            return;
        }
        list->item = item;
        list->cap = cap;
    }
    list->item[list->count++] = what;
}

/* All grids with stores since the last flush; their marks are taken away. */
static int flush_collect(void *ctx, struct policy *policy, struct tier *tier)
{
    struct flush_list *list = ctx;
    const struct tier_view *view = tier_view(tier);

    (void)policy;
    for (uint32_t i = 0; i < view->windows; i++) {
        struct window *w = view->window[i];
        for (uint32_t b = 0; w != list->but && b < window_blocks(w); b++) {
            struct grid *g = __atomic_load_n(&w->grid[b], __ATOMIC_ACQUIRE);
            if (g != NULL && __atomic_exchange_n(&g->dirty, 0, __ATOMIC_ACQ_REL) != 0)
                flush_add(list, (struct flush_item){g, w, tier});
        }
    }
    return 0;
}

static int flush_any_failing(void *ctx, struct policy *policy, struct tier *tier)
{
    const struct tier_view *view = tier_view(tier);

    (void)ctx;
    (void)policy;
    for (uint32_t i = 0; i < view->windows; i++)
        if (__atomic_load_n(&view->window[i]->failing, __ATOMIC_RELAXED))
            return 1;
    return 0;
}

/* The device did not take ITEM: keep its pages, and see to it that they are written elsewhere. */
static void flush_rescue(struct storage *st, struct flush_item *item, const struct err *why)
{
    __atomic_store_n(&item->grid->dirty, 1, __ATOMIC_RELAXED);
    file_map_keep(item->grid->map, item->grid->map_len);
    pthread_mutex_lock(&st->structure);
    bool first = flush_any_failing(NULL, NULL, item->tier) == 0;
    if (first)
        __atomic_store_n(&item->window->failing, true, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&st->structure);
    if (first)
        log_error("storage", "the device does not take a file: its points stay in memory and are written to another",
                  LOG_ERR(why));
}

/* Sync one grid, and its folder when that does not yet have it for sure. A failure leaves it dirty. */
static int flush_grid(struct storage *st, struct flush_item *item, struct err *err)
{
    int rc = file_sync(item->grid->file, err);

    if (rc < 0) {
        flush_rescue(st, item, err);
        return rc;
    }
    if (!item->grid->entry_synced) {
        rc = file_sync_dir(item->tier->dir, err);
        item->grid->entry_synced = rc == 0;
    }
    if (rc < 0)
        __atomic_store_n(&item->grid->dirty, 1, __ATOMIC_RELAXED);
    return rc;
}

static int flush_locked(struct storage *st, const struct window *but, struct err *err)
{
    struct flush_list list = {.but = but};
    int rc = series_log_sync(st->log, err);

    pthread_mutex_lock(&st->structure);
    policies_each_tier(&st->policies, flush_collect, &list);
    pthread_mutex_unlock(&st->structure);
    grace_wait();
    for (size_t i = 0; i < list.count; i++) {
        struct err why;
        int one = flush_grid(st, &list.item[i], rc == 0 ? err : &why);
        rc = rc == 0 ? one : rc;
    }
    free(list.item);
    if (rc == 0 && list.failed)
        rc = err_set(err, ERR_MEMORY, "flushing");
    return rc;
}

/* Whether any window waits to be written elsewhere. */
static bool flush_is_failing(struct storage *st)
{
    pthread_mutex_lock(&st->structure);
    bool failing = policies_each_tier(&st->policies, flush_any_failing, NULL) != 0;
    pthread_mutex_unlock(&st->structure);
    return failing;
}

static void flush_note_state(struct storage *st, bool failed)
{
    bool now = failed || flush_is_failing(st);
    bool was = __atomic_exchange_n(&st->io_failed, now, __ATOMIC_RELAXED);

    if (was && !now)
        log_info("storage", "the device takes what is stored again", LOG_STR("dir", st->dir));
}

int storage_flush_but(struct storage *st, const struct window *w, struct err *err)
{
    struct err own;

    err = err == NULL ? &own : err;
    pthread_mutex_lock(&st->flush_lock);
    int64_t began_ns = clock_mono_ns();
    int rc = flush_locked(st, w, err);
    __atomic_store_n(&st->flush_last_ns, clock_mono_ns() - began_ns, __ATOMIC_RELAXED);
    if (rc == 0 && w == NULL)
        __atomic_store_n(&st->flush_began_ns, began_ns, __ATOMIC_RELAXED);
    flush_note_state(st, rc < 0);
    pthread_mutex_unlock(&st->flush_lock);
    __atomic_fetch_add(&st->flushes, 1, __ATOMIC_RELAXED);
    if (rc < 0)
        __atomic_fetch_add(&st->io_errors, 1, __ATOMIC_RELAXED);
    return rc;
}

int storage_flush(struct storage *st, struct err *err)
{
    return storage_flush_but(st, NULL, err);
}
