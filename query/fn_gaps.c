/* What to do where nothing is known. */
#include "query/fn.h"

#include <math.h>

/* The longest gap that may be filled. */
static double limit_of(const struct fn_call *call)
{
    return fn_float(call, 1, INFINITY);
}

/* Calls of FILL for each run of None between FROM and TO; from 0 when it is the first, to N the last. */
static size_t gap_end(const double *in, size_t n, size_t from)
{
    while (from < n && isnan(in[from]))
        from++;
    return from;
}

static int keep_last_value(struct fn_call *call, const struct series *s, const double *in, size_t n, double *out)
{
    double limit = limit_of(call);

    (void)s;
    for (size_t i = 0; i < n;) {
        size_t end = gap_end(in, n, i);
        double fill = i > 0 && (double)(end - i) <= limit ? in[i - 1] : NAN;

        for (; i < end; i++)
            out[i] = fill;
        if (i < n) {
            out[i] = in[i];
            i++;
        }
    }
    return 0;
}

/* A straight line over each gap that has a value on either side. */
static int interpolate(struct fn_call *call, const struct series *s, const double *in, size_t n, double *out)
{
    double limit = limit_of(call);

    (void)s;
    for (size_t i = 0; i < n;) {
        size_t end = gap_end(in, n, i);
        size_t gap = end - i;
        bool fill = i > 0 && end < n && (double)gap <= limit;

        for (size_t k = 1; i < end; i++, k++)
            out[i] = fill ? in[end - gap - 1] + (double)k * (in[end] - in[end - gap - 1]) / (double)(gap + 1) : NAN;
        if (i < n) {
            out[i] = in[i];
            i++;
        }
    }
    return 0;
}

/* ---- transformNull ---- */

/* Whether some reference series has a value at I. */
static int known_anywhere(struct fn_call *call, bool **known, size_t *count)
{
    const struct series_list *list = fn_list(call, 2);

    *count = 0;
    *known = NULL;
    for (size_t i = 0; i < list->count; i++)
        *count = list->items[i]->count > *count ? list->items[i]->count : *count;
    *known = ARENA_ARRAY(call->arena, bool, *count);
    for (size_t i = 0; i < list->count; i++) {
        const double *points;
        size_t n;

        if (fn_points(call, list->items[i], &points, &n) < 0)
            return ERR_INPUT;
        for (size_t k = 0; k < n; k++)
            (*known)[k] |= !isnan(points[k]);
    }
    return 0;
}

static int transform_null(struct fn_call *call, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    double fill = fn_float(call, 1, 0);
    bool reference = fn_list(call, 2)->count > 0;
    struct span text = fn_given(call, 1) ? float_text(call->arena, fill) : SPAN_LIT("0");
    struct series_list result = {0};
    bool *known;
    size_t known_count;

    if (known_anywhere(call, &known, &known_count) < 0)
        return ERR_INPUT;
    for (size_t i = 0; i < list->count; i++) {
        const struct series *s = list->items[i];
        struct series *made = series_copy(
            call->arena, s,
            fn_name(call, "transformNull(%.*s,%g%s)", SPAN_ARG(s->name), fill, reference ? ",referenceSeries" : ""));
        const double *points;
        double *values;
        size_t n;

        if (fn_points(call, s, &points, &n) < 0)
            return ERR_INPUT;
        values = series_room(call->arena, n);
        for (size_t k = 0; k < n; k++) {
            bool filled = !reference || (k < known_count && known[k]);

            values[k] = isnan(points[k]) && filled ? fill : points[k];
        }
        series_set_tag(call->arena, s, "transformNull", text);
        if (reference)
            series_set_tag(call->arena, s, "referenceSeries", SPAN_LIT("1"));
        series_set_values(made, values, n);
        series_list_add(call->arena, &result, made);
    }
    return fn_return(out, result);
}

static int remove_zero_series(struct fn_call *call, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    struct series_list result = {0};

    for (size_t i = 0; i < list->count; i++) {
        const double *points;
        double other = 0;
        size_t n;

        if (fn_points(call, list->items[i], &points, &n) < 0)
            return ERR_INPUT;
        for (size_t k = 0; k < n; k++)
            other += !isnan(points[k]) && points[k] != 0;
        if (other > 0 && other / (double)n >= fn_float(call, 1, 0))
            series_list_add(call->arena, &result, list->items[i]);
    }
    return fn_return(out, result);
}

static int remove_empty_series(struct fn_call *call, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    const struct aggregator *count = aggregator_find(SPAN_LIT("count"));
    struct series_list result = {0};

    for (size_t i = 0; i < list->count; i++) {
        double known;

        if (fn_aggregate_of(call, list->items[i], count, &known) < 0)
            return ERR_INPUT;
        if (known > 0 && known / (double)list->items[i]->count >= fn_float(call, 1, 0))
            series_list_add(call->arena, &result, list->items[i]);
    }
    return fn_return(out, result);
}

static const struct fn_def gaps[] = {
    {.name = "interpolate",
     .group = "Transform",
     .params = {FN_SERIES("seriesList"),
                {.name = "limit", .type = FN_TYPE_INT_OR_INF, .fallback = "1e9999", .lenient = true}},
     .brief = "Fills gaps (of at most so many points) by a straight line.",
     .kind = FN_PER_SERIES,
     .each = interpolate,
     .numbers = FN_NUMBERS_SAME},
    {.name = "keepLastValue",
     .group = "Transform",
     .params = {FN_SERIES("seriesList"),
                {.name = "limit", .type = FN_TYPE_INT_OR_INF, .fallback = "1e9999", .lenient = true}},
     .brief = "Fills gaps (of at most so many points) with the value before.",
     .kind = FN_PER_SERIES,
     .each = keep_last_value,
     .numbers = FN_NUMBERS_SAME},
    {.name = "removeEmptySeries",
     .group = "Filter Series",
     .params = {FN_SERIES("seriesList"), FN_OPTIONAL("xFilesFactor", FN_TYPE_FLOAT)},
     .brief = "Leaves out series without values, or with fewer than a share of them.",
     .kind = FN_ANY,
     .run = remove_empty_series},
    {.name = "removeZeroSeries",
     .group = "Filter Series",
     .params = {FN_SERIES("seriesList"), FN_OPTIONAL("xFilesFactor", FN_TYPE_FLOAT)},
     .brief = "Leaves out series that are nothing but 0 and None, or with fewer other values than a share.",
     .extension = FN_CARBONAPI,
     .kind = FN_ANY,
     .run = remove_zero_series},
    {.name = "transformNull",
     .group = "Transform",
     .params = {FN_SERIES("seriesList"), FN_DEFAULT("default", FN_TYPE_FLOAT, "0"),
                FN_OPTIONAL("referenceSeries", FN_TYPE_SERIES_LIST)},
     .brief = "Puts a number where there is no value; with reference series, only where one of these has one.",
     .kind = FN_ANY,
     .run = transform_null},
};
const struct fn_family fn_gaps = FN_FAMILY(gaps);
