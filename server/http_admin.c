/* /admin/...: work that is due some time, done now; the answer comes when it is done. On the admin socket only. */
#include "base/clock.h"
#include "base/log.h"
#include "server/routes.h"

#include <inttypes.h>

static void do_now(struct call *call, const char *what, int (*work)(struct storage *st, struct err *err))
{
    struct err err = {0};
    int64_t began_ns = clock_mono_ns();
    int rc = work(call->routes->st, &err);
    double ms = (double)(clock_mono_ns() - began_ns) / 1e6;

    if (rc < 0) {
        log_error("admin", "order failed", LOG_STR("order", what), LOG_ERR(&err));
        reply_error_json(call, 500, "%s", err.text);
        return;
    }
    log_info("admin", "order done", LOG_STR("order", what), LOG_FLOAT("ms", ms));
    call->reply->status = 200;
    call->reply->content_type = "application/json";
    buf_addf(&call->reply->body, "{\"done\": \"%s\", \"ms\": %.3f}\n", what, ms);
}

void answer_flush(struct call *call)
{
    do_now(call, "flush", storage_flush);
}

void answer_seal(struct call *call)
{
    do_now(call, "seal", storage_seal_all);
}

void answer_merge(struct call *call)
{
    do_now(call, "merge", storage_merge_all);
}
