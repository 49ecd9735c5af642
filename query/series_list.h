/* series_list.h - series as functions see them, and lists of them.
 *
 * Everything lives in the arena of the request. Values are never changed once a series has them (a
 * function that changes values makes a new array), so several series may share one array; names and
 * tags do change. NaN is None. */
#ifndef PLUMBAGO_QUERY_SERIES_LIST_H
#define PLUMBAGO_QUERY_SERIES_LIST_H

#include "base/arena.h"
#include "base/err.h"
#include "base/span.h"

#include <math.h>
#include <stdint.h>

struct tag {
    struct span key;
    struct span value;
};

/* Tags are made from the series' first name when somebody asks for them. Series that were copied from
 * one another share them, as in graphite-web: a tag set on one shows on the other. */
struct tags {
    struct span source; /* the name to read them from */
    bool ready;
    struct tag *items; /* in order of insertion */
    size_t count;
    size_t cap;
    struct tags *twin; /* while a list of series is copied (common.c), else NULL */
};

/* How a graph draws the series; only images look at this. */
struct series_style {
    struct span color;
    double alpha;      /* NaN: as the graph has it */
    double line_width; /* NaN: as the graph has it */
    double dashed;     /* NaN: not dashed */
    bool second_y_axis;
    bool draw_as_infinite;
    bool stacked;
    bool invisible;
};

struct series {
    struct span name;
    struct span path_expression; /* by what combining functions name it */
    int64_t start_s;             /* time of the first value */
    int64_t end_s;               /* where the values end; normally start + count * step */
    int64_t step_s;
    const double *values;
    size_t count;
    int64_t values_per_point;  /* beyond 1, readers see that many values consolidated to one */
    struct span consolidation; /* "average", "sum", ... */
    double x_files_factor;
    bool integers; /* counts: printed without a fraction */
    struct tags *tags;
    struct series_style style;
};

struct series_list {
    struct series **items;
    size_t count;
    size_t cap;
};

/* A series with this name, also as its path expression, and tags from the name; no values yet. */
struct series *series_new(struct arena *arena, struct span name, int64_t start_s, int64_t end_s, int64_t step_s);

/* A copy named NAME that shares the tags; values, times and consolidation are those of S. The path
 * expression becomes NAME, too, and values_per_point 1, as graphite-web's TimeSeries.copy() does. */
struct series *series_copy(struct arena *arena, const struct series *s, struct span name);

/* Give S the values V[0..N). */
static inline void series_set_values(struct series *s, const double *v, size_t n)
{
    s->values = v;
    s->count = n;
}

/* Room for N values, not set. */
double *series_room(struct arena *arena, size_t n);

/* What readers of the series see: its values, consolidated when values_per_point says so. *count is
 * how many. ERR_INPUT when the consolidation function is unknown and needed. */
int series_points(struct arena *arena, const struct series *s, const double **points, size_t *count, struct err *err);

/* ---- tags ---- */

/* The tags, read from the name if that was not done yet. */
struct tags *series_tags(struct arena *arena, const struct series *s);

/* Tags of their own for S, read from NAME whether it looks like a function's or not. False when NAME is
 * not of the form "m;a=1;b=2". */
bool series_parse_tags(struct arena *arena, struct series *s, struct span name);

/* Tags of their own, equal to TAGS. */
struct tags *tags_copy(struct arena *arena, const struct tags *tags);

/* Set KEY to VALUE; both must live as long as the arena. */
void tags_set(struct arena *arena, struct tags *tags, struct span key, struct span value);

/* The value of KEY, or NULL. */
const struct span *tags_get(const struct tags *tags, struct span key);

/* Set one tag of S. */
void series_set_tag(struct arena *arena, const struct series *s, const char *key, struct span value);

/* ---- lists ---- */

void series_list_add(struct arena *arena, struct series_list *list, struct series *s);
void series_list_add_all(struct arena *arena, struct series_list *list, const struct series_list *more);

struct normalised {
    int64_t start_s;
    int64_t end_s;
    int64_t step_s;
};

/* Bring all series of LIST to one step, the least common multiple of theirs, by setting their
 * values_per_point; *out is the range of what a combination of them has. LIST may not be empty.
 * ERR_LIMIT when the multiple is absurd. */
int series_list_normalise(const struct series_list *list, struct normalised *out, struct err *err);

/* The path expressions of the list, each once, joined by ','. */
struct span series_list_expressions(struct arena *arena, const struct series_list *list);

/* Groups by key, in the order in which the keys first came. */
struct series_group {
    struct span key;
    struct series_list list;
};

struct series_groups {
    struct series_group *items;
    size_t count;
    size_t cap;
    uint32_t *slots; /* hash table of index + 1 */
    size_t slots_count;
};

/* The group of KEY, created when missing. The pointer ends with the next call. */
struct series_group *series_groups_at(struct arena *arena, struct series_groups *groups, struct span key);

/* The group of KEY, or NULL. */
struct series_group *series_groups_find(const struct series_groups *groups, struct span key);

#endif
