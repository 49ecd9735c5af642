/* name,YYYY-MM-DD HH:MM:SS,value\r\n, the time by the clock of the request's zone. */
#include "query/format.h"

#include "base/number.h"

#include <inttypes.h>
#include <math.h>

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

static void put_row(struct span name, const struct tz *tz, int64_t t_s, double v, bool integers, struct buf *out)
{
    struct civil c = civil_of(t_s + tz_offset(tz, t_s));

    buf_add_span(out, name);
    buf_addf(out, ",%04" PRId64 "-%02d-%02d %02d:%02d:%02d,", c.year, c.month, c.day, c.hour, c.minute, c.second);
    if (integers && !isnan(v) && fabs(v) < 9e15)
        buf_addf(out, "%.0f", v);
    else if (!isnan(v) && buf_reserve(out, NUMBER_MAX))
        out->len += number_repr(v, out->ptr + out->len);
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
