/* Functions that make one series of many, point by point. */
#include "query/fn.h"

#include <math.h>

/* All series of all arguments by one aggregation function; FUNC is how the result is named. */
static int combine_all(struct fn_call *call, const char *func, struct value *out)
{
    struct series_list all = fn_lists_joined(call, 0);
    struct series_list result = {0};
    struct series *s = NULL;
    int rc = fn_aggregate(call, &all, aggregator_find(span_str(func)), span_str(func), call->ctx->x_files_factor, &s);

    if (rc == 0 && s != NULL)
        series_list_add(call->arena, &result, s);
    return rc < 0 ? rc : fn_return(out, result);
}

static int sum_series(struct fn_call *call, struct value *out)
{
    return combine_all(call, "sum", out);
}

static int average_series(struct fn_call *call, struct value *out)
{
    return combine_all(call, "average", out);
}

static int min_series(struct fn_call *call, struct value *out)
{
    return combine_all(call, "min", out);
}

static int max_series(struct fn_call *call, struct value *out)
{
    return combine_all(call, "max", out);
}

static int diff_series(struct fn_call *call, struct value *out)
{
    return combine_all(call, "diff", out);
}

static int stddev_series(struct fn_call *call, struct value *out)
{
    return combine_all(call, "stddev", out);
}

static int range_of_series(struct fn_call *call, struct value *out)
{
    return combine_all(call, "rangeOf", out);
}

/* A single series stays as it is. */
static int multiply_series(struct fn_call *call, struct value *out)
{
    if (call->args_count == 1 && fn_list(call, 0)->count == 1)
        return fn_return(out, *fn_list(call, 0));
    return combine_all(call, "multiply", out);
}

static int aggregate(struct fn_call *call, struct value *out)
{
    const struct aggregator *agg = fn_aggregator(call, 1, NULL);
    struct series_list result = {0};
    struct series *s = NULL;
    int rc;

    if (agg == NULL)
        return ERR_INPUT;
    rc = fn_aggregate(call, fn_list(call, 0), agg, fn_text(call, 1, NULL), fn_float(call, 2, call->ctx->x_files_factor),
                      &s);
    if (rc == 0 && s != NULL)
        series_list_add(call->arena, &result, s);
    return rc < 0 ? rc : fn_return(out, result);
}

/* Normalise LIST; the points of each series and the length of the longest. */
static int columns_of(struct fn_call *call, const struct series_list *list, struct normalised *n,
                      struct column **columns, size_t *count)
{
    int rc = series_list_normalise(list, n, call->err);

    *columns = ARENA_ARRAY(call->arena, struct column, list->count);
    *count = 0;
    for (size_t i = 0; rc == 0 && i < list->count; i++) {
        rc = fn_points(call, list->items[i], &(*columns)[i].values, &(*columns)[i].count);
        *count = (*columns)[i].count > *count ? (*columns)[i].count : *count;
    }
    return rc;
}

static struct series *combined(struct fn_call *call, struct span name, const struct normalised *n, double *values,
                               size_t count)
{
    struct series *s = series_new(call->arena, name, n->start_s, n->end_s, n->step_s);

    s->x_files_factor = call->ctx->x_files_factor;
    series_set_values(s, values, count);
    return s;
}

/* How many series there are, whether they have points or not. */
static int count_series(struct fn_call *call, struct value *out)
{
    struct series_list all = fn_lists_joined(call, 0);
    struct series_list result = {0};
    struct normalised n;
    struct column *columns;
    struct series *s;
    double *values;
    size_t count;
    int rc;

    if (call->args_count == 1 && call->args[0].kind == VALUE_UNSET)
        return fn_constant_line(call, 0, SPAN_LIT("0"), SPAN_LIT("countSeries()"), out);
    if (all.count == 0)
        return fn_return(out, result);
    rc = columns_of(call, &all, &n, &columns, &count);
    if (rc < 0)
        return rc;
    values = series_room(call->arena, count);
    for (size_t i = 0; i < count; i++)
        values[i] = (double)all.count;
    s = combined(call, fn_name(call, "countSeries(%.*s)", SPAN_ARG(series_list_expressions(call->arena, &all))), &n,
                 values, count);
    s->integers = true;
    series_list_add(call->arena, &result, s);
    return fn_return(out, result);
}

/* ((first ^ second) ^ third) ..., by the names of the series, not their path expressions. */
static int pow_series(struct fn_call *call, struct value *out)
{
    struct series_list all = fn_lists_joined(call, 0);
    struct series_list result = {0};
    struct span name = SPAN_LIT("powSeries(");
    struct normalised n;
    struct column *columns;
    double *values;
    size_t count;
    int rc;

    if (all.count == 0)
        return fn_return(out, result);
    rc = columns_of(call, &all, &n, &columns, &count);
    if (rc < 0)
        return rc;
    values = series_room(call->arena, count);
    for (size_t i = 0; i < count; i++) {
        values[i] = i < columns[0].count ? columns[0].values[i] : NAN;
        for (size_t k = 1; k < all.count; k++) {
            double exponent = i < columns[k].count ? columns[k].values[i] : NAN;

            values[i] = isnan(values[i]) || isnan(exponent) ? NAN : fn_pow(values[i], exponent);
        }
    }
    for (size_t k = 0; k < all.count; k++)
        name = arena_join(call->arena, name, SPAN_LIT(","), all.items[k]->name);
    name = fn_name(call, "powSeries(%.*s)", SPAN_ARG(span_cut(name, sizeof("powSeries("), name.len)));
    series_list_add(call->arena, &result, combined(call, name, &n, values, count));
    return fn_return(out, result);
}

static int percentile_of_series(struct fn_call *call, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    double p = fn_float(call, 1, 0);
    struct series_list result = {0};
    struct normalised n;
    struct column *columns;
    double *values, *row;
    size_t count;
    bool valid = true;
    int rc;

    if (!(p > 0))
        return fn_fail(call, "The requested percent is required to be greater than 0");
    if (list->count == 0)
        return fn_return(out, result);
    rc = columns_of(call, list, &n, &columns, &count);
    if (rc < 0)
        return rc;
    values = series_room(call->arena, count);
    row = series_room(call->arena, list->count);
    for (size_t i = 0; i < count && valid; i++) {
        for (size_t k = 0; k < list->count; k++)
            row[k] = i < columns[k].count ? columns[k].values[i] : NAN;
        values[i] = percentile_of(row, list->count, p, fn_bool(call, 2, false), call->arena, &valid);
    }
    if (!valid)
        return fn_fail(call, "there is no percentile %g", p);
    series_list_add(call->arena, &result,
                    combined(call,
                             fn_name(call, "percentileOfSeries(%.*s,%g)", SPAN_ARG(list->items[0]->path_expression), p),
                             &n, values, count));
    return fn_return(out, result);
}

/* Sum of value * weight, divided by the sum of the weights; series are paired by parts of their names. */
struct pair {
    struct span key;
    struct series *average;
    struct series *weight;
};

static int pairs_of(struct fn_call *call, struct series_groups *groups, struct pair *pairs)
{
    for (size_t i = 0; i < fn_list(call, 0)->count; i++) {
        for (size_t which = 0; which < 2; which++) {
            struct series *s = fn_list(call, which)->items[i];
            struct series_group *group;
            struct span key;
            int rc = fn_node_key(call, s, 2, &key);

            if (rc < 0)
                return rc;
            group = series_groups_at(call->arena, groups, key);
            if (which == 0)
                pairs[group - groups->items].average = s;
            else
                pairs[group - groups->items].weight = s;
        }
    }
    return 0;
}

static int product_of(struct fn_call *call, const struct pair *p, struct series **out)
{
    const double *a, *b;
    size_t a_count, b_count, count;
    double *values;
    struct series *s;

    if (fn_points(call, p->average, &a, &a_count) < 0 || fn_points(call, p->weight, &b, &b_count) < 0)
        return ERR_INPUT;
    count = a_count > b_count ? a_count : b_count;
    values = series_room(call->arena, count);
    for (size_t i = 0; i < count; i++)
        values[i] = i < a_count && i < b_count ? a[i] * b[i] : NAN;
    s = series_new(call->arena,
                   fn_name(call, "product(%.*s,%.*s)", SPAN_ARG(p->weight->name), SPAN_ARG(p->average->name)),
                   p->average->start_s, p->average->end_s, p->average->step_s);
    s->x_files_factor = call->ctx->x_files_factor;
    series_set_values(s, values, count);
    *out = s;
    return 0;
}

/* The distinct path expressions, sorted. */
static struct span sorted_expressions(struct fn_call *call, const struct series_list *list)
{
    struct series_list sorted = {0};

    for (size_t i = 0; i < list->count; i++) {
        size_t at = sorted.count;

        series_list_add(call->arena, &sorted, list->items[i]);
        for (; at > 0 && span_cmp(sorted.items[at - 1]->path_expression, list->items[i]->path_expression) > 0; at--)
            sorted.items[at] = sorted.items[at - 1];
        sorted.items[at] = list->items[i];
    }
    return series_list_expressions(call->arena, &sorted);
}

static struct span nodes_text(struct fn_call *call, size_t first)
{
    struct span text = SPAN_LIT("");

    for (size_t i = first; i < call->args_count && call->args[i].kind != VALUE_UNSET; i++)
        text = arena_join(call->arena, text, i > first ? SPAN_LIT(",") : SPAN_LIT(""),
                          value_text(call->arena, &call->args[i]));
    return text;
}

static int weighted_average(struct fn_call *call, struct value *out)
{
    const struct series_list *averages = fn_list(call, 0);
    const struct series_list *weights = fn_list(call, 1);
    struct pair *pairs = ARENA_ARRAY(call->arena, struct pair, averages->count * 2);
    const struct aggregator *sum = aggregator_find(SPAN_LIT("sum"));
    struct series_groups groups = {0};
    struct series_list products = {0};
    struct series_list result = {0};
    struct series *top = NULL, *bottom = NULL, *s;
    double *values;
    size_t count;
    int rc;

    if (averages->count != weights->count)
        return fn_fail(call, "weightedAverage needs as many weights as averages (%zu, not %zu)", averages->count,
                       weights->count);
    rc = pairs_of(call, &groups, pairs);
    for (size_t i = 0; rc == 0 && i < groups.count; i++) {
        if (pairs[i].average == NULL || pairs[i].weight == NULL)
            continue;
        rc = product_of(call, &pairs[i], &s);
        if (rc == 0)
            series_list_add(call->arena, &products, s);
    }
    if (rc < 0 || products.count == 0)
        return rc < 0 ? rc : fn_return(out, result);
    rc = fn_aggregate(call, &products, sum, SPAN_LIT("sum"), call->ctx->x_files_factor, &top);
    if (rc == 0)
        rc = fn_aggregate(call, weights, sum, SPAN_LIT("sum"), call->ctx->x_files_factor, &bottom);
    if (rc < 0)
        return rc;
    count = top->count > bottom->count ? top->count : bottom->count;
    values = series_room(call->arena, count);
    for (size_t i = 0; i < count; i++)
        values[i] =
            i < top->count && i < bottom->count && bottom->values[i] != 0 ? top->values[i] / bottom->values[i] : NAN;
    s = series_new(call->arena,
                   fn_name(call, "weightedAverage(%.*s, %.*s, %.*s)", SPAN_ARG(sorted_expressions(call, averages)),
                           SPAN_ARG(sorted_expressions(call, weights)), SPAN_ARG(nodes_text(call, 2))),
                   top->start_s, top->end_s, top->step_s);
    s->x_files_factor = call->ctx->x_files_factor;
    series_set_values(s, values, count);
    series_list_add(call->arena, &result, s);
    return fn_return(out, result);
}

static const struct fn_def combine[] = {
    {.name = "aggregate",
     .group = "Combine",
     .params = {FN_SERIES("seriesList"), FN_PARAM("func", FN_TYPE_AGG_FUNC),
                FN_OPTIONAL("xFilesFactor", FN_TYPE_FLOAT)},
     .brief = "Combines all series by an aggregation function of your choice.",
     .kind = FN_ANY,
     .run = aggregate},
    {.name = "averageSeries",
     .group = "Combine",
     .params = {FN_SERIES_MANY("seriesLists")},
     .brief = "The average of all series at each point.",
     .kind = FN_ANY,
     .run = average_series,
     .aggregator = true},
    {.name = "avg",
     .group = "Combine",
     .params = {FN_SERIES_MANY("seriesLists")},
     .brief = "Short for averageSeries.",
     .kind = FN_ANY,
     .run = average_series,
     .aggregator = true},
    {.name = "count",
     .group = "Combine",
     .params = {FN_MANY("seriesLists", FN_TYPE_SERIES_LIST)},
     .brief = "Short for countSeries.",
     .extension = FN_CARBONAPI,
     .kind = FN_ANY,
     .run = count_series},
    {.name = "countSeries",
     .group = "Combine",
     .params = {FN_MANY("seriesLists", FN_TYPE_SERIES_LIST)},
     .brief = "How many series there are.",
     .kind = FN_ANY,
     .run = count_series,
     .aggregator = true},
    {.name = "diff",
     .group = "Combine",
     .params = {FN_SERIES_MANY("seriesLists")},
     .brief = "Short for diffSeries.",
     .extension = FN_CARBONAPI,
     .kind = FN_ANY,
     .run = diff_series},
    {.name = "diffSeries",
     .group = "Combine",
     .params = {FN_SERIES_MANY("seriesLists")},
     .brief = "The first series minus all others.",
     .kind = FN_ANY,
     .run = diff_series,
     .aggregator = true},
    {.name = "maxSeries",
     .group = "Combine",
     .params = {FN_SERIES_MANY("seriesLists")},
     .brief = "The largest of all series at each point.",
     .kind = FN_ANY,
     .run = max_series,
     .aggregator = true},
    {.name = "minSeries",
     .group = "Combine",
     .params = {FN_SERIES_MANY("seriesLists")},
     .brief = "The smallest of all series at each point.",
     .kind = FN_ANY,
     .run = min_series,
     .aggregator = true},
    {.name = "multiply",
     .group = "Combine",
     .params = {FN_SERIES_MANY("seriesLists")},
     .brief = "Short for multiplySeries.",
     .extension = FN_CARBONAPI,
     .kind = FN_ANY,
     .run = multiply_series},
    {.name = "multiplySeries",
     .group = "Combine",
     .params = {FN_SERIES_MANY("seriesLists")},
     .brief = "The product of all series at each point.",
     .kind = FN_ANY,
     .run = multiply_series,
     .aggregator = true},
    {.name = "percentileOfSeries",
     .group = "Combine",
     .params = {FN_SERIES("seriesList"), FN_PARAM("n", FN_TYPE_FLOAT),
                FN_DEFAULT("interpolate", FN_TYPE_BOOLEAN, "false")},
     .brief = "The n-th percentile of all series at each point.",
     .kind = FN_ANY,
     .run = percentile_of_series},
    {.name = "powSeries",
     .group = "Combine",
     .params = {FN_SERIES_MANY("seriesList")},
     .brief = "The first series to the power of the second, to the power of the third, and so on.",
     .kind = FN_ANY,
     .run = pow_series,
     .aggregator = true},
    {.name = "rangeOfSeries",
     .group = "Combine",
     .params = {FN_SERIES_MANY("seriesLists")},
     .brief = "The largest minus the smallest of all series at each point.",
     .kind = FN_ANY,
     .run = range_of_series,
     .aggregator = true},
    {.name = "stddev",
     .group = "Combine",
     .params = {FN_SERIES_MANY("seriesLists")},
     .brief = "Short for stddevSeries.",
     .extension = FN_CARBONAPI,
     .kind = FN_ANY,
     .run = stddev_series},
    {.name = "stddevSeries",
     .group = "Combine",
     .params = {FN_SERIES_MANY("seriesLists")},
     .brief = "The standard deviation of all series at each point.",
     .kind = FN_ANY,
     .run = stddev_series,
     .aggregator = true},
    {.name = "sum",
     .group = "Combine",
     .params = {FN_SERIES_MANY("seriesLists")},
     .brief = "Short for sumSeries.",
     .kind = FN_ANY,
     .run = sum_series,
     .aggregator = true},
    {.name = "sumSeries",
     .group = "Combine",
     .params = {FN_SERIES_MANY("seriesLists")},
     .brief = "The sum of all series at each point.",
     .kind = FN_ANY,
     .run = sum_series,
     .aggregator = true},
    {.name = "weightedAverage",
     .group = "Combine",
     .params = {FN_SERIES("seriesListAvg"), FN_SERIES("seriesListWeight"), FN_MANY("nodes", FN_TYPE_NODE_OR_TAG)},
     .brief = "The average of some series, each weighted by another; paired by parts of their names.",
     .kind = FN_ANY,
     .run = weighted_average},
};
const struct fn_family fn_combine = FN_FAMILY(combine);
