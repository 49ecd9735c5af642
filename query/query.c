/* A render request in four steps: options, evaluation of all targets, the format, the status.
 *
 * All memory of the request comes from one arena; when that is used up, it jumps back here
 * (base/arena.h), and the answer says so. */
#include "query/query.h"

#include "query/common.h"
#include "query/eval.h"
#include "query/explain.h"
#include "query/format.h"
#include "query/options.h"
#include "query/parse.h"

#include <stdio.h>

struct query_limits query_limits_default(void)
{
    return (struct query_limits){
        .arena_bytes = (size_t)512 << 20,
        .series_max = 100000,
        .points_max = 50000000,
        .targets_max = 1000,
        .output_bytes = (size_t)512 << 20,
    };
}

struct render {
    const struct params *params;
    const struct source *source;
    const struct query_limits *limits;
    struct query_control *control;
    int64_t wall_s;
    struct arena arena;
    struct render_options options;
    struct err err;
};

/* A target that was refused is shown with the reason. */
static int with_target(struct err *err, int rc, struct span target)
{
    char text[sizeof(err->text)];

    if (rc != ERR_INPUT)
        return rc;
    snprintf(text, sizeof(text), "Invalid parameters (%.250s); targets: \"%.*s\"", err->text,
             (int)(target.len < 180 ? target.len : 180), target.ptr);
    memcpy(err->text, text, sizeof(text));
    return rc;
}

/* Targets that are not blank, and their trees. */
struct parsed_targets {
    struct span *texts;
    struct parse_result *results;
    struct node **roots;
    size_t count;
};

static int parse_targets(struct render *r, struct parsed_targets *out)
{
    const struct render_options *o = &r->options;

    if (o->targets_count > r->limits->targets_max)
        return err_set(&r->err, ERR_LIMIT, "the request has more than %zu targets", r->limits->targets_max);
    out->texts = ARENA_ARRAY(&r->arena, struct span, o->targets_count);
    out->results = ARENA_ARRAY(&r->arena, struct parse_result, o->targets_count);
    out->roots = ARENA_ARRAY(&r->arena, struct node *, o->targets_count);
    for (size_t i = 0; i < o->targets_count; i++) {
        struct parse_result *parsed = &out->results[out->count];
        int rc = eval_is_blank(o->targets[i]) ? 1 : parse_target(o->targets[i], &r->arena, parsed, &r->err);

        if (rc < 0)
            return with_target(&r->err, rc, o->targets[i]);
        if (rc > 0)
            continue;
        out->texts[out->count] = o->targets[i];
        out->roots[out->count++] = parsed->root;
    }
    common_find(out->roots, out->count, &r->arena);
    return 0;
}

/* Evaluate all targets, in order. */
static int evaluate(struct render *r, struct eval *ev, const struct parsed_targets *targets, struct series_list *list)
{
    const struct render_options *o = &r->options;
    struct context ctx = {.from_s = o->from_s, .until_s = o->until_s, .x_files_factor = o->x_files_factor};

    for (size_t i = 0; i < targets->count; i++) {
        int rc = eval_parsed(ev, &ctx, &targets->results[i], EVAL_WHOLE, list);

        if (rc < 0)
            return with_target(&r->err, rc, targets->texts[i]);
    }
    return 0;
}

static int write_answer(struct render *r, const struct format *format, const struct series_list *list,
                        struct query_reply *reply)
{
    bool jsonp = format->jsonp && r->options.jsonp.len > 0;
    int rc;

    if (jsonp) {
        buf_add_span(&reply->body, r->options.jsonp);
        buf_add_char(&reply->body, '(');
    }
    rc = format->write(&r->options, list, &r->arena, &reply->body, &r->err);
    if (jsonp)
        buf_add_char(&reply->body, ')');
    if (rc == 0 && reply->body.failed)
        rc = err_set(&r->err, ERR_LIMIT, "the answer is larger than %zu bytes", r->limits->output_bytes);
    reply->status = 200;
    reply->content_type = jsonp ? "text/javascript" : format->content_type;
    return rc;
}

/* The steps instead of the data. */
static int write_plan(struct render *r, struct eval *ev, const struct parsed_targets *targets,
                      struct query_reply *reply)
{
    explain_json(ev, targets->texts, &reply->body);
    reply->status = 200;
    reply->content_type = "application/json";
    return reply->body.failed
               ? err_set(&r->err, ERR_LIMIT, "the plan is larger than %zu bytes", r->limits->output_bytes)
               : 0;
}

static int run_targets(struct render *r, const struct format *format, struct query_reply *reply)
{
    struct eval ev = {.arena = &r->arena,
                      .source = r->source,
                      .limits = r->limits,
                      .control = r->control,
                      .tz = r->options.tz,
                      .now_s = r->options.now_s,
                      .wall_s = r->wall_s,
                      .template_params = &r->options.template_params,
                      .err = &r->err};
    struct parsed_targets targets = {0};
    struct series_list list = {0};
    struct explain explain;
    int rc = parse_targets(r, &targets);

    if (r->options.explain) {
        explain_init(&explain);
        ev.explain = &explain;
    }
    if (rc == 0)
        rc = evaluate(r, &ev, &targets, &list);
    if (rc < 0)
        return rc;
    return r->options.explain ? write_plan(r, &ev, &targets, reply) : write_answer(r, format, &list, reply);
}

static int render(struct render *r, struct query_reply *reply)
{
    const struct format *format;
    int rc = render_options_parse(r->params, r->wall_s, &r->arena, &r->options, &r->err);

    if (rc < 0) {
        err_context(&r->err, "Invalid parameters");
        return rc;
    }
    format = format_find(r->options.format);
    if (format == NULL && !r->options.explain)
        return err_set(&r->err, ERR_INPUT, "Invalid parameters: format must be one of %.*s",
                       SPAN_ARG(format_names(&r->arena)));
    return run_targets(r, format, reply);
}

static int status_of(int code)
{
    switch (code) {
    case ERR_INPUT:
        return 400;
    case ERR_LIMIT:
        return 422;
    case ERR_CANCELLED:
        return 503;
    default:
        return 500;
    }
}

/* The answer to a failed request: one line, safe to show in a browser. */
static void reply_error(const struct err *err, int code, struct query_reply *reply)
{
    buf_clear(&reply->body);
    reply->body.max = 0;
    for (const char *c = err->text; *c != 0; c++) {
        if (*c == '<')
            buf_add_str(&reply->body, "&lt;");
        else if (*c == '>')
            buf_add_str(&reply->body, "&gt;");
        else if (*c == '&')
            buf_add_str(&reply->body, "&amp;");
        else
            buf_add_char(&reply->body, *c);
    }
    buf_add_char(&reply->body, '\n');
    reply->status = status_of(code);
    reply->content_type = "text/html";
}

/* RENDER with an arena that jumps back to here when it is used up. */
static int render_in_arena(struct render *r, struct query_reply *reply)
{
    jmp_buf overflow;

    arena_init(&r->arena, r->limits->arena_bytes, &overflow);
    if (setjmp(overflow) != 0)
        return err_set(&r->err, ERR_LIMIT, "the request needs more than %zu bytes of memory", r->limits->arena_bytes);
    return render(r, reply);
}

void query_render(const struct params *params, const struct source *src, const struct query_limits *limits,
                  struct query_control *control, int64_t now_s, struct query_reply *reply)
{
    struct render r = {.params = params, .source = src, .limits = limits, .control = control, .wall_s = now_s};
    int rc;

    *reply = (struct query_reply){0};
    buf_init(&reply->body, limits->output_bytes);
    rc = render_in_arena(&r, reply);
    if (rc < 0)
        reply_error(&r.err, rc, reply);
    arena_release(&r.arena);
}
