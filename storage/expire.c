/* Expiry: a segment whose newest slot is past its retention goes as a whole. The manifest says so first;
 * then the view, a grace period, the file. */
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
                                     .generation = live.generation};
    char path[4096];

    snprintf(path, sizeof path, "%s", segment_path(live.segment));
    pthread_mutex_lock(&st->structure);
    int rc = manifest_append(st->manifest, record, err);
    if (rc == 0)
        rc = tier_remove_segment(tier, live.generation, err);
    pthread_mutex_unlock(&st->structure);
    if (rc < 0)
        return rc;
    grace_wait();
    segment_close(live.segment);
    __atomic_fetch_add(&st->expired_segments, 1, __ATOMIC_RELAXED);
    log_debug("storage", "segment expired", LOG_STR("file", path));
    return file_unlink(path, err);
}

/* Drop one expired segment of TIER: 1 when there was one. */
static int expire_one(struct storage *st, struct tier *tier, int64_t now_s, struct err *err)
{
    /* Only this thread takes segments away (the maintenance lock), so the view's content stays. */
    pthread_mutex_lock(&st->structure);
    const struct tier_view *view = tier_view(tier);
    struct live_segment found = {0};
    for (uint32_t i = 0; i < view->segments && found.segment == NULL; i++)
        if (view->segment[i].end_s <= now_s - tier->shape.retention_s)
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

    (void)policy;
    do {
        rc = expire_one(walk->st, tier, walk->now_s, walk->err);
    } while (rc > 0);
    return rc;
}

int storage_expire(struct storage *st, int64_t now_s, struct err *err)
{
    struct expire_walk walk = {st, now_s, err};

    return policies_each_tier(&st->policies, expire_tier, &walk);
}
