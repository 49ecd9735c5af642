/* Deleting series: by order of a person, and those that have no point left.
 *
 * A deletion is a record of series.log, then the name goes out of the hash and the tree: from then on the name is
 * free, and a point of it makes a new series with a new id. Rows of the old id are dropped when their windows are
 * sealed and their segments merged; nobody asks for them in between.
 *
 * A store that runs at the same time as the deletion may still put its point to the old id, as if it had come
 * first. When the deletion returns, there is no such store any more.
 *
 * The sweep looks for series without a point: such whose id no open window and no segment of their policy names.
 * It walks over all ids, a bit each round, whenever a segment has expired, and now and then for names of which only
 * points came that were too old to be stored. The difficulty are writers, which store without a lock:
 *   1. what seems to have no point is marked as leaving; a writer that meets the mark takes it away first,
 *      under the lock of creations
 *   2. a grace period passes: who has not met the mark has finished its batch, so its row is in a window
 *   3. under the lock: what is still marked, and in no open window, is deleted; else the mark goes
 * Meanwhile no window is sealed and no segment rolled up (the maintenance lock), and what merging makes is in
 * segments that are there already. */
#include "storage/internal.h"

#include "base/clock.h"
#include "base/grace.h"
#include "base/log.h"
#include "storage/name.h"

#include <stdlib.h>

enum {
    DELETE_AT_ONCE = 256,         /* while the lock of creations is held */
    SWEEP_NS = 20 * 1000 * 1000,  /* of looking in one round */
    SWEEP_IDS = 1024,             /* between two looks at the clock */
    SWEEP_CANDIDATES = 64 * 1024, /* of one round */
    SWEEP_GAPS = 1024,            /* runs of absent records whose memory one round gives back */
    SWEEP_GAP_MIN = 256,          /* two pages of records */
    SWEEP_PAUSE_S = 600,          /* from the beginning of a sweep to the next, when no segment has expired */
    SWEEP_AGE_S = 86400,          /* series are left alone for so long, or for their retention if it is shorter */
};

/* The series is no more. st->series.lock is held. */
static int delete_series(struct storage *st, uint32_t id, struct err *err)
{
    struct span name = series_name(&st->series, series_get(&st->series, id));
    int rc = series_delete(&st->series, id, err);

    if (rc < 0)
        return rc;
    if (name_is_tagged(name))
        tag_index_remove(st->tags, name, id);
    else
        name_tree_remove(st->tree, name); /* when memory is short it stays, without points, until the next start */
    __atomic_fetch_add(&st->series_deleted, 1, __ATOMIC_RELAXED);
    return 0;
}

/* ---- by order ---- */

/* The ids of all series that PATTERN means: a name, or a glob. */
static int delete_choose(struct storage *st, struct span pattern, size_t max, struct arena *arena, uint32_t **ids,
                         size_t *count, struct err *err)
{
    struct storage_matches matches;
    uint32_t id;

    *count = 0;
    storage_enter();
    int rc = storage_find(st, pattern, STORAGE_FIND_LEAVES, max, arena, &matches, err);
    if (rc == 0) {
        *ids = arena_alloc(arena, (matches.count + 1) * sizeof **ids);
        for (size_t i = 0; i < matches.count; i++)
            (*ids)[(*count)++] = matches.items[i].series;
        if (matches.count == 0 && storage_lookup(st, pattern, &id)) /* a name with signs of patterns in it */
            (*ids)[(*count)++] = id;
    }
    storage_leave();
    return rc;
}

static int delete_ids(struct storage *st, const uint32_t *ids, size_t count, uint64_t *deleted, struct err *err)
{
    int rc = 0;

    for (size_t at = 0; rc == 0 && at < count; at += DELETE_AT_ONCE) {
        pthread_mutex_lock(&st->series.lock);
        for (size_t i = at; rc == 0 && i < count && i < at + DELETE_AT_ONCE; i++) {
            if (!series_has_name(&st->series, ids[i]))
                continue; /* somebody else was faster */
            rc = delete_series(st, ids[i], err);
            *deleted += rc == 0;
        }
        pthread_mutex_unlock(&st->series.lock);
    }
    return rc;
}

/* Wait until nobody stores to the DELETED series any more, and for the device. RC is what deleting ended with. */
static int delete_end(struct storage *st, int rc, uint64_t deleted, struct err *err)
{
    struct err why;

    if (deleted == 0)
        return rc;
    grace_wait();
    int synced = series_log_sync(st->log, rc == 0 ? err : &why);
    return rc == 0 ? synced : rc;
}

int storage_delete_names(struct storage *st, const struct span *names, size_t count, uint64_t *deleted, struct err *err)
{
    int rc = 0;

    *deleted = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        uint32_t id;
        storage_enter();
        bool known = storage_lookup(st, names[i], &id);
        storage_leave();
        if (known)
            rc = delete_ids(st, &id, 1, deleted, err);
    }
    return delete_end(st, rc, *deleted, err);
}

int storage_delete(struct storage *st, struct span pattern, size_t max, uint64_t *deleted, struct err *err)
{
    struct arena arena;
    uint32_t *ids = NULL;
    size_t count;

    *deleted = 0;
    arena_init(&arena, 0, NULL);
    int rc = delete_choose(st, pattern, max, &arena, &ids, &count, err);
    if (rc == 0)
        rc = delete_ids(st, ids, count, deleted, err);
    arena_release(&arena);
    return delete_end(st, rc, *deleted, err);
}

/* ---- series without points ---- */

struct sweep_gap {
    uint32_t first, end;
};

/* What one round has found. */
struct sweep_round {
    struct storage *st;
    int64_t now_s;
    uint32_t *candidate;
    size_t candidates;
    struct sweep_gap gap[SWEEP_GAPS];
    size_t gaps;
};

static bool sweep_in_windows(const struct policy *policy, uint32_t id)
{
    for (uint32_t k = 0; k < policy->retention.count; k++) {
        const struct tier_view *view = tier_view(&policy->tier[k]);
        for (uint32_t i = 0; i < view->windows; i++)
            if (window_row(view->window[i], id) != UINT32_MAX)
                return true;
    }
    return false;
}

/* Newest segments first: most series are there. Where one cannot be read, the series may be in it. */
static bool sweep_in_segments(const struct policy *policy, uint32_t id)
{
    struct err why;

    for (uint32_t k = 0; k < policy->retention.count; k++) {
        const struct tier_view *view = tier_view(&policy->tier[k]);
        for (uint32_t i = view->segments; i-- > 0;)
            if (segment_has(view->segment[i].segment, id, &why) != 0)
                return true;
    }
    return false;
}

static const struct policy *sweep_policy(const struct storage *st, const struct series *s)
{
    return st->policies.policy[st->policies.rule[s->rule].policy];
}

static bool sweep_is_empty(const struct sweep_round *round, uint32_t id)
{
    const struct series *s = series_get(&round->st->series, id);
    const struct policy *policy = sweep_policy(round->st, s);
    int64_t retention_s = policy->retention.tiers[policy->retention.count - 1].retention_s;
    int64_t age_s = round->now_s - (int64_t)s->created_s;

    return age_s >= (retention_s < SWEEP_AGE_S ? retention_s : SWEEP_AGE_S) && !sweep_in_windows(policy, id) &&
           !sweep_in_segments(policy, id);
}

/* ID is absent: it belongs to the last gap, or begins one. */
static void sweep_gap(struct sweep_round *round, uint32_t id)
{
    struct sweep_gap *last = round->gaps == 0 ? NULL : &round->gap[round->gaps - 1];

    if (last != NULL && last->end == id)
        last->end++;
    else if (last != NULL && last->end - last->first < SWEEP_GAP_MIN)
        *last = (struct sweep_gap){id, id + 1}; /* that one was too small */
    else if (round->gaps < SWEEP_GAPS)
        round->gap[round->gaps++] = (struct sweep_gap){id, id + 1};
}

/* Look at ids from where the last round stopped. */
static void sweep_look(struct sweep_round *round)
{
    struct storage *st = round->st;
    uint32_t ids = __atomic_load_n(&st->series.ids, __ATOMIC_ACQUIRE), id = st->sweep.next;
    int64_t began_ns = clock_mono_ns();

    for (; id < ids && round->candidates < SWEEP_CANDIDATES; id++) {
        if (id % SWEEP_IDS == 0 && !st->options.manual &&
            (clock_mono_ns() - began_ns > SWEEP_NS || storage_is_stopping(st)))
            break;
        if (!series_has_name(&st->series, id)) {
            if (st->sweep.gaps)
                sweep_gap(round, id);
        } else if (sweep_is_empty(round, id)) {
            round->candidate[round->candidates++] = id;
        }
    }
    st->sweep.next = id;
}

/* Step 1. */
static void sweep_mark(struct sweep_round *round)
{
    struct series_table *t = &round->st->series;

    for (size_t at = 0; at < round->candidates; at += DELETE_AT_ONCE) {
        pthread_mutex_lock(&t->lock);
        for (size_t i = at; i < round->candidates && i < at + DELETE_AT_ONCE; i++)
            series_leave(t, round->candidate[i]);
        pthread_mutex_unlock(&t->lock);
    }
}

/* Step 3. */
static int sweep_delete(struct sweep_round *round, struct err *err)
{
    struct storage *st = round->st;
    int rc = 0;

    for (size_t at = 0; at < round->candidates; at += DELETE_AT_ONCE) {
        pthread_mutex_lock(&st->series.lock);
        for (size_t i = at; i < round->candidates && i < at + DELETE_AT_ONCE; i++) {
            uint32_t id = round->candidate[i];
            const struct series *s = series_get(&st->series, id);
            if (series_state(s) != SERIES_LEAVING)
                continue;
            if (rc == 0 && !sweep_in_windows(sweep_policy(st, s), id))
                rc = delete_series(st, id, err);
            series_keep(&st->series, id);
        }
        pthread_mutex_unlock(&st->series.lock);
    }
    return rc;
}

static int sweep_round(struct sweep_round *round, struct err *err)
{
    struct storage *st = round->st;
    uint64_t before = __atomic_load_n(&st->series_deleted, __ATOMIC_RELAXED);

    round->candidates = round->gaps = 0;
    sweep_look(round);
    if (round->candidates == 0 && round->gaps == 0)
        return 0;
    sweep_mark(round);
    grace_wait();
    int rc = sweep_delete(round, err);
    for (size_t i = 0; i < round->gaps; i++) {
        series_forget(&st->series, round->gap[i].first, round->gap[i].end);
        st->sweep.forgotten += round->gap[i].end - round->gap[i].first;
    }
    uint64_t gone = __atomic_load_n(&st->series_deleted, __ATOMIC_RELAXED) - before;
    if (gone > 0)
        log_info("storage", "series without any point left are gone", LOG_INT("series", gone));
    return rc;
}

/* Whether a sweep goes on or begins at NOW_S. */
static bool sweep_is_due(struct storage *st, int64_t now_s)
{
    struct sweep *sweep = &st->sweep;
    uint64_t expired = __atomic_load_n(&st->expired_segments, __ATOMIC_RELAXED);
    uint64_t deleted = __atomic_load_n(&st->series_deleted, __ATOMIC_RELAXED);

    if (sweep->next != 0)
        return true;
    if (expired == sweep->expired && now_s >= sweep->begun_s && now_s - sweep->begun_s < SWEEP_PAUSE_S)
        return false;
    sweep->gaps = deleted != sweep->deleted || sweep->begun_s == 0;
    sweep->forgotten = 0;
    sweep->begun_s = now_s;
    sweep->expired = expired;
    sweep->deleted = deleted;
    return true;
}

int storage_sweep(struct storage *st, int64_t now_s, struct err *err)
{
    struct sweep_round round = {.st = st, .now_s = now_s};
    int rc = 0;

    if (!st->options.expire_series || !sweep_is_due(st, now_s))
        return 0;
    round.candidate = malloc(SWEEP_CANDIDATES * sizeof round.candidate[0]);
    if (round.candidate == NULL)
        return err_set(err, ERR_MEMORY, "looking for series without points");
    do {
        rc = sweep_round(&round, err);
    } while (rc == 0 && st->options.manual && st->sweep.next < __atomic_load_n(&st->series.ids, __ATOMIC_RELAXED));
    if (rc < 0 || st->sweep.next >= __atomic_load_n(&st->series.ids, __ATOMIC_RELAXED)) {
        st->sweep.next = 0;
        if (st->sweep.gaps)
            __atomic_store_n(&st->series.forgotten, st->sweep.forgotten, __ATOMIC_RELAXED);
    }
    free(round.candidate);
    return rc;
}
