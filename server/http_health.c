/* /healthz, /readyz, /version, /metrics: what is asked by machines that watch. */
#include "server/routes.h"
#include "server/self.h"

static void reply_plain(struct call *call, int status, const char *type, const char *text)
{
    call->reply->status = status;
    call->reply->content_type = type;
    buf_add_str(&call->reply->body, text);
}

/* The process answers at all. */
void answer_alive(struct call *call)
{
    reply_plain(call, 200, "text/plain; charset=utf-8", "ok\n");
}

/* It serves: everything is open, and it is not about to stop. */
void answer_ready(struct call *call)
{
    if (__atomic_load_n(&call->routes->ready, __ATOMIC_ACQUIRE))
        reply_plain(call, 200, "text/plain; charset=utf-8", "ready\n");
    else
        reply_plain(call, 503, "text/plain; charset=utf-8", "not ready\n");
}

/* The version of Graphite whose API this is: Grafana chooses what it offers by it. */
void answer_version(struct call *call)
{
    reply_plain(call, 200, "text/html; charset=utf-8", "1.1.10\n");
}

/* graphite-web answers a find here too; with a query, that is what was meant. */
void answer_metrics(struct call *call)
{
    if (params_get(&call->params, "query") != NULL) {
        answer_find(call);
        return;
    }
    if (!__atomic_load_n(&call->routes->ready, __ATOMIC_ACQUIRE)) { /* what is reported on may not be there yet */
        answer_ready(call);
        return;
    }
    call->reply->status = 200;
    call->reply->content_type = "text/plain; version=0.0.4; charset=utf-8";
    self_text(call->routes->self, call->arena, &call->reply->body);
}
