/* tier.h - the open windows and the segments of one tier, found without a lock.
 *
 * What a tier holds is a *view*: an immutable list that is replaced as a whole whenever a window opens,
 * is sealed, or a segment expires. Readers and writers take the current view between grace_enter() and
 * grace_leave(); the old one is freed after a grace period. Changes are made under the store's
 * structure lock.
 *
 * Who wins where several hold the same slot: the larger generation. A window gets its generation when
 * it opens, its segment inherits it, and windows over the same span are sealed in order; so reading
 * lays segments over each other by generation, then the open windows. */
#ifndef PLUMBAGO_STORAGE_TIER_H
#define PLUMBAGO_STORAGE_TIER_H

#include "storage/policy.h"
#include "storage/segment.h"
#include "storage/window.h"

struct live_segment {
    uint64_t number; /* names the file; the window's generation, or of a merged segment a number of its own */
    uint64_t generation;
    int64_t start_s;
    int64_t end_s;
    int64_t made_s;   /* when it was made; 0: before this start */
    bool unmergeable; /* a merge met damage in its group */
    struct segment *segment;
};

struct tier_view {
    int64_t rolled_until_s; /* slots before this are kept here; later ones are derived (rollup.h) */
    uint32_t windows;
    uint32_t segments;
    struct window **window;       /* by start, then generation */
    struct live_segment *segment; /* by generation, then number */
};

struct tier {
    uint16_t policy;
    uint8_t number; /* 0 is the finest */
    struct retention_tier shape;
    char *dir;
    struct tier_view *view; /* atomic pointer */
};

/* Ready TIER with an empty view that is rolled up to ROLLED_UNTIL_S; its folder is made. */
int tier_init(struct tier *tier, const char *store_dir, uint16_t policy, uint8_t number,
              const struct retention_tier *shape, int64_t rolled_until_s, struct err *err);

/* Close all windows and segments; the files stay. */
void tier_release(struct tier *tier);

static inline const struct tier_view *tier_view(const struct tier *tier)
{
    return __atomic_load_n(&tier->view, __ATOMIC_ACQUIRE);
}

/* The window that takes stores for T_S, or NULL when none is open. */
struct window *tier_view_window(const struct tier_view *view, int64_t t_s);

/* Whether an older window that overlaps W is still in VIEW: it must be sealed first. */
bool tier_view_older(const struct tier_view *view, const struct window *w);

/* Replace the view by one with W added, with W removed (and SEGMENT added when its .segment is not
 * NULL), with COUNT segments added, or with the segment of
 * NUMBER removed. The structure lock is held; W and the segment
 * themselves are the caller's to free after a grace period. ERR_MEMORY: nothing changed. */
int tier_add_window(struct tier *tier, struct window *w, struct err *err);
int tier_replace_window(struct tier *tier, const struct window *w, const struct live_segment *segment, struct err *err);
int tier_add_segments(struct tier *tier, const struct live_segment *segments, size_t count, struct err *err);
/* The tier is rolled up to UNTIL_S now, SEGMENT (or NULL when there was no point) holding the result. */
int tier_set_rolled(struct tier *tier, int64_t until_s, const struct live_segment *segment, struct err *err);
int tier_remove_segment(struct tier *tier, uint64_t number, struct err *err);

/* MERGED (or nothing, when its .segment is NULL) takes the place of the segments with the COUNT numbers. */
int tier_merge_segments(struct tier *tier, const struct live_segment *merged, const uint64_t *numbers, size_t count,
                        struct err *err);

/* Segments within [begin_s, end_s) are not to be merged. The structure lock is held. */
void tier_mark_unmergeable(struct tier *tier, int64_t begin_s, int64_t end_s);

/* The path of the segment that starts at START_S. */
void tier_segment_path(const struct tier *tier, int64_t start_s, uint64_t number, char *to, size_t size);

#endif
