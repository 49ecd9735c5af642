/* Scrubbing: every group of every segment is read and checked again from time to time, so that damage is
 * known while a backup may still have what is lost.
 *
 * One round goes through all tiers, by generation. Between two groups nothing is held and nothing is remembered
 * but numbers: segments may be merged or expire meanwhile. In the background a round takes
 * options.scrub_interval_s: after each group comes a pause in proportion to its length. */
#include "storage/internal.h"

#include "base/clock.h"
#include "base/grace.h"
#include "base/log.h"

enum {
    SCRUB_PAUSE_MIN_NS = 20 * 1000 * 1000, /* shorter pauses are saved up */
    SCRUB_REPORTS = 10,                    /* lines of the log in a minute */
};

struct scrub {
    struct storage *st;
    double pause_ns_per_byte; /* 0: no pauses */
    double owed_ns;           /* pauses that are saved up */
    uint64_t generation;      /* the segment that is being checked: the first that is not before these */
    uint64_t number;
    uint32_t group; /* its next one */
    size_t damaged;
};

static void scrub_report(struct scrub *s, const struct err *err)
{
    static struct log_limit limit;
    uint64_t held_back;

    s->damaged++;
    __atomic_fetch_add(&s->st->scrub_damaged, 1, __ATOMIC_RELAXED);
    if (log_limit_pass(&limit, SCRUB_REPORTS, 60 * INT64_C(1000000000), &held_back))
        log_error("storage", "a check of the files found damage; it is left out of answers", LOG_ERR(err),
                  LOG_INT("held_back", held_back));
}

/* The segment that comes next; .group is set back when it is not the one of the last call. */
static struct segment *scrub_segment(struct scrub *s, const struct tier_view *view)
{
    for (uint32_t i = 0; i < view->segments; i++) {
        const struct live_segment *live = &view->segment[i];
        if (live->generation < s->generation || (live->generation == s->generation && live->number < s->number))
            continue;
        if (live->generation != s->generation || live->number != s->number)
            s->group = 0;
        s->generation = live->generation;
        s->number = live->number;
        if (s->group < segment_info(live->segment)->groups)
            return live->segment;
        s->number++;
        s->group = 0;
    }
    return NULL;
}

/* Check one group; its length, 0 when the tier has no more. */
static uint64_t scrub_step(struct scrub *s, const struct tier *tier)
{
    struct err err;
    uint64_t bytes = 0;
    int rc = 0;

    grace_enter();
    struct segment *segment = scrub_segment(s, tier_view(tier));
    if (segment != NULL)
        rc = segment_check_group(segment, s->group++, &bytes, &err);
    grace_leave();
    if (rc < 0)
        scrub_report(s, &err);
    __atomic_fetch_add(&s->st->scrubbed_bytes, bytes, __ATOMIC_RELAXED);
    return bytes;
}

/* What BYTES cost in pauses; true when the store is being closed. */
static bool scrub_pause(struct scrub *s, uint64_t bytes)
{
    s->owed_ns += (double)bytes * s->pause_ns_per_byte;
    if (s->owed_ns < SCRUB_PAUSE_MIN_NS)
        return storage_is_stopping(s->st);
    int64_t ms = (int64_t)(s->owed_ns / 1e6);
    s->owed_ns -= (double)ms * 1e6;
    return storage_pause(s->st, ms);
}

static int scrub_tier(void *ctx, struct policy *policy, struct tier *tier)
{
    struct scrub *s = ctx;
    uint64_t bytes;

    (void)policy;
    s->generation = s->number = 0;
    s->group = 0;
    while ((bytes = scrub_step(s, tier)) != 0)
        if (scrub_pause(s, bytes))
            return 1;
    return 0;
}

static int scrub_add_bytes(void *ctx, struct policy *policy, struct tier *tier)
{
    uint64_t *sum = ctx;

    (void)policy;
    grace_enter();
    const struct tier_view *view = tier_view(tier);
    for (uint32_t i = 0; i < view->segments; i++)
        *sum += segment_info(view->segment[i].segment)->bytes;
    grace_leave();
    return 0;
}

size_t storage_scrub(struct storage *st, int64_t duration_s)
{
    struct scrub s = {.st = st};
    uint64_t sum = 0;

    policies_each_tier(&st->policies, scrub_add_bytes, &sum);
    s.pause_ns_per_byte = sum == 0 ? 0 : (double)duration_s * 1e9 / (double)sum;
    if (policies_each_tier(&st->policies, scrub_tier, &s) == 0)
        __atomic_fetch_add(&st->scrub_rounds, 1, __ATOMIC_RELAXED);
    return s.damaged;
}
