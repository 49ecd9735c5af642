/* /functions and /functions/NAME: what the query engine's tables say about themselves. */
#include "query/functions.h"
#include "server/routes.h"

static bool wanted(struct call *call, const char *name)
{
    const struct span *value = params_get(&call->params, name);

    return value != NULL && value->len != 0;
}

struct group {
    struct buf *out;
    struct span name;
    bool first;
};

static int add_of_group(void *ctx, const struct fn_def *def)
{
    struct group *group = ctx;

    if (!span_eq(span_str(def->group), group->name))
        return 0;
    if (!group->first)
        buf_add_str(group->out, ", ");
    group->first = false;
    buf_add_json(group->out, span_str(def->name));
    buf_add_str(group->out, ": ");
    functions_json_one(def, group->out);
    return 0;
}

void answer_functions(struct call *call)
{
    const struct span *name = params_get(&call->params, "group");

    if (!reply_json_begin(call))
        return;
    if (name != NULL && name->len != 0) {
        struct group group = {.out = &call->reply->body, .name = *name, .first = true};
        bool grouped = wanted(call, "grouped");

        if (grouped) {
            buf_add_char(group.out, '{');
            buf_add_json(group.out, *name);
            buf_add_str(group.out, ": ");
        }
        buf_add_char(group.out, '{');
        functions_each(add_of_group, &group);
        buf_add_str(group.out, grouped ? "}}" : "}");
    } else {
        functions_json(wanted(call, "grouped") ? FUNCTIONS_GROUPED : FUNCTIONS_FLAT, &call->reply->body);
    }
    reply_json_end(call);
}

void answer_function(struct call *call)
{
    const struct fn_def *def = functions_find(call->rest);

    if (def == NULL) {
        reply_error_json(call, 404, "Function not found: %.*s", SPAN_ARG(span_cut(call->rest, 0, 200)));
        return;
    }
    if (!reply_json_begin(call))
        return;
    functions_json_one(def, &call->reply->body);
    reply_json_end(call);
}
