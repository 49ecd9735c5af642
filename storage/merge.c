/* Merging: the small segments of a span become one.
 *
 * Time is cut into *groups* of several windows, aligned to multiples of the group's span. When all
 * windows of a group have passed and are sealed, its segments (windows, and patches of late points) are
 * merged into one, in which the newest generation of each slot has won. Later patches are folded in when
 * a few have gathered, or have been left alone for a while. So a tier has one file for each group and
 * those of the group that is not yet over: at most about MERGE_FILES (plus patches).
 *
 * The merged segment takes the largest generation of its inputs, not a new one: a window that is still
 * open over the span is newer than they are and must stay so. One change of the manifest names the new
 * file and drops the old ones.
 *
 * A merge runs beside everything else: inputs are immutable and are only taken away under merge_lock, by
 * this file and by expiry. An input with a damaged part is left alone, so that nothing is lost that a
 * backup might mend. */
#include "storage/internal.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/grace.h"
#include "base/log.h"
#include "storage/chunk.h"
#include "storage/segment_write.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    MERGE_FILES = 64,        /* that a tier shall have */
    MERGE_SLOTS = 1440,      /* of a group, where the retention allows: longer chunks gain little */
    MERGE_INPUTS_MAX = 250,  /* of one merge; a manifest change holds no more */
    MERGE_PATCHES = 4,       /* files of a passed group that are merged at once... */
    MERGE_QUIET_S = 600,     /* ...and how long fewer of them are left to gather */
    MERGE_PAUSE_ROWS = 4096, /* between two pauses of a merge in the background */
};

uint32_t merge_group_slots(const struct retention_tier *tier)
{
    int64_t slots = tier->slots / MERGE_FILES > MERGE_SLOTS ? tier->slots / MERGE_FILES : MERGE_SLOTS;

    slots = slots > tier->slots / 4 ? tier->slots / 4 : slots;
    slots = slots > CHUNK_SLOTS_MAX ? CHUNK_SLOTS_MAX : slots;
    slots -= slots % tier->window_slots;
    return slots < tier->window_slots ? tier->window_slots : (uint32_t)slots;
}

/* ---- one merge ---- */

/* An input and its row that comes next. */
struct merge_input {
    struct live_segment live;
    struct segment_cursor cursor;
    struct segment_row row;
    bool done;
};

struct merge {
    struct storage *st;
    struct tier *tier;
    int64_t begin_s;
    uint32_t slots;
    struct merge_input input[MERGE_INPUTS_MAX]; /* oldest generation first */
    size_t count;
    bool gently; /* pause now and then */
};

static int merge_advance(struct merge_input *in, struct err *err)
{
    int rc = segment_cursor_next(&in->cursor, &in->row, err);

    in->done = rc == 0;
    return rc < 0 ? rc : 0;
}

/* The smallest id that any input has next; false when all are done. */
static bool merge_next_id(const struct merge *m, uint32_t *id)
{
    bool any = false;

    for (size_t i = 0; i < m->count; i++)
        if (!m->input[i].done && (!any || m->input[i].row.id < *id)) {
            *id = m->input[i].row.id;
            any = true;
        }
    return any;
}

/* Lay the rows of series ID over VALUES, oldest generation first. */
static int merge_row(struct merge *m, uint32_t id, double *values, struct err *err)
{
    for (uint32_t s = 0; s < m->slots; s++)
        values[s] = NAN;
    for (size_t i = 0; i < m->count; i++) {
        struct merge_input *in = &m->input[i];
        if (in->done || in->row.id != id)
            continue;
        const struct segment_info *info = segment_info(in->live.segment);
        size_t at = (size_t)((info->start_s - m->begin_s) / info->step_s);
        int rc = segment_decode(in->live.segment, &in->row, 0, values + at, err);
        if (rc >= 0)
            rc = merge_advance(in, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Half of the time belongs to others. */
static void merge_pause(int64_t worked_ns)
{
    struct timespec pause = {.tv_sec = worked_ns / 1000000000, .tv_nsec = worked_ns % 1000000000};

    nanosleep(&pause, NULL);
}

static int merge_rows(struct merge *m, struct segment_writer *writer, struct err *err)
{
    double *values = malloc(m->slots * sizeof values[0]);
    int rc = values == NULL ? err_set(err, ERR_MEMORY, "merging") : 0;
    int64_t began_ns = clock_mono_ns();
    uint32_t id = 0;

    for (size_t i = 0; rc == 0 && i < m->count; i++) {
        m->input[i].cursor = segment_cursor(m->input[i].live.segment);
        rc = merge_advance(&m->input[i], err);
    }
    for (uint32_t n = 1; rc == 0 && merge_next_id(m, &id); n++) {
        rc = merge_row(m, id, values, err);
        if (rc == 0 && series_has_name(&m->st->series, id)) /* rows of the dead stay behind */
            rc = segment_writer_add(writer, id, values, err);
        if (m->gently && n % MERGE_PAUSE_ROWS == 0) {
            merge_pause(clock_mono_ns() - began_ns);
            began_ns = clock_mono_ns();
            if (storage_is_stopping(m->st))
                rc = err_set(err, ERR_CANCELLED, "the store is being closed");
        }
    }
    free(values);
    return rc;
}

static int merge_publish(struct merge *m, struct live_segment *merged, struct err *err)
{
    struct manifest_record records[MERGE_INPUTS_MAX + 1];
    uint64_t numbers[MERGE_INPUTS_MAX];
    size_t first = merged->segment == NULL ? 1 : 0; /* nothing was left: only drops */

    records[0] = (struct manifest_record){.type = MANIFEST_MERGE,
                                          .tier = m->tier->number,
                                          .policy = m->tier->policy,
                                          .slots = m->slots,
                                          .start_s = m->begin_s,
                                          .number = merged->number};
    for (size_t i = 0; i < m->count; i++) {
        records[i + 1] = records[0];
        records[i + 1].type = MANIFEST_DROP;
        records[i + 1].number = numbers[i] = m->input[i].live.number;
    }
    pthread_mutex_lock(&m->st->structure);
    int rc = manifest_append(m->st->manifest, records + first, m->count + 1 - first, err);
    if (rc == 0)
        rc = tier_merge_segments(m->tier, merged, numbers, m->count, err);
    pthread_mutex_unlock(&m->st->structure);
    return rc;
}

/* The inputs are in no view any more: close and remove them once nobody reads them. */
static void merge_remove_inputs(struct merge *m)
{
    char path[4096];
    struct err why;

    grace_wait();
    pthread_mutex_lock(&m->st->maintenance); /* whoever holds it may read segments without being counted */
    for (size_t i = 0; i < m->count; i++) {
        snprintf(path, sizeof path, "%s", segment_path(m->input[i].live.segment));
        segment_close(m->input[i].live.segment);
        if (file_unlink(path, &why) < 0)
            log_warn("storage", "a merged segment's file stays until the next start", LOG_ERR(&why));
    }
    pthread_mutex_unlock(&m->st->maintenance);
}

static int merge_write(struct merge *m, struct live_segment *merged, struct err *err)
{
    struct segment_info info = {.policy = m->tier->policy,
                                .tier = m->tier->number,
                                .columns = 1,
                                .step_s = (uint32_t)m->tier->shape.step_s,
                                .slots = m->slots,
                                .start_s = m->begin_s,
                                .generation = merged->generation};
    struct segment_writer *writer = NULL;
    char path[4096];

    tier_segment_path(m->tier, m->begin_s, merged->number, path, sizeof path);
    int rc = segment_writer_new(path, &info, &writer, err);
    if (rc == 0)
        rc = merge_rows(m, writer, err);
    bool empty = rc == 0 && segment_writer_rows(writer) == 0;
    if (rc == 0 && !empty)
        rc = segment_writer_commit(writer, err);
    segment_writer_free(writer);
    return rc == 0 && !empty ? segment_open(path, &merged->segment, err) : rc;
}

static int merge_run(struct merge *m, struct err *err)
{
    struct live_segment merged = {.start_s = m->begin_s,
                                  .end_s = m->begin_s + (int64_t)m->slots * m->tier->shape.step_s,
                                  .generation = m->input[m->count - 1].live.generation};
    int64_t began_ns = clock_mono_ns();

    pthread_mutex_lock(&m->st->structure);
    merged.number = m->st->generation_next++;
    pthread_mutex_unlock(&m->st->structure);
    int rc = merge_write(m, &merged, err);
    if (rc == 0)
        rc = series_log_sync(m->st->log, err); /* rows that were left out do not come back */
    if (rc == 0)
        rc = merge_publish(m, &merged, err);
    if (rc < 0) {
        segment_close(merged.segment);
        err_context(err, "merging %zu segments at %lld of %s", m->count, (long long)m->begin_s, m->tier->dir);
        return rc;
    }
    merge_remove_inputs(m);
    __atomic_fetch_add(&m->st->merges, 1, __ATOMIC_RELAXED);
    log_debug("storage", "segments merged", LOG_STR("tier", m->tier->dir), LOG_INT("start", m->begin_s),
              LOG_INT("inputs", m->count),
              LOG_INT("bytes", merged.segment == NULL ? 0 : segment_info(merged.segment)->bytes),
              LOG_FLOAT("ms", (double)(clock_mono_ns() - began_ns) / 1e6));
    return 0;
}

/* ---- which ones ---- */

static bool merge_overlaps(int64_t begin_s, int64_t end_s, int64_t other_begin_s, int64_t other_end_s)
{
    return begin_s < other_end_s && other_begin_s < end_s;
}

/* Put the segments of the group at M->begin_s into M. False when the group cannot be merged now: a
 * window over it is open, a segment reaches beyond it, or one is known to be damaged. */
static bool merge_collect(struct merge *m, const struct tier_view *view)
{
    int64_t end_s = m->begin_s + (int64_t)m->slots * m->tier->shape.step_s;

    m->count = 0;
    for (uint32_t i = 0; i < view->windows; i++)
        if (merge_overlaps(m->begin_s, end_s, view->window[i]->start_s, view->window[i]->end_s))
            return false;
    for (uint32_t i = 0; i < view->segments; i++) {
        const struct live_segment *live = &view->segment[i];
        if (!merge_overlaps(m->begin_s, end_s, live->start_s, live->end_s))
            continue;
        if (live->start_s < m->begin_s || live->end_s > end_s || live->unmergeable)
            return false;
        if (m->count < MERGE_INPUTS_MAX) /* the oldest ones; the next round takes the result and the rest */
            m->input[m->count++] = (struct merge_input){.live = *live};
    }
    return true;
}

/* Whether the group in M is worth merging at NOW_S. */
static bool merge_is_due(const struct storage *st, const struct merge *m, int64_t now_s)
{
    int64_t newest_s = 0;

    if (m->count < 2 || now_s < m->begin_s + (int64_t)m->slots * m->tier->shape.step_s + st->options.seal_grace_s)
        return false;
    for (size_t i = 0; i < m->count; i++)
        newest_s = m->input[i].live.made_s > newest_s ? m->input[i].live.made_s : newest_s;
    return m->count >= MERGE_PATCHES || now_s - newest_s >= MERGE_QUIET_S;
}

/* Fill M with the first group of its tier that is to be merged: due at NOW_S, or any that has two segments
 * when NOW_S is INT64_MAX. */
static bool merge_choose(struct merge *m, int64_t now_s)
{
    bool found = false;

    pthread_mutex_lock(&m->st->structure);
    const struct tier_view *view = tier_view(m->tier);
    int64_t span_s = (int64_t)m->slots * m->tier->shape.step_s;
    for (uint32_t i = 0; i < view->segments && !found; i++) {
        m->begin_s = view->segment[i].start_s - view->segment[i].start_s % span_s;
        found = merge_collect(m, view) && (now_s == INT64_MAX ? m->count >= 2 : merge_is_due(m->st, m, now_s));
    }
    pthread_mutex_unlock(&m->st->structure);
    return found;
}

/* A merge met damage: its group is left alone until the next start. */
static void merge_give_up(struct merge *m, const struct err *why)
{
    pthread_mutex_lock(&m->st->structure);
    tier_mark_unmergeable(m->tier, m->begin_s, m->begin_s + (int64_t)m->slots * m->tier->shape.step_s);
    pthread_mutex_unlock(&m->st->structure);
    __atomic_fetch_add(&m->st->damaged_chunks, 1, __ATOMIC_RELAXED);
    log_error("storage", "segments with damage are not merged", LOG_ERR(why));
}

struct merge_walk {
    struct merge merge;
    int64_t now_s;
    struct err *err;
};

static int merge_tier(void *ctx, struct policy *policy, struct tier *tier)
{
    struct merge_walk *walk = ctx;
    struct merge *m = &walk->merge;
    int rc = 0;

    (void)policy;
    m->tier = tier;
    m->slots = merge_group_slots(&tier->shape);
    while (rc == 0 && !storage_is_stopping(m->st) && merge_choose(m, walk->now_s)) {
        rc = merge_run(m, walk->err);
        if (rc == ERR_CORRUPT) {
            merge_give_up(m, walk->err);
            rc = 0;
        }
    }
    return rc;
}

/* One round over all tiers. */
static int merge_all_tiers(struct storage *st, int64_t now_s, bool gently, struct err *err)
{
    struct merge_walk *walk = calloc(1, sizeof *walk);

    if (walk == NULL)
        return err_set(err, ERR_MEMORY, "merging");
    walk->merge.st = st;
    walk->merge.gently = gently;
    walk->now_s = now_s;
    walk->err = err;
    pthread_mutex_lock(&st->merge_lock);
    int rc = policies_each_tier(&st->policies, merge_tier, walk);
    pthread_mutex_unlock(&st->merge_lock);
    free(walk);
    return rc == ERR_CANCELLED ? 0 : rc;
}

int storage_merge_due(struct storage *st, int64_t now_s, struct err *err)
{
    return merge_all_tiers(st, now_s, !st->options.manual, err);
}

int storage_merge_all(struct storage *st, struct err *err)
{
    return merge_all_tiers(st, INT64_MAX, false, err);
}
