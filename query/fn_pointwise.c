/* Functions that look at one point at a time. None stays None unless said otherwise; so does whatever
 * has no result (a logarithm of nothing). */
#include "query/fn.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static int absolute(struct fn_call *call, const struct series *s, const double *in, size_t n, double *out)
{
    (void)call, (void)s;
    for (size_t i = 0; i < n; i++)
        out[i] = fabs(in[i]);
    return 0;
}

static int scale(struct fn_call *call, const struct series *s, const double *in, size_t n, double *out)
{
    double factor = fn_float(call, 1, 1);

    (void)s;
    for (size_t i = 0; i < n; i++)
        out[i] = in[i] * factor;
    return 0;
}

static int offset(struct fn_call *call, const struct series *s, const double *in, size_t n, double *out)
{
    double add = fn_float(call, 1, 0);

    (void)s;
    for (size_t i = 0; i < n; i++)
        out[i] = in[i] + add;
    return 0;
}

/* Python's round(v, digits): the decimal nearest to the exact value, ties to even. Multiplying first
 * would move values across a tie, so the decimal is written out with that many digits and read back;
 * the short way is taken when the scaled value is farther from any tie than scaling can have moved it. */
double fn_round(double v, int digits)
{
    static const double powers[] = {1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9};
    int places = digits < 0 ? -digits : digits;
    char text[800];
    double scaled, fraction;

    if (!isfinite(v) || digits > 323)
        return v;
    if (places <= 9) {
        scaled = digits < 0 ? v / powers[places] : v * powers[places];
        fraction = fabs(scaled - trunc(scaled));
        if (fabs(scaled) < 1e14 && fabs(fraction - 0.5) > fabs(scaled) * 4e-16 + 1e-7) {
            scaled = rint(scaled);
            return digits < 0 ? scaled * powers[places] : scaled / powers[places];
        }
    }
    if (digits < 0) {
        double unit = pow(10, places);

        return digits < -308 ? 0 : rint(v / unit) * unit;
    }
    snprintf(text, sizeof(text), "%.*f", digits, v);
    return strtod(text, NULL);
}

static int scale_to_seconds(struct fn_call *call, const struct series *s, const double *in, size_t n, double *out)
{
    double factor = fn_float(call, 1, 1) / (double)s->step_s;

    for (size_t i = 0; i < n; i++)
        out[i] = fn_round(in[i] * factor, 6);
    return 0;
}

static int power(struct fn_call *call, const struct series *s, const double *in, size_t n, double *out)
{
    double exponent = fn_float(call, 1, 1);

    (void)s;
    for (size_t i = 0; i < n; i++)
        out[i] = isnan(in[i]) ? NAN : fn_pow(in[i], exponent);
    return 0;
}

/* Python's math.pow: what has no result, or is too large, is an error there and None here. */
double fn_pow(double base, double exponent)
{
    double v = pow(base, exponent);

    if (isinf(v) && isfinite(base) && isfinite(exponent))
        return NAN;
    return v;
}

static int square_root(struct fn_call *call, const struct series *s, const double *in, size_t n, double *out)
{
    (void)call, (void)s;
    for (size_t i = 0; i < n; i++)
        out[i] = fn_pow(in[i], 0.5);
    return 0;
}

static int invert(struct fn_call *call, const struct series *s, const double *in, size_t n, double *out)
{
    (void)call, (void)s;
    for (size_t i = 0; i < n; i++)
        out[i] = fn_pow(in[i], -1);
    return 0;
}

static int exponential(struct fn_call *call, const struct series *s, const double *in, size_t n, double *out)
{
    (void)s;
    for (size_t i = 0; i < n; i++) {
        out[i] = exp(in[i]);
        if (isinf(out[i]) && isfinite(in[i]))
            return fn_fail(call, "the exponential of %g is out of range", in[i]);
    }
    return 0;
}

static int sigmoid(struct fn_call *call, const struct series *s, const double *in, size_t n, double *out)
{
    (void)s;
    for (size_t i = 0; i < n; i++) {
        double e = exp(-in[i]);

        if (isinf(e) && isfinite(in[i]))
            return fn_fail(call, "the exponential of %g is out of range", -in[i]);
        out[i] = 1 / (1 + e);
    }
    return 0;
}

static int logit(struct fn_call *call, const struct series *s, const double *in, size_t n, double *out)
{
    (void)call, (void)s;
    for (size_t i = 0; i < n; i++) {
        double odds = in[i] / (1 - in[i]);

        out[i] = in[i] != 1 && odds > 0 ? log(odds) : NAN;
    }
    return 0;
}

static int logarithm(struct fn_call *call, const struct series *s, const double *in, size_t n, double *out)
{
    double base = fn_float(call, 1, 10);

    (void)s;
    if (base <= 0 || base == 1)
        return fn_fail(call, "there is no logarithm to the base %g", base);
    for (size_t i = 0; i < n; i++)
        out[i] = in[i] > 0 ? log(in[i]) / log(base) : NAN;
    return 0;
}

static int is_non_null(struct fn_call *call, const struct series *s, const double *in, size_t n, double *out)
{
    (void)call, (void)s;
    for (size_t i = 0; i < n; i++)
        out[i] = isnan(in[i]) ? 0 : 1;
    return 0;
}

static int remove_above_value(struct fn_call *call, const struct series *s, const double *in, size_t n, double *out)
{
    double max = fn_float(call, 1, 0);

    (void)s;
    for (size_t i = 0; i < n; i++)
        out[i] = in[i] > max ? NAN : in[i];
    return 0;
}

static int remove_below_value(struct fn_call *call, const struct series *s, const double *in, size_t n, double *out)
{
    double min = fn_float(call, 1, 0);

    (void)s;
    for (size_t i = 0; i < n; i++)
        out[i] = in[i] < min ? NAN : in[i];
    return 0;
}

/* The name has the precision only when one was given; the tag always. */
static int round_points(struct fn_call *call, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    int64_t digits = fn_int(call, 1, 0);
    struct span label = fn_given(call, 1) ? fn_name(call, ",%g", (double)digits) : SPAN_LIT("");
    struct series_list result = {0};

    for (size_t i = 0; i < list->count; i++) {
        const struct series *s = list->items[i];
        struct series *made =
            series_copy(call->arena, s, fn_name(call, "round(%.*s%.*s)", SPAN_ARG(s->name), SPAN_ARG(label)));
        double *values;
        const double *points;
        size_t n;

        if (fn_points(call, s, &points, &n) < 0)
            return ERR_INPUT;
        values = series_room(call->arena, n);
        for (size_t k = 0; k < n; k++)
            values[k] = fn_round(points[k], (int)(digits > 400 ? 400 : digits < -400 ? -400 : digits));
        series_set_tag(call->arena, s, "round", fn_name(call, "%g", (double)digits));
        series_set_values(made, values, n);
        series_list_add(call->arena, &result, made);
    }
    return fn_return(out, result);
}

/* The base is named also when it was not given. */
static int run_logarithm(struct fn_call *call, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    struct span base = fn_text(call, 1, "10");
    struct series_list result = {0};

    for (size_t i = 0; i < list->count; i++) {
        const struct series *s = list->items[i];
        struct series *made =
            series_copy(call->arena, s, fn_name(call, "log(%.*s, %.*s)", SPAN_ARG(s->name), SPAN_ARG(base)));
        double *values;
        const double *points;
        size_t n;

        if (fn_points(call, s, &points, &n) < 0)
            return ERR_INPUT;
        values = series_room(call->arena, n);
        if (logarithm(call, s, points, n, values) < 0)
            return ERR_INPUT;
        series_set_tag(call->arena, s, "log", base);
        made->integers = false;
        series_set_values(made, values, n);
        series_list_add(call->arena, &result, made);
    }
    return fn_return(out, result);
}

static const struct fn_def pointwise[] = {
    {.name = "absolute",
     .group = "Transform",
     .params = {FN_SERIES("seriesList")},
     .brief = "The absolute value of each point.",
     .kind = FN_PER_SERIES,
     .each = absolute,
     .tag = "1",
     .numbers = FN_NUMBERS_SAME},
    {.name = "add",
     .group = "Transform",
     .params = {FN_SERIES("seriesList"), FN_PARAM("constant", FN_TYPE_FLOAT)},
     .brief = "Each point plus a constant.",
     .kind = FN_PER_SERIES,
     .each = offset,
     .label = ",%.0f",
     .tag = "="},
    {.name = "exp",
     .group = "Transform",
     .params = {FN_SERIES("seriesList")},
     .brief = "e to the power of each point.",
     .kind = FN_PER_SERIES,
     .each = exponential,
     .tag = "e"},
    {.name = "invert",
     .group = "Transform",
     .params = {FN_SERIES("seriesList")},
     .brief = "1 divided by each point; None where that is 0.",
     .kind = FN_PER_SERIES,
     .each = invert,
     .tag = "1"},
    {.name = "isNonNull",
     .group = "Transform",
     .params = {FN_SERIES("seriesList")},
     .brief = "1 where there is a point, 0 where there is none. Summed up, it tells how many series report.",
     .kind = FN_PER_SERIES,
     .each = is_non_null,
     .tag = "1",
     .numbers = FN_NUMBERS_COUNT},
    {.name = "isNotNull",
     .group = "Transform",
     .params = {FN_SERIES("seriesList")},
     .brief = "Another name of isNonNull.",
     .extension = FN_CARBONAPI,
     .kind = FN_PER_SERIES,
     .each = is_non_null,
     .tag = "1",
     .numbers = FN_NUMBERS_COUNT},
    {.name = "log",
     .group = "Transform",
     .params = {FN_SERIES("seriesList"), {.name = "base", .type = FN_TYPE_INTEGER, .fallback = "10", .lenient = true}},
     .brief = "The logarithm of each point, to base 10 or another; None for what is not positive.",
     .kind = FN_ANY,
     .run = run_logarithm},
    {.name = "logit",
     .group = "Transform",
     .params = {FN_SERIES("seriesList")},
     .brief = "log(v / (1 - v)) of each point v; None outside of 0..1.",
     .kind = FN_PER_SERIES,
     .each = logit,
     .tag = "logit"},
    {.name = "offset",
     .group = "Transform",
     .params = {FN_SERIES("seriesList"), FN_PARAM("factor", FN_TYPE_FLOAT)},
     .brief = "Each point plus a constant, which may be negative.",
     .kind = FN_PER_SERIES,
     .each = offset,
     .label = ",%g",
     .tag = "="},
    {.name = "pow",
     .group = "Transform",
     .params = {FN_SERIES("seriesList"), FN_PARAM("factor", FN_TYPE_FLOAT)},
     .brief = "Each point to the power of a constant.",
     .kind = FN_PER_SERIES,
     .each = power,
     .label = ",%g",
     .tag = "="},
    {.name = "removeAboveValue",
     .group = "Filter Data",
     .params = {FN_SERIES("seriesList"), FN_PARAM("n", FN_TYPE_FLOAT)},
     .brief = "Drops the points above n.",
     .kind = FN_PER_SERIES,
     .each = remove_above_value,
     .label = ", %g",
     .numbers = FN_NUMBERS_SAME},
    {.name = "removeBelowValue",
     .group = "Filter Data",
     .params = {FN_SERIES("seriesList"), FN_PARAM("n", FN_TYPE_FLOAT)},
     .brief = "Drops the points below n.",
     .kind = FN_PER_SERIES,
     .each = remove_below_value,
     .label = ", %g",
     .numbers = FN_NUMBERS_SAME},
    {.name = "round",
     .group = "Transform",
     .params = {FN_SERIES("seriesList"), FN_DEFAULT("precision", FN_TYPE_INTEGER, "0")},
     .brief = "Each point rounded to a number of decimals; a tie goes to the even neighbour.",
     .kind = FN_ANY,
     .run = round_points},
    {.name = "scale",
     .group = "Transform",
     .params = {FN_SERIES("seriesList"), FN_PARAM("factor", FN_TYPE_FLOAT)},
     .brief = "Each point times a factor.",
     .kind = FN_PER_SERIES,
     .each = scale,
     .label = ",%g",
     .tag = "="},
    {.name = "scaleToSeconds",
     .group = "Transform",
     .params = {FN_SERIES("seriesList"), FN_PARAM("seconds", FN_TYPE_FLOAT)},
     .brief = "Turns counts per step into counts per so many seconds.",
     .kind = FN_PER_SERIES,
     .each = scale_to_seconds,
     .label = ",%.0f",
     .tag = "="},
    {.name = "sigmoid",
     .group = "Transform",
     .params = {FN_SERIES("seriesList")},
     .brief = "1 / (1 + exp(-v)) of each point v.",
     .kind = FN_PER_SERIES,
     .each = sigmoid,
     .tag = "sigmoid"},
    {.name = "squareRoot",
     .group = "Transform",
     .params = {FN_SERIES("seriesList")},
     .brief = "The square root of each point; None for negative ones.",
     .kind = FN_PER_SERIES,
     .each = square_root,
     .tag = "1"},
};
const struct fn_family fn_pointwise = FN_FAMILY(pointwise);
