/* Expiry: a segment whose newest slot is past its retention, and rolled up, goes as a whole. The manifest says so
 * first; then the view, a grace period, the file. */
#include "storage/internal.h"

#include "base/file.h"
#include "base/grace.h"
#include "base/log.h"

#include <stdio.h>

static int expire_segment(struct storage *st, struct tier *tier, struct live_segment live, struct err *err)
{
    const struct segment_info *info = segment_info(live.segment);
    struct manifest_record record = {.type = MANIFEST_DROP,
                                     .tier = tier->number,
                                     .policy = tier->policy,
                                     .slots = info->slots,
                                     .start_s = live.start_s,
                                     .number = live.number};
    char path[4096];

    snprintf(path, sizeof path, "%s", segment_path(live.segment));
    pthread_mutex_lock(&st->structure);
    int rc = manifest_append(st->manifest, &record, 1, err);
    if (rc == 0)
        rc = tier_remove_segment(tier, live.number, err);
    pthread_mutex_unlock(&st->structure);
    if (rc < 0)
        return rc;
    grace_wait();
    segment_close(live.segment);
    __atomic_fetch_add(&st->expired_segments, 1, __ATOMIC_RELAXED);
    log_debug("storage", "segment expired", LOG_STR("file", path));
    return file_unlink(path, err);
}

/* Slots of tier K before this may go: past the retention, and rolled up into the next tier. */
static int64_t expire_before(const struct policy *policy, const struct tier *tier, int64_t now_s)
{
    int64_t before_s = now_s - tier->shape.retention_s;

    if (tier->number + 1u < policy->retention.count) {
        int64_t rolled_s = tier_view(tier + 1)->rolled_until_s;
        before_s = rolled_s < before_s ? rolled_s : before_s;
    }
    return before_s;
}

/* Whether late points lie over the segment in a window that is still open: coarser slots will be derived
 * from both when it is sealed. */
static bool expire_must_wait(const struct tier_view *view, const struct live_segment *live)
{
    for (uint32_t i = 0; i < view->windows; i++)
        if (view->window[i]->start_s < live->end_s && live->start_s < view->window[i]->end_s)
            return true;
    return false;
}

/* Drop one expired segment of TIER: 1 when there was one. */
static int expire_one(struct storage *st, const struct policy *policy, struct tier *tier, int64_t now_s,
                      struct err *err)
{
    /* The merge lock is held, so nobody else takes segments away. */
    pthread_mutex_lock(&st->structure);
    const struct tier_view *view = tier_view(tier);
    int64_t before_s = expire_before(policy, tier, now_s);
    struct live_segment found = {0};
    for (uint32_t i = 0; i < view->segments && found.segment == NULL; i++)
        if (view->segment[i].end_s <= before_s && !expire_must_wait(view, &view->segment[i]))
            found = view->segment[i];
    pthread_mutex_unlock(&st->structure);
    if (found.segment == NULL)
        return 0;
    int rc = expire_segment(st, tier, found, err);
    return rc < 0 ? rc : 1;
}

struct expire_walk {
    struct storage *st;
    int64_t now_s;
    struct err *err;
};

static int expire_tier(void *ctx, struct policy *policy, struct tier *tier)
{
    struct expire_walk *walk = ctx;
    int rc;

    do {
        rc = expire_one(walk->st, policy, tier, walk->now_s, walk->err);
    } while (rc > 0);
    return rc;
}

int storage_expire(struct storage *st, int64_t now_s, struct err *err)
{
    struct expire_walk walk = {st, now_s, err};

    if (pthread_mutex_trylock(&st->merge_lock) != 0)
        return 0; /* a merge is reading; the next round will do */
    int rc = policies_each_tier(&st->policies, expire_tier, &walk);
    pthread_mutex_unlock(&st->merge_lock);
    return rc;
}
