/* Functions that show a series at another time, or only a part of its time. */
#include "query/fn.h"

#include "query/time_spec.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/* An interval without a sign points to the past. */
static struct span signed_interval(struct fn_call *call, size_t i, const char *fallback)
{
    struct span text = fn_text(call, i, fallback);

    if (text.len > 0 && isdigit((unsigned char)text.ptr[0]))
        text = arena_join(call->arena, SPAN_LIT("-"), text, SPAN_LIT(""));
    return text;
}

static int shift_range(struct fn_call *call, struct context *ctx)
{
    int64_t shift_s;
    int rc = time_offset_parse(signed_interval(call, 1, NULL), &shift_s, call->err);

    if (rc < 0)
        return rc;
    ctx->from_s += shift_s;
    ctx->until_s += shift_s;
    return 0;
}

static int time_shift(struct fn_call *call, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    struct span interval = signed_interval(call, 1, NULL);
    struct series_list result = {0};

    for (size_t i = 0; i < call->again.count && list->count > 0; i++) {
        const struct series *s = call->again.items[i];
        struct series *made = series_copy(call->arena, s, s->name);
        const struct series *first = list->items[0];

        series_set_tag(call->arena, s, "timeShift", interval);
        made->name = fn_name(call, "timeShift(%.*s, \"%.*s\")", SPAN_ARG(s->name), SPAN_ARG(interval));
        made->path_expression = s->path_expression;
        made->end_s = fn_bool(call, 2, true) ? first->end_s : s->end_s - s->start_s + first->start_s;
        made->start_s = first->start_s;
        series_list_add(call->arena, &result, made);
    }
    return fn_return(out, result);
}

static int stack_one(struct fn_call *call, int64_t shift, int64_t unit_s, struct series_list *result)
{
    const struct series *first = fn_list(call, 0)->items[0];
    struct span unit = signed_interval(call, 1, "1d");
    struct context ctx = *call->ctx;
    struct series_list shifted;
    int rc;

    if (__builtin_mul_overflow(unit_s, shift, &unit_s) || llabs(unit_s) > INT64_C(400) * 365 * 86400)
        return fn_fail(call, "the shift is out of range");
    ctx.from_s += unit_s;
    ctx.until_s += unit_s;
    rc = fn_again(call, &ctx, &shifted);
    for (size_t i = 0; rc == 0 && i < shifted.count; i++) {
        struct series *s = shifted.items[i];

        series_set_tag(call->arena, s, "timeShiftUnit", unit);
        series_set_tag(call->arena, s, "timeShift", fn_name(call, "%" PRId64, shift));
        s->name = fn_name(call, "timeShift(%.*s, %.*s, %" PRId64 ")", SPAN_ARG(s->name), SPAN_ARG(unit), shift);
        s->path_expression = s->name;
        s->start_s = first->start_s;
        s->end_s = first->end_s;
        series_list_add(call->arena, result, s);
    }
    return rc;
}

static int time_stack(struct fn_call *call, struct value *out)
{
    struct series_list result = {0};
    int64_t unit_s;
    int rc = time_offset_parse(signed_interval(call, 1, "1d"), &unit_s, call->err);

    if (fn_list(call, 0)->count == 0)
        return rc < 0 ? rc : fn_return(out, result);
    for (int64_t shift = fn_int(call, 2, 0); rc == 0 && shift < fn_int(call, 3, 7); shift++)
        rc = stack_one(call, shift, unit_s, &result);
    return rc < 0 ? rc : fn_return(out, result);
}

/* Times of these functions are the server's (UTC), and count from the wall clock. */
static int read_time(struct fn_call *call, size_t i, const char *fallback, int64_t *out_s)
{
    if (fn_given(call, i) && call->args[i].kind != VALUE_STRING)
        return fn_fail(call, "a time must be a text in quotes");
    return time_spec_parse(fn_text(call, i, fallback), tz_utc(), call->ev->wall_s, out_s, call->err);
}

static int time_slice(struct fn_call *call, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    struct series_list result = {0};
    int64_t start_s, end_s;

    if (read_time(call, 1, NULL, &start_s) < 0 || read_time(call, 2, "now", &end_s) < 0)
        return ERR_INPUT;
    for (size_t i = 0; i < list->count; i++) {
        const struct series *s = list->items[i];
        struct series *made = series_copy(call->arena, s, s->name);
        double *values = series_room(call->arena, s->count);

        made->name = fn_name(call, "timeSlice(%.*s, %" PRId64 ", %" PRId64 ")", SPAN_ARG(s->name), start_s, end_s);
        made->path_expression = s->path_expression;
        for (size_t k = 0; k < s->count; k++) {
            int64_t at_s = call->ctx->from_s + (int64_t)k * s->step_s;

            values[k] = at_s < start_s || at_s > end_s ? NAN : s->values[k];
        }
        series_set_tag(call->arena, s, "timeSliceStart", fn_name(call, "%" PRId64, start_s));
        series_set_tag(call->arena, s, "timeSliceEnd", fn_name(call, "%" PRId64, end_s));
        series_set_values(made, values, s->count);
        series_list_add(call->arena, &result, made);
    }
    return fn_return(out, result);
}

/* Moves the values by so many steps to the right (left when negative); times stay. No step at all
 * leaves no values, as in graphite-web. */
static int delay(struct fn_call *call, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    int64_t steps = fn_int(call, 1, 0);
    struct series_list result = {0};

    for (size_t i = 0; i < list->count; i++) {
        const struct series *s = list->items[i];
        struct series *made =
            series_copy(call->arena, s, fn_name(call, "delay(%.*s,%" PRId64 ")", SPAN_ARG(s->name), steps));
        size_t n = steps == 0 ? 0 : s->count;
        double *values = series_room(call->arena, n);

        for (size_t k = 0; k < n; k++) {
            bool inside = steps >= 0 ? (uint64_t)k >= (uint64_t)steps : (uint64_t)(n - k) > -(uint64_t)steps;

            values[k] = inside ? s->values[(int64_t)k - steps] : NAN;
        }
        series_set_tag(call->arena, s, "delay", fn_name(call, "%" PRId64, steps));
        series_set_values(made, values, n);
        series_list_add(call->arena, &result, made);
    }
    return fn_return(out, result);
}

static const struct fn_def times[] = {
    {.name = "delay",
     .group = "Transform",
     .params = {FN_SERIES("seriesList"), FN_PARAM("steps", FN_TYPE_INTEGER)},
     .brief = "Moves the values so many steps to the right, or to the left when negative.",
     .kind = FN_ANY,
     .run = delay},
    {.name = "timeShift",
     .group = "Transform",
     .params = {FN_SERIES("seriesList"),
                {.name = "timeShift",
                 .type = FN_TYPE_INTERVAL,
                 FN_REQUIRED,
                 .suggestions = "[\"1h\",\"6h\",\"12h\",\"1d\",\"2d\",\"7d\",\"14d\",\"30d\"]"},
                FN_DEFAULT("resetEnd", FN_TYPE_BOOLEAN, "true"),
                {.name = "alignDst", .type = FN_TYPE_BOOLEAN, .fallback = "false", .also = "alignDST"}},
     .brief = "Shows the series as it was so much earlier (or with a plus sign, later).",
     .kind = FN_ANY,
     .run = time_shift,
     .range = shift_range},
    {.name = "timeSlice",
     .group = "Transform",
     .params = {FN_SERIES("seriesList"), FN_PARAM("startSliceAt", FN_TYPE_DATE),
                FN_DEFAULT("endSliceAt", FN_TYPE_DATE, "\"now\"")},
     .brief = "Shows only the part of the series between two times.",
     .kind = FN_ANY,
     .run = time_slice},
    {.name = "timeStack",
     .group = "Transform",
     .params = {FN_SERIES("seriesList"),
                {.name = "timeShiftUnit",
                 .type = FN_TYPE_INTERVAL,
                 .fallback = "\"1d\"",
                 .suggestions = "[\"1h\",\"6h\",\"12h\",\"1d\",\"2d\",\"7d\",\"14d\",\"30d\"]"},
                FN_DEFAULT("timeShiftStart", FN_TYPE_INTEGER, "0"),
                FN_DEFAULT("timeShiftEnd", FN_TYPE_INTEGER, "7")},
     .brief = "Shows the series several times, each shifted by one more unit.",
     .kind = FN_ANY,
     .run = time_stack},
};
const struct fn_family fn_time = FN_FAMILY(times);
