#include "query/fetch.h"

/* The points of one pattern's series in one range. */
struct fetched_range {
    int64_t from_s;
    int64_t until_s;
    struct source_points *points; /* one for each series */
    struct fetched_range *next;
};

struct fetched {
    struct span pattern;
    struct source_series *series;
    size_t count;
    struct fetched_range *ranges;
    struct fetched *next;
};

static struct fetched *find_known(const struct eval *ev, struct span pattern)
{
    for (struct fetched *f = ev->fetched; f != NULL; f = f->next) {
        if (span_eq(f->pattern, pattern))
            return f;
    }
    return NULL;
}

static int limit_context(struct eval *ev, int rc, struct span pattern)
{
    if (rc == ERR_LIMIT)
        err_set(ev->err, ERR_LIMIT, "\"%.*s\" matches more series than one request may fetch (%zu)",
                (int)(pattern.len < 200 ? pattern.len : 200), pattern.ptr, ev->limits->series_max);
    return rc;
}

/* Search PATTERN, or EXPRS when there are some. */
static int search(struct eval *ev, struct span pattern, const struct span *exprs, size_t exprs_count,
                  struct fetched **out)
{
    const struct source *src = ev->source;
    struct fetched *f = find_known(ev, pattern);
    int rc;

    *out = f;
    if (f != NULL)
        return 0;
    f = ARENA_NEW(ev->arena, struct fetched);
    f->pattern = pattern;
    if (exprs_count > 0)
        rc = src->find_by_tags(src->ctx, exprs, exprs_count, ev->limits->series_max, ev->arena, &f->series, &f->count,
                               ev->err);
    else
        rc = src->find(src->ctx, pattern, ev->limits->series_max, ev->arena, &f->series, &f->count, ev->err);
    if (rc < 0)
        return limit_context(ev, rc, pattern);
    f->next = ev->fetched;
    ev->fetched = f;
    *out = f;
    return 0;
}

static int fetch_one(struct eval *ev, const struct fetched *f, size_t i, struct fetched_range *range)
{
    const struct source *src = ev->source;
    int rc = eval_check(ev);

    if (rc == 0)
        rc = src->fetch(src->ctx, &f->series[i], range->from_s, range->until_s, ev->now_s, ev->arena, &range->points[i],
                        ev->err);
    if (rc < 0)
        return rc;
    ev->series_fetched++;
    ev->points_fetched += range->points[i].count;
    if (ev->series_fetched > ev->limits->series_max)
        return err_set(ev->err, ERR_LIMIT, "the request fetches more than %zu series", ev->limits->series_max);
    if (ev->points_fetched > ev->limits->points_max)
        return err_set(ev->err, ERR_LIMIT, "the request fetches more than %zu points", ev->limits->points_max);
    return 0;
}

static int fetch_range(struct eval *ev, const struct context *ctx, struct fetched *f, struct fetched_range **out)
{
    struct fetched_range *range = f->ranges;

    while (range != NULL && (range->from_s != ctx->from_s || range->until_s != ctx->until_s))
        range = range->next;
    *out = range;
    if (range != NULL)
        return 0;
    range = ARENA_NEW(ev->arena, struct fetched_range);
    range->from_s = ctx->from_s;
    range->until_s = ctx->until_s;
    range->points = ARENA_ARRAY(ev->arena, struct source_points, f->count);
    for (size_t i = 0; i < f->count; i++) {
        int rc = fetch_one(ev, f, i, range);

        if (rc < 0)
            return rc;
    }
    range->next = f->ranges;
    f->ranges = range;
    *out = range;
    return 0;
}

static int fetch_all(struct eval *ev, const struct context *ctx, struct fetched *f, struct series_list *out)
{
    struct fetched_range *range;
    int rc = fetch_range(ev, ctx, f, &range);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < f->count; i++) {
        const struct source_points *p = &range->points[i];
        struct series *s;

        if (p->count == 0)
            continue;
        s = series_new(ev->arena, f->series[i].name, p->start_s, p->start_s + (int64_t)p->count * p->step_s, p->step_s);
        s->path_expression = f->pattern;
        s->x_files_factor = ctx->x_files_factor;
        series_set_values(s, p->values, p->count);
        series_list_add(ev->arena, out, s);
    }
    return 0;
}

int fetch_path(struct eval *ev, const struct context *ctx, struct span pattern, struct series_list *out)
{
    struct fetched *f;
    int rc = search(ev, pattern, NULL, 0, &f);

    return rc < 0 ? rc : fetch_all(ev, ctx, f, out);
}

int fetch_by_tags(struct eval *ev, const struct context *ctx, struct span call, const struct span *exprs,
                  size_t exprs_count, struct series_list *out)
{
    struct fetched *f;
    int rc = search(ev, call, exprs, exprs_count, &f);

    return rc < 0 ? rc : fetch_all(ev, ctx, f, out);
}
