/* Holt-Winters forecasts: triple exponential smoothing with an additive season (Brutlag, "Aberrant
 * Behavior Detection in Time Series for Network Monitoring", 2000).
 *
 * For each value v, with the season's part from one season ago:
 *     intercept = alpha * (v - seasonal) + (1 - alpha) * (intercept + slope)
 *     slope     = beta * (intercept - previous intercept) + (1 - beta) * slope
 *     seasonal  = gamma * (v - intercept) + (1 - gamma) * seasonal
 *     next prediction = intercept + slope + seasonal of one season before the next value
 *     deviation = gamma * |v - prediction| + (1 - gamma) * deviation one season ago
 * Where v is None nothing can be learned: slope, seasonal and deviation count as 0 there, and the value
 * after it is taken as the intercept. It all begins a bootstrap interval before the range. */
#include "query/fn.h"

#include <math.h>

static const double alpha = 0.1;
static const double beta = 0.0035;
static const double gamma_ = 0.1;

/* Where the optional arguments stand; ConfidenceBands and Aberration have delta before them. */
enum { FORECAST_BOOTSTRAP = 1, BANDS_DELTA = 1, BANDS_BOOTSTRAP = 2 };

static size_t bootstrap_arg(const struct fn_call *call)
{
    return strcmp(call->def->name, "holtWintersForecast") == 0 ? FORECAST_BOOTSTRAP : BANDS_BOOTSTRAP;
}

static int holt_winters_range(struct fn_call *call, struct context *ctx)
{
    int64_t bootstrap_s;
    int rc = fn_interval(call, bootstrap_arg(call), "7d", &bootstrap_s);

    if (rc == 0)
        ctx->from_s -= bootstrap_s;
    return rc;
}

struct analysis {
    double *predictions;
    double *deviations;
    size_t count;
};

/* What holds before the first value. */
struct state {
    double intercept;
    double slope;
    double prediction; /* of the value to come; NaN when there is none */
};

static double season_ago(const double *v, size_t i, size_t season)
{
    return i >= season ? v[i - season] : 0;
}

static void learn(struct state *st, double v, size_t i, size_t season, double *seasonals, struct analysis *a)
{
    double before = i == 0 || isnan(st->intercept) ? v : st->intercept;
    double seasonal = season_ago(seasonals, i, season);
    double prediction = i == 0 ? v : st->prediction;
    double slope = i == 0 ? 0 : st->slope;

    st->intercept = alpha * (v - seasonal) + (1 - alpha) * (before + slope);
    st->slope = beta * (st->intercept - before) + (1 - beta) * slope;
    seasonals[i] = gamma_ * (v - st->intercept) + (1 - gamma_) * seasonal;
    a->predictions[i] = prediction;
    a->deviations[i] =
        gamma_ * fabs(v - (isnan(prediction) ? 0 : prediction)) + (1 - gamma_) * season_ago(a->deviations, i, season);
    st->prediction = st->intercept + st->slope + season_ago(seasonals, i + 1, season);
}

static int analyse(struct fn_call *call, const struct series *s, struct analysis *a)
{
    struct state st = {NAN, 0, NAN};
    const double *in;
    double *seasonals;
    int64_t season_s;
    size_t season;

    if (fn_interval(call, bootstrap_arg(call) + 1, "1d", &season_s) < 0 || fn_points(call, s, &in, &a->count) < 0)
        return ERR_INPUT;
    season_s = season_s / s->step_s;
    season = season_s < 2 ? 2 : (size_t)season_s;
    a->predictions = series_room(call->arena, a->count);
    a->deviations = series_room(call->arena, a->count);
    seasonals = series_room(call->arena, a->count);
    for (size_t i = 0; i < a->count; i++) {
        if (!isnan(in[i])) {
            learn(&st, in[i], i, season, seasonals, a);
            continue;
        }
        seasonals[i] = 0;
        a->deviations[i] = 0;
        a->predictions[i] = st.prediction;
        st = (struct state){NAN, 0, NAN};
    }
    return 0;
}

/* The points after the bootstrap. */
static int cut_bootstrap(struct fn_call *call, const struct series *s, const struct analysis *a, size_t *skip,
                         int64_t *start_s)
{
    int64_t bootstrap_s;

    if (fn_interval(call, bootstrap_arg(call), "7d", &bootstrap_s) < 0)
        return ERR_INPUT;
    if (bootstrap_s < 0)
        return fn_fail(call, "the bootstrap interval may not be negative");
    *start_s = s->start_s + bootstrap_s;
    *skip = (size_t)(bootstrap_s / s->step_s) < a->count ? (size_t)(bootstrap_s / s->step_s) : a->count;
    return 0;
}

static struct series *made_of(struct fn_call *call, const struct series *s, const char *name, int64_t start_s,
                              const double *values, size_t count)
{
    struct series *made = series_copy(call->arena, s, fn_name(call, "%s(%.*s)", name, SPAN_ARG(s->name)));

    made->start_s = start_s;
    made->consolidation = SPAN_LIT("average");
    made->integers = false;
    series_set_values(made, values, count);
    return made;
}

static int forecast(struct fn_call *call, struct value *out)
{
    struct series_list result = {0};

    for (size_t i = 0; i < call->again.count; i++) {
        const struct series *s = call->again.items[i];
        struct analysis a;
        int64_t start_s;
        size_t skip;
        int rc = analyse(call, s, &a);

        if (rc == 0)
            rc = cut_bootstrap(call, s, &a, &skip, &start_s);
        if (rc < 0)
            return rc;
        series_set_tag(call->arena, s, "holtWintersForecast", SPAN_LIT("1"));
        series_set_tag(call->arena, s, "holtWintersDeviation", SPAN_LIT("1"));
        series_list_add(call->arena, &result,
                        made_of(call, s, "holtWintersForecast", start_s, a.predictions + skip, a.count - skip));
    }
    return fn_return(out, result);
}

/* Lower and upper band of one series, in this order. */
static int bands_of(struct fn_call *call, const struct series *s, struct series **lower, struct series **upper)
{
    double delta = (double)fn_int(call, BANDS_DELTA, 3);
    struct analysis a;
    double *low, *high;
    int64_t start_s;
    size_t skip, n;
    int rc = analyse(call, s, &a);

    if (rc == 0)
        rc = cut_bootstrap(call, s, &a, &skip, &start_s);
    if (rc < 0)
        return rc;
    n = a.count - skip;
    low = series_room(call->arena, n);
    high = series_room(call->arena, n);
    for (size_t i = 0; i < n; i++) {
        high[i] = a.predictions[skip + i] + delta * a.deviations[skip + i];
        low[i] = a.predictions[skip + i] - delta * a.deviations[skip + i];
    }
    series_set_tag(call->arena, s, "holtWintersForecast", SPAN_LIT("1"));
    series_set_tag(call->arena, s, "holtWintersDeviation", SPAN_LIT("1"));
    series_set_tag(call->arena, s, "holtWintersConfidenceUpper", SPAN_LIT("1"));
    series_set_tag(call->arena, s, "holtWintersConfidenceLower", SPAN_LIT("1"));
    *lower = made_of(call, s, "holtWintersConfidenceLower", start_s, low, n);
    *upper = made_of(call, s, "holtWintersConfidenceUpper", start_s, high, n);
    (*lower)->path_expression = (*upper)->path_expression = s->path_expression;
    return 0;
}

static int all_bands(struct fn_call *call, struct series_list *result)
{
    for (size_t i = 0; i < call->again.count; i++) {
        struct series *lower, *upper;
        int rc = bands_of(call, call->again.items[i], &lower, &upper);

        if (rc < 0)
            return rc;
        series_list_add(call->arena, result, lower);
        series_list_add(call->arena, result, upper);
    }
    return 0;
}

static int confidence_bands(struct fn_call *call, struct value *out)
{
    struct series_list result = {0};
    int rc = all_bands(call, &result);

    return rc < 0 ? rc : fn_return(out, result);
}

static int confidence_area(struct fn_call *call, struct value *out)
{
    struct series_list result = {0};
    struct series *lower, *upper;

    if (all_bands(call, &result) < 0)
        return ERR_INPUT;
    if (result.count != 2)
        return fn_fail(call, "exactly one series is needed");
    lower = result.items[0];
    upper = result.items[1];
    lower->style.stacked = lower->style.invisible = upper->style.stacked = true;
    lower->name = upper->name = fn_name(call, "holtWintersConfidenceArea(%.*s)", SPAN_ARG(upper->path_expression));
    series_set_tag(call->arena, upper, "holtWintersConfidenceArea", SPAN_LIT("1"));
    lower->path_expression = upper->path_expression = upper->name;
    return fn_return(out, result);
}

/* The band whose name belongs to S; the last one when names repeat. */
static const struct series *band_for(struct fn_call *call, const struct series_list *bands, const char *name,
                                     const struct series *s)
{
    struct span wanted = fn_name(call, "%s(%.*s)", name, SPAN_ARG(s->name));

    for (size_t i = bands->count; i > 0; i--) {
        if (span_eq(bands->items[i - 1]->name, wanted))
            return bands->items[i - 1];
    }
    return NULL;
}

/* How many points of S there are until the last that is known. */
static size_t last_known(const struct series *s)
{
    size_t n = s->count;

    while (n > 0 && isnan(s->values[n - 1]))
        n--;
    return n;
}

static double beyond(double v, double low, double high)
{
    if (v > high)
        return v - high;
    return v < low ? v - low : 0;
}

static int aberration(struct fn_call *call, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    struct series_list bands = {0};
    struct series_list result = {0};
    int rc = all_bands(call, &bands);

    for (size_t i = 0; rc == 0 && i < list->count; i++) {
        const struct series *s = list->items[i];
        const struct series *lower = band_for(call, &bands, "holtWintersConfidenceLower", s);
        const struct series *upper = band_for(call, &bands, "holtWintersConfidenceUpper", s);
        double *values = series_room(call->arena, s->count);

        if (lower == NULL || upper == NULL || lower->count < last_known(s))
            return fn_fail(call, "there is no forecast for \"%.*s\"", (int)(s->name.len < 200 ? s->name.len : 200),
                           s->name.ptr);
        for (size_t k = 0; k < s->count; k++)
            values[k] = isnan(s->values[k]) ? 0 : beyond(s->values[k], lower->values[k], upper->values[k]);
        series_set_tag(call->arena, s, "holtWintersAberration", SPAN_LIT("1"));
        series_list_add(call->arena, &result, made_of(call, s, "holtWintersAberration", s->start_s, values, s->count));
    }
    return rc < 0 ? rc : fn_return(out, result);
}

static const struct fn_def holtwinters[] = {
    {.name = "holtWintersAberration",
     .group = "Calculate",
     .params =
         {FN_SERIES("seriesList"),
          FN_DEFAULT("delta", FN_TYPE_INTEGER, "3"),
          {.name = "bootstrapInterval",
           .type = FN_TYPE_INTERVAL,
           .fallback = "\"7d\"",
           .suggestions = "[\"7d\",\"30d\"]"},
          {.name = "seasonality", .type = FN_TYPE_INTERVAL, .fallback = "\"1d\"", .suggestions = "[\"1d\",\"7d\"]"}},
     .brief = "How far each point lies outside of the confidence bands; 0 inside.",
     .kind = FN_ANY,
     .run = aberration,
     .range = holt_winters_range},
    {.name = "holtWintersConfidenceArea",
     .group = "Calculate",
     .params =
         {FN_SERIES("seriesList"),
          FN_DEFAULT("delta", FN_TYPE_INTEGER, "3"),
          {.name = "bootstrapInterval",
           .type = FN_TYPE_INTERVAL,
           .fallback = "\"7d\"",
           .suggestions = "[\"7d\",\"30d\"]"},
          {.name = "seasonality", .type = FN_TYPE_INTERVAL, .fallback = "\"1d\"", .suggestions = "[\"1d\",\"7d\"]"}},
     .brief = "The area between the confidence bands of one series.",
     .kind = FN_ANY,
     .run = confidence_area,
     .range = holt_winters_range},
    {.name = "holtWintersConfidenceBands",
     .group = "Calculate",
     .params =
         {FN_SERIES("seriesList"),
          FN_DEFAULT("delta", FN_TYPE_INTEGER, "3"),
          {.name = "bootstrapInterval",
           .type = FN_TYPE_INTERVAL,
           .fallback = "\"7d\"",
           .suggestions = "[\"7d\",\"30d\"]"},
          {.name = "seasonality", .type = FN_TYPE_INTERVAL, .fallback = "\"1d\"", .suggestions = "[\"1d\",\"7d\"]"}},
     .brief = "Where a series with a season is expected to be: forecast minus and plus delta deviations.",
     .kind = FN_ANY,
     .run = confidence_bands,
     .range = holt_winters_range},
    {.name = "holtWintersForecast",
     .group = "Calculate",
     .params =
         {FN_SERIES("seriesList"),
          {.name = "bootstrapInterval",
           .type = FN_TYPE_INTERVAL,
           .fallback = "\"7d\"",
           .suggestions = "[\"7d\",\"30d\"]"},
          {.name = "seasonality", .type = FN_TYPE_INTERVAL, .fallback = "\"1d\"", .suggestions = "[\"1d\",\"7d\"]"}},
     .brief = "The forecast of a series with a season, learned from the time before.",
     .kind = FN_ANY,
     .run = forecast,
     .range = holt_winters_range},
};
const struct fn_family fn_holtwinters = FN_FAMILY(holtwinters);
