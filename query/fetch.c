/* A pattern is searched once in a request, and its series fetched once for each range. When a second pattern is
 * fetched in a range, what both match is not fetched again: from then on the series of that range are looked up in
 * a hash table of their ids. Of a range that only begins earlier than one that is there, only what lies before is
 * fetched. */
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

/* All that was fetched in one range. */
struct fetched_times {
    int64_t from_s;
    int64_t until_s;
    const struct fetched *first; /* the first pattern; in the table only when there is a second */
    const struct fetched_range *first_range;
    struct known_series {
        uint32_t id;
        const struct source_points *points; /* NULL: a free slot */
    } * slots;
    size_t slots_count; /* 0: no table yet */
    size_t count;
    struct fetched_times *next;
};

static struct known_series *known_slot(const struct fetched_times *t, uint32_t id)
{
    size_t at = id * UINT64_C(0x9e3779b97f4a7c15) >> 32 & (t->slots_count - 1);

    while (t->slots[at].points != NULL && t->slots[at].id != id)
        at = (at + 1) & (t->slots_count - 1);
    return &t->slots[at];
}

static void known_reserve(struct arena *arena, struct fetched_times *t, size_t more)
{
    struct fetched_times old = *t;

    if ((t->count + more) * 2 <= t->slots_count)
        return;
    if (t->slots_count == 0)
        t->slots_count = 64;
    while (t->slots_count < (t->count + more) * 2)
        t->slots_count *= 2;
    t->slots = ARENA_ARRAY(arena, struct known_series, t->slots_count);
    for (size_t i = 0; i < old.slots_count; i++) {
        if (old.slots[i].points != NULL)
            *known_slot(t, old.slots[i].id) = old.slots[i];
    }
}

static void known_add(struct arena *arena, struct fetched_times *t, const struct fetched *f,
                      const struct fetched_range *range)
{
    known_reserve(arena, t, f->count);
    for (size_t i = 0; i < f->count; i++) {
        struct known_series *slot = known_slot(t, f->series[i].id);

        t->count += slot->points == NULL;
        *slot = (struct known_series){f->series[i].id, &range->points[i]};
    }
}

/* Remember that F was fetched in RANGE. */
static void times_add(struct arena *arena, struct fetched_times *t, const struct fetched *f,
                      const struct fetched_range *range)
{
    if (t->first == NULL) {
        t->first = f;
        t->first_range = range;
        return;
    }
    known_add(arena, t, f, range);
}

static struct fetched_times *times_of(struct eval *ev, const struct fetched_range *range)
{
    struct fetched_times *t = ev->fetched_times;

    while (t != NULL && (t->from_s != range->from_s || t->until_s != range->until_s))
        t = t->next;
    if (t == NULL) {
        t = ARENA_NEW(ev->arena, struct fetched_times);
        *t = (struct fetched_times){.from_s = range->from_s, .until_s = range->until_s, .next = ev->fetched_times};
        ev->fetched_times = t;
    } else if (t->slots_count == 0) {
        known_add(ev->arena, t, t->first, t->first_range);
    }
    return t;
}

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
        rc = src->find_by_tags(src->ctx, exprs, exprs_count, ev->limits->series_max, ev->control, ev->arena, &f->series,
                               &f->count, ev->err);
    else
        rc = src->find(src->ctx, pattern, ev->limits->series_max, ev->arena, &f->series, &f->count, ev->err);
    if (rc < 0)
        return limit_context(ev, rc, pattern);
    f->next = ev->fetched;
    ev->fetched = f;
    *out = f;
    return 0;
}

/* The range of F that ends as RANGE does and begins later: a window's function asks for both. */
static const struct fetched_range *later_part(const struct fetched *f, const struct fetched_range *range)
{
    const struct fetched_range *part = f->ranges;

    while (part != NULL && (part->until_s != range->until_s || part->from_s <= range->from_s))
        part = part->next;
    return part;
}

/* The points of RANGE as those before PART and those of PART; false when these do not follow each other, as other
 * archives serve them, so that all must be fetched. */
static bool fetch_before(struct eval *ev, const struct source_series *series, const struct fetched_range *range,
                         int64_t part_from_s, const struct source_points *part, struct source_points *out)
{
    const struct source *src = ev->source;
    struct source_points head = {0};
    struct err ignored = {0};
    double *values;

    if (part->count == 0 ||
        src->fetch(src->ctx, series, range->from_s, part_from_s, ev->now_s, ev->arena, &head, &ignored) < 0)
        return false;
    if (head.count == 0 || head.step_s != part->step_s ||
        head.start_s + (int64_t)head.count * head.step_s != part->start_s)
        return false;
    values = arena_alloc(ev->arena, (head.count + part->count) * sizeof(*values));
    memcpy(values, head.values, head.count * sizeof(*values));
    memcpy(values + head.count, part->values, part->count * sizeof(*values));
    *out = *part;
    out->start_s = head.start_s;
    out->count += head.count;
    out->values = values;
    ev->points_fetched -= part->count;
    return true;
}

static int fetch_one(struct eval *ev, const struct fetched *f, size_t i, const struct fetched_times *times,
                     const struct fetched_range *later, struct fetched_range *range)
{
    const struct source *src = ev->source;
    const struct source_points *known = times->slots_count == 0 ? NULL : known_slot(times, f->series[i].id)->points;
    int rc;

    if (known != NULL) {
        range->points[i] = *known;
        return 0;
    }
    rc = eval_check(ev);
    if (rc == 0 &&
        (later == NULL || !fetch_before(ev, &f->series[i], range, later->from_s, &later->points[i], &range->points[i])))
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
    const struct fetched_range *later;
    struct fetched_times *times;

    while (range != NULL && (range->from_s != ctx->from_s || range->until_s != ctx->until_s))
        range = range->next;
    *out = range;
    if (range != NULL)
        return 0;
    range = ARENA_NEW(ev->arena, struct fetched_range);
    range->from_s = ctx->from_s;
    range->until_s = ctx->until_s;
    range->points = ARENA_ARRAY(ev->arena, struct source_points, f->count);
    times = times_of(ev, range);
    later = later_part(f, range);
    for (size_t i = 0; i < f->count; i++) {
        int rc = fetch_one(ev, f, i, times, later, range);

        if (rc < 0)
            return rc;
    }
    times_add(ev->arena, times, f, range);
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
