/* The only file of query/ that knows the store. */
#include "query/source_storage.h"

#include "query/query.h"
#include "storage/storage.h"

/* What a search that ended with RC found. */
static int take(int rc, const struct storage_matches *matches, struct arena *arena, struct source_series **out,
                size_t *count)
{
    if (rc < 0)
        return rc;
    *out = ARENA_ARRAY(arena, struct source_series, matches->count);
    *count = matches->count;
    for (size_t i = 0; i < matches->count; i++)
        (*out)[i] = (struct source_series){matches->items[i].path, matches->items[i].series};
    return 0;
}

static int find(void *ctx, struct span pattern, size_t max, struct arena *arena, struct source_series **out,
                size_t *count, struct err *err)
{
    struct storage_matches matches = {0};
    int rc = storage_find(ctx, pattern, STORAGE_FIND_LEAVES, max, arena, &matches, err);

    return take(rc, &matches, arena, out, count);
}

static bool is_over(void *control)
{
    return query_is_over(control);
}

static int find_by_tags(void *ctx, const struct span *exprs, size_t exprs_count, size_t max,
                        const struct query_control *control, struct arena *arena, struct source_series **out,
                        size_t *count, struct err *err)
{
    struct storage_matches matches = {0};
    struct storage_stop stop = {is_over, (void *)(uintptr_t)control};
    int rc = storage_find_by_tags(ctx, exprs, exprs_count, max, &stop, arena, &matches, err);

    return take(rc, &matches, arena, out, count);
}

static int fetch(void *ctx, const struct source_series *series, int64_t from_s, int64_t until_s, int64_t now_s,
                 struct arena *arena, struct source_points *out, struct err *err)
{
    struct storage_points points = {0};
    int rc = storage_fetch(ctx, series->id, from_s, until_s, now_s, arena, &points, err);

    *out = (struct source_points){points.start_s, points.step_s, points.count, points.values, points.x_files_factor};
    return rc;
}

static int events(void *ctx, int64_t from_s, int64_t until_s, const struct span *tags, size_t tags_count,
                  struct arena *arena, int64_t **out_s, size_t *count, struct err *err)
{
    struct storage_events_query query = {.from_s = from_s,
                                         .until_s = until_s - 1,
                                         .match = tags == NULL ? STORAGE_EVENTS_EVERY : STORAGE_EVENTS_ALL_TAGS,
                                         .tags = tags,
                                         .tags_count = tags_count};
    struct storage_event *found;

    (void)err;
    storage_events_find(ctx, &query, arena, &found, count);
    *out_s = ARENA_ARRAY(arena, int64_t, *count);
    for (size_t i = 0; i < *count; i++)
        (*out_s)[i] = found[i].when_s;
    return 0;
}

struct source source_storage(struct storage *st)
{
    return (struct source){.ctx = st, .find = find, .find_by_tags = find_by_tags, .fetch = fetch, .events = events};
}
