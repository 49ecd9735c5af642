/* options.h - what a render request asks for besides its targets. */
#ifndef PLUMBAGO_QUERY_OPTIONS_H
#define PLUMBAGO_QUERY_OPTIONS_H

#include "base/arena.h"
#include "base/err.h"
#include "query/request.h"
#include "query/tz.h"

#include <stdint.h>

struct render_options {
    struct span *targets;
    size_t targets_count;
    struct params template_params; /* template[x]=..., keys cut down to x */
    struct span format;            /* empty: none was given */
    struct span jsonp;             /* the callback's name; empty: no JSONP */
    bool has_max_points;
    uint64_t max_points;
    bool no_null_points;
    bool explain; /* the plan is wanted, not the data */
    bool pretty;
    const struct tz *tz;
    int64_t now_s;
    int64_t from_s;
    int64_t until_s;
    double x_files_factor;
};

/* Read PARAMS by graphite-web's rules (views.py, parseOptions) at the wall clock's WALL_S. ERR_INPUT
 * names the parameter. */
int render_options_parse(const struct params *params, int64_t wall_s, struct arena *arena, struct render_options *out,
                         struct err *err);

#endif
