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

/* It serves: everything is open, it is not about to stop, and what it takes reaches the device. What else is not as it
 * should be stands in further lines. */
void answer_ready(struct call *call)
{
    struct storage_health health = {0};
    bool open = __atomic_load_n(&call->routes->ready, __ATOMIC_ACQUIRE);

    if (open)
        storage_health(call->routes->st, &health);
    reply_plain(call, open && !health.io_failed ? 200 : 503, "text/plain; charset=utf-8",
                open && !health.io_failed ? "ready\n" : "not ready\n");
    if (health.io_failed)
        buf_add_str(&call->reply->body, "io_failed: the device does not take what is stored\n");
    if (health.disk_full)
        buf_add_str(&call->reply->body, "disk_full: points that need a new file are refused\n");
    if (health.memory_full)
        buf_add_str(&call->reply->body, "memory_limit: points of new names are refused\n");
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
