/* Functions of a window that moves along the series. They need the time of one window before "from",
 * so their argument is evaluated again from there.
 *
 * A point covers the WINDOW points up to and including itself. Sums, averages and extremes of all
 * windows take linear time: cut the values into blocks as long as the window; a window is the end of
 * one block and the beginning of the next, and both are kept as running aggregates from the cut outward
 * (van Herk and Gil-Werman's method for extremes, which serves sums without the rounding errors of
 * adding and taking away again). */
#include "query/fn.h"

#include "query/time_spec.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/* ---- the window ---- */

struct window {
    struct span text; /* for names and tags */
    bool is_interval; /* given as "5min" */
    int64_t points;   /* when given as a number */
    int64_t lookback_s;
};

static int read_window(struct fn_call *call, struct window *w)
{
    const struct value *v = &call->args[1];
    const struct series_list *list = fn_list(call, 0);
    int64_t step_s = 0;

    *w = (struct window){.text = value_text(call->arena, v), .is_interval = v->kind == VALUE_STRING};
    if (w->is_interval) {
        int rc = time_offset_parse(v->text, &w->lookback_s, call->err);

        w->lookback_s = w->lookback_s < 0 ? -w->lookback_s : w->lookback_s;
        return rc;
    }
    if ((v->kind != VALUE_INTEGER && v->kind != VALUE_FLOAT) || fabs(v->real) > 1e9)
        return fn_fail(call, "the window must be a number of points or an interval");
    for (size_t i = 0; i < list->count; i++)
        step_s = list->items[i]->step_s > step_s ? list->items[i]->step_s : step_s;
    w->points = (int64_t)v->real;
    w->lookback_s = step_s * w->points;
    return 0;
}

static int window_range(struct fn_call *call, struct context *ctx)
{
    struct window w;
    int rc = read_window(call, &w);

    ctx->from_s -= rc == 0 ? w.lookback_s : 0;
    return rc;
}

/* "movingAverage": "moving" and the function with a capital first and small letters after. */
static struct span moving_name(struct fn_call *call, struct span func)
{
    char *text = arena_alloc(call->arena, func.len + 1);

    for (size_t i = 0; i < func.len; i++)
        text[i] = (char)(i == 0 ? toupper((unsigned char)func.ptr[i]) : tolower((unsigned char)func.ptr[i]));
    return arena_join(call->arena, SPAN_LIT("moving"), span_of(text, func.len), SPAN_LIT(""));
}

/* ---- linear-time aggregates ---- */

struct sums {
    double value;
    double known;
};

enum merge { MERGE_NONE, MERGE_SUM, MERGE_AVERAGE, MERGE_MIN, MERGE_MAX };

static enum merge merge_of(const struct aggregator *agg)
{
    static const struct {
        const char *name;
        enum merge merge;
    } table[] = {{"sum", MERGE_SUM},          {"total", MERGE_SUM}, {"average", MERGE_AVERAGE}, {"avg", MERGE_AVERAGE},
                 {"avg_zero", MERGE_AVERAGE}, {"min", MERGE_MIN},   {"max", MERGE_MAX}};

    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
        if (strcmp(table[i].name, agg->name) == 0)
            return table[i].merge;
    }
    return MERGE_NONE;
}

static struct sums merged(enum merge merge, struct sums a, struct sums b)
{
    struct sums r = {a.value, a.known + b.known};

    if (a.known == 0)
        r.value = b.value;
    else if (b.known == 0)
        r.value = a.value;
    else if (merge == MERGE_MIN)
        r.value = b.value < a.value ? b.value : a.value;
    else if (merge == MERGE_MAX)
        r.value = b.value > a.value ? b.value : a.value;
    else
        r.value = a.value + b.value;
    return r;
}

static struct sums single(double v)
{
    return (struct sums){isnan(v) ? 0 : v, isnan(v) ? 0 : 1};
}

static double finished(enum merge merge, struct sums s)
{
    return merge == MERGE_AVERAGE ? s.value / s.known : s.value;
}

/* OUT[i] = the aggregate of IN[i + 1 .. i + WINDOW], for COUNT windows. Blocks begin at 1. */
static void merge_windows(struct fn_call *call, enum merge merge, const double *in, size_t n, size_t window,
                          double x_files_factor, double *out, size_t count)
{
    struct sums *tails = arena_alloc(call->arena, (n + 1) * sizeof(*tails)); /* from here to the block's end */
    struct sums head = {0, 0};                                               /* from the block's begin to here */

    for (size_t i = n; i-- > 1;)
        tails[i] = i == n - 1 || i % window == 0 ? single(in[i]) : merged(merge, single(in[i]), tails[i + 1]);
    for (size_t i = 0; i < count; i++) {
        struct sums s = tails[i + 1];

        /* The first window of each block is the block. */
        if (i % window == 0) {
            head = (struct sums){0, 0};
        } else {
            head = merged(merge, head, single(in[i + window]));
            s = merged(merge, s, head);
        }
        out[i] = s.known > 0 && s.known / (double)window >= x_files_factor ? finished(merge, s) : NAN;
    }
}

/* The same for any aggregation, window by window, of the known values. */
static int each_window(struct fn_call *call, const struct aggregator *agg, const double *in, size_t window,
                       double x_files_factor, double *out, size_t count)
{
    double *known = series_room(call->arena, window);

    for (size_t i = 0; i < count; i++) {
        size_t n = 0;

        for (size_t k = i + 1; k <= i + window; k++) {
            if (!isnan(in[k]))
                known[n++] = in[k];
        }
        out[i] = n > 0 && (double)n / (double)window >= x_files_factor ? agg->of(known, n, call->arena) : NAN;
        if (i % 256 == 0 && eval_check(call->ev) < 0)
            return ERR_CANCELLED;
    }
    return 0;
}

static int move_over(struct fn_call *call, const struct series *s, const struct window *w, const struct aggregator *agg,
                     double x_files_factor, struct series *made)
{
    int64_t window = w->is_interval ? w->lookback_s / s->step_s : w->points;
    enum merge merge = merge_of(agg);
    const double *in;
    double *values;
    size_t n, count;

    if (fn_points(call, s, &in, &n) < 0)
        return ERR_INPUT;
    /* A negative window sees nothing, but moves the range as graphite-web does. */
    count = window < (int64_t)n ? (size_t)((int64_t)n - window) : 0;
    values = series_room(call->arena, count);
    series_set_values(made, values, count);
    if (window <= 0) {
        for (size_t i = 0; i < count; i++)
            values[i] = NAN;
        return 0;
    }
    if (merge == MERGE_NONE)
        return each_window(call, agg, in, (size_t)window, x_files_factor, values, count);
    merge_windows(call, merge, in, n, (size_t)window, x_files_factor, values, count);
    return 0;
}

static int moving(struct fn_call *call, struct span func, size_t factor_arg, struct value *out)
{
    const struct aggregator *agg = aggregator_find(func);
    struct span name = moving_name(call, func);
    struct series_list result = {0};
    struct window w;

    if (agg == NULL)
        return fn_fail(call, "Unsupported aggregation function: %.*s", (int)(func.len < 60 ? func.len : 60), func.ptr);
    if (fn_list(call, 0)->count == 0)
        return fn_return(out, result);
    if (read_window(call, &w) < 0)
        return ERR_INPUT;
    for (size_t i = 0; i < call->again.count; i++) {
        const struct series *s = call->again.items[i];
        const char *quote = w.is_interval ? "\"" : "";
        struct series *made = series_copy(
            call->arena, s,
            fn_name(call, "%.*s(%.*s,%s%.*s%s)", SPAN_ARG(name), SPAN_ARG(s->name), quote, SPAN_ARG(w.text), quote));
        int rc = move_over(call, s, &w, agg, fn_float(call, factor_arg, s->x_files_factor), made);

        if (rc < 0)
            return rc;
        tags_set(call->arena, series_tags(call->arena, s), name, w.text);
        made->start_s = s->start_s + w.lookback_s;
        made->integers = false;
        series_list_add(call->arena, &result, made);
    }
    return fn_return(out, result);
}

static int moving_average(struct fn_call *call, struct value *out)
{
    return moving(call, SPAN_LIT("average"), 2, out);
}

static int moving_median(struct fn_call *call, struct value *out)
{
    return moving(call, SPAN_LIT("median"), 2, out);
}

static int moving_sum(struct fn_call *call, struct value *out)
{
    return moving(call, SPAN_LIT("sum"), 2, out);
}

static int moving_min(struct fn_call *call, struct value *out)
{
    return moving(call, SPAN_LIT("min"), 2, out);
}

static int moving_max(struct fn_call *call, struct value *out)
{
    return moving(call, SPAN_LIT("max"), 2, out);
}

static int moving_window(struct fn_call *call, struct value *out)
{
    return moving(call, fn_text(call, 2, "average"), 3, out);
}

/* ---- exponentialMovingAverage ---- */

static int exponential(struct fn_call *call, const struct series *s, const struct window *w, struct series *made)
{
    size_t window = (size_t)(w->is_interval ? w->lookback_s / s->step_s : w->points);
    double constant = 2.0 / (double)((w->is_interval ? w->lookback_s : w->points) + 1);
    const double *in;
    double *values;
    double average;
    size_t n;

    if (fn_points(call, s, &in, &n) < 0)
        return ERR_INPUT;
    average = aggregator_find(SPAN_LIT("average"))->of(in, window < n ? window : n, call->arena);
    average = isnan(average) ? 0 : average;
    values = series_room(call->arena, n + 1);
    values[0] = fn_round(average, 6);
    for (size_t i = window; i < n; i++) {
        average = isnan(in[i]) ? average : constant * in[i] + (1 - constant) * average;
        values[i - window + 1] = isnan(in[i]) ? NAN : fn_round(average, 6);
    }
    series_set_values(made, values, window < n ? n - window + 1 : 1);
    return 0;
}

static int exponential_moving_average(struct fn_call *call, struct value *out)
{
    struct series_list result = {0};
    struct window w;

    if (fn_list(call, 0)->count == 0)
        return fn_return(out, result);
    if (read_window(call, &w) < 0)
        return ERR_INPUT;
    if (w.lookback_s < 0)
        return fn_fail(call, "the window may not be negative");
    for (size_t i = 0; i < call->again.count; i++) {
        const struct series *s = call->again.items[i];
        const char *quote = w.is_interval ? "\"" : "";
        struct series *made = series_copy(call->arena, s,
                                          fn_name(call, "exponentialMovingAverage(%.*s,%s%.*s%s)", SPAN_ARG(s->name),
                                                  quote, SPAN_ARG(w.text), quote));
        int rc = exponential(call, s, &w, made);

        if (rc < 0)
            return rc;
        series_set_tag(call->arena, s, "exponentialMovingAverage", w.text);
        made->start_s = s->start_s + w.lookback_s;
        made->integers = false;
        series_list_add(call->arena, &result, made);
    }
    return fn_return(out, result);
}

/* ---- stdev: over the points so far, at most POINTS of them ---- */

static int stdev(struct fn_call *call, const struct series *s, const double *in, size_t n, double *out)
{
    int64_t points = fn_int(call, 1, 0);
    double tolerance = fn_float(call, 2, 0.1);
    double known = 0, sum = 0, squares = 0;

    (void)s;
    if (points < 0)
        return fn_fail(call, "the number of points may not be negative");
    for (size_t i = 0; i < n; i++) {
        double dropped = (int64_t)i < points ? NAN : in[i - (size_t)points];
        double deviation;

        if (!isnan(dropped)) {
            known--;
            sum -= dropped;
            squares -= dropped * dropped;
        }
        if (!isnan(in[i])) {
            known++;
            sum += in[i];
            squares += in[i] * in[i];
        }
        deviation = sqrt(known * squares - sum * sum) / known;
        out[i] = known > 0 && known / (double)points >= tolerance ? deviation : NAN;
    }
    return 0;
}

static const struct fn_def movings[] = {
    {.name = "exponentialMovingAverage",
     .group = "Calculate",
     .params = {FN_SERIES("seriesList"),
                {.name = "windowSize",
                 .type = FN_TYPE_INT_OR_INTERVAL,
                 FN_REQUIRED,
                 .suggestions = "[5,7,10,\"1min\",\"5min\",\"10min\",\"30min\",\"1hour\"]"}},
     .brief = "A moving average in which newer points count more.",
     .kind = FN_ANY,
     .run = exponential_moving_average,
     .range = window_range},
    {.name = "movingAverage",
     .group = "Calculate",
     .params = {FN_SERIES("seriesList"),
                {.name = "windowSize",
                 .type = FN_TYPE_INT_OR_INTERVAL,
                 FN_REQUIRED,
                 .suggestions = "[5,7,10,\"1min\",\"5min\",\"10min\",\"30min\",\"1hour\"]"},
                FN_OPTIONAL("xFilesFactor", FN_TYPE_FLOAT)},
     .brief = "The average of so many points, or of an interval, up to each point.",
     .kind = FN_ANY,
     .run = moving_average,
     .range = window_range},
    {.name = "movingMax",
     .group = "Calculate",
     .params = {FN_SERIES("seriesList"),
                {.name = "windowSize",
                 .type = FN_TYPE_INT_OR_INTERVAL,
                 FN_REQUIRED,
                 .suggestions = "[5,7,10,\"1min\",\"5min\",\"10min\",\"30min\",\"1hour\"]"},
                FN_OPTIONAL("xFilesFactor", FN_TYPE_FLOAT)},
     .brief = "The largest of so many points, or of an interval, up to each point.",
     .kind = FN_ANY,
     .run = moving_max,
     .range = window_range},
    {.name = "movingMedian",
     .group = "Calculate",
     .params = {FN_SERIES("seriesList"),
                {.name = "windowSize",
                 .type = FN_TYPE_INT_OR_INTERVAL,
                 FN_REQUIRED,
                 .suggestions = "[5,7,10,\"1min\",\"5min\",\"10min\",\"30min\",\"1hour\"]"},
                FN_OPTIONAL("xFilesFactor", FN_TYPE_FLOAT)},
     .brief = "The median of so many points, or of an interval, up to each point.",
     .kind = FN_ANY,
     .run = moving_median,
     .range = window_range},
    {.name = "movingMin",
     .group = "Calculate",
     .params = {FN_SERIES("seriesList"),
                {.name = "windowSize",
                 .type = FN_TYPE_INT_OR_INTERVAL,
                 FN_REQUIRED,
                 .suggestions = "[5,7,10,\"1min\",\"5min\",\"10min\",\"30min\",\"1hour\"]"},
                FN_OPTIONAL("xFilesFactor", FN_TYPE_FLOAT)},
     .brief = "The smallest of so many points, or of an interval, up to each point.",
     .kind = FN_ANY,
     .run = moving_min,
     .range = window_range},
    {.name = "movingSum",
     .group = "Calculate",
     .params = {FN_SERIES("seriesList"),
                {.name = "windowSize",
                 .type = FN_TYPE_INT_OR_INTERVAL,
                 FN_REQUIRED,
                 .suggestions = "[5,7,10,\"1min\",\"5min\",\"10min\",\"30min\",\"1hour\"]"},
                FN_OPTIONAL("xFilesFactor", FN_TYPE_FLOAT)},
     .brief = "The sum of so many points, or of an interval, up to each point.",
     .kind = FN_ANY,
     .run = moving_sum,
     .range = window_range},
    {.name = "movingWindow",
     .group = "Calculate",
     .params = {FN_SERIES("seriesList"),
                {.name = "windowSize",
                 .type = FN_TYPE_INT_OR_INTERVAL,
                 FN_REQUIRED,
                 .suggestions = "[5,7,10,\"1min\",\"5min\",\"10min\",\"30min\",\"1hour\"]"},
                FN_DEFAULT("func", FN_TYPE_AGG_FUNC, "\"average\""),
                FN_OPTIONAL("xFilesFactor", FN_TYPE_FLOAT)},
     .brief = "Any aggregation of so many points, or of an interval, up to each point.",
     .kind = FN_ANY,
     .run = moving_window,
     .range = window_range},
    {.name = "stdev",
     .group = "Calculate",
     .params = {FN_SERIES("seriesList"), FN_PARAM("points", FN_TYPE_INTEGER),
                FN_DEFAULT("windowTolerance", FN_TYPE_FLOAT, "0.1")},
     .brief = "The standard deviation of so many points up to each point.",
     .kind = FN_PER_SERIES,
     .each = stdev,
     .label = ",%.0f",
     .tag = "="},
};
const struct fn_family fn_moving = FN_FAMILY(movings);
