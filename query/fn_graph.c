/* Functions that say how a graph draws series. Only the stack and the names show in other formats. */
#include "query/fn.h"

#include "query/time_spec.h"

#include <inttypes.h>
#include <math.h>

static int alpha(struct fn_call *call, struct value *out)
{
    struct series_list *list = fn_list(call, 0);

    for (size_t i = 0; i < list->count; i++)
        list->items[i]->style.alpha = fn_float(call, 1, 1);
    return fn_return(out, *list);
}

static int color(struct fn_call *call, struct value *out)
{
    struct series_list *list = fn_list(call, 0);

    for (size_t i = 0; i < list->count; i++)
        list->items[i]->style.color = fn_text(call, 1, "");
    return fn_return(out, *list);
}

static int line_width(struct fn_call *call, struct value *out)
{
    struct series_list *list = fn_list(call, 0);

    for (size_t i = 0; i < list->count; i++)
        list->items[i]->style.line_width = fn_float(call, 1, 1);
    return fn_return(out, *list);
}

static int dashed(struct fn_call *call, struct value *out)
{
    struct series_list *list = fn_list(call, 0);
    int64_t length = fn_int(call, 1, 5);

    for (size_t i = 0; i < list->count; i++) {
        struct series *s = list->items[i];

        s->style.dashed = (double)length;
        s->name = fn_name(call, "dashed(%.*s, %g)", SPAN_ARG(s->name), (double)length);
        series_set_tag(call->arena, s, "dashed", fn_name(call, "%" PRId64, length));
    }
    return fn_return(out, *list);
}

static int second_y_axis(struct fn_call *call, struct value *out)
{
    struct series_list *list = fn_list(call, 0);

    for (size_t i = 0; i < list->count; i++) {
        struct series *s = list->items[i];

        s->style.second_y_axis = true;
        s->name = fn_name(call, "secondYAxis(%.*s)", SPAN_ARG(s->name));
        series_set_tag(call->arena, s, "secondYAxis", SPAN_LIT("1"));
    }
    return fn_return(out, *list);
}

static int draw_as_infinite(struct fn_call *call, struct value *out)
{
    struct series_list *list = fn_list(call, 0);

    for (size_t i = 0; i < list->count; i++) {
        struct series *s = list->items[i];

        s->style.draw_as_infinite = true;
        s->name = fn_name(call, "drawAsInfinite(%.*s)", SPAN_ARG(s->name));
        series_set_tag(call->arena, s, "drawAsInfinite", SPAN_LIT("1"));
    }
    return fn_return(out, *list);
}

static int area_between(struct fn_call *call, struct value *out)
{
    struct series_list *list = fn_list(call, 0);
    struct series *lower, *upper;

    if (list->count != 2)
        return fn_fail(call, "areaBetween series argument must reference *exactly* 2 series (not %zu)", list->count);
    lower = list->items[0];
    upper = list->items[1];
    lower->style.stacked = lower->style.invisible = upper->style.stacked = true;
    series_set_tag(call->arena, upper, "areaBetween", SPAN_LIT("1"));
    lower->tags = upper->tags;
    lower->name = upper->name = fn_name(call, "areaBetween(%.*s)", SPAN_ARG(upper->path_expression));
    return fn_return(out, *list);
}

/* ---- stacked ---- */

/* The totals so far, for each stack of the request. */
struct stack {
    struct span name;
    double *totals;
    size_t count;
    struct stack *next;
};

struct stacks {
    struct stack *first;
};

static struct stack *stack_at(struct fn_call *call, struct span name)
{
    struct stack *stack;

    if (call->ctx->stacks == NULL)
        call->ctx->stacks = ARENA_NEW(call->arena, struct stacks);
    for (stack = call->ctx->stacks->first; stack != NULL; stack = stack->next) {
        if (span_eq(stack->name, name))
            return stack;
    }
    stack = ARENA_NEW(call->arena, struct stack);
    stack->name = name;
    stack->next = call->ctx->stacks->first;
    call->ctx->stacks->first = stack;
    return stack;
}

static int stacked(struct fn_call *call, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    struct span name = fn_text(call, 1, "__DEFAULT__");
    bool is_default = span_eq(name, SPAN_LIT("__DEFAULT__"));
    struct stack *stack = stack_at(call, name);
    struct series_list result = {0};

    for (size_t i = 0; i < list->count; i++) {
        const struct series *s = list->items[i];
        struct series *made;
        double *values = series_room(call->arena, s->count);

        if (stack->count < s->count) {
            double *totals = ARENA_ARRAY(call->arena, double, s->count);

            if (stack->count > 0)
                memcpy(totals, stack->totals, stack->count * sizeof(*totals));
            stack->totals = totals;
            stack->count = s->count;
        }
        for (size_t k = 0; k < s->count; k++) {
            stack->totals[k] += isnan(s->values[k]) ? 0 : s->values[k];
            values[k] = isnan(s->values[k]) ? NAN : stack->totals[k];
        }
        if (is_default)
            series_set_tag(call->arena, s, "stacked", name);
        made = series_copy(call->arena, s, is_default ? fn_name(call, "stacked(%.*s)", SPAN_ARG(s->name)) : s->name);
        made->style.stacked = true;
        series_set_values(made, values, s->count);
        series_list_add(call->arena, &result, made);
    }
    return fn_return(out, result);
}

/* ---- lines ---- */

static int threshold(struct fn_call *call, struct value *out)
{
    struct span text = float_text(call->arena, fn_float(call, 0, 0));
    struct series *s;
    int rc =
        fn_constant_line(call, fn_float(call, 0, 0), text, fn_name(call, "constantLine(%.*s)", SPAN_ARG(text)), out);

    if (rc < 0)
        return rc;
    s = out->list.items[0];
    if (fn_text(call, 1, "").len > 0)
        s->name = fn_text(call, 1, "");
    s->style.color = fn_text(call, 2, "");
    return 0;
}

static int vertical_line(struct fn_call *call, struct value *out)
{
    static const double ones[] = {1, 1};
    struct series_list result = {0};
    struct series *s;
    int64_t at_s;

    if (call->args[0].kind != VALUE_STRING)
        return fn_fail(call, "a time must be a text in quotes");
    if (time_spec_parse(call->args[0].text, call->ev->tz, call->ev->wall_s, &at_s, call->err) < 0)
        return ERR_INPUT;
    if (at_s < call->ctx->from_s)
        return fn_fail(call, "verticalLine(): timestamp %" PRId64 " exists before start of range", at_s);
    if (at_s > call->ctx->until_s)
        return fn_fail(call, "verticalLine(): timestamp %" PRId64 " exists after end of range", at_s);
    s = series_new(call->arena, fn_text(call, 1, "None"), at_s, at_s, 1);
    s->x_files_factor = call->ctx->x_files_factor;
    s->style.draw_as_infinite = true;
    s->style.color = fn_text(call, 2, "");
    series_set_values(s, ones, 2);
    series_list_add(call->arena, &result, s);
    return fn_return(out, result);
}

static const struct fn_def graphs[] = {
    {.name = "alpha",
     .group = "Graph",
     .params = {FN_SERIES("seriesList"), FN_PARAM("alpha", FN_TYPE_FLOAT)},
     .brief = "Draws the series with so much opacity, 0 to 1.",
     .kind = FN_ANY,
     .run = alpha},
    {.name = "areaBetween",
     .group = "Graph",
     .params = {FN_SERIES("seriesList")},
     .brief = "Fills the area between exactly two series.",
     .kind = FN_ANY,
     .run = area_between},
    {.name = "color",
     .group = "Graph",
     .params = {FN_SERIES("seriesList"), FN_PARAM("theColor", FN_TYPE_STRING)},
     .brief = "Draws the series in this colour.",
     .kind = FN_ANY,
     .run = color},
    {.name = "dashed",
     .group = "Graph",
     .params = {FN_SERIES("seriesList"), FN_DEFAULT("dashLength", FN_TYPE_INTEGER, "5")},
     .brief = "Draws the series as a dashed line.",
     .kind = FN_ANY,
     .run = dashed},
    {.name = "drawAsInfinite",
     .group = "Graph",
     .params = {FN_SERIES("seriesList")},
     .brief = "Draws a vertical line wherever the series is above 0.",
     .kind = FN_ANY,
     .run = draw_as_infinite},
    {.name = "lineWidth",
     .group = "Graph",
     .params = {FN_SERIES("seriesList"), FN_PARAM("width", FN_TYPE_FLOAT)},
     .brief = "Draws the series with lines of this width.",
     .kind = FN_ANY,
     .run = line_width},
    {.name = "secondYAxis",
     .group = "Graph",
     .params = {FN_SERIES("seriesList")},
     .brief = "Draws the series by a second axis on the right.",
     .kind = FN_ANY,
     .run = second_y_axis},
    {.name = "stacked",
     .impure = true,
     .group = "Graph",
     .params = {FN_SERIES("seriesList"), {.name = "stack", .type = FN_TYPE_STRING, .also = "stackName"}},
     .brief = "Adds each series on top of those before it, in all targets of the request.",
     .kind = FN_ANY,
     .run = stacked},
    {.name = "threshold",
     .group = "Graph",
     .params = {FN_PARAM("value", FN_TYPE_FLOAT), FN_OPTIONAL("label", FN_TYPE_STRING),
                FN_OPTIONAL("color", FN_TYPE_STRING)},
     .brief = "A level line at a value, with a label and a colour.",
     .kind = FN_ANY,
     .run = threshold},
    {.name = "verticalLine",
     .group = "Graph",
     .params = {FN_PARAM("ts", FN_TYPE_DATE), FN_OPTIONAL("label", FN_TYPE_STRING),
                FN_OPTIONAL("color", FN_TYPE_STRING)},
     .brief = "A vertical line at a time, with a label and a colour.",
     .kind = FN_ANY,
     .run = vertical_line},
};
const struct fn_family fn_graph = FN_FAMILY(graphs);
