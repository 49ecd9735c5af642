/* Functions that leave out series by their values or names. The series that stay are not changed. */
#include "query/fn.h"

#include "base/regex.h"

#include <math.h>
#include <stdlib.h>

/* ---- an aggregate compared with a number ---- */

enum comparison { EQUAL, NOT_EQUAL, ABOVE, AT_LEAST, BELOW, AT_MOST, COMPARISONS };

static const char *const comparisons[] = {"=", "!=", ">", ">=", "<", "<="};

/* A series without any value counts as different and as below. */
static bool holds(enum comparison op, double v, double threshold)
{
    switch (op) {
    case EQUAL:
        return v == threshold;
    case NOT_EQUAL:
        return v != threshold;
    case ABOVE:
        return v > threshold;
    case AT_LEAST:
        return v >= threshold;
    case BELOW:
        return isnan(v) || v < threshold;
    default:
        return isnan(v) || v <= threshold;
    }
}

static int filter_by(struct fn_call *call, struct span func, enum comparison op, double threshold, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    const struct aggregator *agg = aggregator_find(func);
    struct series_list result = {0};

    if (agg == NULL)
        return fn_fail(call, "Unsupported aggregation function: %.*s", (int)(func.len < 60 ? func.len : 60), func.ptr);
    for (size_t i = 0; i < list->count; i++) {
        double v;

        if (fn_aggregate_of(call, list->items[i], agg, &v) < 0)
            return ERR_INPUT;
        if (holds(op, v, threshold))
            series_list_add(call->arena, &result, list->items[i]);
    }
    return fn_return(out, result);
}

static int filter_series(struct fn_call *call, struct value *out)
{
    struct span word = fn_text(call, 2, NULL);

    for (int op = 0; op < COMPARISONS; op++) {
        if (span_eq(word, span_str(comparisons[op])))
            return filter_by(call, fn_text(call, 1, NULL), (enum comparison)op, fn_float(call, 3, 0), out);
    }
    return fn_fail(call, "Unsupported operator: %.*s", (int)(word.len < 20 ? word.len : 20), word.ptr);
}

#define FILTER(function, func, op)                                                                                     \
    static int function(struct fn_call *call, struct value *out)                                                       \
    {                                                                                                                  \
        return filter_by(call, SPAN_LIT(func), op, fn_float(call, 1, 0), out);                                         \
    }

FILTER(average_above, "average", ABOVE)
FILTER(average_below, "average", AT_MOST)
FILTER(current_above, "last", ABOVE)
FILTER(current_below, "last", AT_MOST)
FILTER(maximum_above, "max", ABOVE)
FILTER(maximum_below, "max", AT_MOST)
FILTER(minimum_above, "min", ABOVE)
FILTER(minimum_below, "min", AT_MOST)

/* ---- names ---- */

static int match_names(struct fn_call *call, bool wanted, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    struct series_list result = {0};
    struct regex *re;
    int rc = fn_regex(call, 1, &re);

    for (size_t i = 0; rc == 0 && i < list->count; i++) {
        if (regex_search(re, list->items[i]->name) == wanted)
            series_list_add(call->arena, &result, list->items[i]);
    }
    return rc < 0 ? rc : fn_return(out, result);
}

static int grep(struct fn_call *call, struct value *out)
{
    return match_names(call, true, out);
}

static int exclude(struct fn_call *call, struct value *out)
{
    return match_names(call, false, out);
}

/* ---- outliers ---- */

/* Drops series whose average lies between the (100 - n)-th and the n-th percentile of all averages. */
static int average_outside_percentile(struct fn_call *call, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    const struct aggregator *agg = aggregator_find(SPAN_LIT("average"));
    double n = fn_float(call, 1, 0) < 50 ? 100 - fn_float(call, 1, 0) : fn_float(call, 1, 0);
    double *averages = series_room(call->arena, list->count);
    struct series_list result = {0};
    double low, high;
    bool low_valid, high_valid;

    for (size_t i = 0; i < list->count; i++) {
        if (fn_aggregate_of(call, list->items[i], agg, &averages[i]) < 0)
            return ERR_INPUT;
    }
    low = percentile_of(averages, list->count, 100 - n, false, call->arena, &low_valid);
    high = percentile_of(averages, list->count, n, false, call->arena, &high_valid);
    if (!low_valid || !high_valid)
        return fn_fail(call, "there is no percentile %g", n);
    for (size_t i = 0; i < list->count; i++) {
        if (!(low < averages[i] && averages[i] < high))
            series_list_add(call->arena, &result, list->items[i]);
    }
    return fn_return(out, result);
}

/* Whether some point of V lies outside of the bounds; None lies nowhere. */
static bool sticks_out(const double *v, size_t n, const double *low, const double *high)
{
    for (size_t i = 0; i < n; i++) {
        if (!isnan(v[i]) && !(low[i] < v[i] && v[i] < high[i]))
            return true;
    }
    return false;
}

/* Keeps series that are outside of the percentiles of all series at least once. */
static int remove_between_percentile(struct fn_call *call, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    double p = fn_float(call, 1, 0) < 50 ? 100 - fn_float(call, 1, 0) : fn_float(call, 1, 0);
    struct column *columns = ARENA_ARRAY(call->arena, struct column, list->count);
    double *row = series_room(call->arena, list->count);
    size_t n = list->count > 0 ? SIZE_MAX : 0;
    struct series_list result = {0};
    double *low, *high;

    for (size_t k = 0; k < list->count; k++) {
        if (fn_points(call, list->items[k], &columns[k].values, &columns[k].count) < 0)
            return ERR_INPUT;
        n = columns[k].count < n ? columns[k].count : n;
    }
    low = series_room(call->arena, n);
    high = series_room(call->arena, n);
    for (size_t i = 0; i < n; i++) {
        bool low_valid, high_valid;

        for (size_t k = 0; k < list->count; k++)
            row[k] = columns[k].values[i];
        low[i] = percentile_of(row, list->count, 100 - p, false, call->arena, &low_valid);
        high[i] = percentile_of(row, list->count, p, false, call->arena, &high_valid);
        if (!low_valid || !high_valid)
            return fn_fail(call, "there is no percentile %g", p);
    }
    for (size_t k = 0; k < list->count; k++) {
        if (sticks_out(columns[k].values, n, low, high))
            series_list_add(call->arena, &result, list->items[k]);
    }
    return fn_return(out, result);
}

/* ---- useSeriesAbove ---- */

/* Whether S rises above VALUE. A series with a gap never counts: so it is in graphite-web. */
static int rises_above(struct fn_call *call, const struct series *s, double value, bool *out)
{
    const double *v;
    size_t n;
    int rc = fn_points(call, s, &v, &n);

    *out = false;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        if (isnan(v[i])) {
            *out = false;
            break;
        }
        *out |= v[i] > value;
    }
    return rc;
}

static int use_series_above(struct fn_call *call, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    struct context ctx = *call->ctx;
    struct series_list found = {0};
    struct series_list result = {0};
    struct span target = SPAN_LIT("");
    struct regex *re;
    int rc = fn_regex(call, 2, &re);

    for (size_t i = 0; rc == 0 && i < list->count; i++) {
        struct span name;
        bool above = false;

        rc = fn_substitute(call, re, list->items[i]->name, fn_text(call, 3, ""), &name);
        if (rc == 0)
            rc = rises_above(call, list->items[i], fn_float(call, 1, 0), &above);
        if (rc == 0 && above)
            target = arena_join(call->arena, target, target.len > 0 ? SPAN_LIT(",") : SPAN_LIT(""), name);
    }
    if (rc == 0 && target.len > 0)
        rc = eval_target(call->ev, &ctx, arena_join(call->arena, SPAN_LIT("group("), target, SPAN_LIT(")")),
                         EVAL_PREFIX, &found);
    for (size_t i = 0; rc == 0 && i < found.count; i++) {
        if (found.items[i]->count > 0)
            series_list_add(call->arena, &result, found.items[i]);
    }
    return rc < 0 ? rc : fn_return(out, result);
}

static const struct fn_def filters[] = {
    {.name = "averageAbove",
     .group = "Filter Series",
     .params = {FN_SERIES("seriesList"), FN_PARAM("n", FN_TYPE_FLOAT)},
     .brief = "Keeps series whose average is above n.",
     .kind = FN_ANY,
     .run = average_above},
    {.name = "averageBelow",
     .group = "Filter Series",
     .params = {FN_SERIES("seriesList"), FN_PARAM("n", FN_TYPE_FLOAT)},
     .brief = "Keeps series whose average is at most n.",
     .kind = FN_ANY,
     .run = average_below},
    {.name = "averageOutsidePercentile",
     .group = "Filter Series",
     .params = {FN_SERIES("seriesList"), FN_PARAM("n", FN_TYPE_FLOAT)},
     .brief = "Drops series whose average lies between the n-th percentile of all averages and its mirror.",
     .kind = FN_ANY,
     .run = average_outside_percentile},
    {.name = "currentAbove",
     .group = "Filter Series",
     .params = {FN_SERIES("seriesList"), FN_PARAM("n", FN_TYPE_FLOAT)},
     .brief = "Keeps series whose last value is above n.",
     .kind = FN_ANY,
     .run = current_above},
    {.name = "currentBelow",
     .group = "Filter Series",
     .params = {FN_SERIES("seriesList"), FN_PARAM("n", FN_TYPE_FLOAT)},
     .brief = "Keeps series whose last value is at most n.",
     .kind = FN_ANY,
     .run = current_below},
    {.name = "exclude",
     .group = "Filter Series",
     .params = {FN_SERIES("seriesList"), FN_PARAM("pattern", FN_TYPE_STRING)},
     .brief = "Drops series whose name a regular expression finds.",
     .kind = FN_ANY,
     .run = exclude},
    {.name = "filterSeries",
     .group = "Filter Series",
     .params = {FN_SERIES("seriesList"),
                FN_PARAM("func", FN_TYPE_AGG_FUNC),
                {.name = "operator",
                 .type = FN_TYPE_STRING,
                 FN_REQUIRED,
                 .options = "[\"!=\",\"<\",\"<=\",\"=\",\">\",\">=\"]"},
                FN_PARAM("threshold", FN_TYPE_FLOAT)},
     .brief = "Keeps series whose aggregate compares with a number in the given way.",
     .kind = FN_ANY,
     .run = filter_series},
    {.name = "grep",
     .group = "Filter Series",
     .params = {FN_SERIES("seriesList"), FN_PARAM("pattern", FN_TYPE_STRING)},
     .brief = "Keeps series whose name a regular expression finds.",
     .kind = FN_ANY,
     .run = grep},
    {.name = "maximumAbove",
     .group = "Filter Series",
     .params = {FN_SERIES("seriesList"), FN_PARAM("n", FN_TYPE_FLOAT)},
     .brief = "Keeps series whose maximum is above n.",
     .kind = FN_ANY,
     .run = maximum_above},
    {.name = "maximumBelow",
     .group = "Filter Series",
     .params = {FN_SERIES("seriesList"), FN_PARAM("n", FN_TYPE_FLOAT)},
     .brief = "Keeps series whose maximum is at most n.",
     .kind = FN_ANY,
     .run = maximum_below},
    {.name = "minimumAbove",
     .group = "Filter Series",
     .params = {FN_SERIES("seriesList"), FN_PARAM("n", FN_TYPE_FLOAT)},
     .brief = "Keeps series whose minimum is above n.",
     .kind = FN_ANY,
     .run = minimum_above},
    {.name = "minimumBelow",
     .group = "Filter Series",
     .params = {FN_SERIES("seriesList"), FN_PARAM("n", FN_TYPE_FLOAT)},
     .brief = "Keeps series whose minimum is at most n.",
     .kind = FN_ANY,
     .run = minimum_below},
    {.name = "removeBetweenPercentile",
     .group = "Filter Series",
     .params = {FN_SERIES("seriesList"), FN_PARAM("n", FN_TYPE_FLOAT)},
     .brief = "Keeps series that at least once lie outside of the n-th percentile of all and its mirror.",
     .kind = FN_ANY,
     .run = remove_between_percentile},
    {.name = "useSeriesAbove",
     .impure = true,
     .group = "Filter Series",
     .params = {FN_SERIES("seriesList"), FN_PARAM("value", FN_TYPE_FLOAT), FN_PARAM("search", FN_TYPE_STRING),
                FN_PARAM("replace", FN_TYPE_STRING)},
     .brief = "For each series with a point above a value, shows another one, whose name a replacement makes.",
     .kind = FN_ANY,
     .run = use_series_above},
};
const struct fn_family fn_filter = FN_FAMILY(filters);
