/* Functions that make series of nothing: lines, the clock, noise; and the one that finds them by tag. */
#include "query/fn.h"

#include "query/fetch.h"

#include <inttypes.h>
#include <math.h>
#include <xxhash.h>

int fn_constant_line(struct fn_call *c, double v, struct span name, struct span path_expression, struct value *out)
{
    int64_t from_s = c->ctx->from_s;
    int64_t until_s = c->ctx->until_s;
    struct series *s = series_new(c->arena, name, from_s, until_s, (until_s - from_s) / 2);
    double *values = series_room(c->arena, 3);
    struct series_list result = {0};

    values[0] = values[1] = values[2] = v;
    s->path_expression = path_expression;
    s->x_files_factor = c->ctx->x_files_factor;
    series_set_values(s, values, 3);
    series_list_add(c->arena, &result, s);
    return fn_return(out, result);
}

static int constant_line(struct fn_call *call, struct value *out)
{
    struct span text = float_text(call->arena, fn_float(call, 0, 0));

    return fn_constant_line(call, fn_float(call, 0, 0), text, fn_name(call, "constantLine(%.*s)", SPAN_ARG(text)), out);
}

/* A series NAME from the start of the request, end exclusive, with a step of its own; values not set. */
static int generated_as(struct fn_call *call, struct span name, int64_t step_s, struct series **out, double **values)
{
    int64_t range_s = call->ctx->until_s - call->ctx->from_s;
    size_t count;

    if (step_s <= 0)
        return fn_fail(call, "the step must be positive");
    count = (size_t)((range_s + step_s - 1) / step_s);
    if (count > call->ev->limits->points_max)
        return err_set(call->err, ERR_LIMIT, "%s makes more than %zu points", call->def->name,
                       call->ev->limits->points_max);
    *out = series_new(call->arena, name, call->ctx->from_s, call->ctx->until_s, step_s);
    *values = series_room(call->arena, count);
    (*out)->x_files_factor = call->ctx->x_files_factor;
    series_set_values(*out, *values, count);
    return 0;
}

/* The same, named by the first argument. */
static int generated(struct fn_call *call, int64_t step_s, struct series **out, double **values)
{
    return generated_as(call, fn_text(call, 0, ""), step_s, out, values);
}

static int return_one(struct fn_call *call, struct series *s, struct value *out)
{
    struct series_list result = {0};

    series_list_add(call->arena, &result, s);
    return fn_return(out, result);
}

/* The clock of the request's zone, counted as if it were UTC, as graphite-web does. */
static double clock_at(const struct fn_call *call, int64_t t_s)
{
    return (double)(t_s + tz_offset(call->ev->tz, t_s));
}

static int time_function(struct fn_call *call, struct value *out)
{
    struct series *s;
    double *values;
    int rc = generated(call, fn_int(call, 1, 60), &s, &values);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < s->count; i++)
        values[i] = clock_at(call, s->start_s + (int64_t)i * s->step_s);
    s->start_s += tz_offset(call->ev->tz, s->start_s);
    s->end_s += tz_offset(call->ev->tz, s->end_s);
    return return_one(call, s, out);
}

static int sin_function(struct fn_call *call, struct value *out)
{
    double amplitude = (double)fn_int(call, 1, 1);
    struct series *s;
    double *values;
    int rc = generated(call, fn_int(call, 2, 60), &s, &values);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < s->count; i++)
        values[i] = sin(clock_at(call, s->start_s + (int64_t)i * s->step_s)) * amplitude;
    return return_one(call, s, out);
}

/* Steps between -0.5 and 0.5; another walk for each name and second. */
static int random_walk(struct fn_call *call, struct value *out)
{
    struct series *s;
    double *values;
    double at = 0;
    int rc = generated(call, fn_int(call, 1, 60), &s, &values);
    uint64_t seed;

    if (rc < 0)
        return rc;
    seed = XXH3_64bits_withSeed(s->name.ptr, s->name.len, (uint64_t)call->ev->wall_s);
    for (size_t i = 0; i < s->count; i++) {
        values[i] = at;
        at += (double)(XXH3_64bits_withSeed(&i, sizeof(i), seed) >> 11) * 0x1p-53 - 0.5;
    }
    return return_one(call, s, out);
}

static int identity(struct fn_call *call, struct value *out)
{
    struct series *s;
    double *values;
    int rc = generated(call, 60, &s, &values);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < s->count; i++)
        values[i] = (double)(s->start_s + (int64_t)i * s->step_s);
    s->integers = true;
    s->path_expression = fn_name(call, "identity(\"%.*s\")", SPAN_ARG(s->name));
    return return_one(call, s, out);
}

/* How many events each second has, in the range of the request, end exclusive. */
static int events(struct fn_call *call, struct value *out)
{
    const struct source *source = call->ev->source;
    struct span *tags = ARENA_ARRAY(call->arena, struct span, call->args_count + 1);
    struct span list = SPAN_LIT("");
    int64_t *times_s = NULL;
    struct series *s;
    double *values;
    size_t tags_count = 0;
    size_t count = 0;
    int rc;

    for (size_t i = 0; i < call->args_count; i++) {
        if (!fn_given(call, i))
            continue;
        tags[tags_count] = fn_text(call, i, "");
        list = arena_join(call->arena, list, tags_count == 0 ? list : SPAN_LIT("\", \""), tags[tags_count]);
        tags_count++;
    }
    rc = generated_as(call, fn_name(call, "events(\"%.*s\")", SPAN_ARG(list)), 1, &s, &values);
    if (rc < 0)
        return rc;
    if (tags_count == 1 && span_eq(tags[0], SPAN_LIT("*")))
        tags = NULL;
    if (source->events != NULL)
        rc = source->events(source->ctx, s->start_s, s->end_s, tags, tags_count, call->arena, &times_s, &count,
                            call->err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < s->count; i++)
        values[i] = NAN;
    for (size_t i = 0; i < count; i++) {
        double *value = &values[times_s[i] - s->start_s];

        *value = isnan(*value) ? 1 : *value + 1;
    }
    s->integers = true;
    s->consolidation = SPAN_LIT("sum");
    return return_one(call, s, out);
}

static int series_by_tag(struct fn_call *call, struct value *out)
{
    struct span *exprs = ARENA_ARRAY(call->arena, struct span, call->args_count);
    struct series_list result = {0};
    int rc;

    for (size_t i = 0; i < call->args_count; i++) {
        if (call->args[i].kind != VALUE_STRING)
            return fn_fail(call, "tag expressions must be texts in quotes");
        exprs[i] = call->args[i].text;
    }
    rc = fetch_by_tags(call->ev, call->ctx, call->node->text, exprs, call->args_count, &result);
    return rc < 0 ? rc : fn_return(out, result);
}

static const struct fn_def sources[] = {
    {.name = "constantLine",
     .group = "Special",
     .params = {FN_PARAM("value", FN_TYPE_FLOAT)},
     .brief = "A level line at a value.",
     .kind = FN_ANY,
     .run = constant_line},
    {.name = "events",
     .impure = true,
     .group = "Special",
     .params = {{.name = "tags", .type = FN_TYPE_STRING, FN_REQUIRED, .multiple = true, .can_be_missing = true}},
     .brief = "How many events with all of the tags there are in each second; \"*\" for any event.",
     .kind = FN_ANY,
     .run = events},
    {.name = "identity",
     .group = "Calculate",
     .params = {FN_PARAM("name", FN_TYPE_STRING)},
     .brief = "A series whose value is its time.",
     .kind = FN_ANY,
     .run = identity},
    {.name = "randomWalk",
     .impure = true,
     .group = "Special",
     .params = {FN_PARAM("name", FN_TYPE_STRING), FN_DEFAULT("step", FN_TYPE_INTEGER, "60")},
     .brief = "Short for randomWalkFunction.",
     .kind = FN_ANY,
     .run = random_walk},
    {.name = "randomWalkFunction",
     .impure = true,
     .group = "Special",
     .params = {FN_PARAM("name", FN_TYPE_STRING), FN_DEFAULT("step", FN_TYPE_INTEGER, "60")},
     .brief = "A random walk, for trying things out.",
     .kind = FN_ANY,
     .run = random_walk},
    {.name = "seriesByTag",
     .group = "Special",
     .params = {FN_MANY_REQUIRED("tagExpressions", FN_TYPE_STRING)},
     .brief = "All series whose tags fit every one of the expressions tag=value, tag!=value, tag=~regex, tag!=~regex.",
     .kind = FN_ANY,
     .run = series_by_tag},
    {.name = "sin",
     .group = "Transform",
     .params = {FN_PARAM("name", FN_TYPE_STRING), FN_DEFAULT("amplitude", FN_TYPE_INTEGER, "1"),
                FN_DEFAULT("step", FN_TYPE_INTEGER, "60")},
     .brief = "Short for sinFunction.",
     .kind = FN_ANY,
     .run = sin_function},
    {.name = "sinFunction",
     .group = "Transform",
     .params = {FN_PARAM("name", FN_TYPE_STRING), FN_DEFAULT("amplitude", FN_TYPE_INTEGER, "1"),
                FN_DEFAULT("step", FN_TYPE_INTEGER, "60")},
     .brief = "The sine of the time.",
     .kind = FN_ANY,
     .run = sin_function},
    {.name = "time",
     .group = "Transform",
     .params = {FN_PARAM("name", FN_TYPE_STRING), FN_DEFAULT("step", FN_TYPE_INTEGER, "60")},
     .brief = "Short for timeFunction.",
     .kind = FN_ANY,
     .run = time_function},
    {.name = "timeFunction",
     .group = "Transform",
     .params = {FN_PARAM("name", FN_TYPE_STRING), FN_DEFAULT("step", FN_TYPE_INTEGER, "60")},
     .brief = "The time itself.",
     .kind = FN_ANY,
     .run = time_function},
};
const struct fn_family fn_source = FN_FAMILY(sources);
