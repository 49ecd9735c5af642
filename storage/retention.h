/* retention.h - a retention definition, "10s:6h,1m:7d,10m:5y": its archives (tiers) and their windows.
 *
 * Read and checked as whisper does (whisper.py: parseRetentionDef, validateArchiveList). */
#ifndef PLUMBAGO_STORAGE_RETENTION_H
#define PLUMBAGO_STORAGE_RETENTION_H

#include "base/err.h"
#include "base/span.h"

#include <stdint.h>

enum {
    RETENTION_TIERS_MAX = 16,
    RETENTION_TEXT_MAX = 512, /* bytes of a canonical text, final zero included */
    WINDOW_SLOTS_MAX = 1440,
    WINDOW_SLOTS_WANTED = 120,
};

struct retention_tier {
    int64_t step_s;
    int64_t slots;         /* points that the archive holds */
    int64_t retention_s;   /* step_s * slots */
    int64_t window_s;      /* span of this tier's windows, see below */
    uint32_t window_slots; /* window_s / step_s, 1..WINDOW_SLOTS_MAX */
};

/* A retention definition. A plain value: copy it as you like. Equal texts are equal definitions. */
struct retention {
    char text[RETENTION_TEXT_MAX];                    /* canonical: finest first, "10s:1d,1m:30d" */
    uint32_t count;                                   /* 1..RETENTION_TIERS_MAX */
    struct retention_tier tiers[RETENTION_TIERS_MAX]; /* finest first */
};

/* Windows. Tier k's span is window_slots steps long, and its windows begin at multiples of the span
 * since 1970. The span obeys these rules, which always leave at least one slot:
 *   1. a whole number of steps, from 1 to WINDOW_SLOTS_MAX;
 *   2. at most a quarter of the tier's own retention, and at most a quarter of the retention of the
 *      tier above (the finer one, from whose points it is derived), unless a single step is longer;
 *   3. it is a multiple of the next coarser tier's step when rules 1 and 2 leave room for that, else a
 *      divisor of it (1s:1d,1d:5y) unless that would make windows much shorter than they could be;
 *   4. among those, the span nearest to WINDOW_SLOTS_WANTED slots, the shorter of two equally near.
 * So nearly always a window holds whole buckets of the next tier; in the other cases a bucket spans
 * several windows. When a window of tier k closes, its oldest point is no older than the retention of
 * the tier above, plus what sealing lags: keep that tier's points for as long. */

/* Read "10s:6h,1m:7d" (also "60:1440": seconds and points), in any order: *out has it finest first.
 * Units: s, m, h, d, w, y (365 days) or a longer beginning of seconds, minutes, hours, days, weeks,
 * years. ERR_INPUT says which part is wrong and why. */
int retention_parse(struct span text, struct retention *out, struct err *err);

/* Number of the first (finest) tier that covers points of AGE_S, by whisper's rule: retention_s >=
 * AGE_S. -1: too old for all. Used for stores and for reads. */
static inline int retention_tier_of_age(const struct retention *r, int64_t age_s)
{
    for (uint32_t k = 0; k < r->count; k++) {
        if (r->tiers[k].retention_s >= age_s)
            return (int)k;
    }
    return -1;
}

/* Start of the slot, and of the window, that holds T_S (not negative). */
static inline int64_t tier_slot_start(const struct retention_tier *tier, int64_t t_s)
{
    return t_s - t_s % tier->step_s;
}

static inline int64_t tier_window_start(const struct retention_tier *tier, int64_t t_s)
{
    return t_s - t_s % tier->window_s;
}

/* The slot's number within its window. */
static inline uint32_t tier_window_slot(const struct retention_tier *tier, int64_t t_s)
{
    return (uint32_t)(t_s % tier->window_s / tier->step_s);
}

/* The built-in default retention. For ever. */
const struct retention *policy_default_retention(void);

#endif
