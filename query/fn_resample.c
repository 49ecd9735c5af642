/* Functions that change the step of a series: many points become one bucket. And those that say how
 * this is to be done elsewhere. */
#include "query/fn.h"

#include "query/plan.h"
#include "query/time_spec.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>

static int bucket_count(struct fn_call *call, int64_t start_s, int64_t end_s, int64_t interval_s, size_t *out)
{
    int64_t n = end_s <= start_s ? 0 : (end_s - start_s + interval_s - 1) / interval_s;

    if ((uint64_t)n > call->ev->limits->points_max)
        return err_set(call->err, ERR_LIMIT, "%s makes more than %zu points", call->def->name,
                       call->ev->limits->points_max);
    *out = (size_t)n;
    return 0;
}

struct buckets {
    int64_t start_s;
    int64_t end_s;
    int64_t interval_s;
    const struct aggregator *agg;
};

/* The points of S that lie in each bucket, aggregated. */
static int summarize_values(struct fn_call *call, const struct series *s, const struct buckets *b, double **out,
                            size_t *out_count)
{
    double per_bucket = (double)b->interval_s / (double)s->step_s;
    const double *in;
    size_t count, in_range;
    size_t at = 0;
    double *values;

    if (fn_points(call, s, &in, &count) < 0 || bucket_count(call, b->start_s, b->end_s, b->interval_s, out_count) < 0)
        return call->err->code;
    in_range = s->end_s <= s->start_s ? 0 : (size_t)((s->end_s - s->start_s + s->step_s - 1) / s->step_s);
    count = count < in_range ? count : in_range;
    values = series_room(call->arena, *out_count);
    for (size_t i = 0; i < *out_count; i++) {
        int64_t end_s = b->start_s + (int64_t)(i + 1) * b->interval_s;
        size_t from = at;
        size_t known = 0;

        for (; at < count && s->start_s + (int64_t)at * s->step_s < end_s; at++)
            known += !isnan(in[at]);
        values[i] = known > 0 && (double)known / per_bucket >= s->x_files_factor
                        ? b->agg->of(in + from, at - from, call->arena)
                        : NAN;
    }
    *out = values;
    return 0;
}

static int read_interval(struct fn_call *call, int64_t *interval_s)
{
    int rc = fn_interval(call, 1, NULL, interval_s);

    if (rc == 0 && *interval_s <= 0)
        rc = fn_fail(call, "the interval must be positive");
    return rc;
}

/* The aggregation by its own name; here the older names ("sumSeries") are not known. */
static const struct aggregator *read_func(struct fn_call *call)
{
    struct span word = fn_text(call, 2, "sum");
    const struct aggregator *agg = aggregator_find(word);

    if (agg == NULL)
        fn_fail(call, "Unsupported aggregation function: %.*s", (int)(word.len < 60 ? word.len : 60), word.ptr);
    return agg;
}

static int64_t floor_to(int64_t t_s, int64_t unit_s)
{
    int64_t rest = t_s % unit_s;

    return t_s - (rest < 0 ? rest + unit_s : rest);
}

static int summarize(struct fn_call *call, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    bool from_start = fn_bool(call, 3, false);
    struct span interval = fn_text(call, 1, NULL);
    struct span func = fn_text(call, 2, "sum");
    struct series_list result = {0};
    struct buckets b = {.agg = read_func(call)};

    if (b.agg == NULL || read_interval(call, &b.interval_s) < 0)
        return ERR_INPUT;
    for (size_t i = 0; i < list->count; i++) {
        const struct series *s = list->items[i];
        struct series *made = series_copy(call->arena, s,
                                          fn_name(call, "summarize(%.*s, \"%.*s\", \"%.*s\"%s)", SPAN_ARG(s->name),
                                                  SPAN_ARG(interval), SPAN_ARG(func), from_start ? ", true" : ""));
        double *values;
        size_t count;
        int rc;

        b.start_s = from_start ? s->start_s : floor_to(s->start_s, b.interval_s);
        b.end_s = from_start ? s->end_s : floor_to(s->end_s, b.interval_s) + b.interval_s;
        rc = summarize_values(call, s, &b, &values, &count);
        if (rc < 0)
            return rc;
        series_set_tag(call->arena, s, "summarize", interval);
        series_set_tag(call->arena, s, "summarizeFunction", func);
        made->start_s = b.start_s;
        made->end_s = from_start ? b.start_s + (int64_t)count * b.interval_s : b.end_s;
        made->step_s = b.interval_s;
        made->integers = false;
        series_set_values(made, values, count);
        series_list_add(call->arena, &result, made);
    }
    return fn_return(out, result);
}

/* "weeks3" begins the week on Wednesday. */
static int smart_range(struct fn_call *call, struct context *ctx)
{
    struct span text = fn_text(call, 3, NULL);
    enum time_unit unit;
    int weekday = 1;

    if (!fn_given(call, 3) || call->args[3].kind == VALUE_BOOLEAN)
        return 0;
    if (time_unit_parse(text, &unit, call->err) < 0)
        return ERR_INPUT;
    if (unit == TIME_WEEKS && isdigit((unsigned char)text.ptr[text.len - 1]))
        weekday = text.ptr[text.len - 1] - '0';
    ctx->from_s = plan_floor_time(call->ev->tz, ctx->from_s, unit, weekday);
    return 0;
}

static int smart_summarize(struct fn_call *call, struct value *out)
{
    struct span interval = fn_text(call, 1, NULL);
    struct span func = fn_text(call, 2, "sum");
    struct series_list result = {0};
    struct buckets b = {.agg = read_func(call)};

    if (b.agg == NULL || read_interval(call, &b.interval_s) < 0)
        return ERR_INPUT;
    for (size_t i = 0; i < call->again.count; i++) {
        const struct series *s = call->again.items[i];
        struct series *made = series_copy(call->arena, s,
                                          fn_name(call, "smartSummarize(%.*s, \"%.*s\", \"%.*s\")", SPAN_ARG(s->name),
                                                  SPAN_ARG(interval), SPAN_ARG(func)));
        double *values;
        size_t count;
        int rc;

        b.start_s = s->start_s;
        b.end_s = s->end_s;
        rc = summarize_values(call, s, &b, &values, &count);
        if (rc < 0)
            return rc;
        series_set_tag(call->arena, s, "smartSummarize", interval);
        series_set_tag(call->arena, s, "smartSummarizeFunction", func);
        made->end_s = b.start_s + (int64_t)count * b.interval_s;
        made->step_s = b.interval_s;
        made->integers = false;
        series_set_values(made, values, count);
        series_list_add(call->arena, &result, made);
    }
    return fn_return(out, result);
}

/* ---- compressPeriodicGaps ---- */

/* How many steps lie between values, guessed from the first two and proven by a third one, which must
 * stand alone; 0 when there is no such period. */
static size_t period_of(const double *v, size_t n, size_t *first)
{
    size_t second, third;

    for (*first = 0; *first < n && isnan(v[*first]); ++*first)
        ;
    for (second = *first + 1; second < n && isnan(v[second]); second++)
        ;
    third = second + (second - *first);
    if (second - *first < 2 || third + 2 > n || isnan(v[third]) || !isnan(v[third - 1]) || !isnan(v[third + 1]))
        return 0;
    return second - *first;
}

static int compress_periodic_gaps(struct fn_call *call, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    struct buckets b = {.agg = aggregator_find(SPAN_LIT("last"))};
    struct series_list result = {0};

    for (size_t i = 0; i < list->count; i++) {
        const struct series *s = list->items[i];
        struct series *made =
            series_copy(call->arena, s, fn_name(call, "compressPeriodicGaps(%.*s)", SPAN_ARG(s->name)));
        const double *points;
        double *values;
        size_t n, first, period, count;
        int rc = fn_points(call, s, &points, &n);

        if (rc < 0)
            return rc;
        period = period_of(points, n, &first);
        if (period > 0) {
            struct series tail = *s;

            b.interval_s = (int64_t)period * s->step_s;
            b.start_s = tail.start_s = s->start_s + (int64_t)first * s->step_s;
            b.end_s = s->end_s;
            series_set_values(&tail, points + first, n - first);
            rc = summarize_values(call, &tail, &b, &values, &count);
            if (rc < 0)
                return rc;
            made->start_s = b.start_s;
            made->end_s = b.start_s + (int64_t)count * b.interval_s;
            made->step_s = b.interval_s;
            series_set_values(made, values, count);
        }
        series_list_add(call->arena, &result, made);
    }
    return fn_return(out, result);
}

/* ---- hitcount ---- */

static int hitcount_range(struct fn_call *call, struct context *ctx)
{
    int64_t interval_s;

    if (read_interval(call, &interval_s) < 0)
        return ERR_INPUT;
    if (fn_bool(call, 2, false) && interval_s >= 60)
        ctx->from_s = plan_floor_time(call->ev->tz, ctx->from_s,
                                      interval_s >= 86400  ? TIME_DAYS
                                      : interval_s >= 3600 ? TIME_HOURS
                                                           : TIME_MINUTES,
                                      1);
    return 0;
}

/* A rate V over the seconds [FROM, TO) after the first bucket begins, added to the buckets it covers. */
static void spread(double *buckets, size_t count, int64_t interval_s, int64_t from_s, int64_t to_s, double v)
{
    if (to_s > (int64_t)count * interval_s)
        to_s = (int64_t)count * interval_s;
    while (from_s < to_s) {
        int64_t end_s = floor_to(from_s, interval_s) + interval_s;
        int64_t bucket = floor_to(from_s, interval_s) / interval_s;
        int64_t span_s = (end_s < to_s ? end_s : to_s) - from_s;

        if (bucket >= 0)
            buckets[bucket] = (isnan(buckets[bucket]) ? 0 : buckets[bucket]) + v * (double)span_s;
        from_s = end_s;
    }
}

static int hitcount_one(struct fn_call *call, struct series *s, int64_t interval_s, struct series_list *result)
{
    bool aligned = fn_bool(call, 2, false);
    struct span interval = fn_text(call, 1, NULL);
    int64_t end_s = aligned ? s->start_s + (s->end_s - s->start_s) / interval_s * interval_s + interval_s : s->end_s;
    struct series *made;
    const double *in;
    double *values;
    size_t n, count;
    int64_t start_s;

    if (fn_points(call, s, &in, &n) < 0 || bucket_count(call, s->start_s, end_s, interval_s, &count) < 0)
        return call->err->code;
    start_s = end_s - (int64_t)count * interval_s;
    values = series_room(call->arena, count);
    for (size_t i = 0; i < count; i++)
        values[i] = NAN;
    for (size_t i = 0; i < n; i++) {
        int64_t from_s = s->start_s + (int64_t)i * s->step_s - start_s;

        if (!isnan(in[i]))
            spread(values, count, interval_s, from_s, from_s + s->step_s, in[i]);
    }
    made = series_copy(
        call->arena, s,
        fn_name(call, "hitcount(%.*s, \"%.*s\"%s)", SPAN_ARG(s->name), SPAN_ARG(interval), aligned ? ", true" : ""));
    series_set_tag(call->arena, s, "hitcount", interval);
    made->start_s = start_s;
    made->end_s = end_s;
    made->step_s = interval_s;
    made->integers = false;
    series_set_values(made, values, count);
    series_list_add(call->arena, result, made);
    return 0;
}

static int hitcount(struct fn_call *call, struct value *out)
{
    struct series_list result = {0};
    int64_t interval_s;
    int rc = read_interval(call, &interval_s);

    for (size_t i = 0; rc == 0 && i < call->again.count; i++)
        rc = hitcount_one(call, call->again.items[i], interval_s, &result);
    return rc < 0 ? rc : fn_return(out, result);
}

/* ---- how consolidation is done ---- */

static int consolidate_with(struct fn_call *call, struct span func, struct value *out)
{
    struct series_list *list = fn_list(call, 0);

    for (size_t i = 0; i < list->count; i++) {
        struct series *s = list->items[i];

        s->consolidation = func;
        series_set_tag(call->arena, s, "consolidateBy", func);
        s->name = fn_name(call, "consolidateBy(%.*s,\"%.*s\")", SPAN_ARG(s->name), SPAN_ARG(func));
        s->path_expression = s->name;
    }
    return fn_return(out, *list);
}

static int consolidate_by(struct fn_call *call, struct value *out)
{
    return consolidate_with(call, fn_text(call, 1, NULL), out);
}

static int cumulative(struct fn_call *call, struct value *out)
{
    return consolidate_with(call, SPAN_LIT("sum"), out);
}

static int set_x_files_factor(struct fn_call *call, struct value *out)
{
    struct series_list *list = fn_list(call, 0);
    double factor = fn_float(call, 1, 0);

    call->ctx->x_files_factor = factor;
    for (size_t i = 0; i < list->count; i++) {
        list->items[i]->x_files_factor = factor;
        series_set_tag(call->arena, list->items[i], "xFilesFactor", float_text(call->arena, factor));
    }
    return fn_return(out, *list);
}

static const struct fn_def resample[] = {
    {.name = "compressPeriodicGaps",
     .group = "Transform",
     .params = {FN_SERIES("seriesList")},
     .brief = "Guesses how far apart the values of a series really are and takes out the gaps between them.",
     .kind = FN_ANY,
     .run = compress_periodic_gaps},
    {.name = "consolidateBy",
     .group = "Special",
     .params = {FN_SERIES("seriesList"),
                {.name = "consolidationFunc",
                 .type = FN_TYPE_STRING,
                 FN_REQUIRED,
                 .options = "[\"average\",\"avg\",\"avg_zero\",\"first\",\"last\",\"max\",\"min\",\"sum\"]"}},
     .brief = "Says how points are merged when there are more of them than the graph can show.",
     .kind = FN_ANY,
     .run = consolidate_by},
    {.name = "cumulative",
     .group = "Special",
     .params = {FN_SERIES("seriesList")},
     .brief = "consolidateBy with sum.",
     .kind = FN_ANY,
     .run = cumulative},
    {.name = "hitcount",
     .group = "Transform",
     .params =
         {FN_SERIES("seriesList"),
          {.name = "intervalString", .type = FN_TYPE_INTERVAL, FN_REQUIRED, .suggestions = "[\"10min\",\"1h\",\"1d\"]"},
          FN_DEFAULT("alignToInterval", FN_TYPE_BOOLEAN, "false")},
     .brief = "Takes the points for rates per second and counts the hits in each interval.",
     .kind = FN_ANY,
     .run = hitcount,
     .range = hitcount_range},
    {.name = "setXFilesFactor",
     .impure = true,
     .group = "Special",
     .params = {FN_SERIES("seriesList"), FN_PARAM("xFilesFactor", FN_TYPE_FLOAT)},
     .brief = "Says which share of points must be known for a merged point to be known.",
     .kind = FN_ANY,
     .run = set_x_files_factor},
    {.name = "smartSummarize",
     .group = "Transform",
     .params =
         {FN_SERIES("seriesList"),
          {.name = "intervalString", .type = FN_TYPE_INTERVAL, FN_REQUIRED, .suggestions = "[\"10min\",\"1h\",\"1d\"]"},
          FN_DEFAULT("func", FN_TYPE_AGG_FUNC, "\"sum\""),
          {.name = "alignTo",
           .type = FN_TYPE_STRING,
           .options = "[false,null,true,\"days\",\"hours\",\"minutes\",\"months\",\"seconds\",\"weeks\",\"years\"]"}},
     .brief = "Merges the points of each interval, counted from the start of the graph or from an aligned time.",
     .kind = FN_ANY,
     .run = smart_summarize,
     .range = smart_range},
    {.name = "summarize",
     .group = "Transform",
     .params =
         {FN_SERIES("seriesList"),
          {.name = "intervalString", .type = FN_TYPE_INTERVAL, FN_REQUIRED, .suggestions = "[\"10min\",\"1h\",\"1d\"]"},
          FN_DEFAULT("func", FN_TYPE_AGG_FUNC, "\"sum\""),
          FN_DEFAULT("alignToFrom", FN_TYPE_BOOLEAN, "false")},
     .brief = "Merges the points of each interval; intervals begin at multiples of their length.",
     .kind = FN_ANY,
     .run = summarize},
    {.name = "xFilesFactor",
     .impure = true,
     .group = "Special",
     .params = {FN_SERIES("seriesList"), FN_PARAM("xFilesFactor", FN_TYPE_FLOAT)},
     .brief = "Short for setXFilesFactor.",
     .kind = FN_ANY,
     .run = set_x_files_factor},
};
const struct fn_family fn_resample = FN_FAMILY(resample);
