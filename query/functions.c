#include "query/functions.h"

#include "base/must.h"
#include "query/fn.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

/* All families, in the order of the file map in README.md. */
static const struct fn_family *const families[] = {
    &fn_alias,      &fn_combine, &fn_lists, &fn_group,  &fn_ratio, &fn_pointwise,   &fn_rates,
    &fn_resample,   &fn_time,    &fn_gaps,  &fn_moving, &fn_stats, &fn_holtwinters, &fn_filter,
    &fn_thresholds, &fn_sort,    &fn_graph, &fn_source, &fn_trend, &fn_similar,     &fn_fourier,
};

enum { FAMILIES = sizeof(families) / sizeof(*families) };

int functions_each(int (*each)(void *ctx, const struct fn_def *def), void *ctx)
{
    for (size_t f = 0; f < FAMILIES; f++) {
        for (size_t i = 0; i < families[f]->count; i++) {
            int rc = each(ctx, &families[f]->defs[i]);

            if (rc != 0)
                return rc;
        }
    }
    return 0;
}

/* Names are looked up by hash, as some functions do it for each of ten thousand groups. */
enum { SLOTS = 1024 };

static const struct fn_def *slots[SLOTS]; /* written once, before the first look-up ends */
static pthread_once_t slots_once = PTHREAD_ONCE_INIT;

static size_t slot_of(struct span name)
{
    size_t at = XXH3_64bits(name.ptr, name.len) % SLOTS;

    while (slots[at] != NULL && !span_eq(name, span_str(slots[at]->name)))
        at = (at + 1) % SLOTS;
    return at;
}

static int slot_fill(void *ctx, const struct fn_def *def)
{
    size_t at = slot_of(span_str(def->name));

    (void)ctx;
    MUST(slots[at] == NULL); /* no name is there twice */
    slots[at] = def;
    return 0;
}

static void slots_fill(void)
{
    functions_each(slot_fill, NULL);
}

const struct fn_def *functions_find(struct span name)
{
    pthread_once(&slots_once, slots_fill);
    return slots[slot_of(name)];
}

const char *fn_type_name(enum fn_type type)
{
    switch (type) {
    case FN_TYPE_ANY:
        return "any";
    case FN_TYPE_SERIES_LIST:
        return "seriesList";
    case FN_TYPE_SERIES_LISTS:
        return "seriesLists";
    case FN_TYPE_FLOAT:
        return "float";
    case FN_TYPE_INTEGER:
        return "integer";
    case FN_TYPE_INT_OR_INF:
        return "intOrInf";
    case FN_TYPE_INT_OR_INTERVAL:
        return "intOrInterval";
    case FN_TYPE_INTERVAL:
        return "interval";
    case FN_TYPE_DATE:
        return "date";
    case FN_TYPE_BOOLEAN:
        return "boolean";
    case FN_TYPE_STRING:
        return "string";
    case FN_TYPE_NODE:
        return "node";
    case FN_TYPE_NODE_OR_TAG:
        return "nodeOrTag";
    case FN_TYPE_TAG:
        return "tag";
    case FN_TYPE_AGG_FUNC:
        return "aggFunc";
    case FN_TYPE_AGG_OR_SERIES_FUNC:
        return "aggOrSeriesFunc";
    }
    return "any";
}

/* ---- /functions ---- */

/* All functions, sorted by group (or not) and name. */
struct listing {
    const struct fn_def **defs;
    size_t count;
    size_t cap;
};

static int listing_add(void *ctx, const struct fn_def *def)
{
    struct listing *l = ctx;

    if (l->count == l->cap) {
        size_t cap = l->cap == 0 ? 256 : l->cap * 2;
        const struct fn_def **more = realloc(l->defs, cap * sizeof(*more));

        if (more == NULL)
            return 1;
        l->defs = more;
        l->cap = cap;
    }
    l->defs[l->count++] = def;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const struct fn_def *const *)a)->name, (*(const struct fn_def *const *)b)->name);
}

static int by_group(const void *a, const void *b)
{
    int order = strcmp((*(const struct fn_def *const *)a)->group, (*(const struct fn_def *const *)b)->group);

    return order != 0 ? order : by_name(a, b);
}

static struct listing listing_new(int (*order)(const void *, const void *))
{
    struct listing l = {0};

    functions_each(listing_add, &l);
    qsort(l.defs, l.count, sizeof(*l.defs), order);
    return l;
}

static const char *const aggregator_names[] = {"average", "avg",    "avg_zero", "count", "current",  "diff",
                                               "last",    "max",    "median",   "min",   "multiply", "range",
                                               "rangeOf", "stddev", "sum",      "total"};
enum { AGGREGATOR_NAMES = sizeof(aggregator_names) / sizeof(*aggregator_names) };

static void add_option(struct buf *out, size_t *n, const char *name)
{
    buf_add_str(out, (*n)++ == 0 ? "\"" : ",\"");
    buf_add_str(out, name);
    buf_add_char(out, '"');
}

/* The names of aggregations, and WITH_FUNCTIONS those of functions that combine; sorted, each once. */
static void add_aggregators(struct buf *out, bool with_functions)
{
    struct listing l = listing_new(by_name);
    size_t next = 0;
    size_t n = 0;

    buf_add_char(out, '[');
    for (size_t i = 0; i < l.count && with_functions; i++) {
        if (!l.defs[i]->aggregator)
            continue;
        while (next < AGGREGATOR_NAMES && strcmp(aggregator_names[next], l.defs[i]->name) < 0)
            add_option(out, &n, aggregator_names[next++]);
        if (next < AGGREGATOR_NAMES && strcmp(aggregator_names[next], l.defs[i]->name) == 0)
            next++;
        add_option(out, &n, l.defs[i]->name);
    }
    while (next < AGGREGATOR_NAMES)
        add_option(out, &n, aggregator_names[next++]);
    buf_add_char(out, ']');
    free(l.defs);
}

static void add_options(const struct fn_param *p, struct buf *out)
{
    bool callbacks = p->type == FN_TYPE_AGG_OR_SERIES_FUNC;

    if (p->options == NULL && p->type != FN_TYPE_AGG_FUNC && !callbacks)
        return;
    buf_add_str(out, ",\"options\":");
    if (p->options != NULL)
        buf_add_str(out, p->options);
    else
        add_aggregators(out, callbacks);
}

static void add_param(const struct fn_param *p, struct buf *out)
{
    buf_addf(out, "{\"name\":\"%s\",\"type\":\"%s\"", p->name, fn_type_name(p->type));
    if (p->required)
        buf_add_str(out, ",\"required\":true");
    if (p->fallback != NULL)
        buf_addf(out, ",\"default\":%s", p->fallback);
    if (p->multiple)
        buf_add_str(out, ",\"multiple\":true");
    add_options(p, out);
    if (p->suggestions != NULL)
        buf_addf(out, ",\"suggestions\":%s", p->suggestions);
    buf_add_char(out, '}');
}

void functions_signature(const struct fn_def *def, struct buf *out)
{
    buf_addf(out, "%s(", def->name);
    for (size_t i = 0; def->params[i].name != NULL; i++) {
        const struct fn_param *p = &def->params[i];

        buf_addf(out, "%s%s%s", i > 0 ? ", " : "", p->multiple ? "*" : "", p->name);
        if (!p->required && !p->multiple)
            buf_addf(out, "=%s", p->fallback != NULL ? p->fallback : "None");
    }
    buf_add_char(out, ')');
}

void functions_json_one(const struct fn_def *def, struct buf *out)
{
    struct buf signature = {0};

    functions_signature(def, &signature);
    buf_addf(out, "{\"name\":\"%s\",\"function\":", def->name);
    buf_add_json(out, buf_span(&signature));
    buf_release(&signature);
    buf_add_str(out, ",\"description\":");
    buf_add_json(out, span_str(def->brief));
    buf_addf(out, ",\"module\":\"graphite.render.functions\",\"group\":\"%s\"", def->group);
    if (def->extension != NULL)
        buf_addf(out, ",\"extension\":\"%s\"", def->extension);
    buf_add_str(out, ",\"params\":[");
    for (size_t i = 0; def->params[i].name != NULL; i++) {
        if (i > 0)
            buf_add_char(out, ',');
        add_param(&def->params[i], out);
    }
    buf_add_str(out, "]}");
}

void functions_json(enum functions_layout layout, struct buf *out)
{
    bool grouped = layout == FUNCTIONS_GROUPED;
    struct listing l = listing_new(grouped ? by_group : by_name);
    const char *group = NULL;

    buf_add_char(out, '{');
    for (size_t i = 0; i < l.count; i++) {
        bool fresh = grouped && (group == NULL || strcmp(group, l.defs[i]->group) != 0);

        if (i > 0)
            buf_add_str(out, fresh ? "}," : ",");
        if (fresh) {
            group = l.defs[i]->group;
            buf_addf(out, "\"%s\":{", group);
        }
        buf_addf(out, "\"%s\":", l.defs[i]->name);
        functions_json_one(l.defs[i], out);
    }
    buf_add_str(out, grouped && l.count > 0 ? "}}" : "}");
    free(l.defs);
}
