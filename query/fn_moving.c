/* Functions of a window that moves along the series. They need the time of one window before "from",
 * so their argument is evaluated again from there.
 *
 * A point covers the WINDOW points up to and including itself. No function here takes longer for a larger window.
 * For all but medians: cut the values into blocks as long as the window; a window is the end of
 * one block and the beginning of the next, and both are kept as running aggregates from the cut outward
 * (van Herk and Gil-Werman's method for extremes, which serves sums without the rounding errors of
 * adding and taking away again). Medians come from an order-statistics tree. */
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
    double value; /* so far; for deviations the mean; for differences the first value */
    double known; /* how many values */
    double rest;  /* for deviations their squares; for differences the sum of all but the first */
};

enum merge {
    MERGE_NONE,
    MERGE_SUM,
    MERGE_AVERAGE,
    MERGE_MIN,
    MERGE_MAX,
    MERGE_LAST,
    MERGE_PRODUCT,
    MERGE_DEVIATION,
    MERGE_DIFF
};

static enum merge merge_of(const struct aggregator *agg)
{
    static const struct {
        const char *name;
        enum merge merge;
    } table[] = {{"sum", MERGE_SUM},          {"total", MERGE_SUM},        {"average", MERGE_AVERAGE},
                 {"avg", MERGE_AVERAGE},      {"avg_zero", MERGE_AVERAGE}, {"min", MERGE_MIN},
                 {"max", MERGE_MAX},          {"last", MERGE_LAST},        {"current", MERGE_LAST},
                 {"multiply", MERGE_PRODUCT}, {"stddev", MERGE_DEVIATION}, {"diff", MERGE_DIFF}};

    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
        if (strcmp(table[i].name, agg->name) == 0)
            return table[i].merge;
    }
    return MERGE_NONE;
}

static inline __attribute__((always_inline)) struct sums merged(enum merge merge, struct sums a, struct sums b)
{
    struct sums r = {a.value, a.known + b.known, 0};

    if (a.known == 0)
        return b;
    if (b.known == 0)
        return a;
    if (merge == MERGE_DEVIATION) {
        double apart = b.value - a.value;

        r.value += apart * b.known / r.known;
        r.rest = a.rest + b.rest + apart * apart * a.known * b.known / r.known;
    } else if (merge == MERGE_PRODUCT) {
        r.value = a.value * b.value;
    } else if (merge == MERGE_MIN) {
        r.value = b.value < a.value ? b.value : a.value;
    } else if (merge == MERGE_MAX) {
        r.value = b.value > a.value ? b.value : a.value;
    } else if (merge == MERGE_LAST) {
        r.value = b.value;
    } else if (merge == MERGE_DIFF) {
        r.rest = a.rest + b.value + b.rest;
    } else {
        r.value = a.value + b.value;
    }
    return r;
}

static struct sums single(double v)
{
    return (struct sums){isnan(v) ? 0 : v, isnan(v) ? 0 : 1, 0};
}

static double finished(enum merge merge, struct sums s)
{
    if (merge == MERGE_DEVIATION)
        return sqrt(s.rest / s.known);
    if (merge == MERGE_DIFF)
        return s.value - s.rest;
    return merge == MERGE_AVERAGE ? s.value / s.known : s.value;
}

/* OUT[i] = the aggregate of IN[i + 1 .. i + WINDOW], for COUNT windows. Blocks begin at 1. */
static inline __attribute__((always_inline)) void merge_all(struct fn_call *call, enum merge merge, const double *in,
                                                            size_t n, size_t window, double x_files_factor, double *out,
                                                            size_t count)
{
    struct sums *tails = arena_alloc(call->arena, (n + 1) * sizeof(*tails)); /* from here to the block's end */
    struct sums head = {0};                                                  /* from the block's begin to here */

    for (size_t i = n; i-- > 1;)
        tails[i] = i == n - 1 || i % window == 0 ? single(in[i]) : merged(merge, single(in[i]), tails[i + 1]);
    for (size_t i = 0; i < count; i++) {
        struct sums s = tails[i + 1];

        /* The first window of each block is the block. */
        if (i % window == 0) {
            head = (struct sums){0};
        } else {
            head = merged(merge, head, single(in[i + window]));
            s = merged(merge, s, head);
        }
        out[i] = s.known > 0 && s.known / (double)window >= x_files_factor ? finished(merge, s) : NAN;
    }
}

/* The same, compiled once for each of the common ways: they are the inner loop. */
static void merge_windows(struct fn_call *call, enum merge merge, const double *in, size_t n, size_t window,
                          double x_files_factor, double *out, size_t count)
{
    switch (merge) {
    case MERGE_SUM:
        merge_all(call, MERGE_SUM, in, n, window, x_files_factor, out, count);
        break;
    case MERGE_AVERAGE:
        merge_all(call, MERGE_AVERAGE, in, n, window, x_files_factor, out, count);
        break;
    case MERGE_MIN:
        merge_all(call, MERGE_MIN, in, n, window, x_files_factor, out, count);
        break;
    case MERGE_MAX:
        merge_all(call, MERGE_MAX, in, n, window, x_files_factor, out, count);
        break;
    default:
        merge_all(call, merge, in, n, window, x_files_factor, out, count);
        break;
    }
}

/* OUT[i] = how many of IN[i + 1 .. i + WINDOW] are known. */
static void count_windows(const double *in, size_t window, double x_files_factor, double *out, size_t count)
{
    double known = 0;

    for (size_t k = 1; k < window && count > 0; k++)
        known += !isnan(in[k]);
    for (size_t i = 0; i < count; i++) {
        known += !isnan(in[i + window]);
        out[i] = known > 0 && known / (double)window >= x_files_factor ? known : NAN;
        known -= !isnan(in[i + 1]);
    }
}

/* ---- medians ----
 *
 * The known values of the series are ranked once. A Fenwick tree over the ranks counts which of them are in the window;
 * adding, dropping and finding the k-th smallest take log n each, whatever the window. */

struct ranked {
    double value;
    size_t at;
};

static int by_value(const void *a, const void *b)
{
    const struct ranked *x = a;
    const struct ranked *y = b;

    return x->value != y->value ? (x->value < y->value ? -1 : 1) : (x->at > y->at) - (x->at < y->at);
}

struct order {
    struct ranked *sorted; /* by rank */
    uint32_t *rank;        /* of each point, from 1; 0: None */
    uint32_t *tree;
    size_t count;
    size_t top; /* the largest power of two within count */
    size_t inside;
};

static void order_init(struct order *o, struct arena *arena, const double *in, size_t n)
{
    *o = (struct order){.sorted = ARENA_ARRAY(arena, struct ranked, n), .rank = ARENA_ARRAY(arena, uint32_t, n)};
    for (size_t i = 0; i < n; i++) {
        if (!isnan(in[i]))
            o->sorted[o->count++] = (struct ranked){in[i], i};
    }
    if (o->count > 0)
        qsort(o->sorted, o->count, sizeof(*o->sorted), by_value);
    for (size_t k = 0; k < o->count; k++)
        o->rank[o->sorted[k].at] = (uint32_t)k + 1;
    o->tree = ARENA_ARRAY(arena, uint32_t, o->count + 1);
    for (o->top = 1; o->top * 2 <= o->count;)
        o->top *= 2;
}

/* The point AT enters the window (CHANGE 1) or leaves it (-1). */
static void order_change(struct order *o, size_t at, int change)
{
    if (o->rank[at] == 0)
        return;
    o->inside += (size_t)change;
    for (size_t k = o->rank[at]; k <= o->count; k += k & -k)
        o->tree[k] += (uint32_t)change;
}

/* The K-th smallest value in the window, from 0; there are more than K. */
static double order_nth(const struct order *o, size_t k)
{
    size_t rank = 0;

    for (size_t bit = o->top; bit > 0; bit /= 2) {
        if (rank + bit <= o->count && o->tree[rank + bit] <= k) {
            rank += bit;
            k -= o->tree[rank];
        }
    }
    return o->sorted[rank].value;
}

static void median_windows(struct fn_call *call, const double *in, size_t n, size_t window, double x_files_factor,
                           double *out, size_t count)
{
    struct order o;

    order_init(&o, call->arena, in, n);
    for (size_t k = 1; k < window && count > 0; k++)
        order_change(&o, k, 1);
    for (size_t i = 0; i < count; i++) {
        order_change(&o, i + window, 1);
        out[i] = NAN;
        if (o.inside > 0 && (double)o.inside / (double)window >= x_files_factor)
            out[i] = o.inside % 2 == 1 ? order_nth(&o, o.inside / 2)
                                       : (order_nth(&o, o.inside / 2 - 1) + order_nth(&o, o.inside / 2)) / 2;
        order_change(&o, i + 1, -1);
    }
}

/* The largest minus the smallest value. */
static void range_windows(struct fn_call *call, const double *in, size_t n, size_t window, double x_files_factor,
                          double *out, size_t count)
{
    double *min = series_room(call->arena, count);

    merge_windows(call, MERGE_MAX, in, n, window, x_files_factor, out, count);
    merge_windows(call, MERGE_MIN, in, n, window, x_files_factor, min, count);
    for (size_t i = 0; i < count; i++)
        out[i] -= min[i];
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
    if (strcmp(agg->name, "median") == 0)
        median_windows(call, in, n, (size_t)window, x_files_factor, values, count);
    else if (strcmp(agg->name, "count") == 0)
        count_windows(in, (size_t)window, x_files_factor, values, count);
    else if (strncmp(agg->name, "range", 5) == 0)
        range_windows(call, in, n, (size_t)window, x_files_factor, values, count);
    else
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
