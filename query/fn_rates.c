/* Differences and sums along a series. */
#include "query/fn.h"

#include <math.h>

static int derivative(struct fn_call *call, const struct series *s, const double *in, size_t n, double *out)
{
    double before = NAN;

    (void)call, (void)s;
    for (size_t i = 0; i < n; i++) {
        out[i] = in[i] - before;
        before = in[i];
    }
    return 0;
}

/* What a counter may count from and to; NaN: not given. */
struct bounds {
    double max;
    double min;
};

static struct bounds bounds_of(const struct fn_call *call)
{
    return (struct bounds){fn_float(call, 1, NAN), fn_float(call, 2, NAN)};
}

/* The growth of a counter since *BEFORE, which moves on. A counter that went down has wrapped, when the
 * bounds are known, or was reset. */
static double growth(double v, double *before, struct bounds b)
{
    double last = *before;

    *before = v;
    if (v > b.max || v < b.min) {
        *before = NAN;
        return NAN;
    }
    if (isnan(last) || isnan(v) || v >= last)
        return v - last;
    if (!isnan(b.max))
        return b.max + 1 + v - last - (isnan(b.min) ? 0 : b.min);
    return isnan(b.min) ? NAN : v - b.min;
}

static int non_negative_derivative(struct fn_call *call, const struct series *s, const double *in, size_t n,
                                   double *out)
{
    struct bounds b = bounds_of(call);
    double before = NAN;

    (void)s;
    for (size_t i = 0; i < n; i++)
        out[i] = growth(in[i], &before, b);
    return 0;
}

static int per_second(struct fn_call *call, const struct series *s, const double *in, size_t n, double *out)
{
    struct bounds b = bounds_of(call);
    double before = NAN;

    for (size_t i = 0; i < n; i++)
        out[i] = fn_round(growth(in[i], &before, b) / (double)s->step_s, 6);
    return 0;
}

static int integral(struct fn_call *call, const struct series *s, const double *in, size_t n, double *out)
{
    double sum = 0;

    (void)call, (void)s;
    for (size_t i = 0; i < n; i++) {
        sum += isnan(in[i]) ? 0 : in[i];
        out[i] = isnan(in[i]) ? NAN : sum;
    }
    return 0;
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* Begins anew at every multiple of the interval after the start of the request. */
static int integral_by_interval(struct fn_call *call, const struct series *s, const double *in, size_t n, double *out)
{
    int64_t interval_s;
    int64_t since = s->start_s - call->ctx->from_s;
    double sum = 0;
    int rc = fn_interval(call, 1, NULL, &interval_s);

    if (rc < 0)
        return rc;
    interval_s = interval_s < 0 ? -interval_s : interval_s;
    if (interval_s == 0)
        return fn_fail(call, "the interval may not be zero");
    for (size_t i = 0; i < n; i++, since += s->step_s) {
        if (floor_div(since, interval_s) != floor_div(since - s->step_s, interval_s))
            sum = 0;
        sum += isnan(in[i]) ? 0 : in[i];
        out[i] = sum;
    }
    return 0;
}

/* 1 where the value is another than the one before, None left out. */
static int changed(struct fn_call *call, const struct series *s, const double *in, size_t n, double *out)
{
    double before = NAN;

    (void)call, (void)s;
    for (size_t i = 0; i < n; i++) {
        out[i] = !isnan(before) && !isnan(in[i]) && in[i] != before;
        before = isnan(in[i]) ? before : in[i];
    }
    return 0;
}

/* The sum of all points so far, beginning anew where the one resetting series is not 0. */
static int integral_with_reset(struct fn_call *call, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    const struct series_list *resets = fn_list(call, 1);
    struct series_list result = {0};
    const double *reset;
    size_t reset_count;

    if (resets->count != 1)
        return fn_fail(call, "the resetting series must be one, not %zu", resets->count);
    if (fn_points(call, resets->items[0], &reset, &reset_count) < 0)
        return ERR_INPUT;
    for (size_t i = 0; i < list->count; i++) {
        const struct series *s = list->items[i];
        struct series *made = series_copy(
            call->arena, s,
            fn_name(call, "integralWithReset(%.*s,%.*s)", SPAN_ARG(s->name), SPAN_ARG(resets->items[0]->name)));
        const double *points;
        double *values;
        double sum = 0;
        size_t n;

        if (fn_points(call, s, &points, &n) < 0)
            return ERR_INPUT;
        if (s->step_s != resets->items[0]->step_s || n != reset_count)
            return fn_fail(call, "the resetting series must have the same step and length");
        values = series_room(call->arena, n);
        for (size_t k = 0; k < n; k++) {
            if (!isnan(points[k]))
                sum = isnan(reset[k]) || reset[k] == 0 ? sum + points[k] : 0;
            values[k] = isnan(points[k]) ? NAN : sum;
        }
        series_set_values(made, values, n);
        series_list_add(call->arena, &result, made);
    }
    return fn_return(out, result);
}

static const struct fn_def rates[] = {
    {.name = "changed",
     .group = "Special",
     .params = {FN_SERIES("seriesList")},
     .brief = "1 at each point that differs from the one before it, else 0.",
     .kind = FN_PER_SERIES,
     .each = changed,
     .numbers = FN_NUMBERS_COUNT},
    {.name = "derivative",
     .group = "Transform",
     .params = {FN_SERIES("seriesList")},
     .brief = "The difference between each point and the one before it.",
     .kind = FN_PER_SERIES,
     .each = derivative,
     .tag = "1",
     .numbers = FN_NUMBERS_SAME},
    {.name = "integral",
     .group = "Transform",
     .params = {FN_SERIES("seriesList")},
     .brief = "The sum of all points so far.",
     .kind = FN_PER_SERIES,
     .each = integral,
     .tag = "1"},
    {.name = "integralWithReset",
     .group = "Transform",
     .params = {FN_SERIES("seriesList"), FN_SERIES("resettingSeries")},
     .brief = "The sum of all points so far, beginning anew where another series is not 0.",
     .extension = FN_CARBONAPI,
     .kind = FN_ANY,
     .run = integral_with_reset},
    {.name = "integralByInterval",
     .group = "Transform",
     .params = {FN_SERIES("seriesList"), FN_PARAM("intervalUnit", FN_TYPE_STRING)},
     .brief = "The sum of all points so far, beginning anew with each interval after the start of the graph.",
     .kind = FN_PER_SERIES,
     .each = integral_by_interval,
     .label = ",'%s'",
     .tag = "="},
    {.name = "nonNegativeDerivative",
     .group = "Transform",
     .params = {FN_SERIES("seriesList"), FN_OPTIONAL("maxValue", FN_TYPE_FLOAT),
                FN_OPTIONAL("minValue", FN_TYPE_FLOAT)},
     .brief = "How much a counter has grown since the point before; None where it was reset.",
     .kind = FN_PER_SERIES,
     .each = non_negative_derivative,
     .tag = "1"},
    {.name = "perSecond",
     .group = "Transform",
     .params = {FN_SERIES("seriesList"), FN_OPTIONAL("maxValue", FN_TYPE_FLOAT),
                FN_OPTIONAL("minValue", FN_TYPE_FLOAT)},
     .brief = "How fast a counter grows, per second; None where it was reset.",
     .kind = FN_PER_SERIES,
     .each = per_second,
     .tag = "1"},
};
const struct fn_family fn_rates = FN_FAMILY(rates);
