/* Functions that know something about a whole series: its percentile, its trend, its extremes. */
#include "query/fn.h"

#include "query/time_spec.h"

#include <inttypes.h>
#include <math.h>

static int n_percentile(struct fn_call *call, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    double p = fn_float(call, 1, 0);
    struct series_list result = {0};

    if (p == 0)
        return fn_fail(call, "The requested percent is required to be greater than 0");
    for (size_t i = 0; i < list->count; i++) {
        const struct series *s = list->items[i];
        struct series *made;
        const double *points;
        double *values;
        double v;
        size_t n;
        bool valid;

        if (fn_points(call, s, &points, &n) < 0)
            return ERR_INPUT;
        v = percentile_of(points, n, p, false, call->arena, &valid);
        if (!valid)
            return fn_fail(call, "there is no percentile %g", p);
        if (isnan(v))
            continue;
        made = series_copy(call->arena, s, fn_name(call, "nPercentile(%.*s, %g)", SPAN_ARG(s->name), p));
        n = s->end_s <= s->start_s ? 0 : (size_t)((s->end_s - s->start_s) / s->step_s);
        values = series_room(call->arena, n);
        for (size_t k = 0; k < n; k++)
            values[k] = v;
        series_set_tag(call->arena, s, "nPercentile", float_text(call->arena, p));
        series_set_values(made, values, n);
        series_list_add(call->arena, &result, made);
    }
    return fn_return(out, result);
}

static int extremes(const double *in, size_t n, double *min, double *max)
{
    *min = aggregator_find(SPAN_LIT("min"))->of(in, n, NULL);
    *max = aggregator_find(SPAN_LIT("max"))->of(in, n, NULL);
    return 0;
}

static int min_max(struct fn_call *call, const struct series *s, const double *in, size_t n, double *out)
{
    double min, max;

    (void)call, (void)s;
    extremes(in, n, &min, &max);
    for (size_t i = 0; i < n; i++)
        out[i] = isnan(in[i]) ? NAN : max == min ? 0 : (in[i] - min) / (max - min);
    return 0;
}

static int offset_to_zero(struct fn_call *call, const struct series *s, const double *in, size_t n, double *out)
{
    double min, max;

    extremes(in, n, &min, &max);
    series_set_tag(call->arena, s, "offsetToZero", fn_aggregate_text(call, s, aggregator_find(SPAN_LIT("min")), min));
    for (size_t i = 0; i < n; i++)
        out[i] = in[i] - min;
    return 0;
}

/* ---- aggregateLine ---- */

static int aggregate_line(struct fn_call *call, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    struct span func = fn_text(call, 1, "average");
    const struct aggregator *agg = aggregator_find(func);
    struct series_list result = {0};

    if (agg == NULL)
        return fn_fail(call, "Unsupported aggregation function: %.*s", (int)(func.len < 60 ? func.len : 60), func.ptr);
    for (size_t i = 0; i < list->count; i++) {
        const struct series *s = list->items[i];
        bool counts = strcmp(agg->name, "count") == 0;
        struct span name, text;
        struct value line;
        struct series *made;
        double v;

        if (fn_aggregate_of(call, s, agg, &v) < 0)
            return ERR_INPUT;
        name = isnan(v) ? fn_name(call, "aggregateLine(%.*s, None)", SPAN_ARG(s->name))
                        : fn_name(call, "aggregateLine(%.*s, %g)", SPAN_ARG(s->name), v);
        text = fn_aggregate_text(call, s, agg, v);
        if (fn_bool(call, 2, false)) {
            double *values = series_room(call->arena, s->count);

            made = series_copy(call->arena, s, name);
            for (size_t k = 0; k < s->count; k++)
                values[k] = v;
            series_set_values(made, values, s->count);
        } else {
            fn_constant_line(call, v, text, name, &line);
            made = line.list.items[0];
            made->name = name;
        }
        made->integers = counts;
        series_list_add(call->arena, &result, made);
    }
    return fn_return(out, result);
}

/* ---- linearRegression ---- */

static int regression_range(struct fn_call *call, struct context *ctx)
{
    struct {
        size_t arg;
        int64_t *to;
    } times[] = {{1, &ctx->from_s}, {2, &ctx->until_s}};

    for (size_t i = 0; i < 2; i++) {
        if (!fn_given(call, times[i].arg))
            continue;
        if (call->args[times[i].arg].kind != VALUE_STRING)
            return fn_fail(call, "a time must be a text in quotes");
        if (time_spec_parse(fn_text(call, times[i].arg, NULL), tz_utc(), call->ev->wall_s, times[i].to, call->err) < 0)
            return ERR_INPUT;
    }
    return 0;
}

struct line {
    double factor; /* per second */
    double offset; /* at time 0 */
};

/* Least squares over index and value; false when a line is not determined. */
static bool fit(const struct series *s, const double *v, size_t count, struct line *out)
{
    double n = 0, sum_i = 0, sum_v = 0, sum_ii = 0, sum_iv = 0;
    double denominator;

    for (size_t i = 0; i < count; i++) {
        if (isnan(v[i]))
            continue;
        n++;
        sum_i += (double)i;
        sum_v += v[i];
        sum_ii += (double)i * (double)i;
        sum_iv += (double)i * v[i];
    }
    denominator = n * sum_ii - sum_i * sum_i;
    if (denominator == 0)
        return false;
    out->factor = (n * sum_iv - sum_i * sum_v) / denominator / (double)s->step_s;
    out->offset = (sum_ii * sum_v - sum_iv * sum_i) / denominator - out->factor * (double)s->start_s;
    return true;
}

/* The range as the clock of the request's zone shows it, read as UTC: what graphite-web prints. */
static struct span regression_label(struct fn_call *call)
{
    struct context ctx = *call->ctx;
    int64_t from_s, until_s;

    regression_range(call, &ctx);
    from_s = ctx.from_s + (fn_given(call, 1) ? 0 : tz_offset(call->ev->tz, ctx.from_s));
    until_s = ctx.until_s + (fn_given(call, 2) ? 0 : tz_offset(call->ev->tz, ctx.until_s));
    return fn_name(call, "%" PRId64 ", %" PRId64, from_s, until_s);
}

static int linear_regression(struct fn_call *call, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    struct span label = regression_label(call);
    struct series_list result = {0};

    for (size_t i = 0; i < list->count && i < call->again.count; i++) {
        const struct series *s = list->items[i];
        const struct series *source = call->again.items[i];
        struct series *made = series_copy(
            call->arena, s, fn_name(call, "linearRegression(%.*s, %.*s)", SPAN_ARG(s->name), SPAN_ARG(label)));
        const double *points;
        double *values = series_room(call->arena, s->count);
        struct line line;
        size_t n;

        series_set_tag(call->arena, s, "linearRegressions", label);
        if (fn_points(call, source, &points, &n) < 0)
            return ERR_INPUT;
        if (!fit(source, points, n, &line))
            continue;
        for (size_t k = 0; k < s->count; k++)
            values[k] = line.offset + (double)(s->start_s + (int64_t)k * s->step_s) * line.factor;
        made->consolidation = SPAN_LIT("average");
        made->integers = false;
        series_set_values(made, values, s->count);
        series_list_add(call->arena, &result, made);
    }
    return fn_return(out, result);
}

static const struct fn_def stats[] = {
    {.name = "aggregateLine",
     .group = "Calculate",
     .params = {FN_SERIES("seriesList"), FN_DEFAULT("func", FN_TYPE_AGG_FUNC, "\"average\""),
                FN_DEFAULT("keepStep", FN_TYPE_BOOLEAN, "false")},
     .brief = "A level line at the average (or another aggregate) of each series.",
     .kind = FN_ANY,
     .run = aggregate_line},
    {.name = "linearRegression",
     .group = "Calculate",
     .params = {FN_SERIES("seriesList"), FN_OPTIONAL("startSourceAt", FN_TYPE_DATE),
                FN_OPTIONAL("endSourceAt", FN_TYPE_DATE)},
     .brief = "The straight line that fits each series best, optionally learned from another range.",
     .kind = FN_ANY,
     .run = linear_regression,
     .range = regression_range},
    {.name = "minMax",
     .group = "Transform",
     .params = {FN_SERIES("seriesList")},
     .brief = "Each series scaled to the range 0..1.",
     .kind = FN_PER_SERIES,
     .each = min_max},
    {.name = "nPercentile",
     .group = "Calculate",
     .params = {FN_SERIES("seriesList"), FN_PARAM("n", FN_TYPE_FLOAT)},
     .brief = "A level line at the n-th percentile of each series.",
     .kind = FN_ANY,
     .run = n_percentile},
    {.name = "offsetToZero",
     .group = "Transform",
     .params = {FN_SERIES("seriesList")},
     .brief = "Each series minus its smallest value.",
     .kind = FN_PER_SERIES,
     .each = offset_to_zero},
};
const struct fn_family fn_stats = FN_FAMILY(stats);
