#include "storage/tier.h"

#include "base/file.h"
#include "base/must.h"
#include "storage/deferred.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* One allocation: the view, then its two arrays. */
static struct tier_view *view_new(uint32_t windows, uint32_t segments)
{
    struct tier_view *view =
        malloc(sizeof *view + windows * sizeof view->window[0] + segments * sizeof view->segment[0]);

    if (view != NULL) {
        view->windows = windows;
        view->segments = segments;
        view->segment = (struct live_segment *)(void *)(view + 1);
        view->window = (struct window **)(void *)(view->segment + segments);
    }
    return view;
}

static int window_order(const void *a, const void *b)
{
    const struct window *x = *(struct window *const *)a, *y = *(struct window *const *)b;

    if (x->start_s != y->start_s)
        return x->start_s < y->start_s ? -1 : 1;
    return x->generation < y->generation ? -1 : x->generation > y->generation;
}

static int segment_order(const void *a, const void *b)
{
    const struct live_segment *x = a, *y = b;

    if (x->generation != y->generation)
        return x->generation < y->generation ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

/* A change of a view: what to leave out and what to add. */
struct view_change {
    const struct window *out;
    struct window *in;
    const uint64_t *segments_out; /* numbers */
    size_t segments_out_count;
    const struct live_segment *segments_in;
    size_t segments_in_count;
    int64_t rolled_until_s; /* INT64_MIN: as it was */
};

static bool view_leaves_out(const struct view_change *change, uint64_t number)
{
    for (size_t i = 0; i < change->segments_out_count; i++)
        if (change->segments_out[i] == number)
            return true;
    return false;
}

static int tier_change(struct tier *tier, const struct view_change *change, struct err *err)
{
    struct tier_view *old = tier->view;
    struct tier_view *view = view_new(old->windows + 1, old->segments + (uint32_t)change->segments_in_count);

    if (view == NULL)
        return err_set(err, ERR_MEMORY, "view of %s", tier->dir);
    view->rolled_until_s = change->rolled_until_s == INT64_MIN ? old->rolled_until_s : change->rolled_until_s;
    view->windows = view->segments = 0;
    for (uint32_t i = 0; i < old->windows; i++)
        if (old->window[i] != change->out)
            view->window[view->windows++] = old->window[i];
    for (uint32_t i = 0; i < old->segments; i++)
        if (!view_leaves_out(change, old->segment[i].number))
            view->segment[view->segments++] = old->segment[i];
    if (change->in != NULL)
        view->window[view->windows++] = change->in;
    for (size_t i = 0; i < change->segments_in_count; i++)
        view->segment[view->segments++] = change->segments_in[i];
    qsort(view->window, view->windows, sizeof view->window[0], window_order);
    qsort(view->segment, view->segments, sizeof view->segment[0], segment_order);
    __atomic_store_n(&tier->view, view, __ATOMIC_RELEASE);
    deferred_free(old);
    return 0;
}

int tier_init(struct tier *tier, const char *store_dir, uint16_t policy, uint8_t number,
              const struct retention_tier *shape, int64_t rolled_until_s, struct err *err)
{
    char dir[4096];

    snprintf(dir, sizeof dir, "%s/p%05u-t%u", store_dir, policy, number);
    *tier = (struct tier){.policy = policy, .number = number, .shape = *shape};
    tier->dir = strdup(dir);
    tier->view = view_new(0, 0);
    if (tier->dir == NULL || tier->view == NULL)
        return err_set(err, ERR_MEMORY, "%s", dir);
    tier->view->rolled_until_s = rolled_until_s;
    return file_make_dir(dir, err);
}

void tier_release(struct tier *tier)
{
    for (uint32_t i = 0; tier->view != NULL && i < tier->view->windows; i++)
        window_free(tier->view->window[i]);
    for (uint32_t i = 0; tier->view != NULL && i < tier->view->segments; i++)
        segment_close(tier->view->segment[i].segment);
    free(tier->view);
    free(tier->dir);
}

struct window *tier_view_window(const struct tier_view *view, int64_t t_s)
{
    uint32_t low = 0, high = view->windows;

    /* The last one that starts at or before T_S; older ones over the same span are closing. */
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (view->window[mid]->start_s <= t_s)
            low = mid + 1;
        else
            high = mid;
    }
    if (low == 0)
        return NULL;
    struct window *w = view->window[low - 1];
    return t_s < w->end_s && !__atomic_load_n(&w->closing, __ATOMIC_ACQUIRE) ? w : NULL;
}

bool tier_view_older(const struct tier_view *view, const struct window *w)
{
    for (uint32_t i = 0; i < view->windows; i++) {
        const struct window *other = view->window[i];
        if (other->generation < w->generation && other->start_s < w->end_s && w->start_s < other->end_s)
            return true;
    }
    return false;
}

int tier_add_window(struct tier *tier, struct window *w, struct err *err)
{
    return tier_change(tier, &(struct view_change){.rolled_until_s = INT64_MIN, .in = w}, err);
}

int tier_replace_window(struct tier *tier, const struct window *w, const struct live_segment *segment, struct err *err)
{
    return tier_change(
        tier,
        &(struct view_change){
            .rolled_until_s = INT64_MIN, .out = w, .segments_in = segment, .segments_in_count = segment != NULL},
        err);
}

int tier_add_segments(struct tier *tier, const struct live_segment *segments, size_t count, struct err *err)
{
    return tier_change(
        tier, &(struct view_change){.rolled_until_s = INT64_MIN, .segments_in = segments, .segments_in_count = count},
        err);
}

int tier_set_rolled(struct tier *tier, int64_t until_s, const struct live_segment *segment, struct err *err)
{
    return tier_change(
        tier,
        &(struct view_change){.rolled_until_s = until_s, .segments_in = segment, .segments_in_count = segment != NULL},
        err);
}

int tier_merge_segments(struct tier *tier, const struct live_segment *merged, const uint64_t *numbers, size_t count,
                        struct err *err)
{
    return tier_change(tier,
                       &(struct view_change){.rolled_until_s = INT64_MIN,
                                             .segments_out = numbers,
                                             .segments_out_count = count,
                                             .segments_in = merged,
                                             .segments_in_count = merged->segment != NULL},
                       err);
}

int tier_remove_segment(struct tier *tier, uint64_t number, struct err *err)
{
    return tier_merge_segments(tier, &(struct live_segment){0}, &number, 1, err);
}

/* In place: only merging looks at the mark, under the structure lock. */
void tier_mark_unmergeable(struct tier *tier, int64_t begin_s, int64_t end_s)
{
    for (uint32_t i = 0; i < tier->view->segments; i++)
        if (tier->view->segment[i].start_s < end_s && begin_s < tier->view->segment[i].end_s)
            tier->view->segment[i].unmergeable = true;
}

void tier_segment_path(const struct tier *tier, int64_t start_s, uint64_t number, char *to, size_t size)
{
    snprintf(to, size, "%s/s%" PRId64 "-n%" PRIu64 ".seg", tier->dir, start_s, number);
}
