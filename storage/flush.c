/* Flushing: what was stored before the call is on the device when it returns.
 *
 * The series log goes first, so that no cell is on the device whose name is not (a cell of a series that
 * is created in between is not covered by this flush). Then each grid's dirty mark is taken away, a
 * grace period is waited for, and the file is synced: a writer that saw the mark still set has finished
 * its batch by then, so its cells are covered; one that stores later sets the mark again. */
#include "storage/internal.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/grace.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

/* A grid to be synced, and the folder that its name is in. */
struct flush_item {
    struct grid *grid;
    const char *dir;
};

struct flush_list {
    struct flush_item *item;
    size_t count, cap;
    bool failed;
};

static void flush_add(struct flush_list *list, struct grid *g, const char *dir)
{
    if (list->count == list->cap) {
        size_t cap = list->cap == 0 ? 64 : list->cap * 2;
        struct flush_item *item = realloc(list->item, cap * sizeof *item);
        if (item == NULL) {
            list->failed = true;
            return;
        }
        list->item = item;
        list->cap = cap;
    }
    list->item[list->count++] = (struct flush_item){g, dir};
}

/* All grids with stores since the last flush; their marks are taken away. */
static int flush_collect(void *ctx, struct policy *policy, struct tier *tier)
{
    struct flush_list *list = ctx;
    const struct tier_view *view = tier_view(tier);

    (void)policy;
    for (uint32_t i = 0; i < view->windows; i++) {
        const struct window *w = view->window[i];
        for (uint32_t b = 0; b < window_blocks(w); b++) {
            struct grid *g = __atomic_load_n(&w->grid[b], __ATOMIC_ACQUIRE);
            if (g != NULL && __atomic_exchange_n(&g->dirty, 0, __ATOMIC_ACQ_REL) != 0)
                flush_add(list, g, tier->dir);
        }
    }
    return 0;
}

/* Sync one grid, and its folder when that does not yet have it for sure. A failure leaves it dirty. */
static int flush_grid(struct flush_item *item, struct err *err)
{
    int rc = file_sync(item->grid->file, err);

    if (rc == 0 && !item->grid->entry_synced) {
        rc = file_sync_dir(item->dir, err);
        item->grid->entry_synced = rc == 0;
    }
    if (rc < 0)
        __atomic_store_n(&item->grid->dirty, 1, __ATOMIC_RELAXED);
    return rc;
}

static int flush_locked(struct storage *st, struct err *err)
{
    struct flush_list list = {0};
    int rc = series_log_sync(st->log, err);

    pthread_mutex_lock(&st->structure);
    policies_each_tier(&st->policies, flush_collect, &list);
    pthread_mutex_unlock(&st->structure);
    grace_wait();
    for (size_t i = 0; i < list.count; i++) {
        struct err why;
        int one = flush_grid(&list.item[i], rc == 0 ? err : &why);
        rc = rc == 0 ? one : rc;
    }
    free(list.item);
    if (rc == 0 && list.failed)
        rc = err_set(err, ERR_MEMORY, "flushing");
    return rc;
}

int storage_flush(struct storage *st, struct err *err)
{
    struct err own;

    err = err == NULL ? &own : err;
    pthread_mutex_lock(&st->flush_lock);
    int64_t began_ns = clock_mono_ns();
    int rc = flush_locked(st, err);
    __atomic_store_n(&st->flush_last_ns, clock_mono_ns() - began_ns, __ATOMIC_RELAXED);
    if (rc == 0)
        __atomic_store_n(&st->flush_began_ns, began_ns, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&st->flush_lock);
    __atomic_fetch_add(&st->flushes, 1, __ATOMIC_RELAXED);
    if (rc < 0)
        __atomic_fetch_add(&st->io_errors, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&st->io_failed, rc < 0, __ATOMIC_RELAXED);
    return rc;
}
