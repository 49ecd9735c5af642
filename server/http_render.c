/* /render: the query engine's answer, carried. */
#include "base/clock.h"
#include "server/routes.h"

void answer_render(struct call *call)
{
    const struct routes *routes = call->routes;
    struct query_reply reply = {0};

    query_render(&call->params, &routes->source, &routes->limits, &call->request->control, clock_now_s(), &reply);
    call->reply->status = reply.status;
    call->reply->content_type = reply.content_type;
    buf_release(&call->reply->body);
    call->reply->body = reply.body;
    if (reply.status == 503)
        buf_add_str(&call->reply->headers, "Retry-After: 1\r\n");
}
