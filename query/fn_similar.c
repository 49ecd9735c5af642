/* Functions that compare series by their values: correlation, distribution, outliers. All of them carbonapi's. */
#include "query/fn.h"

#include <math.h>
#include <stdlib.h>

/* The one series of argument I. */
static int single(struct fn_call *call, size_t i, const struct series **out)
{
    const struct series_list *list = fn_list(call, i);

    if (list->count != 1)
        return fn_fail(call, "argument %zu must be one series, not %zu", i + 1, list->count);
    *out = list->items[0];
    return 0;
}

/* ---- pearson ---- */

/* Sums of pairs of which both are known, with X and Y counted from a reference point near to them. */
struct pairs {
    double n, x, y, xx, yy, xy;
};

static void pairs_add(struct pairs *p, double x, double y, double sign)
{
    if (isnan(x) || isnan(y))
        return;
    p->n += sign;
    p->x += sign * x;
    p->y += sign * y;
    p->xx += sign * x * x;
    p->yy += sign * y * y;
    p->xy += sign * x * y;
}

/* NaN when one of the two does not vary. */
static double correlation(const struct pairs *p)
{
    double covariance = p->n * p->xy - p->x * p->y;
    double vx = p->n * p->xx - p->x * p->x;
    double vy = p->n * p->yy - p->y * p->y;
    double r = covariance / (sqrt(vx) * sqrt(vy));

    if (!(vx > 1e-12 * p->n * p->xx) || !(vy > 1e-12 * p->n * p->yy))
        return NAN;
    return r > 1 ? 1 : r < -1 ? -1 : r;
}

/* The mean of the known values of V[0..N), 0 when there is none. */
static double mean_of(const double *v, size_t n)
{
    double mean = aggregator_find(SPAN_LIT("average"))->of(v, n, NULL);

    return isfinite(mean) ? mean : 0;
}

/* The sums over a window move with it; they are taken anew once in each window's length, from the mean of the window,
 * so that no error piles up. */
static void moving_correlation(const double *x, const double *y, size_t n, size_t window, double *out)
{
    double from_x = 0, from_y = 0;
    struct pairs p = {0};

    for (size_t i = 0; i < n; i++) {
        size_t first = i + 1 >= window ? i + 1 - window : 0;

        out[i] = NAN;
        if (i + 1 < window)
            continue;
        if (first % window == 0) {
            from_x = mean_of(x + first, window);
            from_y = mean_of(y + first, window);
            p = (struct pairs){0};
            for (size_t k = first; k <= i; k++)
                pairs_add(&p, x[k] - from_x, y[k] - from_y, 1);
        } else {
            pairs_add(&p, x[first - 1] - from_x, y[first - 1] - from_y, -1);
            pairs_add(&p, x[i] - from_x, y[i] - from_y, 1);
        }
        out[i] = correlation(&p);
    }
}

/* Two single series and a window, for functions that compare them along the way. */
struct compared {
    const struct series *a, *b;
    const double *x, *y;
    size_t n; /* points that both have */
    size_t window;
};

static int read_compared(struct fn_call *call, struct compared *c)
{
    int64_t window = fn_int(call, 2, 0);
    size_t n;

    if (single(call, 0, &c->a) < 0 || single(call, 1, &c->b) < 0 || fn_points(call, c->a, &c->x, &c->n) < 0 ||
        fn_points(call, c->b, &c->y, &n) < 0)
        return ERR_INPUT;
    if (window < 1)
        return fn_fail(call, "the window must have at least one point");
    c->n = n < c->n ? n : c->n;
    c->window = (uint64_t)window > c->n ? c->n + 1 : (size_t)window;
    return 0;
}

static int return_compared(struct fn_call *call, const struct compared *c, const char *name, double *values,
                           struct value *out)
{
    struct series_list result = {0};
    struct series *made = series_copy(call->arena, c->a,
                                      fn_name(call, "%s(%.*s,%.*s,%lld)", name, SPAN_ARG(c->a->name),
                                              SPAN_ARG(c->b->name), (long long)fn_int(call, 2, 0)));

    made->integers = false;
    made->end_s = made->start_s + (int64_t)c->n * made->step_s;
    series_set_values(made, values, c->n);
    series_list_add(call->arena, &result, made);
    return fn_return(out, result);
}

static int pearson(struct fn_call *call, struct value *out)
{
    struct compared c;
    double *values;

    if (read_compared(call, &c) < 0)
        return ERR_INPUT;
    values = series_room(call->arena, c.n);
    moving_correlation(c.x, c.y, c.n, c.window, values);
    return return_compared(call, &c, "pearson", values, out);
}

/* ---- the first few by some score ---- */

struct scored {
    double score;
    size_t place;
    struct series *s;
};

static int by_score_down(const void *a, const void *b)
{
    const struct scored *x = a;
    const struct scored *y = b;

    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->place < y->place ? -1 : 1;
}

static int return_first(struct fn_call *call, struct scored *items, size_t count, int64_t n, struct value *out)
{
    struct series_list result = {0};

    if (count > 0)
        qsort(items, count, sizeof(*items), by_score_down);
    for (size_t i = 0; i < count && (int64_t)i < n; i++)
        series_list_add(call->arena, &result, items[i].s);
    return fn_return(out, result);
}

static int pearson_closest(struct fn_call *call, struct value *out)
{
    const struct series_list *list = fn_list(call, 1);
    struct scored *items = ARENA_ARRAY(call->arena, struct scored, list->count);
    struct span direction = fn_text(call, 3, "abs");
    bool abs = span_eq(direction, SPAN_LIT("abs"));
    bool negative = span_eq(direction, SPAN_LIT("neg"));
    const struct series *s = NULL;
    size_t count = 0, n;
    const double *x;

    if (!abs && !negative && !span_eq(direction, SPAN_LIT("pos")))
        return fn_fail(call, "the direction must be abs, pos or neg");
    if (single(call, 0, &s) < 0 || fn_points(call, s, &x, &n) < 0)
        return ERR_INPUT;
    for (size_t i = 0; i < list->count; i++) {
        struct pairs p = {0};
        const double *y;
        size_t m;
        double r, from_x, from_y;

        if (fn_points(call, list->items[i], &y, &m) < 0)
            return ERR_INPUT;
        from_x = mean_of(x, n);
        from_y = mean_of(y, m);
        for (size_t k = 0; k < n && m == n; k++)
            pairs_add(&p, x[k] - from_x, y[k] - from_y, 1);
        r = correlation(&p);
        r = abs ? fabs(r) : negative ? -r : r;
        if (r >= 0)
            items[count++] = (struct scored){r, i, list->items[i]};
    }
    return return_first(call, items, count, fn_int(call, 2, 1), out);
}

/* ---- kolmogorovSmirnovTest2 ---- */

/* A window of known values, sorted. */
struct sorted {
    double *v;
    size_t n;
};

/* Where X stands, or would stand. */
static size_t sorted_at(const struct sorted *s, double x)
{
    size_t low = 0, high = s->n;

    while (low < high) {
        size_t mid = (low + high) / 2;

        if (s->v[mid] < x)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static void sorted_add(struct sorted *s, double x)
{
    size_t at = isnan(x) ? s->n : sorted_at(s, x);

    if (isnan(x))
        return;
    memmove(s->v + at + 1, s->v + at, (s->n - at) * sizeof(double));
    s->v[at] = x;
    s->n++;
}

static void sorted_remove(struct sorted *s, double x)
{
    size_t at = isnan(x) ? 0 : sorted_at(s, x);

    if (isnan(x))
        return;
    s->n--;
    memmove(s->v + at, s->v + at + 1, (s->n - at) * sizeof(double));
}

/* The largest distance of the two distributions. */
static double distance(const struct sorted *a, const struct sorted *b)
{
    double most = 0;

    for (size_t i = 0, k = 0; i < a->n && k < b->n;) {
        double v = a->v[i] < b->v[k] ? a->v[i] : b->v[k];

        while (i < a->n && a->v[i] <= v)
            i++;
        while (k < b->n && b->v[k] <= v)
            k++;
        most = fmax(most, fabs((double)i / (double)a->n - (double)k / (double)b->n));
    }
    return most;
}

/* Kolmogorov's distribution: how probable a distance of at least LAMBDA is by chance. */
static double kolmogorov(double lambda)
{
    double sum = 0, sign = 2, last = 0;

    for (int k = 1; k <= 100; k++) {
        double term = sign * exp(-2 * lambda * lambda * k * k);

        sum += term;
        if (fabs(term) <= 0.001 * last || fabs(term) <= 1e-8 * sum)
            return sum;
        last = fabs(term);
        sign = -sign;
    }
    return 1;
}

static double same_distribution(const struct sorted *a, const struct sorted *b)
{
    double n = sqrt((double)a->n * (double)b->n / (double)(a->n + b->n));

    if (a->n == 0 || b->n == 0)
        return NAN;
    return kolmogorov((n + 0.12 + 0.11 / n) * distance(a, b));
}

static int ks_test(struct fn_call *call, struct value *out)
{
    struct sorted a = {0}, b = {0};
    struct compared c;
    double *values;

    if (read_compared(call, &c) < 0)
        return ERR_INPUT;
    a.v = series_room(call->arena, c.window + 1);
    b.v = series_room(call->arena, c.window + 1);
    values = series_room(call->arena, c.n);
    for (size_t i = 0; i < c.n; i++) {
        sorted_add(&a, c.x[i]);
        sorted_add(&b, c.y[i]);
        if (i >= c.window) {
            sorted_remove(&a, c.x[i - c.window]);
            sorted_remove(&b, c.y[i - c.window]);
        }
        values[i] = i >= c.window ? same_distribution(&a, &b) : NAN;
        if (i % 256 == 0 && eval_check(call->ev) < 0)
            return ERR_CANCELLED;
    }
    return return_compared(call, &c, "kolmogorovSmirnovTest2", values, out);
}

/* ---- tukeyAbove, tukeyBelow ---- */

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Which of N points to look at: the last INTERVAL, or when negative all but the last so many. */
static int tukey_part(struct fn_call *call, const struct series *s, size_t n, size_t *first, size_t *end)
{
    int64_t interval = fn_int(call, 3, 0);

    if (fn_given(call, 3) && call->args[3].kind == VALUE_STRING) {
        if (fn_interval(call, 3, NULL, &interval) < 0)
            return ERR_INPUT;
        interval /= s->step_s;
    }
    *first = 0;
    *end = n;
    if (interval < 0 && -interval < (int64_t)n)
        *end = n - (size_t)-interval;
    else if (interval > 0 && interval < (int64_t)n)
        *first = n - (size_t)interval;
    return 0;
}

/* The points of all series that count, in order; *count is how many. */
static int tukey_points(struct fn_call *call, const struct series_list *list, double **out, size_t *count)
{
    size_t all = 0;

    *count = 0;
    for (size_t i = 0; i < list->count; i++)
        all += list->items[i]->count;
    *out = series_room(call->arena, all);
    for (size_t i = 0; i < list->count; i++) {
        const double *points;
        size_t n, first, end;

        if (fn_points(call, list->items[i], &points, &n) < 0 || tukey_part(call, list->items[i], n, &first, &end) < 0)
            return ERR_INPUT;
        for (; first < end; first++) {
            if (!isnan(points[first]))
                (*out)[(*count)++] = points[first];
        }
    }
    if (*count > 0)
        qsort(*out, *count, sizeof(double), ascending);
    return 0;
}

static int tukey(struct fn_call *call, bool above, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    struct scored *items = ARENA_ARRAY(call->arena, struct scored, list->count);
    double basis = fn_float(call, 1, 0);
    double *sorted, low, high, spread;
    size_t count, found = 0;

    if (!(basis > 0) || fn_int(call, 2, 0) < 1)
        return fn_fail(call, "basis must be above 0 and n at least 1");
    if (tukey_points(call, list, &sorted, &count) < 0)
        return ERR_INPUT;
    if (count == 0)
        return fn_return(out, (struct series_list){0});
    low = sorted[(size_t)(0.25 * (double)count)];
    high = sorted[(size_t)(0.75 * (double)count)];
    spread = basis * (high - low);
    for (size_t i = 0; i < list->count; i++) {
        const double *points;
        size_t n, first, end;
        double outliers = 0;

        if (fn_points(call, list->items[i], &points, &n) < 0 || tukey_part(call, list->items[i], n, &first, &end) < 0)
            return ERR_INPUT;
        for (; first < end; first++)
            outliers += above ? points[first] >= high + spread : points[first] <= low - spread;
        if (outliers > 0)
            items[found++] = (struct scored){outliers, i, list->items[i]};
    }
    return return_first(call, items, found, fn_int(call, 2, 1), out);
}

static int tukey_above(struct fn_call *call, struct value *out)
{
    return tukey(call, true, out);
}

static int tukey_below(struct fn_call *call, struct value *out)
{
    return tukey(call, false, out);
}

/* ---- heatMap ---- */

/* Buckets of a histogram count all that lies below their bound: sorted, each minus the one before is what lies
 * between. */
static int heat_map(struct fn_call *call, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    struct scored *items = ARENA_ARRAY(call->arena, struct scored, list->count);
    struct series_list result = {0};

    for (size_t i = 0; i < list->count; i++) {
        const double *points;
        size_t n;

        if (fn_points(call, list->items[i], &points, &n) < 0)
            return ERR_INPUT;
        items[i] = (struct scored){.place = i, .s = list->items[i]};
        for (size_t k = 0; k < n && k < 5; k++)
            items[i].score -= isnan(points[k]) ? 0 : points[k];
    }
    if (list->count > 0)
        qsort(items, list->count, sizeof(*items), by_score_down);
    for (size_t i = 1; i < list->count; i++) {
        struct series *upper = items[i].s, *lower = items[i - 1].s;
        struct series *made = series_copy(
            call->arena, upper, fn_name(call, "heatMap(%.*s,%.*s)", SPAN_ARG(upper->name), SPAN_ARG(lower->name)));
        const double *x, *y;
        double *values;
        size_t n, m;

        if (fn_points(call, upper, &x, &n) < 0 || fn_points(call, lower, &y, &m) < 0)
            return ERR_INPUT;
        if (upper->step_s != lower->step_s || n != m)
            return fn_fail(call, "all series must have the same step and length");
        values = series_room(call->arena, n);
        for (size_t k = 0; k < n; k++)
            values[k] = x[k] - y[k];
        series_set_values(made, values, n);
        series_list_add(call->arena, &result, made);
    }
    return fn_return(out, result);
}

#define TUKEY_PARAMS                                                                                                   \
    {                                                                                                                  \
        FN_SERIES("seriesList"), FN_PARAM("basis", FN_TYPE_FLOAT), FN_PARAM("n", FN_TYPE_INTEGER),                     \
            FN_DEFAULT("interval", FN_TYPE_INT_OR_INTERVAL, "0")                                                       \
    }
#define KS_PARAMS                                                                                                      \
    {                                                                                                                  \
        FN_SERIES("series"), FN_SERIES("other"), FN_PARAM("windowSize", FN_TYPE_INTEGER)                               \
    }

static const struct fn_def similars[] = {
    {.name = "heatMap",
     .group = "Transform",
     .params = {FN_SERIES("seriesList")},
     .brief = "Turns series that each count all below a bound into counts between bounds: sorted by their first five "
              "values, each minus the one before.",
     .extension = FN_CARBONAPI,
     .kind = FN_ANY,
     .run = heat_map},
    {.name = "kolmogorovSmirnovTest2",
     .group = "Transform",
     .params = KS_PARAMS,
     .brief = "How probable it is, in each window, that two series have the same distribution.",
     .extension = FN_CARBONAPI,
     .kind = FN_ANY,
     .run = ks_test},
    {.name = "ksTest2",
     .group = "Transform",
     .params = KS_PARAMS,
     .brief = "Short for kolmogorovSmirnovTest2.",
     .extension = FN_CARBONAPI,
     .kind = FN_ANY,
     .run = ks_test},
    {.name = "pearson",
     .group = "Transform",
     .params = KS_PARAMS,
     .brief = "The correlation of two series in each window, from -1 to 1.",
     .extension = FN_CARBONAPI,
     .kind = FN_ANY,
     .run = pearson},
    {.name = "pearsonClosest",
     .group = "Transform",
     .params =
         {FN_SERIES("series"),
          FN_SERIES("seriesList"),
          FN_PARAM("n", FN_TYPE_INTEGER),
          {.name = "direction", .type = FN_TYPE_STRING, .fallback = "\"abs\"", .options = "[\"abs\",\"pos\",\"neg\"]"}},
     .brief = "The n series that correlate most with the first one.",
     .extension = FN_CARBONAPI,
     .kind = FN_ANY,
     .run = pearson_closest},
    {.name = "tukeyAbove",
     .group = "Transform",
     .params = TUKEY_PARAMS,
     .brief = "The n series with most points far above the others: by basis times the distance of the quartiles.",
     .extension = FN_CARBONAPI,
     .kind = FN_ANY,
     .run = tukey_above},
    {.name = "tukeyBelow",
     .group = "Transform",
     .params = TUKEY_PARAMS,
     .brief = "The n series with most points far below the others.",
     .extension = FN_CARBONAPI,
     .kind = FN_ANY,
     .run = tukey_below},
};
const struct fn_family fn_similar = FN_FAMILY(similars);
