/* [{"target":"name","tags":{...},"datapoints":[[value,time],...]},...]
 *
 * maxDataPoints is applied here, as graphite-web does it (views.py, renderViewJson): when the range of
 * all series together has more steps than that, V = ceil(steps / max) values make one point, and the
 * first is moved so that points lie at multiples of V * step: then they do not jitter from one request
 * to the next. The values that fall before are dropped, but one less than the move would need; so each
 * point begins one step early. Dashboards have seen it that way for ten years.
 *
 * Points are written by hand, as this is where a render spends its time: a value that is a short
 * decimal goes out as an integer with a point in it, and of a time only the last four digits change. */
#include "query/format.h"

#include "base/number.h"

#include <inttypes.h>
#include <math.h>

/* ---- numbers ---- */

static char *put_integer(char *at, int64_t v)
{
    return at + number_i64(v, at);
}

/* DIGITS / 10^EXPONENT, with a point and at least one digit on either side of it. */
static char *put_decimal(char *at, int64_t digits, int exponent)
{
    char text[24];
    uint64_t rest = digits < 0 ? (uint64_t)-digits : (uint64_t)digits;
    int n = 0;

    if (digits < 0)
        *at++ = '-';
    if (exponent == 0) {
        at += number_i64((int64_t)rest, at);
        *at++ = '.';
        *at++ = '0';
        return at;
    }
    for (; rest != 0 || n <= exponent; n++, rest /= 10)
        text[n] = (char)('0' + rest % 10);
    while (n > 0) {
        if (n == exponent)
            *at++ = '.';
        *at++ = text[--n];
    }
    return at;
}

static char *put_value(char *at, double v, bool integers)
{
    int64_t digits;
    int exponent;

    if (isnan(v)) {
        memcpy(at, "null", 4);
        return at + 4;
    }
    if (integers && fabs(v) < 9e15)
        return put_integer(at, (int64_t)v);
    if (number_decimal(v, 9, &digits, &exponent))
        return put_decimal(at, digits, exponent);
    if (isinf(v)) {
        const char *text = v > 0 ? "1e9999" : "-1e9999";

        memcpy(at, text, strlen(text));
        return at + strlen(text);
    }
    return at + number_repr(v, at);
}

/* A time as text, moved on step by step: the digits before the last four are kept while they last. */
struct ticker {
    int64_t high;
    char text[32];
    size_t len;
};

static char *put_time(char *at, struct ticker *t, int64_t time_s)
{
    int64_t high;
    unsigned low;

    if (time_s < 10000)
        return put_integer(at, time_s);
    high = time_s / 10000;
    low = (unsigned)(time_s % 10000);
    if (high != t->high || t->len == 0) {
        t->high = high;
        t->len = number_i64(high, t->text);
    }
    memcpy(at, t->text, 24);
    at += t->len;
    at[0] = (char)('0' + low / 1000);
    at[1] = (char)('0' + low / 100 % 10);
    at[2] = (char)('0' + low / 10 % 10);
    at[3] = (char)('0' + low % 10);
    return at + 4;
}

enum { POINT_MAX = 2 * NUMBER_MAX + 16, POINTS_AT_ONCE = 256 };

/* "[value,time],[value,time]"; returns whether there was any. */
static bool put_points(const struct points *p, bool integers, bool skip_nulls, struct buf *out)
{
    struct ticker ticker = {0};
    bool any = false;

    for (size_t i = 0; i < p->count;) {
        size_t end = p->count - i < POINTS_AT_ONCE ? p->count : i + POINTS_AT_ONCE;
        char *at;

        if (!buf_reserve(out, POINTS_AT_ONCE * POINT_MAX))
            return any;
        at = out->ptr + out->len;
        for (; i < end; i++) {
            if (skip_nulls && isnan(p->values[i]))
                continue;
            if (any)
                *at++ = ',';
            any = true;
            *at++ = '[';
            at = put_value(at, p->values[i], integers);
            *at++ = ',';
            at = put_time(at, &ticker, p->start_s + (int64_t)i * p->step_s);
            *at++ = ']';
        }
        out->len = (size_t)(at - out->ptr);
    }
    return any;
}

/* ---- maxDataPoints ---- */

static int64_t floor_mod(int64_t a, int64_t b)
{
    int64_t rest = a % b;

    return rest < 0 ? rest + b : rest;
}

/* Consolidate S so that a range of RANGE_S has at most MAX points. */
static void limit_points(struct series *s, int64_t range_s, uint64_t max)
{
    double steps = (double)range_s / (double)s->step_s;
    int64_t point_s, nudge_s, lost;

    if (max == 1) {
        s->values_per_point = s->count > 0 ? (int64_t)s->count : 1;
        return;
    }
    if ((double)max >= steps)
        return;
    s->values_per_point = (int64_t)ceil(steps / (double)max);
    point_s = s->values_per_point * s->step_s;
    nudge_s = point_s + floor_mod(s->start_s, s->step_s) - floor_mod(s->start_s, point_s);
    s->start_s += nudge_s;
    lost = nudge_s / s->step_s - 1;
    if (lost > (int64_t)s->count)
        lost = (int64_t)s->count;
    s->values += lost;
    s->count -= (size_t)lost;
}

static int64_t whole_range(const struct series_list *list)
{
    int64_t start_s = INT64_MAX;
    int64_t end_s = INT64_MIN;

    for (size_t i = 0; i < list->count; i++) {
        start_s = list->items[i]->start_s < start_s ? list->items[i]->start_s : start_s;
        end_s = list->items[i]->end_s > end_s ? list->items[i]->end_s : end_s;
    }
    return end_s - start_s;
}

/* ---- series ---- */

static void put_head(const struct series *s, struct arena *arena, struct buf *out)
{
    const struct tags *tags = series_tags(arena, s);

    buf_add_str(out, "{\"target\":");
    buf_add_json(out, s->name);
    buf_add_str(out, ",\"tags\":{");
    for (size_t i = 0; i < tags->count; i++) {
        if (i > 0)
            buf_add_char(out, ',');
        buf_add_json(out, tags->items[i].key);
        buf_add_char(out, ':');
        buf_add_json(out, tags->items[i].value);
    }
    buf_add_str(out, "},\"datapoints\":[");
}

static bool any_points(const struct series_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i]->count > 0)
            return true;
    }
    return false;
}

int format_json(const struct render_options *options, const struct series_list *list, struct arena *arena,
                struct buf *out, struct err *err)
{
    int64_t range_s = list->count > 0 ? whole_range(list) : 0;
    const char *before = options->pretty ? "\n  " : "";
    bool any = false;

    buf_add_char(out, '[');
    for (size_t i = 0; any_points(list) && i < list->count; i++) {
        struct series s = *list->items[i];
        size_t begin = out->len;
        struct points points;
        int rc;

        if (options->has_max_points && s.step_s > 0)
            limit_points(&s, range_s, options->max_points);
        rc = format_points(&s, arena, &points, err);
        if (rc < 0)
            return rc;
        buf_add_str(out, any ? "," : "");
        buf_add_str(out, before);
        put_head(&s, arena, out);
        if (!put_points(&points, s.integers, options->no_null_points, out) && options->no_null_points) {
            out->len = begin;
            continue;
        }
        buf_add_str(out, "]}");
        any = true;
    }
    buf_add_str(out, any && options->pretty ? "\n]" : "]");
    return 0;
}
