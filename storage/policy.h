/* policy.h - which series is kept how long and rolled up how: carbon's two files, and window arithmetic.
 *
 * storage-schemas.conf gives a name its retention ("10s:6h,1m:7d"), storage-aggregation.conf the way
 * its rollups are made. Both are read as carbon reads them (python3-carbon: carbon/storage.py) with
 * whisper's checks (whisper.py: validateArchiveList): in each file the first section that matches
 * wins, in the order of the file.
 *
 *     [name]                        [name]
 *     pattern = regular expression  pattern = regular expression
 *     retentions = 10s:6h,1m:7d     xFilesFactor = 0..1
 *                                   aggregationMethod = average
 *
 * `match-all = true` may stand for a pattern (carbon 0.9 had it). A section without a pattern (also
 * the lists of carbon 0.9) or without retentions is left out with a warning, as carbon does. All else
 * that is wrong is an error which names file, section and line, and nothing is loaded: carbon goes on
 * with other sections in a few of these cases, which gives names a retention that nobody asked for. */
#ifndef PLUMBAGO_STORAGE_POLICY_H
#define PLUMBAGO_STORAGE_POLICY_H

#include "base/err.h"
#include "base/span.h"
#include "storage/storage.h"

#include <stdint.h>

/* ---- retentions ---- */

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

/* ---- rules ---- */

/* The loaded rules; immutable, so any thread may match. */
struct policy_rules;

/* Which section of which file decided; for check-retention and for logs. */
struct policy_origin {
    const char *path; /* NULL: no section matched (or no file was given), the built-in default holds */
    struct span section;
    int line; /* of the section's head */
};

/* All spans and pointers are borrowed from the rules. */
struct policy_match {
    const struct retention *retention; /* one pointer for all equal definitions of a set of rules */
    enum aggregation method;
    double x_files_factor;            /* rounded to a float, as whisper stores it: 3 of 10 points do not reach 0.3 */
    struct policy_origin schema;      /* where the retention comes from */
    struct policy_origin aggregation; /* where method and factor come from */
};

/* Read both files; either path may be NULL: then the built-in default (10s:1d,1m:30d,10m:5y; average,
 * 0.5) holds for all names. A name that no section matches gets the built-in default too. (Carbon's
 * own default for those is 60s:7d.) *out is the caller's, to be given back with policy_rules_free();
 * NULL on failure. ERR_INPUT for a mistake; ERR_MISSING or ERR_IO when a file cannot be read. */
int policy_rules_load(const char *schemas_path, const char *aggregation_path, struct policy_rules **out,
                      struct err *err);

/* The same from memory, for tests; the paths are only for messages and origins. A span without bytes
 * stands for no file. */
int policy_rules_parse(struct span schemas, const char *schemas_path, struct span aggregation,
                       const char *aggregation_path, struct policy_rules **out, struct err *err);
void policy_rules_free(struct policy_rules *rules); /* NULL is fine */

/* What holds for NAME (canonical). Always finds something. */
void policy_rules_match(const struct policy_rules *rules, struct span name, struct policy_match *out);

/* Texts on sections that were left out, "FILE:LINE: ..."; NULL for an I beyond the last. */
const char *policy_rules_warning(const struct policy_rules *rules, size_t i);

/* The built-in default retention. For ever. */
const struct retention *policy_default_retention(void);

/* policy.c also defines aggregation_name() and aggregation_parse() of storage/storage.h. */

#endif
