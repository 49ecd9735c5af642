/* name,YYYY-MM-DD HH:MM:SS,value\r\n, the time by the clock of the request's zone. */
#include "query/format.h"

#include "base/number.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

/* Quoted when it holds a comma, a quote or a line end. */
static struct span quoted(struct span name, struct arena *arena)
{
    char *to = arena_alloc(arena, name.len * 2 + 2);
    size_t len = 0;
    bool needed = false;

    to[len++] = '"';
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];

        needed |= c == ',' || c == '"' || c == '\n' || c == '\r';
        if (c == '"')
            to[len++] = '"';
        to[len++] = c;
    }
    to[len++] = '"';
    return needed ? span_of(to, len) : name;
}

enum { TIME_MAX = 32 };

static char *put_two(char *at, int v, char end)
{
    at[0] = (char)('0' + v / 10);
    at[1] = (char)('0' + v % 10);
    at[2] = end;
    return at + 3;
}

/* ",2015-09-02 13:45:00," by the clock of TZ. Years beyond four digits are printf's. */
static size_t time_text(const struct tz *tz, int64_t t_s, char to[TIME_MAX])
{
    struct civil c = civil_of(t_s + tz_offset(tz, t_s));
    char *at = to;

    if (c.year < 1000 || c.year > 9999)
        return (size_t)snprintf(to, TIME_MAX, ",%04" PRId64 "-%02d-%02d %02d:%02d:%02d,", c.year, c.month, c.day,
                                c.hour, c.minute, c.second);
    *at++ = ',';
    at += number_i64(c.year, at);
    *at++ = '-';
    at = put_two(at, c.month, '-');
    at = put_two(at, c.day, ' ');
    at = put_two(at, c.hour, ':');
    at = put_two(at, c.minute, ':');
    at = put_two(at, c.second, ',');
    return (size_t)(at - to);
}

static void put_row(struct span name, const struct tz *tz, int64_t t_s, double v, bool integers, struct buf *out)
{
    if (!buf_reserve(out, name.len + TIME_MAX + NUMBER_MAX + 2))
        return;
    buf_add_span(out, name);
    out->len += time_text(tz, t_s, out->ptr + out->len);
    if (!isnan(v))
        format_number(out, v, integers);
    buf_add_str(out, "\r\n");
}

int format_csv(const struct render_options *options, const struct series_list *list, struct arena *arena,
               struct buf *out, struct err *err)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct series *s = list->items[i];
        struct span name = quoted(s->name, arena);
        const double *values;
        size_t count;
        int rc = series_points(arena, s, &values, &count, err);

        if (rc < 0)
            return rc;
        for (size_t k = 0; k < count; k++)
            put_row(name, options->tz, s->start_s + (int64_t)k * s->step_s, values[k], s->integers, out);
    }
    return 0;
}
