/* Two formats of JavaScript graph libraries.
 *
 * dygraph:  {"labels":["Time",name,...],"data":[[milliseconds,value,...],...]}: one row for each
 *           instant, so all series must have the same times.
 * rickshaw: [{"target":name,"datapoints":[{"x":time,"y":value},...]},...]
 * Both print infinities bare, as Python's JSON does. */
#include "query/format.h"

#include <inttypes.h>
#include <math.h>

static void put_value(double v, bool integers, struct buf *out)
{
    if (isnan(v))
        buf_add_str(out, "null");
    else if (isinf(v))
        buf_add_str(out, v > 0 ? "Infinity" : "-Infinity");
    else
        format_number(out, v, integers);
}

struct column_of {
    const double *values;
    size_t count;
};

/* All series in rows of the first one's times. */
static int put_rows(const struct series_list *list, const struct column_of *columns, struct buf *out, struct err *err)
{
    const struct series *first = list->items[0];
    size_t rows = first->step_s <= 0 || first->end_s <= first->start_s
                      ? 0
                      : (size_t)((first->end_s - first->start_s + first->step_s - 1) / first->step_s);

    for (size_t k = 0; k < list->count; k++) {
        if (columns[k].count != rows)
            return err_set(err, ERR_INPUT, "dygraph needs series of the same length; \"%.*s\" has %zu points, not %zu",
                           (int)(list->items[k]->name.len < 200 ? list->items[k]->name.len : 200),
                           list->items[k]->name.ptr, columns[k].count, rows);
    }
    for (size_t i = 0; i < rows; i++) {
        buf_addf(out, "%s[%" PRId64 "000", i > 0 ? "," : "", first->start_s + (int64_t)i * first->step_s);
        for (size_t k = 0; k < list->count; k++) {
            buf_add_char(out, ',');
            put_value(columns[k].values[i], list->items[k]->integers, out);
        }
        buf_add_char(out, ']');
    }
    return 0;
}

int format_dygraph(const struct render_options *options, const struct series_list *list, struct arena *arena,
                   struct buf *out, struct err *err)
{
    struct column_of *columns = ARENA_ARRAY(arena, struct column_of, list->count);
    int rc = 0;

    (void)options;
    if (list->count == 0) {
        buf_add_str(out, "{}");
        return 0;
    }
    buf_add_str(out, "{\"labels\":[\"Time\"");
    for (size_t k = 0; rc == 0 && k < list->count; k++) {
        rc = series_points(arena, list->items[k], &columns[k].values, &columns[k].count, err);
        buf_add_char(out, ',');
        buf_add_json(out, list->items[k]->name);
    }
    buf_add_str(out, "],\"data\":[");
    if (rc == 0)
        rc = put_rows(list, columns, out, err);
    buf_add_str(out, "]}");
    return rc;
}

int format_rickshaw(const struct render_options *options, const struct series_list *list, struct arena *arena,
                    struct buf *out, struct err *err)
{
    (void)options;
    buf_add_char(out, '[');
    for (size_t i = 0; i < list->count; i++) {
        const struct series *s = list->items[i];
        const double *values;
        size_t count;
        int rc = series_points(arena, s, &values, &count, err);

        if (rc < 0)
            return rc;
        buf_add_str(out, i > 0 ? ",{\"target\":" : "{\"target\":");
        buf_add_json(out, s->name);
        buf_add_str(out, ",\"datapoints\":[");
        for (size_t k = 0; k < count && s->start_s + (int64_t)k * s->step_s < s->end_s; k++) {
            buf_addf(out, "%s{\"x\":%" PRId64 ",\"y\":", k > 0 ? "," : "", s->start_s + (int64_t)k * s->step_s);
            put_value(values[k], s->integers, out);
            buf_add_char(out, '}');
        }
        buf_add_str(out, "]}");
    }
    buf_add_char(out, ']');
    return 0;
}
