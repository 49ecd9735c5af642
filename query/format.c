#include "query/format.h"

#include "base/number.h"

#include <math.h>

static const struct format formats[] = {
    {"json", "application/json", true, format_json},
    {"raw", "text/plain", false, format_raw},
    {"csv", "text/csv", false, format_csv},
    {"dygraph", "application/json", true, format_dygraph},
    {"rickshaw", "application/json", true, format_rickshaw},
    {"pickle", "application/pickle", false, format_pickle},
    {"msgpack", "application/x-msgpack", false, format_msgpack},
};

enum { FORMATS = sizeof(formats) / sizeof(*formats) };

const struct format *format_find(struct span name)
{
    for (size_t i = 0; i < FORMATS; i++) {
        if (span_eq(name, span_str(formats[i].name)))
            return &formats[i];
    }
    return NULL;
}

struct span format_names(struct arena *arena)
{
    struct span names = span_str(formats[0].name);

    for (size_t i = 1; i < FORMATS; i++)
        names = arena_join(arena, names, SPAN_LIT(", "), span_str(formats[i].name));
    return names;
}

void format_number(struct buf *out, double v, bool integers)
{
    if (!buf_reserve(out, NUMBER_MAX))
        return;
    out->len +=
        integers && fabs(v) < 9e15 ? number_i64((int64_t)v, out->ptr + out->len) : number_repr(v, out->ptr + out->len);
}

int format_points(const struct series *s, struct arena *arena, struct points *out, struct err *err)
{
    int64_t step_s = s->step_s * (s->values_per_point > 0 ? s->values_per_point : 1);
    int64_t slots;
    int rc = series_points(arena, s, &out->values, &out->count, err);

    if (rc < 0)
        return rc;
    if (step_s <= 0)
        return err_set(err, ERR_INPUT, "the series \"%.*s\" has no step", (int)(s->name.len < 200 ? s->name.len : 200),
                       s->name.ptr);
    slots = s->end_s < s->start_s ? 0 : (s->end_s - s->start_s) / step_s + 1;
    if (out->count > (size_t)slots)
        out->count = (size_t)slots;
    out->start_s = s->start_s;
    out->step_s = step_s;
    return 0;
}
