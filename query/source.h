/* source.h - where series come from, as a struct of functions: the engine's only way to data.
 *
 * query/source_storage.c implements it over the store; unit tests implement it over arrays. */
#ifndef PLUMBAGO_QUERY_SOURCE_H
#define PLUMBAGO_QUERY_SOURCE_H

#include "base/arena.h"
#include "base/err.h"
#include "base/span.h"

#include <stdint.h>

struct query_control; /* query.h */

struct source_series {
    struct span name; /* full path, or canonical tagged name "m;a=1;b=2" */
    uint32_t id;
};

struct source_points {
    int64_t start_s; /* time of the first slot */
    int64_t step_s;
    size_t count;          /* 0: the series has nothing to say about the range; it is left out */
    double *values;        /* in the arena, the engine's to overwrite; NaN is None */
    double x_files_factor; /* of the series' rollups; what graphite calls so in a request is another thing */
};

struct source {
    void *ctx;
    /* All leaves that PATTERN (globs) matches, sorted by name. At most MAX: ERR_LIMIT beyond. */
    int (*find)(void *ctx, struct span pattern, size_t max, struct arena *arena, struct source_series **out,
                size_t *count, struct err *err);
    /* All series that fit every one of the tag expressions ("env=prod", "name=~^disk"), sorted by name.
     * ERR_INPUT when an expression is malformed or all of them fit a series without tags. At most MAX:
     * ERR_LIMIT beyond. ERR_CANCELLED when CONTROL (may be NULL) says so. */
    int (*find_by_tags)(void *ctx, const struct span *exprs, size_t exprs_count, size_t max,
                        const struct query_control *control, struct arena *arena, struct source_series **out,
                        size_t *count, struct err *err);
    /* The points of one series with from_s < t <= until_s, aligned as whisper does. */
    int (*fetch)(void *ctx, const struct source_series *series, int64_t from_s, int64_t until_s, int64_t now_s,
                 struct arena *arena, struct source_points *out, struct err *err);
    /* The times of all events with from_s <= t < until_s that have each of the tags (of none, when there are no
     * tags; of all, when TAGS is NULL), in order. NULL: there are no events. */
    int (*events)(void *ctx, int64_t from_s, int64_t until_s, const struct span *tags, size_t tags_count,
                  struct arena *arena, int64_t **out_s, size_t *count, struct err *err);
};

#endif
