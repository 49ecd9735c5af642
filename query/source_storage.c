/* The only file of query/ that knows the store.
 *
 * Tag expressions are tried on every series' name: the store has no index by tag yet, and a scan of a
 * million names takes some tens of milliseconds. */
#include "query/source_storage.h"

#include "query/tag_query.h"
#include "storage/storage.h"

#include <stdlib.h>

static int find(void *ctx, struct span pattern, size_t max, struct arena *arena, struct source_series **out,
                size_t *count, struct err *err)
{
    struct storage_matches matches = {0};
    int rc = storage_find(ctx, pattern, STORAGE_FIND_LEAVES, max, arena, &matches, err);

    if (rc < 0)
        return rc;
    *out = ARENA_ARRAY(arena, struct source_series, matches.count);
    *count = matches.count;
    for (size_t i = 0; i < matches.count; i++)
        (*out)[i] = (struct source_series){matches.items[i].path, matches.items[i].series};
    return 0;
}

struct tag_search {
    const struct tag_query *exprs;
    size_t exprs_count;
    struct arena *arena;
    struct source_series *found;
    size_t count;
    size_t cap;
    size_t max;
};

enum { SEARCH_FULL = 1 };

static int search_one(void *ctx, uint32_t series, struct span name)
{
    struct tag_search *search = ctx;

    if (!tag_query_match(search->exprs, search->exprs_count, name))
        return 0;
    if (search->count == search->max)
        return SEARCH_FULL;
    if (search->count == search->cap) {
        size_t cap = search->cap == 0 ? 64 : search->cap * 2;

        search->found = arena_grow(search->arena, search->found, search->count, cap, sizeof(*search->found));
        search->cap = cap;
    }
    search->found[search->count++] = (struct source_series){name, series};
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return span_cmp(((const struct source_series *)a)->name, ((const struct source_series *)b)->name);
}

static int find_by_tags(void *ctx, const struct span *exprs, size_t exprs_count, size_t max, struct arena *arena,
                        struct source_series **out, size_t *count, struct err *err)
{
    struct tag_search search = {.exprs_count = exprs_count, .arena = arena, .max = max == 0 ? SIZE_MAX : max};
    struct tag_query *parsed = NULL;
    int rc = tag_query_parse(exprs, exprs_count, arena, &parsed, err);

    if (rc < 0)
        return rc;
    search.exprs = parsed;
    if (storage_each(ctx, search_one, &search) == SEARCH_FULL)
        return err_set(err, ERR_LIMIT, "more than %zu series", max);
    if (search.count > 0)
        qsort(search.found, search.count, sizeof(*search.found), by_name);
    *out = search.found;
    *count = search.count;
    return 0;
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
    int rc = storage_events_find(ctx, &query, arena, &found, count, err);

    if (rc < 0)
        return rc;
    *out_s = ARENA_ARRAY(arena, int64_t, *count);
    for (size_t i = 0; i < *count; i++)
        (*out_s)[i] = found[i].when_s;
    return 0;
}

struct source source_storage(struct storage *st)
{
    return (struct source){.ctx = st, .find = find, .find_by_tags = find_by_tags, .fetch = fetch, .events = events};
}
