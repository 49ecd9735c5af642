#include "query/fn.h"

#include "base/buf.h"
#include "query/parse.h"
#include "query/time_spec.h"

#include <stdarg.h>
#include <stdio.h>

/* ---- arguments ---- */

double fn_float(const struct fn_call *c, size_t i, double fallback)
{
    return fn_given(c, i) ? c->args[i].real : fallback;
}

int64_t fn_int(const struct fn_call *c, size_t i, int64_t fallback)
{
    return fn_given(c, i) ? c->args[i].integer : fallback;
}

bool fn_bool(const struct fn_call *c, size_t i, bool fallback)
{
    return fn_given(c, i) ? c->args[i].integer != 0 : fallback;
}

struct span fn_text(const struct fn_call *c, size_t i, const char *fallback)
{
    if (fn_given(c, i))
        return value_text(c->arena, &c->args[i]);
    return fallback == NULL ? (struct span){NULL, 0} : span_str(fallback);
}

struct series_list *fn_list(const struct fn_call *c, size_t i)
{
    static struct series_list empty;

    return i < c->args_count && c->args[i].kind == VALUE_LIST ? &c->args[i].list : &empty;
}

struct series_list fn_lists_joined(const struct fn_call *c, size_t i)
{
    struct series_list all = {0};

    if (i + 1 == c->args_count)
        return *fn_list(c, i);
    for (; i < c->args_count; i++)
        series_list_add_all(c->arena, &all, fn_list(c, i));
    return all;
}

static struct span without_series(struct span word)
{
    bool has = word.len >= 6 && memcmp(word.ptr + word.len - 6, "Series", 6) == 0;

    return has ? span_cut(word, 0, word.len - 6) : word;
}

const struct aggregator *fn_aggregator(struct fn_call *c, size_t i, const char *fallback)
{
    struct span word = fn_text(c, i, fallback);
    const struct aggregator *agg = aggregator_find(without_series(word));

    if (agg == NULL)
        fn_fail(c, "Unsupported aggregation function: %.*s", (int)(word.len < 60 ? word.len : 60), word.ptr);
    return agg;
}

int fn_interval(struct fn_call *c, size_t i, const char *fallback, int64_t *out_s)
{
    return time_offset_parse(fn_text(c, i, fallback), out_s, c->err);
}

int fn_regex(struct fn_call *c, size_t i, struct regex **out)
{
    if (c->args[i].kind != VALUE_STRING)
        return fn_fail(c, "a regular expression must be a text in quotes");
    return regex_compile(c->args[i].text, c->arena, out, c->err);
}

/* ---- results ---- */

int fn_return(struct value *out, struct series_list list)
{
    *out = (struct value){.kind = VALUE_LIST, .list = list};
    return 0;
}

int fn_fail(struct fn_call *c, const char *format, ...)
{
    char text[300];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return err_set(c->err, ERR_INPUT, "%s, in %s at character %zu", text, c->def->name, c->node->at + 1);
}

int fn_points(struct fn_call *c, const struct series *s, const double **points, size_t *count)
{
    return series_points(c->arena, s, points, count, c->err);
}

int fn_aggregate_of(struct fn_call *c, const struct series *s, const struct aggregator *agg, double *out)
{
    const double *points;
    size_t count;
    int rc = fn_points(c, s, &points, &count);

    if (rc == 0)
        *out = agg->of(points, count, c->arena);
    return rc;
}

struct span fn_aggregate_text(struct fn_call *c, const struct series *s, const struct aggregator *agg, double v)
{
    static const char *const whole[] = {"sum", "total", "min", "max", "last", "current", "diff"};
    bool counts = strcmp(agg->name, "count") == 0;

    if (isnan(v))
        return SPAN_LIT("None");
    for (size_t i = 0; s->integers && i < sizeof(whole) / sizeof(*whole); i++)
        counts |= strcmp(agg->name, whole[i]) == 0;
    return counts && fabs(v) < 9e15 ? fn_name(c, "%.0f", v) : float_text(c->arena, v);
}

int fn_again(struct fn_call *c, struct context *ctx, struct series_list *out)
{
    struct value value = {0};
    int rc = eval_node(c->ev, ctx, c->node->args[0], c->vars, &value);

    *out = value.list;
    return rc;
}

/* ---- names ---- */

static const struct node *first_path(const struct node *node)
{
    while (node->kind == NODE_CALL || node->kind == NODE_TEMPLATE) {
        if (node->args_count == 0)
            return NULL;
        node = node->args[0];
    }
    return node->kind == NODE_PATH ? node : NULL;
}

/* The first path expression inside of the name of a function's result. */
static int path_in_name(struct fn_call *c, struct span name, struct span *out)
{
    struct parse_result parsed;
    const struct node *path;
    int rc = parse_target(name, c->arena, &parsed, c->err);

    if (rc < 0)
        return rc;
    path = first_path(parsed.root);
    *out = path == NULL ? name : path->text;
    return 0;
}

/* The N-th part (from the end when negative) of a dotted path; false when there is none. */
static bool path_part(struct span path, int64_t n, struct span *out)
{
    int64_t parts = 1;

    for (size_t i = 0; i < path.len; i++)
        parts += path.ptr[i] == '.';
    if (n < 0)
        n += parts;
    if (n < 0 || n >= parts)
        return false;
    for (; n > 0; n--)
        path = span_cut(path, span_find(path, '.') + 1, path.len);
    *out = span_cut(path, 0, span_find(path, '.'));
    return true;
}

static struct span node_or_tag(struct fn_call *c, const struct series *s, struct span path, const struct value *v)
{
    struct span metric = span_cut(path, 0, span_find(path, ';'));
    const struct span *tag;
    struct span part;
    bool whole =
        v->kind == VALUE_INTEGER || (v->kind == VALUE_FLOAT && v->real == trunc(v->real) && fabs(v->real) < 1e9);

    if (whole && path_part(metric, (int64_t)v->real, &part))
        return part;
    tag = tags_get(series_tags(c->arena, s), value_text(c->arena, v));
    return tag != NULL ? *tag : SPAN_LIT("");
}

int fn_node_key(struct fn_call *c, const struct series *s, size_t first, struct span *out)
{
    struct span path = s->name;
    struct span key = SPAN_LIT("");

    if (path.len > 0 && path.ptr[path.len - 1] == ')') {
        int rc = path_in_name(c, s->name, &path);

        if (rc < 0)
            return rc;
    }
    for (size_t i = first; i < c->args_count; i++) {
        if (c->args[i].kind == VALUE_UNSET)
            continue;
        key = i == first ? node_or_tag(c, s, path, &c->args[i])
                         : arena_join(c->arena, key, SPAN_LIT("."), node_or_tag(c, s, path, &c->args[i]));
    }
    *out = key;
    return 0;
}

int fn_substitute(struct fn_call *c, const struct regex *re, struct span text, struct span replacement,
                  struct span *out)
{
    struct buf buf = {.max = 1 << 20};
    int rc = regex_sub(re, text, replacement, 0, &buf, c->err);
    char stack[4096];

    if (rc < 0 || buf.failed) {
        buf_release(&buf);
        return rc < 0 ? rc : fn_fail(c, "the new name is too long");
    }
    /* Running out of arena jumps away, and the buffer would be lost: copy by way of the stack. */
    if (buf.len <= sizeof(stack)) {
        size_t len = buf.len;

        if (len > 0)
            memcpy(stack, buf.ptr, len);
        buf_release(&buf);
        *out = arena_span(c->arena, span_of(stack, len));
        return 0;
    }
    buf_release(&buf);
    return fn_fail(c, "the new name is longer than %zu bytes", sizeof(stack));
}

/* ---- combining ---- */

/* The tags that all series have with the same value. */
static void common_tags(struct fn_call *c, const struct series_list *list, struct series *out)
{
    const struct tags *first = series_tags(c->arena, list->items[0]);
    struct tags *common = ARENA_NEW(c->arena, struct tags);

    common->ready = true;
    for (size_t i = 0; i < first->count; i++) {
        bool all = true;

        for (size_t k = 1; k < list->count && all; k++) {
            const struct span *value = tags_get(series_tags(c->arena, list->items[k]), first->items[i].key);

            all = value != NULL && span_eq(*value, first->items[i].value);
        }
        if (all)
            tags_set(c->arena, common, first->items[i].key, first->items[i].value);
    }
    if (tags_get(common, SPAN_LIT("name")) == NULL)
        tags_set(c->arena, common, SPAN_LIT("name"), out->name);
    out->tags = common;
}

int fn_aggregate(struct fn_call *c, const struct series_list *list, const struct aggregator *agg, struct span func,
                 double x_files_factor, struct series **out)
{
    struct column *columns = ARENA_ARRAY(c->arena, struct column, list->count);
    struct normalised n;
    size_t count = 0;
    struct series *s;
    double *values;
    int rc;

    *out = NULL;
    if (list->count == 0)
        return 0;
    func = without_series(func);
    rc = series_list_normalise(list, &n, c->err);
    for (size_t i = 0; rc == 0 && i < list->count; i++) {
        rc = fn_points(c, list->items[i], &columns[i].values, &columns[i].count);
        count = columns[i].count > count ? columns[i].count : count;
    }
    if (rc < 0)
        return rc;
    s = series_new(c->arena,
                   fn_name(c, "%.*sSeries(%.*s)", SPAN_ARG(func), SPAN_ARG(series_list_expressions(c->arena, list))),
                   n.start_s, n.end_s, n.step_s);
    common_tags(c, list, s);
    series_set_tag(c->arena, s, "aggregatedBy", func);
    s->x_files_factor = x_files_factor;
    s->integers = strcmp(agg->name, "count") == 0;
    values = series_room(c->arena, count);
    aggregate_columns(agg, columns, list->count, x_files_factor, values, count, c->arena);
    series_set_values(s, values, count);
    *out = s;
    return 0;
}

/* Run DEF with ARGS, which are series lists; the first series of the result. */
static int run_on_lists(struct fn_call *c, const struct fn_def *def, struct value *args, size_t given,
                        struct series **out)
{
    struct fn_call inner = *c;
    struct value result = {0};
    size_t required = 0;
    size_t params = 0;
    int rc;

    while (def->params[params].name != NULL) {
        required += def->params[params].required;
        params++;
    }
    if (def->kind != FN_ANY || def->range != NULL || given < required || params == 0 ||
        (given > params && !def->params[params - 1].multiple))
        return fn_fail(c, "\"%s\" cannot be called with %zu series lists", def->name, given);
    for (size_t i = 0; i < given; i++) {
        enum fn_type type = def->params[i < params ? i : params - 1].type;

        if (type != FN_TYPE_SERIES_LIST && type != FN_TYPE_ANY)
            return fn_fail(c, "\"%s\" cannot be called with %zu series lists", def->name, given);
    }
    inner.def = def;
    inner.args = args;
    inner.args_count = given > params ? given : params;
    rc = def->run(&inner, &result);
    if (rc == 0 && result.list.count == 0)
        rc = fn_fail(c, "\"%s\" gave no series", def->name);
    if (rc == 0)
        *out = result.list.items[0];
    return rc;
}

int fn_callback(struct fn_call *c, struct span callback, const struct series_list *list, struct series **out)
{
    const struct fn_def *def = functions_find(callback);
    bool own = def != NULL && def->extension == NULL; /* "count" is the aggregation, as in graphite-web */
    const struct aggregator *agg = !own ? aggregator_find(without_series(callback)) : NULL;
    struct value *args = ARENA_ARRAY(c->arena, struct value, FN_PARAMS_MAX);

    *out = NULL;
    if (agg != NULL)
        return fn_aggregate(c, list, agg, callback, c->ctx->x_files_factor, out);
    if (def == NULL)
        return fn_fail(c, "Unsupported aggregation function: %.*s", (int)(callback.len < 60 ? callback.len : 60),
                       callback.ptr);
    args[0] = (struct value){.kind = VALUE_LIST, .list = *list};
    return run_on_lists(c, def, args, 1, out);
}

int fn_call_with(struct fn_call *c, struct span function, const struct series_list *each, struct series **out)
{
    const struct fn_def *def = functions_find(function);
    struct value *args = ARENA_ARRAY(c->arena, struct value, each->count + FN_PARAMS_MAX);

    if (def == NULL)
        return fn_fail(c, "there is no function \"%.*s\"", (int)(function.len < 60 ? function.len : 60), function.ptr);
    for (size_t i = 0; i < each->count; i++) {
        if (each->items[i] == NULL)
            return fn_fail(c, "a group has no series for matcher %zu", i + 1);
        args[i].kind = VALUE_LIST;
        series_list_add(c->arena, &args[i].list, each->items[i]);
    }
    return run_on_lists(c, def, args, each->count, out);
}
