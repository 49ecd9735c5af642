/* Functions that take two lists of the same length and combine the first of one with the first of the
 * other, the second with the second, and so on. */
#include "query/fn.h"

#include <math.h>

static int pair_lists(struct fn_call *call, const struct aggregator *agg, struct span func, double x_files_factor,
                      struct value *out)
{
    const struct series_list *first = fn_list(call, 0);
    const struct series_list *second = fn_list(call, 1);
    struct series_list result = {0};

    if (first->count != second->count)
        return fn_fail(call, "%s and %s argument must have equal length", call->def->params[0].name,
                       call->def->params[1].name);
    for (size_t i = 0; i < first->count; i++) {
        struct series *both[] = {first->items[i], second->items[i]};
        struct series_list pair = {both, 2, 2};
        struct series *s = NULL;
        int rc = fn_aggregate(call, &pair, agg, func, x_files_factor, &s);

        if (rc < 0)
            return rc;
        s->name = fn_name(call, "%.*s(%.*s,%.*s)", (int)span_find(s->name, '('), s->name.ptr, SPAN_ARG(both[0]->name),
                          SPAN_ARG(both[1]->name));
        series_list_add(call->arena, &result, s);
    }
    return fn_return(out, result);
}

static int pair_by(struct fn_call *call, const char *func, struct value *out)
{
    return pair_lists(call, aggregator_find(span_str(func)), span_str(func), call->ctx->x_files_factor, out);
}

static int aggregate_lists(struct fn_call *call, struct value *out)
{
    const struct aggregator *agg = fn_aggregator(call, 2, NULL);

    return agg == NULL
               ? ERR_INPUT
               : pair_lists(call, agg, fn_text(call, 2, NULL), fn_float(call, 3, call->ctx->x_files_factor), out);
}

static int sum_lists(struct fn_call *call, struct value *out)
{
    return pair_by(call, "sum", out);
}

static int diff_lists(struct fn_call *call, struct value *out)
{
    return pair_by(call, "diff", out);
}

static int multiply_lists(struct fn_call *call, struct value *out)
{
    return pair_by(call, "multiply", out);
}

static int pow_lists(struct fn_call *call, struct value *out)
{
    const struct series_list *first = fn_list(call, 0);
    const struct series_list *second = fn_list(call, 1);
    struct series_list result = {0};

    if (first->count != second->count)
        return fn_fail(call, "both lists must have equal length");
    for (size_t i = 0; i < first->count; i++) {
        struct series *both[] = {first->items[i], second->items[i]};
        struct series_list pair = {both, 2, 2};
        const double *base, *exponent;
        struct normalised n;
        struct series *s;
        size_t count, exponents;
        double *values;

        if (series_list_normalise(&pair, &n, call->err) < 0 || fn_points(call, both[0], &base, &count) < 0 ||
            fn_points(call, both[1], &exponent, &exponents) < 0)
            return ERR_INPUT;
        values = series_room(call->arena, count);
        for (size_t k = 0; k < count; k++) {
            bool none = isnan(base[k]) || k >= exponents || isnan(exponent[k]);

            values[k] = none ? NAN : fn_pow(base[k], exponent[k]);
        }
        s = series_new(call->arena,
                       fn_name(call, "powSeries(%.*s,%.*s)", SPAN_ARG(both[0]->name), SPAN_ARG(both[1]->name)),
                       n.start_s, n.end_s, n.step_s);
        series_set_values(s, values, count);
        series_list_add(call->arena, &result, s);
    }
    return fn_return(out, result);
}

static int group(struct fn_call *call, struct value *out)
{
    return fn_return(out, fn_lists_joined(call, 0));
}

/* Of series with the same name only the first stays. */
static int unique(struct fn_call *call, struct value *out)
{
    struct series_list all = fn_lists_joined(call, 0);
    struct series_groups seen = {0};
    struct series_list result = {0};

    for (size_t i = 0; i < all.count; i++) {
        size_t before = seen.count;

        series_groups_at(call->arena, &seen, all.items[i]->name);
        if (seen.count > before)
            series_list_add(call->arena, &result, all.items[i]);
    }
    return fn_return(out, result);
}

static int fallback_series(struct fn_call *call, struct value *out)
{
    if (fn_list(call, 0)->count > 0)
        return fn_return(out, *fn_list(call, 0));
    if (call->args[1].kind != VALUE_LIST)
        return fn_fail(call, "the fallback is no series list");
    return fn_return(out, *fn_list(call, 1));
}

static const struct fn_def lists[] = {
    {.name = "aggregateSeriesLists",
     .group = "Combine",
     .params = {FN_SERIES("seriesListFirstPos"), FN_SERIES("seriesListSecondPos"), FN_PARAM("func", FN_TYPE_AGG_FUNC),
                FN_OPTIONAL("xFilesFactor", FN_TYPE_FLOAT)},
     .brief = "Combines two lists pair by pair, by an aggregation function of your choice.",
     .kind = FN_ANY,
     .run = aggregate_lists},
    {.name = "diffSeriesLists",
     .group = "Combine",
     .params = {FN_SERIES("seriesListFirstPos"), FN_SERIES("seriesListSecondPos")},
     .brief = "Subtracts the series of the second list from those of the first, pair by pair.",
     .kind = FN_ANY,
     .run = diff_lists,
     .aggregator = true},
    {.name = "fallbackSeries",
     .group = "Special",
     .params = {FN_SERIES("seriesList"),
                {.name = "fallback", .type = FN_TYPE_SERIES_LIST, FN_REQUIRED, .lenient = true}},
     .brief = "The first list, or the second one when that is empty.",
     .kind = FN_ANY,
     .run = fallback_series},
    {.name = "group",
     .group = "Combine",
     .params = {FN_MANY("seriesLists", FN_TYPE_SERIES_LIST)},
     .brief = "Puts several lists into one.",
     .kind = FN_ANY,
     .run = group},
    {.name = "multiplySeriesLists",
     .group = "Combine",
     .params = {FN_SERIES("seriesListFirstPos"), FN_SERIES("seriesListSecondPos")},
     .brief = "Multiplies two lists pair by pair.",
     .kind = FN_ANY,
     .run = multiply_lists,
     .aggregator = true},
    {.name = "powSeriesLists",
     .group = "Combine",
     .params = {FN_SERIES("sourceSeriesList"), FN_SERIES("factorSeriesList")},
     .brief = "The series of the first list to the power of those of the second, pair by pair.",
     .extension = FN_CARBONAPI,
     .kind = FN_ANY,
     .run = pow_lists},
    {.name = "sumSeriesLists",
     .group = "Combine",
     .params = {FN_SERIES("seriesListFirstPos"), FN_SERIES("seriesListSecondPos")},
     .brief = "Adds two lists pair by pair.",
     .kind = FN_ANY,
     .run = sum_lists,
     .aggregator = true},
    {.name = "unique",
     .group = "Filter Series",
     .params = {FN_SERIES_MANY("seriesLists")},
     .brief = "Puts several lists into one and leaves out series whose name was there before.",
     .kind = FN_ANY,
     .run = unique},
};
const struct fn_family fn_lists = FN_FAMILY(lists);
