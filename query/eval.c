/* A call is evaluated in four steps: its arguments, in order; binding them to the parameters of the
 * function's table entry, with checks and conversion; for a function that looks at another range, its
 * first argument once more in that range; then the function.
 *
 * graphite-web only logs an argument of the wrong type and goes on with it, which ends in a crash or in
 * a surprise. Here it is an error that names function, parameter and position. */
#include "query/eval.h"

#include "base/clock.h"
#include "base/number.h"
#include "query/common.h"
#include "query/explain.h"
#include "query/fetch.h"
#include "query/fn.h"
#include "query/parse.h"
#include "query/plan.h"
#include "query/time_spec.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>

bool query_is_over(const struct query_control *control)
{
    return control != NULL && (__atomic_load_n(&control->cancelled, __ATOMIC_RELAXED) != 0 ||
                               (control->deadline_ns != 0 && clock_mono_ns() > control->deadline_ns));
}

int eval_check(struct eval *ev)
{
    const struct query_control *control = ev->control;

    if (!query_is_over(control))
        return 0;
    if (__atomic_load_n(&control->cancelled, __ATOMIC_RELAXED) != 0)
        return err_set(ev->err, ERR_CANCELLED, "the client has left");
    return err_set(ev->err, ERR_CANCELLED, "the request took longer than it may");
}

/* ---- arguments: checks and conversion by declared type ---- */

/* What is being bound, for messages. */
struct binding {
    struct eval *ev;
    const struct fn_def *def;
    const struct fn_param *param;
};

static int bad_value(const struct binding *b, const struct value *v)
{
    struct span text = v->kind == VALUE_STRING ? v->text : value_text(b->ev->arena, v);
    int shown = (int)(text.len < 60 ? text.len : 60);

    if (v->kind == VALUE_LIST)
        return err_set(b->ev->err, ERR_INPUT,
                       "Invalid \"%s\" value specified for function \"%s\" parameter \"%s\" at character %zu: "
                       "a series expression (a text needs quotes)",
                       fn_type_name(b->param->type), b->def->name, b->param->name, v->at + 1);
    return err_set(b->ev->err, ERR_INPUT,
                   "Invalid \"%s\" value specified for function \"%s\" parameter \"%s\" at character %zu: %s%.*s%s",
                   fn_type_name(b->param->type), b->def->name, b->param->name, v->at + 1,
                   v->kind == VALUE_STRING ? "'" : "", shown, text.ptr, v->kind == VALUE_STRING ? "'" : "");
}

static struct span stripped(struct span s)
{
    while (s.len > 0 && isspace((unsigned char)s.ptr[0]))
        s = span_cut(s, 1, s.len);
    while (s.len > 0 && isspace((unsigned char)s.ptr[s.len - 1]))
        s.len--;
    return s;
}

static bool to_float(struct value *v)
{
    double real = v->real;

    if (v->kind == VALUE_STRING && !number_parse(stripped(v->text), &real))
        return false;
    if (v->kind == VALUE_BOOLEAN)
        real = (double)v->integer;
    if (v->kind != VALUE_STRING && v->kind != VALUE_BOOLEAN && v->kind != VALUE_INTEGER && v->kind != VALUE_FLOAT)
        return false;
    v->kind = VALUE_FLOAT;
    v->real = real;
    return true;
}

static bool to_integer(struct value *v)
{
    if (v->kind == VALUE_STRING && !number_parse_i64(stripped(v->text), &v->integer))
        return false;
    if (v->kind != VALUE_STRING && v->kind != VALUE_BOOLEAN && v->kind != VALUE_INTEGER)
        return false;
    v->kind = VALUE_INTEGER;
    v->real = (double)v->integer;
    return true;
}

static bool to_int_or_inf(struct value *v)
{
    return to_integer(v) || (to_float(v) && isinf(v->real) && v->real > 0);
}

static bool word_is(struct span s, const char *word)
{
    return s.len == strlen(word) && strncasecmp(s.ptr, word, s.len) == 0;
}

static bool to_boolean(struct value *v)
{
    bool value = v->integer != 0;

    if (v->kind == VALUE_STRING) {
        value = word_is(v->text, "true");
        if (!value && !word_is(v->text, "false"))
            return false;
    } else if (v->kind == VALUE_INTEGER || v->kind == VALUE_FLOAT) {
        value = v->real == 1;
        if (!value && v->real != 0)
            return false;
    } else if (v->kind != VALUE_BOOLEAN) {
        return false;
    }
    v->kind = VALUE_BOOLEAN;
    v->integer = value;
    return true;
}

static bool is_interval(const struct value *v)
{
    int64_t seconds;

    return v->kind == VALUE_STRING && time_offset_parse(v->text, &seconds, NULL) == 0;
}

/* "sum", or the older spelling "sumSeries". */
static bool is_aggregator(const struct value *v)
{
    struct span word = v->text;

    if (v->kind != VALUE_STRING)
        return false;
    if (aggregator_find(word) != NULL)
        return true;
    if (word.len < 6 || memcmp(word.ptr + word.len - 6, "Series", 6) != 0)
        return false;
    return aggregator_find(span_cut(word, 0, word.len - 6)) != NULL;
}

static bool is_callback(const struct value *v)
{
    const struct fn_def *def = v->kind == VALUE_STRING ? functions_find(v->text) : NULL;

    return is_aggregator(v) || (def != NULL && def->aggregator);
}

static bool is_scalar(const struct value *v)
{
    return v->kind != VALUE_LIST && v->kind != VALUE_LISTS;
}

static bool value_converted(enum fn_type type, struct value *v)
{
    switch (type) {
    case FN_TYPE_FLOAT:
        return to_float(v);
    case FN_TYPE_INTEGER:
    case FN_TYPE_NODE:
        return to_integer(v);
    case FN_TYPE_INT_OR_INF:
        return to_int_or_inf(v);
    case FN_TYPE_BOOLEAN:
        return to_boolean(v);
    case FN_TYPE_INTERVAL:
        return is_interval(v);
    case FN_TYPE_AGG_FUNC:
        return is_aggregator(v);
    case FN_TYPE_AGG_OR_SERIES_FUNC:
        return is_callback(v);
    case FN_TYPE_SERIES_LIST:
        return v->kind == VALUE_LIST;
    case FN_TYPE_SERIES_LISTS:
        return v->kind == VALUE_LISTS || (v->kind == VALUE_LIST && v->list.count == 0);
    case FN_TYPE_ANY:
        return true;
    case FN_TYPE_INT_OR_INTERVAL:
    case FN_TYPE_DATE:
    case FN_TYPE_STRING:
    case FN_TYPE_NODE_OR_TAG:
    case FN_TYPE_TAG:
        return is_scalar(v);
    }
    return false;
}

static int bind_one(const struct binding *b, struct value *v)
{
    if (v->kind == VALUE_NONE && (!b->param->required || b->param->fallback != NULL))
        return 0;
    if (value_converted(b->param->type, v) || (b->param->lenient && is_scalar(v) && v->kind != VALUE_STRING))
        return 0;
    return bad_value(b, v);
}

static size_t params_count(const struct fn_def *def)
{
    size_t n = 0;

    while (def->params[n].name != NULL)
        n++;
    return n;
}

/* The parameter called NAME among those that no argument by position has taken. */
static size_t param_index(const struct fn_def *def, size_t from, size_t count, struct span name)
{
    for (; from < count; from++) {
        const struct fn_param *p = &def->params[from];

        if (span_eq(name, span_str(p->name)) || (p->also != NULL && span_eq(name, span_str(p->also))))
            break;
    }
    return from;
}

static int bind_args(struct eval *ev, const struct node *node, const struct fn_def *def, struct value *args,
                     const struct value *kwargs)
{
    size_t count = params_count(def);
    struct binding b = {ev, def, NULL};

    if (node->args_count > count && (count == 0 || !def->params[count - 1].multiple))
        return err_set(ev->err, ERR_INPUT, "Too many parameters specified for function \"%s\" at character %zu",
                       def->name, node->args[count]->at + 1);
    for (size_t i = 0; i < node->args_count; i++) {
        b.param = &def->params[i < count ? i : count - 1];
        if (bind_one(&b, &args[i]) < 0)
            return ERR_INPUT;
    }
    for (size_t k = 0; k < node->kwargs_count; k++) {
        struct span name = node->kwargs[k].name;
        size_t i = param_index(def, node->args_count, count, name);

        if (i >= count)
            return err_set(ev->err, ERR_INPUT, "Unexpected key word argument \"%.*s\" for function \"%s\"",
                           (int)(name.len < 60 ? name.len : 60), name.ptr, def->name);
        b.param = &def->params[i];
        args[i] = kwargs[k];
        if (bind_one(&b, &args[i]) < 0)
            return ERR_INPUT;
    }
    for (size_t i = 0; i < count; i++) {
        const struct fn_param *p = &def->params[i];

        /* A list of no arguments is a list, too: sumSeries() is empty. */
        if (p->required && !p->multiple && !p->can_be_missing && args[i].kind == VALUE_UNSET)
            return err_set(ev->err, ERR_INPUT, "Missing required parameter \"%s\" for function \"%s\" at character %zu",
                           p->name, def->name, node->at + 1);
    }
    return 0;
}

/* ---- calls ---- */

static struct span series_label(struct fn_call *c)
{
    const char *label = c->def->label;
    const struct value *v = &c->args[1];
    char text[400];

    if (label == NULL)
        return SPAN_LIT("");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* the formats are constants of the tables */
    if (strstr(label, "%g") != NULL)
        snprintf(text, sizeof(text), label, v->real);
    else if (strstr(label, "%.0f") != NULL)
        snprintf(text, sizeof(text), label, trunc(v->real) + 0.0); /* no "-0" */
    else
        snprintf(text, sizeof(text), label, arena_span(c->arena, value_text(c->arena, v)).ptr);
#pragma GCC diagnostic pop
    return arena_span(c->arena, span_str(text));
}

static void set_function_tag(struct fn_call *c, const struct series *s)
{
    const char *tag = c->def->tag;

    if (tag == NULL)
        return;
    series_set_tag(c->arena, s, c->def->name,
                   strcmp(tag, "=") == 0 ? value_text(c->arena, &c->args[1]) : span_str(tag));
}

/* All the work around functions that turn each series into one of the same length. */
static int run_per_series(struct fn_call *c, struct value *out)
{
    struct span label = series_label(c);
    struct series_list result = {0};
    const struct series_list *list = &c->args[0].list;

    for (size_t i = 0; i < list->count; i++) {
        const struct series *s = list->items[i];
        const double *points;
        size_t count;
        struct series *made;
        double *values;
        int rc = fn_points(c, s, &points, &count);

        if (rc < 0)
            return rc;
        set_function_tag(c, s);
        made = series_copy(c->arena, s, fn_name(c, "%s(%.*s%.*s)", c->def->name, SPAN_ARG(s->name), SPAN_ARG(label)));
        values = series_room(c->arena, count);
        rc = c->def->each(c, s, points, count, values);
        if (rc < 0)
            return rc;
        if (c->def->numbers != FN_NUMBERS_SAME)
            made->integers = c->def->numbers == FN_NUMBERS_COUNT;
        series_set_values(made, values, count);
        series_list_add(c->arena, &result, made);
    }
    return fn_return(out, result);
}

static int run(struct fn_call *c, struct value *out)
{
    if (c->def->range != NULL) {
        int rc = plan_again(c);

        if (rc < 0)
            return rc;
    }
    return c->def->kind == FN_PER_SERIES ? run_per_series(c, out) : c->def->run(c, out);
}

static int eval_call(struct eval *ev, struct context *ctx, const struct node *node, const struct variables *vars,
                     struct value *out)
{
    struct fn_call c = {.ev = ev, .arena = ev->arena, .err = ev->err, .ctx = ctx, .node = node, .vars = vars};
    struct value *kwargs;
    size_t params;
    int rc;

    if (span_eq(node->function, SPAN_LIT("template")))
        return err_set(ev->err, ERR_INPUT, "invalid template() syntax, only string/numeric arguments are allowed");
    c.def = functions_find(node->function);
    if (c.def == NULL)
        return err_set(ev->err, ERR_INPUT, "Received request for unknown function: %.*s",
                       (int)(node->function.len < 100 ? node->function.len : 100), node->function.ptr);
    params = params_count(c.def);
    c.args_count = node->args_count > params ? node->args_count : params;
    c.args = ARENA_ARRAY(ev->arena, struct value, c.args_count);
    for (size_t i = 0; i < node->args_count; i++) {
        if ((rc = eval_node(ev, ctx, node->args[i], vars, &c.args[i])) < 0)
            return rc;
    }
    kwargs = ARENA_ARRAY(ev->arena, struct value, node->kwargs_count);
    for (size_t i = 0; i < node->kwargs_count; i++) {
        if ((rc = eval_node(ev, ctx, node->kwargs[i].value, vars, &kwargs[i])) < 0)
            return rc;
    }
    rc = bind_args(ev, node, c.def, c.args, kwargs);
    if (rc == 0)
        rc = eval_check(ev);
    return rc < 0 ? rc : run(&c, out);
}

/* ---- templates and paths ---- */

static struct value scalar_value(const struct node *node)
{
    struct value v = {.at = node->at, .text = node->text, .integer = node->integer, .real = node->real};

    switch (node->kind) {
    case NODE_INTEGER:
        v.kind = VALUE_INTEGER;
        break;
    case NODE_FLOAT:
        v.kind = VALUE_FLOAT;
        break;
    case NODE_STRING:
        v.kind = VALUE_STRING;
        break;
    case NODE_BOOLEAN:
        v.kind = VALUE_BOOLEAN;
        break;
    case NODE_INFINITY:
        v.kind = VALUE_FLOAT;
        v.real = INFINITY;
        break;
    default:
        v.kind = VALUE_NONE;
        break;
    }
    return v;
}

static void variable_set(struct variable *vars, size_t *count, struct span name, struct value value)
{
    size_t i = 0;

    while (i < *count && !span_eq(vars[i].name, name))
        i++;
    vars[i] = (struct variable){name, value};
    *count += i == *count;
}

static int eval_template(struct eval *ev, struct context *ctx, const struct node *node, struct value *out)
{
    const struct params *given = ev->template_params;
    size_t max = node->args_count + node->kwargs_count + given->count;
    struct variable *all = ARENA_ARRAY(ev->arena, struct variable, max);
    struct variables vars = {.count = 0};

    for (size_t i = 0; i < node->kwargs_count; i++)
        variable_set(all, &vars.count, node->kwargs[i].name, scalar_value(node->kwargs[i].value));
    for (size_t i = 1; i < node->args_count; i++)
        variable_set(all, &vars.count, arena_printf(ev->arena, "%zu", i), scalar_value(node->args[i]));
    for (size_t i = 0; i < given->count; i++)
        variable_set(all, &vars.count, given->items[i].key,
                     (struct value){.kind = VALUE_STRING, .text = given->items[i].value});
    vars.items = all;
    return eval_node(ev, ctx, node->args[0], &vars, out);
}

/* Every FROM in TEXT becomes TO. */
static struct span replaced(struct arena *arena, struct span text, struct span from, struct span to)
{
    size_t hits = 0;
    size_t len = 0;
    char *out;

    for (size_t i = 0; i + from.len <= text.len; i++)
        hits += memcmp(text.ptr + i, from.ptr, from.len) == 0;
    if (hits == 0)
        return text;
    out = arena_alloc(arena, text.len + hits * to.len);
    for (size_t at = 0; at < text.len;) {
        if (at + from.len <= text.len && memcmp(text.ptr + at, from.ptr, from.len) == 0) {
            if (to.len > 0)
                memcpy(out + len, to.ptr, to.len);
            len += to.len;
            at += from.len;
        } else {
            out[len++] = text.ptr[at++];
        }
    }
    return span_of(out, len);
}

static bool looks_numeric(struct span s)
{
    size_t digits = 0;
    size_t i = s.len > 0 && s.ptr[0] == '-';

    for (; i < s.len; i++, digits++) {
        if (!isdigit((unsigned char)s.ptr[i]) && s.ptr[i] != '.')
            return false;
    }
    return digits > 0;
}

/* A path that is just a variable stands for its value. */
static int variable_value(struct eval *ev, const struct value *v, size_t at, struct value *out)
{
    *out = *v;
    out->at = at;
    if (v->kind != VALUE_STRING || !looks_numeric(v->text))
        return 0;
    out->kind = VALUE_FLOAT;
    if (!number_parse(v->text, &out->real))
        return err_set(ev->err, ERR_INPUT, "the template variable at character %zu is no number: %.*s", at + 1,
                       (int)(v->text.len < 60 ? v->text.len : 60), v->text.ptr);
    return 0;
}

static int eval_path(struct eval *ev, struct context *ctx, const struct node *node, const struct variables *vars,
                     struct value *out)
{
    struct span path = node->text;

    for (size_t i = 0; vars != NULL && i < vars->count; i++) {
        const struct variable *v = &vars->items[i];
        struct span name = arena_join(ev->arena, SPAN_LIT("$"), v->name, SPAN_LIT(""));

        if (span_eq(path, name))
            return variable_value(ev, &v->value, node->at, out);
        path = replaced(ev->arena, path, name, value_text(ev->arena, &v->value));
    }
    *out = (struct value){.kind = VALUE_LIST, .at = node->at};
    return fetch_path(ev, ctx, path, &out->list);
}

static int eval_common_call(struct eval *ev, struct context *ctx, const struct node *node, const struct variables *vars,
                            struct explain_step *step, struct value *out)
{
    struct context before = *ctx;
    bool known = common_get(ev, ctx, node, out);
    int rc = known ? 0 : eval_call(ev, ctx, node, vars, out);

    if (rc == 0 && !known)
        common_put(ev, &before, node, out);
    if (step != NULL)
        step->reused = known;
    out->at = node->at;
    return rc;
}

int eval_node(struct eval *ev, struct context *ctx, const struct node *node, const struct variables *vars,
              struct value *out)
{
    struct explain_step *step = explain_begin(ev, ctx, node);
    int rc = 0;

    switch (node->kind) {
    case NODE_PATH:
        rc = eval_path(ev, ctx, node, vars, out);
        break;
    case NODE_CALL:
        rc = eval_common_call(ev, ctx, node, vars, step, out);
        break;
    case NODE_TEMPLATE:
        rc = eval_template(ev, ctx, node, out);
        break;
    default:
        *out = scalar_value(node);
        break;
    }
    if (rc == 0)
        explain_end(ev, step, out);
    return rc;
}

bool eval_is_blank(struct span s)
{
    return stripped(s).len == 0;
}

static int add_result(struct eval *ev, const struct value *value, struct series_list *list)
{
    if (value->kind == VALUE_LISTS && value->lists_count > 0)
        return err_set(ev->err, ERR_INPUT, "the lists of mapSeries must go through reduceSeries");
    if (value->kind == VALUE_LIST)
        series_list_add_all(ev->arena, list, &value->list);
    return 0;
}

int eval_target(struct eval *ev, struct context *ctx, struct span target, enum eval_whole whole,
                struct series_list *list)
{
    struct parse_result parsed;
    int rc;

    if (eval_is_blank(target))
        return 0;
    rc = parse_target(target, ev->arena, &parsed, ev->err);
    return rc < 0 ? rc : eval_parsed(ev, ctx, &parsed, whole, list);
}

int eval_parsed(struct eval *ev, struct context *ctx, const struct parse_result *parsed, enum eval_whole whole,
                struct series_list *list)
{
    struct value value = {0};
    size_t before = list->count;
    int rc = eval_node(ev, ctx, parsed->root, NULL, &value);

    if (rc == 0)
        rc = add_result(ev, &value, list);
    if (rc == 0 && parsed->rest && whole == EVAL_WHOLE && list->count == before)
        rc = err_set(ev->err, ERR_INPUT, "the target does not parse: %.*s", SPAN_ARG(parsed->wrong));
    return rc;
}
