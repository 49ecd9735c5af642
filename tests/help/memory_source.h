/* memory_source.h - series in arrays, for tests of the query engine: a struct source without a store.
 *
 * Each series has one archive without end. Ranges are aligned as whisper does it. */
#ifndef PLUMBAGO_TESTS_HELP_MEMORY_SOURCE_H
#define PLUMBAGO_TESTS_HELP_MEMORY_SOURCE_H

#include "query/source.h"
#include "storage/tag_expr.h"

#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>

struct memory_series {
    const char *name;
    int64_t start_s; /* of the first value */
    int64_t step_s;
    const double *values;
    size_t count;
};

struct memory_store {
    struct memory_series *series; /* sorted by name */
    size_t count;
    size_t fetches; /* how often points were asked for */
};

/* Globs here are fnmatch's, over the same number of dots; braces are not known. */
static inline bool memory_match(const char *pattern, const char *name)
{
    size_t dots = 0;

    for (const char *c = pattern; *c != 0; c++)
        dots += *c == '.';
    for (const char *c = name; *c != 0; c++)
        dots -= *c == '.';
    return dots == 0 && fnmatch(pattern, name, FNM_NOESCAPE) == 0;
}

static inline int memory_add(struct memory_store *m, size_t i, size_t max, struct source_series *out, size_t *count,
                             struct err *err)
{
    if (*count == max)
        return err_set(err, ERR_LIMIT, "more than %zu series", max);
    out[(*count)++] = (struct source_series){span_str(m->series[i].name), (uint32_t)i};
    return 0;
}

static inline int memory_find(void *ctx, struct span pattern, size_t max, struct arena *arena,
                              struct source_series **out, size_t *count, struct err *err)
{
    struct memory_store *m = ctx;
    const char *text = arena_span(arena, pattern).ptr;
    int rc = 0;

    *out = ARENA_ARRAY(arena, struct source_series, m->count);
    *count = 0;
    for (size_t i = 0; rc == 0 && i < m->count; i++) {
        if (memory_match(text, m->series[i].name))
            rc = memory_add(m, i, max, *out, count, err);
    }
    return rc;
}

static inline int memory_find_by_tags(void *ctx, const struct span *exprs, size_t exprs_count, size_t max,
                                      const struct query_control *control, struct arena *arena,
                                      struct source_series **out, size_t *count, struct err *err)
{
    struct memory_store *m = ctx;
    struct tag_expr *parsed = NULL;
    int rc = tag_exprs_parse(exprs, exprs_count, arena, &parsed, err);

    (void)control;
    *out = ARENA_ARRAY(arena, struct source_series, m->count);
    *count = 0;
    for (size_t i = 0; rc == 0 && i < m->count; i++) {
        if (tag_exprs_match(parsed, exprs_count, span_str(m->series[i].name)))
            rc = memory_add(m, i, max, *out, count, err);
    }
    if (parsed != NULL)
        tag_exprs_release(parsed, exprs_count);
    return rc;
}

static inline int memory_fetch(void *ctx, const struct source_series *series, int64_t from_s, int64_t until_s,
                               int64_t now_s, struct arena *arena, struct source_points *out, struct err *err)
{
    struct memory_store *m = ctx;
    const struct memory_series *s = &m->series[series->id];
    int64_t end_s = until_s - until_s % s->step_s + s->step_s;

    (void)now_s, (void)err;
    m->fetches++;
    out->start_s = from_s - from_s % s->step_s + s->step_s;
    out->step_s = s->step_s;
    if (end_s <= out->start_s)
        end_s = out->start_s + s->step_s;
    out->count = (size_t)((end_s - out->start_s) / s->step_s);
    out->values = arena_alloc(arena, out->count * sizeof(double));
    for (size_t i = 0; i < out->count; i++) {
        int64_t at = (out->start_s - s->start_s) / s->step_s + (int64_t)i;

        out->values[i] = at >= 0 && (size_t)at < s->count ? s->values[at] : NAN;
    }
    return 0;
}

static inline int memory_order(const void *a, const void *b)
{
    return strcmp(((const struct memory_series *)a)->name, ((const struct memory_series *)b)->name);
}

/* A source over STORE, whose series are sorted by this. */
static inline struct source memory_source(struct memory_store *store)
{
    qsort(store->series, store->count, sizeof(*store->series), memory_order);
    return (struct source){
        .ctx = store, .find = memory_find, .find_by_tags = memory_find_by_tags, .fetch = memory_fetch};
}

#endif
