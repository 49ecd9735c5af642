/* name,start,end,step|value,value,None\n */
#include "query/format.h"

#include <inttypes.h>
#include <math.h>

int format_raw(const struct render_options *options, const struct series_list *list, struct arena *arena,
               struct buf *out, struct err *err)
{
    (void)options;
    for (size_t i = 0; i < list->count; i++) {
        const struct series *s = list->items[i];
        const double *values;
        size_t count;
        int rc = series_points(arena, s, &values, &count, err);

        if (rc < 0)
            return rc;
        buf_add_span(out, s->name);
        buf_addf(out, ",%" PRId64 ",%" PRId64 ",%" PRId64 "|", s->start_s, s->end_s, s->step_s);
        for (size_t k = 0; k < count; k++) {
            if (k > 0)
                buf_add_char(out, ',');
            if (isnan(values[k]))
                buf_add_str(out, "None");
            else
                format_number(out, values[k], s->integers);
        }
        buf_add_char(out, '\n');
    }
    return 0;
}
