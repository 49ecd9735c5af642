/* Sealing: an open window becomes an immutable segment.
 *
 *   1. .closing is set: writers that look for the window from now on open a new one over it
 *   2. a grace period passes: no writer still holds it, so its cells stand still
 *      (slots of coarser tiers that its late points changed are derived anew, and flushed: rollup.c)
 *   3. the rows are gathered tile by tile, in order of series ids, and encoded into a segment file,
 *      which is synced and renamed
 *   4. the manifest gets its record and is synced: from here on the segment is the truth
 *   5. the view has the segment instead of the window; another grace period; the grid files go
 *
 * A crash before 4 leaves the grids (the segment file is deleted at start), one after 4 leaves both with
 * the same content (the grids are deleted at start). When 3 or 4 fails, the window stays: closing, but
 * readable, and the next round tries again. */
#include "storage/internal.h"

#include "base/clock.h"
#include "base/grace.h"
#include "base/log.h"
#include "storage/segment_write.h"

#include <math.h>
#include <stdlib.h>

enum { TILE_ROWS = 128 };

/* Transpose up to TILE_ROWS rows: slot-major cells to one array of slots for each row. */
static void seal_gather(const struct window *w, const struct window_pair *pairs, size_t rows, double *to)
{
    const struct grid *grid[TILE_ROWS];

    for (size_t r = 0; r < rows; r++)
        grid[r] = window_grid(w, pairs[r].row);
    for (uint32_t s = 0; s < w->slots; s++)
        for (size_t r = 0; r < rows; r++)
            to[r * w->slots + s] = grid_load(grid[r], s, pairs[r].row);
}

static int seal_rows(struct storage *st, const struct window *w, struct segment_writer *writer, struct err *err)
{
    struct window_pair *pairs = NULL;
    size_t count = 0;
    double *tile = malloc(sizeof tile[0] * w->slots * TILE_ROWS);
    int rc = tile == NULL ? err_set(err, ERR_MEMORY, "sealing") : window_pairs(w, &pairs, &count, err);

    for (size_t at = 0; rc == 0 && at < count; at += TILE_ROWS) {
        size_t rows = count - at < TILE_ROWS ? count - at : TILE_ROWS;
        seal_gather(w, pairs + at, rows, tile);
        for (size_t r = 0; rc == 0 && r < rows; r++) {
            uint32_t id = pairs[at + r].id;
            if (series_has_name(&st->series, id))
                rc = segment_writer_add(writer, id, tile + r * w->slots, err);
        }
    }
    free(tile);
    free(pairs);
    return rc;
}

/* Write the segment file of W and open it. *out is NULL when the window holds no point. */
static int seal_write(struct storage *st, const struct tier *tier, const struct window *w, struct segment **out,
                      struct err *err)
{
    struct segment_info info = {.policy = w->policy,
                                .tier = w->tier,
                                .columns = 1,
                                .step_s = w->step_s,
                                .slots = w->slots,
                                .start_s = w->start_s,
                                .generation = w->generation};
    struct segment_writer *writer = NULL;
    char path[4096];

    *out = NULL;
    tier_segment_path(tier, w->start_s, w->generation, path, sizeof path);
    int rc = segment_writer_new(path, &info, &writer, err);
    if (rc == 0)
        rc = seal_rows(st, w, writer, err);
    bool empty = rc == 0 && segment_writer_rows(writer) == 0;
    if (rc == 0 && !empty)
        rc = segment_writer_commit(writer, err);
    segment_writer_free(writer);
    if (rc == 0 && !empty)
        rc = segment_open(path, out, err);
    return rc;
}

/* Step 4 and 5, up to the grace period. */
static int seal_publish(struct storage *st, struct tier *tier, const struct window *w, struct segment *segment,
                        struct err *err)
{
    struct live_segment live = {.number = w->generation,
                                .generation = w->generation,
                                .start_s = w->start_s,
                                .end_s = w->end_s,
                                .made_s = clock_now_s(),
                                .segment = segment};
    struct manifest_record record = {.type = segment != NULL ? MANIFEST_SEAL : MANIFEST_DROP,
                                     .tier = w->tier,
                                     .policy = w->policy,
                                     .slots = w->slots,
                                     .start_s = w->start_s,
                                     .number = w->generation};

    pthread_mutex_lock(&st->structure);
    int rc = manifest_append(st->manifest, &record, 1, err);
    if (rc == 0)
        rc = tier_replace_window(tier, w, segment != NULL ? &live : NULL, err);
    if (rc == 0)
        __atomic_store_n(&st->windows_open, st->windows_open - 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&st->structure);
    return rc;
}

int storage_seal_window(struct storage *st, struct tier *tier, struct window *w, struct err *err)
{
    struct segment *segment = NULL;
    int64_t began_ns = clock_mono_ns();

    pthread_mutex_lock(&st->structure);
    bool wait = tier_view_older(tier_view(tier), w);
    __atomic_store_n(&w->closing, true, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&st->structure);
    if (wait)
        return 1;
    grace_wait();
    int rc = storage_roll_late(st, tier, w, err);
    if (rc > 0)
        rc = storage_flush_but(st, w, err);
    if (rc == 0)
        rc = seal_write(st, tier, w, &segment, err);
    if (rc == 0)
        rc = series_log_sync(st->log, err); /* no segment outlives the names of its rows */
    if (rc == 0)
        rc = seal_publish(st, tier, w, segment, err);
    if (rc < 0) {
        segment_close(segment);
        err_context(err, "sealing the window at %lld of %s", (long long)w->start_s, tier->dir);
        return rc;
    }
    grace_wait();
    log_debug("storage", "window sealed", LOG_STR("tier", tier->dir), LOG_INT("start", w->start_s),
              LOG_INT("rows", w->rows_used), LOG_INT("bytes", segment == NULL ? 0 : segment_info(segment)->bytes),
              LOG_FLOAT("ms", (double)(clock_mono_ns() - began_ns) / 1e6));
    __atomic_fetch_add(&st->sealed_windows, 1, __ATOMIC_RELAXED);
    pthread_mutex_lock(&st->flush_lock);
    struct err why;
    if (window_unlink(w, &why) < 0)
        log_warn("storage", "a sealed window's file stays until the next start", LOG_ERR(&why));
    window_free(w);
    pthread_mutex_unlock(&st->flush_lock);
    return 0;
}

/* ---- which ones ---- */

/* An open window as the choice sees it; copied under the structure lock. */
struct seal_candidate {
    struct tier *tier;
    struct window *window;
    int64_t touched_s;
};

struct seal_list {
    struct seal_candidate *item;
    size_t count, cap;
};

static int seal_list_add(void *ctx, struct policy *policy, struct tier *tier)
{
    struct seal_list *list = ctx;
    const struct tier_view *view = tier_view(tier);

    (void)policy;
    for (uint32_t i = 0; i < view->windows && list->count < list->cap; i++) {
        struct window *w = view->window[i];
        list->item[list->count++] = (struct seal_candidate){tier, w, __atomic_load_n(&w->touched_s, __ATOMIC_RELAXED)};
    }
    return 0;
}

static int seal_by_idleness(const void *a, const void *b)
{
    const struct seal_candidate *x = a, *y = b;

    if (x->touched_s != y->touched_s)
        return x->touched_s < y->touched_s ? -1 : 1;
    return x->window->generation < y->window->generation ? -1 : x->window->generation > y->window->generation;
}

/* All open windows, longest idle first; .item is the caller's. The maintenance lock is held, so none
 * of them goes away. */
static int seal_candidates(struct storage *st, struct seal_list *list, struct err *err)
{
    pthread_mutex_lock(&st->structure);
    *list = (struct seal_list){.cap = st->windows_open};
    list->item = malloc((list->cap + 1) * sizeof list->item[0]);
    int rc = list->item == NULL ? err_set(err, ERR_MEMORY, "sealing") : 0;
    if (rc == 0)
        policies_each_tier(&st->policies, seal_list_add, list);
    pthread_mutex_unlock(&st->structure);
    if (rc == 0)
        qsort(list->item, list->count, sizeof list->item[0], seal_by_idleness);
    return rc;
}

/* Whether W's time has passed and its senders have, too, or the device fails under it (flush.c). One that keeps getting
 * late points is sealed all the same after ten times the grace. */
static bool seal_is_due(const struct storage *st, const struct seal_candidate *c, int64_t now_s)
{
    int64_t grace_s = st->options.seal_grace_s;
    int64_t since_s = c->window->end_s > c->window->opened_s ? c->window->end_s : c->window->opened_s;

    if (__atomic_load_n(&c->window->closing, __ATOMIC_RELAXED) ||
        __atomic_load_n(&c->window->failing, __ATOMIC_RELAXED))
        return true;
    if (now_s < c->window->end_s + grace_s)
        return false;
    return now_s - c->touched_s >= grace_s || now_s - since_s >= 10 * grace_s;
}

/* Seal COUNT windows of tier TIER_MIN or coarser, longest idle first, and all others that are due at NOW_S. *waiting is
 * how many have to wait for an older one. Returns how many were sealed. */
static int seal_round(struct storage *st, unsigned tier_min, size_t count, int64_t now_s, size_t *waiting,
                      struct err *err)
{
    struct seal_list list;
    size_t sealed = 0;
    int rc = seal_candidates(st, &list, err);

    *waiting = 0;
    for (size_t i = 0; rc >= 0 && i < list.count; i++) {
        if (list.item[i].tier->number < tier_min || (sealed >= count && !seal_is_due(st, &list.item[i], now_s)))
            continue;
        rc = storage_seal_window(st, list.item[i].tier, list.item[i].window, err);
        sealed += rc == 0;
        *waiting += rc == 1;
    }
    free(list.item);
    return rc < 0 ? rc : (int)sealed;
}

int storage_seal_due(struct storage *st, int64_t now_s, struct err *err)
{
    size_t open = __atomic_load_n(&st->windows_open, __ATOMIC_RELAXED);
    size_t beyond = open > st->options.windows_max ? open - st->options.windows_max : 0;
    size_t waiting;
    int rc = seal_round(st, 0, beyond, now_s, &waiting, err);

    return rc < 0 ? rc : 0;
}

int storage_seal_idlest(struct storage *st, struct err *err)
{
    size_t waiting;

    pthread_mutex_lock(&st->maintenance);
    int rc = seal_round(st, 0, 1, INT64_MIN / 2, &waiting, err);
    pthread_mutex_unlock(&st->maintenance);
    return rc < 0 ? rc : 0;
}

int storage_seal_all(struct storage *st, struct err *err)
{
    size_t waiting;
    int rc = 0;

    pthread_mutex_lock(&st->maintenance);
    /* Tier by tier: late points open windows of the next tier when theirs are sealed. */
    for (unsigned tier_min = 0; rc >= 0 && tier_min < RETENTION_TIERS_MAX; tier_min++) {
        do {
            rc = seal_round(st, tier_min, SIZE_MAX, INT64_MAX / 2, &waiting, err);
        } while (rc > 0 && waiting > 0);
    }
    pthread_mutex_unlock(&st->maintenance);
    return rc < 0 ? rc : 0;
}
