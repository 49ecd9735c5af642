/* A render request in four steps: options, evaluation of all targets, the format, the status.
 *
 * All memory of the request comes from one arena; when that is used up, it jumps back here
 * (base/arena.h), and the answer says so. */
#include "query/query.h"

#include "query/eval.h"
#include "query/format.h"
#include "query/options.h"

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

static int evaluate(struct render *r, struct series_list *list)
{
    const struct render_options *o = &r->options;
    struct eval ev = {.arena = &r->arena,
                      .source = r->source,
                      .limits = r->limits,
                      .control = r->control,
                      .tz = o->tz,
                      .now_s = o->now_s,
                      .wall_s = r->wall_s,
                      .template_params = &o->template_params,
                      .err = &r->err};
    struct context ctx = {.from_s = o->from_s, .until_s = o->until_s, .x_files_factor = o->x_files_factor};
    int rc = 0;

    if (o->targets_count > r->limits->targets_max)
        return err_set(&r->err, ERR_LIMIT, "the request has more than %zu targets", r->limits->targets_max);
    for (size_t i = 0; rc == 0 && i < o->targets_count; i++) {
        rc = eval_target(&ev, &ctx, o->targets[i], EVAL_WHOLE, list);
        if (rc == ERR_INPUT) {
            struct span target = o->targets[i];
            char text[sizeof(r->err.text)];

            snprintf(text, sizeof(text), "Invalid parameters (%.250s); targets: \"%.*s\"", r->err.text,
                     (int)(target.len < 180 ? target.len : 180), target.ptr);
            memcpy(r->err.text, text, sizeof(text));
        }
    }
    return rc;
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

static int render(struct render *r, struct query_reply *reply)
{
    struct series_list list = {0};
    const struct format *format;
    int rc = render_options_parse(r->params, r->wall_s, &r->arena, &r->options, &r->err);

    if (rc < 0) {
        err_context(&r->err, "Invalid parameters");
        return rc;
    }
    format = format_find(r->options.format);
    if (format == NULL)
        return err_set(&r->err, ERR_INPUT, "Invalid parameters: format must be one of %.*s",
                       SPAN_ARG(format_names(&r->arena)));
    rc = evaluate(r, &list);
    return rc < 0 ? rc : write_answer(r, format, &list, reply);
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
