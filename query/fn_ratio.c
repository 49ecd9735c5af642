/* Percentages and quotients. Division by 0 or by None gives None. */
#include "query/fn.h"

#include <math.h>

static double quotient(double a, double b)
{
    return b == 0 ? NAN : a / b;
}

static struct series *result_of(struct fn_call *call, struct span name, const struct normalised *n, double *values,
                                size_t count)
{
    struct series *s = series_new(call->arena, name, n->start_s, n->end_s, n->step_s);

    s->x_files_factor = call->ctx->x_files_factor;
    series_set_values(s, values, count);
    return s;
}

/* A / B * FACTOR point by point, after bringing both to one step. */
static int divide_pair(struct fn_call *call, struct series *a, struct series *b, double factor, const char *function,
                       struct normalised *n, struct series **out)
{
    struct series *both[] = {a, b};
    struct series_list pair = {both, 2, 2};
    const double *top, *bottom;
    size_t top_count, bottom_count, count;
    double *values;

    if (series_list_normalise(&pair, n, call->err) < 0 || fn_points(call, a, &top, &top_count) < 0 ||
        fn_points(call, b, &bottom, &bottom_count) < 0)
        return ERR_INPUT;
    count = top_count > bottom_count ? top_count : bottom_count;
    values = series_room(call->arena, count);
    for (size_t i = 0; i < count; i++)
        values[i] = i < top_count && i < bottom_count ? quotient(top[i], bottom[i]) * factor : NAN;
    *out = result_of(call, fn_name(call, "%s(%.*s,%.*s)", function, SPAN_ARG(a->name), SPAN_ARG(b->name)), n, values,
                     count);
    return 0;
}

static int divide_series(struct fn_call *call, struct value *out)
{
    struct series_list *dividends = fn_list(call, 0);
    struct series_list *divisors = fn_list(call, 1);
    struct series_list result = {0};

    if (divisors->count > 1)
        return fn_fail(call, "divideSeries second argument must reference exactly 1 series (got %zu)", divisors->count);
    for (size_t i = 0; i < dividends->count; i++) {
        struct series *s = dividends->items[i];
        struct normalised n;

        if (divisors->count == 0) {
            double *values = series_room(call->arena, s->count);

            for (size_t k = 0; k < s->count; k++)
                values[k] = NAN;
            series_set_values(s, values, s->count);
            s->name = s->path_expression = fn_name(call, "divideSeries(%.*s,MISSING)", SPAN_ARG(s->name));
        } else if (divide_pair(call, s, divisors->items[0], 1, "divideSeries", &n, &s) < 0) {
            return ERR_INPUT;
        }
        series_list_add(call->arena, &result, s);
    }
    return fn_return(out, result);
}

static int divide_lists(struct fn_call *call, struct value *out)
{
    struct series_list *dividends = fn_list(call, 0);
    struct series_list *divisors = fn_list(call, 1);
    struct series_list result = {0};

    if (dividends->count != divisors->count)
        return fn_fail(call, "dividendSeriesList and divisorSeriesList argument must have equal length");
    for (size_t i = 0; i < dividends->count; i++) {
        struct normalised n;
        struct series *s;

        if (divide_pair(call, dividends->items[i], divisors->items[i], 1, "divideSeries", &n, &s) < 0)
            return ERR_INPUT;
        series_list_add(call->arena, &result, s);
    }
    return fn_return(out, result);
}

/* ---- asPercent ---- */

/* The sum of LIST at each point, named "sumSeries(...)". */
static int sum_of(struct fn_call *call, const struct series_list *list, struct normalised *n, struct series **out)
{
    struct column *columns = ARENA_ARRAY(call->arena, struct column, list->count);
    struct span name = fn_name(call, "sumSeries(%.*s)", SPAN_ARG(series_list_expressions(call->arena, list)));
    size_t count = 0;
    double *values;

    for (size_t i = 0; i < list->count; i++) {
        if (fn_points(call, list->items[i], &columns[i].values, &columns[i].count) < 0)
            return ERR_INPUT;
        count = columns[i].count > count ? columns[i].count : count;
    }
    values = series_room(call->arena, count);
    aggregate_columns(aggregator_find(SPAN_LIT("sum")), columns, list->count, 0, values, count, call->arena);
    *out = result_of(call, name, n, values, count);
    return 0;
}

/* Every series of LIST divided by the points TOTAL; the results keep the times of the series. */
static int percent_of_total(struct fn_call *call, const struct series_list *list, const double *total,
                            size_t total_count, struct span total_name, struct series_list *out)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct series *s = list->items[i];
        struct normalised n = {s->start_s, s->end_s, s->step_s};
        const double *points;
        size_t points_count, count;
        double *values;

        if (fn_points(call, s, &points, &points_count) < 0)
            return ERR_INPUT;
        count = points_count > total_count ? points_count : total_count;
        values = series_room(call->arena, count);
        for (size_t k = 0; k < count; k++)
            values[k] = k < points_count && k < total_count ? quotient(points[k], total[k]) * 100.0 : NAN;
        series_list_add(call->arena, out,
                        result_of(call, fn_name(call, "asPercent(%.*s,%.*s)", SPAN_ARG(s->name), SPAN_ARG(total_name)),
                                  &n, values, count));
    }
    return 0;
}

static int percent_of_sum(struct fn_call *call, const struct series_list *list, struct series_list *out)
{
    struct normalised n;
    struct series *total;

    if (series_list_normalise(list, &n, call->err) < 0 || sum_of(call, list, &n, &total) < 0)
        return ERR_INPUT;
    return percent_of_total(call, list, total->values, total->count, total->name, out);
}

static int percent_of_number(struct fn_call *call, const struct series_list *list, struct series_list *out)
{
    const struct value *total = &call->args[1];
    size_t count = list->items[0]->count;
    double *values = series_room(call->arena, count);

    if (total->kind != VALUE_INTEGER && total->kind != VALUE_FLOAT)
        return fn_fail(call, "total must be a series, a list or a number");
    for (size_t i = 0; i < count; i++)
        values[i] = total->real;
    return percent_of_total(call, list, values, count, value_text(call->arena, total), out);
}

/* Equal names keep their order. */
static struct series_list sorted_by_name(struct fn_call *call, const struct series_list *list)
{
    struct series_list sorted = {0};

    for (size_t i = 0; i < list->count; i++) {
        size_t at = i;

        series_list_add(call->arena, &sorted, list->items[i]);
        for (; at > 0 && span_cmp(sorted.items[at - 1]->name, list->items[i]->name) > 0; at--)
            sorted.items[at] = sorted.items[at - 1];
        sorted.items[at] = list->items[i];
    }
    return sorted;
}

static int percent_of_list(struct fn_call *call, const struct series_list *list, struct series_list *out)
{
    const struct series_list *total = fn_list(call, 1);
    struct series_list all = {0};
    struct series_list left, right;
    struct normalised n;
    const double *points;
    size_t count;

    if (total->count != 1 && total->count != list->count)
        return fn_fail(
            call, "the second argument must be missing, a number, one series or as many as the first (%zu, not %zu)",
            list->count, total->count);
    series_list_add_all(call->arena, &all, list);
    series_list_add_all(call->arena, &all, total);
    if (total->count == 1 && series_list_normalise(&all, &n, call->err) < 0)
        return ERR_INPUT;
    if (total->count != list->count) {
        if (fn_points(call, total->items[0], &points, &count) < 0)
            return ERR_INPUT;
        return percent_of_total(call, list, points, count, total->items[0]->name, out);
    }
    left = sorted_by_name(call, list);
    right = sorted_by_name(call, total);
    for (size_t i = 0; i < left.count; i++) {
        struct series *s;

        if (divide_pair(call, left.items[i], right.items[i], 100.0, "asPercent", &n, &s) < 0)
            return ERR_INPUT;
        series_list_add(call->arena, out, s);
    }
    return 0;
}

static int group_into(struct fn_call *call, const struct series_list *list, struct series_groups *groups)
{
    for (size_t i = 0; i < list->count; i++) {
        struct span key;
        int rc = fn_node_key(call, list->items[i], 2, &key);

        if (rc < 0)
            return rc;
        series_list_add(call->arena, &series_groups_at(call->arena, groups, key)->list, list->items[i]);
    }
    return 0;
}

/* One total for each group: its only series, or the sum. *n is the range of the last sum. */
static int totals_of(struct fn_call *call, const struct series_groups *groups, struct series_groups *totals,
                     struct normalised *n)
{
    for (size_t i = 0; i < groups->count; i++) {
        const struct series_list *list = &groups->items[i].list;
        struct series *total = list->items[0];

        if (list->count > 1 && (series_list_normalise(list, n, call->err) < 0 || sum_of(call, list, n, &total) < 0))
            return ERR_INPUT;
        series_list_add(call->arena, &series_groups_at(call->arena, totals, groups->items[i].key)->list, total);
    }
    return 0;
}

/* The result for a group that has no total, or for a total without a group: all None. */
static int percent_missing(struct fn_call *call, const struct series *s, bool is_total, const struct normalised *n,
                           struct series_list *out)
{
    struct span name = is_total ? fn_name(call, "asPercent(MISSING,%.*s)", SPAN_ARG(s->name))
                                : fn_name(call, "asPercent(%.*s,MISSING)", SPAN_ARG(s->name));
    const double *points;
    size_t count;
    double *values;

    if (n->step_s == 0)
        return fn_fail(call, "nothing matches between the series and the totals");
    if (fn_points(call, s, &points, &count) < 0)
        return ERR_INPUT;
    values = series_room(call->arena, count);
    for (size_t i = 0; i < count; i++)
        values[i] = NAN;
    series_list_add(call->arena, out, result_of(call, name, n, values, count));
    return 0;
}

static int percent_by_nodes(struct fn_call *call, const struct series_list *list, struct series_list *out)
{
    struct series_groups groups = {0}, total_groups = {0}, totals = {0};
    struct normalised n = {0};
    int rc = group_into(call, list, &groups);

    if (rc == 0 && fn_given(call, 1) && call->args[1].kind != VALUE_LIST)
        return fn_fail(call, "total must be None or a seriesList");
    if (rc == 0 && fn_given(call, 1))
        rc = group_into(call, fn_list(call, 1), &total_groups);
    if (rc == 0)
        rc = totals_of(call, fn_given(call, 1) ? &total_groups : &groups, &totals, &n);
    for (size_t g = 0; rc == 0 && g < groups.count; g++) {
        const struct series_group *total = series_groups_find(&totals, groups.items[g].key);

        for (size_t i = 0; rc == 0 && i < groups.items[g].list.count; i++) {
            struct series *s = groups.items[g].list.items[i];

            if (total == NULL) {
                rc = percent_missing(call, s, false, &n, out);
                continue;
            }
            rc = divide_pair(call, s, total->list.items[0], 100.0, "asPercent", &n, &s);
            if (rc == 0)
                series_list_add(call->arena, out, s);
        }
    }
    for (size_t g = 0; rc == 0 && g < totals.count; g++) {
        if (series_groups_find(&groups, totals.items[g].key) == NULL)
            rc = percent_missing(call, totals.items[g].list.items[0], true, &n, out);
    }
    return rc;
}

static int as_percent(struct fn_call *call, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    struct series_list result = {0};
    struct normalised n;
    int rc;

    if (list->count == 0)
        return fn_return(out, result);
    if (series_list_normalise(list, &n, call->err) < 0)
        return ERR_INPUT;
    if (call->args[2].kind != VALUE_UNSET)
        rc = percent_by_nodes(call, list, &result);
    else if (!fn_given(call, 1))
        rc = percent_of_sum(call, list, &result);
    else if (call->args[1].kind == VALUE_LIST)
        rc = percent_of_list(call, list, &result);
    else
        rc = percent_of_number(call, list, &result);
    return rc < 0 ? rc : fn_return(out, result);
}

static const struct fn_def ratio[] = {
    {.name = "asPercent",
     .group = "Combine",
     .params = {FN_SERIES("seriesList"), FN_OPTIONAL("total", FN_TYPE_ANY), FN_MANY("nodes", FN_TYPE_NODE_OR_TAG)},
     .brief = "Each series as percentage of a total: of their sum, of a number, of one series or of one each; with "
              "nodes, group by group.",
     .kind = FN_ANY,
     .run = as_percent,
     .aggregator = true},
    {.name = "divideSeries",
     .group = "Combine",
     .params = {FN_SERIES("dividendSeriesList"), FN_SERIES("divisorSeries")},
     .brief = "Divides each series by one other.",
     .kind = FN_ANY,
     .run = divide_series},
    {.name = "divideSeriesLists",
     .group = "Combine",
     .params = {FN_SERIES("dividendSeriesList"), FN_SERIES("divisorSeriesList")},
     .brief = "Divides two lists pair by pair.",
     .kind = FN_ANY,
     .run = divide_lists},
    {.name = "pct",
     .group = "Combine",
     .params = {FN_SERIES("seriesList"), FN_OPTIONAL("total", FN_TYPE_ANY), FN_MANY("nodes", FN_TYPE_NODE_OR_TAG)},
     .brief = "Short for asPercent.",
     .kind = FN_ANY,
     .run = as_percent,
     .aggregator = true},
};
const struct fn_family fn_ratio = FN_FAMILY(ratio);
