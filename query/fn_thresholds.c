/* Functions that drop single points beyond a percentile of their series. */
#include "query/fn.h"

#include <math.h>

enum side { SIDE_ABOVE, SIDE_BELOW };

static int remove_beyond(struct fn_call *call, enum side side, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    double p = fn_float(call, 1, 0);
    struct series_list result = {0};

    if (p == 0)
        return fn_fail(call, "The requested percent is required to be greater than 0");
    for (size_t i = 0; i < list->count; i++) {
        const struct series *s = list->items[i];
        struct series *made =
            series_copy(call->arena, s, fn_name(call, "%s(%.*s, %g)", call->def->name, SPAN_ARG(s->name), p));
        const double *points;
        double *values;
        double bound;
        size_t n;
        bool valid;

        if (fn_points(call, s, &points, &n) < 0)
            return ERR_INPUT;
        bound = percentile_of(points, n, p, false, call->arena, &valid);
        values = series_room(call->arena, n);
        for (size_t k = 0; k < n; k++)
            values[k] = (side == SIDE_ABOVE ? points[k] > bound : points[k] < bound) ? NAN : points[k];
        if (valid && !isnan(bound))
            series_set_tag(call->arena, s, "nPercentile", float_text(call->arena, p));
        series_set_values(made, values, n);
        series_list_add(call->arena, &result, made);
    }
    return fn_return(out, result);
}

static int remove_above_percentile(struct fn_call *call, struct value *out)
{
    return remove_beyond(call, SIDE_ABOVE, out);
}

static int remove_below_percentile(struct fn_call *call, struct value *out)
{
    return remove_beyond(call, SIDE_BELOW, out);
}

static const struct fn_def thresholds[] = {
    {.name = "removeAbovePercentile",
     .group = "Filter Data",
     .params = {FN_SERIES("seriesList"), FN_PARAM("n", FN_TYPE_FLOAT)},
     .brief = "Drops the points above the n-th percentile of their series.",
     .kind = FN_ANY,
     .run = remove_above_percentile},
    {.name = "removeBelowPercentile",
     .group = "Filter Data",
     .params = {FN_SERIES("seriesList"), FN_PARAM("n", FN_TYPE_FLOAT)},
     .brief = "Drops the points below the n-th percentile of their series.",
     .kind = FN_ANY,
     .run = remove_below_percentile},
};
const struct fn_family fn_thresholds = FN_FAMILY(thresholds);
