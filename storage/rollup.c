/* Rolling up: the slots of a coarse tier from those of the next finer one (bucket.h has the arithmetic).
 *
 * A coarse tier has a mark, rolled_until_s. Slots from there on are derived whenever they are read
 * (series_read.h), so nothing needs to be kept for them. When a window of the coarse tier has passed, and
 * the finer tier's windows over it are sealed, its slots are derived once for all series and written as
 * a segment; the mark moves on with the same manifest record.
 *
 * Late points, in finer windows before the mark, are derived at reading for as long as their window is
 * open. When it is sealed, exactly the coarse slots that it touches are derived anew and stored into the
 * coarse tier's own window, which becomes a patch segment in its time, and reaches the tier after
 * that in the same way.
 *
 * Points too old for the finer tier are stored into the coarse one itself, where they win over what was
 * derived. So that nothing is derived over them later, their slot is settled first: finer windows over
 * it are sealed, and the mark is moved past it. */
#include "storage/internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "storage/segment_write.h"

#include <math.h>
#include <stdlib.h>

/* ---- late points ---- */

/* The coarse slots [begin_s, begin_s + count * step_s) that a window touches. */
struct roll_target {
    struct tier *tier;
    int64_t begin_s;
    size_t count;
    bool *touched;
    double *values;
};

/* Mark the coarse slots in which series ID has points in W. */
static void roll_mark_touched(const struct roll_target *to, const struct window *w, uint32_t id)
{
    uint32_t row = window_row(w, id);
    const struct grid *g = window_grid(w, row);

    memset(to->touched, 0, to->count * sizeof to->touched[0]);
    for (uint32_t s = 0; s < w->slots; s++) {
        int64_t at = (w->start_s + (int64_t)s * w->step_s - to->begin_s) / to->tier->shape.step_s;
        if ((size_t)at < to->count && !isnan(grid_load(g, s, row)))
            to->touched[at] = true;
    }
}

static int roll_store(struct storage *st, const struct roll_target *to, uint32_t id, size_t at, struct err *err)
{
    int64_t t_s = to->begin_s + (int64_t)at * to->tier->shape.step_s;
    struct window *w;
    uint32_t row;
    int rc = storage_window_for(st, to->tier, t_s, clock_now_s(), WINDOW_AT_ANY_RATE, &w, err);

    if (rc == 0)
        rc = window_row_for(w, id, STORAGE_OWN_WRITER, &row, err);
    if (rc == 0)
        grid_store(window_grid(w, row), (uint32_t)((t_s - w->start_s) / w->step_s), row, to->values[at]);
    return rc;
}

static int roll_late_series(struct storage *st, const struct roll_target *to, const struct window *w, uint32_t id,
                            struct err *err)
{
    struct series_reader reader = storage_reader(st, id);
    int rc = 0;

    roll_mark_touched(to, w, id);
    for (size_t i = 0; i < to->count; i++)
        to->values[i] = NAN;
    series_derive(&reader, to->tier->number, to->begin_s, to->count, to->values);
    for (size_t i = 0; rc == 0 && i < to->count; i++)
        if (to->touched[i] && !isnan(to->values[i]))
            rc = roll_store(st, to, id, i, err);
    return rc;
}

int storage_roll_late(struct storage *st, const struct tier *tier, const struct window *w, struct err *err)
{
    const struct policy *policy = st->policies.policy[tier->policy];
    struct roll_target to = {0};
    struct window_pair *pairs = NULL;
    size_t count = 0;

    if (tier->number + 1u >= policy->retention.count)
        return 0;
    to.tier = &st->policies.policy[tier->policy]->tier[tier->number + 1];
    int64_t step_s = to.tier->shape.step_s, rolled_s = tier_view(to.tier)->rolled_until_s;
    int64_t end_s = w->end_s < rolled_s ? w->end_s : rolled_s;
    to.begin_s = w->start_s - w->start_s % step_s;
    if (to.begin_s >= end_s)
        return 0;
    to.count = (size_t)((end_s - to.begin_s + step_s - 1) / step_s);
    to.touched = calloc(to.count, sizeof to.touched[0]);
    to.values = calloc(to.count, sizeof to.values[0]);
    int rc = to.touched == NULL || to.values == NULL ? err_set(err, ERR_MEMORY, "rolling up") : 0;
    if (rc == 0)
        rc = window_pairs(w, &pairs, &count, err);
    for (size_t i = 0; rc == 0 && i < count; i++)
        if (series_has_name(&st->series, pairs[i].id))
            rc = roll_late_series(st, &to, w, pairs[i].id, err);
    free(pairs);
    free(to.touched);
    free(to.values);
    return rc < 0 ? rc : count > 0;
}

/* ---- windows that have passed ---- */

/* Whether the finer tiers of K hold anything in [begin_s, end_s), and whether some of it is still open. */
struct roll_state {
    bool any;
    bool open;
};

static struct roll_state roll_state(const struct policy *policy, unsigned k, int64_t begin_s, int64_t end_s)
{
    struct roll_state state = {0};

    for (unsigned finer = 0; finer < k; finer++) {
        const struct tier_view *view = tier_view(&policy->tier[finer]);
        for (uint32_t i = 0; i < view->windows; i++)
            if (view->window[i]->start_s < end_s && begin_s < view->window[i]->end_s)
                state.open = true;
        for (uint32_t i = 0; i < view->segments && !state.any; i++)
            if (view->segment[i].start_s < end_s && begin_s < view->segment[i].end_s)
                state.any = true;
    }
    state.any |= state.open;
    return state;
}

static int roll_rows(struct storage *st, const struct policy *policy, const struct tier *tier, int64_t begin_s,
                     struct segment_writer *writer, struct err *err)
{
    uint32_t slots = tier->shape.window_slots, ids = __atomic_load_n(&st->series.ids, __ATOMIC_ACQUIRE);
    double *values = malloc(slots * sizeof values[0]);
    int rc = values == NULL ? err_set(err, ERR_MEMORY, "rolling up") : 0;

    for (uint32_t id = 0; rc == 0 && id < ids; id++) {
        if (!series_has_name(&st->series, id))
            continue;
        struct series_reader reader = storage_reader(st, id);
        if (reader.policy != policy)
            continue;
        for (uint32_t i = 0; i < slots; i++)
            values[i] = NAN;
        series_derive(&reader, tier->number, begin_s, slots, values);
        rc = segment_writer_add(writer, id, values, err);
    }
    free(values);
    return rc;
}

/* The manifest says that TIER is rolled up to the end of the window at BEGIN_S, then the view does. */
static int roll_publish(struct storage *st, struct tier *tier, int64_t begin_s, struct live_segment *live,
                        struct err *err)
{
    struct manifest_record record = {.type = MANIFEST_ROLL,
                                     .tier = tier->number,
                                     .policy = tier->policy,
                                     .slots = tier->shape.window_slots,
                                     .start_s = begin_s,
                                     .number = live == NULL ? 0 : live->number};

    pthread_mutex_lock(&st->structure);
    int rc = manifest_append(st->manifest, &record, 1, err);
    if (rc == 0)
        rc = tier_set_rolled(tier, begin_s + tier->shape.window_s, live, err);
    pthread_mutex_unlock(&st->structure);
    return rc;
}

static int roll_window(struct storage *st, const struct policy *policy, struct tier *tier, int64_t begin_s,
                       struct err *err)
{
    struct segment_info info = {.policy = tier->policy,
                                .tier = tier->number,
                                .columns = 1,
                                .step_s = (uint32_t)tier->shape.step_s,
                                .slots = tier->shape.window_slots,
                                .start_s = begin_s};
    struct live_segment live = {.start_s = begin_s, .end_s = begin_s + tier->shape.window_s, .made_s = clock_now_s()};
    struct segment_writer *writer = NULL;
    char path[4096];

    pthread_mutex_lock(&st->structure);
    info.generation = live.generation = live.number = st->generation_next++;
    pthread_mutex_unlock(&st->structure);
    tier_segment_path(tier, begin_s, live.number, path, sizeof path);
    int rc = segment_writer_new(path, &info, &writer, err);
    if (rc == 0)
        rc = roll_rows(st, policy, tier, begin_s, writer, err);
    uint32_t rows = rc == 0 ? segment_writer_rows(writer) : 0;
    if (rows > 0)
        rc = segment_writer_commit(writer, err);
    segment_writer_free(writer);
    if (rc == 0 && rows > 0)
        rc = segment_open(path, &live.segment, err);
    if (rc == 0)
        rc = series_log_sync(st->log, err); /* no segment outlives the names of its rows */
    if (rc == 0)
        rc = roll_publish(st, tier, begin_s, rows > 0 ? &live : NULL, err);
    if (rc < 0) {
        segment_close(live.segment);
        err_context(err, "rolling up the window at %lld of %s", (long long)begin_s, tier->dir);
        return rc;
    }
    log_debug("storage", "window rolled up", LOG_STR("tier", tier->dir), LOG_INT("start", begin_s),
              LOG_INT("rows", rows));
    return 0;
}

/* Whether the window of tier K at BEGIN_S has passed for good at NOW_S. */
static bool roll_is_due(const struct storage *st, const struct policy *policy, unsigned k, int64_t begin_s,
                        int64_t now_s)
{
    int64_t end_s = begin_s + policy->tier[k].shape.window_s, grace_s = st->options.seal_grace_s;

    if (now_s < end_s + grace_s || (k > 1 && tier_view(&policy->tier[k - 1])->rolled_until_s < end_s))
        return false;
    return !roll_state(policy, k, begin_s, end_s).open || now_s >= end_s + 10 * grace_s;
}

/* Roll up what is due of tier K at NOW_S, and in any case what lies before UNTIL_S; spans without any data
 * are passed over in one step. */
static int roll_tier(struct storage *st, struct policy *policy, unsigned k, int64_t now_s, int64_t until_s,
                     struct err *err)
{
    struct tier *tier = &policy->tier[k];
    int64_t begin_s = tier_view(tier)->rolled_until_s, span_s = tier->shape.window_s;
    bool passed_over = false;
    int rc = 0;

    while (rc == 0 && (begin_s < until_s || roll_is_due(st, policy, k, begin_s, now_s))) {
        passed_over = !roll_state(policy, k, begin_s, begin_s + span_s).any;
        if (!passed_over)
            rc = roll_window(st, policy, tier, begin_s, err);
        begin_s += span_s;
    }
    if (rc == 0 && passed_over)
        rc = roll_publish(st, tier, begin_s - span_s, NULL, err);
    return rc;
}

int storage_roll_due(struct storage *st, int64_t now_s, struct err *err)
{
    uint32_t count = __atomic_load_n(&st->policies.count, __ATOMIC_ACQUIRE);
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < count; i++)
        for (unsigned k = 1; rc == 0 && k < st->policies.policy[i]->retention.count; k++)
            rc = roll_tier(st, st->policies.policy[i], k, now_s, INT64_MIN, err);
    return rc;
}

/* ---- slots that are stored into directly ---- */

bool storage_is_settled(const struct policy *policy, unsigned k, int64_t t_s, int64_t *from_s, int64_t *to_s)
{
    int64_t step_s = policy->tier[k].shape.step_s, slot_s = t_s - t_s % step_s;
    int64_t rolled_s = tier_view(&policy->tier[k])->rolled_until_s;

    if (slot_s >= rolled_s)
        return false;
    *to_s = *to_s < rolled_s ? *to_s : rolled_s;
    for (unsigned finer = 0; finer < k; finer++) {
        const struct tier_view *view = tier_view(&policy->tier[finer]);
        for (uint32_t i = 0; i < view->windows; i++) {
            int64_t begin_s = view->window[i]->start_s - view->window[i]->start_s % step_s;
            int64_t end_s = view->window[i]->end_s + step_s - 1;
            end_s -= end_s % step_s;
            if (begin_s <= slot_s && slot_s < end_s)
                return false;
            if (begin_s > slot_s && begin_s < *to_s)
                *to_s = begin_s;
            if (end_s <= slot_s && end_s > *from_s)
                *from_s = end_s;
        }
    }
    return true;
}

/* Seal the windows of TIER that overlap [begin_s, end_s). */
static int settle_seal(struct storage *st, struct tier *tier, int64_t begin_s, int64_t end_s, struct err *err)
{
    const struct tier_view *view = tier_view(tier);
    int rc = 0;

    for (uint32_t i = 0; rc >= 0 && i < view->windows; i++)
        if (view->window[i]->start_s < end_s && begin_s < view->window[i]->end_s)
            rc = storage_seal_window(st, tier, view->window[i], err);
    return rc < 0 ? rc : 0;
}

int storage_settle(struct storage *st, struct policy *policy, unsigned k, int64_t t_s, struct err *err)
{
    int64_t step_s = policy->tier[k].shape.step_s, slot_s = t_s - t_s % step_s;
    int64_t until_s[RETENTION_TIERS_MAX];
    int rc = 0;

    pthread_mutex_lock(&st->maintenance);
    for (unsigned finer = 0; rc == 0 && finer < k; finer++)
        rc = settle_seal(st, &policy->tier[finer], slot_s, slot_s + step_s, err);
    /* A tier can be rolled up only as far as the finer ones are: the marks are set from coarse to fine. */
    for (unsigned i = k; i >= 1; i--) {
        int64_t wanted_s = i == k ? slot_s + step_s : until_s[i + 1],
                mark_s = tier_view(&policy->tier[i])->rolled_until_s;
        int64_t span_s = policy->tier[i].shape.window_s;
        until_s[i] = wanted_s <= mark_s ? mark_s : mark_s + (wanted_s - mark_s + span_s - 1) / span_s * span_s;
    }
    for (unsigned i = 1; rc == 0 && i <= k; i++)
        rc = roll_tier(st, policy, i, INT64_MIN / 2, until_s[i], err);
    pthread_mutex_unlock(&st->maintenance);
    return rc;
}
