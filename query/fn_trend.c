/* Functions that tell where a series is heading, and how it compares with what it did before: all of them
 * carbonapi's, and named as there. */
#include "query/fn.h"

#include "query/time_spec.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/* ---- exponentialWeightedMovingAverage ---- */

static int weighted_average(struct fn_call *call, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    struct span alpha_text = value_text(call->arena, &call->args[1]);
    double alpha = fn_float(call, 1, 0);
    struct series_list result = {0};

    for (size_t i = 0; i < list->count; i++) {
        const struct series *s = list->items[i];
        struct series *made =
            series_copy(call->arena, s, fn_name(call, "ewma(%.*s,%.*s)", SPAN_ARG(s->name), SPAN_ARG(alpha_text)));
        double average = NAN;
        const double *points;
        double *values;
        size_t n;

        if (fn_points(call, s, &points, &n) < 0)
            return ERR_INPUT;
        values = series_room(call->arena, n);
        for (size_t k = 0; k < n; k++) {
            if (!isnan(points[k]))
                average = isnan(average) ? points[k] : alpha * points[k] + (1 - alpha) * average;
            values[k] = isnan(points[k]) ? NAN : average;
        }
        made->integers = false;
        series_set_values(made, values, n);
        series_list_add(call->arena, &result, made);
    }
    return fn_return(out, result);
}

/* ---- polyfit ----
 *
 * Least squares by polynomials that are orthogonal on the known points (Forsythe): each is made from the two before
 * it, and the coefficients are found one by one. That takes time linear in points and degree, and has none of the
 * cancellation of normal equations. */

enum { DEGREE_MAX = 30 };

struct fitting {
    const double *v;
    size_t n;
    double centre, half; /* indexes are scaled to -1..1 */
    double alpha[DEGREE_MAX + 1], beta[DEGREE_MAX + 1], coefficient[DEGREE_MAX + 1];
    int degree;
};

/* The polynomials at index X, into P[0..degree]. */
static void polynomials(const struct fitting *f, double x, int degree, double *p)
{
    x = (x - f->centre) / f->half;
    p[0] = 1;
    for (int d = 1; d <= degree; d++)
        p[d] = (x - f->alpha[d - 1]) * p[d - 1] - (d > 1 ? f->beta[d - 1] * p[d - 2] : 0);
}

static void fit_degree(struct fitting *f, int degree, double *norm)
{
    double p[DEGREE_MAX + 1];
    double square = 0, moment = 0, product = 0;

    for (size_t i = 0; i < f->n; i++) {
        if (isnan(f->v[i]))
            continue;
        polynomials(f, (double)i, degree, p);
        square += p[degree] * p[degree];
        moment += ((double)i - f->centre) / f->half * p[degree] * p[degree];
        product += f->v[i] * p[degree];
    }
    f->coefficient[degree] = product / square;
    f->alpha[degree] = moment / square;
    f->beta[degree] = degree > 0 ? square / *norm : 0;
    *norm = square;
}

static double fitted(const struct fitting *f, double x)
{
    double p[DEGREE_MAX + 1];
    double sum = 0;

    polynomials(f, x, f->degree, p);
    for (int d = 0; d <= f->degree; d++)
        sum += f->coefficient[d] * p[d];
    return sum;
}

static size_t known_points(const double *v, size_t n)
{
    size_t known = 0;

    for (size_t i = 0; i < n; i++)
        known += !isnan(v[i]);
    return known;
}

/* OUT[0..COUNT) from V[0..N); None when a polynomial of DEGREE is not determined. */
static void fit_polynomial(const double *v, size_t n, int degree, double *out, size_t count)
{
    struct fitting f = {.v = v, .n = n, .centre = (double)n / 2, .half = n > 1 ? (double)n / 2 : 1, .degree = degree};
    bool determined = known_points(v, n) > (size_t)degree;
    double norm = 0;

    for (int d = 0; d <= degree && determined; d++)
        fit_degree(&f, d, &norm);
    for (size_t i = 0; i < count; i++)
        out[i] = determined ? fitted(&f, (double)i) : NAN;
}

static struct span polyfit_name(struct fn_call *call, const struct series *s, int64_t degree)
{
    if (fn_given(call, 2))
        return fn_name(call, "polyfit(%.*s,%" PRId64 ",'%.*s')", SPAN_ARG(s->name), degree,
                       SPAN_ARG(fn_text(call, 2, "")));
    if (fn_given(call, 1))
        return fn_name(call, "polyfit(%.*s,%" PRId64 ")", SPAN_ARG(s->name), degree);
    return fn_name(call, "polyfit(%.*s)", SPAN_ARG(s->name));
}

static int polyfit(struct fn_call *call, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    int64_t degree = fn_int(call, 1, 1);
    struct series_list result = {0};
    int64_t ahead_s;

    if (degree < 1 || degree > DEGREE_MAX)
        return fn_fail(call, "the degree must be between 1 and %d", DEGREE_MAX);
    if (fn_interval(call, 2, "0d", &ahead_s) < 0)
        return ERR_INPUT;
    if (ahead_s < 0)
        return fn_fail(call, "the offset must point to the future");
    for (size_t i = 0; i < list->count; i++) {
        const struct series *s = list->items[i];
        struct series *made = series_copy(call->arena, s, polyfit_name(call, s, degree));
        const double *points;
        double *values;
        size_t n, count;

        if (fn_points(call, s, &points, &n) < 0)
            return ERR_INPUT;
        made->step_s = s->step_s * (s->values_per_point > 1 ? s->values_per_point : 1);
        count = n + (size_t)(ahead_s / made->step_s);
        if (count > call->ev->limits->points_max)
            return err_set(call->err, ERR_LIMIT, "polyfit would give more than %zu points",
                           call->ev->limits->points_max);
        values = series_room(call->arena, count);
        fit_polynomial(points, n, (int)degree, values, count);
        made->end_s = s->start_s + (int64_t)count * made->step_s;
        made->integers = false;
        series_set_values(made, values, count);
        series_list_add(call->arena, &result, made);
    }
    return fn_return(out, result);
}

/* ---- baseline, baselineAberration ---- */

/* The same series in several earlier ranges, by name. */
static int fetch_earlier(struct fn_call *call, int64_t unit_s, struct series_groups *groups)
{
    for (int64_t shift = fn_int(call, 2, 0); shift < fn_int(call, 3, 7); shift++) {
        struct context ctx = *call->ctx;
        struct series_list shifted;
        int64_t by_s;
        int rc;

        if (shift == 0)
            continue;
        if (__builtin_mul_overflow(unit_s, shift, &by_s) || llabs(by_s) > INT64_C(400) * 365 * 86400)
            return fn_fail(call, "the shift is out of range");
        ctx.from_s += by_s;
        ctx.until_s += by_s;
        rc = fn_again(call, &ctx, &shifted);
        if (rc < 0)
            return rc;
        for (size_t i = 0; i < shifted.count; i++) {
            struct series *s = shifted.items[i];

            s->start_s -= by_s;
            s->end_s -= by_s;
            series_list_add(call->arena, &series_groups_at(call->arena, groups, s->name)->list, s);
        }
    }
    return 0;
}

struct baseline {
    double *values;
    size_t count;
    double known, sum;
};

/* The median of all series of LIST at each point. */
static int median_of(struct fn_call *call, const struct series_list *list, struct baseline *out)
{
    struct column *columns = ARENA_ARRAY(call->arena, struct column, list->count);

    for (size_t i = 0; i < list->count; i++) {
        if (fn_points(call, list->items[i], &columns[i].values, &columns[i].count) < 0)
            return ERR_INPUT;
    }
    *out = (struct baseline){.count = columns[0].count};
    out->values = series_room(call->arena, out->count);
    aggregate_columns(aggregator_find(SPAN_LIT("median")), columns, list->count, 0, out->values, out->count,
                      call->arena);
    for (size_t i = 0; i < out->count; i++) {
        out->known += !isnan(out->values[i]);
        out->sum += isnan(out->values[i]) ? 0 : out->values[i];
    }
    return 0;
}

static bool wanted(struct fn_call *call, const struct baseline *b)
{
    if (fn_given(call, 4) && 100 * ((double)b->count - b->known) / (double)b->count > fn_float(call, 4, 0))
        return false;
    return !fn_given(call, 5) || b->known == 0 || b->sum / b->known >= fn_float(call, 5, 0);
}

static const struct series *named(const struct series_list *list, struct span name)
{
    for (size_t i = 0; i < list->count; i++) {
        if (span_eq(list->items[i]->name, name))
            return list->items[i];
    }
    return NULL;
}

/* Points of S divided by those of the baseline. */
static int divide_by(struct fn_call *call, const struct series *s, struct baseline *b)
{
    const double *points;
    size_t n;

    if (fn_points(call, s, &points, &n) < 0)
        return ERR_INPUT;
    for (size_t i = 0; i < b->count; i++) {
        double v = i < n ? points[i] : NAN;

        b->values[i] = isnan(v) || isnan(b->values[i]) ? NAN : b->values[i] == 0 ? 0 : v / b->values[i];
    }
    return 0;
}

static int base_line(struct fn_call *call, bool aberration, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    struct series_groups groups = {0};
    struct series_list result = {0};
    struct span unit = fn_text(call, 1, "1d");
    int64_t unit_s;
    int rc = time_offset_parse(unit, &unit_s, call->err);

    if (rc == 0)
        rc = fetch_earlier(call, unit.len > 0 && unit.ptr[0] == '+' ? unit_s : -llabs(unit_s), &groups);
    for (size_t i = 0; rc == 0 && i < groups.count; i++) {
        const struct series_group *g = &groups.items[i];
        const struct series *now = aberration ? named(list, g->key) : NULL;
        struct baseline b;
        struct series *made;

        if (aberration && now == NULL)
            continue;
        if (median_of(call, &g->list, &b) < 0)
            return ERR_INPUT;
        if (!wanted(call, &b))
            continue;
        if (aberration && divide_by(call, now, &b) < 0)
            return ERR_INPUT;
        made = series_copy(call->arena, g->list.items[0], fn_name(call, "%s(%.*s)", call->def->name, SPAN_ARG(g->key)));
        made->integers = false;
        series_set_values(made, b.values, b.count);
        series_list_add(call->arena, &result, made);
    }
    return rc < 0 ? rc : fn_return(out, result);
}

static int baseline(struct fn_call *call, struct value *out)
{
    return base_line(call, false, out);
}

static int baseline_aberration(struct fn_call *call, struct value *out)
{
    return base_line(call, true, out);
}

/* ---- slo, sloErrorBudget ---- */

static int slo_range(struct fn_call *call, struct context *ctx)
{
    int64_t bucket_s;

    if (fn_interval(call, 1, NULL, &bucket_s) < 0)
        return ERR_INPUT;
    if (bucket_s <= 0)
        return fn_fail(call, "the interval must be longer than nothing");
    if (bucket_s > ctx->until_s - ctx->from_s)
        ctx->from_s = ctx->until_s - bucket_s;
    return 0;
}

enum { METHODS = 4 };
static const char *const methods[METHODS] = {"above", "aboveOrEqual", "below", "belowOrEqual"};

static bool kept(int method, double v, double bound)
{
    switch (method) {
    case 0:
        return v > bound;
    case 1:
        return v >= bound;
    case 2:
        return v < bound;
    default:
        return v <= bound;
    }
}

struct slo {
    int64_t bucket_s;
    int method;
    double bound;
    bool budget;
    double objective;
};

/* The share of points of S that keep to it, bucket by bucket; or what is left of the budget, in seconds. */
static int slo_buckets(struct fn_call *call, const struct slo *slo, const struct series *s, double **out,
                       size_t *out_count)
{
    const double *points;
    size_t n, count = 0;

    if (fn_points(call, s, &points, &n) < 0)
        return ERR_INPUT;
    *out = series_room(call->arena, n);
    for (size_t i = 0; i < n;) {
        int64_t end_s = (int64_t)(count + 1) * slo->bucket_s;
        size_t first = i;
        double good = 0, all = 0;

        for (; i < n && (i == first || (int64_t)i * s->step_s < end_s); i++) {
            all += !isnan(points[i]);
            good += !isnan(points[i]) && kept(slo->method, points[i], slo->bound);
        }
        (*out)[count] = all == 0 ? NAN : good / all;
        if (slo->budget)
            (*out)[count] = ((*out)[count] - slo->objective) * (double)(i - first) * (double)s->step_s;
        count++;
    }
    *out_count = count;
    return 0;
}

static int objective(struct fn_call *call, bool budget, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    struct slo slo = {.bound = fn_float(call, 3, 0), .budget = budget, .objective = fn_float(call, 4, 0)};
    struct span method = fn_text(call, 2, "above");
    struct series_list result = {0};

    while (slo.method < METHODS && !span_eq(method, span_str(methods[slo.method])))
        slo.method++;
    if (slo.method == METHODS)
        return fn_fail(call, "the method must be above, aboveOrEqual, below or belowOrEqual");
    if (fn_interval(call, 1, NULL, &slo.bucket_s) < 0)
        return ERR_INPUT;
    for (size_t i = 0; i < call->again.count && i < list->count; i++) {
        const struct series *s = list->items[i];
        struct span name = fn_name(call, "%s(%.*s, %.*s, %s, %g", call->def->name, SPAN_ARG(s->name),
                                   SPAN_ARG(fn_text(call, 1, "")), methods[slo.method], slo.bound);
        struct series *made = series_copy(call->arena, s,
                                          budget ? fn_name(call, "%.*s, %g)", SPAN_ARG(name), slo.objective)
                                                 : fn_name(call, "%.*s)", SPAN_ARG(name)));
        double *values;
        size_t count;

        if (s->step_s > slo.bucket_s)
            return fn_fail(call, "the interval is shorter than the step of the series");
        if (slo_buckets(call, &slo, call->again.items[i], &values, &count) < 0)
            return ERR_INPUT;
        made->step_s = slo.bucket_s;
        made->end_s = s->start_s + (int64_t)count * slo.bucket_s;
        made->integers = false;
        series_set_values(made, values, count);
        series_list_add(call->arena, &result, made);
    }
    return fn_return(out, result);
}

static int slo(struct fn_call *call, struct value *out)
{
    return objective(call, false, out);
}

static int slo_error_budget(struct fn_call *call, struct value *out)
{
    return objective(call, true, out);
}

/* ---- timeShiftByMetric ---- */

/* A version, marked by a point of a series whose name ends with it: "releases.65_4". */
struct release {
    struct span text;
    int64_t major, minor;
    size_t position; /* of the mark's last point */
};

static bool digits(struct span text, size_t *at, int64_t *out)
{
    size_t begin = *at;

    for (*out = 0; *at < text.len && text.ptr[*at] >= '0' && text.ptr[*at] <= '9' && *at - begin < 15; ++*at)
        *out = *out * 10 + (text.ptr[*at] - '0');
    return *at > begin;
}

/* "65_4" anywhere in TEXT. */
static bool read_version(struct span text, struct release *r)
{
    r->text = text;
    for (size_t i = 0; i < text.len; i++) {
        size_t at = i;

        if (digits(text, &at, &r->major) && at < text.len && text.ptr[at] == '_' &&
            (at++, digits(text, &at, &r->minor)))
            return true;
    }
    return false;
}

static struct span last_part(struct span name)
{
    size_t i = name.len;

    while (i > 0 && name.ptr[i - 1] != '.')
        i--;
    return span_cut(name, i, name.len);
}

/* The latest release of each major version; returns how many. */
static int find_releases(struct fn_call *call, struct release *out, size_t *count)
{
    const struct series_list *marks = fn_list(call, 1);

    *count = 0;
    for (size_t i = 0; i < marks->count; i++) {
        struct release r;
        const double *points;
        size_t n, k = 0;

        if (fn_points(call, marks->items[i], &points, &n) < 0)
            return ERR_INPUT;
        while (n > 0 && isnan(points[n - 1]))
            n--;
        if (n == 0 || !read_version(last_part(marks->items[i]->name), &r))
            continue;
        r.position = n - 1;
        while (k < *count && out[k].major != r.major)
            k++;
        if (k == *count || r.minor > out[k].minor)
            out[k] = r;
        *count += k == *count;
    }
    return *count < 2 ? fn_fail(call, "fewer than two releases are marked") : 0;
}

static int time_shift_by_metric(struct fn_call *call, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    struct release *releases = ARENA_ARRAY(call->arena, struct release, fn_list(call, 1)->count);
    const struct release *top = releases;
    struct series_list result = {0};
    size_t count;
    int rc = find_releases(call, releases, &count);

    for (size_t i = 0; rc == 0 && i < count; i++)
        top = releases[i].major > top->major ? &releases[i] : top;
    for (size_t i = 0; rc == 0 && i < list->count; i++) {
        const struct series *s = list->items[i];
        const struct release *found = NULL;
        struct series *made;
        struct span version;

        rc = fn_node_key(call, s, 2, &version);
        for (size_t k = 0; k < count && version.len > 0; k++) {
            if (span_starts(releases[k].text, version) && (found == NULL || span_eq(releases[k].text, version)))
                found = &releases[k];
        }
        if (rc < 0 || found == NULL)
            continue;
        made = series_copy(call->arena, s, fn_name(call, "timeShiftByMetric(%.*s)", SPAN_ARG(s->name)));
        made->start_s += ((int64_t)top->position - (int64_t)found->position) * s->step_s;
        made->end_s += made->start_s - s->start_s;
        series_list_add(call->arena, &result, made);
    }
    return rc < 0 ? rc : fn_return(out, result);
}

#define BASELINE_PARAMS                                                                                                \
    {                                                                                                                  \
        FN_SERIES("seriesList"), FN_PARAM("timeShiftUnit", FN_TYPE_INTERVAL),                                          \
            FN_PARAM("timeShiftStart", FN_TYPE_INTEGER), FN_PARAM("timeShiftEnd", FN_TYPE_INTEGER),                    \
            FN_OPTIONAL("maxAbsentPercent", FN_TYPE_FLOAT), FN_OPTIONAL("minAvg", FN_TYPE_FLOAT)                       \
    }
#define SLO_METHOD                                                                                                     \
    {                                                                                                                  \
        .name = "method", .type = FN_TYPE_STRING, FN_REQUIRED,                                                         \
        .options = "[\"above\",\"aboveOrEqual\",\"below\",\"belowOrEqual\"]"                                           \
    }

static const struct fn_def trends[] = {
    {.name = "baseline",
     .group = "Calculate",
     .params = BASELINE_PARAMS,
     .brief = "The median of what each series was one, two, ... units of time earlier.",
     .extension = FN_CARBONAPI,
     .kind = FN_ANY,
     .run = baseline},
    {.name = "baselineAberration",
     .group = "Calculate",
     .params = BASELINE_PARAMS,
     .brief = "Each series divided by its baseline: 1.1 is 10 % above it.",
     .extension = FN_CARBONAPI,
     .kind = FN_ANY,
     .run = baseline_aberration},
    {.name = "ewma",
     .group = "Calculate",
     .params = {FN_SERIES("seriesList"), FN_PARAM("alpha", FN_TYPE_FLOAT)},
     .brief = "Short for exponentialWeightedMovingAverage.",
     .extension = FN_CARBONAPI,
     .kind = FN_ANY,
     .run = weighted_average},
    {.name = "exponentialWeightedMovingAverage",
     .group = "Calculate",
     .params = {FN_SERIES("seriesList"), FN_PARAM("alpha", FN_TYPE_FLOAT)},
     .brief = "An average to which each new point adds by the weight alpha.",
     .extension = FN_CARBONAPI,
     .kind = FN_ANY,
     .run = weighted_average},
    {.name = "polyfit",
     .group = "Combine",
     .params = {FN_SERIES("seriesList"), FN_DEFAULT("degree", FN_TYPE_INTEGER, "1"),
                FN_DEFAULT("offset", FN_TYPE_INTERVAL, "\"0d\"")},
     .brief = "The polynomial that fits each series best, drawn so far into the future.",
     .extension = FN_CARBONAPI,
     .kind = FN_ANY,
     .run = polyfit},
    {.name = "slo",
     .group = "Transform",
     .params = {FN_SERIES("seriesList"), FN_PARAM("interval", FN_TYPE_INTERVAL), SLO_METHOD,
                FN_PARAM("value", FN_TYPE_FLOAT)},
     .brief = "Which share of the points of each interval was above (or below) a value.",
     .extension = FN_CARBONAPI,
     .kind = FN_ANY,
     .run = slo,
     .range = slo_range},
    {.name = "sloErrorBudget",
     .group = "Transform",
     .params = {FN_SERIES("seriesList"), FN_PARAM("interval", FN_TYPE_INTERVAL), SLO_METHOD,
                FN_PARAM("value", FN_TYPE_FLOAT), FN_PARAM("objective", FN_TYPE_FLOAT)},
     .brief = "How many seconds of each interval are left until the share that slo gives is no longer the objective.",
     .extension = FN_CARBONAPI,
     .kind = FN_ANY,
     .run = slo_error_budget,
     .range = slo_range},
    {.name = "timeShiftByMetric",
     .group = "Transform",
     .params = {FN_SERIES("seriesList"), FN_SERIES("markSource"), FN_PARAM("versionRankIndex", FN_TYPE_INTEGER)},
     .brief = "Moves the series of older releases to where the newest began; releases are marked by points of series "
              "named like \"65_4\".",
     .extension = FN_CARBONAPI,
     .kind = FN_ANY,
     .run = time_shift_by_metric},
};
const struct fn_family fn_trend = FN_FAMILY(trends);
