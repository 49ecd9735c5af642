/* format.h - the output formats: series to the bytes of an answer. */
#ifndef PLUMBAGO_QUERY_FORMAT_H
#define PLUMBAGO_QUERY_FORMAT_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "query/options.h"
#include "query/series_list.h"

struct format {
    const char *name;
    const char *content_type;
    bool jsonp; /* may be wrapped into a callback */
    int (*write)(const struct render_options *options, const struct series_list *list, struct arena *arena,
                 struct buf *out, struct err *err);
};

/* The format of this name (case-sensitive), or NULL. */
const struct format *format_find(struct span name);

/* "json, raw, csv, ..." for messages. */
struct span format_names(struct arena *arena);

/* The writers themselves; each in the file of its name. ERR_INPUT for series that the format cannot
 * show. What is written so far is then of no use. */
int format_json(const struct render_options *options, const struct series_list *list, struct arena *arena,
                struct buf *out, struct err *err);
int format_raw(const struct render_options *options, const struct series_list *list, struct arena *arena,
               struct buf *out, struct err *err);
int format_csv(const struct render_options *options, const struct series_list *list, struct arena *arena,
               struct buf *out, struct err *err);
int format_dygraph(const struct render_options *options, const struct series_list *list, struct arena *arena,
                   struct buf *out, struct err *err);
int format_rickshaw(const struct render_options *options, const struct series_list *list, struct arena *arena,
                    struct buf *out, struct err *err);
int format_pickle(const struct render_options *options, const struct series_list *list, struct arena *arena,
                  struct buf *out, struct err *err);
int format_msgpack(const struct render_options *options, const struct series_list *list, struct arena *arena,
                   struct buf *out, struct err *err);

/* V as Python prints it; INTEGERS without a fraction. Not for NaN. */
void format_number(struct buf *out, double v, bool integers);

/* What datapoints of a series come out of the JSON formats: VALUES[i] at start + i * step. */
struct points {
    const double *values;
    size_t count;
    int64_t start_s;
    int64_t step_s;
};

/* The points of S as it stands: consolidated, and cut at its end. */
int format_points(const struct series *s, struct arena *arena, struct points *out, struct err *err);

#endif
